//! When to send a request again (RFC 3525 §D.1.3): measured delays, exponential back-off, some randomness.

use carnet_wire::Random;
use std::time::Duration;

/// Times of the transaction layer (RFC 3525 Annex D and §E.2.1, H.248.1 version 3 §E.14).
///
/// They may be set while the association runs; what is waited for already ends when it was to end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timers {
    /// First estimate of the time to a reply.
    pub initial: Duration,
    /// Longest time between two repeats.
    pub longest: Duration,
    /// T-MAX: a request not answered for so long has failed, and the peer is taken for lost.
    pub t_max: Duration,
    /// LONG-TIMER: how long a request is remembered so that it is executed at most once.
    pub long: Duration,
    /// Execution that takes longer is announced by Pending, again and again at growing intervals
    /// (MGProvisionalResponseTimerValue or MGCProvisionalResponseTimerValue, whichever we are).
    pub execution: Duration,
    /// Time to the first repeat of a request that is Pending; it doubles with each.
    pub pending: Duration,
    /// What the peer may take to execute a request, without the network (normalMGExecutionTime or
    /// normalMGCExecutionTime, whichever the peer is). Nothing is repeated sooner. Zero leaves it
    /// to what is measured.
    pub answer: Duration,
    /// How long an acknowledgement waits for a message to ride in.
    pub acknowledgement: Duration,
    /// How long segments may be missing after the last one has come (MGSegmentationTimerValue or
    /// MGCSegmentationTimerValue, whichever the peer is).
    pub segments: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(200),
            longest: Duration::from_secs(4),
            t_max: Duration::from_secs(25),
            long: Duration::from_secs(30),
            execution: Duration::from_millis(500),
            pending: Duration::from_secs(5),
            answer: Duration::ZERO,
            acknowledgement: Duration::from_secs(5),
            segments: Duration::from_secs(4),
        }
    }
}

/// How many deviations are waited beyond the average; TCP takes as many (RFC 6298 §2).
const DEVIATIONS: u32 = 4;
/// Below it clocks and scheduling decide, not the network.
const LEAST: Duration = Duration::from_millis(10);

/// Running estimate of the time to a reply: average (AAD) and deviation (ADEV).
#[derive(Debug)]
pub(super) struct Delay {
    average: Duration,
    deviation: Duration,
    measured: bool,
    /// What AAD was doubled to by repeats, until an answer says how much of it was needed.
    doubled: Duration,
}

impl Delay {
    pub(super) fn new(timers: &Timers) -> Self {
        Self { average: timers.initial, deviation: Duration::ZERO, measured: false, doubled: Duration::ZERO }
    }

    /// The first estimate is another.
    pub(super) fn set_initial(&mut self, timers: &Timers) {
        if !self.measured {
            self.average = timers.initial;
        }
    }

    /// A reply came that much after its request, which was sent once only: of repeated ones it
    /// cannot be told which sending was answered.
    pub(super) fn measured(&mut self, sample: Duration) {
        self.doubled = Duration::ZERO;
        if !std::mem::replace(&mut self.measured, true) {
            self.average = sample;
            self.deviation = sample / 2;
            return;
        }
        let off = self.average.abs_diff(sample);
        self.deviation = self.deviation * 3 / 4 + off / 4;
        self.average = self.average * 7 / 8 + sample / 8;
    }

    /// A reply came that much after the first sending of its request, which was repeated: the delay is
    /// not more.
    pub(super) fn bounded(&mut self, elapsed: Duration) {
        self.doubled = self.doubled.min(elapsed + elapsed / 4);
    }

    /// No reply came at all, which says nothing about its delay.
    pub(super) fn nothing(&mut self) {
        self.doubled = Duration::ZERO;
    }

    /// The AAD a request begins with.
    pub(super) fn average(&self, timers: &Timers) -> Duration {
        let least = LEAST.max(timers.initial / 4);
        self.average.max(self.doubled).max(timers.answer).max(least)
    }

    /// The wait before the first repeat: the average and some deviations.
    pub(super) fn first(&self, timers: &Timers) -> Duration {
        (self.average(timers) + self.deviation * DEVIATIONS).min(self.longest(timers))
    }

    /// The wait after repeat number `repeats`, from 1, of a request that began with `average`.
    ///
    /// Each repeat doubles AAD, also for the requests that come after: when the network has become
    /// slower than the estimate every request is repeated, so none is measured, and only this way one
    /// will wait long enough.
    pub(super) fn again(
        &mut self,
        average: Duration,
        repeats: u32,
        timers: &Timers,
        rng: &mut impl Random,
    ) -> Duration {
        self.doubled = self.doubled.max(self.backed_off(average, repeats, timers));
        self.spread(average, repeats, timers, rng)
    }

    /// The same wait for what says nothing about the delay of replies. Of the doubled AAD a random half
    /// keeps many gateways from repeating together.
    pub(super) fn spread(
        &self,
        average: Duration,
        repeats: u32,
        timers: &Timers,
        rng: &mut impl Random,
    ) -> Duration {
        let half = self.backed_off(average, repeats, timers) / 2;
        let random = half.mul_f64(f64::from(rng.u32()) / f64::from(u32::MAX));
        (half + random + self.deviation * DEVIATIONS).min(self.longest(timers))
    }

    fn backed_off(&self, average: Duration, repeats: u32, timers: &Timers) -> Duration {
        let doubled = average.saturating_mul(1u32.checked_shl(repeats).unwrap_or(u32::MAX));
        doubled.min(self.longest(timers))
    }

    fn longest(&self, timers: &Timers) -> Duration {
        timers.longest.max(timers.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_wire::SeededRandom;

    const MS: Duration = Duration::from_millis(1);

    /// RFC 3525 §D.1.3: AAD doubles, half of it is random, the cap is 4 s. §D.1.5: from 200 ms the loss
    /// of the fifth is seen after about 6 s at the latest.
    #[test]
    fn waits_double_up_to_the_cap() {
        let timers = Timers::default();
        for seed in 0..50 {
            let mut delay = Delay::new(&timers);
            let mut rng = SeededRandom::new(seed);
            let average = delay.average(&timers);
            let mut waits = vec![delay.first(&timers)];
            waits.extend((1..9).map(|n| delay.again(average, n, &timers, &mut rng)));
            assert_eq!(waits[0], 200 * MS);
            for (n, aad) in [400, 800, 1_600, 3_200, 4_000, 4_000, 4_000, 4_000].into_iter().enumerate() {
                let wait = waits[n + 1];
                assert!(wait >= aad * MS / 2 && wait <= aad * MS, "{wait:?} after repeat {}", n + 1);
            }
            let fifth: Duration = waits[..5].iter().sum();
            assert!(fifth >= 3_200 * MS && fifth <= 6_200 * MS, "{fifth:?}");
        }
    }

    #[test]
    fn the_spread_is_random() {
        let timers = Timers::default();
        let mut rng = SeededRandom::new(1);
        let mut delay = Delay::new(&timers);
        let waits: Vec<_> = (0..1_000).map(|_| delay.again(1_000 * MS, 1, &timers, &mut rng)).collect();
        let mean = waits.iter().sum::<Duration>() / 1_000;
        assert!(mean > 1_450 * MS && mean < 1_550 * MS, "{mean:?}");
        assert!(waits.iter().any(|w| *w < 1_050 * MS) && waits.iter().any(|w| *w > 1_950 * MS));
    }

    /// On a steady path nothing is repeated before its answer can be there.
    #[test]
    fn a_steady_path_is_waited_for() {
        let timers = Timers::default();
        for path in [60, 100, 500, 2_000] {
            let mut delay = Delay::new(&timers);
            for _ in 0..200 {
                delay.measured(path * MS);
                assert!(delay.first(&timers) >= path * MS, "{:?} at {path} ms", delay.first(&timers));
            }
            assert!(delay.first(&timers) <= path * MS * 11 / 10, "{:?} at {path} ms", delay.first(&timers));
        }
    }

    /// The path becomes slower than the estimate: nothing can be measured until waits are longer.
    #[test]
    fn a_path_that_became_slow_is_learnt_though_all_is_repeated() {
        let timers = Timers::default();
        let mut rng = SeededRandom::new(2);
        let mut delay = Delay::new(&timers);
        (0..100).for_each(|_| delay.measured(60 * MS));
        let (path, mut repeated) = (1_500 * MS, 0);
        for _ in 0..20 {
            let average = delay.average(&timers);
            let (mut at, mut repeats) = (delay.first(&timers), 0);
            while at < path {
                repeats += 1;
                at += delay.again(average, repeats, &timers, &mut rng);
            }
            match repeats {
                0 => delay.measured(path),
                _ => {
                    repeated += 1;
                    delay.bounded(path);
                }
            }
        }
        assert!(repeated <= 3, "{repeated} of 20 were repeated");
    }

    /// Loss is not slowness: of ten repeated requests on a fast path the next is still repeated soon.
    #[test]
    fn a_path_that_loses_stays_fast() {
        let timers = Timers::default();
        let mut rng = SeededRandom::new(5);
        let mut delay = Delay::new(&timers);
        (0..100).for_each(|_| delay.measured(10 * MS));
        for _ in 0..10 {
            let average = delay.average(&timers);
            let elapsed = delay.first(&timers) + 10 * MS;
            delay.again(average, 1, &timers, &mut rng);
            delay.bounded(elapsed);
        }
        assert!(delay.average(&timers) < 1_000 * MS, "{:?}", delay.average(&timers));
        delay.again(4_000 * MS, 1, &timers, &mut rng);
        delay.nothing();
        assert_eq!(delay.average(&timers), 50 * MS);
    }

    /// Requests that are lost together double AAD once, not once each.
    #[test]
    fn a_burst_that_is_lost_counts_once() {
        let timers = Timers::default();
        let mut rng = SeededRandom::new(3);
        let mut delay = Delay::new(&timers);
        let average = delay.average(&timers);
        for _ in 0..50 {
            delay.again(average, 1, &timers, &mut rng);
        }
        assert_eq!(delay.average(&timers), 400 * MS);
        delay.measured(100 * MS);
        assert_eq!(delay.average(&timers), 100 * MS);
    }

    /// normalMGExecutionTime: nothing is repeated while the peer may still be at it.
    #[test]
    fn the_peer_may_take_its_time() {
        let timers = Timers { answer: 6_000 * MS, ..Timers::default() };
        let mut delay = Delay::new(&timers);
        assert_eq!(delay.first(&timers), 6_000 * MS);
        let again = delay.again(delay.average(&timers), 1, &timers, &mut SeededRandom::new(4));
        assert!(again <= 6_000 * MS && again >= 3_000 * MS);
    }
}
