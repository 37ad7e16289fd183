//! The state of one pinhole, and what it wants next.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use carnet_gateway::media::{Direction, Gate, Pinhole, Role, Settings, Statistics};
use socket2::Socket;

use super::Timers;
use super::flow::Flow;
use super::ports::Lease;
use super::socket;

#[derive(Debug)]
pub(super) struct Hole {
    pub(super) name: Pinhole,
    pub(super) lease: Lease,
    pub(super) since: Instant,
    /// `None` until the first `Configure`.
    pub(super) settings: Option<Box<Settings>>,
    pub(super) joined: Option<u32>,
    /// Holds the port while there is no connection that does.
    pub(super) anchor: Option<Anchor>,
    pub(super) link: Link,
    /// Further connections, while nothing has been heard on the one in `link`.
    pub(super) standbys: Vec<Standby>,
    /// From this peer into the context.
    pub(super) flow: Flow,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) last_received: Instant,
    pub(super) last_sent: Instant,
    /// When to give up on an incoming connection.
    pub(super) waiting_until: Option<Instant>,
    /// When a flow held back by its rate, or an accept that found no descriptor, goes on.
    pub(super) resume: Option<Instant>,
    /// A connection was made or missed, and only a new `Configure` asks for another.
    pub(super) ended: bool,
    /// `Command::Connect` was given.
    pub(super) told_to_connect: bool,
    /// Silence was reported and nothing has passed since.
    pub(super) silence_reported: bool,
    /// When a refused source was last reported.
    pub(super) blocked: Option<Instant>,
    /// The entry in the worker's timetable.
    pub(super) scheduled: Option<Instant>,
    /// Is in the worker's run queue.
    pub(super) queued: bool,
}

#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) socket: Socket,
    /// The registration in epoll while it listens.
    pub(super) listening: Option<u32>,
    /// A connection may be waiting to be accepted.
    pub(super) ready: bool,
}

#[derive(Debug)]
pub(super) enum Link {
    /// No connection with the peer.
    Down,
    /// The peer does not know of us yet.
    Connecting(Attempt),
    /// A connection.
    Up(Connection),
}

#[derive(Debug)]
pub(super) struct Attempt {
    /// `None` between two attempts.
    pub(super) socket: Option<Socket>,
    pub(super) serial: u32,
    pub(super) remote: SocketAddr,
    /// This one included.
    pub(super) count: u8,
    /// When to try again, while there is no socket.
    pub(super) again: Option<Instant>,
    pub(super) give_up: Instant,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) serial: u32,
    pub(super) since: Instant,
    /// There may be something to read.
    pub(super) readable: bool,
    /// There may be room to write.
    pub(super) writable: bool,
    /// The peer has closed its direction: reading must go on until the end shows.
    pub(super) hangup: bool,
    /// Octets have passed on this connection, either way.
    pub(super) touched: bool,
}

/// An accepted connection that takes over if it speaks first.
///
/// Whoever reaches the port first would else hold it by saying nothing.
#[derive(Debug)]
pub(super) struct Standby {
    pub(super) socket: Socket,
    pub(super) serial: u32,
    pub(super) peer: SocketAddr,
}

impl Connection {
    pub(super) fn new(socket: Socket, serial: u32, now: Instant) -> Self {
        Self { socket, serial, since: now, readable: false, writable: true, hangup: false, touched: false }
    }

    /// Nothing has been heard and nothing has been said.
    pub(super) fn silent(&self) -> bool {
        !self.touched && !self.readable
    }
}

impl Hole {
    pub(super) fn new(name: Pinhole, lease: Lease, anchor: Anchor, now: Instant) -> Self {
        Self {
            name,
            lease,
            since: now,
            settings: None,
            joined: None,
            anchor: Some(anchor),
            link: Link::Down,
            standbys: Vec::new(),
            flow: Flow::default(),
            received: 0,
            sent: 0,
            last_received: now,
            last_sent: now,
            waiting_until: None,
            resume: None,
            ended: false,
            told_to_connect: false,
            silence_reported: false,
            blocked: None,
            scheduled: None,
            queued: false,
        }
    }

    pub(super) fn gate(&self) -> Gate {
        self.settings.as_ref().map_or(Gate::Inactive, |s| s.gate)
    }

    pub(super) fn role(&self) -> Role {
        self.settings.as_ref().map_or(Role::Undecided, |s| s.role)
    }

    pub(super) fn dscp(&self) -> Option<u8> {
        self.settings.as_ref().and_then(|s| s.dscp)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    /// The gate lets octets from the peer into the context.
    pub(super) fn lets_in(&self) -> bool {
        matches!(self.gate(), Gate::ReceiveOnly | Gate::SendReceive)
    }

    /// The gate lets octets out to the peer.
    pub(super) fn lets_out(&self) -> bool {
        matches!(self.gate(), Gate::SendOnly | Gate::SendReceive)
    }

    pub(super) fn send_standbys_away(&mut self) {
        for standby in std::mem::take(&mut self.standbys) {
            socket::reset(standby.socket);
        }
    }

    /// Whether connections are to be accepted now.
    pub(super) fn wants_callers(&self) -> bool {
        let room = match &self.link {
            Link::Down => true,
            Link::Connecting(_) => false,
            Link::Up(connection) => connection.silent(),
        };
        let passive = self.role() != Role::Active;
        room && passive && self.gate() != Gate::Inactive && !self.ended && !self.told_to_connect
    }

    /// Where to connect now, given the far side of the join.
    pub(super) fn wants_to_call(&self, far: Option<&Self>) -> Option<SocketAddr> {
        if !matches!(self.link, Link::Down) || self.ended || self.gate() == Gate::Inactive {
            return None;
        }
        let triggered = self.told_to_connect
            || self.role() == Role::Active
                && far.is_some_and(|far| match far.role() {
                    Role::Passive | Role::Either => far.is_up(),
                    Role::Active => far.gate() != Gate::Inactive,
                    Role::Undecided => far.told_to_connect,
                })
            || self.role() == Role::Either
                && far.is_some_and(|far| matches!(far.role(), Role::Passive | Role::Either) && far.is_up());
        if !triggered {
            return None;
        }
        self.settings.as_ref()?.remote
    }

    /// The next moment at which something has to happen by itself.
    pub(super) fn deadline(&self, far_up: bool, timers: &Timers) -> Option<Instant> {
        let link = match &self.link {
            Link::Down => self.waiting_until,
            Link::Connecting(attempt) => Some(attempt.again.unwrap_or(attempt.give_up)),
            Link::Up(connection) => (!far_up).then(|| connection.since + timers.unspliced),
        };
        let silence = self.silence_deadline().map(|(at, _)| at);
        [link, silence, self.resume].into_iter().flatten().min()
    }

    /// When silence is to be reported, and in which direction.
    pub(super) fn silence_deadline(&self) -> Option<(Instant, Direction)> {
        if self.silence_reported {
            return None;
        }
        let (longest, direction) = self.settings.as_ref()?.inactivity?;
        let last = match direction {
            Direction::In => self.last_received,
            Direction::Out => self.last_sent,
            Direction::Both => self.last_received.max(self.last_sent),
        };
        // A detection time beyond what the clock can express never ends.
        Some((last.checked_add(longest)?, direction))
    }

    pub(super) fn note_received(&mut self, octets: usize, now: Instant) {
        self.received += octets as u64;
        self.last_received = now;
        self.silence_reported = false;
        if let Link::Up(connection) = &mut self.link {
            connection.touched = true;
        }
    }

    pub(super) fn note_sent(&mut self, octets: usize, now: Instant) {
        self.sent += octets as u64;
        self.last_sent = now;
        self.silence_reported = false;
        if let Link::Up(connection) = &mut self.link {
            connection.touched = true;
        }
    }

    pub(super) fn statistics(&self, now: Instant) -> Statistics {
        Statistics {
            octets_received: self.received,
            octets_sent: self.sent,
            duration: now.saturating_duration_since(self.since),
            witness: self.flow.seen().map(Box::new),
        }
    }
}

/// How long to wait before attempt `count + 1` of an outgoing connection that was refused.
pub(super) fn pause_after(count: u8) -> Duration {
    Duration::from_millis(250) * u32::from(count)
}
