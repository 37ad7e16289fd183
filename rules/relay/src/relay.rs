//! The relay: its connections, its clock, and what it wants done.

use crate::connection::{Connection, Incoming, Target, Way};
use crate::grants::Grants;
use crate::ledger::Ledger;
use crate::settings::Settings;
use crate::shard::Shard;
use crate::transactions::{Kind, Mode};
use crate::{ConnectionId, Limits};
use carnet_msrp::{Error, Part, Status, Uri};
use carnet_sip::{Algorithm, DigestServer, DigestSettings, Password};
use carnet_wire::Random;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often waiting times are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Empty buffers that are kept, and how many octets they may have room for.
const SPARE: usize = 64;
const SPARE_SIZE: usize = 64 << 10;

/// Why a connection is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// What came is not MSRP, or goes over a limit.
    Malformed(Error),
    /// What came is for somebody else (RFC 4976 §6.2).
    NotForUs,
    /// No request succeeded in time (§6.1).
    Probation,
    /// Too many requests failed (§6.1, §6.3).
    Failures,
    /// It took nothing of what waits for it.
    Stalled,
    /// Nothing happened on it (§6.5).
    Idle,
    /// It did not stand in time.
    NotConnected,
    /// The connection that a link was for has ended.
    Ended,
}

/// What is to be done with sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect; then say [`Relay::connected`], or [`Relay::closed`].
    Connect {
        /// What the new connection is called.
        connection: ConnectionId,
        /// Host name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
        /// In TLS; the certificate is to be good for the host.
        secure: bool,
    },
    /// Make a link to another shard, a connection that needs no network: its other end is told
    /// [`Relay::joined`] there; then say [`Relay::connected`] here.
    Join {
        /// What the link is called.
        connection: ConnectionId,
        /// Which shard, by its place in what [`Relay::shards`] gave.
        shard: u16,
    },
    /// Take the connection to another shard, which is told [`Relay::accepted`] and that these octets came. It is
    /// known here no more.
    HandOver {
        /// Which.
        connection: ConnectionId,
        /// Which shard, by its place in what [`Relay::shards`] gave.
        shard: u16,
        /// All that came on it.
        octets: Vec<u8>,
    },
    /// [`Relay::output`] has something to write.
    Write(ConnectionId),
    /// [`Relay::may_read`] has become true.
    Read(ConnectionId),
    /// Write what is there, if it is taken at once, and close. It is known no more.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        reason: Reason,
        /// The last words.
        rest: Vec<u8>,
    },
}

/// What has happened so far, and what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections now.
    pub connections: usize,
    /// URIs granted now.
    pub sessions: usize,
    /// URIs granted so far.
    pub granted: u64,
    /// AUTH requests with a wrong password, or a spent one.
    pub denied: u64,
    /// SENDs passed on.
    pub sends: u64,
    /// Octets of bodies passed on, as SENDs carried them.
    pub octets: u64,
    /// Other requests passed on.
    pub others: u64,
    /// Failures reported to those who sent.
    pub reports: u64,
    /// Requests by URIs that are not good.
    pub refused: u64,
    /// Connections turned away because there were too many.
    pub turned_away: u64,
}

/// Of several shards together.
impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            sessions: self.sessions + other.sessions,
            granted: self.granted + other.granted,
            denied: self.denied + other.denied,
            sends: self.sends + other.sends,
            octets: self.octets + other.octets,
            others: self.others + other.others,
            reports: self.reports + other.reports,
            refused: self.refused + other.refused,
            turned_away: self.turned_away + other.turned_away,
        }
    }
}

/// A relay. Not a thread, not a socket: those who have them tell it what happened and do what it says.
pub struct Relay {
    pub(crate) settings: Settings,
    pub(crate) users: Arc<HashMap<String, Password>>,
    pub(crate) shard: Shard,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) digest: DigestServer,
    pub(crate) random: Box<dyn Random>,
    pub(crate) connections: Vec<Option<Connection>>,
    vacant: Vec<u32>,
    serial: u32,
    pub(crate) grants: Grants,
    /// Connections of ours.
    pub(crate) targets: HashMap<Target, ConnectionId>,
    pub(crate) actions: VecDeque<Action>,
    /// Who has answers to its requests waiting, and nothing else.
    answered: VecDeque<ConnectionId>,
    pub(crate) counts: Counts,
    /// Empty buffers for what leaves: a connection has one only while something waits for it, and the one
    /// that was used last, which the processor still has at hand, is used next.
    pub(crate) spare: Vec<Vec<u8>>,
    /// To put something together in.
    pub(crate) scratch: Vec<u8>,
    tick: Instant,
    /// The latest time that was said.
    clock: Instant,
    pub(crate) draining: bool,
}

impl Relay {
    /// A relay that knows these users by their passwords.
    pub fn new(
        settings: Settings,
        users: HashMap<String, Password>,
        now: Instant,
        random: Box<dyn Random>,
    ) -> Self {
        let shard = Shard { number: 0, count: 1 };
        Self::shard(settings, Arc::new(users), now, random, shard, Arc::default())
    }

    /// Other users from now on, or others' passwords. What was granted to one who is gone ends with its time.
    pub fn set_users(&mut self, users: Arc<HashMap<String, Password>>) {
        self.users = users;
    }

    /// The shards of one relay, one for each source of randomness, 1,000 at most. They share its limits, and can be
    /// driven by threads of their own.
    pub fn shards(
        settings: &Settings,
        users: HashMap<String, Password>,
        now: Instant,
        random: Vec<Box<dyn Random>>,
    ) -> Vec<Self> {
        let (users, ledger) = (Arc::new(users), Arc::new(Ledger::default()));
        let count = random.len().min(1_000) as u16;
        let shard = |(number, random)| {
            let shard = Shard { number, count };
            Self::shard(settings.clone(), Arc::clone(&users), now, random, shard, Arc::clone(&ledger))
        };
        (0..count).zip(random).map(shard).collect()
    }

    fn shard(
        settings: Settings,
        users: Arc<HashMap<String, Password>>,
        now: Instant,
        mut random: Box<dyn Random>,
        shard: Shard,
        ledger: Arc<Ledger>,
    ) -> Self {
        let mut digest = DigestSettings::new(&settings.realm);
        // RFC 4976 §7: a response has 32 digits.
        digest.algorithms = vec![Algorithm::Md5];
        let digest = DigestServer::new(digest, now, &mut *random);
        Self {
            settings,
            users,
            shard,
            ledger,
            digest,
            random,
            connections: Vec::new(),
            vacant: Vec::new(),
            serial: 0,
            grants: Grants::default(),
            targets: HashMap::new(),
            actions: VecDeque::new(),
            answered: VecDeque::new(),
            counts: Counts::default(),
            spare: Vec::new(),
            scratch: Vec::new(),
            tick: now + TICK,
            clock: now,
            draining: false,
        }
    }

    /// Somebody connected through a listener. `None`: there are too many; close it.
    pub fn accepted(&mut self, now: Instant, listener: usize, source: IpAddr) -> Option<ConnectionId> {
        let id = self.open(now, Way::In(listener), Some(source.to_canonical()));
        self.counts.turned_away += u64::from(id.is_none());
        if self.shard.count > 1
            && let Some(connection) = id.and_then(|id| self.get_mut(id))
        {
            connection.fresh = Some(Vec::new());
        }
        id
    }

    /// `None`: there are too many. Links are no connections to those who count, and there are as many for one as
    /// there are other shards at most.
    pub(crate) fn open(&mut self, now: Instant, way: Way, source: Option<IpAddr>) -> Option<ConnectionId> {
        let inner = matches!(way, Way::Link(..) | Way::Joined);
        if !inner && !self.ledger.enter(source, &self.settings.limits) {
            return None;
        }
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let serial = self.serial;
        let connection = Connection::new(serial, way, source, now, &self.settings.limits);
        let slot = match self.vacant.pop() {
            Some(slot) => {
                *self.connections.get_mut(slot as usize)? = Some(connection);
                slot
            }
            None => {
                self.connections.push(Some(connection));
                u32::try_from(self.connections.len() - 1).ok()?
            }
        };
        self.counts.connections += usize::from(!inner);
        Some(ConnectionId { slot, serial })
    }

    /// A connection that was asked for stands.
    pub fn connected(&mut self, now: Instant, id: ConnectionId) {
        self.clock = now;
        if let Some(connection) = self.get_mut(id) {
            (connection.up, connection.since, connection.moved) = (true, now, now);
            if connection.queued() > 0 {
                self.touch(id);
            }
        }
    }

    /// Octets came. All are taken; whether more may be read says [`Self::may_read`].
    pub fn received(&mut self, now: Instant, id: ConnectionId, octets: &[u8]) {
        self.clock = now;
        let Some(connection) = self.get_mut(id) else { return };
        connection.heard = now;
        if let Some(so_far) = &mut connection.fresh {
            // A head is bounded, and it is decided with the first.
            so_far.extend_from_slice(octets);
        }
        let Some(mut frames) = connection.frames.take() else { return };
        let mut rest = octets;
        loop {
            let part = match frames.next(rest) {
                Err(error) => return self.close(id, Reason::Malformed(error)),
                Ok((_, None)) => break,
                Ok((used, Some(part))) => {
                    rest = rest.get(used..).unwrap_or_default();
                    part
                }
            };
            match part {
                Part::Head(head) => self.on_head(now, id, &head),
                Part::Body(octets) => self.on_body(id, octets),
                Part::End(end) => self.on_end(now, id, end.flag()),
            }
            if self.get(id).is_none() {
                return;
            }
        }
        self.pause(id);
        if let Some(connection) = self.get_mut(id) {
            connection.frames = Some(frames);
        }
    }

    /// Whether more may be read from a connection: neither a next hop nor its own answers wait for it.
    #[inline]
    pub fn may_read(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|connection| connection.may_ask(&self.settings.limits))
    }

    /// What waits to be written to a connection.
    #[inline]
    pub fn output(&mut self, id: ConnectionId) -> &[u8] {
        let Some(connection) = self.get_mut(id).filter(|connection| connection.up) else { return &[] };
        (connection.announced, connection.answered) = (false, false);
        connection.out.get(connection.out_at..).unwrap_or_default()
    }

    /// So many octets of it were written.
    pub fn sent(&mut self, now: Instant, id: ConnectionId, octets: usize) {
        let most = self.limits().answers;
        let Some(connection) = self.get_mut(id).filter(|_| octets > 0) else { return };
        connection.out_at = (connection.out_at + octets).min(connection.out.len());
        connection.sent += octets as u64;
        connection.moved = now;
        connection.stuck = (connection.queued() > 0).then_some(now);
        if connection.queued() == 0 {
            let mut out = std::mem::take(&mut connection.out);
            connection.out_at = 0;
            // It was not read while too many answers waited.
            let asked = std::mem::take(&mut connection.answers) > most;
            if self.spare.len() < SPARE && out.capacity() <= SPARE_SIZE {
                out.clear();
                self.spare.push(out);
            }
            if asked {
                self.resumed(id);
            }
        } else if connection.out_at > 256 << 10 {
            connection.out.drain(..connection.out_at);
            connection.out_at = 0;
        }
        let Some(connection) = self.get_mut(id) else { return };
        connection.transactions.left(connection.sent, now);
        self.unblock(id);
    }

    /// The connection is gone.
    pub fn closed(&mut self, id: ConnectionId) {
        self.forget(id);
    }

    /// No URI is granted any more; what is there goes on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// What is to be done next: what takes messages on their way first, then answers to who sent them.
    pub fn poll(&mut self) -> Option<Action> {
        self.poll_urgent().or_else(|| self.answered.pop_front().map(Action::Write))
    }

    /// What is to be done next, but for answers. While more is to be read, they can wait: nobody who reads a
    /// message waits for them, and they leave with what else leaves on their connection.
    #[inline]
    pub fn poll_urgent(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        Counts { sessions: self.grants.len(), ..self.counts }
    }

    /// When [`Self::handle_timeout`] should be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.connections.len() > self.vacant.len()).then_some(self.tick)
    }

    /// Looks at what has waited for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.tick {
            return;
        }
        (self.tick, self.clock) = (now + TICK, now);
        for (user, client) in self.grants.end(|grant| grant.expires <= now) {
            self.ledger.end(&user);
            if let Some(connection) = self.get_mut(client) {
                connection.grants = connection.grants.saturating_sub(1);
            }
        }
        for slot in 0..self.connections.len() {
            let Some(Some(connection)) = self.connections.get(slot) else { continue };
            let id = ConnectionId { slot: slot as u32, serial: connection.serial };
            match self.over(connection, now) {
                Some(reason) => self.close(id, reason),
                None => self.report_silence(now, id),
            }
        }
    }

    /// Why a connection should be closed.
    fn over(&self, connection: &Connection, now: Instant) -> Option<Reason> {
        let timers = &self.settings.timers;
        let since = |at: Instant| now.saturating_duration_since(at);
        if connection.is_inner() {
            // Its other end is alive, and closes what is stalled behind it.
            return None;
        }
        if !connection.up {
            return (since(connection.since) >= timers.connect).then_some(Reason::NotConnected);
        }
        if connection.stuck.is_some_and(|at| since(at) >= timers.stalled) {
            return Some(Reason::Stalled);
        }
        let ours = matches!(connection.way, Way::Out(..));
        if !ours && !connection.proven && since(connection.since) >= timers.probation {
            return Some(Reason::Probation);
        }
        let idle = since(connection.heard.max(connection.moved)) >= timers.idle;
        (idle && connection.grants == 0).then_some(Reason::Idle)
    }

    fn report_silence(&mut self, now: Instant, id: ConnectionId) {
        let patience = self.settings.timers.answer;
        loop {
            let Some(connection) = self.get_mut(id) else { return };
            let Some(kind) = connection.transactions.overdue(now, patience) else { break };
            if let Kind::Send { sent, start, length } = kind
                && sent.mode == Mode::Yes
            {
                self.report(&sent, start, length, Status::TIMEOUT);
            }
        }
        self.unblock(id);
    }

    /// Closes a connection and forgets it.
    pub(crate) fn close(&mut self, id: ConnectionId, reason: Reason) {
        let rest = self.get_mut(id).map(|connection| {
            let out = std::mem::take(&mut connection.out);
            out.get(connection.out_at..).unwrap_or_default().to_vec()
        });
        let Some(rest) = rest else { return };
        self.forget(id);
        self.actions.push_back(Action::Close { connection: id, reason, rest });
    }

    fn forget(&mut self, id: ConnectionId) {
        let Some(slot) = self.connections.get_mut(id.slot as usize) else { return };
        let Some(connection) = slot.take_if(|connection| connection.serial == id.serial) else { return };
        self.vacant.push(id.slot);
        if !connection.is_inner() {
            self.counts.connections -= 1;
            self.ledger.leave(connection.source);
        }
        for (_, link) in &connection.links {
            self.close(*link, Reason::Ended);
        }
        if let Way::Link(_, client) = connection.way
            && let Some(client) = self.get_mut(client)
        {
            client.links.retain(|(_, link)| *link != id);
        }
        if let Way::Out(target, client) = &connection.way {
            if self.targets.get(target) == Some(&id) {
                self.targets.remove(target);
            }
            if let Some(client) = self.get_mut(*client) {
                client.made = client.made.saturating_sub(1);
            }
        }
        if connection.grants > 0 {
            // §6.3: a URI is good for the connection it was asked for on.
            for (user, _) in self.grants.end(|grant| grant.client == id) {
                self.ledger.end(&user);
            }
        }
        // What came from it and is not complete never will be.
        if let Incoming::Passing(passing) = &connection.incoming
            && passing.open
        {
            self.end_chunk(passing.next, passing.passed, b'#');
        }
        for waiting in connection.waiting {
            self.unblocked(waiting, id);
        }
        for kind in connection.transactions.unanswered() {
            if let Kind::Send { sent, start, length } = kind {
                self.report(&sent, start, length, Status::TIMEOUT);
            }
        }
    }

    /// Lets another shard have a connection on which nothing was done yet.
    pub(crate) fn hand_over(&mut self, id: ConnectionId, shard: u16, octets: Vec<u8>) {
        self.forget(id);
        self.actions.push_back(Action::HandOver { connection: id, shard, octets });
    }

    #[inline]
    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(id.slot as usize)?.as_ref().filter(|c| c.serial == id.serial)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot as usize)?.as_mut().filter(|c| c.serial == id.serial)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Whether a URI names this relay, whatever its session. AUTH may leave the port out.
    pub(crate) fn is_ours(&self, uri: &Uri, port_may_lack: bool) -> bool {
        let host = uri.host().trim_matches(['[', ']']);
        let listeners = &self.settings.listeners;
        let named = self.settings.names.iter().chain(listeners.iter().map(|l| &l.host));
        let same = |name: &String| {
            let address = name.trim_matches(['[', ']']).parse::<IpAddr>().ok();
            name.eq_ignore_ascii_case(host) || address.is_some() && address == uri.address()
        };
        let port = match uri.port() {
            None if port_may_lack => return named.into_iter().any(same),
            port => port.unwrap_or(2855),
        };
        listeners.iter().any(|l| l.port == port) && named.into_iter().any(same)
    }

    /// What waits to leave on a connection, to be written to.
    pub(crate) fn out(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.connections.get_mut(id.slot as usize)?;
        let connection = slot.as_mut().filter(|connection| connection.serial == id.serial)?;
        if connection.out.capacity() == 0 {
            connection.out = self.spare.pop().unwrap_or_default();
        }
        Some(connection)
    }

    /// Asks for what waits for a connection to be written, once.
    pub(crate) fn touch(&mut self, id: ConnectionId) {
        let clock = self.clock;
        if let Some(connection) = self.get_mut(id)
            && connection.up
            && !std::mem::replace(&mut connection.announced, true)
        {
            connection.stuck.get_or_insert(clock);
            self.actions.push_back(Action::Write(id));
        }
    }

    /// The same for an answer.
    pub(crate) fn touch_later(&mut self, id: ConnectionId) {
        let clock = self.clock;
        if let Some(connection) = self.get_mut(id)
            && connection.up
            && !connection.announced
            && !std::mem::replace(&mut connection.answered, true)
        {
            connection.stuck.get_or_insert(clock);
            self.answered.push_back(id);
        }
    }

    /// Lets `id` wait until `next` takes more.
    pub(crate) fn block(&mut self, id: ConnectionId, next: ConnectionId) {
        let Some(connection) = self.get_mut(id).filter(|connection| connection.blocked.is_none()) else {
            return;
        };
        connection.blocked = Some(next);
        if let Some(next) = self.get_mut(next) {
            next.waiting.push(id);
        }
    }

    /// Lets those go on who wait for `id`, if half of what may wait for it has left.
    pub(crate) fn unblock(&mut self, id: ConnectionId) {
        let Some(connection) = self.get(id).filter(|connection| !connection.waiting.is_empty()) else {
            return;
        };
        if connection.queued() > self.limits().queue / 2 || connection.is_full(self.limits()) {
            return;
        }
        let Some(connection) = self.get_mut(id) else { return };
        for waiting in std::mem::take(&mut connection.waiting) {
            self.unblocked(waiting, id);
        }
    }

    fn unblocked(&mut self, waiting: ConnectionId, next: ConnectionId) {
        if let Some(connection) = self.get_mut(waiting)
            && connection.blocked == Some(next)
        {
            connection.blocked = None;
            self.resumed(waiting);
        }
    }

    fn resumed(&mut self, id: ConnectionId) {
        if self.may_read(id) {
            self.actions.push_back(Action::Read(id));
        }
    }
}
