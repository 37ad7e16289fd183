//! The state of one pinhole, and what it wants next.
//!
//! Thousands of pinholes do nothing most of the time, so what few of them need, or need briefly, is
//! in boxes of its own.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use carnet_gateway::engine::Sources;
use carnet_gateway::media::{
    Direction, Edge, Gate, Leg, Pinhole, Rate, Reason, Role, Settings, SourceFilter, Statistics, TlsFailure,
};
use carnet_gateway::witness::Observer;
use socket2::Socket;

use super::bucket::Bucket;
use super::certificates::Shown;
use super::clock::Moment;
use super::doors::{Steering, Visitor};
use super::end::End;
use super::flow::Flow;
use super::guard::{Guard, Seat};
use super::memory::Kept;
use super::pipes::Pipes;
use super::ports::Lease;
use super::through::Rewriting;
use super::{Timers, socket};

/// A connection that lasts this long is asked for signs of life, if its realm does not ask earlier.
const KEEPALIVE_FROM: Duration = Duration::from_secs(30);

/// Strangers that come to a pinhole and go are reported no more often.
pub(super) const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Hole {
    pub(super) name: Pinhole,
    pub(super) since: Moment,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// When to give up on an incoming connection.
    pub(super) waiting_until: Option<Moment>,
    /// The entry in the worker's timetable.
    pub(super) scheduled: Option<Moment>,
    pub(super) link: Link,
    /// From this peer into the context.
    pub(super) flow: Flow,
    /// Holds the port while there is no connection that does.
    pub(super) anchor: Option<Anchor>,
    rare: Option<Box<Rare>>,
    watch: Option<Box<Watch>>,
    /// The slot of the far side, and one.
    joined: Option<NonZeroU32>,
    remote_v4: Option<SocketAddrV4>,
    pub(super) lease: Lease,
    pub(super) dscp: Option<u8>,
    pub(super) role: Role,
    pub(super) gate: Gate,
    caller: PeerAsCaller,
    /// A connection was made or missed, and only a new `Configure` asks for another.
    pub(super) ended: bool,
    /// `Command::Connect` was given.
    pub(super) told_to_connect: bool,
    /// Is in the worker's run queue.
    pub(super) queued: bool,
    /// Something has changed that the choice of the engine depends on.
    pub(super) unweighed: bool,
    pub(super) told: Told,
    pub(super) steering: Steering,
    door: Door,
}

/// What was said of the peer as a caller, in one octet: a pinhole has room for no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PeerAsCaller(u8);

impl PeerAsCaller {
    const OPENS: u8 = 1;
    const LATCHED: u8 = 2;

    fn new(opens: bool, latched: bool) -> Self {
        Self((u8::from(opens) * Self::OPENS) | (u8::from(latched) * Self::LATCHED))
    }

    /// It opens the connection.
    fn opens(self) -> bool {
        self.0 & Self::OPENS != 0
    }

    /// Where it comes from will not be announced.
    fn is_latched(self) -> bool {
        self.0 & Self::LATCHED != 0
    }
}

/// What was said of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// There are no settings yet, and nothing to choose by.
    Unconfigured,
    Nothing,
    /// What it is and why: the kernel for one reason, a relay for all others.
    Reason(Reason),
}

/// How often the gate has been open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    New,
    Opened,
    /// Also after a connection: there may be more to come.
    Reopened,
}

/// Who and what is watched.
#[derive(Debug, Default)]
struct Watch {
    /// Who may call.
    filter: Option<SourceFilter>,
    silence: Option<Silence>,
    /// Where the peer is, if that is an address of IPv6.
    remote: Option<SocketAddr>,
}

/// What is watched where silence is to be reported.
#[derive(Debug)]
struct Silence {
    longest: Duration,
    direction: Direction,
    last_received: Moment,
    last_sent: Moment,
    /// Silence was reported and nothing has passed since.
    reported: bool,
}

/// What few pinholes have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Further connections, while nothing has been heard on the one in `link`.
    pub(super) standbys: Vec<Standby>,
    /// Callers who came before the gate was ever open, where there is no socket for them to wait at.
    pub(super) early: Vec<Visitor>,
    /// When a flow held back by its rate, or an accept that found no descriptor, goes on.
    resume: Option<Moment>,
    /// When a refused source, or one that did not fit, was last reported.
    pub(super) blocked: Option<Moment>,
    /// When one that came and went was last reported.
    pub(super) left: Option<Moment>,
    pub(super) bucket: Option<Bucket>,
    pub(super) observer: Option<Box<Observer>>,
    /// TLS ends here.
    pub(super) end: Option<Box<End>>,
    /// What it keeps between two turns.
    pub(super) sealed: Option<Kept>,
    /// Why TLS failed with somebody who was perhaps not the peer.
    pub(super) unsealed: Option<TlsFailure>,
    /// The octets are MSRP, whose paths are rewritten.
    pub(super) leg: Option<Arc<Leg>>,
    /// Of what comes from this peer.
    pub(super) rewriting: Option<Box<Rewriting>>,
    /// What the connection in `link` takes of what its source may have.
    seat: Option<Seat>,
}

#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) socket: Socket,
    /// The registration in epoll; 0 for none.
    pub(super) serial: u32,
    pub(super) listening: bool,
    /// A connection may be waiting to be accepted.
    pub(super) ready: bool,
}

impl Anchor {
    /// Has callers wait. The loop is not told of them yet.
    pub(super) fn new(socket: Socket) -> Self {
        let listening = socket::listen_early(&socket).is_ok();
        Self { socket, serial: 0, listening, ready: false }
    }
}

#[derive(Debug)]
pub(super) enum Link {
    /// No connection with the peer.
    Down,
    /// The peer does not know of us yet.
    Connecting(Box<Attempt>),
    /// A connection.
    Up(Connection),
    /// A connection that is not ours: the kernel carries it end to end.
    Carried,
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
    pub(super) again: Option<Moment>,
    pub(super) give_up: Moment,
    /// Octets for the peer are waiting already.
    pub(super) eager: bool,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) since: Moment,
    pub(super) socket: Socket,
    pub(super) serial: u32,
    /// Accepted, and the kernel has not yet said whether there is something to read.
    pub(super) fresh: bool,
    /// There may be something to read.
    pub(super) readable: bool,
    /// There may be room to write.
    pub(super) writable: bool,
    /// The peer has closed its direction: reading must go on until the end shows.
    pub(super) hangup: bool,
    /// Octets have passed on this connection, either way.
    pub(super) touched: bool,
    pub(super) origin: Origin,
    /// The kernel asks the peer for signs of life.
    pub(super) kept_alive: bool,
    pub(super) begun: Begun,
}

/// How a connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// We made it.
    Made,
    /// Accepted, from the address that the controller gave as the peer's, or where it gave none.
    Peer,
    /// Accepted, from elsewhere.
    Stranger,
}

impl Origin {
    fn of(expected: bool) -> Self {
        if expected { Self::Peer } else { Self::Stranger }
    }
}

/// An accepted connection that takes over if it speaks first.
///
/// Whoever reaches the port first would else hold it by saying nothing.
#[derive(Debug)]
pub(super) struct Standby {
    pub(super) socket: Socket,
    pub(super) serial: u32,
    pub(super) peer: SocketAddr,
    pub(super) seat: Option<Seat>,
    /// It has said something, while TLS was being made with another.
    pub(super) spoke: bool,
}

/// Whether a connection has begun as it must, where that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// It has, or it may begin as it likes.
    Yes,
    /// It was accepted, and nobody has been told of it.
    Awaited,
    /// It was made by us, and reported.
    Owed,
    /// It was accepted and may begin as it likes; nobody has been told of it, because others came here and
    /// left without a word a moment ago.
    Quiet,
}

impl Connection {
    /// One that was accepted.
    pub(super) fn accepted(socket: Socket, serial: u32, expected: bool, now: Moment) -> Self {
        Self { fresh: true, origin: Origin::of(expected), ..Self::made(socket, serial, now) }
    }

    /// One that we made.
    pub(super) fn made(socket: Socket, serial: u32, now: Moment) -> Self {
        Self {
            since: now,
            socket,
            serial,
            fresh: false,
            readable: false,
            writable: true,
            hangup: false,
            touched: false,
            origin: Origin::Made,
            kept_alive: false,
            begun: Begun::Yes,
        }
    }

    pub(super) fn is_expected(&self) -> bool {
        self.origin != Origin::Stranger
    }

    /// The controller has said something else of where the peer is.
    pub(super) fn expect(&mut self, expected: bool) {
        if self.origin != Origin::Made {
            self.origin = Origin::of(expected);
        }
    }

    /// Nothing has been heard and nothing has been said.
    pub(super) fn silent(&self) -> bool {
        !self.touched && !self.readable
    }
}

impl Hole {
    /// One with this socket, or one whose callers are to be steered to the loop.
    pub(super) fn new(name: Pinhole, lease: Lease, socket: Option<Socket>, now: Moment) -> Self {
        let steering = if socket.is_some() { Steering::No } else { Steering::Reserving };
        Self {
            name,
            since: now,
            received: 0,
            sent: 0,
            waiting_until: None,
            scheduled: None,
            link: Link::Down,
            flow: Flow::default(),
            anchor: socket.map(Anchor::new),
            rare: None,
            watch: None,
            joined: None,
            remote_v4: None,
            lease,
            dscp: None,
            role: Role::default(),
            gate: Gate::default(),
            caller: PeerAsCaller::new(false, false),
            ended: false,
            told_to_connect: false,
            queued: false,
            unweighed: false,
            told: Told::Unconfigured,
            steering,
            door: Door::New,
        }
    }

    /// The slot of the far side.
    pub(super) fn joined(&self) -> Option<u32> {
        self.joined.map(|joined| joined.get() - 1)
    }

    pub(super) fn join(&mut self, far: Option<u32>) {
        self.unweighed = true;
        self.joined = far.and_then(|far| NonZeroU32::new(far.saturating_add(1)));
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn rare_if_there(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    pub(super) fn rare_if_any(&mut self) -> Option<&mut Rare> {
        self.rare.as_deref_mut()
    }

    /// When it goes on, if it has to wait.
    pub(super) fn paused(&self) -> Option<Moment> {
        self.rare.as_ref().and_then(|rare| rare.resume)
    }

    /// Has it wait.
    pub(super) fn pause(&mut self, until: Moment) {
        self.rare().resume = Some(until);
    }

    /// It has waited long enough.
    pub(super) fn resume(&mut self, now: Moment) {
        if let Some(rare) = &mut self.rare {
            rare.resume = rare.resume.filter(|at| *at > now);
        }
    }

    /// Takes new settings.
    pub(super) fn set(&mut self, settings: Settings, now: Moment) {
        let Settings {
            role, remote, peer_opens, latch, gate, filter, rate, dscp, inactivity, edge, leg, ..
        } = settings;
        let open = gate != Gate::Inactive;
        self.unweighed = true;
        if self.told == Told::Unconfigured {
            self.told = Told::Nothing;
        }
        (self.role, self.gate, self.dscp) = (role, gate, dscp);
        if open && self.door == Door::New {
            self.door = Door::Opened;
        }
        self.caller = PeerAsCaller::new(peer_opens, latch);
        self.with_watch(|watch| {
            watch.filter = Some(filter).filter(|filter| *filter != SourceFilter::default());
            let of = |silence: &Silence| (silence.longest, silence.direction);
            if watch.silence.as_ref().map(of) != inactivity {
                // The time counts from when it was asked for.
                watch.silence = inactivity.map(|(longest, direction)| {
                    let (last_received, last_sent) = (now, now);
                    Silence { longest, direction, last_received, last_sent, reported: false }
                });
            }
        });
        let limited = self.rare.as_ref().and_then(|rare| rare.bucket.as_ref()).map(Bucket::rate);
        if limited != rate {
            self.rare().bucket = rate.map(|rate| Bucket::new(rate, now));
        }
        self.set_work(edge, leg);
        if !open || self.remote() != remote {
            if let Link::Connecting(_) = self.link {
                self.link = Link::Down;
            }
            let (v4, other) = match remote {
                Some(SocketAddr::V4(v4)) => (Some(v4), None),
                other => (None, other),
            };
            self.remote_v4 = v4;
            self.with_watch(|watch| watch.remote = other);
        }
    }

    /// Changes who and what is watched, and keeps that if there is something.
    fn with_watch(&mut self, change: impl FnOnce(&mut Watch)) {
        let mut watch = self.watch.take().unwrap_or_default();
        change(&mut watch);
        let Watch { filter, silence, remote } = &*watch;
        self.watch = (filter.is_some() || silence.is_some() || remote.is_some()).then_some(watch);
    }

    /// What passes is not what comes: TLS ends here, or paths are rewritten.
    pub(super) fn works(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.end.is_some() || rare.leg.is_some())
    }

    /// What is done to the octets.
    fn set_work(&mut self, edge: Option<Arc<Edge>>, leg: Option<Arc<Leg>>) {
        if edge.is_none() && leg.is_none() && !self.works() {
            return;
        }
        let rare = self.rare();
        if edge.is_some() || rare.end.is_some() {
            rare.end.get_or_insert_with(|| Box::new(End::new(None))).set(edge);
        }
        rare.leg = leg;
    }

    /// Has TLS end here, with this to be shown. Nothing passes before it stands.
    pub(super) fn end_tls(&mut self, shown: Arc<Shown>) {
        self.rare().end = Some(Box::new(End::new(Some(shown))));
    }

    /// The fingerprint of the certificate that the peer will be shown.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.rare.as_ref()?.end.as_ref()?.fingerprint()
    }

    /// The connection, and the end of TLS on it.
    pub(super) fn tls(&mut self) -> Option<(&mut End, &mut Connection)> {
        let end = self.rare.as_mut()?.end.as_mut()?;
        let Link::Up(connection) = &mut self.link else { return None };
        end.meet(connection.serial);
        Some((end, connection))
    }

    /// Octets may pass: the connection is up, and so is TLS where it ends here.
    pub(super) fn is_open(&self) -> bool {
        let Link::Up(connection) = &self.link else { return false };
        let end = self.rare.as_ref().and_then(|rare| rare.end.as_ref());
        end.is_none_or(|end| end.serial == connection.serial && end.is_made())
    }

    /// The connection is registered otherwise, and is the same.
    pub(super) fn moved(&mut self, serial: u32) {
        if let Some(end) = self.rare.as_mut().and_then(|rare| rare.end.as_mut()) {
            end.moved(serial);
        }
    }

    /// Whoever has the connection is sure to be the peer, or somebody in its place.
    pub(super) fn is_surely_the_peer(&self) -> bool {
        let Link::Up(connection) = &self.link else { return false };
        let known = self.remote().is_some_and(|remote| !remote.ip().is_unspecified());
        let filtered = self.filter().is_some_and(|filter| filter.network.is_some());
        connection.origin == Origin::Made || filtered || known && connection.is_expected()
    }

    /// TLS with the peer ends here.
    pub(super) fn ends_tls(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.end.is_some())
    }

    pub(super) fn tls_is_late(&self, now: Moment) -> bool {
        self.tls_deadline().is_some_and(|at| at <= now)
    }

    /// When TLS has to stand.
    fn tls_deadline(&self) -> Option<Moment> {
        let end = self.rare.as_ref()?.end.as_ref()?;
        end.give_up.filter(|_| !end.is_made() && self.is_up())
    }

    /// Forgets what was under way with a connection that is gone.
    pub(super) fn clear(&mut self, pipes: &mut Pipes) {
        self.flow.clear(pipes);
        if let Some(rare) = self.rare.as_mut() {
            rare.rewriting = None;
            rare.sealed = None;
            if let Some(end) = &mut rare.end {
                end.forget();
            }
        }
    }

    /// There are new settings after a connection.
    pub(super) fn reopen(&mut self) {
        if std::mem::take(&mut self.ended) {
            self.door = Door::Reopened;
        }
    }

    /// It was opened again after a connection.
    pub(super) fn is_reopened(&self) -> bool {
        self.door == Door::Reopened
    }

    /// The peer's address as the controller gave it.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        let other = || self.watch.as_ref().and_then(|watch| watch.remote);
        self.remote_v4.map(SocketAddr::V4).or_else(other)
    }

    fn filter(&self) -> Option<&SourceFilter> {
        self.watch.as_ref()?.filter.as_ref()
    }

    fn silence(&self) -> Option<&Silence> {
        self.watch.as_ref()?.silence.as_ref()
    }

    fn silence_mut(&mut self) -> Option<&mut Silence> {
        self.watch.as_mut()?.silence.as_mut()
    }

    pub(super) fn allows(&self, peer: SocketAddr) -> bool {
        self.filter().is_none_or(|filter| socket::allowed(filter, peer))
    }

    /// Whether a caller has the address of the peer. Where none was given, nobody is a stranger.
    pub(super) fn expects(&self, peer: SocketAddr) -> bool {
        self.remote().is_none_or(|remote| remote.ip().is_unspecified() || remote.ip() == peer.ip())
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    /// It is not yet known whether the peer has spoken already.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(&self.link, Link::Up(connection) if connection.fresh)
    }

    /// Its connection has been used, its door is shut, and nothing rare is about it. When it has to be looked at
    /// again is in the timetable since then, and can only have become later.
    pub(super) fn only_passes(&self) -> bool {
        let used = matches!(&self.link, Link::Up(connection) if connection.touched && !connection.fresh);
        let shut = self.anchor.as_ref().is_none_or(|anchor| !anchor.listening) && !self.held_by_a_stranger();
        used && shut && self.rare.is_none() && !self.unweighed
    }

    fn has_come(&self) -> bool {
        self.is_up() && !self.is_fresh()
    }

    /// The gate lets octets from the peer into the context.
    pub(super) fn lets_in(&self) -> bool {
        matches!(self.gate, Gate::ReceiveOnly | Gate::SendReceive)
    }

    /// The gate lets octets out to the peer.
    pub(super) fn lets_out(&self) -> bool {
        matches!(self.gate, Gate::SendOnly | Gate::SendReceive)
    }

    pub(super) fn has_standbys(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.standbys.is_empty())
    }

    pub(super) fn take_standbys(&mut self) -> Vec<Standby> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.standbys)).unwrap_or_default()
    }

    pub(super) fn send_standbys_away(&mut self) {
        for standby in self.take_standbys() {
            socket::reset(standby.socket);
        }
    }

    /// Also those who came early. How many there were.
    pub(super) fn send_waiting_away(&mut self) -> usize {
        let Some(rare) = self.rare.as_mut() else { return 0 };
        let sockets = rare.standbys.drain(..).map(|standby| standby.socket);
        let sockets = sockets.chain(rare.early.drain(..).map(|visitor| visitor.socket));
        sockets.map(socket::reset).count()
    }

    /// The seat of the connection in `link`; that of the one before is given up.
    pub(super) fn take_seat(&mut self, seat: Option<Seat>) {
        if seat.is_some() || self.rare.is_some() {
            self.rare().seat = seat;
        }
    }

    pub(super) fn give_up_seat(&mut self) {
        self.take_seat(None);
    }

    /// The controller may tell the address before its settings are here, and the peer may be as quick. Until
    /// the gate opens for the first time its call waits in the kernel, unread and undecided.
    pub(super) fn waits_for_its_gate(&self) -> bool {
        self.door == Door::New && self.role != Role::Active && !self.told_to_connect
    }

    /// Whether it will never be announced where the peer comes from.
    pub(super) fn is_latched(&self) -> bool {
        self.caller.is_latched()
    }

    /// Whether connections are to be accepted now.
    pub(super) fn wants_callers(&self) -> bool {
        let room = match &self.link {
            Link::Down => true,
            Link::Connecting(_) | Link::Carried => false,
            // Until nobody is waited for any more, the one who was expected may still come.
            Link::Up(connection) => connection.silent() || self.held_by_a_stranger() || self.is_unproven(),
        };
        let passive = self.role != Role::Active;
        room && passive && self.gate != Gate::Inactive && !self.ended && !self.told_to_connect
    }

    /// Whose the connection is will be known when TLS stands; it may be somebody who never lets it.
    pub(super) fn is_unproven(&self) -> bool {
        matches!(&self.link, Link::Up(connection) if connection.origin != Origin::Made) && !self.is_open()
    }

    /// The connection is of somebody who may have guessed the port, and it is too early to be sure
    /// that it is not: a peer behind a translator comes from elsewhere too.
    pub(super) fn held_by_a_stranger(&self) -> bool {
        let stranger = matches!(&self.link, Link::Up(connection) if connection.origin == Origin::Stranger);
        stranger && self.waiting_until.is_some()
    }

    /// Where to connect now, given the far side of the join.
    pub(super) fn wants_to_call(&self, far: Option<&Self>) -> Option<SocketAddr> {
        let may = matches!(self.link, Link::Down) && !self.ended && !self.caller.opens();
        if !may || self.gate == Gate::Inactive {
            return None;
        }
        let triggered = self.told_to_connect
            || self.role == Role::Active
                && far.is_some_and(|far| match far.role {
                    Role::Passive | Role::Either => far.has_come(),
                    Role::Active => far.gate != Gate::Inactive,
                    Role::Undecided => far.told_to_connect,
                })
            || self.role == Role::Either
                && far.is_some_and(|far| matches!(far.role, Role::Passive | Role::Either) && far.has_come());
        if triggered { self.remote() } else { None }
    }

    /// The next moment at which something has to happen by itself.
    pub(super) fn deadline(&self, far_up: bool, timers: &Timers, guard: &Guard) -> Option<Moment> {
        let link = match &self.link {
            Link::Down => self.waiting_until,
            Link::Connecting(attempt) => Some(attempt.again.unwrap_or(attempt.give_up)),
            Link::Up(connection) if !far_up => Some(connection.since.plus(timers.unspliced)),
            Link::Up(connection) if connection.begun == Begun::Awaited => {
                Some(connection.since.plus(guard.handshake))
            }
            Link::Up(connection) if !connection.kept_alive => {
                guard.keepalive.map(|keepalive| connection.since.plus(keepalive.min(KEEPALIVE_FROM)))
            }
            Link::Up(_) | Link::Carried => None,
        };
        let stranger = self.waiting_until.filter(|_| self.held_by_a_stranger());
        let quiet = match &self.link {
            Link::Up(connection) if connection.begun == Begun::Quiet => Some(connection.since.plus(QUIET)),
            _ => None,
        };
        [link, stranger, quiet, self.silence_deadline(), self.paused(), self.tls_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Asks the peer of a connection that lasts for signs of life from now on.
    pub(super) fn keep_alive(&mut self, now: Moment, guard: &Guard) {
        if let Link::Up(connection) = &mut self.link
            && let Some(keepalive) = guard.keepalive
            && !connection.kept_alive
            && connection.since.plus(keepalive.min(KEEPALIVE_FROM)) <= now
        {
            connection.kept_alive = true;
            socket::keep_alive(&connection.socket, keepalive);
        }
    }

    /// It has stayed, and is to be told of although it has said nothing.
    pub(super) fn has_stayed(&self, now: Moment) -> bool {
        matches!(&self.link, Link::Up(connection)
            if connection.begun == Begun::Quiet && connection.since.plus(QUIET) <= now)
    }

    /// A caller has not begun as it must, and had the time to. Whom we called may wait to be spoken to.
    pub(super) fn is_slow(&self, now: Moment, guard: &Guard) -> bool {
        matches!(&self.link, Link::Up(connection)
            if connection.begun == Begun::Awaited && connection.since.plus(guard.handshake) <= now)
    }

    /// How often its counters are to be asked for, where somebody else counts.
    pub(super) fn counts_every(&self) -> Option<Duration> {
        self.silence().map(|silence| silence.longest / 4)
    }

    /// The only source that the filter lets in.
    pub(super) fn sources(&self) -> Sources {
        let Some(filter) = self.filter() else { return Sources::Any };
        match (filter.network, filter.ports) {
            (Some((IpAddr::V4(ip), 32..)), None) => Sources::One(ip.into()),
            (Some((IpAddr::V6(ip), 128..)), None) => Sources::One(ip.into()),
            (None, None) => Sources::Any,
            _ => Sources::Several,
        }
    }

    /// Limit on what the peer sends.
    pub(super) fn rate(&self) -> Option<Rate> {
        self.rare.as_ref().and_then(|rare| rare.bucket.as_ref()).map(Bucket::rate)
    }

    /// The counters of a connection that somebody else counts stand so; `before` is what there was before it. What was counted too high
    /// is put right.
    pub(super) fn note_counters(&mut self, before: (u64, u64), octets: (u64, u64), now: Moment) {
        let was = (self.received, self.sent);
        self.received = before.0.saturating_add(octets.0);
        self.sent = before.1.saturating_add(octets.1);
        let (more_received, more_sent) = (self.received > was.0, self.sent > was.1);
        if let Some(silence) = self.silence_mut() {
            if more_received {
                silence.last_received = now;
                silence.reported &= silence.direction == Direction::Out;
            }
            if more_sent {
                silence.last_sent = now;
                silence.reported &= silence.direction == Direction::In;
            }
        }
    }

    /// When silence is to be reported.
    fn silence_deadline(&self) -> Option<Moment> {
        let silence = self.silence().filter(|silence| !silence.reported)?;
        let last = match silence.direction {
            Direction::In => silence.last_received,
            Direction::Out => silence.last_sent,
            Direction::Both => silence.last_received.max(silence.last_sent),
        };
        Some(last.plus(silence.longest))
    }

    /// The direction whose silence is to be reported now, once.
    pub(super) fn fallen_silent(&mut self, now: Moment) -> Option<Direction> {
        self.silence_deadline().filter(|at| *at <= now)?;
        let silence = self.silence_mut()?;
        silence.reported = true;
        Some(silence.direction)
    }

    pub(super) fn note_received(&mut self, octets: usize, now: Moment) {
        self.received += octets as u64;
        if let Some(silence) = self.silence_mut() {
            silence.last_received = now;
            silence.reported &= silence.direction == Direction::Out;
        }
        if let Link::Up(connection) = &mut self.link {
            connection.touched = true;
        }
    }

    pub(super) fn note_sent(&mut self, octets: usize, now: Moment) {
        self.sent += octets as u64;
        if let Some(silence) = self.silence_mut() {
            silence.last_sent = now;
            silence.reported &= silence.direction == Direction::In;
        }
        if let Link::Up(connection) = &mut self.link {
            connection.touched = true;
        }
    }

    pub(super) fn statistics(&self, now: Moment) -> Statistics {
        let observer = self.rare.as_ref().and_then(|rare| rare.observer.as_ref());
        Statistics {
            octets_received: self.received,
            octets_sent: self.sent,
            duration: now.since(self.since),
            witness: observer.map(|observer| Box::new(observer.report())),
        }
    }
}

/// How long to wait before attempt `count + 1` of an outgoing connection that was refused.
pub(super) fn pause_after(count: u8) -> Duration {
    Duration::from_millis(250) * u32::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Realm;
    use crate::media::ports::Ports;
    use carnet_wire::SeededRandom;
    use socket2::{Domain, Type};
    use std::net::Ipv4Addr;

    fn hole() -> Hole {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let realm = Realm {
            name: "a".into(),
            v4: Some(Ipv4Addr::LOCALHOST),
            v6: None,
            ports: 1..=9,
            ..Realm::default()
        };
        let mut random = SeededRandom::new(1);
        let lease = Ports::new(&[realm], &mut random).unwrap().lease(None, None, &mut random).unwrap();
        let mut hole = Hole::new(Pinhole { group: 1, number: 1 }, lease, Some(socket()), Moment::START);
        hole.link = Link::Up(Connection::made(socket(), 1, Moment::START));
        hole
    }

    #[test]
    fn an_idle_pinhole_is_small() {
        let size = size_of::<Option<Hole>>();
        assert!(size <= 152, "{size} octets; docs/performance.md counts on no more");
    }

    #[test]
    fn a_connection_that_lasts_is_asked_for_signs_of_life() {
        let mut hole = hole();
        let guard = Guard::default();
        let asks = |hole: &Hole| matches!(&hole.link, Link::Up(c) if c.socket.keepalive().unwrap());
        let at = hole.deadline(true, &Timers::default(), &guard).unwrap();
        hole.keep_alive(Moment::START, &guard);
        assert!(!asks(&hole));
        hole.keep_alive(at, &guard);
        assert!(asks(&hole));
        assert_eq!(hole.deadline(true, &Timers::default(), &guard), None, "that was all there was to do");
    }

    #[test]
    fn a_slot_of_the_far_side_is_kept() {
        let mut hole = hole();
        for slot in [None, Some(0), Some(7)] {
            hole.join(slot);
            assert_eq!(hole.joined(), slot);
        }
    }
}
