//! One event loop: its pinholes, their sockets, its timetable.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carnet_gateway::media::{Cause, Command, Event, Gate, Pinhole, Refusal, Settings, Statistics};
use hashbrown::HashTable;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use socket2::Socket;
use tokio::sync::mpsc;

use super::carried::{Carriages, Then};
use super::certificates::{Certificates, Shown};
use super::clock::{Clock, Moment};
use super::doors::{DOOR, Doors, Steering};
use super::flow::Tools;
use super::hole::{Anchor, Hole, Link};
use super::kernel::Kernel;
use super::memory::Memory;
use super::pipes::Pipes;
use super::ports::{Lease, Ports};
use super::post::{Bell, Reports};
use super::regroup::Dock;
use super::{EngineConfig, Witness, host, slim, socket};
use crate::OsRandom;

/// Events taken from the kernel and commands taken from the queue at once.
pub(super) const BATCH: usize = 256;
const COMMANDS: usize = 256;
/// Reports waiting because the event queue is full, before commands and connections wait too.
pub(super) const OUTBOX: usize = 1024;
/// How often a full event queue and a host without descriptors are tried again.
pub(super) const RETRY: Duration = Duration::from_millis(20);

const WAKE: u64 = u64::MAX;

/// What all loops have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) config: Arc<EngineConfig>,
    pub(super) ports: Arc<Ports>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) memory: Arc<Memory>,
    pub(super) docks: Arc<[Arc<Dock>]>,
}

pub(super) struct Worker {
    pub(super) config: Arc<EngineConfig>,
    pub(super) ports: Arc<Ports>,
    certificates: Arc<Certificates>,
    pub(super) doors: Doors,
    pub(super) epoll: OwnedFd,
    pub(super) bell: Arc<Bell>,
    /// Of all loops, and of this one.
    pub(super) docks: Arc<[Arc<Dock>]>,
    pub(super) dock: Arc<Dock>,
    commands: mpsc::Receiver<Command>,
    /// There may be commands waiting.
    more_commands: bool,
    reports: Reports,
    pub(super) outbox: VecDeque<Event>,
    pub(super) holes: Vec<Option<Hole>>,
    vacant: Vec<u32>,
    /// The slots by the number of the pinhole there, which tells those of all groups apart.
    names: HashTable<u32>,
    hasher: RandomState,
    /// What is to happen when. Only those entries count that are noted in their pinhole.
    timetable: BinaryHeap<Reverse<(Moment, u32)>>,
    /// Entries that are known to count no longer.
    stale: usize,
    /// Pinholes with something to do.
    pub(super) run: VecDeque<u32>,
    pub(super) tools: Tools,
    /// How many connections may still be accepted in this turn, and the pinholes that found none left.
    pub(super) accepts: usize,
    pub(super) postponed: Vec<u32>,
    /// A descriptor of this number or more means that few are left.
    pub(super) most_open: usize,
    /// When there were none left.
    pub(super) shed: Option<Moment>,
    serial: u32,
    clock: Clock,
    pub(super) now: Moment,
    /// Who has the kernel carry pairs.
    pub(super) kernel: Kernel,
    /// What it carries, or is to.
    pub(super) carriages: Carriages,
    /// Steps of handshakes that this turn of the loop may still do.
    pub(super) handshakes: usize,
}

impl Worker {
    pub(super) fn new(
        shared: Shared,
        dock: Arc<Dock>,
        commands: mpsc::Receiver<Command>,
        reports: Reports,
        kernel: Kernel,
    ) -> io::Result<Self> {
        let Shared { config, ports, certificates, memory, docks } = shared;
        let bell = Arc::clone(&dock.bell);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(WAKE);
        epoll::add(&epoll, bell.descriptor(), data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        let tools = Tools {
            buffer: vec![0; config.copy_buffer].into_boxed_slice(),
            pipes: Pipes::new(config.pipes, config.pipe_size),
            memory,
            splice: config.splice,
            witness: config.witness,
            most_in_pipe: config.pipe_octets,
            socket_buffer: config.socket_buffer,
            bench: None,
            passed: 0,
        };
        Ok(Self {
            config,
            ports,
            certificates,
            doors: Doors::default(),
            epoll,
            bell,
            docks,
            dock,
            commands,
            more_commands: false,
            reports,
            outbox: VecDeque::new(),
            holes: Vec::new(),
            vacant: Vec::new(),
            names: HashTable::new(),
            hasher: RandomState::new(),
            timetable: BinaryHeap::new(),
            stale: 0,
            run: VecDeque::new(),
            tools,
            accepts: 0,
            postponed: Vec::new(),
            most_open: host::most_open(),
            shed: None,
            serial: 0,
            clock: Clock::start(),
            now: Moment::START,
            kernel,
            carriages: Carriages::default(),
            handshakes: 0,
        })
    }

    /// Runs until the last handle is dropped.
    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(BATCH);
        while self.round(&mut ready, self.timeout()) {}
    }

    /// Waits, no longer than this, and does what there is to do. False: that was the last round.
    pub(super) fn round(&mut self, ready: &mut Vec<epoll::Event>, timeout: Option<Duration>) -> bool {
        let timeout = timeout.map(timespec);
        ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(ready), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Our own descriptor cannot go bad; if it does there is no way to go on.
            Err(error) => {
                tracing::error!(%error, "media engine thread ends");
                return false;
            }
        }
        self.now = self.clock.now();
        for event in &*ready {
            let epoll::Event { flags, data } = *event;
            self.on_event(data.u64(), flags);
        }
        if self.bell.answer() {
            self.take_arrivals();
            self.take_reports();
            self.more_commands = true;
        }
        if self.more_commands && self.has_room() {
            match self.take_commands() {
                Some(more) => self.more_commands = more,
                None => return false,
            }
        }
        self.on_time();
        self.turn();
        // Once a round, so that loops do not meet at the same count for every read.
        match std::mem::take(&mut self.tools.passed) {
            0 => {}
            passed => self.tools.memory.note_passed(passed),
        }
        self.kernel.hand_over();
        self.reports.hand_over(&mut self.outbox);
        true
    }

    /// How long it may wait.
    fn timeout(&self) -> Option<Duration> {
        if !self.run.is_empty() || self.more_commands && self.has_room() {
            return Some(Duration::ZERO);
        }
        let next = self.timetable.peek().map(|Reverse((at, _))| *at);
        let next = [next, self.doors.next(self.now)].into_iter().flatten().min();
        let next = next.map(|at| at.since(self.clock.now()));
        if self.outbox.is_empty() { next } else { Some(next.unwrap_or(RETRY).min(RETRY)) }
    }

    /// A command may be taken: what follows from it can be reported and ordered.
    fn has_room(&self) -> bool {
        self.outbox.len() < OUTBOX && self.kernel.has_room()
    }

    pub(super) fn report(&mut self, event: Event) {
        self.outbox.push_back(event);
    }

    /// Takes a batch. `Some(true)`: there may be more. `None`: the handles are gone.
    fn take_commands(&mut self) -> Option<bool> {
        for _ in 0..COMMANDS {
            if !self.kernel.has_room() {
                return Some(true);
            }
            match self.commands.try_recv() {
                Ok(command) => self.command(command),
                Err(mpsc::error::TryRecvError::Empty) => return Some(false),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
            }
        }
        Some(true)
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Reserve { pinhole, realm, family, tls } => {
                if let Err(reason) = self.reserve(pinhole, realm.as_deref(), family, tls) {
                    self.report(Event::Refused { pinhole, reason });
                }
            }
            Command::Adopt { pinhole, realm, local } => {
                if let Err(reason) = self.adopt(pinhole, realm.as_deref(), local) {
                    self.report(Event::Refused { pinhole, reason });
                }
            }
            Command::Configure { pinhole, settings } => {
                if let Some(slot) = self.slot(pinhole) {
                    self.configure(slot, settings);
                }
            }
            Command::Join { a, b } => {
                if let (Some(a), Some(b)) = (self.slot(a), self.slot(b)) {
                    self.join(a, b);
                }
            }
            Command::Part { pinhole } => {
                if let Some(slot) = self.slot(pinhole) {
                    self.part(slot);
                }
            }
            Command::Regroup { pinhole, group } => self.regroup(pinhole, group),
            Command::Connect { pinhole } => {
                if let Some(slot) = self.slot(pinhole)
                    && let Some(hole) = self.hole(slot)
                {
                    hole.told_to_connect = true;
                    hole.ended = false;
                    hole.unweighed = true;
                    self.queue(slot);
                }
            }
            Command::Disconnect { pinhole } => {
                if let Some(slot) = self.slot(pinhole)
                    && !self.disconnect_in_kernel(slot)
                {
                    self.end(slot, Cause::Released, Cause::FarSide, false);
                }
            }
            Command::Release { pinhole } => {
                let slot = self.slot(pinhole);
                let causes = (Cause::Released, Cause::FarSide);
                if slot.is_none_or(|slot| !self.leaves_the_kernel(slot, Then::Release, causes)) {
                    self.finish(pinhole);
                }
            }
            Command::Measure { pinhole } => {
                if !self.measure_in_kernel(pinhole) {
                    self.measured(pinhole);
                }
            }
            // A relay has none.
            Command::Conference { .. } | Command::Decide { .. } => {}
        }
    }

    pub(super) fn hole(&mut self, slot: u32) -> Option<&mut Hole> {
        self.holes.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn peek(&self, slot: u32) -> Option<&Hole> {
        self.holes.get(slot as usize)?.as_ref()
    }

    pub(super) fn slot(&self, pinhole: Pinhole) -> Option<u32> {
        self.slot_of(pinhole.number)
    }

    /// The slot of the pinhole with this number.
    pub(super) fn slot_of(&self, number: u64) -> Option<u32> {
        let is_it = |slot: &u32| self.peek(*slot).is_some_and(|hole| hole.name.number == number);
        self.names.find(self.hasher.hash_one(number), is_it).copied()
    }

    pub(super) fn far(&self, slot: u32) -> Option<u32> {
        self.peek(slot)?.joined()
    }

    pub(super) fn queue(&mut self, slot: u32) {
        if let Some(hole) = self.hole(slot)
            && !hole.queued
        {
            hole.queued = true;
            self.run.push_back(slot);
        }
    }

    pub(super) fn next_serial(&mut self) -> u32 {
        // 0 stands for none, the last for a listener of the loop.
        self.serial = self.serial.checked_add(1).filter(|serial| *serial != DOOR).unwrap_or(1);
        self.serial
    }

    /// Takes an address. `Bound` is reported at once, or when callers are steered.
    fn reserve(
        &mut self,
        name: Pinhole,
        realm: Option<&str>,
        family: Option<carnet_gateway::media::Family>,
        tls: bool,
    ) -> Result<(), Refusal> {
        if self.slot(name).is_some() {
            return Err(Refusal::System);
        }
        if self.names.len() >= self.config.pinholes {
            return Err(Refusal::NoPort);
        }
        let shown = match tls {
            true => Some(self.certificates.of(realm, SystemTime::now())?),
            false => None,
        };
        // Ports of ours that somebody else has taken rest like any other.
        let mut taken = Vec::new();
        let found = loop {
            let lease = match self.ports.lease(realm, family, &mut OsRandom) {
                Ok(lease) => lease,
                Err(refusal) => break Err(refusal),
            };
            let local = self.ports.local(&lease);
            match self.hold(&lease) {
                Ok(socket) => break Ok((lease, socket)),
                Err(error) => {
                    taken.push(lease);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        tracing::warn!(%error, %local, "cannot reserve an address");
                        break Err(Refusal::System);
                    }
                }
            }
        };
        taken.into_iter().for_each(|lease| self.ports.give_back(lease));
        let (lease, socket) = found?;
        self.begin(name, lease, socket, shown)
    }

    /// Takes up a pinhole of an earlier process.
    fn adopt(&mut self, name: Pinhole, realm: Option<&str>, local: SocketAddr) -> Result<(), Refusal> {
        if self.slot(name).is_some() {
            return Err(Refusal::System);
        }
        if self.names.len() >= self.config.pinholes {
            return Err(Refusal::NoPort);
        }
        let lease = self.ports.lease_again(realm, local)?;
        match self.hold(&lease) {
            Ok(socket) => self.begin(name, lease, socket, None),
            Err(error) => {
                tracing::warn!(%error, %local, "cannot take up an address again");
                self.ports.give_back(lease);
                let taken = error.kind() == io::ErrorKind::AddrInUse;
                Err(if taken { Refusal::NoPort } else { Refusal::System })
            }
        }
    }

    /// Makes a pinhole. Without a socket, callers are steered to it before it is told of.
    fn begin(
        &mut self,
        name: Pinhole,
        lease: Lease,
        socket: Option<Socket>,
        shown: Option<Arc<Shown>>,
    ) -> Result<(), Refusal> {
        let steered = socket.is_none();
        let mut hole = Hole::new(name, lease, socket, self.now);
        if self.config.witness != Witness::Off {
            hole.rare().observer = Some(Box::default());
        }
        if let Some(shown) = shown {
            hole.end_tls(shown);
        }
        let local = self.ports.local(&hole.lease);
        let slot = self.occupy(hole).ok_or(Refusal::NoPort)?;
        let keeps = self.keep_from_the_start(slot);
        if !steered {
            if !keeps {
                self.report_bound(slot);
            }
        } else if let Err(error) = self.steer(slot, local) {
            tracing::warn!(%error, %local, "there is no listener for callers; pinholes have sockets");
            self.steered(name, false);
        }
        Ok(())
    }

    /// Sees that nobody else has an address of ours: by a socket there, if callers are not to be steered.
    fn hold(&self, lease: &Lease) -> io::Result<Option<Socket>> {
        let local = self.ports.local(lease);
        if self.may_steer(local) {
            socket::is_free(local).map(|()| None)
        } else {
            let user_timeout = self.ports.ward(lease).and_then(|ward| ward.guard.user_timeout);
            socket::of_pinhole(local, None, user_timeout).map(Some)
        }
    }

    /// Gives a pinhole that has none a socket.
    pub(super) fn bind(&mut self, slot: u32, local: SocketAddr) -> io::Result<()> {
        let Self { holes, ports, .. } = self;
        if let Some(Some(hole)) = holes.get_mut(slot as usize) {
            let user_timeout = ports.ward(&hole.lease).and_then(|ward| ward.guard.user_timeout);
            let socket = socket::of_pinhole(local, hole.dscp, user_timeout)?;
            hole.anchor = Some(Anchor::new(socket));
        }
        Ok(())
    }

    /// The answer to `Reserve`.
    pub(super) fn report_bound(&mut self, slot: u32) {
        let Some(hole) = self.peek(slot) else { return };
        let (pinhole, local) = (hole.name, self.ports.local(&hole.lease));
        let fingerprint = hole.fingerprint();
        self.report(Event::Bound { pinhole, local, fingerprint });
    }

    /// Gives a pinhole a slot. There are fewer than 2^32, so it always gets one.
    pub(super) fn occupy(&mut self, hole: Hole) -> Option<u32> {
        let number = hole.name.number;
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.holes.len()).ok()?;
                if self.holes.len() == self.holes.capacity() {
                    self.holes.reserve_exact(slim::growth(self.holes.len()));
                }
                self.holes.push(None);
                slot
            }
        };
        if let Some(place) = self.holes.get_mut(slot as usize) {
            *place = Some(hole);
        }
        let Self { names, hasher, holes, .. } = self;
        let hash = |slot: &u32| {
            let hole = holes.get(*slot as usize).and_then(Option::as_ref);
            hasher.hash_one(hole.map_or(number, |hole| hole.name.number))
        };
        names.insert_unique(hasher.hash_one(number), slot, hash);
        Some(slot)
    }

    /// Takes a pinhole out of its slot.
    pub(super) fn vacate(&mut self, slot: u32, name: Pinhole) -> Option<Hole> {
        if let Ok(entry) = self.names.find_entry(self.hasher.hash_one(name.number), |named| *named == slot) {
            entry.remove();
        }
        let hole = self.holes.get_mut(slot as usize)?.take()?;
        self.vacant.push(slot);
        Some(hole)
    }

    fn configure(&mut self, slot: u32, settings: Settings) {
        let now = self.now;
        let incoming = self.config.timers.incoming;
        let Self { holes, ports, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        let was_open = hole.gate != Gate::Inactive;
        let open = settings.gate != Gate::Inactive;
        if open && (!was_open || hole.ended) {
            hole.waiting_until = Some(now.plus(incoming));
        }
        if !open {
            hole.waiting_until = None;
        }
        hole.reopen();
        if hole.dscp != settings.dscp {
            let local = ports.local(&hole.lease);
            if let Some(anchor) = &hole.anchor {
                socket::mark(&anchor.socket, local, settings.dscp);
            }
            if let Link::Up(connection) = &hole.link {
                socket::mark(&connection.socket, local, settings.dscp);
            }
        }
        hole.set(settings, now);
        let slot_name = hole.name;
        self.judge_anew(slot);
        self.carriages.try_again(slot_name);
        self.queue(slot);
        if let Some(far) = self.far(slot) {
            self.queue(far);
        }
    }

    fn join(&mut self, a: u32, b: u32) {
        if a == b || self.far(a) == Some(b) {
            return;
        }
        for slot in [a, b] {
            if self.far(slot).is_some() {
                self.part(slot);
            }
        }
        for (slot, far) in [(a, b), (b, a)] {
            if let Some(hole) = self.hole(slot) {
                hole.join(Some(far));
            }
            self.queue(slot);
        }
    }

    pub(super) fn measured(&mut self, pinhole: Pinhole) {
        let now = self.now;
        let hole = self.slot(pinhole).and_then(|slot| self.peek(slot));
        let statistics = hole.map(|hole| hole.statistics(now)).unwrap_or_default();
        self.report(Event::Measured { pinhole, statistics });
    }

    /// Lets a pinhole go, and says so.
    pub(super) fn finish(&mut self, pinhole: Pinhole) {
        let statistics = self.release(pinhole);
        self.report(Event::Released { pinhole, statistics });
    }

    pub(super) fn release(&mut self, name: Pinhole) -> Statistics {
        let Some(slot) = self.slot(name) else {
            return Statistics::default();
        };
        if self.peek(slot).is_some_and(|hole| hole.steering == Steering::Reserving)
            || self.carriages.unbound.remove(&name.number)
        {
            // Nobody waits for the address any more, but each `Reserve` is answered.
            self.report_bound(slot);
        }
        // What has been read is given a last chance to leave.
        self.relay(slot);
        self.end(slot, Cause::Released, Cause::FarSide, false);
        let Some(hole) = self.vacate(slot, name) else {
            return Statistics::default();
        };
        if let Some(far) = hole.joined()
            && let Some(far) = self.hole(far)
        {
            far.join(None);
        }
        let statistics = hole.statistics(self.now);
        self.unsteer(&hole);
        self.forget_callers(&hole);
        // The port is free once the sockets are gone.
        let Hole { lease, .. } = hole;
        self.ports.give_back(lease);
        statistics
    }

    fn on_event(&mut self, token: u64, flags: epoll::EventFlags) {
        if token == WAKE {
            return;
        }
        let (slot, serial) = (token as u32, (token >> 32) as u32);
        if serial == DOOR {
            return self.doors.knock(slot);
        }
        let Some(hole) = self.hole(slot) else { return };
        let broken = flags.contains(epoll::EventFlags::ERR);
        if let Some(anchor) = &mut hole.anchor
            && anchor.serial == serial
        {
            anchor.ready = anchor.listening;
            if anchor.ready {
                self.queue(slot);
            }
            return;
        }
        match &mut hole.link {
            Link::Up(connection) if connection.serial == serial => self.on_connection(slot, flags),
            Link::Connecting(attempt) if attempt.serial == serial => {
                if broken || flags.contains(epoll::EventFlags::HUP) {
                    self.attempt_failed(slot);
                } else if flags.contains(epoll::EventFlags::OUT) {
                    self.connected(slot, flags);
                }
            }
            _ => self.on_standby(slot, serial, flags),
        }
    }

    fn on_time(&mut self) {
        while let Some(&Reverse((at, slot))) = self.timetable.peek() {
            if at > self.now {
                break;
            }
            self.timetable.pop();
            if self.peek(slot).is_none_or(|hole| hole.scheduled != Some(at)) {
                continue;
            }
            let now = self.now;
            let timers = self.config.timers;
            let far_up = self.far_is_up(slot);
            let Some(ward) = self.ward(slot).map(Arc::clone) else { continue };
            let Some(hole) = self.hole(slot) else { continue };
            hole.scheduled = None;
            hole.resume(now);
            if let Some(direction) = hole.fallen_silent(now) {
                let pinhole = hole.name;
                self.report(Event::Inactive { pinhole, direction });
            }
            if self.peek(slot).is_some_and(|hole| hole.has_stayed(now)) {
                self.has_begun(slot);
            }
            let Some(hole) = self.hole(slot) else { continue };
            if hole.is_up() && hole.waiting_until.is_some_and(|at| at <= now) {
                hole.waiting_until = None;
            }
            if far_up {
                hole.keep_alive(now, &ward.guard);
                if hole.is_slow(now, &ward.guard) {
                    self.too_slow(slot);
                    continue;
                }
            }
            if hole.tls_is_late(now) {
                self.unsealed(slot, &carnet_tls::Error::Timeout(Duration::ZERO));
                continue;
            }
            match &mut hole.link {
                Link::Down if hole.waiting_until.is_some_and(|at| at <= now) => {
                    hole.waiting_until = None;
                    let waited = hole.wants_callers();
                    if waited {
                        let why = hole.rare_if_any().and_then(|rare| rare.unsealed.take());
                        self.end(slot, why.map_or(Cause::NobodyCame, Cause::Tls), Cause::FarSide, true);
                    }
                }
                Link::Connecting(attempt) => {
                    if attempt.again.is_some_and(|at| at <= now) {
                        self.attempt(slot);
                    } else if attempt.give_up <= now {
                        self.end(slot, Cause::ConnectFailed, Cause::FarSide, true);
                    }
                }
                Link::Up(connection) if !far_up && connection.since.plus(timers.unspliced) <= now => {
                    self.end(slot, Cause::FarSide, Cause::FarSide, true);
                }
                _ => {}
            }
            self.schedule(slot);
            self.queue(slot);
        }
    }

    /// Enters the pinhole's next deadline into the timetable. One that is entered too early stays:
    /// it costs a glance, while moving it with every message would cost more.
    pub(super) fn schedule(&mut self, slot: u32) {
        let far_up = self.far_is_up(slot);
        let Some((hole, ward)) = self.peek(slot).zip(self.ward(slot)) else { return };
        let Some(next) = hole.deadline(far_up, &self.config.timers, &ward.guard) else {
            return;
        };
        let Some(hole) = self.hole(slot) else { return };
        if hole.scheduled.is_some_and(|at| at <= next) {
            return;
        }
        hole.scheduled = Some(next);
        self.timetable.push(Reverse((next, slot)));
        if self.timetable.len() > 2 * self.names.len() + 64 {
            // More than one entry of a pinhole counts no longer.
            self.tidy_timetable();
        }
    }

    /// The pinhole's entry counts no longer. It goes with the others when half of the timetable are such.
    pub(super) fn unschedule(&mut self, slot: u32) {
        if self.hole(slot).is_some_and(|hole| hole.scheduled.take().is_some()) {
            self.stale += 1;
            if self.stale > 64 && self.stale > self.timetable.len() / 2 {
                self.tidy_timetable();
            }
        }
    }

    fn tidy_timetable(&mut self) {
        let Self { holes, timetable, stale, .. } = self;
        timetable.retain(|Reverse((at, slot))| {
            let hole = holes.get(*slot as usize).and_then(Option::as_ref);
            hole.is_some_and(|hole| hole.scheduled == Some(*at))
        });
        timetable.shrink_to(2 * timetable.len());
        *stale = 0;
    }

    pub(super) fn far_is_up(&self, slot: u32) -> bool {
        let far = self.far(slot).and_then(|far| self.peek(far));
        far.is_some_and(Hole::is_up)
    }
}

fn timespec(duration: Duration) -> Timespec {
    // Rounded up to a millisecond: waking too early means waking again.
    let duration = duration + Duration::from_micros(999);
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_millis()) * 1_000_000,
    }
}
