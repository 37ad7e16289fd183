//! The transaction layer between two message identifiers (RFC 3525 §8.2, §9 and Annex D), sans-IO.
//!
//! Over datagrams requests are repeated until answered, repeats are executed at most once, and
//! replies are acknowledged (application layer framing, §D.1). Over a reliable transport nothing is
//! repeated by a timer; the rest is the same (§D.2). In a channel inside the process nothing is repeated.
//!
//! No message is larger than the transport carries: what waits is put together up to the limit, a
//! reply beyond it goes in segments where that is agreed (H.248.1 version 3), else it is error 533.
//!
//! Works on [`Message`] values; who drives it encodes and decodes. Not here: registration
//! (`registration`), several gateways (`controller`), the authentication header (only its room).

mod answering;
mod asking;
mod config;
mod event;
mod incoming;
mod outgoing;
mod segments;
mod size;
#[cfg(test)]
mod tests;
mod timers;
mod transmit;

pub use config::{Config, Limits, Transport};
pub use event::{Event, Failure};
pub use timers::Timers;

use crate::Error;
use crate::encoding::Encoding;
use crate::model::{Body, ErrorDescriptor, MId, Message, ReplyBody, Transaction, TransactionId};
use carnet_wire::{Random, SeededRandom};
use incoming::Incoming;
use outgoing::Outgoing;
use size::Scale;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use transmit::Transmit;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Request(TransactionId),
    Execution(TransactionId),
    Reply(TransactionId),
    Acknowledgement,
}

/// The transaction layer between us and one peer.
pub struct Association {
    config: Config,
    scale: Scale,
    rng: SeededRandom,
    outgoing: Outgoing,
    incoming: Incoming,
    alarms: BTreeSet<(Instant, Alarm)>,
    /// When acknowledgements wait no longer.
    ack_alarm: Option<Instant>,
    transmit: Transmit,
    /// Message-level error to be sent.
    refusal: Option<ErrorDescriptor>,
    events: VecDeque<Event>,
    lost: bool,
    last_heard: Option<Instant>,
    /// When the peer last answered anything.
    last_answer: Option<Instant>,
}

impl Association {
    /// An association that speaks as `local`. Randomness is drawn once, for the first transaction
    /// number and for the spread of repeats.
    pub fn new(config: Config, local: MId, rng: &mut dyn Random) -> Self {
        let mut rng = SeededRandom::new(rng.u64());
        let first = TransactionId(rng.u32() >> 8 | 1);
        Self {
            scale: Scale::new(&config, local, 3),
            outgoing: Outgoing::new(first, &config.timers),
            incoming: Incoming::default(),
            config,
            rng,
            alarms: BTreeSet::new(),
            ack_alarm: None,
            transmit: Transmit::default(),
            refusal: None,
            events: VecDeque::new(),
            lost: false,
            last_heard: None,
            last_answer: None,
        }
    }

    /// The protocol version that messages carry, 1 to 3; 3 until set.
    pub fn version(&self) -> u8 {
        self.scale.version
    }

    /// Sets the negotiated protocol version (RFC 3525 §11.3).
    pub fn set_version(&mut self, version: u8) {
        self.scale = Scale::new(&self.config, self.scale.local.clone(), version.clamp(1, 3));
    }

    /// What carries the messages.
    pub fn transport(&self) -> Transport {
        self.config.transport
    }

    /// Who we are in the messages.
    pub fn local(&self) -> &MId {
        &self.scale.local
    }

    /// The times in use.
    pub fn timers(&self) -> &Timers {
        &self.config.timers
    }

    /// Sets the times from here on: what is waited for already ends when it was to end.
    pub fn set_timers(&mut self, timers: Timers) {
        self.config.timers = timers;
        self.outgoing.delay.set_initial(&self.config.timers);
    }

    /// The limits in use.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Sets the limits from here on: what is held already stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.config.limits = limits;
        self.set_version(self.scale.version);
    }

    /// How messages are written from here on.
    pub fn set_encoding(&mut self, encoding: Encoding) {
        self.config.encoding = encoding;
        self.set_version(self.scale.version);
    }

    /// Whether replies that are too big go in segments, see [`Config::segments`].
    pub fn set_segments(&mut self, agreed: bool) {
        self.config.segments = agreed;
    }

    /// When something new last arrived: a request, or an answer that was waited for. What is only said again,
    /// or cannot be read, shows nothing: anybody may have kept it (RFC 3525 §10.1).
    pub fn last_heard(&self) -> Option<Instant> {
        self.last_heard
    }

    /// Requests of ours without an answer.
    pub fn outstanding(&self) -> usize {
        self.outgoing.len()
    }

    /// Takes a message of the peer.
    pub fn handle_message(&mut self, now: Instant, message: Message) {
        let transactions = match message.body {
            Body::Error(error) => {
                self.refused(error);
                return;
            }
            Body::Transactions(list) => list,
        };
        if transactions.len() > self.config.limits.transactions {
            self.refusal =
                Some(ErrorDescriptor::new(413, "Number of transactions in message exceeds maximum"));
            return;
        }
        for transaction in transactions {
            match transaction {
                Transaction::Request(request) => self.handle_request(now, request.id, request.actions),
                Transaction::Reply(reply) => self.handle_reply(now, reply),
                Transaction::Pending(id) => self.handle_pending(now, id),
                Transaction::Ack(ranges) => {
                    for range in ranges {
                        self.handle_ack(now, range);
                    }
                }
                Transaction::Segment(reply) => self.handle_segment_reply(now, reply),
            }
        }
    }

    /// Takes what could not be decoded: answers the request it was in, or refuses the message
    /// (RFC 3525 §8.2.2, §8.3).
    pub fn handle_undecodable(&mut self, error: &Error) {
        match error.transaction() {
            Some(id) if !self.incoming.knows(id) => {
                self.answer_unknown(id, error.descriptor());
            }
            Some(_) => {}
            None => self.refusal = Some(error.descriptor()),
        }
    }

    /// Ends the association: our requests fail, nothing more is sent, the peer's are forgotten.
    pub fn close(&mut self) {
        self.fail_requests();
        self.alarms.clear();
        self.ack_alarm = None;
        self.transmit = Transmit::default();
        self.refusal = None;
        self.incoming = Incoming::default();
    }

    /// The peer has said something new.
    fn heard(&mut self, now: Instant) {
        self.last_heard = Some(now);
        self.lost = false;
    }

    /// The next message to send to the peer.
    pub fn poll_transmit(&mut self) -> Option<Message> {
        if let Some(error) = self.refusal.take() {
            return Some(Message::error(self.scale.version, self.scale.local.clone(), error));
        }
        let bundle = match self.config.transport {
            Transport::Channel => 1,
            _ => self.config.limits.bundle,
        };
        let transactions = self.transmit.next(self.scale.room(), bundle);
        if !self.transmit.acknowledges()
            && let Some(at) = self.ack_alarm.take()
        {
            self.alarms.remove(&(at, Alarm::Acknowledgement));
        }
        if transactions.is_empty() {
            return None;
        }
        Some(Message::new(self.scale.version, self.scale.local.clone(), transactions))
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Association::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        [alarm, self.incoming.next_expiry()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, alarm)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, alarm));
            match alarm {
                Alarm::Request(id) => self.request_due(now, id),
                Alarm::Execution(id) => self.execution_due(now, id),
                Alarm::Reply(id) => self.reply_due(now, id),
                Alarm::Acknowledgement => {
                    self.ack_alarm = None;
                    self.transmit.acknowledge_now();
                }
            }
        }
        self.incoming.forget(now);
    }

    /// Nobody takes what is ready to be sent.
    fn is_full(&self) -> bool {
        self.transmit.len() >= self.config.limits.queue
    }

    /// The peer could not read a message of ours, or its answer is not for one request.
    fn refused(&mut self, error: ErrorDescriptor) {
        // It takes fewer transactions in a message than we thought: one each, and those again.
        if error.code == 413 && std::mem::replace(&mut self.config.limits.bundle, 1) > 1 {
            self.send_again();
        }
        if self.events.len() < self.config.limits.queue {
            self.events.push_back(Event::MessageError { error });
        }
    }

    fn first_wait(&self) -> Duration {
        match self.config.transport {
            Transport::Datagram => self.outgoing.delay.first(&self.config.timers),
            Transport::Reliable | Transport::Channel => self.config.timers.t_max,
        }
    }

    fn wait_again(&mut self, average: Duration, repeats: u32) -> Duration {
        match self.config.transport {
            Transport::Datagram => {
                self.outgoing.delay.again(average, repeats, &self.config.timers, &mut self.rng)
            }
            Transport::Reliable | Transport::Channel => self.config.timers.t_max,
        }
    }
}

/// The error as a reply.
fn error_reply(code: u16, text: impl Into<String>) -> ReplyBody {
    ReplyBody::Error(ErrorDescriptor::new(code, text.into()))
}
