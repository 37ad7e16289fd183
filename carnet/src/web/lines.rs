//! Connections there are, and which one has to go when there are too many: the one that has been idle longest. One whose
//! request is being answered stays, and so does one that was busy a moment ago: many who come at once must not drive one
//! another out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often it is looked whether somebody has been idle for long enough.
const LOOK: Duration = Duration::from_millis(50);

/// All of them.
pub(super) struct Lines {
    most: usize,
    /// How long nobody has to go.
    moment: Duration,
    table: Mutex<Table>,
    /// Somebody has gone, or has become idle.
    freed: Notify,
}

#[derive(Default)]
struct Table {
    next: u64,
    lines: HashMap<u64, State>,
    /// Those that have lost their place and are not gone yet: they are open too.
    leaving: usize,
}

struct State {
    /// Requests that are being answered.
    busy: usize,
    /// Counts up: the lowest has been idle longest.
    since: u64,
    idle_from: Instant,
    away: Arc<Notify>,
}

impl Lines {
    pub(super) fn new(most: usize, moment: Duration) -> Self {
        Self { most, moment, table: Mutex::default(), freed: Notify::new() }
    }

    /// A place for one more; somebody idle gives up its own if need be. Waits while nobody is.
    pub(super) async fn enter(this: &Arc<Self>) -> Line {
        loop {
            if let Some(line) = this.try_enter() {
                return line;
            }
            tokio::select! {
                () = this.freed.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Line> {
        let mut table = self.table();
        if table.lines.len() >= self.most {
            // Otherwise a crowd that comes when the places have stood for a moment is open twice over.
            if table.leaving >= (self.most / 8).max(1) {
                return None;
            }
            let may_go = |state: &State| state.busy == 0 && state.idle_from.elapsed() >= self.moment;
            let idle = table.lines.iter().filter(|(_, state)| may_go(state));
            let longest = idle.min_by_key(|(_, state)| state.since).map(|(number, _)| *number)?;
            if let Some(state) = table.lines.remove(&longest) {
                state.away.notify_one();
                table.leaving += 1;
            }
        }
        table.next += 1;
        let (number, away) = (table.next, Arc::new(Notify::new()));
        table
            .lines
            .insert(number, State { busy: 0, since: number, idle_from: Instant::now(), away: away.clone() });
        Some(Line { number, under_way: Arc::default(), away, lines: self.clone() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place; given back when dropped.
pub(super) struct Line {
    number: u64,
    /// Its own requests, also after it has lost its place.
    under_way: Arc<AtomicUsize>,
    away: Arc<Notify>,
    lines: Arc<Lines>,
}

impl Line {
    /// It has to go.
    pub(super) async fn sent_away(&self) {
        self.away.notified().await;
    }

    /// It had a moment to take what has come, and nothing of it is being answered.
    pub(super) async fn has_nothing_to_do(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if self.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    /// A request of it is being answered, until this is dropped.
    pub(super) fn busy(&self) -> Busy {
        if let Some(state) = self.lines.table().lines.get_mut(&self.number) {
            state.busy += 1;
        }
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Busy { number: self.number, under_way: self.under_way.clone(), lines: self.lines.clone() }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut table = self.lines.table();
        if table.lines.remove(&self.number).is_none() {
            table.leaving -= 1;
        }
        drop(table);
        self.lines.freed.notify_one();
    }
}

/// See [`Line::busy`].
pub(super) struct Busy {
    number: u64,
    under_way: Arc<AtomicUsize>,
    lines: Arc<Lines>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let mut table = self.lines.table();
        table.next += 1;
        let now = table.next;
        if let Some(state) = table.lines.get_mut(&self.number) {
            state.busy = state.busy.saturating_sub(1);
            state.since = now;
            state.idle_from = Instant::now();
        }
        drop(table);
        self.lines.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn is_sent_away(line: &Line) -> bool {
        let mut away = Box::pin(line.sent_away());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        away.as_mut().poll(&mut context).is_ready()
    }

    #[tokio::test]
    async fn the_one_that_was_idle_longest_goes_and_who_is_served_stays() {
        let lines = Arc::new(Lines::new(2, Duration::ZERO));
        let (first, second) = (Lines::enter(&lines).await, Lines::enter(&lines).await);
        // It was first, and has just been served.
        drop(first.busy());
        let third = Lines::enter(&lines).await;
        assert!(is_sent_away(&second) && !is_sent_away(&first));
        drop(second);
        let (a, b) = (first.busy(), third.busy());
        let wait = Duration::from_millis(50);
        assert!(tokio::time::timeout(wait, Lines::enter(&lines)).await.is_err(), "all are busy");
        drop((a, b));
        let fourth = Lines::enter(&lines).await;
        assert!(is_sent_away(&first) && !is_sent_away(&third) && !is_sent_away(&fourth));
        drop(first);
        assert_eq!(lines.table().lines.len(), 2);
        drop((third, fourth));
        assert_eq!(lines.table().lines.len(), 0);
    }

    #[tokio::test]
    async fn who_is_sent_away_is_counted_until_it_is_gone() {
        let lines = Arc::new(Lines::new(16, Duration::ZERO));
        let mut all = Vec::new();
        for _ in 0..18 {
            all.push(Lines::enter(&lines).await);
        }
        assert!(is_sent_away(&all[0]) && is_sent_away(&all[1]) && !is_sent_away(&all[2]));
        let wait = LOOK * 4;
        assert!(tokio::time::timeout(wait, Lines::enter(&lines)).await.is_err(), "18 are open");
        drop(all.swap_remove(1));
        let _one = Lines::enter(&lines).await;
        drop(all);
        let table = lines.table();
        assert_eq!((table.lines.len(), table.leaving), (1, 0));
    }

    /// On a busy machine a request may be there for longer than a moment before anybody looks.
    #[tokio::test]
    async fn who_is_sent_away_with_a_request_is_answered_first() {
        let lines = Arc::new(Lines::new(1, Duration::ZERO));
        let first = Lines::enter(&lines).await;
        let _second = Lines::enter(&lines).await;
        assert!(is_sent_away(&first));
        let busy = first.busy();
        let wait = LOOK * 4;
        assert!(tokio::time::timeout(wait, first.has_nothing_to_do()).await.is_err());
        drop(busy);
        assert!(tokio::time::timeout(Duration::from_secs(20), first.has_nothing_to_do()).await.is_ok());
    }

    #[tokio::test]
    async fn those_who_come_at_once_do_not_drive_one_another_out() {
        let lines = Arc::new(Lines::new(1, Duration::from_millis(300)));
        let first = Lines::enter(&lines).await;
        let came = Instant::now();
        let second = Lines::enter(&lines).await;
        assert!(
            came.elapsed() >= Duration::from_millis(250) && is_sent_away(&first) && !is_sent_away(&second)
        );
    }
}
