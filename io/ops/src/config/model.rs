//! The sections of the file. Every field is documented in `docs/configuration.md` too.

use super::address::{Bind, Prefix};
use super::admin::{AdminSection, RecordsSection};
use super::conference::ConferenceSection;
use super::control::ControlSection;
use super::edge::{Addressing, Other, RtpengineSection};
use super::gateway::GatewaySection;
use super::kms::KmsSection;
use super::otel::OtelSection;
use super::state::StateSection;
use super::trace::{HepSection, TraceSection};
use crate::config::Spanned;
use crate::log::Format;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A whole file.
#[derive(Debug, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// `[log]`
    pub log: LogSection,
    /// `[border.NAME]`: an IMS-ALG or an IBCF.
    pub border: BTreeMap<String, Spanned<BorderSection>>,
    /// `[conference.NAME]`: an MRFC.
    pub conference: BTreeMap<String, Spanned<ConferenceSection>>,
    /// `[gateway.NAME]`: an IMS-AGW, a TrGW or an MRFP.
    pub gateway: BTreeMap<String, Spanned<GatewaySection>>,
    /// `[kms]`
    pub kms: Option<Spanned<KmsSection>>,
    /// `[admin]`
    pub admin: Option<Spanned<AdminSection>>,
    /// `[records]`
    pub records: Option<RecordsSection>,
    /// `[trace]`
    pub trace: TraceSection,
    /// `[hep]`
    pub hep: Option<HepSection>,
    /// `[otel]`
    pub otel: Option<Spanned<OtelSection>>,
}

/// `[log]`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LogSection {
    /// Filter, `info` if absent.
    pub level: String,
    /// `text` or `json`.
    pub format: Format,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: "info".into(), format: Format::Text }
    }
}

/// Which border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BorderRole {
    /// Access border, in front of subscribers.
    ImsAlg,
    /// Network border, in front of other operators.
    Ibcf,
}

/// `[border.NAME]`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BorderSection {
    /// `ims-alg` or `ibcf`.
    pub role: BorderRole,
    /// The SIP domain this border serves.
    pub domain: String,
    /// `[border.NAME.network.NETWORK]`: the networks it stands between.
    pub network: BTreeMap<String, Spanned<NetworkSection>>,
    /// Certificate for `tls:` sockets and outgoing TLS.
    pub tls: Option<TlsSection>,
    /// Who registers here; IMS-ALG only.
    pub registrar: Option<Spanned<RegistrarSection>>,
    /// Where calls go that are not for registered users, first match.
    #[serde(default)]
    pub route: Vec<Spanned<RouteSection>>,
    /// The gateways it owns.
    pub control: Spanned<ControlSection>,
    /// Rules for offers.
    #[serde(default)]
    pub policy: PolicySection,
    /// The rtpengine that media goes to which is not ours; for `other = "rtpengine"`.
    pub rtpengine: Option<Spanned<RtpengineSection>>,
    /// What of it outlives the process.
    pub state: Option<Spanned<StateSection>>,
}

/// IP version of media addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// `[border.NAME.network.NETWORK]`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkSection {
    /// SIP sockets in this network.
    pub listen: Spanned<Vec<Bind>>,
    /// What others there call this border by: a SIP URI; made from the first socket if absent.
    pub contact: Option<String>,
    /// Subscribers are here: they register, and only they may call.
    #[serde(default)]
    pub subscribers: bool,
    /// Sources that may send here, `192.0.2.0/24` or single addresses; empty lets any in.
    #[serde(default)]
    pub peers: Vec<Prefix>,
    /// The gateway's IP realm for media of this network; the network's name if absent.
    pub realm: Option<String>,
    /// IP version of its media; that of the first socket if absent.
    pub media: Option<IpVersion>,
    /// Media may come only from the address in the peer's SDP.
    #[serde(default)]
    pub source_filter: bool,
    /// Replaces the address in `o=` of what is sent here; an IBCF does if absent.
    pub hide_origin: Option<bool>,
    /// Octets a second that one media stream may send into the border.
    pub rate: Option<u64>,
    /// DSCP of media sent here, 0 to 63.
    pub dscp: Option<u8>,
    /// The interface of the rtpengine that faces this network.
    pub rtp_interface: Option<String>,
    /// Secures media from the terminal to the gateway where the terminal asks for it (TS 23.334
    /// §6.2.10.3); where subscribers are, if absent.
    pub e2ae: Option<Spanned<bool>>,
    /// Which extension of MSRP the terminals here follow.
    #[serde(default)]
    pub msrp: Addressing,
    /// Ends a call when TLS that is to end at the gateway does not come about with a terminal here.
    #[serde(default = "yes")]
    pub tls_failure_ends: bool,
    /// Sessions with media here at once; more are answered 503.
    pub max_sessions: Option<Spanned<usize>>,
    /// Sessions of one user here at once; more are answered 486 to others, 503 to the user.
    pub max_per_user: Option<Spanned<usize>>,
    /// Sessions at once with signalling from one address here.
    pub max_per_source: Option<Spanned<usize>>,
    /// Octets a second that all media lines here may take together, each counted with what its `b=` says,
    /// or else with `rate`; more are answered 503.
    pub bandwidth: Option<Spanned<u64>>,
}

fn yes() -> bool {
    true
}

/// `[border.NAME.tls]`, `[kms.tls]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsSection {
    /// PEM file with the certificate chain.
    pub certificate: Spanned<PathBuf>,
    /// PEM file with the private key.
    pub key: Spanned<PathBuf>,
    /// PEM file with the authorities that peers are checked against; the system's if absent.
    pub ca: Option<Spanned<PathBuf>>,
}

/// Where REGISTER goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RegistrarMode {
    /// Answered here.
    BuiltIn,
    /// Passed to the next hop, with Path.
    Forward,
}

/// `[border.NAME.registrar]`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistrarSection {
    /// `built-in` or `forward`.
    pub mode: RegistrarMode,
    /// Built-in: a TOML file of `name = "password"` lines.
    pub users: Option<Spanned<PathBuf>>,
    /// Forward: the SIP URI of the next hop.
    pub next_hop: Option<String>,
    /// Forward: the network it is reached in.
    pub network: Option<Spanned<String>>,
    /// Built-in: digest algorithms offered, the best first.
    #[serde(default = "both_digests")]
    pub digest: Vec<Digest>,
    /// Longest registration granted, seconds.
    #[serde(default = "an_hour")]
    pub expires: u32,
    /// Contacts one user may have at once.
    #[serde(default = "ten")]
    pub contacts: usize,
    /// Seconds the contacts of one q value ring before those of the next are tried.
    #[serde(default = "twenty")]
    pub hunt: u32,
}

/// A digest algorithm (RFC 7616, RFC 8760).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Digest {
    /// Today's.
    #[serde(rename = "SHA-256")]
    Sha256,
    /// For old clients.
    #[serde(rename = "MD5")]
    Md5,
}

fn both_digests() -> Vec<Digest> {
    vec![Digest::Sha256, Digest::Md5]
}

fn ten() -> usize {
    10
}

fn twenty() -> u32 {
    20
}

fn an_hour() -> u32 {
    3600
}

/// `[[border.NAME.route]]`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RouteSection {
    /// A domain, or `*` for the rest; a leading dot takes subdomains.
    pub domain: String,
    /// The network it is reached in.
    pub network: Spanned<String>,
    /// SIP URI of the next hop; the Request-URI is resolved itself if absent.
    pub next_hop: Option<String>,
}

/// Transport value told to the gateway for pass-through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub enum Transport248 {
    /// As the proposal for TR 29.828 has it.
    #[default]
    #[serde(rename = "TCP/TLS")]
    TcpTls,
    /// As TS 23.334 has it since.
    #[serde(rename = "TCP")]
    Tcp,
}

/// How H.248 messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding248 {
    /// Text with long keywords.
    Text,
    /// Text with short keywords.
    #[default]
    Compact,
    /// BER.
    Binary,
}

/// What becomes of a 3xx to an INVITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Redirects {
    /// It passes to who asked.
    #[default]
    Pass,
    /// The border calls where it leads, five places at most, by its routes; who asked hears nothing of it.
    Follow,
}

/// `[border.NAME.policy]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct PolicySection {
    /// `TCP/TLS` or `TCP`.
    pub pass_through_transport: Transport248,
    /// Lets `TCP/TLS/MSRP` without `a=msrp-cema` through (networks with sessmatch).
    pub forward_without_cema: bool,
    /// Lets media through that is not secured (`TCP/MSRP`).
    pub allow_plain: bool,
    /// Ends TLS at the gateway where a network says so. Off, nowhere.
    pub e2ae: bool,
    /// Rewrites the paths of MSRP where the two ends could not find each other otherwise.
    pub aware: bool,
    /// What happens with media that is neither MSRP nor BFCP.
    pub other: Other,
    /// Calls at once; more are answered 503.
    pub max_calls: usize,
    /// Seconds without media after which a gateway reports; 0 is never.
    pub inactivity: u32,
    /// Heartbeat of a termination, seconds; 0 is off.
    pub heartbeat: u32,
    /// What becomes of a 3xx to an INVITE.
    pub redirects: Redirects,
    /// Seconds that a call whose gateway is lost may take to offer its media anew; 0 ends it at once.
    pub media_return: u32,
}

impl Default for PolicySection {
    fn default() -> Self {
        Self {
            pass_through_transport: Transport248::TcpTls,
            forward_without_cema: false,
            allow_plain: true,
            e2ae: true,
            aware: true,
            other: Other::Pass,
            max_calls: 10_000,
            inactivity: 0,
            heartbeat: 300,
            redirects: Redirects::Pass,
            media_return: 60,
        }
    }
}

impl Config {
    /// Makes relative paths relative to the file they are written in.
    pub(super) fn resolve_paths(&mut self, base: &Path) {
        let credentials = super::credential::directory();
        let fix = |path: &mut PathBuf| *path = super::credential::located(path, base, credentials.as_deref());
        let fix_tls = |tls: &mut Option<TlsSection>| {
            if let Some(tls) = tls {
                fix(tls.certificate.as_mut());
                fix(tls.key.as_mut());
                if let Some(ca) = &mut tls.ca {
                    fix(ca.as_mut());
                }
            }
        };
        for border in self.border.values_mut().map(Spanned::as_mut) {
            fix_tls(&mut border.tls);
            if let Some(users) = border.registrar.as_mut().and_then(|r| r.as_mut().users.as_mut()) {
                fix(users.as_mut());
            }
            if let Some(state) = &mut border.state {
                fix(state.as_mut().directory.as_mut());
            }
        }
        for conference in self.conference.values_mut().map(Spanned::as_mut) {
            fix_tls(&mut conference.tls);
            conference.paths().for_each(fix);
        }
        if let Some(admin) = &mut self.admin {
            admin.as_mut().paths().for_each(fix);
        }
        if let Some(records) = &mut self.records {
            fix(&mut records.file);
        }
        if let Some(hep) = &mut self.hep {
            hep.paths().for_each(fix);
        }
        if let Some(otel) = &mut self.otel {
            otel.as_mut().paths().for_each(fix);
        }
        let mut sections = Vec::new();
        for border in self.border.values_mut().map(Spanned::as_mut) {
            let control = border.control.as_mut();
            sections.push((&mut control.tls, &mut control.authentication));
        }
        for conference in self.conference.values_mut().map(Spanned::as_mut) {
            let control = conference.control.as_mut();
            sections.push((&mut control.tls, &mut control.authentication));
        }
        for gateway in self.gateway.values_mut().map(Spanned::as_mut) {
            sections.push((&mut gateway.control_tls, &mut gateway.control_authentication));
        }
        for (tls, authentication) in sections {
            tls.iter_mut().flat_map(|tls| tls.as_mut().paths()).for_each(fix);
            authentication.iter_mut().flat_map(|section| section.as_mut().paths()).for_each(fix);
        }
        self.gateway.values_mut().flat_map(|gateway| gateway.as_mut().paths()).for_each(fix);
        if let Some(kms) = self.kms.as_mut().map(Spanned::as_mut) {
            fix(&mut kms.data);
            fix_tls(&mut kms.tls);
            if let Some(root_key) = &mut kms.root_key {
                fix(root_key);
            }
            if let Some(signed) = &mut kms.signed {
                [&mut signed.certificate, &mut signed.key, &mut signed.ca]
                    .into_iter()
                    .for_each(|f| fix(f.as_mut()));
            }
        }
    }
}
