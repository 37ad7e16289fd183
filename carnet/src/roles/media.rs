//! From a gateway's section of the file to the engine that moves its octets.

use carnet_net::conference::{ConferenceConfig, ConferenceEngine};
use carnet_net::media::{
    Certificate, EngineConfig, EngineHandle, Events, Guard, KernelConfig, MediaEngine, Mode, Realm, Witness,
};
use carnet_ops::config::Spanned;
use carnet_ops::config::{EngineMode, GatewayRole, GatewaySection, RealmSection, WitnessMode};
use std::time::Duration;

/// A day, of which `certificate-days` has some.
const DAY: Duration = Duration::from_secs(86_400);

/// Starts what moves the octets: from one side to the other, or among the members of conferences.
pub(super) fn engine(name: &str, section: &GatewaySection) -> std::io::Result<(EngineHandle, Events)> {
    let config = settings(name, section);
    if section.role == GatewayRole::Mrfp {
        let (realms, threads) = (config.realms, config.threads);
        return ConferenceEngine::start(ConferenceConfig { realms, threads, ..ConferenceConfig::default() });
    }
    MediaEngine::start(config)
}

/// The engine's settings, as the file has them.
pub fn settings(name: &str, section: &GatewaySection) -> EngineConfig {
    let realms = section.realm.iter().map(|(name, realm)| realm_of(section.role, name, realm.as_ref()));
    let (realms, threads) = (realms.collect(), section.threads);
    let witness = match section.witness {
        WitnessMode::Off => Witness::Off,
        WitnessMode::Headers => Witness::UntilSplice,
        WitnessMode::Full => Witness::Full,
    };
    let mode = match section.engine {
        EngineMode::Auto => Mode::Auto,
        EngineMode::Relay => Mode::Off,
        EngineMode::Kernel => Mode::Required,
    };
    let kernel = KernelConfig {
        mode,
        table: name.to_owned(),
        keep: section.state.is_some(),
        steer: section.steering,
        ..KernelConfig::default()
    };
    let usual = EngineConfig::default();
    let memory = section.memory.as_ref().map_or(usual.memory, |mebi| mebi.as_ref().saturating_mul(1 << 20));
    EngineConfig { realms, threads, witness, kernel, memory, ..usual }
}

fn realm_of(role: GatewayRole, name: &str, section: &RealmSection) -> Realm {
    let certificate = match (&section.certificate, &section.key, &section.certificate_days) {
        // TLS ends at the access only (TS 23.334 §6.2.10.3); conferences have keys.
        _ if role != GatewayRole::ImsAgw => Certificate::None,
        (Some(certificate), Some(key), _) => {
            Certificate::Files { certificate: certificate.as_ref().clone(), key: key.as_ref().clone() }
        }
        (_, _, Some(days)) => Certificate::Own { life: DAY * *days.as_ref() },
        _ => Certificate::default(),
    };
    Realm {
        name: name.to_owned(),
        v4: section.v4,
        v6: section.v6,
        ports: section.ports.0.clone(),
        certificate,
        guard: guard(section),
    }
}

/// What the file does not say stays as the engine has it.
fn guard(section: &RealmSection) -> Guard {
    let usual = Guard::default();
    let number = |setting: &Option<Spanned<u32>>| setting.as_ref().map(|value| *value.as_ref());
    let time = |setting| number(setting).map(|seconds| Duration::from_secs(seconds.into()));
    // Zero is never.
    let never = |setting, usual| match time(setting) {
        None => usual,
        Some(time) => (!time.is_zero()).then_some(time),
    };
    Guard {
        tls_only: section.tls_only,
        handshake: time(&section.handshake).unwrap_or(usual.handshake),
        per_source: number(&section.per_source).or(usual.per_source),
        accepts_per_source: number(&section.accepts_per_source).or(usual.accepts_per_source),
        quarantine: time(&section.quarantine).unwrap_or(usual.quarantine),
        keepalive: never(&section.keepalive, usual.keepalive),
        user_timeout: never(&section.user_timeout, usual.user_timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> RealmSection {
        toml::from_str(&format!("v4 = \"127.0.0.1\"\nports = \"1-9\"\n{more}")).unwrap()
    }

    #[test]
    fn a_realm_is_guarded_as_the_file_says_and_else_as_usual() {
        assert_eq!(guard(&read("")), Guard::default());
        let all = "tls-only = true\nhandshake = 4\nper-source = 3\naccepts-per-source = 2\nquarantine = 0\n\
                   keepalive = 0\nuser-timeout = 7";
        let seconds = Duration::from_secs;
        let expected = Guard {
            tls_only: true,
            handshake: seconds(4),
            per_source: Some(3),
            accepts_per_source: Some(2),
            quarantine: seconds(0),
            keepalive: None,
            user_timeout: Some(seconds(7)),
        };
        assert_eq!(guard(&read(all)), expected);
        assert_eq!(guard(&read("user-timeout = 0")).user_timeout, None);
    }

    #[test]
    fn only_an_access_gateway_has_something_to_show() {
        let shown = |role, more: &str| realm_of(role, "x", &read(more)).certificate;
        assert_eq!(shown(GatewayRole::ImsAgw, ""), Certificate::default());
        let two_days = Certificate::Own { life: Duration::from_secs(2 * 86_400) };
        assert_eq!(shown(GatewayRole::ImsAgw, "certificate-days = 2"), two_days);
        let files = Certificate::Files { certificate: "c.pem".into(), key: "k.pem".into() };
        assert_eq!(shown(GatewayRole::ImsAgw, "certificate = \"c.pem\"\nkey = \"k.pem\""), files);
        for role in [GatewayRole::Trgw, GatewayRole::Mrfp] {
            assert_eq!(shown(role, ""), Certificate::None);
        }
    }
}
