//! Time as a loop keeps it: eight octets, and none of them for "never".

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// Microseconds since the loop began, and one. An `Option` of it is no larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

#[derive(Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::START.plus(self.0.elapsed())
    }
}

impl Moment {
    pub(crate) const START: Self = Self(NonZeroU64::MIN);

    /// A time that is too far off to be expressed never comes.
    pub(crate) fn plus(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// How long ago `earlier` was; nothing if it is yet to come.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_saturate() {
        assert_eq!(size_of::<Option<Moment>>(), 8);
        let later = Moment::START.plus(Duration::from_millis(7));
        assert_eq!(later.since(Moment::START), Duration::from_millis(7));
        assert_eq!(Moment::START.since(later), Duration::ZERO);
        assert!(Moment::START.plus(Duration::MAX) > later);
    }
}
