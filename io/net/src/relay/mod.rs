//! An MSRP relay (RFC 4976): sockets and a clock around [`carnet_relay::Relay`].
//!
//! Each thread has a shard of the rules ([`Relay::shards`]) and one edge-triggered epoll loop. What is heard from
//! a few connections is written before the next few are heard, in one write a connection, so a SEND takes the
//! same calls as on a relay that is blind: two reads, two writes. The first thread accepts and deals connections
//! out in turns; those that turn out to be for another thread move there once, with their TLS.
//!
//! Names of next hops are looked up by the system in threads of their own. TLS shows our certificate to
//! whoever connects, and demands one for the host of the URI from a next hop; who connects shows none.

mod arrivals;
mod connect;
mod links;
mod resolve;
mod worker;

use self::arrivals::Arrival;
use crate::media::post::Bell;
use crate::media::socket;
use crate::{PooledRandom, inherited};
use carnet_relay::{Counts, Relay, Settings};
use carnet_sip::Password;
use carnet_tls::CertificateContext;
use carnet_wire::Random;
use std::collections::{HashMap, VecDeque};
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
    /// Threads, 1 to [`MOST_THREADS`]. Clients of one session are rarely on the same one, and what passes from one
    /// to the other is read and written once more.
    pub threads: usize,
}

/// Threads that a relay can have.
pub const MOST_THREADS: usize = 64;

/// What the handle and a thread share, and what other threads have for it.
struct Shared {
    bell: Bell,
    arrivals: Mutex<VecDeque<Arrival>>,
    draining: AtomicBool,
    stopping: AtomicBool,
    counts: Mutex<Counts>,
}

/// A relay that runs. It ends when this is dropped.
pub struct RelayHandle {
    shared: Arc<[Shared]>,
    local: Vec<SocketAddr>,
    threads: Vec<thread::JoinHandle<()>>,
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
    if !(1..=MOST_THREADS).contains(&config.threads) {
        return Err(invalid("a relay has 1 to 64 threads"));
    }
    if config.tls.is_none() && config.settings.listeners.iter().any(|listener| listener.secure) {
        return Err(invalid("a relay needs a certificate where it listens for TLS"));
    }
    let mut sockets = Vec::new();
    let mut local = Vec::new();
    for (address, listener) in config.listen.iter().zip(&mut config.settings.listeners) {
        let socket = match inherited::tcp(*address) {
            Some(listener) => socket::heir(listener.into(), *address, config.dscp)?,
            None => {
                let socket = socket::bound(*address, config.dscp)?;
                socket::listen(&socket)?;
                socket
            }
        };
        let bound = socket.local_addr()?.as_socket().unwrap_or(*address);
        if listener.port == 0 {
            listener.port = bound.port();
        }
        local.push(bound);
        sockets.push(socket);
    }
    let now = Instant::now();
    let RelayConfig { settings, users, tls, next_hops, dscp, socket_buffer, threads: count, .. } = config;
    let secure: Vec<bool> = settings.listeners.iter().map(|listener| listener.secure).collect();
    let random = (0..count).map(|_| -> Box<dyn Random> { Box::new(PooledRandom::default()) });
    let relays = Relay::shards(&settings, users, now, random.collect());
    let shared = (0..count).map(|_| Shared::new()).collect::<io::Result<Arc<[Shared]>>>()?;
    let mut handle = RelayHandle { shared, local, threads: Vec::new() };
    for (number, relay) in relays.into_iter().enumerate() {
        let sockets = worker::Sockets {
            listeners: std::mem::take(&mut sockets),
            secure: secure.clone(),
            tls: tls.clone(),
            next_hops: next_hops.clone(),
            dscp,
            socket_buffer,
        };
        let worker = worker::Worker::new(relay, sockets, Arc::clone(&handle.shared), number)?;
        // What has been started ends with the handle.
        let thread = thread::Builder::new().name("carnet-relay".to_owned()).spawn(move || worker.run())?;
        handle.threads.push(thread);
    }
    Ok(handle)
}

impl Shared {
    fn new() -> io::Result<Self> {
        Ok(Self {
            bell: Bell::new()?,
            arrivals: Mutex::default(),
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            counts: Mutex::new(Counts::default()),
        })
    }

    /// Has the thread do something with it.
    fn bring(&self, arrival: Arrival) {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push_back(arrival);
        self.bell.ring();
    }

    /// How much waits for the thread.
    fn waiting(&self) -> usize {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn next(&self) -> Option<Arrival> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl RelayHandle {
    /// Where it listens.
    pub fn local(&self) -> &[SocketAddr] {
        &self.local
    }

    /// What has happened so far, as of the last turn of each thread.
    pub fn counts(&self) -> Counts {
        let counts =
            self.shared.iter().map(|shared| shared.counts.lock().unwrap_or_else(PoisonError::into_inner));
        counts.fold(Counts::default(), |sum, counts| sum + *counts)
    }

    /// Its users, to be changed.
    pub fn users(&self) -> RelayUsers {
        RelayUsers(Arc::clone(&self.shared))
    }

    /// Knocks at each thread, and says whether all of them have answered the knock before.
    pub fn knock(&self) -> bool {
        self.shared.iter().fold(true, |all, shared| all & shared.bell.knock())
    }

    /// Nobody is let in any more and no URI is granted; what is there goes on.
    pub fn drain(&self) {
        for shared in self.shared.iter() {
            shared.draining.store(true, Ordering::SeqCst);
            shared.bell.ring();
        }
    }

    /// Whether a thread has ended, which none should before the handle is dropped.
    pub fn is_over(&self) -> bool {
        self.threads.iter().any(thread::JoinHandle::is_finished)
    }
}

/// The users of a relay that runs.
#[derive(Clone)]
pub struct RelayUsers(Arc<[Shared]>);

impl RelayUsers {
    /// These and no others from now on.
    pub fn set(&self, users: HashMap<String, Password>) {
        let users = Arc::new(users);
        self.0.iter().for_each(|shared| shared.bring(Arrival::Users(Arc::clone(&users))));
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        for shared in self.shared.iter() {
            shared.stopping.store(true, Ordering::SeqCst);
            shared.bell.ring();
        }
        for thread in self.threads.drain(..) {
            // It has said what there was to say if it panicked.
            let _ = thread.join();
        }
    }
}
