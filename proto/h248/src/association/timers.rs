//! When to send a request again (RFC 3525 §D.1.3): measured delays, exponential back-off, some randomness.

use carnet_wire::Random;
use std::time::Duration;

/// Times of the transaction layer (RFC 3525 Annex D and §E.2).
#[derive(Debug, Clone)]
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
    /// Execution that takes longer is announced by Pending, again and again at growing intervals.
    pub execution: Duration,
    /// Time between repeats of a request that is Pending.
    pub pending: Duration,
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
        }
    }
}

/// Running estimate of the time to a reply: average (AAD) and deviation (ADEV).
#[derive(Debug)]
pub(super) struct Delay {
    average: Duration,
    deviation: Duration,
}

impl Delay {
    pub(super) fn new(timers: &Timers) -> Self {
        Self { average: timers.initial, deviation: Duration::ZERO }
    }

    /// A reply came that much after its request, which was sent once only: of repeated ones it
    /// cannot be told which sending was answered.
    pub(super) fn measured(&mut self, sample: Duration) {
        let off = self.average.abs_diff(sample);
        self.deviation = self.deviation * 3 / 4 + off / 4;
        self.average = self.average * 7 / 8 + sample / 8;
    }

    /// The wait before repeat number `repeats` (from 0): back-off doubles the average, a random part
    /// keeps many gateways from repeating together.
    pub(super) fn wait(&self, repeats: u32, timers: &Timers, rng: &mut impl Random) -> Duration {
        // Below 10 ms clocks and scheduling decide, not the network.
        let floor = Duration::from_millis(10).max(timers.initial / 4);
        let average = self.average.max(floor).saturating_mul(1u32.checked_shl(repeats).unwrap_or(u32::MAX));
        let average = average.min(timers.longest);
        let half = average / 2;
        let random = half.mul_f64(f64::from(rng.u32()) / f64::from(u32::MAX));
        (half + random + self.deviation * 2).min(timers.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_wire::SeededRandom;

    #[test]
    fn waits_grow_to_the_cap_and_follow_what_is_measured() {
        let timers = Timers::default();
        let mut delay = Delay::new(&timers);
        let mut rng = SeededRandom::new(1);
        let waits: Vec<_> = (0..8).map(|n| delay.wait(n, &timers, &mut rng)).collect();
        assert!(waits[0] >= timers.initial / 2 && waits[0] <= timers.initial);
        assert!(waits.iter().all(|w| *w <= timers.longest));
        assert!(waits[7] >= timers.longest / 2);
        for _ in 0..50 {
            delay.measured(Duration::from_secs(1));
        }
        assert!(delay.wait(0, &timers, &mut rng) >= Duration::from_millis(490));
    }
}
