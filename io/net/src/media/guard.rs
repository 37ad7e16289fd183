//! What a realm does about those who have no business at its pinholes.
//!
//! The controller's filters (`gm/saf`, `gm/spf`) come first and are no part of this. What is here
//! holds for every pinhole of a realm: how many connections one source may have and how fast it may
//! make them, how a pinhole for TLS only begins, how a peer that vanished is noticed, how long a
//! port rests.
//!
//! Leaves out: SYN floods, which never come here; the kernel answers them with SYN cookies (`host`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sources that are remembered for what they did in the last second. Beyond that, what a new one does is
/// not limited; those that have connections are always known, and there are as many at most.
const REMEMBERED: usize = 65_536;

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

impl Tally {
    /// This and that together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            filtered: self.filtered + other.filtered,
            crowded: self.crowded + other.crowded,
            hasty: self.hasty + other.hasty,
            outdone: self.outdone + other.outdone,
            not_tls: self.not_tls + other.not_tls,
            slow: self.slow + other.slow,
            short: self.short + other.short,
            unrested: self.unrested + other.unrested,
        }
    }

    /// All of it, by name.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 8] {
        [
            ("filtered", self.filtered),
            ("crowded", self.crowded),
            ("hasty", self.hasty),
            ("outdone", self.outdone),
            ("not_tls", self.not_tls),
            ("slow", self.slow),
            ("short", self.short),
            ("unrested", self.unrested),
        ]
    }
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A [`Tally`] in the making.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) filtered: Count,
    pub(crate) crowded: Count,
    pub(crate) hasty: Count,
    pub(crate) outdone: Count,
    pub(crate) not_tls: Count,
    pub(crate) slow: Count,
    pub(crate) short: Count,
    pub(crate) unrested: Count,
}

/// A realm as its loops share it: its defence, what was counted, and who is there.
#[derive(Debug)]
pub(crate) struct Ward {
    pub(crate) guard: Guard,
    pub(crate) counts: Counts,
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    known: HashMap<IpAddr, Source>,
    /// When those of no interest were last forgotten.
    tidied: Option<Instant>,
}

#[derive(Debug)]
struct Source {
    connections: u32,
    /// When its connections of late will be forgotten, at the pace that it may have.
    spent_until: Instant,
}

/// What a connection takes of what its source may have; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    ward: Arc<Ward>,
    source: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut sources = self.ward.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = sources.known.entry(self.source) {
            let source = entry.get_mut();
            source.connections = source.connections.saturating_sub(1);
            // How fast it comes is only of interest where that is limited.
            if source.connections == 0 && self.ward.guard.accepts_per_source.is_none() {
                entry.remove();
            }
        }
    }
}

impl Ward {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard, counts: Counts::default(), sources: Mutex::default() }
    }

    pub(crate) fn tally(&self) -> Tally {
        let counts = &self.counts;
        Tally {
            filtered: counts.filtered.get(),
            crowded: counts.crowded.get(),
            hasty: counts.hasty.get(),
            outdone: counts.outdone.get(),
            not_tls: counts.not_tls.get(),
            slow: counts.slow.get(),
            short: counts.short.get(),
            unrested: counts.unrested.get(),
        }
    }

    /// A seat for one more connection of a source, if seats are counted. `Err`: it may have no more, which
    /// has been counted.
    pub(crate) fn seat(self: &Arc<Self>, source: IpAddr, now: Instant) -> Result<Option<Seat>, ()> {
        const SECOND: Duration = Duration::from_secs(1);
        let Guard { per_source, accepts_per_source, .. } = self.guard;
        if per_source.is_none() && accepts_per_source.is_none() {
            return Ok(None);
        }
        let address = whole(source);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let full =
            |sources: &Sources| sources.known.len() >= REMEMBERED && !sources.known.contains_key(&address);
        if full(&sources) && sources.tidied.is_none_or(|at| now.saturating_duration_since(at) >= SECOND) {
            sources.tidied = Some(now);
            sources.known.retain(|_, source| source.connections > 0 || source.spent_until > now);
        }
        if per_source.is_none() && full(&sources) {
            return Ok(None);
        }
        let source = match sources.known.entry(address) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Source { connections: 0, spent_until: now }),
        };
        if let Some(most) = accepts_per_source {
            let pace = SECOND / most.max(1);
            let spent = source.spent_until.max(now) + pace;
            if most == 0 || spent > now + SECOND {
                self.counts.hasty.add();
                return Err(());
            }
            source.spent_until = spent;
        }
        if per_source.is_some_and(|most| source.connections >= most) {
            self.counts.crowded.add();
            if source.connections == 0 {
                sources.known.remove(&address);
            }
            return Err(());
        }
        source.connections += 1;
        drop(sources);
        Ok(Some(Seat { ward: Arc::clone(self), source: address }))
    }
}

/// Who a source is: of IPv6 addresses the network, because a host has a whole /64 of them (RFC 4291 §2.5.4).
pub(crate) fn whole(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ward(guard: Guard) -> Arc<Ward> {
        Arc::new(Ward::new(guard))
    }

    #[test]
    fn a_source_has_so_many_connections_at_once() {
        let ward = ward(Guard { per_source: Some(2), ..Guard::default() });
        let now = Instant::now();
        let seat = |source: &str| ward.seat(source.parse().unwrap(), now);
        let held = [seat("192.0.2.1").unwrap(), seat("192.0.2.1").unwrap()];
        assert!(seat("192.0.2.1").is_err());
        assert!(seat("192.0.2.2").is_ok());
        drop(held);
        let _one = seat("192.0.2.1").unwrap();
        assert!(seat("192.0.2.1").is_ok());
        assert_eq!(ward.tally(), Tally { crowded: 1, ..Tally::default() });
    }

    #[test]
    fn those_who_left_are_forgotten() {
        let ward = ward(Guard { per_source: Some(2), ..Guard::default() });
        drop(ward.seat("192.0.2.1".parse().unwrap(), Instant::now()).unwrap());
        assert!(ward.sources.lock().unwrap().known.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let ward = ward(Guard { per_source: Some(1), ..Guard::default() });
        let seat = |source: &str| ward.seat(source.parse().unwrap(), Instant::now());
        let _one = seat("2001:db8:1:2::3").unwrap();
        assert!(seat("2001:db8:1:2:4::5").is_err());
        assert!(seat("2001:db8:1:3::3").is_ok());
    }

    #[test]
    fn a_source_comes_so_often_in_a_second() {
        let ward = ward(Guard { accepts_per_source: Some(10), ..Guard::default() });
        let start = Instant::now();
        let mut let_in = 0;
        for tick in 0..3000 {
            let now = start + Duration::from_millis(tick);
            let_in += u32::from(ward.seat("192.0.2.1".parse().unwrap(), now).is_ok());
        }
        // Ten at once, and ten in each of three seconds.
        assert!((38..=40).contains(&let_in), "{let_in}");
        assert_eq!(ward.tally().hasty, 3000 - u64::from(let_in));
    }

    #[test]
    fn sources_that_came_once_do_not_add_up() {
        let ward = ward(Guard { accepts_per_source: Some(10), ..Guard::default() });
        let start = Instant::now();
        for number in 0..200_000u32 {
            let now = start + Duration::from_millis(number.into());
            assert!(ward.seat(std::net::Ipv4Addr::from_bits(number).into(), now).is_ok());
        }
        assert!(ward.sources.lock().unwrap().known.len() <= REMEMBERED);
    }
}
