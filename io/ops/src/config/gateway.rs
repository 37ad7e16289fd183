//! `[gateway.NAME]`: a gateway, its IP realms, and how connections there are guarded. Every field is
//! documented in `docs/configuration.md` too.

use super::Complaint;
use super::address::PortRange;
use super::check::{Checked, must_be_a_file};
use super::control::{self, AuthenticationSection, ControlAddress, ControlTlsSection, Sources};
use super::model::{Config, Encoding248};
use super::ng::NgSection;
use super::relay::RelaySection;
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Four times the longest life of a segment (RFC 9293 §3.4.2 takes two minutes): longer helps nobody.
const LONGEST_QUARANTINE: u32 = 480;

/// Which gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayRole {
    /// Controlled over Iq.
    ImsAgw,
    /// Controlled over Ix.
    Trgw,
    /// Controlled over Mp.
    Mrfp,
}

/// How closely the gateway watches what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum WitnessMode {
    /// Not at all.
    #[default]
    Off,
    /// TLS record headers until the kernel takes over the copying.
    Headers,
    /// Every TLS record header; the kernel never takes over.
    Full,
}

/// What moves the octets that only have to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum EngineMode {
    /// The kernel where the host allows it and the pair is fit for it, else our relay.
    #[default]
    Auto,
    /// Our relay, with sockets only.
    Relay,
    /// The same as `Auto`, but the gateway does not start on a host that does not allow it.
    Kernel,
}

/// `[gateway.NAME]`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GatewaySection {
    /// `ims-agw`, `trgw` or `mrfp`.
    pub role: GatewayRole,
    /// Its controllers in order of preference; none if it is steered.
    #[serde(default = "none")]
    pub controllers: Spanned<Vec<ControlAddress>>,
    /// Local addresses for the control association; any if absent.
    pub control_from: Option<Spanned<Sources>>,
    /// How messages to controllers on other hosts are written. Either encoding is taken.
    #[serde(default)]
    pub control_encoding: Encoding248,
    /// Octets of the largest message by UDP.
    pub control_datagram: Option<Spanned<usize>>,
    /// Replies beyond it go in segments where version 3 is spoken.
    #[serde(default)]
    pub control_segments: bool,
    /// Seconds without a word from its controller, or without a connection to it, after which it goes to another one.
    pub control_patience: Option<Spanned<u32>>,
    /// For controllers reached by `tls:`.
    pub control_tls: Option<Spanned<ControlTlsSection>>,
    /// The authentication header (RFC 3525 §10.2).
    pub control_authentication: Option<Spanned<AuthenticationSection>>,
    /// IPsec or the like protects what passes: keys are taken over every transport.
    #[serde(default)]
    pub control_protected: bool,
    /// `[gateway.NAME.realm.REALM]`
    pub realm: BTreeMap<String, Spanned<RealmSection>>,
    /// Contexts at once.
    #[serde(default = "many_contexts")]
    pub max_contexts: usize,
    /// Longest random wait before it registers, milliseconds (RFC 3525 §9.2: many gateways that start at
    /// once do not all ask at once). Not with controllers in the same process.
    #[serde(default = "two_seconds")]
    pub restart_wait: u32,
    /// Event-loop threads.
    #[serde(default = "one")]
    pub threads: usize,
    /// What it counts of the TLS that passes.
    #[serde(default)]
    pub witness: WitnessMode,
    /// What moves the octets that only have to pass.
    #[serde(default)]
    pub engine: EngineMode,
    /// Pinholes have no sockets: the kernel steers callers to one listener of each loop.
    #[serde(default)]
    pub steering: bool,
    /// Mebioctets that all loops together may hold of what receivers have not taken.
    pub memory: Option<Spanned<usize>>,
    /// Directory in which contexts of the kernel engine are kept, to be found again after a crash.
    pub state: Option<Spanned<PathBuf>>,
    /// `[gateway.NAME.relay]`: an MSRP relay beside it.
    pub relay: Option<Spanned<RelaySection>>,
    /// `[gateway.NAME.ng]`: SIP servers steer it, instead of a controller.
    pub ng: Option<Spanned<NgSection>>,
}

fn none() -> Spanned<Vec<ControlAddress>> {
    Spanned::new(0..0, Vec::new())
}

fn many_contexts() -> usize {
    10_000
}

fn two_seconds() -> u32 {
    2_000
}

fn one() -> usize {
    1
}

/// `[gateway.NAME.realm.REALM]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RealmSection {
    /// IPv4 address in this realm.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address in this realm.
    pub v6: Option<Ipv6Addr>,
    /// TCP ports to give out.
    pub ports: PortRange,
    /// PEM file with the certificate that the gateway shows here where TLS ends at it. It makes one of its
    /// own at the start if absent.
    pub certificate: Option<Spanned<PathBuf>>,
    /// PEM file with the private key of `certificate`.
    pub key: Option<Spanned<PathBuf>>,
    /// Days a certificate made here is good for; a new one is made before it ends. 30 if absent.
    pub certificate_days: Option<Spanned<u32>>,
    /// Closes a connection that does not begin with a TLS record, on pinholes that pass TLS on.
    #[serde(default)]
    pub tls_only: bool,
    /// Connections at once from one address; more are refused.
    pub per_source: Option<Spanned<u32>>,
    /// Connections that one address may make in a second, with as many at once.
    pub accepts_per_source: Option<Spanned<u32>>,
    /// Seconds a port is left alone after use.
    pub quarantine: Option<Spanned<u32>>,
    /// Seconds without data before a peer is asked whether it is there; 0 never asks.
    pub keepalive: Option<Spanned<u32>>,
    /// Seconds that data sent may stay unacknowledged before a connection is given up; 0 leaves it to
    /// the kernel.
    pub user_timeout: Option<Spanned<u32>>,
    /// Seconds a handshake that ends here may take.
    pub handshake: Option<Spanned<u32>>,
}

impl GatewaySection {
    /// Every path of the section.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let realms = self.realm.values_mut().map(Spanned::as_mut);
        let realms = realms.flat_map(|realm| [realm.certificate.as_mut(), realm.key.as_mut()]);
        let realms = realms.flatten().map(Spanned::as_mut);
        let relay = self.relay.iter_mut().flat_map(|relay| relay.as_mut().paths());
        let state = self.state.iter_mut().map(Spanned::as_mut);
        realms.chain(relay).chain(state).chain(self.ng.iter_mut().flat_map(|ng| ng.as_mut().paths()))
    }

    /// Its controllers, where `name` is its own: those it is given, or the steering in the same process.
    pub fn owners(&self, name: &str) -> Vec<ControlAddress> {
        match &self.ng {
            Some(_) => vec![ControlAddress::Local(format!("{name}.ng"))],
            None => self.controllers.as_ref().clone(),
        }
    }
}

/// What moves the octets, and what of them outlives the process.
fn check_engine(name: &str, section: &Spanned<GatewaySection>) -> Checked {
    let gateway = section.as_ref();
    if gateway.role == GatewayRole::Mrfp
        && (gateway.engine != EngineMode::Auto
            || gateway.steering
            || gateway.memory.is_some()
            || gateway.state.is_some())
    {
        let why = "`engine`, `memory` and `state` are for what is led on: streams of a conference end here";
        return Err(Complaint::new(section.span(), format!("gateway `{name}`: {why}")));
    }
    let out_of_range = |memory: &&Spanned<usize>| !(16..=1_048_576).contains(memory.as_ref());
    if let Some(memory) = gateway.memory.as_ref().filter(out_of_range) {
        return Err(Complaint::new(memory.span(), "`memory` is 16 to 1048576 mebioctets"));
    }
    match &gateway.state {
        Some(state) if gateway.engine == EngineMode::Relay => Err(Complaint::new(
            state.span(),
            "connections of the relay end with the process: `state` needs the kernel engine",
        )),
        _ => Ok(()),
    }
}

/// What a gateway could not start with, or not do what it is told to.
pub(super) fn check(config: &Config, name: &str, section: &Spanned<GatewaySection>) -> Checked {
    let gateway = section.as_ref();
    check_engine(name, section)?;
    match &gateway.ng {
        Some(ng) => super::ng::check(name, section, ng)?,
        None => control::check_gateway(config, name, section)?,
    }
    if gateway.realm.is_empty() {
        return Err(Complaint::new(
            section.span(),
            format!("gateway `{name}` has no realm to take addresses from"),
        ));
    }
    if gateway.threads == 0 || gateway.threads > 64 {
        return Err(Complaint::new(section.span(), "`threads` is 1 to 64"));
    }
    let realms: Vec<_> = gateway.realm.iter().collect();
    for (index, (realm, this)) in realms.iter().enumerate() {
        let here = this.as_ref();
        if here.v4.is_none() && here.v6.is_none() {
            return Err(Complaint::new(this.span(), format!("realm `{realm}` has neither `v4` nor `v6`")));
        }
        check_edge(gateway.role, realm, this)?;
        for (other_name, other) in realms.iter().take(index) {
            let other = other.as_ref();
            let same_address =
                (here.v4.is_some() && here.v4 == other.v4) || (here.v6.is_some() && here.v6 == other.v6);
            let overlap =
                here.ports.0.start() <= other.ports.0.end() && other.ports.0.start() <= here.ports.0.end();
            if same_address && overlap {
                return Err(Complaint::new(
                    this.span(),
                    format!("realms `{realm}` and `{other_name}` share ports of one address"),
                ));
            }
        }
    }
    match &gateway.relay {
        Some(relay) => super::relay::check(section, relay),
        None => Ok(()),
    }
}

/// What a realm says of the connections there.
fn check_edge(role: GatewayRole, name: &str, section: &Spanned<RealmSection>) -> Checked {
    let realm = section.as_ref();
    let shows = realm.certificate.as_ref().map(Spanned::span);
    let shows = shows.or_else(|| realm.certificate_days.as_ref().map(Spanned::span));
    if let (Some(at), GatewayRole::Trgw | GatewayRole::Mrfp) = (shows, role) {
        return Err(Complaint::new(
            at,
            "only an IMS-AGW shows a certificate: TLS ends at no other gateway so",
        ));
    }
    if role == GatewayRole::Mrfp && realm.tls_only {
        return Err(Complaint::new(section.span(), "an MRFP passes no TLS on that it could watch"));
    }
    match (&realm.certificate, &realm.key, &realm.certificate_days) {
        (Some(certificate), None, _) => {
            return Err(Complaint::new(certificate.span(), "a certificate needs `key`"));
        }
        (None, Some(key), _) => return Err(Complaint::new(key.span(), "a key needs `certificate`")),
        (Some(_), _, Some(days)) => {
            return Err(Complaint::new(
                days.span(),
                "`certificate-days` is for certificates that are made here; this one comes from a file",
            ));
        }
        (certificate, key, _) => {
            for path in [certificate, key].into_iter().flatten() {
                must_be_a_file(path)?;
            }
        }
    }
    let within = |setting: &Option<Spanned<u32>>, name: &str, range: RangeInclusive<u32>| match setting {
        Some(value) if !range.contains(value.as_ref()) => {
            let message = format!("`{name}` is {} to {}", range.start(), range.end());
            Err(Complaint::new(value.span(), message))
        }
        _ => Ok(()),
    };
    within(&realm.certificate_days, "certificate-days", 1..=3650)?;
    within(&realm.per_source, "per-source", 1..=1_000_000)?;
    within(&realm.accepts_per_source, "accepts-per-source", 1..=1_000_000)?;
    within(&realm.quarantine, "quarantine", 0..=LONGEST_QUARANTINE)?;
    within(&realm.keepalive, "keepalive", 0..=7_200)?;
    within(&realm.user_timeout, "user-timeout", 0..=3_600)?;
    within(&realm.handshake, "handshake", 1..=300)?;
    let ports = u32::from(realm.ports.0.end() - realm.ports.0.start()) + 1;
    match &realm.quarantine {
        // With so few ports the second call would already wait for the first one's.
        Some(quarantine) if *quarantine.as_ref() > 0 && ports < 4 => Err(Complaint::new(
            quarantine.span(),
            format!("realm `{name}` has {ports} ports: too few to leave any alone after use"),
        )),
        _ => Ok(()),
    }
}
