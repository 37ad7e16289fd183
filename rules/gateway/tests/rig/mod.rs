//! A gateway with a scripted controller, which speaks text, and a scripted media engine.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use carnet_gateway::media::{self, Conference, Family, Pinhole, Refusal, Settings, Statistics};
use carnet_gateway::{Config, Event, Gateway};
use carnet_h248::association::{self, Transport};
use carnet_h248::text::{Form, Limits, parse, print};
use carnet_h248::{MId, Message, ReplyBody, Transaction, TransactionReply, registration};
use carnet_wire::SeededRandom;

pub struct Rig {
    pub gateway: Gateway,
    pub now: Instant,
    pub engine: Engine,
    controller: MId,
    next_transaction: u32,
    /// Requests that the gateway sent (Notify).
    pub told: Vec<String>,
    /// ServiceChanges that the gateway sent.
    pub announced: Vec<String>,
    /// The controller answers nothing.
    pub mute: bool,
    /// The controller refuses every Notify with this error.
    pub refuse: Option<u16>,
}

/// Answers as an engine would and keeps what it holds.
#[derive(Default)]
pub struct Engine {
    pub holes: BTreeMap<Pinhole, Hole>,
    pub commands: Vec<media::Command>,
    /// Answers wait until [`Rig::answer`].
    pub slow: bool,
    pub answers: Vec<media::Event>,
    /// By group.
    pub conferences: BTreeMap<u32, Conference>,
    /// How many pinholes there may be.
    pub ports: Option<usize>,
    next_port: u16,
}

#[derive(Debug)]
pub struct Hole {
    pub local: SocketAddr,
    pub settings: Option<Settings>,
    pub far: Option<Pinhole>,
    pub group: u32,
    pub tls: bool,
}

/// Of the engine's certificate.
pub const OWN: &str =
    "12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B";

/// Of the peer's in the worked messages.
pub const PEER: &str =
    "4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B:65:2E:7D:46:3F:54:42:CD:54:F1";

pub fn fixture(name: &str) -> String {
    let path = format!("{}/../../proto/h248/tests/fixtures/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

pub fn read(text: &str) -> Message {
    parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

pub fn write(message: &Message) -> String {
    String::from_utf8(print(message, Form::Long)).unwrap()
}

/// White space out, so that layouts do not matter.
pub fn squeeze(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

impl Engine {
    fn take(&mut self, command: media::Command) {
        self.commands.push(command.clone());
        let answer = match command {
            media::Command::Reserve { pinhole, realm, family, tls } => {
                let full = self.ports.is_some_and(|most| self.holes.len() >= most);
                if realm.as_deref() == Some("moon") {
                    Some(media::Event::Refused { pinhole, reason: Refusal::UnknownRealm })
                } else if tls && realm.as_deref() == Some("bare") {
                    Some(media::Event::Refused { pinhole, reason: Refusal::NoCertificate })
                } else if full {
                    Some(media::Event::Refused { pinhole, reason: Refusal::NoPort })
                } else {
                    let ip: IpAddr = match family {
                        Some(Family::V6) => "2001:db8:1::10".parse().unwrap(),
                        _ => "203.0.113.10".parse().unwrap(),
                    };
                    let local = SocketAddr::new(ip, 30_000 + self.next_port);
                    self.next_port += 2;
                    let group = pinhole.group;
                    let hole = Hole { local, settings: None, far: None, group, tls };
                    assert!(self.holes.insert(pinhole, hole).is_none(), "a name is never used again");
                    let fingerprint = tls.then(|| format!("sha-256 {}", OWN));
                    Some(media::Event::Bound { pinhole, local, fingerprint })
                }
            }
            media::Command::Adopt { pinhole, local, .. } => {
                let group = pinhole.group;
                let hole = Hole { local, settings: None, far: None, group, tls: false };
                assert!(self.holes.insert(pinhole, hole).is_none(), "a name is never used again");
                Some(media::Event::Bound { pinhole, local, fingerprint: None })
            }
            media::Command::Configure { pinhole, settings } => {
                let hole = self.hole(pinhole);
                assert_eq!(settings.edge.is_some(), hole.tls, "TLS ends where it was asked for");
                hole.settings = Some(settings);
                None
            }
            media::Command::Join { a, b } => {
                assert_eq!(a.group, b.group, "only a group can be joined");
                self.part(a);
                self.part(b);
                self.hole(a).far = Some(b);
                self.hole(b).far = Some(a);
                None
            }
            media::Command::Part { pinhole } => {
                self.part(pinhole);
                None
            }
            media::Command::Regroup { pinhole, group } => {
                self.part(pinhole);
                self.hole(pinhole).group = group;
                Some(media::Event::Regrouped { pinhole: Pinhole { group, ..pinhole } })
            }
            media::Command::Release { pinhole } => {
                self.part(pinhole);
                self.holes.remove(&pinhole).expect("released once");
                Some(media::Event::Released { pinhole, statistics: counters() })
            }
            media::Command::Measure { pinhole } => {
                self.hole(pinhole);
                Some(media::Event::Measured { pinhole, statistics: counters() })
            }
            media::Command::Connect { pinhole } | media::Command::Disconnect { pinhole } => {
                self.hole(pinhole);
                None
            }
            media::Command::Conference { group, settings: Some(settings) } => {
                self.conferences.insert(group, *settings);
                None
            }
            media::Command::Conference { group, settings: None } => {
                self.conferences.remove(&group).expect("it ends once");
                let left = |(p, hole): (&Pinhole, &Hole)| p.group == group && hole.settings.is_some();
                assert!(!self.holes.iter().any(left), "its endpoints end before it");
                None
            }
            media::Command::Decide { group, .. } => {
                assert!(self.conferences.contains_key(&group), "it is there");
                None
            }
        };
        self.answers.extend(answer);
    }

    /// The pinhole of that name. Each group is a loop of its own, so a stale name finds nothing.
    fn hole(&mut self, pinhole: Pinhole) -> &mut Hole {
        let hole = self.holes.get_mut(&pinhole).unwrap();
        assert_eq!(hole.group, pinhole.group, "it is in another group");
        hole
    }

    fn part(&mut self, pinhole: Pinhole) {
        if let Some(far) = self.hole(pinhole).far.take() {
            self.holes.get_mut(&far).unwrap().far = None;
        }
    }

    /// The settings of the pinhole on a local port.
    pub fn settings(&self, port: u16) -> &Settings {
        let hole = self.holes.values().find(|hole| hole.local.port() == port).unwrap();
        hole.settings.as_ref().unwrap()
    }

    pub fn pinhole(&self, port: u16) -> Pinhole {
        *self.holes.iter().find(|(_, hole)| hole.local.port() == port).unwrap().0
    }
}

pub fn counters() -> Statistics {
    Statistics {
        octets_received: 51_200,
        octets_sent: 40_960,
        duration: Duration::from_millis(183_250),
        witness: None,
    }
}

impl Rig {
    /// A gateway that `controller` has taken.
    pub fn new(controller: MId) -> Self {
        Self::with(controller, |_| {})
    }

    pub fn with(controller: MId, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut rig = Self::idle(controller, 1, adjust);
        rig.gateway.start(rig.now, 901);
        rig.gateway.handle_timeout(rig.now);
        rig.settle();
        assert!(rig.gateway.registration().is_registered());
        rig
    }

    /// A gateway that has not registered.
    pub fn idle(controller: MId, seed: u64, adjust: impl FnOnce(&mut Config)) -> Self {
        let association = association::Config::new(Transport::Reliable);
        let mid = MId::domain("agw1.access.example");
        let others = MId::domain("alg2.access.example");
        let mut registration = registration::Config::new(mid, vec![controller.clone(), others], association);
        registration.longest_wait = Duration::ZERO;
        registration.silence = None;
        registration.idle = None;
        let mut config = Config::new(registration);
        adjust(&mut config);
        let now = Instant::now();
        // 2026-03-01T08:00:00Z
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_352_000);
        let gateway = Gateway::new(config, &mut SeededRandom::new(seed), now, wall);
        let engine = Engine::default();
        Self {
            gateway,
            now,
            engine,
            controller,
            next_transaction: 1,
            told: Vec::new(),
            announced: Vec::new(),
            mute: false,
            refuse: None,
        }
    }

    pub fn alg() -> Self {
        Self::new(MId::domain("alg1.access.example"))
    }

    /// Passes commands, answers and messages until nothing moves; returns replies to us.
    pub fn settle(&mut self) -> Vec<TransactionReply> {
        let mut replies = Vec::new();
        loop {
            if let Some(command) = self.gateway.poll_command() {
                self.engine.take(command);
            } else if !self.engine.slow && !self.engine.answers.is_empty() {
                let answer = self.engine.answers.remove(0);
                self.gateway.handle_media(self.now, answer);
            } else if let Some((to, message)) = self.gateway.poll_transmit() {
                // What is printed can be read, and says the same.
                assert_eq!(read(&write(&message)), message);
                for transaction in message.transactions() {
                    match transaction {
                        Transaction::Reply(reply) => replies.push(reply.clone()),
                        Transaction::Request(request) => {
                            // By itself, whatever else is in the message.
                            let alone = vec![Transaction::Request(request.clone())];
                            let alone = Message::new(message.version, message.mid.clone(), alone);
                            self.take_request(&to, request, &alone);
                        }
                        _ => {}
                    }
                }
            } else {
                return replies;
            }
        }
    }

    /// Answers a ServiceChange or Notify of the gateway.
    fn take_request(&mut self, to: &MId, request: &carnet_h248::TransactionRequest, message: &Message) {
        let action = &request.actions[0];
        let command = &action.commands[0];
        if command.verb == carnet_h248::Verb::Notify {
            self.told.push(write(message));
        } else {
            self.announced.push(write(message));
        }
        if self.mute {
            return;
        }
        let verb = match command.verb {
            carnet_h248::Verb::Notify => "Notify",
            carnet_h248::Verb::ServiceChange => "ServiceChange",
            other => panic!("a gateway does not send {other:?}"),
        };
        let refusal = self.refuse.filter(|_| verb == "Notify");
        let error = refusal.map_or_else(String::new, |code| format!(" {{ Error = {code} {{ \"no\" }} }}"));
        let text = format!(
            "MEGACO/3 {to} Reply = {} {{ Context = {} {{ {verb} = {}{error} }} }}",
            request.id,
            action.context,
            command.termination()
        );
        self.controller = to.clone();
        assert_eq!(self.gateway.handle_message(self.now, read(&text)), None);
    }

    /// Sends a message as it is; the replies to it.
    pub fn send(&mut self, message: Message) -> Vec<TransactionReply> {
        let refusal = self.gateway.handle_message(self.now, message);
        assert_eq!(refusal, None);
        self.settle()
    }

    /// Sends actions; the reply, printed. Empty if there is none yet.
    pub fn ask(&mut self, actions: &str) -> String {
        let id = self.next_transaction;
        self.next_transaction += 1;
        let text = format!("MEGACO/3 {} Transaction = {id} {{ {actions} }}", self.controller);
        let replies = self.send(read(&text));
        replies.into_iter().map(|reply| self.show(reply)).collect()
    }

    pub fn show(&self, reply: TransactionReply) -> String {
        let mid = MId::domain("agw1.access.example");
        let message = Message::new(3, mid, vec![Transaction::Reply(reply)]);
        let text = squeeze(&write(&message));
        let (_, body) = text.split_once("Reply = ").unwrap();
        body.to_owned()
    }

    /// The error code in the answer to actions.
    pub fn code(&mut self, actions: &str) -> u16 {
        let id = self.next_transaction;
        self.next_transaction += 1;
        let text = format!("MEGACO/3 {} Transaction = {id} {{ {actions} }}", self.controller);
        let replies = self.send(read(&text));
        let [reply] = replies.as_slice() else { panic!("{replies:?}") };
        reply.body.first_error().map_or(0, |error| error.code)
    }

    /// Lets the slow engine give its next answer.
    pub fn answer(&mut self) -> Vec<TransactionReply> {
        let answer = self.engine.answers.remove(0);
        self.gateway.handle_media(self.now, answer);
        self.settle()
    }

    pub fn media(&mut self, event: media::Event) {
        self.gateway.handle_media(self.now, event);
        self.settle();
    }

    /// Time passes.
    pub fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.gateway.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.gateway.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.gateway.poll_event()).collect()
    }

    /// The relay of fixtures 03 and 05; the context's number.
    pub fn relay(&mut self) -> u32 {
        let [reply] = self.send(read(&fixture("03-add-passthrough-request"))).try_into().unwrap();
        let ReplyBody::Actions(actions) = reply.body else { panic!() };
        actions[0].context.id().unwrap()
    }

    /// Adds a termination with one stream to a new context; the context and the identifier. `control`: in
    /// LocalControl besides the mode; `more`: further descriptors.
    pub fn place(&mut self, id: &str, control: &str, more: &str) -> (String, String) {
        let media = format!(
            "Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive{control} }}, \
             Local {{\nv=0\nc=IN IP4 $\nm=- $ TCP -\na=setup:passive\n}}\n }} }}"
        );
        let reply = self.ask(&format!("Context = $ {{ Add = {id} {{ {media}{more} }} }}"));
        let context = reply.split("Context = ").nth(1).unwrap().split(' ').next().unwrap();
        let added = reply.split("Add = ").nth(1).unwrap_or_else(|| panic!("{reply}"));
        (context.to_owned(), added.split([' ', '}', ',']).next().unwrap().to_owned())
    }

    /// Nothing is left, here or in the engine.
    pub fn assert_empty(&self) {
        assert!(self.gateway.is_idle());
        assert!(self.engine.holes.is_empty(), "{:?}", self.engine.holes);
        assert!(self.engine.conferences.is_empty(), "{:?}", self.engine.conferences);
    }
}
