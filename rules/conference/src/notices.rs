//! What a media server tells of members and floors (Notify), and terminations that fail.

use carnet_h248::controller::GatewayName;
use carnet_h248::{ContextId, ObservedEvent, ObservedEvents, ParameterValue, TerminationId, Value};

use crate::event::{Event, Left};
use crate::focus::Focus;
use crate::leg::LegId;
use crate::line::Kind;
use crate::room::Place;
use crate::status::FloorStatus;

impl Focus {
    pub(crate) fn notified(
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
    pub(crate) fn failed(&mut self, gateway: &GatewayName, context: ContextId, pattern: &TerminationId) {
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

fn number(event: &ObservedEvent, name: &str) -> Option<u16> {
    event.value(name).and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok())
}

fn words(event: &ObservedEvent, name: &str) -> String {
    let text = event.value(name).map(Value::unescaped).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(256).collect()
}
