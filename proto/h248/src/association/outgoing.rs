//! Our requests that wait for an answer.

use super::Timers;
use super::timers::Delay;
use crate::model::{ActionRequest, Transaction, TransactionId, TransactionRequest};
use std::collections::HashMap;
use std::time::{Duration, Instant};

struct Waiting {
    /// To be sent again; `None` if it never is.
    request: Option<TransactionRequest>,
    /// When T-MAX began: at the first sending, again at each Pending.
    since: Instant,
    repeats: u32,
    pending: bool,
    alarm: Instant,
}

pub(super) struct Outgoing {
    next: TransactionId,
    waiting: HashMap<TransactionId, Waiting>,
    pub(super) delay: Delay,
}

impl Outgoing {
    pub(super) fn new(first: TransactionId, timers: &Timers) -> Self {
        Self { next: first, waiting: HashMap::new(), delay: Delay::new(timers) }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The next number. Zero is never used (RFC 3525 §8.1.1), nor one that still waits.
    pub(super) fn next_id(&mut self) -> TransactionId {
        loop {
            let id = self.next;
            self.next = TransactionId(id.0.wrapping_add(1).max(1));
            if !self.waiting.contains_key(&id) {
                return id;
            }
        }
    }

    pub(super) fn start(
        &mut self,
        now: Instant,
        id: TransactionId,
        actions: Vec<ActionRequest>,
        keep: bool,
    ) -> Transaction {
        let request = TransactionRequest { id, actions };
        let kept = keep.then(|| request.clone());
        let waiting = Waiting { request: kept, since: now, repeats: 0, pending: false, alarm: now };
        self.waiting.insert(id, waiting);
        Transaction::Request(request)
    }

    pub(super) fn set_alarm(&mut self, id: TransactionId, at: Instant) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.alarm = at;
        }
    }

    pub(super) fn age(&self, now: Instant, id: TransactionId) -> Option<Duration> {
        self.waiting.get(&id).map(|w| now.saturating_duration_since(w.since))
    }

    pub(super) fn remove(&mut self, id: TransactionId) {
        self.waiting.remove(&id);
    }

    /// The request again, how often it was repeated now, and whether it is Pending.
    pub(super) fn repeat(&mut self, id: TransactionId) -> Option<(Option<Transaction>, u32, bool)> {
        let waiting = self.waiting.get_mut(&id)?;
        waiting.repeats += 1;
        let again = waiting.request.clone().map(Transaction::Request);
        Some((again, waiting.repeats, waiting.pending))
    }

    /// A reply came; the alarm that is no longer wanted.
    pub(super) fn answered(&mut self, now: Instant, id: TransactionId) -> Option<Instant> {
        let waiting = self.waiting.remove(&id)?;
        if waiting.repeats == 0 && !waiting.pending {
            self.delay.measured(now.saturating_duration_since(waiting.since));
        }
        Some(waiting.alarm)
    }

    /// A Pending came: the peer lives and works on it; the alarm that is no longer wanted.
    pub(super) fn pending(&mut self, now: Instant, id: TransactionId) -> Option<Instant> {
        let waiting = self.waiting.get_mut(&id)?;
        waiting.pending = true;
        waiting.since = now;
        Some(waiting.alarm)
    }

    /// All requests that are kept again, in the order of their numbers.
    pub(super) fn all(&mut self) -> Vec<Transaction> {
        let mut ids: Vec<_> = self.waiting.keys().copied().collect();
        ids.sort_unstable();
        ids.iter().filter_map(|id| self.repeat(*id)?.0).collect()
    }

    pub(super) fn clear(&mut self) -> Vec<TransactionId> {
        let mut ids: Vec<_> = self.waiting.drain().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }
}
