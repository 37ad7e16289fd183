//! Names of next hops, looked up aside: the system's resolver blocks.

use super::Shared;
use carnet_relay::ConnectionId;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Lookups at once. More are refused: somebody makes us look names up.
const MOST: usize = 32;

pub(super) struct Resolver {
    shared: Arc<[Shared]>,
    /// The thread that asks.
    number: usize,
    found: Receiver<(ConnectionId, Option<SocketAddr>)>,
    tell: Sender<(ConnectionId, Option<SocketAddr>)>,
    running: usize,
}

impl Resolver {
    pub(super) fn new(shared: Arc<[Shared]>, number: usize) -> Self {
        let (tell, found) = channel();
        Self { shared, number, found, tell, running: 0 }
    }

    /// The address at once if it is one; otherwise it comes from [`Self::next`], if `Ok`.
    pub(super) fn ask(&mut self, id: ConnectionId, host: &str, port: u16) -> Result<Option<SocketAddr>, ()> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Some(SocketAddr::new(address, port)));
        }
        if self.running >= MOST {
            return Err(());
        }
        let (host, tell) = (host.to_owned(), self.tell.clone());
        let (shared, number) = (Arc::clone(&self.shared), self.number);
        let look = move || {
            let found = (host.as_str(), port).to_socket_addrs().ok().and_then(|mut found| found.next());
            // The loop may be gone.
            let _ = tell.send((id, found));
            if let Some(shared) = shared.get(number) {
                shared.bell.ring();
            }
        };
        thread::Builder::new().name("carnet-relay-name".to_owned()).spawn(look).map_err(|_| ())?;
        self.running += 1;
        Ok(None)
    }

    /// The next name that was looked up.
    pub(super) fn next(&mut self) -> Option<(ConnectionId, Option<SocketAddr>)> {
        let found = self.found.try_recv().ok()?;
        self.running -= 1;
        Some(found)
    }
}
