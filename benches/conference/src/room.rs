//! The engine's side: a room, its members' endpoints, and the figures.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use carnet_gateway::media::{
    Command, Conference, Endpoint, Event, Gate, Key, Medium, Pinhole, Role, Settings, TlsEnd, TlsRole,
};
use carnet_net::conference::{ConferenceConfig, ConferenceEngine};
use carnet_net::media::{EngineHandle, Events, Realm};

use crate::{Load, Outcome, Plan, cpu, loops, resident};

pub const ROOM: &str = "sip:room@conf.example.com";
const GROUP: u32 = 1;
const THREAD: &str = "carnet-conference";

pub fn key(user: u16) -> Vec<u8> {
    let mut key = vec![0x42; 32];
    for (octet, of_user) in key.iter_mut().zip(user.to_be_bytes()) {
        *octet = of_user;
    }
    key
}

pub fn identity(user: u16) -> String {
    format!("mikey-ticket:{user:08x}:01")
}

struct Room {
    engine: EngineHandle,
    events: Events,
}

impl Room {
    fn open(members: u16) -> Outcome<Self> {
        let realm = Realm {
            name: "core".into(),
            v4: Some(Ipv4Addr::LOCALHOST),
            v6: None,
            // Below the ports that the host gives to callers.
            ports: 12_000..=12_000 + 2 * members + 100,
            ..Realm::default()
        };
        let config = ConferenceConfig { realms: vec![realm], ..ConferenceConfig::default() };
        let (engine, events) = ConferenceEngine::start(config)?;
        let settings = Conference { uri: ROOM.into(), ..Conference::default() };
        engine.blocking_send(Command::Conference { group: GROUP, settings: Some(Box::new(settings)) })?;
        Ok(Self { engine, events })
    }

    fn seat(&mut self, user: u16) -> Outcome<SocketAddr> {
        let pinhole = Pinhole { group: GROUP, number: user.into() };
        self.engine.blocking_send(Command::Reserve { pinhole, realm: None, family: None, tls: false })?;
        let local = loop {
            match self.events.blocking_recv().ok_or("the engine ended")? {
                Event::Bound { local, .. } => break local,
                Event::Refused { reason, .. } => return Err(format!("no port: {reason:?}").into()),
                _ => {}
            }
        };
        let tls =
            TlsEnd { role: TlsRole::Server, key: Key::new(key(user)), identity: identity(user).into_bytes() };
        let medium = Medium::Msrp {
            local_path: format!("msrps://{local}/s{user};tcp"),
            remote_path: format!("msrps://127.0.0.1:9/c{user};tcp"),
            accept_types: Vec::new(),
            max_size: None,
            nickname: None,
            speak: true,
            history: false,
        };
        let member = format!("sip:user{user}@example.com");
        let settings = Settings {
            role: Role::Passive,
            gate: Gate::SendReceive,
            endpoint: Some(Arc::new(Endpoint { user, member, medium, tls: Some(tls) })),
            ..Settings::default()
        };
        self.engine.blocking_send(Command::Configure { pinhole, settings })?;
        Ok(local)
    }

    /// Waits until the doors are open: commands are taken in their order.
    fn opened(&mut self, last: u16) -> Outcome<()> {
        let pinhole = Pinhole { group: GROUP, number: last.into() };
        self.engine.blocking_send(Command::Measure { pinhole })?;
        loop {
            if let Event::Measured { .. } = self.events.blocking_recv().ok_or("the engine ended")? {
                return Ok(());
            }
        }
    }

    /// Waits until all are in.
    fn filled(&mut self, members: u16) -> Outcome<()> {
        let mut sealed = 0;
        while sealed < members {
            match self.events.blocking_recv().ok_or("the engine ended")? {
                Event::Sealed { .. } => sealed += 1,
                Event::Closed { pinhole, cause } => {
                    return Err(format!("member {} was lost: {cause:?}", pinhole.number).into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

pub fn run(members: u16, plan: &Plan) -> Outcome<()> {
    let mut room = Room::open(members)?;
    let mut load = Load::start()?;
    let before = resident()?;
    let mut doors = String::new();
    for user in 1..=members {
        let local = room.seat(user)?;
        doors.push_str(&format!(" {local}"));
    }
    room.opened(members)?;
    let waiting = resident()?;
    load.order(&format!("join{doors}"))?;
    room.filled(members)?;
    std::thread::sleep(Duration::from_millis(500));
    let idle = resident()?;
    let per_member = |octets: u64| octets.saturating_sub(before) / u64::from(members);
    let seconds = plan.seconds;
    println!(
        "{members} members: {} octets each before they came, {} idle and sealed",
        per_member(waiting),
        per_member(idle)
    );
    for octets in &plan.octets {
        let from = cpu(THREAD)?;
        let [deliveries, took, frame] = load.order(&format!("flood {octets} {seconds}"))?[..] else {
            return Err("three numbers were expected".into());
        };
        let used = cpu(THREAD)? - from;
        // A twentieth of what it could do, so that what is measured is not a queue.
        let rate = deliveries / took / f64::from(members) / 20.0;
        let [p50, p99] = load.order(&format!("pace {octets} {rate} {seconds}"))?[..] else {
            return Err("two numbers were expected".into());
        };
        let (alone, memory) = loops::run(&mut load, members, frame as usize, seconds)?;
        let each = used / deliveries * 1e6;
        println!(
            "{members:7} {octets:6} | {:12.0} {:11.0} {each:12.2} | {alone:16.2} {:5.2} | {:6.2} {:6.2} | {memory:.0}",
            deliveries / took,
            deliveries / used,
            each / alone,
            p50 * 1e3,
            p99 * 1e3,
        );
    }
    drop(room.engine);
    Ok(())
}
