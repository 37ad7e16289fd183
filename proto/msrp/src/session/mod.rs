//! One MSRP session over one connection (RFC 4975 §7).
//!
//! Octets from the connection go into [`Session::handle_input`], octets for it are pulled with
//! [`Session::poll_transmit`], what happened comes out of [`Session::poll_event`]. Body octets pass
//! through both ways: the session asks for those of our messages ([`Event::WantBody`]) and hands on
//! those of the peer ([`Event::Body`]), so the size of a message does not matter to memory.
//!
//! A slow reader slows the writer: while events wait, or a message is paused, input is not consumed;
//! the driver then stops reading and TCP does the rest.
//!
//! Several sessions on one connection (RFC 4975 §5.4) are not supported: each session here has a
//! connection of its own, which TLS-PSK with a key a session demands anyway.

mod answer;
mod arrive;
mod chunk;
mod depart;
mod naming;
#[cfg(test)]
mod tests;
mod types;

pub use types::{
    AbortReason, ArrivalKey, Config, Event, FailureReason, FailureReport, MessageKey, Outgoing, Size,
};

use crate::{Decoder, Error, Piece, Status};
use arrive::{Arrival, Concluding, Reading};
use bytes::Bytes;
use carnet_wire::Random;
use chunk::Chunk;
use depart::{Departure, Unanswered};
use std::collections::VecDeque;
use std::time::Instant;

/// One session over one connection.
pub struct Session {
    config: Config,
    random: Box<dyn Random>,
    decoder: Decoder,
    reading: Reading,
    arrivals: Vec<Arrival>,
    /// Messages that are complete and whose last chunk waits for an answer.
    concluding: Vec<Concluding>,
    departures: VecDeque<Departure>,
    /// Messages of which everything is written and some chunks are not answered.
    unanswered: Unanswered,
    /// Messages that were sent and for which reports may come, oldest first.
    awaiting: VecDeque<(MessageKey, String)>,
    /// Media types that the peer answered with 415.
    refused_types: Vec<String>,
    /// Nicknames the peer asked for and that are not answered.
    naming: Vec<(ArrivalKey, answer::Reply)>,
    /// The nickname we asked for and that is not answered.
    asked_name: Option<String>,
    /// Requests without an answer, in the order of their deadlines.
    transactions: VecDeque<Transaction>,
    /// Whole frames that go before any chunk: responses, reports, keep-alives.
    control: VecDeque<Vec<u8>>,
    control_octets: usize,
    /// The chunk that is being written.
    chunk: Option<Chunk>,
    /// Octets of heads and end lines that did not fit into the last transmit.
    pending: VecDeque<u8>,
    events: VecDeque<Event>,
    event_octets: usize,
    next_key: u64,
    closed: bool,
}

/// A request that waits for its response.
struct Transaction {
    tid: String,
    owner: Owner,
    /// `None` when no response is demanded (Failure-Report: partial).
    deadline: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Message(MessageKey),
    KeepAlive,
    Nickname,
}

impl Session {
    /// A session whose connection is open, or about to be.
    ///
    /// The endpoint that opened the connection must send something at once, so that the other can
    /// tell which session the connection is for (RFC 4975 §5.4): call [`Self::keep_alive`] when there
    /// is no message to send.
    pub fn new(mut config: Config, random: Box<dyn Random>) -> Self {
        config.chunk_size = config.chunk_size.max(chunk::UNINTERRUPTIBLE);
        let decoder = Decoder::new(config.limits.clone());
        Self {
            config,
            random,
            decoder,
            reading: Reading::Nothing,
            arrivals: Vec::new(),
            concluding: Vec::new(),
            departures: VecDeque::new(),
            unanswered: Unanswered::default(),
            awaiting: VecDeque::new(),
            refused_types: Vec::new(),
            naming: Vec::new(),
            asked_name: None,
            transactions: VecDeque::new(),
            control: VecDeque::new(),
            control_octets: 0,
            chunk: None,
            pending: VecDeque::new(),
            events: VecDeque::new(),
            event_octets: 0,
            next_key: 0,
            closed: false,
        }
    }

    /// Takes octets from the connection and returns how many were consumed.
    ///
    /// Fewer than given means: nobody reads. Keep the rest, stop reading from the connection, and try
    /// again after polling events, transmitting, or [`Self::resume`].
    pub fn handle_input(&mut self, _now: Instant, input: &[u8]) -> usize {
        let mut used = 0;
        while !self.closed && !self.is_stalled() {
            // At most what may still wait in events; the decoder does not mind where input is cut.
            let room = self.config.limits.event_octets.saturating_sub(self.event_octets);
            let rest = input.get(used..).unwrap_or_default();
            let rest = rest.get(..room.min(rest.len())).unwrap_or_default();
            let discard = !matches!(self.reading, Reading::Message(_));
            let piece = match self.decoder.decode(rest) {
                Ok((n, piece)) => {
                    used += n;
                    match piece {
                        None => None,
                        Some(Piece::Head(head)) => Some(Owned::Head(head)),
                        Some(Piece::Body(_)) if discard => continue,
                        Some(Piece::Body(data)) => Some(Owned::Body(Bytes::copy_from_slice(data))),
                        Some(Piece::End(flag)) => Some(Owned::End(flag)),
                    }
                }
                Err(error) => {
                    self.close(Some(error));
                    break;
                }
            };
            match piece {
                None if used == input.len() => break,
                None => {}
                Some(Owned::Head(head)) => self.head(head),
                Some(Owned::Body(data)) => self.body(data),
                Some(Owned::End(flag)) => self.end(flag),
            }
        }
        if self.closed { input.len() } else { used }
    }

    /// The connection ended, orderly or not.
    pub fn handle_closed(&mut self, _now: Instant) {
        self.close(None);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        // All requests get the same time, so those that ran out are at the front.
        while let Some(owner) = self.expired(now) {
            match owner {
                Owner::Message(key) => self.fail(key, FailureReason::TimedOut),
                Owner::KeepAlive => self.push_event(Event::KeptAlive { status: Status::TIMEOUT }),
                Owner::Nickname => self.nickname_answered(Status::TIMEOUT),
            }
        }
    }

    /// When [`Self::handle_timeout`] should be called, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.transactions.iter().find_map(|t| t.deadline)
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.event_octets = self.event_octets.saturating_sub(event.octets());
        Some(event)
    }

    /// Whether the session is over; nothing is sent or read any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Octets that the session holds in bodies, frames and events. Bounded by the limits, whatever the
    /// size of the messages.
    pub fn held_octets(&self) -> usize {
        let departures: usize = self.departures.iter().map(|d| d.queued).sum();
        departures + self.event_octets + self.control_octets + self.pending.len()
    }

    /// What the session was set up with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn expired(&mut self, now: Instant) -> Option<Owner> {
        let at = self.transactions.iter().position(|t| t.deadline.is_some())?;
        if self.transactions.get(at)?.deadline? > now {
            return None;
        }
        self.transactions.remove(at).map(|t| t.owner)
    }

    fn is_stalled(&self) -> bool {
        let limits = &self.config.limits;
        self.event_octets >= limits.event_octets
            || self.events.len() >= limits.events
            || self.control_octets >= limits.control_octets
            || self.reading_paused()
            || self.naming.len() >= naming::MOST
            // Whoever concludes makes room: a peer is not refused for being faster.
            || (!self.concluding.is_empty()
                && self.arrivals.len() + self.concluding.len() >= limits.arrivals)
    }

    fn push_event(&mut self, event: Event) {
        self.event_octets += event.octets();
        self.events.push_back(event);
    }

    fn push_control(&mut self, frame: Vec<u8>) {
        self.control_octets += frame.len();
        self.control.push_back(frame);
    }

    fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// 80 random bits as text. RFC 4975 §7.1: a transaction identifier has at least 64.
    fn new_ident(&mut self) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut octets = [0; 16];
        self.random.fill(&mut octets);
        octets.iter().map(|b| char::from(LETTERS[usize::from(b & 31)])).collect()
    }

    fn close(&mut self, error: Option<Error>) {
        if self.closed {
            return;
        }
        self.closed = true;
        for arrival in std::mem::take(&mut self.arrivals) {
            if !arrival.is_refused() {
                let reason = AbortReason::ConnectionLost;
                self.push_event(Event::Aborted { arrival: arrival.key, reason });
            }
        }
        let departures = std::mem::take(&mut self.departures).into_iter().filter(|d| !d.aborted);
        let written = std::mem::take(&mut self.unanswered).into_keys();
        for key in written.into_iter().chain(departures.map(|d| d.key)) {
            self.push_event(Event::Failed { key, reason: FailureReason::ConnectionLost });
        }
        self.concluding.clear();
        self.naming.clear();
        if let Some(nickname) = self.asked_name.take() {
            self.push_event(Event::NicknameAnswered { nickname, status: Status::TIMEOUT });
        }
        self.transactions.clear();
        self.control.clear();
        self.control_octets = 0;
        self.pending.clear();
        self.chunk = None;
        self.push_event(Event::Closed { error });
    }
}

/// A piece that does not borrow the decoder.
enum Owned {
    Head(crate::Head),
    Body(Bytes),
    End(crate::Continuation),
}
