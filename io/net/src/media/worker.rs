//! One event loop: its pinholes, their sockets, its timetable.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carnet_gateway::media::{Cause, Command, Event, Gate, Pinhole, Refusal, Settings, Statistics};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::flow::Tools;
use super::hole::{Anchor, Connection, Hole, Link};
use super::pipes::Pipes;
use super::ports::Ports;
use super::post::{Bell, Reports};
use super::{EngineConfig, Witness, socket};

/// Events taken from the kernel and commands taken from the queue at once.
const BATCH: usize = 256;
const COMMANDS: usize = 256;
/// Reports waiting because the event queue is full, before commands and connections wait too.
pub(super) const OUTBOX: usize = 1024;
/// How often a full event queue and a host without descriptors are tried again.
pub(super) const RETRY: Duration = Duration::from_millis(20);

const WAKE: u64 = u64::MAX;

pub(super) struct Worker {
    pub(super) config: Arc<EngineConfig>,
    ports: Arc<Ports>,
    pub(super) epoll: OwnedFd,
    bell: Arc<Bell>,
    commands: mpsc::Receiver<Command>,
    reports: Reports,
    pub(super) outbox: VecDeque<Event>,
    pub(super) holes: Vec<Option<Box<Hole>>>,
    vacant: Vec<u32>,
    names: HashMap<Pinhole, u32>,
    pub(super) timetable: BTreeSet<(Instant, u32)>,
    /// Pinholes with something to do.
    pub(super) run: VecDeque<u32>,
    pub(super) tools: Tools,
    serial: u32,
    pub(super) now: Instant,
}

impl Worker {
    pub(super) fn new(
        config: Arc<EngineConfig>,
        ports: Arc<Ports>,
        bell: Arc<Bell>,
        commands: mpsc::Receiver<Command>,
        reports: Reports,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(WAKE);
        epoll::add(&epoll, bell.descriptor(), data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        let tools = Tools {
            buffer: vec![0; config.copy_buffer].into_boxed_slice(),
            pipes: Pipes::new(config.pipes, config.pipe_size),
            splice: config.splice,
            witness: config.witness,
        };
        Ok(Self {
            config,
            ports,
            epoll,
            bell,
            commands,
            reports,
            outbox: VecDeque::new(),
            holes: Vec::new(),
            vacant: Vec::new(),
            names: HashMap::new(),
            timetable: BTreeSet::new(),
            run: VecDeque::new(),
            tools,
            serial: 0,
            now: Instant::now(),
        })
    }

    /// Runs until the last handle is dropped.
    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(BATCH);
        let mut more_commands = false;
        loop {
            let timeout = self.timeout(more_commands).map(timespec);
            ready.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                // Our own descriptor cannot go bad; if it does there is no way to go on.
                Err(error) => {
                    tracing::error!(%error, "media engine thread ends");
                    return;
                }
            }
            self.now = Instant::now();
            for event in &ready {
                let epoll::Event { flags, data } = *event;
                self.on_event(data.u64(), flags);
            }
            let room = self.outbox.len() < OUTBOX;
            if room && (self.bell.answer() || more_commands) {
                match self.take_commands() {
                    Some(more) => more_commands = more,
                    None => return,
                }
            }
            self.on_time();
            self.turn();
            self.reports.hand_over(&mut self.outbox);
        }
    }

    fn timeout(&self, more_commands: bool) -> Option<Duration> {
        if !self.run.is_empty() || more_commands && self.outbox.len() < OUTBOX {
            return Some(Duration::ZERO);
        }
        let next = self.timetable.first().map(|(at, _)| *at);
        let next = next.map(|at| at.saturating_duration_since(Instant::now()));
        if self.outbox.is_empty() { next } else { Some(next.unwrap_or(RETRY).min(RETRY)) }
    }

    pub(super) fn report(&mut self, event: Event) {
        self.outbox.push_back(event);
    }

    /// Takes a batch. `Some(true)`: there may be more. `None`: the handles are gone.
    fn take_commands(&mut self) -> Option<bool> {
        for _ in 0..COMMANDS {
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
            Command::Reserve { pinhole, realm, family } => {
                let event = match self.reserve(pinhole, realm.as_deref(), family) {
                    Ok(local) => Event::Bound { pinhole, local },
                    Err(reason) => Event::Refused { pinhole, reason },
                };
                self.report(event);
            }
            Command::Configure { pinhole, settings } => {
                if let Some(&slot) = self.names.get(&pinhole) {
                    self.configure(slot, settings);
                }
            }
            Command::Join { a, b } => {
                if let (Some(&a), Some(&b)) = (self.names.get(&a), self.names.get(&b)) {
                    self.join(a, b);
                }
            }
            Command::Connect { pinhole } => {
                if let Some(&slot) = self.names.get(&pinhole)
                    && let Some(hole) = self.hole(slot)
                {
                    hole.told_to_connect = true;
                    hole.ended = false;
                    self.queue(slot);
                }
            }
            Command::Disconnect { pinhole } => {
                if let Some(&slot) = self.names.get(&pinhole) {
                    self.end(slot, Cause::Released, Cause::FarSide, false);
                }
            }
            Command::Release { pinhole } => {
                let statistics = self.release(pinhole);
                self.report(Event::Released { pinhole, statistics });
            }
            Command::Measure { pinhole } => {
                let now = self.now;
                let hole = self.names.get(&pinhole).copied();
                let statistics = hole
                    .and_then(|slot| self.hole(slot))
                    .map(|hole| hole.statistics(now))
                    .unwrap_or_default();
                self.report(Event::Measured { pinhole, statistics });
            }
        }
    }

    pub(super) fn hole(&mut self, slot: u32) -> Option<&mut Hole> {
        self.holes.get_mut(slot as usize)?.as_deref_mut()
    }

    pub(super) fn peek(&self, slot: u32) -> Option<&Hole> {
        self.holes.get(slot as usize)?.as_deref()
    }

    pub(super) fn far(&self, slot: u32) -> Option<u32> {
        self.peek(slot)?.joined
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
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    fn reserve(
        &mut self,
        name: Pinhole,
        realm: Option<&str>,
        family: Option<carnet_gateway::media::Family>,
    ) -> Result<SocketAddr, Refusal> {
        if self.names.contains_key(&name) {
            return Err(Refusal::System);
        }
        if self.names.len() >= self.config.pinholes {
            return Err(Refusal::NoPort);
        }
        // A port of ours that somebody else has taken is put back behind the others.
        let mut taken = Vec::new();
        let (lease, socket) = loop {
            let lease = self.ports.lease(realm, family)?;
            match socket::bound(lease.local(), None, self.config.socket_buffer) {
                Ok(socket) => break (lease, socket),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken.push(lease),
                Err(error) => {
                    tracing::warn!(%error, local = %lease.local(), "cannot reserve an address");
                    return Err(Refusal::System);
                }
            }
        };
        let local = lease.local();
        let anchor = Anchor { socket, listening: None, ready: false };
        let mut hole = Box::new(Hole::new(name, lease, anchor, self.now));
        if self.config.witness != Witness::Off {
            hole.flow.watch();
        }
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.holes.len()).map_err(|_| Refusal::NoPort)?;
                self.holes.push(None);
                slot
            }
        };
        if let Some(place) = self.holes.get_mut(slot as usize) {
            *place = Some(hole);
        }
        self.names.insert(name, slot);
        Ok(local)
    }

    fn configure(&mut self, slot: u32, settings: Settings) {
        let now = self.now;
        let incoming = self.config.timers.incoming;
        let Some(hole) = self.hole(slot) else { return };
        let was_open = hole.gate() != Gate::Inactive;
        let old = hole.settings.take();
        let open = settings.gate != Gate::Inactive;
        if open && (!was_open || hole.ended) {
            hole.waiting_until = Some(now + incoming);
        }
        if !open {
            hole.waiting_until = None;
        }
        hole.ended = false;
        if old.as_ref().and_then(|old| old.inactivity) != settings.inactivity {
            // The time counts from when it was asked for.
            hole.last_received = now;
            hole.last_sent = now;
            hole.silence_reported = false;
        }
        if old.as_ref().and_then(|old| old.dscp) != settings.dscp {
            let local = hole.lease.local();
            if let Some(anchor) = &hole.anchor {
                socket::mark(&anchor.socket, local, settings.dscp);
            }
            if let Link::Up(connection) = &hole.link {
                socket::mark(&connection.socket, local, settings.dscp);
            }
        }
        hole.flow.limit(settings.rate, now);
        if let Link::Connecting(attempt) = &hole.link
            && (!open || settings.remote != Some(attempt.remote))
        {
            hole.link = Link::Down;
        }
        hole.settings = Some(Box::new(settings));
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
            if let Some(far) = self.far(slot)
                && let Some(hole) = self.hole(far)
            {
                hole.joined = None;
            }
        }
        for (slot, far) in [(a, b), (b, a)] {
            if let Some(hole) = self.hole(slot) {
                hole.joined = Some(far);
            }
            self.queue(slot);
        }
    }

    fn release(&mut self, name: Pinhole) -> Statistics {
        let Some(&slot) = self.names.get(&name) else {
            return Statistics::default();
        };
        // What has been read is given a last chance to leave.
        self.relay(slot);
        self.end(slot, Cause::Released, Cause::FarSide, false);
        self.names.remove(&name);
        let hole = self.holes.get_mut(slot as usize).and_then(Option::take);
        let Some(hole) = hole else {
            return Statistics::default();
        };
        self.vacant.push(slot);
        if let Some(at) = hole.scheduled {
            self.timetable.remove(&(at, slot));
        }
        if let Some(far) = hole.joined
            && let Some(far) = self.hole(far)
        {
            far.joined = None;
        }
        hole.statistics(self.now)
    }

    fn on_event(&mut self, token: u64, flags: epoll::EventFlags) {
        if token == WAKE {
            return;
        }
        let (slot, serial) = (token as u32, (token >> 32) as u32);
        let Some(hole) = self.hole(slot) else { return };
        let broken = flags.contains(epoll::EventFlags::ERR);
        if let Some(anchor) = &mut hole.anchor
            && anchor.listening == Some(serial)
        {
            anchor.ready = true;
            self.queue(slot);
            return;
        }
        match &mut hole.link {
            Link::Up(connection) if connection.serial == serial => {
                if broken {
                    self.end(slot, Cause::Reset, Cause::FarSide, true);
                    return;
                }
                let hangup = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP;
                connection.hangup |= flags.intersects(hangup);
                connection.readable |= flags.intersects(epoll::EventFlags::IN | hangup);
                connection.writable |= flags.contains(epoll::EventFlags::OUT);
                self.queue(slot);
            }
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

    /// A standby connection spoke or went away.
    fn on_standby(&mut self, slot: u32, serial: u32, flags: epoll::EventFlags) {
        let now = self.now;
        let Some(hole) = self.hole(slot) else { return };
        let Some(index) = hole.standbys.iter().position(|s| s.serial == serial) else {
            return;
        };
        let gone = epoll::EventFlags::ERR | epoll::EventFlags::HUP | epoll::EventFlags::RDHUP;
        let spoke = flags.contains(epoll::EventFlags::IN) && !flags.intersects(gone);
        let Link::Up(holder) = &hole.link else { return };
        if !spoke && !flags.intersects(gone) {
            return;
        }
        let silent = holder.silent();
        let standby = hole.standbys.swap_remove(index);
        if !(spoke && silent) {
            socket::reset(standby.socket);
            return;
        }
        let (pinhole, peer) = (hole.name, standby.peer);
        let mut connection = Connection::new(standby.socket, serial, now);
        connection.readable = true;
        if let Link::Up(old) = std::mem::replace(&mut hole.link, Link::Up(connection)) {
            socket::reset(old.socket);
        }
        self.report(Event::Established { pinhole, peer });
        self.queue(slot);
    }

    fn on_time(&mut self) {
        while let Some(&(at, slot)) = self.timetable.first() {
            if at > self.now {
                break;
            }
            self.timetable.pop_first();
            let now = self.now;
            let timers = self.config.timers;
            let far_up = self.far_is_up(slot);
            let Some(hole) = self.hole(slot) else { continue };
            hole.scheduled = None;
            if hole.resume.is_some_and(|at| at <= now) {
                hole.resume = None;
            }
            if let Some((at, direction)) = hole.silence_deadline()
                && at <= now
            {
                hole.silence_reported = true;
                let pinhole = hole.name;
                self.report(Event::Inactive { pinhole, direction });
            }
            let Some(hole) = self.hole(slot) else { continue };
            match &mut hole.link {
                Link::Down if hole.waiting_until.is_some_and(|at| at <= now) => {
                    hole.waiting_until = None;
                    let waited = hole.wants_callers();
                    if waited {
                        self.end(slot, Cause::NobodyCame, Cause::FarSide, true);
                    }
                }
                Link::Connecting(attempt) => {
                    if attempt.again.is_some_and(|at| at <= now) {
                        self.attempt(slot);
                    } else if attempt.give_up <= now {
                        self.end(slot, Cause::ConnectFailed, Cause::FarSide, true);
                    }
                }
                Link::Up(connection) if !far_up && connection.since + timers.unspliced <= now => {
                    self.end(slot, Cause::FarSide, Cause::FarSide, true);
                }
                _ => {}
            }
            self.queue(slot);
        }
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
