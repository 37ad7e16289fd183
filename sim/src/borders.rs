//! Borders: Carnet's own, driven as the program drives them.

use crate::network::Direction;
use crate::setup::GATEWAYS;
use crate::world::{Happening, World, border_name, gateway_name};
use carnet_border::{
    Border, Config, Event, Family, Gateway, Limits, Network, Origin, Out, Place, Policy, Prefix,
    Registration, Route, Timers,
};
use carnet_h248::{MId, encoding, text};
use carnet_sip::{Hop, Input, Transport, Uri};
use carnet_wire::SeededRandom;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// A place where borders run, one after the other.
#[derive(Default)]
pub struct BorderNode {
    /// The one that runs.
    pub life: Option<Border>,
    /// How many there have been.
    pub lives: u32,
    /// The connection to each gateway, as the program keeps it; over datagrams, 0 once heard of.
    pub ways: [Option<u64>; GATEWAYS],
    /// Calls of this life that have not ended, with their contexts.
    pub calls: BTreeMap<String, BTreeSet<(usize, u32)>>,
    /// When one last ended: its contexts may not have been subtracted yet.
    pub ended: Option<Instant>,
}

impl BorderNode {
    /// Live calls with a context on that gateway.
    pub fn calls_on(&self, gateway: usize) -> Vec<String> {
        let on = |contexts: &BTreeSet<(usize, u32)>| contexts.iter().any(|(g, _)| *g == gateway);
        self.calls.iter().filter(|(_, contexts)| on(contexts)).map(|(id, _)| id.clone()).collect()
    }
}

/// The border's address on its callers' side.
pub fn access(border: usize) -> SocketAddr {
    ([192, 0, 2, 10 + border as u8], 5060).into()
}

/// The border's address on its callees' side.
pub fn core(border: usize) -> SocketAddr {
    ([198, 51, 100, 10 + border as u8], 5060).into()
}

/// Where a border's callers are.
pub fn callers(border: usize) -> SocketAddr {
    ([192, 0, 2, 20 + border as u8], 5060).into()
}

/// Where its callees are.
pub fn callees(border: usize) -> SocketAddr {
    ([198, 51, 100, 20 + border as u8], 5060).into()
}

/// Where a gateway is.
pub fn gateway_address(gateway: usize) -> IpAddr {
    Ipv4Addr::new(10, 9, 0, 1 + gateway as u8).into()
}

impl World {
    fn border_config(&self, border: usize) -> Config {
        let network = |name: &str, at: SocketAddr| {
            let mut network = Network::new(name, Uri::parse(&format!("sip:{at}")).unwrap(), name);
            network.listen = vec![(Transport::Udp, at)];
            network
        };
        let mut core_network = network("core", core(border));
        core_network.family = Family::V6;
        let gateway = |n: usize| {
            let mid = MId::domain(gateway_name(n));
            let mut gateway = Gateway::new(gateway_name(n), mid, self.setup.transports[n]);
            gateway.association.encoding = self.setup.encodings[n];
            if self.setup.peers_named {
                gateway.peers = vec![Prefix { ip: gateway_address(n), bits: 32 }];
            }
            gateway
        };
        Config {
            name: border_name(border),
            networks: vec![network("access", access(border)), core_network],
            routes: vec![Route {
                domain: "*".into(),
                network: "core".into(),
                hop: Some(Uri::parse(&format!("sip:{}", callees(border))).unwrap()),
            }],
            registration: Registration::None,
            policy: Policy::default(),
            gateways: (0..GATEWAYS).map(gateway).collect(),
            rtpengine: None,
            profiles: Vec::new(),
            alternate: self
                .setup
                .alternates
                .then(|| MId::domain(border_name((border + 1) % self.borders.len()))),
            timers: Timers {
                heartbeat: self.setup.heartbeat,
                inactivity: Some(Duration::from_secs(300)),
                // These telephones do not make their connections again.
                media_return: Duration::ZERO,
                ..Timers::default()
            },
            limits: Limits::default(),
            sip: carnet_sip::Config { transports: vec![Transport::Udp], ..carnet_sip::Config::default() },
        }
    }

    /// A border program starts.
    pub fn start_border(&mut self, border: usize) {
        if self.borders[border].life.is_some() {
            return;
        }
        let random = Box::new(SeededRandom::new(self.dice.seed()));
        let machine = Border::new(self.border_config(border), random, self.now, self.wall());
        let node = &mut self.borders[border];
        node.life = Some(machine);
        node.lives += 1;
        self.note(format!("border{border} starts"));
        self.flush_border(border);
    }

    /// A border program is gone with all its calls.
    pub fn end_border(&mut self, border: usize, loud: bool) {
        let node = &mut self.borders[border];
        if node.life.take().is_none() {
            return;
        }
        let calls = std::mem::take(&mut node.calls).len();
        node.ways = [None; GATEWAYS];
        self.note(format!("border{border} is gone with {calls} calls"));
        for gateway in 0..GATEWAYS {
            self.break_stream(border, gateway, [loud, false]);
        }
    }

    /// Octets in the name of a gateway.
    pub fn border_receives(&mut self, border: usize, gateway: usize, epoch: Option<u64>, octets: Vec<u8>) {
        let way = Some(epoch.unwrap_or(0));
        let now = self.now;
        let node = &mut self.borders[border];
        let Some(machine) = &mut node.life else { return };
        match encoding::parse(&octets, &text::Limits::default()) {
            Ok(message) => {
                let Some(name) = machine.gateway_of(&message.mid).cloned() else { return };
                let known = node.ways[gateway];
                // A broken connection comes back before we hear of the break: `Place::Usual` too.
                let origin = Origin { address: Some(gateway_address(gateway)), place: Place::Usual };
                if !machine.admit_gateway(now, &name, origin, &message) {
                    return;
                }
                if known != way {
                    node.ways[gateway] = way;
                    machine.gateway_connected(now, &name);
                }
                machine.handle_gateway(now, &name, message);
            }
            Err(error) => machine.handle_undecodable(now, &gateway_name(gateway), &error),
        }
        self.flush_border(border);
    }

    /// A border hears that a connection is gone.
    pub fn border_hears_close(&mut self, border: usize, gateway: usize, epoch: u64) {
        let node = &mut self.borders[border];
        if node.ways[gateway] != Some(epoch) {
            return;
        }
        node.ways[gateway] = None;
        if let Some(machine) = &mut node.life {
            machine.gateway_lost(self.now, &gateway_name(gateway));
        }
        self.note(format!("border{border} hears that the connection of gateway{gateway} is gone"));
        self.flush_border(border);
    }

    /// A SIP datagram reaches a border.
    pub fn border_receives_sip(
        &mut self,
        border: usize,
        from: SocketAddr,
        to: SocketAddr,
        data: bytes::Bytes,
    ) {
        if let Some(machine) = &mut self.borders[border].life {
            let mut hop = Hop::new(Transport::Udp, from);
            hop.local = Some(to);
            machine.handle_sip(self.now, Input { hop, data });
        }
        self.flush_border(border);
    }

    /// Runs what is due on a border.
    pub fn border_timeout(&mut self, border: usize) {
        if let Some(machine) = &mut self.borders[border].life {
            machine.handle_timeout(self.now);
        }
        self.flush_border(border);
    }

    /// Carries away what a border has to say.
    pub fn flush_border(&mut self, border: usize) {
        loop {
            let Some(machine) = &mut self.borders[border].life else { return };
            if let Some(event) = machine.poll_event() {
                self.border_event(border, &event);
            } else if let Some(out) = machine.poll_transmit() {
                match out {
                    Out::Sip(transmit) => self.border_sends_sip(border, &transmit),
                    Out::Rtpengine(_) => {}
                    Out::Gateway(name, message) => {
                        let gateway = (0..GATEWAYS).find(|g| *gateway_name(*g) == *name).unwrap();
                        if self.borders[border].ways[gateway].is_some() {
                            self.send_control(border, gateway, Direction::Down, &message);
                        }
                    }
                }
            } else if machine.poll_query().is_some() {
                self.violation(format!("border{border} asks for names where there are none"), Vec::new());
            } else {
                return;
            }
        }
    }

    fn border_event(&mut self, border: usize, event: &Event) {
        self.note(format!("border{border} event {event:?}"));
        let node = &mut self.borders[border];
        let number = |name: &str| (0..GATEWAYS).find(|g| *gateway_name(*g) == *name);
        match event {
            Event::CallStarted { call_id, .. } => {
                node.calls.insert(call_id.clone(), BTreeSet::new());
            }
            Event::MediaReserved { call_id, gateway, context, .. } => {
                if let (Some(gateway), Some(call)) = (number(gateway), node.calls.get_mut(call_id)) {
                    call.insert((gateway, *context));
                }
            }
            Event::MediaReleased { call_id, gateway, context, .. } => {
                if let (Some(gateway), Some(call)) = (number(gateway), node.calls.get_mut(call_id)) {
                    call.remove(&(gateway, *context));
                }
            }
            Event::CallEnded { call_id, .. } => {
                node.calls.remove(call_id);
                node.ended = Some(self.now);
            }
            _ => {}
        }
    }

    /// After a time, the calls a gateway carried when it went away have been told.
    pub fn must_be_told(&mut self, border: usize, life: u32, gateway: usize, calls: &[String], cut: bool) {
        if self.borders[border].lives != life || self.borders[border].life.is_none() {
            return;
        }
        let whole = self.links[border][gateway].cut_at.is_some_and(|at| self.now >= at + self.patience());
        if cut && !whole {
            return;
        }
        let left = self.borders[border].calls_on(gateway);
        for call in calls.iter().filter(|c| left.contains(c)) {
            let text = format!("border{border} has not told call {call} of the loss of gateway{gateway}");
            self.violation(text, vec![call.clone(), format!("gateway{gateway} ")]);
        }
    }

    /// Everything that goes wrong with a border by its own will: it takes no more calls, ends those it
    /// has, and goes.
    pub fn retire_border(&mut self, border: usize, grace: Duration) {
        let node = &mut self.borders[border];
        let Some(machine) = &mut node.life else { return };
        machine.retire();
        let life = node.lives;
        self.note(format!("border{border} retires"));
        self.at(self.now + grace, Happening::EndCalls { border, life });
        self.at(self.now + grace + Duration::from_secs(3), Happening::EndBorder { border, life });
    }
}
