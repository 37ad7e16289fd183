//! The clock by which records say when something ends, for the process that reads them.
//!
//! A border counts from the moment it started and looks at the time of day only then: who sets the clock of the host
//! ends no call. The next process starts by another time of day, perhaps, and would take the difference for time that has
//! passed. So it is noted what the one clock showed when the other did. As long as the host is up, the time since then
//! is the kernel's; after that, it is the time of day's, less what was off before.

use std::time::{Duration, Instant, SystemTime};

/// Clocks that differ by less are the same.
const SLACK: Duration = Duration::from_secs(1);

/// The clock of a border.
#[derive(Debug)]
pub(super) struct Clock {
    /// One moment on both clocks.
    start: (Instant, SystemTime),
    host: Host,
    /// Milliseconds that the time of day was ahead when that was noted last.
    noted: i64,
}

/// What the kernel tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// Another one with each start of the host.
    boot: String,
    /// Milliseconds since then.
    up: u64,
}

impl Host {
    /// Now.
    pub(super) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let up = read("/proc/uptime");
        let seconds: f64 = up.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let up = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_millis();
        let up = u64::try_from(up).unwrap_or(u64::MAX);
        Self { boot: read("/proc/sys/kernel/random/boot_id").trim().to_owned(), up }
    }
}

impl Clock {
    /// The clock of a border that was made at this moment of both.
    pub(super) fn new(start: (Instant, SystemTime)) -> Self {
        Self { start, host: Host::now(), noted: 0 }
    }

    fn shows(&self, now: Instant) -> u64 {
        let (start, wall) = self.start;
        millis(wall + now.saturating_duration_since(start))
    }

    /// How far the time of day is ahead of it.
    fn ahead(&self, now: Instant, wall: SystemTime) -> i64 {
        signed(millis(wall)).saturating_sub(signed(self.shows(now)))
    }

    /// Whether somebody has set the time of day since this was noted.
    pub(super) fn was_set(&self, now: Instant, wall: SystemTime) -> bool {
        u128::from(self.ahead(now, wall).abs_diff(self.noted)) > SLACK.as_millis()
    }

    /// The line to be noted.
    pub(super) fn note(&mut self, now: Instant, wall: SystemTime) -> String {
        self.noted = self.ahead(now, wall);
        self.host = Host::now();
        let Host { boot, up } = &self.host;
        format!("clock {boot} {up} {} {}\n", self.shows(now), millis(wall))
    }
}

/// What the clock of the process that noted this would show now. `None` if there is no such line.
pub(super) fn read(note: &str, host: &Host, wall: SystemTime) -> Option<SystemTime> {
    let line = note.lines().find_map(|line| line.strip_prefix("clock "))?;
    let mut fields = line.split(' ');
    let boot = fields.next()?;
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (up, shown, real) = (number()?, number()?, number()?);
    let now = match host.up.checked_sub(up).filter(|_| boot == host.boot && !boot.is_empty()) {
        Some(since) => shown.checked_add(since)?,
        None => millis(wall).checked_add_signed(signed(shown).checked_sub(signed(real))?)?,
    };
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(now))
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn who_sets_the_clock_changes_nothing() {
        let start = Instant::now();
        let mut clock = Clock::new((start, at(1_000)));
        let now = start + Duration::from_secs(100);
        assert!(!clock.was_set(now, at(1_100)));
        // An hour ahead.
        assert!(clock.was_set(now, at(4_700)));
        let note = clock.note(now, at(4_700));
        assert!(!clock.was_set(now + Duration::from_secs(5), at(4_705)));
        let Host { boot, up } = clock.host.clone();
        let read = |boot: &str, up, wall| read(&note, &Host { boot: boot.into(), up }, wall);
        // Ten seconds later, whatever the time of day is by then.
        for wall in [at(0), at(4_710), at(1_000_000)] {
            assert_eq!(read(&boot, up + 10_000, wall), Some(at(1_110)));
        }
        // The host was started again, and its clock is right now.
        assert_eq!(read("another", 5, at(4_760)), Some(at(1_160)));
        // Nothing sensible, and nothing at all.
        assert_eq!(read("another", 5, at(0)), None);
        for odd in ["", "clock", "clock b", "clock b 1 2", "clock b x 2 3", "carnet ways 1\n"] {
            assert_eq!(super::read(odd, &clock.host, at(5)), None, "{odd}");
        }
    }
}
