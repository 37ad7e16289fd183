//! What nodes said of themselves.

use super::Found;
use super::view::View;
use crate::model::Fact;

/// What failed, in the words of the node.
pub(super) fn told(view: &View<'_>) -> Vec<Found> {
    let mut known: Vec<(usize, &str)> = Vec::new();
    let mut out = Vec::new();
    // Who refuses says so in SIP or ng too: that has a rule of its own.
    let answered = view.entries().any(|(_, entry)| matches!(entry.fact, Fact::Sip(_) | Fact::Ng(_)));
    for (at, entry, event) in view.events().filter(|(_, entry, _)| entry.bad) {
        if known.contains(&(entry.to_host, &event.event)) {
            continue;
        }
        known.push((entry.to_host, &event.event));
        let what = format!("{} says: {}.", view.receiver(entry), entry.label);
        out.push(match event.event.as_str() {
            "tls-failed" | "gateway-lost" | "request-refused" if !answered => {
                Found::failure(Some(at), what, "")
            }
            "tls-failed" => Found::failure(
                Some(at),
                what,
                "Compare the fingerprint in the description with the certificate of that end.",
            ),
            _ => Found::warning(Some(at), what, ""),
        });
    }
    out
}
