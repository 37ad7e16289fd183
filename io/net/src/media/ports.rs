//! Local addresses and ports of the realms. A port is leased to one pinhole at a time.
//!
//! Which one is drawn at random, in the spirit of RFC 6056 §3.3.1: who can guess the port of a
//! pinhole can be there before the one it was made for. It is drawn from the half of the free ports
//! that has rested longest, so a port that comes back rests while as many as half of them are leased.
//!
//! Besides, a port that was used is in quarantine for a while: what is still on its way to the session
//! that had it does not reach the next one. While all free ports are in quarantine, the one that has been
//! there longest is given nevertheless, and counted.
//!
//! Realms can come, go, grow and shrink meanwhile ([`Ports::renew`]). What is leased stays leased: a realm that is gone, or
//! has another address now, takes its ports back and gives none.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use carnet_gateway::media::{Family, Refusal};
use carnet_wire::Random;

use super::Realm;
use super::guard::{Tally, Ward};

/// Realms that may come in the life of an engine, after those of its start. A realm whose address or defence is another
/// now counts again.
const LATER: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Ports {
    /// Filled from the front and never emptied: leases name their place.
    realms: Box<[OnceLock<RealmPorts>]>,
    /// The place of the default one.
    default: AtomicUsize,
    /// Held while realms come and go.
    changing: Mutex<()>,
}

#[derive(Debug)]
struct RealmPorts {
    name: String,
    ward: Arc<Ward>,
    v4: Option<AddressPorts>,
    v6: Option<AddressPorts>,
    /// It gives no ports any more.
    gone: AtomicBool,
}

#[derive(Debug)]
struct AddressPorts {
    address: IpAddr,
    free: Mutex<Free>,
}

/// How the ports of a realm stand, those of all its addresses together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pool {
    /// May be given at once.
    pub free: usize,
    /// In use.
    pub used: usize,
    /// In quarantine after use.
    pub resting: usize,
}

#[derive(Debug, Default)]
struct Free {
    /// Those there are; others may still be in use.
    range: Option<RangeInclusive<u16>>,
    /// May be given.
    rested: VecDeque<u16>,
    /// In quarantine, since when; the oldest first.
    resting: VecDeque<(Instant, u16)>,
    used: HashSet<u16>,
}

/// What a lease found.
struct Found {
    port: u16,
    /// It should have rested longer.
    unrested: bool,
}

impl Free {
    fn give(&mut self, now: Instant, quarantine: Duration, random: &mut dyn Random) -> Option<Found> {
        while let Some((since, port)) = self.resting.front().copied()
            && now.saturating_duration_since(since) >= quarantine
        {
            self.resting.pop_front();
            self.rested.push_back(port);
        }
        let chosen = below(self.rested.len().div_ceil(2), random);
        let found = match self.rested.swap_remove_front(chosen) {
            Some(port) => Some(Found { port, unrested: false }),
            None => self.resting.pop_front().map(|(_, port)| Found { port, unrested: true }),
        };
        self.used.extend(found.as_ref().map(|found| found.port));
        found
    }

    /// Takes this port, if it is free.
    fn take(&mut self, port: u16) -> bool {
        let taken = self.pick(port);
        if taken {
            self.used.insert(port);
        }
        taken
    }

    /// Takes it from those that are free.
    fn pick(&mut self, port: u16) -> bool {
        if let Some(index) = self.rested.iter().position(|free| *free == port) {
            return self.rested.remove(index).is_some();
        }
        let index = self.resting.iter().position(|(_, free)| *free == port);
        index.is_some_and(|index| self.resting.remove(index).is_some())
    }

    /// One that was used.
    fn put(&mut self, now: Instant, port: u16) {
        self.used.remove(&port);
        if self.has(port) {
            self.resting.push_back((now, port));
        }
    }

    fn has(&self, port: u16) -> bool {
        self.range.as_ref().is_some_and(|range| range.contains(&port))
    }

    /// It has these from now on. What is in use and not among them is not given again.
    fn set(&mut self, range: &RangeInclusive<u16>, random: &mut dyn Random) {
        let mut new: Vec<u16> = range.clone().filter(|port| !self.has(*port)).collect();
        // One that is in use comes back by itself.
        new.retain(|port| !self.used.contains(port));
        for last in (1..new.len()).rev() {
            new.swap(last, below(last + 1, random));
        }
        self.rested.retain(|port| range.contains(port));
        self.resting.retain(|(_, port)| range.contains(port));
        self.rested.extend(new);
        self.range = Some(range.clone());
    }
}

/// A port in use, until [`Ports::give_back`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Lease {
    /// The number of the realm, and [`V6`].
    realm: u16,
    port: u16,
}

/// In a lease: the address is the realm's for IPv6.
const V6: u16 = 1 << 15;

impl Lease {
    fn new(realm: usize, family: Family, port: u16) -> Option<Self> {
        let realm = u16::try_from(realm).ok().filter(|realm| *realm < V6)?;
        let version = if family == Family::V6 { V6 } else { 0 };
        Some(Self { realm: realm | version, port })
    }

    fn realm(&self) -> usize {
        usize::from(self.realm & !V6)
    }

    fn family(&self) -> Family {
        if self.realm & V6 == 0 { Family::V4 } else { Family::V6 }
    }
}

/// What cannot be a list of realms.
fn check(realms: &[Realm]) -> io::Result<()> {
    let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if realms.is_empty() || realms.len() > usize::from(V6) - LATER {
        return invalid("a media engine needs at least one realm, and not more than 31,744".into());
    }
    for (index, realm) in realms.iter().enumerate() {
        if realm.ports.is_empty() || *realm.ports.start() == 0 {
            return invalid(format!("realm {:?} has no usable port", realm.name));
        }
        if realm.v4.is_none() && realm.v6.is_none() {
            return invalid(format!("realm {:?} has no address", realm.name));
        }
        if realms.iter().take(index).any(|r| r.name == realm.name) {
            return invalid(format!("realm {:?} is there twice", realm.name));
        }
    }
    Ok(())
}

impl Ports {
    pub(crate) fn new(realms: &[Realm], random: &mut dyn Random) -> io::Result<Self> {
        check(realms)?;
        let empty = (0..realms.len() + LATER).map(|_| OnceLock::new()).collect();
        let this = Self { realms: empty, default: AtomicUsize::new(0), changing: Mutex::new(()) };
        this.renew(realms, random)?;
        Ok(this)
    }

    /// These are the realms from now on, the default one first.
    ///
    /// # Errors
    /// They cannot be, or too many have come since the start; nothing has changed then.
    pub(crate) fn renew(&self, realms: &[Realm], random: &mut dyn Random) -> io::Result<()> {
        check(realms)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let there = self.all().count();
        let same = |realm: &Realm| self.all().position(|known| known.is(realm));
        let new = realms.iter().filter(|realm| same(realm).is_none()).count();
        if there + new > self.realms.len() {
            let text = format!("more than {LATER} realms have come since the start");
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, text));
        }
        let mut places = Vec::new();
        for realm in realms {
            let place = match same(realm) {
                Some(place) => place,
                None => {
                    let place = self.all().count();
                    if let Some(slot) = self.realms.get(place) {
                        let _ = slot.set(RealmPorts::new(realm));
                    }
                    place
                }
            };
            if let Some(known) = self.at(place) {
                for ports in [&known.v4, &known.v6].into_iter().flatten() {
                    ports.free().set(&realm.ports, random);
                }
                known.gone.store(false, Ordering::Release);
            }
            places.push(place);
        }
        self.default.store(places.first().copied().unwrap_or_default(), Ordering::Release);
        for (place, known) in self.all().enumerate() {
            if !places.contains(&place) {
                known.gone.store(true, Ordering::Release);
            }
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &RealmPorts> {
        self.realms.iter().map_while(OnceLock::get)
    }

    fn at(&self, place: usize) -> Option<&RealmPorts> {
        self.realms.get(place)?.get()
    }

    fn named(&self, realm: Option<&str>) -> Result<(usize, &RealmPorts), Refusal> {
        let index = match realm {
            None => self.default.load(Ordering::Acquire),
            Some(name) => {
                let found = self.all().position(|realm| realm.name == name && !realm.is_gone());
                found.ok_or(Refusal::UnknownRealm)?
            }
        };
        Ok((index, self.at(index).ok_or(Refusal::UnknownRealm)?))
    }

    /// Whether a realm that is gone still has that port.
    fn is_left(&self, local: SocketAddr) -> bool {
        self.all().filter(|realm| realm.is_gone()).any(|realm| {
            let ports = realm.of(if local.is_ipv4() { Family::V4 } else { Family::V6 });
            ports.is_some_and(|p| p.address == local.ip() && p.free().used.contains(&local.port()))
        })
    }

    /// Leases a port.
    pub(crate) fn lease(
        &self,
        realm: Option<&str>,
        family: Option<Family>,
        random: &mut dyn Random,
    ) -> Result<Lease, Refusal> {
        self.lease_at(Instant::now(), realm, family, random)
    }

    fn lease_at(
        &self,
        now: Instant,
        realm: Option<&str>,
        family: Option<Family>,
        random: &mut dyn Random,
    ) -> Result<Lease, Refusal> {
        let (index, realm) = self.named(realm)?;
        let family = family.unwrap_or(if realm.v4.is_some() { Family::V4 } else { Family::V6 });
        let ports = realm.of(family).ok_or(Refusal::NoSuchFamily)?;
        let mut left = Vec::new();
        let found = loop {
            let found = ports.free().give(now, realm.ward.guard.quarantine, random);
            match found {
                Some(found) if self.is_left(SocketAddr::new(ports.address, found.port)) => {
                    left.push(found.port);
                }
                found => break found,
            }
        };
        left.into_iter().for_each(|port| ports.free().put(now, port));
        let Found { port, unrested } = found.ok_or(Refusal::NoPort)?;
        if unrested {
            realm.ward.counts.unrested.add();
        }
        Lease::new(index, family, port).ok_or(Refusal::UnknownRealm)
    }

    /// Leases an address that somebody knows of from before.
    pub(crate) fn lease_again(&self, realm: Option<&str>, local: SocketAddr) -> Result<Lease, Refusal> {
        let (index, realm) = self.named(realm)?;
        let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
        let ports = realm.of(family).filter(|ports| ports.address == local.ip());
        let port = local.port();
        if !ports.ok_or(Refusal::NoSuchFamily)?.free().take(port) {
            return Err(Refusal::NoPort);
        }
        Lease::new(index, family, port).ok_or(Refusal::UnknownRealm)
    }

    /// The defence of the realm that a port was leased from.
    pub(crate) fn ward(&self, lease: &Lease) -> Option<&Arc<Ward>> {
        self.at(lease.realm()).map(|realm| &realm.ward)
    }

    /// What all realms have turned away, by their names: those that are gone as well.
    pub(crate) fn tallies(&self) -> BTreeMap<&str, Tally> {
        let mut all: BTreeMap<&str, Tally> = BTreeMap::new();
        for realm in self.all() {
            let tally = all.entry(&realm.name).or_default();
            *tally = tally.and(realm.ward.tally());
        }
        all
    }

    /// How the ports of all realms stand, by their names: of those that are gone while they have some in use.
    pub(crate) fn pools(&self, now: Instant) -> BTreeMap<&str, Pool> {
        let mut all: BTreeMap<&str, Pool> = BTreeMap::new();
        for realm in self.all() {
            let quarantine = realm.ward.guard.quarantine;
            let mut pool = Pool::default();
            for ports in [&realm.v4, &realm.v6].into_iter().flatten() {
                let there = ports.free();
                let rests = |since: Instant| now.saturating_duration_since(since) < quarantine;
                let resting = there.resting.iter().filter(|(since, _)| rests(*since)).count();
                if !realm.is_gone() {
                    pool.resting += resting;
                    pool.free += there.rested.len() + there.resting.len() - resting;
                }
                pool.used += there.used.len();
            }
            if !realm.is_gone() || pool.used > 0 {
                let sum = all.entry(&realm.name).or_default();
                sum.free += pool.free;
                sum.used += pool.used;
                sum.resting += pool.resting;
            }
        }
        all
    }

    /// The leased address and port.
    pub(crate) fn local(&self, lease: &Lease) -> SocketAddr {
        let address = self.of(lease).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ports| ports.address);
        SocketAddr::new(address, lease.port)
    }

    pub(crate) fn give_back(&self, lease: Lease) {
        self.give_back_at(Instant::now(), lease);
    }

    fn give_back_at(&self, now: Instant, lease: Lease) {
        let (Some(realm), Some(ports)) = (self.at(lease.realm()), self.of(&lease)) else { return };
        ports.free().put(now, lease.port);
        if !realm.is_gone() {
            return;
        }
        // Where another realm has the address now, the port rests there.
        let heirs = self.all().filter(|heir| !heir.is_gone()).filter_map(|heir| heir.of(lease.family()));
        for heir in heirs.filter(|heir| heir.address == ports.address) {
            let mut free = heir.free();
            if free.pick(lease.port) {
                free.put(now, lease.port);
            }
        }
    }

    fn of(&self, lease: &Lease) -> Option<&AddressPorts> {
        self.at(lease.realm())?.of(lease.family())
    }
}

impl RealmPorts {
    /// One without ports.
    fn new(realm: &Realm) -> Self {
        let of = |address| AddressPorts { address, free: Mutex::default() };
        Self {
            name: realm.name.clone(),
            ward: Arc::new(Ward::new(realm.guard.clone())),
            v4: realm.v4.map(|address| of(address.into())),
            v6: realm.v6.map(|address| of(address.into())),
            gone: AtomicBool::new(true),
        }
    }

    /// Whether it is that realm, whatever its ports.
    fn is(&self, realm: &Realm) -> bool {
        let at = |ports: &Option<AddressPorts>| ports.as_ref().map(|ports| ports.address);
        self.name == realm.name
            && at(&self.v4) == realm.v4.map(IpAddr::from)
            && at(&self.v6) == realm.v6.map(IpAddr::from)
            && self.ward.guard == realm.guard
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn of(&self, family: Family) -> Option<&AddressPorts> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }
}

impl AddressPorts {
    fn free(&self) -> MutexGuard<'_, Free> {
        // Nothing can panic between taking a port out and the end of the lock's life.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number below `limit`, or 0. The remainder favours none by more than 2^-47.
fn below(limit: usize, random: &mut dyn Random) -> usize {
    let drawn = random.u64().checked_rem(limit as u64).unwrap_or(0);
    usize::try_from(drawn).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Guard;
    use carnet_wire::SeededRandom;

    fn ports(range: std::ops::RangeInclusive<u16>, seed: u64) -> (Ports, SeededRandom) {
        resting(range, seed, Duration::ZERO)
    }

    fn resting(
        range: std::ops::RangeInclusive<u16>,
        seed: u64,
        quarantine: Duration,
    ) -> (Ports, SeededRandom) {
        let guard = Guard { quarantine, ..Guard::default() };
        let realm = Realm {
            name: "core".into(),
            v4: Some(Ipv4Addr::LOCALHOST),
            v6: None,
            ports: range,
            guard,
            ..Realm::default()
        };
        let mut random = SeededRandom::new(seed);
        (Ports::new(&[realm], &mut random).unwrap(), random)
    }

    #[test]
    fn what_is_free_used_and_resting_adds_up() {
        let (ports, mut random) = resting(30_000..=30_009, 11, Realm::default().guard.quarantine);
        let (now, of) = (Instant::now(), |ports: &Ports, now| ports.pools(now).into_values().next());
        assert_eq!(of(&ports, now), Some(Pool { free: 10, used: 0, resting: 0 }));
        let lease = ports.lease_at(now, None, None, &mut random).unwrap();
        let other = ports.lease_at(now, None, None, &mut random).unwrap();
        assert_eq!(of(&ports, now), Some(Pool { free: 8, used: 2, resting: 0 }));
        ports.give_back_at(now, lease);
        assert_eq!(of(&ports, now), Some(Pool { free: 8, used: 1, resting: 1 }));
        let rested = now + Realm::default().guard.quarantine;
        assert_eq!(of(&ports, rested), Some(Pool { free: 9, used: 1, resting: 0 }));
        ports.give_back_at(rested, other);
    }

    #[test]
    fn ports_run_out_and_come_back() {
        let (ports, mut random) = ports(4000..=4002, 1);
        let mut lease = || ports.lease(Some("core"), Some(Family::V4), &mut random);
        let leases: Vec<_> = (0..3).map(|_| lease().unwrap()).collect();
        let mut numbers: Vec<_> = leases.iter().map(|lease| ports.local(lease).port()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [4000, 4001, 4002]);
        assert_eq!(lease().unwrap_err(), Refusal::NoPort);
        for back in leases {
            let port = back.port;
            ports.give_back(back);
            let again = lease().unwrap();
            assert_eq!(again.port, port, "the only free one");
        }
    }

    #[test]
    fn a_port_that_came_back_rests() {
        let (ports, mut random) = ports(1..=1000, 2);
        for _ in 0..100 {
            let back = ports.lease(None, None, &mut random).unwrap();
            let port = back.port;
            ports.give_back(back);
            let next: Vec<_> = (0..400).map(|_| ports.lease(None, None, &mut random).unwrap()).collect();
            assert!(next.iter().all(|lease| lease.port != port));
            next.into_iter().for_each(|lease| ports.give_back(lease));
        }
    }

    #[test]
    fn a_port_is_not_given_again_before_its_quarantine_is_over() {
        let quarantine = Duration::from_secs(30);
        let (ports, mut random) = resting(1..=10, 7, quarantine);
        let start = Instant::now();
        let mut lease = |after| ports.lease_at(start + Duration::from_secs(after), None, None, &mut random);
        let used = lease(0).unwrap();
        let port = used.port;
        ports.give_back_at(start, used);
        let others: Vec<_> = (0..9).map(|_| lease(29).unwrap()).collect();
        assert!(others.iter().all(|lease| lease.port != port));
        assert_eq!(lease(30).unwrap().port, port);
        assert_eq!(lease(30).unwrap_err(), Refusal::NoPort);
        assert_eq!(ports.tallies()["core"].unrested, 0);
    }

    #[test]
    fn while_all_are_in_quarantine_the_oldest_is_given_and_counted() {
        let (ports, mut random) = resting(1..=3, 8, Duration::from_secs(30));
        let now = Instant::now();
        let mut lease = |after| ports.lease_at(now + Duration::from_secs(after), None, None, &mut random);
        let all: Vec<_> = (0..3).map(|_| lease(0).unwrap()).collect();
        let order: Vec<_> = all.iter().map(|lease| lease.port).collect();
        for (after, back) in (1..).zip(all) {
            ports.give_back_at(now + Duration::from_secs(after), back);
        }
        let again: Vec<_> = (0..3).map(|_| lease(5).unwrap().port).collect();
        assert_eq!(again, order);
        assert_eq!(lease(5).unwrap_err(), Refusal::NoPort);
        assert_eq!(ports.tallies()["core"].unrested, 3);
    }

    #[test]
    fn a_port_that_is_known_from_before_is_leased_once() {
        let (ports, mut random) = resting(4000..=4003, 9, Duration::from_secs(30));
        let used = ports.lease(None, None, &mut random).unwrap();
        let (local, other) = (ports.local(&used), "127.0.0.2:4001".parse().unwrap());
        assert_eq!(ports.lease_again(None, local).unwrap_err(), Refusal::NoPort);
        ports.give_back(used);
        let lease = ports.lease_again(Some("core"), local).unwrap();
        assert_eq!(ports.local(&lease), local, "also while it rests");
        assert_eq!(ports.lease_again(None, local).unwrap_err(), Refusal::NoPort);
        assert_eq!(ports.lease_again(None, "127.0.0.1:4004".parse().unwrap()).unwrap_err(), Refusal::NoPort);
        assert_eq!(ports.lease_again(None, other).unwrap_err(), Refusal::NoSuchFamily);
        assert_eq!(
            ports.lease_again(None, "[::1]:4001".parse().unwrap()).unwrap_err(),
            Refusal::NoSuchFamily
        );
        assert_eq!(ports.lease_again(Some("moon"), local).unwrap_err(), Refusal::UnknownRealm);
    }

    #[test]
    fn every_port_has_its_turn_and_none_can_be_told() {
        let (ports, mut random) = ports(1..=100, 3);
        let mut order = Vec::new();
        for _ in 0..3000 {
            let lease = ports.lease(None, None, &mut random).unwrap();
            order.push(lease.port);
            ports.give_back(lease);
        }
        for port in 1..=100 {
            let times = order.iter().filter(|drawn| **drawn == port).count();
            assert!((10..=60).contains(&times), "port {port} was drawn {times} times");
        }
        let in_step = order.windows(2).filter(|pair| pair[1] == pair[0] % 100 + 1).count();
        assert!(in_step < 90, "{in_step} of 2999 ports followed their neighbour");
        let mut other = SeededRandom::new(4);
        let first = |random: &mut SeededRandom| {
            let realm = Realm {
                name: "a".into(),
                v4: Some(Ipv4Addr::LOCALHOST),
                v6: None,
                ports: 1..=60_000,
                ..Realm::default()
            };
            let ports = Ports::new(&[realm], random).unwrap();
            ports.lease(None, None, random).unwrap().port
        };
        assert_ne!(first(&mut random), first(&mut other));
    }

    #[test]
    fn what_a_realm_lacks_is_refused() {
        let (ports, mut random) = ports(1..=2, 5);
        let mut refusal = |realm, family| ports.lease(realm, family, &mut random).unwrap_err();
        assert_eq!(refusal(Some("moon"), None), Refusal::UnknownRealm);
        assert_eq!(refusal(None, Some(Family::V6)), Refusal::NoSuchFamily);
    }

    #[test]
    fn a_realm_grows_and_shrinks_and_what_is_leased_stays() {
        let (ports, mut random) = ports(4000..=4003, 10);
        let realm = |ports| Realm { name: "core".into(), v4: Some(Ipv4Addr::LOCALHOST), ports, ..realm_of() };
        let leases: Vec<_> = (0..4).map(|_| ports.lease(None, None, &mut random).unwrap()).collect();
        ports.renew(&[realm(4002..=4005)], &mut random).unwrap();
        let now = Instant::now();
        assert_eq!(ports.pools(now)["core"], Pool { free: 2, used: 4, resting: 0 });
        let mut new: Vec<_> = (0..2).map(|_| ports.lease(None, None, &mut random).unwrap().port).collect();
        new.sort_unstable();
        assert_eq!(new, [4004, 4005]);
        assert_eq!(ports.lease(None, None, &mut random).unwrap_err(), Refusal::NoPort);
        // Of those that come back the ones that are still of the realm are given again.
        leases.into_iter().for_each(|lease| ports.give_back(lease));
        let mut again = Vec::new();
        while let Ok(lease) = ports.lease(None, None, &mut random) {
            again.push(lease.port);
        }
        again.sort_unstable();
        assert_eq!(again, [4002, 4003]);
        ports.renew(&[realm(4000..=4005)], &mut random).unwrap();
        assert_eq!(ports.pools(now)["core"], Pool { free: 2, used: 4, resting: 0 });
    }

    fn realm_of() -> Realm {
        let guard = Guard { quarantine: Duration::ZERO, ..Guard::default() };
        Realm { guard, ..Realm::default() }
    }

    #[test]
    fn a_realm_that_is_gone_gives_nothing_and_takes_back() {
        let (ports, mut random) = ports(4000..=4001, 11);
        let named = |name: &str, last: u8, ports| Realm {
            name: name.into(),
            v4: Some(Ipv4Addr::new(127, 0, 0, last)),
            ports,
            ..realm_of()
        };
        let old = ports.lease(Some("core"), None, &mut random).unwrap();
        // Another realm takes its place, on the same address.
        ports.renew(&[named("other", 1, 4000..=4001)], &mut random).unwrap();
        assert_eq!(ports.lease(Some("core"), None, &mut random).unwrap_err(), Refusal::UnknownRealm);
        assert_eq!(ports.local(&old), SocketAddr::new([127, 0, 0, 1].into(), old.port));
        let first = ports.lease(None, None, &mut random).unwrap();
        assert_ne!(first.port, old.port, "it is still in use");
        assert_eq!(ports.lease(None, None, &mut random).unwrap_err(), Refusal::NoPort);
        let now = Instant::now();
        assert_eq!(ports.pools(now)["core"], Pool { free: 0, used: 1, resting: 0 });
        let port = old.port;
        ports.give_back(old);
        assert!(!ports.pools(now).contains_key("core"));
        assert_eq!(ports.lease(Some("other"), None, &mut random).unwrap().port, port);
        // It comes back with another address, and then with the one it had: that is the same one again.
        ports.renew(&[named("core", 2, 4000..=4001), named("other", 1, 4000..=4001)], &mut random).unwrap();
        let lease = ports.lease(None, None, &mut random).unwrap();
        assert_eq!(ports.local(&lease).ip(), IpAddr::from([127, 0, 0, 2]), "the first is the default");
        let before = ports.all().count();
        for last in [1, 2, 1, 2] {
            ports.renew(&[named("core", last, 4000..=4001)], &mut random).unwrap();
        }
        assert_eq!(ports.all().count(), before);
        assert!(ports.renew(&[], &mut random).is_err());
        assert_eq!(ports.lease(None, None, &mut random).unwrap().realm(), lease.realm());
    }

    #[test]
    fn realms_without_end_are_refused() {
        let (ports, mut random) = ports(1..=2, 12);
        let mut renew = |n: usize| {
            let realm =
                Realm { name: n.to_string(), v4: Some(Ipv4Addr::LOCALHOST), ports: 1..=2, ..realm_of() };
            ports.renew(&[realm], &mut random)
        };
        for n in 0..LATER {
            renew(n).unwrap();
        }
        assert!(renew(LATER).is_err());
        renew(7).unwrap();
        assert!(ports.lease(Some("7"), None, &mut random).is_ok());
    }

    #[test]
    fn senseless_realms_are_refused() {
        let make = |realms: &[Realm]| Ports::new(realms, &mut SeededRandom::new(6));
        assert!(make(&[]).is_err());
        let realm = |ports| Realm {
            name: "a".into(),
            v4: Some(Ipv4Addr::LOCALHOST),
            v6: None,
            ports,
            ..Realm::default()
        };
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
        let reversed = 5..=4;
        assert!(make(&[realm(reversed)]).is_err());
        assert!(make(&[realm(0..=4)]).is_err());
        assert!(make(&[realm(1..=4), realm(1..=4)]).is_err());
    }
}
