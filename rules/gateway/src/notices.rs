//! What the gateway has to tell its controller and has not been heard with: Notify and ServiceChange
//! commands (RFC 3525 §7.2.7, §7.2.8), in order and bounded.
//!
//! Without a controller they wait. When one is back that keeps our contexts (Failover, Disconnected,
//! HandOff), what waits is sent, with the time at which it happened, and so is what the former controller
//! did not answer: RFC 3525 §11.5 directs repeated requests to the new controller and has the gateway
//! keep its state. What repeats by itself (heartbeats, overload) does not wait. When too many wait, the
//! oldest are dropped: a controller that comes back audits.

use std::collections::BTreeMap;

use carnet_h248::association::Failure;
use carnet_h248::{
    Command, ContextId, ErrorDescriptor, ObservedEvents, ReplyBody, TerminationId, TransactionId, Verb,
};

/// Notices sent and not answered. More wait for their turn.
const MOST_SENT: usize = 256;

/// Command received from an unauthorized entity (H.248.8).
const UNAUTHORIZED: u16 = 504;

/// Something to be told.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) context: ContextId,
    pub(crate) command: Command,
    /// Worth telling later, when there is no controller now.
    pub(crate) lasting: bool,
    /// A controller that did not know the gateway was asked already.
    pub(crate) disowned: bool,
}

/// How a controller took a notice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Heard,
    /// It refused it: about what, and why.
    Refused(ContextId, TerminationId, ErrorDescriptor),
    /// Not one of ours, or nobody has heard it yet.
    Unknown,
}

#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// By number: in the order in which they happened.
    waiting: BTreeMap<u64, Notice>,
    sent: BTreeMap<TransactionId, (u64, Notice)>,
    next: u64,
    dropped: usize,
    /// The control association has no room until it has heard something.
    full: bool,
}

impl Notices {
    /// `most`: how many may wait.
    pub(crate) fn push(&mut self, notice: Notice, most: usize) {
        self.waiting.insert(self.next, notice);
        self.next += 1;
        while self.waiting.len() > most {
            self.waiting.pop_first();
            self.dropped += 1;
        }
    }

    /// Those that can be sent now, in order; none while so many are out that they have to wait.
    pub(crate) fn sendable(&self) -> impl Iterator<Item = (u64, &Notice)> {
        let room = !self.full && self.sent.len() < MOST_SENT;
        self.waiting.iter().filter(move |_| room).map(|(number, notice)| (*number, notice))
    }

    pub(crate) fn take(&mut self, number: u64) -> Option<(u64, Notice)> {
        self.waiting.remove_entry(&number)
    }

    /// It was sent under that number.
    pub(crate) fn sent(&mut self, id: TransactionId, number: u64, notice: Notice) {
        self.sent.insert(id, (number, notice));
    }

    /// Nobody is there to take it.
    pub(crate) fn back(&mut self, number: u64, notice: Notice, most: usize) {
        if notice.lasting {
            self.waiting.insert(number, notice);
        }
        while self.waiting.len() > most {
            self.waiting.pop_first();
            self.dropped += 1;
        }
    }

    /// Nobody is there: drops what is not worth telling later.
    pub(crate) fn keep_lasting(&mut self) {
        self.full = false;
        self.waiting.retain(|_, notice| notice.lasting);
    }

    pub(crate) fn answered(&mut self, id: TransactionId, body: &ReplyBody, most: usize) -> Outcome {
        self.full = false;
        let Some((number, mut notice)) = self.sent.remove(&id) else { return Outcome::Unknown };
        match body.first_error() {
            None => Outcome::Heard,
            // A controller that does not know this gateway has not heard it: whoever controls it next
            // does. Once, lest the two go round in circles.
            Some(error) if error.code == UNAUTHORIZED && !notice.disowned => {
                notice.disowned = true;
                self.back(number, notice, most);
                Outcome::Unknown
            }
            Some(error) => {
                Outcome::Refused(notice.context, notice.command.termination().clone(), error.clone())
            }
        }
    }

    /// There is no answer. Whether the controller heard of it is not known, so it is told again where
    /// that makes sense.
    pub(crate) fn failed(&mut self, id: TransactionId, reason: Failure, most: usize) {
        self.full = reason == Failure::TooMany;
        let Some((number, notice)) = self.sent.remove(&id) else { return };
        // What cannot be sent would not go another time either.
        if !matches!(reason, Failure::TooBig | Failure::Unsayable) {
            self.back(number, notice, most);
        }
    }

    /// What happened on a termination and waits to be told (RFC 3525 §7.1.17).
    pub(crate) fn observed<'a>(
        &'a self,
        context: ContextId,
        termination: &'a TerminationId,
    ) -> impl Iterator<Item = &'a ObservedEvents> {
        let here = move |n: &&Notice| {
            n.context == context && n.command.verb == Verb::Notify && n.command.termination() == termination
        };
        self.waiting.values().filter(here).filter_map(|n| n.command.observed_events())
    }

    /// How many were dropped since this was asked last.
    pub(crate) fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.dropped)
    }
}
