//! What the tasks of one set of control sockets share: the register of connections, and what happens to
//! every message on its way in and out.

use super::foreign::Foreign;
use super::tls::{self, ControlTls, Identity};
use super::{ControlConfig, ControlEvent, ControlPassed, ControlPeer, ControlTransport};
use crate::Error;
use crate::dns::Resolver;
use crate::stream::{Outlet, Refused};
use bytes::Bytes;
use carnet_h248::authentication::{Authentication, IpHeader};
use carnet_h248::{ErrorDescriptor, MId, Message, encoding};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::{Semaphore, mpsc, watch};

pub(super) struct Shared {
    pub(super) config: ControlConfig,
    /// What connections that begin now are protected by.
    pub(super) tls: RwLock<Option<Arc<ControlTls>>>,
    pub(super) events: mpsc::Sender<ControlEvent>,
    pub(super) links: Mutex<HashMap<u64, Link>>,
    pub(super) next: AtomicU64,
    pub(super) permits: Arc<Semaphore>,
    /// How many connections each address has made.
    pub(super) seats: Mutex<HashMap<IpAddr, usize>>,
    /// Whom datagrams go to, where the role said who is there.
    pub(super) named: Mutex<HashMap<SocketAddr, MId>>,
    pub(super) authentication: Option<Mutex<Authentication>>,
    pub(super) foreign: Foreign,
    pub(super) resolver: OnceLock<Resolver>,
    /// Closed when the sockets are dropped.
    pub(super) stopped: watch::Receiver<()>,
}

/// A connection or a channel.
pub(super) struct Link {
    pub(super) way: Way,
    /// Dropped to end it.
    _hold: watch::Sender<()>,
}

#[derive(Clone)]
pub(super) enum Way {
    Stream {
        outlet: Outlet,
        transport: ControlTransport,
        /// Our address, where it was chosen or given.
        local: Option<SocketAddr>,
        /// Our address and the peer's, for the authentication header; none where there is no such
        /// header.
        between: Option<(IpAddr, SocketAddr)>,
        peer: Option<MId>,
    },
    /// And who is there.
    Local(mpsc::Sender<Message>, Option<Arc<str>>),
}

/// A message that came, and how.
pub(super) struct Arrival<'a> {
    pub(super) peer: ControlPeer,
    /// Our address, if messages may have the authentication header.
    pub(super) local: Option<SocketAddr>,
    /// What TLS has proven.
    pub(super) identity: Option<&'a Identity>,
    pub(super) transport: ControlTransport,
}

/// One connection that an address has made.
pub(super) struct Seat {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Seat {
    /// None if the address has as many as one may have.
    pub(super) fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let mut seats = lock(&shared.seats);
        let taken = seats.entry(address).or_default();
        if *taken >= shared.config.connections_of_one {
            return None;
        }
        *taken += 1;
        Some(Self { shared: shared.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = lock(&self.shared.seats);
        if let Some(taken) = seats.get_mut(&self.address) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                seats.remove(&self.address);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn tls(&self) -> Option<Arc<ControlTls>> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn enter(&self, way: Way) -> (u64, watch::Receiver<()>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (hold, held) = watch::channel(());
        lock(&self.links).insert(id, Link { way, _hold: hold });
        (id, held)
    }

    pub(super) fn retire(&self, id: u64) {
        lock(&self.links).remove(&id);
    }

    /// Says who is at an address that datagrams go to.
    pub(super) fn name(&self, remote: SocketAddr, peer: &MId) {
        /// More than anybody has controllers with addresses.
        const MOST: usize = 1024;
        let mut named = lock(&self.named);
        if named.len() < MOST {
            named.insert(remote, peer.clone());
        }
    }

    /// What came: a message, something that is none, or something that is not taken. Nothing is
    /// answered to who sends datagrams and has proven nothing: it could be anybody.
    pub(super) fn arrived(&self, from: &Arrival<'_>, octets: &[u8]) -> ControlEvent {
        let peer = from.peer;
        let remote = peer.address().unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
        let message = match encoding::parse(octets, &self.config.messages) {
            Ok(message) => message,
            Err(error) => {
                // Who has to prove himself has not.
                if self.requires_proof() && from.identity.is_none() {
                    self.foreign.refuse(remote, "control message refused", &error);
                    return ControlEvent::Refused { peer };
                }
                return ControlEvent::Undecodable { peer, error };
            }
        };
        if let (Some(tls), Some(identity)) = (self.tls(), from.identity)
            && !tls.speaks_for(identity, &message.mid)
        {
            let why = format!("{} and it writes as {}", tls::describe(identity), message.mid);
            self.foreign.refuse(remote, "control message refused", &why);
            self.turn_away(peer, &message, "not the name that the connection proves");
            self.end(peer);
            return ControlEvent::Refused { peer };
        }
        if let Some(authentication) = &self.authentication
            && from.identity.is_none()
        {
            let header = from.local.and_then(|local| between(remote.ip(), local));
            let limits = &self.config.messages;
            let checked = lock(authentication).check(Instant::now(), header, octets, limits, &message);
            if let Err(refusal) = checked {
                self.foreign.refuse(remote, "control message refused", &refusal);
                if peer.is_reliable() {
                    self.turn_away(peer, &message, &refusal.to_string());
                }
                return ControlEvent::Refused { peer };
            }
        }
        if let Some(watch) = &self.config.watch {
            let (transport, local) = (Some(from.transport), from.local);
            watch(&ControlPassed { peer, name: None, transport, local, sent: false, message: &message });
        }
        ControlEvent::Message { peer, message }
    }

    /// Shows a message that is about to be sent.
    pub(super) fn show(&self, peer: ControlPeer, message: &Message) {
        let Some(watch) = &self.config.watch else { return };
        let (mut name, mut transport, mut local) = (None, None, None);
        match peer {
            ControlPeer::Datagram { local: own, .. } => {
                (transport, local) = (Some(ControlTransport::Udp), Some(own));
            }
            ControlPeer::Stream { id, .. } | ControlPeer::Local(id) => {
                match lock(&self.links).get(&id).map(|link| &link.way) {
                    Some(Way::Local(_, peer)) => name.clone_from(peer),
                    Some(Way::Stream { transport: of, local: own, .. }) => {
                        (transport, local) = (Some(*of), own.filter(|own| own.port() != 0));
                    }
                    None => return,
                }
            }
        }
        watch(&ControlPassed { peer, name: name.as_deref(), transport, local, sent: true, message });
    }

    fn requires_proof(&self) -> bool {
        self.authentication.as_ref().is_some_and(|a| lock(a).is_required())
    }

    /// Tells one who has a connection why he is not heard; H.248.8: 402 unauthorized.
    pub(super) fn turn_away(&self, peer: ControlPeer, message: &Message, why: &str) {
        let (Some(mid), ControlPeer::Stream { id, .. }) = (&self.config.mid, peer) else { return };
        // A message error is never answered, lest two sides refuse each other for ever.
        if message.transactions().is_empty() {
            return;
        }
        let error = ErrorDescriptor::new(402, why.to_owned());
        let _ = self.push(id, Message::error(message.version, mid.clone(), error));
    }

    fn end(&self, peer: ControlPeer) {
        if let ControlPeer::Stream { id, .. } = peer {
            self.retire(id);
        }
    }

    /// Whether nobody else can read what goes to `peer`.
    pub(super) fn is_protected(&self, peer: ControlPeer) -> bool {
        self.config.protected || peer.is_private()
    }

    /// Keys leave only by ways that nobody else can read.
    pub(super) fn may_leave(&self, peer: ControlPeer, message: &Message) -> Result<(), Error> {
        if !self.is_protected(peer) && !message.secrets().is_empty() {
            return Err(Error::Unprotected);
        }
        Ok(())
    }

    /// A datagram in the encoding of these sockets.
    pub(super) fn datagram(
        &self,
        remote: SocketAddr,
        local: SocketAddr,
        message: Message,
    ) -> Result<Vec<u8>, Error> {
        let peer = lock(&self.named).get(&remote).cloned();
        self.print(Some((local.ip(), remote)), peer.as_ref(), message)
    }

    fn print(
        &self,
        ends: Option<(IpAddr, SocketAddr)>,
        peer: Option<&MId>,
        mut message: Message,
    ) -> Result<Vec<u8>, Error> {
        let encoding = self.config.encoding;
        let header = ends.and_then(|(local, remote)| between(local, remote));
        let printed = match (&self.authentication, header) {
            (Some(authentication), Some(header)) => {
                lock(authentication).print(encoding, header, peer, &mut message)
            }
            _ => encoding.print(&message),
        };
        printed.map_err(|unsayable| Error::Unprintable(unsayable.to_string()))
    }

    pub(super) fn push(&self, id: u64, message: Message) -> Result<(), Error> {
        let way = lock(&self.links).get(&id).map(|link| link.way.clone()).ok_or(Error::Gone)?;
        let outcome = match way {
            Way::Stream { outlet, transport, between, peer, .. } => {
                let octets = self.print(between, peer.as_ref(), message)?;
                let packet = carnet_h248::tpkt::frame(&octets).ok_or_else(|| {
                    Error::Unprintable(format!("{} octets do not fit into a TPKT packet", octets.len()))
                })?;
                // Messages of streams have a TPKT header, records of SCTP need none.
                let framed = transport != ControlTransport::Sctp;
                outlet.push(if framed { Bytes::from(packet) } else { Bytes::from(octets) })
            }
            Way::Local(sender, _) => sender.try_send(message).map_err(|e| match e {
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
    pub(super) async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        while stopped.changed().await.is_ok() {}
    }
}

/// The made-up header for what goes from one address to another; none for IPv6 (RFC 3525 §10.2).
fn between(source: IpAddr, destination: SocketAddr) -> Option<IpHeader> {
    match (source, destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(to)) => {
            Some(IpHeader { source, destination: to, port: destination.port() })
        }
        _ => None,
    }
}
