//! Client transactions (RFC 3261 §17.1, RFC 6026 §7.2): requests we send.

use super::clock::Alarm;
use super::{Alarmed, ClientKey, Destination, Endpoint, Event, Silence};
use crate::error::Error;
use crate::grammar::is_printable;
use crate::hop::{Hop, Transport};
use crate::locate::{Answer, Query, QueryId, Search};
use crate::message::Message;
use crate::method::Method;
use crate::typed::{MAGIC_COOKIE, Via};
use crate::uri::host_ip;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// DNS is being asked.
    Locating,
    /// Sent, nothing came back. `Calling` and `Trying` of §17.1.
    Calling,
    Proceeding,
    /// INVITE refused: repeated refusals are acknowledged again.
    Completed,
    /// INVITE accepted: 2xx of forks come through.
    Accepted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    No,
    /// To be sent when a provisional response is there (RFC 3261 §9.1).
    Wanted,
    Sent,
}

/// A 2xx, and the ACK we sent for it.
#[derive(Debug)]
struct Fork {
    to_tag: Box<str>,
    ack: Option<(Hop, Bytes)>,
}

/// What ACK and CANCEL take from their INVITE (RFC 3261 §9.1, §17.1.1.3).
#[derive(Debug)]
pub(super) struct Outline {
    uri: String,
    /// Via, Max-Forwards, Route, From and Call-ID lines.
    head: String,
    /// The To line.
    to: String,
    cseq: u32,
}

#[derive(Debug)]
pub(super) struct Client {
    state: State,
    method: Method,
    began: Instant,
    /// What its branch says: the number first, which is not that of its key if an earlier endpoint gave it, and the
    /// changing part.
    pub(super) branch: Branch,
    /// The INVITE a CANCEL or an ACK belongs to. These have no events of their own.
    parent: Option<ClientKey>,
    /// Whether it came to us with Via lines of others, as to a proxy.
    forwarded: bool,
    pub(super) hop: Option<Hop>,
    candidates: VecDeque<Hop>,
    /// Addresses of ours it may leave from; empty leaves it to the driver.
    locals: Vec<(Transport, SocketAddr)>,
    search: Option<Box<(QueryId, Search)>>,
    /// The request with our Via on top once it was sent; given up as soon as somebody answered.
    pub(super) request: Option<Box<Message>>,
    pub(super) outline: Option<Box<Outline>>,
    wire: Bytes,
    interval: Duration,
    retransmit: Option<Alarm>,
    timeout: Option<Alarm>,
    cancel: Cancel,
    /// Reason in the CANCEL (RFC 3326).
    reason: Option<Box<str>>,
    cancelling: Option<ClientKey>,
    forks: Vec<Fork>,
}

/// Forks of one INVITE that are told apart. Further ones are reported each time they come.
const MOST_FORKS: usize = 32;

impl Client {
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Completed | State::Accepted)
    }

    pub(super) fn is_invite(&self) -> bool {
        self.method == Method::Invite
    }
}

/// What tells a transaction of ours from every other (RFC 3261 §17.1.3), as text without the magic cookie. An endpoint that
/// comes after this one can [say it again](Endpoint::request_again).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Branch {
    number: u64,
    nonce: u64,
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:016x}", self.number, self.nonce)
    }
}

impl FromStr for Branch {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::State("no branch of ours");
        let (number, nonce) = text.split_once('.').ok_or_else(wrong)?;
        let read = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| wrong());
        Ok(Self { number: read(number)?, nonce: read(nonce)? })
    }
}

fn parse_branch(branch: &str) -> Option<Branch> {
    branch.strip_prefix(MAGIC_COOKIE)?.parse().ok()
}

impl Outline {
    pub(super) fn of(request: &Message) -> Self {
        let mut head = String::with_capacity(256);
        for (name, most) in [("Via", 1), ("Route", usize::MAX), ("From", 1), ("Call-ID", 1)] {
            for (name, value) in request.named(name).take(most) {
                head.push_str(name);
                head.push_str(": ");
                head.push_str(&String::from_utf8_lossy(value));
                head.push_str("\r\n");
            }
        }
        head.push_str("Max-Forwards: 70\r\n");
        let to = request.header_octets("To").map(String::from_utf8_lossy).unwrap_or_default();
        Self {
            uri: request.request_uri().map(ToString::to_string).unwrap_or_default(),
            head,
            to: format!("To: {to}\r\n"),
            cseq: request.cseq().map_or(0, |c| c.number),
        }
    }

    pub(super) fn build(&self, method: &str, to: &str) -> Bytes {
        let Self { uri, head, cseq, .. } = self;
        format!("{method} {uri} SIP/2.0\r\n{head}{to}CSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n")
            .into()
    }

    pub(super) fn cancel(&self, reason: Option<&str>) -> Bytes {
        match reason {
            Some(reason) => self.build("CANCEL", &format!("{}Reason: {reason}\r\n", self.to)),
            None => self.build("CANCEL", &self.to),
        }
    }

    pub(super) fn ack(&self, response: &Message) -> Bytes {
        let to = response.header_octets("To").map(String::from_utf8_lossy).unwrap_or_default();
        self.build("ACK", &format!("To: {to}\r\n"))
    }
}

/// Where a neighbour saw a request whose Via is `via`, if it was not sent from there to its eyes.
fn seen_elsewhere(via: &Via, hop: &Hop) -> Option<SocketAddr> {
    let ours = match host_ip(via.host()) {
        Some(ip) => SocketAddr::new(ip, via.port().unwrap_or_else(|| hop.transport.default_port())),
        // A name in sent-by says nothing of where we are.
        None => hop.local.filter(|local| !local.ip().is_unspecified())?,
    };
    let seen = SocketAddr::new(via.received()?, via.rport().flatten().unwrap_or(ours.port()));
    // A connection leaves from a port of its own in any case.
    let differs = if hop.transport.is_reliable() { seen.ip() != ours.ip() } else { seen != ours };
    differs.then_some(seen)
}

impl Endpoint {
    /// Sends a request: adds our Via (with `rport`), Max-Forwards if missing, and
    /// Content-Length on streams; retransmits; tries the next candidate when one fails, is
    /// silent or answers 503 (RFC 3263 §4.3).
    ///
    /// # Errors
    /// [`Error::Full`], or [`Error::State`] if `message` is a response, ACK or CANCEL.
    pub fn request(
        &mut self,
        now: Instant,
        message: Message,
        destination: Destination,
    ) -> Result<ClientKey, Error> {
        self.start(now, message, destination, None)
    }

    pub(super) fn start(
        &mut self,
        now: Instant,
        mut message: Message,
        destination: Destination,
        again: Option<Branch>,
    ) -> Result<ClientKey, Error> {
        if !message.is_request() || matches!(message.method(), Method::Ack | Method::Cancel) {
            return Err(Error::State("a request, not ACK or CANCEL, starts a transaction"));
        }
        if self.open_clients >= self.config.client_transactions {
            return Err(Error::Full);
        }
        if !message.has("Max-Forwards") {
            message.push_front("Max-Forwards", "70")?;
        }
        if let Some(software) = self.config.software.as_deref().filter(|_| !message.has("User-Agent")) {
            message.push_back("User-Agent", software)?;
        }
        Ok(self.begin(now, message, destination, (None, again)))
    }

    pub(super) fn begin(
        &mut self,
        now: Instant,
        message: Message,
        destination: Destination,
        (parent, again): (Option<ClientKey>, Option<Branch>),
    ) -> ClientKey {
        let key = ClientKey(self.fresh_key());
        let branch = again.unwrap_or(Branch { number: key.0, nonce: self.random.u64() });
        if again.is_some() {
            self.resumed.insert(branch, key);
        }
        let mut client = Client {
            state: State::Locating,
            method: message.method().clone(),
            began: now,
            branch,
            parent,
            forwarded: message.has("Via"),
            hop: None,
            candidates: VecDeque::new(),
            locals: Vec::new(),
            search: None,
            request: Some(Box::new(message)),
            outline: None,
            wire: Bytes::new(),
            interval: self.config.timers.t1,
            retransmit: None,
            timeout: None,
            cancel: Cancel::No,
            reason: None,
            cancelling: None,
            forks: Vec::new(),
        };
        self.open_clients += 1;
        let (uri, locals) = match destination {
            Destination::Hops(hops) => {
                client.candidates = hops.into();
                self.clients.insert(key, client);
                self.attempt(now, key, Silence::NoAddress);
                return key;
            }
            Destination::Uri(uri) => (uri, Vec::new()),
            Destination::From(uri, locals) => (uri, locals),
        };
        client.locals = locals;
        match Search::new(&uri, &self.config.transports) {
            Some(search) => {
                let patience = self.config.timers.locate;
                client.timeout = Some(self.clock.set(now + patience, Alarmed::ClientTimeout(key)));
                client.search = Some(Box::new((QueryId(0), search)));
                self.clients.insert(key, client);
                self.ask(now, key);
            }
            None => {
                self.clients.insert(key, client);
                self.give_up(key, Silence::NoAddress);
            }
        }
        key
    }

    /// Asks the next question of a search, or starts with what it found.
    fn ask(&mut self, now: Instant, key: ClientKey) {
        let id = QueryId(self.fresh_key());
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Some((asked, search)) = client.search.as_deref_mut() else { return };
        match search.next() {
            Ok(ask) => {
                *asked = id;
                self.searches.insert(id, key);
                self.queries.push_back(Query { id, ask });
            }
            Err(hops) => {
                client.search = None;
                self.clock.clear(&mut client.timeout);
                let widened = self.widened(key, hops);
                if let Some(client) = self.clients.get_mut(&key) {
                    client.candidates = widened;
                }
                self.attempt(now, key, Silence::NoAddress);
            }
        }
    }

    /// RFC 3261 §18.1.1: what does not fit a datagram goes over TCP, and over UDP if there is no
    /// TCP at the other side.
    fn widened(&self, key: ClientKey, hops: Vec<Hop>) -> VecDeque<Hop> {
        let request = self.clients.get(&key).and_then(|c| c.request.as_ref());
        let size = request.map_or(0, |r| r.length() + 100);
        let large = size > self.config.datagram && self.config.transports.contains(&Transport::Tcp);
        let mut out = VecDeque::with_capacity(hops.len());
        for hop in hops {
            if large && hop.transport == Transport::Udp {
                out.push_back(Hop { transport: Transport::Tcp, ..hop.clone() });
            }
            out.push_back(hop);
        }
        out
    }

    pub(super) fn located(&mut self, now: Instant, key: ClientKey, answer: Answer) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if let Some((_, search)) = client.search.as_deref_mut() {
            search.answer(answer, &mut self.random);
            self.ask(now, key);
        }
    }

    /// Sends the request to the next candidate, under a branch of its own (RFC 3263 §4.3).
    fn attempt(&mut self, now: Instant, key: ClientKey, otherwise: Silence) {
        let other = Branch { number: key.0, nonce: self.random.u64() };
        let Some(client) = self.clients.get_mut(&key) else { return };
        self.clock.clear(&mut client.retransmit);
        self.clock.clear(&mut client.timeout);
        let cancelled = client.cancel != Cancel::No;
        let next = if cancelled { None } else { client.candidates.pop_front() };
        let (Some(mut hop), Some(request)) = (next, client.request.as_mut()) else {
            return self.give_up(key, if cancelled { Silence::Cancelled } else { otherwise });
        };
        if hop.local.is_none() {
            let fits = |(transport, local): &&(Transport, SocketAddr)| {
                *transport == hop.transport && local.is_ipv4() == hop.remote.is_ipv4()
            };
            hop.local = client.locals.iter().find(fits).map(|(_, local)| *local);
        }
        if client.state != State::Locating {
            request.remove_first("Via");
            self.resumed.remove(&client.branch);
            client.branch = other;
        }
        client.state = State::Calling;
        let (host, port) = self.config.sent_by(&hop);
        let port = port.map(|p| format!(":{p}")).unwrap_or_default();
        let via =
            format!("SIP/2.0/{} {host}{port};branch={MAGIC_COOKIE}{};rport", hop.transport, client.branch);
        // A name in the configuration that cannot stand in a Via leaves the request without one,
        // which nobody would answer: that counts as no way out.
        if request.push_front("Via", &via).is_err() {
            return self.give_up(key, Silence::Unreachable);
        }
        if hop.transport.is_reliable() {
            request.ensure_content_length();
        }
        let wire = request.to_bytes();
        if client.method == Method::Ack {
            let (parent, tag) = (client.parent, request.to_tag().unwrap_or_default());
            return self.send_ack(key, parent, &tag, hop, wire);
        }
        client.wire = wire.clone();
        client.interval = self.config.timers.t1;
        if !hop.transport.is_reliable() {
            let at = now + client.interval;
            client.retransmit = Some(self.clock.set(at, Alarmed::ClientRetransmit(key)));
        }
        let patience = self.config.timers.patience();
        client.timeout = Some(self.clock.set(now + patience, Alarmed::ClientTimeout(key)));
        client.hop = Some(hop.clone());
        self.transmit(hop, wire);
    }

    /// Timers A and E.
    pub(super) fn client_retransmit(&mut self, now: Instant, key: ClientKey) {
        let t2 = self.config.timers.t2;
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.interval = match (client.is_invite(), client.state) {
            (true, _) => client.interval * 2,
            (false, State::Proceeding) => t2,
            (false, _) => (client.interval * 2).min(t2),
        };
        client.retransmit = Some(self.clock.set(now + client.interval, Alarmed::ClientRetransmit(key)));
        if let Some(hop) = client.hop.clone() {
            let wire = client.wire.clone();
            self.tally.requests_repeated += 1;
            self.transmit(hop, wire);
        }
    }

    /// Timers B, D, F, M, and the wait for DNS.
    pub(super) fn client_timeout(&mut self, now: Instant, key: ClientKey) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.timeout = None;
        match client.state {
            State::Locating => self.give_up(key, Silence::NoAddress),
            State::Calling => self.attempt(now, key, Silence::Timeout),
            State::Proceeding => {
                let cancelled = client.cancel == Cancel::Sent;
                self.give_up(key, if cancelled { Silence::Cancelled } else { Silence::Timeout });
            }
            State::Completed => self.end_client(key),
            State::Accepted => {
                self.end_client(key);
                self.events.push_back(Event::Ended { key });
            }
        }
    }

    /// Ends without a final response.
    fn give_up(&mut self, key: ClientKey, reason: Silence) {
        let own = self.clients.get(&key).is_some_and(|c| !matches!(c.method, Method::Cancel | Method::Ack));
        self.end_client(key);
        if own {
            self.count_silence(reason);
            self.events.push_back(Event::Unanswered { key, reason });
        }
    }

    fn end_client(&mut self, key: ClientKey) {
        let Some(mut client) = self.clients.remove(&key) else { return };
        self.resumed.remove(&client.branch);
        self.clock.clear(&mut client.retransmit);
        self.clock.clear(&mut client.timeout);
        if let Some((id, _)) = client.search.as_deref() {
            self.searches.remove(id);
        }
        if client.is_open() {
            self.open_clients -= 1;
        }
        if let Some(cancelling) = client.cancelling {
            self.end_client(cancelling);
        }
    }

    /// Keeps a finished INVITE for `patience` to absorb what is repeated; the oldest make room.
    fn linger_client(&mut self, now: Instant, key: ClientKey, state: State, patience: Duration) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if client.is_open() {
            self.open_clients -= 1;
        }
        client.state = state;
        client.request = None;
        client.wire = Bytes::new();
        client.candidates = VecDeque::new();
        self.clock.clear(&mut client.retransmit);
        self.clock.clear(&mut client.timeout);
        client.timeout = Some(self.clock.set(now + patience, Alarmed::ClientTimeout(key)));
        self.lingering_clients.push_back(key);
        while let Some(oldest) = self.lingering_clients.front().copied() {
            let accepted = self.clients.get(&oldest).map(|c| c.state == State::Accepted);
            if accepted.is_some() && self.lingering_clients.len() <= self.config.lingering {
                break;
            }
            self.lingering_clients.pop_front();
            self.end_client(oldest);
            if accepted == Some(true) {
                self.events.push_back(Event::Ended { key: oldest });
            }
        }
    }

    pub(super) fn handle_response(&mut self, now: Instant, hop: Hop, mut message: Message) {
        let (Ok(via), Some(status)) = (message.top_via(), message.status()) else { return };
        // RFC 3261 §17.1.3: by branch and method. What fits nothing is dropped (§18.1.2): a late
        // repetition, or a response that is not for us.
        let Some(branch) = via.branch().and_then(parse_branch) else { return };
        let key = self.resumed.get(&branch).copied().unwrap_or(ClientKey(branch.number));
        let key = match (message.method(), self.clients.get(&key)) {
            (Method::Cancel, Some(Client { cancelling: Some(cancel), .. })) => *cancel,
            _ => key,
        };
        let ours = |client: &&mut Client| {
            client.branch == branch && client.method == *message.method() && client.state != State::Locating
        };
        let Some(client) = self.clients.get_mut(&key).filter(ours) else {
            return self.stray(message, status, hop);
        };
        if client.method == Method::Cancel {
            // The answer to a CANCEL matters only in that it ends the retransmissions.
            if status >= 200 {
                self.end_client(key);
            }
            return;
        }
        self.translated = seen_elsewhere(&via, &hop);
        message.remove_first("Via");
        if !client.forwarded && message.has("Via") {
            // RFC 3261 §8.1.3.3: went astray, or somebody made it up.
            return;
        }
        match status {
            100..=199 => self.provisional(now, key, hop, message),
            200..=299 if client.is_invite() => self.accepted(now, key, hop, message),
            _ => self.final_response(now, key, hop, message),
        }
    }

    fn provisional(&mut self, now: Instant, key: ClientKey, hop: Hop, message: Message) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if !client.is_open() {
            return;
        }
        if client.state == State::Calling {
            client.state = State::Proceeding;
            client.candidates = VecDeque::new();
            if client.is_invite() {
                // Nothing is retransmitted any more: keep what ACK and CANCEL need.
                self.clock.clear(&mut client.retransmit);
                self.clock.clear(&mut client.timeout);
                client.outline = client.request.take().map(|r| Box::new(Outline::of(&r)));
                client.wire = Bytes::new();
            }
            if client.cancel == Cancel::Wanted {
                self.send_cancel(now, key);
            }
        }
        if message.status() != Some(100) {
            self.events.push_back(Event::Response { key, message, hop });
        }
    }

    fn accepted(&mut self, now: Instant, key: ClientKey, hop: Hop, message: Message) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if client.state == State::Completed {
            return;
        }
        let tag = message.to_tag().unwrap_or_default().into_boxed_str();
        if let Some(fork) = client.forks.iter().find(|f| f.to_tag == tag) {
            // RFC 3261 §13.2.2.4: each repetition is acknowledged again.
            if let Some((hop, ack)) = fork.ack.clone() {
                self.transmit(hop, ack);
            }
            return;
        }
        if client.forks.len() < MOST_FORKS {
            // One is what most have, and it is kept for half a minute.
            client.forks.reserve_exact(1);
            client.forks.push(Fork { to_tag: tag, ack: None });
        }
        if client.state != State::Accepted {
            let patience = self.config.timers.patience();
            client.outline = None;
            let began = client.began;
            self.finish(now, began, true, Method::Invite, message.status().unwrap_or_default());
            self.linger_client(now, key, State::Accepted, patience);
        }
        self.events.push_back(Event::Response { key, message, hop });
    }

    fn final_response(&mut self, now: Instant, key: ClientKey, hop: Hop, message: Message) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Some(target) = client.hop.clone() else { return };
        let (began, method) = (client.began, client.method.clone());
        if client.is_invite() {
            if client.state == State::Accepted {
                return;
            }
            let request = client.request.as_deref();
            let outline = client.outline.take().or_else(|| request.map(|r| Box::new(Outline::of(r))));
            let ack = match (&outline, client.state) {
                (_, State::Completed) => client.wire.clone(),
                (Some(outline), _) => outline.ack(&message),
                (None, _) => return,
            };
            self.transmit(target.clone(), ack.clone());
            if !self.clients.get(&key).is_some_and(Client::is_open) {
                return;
            }
            if message.status() == Some(503) && self.try_next(now, key) {
                return;
            }
            if target.transport.is_reliable() {
                self.end_client(key);
            } else {
                let patience = self.config.timers.d;
                self.linger_client(now, key, State::Completed, patience);
                if let Some(client) = self.clients.get_mut(&key) {
                    client.wire = ack;
                }
            }
        } else {
            if message.status() == Some(503) && self.try_next(now, key) {
                return;
            }
            // Repetitions of the response fit nothing then and are dropped, which is all that
            // Timer K would do with them.
            self.end_client(key);
        }
        self.finish(now, began, true, method, message.status().unwrap_or_default());
        self.events.push_back(Event::Response { key, message, hop });
    }

    /// Goes on with the next candidate after a 503, if there is one.
    fn try_next(&mut self, now: Instant, key: ClientKey) -> bool {
        let Some(client) = self.clients.get(&key) else { return false };
        let more = !client.candidates.is_empty() && client.request.is_some() && client.cancel == Cancel::No;
        if more {
            self.attempt(now, key, Silence::Unreachable);
        }
        more
    }

    /// Sends the ACK to a 2xx of the INVITE `key`: adds our Via under a branch of its own. As
    /// long as the INVITE is remembered the ACK is repeated whenever the 2xx is (RFC 3261
    /// §13.2.2.4); if the INVITE is not known any more the ACK goes out once.
    ///
    /// # Errors
    /// [`Error::State`] if `message` is not an ACK.
    pub fn ack(
        &mut self,
        now: Instant,
        key: ClientKey,
        mut message: Message,
        destination: Destination,
    ) -> Result<(), Error> {
        if *message.method() != Method::Ack || !message.is_request() {
            return Err(Error::State("not an ACK"));
        }
        if !message.has("Max-Forwards") {
            message.push_front("Max-Forwards", "70")?;
        }
        self.begin(now, message, destination, (Some(key), None));
        Ok(())
    }

    fn send_ack(&mut self, key: ClientKey, parent: Option<ClientKey>, tag: &str, hop: Hop, wire: Bytes) {
        self.end_client(key);
        let parent = parent.and_then(|k| self.clients.get_mut(&k));
        if let Some(fork) = parent.and_then(|c| c.forks.iter_mut().find(|f| *f.to_tag == *tag)) {
            fork.ack = Some((hop.clone(), wire.clone()));
        }
        self.transmit(hop, wire);
    }

    /// Gives an INVITE up. CANCEL goes out when a provisional response is there, under the
    /// INVITE's branch (RFC 3261 §9.1). A final response still comes: 487 as a rule, a 2xx if it
    /// crossed, or [`Silence::Cancelled`] after 64 * T1.
    ///
    /// # Errors
    /// [`Error::Gone`] if the INVITE has its final response already; [`Error::State`] if the
    /// request is not an INVITE.
    pub fn cancel(&mut self, now: Instant, key: ClientKey) -> Result<(), Error> {
        let client = self.clients.get_mut(&key).filter(|c| c.is_open()).ok_or(Error::Gone)?;
        if !client.is_invite() {
            return Err(Error::State("only INVITE can be cancelled"));
        }
        match (client.state, client.cancel) {
            (State::Locating, _) => self.give_up(key, Silence::Cancelled),
            (State::Proceeding, Cancel::No) => self.send_cancel(now, key),
            (_, Cancel::No) => client.cancel = Cancel::Wanted,
            _ => {}
        }
        Ok(())
    }

    /// The same with a Reason header, for instance `SIP;cause=200;text="Call completed elsewhere"`
    /// (RFC 3326 §2).
    ///
    /// # Errors
    /// Those of [`cancel`](Self::cancel), and [`Error::Unprintable`] if the reason holds CR, LF
    /// or NUL.
    pub fn cancel_with_reason(&mut self, now: Instant, key: ClientKey, reason: &str) -> Result<(), Error> {
        if !is_printable(reason.as_bytes()) {
            return Err(Error::Unprintable("a reason"));
        }
        if let Some(client) = self.clients.get_mut(&key).filter(|c| c.cancel == Cancel::No) {
            client.reason = Some(reason.into());
        }
        self.cancel(now, key)
    }

    fn send_cancel(&mut self, now: Instant, key: ClientKey) {
        let cancel_key = ClientKey(self.fresh_key());
        let timers = self.config.timers;
        let Some(client) = self.clients.get_mut(&key) else { return };
        let (Some(hop), Some(outline)) = (client.hop.clone(), client.outline.as_ref()) else { return };
        let wire = outline.cancel(client.reason.as_deref());
        client.cancel = Cancel::Sent;
        client.cancelling = Some(cancel_key);
        // RFC 3261 §9.1: an INVITE without a final response 64 * T1 later counts as ended.
        self.clock.clear(&mut client.timeout);
        client.timeout = Some(self.clock.set(now + timers.patience(), Alarmed::ClientTimeout(key)));
        let branch = client.branch;
        let unreliable = !hop.transport.is_reliable();
        let retransmit =
            unreliable.then(|| self.clock.set(now + timers.t1, Alarmed::ClientRetransmit(cancel_key)));
        let timeout = self.clock.set(now + timers.patience(), Alarmed::ClientTimeout(cancel_key));
        self.open_clients += 1;
        self.clients.insert(
            cancel_key,
            Client {
                state: State::Calling,
                method: Method::Cancel,
                began: now,
                branch,
                parent: Some(key),
                forwarded: false,
                hop: Some(hop.clone()),
                candidates: VecDeque::new(),
                locals: Vec::new(),
                search: None,
                request: None,
                outline: None,
                wire: wire.clone(),
                interval: timers.t1,
                retransmit,
                timeout: Some(timeout),
                cancel: Cancel::No,
                reason: None,
                cancelling: None,
                forks: Vec::new(),
            },
        );
        self.transmit(hop, wire);
    }

    pub(super) fn client_hop_failed(&mut self, now: Instant, failed: &Hop) {
        let hit = |c: &Client| c.is_open() && c.hop.as_ref().is_some_and(|h| h.fails_with(failed));
        let mut keys: Vec<_> = self.clients.iter().filter(|(_, c)| hit(c)).map(|(k, _)| *k).collect();
        keys.sort_unstable();
        for key in keys {
            match self.clients.get(&key).map(|c| c.state) {
                // Somebody had the request already: another one must not get it too.
                Some(State::Proceeding) => self.give_up(key, Silence::Unreachable),
                Some(_) => self.attempt(now, key, Silence::Unreachable),
                None => {}
            }
        }
    }
}
