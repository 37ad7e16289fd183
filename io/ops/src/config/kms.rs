//! `[kms]`: the key management service.

use super::Complaint;
use super::address::Endpoint;
use super::check::{Checked, check_tls, must_be_a_file};
use super::model::TlsSection;
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// `[kms]`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KmsSection {
    /// Its identity, `kms.example`; tickets name it.
    pub name: String,
    /// HTTPS socket.
    pub listen: Endpoint,
    /// Directory of the database.
    pub data: PathBuf,
    /// Certificate; without it the KMS speaks HTTP, on loopback only.
    pub tls: Option<TlsSection>,
    /// Lets it speak HTTP on other addresses than loopback.
    #[serde(default)]
    pub insecure_http: bool,
    /// File of the 32-octet root key that seals user keys at rest; made at first start if absent.
    pub root_key: Option<PathBuf>,
    /// Path and query of ticket requests.
    #[serde(default = "request_path")]
    pub request_path: String,
    /// Path and query of ticket resolution.
    #[serde(default = "resolve_path")]
    pub resolve_path: String,
    /// Requests a second from one source address; more are answered 429.
    #[serde(default = "per_source")]
    pub rate: Spanned<u32>,
    /// Refusals a minute that are logged for one source address.
    #[serde(default = "logged_refusals")]
    pub logged_refusals: u32,
    /// Source addresses that are told apart; more share their rate.
    #[serde(default = "sources")]
    pub sources: Spanned<usize>,
    /// HTTP connections at once; more wait.
    #[serde(default = "connections")]
    pub connections: Spanned<usize>,
    /// Whether callees that the service does not know get tickets made out to them.
    #[serde(default)]
    pub issue_to_strangers: bool,
    /// Whether tickets that a user made itself are resolved.
    #[serde(default)]
    pub accept_self_issued: bool,
    /// Whether 3GPP base tickets are accepted, read as MIKEY base tickets.
    #[serde(default)]
    pub accept_3gpp_tickets: bool,
    /// Whether requests with 128-bit algorithms are accepted.
    #[serde(default)]
    pub accept_128_bit: bool,
    /// How identities in messages are compared with those of users.
    #[serde(default)]
    pub identities: IdentityForm,
    /// Largest difference between a request's time and ours, seconds.
    #[serde(default = "skew")]
    pub skew: Spanned<u64>,
    /// Longest life of a ticket, seconds.
    #[serde(default = "day")]
    pub ticket_lifetime: Spanned<u64>,
    /// How old the key that seals tickets may become, seconds.
    #[serde(default = "day")]
    pub key_rotation: Spanned<u64>,
    /// Requests remembered against replay; when there are as many, more are answered 503. The
    /// default takes up to about 256 MiB and carries 23,000 requests a second.
    #[serde(default = "replay_capacity")]
    pub replay_capacity: Spanned<usize>,
    /// What signed requests need; without it only pre-shared keys are served.
    pub signed: Option<SignedSection>,
}

/// How identities in messages are compared with those of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityForm {
    /// Octet for octet.
    #[default]
    Exact,
    /// In their canonical form.
    Canonical,
}

/// `[kms.signed]`: PEM files.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SignedSection {
    /// Certificate that users seal envelopes for; RSA.
    pub certificate: Spanned<PathBuf>,
    /// Its private key.
    pub key: Spanned<PathBuf>,
    /// Authorities that vouch for users.
    pub ca: Spanned<PathBuf>,
}

pub(super) fn request_path() -> String {
    "/keymanagement?requesttype=ticketrequest".into()
}

pub(super) fn resolve_path() -> String {
    "/keymanagement?requesttype=ticketresolve".into()
}

fn per_source() -> Spanned<u32> {
    Spanned::new(0..0, 100)
}

fn logged_refusals() -> u32 {
    12
}

fn sources() -> Spanned<usize> {
    Spanned::new(0..0, 10_000)
}

fn connections() -> Spanned<usize> {
    Spanned::new(0..0, 4096)
}

fn skew() -> Spanned<u64> {
    Spanned::new(0..0, 300)
}

fn day() -> Spanned<u64> {
    Spanned::new(0..0, 24 * 3600)
}

fn replay_capacity() -> Spanned<usize> {
    Spanned::new(0..0, 7_000_000)
}

/// What would keep the service from working.
pub(super) fn check(section: &Spanned<KmsSection>) -> Checked {
    let kms = section.as_ref();
    within("rate", &kms.rate, 1..=1_000_000)?;
    within("sources", &kms.sources, 1..=10_000_000)?;
    within("connections", &kms.connections, 1..=1_000_000)?;
    within("skew", &kms.skew, 1..=3600)?;
    within("ticket-lifetime", &kms.ticket_lifetime, 1..=365 * 24 * 3600)?;
    within("key-rotation", &kms.key_rotation, 60..=365 * 24 * 3600)?;
    within("replay-capacity", &kms.replay_capacity, 1..=1_000_000_000)?;
    if let Some(path) = kms.root_key.as_ref().filter(|path| !path.is_file())
        && let Some((message, help)) = super::credential::missing(path)
    {
        // Elsewhere it would be made.
        return Err(Complaint::new(section.span(), message).help(help));
    }
    if let Some(signed) = &kms.signed {
        [&signed.certificate, &signed.key, &signed.ca].into_iter().try_for_each(must_be_a_file)?;
    }
    for path in [&kms.request_path, &kms.resolve_path] {
        if !path.starts_with('/') || path.chars().any(|c| c.is_whitespace() || c == '#') {
            return Err(Complaint::new(section.span(), format!("`{path}` is not the path of a URL"))
                .help("a path begins with /; a query may follow"));
        }
    }
    match &kms.tls {
        Some(tls) => check_tls(tls),
        None if kms.insecure_http || kms.listen.0.ip().is_loopback() => Ok(()),
        None => {
            Err(Complaint::new(section.span(), "the KMS would speak HTTP without TLS on a public address")
                .help("add [kms.tls], or insecure-http = true if something else protects it"))
        }
    }
}

pub(super) fn within<T: PartialOrd + Display>(
    key: &str,
    value: &Spanned<T>,
    range: RangeInclusive<T>,
) -> Checked {
    if range.contains(value.as_ref()) {
        return Ok(());
    }
    let (low, high) = (range.start(), range.end());
    Err(Complaint::new(value.span(), format!("`{key}` must be between {low} and {high}")))
}
