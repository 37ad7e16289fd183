//! A file on its way out: described once, then read in pieces as the connection takes them.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use carnet_client::FileOffer;
use sha1::{Digest as _, Sha1};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::UeError;

/// A file to send.
pub(super) struct Outbox {
    file: File,
    path: PathBuf,
    left: u64,
}

/// Describes a file for an offer. Reads it once, for the hash.
pub(super) async fn describe(path: &Path, transfer_id: String) -> Result<FileOffer, UeError> {
    let failed = |error: std::io::Error| UeError::File { path: path.to_owned(), source: error };
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
    let name = path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy().into_owned());
    Ok(FileOffer {
        name,
        content_type: content_type(path).to_owned(),
        size: Some(size),
        sha1: Some(hash.finalize().into()),
        transfer_id,
        start: 0,
    })
}

impl Outbox {
    /// Opens the file at octet `start`.
    pub(super) async fn open(path: &Path, size: u64, start: u64) -> Result<Self, UeError> {
        let failed = |error: std::io::Error| UeError::File { path: path.to_owned(), source: error };
        let mut file = File::open(path).await.map_err(failed)?;
        file.set_max_buf_size(256 * 1024);
        file.seek(SeekFrom::Start(start)).await.map_err(failed)?;
        Ok(Self { file, path: path.to_owned(), left: size.saturating_sub(start) })
    }

    /// The next octets, at most `max`, and whether they are the last.
    pub(super) async fn read(&mut self, max: usize) -> Result<(Bytes, bool), UeError> {
        let want = usize::try_from(self.left).unwrap_or(max).min(max);
        let mut buffer = vec![0; want];
        let read = self
            .file
            .read(&mut buffer)
            .await
            .map_err(|source| UeError::File { path: self.path.clone(), source })?;
        if read == 0 && want > 0 {
            // It got shorter since it was described.
            return Err(UeError::Changed(self.path.clone()));
        }
        buffer.truncate(read);
        self.left -= read as u64;
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
