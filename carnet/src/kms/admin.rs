//! Administration: commands, what they do, and the Unix socket they come by while the service
//! runs. While it does not, the same commands work on the data directory.
//!
//! One JSON line a connection, and one back: `{"ok": …}` or `{"error": …}`. The socket is for its
//! owner only, as is the directory it is in.

mod commands;

pub use commands::{Command, NewUser, PolicyLine, execute};

use super::service::{OpenError, Service, ServiceSettings};
use carnet_net::Token;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use zeroize::Zeroizing;

/// The socket's name in the data directory.
const SOCKET: &str = "admin.sock";
/// Octets of a command: an import of a hundred thousand users fits.
const MAX_COMMAND: u64 = 32 << 20;
/// How long a command may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// Administrators at once.
const MAX_CONNECTIONS: usize = 16;

/// Opens the socket. The caller has the database, so no other service uses the name.
pub fn bind(data: &Path) -> Result<UnixListener, OpenError> {
    let path = data.join(SOCKET);
    let fail = |e| OpenError::Directory(path.clone(), e);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(fail(e)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(fail)?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map_err(fail)?;
    Ok(listener)
}

/// Serves administrators until `token` says to stop.
pub async fn serve(service: Arc<Service>, listener: UnixListener, mut token: Token) {
    let room = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            _ = token.started() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = service.clone();
        tokio::spawn(async move {
            let _permit = permit;
            // An administrator that hangs up gets no answer; the command is done or not all the same.
            let _ = tokio::time::timeout(PATIENCE, one_command(service, stream)).await;
        });
    }
    let _ = std::fs::remove_file(service.data().join(SOCKET));
}

async fn one_command(service: Arc<Service>, stream: UnixStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Zeroizing::new(Vec::new());
    let mut reader = tokio::io::BufReader::new(reader).take(MAX_COMMAND);
    reader.read_until(b'\n', &mut line).await?;
    let done = tokio::task::spawn_blocking(move || match serde_json::from_slice::<Command>(&line) {
        Ok(command) => execute(&service, &command),
        Err(error) => Err(format!("not a command: {error}")),
    });
    let answer = match done.await {
        Ok(Ok(value)) => json!({ "ok": value }),
        Ok(Err(error)) => json!({ "error": error }),
        Err(_) => json!({ "error": "the command failed" }),
    };
    writer.write_all(format!("{answer}\n").as_bytes()).await?;
    writer.shutdown().await
}

/// Has a command carried out: by the service if it runs, otherwise on its data directory. That is
/// made if it is not there and the command may be the first one.
pub fn call(data: &Path, settings: ServiceSettings, command: &Command) -> Result<Value, String> {
    let path = data.join(SOCKET);
    match std::os::unix::net::UnixStream::connect(&path) {
        Ok(stream) => ask(stream, command).map_err(|e| format!("{}: {e}", path.display()))?,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            let open = if command.may_begin() { Service::open } else { Service::open_as_it_is };
            let service = open(data, settings).map_err(|e| match e {
                OpenError::Store(carnet_store::Error::Busy) => {
                    "the service is starting or stopping, or another administrator is at work; try again"
                        .into()
                }
                other => other.to_string(),
            })?;
            execute(&service, command)
        }
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

fn ask(
    mut stream: std::os::unix::net::UnixStream,
    command: &Command,
) -> std::io::Result<Result<Value, String>> {
    let mut line = Zeroizing::new(serde_json::to_vec(command)?);
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(1 << 30)).read_line(&mut answer)?;
    let mut answer: Value = serde_json::from_str(&answer)?;
    match (answer.get_mut("ok").map(Value::take), answer.get("error").and_then(Value::as_str)) {
        (Some(value), _) => Ok(Ok(value)),
        (None, Some(error)) => Ok(Err(error.to_owned())),
        _ => Err(std::io::Error::new(ErrorKind::InvalidData, "the service's answer is not understood")),
    }
}
