//! Messages on their way to a Homer (HEPv3), over UDP, TCP or TLS. What waits is bounded in number and octets, and what finds no room
//! is dropped and counted: no role ever waits for it.
//!
//! A message of H.248 waits a moment until its call is known ([`calls`](super::calls)); packets say when messages went by, so others
//! may overtake it.

use super::calls::{Calls, Ties};
use crate::roles::{Watch, tls};
use carnet_capture::hep::{Packet, Payload, Transport};
use carnet_ops::config::{HepSection, HepServer, HepWay};
use carnet_ops::metrics::Metrics;
use carnet_tls::{CertificateContext, CertificateSettings, Peer as Shown};
use carnet_trace::{Peer, Protocol, Telling, Way, What, mask};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

/// What became of messages, by `result`.
pub const PACKETS: &str = "carnet_hep_packets_total";
/// Each result: written to the server; no room or no connection; longer than HEP can say; not readable, so not masked.
pub const RESULTS: [&str; 4] = [SENT, DROPPED, TOO_LONG, UNREADABLE];
const SENT: &str = "sent";
const DROPPED: &str = "dropped";
const TOO_LONG: &str = "too-long";
const UNREADABLE: &str = "unreadable";

/// Octets that may wait.
const MOST_OCTETS: usize = 16 << 20;
/// To connect, or to write one message.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to connect: the first, and the longest.
const AGAIN: Duration = Duration::from_millis(500);
const AT_MOST: Duration = Duration::from_secs(30);
/// A name is looked up again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// How long a message may wait for its call to be known, how often that is looked for, and how many may.
const HOLD: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);
const MOST_HELD: usize = 512;

/// What comes in so long a time goes together: packets say when messages went by, and to be woken for each costs more than
/// all that is done with it. Not where so few may wait that they would be lost.
const GATHER: Duration = Duration::from_millis(20);
const ENOUGH: usize = 1_000;

/// The way to a server.
pub struct Hep {
    queue: Sender<Arc<Telling>>,
    octets: Arc<AtomicUsize>,
    taken: Mutex<Option<Receiver<Arc<Telling>>>>,
    settings: Arc<Settings>,
    calls: Arc<Calls>,
}

struct Settings {
    server: HepServer,
    tls: Option<CertificateContext>,
    agent: u32,
    name: Option<String>,
    key: Option<Zeroizing<String>>,
}

impl Hep {
    pub(super) fn new(section: &HepSection) -> Result<Self, String> {
        let key = section.password_file.as_ref().map(|path| password(path.as_ref())).transpose()?;
        let (queue, taken) = mpsc::channel(*section.queue.as_ref());
        let settings = Settings {
            server: section.server.as_ref().clone(),
            tls: context(section)?,
            agent: section.id,
            name: section.name.as_ref().map(|name| name.as_ref().clone()),
            key,
        };
        let (octets, taken) = (Arc::default(), Mutex::new(Some(taken)));
        Ok(Self { queue, octets, taken, settings: Arc::new(settings), calls: Arc::default() })
    }

    /// Which calls messages are of.
    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Queues a message, if there is room.
    pub(super) fn put(&self, telling: Arc<Telling>, metrics: &Metrics) {
        let size = telling.size();
        let fits = self.octets.fetch_add(size, Ordering::AcqRel).saturating_add(size) <= MOST_OCTETS;
        if !fits || self.queue.try_send(telling).is_err() {
            self.octets.fetch_sub(size, Ordering::AcqRel);
            metrics.add(PACKETS, &[DROPPED], 1);
        }
    }

    /// Sends what is queued, until the process ends. Once.
    pub fn run(&self, watch: Arc<Watch>) -> Option<impl Future<Output = ()> + Send + use<>> {
        let queue = self.taken.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let (settings, octets) = (self.settings.clone(), self.octets.clone());
        let (calls, held) = (self.calls.clone(), VecDeque::new());
        Some(async move {
            Sending { queue, octets, settings, watch, calls, held, looked: Instant::now() }.run().await;
        })
    }
}

/// One word in a file.
///
/// # Errors
/// The file cannot be read, or what is in it is no such word.
pub fn password(path: &std::path::Path) -> Result<Zeroizing<String>, String> {
    let fail = |what: String| format!("password for HEP: {}: {what}", path.display());
    let octets = Zeroizing::new(std::fs::read(path).map_err(|e| fail(e.to_string()))?);
    let word = octets.trim_ascii();
    if word.is_empty() || word.len() > 512 || !word.iter().all(u8::is_ascii_graphic) {
        return Err(fail("it is one word of visible ASCII".to_owned()));
    }
    Ok(Zeroizing::new(String::from_utf8_lossy(word).into_owned()))
}

/// TLS to the server, if that is wanted.
///
/// # Errors
/// A file cannot be read.
pub fn context(section: &HepSection) -> Result<Option<CertificateContext>, String> {
    if section.server.as_ref().way != HepWay::Tls {
        return Ok(None);
    }
    let files = section.tls.as_ref().map(|tls| tls.as_ref());
    let ca = files.and_then(|tls| tls.ca.as_ref()).map(|ca| ca.as_ref().as_path());
    let own = files.and_then(|tls| Some((tls.certificate.as_ref()?.as_ref(), tls.key.as_ref()?.as_ref())));
    let settings = CertificateSettings {
        trust: tls::trust(ca),
        credential: own.map(|(certificate, key)| tls::from_files(certificate, key)).transpose()?,
        handshake_timeout: PATIENCE,
        ..CertificateSettings::default()
    };
    let context = CertificateContext::new(&settings).map_err(|e| format!("TLS for HEP: {e}"))?;
    Ok(Some(context.counted_at("hep")))
}

struct Sending {
    queue: Receiver<Arc<Telling>>,
    octets: Arc<AtomicUsize>,
    settings: Arc<Settings>,
    watch: Arc<Watch>,
    calls: Arc<Calls>,
    /// What waits for its call to be known, the oldest first.
    held: VecDeque<Held>,
    /// When it was last looked whether it is.
    looked: Instant,
}

struct Held {
    message: Ready,
    ties: Ties,
    until: Instant,
}

/// A message that was read.
struct Ready {
    telling: Arc<Telling>,
    /// What goes out; nothing of what cannot be read.
    octets: Option<Vec<u8>>,
    /// The Call-ID that goes with it.
    call_id: Option<Arc<str>>,
}

/// A way that is open.
enum Open {
    Udp(UdpSocket),
    Stream(Box<dyn Stream>),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Open {
    /// Until the other end closes, or says something of a connection that broke.
    async fn ended(&mut self) -> io::Error {
        match self {
            Self::Udp(_) => std::future::pending().await,
            Self::Stream(stream) => {
                let mut said = [0; 256];
                loop {
                    match stream.read(&mut said).await {
                        Ok(0) => return io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it"),
                        // HEP has no answers.
                        Ok(_) => {}
                        Err(error) => return error,
                    }
                }
            }
        }
    }
}

/// What comes next.
enum Next {
    Message(Arc<Telling>),
    /// Some may know their calls by now.
    Look,
    /// The name may have another address.
    Again,
    Broken(io::Error),
    /// The process ends.
    End,
}

impl Sending {
    async fn run(mut self) {
        let server = self.settings.server.clone();
        let mut wait = AGAIN;
        loop {
            let mut open = match timeout(PATIENCE, connect(&self.settings)).await {
                Ok(Ok(open)) => open,
                outcome => {
                    let why = match outcome {
                        Ok(Err(error)) => error.to_string(),
                        _ => "it takes too long".to_owned(),
                    };
                    tracing::warn!(%server, why, "no way to the HEP server");
                    if self.queue.is_closed() {
                        // Another one has taken its place.
                        let left = std::iter::from_fn(|| self.queue.try_recv().ok()).count();
                        return self.watch.metrics.add(
                            PACKETS,
                            &[DROPPED],
                            u64::try_from(left).unwrap_or(u64::MAX),
                        );
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(AT_MOST);
                    continue;
                }
            };
            tracing::info!(%server, "messages go to the HEP server");
            // Names are looked up again where nothing tells that the server has moved.
            let again = (matches!(open, Open::Udp(_)) && server.address().is_none())
                .then(|| Instant::now() + LOOK_AGAIN);
            let why = 'open: loop {
                let ready = match self.next(&mut open, again).await {
                    Next::Message(telling) => match self.read(telling) {
                        (message, None) => vec![message],
                        (message, Some(ties)) => {
                            let until = Instant::now() + HOLD;
                            self.held.push_back(Held { message, ties, until });
                            Vec::new()
                        }
                    },
                    Next::Look => self.known(false),
                    Next::Again => break None,
                    Next::Broken(error) => break Some(error),
                    Next::End => {
                        for message in self.known(true) {
                            // There is nobody left to be told of a failure.
                            let _ = self.send(&mut open, &message).await;
                        }
                        return;
                    }
                };
                for message in ready {
                    self.octets.fetch_sub(message.telling.size(), Ordering::AcqRel);
                    match self.send(&mut open, &message).await {
                        Ok(result) => {
                            self.watch.metrics.add(PACKETS, &[result], 1);
                            wait = AGAIN;
                        }
                        Err(error) => {
                            self.watch.metrics.add(PACKETS, &[DROPPED], 1);
                            // An ICMP error of a datagram before says that nobody listens there now.
                            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                            if matches!(open, Open::Stream(_)) || !refused {
                                break 'open Some(error);
                            }
                        }
                    }
                }
            };
            if let Some(error) = why {
                tracing::warn!(%server, %error, "the way to the HEP server broke");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(AT_MOST);
            }
        }
    }

    async fn next(&mut self, open: &mut Open, again: Option<Instant>) -> Next {
        // Counted from the last look, not from now: many messages do not put it off.
        let look = (!self.held.is_empty()).then(|| self.looked + LOOK);
        let at = |moment: Option<Instant>| async move {
            match moment {
                Some(moment) => tokio::time::sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            error = open.ended() => Next::Broken(error),
            () = at(look) => Next::Look,
            telling = gathered(&mut self.queue) => telling.map_or(Next::End, Next::Message),
            () = at(again) => Next::Again,
        }
    }

    /// Reads a message; with what its call will be known by, if it is worth to wait for that.
    fn read(&self, telling: Arc<Telling>) -> (Ready, Option<Ties>) {
        let mut ready = Ready { telling: telling.clone(), octets: None, call_id: None };
        let What::Message { protocol, peer, octets, .. } = &telling.what else { return (ready, None) };
        let Some(read) = mask::read(*protocol, octets) else { return (ready, None) };
        (ready.octets, ready.call_id) = (Some(read.octets), read.call_id.map(Arc::from));
        let Some(message) = read.control else { return (ready, None) };
        let ties = self.calls.ties(&telling, peer, &message);
        ready.call_id = self.calls.call_of(&ties);
        let waits = ready.call_id.is_none() && ties.of_a_call && self.held.len() < MOST_HELD;
        (ready, waits.then_some(ties))
    }

    /// Those whose call is known by now, and those that have waited long enough, or all.
    fn known(&mut self, all: bool) -> Vec<Ready> {
        let now = Instant::now();
        self.looked = now;
        let mut ready = Vec::new();
        for mut held in std::mem::take(&mut self.held) {
            held.message.call_id = self.calls.call_of(&held.ties);
            if held.message.call_id.is_none() && !all && now < held.until {
                self.held.push_back(held);
            } else {
                ready.push(held.message);
            }
        }
        ready
    }

    async fn send(&self, open: &mut Open, message: &Ready) -> io::Result<&'static str> {
        let packet = match print(message, &self.settings) {
            Ok(packet) => packet,
            Err(why) => return Ok(why),
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the server does not read");
        match open {
            Open::Udp(socket) => match timeout(PATIENCE, socket.send(&packet)).await.map_err(|_| late())? {
                Ok(_) => Ok(SENT),
                // A datagram that is too large for IP (EMSGSIZE), not a way that broke.
                Err(_) if packet.len() > LARGEST_DATAGRAM => Ok(TOO_LONG),
                Err(error) => Err(error),
            },
            Open::Stream(stream) => {
                let write = async {
                    stream.write_all(&packet).await?;
                    stream.flush().await
                };
                timeout(PATIENCE, write).await.map_err(|_| late())??;
                Ok(SENT)
            }
        }
    }
}

/// The next of a queue. Where nothing waits, what comes is left to wait for others.
async fn gathered<T>(queue: &mut Receiver<T>) -> Option<T> {
    if queue.is_empty() && !queue.is_closed() && queue.max_capacity() >= ENOUGH {
        tokio::time::sleep(GATHER).await;
    }
    queue.recv().await
}

/// Octets of a datagram over IPv4.
const LARGEST_DATAGRAM: usize = 65_507;

async fn connect(settings: &Settings) -> io::Result<Open> {
    let server = &settings.server;
    let found: Vec<SocketAddr> = match server.address() {
        Some(address) => vec![address],
        None => tokio::net::lookup_host((server.host.as_str(), server.port)).await?.collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in found {
        let opened = async {
            if server.way != HepWay::Udp {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let Some(tls) = &settings.tls else { return Ok(Open::Stream(Box::new(stream))) };
                let peer = Shown::Named(server.host.clone());
                let (stream, _) = tls.connect(stream, &peer).await.map_err(io::Error::other)?;
                return Ok(Open::Stream(Box::new(stream)));
            }
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Ok(Open::Udp(socket))
        };
        match opened.await {
            Ok(open) => return Ok(open),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The packet, or why there is none.
fn print(message: &Ready, settings: &Settings) -> Result<Vec<u8>, &'static str> {
    let telling = &message.telling;
    let (What::Message { protocol, sent, local, peer, way, .. }, Some(octets)) =
        (&telling.what, &message.octets)
    else {
        return Err(UNREADABLE);
    };
    let payload = match protocol {
        Protocol::Sip => Payload::Sip,
        Protocol::Control => Payload::Control,
        Protocol::Ng => Payload::Ng,
    };
    let there = match peer {
        Peer::Address(address) => *address,
        // Inside of the process: HEP has no word for that, and wants an address.
        Peer::Node(_) => (Ipv4Addr::LOCALHOST, 0).into(),
    };
    let here = local.unwrap_or_else(|| match there {
        SocketAddr::V4(there) if there.ip().is_loopback() => (Ipv4Addr::LOCALHOST, 0).into(),
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    });
    let (from, to) = if *sent { (here, there) } else { (there, here) };
    let packet = Packet {
        at: telling.at,
        from,
        to,
        transport: match way {
            Way::Tcp | Way::Tls => Transport::Tcp,
            Way::Sctp => Transport::Sctp,
            _ => Transport::Udp,
        },
        payload,
        agent: settings.agent,
        key: settings.key.as_ref().map(|key| key.as_bytes()),
        correlation: message.call_id.as_deref(),
        node: Some(settings.name.as_deref().unwrap_or(&telling.node.name)),
        octets,
    };
    packet.print().ok_or(TOO_LONG)
}

#[cfg(test)]
mod tests {
    use super::{ENOUGH, gathered};
    use futures_util::FutureExt;
    use tokio::sync::mpsc;

    /// Whether what comes behind an empty queue was there at once.
    async fn at_once(room: usize, end: bool) -> bool {
        let (put, mut queue) = mpsc::channel(room);
        let mut put = Some(put);
        let mut next = std::pin::pin!(gathered(&mut queue));
        assert_eq!(next.as_mut().now_or_never(), None, "nothing has come");
        let _ = put.as_ref().unwrap().try_send(1);
        if end {
            put = None;
        }
        let there = next.as_mut().now_or_never().is_some();
        if !there {
            assert_eq!(next.await, Some(1), "it is late, not lost");
        }
        drop(put);
        there
    }

    #[tokio::test]
    async fn messages_wait_for_others_where_there_is_room() {
        assert!(!at_once(ENOUGH, false).await);
        assert!(!at_once(ENOUGH, true).await, "the last ones are not lost at the end");
        assert!(at_once(ENOUGH - 1, false).await, "a small queue would lose what comes meanwhile");
        // What waits already goes without a pause.
        let (put, mut queue) = mpsc::channel(ENOUGH);
        put.try_send(1).unwrap();
        assert_eq!(gathered(&mut queue).now_or_never(), Some(Some(1)));
    }
}
