//! Messages on their way to a Homer (HEPv3), over UDP or TCP. What waits is bounded in number and octets, and what finds no room
//! is dropped and counted: no role ever waits for it.

use crate::roles::Watch;
use carnet_capture::hep::{Packet, Payload, Transport};
use carnet_ops::config::{HepSection, HepServer};
use carnet_ops::metrics::Metrics;
use carnet_trace::{Peer, Protocol, Telling, Way, What, mask};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;
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

/// The way to a server.
pub struct Hep {
    queue: Sender<Arc<Telling>>,
    octets: Arc<AtomicUsize>,
    taken: Mutex<Option<Receiver<Arc<Telling>>>>,
    settings: Arc<Settings>,
}

struct Settings {
    server: HepServer,
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
            agent: section.id,
            name: section.name.as_ref().map(|name| name.as_ref().clone()),
            key,
        };
        let (octets, taken) = (Arc::default(), Mutex::new(Some(taken)));
        Ok(Self { queue, octets, taken, settings: Arc::new(settings) })
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
        Some(async move { Sending { queue, octets, settings, watch }.run().await })
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

struct Sending {
    queue: Receiver<Arc<Telling>>,
    octets: Arc<AtomicUsize>,
    settings: Arc<Settings>,
    watch: Arc<Watch>,
}

/// A way that is open.
enum Open {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Sending {
    async fn run(mut self) {
        let server = self.settings.server.clone();
        let mut wait = AGAIN;
        loop {
            let mut open = match timeout(PATIENCE, connect(&server)).await {
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
            let why = loop {
                // Names are looked up again where nothing tells that the server has moved.
                let again = matches!(open, Open::Udp(_)) && server.address().is_none();
                let next = async {
                    match again {
                        true => timeout(LOOK_AGAIN, self.queue.recv()).await.ok(),
                        false => Some(self.queue.recv().await),
                    }
                };
                let telling = match next.await {
                    Some(Some(telling)) => telling,
                    // The process ends.
                    Some(None) => return,
                    None => break None,
                };
                self.octets.fetch_sub(telling.size(), Ordering::AcqRel);
                match self.send(&mut open, &telling).await {
                    Ok(result) => {
                        self.watch.metrics.add(PACKETS, &[result], 1);
                        wait = AGAIN;
                    }
                    Err(error) => {
                        self.watch.metrics.add(PACKETS, &[DROPPED], 1);
                        // An ICMP error of a datagram before says that nobody listens there now.
                        if matches!(open, Open::Tcp(_)) || error.kind() != io::ErrorKind::ConnectionRefused {
                            break Some(error);
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

    async fn send(&self, open: &mut Open, telling: &Telling) -> io::Result<&'static str> {
        let packet = match print(telling, &self.settings) {
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
            Open::Tcp(stream) => {
                timeout(PATIENCE, stream.write_all(&packet)).await.map_err(|_| late())??;
                Ok(SENT)
            }
        }
    }
}

/// Octets of a datagram over IPv4.
const LARGEST_DATAGRAM: usize = 65_507;

async fn connect(server: &HepServer) -> io::Result<Open> {
    let found: Vec<SocketAddr> = match server.address() {
        Some(address) => vec![address],
        None => tokio::net::lookup_host((server.host.as_str(), server.port)).await?.collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in found {
        let opened = async {
            if server.tcp {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                return Ok(Open::Tcp(stream));
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
fn print(telling: &Telling, settings: &Settings) -> Result<Vec<u8>, &'static str> {
    let What::Message { protocol, sent, local, peer, way, octets } = &telling.what else {
        return Err(UNREADABLE);
    };
    let masked = mask::message(*protocol, octets).ok_or(UNREADABLE)?;
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
    let correlation = mask::call_id(*protocol, octets);
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
        correlation: correlation.as_deref(),
        node: Some(settings.name.as_deref().unwrap_or(&telling.node.name)),
        octets: &masked,
    };
    packet.print().ok_or(TOO_LONG)
}
