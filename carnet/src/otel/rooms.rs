//! Members of conferences: a span each from joining to leaving, in the trace of their room, and below it one for each time that they
//! held a floor.
//!
//! A room's trace begins when it is first heard of. Left out: ties to the calls by which members came, whose Call-IDs are not told.

use super::span::{Span, Told};
use super::{ids, keys};
use carnet_conference::{Event, Left};
use carnet_event::{Event as _, Level};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use std::collections::HashMap;
use std::time::SystemTime;

/// Rooms, members of a room and floors of a member that are traced at once, at most.
const MOST_ROOMS: usize = 10_000;
const MOST_MEMBERS: usize = 2_000;
const MOST_FLOORS: usize = 64;
/// Events of one member that are kept.
const MOST_EVENTS: usize = 32;

/// The rooms of the conference servers of a process.
#[derive(Default)]
pub struct Rooms {
    rooms: HashMap<(String, String), Room>,
}

struct Room {
    trace: TraceId,
    id: SpanId,
    start: SystemTime,
    most: usize,
    joined: u64,
    members: HashMap<String, Member>,
}

struct Member {
    id: SpanId,
    start: SystemTime,
    told: Told,
    events: Vec<(SystemTime, &'static str, Told)>,
    floors: HashMap<u16, SystemTime>,
}

impl Rooms {
    /// Takes an event of a conference server.
    pub fn conference(&mut self, conference: &str, event: &Event, over: &mut Vec<Span>) {
        let now = SystemTime::now();
        match event {
            Event::RoomOpened { room, .. } => {
                self.room(conference, room, now);
            }
            Event::Joined { room: name, member, user, sealed, called } => {
                let Some(room) = self.room(conference, name, now) else { return };
                if room.members.len() >= MOST_MEMBERS {
                    return;
                }
                room.joined += 1;
                let told = Told::of("conference", conference)
                    .with("conference.room", name.clone())
                    .with("conference.member", member.clone())
                    .with("conference.user", i64::from(*user))
                    .with("conference.sealed", *sealed)
                    .with("conference.called", *called);
                let id = keys::unique();
                let (events, floors) = (Vec::new(), HashMap::new());
                let before =
                    room.members.insert(member.clone(), Member { id, start: now, told, events, floors });
                room.most = room.most.max(room.members.len());
                if let Some(before) = before {
                    room.left(conference, before, now, "replaced", Status::Unset, over);
                }
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
            Event::Left { room, member, reason } => {
                let Some(room) = self.rooms.get_mut(&(conference.to_owned(), room.clone())) else { return };
                let Some(member) = room.members.remove(member) else { return };
                let failed = event.level() >= Some(Level::Warn);
                let status = if failed { Status::error(Left::name(reason)) } else { Status::Unset };
                room.left(conference, member, now, reason.name(), status, over);
            }
            Event::Refused { room, member, status, reason } => {
                let trace = self.rooms.get(&(conference.to_owned(), room.clone()));
                let (trace, parent) =
                    trace.map_or_else(|| (ids::of_itself(), SpanId::INVALID), |room| (room.trace, room.id));
                let told = Told::of("conference", conference)
                    .with("conference.room", room.clone())
                    .with("conference.member", member.clone())
                    .with("sip.status", i64::from(*status));
                let status = Status::error(reason.clone());
                over.push(span("member", (trace, keys::unique(), parent), (now, now), told, status));
            }
            Event::RoomClosed { room: name } => {
                let Some(mut room) = self.rooms.remove(&(conference.to_owned(), name.clone())) else {
                    return;
                };
                for (_, member) in std::mem::take(&mut room.members) {
                    room.left(conference, member, now, "closed", Status::Unset, over);
                }
                let told = Told::of("conference", conference)
                    .with("conference.room", name.clone())
                    .with("conference.joined", super::span::number(room.joined))
                    .with("conference.most_members", super::span::number(room.most as u64));
                let place = (room.trace, room.id, SpanId::INVALID);
                over.push(span("room", place, (room.start, now), told, Status::Unset));
            }
            _ => {}
        }
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
            members: HashMap::new(),
        }))
    }

    fn note(&mut self, conference: &str, room: &str, member: &str, what: (SystemTime, &'static str, Told)) {
        let room = self.rooms.get_mut(&(conference.to_owned(), room.to_owned()));
        if let Some(member) = room.and_then(|room| room.members.get_mut(member))
            && member.events.len() < MOST_EVENTS
        {
            member.events.push(what);
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.rooms.len()
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
        for (name, member) in &mut self.members {
            let holds = holders.contains(name);
            match member.floors.get(&floor) {
                None if holds && member.floors.len() < MOST_FLOORS => {
                    member.floors.insert(floor, now);
                }
                Some(since) if !holds => {
                    over.push(held(conference, floor, (self.trace, member.id), (*since, now)));
                    member.floors.remove(&floor);
                }
                _ => {}
            }
        }
    }

    fn left(
        &self,
        conference: &str,
        member: Member,
        now: SystemTime,
        reason: &'static str,
        status: Status,
        over: &mut Vec<Span>,
    ) {
        for (floor, since) in member.floors {
            over.push(held(conference, floor, (self.trace, member.id), (since, now)));
        }
        let told = member.told.with("conference.left", reason);
        let mut span = span("member", (self.trace, member.id, self.id), (member.start, now), told, status);
        span.events = member.events;
        over.push(span);
    }
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
    let kind = if name == "member" { SpanKind::Server } else { SpanKind::Internal };
    let (name, remote, events) = (name.into(), false, Vec::new());
    Span { trace, id, parent, remote, kind, name, start, end, told, events, status }
}
