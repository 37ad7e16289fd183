//! A running process as who administers it reaches it: its API over HTTP, from any host.
//!
//! One connection is kept and used again, events have one of their own. The process proves itself by a certificate that a
//! known authority vouches for; where its configuration file is at hand, by the certificate that the file names. Answers,
//! waiting and lines of events are bounded. No token leaves this host in the clear.

mod events;
mod kept;
mod reach;
mod words;

pub use events::{Event, Events};
pub use kept::{Page, page, together};
pub use reach::{NodeArgs, of_entry, of_section, reach_kms};

use carnet_tls::{CertificateContext, Peer};
use events::Lines;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, FORWARDED, HOST, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// Octets of an answer.
const MOST_ANSWER: usize = 32 << 20;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// It cannot be reached, or did not prove who it is.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It took too long.
    #[error("does not answer")]
    Silent,
    /// It says no.
    #[error("answers {status}: {why}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// In its words.
        why: String,
    },
    /// What it says is not what an API of ours says.
    #[error("answers what is not understood: {0}")]
    Odd(String),
}

/// What a process answered.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its clock, as it says it (RFC 9110 §6.6.1).
    pub date: Option<String>,
    /// Bounded: [`Node::bounded`].
    pub body: Bytes,
}

/// A process with an API.
pub struct Node {
    name: String,
    place: Place,
    authority: String,
    token: Option<Zeroizing<String>>,
    tls: Option<(CertificateContext, Peer)>,
    patience: Duration,
    /// Octets of an answer.
    most: usize,
    /// A connection that nobody uses at the moment.
    idle: Mutex<Option<Sender>>,
}

type Sender = SendRequest<Full<Bytes>>;

/// Where it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A host, without brackets, and a port.
    Tcp(String, u16),
    /// A socket on this host.
    Unix(PathBuf),
}

impl Node {
    /// What it is called by for people: where it answers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, asked for no longer and for no more than that.
    #[must_use]
    pub fn bounded(self, patience: Duration, most: usize) -> Self {
        Self { patience, most: most.min(MOST_ANSWER), ..self }
    }

    /// Asks for a document; the answer must be a success and JSON.
    ///
    /// # Errors
    /// Whatever keeps it from coming.
    pub async fn get(&self, path: &str) -> Result<Value, NodeError> {
        self.read(path).await
    }

    /// The same of a document that is known: what else is in it costs nothing but its reading.
    ///
    /// # Errors
    /// Whatever keeps it from coming.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, NodeError> {
        let answer = success(self.ask(path).await?)?;
        serde_json::from_slice(&answer.body).map_err(|e| NodeError::Odd(e.to_string()))
    }

    /// Has something changed in the name of somebody (RFC 7239 §4: what stands behind `for=`); the answer must be a success, and is null
    /// where it is not JSON. Asked once, whatever becomes of it.
    ///
    /// # Errors
    /// It says no, or whether it has done it is not known.
    pub async fn tell(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        by: &str,
    ) -> Result<Value, NodeError> {
        let answer = within(self.patience, async {
            let mut sender = self.connect().await?;
            let mut request = self.request(method, path, "*/*", body)?;
            if let Ok(by) = HeaderValue::from_str(&format!("for=\"{by}\"")) {
                request.headers_mut().insert(FORWARDED, by);
            }
            let response = put(&mut sender, request).await?;
            read(response, self.most).await
        });
        let answer = success(answer.await?)?;
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    /// Asks for a text.
    ///
    /// # Errors
    /// Whatever keeps it from coming.
    pub async fn text(&self, path: &str) -> Result<String, NodeError> {
        let answer = success(self.ask(path).await?)?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Asks, and gives whatever is answered.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn ask(&self, path: &str) -> Result<Answer, NodeError> {
        within(self.patience, async {
            let kept = self.idle.lock().await.take();
            if let Some(sender) = kept.filter(|sender| !sender.is_closed()) {
                // It may have been closed for being idle: then once more, with a new one.
                if let Ok(answer) = self.exchange(sender, path).await {
                    return Ok(answer);
                }
            }
            let sender = self.connect().await?;
            self.exchange(sender, path).await
        })
        .await
    }

    /// What happens there from now on. `query` chooses: `level=warn`.
    ///
    /// # Errors
    /// It does not tell.
    pub async fn events(&self, query: &str) -> Result<Events, NodeError> {
        let path = if query.is_empty() { "/api/v1/events".into() } else { format!("/api/v1/events?{query}") };
        within(self.patience, async {
            let mut sender = self.connect().await?;
            let request = self.request(Method::GET, &path, "text/event-stream", None)?;
            let response = put(&mut sender, request).await?;
            if response.status().is_success() {
                return Ok(Events {
                    body: response.into_body(),
                    lines: Lines::default(),
                    _connection: sender,
                });
            }
            let refused = success(read(response, self.most).await?).map(|_| "no events".to_owned());
            Err(refused.map_or_else(|error| error, NodeError::Odd))
        })
        .await
    }

    async fn exchange(&self, mut sender: Sender, path: &str) -> Result<Answer, NodeError> {
        let response = put(&mut sender, self.request(Method::GET, path, "*/*", None)?).await?;
        let answer = read(response, self.most).await?;
        // Behind one that cannot answer there may be another soon.
        if answer.status < 500 {
            *self.idle.lock().await = Some(sender);
        }
        Ok(answer)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, NodeError> {
        let uri: Uri = path.parse().map_err(|_| NodeError::Odd(format!("`{path}` cannot be asked for")))?;
        let request = Request::builder().method(method).uri(uri);
        let mut request = request.header(HOST, &self.authority).header(ACCEPT, accept);
        if let Some(token) = &self.token {
            let word = Zeroizing::new(format!("Bearer {}", token.as_str()));
            if let Ok(mut value) = HeaderValue::from_str(&word) {
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
        }
        let octets = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        request.body(Full::new(octets)).map_err(|e| NodeError::Odd(e.to_string()))
    }

    async fn connect(&self) -> Result<Sender, NodeError> {
        let unreachable = |e: std::io::Error| NodeError::Unreachable(e.to_string());
        match &self.place {
            Place::Unix(path) => speak(UnixStream::connect(path).await.map_err(unreachable)?).await,
            Place::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                let Some((context, peer)) = &self.tls else { return speak(stream).await };
                let tls = context.connect(stream, peer).await;
                let tls = tls.map_err(|e| NodeError::Unreachable(words::in_words(&e)))?;
                speak(words::Speaking(tls.0)).await
            }
        }
    }
}

/// A name as one segment of a path (RFC 3986 §3.3).
pub fn segment(name: &str) -> String {
    use std::fmt::Write;
    let mut segment = String::new();
    for octet in name.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            segment.push(char::from(octet));
        } else {
            let _ = write!(segment, "%{octet:02X}");
        }
    }
    segment
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, NodeError>>,
) -> Result<T, NodeError> {
    tokio::time::timeout(patience, work).await.unwrap_or(Err(NodeError::Silent))
}

async fn speak<S>(stream: S) -> Result<Sender, NodeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // It ends when the sender and the answer's body are gone, or the other end goes.
    tokio::spawn(connection);
    Ok(sender)
}

async fn put(sender: &mut Sender, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, NodeError> {
    sender.ready().await.map_err(lost)?;
    sender.send_request(request).await.map_err(lost)
}

/// Errors of HTTP say the least in their first line.
fn lost(error: hyper::Error) -> NodeError {
    let inner = std::error::Error::source(&error).map(|inner| format!(": {inner}")).unwrap_or_default();
    // What a stream of ours says needs no more words.
    let ours = std::error::Error::source(&error)
        .and_then(|inner| inner.downcast_ref::<std::io::Error>())
        .is_some_and(|inner| inner.kind() == std::io::ErrorKind::Other);
    NodeError::Unreachable(if ours {
        inner.trim_start_matches(": ").to_owned()
    } else {
        format!("{error}{inner}")
    })
}

async fn read(response: Response<Incoming>, most: usize) -> Result<Answer, NodeError> {
    let status = response.status().as_u16();
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), most).collect().await;
    let body = body.map_err(|e| NodeError::Unreachable(e.to_string()))?.to_bytes();
    Ok(Answer { status, date, body })
}

/// The answer, if it is what was asked for.
fn success(answer: Answer) -> Result<Answer, NodeError> {
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let why = said.as_ref().and_then(|said| said.get("error")?.as_str()).map(str::to_owned);
    let why = why.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&answer.body);
        text.lines().next().unwrap_or_default().chars().take(200).collect()
    });
    Err(NodeError::Refused { status: answer.status, why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_name_becomes_one_segment() {
        assert_eq!(segment("sip:lobby@conf.a.example/?é"), "sip%3Alobby%40conf.a.example%2F%3F%C3%A9");
    }

    /// A process that says it keeps connections, and closes each after one answer.
    #[tokio::test]
    async fn a_connection_that_was_closed_meanwhile_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for (count, mut stream) in listener.incoming().flatten().enumerate() {
                let _ = stream.read(&mut [0; 4096]);
                let (status, body) = match count {
                    2 => ("409 Conflict", "{\"error\":\"not now\"}".to_owned()),
                    3 => ("200 OK", "<html>".to_owned()),
                    count => ("200 OK", format!("{{\"count\":{count}}}")),
                };
                let length = body.len();
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            }
        });
        let nodes = NodeArgs::of([format!("unix:{}", path.display())]).nodes().unwrap();
        for count in 0..2 {
            assert_eq!(nodes[0].get("/api/v1/nodes").await.unwrap()["count"], count);
        }
        let refused = NodeError::Refused { status: 409, why: "not now".into() };
        assert_eq!(nodes[0].get("/api/v1/nodes").await, Err(refused));
        assert!(matches!(nodes[0].get("/api/v1/nodes").await, Err(NodeError::Odd(_))));
        drop(directory);
        assert!(matches!(nodes[0].get("/api/v1/nodes").await, Err(NodeError::Unreachable(_))));
    }
}
