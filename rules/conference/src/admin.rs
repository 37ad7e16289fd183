//! What an administrator sees and does.

use std::time::{Instant, SystemTime};

use carnet_h248::{ActionRequest, ContextId};

use crate::core::{Op, Owner};
use crate::event::Left;
use crate::focus::Focus;
use crate::leg::Leg;
use crate::room::{Place, Room, canonical};
use crate::status::{AdminError, Decision, GatewayStatus, Load, MemberStatus, RoomStatus};

impl Focus {
    /// All rooms, in the order of their URIs.
    pub fn rooms(&self) -> Vec<RoomStatus> {
        self.rooms.values().map(|room| self.status(room)).collect()
    }

    /// One room; its URI as anybody would write it.
    pub fn room(&self, uri: &str) -> Option<RoomStatus> {
        self.rooms.get(&canonical(uri)).map(|room| self.status(room))
    }

    fn status(&self, room: &Room) -> RoomStatus {
        let legs = room.legs.iter().filter_map(|id| self.legs.get(id)).filter(|leg| !leg.lost);
        let mut members: Vec<_> = legs
            .filter(|leg| !leg.back || leg.joined)
            .map(|leg| MemberStatus {
                uri: leg.member.clone(),
                user: leg.user,
                nickname: leg.nickname.clone(),
                state: leg.state_name(),
                owner: room.owns(&leg.member),
                sealed: leg.is_sealed(),
                media: leg.lines.iter().map(|line| (line.kind.media(), line.with.clone())).collect(),
                stalled: leg.stalled,
                muted: room.muted.contains(&leg.member),
            })
            .collect();
        members.extend(room.lost.iter().map(|lost| MemberStatus {
            uri: lost.member.clone(),
            user: lost.user,
            nickname: lost.nickname.clone(),
            state: "called-back",
            owner: room.owns(&lost.member),
            sealed: false,
            media: Vec::new(),
            stalled: false,
            muted: room.muted.contains(&lost.member),
        }));
        members.sort_by(|a, b| (&a.uri, a.user).cmp(&(&b.uri, b.user)));
        let inside = |leg: &&Leg| leg.is_up() && !leg.lost;
        let mut legs = room.legs.iter().filter_map(|id| self.legs.get(id)).filter(inside).peekable();
        let sealed = match legs.peek() {
            Some(_) => legs.all(Leg::is_sealed),
            None => room.policy.unsealed == crate::config::Unsealed::Refuse,
        };
        RoomStatus {
            uri: room.key.clone(),
            subject: room.policy.subject.clone(),
            fixed: room.fixed,
            placed: match &room.place {
                Place::On(gateway, context) => Some((gateway.clone(), *context)),
                _ => None,
            },
            sealed,
            members,
            floors: room.floors.values().cloned().collect(),
        }
    }

    /// Puts a member out of a room, with all its devices.
    ///
    /// # Errors
    /// No such room, or no such member in it.
    pub fn kick(
        &mut self,
        now: Instant,
        wall: SystemTime,
        room: &str,
        member: &str,
    ) -> Result<(), AdminError> {
        self.at(now, wall);
        let done = self.put_out(&canonical(room), &canonical(member), None);
        self.drain();
        done
    }

    /// Puts a member out, in the name of `by` or of the administrator.
    pub(crate) fn put_out(&mut self, key: &str, member: &str, by: Option<&str>) -> Result<(), AdminError> {
        let room = self.rooms.get_mut(key).ok_or(AdminError::NoRoom)?;
        room.invited.remove(member);
        let before = room.lost.len();
        let calls: Vec<_> =
            room.lost.iter().filter(|lost| lost.member == member).flat_map(|l| l.leg).collect();
        room.lost.retain(|lost| lost.member != member);
        let was_lost = room.lost.len() != before;
        let is = |id: &crate::leg::LegId| self.legs.get(id).is_some_and(|leg| leg.member == member);
        let mut legs: Vec<_> = room.legs.iter().copied().filter(is).collect();
        legs.extend(calls);
        if legs.is_empty() && !was_lost {
            return Err(AdminError::NoMember);
        }
        for id in legs {
            let reason = Left::Kicked(by.map(str::to_owned));
            self.with(id, |leg, core, room| leg.hang_up(core, room, reason));
        }
        self.core.touched.insert(key.to_owned());
        self.core.todo.push_back(crate::core::Todo::Settle(key.to_owned()));
        Ok(())
    }

    /// Decides about a floor that `user` waits for or has, in the place of its chair. The media server is told; what comes of it
    /// is seen when it tells ([`Event::Floor`](crate::Event::Floor)).
    ///
    /// # Errors
    /// No such room, floor or user; the user does not wait for it or does not have it; or there is no media server to tell.
    pub fn decide(
        &mut self,
        now: Instant,
        wall: SystemTime,
        room: &str,
        (floor, user): (u16, u16),
        decision: Decision,
    ) -> Result<(), AdminError> {
        self.at(now, wall);
        let key = canonical(room);
        let room = self.rooms.get(&key).ok_or(AdminError::NoRoom)?;
        if !room.policy.floors.iter().any(|known| known.id == floor) {
            return Err(AdminError::NoFloor);
        }
        let known = room.floors.get(&floor);
        match decision {
            Decision::Grant | Decision::Deny if !known.is_some_and(|floor| floor.waiting.contains(&user)) => {
                return Err(AdminError::NotWaiting);
            }
            Decision::Revoke if !known.is_some_and(|floor| floor.holders.contains(&user)) => {
                return Err(AdminError::NotHolding);
            }
            _ => {}
        }
        let legs = room.legs.iter().filter_map(|id| self.legs.get(id));
        let mut lines = legs.filter(|leg| leg.user == user && !leg.lost).flat_map(|leg| &leg.lines);
        let termination = lines.find_map(|line| line.termination.clone()).ok_or(AdminError::NoMember)?;
        let Place::On(gateway, context) = &room.place else { return Err(AdminError::NoMedia) };
        let (gateway, context) = (gateway.clone(), *context);
        if !self.core.watch(&gateway).floors {
            return Err(AdminError::NoMedia);
        }
        let command = crate::context::decide(termination, floor, decision);
        let action = ActionRequest::new(ContextId::Id(context), vec![command]);
        let request = self.core.gateways.request(self.core.now, &gateway, vec![action]);
        self.core.ops.insert(request, Op::Tell { gateway });
        self.drain();
        Ok(())
    }

    /// Lets nothing of a member through to the others in a room, on none of its devices, or again what its policy says. It hears them.
    /// It holds while the room is there, also for a member that comes again, and is kept with the room ([`Event::Keep`](crate::Event::Keep)).
    ///
    /// # Errors
    /// No such room, or no such member in it.
    pub fn mute(
        &mut self,
        now: Instant,
        wall: SystemTime,
        room: &str,
        member: &str,
        muted: bool,
    ) -> Result<(), AdminError> {
        self.at(now, wall);
        let (key, member) = (canonical(room), canonical(member));
        let room = self.rooms.get_mut(&key).ok_or(AdminError::NoRoom)?;
        let theirs = |id: &&crate::leg::LegId| self.legs.get(id).is_some_and(|leg| leg.member == member);
        let legs: Vec<_> = room.legs.iter().filter(theirs).copied().collect();
        let known = !legs.is_empty() || room.lost.iter().any(|lost| lost.member == member);
        // Who has left can be heard again, not muted.
        if !known && (muted || !room.muted.contains(&member)) {
            return Err(AdminError::NoMember);
        }
        let changed = match muted {
            true => room.muted.insert(member),
            false => room.muted.remove(&member),
        };
        if let (true, Place::On(gateway, context)) = (changed, &room.place) {
            let (gateway, context) = (gateway.clone(), *context);
            let (realm, _) = self.core.gateways.realm(&gateway);
            let lines = legs.iter().filter_map(|id| self.legs.get(id)).flat_map(|leg| &leg.lines);
            let commands: Vec<_> =
                lines.filter_map(|line| crate::context::speaking(line, &realm, !muted)).collect();
            if !commands.is_empty() {
                let action = ActionRequest::new(ContextId::Id(context), commands);
                let request = self.core.gateways.request(self.core.now, &gateway, vec![action]);
                self.core.ops.insert(request, Op::Tell { gateway });
            }
        }
        self.core.touched.insert(key);
        self.drain();
        Ok(())
    }

    /// Ends a room towards all its members. A fixed one is there again at once, empty.
    ///
    /// # Errors
    /// No such room.
    pub fn close(&mut self, now: Instant, wall: SystemTime, room: &str) -> Result<(), AdminError> {
        self.at(now, wall);
        let key = canonical(room);
        if !self.rooms.contains_key(&key) {
            return Err(AdminError::NoRoom);
        }
        self.close_room(&key);
        self.drain();
        Ok(())
    }

    /// Has somebody called into a room.
    ///
    /// # Errors
    /// No such room, or no more calls can be made.
    pub fn invite(
        &mut self,
        now: Instant,
        wall: SystemTime,
        room: &str,
        member: &str,
    ) -> Result<(), AdminError> {
        self.at(now, wall);
        let key = canonical(room);
        if !self.rooms.contains_key(&key) {
            return Err(AdminError::NoRoom);
        }
        let done = self.invite_member(&key, &canonical(member)).map_err(|_| AdminError::Full);
        self.drain();
        done.map(drop)
    }

    /// Each gateway of the configuration at this moment.
    pub fn gateways(&self) -> Vec<GatewayStatus> {
        let mut all = self.core.gateways.status();
        for status in &mut all {
            status.rooms = self.rooms.values().filter(|room| room.is_on(&status.control.name, None)).count();
        }
        all
    }

    /// How much it holds.
    pub fn load(&self) -> Load {
        Load {
            rooms: self.rooms.len(),
            legs: self.legs.len(),
            subscriptions: self.core.subscriptions.len(),
            gateway_requests: self.core.ops.len(),
            requests: self.core.owners.values().filter(|owner| **owner != Owner::Answered).count(),
            fetches: self.core.waiting.len(),
        }
    }
}
