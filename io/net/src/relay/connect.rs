//! Connections as they begin: to next hops, and TLS in both directions.

use super::links::{Below, Link, Stage, Wire};
use super::worker::Worker;
use crate::media::socket;
use carnet_relay::ConnectionId;
use carnet_tls::{Peer, Side};
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Idle seconds before a peer is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(120);

impl Worker {
    /// Bounds what the kernel keeps of a connection, and has it look after the peer.
    pub(super) fn tune(&self, socket: &Socket) {
        if let Some(size) = self.sockets.socket_buffer {
            let _ = socket.set_recv_buffer_size(size);
            let _ = socket.set_send_buffer_size(size);
        }
        socket::keep_alive(socket, KEEPALIVE);
    }

    pub(super) fn tls(&self, socket: Socket, side: Side, peer: &Peer) -> Option<Wire> {
        let context = self.sockets.tls.as_ref()?;
        match context.named_socket(Below::new(socket), side, peer) {
            Ok(socket) => Some(Wire::Tls(Box::new(socket))),
            Err(error) => {
                tracing::warn!(%error, "TLS of the relay cannot begin");
                None
            }
        }
    }

    pub(super) fn connect(&mut self, id: ConnectionId, address: Option<SocketAddr>) {
        // It may have been given up meanwhile.
        let Some((host, secure)) = self.hosts.get(&id).cloned() else { return };
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let made = address.ok_or_else(missing).and_then(|address| {
            // A client says where to; it is not to reach through us what it cannot reach itself.
            let to = address.ip().to_canonical();
            if !self.sockets.next_hops.is_empty()
                && !self.sockets.next_hops.iter().any(|(ip, bits)| socket::within(*ip, *bits, to))
            {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!("{to} is none of `next-hops`"),
                ));
            }
            let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
            let socket = socket::bound(any, self.sockets.dscp)?;
            socket::connect(&socket, address, false)?;
            Ok(socket)
        });
        match made {
            Ok(socket) => {
                self.tune(&socket);
                let wire = match secure {
                    true => self.tls(socket, Side::Client, &Peer::Named(host)),
                    false => Some(Wire::Plain(socket)),
                };
                self.watch(id, wire.map(|wire| Link::new(wire, Stage::Connecting, None)));
            }
            Err(error) => {
                tracing::info!(%error, "a next hop of the relay is not reached");
                self.hosts.remove(&id);
                self.relay.closed(id);
            }
        }
    }
}
