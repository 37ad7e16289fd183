//! H.248's sockets: UDP, TCP and TLS with TPKT, SCTP, and channels inside the process, for
//! `carnet_h248::association` and what stands above it.
//!
//! RFC 3525 §D.1 (UDP), §D.2 (TCP), §10.2 (the authentication header); TLS is an extension. Either
//! encoding is taken, one is sent. Between a controller and a gateway in one process the messages pass
//! as values, through the same events and the same calls. A connection that the peer does not read from
//! is ended, not waited for: the association above starts over, which is what it does when a peer is lost.
//!
//! What cannot be who it says it is, is dropped here and counted. Keys do not leave by a way that others can
//! read ([`Error::Unprotected`]).
//!
//! Left out: IPsec, which is the operating system's (TS 33.210).

mod foreign;
mod local;
mod sctp;
mod shared;
mod stream;
mod tls;

use crate::Error;
use crate::dns::{NameServers, Resolver};
use crate::drain::Token;
use crate::stream::StreamLimits;
use crate::udp::{Datagrams, UdpPort};
use crate::waiting::Waiting;
use carnet_h248::authentication::Authentication;
use carnet_h248::text::{Form, Limits};
use carnet_h248::{Encoding, MId, Message};
use foreign::Foreign;
use shared::{Arrival, Shared};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;
use stream::Remote;
use tokio::sync::{Semaphore, mpsc, watch};

pub use local::{LocalEnd, local_pair};
pub use tls::{ControlTls, Protection};

/// What carries messages between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlTransport {
    /// Datagrams.
    Udp,
    /// A stream of TPKT packets.
    Tcp,
    /// The same inside TLS.
    Tls,
    /// Records of SCTP, where the kernel has it.
    Sctp,
}

impl ControlTransport {
    /// Whether this system has it: an end that only connects would find out late.
    ///
    /// # Errors
    /// What is missing.
    pub fn available(self) -> io::Result<()> {
        if self == Self::Sctp { sctp::available() } else { Ok(()) }
    }
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
pub struct ControlConfig {
    /// What we call ourselves, for who is turned away before the role hears of him.
    pub mid: Option<MId>,
    /// Where to listen: a controller for its gateways; a gateway on UDP, if it is to have a fixed port.
    pub listen: Vec<ControlListen>,
    /// How messages are written.
    pub encoding: Encoding,
    /// For [`ControlTransport::Tls`].
    pub tls: Option<ControlTls>,
    /// The authentication header over UDP, TCP and SCTP by IPv4; without it, what has one is taken
    /// unchecked.
    pub authentication: Option<Authentication>,
    /// Nobody else can read what passes here, because of what is below (IPsec).
    pub protected: bool,
    /// For [`ControlSockets::resolve`].
    pub name_servers: NameServers,
    /// Bounds on messages.
    pub messages: Limits,
    /// Bounds on each connection.
    pub streams: StreamLimits,
    /// Events waiting for the role. When they are so many, reading waits.
    pub events: usize,
    /// Connections. Further ones are refused.
    pub connections: usize,
    /// Connections that one address may make to us, so that nobody takes them all.
    pub connections_of_one: usize,
    /// Datagrams waiting to be sent, per socket.
    pub datagrams: usize,
    /// Sees every message that is taken or sent. Must be quick.
    pub watch: Option<ControlWatch>,
}

/// See [`ControlConfig::watch`].
pub type ControlWatch = Arc<dyn Fn(&ControlPassed<'_>) + Send + Sync>;

/// A message on its way. Of those inside of the process only the sender's side is shown.
#[derive(Debug)]
pub struct ControlPassed<'a> {
    /// The other end.
    pub peer: ControlPeer,
    /// What it is called, if it is in this process.
    pub name: Option<&'a str>,
    /// What it goes over; nothing inside of the process.
    pub transport: Option<ControlTransport>,
    /// Our address, as far as it is known.
    pub local: Option<SocketAddr>,
    /// By us, or else to us.
    pub sent: bool,
    /// As it was understood, or will be written.
    pub message: &'a Message,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            mid: None,
            listen: Vec::new(),
            encoding: Encoding::Text(Form::Short),
            tls: None,
            authentication: None,
            protected: false,
            name_servers: NameServers::System,
            messages: Limits::default(),
            // A control association may be silent for as long as nobody calls.
            streams: StreamLimits {
                idle: std::time::Duration::from_secs(24 * 3600),
                ..StreamLimits::default()
            },
            events: 1024,
            connections: 256,
            connections_of_one: 32,
            datagrams: 4096,
            watch: None,
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
        /// Nobody else can read it, and every message is from who it says it is: TLS.
        private: bool,
    },
    /// A role in this process.
    Local(u64),
}

impl ControlPeer {
    /// Whether messages arrive in order or the peer is lost (`association::Transport::Reliable`).
    pub fn is_reliable(self) -> bool {
        !matches!(self, Self::Datagram { .. })
    }

    /// Whether nobody else can read what passes, and who is there is proven.
    pub fn is_private(self) -> bool {
        matches!(self, Self::Stream { private: true, .. } | Self::Local(_))
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
    /// Something that its sender cannot have sent: dropped, counted and told already.
    Refused {
        /// From where.
        peer: ControlPeer,
    },
    /// A connection ended, or never came to stand.
    Closed {
        /// Which.
        peer: ControlPeer,
    },
    /// What [`ControlSockets::resolve`] has found.
    Resolved {
        /// The name.
        name: String,
        /// Its addresses, the best first; none if there are none.
        addresses: Vec<IpAddr>,
        /// How long they hold (their TTL).
        until: Instant,
    },
}

/// The open control sockets of a role. Dropping it closes them all.
pub struct ControlSockets {
    shared: Arc<Shared>,
    udp: Mutex<Vec<UdpPort>>,
    /// Those that connections come to; each ends with its sender.
    doors: Vec<(ControlListen, watch::Sender<()>)>,
    listening: Vec<ControlListen>,
    drain: Token,
    _stop: watch::Sender<()>,
}

impl ControlSockets {
    /// Opens the sockets. To be called inside a tokio runtime. While `drain` drains, no new
    /// connections are accepted.
    ///
    /// # Errors
    /// [`Error::Listen`], [`Error::NoTls`].
    pub fn open(
        mut config: ControlConfig,
        drain: &Token,
    ) -> Result<(Self, mpsc::Receiver<ControlEvent>), Error> {
        let (events, receiver) = mpsc::channel(config.events);
        let (stop, stopped) = watch::channel(());
        let shared = Arc::new(Shared {
            events,
            links: Mutex::default(),
            next: AtomicU64::new(1),
            permits: Arc::new(Semaphore::new(config.connections)),
            seats: Mutex::default(),
            named: Mutex::default(),
            authentication: config.authentication.take().map(Mutex::new),
            tls: RwLock::new(config.tls.take().map(Arc::new)),
            foreign: Foreign::default(),
            resolver: OnceLock::new(),
            stopped,
            config,
        });
        let (udp, doors, listening, drain) = (Mutex::default(), Vec::new(), Vec::new(), drain.clone());
        let mut this = Self { shared, udp, doors, listening, drain, _stop: stop };
        for listen in this.shared.config.listen.clone() {
            this.listen(listen)?;
        }
        Ok((this, receiver))
    }

    /// Listens on one more address, beside the others; the address with its real port.
    ///
    /// # Errors
    /// [`Error::Listen`], [`Error::NoTls`]; nothing has changed then.
    pub fn listen(&mut self, listen: ControlListen) -> Result<SocketAddr, Error> {
        let address = match listen.transport {
            ControlTransport::Udp => self.open_udp(listen.address)?,
            transport => {
                let (open, closed) = watch::channel(());
                let until = (self.drain.clone(), closed);
                let address = stream::listen(&self.shared, transport, listen.address, until)?;
                self.doors.push((ControlListen { transport, address }, open));
                address
            }
        };
        self.listening.push(ControlListen { transport: listen.transport, address });
        Ok(address)
    }

    /// Listens there no more. Connections that came by it go on; datagrams go out by it no more.
    pub fn stop_listening(&mut self, listen: ControlListen) {
        match listen.transport {
            ControlTransport::Udp => self.udp().retain(|port| port.local != listen.address),
            _ => self.doors.retain(|(door, _)| *door != listen),
        }
        self.listening.retain(|known| *known != listen);
    }

    /// Protects connections that begin from now on by this; what stands goes on. Says nothing where there was no TLS:
    /// the sockets are what they were opened as.
    pub fn renew_tls(&self, tls: ControlTls) {
        let mut place = self.shared.tls.write().unwrap_or_else(PoisonError::into_inner);
        if place.is_some() {
            *place = Some(Arc::new(tls));
        }
    }

    /// What is listened on, with the ports that were taken, in the order in which that began.
    pub fn listening(&self) -> &[ControlListen] {
        &self.listening
    }

    /// A gateway's way to `peer`, a controller, at `remote`; from our address `from` if it matters which,
    /// and on UDP from that port unless it is 0. A connection is made meanwhile; what is sent at once
    /// waits for it. With TLS the other end has to prove that it is `peer`.
    ///
    /// # Errors
    /// [`Error::Listen`] if a datagram socket cannot be opened, [`Error::TooManyConnections`],
    /// [`Error::NoTls`].
    pub fn connect(
        &self,
        transport: ControlTransport,
        remote: SocketAddr,
        from: Option<SocketAddr>,
        peer: Option<&MId>,
    ) -> Result<ControlPeer, Error> {
        let from = from.filter(|from| !from.ip().is_unspecified() && from.is_ipv4() == remote.is_ipv4());
        // The authentication header covers our address: it has to be known.
        let known = || self.shared.authentication.as_ref().and_then(|_| source_for(remote));
        let from = from.or_else(known);
        match transport {
            ControlTransport::Udp => {
                let fits = |port: &UdpPort| {
                    port.local.is_ipv4() == remote.is_ipv4()
                        && from.is_none_or(|from| {
                            port.local.ip() == from.ip()
                                && (from.port() == 0 || port.local.port() == from.port())
                        })
                };
                let open = self.udp().iter().find(|port| fits(port)).map(|port| port.local);
                let any: IpAddr = if remote.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
                let local = match open {
                    Some(local) => local,
                    None => self.open_udp(from.unwrap_or(SocketAddr::new(any, 0)))?,
                };
                if let Some(peer) = peer {
                    self.shared.name(remote, peer);
                }
                Ok(ControlPeer::Datagram { remote, local })
            }
            transport => {
                let peer = peer.cloned();
                stream::connect(&self.shared, Remote { transport, remote, from, peer })
            }
        }
    }

    /// Looks a host name up; [`ControlEvent::Resolved`] follows.
    pub fn resolve(&self, name: &str) {
        let (shared, name) = (self.shared.clone(), name.to_owned());
        tokio::spawn(async move {
            let resolver = shared.resolver.get_or_init(|| Resolver::new(&shared.config.name_servers));
            let found = resolver.addresses_until(&name).await;
            let (addresses, until) = found.unwrap_or_else(|| (Vec::new(), Instant::now()));
            let _ = shared.events.send(ControlEvent::Resolved { name, addresses, until }).await;
        });
    }

    /// Messages and connections that were refused because of who sent them.
    pub fn refused(&self) -> u64 {
        self.shared.foreign.count()
    }

    /// Whether nobody else can read what passes between us and `peer`.
    pub fn is_protected(&self, peer: ControlPeer) -> bool {
        self.shared.is_protected(peer)
    }

    /// Messages that wait for the role. What does not fit waits outside.
    pub fn waiting(&self) -> Waiting {
        Waiting::of(&self.shared.events)
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
    /// has no form in the encoding. [`Error::Unprotected`] if it carries keys and others could read them.
    pub fn send(&self, peer: ControlPeer, message: Message) -> Result<(), Error> {
        self.shared.may_leave(peer, &message)?;
        self.shared.show(peer, &message);
        match peer {
            ControlPeer::Datagram { remote, local } => {
                let data = self.shared.datagram(remote, local, message)?;
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
        let datagrams = ControlDatagrams { shared: shared.clone() };
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

/// Our address on the way to `remote`, as the system would choose it.
fn source_for(remote: SocketAddr) -> Option<SocketAddr> {
    let any: IpAddr = if remote.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Nothing is sent.
    socket.connect(remote).ok()?;
    Some(SocketAddr::new(socket.local_addr().ok()?.ip(), 0))
}

#[derive(Clone)]
struct ControlDatagrams {
    shared: Arc<Shared>,
}

impl Datagrams for ControlDatagrams {
    type Event = ControlEvent;

    fn received(&self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Option<ControlEvent> {
        let peer = ControlPeer::Datagram { remote, local };
        match self.shared.arrived(
            &Arrival { peer, local: Some(local), identity: None, transport: ControlTransport::Udp },
            data,
        ) {
            ControlEvent::Refused { .. } => None,
            event => Some(event),
        }
    }

    fn failed(&self, _: SocketAddr, _: SocketAddr, _: &io::Error) -> Option<ControlEvent> {
        // A lost datagram like any other: the association repeats what matters.
        None
    }
}
