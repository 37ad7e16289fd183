//! What an endpoint has counted, and how long transactions took: for who watches it.

use super::{Endpoint, Silence};
use crate::error::Error;
use crate::method::Method;
use std::time::{Duration, Instant};

/// Transactions that are over and that nobody has asked for yet, at most: the oldest are forgotten.
const MOST_FINISHED: usize = 1024;

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Requests sent again as nothing came (Timers A and E).
    pub requests_repeated: u64,
    /// Responses sent again: to a request that came again, or as no ACK came (Timer G, RFC 3261 §13.3.1.4).
    pub responses_repeated: u64,
    /// Requests that came again.
    pub repeats_received: u64,
    /// Requests of ours without a final response in time (Timers B and F).
    pub timed_out: u64,
    /// Requests of ours that could not be delivered.
    pub unreachable: u64,
    /// Requests of ours to a URI without an address.
    pub without_address: u64,
    /// Final responses to INVITE without an ACK (Timer H, and 64 * T1 after a 2xx).
    pub unacknowledged: u64,
    /// Requests of others refused as there were too many.
    pub refused_full: u64,
    /// Requests of others refused as they had waited too long.
    pub refused_behind: u64,
    /// What came and was no SIP message, or one with a fault.
    pub malformed: u64,
}

/// A transaction that has its final response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// It was a request of ours.
    pub ours: bool,
    /// Of the request.
    pub method: Method,
    /// Of the final response.
    pub status: u16,
    /// From the request to the final response.
    pub took: Duration,
}

impl Endpoint {
    /// What was counted since the start.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The next transaction that has its final response, in their order.
    pub fn poll_finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    pub(super) fn finish(&mut self, now: Instant, began: Instant, ours: bool, method: Method, status: u16) {
        if self.finished.len() >= MOST_FINISHED {
            self.finished.pop_front();
        }
        let took = now.saturating_duration_since(began);
        self.finished.push_back(Finished { ours, method, status, took });
    }

    pub(super) fn count_silence(&mut self, reason: Silence) {
        match reason {
            Silence::Timeout => self.tally.timed_out += 1,
            Silence::Unreachable => self.tally.unreachable += 1,
            Silence::NoAddress => self.tally.without_address += 1,
            Silence::Cancelled => {}
        }
    }

    pub(super) fn count_refusal(&mut self, error: &Error) {
        match error {
            Error::Full => self.tally.refused_full += 1,
            Error::Behind => self.tally.refused_behind += 1,
            Error::Malformed { .. } | Error::Missing(_) | Error::Repeated(_) | Error::Version => {
                self.tally.malformed += 1;
            }
            _ => {}
        }
    }
}
