//! Descriptions (RFC 8866), wherever they stand.

use super::{Tie, keys};
use crate::mask;
use crate::model::{Line, Sdp};
use bytes::Bytes;
use carnet_sdp::{Document, E2ae, Limits};
use carnet_wire::base64;
use std::net::SocketAddr;

/// Reads a description.
pub(super) fn read(octets: &Bytes) -> Sdp {
    match Document::parse(octets.clone(), &Limits::default()) {
        Ok(document) => of(&document),
        Err(error) => Sdp { fault: Some(error.to_string()), ..Sdp::default() },
    }
}

/// Reads what H.248 has of one (RFC 3525 §7.1.8).
pub(super) fn fragment(octets: &Bytes) -> Option<Sdp> {
    Document::parse_fragment(octets.clone(), &Limits::default()).ok().map(|document| of(&document))
}

fn of(document: &Document) -> Sdp {
    let origin = document.origin().map(|o| format!("{} {} {}", o.username, o.session_id, o.host));
    let lines = document.media().map(|media| Line {
        media: media.media().to_owned(),
        proto: media.proto().to_owned(),
        port: media.port().unwrap_or_default(),
        address: media.address().filter(|a| a.port() != 0 && !a.ip().is_unspecified()),
        setup: media.setup().map(|setup| setup.as_str()),
        fingerprints: media.fingerprints().iter().map(|f| format!("{} {}", f.hash, f.value)).collect(),
        keys: media
            .key_mgmt()
            .iter()
            .filter_map(|k| base64::decode(k.data.as_bytes()).ok())
            .map(|octets| keys::read(&octets))
            .collect(),
        path: media.path().map(str::to_owned),
        to_edge: media.e2ae() == Some(E2ae::Requested) || media.e2ae() == Some(E2ae::Applied),
    });
    Sdp { origin: origin.unwrap_or_default(), lines: lines.collect(), fault: None }
}

/// What a description ties together, and the addresses that it claims.
pub(super) fn ties(sdp: &Sdp) -> (Vec<Tie>, Vec<SocketAddr>) {
    let mut ties = Vec::new();
    // `- 0 0` and the like are everybody's.
    if sdp.origin.split(' ').nth(1).is_some_and(|id| id.len() >= 5) {
        ties.push(Tie::Origin(sdp.origin.clone()));
    }
    for key in sdp.lines.iter().flat_map(|line| &line.keys) {
        ties.push(Tie::Keys(key.digest));
        ties.extend(key.ticket.map(Tie::Ticket));
    }
    // Port 9 says that nobody listens (RFC 4145 §4.1).
    let claims = sdp.lines.iter().filter_map(|line| line.address).filter(|address| address.port() != 9);
    (ties, claims.collect())
}

/// A description in some words.
pub(super) fn label(sdp: &Sdp) -> String {
    let mut out = String::new();
    for line in &sdp.lines {
        if !out.is_empty() {
            out.push_str(", ");
        }
        match line.port {
            0 => out.push_str(&format!("{} refused", line.media)),
            _ => out.push_str(&line.proto),
        }
        if let Some(setup) = line.setup {
            out.push_str(&format!(" {setup}"));
        }
        if !line.keys.is_empty() {
            out.push_str(" +key-mgmt");
        }
        if !line.fingerprints.is_empty() {
            out.push_str(" +fingerprint");
        }
    }
    out
}

/// The text of a message that may hold descriptions, masked.
pub(crate) fn masked(text: &str, secrets: bool) -> String {
    if secrets {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for line in mask::lines(text).split_inclusive('\n') {
        let bare = line.trim_end_matches(['\r', '\n']);
        // Keys in MIKEY that nothing encrypts (RFC 3830 §4.2.4).
        let open = bare
            .to_ascii_lowercase()
            .find("key-mgmt:")
            .and_then(|at| bare.get(at + "key-mgmt:".len()..)?.trim().split_once(' '))
            .and_then(|(_, data)| base64::decode(data.trim().as_bytes()).ok())
            .is_some_and(|octets| keys::is_open(&octets));
        if open {
            out.push_str("a=key-mgmt:mikey ");
            out.push_str(mask::MASK);
            out.push_str(line.get(bare.len()..).unwrap_or_default());
        } else {
            out.push_str(line);
        }
    }
    out
}
