//! Which of several gateways takes the next context.
//!
//! The least loaded one in proportion to its size and weight. One that has refused for want of
//! resources, or did not answer, is passed over for a while that doubles, and then tried with one
//! context; one that asks for less (H.248.10 `chp`, H.248.11 `ocp`) gets less. Emergency and priority
//! calls are not held back. Left out: what a gateway's realms and interfaces are (`gateways`).

use carnet_h248::controller::GatewayName;
use carnet_wire::Random;
use std::time::{Duration, Instant};

/// First wait after a refusal, and the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// How much one report of overload takes away, in percent of what is left, and how much comes back in
/// a second without one, in percent points. The rates of H.248.11 are not public; these let a gateway
/// that stays overloaded sink to a trickle within seconds and come back within half a minute.
const STEP: f64 = 25.0;
const BACK: f64 = 4.0;

/// Of every hundred calls some are always tried: else nothing would show that the overload is over.
const MOST: f64 = 95.0;

/// How a gateway fares.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Refusals and silences in a row.
    strikes: u32,
    /// Passed over until then.
    closed_until: Option<Instant>,
    /// One context is tried.
    trying: bool,
    /// As the gateway asked for (`chp/MGCon`), percent.
    asked: u8,
    /// From reports of overload, percent, and since when.
    overload: f64,
    overload_at: Option<Instant>,
    /// When it was last chosen, in the order of choices.
    chosen: u64,
}

impl Health {
    /// It refused for want of resources, or did not answer.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.trying = false;
        // What was asked at once fails at once and counts once.
        if self.closed_until.is_some_and(|until| now < until) {
            return;
        }
        let wait = SHORTEST.saturating_mul(1u32.checked_shl(self.strikes).unwrap_or(u32::MAX));
        self.strikes = self.strikes.saturating_add(1).min(16);
        self.closed_until = Some(now + wait.min(LONGEST));
    }

    /// It did what it was asked.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        self.trying = false;
        // An answer to what was asked before it closed opens nothing.
        if self.closed_until.is_none_or(|until| until <= now) {
            self.strikes = 0;
            self.closed_until = None;
        }
    }

    /// It asks for less by so much percent, until it asks for something else (H.248.10).
    pub(crate) fn reduce(&mut self, percent: u8) {
        self.asked = percent.min(100);
    }

    /// It reports overload (H.248.11).
    pub(crate) fn overloaded(&mut self, now: Instant) {
        let current = self.overload(now);
        // Reports come with every message; one in a second counts.
        if self.overload_at.is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1)) {
            self.overload = current + (100.0 - current) * STEP / 100.0;
            self.overload_at = Some(now);
        }
    }

    fn overload(&self, now: Instant) -> f64 {
        let Some(at) = self.overload_at else { return 0.0 };
        let quiet = now.saturating_duration_since(at).saturating_sub(Duration::from_secs(1));
        (self.overload - quiet.as_secs_f64() * BACK).clamp(0.0, MOST)
    }

    /// How much less it gets at the moment, percent.
    pub(crate) fn reduction(&self, now: Instant) -> u8 {
        // Between 0 and 100 by its making.
        (f64::from(self.asked).max(self.overload(now))).round() as u8
    }

    /// Until when it is passed over.
    pub(crate) fn closed_until(&self, now: Instant) -> Option<Instant> {
        self.closed_until.filter(|until| now < *until)
    }
}

/// A gateway that could take the context.
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a GatewayName,
    pub(crate) health: &'a mut Health,
    /// Contexts it has and requests that may make more.
    pub(crate) used: usize,
    /// Contexts it can have, if it told.
    pub(crate) most: Option<u64>,
    pub(crate) weight: u32,
}

/// Chooses one; `turn` counts choices.
pub(crate) fn choose(
    now: Instant,
    urgent: bool,
    mut candidates: Vec<Candidate<'_>>,
    turn: &mut u64,
    random: &mut dyn Random,
) -> Option<GatewayName> {
    // Each is asked for itself: two that want half leave a quarter of the calls without.
    candidates.retain(|c| {
        let reduction = u32::from(c.health.reduction(now));
        urgent || reduction == 0 || random.u32() % 100 >= reduction
    });
    // Sizes that are not known are taken to be those of the others.
    let told: Vec<u64> = candidates.iter().filter_map(|c| c.most).collect();
    let common = told.iter().sum::<u64>() / u64::try_from(told.len()).unwrap_or(1).max(1);
    let size = |c: &Candidate<'_>| c.most.unwrap_or(common.max(1)).max(1);
    let standing = |c: &Candidate<'_>| {
        let used = u64::try_from(c.used).unwrap_or(u64::MAX);
        let full = c.most.is_some_and(|most| used >= most);
        match c.health.closed_until {
            // Full or closed: better than nobody, and its refusal is quick.
            _ if full => 3,
            Some(until) if now < until => 2,
            // Its time is over: one context shows whether it is well.
            Some(_) if !c.health.trying => 0,
            Some(_) => 2,
            None => 1,
        }
    };
    let load = |c: &Candidate<'_>| {
        let room = size(c) as f64 * f64::from(c.weight.max(1));
        c.used as f64 / room
    };
    let best = candidates.into_iter().min_by(|a, b| {
        let order = standing(a).cmp(&standing(b)).then(load(a).total_cmp(&load(b)));
        order.then(a.health.chosen.cmp(&b.health.chosen))
    })?;
    *turn += 1;
    best.health.chosen = *turn;
    best.health.trying = best.health.closed_until.is_some();
    Some(best.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_wire::SeededRandom;

    struct Gateway {
        name: GatewayName,
        health: Health,
        used: usize,
        most: Option<u64>,
        weight: u32,
    }

    struct World {
        now: Instant,
        gateways: Vec<Gateway>,
        turn: u64,
        random: SeededRandom,
    }

    impl World {
        fn new(gateways: &[(Option<u64>, u32)]) -> Self {
            let gateway = |(n, (most, weight)): (usize, &(Option<u64>, u32))| Gateway {
                name: format!("g{n}").into(),
                health: Health::default(),
                used: 0,
                most: *most,
                weight: *weight,
            };
            Self {
                now: Instant::now(),
                gateways: gateways.iter().enumerate().map(gateway).collect(),
                turn: 0,
                random: SeededRandom::new(5),
            }
        }

        fn pick(&mut self, urgent: bool) -> Option<usize> {
            let candidates = self.gateways.iter_mut().map(|g| Candidate {
                name: &g.name,
                health: &mut g.health,
                used: g.used,
                most: g.most,
                weight: g.weight,
            });
            let candidates = candidates.collect();
            let chosen = choose(self.now, urgent, candidates, &mut self.turn, &mut self.random)?;
            self.gateways.iter().position(|g| g.name == chosen)
        }

        /// Contexts come at a rate and last for a time; where they went.
        fn flow(&mut self, picks: usize, last: usize) -> Vec<usize> {
            let mut living = std::collections::VecDeque::new();
            let mut went = vec![0; self.gateways.len()];
            for _ in 0..picks {
                self.now += Duration::from_millis(10);
                if let Some(at) = self.pick(false) {
                    self.gateways[at].used += 1;
                    self.gateways[at].health.succeeded(self.now);
                    went[at] += 1;
                    living.push_back(at);
                }
                if living.len() > last {
                    self.gateways[living.pop_front().unwrap()].used -= 1;
                }
            }
            went
        }
    }

    fn near(counts: &[usize], shares: &[usize]) {
        let (all, whole): (usize, usize) = (counts.iter().sum(), shares.iter().sum());
        for (count, share) in counts.iter().zip(shares) {
            let expected = all * share / whole;
            assert!(count.abs_diff(expected) * 50 <= all, "{counts:?} is not as {shares:?}");
        }
    }

    #[test]
    fn load_follows_size_and_weight() {
        for (gateways, shares) in [
            (vec![(Some(1000), 1), (Some(1000), 1), (Some(1000), 1)], vec![1, 1, 1]),
            (vec![(Some(3000), 1), (Some(1000), 1)], vec![3, 1]),
            (vec![(Some(1000), 1), (Some(1000), 4)], vec![1, 4]),
            // Who does not tell is taken to be like the others; if nobody tells, all are alike.
            (vec![(Some(1000), 1), (None, 1)], vec![1, 1]),
            (vec![(None, 1), (None, 1)], vec![1, 1]),
        ] {
            let mut world = World::new(&gateways);
            near(&world.flow(10_000, 500), &shares);
        }
        // Empty ones take turns: the first does not get all.
        let mut world = World::new(&[(None, 1), (None, 1), (None, 1)]);
        near(&world.flow(3_000, 0), &[1, 1, 1]);
    }

    #[test]
    fn one_that_refuses_everything_gets_little_and_heals() {
        let mut world = World::new(&[(Some(1000), 1), (Some(1000), 1)]);
        let (mut broken, mut refused) = (0, 0);
        // 300 s at a hundred calls a second; its emptiness makes it look attractive.
        for _ in 0..30_000 {
            world.now += Duration::from_millis(10);
            let now = world.now;
            match world.pick(false).unwrap() {
                0 => {
                    refused += 1;
                    world.gateways[0].health.failed(now);
                }
                at => world.gateways[at].health.succeeded(now),
            }
            broken += 1;
        }
        // 1, 2, 4, 8, 16 s, then every 30 s.
        assert!((10..=20).contains(&refused), "{refused} of {broken}");
        world.gateways[1].used = 300;
        world.now += LONGEST;
        let went = world.flow(1_000, 10_000);
        assert!(went[0] > 600, "it is well again: {went:?}");
    }

    #[test]
    fn a_trial_is_one_context() {
        let mut world = World::new(&[(Some(1000), 1), (Some(1000), 1)]);
        world.gateways[0].health.failed(world.now);
        world.now += SHORTEST;
        // Asked, not answered yet.
        assert_eq!(world.pick(false), Some(0));
        for _ in 0..50 {
            assert_eq!(world.pick(false), Some(1));
        }
        world.gateways[0].health.failed(world.now);
        assert_eq!(world.pick(false), Some(1));
        assert_eq!(world.gateways[0].health.closed_until(world.now), Some(world.now + SHORTEST * 2));
    }

    #[test]
    fn full_and_closed_ones_are_the_last_resort() {
        let mut world = World::new(&[(Some(10), 1), (Some(10), 1), (Some(10), 1)]);
        world.gateways[0].used = 10;
        world.gateways[1].health.failed(world.now);
        world.gateways[2].used = 9;
        assert_eq!(world.pick(false), Some(2));
        world.gateways[2].used = 10;
        assert_eq!(world.pick(false), Some(1));
        world.gateways.truncate(1);
        assert_eq!(world.pick(false), Some(0));
        world.gateways.clear();
        assert_eq!(world.pick(false), None);
    }

    #[test]
    fn who_asks_for_less_gets_less_but_for_urgent_calls() {
        let mut world = World::new(&[(None, 1)]);
        world.gateways[0].health.reduce(70);
        let taken = (0..10_000).filter(|_| world.pick(false).is_some()).count();
        assert!((2_800..3_200).contains(&taken), "{taken}");
        assert!((0..1_000).all(|_| world.pick(true).is_some()));
        world.gateways[0].health.reduce(0);
        assert!((0..1_000).all(|_| world.pick(false).is_some()));
        // Another one takes what this one does not.
        let mut world = World::new(&[(None, 1), (None, 1)]);
        world.gateways[0].health.reduce(100);
        assert!((0..1_000).all(|_| world.pick(false) == Some(1)));
    }

    #[test]
    fn reports_of_overload_are_heeded_and_forgotten() {
        let mut world = World::new(&[(None, 1)]);
        let health = &mut world.gateways[0].health;
        for _ in 0..1_000 {
            health.overloaded(world.now);
        }
        assert_eq!(health.reduction(world.now), 25, "one in a second counts");
        for _ in 0..30 {
            world.now += Duration::from_secs(1);
            health.overloaded(world.now);
        }
        assert_eq!(health.reduction(world.now), 95);
        world.now += Duration::from_secs(10);
        assert!((50..70).contains(&health.reduction(world.now)), "{}", health.reduction(world.now));
        world.now += Duration::from_secs(20);
        assert_eq!(health.reduction(world.now), 0);
    }
}
