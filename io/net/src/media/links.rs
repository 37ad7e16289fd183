//! The part of a loop that makes, accepts, relays and ends the connections of its pinholes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use carnet_gateway::media::{Cause, Event};
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use socket2::Socket;

use super::flow::{Broken, Progress, pump};
use super::hole::{Anchor, Attempt, Connection, Hole, Link, Standby, pause_after};
use super::socket;
use super::worker::{OUTBOX, RETRY, Worker};

/// Connections accepted in one turn.
const ACCEPTS: usize = 64;
/// Connections waiting beside a silent one.
const STANDBYS: usize = 4;
/// Refused sources of one pinhole are reported no more often.
const BLOCKED_EVERY: Duration = Duration::from_secs(1);

impl Worker {
    /// Gives every pinhole that has something to do one turn.
    pub(super) fn turn(&mut self) {
        for _ in 0..self.run.len() {
            let Some(slot) = self.run.pop_front() else { break };
            if let Some(hole) = self.hole(slot) {
                hole.queued = false;
                self.advance(slot);
            }
        }
    }

    fn advance(&mut self, slot: u32) {
        self.settle(slot);
        let far = self.far(slot);
        if let Some(far) = far {
            self.settle(far);
        }
        self.relay(slot);
        // Octets that passed may have made standbys and the listening socket superfluous.
        self.settle(slot);
        self.schedule(slot);
        if let Some(far) = far {
            self.settle(far);
            self.schedule(far);
        }
    }

    /// Opens or closes the door, calls the peer: whatever the settings and the far side ask for.
    fn settle(&mut self, slot: u32) {
        let Some(hole) = self.peek(slot) else { return };
        let far = hole.joined.and_then(|far| self.peek(far));
        if let Some(remote) = hole.wants_to_call(far) {
            self.call(slot, remote);
            return;
        }
        let wants = hole.wants_callers();
        let listening = hole.anchor.as_ref().is_some_and(|a| a.listening.is_some());
        if wants && !listening {
            self.open_door(slot);
        } else if !wants && (listening || hole.is_up() && hole.anchor.is_some()) {
            self.close_door(slot);
        }
        self.accept(slot);
    }

    fn open_door(&mut self, slot: u32) {
        let serial = self.next_serial();
        let buffer = self.config.socket_buffer;
        let retry = self.now + RETRY;
        let Some(place) = self.holes.get_mut(slot as usize) else {
            return;
        };
        let Some(hole) = place.as_deref_mut() else { return };
        if hole.resume.is_some_and(|at| at > self.now) {
            return;
        }
        let opened = (|| {
            let socket = match hole.anchor.take() {
                Some(anchor) => anchor.socket,
                None => socket::bound(hole.lease.local(), hole.dscp(), buffer)?,
            };
            socket::listen(&socket)?;
            register(&self.epoll, &socket, slot, serial)?;
            io::Result::Ok(socket)
        })();
        match opened {
            Ok(socket) => {
                hole.anchor = Some(Anchor { socket, listening: Some(serial), ready: false });
            }
            // Out of descriptors, or the port is taken for the moment.
            Err(error) => {
                tracing::debug!(%error, local = %hole.lease.local(), "cannot listen yet");
                hole.resume = Some(retry);
            }
        }
    }

    /// Refuses callers from now on. A connection holds the port by itself.
    fn close_door(&mut self, slot: u32) {
        let Self { epoll, holes, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        hole.send_standbys_away();
        if !matches!(hole.link, Link::Down) {
            hole.anchor = None;
        } else if let Some(anchor) = &mut hole.anchor
            && let Err(error) = refuse_callers(epoll, anchor)
        {
            tracing::warn!(%error, "cannot stop listening; the port is let go instead");
            hole.anchor = None;
        }
    }

    fn accept(&mut self, slot: u32) {
        let had_one = self.peek(slot).is_some_and(Hole::is_up);
        for _ in 0..ACCEPTS {
            let crowded = self.outbox.len() >= OUTBOX;
            let later = self.now + RETRY;
            let Some(hole) = self.hole(slot) else { return };
            let calls = hole.wants_callers();
            let Some(anchor) = &mut hole.anchor else {
                return;
            };
            if anchor.listening.is_none() || !anchor.ready || !calls {
                return;
            }
            if crowded {
                hole.resume = Some(later);
                return;
            }
            match socket::accept(&anchor.socket) {
                Ok((socket, peer)) => {
                    self.greet(slot, socket, peer);
                    // Mostly this is the one. Whether another waits is looked at in the next turn, if
                    // this one has said nothing by then.
                    if self.peek(slot).is_some_and(Hole::is_up) && !had_one {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    anchor.ready = false;
                    return;
                }
                // The caller gave up before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // No descriptor left: the caller waits in the kernel.
                Err(_) => {
                    hole.resume = Some(later);
                    return;
                }
            }
        }
        self.queue(slot);
    }

    /// Decides about a caller: refused, the one, or one to wait beside a silent one.
    fn greet(&mut self, slot: u32, socket: Socket, peer: SocketAddr) {
        let serial = self.next_serial();
        let now = self.now;
        let Self { epoll, holes, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        let pinhole = hole.name;
        let settings = hole.settings.as_ref();
        if !settings.is_some_and(|s| socket::allowed(&s.filter, peer)) {
            socket::reset(socket);
            if hole.blocked.is_none_or(|at| at + BLOCKED_EVERY <= now) {
                hole.blocked = Some(now);
                self.report(Event::Blocked { pinhole, source: peer });
            }
            return;
        }
        if register(epoll, &socket, slot, serial).is_err() {
            return socket::reset(socket);
        }
        if hole.is_up() {
            if hole.standbys.len() == STANDBYS {
                socket::reset(hole.standbys.remove(0).socket);
            }
            hole.standbys.push(Standby { socket, serial, peer });
        } else {
            hole.link = Link::Up(Connection::new(socket, serial, now));
            self.report(Event::Established { pinhole, peer });
            self.queue(slot);
        }
    }

    fn call(&mut self, slot: u32, remote: SocketAddr) {
        let give_up = self.now + self.config.timers.outgoing;
        let Some(hole) = self.hole(slot) else { return };
        hole.link =
            Link::Connecting(Attempt { socket: None, serial: 0, remote, count: 0, again: None, give_up });
        self.attempt(slot);
    }

    /// Starts the next attempt of an outgoing connection, from the reserved port: the far side
    /// may filter by source, and the controller told it that port.
    pub(super) fn attempt(&mut self, slot: u32) {
        let serial = self.next_serial();
        let buffer = self.config.socket_buffer;
        let Self { epoll, holes, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        let local = hole.lease.local();
        let dscp = hole.dscp();
        let anchor = hole.anchor.take();
        let Link::Connecting(attempt) = &mut hole.link else {
            return;
        };
        attempt.serial = serial;
        attempt.count = attempt.count.saturating_add(1);
        attempt.again = None;
        let started = (|| {
            let socket = match anchor {
                Some(mut anchor) => {
                    refuse_callers(epoll, &mut anchor)?;
                    anchor.socket
                }
                None => socket::bound(local, dscp, buffer)?,
            };
            socket::connect(&socket, attempt.remote)?;
            register(epoll, &socket, slot, serial)?;
            io::Result::Ok(socket)
        })();
        match started {
            Ok(socket) => attempt.socket = Some(socket),
            Err(error) => {
                tracing::debug!(%error, %local, "cannot connect");
                self.attempt_failed(slot);
            }
        }
    }

    pub(super) fn attempt_failed(&mut self, slot: u32) {
        let now = self.now;
        let attempts = self.config.timers.attempts;
        let Some(hole) = self.hole(slot) else { return };
        let Link::Connecting(attempt) = &mut hole.link else {
            return;
        };
        attempt.socket = None;
        let again = now + pause_after(attempt.count);
        if attempt.count < attempts && again < attempt.give_up {
            attempt.again = Some(again);
            self.queue(slot);
        } else {
            self.end(slot, Cause::ConnectFailed, Cause::FarSide, true);
        }
    }

    /// An outgoing connection is up.
    pub(super) fn connected(&mut self, slot: u32, flags: EventFlags) {
        let now = self.now;
        let Some(hole) = self.hole(slot) else { return };
        let pinhole = hole.name;
        let Link::Connecting(attempt) = &mut hole.link else {
            return;
        };
        let (peer, serial) = (attempt.remote, attempt.serial);
        let Some(socket) = attempt.socket.take() else {
            return;
        };
        let mut connection = Connection::new(socket, serial, now);
        connection.hangup = flags.contains(EventFlags::RDHUP);
        connection.readable = flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        hole.link = Link::Up(connection);
        self.report(Event::Established { pinhole, peer });
        self.queue(slot);
    }

    /// Moves octets both ways, as far as the gates let them.
    pub(super) fn relay(&mut self, slot: u32) {
        let Some(far) = self.far(slot) else { return };
        for (source, sink) in [(slot, far), (far, slot)] {
            let now = self.now;
            let Self { holes, tools, .. } = self;
            let pair = holes.get_disjoint_mut([source as usize, sink as usize]);
            let Ok([Some(from), Some(to)]) = pair else {
                return;
            };
            if !(from.is_up() && to.is_up()) {
                return;
            }
            if !(from.lets_in() && to.lets_out()) {
                continue;
            }
            match pump(from, to, tools, now) {
                Ok(Progress::Waiting) => {}
                Ok(Progress::More) => self.queue(source),
                Ok(Progress::Until(later)) => from.resume = Some(later),
                Err(Broken::Source) => return self.end(source, Cause::Reset, Cause::FarSide, true),
                Err(Broken::Sink) => return self.end(sink, Cause::Reset, Cause::FarSide, true),
            }
        }
        let finished = |slot| self.peek(slot).is_some_and(|h: &Hole| h.flow.finished());
        if finished(slot) && finished(far) {
            self.end(slot, Cause::Normal, Cause::Normal, false);
        }
    }

    /// Ends the connection of a pinhole and with it the one it was relayed to. A failure is passed
    /// on as a reset, anything else as an orderly end.
    pub(super) fn end(&mut self, slot: u32, cause: Cause, far_cause: Cause, failure: bool) {
        let far = self.far(slot);
        // Somebody who came and went before the relay began was perhaps not the one who is
        // waited for.
        let ended = cause != Cause::Reset || self.far_is_up(slot);
        self.end_one(slot, Some(cause), failure, ended);
        if let Some(far) = far
            && let Some(hole) = self.peek(far)
        {
            match hole.link {
                Link::Up(_) => self.end_one(far, Some(far_cause), failure, ended),
                Link::Connecting(_) if ended => self.end_one(far, Some(far_cause), failure, true),
                // Nobody has been told of it yet, and there may be another caller.
                Link::Connecting(_) => self.end_one(far, None, failure, false),
                Link::Down => {}
            }
        }
    }

    fn end_one(&mut self, slot: u32, cause: Option<Cause>, failure: bool, ended: bool) {
        let Self { holes, tools, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        hole.flow.clear(&mut tools.pipes);
        hole.told_to_connect = false;
        hole.ended = ended;
        let pinhole = hole.name;
        let was = std::mem::replace(&mut hole.link, Link::Down);
        let unasked = matches!(was, Link::Down) && cause == Some(Cause::Released);
        if let Link::Up(connection) = was
            && failure
        {
            socket::reset(connection.socket);
        }
        if let Some(cause) = cause.filter(|_| !unasked) {
            self.report(Event::Closed { pinhole, cause });
        }
        self.queue(slot);
    }

    /// Enters the pinhole's next deadline into the timetable. One that is entered too early stays:
    /// it costs a glance, while moving it with every message would cost more.
    fn schedule(&mut self, slot: u32) {
        let far_up = self.far_is_up(slot);
        let timers = self.config.timers;
        let Self { holes, timetable, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        let Some(next) = hole.deadline(far_up, &timers) else {
            return;
        };
        match hole.scheduled {
            Some(at) if at <= next => return,
            Some(at) => {
                timetable.remove(&(at, slot));
            }
            None => {}
        }
        timetable.insert((next, slot));
        hole.scheduled = Some(next);
    }
}

/// Back from listening to bound. Who waits in the backlog is reset by the kernel.
fn refuse_callers(epoll: &OwnedFd, anchor: &mut Anchor) -> io::Result<()> {
    anchor.ready = false;
    if anchor.listening.take().is_some() {
        epoll::delete(epoll, &anchor.socket)?;
        socket::unlisten(&anchor.socket)?;
    }
    Ok(())
}

/// Asks for events of a socket, each reported once.
fn register(epoll: &OwnedFd, socket: impl AsFd, slot: u32, serial: u32) -> io::Result<()> {
    let token = epoll::EventData::new_u64(u64::from(serial) << 32 | u64::from(slot));
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    Ok(epoll::add(epoll, socket, token, flags)?)
}
