//! What carries messages.

/// A stream or datagrams; with it goes the version of the protocol (RFC 8855 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP or TLS, version 1: nothing is lost, nothing is repeated, server-initiated messages are not
    /// acknowledged.
    Stream,
    /// UDP or DTLS, version 2: requests of both sides are repeated until they are answered, long messages
    /// go in fragments.
    Datagram {
        /// Octets a datagram must stay below.
        mtu: usize,
    },
}

impl Transport {
    /// The version that is spoken over it.
    pub fn version(self) -> u8 {
        match self {
            Self::Stream => crate::message::RELIABLE,
            Self::Datagram { .. } => crate::message::DATAGRAM,
        }
    }
}
