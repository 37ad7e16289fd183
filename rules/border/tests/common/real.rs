//! Carnet's own gateway with a media engine that only keeps books.

use carnet_gateway::media::{Command, Event, Family, Pinhole, Settings, Statistics};
use carnet_gateway::{Config, Gateway};
use carnet_h248::{MId, Message, association, registration};
use carnet_wire::SeededRandom;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

/// A pinhole as the engine was told.
#[derive(Debug, Clone, Default)]
pub struct Hole {
    pub realm: String,
    pub settings: Settings,
    pub joined: bool,
}

pub struct RealGateway {
    pub gateway: Gateway,
    pub holes: BTreeMap<Pinhole, Hole>,
    next_port: u16,
}

impl RealGateway {
    pub fn new(now: Instant, controller: &str) -> Self {
        Self::with_seed(now, controller, 11)
    }

    /// Another start of it: its first transaction has another number.
    pub fn with_seed(now: Instant, controller: &str, seed: u64) -> Self {
        let association = association::Config::new(association::Transport::Reliable);
        let controllers = vec![MId::domain(controller.to_owned())];
        let config = registration::Config::new(MId::domain("agw1.example.com"), controllers, association);
        let mut random = SeededRandom::new(seed);
        let mut gateway = Gateway::new(Config::new(config), &mut random, now, SystemTime::UNIX_EPOCH);
        gateway.start(now, 901);
        Self { gateway, holes: BTreeMap::new(), next_port: 30_000 }
    }

    pub fn handle(&mut self, now: Instant, message: Message) {
        let _ = self.gateway.handle_message(now, message);
    }

    pub fn poll(&mut self, now: Instant) -> Option<Message> {
        while let Some(command) = self.gateway.poll_command() {
            if let Some(event) = self.act(command) {
                self.gateway.handle_media(now, event);
            }
        }
        self.gateway.poll_transmit().map(|(_, message)| message)
    }

    fn act(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Reserve { pinhole, realm, family, tls } => {
                self.next_port += 2;
                let ip = if family == Some(Family::V6) { "[2001:db8:1::10]" } else { "203.0.113.10" };
                let local: SocketAddr = format!("{ip}:{}", self.next_port).parse().unwrap();
                let hole = Hole { realm: realm.unwrap_or_default(), ..Hole::default() };
                self.holes.insert(pinhole, hole);
                let fingerprint = tls.then(|| super::gateway::OURS.to_owned());
                Some(Event::Bound { pinhole, local, fingerprint })
            }
            Command::Configure { pinhole, settings } => {
                self.holes.get_mut(&pinhole).unwrap().settings = settings;
                None
            }
            Command::Join { a, b } => {
                for pinhole in [a, b] {
                    self.holes.get_mut(&pinhole).unwrap().joined = true;
                }
                None
            }
            Command::Release { pinhole } => {
                self.holes.remove(&pinhole).unwrap();
                let statistics = Statistics { octets_received: 5, octets_sent: 7, ..Statistics::default() };
                Some(Event::Released { pinhole, statistics })
            }
            Command::Measure { pinhole } => {
                Some(Event::Measured { pinhole, statistics: Statistics::default() })
            }
            _ => None,
        }
    }

    /// Something happens at the pinhole of a realm.
    pub fn happens(&mut self, now: Instant, realm: &str, event: impl FnOnce(Pinhole) -> Event) {
        let pinhole = *self.holes.iter().find(|(_, h)| h.realm == realm).unwrap().0;
        self.gateway.handle_media(now, event(pinhole));
    }

    pub fn hole(&self, realm: &str) -> &Hole {
        self.holes.values().find(|h| h.realm == realm).unwrap()
    }
}
