//! What a plan says: the decision for each line, and what it means on each of its two legs.

use super::Edit;
use carnet_sdp::{Media, Reuse, Setup};
use std::fmt;
use std::net::SocketAddr;

/// A transport named to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Transport {
    /// `TCP/TLS`: octets are passed on unread. Without a fingerprint TLS passes through; with one it
    /// ends there.
    #[default]
    TcpTls,
    /// `TCP`: octets are passed on unread. As TS 23.334 §6.2.10A has it, TLS that passes through too.
    Tcp,
    /// `TCP/MSRP`: paths are rewritten.
    TcpMsrp,
    /// `TCP/TLS/MSRP`: TLS ends, and paths are rewritten.
    TcpTlsMsrp,
    /// `TCP/BFCP`: octets are passed on unread.
    TcpBfcp,
    /// `TCP/TLS/BFCP`: TLS ends, and octets are passed on unread.
    TcpTlsBfcp,
}

impl Transport {
    /// As written in `m=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TcpTls => "TCP/TLS",
            Self::Tcp => "TCP",
            Self::TcpMsrp => "TCP/MSRP",
            Self::TcpTlsMsrp => "TCP/TLS/MSRP",
            Self::TcpBfcp => "TCP/BFCP",
            Self::TcpTlsBfcp => "TCP/TLS/BFCP",
        }
    }
}

/// The application whose octets the stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Application {
    /// RFC 4975.
    Msrp,
    /// RFC 8855.
    Bfcp,
}

impl Application {
    /// The last part of its transports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Msrp => "MSRP",
            Self::Bfcp => "BFCP",
        }
    }

    /// Its transport in `m=`, with TLS or without.
    pub fn proto(self, tls: bool) -> &'static str {
        match (self, tls) {
            (Self::Msrp, true) => "TCP/TLS/MSRP",
            (Self::Msrp, false) => "TCP/MSRP",
            (Self::Bfcp, true) => "TCP/TLS/BFCP",
            (Self::Bfcp, false) => "TCP/BFCP",
        }
    }
}

/// Our end of a TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsRole {
    /// The gateway starts it.
    Client,
    /// The gateway waits for it.
    Server,
}

impl TlsRole {
    /// A word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// TLS that ends at the gateway on a leg.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Our role; `None` while it is open who connects.
    pub role: Option<TlsRole>,
    /// The peer's fingerprints as in its SDP, `SHA-256 4A:AD:…`; none before it has spoken.
    pub fingerprints: Vec<String>,
}

/// One side of a line as the gateway is to have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leg {
    /// The transport in the SDP of this side.
    pub proto: String,
    /// The transport named to the gateway.
    pub transport: Transport,
    /// TLS ends there.
    pub tls: Option<Tls>,
    /// The gateway's role in TCP, `a=setup` of Local; `ActPass` while that is open.
    pub setup: Setup,
    /// The paths of MSRP are rewritten. Both legs of a line have it or none.
    pub aware: bool,
    /// The peer's `a=path`, for Remote, where paths are rewritten and it has spoken.
    pub path: Option<String>,
}

/// The two sides of a line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Legs {
    /// Of the one that made the offer.
    pub offerer: Leg,
    /// Of the one that answers.
    pub answerer: Leg,
}

/// Why a line cannot be carried, and what to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// SIP status.
    pub status: u16,
    /// Warning code (RFC 3261 §20.43).
    pub warning: u16,
    /// Why, in one sentence.
    pub reason: &'static str,
}

impl Refusal {
    pub(crate) const fn new(status: u16, warning: u16, reason: &'static str) -> Self {
        Self { status, warning, reason }
    }
}

/// What happens with one media line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// TLS from end to end: the gateway relays octets and is given no TLS data.
    EndToEnd,
    /// TLS ends at the gateway on one access or on both; between the two it is TCP in clear.
    Edge {
        /// On the offerer's side.
        offerer: bool,
        /// On the answerer's side.
        answerer: bool,
    },
    /// TCP in clear: the gateway relays octets.
    Plain,
    /// TCP in clear, and the gateway rewrites the paths of MSRP.
    Aware,
    /// Not touched; media does not go through a gateway.
    Pass,
    /// RTP: an rtpengine is asked.
    Rtpengine,
    /// Port 0: not in use.
    Unused,
    /// The offer cannot be carried.
    Refuse(Refusal),
}

impl Decision {
    /// A stable name for logs: `e2e`, `e2ae`, `plain`, `aware`, `pass`, `rtpengine`, `unused`, `refuse`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::EndToEnd => "e2e",
            Self::Edge { .. } => "e2ae",
            Self::Plain => "plain",
            Self::Aware => "aware",
            Self::Pass => "pass",
            Self::Rtpengine => "rtpengine",
            Self::Unused => "unused",
            Self::Refuse(_) => "refuse",
        }
    }

    /// Whether the line goes through a gateway of ours.
    pub fn is_anchored(&self) -> bool {
        matches!(self, Self::EndToEnd | Self::Edge { .. } | Self::Plain | Self::Aware)
    }
}

/// What one side said of a line, as far as a plan needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// Transport as written.
    pub proto: String,
    /// Where it waits for connections, if `c=` has a literal address.
    pub address: Option<SocketAddr>,
    /// Port 0.
    pub rejected: bool,
    /// `a=setup`
    pub setup: Option<Setup>,
    /// The connection is to be a new one (RFC 4145 §5.1).
    pub anew: bool,
    /// It asks for the connection that exists to be kept.
    pub existing: bool,
    /// `a=msrp-cema`
    pub cema: bool,
    /// `a=path`
    pub path: Option<String>,
    /// `a=fingerprint`, as `hash value`.
    pub fingerprints: Vec<String>,
    /// `a=x-carnet-tlsrole:mikey`: it takes its TLS role from the key exchange.
    pub mikey_role: bool,
}

impl Said {
    /// Reads a line of an offer or an answer.
    pub fn of(m: &Media<'_>) -> Self {
        let reuse = m.reuse_said();
        Self {
            proto: m.proto().to_owned(),
            address: m.address(),
            rejected: m.is_rejected(),
            setup: m.setup(),
            anew: reuse == Some(Reuse::New),
            existing: reuse == Some(Reuse::Existing),
            cema: m.msrp_cema(),
            path: m.path().map(str::to_owned),
            fingerprints: m.fingerprints().iter().map(|f| format!("{} {}", f.hash, f.value)).collect(),
            mikey_role: m.tls_role_by_mikey(),
        }
    }
}

/// The decision for one media line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Position among the media lines, from 0.
    pub index: usize,
    /// Media type and transport as offered, for people.
    pub offered: String,
    /// What is inside, of lines that go through a gateway.
    pub application: Option<Application>,
    /// What to do.
    pub decision: Decision,
    /// Why, in one sentence.
    pub reason: &'static str,
    /// The two sides before the answer has come, of lines that go through a gateway.
    pub legs: Option<Legs>,
    /// What the offerer said.
    pub said: Said,
    /// The `a=setup` that the answerer sees.
    pub setup_sent: Option<Setup>,
    /// Changes of the offer as it is sent on.
    pub edits: Vec<Edit>,
}

/// The decisions for all lines of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In the order of the media lines.
    pub lines: Vec<Line>,
    /// Changes of the session section of the offer as it is sent on.
    pub edits: Vec<Edit>,
}

impl Plan {
    /// The first line that cannot be carried; the offer is refused for it.
    pub fn refusal(&self) -> Option<Refusal> {
        self.lines.iter().find_map(|l| if let Decision::Refuse(r) = l.decision { Some(r) } else { None })
    }

    /// All changes of the offer as it is sent on, those of the session section first.
    pub fn all_edits(&self) -> impl Iterator<Item = &Edit> {
        self.edits.iter().chain(self.lines.iter().flat_map(|l| &l.edits))
    }
}

/// A line when the answer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The two sides as the gateway is to have them now.
    pub legs: Legs,
    /// Media may flow; `false` for `a=setup:holdconn`.
    pub open: bool,
    /// The gateway waits for both ends (merge mode, TS 23.334 §6.2.18.4).
    pub merged: bool,
    /// What the answerer said.
    pub said: Said,
    /// The `a=setup` that the offerer sees.
    pub setup_sent: Option<Setup>,
    /// Changes of the answer as it is sent back.
    pub edits: Vec<Edit>,
    /// Why, in one sentence.
    pub reason: &'static str,
}

/// All lines when the answer has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settlement {
    /// In the order of the media lines; `None` where a line is not in use or not carried by us.
    pub lines: Vec<Option<Settled>>,
    /// Changes of the session section of the answer as it is sent back.
    pub edits: Vec<Edit>,
}

impl Settlement {
    /// All changes of the answer as it is sent back, those of the session section first.
    pub fn all_edits(&self) -> impl Iterator<Item = &Edit> {
        self.edits.iter().chain(self.lines.iter().flatten().flat_map(|l| &l.edits))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} ({}): {}", self.index, self.offered, self.decision.name())?;
        if let Some(legs) = &self.legs {
            let (offerer, answerer) = (legs.offerer.transport, legs.answerer.transport);
            match offerer == answerer {
                true => write!(f, " over {}", offerer.as_str())?,
                false => write!(f, " over {} and {}", offerer.as_str(), answerer.as_str())?,
            }
            if let Some(setup) = self.setup_sent.filter(|sent| Some(*sent) != self.said.setup) {
                write!(f, ", a=setup:{setup}")?;
            }
        }
        if let Decision::Refuse(refusal) = self.decision {
            write!(f, " {}", refusal.status)?;
        }
        write!(f, ", {}", self.reason)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.lines.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            line.fmt(f)?;
        }
        Ok(())
    }
}
