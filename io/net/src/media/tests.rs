//! The engine over sockets of this host: on loopback addresses, where pinholes have sockets, and again
//! on others in a network namespace, where their callers are steered (`steered`).

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use carnet_gateway::media::{
    Cause, Command, Direction, Event, Family, Gate, Pinhole, Rate, Refusal, Role, Settings, SourceFilter,
    Statistics,
};

use crate::patient::Patient as _;

use super::{Certificate, EngineConfig, EngineHandle, Events, MediaEngine, Realm, Timers, Witness};

mod callers;
mod edge;
mod fairness;
mod faults;
mod legs;
mod memory;
mod moves;
mod steered;

const SOON: Duration = Duration::from_secs(10);

/// An address of this host with this last octet; the engine has the first.
fn host(last: u8) -> Ipv4Addr {
    if steered::here() { Ipv4Addr::new(192, 0, 2, last) } else { Ipv4Addr::new(127, 0, 0, last) }
}

fn host6() -> Ipv6Addr {
    if steered::here() { Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1) } else { Ipv6Addr::LOCALHOST }
}

/// Below the range the system takes ports for outgoing connections from.
static NEXT_PORT: AtomicU16 = AtomicU16::new(21_000);

fn config() -> EngineConfig {
    let first = NEXT_PORT.fetch_add(64, Ordering::Relaxed);
    EngineConfig {
        realms: vec![Realm {
            name: "lo".into(),
            v4: Some(host(1)),
            v6: Some(host6()),
            ports: first..=first + 63,
            ..Realm::default()
        }],
        kernel: steered::config(first),
        ..EngineConfig::default()
    }
}

struct Engine {
    handle: EngineHandle,
    events: Events,
    seen: Vec<Event>,
    number: u64,
}

impl Engine {
    fn start(config: EngineConfig) -> Self {
        let (handle, events) = MediaEngine::start(config).unwrap();
        Self { handle, events, seen: Vec::new(), number: 0 }
    }

    fn send(&self, command: Command) {
        self.handle.blocking_send(command).unwrap();
    }

    /// The next event that `pick` takes; the others are kept for later.
    fn expect<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        let until = Instant::now() + SOON;
        loop {
            if let Some(index) = self.seen.iter().position(|event| pick(event).is_some()) {
                return pick(&self.seen.remove(index)).unwrap();
            }
            match self.events.try_recv() {
                Some(event) => self.seen.push(event),
                None if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
                None => panic!("{what} did not come; there is {:?}", self.seen),
            }
        }
    }

    fn nothing_like(&mut self, pick: impl Fn(&Event) -> bool) {
        while let Some(event) = self.events.try_recv() {
            self.seen.push(event);
        }
        assert!(!self.seen.iter().any(pick), "{:?}", self.seen);
    }

    fn try_reserve(&mut self, family: Family) -> Result<(Pinhole, SocketAddr), Refusal> {
        self.number += 1;
        let name = Pinhole { group: 7, number: self.number };
        self.send(Command::Reserve {
            pinhole: name,
            realm: Some("lo".into()),
            family: Some(family),
            tls: false,
        });
        self.expect("an answer to Reserve", |event| match *event {
            Event::Bound { pinhole, local, .. } if pinhole == name => Some(Ok((pinhole, local))),
            Event::Refused { pinhole, reason } if pinhole == name => Some(Err(reason)),
            _ => None,
        })
    }

    fn reserve(&mut self) -> (Pinhole, SocketAddr) {
        self.try_reserve(Family::V4).unwrap()
    }

    fn configure(&self, pinhole: Pinhole, settings: Settings) {
        self.send(Command::Configure { pinhole, settings });
        // A command is carried out before the next one.
        self.send(Command::Measure { pinhole });
    }

    fn settle(&mut self, pinhole: Pinhole) {
        self.measure(pinhole);
    }

    fn measure(&mut self, name: Pinhole) -> Statistics {
        self.seen.retain(|event| !matches!(event, Event::Measured { .. }));
        self.send(Command::Measure { pinhole: name });
        let mut last = None;
        // Drain what earlier barriers left.
        thread::sleep(Duration::from_millis(5));
        while let Some(event) = self.events.try_recv() {
            match event {
                Event::Measured { pinhole, statistics } if pinhole == name => last = Some(statistics),
                Event::Measured { .. } => {}
                other => self.seen.push(other),
            }
        }
        match last {
            Some(statistics) => statistics,
            None => self.expect("Measured", |event| match event {
                Event::Measured { pinhole, statistics } if *pinhole == name => Some(statistics.clone()),
                _ => None,
            }),
        }
    }

    fn closed(&mut self, name: Pinhole) -> Cause {
        self.expect("Closed", |event| match *event {
            Event::Closed { pinhole, cause } if pinhole == name => Some(cause),
            _ => None,
        })
    }

    fn established(&mut self, name: Pinhole) -> SocketAddr {
        self.expect("Established", |event| match *event {
            Event::Established { pinhole, peer } if pinhole == name => Some(peer),
            _ => None,
        })
    }

    fn release(&mut self, name: Pinhole) -> Statistics {
        self.send(Command::Release { pinhole: name });
        self.expect("Released", |event| match event {
            Event::Released { pinhole, statistics } if *pinhole == name => Some(statistics.clone()),
            _ => None,
        })
    }

    /// A passive pinhole for A joined to an active one towards `remote`.
    fn relay_to(&mut self, remote: SocketAddr) -> (Pinhole, SocketAddr, Pinhole) {
        let (a, door) = self.reserve();
        let (b, _) = self.reserve();
        self.send(Command::Join { a, b });
        self.configure(a, passive());
        self.configure(b, active(remote));
        self.settle(b);
        (a, door, b)
    }

    /// Both ends of a running relay.
    fn relay(&mut self) -> Relay {
        let listener = TcpListener::bind((host(1), 0)).unwrap();
        let (a, door, b) = self.relay_to(listener.local_addr().unwrap());
        let caller = TcpStream::connect(door).unwrap();
        let (callee, _) = listener.accept().unwrap();
        for stream in [&caller, &callee] {
            stream.set_read_timeout(Some(SOON)).unwrap();
        }
        Relay { a, b, door, caller, callee }
    }
}

struct Relay {
    a: Pinhole,
    b: Pinhole,
    door: SocketAddr,
    caller: TcpStream,
    callee: TcpStream,
}

fn passive() -> Settings {
    Settings { role: Role::Passive, gate: Gate::SendReceive, ..Settings::default() }
}

fn active(remote: SocketAddr) -> Settings {
    Settings { role: Role::Active, gate: Gate::SendReceive, remote: Some(remote), ..Settings::default() }
}

/// Octets that do not repeat in step with any buffer.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut octets = Vec::with_capacity(length + 8);
    while octets.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        octets.extend_from_slice(&state.to_le_bytes());
    }
    octets.truncate(length);
    octets
}

/// Where callers are steered, the first one hears of it after its SYN was answered.
fn is_refused(address: SocketAddr) -> bool {
    match TcpStream::connect(address) {
        Ok(mut stream) => steered::here() && is_reset(&mut stream),
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    }
}

fn is_reset(stream: &mut TcpStream) -> bool {
    let mut octets = [0; 64];
    loop {
        match stream.read_on(&mut octets) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

fn both_ways(config: EngineConfig, length: usize) -> (Statistics, Statistics) {
    let mut engine = Engine::start(config);
    let relay = engine.relay();
    let (up, down) = (noise(length, 3), noise(length, 5));
    thread::scope(|scope| {
        let (mut writer, mut reader) = (&relay.caller, &relay.callee);
        let (up_sent, down_sent) = (&up, &down);
        scope.spawn(move || {
            writer.write_all(up_sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        scope.spawn(move || {
            let mut other = reader;
            other.write_all(down_sent).unwrap();
            other.shutdown(Shutdown::Write).unwrap();
        });
        let receive_up = scope.spawn(move || {
            let mut octets = Vec::new();
            reader.read_to_end(&mut octets).unwrap();
            octets
        });
        let mut octets = Vec::new();
        let mut reader = &relay.caller;
        reader.read_to_end(&mut octets).unwrap();
        assert!(octets == down);
        assert!(receive_up.join().unwrap() == up);
    });
    assert_eq!(engine.closed(relay.a), Cause::Normal);
    assert_eq!(engine.closed(relay.b), Cause::Normal);
    assert_eq!(engine.handle.passed(), 2 * length as u64);
    (engine.release(relay.a), engine.release(relay.b))
}

#[test]
fn bulk_passes_intact_both_ways() {
    let length = 64 << 20;
    let (a, b) = both_ways(config(), length);
    let length = length as u64;
    assert_eq!((a.octets_received, a.octets_sent), (length, length));
    assert_eq!((b.octets_received, b.octets_sent), (length, length));
    assert!(a.duration > Duration::ZERO);
}

#[test]
fn bulk_passes_intact_without_splice_and_with_the_kernels_own_buffers() {
    let config = EngineConfig { splice: false, socket_buffer: None, ..config() };
    let (a, _) = both_ways(config, 16 << 20);
    assert_eq!((a.octets_received, a.octets_sent), (16 << 20, 16 << 20));
}

#[test]
fn an_odd_number_of_octets_is_counted_exactly() {
    let (a, b) = both_ways(config(), 100_003);
    assert_eq!((a.octets_received, b.octets_sent), (100_003, 100_003));
}

#[test]
fn a_half_close_passes_and_the_other_direction_goes_on() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    relay.caller.write_all(b"question").unwrap();
    relay.caller.shutdown(Shutdown::Write).unwrap();
    let mut question = String::new();
    relay.callee.read_to_string(&mut question).unwrap();
    assert_eq!(question, "question");
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(20));
        relay.callee.write_all(b"answer").unwrap();
    }
    drop(relay.callee);
    let mut answer = String::new();
    relay.caller.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answeransweranswer");
    assert_eq!(engine.closed(relay.a), Cause::Normal);
}

#[test]
fn what_was_sent_and_closed_before_the_far_side_came_arrives() {
    let mut engine = Engine::start(config());
    let listener = TcpListener::bind((host(1), 0)).unwrap();
    let (a, door) = engine.reserve();
    let (b, _) = engine.reserve();
    engine.send(Command::Join { a, b });
    engine.configure(a, passive());
    engine.settle(a);
    let mut caller = TcpStream::connect(door).unwrap();
    caller.write_all(b"early").unwrap();
    caller.shutdown(Shutdown::Write).unwrap();
    thread::sleep(Duration::from_millis(30));
    engine.configure(b, active(listener.local_addr().unwrap()));
    let (mut callee, _) = listener.accept().unwrap();
    let mut text = String::new();
    callee.read_to_string(&mut text).unwrap();
    assert_eq!(text, "early");
}

#[test]
fn a_reset_passes_as_a_reset() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    relay.caller.write_all(b"x").unwrap();
    relay.callee.read_exact(&mut [0]).unwrap();
    let caller = socket2::Socket::from(relay.caller);
    caller.set_linger(Some(Duration::ZERO)).unwrap();
    drop(caller);
    assert!(is_reset(&mut relay.callee));
    assert_eq!(engine.closed(relay.a), Cause::Reset);
    assert_eq!(engine.closed(relay.b), Cause::FarSide);
}

#[test]
fn a_reader_that_stops_stops_the_writer() {
    let mut engine = Engine::start(config());
    let relay = engine.relay();
    relay.caller.set_nonblocking(true).unwrap();
    let block = noise(64 * 1024, 9);
    let mut sent = 0;
    let mut idle = 0;
    while idle < 20 {
        match (&relay.caller).write(&block) {
            Ok(octets) => {
                sent += octets;
                idle = 0;
            }
            Err(_) => {
                idle += 1;
                thread::sleep(Duration::from_millis(10));
            }
        }
        assert!(sent < 16 << 20, "nothing stops the writer");
    }
    // What left the writer and did not reach the reader's socket is with us.
    let taken = engine.measure(relay.a).octets_received;
    let given = engine.measure(relay.b).octets_sent;
    assert!(taken - given <= 1 << 20, "{taken} {given}");
    // And nothing is lost when the reader goes on.
    let mut got = 0;
    let mut octets = vec![0; 1 << 20];
    let mut reader = &relay.callee;
    while got < sent {
        got += reader.read_on(&mut octets).unwrap();
    }
    assert_eq!(got, sent);
}

#[test]
fn a_closed_gate_refuses_and_an_open_one_does_not() {
    let mut engine = Engine::start(config());
    let (a, door) = engine.reserve();
    // Before it was opened for the first time callers wait; there is a test of its own.
    engine.configure(a, passive());
    engine.configure(a, Settings { gate: Gate::Inactive, ..passive() });
    engine.settle(a);
    assert!(is_refused(door));
    for _ in 0..3 {
        engine.configure(a, passive());
        engine.settle(a);
        let stream = TcpStream::connect(door).unwrap();
        engine.established(a);
        socket2::Socket::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        assert_eq!(engine.closed(a), Cause::Reset);
        let closed = Settings { gate: Gate::Inactive, ..passive() };
        engine.configure(a, closed);
        engine.settle(a);
        assert!(is_refused(door));
    }
}

#[test]
fn a_wrong_source_is_refused_and_reported() {
    let mut engine = Engine::start(config());
    let (a, door) = engine.reserve();
    let filter = SourceFilter { network: Some((host(9).into(), 32)), ports: None };
    let settings = Settings { filter, ..passive() };
    engine.configure(a, settings);
    engine.settle(a);
    let mut stranger = TcpStream::connect(door).unwrap();
    assert!(is_reset(&mut stranger));
    let source = engine.expect("Blocked", |event| match *event {
        Event::Blocked { source, .. } => Some(source),
        _ => None,
    });
    assert_eq!(source, stranger.local_addr().unwrap());
    let friend = from_address(host(9), door);
    assert_eq!(engine.established(a), friend.local_addr().unwrap());
}

fn from_address(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    try_from_address(source, to).unwrap()
}

/// A caller who may be reset before it knows that it is connected.
fn try_from_address(source: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&to.into())?;
    Ok(socket.into())
}

#[test]
fn once_a_connection_speaks_no_other_gets_in() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    relay.caller.write_all(b"x").unwrap();
    relay.callee.read_exact(&mut [0]).unwrap();
    assert!(is_refused(relay.door));
}

#[test]
fn ten_thousand_silent_connections_do_not_keep_a_talker_out() {
    let mut engine = Engine::start(config());
    let listener = TcpListener::bind((host(1), 0)).unwrap();
    let (_, door, _) = engine.relay_to(listener.local_addr().unwrap());
    let other = engine.relay();
    // The first holds the port; most of the others are sent away while the next ones come.
    let first = from_address(host(66), door);
    first.set_nonblocking(true).unwrap();
    let mut silent = std::collections::VecDeque::new();
    for count in 0..10_000 {
        silent.extend(try_from_address(host(66), door));
        if silent.len() > 100 {
            silent.pop_front();
        }
        if count % 1000 == 0 {
            (&other.caller).write_all(b"ping").unwrap();
            (&other.callee).read_exact(&mut [0; 4]).unwrap();
        }
    }
    let mut talker = TcpStream::connect(door).unwrap();
    talker.write_all(b"hello").unwrap();
    let (mut callee, _) = listener.accept().unwrap();
    callee.set_read_timeout(Some(SOON)).unwrap();
    let mut text = [0; 5];
    callee.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello");
}

#[test]
fn two_callers_are_merged() {
    let mut engine = Engine::start(config());
    let (a, door_a) = engine.reserve();
    let (b, door_b) = engine.try_reserve(Family::V6).unwrap();
    engine.send(Command::Join { a, b });
    engine.configure(a, passive());
    engine.configure(b, passive());
    engine.settle(b);
    let mut one = TcpStream::connect(door_a).unwrap();
    one.write_all(b"first").unwrap();
    let mut two = TcpStream::connect(door_b).unwrap();
    two.write_all(b"second").unwrap();
    let mut text = [0; 5];
    two.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"first");
    let mut text = [0; 6];
    one.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"second");
}

#[test]
fn where_nobody_said_the_first_caller_decides() {
    let mut engine = Engine::start(config());
    let listener = TcpListener::bind((host(1), 0)).unwrap();
    let (a, _) = engine.reserve();
    let (b, door) = engine.reserve();
    engine.send(Command::Join { a, b });
    let either = |remote| Settings { role: Role::Either, ..active(remote) };
    engine.configure(a, either(listener.local_addr().unwrap()));
    engine.configure(b, either(SocketAddr::from((host(1), 9))));
    engine.settle(b);
    let mut caller = TcpStream::connect(door).unwrap();
    let (mut callee, _) = listener.accept().unwrap();
    caller.write_all(b"!").unwrap();
    callee.read_exact(&mut [0]).unwrap();
}

#[test]
fn two_callees_are_called_at_once() {
    let mut engine = Engine::start(config());
    let listeners = [(); 2].map(|()| TcpListener::bind((host(1), 0)).unwrap());
    let (a, _) = engine.reserve();
    let (b, _) = engine.reserve();
    engine.send(Command::Join { a, b });
    engine.configure(a, active(listeners[0].local_addr().unwrap()));
    engine.configure(b, active(listeners[1].local_addr().unwrap()));
    let (mut one, _) = listeners[0].accept().unwrap();
    let (mut two, _) = listeners[1].accept().unwrap();
    one.write_all(b"!").unwrap();
    two.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_called_peer_sees_the_reserved_port() {
    let mut engine = Engine::start(config());
    let listener = TcpListener::bind((host(1), 0)).unwrap();
    let (a, local) = engine.reserve();
    engine.configure(a, active(listener.local_addr().unwrap()));
    engine.send(Command::Connect { pinhole: a });
    let (_peer, from) = listener.accept().unwrap();
    assert_eq!(from, local);
}

#[test]
fn nothing_is_called_before_somebody_came() {
    let mut engine = Engine::start(config());
    let listener = TcpListener::bind((host(1), 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (_, door, _) = engine.relay_to(listener.local_addr().unwrap());
    thread::sleep(Duration::from_millis(100));
    assert!(listener.accept().is_err());
    let _caller = TcpStream::connect(door).unwrap();
    listener.set_nonblocking(false).unwrap();
    listener.accept().unwrap();
}

#[test]
fn a_far_side_that_refuses_resets_the_caller() {
    let mut engine = Engine::start(config());
    let nobody = TcpListener::bind((host(1), 0)).unwrap().local_addr().unwrap();
    let (a, door, b) = engine.relay_to(nobody);
    let start = Instant::now();
    let mut caller = TcpStream::connect(door).unwrap();
    caller.set_read_timeout(Some(SOON)).unwrap();
    assert!(is_reset(&mut caller));
    assert!(start.elapsed() > Duration::from_millis(500), "three tries");
    assert_eq!(engine.closed(b), Cause::ConnectFailed);
    assert_eq!(engine.closed(a), Cause::FarSide);
    assert!(is_refused(door));
}

#[test]
fn a_gate_closed_meanwhile_stops_both_the_stream_and_the_call() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    let closed = Settings { gate: Gate::SendOnly, ..passive() };
    engine.configure(relay.a, closed);
    engine.settle(relay.a);
    relay.caller.write_all(b"up").unwrap();
    relay.callee.write_all(b"down").unwrap();
    relay.caller.read_exact(&mut [0; 4]).unwrap();
    relay.callee.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(relay.callee.read_on(&mut [0]).is_err());
    engine.configure(relay.a, passive());
    relay.callee.read_exact(&mut [0; 2]).unwrap();
}

fn quick() -> Timers {
    Timers {
        incoming: Duration::from_millis(80),
        outgoing: Duration::from_millis(80),
        attempts: 1,
        unspliced: Duration::from_millis(80),
        ..Timers::default()
    }
}

#[test]
fn nobody_comes() {
    let mut engine = Engine::start(EngineConfig { timers: quick(), ..config() });
    let (a, door) = engine.reserve();
    engine.configure(a, passive());
    assert_eq!(engine.closed(a), Cause::NobodyCame);
    engine.settle(a);
    assert!(is_refused(door));
    engine.configure(a, passive());
    engine.settle(a);
    TcpStream::connect(door).unwrap();
}

#[test]
fn a_caller_is_not_held_for_ever() {
    let mut engine = Engine::start(EngineConfig { timers: quick(), ..config() });
    let (a, door) = engine.reserve();
    engine.configure(a, passive());
    engine.settle(a);
    let mut caller = TcpStream::connect(door).unwrap();
    assert!(is_reset(&mut caller));
    assert_eq!(engine.closed(a), Cause::FarSide);
}

#[test]
fn silence_is_reported_once_until_something_passes() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    let watched = Settings { inactivity: Some((Duration::from_millis(50), Direction::Both)), ..passive() };
    engine.configure(relay.a, watched);
    let inactive = |event: &Event| matches!(event, Event::Inactive { .. }).then_some(());
    engine.expect("Inactive", inactive);
    thread::sleep(Duration::from_millis(120));
    engine.nothing_like(|event| inactive(event).is_some());
    relay.caller.write_all(b"x").unwrap();
    relay.callee.read_exact(&mut [0]).unwrap();
    engine.expect("Inactive again", inactive);
}

#[test]
fn a_rate_delays() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    let limited = Settings { rate: Some(Rate { octets_per_second: 200_000, burst: 20_000 }), ..passive() };
    engine.configure(relay.a, limited);
    engine.settle(relay.a);
    let start = Instant::now();
    let octets = noise(100_000, 1);
    relay.caller.write_all(&octets).unwrap();
    let mut got = vec![0; octets.len()];
    relay.callee.read_exact(&mut got).unwrap();
    assert!(got == octets);
    let elapsed = start.elapsed();
    assert!(elapsed > Duration::from_millis(380), "{elapsed:?}");
    assert!(elapsed < Duration::from_millis(1500), "{elapsed:?}");
}

#[test]
fn ports_run_out_and_come_back() {
    let mut config = config();
    let first = *config.realms[0].ports.start();
    config.realms[0].ports = first..=first + 3;
    let mut engine = Engine::start(config);
    let held: Vec<_> = (0..4).map(|_| engine.reserve()).collect();
    assert_eq!(engine.try_reserve(Family::V4), Err(Refusal::NoPort));
    // The other IP version has its own.
    engine.try_reserve(Family::V6).unwrap();
    engine.release(held[2].0);
    let (_, local) = engine.reserve();
    assert_eq!(local, held[2].1);
    assert_eq!(engine.try_reserve(Family::V4), Err(Refusal::NoPort));
}

#[test]
fn a_port_can_be_used_again_at_once() {
    let mut config = config();
    let first = *config.realms[0].ports.start();
    config.realms[0].ports = first..=first + 1;
    let mut engine = Engine::start(config);
    for _ in 0..20 {
        let mut relay = engine.relay();
        relay.caller.write_all(b"x").unwrap();
        relay.callee.read_exact(&mut [0]).unwrap();
        engine.release(relay.a);
        engine.release(relay.b);
    }
}

#[test]
fn a_realm_that_is_not_there_is_refused() {
    let mut engine = Engine::start(config());
    let name = Pinhole { group: 1, number: 1 };
    engine.send(Command::Reserve { pinhole: name, realm: Some("moon".into()), family: None, tls: false });
    engine.expect("Refused", |event| {
        matches!(event, Event::Refused { reason: Refusal::UnknownRealm, .. }).then_some(())
    });
}

#[test]
fn a_release_ends_both_sides_in_order() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    relay.caller.write_all(b"last words").unwrap();
    relay.callee.read_exact(&mut [0; 4]).unwrap();
    engine.release(relay.a);
    let mut rest = String::new();
    relay.callee.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, " words");
    assert_eq!(engine.closed(relay.b), Cause::FarSide);
    assert_eq!(relay.caller.read_on(&mut [0]).unwrap(), 0);
}

#[test]
fn a_connection_can_be_dropped_and_made_again() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    engine.send(Command::Disconnect { pinhole: relay.a });
    assert_eq!(relay.callee.read_on(&mut [0]).unwrap(), 0);
    assert_eq!(engine.closed(relay.a), Cause::Released);
    engine.configure(relay.a, passive());
    engine.settle(relay.a);
    TcpStream::connect(relay.door).unwrap();
}

#[test]
fn a_witness_sees_records_and_alters_nothing() {
    let mut engine = Engine::start(EngineConfig { witness: Witness::Full, ..config() });
    let mut relay = engine.relay();
    let record = [0x17, 3, 3, 0, 3, 1, 2, 3];
    for _ in 0..5 {
        relay.caller.write_all(&record).unwrap();
        let mut got = [0; 8];
        relay.callee.read_exact(&mut got).unwrap();
        assert_eq!(got, record);
    }
    relay.callee.write_all(b"plain text").unwrap();
    relay.caller.read_exact(&mut [0; 10]).unwrap();
    let up = engine.release(relay.a).witness.unwrap();
    assert_eq!((up.records, up.outside), (5, 0));
    let down = engine.release(relay.b).witness.unwrap();
    assert_eq!((down.records, down.outside), (0, 10));
}

#[test]
fn a_witness_admits_what_was_spliced() {
    let (a, _) = both_ways(EngineConfig { witness: Witness::UntilSplice, ..config() }, 32 << 20);
    let seen = a.witness.unwrap();
    assert_eq!(seen.outside + seen.unobserved, 32 << 20);
}

#[test]
fn threads_end_with_their_handle() {
    let (handle, mut events) = MediaEngine::start(EngineConfig { threads: 2, ..config() }).unwrap();
    drop(handle);
    assert_eq!(events.blocking_recv(), None);
}

#[test]
fn senseless_configurations_are_refused() {
    assert!(MediaEngine::start(EngineConfig::default()).is_err());
    let none = EngineConfig { threads: 0, ..config() };
    assert!(MediaEngine::start(none).is_err());
}
