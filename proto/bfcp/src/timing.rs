//! Timers T1 and T2 over datagrams (RFC 8855 §8.3), with the round trips of RFC 6298.

use std::time::Duration;

/// Times a request is sent again.
pub(crate) const REPEATS: u32 = 3;
/// T1 at first, and at least.
const FIRST: Duration = Duration::from_millis(500);
/// T1 at most. §8.3.1 names no bound.
const MOST: Duration = Duration::from_secs(4);
/// The granularity of the clock.
const GRAIN: Duration = Duration::from_millis(100);

/// What is known of how long an answer takes.
#[derive(Debug)]
pub(crate) struct RoundTrip {
    smoothed: Option<(Duration, Duration)>,
    interval: Duration,
}

impl Default for RoundTrip {
    fn default() -> Self {
        Self { smoothed: None, interval: FIRST }
    }
}

impl RoundTrip {
    /// T1 for the next request.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// T2: how long an answer is kept.
    pub(crate) fn keep(&self) -> Duration {
        self.interval * 20
    }

    /// A request that was sent `repeats` times more was answered.
    pub(crate) fn answered(&mut self, after: Duration, repeats: u32) {
        if repeats > 0 {
            // Which of them it answers cannot be told. If all begin so, T1 is too short.
            self.interval = (self.interval * 2).min(MOST);
            return;
        }
        let (mean, deviation) = match self.smoothed {
            None => (after, after / 2),
            Some((mean, deviation)) => {
                let apart = mean.abs_diff(after);
                ((mean * 7 + after) / 8, (deviation * 3 + apart) / 4)
            }
        };
        self.smoothed = Some((mean, deviation));
        self.interval = (mean + GRAIN.max(deviation * 4)).clamp(FIRST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_follow_the_round_trips() {
        let mut trip = RoundTrip::default();
        assert_eq!((trip.interval(), trip.keep()), (FIRST, Duration::from_secs(10)));
        trip.answered(Duration::from_millis(20), 0);
        assert_eq!(trip.interval(), FIRST, "never below 500 ms");
        let mut trip = RoundTrip::default();
        trip.answered(Duration::from_millis(400), 0);
        assert_eq!(trip.interval(), Duration::from_millis(1200), "R + 4 * R / 2");
        trip.answered(Duration::from_millis(400), 0);
        assert_eq!(trip.interval(), Duration::from_millis(1000), "the deviation shrinks by a quarter");
        let mut trip = RoundTrip::default();
        trip.answered(Duration::from_millis(900), 1);
        assert_eq!(trip.interval(), Duration::from_secs(1), "not measured, but doubled");
        for _ in 0..10 {
            trip.answered(Duration::from_millis(900), 3);
        }
        assert_eq!(trip.interval(), MOST);
    }
}
