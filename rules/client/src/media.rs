//! What the driver is told to do with sockets: who connects where, who speaks TLS first, with
//! which key.

use std::fmt;
use std::net::SocketAddr;

use carnet_seal::Seal;

use crate::conference::Invitation;
use crate::file::FileOffer;

/// Who opens the TCP connection (RFC 4145 `a=setup`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpRole {
    /// Connect to [`Media::remote`].
    Active,
    /// Accept on [`Media::local`].
    Passive,
}

/// Who sends the ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsRole {
    /// Sends the ClientHello.
    Client,
    /// Waits for it.
    Server,
}

/// What the two ends do with the session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Messages both ways.
    Chat,
    /// One file from the caller to the called side (RFC 5547 push).
    SendFile(FileOffer),
    /// A conference.
    Conference(Invitation),
}

/// One message session, agreed by both sides.
#[derive(Debug)]
pub struct Media {
    /// Who opens the TCP connection.
    pub tcp: TcpRole,
    /// Who is the TLS client. Without a seal there is no TLS.
    pub tls: TlsRole,
    /// Where to accept connections; the address the driver gave for this call.
    pub local: SocketAddr,
    /// Where to connect to, if we do: `c=` and `m=` of the peer with CEMA (RFC 6714 §4.2), else the
    /// host and port of its path.
    pub remote: Option<Remote>,
    /// The key, or `None` for a session in clear, which only comes if the configuration allows it.
    pub seal: Option<Seal>,
    /// Our `a=path`.
    pub local_path: String,
    /// The peer's `a=path`, one URI or more, separated by spaces.
    pub remote_path: String,
    /// Content types the peer takes (`a=accept-types`), as it wrote them.
    pub accept_types: Vec<String>,
    /// Largest message the peer takes, in octets (`a=max-size`).
    pub max_size: Option<u64>,
    /// The file as it was agreed, if this is a file transfer; its range says where to begin.
    pub file: Option<FileOffer>,
}

/// The peer's transport address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// An address.
    Address(SocketAddr),
    /// A name to be resolved by the driver, and a port.
    Name(String, u16),
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}
