//! What an idle session holds in user space, over each engine: octets that were asked of the allocator and not given back, so what the
//! system does with pages is not in it. Half a kilobyte is the goal (docs/performance.md, B2), which the kernel engine misses
//! where maps have the most room beside what they need, as here.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

#[path = "engines/lab.rs"]
#[allow(dead_code)] // Other tests use the rest.
mod lab;

use std::alloc::System;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use carnet_gateway::engine::Reason;
use carnet_gateway::media::{Command, Event, Family, Gate, Pinhole, Role, Settings};
use carnet_net::media::{
    EngineConfig, EngineHandle, Events, KernelConfig, MediaEngine, Mode, Realm, raise_descriptor_limit,
};
use lab::{Addresses, Host, Lab, addresses};
use socket2::{Domain, Socket, Type};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Longer than anything takes, on whatever machine.
const SOON: Duration = Duration::from_secs(60);
/// So many that maps of them, and of twice as many, have twice the room that they need: the worst case.
const PAIRS: u16 = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sockets,
    /// Carried by the kernel; pinholes have sockets too, for whom it does not carry.
    Kernel,
    /// Carried by the kernel; callers whom it does not carry are steered.
    KernelAndSteered,
}

/// What this process has of the allocator now. What grew and shrank in place is in both sums.
fn held() -> usize {
    let now = ALLOCATOR.stats();
    now.bytes_allocated.wrapping_sub(now.bytes_deallocated)
}

fn config(kind: Kind, at: &Addresses) -> EngineConfig {
    let realm = |name: &str, address: IpAddr| {
        let (v4, v6) = match address {
            IpAddr::V4(v4) => (Some(v4), None),
            IpAddr::V6(v6) => (None, Some(v6)),
        };
        Realm { name: name.into(), v4, v6, ports: 20_000..=19_999 + PAIRS, ..Realm::default() }
    };
    let mode = if kind == Kind::Sockets { Mode::Off } else { Mode::Required };
    let steer = kind == Kind::KernelAndSteered;
    EngineConfig {
        realms: vec![realm("access", at.access), realm("core", at.core)],
        kernel: KernelConfig { mode, steer, table: "idle".into(), ..KernelConfig::default() },
        ..EngineConfig::default()
    }
}

const fn pinhole(pair: u16, far: bool) -> Pinhole {
    Pinhole { group: 7, number: pair as u64 * 2 + far as u64 }
}

/// What the engine has said.
#[derive(Default)]
struct Heard {
    doors: Vec<Option<SocketAddr>>,
    bound: usize,
    carried: usize,
    established: usize,
    released: usize,
}

impl Heard {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Bound { pinhole, local, .. } => {
                self.bound += 1;
                if pinhole.number % 2 == 0 {
                    self.doors[pinhole.number as usize / 2] = Some(*local);
                }
            }
            Event::Engine { reason, .. } => self.carried += usize::from(*reason == Reason::Passes),
            Event::Established { .. } => self.established += 1,
            Event::Released { .. } => self.released += 1,
            Event::Refused { .. } | Event::Closed { .. } => panic!("{event:?}"),
            _ => {}
        }
    }

    /// Takes what the engine has said. Whose events nobody takes accepts nobody any more.
    fn listen(&mut self, events: &mut Events) {
        while let Some(event) = events.try_recv() {
            self.note(&event);
        }
    }

    /// Gives the commands and listens until this is so.
    fn until(
        &mut self,
        (engine, events): &mut (EngineHandle, Events),
        commands: impl Iterator<Item = Command>,
        what: &str,
        so: impl Fn(&Self) -> bool,
    ) {
        let deadline = Instant::now() + SOON;
        let (mut commands, mut waiting) = (commands.peekable(), VecDeque::with_capacity(64));
        loop {
            while waiting.len() < 64
                && let Some(command) = commands.next()
            {
                waiting.push_back(command);
            }
            engine.try_send_all(&mut waiting).unwrap();
            self.listen(events);
            if waiting.is_empty() && commands.peek().is_none() && so(self) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not {what}: {} {} {}",
                self.bound,
                self.carried,
                self.established
            );
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The next to come, and what it says, without waiting for ever; `meanwhile` is done again and again.
fn accept(server: &TcpListener, mut meanwhile: impl FnMut()) -> std::io::Result<TcpStream> {
    let deadline = Instant::now() + SOON;
    server.set_nonblocking(true)?;
    loop {
        meanwhile();
        match server.accept() {
            Ok((far, _)) => {
                far.set_nonblocking(false)?;
                far.set_read_timeout(Some(SOON))?;
                return Ok(far);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_micros(50));
            }
            Err(error) => return Err(error),
        }
    }
}

/// What the hosts know of connections to or from this port.
fn connections(lab: &Lab, port: u16) -> String {
    [Host::Caller, Host::Gateway, Host::Callee]
        .map(|host| {
            lab.inside(host, || {
                let look = format!(
                    "ss -Htnoi 'sport = :{port} or dport = :{port}'; conntrack -L 2>&1 | grep {port}"
                );
                let seen = std::process::Command::new("sh").args(["-c", &look]).output().unwrap();
                String::from_utf8_lossy(&seen.stdout).into_owned()
            })
        })
        .join("-- next host\n")
}

/// Each has said six octets and heard them.
fn connect(
    lab: &Lab,
    from: IpAddr,
    doors: &[SocketAddr],
    server: &TcpListener,
    mut meanwhile: impl FnMut() + Send,
) -> Result<Vec<(TcpStream, TcpStream)>, String> {
    lab.inside(Host::Caller, || {
        let mut all = Vec::with_capacity(doors.len());
        for (number, door) in doors.iter().enumerate() {
            let socket = Socket::new(Domain::for_address(*door), Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
            let seen = |error: std::io::Error, what: &str| {
                format!("pair {number}, {what}: {error}\n{}", connections(lab, door.port()))
            };
            socket.connect_timeout(&(*door).into(), SOON).map_err(|e| seen(e, "not answered"))?;
            let mut near = TcpStream::from(socket);
            near.set_read_timeout(Some(SOON)).unwrap();
            let mut far = accept(server, &mut meanwhile).map_err(|e| seen(e, "not led on"))?;
            let mut heard = [0; 6];
            near.write_all(b"octets").map_err(|e| seen(e, "not taken"))?;
            far.read_exact(&mut heard).map_err(|e| seen(e, "not heard by the callee"))?;
            far.write_all(&heard).map_err(|e| seen(e, "not taken from the callee"))?;
            near.read_exact(&mut heard).map_err(|e| seen(e, "not heard by the caller"))?;
            all.push((near, far));
        }
        Ok(all)
    })
}

fn idle(kind: Kind, family: Family, most: usize) {
    let Some(lab) = Lab::new() else { return };
    let at = addresses(family);
    let server = lab.listen(Host::Callee, at.callee);
    let to = server.local_addr().unwrap();
    let mut heard = Heard { doors: vec![None; PAIRS.into()], ..Heard::default() };
    let mut engine = lab.inside(Host::Gateway, || MediaEngine::start(config(kind, &at)).unwrap());
    let before = held();

    let each = || (0..PAIRS).flat_map(|pair| [(pair, false), (pair, true)]);
    let reserve = each().map(|(pair, far)| Command::Reserve {
        pinhole: pinhole(pair, far),
        realm: Some(if far { "core" } else { "access" }.into()),
        family: Some(family),
        tls: false,
    });
    let all = 2 * usize::from(PAIRS);
    heard.until(&mut engine, reserve, "bound", |heard| heard.bound == all);
    let caller = SocketAddr::new(at.caller, 9);
    let open = Settings { gate: Gate::SendReceive, ..Settings::default() };
    let open = (0..PAIRS).flat_map(|pair| {
        let (a, b) = (pinhole(pair, false), pinhole(pair, true));
        let near = Settings { role: Role::Passive, remote: Some(caller), ..open.clone() };
        let far = Settings { role: Role::Active, remote: Some(to), ..open.clone() };
        let near = Command::Configure { pinhole: a, settings: near };
        [Command::Join { a, b }, near, Command::Configure { pinhole: b, settings: far }]
    });
    let carried = if kind == Kind::Sockets { 0 } else { all };
    let count = |engine: &EngineHandle| engine.kernel_tally().carried;
    heard.until(&mut engine, open, "carried", |heard| heard.carried == carried);
    let deadline = Instant::now() + SOON;
    while kind != Kind::Sockets && count(&engine.0) < PAIRS.into() {
        assert!(Instant::now() < deadline, "the table has {} of them", count(&engine.0));
        thread::sleep(Duration::from_millis(5));
    }
    let doors: Vec<_> = heard.doors.iter().map(|door| door.unwrap()).collect();
    let listen = || heard.listen(&mut engine.1);
    let streams = connect(&lab, at.caller, &doors, &server, listen).unwrap_or_else(|lost| panic!("{lost}"));
    heard.until(&mut engine, std::iter::empty(), "connected", |heard| heard.established == all);

    // The streams' list and the addresses are ours. What was needed for a moment is given back in the next seconds, and the counters
    // of all connections are looked at meanwhile.
    let ours = |streams: &Vec<(TcpStream, TcpStream)>, doors: &Vec<SocketAddr>| {
        streams.capacity() * size_of::<(TcpStream, TcpStream)>() + doors.capacity() * size_of::<SocketAddr>()
    };
    let each_has = |streams, doors| {
        held().saturating_sub(before).saturating_sub(ours(streams, doors)) / usize::from(PAIRS)
    };
    let octets = |engine: &EngineHandle| engine.kernel_tally().octets;
    let deadline = Instant::now() + SOON;
    let counted = |engine| kind == Kind::Sockets || octets(engine) >= 12 * u64::from(PAIRS);
    while !counted(&engine.0) || each_has(&streams, &doors) > most {
        if Instant::now() > deadline {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let has = each_has(&streams, &doors);
    eprintln!("{kind:?} {family:?}: {has} octets a session");
    assert!(counted(&engine.0), "counted as they grow: {}", octets(&engine.0));
    assert!(has <= most, "{kind:?} {family:?}: {has} octets a session");

    // It was none too few: all are up.
    let mut streams = streams;
    for (near, far) in &mut streams {
        near.write_all(b"more").unwrap();
        far.read_exact(&mut [0; 4]).unwrap();
    }
    let release = each().map(|(pair, far)| Command::Release { pinhole: pinhole(pair, far) });
    let mut rest = Heard { doors: heard.doors, ..Heard::default() };
    let (released, mut waiting) = (&mut rest.released, release.collect::<VecDeque<_>>());
    let deadline = Instant::now() + SOON;
    while *released < all {
        engine.0.try_send_all(&mut waiting).unwrap();
        while let Some(event) = engine.1.try_recv() {
            *released += usize::from(matches!(event, Event::Released { .. }));
        }
        assert!(Instant::now() < deadline, "{released} are released");
        thread::sleep(Duration::from_millis(1));
    }
    let (handle, mut events) = engine;
    drop(handle);
    while events.blocking_recv().is_some() {}
}

/// One after the other: all that this process holds is counted.
#[test]
fn an_idle_session_holds_little() {
    raise_descriptor_limit();
    // The goal, where the engine meets it.
    idle(Kind::Sockets, Family::V4, 512);
    // Where it does not: what it was brought to.
    idle(Kind::Kernel, Family::V4, 616);
    idle(Kind::KernelAndSteered, Family::V4, 664);
    // Addresses that take four times as much.
    idle(Kind::Kernel, Family::V6, 1_088);
}
