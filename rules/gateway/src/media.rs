//! The contract between the gateway's rules and a media engine.
//!
//! The rules decide (which address, which direction, which gate), the engine moves octets. One
//! [`Pinhole`] is one TCP media stream on one termination: a local address, at most one remote
//! connection. Two pinholes that are [`Command::Join`]ed relay to each other. The engine answers
//! every `Reserve` with `Bound` or `Refused`, every `Release` with `Released`, `Measure` with
//! `Measured` and `Regroup` with `Regrouped`; everything else is an unsolicited report.
//!
//! A pinhole may end TLS for its peer ([`Edge`]), and two pinholes that both have a [`Leg`] have the paths
//! of the MSRP that passes rewritten. What is joined gets what was inside.
//!
//! In a conference (an MRFP) the streams end here: a pinhole has an [`Endpoint`] and is never joined,
//! and a group is one conference, whose rules come with [`Command::Conference`].
//!
//! Rules that an engine keeps, whichever it is (copy, splice, kernel): octets pass in order and
//! unchanged; a half-close passes after all data; a reset passes as a reset; a reader that stops
//! stops the writer at the far side; nothing is connected or accepted while the gate of the
//! pinhole is closed; a source that the filter does not allow is never accepted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use crate::conference::{
    Algorithm, Conference, ConferenceEvent, Endpoint, FloorSettings, Key, Medium, TlsEnd, TlsRole,
};
pub use crate::edge::{Edge, Leg};
pub use crate::engine::{Engine, Reason};
use crate::witness::Seen;

/// Names a pinhole between rules and engine. Never reused in the life of a gateway.
///
/// An engine may have several independent loops. Two pinholes can only be joined inside one, so
/// the name says beforehand which pinholes belong together, and no table has to be kept for it.
/// The number alone tells which pinhole it is: the group changes with [`Command::Regroup`].
#[derive(Debug, Clone, Copy)]
pub struct Pinhole {
    /// Pinholes that are joined have the same group (that of their context).
    pub group: u32,
    /// Tells the pinholes of all groups apart.
    pub number: u64,
}

impl PartialEq for Pinhole {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Pinhole {}

impl std::hash::Hash for Pinhole {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl PartialOrd for Pinhole {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pinhole {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.number.cmp(&other.number)
    }
}

/// IP version of a local address to be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `IN IP4`
    V4,
    /// `IN IP6`
    V6,
}

/// Who opens the TCP connection on this pinhole (`a=setup` of Local, gateway side).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// Not settled: accept what comes, hold it unread, open nothing.
    #[default]
    Undecided,
    /// Wait for the peer.
    Passive,
    /// Connect to the remote address: when the joined pinhole's peer has connected, or at once
    /// if the joined pinhole is active too, or if this is an endpoint.
    Active,
    /// Nobody said (no `a=setup` at all): passive until the joined pinhole's peer comes first,
    /// then active.
    Either,
}

/// The stream mode, seen from outside the context (RFC 3525 §7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Gate {
    /// Nothing passes; connections are refused.
    #[default]
    Inactive,
    /// The gateway only sends on this termination.
    SendOnly,
    /// The gateway only receives on this termination.
    ReceiveOnly,
    /// Both ways.
    SendReceive,
}

/// Sources that may connect to a passive pinhole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceFilter {
    /// `gm/sam` while `gm/saf` is ON: address and prefix length; `None` lets any address in.
    pub network: Option<(IpAddr, u8)>,
    /// `gm/spr` while `gm/spf` is ON: first and last port.
    pub ports: Option<(u16, u16)>,
}

/// Token bucket for one direction (`tman`); TCP is delayed, never dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sustained octets per second.
    pub octets_per_second: u64,
    /// Octets that may pass at once.
    pub burst: u64,
}

/// Everything the engine must know of one pinhole. A new value replaces the old one whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Who connects.
    pub role: Role,
    /// The peer's address: where an active pinhole connects to. A caller from elsewhere, if the filter
    /// lets it in, gives way to one from there.
    pub remote: Option<SocketAddr>,
    /// The peer opens the connection: `remote` is never called.
    pub peer_opens: bool,
    /// The peer calls from an address that will not be announced (`ipnapt/latch`): whoever comes has it.
    pub latch: bool,
    /// The gate.
    pub gate: Gate,
    /// Who may connect.
    pub filter: SourceFilter,
    /// Limit on what the peer sends into the context.
    pub rate: Option<Rate>,
    /// `ds/dscp`, 0 to 63.
    pub dscp: Option<u8>,
    /// Report [`Event::Inactive`] after this long without an octet (`adid/ipstop`).
    pub inactivity: Option<(Duration, Direction)>,
    /// In a conference: what ends here. `None` there is that the controller has not said all of it yet
    /// (the key, the peer's path): a connection is taken, or made, and held unread until it is `Some`.
    pub endpoint: Option<Arc<Endpoint>>,
    /// In a relay: TLS with the peer ends here, and nothing passes before it stands.
    pub edge: Option<Arc<Edge>>,
    /// In a relay: the octets are MSRP, whose paths are rewritten. The joined pinhole has to have a leg too.
    pub leg: Option<Arc<Leg>>,
}

/// Direction for inactivity reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the peer into the context.
    In,
    /// Out of the context to the peer.
    Out,
    /// Both silent.
    Both,
}

/// Rules to engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take a local address and port for a new pinhole.
    Reserve {
        /// The new name.
        pinhole: Pinhole,
        /// IP realm (`ipdc/realm`); `None` is the default realm.
        realm: Option<String>,
        /// IP version asked for; `None` leaves it to the realm.
        family: Option<Family>,
        /// TLS is to end here: `Bound` says with which certificate. It is that one for the life of the
        /// pinhole, whatever the realm changes to meanwhile.
        tls: bool,
    },
    /// Take up a pinhole again that there was before the process started anew, with the address that it
    /// had. Answered like `Reserve`; a connection that the kernel kept is reported when both sides are
    /// configured and joined.
    Adopt {
        /// The new name.
        pinhole: Pinhole,
        /// IP realm that the address is of.
        realm: Option<String>,
        /// The address that the controller was told.
        local: SocketAddr,
    },
    /// Replace the settings.
    Configure {
        /// Which.
        pinhole: Pinhole,
        /// All of them.
        settings: Settings,
    },
    /// Relay between two pinholes of one group. Whom they were joined to before is left alone.
    Join {
        /// One side.
        a: Pinhole,
        /// The other side.
        b: Pinhole,
    },
    /// Relay no longer to the pinhole that it was joined to; both sides keep their connections.
    Part {
        /// Which.
        pinhole: Pinhole,
    },
    /// Take it into another group, with its connection and its counters; whom it was joined to is
    /// left alone. Answered with [`Event::Regrouped`]: until then nothing else is said about it.
    Regroup {
        /// Which, by its old name.
        pinhole: Pinhole,
        /// The new group.
        group: u32,
    },
    /// Connect to the remote address now, whatever the role and the joined pinhole say
    /// (`tcpbcc/EstBNC`: a signal decides). Kept until a remote address is known and the gate is
    /// open.
    Connect {
        /// Which.
        pinhole: Pinhole,
    },
    /// Close the connection but keep the local address (`tcpbcc/RelBNC`).
    Disconnect {
        /// Which.
        pinhole: Pinhole,
    },
    /// Close the connection, give the port back, answer with the counters.
    Release {
        /// Which.
        pinhole: Pinhole,
    },
    /// Answer with the counters now.
    Measure {
        /// Which.
        pinhole: Pinhole,
    },
    /// What holds for all endpoints of a group. It comes before the first of them is configured, and
    /// again, whole, when something of it has changed.
    Conference {
        /// Which.
        group: u32,
        /// All of it; `None` when the conference is over. Its pinholes were released before, but for such
        /// as were never configured.
        settings: Option<Box<Conference>>,
    },
    /// Decides about a floor of a conference in the name of who owns it. What comes of it is told as
    /// [`ConferenceEvent::Floor`]; nothing, if the user neither has nor asks for the floor any more.
    Decide {
        /// The conference.
        group: u32,
        /// Which floor.
        floor: u16,
        /// About whom.
        user: u16,
        /// It gets the floor, or does not and has it no longer.
        grant: bool,
    },
}

/// Engine to rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `Reserve` succeeded.
    Bound {
        /// Which.
        pinhole: Pinhole,
        /// The address to be told to the controller.
        local: SocketAddr,
        /// The fingerprint of the certificate that the peer will be shown (RFC 8122 §5: `SHA-256 4A:AD:…`),
        /// where it was asked for.
        fingerprint: Option<String>,
    },
    /// `Reserve` failed; the pinhole does not exist.
    Refused {
        /// Which.
        pinhole: Pinhole,
        /// Why.
        reason: Refusal,
    },
    /// The TCP connection with the peer of this pinhole is up.
    Established {
        /// Which.
        pinhole: Pinhole,
        /// The peer's address.
        peer: SocketAddr,
    },
    /// The peer's connection could not be made or ended. No further event but `Released` follows
    /// unless a new connection is established.
    Closed {
        /// Which.
        pinhole: Pinhole,
        /// How.
        cause: Cause,
    },
    /// Nothing passed for the time asked for.
    Inactive {
        /// Which.
        pinhole: Pinhole,
        /// The direction that was watched.
        direction: Direction,
    },
    /// A connection attempt came from a source the filter does not allow and was refused.
    Blocked {
        /// Which.
        pinhole: Pinhole,
        /// The source.
        source: SocketAddr,
    },
    /// `Measure` answered.
    Measured {
        /// Which.
        pinhole: Pinhole,
        /// Counters so far.
        statistics: Statistics,
    },
    /// `Regroup` done.
    Regrouped {
        /// Which, by its new name.
        pinhole: Pinhole,
    },
    /// `Release` done; the port is free.
    Released {
        /// Which.
        pinhole: Pinhole,
        /// Final counters.
        statistics: Statistics,
    },
    /// The TLS association of an endpoint stands; what could not be made is [`Cause::Tls`].
    Sealed {
        /// Which.
        pinhole: Pinhole,
        /// Its protocol version, as `TLSv1.3`.
        version: String,
        /// Its cipher suite, as IANA names it.
        suite: String,
    },
    /// What moves the octets of this pinhole and the one that it is joined to; again when it changes.
    Engine {
        /// Which.
        pinhole: Pinhole,
        /// What.
        engine: Engine,
        /// Why.
        reason: Reason,
    },
    /// Something happened among the members of a conference.
    Conference {
        /// Which.
        group: u32,
        /// What.
        event: ConferenceEvent,
    },
}

/// Why an address could not be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No such realm (H.248 error 449).
    UnknownRealm,
    /// The realm has no address of that IP version (449).
    NoSuchFamily,
    /// The realm has no port left (510).
    NoPort,
    /// The operating system said no (510).
    System,
    /// TLS was asked for, and the realm has no certificate (501).
    NoCertificate,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Both sides closed in order.
    Normal,
    /// The peer reset the connection.
    Reset,
    /// The connection to the remote address could not be made.
    ConnectFailed,
    /// Nobody connected within the waiting time.
    NobodyCame,
    /// The other side of the join failed, or ended before this side was connected.
    FarSide,
    /// This side was released.
    Released,
    /// The connection stood, the TLS association did not come about.
    Tls(TlsFailure),
    /// The endpoint was let go because of what it did; [`ConferenceEvent::Released`] says why.
    Endpoint,
    /// What the peer sends is not MSRP, where its paths were to be rewritten.
    NotMsrp,
    /// What the peer sends does not begin with a TLS record, where nothing else may pass.
    NotTls,
}

/// Why there is no TLS association.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// The peer named another key, or does not know the one that we named.
    Identity,
    /// The two ends hold different keys under this identity.
    Key,
    /// No version or cipher suite in common.
    NothingInCommon,
    /// The peer closed the connection, or refused without saying what it did not like.
    Refused,
    /// Not done in time.
    Timeout,
    /// What the peer sends is not TLS, or breaks its rules.
    Protocol,
    /// The key that the controller gave cannot be used.
    Ours,
    /// The peer's certificate has not the fingerprint that the controller gave (RFC 8122 §6.2).
    Fingerprint,
    /// The peer showed no certificate.
    NoCertificate,
    /// Nobody said which fingerprint the peer has, until the time was over.
    NoFingerprint,
    /// The peer ended TCP without ending TLS first: what came may be cut short (RFC 8446 §6.1).
    Truncated,
}

/// Counters of one pinhole; octets are TCP payload, or what was inside where TLS ends, as it came and as
/// it left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Octets received from the peer (`nt/or`).
    pub octets_received: u64,
    /// Octets sent to the peer (`nt/os`).
    pub octets_sent: u64,
    /// Since `Reserve` (`nt/dur`).
    pub duration: Duration,
    /// What a witness saw coming from the peer, where the engine was told to have one.
    pub witness: Option<Box<Seen>>,
}

impl Event {
    /// Which pinhole it is about, if it is about one.
    pub fn pinhole(&self) -> Option<Pinhole> {
        match self {
            Self::Bound { pinhole, .. }
            | Self::Refused { pinhole, .. }
            | Self::Established { pinhole, .. }
            | Self::Closed { pinhole, .. }
            | Self::Inactive { pinhole, .. }
            | Self::Blocked { pinhole, .. }
            | Self::Measured { pinhole, .. }
            | Self::Regrouped { pinhole }
            | Self::Released { pinhole, .. }
            | Self::Engine { pinhole, .. }
            | Self::Sealed { pinhole, .. } => Some(*pinhole),
            Self::Conference { .. } => None,
        }
    }
}
