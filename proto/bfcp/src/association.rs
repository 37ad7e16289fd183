//! Messages between two ends that know each other: what both a client and a server do with a connection
//! (RFC 8855 §6, §8).
//!
//! Over a stream: framing. Over datagrams also fragments, one request at a time with timer T1, answers that
//! are kept and repeated until timer T2. What a message means and whether it may be said is not looked at.

use crate::error::Error;
use crate::fragment::{Assembly, fragments};
use crate::framer::Framer;
use crate::message::{Header, Message};
use crate::timing::{REPEATS, RoundTrip};
use crate::transport::Transport;
use crate::{Limits, Primitive};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Messages in fragments that are put together at a time.
const ASSEMBLIES: usize = 4;
/// Answers that are kept for repeated requests.
const ANSWERS: usize = 8;

/// What a message of the server's own accord is about. A later one takes the place of one that is still
/// waiting to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A floor, in FloorStatus.
    Floor(u16),
    /// A request, in FloorRequestStatus.
    Request(u16),
}

/// What comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message. Over datagrams: a request that was not seen before, or the answer to
    /// [`Association::ask`].
    Message(Message),
    /// What is none. A server answers with [`Body::refusal`](crate::Body::refusal) if there is a header to
    /// answer to.
    Faulty {
        /// As far as it could be read.
        header: Option<Header>,
        /// What is wrong.
        error: Error,
        /// The stream cannot be read any further and has to be closed (§6.1).
        fatal: bool,
    },
}

#[derive(Debug)]
struct Outgoing {
    octets: Bytes,
    topic: Option<Topic>,
}

/// A request over datagrams that has no answer yet.
#[derive(Debug)]
struct Asked {
    transaction: u16,
    datagrams: Vec<Bytes>,
    first: Instant,
    repeats: u32,
    interval: Duration,
    next: Instant,
}

#[derive(Debug)]
struct Answered {
    transaction: u16,
    user: u16,
    conference: u32,
    request: Primitive,
    datagrams: Vec<Bytes>,
    until: Instant,
}

/// One connection, or one pair of addresses.
#[derive(Debug)]
pub struct Association {
    transport: Transport,
    limits: Limits,
    framer: Framer,
    incoming: VecDeque<Incoming>,
    outgoing: VecDeque<Outgoing>,
    outgoing_octets: usize,
    dead: bool,
    next_transaction: u16,
    assemblies: VecDeque<(Assembly, Instant)>,
    asked: Option<Asked>,
    waiting: VecDeque<(Message, Option<Topic>, usize)>,
    waiting_octets: usize,
    answered: VecDeque<Answered>,
    trip: RoundTrip,
    broken: bool,
}

impl Association {
    /// One that is up.
    pub fn new(transport: Transport, limits: Limits) -> Self {
        Self {
            transport,
            framer: Framer::new(limits.clone()),
            limits,
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
            outgoing_octets: 0,
            dead: false,
            next_transaction: 0,
            assemblies: VecDeque::new(),
            asked: None,
            waiting: VecDeque::new(),
            waiting_octets: 0,
            answered: VecDeque::new(),
            trip: RoundTrip::default(),
            broken: false,
        }
    }

    /// A new one between the same two, whose numbers go on.
    pub fn renewed(&self) -> Self {
        let fresh = Self::new(self.transport, self.limits.clone());
        Self { next_transaction: self.next_transaction, ..fresh }
    }

    /// What carries it.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// A number for the next request: never 0, and growing (§8.1).
    pub fn transaction(&mut self) -> u16 {
        self.next_transaction = self.next_transaction.checked_add(1).unwrap_or(1);
        self.next_transaction
    }

    /// Takes octets of the stream, or one datagram.
    pub fn handle_octets(&mut self, now: Instant, octets: &[u8]) {
        match self.transport {
            Transport::Stream if !self.dead => self.framer.push(octets),
            Transport::Stream => {}
            Transport::Datagram { .. } => self.datagram(now, octets),
        }
    }

    /// The next that came in.
    pub fn poll_incoming(&mut self) -> Option<Incoming> {
        if self.transport != Transport::Stream {
            return self.incoming.pop_front();
        }
        if self.dead {
            return None;
        }
        match self.framer.next_octets() {
            Ok(None) => None,
            Ok(Some(octets)) => match Message::parse(&octets, &self.limits) {
                Ok(message) => Some(Incoming::Message(message)),
                Err(error) => self.dies(Header::parse(&octets).ok().map(|(header, _)| header), error),
            },
            Err(error) => {
                let header = self.framer.peek_header();
                self.dies(header, error)
            }
        }
    }

    fn dies(&mut self, header: Option<Header>, error: Error) -> Option<Incoming> {
        self.dead = true;
        Some(Incoming::Faulty { header, error, fatal: true })
    }

    fn datagram(&mut self, now: Instant, octets: &[u8]) {
        let header = match Header::parse(octets) {
            Ok((header, _)) if header.version == self.transport.version() => header,
            Ok((header, _)) => {
                let error = Error::Version { version: header.version };
                return self.faulty(Some(header), error);
            }
            Err(error) => return self.faulty(Header::of_any_version(octets), error),
        };
        if header.responder {
            return self.response(now, &header, octets);
        }
        if self.repeat(now, &header) {
            return;
        }
        match self.whole(now, &header, octets) {
            Some(Ok(message)) => self.incoming.push_back(Incoming::Message(message)),
            Some(Err(error)) => self.faulty(Some(header), error),
            None => {}
        }
    }

    fn faulty(&mut self, header: Option<Header>, error: Error) {
        self.incoming.push_back(Incoming::Faulty { header, error, fatal: false });
    }

    /// The message of a datagram, or of the fragments of which it is the last.
    fn whole(&mut self, now: Instant, header: &Header, octets: &[u8]) -> Option<Result<Message, Error>> {
        self.assemblies.retain(|(_, until)| *until > now);
        if header.fragment.is_none() {
            return Some(Message::parse(&Bytes::copy_from_slice(octets), &self.limits));
        }
        let known = self.assemblies.iter().position(|(assembly, _)| assembly.is_of(header));
        let added = match known.and_then(|at| self.assemblies.get_mut(at)) {
            Some((assembly, _)) => assembly.add(octets),
            None => Assembly::begin(octets, &self.limits).map(|assembly| {
                if self.assemblies.len() == ASSEMBLIES {
                    self.assemblies.pop_front();
                }
                self.assemblies.push_back((assembly, now + self.trip.keep()));
            }),
        };
        let at = self.assemblies.iter().position(|(assembly, _)| assembly.is_of(header));
        if let Err(error) = added {
            // §5.1: the whole message is given up.
            at.map(|at| self.assemblies.remove(at));
            return Some(Err(error));
        }
        let at = at?;
        let whole = self.assemblies.get(at)?.0.finish(&self.limits)?;
        self.assemblies.remove(at);
        Some(whole)
    }

    fn response(&mut self, now: Instant, header: &Header, octets: &[u8]) {
        // What answers nothing that was asked is late, or forged.
        if self.asked.as_ref().is_none_or(|asked| asked.transaction != header.transaction) {
            return;
        }
        // One that cannot be read is as good as none: repeating the request may bring a better one.
        let Some(Ok(message)) = self.whole(now, header, octets) else { return };
        if let Some(asked) = self.asked.take() {
            self.trip.answered(now.saturating_duration_since(asked.first), asked.repeats);
        }
        self.incoming.push_back(Incoming::Message(message));
        self.go_on(now);
    }

    /// Sends the answer again if the request came before (§8.3.2).
    fn repeat(&mut self, now: Instant, header: &Header) -> bool {
        self.answered.retain(|answered| answered.until > now);
        let key = (header.transaction, header.user, header.conference, header.primitive);
        let known = |a: &&Answered| (a.transaction, a.user, a.conference, a.request) == key;
        let Some(answered) = self.answered.iter().find(known) else { return false };
        // A request in fragments is answered once, by the last of them.
        if header.fragment.is_some_and(|f| f.offset.saturating_add(f.length) < header.payload) {
            return true;
        }
        for octets in answered.datagrams.clone() {
            self.push(octets, None);
        }
        true
    }

    /// Answers a message. `false` if the answer cannot be said; then nothing is sent.
    pub fn answer(&mut self, now: Instant, request: Primitive, mut message: Message) -> bool {
        message.version = self.transport.version();
        let Transport::Datagram { mtu } = self.transport else {
            let Ok(octets) = message.print() else { return false };
            self.push(octets.into(), None);
            return true;
        };
        message.responder = true;
        let Ok(datagrams) = fragments(&message, mtu) else { return false };
        let datagrams: Vec<Bytes> = datagrams.into_iter().map(Bytes::from).collect();
        for octets in &datagrams {
            self.push(octets.clone(), None);
        }
        if self.answered.len() == ANSWERS {
            self.answered.pop_front();
        }
        self.answered.push_back(Answered {
            transaction: message.transaction,
            user: message.user,
            conference: message.conference,
            request,
            datagrams,
            until: now + self.trip.keep(),
        });
        true
    }

    /// Sends a message of one's own accord. Over datagrams it is repeated until it is answered, and the next
    /// waits so long; its number is then from [`transaction`](Self::transaction). `false` if it cannot be
    /// said.
    pub fn ask(&mut self, now: Instant, mut message: Message, topic: Option<Topic>) -> bool {
        message.version = self.transport.version();
        message.responder = false;
        if self.transport == Transport::Stream {
            let Ok(octets) = message.print() else { return false };
            self.replace(topic);
            self.push(octets.into(), topic);
            return true;
        }
        let Ok(octets) = message.print() else { return false };
        if topic.is_some() {
            let mut freed = 0;
            self.waiting.retain(|(_, other, octets)| {
                let stays = *other != topic;
                freed += if stays { 0 } else { *octets };
                stays
            });
            self.waiting_octets -= freed;
        }
        self.waiting_octets += octets.len();
        self.waiting.push_back((message, topic, octets.len()));
        self.go_on(now);
        true
    }

    /// Sends octets of a message over the stream that are shared with other connections.
    pub fn tell_octets(&mut self, octets: Bytes, topic: Option<Topic>) {
        self.replace(topic);
        self.push(octets, topic);
    }

    fn replace(&mut self, topic: Option<Topic>) {
        if topic.is_none() || self.outgoing.is_empty() {
            return;
        }
        let mut freed = 0;
        self.outgoing.retain(|outgoing| {
            let stays = outgoing.topic != topic;
            freed += if stays { 0 } else { outgoing.octets.len() };
            stays
        });
        self.outgoing_octets -= freed;
    }

    fn push(&mut self, octets: Bytes, topic: Option<Topic>) {
        self.outgoing_octets += octets.len();
        self.outgoing.push_back(Outgoing { octets, topic });
    }

    /// Sends the next request that waits, if there is none without an answer.
    fn go_on(&mut self, now: Instant) {
        let Transport::Datagram { mtu } = self.transport else { return };
        while self.asked.is_none() && !self.broken {
            let Some((message, _, octets)) = self.waiting.pop_front() else { return };
            self.waiting_octets -= octets;
            let Ok(datagrams) = fragments(&message, mtu) else { continue };
            let datagrams: Vec<Bytes> = datagrams.into_iter().map(Bytes::from).collect();
            for octets in &datagrams {
                self.push(octets.clone(), None);
            }
            let interval = self.trip.interval();
            self.asked = Some(Asked {
                transaction: message.transaction,
                datagrams,
                first: now,
                repeats: 0,
                interval,
                next: now + interval,
            });
        }
    }

    /// Octets that wait to be sent, also behind a request without an answer.
    pub fn backlog(&self) -> usize {
        self.outgoing_octets + self.waiting_octets
    }

    /// Octets to send: a whole message of the stream, or one datagram.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let Outgoing { octets, .. } = self.outgoing.pop_front()?;
        self.outgoing_octets -= octets.len();
        Some(octets)
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.answered.retain(|answered| answered.until > now);
        self.assemblies.retain(|(_, until)| *until > now);
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.next <= now) else { return };
        if asked.repeats == REPEATS {
            self.asked = None;
            self.broken = true;
            return;
        }
        asked.repeats += 1;
        asked.interval *= 2;
        asked.next = now + asked.interval;
        for octets in asked.datagrams.clone() {
            self.push(octets, None);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; never over a stream.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let asked = self.asked.as_ref().map(|asked| asked.next);
        let answered = self.answered.iter().map(|answered| answered.until).min();
        let assemblies = self.assemblies.iter().map(|(_, until)| *until).min();
        [asked, answered, assemblies].into_iter().flatten().min()
    }

    /// Whether the other end is taken for gone: a request over datagrams stayed without an answer (§8.3.1).
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}
