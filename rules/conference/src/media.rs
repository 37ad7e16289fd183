//! Terminations come and go: Adds in turn, replies, what media servers report (TS 23.333 §6.2.19).
//!
//! The first Add of a room makes its context; those who come meanwhile wait for it. When the last
//! termination is subtracted the context is gone, and the next member makes another.

use carnet_h248::controller::{GatewayName, RequestNumber};
use carnet_h248::{
    ActionReply, ActionRequest, ContextId, ObservedEvent, ObservedEvents, ParameterValue, TerminationId,
    Value, Verb,
};

use crate::context::{self, Owner, Site};
use crate::core::{Op, Todo};
use crate::event::{Event, Left};
use crate::fault::Fault;
use crate::focus::Focus;
use crate::gateways::{Refused, Report};
use crate::leg::{LegId, State};
use crate::line::Kind;
use crate::room::{Lost, Place};
use crate::status::FloorStatus;

/// Media servers that are tried for one room.
const ATTEMPTS: usize = 3;

impl Focus {
    /// Has terminations made for those who wait for them.
    pub(crate) fn place(&mut self, key: &str) {
        let Some(room) = self.rooms.get(key) else { return };
        let waits = |id: &&LegId| {
            let leg = self.legs.get(id);
            leg.is_some_and(|leg| matches!(&leg.state, State::Adding(adding) if adding.request.is_none()))
        };
        let waiting: Vec<LegId> = room.legs.iter().filter(waits).copied().collect();
        for id in waiting {
            if matches!(self.rooms.get(key).map(|room| &room.place), None | Some(Place::Making(_))) {
                return;
            }
            if let Err(fault) = self.put(key, id) {
                self.not_placed(id, &fault);
            }
        }
    }

    fn not_placed(&mut self, id: LegId, fault: &Fault) {
        self.with(id, |leg, core, room| match leg.take() {
            State::Adding(adding) => match &adding.offered {
                Some(offered) => leg.refuse(core, room, offered, fault),
                None => leg.not_called(core, room, Some(fault.status), fault.reason()),
            },
            other => leg.state = other,
        });
    }

    /// Has the terminations of one leg made.
    fn put(&mut self, key: &str, id: LegId) -> Result<(), Fault> {
        self.name(key, id)?;
        let Some(room) = self.rooms.get(key) else { return Ok(()) };
        let Some(leg) = self.legs.get(&id) else { return Ok(()) };
        let State::Adding(adding) = &leg.state else { return Ok(()) };
        let (gateway, target) = match &room.place {
            Place::On(gateway, context) => (gateway.clone(), ContextId::Id(*context)),
            Place::Making(_) => return Ok(()),
            Place::Nowhere => {
                let gateway = self.core.gateways.pick(self.core.now, &adding.tried);
                (gateway.ok_or_else(Fault::no_media)?, ContextId::Choose)
            }
        };
        let (realm, ipv6) = self.core.gateways.realm(&gateway);
        // H.248.8, 479: a floor has one chair, so of several devices the first.
        let taken = |floor: &u16| {
            let others = room.legs.iter().filter(|other| **other != id).filter_map(|o| self.legs.get(o));
            let has_floors =
                |line: &crate::line::Line| line.kind == Kind::Floors && line.termination.is_some();
            others
                .filter(|other| other.lines.iter().any(has_floors))
                .any(|other| other.member == leg.member && room.chairs(&other.member).contains(floor))
        };
        let mut chairs = room.chairs(&leg.member);
        chairs.retain(|floor| !taken(floor));
        let owner = Owner {
            user: leg.user,
            member: &leg.member,
            nickname: leg.nickname.as_deref(),
            chairs: &chairs,
            history: !leg.back,
        };
        let watch = self.core.watch(&gateway);
        let mut commands = Vec::new();
        for (line, seal) in leg.lines.iter().zip(&adding.seals) {
            let request = self.core.next_events();
            let site = Site { realm: &realm, ipv6, watch, request };
            commands.push(context::add(&site, &owner, line, seal.as_ref()));
        }
        let mut action = ActionRequest::new(target, commands);
        let creates = target == ContextId::Choose;
        if creates {
            action.properties.attributes =
                context::properties(&room.key, &room.policy, room.confid, room.state.as_deref());
        }
        let request = self.core.gateways.request(self.core.now, &gateway, vec![action]);
        self.core.ops.insert(request, Op::Add { leg: id, gateway: gateway.clone(), creates });
        if let Some(room) = self.rooms.get_mut(key) {
            if creates {
                room.place = Place::Making(gateway);
            } else {
                room.adding += 1;
            }
        }
        if let Some(leg) = self.legs.get_mut(&id)
            && let State::Adding(adding) = &mut leg.state
        {
            adding.request = Some(request);
        }
        Ok(())
    }

    /// Whether somebody may enter, now that it is known who it is; and its number in the room.
    fn name(&mut self, key: &str, id: LegId) -> Result<(), Fault> {
        let Some(leg) = self.legs.get(&id) else { return Ok(()) };
        if leg.user != 0 {
            return Ok(());
        }
        if !leg.called {
            self.may_enter(key, &leg.member, leg.is_sealed())?;
        }
        let member = leg.member.clone();
        let taken: Vec<u16> = match self.rooms.get(key) {
            Some(room) => {
                room.legs.iter().filter_map(|id| Some(self.legs.get(id)?.user)).filter(|u| *u != 0).collect()
            }
            None => return Ok(()),
        };
        let Some(room) = self.rooms.get_mut(key) else { return Ok(()) };
        // One who comes by itself while it is being called back is who it was; the call is given up.
        let mut call = None;
        let calling =
            |lost: &Lost| lost.leg.is_none_or(|id| self.legs.get(&id).is_none_or(|leg| leg.is_calling()));
        let is = |lost: &&mut Lost| lost.member == member && calling(lost);
        let (user, nickname) = match room.lost.iter_mut().find(is) {
            Some(lost) => {
                call = lost.leg.replace(id);
                (Some(lost.user), lost.nickname.clone())
            }
            None => (room.name_user(|user| taken.contains(&user)), None),
        };
        let user = user.ok_or_else(|| Fault::new(503, "Too many members"))?;
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.user = user;
            leg.nickname = nickname;
        }
        if let Some(call) = call {
            self.with(call, |leg, core, room| leg.hang_up(core, room, Left::Replaced));
        }
        Ok(())
    }

    // -- what gateways say -----------------------------------------------------------------

    pub(crate) fn report(&mut self, report: Report) {
        match report {
            Report::Up(gateway) => {
                self.core.events.push_back(Event::GatewayUp { gateway });
                for room in self.rooms.values().filter(|room| !room.lost.is_empty()) {
                    self.core.todo.push_back(Todo::CallBack(room.key.clone()));
                }
            }
            Report::Lost(gateway, reason) => {
                let on = |room: &&crate::room::Room| room.is_on(&gateway, None);
                let rooms: Vec<_> = self.rooms.values().filter(on).map(|room| room.key.clone()).collect();
                let event = Event::GatewayLost { gateway: gateway.clone(), rooms: rooms.len(), reason };
                self.core.events.push_back(event);
                for room in rooms {
                    self.lose(&room);
                }
            }
            Report::Unsuited(gateway, error) => {
                let text = error.text.as_deref().unwrap_or_default().to_owned();
                self.core.events.push_back(Event::GatewayUnsuited { gateway, code: error.code, text });
            }
            Report::ContextsLost(gateway, contexts) => {
                for context in contexts {
                    let on = |room: &&crate::room::Room| room.is_on(&gateway, Some(context));
                    if let Some(room) = self.rooms.values().find(on).map(|room| room.key.clone()) {
                        self.lose(&room);
                    }
                }
            }
            Report::Resynchronised { gateway, strays, lost } => {
                self.core.events.push_back(Event::GatewayResynchronised { gateway, strays, lost });
            }
            Report::Reply { request, actions, error } => self.replied(request, &actions, error),
            Report::Notify { gateway, context, termination, observed } => {
                self.notified(&gateway, context, &termination, &observed);
            }
            Report::Failed { gateway, context, termination } => {
                self.failed(&gateway, context, &termination);
            }
        }
    }

    fn replied(&mut self, request: RequestNumber, actions: &[ActionReply], error: Option<Refused>) {
        let Some(op) = self.core.ops.remove(&request) else { return };
        match op {
            Op::Add { leg, gateway, creates } => {
                self.added((request, leg, creates), &gateway, actions, error);
            }
            Op::Modify { leg } => {
                let text = error.map(|refused| refused.error.text.as_deref().unwrap_or("refused").to_owned());
                self.with(leg, |leg, core, room| leg.settled(core, room, text.as_deref()));
            }
            Op::Subtract { .. } => {
                if let Some(refused) = error {
                    self.core.not_subtracted(op, refused.error.code);
                }
            }
            Op::Sweep => {}
        }
    }

    fn added(
        &mut self,
        (request, id, creates): (RequestNumber, LegId, bool),
        gateway: &GatewayName,
        actions: &[ActionReply],
        error: Option<Refused>,
    ) {
        let room = self.legs.get(&id).map(|leg| leg.room.clone());
        let room = room.or_else(|| self.making(gateway, creates, actions));
        let made = actions.iter().find_map(|action| action.context.id());
        if let Some(room) = room.as_ref().and_then(|room| self.rooms.get_mut(room)) {
            if !creates {
                room.adding = room.adding.saturating_sub(1);
            } else if matches!(&room.place, Place::Making(on) if on == gateway) {
                room.place = match made.filter(|_| error.is_none()) {
                    Some(context) => Place::On(gateway.clone(), context),
                    None => Place::Nowhere,
                };
                if let Place::On(gateway, context) = &room.place {
                    let (room, gateway, context) = (room.key.clone(), gateway.clone(), *context);
                    self.core.events.push_back(Event::RoomPlaced { room, gateway, context });
                }
            }
        }
        let waits = self.legs.get(&id).is_some_and(
            |leg| matches!(&leg.state, State::Adding(adding) if adding.request == Some(request)),
        );
        let more = self.legs.get(&id).is_some_and(|leg| match &leg.state {
            State::Up(up) => up.more.as_ref().is_some_and(|more| more.add == Some(request)),
            _ => false,
        });
        match error {
            None => {
                self.core.gateways.succeeded(gateway);
                if waits {
                    self.with(id, |leg, core, room| leg.placed(core, room, actions));
                } else if more {
                    self.with(id, |leg, core, room| leg.placed_more(core, room, actions, None));
                } else {
                    // It went on without them, or ended: CANCEL was faster than the gateway.
                    self.give_back(gateway, actions);
                }
            }
            Some(refused) => {
                let text = refused.error.text.as_deref().unwrap_or_default().to_owned();
                let code = refused.error.code;
                self.core.events.push_back(Event::GatewayRefused { gateway: gateway.clone(), code, text });
                // Half of it may be there: one Add done, the other refused.
                self.give_back(gateway, actions);
                if refused.elsewhere {
                    self.core.gateways.failed(self.core.now, gateway);
                }
                if waits {
                    self.refused_add(id, gateway, (creates, &refused));
                } else if more {
                    let fault = fault_of(&refused);
                    self.with(id, |leg, core, room| leg.placed_more(core, room, &[], Some(fault)));
                }
            }
        }
        if let Some(room) = room {
            self.core.todo.push_back(Todo::Place(room.clone()));
            self.core.todo.push_back(Todo::Settle(room));
        }
    }

    /// The room for which a context was asked whose leg is not there any more.
    fn making(&self, gateway: &GatewayName, creates: bool, actions: &[ActionReply]) -> Option<String> {
        let context = actions.iter().find_map(|action| action.context.id());
        let is = |room: &&crate::room::Room| match &room.place {
            Place::Making(on) => {
                let asked = |op: &Op| {
                    matches!(op, Op::Add { leg, creates: true, .. }
                    if self.legs.get(leg).is_some_and(|leg| leg.room == room.key))
                };
                creates && on == gateway && !self.core.ops.values().any(asked)
            }
            Place::On(on, number) => on == gateway && Some(*number) == context,
            Place::Nowhere => false,
        };
        self.rooms.values().find(is).map(|room| room.key.clone())
    }

    fn give_back(&mut self, gateway: &GatewayName, actions: &[ActionReply]) {
        for action in actions {
            let Some(context) = action.context.id() else { continue };
            let done = action.commands.iter().filter(|c| c.verb == Verb::Add && c.error().is_none());
            let ids: Vec<TerminationId> = done.map(|c| c.termination().clone()).collect();
            self.core.subtract(
                gateway,
                context,
                ids.into_iter().filter(TerminationId::is_specific).collect(),
            );
        }
    }

    /// The Add of a leg was refused: another media server is tried if the room has none yet.
    fn refused_add(&mut self, id: LegId, gateway: &GatewayName, (creates, refused): (bool, &Refused)) {
        let again = self.legs.get_mut(&id).is_some_and(|leg| match &mut leg.state {
            State::Adding(adding) if creates && refused.elsewhere && adding.tried.len() + 1 < ATTEMPTS => {
                adding.tried.push(gateway.clone());
                adding.request = None;
                true
            }
            // The context went away while the Add was under way: the room is made anew.
            State::Adding(adding) if !creates && matches!(refused.error.code, 411 | 503) => {
                adding.request = None;
                true
            }
            _ => false,
        });
        if again {
            return;
        }
        self.not_placed(id, &fault_of(refused));
    }

    // -- what happens on terminations ------------------------------------------------------

    fn notified(
        &mut self,
        gateway: &GatewayName,
        context: ContextId,
        termination: &TerminationId,
        observed: &ObservedEvents,
    ) {
        let Some(context) = context.id() else { return };
        let on = |room: &&crate::room::Room| room.is_on(gateway, Some(context));
        let Some(key) = self.rooms.values().find(on).map(|room| room.key.clone()) else { return };
        let leg = self.leg_on(&key, termination);
        for event in &observed.events {
            match (event.name.as_str().to_ascii_lowercase().as_str(), leg) {
                ("fcp/floor", _) => self.floor(&key, event),
                ("crnroom/nickname", _) => self.nickname(&key, event),
                ("crnroom/stalled", _) => self.stalled(&key, event),
                ("crnroom/released", _) => {
                    let reason = words(event, "reason");
                    for id in self.of_user(&key, number(event, "user")) {
                        let left = Left::Released(reason.clone());
                        self.with(id, |leg, core, room| leg.hang_up(core, room, left));
                    }
                }
                ("crnroom/sealed", Some(id)) => self.sealed(id, termination, event),
                ("tcpbcc/bncchange" | "g/cause" | "tlsbsc/bncchange", Some(id)) => {
                    self.disconnected(id, termination, event);
                }
                _ => {}
            }
        }
    }

    fn leg_on(&self, key: &str, termination: &TerminationId) -> Option<LegId> {
        let room = self.rooms.get(key)?;
        let has = |id: &&LegId| {
            let lines = self.legs.get(id).map(|leg| &leg.lines);
            lines.is_some_and(|lines| lines.iter().any(|line| line.termination.as_ref() == Some(termination)))
        };
        room.legs.iter().find(has).copied()
    }

    fn of_user(&self, key: &str, user: Option<u16>) -> Vec<LegId> {
        let Some((room, user)) = self.rooms.get(key).zip(user) else { return Vec::new() };
        let is = |id: &&LegId| self.legs.get(id).is_some_and(|leg| leg.user == user && !leg.lost);
        room.legs.iter().filter(is).copied().collect()
    }

    fn nickname(&mut self, key: &str, event: &ObservedEvent) {
        let nickname = words(event, "nick");
        for id in self.of_user(key, number(event, "user")) {
            let Some(leg) = self.legs.get_mut(&id) else { continue };
            leg.nickname = Some(nickname.clone()).filter(|name| !name.is_empty());
            let (room, member, nickname) = (key.to_owned(), leg.member.clone(), nickname.clone());
            self.core.events.push_back(Event::Nickname { room, member, nickname });
            self.core.touched.insert(key.to_owned());
        }
    }

    fn stalled(&mut self, key: &str, event: &ObservedEvent) {
        let on = event.value("on").and_then(Value::as_bool).unwrap_or_default();
        for id in self.of_user(key, number(event, "user")) {
            let Some(leg) = self.legs.get_mut(&id) else { continue };
            leg.stalled = on;
            let (room, member) = (key.to_owned(), leg.member.clone());
            self.core.events.push_back(Event::Stalled { room, member, on });
        }
    }

    fn floor(&mut self, key: &str, event: &ObservedEvent) {
        let list = |name: &str| -> Vec<u16> {
            let found = event.parameters.iter().find(|p| p.name == *name).map(|p| &p.value);
            let values = match found {
                Some(ParameterValue::AllOf(list) | ParameterValue::AnyOf(list)) => list.as_slice(),
                Some(ParameterValue::Equal(one)) => std::slice::from_ref(one),
                _ => &[],
            };
            values.iter().filter_map(|v| u16::try_from(v.as_u64()?).ok()).collect()
        };
        let Some(id) = number(event, "floor") else { return };
        let status = FloorStatus { id, holders: list("holders"), waiting: list("queue") };
        let Some(room) = self.rooms.get_mut(key) else { return };
        if !room.policy.floors.iter().any(|floor| floor.id == id) {
            return;
        }
        // What is too much for a record is not remembered: the floors would begin free.
        let state = event.value("state").map(|state| state.as_str().to_owned());
        room.state = state.filter(|state| state.len() <= self.core.config.limits.record / 2);
        // One change may be told on several terminations.
        if room.floors.get(&id) == Some(&status) {
            return;
        }
        let (holders, waiting) = (status.holders.clone(), status.waiting.len());
        room.floors.insert(id, status);
        let name = |user: &u16| {
            let of = self.of_user(key, Some(*user)).first().and_then(|id| self.legs.get(id));
            of.map_or_else(|| user.to_string(), |leg| leg.member.clone())
        };
        let holders = holders.iter().map(name).collect();
        self.core.events.push_back(Event::Floor { room: key.to_owned(), floor: id, holders, waiting });
        self.core.touched.insert(key.to_owned());
    }

    fn sealed(&mut self, id: LegId, termination: &TerminationId, event: &ObservedEvent) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let line = leg.lines.iter_mut().find(|line| line.termination.as_ref() == Some(termination));
        let Some(line) = line else { return };
        let with = format!("{} {}", words(event, "version"), words(event, "suite"));
        line.with = Some(with.clone());
        let (room, member, media) = (leg.room.clone(), leg.member.clone(), line.kind.media());
        self.core.events.push_back(Event::Sealed { room: room.clone(), member, media, with });
        self.core.touched.insert(room);
    }

    /// A connection ended or failed. One for messages takes the member with it. One for floors may come
    /// again (RFC 8856 §8): the floor control server has freed what was held.
    fn disconnected(&mut self, id: LegId, termination: &TerminationId, event: &ObservedEvent) {
        let up = event.value("Type").is_some_and(|kind| kind.as_str().eq_ignore_ascii_case("EST"));
        let Some(leg) = self.legs.get(&id).filter(|_| !up) else { return };
        let line = leg.lines.iter().find(|line| line.termination.as_ref() == Some(termination));
        let messages = leg.lines.iter().any(|line| line.kind == Kind::Messages);
        let only_floors = line.is_some_and(|line| line.kind == Kind::Floors) && messages;
        let tls = event.name.package().eq_ignore_ascii_case("tlsbsc");
        if only_floors && !tls {
            return;
        }
        let why = words(event, "Failurecause");
        self.with(id, |leg, core, room| leg.hang_up(core, room, Left::Connection(why)));
    }

    /// Terminations of a gateway failed (RFC 3525 §7.2.8): rooms with somebody on them are made anew.
    fn failed(&mut self, gateway: &GatewayName, context: ContextId, pattern: &TerminationId) {
        let on = |room: &&crate::room::Room| room.is_on(gateway, context.id());
        let rooms: Vec<_> = self.rooms.values().filter(on).map(|room| room.key.clone()).collect();
        for key in rooms {
            let Some(room) = self.rooms.get(&key) else { continue };
            let hit = |id: &&LegId| {
                let lines = self.legs.get(id).map(|leg| &leg.lines);
                let fits = |id: &TerminationId| pattern.matches(id);
                lines.is_some_and(|all| all.iter().filter_map(|l| l.termination.as_ref()).any(fits))
            };
            let Place::On(on, number) = &room.place else { continue };
            if room.legs.iter().any(|id| hit(&id)) {
                let (on, number) = (on.clone(), *number);
                self.core.sweep(&on, number);
                // Another one is better, if there is one.
                self.core.gateways.failed(self.core.now, gateway);
                self.lose(&key);
            }
        }
    }
}

impl crate::leg::Leg {
    /// The terminations are there.
    fn placed(
        &mut self,
        core: &mut crate::core::Core,
        room: &mut crate::room::Room,
        actions: &[ActionReply],
    ) {
        let State::Adding(mut adding) = self.take() else { return };
        // The media server has the keys: nobody else needs them.
        adding.seals.clear();
        let done = context::added(&mut self.lines, actions).map_err(|e| Fault::new(500, e.to_string()));
        match (done, adding.offered.take()) {
            (Ok(_), Some(offered)) => self.answer(core, room, offered),
            (Ok(_), None) => self.invite(core, room, &adding),
            (Err(fault), Some(offered)) => self.refuse(core, room, &offered, &fault),
            (Err(fault), None) => self.not_called(core, room, Some(fault.status), fault.reason()),
        }
    }
}

/// What a refused Add means to the member.
fn fault_of(refused: &Refused) -> Fault {
    if refused.elsewhere {
        return Fault::no_media();
    }
    let text = refused.error.text.as_deref().unwrap_or_default();
    let inside = Some(format!("the media server refused: {} {text}", refused.error.code));
    Fault { inside, ..Fault::new(500, "The media server refused") }
}

fn number(event: &ObservedEvent, name: &str) -> Option<u16> {
    event.value(name).and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok())
}

fn words(event: &ObservedEvent, name: &str) -> String {
    let text = event.value(name).map(Value::unescaped).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(256).collect()
}
