//! Where received files go.
//!
//! A file is written under a temporary name in the directory it will end up in, hashed on the way,
//! and takes its own name only when it is complete and the hash is right. Nothing that exists is
//! overwritten, and nothing in the name the sender chose can leave the directory. A broken transfer
//! stays as a `.part` file named after the hash, so that the same file goes on where it stopped
//! (RFC 5547 §6, `file-range`).

use std::io;
use std::path::{Path, PathBuf};

use carnet_client::FileOffer;
use carnet_msrp::file::local_name;
use sha1::{Digest, Sha1};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How many names are tried before giving up: `a.txt`, `a (1).txt` ...
const MAX_COPIES: u32 = 1000;

/// A directory for received files.
#[derive(Debug, Clone)]
pub struct Inbox {
    directory: PathBuf,
    max_size: u64,
}

/// A file on its way in.
pub struct Incoming {
    file: File,
    part: PathBuf,
    directory: PathBuf,
    name: String,
    hash: Sha1,
    expected: Option<[u8; 20]>,
    size: Option<u64>,
    max_size: u64,
    written: u64,
    resumable: bool,
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
    /// The hash is another one.
    #[error("the file's hash is not the one that was announced; it was thrown away")]
    WrongHash,
}

impl Inbox {
    /// Files go to `directory`, none larger than `max_size` octets.
    pub fn new(directory: impl Into<PathBuf>, max_size: u64) -> Self {
        Self { directory: directory.into(), max_size }
    }

    /// How many octets of this file are already here from a broken transfer.
    ///
    /// Only a file announced with a hash can go on: without one nothing says that it is the same.
    pub async fn have(&self, offer: &FileOffer) -> u64 {
        let Some(hash) = offer.sha1 else { return 0 };
        let length = fs::metadata(self.part(&hash)).await.map_or(0, |metadata| metadata.len());
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
        let (part, resumable) = match &offer.sha1 {
            Some(hash) => (self.part(hash), true),
            None => (self.directory.join(format!(".{name}.{}.part", std::process::id())), false),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(start == 0);
        let mut file = options.open(&part).await.map_err(disk(&part))?;
        let mut hash = Sha1::new();
        let mut left = start;
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
            let slice = buffer.get_mut(..want).unwrap_or_default();
            file.read_exact(slice).await.map_err(disk(&part))?;
            hash.update(&*slice);
            left = left.saturating_sub(want as u64);
        }
        file.set_len(start).await.map_err(disk(&part))?;
        Ok(Incoming {
            file,
            part,
            directory: self.directory.clone(),
            name,
            hash,
            expected: offer.sha1,
            size: offer.size,
            max_size: self.max_size,
            written: start,
            resumable,
        })
    }

    fn part(&self, hash: &[u8; 20]) -> PathBuf {
        self.directory.join(format!(".{}.part", carnet_wire::hex::encode(hash)))
    }
}

impl Incoming {
    /// Octets here so far, those of an earlier transfer included.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The next octets.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), InboxError> {
        let written = self.written.saturating_add(octets.len() as u64);
        let most = self.size.unwrap_or(self.max_size);
        if written > most {
            return Err(InboxError::TooLarge(most));
        }
        self.file.write_all(octets).await.map_err(disk(&self.part))?;
        self.hash.update(octets);
        self.written = written;
        Ok(())
    }

    /// All is here: checks size and hash, gives the file its name, and says which.
    pub async fn finish(mut self) -> Result<PathBuf, InboxError> {
        self.file.flush().await.map_err(disk(&self.part))?;
        self.file.sync_all().await.map_err(disk(&self.part))?;
        if let Some(announced) = self.size.filter(|size| *size != self.written) {
            return Err(InboxError::TooShort { got: self.written, announced });
        }
        let hash: [u8; 20] = self.hash.finalize().into();
        if self.expected.is_some_and(|expected| expected != hash) {
            // Kept, it would poison every later attempt.
            fs::remove_file(&self.part).await.map_err(disk(&self.part))?;
            return Err(InboxError::WrongHash);
        }
        let (stem, extension) = match self.name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
            _ => (self.name.as_str(), String::new()),
        };
        for copy in 0..MAX_COPIES {
            let name = if copy == 0 { self.name.clone() } else { format!("{stem} ({copy}){extension}") };
            let path = self.directory.join(name);
            // Takes the name or fails, in one step; the rename then only replaces what we made.
            match OpenOptions::new().write(true).create_new(true).open(&path).await {
                Ok(_) => {
                    fs::rename(&self.part, &path).await.map_err(disk(&path))?;
                    return Ok(path);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(disk(&path)(error)),
            }
        }
        Err(disk(&self.directory)(io::ErrorKind::AlreadyExists.into()))
    }

    /// The transfer broke. What can go on later stays, the rest is removed.
    pub async fn abandon(mut self) {
        let _ = self.file.flush().await;
        if !self.resumable || self.written == 0 {
            let _ = fs::remove_file(&self.part).await;
        }
    }
}

fn disk(path: &Path) -> impl Fn(io::Error) -> InboxError + use<> {
    let path = path.to_owned();
    move |source| InboxError::Disk { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            file.write(b"hello").await.unwrap();
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
            file.write(b"hello").await.unwrap();
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
        file.write(b"hello").await.unwrap();
        file.abandon().await;
        assert_eq!(inbox.have(&offer).await, 5);
        let mut file = inbox.open(&offer, 5).await.unwrap();
        file.write(b" world").await.unwrap();
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
        file.write(b"jello").await.unwrap();
        assert!(matches!(file.finish().await, Err(InboxError::WrongHash)));
        assert_eq!(inbox.have(&offer).await, 0, "a wrong part would spoil the next attempt");
        let mut file = inbox.open(&offer, 0).await.unwrap();
        assert!(matches!(file.write(b"hello!").await, Err(InboxError::TooLarge(5))));
        let file = inbox.open(&offer, 0).await.unwrap();
        assert!(matches!(file.finish().await, Err(InboxError::TooShort { got: 0, announced: 5 })));
        assert!(!directory.path().join("a.txt").exists());
    }
}
