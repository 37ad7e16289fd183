//! What a realm does about those who have no business at its pinholes.
//!
//! The controller's filters (`gm/saf`, `gm/spf`) come first and are no part of this. What is here
//! holds for every pinhole of a realm: how many connections one source may have and how fast it may
//! make them, how a pinhole for TLS only begins, how a peer that vanished is noticed, how long a
//! port rests.
//!
//! Leaves out: SYN floods, which never come here; the kernel answers them with SYN cookies (`host`).

use std::time::Duration;

/// The defence of one realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// A connection must begin with the header of a TLS record that carries a ClientHello or, where the
    /// far side has spoken first, another handshake record or an alert (RFC 8446 §5.1). What begins
    /// otherwise is closed. It is looked at, never changed. For realms where nothing else is spoken.
    pub tls_only: bool,
    /// Within this a handshake has to be done, or to begin where it is only looked at.
    pub handshake: Duration,
    /// Connections that one source may have at once in this realm; `None` is no limit. A source is an
    /// IPv4 address or an IPv6 /64. Many users may be behind one translator.
    pub per_source: Option<u32>,
    /// Connections that one source may make in a second, with as many at once; `None` is no limit.
    pub accepts_per_source: Option<u32>,
    /// How long a port is not given again after its use. While none else is free, the one that has
    /// rested longest is given nevertheless, and counted.
    pub quarantine: Duration,
    /// A connection with nothing to send asks the peer for signs of life after this long, then four
    /// times more at a quarter of it. `None`: a peer that vanished is noticed when something is sent.
    pub keepalive: Option<Duration>,
    /// Octets that the peer does not acknowledge, or takes no room for, for this long end the
    /// connection (`TCP_USER_TIMEOUT`, RFC 5482). `None` leaves it to the kernel, some fifteen minutes.
    /// It ends a reader that stopped reading for as long too.
    pub user_timeout: Option<Duration>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            tls_only: false,
            handshake: Duration::from_secs(10),
            per_source: None,
            accepts_per_source: None,
            quarantine: Duration::from_secs(10),
            keepalive: Some(Duration::from_secs(120)),
            user_timeout: None,
        }
    }
}

/// What a realm has turned away since its start, and what it has done without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Callers whose source the filter of the pinhole does not allow.
    pub filtered: u64,
    /// Callers whose source had as many connections as it may have.
    pub crowded: u64,
    /// Callers whose source made connections faster than it may.
    pub hasty: u64,
    /// Callers who came when somebody better had the pinhole, or who waited in vain beside one.
    pub outdone: u64,
    /// Connections that did not begin with a TLS record where nothing else is spoken.
    pub not_tls: u64,
    /// Connections that did not begin in time.
    pub slow: u64,
    /// Callers turned away because the process had few descriptors left.
    pub short: u64,
    /// Ports given before they had rested.
    pub unrested: u64,
}
