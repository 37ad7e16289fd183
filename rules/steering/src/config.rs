//! What the operator sets.

use carnet_h248::MId;
use carnet_h248::association::Transport;
use carnet_plan::{Addressing, Family, Policy};
use std::time::Duration;

/// A side of the gateway as SIP servers name it in `direction`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name in `direction`.
    pub name: String,
    /// The gateway's IP realm behind it.
    pub realm: String,
    /// IP version of its media addresses where the request does not say.
    pub family: Family,
    /// The realm has this version too.
    pub families: Vec<Family>,
    /// Terminals are here: TLS of theirs may end at the gateway (TS 23.334 §6.2.10.3).
    pub access: bool,
    /// TLS may end here.
    pub e2ae: bool,
    /// Every peer here is taken to be behind a NAT.
    pub behind_nat: bool,
    /// How MSRP endpoints here find each other.
    pub msrp: Addressing,
    /// Only the address in the peer's SDP, or the one its signalling comes from, may connect.
    pub source_filter: bool,
    /// Octets per second and burst that one line may send into the gateway here.
    pub rate: Option<(u64, u64)>,
    /// DSCP of media sent here, where the request does not say.
    pub dscp: Option<u8>,
}

/// Times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Longest wait for the gateway's answer.
    pub gateway: Duration,
    /// A call goes on for so long after a `delete` that does not say how long.
    pub delete_delay: Duration,
    /// A call whose offer was not answered ends after this; zero is never.
    pub offer: Duration,
    /// A call that was answered ends after this if no line has both its connections; zero is never. One on
    /// hold needs none.
    pub no_connection: Duration,
    /// A call on whose connections no octet passed for so long ends, and one that is on hold for so long;
    /// zero is never.
    pub silence: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            gateway: Duration::from_secs(2),
            delete_delay: Duration::ZERO,
            offer: Duration::from_secs(600),
            no_connection: Duration::from_secs(60),
            silence: Duration::from_secs(3600),
        }
    }
}

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once; more are answered `load limit`.
    pub calls: usize,
    /// Dialogs, branches and forks of one call; more are an error.
    pub dialogs: usize,
    /// Media lines of one dialog that may be on the gateway; more are an error.
    pub streams: usize,
    /// Requests that wait for the gateway; more are answered `load limit`, deletes only when there are twice
    /// as many.
    pub requests: usize,
    /// What one session description may hold.
    pub sdp: carnet_sdp::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls: 20_000, dialogs: 12, streams: 8, requests: 4_000, sdp: carnet_sdp::Limits::default() }
    }
}

/// Everything the steering is told at its start.
pub struct Config {
    /// Its H.248 message identifier `<name>`.
    pub name: String,
    /// The gateway's.
    pub gateway: MId,
    /// What carries H.248 between the two.
    pub transport: Transport,
    /// At least one; the first is that of requests without `direction`.
    pub interfaces: Vec<Interface>,
    /// What may pass. Lines that are not TCP media are always handed back as they came.
    pub policy: Policy,
    /// Times.
    pub timers: Timers,
    /// Bounds.
    pub limits: Limits,
}
