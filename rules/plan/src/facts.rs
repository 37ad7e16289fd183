//! What a plan is made from besides the offer: the operator's wishes and what is known of the two ends.

use super::{TlsRole, Transport};

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Transport named to the gateway for end-to-end lines: [`Transport::TcpTls`] or [`Transport::Tcp`].
    pub transport: Transport,
    /// Carry MSRP whose sender does not follow RFC 6714 as in networks that match sessions by their
    /// identifier only. Off by default: such endpoints connect past the gateway or refuse.
    pub forward_without_cema: bool,
    /// Relay MSRP and BFCP over plain TCP. Off refuses them.
    pub relay_plain: bool,
    /// Rewrite the paths of MSRP where the two ends could not meet otherwise (TS 23.334 §5.19.5).
    pub aware: bool,
    /// Lines that are neither MSRP nor BFCP over TCP.
    pub other: Other,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            transport: Transport::default(),
            forward_without_cema: false,
            relay_plain: true,
            aware: true,
            other: Other::Pass,
        }
    }
}

/// What happens with media that is not MSRP or BFCP over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Other {
    /// Handed on untouched; it does not go through a gateway.
    #[default]
    Pass,
    /// 488.
    Refuse,
    /// RTP goes through an rtpengine; what is not RTP is handed on untouched.
    Rtpengine,
}

/// How the terminals of a network find each other in MSRP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Addressing {
    /// As each of them says: `a=msrp-cema` is RFC 6714, none is plain RFC 4975.
    #[default]
    Auto,
    /// RFC 6714.
    Cema,
    /// Sessions are matched by their identifier alone.
    Sessmatch,
    /// RFC 4975 only: the whole URI is compared. Such a terminal may ignore `a=msrp-cema`.
    Plain,
}

/// What a terminal said at its registration that it wants to be protected up to the access edge:
/// `mediasec` of RFC 3329 with `msrp-tls`, `bfcp-tls` (TS 24.229 §7.2A.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Registered {
    /// `msrp-tls`
    pub msrp: bool,
    /// `bfcp-tls`
    pub bfcp: bool,
}

/// What is known of one end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Party {
    /// It cannot be connected to.
    pub behind_nat: bool,
    /// It is a terminal in an access network of ours; else it is a network.
    pub access: bool,
    /// TLS of terminals may end at the gateway there (TS 23.334 §6.2.10.3).
    pub e2ae: bool,
    /// It is not shown the addresses of others: `o=` is rewritten.
    pub hide_origin: bool,
    /// What it registered.
    pub registered: Registered,
    /// How MSRP is addressed there.
    pub addressing: Addressing,
    /// Lines whose TLS ends at our gateway on this side since an earlier offer, and our role there.
    pub edge: Vec<(usize, TlsRole)>,
}

impl Party {
    /// Our TLS role on this line since an earlier offer.
    pub fn kept(&self, index: usize) -> Option<TlsRole> {
        self.edge.iter().find(|(i, _)| *i == index).map(|(_, role)| *role)
    }
}

/// What the gateways at hand can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Abilities {
    /// End TLS with a certificate (`tlsbsc`).
    pub tls: bool,
    /// Rewrite the paths of MSRP.
    pub aware: bool,
}

/// What is known besides the offer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The one that makes the offer.
    pub offerer: Party,
    /// The one that will answer.
    pub answerer: Party,
    /// The gateways.
    pub gateway: Abilities,
}
