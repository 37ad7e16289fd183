//! H.248's sockets: UDP, TCP with TPKT, and channels inside the process, for
//! `carnet_h248::association` and what stands above it.
//!
//! RFC 3525 §D.1 (UDP), §D.2 (TCP). Either encoding is taken, one is sent. Between a controller and a gateway in one process the messages pass
//! as values, through the same events and the same calls. A connection that the peer does not read from
//! is ended, not waited for: the association above starts over, which is what it does when a peer is lost.
//!
//! Left out: SCTP, TLS (the control network is the operator's own; IPsec is
//! what TS 33.210 wants there).

mod local;
mod stream;

use crate::drain::Token;
use crate::stream::{Outlet, Refused, StreamLimits};
use crate::udp::{Datagrams, UdpPort};
use crate::{Error, tcp};
use bytes::Bytes;
use carnet_h248::text::{Form, Limits};
use carnet_h248::{Encoding, Message, encoding};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, mpsc, watch};

pub use local::{LocalEnd, local_pair};

/// What carries messages between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlTransport {
    /// Datagrams.
    Udp,
    /// A stream of TPKT packets.
    Tcp,
}

/// One address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ControlListen {
    /// The transport.
    pub transport: ControlTransport,
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
}

/// How sockets are opened and bounded.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// Where to listen: a controller for its gateways; a gateway on UDP, if it is to have a fixed port.
    pub listen: Vec<ControlListen>,
    /// How messages are written.
    pub encoding: Encoding,
    /// Bounds on messages.
    pub messages: Limits,
    /// Bounds on each connection.
    pub streams: StreamLimits,
    /// Events waiting for the role. When they are so many, reading waits.
    pub events: usize,
    /// Connections. Further ones are refused.
    pub connections: usize,
    /// Datagrams waiting to be sent, per socket.
    pub datagrams: usize,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            encoding: Encoding::Text(Form::Short),
            messages: Limits::default(),
            // A control association may be silent for as long as nobody calls.
            streams: StreamLimits {
                idle: std::time::Duration::from_secs(24 * 3600),
                ..StreamLimits::default()
            },
            events: 1024,
            connections: 256,
            datagrams: 4096,
        }
    }
}

/// The other end, as far as sockets know it. What it calls itself (its mId) is in its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlPeer {
    /// An address, and the one of ours it talks to.
    Datagram {
        /// The peer's.
        remote: SocketAddr,
        /// Ours.
        local: SocketAddr,
    },
    /// A connection.
    Stream {
        /// Names it.
        id: u64,
        /// The peer's address.
        remote: SocketAddr,
    },
    /// A role in this process.
    Local(u64),
}

impl ControlPeer {
    /// Whether messages arrive in order or the peer is lost (`association::Transport::Reliable`).
    pub fn is_reliable(self) -> bool {
        !matches!(self, Self::Datagram { .. })
    }

    /// The peer's address; a role in this process has none.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Datagram { remote, .. } | Self::Stream { remote, .. } => Some(remote),
            Self::Local(_) => None,
        }
    }
}

/// What the sockets have to say.
#[derive(Debug)]
pub enum ControlEvent {
    /// A message.
    Message {
        /// Who sent it. Answer the same.
        peer: ControlPeer,
        /// The message.
        message: Message,
    },
    /// Something that is no message: for `handle_undecodable`.
    Undecodable {
        /// Who sent it.
        peer: ControlPeer,
        /// What is wrong with it.
        error: carnet_h248::Error,
    },
    /// A connection ended, or never came to stand.
    Closed {
        /// Which.
        peer: ControlPeer,
    },
}

/// The open control sockets of a role. Dropping it closes them all.
pub struct ControlSockets {
    shared: Arc<Shared>,
    udp: Mutex<Vec<UdpPort>>,
    listening: Vec<ControlListen>,
    _stop: watch::Sender<()>,
}

impl ControlSockets {
    /// Opens the sockets. To be called inside a tokio runtime. While `drain` drains, no new
    /// connections are accepted.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn open(config: ControlConfig, drain: &Token) -> Result<(Self, mpsc::Receiver<ControlEvent>), Error> {
        let (events, receiver) = mpsc::channel(config.events);
        let (stop, stopped) = watch::channel(());
        let shared = Arc::new(Shared {
            events,
            links: Mutex::default(),
            next: AtomicU64::new(1),
            permits: Arc::new(Semaphore::new(config.connections)),
            stopped,
            config,
        });
        let mut this = Self { shared, udp: Mutex::default(), listening: Vec::new(), _stop: stop };
        for listen in this.shared.config.listen.clone() {
            let address = match listen.transport {
                ControlTransport::Udp => this.open_udp(listen.address)?,
                ControlTransport::Tcp => {
                    let (listener, local) = tcp::listen("TCP", listen.address)?;
                    tokio::spawn(stream::accept(this.shared.clone(), listener, drain.clone()));
                    local
                }
            };
            this.listening.push(ControlListen { transport: listen.transport, address });
        }
        Ok((this, receiver))
    }

    /// What is listened on, with the ports that were taken, in the order of the configuration.
    pub fn listening(&self) -> &[ControlListen] {
        &self.listening
    }

    /// A gateway's way to a controller at `remote`, from our address `from` if it matters which.
    /// A connection is made meanwhile; what is sent at once waits for it.
    ///
    /// # Errors
    /// [`Error::Listen`] if a datagram socket cannot be opened, [`Error::TooManyConnections`].
    pub fn connect(
        &self,
        transport: ControlTransport,
        remote: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<ControlPeer, Error> {
        match transport {
            ControlTransport::Tcp => stream::connect(&self.shared, remote, from),
            ControlTransport::Udp => {
                let fits = |port: &UdpPort| {
                    port.local.is_ipv4() == remote.is_ipv4() && from.is_none_or(|ip| port.local.ip() == ip)
                };
                let open = self.udp().iter().find(|port| fits(port)).map(|port| port.local);
                let local = match open {
                    Some(local) => local,
                    None => {
                        let any: IpAddr = if remote.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
                        self.open_udp(SocketAddr::new(from.unwrap_or(any), 0))?
                    }
                };
                Ok(ControlPeer::Datagram { remote, local })
            }
        }
    }

    /// Makes a role in this process a peer.
    pub fn attach(&self, end: LocalEnd) -> ControlPeer {
        local::attach(&self.shared, end)
    }

    /// Sends a message, without waiting.
    ///
    /// # Errors
    /// [`Error::Gone`] and [`Error::QueueFull`]: the peer is lost to us ([`ControlEvent::Closed`]
    /// follows for connections). [`Error::Unprintable`] if it is too long for its transport or
    /// has no form in the encoding.
    pub fn send(&self, peer: ControlPeer, message: Message) -> Result<(), Error> {
        match peer {
            ControlPeer::Datagram { remote, local } => {
                let data = self.shared.print(&message)?;
                let udp = self.udp();
                let port = udp.iter().find(|port| port.local == local).ok_or(Error::NoSocket(remote))?;
                port.send(remote, data.into())
            }
            ControlPeer::Stream { id, .. } | ControlPeer::Local(id) => self.shared.push(id, message),
        }
    }

    /// Ends a connection.
    pub fn close(&self, peer: ControlPeer) {
        if let ControlPeer::Stream { id, .. } | ControlPeer::Local(id) = peer {
            self.shared.retire(id);
        }
    }

    fn open_udp(&self, address: SocketAddr) -> Result<SocketAddr, Error> {
        let shared = &self.shared;
        let datagrams = ControlDatagrams { limits: shared.config.messages.clone() };
        let port =
            UdpPort::open(address, shared.config.datagrams, datagrams, &shared.events, &shared.stopped)?;
        let local = port.local;
        self.udp().push(port);
        Ok(local)
    }

    fn udp(&self) -> MutexGuard<'_, Vec<UdpPort>> {
        // Nothing panics while it holds the lock.
        self.udp.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn decoded(peer: ControlPeer, data: &[u8], limits: &Limits) -> ControlEvent {
    match encoding::parse(data, limits) {
        Ok(message) => ControlEvent::Message { peer, message },
        Err(error) => ControlEvent::Undecodable { peer, error },
    }
}

#[derive(Clone)]
struct ControlDatagrams {
    limits: Limits,
}

impl Datagrams for ControlDatagrams {
    type Event = ControlEvent;

    fn received(&self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Option<ControlEvent> {
        Some(decoded(ControlPeer::Datagram { remote, local }, data, &self.limits))
    }

    fn failed(&self, _: SocketAddr, _: SocketAddr, _: &io::Error) -> Option<ControlEvent> {
        // A lost datagram like any other: the association repeats what matters.
        None
    }
}

struct Shared {
    config: ControlConfig,
    events: mpsc::Sender<ControlEvent>,
    links: Mutex<HashMap<u64, Link>>,
    next: AtomicU64,
    permits: Arc<Semaphore>,
    /// Closed when the sockets are dropped.
    stopped: watch::Receiver<()>,
}

/// A connection or a channel.
struct Link {
    way: Way,
    /// Dropped to end it.
    _hold: watch::Sender<()>,
}

#[derive(Clone)]
enum Way {
    Stream(Outlet),
    Local(mpsc::Sender<Message>),
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, HashMap<u64, Link>> {
        // Nothing panics while it holds the lock.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, way: Way) -> (u64, watch::Receiver<()>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (hold, held) = watch::channel(());
        self.links().insert(id, Link { way, _hold: hold });
        (id, held)
    }

    fn retire(&self, id: u64) {
        self.links().remove(&id);
    }

    /// A message in the encoding of these sockets.
    fn print(&self, message: &Message) -> Result<Vec<u8>, Error> {
        self.config.encoding.print(message).map_err(|unsayable| Error::Unprintable(unsayable.to_string()))
    }

    fn push(&self, id: u64, message: Message) -> Result<(), Error> {
        let way = self.links().get(&id).map(|link| link.way.clone()).ok_or(Error::Gone)?;
        let outcome = match way {
            Way::Stream(outlet) => {
                let octets = self.print(&message)?;
                let packet = carnet_h248::tpkt::frame(&octets).ok_or_else(|| {
                    Error::Unprintable(format!("{} octets do not fit into a TPKT packet", octets.len()))
                })?;
                outlet.push(Bytes::from(packet))
            }
            Way::Local(sender) => sender.try_send(message).map_err(|e| match e {
                mpsc::error::TrySendError::Full(_) => Refused::Full,
                mpsc::error::TrySendError::Closed(_) => Refused::Gone,
            }),
        };
        outcome.map_err(|refused| {
            self.retire(id);
            match refused {
                Refused::Full => Error::QueueFull,
                Refused::Gone => Error::Gone,
            }
        })
    }

    /// Completes when the sockets are dropped.
    async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        while stopped.changed().await.is_ok() {}
    }
}
