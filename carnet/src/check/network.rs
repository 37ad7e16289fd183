//! What the roles themselves would stumble over when they start, or at every call: URIs,
//! certificates, the file of users, sockets and ports that two of them want, realms and addresses
//! that a gateway in the same file does not have.

use super::place::{Source, wrong};
use crate::kms;
use crate::roles::{conference, control, steering, tap, tls, token};
use carnet_ops::config::Spanned;
use carnet_ops::config::{
    AuthenticationSection, BorderRole, BorderSection, ConferenceSection, Config, ConfigError, ControlProto,
    ControlTlsSection, GatewayRole, GatewaySection, IpVersion, NgProto, NgSection, Proto, RegistrarMode,
    RelaySection, TlsSection,
};
use carnet_sip::{Scheme, Transport, Uri};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;

type Checked = Result<(), Box<ConfigError>>;

/// The first thing that would keep one of the roles from starting.
pub fn check(source: &Source<'_>, config: &Config) -> Checked {
    carnet_ops::log::check(&config.log.level)
        .map_err(|e| source.complain(&["log", "level"], &format!("not a filter for the log: {e}")))?;
    #[cfg(not(feature = "otel"))]
    if config.otel.is_some() {
        let missing = "this program was built without otel: it sends no traces (cargo build --features otel)";
        return Err(source.complain_key("otel", missing));
    }
    #[cfg(feature = "otel")]
    if let Some(section) = &config.otel {
        crate::otel::check(section.as_ref()).map_err(|e| source.complain(&["otel"], &e))?;
    }
    for (name, border) in &config.border {
        let settings = border.as_ref().control.as_ref();
        let path = |key| vec!["border", name, "control", key];
        check_control_tls(source, &path("tls"), settings.tls.as_ref(), None, &settings.gateways)?;
        check_authentication(source, &path("authentication"), settings.authentication.as_ref())?;
        check_border(source, name, border.as_ref())?;
        check_media(source, config, name, border.as_ref())?;
    }
    for (name, server) in &config.conference {
        let settings = server.as_ref().control.as_ref();
        let path = |key| vec!["conference", name, "control", key];
        check_control_tls(source, &path("tls"), settings.tls.as_ref(), None, &settings.gateways)?;
        check_authentication(source, &path("authentication"), settings.authentication.as_ref())?;
        check_conference(source, config, name, server.as_ref())?;
    }
    for (name, gateway) in &config.gateway {
        let settings = gateway.as_ref();
        let owners = settings.owners(name);
        let controllers: Vec<_> = owners.iter().map(|owner| owner.name().to_owned()).collect();
        let path = |key| vec!["gateway", name, key];
        let own = Some(name.as_str());
        check_control_tls(source, &path("control-tls"), settings.control_tls.as_ref(), own, &controllers)?;
        let authentication = settings.control_authentication.as_ref();
        check_authentication(source, &path("control-authentication"), authentication)?;
        check_gateway(source, name, gateway.as_ref())?;
        if let Some(ng) = &settings.ng {
            check_ng(source, name, settings, ng.as_ref())?;
        }
    }
    check_ports(source, config)?;
    if let Some(section) = &config.kms {
        let section = section.as_ref();
        kms::identity(&section.name).map_err(|e| source.complain(&["kms", "name"], &e.to_string()))?;
        if let Some(section) = &section.tls {
            check_tls(source, &["kms", "tls"], section)?;
        }
    }
    if let Some(admin) = &config.admin {
        let admin = admin.as_ref();
        if let Some(path) = &admin.token_file {
            token::read(path.as_ref()).map_err(|e| source.complain(&["admin", "token-file"], &e))?;
        }
        for node in &admin.nodes {
            let at = |why: String| {
                source.complain(&["admin", "nodes"], &format!("`{}`: {why}", node.as_ref().name.as_ref()))
            };
            crate::node::of_entry(node.as_ref()).map_err(at)?;
        }
        if let Some(section) = &admin.tls {
            check_tls(source, &["admin", "tls"], section.as_ref())?;
        }
    }
    if let Some(records) = &config.records {
        let directory = records.file.parent().filter(|directory| !directory.as_os_str().is_empty());
        if !directory.is_none_or(Path::is_dir) {
            let what = format!("there is no directory for {}", records.file.display());
            return Err(source.complain(&["records", "file"], &what));
        }
    }
    if let Some(hep) = &config.hep {
        tap::hep_context(hep).map_err(|e| source.complain(&["hep", "tls"], &e))?;
    }
    if let Some(path) = config.hep.as_ref().and_then(|hep| hep.password_file.as_ref()) {
        let password = tap::password(path.as_ref());
        password.map_err(|e| source.complain(&["hep", "password-file"], &e))?;
    }
    if source.top().any(|(name, _)| name == "trace") && config.admin.is_none() {
        let what = "nobody could ask for what is kept: add [admin] with `socket` or `listen`";
        return Err(source.complain(&["trace"], what));
    }
    check_sockets(source, config)
}

fn check_border(source: &Source<'_>, name: &str, border: &BorderSection) -> Checked {
    let uri = |text: &str, path: &[&str]| {
        let path = [&["border", name], path].concat();
        let complain = |message: String| source.complain(&path, &message);
        let uri = Uri::parse(text).map_err(|e| complain(format!("`{text}` is not a SIP URI: {e}")))?;
        let transport = match uri.param("transport") {
            Some(word) => Transport::parse(word)
                .ok_or_else(|| complain(format!("`{word}` is not a transport: udp, tcp or tls")))?,
            None => Transport::Udp,
        };
        if border.tls.is_none() && (transport == Transport::Tls || uri.scheme() == Scheme::Sips) {
            return Err(complain(format!("TLS needs [border.{name}.tls] with certificate and key")));
        }
        Ok(())
    };
    if border.policy.max_calls == 0 {
        return Err(source.complain(&["border", name, "policy", "max-calls"], "no call would be taken"));
    }
    let user = format!("sip:user@{}", border.domain);
    Uri::parse(&user).map_err(|_| {
        let message = format!("`{}` is not a domain", border.domain);
        source.complain(&["border", name, "domain"], &message)
    })?;
    for (network, section) in &border.network {
        if let Some(contact) = &section.as_ref().contact {
            uri(contact, &["network", network, "contact"])?;
        }
    }
    for (index, route) in border.route.iter().enumerate() {
        if let Some(hop) = &route.as_ref().next_hop {
            uri(hop, &["route", &index.to_string(), "next-hop"])?;
        }
    }
    if let Some(registrar) = &border.registrar {
        let registrar = registrar.as_ref();
        match (registrar.mode, &registrar.users, &registrar.next_hop) {
            (RegistrarMode::BuiltIn, Some(users), _) => check_users(users.as_ref(), &border.domain)?,
            (RegistrarMode::Forward, _, Some(hop)) => uri(hop, &["registrar", "next-hop"])?,
            _ => {}
        }
    }
    border.tls.as_ref().map_or(Ok(()), |section| check_tls(source, &["border", name, "tls"], section))
}

/// A gateway in the same file has what the border will ask it for.
fn check_media(source: &Source<'_>, config: &Config, name: &str, border: &BorderSection) -> Checked {
    let gateways = border.control.as_ref().gateways.iter().enumerate();
    for (index, gateway) in gateways {
        let Some(section) = config.gateway.get(gateway) else { continue };
        let section = section.as_ref();
        let pair = (border.role, section.role);
        if !matches!(pair, (BorderRole::ImsAlg, GatewayRole::ImsAgw) | (BorderRole::Ibcf, GatewayRole::Trgw))
        {
            let path = ["border", name, "control", "gateways", &index.to_string()];
            return Err(source.complain(&path, "an IMS-ALG controls IMS-AGWs, an IBCF controls TrGWs"));
        }
        for (network, settings) in &border.network {
            let settings = settings.as_ref();
            let realm = settings.realm.as_ref().unwrap_or(network);
            let Some(addresses) = section.realm.get(realm) else {
                let message = format!("gateway `{gateway}` has no realm `{realm}`");
                return Err(source.complain(&["border", name, "network", network, "realm"], &message));
            };
            let v6 = match settings.media {
                Some(version) => version == IpVersion::V6,
                None => settings.listen.as_ref().first().is_some_and(|bind| bind.address.is_ipv6()),
            };
            let addresses = addresses.as_ref();
            if (v6 && addresses.v6.is_none()) || (!v6 && addresses.v4.is_none()) {
                let version = if v6 { "IPv6" } else { "IPv4" };
                let message = format!("gateway `{gateway}` has no {version} address in realm `{realm}`");
                return Err(source.complain(&["border", name, "network", network, "media"], &message));
            }
        }
    }
    Ok(())
}

/// A conference server can be made of it, and a gateway in the same file has its realm.
fn check_conference(source: &Source<'_>, config: &Config, name: &str, server: &ConferenceSection) -> Checked {
    if let Some(section) = &server.tls {
        check_tls(source, &["conference", name, "tls"], section)?;
    }
    conference::check(name, config, server).map_err(|wrong| {
        let path = wrong.path.iter().map(String::as_str);
        let path: Vec<_> = ["conference", name].into_iter().chain(path).collect();
        source.complain(&path, &wrong.what)
    })?;
    for gateway in &server.control.as_ref().gateways {
        let Some(section) = config.gateway.get(gateway) else { continue };
        if !section.as_ref().realm.contains_key(&server.realm) {
            let message = format!("gateway `{gateway}` has no realm `{}`", server.realm);
            return Err(source.complain(&["conference", name, "realm"], &message));
        }
    }
    Ok(())
}

fn check_gateway(source: &Source<'_>, name: &str, gateway: &GatewaySection) -> Checked {
    if gateway.max_contexts == 0 {
        return Err(source.complain(&["gateway", name, "max-contexts"], "no media would be taken"));
    }
    for (realm, section) in &gateway.realm {
        let section = section.as_ref();
        let any = |key: &str| {
            let path = ["gateway", name, "realm", realm, key];
            Err(source.complain(&path, "media needs the address of this host in the realm"))
        };
        if section.v4.is_some_and(|ip| ip.is_unspecified()) {
            return any("v4");
        }
        if section.v6.is_some_and(|ip| ip.is_unspecified()) {
            return any("v6");
        }
        if let (Some(certificate), Some(key)) = (&section.certificate, &section.key) {
            let path = ["gateway", name, "realm", realm, "certificate"];
            tls::from_files(certificate.as_ref(), key.as_ref()).map_err(|e| source.complain(&path, &e))?;
        }
    }
    gateway.relay.as_ref().map_or(Ok(()), |relay| check_relay(source, name, gateway, relay.as_ref()))
}

/// A relay can be made of it, and gets no port that the gateway gives out.
fn check_relay(source: &Source<'_>, name: &str, gateway: &GatewaySection, relay: &RelaySection) -> Checked {
    let path = |key: &'static str| ["gateway", name, "relay", key];
    let user = format!("sip:user@{}", relay.domain);
    Uri::parse(&user)
        .map_err(|_| source.complain(&path("domain"), &format!("`{}` is not a domain", relay.domain)))?;
    check_users(relay.users.as_ref(), &relay.domain)?;
    if let Some(section) = &relay.tls {
        check_tls(source, &path("tls"), section)?;
    }
    let taken = relay.listen.as_ref().iter().find_map(|bind| given_out(gateway, bind.address));
    taken.map_or(Ok(()), |message| Err(source.complain(&path("listen"), &message)))
}

/// SIP servers can ask it, and no port that it gives out is where they do.
fn check_ng(source: &Source<'_>, name: &str, gateway: &GatewaySection, ng: &NgSection) -> Checked {
    for (index, bind) in ng.listen.as_ref().iter().enumerate() {
        let bind = bind.as_ref();
        if let Some(message) = given_out(gateway, bind.address).filter(|_| bind.proto != NgProto::Udp) {
            return Err(source.complain(&["gateway", name, "ng", "listen", &index.to_string()], &message));
        }
    }
    steering::check(ng)
        .map_err(|(key, what)| source.complain(&[&["gateway", name, "ng"], &key[..]].concat(), &what))
}

/// What is said of a TCP port that a gateway gives out itself.
fn given_out(gateway: &GatewaySection, address: SocketAddr) -> Option<String> {
    let (ip, port) = (address.ip(), address.port());
    gateway.realm.iter().find_map(|(realm, section)| {
        let section = section.as_ref();
        let own = [section.v4.map(IpAddr::from), section.v6.map(IpAddr::from)];
        let meets = own.into_iter().flatten().any(|own| own == ip || ip.is_unspecified());
        let message = || format!("the gateway gives out port {port} in realm `{realm}`");
        (meets && section.ports.0.contains(&port)).then(message)
    })
}

/// No two gateways give out the same ports of one address.
fn check_ports(source: &Source<'_>, config: &Config) -> Checked {
    let mut taken: Vec<(IpAddr, &RangeInclusive<u16>, &str)> = Vec::new();
    for (name, gateway) in &config.gateway {
        for (realm, section) in &gateway.as_ref().realm {
            let section = section.as_ref();
            let ports = &section.ports.0;
            let addresses = [section.v4.map(IpAddr::from), section.v6.map(IpAddr::from)];
            for ip in addresses.into_iter().flatten() {
                let other = taken.iter().find(|(other, theirs, owner)| {
                    *other == ip
                        && *owner != name
                        && theirs.start() <= ports.end()
                        && ports.start() <= theirs.end()
                });
                if let Some((.., owner)) = other {
                    let message = format!("gateway `{owner}` gives out ports of {ip} too");
                    return Err(source.complain(&["gateway", name, "realm", realm, "ports"], &message));
                }
                taken.push((ip, ports, name));
            }
        }
    }
    Ok(())
}

/// Points into the file of users, where the mistake is, and shows no password.
fn check_users(path: &Path, domain: &str) -> Checked {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| Box::new(ConfigError::Unreadable { path: name.clone(), source }))?;
    let help = || Some("a line is NAME = \"PASSWORD\"".to_owned());
    let complain = |at, message: &str| wrong(&name, &covered(&text), at, message, help());
    let read = |e: toml::de::Error| complain(e.span().unwrap_or(0..0), "not a line of a list of users");
    toml::from_str::<BTreeMap<String, String>>(&text).map_err(read)?;
    for (user, at) in Source::parse(&name, &text)?.top() {
        if Uri::parse(&format!("sip:{user}@{domain}")).is_err() {
            return Err(complain(at, &format!("`{user}` cannot be the user part of a SIP URI")));
        }
    }
    Ok(())
}

/// The text with all that follows a `=` covered, each octet by one.
fn covered(text: &str) -> String {
    let cover = |line: &str| match line.split_once('=') {
        Some((name, rest)) => format!("{name}={}", "*".repeat(rest.len())),
        None => "*".repeat(line.len()),
    };
    text.split('\n').map(cover).collect::<Vec<_>>().join("\n")
}

fn check_tls(source: &Source<'_>, path: &[&str], section: &TlsSection) -> Checked {
    let complain = |key: &str, e: String| source.complain(&[path, &[key]].concat(), &e);
    tls::credential(section).map_err(|e| complain("certificate", e))?;
    // Only what the authorities could have wrong is left.
    tls::sip(section).map(drop).map_err(|e| complain("ca", e))
}

/// The files of `control.tls` hold what they should.
fn check_control_tls(
    source: &Source<'_>,
    path: &[&str],
    section: Option<&Spanned<ControlTlsSection>>,
    own: Option<&str>,
    peers: &[String],
) -> Checked {
    let Some(section) = section.map(|section| section.as_ref()) else { return Ok(()) };
    let complain = |wrong: control::Wrong| source.complain(&[path, &[wrong.key]].concat(), &wrong.what);
    control::tls(section, own, peers).map(drop).map_err(complain)
}

/// So do those of `control.authentication`.
fn check_authentication(
    source: &Source<'_>,
    path: &[&str],
    section: Option<&Spanned<AuthenticationSection>>,
) -> Checked {
    let Some(section) = section else { return Ok(()) };
    let complain = |e: String| source.complain(&[path, &["keys"]].concat(), &e);
    control::authentication(section.as_ref()).map(drop).map_err(complain)
}

/// No two sockets at one address.
fn check_sockets(source: &Source<'_>, config: &Config) -> Checked {
    let mut taken = BTreeMap::new();
    let mut take = |datagrams: bool, address, path: &[&str]| {
        let other = taken.insert((datagrams, address), path.join("."));
        other.map_or(Ok(()), |other| {
            Err(source.complain(path, &format!("{address} is taken by `{other}` already")))
        })
    };
    for (name, border) in &config.border {
        let border = border.as_ref();
        for (network, section) in &border.network {
            for (index, bind) in section.as_ref().listen.as_ref().iter().enumerate() {
                let path = ["border", name, "network", network, "listen", &index.to_string()];
                take(bind.proto == Proto::Udp, bind.address, &path)?;
            }
        }
        for (index, bind) in border.control.as_ref().listen.iter().enumerate() {
            let path = ["border", name, "control", "listen", &index.to_string()];
            let bind = bind.as_ref();
            if bind.proto != ControlProto::Sctp {
                take(bind.proto == ControlProto::Udp, bind.address, &path)?;
            }
        }
    }
    for (name, server) in &config.conference {
        let server = server.as_ref();
        for (index, bind) in server.listen.as_ref().iter().enumerate() {
            let path = ["conference", name, "listen", &index.to_string()];
            take(bind.proto == Proto::Udp, bind.address, &path)?;
        }
        for (index, bind) in server.control.as_ref().listen.iter().enumerate() {
            let path = ["conference", name, "control", "listen", &index.to_string()];
            let bind = bind.as_ref();
            if bind.proto != ControlProto::Sctp {
                take(bind.proto == ControlProto::Udp, bind.address, &path)?;
            }
        }
    }
    for (name, gateway) in &config.gateway {
        let relay = gateway.as_ref().relay.as_ref().map(|relay| relay.as_ref().listen.as_ref());
        for (index, bind) in relay.into_iter().flatten().enumerate() {
            take(false, bind.address, &["gateway", name, "relay", "listen", &index.to_string()])?;
        }
        let ng = gateway.as_ref().ng.as_ref().map(|ng| ng.as_ref().listen.as_ref());
        for (index, bind) in ng.into_iter().flatten().enumerate() {
            let (bind, path) = (bind.as_ref(), ["gateway", name, "ng", "listen", &index.to_string()]);
            // Port 0 is another one each time.
            if bind.address.port() != 0 {
                take(bind.proto == NgProto::Udp, bind.address, &path)?;
            }
        }
    }
    let admin = config.admin.as_ref().and_then(|admin| admin.as_ref().listen.as_ref());
    admin.map_or(Ok(()), |listen| take(false, *listen.as_ref(), &["admin", "listen"]))?;
    config.kms.as_ref().map_or(Ok(()), |kms| take(false, kms.as_ref().listen.0, &["kms", "listen"]))
}
