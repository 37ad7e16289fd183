//! A UDP socket for every protocol here. A task reads all there is whenever something came; who sends
//! does so at once, and a second task writes what the system did not take.

use crate::{Error, inherited};
use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

/// What the system is asked to hold for us while we are busy: two thousand messages or so.
const BUFFER: usize = 4 << 20;

/// An open socket.
pub(crate) struct UdpPort {
    pub(crate) local: SocketAddr,
    socket: Arc<UdpSocket>,
    queue: mpsc::Sender<(SocketAddr, Bytes)>,
    /// What `queue` holds when nothing waits.
    room: usize,
    /// Reading ends with it.
    _open: watch::Sender<()>,
}

/// Makes events of what a socket has to say.
pub(crate) trait Datagrams: Clone + Send + Sync + 'static {
    /// The role's events.
    type Event: Send;
    /// A datagram; `None` if it is of no interest.
    fn received(&self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Option<Self::Event>;
    /// A datagram could not be sent.
    fn failed(&self, local: SocketAddr, remote: SocketAddr, error: &io::Error) -> Option<Self::Event>;
}

impl UdpPort {
    /// Opens a socket for at most `waiting` datagrams to be sent. It closes when `stopped` does.
    pub(crate) fn open<D: Datagrams>(
        address: SocketAddr,
        waiting: usize,
        datagrams: D,
        events: &mpsc::Sender<D::Event>,
        stopped: &watch::Receiver<()>,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Listen { what: "UDP", address, source };
        let socket = Arc::new(bind(address).map_err(failed)?);
        let local = socket.local_addr().map_err(failed)?;
        let (queue, queued) = mpsc::channel(waiting);
        let mut stopped = stopped.clone();
        let (open, mut closed) = watch::channel(());
        let reading = read(socket.clone(), local, datagrams.clone(), events.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = reading => {}
                _ = stopped.changed() => {}
                _ = closed.changed() => {}
            }
        });
        tokio::spawn(write(socket.clone(), local, datagrams, events.clone(), queued));
        Ok(Self { local, socket, queue, room: waiting, _open: open })
    }

    /// The end of its queue.
    pub(crate) fn sender(&self) -> mpsc::Sender<(SocketAddr, Bytes)> {
        self.queue.clone()
    }

    /// Datagrams that wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.room.saturating_sub(self.queue.capacity())
    }

    /// Sends, or queues what the system does not take now. An error of the system other than that
    /// goes the way of the queue too, where it becomes an event.
    pub(crate) fn send(&self, remote: SocketAddr, data: Bytes) -> Result<(), Error> {
        // Nothing overtakes what waits already.
        if self.queue.capacity() == self.room && self.socket.try_send_to(&data, remote).is_ok() {
            return Ok(());
        }
        self.queue.try_send((remote, data)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Error::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Error::Gone,
        })
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let here = inherited::udp(address);
    let is_bound = here.is_some();
    let socket = match here {
        Some(socket) => Socket::from(socket),
        None => Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?,
    };
    if address.is_ipv6() && !is_bound {
        // A socket serves one IP version, so that the addresses of peers are what they seem.
        socket.set_only_v6(true)?;
    }
    // Best effort: the system may grant less.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    if !is_bound {
        socket.bind(&address.into())?;
    }
    UdpSocket::from_std(socket.into())
}

async fn read<D: Datagrams>(
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    datagrams: D,
    events: mpsc::Sender<D::Event>,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        // An error here belongs to a datagram sent before (ICMP), not to the socket.
        let Ok((n, remote)) = socket.recv_from(&mut buffer).await else { continue };
        let event = datagrams.received(local, remote, buffer.get(..n).unwrap_or_default());
        // A role that is behind lets the system's buffer fill; UDP loses what does not fit.
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

/// Ends when the sockets are dropped, after what is queued.
async fn write<D: Datagrams>(
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    datagrams: D,
    events: mpsc::Sender<D::Event>,
    mut queued: mpsc::Receiver<(SocketAddr, Bytes)>,
) {
    while let Some((remote, data)) = queued.recv().await {
        let Err(error) = socket.send_to(&data, remote).await else { continue };
        tracing::debug!(%remote, %error, "datagram not sent");
        if let Some(event) = datagrams.failed(local, remote, &error)
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}
