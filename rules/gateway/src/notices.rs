//! What the gateway has to tell its controller and has not been heard with: Notify and ServiceChange
//! commands (RFC 3525 §7.2.7, §7.2.8), in order and bounded.
//!
//! Without a controller they wait. When one is back that keeps our contexts (Failover, Disconnected,
//! HandOff), what waits is sent, with the time at which it happened, and so is what the former controller
//! did not answer: RFC 3525 §11.5 directs repeated requests to the new controller and has the gateway
//! keep its state. What repeats by itself (heartbeats, overload) does not wait. When too many wait, the
//! oldest are dropped: a controller that comes back audits. Of a floor only the newest waits.
//!
//! One Notify of a termination is out at a time (RFC 3525 §9.1), so that datagrams do not bring them out
//! of order.

use std::collections::{BTreeMap, HashMap, HashSet};

use carnet_h248::association::Failure;
use carnet_h248::{
    Command, ContextId, Descriptor, ErrorDescriptor, ObservedEvents, ReplyBody, TerminationId, TransactionId,
    Verb,
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

impl Notice {
    /// The termination of a Notify.
    fn notified(&self) -> Option<&TerminationId> {
        let notify = self.command.verb == Verb::Notify;
        notify.then(|| self.command.termination())
    }

    /// The floor that it is about, and nothing else.
    fn floor(&self) -> Option<u64> {
        let [event] = self.command.observed_events()?.events.as_slice() else { return None };
        event.value("floor").filter(|_| event.name == "fcp/floor")?.as_u64()
    }

    /// Takes a parameter out of its events; whether there was one.
    fn leave_out(&mut self, parameter: &str) -> bool {
        let mut found = false;
        for descriptor in &mut self.command.descriptors {
            let Descriptor::ObservedEvents(observed) = descriptor else { continue };
            for event in &mut observed.events {
                let before = event.parameters.len();
                event.parameters.retain(|given| given.name != *parameter);
                found |= event.parameters.len() < before;
            }
        }
        found
    }
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
    /// Terminations with a Notify among `sent`.
    busy: HashMap<ContextId, HashSet<TerminationId>>,
    next: u64,
    dropped: usize,
    /// The control association has no room until it has heard something.
    full: bool,
}

impl Notices {
    /// `most`: how many may wait.
    pub(crate) fn push(&mut self, notice: Notice, most: usize) {
        if let Some(floor) = notice.floor() {
            self.waiting.retain(|_, old| old.context != notice.context || old.floor() != Some(floor));
        }
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
        let free = |notice: &Notice| {
            let busy = self.busy.get(&notice.context);
            busy.is_none_or(|busy| !notice.notified().is_some_and(|id| busy.contains(id)))
        };
        let waiting = self.waiting.iter().filter(move |(_, notice)| room && free(notice));
        waiting.map(|(number, notice)| (*number, notice))
    }

    pub(crate) fn take(&mut self, number: u64) -> Option<(u64, Notice)> {
        self.waiting.remove_entry(&number)
    }

    /// It was sent under that number.
    pub(crate) fn sent(&mut self, id: TransactionId, number: u64, notice: Notice) {
        if let Some(which) = notice.notified() {
            self.busy.entry(notice.context).or_default().insert(which.clone());
        }
        self.sent.insert(id, (number, notice));
    }

    /// It is out no more.
    fn unsent(&mut self, id: TransactionId) -> Option<(u64, Notice)> {
        let (number, notice) = self.sent.remove(&id)?;
        if let (Some(which), Some(busy)) = (notice.notified(), self.busy.get_mut(&notice.context)) {
            busy.remove(which);
            if busy.is_empty() {
                self.busy.remove(&notice.context);
            }
        }
        Some((number, notice))
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
        let Some((number, mut notice)) = self.unsent(id) else { return Outcome::Unknown };
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
        let Some((number, mut notice)) = self.unsent(id) else { return };
        // The controller can ask for it.
        if reason == Failure::TooBig && notice.leave_out("state") {
            return self.back(number, notice, most);
        }
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
