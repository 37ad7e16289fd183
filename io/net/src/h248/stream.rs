//! H.248 over connections: TCP, TLS and SCTP. Listening, connecting, and the life of one connection.

use super::sctp::{self, Records, Watched};
use super::shared::{Arrival, Seat, Shared, Way};
use super::tls::{self, Identity};
use super::{ControlEvent, ControlPeer, ControlTransport};
use crate::Error;
use crate::drain::Token;
use crate::stream::{self, End, Framing, Inlet, Outlet, Piece, Run};
use crate::tcp;
use carnet_h248::tpkt::Framer;
use carnet_h248::{ErrorDescriptor, MId, Message};
use carnet_tls::TlsStream;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
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

enum Listener {
    Tcp(TcpListener),
    Sctp(Watched),
}

enum Raw {
    Tcp(TcpStream),
    Sctp(Records),
}

/// A connection on which messages may pass.
enum Ready {
    Tcp(TcpStream),
    Tls(TlsStream<TcpStream>, Identity),
    Sctp(Records),
}

/// Listens, and accepts until drained, stopped or closed.
pub(super) fn listen(
    shared: &Arc<Shared>,
    transport: ControlTransport,
    address: SocketAddr,
    until: (Token, watch::Receiver<()>),
) -> Result<SocketAddr, Error> {
    let (listener, local) = match transport {
        ControlTransport::Sctp => {
            let (listener, local) = sctp::listen(address)?;
            (Listener::Sctp(listener), local)
        }
        ControlTransport::Tls if shared.tls().is_none() => return Err(Error::NoTls(address)),
        _ => {
            let what = if transport == ControlTransport::Tls { "TLS" } else { "TCP" };
            let (listener, local) = tcp::listen(what, address)?;
            (Listener::Tcp(listener), local)
        }
    };
    tokio::spawn(accept(shared.clone(), transport, listener, until));
    Ok(local)
}

async fn accept(
    shared: Arc<Shared>,
    transport: ControlTransport,
    listener: Listener,
    (mut drain, mut closed): (Token, watch::Receiver<()>),
) {
    let next = async || match &listener {
        Listener::Tcp(listener) => {
            let (stream, remote) = listener.accept().await?;
            Ok((Raw::Tcp(stream), remote))
        }
        Listener::Sctp(listener) => {
            let (records, remote) = sctp::accept(listener).await?;
            Ok::<_, std::io::Error>((Raw::Sctp(records), remote))
        }
    };
    loop {
        let (raw, remote) = tokio::select! {
            accepted = next() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "control connection not accepted");
                    tokio::time::sleep(tcp::BREATH).await;
                    continue;
                }
            },
            _ = drain.started() => return,
            _ = closed.changed() => return,
            () = shared.stopped() => return,
        };
        let seat = Seat::take(&shared, remote.ip());
        let permit = shared.permits.clone().try_acquire_owned().ok();
        let Some((seat, permit)) = seat.zip(permit) else {
            shared.foreign.refuse(remote, "control connection refused", &"there are too many");
            if let Raw::Tcp(stream) = raw {
                tcp::reset(stream);
            }
            continue;
        };
        let local = match &raw {
            Raw::Tcp(stream) => {
                tcp::prepare(stream);
                stream.local_addr().ok()
            }
            Raw::Sctp(records) => records.local_addr(),
        };
        let way = Remote { transport, remote, from: local, peer: None };
        let (life, queue) = Life::new(&shared, way, (permit, Some(seat)));
        tokio::spawn(life.accepted(raw, queue));
    }
}

/// Where a connection leads.
pub(super) struct Remote {
    pub(super) transport: ControlTransport,
    pub(super) remote: SocketAddr,
    /// Our address, if it matters which; once connected, the one it is.
    pub(super) from: Option<SocketAddr>,
    /// Who is there.
    pub(super) peer: Option<MId>,
}

pub(super) fn connect(shared: &Arc<Shared>, to: Remote) -> Result<ControlPeer, Error> {
    if to.transport == ControlTransport::Tls && shared.tls().is_none() {
        return Err(Error::NoTls(to.remote));
    }
    let permit = shared
        .permits
        .clone()
        .try_acquire_owned()
        .map_err(|_| Error::TooManyConnections(shared.config.connections))?;
    let (life, queue) = Life::new(shared, to, (permit, None));
    let peer = life.peer();
    tokio::spawn(life.connecting(queue));
    Ok(peer)
}

struct Life {
    shared: Arc<Shared>,
    to: Remote,
    id: u64,
    /// Closed when the connection is taken out of the register.
    held: watch::Receiver<()>,
    _place: Place,
}

/// What a connection takes up among others.
type Place = (OwnedSemaphorePermit, Option<Seat>);

impl Life {
    fn new(shared: &Arc<Shared>, to: Remote, place: Place) -> (Self, (Outlet, Inlet)) {
        let (outlet, inlet) = stream::queue(shared.config.streams.queue);
        // TLS proves more than the authentication header could.
        let between = to.from.filter(|_| to.transport != ControlTransport::Tls);
        let way = Way::Stream {
            outlet: outlet.clone(),
            transport: to.transport,
            local: to.from,
            between: between.map(|from| (from.ip(), to.remote)),
            peer: to.peer.clone(),
        };
        let (id, held) = shared.enter(way);
        (Self { shared: shared.clone(), to, id, held, _place: place }, (outlet, inlet))
    }

    fn peer(&self) -> ControlPeer {
        let private = self.to.transport == ControlTransport::Tls;
        ControlPeer::Stream { id: self.id, remote: self.to.remote, private }
    }

    async fn accepted(mut self, raw: Raw, queue: (Outlet, Inlet)) {
        let shared = self.shared.clone();
        let within = shared.config.streams.connect;
        let handshake = async {
            Ok(match (raw, shared.tls()) {
                (Raw::Tcp(stream), Some(tls)) if self.to.transport == ControlTransport::Tls => {
                    let (stream, identity) = tls.accept(stream).await?;
                    Ready::Tls(stream, identity)
                }
                (Raw::Tcp(stream), _) => Ready::Tcp(stream),
                (Raw::Sctp(records), _) => Ready::Sctp(records),
            })
        };
        let outcome = tokio::select! {
            outcome = timeout(within, handshake) => outcome,
            _ = self.held.changed() => Ok(Err("given up".to_owned())),
            () = shared.stopped() => return,
        };
        let why = match outcome {
            Ok(Ok(Ready::Tls(stream, identity))) => match shared.tls() {
                Some(tls) if !tls.knows(&identity) => {
                    let why = format!("{} no peer of ours", tls::describe(&identity));
                    self.dismiss(stream, queue, &why).await;
                    why
                }
                _ => return self.start(Ready::Tls(stream, identity), queue, false).await,
            },
            Ok(Ok(ready)) => return self.start(ready, queue, false).await,
            Ok(Err(why)) => why,
            Err(_) => "the TLS handshake took too long".to_owned(),
        };
        shared.foreign.refuse(self.to.remote, "control connection refused", &why);
        self.over().await;
    }

    /// Tells one whom TLS lets in and we do not; waits for him to have read it.
    async fn dismiss(&mut self, stream: TlsStream<TcpStream>, queue: (Outlet, Inlet), why: &str) {
        let Some(mid) = self.shared.config.mid.clone() else { return };
        let error = ErrorDescriptor::new(402, format!("this connection is refused: {why}"));
        let _ = self.shared.push(self.id, Message::error(1, mid, error));
        self.shared.retire(self.id);
        let run = Run {
            limits: &self.shared.config.streams,
            ours: false,
            events: &self.shared.events,
            room: None,
            deliver: |_, _| ControlEvent::Refused { peer: self.peer() },
            retire: || {},
        };
        run.until_end(stream, Framer::new(0), queue, tokio::time::sleep(tcp::BREATH)).await;
    }

    async fn connecting(mut self, queue: (Outlet, Inlet)) {
        let shared = self.shared.clone();
        let attempt = async {
            let (to, from) = (self.to.remote, self.to.from);
            Ok(match self.to.transport {
                ControlTransport::Sctp => Ready::Sctp(sctp::connect(to, from).await?),
                transport => {
                    let stream = tcp::connect(to, from.map(|from| from.ip())).await?;
                    match shared.tls() {
                        Some(tls) if transport == ControlTransport::Tls => {
                            let connected = tls.connect(stream, self.to.peer.as_ref()).await;
                            let (stream, identity) = connected.inspect_err(|why| {
                                shared.foreign.refuse(to, "no TLS to the controller", why);
                            })?;
                            Ready::Tls(stream, identity)
                        }
                        _ => Ready::Tcp(stream),
                    }
                }
            })
        };
        let outcome: Result<Result<Ready, String>, _> = tokio::select! {
            outcome = timeout(shared.config.streams.connect, attempt) => outcome,
            _ = self.held.changed() => Ok(Err("given up".to_owned())),
            () = shared.stopped() => return,
        };
        let why = match outcome {
            Ok(Ok(ready)) => return self.start(ready, queue, true).await,
            Ok(Err(why)) => why,
            Err(_) => "it took too long".to_owned(),
        };
        tracing::debug!(remote = %self.to.remote, why, "no control connection");
        self.over().await;
    }

    async fn start(self, ready: Ready, queue: (Outlet, Inlet), ours: bool) {
        match ready {
            Ready::Tcp(stream) => {
                let local = stream.local_addr().ok();
                self.run(stream, local, None, queue, ours).await;
            }
            Ready::Sctp(records) => {
                let local = records.local_addr();
                self.run(records, local, None, queue, ours).await;
            }
            Ready::Tls(stream, identity) => self.run(stream, None, Some(identity), queue, ours).await,
        }
    }

    async fn run<S>(
        mut self,
        stream: S,
        local: Option<SocketAddr>,
        identity: Option<Identity>,
        queue: (Outlet, Inlet),
        ours: bool,
    ) where
        S: AsyncRead + AsyncWrite,
    {
        let (shared, peer) = (self.shared.clone(), self.peer());
        let transport = self.to.transport;
        let from = Arrival { peer, local, identity: identity.as_ref(), transport };
        let run = Run {
            limits: &shared.config.streams,
            ours,
            events: &shared.events,
            room: None,
            deliver: |data: bytes::Bytes, _| shared.arrived(&from, &data),
            retire: || shared.retire(self.id),
        };
        let stop = async {
            tokio::select! {
                _ = self.held.changed() => {}
                () = shared.stopped() => {}
            }
        };
        let end = run.until_end(stream, Framer::new(shared.config.messages.octets), queue, stop).await;
        match end {
            // In TLS 1.3 a peer refuses our certificate after the handshake is done here.
            End::Failed(error) if identity.is_some() => {
                let why = carnet_tls::Error::of_stream(error);
                shared.foreign.refuse(self.to.remote, "control connection ended", &why);
            }
            end => tracing::info!(remote = %self.to.remote, why = %end, "control connection ended"),
        }
        self.over().await;
    }

    async fn over(self) {
        self.shared.retire(self.id);
        let _ = self.shared.events.send(ControlEvent::Closed { peer: self.peer() }).await;
    }
}
