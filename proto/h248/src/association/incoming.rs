//! The peer's requests: executed at most once (RFC 3525 §D.1.2).

use super::Timers;
use crate::model::{
    AckRange, ActionRequest, Method, ReplyBody, ServiceChange, TransactionId, TransactionReply, Verb,
};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

enum State {
    Executing {
        alarm: Instant,
        pendings: u32,
    },
    Replied {
        reply: TransactionReply,
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
}

/// What a request is that has arrived.
pub(super) enum Arrival {
    New,
    Executing,
    Replied(TransactionReply),
    Confirmed,
    /// The peer has started again: everything about it was forgotten, and these alarms with it.
    Restarted(Vec<(Instant, TransactionId)>),
}

pub(super) struct Finished {
    pub(super) alarm: Instant,
    pub(super) reply: TransactionReply,
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

    pub(super) fn arrives(&mut self, now: Instant, id: TransactionId, actions: &[ActionRequest]) -> Arrival {
        let Some(entry) = self.entries.get(&id) else { return Arrival::New };
        if !matches!(entry.state, State::Executing { .. }) && entry.until <= now {
            self.entries.remove(&id);
            return Arrival::New;
        }
        if let Some(parameters) = registration(actions)
            && entry.registration.as_deref() != Some(parameters)
        {
            let alarms = self.entries.iter().filter_map(|(id, e)| e.alarm().map(|at| (at, *id))).collect();
            *self = Self::default();
            return Arrival::Restarted(alarms);
        }
        match &entry.state {
            State::Executing { .. } => Arrival::Executing,
            State::Replied { reply, .. } => Arrival::Replied(reply.clone()),
            State::Confirmed => Arrival::Confirmed,
        }
    }

    pub(super) fn start(
        &mut self,
        now: Instant,
        id: TransactionId,
        actions: &[ActionRequest],
        alarm: Instant,
    ) {
        let registration = registration(actions).cloned().map(Box::new);
        let state = State::Executing { alarm, pendings: 0 };
        self.entries.insert(id, Entry { state, until: now, registration });
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
    pub(super) fn count_pending(&mut self, id: TransactionId) -> Option<u32> {
        match self.entries.get_mut(&id) {
            Some(Entry { state: State::Executing { pendings, .. }, .. }) => {
                *pendings += 1;
                Some(*pendings)
            }
            _ => None,
        }
    }

    /// The reply to send, and the alarm that is no longer wanted. Unless the reply is to be kept, the
    /// request is forgotten.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        id: TransactionId,
        body: ReplyBody,
        timers: &Timers,
        keep: bool,
    ) -> Option<Finished> {
        let entry = self.entries.get_mut(&id)?;
        let State::Executing { alarm, pendings } = entry.state else { return None };
        let mut reply = TransactionReply::new(id, body);
        // RFC 3525 §8.2.3: after a Pending the peer repeats seldom, so it must say that it has the reply.
        reply.immediate_ack = pendings > 0;
        self.executing = self.executing.saturating_sub(1);
        if keep {
            entry.state = State::Replied { reply: reply.clone(), repeats: 0, alarm: None };
            entry.until = now + timers.long;
            self.expiry.push_back((entry.until, id));
        } else {
            self.entries.remove(&id);
        }
        Some(Finished { alarm, reply })
    }

    pub(super) fn repeat_reply_at(&mut self, id: TransactionId, at: Instant) {
        if let Some(Entry { state: State::Replied { alarm, .. }, .. }) = self.entries.get_mut(&id) {
            *alarm = Some(at);
        }
    }

    /// A reply that was not acknowledged, again, and how often that makes.
    pub(super) fn repeat_reply(
        &mut self,
        now: Instant,
        id: TransactionId,
    ) -> Option<(TransactionReply, u32)> {
        let entry = self.entries.get_mut(&id).filter(|e| e.until > now)?;
        match &mut entry.state {
            State::Replied { reply, repeats, .. } => {
                *repeats += 1;
                Some((reply.clone(), *repeats))
            }
            _ => None,
        }
    }

    /// The peer has these replies: only the numbers are kept. Returns alarms no longer wanted.
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
        // A range may be much larger than what we remember, so go over the smaller of the two.
        if (range.last.0 - range.first.0) as usize > self.entries.len() {
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

/// The parameters, if the request is a gateway's start: ServiceChange Restart on ROOT.
fn registration(actions: &[ActionRequest]) -> Option<&ServiceChange> {
    let command = actions.first()?.commands.first()?;
    if command.verb != Verb::ServiceChange || !command.termination().is_root() {
        return None;
    }
    command.services().filter(|p| p.method == Some(Method::Restart))
}
