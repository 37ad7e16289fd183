//! Rules about connections of media: TCP, TLS, MSRP.

use super::Found;
use super::view::{Connection, View};
use crate::model::{Fact, Line, Opened};
use crate::words::{seconds, times};
use std::net::SocketAddr;
use std::time::Duration;

/// A call that lives this long without a connection of its own has none.
const LONG: Duration = Duration::from_secs(5);

fn server(view: &View<'_>, connection: &Connection<'_>) -> String {
    connection.server.map_or_else(String::new, |address| view.name(connection.server_host, address))
}

fn client(view: &View<'_>, connection: &Connection<'_>) -> String {
    connection.client.map_or_else(String::new, |address| view.name(connection.client_host, address))
}

/// Whose description says that media are expected at an address.
fn described(view: &View<'_>, address: Option<SocketAddr>) -> Option<String> {
    let address = address?;
    view.sip().find_map(|(_, entry, sip)| {
        let lines = sip.sdp.as_ref()?.lines.iter();
        lines.into_iter().find(|line| line.address == Some(address))?;
        Some(view.sender(entry))
    })
}

/// Roles that do not fit each other (RFC 4145 §4.1).
pub(super) fn setup(view: &View<'_>) -> Vec<Found> {
    for hop in &view.hops {
        let (Some(offer), Some((at, entry, answer))) = (&hop.sip.sdp, hop.answer()) else { continue };
        for (offered, answered) in offer.lines.iter().zip(&answer.lines) {
            let both = |line: &Line| line.is_tcp() && line.port != 0;
            if !both(offered) || !both(answered) {
                continue;
            }
            let (Some(ours), Some(theirs)) = (offered.setup, answered.setup) else { continue };
            let wrong = match (ours, theirs) {
                ("active", "active") => {
                    "both want to open the connection, so each calls where nobody listens"
                }
                ("passive", "passive") => "both wait for the other to open the connection",
                (_, "actpass") => "the answer leaves open what only an offer may leave open",
                _ => continue,
            };
            return vec![Found::failure(
                Some(at),
                format!("{} answered a=setup:{theirs} to a=setup:{ours}: {wrong}.", view.sender(entry)),
                "The answer to active is passive, that to passive is active, that to actpass is one of the two (RFC 4145 §4.1).",
            )];
        }
    }
    Vec::new()
}

/// A connection that was refused.
pub(super) fn refused(view: &View<'_>) -> Vec<Found> {
    let refused = view.connections.iter().find_map(|connection| match connection.open {
        Some((at, Opened::Refused, _)) => Some((at, connection)),
        _ => None,
    });
    let Some((at, connection)) = refused else { return Vec::new() };
    // One that calls again until it is let in is no fault.
    let later =
        view.connections.iter().any(|c| c.server == connection.server && c.at > connection.at && c.is_open());
    if later {
        return vec![Found::note(
            Some(at),
            format!(
                "{} was let in at {} at a later attempt.",
                client(view, connection),
                server(view, connection)
            ),
            "",
        )];
    }
    let said = described(view, connection.server)
        .map_or_else(String::new, |who| format!(" It is the address that {who} wrote into its description."));
    vec![Found::failure(
        Some(at),
        format!(
            "{} refused the connection of {}: nobody listens there.{said}",
            server(view, connection),
            client(view, connection)
        ),
        "See whether the one that gave this address still has the session, listens (a=setup:passive), and whether somebody on the \
         way wrote an old address.",
    )]
}

/// A connection that nobody answered.
pub(super) fn silent(view: &View<'_>) -> Vec<Found> {
    let silent = view.connections.iter().find_map(|connection| match connection.open {
        Some((at, Opened::Silent, count)) => Some((at, connection, count)),
        _ => None,
    });
    let Some((at, connection, count)) = silent else { return Vec::new() };
    if count == 1 && view.end.saturating_sub(connection.at) < Duration::from_secs(1) {
        return Vec::new();
    }
    let unreachable = view.entries().find_map(|(_, entry)| match &entry.fact {
        Fact::Unreachable { about, why } if Some(*about) == connection.server => {
            Some(format!(" The network says: {why}."))
        }
        _ => None,
    });
    let said = described(view, connection.server)
        .map_or_else(String::new, |who| format!(" It is the address that {who} wrote into its description."));
    vec![Found::failure(
        Some(at),
        format!(
            "{} never answered the SYN of {}, which was sent {}.{said}{}",
            server(view, connection),
            client(view, connection),
            times(count),
            unreachable.unwrap_or_default()
        ),
        "Media go to an address at which nobody answers: a filter, a wrong address behind a translator (NAT), or a host that is down. \
         A gateway opens its door only for the address that was announced.",
    )]
}

/// An alert that ends a handshake or a session.
pub(super) fn alert(view: &View<'_>) -> Vec<Found> {
    let mut all: Vec<_> = view
        .connections
        .iter()
        .flat_map(|c| c.alerts.iter().map(move |alert| (c, alert)))
        .filter(|(_, (.., code))| !matches!(code, 0 | 90))
        .collect();
    // The same alert passes every hop; who sent it first is who means it.
    all.sort_by_key(|(_, (at, ..))| *at);
    let Some((connection, (at, entry, name, code))) = all.first() else { return Vec::new() };
    let done = connection.sealed.iter().all(|octets| *octets > 0);
    let when = if done { "ended the session" } else { "broke the handshake off" };
    let advice = match code {
        115 => {
            "It does not know the pre-shared key: the two have other keys or names of keys. Was the key exchange (a=key-mgmt) altered or answered by another?"
        }
        40 | 47 | 71 => {
            "The two found nothing in common: compare versions, cipher suites and whether both have a pre-shared key or a certificate."
        }
        51 | 20 => {
            "The two have other keys under the same name: was the ticket resolved for the right one, and a=key-mgmt left untouched?"
        }
        42..=46 | 48 => {
            "It does not take the certificate: compare it with the fingerprint in the description, its dates and its issuer."
        }
        116 => "It wants a certificate of the client.",
        70 => "The two have no version of TLS in common.",
        120 => "The two have no application protocol in common.",
        10 | 50 => "What came is not what TLS says: did somebody on the way put in or take out octets?",
        80 => "Something failed inside of it: see its log.",
        _ => "See the log of the one that sent it.",
    };
    vec![Found::failure(Some(*at), format!("{} {when} with the alert {name}.", view.sender(entry)), advice)]
}

/// A ClientHello that nobody answered.
pub(super) fn hello(view: &View<'_>) -> Vec<Found> {
    let waiting: Vec<_> = view
        .connections
        .iter()
        .filter_map(|c| Some((c.hello?, c)))
        .filter(|(_, c)| c.server_hello.is_none() && c.alerts.is_empty() && c.lost == 0)
        .collect();
    // Where it got to last is where it stopped.
    let Some(((at, _), connection)) = waiting.last() else { return Vec::new() };
    if view.connections.iter().any(|c| c.server_hello.is_some()) && waiting.len() < view.connections.len() {
        return Vec::new();
    }
    let ended = if connection.reset.is_some() { "broke the connection off" } else { "sent nothing" };
    let (ours, theirs) = (view.connections.iter().filter(|c| c.hello.is_some()).count(), connection);
    let way = if ours > 1 { format!(" It passed {ours} hops before.") } else { String::new() };
    vec![Found::failure(
        Some(*at),
        format!("{} never answered the ClientHello: it {ended}.{way}", server(view, theirs)),
        "See whether what listens there speaks TLS, and whether a gateway on the way has the next connection: a ClientHello waits at a \
         gateway until the other side is open.",
    )]
}

/// Lines that agreed on TLS, and a connection on which there is none.
pub(super) fn plain(view: &View<'_>) -> Vec<Found> {
    let agreed = view.agreed();
    if agreed.is_empty() || !agreed.iter().all(|(offer, answer)| offer.is_secured() && answer.is_secured()) {
        return Vec::new();
    }
    for connection in view.connections.iter().filter(|c| c.is_open() && c.hello.is_none()) {
        if let Some((at, entry, _)) = connection.msrp.first() {
            return vec![Found::failure(
                Some(*at),
                format!(
                    "The session is plain although both ends agreed on TLS: {} sends MSRP in the clear.",
                    view.sender(entry)
                ),
                "Somebody ends TLS on the way, or this client does not do what it offered.",
            )];
        }
        let nothing = connection.sealed == [0, 0]
            && connection.other == 0
            && !connection.midway
            && connection.lost == 0;
        let over = connection.finished || connection.reset.is_some();
        if nothing && over && view.connections.iter().all(|c| c.hello.is_none()) {
            return vec![Found::failure(
                Some(connection.first),
                format!(
                    "{} opened the connection to {} and never began TLS on it.",
                    client(view, connection),
                    server(view, connection)
                ),
                "Who opens the connection sends the ClientHello, unless a=setup says otherwise (RFC 4145); see the log of that client.",
            )];
        }
    }
    Vec::new()
}

/// A certificate that no fingerprint of the call is of.
pub(super) fn certificate(view: &View<'_>) -> Vec<Found> {
    let announced: Vec<String> = view
        .sip()
        .filter_map(|(_, _, sip)| sip.sdp.as_ref())
        .flat_map(|sdp| &sdp.lines)
        .flat_map(|line| &line.fingerprints)
        .filter(|fingerprint| fingerprint.to_ascii_lowercase().starts_with("sha-256 "))
        .map(|fingerprint| fingerprint.to_ascii_uppercase())
        .collect();
    if announced.is_empty() {
        return Vec::new();
    }
    for connection in &view.connections {
        for (at, fingerprint) in &connection.certificates {
            if !announced.contains(&fingerprint.to_ascii_uppercase()) {
                return vec![Found::failure(
                    Some(*at),
                    format!(
                        "A certificate on the connection of {} to {} is none that a description announced: {fingerprint}.",
                        client(view, connection),
                        server(view, connection)
                    ),
                    "Either the client changed its certificate after the offer, or somebody else ends TLS there.",
                )];
            }
        }
    }
    Vec::new()
}

/// Refusals of MSRP.
pub(super) fn msrp(view: &View<'_>) -> Vec<Found> {
    let refusal = view
        .connections
        .iter()
        .flat_map(|c| &c.msrp)
        .find(|(_, _, m)| m.status.is_some_and(|s| s >= 400 && s != 401));
    let Some((at, entry, msrp)) = refusal else { return Vec::new() };
    let status = msrp.status.unwrap_or_default();
    let advice = match status {
        400 => "Something in the request could not be read.",
        403 => "It does not let this sender.",
        404 | 481 => {
            "It knows no such session: To-Path is not the a=path that it gave. Did somebody on the way rewrite one and not the other?"
        }
        408 => "It waited in vain for an answer further on.",
        413 => "It wants no more of this message.",
        415 => "It does not take this type; compare a=accept-types.",
        423 => "It asks for another time of expiry.",
        501 => "It does not know the method.",
        506 => "The session is on another connection already.",
        _ => "See the log of the one that sent it.",
    };
    let count = if entry.times > 1 { format!(", {}", times(entry.times)) } else { String::new() };
    vec![Found::warning(Some(*at), format!("{} answered MSRP {status}{count}.", view.sender(entry)), advice)]
}

/// A call that was answered and has no connection.
pub(super) fn never(view: &View<'_>) -> Vec<Found> {
    let agreed = view.agreed();
    if agreed.is_empty() || !view.connections.is_empty() || view.is_told() {
        return Vec::new();
    }
    let Some((at, entry, _)) = view.hops.iter().find_map(|hop| hop.last()) else { return Vec::new() };
    let span = view.end.saturating_sub(entry.at);
    let hurried = span < LONG && !view.sip().any(|(_, _, sip)| sip.is_request("BYE"));
    if hurried {
        return Vec::new();
    }
    let who = agreed.first().and_then(|(offer, answer)| match (offer.setup, answer.setup) {
        (_, Some("active")) => Some("the called side"),
        (Some("active"), _) | (_, Some("passive")) => Some("the calling side"),
        _ => None,
    });
    let duty = who.map_or_else(String::new, |who| format!(" It was for {who} to open it."));
    vec![Found::warning(
        Some(at),
        format!(
            "No connection for media was seen in the {} s after the call was answered.{duty}",
            seconds(span)
        ),
        "Capture where media pass too (ports of the gateways, not those of SIP only); if you did, see why that side does not connect.",
    )]
}
