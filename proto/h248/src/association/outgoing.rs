//! Our requests that wait for an answer.

use super::segments::{Added, Assembly};
use super::size::Item;
use super::timers::Delay;
use super::{Limits, Timers};
use crate::model::{ReplyBody, SegmentNumber, TransactionId};
use std::collections::HashMap;
use std::time::{Duration, Instant};

struct Waiting {
    /// To be sent again; `None` if it never is.
    item: Option<Item>,
    /// When T-MAX began: at the first sending, again at each Pending.
    since: Instant,
    /// AAD when it was sent.
    average: Duration,
    repeats: u32,
    pendings: u32,
    /// Repeats since the last Pending.
    patience: u32,
    alarm: Instant,
    /// Of the answer.
    segments: Option<Assembly>,
}

/// What to do with a request whose alarm is due.
pub(super) enum Due {
    /// Send it again, `wait` after which it is due again.
    Repeat { item: Option<Item>, next: Next },
    /// T-MAX has passed.
    Expired,
    /// Segments of its answer did not come.
    Segments { missing: Vec<u16> },
}

/// How long to wait after a repeat.
pub(super) enum Next {
    /// By what was measured.
    Measured { average: Duration, repeats: u32 },
    /// It is Pending; the how manieth repeat since.
    Pending { repeats: u32 },
}

/// What a segment of an answer led to.
pub(super) enum Arrived {
    /// Nobody waits for it.
    Late,
    Again,
    /// It contradicts others, or is too much.
    Refused,
    /// More must come; the alarm that is no longer wanted, if a new one is.
    More {
        alarm: Option<Instant>,
        has_last: bool,
    },
    Complete {
        alarm: Instant,
        immediate_ack: bool,
        body: ReplyBody,
    },
}

pub(super) struct Outgoing {
    next: TransactionId,
    waiting: HashMap<TransactionId, Waiting>,
    pub(super) delay: Delay,
    /// Segments held of answers that are not complete.
    held: usize,
}

impl Outgoing {
    pub(super) fn new(first: TransactionId, timers: &Timers) -> Self {
        Self { next: first, waiting: HashMap::new(), delay: Delay::new(timers), held: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    #[cfg(test)]
    pub(super) fn set_next(&mut self, id: TransactionId) {
        self.next = id;
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held
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

    pub(super) fn start(&mut self, now: Instant, id: TransactionId, item: Option<Item>, average: Duration) {
        let waiting = Waiting {
            item,
            since: now,
            average,
            repeats: 0,
            pendings: 0,
            patience: 0,
            alarm: now,
            segments: None,
        };
        self.waiting.insert(id, waiting);
    }

    pub(super) fn set_alarm(&mut self, id: TransactionId, at: Instant) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.alarm = at;
        }
    }

    pub(super) fn age(&self, now: Instant, id: TransactionId) -> Option<Duration> {
        self.waiting.get(&id).map(|w| now.saturating_duration_since(w.since))
    }

    fn remove(&mut self, id: TransactionId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        self.held -= waiting.segments.as_ref().map_or(0, Assembly::len);
        Some(waiting)
    }

    /// What to do now that the alarm of a request is due. It is forgotten unless it is repeated.
    pub(super) fn due(&mut self, now: Instant, id: TransactionId, t_max: Duration) -> Option<Due> {
        let waiting = self.waiting.get_mut(&id)?;
        if let Some(segments) = &waiting.segments {
            let missing = segments.missing();
            self.remove(id);
            return Some(Due::Segments { missing });
        }
        // RFC 3525 §D.1.5: before each repeat check that no more than T-MAX has passed.
        if now.saturating_duration_since(waiting.since) >= t_max {
            self.remove(id);
            self.delay.nothing();
            return Some(Due::Expired);
        }
        let (item, next) = waiting.repeat();
        Some(Due::Repeat { item, next })
    }

    /// A whole reply came; the alarm that is no longer wanted.
    pub(super) fn answered(&mut self, now: Instant, id: TransactionId) -> Option<Instant> {
        let waiting = self.remove(id)?;
        if waiting.segments.is_none() {
            waiting.measure(now, &mut self.delay);
        }
        Some(waiting.alarm)
    }

    /// A segment of a reply came.
    pub(super) fn assemble(
        &mut self,
        now: Instant,
        id: TransactionId,
        segment: SegmentNumber,
        immediate_ack: bool,
        body: ReplyBody,
        limits: &Limits,
    ) -> Arrived {
        let Some(waiting) = self.waiting.get_mut(&id) else { return Arrived::Late };
        let first = waiting.segments.is_none();
        let segments = waiting.segments.get_or_insert_default();
        let had_last = segments.has_last();
        let full = self.held >= limits.assembling;
        let added = segments.add(segment, body, limits.segments, full);
        if added != Added::New {
            if segments.len() == 0 {
                waiting.segments = None;
            }
            return if added == Added::Again { Arrived::Again } else { Arrived::Refused };
        }
        self.held += 1;
        segments.immediate_ack |= immediate_ack;
        let (complete, has_last) = (segments.is_complete(), segments.has_last());
        if first {
            // This is the beginning of the answer.
            waiting.measure(now, &mut self.delay);
        }
        if !complete {
            // Once the last is there the time for the others runs.
            let alarm = (!had_last).then_some(waiting.alarm);
            return Arrived::More { alarm, has_last };
        }
        let Some(waiting) = self.remove(id) else { return Arrived::Late };
        let segments = waiting.segments.unwrap_or_default();
        let immediate_ack = segments.immediate_ack;
        Arrived::Complete { alarm: waiting.alarm, immediate_ack, body: segments.join() }
    }

    /// A Pending came: the peer lives and works on it; the alarm that is no longer wanted and how many
    /// that makes. None if the answer has begun to come (RFC 3525 §D.1.4).
    pub(super) fn pending(&mut self, now: Instant, id: TransactionId) -> Option<(Instant, u32)> {
        let waiting = self.waiting.get_mut(&id).filter(|w| w.segments.is_none())?;
        waiting.pendings += 1;
        waiting.patience = 0;
        waiting.since = now;
        Some((waiting.alarm, waiting.pendings))
    }

    /// Gives up a request.
    pub(super) fn give_up(&mut self, id: TransactionId) {
        self.remove(id);
    }

    /// All requests that are kept again, in the order of their numbers.
    pub(super) fn all(&mut self) -> Vec<Item> {
        let mut ids: Vec<_> = self.waiting.keys().copied().collect();
        ids.sort_unstable();
        let again = |id| self.waiting.get_mut(&id).filter(|w| w.segments.is_none())?.repeat().0;
        ids.into_iter().filter_map(again).collect()
    }

    pub(super) fn clear(&mut self) -> Vec<TransactionId> {
        let mut ids: Vec<_> = self.waiting.drain().map(|(id, _)| id).collect();
        self.held = 0;
        ids.sort_unstable();
        ids
    }
}

impl Waiting {
    fn repeat(&mut self) -> (Option<Item>, Next) {
        self.repeats += 1;
        self.patience += 1;
        let next = match self.pendings {
            0 => Next::Measured { average: self.average, repeats: self.repeats },
            _ => Next::Pending { repeats: self.patience },
        };
        (self.item.clone(), next)
    }

    /// Measures the delay as far as it can be told which sending was answered.
    fn measure(&self, now: Instant, delay: &mut Delay) {
        let elapsed = now.saturating_duration_since(self.since);
        match (self.pendings, self.repeats) {
            (0, 0) => delay.measured(elapsed),
            (0, _) => delay.bounded(elapsed),
            // That was the execution, not the network.
            _ => {}
        }
    }
}
