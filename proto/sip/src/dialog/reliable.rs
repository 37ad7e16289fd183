//! Reliable provisional responses, the side that sends them (RFC 3262 §3).

use crate::error::Error;
use crate::message::Message;
use crate::method::Method;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The reliable provisional responses to one INVITE: numbered, one under way at a time,
/// repeated until the PRACK is there.
#[derive(Debug)]
pub struct Provisionals {
    t1: Duration,
    cseq: u32,
    next_rseq: u32,
    waiting: Option<Waiting>,
    queue: VecDeque<Message>,
}

#[derive(Debug)]
struct Waiting {
    rseq: u32,
    message: Message,
    interval: Duration,
    at: Instant,
    give_up: Instant,
}

/// What is due.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is used at once, never kept")]
pub enum Repetition {
    /// Send this again.
    Again(Message),
    /// No PRACK for 64 * T1: refuse the INVITE with a 5xx (RFC 3262 §3).
    Lost,
}

/// Responses that may wait for the PRACK of the one before.
const MOST_QUEUED: usize = 16;

impl Provisionals {
    /// For an INVITE. The first RSeq is drawn from `random` (1 to 2^31 - 1).
    ///
    /// # Errors
    /// What is malformed in the INVITE's CSeq.
    pub fn new(invite: &Message, t1: Duration, random: u32) -> Result<Self, Error> {
        let next_rseq = (random >> 1).max(1);
        Ok(Self { t1, cseq: invite.cseq()?.number, next_rseq, waiting: None, queue: VecDeque::new() })
    }

    /// Whether the sender of the INVITE can take reliable responses.
    pub fn supported(invite: &Message) -> bool {
        invite.lists("Supported", "100rel") || invite.lists("Require", "100rel")
    }

    /// Makes a response of 101 to 199 reliable. Returns it if it is to be sent now; else it
    /// comes from [`acknowledged`](Self::acknowledged) later.
    ///
    /// # Errors
    /// [`Error::State`] for any other response; [`Error::Full`] if 16 are waiting.
    pub fn send(&mut self, now: Instant, mut response: Message) -> Result<Option<Message>, Error> {
        if !response.status().is_some_and(|s| (101..200).contains(&s)) {
            return Err(Error::State("only 101 to 199 are sent reliably"));
        }
        if self.queue.len() >= MOST_QUEUED {
            return Err(Error::Full);
        }
        if !response.lists("Require", "100rel") {
            response.push_back("Require", "100rel")?;
        }
        response.set_header("RSeq", &self.next_rseq.to_string())?;
        self.next_rseq = self.next_rseq.saturating_add(1);
        if self.waiting.is_some() {
            self.queue.push_back(response);
            return Ok(None);
        }
        self.wait(now, &response);
        Ok(Some(response))
    }

    fn wait(&mut self, now: Instant, response: &Message) {
        self.waiting = Some(Waiting {
            rseq: response.rseq().unwrap_or(0),
            message: response.clone(),
            interval: self.t1,
            at: now + self.t1,
            give_up: now + self.t1 * 64,
        });
    }

    /// Takes a PRACK: whether it fits, and the response to send next. Answer it 200 if it fits,
    /// else 481.
    pub fn acknowledged(&mut self, now: Instant, prack: &Message) -> (bool, Option<Message>) {
        let Ok(Some(rack)) = prack.rack() else { return (false, None) };
        let fits = |w: &mut Waiting| w.rseq == rack.rseq;
        if rack.method != Method::Invite || rack.cseq != self.cseq || self.waiting.take_if(fits).is_none() {
            return (false, None);
        }
        let next = self.queue.pop_front();
        if let Some(next) = &next {
            self.wait(now, next);
        }
        (true, next)
    }

    /// Whether a response waits for its PRACK. A 2xx with the answer must wait too if the
    /// reliable response carried the offer's answer (RFC 3262 §3).
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Stops all repetition: the INVITE has its final response.
    pub fn stop(&mut self) {
        self.waiting = None;
        self.queue.clear();
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|w| w.at)
    }

    /// What is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Repetition> {
        let waiting = self.waiting.as_mut().filter(|w| w.at <= now)?;
        if waiting.at >= waiting.give_up {
            self.stop();
            return Some(Repetition::Lost);
        }
        waiting.interval *= 2;
        waiting.at = (waiting.at + waiting.interval).min(waiting.give_up);
        Some(Repetition::Again(waiting.message.clone()))
    }
}
