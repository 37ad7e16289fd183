//! The Binary Floor Control Protocol (RFC 8855, and RFC 4582 which it replaces), sans-IO.
//!
//! * [`Message`]: the common header and the attributes as they came, in both versions: 1 over TCP and TLS,
//!   2 over UDP and DTLS.
//! * [`Body`]: what a message means, primitive by primitive (§5.3).
//! * [`Framer`]: messages on a stream (§6.1). [`fragments`], [`Assembly`]: large ones over datagrams (§6.2.3).
//!
//! * [`Association`]: what both ends do with a connection: framing, timers T1 and T2, repeated answers (§6, §8).
//! * [`Client`]: a participant or chair (§10 to §12).
//!
//! Not here: floors and who may have them, sockets.

mod association;
mod attribute;
mod body;
mod client;
mod error;
mod fragment;
mod framer;
mod message;
mod number;
mod timing;
mod transport;

pub use association::{Association, Incoming, Topic};
pub use attribute::{Attribute, Group, Text, Value};
pub use body::{Body, FloorState, RequestInformation, UserInformation};
pub use client::{Client, ClientEvent};
pub use error::{Error, Unsayable};
pub use fragment::{Assembly, fragments};
pub use framer::Framer;
pub use message::{Fragment, Header, Message};
pub use number::{ErrorCode, Primitive, Priority, RequestStatus, Status, attribute_name};
pub use transport::Transport;

/// How much a message may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Octets of a message, its header included. The format allows 262,152; floor control needs few.
    pub octets: usize,
    /// Attributes of a message, those in groups included. The default is what its octets can hold.
    pub attributes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { octets: 65_536, attributes: 16_384 }
    }
}
