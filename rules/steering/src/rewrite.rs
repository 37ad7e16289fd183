//! The description as it is handed back: the changes that the plan names, `media address`, `replace`.
//!
//! RFC 8866 §5.2, §5.3; the options are rtpengine's.

use crate::dialog::{Dialog, End, Written};
use crate::fault::Fault;
use carnet_ng::Options;
use carnet_plan::{Edit, Given, Plan, Side};
use carnet_sdp::Document;
use std::net::SocketAddr;

/// Makes the changes for the side that sees the description, and writes over what was asked for.
pub(crate) fn apply(
    dialog: &mut Dialog,
    edits: &[Edit],
    document: &mut Document,
    to: Side,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<(), Fault> {
    let end = dialog.ends.of(to);
    let own = end.media_address;
    let address = |address: SocketAddr| own.map_or(address, |ip| SocketAddr::new(ip, address.port()));
    let given = |index: usize| {
        let context = dialog.streams.get(index).and_then(|stream| stream.context());
        Given {
            address: context.and_then(|c| c.local(to)).map(address),
            fingerprint: context.and_then(|c| c.fingerprint(to)).map(str::to_owned),
        }
    };
    carnet_plan::apply(edits, document, given, None).map_err(|e| Fault::new(500, e.to_string()))?;
    let ours: Vec<_> =
        edits.iter().filter(|e| e.change == carnet_plan::Change::Address).filter_map(|e| e.line).collect();
    let first = ours.iter().find_map(|index| given(*index).address);
    if options.replace.session_connection {
        let mut used = document.media().filter(|m| !m.is_rejected());
        if !used.all(|m| ours.contains(&m.index())) {
            let text = "the c= of the session stays: it is for lines too that do not go through this gateway";
            warnings.push(text.to_owned());
        }
    }
    if let Some(address) = first.filter(|_| options.replace.origin) {
        document.set_origin_address(address.ip());
    }
    replace(dialog.ends.of_mut(to), document, options);
    Ok(())
}

/// The changes of a description that has no line of ours.
pub(crate) fn none(plan: &Plan, document: &mut Document) -> Result<(), Fault> {
    let given = |_: usize| Given::default();
    carnet_plan::apply(plan.all_edits(), document, given, None).map_err(|e| Fault::new(500, e.to_string()))
}

/// What is to stay the same in all descriptions that one end sees.
fn replace(end: &mut End, document: &mut Document, options: &Options) {
    let Written { username, session_name, version } = &mut end.written;
    if options.replace.username
        && let Some(said) = document.origin().map(|origin| origin.username.to_owned())
    {
        document.set_origin_username(username.get_or_insert(said));
    }
    if options.replace.session_name
        && let Some(said) = document.session_name().map(<[u8]>::to_vec)
    {
        document.set_session_name(session_name.get_or_insert(said));
    }
    if options.replace.sdp_version
        && let Some(said) = document.origin().and_then(|origin| origin.version.parse::<u64>().ok())
    {
        // What is written is compared without the version, which the sender may count as it likes.
        document.set_origin_version(0);
        let bare = document.to_bytes();
        let next = match version {
            Some((last, same)) if *same == bare => *last,
            Some((last, _)) => last.saturating_add(1),
            None => said,
        };
        document.set_origin_version(next);
        *version = Some((next, bare));
    }
}
