//! What is refused before anybody reads it: counted, and told at most once in ten seconds, whatever
//! strangers send.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines in the log.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Foreign {
    count: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

impl Foreign {
    /// Counts one; tells of it if it is time to.
    pub(super) fn refuse(&self, remote: SocketAddr, what: &str, why: &dyn fmt::Display) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(others) = self.due(Instant::now()) {
            tracing::warn!(%remote, %why, others, "{what}");
        }
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// If it is time to tell: how many were not told of.
    fn due(&self, now: Instant) -> Option<u64> {
        // Nothing panics while it holds the lock.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| now < last + QUIET) {
            told.untold = told.untold.saturating_add(1);
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line() {
        let foreign = Foreign::default();
        let start = Instant::now();
        assert_eq!(foreign.due(start), Some(0));
        for _ in 0..5000 {
            assert_eq!(foreign.due(start + QUIET / 2), None);
        }
        assert_eq!(foreign.due(start + QUIET), Some(5000));
        foreign.refuse("192.0.2.1:2944".parse().unwrap(), "refused", &"a reason");
        assert_eq!(foreign.count(), 1);
    }
}
