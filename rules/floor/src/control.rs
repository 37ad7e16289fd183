//! The machine.

use crate::config::{Limits, Member, Settings};
use crate::event::{ConnectionId, Event, FloorReport};
use bytes::Bytes;
use carnet_bfcp::Transport;
use std::time::Instant;

/// What carries the messages of a connection, and what is known of who is at its other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// A stream (version 1) or datagrams (version 2).
    pub transport: Transport,
    /// Who, if the connection itself tells; otherwise the first message of an admitted user does.
    pub user: Option<u16>,
    /// TLS or DTLS protects it.
    pub secured: bool,
}

impl Link {
    /// A TLS connection of a user.
    pub fn stream(user: Option<u16>) -> Self {
        Self { transport: Transport::Stream, user, secured: true }
    }
}

/// There is no such floor, user or request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such {0}")]
pub struct NoSuch(pub &'static str);

/// A snapshot that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot of floors: {0}")]
pub struct SnapshotError(pub &'static str);

/// See the [crate] page.
#[derive(Debug)]
pub struct FloorControl {
    settings: Settings,
    #[allow(dead_code)]
    limits: Limits,
}

impl FloorControl {
    /// A server without users.
    pub fn new(settings: Settings, limits: Limits) -> Self {
        Self { settings, limits }
    }

    /// The conference changed. Requests for a floor that is gone end, and the latest holders beyond a
    /// smaller number.
    pub fn configure(&mut self, _now: Instant, settings: Settings) {
        self.settings = settings;
    }

    /// A user is in the conference, or is called differently.
    pub fn admit(&mut self, _now: Instant, _user: u16, _member: Member) {}

    /// A user is no longer in the conference: its requests end, its connection is to be closed.
    pub fn dismiss(&mut self, _now: Instant, _user: u16) {}

    /// A user is the chair of a floor, in the place of whoever was; or nobody is.
    ///
    /// # Errors
    /// If there is no such floor or user.
    pub fn designate(&mut self, _now: Instant, _floor: u16, _chair: Option<u16>) -> Result<(), NoSuch> {
        Ok(())
    }

    /// The chair of a floor.
    pub fn chair(&self, _floor: u16) -> Option<u16> {
        None
    }

    /// A connection is up.
    pub fn connected(&mut self, _now: Instant, _connection: ConnectionId, _link: Link) {}

    /// A connection is gone. A `clean` end, by the other side, frees its user's floors at once; otherwise
    /// the user has the time of [`Settings::grace`] to come back.
    pub fn closed(&mut self, _now: Instant, _connection: ConnectionId, _clean: bool) {}

    /// Takes octets of a stream, or one datagram.
    pub fn handle_octets(&mut self, _now: Instant, _connection: ConnectionId, _octets: &[u8]) {}

    /// A connection takes no more octets for now, or takes them again. What is for one that does not
    /// stays here, up to [`Limits::transmit`].
    pub fn blocked(&mut self, _connection: ConnectionId, _blocked: bool) {}

    /// Runs what is due.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Octets to send: a whole message of a stream, or one datagram.
    pub fn poll_transmit(&mut self) -> Option<(ConnectionId, Bytes)> {
        None
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Who has a floor, since longest first; each user once.
    pub fn holders(&self, _floor: u16) -> Vec<u16> {
        Vec::new()
    }

    /// Every floor as it is, in order of their numbers.
    pub fn status(&self) -> Vec<FloorReport> {
        Vec::new()
    }

    /// Ends a request as the conference's owner. `why` is for people.
    ///
    /// # Errors
    /// If there is no such request.
    pub fn revoke(&mut self, _now: Instant, _request: u16, _why: &str) -> Result<(), NoSuch> {
        Ok(())
    }

    /// Requests, queues and holders in a line of printable ASCII without spaces, quotes or backslashes, of
    /// at most 64 octets a request and 8 a floor in it; words of people are left out. For
    /// [`restore`](Self::restore).
    pub fn snapshot(&self, _now: Instant) -> String {
        String::new()
    }

    /// Takes over requests, queues and holders, before there are any. Their users have the time of
    /// [`Settings::grace`] to connect; what is for a floor that is not there, and whom
    /// [`dismiss`](Self::dismiss) names, ends.
    ///
    /// # Errors
    /// If it is not a snapshot; then nothing is taken.
    pub fn restore(&mut self, _now: Instant, _snapshot: &str) -> Result<(), SnapshotError> {
        Ok(())
    }
}
