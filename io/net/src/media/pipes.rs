//! Pipes for splicing, kept for reuse.
//!
//! A pipe costs two descriptors and, while it is full, its size in kernel memory; so a direction
//! holds one only while octets are inside or arriving in bulk.

use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::memory::Kept;

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    /// Octets inside.
    pub(super) octets: usize,
    /// They are counted while there are some.
    pub(super) kept: Option<Kept>,
}

impl Pipe {
    /// So many have left it.
    pub(super) fn drained(&mut self, octets: usize) {
        self.octets = self.octets.saturating_sub(octets);
        if self.octets == 0 {
            self.kept = None;
        }
    }
}

#[derive(Debug)]
pub(super) struct Pipes {
    idle: Vec<Pipe>,
    made: usize,
    most: usize,
    size: usize,
}

impl Pipes {
    pub(super) fn new(most: usize, size: usize) -> Self {
        Self { idle: Vec::new(), made: 0, most, size }
    }

    /// A pipe, unless all are in use or the system gives no more.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.pop() {
            return Some(pipe);
        }
        if self.made >= self.most {
            return None;
        }
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        // Unprivileged users get a limited number of large pipes; a smaller one is still right.
        let _ = fcntl_setpipe_size(&write, self.size);
        self.made += 1;
        Some(Pipe { read, write, octets: 0, kept: None })
    }

    /// A pipe goes to another thread.
    pub(super) fn give_away(&mut self) {
        self.made = self.made.saturating_sub(1);
    }

    /// A pipe comes from another thread, also if that makes one too many.
    pub(super) fn receive(&mut self) {
        self.made += 1;
    }

    /// Gives a pipe back, or up if it still holds octets: nobody else may ever read them.
    pub(super) fn put(&mut self, pipe: Pipe) {
        if pipe.octets == 0 {
            self.idle.push(pipe);
        } else {
            self.made = self.made.saturating_sub(1);
        }
    }
}
