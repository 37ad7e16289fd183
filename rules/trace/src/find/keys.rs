//! Rules about keys, and about what somebody on the way did to a description.

use super::Found;
use super::view::View;
use crate::model::{Entry, KeyMessage, Line, Sdp};
use crate::words::moment;
use std::time::Duration;

/// How far clocks may be apart before tickets are refused (carnet's own default, and RFC 6043 §5.4's advice).
const SKEW: Duration = Duration::from_secs(300);

/// A description at one hop and at the next.
type Step<'a> = ((usize, &'a Entry, &'a Sdp), (usize, &'a Entry, &'a Sdp));

/// Offers and answers, each with what became of it one hop on.
fn steps<'a>(view: &View<'a>) -> Vec<(&'static str, Step<'a>)> {
    let mut out = Vec::new();
    let described: Vec<_> = view.hops.iter().filter(|hop| hop.sip.sdp.is_some()).collect();
    for pair in described.windows(2) {
        let [first, second] = pair else { continue };
        // The next hop begins where this one ended, and before this one has its answer: what a host says later is its own.
        let passed_on = first.entry.to_host == second.entry.from_host
            && first.last().is_none_or(|(answered, ..)| second.at < answered);
        if let (Some(before), Some(after), true) = (&first.sip.sdp, &second.sip.sdp, passed_on) {
            out.push(("offer", ((first.at, first.entry, before), (second.at, second.entry, after))));
        }
    }
    let mut answers: Vec<_> = view.hops.iter().filter_map(|hop| Some((hop.at, hop.answer()?))).collect();
    answers.sort_by_key(|(_, (at, ..))| *at);
    for pair in answers.windows(2) {
        let [(_, first), (asked, second)] = pair else { continue };
        if first.1.to_host == second.1.from_host && *asked < first.0 {
            out.push(("answer", (*first, *second)));
        }
    }
    out
}

fn lines<'a>(step: &Step<'a>) -> impl Iterator<Item = (&'a Line, &'a Line)> {
    step.0.2.lines.iter().zip(&step.1.2.lines).filter(|(before, after)| before.port != 0 && after.port != 0)
}

/// `a=key-mgmt` that goes in at a host and comes out other or not at all.
pub(super) fn lost(view: &View<'_>) -> Vec<Found> {
    let mut out = Vec::new();
    for (name, step) in steps(view) {
        let (_, before, _) = step.0;
        let (at, ..) = step.1;
        for (was, is) in lines(&step) {
            if was.keys.is_empty() || was.keys == is.keys {
                continue;
            }
            let who = view.receiver(before);
            let what = if is.keys.is_empty() {
                format!(
                    "{who} took the key exchange (a=key-mgmt) out of the {name}: what follows cannot be sealed from end to end."
                )
            } else {
                format!(
                    "{who} altered the key exchange (a=key-mgmt) in the {name}: its MAC will not hold at the other end."
                )
            };
            let advice = "Have that host pass a=key-mgmt on untouched (on a Carnet border: let the line be planned end to end); \
                          a MIKEY message is protected and bears no change.";
            out.push(Found::failure(Some(at), what, advice));
        }
    }
    out
}

/// `a=fingerprint` that goes in at a host and comes out other or not at all.
pub(super) fn fingerprint_lost(view: &View<'_>) -> Vec<Found> {
    let mut out = Vec::new();
    for (name, step) in steps(view) {
        for (was, is) in lines(&step) {
            if was.fingerprints.is_empty() || was.fingerprints == is.fingerprints {
                continue;
            }
            let (who, at) = (view.receiver(step.0.1), Some(step.1.0));
            if is.fingerprints.is_empty() {
                let what = format!(
                    "{who} took the fingerprint out of the {name}: nothing binds the certificate to the call any more."
                );
                out.push(Found::failure(at, what, "Have that host pass a=fingerprint on."));
            } else if view.is_to_edge() {
                let what = format!(
                    "{who} put its own fingerprint into the {name}: TLS ends there, as end-to-access-edge security has it."
                );
                out.push(Found::note(at, what, ""));
            } else {
                let what = format!(
                    "{who} put another fingerprint into the {name}: it ends TLS, and can read what passes."
                );
                out.push(Found::warning(
                    at,
                    what,
                    "If that is not wanted, have that host pass a=fingerprint on untouched.",
                ));
            }
        }
    }
    out
}

/// A transport that is another behind a host.
pub(super) fn transport(view: &View<'_>) -> Vec<Found> {
    let mut out = Vec::new();
    for (name, step) in steps(view) {
        for (was, is) in lines(&step) {
            if was.proto.eq_ignore_ascii_case(&is.proto) {
                continue;
            }
            let what =
                format!("{} made {} of {} in the {name}.", view.receiver(step.0.1), is.proto, was.proto);
            let at = Some(step.1.0);
            match (was.is_secured(), is.is_secured()) {
                (true, false) if view.is_to_edge() => {
                    out.push(Found::note(at, format!("{what} TLS ends there, as end-to-access-edge security has it."), ""));
                }
                (true, false) => out.push(Found::failure(
                    at,
                    format!("{what} From there on nothing is sealed."),
                    "Have that host pass the transport on as it is; a border that ends TLS shows so with a=3ge2ae.",
                )),
                _ => out.push(Found::warning(at, what, "The two sides now speak of different transports; see whether that is meant.")),
            }
        }
    }
    out
}

fn all_keys<'a>(view: &View<'a>) -> impl Iterator<Item = (usize, &'a Entry, &'a KeyMessage)> {
    view.entries().flat_map(|(at, entry)| {
        let keys: Vec<&KeyMessage> = match &entry.fact {
            crate::Fact::Sip(sip) => {
                sip.sdp.iter().flat_map(|sdp| &sdp.lines).flat_map(|line| &line.keys).collect()
            }
            crate::Fact::Http(http) => http.keys.iter().collect(),
            _ => Vec::new(),
        };
        keys.into_iter().map(move |key| (at, entry, key))
    })
}

/// An error of MIKEY, or a message that cannot be read.
pub(super) fn error(view: &View<'_>) -> Vec<Found> {
    let wrong = all_keys(view).find_map(|(at, entry, key)| {
        let who = view.sender(entry);
        if let Some(error) = &key.error {
            return Some(Found::failure(
                Some(at),
                format!("{who} answered the key exchange with MIKEY error {error}."),
                "Compare clocks, identities and pre-shared keys of the two; the audit of the key management service says more (`carnet kms audit`).",
            ));
        }
        key.fault.as_ref().map(|fault| {
            Found::warning(Some(at), format!("{who} sent a key exchange that cannot be read: {fault}."), "`carnet inspect mikey` says where it is wrong.")
        })
    });
    wrong.into_iter().collect()
}

/// Clocks that are apart, and tickets that are out of their time.
pub(super) fn time(view: &View<'_>) -> Vec<Found> {
    let wrong = all_keys(view).find_map(|(at, entry, key)| {
        let apart = key.made.map(|made| made.abs_diff(entry.at)).filter(|apart| *apart > SKEW);
        if let (Some(apart), Some(made)) = (apart, key.made) {
            return Some(Found::warning(
                Some(at),
                format!(
                    "{} has another time than {}: it made a {} at {}, {} s apart.",
                    view.sender(entry),
                    if view.is_told() { "the node that tells of it" } else { "where this was captured" },
                    if key.name.is_empty() { "MIKEY message" } else { &key.name }, moment(made), apart.as_secs()
                ),
                "`date -u` on each says whose is wrong. Have clients, key management service and nodes keep their clocks by NTP: messages that are older than some \
                 minutes are refused.",
            ));
        }
        let (from, to) = key.valid;
        let early = from.is_some_and(|from| entry.at + SKEW < from);
        let late = to.is_some_and(|to| entry.at > to + SKEW);
        (early || late).then(|| {
            let when = if late { "is over" } else { "has not begun" };
            Found::failure(Some(at), format!("The time of the ticket that {} sent {when}.", view.sender(entry)), "Fetch a new ticket; see that the client does not keep old ones, and compare clocks.")
        })
    });
    wrong.into_iter().collect()
}

/// TLS that nothing binds to the call.
pub(super) fn unbound(view: &View<'_>) -> Vec<Found> {
    for (at, entry, sip) in view.sip() {
        let Some(sdp) = &sip.sdp else { continue };
        for line in sdp.lines.iter().filter(|line| line.is_secured() && line.is_tcp() && line.port != 0) {
            if line.keys.is_empty() && line.fingerprints.is_empty() {
                return vec![Found::warning(
                    Some(at),
                    format!(
                        "{} offers {} with neither a=key-mgmt nor a=fingerprint: nothing says which key the other end has.",
                        view.sender(entry),
                        line.proto
                    ),
                    "Have the client add a fingerprint (RFC 8122) or a MIKEY-TICKET exchange; if a host before it removed them, see there.",
                )];
            }
        }
    }
    Vec::new()
}
