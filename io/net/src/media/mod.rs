//! The copying and splicing media engine: moves the octets of joined pinholes between sockets.
//!
//! Keeps the contract of [`carnet_gateway::media`]. A few independent threads each run one
//! edge-triggered epoll loop (`worker`); two pinholes of one group live in the same loop. Not
//! tokio tasks: a task per direction costs several times the memory and a third more time per
//! small message. The control plane talks to the loops over bounded queues.
//!
//! A direction is copied through one buffer a thread; what the receiver does not take at once is
//! the only thing kept (`flow`). While bulk passes it is spliced through a pooled pipe.
//!
//! Where TLS ends at a pinhole (`end`, `seal`) or paths of MSRP are rewritten, the octets are worked on in
//! between (`through`).
//!
//! What only has to pass does not come here at all where the kernel can translate it (`kernel`).

mod bucket;
mod callers;
mod carried;
mod certificates;
pub(crate) mod clock;
mod doors;
mod end;
mod flow;
mod guard;
mod hole;
mod host;
mod kernel;
mod links;
mod memory;
mod pipes;
pub(crate) mod ports;
pub(crate) mod post;
mod record;
mod regroup;
mod roll;
mod seal;
pub(crate) mod slim;
pub(crate) mod socket;
mod through;
mod undecided;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use carnet_gateway::engine::{Host, Reason};
use carnet_gateway::media::Command;
use tokio::sync::mpsc;

use crate::OsRandom;
pub use carnet_netfilter::{Lack, lacks as kernel_lacks};
pub use certificates::Certificate;
use certificates::Certificates;
pub use guard::{Guard, Tally};
pub use host::{Shortcoming, raise_descriptor_limit, shortcomings};
pub use kernel::{KernelConfig, KernelTally, Mode};
use memory::Memory;
pub use memory::MemoryTally;
pub use ports::Pool;
use ports::Ports;
use post::Bell;
pub use post::Events;
use regroup::Dock;
use worker::{Shared, Worker};

/// Where local addresses come from: one IP realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm {
    /// The identifier in `ipdc/realm`.
    pub name: String,
    /// The address for `IN IP4`.
    pub v4: Option<Ipv4Addr>,
    /// The address for `IN IP6`.
    pub v6: Option<Ipv6Addr>,
    /// The TCP ports the engine may use on each address. Nobody else on the host may use them.
    pub ports: RangeInclusive<u16>,
    /// What is shown where TLS ends at its pinholes.
    pub certificate: Certificate,
    /// Its defence.
    pub guard: Guard,
}

impl Realm {
    /// Whether an address and port are for its pinholes.
    fn has(&self, place: SocketAddr) -> bool {
        let address = match place.ip() {
            IpAddr::V4(v4) => self.v4 == Some(v4),
            IpAddr::V6(v6) => self.v6 == Some(v6),
        };
        address && self.ports.contains(&place.port())
    }
}

/// One that has to be given a name, an address and ports.
impl Default for Realm {
    fn default() -> Self {
        #[expect(clippy::reversed_empty_ranges, reason = "there are no ports before some are named")]
        let ports = 1..=0;
        let (certificate, guard) = (Certificate::default(), Guard::default());
        Self { name: String::new(), v4: None, v6: None, ports, certificate, guard }
    }
}

/// Whether a witness looks at TLS record headers. It never alters or decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Witness {
    /// No witness.
    #[default]
    Off,
    /// Look until splicing begins; what passes after that is reported as unobserved.
    UntilSplice,
    /// Look at every record. Nothing is spliced.
    Full,
}

/// How long the engine waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// For an incoming connection after the gate opened.
    pub incoming: Duration,
    /// For an outgoing connection, all attempts together.
    pub outgoing: Duration,
    /// Attempts for an outgoing connection.
    pub attempts: u8,
    /// For it to be decided which engine somebody gets who calls before that. Then the loop takes the call. Less than the
    /// second after which a caller begins again (RFC 6298 §2.1).
    pub undecided: Duration,
    /// For the far side, once this side is connected; also for the fingerprint of the peer's certificate.
    pub unspliced: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            incoming: Duration::from_secs(30),
            outgoing: Duration::from_secs(10),
            attempts: 3,
            undecided: Duration::from_millis(800),
            unspliced: Duration::from_secs(30),
        }
    }
}

/// Everything an engine is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// The realms; the first is the default.
    pub realms: Vec<Realm>,
    /// Threads, at least one. More than the host has processors gain nothing.
    pub threads: usize,
    /// The witness.
    pub witness: Witness,
    /// The waiting times.
    pub timers: Timers,
    /// Size of the kernel's send and receive buffers of a socket, in octets (the kernel allows twice
    /// that for its own records); bounds what a reader that stopped can pin, and how fast one session is where the way
    /// is long (25 Mbit/s at 50 ms). It is set when a direction has moved 32 KiB, or 8 KiB at once; not where TLS ends or
    /// paths are rewritten. `None` leaves it to the kernel's own tuning (several MiB).
    pub socket_buffer: Option<usize>,
    /// Use `splice` for bulk. Off, everything is copied.
    pub splice: bool,
    /// Size of the copy buffer of each thread, in octets.
    pub copy_buffer: usize,
    /// Size of a splice pipe. The kernel counts a page for every segment, however short, and may
    /// grant less.
    pub pipe_size: usize,
    /// Octets a direction may have in its pipe; what a reader that stopped leaves there.
    pub pipe_octets: usize,
    /// Most splice pipes in one thread. When they are all in use, the rest is copied.
    pub pipes: usize,
    /// Most pinholes in one thread; more are refused with `NoPort`.
    pub pinholes: usize,
    /// Length of the command queue of each thread and of the event queue of the engine.
    pub queue: usize,
    /// The kernel engine, and listening without sockets.
    pub kernel: KernelConfig,
    /// Most octets that all loops together may hold of what receivers have not taken, in buffers and pipes. Beyond that
    /// senders wait.
    pub memory: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            realms: Vec::new(),
            threads: 1,
            witness: Witness::Off,
            timers: Timers::default(),
            socket_buffer: Some(160 * 1024),
            splice: true,
            copy_buffer: 256 * 1024,
            pipe_size: 1024 * 1024,
            pipe_octets: 256 * 1024,
            pipes: 32,
            pinholes: 65_536,
            queue: 4_096,
            kernel: KernelConfig::default(),
            memory: 1024 * 1024 * 1024,
        }
    }
}

/// Starts engines.
#[derive(Debug)]
pub struct MediaEngine;

impl MediaEngine {
    /// Starts the threads. They end when the handle and its clones are gone.
    ///
    /// # Errors
    ///
    /// A realm without a port, two realms with the same name, no realm, no thread, a certificate that cannot be
    /// read; or the operating system refused a descriptor or a thread.
    pub fn start(config: EngineConfig) -> io::Result<(EngineHandle, Events)> {
        let (workers, handle, events) = Self::prepare(config)?;
        for (index, worker) in workers.into_iter().enumerate() {
            thread::Builder::new().name(format!("carnet-media-{index}")).spawn(move || worker.run())?;
        }
        Ok((handle, events))
    }

    /// Makes the loops, which do not run yet.
    fn prepare(config: EngineConfig) -> io::Result<(Vec<Worker>, EngineHandle, Events)> {
        if config.threads == 0 || config.queue == 0 || config.copy_buffer == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "threads, queue and copy buffer of a media engine are at least one",
            ));
        }
        let ports = Arc::new(Ports::new(&config.realms, &mut OsRandom)?);
        for lack in shortcomings(&config) {
            tracing::warn!("{lack}");
        }
        let certificates = Arc::new(Certificates::new(&config.realms, SystemTime::now())?);
        let memory = Memory::new(config.memory);
        let config = Arc::new(config);
        let (reports, events) = post::reports(config.queue);
        let (mut workers, mut mailboxes) = (Vec::new(), Vec::new());
        let dock = |_| Ok(Arc::new(Dock::new(Arc::new(Bell::new()?))));
        let docks: Arc<[_]> = (0..config.threads).map(dock).collect::<io::Result<Vec<_>>>()?.into();
        let (kernels, kernel) = kernel::start(&config, &docks, reports.clone())?;
        let shared = Shared {
            config: Arc::clone(&config),
            ports: Arc::clone(&ports),
            certificates: Arc::clone(&certificates),
            memory: Arc::clone(&memory),
            docks: Arc::clone(&docks),
        };
        for (dock, kernel) in docks.iter().zip(kernels) {
            let (commands, inbox) = mpsc::channel(config.queue);
            let bell = Arc::clone(&dock.bell);
            workers.push(Worker::new(shared.clone(), Arc::clone(dock), inbox, reports.clone(), kernel)?);
            mailboxes.push(Mailbox::new(commands, bell));
        }
        let certificates = Some(certificates);
        let handle =
            EngineHandle { kernel: Some(kernel), memory, certificates, ..EngineHandle::of(mailboxes, ports) };
        Ok((workers, handle, events))
    }
}

/// Gives commands to a running engine.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    workers: Arc<Vec<Mailbox>>,
    ports: Arc<Ports>,
    /// `None` where there are conferences only.
    certificates: Option<Arc<Certificates>>,
    memory: Arc<Memory>,
    /// `None` where there are conferences only.
    kernel: Option<kernel::Overview>,
}

/// The engine's threads are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the media engine has stopped")]
pub struct Stopped;

#[derive(Debug)]
pub(crate) struct Mailbox {
    /// `None` only while being dropped.
    commands: Option<mpsc::Sender<Command>>,
    bell: Arc<Bell>,
}

impl Mailbox {
    pub(crate) fn new(commands: mpsc::Sender<Command>, bell: Arc<Bell>) -> Self {
        Self { commands: Some(commands), bell }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        // The thread finds its queue closed only when it looks.
        self.commands = None;
        self.bell.ring();
    }
}

impl EngineHandle {
    pub(crate) fn of(workers: Vec<Mailbox>, ports: Arc<Ports>) -> Self {
        let memory = Memory::new(usize::MAX);
        Self { workers: Arc::new(workers), ports, certificates: None, kernel: None, memory }
    }

    /// Queues a command; waits while the queue is full.
    ///
    /// Whoever sends must also read the event queue meanwhile (in another branch of a `select!`
    /// or another task): an engine that cannot report stops taking commands.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if the engine is gone.
    pub async fn send(&self, command: Command) -> Result<(), Stopped> {
        let (commands, bell) = self.mailbox(&command)?;
        commands.send(command).await.map_err(|_| Stopped)?;
        bell.ring();
        Ok(())
    }

    /// The same as [`send`](Self::send) from a thread that is not driven by tokio.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if the engine is gone.
    pub fn blocking_send(&self, command: Command) -> Result<(), Stopped> {
        let (commands, bell) = self.mailbox(&command)?;
        commands.blocking_send(command).map_err(|_| Stopped)?;
        bell.ring();
        Ok(())
    }

    /// Queues as many as there is room for, from the front, and rings once. What does not fit
    /// stays; [`send`](Self::send) waits for room.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if the engine is gone.
    pub fn try_send_all(&self, queue: &mut VecDeque<Command>) -> Result<(), Stopped> {
        if queue.is_empty() {
            return Ok(());
        }
        let mut called = vec![false; self.workers.len()];
        while let Some(command) = queue.pop_front() {
            let index = self.index(&command)?;
            let (commands, _) = self.mailbox(&command)?;
            match commands.try_send(command) {
                Ok(()) => {
                    if let Some(called) = called.get_mut(index) {
                        *called = true;
                    }
                }
                Err(mpsc::error::TrySendError::Full(command)) => {
                    queue.push_front(command);
                    break;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stopped),
            }
        }
        for (mailbox, _) in self.workers.iter().zip(called).filter(|(_, called)| *called) {
            mailbox.bell.ring();
        }
        Ok(())
    }

    /// Knocks at each loop, and says whether all of them have answered the knock before. For one who knocks, now and then.
    #[must_use]
    pub fn knock(&self) -> bool {
        let knocks = self.workers.iter().map(|mailbox| mailbox.bell.knock());
        knocks.fold(true, |all, answered| all & answered)
    }

    /// What each realm has turned away since the start, by its name.
    #[must_use]
    pub fn tallies(&self) -> Vec<(String, Tally)> {
        self.ports.tallies().into_iter().map(|(name, tally)| (name.to_owned(), tally)).collect()
    }

    /// What the kernel engine has done since the start; nothing where there is none.
    #[must_use]
    pub fn kernel_tally(&self) -> KernelTally {
        self.kernel.as_ref().map(|kernel| kernel.tallies.now()).unwrap_or_default()
    }

    /// What the host allows to choose from, which does not change.
    #[must_use]
    pub fn host(&self) -> Host {
        self.kernel.as_ref().map_or(Host::Relays(Reason::Configured), |kernel| kernel.host)
    }

    /// What the host lacks for the kernel engine, each a sentence for its administrator. Nothing where it is not
    /// to be used.
    #[must_use]
    pub fn lacks(&self) -> Vec<String> {
        self.kernel.as_ref().map(|kernel| kernel.lacks.to_vec()).unwrap_or_default()
    }

    /// What the loops hold for receivers that take no more.
    #[must_use]
    pub fn memory(&self) -> MemoryTally {
        self.memory.tally()
    }

    /// Octets that the loops have taken from peers since the start, those of streams that go on among them. What the kernel
    /// carries is not there.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.memory.passed()
    }

    /// How the ports of each realm stand now, by its name.
    #[must_use]
    pub fn pools(&self) -> Vec<(String, Pool)> {
        self.ports.pools(Instant::now()).into_iter().map(|(name, pool)| (name.to_owned(), pool)).collect()
    }

    /// These are the realms from now on, the default one first. Pinholes on what is taken away stay until they are
    /// released; a realm that is gone gives no new ones. The choice of engines stays as it was made at the start.
    ///
    /// # Errors
    /// As of [`MediaEngine::start`], of the realms; nothing has changed then.
    pub fn renew_realms(&self, realms: &[Realm]) -> io::Result<()> {
        let certificates = self.certificates.as_ref().map(|all| all.another(realms, SystemTime::now()));
        let certificates = certificates.transpose()?;
        self.ports.renew(realms, &mut OsRandom)?;
        if let Some((held, new)) = self.certificates.as_ref().zip(certificates) {
            held.replace(new);
        }
        Ok(())
    }

    /// The loop that has the pinholes of a group.
    fn index(&self, command: &Command) -> Result<usize, Stopped> {
        (group(command) as usize).checked_rem(self.workers.len()).ok_or(Stopped)
    }

    fn mailbox(&self, command: &Command) -> Result<(&mpsc::Sender<Command>, &Bell), Stopped> {
        let mailbox = self.workers.get(self.index(command)?).ok_or(Stopped)?;
        Ok((mailbox.commands.as_ref().ok_or(Stopped)?, &mailbox.bell))
    }
}

fn group(command: &Command) -> u32 {
    match command {
        Command::Reserve { pinhole, .. }
        | Command::Adopt { pinhole, .. }
        | Command::Configure { pinhole, .. }
        | Command::Join { a: pinhole, .. }
        | Command::Part { pinhole }
        | Command::Regroup { pinhole, .. }
        | Command::Connect { pinhole }
        | Command::Disconnect { pinhole }
        | Command::Release { pinhole }
        | Command::Measure { pinhole } => pinhole.group,
        Command::Conference { group, .. } | Command::Decide { group, .. } => *group,
    }
}
