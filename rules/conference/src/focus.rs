//! The machine: what comes in, and to which leg, room or gateway it goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

use carnet_h248 as h248;
use carnet_h248::controller::GatewayName;
use carnet_seal::{Fetch, FetchError, FetchId, Keys};
use carnet_sip::{Answer, Arrivals, Hop, Input, Query, QueryId, Transmit};
use carnet_wire::Random;

use crate::config::{Config, Factory};
use crate::core::{Core, Todo};
use crate::event::{Event, Left};
use crate::leg::{Leg, LegId};
use crate::room::{Room, canonical};
use crate::status::{ConfigError, Origin};

/// What the driver is to send.
#[derive(Debug)]
pub enum Out {
    /// SIP octets.
    Sip(Transmit),
    /// An H.248 message for a gateway: encoded on a socket, or passed as it is inside a process.
    Gateway(GatewayName, h248::Message),
}

/// See the [crate] page.
pub struct Focus {
    pub(crate) core: Core,
    pub(crate) rooms: BTreeMap<String, Room>,
    pub(crate) legs: BTreeMap<LegId, Leg>,
    /// Legs by our tag, which names one among all dialogs of this focus.
    pub(crate) tags: HashMap<String, LegId>,
    pub(crate) factories: Vec<(String, Factory)>,
    pub(crate) arrivals: Arrivals,
    /// Deadlines of legs.
    alarms: BTreeSet<(Instant, LegId)>,
    /// Records as they were last given out.
    pub(crate) kept: BTreeMap<String, Vec<u8>>,
    /// When that was, if it was lately.
    pub(crate) kept_at: BTreeMap<String, Instant>,
    /// Rooms whose record is not what it should be.
    pub(crate) unkept: BTreeSet<String>,
}

impl Focus {
    /// A focus with its fixed rooms, empty, and no gateways yet. `now` and `wall` are the same moment on
    /// the two clocks.
    ///
    /// # Errors
    /// What contradicts itself in the configuration.
    pub fn new(
        mut config: Config,
        random: Box<dyn Random>,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Self, ConfigError> {
        let refused = |error: carnet_mikey::Error| ConfigError::Keys(error.to_string());
        let keys = match config.keys.take() {
            // Who asks is said with every question: a conference, not the account.
            Some(account) => {
                let any = config.rooms.first().map(|room| &room.uri);
                let any = any.or_else(|| config.factories.first().map(|factory| &factory.uri));
                let me = any.map_or_else(|| account.kms.clone(), |uri| uri.as_str().to_owned());
                Some(Keys::new(account, &me, wall).map_err(refused)?)
            }
            None => None,
        };
        let rooms = std::mem::take(&mut config.rooms);
        let factories = std::mem::take(&mut config.factories);
        let mut focus = Self {
            core: Core::new(config, keys, random, now, wall),
            rooms: BTreeMap::new(),
            legs: BTreeMap::new(),
            tags: HashMap::new(),
            factories: Vec::new(),
            arrivals: Arrivals::default(),
            alarms: BTreeSet::new(),
            kept: BTreeMap::new(),
            kept_at: BTreeMap::new(),
            unkept: BTreeSet::new(),
        };
        for fixed in rooms {
            let confid = focus.name_conference();
            let mut room = Room::new(&fixed.uri, fixed.policy, &focus.core.config, confid)?;
            room.fixed = true;
            let key = room.key.clone();
            if focus.rooms.insert(key.clone(), room).is_some() {
                return Err(ConfigError::Twice(key));
            }
        }
        for factory in factories {
            let key = canonical(factory.uri.as_str());
            // Its rooms have to be possible.
            Room::new(&factory.rooms, factory.policy.clone(), &focus.core.config, 1)?;
            if focus.rooms.contains_key(&key) || focus.factories.iter().any(|(other, _)| *other == key) {
                return Err(ConfigError::Twice(key));
            }
            focus.factories.push((key, factory));
        }
        Ok(focus)
    }

    /// Takes no more new rooms and members: 503 with Retry-After. Those that there are go on.
    pub fn retire(&mut self) {
        self.core.retiring = true;
    }

    /// Takes new ones again, after [`retire`](Self::retire).
    pub fn resume(&mut self) {
        self.core.retiring = false;
    }

    /// Ends every room towards every member, for good: records are forgotten. A focus that only stops and
    /// starts again calls its members back without this.
    pub fn end(&mut self, now: Instant, wall: SystemTime) {
        self.at(now, wall);
        self.core.retiring = true;
        let all: Vec<_> = self.legs.keys().copied().collect();
        for id in all {
            self.with(id, |leg, core, room| leg.hang_up(core, room, Left::Stopping));
        }
        let rooms: Vec<_> = self.rooms.keys().cloned().collect();
        for room in rooms {
            self.close_room(&room);
        }
        self.drain();
    }

    /// How long the SIP octets that follow have waited for their turn: a focus that is behind answers new
    /// requests 503 at once.
    pub fn delayed(&mut self, waited: Duration) {
        self.core.endpoint.delayed(waited);
    }

    /// Takes SIP octets in.
    pub fn handle_sip(&mut self, now: Instant, wall: SystemTime, input: Input) {
        self.at(now, wall);
        self.core.endpoint.handle_input(now, input);
        self.drain();
    }

    /// The driver could not deliver to `hop`, or the connection closed.
    pub fn transport_failed(&mut self, now: Instant, wall: SystemTime, hop: &Hop) {
        self.at(now, wall);
        self.core.endpoint.transport_failed(now, hop);
        self.drain();
    }

    /// Takes DNS's answer to a query.
    pub fn handle_answer(&mut self, now: Instant, wall: SystemTime, id: QueryId, answer: Answer) {
        self.at(now, wall);
        self.core.endpoint.handle_answer(now, id, answer);
        self.drain();
    }

    /// Takes the key server's answer: the body of its HTTP response, if that was a MIKEY message.
    pub fn handle_fetched(
        &mut self,
        now: Instant,
        wall: SystemTime,
        id: FetchId,
        result: Result<Vec<u8>, FetchError>,
    ) {
        self.at(now, wall);
        // An answer that comes after we gave up is no matter.
        let Some((leg, line, _)) = self.core.waiting.remove(&id) else { return };
        self.fetched(leg, line, id, result);
        self.drain();
    }

    /// Takes an H.248 message of a gateway in.
    pub fn handle_gateway(&mut self, now: Instant, wall: SystemTime, gateway: &str, message: h248::Message) {
        self.at(now, wall);
        self.core.gateways.handle(now, gateway, message);
        self.drain();
    }

    /// Octets that a gateway sent and that are no H.248 message.
    pub fn handle_undecodable(&mut self, now: Instant, wall: SystemTime, gateway: &str, error: &h248::Error) {
        self.at(now, wall);
        self.core.gateways.undecodable(gateway, error);
        self.drain();
    }

    /// The gateway that calls itself so, for drivers that know a datagram's sender by what it says.
    pub fn gateway_of(&self, mid: &h248::MId) -> Option<&GatewayName> {
        self.core.gateways.gateway_of(mid)
    }

    /// Where a gateway wants requests sent, if not where its messages come from (RFC 3525 §7.2.8).
    pub fn service_change_address(&self, gateway: &str) -> Option<&h248::ServiceChangeAddress> {
        self.core.gateways.service_change_address(gateway)
    }

    /// Whether a message that names `gateway` as its sender is to be taken. If not, the driver hands it to
    /// nobody and answers nothing.
    pub fn admit_gateway(
        &mut self,
        now: Instant,
        gateway: &str,
        origin: Origin,
        message: &h248::Message,
    ) -> bool {
        self.core.now = now;
        let admitted = self.core.gateways.admits(gateway, origin, message);
        if !admitted
            && self.core.gateways.is_worth_telling(now, gateway)
            && let Some(settings) = self.core.gateways.settings(gateway)
        {
            let gateway = settings.name.clone();
            self.core.events.push_back(Event::ForeignControl { gateway, from: origin.address });
        }
        admitted
    }

    /// The driver has a way to a gateway. It is used once it has registered.
    pub fn gateway_connected(&mut self, now: Instant, wall: SystemTime, gateway: &str) {
        self.at(now, wall);
        self.core.gateways.connected(gateway);
        self.drain();
    }

    /// The way to a gateway broke. New rooms go to others; those on it are made anew when it stays away.
    pub fn gateway_lost(&mut self, now: Instant, wall: SystemTime, gateway: &str) {
        self.at(now, wall);
        self.core.gateways.cut(gateway);
        self.drain();
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant, wall: SystemTime) {
        self.at(now, wall);
        self.core.endpoint.handle_timeout(now);
        self.core.gateways.handle_timeout(now);
        self.core.subscriptions.handle_timeout(now);
        self.fade();
        self.core.tick();
        let late = |(id, (leg, line, at)): (&FetchId, &(LegId, usize, Instant))| {
            (now >= *at).then_some((*id, *leg, *line))
        };
        let late: Vec<_> = self.core.waiting.iter().filter_map(late).collect();
        for (id, leg, line) in late {
            self.core.waiting.remove(&id);
            self.fetched(leg, line, id, Err(FetchError::TimedOut));
        }
        while let Some((at, id)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, id));
            self.with(id, |leg, core, room| {
                leg.armed = None;
                leg.tick(core, room);
            });
        }
        for room in self.rooms.values().filter(|room| room.is_due(now)) {
            self.core.todo.push_back(Todo::CallBack(room.key.clone()));
        }
        self.drain();
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let now = self.core.now;
        let rooms = self.rooms.values().filter_map(|room| room.timeout(now)).min();
        let fetches = self.core.waiting.values().map(|(_, _, at)| *at).min();
        let legs = self.alarms.first().map(|(at, _)| *at);
        let (sip, gateways) = (self.core.endpoint.poll_timeout(), self.core.gateways.poll_timeout());
        let news = self.core.subscriptions.poll_timeout();
        let keep = self.keep_at();
        let faded = self.rooms.values().filter_map(|room| room.attendance.poll_timeout()).min();
        [sip, gateways, self.core.timeout(), rooms, fetches, legs, news, faded, keep]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to send.
    pub fn poll_transmit(&mut self) -> Option<Out> {
        if let Some((gateway, message)) = self.core.gateways.poll_transmit() {
            return Some(Out::Gateway(gateway, message));
        }
        self.core.endpoint.poll_transmit().map(Out::Sip)
    }

    /// The next question for DNS.
    pub fn poll_query(&mut self) -> Option<Query> {
        self.core.endpoint.poll_query()
    }

    /// What its SIP endpoint has counted, and how full it is.
    pub fn sip_counts(&self) -> (carnet_sip::Tally, carnet_sip::Load) {
        (self.core.endpoint.tally(), self.core.endpoint.load())
    }

    /// The next SIP transaction that has its final response.
    pub fn poll_finished(&mut self) -> Option<carnet_sip::Finished> {
        self.core.endpoint.poll_finished()
    }

    /// The next question for the key server.
    pub fn poll_fetch(&mut self) -> Option<Fetch> {
        self.core.fetches.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    pub(crate) fn at(&mut self, now: Instant, wall: SystemTime) {
        self.core.now = now;
        self.core.wall = wall;
    }

    /// A number for a conference with floors.
    pub(crate) fn name_conference(&mut self) -> u32 {
        loop {
            let confid = self.core.rng.u32();
            if confid != 0 && self.rooms.values().all(|room| room.confid != confid) {
                return confid;
            }
        }
    }

    /// Takes a leg up.
    pub(crate) fn insert(&mut self, leg: Leg) {
        let id = leg.id;
        self.tags.insert(leg.ids.tag.clone(), id);
        if let Some(room) = self.rooms.get_mut(&leg.room) {
            room.legs.insert(id);
        }
        self.legs.insert(id, leg);
        self.with(id, |_, _, _| ());
    }

    /// Runs `act` on a leg and takes care of what follows for its place in the tables.
    pub(crate) fn with(&mut self, id: LegId, act: impl FnOnce(&mut Leg, &mut Core, &mut Room)) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(room) = self.rooms.get_mut(&leg.room) else { return };
        act(leg, &mut self.core, room);
        let wanted = leg.timeout();
        if leg.armed != wanted {
            if let Some(old) = leg.armed.take() {
                self.alarms.remove(&(old, id));
            }
            leg.armed = wanted;
            self.alarms.extend(wanted.map(|at| (at, id)));
        }
        if !leg.is_over() {
            return;
        }
        if let Some(old) = leg.armed {
            self.alarms.remove(&(old, id));
        }
        room.legs.remove(&id);
        self.core.todo.push_back(Todo::Settle(room.key.clone()));
        self.core.waiting.retain(|_, (leg, _, _)| *leg != id);
        if let Some(leg) = self.legs.remove(&id) {
            self.tags.remove(&leg.ids.tag);
            let (room, member, joined) = (leg.room, leg.member, leg.was_in);
            self.core.todo.push_back(Todo::Parted { leg: id, room, member, joined });
        }
    }
}
