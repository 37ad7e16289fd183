//! The state of one pinhole that ends here, and what it wants next.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use carnet_gateway::media::{
    Cause, Direction, Endpoint, Gate, Key, Medium, Pinhole, Role, Settings, Statistics, TlsFailure, TlsRole,
};
use carnet_tls::{Error, Fault, Psk, PskKey, Side};
use socket2::Socket;

use super::line::Line;
use crate::media::ports::Lease;
use crate::media::socket;

pub(super) struct Hole {
    pub(super) name: Pinhole,
    pub(super) lease: Lease,
    pub(super) local: SocketAddr,
    pub(super) since: Instant,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) settings: Settings,
    /// Holds the port, and listens while callers are wanted.
    pub(super) anchor: Option<Anchor>,
    pub(super) link: Link,
    /// Connections that have not shown yet that they are the one.
    pub(super) callers: Vec<Caller>,
    /// When to give up on an incoming connection.
    pub(super) waiting_until: Option<Instant>,
    /// When to try again what the host refused.
    pub(super) resume: Option<Instant>,
    /// The entry in the worker's timetable.
    pub(super) scheduled: Option<Instant>,
    /// When a refused source was last reported.
    pub(super) blocked: Option<Instant>,
    /// Why the last caller was not the one; told when nobody else came in time.
    pub(super) failure: Option<TlsFailure>,
    /// Nobody came in time: none is let in until the next command.
    pub(super) missed: bool,
    /// The conference let the member go: none is let in until somebody else is meant.
    pub(super) expelled: bool,
    /// A connection of ours was made or missed, and only a new command asks for another.
    pub(super) ended: bool,
    /// `Command::Connect` was given.
    pub(super) told_to_connect: bool,
    /// Is in the worker's run queue.
    pub(super) queued: bool,
    /// Whom this is, once it is known to the conference.
    pub(super) seat: Option<Seat>,
    pub(super) silence: Silence,
}

/// A place in a conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) user: u16,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Msrp,
    Bfcp,
}

/// Holds the port; listens or not.
pub(super) struct Anchor {
    pub(super) socket: Socket,
    /// 0: not registered yet.
    pub(super) serial: u32,
    pub(super) listening: bool,
    /// Nothing was said of callers yet: the kernel takes them and nobody looks.
    pub(super) held: bool,
    /// A caller may be waiting in the kernel.
    pub(super) ready: bool,
}

pub(super) enum Link {
    Down,
    Calling(Box<Attempt>),
    Up(Box<Connection>),
}

/// An outgoing connection that is being made.
pub(super) struct Attempt {
    pub(super) socket: Option<Socket>,
    pub(super) serial: u32,
    pub(super) remote: SocketAddr,
    pub(super) count: u8,
    pub(super) again: Option<Instant>,
    pub(super) give_up: Instant,
}

/// A connection before it is known to be the one.
pub(super) struct Caller {
    pub(super) line: Line,
    pub(super) serial: u32,
    pub(super) peer: SocketAddr,
    /// When it is sent away; `None` while we are not ready for it ourselves.
    pub(super) until: Option<Instant>,
    /// We opened it.
    pub(super) ours: bool,
    /// Something may have come.
    pub(super) ready: bool,
}

/// The connection of the member.
pub(super) struct Connection {
    pub(super) line: Line,
    pub(super) serial: u32,
    /// Among all connections of the worker; the floor control server knows it by this.
    pub(super) number: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Read, and not taken by the conference yet.
    pub(super) unread: Vec<u8>,
    /// The conference takes nothing for now.
    pub(super) held: bool,
    /// The floor control server knows that the socket takes nothing.
    pub(super) blocked: bool,
    /// Taken from the machine, not from here yet by the socket.
    pub(super) left: Vec<u8>,
    /// To be closed when all is written.
    pub(super) closing: Option<Cause>,
    /// All is written and said to be the end; what still comes is read and thrown away, because a socket
    /// that is closed over unread octets takes back what was sent.
    pub(super) ended: bool,
    /// When a connection that is being closed is cut.
    pub(super) cut: Option<Instant>,
}

/// When octets passed last, where silence is to be reported.
pub(super) struct Silence {
    last_received: Instant,
    last_sent: Instant,
    reported: bool,
}

impl Connection {
    pub(super) fn new(line: Line, serial: u32, number: u64) -> Self {
        Self {
            line,
            serial,
            number,
            // Both are found out by trying.
            readable: true,
            writable: true,
            unread: Vec::new(),
            held: false,
            blocked: false,
            left: Vec::new(),
            closing: None,
            ended: false,
            cut: None,
        }
    }
}

impl Hole {
    pub(super) fn new(name: Pinhole, lease: Lease, local: SocketAddr, socket: Socket, now: Instant) -> Self {
        // The controller may tell the address before its settings are here, and the peer may be as quick:
        // until then its call waits in the kernel.
        let held = socket::listen(&socket).is_ok();
        Self {
            name,
            lease,
            local,
            since: now,
            received: 0,
            sent: 0,
            settings: Settings::default(),
            anchor: Some(Anchor { socket, serial: 0, listening: false, ready: false, held }),
            link: Link::Down,
            callers: Vec::new(),
            waiting_until: None,
            resume: None,
            scheduled: None,
            blocked: None,
            failure: None,
            missed: false,
            expelled: false,
            ended: false,
            told_to_connect: false,
            queued: false,
            seat: None,
            silence: Silence { last_received: now, last_sent: now, reported: false },
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.settings.gate != Gate::Inactive
    }

    pub(super) fn lets_in(&self) -> bool {
        matches!(self.settings.gate, Gate::ReceiveOnly | Gate::SendReceive)
    }

    pub(super) fn lets_out(&self) -> bool {
        matches!(self.settings.gate, Gate::SendOnly | Gate::SendReceive)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.settings.endpoint.as_deref()
    }

    /// Whether the peer opens the connection. Nothing is joined here that could settle it otherwise.
    fn is_passive(&self) -> bool {
        self.settings.peer_opens || self.settings.role != Role::Active
    }

    /// Whether callers are let in. Also while there is a connection: a peer that lost it unnoticed by us
    /// comes again.
    pub(super) fn wants_callers(&self) -> bool {
        self.is_open() && self.is_passive() && !self.told_to_connect && !self.missed && !self.expelled
    }

    /// Whom to call now.
    pub(super) fn wants_to_call(&self) -> Option<SocketAddr> {
        let asked = self.told_to_connect || !self.is_passive() && !self.ended;
        let free = matches!(self.link, Link::Down) && self.callers.iter().all(|caller| !caller.ours);
        let ready = self.is_open() && self.settings.endpoint.is_some() && !self.expelled;
        self.settings.remote.filter(|remote| asked && free && ready && remote.port() != 0)
    }

    pub(super) fn allows(&self, source: SocketAddr) -> bool {
        socket::allowed(&self.settings.filter, source)
    }

    /// Whether somebody comes from where the peer said to be.
    pub(super) fn expects(&self, source: SocketAddr) -> bool {
        self.settings.remote.is_some_and(|remote| remote.ip() == source.ip())
    }

    pub(super) fn statistics(&self, now: Instant) -> Statistics {
        Statistics {
            octets_received: self.received,
            octets_sent: self.sent,
            duration: now.saturating_duration_since(self.since),
            witness: None,
        }
    }

    pub(super) fn received(&mut self, octets: usize, now: Instant) {
        self.received += octets as u64;
        self.silence.last_received = now;
        self.silence.reported = false;
    }

    pub(super) fn sent(&mut self, octets: usize, now: Instant) {
        self.sent += octets as u64;
        self.silence.last_sent = now;
        self.silence.reported = false;
    }

    fn silent_at(&self) -> Option<Instant> {
        let (longest, direction) = self.settings.inactivity.filter(|_| !self.silence.reported)?;
        Some(self.last(direction) + longest)
    }

    fn last(&self, direction: Direction) -> Instant {
        match direction {
            Direction::In => self.silence.last_received,
            Direction::Out => self.silence.last_sent,
            Direction::Both => self.silence.last_received.max(self.silence.last_sent),
        }
    }

    /// Silence to be reported now.
    pub(super) fn fallen_silent(&mut self, now: Instant) -> Option<Direction> {
        if !self.is_up() || self.silent_at().is_none_or(|at| at > now) {
            return None;
        }
        self.silence.reported = true;
        self.settings.inactivity.map(|(_, direction)| direction)
    }

    /// Silence is counted from now on.
    pub(super) fn listen_anew(&mut self, now: Instant) {
        self.silence = Silence { last_received: now, last_sent: now, reported: false };
    }

    /// The next time at which something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let attempt = match &self.link {
            Link::Calling(attempt) => [attempt.again, Some(attempt.give_up)],
            Link::Up(connection) => [connection.cut, self.silent_at()],
            Link::Down => [None, None],
        };
        let waiting = self.waiting_until.filter(|_| !self.is_up());
        let callers = self.callers.iter().filter_map(|caller| caller.until);
        [waiting, self.resume].into_iter().chain(attempt).flatten().chain(callers).min()
    }
}

impl Seat {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let kind = match endpoint.medium {
            Medium::Msrp { .. } => Kind::Msrp,
            Medium::Bfcp { .. } => Kind::Bfcp,
        };
        Self { user: endpoint.user, kind }
    }
}

/// Whether two endpoints differ in nothing that a connection depends on. A new key is for the next one.
pub(super) fn same_leg(a: &Endpoint, b: &Endpoint) -> bool {
    let paths = match (&a.medium, &b.medium) {
        (
            Medium::Msrp { local_path: la, remote_path: ra, .. },
            Medium::Msrp { local_path: lb, remote_path: rb, .. },
        ) => la == lb && ra == rb,
        (Medium::Bfcp { .. }, Medium::Bfcp { .. }) => true,
        _ => false,
    };
    paths && a.user == b.user && a.member == b.member && a.tls.is_some() == b.tls.is_some()
}

pub(super) fn side(role: TlsRole) -> Side {
    match role {
        TlsRole::Client => Side::Client,
        TlsRole::Server => Side::Server,
    }
}

/// The key for one association. It is wiped when the handshake is over.
pub(super) fn psk(key: &Key, identity: &[u8]) -> Result<PskKey, Error> {
    let name = std::str::from_utf8(identity).map_err(|_| Error::Identity(identity.len()))?;
    PskKey::new(name, Psk::new(key.expose())?)
}

pub(super) fn failure(error: &Error) -> TlsFailure {
    match error {
        Error::UnknownIdentity(_) | Error::IdentityRefused(_) => TlsFailure::Identity,
        Error::WrongKey => TlsFailure::Key,
        Error::NoCommonSuite | Error::NoCommonVersion => TlsFailure::NothingInCommon,
        Error::Refused | Error::PeerClosed | Error::Io(_) => TlsFailure::Refused,
        Error::Timeout(_) => TlsFailure::Timeout,
        other if other.fault() == Fault::Ours => TlsFailure::Ours,
        _ => TlsFailure::Protocol,
    }
}

/// Before the next attempt of an outgoing connection.
pub(super) fn pause_after(count: u8) -> Duration {
    Duration::from_millis(500) * 2u32.saturating_pow(u32::from(count.saturating_sub(1)).min(6))
}
