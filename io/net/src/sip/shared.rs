//! The register of flows, and what else the tasks of one set of sockets share.

use super::{Listen, SipConfig, SipEvent};
use crate::Error;
use crate::dns::Resolver;
use crate::stream::{Outlet, Refused};
use bytes::Bytes;
use carnet_sip::{FlowId, Hop, Transport};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{Semaphore, mpsc, watch};

/// What all tasks of these sockets share.
pub(super) struct Shared {
    pub(super) config: SipConfig,
    pub(super) events: mpsc::Sender<SipEvent>,
    pub(super) flows: Mutex<Flows>,
    pub(super) next_flow: AtomicU64,
    pub(super) listening: RwLock<Vec<Listen>>,
    /// For octets in the event queue.
    pub(super) room: Arc<Semaphore>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) lookups: Semaphore,
    pub(super) resolver: Resolver,
    /// Datagrams that came while there was no room.
    pub(super) lost: Arc<AtomicU64>,
    /// Messages that were not sent because too many waited.
    pub(super) given_up: AtomicU64,
    /// Closed when the sockets are dropped.
    pub(super) stopped: watch::Receiver<()>,
}

#[derive(Default)]
pub(super) struct Flows {
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
    pub(super) fn listening(&self) -> Vec<Listen> {
        self.listening.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The address that a flow we opened speaks for: where its peers may reach us as well. What comes
    /// in on it is then of the same network as what comes in on the listening socket.
    pub(super) fn speaks_for(&self, transport: Transport, actual: SocketAddr) -> SocketAddr {
        let same = |l: &Listen| l.transport == transport && l.address.ip() == actual.ip();
        self.listening().into_iter().find(same).map_or(actual, |l| l.address)
    }

    fn flows(&self) -> MutexGuard<'_, Flows> {
        // Nothing panics while it holds the lock.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a flow into the register. The newest flow to a peer is the one that is reused.
    pub(super) fn enter(&self, hop: &Hop, outlet: Outlet) -> (FlowId, watch::Receiver<()>) {
        let id = FlowId(self.next_flow.fetch_add(1, Ordering::Relaxed));
        let (hold, held) = watch::channel(());
        let reach = Reach::of(hop);
        let mut flows = self.flows();
        flows.by_reach.insert(reach.clone(), id);
        flows.by_id.insert(id, Flow { outlet, reach, _hold: hold });
        (id, held)
    }

    /// Flows that stand or are being made.
    pub(super) fn count(&self) -> usize {
        self.flows().by_id.len()
    }

    /// Takes a flow out; whether it was there.
    pub(super) fn retire(&self, id: FlowId) -> bool {
        let mut flows = self.flows();
        let Some(flow) = flows.by_id.remove(&id) else { return false };
        if flows.by_reach.get(&flow.reach) == Some(&id) {
            flows.by_reach.remove(&flow.reach);
        }
        true
    }

    pub(super) fn reusable(&self, hop: &Hop) -> Option<FlowId> {
        self.flows().by_reach.get(&Reach::of(hop)).copied()
    }

    pub(super) fn push(&self, id: FlowId, data: Bytes) -> Result<(), Error> {
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
    pub(super) async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        while stopped.changed().await.is_ok() {}
    }
}
