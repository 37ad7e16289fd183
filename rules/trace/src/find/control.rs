//! Rules about gateways and what steers them.

use super::Found;
use super::view::View;
use crate::model::Fact;
use crate::words::{seconds, times};
use std::collections::HashSet;
use std::time::Duration;

/// A transaction: its number, who asks, who is asked. Not their addresses: over connections an end is seen with the port that it
/// has for a moment, or with the one that it listens at.
type Asked = (u32, usize, usize);

/// What was asked.
fn asked<'a>(view: &'a View<'_>) -> impl Iterator<Item = (Asked, &'a str)> + Clone {
    view.entries().flat_map(|(_, entry)| {
        let requests = match &entry.fact {
            Fact::Control(control) => control.requests.as_slice(),
            _ => &[],
        };
        requests.iter().map(move |(id, what)| ((*id, entry.from_host, entry.to_host), what.as_str()))
    })
}

/// What a gateway waits at most before it is thought gone (RFC 3525 §D.1.1).
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests that may hear that there is nothing, and nothing is wrong: who looks whether there is anything; what a
/// gateway tells while it is told to give everything back; and giving back again what was given back.
fn idle(view: &View<'_>) -> HashSet<Asked> {
    let done: HashSet<Asked> = view
        .entries()
        .flat_map(|(_, entry)| {
            let replies = match &entry.fact {
                Fact::Control(control) => control.replies.as_slice(),
                _ => &[],
            };
            replies
                .iter()
                .filter(|(_, error)| error.is_none())
                .map(|(id, _)| (*id, entry.to_host, entry.from_host))
        })
        .collect();
    let subtracts = asked(view).filter(|(_, what)| what.contains("Subtract"));
    let any = subtracts.clone().next().is_some();
    let given: HashSet<(&str, usize)> =
        subtracts.filter(|(asked, _)| done.contains(asked)).map(|((_, _, to), what)| (what, to)).collect();
    let idle = |(_, _, to): &Asked, what: &str| {
        what.starts_with("Audit")
            || what == "Subtract C=*"
            || any && what.starts_with("Notify")
            || given.contains(&(what, *to))
    };
    asked(view).filter(|(asked, what)| idle(asked, what)).map(|(asked, _)| asked).collect()
}

/// An error of H.248.
pub(super) fn error(view: &View<'_>) -> Vec<Found> {
    let mut out: Vec<Found> = Vec::new();
    let idle = idle(view);
    for (at, entry) in view.entries() {
        let Fact::Control(control) = &entry.fact else { continue };
        let errors = control.replies.iter().filter_map(|(id, error)| Some((*id, error.as_ref()?)));
        let errors = errors
            .filter(|(id, (code, _))| {
                !(matches!(code, 411 | 430 | 431) && idle.contains(&(*id, entry.to_host, entry.from_host)))
            })
            .map(|(_, error)| error);
        for (code, text) in errors.chain(&control.error) {
            let words = if text.is_empty() { String::new() } else { format!(" ({text})") };
            let what = format!("{} answered with H.248 error {code}{words}.", view.sender(entry));
            let advice = match code {
                449 if text.to_ascii_lowercase().contains("realm") => {
                    "The gateway has no realm of that name: `realm` of the border's network (its own name unless set) has to be one of \
                     [gateway.NAME.realm.…] there."
                }
                code => advice(*code),
            };
            out.push(Found::failure(Some(at), what, advice));
        }
    }
    out.truncate(3);
    out
}

fn advice(code: u16) -> &'static str {
    match code {
        400..=403 => "The message could not be read there; `carnet inspect h248` says where.",
        406 => "Compare the versions of H.248 that the two are set to.",
        410..=412 => {
            "The controller asks for something that is not there any more; it may have lost count of the gateway's contexts."
        }
        421..=422 => "The gateway does not do that in this context.",
        430 | 431 | 435 => "The termination does not exist: was the gateway started anew in between?",
        440..=449 => "A package, property or descriptor is unknown there: compare the profiles of the two.",
        500 => "Something failed inside the gateway: see its log.",
        501 | 502 => {
            "The gateway cannot do what was asked: see whether it is out of service, and its realms."
        }
        503 => "The gateway is not in service.",
        504 => {
            "The gateway does not take this from this controller, or not over this way: see `controllers` and what protects the control."
        }
        505 => "The controller does not know the gateway yet: it must register (ServiceChange) first.",
        506 | 510 | 512 | 526 => {
            "The gateway has no more room: ports, bandwidth or contexts; see its limits."
        }
        515 => "The gateway cannot carry these media.",
        525 => "The gateway is overloaded.",
        529 | 530 | 533 => "The answer was too long for the way; use TCP, or ask for less.",
        540 => "The gateway refuses new calls for now: it is being drained.",
        _ => "See the gateway's log.",
    }
}

/// A request that nobody answered.
pub(super) fn silent(view: &View<'_>) -> Vec<Found> {
    let mut answered: HashSet<Asked> = HashSet::new();
    let mut broken: HashSet<(usize, usize)> = HashSet::new();
    for (_, entry) in view.entries() {
        if let Fact::Control(control) = &entry.fact {
            answered.extend(control.replies.iter().map(|(id, _)| (*id, entry.to_host, entry.from_host)));
            if control.error.is_some() {
                broken.insert((entry.to_host, entry.from_host));
            }
        }
    }
    let is_answered =
        |id: u32, from: usize, to: usize| answered.contains(&(id, from, to)) || broken.contains(&(from, to));
    for (at, entry) in view.entries() {
        let Fact::Control(control) = &entry.fact else { continue };
        let Some((id, what)) =
            control.requests.iter().find(|(id, _)| !is_answered(*id, entry.from_host, entry.to_host))
        else {
            continue;
        };
        if entry.times == 1 && view.end.saturating_sub(entry.at) < PATIENCE {
            continue;
        }
        let unreachable = view.entries().find_map(|(_, e)| match &e.fact {
            Fact::Unreachable { about, why } if *about == entry.to => {
                Some(format!(" The network says: {why}."))
            }
            _ => None,
        });
        return vec![Found::failure(
            Some(at),
            format!(
                "{} never answered {what} (transaction {id}) of {}, which was sent {} in {} s.{}",
                view.receiver(entry),
                view.sender(entry),
                times(entry.times),
                seconds(entry.last.saturating_sub(entry.at)),
                unreachable.unwrap_or_default()
            ),
            "See whether it runs, and whether packets get there and back; a controller that hears nothing takes its gateway for gone. A border \
             does not answer what comes in a gateway's name from an address that `control.peers` does not have (`foreign-control` in its log).",
        )];
    }
    Vec::new()
}

/// A refusal of a media proxy.
pub(super) fn ng(view: &View<'_>) -> Vec<Found> {
    let refused = view.entries().find_map(|(at, entry)| match &entry.fact {
        Fact::Ng(ng) if ng.result.as_deref() == Some("error") => Some((at, entry, ng)),
        _ => None,
    });
    let refusal = refused.map(|(at, entry, ng)| {
        Found::failure(
            Some(at),
            format!("{} refused a request of the SIP server: {}.", view.sender(entry), ng.why.as_deref().unwrap_or("it does not say why")),
            "The words are the media proxy's; see its log, and `carnet inspect ng` for what the request asked.",
        )
    });
    refusal.into_iter().collect()
}
