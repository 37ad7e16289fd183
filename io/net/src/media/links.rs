//! The part of a loop that makes, accepts, relays and ends the connections of its pinholes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use carnet_gateway::media::{Cause, Event, TlsFailure};
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use socket2::Socket;

use super::flow::{Broken, Progress, pump};
use super::hole::{Anchor, Attempt, Connection, Hole, Link, Standby, pause_after};
use super::seal::HANDSHAKES;
use super::socket;
use super::through::prepare;
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
        self.handshakes = HANDSHAKES;
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

    /// Opens or closes the door, calls the peer: whatever the settings and the far side ask for.
    fn settle(&mut self, slot: u32) {
        let Some(hole) = self.peek(slot) else { return };
        let far = hole.joined().and_then(|far| self.peek(far));
        if let Some(remote) = hole.wants_to_call(far) {
            self.call(slot, remote);
            return;
        }
        let wants = hole.wants_callers();
        let listening = hole.anchor.as_ref().is_some_and(|anchor| anchor.listening);
        if wants && !listening {
            self.open_door(slot);
        } else if !wants && (listening || hole.is_up() && hole.anchor.is_some() && !hole.reopened) {
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
        if hole.resume.is_some_and(|at| at > now) {
            return;
        }
        let local = ports.local(&hole.lease);
        let opened = (|| {
            let anchor = match hole.anchor.take() {
                Some(anchor) => anchor,
                None => {
                    let socket = socket::bound(local, hole.dscp)?;
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
            hole.resume = Some(now.plus(RETRY));
        }
    }

    /// Refuses callers from now on. A connection holds the port by itself; a pinhole that is opened
    /// again and again keeps its socket nevertheless, for the next time.
    fn close_door(&mut self, slot: u32) {
        let Some(hole) = self.hole(slot) else { return };
        hole.send_standbys_away();
        if !matches!(hole.link, Link::Down) && !hole.reopened {
            hole.anchor = None;
        } else if let Some(anchor) = &mut hole.anchor
            && let Err(error) = refuse_callers(anchor)
        {
            tracing::warn!(%error, "cannot stop listening; the port is let go instead");
            hole.anchor = None;
        }
    }

    fn accept(&mut self, slot: u32) {
        for _ in 0..ACCEPTS {
            let crowded = self.outbox.len() >= OUTBOX;
            let later = self.now.plus(RETRY);
            let Some(hole) = self.hole(slot) else { return };
            // Mostly the first caller is the one. Whether another waits is looked at when it is known
            // that the first has said nothing.
            let calls = hole.wants_callers() && !hole.is_fresh();
            let Some(anchor) = &mut hole.anchor else {
                return;
            };
            if !anchor.listening || !anchor.ready || !calls {
                return;
            }
            if crowded {
                hole.resume = Some(later);
                return;
            }
            match socket::accept(&anchor.socket) {
                Ok((socket, peer)) => self.greet(slot, socket, peer),
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
        if !hole.allows(peer) {
            socket::reset(socket);
            if hole.rare().blocked.is_none_or(|at| at.plus(BLOCKED_EVERY) <= now) {
                hole.rare().blocked = Some(now);
                self.report(Event::Blocked { pinhole, source: peer });
            }
            return;
        }
        let expected = hole.expects(peer);
        if let Link::Up(holder) = &hole.link {
            let displaces = expected && !holder.expected;
            let outranked = !expected && holder.expected || !holder.silent();
            if !displaces && outranked {
                return socket::reset(socket);
            }
        }
        if register(epoll, &socket, slot, serial).is_err() {
            return socket::reset(socket);
        }
        match &hole.link {
            Link::Up(holder) if holder.expected || !expected => {
                let standbys = &mut hole.rare().standbys;
                if standbys.len() == STANDBYS {
                    socket::reset(standbys.remove(0).socket);
                }
                standbys.push(Standby { socket, serial, peer });
            }
            _ => self.take_over(slot, Connection::accepted(socket, serial, expected, now), peer),
        }
    }

    /// The connection of a pinhole from now on. Who had it before is sent away; so is the connection
    /// of the far side if anything has passed to it, because what follows is another stream.
    pub(super) fn take_over(&mut self, slot: u32, connection: Connection, peer: SocketAddr) {
        let Self { holes, tools, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        let pinhole = hole.name;
        let mut touched = false;
        if let Link::Up(old) = std::mem::replace(&mut hole.link, Link::Up(connection)) {
            touched = old.touched;
            socket::reset(old.socket);
        }
        if touched {
            hole.send_standbys_away();
            hole.clear(&mut tools.pipes);
            if let Some(far) = self.far(slot) {
                let told = self.peek(far).is_some_and(|far| far.told_to_connect);
                self.end_one(far, None, true, false);
                if let Some(far) = self.hole(far) {
                    far.told_to_connect = told;
                }
            }
        }
        self.report(Event::Established { pinhole, peer });
        self.queue(slot);
    }

    fn call(&mut self, slot: u32, remote: SocketAddr) {
        let give_up = self.now.plus(self.config.timers.outgoing);
        let far = self.far(slot).and_then(|far| self.peek(far));
        let eager = far.is_some_and(|far| matches!(&far.link, Link::Up(caller) if caller.readable));
        let Some(hole) = self.hole(slot) else { return };
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
                None => socket::bound(local, dscp)?,
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
                Ok(Progress::Until(later)) => from.resume = Some(later),
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
                Link::Down => {}
            }
        }
    }

    fn end_one(&mut self, slot: u32, cause: Option<Cause>, failure: bool, ended: bool) {
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
