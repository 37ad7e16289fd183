//! A media server: the real rules behind H.248, and an engine that does as it is told and remembers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use carnet_gateway::media::{self, Conference, Endpoint, Medium, Pinhole, Settings, Statistics};
use carnet_gateway::{Config, Function, Gateway};
use carnet_h248::association::{self, Transport};
use carnet_h248::text::{Form, Limits, parse, print};
use carnet_h248::{MId, Message, registration};
use carnet_wire::SeededRandom;

pub struct Mrfp {
    pub name: String,
    pub gateway: Gateway,
    pub up: bool,
    pub holes: BTreeMap<Pinhole, (SocketAddr, Option<Settings>)>,
    /// By context.
    pub conferences: BTreeMap<u32, Conference>,
    /// What was decided about floors: which, about whom, and whether it gets it.
    pub decisions: Vec<(u16, u16, bool)>,
    /// Reserves are refused.
    pub full: bool,
    /// Whether nobody else can read the way to it, as far as it knows.
    pub protected: bool,
    /// Answers of the engine wait.
    pub slow: bool,
    answers: Vec<media::Event>,
    ip: [u8; 4],
    next_port: u16,
}

pub fn read(text: &str) -> Message {
    parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

pub fn write(message: &Message) -> String {
    String::from_utf8(print(message, Form::Long)).unwrap()
}

impl Mrfp {
    pub fn new(n: usize, now: Instant, wall: SystemTime) -> Self {
        let name = format!("m{n}");
        let association = association::Config::new(Transport::Reliable);
        let mid = MId::domain(format!("{name}.example"));
        let controller = MId::domain("conf.example");
        let mut registration = registration::Config::new(mid, vec![controller], association);
        registration.longest_wait = Duration::ZERO;
        registration.profile = Some(carnet_h248::profile::MP.profile());
        registration.version = 3;
        let mut config = Config::new(registration);
        config.function = Function::Conference;
        config.limits.terminations = 10_000;
        config.realms = vec!["public".into()];
        let mut gateway = Gateway::new(config, &mut SeededRandom::new(n as u64 + 50), now, wall);
        gateway.start(now, 901);
        gateway.handle_timeout(now);
        Self {
            name,
            gateway,
            up: true,
            holes: BTreeMap::new(),
            conferences: BTreeMap::new(),
            decisions: Vec::new(),
            full: false,
            protected: true,
            slow: false,
            answers: Vec::new(),
            ip: [203, 0, 113, u8::try_from(n + 10).unwrap()],
            next_port: 30_000,
        }
    }

    /// Passes commands and answers; whether there were any.
    pub fn run(&mut self, now: Instant) -> bool {
        let mut moved = false;
        loop {
            if let Some(command) = self.gateway.poll_command() {
                self.take(command);
            } else if !self.slow && !self.answers.is_empty() {
                let answer = self.answers.remove(0);
                self.gateway.handle_media(now, answer);
            } else {
                return moved;
            }
            moved = true;
        }
    }

    fn take(&mut self, command: media::Command) {
        let answer = match command {
            media::Command::Reserve { pinhole, .. } if self.full => {
                media::Event::Refused { pinhole, reason: media::Refusal::NoPort }
            }
            media::Command::Reserve { pinhole, realm, .. } => {
                assert_eq!(realm.as_deref(), Some("public"));
                let local = SocketAddr::from((self.ip, self.next_port));
                self.next_port += 2;
                self.holes.insert(pinhole, (local, None));
                media::Event::Bound { fingerprint: None, pinhole, local }
            }
            media::Command::Configure { pinhole, settings } => {
                self.holes.get_mut(&pinhole).unwrap().1 = Some(settings);
                return;
            }
            media::Command::Release { pinhole } => {
                self.holes.remove(&pinhole).expect("released once");
                media::Event::Released { pinhole, statistics: Statistics::default() }
            }
            media::Command::Measure { pinhole } => {
                media::Event::Measured { pinhole, statistics: Statistics::default() }
            }
            media::Command::Conference { group, settings: Some(settings) } => {
                self.conferences.insert(group, *settings);
                return;
            }
            media::Command::Conference { group, settings: None } => {
                self.conferences.remove(&group);
                return;
            }
            media::Command::Decide { floor, user, grant, .. } => {
                self.decisions.push((floor, user, grant));
                return;
            }
            other => panic!("nothing for a conference: {other:?}"),
        };
        self.answers.push(answer);
    }

    /// What the engine was told of everybody who is there.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.holes.values().filter_map(|(_, settings)| settings.as_ref()?.endpoint.clone()).collect()
    }

    /// The pinhole of a member's messages or floors.
    pub fn pinhole(&self, member: &str, messages: bool) -> Pinhole {
        let is = |settings: &Settings| {
            settings.endpoint.as_ref().is_some_and(|end| {
                end.member == member && matches!(end.medium, Medium::Msrp { .. }) == messages
            })
        };
        let found = self.holes.iter().find(|(_, (_, settings))| settings.as_ref().is_some_and(is));
        *found.unwrap_or_else(|| panic!("{member} is not there")).0
    }

    pub fn endpoint(&self, member: &str, messages: bool) -> Arc<Endpoint> {
        let settings = self.holes[&self.pinhole(member, messages)].1.clone().unwrap();
        settings.endpoint.unwrap()
    }

    pub fn settings(&self, member: &str, messages: bool) -> Settings {
        self.holes[&self.pinhole(member, messages)].1.clone().unwrap()
    }

    /// The engine tells something.
    pub fn tell(&mut self, event: media::Event) {
        self.answers.push(event);
    }
}
