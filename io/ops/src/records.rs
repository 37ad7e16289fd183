//! Session records on disk: a JSON object a line, a new file when one is full.
//!
//! A thread of its own writes, so that a slow disk slows nobody down. What waits is bounded: records that do not fit are lost,
//! counted, and the log says so. A file that is full becomes `FILE.1`, that one `FILE.2`, and the last is removed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Records that wait for the disk.
const WAITING: usize = 16_384;
/// Between two attempts on a disk that fails.
const AGAIN: Duration = Duration::from_secs(1);

/// Where records go, and how much of them.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Octets after which a new one is begun.
    pub rotate: u64,
    /// Full files that are kept.
    pub keep: u32,
}

enum Work {
    Line(String),
    /// What follows goes elsewhere.
    Move(Place),
}

/// The way to the file. What waits when it is dropped is written first.
#[derive(Debug)]
pub struct Records {
    sender: Option<SyncSender<Work>>,
    lost: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

impl Records {
    /// Opens the file, for its owner only, behind what is in it.
    ///
    /// # Errors
    /// Of the file system.
    pub fn open(place: Place) -> std::io::Result<Self> {
        let file = Writing::open(&place)?;
        let (sender, receiver) = sync_channel(WAITING);
        let lost = Arc::default();
        let counted = Arc::clone(&lost);
        let writer = std::thread::Builder::new()
            .name("carnet-records".into())
            .spawn(move || write(file, place, &receiver, &counted))?;
        Ok(Self { sender: Some(sender), lost, writer: Some(writer) })
    }

    /// Writes a record; it is lost if too many wait.
    pub fn put(&self, record: &serde_json::Value) {
        let line = format!("{record}\n");
        if self.sender.as_ref().is_some_and(|sender| sender.try_send(Work::Line(line)).is_err()) {
            // The first, and then once in a thousand: whoever is behind has enough to write.
            if self.lost.fetch_add(1, Ordering::Relaxed).is_multiple_of(1_000) {
                tracing::error!(lost = self.lost(), "session records are lost: the disk is too slow");
            }
        }
    }

    /// Goes on in another place, or with other bounds, after what waits for the disk was written.
    ///
    /// # Errors
    /// The place cannot be written, or too much waits: nothing changes.
    pub fn renew(&self, place: Place) -> std::io::Result<()> {
        Writing::open(&place)?;
        let sent = self.sender.as_ref().map(|sender| sender.try_send(Work::Move(place)));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(std::io::Error::other("the disk is too slow")),
        }
    }

    /// Records that were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            // It has panicked only if there is nothing left to be written by it.
            let _ = writer.join();
        }
    }
}

struct Writing {
    file: File,
    octets: u64,
}

impl Writing {
    fn open(place: &Place) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(&place.path)?;
        let octets = file.metadata()?.len();
        Ok(Self { file, octets })
    }

    fn put(&mut self, place: &Place, line: &str) -> std::io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.octets > 0 && self.octets.saturating_add(length) > place.rotate {
            rotate(place)?;
            *self = Self::open(place)?;
        }
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // Half a line would spoil the next one. A disk that lets nothing be taken away either has it.
            let _ = self.file.set_len(self.octets);
            return Err(error);
        }
        self.octets += length;
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn rotate(place: &Place) -> std::io::Result<()> {
    let exists = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    if place.keep == 0 {
        return std::fs::remove_file(&place.path).or_else(exists);
    }
    for number in (1..place.keep).rev() {
        std::fs::rename(numbered(&place.path, number), numbered(&place.path, number + 1)).or_else(exists)?;
    }
    std::fs::rename(&place.path, numbered(&place.path, 1)).or_else(exists)
}

fn write(mut file: Writing, mut place: Place, receiver: &Receiver<Work>, lost: &AtomicU64) {
    let mut failed: Option<Instant> = None;
    while let Ok(work) = receiver.recv() {
        let line = match work {
            Work::Line(line) => line,
            Work::Move(other) => {
                match Writing::open(&other) {
                    Ok(opened) => (file, place, failed) = (opened, other, None),
                    Err(error) => {
                        let path = other.path.display();
                        tracing::error!(%path, %error, "session records stay where they were");
                    }
                }
                continue;
            }
        };
        let path = place.path.display();
        // A disk that failed is asked once a second, not once a record.
        if failed.is_some_and(|at| at.elapsed() < AGAIN) {
            lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        match file.put(&place, &line) {
            Ok(()) => {
                if failed.take().is_some() {
                    tracing::info!(%path, lost = lost.load(Ordering::Relaxed), "session records are written again");
                }
            }
            Err(error) => {
                lost.fetch_add(1, Ordering::Relaxed);
                if failed.replace(Instant::now()).is_none() {
                    tracing::error!(%path, %error, "session records cannot be written, and are lost");
                }
                // It may have been taken away.
                if let Ok(again) = Writing::open(&place) {
                    file = again;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(path: &Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap())
            .collect()
    }

    #[test]
    fn files_are_rotated_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sessions.jsonl");
        let place = Place { path: path.clone(), rotate: 30, keep: 2 };
        let records = Records::open(place.clone()).unwrap();
        // Nine octets a line: three in a file.
        (10..19).for_each(|n| records.put(&json!({ "n": n })));
        drop(records);
        assert_eq!(lines(&path), [16, 17, 18]);
        assert_eq!(
            (lines(&numbered(&path, 1)), lines(&numbered(&path, 2))),
            (vec![13, 14, 15], vec![10, 11, 12])
        );
        // Another process goes on where this one ended.
        let records = Records::open(place).unwrap();
        records.put(&json!({ "n": 19 }));
        drop(records);
        assert_eq!((lines(&path), lines(&numbered(&path, 2))), (vec![19], vec![13, 14, 15]));
        assert!(!numbered(&path, 3).exists());
    }

    #[test]
    fn a_full_disk_loses_records_and_counts_them() {
        let place = Place { path: "/dev/full".into(), rotate: 1 << 20, keep: 1 };
        let records = Records::open(place).unwrap();
        let lost = records.lost.clone();
        (0..5).for_each(|n| records.put(&json!({ "n": n })));
        drop(records);
        assert_eq!(lost.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn a_file_that_was_taken_away_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sessions.jsonl");
        let place = Place { path: path.clone(), rotate: 10, keep: 0 };
        let records = Records::open(place).unwrap();
        (0..4).for_each(|n| records.put(&json!({ "n": n })));
        drop(records);
        assert_eq!(lines(&path), [3], "without files that are kept, the full one goes");
    }

    #[test]
    fn what_waits_is_written_before_another_place_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| Place { path: directory.path().join(name), rotate: 1 << 20, keep: 1 };
        let records = Records::open(at("old")).unwrap();
        (0..3).for_each(|n| records.put(&json!({ "n": n })));
        records.renew(at("new")).unwrap();
        records.put(&json!({ "n": 3 }));
        let nowhere = Place { path: "/nonexistent/x".into(), ..at("x") };
        assert!(records.renew(nowhere).is_err());
        records.put(&json!({ "n": 4 }));
        drop(records);
        assert_eq!((lines(&at("old").path), lines(&at("new").path)), (vec![0, 1, 2], vec![3, 4]));
    }

    #[test]
    fn a_place_that_cannot_be_is_said_at_once() {
        let place = Place { path: "/nonexistent/sessions.jsonl".into(), rotate: 30, keep: 2 };
        assert!(Records::open(place).is_err());
    }
}
