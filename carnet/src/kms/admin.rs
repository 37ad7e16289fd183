//! Administration: commands, what they do, and the socket they come by while the service runs
//! ([`crate::desk`]). While it does not, the same commands work on the data directory.

mod commands;

pub use commands::{Command, NewUser, PolicyLine, execute};

use super::service::{OpenError, Service, ServiceSettings};
use crate::desk;
use carnet_net::Token;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;

/// The socket's name in the data directory.
const SOCKET: &str = "admin.sock";
/// Octets of a command: an import of a hundred thousand users fits.
const MAX_COMMAND: u64 = 32 << 20;

/// Opens the socket. The caller has the database, so no other service uses the name.
pub fn bind(data: &Path) -> Result<UnixListener, OpenError> {
    let path = data.join(SOCKET);
    desk::bind(&path).map_err(|e| OpenError::Directory(path, e))
}

/// Serves administrators until `token` says to stop.
pub async fn serve(service: Arc<Service>, listener: UnixListener, mut token: Token) {
    let path = service.data().join(SOCKET);
    let answer = move |line: zeroize::Zeroizing<Vec<u8>>| {
        let service = service.clone();
        async move {
            let done = tokio::task::spawn_blocking(move || match serde_json::from_slice::<Command>(&line) {
                Ok(command) => execute(&service, &command),
                Err(error) => Err(format!("not a command: {error}")),
            });
            done.await.unwrap_or_else(|_| Err("the command failed".into()))
        }
    };
    tokio::select! {
        _ = token.started() => {}
        () = desk::serve(listener, MAX_COMMAND, answer) => {}
    }
    let _ = std::fs::remove_file(path);
}

/// Has a command carried out: by the service if it runs, otherwise on its data directory. That is
/// made if it is not there and the command may be the first one.
pub fn call(data: &Path, settings: ServiceSettings, command: &Command) -> Result<Value, String> {
    if let Some(answer) = desk::ask(&data.join(SOCKET), command) {
        return answer;
    }
    let open = if command.may_begin() { Service::open } else { Service::open_as_it_is };
    let service = open(data, settings).map_err(|e| match e {
        OpenError::Store(carnet_store::Error::Busy) => {
            "the service is starting or stopping, or another administrator is at work; try again".into()
        }
        other => other.to_string(),
    })?;
    execute(&service, command)
}
