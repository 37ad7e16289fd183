//! The machine: requests of SIP servers in, answers and commands to the gateway out.

use crate::call::Call;
use crate::core::Core;
use crate::event::Ended;
use crate::{Config, Event};
use carnet_h248::Message;
use carnet_ng::Value;
use carnet_wire::Random;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Names a request in its answer, by whoever took it off the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// How much is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Calls.
    pub calls: usize,
    /// Requests that wait for the gateway.
    pub requests: usize,
}

/// The steering of one gateway, without sockets.
///
/// Feed it requests and messages of the gateway; then drain [`Steering::poll_transmit`],
/// [`Steering::poll_reply`] and [`Steering::poll_event`], and call [`Steering::handle_timeout`] when
/// [`Steering::poll_timeout`] says so.
pub struct Steering {
    pub(crate) core: Core,
    pub(crate) calls: HashMap<Arc<str>, Call>,
    /// Calls by what is due of them.
    pub(crate) deadlines: BTreeSet<(Instant, Arc<str>)>,
}

impl Steering {
    /// A steering without calls. `now` and `wall` are the same moment on the two clocks.
    pub fn new(config: Config, random: Box<dyn Random>, now: Instant, wall: SystemTime) -> Self {
        Self { core: Core::new(config, random, now, wall), calls: HashMap::new(), deadlines: BTreeSet::new() }
    }

    /// Takes a message of the gateway.
    pub fn handle_gateway(&mut self, now: Instant, message: Message) {
        self.core.now = now;
        self.core.gateway.handle(now, message);
        self.drain();
    }

    /// No new calls from now on (`load limit`); those that are go on.
    pub fn retire(&mut self) {
        self.core.retired = true;
    }

    /// New calls again, after [`retire`](Self::retire).
    pub fn resume(&mut self) {
        self.core.retired = false;
    }

    /// Ends all calls.
    pub fn end_calls(&mut self, now: Instant) {
        self.core.now = now;
        let all: Vec<_> = self.calls.keys().cloned().collect();
        for id in all {
            self.with_call(&id, |call, core| call.end_all(core, Ended::Closing));
        }
        self.drain();
    }

    /// How much is going on.
    pub fn load(&self) -> Load {
        Load { calls: self.calls.len(), requests: self.core.requests }
    }

    /// The call that a context of the gateway is of.
    pub fn call_of(&self, context: u32) -> Option<&str> {
        self.core.contexts.get(&context).map(|id| &**id)
    }

    /// The next answer: the dictionary.
    pub fn poll_reply(&mut self) -> Option<(RequestId, Value)> {
        self.core.replies.pop_front()
    }

    /// The next message to the gateway.
    pub fn poll_transmit(&mut self) -> Option<Message> {
        self.core.gateway.poll_transmit()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let call = self.deadlines.first().map(|(at, _)| *at);
        let again = self.core.again.first_key_value().map(|((at, _), _)| *at);
        [call, again, self.core.gateway.poll_timeout()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.now = now;
        self.core.gateway.handle_timeout(now);
        self.core.subtract_again();
        while let Some((at, id)) = self.deadlines.first().cloned().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id.clone()));
            if let Some(call) = self.calls.get_mut(&id) {
                call.booked = None;
            }
            self.with_call(&id, Call::handle_timeout);
        }
        self.drain();
    }

    /// Does something with a call, and whatever waits for it.
    pub(crate) fn with_call(&mut self, id: &Arc<str>, what: impl FnOnce(&mut Call, &mut Core)) {
        self.core.calls = self.calls.len();
        let Some(call) = self.calls.get_mut(id) else { return };
        what(call, &mut self.core);
        call.go_on(&mut self.core);
        let due = call.due(&self.core.config.timers);
        if call.booked != due {
            if let Some(at) = call.booked.take() {
                self.deadlines.remove(&(at, id.clone()));
            }
            if let Some(at) = due {
                self.deadlines.insert((at, id.clone()));
            }
            call.booked = due;
        }
        if call.is_over() {
            self.calls.remove(id);
        }
    }
}
