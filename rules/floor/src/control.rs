//! The machine: users, connections, time. What messages ask for is in `answers`, what is said of it in
//! `notices`.

use crate::config::{Limits, Member, Settings};
use crate::event::{CloseReason, ConnectionId, Event, FloorReport, Reason};
use crate::floors::{Decision, Floors};
use crate::people::{Connection, Link, User};
use crate::snapshot;
use bytes::Bytes;
use carnet_bfcp::{Association, Body, ErrorCode, Incoming, Message, Status, Text, Transport};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

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
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    pub(crate) floors: Floors,
    pub(crate) users: BTreeMap<u16, User>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    /// Connections that have something to send.
    ready: BTreeSet<ConnectionId>,
    /// The last octets of connections that are to be closed.
    farewells: VecDeque<(ConnectionId, Bytes)>,
    pub(crate) events: VecDeque<Event>,
    /// Floors that a new subscription has not told of yet.
    pub(crate) owed: Vec<(ConnectionId, u16)>,
}

impl FloorControl {
    /// A server without users.
    pub fn new(settings: Settings, limits: Limits) -> Self {
        let mut this = Self {
            floors: Floors::default(),
            settings,
            limits,
            users: BTreeMap::new(),
            connections: BTreeMap::new(),
            ready: BTreeSet::new(),
            farewells: VecDeque::new(),
            events: VecDeque::new(),
            owed: Vec::new(),
        };
        this.floors.begin(&this.settings.floors);
        this
    }

    /// The conference changed. Requests for a floor that is gone end, and the latest holders beyond a
    /// smaller number. A time to hold a floor counts from when it was granted.
    pub fn configure(&mut self, now: Instant, settings: Settings) {
        self.settings = settings;
        self.floors.configure(now, &self.settings.floors);
        self.settle(now, None);
    }

    /// How the conference is.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A user is in the conference, or is called differently.
    pub fn admit(&mut self, now: Instant, user: u16, member: Member) {
        self.users.entry(user).or_default().member = Some(member);
        let waiting = self.connections.iter().find(|(_, connection)| connection.user == Some(user));
        if let Some(connection) = waiting.map(|(id, _)| *id) {
            self.bind(now, connection, user);
            self.settle(now, None);
        }
    }

    /// A user is no longer in the conference: its requests end, its connection is to be closed.
    pub fn dismiss(&mut self, now: Instant, user: u16) {
        let Some(gone) = self.users.remove(&user) else { return };
        if let Some(id) = gone.connection {
            self.say_goodbye(now, id, user);
            self.close(id, CloseReason::Dismissed);
        }
        self.floors.gone(now, user, Reason::Dismissed);
        self.settle(now, None);
    }

    /// §6.2: over datagrams a server says that it ends the conversation.
    fn say_goodbye(&mut self, now: Instant, id: ConnectionId, user: u16) {
        let conference = self.settings.conference;
        let Some(connection) = self.connections.get_mut(&id).filter(|c| !c.is_stream()) else { return };
        let transaction = connection.association.transaction();
        connection.association.ask(now, message(conference, transaction, user, &Body::Goodbye), None);
        self.ready.insert(id);
    }

    /// A user is the chair of a floor, in the place of whoever was; or nobody is. With
    /// [`Algorithm::Rotation`](crate::Algorithm::Rotation) that is where the round goes on.
    ///
    /// # Errors
    /// If there is no such floor or user.
    pub fn designate(&mut self, now: Instant, floor: u16, chair: Option<u16>) -> Result<(), NoSuch> {
        self.floors.entry(floor).ok_or(NoSuch("floor"))?;
        if let Some(user) = chair {
            self.users.get(&user).filter(|user| user.member.is_some()).ok_or(NoSuch("user"))?;
        }
        self.floors.set_chair(now, floor, chair);
        self.settle(now, None);
        Ok(())
    }

    /// The chair of a floor.
    pub fn chair(&self, floor: u16) -> Option<u16> {
        self.floors.entry(floor)?.chair
    }

    /// A connection is up. If it is of a user who has one, that one is to be closed.
    pub fn connected(&mut self, now: Instant, connection: ConnectionId, link: Link) {
        if self.connections.len() >= self.limits.connections {
            self.events.push_back(Event::Close { connection, reason: CloseReason::TooMany });
            return;
        }
        let association = Association::new(link.transport, self.limits.message.clone());
        let new = Connection {
            association,
            user: link.user,
            secured: link.secured,
            watching: Vec::new(),
            blocked: false,
        };
        self.connections.insert(connection, new);
        if let Some(user) = link.user.filter(|user| self.users.contains_key(user)) {
            self.bind(now, connection, user);
            self.settle(now, None);
        }
    }

    /// A connection is a user's from now on.
    pub(crate) fn bind(&mut self, now: Instant, id: ConnectionId, user: u16) {
        let Some(entry) = self.users.get_mut(&user) else { return };
        entry.lost = None;
        entry.without = false;
        let old = entry.connection.replace(id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.user = Some(user);
        }
        if let Some(old) = old.filter(|old| *old != id) {
            self.close(old, CloseReason::Superseded);
        }
        self.floors.set_presence(now, user, false, true);
    }

    /// A connection is gone. A `clean` end, by the other side, frees its user's floors at once; otherwise
    /// the user has the time of [`Settings::grace`] to come back.
    pub fn closed(&mut self, now: Instant, connection: ConnectionId, clean: bool) {
        self.forget(now, connection, clean);
        self.settle(now, None);
    }

    /// Forgets a connection; its user has left, or is lost for now.
    fn forget(&mut self, now: Instant, id: ConnectionId, clean: bool) {
        self.ready.remove(&id);
        let Some(connection) = self.connections.remove(&id) else { return };
        if let Some(user) = connection.user {
            self.part(now, id, user, clean);
        }
    }

    /// A user is without the connection it had.
    fn part(&mut self, now: Instant, id: ConnectionId, user: u16, clean: bool) {
        let Some(entry) = self.users.get_mut(&user).filter(|user| user.connection == Some(id)) else {
            return;
        };
        entry.connection = None;
        if clean || self.settings.grace.is_zero() {
            let reason = if clean { Reason::Left } else { Reason::Lost };
            self.floors.gone(now, user, reason);
        } else {
            entry.lost = Some(now + self.settings.grace);
            self.floors.set_presence(now, user, true, false);
        }
    }

    /// A connection is to be closed; what it has to send still is sent.
    pub(crate) fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        self.ready.remove(&id);
        if let Some(mut connection) = self.connections.remove(&id) {
            // What does not take what is sent takes no farewell either.
            let takes = reason != CloseReason::Slow;
            while let Some(octets) = connection.association.poll_transmit().filter(|_| takes) {
                self.farewells.push_back((id, octets));
            }
        }
        self.events.push_back(Event::Close { connection: id, reason });
    }

    /// Closes a connection because of what came or did not come over it. Its user may come back.
    pub(crate) fn drop_connection(&mut self, now: Instant, id: ConnectionId, reason: CloseReason) {
        let user = self.connections.get(&id).and_then(|connection| connection.user);
        self.close(id, reason);
        if let Some(user) = user {
            self.part(now, id, user, reason == CloseReason::Goodbye);
        }
    }

    /// Takes octets of a stream, or one datagram.
    pub fn handle_octets(&mut self, now: Instant, connection: ConnectionId, octets: &[u8]) {
        if let Some(known) = self.connections.get_mut(&connection) {
            known.association.handle_octets(now, octets);
        }
        while let Some(known) = self.connections.get_mut(&connection) {
            let Some(incoming) = known.association.poll_incoming() else { break };
            if known.association.backlog() > self.limits.transmit {
                self.drop_connection(now, connection, CloseReason::Slow);
                break;
            }
            match incoming {
                Incoming::Message(message) => self.take(now, connection, &message),
                Incoming::Faulty { header, error, fatal } => {
                    if let Some(header) = header {
                        let refusal = Body::refusal(&error);
                        let answer = message(header.conference, header.transaction, header.user, &refusal);
                        self.send_answer(now, connection, header.primitive, answer);
                    }
                    if fatal {
                        self.drop_connection(now, connection, CloseReason::Unreadable);
                    }
                }
            }
            self.settle(now, None);
        }
        // The acknowledgement of a datagram makes room for the next.
        self.note_ready(connection);
        self.settle(now, None);
    }

    /// Answers on a connection.
    pub(crate) fn send_answer(
        &mut self,
        now: Instant,
        id: ConnectionId,
        request: carnet_bfcp::Primitive,
        answer: Message,
    ) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let (conference, transaction, user) = (answer.conference, answer.transaction, answer.user);
            if !connection.association.answer(now, request, answer) {
                let refusal = Body::Error {
                    code: ErrorCode::Generic,
                    details: Bytes::new(),
                    information: Some("the answer is longer than BFCP can say".into()),
                };
                let refusal = message(conference, transaction, user, &refusal);
                connection.association.answer(now, request, refusal);
            }
            self.ready.insert(id);
        }
    }

    pub(crate) fn note_ready(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(|connection| connection.association.backlog() > 0) {
            self.ready.insert(id);
        }
    }

    /// A connection takes no more octets for now, or takes them again. What is for one that does not stays
    /// here, up to [`Limits::transmit`]; of what is said of a floor or a request only the latest.
    pub fn blocked(&mut self, connection: ConnectionId, blocked: bool) {
        if let Some(known) = self.connections.get_mut(&connection) {
            known.blocked = blocked;
        }
        self.note_ready(connection);
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut silent = Vec::new();
        for (id, connection) in self.connections.iter_mut().filter(|(_, connection)| !connection.is_stream())
        {
            if connection.association.poll_timeout().is_some_and(|at| at <= now) {
                connection.association.handle_timeout(now);
                self.ready.insert(*id);
            }
            if connection.association.is_broken() {
                silent.push(*id);
            }
        }
        for id in silent {
            self.drop_connection(now, id, CloseReason::Silent);
        }
        let lost: Vec<u16> = self
            .users
            .iter()
            .filter(|(_, u)| u.lost.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for user in lost {
            if let Some(entry) = self.users.get_mut(&user) {
                entry.lost = None;
                if entry.without && entry.member.is_some() {
                    self.floors.set_presence(now, user, false, false);
                    continue;
                }
                if entry.member.is_none() {
                    self.users.remove(&user);
                }
            }
            self.floors.gone(now, user, Reason::Lost);
        }
        self.floors.handle_timeout(now);
        self.settle(now, None);
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lost = self.users.values().filter_map(|user| user.lost);
        // Streams have no timers.
        let datagrams = self.connections.values().filter(|connection| !connection.is_stream());
        let connections = datagrams.filter_map(|connection| connection.association.poll_timeout());
        lost.chain(connections).chain(self.floors.poll_timeout()).min()
    }

    /// Octets to send: a whole message of a stream, or one datagram.
    pub fn poll_transmit(&mut self) -> Option<(ConnectionId, Bytes)> {
        if let Some(farewell) = self.farewells.pop_front() {
            return Some(farewell);
        }
        while let Some(id) = self.ready.first().copied() {
            let connection = self.connections.get_mut(&id).filter(|connection| !connection.blocked);
            match connection.and_then(|connection| connection.association.poll_transmit()) {
                Some(octets) => return Some((id, octets)),
                None => _ = self.ready.remove(&id),
            }
        }
        None
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Who has a floor, since longest first; each user once.
    pub fn holders(&self, floor: u16) -> Vec<u16> {
        let holders = self.floors.entry(floor).map(|entry| entry.holders.as_slice()).unwrap_or_default();
        let mut users = Vec::with_capacity(holders.len());
        for user in holders.iter().filter_map(|id| Some(self.floors.request(*id)?.user)) {
            if !users.contains(&user) {
                users.push(user);
            }
        }
        users
    }

    /// Every floor as it is, in order of their numbers.
    pub fn status(&self) -> Vec<FloorReport> {
        self.floors.entries().filter_map(|(id, _)| self.floors.report(id)).collect()
    }

    /// Ends a request as the conference's owner: denied, or revoked if it is granted. `why` is for people.
    ///
    /// # Errors
    /// If there is no such request.
    pub fn revoke(&mut self, now: Instant, request: u16, why: &str) -> Result<(), NoSuch> {
        let why = (!why.is_empty()).then(|| Text::fitting(why));
        let ended = self.floors.end(now, request, Status::Revoked, Reason::Owner, why);
        self.settle(now, None);
        ended.then_some(()).ok_or(NoSuch("request"))
    }

    /// Gives a floor to a user who waits for it, as a chair would who decides so: where no more may have it, whoever has had it longest loses
    /// it. What the request asks for besides is decided by whom it always is.
    ///
    /// # Errors
    /// If the user does not wait for that floor.
    pub fn give(&mut self, now: Instant, floor: u16, user: u16) -> Result<(), NoSuch> {
        let waits = |request: &&crate::request::Request| {
            request.user == user && request.granted.is_none() && request.part(floor).is_some()
        };
        let request = self.floors.requests().find(waits).map(|request| request.id);
        let request = request.ok_or(NoSuch("request"))?;
        self.floors.decide(now, request, floor, Decision::Grant, None);
        self.floors.advance(now);
        self.settle(now, None);
        Ok(())
    }

    /// Takes a floor from a user, and what it asks for of that floor out of the queue, as the conference's owner.
    ///
    /// # Errors
    /// If the user has not, and does not wait for, that floor.
    pub fn withhold(&mut self, now: Instant, floor: u16, user: u16) -> Result<(), NoSuch> {
        let theirs =
            |request: &&crate::request::Request| request.user == user && request.part(floor).is_some();
        let requests: Vec<u16> = self.floors.requests().filter(theirs).map(|request| request.id).collect();
        if requests.is_empty() {
            return Err(NoSuch("request"));
        }
        for request in requests {
            self.floors.end(now, request, Status::Revoked, Reason::Owner, None);
        }
        self.settle(now, None);
        Ok(())
    }

    /// Requests, queues, holders and chairs in a line of printable ASCII without spaces, quotes or
    /// backslashes, of at most 40 octets a request and 16 a floor in it, and 12 a chair; words of people are
    /// left out. For [`restore`](Self::restore).
    pub fn snapshot(&self, now: Instant) -> String {
        let without = |user: u16| {
            self.users.get(&user).is_some_and(|user| user.connection.is_none() && user.lost.is_none())
        };
        snapshot::print(&self.floors, now, without)
    }

    /// Takes over requests, queues, holders and the chairs of floors that rotate, before there are any
    /// requests. Users have the time of [`Settings::grace`] to connect, or to be admitted if they had no
    /// connection; what is for a floor that is not there, and whom [`dismiss`](Self::dismiss) names, ends.
    ///
    /// # Errors
    /// If it is not a snapshot, or there are requests; then nothing is taken.
    pub fn restore(&mut self, now: Instant, snapshot: &str) -> Result<(), SnapshotError> {
        if self.floors.len() > 0 {
            return Err(SnapshotError("there are requests already"));
        }
        let snapshot = snapshot::parse(snapshot, now, self.limits.requests)?;
        let users: BTreeMap<u16, bool> =
            snapshot.requests.iter().map(|restored| (restored.request.user, restored.without)).collect();
        for (user, without) in users {
            let entry = self.users.entry(user).or_default();
            entry.without = without;
            if entry.connection.is_none() {
                entry.lost = Some(now + self.settings.grace);
                self.floors.set_presence(now, user, true, false);
            }
        }
        self.floors.restore(now, snapshot.last, &snapshot.chairs, &snapshot.requests);
        self.settle(now, None);
        Ok(())
    }

    /// Whether a connection is made of datagrams.
    pub(crate) fn is_datagram(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|c| c.association.transport() != Transport::Stream)
    }
}

/// A message of the server; its version is the transport's.
pub(crate) fn message(conference: u32, transaction: u16, user: u16, body: &Body) -> Message {
    Message {
        version: 1,
        responder: false,
        primitive: body.primitive(),
        conference,
        transaction,
        user,
        attributes: body.attributes(),
    }
}
