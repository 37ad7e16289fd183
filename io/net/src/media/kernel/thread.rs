//! The thread that owns the table.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carnet_netfilter::{
    Change, Conntrack, EarlyLog, Entry, Error, Flow, Key, Log, Opened, PutBack, Table, TableConfig, provoke,
};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use super::super::EngineConfig;
use super::super::post::Reports;
use super::super::regroup::Dock;
use super::super::slim;
use super::desk::{Desk, Taken};
use super::kept::Kept;
use super::sessions::{Outcome, Sessions, Tracking};
use super::{Carriage, Order, Report, Tallies};

/// Orders that are carried out at once.
const BATCH: usize = 4096;
/// While there is much to do it is done no more often: what comes together costs less, here and in the loops.
const GATHER: Duration = Duration::from_millis(2);
/// So many changes at once are much. Who asks for one thing after the other does not wait.
const MUCH: usize = 6;
/// All connections are looked at no more often, and as often if there is no reason to.
const AUDIT_SOON: Duration = Duration::from_secs(1);
const AUDIT: Duration = Duration::from_secs(30);
/// As often where it costs next to nothing: what is carried is seen as it grows.
const COUNT: Duration = Duration::from_secs(5);
/// Next to nothing: this part of the thread's time.
const COUNT_SHARE: u32 = 200;
/// Looking at them takes no more than this part of the thread's time.
const AUDIT_SHARE: u32 = 50;
/// What was found is believed for this long.
const FOUND: Duration = Duration::from_secs(1);

const BELL: u64 = 0;
const LOG: u64 = 1;
const EARLY: u64 = 2;

pub(super) struct Thread {
    pub(super) desk: Arc<Desk>,
    pub(super) tallies: Arc<Tallies>,
    docks: Arc<[Arc<Dock>]>,
    /// While this is there the engine has not ended.
    _reports: Reports,
    table: Table,
    connections: Connections,
    /// Without it and connection tracking, callers are steered and nothing is carried.
    log: Option<Log>,
    /// Where callers who come too early come, and where they are put back; or why there is no such place.
    early: Result<(EarlyLog, PutBack), Error>,
    kept: Kept,
    epoll: OwnedFd,
    sessions: Sessions,
    keep: bool,
    /// When what an earlier process left is given up.
    claims: Option<Instant>,
    next_audit: Instant,
    /// When much was last done.
    busy: Option<Instant>,
    /// Packets were not seen.
    lost: bool,
    /// Octets of connections that are over.
    ended: u64,
    /// Copies that came before this have been read.
    looked: Option<Instant>,
    out: Outcome,
}

/// Connection tracking, and what was last found there. What is to be done there waits until it is asked for, and is
/// done together.
#[derive(Default)]
struct Connections {
    conntrack: Option<Conntrack>,
    found: Option<(Instant, HashMap<Key, Vec<Entry>>)>,
    /// Asked for beforehand, for what is being worked on.
    known: HashMap<Flow, Option<Entry>>,
    loosened: Vec<Flow>,
    forgotten: Vec<Flow>,
    /// Ours and the peer's.
    told: Vec<(SocketAddr, SocketAddr)>,
}

impl Connections {
    /// All connections.
    fn all(&mut self) -> Result<HashMap<Key, Vec<Entry>>, Error> {
        let mut all: HashMap<Key, Vec<Entry>> = HashMap::new();
        self.each(&mut |entry| all.entry(entry.flow.key()).or_default().push(entry))?;
        Ok(all)
    }

    /// Hands over one after the other.
    fn each(&mut self, take: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        self.flush();
        match &mut self.conntrack {
            Some(conntrack) => conntrack.each(take),
            None => Ok(()),
        }
    }
}

impl Tracking for Connections {
    fn expect(&mut self, flows: &[Flow]) {
        self.known.clear();
        slim::map(&mut self.known);
        let Some(conntrack) = self.conntrack.as_mut().filter(|_| flows.len() > 1) else { return };
        match conntrack.get_all(flows) {
            Ok(found) => self.known.extend(flows.iter().copied().zip(found)),
            Err(error) => tracing::debug!(%error, "connection tracking does not answer"),
        }
    }

    fn get(&mut self, flow: &Flow) -> Option<Entry> {
        if let Some(known) = self.known.get(flow) {
            return *known;
        }
        self.conntrack.as_mut()?.get(flow).unwrap_or_else(|error| {
            tracing::debug!(%error, "connection tracking does not answer");
            None
        })
    }

    fn find(&mut self, key: &Key) -> Option<Entry> {
        if self.found.as_ref().is_none_or(|(at, _)| at.elapsed() > FOUND) {
            let all = self.all().unwrap_or_else(|error| {
                tracing::warn!(%error, "connections that are there cannot be looked at");
                HashMap::new()
            });
            self.found = Some((Instant::now(), all));
        }
        let (_, all) = self.found.as_ref()?;
        // An old one may still be closing beside the one that is up.
        let of = all.get(key)?;
        of.iter().find(|entry| entry.state == carnet_netfilter::State::Established).or(of.first()).copied()
    }

    fn loosen(&mut self, flow: &Flow) {
        self.loosened.push(*flow);
    }

    fn forget(&mut self, flow: &Flow) {
        self.forgotten.push(*flow);
    }

    fn tell(&mut self, local: SocketAddr, peer: SocketAddr) {
        self.told.push((local, peer));
    }

    fn flush(&mut self) {
        let Self { conntrack: Some(conntrack), loosened, forgotten, told, .. } = self else { return };
        if !loosened.is_empty()
            && let Err(error) = conntrack.loosen(loosened)
        {
            tracing::debug!(%error, "segments that come late may end connections");
        }
        loosened.clear();
        if !forgotten.is_empty()
            && let Err(error) = conntrack.delete_all(forgotten)
        {
            tracing::debug!(%error, "connections cannot be forgotten");
        }
        forgotten.clear();
        // Only now: the answers are not to be translated any more.
        if !told.is_empty()
            && let Err(error) = provoke(conntrack, told)
        {
            tracing::debug!(%error, "a peer cannot be told that its connection is over");
        }
        told.clear();
        slim::list(loosened);
        slim::list(forgotten);
        slim::list(told);
    }
}

impl Thread {
    /// Takes the table, with what an earlier process left in it.
    pub(super) fn open(
        config: &EngineConfig,
        docks: &Arc<[Arc<Dock>]>,
        reports: Reports,
    ) -> Result<Self, Error> {
        // What is missing was said.
        let (log, conntrack) = (Log::open().ok(), Conntrack::open().ok());
        let early = EarlyLog::open().and_then(|log| Ok((log, PutBack::open()?)));
        let pinholes = config.pinholes.saturating_mul(config.threads).max(1024);
        let size = u32::try_from(pinholes).unwrap_or(u32::MAX);
        let name = config.kernel.table.clone();
        let log_group = log.as_ref().map_or(0, Log::group);
        let early_group = early.as_ref().ok().map(|(log, _)| log.group());
        let Opened { table, left } = Table::open(&TableConfig { name, size, log_group, early_group })?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let desk = Arc::new(Desk::new(config.queue)?);
        let watch = |socket: rustix::fd::BorrowedFd<'_>, token, flags| {
            epoll::add(&epoll, socket, epoll::EventData::new_u64(token), flags).map_err(io::Error::from)
        };
        watch(desk.bell.descriptor().as_fd(), BELL, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        if let Some(log) = &log {
            watch(log.as_fd(), LOG, epoll::EventFlags::IN)?;
        }
        if let Ok((log, _)) = &early {
            watch(log.as_fd(), EARLY, epoll::EventFlags::IN)?;
        }
        let now = Instant::now();
        let sessions = Sessions::new(left.into_iter().map(|held| held.translation));
        let mut connections = Connections { conntrack, ..Connections::default() };
        let is_ours = |place: SocketAddr| config.realms.iter().any(|realm| realm.has(place));
        sessions.end_strays(&connections.all()?, &is_ours, &mut connections);
        connections.flush();
        let keep = config.kernel.keep;
        let claims = sessions.has_left().then(|| if keep { now + config.kernel.claim } else { now });
        Ok(Self {
            desk,
            tallies: Arc::default(),
            docks: Arc::clone(docks),
            _reports: reports,
            table,
            connections,
            log,
            early,
            kept: Kept::new(config.timers.undecided),
            epoll,
            sessions,
            keep,
            claims,
            next_audit: now + COUNT,
            busy: None,
            lost: false,
            ended: 0,
            looked: None,
            out: Outcome::default(),
        })
    }

    /// Why callers cannot be kept.
    pub(super) fn keeps_nobody(&self) -> Option<&Error> {
        self.early.as_ref().err()
    }

    /// Runs until the last loop has ended.
    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(3);
        let mut orders = Vec::new();
        let mut more = false;
        loop {
            let timeout = timespec(self.timeout(more));
            ready.clear();
            let asked = Instant::now();
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the thread of the kernel engine ends");
                    return;
                }
            }
            let gathered = !ready.is_empty() && self.gather();
            if gathered || ready.iter().any(|event| event.data.u64() == LOG) {
                self.read_log();
            } else {
                self.looked = Some(asked);
            }
            if ready.iter().any(|event| event.data.u64() == EARLY) {
                self.read_early();
            }
            if self.desk.bell.answer() || more {
                match self.desk.take(BATCH, &mut orders) {
                    Taken::Over => break,
                    Taken::Some { was_full, more: left } => {
                        more = left;
                        if was_full {
                            self.docks.iter().for_each(|dock| dock.bell.ring());
                        }
                    }
                }
            }
            let now = Instant::now();
            self.connections.expect(&self.sessions.asked_by(&orders));
            for (owner, order) in orders.drain(..) {
                self.order(owner, order, now);
            }
            slim::list(&mut orders);
            self.connections.expect(&[]);
            self.on_time(now);
            self.commit();
        }
        self.end();
    }

    fn timeout(&self, more: bool) -> Duration {
        if more || !self.out.changes.is_empty() {
            return Duration::ZERO;
        }
        let mut next = self.next_audit;
        for at in [self.claims, self.sessions.next_time(), self.kept.next_time()].into_iter().flatten() {
            next = next.min(at);
        }
        next.saturating_duration_since(Instant::now())
    }

    /// Waits for more if much was done just now. True: there may be more.
    fn gather(&self) -> bool {
        let pause = self.busy.and_then(|at| GATHER.checked_sub(at.elapsed()));
        pause.inspect(|pause| std::thread::sleep(*pause)).is_some()
    }

    fn order(&mut self, owner: usize, order: Order, now: Instant) {
        let Self { sessions, kept, connections, out, .. } = self;
        match order {
            Order::Keep { pinhole, local } => kept.keep(owner, pinhole, local, out),
            Order::LetGo { local, over: false } => kept.let_go(local, out),
            Order::LetGo { local, over: true } => kept.forget(local, out),
            Order::Carry { carriage: Carriage { caller: (_, local), source, .. }, .. } => {
                sessions.order(owner, order, connections, now, out);
                // Only when the translation is there: who is put back is led on by it.
                kept.lead_on(local, source, now);
            }
            other => sessions.order(owner, other, connections, now, out),
        }
    }

    fn read_early(&mut self) {
        let now = Instant::now();
        let Self { kept, early: Ok((log, _)), .. } = self else { return };
        let mut lost = 0;
        match log.read(&mut |early| lost += kept.come(early, now)) {
            // How many the kernel does not say.
            Ok(some) => lost += u64::from(some),
            Err(error) => tracing::warn!(%error, "callers who come early are not seen"),
        }
        self.tallies.kept.store(u64::try_from(kept.callers()).unwrap_or(u64::MAX), Ordering::Relaxed);
        add(&self.tallies.lost, lost);
    }

    /// Those for whom it is decided.
    fn put_back(&mut self) {
        let Self { kept, early: Ok((_, back)), tallies, .. } = self else { return };
        tallies.kept.store(u64::try_from(kept.callers()).unwrap_or(u64::MAX), Ordering::Relaxed);
        for early in kept.take_ready() {
            match back.send(&early) {
                Ok(()) => add(&tallies.put_back, 1),
                Err(error) => {
                    tracing::debug!(%error, caller = %early.flow.caller, "an early caller is lost");
                    add(&tallies.lost, 1);
                }
            }
        }
    }

    fn read_log(&mut self) {
        let now = Instant::now();
        let looked = self.looked.replace(now);
        let Self { sessions, connections, out, log: Some(log), .. } = self else { return };
        match log.read(&mut |segment| sessions.segment(&segment, connections, (now, looked), out)) {
            Ok(lost) => self.lost |= lost,
            Err(error) => {
                tracing::warn!(%error, "packets that begin and end connections are not seen");
                self.lost = true;
            }
        }
        if self.lost {
            self.next_audit = self.next_audit.min(now + AUDIT_SOON);
        }
    }

    fn on_time(&mut self, now: Instant) {
        if self.claims.is_some_and(|at| at <= now) {
            self.claims = None;
            self.sessions.abandon(&mut self.out);
        }
        self.sessions.on_time(&mut self.connections, now, &mut self.out);
        add(&self.tallies.overdue, self.kept.on_time(now, &mut self.out));
        if self.sessions.wants_audit() {
            self.next_audit = self.next_audit.min(now + AUDIT_SOON);
        }
        if self.next_audit <= now {
            self.audit(now);
        }
    }

    fn audit(&mut self, began: Instant) {
        if self.sessions.is_empty() && !self.sessions.wants_audit() {
            self.next_audit = began + COUNT;
            self.count();
            return;
        }
        let Self { sessions, connections, out, .. } = self;
        let mut look = sessions.begin_look(began, self.lost);
        // One after the other: of a hundred thousand a list would be as large as all that is kept of them.
        match connections.each(&mut |entry| sessions.look_at(&entry, &mut look, out)) {
            Ok(()) => {
                self.lost = false;
                sessions.end_look(look, connections, out);
            }
            Err(error) => tracing::warn!(%error, "connections cannot be audited"),
        }
        connections.found = None;
        self.count();
        let now = Instant::now();
        let took = now.saturating_duration_since(began);
        let most = AUDIT.max(took.saturating_mul(AUDIT_SHARE));
        self.next_audit = now + took.saturating_mul(COUNT_SHARE).clamp(COUNT, most);
    }

    /// What has passed so far: of those that are over, and of those that are up.
    fn count(&self) {
        let octets = self.ended.saturating_add(self.sessions.counted());
        self.tallies.octets.fetch_max(octets, Ordering::Relaxed);
    }

    /// Carries out what has come together, and says so.
    fn commit(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        // What stands in the way goes before whoever may come does.
        self.connections.flush();
        if out.is_idle() {
            return self.put_back();
        }
        self.busy = (out.changes.len() >= MUCH).then(Instant::now);
        for change in &out.changes {
            self.table.push(*change);
        }
        let refused: Vec<Change> = match self.table.commit() {
            Ok(refused) => refused
                .into_iter()
                .map(|(change, error)| {
                    tracing::warn!(%error, ?change, "the kernel refuses a change");
                    change
                })
                .collect(),
            Err(error) => {
                tracing::error!(%error, "the kernel does not answer");
                out.changes.clone()
            }
        };
        let count = self.sessions.settle(&refused, &mut self.connections, Instant::now(), &mut out);
        self.connections.flush();
        add(&self.tallies.refused, count);
        for change in &refused {
            if let Change::Keep(local, _) = change {
                self.kept.refused(*local);
            }
        }
        self.put_back();
        self.out.changes = std::mem::take(&mut out.later);
        let (carried, connections) = self.sessions.tally();
        self.tallies.carried.store(carried, Ordering::Relaxed);
        self.tallies.connections.store(connections, Ordering::Relaxed);
        self.hand_over(out.reports);
    }

    fn hand_over(&mut self, reports: Vec<(usize, Report)>) {
        for (_, report) in &reports {
            if let Report::Ended { octets, .. } | Report::Dropped { octets, .. } = report {
                self.ended = self.ended.saturating_add(octets.0).saturating_add(octets.1);
            }
        }
        let mut of_loops: Vec<Vec<Report>> = self.docks.iter().map(|_| Vec::new()).collect();
        for (owner, report) in reports {
            if let Some(of) = of_loops.get_mut(owner) {
                of.push(report);
            }
        }
        for (dock, reports) in self.docks.iter().zip(of_loops).filter(|(_, reports)| !reports.is_empty()) {
            dock.report(reports);
        }
    }

    fn end(mut self) {
        if self.keep {
            // Sessions flow on; the next process takes them up.
            self.commit();
            return;
        }
        self.sessions.end(Instant::now(), &mut self.out);
        self.commit();
        if let Err(error) = self.table.remove() {
            tracing::warn!(%error, "the table of the kernel engine stays");
        }
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

fn timespec(duration: Duration) -> Timespec {
    // Rounded up to a millisecond: waking too early means waking again.
    let duration = duration + if duration.is_zero() { Duration::ZERO } else { Duration::from_micros(999) };
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_millis()) * 1_000_000,
    }
}
