//! Requests over TCP and TLS: messages back to back, answered as their answers are ready.
//!
//! A connection has so many requests under way and no more; then it is not read on. One that does not read
//! its answers is closed, and so is one that says nothing for long, or leaves a message unfinished.

use super::shared::{MAX_REQUEST, NotTaken, Outgoing, Shared, refusal};
use crate::{Token, tcp};
use carnet_ng::Frames;
use carnet_tls::{CertificateContext, Peer};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// Requests of one connection under way.
pub(super) const MOST_UNDER_WAY: usize = 64;

/// A connection as it is served, with TLS or without.
pub(super) type Octets = Box<dyn Duplex>;

/// Both ways.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Tells a connection when the server goes; it writes what it has to and ends. The end of the process waits
/// for it.
#[derive(Clone)]
pub(super) struct Stop {
    stopped: watch::Receiver<()>,
    _token: Token,
}

impl Stop {
    /// Waits for the end of the server.
    pub(super) async fn told(&mut self) {
        // It is told by going.
        while self.stopped.changed().await.is_ok() {}
    }
}

/// Takes connections of those who may ask until the server is dropped.
pub(super) async fn accept<F>(
    listener: TcpListener,
    tls: Option<(CertificateContext, Peer)>,
    shared: Arc<Shared>,
    (mut stopped, token): (watch::Receiver<()>, Token),
    serve: fn(Octets, SocketAddr, Arc<Shared>, Stop) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let (stream, remote) = tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: not a reason to stop, nor to spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(tcp::BREATH).await;
                    continue;
                }
            },
        };
        let Some(admitted) = shared.connected(remote.ip()) else {
            tcp::reset(stream);
            continue;
        };
        tcp::prepare(&stream);
        tcp::hurry(&stream, shared.times().patience);
        let (tls, shared) = (tls.clone(), shared.clone());
        let mut stop = Stop { stopped: stopped.clone(), _token: token.clone() };
        tokio::spawn(async move {
            let _admitted = admitted;
            let octets = tokio::select! {
                octets = secured(stream, remote, tls) => octets,
                () = stop.told() => None,
            };
            if let Some(octets) = octets {
                serve(octets, remote, shared, stop).await;
            }
        });
    }
}

async fn secured(
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<(CertificateContext, Peer)>,
) -> Option<Octets> {
    let Some((context, peer)) = tls else { return Some(Box::new(stream)) };
    match context.accept(stream, &peer).await {
        Ok((stream, _)) => Some(Box::new(stream)),
        Err(error) => {
            tracing::debug!(%remote, %error, "no TLS");
            None
        }
    }
}

/// Serves one connection.
pub(super) async fn serve(octets: Octets, remote: SocketAddr, shared: Arc<Shared>, mut stop: Stop) {
    let (mut reader, mut writer) = tokio::io::split(octets);
    let (to, mut answers) = mpsc::channel::<Outgoing>(MOST_UNDER_WAY);
    let patience = shared.times().patience;
    let reading = async move {
        tokio::select! {
            () = read(&mut reader, remote, &shared, to) => {}
            () = stop.told() => {}
        }
    };
    let writing = async move {
        while let Some(answer) = answers.recv().await {
            let write = async {
                writer.write_all(&answer.octets).await?;
                writer.flush().await
            };
            match timeout(patience, write).await {
                Ok(Ok(())) => {}
                _ => return false,
            }
        }
        let _ = writer.shutdown().await;
        true
    };
    tokio::pin!(reading, writing);
    tokio::select! {
        _ = writing.as_mut() => {}
        // What is under way is still answered: the senders are with the requests.
        () = reading => drop(timeout(patience, writing).await),
    }
}

async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    remote: SocketAddr,
    shared: &Shared,
    to: mpsc::Sender<Outgoing>,
) {
    let rooms = Arc::new(Semaphore::new(MOST_UNDER_WAY));
    let mut frames = Frames::new(MAX_REQUEST);
    let mut buffer = vec![0; 16 << 10];
    let mut proved = false;
    let times = shared.times();
    // When the message began of which the end is missing. What comes of it meanwhile buys no further time.
    let mut begun: Option<Instant> = None;
    loop {
        let until = begun.map_or_else(|| Instant::now() + times.silence, |begun| begun + times.patience);
        let length = match timeout_at(until, reader.read(&mut buffer)).await {
            Ok(Ok(length)) if length > 0 => length,
            _ => return,
        };
        frames.push(buffer.get(..length).unwrap_or_default());
        while let Some(message) = frames.next_message() {
            begun = None;
            let Ok(message) = message else {
                shared.count(|tally| tally.malformed += 1);
                return;
            };
            let Ok(room) = rooms.clone().acquire_owned().await else { return };
            match shared.ask(remote, &message, true, proved, (&to, room)) {
                Ok(request) => {
                    proved = true;
                    if shared.events().send(request).await.is_err() {
                        return;
                    }
                }
                Err(NotTaken::Answered) => proved = true,
                Err(NotTaken::Full(waits)) => waits.answer(&refusal("too many requests are under way")),
                Err(NotTaken::Token(waits)) => {
                    waits.answer(&refusal("the token is missing, or another one"));
                    return;
                }
                Err(NotTaken::Unreadable) => return,
            }
        }
        begun = (frames.waiting() > 0).then(|| begun.unwrap_or_else(Instant::now));
    }
}
