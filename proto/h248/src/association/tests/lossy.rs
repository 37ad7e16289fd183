//! Many transactions both ways over a network that loses, doubles and reorders.

use super::*;
use proptest::prelude::*;

/// One side: what it asked and did.
#[derive(Default)]
struct Side {
    /// What it asked, by number.
    asked: HashMap<TransactionId, u32>,
    /// How often questions ended: answered, failed.
    answered: HashMap<u32, u32>,
    failed: HashMap<u32, u32>,
    /// How often questions of the other side were executed.
    executed: HashMap<u32, u32>,
    working: Vec<(Instant, TransactionId, u32)>,
}

struct World {
    net: Network,
    sides: [Side; 2],
    /// Longest time of an execution.
    slow: Duration,
    /// Most commands in an answer; 20 need more than one message.
    commands: u32,
}

impl World {
    fn new(config: Config, seed: u64) -> Self {
        let net = Network::of(config, seed);
        Self { net, sides: Default::default(), slow: Duration::ZERO, commands: 1 }
    }

    fn ask(&mut self, side: usize, mark: u32) {
        let id = self.net.ends[side].request(self.net.now, ask(mark));
        self.sides[side].asked.insert(id, mark);
    }

    /// How many commands the answer has.
    fn size(&self, mark: u32) -> usize {
        (mark.wrapping_mul(2_654_435_761) >> 16) as usize % self.commands as usize + 1
    }

    /// Executes, answers and takes answers until `end`.
    fn run(&mut self, end: Instant) {
        loop {
            let until = self.sides.iter().flat_map(|s| s.working.iter().map(|w| w.0)).min();
            let more = self.net.step(until.unwrap_or(end).min(end));
            let now = self.net.now;
            for side in 0..2 {
                while let Some(event) = self.net.ends[side].poll_event() {
                    self.happens(side, event);
                }
                let working = std::mem::take(&mut self.sides[side].working);
                let (due, later): (Vec<_>, Vec<_>) = working.into_iter().partition(|w| w.0 <= now);
                self.sides[side].working = later;
                for (_, id, mark) in due {
                    let body = done(mark, self.size(mark), 100);
                    self.net.ends[side].reply(now, id, body);
                }
            }
            if !more && now >= end && self.sides.iter().all(|s| s.working.iter().all(|w| w.0 > end)) {
                return;
            }
        }
    }

    fn happens(&mut self, side: usize, event: Event) {
        let size = |body: &ReplyBody, world: &Self| match body {
            ReplyBody::Actions(actions) => match actions[..] {
                [ActionReply { context: ContextId::Id(mark), ref commands, .. }] => {
                    assert_eq!(commands.len(), world.size(mark), "an answer in part");
                    mark
                }
                _ => panic!("an answer to nothing"),
            },
            ReplyBody::Error(error) => panic!("{error:?}"),
        };
        match event {
            Event::Request { id, actions } => {
                let mark = mark_of(&actions);
                *self.sides[side].executed.entry(mark).or_default() += 1;
                let time = self.slow.mul_f64(f64::from(self.net.rng.u32() % 1_000) / 1e3);
                self.sides[side].working.push((self.net.now + time, id, mark));
            }
            Event::Reply { id, body } => {
                let mark = size(&body, self);
                assert_eq!(self.sides[side].asked.get(&id), Some(&mark), "the answer of another question");
                *self.sides[side].answered.entry(mark).or_default() += 1;
            }
            Event::Failed { id, .. } => {
                let mark = self.sides[side].asked[&id];
                *self.sides[side].failed.entry(mark).or_default() += 1;
            }
            Event::PeerLost => {}
            // Segments of an answer did not come in time.
            Event::MessageError { error } if error.code == 459 && self.net.loss > 15 => {}
            other => panic!("{other:?}"),
        }
    }

    /// Each was executed at most once and ended once, each that was answered was executed, and
    /// nothing is left. Returns how many failed.
    fn check(&self) -> usize {
        for (side, other) in [(0, 1), (1, 0)] {
            let (side, other) = (&self.sides[side], &self.sides[other]);
            assert!(other.executed.values().all(|n| *n == 1), "executed more than once");
            for mark in side.asked.values() {
                let count = |all: &HashMap<u32, u32>| all.get(mark).copied().unwrap_or(0);
                let (answered, failed) = (count(&side.answered), count(&side.failed));
                assert_eq!(answered + failed, 1, "{mark}: answered {answered}, failed {failed}");
                assert!(answered == 0 || count(&other.executed) == 1, "{mark} answered, never executed");
            }
        }
        self.net.ends.iter().for_each(assert_empty);
        self.sides.iter().map(|s| s.failed.len()).sum()
    }
}

/// 200 runs of 120 transactions, in bursts that share messages. How many failed.
fn runs(config: &Config, encoding: impl Fn(u64) -> Encoding, set: impl Fn(u64, &mut World)) -> usize {
    let mut failed = 0;
    for seed in 0..200u64 {
        let config = Config { encoding: encoding(seed), ..config.clone() };
        let mut world = World::new(config, seed * 1_000);
        set(seed, &mut world);
        let mut mark = 1;
        for _ in 0..12 {
            for _ in 0..5 {
                (0..2).for_each(|side| {
                    world.ask(side, mark);
                    mark += 1;
                });
            }
            let pause = Duration::from_millis(u64::from(world.net.rng.u32() % 2_000));
            world.run(world.net.now + pause);
        }
        world.run(world.net.now + 200 * SECOND);
        failed += world.check();
    }
    failed
}

fn every_encoding(seed: u64) -> Encoding {
    match seed % 3 {
        0 => Encoding::Text(Form::Short),
        1 => Encoding::Text(Form::Long),
        _ => Encoding::Binary,
    }
}

#[test]
fn a_network_that_loses_a_little_fails_nothing() {
    let failed = runs(&Config::new(Transport::Datagram), every_encoding, |seed, world| {
        world.net.loss = (seed % 15) as u32;
        world.net.doubled = (seed % 20) as u32;
        world.net.delay = (5 * MS, Duration::from_millis(10 + seed * 2));
        world.slow = Duration::from_millis(seed * 5);
    });
    assert_eq!(failed, 0);
}

#[test]
fn segments_arrive_over_a_network_that_loses() {
    let config = Config { segments: true, ..Config::new(Transport::Datagram) };
    let failed = runs(&config, every_encoding, |seed, world| {
        world.net.loss = (seed % 15) as u32;
        world.net.doubled = (seed % 20) as u32;
        world.net.delay = (5 * MS, Duration::from_millis(10 + seed));
        world.commands = 20;
    });
    assert_eq!(failed, 0);
}

#[test]
fn a_terrible_network_executes_nothing_twice() {
    let failed = runs(&Config::new(Transport::Datagram), every_encoding, |seed, world| {
        world.net.loss = 40 + (seed % 55) as u32;
        world.net.doubled = 50;
        // A Pending is late once and the last repeat after it once more: LONG-TIMER allows for both.
        world.net.delay = (5 * MS, 2_400 * MS);
        world.slow = Duration::from_millis(seed * 20);
    });
    assert!(failed > 100, "only {failed} failed: the network was not terrible");
}

#[test]
fn a_reliable_transport_fails_nothing() {
    let failed = runs(&Config::new(Transport::Reliable), every_encoding, |seed, world| {
        world.net.delay = (10 * MS, 10 * MS);
        world.slow = Duration::from_millis(seed * 10);
        world.commands = 10;
    });
    assert_eq!(failed, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the network does.
    #[test]
    fn at_most_once(
        seed: u32,
        loss in 0u32..60,
        doubled in 0u32..60,
        slow in 0u64..6_000,
        jitter in 0u64..2_400,
        commands in 1u32..80,
        datagram in 500usize..1_600,
    ) {
        let mut config = Config { segments: true, ..Config::new(Transport::Datagram) };
        config.limits.datagram = datagram;
        let mut world = World::new(config, seed.into());
        (world.net.loss, world.net.doubled) = (loss, doubled);
        world.net.delay = (MS, MS + Duration::from_millis(jitter));
        (world.slow, world.commands) = (Duration::from_millis(slow), commands);
        for mark in 1..=20 {
            world.ask(mark as usize % 2, mark);
        }
        world.run(world.net.now + 300 * SECOND);
        world.check();
    }
}
