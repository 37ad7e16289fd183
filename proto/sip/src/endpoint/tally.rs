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
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{
        endpoint, endpoint_with, feed, from_wire, one_sent, reply, request, run, sent, udp,
    };
    use super::*;
    use crate::{Event, Message};

    #[test]
    fn transactions_are_measured_from_the_request_to_the_final_response() {
        let (mut e, start) = (endpoint(), Instant::now());
        e.request(start, request(Method::Invite), udp().into()).unwrap();
        let invite = one_sent(&mut e);
        feed(&mut e, start + Duration::from_secs(1), udp(), reply(&invite, 180, "b"));
        assert_eq!(e.poll_finished(), None, "it rings");
        let answered = Duration::from_secs(3);
        feed(&mut e, start + answered, udp(), reply(&invite, 200, "b"));
        // A 2xx that comes again, and that of a fork, are no new end.
        feed(&mut e, start + answered, udp(), reply(&invite, 200, "b"));
        feed(&mut e, start + answered, udp(), reply(&invite, 200, "c"));
        let finished = Finished { ours: true, method: Method::Invite, status: 200, took: answered };
        assert_eq!((e.poll_finished(), e.poll_finished()), (Some(finished), None));
        // One of somebody else's.
        while e.poll_event().is_some() {}
        feed(&mut e, start, udp(), from_wire(Method::Options, "z9hG4bKo"));
        let Some(Event::Request { key, message, .. }) = e.poll_event() else { panic!() };
        let took = Duration::from_millis(20);
        e.respond(start + took, key, Message::response(&message, 404, "").unwrap()).unwrap();
        let finished = Finished { ours: false, method: Method::Options, status: 404, took };
        assert_eq!((e.poll_finished(), e.poll_finished()), (Some(finished), None));
    }

    #[test]
    fn what_is_said_again_and_what_comes_to_nothing_is_counted() {
        let (mut e, start) = (endpoint(), Instant::now());
        e.request(start, request(Method::Options), udp().into()).unwrap();
        one_sent(&mut e);
        let repeats = run(&mut e, start, Duration::from_secs(40)).len() as u64;
        assert!(repeats > 5, "{repeats}");
        assert_eq!(e.tally(), Tally { requests_repeated: repeats, timed_out: 1, ..Tally::default() });
        assert_eq!(e.poll_finished(), None);
        // The same request twice is answered twice.
        let mut e = endpoint();
        feed(&mut e, start, udp(), from_wire(Method::Options, "z9hG4bKo"));
        let Some(Event::Request { key, message, .. }) = e.poll_event() else { panic!() };
        e.respond(start, key, Message::response(&message, 200, "").unwrap()).unwrap();
        feed(&mut e, start, udp(), from_wire(Method::Options, "z9hG4bKo"));
        assert_eq!(sent(&mut e).len(), 2);
        let wanted = Tally { repeats_received: 1, responses_repeated: 1, ..Tally::default() };
        assert_eq!(e.tally(), wanted);
        // What cannot be read, and what there is no room for.
        let mut e = endpoint_with(|config| config.server_transactions = 0);
        feed(&mut e, start, udp(), &b"no SIP\r\n\r\n"[..]);
        feed(&mut e, start, udp(), from_wire(Method::Options, "z9hG4bKp"));
        assert_eq!(e.tally(), Tally { malformed: 1, refused_full: 1, ..Tally::default() });
    }

    /// Whoever does not ask fills no memory.
    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let (mut e, start) = (endpoint(), Instant::now());
        for number in 0..2 * MOST_FINISHED {
            feed(&mut e, start, udp(), from_wire(Method::Options, &format!("z9hG4bK{number}")));
            let Some(Event::Request { key, message, .. }) = e.poll_event() else { panic!() };
            e.respond(start, key, Message::response(&message, 200, "").unwrap()).unwrap();
            while e.poll_transmit().is_some() {}
        }
        assert_eq!(std::iter::from_fn(|| e.poll_finished()).count(), MOST_FINISHED);
    }
}
