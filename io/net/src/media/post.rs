//! What passes between the control plane and the loops, and the bells that announce it.
//!
//! A thread that is woken often takes the processor away from the one that wakes it. So both
//! directions ring once for all there is: a loop hands over everything one turn of it brought, a
//! sender rings only if the loop has not been rung since it last looked.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carnet_gateway::media::Event;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use tokio::sync::mpsc;

/// Wakes a loop out of `epoll_wait`.
#[derive(Debug)]
pub(crate) struct Bell {
    eventfd: OwnedFd,
    rung: AtomicBool,
    /// How often it was answered, and how often it had been at the last knock.
    answered: AtomicU64,
    known: AtomicU64,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let (answered, known) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Ok(Self { eventfd, rung: AtomicBool::new(false), answered, known })
    }

    /// To be watched edge-triggered: it is never read, every write is an event.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.eventfd
    }

    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // It cannot fail but for a counter at its limit, after 2^64 rings.
            let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
        }
    }

    /// Whether it was rung since last asked. What was queued before the ring is to be seen now.
    pub(crate) fn answer(&self) -> bool {
        let rung = self.rung.swap(false, Ordering::SeqCst);
        if rung {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        rung
    }

    /// Rings, and says whether the loop has answered since the last knock, as every loop does that still turns.
    /// For one who knocks, now and then.
    pub(crate) fn knock(&self) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        let turns = self.known.swap(answered, Ordering::Relaxed) != answered;
        self.ring();
        turns
    }
}

/// A queue of reports, written by every loop and read by one [`Events`].
#[derive(Debug)]
struct Queue {
    reports: Mutex<VecDeque<Event>>,
    most: usize,
    /// A loop has died, and what it moved is gone.
    broken: AtomicBool,
}

impl Queue {
    fn reports(&self) -> MutexGuard<'_, VecDeque<Event>> {
        // Nothing can panic while the lock is held.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A loop's end of the queue of reports.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    queue: Arc<Queue>,
    bell: mpsc::Sender<()>,
}

/// What an engine reports, in order for each pinhole. Dropping it leaves the engine running.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
    bell: mpsc::Receiver<()>,
    batch: VecDeque<Event>,
}

/// A queue of at most `most` reports.
pub(crate) fn reports(most: usize) -> (Reports, Events) {
    let queue =
        Arc::new(Queue { reports: Mutex::new(VecDeque::new()), most, broken: AtomicBool::new(false) });
    let (ring, bell) = mpsc::channel(1);
    let reports = Reports { queue: Arc::clone(&queue), bell: ring };
    (reports, Events { queue, bell, batch: VecDeque::new() })
}

impl Reports {
    /// Moves as many as fit.
    pub(crate) fn hand_over(&self, outbox: &mut VecDeque<Event>) {
        if outbox.is_empty() {
            return;
        }
        if self.bell.is_closed() {
            // Nobody listens any more; the commands will end soon.
            return outbox.clear();
        }
        let mut reports = self.queue.reports();
        let room = self.queue.most.saturating_sub(reports.len());
        reports.extend(outbox.drain(..room.min(outbox.len())));
        drop(reports);
        super::slim::queue(outbox);
        // Full: rung already.
        let _ = self.bell.try_send(());
    }
}

impl Drop for Reports {
    /// An engine with a part of it dead has ended.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.broken.store(true, Ordering::SeqCst);
            // Full: rung already.
            let _ = self.bell.try_send(());
        }
    }
}

impl Events {
    /// The next report; `None` when the engine, or one of its threads, has ended. Nothing is lost if it is cancelled.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.try_recv() {
                return Some(event);
            }
            if self.is_broken() || self.bell.recv().await.is_none() {
                return self.try_recv();
            }
        }
    }

    /// The same in a thread that is not driven by tokio.
    ///
    /// # Panics
    ///
    /// In a thread that is.
    pub fn blocking_recv(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.try_recv() {
                return Some(event);
            }
            if self.is_broken() || self.bell.blocking_recv().is_none() {
                return self.try_recv();
            }
        }
    }

    fn is_broken(&self) -> bool {
        self.queue.broken.load(Ordering::SeqCst)
    }

    /// The next report, if there is one already.
    pub fn try_recv(&mut self) -> Option<Event> {
        if self.batch.is_empty() {
            super::slim::queue(&mut self.batch);
            std::mem::swap(&mut self.batch, &mut *self.queue.reports());
        }
        self.batch.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_gateway::media::{Cause, Pinhole};

    fn closed(number: u64) -> Event {
        Event::Closed { pinhole: Pinhole { group: 0, number }, cause: Cause::Normal }
    }

    #[test]
    fn reports_keep_their_order_and_wait_when_there_is_no_room() {
        let (reports, mut events) = reports(3);
        let mut outbox: VecDeque<_> = (0..5).map(closed).collect();
        reports.hand_over(&mut outbox);
        assert_eq!(outbox.len(), 2);
        assert_eq!(events.blocking_recv(), Some(closed(0)));
        reports.hand_over(&mut outbox);
        assert!(outbox.is_empty());
        drop(reports);
        for number in 1..5 {
            assert_eq!(events.blocking_recv(), Some(closed(number)));
        }
        assert_eq!(events.blocking_recv(), None);
    }

    #[test]
    fn one_loop_that_dies_ends_the_reports() {
        let (reports, mut events) = reports(8);
        let (dies, ends) = (reports.clone(), reports.clone());
        // One that ends in order takes nothing along.
        std::thread::spawn(move || drop(ends)).join().unwrap();
        reports.hand_over(&mut VecDeque::from([closed(1)]));
        assert_eq!(events.blocking_recv(), Some(closed(1)));
        reports.hand_over(&mut VecDeque::from([closed(2)]));
        let died = std::thread::spawn(move || {
            let _held = dies;
            panic!("as a loop might");
        });
        assert!(died.join().is_err());
        assert_eq!(events.blocking_recv(), Some(closed(2)));
        assert_eq!(events.blocking_recv(), None);
        drop(reports);
    }

    #[test]
    fn without_a_reader_reports_are_dropped() {
        let (reports, events) = reports(1);
        drop(events);
        let mut outbox: VecDeque<_> = (0..5).map(closed).collect();
        reports.hand_over(&mut outbox);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_bell_is_rung_once_until_it_is_answered() {
        let bell = Bell::new().unwrap();
        assert!(!bell.answer());
        bell.ring();
        bell.ring();
        let mut count = [0; 8];
        rustix::io::read(&bell.eventfd, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
        assert!(bell.answer());
        assert!(!bell.answer());
    }

    #[test]
    fn a_knock_tells_a_loop_that_turns_from_one_that_does_not() {
        let bell = Bell::new().unwrap();
        assert!(bell.knock(), "nobody has knocked before");
        assert!(!bell.knock(), "nobody has answered");
        assert!(bell.answer());
        assert!(bell.knock());
        // A ring for another reason does not count as an answer, and its answer does.
        bell.ring();
        assert!(!bell.knock());
        assert!(bell.answer());
        assert!(bell.knock());
    }
}
