//! SIP over UDP: a socket, a task that reads, a task that writes.

use super::{Shared, SipEvent};
use crate::Error;
use bytes::Bytes;
use carnet_sip::{Hop, Input, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// What the system is asked to hold for us while we are busy: two thousand messages or so.
const BUFFER: usize = 4 << 20;

/// An open socket.
pub(super) struct UdpPort {
    pub(super) local: SocketAddr,
    queue: mpsc::Sender<(SocketAddr, Bytes)>,
}

impl UdpPort {
    pub(super) fn open(shared: &Arc<Shared>, address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Listen { what: "UDP", address, source };
        let socket = Arc::new(bind(address).map_err(failed)?);
        let local = socket.local_addr().map_err(failed)?;
        let (queue, queued) = mpsc::channel(shared.config.limits.datagrams);
        tokio::spawn(read(shared.clone(), socket.clone(), local));
        tokio::spawn(write(shared.clone(), socket, local, queued));
        Ok(Self { local, queue })
    }

    pub(super) fn send(&self, hop: &Hop, data: Bytes) -> Result<(), Error> {
        self.queue.try_send((hop.remote, data)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Error::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Error::Gone,
        })
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // A socket serves one IP version, so that hops say truthfully which.
        socket.set_only_v6(true)?;
    }
    // Best effort: the system may grant less.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

async fn read(shared: Arc<Shared>, socket: Arc<UdpSocket>, local: SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let receive = async {
        loop {
            // An error here belongs to a datagram sent before (ICMP), not to the socket.
            let Ok((n, remote)) = socket.recv_from(&mut buffer).await else { continue };
            let data = buffer.get(..n).unwrap_or_default();
            // RFC 5626 and old practice: keep-alive datagrams of line ends, zeroes or nothing.
            if data.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
                continue;
            }
            let hop = Hop { local: Some(local), ..Hop::new(Transport::Udp, remote) };
            let input = Input { hop, data: Bytes::copy_from_slice(data) };
            if shared.events.send(SipEvent::Input(input)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = receive => {}
        () = shared.stopped() => {}
    }
}

async fn write(
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    mut queued: mpsc::Receiver<(SocketAddr, Bytes)>,
) {
    // Ends when the sockets are dropped, after what is queued.
    while let Some((remote, data)) = queued.recv().await {
        if let Err(error) = socket.send_to(&data, remote).await {
            tracing::debug!(%remote, %error, "datagram not sent");
            let hop = Hop { local: Some(local), ..Hop::new(Transport::Udp, remote) };
            if shared.events.send(SipEvent::Failed(hop)).await.is_err() {
                return;
            }
        }
    }
}
