//! An MSRP relay (RFC 4976): sockets and a clock around [`carnet_relay::Relay`].
//!
//! One thread with one edge-triggered epoll loop. What is heard from a few connections is written before
//! the next few are heard, in one write a connection, so a SEND takes the same calls as on a relay that is
//! blind: two reads, two writes. A host with more to do runs several relays, on ports of their own.
//!
//! Names of next hops are looked up by the system in threads of their own. TLS shows our certificate to
//! whoever connects, and demands one for the host of the URI from a next hop; who connects shows none.

mod links;
mod resolve;
mod worker;

use crate::PooledRandom;
use crate::media::post::Bell;
use crate::media::socket;
use carnet_relay::{Counts, Relay, Settings};
use carnet_sip::Password;
use carnet_tls::CertificateContext;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Everything a relay is told at its start.
pub struct RelayConfig {
    /// Where it listens: one address for each of [`Settings::listeners`], in the same order. Port 0 is
    /// any; the listener gets the one that was found.
    pub listen: Vec<SocketAddr>,
    /// Its rules.
    pub settings: Settings,
    /// Who may have URIs of it, by name.
    pub users: HashMap<String, Password>,
    /// Our certificate, and the authorities that next hops are checked against. Without one there is no
    /// TLS in either direction.
    pub tls: Option<CertificateContext>,
    /// Addresses, with prefix lengths, that it may connect to on behalf of a client; empty is any.
    pub next_hops: Vec<(IpAddr, u8)>,
    /// DSCP of what is sent, 0 to 63.
    pub dscp: Option<u8>,
    /// Size of the kernel's send and receive buffers of a connection, in octets. `None` leaves it to the
    /// kernel.
    pub socket_buffer: Option<usize>,
}

/// What the handle and the thread share.
pub(super) struct Shared {
    pub(super) bell: Bell,
    pub(super) draining: AtomicBool,
    pub(super) stopping: AtomicBool,
    pub(super) counts: Mutex<Counts>,
}

/// A relay that runs. It ends when this is dropped.
pub struct RelayHandle {
    shared: Arc<Shared>,
    local: Vec<SocketAddr>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Starts a relay.
///
/// # Errors
/// An address that cannot be had, TLS without a certificate, or what the operating system says.
pub fn start(mut config: RelayConfig) -> io::Result<RelayHandle> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    if config.listen.is_empty() || config.listen.len() != config.settings.listeners.len() {
        return Err(invalid("a relay listens at one address for each listener, one at least"));
    }
    if config.tls.is_none() && config.settings.listeners.iter().any(|listener| listener.secure) {
        return Err(invalid("a relay needs a certificate where it listens for TLS"));
    }
    let mut sockets = Vec::new();
    let mut local = Vec::new();
    for (address, listener) in config.listen.iter().zip(&mut config.settings.listeners) {
        let socket = socket::bound(*address, config.dscp)?;
        socket::listen(&socket)?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(*address);
        if listener.port == 0 {
            listener.port = bound.port();
        }
        local.push(bound);
        sockets.push(socket);
    }
    let now = Instant::now();
    let RelayConfig { settings, users, tls, next_hops, dscp, socket_buffer, .. } = config;
    let secure = settings.listeners.iter().map(|listener| listener.secure).collect();
    let relay = Relay::new(settings, users, now, Box::new(PooledRandom::default()));
    let shared = Arc::new(Shared {
        bell: Bell::new()?,
        draining: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        counts: Mutex::new(Counts::default()),
    });
    let worker = worker::Worker::new(
        relay,
        (sockets, secure),
        tls,
        (next_hops, dscp, socket_buffer),
        Arc::clone(&shared),
    )?;
    let thread = thread::Builder::new().name("carnet-relay".to_owned()).spawn(move || worker.run())?;
    Ok(RelayHandle { shared, local, thread: Some(thread) })
}

impl RelayHandle {
    /// Where it listens.
    pub fn local(&self) -> &[SocketAddr] {
        &self.local
    }

    /// What has happened so far, as of the last turn.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is let in any more and no URI is granted; what is there goes on.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.shared.bell.ring();
    }

    /// Whether the thread has ended, which it should not before the handle is dropped.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(thread::JoinHandle::is_finished)
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.bell.ring();
        if let Some(thread) = self.thread.take() {
            // It has said what there was to say if it panicked.
            let _ = thread.join();
        }
    }
}
