//! TCP sockets as a pinhole needs them.
//!
//! A port is held by a bound socket that does not listen: to whoever connects the host answers
//! with a reset, which is what a gate looks like that was closed. Opening the gate is `listen`; closing it
//! again is `shutdown`, which on Linux returns a listening socket to the bound state. Before the gate opens
//! for the first time the socket listens already, and nobody accepts.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

use carnet_gateway::media::SourceFilter;
use rustix::fd::AsFd;
use rustix::net::{SocketFlags, acceptfrom_with, sockopt};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections the kernel may complete before the loop takes them. One too many waits a second (until
/// its SYN is repeated), so this is for how many may come while the loop's thread is not scheduled.
pub(super) const BACKLOG: i32 = 512;
/// The same for all pinholes of an address together; the host allows 4,096 by default (`net.core.somaxconn`).
const DOOR_BACKLOG: i32 = 16_384;
/// The same before the gate opens: one is meant to come.
const EARLY_BACKLOG: i32 = 64;
/// Signs of life that a peer may owe before it is taken for dead.
const PROBES: u32 = 4;

/// A socket bound to `local`, refusing connections.
pub(crate) fn bound(local: SocketAddr, dscp: Option<u8>) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::TCP))?;
    // A connection of the previous lease may still be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // What accept returns inherits it.
    socket.set_tcp_nodelay(true)?;
    if dscp.is_some() {
        mark(&socket, local, dscp);
    }
    socket.bind(&local.into())?;
    Ok(socket)
}

/// A socket that listened before we had it, with what connections inherit from those of our own.
pub(crate) fn heir(socket: Socket, local: SocketAddr, dscp: Option<u8>) -> io::Result<Socket> {
    socket.set_tcp_nodelay(true)?;
    if dscp.is_some() {
        mark(&socket, local, dscp);
    }
    Ok(socket)
}

/// One for a pinhole, with what its connections are to inherit.
pub(super) fn of_pinhole(
    local: SocketAddr,
    dscp: Option<u8>,
    user_timeout: Option<Duration>,
) -> io::Result<Socket> {
    let socket = bound(local, dscp)?;
    give_up_after(&socket, user_timeout);
    Ok(socket)
}

/// Whether a pinhole may have this address although it has no socket there.
///
/// # Errors
///
/// Somebody else has it.
pub(crate) fn is_free(local: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(local), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&local.into())
}

/// A listening socket that takes callers of all ports of an address, if they are steered to it.
pub(crate) fn transparent(address: IpAddr) -> io::Result<Socket> {
    let local = SocketAddr::new(address, 0);
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::TCP))?;
    // What accept returns inherits both, and the port may be called from again.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_ip_transparent_v6(true)?;
    } else {
        socket.set_ip_transparent_v4(true)?;
    }
    socket.bind(&local.into())?;
    socket.listen(DOOR_BACKLOG)?;
    Ok(socket)
}

/// Has the kernel ask the peer for signs of life. Not done at once, because most connections end
/// before it would matter.
pub(crate) fn keep_alive(socket: &Socket, after: Duration) {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(32_767));
    let keepalive = TcpKeepalive::new()
        .with_time(after.clamp(least, most))
        .with_interval((after / PROBES).clamp(least, most))
        .with_retries(PROBES);
    // Without it, a peer that vanished is noticed when something is sent.
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// How long octets may go unacknowledged (RFC 5482). What accept returns inherits it.
pub(crate) fn give_up_after(socket: &Socket, timeout: Option<Duration>) {
    if timeout.is_some() {
        let _ = socket.set_tcp_user_timeout(timeout);
    }
}

/// Bounds what the kernel keeps of the octets on their way from one socket to the other.
pub(super) fn bound_buffers(from: &Socket, to: &Socket, size: usize) {
    let _ = from.set_recv_buffer_size(size);
    let _ = to.set_send_buffer_size(size);
}

/// Sets the DSCP (`ds/dscp`). A host that does not let us leaves packets unmarked, which harms
/// nobody; it is no reason to refuse media.
pub(crate) fn mark(socket: &Socket, local: SocketAddr, dscp: Option<u8>) {
    let field = u32::from(dscp.unwrap_or(0)) << 2;
    let _ = if local.is_ipv4() { socket.set_tos_v4(field) } else { socket.set_tclass_v6(field) };
}

pub(crate) fn listen(socket: &Socket) -> io::Result<()> {
    socket.listen(BACKLOG)
}

/// Has callers wait before anybody takes them.
pub(crate) fn listen_early(socket: &Socket) -> io::Result<()> {
    socket.listen(EARLY_BACKLOG)
}

/// From listening back to bound.
pub(crate) fn unlisten(socket: &Socket) -> io::Result<()> {
    socket.shutdown(Shutdown::Read)
}

/// The next connection, non-blocking, with its peer.
pub(crate) fn accept(socket: &Socket) -> io::Result<(Socket, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (accepted, peer) = acceptfrom_with(socket.as_fd(), flags)?;
    let accepted = Socket::from(accepted);
    let peer = peer
        .and_then(|peer| SocketAddr::try_from(peer).ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
    Ok((accepted, peer))
}

/// Starts a connection. `eager`: there is something to send as soon as it is made; the last segment of
/// the handshake then waits for it and goes with it.
pub(crate) fn connect(socket: &Socket, remote: SocketAddr, eager: bool) -> io::Result<()> {
    if eager {
        let _ = sockopt::set_tcp_quickack(socket, false);
    }
    match socket.connect(&remote.into()) {
        Err(error) if error.raw_os_error() == Some(INPROGRESS) => Ok(()),
        other => other,
    }
}

const INPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// Closes with a reset.
pub(crate) fn reset(socket: Socket) {
    // Without the option the close is an orderly one; the peer is rid of us in both cases.
    let _ = socket.set_linger(Some(Duration::ZERO));
}

/// Whether the filter lets a source in.
pub(crate) fn allowed(filter: &SourceFilter, source: SocketAddr) -> bool {
    let network = filter.network.is_none_or(|(network, length)| within(network, length, source.ip()));
    let port = filter.ports.is_none_or(|(first, last)| (first..=last).contains(&source.port()));
    network && port
}

/// Whether an address has the first `length` bits of a network. IPv4 and IPv6 never match each other.
pub(crate) fn within(network: IpAddr, length: u8, address: IpAddr) -> bool {
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => (u128::from(n.to_bits()), u128::from(a.to_bits()), 32),
        (IpAddr::V6(n), IpAddr::V6(a)) => (n.to_bits(), a.to_bits(), 128),
        _ => return false,
    };
    let host_bits = width - u32::from(length).min(width);
    let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    network & mask == address & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(network: &str, length: u8) -> SourceFilter {
        SourceFilter { network: Some((network.parse().unwrap(), length)), ports: None }
    }

    #[test]
    fn filters_compare_prefixes() {
        let from = |source: &str| source.parse().unwrap();
        assert!(allowed(&filter("198.51.100.20", 32), from("198.51.100.20:1")));
        assert!(!allowed(&filter("198.51.100.20", 32), from("198.51.100.21:1")));
        assert!(allowed(&filter("198.51.100.0", 24), from("198.51.100.21:1")));
        assert!(allowed(&filter("0.0.0.0", 0), from("203.0.113.1:1")));
        assert!(!allowed(&filter("0.0.0.0", 0), from("[::1]:1")));
        assert!(allowed(&filter("2001:db8::", 32), from("[2001:db8:1::7]:1")));
        assert!(!allowed(&filter("2001:db8::", 32), from("[2001:db9::7]:1")));
    }

    #[test]
    fn filters_compare_ports() {
        let filter = SourceFilter { network: None, ports: Some((1024, 2048)) };
        assert!(allowed(&filter, "192.0.2.1:1024".parse().unwrap()));
        assert!(!allowed(&filter, "192.0.2.1:2049".parse().unwrap()));
    }
}
