//! What the host must have for the defence to hold, because the kernel does that part of it.

use std::{fmt, fs};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::EngineConfig;

/// A descriptor of this number or more means that few are left. What is left is for reservations, for
/// callers who are expected, and for calls.
pub(super) fn most_open() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let spare = (limit / 8).clamp(32, 4096);
    usize::try_from(limit.saturating_sub(spare)).unwrap_or(usize::MAX)
}

/// Asks for all the descriptors that the process may have: what a service manager allows without being asked
/// is for programs with few connections.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // What is refused shows in the shortcomings.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// What the host lacks, with the setting that is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortcoming {
    /// The kernel's name for the setting, or `descriptors`.
    pub setting: &'static str,
    /// In words for its administrator.
    pub text: String,
}

impl fmt::Display for Shortcoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the host lacks. What cannot be read is not complained about.
#[must_use]
pub fn shortcomings(config: &EngineConfig) -> Vec<Shortcoming> {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?.trim().parse().ok()
    };
    let mut lacks = Vec::new();
    let lack = |setting, text| Shortcoming { setting, text };
    if number("ipv4/tcp_syncookies") == Some(0) {
        let text = "net.ipv4.tcp_syncookies is 0: a SYN flood keeps callers out of a pinhole; set it to 1";
        lacks.push(lack("net.ipv4.tcp_syncookies", text.to_owned()));
    }
    let backlog = u64::try_from(super::socket::BACKLOG).unwrap_or(0);
    for (name, setting) in [
        ("core/somaxconn", "net.core.somaxconn"),
        ("ipv4/tcp_max_syn_backlog", "net.ipv4.tcp_max_syn_backlog"),
    ] {
        if let Some(value) = number(name).filter(|value| *value < backlog) {
            let text = format!("{setting} is {value}: fewer callers than {backlog} can wait at a pinhole");
            lacks.push(lack(setting, text));
        }
    }
    if let Some((first, last)) = local_ports() {
        let kept = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        for realm in &config.realms {
            let from = *realm.ports.start().max(&first);
            if (from..=*realm.ports.end().min(&last)).any(|port| !is_reserved(&kept, port)) {
                let text = format!(
                    "ports {}-{} of realm {:?} are among those that the host gives to any program \
                     (net.ipv4.ip_local_port_range is {first} to {last}): some will be taken",
                    realm.ports.start(),
                    realm.ports.end(),
                    realm.name
                );
                lacks.push(lack("net.ipv4.ip_local_port_range", text));
            }
        }
    }
    let ports = |realm: &super::Realm| u64::try_from(realm.ports.len()).unwrap_or(u64::MAX);
    let pinholes = config.realms.iter().map(ports).sum::<u64>();
    let most = u64::try_from(config.pinholes.saturating_mul(config.threads)).unwrap_or(u64::MAX);
    let needed = pinholes.min(most).saturating_mul(2);
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < needed) {
        let text = format!(
            "{limit} descriptors are allowed; as many pinholes as there are ports take up to {needed}"
        );
        lacks.push(lack("descriptors", text));
    }
    lacks
}

/// Whether a port is in a list as the kernel writes it: `2855,30000-39999`. Such ports are given to who asks for them only.
fn is_reserved(list: &str, port: u16) -> bool {
    list.trim().split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&port),
            _ => false,
        }
    })
}

fn local_ports() -> Option<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = text.split_whitespace().map_while(|port| port.parse().ok());
    Some((ports.next()?, ports.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Realm;

    fn of(ports: std::ops::RangeInclusive<u16>, pinholes: usize) -> Vec<Shortcoming> {
        let realm = Realm { name: "access".into(), ports, ..Realm::default() };
        shortcomings(&EngineConfig { realms: vec![realm], pinholes, ..EngineConfig::default() })
    }

    #[test]
    fn ports_that_the_host_gives_to_any_program_are_complained_about() {
        let Some((first, last)) = local_ports() else { return };
        let about_ports =
            |lacks: Vec<Shortcoming>| lacks.iter().any(|lack| lack.setting.ends_with("ip_local_port_range"));
        assert!(about_ports(of(last..=last, 1)));
        assert!(!about_ports(of(1..=first - 1, 1)));
    }

    #[test]
    fn ports_that_are_reserved_are_given_to_nobody_else() {
        let list = "2855,30000-30009\n";
        let reserved = [2855, 30000, 30009, 2854, 30010].map(|port| is_reserved(list, port));
        assert_eq!(reserved, [true, true, true, false, false]);
        assert!(!is_reserved("\n", 0));
    }

    #[test]
    fn more_pinholes_than_descriptors_are_complained_about() {
        let about_descriptors =
            |lacks: Vec<Shortcoming>| lacks.iter().any(|lack| lack.setting == "descriptors");
        assert!(!about_descriptors(of(1..=9, 9)));
        let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < 100_000) else {
            return;
        };
        assert!(about_descriptors(of(1..=u16::MAX, usize::try_from(limit).unwrap())));
    }

    #[test]
    fn some_descriptors_are_kept() {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!((most_open() as u64) < limit);
    }
}
