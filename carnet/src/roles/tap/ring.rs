//! What went by a moment ago: a ring of messages and events, bounded in octets, number and age.
//!
//! Roles write into it from several threads; who reads takes references and leaves at once, so nobody waits for long.

use carnet_trace::Telling;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub octets: usize,
    pub entries: usize,
    pub age: Duration,
}

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    bounds: Bounds,
    list: VecDeque<Arc<Telling>>,
    octets: usize,
    next: u64,
    gone: u64,
}

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Octets in use, about.
    pub octets: usize,
    /// Messages and events.
    pub entries: usize,
    /// How many have made room for others since the start.
    pub gone: u64,
    /// When the oldest was, since 1970.
    pub oldest: Option<Duration>,
    /// Number of the newest; 0 if there was none.
    pub newest: u64,
}

impl Ring {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { kept: Mutex::new(Kept { bounds, list: VecDeque::new(), octets: 0, next: 0, gone: 0 }) }
    }

    /// So much from now on. What finds no room any more goes.
    pub(super) fn set(&self, bounds: Bounds, now: Duration) {
        let mut over = Vec::new();
        let mut kept = self.kept();
        kept.bounds = bounds;
        kept.trim(now, &mut over);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it holds the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one in, with the next number. What is over goes.
    pub(super) fn put(&self, mut telling: Telling) -> Arc<Telling> {
        let (size, now) = (telling.size(), telling.at);
        let mut over = Vec::new();
        let mut kept = self.kept();
        kept.next += 1;
        telling.number = kept.next;
        let telling = Arc::new(telling);
        kept.list.push_back(telling.clone());
        kept.octets += size;
        kept.trim(now, &mut over);
        drop(kept);
        // Memory is given back when nobody waits for the lock.
        drop(over);
        telling
    }

    /// Forgets what is too old. To be asked by who reads: where nothing comes in, nothing else does it.
    pub(super) fn age(&self, now: Duration) {
        let mut over = Vec::new();
        self.kept().trim(now, &mut over);
    }

    /// What was between two moments, in order.
    pub(super) fn between(&self, from: Duration, to: Duration) -> Vec<Arc<Telling>> {
        let kept = self.kept();
        kept.list.iter().filter(|telling| (from..=to).contains(&telling.at)).cloned().collect()
    }

    /// What has greater numbers than `after`, of that span of time: at most so many, and so many octets.
    pub(super) fn page(
        &self,
        after: u64,
        most: usize,
        octets: usize,
        span: &RangeInclusive<Duration>,
    ) -> Vec<Arc<Telling>> {
        let kept = self.kept();
        let begin = kept.list.partition_point(|telling| telling.number <= after);
        let mut left = octets;
        let fits = |telling: &&Arc<Telling>| {
            let size = telling.size();
            let fits = left > 0;
            left = left.saturating_sub(size);
            fits
        };
        let within = |telling: &&Arc<Telling>| span.contains(&telling.at);
        kept.list.range(begin..).filter(within).take(most).take_while(fits).cloned().collect()
    }

    pub(super) fn level(&self) -> Level {
        let kept = self.kept();
        Level {
            octets: kept.octets,
            entries: kept.list.len(),
            gone: kept.gone,
            oldest: kept.list.front().map(|first| first.at),
            newest: kept.next,
        }
    }
}

impl Kept {
    fn trim(&mut self, now: Duration, over: &mut Vec<Arc<Telling>>) {
        while let Some(first) = self.list.front() {
            let old = now.saturating_sub(first.at) > self.bounds.age;
            if self.octets <= self.bounds.octets && self.list.len() <= self.bounds.entries && !old {
                break;
            }
            if let Some(first) = self.list.pop_front() {
                self.octets = self.octets.saturating_sub(first.size());
                self.gone += 1;
                over.push(first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use carnet_trace::{Node, Peer, Protocol, Way, What};

    const ALL: RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;

    fn telling(at: u64, octets: usize) -> Telling {
        Telling {
            at: Duration::from_secs(at),
            number: 0,
            node: Node::new("b", "IBCF"),
            what: What::Message {
                protocol: Protocol::Sip,
                sent: true,
                local: None,
                peer: Peer::Address(([192, 0, 2, 1], 5060).into()),
                way: Way::Udp,
                octets: Bytes::from(vec![b'x'; octets]),
            },
        }
    }

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let bounds = Bounds { octets: 64 << 10, entries: 50, age: Duration::from_secs(3600) };
        let ring = Ring::new(bounds);
        for n in 0..10_000 {
            ring.put(telling(1_000 + n / 100, 2_000));
            let level = ring.level();
            assert!(level.octets <= bounds.octets && level.entries <= bounds.entries);
        }
        let level = ring.level();
        assert_eq!(level.gone + level.entries as u64, 10_000);
        assert_eq!(level.newest, 10_000);
        let all = ring.between(Duration::ZERO, Duration::MAX);
        assert_eq!(all.len(), level.entries);
        assert_eq!(all.iter().map(|t| t.size()).sum::<usize>(), level.octets);
        assert!(all.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
        // Small ones are bounded by their number.
        for _ in 0..200 {
            ring.put(telling(2_000, 1));
        }
        assert_eq!(ring.level().entries, 50);
        // One that is larger than the ring leaves it empty, not over its bounds.
        ring.put(telling(2_000, 100 << 10));
        assert_eq!((ring.level().entries, ring.level().octets), (0, 0));
    }

    #[test]
    fn it_is_made_smaller_and_larger_while_it_is_used() {
        let bounds = Bounds { octets: 1 << 20, entries: 100, age: Duration::from_secs(3600) };
        let ring = Ring::new(bounds);
        (0..100).for_each(|n| drop(ring.put(telling(n, 10))));
        let now = Duration::from_secs(100);
        ring.set(Bounds { entries: 10, ..bounds }, now);
        assert_eq!((ring.level().entries, ring.level().gone, ring.level().newest), (10, 90, 100));
        ring.set(bounds, now);
        (0..20).for_each(|n| drop(ring.put(telling(100 + n, 10))));
        assert_eq!((ring.level().entries, ring.level().newest), (30, 120));
        ring.set(Bounds { age: Duration::from_secs(4), ..bounds }, Duration::from_secs(120));
        assert_eq!(ring.level().entries, 4);
    }

    #[test]
    fn what_is_old_is_forgotten_even_if_nothing_comes() {
        let ring = Ring::new(Bounds { octets: 1 << 20, entries: 100, age: Duration::from_secs(60) });
        for at in [100, 120, 200] {
            ring.put(telling(at, 10));
        }
        assert_eq!(ring.level().oldest, Some(Duration::from_secs(200)));
        ring.age(Duration::from_secs(261));
        assert_eq!((ring.level().entries, ring.level().gone), (0, 3));
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended() {
        let ring = Ring::new(Bounds { octets: 1 << 20, entries: 100, age: Duration::from_secs(60) });
        for at in 0..30 {
            ring.put(telling(at, 1_000));
        }
        let first = ring.page(0, 10, usize::MAX, &ALL);
        assert_eq!(first.iter().map(|t| t.number).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
        assert_eq!(ring.page(10, 100, usize::MAX, &ALL).len(), 20);
        assert_eq!(
            ring.page(10, 100, 2_000, &ALL).len(),
            2,
            "bounded in octets, and never empty while there are some"
        );
        assert!(ring.page(30, 100, usize::MAX, &ALL).is_empty());
    }
}
