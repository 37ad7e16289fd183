//! Token bucket for one direction of a pinhole (`tman/sdr`, `tman/mbs`). TCP is delayed, never
//! dropped.

use std::time::Duration;

use carnet_gateway::media::Rate;

use super::clock::Moment;

/// It is not worth waking up for fewer octets than this, unless the bucket is smaller.
const QUANTUM: u64 = 4096;

#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    tokens: u64,
    filled: Moment,
}

impl Bucket {
    pub(super) fn new(rate: Rate, now: Moment) -> Self {
        Self { rate, tokens: rate.burst, filled: now }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// How many octets may pass now, or when to ask again.
    pub(super) fn allowance(&mut self, now: Moment) -> Result<u64, Moment> {
        let elapsed = now.since(self.filled);
        let per_second = u128::from(self.rate.octets_per_second);
        let gained = elapsed.as_nanos().saturating_mul(per_second) / 1_000_000_000;
        if gained > 0 {
            let gained = u64::try_from(gained).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(gained).min(self.rate.burst);
            self.filled = now;
        }
        let quantum = QUANTUM.min(self.rate.burst).max(1);
        if self.tokens >= quantum {
            return Ok(self.tokens);
        }
        // A rate of zero never fills; look again now and then, the rate may be replaced.
        let missing = u128::from(quantum - self.tokens) * 1_000_000_000;
        let nanos = missing.div_ceil(per_second.max(1)).min(1_000_000_000);
        let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(1_000_000_000));
        Err(now.plus(wait.max(Duration::from_millis(1))))
    }

    pub(super) fn take(&mut self, octets: u64) {
        self.tokens = self.tokens.saturating_sub(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Moment::START;
        let rate = Rate { octets_per_second: 100_000, burst: 50_000 };
        let mut bucket = Bucket::new(rate, start);
        let (mut now, mut passed) = (start, 0);
        while now < start.plus(Duration::from_secs(2)) {
            match bucket.allowance(now) {
                Ok(tokens) => {
                    bucket.take(tokens);
                    passed += tokens;
                }
                Err(later) => now = later,
            }
        }
        assert!((245_000..=255_000).contains(&passed), "{passed}");
    }

    #[test]
    fn slow_rates_are_not_lost_to_rounding() {
        let start = Moment::START;
        let rate = Rate { octets_per_second: 100, burst: 100 };
        let mut bucket = Bucket::new(rate, start);
        bucket.take(100);
        for step in 1..1000 {
            let _ = bucket.allowance(start.plus(Duration::from_millis(step)));
        }
        assert_eq!(bucket.allowance(start.plus(Duration::from_secs(1))), Ok(100));
    }
}
