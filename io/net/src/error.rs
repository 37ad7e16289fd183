//! What can go wrong with sockets.

use std::io;
use std::net::SocketAddr;

/// A socket that could not be opened, or octets that could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address that could not be listened on.
    #[error("cannot listen on {what} {address}: {source}")]
    Listen {
        /// `UDP`, `TCP` ...
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// TLS sockets without TLS settings.
    #[error("a TLS socket on {0} needs a certificate")]
    NoTls(SocketAddr),
    /// A file of TLS that cannot be used.
    #[error("{0}")]
    Certificate(String),
    /// The connection is gone.
    #[error("the connection is gone")]
    Gone,
    /// The peer does not take what is sent to it: its queue here is full.
    #[error("the peer does not read: its queue is full")]
    QueueFull,
    /// No more connections are allowed.
    #[error("the limit of {0} connections is reached")]
    TooManyConnections(usize),
    /// No socket of that transport and IP version.
    #[error("no socket here can send to {0}")]
    NoSocket(SocketAddr),
    /// A message with keys and no protection.
    #[error("a message with keys does not leave over a connection that others can read")]
    Unprotected,
    /// A message that cannot be encoded.
    #[error("a message that cannot be written: {0}")]
    Unprintable(String),
}
