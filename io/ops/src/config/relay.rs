//! `[gateway.NAME.relay]`: an MSRP relay (RFC 4976) beside a gateway, for terminals that use one.

use super::Complaint;
use super::address::{Bind, Prefix, Proto};
use super::check::{Checked, check_tls, must_be_a_file};
use super::gateway::{GatewayRole, GatewaySection};
use super::model::TlsSection;
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[gateway.NAME.relay]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RelaySection {
    /// Sockets: `tls:` for terminals and other relays, `tcp:` where the network is trusted.
    pub listen: Spanned<Vec<Bind>>,
    /// Its host in MSRP URIs; that of each socket if absent.
    pub host: Option<Spanned<String>>,
    /// The realm of its challenges.
    pub domain: String,
    /// A TOML file of `name = "password"` lines: who may have URIs of it.
    pub users: Spanned<PathBuf>,
    /// Certificate for `tls:` sockets, and authorities that other relays are checked against.
    pub tls: Option<TlsSection>,
    /// Seconds a URI is granted for where nothing is asked (RFC 4976 §6.3).
    #[serde(default = "half_an_hour")]
    pub expires: Spanned<u32>,
    /// Seconds below which a request is answered 423.
    #[serde(default = "a_minute")]
    pub min_expires: Spanned<u32>,
    /// Seconds above which a request is answered 423.
    #[serde(default = "a_day")]
    pub max_expires: Spanned<u32>,
    /// URIs given out at once; more are answered 403.
    #[serde(default = "many")]
    pub max_sessions: Spanned<usize>,
    /// URIs of one user at once.
    #[serde(default = "some")]
    pub max_per_user: Spanned<usize>,
    /// Addresses it may connect to on behalf of a client, `192.0.2.0/24` or single ones; empty is any.
    #[serde(default)]
    pub next_hops: Vec<Prefix>,
    /// Connections at once from one address.
    pub per_source: Option<Spanned<u32>>,
    /// Event-loop threads.
    #[serde(default = "one")]
    pub threads: Spanned<usize>,
}

fn one() -> Spanned<usize> {
    Spanned::new(0..0, 1)
}

fn half_an_hour() -> Spanned<u32> {
    Spanned::new(0..0, 1_800)
}

fn a_minute() -> Spanned<u32> {
    Spanned::new(0..0, 60)
}

fn a_day() -> Spanned<u32> {
    Spanned::new(0..0, 86_400)
}

fn many() -> Spanned<usize> {
    Spanned::new(0..0, 10_000)
}

fn some() -> Spanned<usize> {
    Spanned::new(0..0, 100)
}

impl RelaySection {
    /// Every path of the section.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = self.tls.iter_mut().flat_map(|tls| {
            [Some(&mut tls.certificate), Some(&mut tls.key), tls.ca.as_mut()].into_iter().flatten()
        });
        tls.chain([&mut self.users]).map(Spanned::as_mut)
    }
}

/// What a relay could not start with.
pub(super) fn check(gateway: &Spanned<GatewaySection>, section: &Spanned<RelaySection>) -> Checked {
    let relay = section.as_ref();
    if gateway.as_ref().role == GatewayRole::Mrfp {
        return Err(Complaint::new(section.span(), "an MRFP is no relay for terminals")
            .help("put [gateway.NAME.relay] where an IMS-AGW or TrGW is"));
    }
    if relay.listen.as_ref().is_empty() {
        return Err(Complaint::new(relay.listen.span(), "the relay listens nowhere"));
    }
    for bind in relay.listen.as_ref() {
        match bind.proto {
            Proto::Udp => return Err(Complaint::new(relay.listen.span(), "MSRP has no `udp:`")),
            Proto::Tls if relay.tls.is_none() => {
                return Err(Complaint::new(relay.listen.span(), "a `tls:` socket needs a certificate")
                    .help("add `tls = { certificate = …, key = … }` to the relay"));
            }
            Proto::Tcp | Proto::Tls => {}
        }
        if relay.host.is_none() && bind.address.ip().is_unspecified() {
            return Err(Complaint::new(relay.listen.span(), "others cannot come back to this address")
                .help("name the address of this host, or set `host`"));
        }
    }
    must_be_a_file(&relay.users)?;
    if let Some(tls) = &relay.tls {
        check_tls(tls)?;
    }
    let (least, usual, most) = (&relay.min_expires, &relay.expires, &relay.max_expires);
    if !(1..=*most.as_ref()).contains(least.as_ref()) {
        return Err(Complaint::new(least.span(), "`min-expires` is 1 to `max-expires`"));
    }
    if !(*least.as_ref()..=*most.as_ref()).contains(usual.as_ref()) {
        // Where it is not written the pair that leaves it no room is to be looked for in the section.
        let at = if usual.span().is_empty() { section.span() } else { usual.span() };
        return Err(Complaint::new(at, "`expires` is `min-expires` to `max-expires`"));
    }
    if let Some(cap) = [&relay.max_sessions, &relay.max_per_user].into_iter().find(|cap| *cap.as_ref() == 0) {
        return Err(Complaint::new(cap.span(), "nobody would get a URI"));
    }
    if !(1..=64).contains(relay.threads.as_ref()) {
        return Err(Complaint::new(relay.threads.span(), "`threads` is 1 to 64"));
    }
    Ok(())
}
