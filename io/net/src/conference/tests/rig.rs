//! An engine to be tested, and peers that are not ours.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use carnet_gateway::media::{
    Algorithm, Cause, Command, Conference, ConferenceEvent, Endpoint, Event, FloorSettings, Gate, Key,
    Medium, Pinhole, Role, Settings, TlsEnd, TlsRole,
};

use crate::patient::Patient as _;

use super::super::{ConferenceConfig, ConferenceEngine};
use crate::media::{EngineHandle, Events, Realm};

pub const GROUP: u32 = 7;
pub const ROOM: &str = "sip:room@conf.example.com";
pub const IDENTITY: &str = "mikey-ticket:b2b2b2b2:01";
pub const KEY: [u8; 32] = [0x5a; 32];
/// How long anything may take on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Ports that no other test of this program has.
fn ports(count: u16) -> RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    let first = NEXT.fetch_add(count, Ordering::SeqCst);
    first..=first + count - 1
}

pub fn config(count: u16) -> ConferenceConfig {
    let realm = Realm {
        name: "core".into(),
        v4: Some(Ipv4Addr::LOCALHOST),
        v6: None,
        ports: ports(count),
        ..Realm::default()
    };
    ConferenceConfig { realms: vec![realm], ..ConferenceConfig::default() }
}

/// A pinhole of the engine, and who is meant to come to it.
#[derive(Debug, Clone)]
pub struct Leg {
    pub pinhole: Pinhole,
    pub local: SocketAddr,
    pub user: u16,
    pub settings: Settings,
}

pub struct Rig {
    pub engine: EngineHandle,
    events: Events,
    pub backlog: Vec<Event>,
    next: u64,
}

impl Rig {
    pub fn start(config: ConferenceConfig) -> Self {
        let (engine, events) = ConferenceEngine::start(config).unwrap();
        Self { engine, events, backlog: Vec::new(), next: 0 }
    }

    /// With a room and a floor that whoever asks first gets.
    pub fn with_room() -> Self {
        let mut rig = Self::start(config(40));
        rig.conference(conference());
        rig
    }

    pub fn send(&self, command: Command) {
        self.engine.blocking_send(command).unwrap();
    }

    pub fn conference(&mut self, settings: Conference) {
        self.send(Command::Conference { group: GROUP, settings: Some(Box::new(settings)) });
    }

    fn collect(&mut self) {
        while let Some(event) = self.events.try_recv() {
            self.backlog.push(event);
        }
    }

    /// The first event that is the one; the others stay.
    pub fn wait<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.collect();
            let found = self.backlog.iter().enumerate().find_map(|(at, event)| Some((at, wanted(event)?)));
            if let Some((at, found)) = found {
                self.backlog.remove(at);
                return found;
            }
            assert!(Instant::now() < deadline, "it never came; there is {:?}", self.backlog);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether such an event is there. To be asked when another has come that is later.
    pub fn has(&mut self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.collect();
        self.backlog.iter().any(wanted)
    }

    pub fn reserve(&mut self) -> (Pinhole, SocketAddr) {
        self.next += 1;
        let pinhole = Pinhole { group: GROUP, number: self.next };
        self.send(Command::Reserve { pinhole, realm: None, family: None, tls: false });
        let local = self.wait(|event| match event {
            Event::Bound { pinhole: bound, local, .. } if *bound == pinhole => Some(*local),
            _ => None,
        });
        (pinhole, local)
    }

    /// A passive leg.
    pub fn leg(&mut self, user: u16, tls: Option<TlsEnd>, medium: impl Fn(SocketAddr) -> Medium) -> Leg {
        let (pinhole, local) = self.reserve();
        let member = format!("sip:user{user}@example.com");
        let endpoint = Endpoint { user, member, medium: medium(local), tls };
        let settings = Settings {
            role: Role::Passive,
            gate: Gate::SendReceive,
            endpoint: Some(Arc::new(endpoint)),
            ..Settings::default()
        };
        let leg = Leg { pinhole, local, user, settings };
        self.configure(&leg);
        leg
    }

    pub fn configure(&mut self, leg: &Leg) {
        let settings = leg.settings.clone();
        self.send(Command::Configure { pinhole: leg.pinhole, settings });
        self.send(Command::Measure { pinhole: leg.pinhole });
        // Commands are taken in order: when this is answered, the other was heard.
        self.wait(|event| {
            matches!(event, Event::Measured { pinhole, .. } if *pinhole == leg.pinhole).then_some(())
        });
    }

    pub fn msrp(&mut self, user: u16, tls: Option<TlsEnd>) -> Leg {
        let scheme = if tls.is_some() { "msrps" } else { "msrp" };
        self.leg(user, tls, |local| Medium::Msrp {
            local_path: format!("{scheme}://{local}/s{user};tcp"),
            remote_path: format!("{scheme}://127.0.0.1:9/c{user};tcp"),
            accept_types: Vec::new(),
            max_size: None,
            nickname: None,
            speak: true,
            history: false,
        })
    }

    pub fn bfcp(&mut self, user: u16, tls: Option<TlsEnd>) -> Leg {
        self.leg(user, tls, |_| Medium::Bfcp { chairs: Vec::new() })
    }

    pub fn established(&mut self, leg: &Leg) {
        self.wait(|event| match event {
            Event::Established { pinhole, .. } if *pinhole == leg.pinhole => Some(()),
            _ => None,
        });
    }

    pub fn sealed(&mut self, leg: &Leg) -> (String, String) {
        self.wait(|event| match event {
            Event::Sealed { pinhole, version, suite } if *pinhole == leg.pinhole => {
                Some((version.clone(), suite.clone()))
            }
            _ => None,
        })
    }

    pub fn closed(&mut self, leg: &Leg) -> Cause {
        self.wait(|event| match event {
            Event::Closed { pinhole, cause } if *pinhole == leg.pinhole => Some(*cause),
            _ => None,
        })
    }

    pub fn released(&mut self, leg: &Leg) {
        self.send(Command::Release { pinhole: leg.pinhole });
        self.wait(|event| match event {
            Event::Released { pinhole, .. } if *pinhole == leg.pinhole => Some(()),
            _ => None,
        });
    }

    pub fn told<T>(&mut self, mut wanted: impl FnMut(&ConferenceEvent) -> Option<T>) -> T {
        self.wait(|event| match event {
            Event::Conference { group: GROUP, event } => wanted(event),
            _ => None,
        })
    }
}

pub fn conference() -> Conference {
    Conference {
        uri: ROOM.into(),
        nicknames: true,
        private: true,
        confid: Some(4711),
        floors: vec![FloorSettings {
            id: 1,
            algorithm: Algorithm::Fcfs,
            holders: 1,
            seconds: 0,
            label: None,
        }],
        ..Conference::default()
    }
}

pub fn server() -> Option<TlsEnd> {
    Some(TlsEnd { role: TlsRole::Server, key: Key::new(KEY.to_vec()), identity: IDENTITY.into() })
}

pub fn client() -> Option<TlsEnd> {
    Some(TlsEnd { role: TlsRole::Client, key: Key::new(KEY.to_vec()), identity: IDENTITY.into() })
}

/// A message to the room, as a client writes it by hand.
pub fn message(leg: &Leg, number: u32, text: &str) -> String {
    let content = format!(
        "From: <sip:user{}@example.com>\r\nTo: <{ROOM}>\r\nDateTime: 2026-11-26T12:00:00Z\r\n\r\n\
         Content-Type: text/plain\r\n\r\n{text}",
        leg.user
    );
    let length = content.len();
    format!(
        "{}Message-ID: m{number}\r\nByte-Range: 1-{length}/{length}\r\nContent-Type: message/cpim\r\n\r\n\
         {content}\r\n-------t{number:04}$\r\n",
        head(leg, number)
    )
}

/// What an active end sends first (RFC 4975 §5.4): a message without content.
pub fn greeting(leg: &Leg) -> String {
    format!("{}Message-ID: m0\r\nByte-Range: 1-0/0\r\n-------t0000$\r\n", head(leg, 0))
}

pub fn head(leg: &Leg, number: u32) -> String {
    let Some(Medium::Msrp { local_path, remote_path, .. }) =
        leg.settings.endpoint.as_ref().map(|endpoint| &endpoint.medium)
    else {
        panic!("not MSRP")
    };
    format!("MSRP t{number:04} SEND\r\nTo-Path: {local_path}\r\nFrom-Path: {remote_path}\r\n")
}

/// Everything that a peer got so far.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    /// Reads in a thread of its own until the end.
    fn from(mut source: impl Read + Send + 'static) -> Self {
        let heard = Self::default();
        let into = heard.clone();
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(octets @ 1..) = source.read_on(&mut buffer) {
                into.0.lock().unwrap().extend_from_slice(&buffer[..octets]);
            }
        });
        heard
    }

    pub fn octets(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    pub fn wait(&self, words: impl AsRef<[u8]>) {
        let words = words.as_ref();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let octets = self.octets();
            if octets.windows(words.len()).any(|window| window == words) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{:?} never came, but {:?}",
                String::from_utf8_lossy(words),
                String::from_utf8_lossy(&octets)
            );
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// `openssl s_client`.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    pub heard: Heard,
    pub errors: Heard,
}

impl Peer {
    pub fn connect(to: SocketAddr, arguments: &[&str]) -> Self {
        let mut child = Process::new("openssl")
            .args(["s_client", "-quiet", "-connect", &to.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let input = child.stdin.take().unwrap();
        let heard = Heard::from(child.stdout.take().unwrap());
        let errors = Heard::from(child.stderr.take().unwrap());
        Self { child, input, heard, errors }
    }

    /// With the key.
    pub fn sealed(to: SocketAddr, arguments: &[&str]) -> Self {
        let key = "5a".repeat(32);
        let mut all = vec!["-psk", &key, "-psk_identity", IDENTITY];
        all.extend(arguments);
        Self::connect(to, &all)
    }

    /// Has it read nothing more.
    pub fn stop(&self) {
        let id = self.child.id().to_string();
        assert!(Process::new("kill").args(["-STOP", &id]).status().unwrap().success());
    }

    pub fn say(&mut self, words: impl AsRef<[u8]>) {
        self.input.write_all(words.as_ref()).unwrap();
        self.input.flush().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A peer in the open.
pub struct Plain {
    pub socket: TcpStream,
    pub heard: Heard,
}

impl Plain {
    pub fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).unwrap();
        let heard = Heard::from(socket.try_clone().unwrap());
        Self { socket, heard }
    }

    pub fn say(&mut self, words: impl AsRef<[u8]>) {
        self.socket.write_all(words.as_ref()).unwrap();
    }
}
