//! What calls take of the networks they are in, and whether there is room for one more.
//!
//! TS 23.334 §5 (bandwidth), TS 29.162 §10 (admission at the border between networks), RFC 3261 §21.5.4
//! (503 with Retry-After). A call counts in each network that one of its ends is in, for each registered
//! user at its ends and for each address its ends send from, once each; branches of one INVITE are one
//! call. Its media lines count in octets per second, at each end.
//!
//! Emergency calls, and calls whose priority is trusted (RFC 4412), are let in over every cap and count:
//! others wait until they are over.
//!
//! Left out: the caps of whole borders and gateways (`Limits`), and the rate of requests (the endpoint's).

use crate::config::{Caps, Network};
use crate::core::Core;
use crate::event::Event;
use crate::session::Fault;
use carnet_plan::{Both, Side, Urgency};
use carnet_sip::ServerKey;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A cap that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cap {
    /// Of the network.
    Sessions,
    /// Of the calling user.
    Caller,
    /// Of the called user.
    Callee,
    /// Of one address.
    Source,
    /// Of the network, in octets per second.
    Bandwidth,
}

impl Cap {
    /// A stable name for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Source => "source",
            Self::Bandwidth => "bandwidth",
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sessions => "this network has as many sessions as it may",
            Self::Caller => "the caller has as many sessions as a user may have",
            Self::Callee => "the user called has as many sessions as he may have",
            Self::Source => "there are as many sessions from this address as there may be",
            Self::Bandwidth => "there is no bandwidth left in this network",
        })
    }
}

/// A call as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The INVITE it began with: its branches are one call.
    pub(crate) invite: ServerKey,
    /// The networks of its ends.
    pub(crate) networks: Both<usize>,
    /// The registered users at its ends, by address of record.
    pub(crate) users: Both<Option<String>>,
    /// Where its ends send from.
    pub(crate) sources: Both<Option<IpAddr>>,
}

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum What {
    Network(usize),
    User(String),
    Source(usize, IpAddr),
}

impl Claim {
    /// All it counts for, each once.
    fn all(&self) -> Vec<What> {
        let mut all = Vec::with_capacity(6);
        for side in [Side::Caller, Side::Callee] {
            let network = *self.networks.of(side);
            let user = self.users.of(side).clone().map(What::User);
            let source = self.sources.of(side).map(|ip| What::Source(network, subscriber(ip)));
            for what in [Some(What::Network(network)), user, source].into_iter().flatten() {
                if !all.contains(&what) {
                    all.push(what);
                }
            }
        }
        all
    }
}

/// What one subscriber's addresses have in common: of IPv6 he has a whole network (RFC 6177 §2), and may
/// send from any address in it.
fn subscriber(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & (u128::MAX << 64)).into(),
    }
}

/// How much of everything is taken.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Calls by what they count for, and how many branches each has.
    calls: HashMap<What, HashMap<ServerKey, usize>>,
    /// Octets per second, by network.
    bandwidth: Vec<u64>,
}

impl Usage {
    /// Counts a call, unless a cap is reached. `over` lets it in over all of them. The network is that
    /// of the cap.
    pub(crate) fn admit(
        &mut self,
        networks: &[Network],
        claim: &Claim,
        over: bool,
    ) -> Result<(), (Cap, usize)> {
        let caps = |network: usize| networks.get(network).map(|n| n.caps).unwrap_or_default();
        for side in [Side::Caller, Side::Callee].into_iter().filter(|_| !over) {
            let network = *claim.networks.of(side);
            let Caps { sessions, per_user, per_source, .. } = caps(network);
            let user = claim.users.of(side).clone().map(What::User);
            let source = claim.sources.of(side).map(|ip| What::Source(network, subscriber(ip)));
            let of_user = if side == Side::Caller { Cap::Caller } else { Cap::Callee };
            let checks = [
                (Some(What::Network(network)), sessions, Cap::Sessions),
                (user, per_user, of_user),
                (source, per_source, Cap::Source),
            ];
            for (what, most, cap) in checks {
                let (Some(what), Some(most)) = (what, most) else { continue };
                let calls = self.calls.get(&what);
                // Another branch of a call that is in.
                let counted = calls.is_some_and(|calls| calls.contains_key(&claim.invite));
                if !counted && calls.map_or(0, HashMap::len) >= most {
                    return Err((cap, network));
                }
            }
        }
        for what in claim.all() {
            *self.calls.entry(what).or_default().entry(claim.invite).or_default() += 1;
        }
        Ok(())
    }

    /// A call that was counted is over.
    pub(crate) fn give_back(&mut self, claim: &Claim) {
        for what in claim.all() {
            let Some(calls) = self.calls.get_mut(&what) else { continue };
            if let Some(branches) = calls.get_mut(&claim.invite) {
                *branches = branches.saturating_sub(1);
                if *branches == 0 {
                    calls.remove(&claim.invite);
                }
            }
            if calls.is_empty() {
                self.calls.remove(&what);
            }
        }
    }

    /// A call takes `now` octets per second at its ends in place of `before`. What is less always fits.
    pub(crate) fn take(
        &mut self,
        networks: &[Network],
        ends: Both<usize>,
        (before, now): (&Both<u64>, &Both<u64>),
        over: bool,
    ) -> Result<(), usize> {
        self.bandwidth.resize(networks.len().max(self.bandwidth.len()), 0);
        let mut wanted = self.bandwidth.clone();
        for side in [Side::Caller, Side::Callee] {
            if let Some(taken) = wanted.get_mut(*ends.of(side)) {
                *taken = taken.saturating_sub(*before.of(side)).saturating_add(*now.of(side));
            }
        }
        for ((at, network), wanted) in networks.iter().enumerate().zip(&wanted) {
            let more = self.bandwidth.get(at).is_some_and(|taken| wanted > taken);
            if !over && more && network.caps.bandwidth.is_some_and(|most| *wanted > most) {
                return Err(at);
            }
        }
        self.bandwidth = wanted;
        Ok(())
    }

    /// Everything that is counted, for [`Load`](crate::Load): nothing when no call is left.
    pub(crate) fn entries(&self) -> usize {
        self.calls.len() + self.bandwidth.iter().filter(|taken| **taken > 0).count()
    }
}

impl Core {
    /// Counts a new call.
    pub(crate) fn count_in(&mut self, call_id: &str, claim: &Claim, urgency: Urgency) -> Result<(), Fault> {
        let over = urgency != Urgency::Normal;
        let outcome = self.usage.admit(&self.config.networks, claim, over);
        outcome.map_err(|(cap, network)| self.over(call_id, network, cap))
    }

    /// A call wants so much at its ends in place of what it had.
    pub(crate) fn count_bandwidth(
        &mut self,
        call_id: &str,
        ends: Both<usize>,
        change: (&Both<u64>, &Both<u64>),
        urgency: Urgency,
    ) -> Result<(), Fault> {
        let over = urgency != Urgency::Normal;
        let outcome = self.usage.take(&self.config.networks, ends, change, over);
        outcome.map_err(|network| self.over(call_id, network, Cap::Bandwidth))
    }

    fn over(&mut self, call_id: &str, network: usize, cap: Cap) -> Fault {
        let network = self.config.networks.get(network).map(|n| n.name.clone()).unwrap_or_default();
        self.events.push_back(Event::CapReached { call_id: call_id.to_owned(), network, cap });
        // RFC 3261 §21.4.24: the user called is busy; the others may try again.
        let status = if cap == Cap::Callee { 486 } else { 503 };
        Fault { retry_after: true, ..Fault::new(status, cap.to_string()) }
    }
}
