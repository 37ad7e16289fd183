//! What the roles themselves would stumble over when they start: URIs, certificates, the file of
//! users, sockets that two of them want.

use super::place::{Source, wrong};
use crate::kms;
use crate::roles::tls;
use carnet_ops::config::{BorderSection, Config, ConfigError, Proto, RegistrarMode, TlsSection};
use carnet_sip::Uri;
use std::collections::BTreeMap;
use std::path::Path;

type Checked = Result<(), Box<ConfigError>>;

/// The first thing that would keep one of the roles from starting.
pub fn check(source: &Source<'_>, config: &Config) -> Checked {
    carnet_ops::log::check(&config.log.level)
        .map_err(|e| source.complain(&["log", "level"], &format!("not a filter for the log: {e}")))?;
    for (name, border) in &config.border {
        check_border(source, name, border.as_ref())?;
    }
    if let Some(section) = &config.kms {
        let section = section.as_ref();
        kms::identity(&section.name).map_err(|e| source.complain(&["kms", "name"], &e.to_string()))?;
        if let Some(section) = &section.tls {
            check_tls(source, &["kms", "tls"], section)?;
        }
    }
    check_sockets(source, config)
}

fn check_border(source: &Source<'_>, name: &str, border: &BorderSection) -> Checked {
    let uri = |text: &str, path: &[&str]| {
        let path = [&["border", name], path].concat();
        let fail =
            |e: carnet_wire::ParseError| source.complain(&path, &format!("`{text}` is not a SIP URI: {e}"));
        Uri::parse(text).map(drop).map_err(fail)
    };
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
            take(bind.proto == Proto::Udp, bind.address, &path)?;
        }
    }
    config.kms.as_ref().map_or(Ok(()), |kms| take(false, kms.as_ref().listen.0, &["kms", "listen"]))
}
