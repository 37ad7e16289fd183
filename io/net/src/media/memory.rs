//! What all loops together may hold of octets that receivers have not taken.
//!
//! A direction never holds more than one buffer or one pipe; a thousand of them whose receivers stopped would
//! still be a quarter of a gigabyte. So what is held is counted for the whole process, and when there is
//! little room left nothing is read any more that does not leave at once: octets are looked at in the
//! socket of the sender, written, and only what was written is taken. Senders of those who do not read wait;
//! everybody else goes on. Nothing is dropped.
//!
//! Where TLS ends or paths are rewritten that cannot be done: there reads get small instead, and a
//! direction that holds something reads nothing in any case.
//!
//! Leaves out: the kernel's socket buffers, which `socket_buffer` bounds for each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// With less room than this nothing is held that was not held before.
const LITTLE: usize = 64 * 1024;
/// What is read at once then, where it has to be worked on.
const LEAST: usize = 4 * 1024;

/// What is held.
#[derive(Debug)]
pub(super) struct Memory {
    held: AtomicUsize,
    most: usize,
    /// Turns of directions that found little room.
    scarce: AtomicU64,
    /// Octets that all loops have taken from peers.
    passed: AtomicU64,
}

/// How much the engine holds for receivers, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryTally {
    /// Octets that receivers have not taken, in buffers and pipes of all loops.
    pub held: usize,
    /// As many as there may be ([`EngineConfig::memory`](super::EngineConfig::memory)). Each loop may be
    /// over it by one buffer for a moment, and each direction whose octets are worked on by 4 KiB.
    pub most: usize,
    /// How often since the start a direction found little room when it was about to read.
    pub scarce: u64,
}

impl Memory {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            most,
            scarce: AtomicU64::new(0),
            passed: AtomicU64::new(0),
        })
    }

    /// A loop has taken so many octets from peers.
    pub(super) fn note_passed(&self, octets: u64) {
        self.passed.fetch_add(octets, Ordering::Relaxed);
    }

    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    pub(super) fn tally(&self) -> MemoryTally {
        MemoryTally {
            held: self.held.load(Ordering::Relaxed),
            most: self.most,
            scarce: self.scarce.load(Ordering::Relaxed),
        }
    }

    /// Octets that may be read into a buffer now; `None`: nothing may be kept.
    pub(super) fn room(&self) -> Option<usize> {
        let room = self.most.saturating_sub(self.held.load(Ordering::Relaxed));
        if room >= LITTLE {
            return Some(room);
        }
        self.scarce.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// The same where what is read cannot be left where it was.
    pub(super) fn allowance(&self) -> usize {
        self.room().unwrap_or(LEAST)
    }

    /// Counts octets, until what is returned is dropped.
    pub(super) fn keep(self: &Arc<Self>, octets: usize) -> Kept {
        self.held.fetch_add(octets, Ordering::Relaxed);
        Kept { octets, memory: Arc::clone(self) }
    }
}

/// Octets that are counted.
#[derive(Debug)]
pub(super) struct Kept {
    octets: usize,
    memory: Arc<Memory>,
}

impl Kept {
    /// There are more of them now, or fewer.
    pub(super) fn set(&mut self, octets: usize) {
        let was = std::mem::replace(&mut self.octets, octets);
        if octets > was {
            self.memory.held.fetch_add(octets - was, Ordering::Relaxed);
        } else if octets < was {
            self.memory.held.fetch_sub(was - octets, Ordering::Relaxed);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_as_long_as_it_is() {
        let memory = Memory::new(200_000);
        let mut kept = memory.keep(100_000);
        assert_eq!(memory.room(), Some(100_000));
        kept.set(150_000);
        assert_eq!(memory.room(), None);
        assert_eq!(memory.allowance(), LEAST);
        kept.set(10);
        let other = memory.keep(20);
        assert_eq!(memory.tally(), MemoryTally { held: 30, most: 200_000, scarce: 2 });
        drop((kept, other));
        assert_eq!(memory.tally().held, 0);
    }
}
