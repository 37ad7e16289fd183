//! One way for all losses: whoever lost its media is called back.
//!
//! A media server died, lost a context, or this focus was started again: the room is made anew, on the same
//! media server or another, with what was known of its floors, and its members are called. The old dialog of
//! a member ends when the new one is up, so that a member that follows never leaves the room.

use std::time::Duration;

use crate::config::{Devices, Member};
use crate::core::{Ids, Todo};
use crate::event::{Event, Left};
use crate::fault::Fault;
use crate::focus::Focus;
use crate::leg::{Leg, LegId, State};
use crate::room::{Lost, Place};

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(8);

/// Somebody who is to be called.
pub(crate) struct Callee {
    pub(crate) member: String,
    pub(crate) user: u16,
    pub(crate) nickname: Option<String>,
    pub(crate) target: Option<carnet_sip::Uri>,
    pub(crate) back: bool,
}

impl Focus {
    /// The media of a room is gone.
    pub(crate) fn lose(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.place = Place::Nowhere;
        room.adding.clear();
        let legs: Vec<LegId> = room.legs.iter().copied().collect();
        let now = self.core.now;
        let mut lost = 0;
        for id in legs {
            let Some(leg) = self.legs.get_mut(&id) else { continue };
            let had = leg.lines.iter_mut().filter_map(|line| line.termination.take()).count();
            if had == 0 {
                continue;
            }
            match &leg.state {
                State::Up(up) if leg.joined && up.leaving.is_none() => {
                    lost += 1;
                    leg.lost = true;
                    leg.stalled = false;
                    let entry = Lost {
                        member: leg.member.clone(),
                        user: leg.user,
                        nickname: leg.nickname.clone(),
                        contact: Some(up.dialog.target().clone()),
                        old: Some(id),
                        leg: None,
                        tries: 0,
                        at: now,
                        until: None,
                    };
                    if let Some(room) = self.rooms.get_mut(key) {
                        room.lost.push(entry);
                    }
                }
                // A call that is under way has nothing to offer any more.
                _ => self.core.todo.push_back(Todo::HangUp(id, Left::Media("lost".into()))),
            }
        }
        let room = key.to_owned();
        self.core.events.push_back(Event::RoomLost { room: room.clone(), members: lost });
        self.core.touched.insert(room.clone());
        self.core.todo.push_back(Todo::Place(room.clone()));
        self.core.todo.push_back(Todo::CallBack(room));
    }

    /// Calls those whose time has come.
    pub(crate) fn call_back(&mut self, key: &str) {
        let now = self.core.now;
        let most = self.core.config.limits.calling;
        let Some(room) = self.rooms.get(key) else { return };
        // Without a media server there is nothing to offer.
        if matches!(room.place, Place::Nowhere) && self.core.gateways.pick(now, &[]).is_none() {
            return;
        }
        let mut calling = self.legs.values().filter(|leg| leg.is_calling()).count();
        for at in 0..room.lost.len() {
            let Some(lost) = self.rooms.get_mut(key).and_then(|room| room.lost.get_mut(at)) else { return };
            if lost.leg.is_some() || lost.at > now {
                continue;
            }
            if calling >= most {
                // The next call that ends makes room.
                lost.at = now + Duration::from_millis(500);
                continue;
            }
            let until = now + self.core.config.timers.call_back;
            lost.until.get_or_insert(until);
            let known = self.core.config.proxy.is_some() || !self.core.config.routes.is_empty();
            let callee = Callee {
                member: lost.member.clone(),
                user: lost.user,
                nickname: lost.nickname.clone(),
                target: lost.contact.clone().filter(|_| !known),
                back: true,
            };
            calling += 1;
            let id = self.call(key, callee);
            if let Some(lost) = self.rooms.get_mut(key).and_then(|room| room.lost.get_mut(at)) {
                lost.leg = id;
                if id.is_none() {
                    lost.at = now + LONGEST;
                }
            }
        }
    }

    /// Calls somebody into a room.
    pub(crate) fn call(&mut self, key: &str, callee: Callee) -> Option<LegId> {
        if self.legs.len() >= self.core.config.limits.legs {
            return None;
        }
        let id = self.core.name_leg();
        let ids = Ids { call_id: self.core.token(16), tag: self.core.token(8), cseq: 1 };
        let session = (carnet_wire::Random::u64(&mut self.core.rng) >> 2, 1);
        let leg = Leg {
            id,
            room: key.to_owned(),
            member: callee.member,
            display: None,
            user: callee.user,
            nickname: callee.nickname,
            called: true,
            back: callee.back,
            lines: Vec::new(),
            session,
            ids,
            target: callee.target,
            joined: false,
            was_in: false,
            lost: false,
            stalled: false,
            armed: None,
            state: State::Over,
        };
        let sealed = self.core.keys.is_some();
        let room = self.rooms.get_mut(key)?;
        let mut leg = leg;
        let begun = match (sealed, room.policy.unsealed) {
            (false, crate::config::Unsealed::Refuse) => Err(Fault::unsealed()),
            (sealed, _) => leg.begin(&mut self.core, room, sealed),
        };
        if let Err(fault) = begun {
            leg.not_called(&mut self.core, room, Some(fault.status), fault.reason());
            return Some(id);
        }
        self.insert(leg);
        Some(id)
    }

    /// A leg is in the room: what that means for the others of the same user, and for the room.
    pub(crate) fn joined(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        let (key, member) = (leg.room.clone(), leg.member.clone());
        let Some(room) = self.rooms.get_mut(&key) else { return };
        // One user may be lost with several devices: its own call comes first.
        let own = room.lost.iter().position(|lost| lost.leg == Some(id));
        let found = own.map(|at| room.lost.remove(at));
        if let Some(old) = found.and_then(|lost| lost.old) {
            self.supersede(old);
        }
        let called = self.legs.get(&id).is_some_and(|leg| leg.called);
        if let Some(room) = self.rooms.get_mut(&key)
            && !(called || room.begun || room.by.is_none())
        {
            // Who made it is whom the key server vouches for, whatever the INVITE said.
            room.by = Some(member.clone());
        }
        let Some(room) = self.rooms.get(&key) else { return };
        let others = |other: &&LegId| {
            **other != id && self.legs.get(other).is_some_and(|leg| leg.member == member && leg.joined)
        };
        if room.policy.devices == Devices::Replace {
            for other in room.legs.iter().filter(others) {
                self.core.todo.push_back(Todo::HangUp(*other, Left::Replaced));
            }
        }
        self.begin(&key);
        // Others may be waiting for a call to end.
        self.core.todo.push_back(Todo::CallBack(key));
    }

    /// The first member is there: those who are called with it are called.
    fn begin(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if std::mem::replace(&mut room.begun, true) {
            return;
        }
        let wanted = |member: &&Member| member.call;
        let called: Vec<_> = room.policy.members.iter().filter(wanted).map(|m| m.uri.clone()).collect();
        for member in called {
            let _ = self.invite_member(key, &member);
        }
    }

    /// Has somebody called who is not there yet.
    pub(crate) fn invite_member(&mut self, key: &str, member: &str) -> Result<Option<LegId>, Fault> {
        // A room in itself, or in another here, would hear its own words for ever.
        let names = |uri: &carnet_sip::Uri| {
            let here = |room: &crate::room::Room| {
                room.contact.user() == uri.user() && room.contact.host().eq_ignore_ascii_case(uri.host())
            };
            self.rooms.values().any(here)
        };
        let a_room = self.rooms.contains_key(member);
        let a_room = a_room || carnet_sip::Uri::parse(member).is_ok_and(|uri| names(&uri));
        if self.rooms.get(key).is_some_and(|room| room.outgoing) {
            return Err(Fault::new(404, "No such conference"));
        }
        if a_room || self.factories.iter().any(|(factory, _)| factory == member) {
            return Err(Fault::new(403, "A conference calls no conference"));
        }
        let Some(room) = self.rooms.get(key) else { return Err(Fault::new(404, "No such conference")) };
        let there = |id: &LegId| self.legs.get(id).is_some_and(|leg| leg.member == member);
        if room.legs.iter().any(there) || room.lost.iter().any(|lost| lost.member == member) {
            return Ok(None);
        }
        let calling = self.legs.values().filter(|leg| leg.is_calling()).count();
        if calling >= self.core.config.limits.calling.max(1) * 8 {
            return Err(Fault::new(503, "Too many calls"));
        }
        if let Some(room) = self.rooms.get_mut(key) {
            room.invited.insert(member.to_owned());
        }
        let callee = Callee { member: member.to_owned(), user: 0, nickname: None, target: None, back: false };
        Ok(self.call(key, callee))
    }

    /// A member ended the dialog that had lost its media. With a call under way it may be that it gives way
    /// to that call, so one answer is waited for; without one it has left.
    pub(crate) fn old_gone(&mut self, old: LegId, key: &str) {
        let now = self.core.now;
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(at) = room.lost.iter().position(|lost| lost.old == Some(old)) else { return };
        let Some(lost) = room.lost.get_mut(at) else { return };
        lost.old = None;
        if lost.leg.is_some() {
            lost.until = Some(now);
            return;
        }
        let lost = room.lost.remove(at);
        let (room, reason) = (key.to_owned(), Left::Gone);
        self.core.events.push_back(Event::Left { room, member: lost.member, reason, call_id: None });
        self.core.touched.insert(key.to_owned());
        self.core.todo.push_back(Todo::Settle(key.to_owned()));
    }

    /// The dialog without media gives way to the new one. Nobody has left.
    fn supersede(&mut self, old: LegId) {
        self.with(old, |leg, core, room| {
            leg.joined = false;
            leg.hang_up(core, room, Left::Replaced);
        });
    }

    /// A call came to nothing: somebody who was called back is called again, for a while.
    pub(crate) fn not_called(&mut self, id: LegId, key: &str, status: Option<u16>) {
        let (now, most) = (self.core.now, self.core.config.timers.call_back);
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(at) = room.lost.iter().position(|lost| lost.leg == Some(id)) else { return };
        let Some(lost) = room.lost.get_mut(at) else { return };
        lost.leg = None;
        lost.tries += 1;
        lost.at = now + LONGEST.min(Duration::from_secs(1 << lost.tries.min(4)) / 2);
        let until = *lost.until.get_or_insert(now + most);
        // RFC 3261 §21.6: whoever declines everywhere does not want to.
        let refused = matches!(status, Some(603));
        if lost.at <= until && !refused {
            return;
        }
        let lost = room.lost.remove(at);
        let reason = Left::NotReached(status.map_or_else(|| "no answer".into(), |s| s.to_string()));
        match lost.old {
            Some(old) => self.with(old, |leg, core, room| leg.hang_up(core, room, reason)),
            None => {
                let room = key.to_owned();
                self.core.events.push_back(Event::Left { room, member: lost.member, reason, call_id: None });
            }
        }
        self.core.touched.insert(key.to_owned());
        self.core.todo.push_back(Todo::Settle(key.to_owned()));
    }

    /// An owner has left: where the policy says so, the last one takes the room along.
    pub(crate) fn owner_left(&mut self, key: &str, member: &str) {
        let Some(room) = self.rooms.get(key) else { return };
        if !room.policy.ends_with_owner || !room.owns(member) {
            return;
        }
        let there = |id: &LegId| self.legs.get(id).is_some_and(|leg| leg.joined && room.owns(&leg.member));
        if !room.legs.iter().any(there) && !room.lost.iter().any(|lost| room.owns(&lost.member)) {
            self.close_room(key);
        }
    }

    /// Ends a room towards everybody.
    pub(crate) fn close_room(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.closing = true;
        room.lost.clear();
        room.state = None;
        let legs: Vec<_> = room.legs.iter().copied().collect();
        for id in legs {
            self.with(id, |leg, core, room| leg.hang_up(core, room, Left::Closed));
        }
        self.core.todo.push_back(Todo::Settle(key.to_owned()));
    }
}
