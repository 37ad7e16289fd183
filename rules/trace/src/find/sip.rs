//! Rules about signalling.

use super::Found;
use super::view::View;
use crate::model::{Fact, Kind};
use crate::words::{seconds, times};
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

/// An INVITE that got no answer at all where it went last.
pub(super) fn unanswered(view: &View<'_>) -> Vec<Found> {
    let Some(hop) = view.hops.iter().rev().find(|hop| hop.answers.is_empty()) else { return Vec::new() };
    // Whoever sent it on did get answers further down: then this is a gap of the capture.
    if view.hops.iter().any(|other| other.at > hop.at && !other.answers.is_empty()) {
        return Vec::new();
    }
    let entry = hop.entry;
    let (to, from) = (view.receiver(entry), view.sender(entry));
    let unreachable = view.entries().find_map(|(_, e)| match &e.fact {
        Fact::Unreachable { about, why } if *about == entry.to => Some(why.as_str()),
        _ => None,
    });
    let what = format!(
        "{to} never answered the INVITE of {from}, which was sent {} in {} s.",
        times(entry.times),
        seconds(entry.last.saturating_sub(entry.at))
    );
    let advice = match unreachable {
        Some(why) => format!(
            "The network says why: {why}. Start the program there, or correct the address of the next hop."
        ),
        None => {
            let more = if view.is_told() {
                "`carnet doctor` on the host that sent it asks the same next hop".to_owned()
            } else {
                format!("if this capture was taken at {} only, capture at the other end too", entry.from.ip())
            };
            format!(
                "See whether {to} runs and listens at {} {}, and whether a filter between the two drops packets; {more}.",
                entry.way.as_str(),
                entry.to.port()
            )
        }
    };
    vec![Found::failure(Some(hop.at), what, advice)]
}

/// An INVITE that was refused, told of the one who refused first.
pub(super) fn refused(view: &View<'_>) -> Vec<Found> {
    let finals = view.hops.iter().filter_map(|hop| Some((hop, hop.last()?)));
    let good = finals.clone().any(|(_, (_, _, sip))| sip.status.is_some_and(|s| s < 300));
    let refusals =
        finals.filter(|(_, (_, _, sip))| sip.status.is_some_and(|s| s >= 300 && !matches!(s, 401 | 407)));
    let Some((_, (at, entry, sip))) = refusals.min_by_key(|(_, (at, ..))| *at) else {
        return unauthorised(view);
    };
    if good {
        return Vec::new();
    }
    let status = sip.status.unwrap_or_default();
    let who = view.sender(entry);
    if status == 487 {
        let cancel = view.sip().find(|(_, _, sip)| sip.is_request("CANCEL"));
        let by = cancel.map_or_else(String::new, |(_, entry, _)| format!(" by {}", view.sender(entry)));
        return vec![Found::note(Some(at), format!("The call was given up{by} before it was answered."), "")];
    }
    let mut what = format!("{who} refused the call: {status} {}.", sip.reason.trim_end_matches('.'));
    if let Some(warning) = &sip.warning {
        what.push_str(&format!(" It says: {warning}."));
    }
    if let Some(why) = &sip.why {
        what.push_str(&format!(" Reason: {why}."));
    }
    let said = sip.warning.as_deref().unwrap_or_default();
    let advice =
        if sip.fault.is_some() { "The answer itself is malformed." } else { advice_of(status, said) };
    let make = if matches!(status, 480 | 486 | 600 | 603) { Found::warning } else { Found::failure };
    vec![make(Some(at), what, advice.to_owned())]
}

/// A challenge that nobody took up.
fn unauthorised(view: &View<'_>) -> Vec<Found> {
    let last = view.hops.iter().filter_map(|hop| hop.last()).max_by_key(|(at, ..)| *at);
    match last {
        Some((at, entry, sip)) if matches!(sip.status, Some(401 | 407)) => vec![Found::failure(
            Some(at),
            format!(
                "{} asked for a password ({}), and no INVITE with one that it took followed.",
                view.sender(entry),
                sip.status.unwrap_or_default()
            ),
            "Give the client the name and password that the registrar has, and compare realms.",
        )],
        _ => Vec::new(),
    }
}

/// What Carnet itself says in a Warning leads further than the status.
fn advice_of(status: u16, said: &str) -> &'static str {
    const SAID: [(&str, &str); 11] = [
        (
            "Key management failed",
            "Its key exchange failed; the peer is not told why, its own user is. The key management service's log and `carnet kms audit` have its \
             side: a wrong or revoked key, rules, clocks. `carnet doctor -c` with that client's file asks the same.",
        ),
        (
            "Key server",
            "It cannot reach its key management service: see that this runs, and `carnet doctor -c` with that client's file.",
        ),
        (
            "End-to-end key management required",
            "It seals or does not talk, and the offer came without keys: the caller does not seal, or a host on the way took a=key-mgmt out.",
        ),
        (
            "no media gateway is available",
            "No gateway of that border is in service: `carnet doctor` and `carnet gateway list -c FILE` there say which is away, then the gateway's log.",
        ),
        (
            "the media gateway has no capacity",
            "The gateway has no port or context left: `carnet gateway list -c FILE` shows what is free; widen `ports` of the realm or raise `max-contexts`.",
        ),
        (
            "the media gateway did not answer",
            "The gateway hangs or cannot be reached: see whether it runs, and whether packets of its control get there and back.",
        ),
        (
            "the media gateway refused",
            "What the gateway said stands in the log of that border (`gateway-refused`), and above as its H.248 error where it was told.",
        ),
        (
            "the media gateway does not answer",
            "The gateway went while it was asked: see whether it runs, or hangs, and the way to it.",
        ),
        (
            "the target has no address",
            "The name of the next hop or terminal does not resolve: correct `next-hop` of the route, or DNS; `carnet doctor` asks it.",
        ),
        (
            "no hop could be reached",
            "Nobody listens where it went on to, or TLS there failed: `carnet doctor` asks each next hop and says why.",
        ),
        (
            "no answer in time",
            "The one after it is silent: `carnet doctor` on its host asks the same next hop.",
        ),
    ];
    SAID.iter()
        .find(|(words, _)| said.contains(words))
        .map_or_else(|| advice_for(status), |(_, advice)| advice)
}

fn advice_for(status: u16) -> &'static str {
    match status {
        400 => "Something in the request could not be read there; its log should say what.",
        403 => "Policy forbids it: is the caller registered, and may it use this border?",
        404 => {
            "The user is not known there: check the address, the domain and the routes of the border before it."
        }
        408 => "Nobody behind it answered in time: look at the hop after it.",
        415 => "It does not take this kind of body.",
        420 | 421 => "The two do not agree on an extension (Require, Supported).",
        480 => "The user is not there: not registered, or not reachable.",
        481 => "It knows no such dialog: it was started anew, or the request went to another.",
        482 | 483 => "The request goes in circles: compare the routes of the hosts on the way.",
        486 | 600 | 603 => "The user is busy or does not want to.",
        488 | 606 => {
            "The media are not acceptable to it: compare transports, `a=setup`, keys and fingerprints of the offer with what it takes \
             (`carnet border explain` says what a border would do)."
        }
        494 => "It wants security that was not agreed on.",
        500..=599 if status == 503 => {
            "It is overloaded or has no gateway: look at its log and at its gateways."
        }
        500..=599 => "Something failed inside of it, or behind it: its log should say what.",
        _ => "Its log should say why.",
    }
}

/// An INVITE that is still open at the end.
pub(super) fn open(view: &View<'_>) -> Vec<Found> {
    let Some(hop) = view.hops.iter().rev().find(|hop| !hop.answers.is_empty()) else { return Vec::new() };
    if view.hops.iter().any(|hop| hop.last().is_some()) || view.hops.iter().any(|hop| hop.answers.is_empty())
    {
        return Vec::new();
    }
    let since = seconds(view.end.saturating_sub(hop.entry.at));
    let rang = hop.answers.iter().any(|(_, _, sip)| sip.status.is_some_and(|s| s >= 180));
    let state = if rang { "it rang there" } else { "it only said that it tries" };
    vec![Found::warning(
        Some(hop.at),
        format!(
            "The call was never answered: the INVITE got as far as {}, {state}, and nothing came in {since} s.",
            view.receiver(hop.entry)
        ),
        match view.is_told() {
            true => "Look at what stands behind that host; or it still rings.",
            false => "Look at what stands behind that host; or the capture ends too early.",
        },
    )]
}

/// A registration that did not succeed.
pub(super) fn register(view: &View<'_>) -> Vec<Found> {
    if view.session.kind != Kind::Registration {
        return Vec::new();
    }
    let finals: Vec<_> = view.sip().filter(|(_, _, sip)| sip.is_final("REGISTER")).collect();
    let Some((at, entry, sip)) = finals.last().copied() else {
        let sent = view.sip().find(|(_, _, sip)| sip.is_request("REGISTER"));
        return sent
            .map(|(at, entry, _)| {
                Found::failure(
                    Some(at),
                    format!(
                        "{} never answered the REGISTER, which was sent {}.",
                        view.receiver(entry),
                        times(entry.times)
                    ),
                    "See whether the registrar runs there, and whether packets get there and back.",
                )
            })
            .into_iter()
            .collect();
    };
    let status = sip.status.unwrap_or_default();
    if status < 300 {
        return Vec::new();
    }
    let who = view.sender(entry);
    if matches!(status, 401 | 407) {
        let challenges = finals.iter().filter(|(_, _, sip)| matches!(sip.status, Some(401 | 407))).count();
        let (what, advice) = if challenges > 1 {
            (
                format!("{who} did not take the password of {}.", sip.to_user),
                "Compare the user's name, realm and password at both ends.",
            )
        } else {
            (
                format!("{who} asked {} for a password, and none came.", sip.to_user),
                "Give the client a password for this realm.",
            )
        };
        return vec![Found::failure(Some(at), what, advice)];
    }
    let what = format!("{who} refused the registration of {}: {status} {}.", sip.to_user, sip.reason);
    vec![Found::failure(Some(at), what, advice_for(status))]
}

/// A call that one end took down for a reason (RFC 3326): nobody hung up.
pub(super) fn taken_down(view: &View<'_>) -> Vec<Found> {
    // The first to say it means it; borders pass it on.
    let bye = view.sip().find(|(_, _, sip)| sip.is_request("BYE") && sip.why.is_some());
    let Some((at, entry, sip)) = bye else { return Vec::new() };
    let why = sip.why.as_deref().unwrap_or_default();
    // `SIP;cause=200` and Q.850's 16 are the usual end.
    let number = why.split("cause=").nth(1).map_or("", |rest| rest.split(';').next().unwrap_or_default());
    if matches!(number.trim(), "200" | "16") {
        return Vec::new();
    }
    let advice = if why.contains("Media connection failed") {
        "It found no connection for the media, or no TLS on it, in its time: its own program says which. Look for a firewall between terminals and \
         gateways, and at what gateways counted."
    } else {
        "Its program or log says more."
    };
    vec![Found::failure(Some(at), format!("{} took the call down: {why}.", view.sender(entry)), advice)]
}

/// Other requests that were refused or not answered.
pub(super) fn other(view: &View<'_>) -> Vec<Found> {
    let mut out = Vec::new();
    // Two that hang up at the same time refuse each other's BYE, and nothing is wrong.
    let byes: HashSet<(usize, usize)> = view
        .sip()
        .filter(|(_, _, sip)| sip.is_request("BYE"))
        .map(|(_, entry, _)| (entry.from_host, entry.to_host))
        .collect();
    let crossed = byes.iter().any(|(from, to)| byes.contains(&(*to, *from)));
    let answered: HashSet<(&String, &String, IpAddr)> = view
        .sip()
        .filter(|(_, _, sip)| sip.status.is_some())
        .map(|(_, entry, sip)| (&sip.branch, &sip.method, entry.to.ip()))
        .collect();
    for (at, entry, sip) in view.sip() {
        if matches!(sip.method.as_str(), "INVITE" | "REGISTER" | "ACK" | "CANCEL") {
            continue;
        }
        match sip.status {
            Some(481 | 500) if sip.method == "BYE" && crossed => {}
            Some(status) if status >= 400 && !matches!(status, 401 | 407) => {
                out.push(Found::warning(
                    Some(at),
                    format!("{} refused {}: {status} {}.", view.sender(entry), sip.method, sip.reason),
                    advice_for(status),
                ));
            }
            None => {
                let answered = answered.contains(&(&sip.branch, &sip.method, entry.from.ip()));
                // A transaction has its time (RFC 3261 §17.1.2.2); before that an answer may yet come.
                let over = entry.times > 1 || view.end.saturating_sub(entry.at) > Duration::from_secs(32);
                if !answered && over {
                    out.push(Found::warning(
                        Some(at),
                        format!(
                            "{} never answered {}, which was sent {}.",
                            view.receiver(entry),
                            sip.method,
                            times(entry.times)
                        ),
                        "See whether it runs, and whether packets get there and back.",
                    ));
                }
            }
            _ => {}
        }
        if out.len() == 3 {
            break;
        }
    }
    out
}

/// Messages that break a grammar.
pub(super) fn unreadable(view: &View<'_>) -> Vec<Found> {
    let broken = view.entries().filter_map(|(at, entry)| {
        let why = match &entry.fact {
            Fact::Unreadable(why) => why.clone(),
            Fact::Sip(sip) => sip
                .fault
                .clone()
                .or_else(|| sip.sdp.as_ref()?.fault.as_ref().map(|f| format!("its SDP: {f}")))?,
            _ => return None,
        };
        Some(Found::warning(
            Some(at),
            format!("{} sent a message that cannot be read: {why}.", view.sender(entry)),
            "`carnet inspect` says where it is wrong; report it to whoever made the sender.",
        ))
    });
    broken.take(3).collect()
}
