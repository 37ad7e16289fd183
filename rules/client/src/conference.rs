//! Conferences as the client and its driver speak of them.
//!
//! RFC 4579 (joining and being called), RFC 7701 (message session of a chat room), RFC 8856 (floor control
//! line). A conference is known by its URI: that of the key exchange where there is one, because a border
//! on the way may stand in Contact; else that of Contact, else the one that was called.

use std::net::SocketAddr;

use carnet_seal::Seal;

use crate::event::CallId;
use crate::media::{Remote, TcpRole, TlsRole};

/// Where the driver accepts the connections of a conference call; it listens there already. A line whose
/// place is `None` is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// For messages.
    pub messages: Option<SocketAddr>,
    /// For floor control.
    pub floors: Option<SocketAddr>,
}

/// A conference that calls us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Whether it has messages.
    pub messages: bool,
    /// Whether it has floor control.
    pub floors: bool,
    /// The call by which we are in this conference already: the focus calls its members back after a
    /// loss. The driver takes such a call without asking; the old one then ends with
    /// [`Ending::CalledBack`](crate::Ending::CalledBack). Never set where the old call was sealed and
    /// this one is not.
    pub back: Option<CallId>,
}

/// A conference that we are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conference {
    /// Its URI.
    pub uri: String,
    /// Whether the media is sealed, and the URI therefore vouched for by the key server.
    pub sealed: bool,
    /// Whether messages come with it.
    pub messages: bool,
    /// Whether floor control comes with it.
    pub floors: bool,
    /// Whether it gives nicknames (RFC 7701 §7).
    pub nicknames: bool,
    /// Whether it passes messages to one member on (RFC 7701 §6.2).
    pub private_messages: bool,
    /// Largest message it takes, in octets, if it said so.
    pub max_size: Option<u64>,
}

/// The floor control connection of a conference, agreed by both sides. We are the floor control client.
#[derive(Debug)]
pub struct FloorMedia {
    /// Who opens the TCP connection.
    pub tcp: TcpRole,
    /// Who is the TLS client: the offerer, whoever connects (RFC 8856 §8). Without a seal there is no TLS.
    pub tls: TlsRole,
    /// Where to accept connections; the address the driver gave.
    pub local: SocketAddr,
    /// Where to connect to, if we do: `c=` and `m=` of the focus.
    pub remote: Option<Remote>,
    /// The key, or `None` for a connection in clear.
    pub seal: Option<Seal>,
    /// Conference id in every BFCP message.
    pub conference: u32,
    /// Our user id in every BFCP message.
    pub user: u16,
    /// The floors, as the focus lists them.
    pub floors: Vec<ControlledFloor>,
}

/// A floor and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlledFloor {
    /// Floor id.
    pub floor: u16,
    /// Labels of the streams that it controls; may be empty.
    pub streams: Vec<String>,
}
