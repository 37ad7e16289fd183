//! Terminations come and go: Adds in turn, replies, what media servers report (TS 23.333 §6.2.19).
//!
//! The first Add of a room makes its context; those who come meanwhile wait for it. When the last
//! termination is subtracted the context is gone, and the next member makes another.

use carnet_h248::controller::{GatewayName, RequestNumber};
use carnet_h248::{ActionReply, ActionRequest, ContextId, TerminationId, Verb};

use crate::context::{self, Site};
use crate::core::{Op, Todo};
use crate::event::{Event, Left};
use crate::fault::Fault;
use crate::focus::Focus;
use crate::gateways::{Refused, Report};
use crate::leg::{LegId, State};
use crate::line::Kind;
use crate::room::{Lost, Place};

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
            if matches!(self.rooms.get(key).map(|room| &room.place), None | Some(Place::Making(..))) {
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
            Place::Making(..) => return Ok(()),
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
        let owner = leg.owner(room, &chairs);
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
        let context = target.id();
        let op = Op::Add { room: key.to_owned(), leg: id, gateway: gateway.clone(), context };
        self.core.ops.insert(request, op);
        if let Some(room) = self.rooms.get_mut(key) {
            if creates {
                room.stale = None;
                room.place = Place::Making(gateway, request);
            } else {
                room.adding.insert(request);
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
            None => {
                let own = room.policy.reserved.iter().find(|(_, owner)| *owner == member);
                let nickname = own.map(|(nickname, _)| nickname.clone());
                (room.name_user(|user| taken.contains(&user)), nickname)
            }
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
            Op::Add { room, leg, gateway, context } => {
                self.added((request, leg), &room, (&gateway, context), actions, error);
                self.core.todo.push_back(Todo::Settle(room.clone()));
                self.core.todo.push_back(Todo::Place(room));
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
            Op::Renew { room } => {
                if let Some(refused) = error {
                    self.not_renewed(room, &refused);
                }
            }
            Op::Sweep => {}
            Op::Tell { gateway } => {
                if let Some(refused) = error {
                    let code = refused.error.code;
                    let text = refused.error.text.as_deref().unwrap_or_default().to_owned();
                    self.core.events.push_back(Event::GatewayRefused { gateway, code, text });
                }
            }
        }
    }

    fn added(
        &mut self,
        (request, id): (RequestNumber, LegId),
        key: &str,
        (gateway, context): (&GatewayName, Option<u32>),
        actions: &[ActionReply],
        error: Option<Refused>,
    ) {
        // What was asked for a context that was lost meanwhile is for nobody.
        let current = self.context_asked(key, request, gateway, actions, error.is_none());
        let leg = self.legs.get_mut(&id);
        let (mut waits, mut more) = (false, false);
        match leg.map(|leg| &mut leg.state) {
            Some(State::Adding(adding)) if adding.request == Some(request) => {
                waits = current;
                // It is put into the next one.
                adding.request = adding.request.filter(|_| current);
            }
            Some(State::Up(up)) => more = up.more.as_ref().is_some_and(|more| more.add == Some(request)),
            _ => {}
        }
        let Some(refused) = error else {
            self.core.gateways.succeeded(gateway);
            if waits {
                self.with(id, |leg, core, room| leg.placed(core, room, actions));
            } else if more && current {
                self.with(id, |leg, core, room| leg.placed_more(core, room, actions, None));
            } else {
                // It went on without them, or ended: CANCEL was faster than the gateway.
                self.give_back(gateway, actions);
                if more {
                    let fault = Some(Fault::no_media());
                    self.with(id, |leg, core, room| leg.placed_more(core, room, &[], fault));
                }
            }
            return;
        };
        let text = refused.error.text.as_deref().unwrap_or_default().to_owned();
        let code = refused.error.code;
        self.core.events.push_back(Event::GatewayRefused { gateway: gateway.clone(), code, text });
        // Half of it may be there: one Add done, the other refused.
        self.give_back(gateway, actions);
        if refused.elsewhere {
            self.core.gateways.failed(self.core.now, gateway);
        }
        if waits {
            self.refused_add(id, gateway, (context.is_none(), &refused));
        } else if more {
            let fault = fault_of(&refused);
            self.with(id, |leg, core, room| leg.placed_more(core, room, &[], Some(fault)));
        }
        // H.248.8, 411: there is no such context. Whoever was in it has no media.
        if code == 411 && context.is_some() && self.rooms.get(key).is_some_and(|r| r.is_on(gateway, context))
        {
            self.lose(key);
        }
    }

    /// Notes what became of a request for a room's context or for terminations in it; whether it was asked
    /// for the context that the room has now, or is to have.
    fn context_asked(
        &mut self,
        key: &str,
        request: RequestNumber,
        gateway: &GatewayName,
        actions: &[ActionReply],
        done: bool,
    ) -> bool {
        let Some(room) = self.rooms.get_mut(key) else { return false };
        if room.adding.remove(&request) {
            return true;
        }
        if !matches!(&room.place, Place::Making(_, asked) if *asked == request) {
            return false;
        }
        let made = actions.iter().find_map(|action| action.context.id()).filter(|_| done);
        room.place = made.map_or(Place::Nowhere, |context| Place::On(gateway.clone(), context));
        if let Some(context) = made {
            let (room, gateway) = (key.to_owned(), gateway.clone());
            self.core.events.push_back(Event::RoomPlaced { room, gateway, context });
            // What has changed while it was being made.
            self.renew_context(key);
        }
        true
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
        let (gateways, now) = (&self.core.gateways, self.core.now);
        let again = self.legs.get_mut(&id).is_some_and(|leg| match &mut leg.state {
            State::Adding(adding) if creates && refused.elsewhere && adding.tried.len() + 1 < ATTEMPTS => {
                adding.tried.push(gateway.clone());
                adding.request = None;
                gateways.pick(now, &adding.tried).is_some()
            }
            // The context went away while the Add was under way: the room is made anew.
            State::Adding(adding)
                if !creates && matches!(refused.error.code, 411 | 503) && adding.again < ATTEMPTS =>
            {
                adding.again += 1;
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
    let text = refused.error.text.as_deref().unwrap_or_default();
    let inside = Some(format!("the media server refused: {} {text}", refused.error.code));
    let fault =
        if refused.elsewhere { Fault::no_media() } else { Fault::new(500, "The media server refused") };
    Fault { inside, ..fault }
}
