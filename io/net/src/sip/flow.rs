//! SIP over TCP and TLS: listening, connecting, and the life of one flow.

use super::SipEvent;
use super::event::Share;
use super::shared::Shared;
use crate::Error;
use crate::drain::Token;
use crate::stream::{self, End, Framing, Inlet, Outlet, Piece, Run};
use crate::tcp;
use bytes::Bytes;
use carnet_sip::{FlowId, Frame, Framer, Hop, Input, PONG, Transport};
use carnet_tls::Peer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

impl Framing for Framer {
    // RFC 5626 §3.5.1.
    const PING: Option<&'static [u8]> = Some(b"\r\n\r\n");

    fn push(&mut self, octets: &[u8]) {
        Self::push(self, octets);
    }

    fn next(&mut self) -> Result<Option<Piece>, String> {
        match Self::next(self) {
            Ok(Some(Frame::Message(message))) => Ok(Some(Piece::Message(message))),
            Ok(Some(Frame::Ping)) => Ok(Some(Piece::Answer(PONG))),
            Ok(None) => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }

    fn is_partial(&self) -> bool {
        self.pending() > 0
    }
}

/// Listens, and accepts until drained, stopped or closed.
pub(super) fn listen(
    shared: &Arc<Shared>,
    transport: Transport,
    address: SocketAddr,
    (drain, closed): (Token, watch::Receiver<()>),
) -> Result<SocketAddr, Error> {
    if transport == Transport::Tls && shared.config.tls.is_none() {
        return Err(Error::NoTls(address));
    }
    let what = if transport == Transport::Tls { "TLS" } else { "TCP" };
    let (listener, local) = tcp::listen(what, address)?;
    tokio::spawn(accept(shared.clone(), transport, listener, (drain, closed)));
    Ok(local)
}

async fn accept(
    shared: Arc<Shared>,
    transport: Transport,
    listener: TcpListener,
    (mut drain, mut closed): (Token, watch::Receiver<()>),
) {
    loop {
        let (stream, remote) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // Out of descriptors, or the peer left at once. Neither is cured by haste.
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(tcp::BREATH).await;
                    continue;
                }
            },
            _ = drain.started() => return,
            // Nothing is ever said: its other end is dropped.
            _ = closed.changed() => return,
            () = shared.stopped() => return,
        };
        let Ok(permit) = shared.permits.clone().try_acquire_owned() else {
            tracing::warn!(%remote, "connection refused: too many");
            tcp::reset(stream);
            continue;
        };
        tcp::prepare(&stream);
        let hop = Hop { local: stream.local_addr().ok(), ..Hop::new(transport, remote) };
        let (outlet, inlet) = stream::queue(shared.config.streams.queue);
        let (id, held) = shared.enter(&hop, outlet.clone());
        let life =
            Life { shared: shared.clone(), hop: Hop { flow: Some(id), ..hop }, id, held, _permit: permit };
        tokio::spawn(life.accepted(stream, (outlet, inlet)));
    }
}

/// Opens a flow and queues the first message for it.
pub(super) fn connect(shared: &Arc<Shared>, hop: &Hop, data: Bytes) -> Result<(), Error> {
    if hop.transport == Transport::Tls && shared.config.tls.is_none() {
        return Err(Error::NoTls(hop.remote));
    }
    let limit = shared.config.limits.connections;
    let permit = shared.permits.clone().try_acquire_owned().map_err(|_| Error::TooManyConnections(limit))?;
    let (outlet, inlet) = stream::queue(shared.config.streams.queue);
    outlet.push(data).map_err(|_| Error::QueueFull)?;
    let (id, held) = shared.enter(hop, outlet.clone());
    let life = Life { shared: shared.clone(), hop: hop.clone(), id, held, _permit: permit };
    tokio::spawn(life.connecting((outlet, inlet)));
    Ok(())
}

/// One flow from its first moment to its last.
struct Life {
    shared: Arc<Shared>,
    hop: Hop,
    id: FlowId,
    /// Closed when the flow is taken out of the register.
    held: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
}

impl Life {
    async fn accepted(self, stream: TcpStream, queue: (Outlet, Inlet)) {
        match &self.shared.config.tls {
            Some(tls) if self.hop.transport == Transport::Tls => {
                let handshake = tls.context.accept(stream, &tls.clients);
                let outcome = tokio::select! {
                    outcome = timeout(self.shared.config.streams.connect, handshake) => outcome,
                    () = self.shared.stopped() => return,
                };
                match outcome {
                    Ok(Ok((stream, report))) => {
                        tracing::debug!(hop = %self.hop, %report, "TLS accepted");
                        self.run(stream, queue, false).await;
                    }
                    Ok(Err(error)) => self.never(&error.to_string()).await,
                    Err(_) => self.never("the TLS handshake took too long").await,
                }
            }
            _ => self.run(stream, queue, false).await,
        }
    }

    async fn connecting(mut self, queue: (Outlet, Inlet)) {
        let attempt = async {
            let stream = tcp::connect(self.hop.remote, self.hop.local.map(|a| a.ip())).await?;
            if self.shared.config.streams.keep_alive.is_some() {
                tcp::hurry(&stream, self.shared.config.streams.write);
            }
            let local = stream.local_addr().ok();
            let tls = match &self.shared.config.tls {
                Some(tls) if self.hop.transport == Transport::Tls => tls,
                _ => return Ok((Socket::Tcp(stream), local)),
            };
            let named = self.hop.server_name.clone().unwrap_or_else(|| self.hop.remote.ip().to_string());
            let server = tls.servers.clone().unwrap_or(Peer::Named(named));
            let (stream, report) = tls.context.connect(stream, &server).await.map_err(|e| e.to_string())?;
            tracing::debug!(hop = %self.hop, %report, "TLS connected");
            Ok((Socket::Tls(stream), local))
        };
        let outcome: Result<Result<_, String>, _> = tokio::select! {
            outcome = timeout(self.shared.config.streams.connect, attempt) => outcome,
            () = self.shared.stopped() => return,
        };
        match outcome {
            Ok(Ok((socket, local))) => {
                let speaks_for = local.map(|actual| self.shared.speaks_for(self.hop.transport, actual));
                self.hop = Hop { flow: Some(self.id), local: self.hop.local.or(speaks_for), ..self.hop };
                match socket {
                    Socket::Tcp(stream) => self.run(stream, queue, true).await,
                    Socket::Tls(stream) => self.run(stream, queue, true).await,
                }
            }
            Ok(Err(why)) => self.never(&why).await,
            Err(_) => self.never("connecting took too long").await,
        }
    }

    /// The flow never came to stand.
    async fn never(self, why: &str) {
        tracing::info!(hop = %self.hop, why, "no connection");
        self.shared.retire(self.id);
        let _ = self.shared.events.send(SipEvent::Failed(self.hop)).await;
    }

    async fn run<S>(mut self, stream: S, queue: (Outlet, Inlet), ours: bool)
    where
        S: AsyncRead + AsyncWrite,
    {
        let run = Run {
            limits: &self.shared.config.streams,
            ours,
            events: &self.shared.events,
            room: Some(&self.shared.room),
            deliver: |data, permit| SipEvent::Input {
                input: Input { hop: self.hop.clone(), data },
                since: Instant::now(),
                share: Share::new(permit),
            },
            retire: || {
                self.shared.retire(self.id);
            },
        };
        let stop = async {
            tokio::select! {
                _ = self.held.changed() => {}
                () = self.shared.stopped() => {}
            }
        };
        let end = run.until_end(stream, Framer::new(self.shared.config.messages), queue, stop).await;
        match end {
            End::Unframed(_) | End::Partial | End::Unread => {
                tracing::info!(hop = %self.hop, why = %end, "flow given up");
            }
            end => tracing::debug!(hop = %self.hop, why = %end, "flow ended"),
        }
        let _ = self.shared.events.send(SipEvent::Failed(self.hop)).await;
    }
}

enum Socket {
    Tcp(TcpStream),
    Tls(carnet_tls::TlsStream<TcpStream>),
}
