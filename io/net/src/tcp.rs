//! TCP sockets as all drivers want them.

use crate::{Error, inherited};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Pause after a failure to accept.
pub(crate) const BREATH: Duration = Duration::from_millis(50);
/// Connections the system may hold for us before we accept them.
const BACKLOG: i32 = 1024;

/// Listens on an address of one IP version; the address with its real port.
pub(crate) fn listen(what: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let open = || -> io::Result<_> {
        if let Some(listener) = inherited::tcp(address) {
            return Ok((TcpListener::from_std(listener)?, address));
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    };
    open().map_err(|source| Error::Listen { what, address, source })
}

/// Connects, from one of our addresses if it matters which.
pub(crate) async fn connect(remote: SocketAddr, from: Option<IpAddr>) -> Result<TcpStream, String> {
    let attempt = async {
        let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from.filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == remote.is_ipv4()) {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        socket.connect(remote).await
    };
    let stream = attempt.await.map_err(|e: io::Error| e.to_string())?;
    prepare(&stream);
    Ok(stream)
}

/// No delay for small messages, and the system watches for peers that vanished.
pub(crate) fn prepare(stream: &TcpStream) {
    // Best effort: a connection works without either.
    let _ = stream.set_nodelay(true);
    let watch = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    let _ = SockRef::from(stream).set_tcp_keepalive(&watch);
}

/// What we have sent has to arrive within `limit`, or the connection ends (RFC 5482, as far as it is ours).
pub(crate) fn hurry(stream: &TcpStream, limit: Duration) {
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(limit));
}

/// Ends a connection at once, so that the peer knows that it was not accepted.
pub(crate) fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}
