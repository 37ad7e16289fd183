//! What a session was, when nothing went wrong with it; and what of it did work when something did.

use super::Found;
use super::view::View;
use crate::model::{Kind, Weight};
use crate::words::octets;
use std::collections::BTreeMap;

/// Nothing went wrong.
pub(super) fn whole(view: &View<'_>) -> Vec<Found> {
    let said = match view.session.kind {
        Kind::Registration => "Nothing went wrong: the registration was accepted.".to_owned(),
        Kind::Control => "Nothing went wrong: every request was answered.".to_owned(),
        Kind::Dialog => "Nothing went wrong.".to_owned(),
        Kind::Keys => "Nothing went wrong: the key management service answered.".to_owned(),
        Kind::Call | Kind::Context | Kind::Connection => return vec![media(view, "Nothing went wrong: ")],
    };
    vec![Found { weight: Weight::Note, what: said, advice: String::new(), entry: None }]
}

/// Something went wrong: what else can be said of the seal.
pub(super) fn partly(view: &View<'_>) -> Vec<Found> {
    if view.connections.iter().any(|c| c.server_hello.is_some()) {
        vec![media(view, "As to media: ")]
    } else {
        // Why it was planned so is told whatever became of it.
        told(view, "As to media: ").filter(|found| found.entry.is_some()).into_iter().collect()
    }
}

/// Lines of TLS that are in use.
fn secured(sdp: &crate::model::Sdp) -> usize {
    sdp.lines.iter().filter(|line| line.is_secured() && line.is_tcp() && line.port != 0).count()
}

fn media(view: &View<'_>, lead: &str) -> Found {
    let mut randoms: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, hello) in view.connections.iter().filter(|c| c.server_hello.is_some()).filter_map(|c| c.hello) {
        *randoms.entry(&hello.random).or_default() += 1;
    }
    let hops = randoms.values().copied().max().unwrap_or_default();
    // A media line has a session of TLS of its own.
    let lines = view
        .hops
        .iter()
        .filter_map(|hop| Some(hop.answer()?.2))
        .map(secured)
        .max()
        .unwrap_or_default()
        .max(1);
    let entry = view.connections.iter().find_map(|c| c.hello).map(|(at, _)| at);
    let psk = view.connections.iter().any(|c| c.server_hello.is_some_and(|(.., psk)| psk));
    let how = if psk { "by a pre-shared key" } else { "by certificates" };
    let amount: u64 = view.connections.iter().map(|c| c.sealed.iter().sum()).max().unwrap_or_default();
    if randoms.len() > 1 && randoms.len() <= lines && hops > 1 {
        let what = format!(
            "{lead}sealed end to end {how}: {} media lines, each with one ClientHello that passed up to {hops} hops, so nobody between them ended TLS.",
            randoms.len()
        );
        return Found::note(entry, what, "");
    }
    if hops > 0 && (randoms.len() == 1 || view.session.kind != Kind::Call) {
        let random =
            randoms.keys().next().map(|random| random.get(..8).unwrap_or(random)).unwrap_or_default();
        let what = match hops {
            1 => format!(
                "{lead}TLS was set up {how} on the one connection that was captured; {} sealed.",
                octets(amount)
            ),
            hops => format!(
                "{lead}sealed end to end {how}: the same ClientHello ({random}…) passed {hops} hops, so nobody between them ended TLS; {} sealed.",
                octets(amount)
            ),
        };
        return Found::note(entry, what, "");
    }
    if randoms.len() > 1 {
        if view.is_to_edge() {
            return Found::note(
                entry,
                format!("{lead}TLS ends at a border, as end-to-access-edge security has it."),
                "",
            );
        }
        // A second session between the same two, one after the other, also has two.
        let what = format!(
            "{lead}there are {} TLS sessions with other ClientHellos: either several media, or somebody between ends TLS.",
            randoms.len()
        );
        return Found::note(
            entry,
            what,
            "Where one host gets one ClientHello and sends another for the same line, it can read what passes.",
        );
    }
    if let Some((at, ..)) = view.connections.iter().flat_map(|c| &c.msrp).next() {
        return Found::note(
            Some(*at),
            format!("{lead}MSRP went in the clear, and neither end asked for TLS."),
            "Offer TCP/TLS/MSRP to seal it.",
        );
    }
    if let Some(told) = told(view, lead) {
        return told;
    }
    let what = match view.hops.iter().find_map(|hop| hop.last()) {
        Some(_) => format!("{lead}the call was answered; its media are not in this capture."),
        None => format!("{lead}there is nothing here that a rule objects to."),
    };
    Found::note(None, what, "")
}

/// What nodes said of it.
fn told(view: &View<'_>, lead: &str) -> Option<Found> {
    if !view.is_told() {
        return None;
    }
    let plan = view.events().find_map(|(at, entry, event)| {
        let plan = event.text("plan")?.trim_end_matches('.');
        Some((at, format!("{} planned {plan}", view.sender(entry))))
    });
    let counts =
        view.events().filter(|(_, _, event)| event.event == "media-released").map(|(_, _, event)| {
            let of = |side: &str| event.number(&format!("octets.{side}.received")).unwrap_or_default();
            (of("caller"), of("callee"))
        });
    let counted = counts.max_by_key(|(caller, callee)| caller + callee).map(|(caller, callee)| {
        format!("a gateway counted {} from the caller and {} from the callee", octets(caller), octets(callee))
    });
    let answered =
        view.hops.iter().filter_map(|hop| hop.last()).any(|(.., sip)| sip.status.is_some_and(|s| s < 300));
    let mut said: Vec<String> = Vec::new();
    if answered {
        said.push("the call was answered".to_owned());
    }
    said.extend(plan.iter().map(|(_, plan)| plan.clone()));
    said.extend(counted);
    if said.is_empty() {
        said.push("there is nothing here that a rule objects to".to_owned());
    }
    Some(Found::note(plan.map(|(at, _)| at), format!("{lead}{}.", said.join("; ")), ""))
}
