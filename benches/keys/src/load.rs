//! The load: connections kept alive, each with one request under way.

use crate::Result;
use carnet_mikey::{Identity, Profile, Psk, Received, request_init};
use carnet_net::OsRandom;
use carnet_tls::{CertificateContext, Peer};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::SystemTime;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tickets.
    Request,
    /// The keys of one ticket.
    Resolve,
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::Request => "/keymanagement?requesttype=ticketrequest",
            Self::Resolve => "/keymanagement?requesttype=ticketresolve",
        }
    }

    /// Data type of the answer (RFC 6043 §6.1).
    fn answer(self) -> u8 {
        match self {
            Self::Request => 13,
            Self::Resolve => 18,
        }
    }
}

/// A stream in clear or in TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Connections, and how they are made.
pub struct Load<'a> {
    pub connections: usize,
    /// For TLS.
    pub context: Option<&'a CertificateContext>,
}

impl Load<'_> {
    async fn connect(&self, to: SocketAddr) -> Result<BufReader<Box<dyn Stream>>> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match self.context {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect(stream, &Peer::Named("localhost".into())).await?.0),
        };
        Ok(BufReader::new(stream))
    }

    /// Messages as whole HTTP requests. Those that resolve are about one ticket, which the service
    /// at `kms` issues.
    pub async fn messages(&self, kind: Kind, count: usize, kms: SocketAddr) -> Result<Vec<Vec<u8>>> {
        let id = |text: &str| Identity::from_uri(text);
        let (alice, bob, name) =
            (id("sip:alice@x.example")?, id("sip:bob@x.example")?, id("sip:kms.example")?);
        let (alice_psk, bob_psk) = (Psk::new(&[1; 32])?, Psk::new(&[2; 32])?);
        let profile = Profile::default();
        let now = SystemTime::now;
        let ask = || request_init(&profile, now(), &mut OsRandom, &alice, b"alice", &alice_psk, &name, &bob);
        if kind == Kind::Request {
            return Ok((0..count).map(|_| post(kind, &ask().1)).collect());
        }
        let (pending, octets) = ask();
        let mut connection = self.connect(kms).await?;
        let answer = exchange(&mut connection, &post(Kind::Request, &octets)).await?;
        let (_, offer) = pending.response(&answer, now())?.offer(&profile, now(), &mut OsRandom);
        let received = Received::parse(&profile, now(), &offer)?;
        let resolve = || received.resolve_init(now(), &mut OsRandom, &bob, b"bob", &bob_psk, &name).1;
        Ok((0..count).map(|_| post(kind, &resolve())).collect())
    }

    /// Sends all messages and waits for all answers; each must be what was asked for if `real`.
    pub async fn run(&self, to: SocketAddr, kind: Kind, messages: &[Vec<u8>], real: bool) -> Result<()> {
        let next = Rc::new(Cell::new(0));
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            let (mut connection, next) = (self.connect(to).await?, next.clone());
            connections.push(async move {
                while let Some(message) = messages.get(next.get()) {
                    next.set(next.get() + 1);
                    let answer = exchange(&mut connection, message).await?;
                    if real && answer.get(1) != Some(&kind.answer()) {
                        return Err(format!("asked {kind:?}, was answered {:?}", answer.get(..2)).into());
                    }
                }
                Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
            });
        }
        all(connections).await
    }
}

/// Waits until all have ended; the first error ends it.
async fn all<F: Future<Output = Result<()>>>(futures: Vec<F>) -> Result<()> {
    let mut running: Vec<_> = futures.into_iter().map(|f| Some(Box::pin(f))).collect();
    std::future::poll_fn(|context| {
        for slot in &mut running {
            let Some(future) = slot else { continue };
            match future.as_mut().poll(context) {
                Poll::Ready(Ok(())) => *slot = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if running.iter().all(Option::is_none) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

fn post(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "POST {} HTTP/1.1\r\nHost: kms\r\nContent-Type: application/mikey\r\nContent-Length: {}\r\n\r\n",
        kind.path(),
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// Sends a request and gives what a 200 answer carries.
async fn exchange(connection: &mut BufReader<Box<dyn Stream>>, request: &[u8]) -> Result<Vec<u8>> {
    connection.get_mut().write_all(request).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if connection.read_until(b'\n', &mut head).await? == 0 {
            return Err("the server hung up".into());
        }
    }
    let head = String::from_utf8(head)?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(head.into());
    }
    let len = head.lines().find_map(|line| line.strip_prefix("content-length:")).ok_or("no length")?;
    let mut body = vec![0; len.trim().parse()?];
    connection.read_exact(&mut body).await?;
    Ok(body)
}
