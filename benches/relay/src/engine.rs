//! The relay process: an engine with pinhole pairs that are armed again whenever a connection ended.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use carnet_gateway::engine::{Host, Reason};
use carnet_gateway::media::{Command, Event, Family, Gate, Pinhole, Role, Settings};
use carnet_net::media::{EngineConfig, EngineHandle, Events, KernelConfig, MediaEngine, Mode, Realm, Timers};

use crate::Result;

/// How pairs are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// A relay, and a socket for each pinhole.
    Sockets,
    /// A relay, and callers are steered to a listener for all pinholes.
    Steered,
    /// The kernel translates.
    Kernel,
}

impl Variant {
    const ALL: [Self; 3] = [Self::Sockets, Self::Steered, Self::Kernel];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sockets => "carnet",
            Self::Steered => "carnet-steered",
            Self::Kernel => "carnet-kernel",
        }
    }
}

/// Arguments: address for callers, address towards the server, first port, pairs, server, threads, variant,
/// address of the caller. Says `ready`, or `ready absent` and why that variant is not to be had here.
pub fn run(arguments: &[&str]) -> Result<()> {
    let [caller_side, far_side, first, pairs, target, threads, variant, caller] = arguments else {
        return Err(
            "engine: CALLER_ADDRESS FAR_ADDRESS FIRST_PORT PAIRS SERVER THREADS VARIANT CALLER".into()
        );
    };
    let variant = Variant::ALL.into_iter().find(|known| known.name() == *variant).ok_or("no such variant")?;
    let caller: IpAddr = caller.parse()?;
    let (first, pairs): (u16, u16) = (first.parse()?, pairs.parse()?);
    let target: SocketAddr = target.parse()?;
    let realm = |name: &str, address: &str, first: u16| -> Result<Realm> {
        let address: Ipv4Addr = address.parse()?;
        Ok(Realm {
            name: name.into(),
            v4: Some(address),
            v6: None,
            ports: first..=first + pairs - 1,
            ..Realm::default()
        })
    };
    // On loopback both sides share an address.
    let config = EngineConfig {
        realms: vec![realm("caller", caller_side, first)?, realm("far", far_side, first + pairs)?],
        threads: threads.parse()?,
        // The pinholes wait until it is their turn.
        timers: Timers { incoming: Duration::from_secs(3600), ..Timers::default() },
        kernel: KernelConfig {
            mode: if variant == Variant::Sockets { Mode::Off } else { Mode::Auto },
            table: "bench".into(),
            ..KernelConfig::default()
        },
        ..EngineConfig::default()
    };
    let (engine, mut events) = MediaEngine::start(config)?;
    if variant != Variant::Sockets
        && let Host::Relays(reason) = engine.host()
    {
        println!("ready absent {}: {}", reason.text(), engine.lacks().join(", "));
        return Ok(());
    }
    let hole =
        |pair: u16, far: bool| Pinhole { group: pair.into(), number: u64::from(pair) * 2 + u64::from(far) };
    // Only whose caller is known can the kernel carry.
    let known = (variant == Variant::Kernel).then_some(SocketAddr::new(caller, 9));
    let latch = known.is_none();
    let passive = Settings {
        role: Role::Passive,
        gate: Gate::SendReceive,
        remote: known,
        latch,
        ..Settings::default()
    };
    let active =
        Settings { role: Role::Active, gate: Gate::SendReceive, remote: Some(target), ..Settings::default() };
    let settings =
        |pinhole: Pinhole| if pinhole.number.is_multiple_of(2) { passive.clone() } else { active.clone() };
    // What was last said of each pinhole's engine; there is none to tell of before both sides are known. One octet each and
    // gone before it is counted: the memory of this process is measured.
    let mut chosen: Vec<Option<Reason>> = Vec::new();
    if variant == Variant::Kernel {
        chosen.resize(2 * usize::from(pairs), None);
    }
    let choose = |chosen: &mut Vec<Option<Reason>>, pinhole: Pinhole, reason| {
        let place = usize::try_from(pinhole.number).ok().and_then(|number| chosen.get_mut(number));
        place.into_iter().for_each(|place| *place = Some(reason));
    };
    for pair in 0..pairs {
        for (name, far) in [("caller", false), ("far", true)] {
            let (realm, family) = (Some(name.to_owned()), Some(Family::V4));
            engine.blocking_send(Command::Reserve { pinhole: hole(pair, far), realm, family, tls: false })?;
            loop {
                match events.blocking_recv() {
                    Some(Event::Bound { local, .. }) => break check(local, pairs, far, first)?,
                    Some(Event::Engine { pinhole, reason, .. }) => choose(&mut chosen, pinhole, reason),
                    other => return Err(format!("no port: {other:?}").into()),
                }
            }
        }
        engine.blocking_send(Command::Join { a: hole(pair, false), b: hole(pair, true) })?;
        for far in [false, true] {
            let pinhole = hole(pair, far);
            engine.blocking_send(Command::Configure { pinhole, settings: settings(pinhole) })?;
        }
    }
    if variant == Variant::Kernel {
        let until = Instant::now() + Duration::from_secs(30);
        // The kernel has one for one reason only.
        let is_carried = |reason: &&Option<Reason>| **reason == Some(Reason::Passes);
        let carried = |chosen: &[Option<Reason>]| chosen.iter().filter(is_carried).count();
        while carried(&chosen) < 2 * usize::from(pairs) {
            match events.try_recv() {
                Some(Event::Engine { pinhole, reason, .. }) => choose(&mut chosen, pinhole, reason),
                Some(other) => return Err(format!("instead of being carried: {other:?}").into()),
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                None => {
                    let other = chosen.iter().flatten().find(|reason| **reason != Reason::Passes);
                    let why = other.map_or("nothing was said about the engine", |reason| reason.text());
                    println!(
                        "ready absent {} pinholes of {} are carried: {why}",
                        carried(&chosen),
                        2 * pairs
                    );
                    return Ok(());
                }
            }
        }
    }
    drop(chosen);
    println!("ready");
    serve(&engine, &mut events, settings)
}

/// Arms pinholes again whose connection has ended.
fn serve(engine: &EngineHandle, events: &mut Events, settings: impl Fn(Pinhole) -> Settings) -> Result<()> {
    let mut commands = VecDeque::new();
    while let Some(event) = events.blocking_recv() {
        let mut next = Some(event);
        while let Some(event) = next {
            if let Event::Closed { pinhole, .. } = event {
                commands.push_back(Command::Configure { pinhole, settings: settings(pinhole) });
            }
            next = events.try_recv();
        }
        engine.try_send_all(&mut commands)?;
        while let Some(command) = commands.pop_front() {
            engine.blocking_send(command)?;
        }
    }
    Ok(())
}

/// The load finds a pair at every port of the range.
fn check(local: SocketAddr, pairs: u16, far: bool, first: u16) -> Result<()> {
    let fits = far || (first..first + pairs).contains(&local.port());
    if fits && matches!(local.ip(), IpAddr::V4(_)) { Ok(()) } else { Err("a port is out of range".into()) }
}
