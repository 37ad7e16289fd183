//! Where a conference server's records go: written by a thread of its own, so that a slow disk slows
//! nobody down. Of several values that wait under one name only the last is written: as much waits as
//! there are names, whatever the disk does.

use carnet_store::{Change, Error, Kv};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Between two attempts on a disk that fails.
const AGAIN: Duration = Duration::from_secs(1);

/// A record: its name and value.
pub(super) type Record = (String, Vec<u8>);

#[derive(Default)]
struct Waiting {
    /// By name: the new value, or that it is gone.
    changes: BTreeMap<String, Option<Vec<u8>>>,
    /// Nothing follows.
    closed: bool,
}

type Shared = Arc<(Mutex<Waiting>, Condvar)>;

/// The records. What is here when it is dropped is written first.
pub(super) struct Shelf {
    shared: Shared,
    writer: Option<JoinHandle<()>>,
}

impl Shelf {
    /// Opens the file; what is in it.
    pub(super) fn open(server: &str, path: &Path) -> Result<(Self, Vec<Record>), Error> {
        let kv = Kv::open(path)?;
        let records = kv.all()?;
        let shared = Shared::default();
        let (server, path) = (server.to_owned(), path.display().to_string());
        let own = shared.clone();
        let writer = Builder::new()
            .name(format!("carnet-{server}-store"))
            .spawn(move || write(&server, &kv, &own))
            .map_err(|error| Error::File { path, error })?;
        Ok((Self { shared, writer: Some(writer) }, records))
    }

    /// Keeps a value under a name, or with `None` forgets it.
    pub(super) fn put(&self, key: String, value: Option<Vec<u8>>) {
        lock(&self.shared).changes.insert(key, value);
        self.shared.1.notify_one();
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        lock(&self.shared).closed = true;
        self.shared.1.notify_one();
        if let Some(writer) = self.writer.take() {
            // It has panicked only if there is nothing left to be written by it.
            let _ = writer.join();
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Waiting> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(server: &str, kv: &Kv, shared: &Shared) {
    let mut failed = false;
    loop {
        let mut waiting = lock(shared);
        while waiting.changes.is_empty() && !waiting.closed {
            waiting = shared.1.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let (taken, closed) = (std::mem::take(&mut waiting.changes), waiting.closed);
        drop(waiting);
        if taken.is_empty() {
            return;
        }
        let changes: Vec<Change> = taken
            .iter()
            .map(|(key, value)| match value.clone() {
                Some(value) => Change::Keep { key: key.clone(), value },
                None => Change::Forget { key: key.clone() },
            })
            .collect();
        match kv.write(&changes) {
            Ok(()) if failed => {
                tracing::info!(conference = server, "rooms are kept on disk again");
                failed = false;
            }
            Ok(()) => {}
            Err(error) => {
                if !failed {
                    tracing::error!(conference = server, %error, "rooms cannot be kept on disk");
                }
                failed = true;
                if closed {
                    return;
                }
                std::thread::sleep(AGAIN);
                // What came meanwhile is newer.
                let mut waiting = lock(shared);
                for (key, value) in taken {
                    waiting.changes.entry(key).or_insert(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_there_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rooms.redb");
        let (shelf, records) = Shelf::open("conf", &path).unwrap();
        assert!(records.is_empty());
        for number in 0..1_000u32 {
            shelf.put("room/staff".into(), Some(number.to_be_bytes().to_vec()));
            shelf.put(format!("leg/{}", number % 10), (number < 995).then(|| vec![1]));
        }
        drop(shelf);
        let (_shelf, records) = Shelf::open("conf", &path).unwrap();
        let names: Vec<&str> = records.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(names, ["leg/0", "leg/1", "leg/2", "leg/3", "leg/4", "room/staff"]);
        assert_eq!(records[5].1, 999u32.to_be_bytes());
    }
}
