//! What the sockets say, and the machine they say it to.

use bytes::Bytes;
use carnet_sip::{Answer, Endpoint, Hop, Input, Query, QueryId, Transmit};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// What the sockets have to say.
#[derive(Debug)]
pub enum SipEvent {
    /// A datagram, or a message of a stream.
    Input {
        /// The octets, and the way they came.
        input: Input,
        /// When they were taken from the socket.
        since: Instant,
        /// Their part of what may wait.
        share: Share,
    },
    /// Something sent by this hop may not have arrived, and this flow (if it is named) is gone:
    /// for `Endpoint::transport_failed`. Also told of flows that just ended.
    Failed(Hop),
    /// What DNS says: for `Endpoint::handle_answer`.
    Answer {
        /// Whose question it was.
        query: QueryId,
        /// The answer.
        answer: Answer,
    },
}

impl SipEvent {
    /// Hands the event to the machine it is for.
    pub fn deliver(self, now: Instant, machine: &mut impl SipMachine) {
        match self {
            Self::Input { input, since, .. } => {
                machine.delayed(now.saturating_duration_since(since));
                machine.handle_input(now, input);
            }
            Self::Failed(hop) => machine.transport_failed(now, &hop),
            Self::Answer { query, answer } => machine.handle_answer(now, query, answer),
        }
    }
}

/// A machine that speaks SIP: an endpoint, or what is built around one.
pub trait SipMachine {
    /// How long the next input has waited for its turn. A machine that is asked to shed load needs
    /// it; others may leave it alone.
    fn delayed(&mut self, _waited: Duration) {}
    /// Octets that came in.
    fn handle_input(&mut self, now: Instant, input: Input);
    /// What was sent by this hop may be lost.
    fn transport_failed(&mut self, now: Instant, hop: &Hop);
    /// What DNS said.
    fn handle_answer(&mut self, now: Instant, query: QueryId, answer: Answer);
    /// Octets to send.
    fn poll_transmit(&mut self) -> Option<Transmit>;
    /// A question for DNS.
    fn poll_query(&mut self) -> Option<Query>;
    /// What [`poll_transmit`](Self::poll_transmit) gave is on its way, with our own address in the hop as far as it is known. For
    /// machines that are watched.
    fn sent(&mut self, _hop: &Hop, _data: &Bytes) {}
}

impl SipMachine for Endpoint {
    fn delayed(&mut self, waited: Duration) {
        Self::delayed(self, waited);
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        Self::handle_input(self, now, input);
    }

    fn transport_failed(&mut self, now: Instant, hop: &Hop) {
        Self::transport_failed(self, now, hop);
    }

    fn handle_answer(&mut self, now: Instant, query: QueryId, answer: Answer) {
        Self::handle_answer(self, now, query, answer);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        Self::poll_transmit(self)
    }

    fn poll_query(&mut self) -> Option<Query> {
        Self::poll_query(self)
    }
}

/// The room that the octets of an input take among all that wait for the role. Given back when the
/// event is dropped.
#[derive(Debug)]
pub struct Share {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Share {
    pub(super) fn new(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { _permit: permit }
    }
}
