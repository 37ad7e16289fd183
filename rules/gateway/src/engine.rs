//! Which engine moves the octets of two joined pinholes (TS 23.334 §5.16).
//!
//! *Stateless TCP* (§5.16.1): the kernel rewrites the addresses and ports of packets, TCP itself is end
//! to end, and nothing enters a process. It does for what only has to pass: one side opens the
//! connection, both have one IP version, everybody's address is known. *State-aware TCP* (§5.16.2): a
//! connection on each side and a relay between them, which does for everything.
//!
//! The choice is a value with its reason, made anew whenever something that it depends on changes. What it
//! depends on, beside the plan, is what the host allows ([`Host`]).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::media::{Gate, Role};

/// What moves the octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The kernel: packets are translated, TCP is end to end.
    Kernel,
    /// Our own loop: two connections, copied and spliced.
    Relay,
}

impl Engine {
    /// Its name in listings, events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why it is that engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It only has to pass, and the kernel can do that.
    Passes,
    /// TLS ends here.
    EndsTls,
    /// Paths of MSRP are rewritten.
    Rewrites,
    /// A witness looks at what passes.
    Witness,
    /// Callers have to begin with a TLS record, which nobody but a relay sees.
    TlsOnly,
    /// The sides have different IP versions, or the peer of one has another than it.
    Families,
    /// It is not known which side opens the connection.
    Unsettled,
    /// Both peers open a connection, or neither does.
    Direction,
    /// A signal says when to connect (`tcpbcc/EstBNC`).
    Signalled,
    /// The address that a peer calls from, or is called at, is not known.
    UnknownPeer,
    /// The source filter lets in more than the peer's address.
    Filter,
    /// Octets pass one way only.
    OneWay,
    /// The caller came from elsewhere than was said: a relay looks who it is.
    Elsewhere,
    /// A connection was there before the kernel could have had it.
    Underway,
    /// The file says that there is no other.
    Configured,
    /// The host does not allow it; what is missing was said at the start.
    Host,
    /// The kernel refused this one.
    Refused,
}

impl Reason {
    /// Its name in listings, events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::EndsTls => "ends-tls",
            Self::Rewrites => "rewrites",
            Self::Witness => "witness",
            Self::TlsOnly => "tls-only",
            Self::Families => "families",
            Self::Unsettled => "unsettled",
            Self::Direction => "direction",
            Self::Signalled => "signalled",
            Self::UnknownPeer => "unknown-peer",
            Self::Filter => "filter",
            Self::OneWay => "one-way",
            Self::Elsewhere => "elsewhere",
            Self::Underway => "underway",
            Self::Configured => "configured",
            Self::Host => "host",
            Self::Refused => "refused",
        }
    }

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Passes => "it only has to pass",
            Self::EndsTls => "TLS ends here",
            Self::Rewrites => "MSRP paths are rewritten",
            Self::Witness => "a witness looks at what passes",
            Self::TlsOnly => "callers have to begin with a TLS record",
            Self::Families => "the sides have different IP versions",
            Self::Unsettled => "it is not known which side opens the connection",
            Self::Direction => "both peers open a connection, or neither",
            Self::Signalled => "a signal says when to connect",
            Self::UnknownPeer => "the address of a peer is not known",
            Self::Filter => "the source filter lets in more than the peer's address",
            Self::OneWay => "octets pass one way only",
            Self::Elsewhere => "the caller came from elsewhere than was said",
            Self::Underway => "a connection was there before",
            Self::Configured => "it is configured so",
            Self::Host => "the host does not allow the kernel engine",
            Self::Refused => "the kernel refused it",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What the host and the file allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// The kernel may translate for these IP versions.
    Translates {
        /// IPv4.
        v4: bool,
        /// IPv6.
        v6: bool,
    },
    /// It may not, for this reason.
    Relays(Reason),
}

/// What the choice depends on, of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side {
    /// Our address there.
    pub local: SocketAddr,
    /// Who opens the connection with its peer.
    pub role: Role,
    /// The peer's address.
    pub remote: Option<SocketAddr>,
    /// The gate.
    pub gate: Gate,
    /// The only address that the source filter lets in.
    pub filter: Sources,
    /// [`Reason`] for which only a relay will do: TLS ends here, paths are rewritten, a witness, and the like.
    pub needs_relay: Option<Reason>,
}

/// Whom a source filter lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// There is none.
    Any,
    /// One address, from any port.
    One(IpAddr),
    /// A network, or only some ports.
    Several,
}

/// Engine, why, and if it is the kernel, who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// What moves the octets.
    pub engine: Engine,
    /// Why.
    pub reason: Reason,
    /// The address that may call the first side, and be led to the peer of the second.
    pub first: Option<IpAddr>,
    /// The same the other way round.
    pub second: Option<IpAddr>,
}

impl Choice {
    const fn relay(reason: Reason) -> Self {
        Self { engine: Engine::Relay, reason, first: None, second: None }
    }
}

/// Chooses. A pair of which a gate is closed gets the engine that it would have with both open.
#[must_use]
pub fn choose(first: &Side, second: &Side, host: Host) -> Choice {
    by_kernel(first, second, host).unwrap_or_else(Choice::relay)
}

fn by_kernel(first: &Side, second: &Side, host: Host) -> Result<Choice, Reason> {
    if let Some(reason) = first.needs_relay.or(second.needs_relay) {
        return Err(reason);
    }
    for side in [first, second] {
        if matches!(side.gate, Gate::SendOnly | Gate::ReceiveOnly) {
            return Err(Reason::OneWay);
        }
    }
    let (may_first, may_second) = match (first.role, second.role) {
        (Role::Passive, Role::Active) => (true, false),
        (Role::Active, Role::Passive) => (false, true),
        (Role::Either, Role::Either) => (true, true),
        (Role::Undecided, _) | (_, Role::Undecided) => return Err(Reason::Unsettled),
        _ => return Err(Reason::Direction),
    };
    let v4 = first.local.is_ipv4();
    let mut all = vec![second.local.is_ipv4()];
    all.extend([first, second].iter().filter_map(|side| Some(side.remote?.is_ipv4())));
    if all.iter().any(|other| *other != v4) {
        return Err(Reason::Families);
    }
    match host {
        Host::Relays(reason) => return Err(reason),
        Host::Translates { v4: true, .. } if v4 => {}
        Host::Translates { v6: true, .. } if !v4 => {}
        Host::Translates { .. } => return Err(Reason::Host),
    }
    let way = |caller: &Side, callee: &Side| -> Result<IpAddr, Reason> {
        let called = callee.remote.filter(|to| !to.ip().is_unspecified() && to.port() != 0);
        called.ok_or(Reason::UnknownPeer)?;
        let said = caller.remote.map(|from| from.ip()).filter(|ip| !ip.is_unspecified());
        match (caller.filter, said) {
            (Sources::Several, _) => Err(Reason::Filter),
            (Sources::One(ip), _) if ip.is_ipv4() == v4 => Ok(ip),
            (Sources::One(_), _) => Err(Reason::Families),
            (Sources::Any, Some(ip)) => Ok(ip),
            (Sources::Any, None) => Err(Reason::UnknownPeer),
        }
    };
    let one = if may_first { Some(way(first, second)?) } else { None };
    let two = if may_second { Some(way(second, first)?) } else { None };
    Ok(Choice { engine: Engine::Kernel, reason: Reason::Passes, first: one, second: two })
}
