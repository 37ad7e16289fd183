//! Names of traces and spans, made from what every process along a call sees.
//!
//! * The trace of a call whose first offer has a MIKEY ticket is named after the ticket: the key server knows no Call-ID, and
//!   what was asked of it for the call is part of the call. Calls made with one ticket share a trace.
//! * The trace of another call is named after its Call-ID, which borders keep from end to end.
//! * The span of an INVITE that a border sends is named after the branch in its Via: the next border, which finds the
//!   branch in what it gets, hangs its own call below that.

use opentelemetry::trace::{SpanId, TraceId};
use sha2::{Digest, Sha256};

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        // With lengths: no two lists of parts run into the same octets.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn trace(parts: &[&[u8]]) -> TraceId {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(parts)[..16]);
    TraceId::from_bytes(id)
}

/// Of a call without a ticket.
pub fn of_call(call_id: &str) -> TraceId {
    trace(&[b"carnet call", call_id.as_bytes()])
}

/// Of what is done with a ticket; its name is that of the key server's events.
pub fn of_ticket(ticket: &str) -> TraceId {
    trace(&[b"carnet ticket", ticket.as_bytes()])
}

/// Of something that belongs to no call.
pub fn of_itself() -> TraceId {
    let mut id = [0; 16];
    // Without randomness there would be no call to trace.
    let _ = getrandom::fill(&mut id);
    TraceId::from_bytes(id)
}

/// A span within a trace, by what names it.
pub fn span(trace: TraceId, parts: &[&str]) -> SpanId {
    let all: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    let mut id = [0; 8];
    id.copy_from_slice(&hash(&[&trace.to_bytes(), &hash(&all)])[..8]);
    SpanId::from_bytes(id)
}

/// Which traces are sent: the same everywhere, as they are chosen by their names (`TraceIdRatioBased`).
#[derive(Debug, Clone, Copy)]
pub struct Sample(u64);

impl Sample {
    /// That share, 0 to 1.
    pub fn new(share: f64) -> Self {
        // Saturating, as conversions of floats are.
        Self((share.clamp(0.0, 1.0) * (1u64 << 63) as f64) as u64)
    }

    /// Whether it is among them.
    pub fn takes(self, trace: TraceId) -> bool {
        let mut low = [0; 8];
        low.copy_from_slice(&trace.to_bytes()[8..]);
        u64::from_be_bytes(low) >> 1 < self.0
    }
}
