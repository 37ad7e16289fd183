//! Members of conferences: a span each from its INVITE to leaving, in the trace of the call by which it came or was called, and below it one for
//! each time that it held a floor.
//!
//! A room is a trace of its own, from when it is first heard of; it and its members are linked both ways. Whose child a member is says its
//! INVITE ([`invites`]): below that of the border in front of us, and what we send is below the member.

use super::invites::{self, Invite, Passed};
use super::span::{Span, Told, number};
use super::{ids, keys};
use carnet_conference::{Event, Left};
use carnet_event::{Event as _, Level};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

/// Rooms, members of a room and floors of a member that are traced at once, at most.
const MOST_ROOMS: usize = 10_000;
const MOST_MEMBERS: usize = 2_000;
const MOST_FLOORS: usize = 64;
/// Events of one member that are kept, and INVITEs of one call.
const MOST_EVENTS: usize = 32;
/// Members that a room's span is linked to: as many as OpenTelemetry takes unasked.
const MOST_LINKS: usize = 128;
/// Calls of which it is not known yet what comes of them, and for how long they are kept: longer than anybody lets it ring.
const MOST_CALLS: usize = 50_000;
const PATIENCE: Duration = Duration::from_secs(600);
/// How often that is looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Conference server and Call-ID, or room.
type Key = (String, String);

/// The rooms of the conference servers of a process.
pub struct Rooms {
    conferences: BTreeSet<String>,
    rooms: HashMap<Key, Room>,
    calls: HashMap<Key, Call>,
    swept: Instant,
}

struct Room {
    trace: TraceId,
    id: SpanId,
    start: SystemTime,
    most: usize,
    joined: u64,
    links: Vec<(TraceId, SpanId)>,
    /// By Call-ID.
    members: HashMap<String, Member>,
}

/// A call whose INVITE has passed and that is no member yet.
struct Call {
    trace: TraceId,
    id: SpanId,
    parent: SpanId,
    start: SystemTime,
    /// Those that we sent and that have no final response.
    invites: Vec<Invite>,
    seen: Instant,
}

struct Member {
    name: String,
    trace: TraceId,
    id: SpanId,
    parent: SpanId,
    start: SystemTime,
    told: Told,
    events: Vec<(SystemTime, &'static str, Told)>,
    floors: HashMap<u16, SystemTime>,
    /// Its room lost its media: it is called back, by another call.
    lost: bool,
}

impl Rooms {
    /// Of these conference servers.
    pub fn new(conferences: BTreeSet<String>) -> Self {
        Self { conferences, rooms: HashMap::new(), calls: HashMap::new(), swept: Instant::now() }
    }

    /// Takes a SIP message that passed the sockets of a conference server.
    pub fn sip(&mut self, conference: &str, octets: &[u8], sent: bool, over: &mut Vec<Span>) {
        self.sweep();
        if !self.conferences.contains(conference) {
            return;
        }
        let Some((call_id, passed)) = invites::read(octets, sent) else { return };
        let key = (conference.to_owned(), call_id);
        let start = SystemTime::now();
        match passed {
            Passed::Invite { branch, trace } => {
                if self.calls.len() >= MOST_CALLS && !self.calls.contains_key(&key) {
                    return;
                }
                let parent = if sent { SpanId::INVALID } else { invites::of_branch(trace, &branch) };
                let call = self.calls.entry(key).or_insert_with(|| {
                    let (id, invites, seen) = (keys::unique(), Vec::new(), Instant::now());
                    Call { trace, id, parent, start, invites, seen }
                });
                let known = call.invites.iter().any(|invite| invite.branch == branch);
                if sent && !known && call.invites.len() < MOST_EVENTS {
                    call.invites.push(Invite { branch, start });
                }
            }
            Passed::Answer { branch, status } => {
                let Some(call) = self.calls.get_mut(&key) else { return };
                let Some(at) = call.invites.iter().position(|invite| invite.branch == branch) else { return };
                let invite = call.invites.swap_remove(at);
                let told = Told::of("conference", conference);
                over.push(invite.sent(told, (call.trace, call.id), Some(status)));
            }
        }
    }

    /// What came of a call: it is known now.
    fn settled(&mut self, conference: &str, call_id: &str, over: &mut Vec<Span>) -> Call {
        let found = self.calls.remove(&(conference.to_owned(), call_id.to_owned()));
        // Where its INVITE was not seen, the call is found by its Call-ID all the same.
        let mut call = found.unwrap_or_else(|| Call {
            trace: ids::of_call(call_id),
            id: keys::unique(),
            parent: SpanId::INVALID,
            start: SystemTime::now(),
            invites: Vec::new(),
            seen: Instant::now(),
        });
        for invite in std::mem::take(&mut call.invites) {
            over.push(invite.sent(Told::of("conference", conference), (call.trace, call.id), None));
        }
        call
    }

    /// Takes an event of a conference server.
    pub fn conference(&mut self, conference: &str, event: &Event, over: &mut Vec<Span>) {
        let now = SystemTime::now();
        match event {
            Event::RoomOpened { room, .. } => {
                self.room(conference, room, now);
            }
            Event::RoomLost { room, .. } => {
                let room = self.rooms.get_mut(&(conference.to_owned(), room.clone()));
                for member in room.into_iter().flat_map(|room| room.members.values_mut()) {
                    member.lost = true;
                    member.note((now, "room-lost", Told::default()));
                }
            }
            Event::Joined { room: name, member, user, sealed, called, call_id } => {
                let call = self.settled(conference, call_id, over);
                let Some(room) = self.room(conference, name, now) else { return };
                // Whoever is called back is in by another call.
                let before = room.members.iter().find(|(_, one)| *called && one.lost && one.name == *member);
                if let Some(before) = before.map(|(call_id, _)| call_id.clone()) {
                    room.left(conference, &before, now, "called-back", Status::Unset, over);
                }
                if room.members.len() >= MOST_MEMBERS {
                    return;
                }
                room.joined += 1;
                if room.links.len() < MOST_LINKS {
                    room.links.push((call.trace, call.id));
                }
                let told = of_member(conference, name, member, call_id)
                    .with("conference.user", i64::from(*user))
                    .with("conference.sealed", *sealed)
                    .with("conference.called", *called);
                let Call { trace, id, parent, start, .. } = call;
                let events = vec![(now, "joined", Told::default())];
                let (name, floors) = (member.clone(), HashMap::new());
                let member = Member { name, trace, id, parent, start, told, events, floors, lost: false };
                room.members.insert(call_id.clone(), member);
                room.most = room.most.max(room.members.len());
            }
            Event::Sealed { room, member, media, with } => {
                let told = Told::default().with("media", *media).with("tls.cipher", with.clone());
                self.note(conference, room, member, (now, "sealed", told));
            }
            Event::Nickname { room, member, nickname } => {
                let told = Told::default().with("nickname", nickname.clone());
                self.note(conference, room, member, (now, "nickname", told));
            }
            Event::Stalled { room, member, on } => {
                self.note(conference, room, member, (now, "stalled", Told::default().with("on", *on)));
            }
            Event::Floor { room, floor, holders, .. } => {
                if let Some(room) = self.rooms.get_mut(&(conference.to_owned(), room.clone())) {
                    room.floor(conference, *floor, holders, now, over);
                }
            }
            Event::Left { room, member, reason, call_id } => {
                let Some(room) = self.rooms.get_mut(&(conference.to_owned(), room.clone())) else { return };
                let lost = |(_, one): &(&String, &Member)| one.lost && one.name == *member;
                let lost = || room.members.iter().find(lost).map(|(call_id, _)| call_id.clone());
                let Some(call_id) = call_id.clone().or_else(lost) else { return };
                let failed = event.level() >= Some(Level::Warn);
                let status = if failed { Status::error(Left::name(reason)) } else { Status::Unset };
                room.left(conference, &call_id, now, reason.name(), status, over);
            }
            Event::Refused { room, member, status, reason, call_id } => {
                let told =
                    of_member(conference, room, member, call_id).with("sip.status", i64::from(*status));
                let status = Status::error(reason.clone());
                self.not_in(conference, (room, call_id), told, status, over);
            }
            Event::NotCalled { room, member, status, reason, call_id: Some(call_id) } => {
                let told = of_member(conference, room, member, call_id)
                    .with("conference.called", true)
                    .and("sip.status", status.map(i64::from));
                // Whoever declines is no failure.
                let declined = matches!(status, Some(300..=499 | 600..)) && *status != Some(408);
                let status = if declined { Status::Unset } else { Status::error(reason.clone()) };
                self.not_in(conference, (room, call_id), told, status, over);
            }
            Event::RoomClosed { room: name } => {
                let Some(mut room) = self.rooms.remove(&(conference.to_owned(), name.clone())) else {
                    return;
                };
                let members: Vec<_> = room.members.keys().cloned().collect();
                for call_id in members {
                    room.left(conference, &call_id, now, "closed", Status::Unset, over);
                }
                let told = Told::of("conference", conference)
                    .with("conference.room", name.clone())
                    .with("conference.joined", number(room.joined))
                    .with("conference.most_members", number(room.most as u64));
                let place = (room.trace, room.id, SpanId::INVALID);
                let mut whole = span("room", place, (room.start, now), told, Status::Unset);
                whole.links = room.links;
                over.push(whole);
            }
            _ => {}
        }
    }

    /// A member that did not get in, or did not come.
    fn not_in(
        &mut self,
        conference: &str,
        (room, call_id): (&str, &str),
        told: Told,
        status: Status,
        over: &mut Vec<Span>,
    ) {
        let Call { trace, id, parent, start, .. } = self.settled(conference, call_id, over);
        let room = self.rooms.get(&(conference.to_owned(), room.to_owned()));
        let mut span = span("member", (trace, id, parent), (start, SystemTime::now()), told, status);
        span.links.extend(room.map(|room| (room.trace, room.id)));
        over.push(span);
    }

    /// A room that is there; it may have been there before the process looked.
    fn room(&mut self, conference: &str, name: &str, now: SystemTime) -> Option<&mut Room> {
        let key = (conference.to_owned(), name.to_owned());
        if self.rooms.len() >= MOST_ROOMS && !self.rooms.contains_key(&key) {
            return None;
        }
        Some(self.rooms.entry(key).or_insert_with(|| Room {
            trace: ids::of_itself(),
            id: keys::unique(),
            start: now,
            most: 0,
            joined: 0,
            links: Vec::new(),
            members: HashMap::new(),
        }))
    }

    fn note(&mut self, conference: &str, room: &str, member: &str, what: (SystemTime, &'static str, Told)) {
        let Some(room) = self.rooms.get_mut(&(conference.to_owned(), room.to_owned())) else { return };
        // With several devices it is not told which: the last one.
        let of = room.members.values_mut().filter(|one| one.name == member);
        if let Some(member) = of.max_by_key(|one| one.start) {
            member.note(what);
        }
    }

    /// Gives up calls of which nothing came.
    fn sweep(&mut self) {
        if self.swept.elapsed() >= SWEEP {
            self.swept = Instant::now();
            self.calls.retain(|_, call| call.seen.elapsed() < PATIENCE);
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.rooms.len() + self.calls.len()
    }
}

impl Room {
    /// A floor has these holders from now on.
    fn floor(
        &mut self,
        conference: &str,
        floor: u16,
        holders: &[String],
        now: SystemTime,
        over: &mut Vec<Span>,
    ) {
        for member in self.members.values_mut() {
            let holds = holders.contains(&member.name);
            match member.floors.get(&floor) {
                None if holds && member.floors.len() < MOST_FLOORS => {
                    member.floors.insert(floor, now);
                }
                Some(since) if !holds => {
                    over.push(held(conference, floor, (member.trace, member.id), (*since, now)));
                    member.floors.remove(&floor);
                }
                _ => {}
            }
        }
    }

    /// A member is not there any more.
    fn left(
        &mut self,
        conference: &str,
        call_id: &str,
        now: SystemTime,
        reason: &'static str,
        status: Status,
        over: &mut Vec<Span>,
    ) {
        let Some(member) = self.members.remove(call_id) else { return };
        for (floor, since) in member.floors {
            over.push(held(conference, floor, (member.trace, member.id), (since, now)));
        }
        let told = member.told.with("conference.left", reason);
        let place = (member.trace, member.id, member.parent);
        let mut span = span("member", place, (member.start, now), told, status);
        (span.events, span.links) = (member.events, vec![(self.trace, self.id)]);
        over.push(span);
    }
}

impl Member {
    fn note(&mut self, what: (SystemTime, &'static str, Told)) {
        if self.events.len() < MOST_EVENTS {
            self.events.push(what);
        }
    }
}

fn of_member(conference: &str, room: &str, member: &str, call_id: &str) -> Told {
    Told::of("conference", conference)
        .with("sip.call_id", call_id.to_owned())
        .with("conference.room", room.to_owned())
        .with("conference.member", member.to_owned())
}

fn held(
    conference: &str,
    floor: u16,
    (trace, parent): (TraceId, SpanId),
    times: (SystemTime, SystemTime),
) -> Span {
    let told = Told::of("conference", conference).with("bfcp.floor", i64::from(floor));
    span("floor", (trace, keys::unique(), parent), times, told, Status::Unset)
}

fn span(
    name: &'static str,
    (trace, id, parent): (TraceId, SpanId, SpanId),
    (start, end): (SystemTime, SystemTime),
    told: Told,
    status: Status,
) -> Span {
    let member = name == "member";
    let kind = if member { SpanKind::Server } else { SpanKind::Internal };
    // That of a member is the INVITE of who called us.
    let remote = member && parent != SpanId::INVALID;
    let (name, events, links) = (name.into(), Vec::new(), Vec::new());
    Span { trace, id, parent, remote, kind, name, start, end, told, events, links, status }
}
