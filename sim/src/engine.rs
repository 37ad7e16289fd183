//! A media engine that only keeps books: ports come from a bounded pool, answers may be slow.

use crate::dice::Dice;
use carnet_gateway::media::{Command, Event, Family, Gate, Pinhole, Refusal, Settings, Statistics};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A pinhole as the engine was told.
#[derive(Debug)]
struct Hole {
    port: u16,
    settings: Settings,
    tls: bool,
}

/// The model.
#[derive(Debug)]
pub struct Engine {
    free: BTreeSet<u16>,
    held: BTreeMap<Pinhole, Hole>,
    ports: usize,
    /// Contexts for which something was ever reserved.
    pub contexts: BTreeSet<u32>,
    /// Least and longest time of one answer.
    pub delay: (Duration, Duration),
    /// How many of a thousand reservations are refused though there are ports.
    pub refuses: u32,
    /// How many of a thousand open pinholes report something unasked.
    pub restless: u32,
    /// One release gives no port back (to see that it is found).
    pub leaks: bool,
    /// Answers keep their order.
    free_at: Option<Instant>,
}

/// How long an answer may wait for those before it: what is asked of an engine goes through a queue
/// with an end, and a slow engine that is mended has worked it off.
const QUEUE: Duration = Duration::from_secs(20);

/// What the engine says, and when.
pub type Said = (Instant, Event);

impl Engine {
    /// An engine with so many ports.
    pub fn new(ports: usize) -> Self {
        let last = 20_000 + u16::try_from(ports).unwrap_or(1000) * 2;
        Self {
            free: (20_000..last).step_by(2).collect(),
            held: BTreeMap::new(),
            ports,
            contexts: BTreeSet::new(),
            delay: (Duration::ZERO, Duration::from_millis(2)),
            refuses: 0,
            restless: 0,
            leaks: false,
            free_at: None,
        }
    }

    /// Whether every port is back.
    pub fn is_full(&self) -> bool {
        self.free.len() == self.ports && self.held.is_empty()
    }

    /// How many ports are out.
    pub fn out(&self) -> usize {
        self.ports - self.free.len()
    }

    /// The contexts that have pinholes.
    pub fn live(&self) -> BTreeSet<u32> {
        self.held.keys().map(|p| p.group).collect()
    }

    /// Takes a command.
    ///
    /// # Errors
    /// What the rules did wrong: they named a pinhole that is not there, or one twice.
    pub fn take(&mut self, now: Instant, command: Command, dice: &mut Dice) -> Result<Vec<Said>, String> {
        let wait = dice.between(self.delay.0, self.delay.1);
        let at = (self.free_at.map_or(now, |free| free.max(now)) + wait).min(now + QUEUE);
        let unknown = |what: &str, pinhole: Pinhole| format!("engine: {what} of unknown {pinhole:?}");
        let said = match command {
            Command::Reserve { pinhole, family, tls, .. } => {
                self.contexts.insert(pinhole.group);
                if self.held.contains_key(&pinhole) {
                    return Err(format!("engine: {pinhole:?} reserved twice"));
                }
                let port = if dice.chance(self.refuses) { None } else { self.free.pop_first() };
                match port {
                    None => Some(Event::Refused { pinhole, reason: Refusal::NoPort }),
                    Some(port) => {
                        let ip: IpAddr = match family {
                            Some(Family::V6) => "2001:db8::10".parse().unwrap(),
                            _ => "203.0.113.10".parse().unwrap(),
                        };
                        self.held.insert(pinhole, Hole { port, settings: Settings::default(), tls });
                        let fingerprint = tls.then(|| format!("sha-256 {}", ["A5"; 32].join(":")));
                        Some(Event::Bound { pinhole, local: SocketAddr::new(ip, port), fingerprint })
                    }
                }
            }
            // Nothing outlives this engine.
            Command::Adopt { pinhole, .. } => Some(Event::Refused { pinhole, reason: Refusal::NoPort }),
            Command::Configure { pinhole, settings } => {
                let hole = self.held.get_mut(&pinhole).ok_or_else(|| unknown("Configure", pinhole))?;
                if settings.edge.is_some() != hole.tls {
                    return Err(format!("engine: TLS of {pinhole:?} is not what it was reserved for"));
                }
                let opened = hole.settings.gate == Gate::Inactive && settings.gate == Gate::SendReceive;
                hole.settings = settings;
                if opened && dice.chance(self.restless) {
                    return Ok(self.reports(now, pinhole, dice));
                }
                None
            }
            Command::Join { a, b } => {
                for pinhole in [a, b] {
                    if !self.held.contains_key(&pinhole) {
                        return Err(unknown("Join", pinhole));
                    }
                }
                None
            }
            Command::Release { pinhole } => {
                let hole = self.held.remove(&pinhole).ok_or_else(|| unknown("Release", pinhole))?;
                if !std::mem::take(&mut self.leaks) {
                    self.free.insert(hole.port);
                }
                let statistics = Statistics { octets_received: 5, octets_sent: 7, ..Statistics::default() };
                Some(Event::Released { pinhole, statistics })
            }
            Command::Measure { pinhole } => {
                if !self.held.contains_key(&pinhole) {
                    return Err(unknown("Measure", pinhole));
                }
                Some(Event::Measured { pinhole, statistics: Statistics::default() })
            }
            Command::Connect { pinhole }
            | Command::Disconnect { pinhole }
            | Command::Part { pinhole }
            | Command::Regroup { pinhole, .. } => {
                if !self.held.contains_key(&pinhole) {
                    return Err(unknown("a command", pinhole));
                }
                None
            }
            Command::Conference { .. } | Command::Decide { .. } => {
                return Err("engine: a relay has no conferences".to_owned());
            }
        };
        if said.is_some() {
            self.free_at = Some(at);
        }
        Ok(said.into_iter().map(|event| (at, event)).collect())
    }

    /// The peer connects; perhaps it goes again, perhaps it falls silent.
    fn reports(&self, now: Instant, pinhole: Pinhole, dice: &mut Dice) -> Vec<Said> {
        use carnet_gateway::media::{Cause, Direction};
        let soon = now + dice.between(Duration::from_millis(1), Duration::from_secs(2));
        let later = soon + dice.between(Duration::from_millis(1), Duration::from_secs(20));
        let peer = "192.0.2.77:2855".parse().unwrap();
        let mut said = vec![(soon, Event::Established { pinhole, peer })];
        match dice.below(3) {
            0 => said.push((later, Event::Closed { pinhole, cause: Cause::Reset })),
            1 => said.push((later, Event::Inactive { pinhole, direction: Direction::Both })),
            _ => said.push((later, Event::Blocked { pinhole, source: peer })),
        }
        said
    }

    /// Whether the pinhole is there: reports about one that is gone are not made.
    pub fn holds(&self, pinhole: Pinhole) -> bool {
        self.held.contains_key(&pinhole)
    }
}
