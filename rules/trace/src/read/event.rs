//! What nodes say of themselves, in some words.

use super::{Tie, Told};
use crate::model::{Fact, Happened};
use crate::words;
use std::fmt::Write as _;

/// Characters of a label.
const LABEL: usize = 100;

/// Reads an event. `held`: the gateway and the context that it is about.
pub(crate) fn read(event: &Happened, held: Option<&(String, u32)>) -> Told {
    let mut ties: Vec<Tie> = event.call_id.clone().map(Tie::Call).into_iter().collect();
    if let Some((gateway, context)) = held {
        let fresh = matches!(event.event.as_str(), "added" | "media-reserved" | "resumed");
        ties.push(match fresh {
            true => Tie::FreshHeld(gateway.clone(), *context),
            false => Tie::Held(gateway.clone(), *context),
        });
    }
    let ticket = event.text("ticket").and_then(|ticket| u64::from_str_radix(ticket, 16).ok());
    ties.extend(ticket.map(Tie::Ticket));
    let mut text = String::new();
    for (name, value) in &event.fields {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        // Writing into a string does not fail.
        let _ = writeln!(text, "{name}: {value}");
    }
    // That a controller knows a termination no more is usual when it has just given it back.
    let bad = matches!(event.level.as_str(), "warn" | "error") && event.event != "notice-refused";
    let mut label: String = label(event).replace(['\r', '\n'], " ");
    if label.chars().count() > LABEL {
        label = label.chars().take(LABEL - 1).chain(['…']).collect();
    }
    Told { bad, ties, ..Told::new(label, text, Fact::Event(Box::new(event.clone()))) }
}

/// Fields that say most, the most telling first.
const MAIN: [&str; 13] = [
    "plan",
    "cause.text",
    "reason",
    "error.text",
    "text",
    "why",
    "cause",
    "what",
    "local",
    "peer",
    "source",
    "gateway",
    "user",
];

fn label(event: &Happened) -> String {
    let said = event.event.replace('-', " ");
    let octets: u64 = event
        .fields
        .iter()
        .filter(|(name, _)| name.ends_with(".received"))
        .filter_map(|(_, n)| n.as_u64())
        .sum();
    match event.event.as_str() {
        "media-released" | "removed" => format!("{said}: {}", words::octets(octets)),
        "sealed" => {
            let of = |name| event.text(name).unwrap_or_default();
            format!("{said}: {} {}", of("version"), of("suite"))
        }
        "engine" => {
            let of = |name| event.text(name).unwrap_or_default();
            format!("{said}: {}, {}", of("engine"), of("reason"))
        }
        "ticket-issued" | "ticket-resolved" => {
            let to = event.fields.get("responders").and_then(|list| list.get(0)).and_then(|to| to.as_str());
            let of = event.text("initiator").unwrap_or_default();
            format!("{said}: {of} to {}", to.unwrap_or_default())
        }
        "plan-made" | "offer-planned" => format!("plan: {}", event.text("plan").unwrap_or_default()),
        _ => {
            let status = event.number("status").map(|status| status.to_string());
            let main = MAIN.iter().find_map(|name| event.text(name)).map(str::to_owned);
            let main: Vec<String> = status.into_iter().chain(main).collect();
            if main.is_empty() { said } else { format!("{said}: {}", main.join(" ")) }
        }
    }
}
