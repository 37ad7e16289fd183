//! Where octets come from and go to: the names the driver and the endpoint share.

use bytes::Bytes;
use std::fmt;
use std::net::SocketAddr;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams, no order, may be lost.
    Udp,
    /// A stream.
    Tcp,
    /// A stream protected by TLS.
    Tls,
}

impl Transport {
    /// Whether the transport itself delivers: no retransmission by transactions.
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    /// The port where none is written (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        if self == Self::Tls { 5061 } else { 5060 }
    }

    /// The transport named in a Via or a `transport` parameter, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            t if t.eq_ignore_ascii_case("udp") => Some(Self::Udp),
            t if t.eq_ignore_ascii_case("tcp") => Some(Self::Tcp),
            t if t.eq_ignore_ascii_case("tls") => Some(Self::Tls),
            _ => None,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}

/// One TCP or TLS connection, named by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// One way to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The transport protocol.
    pub transport: Transport,
    /// The neighbour's address.
    pub remote: SocketAddr,
    /// Our address. Outgoing, `None` leaves the choice of socket to the driver.
    pub local: Option<SocketAddr>,
    /// The connection. Outgoing, `None` lets the driver reuse or open one to `remote`.
    pub flow: Option<FlowId>,
    /// The name a TLS certificate must carry.
    pub server_name: Option<String>,
}

impl Hop {
    /// A hop by transport and address only.
    pub fn new(transport: Transport, remote: SocketAddr) -> Self {
        Self { transport, remote, local: None, flow: None, server_name: None }
    }

    /// Whether the failure of `other` is a failure of this hop.
    pub(crate) fn fails_with(&self, other: &Self) -> bool {
        match (self.flow, other.flow) {
            (Some(a), Some(b)) => a == b,
            _ => self.transport == other.transport && self.remote == other.remote,
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.remote)?;
        self.flow.map_or(Ok(()), |flow| write!(f, " #{}", flow.0))
    }
}

/// Octets that came in: one datagram, or one message a [`Framer`](crate::Framer) cut from a
/// stream.
#[derive(Debug, Clone)]
pub struct Input {
    /// The way they came.
    pub hop: Hop,
    /// The octets.
    pub data: Bytes,
}

/// Octets to send.
#[derive(Debug, Clone)]
pub struct Transmit {
    /// The way they go.
    pub hop: Hop,
    /// The octets: one datagram, or one whole message for a stream.
    pub data: Bytes,
}
