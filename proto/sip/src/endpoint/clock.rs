//! Deadlines in order, each of which can be taken back.

use std::collections::BTreeMap;
use std::time::Instant;

/// A deadline that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alarm(Instant, u64);

#[derive(Debug)]
pub(super) struct Clock<T> {
    alarms: BTreeMap<Alarm, T>,
    next: u64,
}

impl<T> Clock<T> {
    pub(super) fn new() -> Self {
        Self { alarms: BTreeMap::new(), next: 0 }
    }

    pub(super) fn set(&mut self, at: Instant, what: T) -> Alarm {
        let alarm = Alarm(at, self.next);
        self.next += 1;
        self.alarms.insert(alarm, what);
        alarm
    }

    /// Takes a deadline back; passed ones are no matter.
    pub(super) fn clear(&mut self, alarm: &mut Option<Alarm>) {
        if let Some(alarm) = alarm.take() {
            self.alarms.remove(&alarm);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.alarms.first_key_value().map(|(Alarm(at, _), _)| *at)
    }

    pub(super) fn due(&mut self, now: Instant) -> Option<T> {
        let entry = self.alarms.first_entry().filter(|e| e.key().0 <= now)?;
        Some(entry.remove())
    }

    pub(super) fn len(&self) -> usize {
        self.alarms.len()
    }
}
