//! The loop of a relay: listeners, connections, and what the rules want done with them.

use super::Shared;
use super::links::{Link, Stage, Wire};
use super::resolve::Resolver;
use crate::media::socket;
use carnet_relay::{Action, ConnectionId, Reason, Relay};
use carnet_tls::{CertificateContext, Lent};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use socket2::Socket;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Events taken from the kernel at once.
const BATCH: usize = 256;
/// Of them, how many are attended to before what comes of it is written: whoever came first does not wait for
/// all the others.
const BEFORE_WRITING: usize = 16;
/// Connections taken from one listener at once.
const ACCEPTS: usize = 64;
/// What is read at once: a record of TLS.
const READ: usize = 16 * 1024;
/// Reads from one connection in a turn, so that a fast one does not keep others waiting.
const TURN: usize = 4;
/// How often a host without descriptors is asked again.
const RETRY: Duration = Duration::from_millis(100);

const WAKE: u64 = u64::MAX;

/// Where it listens, and how its connections are made.
pub(super) struct Sockets {
    /// Dropped when it drains. Only the first thread has some.
    pub(super) listeners: Vec<Socket>,
    pub(super) secure: Vec<bool>,
    pub(super) tls: Option<CertificateContext>,
    pub(super) next_hops: Vec<(IpAddr, u8)>,
    pub(super) dscp: Option<u8>,
    pub(super) socket_buffer: Option<usize>,
}

pub(super) struct Worker {
    pub(super) relay: Relay,
    pub(super) epoll: OwnedFd,
    pub(super) sockets: Sockets,
    pub(super) shared: Arc<[Shared]>,
    /// Which of the threads this is, and to which the last connection was dealt.
    pub(super) number: usize,
    pub(super) dealt: usize,
    pub(super) resolver: Resolver,
    /// By slot.
    links: Vec<Option<Link>>,
    /// Hosts of next hops whose certificates are still to be checked.
    pub(super) hosts: HashMap<ConnectionId, (String, bool)>,
    /// To be read in the next turn.
    again: VecDeque<ConnectionId>,
    buffer: Box<[u8]>,
    lent: Lent,
    /// A listener could not be emptied.
    starved: bool,
    pub(super) now: Instant,
}

impl Worker {
    pub(super) fn new(
        relay: Relay,
        sockets: Sockets,
        shared: Arc<[Shared]>,
        number: usize,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        if let Some(own) = shared.get(number) {
            epoll::add(&epoll, own.bell.descriptor(), epoll::EventData::new_u64(WAKE), flags)?;
        }
        for (index, listener) in sockets.listeners.iter().enumerate() {
            // Connections have a serial number, which is never 0.
            epoll::add(&epoll, listener, epoll::EventData::new_u64(index as u64), flags)?;
        }
        Ok(Self {
            relay,
            epoll,
            sockets,
            resolver: Resolver::new(Arc::clone(&shared), number),
            shared,
            number,
            dealt: 0,
            links: Vec::new(),
            hosts: HashMap::new(),
            again: VecDeque::new(),
            buffer: vec![0; READ].into_boxed_slice(),
            lent: Lent::default(),
            starved: false,
            now: Instant::now(),
        })
    }

    /// Runs until the handle is dropped.
    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(BATCH);
        loop {
            let timeout = self.timeout().and_then(|timeout| Timespec::try_from(timeout).ok());
            ready.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                // Our own descriptor cannot go bad; if it does there is no way to go on.
                Err(error) => {
                    tracing::error!(%error, "relay thread ends");
                    return;
                }
            }
            self.now = Instant::now();
            for some in ready.chunks(BEFORE_WRITING) {
                for event in some {
                    let epoll::Event { flags, data } = *event;
                    self.on_event(data.u64(), flags);
                }
                // Answers leave at the end of the turn: who reads a message does not wait for them.
                while let Some(action) = self.relay.poll_urgent() {
                    self.act(action);
                }
            }
            let shared = Arc::clone(&self.shared);
            let Some(own) = shared.get(self.number) else { return };
            if own.bell.answer() {
                if own.stopping.load(Ordering::SeqCst) {
                    return;
                }
                if own.draining.load(Ordering::SeqCst) {
                    self.relay.drain();
                    self.sockets.listeners.clear();
                }
                self.arrive();
                while let Some((id, address)) = self.resolver.next() {
                    self.connect(id, address);
                }
            }
            if std::mem::take(&mut self.starved) {
                for index in 0..self.sockets.listeners.len() {
                    self.accept(index);
                }
            }
            for _ in 0..self.again.len() {
                let Some(id) = self.again.pop_front() else { break };
                if let Some(link) = self.link(id) {
                    link.queued = false;
                }
                self.read(id);
            }
            if self.relay.poll_timeout().is_some_and(|at| at <= self.now) {
                self.relay.handle_timeout(self.now);
            }
            self.act_all();
            *own.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.relay.counts();
        }
    }

    fn act_all(&mut self) {
        while let Some(action) = self.relay.poll() {
            self.act(action);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = self.relay.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        if self.starved { Some(next.unwrap_or(RETRY).min(RETRY)) } else { next }
    }

    fn link(&mut self, id: ConnectionId) -> Option<&mut Link> {
        let serial = (id.to_u64() >> 32) as u32;
        self.links.get_mut(id.slot() as usize)?.as_mut().filter(|link| link.serial == serial)
    }

    fn on_event(&mut self, token: u64, flags: epoll::EventFlags) {
        if token == WAKE {
            return;
        }
        if token >> 32 == 0 {
            return self.accept(token as usize);
        }
        let id = ConnectionId::from_u64(token);
        let Some(link) = self.link(id) else { return };
        let gone = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        link.hangup |= flags.intersects(gone);
        if flags.intersects(epoll::EventFlags::IN | gone) {
            link.wake();
        }
        let writable = flags.intersects(epoll::EventFlags::OUT | gone) && !link.writable;
        link.writable |= writable;
        if link.stage != Stage::Up {
            self.stand_up(id);
        }
        if self.link(id).is_some_and(|link| link.stage == Stage::Up) {
            self.read(id);
            if writable {
                self.write(id);
            }
        }
    }

    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.sockets.listeners.get(index) else { return };
            let (socket, peer) = match socket::accept(listener) {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the relay cannot be taken");
                    break;
                }
            };
            self.deal(socket, index, peer.ip());
        }
        self.starved = true;
    }

    /// Begins to watch a connection.
    pub(super) fn watch(&mut self, id: ConnectionId, link: Option<Link>) {
        let Some(mut link) = link else { return self.relay.closed(id) };
        link.serial = (id.to_u64() >> 32) as u32;
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        if let Err(error) =
            epoll::add(&self.epoll, link.socket(), epoll::EventData::new_u64(id.to_u64()), flags)
        {
            tracing::warn!(%error, "a connection of the relay cannot be watched");
            return self.relay.closed(id);
        }
        let slot = id.slot() as usize;
        if self.links.len() <= slot {
            self.links.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.links.get_mut(slot) {
            *place = Some(link);
        }
    }

    /// Goes on with what comes before MSRP.
    fn stand_up(&mut self, id: ConnectionId) {
        let slot = self.links.get_mut(id.slot() as usize).and_then(Option::as_mut);
        let Some(link) = slot.filter(|link| link.serial == (id.to_u64() >> 32) as u32) else { return };
        let outcome = go_on(link, &mut self.lent);
        let (up, ours) = (link.stage == Stage::Up, link.ours);
        match outcome {
            Ok(()) if up && ours => {
                self.hosts.remove(&id);
                self.relay.connected(self.now, id);
            }
            Ok(()) => {}
            Err(reason) => {
                tracing::info!(reason, ours, "a connection of the relay does not come to stand");
                self.gone(id);
            }
        }
    }

    pub(super) fn read(&mut self, id: ConnectionId) {
        for _ in 0..TURN {
            if !self.relay.may_read(id) {
                return;
            }
            let slot = self.links.get_mut(id.slot() as usize).and_then(Option::as_mut);
            let Some(link) = slot.filter(|link| link.readable && link.stage == Stage::Up) else { return };
            match link.read(&mut self.buffer, &mut self.lent) {
                Ok(None) => return,
                Ok(Some(0)) => return self.gone(id),
                Ok(Some(octets)) => {
                    let read = self.buffer.get(..octets).unwrap_or_default();
                    self.relay.received(self.now, id, read);
                }
                Err(_) => return self.gone(id),
            }
        }
        if let Some(link) = self.link(id)
            && link.readable
            && !std::mem::replace(&mut link.queued, true)
        {
            self.again.push_back(id);
        }
    }

    fn write(&mut self, id: ConnectionId) {
        loop {
            let slot = self.links.get_mut(id.slot() as usize).and_then(Option::as_mut);
            let Some(link) = slot.filter(|link| link.stage == Stage::Up) else { return };
            match link.flush() {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => return self.gone(id),
            }
            let octets = self.relay.output(id);
            if octets.is_empty() {
                return;
            }
            let whole = octets.len();
            match link.write(octets, &mut self.lent) {
                Ok(0) => return,
                Ok(written) => {
                    self.relay.sent(self.now, id, written);
                    if written == whole {
                        return;
                    }
                }
                Err(_) => return self.gone(id),
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Write(id) => self.write(id),
            Action::Read(id) => self.read(id),
            Action::Connect { connection, host, port, secure } => {
                let address = self.resolver.ask(connection, &host, port);
                self.hosts.insert(connection, (host, secure));
                match address {
                    Ok(Some(address)) => self.connect(connection, Some(address)),
                    Ok(None) => {}
                    Err(()) => self.connect(connection, None),
                }
            }
            Action::Join { connection, shard } => self.join(connection, shard),
            Action::HandOver { connection, shard, octets } => self.hand_over(connection, shard, octets),
            Action::Close { connection, reason, rest } => {
                if reason != Reason::Ended {
                    tracing::info!(?reason, "a connection of the relay is closed");
                }
                self.hosts.remove(&connection);
                let Some(mut link) = self.take(connection) else { return };
                if link.stage == Stage::Up {
                    let mut rest = rest.as_slice();
                    while let Ok(written @ 1..) = link.write(rest, &mut self.lent) {
                        rest = rest.get(written..).unwrap_or_default();
                    }
                    if let Wire::Tls(tls) = &mut link.wire {
                        tls.close();
                    }
                }
            }
        }
    }

    pub(super) fn take(&mut self, id: ConnectionId) -> Option<Link> {
        self.link(id)?;
        self.links.get_mut(id.slot() as usize)?.take()
    }

    /// A connection has ended by itself.
    fn gone(&mut self, id: ConnectionId) {
        self.hosts.remove(&id);
        drop(self.take(id));
        self.relay.closed(id);
    }
}

/// Goes on as far as the kernel lets it.
fn go_on(link: &mut Link, lent: &mut Lent) -> Result<(), String> {
    if link.stage == Stage::Connecting {
        if let Some(error) = link.socket().take_error().map_err(|error| error.to_string())? {
            return Err(error.to_string());
        }
        if !link.writable {
            return Ok(());
        }
        link.stage = match link.wire {
            Wire::Plain(_) => Stage::Up,
            Wire::Tls(_) => Stage::Shaking,
        };
    }
    if link.stage == Stage::Shaking
        && let Wire::Tls(tls) = &mut link.wire
        && tls.handshake(lent).map_err(|error| error.to_string())?.is_some()
    {
        link.stage = Stage::Up;
        // What came with the last flight is inside TLS already.
        (link.readable, link.writable) = (true, true);
    }
    Ok(())
}
