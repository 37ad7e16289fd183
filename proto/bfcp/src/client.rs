//! A participant or chair (RFC 8855 §10 to §12): requests, their answers, what the server says by itself.

use crate::association::{Association, Incoming};
use crate::body::{Body, FloorState, RequestInformation};
use crate::error::Error;
use crate::message::Message;
use crate::number::{Primitive, Priority, RequestStatus};
use crate::transport::Transport;
use crate::{Limits, Text};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Instant;

/// Requests that may be without an answer.
const OPEN: usize = 64;

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "few at a time, and nearly all are of the large kind")]
pub enum ClientEvent {
    /// The answer to a request; [`Body::Error`] if the server refused it.
    Answer {
        /// What [`Client::ask`] returned.
        transaction: u16,
        /// The request it answers.
        request: Body,
        /// The answer.
        answer: Body,
    },
    /// The server says by itself what became of a request or a floor.
    Notice(Body),
    /// The server ended the conversation (over datagrams).
    Goodbye,
    /// Nothing is heard of the server any more (over datagrams); requests have no answer.
    Broken,
}

/// A client of one conference. Over a stream requests may overlap; over datagrams the next waits for the
/// answer to the one before (§6.2).
///
/// After any call drain [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event).
#[derive(Debug)]
pub struct Client {
    conference: u32,
    user: u16,
    limits: Limits,
    association: Association,
    /// In order of asking.
    open: VecDeque<(u16, Body)>,
    watched: Vec<u16>,
    /// Over datagrams: what the server said of requests while one of ours had no answer; it counts for
    /// more than that answer (§6.2).
    newer: Vec<RequestInformation>,
    events: VecDeque<ClientEvent>,
    broken: bool,
}

impl Client {
    /// A client with nothing under way.
    pub fn new(conference: u32, user: u16, transport: Transport, limits: Limits) -> Self {
        Self {
            conference,
            user,
            association: Association::new(transport, limits.clone()),
            limits,
            open: VecDeque::new(),
            watched: Vec::new(),
            newer: Vec::new(),
            events: VecDeque::new(),
            broken: false,
        }
    }

    /// Sends a request: one of FloorRequest, FloorRelease, FloorRequestQuery, UserQuery, FloorQuery,
    /// ChairAction, Hello, Goodbye. Its number; `None` if it is not a request, cannot be said, or 64 have
    /// no answer.
    pub fn ask(&mut self, now: Instant, request: Body) -> Option<u16> {
        let asks = matches!(
            request,
            Body::FloorRequest { .. }
                | Body::FloorRelease { .. }
                | Body::FloorRequestQuery { .. }
                | Body::UserQuery { .. }
                | Body::FloorQuery { .. }
                | Body::ChairAction(_)
                | Body::Hello
                | Body::Goodbye
        );
        if !asks || self.open.len() >= OPEN {
            return None;
        }
        // Numbers go round, and one without an answer is not used again (§8.1).
        let mut transaction = self.association.transaction();
        while self.open.iter().any(|(open, _)| *open == transaction) {
            transaction = self.association.transaction();
        }
        if !self.association.ask(now, self.message(transaction, &request), None) {
            return None;
        }
        if let Body::FloorQuery { floors } = &request {
            self.watched.clone_from(floors);
        }
        self.open.push_back((transaction, request));
        Some(transaction)
    }

    fn message(&self, transaction: u16, body: &Body) -> Message {
        Message {
            version: self.association.transport().version(),
            responder: false,
            primitive: body.primitive(),
            conference: self.conference,
            transaction,
            user: self.user,
            attributes: body.attributes(),
        }
    }

    /// Asks for floors for oneself.
    pub fn request(
        &mut self,
        now: Instant,
        floors: &[u16],
        priority: Option<Priority>,
        why: Option<Text>,
    ) -> Option<u16> {
        let floors = floors.to_vec();
        self.ask(now, Body::FloorRequest { floors, beneficiary: None, information: why, priority })
    }

    /// Gives back, or withdraws, a request.
    pub fn release(&mut self, now: Instant, request: u16) -> Option<u16> {
        self.ask(now, Body::FloorRelease { request })
    }

    /// Subscribes to these floors and no others.
    pub fn watch(&mut self, now: Instant, floors: &[u16]) -> Option<u16> {
        self.ask(now, Body::FloorQuery { floors: floors.to_vec() })
    }

    /// Decides as a chair about a request, as far as it is about one floor: accepted (with a place in the
    /// queue, or 0 for the server's choice), granted, denied, or revoked if it is granted (§11.1).
    pub fn decide(
        &mut self,
        now: Instant,
        request: u16,
        floor: u16,
        decision: RequestStatus,
        why: Option<Text>,
    ) -> Option<u16> {
        let floor = FloorState { id: floor, status: Some(decision), information: why };
        let information =
            RequestInformation { id: request, floors: vec![floor], ..RequestInformation::default() };
        self.ask(now, Body::ChairAction(information))
    }

    /// Takes octets of the stream, or one datagram.
    ///
    /// # Errors
    /// What came over a stream cannot be read: the connection has to be closed (§6.1).
    pub fn handle_octets(&mut self, now: Instant, octets: &[u8]) -> Result<(), Error> {
        self.association.handle_octets(now, octets);
        while let Some(incoming) = self.association.poll_incoming() {
            match incoming {
                Incoming::Message(message) => self.message_came(now, &message),
                Incoming::Faulty { error, fatal: true, .. } => return Err(error),
                // A client discards what is wrong in a datagram (§5.1).
                Incoming::Faulty { .. } => {}
            }
        }
        Ok(())
    }

    fn message_came(&mut self, now: Instant, message: &Message) {
        if message.conference != self.conference || message.user != self.user {
            return;
        }
        let body = Body::of(message);
        let datagrams = self.association.transport() != Transport::Stream;
        let notice = if datagrams { !message.responder } else { message.transaction == 0 };
        if notice {
            if let Ok(body) = body {
                self.notice(now, message, body);
            }
            return;
        }
        let Some(at) = self.open.iter().position(|(open, _)| *open == message.transaction) else { return };
        let Some((transaction, request)) = self.open.remove(at) else { return };
        let mut answer = match body {
            Ok(body) => body,
            Err(error) => Body::refusal(&error),
        };
        if let Body::FloorRequestStatus(information) = &mut answer
            && let Some(newer) = self.newer.iter().find(|newer| newer.id == information.id)
        {
            information.clone_from(newer);
        }
        if self.open.is_empty() {
            self.newer.clear();
        }
        self.events.push_back(ClientEvent::Answer { transaction, request, answer });
    }

    fn notice(&mut self, now: Instant, message: &Message, body: Body) {
        let ack = match body {
            Body::FloorRequestStatus(_) => Body::FloorRequestStatusAck,
            Body::FloorStatus { .. } => Body::FloorStatusAck,
            Body::Goodbye => Body::GoodbyeAck,
            _ => return,
        };
        if self.association.transport() != Transport::Stream {
            // §8.1: the number is the server's.
            let ack = self.message(message.transaction, &ack);
            self.association.answer(now, message.primitive, ack);
            if let Body::FloorRequestStatus(information) = &body
                && !self.open.is_empty()
            {
                self.newer.retain(|newer| newer.id != information.id);
                if self.newer.len() == OPEN {
                    self.newer.remove(0);
                }
                self.newer.push(information.clone());
            }
        }
        self.events.push_back(match body {
            Body::Goodbye => ClientEvent::Goodbye,
            body => ClientEvent::Notice(body),
        });
    }

    /// A new connection is up in the place of a lost one: requests without an answer are sent again under
    /// their numbers, and floors that were watched are watched again (§6.1).
    pub fn reconnected(&mut self, now: Instant) {
        self.association = self.association.renewed();
        self.newer.clear();
        self.broken = false;
        let open = std::mem::take(&mut self.open);
        let watches = open.iter().any(|(_, request)| request.primitive() == Primitive::FloorQuery);
        for (transaction, request) in open {
            if self.association.ask(now, self.message(transaction, &request), None) {
                self.open.push_back((transaction, request));
            }
        }
        if !watches && !self.watched.is_empty() {
            let floors = self.watched.clone();
            self.watch(now, &floors);
        }
    }

    /// Requests without an answer.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.association.handle_timeout(now);
        if self.association.is_broken() && !self.broken {
            self.broken = true;
            self.events.push_back(ClientEvent::Broken);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; never over a stream.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.association.poll_timeout()
    }

    /// Octets to send: a whole message of a stream, or one datagram.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.association.poll_transmit()
    }

    /// What was heard.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Who it is.
    pub fn user(&self) -> u16 {
        self.user
    }

    /// The conference.
    pub fn conference(&self) -> u32 {
        self.conference
    }

    /// What carries it.
    pub fn transport(&self) -> Transport {
        self.association.transport()
    }

    /// How much a message may hold.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}
