//! Has the disk keep what a journal has written, on a thread of its own: whoever writes never waits for it.
//!
//! Files are told first, then their directory, and only then what they replace is removed: whatever the moment at which
//! the power goes, there is one whole copy of every record that was told.
//!
//! Left out: waiting until something is on the disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A disk that takes longer is as good as none.
const STUCK: Duration = Duration::from_secs(30);

/// When what was written is told to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncs {
    /// By the system, when it likes: for what is of no use on a host that was started anew.
    Never,
    /// So long after the first write at the latest, and then as long as the disk takes; at once with nothing.
    After(Duration),
}

/// The thread, and what it is to do.
#[derive(Debug)]
pub(crate) struct Syncing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    /// Files that were written to, and how far.
    written: BTreeMap<u64, (Arc<File>, u64)>,
    /// Since when there is something to do.
    since: Option<Instant>,
    /// What may go once that is on the disk.
    replaced: Vec<PathBuf>,
    /// Files have come or gone.
    directory: bool,
    /// How far each file is known to be on the disk.
    synced: BTreeMap<u64, u64>,
    /// The disk is being told, since then.
    telling: Option<Instant>,
    failed: Option<io::Error>,
    closed: bool,
}

impl Syncing {
    /// Begins the thread for a directory.
    pub(crate) fn begin(directory: &Path, after: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared { work: Mutex::default(), wake: Condvar::new() });
        let (theirs, directory) = (shared.clone(), directory.to_owned());
        std::thread::Builder::new().name("journal".into()).spawn(move || theirs.run(&directory, after))?;
        Ok(Self(shared))
    }

    /// A file was written up to there.
    pub(crate) fn wrote(&self, number: u64, file: &Arc<File>, size: u64) {
        let mut work = self.0.lock();
        work.written.insert(number, (file.clone(), size));
        self.0.rouse(&mut work);
    }

    /// A file has come.
    pub(crate) fn came(&self) {
        let mut work = self.0.lock();
        work.directory = true;
        self.0.rouse(&mut work);
    }

    /// Removes a file, once what takes its place is on the disk.
    pub(crate) fn remove(&self, path: PathBuf) {
        let mut work = self.0.lock();
        work.replaced.push(path);
        work.directory = true;
        self.0.rouse(&mut work);
    }

    /// Everything was removed.
    pub(crate) fn forget(&self) {
        let mut work = self.0.lock();
        *work = Work { telling: work.telling, closed: work.closed, ..Work::default() };
    }

    /// How far a file is on the disk.
    pub(crate) fn synced(&self, number: u64) -> u64 {
        self.0.lock().synced.get(&number).copied().unwrap_or(0)
    }

    /// Whether something still waits to be removed.
    pub(crate) fn is_behind(&self) -> bool {
        !self.0.lock().replaced.is_empty()
    }

    /// Why the disk is of no use, if it is not.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        let mut work = self.0.lock();
        let stuck = work.telling.is_some_and(|since| since.elapsed() > STUCK);
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the disk does not come to an end");
        work.failed.take().or_else(|| stuck.then(late))
    }
}

impl Drop for Syncing {
    /// What is left is told at once. Nobody waits for that.
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        // Nothing panics while it holds the lock.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rouse(&self, work: &mut Work) {
        if work.since.is_none() {
            work.since = Some(Instant::now());
            self.wake.notify_all();
        }
    }

    fn run(&self, directory: &Path, after: Duration) {
        let mut work = self.lock();
        loop {
            let due = work.since.map(|since| since + after);
            work = match due.map(|due| due.saturating_duration_since(Instant::now())) {
                None if work.closed => return,
                None => self.wake.wait(work).unwrap_or_else(PoisonError::into_inner),
                Some(left) if !left.is_zero() && !work.closed => {
                    self.wake.wait_timeout(work, left).unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    let written = std::mem::take(&mut work.written);
                    let replaced = work.replaced.clone();
                    let entries = std::mem::take(&mut work.directory);
                    (work.since, work.telling) = (None, Some(Instant::now()));
                    drop(work);
                    let outcome = tell(directory, &written, &replaced, entries);
                    let mut work = self.lock();
                    work.telling = None;
                    match outcome {
                        Ok(()) => {
                            work.replaced.retain(|path| !replaced.contains(path));
                            work.synced.extend(written.iter().map(|(number, (_, size))| (*number, *size)));
                            // Files that have gone need no entry.
                            while work.synced.len() > 4 {
                                work.synced.pop_first();
                            }
                        }
                        Err(error) => work.failed = Some(error),
                    }
                    work
                }
            };
        }
    }
}

fn tell(
    directory: &Path,
    written: &BTreeMap<u64, (Arc<File>, u64)>,
    replaced: &[PathBuf],
    entries: bool,
) -> io::Result<()> {
    for (file, _) in written.values() {
        file.sync_data()?;
    }
    if entries {
        File::open(directory)?.sync_all()?;
    }
    for path in replaced {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
