//! What all sockets of a server have in common: who may ask, what is under way, counters.

use super::server::{NgRequest, NgTally, NgToken};
use bytes::Bytes;
use carnet_ng::{Form, Limits, Memory, Message, Request, Response, Seen, Server, Value};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Octets of one request.
pub(super) const MAX_REQUEST: usize = 256 << 10;
/// Requests under way; more are not taken.
const MOST_ASKED: usize = 16_384;
/// Connections at once, and of one address.
const MOST_CONNECTIONS: usize = 1_024;
pub(super) const MOST_OF_SOURCE: usize = 256;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// A message from its first octet to its last, an answer to be written.
    pub(super) patience: Duration,
    /// A connection without a word.
    pub(super) silence: Duration,
    /// A request until it is answered; one that takes longer is one that something went wrong with.
    pub(super) longest: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            silence: Duration::from_secs(600),
            longest: Duration::from_secs(10),
        }
    }
}

/// A request that came in a datagram.
pub(super) struct Asked {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) cookie: Bytes,
    pub(super) form: Form,
}

/// A request that came over a connection.
pub(super) struct Waits {
    /// Repeated in the answer, where there is one.
    pub(super) cookie: Option<Bytes>,
    pub(super) form: Form,
    pub(super) to: mpsc::Sender<Outgoing>,
    /// Room among the requests of the connection, free again when the answer has been written.
    pub(super) room: OwnedSemaphorePermit,
}

/// An answer on its way out.
pub(super) struct Outgoing {
    pub(super) octets: Bytes,
    pub(super) form: Form,
    pub(super) _room: OwnedSemaphorePermit,
}

/// A request under way.
pub(super) enum Taken {
    Datagram(Asked),
    Connection(Waits),
}

impl Waits {
    pub(super) fn answer(self, body: &Value) {
        let Self { cookie, form, to, room } = self;
        let octets = match cookie {
            Some(cookie) => Message { cookie, form, body: body.clone() }.to_bytes(),
            None => form.write(body),
        };
        // One who has gone needs no answer; there is room for as many as may be under way.
        let _ = to.try_send(Outgoing { octets, form, _room: room });
    }
}

/// Why a request over a connection was not taken.
pub(super) enum NotTaken {
    /// Answered already.
    Answered,
    /// The token is missing or another one.
    Token(Waits),
    /// It cannot be answered at all.
    Unreadable,
    /// There is no room.
    Full(Waits),
}

/// See the module.
pub(super) struct Shared {
    peers: Vec<(IpAddr, u8)>,
    token: Option<NgToken>,
    times: Times,
    events: mpsc::Sender<NgRequest>,
    state: Mutex<State>,
}

/// A connection that was let in; it counts until this is dropped.
pub(super) struct Admitted {
    shared: Arc<Shared>,
    from: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.open = state.open.saturating_sub(1);
        match state.connections.get_mut(&self.from) {
            Some(several) if *several > 1 => *several -= 1,
            _ => drop(state.connections.remove(&self.from)),
        }
    }
}

struct State {
    next: u64,
    asked: HashMap<u64, (Instant, Taken)>,
    datagrams: Server,
    tally: NgTally,
    connections: HashMap<IpAddr, usize>,
    open: usize,
}

impl Shared {
    pub(super) fn new(
        peers: Vec<(IpAddr, u8)>,
        token: Option<NgToken>,
        times: Times,
        events: mpsc::Sender<NgRequest>,
    ) -> Self {
        let state = State {
            next: 0,
            asked: HashMap::new(),
            datagrams: Server::new(Memory::default()),
            tally: NgTally::default(),
            connections: HashMap::new(),
            open: 0,
        };
        Self { peers, token, times, events, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn events(&self) -> &mpsc::Sender<NgRequest> {
        &self.events
    }

    pub(super) fn times(&self) -> Times {
        self.times
    }

    /// Whether a token has to be known.
    pub(super) fn wants_token(&self) -> bool {
        self.token.is_some()
    }

    pub(super) fn tally(&self) -> NgTally {
        self.state().tally
    }

    pub(super) fn count(&self, what: impl FnOnce(&mut NgTally)) {
        what(&mut self.state().tally);
    }

    /// Whether that address may ask.
    pub(super) fn admits(&self, from: IpAddr) -> bool {
        self.peers.iter().any(|(ip, bits)| begins_alike(from, *ip, *bits))
    }

    /// Whether these octets are the token, in a time that does not tell how much of it is right. Always,
    /// where there is none.
    pub(super) fn knows(&self, offered: Option<&[u8]>) -> bool {
        let Some(NgToken(token)) = &self.token else { return true };
        let Some(offered) = offered else { return false };
        let token = token.as_bytes();
        let differ = token.iter().enumerate().fold(token.len() ^ offered.len(), |differ, (at, octet)| {
            differ | usize::from(octet ^ offered.get(at).unwrap_or(&0))
        });
        std::hint::black_box(differ) == 0
    }

    /// Nothing that is under way is answered any more.
    pub(super) fn close(&self) {
        self.state().asked.clear();
    }

    pub(super) fn take(&self, number: u64) -> Option<Taken> {
        self.state().asked.remove(&number).map(|(_, taken)| taken)
    }

    /// Ends what has waited for its answer for too long: over a connection with an error; a datagram is as one
    /// that did not come, and will be taken when it comes again.
    pub(super) fn give_up(&self, now: Instant) {
        // A little later than HTTP, which has a status for it and a clock of its own.
        let longest = self.times.longest + self.times.longest / 4;
        let mut late = Vec::new();
        let mut state = self.state();
        for (_, (_, taken)) in state.asked.extract_if(|_, (since, _)| *since + longest <= now) {
            late.push(taken);
        }
        state.tally.overdue += late.len() as u64;
        for taken in late {
            match taken {
                Taken::Datagram(asked) => state.datagrams.dropped(asked.remote, &asked.cookie),
                Taken::Connection(waits) => waits.answer(&refusal("there was no answer in time")),
            }
        }
    }

    /// A datagram of somebody who may ask: whether it was seen before.
    pub(super) fn seen(&self, from: SocketAddr, cookie: &Bytes) -> Seen {
        self.state().datagrams.received(Instant::now(), from, cookie)
    }

    /// The answer to a datagram, kept for those who ask again.
    pub(super) fn answered(&self, from: SocketAddr, cookie: &Bytes, answer: Bytes) {
        self.state().datagrams.answered(from, cookie, answer);
    }

    /// A datagram will not be answered.
    pub(super) fn dropped(&self, from: SocketAddr, cookie: &Bytes) {
        self.state().datagrams.dropped(from, cookie);
    }

    /// Takes note of a request; its number, if there is room.
    pub(super) fn enter(&self, taken: Taken) -> Result<u64, Taken> {
        let mut state = self.state();
        if state.asked.len() >= MOST_ASKED {
            state.tally.crowded += 1;
            return Err(taken);
        }
        state.next += 1;
        let number = state.next;
        state.asked.insert(number, (Instant::now(), taken));
        state.tally.taken += 1;
        Ok(number)
    }

    /// Lets a connection in, if its address may ask and there is room.
    pub(super) fn connected(self: &Arc<Self>, from: IpAddr) -> Option<Admitted> {
        let admitted = self.admits(from);
        let mut state = self.state();
        if !admitted {
            state.tally.strangers += 1;
            return None;
        }
        let of_source = state.connections.get(&from).copied().unwrap_or_default();
        if state.open >= MOST_CONNECTIONS || of_source >= MOST_OF_SOURCE {
            state.tally.crowded += 1;
            return None;
        }
        state.open += 1;
        state.connections.insert(from, of_source + 1);
        Some(Admitted { shared: self.clone(), from })
    }

    /// Takes a request of a connection, or answers it. `proved` if the connection has shown the token.
    pub(super) fn ask(
        &self,
        from: SocketAddr,
        octets: &Bytes,
        with_cookie: bool,
        proved: bool,
        (to, room): (&mpsc::Sender<Outgoing>, OwnedSemaphorePermit),
    ) -> Result<NgRequest, NotTaken> {
        let limits = Limits::default();
        let read = match with_cookie {
            true => Message::parse(octets, &limits).map(|m| (Some(m.cookie), m.form, m.body)),
            false => Form::parse(octets, &limits).map(|(form, body)| (None, form, body)),
        };
        let Ok((cookie, form, mut body)) = read else {
            self.count(|tally| tally.malformed += 1);
            return Err(NotTaken::Unreadable);
        };
        let waits = Waits { cookie, form, to: to.clone(), room };
        let word = body.get("token").and_then(Value::as_octets);
        if !proved && !self.knows(word.map(AsRef::as_ref)) {
            self.count(|tally| tally.without_token += 1);
            return Err(NotTaken::Token(waits));
        }
        // It has done its work: nothing further in is to see it.
        if let Value::Dictionary(entries) = &mut body {
            entries.retain(|(key, _)| key.as_ref() != b"token");
        }
        let request = match Request::of(&body) {
            Ok(request) => request,
            Err(error) => {
                waits.answer(&Response::Refused { reason: error.to_string() }.body());
                self.count(|tally| tally.malformed += 1);
                return Err(NotTaken::Answered);
            }
        };
        match self.enter(Taken::Connection(waits)) {
            Ok(number) => Ok(NgRequest { number, from, request }),
            Err(Taken::Connection(waits)) => Err(NotTaken::Full(waits)),
            Err(Taken::Datagram(_)) => Err(NotTaken::Unreadable),
        }
    }
}

/// Whether the leading bits of two addresses are the same.
fn begins_alike(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (a.to_canonical(), b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (u32::from(a) ^ u32::from(b)).checked_shr(32u32.saturating_sub(bits)).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (u128::from(a) ^ u128::from(b)).checked_shr(128u32.saturating_sub(bits)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// An answer that says that something went wrong.
pub(super) fn refusal(reason: &str) -> Value {
    Response::Refused { reason: reason.to_owned() }.body()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_compared_by_their_bits() {
        for (a, b, bits, same) in [
            ("127.9.9.9", "127.0.0.0", 8, true),
            ("128.0.0.1", "127.0.0.0", 8, false),
            ("192.0.2.1", "192.0.2.1", 32, true),
            ("192.0.2.0", "192.0.2.1", 32, false),
            ("192.0.2.0", "192.0.2.1", 31, true),
            ("203.0.113.1", "192.0.2.1", 0, true),
            ("::ffff:127.0.0.1", "127.0.0.0", 8, true),
            ("::1", "::1", 128, true),
            ("::2", "::1", 128, false),
            ("2001:db8::5", "2001:db8::", 32, true),
            ("::1", "0.0.0.0", 0, false),
        ] {
            assert_eq!(begins_alike(a.parse().unwrap(), b.parse().unwrap(), bits), same, "{a} {b}/{bits}");
        }
    }

    #[test]
    fn the_token_is_the_whole_word() {
        let (events, _received) = mpsc::channel(1);
        let with = |token: Option<&str>| {
            let token = token.map(|t| NgToken::new(t.to_owned().into()));
            Shared::new(Vec::new(), token, Times::default(), events.clone())
        };
        let shared = with(Some("0123456789abcdef"));
        assert!(shared.knows(Some(b"0123456789abcdef")));
        for wrong in
            [&b""[..], b"0123456789abcde", b"0123456789abcdef0", b"0123456789abcdeF", b"0123456789abcdef\0"]
        {
            assert!(!shared.knows(Some(wrong)), "{}", wrong.escape_ascii());
        }
        assert!(!shared.knows(None));
        assert!(with(None).knows(None));
    }
}
