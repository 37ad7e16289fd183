//! A participant or chair (RFC 8855 §10 to §12): requests, their answers, what the server says by itself.

use crate::body::Body;
use crate::error::Error;
use crate::number::{Priority, RequestStatus};
use crate::transport::Transport;
use crate::{Limits, Text};
use bytes::Bytes;
use std::time::Instant;

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
#[derive(Debug)]
pub struct Client {
    conference: u32,
    user: u16,
    transport: Transport,
    #[allow(dead_code)]
    limits: Limits,
}

impl Client {
    /// A client with nothing under way.
    pub fn new(conference: u32, user: u16, transport: Transport, limits: Limits) -> Self {
        Self { conference, user, transport, limits }
    }

    /// Sends a request: one of FloorRequest, FloorRelease, FloorRequestQuery, UserQuery, FloorQuery,
    /// ChairAction, Hello, Goodbye. Its number; `None` if it is not a request, cannot be said, or too many
    /// wait.
    pub fn ask(&mut self, _now: Instant, _request: Body) -> Option<u16> {
        None
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

    /// Decides as a chair about a request, as far as it is about one floor.
    pub fn decide(
        &mut self,
        _now: Instant,
        _request: u16,
        _floor: u16,
        _decision: RequestStatus,
        _why: Option<Text>,
    ) -> Option<u16> {
        None
    }

    /// Takes octets of the stream, or one datagram.
    ///
    /// # Errors
    /// What came over a stream cannot be read: the connection has to be closed (§6.1).
    pub fn handle_octets(&mut self, _now: Instant, _octets: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    /// A new connection is up in the place of a lost one: requests without an answer are sent again, floors
    /// that were watched are watched again (§6.1).
    pub fn reconnected(&mut self, _now: Instant) {}

    /// Runs what is due.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; never over a stream.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Octets to send: a whole message of a stream, or one datagram.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        None
    }

    /// What was heard.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        None
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
        self.transport
    }
}
