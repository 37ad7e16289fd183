//! The part of a loop that makes, relays and ends the connections of its pinholes, and opens and closes
//! their doors. Who comes in is in `callers`.

use std::io;
use std::net::SocketAddr;

use carnet_gateway::media::{Cause, Event, TlsFailure};
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, OwnedFd};

use super::callers::ACCEPTS_IN_TURN;
use super::flow::{Broken, Progress, pump};
use super::hole::{Anchor, Attempt, Begun, Connection, Hole, Link, pause_after};
use super::seal::HANDSHAKES;
use super::socket;
use super::through::prepare;
use super::worker::{RETRY, Worker};

impl Worker {
    /// Gives every pinhole that has something to do one turn.
    pub(super) fn turn(&mut self) {
        self.accepts = ACCEPTS_IN_TURN;
        self.handshakes = HANDSHAKES;
        self.take_callers();
        for _ in 0..self.run.len() {
            let Some(slot) = self.run.pop_front() else { break };
            if let Some(hole) = self.hole(slot) {
                hole.queued = false;
                self.advance(slot);
            }
        }
        // Whoever found nothing left is the first the next time, or a few busy doors would have it all.
        while let Some(slot) = self.postponed.pop() {
            self.run.push_front(slot);
        }
    }

    fn advance(&mut self, slot: u32) {
        if self.only_passes(slot) {
            return self.relay(slot);
        }
        self.weigh(slot);
        self.settle(slot);
        let far = self.far(slot);
        if let Some(far) = far {
            self.settle(far);
        }
        self.seal(slot);
        if let Some(far) = far {
            self.seal(far);
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

    /// Octets pass on both sides as they did before, and there is nothing else to look at.
    fn only_passes(&self, slot: u32) -> bool {
        let Some(hole) = self.peek(slot) else { return false };
        let far = hole.joined().and_then(|far| self.peek(far));
        hole.only_passes() && far.is_some_and(Hole::only_passes)
    }

    /// Opens or closes the door, calls the peer: whatever the settings and the far side ask for.
    fn settle(&mut self, slot: u32) {
        let Some(hole) = self.peek(slot) else { return };
        let far = hole.joined().and_then(|far| self.peek(far));
        if let Some(remote) = hole.wants_to_call(far) {
            if !self.carriages.have(hole.name) {
                self.call(slot, remote);
            }
            return;
        }
        if hole.steering.is_used() {
            return self.settle_steered(slot);
        }
        let wants = hole.wants_callers();
        let listening = hole.anchor.as_ref().is_some_and(|anchor| anchor.listening);
        let open = listening && hole.anchor.as_ref().is_some_and(|anchor| anchor.serial != 0);
        if wants && hole.promotable() {
            self.promote(slot);
        } else if wants && !open {
            self.open_door(slot);
        } else if hole.waits_for_its_gate() {
            return;
        } else if !wants && (listening || hole.is_up() && hole.anchor.is_some() && !hole.is_reopened()) {
            self.close_door(slot);
        }
        self.accept(slot);
    }

    fn open_door(&mut self, slot: u32) {
        let serial = self.next_serial();
        let now = self.now;
        let Self { epoll, holes, ports, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        if hole.paused().is_some_and(|at| at > now) {
            return;
        }
        let local = ports.local(&hole.lease);
        let user_timeout = ports.ward(&hole.lease).and_then(|ward| ward.guard.user_timeout);
        let opened = (|| {
            let anchor = match hole.anchor.take() {
                Some(anchor) => anchor,
                None => {
                    let socket = socket::of_pinhole(local, hole.dscp, user_timeout)?;
                    Anchor { socket, serial: 0, listening: false, ready: false }
                }
            };
            let anchor = hole.anchor.insert(anchor);
            socket::listen(&anchor.socket)?;
            if anchor.serial == 0 {
                register(epoll, &anchor.socket, slot, serial)?;
                anchor.serial = serial;
            }
            anchor.listening = true;
            io::Result::Ok(())
        })();
        // Out of descriptors, or the port is taken for the moment.
        if let Err(error) = opened {
            tracing::debug!(%error, %local, "cannot listen yet");
            hole.anchor = None;
            hole.pause(now.plus(RETRY));
        }
    }

    /// Refuses callers from now on. A connection holds the port by itself; a pinhole that is opened
    /// again and again keeps its socket nevertheless, for the next time.
    fn close_door(&mut self, slot: u32) {
        let Some(hole) = self.hole(slot) else { return };
        hole.send_standbys_away();
        if !matches!(hole.link, Link::Down) && !hole.is_reopened() {
            hole.anchor = None;
        } else if let Some(anchor) = &mut hole.anchor
            && let Err(error) = refuse_callers(anchor)
        {
            tracing::warn!(%error, "cannot stop listening; the port is let go instead");
            hole.anchor = None;
        }
    }

    fn call(&mut self, slot: u32, remote: SocketAddr) {
        let give_up = self.now.plus(self.config.timers.outgoing);
        let far = self.far(slot).and_then(|far| self.peek(far));
        let eager = far.is_some_and(|far| matches!(&far.link, Link::Up(caller) if caller.readable));
        let Some(hole) = self.hole(slot) else { return };
        if hole.steering.is_used() {
            hole.send_waiting_away();
        }
        let attempt = Attempt { socket: None, serial: 0, remote, count: 0, again: None, give_up, eager };
        hole.link = Link::Connecting(Box::new(attempt));
        self.attempt(slot);
    }

    /// Starts the next attempt of an outgoing connection, from the reserved port: the far side
    /// may filter by source, and the controller told it that port.
    pub(super) fn attempt(&mut self, slot: u32) {
        let serial = self.next_serial();
        let Self { epoll, holes, ports, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        let local = ports.local(&hole.lease);
        let user_timeout = ports.ward(&hole.lease).and_then(|ward| ward.guard.user_timeout);
        let dscp = hole.dscp;
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
                    refuse_callers(&mut anchor)?;
                    if anchor.serial != 0 {
                        epoll::delete(&*epoll, &anchor.socket)?;
                    }
                    anchor.socket
                }
                None => socket::of_pinhole(local, dscp, user_timeout)?,
            };
            socket::connect(&socket, attempt.remote, attempt.eager)?;
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
        let again = now.plus(pause_after(attempt.count));
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
        let tls_only = self.ward(slot).is_some_and(|ward| ward.guard.tls_only);
        let Some(hole) = self.hole(slot) else { return };
        let pinhole = hole.name;
        let Link::Connecting(attempt) = &mut hole.link else {
            return;
        };
        let (peer, serial) = (attempt.remote, attempt.serial);
        let Some(socket) = attempt.socket.take() else {
            return;
        };
        let mut connection = Connection::made(socket, serial, now);
        if tls_only {
            connection.begun = Begun::Owed;
        }
        hole.link = Link::Up(connection);
        self.report(Event::Established { pinhole, peer });
        self.on_connection(slot, flags);
    }

    /// Moves octets both ways, as far as the gates let them.
    pub(super) fn relay(&mut self, slot: u32) {
        let Some(far) = self.far(slot) else { return };
        for (source, sink) in [(slot, far), (far, slot)] {
            let now = self.now;
            let Self { holes, tools, ports, .. } = self;
            let pair = holes.get_disjoint_mut([source as usize, sink as usize]);
            let Ok([Some(from), Some(to)]) = pair else {
                return;
            };
            if !(from.is_open() && to.is_open()) {
                return;
            }
            if !(from.lets_in() && to.lets_out()) {
                continue;
            }
            let outcome = match prepare(from, to, |hole| ports.local(&hole.lease)) {
                Ok(true) => pump(from, to, tools, now),
                Ok(false) => continue,
                Err(broken) => Err(broken),
            };
            match outcome {
                Ok(Progress::Waiting) => {}
                Ok(Progress::More) => self.queue(source),
                Ok(Progress::Until(later)) => from.pause(later),
                Err(Broken::Source) => return self.end(source, Cause::Reset, Cause::FarSide, true),
                // What came before it was cut has been passed on.
                Err(Broken::Because(cause @ Cause::Tls(TlsFailure::Truncated))) => {
                    return self.end(source, cause, Cause::FarSide, false);
                }
                Err(Broken::Because(cause)) => return self.end(source, cause, Cause::FarSide, true),
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
                Link::Down | Link::Carried => {}
            }
        }
    }

    pub(super) fn end_one(&mut self, slot: u32, cause: Option<Cause>, failure: bool, ended: bool) {
        let failure = !self.say_farewell(slot, cause, failure) && failure;
        let Self { holes, tools, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        hole.clear(&mut tools.pipes);
        hole.told_to_connect = false;
        hole.ended = ended;
        let pinhole = hole.name;
        let was = std::mem::replace(&mut hole.link, Link::Down);
        hole.give_up_seat();
        let unasked = match &was {
            Link::Down => cause == Some(Cause::Released),
            // Nobody was told that it had come.
            Link::Up(connection) => match connection.begun {
                Begun::Awaited => cause != Some(Cause::NotTls),
                Begun::Quiet => !connection.touched,
                Begun::Yes | Begun::Owed => false,
            },
            Link::Connecting(_) | Link::Carried => false,
        };
        hole.unweighed = true;
        match was {
            Link::Up(connection) if failure => socket::reset(connection.socket),
            // The peer may have taken it already, and not be told that it ended in order.
            Link::Connecting(attempt) if failure => attempt.socket.into_iter().for_each(socket::reset),
            _ => {}
        }
        if let Some(cause) = cause.filter(|_| !unasked) {
            self.report(Event::Closed { pinhole, cause });
        }
        self.queue(slot);
    }
}

/// Back from listening to bound. Who waits in the backlog is reset by the kernel.
fn refuse_callers(anchor: &mut Anchor) -> io::Result<()> {
    anchor.ready = false;
    if std::mem::take(&mut anchor.listening) {
        socket::unlisten(&anchor.socket)?;
    }
    Ok(())
}

/// Asks for events of a socket, each reported once.
pub(super) fn register(epoll: &OwnedFd, socket: impl AsFd, slot: u32, serial: u32) -> io::Result<()> {
    let token = epoll::EventData::new_u64(u64::from(serial) << 32 | u64::from(slot));
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    Ok(epoll::add(epoll, socket, token, flags)?)
}
