//! The relay process: an engine with pinhole pairs that are armed again whenever a connection ended.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use carnet_gateway::media::{Command, Edge, Event, Family, Gate, Leg, Pinhole, Role, Settings, TlsRole};
use carnet_net::media::{Certificate, EngineConfig, Guard, MediaEngine, Realm, Timers};
use carnet_tls::Credential;

use crate::Result;

/// Arguments: `tls` FIRST_PORT PAIRS CORE FINGERPRINT, or `msrp` FIRST_PORT PAIRS CORE. Says the
/// fingerprint of the certificate that is shown. In MSRP the pair N is between `/c<N>` and `/s<N>`.
pub fn run(arguments: &[&str]) -> Result<()> {
    let (kind, first, pairs, core, fingerprint) = match arguments {
        [kind, first, pairs, core] => (*kind, *first, *pairs, *core, ""),
        [kind, first, pairs, core, fingerprint] => (*kind, *first, *pairs, *core, *fingerprint),
        _ => return Err("engine: tls|msrp FIRST_PORT PAIRS CORE [FINGERPRINT]".into()),
    };
    let (first, pairs): (u16, u16) = (first.parse()?, pairs.parse()?);
    let target: SocketAddr = core.parse()?;
    let sealed = kind == "tls";
    // One certificate for all, as the realm has.
    let folder = tempfile::tempdir()?;
    let credential = Credential::self_signed(&[], 1)?;
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, credential.certificate_pem()?)?;
    std::fs::write(&key, &*credential.private_key_pem()?)?;
    let realm = |name: &str, first: u16| Realm {
        name: name.into(),
        v4: Some(Ipv4Addr::LOCALHOST),
        ports: first..=first + pairs - 1,
        certificate: Certificate::Files { certificate: certificate.clone(), key: key.clone() },
        guard: Guard { quarantine: Duration::ZERO, ..Guard::default() },
        ..Realm::default()
    };
    let config = EngineConfig {
        realms: vec![realm("caller", first), realm("far", first + pairs)],
        // The pinholes wait until it is their turn.
        timers: Timers { incoming: Duration::from_secs(3600), ..Timers::default() },
        ..EngineConfig::default()
    };
    let (engine, mut events) = MediaEngine::start(config)?;
    let name =
        |pair: u16, far: bool| Pinhole { group: pair.into(), number: u64::from(pair) * 2 + u64::from(far) };
    // A port is drawn at random, so each session is named by the one it has got.
    let mut ports = vec![0u16; usize::from(pairs)];
    let mut shown = String::new();
    for pair in 0..pairs {
        for (realm, far) in [("caller", false), ("far", true)] {
            let (realm, family) = (Some(realm.to_owned()), Some(Family::V4));
            let tls = sealed && !far;
            engine.blocking_send(Command::Reserve { pinhole: name(pair, far), realm, family, tls })?;
            match events.blocking_recv() {
                Some(Event::Bound { local, fingerprint, .. }) => {
                    if let Some(port) = ports.get_mut(usize::from(pair)).filter(|_| !far) {
                        *port = local.port();
                    }
                    shown = fingerprint.unwrap_or(shown);
                }
                other => return Err(format!("no port: {other:?}").into()),
            }
        }
        engine.blocking_send(Command::Join { a: name(pair, false), b: name(pair, true) })?;
    }
    let edge = Some(Arc::new(Edge { role: TlsRole::Server, fingerprints: vec![fingerprint.to_owned()] }));
    let settings = |pinhole: Pinhole| {
        let far = !pinhole.number.is_multiple_of(2);
        let port = ports.get(pinhole.group as usize).copied().unwrap_or_default();
        let leg = |name: &str| Arc::new(Leg { path: format!("msrp://127.0.0.1:9/{name}{port};tcp") });
        Settings {
            role: if far { Role::Active } else { Role::Passive },
            gate: Gate::SendReceive,
            remote: far.then_some(target),
            edge: edge.clone().filter(|_| sealed && !far),
            leg: (!sealed).then(|| leg(if far { "s" } else { "c" })),
            ..Settings::default()
        }
    };
    for pair in 0..pairs {
        for far in [false, true] {
            let pinhole = name(pair, far);
            engine.blocking_send(Command::Configure { pinhole, settings: settings(pinhole) })?;
        }
    }
    println!("ready {shown}");
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
