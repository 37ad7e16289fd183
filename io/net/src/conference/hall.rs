//! A conference as the engine keeps it: its room, its floor control server, and who sits where.
//!
//! The two machines know nothing of each other. Here the floor of a moderated room (RFC 8855 §1: the
//! floor control server does not touch media itself) becomes the right to speak in it.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use carnet_floor::{CloseReason, ConnectionId, FloorControl, Link};
use carnet_gateway::media::{Algorithm, Cause, Conference, ConferenceEvent, Endpoint, FloorSettings, Medium};
use carnet_msrp::{Uri, parse_path};
use carnet_room::{History, MemberId, Room};

use super::hole::{Kind, Seat};
use crate::OsRandom;

pub(super) struct Hall {
    group: u32,
    settings: Conference,
    room: Option<Room>,
    floors: Option<FloorControl>,
    members: HashMap<u16, Places>,
    /// The slots of BFCP connections.
    lines: HashMap<u64, u32>,
    /// The entry in the worker's timetable.
    pub(super) scheduled: Option<Instant>,
    /// Is among those the worker is going to look at.
    pub(super) stirred: bool,
}

/// A member is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoPlace;

/// The pinholes of a member, by their slots.
#[derive(Debug, Default)]
struct Places {
    msrp: Option<u32>,
    bfcp: Option<u32>,
    /// Ours and theirs, as the room knows the one at `msrp`.
    paths: Option<(String, String)>,
    uri: String,
    chairs: Vec<u16>,
}

/// What a conference wants of the worker.
pub(super) enum Wish {
    /// Something happened that the controller is told.
    Tell(ConferenceEvent),
    /// Octets wait for this one.
    Write(u32),
    /// Its octets may be offered again.
    Read(u32),
    /// These octets go to a BFCP connection.
    Send { slot: u32, number: u64, octets: Bytes },
    /// Its connection is over: at once, or when all is sent.
    Close { slot: u32, number: Option<u64>, cause: Cause, sent: bool, expelled: bool },
}

impl Hall {
    pub(super) fn new(group: u32, settings: Conference, now: Instant) -> Self {
        let mut hall = Self {
            group,
            settings: Conference::default(),
            room: None,
            floors: None,
            members: HashMap::new(),
            lines: HashMap::new(),
            scheduled: None,
            stirred: false,
        };
        hall.configure(now, settings);
        if let (Some(floors), Some(state)) = (&mut hall.floors, &hall.settings.state)
            && let Err(error) = floors.restore(now, state)
        {
            tracing::warn!(group, %error, "floors begin empty");
        }
        hall
    }

    pub(super) fn configure(&mut self, now: Instant, settings: Conference) {
        let room = room_settings(&settings);
        match &mut self.room {
            Some(known) => known.configure(now, room),
            None => {
                let mut fresh = Room::new(room, carnet_room::Limits::default(), Box::new(OsRandom));
                fresh.set_date(now, SystemTime::now());
                self.room = Some(fresh);
            }
        }
        match (floor_settings(&settings), &mut self.floors) {
            (Some(floors), Some(known)) => known.configure(now, floors),
            (Some(floors), None) => {
                let mut fresh = FloorControl::new(floors, carnet_floor::Limits::default());
                for (user, places) in &self.members {
                    fresh.admit(now, *user, member(places));
                }
                self.floors = Some(fresh);
            }
            (None, Some(_)) => self.floors = None,
            (None, None) => {}
        }
        self.settings = settings;
        self.designate(now);
        self.speakers();
    }

    /// Those who have the moderated floor may speak.
    fn speakers(&mut self) {
        if let (Some(room), Some(floor)) = (&mut self.room, self.settings.moderated) {
            let holders = self.floors.as_ref().map(|floors| floors.holders(floor)).unwrap_or_default();
            let holders: Vec<_> = holders.into_iter().map(MemberId).collect();
            room.set_holders(&holders);
        }
    }

    /// A member takes a place, on other paths if it has one: then whose place that was is said.
    ///
    /// # Errors
    /// It cannot be had: the room is full, the number is another's, or a path cannot be read.
    pub(super) fn seat(
        &mut self,
        now: Instant,
        slot: u32,
        endpoint: &Endpoint,
    ) -> Result<Option<u32>, NoPlace> {
        if let Medium::Msrp { speak, nickname, local_path, remote_path, accept_types, max_size, history } =
            &endpoint.medium
        {
            let local = Uri::parse(local_path.as_bytes()).map_err(|_| NoPlace)?;
            let remote = parse_path(remote_path.as_bytes()).map_err(|_| NoPlace)?;
            let mut member = carnet_room::Member::new(&endpoint.member, local, remote);
            member.nickname.clone_from(nickname);
            member.accept_types.clone_from(accept_types);
            member.max_size = *max_size;
            member.may_speak = *speak;
            member.history = *history;
            member.sealed = endpoint.tls.is_some();
            let room = self.room.as_mut().ok_or(NoPlace)?;
            if !room.join(now, MemberId(endpoint.user), member) {
                return Err(NoPlace);
            }
        }
        let places = self.members.entry(endpoint.user).or_default();
        places.uri.clone_from(&endpoint.member);
        let place = match endpoint.medium {
            Medium::Msrp { .. } => &mut places.msrp,
            Medium::Bfcp { .. } => &mut places.bfcp,
        };
        let before = place.replace(slot).filter(|before| *before != slot);
        if let Some(floors) = &mut self.floors {
            floors.admit(now, endpoint.user, member(places));
        }
        self.adjust(now, slot, endpoint);
        Ok(before)
    }

    /// What a member may do has changed, and nothing else.
    pub(super) fn adjust(&mut self, now: Instant, slot: u32, endpoint: &Endpoint) {
        if !self.has_place(slot, Seat::of(endpoint)) {
            return;
        }
        match &endpoint.medium {
            Medium::Msrp { speak, .. } => {
                if let Some(room) = &mut self.room {
                    room.set_speaking(MemberId(endpoint.user), *speak);
                }
            }
            Medium::Bfcp { chairs } => {
                if let Some(places) = self.members.get_mut(&endpoint.user) {
                    places.chairs.clone_from(chairs);
                }
                self.designate(now);
            }
        }
    }

    /// Gives every floor the chair that the controller named. Who is the chair of a floor that goes round
    /// is none of its business.
    fn designate(&mut self, now: Instant) {
        let Some(floors) = &mut self.floors else { return };
        for floor in &self.settings.floors {
            let named = self.members.iter().find(|(_, places)| places.chairs.contains(&floor.id));
            let named = named.map(|(user, _)| *user);
            let rotates = floor.algorithm == Algorithm::Rotation && named.is_none();
            if floors.chair(floor.id) != named && !rotates {
                // It can only fail if the machine does not know what was told it a moment ago.
                let _ = floors.designate(now, floor.id, named);
            }
        }
    }

    /// The controller decides about a floor. Who has given it back meanwhile has decided before.
    pub(super) fn decide(&mut self, now: Instant, floor: u16, user: u16, grant: bool) {
        let Some(floors) = &mut self.floors else { return };
        let decided = if grant { floors.give(now, floor, user) } else { floors.withhold(now, floor, user) };
        if let Err(error) = decided {
            tracing::debug!(group = self.group, floor, user, grant, %error, "not decided");
        }
    }

    /// Whether it is this pinhole that a member sits at.
    fn has_place(&self, slot: u32, seat: Seat) -> bool {
        self.members.get(&seat.user).is_some_and(|places| match seat.kind {
            Kind::Msrp => places.msrp == Some(slot),
            Kind::Bfcp => places.bfcp == Some(slot),
        })
    }

    /// A place is given up. Who has none is no longer in the conference.
    pub(super) fn unseat(&mut self, now: Instant, slot: u32, seat: Seat) {
        let Some(places) = self.members.get_mut(&seat.user) else { return };
        match seat.kind {
            Kind::Msrp if places.msrp == Some(slot) => {
                (places.msrp, places.paths) = (None, None);
                if let Some(room) = &mut self.room {
                    room.leave(now, MemberId(seat.user));
                }
            }
            Kind::Bfcp if places.bfcp == Some(slot) => {
                places.bfcp = None;
                places.chairs.clear();
            }
            _ => return,
        }
        if places.msrp.is_none() && places.bfcp.is_none() {
            self.members.remove(&seat.user);
            if let Some(floors) = &mut self.floors {
                floors.dismiss(now, seat.user);
            }
        }
        self.designate(now);
    }

    /// A member's connection is up. `ours`: we opened it.
    pub(super) fn connected(
        &mut self,
        now: Instant,
        slot: u32,
        seat: Seat,
        number: u64,
        sealed: bool,
        ours: bool,
    ) {
        if !self.has_place(slot, seat) {
            return;
        }
        match seat.kind {
            Kind::Msrp => {
                if let Some(room) = &mut self.room {
                    room.connected(now, MemberId(seat.user), ours);
                }
            }
            Kind::Bfcp => {
                if let Some(floors) = &mut self.floors {
                    self.lines.insert(number, slot);
                    let link = Link { secured: sealed, ..Link::stream(Some(seat.user)) };
                    floors.connected(now, ConnectionId(number), link);
                }
            }
        }
    }

    /// A member's connection is gone.
    pub(super) fn lost(&mut self, now: Instant, slot: u32, seat: Seat, number: u64, clean: bool) {
        match seat.kind {
            Kind::Msrp if !self.has_place(slot, seat) => {}
            Kind::Msrp => {
                if let Some(room) = &mut self.room {
                    room.disconnected(now, MemberId(seat.user));
                }
            }
            Kind::Bfcp => {
                if self.lines.remove(&number).is_some()
                    && let Some(floors) = &mut self.floors
                {
                    floors.closed(now, ConnectionId(number), clean);
                }
            }
        }
    }

    /// Octets of a member; how many were taken. The rest is offered again when told.
    pub(super) fn input(&mut self, now: Instant, slot: u32, seat: Seat, number: u64, octets: &[u8]) -> usize {
        if !self.has_place(slot, seat) {
            return octets.len();
        }
        match (seat.kind, &mut self.room, &mut self.floors) {
            (Kind::Msrp, Some(room), _) => room.handle_input(now, MemberId(seat.user), octets),
            (Kind::Bfcp, _, Some(floors)) => {
                floors.handle_octets(now, ConnectionId(number), octets);
                octets.len()
            }
            // Nobody listens.
            _ => octets.len(),
        }
    }

    /// Appends octets that wait for a member, about `most` of them.
    pub(super) fn pull(&mut self, now: Instant, slot: u32, seat: Seat, out: &mut Vec<u8>, most: usize) {
        if !self.has_place(slot, seat) {
            return;
        }
        if let (Kind::Msrp, Some(room)) = (seat.kind, &mut self.room) {
            room.poll_transmit(now, MemberId(seat.user), out, most);
        }
    }

    /// Whether a BFCP connection takes octets.
    pub(super) fn blocked(&mut self, number: u64, blocked: bool) {
        if let Some(floors) = self.floors.as_mut().filter(|_| self.lines.contains_key(&number)) {
            floors.blocked(ConnectionId(number), blocked);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(room) = &mut self.room {
            room.handle_timeout(now);
        }
        if let Some(floors) = &mut self.floors {
            floors.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let room = self.room.as_ref().and_then(Room::poll_timeout);
        let floors = self.floors.as_ref().and_then(FloorControl::poll_timeout);
        [room, floors].into_iter().flatten().min()
    }

    /// Everything that is to be done now.
    pub(super) fn drain(&mut self, now: Instant, wishes: &mut VecDeque<Wish>) {
        self.drain_floors(now, wishes);
        self.drain_room(wishes);
    }

    fn drain_floors(&mut self, now: Instant, wishes: &mut VecDeque<Wish>) {
        let Some(floors) = &mut self.floors else { return };
        while let Some((ConnectionId(number), octets)) = floors.poll_transmit() {
            if let Some(slot) = self.lines.get(&number).copied() {
                wishes.push_back(Wish::Send { slot, number, octets });
            }
        }
        let mut speakers = false;
        while let Some(event) = floors.poll_event() {
            match event {
                carnet_floor::Event::Floor(report) => {
                    speakers |= self.settings.moderated == Some(report.floor);
                    wishes.push_back(Wish::Tell(ConferenceEvent::Floor {
                        floor: report.floor,
                        holders: report.holders.iter().map(|claim| claim.user).collect(),
                        queue: report.queue.iter().chain(&report.pending).map(|claim| claim.user).collect(),
                        state: floors.snapshot(now),
                    }));
                }
                carnet_floor::Event::Close { connection: ConnectionId(number), reason } => {
                    let Some(slot) = self.lines.remove(&number) else { continue };
                    let fault = matches!(
                        reason,
                        CloseReason::Unreadable
                            | CloseReason::Slow
                            | CloseReason::Silent
                            | CloseReason::TooMany
                    );
                    let cause = if fault { Cause::Endpoint } else { Cause::Normal };
                    let user = self.members.iter().find(|(_, places)| places.bfcp == Some(slot));
                    if let Some((user, _)) = user.filter(|_| fault) {
                        wishes.push_back(Wish::Tell(ConferenceEvent::Released {
                            user: *user,
                            reason: word(reason).to_owned(),
                        }));
                    }
                    let sent = reason != CloseReason::Slow;
                    wishes.push_back(Wish::Close {
                        slot,
                        number: Some(number),
                        cause,
                        sent,
                        expelled: false,
                    });
                }
                other => tracing::debug!(group = self.group, event = ?other, "floor control"),
            }
        }
        if speakers {
            self.speakers();
        }
    }

    fn drain_room(&mut self, wishes: &mut VecDeque<Wish>) {
        let Self { room: Some(room), members, group, .. } = self else { return };
        let slot = |MemberId(user): MemberId| members.get(&user).and_then(|places| places.msrp);
        while let Some(event) = room.poll_event() {
            match event {
                carnet_room::Event::Nickname { member: MemberId(user), nickname: nick } => {
                    wishes.push_back(Wish::Tell(ConferenceEvent::Nickname { user, nick }));
                }
                carnet_room::Event::Stalled { member: MemberId(user), .. } => {
                    wishes.push_back(Wish::Tell(ConferenceEvent::Stalled { user, on: true }));
                }
                carnet_room::Event::Resumed { member: MemberId(user) } => {
                    wishes.push_back(Wish::Tell(ConferenceEvent::Stalled { user, on: false }));
                }
                carnet_room::Event::Released { member, reason } => {
                    wishes.push_back(Wish::Tell(ConferenceEvent::Released {
                        user: member.0,
                        reason: reason.word().to_owned(),
                    }));
                    if let Some(slot) = slot(member) {
                        wishes.push_back(Wish::Close {
                            slot,
                            number: None,
                            cause: Cause::Endpoint,
                            sent: reason == carnet_room::Reason::Protocol,
                            expelled: true,
                        });
                    }
                }
                other => tracing::debug!(group, event = ?other, "room"),
            }
        }
        while let Some(member) = room.poll_writable() {
            wishes.extend(slot(member).map(Wish::Write));
        }
        while let Some(member) = room.poll_readable() {
            wishes.extend(slot(member).map(Wish::Read));
        }
    }
}

fn member(places: &Places) -> carnet_floor::Member {
    carnet_floor::Member { uri: Some(places.uri.clone()), ..carnet_floor::Member::default() }
}

/// One word, as it goes to the controller.
fn word(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Slow => "slow",
        CloseReason::Silent => "silent",
        CloseReason::TooMany => "full",
        _ => "protocol",
    }
}

fn room_settings(from: &Conference) -> carnet_room::Settings {
    let mut to = carnet_room::Settings::new(&from.uri);
    to.subject.clone_from(&from.subject);
    to.nicknames = from.nicknames;
    to.private = from.private;
    to.moderated = from.moderated.is_some();
    let count = from.history_count.and_then(|count| usize::try_from(count).ok());
    to.history = History {
        count: count.unwrap_or(to.history.count),
        age: seconds(from.history_seconds).unwrap_or(to.history.age),
        ..to.history
    };
    to.max_message = from.max_message.or(to.max_message);
    to.stall = seconds(from.stall_seconds).unwrap_or(to.stall);
    let octets = from.stall_octets.map(|octets| usize::try_from(octets).unwrap_or(usize::MAX));
    to.stall_octets = octets.unwrap_or(to.stall_octets);
    to.reserved.clone_from(&from.reserved);
    to.notices = from.notices;
    to
}

fn seconds(seconds: Option<u32>) -> Option<Duration> {
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}

fn floor_settings(from: &Conference) -> Option<carnet_floor::Settings> {
    let floors = from.floors.iter().map(floor).collect();
    let mut to = carnet_floor::Settings::new(from.confid?, floors);
    to.max_requests = from.max_requests.unwrap_or(to.max_requests);
    Some(to)
}

fn floor(from: &FloorSettings) -> carnet_floor::Floor {
    let algorithm = match from.algorithm {
        Algorithm::Fcfs => carnet_floor::Algorithm::FirstCome,
        Algorithm::Chair => carnet_floor::Algorithm::Chair,
        Algorithm::Rotation => carnet_floor::Algorithm::Rotation,
    };
    let mut to = carnet_floor::Floor::new(from.id, algorithm);
    to.max_holders = if from.holders == 0 { u16::MAX } else { from.holders };
    to.max_time = seconds(Some(from.seconds)).filter(|time| !time.is_zero());
    to.stream.clone_from(&from.label);
    to
}

/// Frees what a moment of many members took.
pub(super) fn spare(wishes: &mut VecDeque<Wish>) {
    const KEPT: usize = 4096;
    if wishes.capacity() > KEPT {
        drop(mem::take(wishes));
    }
}
