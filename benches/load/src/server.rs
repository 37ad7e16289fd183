//! The far end: swallows and checks, sends, sends back.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use openssl::ssl::SslContext;
use socket2::{Domain, Socket, Type};

use crate::Result;
use crate::content::{Checker, Content, LONGEST, Trailer, Way};
use crate::greeting::{GREETING, Greeting, Kind};
use crate::peer::Peer;
use crate::wire::{Poll, Wire};

/// A session that has more to do gives way to the others after so many reads and writes.
const TURN: usize = 16;
/// Tokens of listeners begin here.
const LISTENERS: u64 = 1 << 32;

/// Where.
#[derive(Debug, Clone, Copy)]
pub struct Serving {
    /// The first address; the port may be 0 if there is one.
    pub address: SocketAddr,
    /// How many ports from there on.
    pub ports: u16,
}

/// The listeners of one thread.
#[derive(Debug)]
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Listens. Several threads may listen at the same addresses.
    ///
    /// # Errors
    ///
    /// If an address is taken, or is not on this host.
    pub fn bind(serving: &Serving) -> Result<Self> {
        let mut all = Vec::with_capacity(serving.ports.into());
        for offset in 0..serving.ports {
            let port = serving.address.port().checked_add(offset).ok_or("too many ports")?;
            let address = SocketAddr::new(serving.address.ip(), port);
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(4096)?;
            all.push(socket.into());
        }
        Ok(Self(all))
    }

    /// The first address.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.first().ok_or("no listener")?.local_addr()?)
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    ///
    /// If waiting fails; what goes wrong with a session ends that session.
    pub fn serve(self, tls: Option<SslContext>) -> Result<()> {
        let mut poll = Poll::new()?;
        for (index, listener) in self.0.iter().enumerate() {
            poll.add(listener, LISTENERS + index as u64, false)?;
        }
        let mut floor = Floor { buffer: vec![0; LONGEST], ..Floor::default() };
        let mut tokens = Vec::new();
        loop {
            let limit = if floor.again.is_empty() { Duration::from_secs(3600) } else { Duration::ZERO };
            poll.wait(limit, &mut tokens)?;
            // What became free in the turn before is in no list of what is ready any more.
            floor.free.append(&mut floor.freed);
            for index in std::mem::take(&mut floor.again) {
                floor.drive(index);
            }
            for &(token, ended) in &tokens {
                let Some(listener) = token.checked_sub(LISTENERS) else {
                    floor.ready(token as usize, ended);
                    continue;
                };
                let Some(listener) = self.0.get(listener as usize) else { continue };
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    if let Ok(wire) = Wire::over(stream, tls.as_ref().map(|tls| (tls, false))) {
                        floor.admit(wire, &poll)?;
                    }
                }
            }
        }
    }
}

/// The sessions of a thread.
#[derive(Default)]
struct Floor {
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
    freed: Vec<usize>,
    again: Vec<usize>,
    buffer: Vec<u8>,
}

impl Floor {
    fn admit(&mut self, wire: Wire, poll: &Poll) -> io::Result<()> {
        let index = self.free.pop().unwrap_or(self.sessions.len());
        poll.add(wire.tcp(), index as u64, true)?;
        if index == self.sessions.len() {
            self.sessions.push(None);
        }
        if let Some(place) = self.sessions.get_mut(index) {
            *place = Some(Session::new(wire));
        }
        Ok(())
    }

    fn ready(&mut self, index: usize, ended: bool) {
        let Some(Some(session)) = self.sessions.get_mut(index) else { return };
        (session.readable, session.writable) = (true, true);
        session.ended |= ended;
        self.drive(index);
    }

    fn drive(&mut self, index: usize) {
        let Some(place) = self.sessions.get_mut(index) else { return };
        match place.as_mut().map(|session| session.drive(&mut self.buffer)) {
            None | Some(Ok(Step::Waits)) => {}
            Some(Ok(Step::More)) => self.again.push(index),
            Some(Ok(Step::Over) | Err(_)) => {
                *place = None;
                self.freed.push(index);
            }
        }
    }
}

/// How far a session has come.
enum Step {
    Waits,
    More,
    Over,
}

/// What a session is.
enum Role {
    /// Nobody has said.
    New(Vec<u8>),
    /// What comes is checked, what goes counted; either may not be part of it.
    Bulk {
        up: Option<Checker>,
        down: Option<(Content, u64)>,
    },
    Echo,
    Stalled,
    Msrp(Box<Peer>),
}

struct Session {
    wire: Wire,
    role: Role,
    readable: bool,
    writable: bool,
    /// The other side has ended: reading goes on until it shows.
    ended: bool,
    /// It has shown.
    over: bool,
    finished: bool,
    /// What could not be written at once, and how much of it was.
    pending: Vec<u8>,
    written: usize,
}

impl Session {
    fn new(wire: Wire) -> Self {
        Self {
            wire,
            role: Role::New(Vec::with_capacity(GREETING)),
            readable: true,
            writable: true,
            ended: false,
            over: false,
            finished: false,
            pending: Vec::new(),
            written: 0,
        }
    }

    fn drive(&mut self, buffer: &mut [u8]) -> io::Result<Step> {
        for _ in 0..TURN {
            let wrote = self.writable && self.write()?;
            let read = self.readable && !self.over && self.read(buffer)?;
            if self.finished && self.over {
                return Ok(Step::Over);
            }
            if !wrote && !read {
                return Ok(Step::Waits);
            }
        }
        Ok(Step::More)
    }

    /// Whether something was read.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        // An echo that is not taken stops the one who talks; who is stalled is not heard.
        if matches!(self.role, Role::Stalled) || !self.pending.is_empty() {
            return Ok(false);
        }
        let octets = match self.wire.read(buffer) {
            Ok(0) => {
                self.over = true;
                return Ok(true);
            }
            Ok(octets) => octets,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if octets < buffer.len() && !self.ended && matches!(self.wire, Wire::Plain(_)) {
            // There is no more, and what comes will be told.
            self.readable = false;
        }
        self.take(buffer.get(..octets).unwrap_or_default())?;
        Ok(true)
    }

    fn take(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.role {
            Role::New(greeting) => {
                let missing = GREETING.saturating_sub(greeting.len()).min(octets.len());
                let (now, rest) = octets.split_at(missing);
                greeting.extend_from_slice(now);
                if greeting.starts_with(b"MSRP ") {
                    let mut peer = Box::new(Peer::default());
                    peer.take(greeting, &mut self.pending)?;
                    peer.take(rest, &mut self.pending)?;
                    self.role = Role::Msrp(peer);
                    return Ok(());
                }
                let Ok(whole) = <&[u8; GREETING]>::try_from(greeting.as_slice()) else { return Ok(()) };
                let greeting = Greeting::read(whole).ok_or(ErrorKind::InvalidData)?;
                let up = || Checker::new(Content::new(greeting.key, Way::Up));
                let down = || (Content::new(greeting.key, Way::Down), 0);
                self.role = match greeting.kind {
                    Kind::Up => Role::Bulk { up: Some(up()), down: None },
                    Kind::Down => Role::Bulk { up: None, down: Some(down()) },
                    Kind::Duplex => Role::Bulk { up: Some(up()), down: Some(down()) },
                    Kind::Echo => Role::Echo,
                    Kind::Stalled => Role::Stalled,
                };
                if !rest.is_empty() {
                    self.take(rest)?;
                }
            }
            Role::Bulk { up: Some(checker), .. } => checker.take(octets),
            Role::Bulk { up: None, .. } => return Err(ErrorKind::InvalidData.into()),
            Role::Echo => {
                let written = match self.wire.write(octets) {
                    Ok(written) => written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                    Err(error) => return Err(error),
                };
                self.pending.extend_from_slice(octets.get(written..).unwrap_or_default());
            }
            Role::Stalled => {}
            Role::Msrp(peer) => peer.take(octets, &mut self.pending)?,
        }
        Ok(())
    }

    /// Whether something was written.
    fn write(&mut self) -> io::Result<bool> {
        if self.finished {
            return Ok(false);
        }
        if self.pending.is_empty()
            && let Role::Bulk { down: Some((content, at)), .. } = &mut self.role
            // In TLS what was refused has to go before anything else.
            && (!self.over || self.wire.is_stuck())
        {
            return match self.wire.write(content.piece(*at, LONGEST)) {
                Ok(octets) => {
                    *at += octets as u64;
                    self.writable = octets == LONGEST || matches!(self.wire, Wire::Tls(..));
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.writable = false;
                    Ok(false)
                }
                Err(error) => Err(error),
            };
        }
        if self.over
            && let Role::Bulk { up, down } = &self.role
            && self.pending.is_empty()
        {
            let (received, wrong) = up.map_or((0, None), |checker| (checker.at, checker.wrong));
            let trailer = Trailer { sent: down.map_or(0, |(_, at)| at), received, wrong };
            self.pending = trailer.octets().to_vec();
            self.role = Role::Echo;
        }
        if let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.wire.write(rest) {
                Ok(octets) => self.written += octets,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.writable = false;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
            if self.written == self.pending.len() {
                self.pending.clear();
                self.written = 0;
            }
            return Ok(true);
        }
        if self.over {
            self.wire.finish()?;
            self.finished = true;
            return Ok(true);
        }
        Ok(false)
    }
}
