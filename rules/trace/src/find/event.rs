//! What nodes said of themselves.

use super::Found;
use super::view::View;
use crate::model::{Fact, Happened};

/// What failed, in the words of the node.
pub(super) fn told(view: &View<'_>) -> Vec<Found> {
    let mut known: Vec<(usize, &str)> = Vec::new();
    let mut out = Vec::new();
    // Who refuses says so in SIP or ng too: that has a rule of its own.
    let answered = view.entries().any(|(_, entry)| matches!(entry.fact, Fact::Sip(_) | Fact::Ng(_)));
    for (at, entry, event) in view.events().filter(|(_, entry, _)| entry.bad) {
        if known.contains(&(entry.to_host, &event.event)) || is_said(event, answered) {
            continue;
        }
        known.push((entry.to_host, &event.event));
        let what = format!("{} says: {}.", view.receiver(entry), words(event, &entry.label));
        let make = match event.event.as_str() {
            "tls-failed" => Found::failure,
            "gateway-lost" | "request-refused" if !answered => Found::failure,
            _ => Found::warning,
        };
        out.push(make(Some(at), what, advice(event)));
    }
    out
}

/// What another rule says with more of it.
fn is_said(event: &Happened, answered: bool) -> bool {
    match event.event.as_str() {
        "media-notice" => true,
        "call-ended" => {
            answered && matches!(event.text("cause"), Some("refused-here" | "unreachable" | "unanswered"))
        }
        _ => false,
    }
}

/// All of the reason: a label has room for its beginning only.
fn words(event: &Happened, label: &str) -> String {
    let said = event.event.replace('-', " ");
    match (event.event.as_str(), event.text("reason")) {
        ("unanswered", Some(reason)) => {
            let of = |name| event.text(name).unwrap_or_default();
            format!("{} went on to {}: {reason}", of("method"), of("sent_to"))
        }
        (_, Some(reason)) => {
            let status = event.number("status").map_or_else(String::new, |status| format!("{status} "));
            format!("{said}: {status}{}", reason.trim_end_matches('.'))
        }
        _ => label.to_owned(),
    }
}

fn advice(event: &Happened) -> &'static str {
    let reason = event.text("reason").unwrap_or_default();
    match event.event.as_str() {
        "tls-failed" if reason == "fingerprint_mismatch" => {
            "Compare the fingerprint in the description with the certificate of that end."
        }
        "tls-failed" => "docs/access.md says what each reason means; the terminal's own log has its side.",
        // Of a key management service, which asks for an operation.
        "request-refused" if event.text("operation").is_some() => match event.number("status") {
            // RFC 6043: what is wrong with the time is said in MIKEY.
            Some(200) => {
                "Clocks are apart: `date -u` on both says whose is wrong; beyond `skew` of [kms] nobody gets a ticket."
            }
            Some(401) => {
                "The key of that user is another than the one here, or he has none (any more): `carnet kms user list`; `carnet kms user add` makes a new one."
            }
            Some(403) => {
                "Rules or missing users: `carnet kms policy show`, `carnet kms user list`; who is called has to have a key too."
            }
            Some(429) => {
                "It asks more than `rate` of [kms] allows; an address of a translator is many users."
            }
            Some(500..) => {
                "The service cannot do its work: its disk, as a rule (`carnet doctor` on its host)."
            }
            _ => {
                "`carnet inspect mikey` says what is wrong with a request; docs/kms.md what each refusal means."
            }
        },
        "request-refused" => match reason {
            "no media gateway is available" => {
                "`carnet doctor` and `carnet gateway list -c FILE` on that host say which gateway is away."
            }
            _ => "docs/signalling.md and docs/access.md say what a border refuses; its settings decide.",
        },
        "unanswered" => match reason {
            "the target has no address" => "Correct `next-hop` of the route, or what DNS says of the name.",
            "no hop could be reached" => {
                "See that it listens there, and TLS if it is spoken; `carnet doctor` asks each next hop."
            }
            _ => "See that it runs, and that packets get there and back; `carnet doctor` asks each next hop.",
        },
        "registration-refused" => {
            "Name, realm or password differ, or the user may not: compare with the registrar's users."
        }
        "cap-reached" => "Raise that cap of the network, or find who uses it up (`carnet top`).",
        "gateway-lost" => {
            "See whether the gateway runs (its host's journal), and the way to it; its calls have ended or wait for it."
        }
        "gateway-refused" => {
            "The gateway's words; `carnet gateway list -c FILE` shows what it has left, and docs/control.md the codes."
        }
        "foreign-control" => "A gateway that has moved: put its address into `control.peers`; or a stranger.",
        "state-lost" => {
            "See the disk and the owner of `state.directory`: calls go on, and would not survive a restart."
        }
        "refused" | "unreachable" | "message-error" => {
            "Compare `controllers` of the gateway (name before `@`, address) with name, `control.listen`, `control.gateways` and `control.peers` there."
        }
        _ => "",
    }
}
