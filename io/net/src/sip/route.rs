//! Which of our addresses a datagram to somewhere would have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Routes change seldom, and a wrong guess for so long does no harm.
const FRESH: Duration = Duration::from_secs(10);
/// Destinations remembered.
const MOST: usize = 4096;

/// What the system's routing table said, for a while.
#[derive(Debug, Default)]
pub(super) struct Routes {
    known: Mutex<HashMap<IpAddr, (Option<IpAddr>, Instant)>>,
}

impl Routes {
    /// The source address that the system would choose; `None` if there is no way to `remote`.
    pub(super) fn source(&self, remote: IpAddr) -> Option<IpAddr> {
        let now = Instant::now();
        // Nothing panics while it holds the lock.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((source, since)) = known.get(&remote)
            && now.duration_since(*since) < FRESH
        {
            return *source;
        }
        let source = ask(remote);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(remote, (source, now));
        source
    }
}

/// Connecting a datagram socket sends nothing, but makes the system choose.
fn ask(remote: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((remote, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_its_own_addresses() {
        let routes = Routes::default();
        for remote in ["127.0.0.1", "::1", "127.0.0.9"].map(|a| a.parse::<IpAddr>().unwrap()) {
            assert!(routes.source(remote).is_some_and(|source| source.is_loopback()), "{remote}");
        }
    }
}
