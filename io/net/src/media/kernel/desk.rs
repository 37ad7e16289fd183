//! Where the loops leave their orders.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::post::Bell;
use super::super::slim;
use super::Order;

/// The orders of all loops, each with the number of its loop.
#[derive(Debug)]
pub(super) struct Desk {
    orders: Mutex<VecDeque<(usize, Order)>>,
    waiting: AtomicUsize,
    most: usize,
    /// Loops that may still give orders.
    loops: AtomicUsize,
    pub(super) bell: Bell,
}

/// A loop's place at it; the thread ends with the last of them.
#[derive(Debug)]
pub(super) struct Seat {
    desk: Arc<Desk>,
    /// Orders of this turn. A thread that is woken for each takes the processor away from the loop that gives them.
    given: RefCell<Vec<Order>>,
}

/// What was on the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// All there was, or a part of it.
    Some {
        /// Loops that found no room may find some now.
        was_full: bool,
        /// There is more, or nobody will ring again.
        more: bool,
    },
    /// Nothing, and nobody is left to give orders.
    Over,
}

impl Desk {
    /// One with room for about `most` orders.
    pub(super) fn new(most: usize) -> io::Result<Self> {
        let (orders, waiting, loops) = (Mutex::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Self { orders, waiting, most, loops, bell: Bell::new()? })
    }

    pub(super) fn enter(desk: &Arc<Self>) -> Seat {
        desk.loops.fetch_add(1, Ordering::SeqCst);
        Seat { desk: Arc::clone(desk), given: RefCell::default() }
    }

    fn orders(&self) -> MutexGuard<'_, VecDeque<(usize, Order)>> {
        // Nothing can panic while the lock is held.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes at most so many.
    pub(super) fn take(&self, batch: usize, into: &mut Vec<(usize, Order)>) -> Taken {
        // Looked at first: what the last loop said before it left is to be seen.
        let over = self.loops.load(Ordering::SeqCst) == 0;
        let mut orders = self.orders();
        let there = orders.len();
        into.extend(orders.drain(..batch.min(there)));
        let left = orders.len();
        slim::queue(&mut orders);
        self.waiting.store(left, Ordering::SeqCst);
        if there == 0 && over {
            return Taken::Over;
        }
        Taken::Some { was_full: there >= self.most && left < self.most, more: left > 0 || over }
    }
}

impl Seat {
    pub(super) fn has_room(&self) -> bool {
        self.desk.waiting.load(Ordering::SeqCst) + self.given.borrow().len() < self.desk.most
    }

    /// It is for the loop to see that there is room; what follows from one command always has some.
    pub(super) fn put(&self, order: Order) {
        self.given.borrow_mut().push(order);
    }

    /// Leaves on the desk what was put.
    pub(super) fn hand_over(&self, index: usize) {
        let mut given = self.given.borrow_mut();
        if given.is_empty() {
            return;
        }
        let mut orders = self.desk.orders();
        orders.extend(given.drain(..).map(|order| (index, order)));
        self.desk.waiting.store(orders.len(), Ordering::SeqCst);
        drop(orders);
        slim::list(&mut given);
        self.desk.bell.ring();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.loops.fetch_sub(1, Ordering::SeqCst);
        self.desk.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order::Unsteer { local: "192.0.2.1:9".parse().unwrap() }
    }

    #[test]
    fn orders_are_taken_in_batches_until_the_last_loop_has_left() {
        let desk = Arc::new(Desk::new(3).unwrap());
        let (one, two) = (Desk::enter(&desk), Desk::enter(&desk));
        let put = |seat: &Seat, index| {
            seat.put(order());
            seat.hand_over(index);
        };
        one.put(order());
        put(&one, 0);
        assert!(two.has_room());
        two.put(order());
        assert!(!two.has_room(), "what was put counts");
        assert!(one.has_room(), "for whom put it");
        two.hand_over(1);
        assert!(!one.has_room(), "as many as there is room for");
        let mut taken = Vec::new();
        assert_eq!(desk.take(1, &mut taken), Taken::Some { was_full: true, more: true });
        assert!(one.has_room());
        drop(one);
        assert_eq!(desk.take(9, &mut taken), Taken::Some { was_full: false, more: false });
        assert_eq!(taken.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!(desk.take(9, &mut taken), Taken::Some { was_full: false, more: false });
        put(&two, 1);
        drop(two);
        assert_eq!(desk.take(9, &mut taken), Taken::Some { was_full: false, more: true });
        assert_eq!(desk.take(9, &mut taken), Taken::Over);
    }
}
