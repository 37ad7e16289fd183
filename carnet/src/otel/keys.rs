//! What a key server does: a span a request, in the trace of the ticket it was about.

use super::ids;
use super::span::{Span, Told};
use crate::kms::Event;
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use std::time::{Duration, SystemTime};

/// Takes an event of a key server.
pub fn kms(kms: &str, event: &Event, over: &mut Vec<Span>) {
    let told = Told::of("kms", kms);
    match event {
        Event::TicketIssued { user, initiator, responders, ticket, took, .. } => {
            let trace = ids::of_ticket(ticket);
            let told = granted(told, user, initiator, responders, ticket);
            let id = ids::span(trace, &["issue", kms]);
            over.push(request("KMS issue", (trace, id, SpanId::INVALID), told, *took, Status::Unset));
        }
        Event::TicketResolved { user, initiator, responders, ticket, took, .. } => {
            let trace = ids::of_ticket(ticket);
            let told = granted(told, user, initiator, responders, ticket);
            // It was issued here, as a rule. It may be resolved more than once.
            let parent = ids::span(trace, &["issue", kms]);
            over.push(request("KMS resolve", (trace, unique(), parent), told, *took, Status::Unset));
        }
        Event::RequestRefused { operation, source, status, reason, took, .. } => {
            let told = told
                .with("client.address", source.to_string())
                .with("http.response.status_code", i64::from(*status));
            let name = if *operation == "resolve" { "KMS resolve" } else { "KMS issue" };
            let place = (ids::of_itself(), unique(), SpanId::INVALID);
            over.push(request(name, place, told, *took, Status::error(reason.clone())));
        }
        Event::TicketRevoked { .. } | Event::KeyRotated { .. } => {}
    }
}

fn granted(told: Told, user: &str, initiator: &str, responders: &[String], ticket: &str) -> Told {
    told.with("enduser.id", user.to_owned())
        .with("mikey.initiator", initiator.to_owned())
        .with("mikey.responders", responders.join(" "))
        .with("mikey.ticket", ticket.to_owned())
        .with("http.response.status_code", 200)
}

fn request(
    name: &'static str,
    (trace, id, parent): (TraceId, SpanId, SpanId),
    told: Told,
    took: Duration,
    status: Status,
) -> Span {
    let end = SystemTime::now();
    Span {
        trace,
        id,
        parent,
        remote: false,
        kind: SpanKind::Server,
        name: name.into(),
        start: end - took,
        end,
        told,
        events: Vec::new(),
        links: Vec::new(),
        status,
    }
}

/// A span that nobody has to find by its name.
pub fn unique() -> SpanId {
    let mut id = [0; 8];
    id.copy_from_slice(&ids::of_itself().to_bytes()[..8]);
    SpanId::from_bytes(id)
}
