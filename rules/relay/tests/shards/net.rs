//! Shards of a relay without sockets: links are carried by hand, as are connections that move.

use carnet_relay::{Action, ConnectionId, Counts, Listener, Reason, Relay, Settings};
use carnet_sip::Password;
use carnet_wire::{Random, SeededRandom};
use md5::{Digest as _, Md5};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

pub const RELAY: &str = "msrp://relay.example:2855;tcp";

/// Somebody outside.
pub type Peer = usize;

/// What is at the other end of a connection.
#[derive(Clone, Copy)]
enum End {
    Peer(Peer),
    Link(usize, ConnectionId),
}

pub struct Net {
    pub relays: Vec<Relay>,
    pub now: Instant,
    ends: HashMap<(usize, ConnectionId), End>,
    /// Where each peer is.
    places: Vec<(usize, ConnectionId)>,
    wires: Vec<Vec<u8>>,
    /// Who takes nothing.
    pub stalled: HashSet<Peer>,
    pub closed: Vec<(Peer, Reason)>,
    /// Links that were made, and connections that moved.
    pub joined: usize,
    pub moved: usize,
}

pub fn settings() -> Settings {
    let listener = Listener { host: "relay.example".into(), port: 2855, secure: false };
    Settings::new("relay.example", vec![listener])
}

impl Net {
    pub fn new(settings: &Settings, shards: u64) -> Self {
        let now = Instant::now();
        let users = ["alice", "bob", "carol", "dave"];
        let users = users.map(|user| (user.to_owned(), Password::new(b"word".to_vec())));
        let random = (0..shards).map(|n| -> Box<dyn Random> { Box::new(SeededRandom::new(7 + n)) });
        Self {
            relays: Relay::shards(settings, users.into(), now, random.collect()),
            now,
            ends: HashMap::new(),
            places: Vec::new(),
            wires: Vec::new(),
            stalled: HashSet::new(),
            closed: Vec::new(),
            joined: 0,
            moved: 0,
        }
    }

    /// Somebody comes to a shard, if that lets it in.
    pub fn connect(&mut self, shard: usize) -> Option<Peer> {
        let id = self.relays[shard].accepted(self.now, 0, [192, 0, 2, 1].into())?;
        let peer = self.places.len();
        self.places.push((shard, id));
        self.wires.push(Vec::new());
        self.ends.insert((shard, id), End::Peer(peer));
        Some(peer)
    }

    pub fn shard_of(&self, peer: Peer) -> usize {
        self.places[peer].0
    }

    pub fn may_read(&self, peer: Peer) -> bool {
        let (shard, id) = self.places[peer];
        self.relays[shard].may_read(id)
    }

    pub fn give(&mut self, peer: Peer, octets: impl AsRef<[u8]>) {
        let (shard, id) = self.places[peer];
        self.relays[shard].received(self.now, id, octets.as_ref());
        self.run();
    }

    pub fn leave(&mut self, peer: Peer) {
        let (shard, id) = self.places[peer];
        self.relays[shard].closed(id);
        self.ends.remove(&(shard, id));
        self.run();
    }

    pub fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(500);
            for relay in &mut self.relays {
                relay.handle_timeout(self.now);
            }
            self.run();
        }
    }

    pub fn unstall(&mut self, peer: Peer) {
        self.stalled.remove(&peer);
        let (shard, id) = self.places[peer];
        self.write(shard, id);
        self.run();
    }

    pub fn run(&mut self) {
        while let Some((shard, action)) =
            (0..self.relays.len()).find_map(|shard| Some((shard, self.relays[shard].poll()?)))
        {
            self.act(shard, action);
        }
    }

    fn act(&mut self, shard: usize, action: Action) {
        match action {
            Action::Write(id) => self.write(shard, id),
            Action::Read(id) => {
                if let Some(End::Link(other, there)) = self.ends.get(&(shard, id)).copied() {
                    self.write(other, there);
                }
            }
            Action::Join { connection, shard: number } => {
                self.joined += 1;
                let other = usize::from(number);
                let there = self.relays[other].joined(self.now).unwrap();
                self.ends.insert((shard, connection), End::Link(other, there));
                self.ends.insert((other, there), End::Link(shard, connection));
                self.relays[shard].connected(self.now, connection);
            }
            Action::HandOver { connection, shard: number, octets } => {
                self.moved += 1;
                let Some(End::Peer(peer)) = self.ends.remove(&(shard, connection)) else { panic!() };
                let other = usize::from(number);
                let id = self.relays[other].accepted(self.now, 0, [192, 0, 2, 1].into()).unwrap();
                self.places[peer] = (other, id);
                self.ends.insert((other, id), End::Peer(peer));
                self.relays[other].received(self.now, id, &octets);
            }
            Action::Close { connection, reason, rest } => match self.ends.remove(&(shard, connection)) {
                Some(End::Peer(peer)) => {
                    self.wires[peer].extend(rest);
                    self.closed.push((peer, reason));
                }
                Some(End::Link(other, there)) => {
                    self.ends.remove(&(other, there));
                    self.relays[other].received(self.now, there, &rest);
                    self.relays[other].closed(there);
                }
                None => {}
            },
            Action::Connect { .. } => panic!("nobody is outside"),
        }
    }

    fn write(&mut self, shard: usize, id: ConnectionId) {
        let Some(end) = self.ends.get(&(shard, id)).copied() else { return };
        let takes = match end {
            End::Peer(peer) => !self.stalled.contains(&peer),
            End::Link(other, there) => self.relays[other].may_read(there),
        };
        if !takes {
            return;
        }
        let octets = self.relays[shard].output(id).to_vec();
        self.relays[shard].sent(self.now, id, octets.len());
        match end {
            End::Peer(peer) => self.wires[peer].extend(octets),
            End::Link(other, there) => self.relays[other].received(self.now, there, &octets),
        }
    }

    /// All that was written to somebody since last asked.
    pub fn take(&mut self, peer: Peer) -> String {
        String::from_utf8(std::mem::take(&mut self.wires[peer])).unwrap()
    }

    pub fn counts(&self) -> Counts {
        self.relays.iter().map(Relay::counts).fold(Counts::default(), |sum, counts| sum + counts)
    }

    /// Somebody with a URI of a shard, if it is granted.
    pub fn try_client(&mut self, user: &str, shard: usize) -> Option<Client> {
        let peer = self.connect(shard)?;
        let own = format!("msrp://{user}.invalid:9/{user}{peer};tcp");
        let ask = |net: &mut Self, fields: &str| {
            let frame =
                format!("MSRP ask1 AUTH\r\nTo-Path: {RELAY}\r\nFrom-Path: {own}\r\n{fields}-------ask1$\r\n");
            net.give(peer, frame);
            net.take(peer)
        };
        let challenge = ask(self, "");
        let value = |name: &str| {
            let rest = challenge.split_once(&format!("{name}=\"")).unwrap().1;
            rest.split_once('"').unwrap().0
        };
        let hash = |text: String| Md5::digest(text).iter().map(|b| format!("{b:02x}")).collect::<String>();
        let (realm, nonce) = (value("realm"), value("nonce"));
        let (first, second) = (hash(format!("{user}:{realm}:word")), hash(format!("AUTH:{RELAY}")));
        let response = hash(format!("{first}:{nonce}:00000001:c:auth:{second}"));
        let granted = ask(
            self,
            &format!(
                "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", qop=auth, \
                 nc=00000001, cnonce=\"c\", response=\"{response}\"\r\n"
            ),
        );
        let uri = field(&granted, "Use-Path")?.to_owned();
        Some(Client { peer, own, uri })
    }

    pub fn client(&mut self, user: &str, shard: usize) -> Client {
        self.try_client(user, shard).unwrap()
    }
}

pub struct Client {
    pub peer: Peer,
    pub own: String,
    pub uri: String,
}

impl Client {
    pub fn path(&self) -> String {
        format!("{} {}", self.uri, self.own)
    }
}

/// The value of a header field of the first frame.
pub fn field<'a>(frame: &'a str, name: &str) -> Option<&'a str> {
    frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The transaction identifier of the first frame.
pub fn tid(frame: &str) -> &str {
    frame.strip_prefix("MSRP ").and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("{frame:?}"))
}

/// A SEND. `fields` come before Content-Type.
pub fn send(name: &str, to: &str, from: &str, fields: &str, body: &str) -> String {
    format!(
        "MSRP {name} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: m1\r\n{fields}\
         Content-Type: text/plain\r\n\r\n{body}\r\n-------{name}$\r\n"
    )
}

/// The answer to a frame that came.
pub fn answer(frame: &str, status: &str) -> String {
    let from = field(frame, "From-Path").unwrap().split(' ').next().unwrap();
    let (name, to) = (tid(frame), field(frame, "To-Path").unwrap());
    format!("MSRP {name} {status}\r\nTo-Path: {from}\r\nFrom-Path: {to}\r\n-------{name}$\r\n")
}
