//! The socket on which an rtpengine is told what to do (ng over UDP).
//!
//! One socket, one peer: what anybody else sends is dropped. What is sent and does not arrive is sent again
//! by the client, so errors of the network are not told.

use crate::Error;
use crate::udp::{Datagrams, UdpPort};
use bytes::Bytes;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::sync::{mpsc, watch};

/// Datagrams that wait to be read or sent.
const WAITING: usize = 1_024;

/// An open socket; closed when dropped.
pub struct NgSocket {
    port: UdpPort,
    peer: SocketAddr,
    _stop: watch::Sender<()>,
}

#[derive(Clone)]
struct From(SocketAddr);

impl Datagrams for From {
    type Event = Bytes;

    fn received(&self, _: SocketAddr, remote: SocketAddr, data: &[u8]) -> Option<Bytes> {
        (remote == self.0).then(|| Bytes::copy_from_slice(data))
    }

    fn failed(&self, _: SocketAddr, _: SocketAddr, _: &io::Error) -> Option<Bytes> {
        None
    }
}

impl NgSocket {
    /// Opens a socket of any free port towards an rtpengine. Inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Listen`]
    pub fn open(peer: SocketAddr) -> Result<(Self, mpsc::Receiver<Bytes>), Error> {
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let (events, received) = mpsc::channel(WAITING);
        let (stop, stopped) = watch::channel(());
        let port = UdpPort::open(any, WAITING, From(peer), &events, &stopped)?;
        Ok((Self { port, peer, _stop: stop }, received))
    }

    /// The rtpengine.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends, or drops what there is no room for: it is sent again.
    pub fn send(&self, datagram: Bytes) {
        let _ = self.port.send(self.peer, datagram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn only_the_peer_is_heard() {
        let peer = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (socket, mut received) = NgSocket::open(peer.local_addr().unwrap()).unwrap();
        socket.send(Bytes::from_static(b"1 d7:command4:pinge"));
        let mut buffer = [0; 100];
        let wait = Duration::from_secs(30);
        let (n, from) = tokio::time::timeout(wait, peer.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(&buffer[..n], b"1 d7:command4:pinge");
        stranger.send_to(b"1 d6:result5:wronge", from).await.unwrap();
        peer.send_to(b"1 d6:result4:ponge", from).await.unwrap();
        let first = tokio::time::timeout(wait, received.recv()).await.unwrap().unwrap();
        assert_eq!(first, &b"1 d6:result4:ponge"[..]);
    }
}
