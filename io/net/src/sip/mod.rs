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

pub use event::{SipEvent, SipMachine};

use crate::dns::{NameServers, Resolver};
use crate::stream::{Outlet, Refused, StreamLimits};
use crate::udp::{Datagrams, UdpPort};
use crate::{Error, drain::Token};
use bytes::Bytes;
use carnet_sip::{FlowId, Hop, Input, Limits, Query, Transmit, Transport};
use carnet_tls::{CertificateContext, Peer};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// Events waiting for the role. When they are so many, reading waits.
    pub events: usize,
    /// Connections, incoming and outgoing. Further ones are refused.
    pub connections: usize,
    /// Datagrams waiting to be sent, per socket.
    pub datagrams: usize,
    /// DNS questions under way.
    pub lookups: usize,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self { events: 1024, connections: 10_000, datagrams: 4096, lookups: 64 }
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
    listening: Vec<Listen>,
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
            permits: Arc::new(Semaphore::new(config.limits.connections)),
            lookups: Semaphore::new(config.limits.lookups),
            resolver: Resolver::new(&config.names),
            stopped,
            config,
        });
        let mut this = Self { shared, udp: Vec::new(), listening: Vec::new(), _stop: stop };
        for listen in this.shared.config.listen.clone() {
            let address = match listen.transport {
                Transport::Udp => {
                    let shared = &this.shared;
                    let waiting = shared.config.limits.datagrams;
                    let port = UdpPort::open(
                        listen.address,
                        waiting,
                        SipDatagrams,
                        &shared.events,
                        &shared.stopped,
                    )?;
                    let address = port.local;
                    this.udp.push(port);
                    address
                }
                transport => flow::listen(&this.shared, transport, listen.address, drain.clone())?,
            };
            this.listening.push(Listen { transport: listen.transport, address });
        }
        Ok((this, receiver))
    }

    /// What is listened on, with the ports that were taken, in the order of the configuration.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// Connections that stand or are being made.
    pub fn flows(&self) -> usize {
        self.shared.flows().by_id.len()
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
                if let Err(undelivered) = self.send(transmit) {
                    tracing::debug!(%undelivered, "not sent");
                    machine.transport_failed(now, &undelivered.hop);
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

    /// The socket a datagram leaves by: the one it must, or one of its IP version.
    fn udp_port(&self, hop: &Hop) -> Option<&UdpPort> {
        let fits = |port: &&UdpPort| port.local.is_ipv4() == hop.remote.is_ipv4();
        let wanted = |port: &&UdpPort| hop.local == Some(port.local);
        self.udp.iter().find(wanted).or_else(|| self.udp.iter().find(fits))
    }
}

#[derive(Clone)]
struct SipDatagrams;

impl Datagrams for SipDatagrams {
    type Event = SipEvent;

    fn received(&self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Option<SipEvent> {
        // Keep-alives in practice: line ends, zeroes or nothing.
        if data.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return None;
        }
        let hop = Hop { local: Some(local), ..Hop::new(Transport::Udp, remote) };
        Some(SipEvent::Input(Input { hop, data: Bytes::copy_from_slice(data) }))
    }

    fn failed(&self, local: SocketAddr, remote: SocketAddr, _: &io::Error) -> Option<SipEvent> {
        Some(SipEvent::Failed(Hop { local: Some(local), ..Hop::new(Transport::Udp, remote) }))
    }
}

struct Shared {
    config: SipConfig,
    events: mpsc::Sender<SipEvent>,
    flows: Mutex<Flows>,
    next_flow: AtomicU64,
    permits: Arc<Semaphore>,
    lookups: Semaphore,
    resolver: Resolver,
    /// Closed when the sockets are dropped.
    stopped: watch::Receiver<()>,
}

#[derive(Default)]
struct Flows {
    by_id: HashMap<FlowId, Flow>,
    by_reach: HashMap<Reach, FlowId>,
}

struct Flow {
    outlet: Outlet,
    reach: Reach,
    /// Dropped to end the flow.
    _hold: watch::Sender<()>,
}

/// What makes two hops share a connection.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Reach {
    transport: Transport,
    remote: SocketAddr,
    server_name: Option<String>,
}

impl Reach {
    fn of(hop: &Hop) -> Self {
        Self { transport: hop.transport, remote: hop.remote, server_name: hop.server_name.clone() }
    }
}

impl Shared {
    fn flows(&self) -> MutexGuard<'_, Flows> {
        // Nothing panics while it holds the lock.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a flow into the register. The newest flow to a peer is the one that is reused.
    fn enter(&self, hop: &Hop, outlet: Outlet) -> (FlowId, watch::Receiver<()>) {
        let id = FlowId(self.next_flow.fetch_add(1, Ordering::Relaxed));
        let (hold, held) = watch::channel(());
        let reach = Reach::of(hop);
        let mut flows = self.flows();
        flows.by_reach.insert(reach.clone(), id);
        flows.by_id.insert(id, Flow { outlet, reach, _hold: hold });
        (id, held)
    }

    /// Takes a flow out; whether it was there.
    fn retire(&self, id: FlowId) -> bool {
        let mut flows = self.flows();
        let Some(flow) = flows.by_id.remove(&id) else { return false };
        if flows.by_reach.get(&flow.reach) == Some(&id) {
            flows.by_reach.remove(&flow.reach);
        }
        true
    }

    fn reusable(&self, hop: &Hop) -> Option<FlowId> {
        self.flows().by_reach.get(&Reach::of(hop)).copied()
    }

    fn push(&self, id: FlowId, data: Bytes) -> Result<(), Error> {
        let outlet = self.flows().by_id.get(&id).map(|flow| flow.outlet.clone());
        match outlet.ok_or(Refused::Gone).and_then(|outlet| outlet.push(data)) {
            Ok(()) => Ok(()),
            Err(Refused::Gone) => Err(Error::Gone),
            Err(Refused::Full) => {
                // A peer that does not read is given up: what it misses cannot be made good by
                // what comes later.
                self.retire(id);
                Err(Error::QueueFull)
            }
        }
    }

    /// Completes when the sockets are dropped.
    async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        while stopped.changed().await.is_ok() {}
    }
}
