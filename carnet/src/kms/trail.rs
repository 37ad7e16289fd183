//! The way of audit records to disk, many in one write.
//!
//! One thread writes. What arrives while it waits for the disk goes with the next write, so that
//! the disk sets the pace without every request paying for a write of its own. A reply waits until
//! its record is on disk.

use carnet_keys::AuditRecord;
use carnet_store::Store;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Records that may wait. More are refused.
const WAITING: usize = 4096;
/// Records of one write.
const BATCH: usize = 1024;

type Waiting = (AuditRecord, oneshot::Sender<bool>);

/// Where records go in. Dropping it waits until the last record is on disk and the database is
/// let go.
pub struct Trail {
    /// `None` only while being dropped.
    records: Option<SyncSender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

impl Trail {
    /// Starts the thread.
    pub fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let thread =
            std::thread::Builder::new().name("audit-trail".into()).spawn(move || write(&store, &receiver))?;
        Ok(Self { records: Some(sender), thread: Some(thread) })
    }

    /// Whether the record is on disk, once it is known.
    pub async fn append(&self, record: AuditRecord) -> bool {
        let (done, written) = oneshot::channel();
        let Some(records) = &self.records else { return false };
        records.try_send((record, done)).is_ok() && written.await.unwrap_or(false)
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.records = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}

/// How long records gather before they are written, while many come: a write costs much the same
/// for one and for a hundred.
const GATHER: Duration = Duration::from_micros(500);
/// Records of one write that are many.
const MANY: usize = 8;
/// What keeps the disk from being asked again and again while it is full.
const PAUSE: Duration = Duration::from_secs(1);

fn write(store: &Store, receiver: &Receiver<Waiting>) {
    let mut failed: Option<Instant> = None;
    let mut many = false;
    while let Ok(first) = receiver.recv() {
        let mut batch = vec![first];
        if many {
            std::thread::sleep(GATHER);
        }
        batch.extend(receiver.try_iter().take(BATCH - 1));
        many = batch.len() >= MANY;
        // Opening a database that failed reads much of it.
        let paused = failed.is_some_and(|at| at.elapsed() < PAUSE);
        let written = !paused
            && match store.append_audit(batch.iter().map(|(record, _)| record)) {
                Ok(_) => {
                    if failed.take().is_some() {
                        tracing::info!("tickets can be recorded again");
                    }
                    true
                }
                Err(error) => {
                    if failed.is_none() {
                        tracing::error!(%error, "no ticket can be recorded, so none is issued");
                    }
                    failed = Some(Instant::now());
                    false
                }
            };
        for (_, done) in batch {
            // Nobody may be waiting any more: the peer has hung up.
            let _ = done.send(written);
        }
    }
}
