//! Rules about media that went by unseen, from what borders and gateways tell of them: connections that did not come about,
//! and how many octets passed.
//!
//! Left out: media of rooms, whose members come and go.

use super::Found;
use super::view::View;
use crate::model::{Entry, Fact, Happened};
use crate::words::octets;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Words of gateways for what did not come about.
const FAILED: [&str; 4] = ["connect_failed", "nobody_connected", "not_tls", "not_msrp"];

/// What a gateway says became of a connection; its border knows of which end.
pub(super) fn failed(view: &View<'_>) -> Vec<Found> {
    let mut known: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut out = Vec::new();
    for (at, entry, event) in view.events().filter(|(_, _, event)| event.event == "media-notice") {
        let word = event.text("reason").unwrap_or_default();
        let side = event.text("side").unwrap_or("one end");
        if FAILED.contains(&word) && known.insert((word, side)) {
            out.push(of_end(view, at, entry, event, word, side));
        }
    }
    if !out.is_empty() {
        return out;
    }
    // Where only the gateway was asked, or its border is of another make.
    for (at, entry, event) in view.events().filter(|(_, _, event)| event.event == "disconnected") {
        let word = event.text("cause").unwrap_or_default();
        if FAILED.contains(&word) && known.insert((word, event.text("termination").unwrap_or_default())) {
            let (what, advice) = words(word, "one end", "", "");
            let at_which = event.text("termination").map(|name| format!(" (termination {name})"));
            let what = format!("{}: {what}{}.", view.receiver(entry), at_which.unwrap_or_default());
            out.push(Found::failure(Some(at), what, advice));
        }
    }
    out
}

fn of_end(view: &View<'_>, at: usize, entry: &Entry, event: &Happened, word: &str, side: &str) -> Found {
    let index = event.number("index").unwrap_or_default();
    let theirs = described(view, entry.to_host, side, index).map_or_else(String::new, |a| format!(" {a}"));
    // The newest address of ours there: a later offer may have brought another.
    let reserved = view.events().filter(|(place, of, event)| {
        *place < at
            && of.to_host == entry.to_host
            && matches!(event.event.as_str(), "media-reserved" | "media-restored")
            && event.number("index").unwrap_or_default() == index
    });
    let (mut gateway, mut ours) = ("its gateway", String::new());
    for (_, _, event) in reserved {
        gateway = event.text("gateway").unwrap_or(gateway);
        ours = event.text(&format!("addresses.{side}")).map_or_else(String::new, |a| format!(" {a}"));
    }
    let (what, advice) = words(word, &end(side), &theirs, &ours);
    Found::failure(Some(at), format!("{}, gateway {gateway}: {what}.", view.receiver(entry)), advice)
}

fn end(side: &str) -> String {
    if side == "one end" { side.to_owned() } else { format!("the {side}") }
}

fn words(word: &str, end: &str, theirs: &str, ours: &str) -> (String, &'static str) {
    match word {
        "connect_failed" => (
            format!("{end}{theirs} let no connection of the gateway in"),
            "See that the program there listens (a=setup:passive says that it does), that its description has an address that the gateway \
             reaches, and that no firewall or translator (NAT) is in between; who is behind one has to open the connection (a=setup:active).",
        ),
        "nobody_connected" => (
            format!("nobody connected to the gateway's address{ours} for {end} in its time"),
            "Either a firewall before the gateway keeps TCP from the ports of the realm (`carnet doctor` on the gateway's host looks at that \
             host's own), or the terminal did not try: its log says why.",
        ),
        "not_tls" => (
            format!("what {end} sends is not TLS, where nothing else may pass (`tls-only`)"),
            "The terminal speaks in the clear although TLS was agreed on, or a stranger was first; let the terminal seal, or take `tls-only` \
             from the realm.",
        ),
        _ => (
            format!("what {end} sends is not MSRP, where its paths were to be rewritten"),
            "Set `msrp` of the network to what its terminals do, or mend the terminal.",
        ),
    }
}

/// Where an end says that it is, in what its border got from it.
fn described(view: &View<'_>, border: usize, side: &str, index: u64) -> Option<SocketAddr> {
    let index = usize::try_from(index).ok()?;
    let sdp = match side {
        "caller" => view.hops.iter().find(|hop| hop.entry.to_host == border)?.sip.sdp.as_ref()?,
        "callee" => {
            view.hops.iter().find(|hop| hop.entry.from_host == border && hop.answer().is_some())?.answer()?.2
        }
        _ => return None,
    };
    sdp.lines.get(index)?.address
}

/// What one border's gateways counted of a call.
#[derive(Default)]
struct Counted {
    at: usize,
    caller: u64,
    callee: u64,
}

/// A call that was answered, and that had nothing to carry, or only one way.
pub(super) fn silent(view: &View<'_>) -> Vec<Found> {
    if view.agreed().is_empty() || !failed(view).is_empty() {
        return Vec::new();
    }
    // Who tells of TLS that failed has said why.
    let why = |entry: &Entry| matches!(&entry.fact, Fact::Event(event) if event.event == "tls-failed");
    if view.entries().any(|(_, entry)| why(entry)) {
        return Vec::new();
    }
    let mut borders: BTreeMap<usize, (String, Counted)> = BTreeMap::new();
    for (at, entry, event) in view.events().filter(|(_, _, event)| event.event == "media-released") {
        let of = |side: &str| event.number(&format!("octets.{side}.received"));
        // A gateway that counts nothing says nothing.
        let (Some(caller), Some(callee)) = (of("caller"), of("callee")) else { continue };
        let (_, counted) =
            borders.entry(entry.to_host).or_insert_with(|| (view.receiver(entry), Counted::default()));
        counted.at = at;
        counted.caller += caller;
        counted.callee += callee;
    }
    // From the caller to the callee, as the INVITE went.
    let order = |host: &usize| view.hops.iter().position(|hop| hop.entry.to_host == *host);
    let mut all: Vec<(Option<usize>, String, Counted)> =
        borders.into_iter().map(|(host, (name, counted))| (order(&host), name, counted)).collect();
    all.sort_by_key(|(order, ..)| *order);
    let one_sided = |(_, _, counted): &&(_, _, Counted)| counted.caller == 0 || counted.callee == 0;
    let Some((_, name, counted)) = all.iter().find(one_sided) else { return Vec::new() };
    let counts: Vec<String> = all
        .iter()
        .map(|(_, name, counted)| {
            format!(
                "{name} {} from the caller and {} from the callee",
                octets(counted.caller),
                octets(counted.callee)
            )
        })
        .collect();
    let (what, advice) = match (counted.caller, counted.callee) {
        (0, 0) => (
            "no octet of its media passed",
            "No connection came about, or nobody began on it. Look at what the clients say; at firewalls between terminals and the ports \
             of the gateways, and from gateway to gateway; at a=setup of offer and answer. Where one gateway counted something and the next \
             nothing, look between the two.",
        ),
        (_, 0) => (
            "the caller sent and nothing came back",
            "The callee does not answer on the connection: its program hangs or does not speak what was agreed on (TLS), or a firewall or a \
             path with a small MTU swallows packets one way.",
        ),
        _ => (
            "the callee sent and nothing came from the caller",
            "The caller does not begin on the connection: its program hangs or does not speak what was agreed on (TLS), or a firewall or a \
             path with a small MTU swallows packets one way.",
        ),
    };
    let peers: BTreeSet<&str> = view
        .events()
        .filter(|(_, _, event)| event.event == "connected")
        .filter_map(|(_, _, event)| event.text("peer"))
        .collect();
    let tells = view.events().any(|(_, _, event)| event.event == "added");
    let connected = match (tells, peers.is_empty()) {
        (false, _) => String::new(),
        (true, true) => "; nobody connected to a gateway that tells".to_owned(),
        (true, false) => {
            format!("; connected to gateways: {}", peers.into_iter().collect::<Vec<_>>().join(", "))
        }
    };
    let counts = counts.join("; at ");
    let what = format!("The call was answered, and {what} {name}: gateways counted at {counts}{connected}.");
    vec![Found::warning(Some(counted.at), what, advice)]
}
