//! What the operator sets.

use carnet_h248::MId;
use carnet_h248::association::{self, Transport};
use carnet_h248::controller::GatewayName;
use carnet_plan::{Addressing, Family, Policy};
use carnet_sip::Uri;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// An address prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The network's address.
    pub ip: IpAddr,
    /// Leading bits that count, at most 32 or 128.
    pub bits: u8,
}

impl Prefix {
    /// Whether `ip` is inside. IPv4 and IPv6 never match each other.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |a: &[u8], b: &[u8]| {
            let (whole, part) = (usize::from(self.bits / 8), self.bits % 8);
            let mask = u8::MAX.checked_shl(u32::from(8 - part)).unwrap_or(0);
            a.get(..whole) == b.get(..whole)
                && (part == 0 || a.get(whole).map(|b| b & mask) == b.get(whole).map(|b| b & mask))
        };
        match (self.ip, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(&a.octets(), &b.octets()),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(&a.octets(), &b.octets()),
            _ => false,
        }
    }
}

/// What sessions may take of one network. Emergency calls, and calls whose priority is trusted, are
/// admitted over every one of these, and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps {
    /// Calls at once with one end in this network; more are answered 503.
    pub sessions: Option<usize>,
    /// Calls at once of one registered user, made and taken; more are answered 486 where others call
    /// him, 503 where he calls.
    pub per_user: Option<usize>,
    /// Calls at once of one source address, of IPv6 one /64; more are answered 503.
    pub per_source: Option<usize>,
    /// Octets per second that all media lines of this network may come to, by what each says of itself
    /// (`b=TIAS`, `b=AS`), else by the network's rate; more is answered 503.
    pub bandwidth: Option<u64>,
}

/// One network the border stands in: an access network, the core, a peer network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its name in logs and events.
    pub name: String,
    /// The border's own SIP address there: host and port of Contact and Path, and `transport`
    /// where it is not UDP.
    pub contact: Uri,
    /// Local sockets that belong to this network: decide where a message came from, and where
    /// one for this network leaves from.
    pub listen: Vec<(carnet_sip::Transport, SocketAddr)>,
    /// Sources that may send here. Empty lets any source in.
    pub peers: Vec<Prefix>,
    /// Terminals are here: they register, and only registered ones may call.
    pub access: bool,
    /// The gateway's IP realm for media of this network.
    pub realm: String,
    /// IP version of its media addresses.
    pub family: Family,
    /// Let the gateway accept media connections only from the address in the peer's SDP.
    pub source_filter: bool,
    /// Replace the address in `o=` of what is sent here.
    pub hide_origin: bool,
    /// Octets per second and burst that one media stream may send into this border.
    pub rate: Option<(u64, u64)>,
    /// DSCP of media sent here, 0 to 63.
    pub dscp: Option<u8>,
    /// The interface of the rtpengine that faces this network; its own default if either of two networks
    /// has none.
    pub rtp_interface: Option<String>,
    /// TLS of terminals may end at the gateway (TS 23.334 §6.2.10.3), and terminals are told so when
    /// they register. Means nothing where there are no terminals.
    pub e2ae: bool,
    /// How MSRP endpoints here find each other.
    pub msrp: Addressing,
    /// End a call when the TLS of one of its lines ends at the gateway and does not come about. Off
    /// tells of it and leaves the call to its ends.
    pub tls_failure_ends: bool,
    /// What sessions may take.
    pub caps: Caps,
}

impl Network {
    /// A network with the usual settings.
    pub fn new(name: &str, contact: Uri, realm: &str) -> Self {
        Self {
            name: name.into(),
            contact,
            listen: Vec::new(),
            peers: Vec::new(),
            access: false,
            realm: realm.into(),
            family: Family::V4,
            source_filter: false,
            hide_origin: false,
            rate: None,
            dscp: None,
            rtp_interface: None,
            e2ae: true,
            msrp: Addressing::default(),
            tls_failure_ends: true,
            caps: Caps::default(),
        }
    }
}

/// Where requests for a domain go.
#[derive(Debug, Clone)]
pub struct Route {
    /// The domain; `*` for all that no other route names. A leading dot takes subdomains. What
    /// has no domain is named by its beginning: `tel:`, `tel:+49`, `urn:service:sos`.
    pub domain: String,
    /// The network it is reached in, by name.
    pub network: String,
    /// The next hop; `None` resolves the Request-URI itself (RFC 3263).
    pub hop: Option<Uri>,
}

/// A user who may register, for the border's own registrar.
pub struct User {
    /// Address of record, `sip:alice@example`.
    pub aor: Uri,
    /// Digest user name.
    pub username: String,
    /// Digest password.
    pub password: carnet_sip::Password,
}

/// What happens with REGISTER.
#[derive(Default)]
pub enum Registration {
    /// 403: an IBCF.
    #[default]
    None,
    /// The border is the registrar.
    Local {
        /// Digest realm and the domain served.
        realm: String,
        /// Who may register.
        users: Vec<User>,
        /// Digest algorithms offered, the best first (RFC 8760 §2.3). Some clients read only the
        /// first.
        algorithms: Vec<carnet_sip::Algorithm>,
        /// Longest binding granted, in seconds.
        max_expires: u32,
        /// Shortest binding granted, in seconds (423 below).
        min_expires: u32,
    },
    /// REGISTER goes on to a registrar, with Path (RFC 3327); its Service-Route is kept
    /// (RFC 3608).
    Forward {
        /// The next hop.
        hop: Uri,
        /// The network it is reached in, by name.
        network: String,
    },
}

/// A gateway that may be used.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Gateway {
    /// Its name here.
    pub name: GatewayName,
    /// What it calls itself; it registers with this.
    pub mid: MId,
    /// How its transaction layer behaves, and what carries it.
    pub association: association::Config,
    /// The realms it serves; empty means all.
    pub realms: Vec<String>,
    /// Where its messages may come from; empty lets any source in. A channel has no address and is
    /// not asked for one.
    pub peers: Vec<Prefix>,
    /// Transport named to it for end-to-end lines, if not that of the policy.
    pub pass_through: Option<carnet_plan::Transport>,
    /// Its share of calls beside others, at least 1.
    pub weight: u32,
    /// Profiles it may name, if not those of all gateways; empty is any.
    pub profiles: Option<Vec<carnet_h248::Profile>>,
}

impl Gateway {
    /// A gateway for all realms, taken from anywhere, with the policy's transport and weight 1.
    pub fn new(name: impl Into<GatewayName>, mid: MId, transport: Transport) -> Self {
        Self {
            name: name.into(),
            mid,
            association: association::Config::new(transport),
            realms: Vec::new(),
            peers: Vec::new(),
            pass_through: None,
            weight: 1,
            profiles: None,
        }
    }
}

/// Times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Longest wait for a gateway's answer during call set-up; then another one is tried.
    pub gateway: Duration,
    /// Longest time from an INVITE, or from the last provisional response to it, to its final response
    /// (RFC 3261 §16.8 timer C). 100 is none of these.
    pub ringing: Duration,
    /// How long the terminals of one q value ring before those of the next are tried.
    pub hunt: Duration,
    /// Heartbeat of a termination (`hangterm/thb`); zero turns it off.
    pub heartbeat: Duration,
    /// A stream without octets for this long ends the call (`adid/ipstop`).
    pub inactivity: Option<Duration>,
    /// Wait before a Subtract that failed is repeated.
    pub subtract_again: Duration,
    /// Retry-After of a 503.
    pub retry_after: Duration,
    /// A gateway that says nothing is asked after this long.
    pub gateway_heartbeat: Duration,
    /// A gateway silent for this long is lost, and its calls end.
    pub gateway_lost: Duration,
    /// What a gateway on the network has is compared with what calls have so often; none leaves it to
    /// doubts.
    pub gateway_audit: Option<Duration>,
    /// What a gateway brings from another border is left alone for so long (RFC 3525 §11.5): media goes
    /// on until then or until it ends by itself. Zero ends it at once.
    pub gateway_grace: Duration,
    /// After a start with calls of before their gateways have so long to come back; then the calls end.
    pub gateway_return: Duration,
    /// A call whose gateway is lost may take so long to offer its media anew (RFC 4975 §5.4) before it is
    /// ended; zero ends it at once.
    pub media_return: Duration,
    /// Time that a refresh of a session timer may be late (RFC 4028 §10).
    pub session_grace: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            gateway: Duration::from_secs(5),
            ringing: Duration::from_secs(185),
            hunt: Duration::from_secs(20),
            heartbeat: Duration::from_secs(120),
            inactivity: None,
            subtract_again: Duration::from_secs(2),
            retry_after: Duration::from_secs(10),
            gateway_heartbeat: Duration::from_secs(2),
            gateway_lost: Duration::from_secs(6),
            gateway_audit: Some(Duration::from_secs(300)),
            gateway_grace: Duration::from_secs(60),
            gateway_return: Duration::from_secs(60),
            media_return: Duration::from_secs(60),
            session_grace: Duration::from_secs(32),
        }
    }
}

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once; more are answered 503. Emergency calls, and those whose priority is trusted, have
    /// room for a tenth more.
    pub calls: usize,
    /// Ended calls kept for messages that come late, some 40 s each; with more, new calls are answered 503
    /// as above.
    pub ended: usize,
    /// Dialogs without a call (SUBSCRIBE, REFER); more are answered 503.
    pub subscriptions: usize,
    /// Dialogs one call or subscription may fork into; further ones are not passed on.
    pub forks: usize,
    /// Further targets that 3xx responses may bring one INVITE to (RFC 3261 §16.5); none passes a 3xx on to
    /// who asked.
    pub redirects: usize,
    /// Media lines of one call that may be on a gateway.
    pub streams: usize,
    /// Messages of one call that wait for the gateway.
    pub held: usize,
    /// Requests to one gateway without an answer; with more it gets no new contexts.
    pub gateway_requests: usize,
    /// Gateways that are tried for one context.
    pub attempts: usize,
    /// Bindings in the registrar.
    pub bindings: usize,
    /// Contacts of one address of record.
    pub contacts: usize,
    /// What one session description may hold.
    pub sdp: carnet_sdp::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 20_000,
            ended: 100_000,
            subscriptions: 50_000,
            forks: 12,
            redirects: 0,
            streams: 8,
            held: 16,
            gateway_requests: 1_000,
            attempts: 3,
            bindings: 100_000,
            contacts: 10,
            sdp: carnet_sdp::Limits::default(),
        }
    }
}

/// Everything a border is told at its start.
pub struct Config {
    /// Its name: the host in Warning, and its H.248 message identifier `<name>`.
    pub name: String,
    /// At least one.
    pub networks: Vec<Network>,
    /// Routing table.
    pub routes: Vec<Route>,
    /// REGISTER.
    pub registration: Registration,
    /// What may pass.
    pub policy: Policy,
    /// Gateways.
    pub gateways: Vec<Gateway>,
    /// Where RTP lines go if the policy says so.
    pub rtpengine: Option<crate::rtp::Rtpengine>,
    /// H.248 profiles accepted; empty accepts any.
    pub profiles: Vec<carnet_h248::Profile>,
    /// Another border for our gateways: those that register while this one takes no more calls are
    /// sent there, and when this one has ended its calls it hands its gateways over (RFC 3525 §11.5).
    pub alternate: Option<MId>,
    /// Times.
    pub timers: Timers,
    /// Bounds.
    pub limits: Limits,
    /// The SIP core.
    pub sip: carnet_sip::Config,
}
