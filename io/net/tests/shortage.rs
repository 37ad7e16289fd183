//! A process that has few descriptors left: the only test in it, because all of it suffers.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use carnet_gateway::media::{Command, Event, Family, Gate, Pinhole, Role, Settings};
use carnet_net::media::{EngineConfig, EngineHandle, Events, MediaEngine, Realm};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

const LIMIT: u64 = 1024;
/// Of which the engine keeps an eighth for those it knows.
const FEW: i32 = 1024 - 128;

fn reserve(engine: &EngineHandle, events: &mut Events, number: u64) -> (Pinhole, SocketAddr) {
    let pinhole = Pinhole { group: 0, number };
    let family = Some(Family::V4);
    engine.blocking_send(Command::Reserve { pinhole, realm: None, family, tls: false }).unwrap();
    loop {
        match events.blocking_recv() {
            Some(Event::Bound { local, .. }) => return (pinhole, local),
            Some(Event::Refused { reason, .. }) => panic!("{reason:?}"),
            Some(_) => {}
            None => panic!("the engine has ended"),
        }
    }
}

fn call(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

#[test]
fn strangers_are_refused_first_and_those_who_are_expected_get_in() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), ..limit }).unwrap();
    let realm = Realm {
        name: "lo".into(),
        v4: Some(Ipv4Addr::LOCALHOST),
        ports: 20_800..=20_899,
        ..Realm::default()
    };
    let config = EngineConfig { realms: vec![realm], ..EngineConfig::default() };
    let (engine, mut events) = MediaEngine::start(config).unwrap();
    let mut hoard = Vec::new();
    while hoard.last().is_none_or(|file: &File| file.as_raw_fd() < FEW) {
        hoard.push(File::open("/dev/null").unwrap());
    }

    let (a, door) = reserve(&engine, &mut events, 1);
    let remote = Some(SocketAddr::from(([127, 0, 0, 1], 9)));
    let gate = Gate::SendReceive;
    let settings = Settings { role: Role::Passive, gate, remote, peer_opens: true, ..Settings::default() };
    engine.blocking_send(Command::Configure { pinhole: a, settings }).unwrap();

    let mut stranger = call(Ipv4Addr::new(127, 0, 0, 66), door);
    let read = loop {
        match stranger.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    match read {
        Ok(octets) => assert_eq!(octets, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let until = Instant::now() + Duration::from_secs(30);
    while engine.tallies()[0].1.short == 0 {
        assert!(Instant::now() < until, "{:?}", engine.tallies());
    }

    let peer = call(Ipv4Addr::LOCALHOST, door);
    loop {
        match events.blocking_recv() {
            Some(Event::Established { peer: from, .. }) if from == peer.local_addr().unwrap() => break,
            Some(_) => {}
            None => panic!("the engine has ended"),
        }
    }
    // And there is room for another session.
    reserve(&engine, &mut events, 2);
    setrlimit(Resource::Nofile, limit).unwrap();
}
