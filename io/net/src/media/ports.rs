//! Local addresses and ports of the realms. A port is leased to one pinhole at a time.
//!
//! Which one is drawn at random, in the spirit of RFC 6056 §3.3.1: who can guess the port of a
//! pinhole can be there before the one it was made for. It is drawn from the half of the free ports
//! that has rested longest, so a port that comes back rests while as many as half of them are leased.
//!
//! Besides, a port that was used is in quarantine for a while: what is still on its way to the session
//! that had it does not reach the next one. While all free ports are in quarantine, the one that has been
//! there longest is given nevertheless, and counted.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use carnet_gateway::media::{Family, Refusal};
use carnet_wire::Random;

use super::Realm;
use super::guard::Ward;

#[derive(Debug)]
pub(crate) struct Ports {
    realms: Vec<RealmPorts>,
}

#[derive(Debug)]
struct RealmPorts {
    name: String,
    ward: Arc<Ward>,
    v4: Option<AddressPorts>,
    v6: Option<AddressPorts>,
}

#[derive(Debug)]
struct AddressPorts {
    address: IpAddr,
    /// How many there are.
    all: usize,
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
    /// May be given.
    rested: VecDeque<u16>,
    /// In quarantine, since when; the oldest first.
    resting: VecDeque<(Instant, u16)>,
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
        match self.rested.swap_remove_front(chosen) {
            Some(port) => Some(Found { port, unrested: false }),
            None => self.resting.pop_front().map(|(_, port)| Found { port, unrested: true }),
        }
    }
}

impl Free {
    /// Takes this port, if it is free.
    fn take(&mut self, port: u16) -> bool {
        if let Some(index) = self.rested.iter().position(|free| *free == port) {
            return self.rested.remove(index).is_some();
        }
        let index = self.resting.iter().position(|(_, free)| *free == port);
        index.is_some_and(|index| self.resting.remove(index).is_some())
    }
}

/// A port in use, until [`Ports::give_back`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Lease {
    realm: u16,
    port: u16,
    family: Family,
}

impl Ports {
    pub(crate) fn new(realms: &[Realm], random: &mut dyn Random) -> io::Result<Self> {
        let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if realms.is_empty() || realms.len() > usize::from(u16::MAX) {
            return invalid("a media engine needs at least one realm, and not more than 65,535".into());
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
        let mut address_ports = |address: IpAddr, realm: &Realm| {
            let mut rested: VecDeque<u16> = realm.ports.clone().collect();
            for last in (1..rested.len()).rev() {
                rested.swap(last, below(last + 1, random));
            }
            AddressPorts { address, all: rested.len(), free: Mutex::new(Free { rested, ..Free::default() }) }
        };
        let realms = realms
            .iter()
            .map(|realm| RealmPorts {
                name: realm.name.clone(),
                ward: Arc::new(Ward::new(realm.guard.clone())),
                v4: realm.v4.map(|a| address_ports(a.into(), realm)),
                v6: realm.v6.map(|a| address_ports(a.into(), realm)),
            })
            .collect();
        Ok(Self { realms })
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
        let index = match realm {
            None => 0,
            Some(name) => self.realms.iter().position(|r| r.name == name).ok_or(Refusal::UnknownRealm)?,
        };
        let realm = self.realms.get(index).ok_or(Refusal::UnknownRealm)?;
        let family = family.unwrap_or(if realm.v4.is_some() { Family::V4 } else { Family::V6 });
        let ports = realm.of(family).ok_or(Refusal::NoSuchFamily)?;
        let found = ports.free().give(now, realm.ward.guard.quarantine, random);
        let Found { port, unrested } = found.ok_or(Refusal::NoPort)?;
        if unrested {
            realm.ward.counts.unrested.add();
        }
        let realm = u16::try_from(index).map_err(|_| Refusal::UnknownRealm)?;
        Ok(Lease { realm, port, family })
    }

    /// Leases an address that somebody knows of from before.
    pub(crate) fn lease_again(&self, realm: Option<&str>, local: SocketAddr) -> Result<Lease, Refusal> {
        let index = match realm {
            None => 0,
            Some(name) => self.realms.iter().position(|r| r.name == name).ok_or(Refusal::UnknownRealm)?,
        };
        let realm = self.realms.get(index).ok_or(Refusal::UnknownRealm)?;
        let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
        let ports = realm.of(family).filter(|ports| ports.address == local.ip());
        let port = local.port();
        if !ports.ok_or(Refusal::NoSuchFamily)?.free().take(port) {
            return Err(Refusal::NoPort);
        }
        let realm = u16::try_from(index).map_err(|_| Refusal::UnknownRealm)?;
        Ok(Lease { realm, port, family })
    }

    /// The defence of the realm that a port was leased from.
    pub(crate) fn ward(&self, lease: &Lease) -> Option<&Arc<Ward>> {
        self.realms.get(usize::from(lease.realm)).map(|realm| &realm.ward)
    }

    /// All defences, with the names of their realms.
    pub(crate) fn wards(&self) -> impl Iterator<Item = (&str, &Ward)> {
        self.realms.iter().map(|realm| (realm.name.as_str(), &*realm.ward))
    }

    /// How the ports of all realms stand, with their names.
    pub(crate) fn pools(&self, now: Instant) -> impl Iterator<Item = (&str, Pool)> {
        self.realms.iter().map(move |realm| {
            let quarantine = realm.ward.guard.quarantine;
            let mut pool = Pool::default();
            for ports in [&realm.v4, &realm.v6].into_iter().flatten() {
                let there = ports.free();
                let rests = |since: Instant| now.saturating_duration_since(since) < quarantine;
                let resting = there.resting.iter().filter(|(since, _)| rests(*since)).count();
                let idle = there.rested.len() + there.resting.len();
                pool.resting += resting;
                pool.free += idle - resting;
                pool.used += ports.all.saturating_sub(idle);
            }
            (realm.name.as_str(), pool)
        })
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
        if let Some(ports) = self.of(&lease) {
            ports.free().resting.push_back((now, lease.port));
        }
    }

    fn of(&self, lease: &Lease) -> Option<&AddressPorts> {
        self.realms.get(usize::from(lease.realm))?.of(lease.family)
    }
}

impl RealmPorts {
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
        let (now, of) = (Instant::now(), |ports: &Ports, now| ports.pools(now).next().map(|(_, pool)| pool));
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
        assert_eq!(ports.wards().next().unwrap().1.tally().unrested, 0);
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
        assert_eq!(ports.wards().next().unwrap().1.tally().unrested, 3);
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
