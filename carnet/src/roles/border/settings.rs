//! From a border's section of the file to what its rules are told.

use crate::roles::{control, profiles, sip_transport};
use carnet_border::{
    Addressing, Caps, Config, Family, Gateway, Limits, Network, Other, Policy, Prefix, Registration, Route,
    Rtpengine, Timers, Transport, User,
};
use carnet_h248::association;
use carnet_h248::{MId, Profile};
use carnet_ops::config::Spanned;
use carnet_ops::config::{
    Addressing as MsrpAddressing, BorderRole, BorderSection, Config as Whole, ControlProto, Digest,
    GatewayRole, IpVersion, NetworkSection, Other as Media, Proto, Redirects, RegistrarMode,
    RegistrarSection, RtpengineSection, Transport248,
};
use carnet_sip::{Algorithm, Password, Uri};
use std::time::Duration;

/// Places that one INVITE may be redirected to.
const REDIRECTS: usize = 5;

fn prefix(of: &carnet_ops::config::Prefix) -> Prefix {
    Prefix { ip: of.ip, bits: of.bits }
}

/// Everything a border is told at its start.
pub fn configure(name: &str, whole: &Whole, section: &BorderSection) -> Result<Config, String> {
    let mut networks = Vec::new();
    for (network, settings) in &section.network {
        networks.push(network_of(section, network, settings.as_ref())?);
    }
    let mut routes = Vec::new();
    for route in section.route.iter().map(|r| r.as_ref()) {
        let hop = route.next_hop.as_deref().map(uri).transpose()?;
        routes.push(Route { domain: route.domain.clone(), network: route.network.as_ref().clone(), hop });
    }
    let registration = match &section.registrar {
        None => Registration::None,
        Some(registrar) => registration_of(&section.domain, registrar.as_ref())?,
    };
    let control = section.control.as_ref();
    let datagrams = control.listen.iter().any(|bind| bind.as_ref().proto == ControlProto::Udp);
    let gateways = control.gateways.iter().map(|gateway| {
        let local = whole.gateway.contains_key(gateway);
        let transport = match (local, datagrams) {
            (true, _) => association::Transport::Channel,
            (false, true) => association::Transport::Datagram,
            (false, false) => association::Transport::Reliable,
        };
        let peers = control.peers.get(gateway).map(|peers| peers.as_ref().as_slice()).unwrap_or_default();
        let mut settings = Gateway::new(gateway.as_str(), MId::domain(gateway.clone()), transport);
        settings.peers = peers.iter().map(prefix).collect();
        settings.profiles = control.profiles.get(gateway).map(|named| profiles(named.as_ref()));
        settings.weight = control.weights.get(gateway).map_or(1, |weight| *weight.as_ref());
        settings.pass_through =
            control.pass_through_transport.get(gateway).map(|named| pass_through(*named.as_ref()));
        settings.association = control::association(
            transport,
            control.encoding,
            control.authentication.is_some(),
            control.datagram.as_ref().map(|octets| *octets.as_ref()),
            control.segments,
        );
        settings
    });
    let policy = &section.policy;
    let registrar = section.registrar.as_ref().map(|r| r.as_ref());
    let (hunt, contacts) = (Timers::default().hunt, Limits::default().contacts);
    let (hunt, contacts) =
        registrar.map_or((hunt, contacts), |r| (Duration::from_secs(r.hunt.into()), r.contacts));
    let seconds = |n: u32| Duration::from_secs(n.into());
    let role = match section.role {
        BorderRole::ImsAlg => GatewayRole::ImsAgw,
        BorderRole::Ibcf => GatewayRole::Trgw,
    };
    let accepted: Vec<Profile> = vec![crate::roles::gateway::profile(role)];
    Ok(Config {
        name: name.to_owned(),
        networks,
        routes,
        registration,
        policy: Policy {
            transport: pass_through(policy.pass_through_transport),
            forward_without_cema: policy.forward_without_cema,
            relay_plain: policy.allow_plain,
            aware: policy.aware,
            other: match policy.other {
                Media::Pass => Other::Pass,
                Media::Refuse => Other::Refuse,
                Media::Rtpengine => Other::Rtpengine,
            },
        },
        gateways: gateways.collect(),
        rtpengine: section.rtpengine.as_ref().map(|r| rtpengine(r.as_ref())),
        profiles: accepted,
        alternate: control.alternate.as_ref().map(|border| MId::domain(border.as_ref().clone())),
        timers: Timers {
            heartbeat: seconds(policy.heartbeat),
            media_return: seconds(policy.media_return),
            hunt,
            inactivity: (policy.inactivity > 0).then(|| seconds(policy.inactivity)),
            gateway_audit: (control.audit > 0).then(|| seconds(control.audit)),
            gateway_grace: seconds(control.grace),
            gateway_return: section
                .state
                .as_ref()
                .map_or(Timers::default().gateway_return, |state| seconds(state.as_ref().gateway_return())),
            ..Timers::default()
        },
        limits: Limits {
            calls: policy.max_calls,
            contacts,
            redirects: if policy.redirects == Redirects::Follow { REDIRECTS } else { 0 },
            ..Limits::default()
        },
        sip: carnet_sip::Config::default(),
    })
}

fn rtpengine(settings: &RtpengineSection) -> Rtpengine {
    let again = Duration::from_millis(u64::from(*settings.timeout.as_ref()));
    let attempts = *settings.attempts.as_ref();
    Rtpengine { timers: carnet_ng::Timers { again, attempts, ..carnet_ng::Timers::default() } }
}

fn pass_through(named: Transport248) -> Transport {
    match named {
        Transport248::TcpTls => Transport::TcpTls,
        Transport248::Tcp => Transport::Tcp,
    }
}

fn network_of(border: &BorderSection, name: &str, settings: &NetworkSection) -> Result<Network, String> {
    let first = settings.listen.as_ref().first().ok_or("no socket")?;
    let contact = match &settings.contact {
        Some(contact) => contact.clone(),
        None => match first.proto {
            Proto::Udp => format!("sip:{}", first.address),
            proto => format!("sip:{};transport={proto}", first.address),
        },
    };
    let realm = settings.realm.as_deref().unwrap_or(name);
    let v6 = match settings.media {
        Some(version) => version == IpVersion::V6,
        None => first.address.is_ipv6(),
    };
    let mut network = Network::new(name, uri(&contact)?, realm);
    network.listen =
        settings.listen.as_ref().iter().map(|bind| (sip_transport(bind.proto), bind.address)).collect();
    network.peers = settings.peers.iter().map(prefix).collect();
    network.access = settings.subscribers;
    network.family = if v6 { Family::V6 } else { Family::V4 };
    network.source_filter = settings.source_filter;
    network.hide_origin = settings.hide_origin.unwrap_or(border.role == BorderRole::Ibcf);
    network.rate = settings.rate.map(|rate| (rate, rate));
    network.dscp = settings.dscp;
    network.rtp_interface.clone_from(&settings.rtp_interface);
    let wanted = settings.e2ae.as_ref().map_or(settings.subscribers, |e2ae| *e2ae.as_ref());
    network.e2ae = border.policy.e2ae && wanted;
    network.msrp = match settings.msrp {
        MsrpAddressing::Auto => Addressing::Auto,
        MsrpAddressing::Cema => Addressing::Cema,
        MsrpAddressing::Sessmatch => Addressing::Sessmatch,
        MsrpAddressing::Plain => Addressing::Plain,
    };
    network.tls_failure_ends = settings.tls_failure_ends;
    let cap = |setting: &Option<Spanned<usize>>| setting.as_ref().map(|cap| *cap.as_ref());
    network.caps = Caps {
        sessions: cap(&settings.max_sessions),
        per_user: cap(&settings.max_per_user),
        per_source: cap(&settings.max_per_source),
        bandwidth: settings.bandwidth.as_ref().map(|bandwidth| *bandwidth.as_ref()),
    };
    Ok(network)
}

fn registration_of(domain: &str, section: &RegistrarSection) -> Result<Registration, String> {
    match section.mode {
        RegistrarMode::BuiltIn => {
            let path = section.users.as_ref().ok_or("no file of users")?.as_ref();
            let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let table: std::collections::BTreeMap<String, String> =
                toml::from_str(&text).map_err(|e| format!("{}: {}", path.display(), e.message()))?;
            let mut users = Vec::new();
            for (username, password) in table {
                let aor = uri(&format!("sip:{username}@{domain}"))?;
                users.push(User { aor, username, password: Password::new(password.into_bytes()) });
            }
            Ok(Registration::Local {
                realm: domain.to_owned(),
                users,
                algorithms: section.digest.iter().map(|a| algorithm(*a)).collect(),
                max_expires: section.expires,
                min_expires: 60,
            })
        }
        RegistrarMode::Forward => {
            let hop = uri(section.next_hop.as_deref().ok_or("no next hop")?)?;
            let network = section.network.as_ref().ok_or("no network")?.as_ref().clone();
            Ok(Registration::Forward { hop, network })
        }
    }
}

fn algorithm(named: Digest) -> Algorithm {
    match named {
        Digest::Sha256 => Algorithm::Sha256,
        Digest::Md5 => Algorithm::Md5,
    }
}

fn uri(text: &str) -> Result<Uri, String> {
    text.parse().map_err(|e| format!("`{text}` is not a SIP URI: {e}"))
}
