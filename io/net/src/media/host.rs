//! What the host must have for the defence to hold, because the kernel does that part of it.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::EngineConfig;

/// A descriptor of this number or more means that few are left. What is left is for reservations, for
/// callers who are expected, and for calls.
pub(super) fn most_open() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let spare = (limit / 8).clamp(32, 4096);
    usize::try_from(limit.saturating_sub(spare)).unwrap_or(usize::MAX)
}

/// What the host lacks, in words for its administrator. What cannot be read is not complained about.
#[must_use]
pub fn shortcomings(config: &EngineConfig) -> Vec<String> {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?.trim().parse().ok()
    };
    let mut lacks = Vec::new();
    if number("ipv4/tcp_syncookies") == Some(0) {
        lacks.push(
            "net.ipv4.tcp_syncookies is 0: a SYN flood keeps callers out of a pinhole; set it to 1"
                .to_owned(),
        );
    }
    let backlog = u64::try_from(super::socket::BACKLOG).unwrap_or(0);
    for name in ["core/somaxconn", "ipv4/tcp_max_syn_backlog"] {
        if let Some(value) = number(name).filter(|value| *value < backlog) {
            let name = name.replace('/', ".");
            lacks.push(format!("net.{name} is {value}: fewer callers than {backlog} can wait at a pinhole"));
        }
    }
    if let Some((first, last)) = local_ports() {
        for realm in &config.realms {
            if *realm.ports.start() <= last && *realm.ports.end() >= first {
                lacks.push(format!(
                    "ports {}-{} of realm {:?} are among those that the host gives to any program \
                     (net.ipv4.ip_local_port_range is {first} to {last}): some will be taken",
                    realm.ports.start(),
                    realm.ports.end(),
                    realm.name
                ));
            }
        }
    }
    let ports = |realm: &super::Realm| u64::try_from(realm.ports.len()).unwrap_or(u64::MAX);
    let pinholes = config.realms.iter().map(ports).sum::<u64>();
    let most = u64::try_from(config.pinholes.saturating_mul(config.threads)).unwrap_or(u64::MAX);
    let needed = pinholes.min(most).saturating_mul(2);
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < needed) {
        lacks.push(format!(
            "{limit} descriptors are allowed; as many pinholes as there are ports take up to {needed}"
        ));
    }
    lacks
}

fn local_ports() -> Option<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = text.split_whitespace().map_while(|port| port.parse().ok());
    Some((ports.next()?, ports.next()?))
}
