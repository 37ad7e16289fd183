//! One suite for all engines: sockets, sockets with steered callers, the kernel.
//!
//! What the contract says of an engine holds whichever it is. Each test here runs over each, in IPv4 and in IPv6,
//! between hosts of their own.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod crash;
mod early;
mod ends;
mod lab;
mod passes;
mod stops;
mod terms;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use carnet_gateway::engine::{self, Reason};
use carnet_gateway::media::{Cause, Command, Event, Family, Gate, Pinhole, Role, Settings, Statistics};
use carnet_net::media::{
    EngineConfig, EngineHandle, Events, Guard, KernelConfig, MediaEngine, Mode, Realm, Timers,
};
use lab::{Addresses, Host, Lab, addresses};

/// Longer than anything takes, on whatever machine.
pub const SOON: Duration = Duration::from_secs(30);
const PORTS: RangeInclusive<u16> = 20_000..=20_999;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Sockets for everything.
    Sockets,
    /// A relay whose pinholes have no sockets of their own.
    Steered,
    Kernel,
    /// The same, where pinholes have sockets for whom it does not carry.
    KernelAndSockets,
}

impl Kind {
    fn is_kernel(self) -> bool {
        matches!(self, Self::Kernel | Self::KernelAndSockets)
    }
}

/// Runs a test over every engine.
fn over_all(test: impl Fn(&mut Bench)) {
    over(&[Kind::Sockets, Kind::Steered, Kind::Kernel], Timers::default(), test);
}

fn over(kinds: &[Kind], timers: Timers, test: impl Fn(&mut Bench)) {
    let Some(lab) = Lab::new() else { return };
    for kind in kinds {
        for family in [Family::V4, Family::V6] {
            eprintln!("over {kind:?}, {family:?}");
            let mut bench = Bench::start(&lab, *kind, family, timers);
            test(&mut bench);
            bench.end();
        }
    }
}

fn config(kind: Kind, family: Family, timers: Timers) -> EngineConfig {
    let Addresses { access, core, .. } = addresses(family);
    let realm = |name: &str, address| {
        let (v4, v6) = match address {
            std::net::IpAddr::V4(v4) => (Some(v4), None),
            std::net::IpAddr::V6(v6) => (None, Some(v6)),
        };
        let guard = Guard { quarantine: Duration::ZERO, ..Guard::default() };
        Realm { name: name.into(), v4, v6, ports: PORTS, guard, ..Realm::default() }
    };
    let mode = if kind == Kind::Sockets { Mode::Off } else { Mode::Required };
    let translate = kind.is_kernel();
    let steer = kind != Kind::KernelAndSockets;
    EngineConfig {
        realms: vec![realm("access", access), realm("core", core)],
        threads: 2,
        timers,
        kernel: KernelConfig { mode, translate, steer, table: "suite".into(), ..KernelConfig::default() },
        ..EngineConfig::default()
    }
}

/// An engine on the gateway.
struct Bench<'a> {
    lab: &'a Lab,
    kind: Kind,
    at: Addresses,
    handle: EngineHandle,
    events: Events,
    seen: Vec<Event>,
    number: u64,
}

/// Two joined pinholes: the caller's peer comes to the first, the second goes to the callee.
#[derive(Debug, Clone, Copy)]
struct Pair {
    caller: (Pinhole, SocketAddr),
    callee: (Pinhole, SocketAddr),
}

impl<'a> Bench<'a> {
    fn start(lab: &'a Lab, kind: Kind, family: Family, timers: Timers) -> Self {
        let (handle, events) =
            lab.inside(Host::Gateway, || MediaEngine::start(config(kind, family, timers)).unwrap());
        Self { lab, kind, at: addresses(family), handle, events, seen: Vec::new(), number: 0 }
    }

    /// The engine ends, and leaves nothing behind.
    fn end(self) {
        let Self { lab, handle, mut events, .. } = self;
        drop(handle);
        while events.blocking_recv().is_some() {}
        assert_eq!(lab.says(Host::Gateway, &["nft", "list", "tables"]), "", "no table is left");
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
                None => panic!("{what} did not come over {:?}; there is {:?}", self.kind, self.seen),
            }
        }
    }

    fn nothing_like(&mut self, pick: impl Fn(&Event) -> bool) {
        while let Some(event) = self.events.try_recv() {
            self.seen.push(event);
        }
        assert!(!self.seen.iter().any(pick), "{:?}", self.seen);
    }

    fn reserve(&mut self, realm: &str) -> (Pinhole, SocketAddr) {
        self.number += 1;
        let pinhole = Pinhole { group: 7, number: self.number };
        let family = Some(self.at.family);
        self.send(Command::Reserve { pinhole, realm: Some(realm.into()), family, tls: false });
        self.expect("Bound", |event| match *event {
            Event::Bound { pinhole: of, local, .. } if of == pinhole => Some((pinhole, local)),
            Event::Refused { pinhole: of, reason } if of == pinhole => panic!("{reason:?}"),
            _ => None,
        })
    }

    /// Two pinholes, joined, without settings.
    fn joined(&mut self) -> Pair {
        let (caller, callee) = (self.reserve("access"), self.reserve("core"));
        self.send(Command::Join { a: caller.0, b: callee.0 });
        Pair { caller, callee }
    }

    /// What the caller's pinhole is told where the peer is said to be at an address and to call.
    fn for_caller(&self) -> Settings {
        Settings {
            role: Role::Passive,
            remote: Some(SocketAddr::new(self.at.caller, 9)),
            gate: Gate::SendReceive,
            ..Settings::default()
        }
    }

    fn for_callee(&self, to: SocketAddr) -> Settings {
        Settings { role: Role::Active, remote: Some(to), gate: Gate::SendReceive, ..Settings::default() }
    }

    fn configure(&self, pinhole: Pinhole, settings: Settings) {
        self.send(Command::Configure { pinhole, settings });
    }

    /// A pair that the caller's host may open to this address.
    fn open(&mut self, to: SocketAddr) -> Pair {
        let pair = self.joined();
        let (caller, callee) = (self.for_caller(), self.for_callee(to));
        self.configure(pair.caller.0, caller);
        self.configure(pair.callee.0, callee);
        self.opened(pair);
        pair
    }

    /// Waits until callers may come.
    fn opened(&mut self, pair: Pair) {
        self.measure(pair.caller.0);
        if self.kind.is_kernel() {
            self.engine(pair.caller.0, Reason::Passes);
            self.carried(|carried| carried > 0);
        }
    }

    /// Waits for a choice.
    fn engine(&mut self, of: Pinhole, why: Reason) {
        self.expect("a choice of the engine", |event| match *event {
            Event::Engine { pinhole, engine, reason } if pinhole == of && reason == why => {
                assert_eq!(engine == engine::Engine::Kernel, reason == Reason::Passes);
                Some(())
            }
            _ => None,
        });
    }

    /// Waits until the kernel carries so many sessions.
    fn carried(&self, fits: impl Fn(u64) -> bool) {
        until("the kernel carries other sessions", || fits(self.handle.kernel_tally().carried));
    }

    fn established(&mut self, name: Pinhole) -> SocketAddr {
        self.expect("Established", |event| match *event {
            Event::Established { pinhole, peer } if pinhole == name => Some(peer),
            _ => None,
        })
    }

    fn closed(&mut self, name: Pinhole) -> Cause {
        self.expect("Closed", |event| match *event {
            Event::Closed { pinhole, cause } if pinhole == name => Some(cause),
            _ => None,
        })
    }

    fn both_closed(&mut self, pair: Pair) -> (Cause, Cause) {
        (self.closed(pair.caller.0), self.closed(pair.callee.0))
    }

    fn measure(&mut self, name: Pinhole) -> Statistics {
        self.send(Command::Measure { pinhole: name });
        self.expect("Measured", |event| match event {
            Event::Measured { pinhole, statistics } if *pinhole == name => Some(statistics.clone()),
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

    /// A server, a pair that leads to it, and a connection through it.
    fn connected(&mut self) -> (Pair, TcpStream, TcpStream) {
        let server = self.lab.listen(Host::Callee, self.at.callee);
        let pair = self.open(server.local_addr().unwrap());
        let (near, far) = self.call(pair, &server);
        (pair, near, far)
    }

    fn call(&mut self, pair: Pair, server: &TcpListener) -> (TcpStream, TcpStream) {
        let near = self.lab.call(self.at.caller, pair.caller.1).unwrap();
        let far = accept(server);
        assert_eq!(far.peer_addr().unwrap(), pair.callee.1, "it comes from the address that was told");
        assert_eq!(self.established(pair.caller.0), near.local_addr().unwrap());
        assert_eq!(self.established(pair.callee.0), server.local_addr().unwrap());
        (near, far)
    }
}

fn accept(server: &TcpListener) -> TcpStream {
    server.set_nonblocking(true).unwrap();
    let mut taken = None;
    until("nobody comes to the callee", || {
        taken = server.accept().ok();
        taken.is_some()
    });
    let (stream, _) = taken.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Octets that look random, from a seed.
fn octets(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut octets = Vec::with_capacity(length + 8);
    while octets.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        octets.extend_from_slice(&state.to_ne_bytes());
    }
    octets.truncate(length);
    octets
}

fn say(stream: &mut TcpStream, what: &[u8]) {
    stream.write_all(what).unwrap();
}

fn hears(stream: &mut TcpStream, what: &[u8]) {
    let mut got = vec![0; what.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == what, "other octets came");
}

fn hears_the_end(stream: &mut TcpStream) {
    let read = loop {
        match stream.read(&mut [0; 1]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    assert_eq!(read.unwrap(), 0);
}

/// How a read fails; it must fail. One with a time limit is not begun again by itself when the process was stopped
/// meanwhile (signal(7)).
fn breaks(stream: &mut TcpStream) -> ErrorKind {
    loop {
        match stream.read(&mut [0; 16]) {
            Ok(read) => panic!("{read} octets instead of a reset"),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind(),
        }
    }
}
