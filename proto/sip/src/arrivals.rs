//! Requests that reach us twice, on two ways through the network (RFC 3261 §8.2.2.2).
//!
//! A proxy that forks may send the same request to us by two of its branches. The transactions
//! differ, so the endpoint takes both; the second is answered 482 or the caller would hear two
//! answers from one phone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{Error, Message, Method};

/// Requests remembered; beyond, the oldest is forgotten before its time.
const MOST: usize = 1024;

/// The requests outside dialogs that came lately.
#[derive(Debug, Default)]
pub struct Arrivals {
    seen: VecDeque<(Instant, Print)>,
}

/// What two copies of a request have in common.
#[derive(Debug, PartialEq, Eq)]
struct Print {
    call_id: String,
    from_tag: String,
    cseq: u32,
    method: Method,
}

impl Print {
    fn of(request: &Message) -> Result<Self, Error> {
        let cseq = request.cseq()?;
        Ok(Self {
            call_id: request.call_id()?.to_owned(),
            from_tag: request.from_tag().unwrap_or_default(),
            cseq: cseq.number,
            method: cseq.method,
        })
    }
}

impl Arrivals {
    /// Whether this request without a To tag was here before by another way. If not, it is
    /// remembered for `long`.
    #[must_use]
    pub fn is_merged(&mut self, now: Instant, request: &Message, long: Duration) -> bool {
        let Ok(print) = Print::of(request) else { return false };
        while self.seen.front().is_some_and(|(until, _)| now >= *until) {
            self.seen.pop_front();
        }
        if self.seen.iter().any(|(_, seen)| *seen == print) {
            return true;
        }
        if self.seen.len() >= MOST {
            self.seen.pop_front();
        }
        self.seen.push_back((now + long, print));
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn request(call_id: usize) -> Message {
        let mut request = Message::request(Method::Options, "sip:b@b".parse().unwrap());
        request.push_back("From", "<sip:a@a>;tag=1").unwrap();
        request.push_back("Call-ID", &call_id.to_string()).unwrap();
        request.push_back("CSeq", "1 OPTIONS").unwrap();
        request
    }

    #[test]
    fn requests_are_told_apart_for_a_while_and_up_to_a_number() {
        let (mut arrivals, now, long) = (Arrivals::default(), Instant::now(), Duration::from_secs(32));
        assert!(!arrivals.is_merged(now, &request(0), long) && arrivals.is_merged(now, &request(0), long));
        let mut next = request(0);
        next.set_header("CSeq", "2 OPTIONS").unwrap();
        assert!(!arrivals.is_merged(now, &next, long));
        assert!(!arrivals.is_merged(now + long, &request(0), long), "that was long ago");
        for call_id in 1..=2 * MOST {
            assert!(!arrivals.is_merged(now + long, &request(call_id), long));
        }
        assert_eq!(arrivals.seen.len(), MOST);
    }
}
