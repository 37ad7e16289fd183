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

type Key = (SocketAddr, Bytes);

#[derive(Debug)]
struct Entry {
    /// Tells it from an earlier one of the same name.
    serial: u64,
    answer: Option<Bytes>,
}

/// The requests of the last while.
#[derive(Debug)]
pub struct Server {
    memory: Memory,
    known: HashMap<Key, Entry>,
    /// In the order in which they came, and those that were answered in the order of that. What has been
    /// forgotten since is passed over.
    came: VecDeque<(Instant, u64, Key)>,
    answered: VecDeque<(u64, Key)>,
    serial: u64,
    octets: usize,
}

impl Server {
    /// A server that has seen nothing.
    pub fn new(memory: Memory) -> Self {
        Self {
            memory,
            known: HashMap::new(),
            came: VecDeque::new(),
            answered: VecDeque::new(),
            serial: 0,
            octets: 0,
        }
    }

    /// A request came.
    pub fn received(&mut self, now: Instant, from: SocketAddr, cookie: &Bytes) -> Seen {
        self.forget(now);
        match self.known.get(&(from, cookie.clone())) {
            Some(Entry { answer: Some(answer), .. }) => return Seen::Answered(answer.clone()),
            Some(Entry { answer: None, .. }) => return Seen::Working,
            None => {}
        }
        while self.known.len() >= self.memory.requests {
            if !self.drop_oldest() {
                return Seen::Full;
            }
        }
        // The datagram that the cookie is a part of is not kept for it.
        let key = (from, Bytes::copy_from_slice(cookie));
        self.serial += 1;
        self.known.insert(key.clone(), Entry { serial: self.serial, answer: None });
        self.came.push_back((now, self.serial, key));
        self.tidy();
        Seen::New
    }

    /// A request was answered with that.
    pub fn answered(&mut self, from: SocketAddr, cookie: &Bytes, answer: Bytes) {
        let key = (from, cookie.clone());
        let Some(entry) = self.known.get_mut(&key) else { return };
        self.octets += answer.len();
        match entry.answer.replace(answer) {
            Some(before) => self.octets = self.octets.saturating_sub(before.len()),
            None => self.answered.push_back((entry.serial, (from, Bytes::copy_from_slice(cookie)))),
        }
        while self.octets > self.memory.octets {
            if !self.drop_oldest() {
                return;
            }
        }
    }

    /// A request will not be answered: when it comes again it is new.
    pub fn dropped(&mut self, from: SocketAddr, cookie: &Bytes) {
        let key = (from, cookie.clone());
        if self.known.get(&key).is_some_and(|entry| entry.answer.is_none()) {
            self.known.remove(&key);
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
        while self.came.front().is_some_and(|(at, ..)| *at + self.memory.keep <= now) {
            if let Some((_, serial, key)) = self.came.pop_front() {
                self.remove(serial, &key);
            }
        }
    }

    /// Forgets the one that was answered the longest ago; `false` if none is.
    fn drop_oldest(&mut self) -> bool {
        while let Some((serial, key)) = self.answered.pop_front() {
            if self.remove(serial, &key) {
                return true;
            }
        }
        false
    }

    fn remove(&mut self, serial: u64, key: &Key) -> bool {
        if self.known.get(key).is_none_or(|entry| entry.serial != serial) {
            return false;
        }
        if let Some(Entry { answer: Some(answer), .. }) = self.known.remove(key) {
            self.octets = self.octets.saturating_sub(answer.len());
        }
        true
    }

    /// Lets go of the names of what has been forgotten, once they are as many as what has not.
    fn tidy(&mut self) {
        let Self { known, came, answered, memory, .. } = self;
        let live = |serial: u64, key: &Key| known.get(key).is_some_and(|entry| entry.serial == serial);
        if came.len() > 2 * memory.requests {
            came.retain(|(_, serial, key)| live(*serial, key));
        }
        if answered.len() > 2 * memory.requests {
            answered.retain(|(serial, key)| live(*serial, key));
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

    /// However many come, and whatever becomes of them, the lists are no longer than twice what is remembered.
    #[test]
    fn what_is_forgotten_takes_no_room() {
        let now = Instant::now();
        let memory = Memory { requests: 10, octets: 1_000, ..Memory::default() };
        let mut server = Server::new(memory);
        for n in 0..1_000 {
            let cookie = Bytes::from(format!("c{n}"));
            assert_eq!(server.received(now, source(1), &cookie), Seen::New);
            match n % 2 {
                0 => server.dropped(source(1), &cookie),
                _ => server.answered(source(1), &cookie, vec![0; 10].into()),
            }
            assert!(server.came.len() <= 21 && server.answered.len() <= 21 && server.len() <= 10);
        }
        // One of the same name as one that was forgotten lives for as long as any other.
        let later = now + Duration::from_secs(20);
        let cookie = Bytes::from_static(b"c998");
        assert_eq!(server.received(later, source(1), &cookie), Seen::New);
        assert_eq!(server.received(now + Duration::from_secs(31), source(1), &cookie), Seen::Working);
        assert_eq!(server.received(later + Duration::from_secs(30), source(1), &cookie), Seen::New);
    }
}
