//! Other settings for a focus that runs.
//!
//! Who is in a room stays in it, with floors, seals and history; who comes from now on finds the new settings. A room
//! that is named no more takes nobody new and ends when its last member has left. The media server is told what has
//! changed of the rooms that it has. Where the focus is reached is told with every request and response that it sends; dialogs
//! that were there may still come to where it was before ([`Focus::goes_on`]). Left out: the name, the domain, and how Mp
//! is written.

use std::collections::BTreeSet;

use carnet_h248::{ActionRequest, ContextId};
use carnet_seal::{KeyAccount, Keys};

use crate::config::{Config, Factory, Policy};
use crate::context;
use crate::core::{Op, Todo};
use crate::event::Event;
use crate::focus::Focus;
use crate::gateways::Refused;
use crate::leg::LegId;
use crate::line::Kind;
use crate::room::{Place, Room, canonical, prepared};
use crate::status::ConfigError;
use std::time::{Instant, SystemTime};

/// See [`Focus::dialogs_so_far`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialogsSoFar {
    leg: LegId,
    subscription: u64,
}

impl Focus {
    /// Whether rooms and factories can be as `config` says.
    ///
    /// # Errors
    /// What contradicts itself.
    pub fn check(config: &Config) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        let mut once = |key: String| match seen.insert(key.clone()) {
            true => Ok(()),
            false => Err(ConfigError::Twice(key)),
        };
        for room in &config.rooms {
            once(Room::new(&room.uri, room.policy.clone(), config, 1)?.key)?;
        }
        for factory in &config.factories {
            Room::new(&factory.rooms, factory.policy.clone(), config, 1)?;
            once(canonical(factory.uri.as_str()))?;
        }
        Ok(())
    }

    /// Goes on with `config`. Gateways that are not named any more get no further rooms and keep those they have.
    ///
    /// # Errors
    /// What contradicts itself, or cannot change while the focus runs; nothing has changed then.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        wall: SystemTime,
        mut config: Config,
    ) -> Result<(), ConfigError> {
        self.at(now, wall);
        if self.core.config.name != config.name {
            return Err(ConfigError::Fixed("its name"));
        }
        Self::check(&config)?;
        let (rooms, factories) = (std::mem::take(&mut config.rooms), std::mem::take(&mut config.factories));
        let account = config.keys.take();
        let me =
            rooms.first().map(|room| &room.uri).or_else(|| factories.first().map(|factory| &factory.uri));
        let me = me.map(|uri| uri.as_str().to_owned());
        // All that can be wrong, before anything changes.
        let mut named: Vec<Room> = Vec::new();
        for fixed in rooms {
            let confid = self.name_conference();
            let mut room = Room::new(&fixed.uri, fixed.policy, &config, confid)?;
            room.fixed = true;
            named.push(room);
        }
        let makes = factories.into_iter().map(|factory| (canonical(factory.uri.as_str()), factory));
        let makes: Vec<(String, Factory)> = makes.collect();
        self.renew_account(account, me)?;

        self.core.gateways.reconfigure(&config.gateways, &mut self.core.rng, now);
        self.core.subscriptions.set_most(config.limits.subscriptions);
        let (mut sip, digest) = (self.core.config.sip.clone(), None);
        (sip.sent_by, sip.transports) = (config.sip.sent_by.clone(), config.sip.transports.clone());
        self.core.endpoint.rename(sip.sent_by.clone(), sip.transports.clone());
        self.core.config = Config { sip, digest, ..config };
        self.rooms.values_mut().for_each(|room| room.moves(&self.core.config));
        for (key, room) in &mut self.rooms {
            // A room that is empty is gone when it is settled.
            room.outgoing = (room.fixed || room.outgoing) && !named.iter().any(|new| new.key == *key);
            room.fixed &= !room.outgoing;
        }
        let mut called = Vec::new();
        for new in named {
            match self.rooms.get_mut(&new.key) {
                Some(room) => {
                    (room.fixed, room.outgoing) = (true, false);
                    called.extend(room.renew(new.policy).into_iter().map(|member| (new.key.clone(), member)));
                }
                None => drop(self.rooms.insert(new.key.clone(), new)),
            }
        }
        // Rooms are run as their factory says, and those of one that is gone as it said last.
        for room in self.rooms.values_mut() {
            let made = makes.iter().find(|(name, _)| room.factory.as_ref() == Some(name));
            if let Some(policy) = made.and_then(|(_, of)| prepared(&room.key, of.policy.clone()).ok()) {
                let _nobody = room.renew(policy);
            }
        }
        self.factories = makes;
        let all: Vec<_> = self.rooms.keys().cloned().collect();
        for key in all {
            self.renew_context(&key);
            self.core.touched.insert(key.clone());
            self.core.todo.push_back(Todo::Settle(key));
        }
        for (key, member) in called {
            let _ = self.invite_member(&key, &member);
        }
        self.drain();
        Ok(())
    }

    /// A mark between the dialogs that there are and those that come.
    pub fn dialogs_so_far(&self) -> DialogsSoFar {
        DialogsSoFar { leg: self.core.leg_to_come(), subscription: self.core.subscriptions.to_come() }
    }

    /// Whether one of these dialogs, or a call for one, goes on: its other end may send to where this focus was reached
    /// then.
    pub fn goes_on(&self, so_far: DialogsSoFar) -> bool {
        let DialogsSoFar { leg, subscription } = so_far;
        let first = self.legs.keys().next().is_some_and(|id| *id < leg);
        first || self.core.subscriptions.first().is_some_and(|id| id < subscription)
    }

    fn renew_account(&mut self, account: Option<KeyAccount>, me: Option<String>) -> Result<(), ConfigError> {
        let refused = |error: carnet_mikey::Error| ConfigError::Keys(error.to_string());
        let wall = self.core.wall;
        let Some(account) = account else {
            self.core.keys = None;
            return Ok(());
        };
        let me = me.unwrap_or_else(|| account.kms.clone());
        match &mut self.core.keys {
            Some(keys) => keys.renew(account, &me).map_err(refused),
            None => {
                self.core.keys = Some(Keys::new(account, &me, wall).map_err(refused)?);
                Ok(())
            }
        }
    }

    /// Tells the media server how a room that it has is run now.
    pub(crate) fn renew_context(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Place::On(gateway, number) = room.place.clone() else { return };
        let Some(before) = room.stale.take() else { return };
        let mut action = ActionRequest::new(ContextId::Id(number), Vec::new());
        action.properties.attributes = context::changed(&room.key, (&before, &room.policy), room.confid);
        // Who decides about a floor: first nobody does who did, for a floor has one chair (H.248.8, 479).
        let chaired = |policy: &Policy, member: &str| -> Vec<u16> {
            let his = policy.floors.iter().filter(|floor| floor.chair.as_deref() == Some(member));
            his.map(|floor| floor.id).collect()
        };
        let (mut taken, mut given, mut first) = (Vec::new(), Vec::new(), BTreeSet::new());
        for leg in room.legs.iter().filter_map(|id: &LegId| self.legs.get(id)) {
            let line = leg.lines.iter().find(|line| line.kind == Kind::Floors);
            let Some(termination) = line.and_then(|line| line.termination.clone()) else { continue };
            let (had, has) = (chaired(&before, &leg.member), chaired(&room.policy, &leg.member));
            if had == has {
                continue;
            }
            if !had.is_empty() {
                taken.push(context::chairs(termination.clone(), &[]));
            }
            if !has.is_empty() && first.insert(&leg.member) {
                given.push(context::chairs(termination, &has));
            }
        }
        action.commands = taken.into_iter().chain(given).collect();
        if action.properties.attributes.is_empty() && action.commands.is_empty() {
            return;
        }
        let request = self.core.gateways.request(self.core.now, &gateway, vec![action]);
        self.core.ops.insert(request, Op::Renew { room: key.to_owned() });
    }

    /// The media server goes on as it was told before; the next context of the room is made as it should be.
    pub(crate) fn not_renewed(&mut self, room: String, refused: &Refused) {
        let Some(Place::On(gateway, _)) = self.rooms.get(&room).map(|room| room.place.clone()) else {
            return;
        };
        let text = format!("{room}: {}", refused.error.text.as_deref().unwrap_or_default());
        let code = refused.error.code;
        self.core.events.push_back(Event::GatewayRefused { gateway, code, text });
    }
}
