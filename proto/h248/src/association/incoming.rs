//! The peer's requests: executed at most once (RFC 3525 §D.1.1, §D.1.2).

use super::Timers;
use super::segments::WINDOW;
use super::size::Item;
use crate::model::{
    AckRange, ActionRequest, Method, Reason, SegmentNumber, ServiceChange, Transaction, TransactionId, Verb,
};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Reasons of a Restart (H.248.8). The last takes back a Graceful: nothing has started again.
const COLD_BOOT: u16 = 901;
const WARM_BOOT: u16 = 902;
const GRACEFUL_CANCELLED: u16 = 918;

/// A reply that the peer may not have: whole, or the segments it has not acknowledged.
#[derive(Debug)]
struct Answer {
    parts: VecDeque<Item>,
    /// Of `parts` the first so many were sent.
    sent: usize,
}

impl Answer {
    fn new(parts: VecDeque<Item>) -> Self {
        let mut answer = Self { parts, sent: 0 };
        answer.sent = answer.ready();
        answer
    }

    /// How many may be under way. The last segment goes when the peer has all others: from then on it
    /// does not wait long for those that are missing.
    fn ready(&self) -> usize {
        match self.parts.len() {
            1 => 1,
            parts => parts.saturating_sub(1).min(WINDOW),
        }
    }

    /// What was sent and not acknowledged.
    fn flying(&self) -> Vec<Item> {
        self.parts.iter().take(self.sent).cloned().collect()
    }
}

enum State {
    Executing {
        alarm: Instant,
        pendings: u32,
        /// When the last Pending left.
        said: Option<Instant>,
    },
    Replied {
        answer: Answer,
        /// AAD when it was sent.
        average: Duration,
        repeats: u32,
        alarm: Option<Instant>,
    },
    /// The peer has the reply.
    Confirmed,
}

struct Entry {
    state: State,
    /// When it may be forgotten; meaningless while executing.
    until: Instant,
    /// If it was a registration: what it said. A gateway that starts again may use the same number
    /// for its next one.
    registration: Option<Box<ServiceChange>>,
    /// What it said, as one number.
    digest: u64,
}

/// What a request is that has arrived.
pub(super) enum Arrival {
    New,
    Executing,
    /// What the peer may not have of the reply.
    Replied(Vec<Item>),
    Confirmed,
    /// The peer has started again and asks for the first time; what was before is forgotten.
    Restarted(Former),
}

/// What is not wanted any more of a peer that started again.
#[derive(Default)]
pub(super) struct Former {
    pub(super) alarms: Vec<(Instant, TransactionId)>,
    pub(super) executing: Vec<TransactionId>,
}

pub(super) struct Finished {
    /// No longer wanted.
    pub(super) alarm: Instant,
    /// To be sent.
    pub(super) items: Vec<Item>,
}

/// What a segment reply led to.
pub(super) struct Confirmed {
    /// No longer wanted.
    pub(super) alarm: Option<Instant>,
    /// To be sent now.
    pub(super) next: Option<Item>,
    /// The peer has it all.
    pub(super) whole: bool,
}

#[derive(Default)]
pub(super) struct Incoming {
    entries: HashMap<TransactionId, Entry>,
    executing: usize,
    /// When entries may be forgotten, in order: LONG-TIMER is the same for all.
    expiry: VecDeque<(Instant, TransactionId)>,
}

impl Incoming {
    pub(super) fn executing(&self) -> usize {
        self.executing
    }

    pub(super) fn knows(&self, id: TransactionId) -> bool {
        self.entries.contains_key(&id)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn arrives(
        &mut self,
        now: Instant,
        id: TransactionId,
        actions: &[ActionRequest],
        digest: u64,
    ) -> Arrival {
        let over = |e: &Entry| !matches!(e.state, State::Executing { .. }) && e.until <= now;
        if self.entries.get(&id).is_some_and(over) {
            self.entries.remove(&id);
        }
        let registration = registration(actions);
        let Some(entry) = self.entries.get(&id) else {
            return match registration {
                Some(_) => Arrival::Restarted(self.restart(id)),
                None => Arrival::New,
            };
        };
        let same = entry.registration.as_deref() == registration;
        if registration.is_some() && !same {
            return Arrival::Restarted(self.restart(id));
        }
        match &entry.state {
            State::Executing { .. } => Arrival::Executing,
            // The number was that of an earlier start, and is one of the life after it; or the peer has
            // started again without a word, as a controller does: an answer to something else would be wrong.
            _ if !same || entry.digest != digest => Arrival::New,
            State::Replied { answer, .. } => Arrival::Replied(answer.flying()),
            State::Confirmed => Arrival::Confirmed,
        }
    }

    /// The peer has started again with request `id`. It knows nothing of what it asked before, and its
    /// numbers may be the same ones (RFC 3525 §D.1.2.2: no test on them when a gateway resumes). Earlier
    /// starts are kept, because late copies of them would look like another start.
    fn restart(&mut self, id: TransactionId) -> Former {
        let mut former = Former::default();
        self.entries.retain(|number, entry| {
            let executing = matches!(entry.state, State::Executing { .. });
            if *number != id && entry.registration.is_some() && !executing {
                return true;
            }
            former.alarms.extend(entry.alarm().map(|at| (at, *number)));
            if executing {
                former.executing.push(*number);
            }
            false
        });
        self.executing = 0;
        former.executing.sort_unstable();
        former
    }

    pub(super) fn start(
        &mut self,
        now: Instant,
        id: TransactionId,
        actions: &[ActionRequest],
        digest: u64,
        alarm: Instant,
    ) {
        let registration = registration(actions).cloned().map(Box::new);
        let state = State::Executing { alarm, pendings: 0, said: None };
        self.entries.insert(id, Entry { state, until: now, registration, digest });
        self.executing += 1;
    }

    pub(super) fn execution_alarm(&self, id: TransactionId) -> Option<Instant> {
        match self.entries.get(&id)?.state {
            State::Executing { alarm, .. } => Some(alarm),
            _ => None,
        }
    }

    pub(super) fn set_execution_alarm(&mut self, id: TransactionId, at: Instant) {
        if let Some(Entry { state: State::Executing { alarm, .. }, .. }) = self.entries.get_mut(&id) {
            *alarm = at;
        }
    }

    /// One more Pending; how many that makes.
    pub(super) fn count_pending(&mut self, now: Instant, id: TransactionId) -> Option<u32> {
        match self.entries.get_mut(&id) {
            Some(Entry { state: State::Executing { pendings, said, .. }, .. }) => {
                *pendings += 1;
                *said = Some(now);
                Some(*pendings)
            }
            _ => None,
        }
    }

    /// How many Pendings were sent for a request that is executed, and when the last.
    pub(super) fn pendings(&self, id: TransactionId) -> Option<(u32, Option<Instant>)> {
        match self.entries.get(&id)?.state {
            State::Executing { pendings, said, .. } => Some((pendings, said)),
            _ => None,
        }
    }

    /// Takes the reply, and says what to send of it. It is kept for repeats from an AAD of `average`;
    /// without one the request is forgotten.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        id: TransactionId,
        parts: VecDeque<Item>,
        average: Option<Duration>,
        timers: &Timers,
    ) -> Option<Finished> {
        let entry = self.entries.get_mut(&id)?;
        let State::Executing { alarm, .. } = entry.state else { return None };
        self.executing = self.executing.saturating_sub(1);
        let Some(average) = average else {
            self.entries.remove(&id);
            return Some(Finished { alarm, items: parts.into() });
        };
        let answer = Answer::new(parts);
        let items = answer.flying();
        entry.state = State::Replied { answer, average, repeats: 0, alarm: None };
        entry.until = now + timers.long;
        self.expiry.push_back((entry.until, id));
        Some(Finished { alarm, items })
    }

    pub(super) fn repeat_reply_at(&mut self, id: TransactionId, at: Instant) {
        if let Some(Entry { state: State::Replied { alarm, .. }, .. }) = self.entries.get_mut(&id) {
            *alarm = Some(at);
        }
    }

    /// What was not acknowledged of a reply, again, its AAD, and how often that makes.
    pub(super) fn repeat_reply(
        &mut self,
        now: Instant,
        id: TransactionId,
    ) -> Option<(Vec<Item>, Duration, u32)> {
        let entry = self.entries.get_mut(&id).filter(|e| e.until > now)?;
        match &mut entry.state {
            State::Replied { answer, average, repeats, .. } => {
                *repeats += 1;
                Some((answer.flying(), *average, *repeats))
            }
            _ => None,
        }
    }

    /// The peer has a segment of a reply. None if it was not under way.
    pub(super) fn confirm_segment(
        &mut self,
        now: Instant,
        id: TransactionId,
        segment: SegmentNumber,
        timers: &Timers,
    ) -> Option<Confirmed> {
        let entry = self.entries.get_mut(&id)?;
        let State::Replied { answer, repeats, alarm, .. } = &mut entry.state else { return None };
        let is_it = |item: &Item| match &item.transaction {
            Transaction::Reply(reply) => reply.segment.is_some_and(|s| s.number == segment.number),
            _ => false,
        };
        let at = answer.parts.iter().take(answer.sent).position(is_it)?;
        answer.parts.remove(at);
        answer.sent -= 1;
        // It gets on, so the next wait is short again.
        *repeats = 0;
        let more = answer.sent < answer.ready();
        let next = answer.parts.get(answer.sent).filter(|_| more).cloned();
        answer.sent += usize::from(next.is_some());
        let confirmed = Confirmed { alarm: alarm.take(), next, whole: answer.parts.is_empty() };
        if !confirmed.whole {
            return Some(confirmed);
        }
        entry.state = State::Confirmed;
        entry.until = now + timers.long;
        self.expiry.push_back((entry.until, id));
        Some(confirmed)
    }

    /// The peer has these replies: only the numbers are kept. Returns alarms no longer wanted.
    ///
    /// A range says something only about replies that were sent: of numbers in it that were never
    /// seen nothing is remembered, so a peer that claims too much loses no later request by it.
    pub(super) fn confirm(
        &mut self,
        now: Instant,
        range: AckRange,
        timers: &Timers,
    ) -> Vec<(Instant, TransactionId)> {
        let until = now + timers.long;
        let mut alarms = Vec::new();
        let mut confirm = |id: TransactionId, entry: &mut Entry| {
            if let State::Replied { alarm, .. } = &entry.state {
                alarms.extend(alarm.map(|at| (at, id)));
                entry.state = State::Confirmed;
                entry.until = until;
                self.expiry.push_back((until, id));
            }
        };
        let Some(more) = range.last.0.checked_sub(range.first.0) else { return Vec::new() };
        // A range may be much larger than what we remember, so go over the smaller of the two.
        if more as usize > self.entries.len() {
            for (id, entry) in
                self.entries.iter_mut().filter(|(id, _)| (range.first..=range.last).contains(id))
            {
                confirm(*id, entry);
            }
        } else {
            for n in range.first.0..=range.last.0 {
                let id = TransactionId(n);
                if let Some(entry) = self.entries.get_mut(&id) {
                    confirm(id, entry);
                }
            }
        }
        alarms
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiry.front().map(|(at, _)| *at)
    }

    /// Forgets what is old enough.
    pub(super) fn forget(&mut self, now: Instant) {
        while let Some((at, id)) = self.expiry.front().copied().filter(|(at, _)| *at <= now) {
            self.expiry.pop_front();
            self.forget_if(id, at);
        }
    }

    /// Forgets the oldest beyond `most`, though a late repeat would then be executed again.
    pub(super) fn evict(&mut self, most: usize) -> Vec<(Instant, TransactionId)> {
        let mut alarms = Vec::new();
        while self.entries.len().saturating_sub(self.executing) > most {
            let Some((at, id)) = self.expiry.pop_front() else { break };
            let alarm = self.entries.get(&id).and_then(Entry::alarm);
            if self.forget_if(id, at) {
                alarms.extend(alarm.map(|at| (at, id)));
            }
        }
        alarms
    }

    /// Removes an entry unless its time was extended since.
    fn forget_if(&mut self, id: TransactionId, until: Instant) -> bool {
        let due = |e: &Entry| e.until <= until && !matches!(e.state, State::Executing { .. });
        let due = self.entries.get(&id).is_some_and(due);
        if due {
            self.entries.remove(&id);
        }
        due
    }
}

impl Entry {
    fn alarm(&self) -> Option<Instant> {
        match &self.state {
            State::Executing { alarm, .. } => Some(*alarm),
            State::Replied { alarm, .. } => *alarm,
            State::Confirmed => None,
        }
    }
}

/// The parameters, if the request is a gateway's start: ServiceChange Restart on ROOT after a boot, or that
/// registers. Without either a controller takes a gateway back into service, or a retirement is cancelled.
fn registration(actions: &[ActionRequest]) -> Option<&ServiceChange> {
    let command = actions.first()?.commands.first()?;
    if command.verb != Verb::ServiceChange || !command.termination().is_root() {
        return None;
    }
    command.services().filter(|p| p.method == Some(Method::Restart)).filter(|p| {
        match p.reason.as_ref().and_then(Reason::code) {
            Some(COLD_BOOT | WARM_BOOT) => true,
            Some(GRACEFUL_CANCELLED) => false,
            _ => p.version.is_some() || p.profile.is_some(),
        }
    })
}
