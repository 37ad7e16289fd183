//! Where an administrator of this host asks a running process: a Unix socket for its owner only.
//!
//! One JSON line a connection, and one back: `{"ok": …}` or `{"error": …}`. Sizes, time and connections
//! are bounded. Who may open the socket is decided by the file system.

use carnet_ops::config;
use serde_json::{Value, json};
use std::future::Future;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// How long a question may take to arrive and to be answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// Administrators at once; more wait.
const MAX_CONNECTIONS: usize = 16;
/// Octets of an answer.
const MAX_ANSWER: u64 = 1 << 30;

/// Opens the socket at `path` in place of one that nobody listens at any more. Inside a tokio runtime.
///
/// # Errors
/// Of the file system; `AddrInUse` if another process answers there, or the file is no socket.
pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(std::io::Error::new(ErrorKind::AddrInUse, "there is a file that is no socket"));
        }
        Ok(_) if net::UnixStream::connect(path).is_ok() => {
            return Err(std::io::Error::new(ErrorKind::AddrInUse, "another process answers there"));
        }
        Ok(_) => std::fs::remove_file(path)?,
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Answers administrators, each with what `answer` makes of the line, of at most `most` octets. Does
/// not end by itself.
pub async fn serve<A, F>(listener: UnixListener, most: u64, answer: A)
where
    A: Fn(Zeroizing<Vec<u8>>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Value, String>> + Send,
{
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let _permit = permit;
            // An administrator that hangs up gets no answer; what was asked is done or not all the same.
            let _ = tokio::time::timeout(PATIENCE, one(stream, most, answer)).await;
        });
    }
}

async fn one<A, F>(stream: UnixStream, most: u64, answer: A) -> std::io::Result<()>
where
    A: Fn(Zeroizing<Vec<u8>>) -> F,
    F: Future<Output = Result<Value, String>>,
{
    let (reader, mut writer) = stream.into_split();
    let mut line = Zeroizing::new(Vec::new());
    tokio::io::BufReader::new(reader).take(most).read_until(b'\n', &mut line).await?;
    let answer = match answer(line).await {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": error }),
    };
    writer.write_all(format!("{answer}\n").as_bytes()).await?;
    writer.shutdown().await
}

/// The socket that is given, or that `[admin]` of the file names.
///
/// # Errors
/// Neither is given; the file cannot be read or has no such section.
pub fn socket(config: Option<&Path>, socket: Option<&Path>) -> Result<PathBuf, String> {
    let path = match (socket, config) {
        (Some(socket), _) => return Ok(socket.to_owned()),
        (None, Some(path)) => path,
        (None, None) => return Err("name the configuration file with -c, or the socket with --socket".into()),
    };
    // Problems of the file are for `carnet check`; here only the socket matters.
    let config = config::load(path).map_err(|e| e.to_string())?;
    config.admin.and_then(|admin| admin.into_inner().socket).ok_or_else(|| {
        format!(
            "{} has no [admin] section with a socket: add `socket = \"/run/carnet/admin.sock\"` to it and start anew",
            path.display()
        )
    })
}

/// Asks the process at the socket. `None` if none is there.
///
/// # Errors
/// What it says, or what went wrong on the way, in words.
pub fn ask(path: &Path, question: &impl serde::Serialize) -> Option<Result<Value, String>> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    match net::UnixStream::connect(path) {
        Ok(stream) => Some(exchange(stream, question).map_err(failed).and_then(|answer| answer)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => None,
        Err(e) => Some(Err(failed(e))),
    }
}

fn exchange(
    mut stream: net::UnixStream,
    question: &impl serde::Serialize,
) -> std::io::Result<Result<Value, String>> {
    stream.set_read_timeout(Some(PATIENCE + Duration::from_secs(5)))?;
    let mut line = Zeroizing::new(serde_json::to_vec(question)?);
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer)?;
    let mut answer: Value = serde_json::from_str(&answer)?;
    match (answer.get_mut("ok").map(Value::take), answer.get("error").and_then(Value::as_str)) {
        (Some(value), _) => Ok(Ok(value)),
        (None, Some(error)) => Ok(Err(error.to_owned())),
        _ => Err(std::io::Error::new(ErrorKind::InvalidData, "the answer is not understood")),
    }
}
