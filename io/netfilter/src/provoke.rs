//! Has a peer find out that its connection is gone.
//!
//! When a session is released, the kernel forgets its connection; the peers do not know. We do not know their
//! sequence numbers, so a RST of our own would be ignored (RFC 5961 §3). But a peer answers a SYN in a connection
//! that is up with the numbers that it is at (RFC 5961 §4), and our own kernel,
//! which has no such connection, answers that with a RST that the peer believes.
//!
//! A SYN, not an ACK out of the window, which is answered as well (RFC 9293 §3.10.7.4): firewalls and translators on the way let a SYN
//! pass that they do not understand, and drop what is out of the window; and stacks from before RFC 5961 end their connection at once.
//! They let it pass from who began the connection to the other, and a SYN with ACK the other way round (as connection tracking of Linux
//! does in a connection that is up). Whichever end the peer is, one of the two gets to it; to nobody in between, both do, and the second
//! finds the connection gone.

use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::address::octets;
use crate::{Conntrack, Error, Flow};

/// Sends such a segment from one of our addresses to a peer of a connection that is forgotten, for each of these
/// (ours, peer's).
///
/// # Errors
///
/// The first of what went wrong: the process may not (`CAP_NET_RAW`), or there is no way to a peer. The others
/// are sent to all the same.
pub fn provoke(conntrack: &mut Conntrack, connections: &[(SocketAddr, SocketAddr)]) -> Result<(), Error> {
    let mut sockets: Vec<(IpAddr, Socket)> = Vec::new();
    let mut begun = Vec::with_capacity(connections.len());
    let mut outcome = Ok(());
    for &(local, peer) in connections {
        match send(&mut sockets, local, peer) {
            // Connection tracking took it for the beginning of a connection from here to there: the next one that the
            // peer opens from its port would be taken for that one's answer, and not be translated.
            Ok(()) => begun.push(Flow { caller: local, local: peer }),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome.and(conntrack.delete_all(&begun))
}

fn send(sockets: &mut Vec<(IpAddr, Socket)>, local: SocketAddr, peer: SocketAddr) -> Result<(), Error> {
    let index = match sockets.iter().position(|(address, _)| *address == local.ip()) {
        Some(index) => index,
        None => {
            sockets.push((local.ip(), raw(local.ip())?));
            sockets.len() - 1
        }
    };
    if let Some((_, socket)) = sockets.get(index) {
        // A raw socket has no ports: IPv6 insists on that.
        let to = SockAddr::from(SocketAddr::new(peer.ip(), 0));
        let sequence = u32::from(local.port()) << 16 | u32::from(peer.port());
        for flags in [SYN | ACK, SYN] {
            socket.send_to(&segment(local, peer, sequence, flags), &to)?;
        }
    }
    Ok(())
}

/// A raw socket with one of our addresses.
pub(crate) fn raw(local: IpAddr) -> Result<Socket, Error> {
    let domain = if local.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::TCP)).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Error::NotPermitted("a raw socket: CAP_NET_RAW is missing"),
        _ => error.into(),
    })?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(SocketAddr::new(local, 0)))?;
    Ok(socket)
}

/// Control bits (RFC 9293 §3.1).
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A segment without options or data (RFC 9293 §3.1).
fn segment(local: SocketAddr, peer: SocketAddr, sequence: u32, flags: u8) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20);
    segment.extend(local.port().to_be_bytes());
    segment.extend(peer.port().to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend([0; 4]);
    // Five words, a window of 1, and no checksum yet.
    segment.extend([5 << 4, flags, 0, 1, 0, 0, 0, 0]);
    let mut pseudo = [octets(local.ip()), octets(peer.ip())].concat();
    pseudo.extend([0, 6, 0, 20]);
    let sum = checksum(&[pseudo.as_slice(), &segment].concat());
    if let Some(place) = segment.get_mut(16..18) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    segment
}

/// RFC 1071 §1
pub(crate) fn checksum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_over_what_has_one_is_zero() {
        // RFC 1071 §3
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        let (local, peer) = ("192.0.2.1:5000".parse().unwrap(), "198.51.100.2:80".parse().unwrap());
        let segment = segment(local, peer, 1 << 31, SYN);
        let pseudo = [192, 0, 2, 1, 198, 51, 100, 2, 0, 6, 0, 20];
        assert_eq!(checksum(&[pseudo.as_slice(), &segment].concat()), 0);
    }
}
