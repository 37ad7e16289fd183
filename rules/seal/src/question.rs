//! A question to the key server, which may be put once more.
//!
//! A key server that was just started refuses what is older than its start as a replay, because it
//! does not know what it saw before (RFC 3830 §5.4), and says "invalid timestamp" (RFC 6043 §6.9).
//! The same question with a fresh timestamp is good a moment later. If it is refused again, the
//! clocks differ.

use std::time::{Duration, Instant};

use crate::fetch::FetchId;
use crate::refusal::Refusal;

/// How long after a question was refused for its time it is put again.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a question stands. `P` is what its answer is read with.
pub enum Question<P> {
    /// It is with the driver.
    Out {
        /// Names it.
        fetch: FetchId,
        /// What its answer is read with.
        pending: P,
        /// Whether it was put before.
        again: bool,
    },
    /// It is put again at this time.
    Pause {
        /// When.
        until: Instant,
    },
}

impl<P> Question<P> {
    /// Whether this is the question that the driver answers.
    pub fn is(&self, id: FetchId) -> bool {
        matches!(self, Self::Out { fetch, .. } if *fetch == id)
    }

    /// When it is to be put again.
    pub fn timeout(&self) -> Option<Instant> {
        match self {
            Self::Out { .. } => None,
            Self::Pause { until } => Some(*until),
        }
    }

    /// Whether it is to be put again now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.timeout().is_some_and(|until| now >= until)
    }

    /// What to wait for, if a question that was refused deserves another try.
    pub fn pause(now: Instant, refusal: &Refusal, again: bool) -> Option<Self> {
        let deserved = matches!(refusal, Refusal::KmsClock(_)) && !again;
        deserved.then(|| Self::Pause { until: now + PAUSE })
    }
}
