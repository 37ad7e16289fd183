//! How full a bounded queue is: for who watches.

use tokio::sync::mpsc;

/// What waits in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// So much waits.
    pub length: usize,
    /// So much may.
    pub most: usize,
    /// So much was lost since the start because there was no room.
    pub lost: u64,
}

impl Waiting {
    pub(crate) fn of<T>(queue: &mpsc::Sender<T>) -> Self {
        let most = queue.max_capacity();
        Self { length: most.saturating_sub(queue.capacity()), most, lost: 0 }
    }
}
