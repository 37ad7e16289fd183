//! What went wrong in a session, and what to do about it: a table of rules, each a function of what was seen.
//!
//! A rule says nothing unless it saw it. What is not in a capture may have happened elsewhere; where that is
//! possible the sentence says so.

mod control;
mod event;
mod keys;
mod media;
mod sip;
#[cfg(test)]
mod tests;
mod told;
mod verdict;
mod view;

use crate::model::{Finding, Session, Weight};
use view::View;

/// A rule.
struct Rule {
    name: &'static str,
    check: fn(&View<'_>) -> Vec<Found>,
}

/// What a rule found.
struct Found {
    weight: Weight,
    what: String,
    advice: String,
    entry: Option<usize>,
}

impl Found {
    fn failure(entry: Option<usize>, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { weight: Weight::Failure, what: what.into(), advice: advice.into(), entry }
    }

    fn warning(entry: Option<usize>, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, what: what.into(), advice: advice.into(), entry }
    }

    fn note(entry: Option<usize>, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { weight: Weight::Note, what: what.into(), advice: advice.into(), entry }
    }
}

/// The rules; of those that find something equally bad the first one comes first.
const RULES: [Rule; 28] = [
    // What somebody did to a description explains what fails later.
    Rule { name: "key-mgmt-lost", check: keys::lost },
    Rule { name: "fingerprint-lost", check: keys::fingerprint_lost },
    Rule { name: "transport-altered", check: keys::transport },
    Rule { name: "mikey-error", check: keys::error },
    Rule { name: "ticket-time", check: keys::time },
    Rule { name: "no-binding", check: keys::unbound },
    Rule { name: "setup-conflict", check: media::setup },
    Rule { name: "h248-error", check: control::error },
    Rule { name: "h248-silent", check: control::silent },
    Rule { name: "ng-error", check: control::ng },
    Rule { name: "invite-unanswered", check: sip::unanswered },
    Rule { name: "invite-refused", check: sip::refused },
    Rule { name: "invite-open", check: sip::open },
    Rule { name: "register-refused", check: sip::register },
    Rule { name: "request-refused", check: sip::other },
    Rule { name: "tcp-refused", check: media::refused },
    Rule { name: "tcp-silent", check: media::silent },
    Rule { name: "tls-alert", check: media::alert },
    Rule { name: "tls-silent", check: media::hello },
    Rule { name: "tls-missing", check: media::plain },
    Rule { name: "certificate", check: media::certificate },
    Rule { name: "msrp-error", check: media::msrp },
    Rule { name: "no-connection", check: media::never },
    Rule { name: "media-failed", check: told::failed },
    Rule { name: "no-media", check: told::silent },
    Rule { name: "taken-down", check: sip::taken_down },
    Rule { name: "event", check: event::told },
    Rule { name: "unreadable", check: sip::unreadable },
];

/// Everything that the rules find, the worst first; if that is nothing, what the session was.
pub fn all(session: &Session) -> Vec<Finding> {
    let view = View::of(session);
    let found = |rule: &Rule| {
        let name = rule.name;
        let named = move |found: Found| Finding {
            rule: name,
            weight: found.weight,
            what: found.what,
            advice: found.advice,
            entry: found.entry,
        };
        (rule.check)(&view).into_iter().map(named).collect::<Vec<_>>()
    };
    let mut out: Vec<Finding> = RULES.iter().flat_map(found).collect();
    out.sort_by_key(|finding| finding.weight);
    let wrong = out.iter().any(|finding| finding.weight < Weight::Note);
    let verdict = Rule { name: "verdict", check: if wrong { verdict::partly } else { verdict::whole } };
    out.extend(found(&verdict));
    out
}
