//! The steering with Carnet's own gateway behind it, whose media engine only keeps books.
#![allow(dead_code, reason = "each test file uses a part")]

use bytes::Bytes;
use carnet_event::Event as _;
use carnet_gateway::media::{
    Command as Order, Event as Media, Family as MediaFamily, Gate, Pinhole, Refusal, Settings, Statistics,
};
use carnet_gateway::{Config as GatewayConfig, Gateway};
use carnet_h248::association::{self, Transport};
use carnet_h248::{MId, Message, registration};
use carnet_ng::{Command, Request, Value};
use carnet_plan::{Addressing, Family, Policy};
use carnet_steering::{Config, Event, Interface, Limits, RequestId, Steering, Timers};
use carnet_wire::SeededRandom;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

/// Of the gateway's certificate.
pub const OURS: &str =
    "SHA-256 12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B";

/// Of terminals.
pub const THEIRS: &str =
    "SHA-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B:65:2E:7D:46:3F:54:42:CD:54:F1";

/// A pinhole as the engine was told.
#[derive(Debug, Clone)]
pub struct Hole {
    pub realm: String,
    pub local: SocketAddr,
    pub settings: Settings,
    pub joined: bool,
    pub tls: bool,
    /// How often its gate was shut after it had been open.
    pub shut: u32,
}

/// All of it.
pub struct Rig {
    pub steering: Steering,
    pub gateway: Gateway,
    pub holes: BTreeMap<Pinhole, Hole>,
    pub now: Instant,
    pub replies: BTreeMap<u64, Value>,
    pub events: Vec<Event>,
    /// The gateway hears nothing and says nothing.
    pub cut: bool,
    /// The engine answers nothing until told to.
    pub slow: bool,
    /// How many pinholes there may be.
    pub ports: Option<usize>,
    pub owed: VecDeque<Media>,
    /// Octets that each pinhole says it has received and sent.
    pub passed: u64,
    next_port: u16,
    next_request: u64,
    starts: u64,
}

/// An interface for each kind of test: the name is the realm's.
pub fn interface(name: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        realm: name.to_owned(),
        family: Family::V4,
        families: vec![Family::V4],
        access: false,
        e2ae: false,
        behind_nat: false,
        msrp: Addressing::Auto,
        source_filter: false,
        rate: None,
        dscp: None,
    }
}

pub fn config() -> Config {
    let access = Interface { access: true, e2ae: true, ..interface("access") };
    let core = Interface { families: vec![Family::V4, Family::V6], ..interface("core") };
    let access2 = Interface { access: true, e2ae: true, ..interface("access2") };
    Config {
        name: "steering.example.com".into(),
        gateway: MId::domain("agw1.example.com"),
        transport: Transport::Reliable,
        interfaces: vec![access, core, access2],
        policy: Policy::default(),
        timers: Timers::default(),
        limits: Limits::default(),
    }
}

fn gateway(now: Instant, seed: u64) -> Gateway {
    let association = association::Config::new(Transport::Reliable);
    let controllers = vec![MId::domain("steering.example.com")];
    let config = registration::Config::new(MId::domain("agw1.example.com"), controllers, association);
    let mut random = SeededRandom::new(seed);
    let mut config = GatewayConfig::new(config);
    config.realms = ["access", "core", "access2"].map(str::to_owned).to_vec();
    let mut gateway = Gateway::new(config, &mut random, now, SystemTime::UNIX_EPOCH);
    gateway.start(now, 901);
    gateway
}

impl Rig {
    /// With a gateway that has registered.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut rig = Self::alone(adjust);
        rig.pass(Duration::from_secs(5));
        assert!(rig.events.contains(&Event::GatewayUp), "{:?}", rig.events);
        rig
    }

    /// The gateway has not registered yet.
    pub fn alone(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        adjust(&mut config);
        let now = Instant::now();
        Self {
            steering: Steering::new(config, Box::new(SeededRandom::new(5)), now, SystemTime::UNIX_EPOCH),
            gateway: gateway(now, 11),
            holes: BTreeMap::new(),
            now,
            replies: BTreeMap::new(),
            events: Vec::new(),
            cut: false,
            slow: false,
            ports: None,
            owed: VecDeque::new(),
            passed: 0,
            next_port: 30_000,
            next_request: 1,
            starts: 1,
        }
    }

    /// The gateway dies and another takes its place.
    pub fn restart_gateway(&mut self) {
        self.starts += 1;
        self.gateway = gateway(self.now, 11 + self.starts);
        self.holes.clear();
        self.owed.clear();
        self.settle();
    }

    /// Passes everything until nothing moves.
    pub fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(order) = self.gateway.poll_command() {
                moved = true;
                self.act(order);
            }
            while !self.slow
                && let Some(media) = self.owed.pop_front()
            {
                moved = true;
                self.gateway.handle_media(self.now, media);
            }
            while let Some((_, message)) = self.gateway.poll_transmit() {
                moved = true;
                self.carry(message, true);
            }
            while let Some(message) = self.steering.poll_transmit() {
                moved = true;
                self.carry(message, false);
            }
            while let Some((RequestId(id), value)) = self.steering.poll_reply() {
                assert!(self.replies.insert(id, value).is_none(), "answered once");
            }
            self.events.extend(std::iter::from_fn(|| self.steering.poll_event()));
            while self.gateway.poll_event().is_some() {}
            if !moved {
                return;
            }
        }
    }

    fn carry(&mut self, message: Message, up: bool) {
        if self.cut {
        } else if up {
            self.steering.handle_gateway(self.now, message);
        } else {
            let _ = self.gateway.handle_message(self.now, message);
        }
    }

    fn act(&mut self, order: Order) {
        let answer = match order {
            Order::Reserve { pinhole, realm, family, tls } => {
                if self.ports.is_some_and(|most| self.holes.len() >= most) {
                    Some(Media::Refused { pinhole, reason: Refusal::NoPort })
                } else {
                    self.next_port = if self.next_port > 60_000 { 30_000 } else { self.next_port + 2 };
                    let realm = realm.unwrap_or_default();
                    let net = realm.bytes().last().unwrap_or(b'x') % 100;
                    let ip = if family == Some(MediaFamily::V6) {
                        "[2001:db8:1::10]".to_owned()
                    } else {
                        format!("203.0.113.{net}")
                    };
                    let local: SocketAddr = format!("{ip}:{}", self.next_port).parse().unwrap();
                    let hole =
                        Hole { realm, local, settings: Settings::default(), joined: false, tls, shut: 0 };
                    assert!(self.holes.insert(pinhole, hole).is_none());
                    let fingerprint = tls.then(|| OURS.to_owned());
                    Some(Media::Bound { pinhole, local, fingerprint })
                }
            }
            Order::Configure { pinhole, settings } => {
                let hole = self.holes.get_mut(&pinhole).unwrap();
                let open = hole.settings.gate == Gate::SendReceive;
                hole.shut += u32::from(open && settings.gate == Gate::Inactive);
                hole.settings = settings;
                None
            }
            Order::Join { a, b } => {
                for pinhole in [a, b] {
                    self.holes.get_mut(&pinhole).unwrap().joined = true;
                }
                None
            }
            Order::Release { pinhole } => {
                self.holes.remove(&pinhole).unwrap();
                let statistics = Statistics {
                    octets_received: self.passed + 5,
                    octets_sent: self.passed + 7,
                    ..Statistics::default()
                };
                Some(Media::Released { pinhole, statistics })
            }
            Order::Measure { pinhole } => {
                let passed = self.passed;
                let statistics =
                    Statistics { octets_received: passed, octets_sent: passed, ..Statistics::default() };
                Some(Media::Measured { pinhole, statistics })
            }
            _ => None,
        };
        self.owed.extend(answer);
    }

    /// Asks; the number of the request.
    pub fn send(&mut self, request: Request) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        self.steering.handle_request(self.now, RequestId(id), request);
        self.settle();
        id
    }

    /// Asks, and has the answer at once.
    pub fn ask(&mut self, request: Request) -> Value {
        let id = self.send(request);
        self.replies.remove(&id).expect("it is answered")
    }

    /// The description in an answer that is `ok`.
    pub fn sdp(&mut self, request: Request) -> String {
        let reply = self.ask(request);
        assert_eq!(reply.text_of("result"), Some("ok"), "{reply:?}");
        reply.text_of("sdp").unwrap().to_owned()
    }

    /// Why a request is refused.
    pub fn error(&mut self, request: Request) -> String {
        let reply = self.ask(request);
        assert_eq!(reply.text_of("result"), Some("error"), "{reply:?}");
        reply.text_of("error-reason").unwrap().to_owned()
    }

    /// Why there is no capacity for it.
    pub fn overload(&mut self, request: Request) -> String {
        let reply = self.ask(request.with("supports", Value::texts(["load limit"])));
        assert_eq!(reply.text_of("result"), Some("load limit"), "{reply:?}");
        reply.text_of("message").unwrap().to_owned()
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        loop {
            let due = [self.steering.poll_timeout(), self.gateway.poll_timeout()];
            let Some(at) = due.into_iter().flatten().min().filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            self.steering.handle_timeout(self.now);
            self.gateway.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
        self.steering.handle_timeout(self.now);
        self.settle();
    }

    pub fn hole(&self, realm: &str) -> &Hole {
        let mut holes = self.holes.values().filter(|h| h.realm == realm);
        let hole = holes.next().expect("a pinhole in the realm");
        assert!(holes.next().is_none(), "only one in the realm");
        hole
    }

    /// Nothing is left anywhere.
    #[track_caller]
    pub fn assert_empty(&self) {
        assert_eq!(self.gateway.contexts(), 0);
        assert!(self.holes.is_empty(), "{:?}", self.holes);
        assert_eq!(self.steering.load(), carnet_steering::Load::default());
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.events.iter().map(Event::name).collect()
    }
}

/// An offer from `a` with access in front and the core behind.
pub fn offer(call: &str, from: &str, sdp: &str) -> Request {
    let mut request =
        Request::new(Command::Offer, call, from).with("direction", Value::texts(["access", "core"]));
    request.sdp = Some(Bytes::copy_from_slice(sdp.as_bytes()));
    request
}

/// The answer to it.
pub fn answer(call: &str, from: &str, to: &str, sdp: &str) -> Request {
    let mut request = Request::new(Command::Answer, call, from);
    request.to_tag = Some(to.to_owned());
    request.sdp = Some(Bytes::copy_from_slice(sdp.as_bytes()));
    request
}

/// An offer inside a dialog.
pub fn reoffer(call: &str, from: &str, to: &str, sdp: &str) -> Request {
    Request { command: Command::Offer, ..answer(call, from, to, sdp) }
}

pub fn delete(call: &str, from: &str) -> Request {
    Request::new(Command::Delete, call, from)
}

/// One line of MSRP.
pub fn msrp(ip: &str, port: u16, setup: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN {v} {ip}\r\ns=-\r\nc=IN {v} {ip}\r\nt=0 0\r\n{}",
        msrp_line(ip, port, setup),
        v = if ip.contains(':') { "IP6" } else { "IP4" }
    )
}

pub fn msrp_line(ip: &str, port: u16, setup: &str) -> String {
    format!(
        "m=message {port} TCP/MSRP *\r\na=accept-types:text/plain\r\n\
         a=path:msrp://{ip}:{port}/kjhd37s2s20w2a;tcp\r\na=setup:{setup}\r\na=msrp-cema\r\n"
    )
}

/// The same over TLS.
pub fn tls(sdp: &str) -> String {
    let sdp = sdp.replace("TCP/MSRP", "TCP/TLS/MSRP").replace("msrp://", "msrps://");
    format!("{sdp}a=fingerprint:{THEIRS}\r\n")
}

/// One line of RTP in front.
pub fn with_audio(sdp: &str) -> String {
    sdp.replace("t=0 0\r\n", "t=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:4001\r\n")
}

/// Host and port where a description has the line of that place.
pub fn address(sdp: &str, line: usize) -> SocketAddr {
    let document =
        carnet_sdp::Document::parse(Bytes::copy_from_slice(sdp.as_bytes()), &carnet_sdp::Limits::default());
    document.unwrap().media_at(line).unwrap().address().unwrap()
}
