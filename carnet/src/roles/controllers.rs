//! A gateway's ways to its controllers: addresses, of which a name may have several, connections, and who
//! is heard from where (RFC 3525 §7.2.8, §11.5).
//!
//! A controller is written to at one address until that fails; then its name is looked up again once the
//! answer's time is over, and the next address is tried. What comes in a controller's name counts
//! only from there.

use super::control::{address_of, apart, asks, same_host, transport};
use carnet_h248::{MId, Message, ServiceChangeAddress};
use carnet_net::h248::{ControlPeer, ControlSockets, ControlTransport};
use carnet_ops::config::{ControlAddress, Host};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// What keeps a message from going out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWay {
    /// The name is being looked up, or nobody knows the controller.
    Yet,
    /// It could not be sent: try to connect again.
    Failed,
}

/// One controller.
struct Controller {
    mid: MId,
    place: Place,
    /// The connection, or the address that datagrams go to.
    peer: Option<ControlPeer>,
    /// Where its last request came from, for the answer.
    heard: Option<ControlPeer>,
    /// Where the file says now that it is, while the way that there is leads elsewhere: taken when that ends.
    next: Option<Place>,
}

enum Place {
    /// In this process: there is one way, and when it ends there is none.
    Inside,
    Outside {
        transport: ControlTransport,
        /// To be looked up.
        name: Option<String>,
        port: u16,
        addresses: Vec<IpAddr>,
        /// Which of them is used.
        current: usize,
        /// When the name has to be looked up again.
        until: Option<Instant>,
        asked: bool,
    },
}

impl Place {
    /// Whether the file says the same of both.
    fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inside, Self::Inside) => true,
            (
                Self::Outside { transport, name, port, addresses, .. },
                Self::Outside { transport: t, name: n, port: p, addresses: a, .. },
            ) => (transport, name, port) == (t, n, p) && (name.is_some() || addresses == a),
            _ => false,
        }
    }
}

/// All of them.
pub struct Controllers {
    all: Vec<Controller>,
    /// Our own addresses, and ports for datagrams; empty leaves it to the system.
    from: Vec<SocketAddr>,
    port: u16,
}

impl Controllers {
    /// None yet. `port` is where a controller listens that says nothing else.
    pub fn new(from: Vec<SocketAddr>, port: u16) -> Self {
        Self { all: Vec::new(), from, port }
    }

    /// One from the file. `inside` is the way to it if it is in this process.
    pub fn add(&mut self, address: &ControlAddress, inside: Option<ControlPeer>) {
        let place = match address {
            ControlAddress::Local(_) => Place::Inside,
            ControlAddress::Remote { proto, host, port, .. } => {
                let (name, addresses) = match host {
                    Host::Ip(ip) => (None, vec![*ip]),
                    Host::Name(name) => (Some(name.clone()), Vec::new()),
                };
                let port = port.unwrap_or(self.port);
                outside(transport(*proto), name, port, addresses)
            }
        };
        let mid = MId::domain(address.name().to_owned());
        self.all.push(Controller { mid, place, peer: inside, heard: None, next: None });
    }

    /// These from now on, in their order. `current` has us, whether it is named or not: the way to it stays. What leads to
    /// others that are not named any more is closed.
    pub fn renew(&mut self, sockets: &ControlSockets, addresses: &[ControlAddress], current: Option<&MId>) {
        let before = std::mem::take(&mut self.all);
        for address in addresses {
            self.add(address, None);
        }
        for known in before {
            let place = self.all.iter().position(|new| same_name(&new.mid, &known.mid));
            let new = place.and_then(|place| self.all.get_mut(place));
            let has_us = current.is_some_and(|current| same_name(current, &known.mid));
            match new {
                // The way stays as it was while it leads to where it should, or is in use.
                Some(new) if new.place.is_as(&known.place) => *new = Controller { next: None, ..known },
                Some(new) if has_us && known.peer.is_some() => {
                    let unused = Place::Inside;
                    let next = Some(std::mem::replace(&mut new.place, unused));
                    *new = Controller { next, ..known };
                }
                None if has_us => self.all.push(known),
                _ => known.peer.into_iter().for_each(|peer| sockets.close(peer)),
            }
        }
    }

    /// The names, in order of preference.
    pub fn mids(&self) -> Vec<MId> {
        self.all.iter().map(|controller| controller.mid.clone()).collect()
    }

    /// One that a controller has sent us to (RFC 3525 §11.4, §11.5): reached as that one is, at the address
    /// in its mId or under its name.
    fn learn(&mut self, mid: &MId) -> Option<usize> {
        /// More than a network has.
        const MOST: usize = 64;
        let like = self.all.iter().find_map(|controller| match &controller.place {
            Place::Outside { transport, .. } => Some(*transport),
            Place::Inside => None,
        })?;
        if self.all.len() >= MOST {
            return None;
        }
        let port = mid.port().unwrap_or(self.port);
        let place = match mid {
            MId::Address { ip, .. } => outside(like, None, port, vec![*ip]),
            MId::Domain { name, .. } => outside(like, Some(name.as_str().to_owned()), port, Vec::new()),
            MId::Mtp(_) | MId::Device(_) => return None,
        };
        self.all.push(Controller { mid: mid.clone(), place, peer: None, heard: None, next: None });
        Some(self.all.len() - 1)
    }

    fn of(&self, mid: &MId) -> Option<usize> {
        self.all.iter().position(|controller| same_name(&controller.mid, mid))
    }

    /// Whether a message in the name of `mid` may come from `peer`: over the connection to it, or from its
    /// address. A `given` ServiceChangeAddress is its address too. Notes where it asks from.
    pub fn admits(
        &mut self,
        message: &Message,
        peer: ControlPeer,
        given: Option<&ServiceChangeAddress>,
    ) -> bool {
        let Some(controller) = self.of(&message.mid).and_then(|index| self.all.get_mut(index)) else {
            return false;
        };
        let admitted = match (&controller.place, peer) {
            (Place::Outside { addresses, .. }, ControlPeer::Datagram { remote, .. }) => {
                let elsewhere = given.and_then(|given| address_of(given, remote));
                let known = addresses.iter().copied().chain(elsewhere.map(|address| address.ip()));
                let here = controller.peer.is_some_and(|peer| !peer.is_reliable());
                here && known.into_iter().any(|known| same_host(known, remote.ip()))
            }
            _ => controller.peer == Some(peer),
        };
        if admitted && asks(message) {
            controller.heard = Some(peer);
        }
        admitted
    }

    /// Whether one of the controllers is at the other end.
    pub fn knows(&self, peer: ControlPeer) -> bool {
        self.all.iter().any(|controller| match (&controller.place, peer) {
            (Place::Outside { addresses, .. }, ControlPeer::Datagram { remote, .. }) => {
                addresses.iter().any(|known| same_host(*known, remote.ip()))
            }
            _ => controller.peer == Some(peer),
        })
    }

    /// Sends a message: what asks to the address given if one was, what answers to where the controller
    /// asked from.
    pub fn send(
        &mut self,
        sockets: &ControlSockets,
        mid: &MId,
        message: Message,
        given: Option<&ServiceChangeAddress>,
    ) -> Result<(), NoWay> {
        let peer = self.way_to(sockets, mid)?;
        let controller = self.of(mid).and_then(|index| self.all.get(index)).ok_or(NoWay::Yet)?;
        let asking = match (peer, given.zip(peer.address())) {
            (ControlPeer::Datagram { local, .. }, Some((given, heard))) => {
                address_of(given, heard).map(|remote| ControlPeer::Datagram { remote, local })
            }
            _ => None,
        };
        let asking = asking.unwrap_or(peer);
        let answering = controller.heard.filter(|heard| !heard.is_reliable()).unwrap_or(peer);
        let parts = if asking == answering {
            [Some((asking, message)), None]
        } else {
            let [a, b] = apart(message);
            [a.map(|part| (asking, part)), b.map(|part| (answering, part))]
        };
        for (peer, part) in parts.into_iter().flatten() {
            if let Err(error) = sockets.send(peer, part) {
                tracing::debug!(controller = %mid, %error, "not sent to the controller");
            }
        }
        Ok(())
    }

    /// Where to send for a controller; connects or looks up if need be.
    fn way_to(&mut self, sockets: &ControlSockets, mid: &MId) -> Result<ControlPeer, NoWay> {
        let index = self.of(mid).or_else(|| self.learn(mid)).ok_or(NoWay::Yet)?;
        let controller = self.all.get_mut(index).ok_or(NoWay::Yet)?;
        if let Some(peer) = controller.peer {
            return Ok(peer);
        }
        let Place::Outside { transport, name, port, addresses, current, until, asked } =
            &mut controller.place
        else {
            return Err(NoWay::Yet);
        };
        if let Some(name) = name
            && until.is_none_or(|until| until <= Instant::now())
        {
            if !std::mem::replace(asked, true) {
                sockets.resolve(name);
            }
            return Err(NoWay::Yet);
        }
        let ip = addresses.get(*current % addresses.len().max(1)).ok_or(NoWay::Yet)?;
        let remote = SocketAddr::new(*ip, *port);
        let from = self.from.iter().find(|from| from.is_ipv4() == remote.is_ipv4()).copied();
        match sockets.connect(*transport, remote, from, Some(&controller.mid)) {
            Ok(peer) => {
                controller.peer = Some(peer);
                Ok(peer)
            }
            Err(error) => {
                tracing::warn!(controller = %mid, %error, "no way to the controller");
                Err(NoWay::Failed)
            }
        }
    }

    /// A name was looked up. Whether there is an address now.
    pub fn resolved(&mut self, looked_up: &str, found: &[IpAddr], valid: Instant) -> bool {
        let mut any = false;
        for controller in &mut self.all {
            let Place::Outside { name, addresses, current, until, asked, .. } = &mut controller.place else {
                continue;
            };
            if name.as_deref() != Some(looked_up) {
                continue;
            }
            *asked = false;
            if found.is_empty() {
                tracing::warn!(controller = %controller.mid, name = looked_up, "no address for the controller");
                continue;
            }
            // In another order they are the same: the one that is being used stays.
            let used = addresses.get(*current).copied();
            *current = used.and_then(|used| found.iter().position(|ip| *ip == used)).unwrap_or(0);
            *addresses = found.to_vec();
            // One that holds for no time at all is used once.
            *until = Some(valid.max(Instant::now() + std::time::Duration::from_secs(1)));
            any = true;
        }
        any
    }

    /// A connection ended. Whether it was one of ours that can be made again.
    pub fn closed(&mut self, peer: ControlPeer) -> bool {
        let Some(controller) = self.all.iter_mut().find(|controller| controller.peer == Some(peer)) else {
            return false;
        };
        forget(controller);
        true
    }

    /// A controller does not answer: the next address, when it is tried again.
    pub fn unreachable(&mut self, sockets: &ControlSockets, mid: &MId) {
        if let Some(controller) = self.of(mid).and_then(|index| self.all.get_mut(index))
            && let Place::Outside { .. } = controller.place
        {
            if let Some(peer) = controller.peer {
                sockets.close(peer);
            }
            forget(controller);
        }
    }

    /// Whether there is a way to it now.
    pub fn is_reachable(&self, mid: &MId) -> bool {
        self.of(mid).and_then(|index| self.all.get(index)).is_some_and(|c| c.peer.is_some())
    }
}

fn outside(transport: ControlTransport, name: Option<String>, port: u16, addresses: Vec<IpAddr>) -> Place {
    Place::Outside { transport, name, port, addresses, current: 0, until: None, asked: false }
}

/// Forgets the way; the next one leads to the next address.
fn forget(controller: &mut Controller) {
    controller.peer = None;
    controller.heard = None;
    if let Some(next) = controller.next.take() {
        controller.place = next;
        return;
    }
    if let Place::Outside { addresses, current, .. } = &mut controller.place {
        *current = (*current + 1) % addresses.len().max(1);
    }
}

/// The same controller: a port left out says nothing.
fn same_name(a: &MId, b: &MId) -> bool {
    let ports = |p: &Option<u16>, q: &Option<u16>| p == q || p.is_none() || q.is_none();
    match (a, b) {
        (MId::Domain { name: x, port: p }, MId::Domain { name: y, port: q }) => x == y && ports(p, q),
        (MId::Address { ip: x, port: p }, MId::Address { ip: y, port: q }) => x == y && ports(p, q),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::text::{self, Limits};
    use carnet_net::h248::ControlConfig;
    use std::time::Duration;

    fn message(mid: &str) -> Message {
        let octets = format!("MEGACO/3 <{mid}> Transaction=1{{Context=-{{AuditValue=ROOT{{Audit{{}}}}}}}}");
        text::parse(octets.as_bytes(), &Limits::default()).unwrap()
    }

    fn sockets() -> ControlSockets {
        let (drain, token) = carnet_net::drain();
        std::mem::forget(drain);
        ControlSockets::open(ControlConfig::default(), &token).unwrap().0
    }

    fn datagram(remote: &str, local: ControlPeer) -> ControlPeer {
        let ControlPeer::Datagram { local, .. } = local else { panic!("{local:?}") };
        ControlPeer::Datagram { remote: remote.parse().unwrap(), local }
    }

    #[tokio::test]
    async fn a_controller_is_heard_from_its_address_alone() {
        let sockets = sockets();
        let mut controllers = Controllers::new(Vec::new(), 2944);
        controllers.add(&"a@udp:127.0.0.1".parse().unwrap(), None);
        controllers.add(&"b@udp:127.0.0.2:3000".parse().unwrap(), None);
        let mid = MId::domain("a");
        let here = controllers.way_to(&sockets, &mid).unwrap();
        assert_eq!(here.address(), Some("127.0.0.1:2944".parse().unwrap()));
        assert!(controllers.admits(&message("A"), here, None));
        // It may ask from another port; not from another host, nor in the name of another.
        assert!(controllers.admits(&message("a"), datagram("127.0.0.1:5000", here), None));
        assert!(!controllers.admits(&message("a"), datagram("127.0.0.2:3000", here), None));
        assert!(!controllers.admits(&message("a"), datagram("192.0.2.1:2944", here), None));
        assert!(!controllers.admits(&message("z"), here, None));
        assert!(!controllers.admits(&message("b"), datagram("127.0.0.2:3000", here), None), "not spoken to");
        assert!(controllers.knows(here) && !controllers.knows(datagram("192.0.2.1:2944", here)));
        let given = ServiceChangeAddress::MId(MId::Address { ip: [192, 0, 2, 1].into(), port: None });
        assert!(controllers.admits(&message("a"), datagram("192.0.2.1:1", here), Some(&given)));
        let stream = ControlPeer::Stream { id: 9, remote: "127.0.0.1:2944".parse().unwrap(), private: true };
        assert!(!controllers.admits(&message("a"), stream, None), "a connection that is not to it");
    }

    #[tokio::test]
    async fn others_come_and_go_and_the_way_to_the_one_that_has_us_stays() {
        let sockets = sockets();
        let address = |text: &str| text.parse::<ControlAddress>().unwrap();
        let mut controllers = Controllers::new(Vec::new(), 2944);
        for text in ["a@udp:127.0.0.1", "b@udp:127.0.0.2", "c@udp:127.0.0.3"] {
            controllers.add(&address(text), None);
        }
        let [a, b, c] = ["a", "b", "c"].map(MId::domain);
        let way = controllers.way_to(&sockets, &a).unwrap();
        controllers.way_to(&sockets, &b).unwrap();
        let new = ["d@udp:127.0.0.4", "c@udp:127.0.0.9", "b@udp:127.0.0.2"].map(address);
        controllers.renew(&sockets, &new, Some(&a));
        let d = MId::domain("d");
        assert_eq!(controllers.mids(), [d.clone(), c.clone(), b.clone(), a.clone()]);
        assert_eq!(controllers.way_to(&sockets, &a), Ok(way), "it has us");
        assert!(controllers.is_reachable(&b) && !controllers.is_reachable(&d));
        let there = controllers.way_to(&sockets, &c).unwrap().address().unwrap();
        assert_eq!(there, "127.0.0.9:2944".parse().unwrap());
        controllers.renew(&sockets, &["d@udp:127.0.0.4"].map(address), Some(&d));
        assert_eq!(controllers.mids(), [d]);
        assert!(!controllers.knows(way));
    }

    /// The way to one that has us stays until it ends; the next one leads to where the file says.
    #[tokio::test]
    async fn a_controller_that_has_moved_is_reached_there_when_the_way_ends() {
        let sockets = sockets();
        let address = |text: &str| text.parse::<ControlAddress>().unwrap();
        let mut controllers = Controllers::new(Vec::new(), 2944);
        controllers.add(&address("a@udp:127.0.0.1"), None);
        let mid = MId::domain("a");
        let way = controllers.way_to(&sockets, &mid).unwrap();
        let at =
            |controllers: &mut Controllers| controllers.way_to(&sockets, &mid).unwrap().address().unwrap();
        for moved in ["a@udp:127.0.0.5", "a@udp:127.0.0.6:2999"] {
            controllers.renew(&sockets, &[address(moved)], Some(&mid));
            assert_eq!(controllers.way_to(&sockets, &mid), Ok(way));
            assert!(controllers.admits(&message("a"), way, None), "it is still heard there");
        }
        controllers.unreachable(&sockets, &mid);
        assert_eq!(at(&mut controllers), "127.0.0.6:2999".parse().unwrap());
        // Moved and back again before the way ended.
        for moved in ["a@udp:127.0.0.7", "a@udp:127.0.0.6:2999"] {
            controllers.renew(&sockets, &[address(moved)], Some(&mid));
        }
        controllers.unreachable(&sockets, &mid);
        assert_eq!(at(&mut controllers), "127.0.0.6:2999".parse().unwrap());
    }

    #[tokio::test]
    async fn the_next_address_when_one_fails_and_the_name_again_when_its_time_is_over() {
        let sockets = sockets();
        let mut controllers = Controllers::new(Vec::new(), 2945);
        controllers.add(&"a@udp:mgc.example.net".parse().unwrap(), None);
        let mid = MId::domain("a");
        assert_eq!(controllers.way_to(&sockets, &mid), Err(NoWay::Yet));
        let [one, two]: [IpAddr; 2] = [[127, 0, 0, 1].into(), [127, 0, 0, 2].into()];
        let later = Instant::now() + Duration::from_secs(60);
        assert!(!controllers.resolved("other.example.net", &[one], later));
        assert!(controllers.resolved("mgc.example.net", &[one, two], later));
        let at = |controllers: &mut Controllers| {
            controllers.way_to(&sockets, &mid).map(|peer| peer.address().unwrap().to_string())
        };
        assert_eq!(at(&mut controllers).as_deref(), Ok("127.0.0.1:2945"));
        controllers.unreachable(&sockets, &mid);
        assert_eq!(at(&mut controllers).as_deref(), Ok("127.0.0.2:2945"));
        // Its time is over: asked again when the way is lost, not before.
        assert!(controllers.resolved("mgc.example.net", &[two, one], Instant::now()));
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(at(&mut controllers).as_deref(), Ok("127.0.0.2:2945"));
        controllers.unreachable(&sockets, &mid);
        assert_eq!(at(&mut controllers), Err(NoWay::Yet));
        assert!(!controllers.resolved("mgc.example.net", &[], later), "still none");
        assert!(controllers.resolved("mgc.example.net", &[two, one], later));
        assert!(at(&mut controllers).is_ok());
    }

    #[tokio::test]
    async fn one_that_we_are_sent_to_is_reached_at_its_address() {
        let sockets = sockets();
        let mut controllers = Controllers::new(vec!["127.0.0.3:0".parse().unwrap()], 2944);
        controllers.add(&"a@udp:127.0.0.1".parse().unwrap(), None);
        let mid = MId::Address { ip: [127, 0, 0, 7].into(), port: Some(4000) };
        let peer = controllers.way_to(&sockets, &mid).unwrap();
        let ControlPeer::Datagram { remote, local } = peer else { panic!("{peer:?}") };
        assert_eq!((remote.to_string(), local.ip()), ("127.0.0.7:4000".into(), [127, 0, 0, 3].into()));
        assert_eq!(controllers.way_to(&sockets, &MId::Device("x".into())), Err(NoWay::Yet));
    }
}
