//! `[gateway.NAME.ng]`: a gateway that SIP servers steer with the ng protocol, instead of a controller that
//! speaks H.248 to it. `docs/ng.md` says what becomes of what they ask for.

use super::Complaint;
use super::address::Prefix;
use super::check::{Checked, check_tls, must_be_a_file};
use super::edge::Addressing;
use super::gateway::{GatewayRole, GatewaySection};
use super::model::{IpVersion, TlsSection, Transport248};
use super::text::as_text;
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// A month: a call that nobody ends is not to stand for longer.
const LONGEST: u32 = 2_592_000;

/// What carries requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NgProto {
    /// A datagram a request.
    Udp,
    /// Requests one after the other.
    Tcp,
    /// The same in TLS.
    Tls,
    /// HTTP and WebSocket.
    Http,
    /// The same in TLS.
    Https,
}

impl NgProto {
    /// Whether it needs a certificate.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }
}

impl fmt::Display for NgProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// A socket for requests: `udp:127.0.0.1:2223`, `https:[2001:db8::1]:2225`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NgBind {
    /// What carries requests there.
    pub proto: NgProto,
    /// The address.
    pub address: SocketAddr,
}

impl fmt::Display for NgBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.proto, self.address)
    }
}

impl FromStr for NgBind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is not an address to listen on; write `udp:127.0.0.1:2223`, `tcp:`, `tls:`, `http:` or \
                 `https:`, IPv6 in brackets"
            )
        };
        let (proto, rest) = text.split_once(':').ok_or_else(form)?;
        let proto = match proto {
            "udp" => NgProto::Udp,
            "tcp" => NgProto::Tcp,
            "tls" => NgProto::Tls,
            "http" => NgProto::Http,
            "https" => NgProto::Https,
            _ => return Err(form()),
        };
        Ok(Self { proto, address: rest.parse().map_err(|_| form())? })
    }
}

as_text! {
    NgBind, "^(udp|tcp|tls|https?):.+:[0-9]+$";
}

/// `[gateway.NAME.ng]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NgSection {
    /// Sockets for requests.
    pub listen: Spanned<Vec<Spanned<NgBind>>>,
    /// Who may ask, `192.0.2.0/24` or single addresses; this host if absent. Nobody else is answered.
    #[serde(default = "this_host")]
    pub peers: Spanned<Vec<Prefix>>,
    /// A file with a word that whoever asks has to know, on all sockets but `udp:`.
    pub token_file: Option<Spanned<PathBuf>>,
    /// For `tls:` and `https:`. With `ca`, whoever asks has to show a certificate.
    pub tls: Option<Spanned<TlsSection>>,
    /// Calls at once; more are answered `load limit`.
    pub max_calls: Option<Spanned<usize>>,
    /// Seconds that a call goes on after a `delete` that does not say how long.
    pub delete_delay: Option<Spanned<u32>>,
    /// Seconds after which a call ends whose offer was not answered.
    pub offer_timeout: Option<Spanned<u32>>,
    /// Seconds after which a call ends that was answered and of which nothing connects; 0 is never.
    pub connect_timeout: Option<Spanned<u32>>,
    /// Seconds without an octet after which a call ends; 0 is never.
    pub silence_timeout: Option<Spanned<u32>>,
    /// Lets media through that is not secured (`TCP/MSRP`).
    #[serde(default = "yes")]
    pub allow_plain: bool,
    /// Rewrites the paths of MSRP where the two ends could not find each other otherwise.
    #[serde(default = "yes")]
    pub aware: bool,
    /// Lets `TCP/TLS/MSRP` without `a=msrp-cema` through (networks with sessmatch).
    #[serde(default)]
    pub forward_without_cema: bool,
    /// `TCP/TLS` or `TCP`: what the gateway is told for end-to-end media.
    #[serde(default)]
    pub pass_through_transport: Transport248,
    /// `[gateway.NAME.ng.interface.INTERFACE]`: what `direction` names. Each realm is one, by its name, if
    /// there are none.
    #[serde(default)]
    pub interface: BTreeMap<String, Spanned<InterfaceSection>>,
}

/// `[gateway.NAME.ng.interface.INTERFACE]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct InterfaceSection {
    /// The realm whose addresses it has; its own name if absent.
    pub realm: Option<Spanned<String>>,
    /// IP version of its addresses where the request does not say; IPv4 if the realm has it, if absent.
    pub media: Option<Spanned<IpVersion>>,
    /// Terminals are here, not another network; so it is at an IMS-AGW, if absent.
    pub access: Option<bool>,
    /// TLS of terminals that ask for it may end here; so it may where terminals are at an IMS-AGW, if
    /// absent.
    pub e2ae: Option<Spanned<bool>>,
    /// Everybody here is behind a NAT, unless the request says otherwise.
    pub nat: bool,
    /// Which extension of MSRP the terminals here follow.
    pub msrp: Addressing,
    /// Media may come only from the address in the description, or the one its signalling comes from.
    pub source_filter: bool,
    /// Octets a second that one media line may send into the gateway.
    pub rate: Option<Spanned<u64>>,
    /// DSCP of media sent here, 0 to 63, where the request does not say.
    pub dscp: Option<Spanned<u8>>,
}

fn this_host() -> Spanned<Vec<Prefix>> {
    let four = Prefix { ip: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), bits: 8 };
    let six = Prefix { ip: IpAddr::V6(Ipv6Addr::LOCALHOST), bits: 128 };
    Spanned::new(0..0, vec![four, six])
}

fn yes() -> bool {
    true
}

impl NgSection {
    /// Every path of the section.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = self.tls.iter_mut().map(Spanned::as_mut).flat_map(|tls| {
            [Some(&mut tls.certificate), Some(&mut tls.key), tls.ca.as_mut()].into_iter().flatten()
        });
        tls.chain(self.token_file.as_mut()).map(Spanned::as_mut)
    }

    /// Its interfaces as they stand in the file, each with its name: those that it names, or else one for
    /// each realm. The first is that of requests without `direction`.
    pub fn interfaces(&self, gateway: &GatewaySection) -> Vec<(String, InterfaceSection)> {
        if self.interface.is_empty() {
            let mut realms: Vec<_> = gateway.realm.iter().collect();
            realms.sort_by_key(|(_, realm)| realm.span().start);
            return realms.into_iter().map(|(name, _)| (name.clone(), InterfaceSection::default())).collect();
        }
        let mut named: Vec<_> = self.interface.iter().collect();
        named.sort_by_key(|(_, interface)| interface.span().start);
        named.into_iter().map(|(name, interface)| (name.clone(), interface.as_ref().clone())).collect()
    }
}

impl InterfaceSection {
    /// Whether terminals are there.
    pub fn is_access(&self, role: GatewayRole) -> bool {
        self.access.unwrap_or(role == GatewayRole::ImsAgw)
    }

    /// Whether TLS may end there.
    pub fn has_e2ae(&self, role: GatewayRole) -> bool {
        let usual = role == GatewayRole::ImsAgw && self.is_access(role);
        self.e2ae.as_ref().map_or(usual, |e2ae| *e2ae.as_ref())
    }

    /// The name of its realm; `name` is its own.
    pub fn realm<'a>(&'a self, name: &'a str) -> &'a str {
        self.realm.as_ref().map_or(name, |realm| realm.as_ref())
    }
}

/// What a gateway could not be steered with.
pub(super) fn check(name: &str, gateway: &Spanned<GatewaySection>, section: &Spanned<NgSection>) -> Checked {
    let ng = section.as_ref();
    check_alone(gateway.as_ref(), section)?;
    check_listen(name, ng)?;
    if ng.peers.as_ref().is_empty() {
        return Err(Complaint::new(ng.peers.span(), "nobody could ask")
            .help("name the addresses of the SIP servers, or leave `peers` out for this host"));
    }
    if let Some(most) = ng.max_calls.as_ref().filter(|most| *most.as_ref() == 0) {
        return Err(Complaint::new(most.span(), "no call would be taken"));
    }
    let within = |setting: &Option<Spanned<u32>>, name: &str, range: RangeInclusive<u32>| match setting {
        Some(value) if !range.contains(value.as_ref()) => {
            let message = format!("`{name}` is {} to {} seconds", range.start(), range.end());
            Err(Complaint::new(value.span(), message))
        }
        _ => Ok(()),
    };
    within(&ng.delete_delay, "delete-delay", 0..=3_600)?;
    within(&ng.offer_timeout, "offer-timeout", 1..=LONGEST)?;
    within(&ng.connect_timeout, "connect-timeout", 0..=LONGEST)?;
    within(&ng.silence_timeout, "silence-timeout", 0..=LONGEST)?;
    ng.interface.iter().try_for_each(|(name, interface)| check_interface(name, gateway.as_ref(), interface))
}

/// Whoever steers it is its only controller, and in the same process.
fn check_alone(gateway: &GatewaySection, section: &Spanned<NgSection>) -> Checked {
    if gateway.role == GatewayRole::Mrfp {
        return Err(Complaint::new(
            section.span(),
            "an MRFP cannot be steered: it has conferences, not calls",
        )
        .help("put [gateway.NAME.ng] where an IMS-AGW or TrGW is"));
    }
    if !gateway.controllers.as_ref().is_empty() {
        return Err(Complaint::new(
            gateway.controllers.span(),
            "a gateway has `controllers` or is steered by `ng`, not both",
        )
        .help("take one of the two away, or make two gateways of it, with ports of their own"));
    }
    let control = [
        gateway.control_from.as_ref().map(Spanned::span),
        gateway.control_datagram.as_ref().map(Spanned::span),
        gateway.control_tls.as_ref().map(Spanned::span),
        gateway.control_authentication.as_ref().map(Spanned::span),
    ];
    match control.into_iter().flatten().next() {
        Some(at) => Err(Complaint::new(at, "this is about `controllers`, and a steered gateway has none")),
        None => Ok(()),
    }
}

fn check_listen(name: &str, ng: &NgSection) -> Checked {
    let binds = ng.listen.as_ref();
    if binds.is_empty() {
        return Err(Complaint::new(ng.listen.span(), "nobody could ask: `listen` names no socket"));
    }
    let datagrams = |bind: &NgBind| bind.proto == NgProto::Udp;
    for (index, bind) in binds.iter().enumerate() {
        let (at, bind) = (bind.span(), bind.as_ref());
        let same = |other: &&Spanned<NgBind>| {
            let other = other.as_ref();
            other.address == bind.address && other.address.port() != 0 && datagrams(other) == datagrams(bind)
        };
        if let Some(other) = binds.iter().take(index).find(same) {
            return Err(Complaint::new(at, format!("{} listens there already", other.as_ref())));
        }
        if bind.proto.is_tls() && ng.tls.is_none() {
            return Err(Complaint::new(at, format!("a `{}:` socket needs a certificate", bind.proto))
                .help(format!("add [gateway.{name}.ng.tls] with certificate and key")));
        }
    }
    match &ng.tls {
        Some(tls) if !binds.iter().any(|bind| bind.as_ref().proto.is_tls()) => {
            return Err(Complaint::new(tls.span(), "nothing here is reached by `tls:` or `https:`"));
        }
        Some(tls) => check_tls(tls.as_ref())?,
        None => {}
    }
    let Some(token) = &ng.token_file else { return Ok(()) };
    if binds.iter().all(|bind| datagrams(bind.as_ref())) {
        return Err(Complaint::new(
            token.span(),
            "a token is not asked for by `udp:`, and nothing else is here",
        )
        .help("over UDP `peers` alone says who may ask"));
    }
    must_be_a_file(token)
}

fn check_interface(name: &str, gateway: &GatewaySection, section: &Spanned<InterfaceSection>) -> Checked {
    let interface = section.as_ref();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Complaint::new(section.span(), "nobody could write this name in `direction`"));
    }
    let realm = interface.realm(name);
    let Some(addresses) = gateway.realm.get(realm) else {
        let at = interface.realm.as_ref().map_or(section.span(), Spanned::span);
        let known: Vec<_> = gateway.realm.keys().map(String::as_str).collect();
        return Err(Complaint::new(at, format!("this gateway has no realm `{realm}`"))
            .help(format!("there is {}; `realm` says which it is", known.join(", "))));
    };
    let addresses = addresses.as_ref();
    if let Some(media) = &interface.media {
        let (word, there) = match media.as_ref() {
            IpVersion::V4 => ("IPv4", addresses.v4.is_some()),
            IpVersion::V6 => ("IPv6", addresses.v6.is_some()),
        };
        if !there {
            return Err(Complaint::new(media.span(), format!("realm `{realm}` has no {word} address")));
        }
    }
    match &interface.e2ae {
        Some(e2ae) if *e2ae.as_ref() && gateway.role != GatewayRole::ImsAgw => {
            return Err(Complaint::new(e2ae.span(), "TLS of terminals ends at an IMS-AGW only")
                .help("set `role = \"ims-agw\"`"));
        }
        Some(e2ae) if *e2ae.as_ref() && !interface.is_access(gateway.role) => {
            return Err(Complaint::new(e2ae.span(), "`e2ae` needs `access = true`: it is for terminals"));
        }
        _ => {}
    }
    match (&interface.dscp, &interface.rate) {
        (Some(dscp), _) if *dscp.as_ref() > 63 => {
            Err(Complaint::new(dscp.span(), "`dscp` is 0 to 63")
                .help("that is the TOS octet divided by four"))
        }
        (_, Some(rate)) if *rate.as_ref() == 0 => Err(Complaint::new(rate.span(), "nothing would pass")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
