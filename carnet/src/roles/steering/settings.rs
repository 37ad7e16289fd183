//! From `[gateway.NAME.ng]` to what the rules and the sockets are told.

use super::super::token;
use carnet_h248::MId;
use carnet_h248::association::Transport as Association;
use carnet_net::{NgConfig, NgListen, NgTls, NgToken, NgTransport};
use carnet_ops::config::Spanned;
use carnet_ops::config::{
    Addressing as MsrpAddressing, GatewaySection, InterfaceSection, IpVersion, NgProto, NgSection,
    TlsSection, Transport248,
};
use carnet_plan::{Addressing, Family, Policy, Transport};
use carnet_steering::{Config, Interface, Limits, Timers};
use std::time::Duration;

/// Longer than anybody waits, and no more than a clock can add.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The name of a gateway's steering, as H.248 has it.
pub fn name_of(gateway: &str) -> String {
    format!("{gateway}.ng")
}

/// Everything a steering is told at its start.
pub fn configure(gateway: &str, section: &GatewaySection, ng: &NgSection) -> Config {
    let interfaces = ng.interfaces(section);
    let interfaces = interfaces.iter().map(|(name, settings)| interface_of(section, name, settings));
    let (timers, limits) = (Timers::default(), Limits::default());
    let seconds = |setting: &Option<Spanned<u32>>, usual: Duration| {
        setting.as_ref().map_or(usual, |seconds| Duration::from_secs((*seconds.as_ref()).into()))
    };
    let or_never = |setting: &Option<Spanned<u32>>, usual: Duration| match seconds(setting, usual) {
        Duration::ZERO => NEVER,
        given => given,
    };
    Config {
        name: name_of(gateway),
        gateway: MId::domain(gateway.to_owned()),
        transport: Association::Channel,
        interfaces: interfaces.collect(),
        policy: Policy {
            transport: match ng.pass_through_transport {
                Transport248::TcpTls => Transport::TcpTls,
                Transport248::Tcp => Transport::Tcp,
            },
            forward_without_cema: ng.forward_without_cema,
            relay_plain: ng.allow_plain,
            aware: ng.aware,
            ..Policy::default()
        },
        timers: Timers {
            delete_delay: seconds(&ng.delete_delay, timers.delete_delay),
            offer: seconds(&ng.offer_timeout, timers.offer),
            no_connection: or_never(&ng.connect_timeout, timers.no_connection),
            silence: or_never(&ng.silence_timeout, timers.silence),
            ..timers
        },
        limits: Limits {
            calls: ng.max_calls.as_ref().map_or(limits.calls, |calls| *calls.as_ref()),
            ..limits
        },
    }
}

fn interface_of(gateway: &GatewaySection, name: &str, settings: &InterfaceSection) -> Interface {
    let realm = settings.realm(name);
    let addresses = gateway.realm.get(realm).map(Spanned::as_ref);
    let four = addresses.and_then(|realm| realm.v4).map(|_| Family::V4);
    let six = addresses.and_then(|realm| realm.v6).map(|_| Family::V6);
    let families: Vec<_> = four.into_iter().chain(six).collect();
    let family = match settings.media.as_ref().map(|media| *media.as_ref()) {
        Some(IpVersion::V4) => Family::V4,
        Some(IpVersion::V6) => Family::V6,
        None => families.first().copied().unwrap_or_default(),
    };
    Interface {
        name: name.to_owned(),
        realm: realm.to_owned(),
        family,
        families,
        access: settings.is_access(gateway.role),
        e2ae: settings.has_e2ae(gateway.role),
        behind_nat: settings.nat,
        msrp: match settings.msrp {
            MsrpAddressing::Auto => Addressing::Auto,
            MsrpAddressing::Cema => Addressing::Cema,
            MsrpAddressing::Sessmatch => Addressing::Sessmatch,
            MsrpAddressing::Plain => Addressing::Plain,
        },
        source_filter: settings.source_filter,
        rate: settings.rate.as_ref().map(|rate| (*rate.as_ref(), *rate.as_ref())),
        dscp: settings.dscp.as_ref().map(|dscp| *dscp.as_ref()),
    }
}

/// Where SIP servers ask, and who may.
///
/// # Errors
/// What is wrong with the file of the token.
pub fn sockets(ng: &NgSection) -> Result<NgConfig, String> {
    let listen = ng.listen.as_ref().iter().map(|bind| {
        let bind = bind.as_ref();
        let transport = match bind.proto {
            NgProto::Udp => NgTransport::Udp,
            NgProto::Tcp => NgTransport::Tcp,
            NgProto::Tls => NgTransport::Tls,
            NgProto::Http => NgTransport::Http,
            NgProto::Https => NgTransport::Https,
        };
        NgListen { transport, address: bind.address }
    });
    let tls = ng.tls.as_ref().map(|section| tls(section.as_ref())).transpose()?;
    Ok(NgConfig {
        listen: listen.collect(),
        peers: ng.peers.as_ref().iter().map(|prefix| (prefix.ip, prefix.bits)).collect(),
        tls,
        token: ng.token_file.as_ref().map(|path| token::read(path.as_ref())).transpose()?.map(NgToken::new),
    })
}

/// The certificate that its sockets show.
///
/// # Errors
/// What is wrong with which file.
pub fn tls(section: &TlsSection) -> Result<NgTls, String> {
    let authorities = section.ca.as_ref().map(|ca| ca.as_ref().as_path());
    NgTls::read(section.certificate.as_ref(), section.key.as_ref(), authorities).map_err(|e| e.to_string())
}

/// What would keep its sockets from being opened, as the key of the section and words.
///
/// # Errors
/// The same.
pub fn check(ng: &NgSection) -> Result<(), (Vec<&'static str>, String)> {
    if let Some(path) = &ng.token_file {
        token::read(path.as_ref()).map_err(|e| (vec!["token-file"], e))?;
    }
    let Some(tls) = ng.tls.as_ref().map(|tls| tls.as_ref()) else { return Ok(()) };
    super::super::tls::credential(tls).map_err(|e| (vec!["tls", "certificate"], e))?;
    super::super::tls::sip(tls).map(drop).map_err(|e| (vec!["tls", "ca"], e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(more: &str) -> Config {
        let text = format!(
            "role = \"ims-agw\"\n[realm.outside]\nv6 = \"2001:db8::1\"\nports = \"40000-40009\"\n\
             [realm.inside]\nv4 = \"10.0.0.1\"\nv6 = \"2001:db8::2\"\nports = \"40000-40009\"\n\
             [ng]\nlisten = [\"udp:127.0.0.1:2223\"]\n{more}"
        );
        let section: GatewaySection = toml::from_str(&text).unwrap();
        let ng = section.ng.as_ref().unwrap().as_ref();
        configure("agw", &section, ng)
    }

    #[test]
    fn what_the_file_leaves_out_is_as_usual() {
        let config = configured("");
        assert_eq!((config.timers, config.limits), (Timers::default(), Limits::default()));
        assert_eq!(config.policy, Policy::default());
        assert_eq!((config.name.as_str(), &config.gateway), ("agw.ng", &MId::domain("agw")));
        let [outside, inside] = config.interfaces.as_slice() else { panic!() };
        assert_eq!((outside.name.as_str(), outside.family), ("outside", Family::V6));
        assert_eq!((inside.family, inside.families.as_slice()), (Family::V4, &[Family::V4, Family::V6][..]));
        assert!(outside.access && outside.e2ae && !outside.behind_nat && !outside.source_filter);
    }

    #[test]
    fn what_the_file_says_holds() {
        let config = configured(
            "max-calls = 7\ndelete-delay = 3\noffer-timeout = 4\nconnect-timeout = 0\nsilence-timeout = 5\n\
             allow-plain = false\naware = false\nforward-without-cema = true\npass-through-transport = \"TCP\"\n\
             [ng.interface.trunk]\nrealm = \"inside\"\nmedia = \"v6\"\naccess = false\nnat = true\n\
             msrp = \"sessmatch\"\nsource-filter = true\nrate = 1000\ndscp = 46\n",
        );
        let timers = config.timers;
        assert_eq!((timers.delete_delay, timers.offer), (Duration::from_secs(3), Duration::from_secs(4)));
        assert_eq!((timers.no_connection, timers.silence), (NEVER, Duration::from_secs(5)));
        // What is never comes after every clock.
        assert!(std::time::Instant::now().checked_add(NEVER).is_some());
        assert_eq!(config.limits.calls, 7);
        let policy = &config.policy;
        assert!(!policy.relay_plain && !policy.aware && policy.forward_without_cema);
        assert_eq!(policy.transport, Transport::Tcp);
        let expected = Interface {
            name: "trunk".into(),
            realm: "inside".into(),
            family: Family::V6,
            families: vec![Family::V4, Family::V6],
            access: false,
            e2ae: false,
            behind_nat: true,
            msrp: Addressing::Sessmatch,
            source_filter: true,
            rate: Some((1000, 1000)),
            dscp: Some(46),
        };
        assert_eq!(config.interfaces, [expected]);
    }
}
