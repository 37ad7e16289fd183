//! Pairs that the kernel carries (TS 23.334 §5.16.1): what a loop does about them.
//!
//! Which engine a pair has is weighed anew whenever something that it depends on changes. A pair for the kernel is
//! *armed* while both gates are open and nobody has come: the kernel leads the caller who is expected on to the far side.
//! Whoever else comes is accepted by the loop, and judged as always; then the pair is the loop's, and the kernel is told
//! to leave it. The loop calls nobody before it has.
//!
//! What of a connection cannot be done in the kernel as in a relay: it is one connection from end to end. Two
//! pinholes that part, or of which one goes elsewhere, lose it, and both peers are told.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use carnet_gateway::engine::{Choice, Engine, Side, choose};
use carnet_gateway::media::{Cause, Event, Gate, Pinhole, Reason};

use super::Witness;
use super::clock::Moment;
use super::hole::{Hole, Link, Origin, Told};
use super::kernel::{Carriage, Octets, Order, Report, Terms};
use super::roll::{Enrolled, Roll};
use super::socket;
use super::worker::Worker;

/// All pairs of a loop that the kernel has something to do with.
#[derive(Debug, Default)]
pub(super) struct Carriages {
    /// By the numbers of their pinholes.
    all: Roll<Carried>,
    /// Callers' pinholes whose pairs the kernel has refused, until there are new settings.
    refused: HashSet<u64>,
    /// Pinholes whose callers are kept: it is not decided yet where they lead.
    pub(super) kept: HashSet<u64>,
    /// Those that nobody is to know of before that is so.
    pub(super) unbound: HashSet<u64>,
    /// Pinholes that leave as soon as the kernel has nothing to do with them any more.
    leaving: HashMap<u64, (Pinhole, Then)>,
    hosts: Hosts,
}

/// What was found out about addresses that are called. It takes a socket, and the same are called again and again.
#[derive(Debug, Default)]
struct Hosts {
    known: HashMap<IpAddr, (Moment, bool)>,
}

impl Hosts {
    /// What was found is believed for this long.
    const BELIEVED: Duration = Duration::from_secs(1);
    /// Addresses that are remembered.
    const MOST: usize = 1024;

    /// Whether the host has this address itself. Only who has it may bind it.
    fn are_we(&mut self, address: IpAddr, now: Moment) -> bool {
        if let Some((at, ours)) = self.known.get(&address)
            && now.since(*at) < Self::BELIEVED
        {
            return *ours;
        }
        let ours = UdpSocket::bind((address, 0)).is_ok();
        if self.known.len() >= Self::MOST {
            self.known.clear();
        }
        self.known.insert(address, (now, ours));
        ours
    }
}

/// How a pinhole goes on when the kernel has let it go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Release,
    Regroup(u32),
}

/// What is kept of a pair, in few octets; its pinholes have the rest.
#[derive(Debug)]
struct Carried {
    ends: Ends,
    rare: Option<Box<Rare>>,
    /// The numbers of the two pinholes, in halves.
    caller: [u32; 2],
    callee: [u32; 2],
    phase: Phase,
    /// How its end would be told of if there were a connection, to the caller's side and to the callee's.
    parting: (Cause, Cause),
    /// There is one.
    farewell: bool,
    /// It is known how the counters of the pinholes stood before there was.
    based: bool,
}

/// Who may call, and whom it leads to.
#[derive(Debug, PartialEq, Eq)]
enum Ends {
    V4(Ipv4Addr, SocketAddrV4),
    Other(Box<(IpAddr, SocketAddr)>),
}

impl Ends {
    fn of(carriage: &Carriage) -> Self {
        match (carriage.source, carriage.to) {
            (IpAddr::V4(source), SocketAddr::V4(to)) => Self::V4(source, to),
            (source, to) => Self::Other(Box::new((source, to))),
        }
    }

    fn source(&self) -> IpAddr {
        match self {
            Self::V4(source, _) => (*source).into(),
            Self::Other(ends) => ends.0,
        }
    }

    fn to(&self) -> SocketAddr {
        match self {
            Self::V4(_, to) => SocketAddr::V4(*to),
            Self::Other(ends) => ends.1,
        }
    }
}

/// What few of them have, or for a moment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rare {
    terms: Terms,
    /// Counters were asked for, for these.
    asked: Vec<Pinhole>,
    counting: bool,
    /// Octets received and sent at the two pinholes before there was a connection: with those of the connection they are what is told.
    /// Most pinholes have one connection.
    before: [Octets; 2],
}

impl Carried {
    fn new(carriage: &Carriage, terms: Terms) -> Self {
        let halves = |pinhole: Pinhole| [pinhole.number as u32, (pinhole.number >> 32) as u32];
        let rare = Rare { terms, ..Rare::default() };
        Self {
            ends: Ends::of(carriage),
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            caller: halves(carriage.caller.0),
            callee: halves(carriage.callee.0),
            phase: Phase::Armed,
            parting: (Cause::FarSide, Cause::FarSide),
            farewell: false,
            based: false,
        }
    }

    /// The numbers of the two pinholes, the caller's first.
    fn names(&self) -> [u64; 2] {
        [self.caller, self.callee].map(|[low, high]| u64::from(high) << 32 | u64::from(low))
    }

    /// It is that carriage.
    fn is(&self, carriage: &Carriage) -> bool {
        self.names() == [carriage.caller.0.number, carriage.callee.0.number]
            && self.ends == Ends::of(carriage)
    }

    fn terms(&self) -> Terms {
        self.rare.as_ref().map(|rare| rare.terms).unwrap_or_default()
    }

    /// Changes what is rare of it, and keeps that if there is something to be kept.
    fn with_rare<T>(&mut self, change: impl FnOnce(&mut Rare) -> T) -> T {
        let mut rare = self.rare.take().unwrap_or_default();
        let outcome = change(&mut rare);
        self.rare = (*rare != Rare::default()).then_some(rare);
        outcome
    }

    /// Counters are asked for, perhaps for a pinhole. True: they were not before.
    fn asks(&mut self, pinhole: Option<Pinhole>) -> bool {
        self.with_rare(|rare| {
            rare.asked.extend(pinhole);
            !std::mem::replace(&mut rare.counting, true)
        })
    }
}

impl Enrolled for Carried {
    type Name = u64;

    fn first(&self) -> u64 {
        self.names()[0]
    }

    fn second(&self) -> u64 {
        self.names()[1]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The kernel has it, or has been told to; nobody has come.
    Armed,
    /// There is a connection.
    Up,
    /// The kernel has been told to leave it.
    Leaving,
    /// The same, and the connection has ended by itself meanwhile.
    Over,
}

impl Carriages {
    /// The kernel has something to do with this pinhole.
    pub(super) fn have(&self, pinhole: Pinhole) -> bool {
        self.all.get(&pinhole.number).is_some() || self.all.by_second(&pinhole.number).is_some()
    }

    /// There are new settings: the kernel may like them.
    pub(super) fn try_again(&mut self, pinhole: Pinhole) {
        self.refused.remove(&pinhole.number);
    }

    /// What is carried from or to this pinhole: the numbers of the callers.
    fn of(&self, pinhole: Pinhole) -> impl Iterator<Item = u64> + use<> {
        let called = self.all.get(&pinhole.number).map(Carried::first);
        let calls = self.all.by_second(&pinhole.number).map(Carried::first);
        [called, calls].into_iter().flatten()
    }

    /// The connection of this pinhole.
    fn up(&mut self, pinhole: Pinhole) -> Option<&mut Carried> {
        let up = |number: &u64| self.all.get(number).is_some_and(|carried| carried.phase == Phase::Up);
        let number = self.of(pinhole).find(up)?;
        self.all.get_mut(&number)
    }
}

impl Worker {
    /// Takes what the kernel engine has to say.
    pub(super) fn take_reports(&mut self) {
        for report in self.dock.take_reports() {
            self.on_report(report);
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Steered { pinhole, done } => self.steered(pinhole, done),
            Report::Kept { pinhole } => self.callers_are_kept(pinhole),
            Report::Overdue { pinhole } => self.callers_are_overdue(pinhole),
            Report::Carried { caller, done } => {
                if !done {
                    self.refused(caller);
                }
            }
            Report::Established { caller, peer } => self.established_in_kernel(caller, peer),
            Report::Ended { caller, causes, octets } => self.ended_in_kernel(caller, causes, octets),
            Report::Counted { caller, octets } => self.counted(caller, octets),
            Report::Dropped { caller, octets } => self.dropped(caller, octets),
        }
    }

    /// Chooses the engine anew for a pinhole and whom it is joined to, if something has changed.
    pub(super) fn weigh(&mut self, slot: u32) {
        let Some(hole) = self.hole(slot) else { return };
        let was = std::mem::take(&mut hole.unweighed);
        let name = hole.name;
        let Some(far) = hole.joined() else {
            if was {
                if hole.told != Told::Unconfigured {
                    hole.told = Told::Nothing;
                }
                self.leave(name);
                self.keep_callers(slot, None);
            }
            return self.count_now_and_then(slot);
        };
        let far_was = self.hole(far).is_some_and(|far| std::mem::take(&mut far.unweighed));
        if was || far_was {
            self.weigh_pair(slot, far);
            self.keep_callers(slot, Some(far));
            self.keep_callers(far, Some(slot));
        }
        self.count_now_and_then(slot);
        self.count_now_and_then(far);
    }

    fn weigh_pair(&mut self, one: u32, two: u32) {
        let Some((first, second)) = self.peek(one).zip(self.peek(two)) else { return };
        let (a, b) = (first.name, second.name);
        let up = [a, b].into_iter().find_map(|name| {
            let mut all = self.carriages.of(name).filter_map(|number| self.carriages.all.get(&number));
            all.find(|carried| carried.phase == Phase::Up).map(Carried::names)
        });
        if let Some([caller, callee]) = up {
            let together =
                [caller, callee] == [a.number, b.number] || [callee, caller] == [a.number, b.number];
            let needed = |hole: &Hole| self.needs_relay(hole).is_some_and(|why| why != Reason::Signalled);
            if together && !needed(first) && !needed(second) {
                return self.adjust(caller);
            }
            for name in [a, b] {
                self.leave(name);
            }
            return;
        }
        if first.told == Told::Unconfigured || second.told == Told::Unconfigured {
            for name in [a, b] {
                self.leave(name);
            }
            return;
        }
        let over = first.ended || second.ended;
        let mut choice = self.choice(first, second);
        let closed = first.gate == Gate::Inactive || second.gate == Gate::Inactive;
        let mut wanted = [None, None];
        if choice.engine == Engine::Kernel && !over && !closed {
            wanted = [(choice.first, one, two), (choice.second, two, one)]
                .map(|(source, caller, callee)| self.carriage(source?, caller, callee));
            let new = |carriage: &Carriage| {
                let has = self.carriages.all.get(&carriage.caller.0.number);
                has.is_none_or(|has| !has.is(carriage))
            };
            // What is sent to an address of our own is not sent on.
            let ours = wanted.map(|wanted| wanted.filter(new).map(|carriage| carriage.to.ip()));
            if ours.into_iter().flatten().any(|to| self.carriages.hosts.are_we(to, self.now)) {
                choice = Choice { engine: Engine::Relay, reason: Reason::Host, first: None, second: None };
                wanted = [None, None];
            }
        }
        if !over {
            self.tell(one, choice);
            self.tell(two, choice);
        }
        for (name, wanted) in [a, b].into_iter().zip(wanted) {
            self.reconcile(name, wanted);
        }
    }

    /// The kernel has it, or has been told to, and leads who calls this pinhole on.
    pub(super) fn is_armed(&self, caller: Pinhole) -> bool {
        let carried = self.carriages.all.get(&caller.number);
        carried.is_some_and(|carried| matches!(carried.phase, Phase::Armed | Phase::Up))
    }

    /// The engine for two pinholes without a connection in the kernel.
    pub(super) fn choice(&self, first: &Hole, second: &Hole) -> Choice {
        let choice = choose(&self.side(first), &self.side(second), self.kernel.host);
        if choice.engine == Engine::Relay {
            return choice;
        }
        let relay = |reason| Choice { engine: Engine::Relay, reason, first: None, second: None };
        let refused = |hole: &Hole| self.carriages.refused.contains(&hole.name.number);
        if refused(first) || refused(second) {
            return relay(Reason::Refused);
        }
        for (hole, source) in [(first, choice.first), (second, choice.second)] {
            match &hole.link {
                Link::Up(connection) if connection.origin != Origin::Made => {
                    let peer = connection.socket.peer_addr().ok().and_then(|peer| peer.as_socket());
                    let meant = peer.is_some_and(|peer| Some(peer.ip()) == source);
                    return relay(if meant { Reason::Underway } else { Reason::Elsewhere });
                }
                Link::Up(_) | Link::Connecting(_) => return relay(Reason::Underway),
                Link::Down | Link::Carried => {}
            }
        }
        choice
    }

    fn side(&self, hole: &Hole) -> Side {
        Side {
            local: self.ports.local(&hole.lease),
            role: hole.role,
            remote: hole.remote(),
            gate: hole.gate,
            filter: hole.sources(),
            needs_relay: self.needs_relay(hole),
        }
    }

    pub(super) fn needs_relay(&self, hole: &Hole) -> Option<Reason> {
        let tls_only = || self.ports.ward(&hole.lease).is_some_and(|ward| ward.guard.tls_only);
        if hole.ends_tls() {
            Some(Reason::EndsTls)
        } else if hole.works() {
            Some(Reason::Rewrites)
        } else if self.config.witness != Witness::Off {
            Some(Reason::Witness)
        } else if tls_only() {
            Some(Reason::TlsOnly)
        } else if hole.told_to_connect {
            Some(Reason::Signalled)
        } else if self.kernel.is_there() && self.ports.local(&hole.lease).ip().is_loopback() {
            Some(Reason::Host)
        } else {
            None
        }
    }

    fn carriage(&self, source: IpAddr, caller: u32, callee: u32) -> Option<Carriage> {
        let (caller, callee) = self.peek(caller).zip(self.peek(callee))?;
        Some(Carriage {
            caller: (caller.name, self.ports.local(&caller.lease)),
            source,
            callee: (callee.name, self.ports.local(&callee.lease)),
            to: callee.remote()?,
        })
    }

    fn terms(&self, carriage: &Carriage) -> Terms {
        let hole = |name| self.slot(name).and_then(|slot| self.peek(slot));
        let (caller, callee) = (hole(carriage.caller.0), hole(carriage.callee.0));
        let passes = |from: Option<&Hole>, to: Option<&Hole>| {
            from.is_some_and(Hole::lets_in) && to.is_some_and(Hole::lets_out)
        };
        let (forth, back) = (passes(caller, callee), passes(callee, caller));
        Terms {
            held: !forth && !back,
            shut: if forth || back { (!forth, !back) } else { (false, false) },
            rates: (caller.and_then(Hole::rate), callee.and_then(Hole::rate)),
            dscp: (caller.and_then(|hole| hole.dscp), callee.and_then(|hole| hole.dscp)),
        }
    }

    fn tell(&mut self, slot: u32, choice: Choice) {
        let Some(hole) = self.hole(slot) else { return };
        let told = Told::Reason(choice.reason);
        if std::mem::replace(&mut hole.told, told) == told {
            return;
        }
        let pinhole = hole.name;
        let Choice { engine, reason, .. } = choice;
        self.report(Event::Engine { pinhole, engine, reason });
    }

    /// Has the kernel do for this caller what is wanted now.
    fn reconcile(&mut self, caller: Pinhole, wanted: Option<Carriage>) {
        match (self.carriages.all.get(&caller.number), wanted) {
            (None, None) => {}
            (None, Some(carriage)) => self.arm(carriage),
            (Some(carried), Some(carriage)) if carried.phase == Phase::Armed && carried.is(&carriage) => {
                self.adjust(caller.number);
            }
            (Some(_), _) => self.cut(caller.number, None),
        }
    }

    fn arm(&mut self, carriage: Carriage) {
        let terms = self.terms(&carriage);
        self.carriages.all.insert(Carried::new(&carriage, terms));
        self.kernel.order(Order::Carry { carriage, terms });
    }

    /// The pinholes of a pair: names, and our addresses there.
    fn sides(&self, carried: &Carried) -> Option<[(Pinhole, SocketAddr); 2]> {
        let [caller, callee] = carried.names().map(|number| {
            let hole = self.slot_of(number).and_then(|slot| self.peek(slot))?;
            Some((hole.name, self.ports.local(&hole.lease)))
        });
        Some([caller?, callee?])
    }

    /// Tells the kernel of other terms, if they are.
    fn adjust(&mut self, caller: u64) {
        let Some(carried) = self.carriages.all.get(&caller) else { return };
        let Some([caller_side, callee_side]) = self.sides(carried) else { return };
        let (source, to) = (carried.ends.source(), carried.ends.to());
        let carriage = Carriage { caller: caller_side, source, callee: callee_side, to };
        let terms = self.terms(&carriage);
        if carried.terms() == terms {
            return;
        }
        if let Some(carried) = self.carriages.all.get_mut(&caller) {
            carried.with_rare(|rare| rare.terms = terms);
        }
        self.kernel.order(Order::Carry { carriage, terms });
    }

    /// Has the kernel say what a pair's counters are.
    fn order_count(&mut self, caller: u64) {
        if let Some([(caller, local), _]) = self.carriages.all.get(&caller).and_then(|c| self.sides(c)) {
            self.kernel.order(Order::Count { caller, local });
        }
    }

    /// The kernel is to have nothing to do with this pinhole any more.
    fn leave(&mut self, pinhole: Pinhole) {
        for number in self.carriages.of(pinhole) {
            self.cut(number, None);
        }
    }

    /// Has the kernel leave a pair. `causes`: how the end of a connection is told of, else the far side is to blame.
    fn cut(&mut self, caller: u64, causes: Option<(Cause, Cause)>) {
        let Some(carried) = self.carriages.all.get_mut(&caller) else { return };
        if matches!(carried.phase, Phase::Leaving | Phase::Over) {
            return;
        }
        carried.parting = causes.unwrap_or((Cause::FarSide, Cause::FarSide));
        carried.farewell |= carried.phase == Phase::Up;
        carried.phase = Phase::Leaving;
        if let Some([(caller, local), _]) = self.carriages.all.get(&caller).and_then(|c| self.sides(c)) {
            self.kernel.order(Order::Drop { caller, local });
        }
    }

    /// The same for all that this pinhole has, of which one side is said to be the cause. False: it has nothing.
    fn cut_of(&mut self, name: Pinhole, (own, far): (Cause, Cause)) -> bool {
        let mut any = false;
        for number in self.carriages.of(name) {
            let causes = if number == name.number { (own, far) } else { (far, own) };
            self.cut(number, Some(causes));
            any = true;
        }
        any
    }

    /// Takes a pinhole that is about to go out of the kernel first. False: the kernel has nothing to do with it.
    pub(super) fn leaves_the_kernel(&mut self, slot: u32, then: Then, causes: (Cause, Cause)) -> bool {
        let Some(name) = self.peek(slot).map(|hole| hole.name) else { return false };
        self.carriages.refused.remove(&name.number);
        if !self.cut_of(name, causes) {
            return false;
        }
        self.carriages.leaving.insert(name.number, (name, then));
        if then == Then::Release {
            // Nobody is let in or called meanwhile.
            if let Link::Up(_) | Link::Connecting(_) = &self.peek(slot).map_or(&Link::Down, |hole| &hole.link)
            {
                self.end(slot, Cause::Released, Cause::FarSide, false);
            }
            if let Some(hole) = self.hole(slot) {
                hole.ended = true;
                hole.waiting_until = None;
            }
            self.queue(slot);
        }
        true
    }

    /// Ends the connection of a pinhole that the kernel carries. False: there is none.
    pub(super) fn disconnect_in_kernel(&mut self, slot: u32) -> bool {
        let Some(name) = self.peek(slot).map(|hole| hole.name) else { return false };
        self.carriages.up(name).is_some() && self.cut_of(name, (Cause::Released, Cause::FarSide))
    }

    /// Asks the kernel before the counters are told. False: they are known.
    pub(super) fn measure_in_kernel(&mut self, pinhole: Pinhole) -> bool {
        let Some(carried) = self.carriages.up(pinhole) else { return false };
        let caller = carried.first();
        if carried.asks(Some(pinhole)) {
            self.order_count(caller);
        }
        true
    }

    /// Silence shows only to who asks.
    fn count_now_and_then(&mut self, slot: u32) {
        let now = self.now;
        let Some(hole) = self.hole(slot) else { return };
        let Some(every) = hole.counts_every().filter(|_| matches!(hole.link, Link::Carried)) else { return };
        if hole.paused().is_some() {
            return;
        }
        hole.pause(now.plus(every));
        let name = hole.name;
        let Some(carried) = self.carriages.up(name) else { return };
        let caller = carried.first();
        if carried.asks(None) {
            self.order_count(caller);
        }
    }

    fn refused(&mut self, caller: Pinhole) {
        // If it is leaving, the answer to that is yet to come.
        let carried = self.carriages.all.get(&caller.number);
        if carried.is_none_or(|carried| carried.phase != Phase::Armed) {
            return;
        }
        if let Some(carried) = self.carriages.all.remove(&caller.number) {
            self.carriages.refused.insert(caller.number);
            self.wake(&carried);
        }
    }

    fn slots(&self, carried: &Carried) -> [Option<u32>; 2] {
        carried.names().map(|number| self.slot_of(number))
    }

    /// Both pinholes have something to do.
    fn wake(&mut self, carried: &Carried) {
        for slot in self.slots(carried).into_iter().flatten() {
            if let Some(hole) = self.hole(slot) {
                hole.unweighed = true;
            }
            self.queue(slot);
        }
    }

    fn established_in_kernel(&mut self, caller: Pinhole, peer: std::net::SocketAddr) {
        let Some(carried) = self.carriages.all.get_mut(&caller.number) else { return };
        if carried.phase == Phase::Leaving {
            return self.established_too_late(caller, peer);
        }
        if carried.phase != Phase::Armed {
            return;
        }
        carried.phase = Phase::Up;
        self.note_before(caller.number);
        let Some(carried) = self.carriages.all.get(&caller.number) else { return };
        let ([_, callee], to) = (carried.names(), carried.ends.to());
        // Between two that both may call, the other way is shut now.
        self.cut(callee, None);
        for (number, peer) in [(caller.number, peer), (callee, to)] {
            let Some(slot) = self.slot_of(number) else { continue };
            self.unschedule(slot);
            let Some(hole) = self.hole(slot) else { continue };
            let name = hole.name;
            hole.waiting_until = None;
            hole.unweighed = true;
            hole.send_standbys_away();
            // Whom the loop has just accepted is not the one.
            if let Link::Up(connection) = std::mem::replace(&mut hole.link, Link::Carried) {
                socket::reset(connection.socket);
                hole.give_up_seat();
            }
            self.report(Event::Established { pinhole: name, peer });
            self.queue(slot);
        }
    }

    /// There was a connection when the kernel was told to leave it, and nobody knew yet. If the loop has none, it is told of
    /// before its end is.
    fn established_too_late(&mut self, caller: Pinhole, peer: std::net::SocketAddr) {
        let Some(carried) = self.carriages.all.get(&caller.number) else { return };
        let (slots, to) = (self.slots(carried), carried.ends.to());
        let free = |slot: &Option<u32>| {
            slot.and_then(|slot| self.peek(slot)).is_some_and(|hole| matches!(hole.link, Link::Down))
        };
        if !slots.iter().all(free) {
            return;
        }
        if let Some(carried) = self.carriages.all.get_mut(&caller.number) {
            carried.farewell = true;
        }
        self.note_before(caller.number);
        for (slot, peer) in slots.into_iter().zip([peer, to]) {
            let Some(hole) = slot.and_then(|slot| self.hole(slot)) else { continue };
            hole.link = Link::Carried;
            let pinhole = hole.name;
            self.report(Event::Established { pinhole, peer });
        }
    }

    /// Notes how the counters of a pair's pinholes stand before those of a connection are added, once.
    fn note_before(&mut self, caller: u64) {
        let Some(carried) = self.carriages.all.get(&caller).filter(|carried| !carried.based) else { return };
        let before = self.slots(carried).map(|slot| {
            let hole = slot.and_then(|slot| self.peek(slot));
            hole.map_or((0, 0), |hole| (hole.received, hole.sent))
        });
        if let Some(carried) = self.carriages.all.get_mut(&caller) {
            carried.based = true;
            carried.with_rare(|rare| rare.before = before);
        }
    }

    /// The counters of a pair's connection stand so.
    fn note(&mut self, caller: u64, octets: Octets) {
        self.note_before(caller);
        let now = self.now;
        let Some(carried) = self.carriages.all.get(&caller) else { return };
        let before = carried.rare.as_ref().map(|rare| rare.before).unwrap_or_default();
        let turned = (octets.1, octets.0);
        for ((slot, before), octets) in self.slots(carried).into_iter().zip(before).zip([octets, turned]) {
            if let Some(hole) = slot.and_then(|slot| self.hole(slot)) {
                hole.note_counters(before, octets, now);
            }
        }
    }

    fn counted(&mut self, caller: Pinhole, octets: Octets) {
        let Some(carried) = self.carriages.all.get_mut(&caller.number) else { return };
        let (counting, asked) =
            carried.with_rare(|rare| (std::mem::take(&mut rare.counting), std::mem::take(&mut rare.asked)));
        if !counting {
            return;
        }
        let slots = self.carriages.all.get(&caller.number).map(|carried| self.slots(carried));
        // Asked too late: what it had in the end is told otherwise.
        if self.carriages.all.get(&caller.number).is_some_and(|carried| carried.phase == Phase::Up) {
            self.note(caller.number, octets);
        }
        for pinhole in asked {
            self.measured(pinhole);
        }
        for slot in slots.into_iter().flatten().flatten() {
            self.schedule(slot);
        }
    }

    fn ended_in_kernel(&mut self, caller: Pinhole, causes: (Cause, Cause), octets: Octets) {
        let Some(carried) = self.carriages.all.get_mut(&caller.number) else { return };
        let leaving = carried.phase == Phase::Leaving;
        if leaving {
            // What the answer to that says is known already.
            carried.phase = Phase::Over;
        }
        self.note(caller.number, octets);
        if leaving {
            return;
        }
        if let Some(carried) = self.carriages.all.remove(&caller.number) {
            // Between two that both may call, the other way goes too.
            self.cut(carried.second(), None);
            self.conclude(&carried, Some(causes));
        }
    }

    /// The kernel has left it.
    fn dropped(&mut self, caller: Pinhole, octets: Octets) {
        let phase = self.carriages.all.get(&caller.number).map(|carried| carried.phase);
        if !matches!(phase, Some(Phase::Leaving | Phase::Over)) {
            return;
        }
        let told = self.carriages.all.get(&caller.number).is_some_and(|carried| carried.farewell);
        // Nothing: nobody knows any more what it had in the end.
        if phase == Some(Phase::Leaving) && told && octets != (0, 0) {
            self.note(caller.number, octets);
        }
        let Some(carried) = self.carriages.all.remove(&caller.number) else { return };
        self.conclude(&carried, carried.farewell.then_some(carried.parting));
    }

    /// The kernel has nothing to do with it any more.
    fn conclude(&mut self, carried: &Carried, causes: Option<(Cause, Cause)>) {
        let [caller, callee] = self.slots(carried);
        if let Some((of_caller, of_callee)) = causes {
            let mut ends = [(caller, of_caller), (callee, of_callee)];
            if of_caller == Cause::FarSide {
                // Who began it is told of first.
                ends.reverse();
            }
            for (slot, cause) in ends {
                let Some(slot) = slot else { continue };
                self.end_one(slot, Some(cause), false, true);
                if let Some(hole) = self.hole(slot) {
                    hole.waiting_until = None;
                }
            }
        }
        for pinhole in carried.rare.iter().flat_map(|rare| &rare.asked) {
            self.measured(*pinhole);
        }
        self.wake(carried);
        for number in carried.names() {
            // The group is not looked at.
            if self.carriages.have(Pinhole { group: 0, number }) {
                continue;
            }
            match self.carriages.leaving.remove(&number) {
                Some((name, Then::Release)) => self.finish(name),
                Some((name, Then::Regroup(group))) => self.regroup(name, group),
                None => {}
            }
        }
    }
}
