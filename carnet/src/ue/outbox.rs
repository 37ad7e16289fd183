//! A file on its way out: described once, then read in pieces as the connection takes them.
//!
//! What was described is what is sent: a file that is written to meanwhile is not sent to its end, so
//! that nobody takes a mixture of two versions for the file.

use std::fs::Metadata;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use carnet_client::FileOffer;
use sha1::{Digest as _, Sha1};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::UeError;

/// A file as it was when it was described.
#[derive(Debug, Clone)]
pub(super) struct Source {
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
}

/// A file to send.
pub(super) struct Outbox {
    file: File,
    source: Source,
    left: u64,
}

/// Describes a file for an offer. Reads it once, for the hash.
///
/// # Errors
/// If it cannot be read, is no file (a directory, a pipe), or changes while it is read.
pub(super) async fn describe(path: &Path, transfer_id: String) -> Result<(FileOffer, Source), UeError> {
    let failed = |error: std::io::Error| UeError::File { path: path.to_owned(), source: error };
    // Before it is opened: opening a pipe waits for somebody to write.
    let before = fs::metadata(path).await.map_err(failed)?;
    if before.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    if !before.is_file() {
        return Err(UeError::NoFile(path.to_owned()));
    }
    let mut file = File::open(path).await.map_err(failed)?;
    let (mut hash, mut size) = (Sha1::new(), 0u64);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer).await.map_err(failed)?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        size += read as u64;
    }
    let source = Source { path: path.to_owned(), size, modified: before.modified().ok() };
    source.check(&file.metadata().await.map_err(failed)?)?;
    let name = path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy().into_owned());
    let offer = FileOffer {
        name,
        content_type: content_type(path).to_owned(),
        size: Some(size),
        sha1: Some(hash.finalize().into()),
        transfer_id,
        start: 0,
        ranged: false,
    };
    Ok((offer, source))
}

impl Source {
    /// Size of the whole file in octets.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    fn check(&self, now: &Metadata) -> Result<(), UeError> {
        if now.len() == self.size && now.modified().ok() == self.modified {
            return Ok(());
        }
        Err(UeError::Changed(self.path.clone()))
    }
}

impl Outbox {
    /// Opens the file at octet `start`.
    pub(super) async fn open(source: Source, start: u64) -> Result<Self, UeError> {
        let failed = |error: std::io::Error| UeError::File { path: source.path.clone(), source: error };
        let mut file = File::open(&source.path).await.map_err(failed)?;
        source.check(&file.metadata().await.map_err(failed)?)?;
        file.set_max_buf_size(256 * 1024);
        file.seek(SeekFrom::Start(start)).await.map_err(failed)?;
        let left = source.size.saturating_sub(start);
        Ok(Self { file, source, left })
    }

    /// The next octets, at most `max`, and whether they are the last.
    pub(super) async fn read(&mut self, max: usize) -> Result<(Bytes, bool), UeError> {
        let failed = |source: std::io::Error| UeError::File { path: self.source.path.clone(), source };
        let want = usize::try_from(self.left).unwrap_or(max).min(max);
        let mut buffer = vec![0; want];
        let read = self.file.read(&mut buffer).await.map_err(failed)?;
        if read == 0 && want > 0 {
            // It got shorter since it was described.
            return Err(UeError::Changed(self.source.path.clone()));
        }
        buffer.truncate(read);
        self.left -= read as u64;
        if self.left == 0 {
            // The last octets make it a file: not if others than those described are among it.
            self.source.check(&self.file.metadata().await.map_err(failed)?)?;
        }
        Ok((buffer.into(), self.left == 0))
    }
}

/// The media type of common files; the receiver decides for itself what to believe.
fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "txt" | "log" | "md" => "text/plain",
        "html" | "htm" => "text/html",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "zip" => "application/zip",
        "mp4" => "video/mp4",
        "mp3" => "audio/mpeg",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    async fn described(octets: &[u8]) -> (tempfile::TempDir, PathBuf, FileOffer, Source) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        std::fs::write(&path, octets).unwrap();
        let (offer, source) = describe(&path, "x".into()).await.unwrap();
        (directory, path, offer, source)
    }

    #[tokio::test]
    async fn what_is_no_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        for (path, said) in [
            (directory.path().join("none"), "No such file"),
            (directory.path().to_owned(), "directory"),
            (pipe, "not a file"),
            ("/dev/null".into(), "not a file"),
        ] {
            let found = describe(&path, String::new()).await.unwrap_err().to_string();
            assert!(found.contains(said) && found.contains(path.to_str().unwrap()), "{found}");
        }
    }

    #[tokio::test]
    async fn a_file_without_octets() {
        let (_directory, _, offer, source) = described(b"").await;
        assert_eq!(offer.size, Some(0));
        let mut outbox = Outbox::open(source, 0).await.unwrap();
        assert_eq!(outbox.read(100).await.unwrap(), (Bytes::new(), true));
    }

    #[tokio::test]
    async fn a_file_that_changes_is_not_sent_to_its_end() {
        // Before it is opened, and while it is sent: shorter, longer, other octets.
        let shorter =
            |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(10).unwrap();
        let longer = |path: &Path| {
            std::fs::File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
        };
        let other = |path: &Path| {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            (&file).write_all(b"XXX").unwrap();
            file.set_modified(SystemTime::now() + std::time::Duration::from_secs(1)).unwrap();
        };
        let changes: [&dyn Fn(&Path); 3] = [&shorter, &longer, &other];
        for change in changes {
            let (_directory, path, _, source) = described(&[7; 1000]).await;
            change(&path);
            assert!(matches!(Outbox::open(source, 0).await, Err(UeError::Changed(_))));

            let (_directory, path, _, source) = described(&[7; 1000]).await;
            let mut outbox = Outbox::open(source, 0).await.unwrap();
            let (first, last) = outbox.read(600).await.unwrap();
            assert!(first.len() == 600 && !last);
            change(&path);
            let outcome = loop {
                match outbox.read(100).await {
                    Ok((_, false)) => {}
                    other => break other,
                }
            };
            assert!(matches!(outcome, Err(UeError::Changed(_))), "{outcome:?}");
        }
    }
}
