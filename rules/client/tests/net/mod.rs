//! Clients, a key server and the network between them, under one clock.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use carnet_client::{
    CallId, Client, Config, Event, FetchError, FetchPurpose, KeyAccount, Limits, Media, Purpose, TcpRole,
};
use carnet_mikey::exchange::{ResolveRequest, TicketRequest};
use carnet_mikey::payload::Payload;
use carnet_mikey::registry::time_role;
use carnet_mikey::{Error, Identity, Profile, Psk, ReplayCache, Timestamp, Tpk};
use carnet_sip::{Destination, Endpoint, Hop, Input, SessionTimers, Transport, Uri};
use carnet_wire::SeededRandom;

pub fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 5060))
}

pub fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap()
}

/// A key server that grants and opens everything, unless a test says otherwise.
pub struct Kms {
    pub profile: Profile,
    pub users: BTreeMap<Vec<u8>, (Psk, Vec<Identity>)>,
    pub identity: Identity,
    pub tpk: Tpk,
    pub rng: SeededRandom,
    pub ticket: Option<FetchError>,
    pub resolve: Option<FetchError>,
    pub silent: bool,
    pub deaf_to_resolve: bool,
    /// What it is asked for so is refused if it is older than the server, by its replay cache.
    pub started: Option<(FetchPurpose, ReplayCache)>,
    /// Names nobody's key.
    pub forgetful: bool,
    /// Lifetime of its tickets, if it is not the usual one.
    pub lifetime: Option<Duration>,
    /// Changes the answer on its way.
    pub spoil: bool,
    pub asked: Vec<FetchPurpose>,
}

impl Kms {
    pub fn new(name: &str) -> Self {
        let mut rng = SeededRandom::new(7);
        Self {
            profile: Profile::default(),
            users: BTreeMap::new(),
            identity: Identity::from_uri(name).unwrap(),
            tpk: Tpk::generate(&mut rng),
            rng,
            ticket: None,
            resolve: None,
            silent: false,
            deaf_to_resolve: false,
            started: None,
            forgetful: false,
            lifetime: None,
            spoil: false,
            asked: Vec::new(),
        }
    }

    pub fn answer(
        &mut self,
        wall: SystemTime,
        purpose: FetchPurpose,
        octets: &[u8],
    ) -> Option<Result<Vec<u8>, FetchError>> {
        self.asked.push(purpose);
        if self.silent || (self.deaf_to_resolve && purpose == FetchPurpose::Resolve) {
            return None;
        }
        let failure = match purpose {
            FetchPurpose::Ticket => self.ticket,
            FetchPurpose::Resolve => self.resolve,
        };
        if let Some(failure) = failure {
            return Some(Err(failure));
        }
        if self.forgetful {
            return Some(Ok(self.refuse(wall, octets, &Error::Authentication("no such user"))));
        }
        let mut answer = match purpose {
            _ if self.is_too_early(wall, purpose, octets) => self.refuse(wall, octets, &Error::Replay),
            FetchPurpose::Ticket => self.grant(wall, octets),
            FetchPurpose::Resolve => self.open(wall, octets),
        };
        if self.spoil
            && let Some(last) = answer.last_mut()
        {
            *last ^= 1;
        }
        Some(Ok(answer))
    }

    fn is_too_early(&mut self, wall: SystemTime, purpose: FetchPurpose, octets: &[u8]) -> bool {
        let profile = &self.profile;
        match &mut self.started {
            Some((which, cache)) if *which == purpose => match purpose {
                FetchPurpose::Ticket => {
                    let request = TicketRequest::parse(profile, wall, octets).unwrap();
                    request.check_replay(cache, wall).is_err()
                }
                FetchPurpose::Resolve => {
                    let request = ResolveRequest::parse(profile, wall, octets).unwrap();
                    request.check_replay(cache, wall).is_err()
                }
            },
            _ => false,
        }
    }

    fn refuse(&self, wall: SystemTime, octets: &[u8], error: &Error) -> Vec<u8> {
        let message = carnet_mikey::Message::parse(octets, &self.profile.limits).unwrap();
        carnet_mikey::exchange::error_message(&message.header, error.mikey_error().unwrap(), wall)
    }

    fn grant(&mut self, wall: SystemTime, octets: &[u8]) -> Vec<u8> {
        let request = TicketRequest::parse(&self.profile, wall, octets).unwrap();
        let (psk, identities) = &self.users[&request.psk_id().unwrap().data];
        let verified = request.verify(psk, &identities[0], &self.identity).unwrap();
        let mut policy = verified.policy().clone();
        policy.data.retain(|payload| !matches!(payload, Payload::Kemac(_)));
        if let Some(lifetime) = self.lifetime {
            for payload in &mut policy.data {
                if let Payload::Tr { role, time } = payload
                    && *role == time_role::END
                {
                    *time = Timestamp::from_wall(wall + lifetime);
                }
            }
        }
        verified.grant(policy, &self.tpk, b"tpk-1", wall, &mut self.rng).unwrap().octets
    }

    fn open(&mut self, wall: SystemTime, octets: &[u8]) -> Vec<u8> {
        let request = ResolveRequest::parse(&self.profile, wall, octets).unwrap();
        let (psk, identities) = &self.users[&request.psk_id().unwrap().data];
        let refuse = |error: &Error| {
            ResolveRequest::parse(&self.profile, wall, octets).unwrap().refuse(error, wall).unwrap()
        };
        let me = request.requester().unwrap().clone();
        assert!(identities.contains(&me));
        let verified = request.verify(psk, &me, &self.identity).unwrap();
        let opened = match verified.open(&self.profile, &self.tpk, wall) {
            Ok(opened) => opened,
            Err(error) => return refuse(&error),
        };
        if !verified.ticket().policy.responders().any(|responder| identities.contains(responder)) {
            return refuse(&Error::Identity("not for you"));
        }
        match verified.answer(&opened, &me, wall, &mut self.rng) {
            Ok(resolved) => resolved.octets,
            Err(error) => refuse(&error),
        }
    }
}

pub struct Node {
    pub client: Client,
    pub address: SocketAddr,
    pub events: VecDeque<Event>,
    pub kms: usize,
    /// How far its clock is behind.
    pub skew: Duration,
    /// How many octets of SIP it got.
    pub received: Vec<Bytes>,
}

/// Changes a datagram, drops it (`None`), or lets it be.
pub type Tap = Box<dyn FnMut(SocketAddr, SocketAddr, &Bytes) -> Vec<(SocketAddr, Bytes)>>;

pub struct Net {
    pub now: Instant,
    pub wall: SystemTime,
    pub nodes: Vec<Node>,
    pub kms: Vec<Kms>,
    pub tap: Option<Tap>,
    wire: VecDeque<(SocketAddr, SocketAddr, Bytes)>,
}

pub struct Person<'a> {
    pub name: &'a str,
    pub last: u8,
    pub proxy: u8,
}

impl Net {
    pub fn new() -> Self {
        Self {
            now: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            nodes: Vec::new(),
            kms: vec![Kms::new("sip:kms.example")],
            tap: None,
            wire: VecDeque::new(),
        }
    }

    /// Alice at 10.0.0.1 and Bob at 10.0.0.2, each the other's first hop.
    pub fn pair() -> Self {
        let mut net = Self::new();
        net.add(&Person { name: "alice", last: 1, proxy: 2 }, |_| {});
        net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
        net
    }

    pub fn add(&mut self, person: &Person<'_>, edit: impl FnOnce(&mut Config)) -> usize {
        let (name, at) = (person.name, address(person.last));
        let identity = format!("sip:{name}@example.com");
        let psk = || Psk::new(&[person.name.as_bytes()[0]; 32]).unwrap();
        for kms in &mut self.kms {
            let me = Identity::from_uri(&identity).unwrap();
            kms.users.insert(name.as_bytes().to_vec(), (psk(), vec![me]));
        }
        let mut config = Config {
            identity: uri(&identity),
            contact: uri(&format!("sip:{name}@{at}")),
            proxy: Destination::Hops(vec![Hop::new(Transport::Udp, address(person.proxy))]),
            digest: None,
            expires: Duration::from_secs(600),
            keep_alive: Duration::from_secs(29),
            routes: Vec::new(),
            keys: Some(KeyAccount {
                profile: Profile::default(),
                kms: "sip:kms.example".into(),
                also_me: Vec::new(),
                psk_id: name.as_bytes().to_vec(),
                psk: psk(),
                replay_entries: 1000,
            }),
            allow_clear: false,
            prefer: TcpRole::Active,
            behind_nat: false,
            tls_role_by_mikey: true,
            recovers: true,
            accept_types: "message/cpim text/plain *".into(),
            max_message: None,
            session_timers: SessionTimers { interval: 0, least: 90 },
            limits: Limits::default(),
        };
        edit(&mut config);
        let seed = u64::from(person.last) * 1000;
        let endpoint = Endpoint::new(carnet_sip::Config::default(), Box::new(SeededRandom::new(seed)));
        let client = Client::new(config, endpoint, Box::new(SeededRandom::new(seed + 1)), self.wall).unwrap();
        let (events, received) = (VecDeque::new(), Vec::new());
        self.nodes.push(Node { client, address: at, events, kms: 0, skew: Duration::ZERO, received });
        self.nodes.len() - 1
    }

    pub fn call(&mut self, from: usize, to: &str) -> CallId {
        self.call_for(from, to, Purpose::Chat)
    }

    pub fn call_for(&mut self, from: usize, to: &str, purpose: Purpose) -> CallId {
        let local = media_address(from, 0);
        let wall = self.wall - self.nodes[from].skew;
        let call = self.nodes[from].client.call(self.now, wall, uri(to), purpose, local).unwrap();
        self.settle();
        call
    }

    /// Takes the call that rings at `at`.
    pub fn accept(&mut self, at: usize) -> CallId {
        let call = self.incoming(at);
        self.nodes[at].client.accept(self.now, call, media_address(at, 0), 0);
        self.settle();
        call
    }

    pub fn incoming(&mut self, at: usize) -> CallId {
        match self.event(at, |event| matches!(event, Event::Incoming { .. })) {
            Event::Incoming { call, .. } => call,
            _ => unreachable!(),
        }
    }

    /// The first event that fits; it must have come by now.
    pub fn event(&mut self, at: usize, fits: impl Fn(&Event) -> bool) -> Event {
        self.try_event(at, fits).unwrap_or_else(|| panic!("not among {:?}", self.nodes[at].events))
    }

    pub fn try_event(&mut self, at: usize, fits: impl Fn(&Event) -> bool) -> Option<Event> {
        let position = self.nodes[at].events.iter().position(fits)?;
        self.nodes[at].events.remove(position)
    }

    pub fn media(&mut self, at: usize) -> Media {
        match self.event(at, |event| matches!(event, Event::Media { .. })) {
            Event::Media { media, .. } => *media,
            _ => unreachable!(),
        }
    }

    pub fn ending(&mut self, at: usize) -> carnet_client::Ending {
        match self.event(at, |event| matches!(event, Event::Ended { .. })) {
            Event::Ended { ending, .. } => ending,
            _ => unreachable!(),
        }
    }

    /// What came of another session.
    pub fn renewed(&mut self, at: usize) -> Result<Box<Media>, carnet_client::Refusal> {
        match self.event(at, |event| matches!(event, Event::MediaRenewed { .. })) {
            Event::MediaRenewed { media, .. } => media,
            _ => unreachable!(),
        }
    }

    pub fn refused(&mut self, at: usize) -> carnet_client::Refusal {
        match self.event(at, |event| matches!(event, Event::Refused { .. })) {
            Event::Refused { reason, .. } => reason,
            _ => unreachable!(),
        }
    }

    /// Runs until nothing moves without the clock.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            let mut moved = false;
            for at in 0..self.nodes.len() {
                moved |= self.drain(at);
            }
            while let Some((from, to, data)) = self.wire.pop_front() {
                moved = true;
                let copies = match &mut self.tap {
                    Some(tap) => tap(from, to, &data),
                    None => vec![(to, data)],
                };
                for (to, data) in copies {
                    let Some(node) = self.nodes.iter_mut().find(|node| node.address == to) else { continue };
                    node.received.push(data.clone());
                    let hop = Hop { local: Some(to), ..Hop::new(Transport::Udp, from) };
                    node.client.handle_sip(self.now, self.wall - node.skew, Input { hop, data });
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the network does not come to rest");
    }

    fn drain(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        let (now, wall) = (self.now, self.wall - node.skew);
        let mut moved = false;
        while let Some(transmit) = node.client.poll_transmit() {
            moved = true;
            self.wire.push_back((node.address, transmit.hop.remote, transmit.data));
        }
        assert!(node.client.poll_query().is_none(), "every URI in these tests is an address");
        while let Some(fetch) = node.client.poll_fetch() {
            moved = true;
            if let Some(answer) = self.kms[node.kms].answer(wall, fetch.purpose, &fetch.octets) {
                node.client.handle_fetched(now, wall, fetch.id, answer);
            }
        }
        while let Some(event) = node.client.poll_event() {
            moved = true;
            node.events.push_back(event);
        }
        moved
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(next) = self.nodes.iter().filter_map(|node| node.client.poll_timeout()).min() {
            let next = next.max(self.now);
            if next > end {
                break;
            }
            self.wall += next - self.now;
            self.now = next;
            for node in &mut self.nodes {
                node.client.handle_timeout(self.now, self.wall);
            }
            self.settle();
        }
        self.wall += end - self.now;
        self.now = end;
    }
}

pub fn media_address(node: usize, plus: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(node + 1).unwrap()], 20_000 + plus))
}

/// A tap that edits messages whose first line starts with `start` and that carry a session
/// description, and mends Content-Length.
pub fn replacing(start: &'static str, edit: impl Fn(&str) -> String + 'static) -> Tap {
    Box::new(move |_, to, data| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        if !text.starts_with(start) || !text.contains("\r\n\r\nv=0") {
            return vec![(to, data.clone())];
        }
        vec![(to, mend(&edit(&text)).into())]
    })
}

pub fn mend(text: &str) -> String {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let head: Vec<String> = head
        .split("\r\n")
        .map(|line| {
            let is_length = line.to_ascii_lowercase().starts_with("content-length");
            if is_length { format!("Content-Length: {}", body.len()) } else { line.to_owned() }
        })
        .collect();
    format!("{}\r\n\r\n{body}", head.join("\r\n"))
}

/// Removes every line of the body that starts with `start`.
pub fn without(text: &str, start: &str) -> String {
    text.split("\r\n").filter(|line| !line.starts_with(start)).collect::<Vec<_>>().join("\r\n")
}
