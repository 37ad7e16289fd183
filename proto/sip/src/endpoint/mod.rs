//! The transaction layer and the transport rules above sockets: RFC 3261 §17 and §18 with
//! RFC 6026 (2xx of INVITE), RFC 3581 (rport), RFC 3263 (servers of a URI), RFC 5626 §5.4
//! (STUN where there is no connection).
//!
//! The endpoint retransmits, absorbs what is repeated, acknowledges refusals, answers what the
//! protocol alone can answer, and sheds load when its tables are full. Dialogs, routes and
//! media belong to whoever uses it.
//!
//! Left out: `maddr` in Via (a stranger could direct our answers by it) and multicast.
//!
//! Drain `poll_transmit`, `poll_event` and `poll_query` after each call; what queues up between
//! two drains is bounded by the transaction tables.

mod client;
mod clock;
mod config;
mod event;
mod resumed;
mod server;
mod stateless;
mod tally;

#[cfg(test)]
mod tests;

use crate::error::Error;
use crate::hop::{Hop, Input, Transmit};
use crate::line_ends::mend_line_ends;
use crate::locate::{Answer, Query, QueryId};
use crate::message::{Message, scan};
use crate::method::Method;
use crate::stun::Stun;
use crate::typed::Via;
use bytes::Bytes;
use carnet_wire::Random;
use client::Client;
use clock::Clock;
use server::{Confirmation, Server};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use client::Branch;
pub use config::{Answering, Config, SentBy, Timers};
pub use event::{ClientKey, Destination, Event, ServerKey, Silence};
pub use tally::{Finished, Tally};

/// What a deadline is for.
#[derive(Debug, Clone)]
enum Alarmed {
    ClientRetransmit(ClientKey),
    ClientTimeout(ClientKey),
    ServerRetransmit(ServerKey),
    ServerTimeout(ServerKey),
    /// A 2xx that waits for its ACK, by its dialog.
    Repeat(Arc<str>, ServerKey),
}

/// See the [crate] page.
pub struct Endpoint {
    config: Config,
    random: Box<dyn Random>,
    /// Keys the tags of stateless answers.
    secret: [u8; 16],
    next_key: u64,
    clients: HashMap<ClientKey, Client>,
    servers: HashMap<ServerKey, Server>,
    /// Servers by what identifies a request (RFC 3261 §17.2.3).
    matching: HashMap<Arc<str>, ServerKey>,
    /// 2xx of INVITE by dialog and CSeq.
    confirmations: HashMap<Arc<str>, Vec<Confirmation>>,
    /// Transactions without a final response.
    open_clients: usize,
    open_servers: usize,
    /// Transactions that only wait for repetitions, the oldest first.
    lingering_clients: VecDeque<ClientKey>,
    lingering_servers: VecDeque<ServerKey>,
    /// A 2xx of INVITE that fits nothing is told.
    watches_for_strays: bool,
    /// Requests that an earlier endpoint had sent, by the branches that it gave them.
    resumed: HashMap<Branch, ClientKey>,
    /// New requests by datagrams are left to be repeated.
    refrains: bool,
    /// How long the input at hand has waited.
    waited: Duration,
    /// What [`translated`](Endpoint::translated) says.
    translated: Option<SocketAddr>,
    clock: Clock<Alarmed>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    queries: VecDeque<Query>,
    searches: HashMap<QueryId, ClientKey>,
    tally: Tally,
    finished: VecDeque<Finished>,
}

/// How full an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Requests of ours without a final response.
    pub open_clients: usize,
    /// Requests of others without a final response.
    pub open_servers: usize,
    /// Transactions kept only to absorb repetitions.
    pub lingering: usize,
    /// Deadlines set.
    pub alarms: usize,
}

impl Endpoint {
    /// An endpoint with nothing under way.
    pub fn new(config: Config, mut random: Box<dyn Random>) -> Self {
        let mut secret = [0; 16];
        random.fill(&mut secret);
        Self {
            config,
            random,
            secret,
            next_key: 1,
            clients: HashMap::new(),
            servers: HashMap::new(),
            matching: HashMap::new(),
            confirmations: HashMap::new(),
            open_clients: 0,
            open_servers: 0,
            lingering_clients: VecDeque::new(),
            lingering_servers: VecDeque::new(),
            watches_for_strays: false,
            resumed: HashMap::new(),
            refrains: false,
            waited: Duration::ZERO,
            translated: None,
            clock: Clock::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            queries: VecDeque::new(),
            searches: HashMap::new(),
            tally: Tally::default(),
            finished: VecDeque::new(),
        }
    }

    /// What it was told.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How full it is.
    pub fn load(&self) -> Load {
        Load {
            open_clients: self.open_clients,
            open_servers: self.open_servers,
            lingering: self.clients.len() + self.servers.len() - self.open_clients - self.open_servers,
            alarms: self.clock.len(),
        }
    }

    /// How long the inputs that follow have waited for their turn, see [`Config::longest_wait`]. Zero until said
    /// otherwise.
    pub fn delayed(&mut self, waited: Duration) {
        self.waited = waited;
    }

    /// From where the neighbour whose response came last saw our request (RFC 3581 §4), if that is not where
    /// we said we are: somebody translates addresses on the way there.
    pub fn translated(&self) -> Option<SocketAddr> {
        self.translated
    }

    /// Takes one message in.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let Input { hop, data } = input;
        // Keep-alives in datagrams: RFC 5626 §5.4 has STUN, practice sends CRLF too.
        if !hop.transport.is_reliable() && Stun::is_stun(&data) {
            if let Some(Stun::Request(id, unknown)) = Stun::parse(&data) {
                let answer = Stun::answer(&id, &unknown, hop.remote);
                self.transmit(hop, answer);
            }
            return;
        }
        if data.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return;
        }
        let mended = if hop.transport.is_reliable() { None } else { mend_line_ends(&data) };
        let scanned = match scan(mended.unwrap_or(data), &self.config.limits) {
            Ok(scanned) => scanned,
            Err(error) => {
                self.tally.malformed += 1;
                return self.refused(hop, None, error);
            }
        };
        let mut message = scanned.message;
        let mut fault = scanned.fault;
        if fault.is_none() && hop.transport.is_reliable() && !message.has("Content-Length") {
            fault = Some(Error::Missing("Content-Length"));
        }
        self.tally.malformed += u64::from(fault.is_some());
        if message.is_response() {
            match fault {
                None => self.handle_response(now, hop, message),
                Some(error) => self.refused(hop, None, error),
            }
            return;
        }
        match (Self::mark_source(&mut message, &hop), fault) {
            (Some(via), None) => self.handle_request(now, hop, message, &via),
            (_, Some(error)) => self.refuse(&hop, &message, error),
            // A message without a fault has a Via.
            (None, None) => {}
        }
    }

    /// Runs what is due. Call it when [`poll_timeout`](Self::poll_timeout) has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(alarmed) = self.clock.due(now) {
            match alarmed {
                Alarmed::ClientRetransmit(key) => self.client_retransmit(now, key),
                Alarmed::ClientTimeout(key) => self.client_timeout(now, key),
                Alarmed::ServerRetransmit(key) => self.server_retransmit(now, key),
                Alarmed::ServerTimeout(key) => self.server_timeout(key),
                Alarmed::Repeat(dialog, key) => self.repeat_2xx(now, dialog, key),
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.clock.next()
    }

    /// The next octets to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next question for DNS.
    pub fn poll_query(&mut self) -> Option<Query> {
        self.queries.pop_front()
    }

    /// Takes DNS's answer. One that is not waited for any more is no matter.
    pub fn handle_answer(&mut self, now: Instant, id: QueryId, answer: Answer) {
        if let Some(key) = self.searches.remove(&id) {
            self.located(now, key, answer);
        }
    }

    /// The driver could not deliver to `hop`, or the connection closed.
    pub fn transport_failed(&mut self, now: Instant, hop: &Hop) {
        self.client_hop_failed(now, hop);
        self.server_hop_failed(hop);
    }

    fn handle_request(&mut self, now: Instant, hop: Hop, message: Message, via: &Via) {
        match message.method() {
            Method::Ack => self.handle_ack(now, hop, message, via),
            Method::Cancel => self.handle_cancel(hop, message, via),
            _ => self.handle_new_request(now, hop, message, via),
        }
    }

    fn fresh_key(&mut self) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        key
    }

    fn transmit(&mut self, hop: Hop, data: Bytes) {
        self.transmits.push_back(Transmit { hop, data });
    }

    fn refused(&mut self, hop: Hop, status: Option<u16>, error: Error) {
        self.count_refusal(&error);
        self.events.push_back(Event::Refused { hop, status, error });
    }
}
