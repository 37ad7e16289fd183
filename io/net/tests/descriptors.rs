//! A host that has no descriptor left: the only test in its process, because all of it suffers.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use carnet_gateway::media::{Command, Event, Family, Gate, Pinhole, Role, Settings};
use carnet_net::media::{EngineConfig, EngineHandle, Events, MediaEngine, Realm};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

fn reserve(engine: &EngineHandle, events: &mut Events, number: u64) -> (Pinhole, SocketAddr) {
    let pinhole = Pinhole { group: 0, number };
    engine
        .blocking_send(Command::Reserve { pinhole, realm: None, family: Some(Family::V4), tls: false })
        .unwrap();
    match events.blocking_recv() {
        Some(Event::Bound { local, .. }) => (pinhole, local),
        other => panic!("{other:?}"),
    }
}

/// The clock of the engine's thread, opened while that is possible.
fn thread_clock() -> File {
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        if std::fs::read_to_string(path.join("comm")).unwrap().trim() == "carnet-media-0" {
            return File::open(path.join("schedstat")).unwrap();
        }
    }
    panic!("no such thread");
}

/// CPU time so far.
fn used(clock: &File) -> Duration {
    let mut text = [0; 100];
    let length = clock.read_at(&mut text, 0).unwrap();
    let text = std::str::from_utf8(&text[..length]).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn without_descriptors_callers_wait_and_nothing_spins() {
    let realm = Realm {
        name: "lo".into(),
        v4: Some(Ipv4Addr::LOCALHOST),
        v6: None,
        ports: 20_900..=20_999,
        ..Realm::default()
    };
    let config = EngineConfig { realms: vec![realm], ..EngineConfig::default() };
    let (engine, mut events) = MediaEngine::start(config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = Some(listener.local_addr().unwrap());
    let (a, door) = reserve(&engine, &mut events, 1);
    let (b, _) = reserve(&engine, &mut events, 2);
    engine.blocking_send(Command::Join { a, b }).unwrap();
    let gate = Gate::SendReceive;
    let settings = Settings { role: Role::Passive, gate, ..Settings::default() };
    engine.blocking_send(Command::Configure { pinhole: a, settings }).unwrap();
    let settings = Settings { role: Role::Active, gate, remote, ..Settings::default() };
    engine.blocking_send(Command::Configure { pinhole: b, settings }).unwrap();
    engine.blocking_send(Command::Measure { pinhole: b }).unwrap();
    events.blocking_recv().unwrap();

    let clock = thread_clock();
    let before = open_files();
    let callers: Vec<Socket> =
        (0..20).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
    let limit = getrlimit(Resource::Nofile);
    let least = Rlimit { current: Some(256), ..limit };
    setrlimit(Resource::Nofile, least).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    for caller in &callers {
        caller.connect(&door.into()).unwrap();
    }
    let start = used(&clock);
    thread::sleep(Duration::from_secs(1));
    let spent = used(&clock) - start;
    hoard.clear();
    assert!(spent < Duration::from_millis(200), "{spent:?} of CPU for waiting");

    // The one who speaks gets through, and the silent ones do not add up.
    let mut callers = callers.into_iter();
    let mut talker = TcpStream::from(callers.next_back().unwrap());
    talker.write_all(b"hello").unwrap();
    let (mut callee, _) = listener.accept().unwrap();
    callee.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut text = [0; 5];
    callee.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello");
    let until = Instant::now() + Duration::from_secs(5);
    // Twenty callers, the two sides of the relay, the callee, and the listing itself.
    while open_files() > before + 20 + 4 {
        assert!(Instant::now() < until, "{} descriptors, {before} before", open_files());
        thread::sleep(Duration::from_millis(10));
    }
    drop(callers);
    setrlimit(Resource::Nofile, limit).unwrap();
}
