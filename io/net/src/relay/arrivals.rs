//! What the threads of a relay have for each other: connections.

use super::Shared;
use super::links::{Link, Stage, Wire};
use super::worker::Worker;
use carnet_relay::ConnectionId;
use carnet_sip::Password;
use carnet_tls::{Peer, Side};
use socket2::Socket;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Connections that wait for one thread before those that are accepted are no longer dealt to it.
const MOST: usize = 1_024;

/// Something for another thread.
pub(super) enum Arrival {
    /// Somebody connected through a listener.
    Accepted { socket: Socket, listener: usize, source: IpAddr },
    /// A connection that belongs to it, and all that came on it so far.
    Moved { link: Box<Link>, octets: Vec<u8> },
    /// The other end of a link.
    Joined(Socket),
    /// Who may have URIs from now on.
    Users(Arc<HashMap<String, Password>>),
}

impl Worker {
    /// Deals a connection out.
    pub(super) fn deal(&mut self, socket: Socket, listener: usize, source: IpAddr) {
        self.dealt = (self.dealt + 1) % self.shared.len().max(1);
        let other = self.shared.get(self.dealt).filter(|_| self.dealt != self.number);
        match other.filter(|other| other.waiting() < MOST) {
            Some(other) => other.bring(Arrival::Accepted { socket, listener, source }),
            None => self.take_in(socket, listener, source),
        }
    }

    fn take_in(&mut self, socket: Socket, listener: usize, source: IpAddr) {
        let Some(id) = self.relay.accepted(self.now, listener, source) else { return };
        self.tune(&socket);
        let secure = self.sockets.secure.get(listener).copied().unwrap_or(true);
        let wire =
            if secure { self.tls(socket, Side::Server, &Peer::Anyone) } else { Some(Wire::Plain(socket)) };
        let stage = if secure { Stage::Shaking } else { Stage::Up };
        self.watch(id, wire.map(|wire| Link::new(wire, stage, Some((listener, source)))));
    }

    /// What other threads have for this one.
    pub(super) fn arrive(&mut self) {
        while let Some(arrival) = self.shared.get(self.number).and_then(Shared::next) {
            match arrival {
                Arrival::Accepted { socket, listener, source } => self.take_in(socket, listener, source),
                Arrival::Moved { link, octets } => {
                    let Some((listener, source)) = link.accepted else { continue };
                    let Some(id) = self.relay.accepted(self.now, listener, source) else { continue };
                    self.watch(id, Some(*link));
                    self.relay.received(self.now, id, &octets);
                    self.read(id);
                }
                Arrival::Users(users) => self.relay.set_users(users),
                Arrival::Joined(socket) => {
                    let Some(id) = self.relay.joined(self.now) else { continue };
                    self.watch(id, Some(Link::new(Wire::Plain(socket), Stage::Up, None)));
                }
            }
        }
    }

    /// Gives a connection to the thread that it belongs to.
    pub(super) fn hand_over(&mut self, id: ConnectionId, shard: u16, octets: Vec<u8>) {
        let Some(mut link) = self.take(id) else { return };
        link.queued = false;
        if let Err(error) = rustix::event::epoll::delete(&self.epoll, link.socket()) {
            tracing::warn!(%error, "a connection of the relay cannot move to another thread");
            return;
        }
        if let Some(other) = self.shared.get(usize::from(shard)) {
            other.bring(Arrival::Moved { link: Box::new(link), octets });
        }
    }

    /// Makes a link to another thread.
    pub(super) fn join(&mut self, id: ConnectionId, shard: u16) {
        let pair = || -> io::Result<_> {
            let (here, there) = UnixStream::pair()?;
            here.set_nonblocking(true)?;
            there.set_nonblocking(true)?;
            Ok((Socket::from(here), Socket::from(there)))
        };
        match (pair(), self.shared.get(usize::from(shard))) {
            (Ok((here, there)), Some(other)) => {
                other.bring(Arrival::Joined(there));
                self.watch(id, Some(Link::new(Wire::Plain(here), Stage::Up, None)));
                self.relay.connected(self.now, id);
            }
            (Err(error), _) => {
                tracing::warn!(%error, "there is no way to another thread of the relay");
                self.relay.closed(id);
            }
            (Ok(_), None) => self.relay.closed(id),
        }
    }
}
