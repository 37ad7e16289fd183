//! The machine: requests of SIP servers in, answers and commands to the gateway out.

use crate::{Config, Event};
use carnet_h248::Message;
use carnet_ng::{Request, Value};
use carnet_wire::Random;
use std::collections::VecDeque;
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
/// Feed it requests and messages of the gateway; then drain [`Steering::poll_reply`],
/// [`Steering::poll_transmit`] and [`Steering::poll_event`], and call [`Steering::handle_timeout`] when
/// [`Steering::poll_timeout`] says so.
pub struct Steering {
    replies: VecDeque<(RequestId, Value)>,
    events: VecDeque<Event>,
}

impl Steering {
    /// A steering without calls. `now` and `wall` are the same moment on the two clocks.
    pub fn new(_config: Config, _random: Box<dyn Random>, _now: Instant, _wall: SystemTime) -> Self {
        Self { replies: VecDeque::new(), events: VecDeque::new() }
    }

    /// Takes a request; its answer comes from [`Self::poll_reply`], now or when the gateway has answered.
    pub fn handle_request(&mut self, _now: Instant, _id: RequestId, _request: Request) {}

    /// Takes a message of the gateway.
    pub fn handle_gateway(&mut self, _now: Instant, _message: Message) {}

    /// No new calls from now on (`load limit`); those that are go on.
    pub fn retire(&mut self) {}

    /// Ends all calls.
    pub fn end_calls(&mut self, _now: Instant) {}

    /// How much is going on.
    pub fn load(&self) -> Load {
        Load::default()
    }

    /// The call that a context of the gateway is of.
    pub fn call_of(&self, _context: u32) -> Option<&str> {
        None
    }

    /// The next answer: the dictionary.
    pub fn poll_reply(&mut self) -> Option<(RequestId, Value)> {
        self.replies.pop_front()
    }

    /// The next message to the gateway.
    pub fn poll_transmit(&mut self) -> Option<Message> {
        None
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: Instant) {}
}
