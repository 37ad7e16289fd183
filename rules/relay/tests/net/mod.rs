//! A relay without sockets: octets go in, what it writes is kept, time is moved by hand.

#![allow(dead_code, missing_docs)] // Each test takes what it needs.
#![allow(clippy::unwrap_used)]

use carnet_relay::{Action, ConnectionId, Listener, Reason, Relay, Settings};
use carnet_sip::Password;
use carnet_wire::SeededRandom;
use md5::{Digest as _, Md5};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

pub const RELAY: &str = "msrps://relay.example:2855;tcp";

pub struct Net {
    pub relay: Relay,
    pub now: Instant,
    /// What was written to whom.
    wires: HashMap<ConnectionId, Vec<u8>>,
    /// Who takes nothing.
    pub stalled: HashSet<ConnectionId>,
    pub closed: Vec<(ConnectionId, Reason)>,
    pub connects: Vec<(ConnectionId, String, u16, bool)>,
}

pub fn settings() -> Settings {
    let listener = Listener { host: "relay.example".into(), port: 2855, secure: true };
    Settings::new("relay.example", vec![listener])
}

impl Net {
    pub fn new() -> Self {
        Self::with(settings())
    }

    pub fn with(settings: Settings) -> Self {
        let now = Instant::now();
        let users = ["alice", "bob", "carol"];
        let users = users.map(|u| (u.to_owned(), Password::new(format!("{u}'s-word").into_bytes())));
        let relay = Relay::new(settings, users.into(), now, Box::new(SeededRandom::new(7)));
        Self {
            relay,
            now,
            wires: HashMap::new(),
            stalled: HashSet::new(),
            closed: Vec::new(),
            connects: Vec::new(),
        }
    }

    pub fn connect(&mut self) -> ConnectionId {
        self.relay.accepted(self.now, 0, "192.0.2.1".parse().unwrap()).unwrap()
    }

    pub fn give(&mut self, id: ConnectionId, octets: impl AsRef<[u8]>) {
        self.relay.received(self.now, id, octets.as_ref());
        self.run();
    }

    pub fn run(&mut self) {
        while let Some(action) = self.relay.poll() {
            match action {
                Action::Write(id) => self.flush(id),
                Action::Read(_) => {}
                Action::Join { .. } | Action::HandOver { .. } => panic!("there are no other shards"),
                Action::Connect { connection, host, port, secure } => {
                    self.connects.push((connection, host, port, secure));
                }
                Action::Close { connection, reason, rest } => {
                    self.wires.entry(connection).or_default().extend(rest);
                    self.closed.push((connection, reason));
                }
            }
        }
    }

    pub fn flush(&mut self, id: ConnectionId) {
        if self.stalled.contains(&id) {
            return;
        }
        let octets = self.relay.output(id).to_vec();
        self.relay.sent(self.now, id, octets.len());
        self.wires.entry(id).or_default().extend(octets);
    }

    /// It reads again.
    pub fn unstall(&mut self, id: ConnectionId) {
        self.stalled.remove(&id);
        self.flush(id);
        self.run();
    }

    pub fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(500);
            self.relay.handle_timeout(self.now);
            self.run();
        }
    }

    pub fn take_octets(&mut self, id: ConnectionId) -> Vec<u8> {
        self.wires.remove(&id).unwrap_or_default()
    }

    /// All that was written to somebody since last asked.
    pub fn take(&mut self, id: ConnectionId) -> String {
        String::from_utf8(self.take_octets(id)).unwrap()
    }

    /// Somebody with a URI.
    pub fn client(&mut self, user: &str) -> Client {
        let id = self.connect();
        let mut client = Client {
            id,
            user: user.into(),
            own: format!("msrp://{user}.invalid:9/{user}1;tcp"),
            uri: String::new(),
        };
        let granted = client.authenticate(self, "");
        client.uri = field(&granted, "Use-Path").unwrap_or_else(|| panic!("{granted}")).to_owned();
        client
    }
}

pub struct Client {
    pub id: ConnectionId,
    pub user: String,
    pub own: String,
    /// What the relay granted.
    pub uri: String,
}

impl Client {
    pub fn path(&self) -> String {
        format!("{} {}", self.uri, self.own)
    }

    /// AUTH with these fields; the answer.
    pub fn ask(&self, net: &mut Net, fields: &str) -> String {
        net.give(
            self.id,
            format!(
                "MSRP ask1 AUTH\r\nTo-Path: {RELAY}\r\nFrom-Path: {}\r\n{fields}-------ask1$\r\n",
                self.own
            ),
        );
        net.take(self.id)
    }

    pub fn authenticate(&self, net: &mut Net, fields: &str) -> String {
        let challenge = self.ask(net, "");
        let proof = self.proof(&challenge, "'s-word", "");
        self.ask(net, &format!("{proof}{fields}"))
    }

    /// The line that answers a challenge; `more` is added to it.
    pub fn proof(&self, challenge: &str, word: &str, more: &str) -> String {
        let value = |name: &str| {
            let rest = challenge.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("{challenge}")).1;
            rest.split_once('"').unwrap().0
        };
        let hash = |text: String| Md5::digest(text).iter().map(|b| format!("{b:02x}")).collect::<String>();
        let (user, realm, nonce) = (&self.user, value("realm"), value("nonce"));
        let first = hash(format!("{user}:{realm}:{user}{word}"));
        let second = hash(format!("AUTH:{RELAY}"));
        let response = hash(format!("{first}:{nonce}:00000001:c:auth:{second}"));
        format!(
            "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", qop=auth, \
             nc=00000001, cnonce=\"c\", response=\"{response}\"{more}\r\n"
        )
    }
}

/// The value of a header field of the first frame.
pub fn field<'a>(frame: &'a str, name: &str) -> Option<&'a str> {
    frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The transaction identifier of the first frame.
pub fn tid(frame: &str) -> &str {
    frame
        .strip_prefix("MSRP ")
        .and_then(|rest| rest.split(' ').next())
        .unwrap_or_else(|| panic!("no frame: {frame:?}"))
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
    let name = tid(frame);
    format!(
        "MSRP {name} {status}\r\nTo-Path: {from}\r\nFrom-Path: {}\r\n-------{name}$\r\n",
        field(frame, "To-Path").unwrap()
    )
}
