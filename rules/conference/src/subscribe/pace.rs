//! How often a watcher is told news (RFC 4575 §3.9): some at once, then steadily.

use std::time::{Duration, Instant};

/// The times of one watcher's news. A bucket that holds `burst` and gains one each `every`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// When the bucket is full again.
    full: Option<Instant>,
}

impl Pace {
    /// When the next may go.
    pub(super) fn next(&self, now: Instant, every: Duration, burst: u32) -> Instant {
        let slack = every.saturating_mul(burst.max(1) - 1);
        match self.full {
            Some(full) if full > now + slack => full.checked_sub(slack).unwrap_or(now),
            _ => now,
        }
    }

    /// One goes.
    pub(super) fn spend(&mut self, now: Instant, every: Duration) {
        self.full = Some(self.full.map_or(now, |full| full.max(now)) + every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_then_steadily() {
        let (every, start) = (Duration::from_secs(5), Instant::now());
        let mut pace = Pace::default();
        let mut times = Vec::new();
        let mut now = start;
        for _ in 0..6 {
            now = pace.next(now, every, 3);
            pace.spend(now, every);
            times.push((now - start).as_secs());
        }
        assert_eq!(times, [0, 0, 0, 5, 10, 15]);
        // It was quiet for long.
        let later = now + Duration::from_secs(100);
        assert_eq!(pace.next(later, every, 3), later);
    }
}
