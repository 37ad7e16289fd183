//! What is counted at one end of calls, and whether both ends say the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latency::{Histogram, Latency};

/// Causes that are told apart; more are counted together.
const CAUSES: usize = 32;

/// One end's books.
#[derive(Debug, Default)]
pub struct Books {
    /// Counts.
    pub counts: Counts,
    /// From when an INVITE was due to its 200.
    pub set_up: Histogram,
    /// From the 200 to the answer to the first message.
    pub media: Histogram,
    /// From when a message was sent until it was answered, and reported where that was asked for.
    pub message: Histogram,
    /// From BYE to its 200.
    pub end: Histogram,
}

/// Everything that has to add up.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls that were begun, or came.
    pub begun: u64,
    /// Of them ended in order, with everything said and answered.
    pub ended: u64,
    /// Of them failed.
    pub failed: u64,
    /// Why, and how often.
    pub causes: BTreeMap<String, u64>,
    /// Messages that were sent, that were answered, that came whole.
    pub sent: u64,
    /// The second.
    pub answered: u64,
    /// The third.
    pub received: u64,
    /// Octets in messages that were sent.
    pub octets_sent: u64,
    /// And in those that came.
    pub octets_received: u64,
    /// Octets of TCP that were written: heads, answers and TLS with them.
    pub written: u64,
    /// And read.
    pub read: u64,
}

/// What is told of an end.
#[derive(Debug, Clone, Serialize)]
pub struct Told {
    /// Counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// As in [`Books`]; microseconds.
    pub set_up_us: Option<Latency>,
    /// The same.
    pub media_us: Option<Latency>,
    /// The same.
    pub message_us: Option<Latency>,
    /// The same.
    pub end_us: Option<Latency>,
}

impl Books {
    /// Counts a failed call.
    pub fn fail(&mut self, cause: &str) {
        self.counts.failed += 1;
        let causes = &mut self.counts.causes;
        let known = causes.len() < CAUSES || causes.contains_key(cause);
        *causes.entry(if known { cause } else { "others" }.to_owned()).or_default() += 1;
    }

    /// For people and scripts. `open`: whether calls came at a rate, so that times count from when they were due.
    #[must_use]
    pub fn told(&self, open: bool) -> Told {
        let from = if open { "intended" } else { "sent" };
        Told {
            counts: self.counts.clone(),
            set_up_us: self.set_up.latency(from),
            media_us: self.media.latency("sent"),
            message_us: self.message.latency("sent"),
            end_us: self.end.latency("sent"),
        }
    }
}

impl Counts {
    /// What does not add up in one end's books.
    #[must_use]
    pub fn odd(&self) -> Vec<String> {
        let mut odd = Vec::new();
        if self.begun != self.ended + self.failed {
            odd.push(format!(
                "{} calls were begun, {} ended, {} failed",
                self.begun, self.ended, self.failed
            ));
        }
        if self.failed != self.causes.values().sum::<u64>() {
            odd.push(format!("{} failed, for {} causes", self.failed, self.causes.values().sum::<u64>()));
        }
        if self.failed == 0 && self.sent != self.answered {
            odd.push(format!("{} messages were sent, {} answered", self.sent, self.answered));
        }
        odd
    }

    /// What callers and callees say differently.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            ("calls were begun, came", self.begun, other.begun),
            ("calls ended for callers, for callees", self.ended, other.ended),
            ("messages from callers went, came", self.sent, other.received),
            ("messages from callees went, came", other.sent, self.received),
            ("octets of messages from callers went, came", self.octets_sent, other.octets_received),
            ("octets of messages from callees went, came", other.octets_sent, self.octets_received),
            ("octets of TCP from callers went, came", self.written, other.read),
            ("octets of TCP from callees went, came", other.written, self.read),
        ];
        let unequal = pairs.into_iter().filter(|(_, went, came)| went != came);
        unequal.map(|(what, went, came)| format!("{what}: {went}, {came}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_that_do_not_add_up_are_told() {
        let mut books = Books::default();
        books.counts.begun = 3;
        books.counts.ended = 1;
        books.fail("busy");
        assert_eq!(books.counts.odd(), ["3 calls were begun, 1 ended, 1 failed"]);
        books.fail("busy");
        assert!(books.counts.odd().is_empty());
        assert_eq!(books.counts.causes["busy"], 2);
        for number in 0..100 {
            books.fail(&format!("cause {number}"));
        }
        assert!(books.counts.causes.len() <= CAUSES + 1 && books.counts.causes["others"] > 50);
    }

    #[test]
    fn an_octet_that_one_end_does_not_know_is_told() {
        let caller = Counts { begun: 1, ended: 1, octets_sent: 200, written: 900, ..Counts::default() };
        let callee = Counts { begun: 1, ended: 1, octets_received: 200, read: 900, ..Counts::default() };
        assert!(caller.differences(&callee).is_empty());
        let lost = Counts { read: 899, ..callee };
        assert_eq!(caller.differences(&lost), ["octets of TCP from callers went, came: 900, 899"]);
    }
}
