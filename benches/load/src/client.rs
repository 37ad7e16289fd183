//! Many sessions of one thread, closed loop (each sends again when it was answered) or open loop (at a rate, whether
//! answered or not).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use openssl::ssl::SslContext;

use crate::Result;
use crate::content::{LONGEST, mix};
use crate::greeting::Kind;
use crate::latency::Histogram;
use crate::peer::Manner;
use crate::session::{Session, Step};
use crate::wire::{Poll, Wire};

/// So many failures, and the rest is not tried.
const ENOUGH: u64 = 1_000;
/// Reasons that are kept; the others are counted.
const REASONS: usize = 8;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Bulk of a kind, or echoed messages.
    Stream(Kind),
    /// A connection for each message, which comes back.
    Connect,
    /// MSRP.
    Msrp,
}

/// How it is done.
#[derive(Clone)]
pub struct Plan {
    /// What.
    pub load: Load,
    /// Where to: one address and so many ports from there on, in turn.
    pub address: IpAddr,
    /// The first port.
    pub first: u16,
    /// How many.
    pub ports: u16,
    /// Sessions at once.
    pub sessions: usize,
    /// For how long.
    pub time: Duration,
    /// How long they may take to end after that.
    pub patience: Duration,
    /// Messages or connections a second; `None`: as fast as answers come.
    pub rate: Option<f64>,
    /// Connections, at most.
    pub limit: Option<u64>,
    /// Messages.
    pub manner: Manner,
    /// Content follows from it.
    pub seed: u64,
    /// TLS, if it is to be.
    pub tls: Option<SslContext>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Octets that arrived, in bulk either way; in messages those that came back.
    pub octets: u64,
    /// Messages that were answered, or connections that ended in order.
    pub units: u64,
    /// Sessions that failed, and that were corrupted.
    pub failed: u64,
    /// The latter.
    pub corrupt: u64,
    /// Some reasons.
    pub reasons: Vec<String>,
    /// Times of answers.
    pub times: Histogram,
    /// From the beginning until all had ended.
    pub seconds: f64,
}

impl Report {
    /// Adds what another thread found.
    pub fn merge(&mut self, other: Self) {
        self.octets += other.octets;
        self.units += other.units;
        self.failed += other.failed;
        self.corrupt += other.corrupt;
        self.reasons.extend(other.reasons);
        self.reasons.truncate(REASONS);
        self.times.merge(&other.times);
        self.seconds = self.seconds.max(other.seconds);
    }

    fn reason(&mut self, reason: String) {
        if self.reasons.len() < REASONS {
            self.reasons.push(reason);
        }
    }
}

/// A place for one session after the other.
#[derive(Default)]
struct Slot {
    session: Option<Session>,
    /// Messages or connections begun.
    begun: u64,
    /// And due.
    due: u64,
    /// From when on the one that is out counts.
    since: Option<Instant>,
    /// A descriptor of before may still be in the list of what is ready.
    age: u32,
}

struct Thread<'a> {
    plan: &'a Plan,
    /// Which of how many.
    index: usize,
    threads: usize,
    slots: Vec<Slot>,
    again: Vec<usize>,
    poll: Poll,
    report: Report,
    begin: Instant,
    until: Instant,
    over: bool,
    calls: u64,
    buffer: Vec<u8>,
}

/// Runs the plan in this many threads.
///
/// # Errors
///
/// What prevents it from the beginning; what fails later is in the report.
pub fn run(plan: &Plan, threads: usize) -> Result<Report> {
    let threads = threads.clamp(1, plan.sessions.max(1));
    let begin = Instant::now();
    let outcomes: Vec<std::result::Result<Report, String>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|index| {
                scope.spawn(move || Thread::run(plan, index, threads, begin).map_err(|e| e.to_string()))
            })
            .collect();
        let panicked = |_| Err("a thread panicked".to_owned());
        running.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut report = Report::default();
    for outcome in outcomes {
        report.merge(outcome?);
    }
    Ok(report)
}

impl Thread<'_> {
    fn run(plan: &Plan, index: usize, threads: usize, begin: Instant) -> Result<Report> {
        let slots = (plan.sessions + threads - 1 - index) / threads;
        let mut thread = Thread {
            plan,
            index,
            threads,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            again: Vec::new(),
            poll: Poll::new()?,
            report: Report::default(),
            begin,
            until: begin + plan.time,
            over: false,
            calls: 0,
            buffer: vec![0; LONGEST],
        };
        if plan.load != Load::Connect {
            for slot in 0..slots {
                thread.open(slot);
            }
        } else if plan.rate.is_none() {
            for slot in 0..slots {
                thread.call(slot);
            }
        }
        thread.turns()?;
        thread.report.seconds = begin.elapsed().as_secs_f64();
        Ok(thread.report)
    }

    fn turns(&mut self) -> Result<()> {
        let mut tokens = Vec::new();
        let mut next = 0u64;
        loop {
            let now = Instant::now();
            if !self.over && (now >= self.until || self.report.failed > ENOUGH) {
                self.over = true;
                self.stop();
            }
            let mut limit = if self.over { self.until + self.plan.patience } else { self.until };
            if self.over && self.slots.iter().all(|slot| slot.session.is_none()) {
                return Ok(());
            }
            if !self.over && self.exhausted() && self.slots.iter().all(|slot| slot.session.is_none()) {
                return Ok(());
            }
            if self.over && now >= limit {
                let left = self.slots.iter().filter(|slot| slot.session.is_some()).count() as u64;
                self.report.failed += left;
                self.report.reason(format!("{left} sessions did not end within {:?}", self.plan.patience));
                return Ok(());
            }
            if let Some(rate) = self.plan.rate.filter(|_| !self.over) {
                // Due by now: one slot after the other.
                while self.due(next, rate) <= now {
                    let slot = (next % self.slots.len().max(1) as u64) as usize;
                    if let Some(slot) = self.slots.get_mut(slot) {
                        slot.due += 1;
                    }
                    self.next(slot);
                    next += 1;
                }
                limit = limit.min(self.due(next, rate));
            }
            let wait = if self.again.is_empty() {
                limit.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            self.poll.wait(wait, &mut tokens)?;
            for index in std::mem::take(&mut self.again) {
                let free = self.slots.get(index).is_some_and(|slot| slot.session.is_none());
                match (free && self.plan.load == Load::Connect, self.plan.rate) {
                    (true, None) => self.call(index),
                    (true, Some(_)) => self.next(index),
                    (false, _) => self.drive(index),
                }
            }
            for &(token, ended) in &tokens {
                let (index, age) = ((token & 0xffff_ffff) as usize, (token >> 32) as u32);
                let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.age == age) else { continue };
                let Some(session) = &mut slot.session else { continue };
                (session.readable, session.writable) = (true, true);
                session.ended |= ended;
                self.drive(index);
            }
        }
    }

    /// When the message or connection with this number is to be sent; slots take turns.
    fn due(&self, number: u64, rate: f64) -> Instant {
        let place = number as f64 * self.threads as f64 + self.index as f64;
        self.begin + Duration::from_secs_f64(place / rate)
    }

    /// As many connections were made as were asked for, or no session is left.
    fn exhausted(&self) -> bool {
        let share = |limit: u64| (limit + self.threads as u64 - 1 - self.index as u64) / self.threads as u64;
        match self.plan.load {
            Load::Connect => self.plan.limit.is_some_and(|limit| self.calls >= share(limit)),
            _ => self.slots.iter().all(|slot| slot.session.is_none()),
        }
    }

    fn stop(&mut self) {
        for index in 0..self.slots.len() {
            if let Some(session) = self.slots.get_mut(index).and_then(|slot| slot.session.as_mut()) {
                session.stopping = true;
                self.drive(index);
            }
        }
    }

    /// Begins the next message or connection of a slot, if it may.
    fn next(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        if self.over || (self.plan.rate.is_some() && slot.begun >= slot.due) {
            return;
        }
        match &mut slot.session {
            None if self.plan.load == Load::Connect => self.call(index),
            Some(session) if session.talks() && !session.is_busy() && self.plan.load != Load::Connect => {
                self.say(index);
                self.drive(index);
            }
            _ => {}
        }
    }

    fn say(&mut self, index: usize) {
        let intended = self
            .plan
            .rate
            .zip(self.slots.get(index))
            .map(|(rate, slot)| self.due(slot.begun * self.slots.len() as u64 + index as u64, rate));
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.begun += 1;
        slot.since = intended.or_else(|| Some(Instant::now()));
        let told = slot.session.as_mut().map(|session| session.say(&self.plan.manner));
        if let Some(Err(error)) = told {
            self.fail(index, &error.to_string());
        }
    }

    /// Connects for one message.
    fn call(&mut self, index: usize) {
        if self.exhausted() || self.over {
            return;
        }
        self.open(index);
    }

    fn open(&mut self, index: usize) {
        let number = self.calls * self.threads as u64 + self.index as u64;
        self.calls += 1;
        let port = self.plan.first + (number % u64::from(self.plan.ports.max(1))) as u16;
        let key = mix(self.plan.seed ^ mix(number));
        let (kind, message) = match self.plan.load {
            Load::Stream(kind) => (Some(kind), kind == Kind::Echo && self.plan.rate.is_none()),
            Load::Connect => (Some(Kind::Echo), true),
            Load::Msrp => (None, self.plan.rate.is_none()),
        };
        let opened = Wire::connect(SocketAddr::new(self.plan.address, port), self.plan.tls.as_ref());
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.age = slot.age.wrapping_add(1);
        let token = u64::from(slot.age) << 32 | index as u64;
        let opened = opened.and_then(|wire| {
            self.poll.add(wire.tcp(), token, true)?;
            Ok(wire)
        });
        match opened {
            Ok(wire) => {
                slot.session = Some(Session::new(wire, kind, key));
                if message {
                    self.say(index);
                }
                self.drive(index);
            }
            Err(error) => {
                slot.begun += u64::from(self.plan.load == Load::Connect);
                self.fail(index, &format!("connecting to port {port}: {error}"));
            }
        }
    }

    fn drive(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(session) = &mut slot.session else { return };
        match session.drive(&mut self.buffer) {
            Ok(Step::Waits) => {}
            Ok(Step::More) => self.again.push(index),
            Ok(Step::Answered) => {
                if let Some(since) = slot.since.take() {
                    self.report.times.add(since.elapsed().as_nanos() as u64);
                }
                if self.plan.load == Load::Connect {
                    session.stopping = true;
                    self.drive(index);
                    return;
                }
                self.report.units += 1;
                if self.over {
                    self.drive(index);
                } else if self.plan.rate.is_none() {
                    // Not at once, so that others have their turn.
                    self.say(index);
                    self.again.push(index);
                } else {
                    self.again.push(index);
                    self.next(index);
                }
            }
            Ok(Step::Over) => {
                self.report.octets += session.octets;
                slot.session = None;
                if self.plan.load == Load::Connect {
                    self.report.units += 1;
                    if self.plan.rate.is_none() { self.call(index) } else { self.next(index) }
                }
            }
            Ok(Step::Corrupt(how)) => {
                self.report.corrupt += 1;
                self.fail(index, &how);
            }
            Err(error) => self.fail(index, &error.to_string()),
        }
    }

    fn fail(&mut self, index: usize, how: &str) {
        self.report.failed += 1;
        self.report.reason(how.to_owned());
        if let Some(slot) = self.slots.get_mut(index) {
            slot.session = None;
            if self.plan.load == Load::Connect && self.report.failed <= ENOUGH {
                // After what is ready now: a port that refuses is not called in an endless row.
                self.again.push(index);
            }
        }
    }
}
