//! What a relay is told.

use carnet_msrp as msrp;
use std::time::Duration;

/// One way into the relay: what it is called in the URIs it grants to those who come by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Host name or address (RFC 4976 §4.2 asks for a name).
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether it is TLS: `msrps`.
    pub secure: bool,
}

/// Everything a relay is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The realm of its challenges.
    pub realm: String,
    /// Ways in.
    pub listeners: Vec<Listener>,
    /// Hosts that an AUTH may call it by, besides those of the listeners.
    pub names: Vec<String>,
    /// Seconds a URI is good for, when the client asks for none.
    pub expires: u32,
    /// Fewest seconds that are granted; less is answered 423.
    pub min_expires: u32,
    /// Most seconds that are granted; more is answered 423.
    pub max_expires: u32,
    /// Bounds.
    pub limits: Limits,
    /// Waiting times.
    pub timers: Timers,
}

impl Settings {
    /// The usual settings.
    pub fn new(realm: &str, listeners: Vec<Listener>) -> Self {
        Self {
            realm: realm.to_owned(),
            listeners,
            names: Vec::new(),
            expires: 1_800,
            min_expires: 60,
            max_expires: 86_400,
            limits: Limits::default(),
            timers: Timers::default(),
        }
    }
}

/// How much of anything others can make it hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once, in and out. More are not accepted; a next hop that would need one is not reached.
    pub connections: usize,
    /// Connections at once from one address.
    pub per_source: Option<u32>,
    /// Next hops that one client can have us connected to at once. More are answered 408.
    pub next_hops: usize,
    /// URIs at once. More are answered 403.
    pub sessions: usize,
    /// URIs at once of one user. More are answered 403.
    pub per_user: usize,
    /// Octets that wait for a next hop before those who send to it are not read any more. Each of them can
    /// add what it was read at once.
    pub queue: usize,
    /// Octets of answers that wait for somebody before its own requests are not read any more.
    pub answers: usize,
    /// Requests to one next hop without an answer, before those who send to it are not read any more.
    pub transactions: usize,
    /// Body of a request that is neither SEND nor for us, in octets: those are passed on whole. More is
    /// answered 413.
    pub collected: usize,
    /// AUTH requests without success on one connection, and requests by URIs that are not good, before it
    /// is closed (RFC 4976 §6.3).
    pub failures: u32,
    /// Bounds of a head: `head` and `headers` matter.
    pub frame: msrp::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_source: None,
            next_hops: 32,
            sessions: 10_000,
            per_user: 100,
            queue: 256 << 10,
            answers: 64 << 10,
            transactions: 16_384,
            collected: 16 << 10,
            failures: 5,
            frame: msrp::Limits { head: 16 << 10, headers: 64, ..msrp::Limits::default() },
        }
    }
}

/// How long it waits for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timers {
    /// For the answer of a next hop, from the last octet of a SEND on (RFC 4976 §6.4.1).
    pub answer: Duration,
    /// For the first request that succeeds on a connection (§6.1).
    pub probation: Duration,
    /// For a connection of ours to stand.
    pub connect: Duration,
    /// For a next hop to take anything at all while something waits for it.
    pub stalled: Duration,
    /// For anything to happen on a connection that no URI is granted on (§6.5).
    pub idle: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            probation: Duration::from_secs(30),
            connect: Duration::from_secs(10),
            stalled: Duration::from_secs(30),
            idle: Duration::from_secs(3_600),
        }
    }
}
