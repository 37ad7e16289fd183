//! A Unix socket where administrators of this host ask over HTTP, and how our own commands ask there. Who may open it is
//! decided by the file system.

use super::answer::Problem;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of an answer.
const MOST_ANSWER: usize = 1 << 28;

/// An open socket; taken away when dropped.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody is left to be told; the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Opens the socket at `path` in place of one that nobody listens at any more, for those that `mode` lets in. Inside a tokio
/// runtime.
///
/// # Errors
/// Of the file system; `AddrInUse` if another process answers there, or the file is no socket.
pub fn bind(path: &Path, mode: u32) -> Result<(UnixListener, Place)> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(Error::new(ErrorKind::AddrInUse, "there is a file that is no socket"));
        }
        Ok(_) if net::UnixStream::connect(path).is_ok() => {
            return Err(Error::new(ErrorKind::AddrInUse, "another process answers there"));
        }
        Ok(_) => std::fs::remove_file(path)?,
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    Ok((listener, Place { path: path.to_owned() }))
}

/// A path of our API: what is fixed, and what somebody named.
#[derive(Debug, Clone)]
pub struct Target(String);

impl Target {
    /// `/api/v1/` and what follows.
    pub fn new(fixed: &str) -> Self {
        Self(format!("/api/v1/{fixed}"))
    }

    /// A further part of the path, whatever is in it.
    #[must_use]
    pub fn part(mut self, name: &str) -> Self {
        self.0.push('/');
        self.encode(name);
        self
    }

    /// A parameter, if there is one.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            self.encode(&value.to_string());
        }
        self
    }

    /// RFC 3986 §2.1
    fn encode(&mut self, text: &str) {
        for octet in text.bytes() {
            if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                self.0.push(char::from(octet));
            } else {
                // Writing into a string does not fail.
                let _ = write!(self.0, "%{octet:02X}");
            }
        }
    }
}

/// A process that answers at a socket.
#[derive(Debug)]
pub struct Client<'a> {
    path: &'a Path,
}

impl<'a> Client<'a> {
    /// `None` if none is there.
    ///
    /// # Errors
    /// Why it cannot be asked, in words.
    pub fn new(path: &'a Path) -> Option<std::result::Result<Self, String>> {
        match net::UnixStream::connect(path) {
            Ok(_) => Some(Ok(Self { path })),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => None,
            Err(e) => Some(Err(format!("{}: {e}", path.display()))),
        }
    }

    /// What it answers.
    ///
    /// # Errors
    /// What it says, or what went wrong on the way, in words.
    pub fn get(&self, target: &Target) -> std::result::Result<Value, String> {
        self.ask(Method::GET, target, Bytes::new())
    }

    /// The same, of a request that changes something.
    ///
    /// # Errors
    /// What it says, or what went wrong on the way, in words.
    pub fn put(
        &self,
        method: Method,
        target: &Target,
        body: Option<&impl serde::Serialize>,
    ) -> std::result::Result<Value, String> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|e| e.to_string())?;
        self.ask(method, target, body.map_or_else(Bytes::new, Bytes::from))
    }

    fn ask(&self, method: Method, target: &Target, body: Bytes) -> std::result::Result<Value, String> {
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", self.path.display());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
        let asked = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, exchange(self.path, method, target, body)).await
        });
        let (status, body) = asked.map_err(|_| failed(&"it does not answer"))?.map_err(|e| failed(&e))?;
        if status.is_success() {
            return match body.is_empty() {
                true => Ok(Value::Null),
                false => serde_json::from_slice(&body).map_err(|_| failed(&"the answer is not understood")),
            };
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(problem.error),
            Err(_) => Err(failed(&format!("it answers {status}"))),
        }
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    path: &Path,
    method: Method,
    target: &Target,
    body: Bytes,
) -> std::result::Result<(StatusCode, Bytes), Failed> {
    let stream = UnixStream::connect(path).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the connection, and that with the answer.
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(&target.0).header("host", "localhost");
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let answer = sender.send_request(request.body(Full::new(body))?).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST_ANSWER).collect().await?;
    Ok((status, body.to_bytes()))
}

/// The socket that is given, or that `[admin]` of the file names.
///
/// # Errors
/// Neither is given; the file cannot be read or has no such section.
pub fn of(config: Option<&Path>, socket: Option<&Path>) -> std::result::Result<PathBuf, String> {
    let path = match (socket, config) {
        (Some(socket), _) => return Ok(socket.to_owned()),
        (None, Some(path)) => path,
        (None, None) => return Err("name the configuration file with -c, or the socket with --socket".into()),
    };
    // Problems of the file are for `carnet check`; here only the socket matters.
    let config = carnet_ops::config::load(path).map_err(|e| e.to_string())?;
    config.admin.and_then(|admin| admin.into_inner().socket).ok_or_else(|| {
        format!(
            "{} has no [admin] section with a socket: add `socket = \"/run/carnet/admin.sock\"` to it and start anew",
            path.display()
        )
    })
}

/// The process at the socket of a file, or at the one that is given.
///
/// # Errors
/// None is there, or it cannot be asked.
pub fn client(path: &Path) -> std::result::Result<Client<'_>, String> {
    let nobody = || format!("{}: nobody answers; is `carnet run` at work with this file?", path.display());
    Client::new(path).unwrap_or_else(|| Err(nobody()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_whatever_is_in_them() {
        let target =
            Target::new("rooms").part("sip:a/b@c?d").part("ü").with("by", None::<&str>).with("from", Some(3));
        assert_eq!(target.0, "/api/v1/rooms/sip%3Aa%2Fb%40c%3Fd/%C3%BC?from=3");
        assert_eq!(Target::new("x").with("a", Some("&=")).with("b", Some(1)).0, "/api/v1/x?a=%26%3D&b=1");
    }
}
