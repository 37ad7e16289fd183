//! Requests that come twice: a client repeats over UDP what is not answered in time, and must get the
//! answer it would have had, not a second offer.
//!
//! A request is known by its cookie and by who sent it. Answers are kept for a while; how many, and how many
//! octets of them, is bounded, and the oldest go first.

use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Times and bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// How long a request is remembered: longer than any client repeats it.
    pub keep: Duration,
    /// Requests remembered.
    pub requests: usize,
    /// Octets of answers remembered.
    pub octets: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { keep: Duration::from_secs(30), requests: 65_536, octets: 64 << 20 }
    }
}

/// What a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It has not been seen before.
    New,
    /// It is being worked on: its answer will come.
    Working,
    /// It was answered; the same again.
    Answered(Bytes),
    /// As many as can be remembered are being worked on: it is to be dropped, and will come again.
    Full,
}

/// The requests of the last while.
#[derive(Debug)]
pub struct Server {
    memory: Memory,
    known: HashMap<(SocketAddr, Bytes), Option<Bytes>>,
    /// In the order in which they came.
    order: VecDeque<(Instant, (SocketAddr, Bytes))>,
    octets: usize,
}

impl Server {
    /// A server that has seen nothing.
    pub fn new(memory: Memory) -> Self {
        Self { memory, known: HashMap::new(), order: VecDeque::new(), octets: 0 }
    }

    /// A request came.
    pub fn received(&mut self, now: Instant, from: SocketAddr, cookie: &Bytes) -> Seen {
        self.forget(now);
        match self.known.get(&(from, cookie.clone())) {
            Some(Some(answer)) => return Seen::Answered(answer.clone()),
            Some(None) => return Seen::Working,
            None => {}
        }
        while self.known.len() >= self.memory.requests {
            if !self.drop_oldest() {
                return Seen::Full;
            }
        }
        // The datagram that the cookie is a part of is not kept for it.
        let key = (from, Bytes::copy_from_slice(cookie));
        self.known.insert(key.clone(), None);
        self.order.push_back((now, key));
        Seen::New
    }

    /// A request was answered with that.
    pub fn answered(&mut self, from: SocketAddr, cookie: &Bytes, answer: Bytes) {
        let Some(known) = self.known.get_mut(&(from, cookie.clone())) else { return };
        self.octets += answer.len();
        *known = Some(answer);
        while self.octets > self.memory.octets {
            if !self.drop_oldest() {
                return;
            }
        }
    }

    /// A request will not be answered: when it comes again it is new.
    pub fn dropped(&mut self, from: SocketAddr, cookie: &Bytes) {
        if self.known.get(&(from, cookie.clone())) == Some(&None) {
            self.known.remove(&(from, cookie.clone()));
            // Mostly the last that came: nothing is looked through for it when many have to be dropped.
            let at = self.order.iter().rposition(|(_, (f, c))| (f, c) == (&from, cookie));
            at.and_then(|at| self.order.remove(at));
        }
    }

    /// Requests remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| *at + self.memory.keep <= now) {
            if let Some((_, key)) = self.order.pop_front() {
                self.remove(&key);
            }
        }
    }

    /// Forgets the oldest that was answered, and what is older and was not; `false` if none was.
    fn drop_oldest(&mut self) -> bool {
        let answered =
            |(_, key): &(Instant, (SocketAddr, Bytes))| self.known.get(key).is_some_and(Option::is_some);
        let Some(at) = self.order.iter().position(answered) else { return false };
        if let Some((_, key)) = self.order.remove(at) {
            self.remove(&key);
        }
        true
    }

    fn remove(&mut self, key: &(SocketAddr, Bytes)) {
        if let Some(Some(answer)) = self.known.remove(key) {
            self.octets = self.octets.saturating_sub(answer.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_request_that_comes_twice_has_one_answer() {
        let now = Instant::now();
        let mut server = Server::new(Memory::default());
        let cookie = Bytes::from_static(b"5323_1");
        assert_eq!(server.received(now, source(1), &cookie), Seen::New);
        assert_eq!(server.received(now, source(1), &cookie), Seen::Working);
        assert_eq!(server.received(now, source(2), &cookie), Seen::New, "another client's");
        server.answered(source(1), &cookie, Bytes::from_static(b"pong"));
        let again = Seen::Answered(Bytes::from_static(b"pong"));
        assert_eq!(server.received(now + Duration::from_secs(29), source(1), &cookie), again);
        assert_eq!(server.received(now + Duration::from_secs(30), source(1), &cookie), Seen::New);
        server.dropped(source(1), &cookie);
        assert_eq!(server.received(now + Duration::from_secs(30), source(1), &cookie), Seen::New);
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let memory = Memory { requests: 10, octets: 100, ..Memory::default() };
        let mut server = Server::new(memory);
        let cookie = |n: usize| Bytes::from(format!("c{n}"));
        for n in 0..10 {
            assert_eq!(server.received(now, source(1), &cookie(n)), Seen::New);
        }
        assert_eq!(server.received(now, source(1), &cookie(10)), Seen::Full);
        server.answered(source(1), &cookie(4), vec![0; 50].into());
        assert_eq!(server.received(now, source(1), &cookie(10)), Seen::New, "an answered one makes room");
        assert_eq!(server.received(now, source(1), &cookie(0)), Seen::Working);
        for n in [0, 1, 2] {
            server.answered(source(1), &cookie(n), vec![0; 40].into());
        }
        assert_eq!(server.len(), 9, "the oldest answer went");
        assert!(matches!(server.received(now, source(1), &cookie(2)), Seen::Answered(_)));
        assert_eq!(server.received(now + Duration::from_secs(31), source(1), &cookie(50)), Seen::New);
        assert_eq!(server.len(), 1);
    }
}
