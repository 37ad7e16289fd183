//! Addresses and ports: whether this host has them, and who has them already.

use super::report::Report;
use carnet_ops::config::{Config, ControlProto, NgProto, Proto};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

/// A socket that a role will open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    at: String,
    datagrams: bool,
    address: SocketAddr,
}

/// `runs` says that a process with this file is at work: then sockets are to be taken, by it.
pub fn look(config: &Config, runs: bool, report: &mut Report) {
    report.looked("sockets");
    for wanted in all(config) {
        one(&wanted, runs, report);
    }
    subscribers(config, report);
    for (name, gateway) in &config.gateway {
        for (realm, section) in &gateway.as_ref().realm {
            let section = section.as_ref();
            for ip in [section.v4.map(IpAddr::from), section.v6.map(IpAddr::from)].into_iter().flatten() {
                if let Err(error) = TcpListener::bind((ip, 0))
                    && error.kind() == ErrorKind::AddrNotAvailable
                {
                    let at = format!("gateway.{name}.realm.{realm}");
                    report.fault("address-missing", &at, format!("this host has no address {ip}"), add(ip));
                }
            }
        }
    }
}

/// Terminals on the internet find no private address.
fn subscribers(config: &Config, report: &mut Report) {
    for (name, border) in &config.border {
        let border = border.as_ref();
        for (network, section) in border.network.iter().map(|(network, section)| (network, section.as_ref()))
        {
            let realm = section.realm.as_ref().unwrap_or(network);
            if !section.subscribers {
                continue;
            }
            let mut own: Vec<(String, IpAddr)> = Vec::new();
            if section.contact.is_none() {
                let at = format!("border.{name}.network.{network}.listen");
                own.extend(section.listen.as_ref().iter().map(|bind| (at.clone(), bind.address.ip())));
            }
            for gateway in &border.control.as_ref().gateways {
                let there = config.gateway.get(gateway).and_then(|section| section.as_ref().realm.get(realm));
                let ips = there
                    .map(|realm| [realm.as_ref().v4.map(IpAddr::from), realm.as_ref().v6.map(IpAddr::from)]);
                let ips = ips.into_iter().flatten().flatten();
                own.extend(ips.map(|ip| (format!("gateway.{gateway}.realm.{realm}"), ip)));
            }
            for (at, ip) in own.into_iter().filter(|(_, ip)| is_private(*ip)) {
                let what = format!("subscribers are to reach {ip}, which only a private network has");
                let fix = "nothing, if they are all in that network or a VPN; else give this host a public address: \
                           an address that is translated on the way does not work for what stands in messages";
                report.note("address-private", &at, what, fix);
            }
        }
    }
}

/// RFC 1918, RFC 6598, RFC 4193.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64,
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

fn add(ip: IpAddr) -> String {
    format!("give an interface of this host the address (`ip address add {ip}/… dev …`), or correct the file")
}

fn one(wanted: &Wanted, runs: bool, report: &mut Report) {
    let Wanted { at, datagrams, address } = wanted;
    let proto = if *datagrams { "UDP" } else { "TCP" };
    let opened = match datagrams {
        true => UdpSocket::bind(address).map(drop),
        false => TcpListener::bind(address).map(drop),
    };
    match opened.map_err(|error| error.kind()) {
        Ok(()) if runs => {
            let what = format!("the process that runs does not listen at {proto} {address}");
            report.warning("socket-not-open", at, what, "the file was changed since its start: restart it");
        }
        Err(ErrorKind::AddrInUse) if !runs => {
            let owner = match owner(*datagrams, *address) {
                Some(owner) => owner,
                None => "a process that only root can see".to_owned(),
            };
            let what = format!("{proto} {address} is taken by {owner}");
            report.fault("port-taken", at, what, "stop that process, or name another port");
        }
        Err(ErrorKind::AddrNotAvailable) => {
            let what = format!("this host has no address {}", address.ip());
            report.fault("address-missing", at, what, add(address.ip()));
        }
        Err(ErrorKind::PermissionDenied) => {
            let what = format!("the user that runs this may not open {proto} port {}", address.port());
            let fix = "give the service CAP_NET_BIND_SERVICE (AmbientCapabilities= of its unit), or name a port above 1023";
            report.warning("port-privileged", at, what, fix);
        }
        _ => {}
    }
}

/// Every socket of the file with a port of its own; not those of SCTP.
fn all(config: &Config) -> Vec<Wanted> {
    let mut all = Vec::new();
    let mut put = |datagrams, address: SocketAddr, at: String| {
        if address.port() != 0 {
            all.push(Wanted { at, datagrams, address });
        }
    };
    for (name, border) in &config.border {
        for (network, section) in &border.as_ref().network {
            for bind in section.as_ref().listen.as_ref() {
                put(
                    bind.proto == Proto::Udp,
                    bind.address,
                    format!("border.{name}.network.{network}.listen"),
                );
            }
        }
    }
    for (name, server) in &config.conference {
        for bind in server.as_ref().listen.as_ref() {
            put(bind.proto == Proto::Udp, bind.address, format!("conference.{name}.listen"));
        }
    }
    let borders =
        config.border.iter().map(|(name, section)| (format!("border.{name}"), &section.as_ref().control));
    let servers = config
        .conference
        .iter()
        .map(|(name, section)| (format!("conference.{name}"), &section.as_ref().control));
    for (at, control) in borders.chain(servers) {
        for bind in control.as_ref().listen.iter().map(|bind| bind.as_ref()) {
            if bind.proto != ControlProto::Sctp {
                put(bind.proto == ControlProto::Udp, bind.address, format!("{at}.control.listen"));
            }
        }
    }
    for (name, gateway) in &config.gateway {
        let gateway = gateway.as_ref();
        for bind in gateway.relay.iter().flat_map(|relay| relay.as_ref().listen.as_ref()) {
            put(false, bind.address, format!("gateway.{name}.relay.listen"));
        }
        for bind in gateway.ng.iter().flat_map(|ng| ng.as_ref().listen.as_ref()).map(|bind| bind.as_ref()) {
            put(bind.proto == NgProto::Udp, bind.address, format!("gateway.{name}.ng.listen"));
        }
    }
    if let Some(kms) = &config.kms {
        put(false, kms.as_ref().listen.0, "kms.listen".into());
    }
    if let Some(listen) = config.admin.as_ref().and_then(|admin| admin.as_ref().listen.as_ref()) {
        put(false, *listen.as_ref(), "admin.listen".into());
    }
    all
}

/// Who has a port, by its name and number; `None` where that cannot be seen.
fn owner(datagrams: bool, address: SocketAddr) -> Option<String> {
    let tables = if datagrams { ["udp", "udp6"] } else { ["tcp", "tcp6"] };
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).ok())
        .flat_map(|text| text.lines().filter_map(|line| entry(line, datagrams, address)).collect::<Vec<_>>())
        .collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let mut open = open.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        if open.any(|link| links.iter().any(|wanted| link.as_os_str() == wanted.as_str())) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

/// The inode of a line of `/proc/net/tcp` and the like, if that socket is in the way.
fn entry(line: &str, datagrams: bool, wanted: SocketAddr) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let listens = datagrams || *fields.get(3)? == "0A";
    let ip = ip_of(address)?;
    let meets = ip == wanted.ip() || ip.is_unspecified() || wanted.ip().is_unspecified();
    let same = u16::from_str_radix(port, 16).ok()? == wanted.port();
    (listens && meets && same).then(|| fields.get(9)?.parse().ok()).flatten()
}

/// An address as the kernel writes it: words of four octets, each as the processor has it.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let words: Option<Vec<[u8; 4]>> = (0..hex.len() / 8)
        .map(|n| Some(u32::from_str_radix(hex.get(n * 8..n * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    let octets = words?.concat();
    match octets.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_on_the_internet_find_no_private_address() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("users"), "").unwrap();
        let text = "[border.a]\nrole = \"ims-alg\"\ndomain = \"a\"\ncontrol = { gateways = [\"g\"] }\n\
            registrar = { mode = \"built-in\", users = \"users\" }\n\
            [border.a.network.n]\nlisten = [\"udp:100.64.0.1:5060\"]\nsubscribers = true\n\
            [border.a.network.core]\nlisten = [\"udp:10.0.0.1:5060\"]\n\
            [gateway.g]\nrole = \"ims-agw\"\ncontrollers = [\"local:a\"]\n\
            [gateway.g.realm.n]\nv4 = \"192.168.0.1\"\nv6 = \"2001:db8::1\"\nports = \"1-9\"\n";
        let config = carnet_ops::config::parse("x", text.into(), directory.path()).unwrap();
        let mut report = Report::default();
        subscribers(&config, &mut report);
        let found: Vec<_> = report.findings.iter().map(|finding| finding.at.as_str()).collect();
        assert_eq!(found, ["border.a.network.n.listen", "gateway.g.realm.n"]);
    }

    #[test]
    fn one_who_listens_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        let us = std::process::id().to_string();
        for (datagrams, address) in
            [(false, listener.local_addr().unwrap()), (true, socket.local_addr().unwrap())]
        {
            assert!(owner(datagrams, address).is_some_and(|owner| owner.contains(&us)), "{address}");
        }
        assert_eq!(owner(false, "127.0.0.1:1".parse().unwrap()), None);
    }
}
