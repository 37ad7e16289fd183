//! Requests under way.
//!
//! ng runs over UDP: a request is repeated with the same cookie until it is answered, and rtpengine
//! answers a cookie that it knows as it did before. Sizes and numbers are bounded: a request too many is
//! refused at once.

use crate::bencode::Limits;
use crate::message::{Error, Message, Request, Response};
use bytes::Bytes;
use carnet_wire::{Random, hex};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Waits and bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Wait before a request is sent again, and after the last time before it is given up.
    pub again: Duration,
    /// How often a request is sent, at least once.
    pub attempts: u32,
    /// Requests under way at once.
    pub pending: usize,
}

impl Default for Timers {
    fn default() -> Self {
        Self { again: Duration::from_millis(250), attempts: 5, pending: 10_000 }
    }
}

/// Names a request of a client, and no other in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered(Response),
    /// It was answered with something that is no response.
    Unreadable(Error),
    /// It was not answered in time.
    Silence,
}

/// More requests are under way than may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests are under way")]
pub struct Full;

#[derive(Debug)]
struct Pending {
    id: RequestId,
    datagram: Bytes,
    again: Instant,
    left: u32,
}

/// The client of one rtpengine.
#[derive(Debug)]
pub struct Client {
    timers: Timers,
    next: u64,
    /// In front of each cookie, so that two clients do not share any.
    prefix: String,
    pending: HashMap<Bytes, Pending>,
    out: VecDeque<Bytes>,
    ended: VecDeque<(RequestId, Outcome)>,
}

impl Client {
    /// A client without requests.
    pub fn new(timers: Timers, random: &mut dyn Random) -> Self {
        let mut octets = [0; 6];
        random.fill(&mut octets);
        Self {
            timers,
            next: 0,
            prefix: hex::encode(&octets),
            pending: HashMap::new(),
            out: VecDeque::new(),
            ended: VecDeque::new(),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`Full`]
    pub fn request(&mut self, now: Instant, request: &Request) -> Result<RequestId, Full> {
        if self.pending.len() >= self.timers.pending {
            return Err(Full);
        }
        self.next += 1;
        let id = RequestId(self.next);
        let cookie = Bytes::from(format!("{}_{}", self.prefix, self.next));
        let datagram = Message::new(cookie.clone(), request.body()).to_bytes();
        let (again, left) = (now + self.timers.again, self.timers.attempts.saturating_sub(1));
        let pending = Pending { id, datagram: datagram.clone(), again, left };
        self.pending.insert(cookie, pending);
        self.out.push_back(datagram);
        Ok(id)
    }

    /// A datagram came. What nobody waits for, an answer that comes twice for instance, is dropped.
    pub fn received(&mut self, datagram: &Bytes) {
        let blank = datagram.iter().take(64).position(|b| *b == b' ');
        let cookie = datagram.get(..blank.unwrap_or(0)).unwrap_or_default();
        let Some(pending) = self.pending.remove(cookie) else { return };
        let response =
            Message::parse(datagram, &Limits::default()).and_then(|message| Response::of(&message.body));
        let outcome = match response {
            Ok(response) => Outcome::Answered(response),
            Err(error) => Outcome::Unreadable(error),
        };
        self.ended.push_back((pending.id, outcome));
    }

    /// When [`Self::elapsed`] wants to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.pending.values().map(|p| p.again).min()
    }

    /// Time has passed: requests are repeated or end.
    pub fn elapsed(&mut self, now: Instant) {
        let (out, ended, wait) = (&mut self.out, &mut self.ended, self.timers.again);
        self.pending.retain(|_, pending| {
            if pending.again > now {
                return true;
            }
            if pending.left == 0 {
                ended.push_back((pending.id, Outcome::Silence));
                return false;
            }
            out.push_back(pending.datagram.clone());
            pending.left -= 1;
            pending.again = now + wait;
            true
        });
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// The next request that ended.
    pub fn poll_outcome(&mut self) -> Option<(RequestId, Outcome)> {
        self.ended.pop_front()
    }

    /// Requests under way.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Command;

    struct Counting(u8);

    impl Random for Counting {
        fn fill(&mut self, buffer: &mut [u8]) {
            self.0 += 1;
            buffer.fill(self.0);
        }
    }

    fn client() -> (Client, Instant) {
        (Client::new(Timers::default(), &mut Counting(0)), Instant::now())
    }

    fn answer(request: &Bytes, response: &Response) -> Bytes {
        let message = Message::parse(request, &Limits::default()).unwrap();
        Message { body: response.body(), ..message }.to_bytes()
    }

    #[test]
    fn a_request_is_answered_once() {
        let (mut client, now) = client();
        let first = client.request(now, &Request::ping()).unwrap();
        let second = client.request(now, &Request::new(Command::Delete, "c", "a")).unwrap();
        let (one, two) = (client.poll_transmit().unwrap(), client.poll_transmit().unwrap());
        assert_ne!(one, two);
        // Answers may come in any order.
        client.received(&answer(&two, &Response::Refused { reason: "no".into() }));
        client.received(&answer(&one, &Response::Pong));
        client.received(&answer(&one, &Response::Pong));
        assert_eq!(
            client.poll_outcome(),
            Some((second, Outcome::Answered(Response::Refused { reason: "no".into() })))
        );
        assert_eq!(client.poll_outcome(), Some((first, Outcome::Answered(Response::Pong))));
        assert_eq!((client.poll_outcome(), client.pending(), client.deadline()), (None, 0, None));
    }

    #[test]
    fn a_request_is_repeated_and_then_given_up() {
        let (mut client, start) = client();
        let id = client.request(start, &Request::ping()).unwrap();
        let first = client.poll_transmit().unwrap();
        let mut sent = Vec::new();
        while let Some(at) = client.deadline() {
            client.elapsed(at);
            while let Some(datagram) = client.poll_transmit() {
                assert_eq!(datagram, first);
                sent.push((at - start).as_millis());
            }
        }
        assert_eq!(sent, [250, 500, 750, 1000]);
        assert_eq!(client.poll_outcome(), Some((id, Outcome::Silence)));
        // What comes late is for nobody.
        client.received(&answer(&first, &Response::Pong));
        assert_eq!(client.poll_outcome(), None);
    }

    #[test]
    fn rubbish_ends_only_what_it_names() {
        let (mut client, now) = client();
        let id = client.request(now, &Request::ping()).unwrap();
        let sent = client.poll_transmit().unwrap();
        for rubbish in [&b""[..], b"x", b" ", b"other d6:result4:ponge", &[b'y'; 70_000]] {
            client.received(&Bytes::copy_from_slice(rubbish));
        }
        assert_eq!(client.poll_outcome(), None);
        let cookie = sent.split(|b| *b == b' ').next().unwrap();
        client.received(&[cookie, b" d6:resul"].concat().into());
        assert!(matches!(client.poll_outcome(), Some((i, Outcome::Unreadable(Error::Syntax(_)))) if i == id));
    }

    #[test]
    fn requests_are_bounded_and_clients_differ() {
        let now = Instant::now();
        let mut random = Counting(0);
        let timers = Timers { pending: 2, ..Timers::default() };
        let mut one = Client::new(timers, &mut random);
        let mut other = Client::new(timers, &mut random);
        assert!(one.request(now, &Request::ping()).is_ok() && one.request(now, &Request::ping()).is_ok());
        assert_eq!(one.request(now, &Request::ping()), Err(Full));
        other.request(now, &Request::ping()).unwrap();
        assert_ne!(one.poll_transmit(), other.poll_transmit());
    }
}
