//! Where received files go.
//!
//! A file is written under a temporary name in the directory it will end up in, hashed on the way,
//! and takes its own name only when it is complete and the hash is right. Nothing that exists is
//! overwritten, and nothing in the name the sender chose can leave the directory. A broken transfer
//! stays as a `.part` file named after the hash, so that the same file goes on where it stopped
//! (RFC 5547 §6, `file-range`).

use std::collections::HashSet;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carnet_client::FileOffer;
use carnet_msrp::Ranges;
use carnet_msrp::file::{Hash, Verdict, Verifier, local_name};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// How many names are tried before giving up: `a.txt`, `a (1).txt` ...
const MAX_COPIES: u32 = 1000;

/// A directory for received files. A clone is the same one.
#[derive(Debug, Clone)]
pub struct Inbox {
    directory: PathBuf,
    max_size: u64,
    /// Temporary files that are being written.
    open: Arc<Mutex<HashSet<PathBuf>>>,
}

/// A file on its way in.
pub struct Incoming {
    file: File,
    part: Part,
    directory: PathBuf,
    name: String,
    verifier: Verifier,
    hash: Option<Hash>,
    size: Option<u64>,
    max_size: u64,
    /// Where the next octets go if nothing is said about it.
    position: u64,
    here: Ranges,
    resumable: bool,
}

/// What is left of a transfer that broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remains {
    /// Octets from the first on that came without a gap.
    pub here: u64,
    /// Whether they are kept.
    pub kept: bool,
}

/// A temporary file that nobody else may write while this value lives.
struct Part {
    path: PathBuf,
    open: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Drop for Part {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.path);
    }
}

fn lock(open: &Mutex<HashSet<PathBuf>>) -> MutexGuard<'_, HashSet<PathBuf>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a received file was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboxError {
    /// The disk said no.
    #[error("cannot write {path}: {source}", path = .path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// More octets than announced or allowed.
    #[error("the file is larger than the {0} octets announced or allowed")]
    TooLarge(u64),
    /// Fewer octets than announced.
    #[error("the file ended after {got} of {announced} octets")]
    TooShort {
        /// What came.
        got: u64,
        /// What was announced.
        announced: u64,
    },
    /// A second transfer of it cannot go on where the first one is.
    #[error("the same file is being received already")]
    Busy,
    /// The hash is another one.
    #[error("the file's hash is not the one that was announced; it was thrown away")]
    WrongHash,
}

impl Inbox {
    /// Files go to `directory`, none larger than `max_size` octets.
    pub fn new(directory: impl Into<PathBuf>, max_size: u64) -> Self {
        Self { directory: directory.into(), max_size, open: Arc::default() }
    }

    /// How many octets of this file are already here from a broken transfer.
    ///
    /// Only a file announced with a hash can go on: without one nothing says that it is the same.
    pub async fn have(&self, offer: &FileOffer) -> u64 {
        let Some(hash) = offer.sha1 else { return 0 };
        let path = self.resumable(&hash);
        if lock(&self.open).contains(&path) {
            return 0;
        }
        let length = fs::metadata(path).await.map_or(0, |metadata| metadata.len());
        match offer.size {
            Some(size) if length < size => length,
            _ => 0,
        }
    }

    /// Opens the temporary file. `start` octets of it are kept, as agreed with the sender.
    pub async fn open(&self, offer: &FileOffer, start: u64) -> Result<Incoming, InboxError> {
        if let Some(size) = offer.size.filter(|size| *size > self.max_size) {
            return Err(InboxError::TooLarge(size.min(self.max_size)));
        }
        fs::create_dir_all(&self.directory).await.map_err(disk(&self.directory))?;
        let name = local_name(&offer.name);
        let (part, resumable) = self.part(offer, &name);
        if start > 0 && !resumable {
            return Err(InboxError::Busy);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(start == 0);
        let mut file = options.open(&part.path).await.map_err(disk(&part.path))?;
        let mut verifier = Verifier::default();
        read(&mut file, &part.path, start, |at, octets| verifier.update(at, octets)).await?;
        file.set_len(start).await.map_err(disk(&part.path))?;
        let mut here = Ranges::default();
        here.add(0, start);
        Ok(Incoming {
            file,
            part,
            directory: self.directory.clone(),
            name,
            verifier,
            hash: offer.sha1.map(Hash),
            size: offer.size,
            max_size: self.max_size,
            position: start,
            here,
            resumable,
        })
    }

    /// A temporary file of our own, and whether a later transfer would find it.
    fn part(&self, offer: &FileOffer, name: &str) -> (Part, bool) {
        let mut open = lock(&self.open);
        let part = |path: PathBuf| Part { path, open: self.open.clone() };
        if let Some(hash) = &offer.sha1 {
            let path = self.resumable(hash);
            if open.insert(path.clone()) {
                return (part(path), true);
            }
        }
        let mut copy = 0u64;
        loop {
            let path = self.directory.join(format!(".{name}.{}.{copy}.part", std::process::id()));
            if open.insert(path.clone()) {
                return (part(path), false);
            }
            copy += 1;
        }
    }

    fn resumable(&self, hash: &[u8; 20]) -> PathBuf {
        self.directory.join(format!(".{}.part", carnet_wire::hex::encode(hash)))
    }
}

/// Hands the first `length` octets of `file` to `take`, in pieces with their places.
async fn read(
    file: &mut File,
    path: &Path,
    length: u64,
    mut take: impl FnMut(u64, &[u8]),
) -> Result<(), InboxError> {
    let mut at = 0;
    let mut buffer = vec![0; 64 * 1024];
    while at < length {
        let want = usize::try_from(length - at).unwrap_or(buffer.len()).min(buffer.len());
        let slice = buffer.get_mut(..want).unwrap_or_default();
        file.read_exact(slice).await.map_err(disk(path))?;
        take(at, slice);
        at = at.saturating_add(want as u64);
    }
    Ok(())
}

impl Incoming {
    /// Octets here so far without a gap, those of an earlier transfer included.
    pub fn here(&self) -> u64 {
        self.here.contiguous()
    }

    /// Octets of the file from `at` on. They come in order as a rule, but relays may change it, and what
    /// comes later is right (RFC 4975 §7.3.1).
    pub async fn write(&mut self, at: u64, octets: &[u8]) -> Result<(), InboxError> {
        let end = at.saturating_add(octets.len() as u64);
        let most = self.size.unwrap_or(self.max_size);
        if end > most {
            return Err(InboxError::TooLarge(most));
        }
        if at != self.position {
            self.file.seek(SeekFrom::Start(at)).await.map_err(disk(&self.part.path))?;
        }
        self.file.write_all(octets).await.map_err(disk(&self.part.path))?;
        self.verifier.update(at, octets);
        self.here.add(at, end);
        self.position = end;
        Ok(())
    }

    /// All is here: checks size and hash, gives the file its name, and says which.
    pub async fn finish(mut self) -> Result<PathBuf, InboxError> {
        let path = self.part.path.clone();
        self.file.flush().await.map_err(disk(&path))?;
        self.file.sync_all().await.map_err(disk(&path))?;
        let got = self.here.contiguous();
        let mut verdict = self.verifier.finish(self.size, self.hash);
        if verdict == Verdict::ReadAgain {
            self.file.rewind().await.map_err(disk(&path))?;
            let mut verifier = Verifier::default();
            read(&mut self.file, &path, got, |at, octets| verifier.update(at, octets)).await?;
            verdict = verifier.finish(self.size, self.hash);
        }
        match (verdict, self.size) {
            (Verdict::Whole, None) => {}
            (Verdict::Whole, Some(size)) if size == got => {}
            (Verdict::WrongHash, _) => {
                // Kept, it would poison every later attempt.
                fs::remove_file(&path).await.map_err(disk(&path))?;
                return Err(InboxError::WrongHash);
            }
            (_, announced) => {
                if !self.resumable {
                    let _ = fs::remove_file(&path).await;
                }
                return Err(InboxError::TooShort { got, announced: announced.unwrap_or(got) });
            }
        }
        let (stem, extension) = match self.name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
            _ => (self.name.as_str(), String::new()),
        };
        for copy in 0..MAX_COPIES {
            let name = if copy == 0 { self.name.clone() } else { format!("{stem} ({copy}){extension}") };
            let place = self.directory.join(name);
            // Takes the name or fails, in one step; the rename then only replaces what we made.
            match OpenOptions::new().write(true).create_new(true).open(&place).await {
                Ok(_) => {
                    fs::rename(&path, &place).await.map_err(disk(&place))?;
                    return Ok(place);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(disk(&place)(error)),
            }
        }
        Err(disk(&self.directory)(io::ErrorKind::AlreadyExists.into()))
    }

    /// The transfer broke. What can go on later stays, the rest is removed.
    pub async fn abandon(mut self) -> Remains {
        let here = self.here.contiguous();
        // Behind a gap nothing can go on.
        let kept = self.resumable
            && here > 0
            && self.file.flush().await.is_ok()
            && self.file.set_len(here).await.is_ok();
        if !kept {
            let _ = fs::remove_file(&self.part.path).await;
        }
        Remains { here, kept }
    }
}

fn disk(path: &Path) -> impl Fn(io::Error) -> InboxError + use<> {
    let path = path.to_owned();
    move |source| InboxError::Disk { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha1::{Digest, Sha1};

    fn offer(name: &str, octets: &[u8]) -> FileOffer {
        FileOffer {
            name: name.to_owned(),
            size: Some(octets.len() as u64),
            sha1: Some(Sha1::digest(octets).into()),
            ..FileOffer::default()
        }
    }

    #[tokio::test]
    async fn a_second_file_of_that_name_gets_another() {
        let directory = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(directory.path(), 1000);
        for expected in ["a.txt", "a (1).txt", "a (2).txt"] {
            let mut file = inbox.open(&offer("a.txt", b"hello"), 0).await.unwrap();
            file.write(0, b"hello").await.unwrap();
            assert_eq!(file.finish().await.unwrap(), directory.path().join(expected));
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3, "no temporary file is left");
    }

    #[tokio::test]
    async fn a_name_cannot_leave_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(directory.path().join("in"), 1000);
        for name in ["../escaped", "..", "/etc/passwd", "a\\..\\b", ".hidden", "x\u{0}y\r\nz"] {
            let mut file = inbox.open(&offer(name, b"hello"), 0).await.unwrap();
            file.write(0, b"hello").await.unwrap();
            let path = file.finish().await.unwrap();
            assert_eq!(path.parent().unwrap(), directory.path().join("in"), "{name:?}");
            assert!(!path.file_name().unwrap().to_string_lossy().starts_with('.'), "{path:?}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_broken_transfer_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(directory.path(), 1000);
        let offer = offer("a.txt", b"hello world");
        let mut file = inbox.open(&offer, 0).await.unwrap();
        file.write(0, b"hello").await.unwrap();
        assert_eq!(file.abandon().await, Remains { here: 5, kept: true });
        assert_eq!(inbox.have(&offer).await, 5);
        let mut file = inbox.open(&offer, 5).await.unwrap();
        file.write(5, b" world").await.unwrap();
        let path = file.finish().await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"hello world");
        assert_eq!(inbox.have(&offer).await, 0);
    }

    #[tokio::test]
    async fn wrong_hash_and_wrong_size_are_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(directory.path(), 1000);
        let offer = offer("a.txt", b"hello");
        let mut file = inbox.open(&offer, 0).await.unwrap();
        file.write(0, b"jello").await.unwrap();
        assert!(matches!(file.finish().await, Err(InboxError::WrongHash)));
        assert_eq!(inbox.have(&offer).await, 0, "a wrong part would spoil the next attempt");
        let mut file = inbox.open(&offer, 0).await.unwrap();
        assert!(matches!(file.write(0, b"hello!").await, Err(InboxError::TooLarge(5))));
        let file = inbox.open(&offer, 0).await.unwrap();
        assert!(matches!(file.finish().await, Err(InboxError::TooShort { got: 0, announced: 5 })));
        assert!(!directory.path().join("a.txt").exists());
    }

    // RFC 4975 §7.3.1: relays may change the order, octets may come twice, and the last of them count.
    #[tokio::test]
    async fn pieces_in_any_order() {
        let directory = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(directory.path(), 1000);
        let offer = offer("a.txt", b"hello world");
        let mut file = inbox.open(&offer, 0).await.unwrap();
        for (at, octets) in [(6, &b"w0rld"[..]), (0, b"hello"), (3, b"lo w"), (7, b"or")] {
            file.write(at, octets).await.unwrap();
        }
        let path = file.finish().await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"hello world");
        // Of what breaks off only that goes on which has no gap.
        let mut file = inbox.open(&offer, 0).await.unwrap();
        file.write(6, b"world").await.unwrap();
        file.write(0, b"hel").await.unwrap();
        assert_eq!(file.abandon().await, Remains { here: 3, kept: true });
        assert_eq!(inbox.have(&offer).await, 3);
    }

    #[tokio::test]
    async fn the_same_file_twice_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(directory.path(), 1000);
        let offer = offer("a.txt", b"hello world");
        let mut first = inbox.open(&offer, 0).await.unwrap();
        first.write(0, b"hello").await.unwrap();
        // The second cannot go on where the first is writing, but it can begin anew.
        assert_eq!(inbox.have(&offer).await, 0);
        assert!(matches!(inbox.open(&offer, 5).await, Err(InboxError::Busy)));
        let mut second = inbox.open(&offer, 0).await.unwrap();
        second.write(0, b"hello world").await.unwrap();
        first.write(5, b" world").await.unwrap();
        for file in [first, second] {
            assert_eq!(std::fs::read(file.finish().await.unwrap()).unwrap(), b"hello world");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
