//! One event loop: its conferences, their endpoints, its timetable.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carnet_gateway::media::{
    Cause, Command, Conference, ConferenceEvent, Event, Family, Gate, Pinhole, Refusal, Settings, Statistics,
};
use carnet_tls::PskContext;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::ConferenceConfig;
use super::hall::{Hall, NoPlace};
use super::hole::{Hole, Link, Seat, same_leg};
use crate::OsRandom;
use crate::media::ports::Ports;
use crate::media::post::{Bell, Reports};
use crate::media::socket;

/// Events taken from the kernel and commands taken from the queue at once.
const BATCH: usize = 256;
const COMMANDS: usize = 256;
/// Reports waiting because the event queue is full, before commands and connections wait too.
pub(super) const OUTBOX: usize = 1024;
/// How often a full event queue and a host without descriptors are tried again.
pub(super) const RETRY: Duration = Duration::from_millis(20);
/// What is read at once: some records of TLS.
const READ: usize = 64 * 1024;

const WAKE: u64 = u64::MAX;

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    Hole(u32),
    Hall(u32),
}

pub(super) struct Worker {
    pub(super) config: Arc<ConferenceConfig>,
    pub(super) ports: Arc<Ports>,
    pub(super) tls: PskContext,
    pub(super) epoll: OwnedFd,
    bell: Arc<Bell>,
    commands: mpsc::Receiver<Command>,
    reports: Reports,
    pub(super) outbox: VecDeque<Event>,
    pub(super) holes: Vec<Option<Hole>>,
    vacant: Vec<u32>,
    /// By number, which tells the pinholes of all groups apart.
    names: HashMap<u64, u32>,
    pub(super) halls: HashMap<u32, Hall>,
    /// Conferences in which something may have happened.
    pub(super) stirred: Vec<u32>,
    /// What is to happen when. Only those entries count that are noted at their owner.
    timetable: BinaryHeap<Reverse<(Instant, Whose)>>,
    /// Pinholes with something to do.
    pub(super) run: VecDeque<u32>,
    /// What is read, and what is written, passes through these.
    pub(super) buffer: Box<[u8]>,
    pub(super) scratch: Vec<u8>,
    serial: u32,
    connections: u64,
    pub(super) now: Instant,
}

/// What a loop waits with, and what wakes it.
pub(super) fn watch(bell: &Bell) -> io::Result<OwnedFd> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(WAKE);
    epoll::add(&epoll, bell.descriptor(), data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
    Ok(epoll)
}

impl Worker {
    pub(super) fn new(
        config: Arc<ConferenceConfig>,
        ports: Arc<Ports>,
        tls: PskContext,
        (bell, epoll): (Arc<Bell>, OwnedFd),
        commands: mpsc::Receiver<Command>,
        reports: Reports,
    ) -> Self {
        Self {
            config,
            ports,
            tls,
            epoll,
            bell,
            commands,
            reports,
            outbox: VecDeque::new(),
            holes: Vec::new(),
            vacant: Vec::new(),
            names: HashMap::new(),
            halls: HashMap::new(),
            stirred: Vec::new(),
            timetable: BinaryHeap::new(),
            run: VecDeque::new(),
            buffer: vec![0; READ].into_boxed_slice(),
            scratch: Vec::with_capacity(READ),
            serial: 0,
            connections: 0,
            now: Instant::now(),
        }
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
                    tracing::error!(%error, "conference engine thread ends");
                    return;
                }
            }
            self.now = Instant::now();
            for event in &ready {
                let epoll::Event { flags, data } = *event;
                let token = data.u64();
                if token != WAKE {
                    self.on_event(token as u32, (token >> 32) as u32, flags);
                }
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
            self.settle_halls();
            self.reports.hand_over(&mut self.outbox);
        }
    }

    fn timeout(&self, more_commands: bool) -> Option<Duration> {
        if !self.run.is_empty() || !self.stirred.is_empty() || more_commands && self.outbox.len() < OUTBOX {
            return Some(Duration::ZERO);
        }
        let next = self.timetable.peek().map(|Reverse((at, _))| *at);
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
            // Nothing of a conference outlives the process.
            Command::Adopt { pinhole, .. } => {
                self.report(Event::Refused { pinhole, reason: Refusal::NoPort });
            }
            Command::Reserve { pinhole, tls: true, .. } => {
                self.report(Event::Refused { pinhole, reason: Refusal::NoCertificate });
            }
            Command::Reserve { pinhole, realm, family, tls: false } => {
                let event = match self.reserve(pinhole, realm.as_deref(), family) {
                    Ok(local) => Event::Bound { pinhole, local, fingerprint: None },
                    Err(reason) => Event::Refused { pinhole, reason },
                };
                self.report(event);
            }
            Command::Configure { pinhole, settings } => {
                if let Some(slot) = self.slot(pinhole) {
                    self.configure(slot, settings);
                }
            }
            // Endpoints are never joined.
            Command::Join { .. } | Command::Part { .. } => {}
            // An MRFP moves nobody out of a conference; whoever asks is answered all the same.
            Command::Regroup { pinhole, group } => {
                self.report(Event::Regrouped { pinhole: Pinhole { group, ..pinhole } });
            }
            Command::Connect { pinhole } => {
                if let Some(slot) = self.slot(pinhole)
                    && let Some(hole) = self.hole(slot)
                {
                    hole.told_to_connect = true;
                    hole.ended = false;
                    self.queue(slot);
                }
            }
            Command::Disconnect { pinhole } => {
                if let Some(slot) = self.slot(pinhole) {
                    self.end(slot, Cause::Released, false);
                }
            }
            Command::Release { pinhole } => {
                let statistics = self.release(pinhole);
                self.report(Event::Released { pinhole, statistics });
            }
            Command::Measure { pinhole } => {
                let now = self.now;
                let hole = self.slot(pinhole).and_then(|slot| self.hole(slot));
                let statistics = hole.map(|hole| hole.statistics(now)).unwrap_or_default();
                self.report(Event::Measured { pinhole, statistics });
            }
            Command::Conference { group, settings } => self.conference(group, settings),
            Command::Decide { group, floor, user, grant } => {
                let now = self.now;
                if let Some(hall) = self.halls.get_mut(&group) {
                    hall.decide(now, floor, user, grant);
                }
                self.stir(group);
            }
        }
    }

    fn conference(&mut self, group: u32, settings: Option<Box<Conference>>) {
        let now = self.now;
        match (settings, self.halls.get_mut(&group)) {
            (Some(settings), Some(hall)) => hall.configure(now, *settings),
            (Some(settings), None) => {
                self.halls.insert(group, Hall::new(group, *settings, now));
                // Those who were there before it.
                for slot in 0..u32::try_from(self.holes.len()).unwrap_or(u32::MAX) {
                    if self.peek(slot).is_some_and(|hole| hole.name.group == group) {
                        self.seat(slot);
                        self.queue(slot);
                    }
                }
            }
            (None, _) => {
                self.halls.remove(&group);
                for hole in self.holes.iter_mut().flatten().filter(|hole| hole.name.group == group) {
                    hole.seat = None;
                }
                return;
            }
        }
        self.stir(group);
    }

    pub(super) fn hole(&mut self, slot: u32) -> Option<&mut Hole> {
        self.holes.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn peek(&self, slot: u32) -> Option<&Hole> {
        self.holes.get(slot as usize)?.as_ref()
    }

    fn slot(&self, pinhole: Pinhole) -> Option<u32> {
        self.names.get(&pinhole.number).copied()
    }

    /// A pinhole and the conference that it belongs to.
    pub(super) fn both(&mut self, slot: u32) -> Option<(&mut Hole, &mut Hall)> {
        let hole = self.holes.get_mut(slot as usize)?.as_mut()?;
        let hall = self.halls.get_mut(&hole.name.group)?;
        Some((hole, hall))
    }

    pub(super) fn queue(&mut self, slot: u32) {
        if let Some(hole) = self.hole(slot)
            && !hole.queued
        {
            hole.queued = true;
            self.run.push_back(slot);
        }
    }

    /// Notes that a conference is to be looked at.
    pub(super) fn stir(&mut self, group: u32) {
        if let Some(hall) = self.halls.get_mut(&group)
            && !std::mem::replace(&mut hall.stirred, true)
        {
            self.stirred.push(group);
        }
    }

    pub(super) fn next_serial(&mut self) -> u32 {
        // 0 stands for none.
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        self.serial
    }

    pub(super) fn next_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    fn reserve(
        &mut self,
        name: Pinhole,
        realm: Option<&str>,
        family: Option<Family>,
    ) -> Result<SocketAddr, Refusal> {
        if self.names.contains_key(&name.number) {
            return Err(Refusal::System);
        }
        if self.names.len() >= self.config.pinholes {
            return Err(Refusal::NoPort);
        }
        // Ports of ours that somebody else has taken rest like any other.
        let mut taken = Vec::new();
        let found = loop {
            let lease = match self.ports.lease(realm, family, &mut OsRandom) {
                Ok(lease) => lease,
                Err(refusal) => break Err(refusal),
            };
            let local = self.ports.local(&lease);
            match socket::bound(local, None) {
                Ok(socket) => break Ok((lease, local, socket)),
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
        let (lease, local, socket) = found?;
        socket::give_up_after(&socket, self.ports.ward(&lease).and_then(|ward| ward.guard.user_timeout));
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.holes.len()).map_err(|_| Refusal::NoPort)?;
                self.holes.push(None);
                slot
            }
        };
        if let Some(place) = self.holes.get_mut(slot as usize) {
            *place = Some(Hole::new(name, lease, local, socket, self.now));
        }
        self.names.insert(name.number, slot);
        Ok(local)
    }

    fn configure(&mut self, slot: u32, settings: Settings) {
        let now = self.now;
        let incoming = self.config.timers.incoming;
        let Some(hole) = self.hole(slot) else { return };
        // Only when all is said, the peer can be expected to come.
        let awaited = hole.is_open() && hole.settings.endpoint.is_some();
        let awaits = settings.gate != Gate::Inactive && settings.endpoint.is_some();
        if awaits && (!awaited || hole.ended || hole.missed) {
            hole.waiting_until = Some(now + incoming);
        }
        if !awaits {
            hole.waiting_until = None;
        }
        (hole.ended, hole.missed) = (false, false);
        if hole.settings.dscp != settings.dscp {
            let sockets = [
                hole.anchor.as_ref().map(|anchor| &anchor.socket),
                match &hole.link {
                    Link::Up(connection) => Some(connection.line.socket()),
                    _ => None,
                },
            ];
            for socket in sockets.into_iter().flatten() {
                socket::mark(socket, hole.local, settings.dscp);
            }
        }
        if hole.settings.inactivity != settings.inactivity {
            hole.listen_anew(now);
        }
        let before = std::mem::replace(&mut hole.settings, settings).endpoint;
        let after = hole.settings.endpoint.clone();
        if before != after {
            let seated = hole.seat.is_some();
            for caller in &mut hole.callers {
                caller.ready = true;
            }
            match (before.as_deref(), after.as_deref()) {
                (Some(before), Some(after)) if seated && same_leg(before, after) => {
                    if let Some((hole, hall)) = self.both(slot) {
                        let group = hole.name.group;
                        hall.adjust(now, slot, after);
                        self.stir(group);
                    }
                }
                _ => {
                    // What is connected was meant for another.
                    self.end_quietly(slot, false);
                    self.seat(slot);
                }
            }
        }
        self.refuse_held(slot);
        self.queue(slot);
    }

    /// Tells the conference who is at a pinhole.
    fn seat(&mut self, slot: u32) {
        let now = self.now;
        let Some((hole, hall)) = self.both(slot) else { return };
        let group = hole.name.group;
        let seat = hole.endpoint().map(Seat::of);
        if let Some(old) = hole.seat.filter(|old| Some(*old) != seat) {
            hall.unseat(now, slot, old);
        }
        (hole.seat, hole.expelled) = (seat, false);
        let mut displaced = None;
        if let Some(endpoint) = hole.settings.endpoint.as_deref() {
            match hall.seat(now, slot, endpoint) {
                Ok(before) => displaced = before,
                Err(NoPlace) => {
                    let user = endpoint.user;
                    hall.unseat(now, slot, Seat::of(endpoint));
                    (hole.seat, hole.expelled) = (None, true);
                    let event = ConferenceEvent::Released { user, reason: "refused".to_owned() };
                    self.report(Event::Conference { group, event });
                }
            }
        }
        // Where the member sat before, nobody is let in any more.
        if let Some(displaced) = displaced {
            self.end_quietly(displaced, false);
            if let Some(hole) = self.hole(displaced) {
                (hole.seat, hole.expelled) = (None, true);
            }
            self.queue(displaced);
        }
        self.stir(group);
    }

    /// Takes a pinhole, which loses its connection, out of its conference.
    fn leave(&mut self, slot: u32) {
        let now = self.now;
        self.end_quietly(slot, false);
        if let Some((hole, hall)) = self.both(slot) {
            let group = hole.name.group;
            if let Some(seat) = hole.seat.take() {
                hall.unseat(now, slot, seat);
            }
            self.stir(group);
        }
    }

    fn release(&mut self, name: Pinhole) -> Statistics {
        let Some(slot) = self.slot(name) else {
            return Statistics::default();
        };
        // What is ready to go is given a last chance to leave.
        self.flush(slot);
        self.leave(slot);
        self.names.remove(&name.number);
        let Some(hole) = self.holes.get_mut(slot as usize).and_then(Option::take) else {
            return Statistics::default();
        };
        self.vacant.push(slot);
        let statistics = hole.statistics(self.now);
        // The port is free once the sockets are gone.
        let Hole { lease, .. } = hole;
        self.ports.give_back(lease);
        statistics
    }

    fn on_time(&mut self) {
        while let Some(&Reverse((at, whose))) = self.timetable.peek() {
            if at > self.now {
                break;
            }
            self.timetable.pop();
            match whose {
                Whose::Hall(group) => {
                    let now = self.now;
                    if let Some(hall) = self.halls.get_mut(&group).filter(|hall| hall.scheduled == Some(at)) {
                        hall.scheduled = None;
                        hall.handle_timeout(now);
                        self.stir(group);
                    }
                }
                Whose::Hole(slot) => {
                    if let Some(hole) = self.hole(slot).filter(|hole| hole.scheduled == Some(at)) {
                        hole.scheduled = None;
                        self.hole_due(slot);
                        self.queue(slot);
                    }
                }
            }
        }
    }

    /// Enters the next deadline of a pinhole. One that is entered too early stays: it costs a glance.
    pub(super) fn schedule(&mut self, slot: u32) {
        let Some(hole) = self.hole(slot) else { return };
        let Some(next) = hole.deadline() else { return };
        if hole.scheduled.is_none_or(|at| at > next) {
            hole.scheduled = Some(next);
            self.enter(next, Whose::Hole(slot));
        }
    }

    /// The same for a conference.
    pub(super) fn schedule_hall(&mut self, group: u32) {
        let Some(hall) = self.halls.get_mut(&group) else { return };
        let Some(next) = hall.poll_timeout() else { return };
        if hall.scheduled.is_none_or(|at| at > next) {
            hall.scheduled = Some(next);
            self.enter(next, Whose::Hall(group));
        }
    }

    fn enter(&mut self, at: Instant, whose: Whose) {
        let Self { holes, halls, timetable, names, .. } = self;
        timetable.push(Reverse((at, whose)));
        if timetable.len() > 4 * (names.len() + halls.len()) + 64 {
            // More than one entry of an owner counts no longer.
            timetable.retain(|Reverse((at, whose))| match whose {
                Whose::Hole(slot) => holes
                    .get(*slot as usize)
                    .and_then(Option::as_ref)
                    .is_some_and(|hole| hole.scheduled == Some(*at)),
                Whose::Hall(group) => halls.get(group).is_some_and(|hall| hall.scheduled == Some(*at)),
            });
        }
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
