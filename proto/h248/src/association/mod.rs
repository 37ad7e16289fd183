//! The transaction layer between two message identifiers (RFC 3525 §8.2, §9 and Annex D), sans-IO.
//!
//! Over datagrams requests are repeated until answered, repeats are executed at most once, and
//! replies are acknowledged (application layer framing, §D.1). Over a reliable transport nothing is
//! repeated by a timer; the rest is the same (§D.2). In a channel inside the process nothing is repeated.
//!
//! Works on [`Message`] values; who drives it encodes and decodes. Not here: segmented replies
//! (version 3), registration (`registration`), several gateways (`controller`).

mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;
mod timers;

pub use timers::Timers;

use crate::Error;
use crate::model::{
    AckRange, ActionRequest, Body, ErrorDescriptor, MId, Message, ReplyBody, Transaction, TransactionId,
};
use crate::text::{self, Form};
use carnet_wire::{Random, SeededRandom};
use incoming::{Arrival, Incoming};
use outgoing::Outgoing;
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Messages may be lost, doubled and reordered: UDP.
    #[default]
    Datagram,
    /// Messages arrive in order or the transport fails, and then requests are sent again: TCP with
    /// TPKT, SCTP.
    Reliable,
    /// Both ends are in one process: a message arrives, once, or the other end is no more. Nothing
    /// is kept to be sent again.
    Channel,
}

/// How an association behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What carries the messages.
    pub transport: Transport,
    /// Times.
    pub timers: Timers,
    /// Sizes.
    pub limits: Limits,
}

impl Config {
    /// The defaults for a transport.
    pub fn new(transport: Transport) -> Self {
        Self { transport, timers: Timers::default(), limits: Limits::default() }
    }
}

/// How much an association holds at once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Our requests without a reply; one more fails at once with [`Failure::TooMany`].
    pub outstanding: usize,
    /// The peer's requests being executed; one more is answered with error 511.
    pub executing: usize,
    /// The peer's requests remembered so that repeats are not executed; the oldest goes first.
    pub remembered: usize,
    /// Pendings we may send for one request; then it is answered with error 506.
    pub pendings: u32,
    /// Transactions in one message; more is error 413 for the message.
    pub transactions: usize,
    /// Octets of a reply over datagrams, in long form; a larger one becomes error 533.
    pub datagram: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            outstanding: 4_096,
            executing: 4_096,
            remembered: 131_072,
            pendings: 20,
            transactions: 64,
            datagram: 60_000,
        }
    }
}

/// What the transaction layer tells its user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer asks. Answer with [`Association::reply`].
    Request {
        /// To answer to.
        id: TransactionId,
        /// What to do.
        actions: Vec<ActionRequest>,
    },
    /// The peer's request was answered with error 506 on our behalf because it took too long; a
    /// reply comes too late.
    Abandoned {
        /// Of the request.
        id: TransactionId,
    },
    /// The peer answered.
    Reply {
        /// Of our request.
        id: TransactionId,
        /// The answer.
        body: ReplyBody,
    },
    /// There will be no answer; whether the peer did it is not known.
    Failed {
        /// Of our request.
        id: TransactionId,
        /// Why.
        reason: Failure,
    },
    /// Nothing was answered for T-MAX (RFC 3525 §D.1.1). Comes once, until something arrives again.
    PeerLost,
    /// The peer could not read a message of ours.
    MessageError {
        /// What it says.
        error: ErrorDescriptor,
    },
}

/// Why a request of ours has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Not answered within T-MAX.
    #[error("no answer in time")]
    TimedOut,
    /// More requests at once than the limit; it was not sent.
    #[error("too many requests without an answer")]
    TooMany,
    /// The answer came in segments, which this layer does not put together.
    #[error("the answer came in segments")]
    Segmented,
    /// The association was closed.
    #[error("the association was closed")]
    Closed,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Request(TransactionId),
    Execution(TransactionId),
    Reply(TransactionId),
}

/// The transaction layer between us and one peer.
pub struct Association {
    config: Config,
    local: MId,
    version: u8,
    rng: SeededRandom,
    outgoing: Outgoing,
    incoming: Incoming,
    alarms: BTreeSet<(Instant, Alarm)>,
    /// Ready to be sent.
    queue: VecDeque<Transaction>,
    /// Message-level error to be sent.
    refusal: Option<ErrorDescriptor>,
    /// Replies to acknowledge with the next message.
    acks: Vec<TransactionId>,
    /// Acknowledgements do not wait for another message.
    ack_now: bool,
    events: VecDeque<Event>,
    lost: bool,
    last_heard: Option<Instant>,
}

impl Association {
    /// An association that speaks as `local`. Randomness is drawn once, for the first transaction
    /// number and for the spread of repeats.
    pub fn new(config: Config, local: MId, rng: &mut dyn Random) -> Self {
        let mut rng = SeededRandom::new(rng.u64());
        let first = TransactionId(rng.u32() >> 8 | 1);
        Self {
            outgoing: Outgoing::new(first, &config.timers),
            incoming: Incoming::default(),
            config,
            local,
            version: 3,
            rng,
            alarms: BTreeSet::new(),
            queue: VecDeque::new(),
            refusal: None,
            acks: Vec::new(),
            ack_now: false,
            events: VecDeque::new(),
            lost: false,
            last_heard: None,
        }
    }

    /// The protocol version that messages carry, 1 to 3; 3 until set.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Sets the negotiated protocol version (RFC 3525 §11.3).
    pub fn set_version(&mut self, version: u8) {
        self.version = version.clamp(1, 3);
    }

    /// What carries the messages.
    pub fn transport(&self) -> Transport {
        self.config.transport
    }

    /// Who we are in the messages.
    pub fn local(&self) -> &MId {
        &self.local
    }

    /// When something last arrived.
    pub fn last_heard(&self) -> Option<Instant> {
        self.last_heard
    }

    /// Requests of ours without an answer.
    pub fn outstanding(&self) -> usize {
        self.outgoing.len()
    }

    /// Sends a request. The answer is an [`Event::Reply`] or [`Event::Failed`] with the same number.
    pub fn request(&mut self, now: Instant, actions: Vec<ActionRequest>) -> TransactionId {
        let id = self.outgoing.next_id();
        if self.outgoing.len() >= self.config.limits.outstanding {
            self.events.push_back(Event::Failed { id, reason: Failure::TooMany });
            return id;
        }
        let wait = self.repeat_wait(0);
        let keep = self.config.transport != Transport::Channel;
        self.queue.push_back(self.outgoing.start(now, id, actions, keep));
        self.arm_request(now + wait, id);
        id
    }

    /// Answers a request of the peer. An answer to a request that is not being executed is dropped:
    /// it was abandoned, or forgotten by a restart of the peer.
    pub fn reply(&mut self, now: Instant, id: TransactionId, body: ReplyBody) {
        let body = self.fit(id, body);
        let keep = self.config.transport != Transport::Channel;
        let Some(finished) = self.incoming.finish(now, id, body, &self.config.timers, keep) else { return };
        self.alarms.remove(&(finished.alarm, Alarm::Execution(id)));
        self.evict();
        if finished.reply.immediate_ack && self.config.transport == Transport::Datagram {
            let wait = self.repeat_wait(0);
            self.incoming.repeat_reply_at(id, now + wait);
            self.alarms.insert((now + wait, Alarm::Reply(id)));
        }
        self.queue.push_back(Transaction::Reply(finished.reply));
    }

    /// Tells the peer that a request takes longer. Done by itself after [`Timers::execution`].
    pub fn pending(&mut self, now: Instant, id: TransactionId) {
        if let Some(alarm) = self.incoming.execution_alarm(id) {
            self.alarms.remove(&(alarm, Alarm::Execution(id)));
            self.send_pending(now, id);
        }
    }

    /// Takes a message of the peer.
    pub fn handle_message(&mut self, now: Instant, message: Message) {
        self.last_heard = Some(now);
        self.lost = false;
        let transactions = match message.body {
            Body::Error(error) => {
                self.events.push_back(Event::MessageError { error });
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
                Transaction::Reply(reply) => {
                    if reply.immediate_ack {
                        self.ack_now = true;
                    }
                    self.handle_reply(
                        now,
                        reply.id,
                        reply.segment.is_some(),
                        reply.immediate_ack,
                        reply.body,
                    );
                }
                Transaction::Pending(id) => self.handle_pending(now, id),
                Transaction::Ack(ranges) => {
                    for range in ranges {
                        self.confirmed(now, range);
                    }
                }
                // We send no segments, so there is nothing to confirm.
                Transaction::Segment(_) => {}
            }
        }
    }

    /// Takes what could not be decoded: answers the request it was in, or refuses the message
    /// (RFC 3525 §8.3).
    pub fn handle_undecodable(&mut self, now: Instant, error: &Error) {
        self.last_heard = Some(now);
        match error.transaction() {
            Some(id) if !self.incoming.knows(id) => {
                self.queue.push_back(Transaction::Reply(crate::TransactionReply::new(
                    id,
                    ReplyBody::Error(error.descriptor()),
                )));
            }
            Some(_) => {}
            None => self.refusal = Some(error.descriptor()),
        }
    }

    /// The reliable transport was lost and is back: requests without an answer are sent again.
    pub fn reconnected(&mut self) {
        // What was ready to be sent may or may not have left; it is among the requests.
        self.queue.retain(|t| !matches!(t, Transaction::Request(_)));
        self.queue.extend(self.outgoing.all());
    }

    /// Gives up our requests: each fails with [`Failure::Closed`]. What the peer asked stays.
    pub fn fail_requests(&mut self) {
        for id in self.outgoing.clear() {
            self.events.push_back(Event::Failed { id, reason: Failure::Closed });
        }
        self.alarms.retain(|(_, alarm)| !matches!(alarm, Alarm::Request(_)));
        self.queue.retain(|t| !matches!(t, Transaction::Request(_)));
    }

    /// Ends the association: our requests fail, nothing more is sent, the peer's are forgotten.
    pub fn close(&mut self) {
        self.fail_requests();
        self.alarms.clear();
        self.queue.clear();
        self.acks.clear();
        self.incoming = Incoming::default();
    }

    /// The next message to send to the peer.
    pub fn poll_transmit(&mut self) -> Option<Message> {
        if let Some(error) = self.refusal.take() {
            return Some(Message::error(self.version, self.local.clone(), error));
        }
        let next = self.queue.pop_front();
        let send_acks = !self.acks.is_empty() && (next.is_some() || self.ack_now);
        if next.is_none() && !send_acks {
            return None;
        }
        let mut transactions = Vec::with_capacity(1 + usize::from(send_acks));
        if send_acks {
            transactions.push(Transaction::Ack(ranges(std::mem::take(&mut self.acks))));
            self.ack_now = false;
        }
        transactions.extend(next);
        Some(Message::new(self.version, self.local.clone(), transactions))
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
                Alarm::Execution(id) => self.send_pending(now, id),
                Alarm::Reply(id) => self.reply_due(now, id),
            }
        }
        self.incoming.forget(now);
    }

    fn repeat_wait(&mut self, repeats: u32) -> std::time::Duration {
        match self.config.transport {
            Transport::Datagram => self.outgoing.delay.wait(repeats, &self.config.timers, &mut self.rng),
            Transport::Reliable | Transport::Channel => self.config.timers.t_max,
        }
    }

    fn arm_request(&mut self, at: Instant, id: TransactionId) {
        self.outgoing.set_alarm(id, at);
        self.alarms.insert((at, Alarm::Request(id)));
    }

    /// A request has waited for its reply.
    fn request_due(&mut self, now: Instant, id: TransactionId) {
        let Some(age) = self.outgoing.age(now, id) else { return };
        // RFC 3525 §D.1.1: before each repeat check that no more than T-MAX has passed.
        if age >= self.config.timers.t_max {
            self.outgoing.remove(id);
            self.events.push_back(Event::Failed { id, reason: Failure::TimedOut });
            // The other end of a channel is slow or ends the channel; it is never lost by silence.
            let can_be_lost = self.config.transport != Transport::Channel;
            if can_be_lost && !std::mem::replace(&mut self.lost, true) {
                self.events.push_back(Event::PeerLost);
            }
            return;
        }
        let Some((transaction, repeats, pending)) = self.outgoing.repeat(id) else { return };
        let left = self.config.timers.t_max.saturating_sub(age);
        let wait = if pending { self.config.timers.pending } else { self.repeat_wait(repeats) };
        self.arm_request(now + wait.min(left), id);
        if self.config.transport == Transport::Datagram {
            self.queue.extend(transaction);
        }
    }

    fn handle_reply(
        &mut self,
        now: Instant,
        id: TransactionId,
        segmented: bool,
        immediate_ack: bool,
        body: ReplyBody,
    ) {
        if self.config.transport == Transport::Datagram || immediate_ack {
            self.acknowledge(id);
        }
        let Some(alarm) = self.outgoing.answered(now, id) else { return };
        self.alarms.remove(&(alarm, Alarm::Request(id)));
        self.events.push_back(if segmented {
            Event::Failed { id, reason: Failure::Segmented }
        } else {
            Event::Reply { id, body }
        });
    }

    /// Remembers to acknowledge a reply. Acknowledgements only save the peer memory, so beyond a
    /// number that fits any message the oldest are left out.
    fn acknowledge(&mut self, id: TransactionId) {
        const MOST: usize = 64;
        if self.acks.len() >= MOST && !self.ack_now {
            self.acks.remove(0);
        }
        if !self.acks.contains(&id) {
            self.acks.push(id);
        }
    }

    fn handle_pending(&mut self, now: Instant, id: TransactionId) {
        if let Some(old) = self.outgoing.pending(now, id) {
            self.alarms.remove(&(old, Alarm::Request(id)));
            self.arm_request(now + self.config.timers.pending.min(self.config.timers.t_max), id);
        }
    }

    fn handle_request(&mut self, now: Instant, id: TransactionId, actions: Vec<ActionRequest>) {
        match self.incoming.arrives(now, id, &actions) {
            Arrival::New => {}
            Arrival::Executing => {
                self.pending(now, id);
                return;
            }
            Arrival::Replied(reply) => {
                self.queue.push_back(Transaction::Reply(reply));
                return;
            }
            // RFC 3525 §D.1.2.3: the reply arrived, this is a late copy.
            Arrival::Confirmed => return,
            Arrival::Restarted(alarms) => {
                for (at, id) in alarms {
                    self.alarms.remove(&(at, Alarm::Execution(id)));
                    self.alarms.remove(&(at, Alarm::Reply(id)));
                }
            }
        }
        let busy = self.incoming.executing() >= self.config.limits.executing;
        let at = now + self.config.timers.execution;
        self.incoming.start(now, id, &actions, at);
        self.alarms.insert((at, Alarm::Execution(id)));
        if busy {
            let error = ErrorDescriptor::new(511, "Temporarily Busy");
            self.reply(now, id, ReplyBody::Error(error));
        } else {
            self.events.push_back(Event::Request { id, actions });
        }
    }

    fn send_pending(&mut self, now: Instant, id: TransactionId) {
        let Some(sent) = self.incoming.count_pending(id) else { return };
        if sent > self.config.limits.pendings {
            // RFC 3525 §E.2.1: the responder gives up when it has said Pending too often.
            let error = ErrorDescriptor::new(506, "Number of TransactionPendings Exceeded");
            self.reply(now, id, ReplyBody::Error(error));
            self.events.push_back(Event::Abandoned { id });
            return;
        }
        let growth = 1u32.checked_shl(sent.min(4)).unwrap_or(16);
        let at = now + (self.config.timers.execution * growth).min(self.config.timers.t_max / 2);
        self.incoming.set_execution_alarm(id, at);
        self.alarms.insert((at, Alarm::Execution(id)));
        self.queue.push_back(Transaction::Pending(id));
    }

    /// A reply that asks for an acknowledgement was not acknowledged.
    fn reply_due(&mut self, now: Instant, id: TransactionId) {
        let Some((reply, repeats)) = self.incoming.repeat_reply(now, id) else { return };
        let at = now + self.repeat_wait(repeats);
        self.incoming.repeat_reply_at(id, at);
        self.alarms.insert((at, Alarm::Reply(id)));
        self.queue.push_back(Transaction::Reply(reply));
    }

    fn confirmed(&mut self, now: Instant, range: AckRange) {
        for (alarm, id) in self.incoming.confirm(now, range, &self.config.timers) {
            self.alarms.remove(&(alarm, Alarm::Reply(id)));
        }
    }

    fn evict(&mut self) {
        for (alarm, id) in self.incoming.evict(self.config.limits.remembered) {
            self.alarms.remove(&(alarm, Alarm::Reply(id)));
        }
    }

    /// A reply too big for a datagram becomes error 533: segments are not used over UDP.
    fn fit(&self, id: TransactionId, body: ReplyBody) -> ReplyBody {
        let commands = match &body {
            ReplyBody::Actions(actions) => actions.iter().map(|a| a.commands.len()).sum(),
            ReplyBody::Error(_) => 0,
        };
        // Few commands are not worth measuring.
        if self.config.transport != Transport::Datagram || commands < 8 {
            return body;
        }
        let reply = Transaction::Reply(crate::TransactionReply::new(id, body));
        let message = Message::new(self.version, self.local.clone(), vec![reply]);
        if text::print(&message, Form::Long).len() > self.config.limits.datagram {
            return ReplyBody::Error(ErrorDescriptor::new(
                533,
                "Response exceeds maximum transport PDU size",
            ));
        }
        match message.body {
            Body::Transactions(mut list) => match list.pop() {
                Some(Transaction::Reply(reply)) => reply.body,
                _ => ReplyBody::Actions(Vec::new()),
            },
            Body::Error(error) => ReplyBody::Error(error),
        }
    }
}

/// Numbers as ranges.
fn ranges(mut ids: Vec<TransactionId>) -> Vec<AckRange> {
    ids.sort_unstable();
    let mut out: Vec<AckRange> = Vec::new();
    for id in ids {
        match out.last_mut() {
            Some(range) if range.last.0.checked_add(1) == Some(id.0) => range.last = id,
            _ => out.push(AckRange { first: id, last: id }),
        }
    }
    out
}
