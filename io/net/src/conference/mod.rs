//! The media engine of an MRFP: what members of conferences send ends here, and goes out to others.
//!
//! Keeps the contract of [`carnet_gateway::media`] for endpoints: a group is one conference, and a
//! pinhole is one TCP stream of one member, MSRP (RFC 4975, RFC 7701) or BFCP (RFC 8855, RFC 8856 §6),
//! inside TLS with a pre-shared key or in the open. Streams are read into the conference's room and
//! floor control server, which say what goes out to whom; the holders of the moderated floor are who
//! may speak.
//!
//! A few independent threads each run one edge-triggered epoll loop; a conference lives in one. A
//! member that does not read fills its own socket and its own queue in the room, nobody else's.
//!
//! Leaves out: joined pinholes, rates (`tman`), DTLS and BFCP over UDP.

mod hall;
mod hole;
mod line;
mod links;
mod traffic;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use carnet_tls::{PskContext, PskSettings};
use tokio::sync::mpsc;

use crate::OsRandom;
use crate::media::ports::Ports;
use crate::media::post::{self, Bell};
use crate::media::{EngineHandle, Events, Mailbox, Realm};
use worker::Worker;

/// How long the engine waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConferenceTimers {
    /// For an incoming connection after the gate opened.
    pub incoming: Duration,
    /// For an outgoing connection, all attempts together.
    pub outgoing: Duration,
    /// Attempts for an outgoing connection.
    pub attempts: u8,
    /// For a TLS handshake, once there is a connection.
    pub handshake: Duration,
    /// For the first words of a peer in the open that show that it is the one who is waited for.
    pub greeting: Duration,
}

impl Default for ConferenceTimers {
    fn default() -> Self {
        Self {
            incoming: Duration::from_secs(30),
            outgoing: Duration::from_secs(10),
            attempts: 3,
            handshake: Duration::from_secs(30),
            greeting: Duration::from_secs(30),
        }
    }
}

/// Everything a conference engine is told at its start.
#[derive(Debug, Clone)]
pub struct ConferenceConfig {
    /// The realms; the first is the default.
    pub realms: Vec<Realm>,
    /// Threads, at least one. A conference lives in one of them.
    pub threads: usize,
    /// The waiting times.
    pub timers: ConferenceTimers,
    /// Versions and suites of TLS, and whether a peer may name its key otherwise than the controller
    /// did. The timeout in here is not used: [`ConferenceTimers::handshake`] is.
    pub tls: PskSettings,
    /// Size of the kernel's send buffer of a socket, in octets: what a member that stopped reading can
    /// pin there. `None` leaves it to the kernel (several MiB).
    pub send_buffer: Option<usize>,
    /// Most pinholes in one thread; more are refused with `NoPort`.
    pub pinholes: usize,
    /// Length of the command queue of each thread and of the event queue of the engine.
    pub queue: usize,
}

impl Default for ConferenceConfig {
    fn default() -> Self {
        Self {
            realms: Vec::new(),
            threads: 1,
            timers: ConferenceTimers::default(),
            tls: PskSettings::default(),
            send_buffer: Some(64 * 1024),
            pinholes: 65_536,
            queue: 4_096,
        }
    }
}

/// Starts conference engines.
#[derive(Debug)]
pub struct ConferenceEngine;

impl ConferenceEngine {
    /// Starts the threads. They end when the handle and its clones are gone.
    ///
    /// # Errors
    ///
    /// A realm without a port, two realms with the same name, no realm, no thread; the TLS library
    /// lacks what is needed; or the operating system refused a descriptor or a thread.
    pub fn start(config: ConferenceConfig) -> io::Result<(EngineHandle, Events)> {
        if config.threads == 0 || config.queue == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "threads and queue of a conference engine are at least one",
            ));
        }
        let ports = Arc::new(Ports::new(&config.realms, &mut OsRandom)?);
        let tls = PskContext::new(config.tls.clone()).map_err(io::Error::other)?;
        let config = Arc::new(config);
        let (reports, events) = post::reports(config.queue);
        let mut workers = Vec::with_capacity(config.threads);
        for index in 0..config.threads {
            let (commands, inbox) = mpsc::channel(config.queue);
            let bell = Arc::new(Bell::new()?);
            let watch = (Arc::clone(&bell), worker::watch(&bell)?);
            let (config, ports, tls) = (Arc::clone(&config), Arc::clone(&ports), tls.clone());
            let reports = reports.clone();
            // A room has randomness that stays in its thread.
            thread::Builder::new()
                .name(format!("carnet-conference-{index}"))
                .spawn(move || Worker::new(config, ports, tls, watch, inbox, reports).run())?;
            workers.push(Mailbox::new(commands, bell));
        }
        Ok((EngineHandle::of(workers, ports), events))
    }
}
