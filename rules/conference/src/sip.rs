//! What SIP brings: to the leg it belongs to, or to a new one.

use carnet_mikey::Identity;
use carnet_seal::{FetchError, FetchId};
use carnet_sip::{ClientKey, DialogId, Event as Sip, Message, Method, ServerKey, Silence};

use crate::call::late_branch;
use crate::config::Factory;
use crate::core::{ALLOW, Owner, Todo, unsupported};
use crate::enter::Arrival;
use crate::event::{Event, Left};
use crate::fault::Fault;
use crate::focus::Focus;
use crate::leg::{Leg, LegId, State};
use crate::refer;
use crate::room::{Place, Room, canonical};
use crate::roster::{Asker, Occupancy, Refusal};

/// Recipients one INVITE may list.
const MOST_RECIPIENTS: usize = 200;

impl Focus {
    pub(crate) fn drain(&mut self) {
        loop {
            if let Some(todo) = self.core.todo.pop_front() {
                self.todo(todo);
            } else if let Some(report) = self.core.gateways.poll_report() {
                self.report(report);
            } else if let Some(event) = self.core.endpoint.poll_event() {
                self.sip(event);
            } else {
                break;
            }
        }
        self.tell();
        self.keep();
    }

    fn todo(&mut self, todo: Todo) {
        match todo {
            Todo::Place(room) => self.place(&room),
            Todo::CallBack(room) => self.call_back(&room),
            Todo::Joined(leg) => {
                self.progressed(leg, 200);
                self.joined(leg);
                self.call_list(leg);
            }
            Todo::NotCalled { leg, room, status } => {
                self.progressed(leg, status.unwrap_or(480));
                self.not_called(leg, &room, status);
            }
            Todo::OldGone(leg, room) => self.old_gone(leg, &room),
            Todo::Asked(leg, key, request) => self.asked(key, &request, Some(leg)),
            Todo::Progress(leg, status) => self.progressed(leg, status),
            Todo::Parted { leg, room, member, joined } => {
                self.parted(leg, &room, &member);
                if joined {
                    self.owner_left(&room, &member);
                }
            }
            Todo::Settle(room) => self.settle(&room),
            Todo::HangUp(leg, reason) => {
                self.with(leg, |leg, core, room| leg.hang_up(core, room, reason));
            }
        }
    }

    fn sip(&mut self, event: Sip) {
        match event {
            Sip::Request { key, message, .. } => self.requested(key, &message),
            Sip::Ack { message, .. } => {
                if let Some(id) = self.leg_of(&message) {
                    self.with(id, |leg, core, room| {
                        let State::Up(up) = &mut leg.state else { return };
                        up.acknowledged(&message);
                        if let Some(reason) = up.leaving.take() {
                            leg.hang_up(core, room, reason);
                        }
                    });
                }
            }
            Sip::Cancelled { key, .. } => {
                if let Some(id) = self.legs.values().find(|leg| leg.is_offered(key)).map(|leg| leg.id) {
                    self.with(id, |leg, core, room| leg.cancelled(core, room));
                }
            }
            Sip::Response { key, message, .. } => self.answered(key, &message),
            Sip::Unanswered { key, reason } => self.unanswered(key, reason),
            Sip::Unacknowledged { key, status, .. } if status < 300 => {
                let waits = |leg: &&Leg| matches!(&leg.state, State::Up(up) if up.is_unacknowledged(key));
                if let Some(id) = self.legs.values().find(waits).map(|leg| leg.id) {
                    // RFC 3261 §13.3.1.4
                    self.with(id, |leg, core, room| {
                        let State::Up(up) = &mut leg.state else { return };
                        up.give_up_ack();
                        let reason = up.leaving.take().unwrap_or(Left::Silent);
                        leg.hang_up(core, room, reason);
                    });
                }
            }
            Sip::Ended { key } => {
                self.core.answered.remove(&key);
                self.core.owners.remove(&key);
            }
            _ => {}
        }
    }

    /// The leg in whose dialog a request came.
    pub(crate) fn leg_of(&self, request: &Message) -> Option<LegId> {
        let id = *self.tags.get(&request.to_tag()?)?;
        self.legs.get(&id).filter(|leg| leg.owns(request)).map(|leg| leg.id)
    }

    fn requested(&mut self, key: ServerKey, request: &Message) {
        // RFC 3261 §8.2: the method comes first, then what the headers require.
        let known = ALLOW.split(", ").any(|method| method == request.method().as_str());
        let strange = unsupported(request);
        if known && !strange.is_empty() {
            let error = carnet_sip::Error::Extension(strange.join(", "));
            self.core.refuse(key, request, &error.into(), None);
            return;
        }
        if let Some(id) = self.leg_of(request) {
            self.with(id, |leg, core, room| leg.requested(core, room, key, request));
            return;
        }
        if request.to_tag().is_some() {
            let ours = DialogId::of_request(request).is_ok_and(|id| self.core.subscriptions.knows(&id));
            match request.method() {
                Method::Subscribe | Method::Refer if ours => self.asked(key, request, None),
                _ => self.core.reply(key, request, 481, None),
            }
            return;
        }
        let patience = self.core.config.sip.timers.patience() + self.core.config.timers.key_server;
        if known && self.arrivals.is_merged(self.core.now, request, patience) {
            self.core.reply(key, request, 482, None);
            return;
        }
        match request.method() {
            Method::Invite => {
                if let Err(fault) = self.invited(key, request) {
                    let room = request.request_uri().map(|uri| canonical(uri.as_str())).unwrap_or_default();
                    self.core.refuse(key, request, &fault, None);
                    self.core.events.push_back(Event::Refused {
                        room,
                        member: self.sender(request),
                        status: fault.status,
                        reason: fault.reason().to_owned(),
                        call_id: request.call_id().unwrap_or_default().to_owned(),
                    });
                }
            }
            Method::Options => {
                let uri = request.request_uri();
                let contact = uri.and_then(|uri| self.room_of(uri)).and_then(|key| self.rooms.get(&key));
                let contact = contact.map(|room| room.contact.clone());
                self.core.capable(key, request, contact.as_ref());
            }
            Method::Subscribe | Method::Refer => self.asked(key, request, None),
            // RFC 3262 §3, RFC 3311 §5.2, RFC 3261 §15.1.2: outside a dialog they mean nothing.
            _ if known => self.core.reply(key, request, 481, None),
            _ => self.core.reply(key, request, 405, None),
        }
    }

    /// Who a request is from, as far as the network says.
    pub(crate) fn sender(&self, request: &Message) -> String {
        let asserted = self.core.config.trust_asserted.then(|| request.addresses("P-Asserted-Identity"));
        let asserted = asserted.and_then(Result::ok).and_then(|all| all.first().map(|a| a.uri().to_string()));
        let from = asserted.or_else(|| Some(request.from().ok()?.uri().to_string()));
        canonical(&from.unwrap_or_default())
    }

    /// The room that a URI names.
    pub(crate) fn room_of(&self, uri: &carnet_sip::Uri) -> Option<String> {
        let name = canonical(uri.as_str());
        if self.rooms.contains_key(&name) {
            return Some(name);
        }
        self.rooms.values().find(|room| room.is(uri, &name)).map(|room| room.key.clone())
    }

    fn invited(&mut self, key: ServerKey, invite: &Message) -> Result<(), Fault> {
        let uri = invite.request_uri().ok_or_else(|| Fault::new(400, "Bad Request"))?;
        let name = canonical(uri.as_str());
        let factory = self.factories.iter().find(|(factory, _)| *factory == name).cloned();
        let known = self.room_of(uri);
        if known.is_none() && factory.is_none() {
            return Err(Fault::new(404, "No such conference"));
        }
        let limits = self.core.config.limits;
        if self.core.retiring {
            return Err(Fault::new(503, "Going out of service"));
        }
        let opening = self.legs.values().filter(|leg| leg.is_opening()).count();
        if self.legs.len() >= limits.legs || opening >= limits.opening {
            return Err(Fault::new(503, "Too many members"));
        }
        let member = self.sender(invite);
        let list = refer::recipients(invite, MOST_RECIPIENTS)
            .map_err(|error| Fault::new(error.status(), error.to_string()))?;
        let made = known.is_none();
        let (room, called) = match (known, factory) {
            (Some(room), _) => {
                let called = self.rooms.get(&room).map(|room| room.identity.clone());
                (room, called)
            }
            (None, Some((factory, settings))) => {
                let called = Identity::from_uri(&factory).ok();
                (self.make_room(&factory, &settings, &member)?, called)
            }
            (None, None) => return Err(Fault::new(404, "No such conference")),
        };
        let done = self.enter(key, invite, (&room, called), (member, list));
        if done.is_err() && made {
            self.rooms.remove(&room);
        }
        done
    }

    fn enter(
        &mut self,
        key: ServerKey,
        invite: &Message,
        (room, called): (&str, Option<Identity>),
        (member, list): (String, Vec<carnet_sip::Uri>),
    ) -> Result<(), Fault> {
        let called = called.ok_or_else(|| Fault::new(404, "No such conference"))?;
        // Whoever the network does not vouch for as somebody who may enter costs the key server nothing.
        self.may_enter(room, &member, true)?;
        let (id, tag) = (self.core.name_leg(), self.core.token(8));
        let room = self.rooms.get_mut(room).ok_or_else(|| Fault::new(404, "No such conference"))?;
        let arrival = Arrival { id, key, tag, member, called };
        let leg = Leg::arrived(&mut self.core, room, &arrival, invite);
        match leg {
            Ok(leg) => {
                if !list.is_empty() && !leg.is_over() {
                    self.core.lists.insert(id, list);
                }
                self.insert(leg);
                Ok(())
            }
            Err(fault) => {
                self.core.waiting.retain(|_, (leg, _, _)| *leg != id);
                Err(fault)
            }
        }
    }

    /// What a policy is asked with.
    pub(crate) fn asker<'a>(&self, room: &Room, member: &'a str) -> Asker<'a> {
        let is = |id: &LegId| self.legs.get(id).is_some_and(|leg| leg.member == member && leg.joined);
        Asker {
            uri: member,
            present: room.legs.iter().any(is) || room.lost.iter().any(|lost| lost.member == member),
            owner: room.by.as_deref() == Some(member),
            invited: room.invited.contains(member),
        }
    }

    pub(crate) fn occupancy(&self, room: &Room) -> Occupancy {
        let members = room.legs.iter().filter(|id| self.legs.get(id).is_some_and(|leg| leg.user != 0));
        Occupancy { members: members.count(), locked: false }
    }

    pub(crate) fn may_enter(&self, room: &str, member: &str, sealed: bool) -> Result<(), Fault> {
        let room = self.rooms.get(room).ok_or_else(|| Fault::new(404, "No such conference"))?;
        let asker = self.asker(room, member);
        if room.outgoing && !asker.present {
            return Err(Fault::new(404, "No such conference"));
        }
        let verdict = room.policy.enter(&asker, sealed, self.occupancy(room));
        verdict.map_err(Fault::from)
    }

    /// RFC 4579 §5.4: a room for who has called the factory.
    fn make_room(&mut self, name: &str, factory: &Factory, member: &str) -> Result<String, Fault> {
        if self.rooms.len() >= self.core.config.limits.rooms {
            return Err(Fault::new(503, "Too many conferences"));
        }
        let user = format!("{}{}", factory.rooms.user().unwrap_or_default(), self.core.token(8));
        let mut uri = carnet_sip::Uri::sip(Some(&user), factory.rooms.host(), factory.rooms.port())?;
        for (name, value) in factory.rooms.params() {
            uri = uri.with_param(name, value)?;
        }
        let confid = self.name_conference();
        let room = Room::new(&uri, factory.policy.clone(), &self.core.config, confid);
        let mut room = room.map_err(|error| Fault::new(500, error.to_string()))?;
        room.factory = Some(name.to_owned());
        room.by = Some(member.to_owned());
        let key = room.key.clone();
        self.rooms.insert(key.clone(), room);
        self.core.events.push_back(Event::RoomOpened { room: key.clone(), by: Some(member.to_owned()) });
        Ok(key)
    }

    fn answered(&mut self, key: ClientKey, response: &Message) {
        let status = response.status().unwrap_or(500);
        let Some(owner) = self.core.owners.get(&key).copied() else { return };
        if status >= 200 && !matches!(status, 401 | 407) {
            self.core.unchallenged();
        }
        match (status, owner) {
            (100..=199, _) => {}
            // After a 2xx of INVITE other branches may answer: `Ended` comes when none will.
            (200..=299, Owner::Leg(_) | Owner::Answered) if *response.method() == Method::Invite => {
                self.core.owners.insert(key, Owner::Answered);
            }
            _ => {
                self.core.owners.remove(&key);
            }
        }
        match owner {
            Owner::Nobody => self.core.parted(key, response),
            Owner::Notify(notify) if matches!(status, 401 | 407) && self.core.challenged(response) => {
                self.core.subscriptions.challenged(self.core.now, notify);
            }
            Owner::Notify(notify) => self.core.subscriptions.answered(self.core.now, notify, response),
            Owner::Answered => late_branch(&mut self.core, key, response),
            Owner::Leg(id) => self.with(id, |leg, core, room| {
                if leg.is_inviting(key) {
                    leg.invite_answered(core, room, response);
                } else if matches!(&leg.state, State::Up(up) if up.is_refreshing(key)) {
                    leg.refreshed(core, room, response);
                }
            }),
        }
    }

    fn unanswered(&mut self, key: ClientKey, reason: Silence) {
        match self.core.owners.remove(&key) {
            Some(Owner::Leg(id)) => self.with(id, |leg, core, room| {
                if leg.is_inviting(key) {
                    leg.invite_unanswered(core, room, reason);
                } else if matches!(&leg.state, State::Up(up) if up.is_refreshing(key)) {
                    leg.refresh_unanswered(core, room);
                }
            }),
            Some(Owner::Notify(notify)) => self.core.subscriptions.unanswered(notify),
            _ => self.core.unparted(key),
        }
    }

    pub(crate) fn fetched(
        &mut self,
        leg: LegId,
        line: usize,
        id: FetchId,
        result: Result<Vec<u8>, FetchError>,
    ) {
        self.with(leg, |leg, core, room| match &leg.state {
            State::Wanting(_) => leg.granted(core, room, id, result),
            State::Opening(_) => leg.opened(core, room, (id, line), result),
            State::Up(_) => leg.opened_more(core, room, (id, line), result),
            _ => {}
        });
    }

    /// Whether a room still has a reason to be there, and its context.
    pub(crate) fn settle(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        // A call that took the place of another and is over: the member is called again.
        let now = self.core.now;
        for lost in room.lost.iter_mut().filter(|lost| lost.leg.is_some_and(|id| !room.legs.contains(&id))) {
            lost.leg = None;
            lost.at = now + std::time::Duration::from_secs(1);
        }
        let has = |id: &LegId| {
            let leg = self.legs.get(id);
            leg.is_some_and(|leg| leg.lines.iter().any(|line| line.termination.is_some()))
        };
        // The last Subtract has taken the context with it (RFC 3525 §6.1).
        if matches!(room.place, Place::On(..)) && room.adding.is_empty() && !room.legs.iter().any(has) {
            room.place = Place::Nowhere;
            room.floors.clear();
            if room.lost.is_empty() {
                room.state = None;
            }
            self.core.todo.push_back(Todo::Place(key.to_owned()));
        }
        let Some(room) = self.rooms.get_mut(key) else { return };
        if room.legs.is_empty() && room.lost.is_empty() {
            room.begun = false;
            self.core.touched.insert(key.to_owned());
        }
        if room.is_over() {
            if let Place::On(gateway, context) = room.place.clone() {
                self.core.sweep(&gateway, context);
            }
            let fixed = room.fixed;
            room.closing = false;
            // What was decided in it ends with it.
            room.muted.clear();
            if !fixed {
                self.rooms.remove(key);
            }
            self.core.touched.insert(key.to_owned());
            self.core.subscriptions.close(self.core.now, key);
            self.core.events.push_back(Event::RoomClosed { room: key.to_owned() });
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotSealed => Self::unsealed(),
            other => Self::new(other.status(), other.to_string()),
        }
    }
}
