//! SIP's sockets: UDP, TCP and TLS, IPv4 and IPv6, for `carnet_sip::Endpoint` and what stands
//! above it.
//!
//! ```text
//!  SipSockets::open ─▶ Receiver<SipEvent>:  Input ─▶ handle_input   Failed ─▶ transport_failed
//!  poll_transmit ─▶ SipSockets::send (connects or reuses a flow; never blocks)
//! ```
//!
//! RFC 3261 §18 (streams are reused and kept open, a datagram's response goes back by the socket
//! it came in on), RFC 5626 §3.5.1 (CRLF keep-alive on streams), RFC 5923 (a TLS connection that a
//! peer opened is not used for requests to a *name*: nobody has checked that name).
//!
//! Left out: multicast, SCTP, WebSocket. The change from UDP to TCP of large requests (RFC 3261
//! §18.1.1) changes the Via and so is the endpoint's.

mod event;
mod flow;
mod route;
mod shared;

pub use event::{Share, SipEvent, SipMachine};

use crate::dns::{NameServers, Resolver};
use crate::stream::StreamLimits;
use crate::udp::{Datagrams, UdpPort};
use crate::waiting::Waiting;
use crate::{Error, drain::Token};
use bytes::Bytes;
use carnet_sip::{FlowId, Hop, Input, Limits, Query, Transmit, Transport};
use carnet_tls::{CertificateContext, Peer};
use route::Routes;
use shared::Shared;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::{Semaphore, mpsc, watch};

/// One address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listen {
    /// The transport.
    pub transport: Transport,
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
}

/// TLS for SIP.
#[derive(Clone)]
pub struct SipTls {
    /// Our certificate and who vouches for peers.
    pub context: CertificateContext,
    /// What is demanded of peers that connect to us.
    pub clients: Peer,
    /// What is demanded of peers that we connect to; `None` wants a certificate for
    /// [`Hop::server_name`], or for the address if there is no name.
    pub servers: Option<Peer>,
}

/// How sockets are opened and bounded.
#[derive(Clone, Default)]
pub struct SipConfig {
    /// Where to listen. Outgoing datagrams need a UDP socket of their IP version.
    pub listen: Vec<Listen>,
    /// Needed for TLS in either direction.
    pub tls: Option<SipTls>,
    /// Bounds on messages.
    pub messages: Limits,
    /// Bounds on each connection.
    pub streams: StreamLimits,
    /// Bounds on all.
    pub limits: SocketLimits,
    /// Who answers [`SipSockets::resolve`].
    pub names: NameServers,
}

/// Bounds on all sockets of a role together.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// Events waiting for the role. When they are so many, reading waits. Enough for what comes in
    /// the time after which a role sheds load; what waits in the system instead has no age.
    pub events: usize,
    /// Octets in these, more than the largest message. Datagrams beyond are lost, streams wait.
    pub octets: usize,
    /// Connections, incoming and outgoing. Further ones are refused.
    pub connections: usize,
    /// Datagrams waiting to be sent, per socket.
    pub datagrams: usize,
    /// DNS questions under way.
    pub lookups: usize,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self { events: 8192, octets: 16 << 20, connections: 10_000, datagrams: 4096, lookups: 64 }
    }
}

/// A message that could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("{hop}: {reason}")]
pub struct Undelivered {
    /// Where it should have gone: for `Endpoint::transport_failed`.
    pub hop: Box<Hop>,
    /// Why not.
    #[source]
    pub reason: Error,
}

/// The open sockets of a role. Dropping it closes them all.
pub struct SipSockets {
    shared: Arc<Shared>,
    udp: Vec<UdpPort>,
    /// Those that connections come to; each ends with its sender.
    doors: Vec<(Listen, watch::Sender<()>)>,
    routes: Routes,
    drain: Token,
    _stop: watch::Sender<()>,
}

impl SipSockets {
    /// Opens the sockets. To be called inside a tokio runtime. While `drain` drains, no new
    /// connections are accepted; those that stand go on until the sockets are dropped.
    ///
    /// # Errors
    /// [`Error::Listen`], [`Error::NoTls`].
    pub fn open(config: SipConfig, drain: &Token) -> Result<(Self, mpsc::Receiver<SipEvent>), Error> {
        let (events, receiver) = mpsc::channel(config.limits.events);
        let (stop, stopped) = watch::channel(());
        let shared = Arc::new(Shared {
            events,
            flows: Mutex::default(),
            next_flow: AtomicU64::new(1),
            listening: RwLock::default(),
            room: Arc::new(Semaphore::new(config.limits.octets)),
            permits: Arc::new(Semaphore::new(config.limits.connections)),
            lookups: Semaphore::new(config.limits.lookups),
            resolver: Resolver::new(&config.names),
            lost: Arc::default(),
            given_up: AtomicU64::new(0),
            stopped,
            config,
        });
        let (udp, doors, routes, drain) = (Vec::new(), Vec::new(), Routes::default(), drain.clone());
        let mut this = Self { shared, udp, doors, routes, drain, _stop: stop };
        for listen in this.shared.config.listen.clone() {
            this.listen(listen)?;
        }
        Ok((this, receiver))
    }

    /// Listens on one more address, beside the others.
    ///
    /// # Errors
    /// [`Error::Listen`], [`Error::NoTls`]; nothing has changed then.
    pub fn listen(&mut self, listen: Listen) -> Result<SocketAddr, Error> {
        let shared = &self.shared;
        let address = match listen.transport {
            Transport::Udp => {
                let datagrams = SipDatagrams { room: shared.room.clone(), lost: shared.lost.clone() };
                let waiting = shared.config.limits.datagrams;
                let port =
                    UdpPort::open(listen.address, waiting, datagrams, &shared.events, &shared.stopped)?;
                let address = port.local;
                self.udp.push(port);
                address
            }
            transport => {
                let (open, closed) = watch::channel(());
                let address = flow::listen(shared, transport, listen.address, (self.drain.clone(), closed))?;
                self.doors.push((Listen { transport, address }, open));
                address
            }
        };
        let listen = Listen { transport: listen.transport, address };
        self.shared.listening.write().unwrap_or_else(PoisonError::into_inner).push(listen);
        Ok(address)
    }

    /// Listens there no more. Connections that came by it go on.
    pub fn stop_listening(&mut self, listen: Listen) {
        match listen.transport {
            Transport::Udp => self.udp.retain(|port| port.local != listen.address),
            _ => self.doors.retain(|(door, _)| *door != listen),
        }
        let mut listening = self.shared.listening.write().unwrap_or_else(PoisonError::into_inner);
        listening.retain(|known| *known != listen);
    }

    /// What is listened on, with the ports that were taken, in the order in which that began.
    pub fn listening(&self) -> Vec<Listen> {
        self.shared.listening()
    }

    /// Connections that stand or are being made.
    pub fn flows(&self) -> usize {
        self.shared.count()
    }

    /// What waits, and what was lost because there was no room: events for the role, octets in them.
    pub fn waiting(&self) -> [(&'static str, Waiting); 2] {
        let shared = &self.shared;
        let octets = shared.config.limits.octets;
        let room = Waiting {
            length: octets.saturating_sub(shared.room.available_permits()),
            most: octets,
            lost: shared.lost.load(Ordering::Relaxed),
        };
        [("sip-in", Waiting::of(&shared.events)), ("sip-in-octets", room)]
    }

    /// Datagrams that wait to be sent, of all sockets, and messages that were given up because too many waited.
    pub fn waiting_out(&self) -> Waiting {
        let most = self.udp.len() * self.shared.config.limits.datagrams;
        let length = self.udp.iter().map(UdpPort::waiting).sum();
        Waiting { length, most, lost: self.shared.given_up.load(Ordering::Relaxed) }
    }

    /// Sends a message, without waiting. Failures that show later come as [`SipEvent::Failed`].
    ///
    /// # Errors
    /// [`Undelivered`] when it is known at once that the message cannot go.
    pub fn send(&self, transmit: Transmit) -> Result<(), Undelivered> {
        let Transmit { hop, data } = transmit;
        let outcome = match (hop.transport, hop.flow) {
            (Transport::Udp, _) => match self.udp_port(&hop) {
                Some(port) => port.send(hop.remote, data),
                None => Err(Error::NoSocket(hop.remote)),
            },
            (_, Some(id)) => self.shared.push(id, data),
            (_, None) => match self.shared.reusable(&hop) {
                Some(id) => self.shared.push(id, data),
                None => flow::connect(&self.shared, &hop, data),
            },
        };
        if matches!(outcome, Err(Error::QueueFull)) {
            self.shared.given_up.fetch_add(1, Ordering::Relaxed);
        }
        outcome.map_err(|reason| Undelivered { hop: hop.into(), reason })
    }

    /// Asks DNS; the answer comes as [`SipEvent::Answer`]. No more questions run at once than the
    /// limit; the others wait.
    pub fn resolve(&self, query: Query) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let Ok(_turn) = shared.lookups.acquire().await else { return };
            let answer = tokio::select! {
                answer = shared.resolver.answer(&query.ask) => answer,
                () = shared.stopped() => return,
            };
            let _ = shared.events.send(SipEvent::Answer { query: query.id, answer }).await;
        });
    }

    /// Sends everything that `machine` wants sent and asks everything it wants to know, and tells
    /// it at once of what cannot be sent.
    pub fn flush(&self, now: Instant, machine: &mut impl SipMachine) {
        loop {
            if let Some(transmit) = machine.poll_transmit() {
                // Nothing is copied: octets are shared.
                let (hop, data) = (transmit.hop.clone(), transmit.data.clone());
                match self.send(transmit) {
                    Ok(()) => machine.sent(&Hop { local: self.local(&hop), ..hop }, &data),
                    Err(undelivered) => {
                        tracing::debug!(%undelivered, "not sent");
                        machine.transport_failed(now, &undelivered.hop);
                    }
                }
            } else if let Some(query) = machine.poll_query() {
                self.resolve(query);
            } else {
                return;
            }
        }
    }

    /// Ends a connection after what is queued for it has been written.
    pub fn close(&self, flow: FlowId) {
        self.shared.retire(flow);
    }

    /// Our address at this end of a hop.
    fn local(&self, hop: &Hop) -> Option<SocketAddr> {
        let fits = |listen: &Listen| {
            listen.transport == hop.transport && listen.address.is_ipv4() == hop.remote.is_ipv4()
        };
        match hop.transport {
            _ if hop.local.is_some() => hop.local,
            Transport::Udp => self.udp_port(hop).map(|port| port.local),
            // The port of a connection of ours says nothing of who we are; where we listen does.
            _ => self.listening().into_iter().find(fits).map(|listen| listen.address),
        }
    }

    /// The socket a datagram leaves by: the one it must, else the one whose address the system would
    /// give it. An element that stands in two networks has a socket in each.
    fn udp_port(&self, hop: &Hop) -> Option<&UdpPort> {
        if let Some(port) = self.udp.iter().find(|port| hop.local == Some(port.local)) {
            return Some(port);
        }
        let mut fitting = self.udp.iter().filter(|port| port.local.is_ipv4() == hop.remote.is_ipv4());
        let first = fitting.next()?;
        if fitting.next().is_none() {
            return Some(first);
        }
        let source = self.routes.source(hop.remote.ip());
        let same = |port: &&UdpPort| Some(port.local.ip()) == source;
        self.udp.iter().find(same).or(Some(first))
    }
}

#[derive(Clone)]
struct SipDatagrams {
    /// For octets in the event queue.
    room: Arc<Semaphore>,
    /// Datagrams for which there was none.
    lost: Arc<AtomicU64>,
}

impl Datagrams for SipDatagrams {
    type Event = SipEvent;

    fn received(&self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Option<SipEvent> {
        // Keep-alives in practice: line ends, zeroes or nothing.
        if data.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return None;
        }
        let hop = Hop { local: Some(local), ..Hop::new(Transport::Udp, remote) };
        // UDP loses what does not fit.
        let octets = u32::try_from(data.len()).ok()?;
        let Ok(permit) = self.room.clone().try_acquire_many_owned(octets) else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let share = Share::new(Some(permit));
        let input = Input { hop, data: Bytes::copy_from_slice(data) };
        Some(SipEvent::Input { input, since: Instant::now(), share })
    }

    fn failed(&self, local: SocketAddr, remote: SocketAddr, _: &io::Error) -> Option<SipEvent> {
        Some(SipEvent::Failed(Hop { local: Some(local), ..Hop::new(Transport::Udp, remote) }))
    }
}
