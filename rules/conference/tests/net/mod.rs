//! A focus, media servers behind real H.248, a key server, members, and the network between them, under one
//! clock.

#![allow(dead_code, unused_imports, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod mrfp;
mod ue;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use carnet_conference::{
    Config, Event, Factory, FetchError, FetchPurpose, Floor, Focus, Gateway, KeyAccount, Limits, Out, Policy,
    Room, Timers,
};
use carnet_h248::MId;
use carnet_keys::{Directory, KeyRing, Kms, Pattern, Rules, User};
use carnet_mikey::{Identity, Profile, Psk};
use carnet_sip::{Destination, Hop, Input, SessionTimers, Transport, Uri};
use carnet_wire::SeededRandom;

pub use mrfp::Mrfp;
#[allow(unused_imports, reason = "each test file uses its part")]
pub use ue::{Kind, Offer, Ue, Wish, outside};

pub const TEAM: &str = "sip:team@conf.example";
pub const FACTORY: &str = "sip:factory@conf.example";
pub const KMS: &str = "sip:kms.example";

pub fn focus_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5060))
}

/// Stands for the network that knows where users are.
pub fn proxy_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 9, 9], 5060))
}

pub fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap()
}

pub fn psk(name: &str) -> Psk {
    let mut octets = [7; 32];
    octets.iter_mut().zip(name.bytes()).for_each(|(o, b)| *o = b);
    Psk::new(&octets).unwrap()
}

pub fn member(name: &str) -> String {
    format!("sip:{name}@example.com")
}

/// A room with a floor for its messages.
pub fn policy() -> Policy {
    Policy {
        subject: Some("Team \"one\"".into()),
        owners: vec![member("olga")],
        floors: vec![Floor {
            id: 1,
            algorithm: carnet_conference::Algorithm::Chair,
            holders: 1,
            seconds: 0,
            messages: true,
            chair: Some(member("olga")),
        }],
        ..Policy::default()
    }
}

pub fn key_account() -> KeyAccount {
    KeyAccount {
        profile: Profile::default(),
        kms: KMS.into(),
        also_me: Vec::new(),
        psk_id: b"mrfc".to_vec(),
        psk: psk("mrfc"),
        replay_entries: 1000,
    }
}

/// A focus with the room [`TEAM`], a factory, and media servers `m0`, `m1` ...
pub fn config(mrfps: usize) -> Config {
    let gateway = |n: usize| {
        let name = format!("m{n}");
        let mid = MId::domain(format!("{name}.example"));
        Gateway::new(name.as_str(), mid, carnet_h248::association::Transport::Reliable, "public")
    };
    Config {
        name: "conf.example".into(),
        contact: Some(uri("sip:10.0.0.1:5060")),
        rooms: vec![Room { uri: uri(TEAM), policy: policy() }],
        factories: vec![Factory {
            uri: uri(FACTORY),
            rooms: uri("sip:adhoc-@conf.example"),
            policy: policy(),
        }],
        keys: Some(key_account()),
        own_tickets: false,
        gateways: (0..mrfps).map(gateway).collect(),
        profiles: Vec::new(),
        proxy: Some(Destination::Hops(vec![Hop::new(Transport::Udp, proxy_address())])),
        routes: Vec::new(),
        digest: None,
        trust_asserted: false,
        session_timers: SessionTimers { interval: 0, least: 90 },
        timers: Timers::default(),
        limits: Limits::default(),
        sip: carnet_sip::Config {
            transports: vec![Transport::Udp],
            datagram: 65_000,
            ..carnet_sip::Config::default()
        },
    }
}

/// Drops, doubles or changes a datagram: what arrives, where.
pub type Tap = Box<dyn FnMut(SocketAddr, SocketAddr, &Bytes) -> Vec<Bytes>>;

pub struct Net {
    pub now: Instant,
    pub wall: SystemTime,
    pub focus: Option<Focus>,
    pub events: VecDeque<Event>,
    /// As a store would have them.
    pub records: BTreeMap<String, Vec<u8>>,
    pub mrfps: Vec<Mrfp>,
    pub ues: Vec<Ue>,
    pub kms: Kms,
    /// The key server does not answer so.
    pub kms_fails: Option<FetchError>,
    pub asked: Vec<FetchPurpose>,
    pub tap: Option<Tap>,
    /// Everything that passed on H.248, printed.
    pub control: Vec<String>,
    wire: VecDeque<(SocketAddr, SocketAddr, Bytes)>,
    seed: u64,
}

impl Net {
    /// One media server, `olga`, `alice` and `bob`.
    pub fn new() -> Self {
        Self::with(config(1))
    }

    pub fn with(config: Config) -> Self {
        let now = Instant::now();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut directory = Directory::default();
        let user = |name: &str, identities: &[&str]| User {
            name: name.into(),
            identities: identities.iter().map(|i| Pattern::parse(i).unwrap()).collect(),
            psk: psk(name),
            revoked: false,
            tickets_not_before: None,
        };
        directory.put_user(user("mrfc", &[TEAM, FACTORY, "sip:adhoc-*@conf.example"])).unwrap();
        let people = ["olga", "alice", "bob", "carol"];
        for name in people {
            directory.put_user(user(name, &[&member(name)])).unwrap();
        }
        let mut settings = carnet_keys::Config::new(Identity::from_uri(KMS).unwrap());
        settings.accept_self_issued = true;
        let random = Box::new(SeededRandom::new(3));
        let mut kms = Kms::new(settings, directory, Rules::default(), KeyRing::default(), random, start);
        let key = kms.key_due(start).unwrap();
        kms.install_key(key);
        let mrfps = config.gateways.len();
        let mut net = Self {
            now,
            wall: start + Duration::from_secs(3600),
            focus: None,
            events: VecDeque::new(),
            records: BTreeMap::new(),
            mrfps: Vec::new(),
            ues: Vec::new(),
            kms,
            kms_fails: None,
            asked: Vec::new(),
            tap: None,
            control: Vec::new(),
            wire: VecDeque::new(),
            seed: 100,
        };
        net.start(config);
        // What was offered before the focus began is refused as a possible replay.
        net.wall += Duration::from_secs(3600);
        for n in 0..mrfps {
            net.mrfps.push(Mrfp::new(n, net.now, net.wall));
        }
        for name in people {
            let n = u8::try_from(net.ues.len() + 1).unwrap();
            net.ues.push(Ue::new(name, SocketAddr::from(([10, 0, 1, n], 5060))));
        }
        net.settle();
        for mrfp in &net.mrfps {
            assert!(mrfp.gateway.registration().is_registered(), "{} is there", mrfp.name);
        }
        net
    }

    /// Starts a focus, again or for the first time.
    pub fn start(&mut self, config: Config) {
        self.seed += 1;
        let random = Box::new(SeededRandom::new(self.seed));
        self.focus = Some(Focus::new(config, random, self.now, self.wall).unwrap());
    }

    pub fn focus(&mut self) -> &mut Focus {
        self.focus.as_mut().unwrap()
    }

    pub fn ue(&mut self, name: &str) -> &mut Ue {
        self.ues.iter_mut().find(|ue| ue.name == name).unwrap()
    }

    /// `name` calls `to` with these wishes and waits for what comes of it.
    pub fn join(&mut self, name: &str, to: &str, wish: &Wish) {
        let (now, wall) = (self.now, self.wall);
        let Self { ues, kms, .. } = self;
        let ue = ues.iter_mut().find(|ue| ue.name == name).unwrap();
        ue.invite(now, wall, kms, to, wish);
        self.settle();
    }

    /// Joins, and is in.
    pub fn enter(&mut self, name: &str, to: &str) {
        self.join(name, to, &Wish::default());
        assert_eq!(self.ue(name).last_status(), Some(200), "{name}: {:?}", self.events);
    }

    pub fn bye(&mut self, name: &str) {
        let now = self.now;
        self.ue(name).bye(now);
        self.settle();
    }

    pub fn admin<T>(&mut self, act: impl FnOnce(&mut Focus, Instant, SystemTime) -> T) -> T {
        let (now, wall) = (self.now, self.wall);
        let done = act(self.focus(), now, wall);
        self.settle();
        done
    }

    /// The first event that fits; it must have come by now.
    pub fn event(&mut self, fits: impl Fn(&Event) -> bool) -> Event {
        let position = self.events.iter().position(fits);
        let position = position.unwrap_or_else(|| panic!("not among {:#?}", self.events));
        self.events.remove(position).unwrap()
    }

    /// Who is in the room, with the state of each.
    pub fn members(&mut self, room: &str) -> Vec<(String, &'static str)> {
        let status = self.focus().room(room).unwrap();
        status.members.into_iter().map(|member| (member.uri, member.state)).collect()
    }

    /// Runs until nothing moves without the clock.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = self.drain_focus();
            for at in 0..self.mrfps.len() {
                moved |= self.drain_mrfp(at);
            }
            for at in 0..self.ues.len() {
                moved |= self.drain_ue(at);
            }
            while let Some((from, to, data)) = self.wire.pop_front() {
                moved = true;
                let copies = match &mut self.tap {
                    Some(tap) => tap(from, to, &data),
                    None => vec![data],
                };
                for data in copies {
                    self.deliver(from, to, data);
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the network does not come to rest");
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, data: Bytes) {
        let hop = Hop { local: Some(to), ..Hop::new(Transport::Udp, from) };
        if to == focus_address() {
            if let Some(focus) = &mut self.focus {
                focus.handle_sip(self.now, self.wall, Input { hop, data });
            }
            return;
        }
        let known = |ue: &&mut Ue| {
            ue.address == to
                || (to == proxy_address() && data.get(..64).is_some_and(|head| ue.is_called(head)))
        };
        let (now, wall) = (self.now, self.wall);
        let Self { ues, kms, .. } = self;
        if let Some(ue) = ues.iter_mut().find(known) {
            let hop = Hop { local: Some(ue.address), ..hop };
            ue.take(now, wall, kms, Input { hop, data });
        }
    }

    fn drain_focus(&mut self) -> bool {
        let Some(focus) = &mut self.focus else { return false };
        let mut moved = false;
        while let Some(out) = focus.poll_transmit() {
            moved = true;
            match out {
                Out::Sip(transmit) => {
                    self.wire.push_back((focus_address(), transmit.hop.remote, transmit.data));
                }
                Out::Gateway(name, message) => {
                    let text = mrfp::write(&message);
                    let mrfp = self.mrfps.iter_mut().find(|mrfp| *mrfp.name == *name).unwrap();
                    self.control.push(format!("to {name}: {text}"));
                    if mrfp.up {
                        let (gateway, message) = (&mut mrfp.gateway, mrfp::read(&text));
                        let _ = match mrfp.protected {
                            true => gateway.handle_protected(self.now, message),
                            false => gateway.handle_message(self.now, message),
                        };
                    }
                }
            }
        }
        assert!(focus.poll_query().is_none(), "every URI in these tests is an address");
        while let Some(fetch) = focus.poll_fetch() {
            moved = true;
            self.asked.push(fetch.purpose);
            let answer = match self.kms_fails {
                Some(FetchError::TimedOut) => continue,
                Some(error) => Err(error),
                None => ask_kms(&mut self.kms, self.now, self.wall, &fetch.octets),
            };
            focus.handle_fetched(self.now, self.wall, fetch.id, answer);
        }
        while let Some(event) = focus.poll_event() {
            moved = true;
            match event {
                Event::Keep { key, value } => {
                    self.records.insert(key, value);
                }
                Event::Forget { key } => {
                    self.records.remove(&key);
                }
                event => self.events.push_back(event),
            }
        }
        moved
    }

    fn drain_mrfp(&mut self, at: usize) -> bool {
        let mrfp = &mut self.mrfps[at];
        if !mrfp.up {
            return false;
        }
        let mut moved = mrfp.run(self.now);
        while let Some((_, message)) = mrfp.gateway.poll_transmit() {
            moved = true;
            let text = mrfp::write(&message);
            self.control.push(format!("from {}: {text}", mrfp.name));
            if let Some(focus) = &mut self.focus {
                focus.handle_gateway(self.now, self.wall, &mrfp.name, mrfp::read(&text));
            }
        }
        moved
    }

    fn drain_ue(&mut self, at: usize) -> bool {
        let ue = &mut self.ues[at];
        let mut moved = false;
        while let Some((to, data)) = ue.transmit() {
            moved = true;
            self.wire.push_back((ue.address, to, data));
        }
        moved
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        loop {
            let focus = self.focus.as_ref().and_then(Focus::poll_timeout);
            let mrfps = self.mrfps.iter().filter(|m| m.up).filter_map(|m| m.gateway.poll_timeout()).min();
            let ues = self.ues.iter().filter_map(Ue::timeout).min();
            let Some(next) = [focus, mrfps, ues].into_iter().flatten().min() else { break };
            let next = next.max(self.now);
            if next > end {
                break;
            }
            // A machine that wants to be called at once again and again would hold the clock.
            let next = if next == self.now { self.now + Duration::from_millis(1) } else { next };
            self.wall += next - self.now;
            self.now = next;
            if let Some(focus) = &mut self.focus {
                focus.handle_timeout(self.now, self.wall);
            }
            for mrfp in self.mrfps.iter_mut().filter(|mrfp| mrfp.up) {
                mrfp.gateway.handle_timeout(self.now);
            }
            for ue in &mut self.ues {
                ue.tick(self.now);
            }
            self.settle();
        }
        if end > self.now {
            self.wall += end - self.now;
            self.now = end;
        }
    }

    /// The media server does not answer any more, as one that was killed.
    pub fn kill(&mut self, at: usize) {
        self.mrfps[at].up = false;
    }

    /// Another one in its place, of which the focus has not heard yet.
    pub fn revive_silently(&mut self, at: usize) {
        self.mrfps[at] = Mrfp::new(at, self.now, self.wall);
    }

    /// Another one in its place, that knows nothing.
    pub fn revive(&mut self, at: usize) {
        self.mrfps[at] = Mrfp::new(at, self.now, self.wall);
        self.settle();
    }
}

/// Asks the key server as a driver would, over HTTP.
pub fn ask_kms(kms: &mut Kms, now: Instant, wall: SystemTime, octets: &[u8]) -> Result<Vec<u8>, FetchError> {
    let outcome = kms.handle(wall, now, IpAddr::V4(Ipv4Addr::LOCALHOST), octets);
    if outcome.reply.is_empty() { Err(FetchError::Status(outcome.status)) } else { Ok(outcome.reply) }
}
