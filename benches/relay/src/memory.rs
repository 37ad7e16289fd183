//! What sessions cost that do nothing, or whose reader has stopped.

use std::time::{Duration, Instant};

use carnet_load::outcome::Line;
use carnet_load::process::Process;

use crate::engine::Variant;
use crate::peers::{PAIRS, Relay, Who, start};
use crate::place::{Host, Place};
use crate::{Options, Result, serve, words};

/// What a stalled reader may pin, KiB.
const PINNED: f64 = 1_024.0;
/// What an idle session may cost in user space, octets.
const IDLE: f64 = 512.0;

/// Octets of user memory for each idle session, each relay freshly started.
pub fn idle(place: &Place, options: &Options) -> Result<Vec<Line>> {
    compared(options, "B2", "idle session, user memory", "octets", IDLE, |who| {
        let server = serve(place)?;
        let pinholes = matches!(who, Who::Carnet(_));
        // A pinhole exists before its connection, so an engine is compared with one that has none.
        let empty = match pinholes {
            true => Some(used(&start(who, place, options.threads, 1)?)?),
            false => None,
        };
        let relay = start(who, place, options.threads, PAIRS)?;
        let before = empty.map_or_else(|| used(&relay), Ok)?;
        let _client = hold(place, &relay, "idle", options.sessions)?;
        let after = used(&relay)?;
        drop(server);
        let count = if pinholes { f64::from(PAIRS) } else { options.sessions as f64 };
        Ok((after - before) / count)
    })
}

/// KiB that each session pins whose reader stopped: kernel memory of the relay's sockets, and payload elsewhere in it.
pub fn stalled(place: &Place, options: &Options) -> Result<Vec<Line>> {
    compared(options, "A7", "what a stalled reader pins in the relay", "KiB", PINNED, |who| {
        let _server = serve(place)?;
        let relay = start(who, place, options.threads, PAIRS)?;
        let gateway = place.gateway(who.gateway());
        let hosts = [&place.client, &gateway, &place.server];
        calm(&hosts)?;
        let before = hosts.map(Host::sockets);
        let client = hold(place, &relay, "stalled", options.stalled)?;
        let after = hosts.map(Host::sockets);
        let written: f64 = client.1.parse()?;
        let (mut memory, mut payload) = (0.0, 0.0);
        for (index, (before, after)) in before.into_iter().zip(after).enumerate() {
            let (before, after) = (before?, after?);
            payload += after.1 as f64 - before.1 as f64;
            if index == 1 {
                memory = after.0 as f64 - before.0 as f64;
            }
        }
        drop(client);
        // What is in flight counts as in the relay; it cannot be less than nothing.
        Ok((memory + (written - payload).max(0.0)) / 1024.0 / options.stalled as f64)
    })
}

/// Waits until nothing is left of the relay before. Octets that it had to send and that go while this one is looked at
/// would count as if this one held them.
fn calm(hosts: &[&Host]) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let mut left = 0;
        for host in hosts {
            left += host.sockets()?.1;
        }
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(format!("{left} octets of the relay before are still in sockets").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn used(relay: &Relay) -> Result<f64> {
    Ok(relay.process.as_ref().ok_or("no process")?.private_memory_of_all()? as f64)
}

/// Measures all that have a process, and compares Carnet's variants with each peer.
fn compared(
    options: &Options,
    goal: &str,
    title: &str,
    unit: &str,
    bound: f64,
    measure: impl Fn(Who) -> Result<f64>,
) -> Result<Vec<Line>> {
    let mut found = Vec::new();
    for who in Who::ALL {
        if matches!(who, Who::Direct | Who::Translation) || !options.wants_relay(who) {
            continue;
        }
        let value = measure(who).map_err(|error| error.to_string());
        match &value {
            Ok(value) => eprintln!("{title}: {:16} {value:.0} {unit}", who.name()),
            Err(why) => eprintln!("{title}: {:16} not available: {why}", who.name()),
        }
        found.push((who, value));
    }
    let peers: Vec<_> = found.iter().filter(|(who, _)| !matches!(who, Who::Carnet(_))).collect();
    let mut lines = Vec::new();
    for (who, value) in &found {
        let Who::Carnet(variant) = who else { continue };
        // Nothing of a session that the kernel carries is in the process to be pinned.
        if goal == "A7" && *variant == Variant::Kernel {
            continue;
        }
        let what = format!("{title}: {}", who.name());
        for (peer, theirs) in &peers {
            lines.push(match (value, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    let wanted = match (goal, peer) {
                        ("B2", Who::Haproxy) => Some(0.15),
                        ("B2", Who::Nginx) => Some(0.05),
                        _ => None,
                    };
                    Line::compare(goal, &what, unit, (peer.name(), &[*theirs]), &[*ours], wanted)
                        .at_most(bound)
                }
                (Err(why), _) | (_, Err(why)) => Line::absent(goal, &what, &format!("not available: {why}")),
            });
        }
    }
    Ok(lines)
}

/// Starts a client that holds its sessions until it is dropped.
fn hold(place: &Place, relay: &Relay, kind: &str, sessions: usize) -> Result<Process> {
    let (address, port, ports) = &relay.doors;
    let (target, ports, sessions) = (format!("{address}:{port}"), ports.to_string(), sessions.to_string());
    place.client.start(&words(&["load", kind, &target, "--ports", &ports, "--sessions", &sessions]))
}
