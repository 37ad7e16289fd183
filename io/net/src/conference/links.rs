//! The part of a loop that makes, accepts and proves connections.
//!
//! Whoever holds the key is the member (RFC 8446 §2.2), so several callers may try at once, and one
//! that is no member only takes its time. In the open, the first words tell: a To-Path with our session
//! (RFC 4975 §5.4), a BFCP header with our conference and user (RFC 8855 §5.1).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use carnet_gateway::media::{Cause, Endpoint, Event, Medium, TlsFailure};
use carnet_msrp::connection::first_request;
use carnet_msrp::{Uri, parse_path};
use carnet_tls::{Error, Report, Version};
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use super::hole::{Anchor, Attempt, Caller, Connection, Link, failure, pause_after, psk, side};
use super::line::Line;
use super::traffic::close;
use super::worker::{OUTBOX, RETRY, Worker};
use crate::media::socket;

/// Connections accepted in one turn.
const ACCEPTS: usize = 64;
/// Connections of one pinhole that have not proved anything yet. One more, and the oldest goes.
const CALLERS: usize = 8;
/// Refused sources of one pinhole are reported no more often.
const BLOCKED_EVERY: Duration = Duration::from_secs(1);
/// First words longer than this are none.
const GREETING: usize = 16 * 1024;

impl Worker {
    /// Opens or closes the door, calls the peer: whatever the settings ask for.
    pub(super) fn settle(&mut self, slot: u32) {
        let Some(hole) = self.peek(slot) else { return };
        if let Some(remote) = hole.wants_to_call() {
            self.call(slot, remote);
            return;
        }
        let wants = hole.wants_callers();
        let listening = hole.anchor.as_ref().is_some_and(|anchor| anchor.listening);
        if wants && !listening {
            self.open_door(slot);
        } else if !wants && listening {
            self.close_door(slot);
        }
        self.accept(slot);
    }

    fn open_door(&mut self, slot: u32) {
        let serial = self.next_serial();
        let now = self.now;
        let Self { epoll, holes, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else { return };
        if hole.resume.is_some_and(|at| at > now) {
            return;
        }
        let (local, dscp) = (hole.local, hole.settings.dscp);
        let opened = (|| {
            let anchor = match hole.anchor.take() {
                Some(anchor) => anchor,
                None => {
                    let socket = socket::bound(local, dscp)?;
                    Anchor { socket, serial: 0, listening: false, ready: false, held: false }
                }
            };
            let anchor = hole.anchor.insert(anchor);
            socket::listen(&anchor.socket)?;
            if anchor.serial == 0 {
                register(epoll, &anchor.socket, slot, serial)?;
                anchor.serial = serial;
            }
            (anchor.listening, anchor.ready, anchor.held) = (true, true, false);
            io::Result::Ok(())
        })();
        // Out of descriptors, or the port is taken for the moment.
        if let Err(error) = opened {
            tracing::debug!(%error, %local, "cannot listen yet");
            hole.anchor = None;
            hole.resume = Some(now + RETRY);
        }
    }

    /// Refuses who called before anything was said of callers, and is not wanted now that it is.
    pub(super) fn refuse_held(&mut self, slot: u32) {
        let Some(hole) = self.peek(slot) else { return };
        if hole.anchor.as_ref().is_some_and(|anchor| anchor.held) && !hole.wants_callers() {
            self.close_door(slot);
        }
    }

    fn close_door(&mut self, slot: u32) {
        let Some(hole) = self.hole(slot) else { return };
        hole.callers.drain(..).for_each(|caller| reset(caller.line));
        if let Some(anchor) = &mut hole.anchor {
            (anchor.listening, anchor.ready, anchor.held) = (false, false, false);
            if socket::unlisten(&anchor.socket).is_err() {
                hole.anchor = None;
            }
        }
    }

    fn accept(&mut self, slot: u32) {
        for _ in 0..ACCEPTS {
            let crowded = self.outbox.len() >= OUTBOX;
            let later = self.now + RETRY;
            let Some(hole) = self.hole(slot) else { return };
            let wants = hole.wants_callers();
            let Some(anchor) =
                hole.anchor.as_mut().filter(|anchor| anchor.listening && anchor.ready && wants)
            else {
                return;
            };
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

    /// A caller: refused, or one that has to show who it is.
    fn greet(&mut self, slot: u32, socket: Socket, peer: SocketAddr) {
        let now = self.now;
        let Some(hole) = self.hole(slot) else { return };
        let pinhole = hole.name;
        if !hole.allows(peer) {
            socket::reset(socket);
            if hole.blocked.is_none_or(|at| at + BLOCKED_EVERY <= now) {
                hole.blocked = Some(now);
                self.report(Event::Blocked { pinhole, source: peer });
            }
            return;
        }
        self.take_in(slot, socket, peer, false);
    }

    fn take_in(&mut self, slot: u32, socket: Socket, peer: SocketAddr, ours: bool) {
        let serial = self.next_serial();
        let Self { epoll, holes, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else { return };
        if register(epoll, &socket, slot, serial).is_err() {
            return socket::reset(socket);
        }
        let oldest = hole.callers.iter().position(|caller| !caller.ours);
        if hole.callers.len() >= CALLERS
            && let Some(oldest) = oldest
        {
            reset(hole.callers.remove(oldest).line);
        }
        let line = Line::Open(socket);
        hole.callers.push(Caller { line, serial, peer, until: None, ours, ready: true });
        self.queue(slot);
    }

    fn call(&mut self, slot: u32, remote: SocketAddr) {
        let give_up = self.now + self.config.timers.outgoing;
        let Some(hole) = self.hole(slot) else { return };
        let attempt = Attempt { socket: None, serial: 0, remote, count: 0, again: None, give_up };
        hole.link = Link::Calling(Box::new(attempt));
        self.attempt(slot);
    }

    /// Starts the next attempt of an outgoing connection, from the reserved port: the far side
    /// may filter by source, and the controller told it that port.
    pub(super) fn attempt(&mut self, slot: u32) {
        let serial = self.next_serial();
        let Self { epoll, holes, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else { return };
        let (local, dscp, anchor) = (hole.local, hole.settings.dscp, hole.anchor.take());
        let Link::Calling(attempt) = &mut hole.link else { return };
        attempt.serial = serial;
        attempt.count = attempt.count.saturating_add(1);
        attempt.again = None;
        let started = (|| {
            // A socket that ever listened is not used again to call.
            drop(anchor);
            let socket = socket::bound(local, dscp)?;
            socket::connect(&socket, attempt.remote, false)?;
            register(epoll, &socket, slot, serial)?;
            io::Result::Ok(socket)
        })();
        match started {
            Ok(socket) => {
                attempt.socket = Some(socket);
                self.schedule(slot);
            }
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
        let Link::Calling(attempt) = &mut hole.link else { return };
        attempt.socket = None;
        let again = now + pause_after(attempt.count);
        if attempt.count < attempts && again < attempt.give_up {
            attempt.again = Some(again);
            self.queue(slot);
        } else {
            self.end(slot, Cause::ConnectFailed, true);
        }
    }

    /// An outgoing connection is up.
    pub(super) fn connected(&mut self, slot: u32) {
        let Self { epoll, holes, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else { return };
        let Link::Calling(attempt) = &mut hole.link else { return };
        let peer = attempt.remote;
        let Some(socket) = attempt.socket.take() else { return };
        // It is known by another serial from now on, as one of those that have to show who they are.
        let _ = epoll::delete(&*epoll, &socket);
        hole.link = Link::Down;
        self.take_in(slot, socket, peer, true);
    }

    /// Goes on with those who have not shown yet who they are.
    pub(super) fn prove(&mut self, slot: u32) {
        let mut index = 0;
        loop {
            let now = self.now;
            let timers = self.config.timers;
            let Self { holes, halls, tls, .. } = self;
            let Some(Some(hole)) = holes.get_mut(slot as usize) else { return };
            // Nobody is led in before the conference is there.
            let Some(endpoint) =
                hole.settings.endpoint.clone().filter(|_| halls.contains_key(&hole.name.group))
            else {
                return;
            };
            let Some(caller) = hole.callers.get_mut(index) else { return };
            index += 1;
            if !std::mem::take(&mut caller.ready) {
                continue;
            }
            if let (Line::Open(_), Some(end)) = (&caller.line, &endpoint.tls) {
                let Caller { line, serial, peer, ours, .. } = hole.callers.remove(index - 1);
                let Line::Open(socket) = line else { return };
                let key = psk(&end.key, &end.identity);
                match key.and_then(|key| tls.socket(socket, side(end.role), key)) {
                    Ok(sealed) => {
                        let line = Line::Sealed(Box::new(sealed));
                        let until = Some(now + timers.handshake);
                        let caller = Caller { line, serial, peer, until, ours, ready: true };
                        hole.callers.insert(index - 1, caller);
                    }
                    Err(error) => self.unproved(slot, peer, ours, &error),
                }
                index -= 1;
                continue;
            }
            let proved = if caller.line.is_sealed() && endpoint.tls.is_none() {
                Err(Error::Misuse("the endpoint is no longer sealed"))
            } else if caller.line.is_sealed() {
                caller.line.handshake().map(|report| report.map(Some))
            } else if caller.ours {
                Ok(Some(None))
            } else {
                caller.until.get_or_insert(now + timers.greeting);
                match addressed(caller.line.socket(), &endpoint) {
                    Addressed::Us => Ok(Some(None)),
                    Addressed::More => Ok(None),
                    Addressed::Other => Err(Error::NotTls),
                }
            };
            match proved {
                Ok(None) => {}
                Ok(Some(report)) => {
                    index -= 1;
                    let caller = hole.callers.remove(index);
                    self.promote(slot, caller, report);
                }
                Err(error) => {
                    index -= 1;
                    let Caller { line, peer, ours, .. } = hole.callers.remove(index);
                    let open = !line.is_sealed();
                    if open {
                        reset(line);
                    } else {
                        close(line);
                    }
                    if !open {
                        self.unproved(slot, peer, ours, &error);
                    }
                }
            }
        }
    }

    /// One was not the one. Whoever tries with another key from where the peer said to be is told of at
    /// once; of others only when nobody else came in time: they may be anybody.
    fn unproved(&mut self, slot: u32, peer: SocketAddr, ours: bool, error: &Error) {
        let Some(hole) = self.hole(slot) else { return };
        let pinhole = hole.name;
        let why = failure(error);
        tracing::debug!(?pinhole, %peer, %error, "no TLS association");
        if ours {
            (hole.ended, hole.told_to_connect) = (true, false);
        }
        if hole.is_up() {
            return;
        }
        let definite = matches!(why, TlsFailure::Key | TlsFailure::Identity) && hole.expects(peer);
        if ours || definite || why == TlsFailure::Ours {
            self.report(Event::Closed { pinhole, cause: Cause::Tls(why) });
        } else {
            hole.failure = Some(why);
        }
    }

    /// The connection of a pinhole from now on. The one before it is cut.
    fn promote(&mut self, slot: u32, caller: Caller, report: Option<Report>) {
        let number = self.next_connection();
        let (now, send_buffer) = (self.now, self.config.send_buffer);
        let Caller { line, serial, peer, ours, .. } = caller;
        self.end_quietly(slot, true);
        if let Some(size) = send_buffer {
            let _ = line.socket().set_send_buffer_size(size);
        }
        let ward = self.peek(slot).and_then(|hole| self.ports.ward(&hole.lease));
        if let Some(keepalive) = ward.and_then(|ward| ward.guard.keepalive) {
            socket::keep_alive(line.socket(), keepalive);
        }
        let sealed = line.is_sealed();
        let Some(hole) = self.hole(slot) else { return };
        hole.link = Link::Up(Box::new(Connection::new(line, serial, number)));
        hole.listen_anew(now);
        (hole.waiting_until, hole.failure) = (None, None);
        (hole.told_to_connect, hole.ended) = (false, false);
        let (pinhole, seat) = (hole.name, hole.seat);
        self.report(Event::Established { pinhole, peer });
        if let Some(report) = report {
            if report.identity_differs() {
                tracing::info!(?pinhole, identity = ?report.identity, "the peer names the key otherwise");
            }
            let version = match report.version {
                Version::Tls12 => "TLSv1.2",
                Version::Tls13 => "TLSv1.3",
            };
            self.report(Event::Sealed { pinhole, version: version.to_owned(), suite: report.cipher });
        }
        if let (Some((_, hall)), Some(seat)) = (self.both(slot), seat) {
            hall.connected(now, slot, seat, number, sealed, ours);
        }
        self.stir(pinhole.group);
        self.queue(slot);
    }

    pub(super) fn on_event(&mut self, slot: u32, serial: u32, flags: EventFlags) {
        let Some(hole) = self.hole(slot) else { return };
        let broken = flags.contains(EventFlags::ERR);
        let hangup = EventFlags::RDHUP | EventFlags::HUP;
        if let Some(anchor) = hole.anchor.as_mut().filter(|anchor| anchor.serial == serial) {
            anchor.ready = anchor.listening;
            return self.queue(slot);
        }
        match &mut hole.link {
            Link::Up(connection) if connection.serial == serial => {
                if broken {
                    return self.end(slot, Cause::Reset, true);
                }
                connection.readable |= flags.intersects(EventFlags::IN | hangup);
                connection.writable |= flags.contains(EventFlags::OUT);
                self.queue(slot);
            }
            Link::Calling(attempt) if attempt.serial == serial => {
                if broken || flags.contains(EventFlags::HUP) {
                    self.attempt_failed(slot);
                } else if flags.contains(EventFlags::OUT) {
                    self.connected(slot);
                }
            }
            _ => {
                if let Some(caller) = hole.callers.iter_mut().find(|caller| caller.serial == serial) {
                    caller.ready = true;
                    self.queue(slot);
                }
            }
        }
    }

    /// Does what is due at a pinhole.
    pub(super) fn hole_due(&mut self, slot: u32) {
        let now = self.now;
        let Some(hole) = self.hole(slot) else { return };
        let pinhole = hole.name;
        let due = |at: Option<std::time::Instant>| at.is_some_and(|at| at <= now);
        if due(hole.resume) {
            hole.resume = None;
        }
        if let Some(direction) = hole.fallen_silent(now) {
            self.report(Event::Inactive { pinhole, direction });
        }
        let handshake = self.config.timers.handshake;
        while let Some(hole) = self.hole(slot)
            && let Some(late) = hole.callers.iter().position(|caller| due(caller.until))
        {
            let Caller { line, peer, ours, .. } = hole.callers.remove(late);
            let sealed = line.is_sealed();
            reset(line);
            if sealed {
                self.unproved(slot, peer, ours, &Error::Timeout(handshake));
            }
        }
        let Some(hole) = self.hole(slot) else { return };
        match &mut hole.link {
            Link::Down if due(hole.waiting_until) => {
                hole.waiting_until = None;
                if hole.wants_callers() {
                    hole.missed = true;
                    let cause = hole.failure.take().map_or(Cause::NobodyCame, Cause::Tls);
                    self.report(Event::Closed { pinhole, cause });
                }
            }
            Link::Calling(attempt) => {
                if due(attempt.again) {
                    self.attempt(slot);
                } else if attempt.give_up <= now {
                    self.end(slot, Cause::ConnectFailed, true);
                }
            }
            Link::Up(connection) if due(connection.cut) => {
                let cause = connection.closing.unwrap_or(Cause::Normal);
                self.end(slot, cause, true);
            }
            _ => {}
        }
    }
}

/// Whom a caller in the open wants.
enum Addressed {
    Us,
    Other,
    More,
}

/// Looks at the first words without taking them.
fn addressed(socket: &Socket, endpoint: &Endpoint) -> Addressed {
    let mut words = [0; GREETING];
    let length = match recv(socket, &mut words, RecvFlags::PEEK) {
        Ok((0, _)) => return Addressed::Other,
        Ok((length, _)) => length,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Addressed::More,
        Err(_) => return Addressed::Other,
    };
    let words = words.get(..length).unwrap_or_default();
    let full = length == GREETING;
    match &endpoint.medium {
        Medium::Msrp { local_path, .. } => {
            let head = match first_request(words, &carnet_msrp::Limits::default()) {
                Ok(Some(head)) => head,
                Ok(None) if !full => return Addressed::More,
                _ => return Addressed::Other,
            };
            let to = head.get("To-Path").and_then(|path| parse_path(path.as_bytes()).ok());
            // Hosts and ports may have been rewritten on the way; the session is what nobody can guess.
            let theirs = to.as_ref().and_then(|path| path.first()).and_then(Uri::session_id);
            let ours = Uri::parse(local_path.as_bytes()).ok();
            let ours = ours.as_ref().and_then(Uri::session_id);
            if theirs.is_some() && theirs == ours { Addressed::Us } else { Addressed::Other }
        }
        Medium::Bfcp { .. } => match words {
            // Version 1, over a stream; the user is the last of the header (RFC 8855 §5.1).
            [first, _, _, _, _, _, _, _, _, _, high, low, ..] => {
                let user = u16::from_be_bytes([*high, *low]);
                if first >> 5 == 1 && user == endpoint.user { Addressed::Us } else { Addressed::Other }
            }
            _ => Addressed::More,
        },
    }
}

pub(super) fn register(epoll: &OwnedFd, socket: impl AsFd, slot: u32, serial: u32) -> io::Result<()> {
    let token = epoll::EventData::new_u64(u64::from(serial) << 32 | u64::from(slot));
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    Ok(epoll::add(epoll, socket, token, flags)?)
}

/// Closes with a reset.
pub(super) fn reset(line: Line) {
    let _ = line.socket().set_linger(Some(Duration::ZERO));
}
