//! INVITEs as they pass the sockets of a border or conference server: in which trace they are, and the span of one that went out.

use super::ids;
use super::span::{Span, Told};
use bytes::Bytes;
use carnet_mikey::exchange::ticket_id;
use carnet_sip::{Limits, Message, Method};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use std::time::SystemTime;

/// An INVITE on its way to the next hop.
pub struct Invite {
    pub branch: String,
    pub start: SystemTime,
}

impl Invite {
    /// Its span, with the status of its final response, if one came.
    pub fn sent(self, told: Told, (trace, parent): (TraceId, SpanId), answer: Option<u16>) -> Span {
        let status = match answer {
            Some(status @ 500..=599) => Status::error(format!("answered {status}")),
            Some(_) => Status::Unset,
            None => Status::error("no answer"),
        };
        let id = of_branch(trace, &self.branch);
        Span {
            trace,
            id,
            parent,
            remote: false,
            kind: SpanKind::Client,
            name: "INVITE".into(),
            start: self.start,
            end: SystemTime::now(),
            told: told.with("sip.branch", self.branch).and("sip.status", answer.map(i64::from)),
            events: Vec::new(),
            links: Vec::new(),
            status,
        }
    }
}

/// The span of the INVITE with that branch, whoever sent it.
pub fn of_branch(trace: TraceId, branch: &str) -> SpanId {
    ids::span(trace, &["INVITE", branch])
}

/// Whether a message begins an INVITE or ends one that was sent on.
pub fn is_of_interest(octets: &[u8], sent: bool) -> bool {
    let last = |status: &[u8]| matches!(status.first(), Some(b'2'..=b'6'));
    octets.starts_with(b"INVITE ") || (!sent && octets.strip_prefix(b"SIP/2.0 ").is_some_and(last))
}

/// What of INVITEs passed.
pub enum Passed {
    /// One outside of any dialog, with the branch that its sender gave it.
    Invite { branch: String, trace: TraceId },
    /// A final response to the one with that branch.
    Answer { branch: String, status: u16 },
}

/// Reads a message; with its Call-ID.
pub fn read(octets: &[u8], sent: bool) -> Option<(String, Passed)> {
    if !is_of_interest(octets, sent) {
        return None;
    }
    let message = Message::parse(Bytes::copy_from_slice(octets), &Limits::default()).ok()?;
    let call_id = message.call_id().ok()?.to_owned();
    if message.is_response() {
        let is_invite = *message.method() == Method::Invite;
        let branch = message.top_via().ok()?.branch().filter(|_| is_invite)?.to_owned();
        return Some((call_id, Passed::Answer { branch, status: message.status().unwrap_or_default() }));
    }
    // With a tag it belongs to a call that is there.
    if message.to_tag().is_some() {
        return None;
    }
    let vias = message.vias().ok()?;
    // Ours is on top; the one who made the request is at the bottom, and borders make requests anew.
    let via = if sent { vias.first() } else { vias.last() };
    let branch = via.and_then(|via| via.branch()).unwrap_or_default().to_owned();
    let trace =
        ticket(message.body()).map_or_else(|| ids::of_call(&call_id), |ticket| ids::of_ticket(&ticket));
    Some((call_id, Passed::Invite { branch, trace }))
}

/// The ticket in an offer, by the name that the key server gives it. `a=key-mgmt` stands in the open (RFC 4567 §3.1), and
/// what is secret of a ticket is sealed in it.
fn ticket(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("a=key-mgmt:"))?;
    let (protocol, data) = value.trim().split_once(' ')?;
    let octets = carnet_wire::base64::decode(data.trim().as_bytes()).ok().filter(|_| protocol == "mikey")?;
    let message = carnet_mikey::Message::parse(&octets, &carnet_mikey::Limits::default()).ok()?;
    Some(crate::kms::name_of(&ticket_id(message.ticket()?)))
}
