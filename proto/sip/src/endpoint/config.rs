//! What an endpoint is told once.

use crate::hop::{Hop, Transport};
use crate::limits::Limits;
use crate::method::Method;
use crate::uri::host_of;
use std::net::SocketAddr;
use std::time::Duration;

/// Timers of RFC 3261 table 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Round trip estimate; all others follow from it. 500 ms.
    pub t1: Duration,
    /// Longest retransmission interval of non-INVITE requests and 2xx responses. 4 s.
    pub t2: Duration,
    /// Longest time a message stays in the network. 5 s.
    pub t4: Duration,
    /// How long a non-2xx INVITE response is remembered over UDP (Timer D). 32 s.
    pub d: Duration,
    /// How long DNS may take before a target counts as unreachable. 10 s.
    pub locate: Duration,
}

impl Timers {
    /// 64 * T1: Timers B, F, H, J, L, M.
    pub fn patience(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            d: Duration::from_secs(32),
            locate: Duration::from_secs(10),
        }
    }
}

/// The name this element gives itself in Via.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentBy {
    /// For messages of this transport ...
    pub transport: Transport,
    /// ... that leave from this address; `None` for any.
    pub local: Option<SocketAddr>,
    /// Host name or address, IPv6 in brackets.
    pub host: String,
    /// Port, if it is not the transport's own.
    pub port: Option<u16>,
}

/// What the endpoint answers itself. Everything else is an event.
#[derive(Debug, Clone)]
pub struct Answering {
    /// 400 to requests that break the grammar. If false they are dropped.
    pub malformed: bool,
    /// 505 to requests of another SIP version.
    pub version: bool,
    /// 416 to Request-URIs of other schemes; `None` accepts all.
    pub schemes: Option<Vec<String>>,
    /// 420 to requests that require other option tags (CANCEL and ACK excepted, RFC 3261
    /// §8.2.2.3); `None` leaves Require to the transaction user.
    pub extensions: Option<Vec<String>>,
    /// 405 to other methods; `None` leaves them to the transaction user.
    pub methods: Option<Vec<Method>>,
    /// 483 to requests with Max-Forwards 0, OPTIONS and REGISTER included.
    pub exhausted: bool,
}

impl Default for Answering {
    fn default() -> Self {
        let schemes = ["sip", "sips", "tel", "urn"].map(String::from).to_vec();
        Self {
            malformed: true,
            version: true,
            schemes: Some(schemes),
            extensions: None,
            methods: None,
            exhausted: false,
        }
    }
}

/// What an endpoint is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bounds on messages.
    pub limits: Limits,
    /// Timers.
    pub timers: Timers,
    /// Names for Via, the first that fits is used. Without one the local address of the hop is.
    pub sent_by: Vec<SentBy>,
    /// Written as `User-Agent` in requests and `Server` in responses that have none of these.
    pub software: Option<String>,
    /// What is answered without asking.
    pub answering: Answering,
    /// Server transactions open at once. Requests beyond are answered 503.
    pub server_transactions: usize,
    /// Client transactions open at once. Beyond, `request` fails.
    pub client_transactions: usize,
    /// Finished transactions, of each kind, remembered to absorb repetitions. Beyond, the oldest
    /// is forgotten before its time.
    pub lingering: usize,
    /// A request outside dialogs that has waited longer than this for its turn, by what
    /// [`Endpoint::delayed`](super::Endpoint::delayed) was told, is answered 503 at once: its sender is about to
    /// repeat it (T1), and work on it would make the next wait longer. `None` never sheds. 200 ms.
    pub longest_wait: Option<Duration>,
    /// Retry-After of the 503 when full or behind, in seconds.
    pub retry_after: u32,
    /// Transports this element can use, in order of preference where DNS leaves the choice.
    pub transports: Vec<Transport>,
    /// Datagrams larger than this go over TCP instead if `transports` has it and the target
    /// was given as a URI (RFC 3261 §18.1.1). Octets.
    pub datagram: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            timers: Timers::default(),
            sent_by: Vec::new(),
            software: None,
            answering: Answering::default(),
            server_transactions: 20_000,
            client_transactions: 20_000,
            lingering: 100_000,
            longest_wait: Some(Duration::from_millis(200)),
            retry_after: 5,
            transports: vec![Transport::Udp, Transport::Tcp, Transport::Tls],
            datagram: 1300,
        }
    }
}

impl Config {
    /// Host and port for the Via of a message that leaves by `hop`.
    pub(super) fn sent_by(&self, hop: &Hop) -> (String, Option<u16>) {
        let fits = |s: &&SentBy| {
            s.transport == hop.transport && (s.local.is_none() || hop.local.is_none() || s.local == hop.local)
        };
        if let Some(named) = self.sent_by.iter().find(fits) {
            return (named.host.clone(), named.port);
        }
        match hop.local.filter(|a| !a.ip().is_unspecified()) {
            Some(local) => (host_of(local.ip()), Some(local.port())),
            // Answers come back by received, rport or the connection, never by this name.
            None => ("carnet.invalid".to_owned(), None),
        }
    }
}
