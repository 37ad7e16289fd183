//! H.248 over TCP: listening, connecting, and the life of one connection.

use super::{ControlEvent, ControlPeer, Shared, Way, decoded};
use crate::Error;
use crate::drain::Token;
use crate::stream::{self, Framing, Inlet, Outlet, Piece, Run};
use crate::tcp;
use carnet_h248::tpkt::Framer;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

impl Framing for Framer {
    // TPKT has none; controllers audit their gateways instead.
    const PING: Option<&'static [u8]> = None;

    fn push(&mut self, octets: &[u8]) {
        Self::push(self, octets);
    }

    fn next(&mut self) -> Result<Option<Piece>, String> {
        Ok(Self::next(self).map_err(|e| e.to_string())?.map(Piece::Message))
    }

    fn is_partial(&self) -> bool {
        self.pending() > 0
    }
}

pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener, mut drain: Token) {
    loop {
        let (stream, remote) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "control connection not accepted");
                    tokio::time::sleep(tcp::BREATH).await;
                    continue;
                }
            },
            _ = drain.started() => return,
            () = shared.stopped() => return,
        };
        let Ok(permit) = shared.permits.clone().try_acquire_owned() else {
            tracing::warn!(%remote, "control connection refused: too many");
            tcp::reset(stream);
            continue;
        };
        tcp::prepare(&stream);
        let (life, queue) = Life::new(&shared, remote, permit);
        tokio::spawn(life.run(stream, queue, false));
    }
}

pub(super) fn connect(
    shared: &Arc<Shared>,
    remote: SocketAddr,
    from: Option<IpAddr>,
) -> Result<ControlPeer, Error> {
    let permit = shared
        .permits
        .clone()
        .try_acquire_owned()
        .map_err(|_| Error::TooManyConnections(shared.config.connections))?;
    let (life, queue) = Life::new(shared, remote, permit);
    let peer = life.peer();
    tokio::spawn(life.connecting(from, queue));
    Ok(peer)
}

struct Life {
    shared: Arc<Shared>,
    remote: SocketAddr,
    id: u64,
    /// Closed when the connection is taken out of the register.
    held: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
}

impl Life {
    fn new(
        shared: &Arc<Shared>,
        remote: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> (Self, (Outlet, Inlet)) {
        let (outlet, inlet) = stream::queue(shared.config.streams.queue);
        let (id, held) = shared.enter(Way::Stream(outlet.clone()));
        (Self { shared: shared.clone(), remote, id, held, _permit: permit }, (outlet, inlet))
    }

    fn peer(&self) -> ControlPeer {
        ControlPeer::Stream { id: self.id, remote: self.remote }
    }

    async fn connecting(mut self, from: Option<IpAddr>, queue: (Outlet, Inlet)) {
        let outcome = tokio::select! {
            outcome = timeout(self.shared.config.streams.connect, tcp::connect(self.remote, from)) => outcome,
            _ = self.held.changed() => Ok(Err("given up".to_owned())),
            () = self.shared.stopped() => return,
        };
        let why = match outcome {
            Ok(Ok(stream)) => return self.run(stream, queue, true).await,
            Ok(Err(why)) => why,
            Err(_) => "it took too long".to_owned(),
        };
        tracing::debug!(remote = %self.remote, why, "no control connection");
        self.over().await;
    }

    async fn run(mut self, stream: TcpStream, queue: (Outlet, Inlet), ours: bool) {
        let (shared, peer) = (&self.shared, self.peer());
        let limits = &shared.config.messages;
        let run = Run {
            limits: &shared.config.streams,
            ours,
            events: &shared.events,
            room: None,
            deliver: |data: bytes::Bytes, _| decoded(peer, &data, limits),
            retire: || shared.retire(self.id),
        };
        let stop = async {
            tokio::select! {
                _ = self.held.changed() => {}
                () = shared.stopped() => {}
            }
        };
        let end = run.until_end(stream, Framer::new(limits.octets), queue, stop).await;
        tracing::info!(remote = %self.remote, why = %end, "control connection ended");
        self.over().await;
    }

    async fn over(self) {
        self.shared.retire(self.id);
        let _ = self.shared.events.send(ControlEvent::Closed { peer: self.peer() }).await;
    }
}
