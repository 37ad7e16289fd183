//! Pairs that the kernel carries (TS 23.334 §5.16.1): what a loop does about them.
//!
//! Which engine a pair has is weighed anew whenever something that it depends on changes. A pair for the kernel is
//! *armed* while both gates are open and nobody has come: the kernel leads the caller who is expected on to the far side.
//! Whoever else comes is accepted by the loop, and judged as always; then the pair is the loop's, and the kernel is told
//! to leave it. The loop calls nobody before it has.
//!
//! What of a connection cannot be done in the kernel as in a relay: it is one connection from end to end. Two
//! pinholes that part, or of which one goes elsewhere, lose it, and both peers are told. A gate that lets octets
//! pass one way only lets none pass.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use carnet_gateway::engine::{Choice, Engine, Side, choose};
use carnet_gateway::media::{Cause, Event, Gate, Pinhole, Reason};

use super::Witness;
use super::clock::Moment;
use super::hole::{Hole, Link, Origin, Told};
use super::kernel::{Carriage, Octets, Order, Report, Terms};
use super::socket;
use super::worker::Worker;

/// All pairs of a loop that the kernel has something to do with.
#[derive(Debug, Default)]
pub(super) struct Carriages {
    /// By the number of the caller's pinhole.
    all: HashMap<u64, Box<Carried>>,
    /// From the number of the callee's pinhole to that of the caller's.
    callees: HashMap<u64, u64>,
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

#[derive(Debug)]
struct Carried {
    carriage: Carriage,
    terms: Terms,
    phase: Phase,
    /// What the counters of the two pinholes have of this connection.
    noted: Octets,
    /// Counters were asked for, for these.
    asked: Vec<Pinhole>,
    counting: bool,
    /// How the end is to be told of, to the caller's side and to the callee's.
    farewell: Option<(Cause, Cause)>,
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
        self.all.contains_key(&pinhole.number) || self.callees.contains_key(&pinhole.number)
    }

    /// There are new settings: the kernel may like them.
    pub(super) fn try_again(&mut self, pinhole: Pinhole) {
        self.refused.remove(&pinhole.number);
    }

    /// What is carried from or to this pinhole: the numbers of the callers.
    fn of(&self, pinhole: Pinhole) -> impl Iterator<Item = u64> + use<> {
        let called = self.all.contains_key(&pinhole.number).then_some(pinhole.number);
        let calls = self.callees.get(&pinhole.number).copied();
        [called, calls].into_iter().flatten()
    }

    /// The connection of this pinhole.
    fn up(&mut self, pinhole: Pinhole) -> Option<&mut Box<Carried>> {
        let up = |number: &u64| self.all.get(number).is_some_and(|carried| carried.phase == Phase::Up);
        let number = self.of(pinhole).find(up)?;
        self.all.get_mut(&number)
    }

    fn remove(&mut self, number: u64) -> Option<Box<Carried>> {
        let carried = self.all.remove(&number)?;
        let callee = carried.carriage.callee.0.number;
        if self.callees.get(&callee) == Some(&number) {
            self.callees.remove(&callee);
        }
        Some(carried)
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
            let carried = self.carriages.of(name).find(|number| {
                self.carriages.all.get(number).is_some_and(|carried| carried.phase == Phase::Up)
            })?;
            self.carriages
                .all
                .get(&carried)
                .map(|carried| (carried.carriage.caller.0, carried.carriage.callee.0))
        });
        if let Some((caller, callee)) = up {
            let together = caller == a && callee == b || caller == b && callee == a;
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
                has.is_none_or(|has| has.carriage != *carriage)
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
        let open = |hole: Option<&Hole>| hole.is_some_and(|hole| hole.gate == Gate::SendReceive);
        Terms {
            held: !(open(caller) && open(callee)),
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
            (Some(carried), Some(carriage))
                if carried.phase == Phase::Armed && carried.carriage == carriage =>
            {
                self.adjust(caller);
            }
            (Some(_), _) => self.cut(caller.number, None),
        }
    }

    fn arm(&mut self, carriage: Carriage) {
        let caller = carriage.caller.0.number;
        let terms = self.terms(&carriage);
        self.carriages.callees.insert(carriage.callee.0.number, caller);
        let carried = Carried {
            carriage,
            terms,
            phase: Phase::Armed,
            noted: (0, 0),
            asked: Vec::new(),
            counting: false,
            farewell: None,
        };
        self.carriages.all.insert(caller, Box::new(carried));
        self.kernel.order(Order::Carry { carriage, terms });
    }

    /// Tells the kernel of other terms, if they are.
    fn adjust(&mut self, caller: Pinhole) {
        let Some(carriage) = self.carriages.all.get(&caller.number).map(|carried| carried.carriage) else {
            return;
        };
        let terms = self.terms(&carriage);
        if let Some(carried) = self.carriages.all.get_mut(&caller.number)
            && carried.terms != terms
        {
            carried.terms = terms;
            self.kernel.order(Order::Carry { carriage, terms });
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
        if carried.phase == Phase::Up {
            carried.farewell = Some(causes.unwrap_or((Cause::FarSide, Cause::FarSide)));
        }
        carried.phase = Phase::Leaving;
        let (caller, local) = carried.carriage.caller;
        self.kernel.order(Order::Drop { caller, local });
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
        carried.asked.push(pinhole);
        let (caller, local) = carried.carriage.caller;
        if !std::mem::replace(&mut carried.counting, true) {
            self.kernel.order(Order::Count { caller, local });
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
        if let Some(carried) = self.carriages.up(name)
            && !std::mem::replace(&mut carried.counting, true)
        {
            let (caller, local) = carried.carriage.caller;
            self.kernel.order(Order::Count { caller, local });
        }
    }

    fn refused(&mut self, caller: Pinhole) {
        // If it is leaving, the answer to that is yet to come.
        let carried = self.carriages.all.get(&caller.number);
        if carried.is_none_or(|carried| carried.phase != Phase::Armed) {
            return;
        }
        if let Some(carried) = self.carriages.remove(caller.number) {
            self.carriages.refused.insert(caller.number);
            self.wake(&carried);
        }
    }

    /// Both pinholes have something to do.
    fn wake(&mut self, carried: &Carried) {
        for name in [carried.carriage.caller.0, carried.carriage.callee.0] {
            let Some(slot) = self.slot(name) else { continue };
            if let Some(hole) = self.hole(slot) {
                hole.unweighed = true;
            }
            self.queue(slot);
        }
    }

    fn established_in_kernel(&mut self, caller: Pinhole, peer: std::net::SocketAddr) {
        let Some(carried) = self.carriages.all.get_mut(&caller.number) else { return };
        if carried.phase != Phase::Armed {
            return;
        }
        carried.phase = Phase::Up;
        let Carriage { callee: (callee, _), to, .. } = carried.carriage;
        // Between two that both may call, the other way is shut now.
        self.cut(callee.number, None);
        for (name, peer) in [(caller, peer), (callee, to)] {
            let Some(slot) = self.slot(name) else { continue };
            let Some(hole) = self.hole(slot) else { continue };
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

    fn note(&mut self, carriage: &Carriage, noted: Octets, octets: Octets) {
        let now = self.now;
        let turned = |(one, other): Octets| (other, one);
        if let Some(hole) = self.slot(carriage.caller.0).and_then(|slot| self.hole(slot)) {
            hole.note_counters(noted, octets, now);
        }
        if let Some(hole) = self.slot(carriage.callee.0).and_then(|slot| self.hole(slot)) {
            hole.note_counters(turned(noted), turned(octets), now);
        }
    }

    fn counted(&mut self, caller: Pinhole, octets: Octets) {
        let Some(carried) = self.carriages.all.get_mut(&caller.number) else { return };
        if !std::mem::take(&mut carried.counting) {
            return;
        }
        let asked = std::mem::take(&mut carried.asked);
        let carriage = carried.carriage;
        // Asked too late: what it had in the end is told otherwise.
        if carried.phase == Phase::Up {
            let noted = std::mem::replace(&mut carried.noted, octets);
            self.note(&carriage, noted, octets);
        }
        for pinhole in asked {
            self.measured(pinhole);
        }
        for name in [carriage.caller.0, carriage.callee.0] {
            if let Some(slot) = self.slot(name) {
                self.schedule(slot);
            }
        }
    }

    fn ended_in_kernel(&mut self, caller: Pinhole, causes: (Cause, Cause), octets: Octets) {
        let Some(carried) = self.carriages.all.get_mut(&caller.number) else { return };
        let (carriage, noted) = (carried.carriage, carried.noted);
        if carried.phase == Phase::Leaving {
            // What the answer to that says is known already.
            carried.phase = Phase::Over;
            carried.noted = octets;
            return self.note(&carriage, noted, octets);
        }
        self.note(&carriage, noted, octets);
        if let Some(carried) = self.carriages.remove(caller.number) {
            // Between two that both may call, the other way goes too.
            self.cut(carriage.callee.0.number, None);
            self.conclude(&carried, Some(causes));
        }
    }

    /// The kernel has left it.
    fn dropped(&mut self, caller: Pinhole, octets: Octets) {
        let phase = self.carriages.all.get(&caller.number).map(|carried| carried.phase);
        if !matches!(phase, Some(Phase::Leaving | Phase::Over)) {
            return;
        }
        let Some(carried) = self.carriages.remove(caller.number) else { return };
        // Nothing: nobody knows any more what it had in the end.
        if carried.phase == Phase::Leaving && carried.farewell.is_some() && octets != (0, 0) {
            self.note(&carried.carriage, carried.noted, octets);
        }
        self.conclude(&carried, carried.farewell);
    }

    /// The kernel has nothing to do with it any more.
    fn conclude(&mut self, carried: &Carried, causes: Option<(Cause, Cause)>) {
        let (caller, callee) = (carried.carriage.caller.0, carried.carriage.callee.0);
        if let Some((of_caller, of_callee)) = causes {
            let mut ends = [(caller, of_caller), (callee, of_callee)];
            if of_caller == Cause::FarSide {
                // Who began it is told of first.
                ends.reverse();
            }
            for (name, cause) in ends {
                let Some(slot) = self.slot(name) else { continue };
                self.end_one(slot, Some(cause), false, true);
                if let Some(hole) = self.hole(slot) {
                    hole.waiting_until = None;
                }
            }
        }
        for pinhole in &carried.asked {
            self.measured(*pinhole);
        }
        self.wake(carried);
        for pinhole in [caller, callee] {
            if self.carriages.have(pinhole) {
                continue;
            }
            match self.carriages.leaving.remove(&pinhole.number) {
                Some((name, Then::Release)) => self.finish(name),
                Some((name, Then::Regroup(group))) => self.regroup(name, group),
                None => {}
            }
        }
    }
}
