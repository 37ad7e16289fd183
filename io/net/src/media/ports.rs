//! Local addresses and ports of the realms. A port is leased to one pinhole at a time and goes to
//! the end of the line when it comes back, so that it rests as long as possible.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carnet_gateway::media::{Family, Refusal};

use super::Realm;

#[derive(Debug)]
pub(super) struct Ports {
    realms: Vec<RealmPorts>,
}

#[derive(Debug)]
struct RealmPorts {
    name: String,
    v4: Option<AddressPorts>,
    v6: Option<AddressPorts>,
}

#[derive(Debug)]
struct AddressPorts {
    address: IpAddr,
    free: Mutex<VecDeque<u16>>,
}

/// A port in use. Comes back when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    ports: Arc<Ports>,
    realm: usize,
    local: SocketAddr,
}

impl Ports {
    pub(super) fn new(realms: &[Realm]) -> io::Result<Self> {
        let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if realms.is_empty() {
            return invalid("a media engine needs at least one realm".into());
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
        let address_ports = |address: IpAddr, realm: &Realm| AddressPorts {
            address,
            free: Mutex::new(realm.ports.clone().collect()),
        };
        let realms = realms
            .iter()
            .map(|realm| RealmPorts {
                name: realm.name.clone(),
                v4: realm.v4.map(|a| address_ports(a.into(), realm)),
                v6: realm.v6.map(|a| address_ports(a.into(), realm)),
            })
            .collect();
        Ok(Self { realms })
    }

    /// Leases the port that has rested longest.
    pub(super) fn lease(
        self: &Arc<Self>,
        realm: Option<&str>,
        family: Option<Family>,
    ) -> Result<Lease, Refusal> {
        let index = match realm {
            None => 0,
            Some(name) => self.realms.iter().position(|r| r.name == name).ok_or(Refusal::UnknownRealm)?,
        };
        let realm = self.realms.get(index).ok_or(Refusal::UnknownRealm)?;
        let ports = match family {
            Some(Family::V4) => realm.v4.as_ref(),
            Some(Family::V6) => realm.v6.as_ref(),
            None => realm.v4.as_ref().or(realm.v6.as_ref()),
        }
        .ok_or(Refusal::NoSuchFamily)?;
        let port = ports.free().pop_front().ok_or(Refusal::NoPort)?;
        Ok(Lease { ports: Arc::clone(self), realm: index, local: SocketAddr::new(ports.address, port) })
    }

    fn put(&self, realm: usize, local: SocketAddr) {
        let Some(realm) = self.realms.get(realm) else {
            return;
        };
        let ports = if local.is_ipv4() { &realm.v4 } else { &realm.v6 };
        if let Some(ports) = ports {
            ports.free().push_back(local.port());
        }
    }
}

impl AddressPorts {
    fn free(&self) -> MutexGuard<'_, VecDeque<u16>> {
        // Nothing can panic between taking a port out and the end of the lock's life.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ports.put(self.realm, self.local);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ports() -> Arc<Ports> {
        let realm =
            Realm { name: "core".into(), v4: Some(Ipv4Addr::LOCALHOST), v6: None, ports: 4000..=4002 };
        Arc::new(Ports::new(&[realm]).unwrap())
    }

    #[test]
    fn ports_run_out_and_come_back_in_order() {
        let ports = ports();
        let lease = || ports.lease(Some("core"), Some(Family::V4));
        let leases: Vec<_> = (0..3).map(|_| lease().unwrap()).collect();
        assert_eq!(lease().unwrap_err(), Refusal::NoPort);
        for lease in leases.into_iter().rev() {
            drop(lease);
        }
        assert_eq!(lease().unwrap().local().port(), 4002);
        assert_eq!(lease().unwrap().local().port(), 4001);
    }

    #[test]
    fn what_a_realm_lacks_is_refused() {
        let ports = ports();
        let refusal = |realm, family| ports.lease(realm, family).unwrap_err();
        assert_eq!(refusal(Some("moon"), None), Refusal::UnknownRealm);
        assert_eq!(refusal(None, Some(Family::V6)), Refusal::NoSuchFamily);
    }

    #[test]
    fn senseless_realms_are_refused() {
        assert!(Ports::new(&[]).is_err());
        let realm = |ports| Realm { name: "a".into(), v4: Some(Ipv4Addr::LOCALHOST), v6: None, ports };
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
        let reversed = 5..=4;
        assert!(Ports::new(&[realm(reversed)]).is_err());
        assert!(Ports::new(&[realm(0..=4)]).is_err());
        assert!(Ports::new(&[realm(1..=4), realm(1..=4)]).is_err());
    }
}
