//! What is wrong with the control of a border or a gateway.

use super::address::{ControlAddress, ControlProto};
use super::{AuthenticationSection, ControlSection, ControlTlsSection};
use crate::config::Complaint;
use crate::config::Spanned;
use crate::config::check::{Checked, must_be_a_file};
use crate::config::gateway::{GatewayRole, GatewaySection};
use crate::config::model::Config;
use std::net::SocketAddr;
use std::ops::Range;

/// A way in or out, and where it is written.
type Way = (ControlProto, Option<SocketAddr>, Range<usize>);

/// `kind` is what the controller is: a `border` or a `conference` server.
pub(in crate::config) fn check_controller(
    config: &Config,
    kind: &str,
    name: &str,
    section: &Spanned<ControlSection>,
) -> Checked {
    let at = section.span();
    let control = section.as_ref();
    if control.gateways.is_empty() {
        return Err(Complaint::new(at, format!("{kind} `{name}` owns no gateway")));
    }
    for (gateway, peers) in &control.peers {
        let message = if !control.gateways.contains(gateway) {
            format!("{kind} `{name}` does not own a gateway `{gateway}`")
        } else if peers.as_ref().is_empty() {
            format!("no address may speak for gateway `{gateway}`")
        } else {
            continue;
        };
        return Err(Complaint::new(peers.span(), message));
    }
    check_gateways(kind, name, control)?;
    let local = |gateway: &String| {
        config.gateway.get(gateway).is_some_and(|g| {
            g.as_ref().controllers.as_ref().contains(&ControlAddress::Local(name.to_owned()))
        })
    };
    if control.listen.is_empty() && !control.gateways.iter().any(local) {
        return Err(Complaint::new(at, format!("no gateway can reach {kind} `{name}`"))
            .help("add `listen`, or a [gateway.NAME] in this file with controllers = [\"local:…\"]"));
    }
    let ways: Vec<Way> = control
        .listen
        .iter()
        .map(|bind| (bind.as_ref().proto, Some(bind.as_ref().address), bind.span()))
        .collect();
    let udp = |(proto, ..): &&Way| *proto == ControlProto::Udp;
    if let Some((.., at)) = ways.iter().find(udp)
        && ways.iter().any(|way| !udp(&way))
    {
        return Err(Complaint::new(
            at.clone(),
            "a controller listens for gateways on `udp:` or on connections (`tcp:`, `tls:`, `sctp:`), not both",
        ));
    }
    let table = format!("[{kind}.{name}.control.tls]");
    check_tls(control.tls.as_ref(), &ways, &table, &control.gateways)?;
    if let Some(psk) = control.tls.as_ref().filter(|tls| tls.as_ref().psk_identity.is_some()) {
        return Err(Complaint::new(psk.span(), "a controller shows no key: `psk-identity` is for gateways"));
    }
    check_datagram("datagram", control.datagram.as_ref())?;
    check_authentication(control.authentication.as_ref(), &ways, &control.gateways)
}

/// What is said of single gateways.
fn check_gateways(kind: &str, name: &str, control: &ControlSection) -> Checked {
    let profiles = control.profiles.iter().map(|(gateway, value)| (gateway, value.span()));
    let weights = control.weights.iter().map(|(gateway, value)| (gateway, value.span()));
    let transports = control.pass_through_transport.iter().map(|(gateway, value)| (gateway, value.span()));
    for (gateway, at) in profiles.chain(weights).chain(transports) {
        if !control.gateways.contains(gateway) {
            return Err(Complaint::new(at, format!("{kind} `{name}` does not own a gateway `{gateway}`")));
        }
    }
    for (gateway, profiles) in &control.profiles {
        if profiles.as_ref().is_empty() {
            let message = format!("gateway `{gateway}` could not register: no profile would do");
            return Err(
                Complaint::new(profiles.span(), message).help("write [\"any\"] to take every profile")
            );
        }
    }
    if let Some((gateway, weight)) = control.weights.iter().find(|(_, w)| *w.as_ref() == 0) {
        let message = format!("gateway `{gateway}` would never be used");
        return Err(Complaint::new(weight.span(), message)
            .help("a weight is 1 or more; leave the gateway out of `gateways` to do without it"));
    }
    if let Some(alternate) = control.alternate.as_ref().filter(|a| a.as_ref() == name) {
        return Err(Complaint::new(alternate.span(), "a controller cannot stand in for itself"));
    }
    Ok(())
}

/// What fits into a datagram, and leaves room for what has to be said.
fn check_datagram(key: &str, octets: Option<&Spanned<usize>>) -> Checked {
    match octets.filter(|octets| !(500..=65_507).contains(octets.as_ref())) {
        Some(octets) => Err(Complaint::new(octets.span(), format!("`{key}` is 500 to 65507 octets"))),
        None => Ok(()),
    }
}

pub(in crate::config) fn check_gateway(
    config: &Config,
    name: &str,
    section: &Spanned<GatewaySection>,
) -> Checked {
    let gateway = section.as_ref();
    check_datagram("control-datagram", gateway.control_datagram.as_ref())?;
    if let Some(seconds) = gateway.control_patience.as_ref().filter(|s| !(5..=600).contains(s.as_ref())) {
        // A border sends a heartbeat every 2 s: two may get lost.
        return Err(Complaint::new(seconds.span(), "`control-patience` is 5 to 600 seconds"));
    }
    let at = gateway.controllers.span();
    let controllers = gateway.controllers.as_ref();
    if controllers.is_empty() {
        let at = if at.is_empty() { section.span() } else { at };
        return Err(Complaint::new(at, format!("gateway `{name}` has no controller"))
            .help(format!("add `controllers`, or [gateway.{name}.ng] for SIP servers that steer it")));
    }
    let reliable = controllers.iter().filter(|c| c.is_reliable()).count();
    if reliable > 0 && reliable < controllers.len() {
        return Err(Complaint::new(at, "the controllers of a gateway are all `udp:` or none"));
    }
    for controller in controllers {
        let ControlAddress::Local(owner) = controller else { continue };
        let (kind, control) = match gateway.role {
            GatewayRole::ImsAgw | GatewayRole::Trgw => {
                ("border", config.border.get(owner).map(|section| &section.as_ref().control))
            }
            GatewayRole::Mrfp => {
                ("conference", config.conference.get(owner).map(|section| &section.as_ref().control))
            }
        };
        let Some(control) = control else {
            return Err(Complaint::new(at, format!("there is no {kind} `{owner}` in this file")));
        };
        if !control.as_ref().gateways.iter().any(|g| g == name) {
            let message = format!("{kind} `{owner}` does not list `{name}` among its gateways");
            return Err(Complaint::new(at, message));
        }
    }
    let sources = gateway.control_from.as_ref();
    if let Some(sources) = sources.filter(|sources| sources.as_ref().0.is_empty()) {
        return Err(Complaint::new(sources.span(), "no address to send from"));
    }
    let ways: Vec<Way> = controllers
        .iter()
        .filter_map(|controller| {
            let ControlAddress::Remote { proto, host, port, .. } = controller else { return None };
            let address = match host {
                super::Host::Ip(ip) => Some(SocketAddr::new(*ip, port.unwrap_or(2944))),
                super::Host::Name(_) => None,
            };
            Some((*proto, address, at.clone()))
        })
        .collect();
    let names: Vec<_> = controllers.iter().map(|controller| controller.name().to_owned()).collect();
    check_tls(gateway.control_tls.as_ref(), &ways, &format!("[gateway.{name}.control-tls]"), &names)?;
    check_authentication(gateway.control_authentication.as_ref(), &ways, &names)
}

fn check_tls(
    section: Option<&Spanned<ControlTlsSection>>,
    ways: &[Way],
    table: &str,
    peers: &[String],
) -> Checked {
    let way = ways.iter().find(|(proto, ..)| *proto == ControlProto::Tls);
    let Some(section) = section else {
        return way.map_or(Ok(()), |(.., at)| {
            Err(Complaint::new(at.clone(), "`tls:` needs a certificate or a key")
                .help(format!("add {table} with certificate, key and ca, or with psk")))
        });
    };
    let (at, tls) = (section.span(), section.as_ref());
    if way.is_none() {
        return Err(Complaint::new(at, "nothing here is reached by `tls:`"));
    }
    match (&tls.psk, &tls.certificate, &tls.key, &tls.ca) {
        (Some(psk), None, None, None) => must_be_a_file(psk)?,
        (Some(_), ..) => {
            return Err(Complaint::new(at, "certificates or keys, not both")
                .help("with both, whoever lacks the key would be let in by certificate"));
        }
        (None, Some(certificate), Some(key), Some(ca)) => {
            [certificate, key, ca].into_iter().try_for_each(must_be_a_file)?;
        }
        (None, Some(_), Some(_), None) => {
            return Err(Complaint::new(at, "`ca` does not say who vouches for the other end"));
        }
        _ => return Err(Complaint::new(at, "TLS needs certificate, key and ca, or psk")),
    }
    for (peer, names) in &tls.names {
        if !peers.contains(peer) {
            return Err(Complaint::new(names.span(), format!("nobody here is called `{peer}`")));
        }
        if names.as_ref().is_empty() {
            return Err(Complaint::new(names.span(), format!("nothing would prove that it is `{peer}`")));
        }
    }
    Ok(())
}

fn check_authentication(
    section: Option<&Spanned<AuthenticationSection>>,
    ways: &[Way],
    peers: &[String],
) -> Checked {
    let Some(section) = section else { return Ok(()) };
    let (at, authentication) = (section.span(), section.as_ref());
    let mut open = ways.iter().filter(|(proto, ..)| *proto != ControlProto::Tls).peekable();
    if open.peek().is_none() {
        return Err(Complaint::new(at, "the authentication header is for `udp:`, `tcp:` and `sctp:`"));
    }
    for (_, address, at) in open {
        let Some(address) = address else { continue };
        if address.is_ipv6() && authentication.required {
            return Err(Complaint::new(at.clone(), "there is no authentication header over IPv6")
                .help("RFC 3525 §10.2 leaves IPv6 to IPsec; use `tls:`"));
        }
        if address.ip().is_unspecified() {
            let message = "the authentication header covers the address of this host: name it";
            return Err(Complaint::new(at.clone(), message));
        }
    }
    if authentication.keys.is_empty() {
        return Err(Complaint::new(at, "the authentication header needs `keys`"));
    }
    let mut indexes = Vec::new();
    for (index, key) in &authentication.keys {
        let at = key.span();
        let Some(number) = AuthenticationSection::index(index) else {
            let message =
                format!("`{index}` is not the index of a key: 1 to 4294967295, or 0x and hexadecimal");
            return Err(Complaint::new(at, message));
        };
        if indexes.contains(&number) {
            return Err(Complaint::new(at, format!("there are two keys with index {number}")));
        }
        indexes.push(number);
        let key = key.as_ref();
        must_be_a_file(&key.file)?;
        if let Some(peer) = key.peer.as_ref().filter(|peer| !peers.contains(peer)) {
            return Err(Complaint::new(at, format!("nobody here is called `{peer}`")));
        }
    }
    Ok(())
}
