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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// Everybody is on this host: there is nothing to lead on.
    Loopback,
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
            Self::Loopback => "loopback",
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
            Self::Loopback => "it does not leave this host",
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
///
/// The reason for a relay is the first that applies, those that the controller decided on before those of the
/// host: it is what somebody who asks why has to change first.
#[must_use]
pub fn choose(first: &Side, second: &Side, host: Host) -> Choice {
    by_kernel(first, second, host).unwrap_or_else(Choice::relay)
}

fn by_kernel(first: &Side, second: &Side, host: Host) -> Result<Choice, Reason> {
    let sides = [first, second];
    if let Some(reason) = first.needs_relay.or(second.needs_relay) {
        return Err(reason);
    }
    if sides.iter().any(|side| matches!(side.gate, Gate::SendOnly | Gate::ReceiveOnly)) {
        return Err(Reason::OneWay);
    }
    let (to_first, to_second) = match (first.role, second.role) {
        (Role::Passive, Role::Active) => (true, false),
        (Role::Active, Role::Passive) => (false, true),
        (Role::Either, Role::Either) => (true, true),
        (Role::Undecided, _) | (_, Role::Undecided) => return Err(Reason::Unsettled),
        _ => return Err(Reason::Direction),
    };
    let v4 = first.local.is_ipv4();
    let other = |address: SocketAddr| address.is_ipv4() != v4;
    if other(second.local) || sides.iter().filter_map(|side| side.remote).any(other) {
        return Err(Reason::Families);
    }
    if sides.iter().any(|side| side.local.ip().is_loopback()) {
        return Err(Reason::Loopback);
    }
    match host {
        Host::Relays(reason) => return Err(reason),
        Host::Translates { v4: true, .. } if v4 => {}
        Host::Translates { v6: true, .. } if !v4 => {}
        Host::Translates { .. } => return Err(Reason::Host),
    }
    let first_caller = to_first.then(|| source(first, second)).transpose()?;
    let second_caller = to_second.then(|| source(second, first)).transpose()?;
    Ok(Choice { engine: Engine::Kernel, reason: Reason::Passes, first: first_caller, second: second_caller })
}

/// The address that the caller of one side comes from, to be led to the peer of the other.
fn source(caller: &Side, callee: &Side) -> Result<IpAddr, Reason> {
    let is_one = |ip: &IpAddr| !ip.is_unspecified();
    callee.remote.filter(|to| is_one(&to.ip()) && to.port() != 0).ok_or(Reason::UnknownPeer)?;
    let said = caller.remote.map(|from| from.ip()).filter(is_one);
    match caller.filter {
        Sources::Several => Err(Reason::Filter),
        Sources::One(ip) if ip.is_ipv4() != caller.local.is_ipv4() => Err(Reason::Families),
        Sources::One(ip) => Ok(ip),
        Sources::Any => said.ok_or(Reason::UnknownPeer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host::Translates { v4: true, v6: true };

    fn side(role: Role, local: &str, remote: &str) -> Side {
        Side {
            local: local.parse().unwrap(),
            role,
            remote: Some(remote.parse().unwrap()),
            gate: Gate::SendReceive,
            filter: Sources::Any,
            needs_relay: None,
        }
    }

    /// The peer of the first calls, that of the second is called.
    fn pair() -> (Side, Side) {
        (
            side(Role::Passive, "192.0.2.1:20000", "198.51.100.7:9"),
            side(Role::Active, "192.0.2.9:30000", "203.0.113.5:2855"),
        )
    }

    fn reason(change: impl FnOnce(&mut Side, &mut Side)) -> Reason {
        let (mut first, mut second) = pair();
        change(&mut first, &mut second);
        let choice = choose(&first, &second, HOST);
        assert_eq!(choice.engine == Engine::Kernel, choice.reason == Reason::Passes);
        assert_eq!(choice.engine == Engine::Relay, choice.first.is_none() && choice.second.is_none());
        let turned = choose(&second, &first, HOST);
        assert_eq!(
            (turned.engine, turned.first, turned.second),
            (choice.engine, choice.second, choice.first)
        );
        choice.reason
    }

    #[test]
    fn what_only_has_to_pass_is_for_the_kernel() {
        let (first, second) = pair();
        let choice = choose(&first, &second, HOST);
        assert_eq!((choice.engine, choice.reason), (Engine::Kernel, Reason::Passes));
        assert_eq!((choice.first, choice.second), (first.remote.map(|r| r.ip()), None));
        assert_eq!(reason(|a, b| (a.gate, b.gate) = (Gate::Inactive, Gate::Inactive)), Reason::Passes);
    }

    #[test]
    fn where_nobody_said_who_calls_both_may() {
        let (mut first, mut second) = pair();
        (first.role, second.role) = (Role::Either, Role::Either);
        let choice = choose(&first, &second, HOST);
        assert_eq!(
            (choice.first, choice.second),
            (first.remote.map(|r| r.ip()), second.remote.map(|r| r.ip()))
        );
        // Then both have to be known as callees too.
        first.remote = Some("198.51.100.7:0".parse().unwrap());
        assert_eq!(choose(&first, &second, HOST).reason, Reason::UnknownPeer);
    }

    #[test]
    fn a_filter_of_one_address_says_who_may_call() {
        let ip: IpAddr = "198.51.100.99".parse().unwrap();
        let (mut first, second) = pair();
        first.filter = Sources::One(ip);
        assert_eq!(choose(&first, &second, HOST).first, Some(ip));
        // Also where the peer's own address is of no use.
        first.remote = Some("0.0.0.0:9".parse().unwrap());
        assert_eq!(choose(&first, &second, HOST).first, Some(ip));
        assert_eq!(reason(|a, _| a.filter = Sources::Several), Reason::Filter);
        assert_eq!(reason(|a, _| a.filter = Sources::One("2001:db8::1".parse().unwrap())), Reason::Families);
        // Whom we call is not filtered.
        assert_eq!(reason(|_, b| b.filter = Sources::Several), Reason::Passes);
    }

    #[test]
    fn everything_else_is_relayed_and_it_is_said_why() {
        use Reason::{Direction, EndsTls, Families, Loopback, OneWay, UnknownPeer, Unsettled};
        assert_eq!(reason(|a, _| a.needs_relay = Some(EndsTls)), EndsTls);
        assert_eq!(reason(|_, b| b.needs_relay = Some(Reason::Witness)), Reason::Witness);
        assert_eq!(reason(|_, b| b.gate = Gate::SendOnly), OneWay);
        assert_eq!(reason(|a, _| a.role = Role::Undecided), Unsettled);
        assert_eq!(reason(|a, _| a.role = Role::Active), Direction);
        assert_eq!(reason(|_, b| b.role = Role::Passive), Direction);
        assert_eq!(reason(|a, _| a.role = Role::Either), Direction);
        assert_eq!(reason(|_, b| b.local = "[2001:db8::9]:30000".parse().unwrap()), Families);
        assert_eq!(reason(|_, b| b.remote = Some("[2001:db8::9]:30000".parse().unwrap())), Families);
        assert_eq!(reason(|a, _| a.local = "127.0.0.1:20000".parse().unwrap()), Loopback);
        for remote in [None, Some("0.0.0.0:2855".parse().unwrap()), Some("203.0.113.5:0".parse().unwrap())] {
            assert_eq!(reason(|_, b| b.remote = remote), UnknownPeer);
        }
        assert_eq!(reason(|a, _| a.remote = None), UnknownPeer);
    }

    #[test]
    fn the_host_has_a_say_for_each_ip_version() {
        let (mut first, mut second) = pair();
        let only = |v4| Host::Translates { v4, v6: !v4 };
        assert_eq!(choose(&first, &second, only(true)).engine, Engine::Kernel);
        assert_eq!(choose(&first, &second, only(false)).reason, Reason::Host);
        assert_eq!(choose(&first, &second, Host::Relays(Reason::Configured)).reason, Reason::Configured);
        (first.local, first.remote) = ("[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:1".parse().ok());
        (second.local, second.remote) = ("[2001:db8::3]:1".parse().unwrap(), "[2001:db8::4]:1".parse().ok());
        assert_eq!(choose(&first, &second, only(false)).engine, Engine::Kernel);
        assert_eq!(choose(&first, &second, only(true)).reason, Reason::Host);
    }

    #[test]
    fn what_the_plan_decides_is_said_before_what_the_host_lacks() {
        let (mut first, second) = pair();
        first.role = Role::Undecided;
        assert_eq!(choose(&first, &second, Host::Relays(Reason::Host)).reason, Reason::Unsettled);
    }
}
