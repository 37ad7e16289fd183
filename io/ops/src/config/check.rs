//! What the format alone cannot say: names that must exist, files that must be there, settings
//! that exclude each other.

use super::address::Proto;
use super::model::{BorderRole, BorderSection, Config, RegistrarMode, TlsSection};
use super::{Complaint, control, edge, gateway, state};
use crate::config::Spanned;
use std::path::PathBuf;

pub(super) type Checked = Result<(), Complaint>;

/// The first thing that would keep this configuration from working.
pub(super) fn check(config: &Config) -> Checked {
    let empty = config.border.is_empty() && config.gateway.is_empty() && config.conference.is_empty();
    // One that asks others and shows them has enough to do.
    let asks = config.admin.as_ref().is_some_and(|admin| !admin.as_ref().nodes.is_empty());
    if empty && config.kms.is_none() && !asks {
        return Err(Complaint::new(0..0, "the file starts nothing")
            .help("add a [border.NAME], [conference.NAME], [gateway.NAME] or [kms] section"));
    }
    for (name, section) in &config.gateway {
        gateway::check(config, name, section)?;
    }
    for (name, border) in &config.border {
        check_border(config, name, border)?;
    }
    for (name, conference) in &config.conference {
        super::conference::check(config, name, conference)?;
    }
    if let Some(admin) = &config.admin {
        super::admin::check(admin)?;
    }
    config.records.as_ref().map_or(Ok(()), super::admin::check_records)?;
    super::trace::check_trace(&config.trace)?;
    config.hep.as_ref().map_or(Ok(()), super::trace::check_hep)?;
    config.otel.as_ref().map_or(Ok(()), |otel| super::otel::check(otel.as_ref()))?;
    match &config.kms {
        Some(kms) => super::kms::check(kms),
        None => Ok(()),
    }
}

fn check_border(config: &Config, name: &str, section: &Spanned<BorderSection>) -> Checked {
    let border = section.as_ref();
    check_networks(name, section)?;
    edge::check(section)?;
    state::check(border)?;
    match (&border.registrar, border.role) {
        (Some(registrar), BorderRole::Ibcf) => {
            return Err(Complaint::new(registrar.span(), "an IBCF has no subscribers to register"));
        }
        (None, BorderRole::ImsAlg) => {
            return Err(Complaint::new(
                section.span(),
                format!("border `{name}` does not say where users register"),
            )
            .help(format!("add [border.{name}.registrar] with mode = \"built-in\" or \"forward\"")));
        }
        (Some(registrar), BorderRole::ImsAlg) => {
            let at = registrar.span();
            let registrar = registrar.as_ref();
            if !(1..=64).contains(&registrar.contacts) {
                return Err(Complaint::new(at, "`contacts` is 1 to 64"));
            }
            if registrar.digest.is_empty() {
                return Err(Complaint::new(at, "`digest` names no algorithm"));
            }
            match (registrar.mode, &registrar.users, &registrar.next_hop) {
                (RegistrarMode::BuiltIn, None, _) => {
                    return Err(Complaint::new(at, "a built-in registrar needs `users`"));
                }
                (RegistrarMode::Forward, _, None) => {
                    return Err(Complaint::new(at, "forwarding REGISTER needs `next-hop`"));
                }
                (RegistrarMode::BuiltIn, Some(users), _) => must_be_a_file(users)?,
                (RegistrarMode::Forward, _, Some(_)) => match &registrar.network {
                    Some(network) => must_be_a_network(border, network)?,
                    None => return Err(Complaint::new(at, "forwarding REGISTER needs `network`")),
                },
            }
        }
        (None, BorderRole::Ibcf) => {}
    }
    control::check_controller(config, "border", name, &border.control)
}

fn check_networks(name: &str, section: &Spanned<BorderSection>) -> Checked {
    let border = section.as_ref();
    if border.network.is_empty() {
        return Err(Complaint::new(section.span(), format!("border `{name}` stands in no network")));
    }
    for (network, this) in &border.network {
        let (at, this) = (this.span(), this.as_ref());
        if this.listen.as_ref().is_empty() {
            return Err(Complaint::new(
                this.listen.span(),
                format!("border `{name}` listens nowhere in `{network}`"),
            ));
        }
        if this.contact.is_none()
            && this.listen.as_ref().iter().any(|bind| bind.address.ip().is_unspecified())
        {
            return Err(Complaint::new(this.listen.span(), "others cannot answer to this address")
                .help("name the address of this host in this network, or set `contact`"));
        }
        if border.tls.is_none() && this.listen.as_ref().iter().any(|bind| bind.proto == Proto::Tls) {
            return Err(Complaint::new(this.listen.span(), "a `tls:` socket needs a certificate")
                .help(format!("add [border.{name}.tls] with certificate and key")));
        }
        if this.subscribers && border.role == BorderRole::Ibcf {
            return Err(Complaint::new(at, "an IBCF has no subscribers"));
        }
        if this.dscp.is_some_and(|dscp| dscp > 63) {
            return Err(Complaint::new(at, "`dscp` is 0 to 63"));
        }
    }
    if border.role == BorderRole::ImsAlg && !border.network.values().any(|n| n.as_ref().subscribers) {
        return Err(Complaint::new(
            section.span(),
            format!("no network of border `{name}` has subscribers = true"),
        ));
    }
    for route in &border.route {
        let span = route.span();
        let route = route.as_ref();
        must_be_a_network(border, &route.network)?;
        if route.domain.contains(':') && route.next_hop.is_none() {
            return Err(Complaint::new(span, format!("a route for `{}` needs `next-hop`", route.domain)));
        }
    }
    border.tls.as_ref().map_or(Ok(()), check_tls)
}

fn must_be_a_network(border: &BorderSection, network: &Spanned<String>) -> Checked {
    if border.network.contains_key(network.as_ref()) {
        return Ok(());
    }
    Err(Complaint::new(network.span(), format!("this border stands in no network `{}`", network.as_ref())))
}

pub(super) fn check_tls(tls: &TlsSection) -> Checked {
    must_be_a_file(&tls.certificate)?;
    must_be_a_file(&tls.key)?;
    tls.ca.as_ref().map_or(Ok(()), must_be_a_file)
}

pub(super) fn must_be_a_file(path: &Spanned<PathBuf>) -> Checked {
    if path.as_ref().is_file() {
        return Ok(());
    }
    if let Some((message, help)) = super::credential::missing(path.as_ref()) {
        return Err(Complaint::new(path.span(), message).help(help));
    }
    Err(Complaint::new(path.span(), format!("there is no file {}", path.as_ref().display())))
}
