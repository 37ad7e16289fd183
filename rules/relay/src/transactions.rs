//! Requests that wait for the answer of a next hop (RFC 4976 §6.4.1, §6.4.3).

use crate::ConnectionId;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who is to hear of a failure (RFC 4975 §7.1.1, Failure-Report).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Of any, and of silence.
    Yes,
    /// Of those that are said.
    Partial,
    No,
}

/// What a report on a SEND says, for all its chunks.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) mode: Mode,
    /// The connection it came on.
    pub(crate) from: ConnectionId,
    /// Octets: the way back, our URI, the Message-ID.
    pub(crate) text: Arc<[u8]>,
    pub(crate) parts: [usize; 2],
    /// Octets of the whole message, when they are known.
    pub(crate) total: Option<u64>,
}

/// A request of somebody else that is answered to who sent it.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) from: ConnectionId,
    /// Its transaction identifier there.
    pub(crate) tid: Box<[u8]>,
    /// URIs of ours at the start of the answer's To-Path.
    pub(crate) hops: usize,
    /// Whether it is an AUTH with credentials: a refusal counts.
    pub(crate) proof: bool,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Done,
    Send {
        sent: Sent,
        /// Position of the first octet, from 1, and how many there were.
        start: u64,
        length: u64,
    },
    Forwarded(Forwarded),
}

#[derive(Debug)]
pub(crate) struct Transaction {
    secret: u64,
    /// Where its last octet is in what leaves; none while it is being written.
    end: Option<u64>,
    /// When that octet left.
    started: Option<Instant>,
    pub(crate) kind: Kind,
}

/// Those of one connection, in the order in which they were begun.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    list: VecDeque<Transaction>,
    /// Number of the first one in the list.
    base: u64,
    /// Number of the first one whose time does not run yet.
    next_start: u64,
    /// How many of the list are not over.
    waiting: usize,
}

impl Transactions {
    pub(crate) fn begin(&mut self, secret: u64, kind: Kind) -> u64 {
        self.waiting += 1;
        self.list.push_back(Transaction { secret, end: None, started: None, kind });
        self.base + self.list.len() as u64 - 1
    }

    /// How many wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    fn at(&mut self, number: u64) -> Option<&mut Transaction> {
        self.list.get_mut(usize::try_from(number.checked_sub(self.base)?).ok()?)
    }

    /// All of it has been written, up to `end` of what leaves; `length` octets of a body.
    pub(crate) fn written(&mut self, number: u64, end: u64, octets: u64) {
        if let Some(transaction) = self.at(number) {
            transaction.end = Some(end);
            if let Kind::Send { length, .. } = &mut transaction.kind {
                *length = octets;
            }
        }
    }

    /// What leaves has left up to `sent`.
    pub(crate) fn left(&mut self, sent: u64, now: Instant) {
        self.next_start = self.next_start.max(self.base);
        let mut number = self.next_start;
        while let Some(transaction) = self.at(number)
            && transaction.end.is_some_and(|end| end <= sent)
        {
            transaction.started = Some(now);
            number += 1;
        }
        self.next_start = number;
    }

    /// The one that an answer is for; it is over.
    pub(crate) fn answered(&mut self, secret: u64, number: u64) -> Option<Kind> {
        let transaction = self.at(number).filter(|t| t.secret == secret)?;
        let kind = std::mem::replace(&mut transaction.kind, Kind::Done);
        if !matches!(kind, Kind::Done) {
            self.waiting -= 1;
        }
        self.sweep();
        (!matches!(kind, Kind::Done)).then_some(kind)
    }

    fn sweep(&mut self) {
        while self.list.front().is_some_and(|t| matches!(t.kind, Kind::Done) && t.end.is_some()) {
            self.pop();
        }
    }

    /// The next one that has waited for `patience`; it is over.
    pub(crate) fn overdue(&mut self, now: Instant, patience: Duration) -> Option<Kind> {
        self.sweep();
        let first = self.list.front()?;
        if now.saturating_duration_since(first.started?) < patience {
            return None;
        }
        self.pop().map(|t| t.kind)
    }

    fn pop(&mut self) -> Option<Transaction> {
        let first = self.list.pop_front()?;
        self.base += 1;
        if !matches!(first.kind, Kind::Done) {
            self.waiting -= 1;
        }
        Some(first)
    }

    /// Forgets the oldest while there are more than `most` behind it, if nobody has to hear of it: it may
    /// be answered, but need not be.
    pub(crate) fn shorten(&mut self, most: usize) {
        self.sweep();
        let partial =
            |t: &Transaction| matches!(&t.kind, Kind::Send { sent, .. } if sent.mode == Mode::Partial);
        while self.list.len() > most && self.list.front().is_some_and(|t| partial(t) && t.end.is_some()) {
            self.pop();
            self.sweep();
        }
    }

    /// Everything that was written and not answered.
    pub(crate) fn unanswered(self) -> impl Iterator<Item = Kind> {
        self.list.into_iter().filter(|t| t.end.is_some()).map(|t| t.kind)
    }
}
