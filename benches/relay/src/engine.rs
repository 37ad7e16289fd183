//! The relay process: an engine with pinhole pairs that are armed again whenever a connection ended.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use carnet_gateway::media::{Command, Event, Family, Gate, Pinhole, Role, Settings};
use carnet_net::media::{EngineConfig, MediaEngine, Realm, Timers};

use crate::Result;

/// Arguments: address for callers, address towards the server, first port, pairs, server, threads.
pub fn run(arguments: &[&str]) -> Result<()> {
    let [caller_side, far_side, first, pairs, target, threads] = arguments else {
        return Err("engine: CALLER_ADDRESS FAR_ADDRESS FIRST_PORT PAIRS SERVER THREADS".into());
    };
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
        ..EngineConfig::default()
    };
    let (engine, mut events) = MediaEngine::start(config)?;
    let hole =
        |pair: u16, far: bool| Pinhole { group: pair.into(), number: u64::from(pair) * 2 + u64::from(far) };
    let passive = Settings { role: Role::Passive, gate: Gate::SendReceive, ..Settings::default() };
    let active =
        Settings { role: Role::Active, gate: Gate::SendReceive, remote: Some(target), ..Settings::default() };
    let settings =
        |pinhole: Pinhole| if pinhole.number.is_multiple_of(2) { passive.clone() } else { active.clone() };
    for pair in 0..pairs {
        for (name, far) in [("caller", false), ("far", true)] {
            let (realm, family) = (Some(name.to_owned()), Some(Family::V4));
            engine.blocking_send(Command::Reserve { pinhole: hole(pair, far), realm, family, tls: false })?;
            match events.blocking_recv() {
                Some(Event::Bound { local, .. }) => check(local, pairs, far, first)?,
                other => return Err(format!("no port: {other:?}").into()),
            }
        }
        engine.blocking_send(Command::Join { a: hole(pair, false), b: hole(pair, true) })?;
        for far in [false, true] {
            let pinhole = hole(pair, far);
            engine.blocking_send(Command::Configure { pinhole, settings: settings(pinhole) })?;
        }
    }
    println!("ready");
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
