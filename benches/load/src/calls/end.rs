//! One end of many calls: a SIP endpoint, one connection a call, one thread.
//!
//! What both ends do is here; what only a caller does is in `caller`, what only a callee does in `callee`.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carnet_sip::{ClientKey, Config, Dialog, Endpoint, Hop, Input, Message, Transport};
use carnet_tls::{PskContext, PskSettings, Side};
use carnet_wire::SeededRandom;
use socket2::{Domain, Socket, Type};

use super::books::Books;
use super::description::Description;
use super::door::{Claimed, Door, STRAY};
use super::link::{Link, Media, Step};
use super::talk::Talk;
use crate::Result;
use crate::content::{LONGEST, mix};
use crate::peer::Manner;
use crate::wire::{Poll, Wire};

/// The token of the SIP socket; those of calls have an age in their upper half.
const SIP: u64 = u64::MAX;
/// Datagrams taken in a row before media has its turn.
const DATAGRAMS: usize = 64;
/// Octets of the kernel's buffers of the SIP socket: what comes in a burst is not to be lost at this end.
const SOCKET_BUFFER: usize = 8 << 20;

/// What an end is told.
#[derive(Clone)]
pub struct Plan {
    /// Where its SIP is.
    pub sip: SocketAddr,
    /// Where its media is.
    pub media: IpAddr,
    /// Octets of a message and of a chunk, reports; paths are those of each call.
    pub manner: Manner,
    /// Content follows from it.
    pub seed: u64,
    /// A call that takes longer than this, beside the time it is held, has failed.
    pub patience: Duration,
}

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// INVITE is out, or came and is answered but not acknowledged.
    Inviting,
    /// Messages go to and fro.
    Talking,
    /// The last of them is out, which says that all others arrived.
    Closing,
    /// Everything is said.
    Standing,
    /// BYE is out.
    Ending,
}

/// A call's connection.
pub enum Carrier {
    /// The other side is to connect.
    Awaited(TcpListener),
    /// It is there, or being made.
    Up(Box<Media>),
}

/// A call.
pub struct Call {
    /// Its name in SIP.
    pub id: String,
    /// What it says of itself.
    pub own: Description,
    /// Where it is.
    pub stage: Stage,
    /// From when on it counts.
    pub since: Instant,
    /// When it is given up.
    pub until: Instant,
    /// When the stage began.
    pub reached: Instant,
    /// When the message that is out was sent.
    pub said: Option<Instant>,
    /// Messages that were answered.
    pub answered: u64,
    /// It has failed, and only its end in SIP is missing.
    pub failed: bool,
    /// The INVITE, where it is ours.
    pub invite: Option<(ClientKey, Message)>,
    /// The dialog.
    pub dialog: Option<Dialog>,
    /// Its connection.
    pub carrier: Option<Carrier>,
    age: u32,
}

/// One end.
pub struct End {
    /// What it was told.
    pub plan: Plan,
    /// What it counts.
    pub books: Books,
    /// SIP.
    pub endpoint: Endpoint,
    /// The calls; a place is used again.
    pub calls: Vec<Option<Call>>,
    /// Calls by their names.
    pub named: HashMap<String, usize>,
    /// Calls that have something to do though nobody told them.
    pub again: Vec<usize>,
    /// Set from outside when the end is to come.
    pub stop: Arc<AtomicBool>,
    strays: Vec<u64>,
    free: Vec<usize>,
    freed: Vec<usize>,
    poll: Poll,
    udp: UdpSocket,
    buffer: Vec<u8>,
    seals: PskContext,
    door: Option<Door>,
    ages: u32,
    numbers: u64,
}

impl Call {
    /// Begins a message.
    pub fn begin(&mut self, now: Instant) -> std::io::Result<()> {
        self.said = Some(now);
        self.media_mut().map_or(Ok(()), |media| media.say(Talk::begin))
    }

    /// Its connection, if there is one.
    #[must_use]
    pub fn media(&self) -> Option<&Media> {
        match &self.carrier {
            Some(Carrier::Up(media)) => Some(media),
            _ => None,
        }
    }

    /// The same.
    pub fn media_mut(&mut self) -> Option<&mut Media> {
        match &mut self.carrier {
            Some(Carrier::Up(media)) => Some(media),
            _ => None,
        }
    }

    /// Goes on to a stage.
    pub fn reach(&mut self, stage: Stage, now: Instant) {
        (self.stage, self.reached) = (stage, now);
    }
}

impl End {
    /// Opens its SIP socket.
    ///
    /// # Errors
    ///
    /// If the address is not to be had.
    pub fn open(mut plan: Plan, stop: Arc<AtomicBool>) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(plan.sip), Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        // As much as the host allows.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.bind(&plan.sip.into()).map_err(|error| format!("{}: {error}", plan.sip))?;
        let udp: UdpSocket = socket.into();
        plan.sip = udp.local_addr()?;
        let poll = Poll::new()?;
        poll.add(&udp, SIP, false)?;
        let config = Config {
            transports: vec![Transport::Udp],
            longest_wait: None,
            server_transactions: 200_000,
            client_transactions: 200_000,
            ..Config::default()
        };
        Ok(Self {
            endpoint: Endpoint::new(config, Box::new(SeededRandom::new(mix(plan.seed)))),
            plan,
            books: Books::default(),
            calls: Vec::new(),
            named: HashMap::new(),
            again: Vec::new(),
            stop,
            strays: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            poll,
            udp,
            buffer: vec![0; LONGEST],
            seals: PskContext::new(PskSettings::default())?,
            door: None,
            ages: 0,
            numbers: 0,
        })
    }

    /// Takes connections at one port for all calls that somebody else connects for.
    ///
    /// # Errors
    ///
    /// If the port is not to be had.
    pub fn share(&mut self, port: u16) -> Result<()> {
        self.door = Some(Door::open(SocketAddr::new(self.plan.media, port), &self.poll)?);
        Ok(())
    }

    /// A hop to an address from here.
    #[must_use]
    pub fn hop(&self, to: SocketAddr) -> Hop {
        Hop { local: Some(self.plan.sip), ..Hop::new(Transport::Udp, to) }
    }

    /// Whether the end is to come.
    #[must_use]
    pub fn is_told_to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A number that no other call here has, and that follows from the seed.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        mix(self.plan.seed ^ mix(self.numbers))
    }

    /// A listener for the other side of one call, or the port of who connects itself (RFC 4145 §4.1).
    ///
    /// # Errors
    ///
    /// If there is no descriptor or no port.
    pub fn door(&self, connects: bool) -> std::io::Result<(Option<TcpListener>, SocketAddr)> {
        if connects {
            return Ok((None, SocketAddr::new(self.plan.media, 9)));
        }
        if let Some(door) = &self.door {
            return Ok((None, door.address()?));
        }
        let address = SocketAddr::new(self.plan.media, 0);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1)?;
        let listener: TcpListener = socket.into();
        let address = listener.local_addr()?;
        Ok((Some(listener), address))
    }

    /// Takes a call into the books.
    pub fn add(&mut self, id: String, own: Description, door: Option<TcpListener>, since: Instant) -> usize {
        let index = self.free.pop().unwrap_or(self.calls.len());
        if index == self.calls.len() {
            self.calls.push(None);
        }
        self.ages = self.ages.wrapping_add(1) & 0x7fff_ffff;
        self.books.counts.begun += 1;
        let now = Instant::now();
        if let Some(door) = &door {
            let _ = self.poll.add(door, u64::from(self.ages) << 32 | index as u64, true);
        }
        self.named.insert(id.clone(), index);
        let call = Call {
            id,
            own,
            stage: Stage::Inviting,
            since,
            until: now + self.plan.patience,
            reached: now,
            said: None,
            answered: 0,
            failed: false,
            invite: None,
            dialog: None,
            carrier: door.map(Carrier::Awaited),
            age: self.ages,
        };
        if let Some(place) = self.calls.get_mut(index) {
            *place = Some(call);
        }
        index
    }

    /// A call.
    pub fn call(&mut self, index: usize) -> Option<&mut Call> {
        self.calls.get_mut(index).and_then(Option::as_mut)
    }

    /// What is said in a call, and between which paths.
    fn talk(&self, own: &Description, other: &Description) -> Talk {
        let manner = Manner { paths: (other.path.clone(), own.path.clone()), ..self.plan.manner.clone() };
        Talk::new(manner, own.key.unwrap_or_default(), other.key)
    }

    /// Connects to where the other side is.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn connect(&mut self, index: usize, other: &Description) -> Result<()> {
        let Some(call) = self.calls.get(index).and_then(Option::as_ref) else { return Ok(()) };
        let Wire::Plain(tcp) = Wire::leaving(self.plan.media, other.address)? else { return Ok(()) };
        let token = u64::from(call.age) << 32 | index as u64;
        self.poll.add(&tcp, token, true)?;
        let seal = call.own.sealed.then(|| (&self.seals, Side::Client, seal_of(&call.own, other)));
        let media = Media::new(Link::over(tcp, seal)?, self.talk(&call.own, other));
        if let Some(call) = self.call(index) {
            call.carrier = Some(Carrier::Up(Box::new(media)));
            self.again.push(index);
        }
        Ok(())
    }

    /// Takes the connection that a call waits for, if it came.
    fn accept(&mut self, index: usize, other: &Description) -> Result<()> {
        let Some(call) = self.calls.get(index).and_then(Option::as_ref) else { return Ok(()) };
        let Some(Carrier::Awaited(listener)) = &call.carrier else { return Ok(()) };
        let tcp = match listener.accept() {
            Ok((tcp, _)) => tcp,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        self.poll.add(&tcp, u64::from(call.age) << 32 | index as u64, true)?;
        let seal = call.own.sealed.then(|| (&self.seals, Side::Server, seal_of(&call.own, other)));
        let media = Media::new(Link::over(tcp, seal)?, self.talk(&call.own, other));
        if let Some(call) = self.call(index) {
            call.carrier = Some(Carrier::Up(Box::new(media)));
        }
        Ok(())
    }

    /// A connection has said whose it is; it counts from then on.
    fn claimed(&mut self, (path, tcp, octets): Claimed, other: impl Fn(usize) -> Option<Description>) {
        let of = |call: &Option<Call>| {
            call.as_ref().is_some_and(|call| call.own.path == path && call.carrier.is_none())
        };
        let Some(index) = self.calls.iter().position(of) else { return };
        let Some((call, other)) = self.calls.get(index).and_then(Option::as_ref).zip(other(index)) else {
            return;
        };
        let _ = self.poll.rename(&tcp, u64::from(call.age) << 32 | index as u64);
        let Ok(link) = Link::over(tcp, None) else { return };
        let mut media = Media::new(link, self.talk(&call.own, &other));
        let heard = media.heard(&octets);
        if let Some(call) = self.call(index) {
            call.carrier = Some(Carrier::Up(Box::new(media)));
            self.again.push(index);
        }
        if let Err(error) = heard {
            self.fail(index, &format!("media: {error}"));
        }
    }

    /// Takes what came at the one port for all calls. `other`: what the other side of the call at a place said of itself.
    pub fn claim(&mut self, other: impl Fn(usize) -> Option<Description>) {
        for token in std::mem::take(&mut self.strays) {
            let claimed = self.door.as_mut().and_then(|door| door.hear(token));
            if let Some(claimed) = claimed {
                self.claimed(claimed, &other);
            }
        }
    }

    /// Goes on with a call's connection. `other`: what the other side said of itself.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn drive(&mut self, index: usize, other: &Description) -> std::result::Result<Step, String> {
        self.accept(index, other).map_err(|error| error.to_string())?;
        let buffer = &mut self.buffer;
        let Some(media) = self.calls.get_mut(index).and_then(|call| call.as_mut()?.media_mut()) else {
            return Ok(Step::Waits);
        };
        let cut = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof];
        let step = match media.drive(buffer) {
            Err(error) if cut.contains(&error.kind()) => Step::Ended,
            other => other.map_err(|error| error.to_string())?,
        };
        if let Some(wrong) = media.talk.receiving.wrong.take() {
            return Err(format!("other octets than were sent: {wrong}"));
        }
        if step == Step::More {
            self.again.push(index);
        }
        Ok(step)
    }

    /// Closes a call's connection, and takes what it brought into the books.
    pub fn hang_up(&mut self, index: usize) {
        let Some(call) = self.calls.get_mut(index).and_then(Option::as_mut) else { return };
        let Some(carrier) = call.carrier.take() else { return };
        let Carrier::Up(media) = carrier else { return };
        let counts = &mut self.books.counts;
        let talk = &media.talk;
        counts.sent += talk.said;
        counts.answered += call.answered;
        counts.received += talk.receiving.messages;
        counts.octets_sent += talk.said * talk.size();
        counts.octets_received += talk.receiving.octets;
        counts.written += media.link.counted().written;
        counts.read += media.link.counted().read;
    }

    /// Strikes a call from the books; it ended in order unless it failed before.
    pub fn remove(&mut self, index: usize) {
        self.hang_up(index);
        let Some(call) = self.calls.get_mut(index).and_then(Option::take) else { return };
        self.named.remove(&call.id);
        self.freed.push(index);
        if !call.failed {
            self.books.counts.ended += 1;
        }
    }

    /// Counts a call as failed, once; its connection is closed.
    pub fn fail(&mut self, index: usize, cause: &str) {
        let Some(call) = self.call(index).filter(|call| !call.failed) else { return };
        call.failed = true;
        self.hang_up(index);
        self.books.fail(cause);
    }

    /// Waits until something happens, but no longer than until `limit`; calls with something to do are in `tokens`.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn turn(&mut self, limit: Instant, ready: &mut Vec<usize>) -> Result<()> {
        self.free.append(&mut self.freed);
        let limit = self.endpoint.poll_timeout().map_or(limit, |due| due.min(limit));
        let wait = if self.again.is_empty() {
            limit.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        };
        let mut tokens = Vec::new();
        self.poll.wait(wait, &mut tokens)?;
        ready.clear();
        ready.append(&mut self.again);
        for (token, _) in tokens {
            if token == SIP {
                self.listen();
                continue;
            }
            if token == STRAY {
                if let Some(door) = &mut self.door {
                    door.answer(&self.poll);
                }
                continue;
            }
            if token & STRAY != 0 {
                self.strays.push(token);
                continue;
            }
            let (index, age) = ((token & 0xffff_ffff) as usize, (token >> 32) as u32);
            if self.call(index).is_some_and(|call| call.age == age) {
                ready.push(index);
            }
        }
        self.endpoint.handle_timeout(Instant::now());
        Ok(())
    }

    fn listen(&mut self) {
        for _ in 0..DATAGRAMS {
            let Ok((octets, from)) = self.udp.recv_from(&mut self.buffer) else { return };
            let data = Bytes::copy_from_slice(self.buffer.get(..octets).unwrap_or_default());
            let hop = self.hop(from);
            self.endpoint.handle_input(Instant::now(), Input { hop, data });
        }
    }

    /// Sends what SIP has to send. What the kernel does not take is sent again by its timers.
    pub fn flush(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let _ = self.udp.send_to(&transmit.data, transmit.hop.remote);
        }
    }

    /// The number of calls that are not over.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.named.len()
    }
}

/// The number of the key is in the offer.
fn seal_of(own: &Description, other: &Description) -> u64 {
    own.seal.or(other.seal).unwrap_or_default()
}
