//! Pinholes without a socket of their own: how their callers come to the loop.
//!
//! Where the host allows it, a loop has one transparent listening socket (`IP_TRANSPARENT`) for each
//! address of its own, and the kernel thread steers the callers of a pinhole to it (a map of addresses
//! and ports, `tproxy`). What is accepted has the address that was called, which says whose it is. A reserved
//! pinhole is then a few octets here and an element there instead of a socket.
//!
//! What a socket did by itself is done here:
//!
//! * Before the gate opens for the first time, callers are kept unread beside the pinhole, a few of
//!   them. Of too many, the oldest of the source that has most goes.
//! * At a pinhole that takes no callers they are reset. While it has a connection, the first that comes has it steered
//!   no longer, so that the kernel refuses the others; it is steered again when the connection has ended,
//!   not when it is opened again, or the peer could be quicker than the kernel. A gate that is shut stays steered:
//!   to shut and open it costs nothing.
//! * A caller that was accepted for a pinhole that has gone to another loop follows it.
//!
//! Loopback addresses, and pinholes whose steering the kernel refused, have sockets (`links`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::event::epoll::{self, EventFlags};
use socket2::Socket;

use super::callers::least_worthy;
use super::clock::Moment;
use super::hole::Hole;
use super::kernel::Order;
use super::socket;
use super::worker::{OUTBOX, RETRY, Worker};
use carnet_gateway::media::{Event, Pinhole, Refusal};

/// Callers that wait for a gate that has not been open yet. One is meant to come.
const EARLY: usize = 8;
/// The serial number of listeners in epoll; their slot is their number in the list.
pub(super) const DOOR: u32 = u32::MAX;

/// A connection that was accepted at a listening socket of a loop.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) socket: Socket,
    pub(super) peer: SocketAddr,
    /// Whom it called.
    pub(super) local: SocketAddr,
}

/// How callers come to a pinhole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Steering {
    /// By a socket of its own.
    #[default]
    No,
    /// They are to be steered; until they are, nobody knows of the address.
    Reserving,
    /// They are to be steered again.
    Asked,
    /// They are steered.
    On,
    /// They are not: there was a connection when somebody called.
    Off,
}

impl Steering {
    /// The pinhole has no socket for callers.
    pub(super) fn is_used(self) -> bool {
        self != Self::No
    }
}

/// Whose port it is, in halves: there is one for each pinhole.
#[derive(Debug, Clone, Copy)]
enum Called {
    /// That of a pinhole here.
    Slot([u16; 2]),
    /// It went to another loop, and may have gone from there.
    Loop(u16),
}

impl Called {
    fn slot(slot: u32) -> Self {
        Self::Slot([slot as u16, (slot >> 16) as u16])
    }
}

/// The listening sockets of a loop.
#[derive(Debug, Default)]
pub(super) struct Doors {
    doors: Vec<Door>,
    /// When accepting, which failed, is tried again.
    resume: Option<Moment>,
}

#[derive(Debug)]
struct Door {
    address: IpAddr,
    socket: Socket,
    port: u16,
    called: HashMap<u16, Called>,
    /// Somebody may be waiting.
    ready: bool,
}

impl Doors {
    /// The listener for an address of ours, made when it is asked for first.
    fn of(&mut self, address: IpAddr, epoll: &rustix::fd::OwnedFd) -> io::Result<&mut Door> {
        let index = match self.doors.iter().position(|door| door.address == address) {
            Some(index) => index,
            None => {
                let socket = socket::transparent(address)?;
                let port = socket.local_addr()?.as_socket().map_or(0, |local| local.port());
                let index = self.doors.len();
                let slot = u64::try_from(index).unwrap_or(0);
                let data = epoll::EventData::new_u64(u64::from(DOOR) << 32 | slot);
                epoll::add(epoll, &socket, data, EventFlags::IN | EventFlags::ET)?;
                self.doors.push(Door { address, socket, port, called: HashMap::new(), ready: false });
                index
            }
        };
        self.doors.get_mut(index).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn at(&mut self, local: SocketAddr) -> Option<&mut Door> {
        self.doors.iter_mut().find(|door| door.address == local.ip())
    }

    fn called(&self, local: SocketAddr) -> Option<Called> {
        let door = self.doors.iter().find(|door| door.address == local.ip())?;
        door.called.get(&local.port()).copied()
    }

    /// Nobody is there any more.
    pub(super) fn forget(&mut self, local: SocketAddr) {
        if let Some(door) = self.at(local) {
            door.called.remove(&local.port());
        }
    }

    /// It went to another loop.
    pub(super) fn follow(&mut self, local: SocketAddr, index: usize) {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        if let Some(Entry::Occupied(mut called)) = self.at(local).map(|door| door.called.entry(local.port()))
        {
            called.insert(Called::Loop(index));
        }
    }

    /// epoll says so.
    pub(super) fn knock(&mut self, slot: u32) {
        if let Some(door) = self.doors.get_mut(slot as usize) {
            door.ready = true;
        }
    }

    /// When to look again; at once, if there is more than a turn may take.
    pub(super) fn next(&self, now: Moment) -> Option<Moment> {
        let ready = self.doors.iter().any(|door| door.ready);
        ready.then(|| self.resume.unwrap_or(now))
    }
}

impl Worker {
    /// Whether callers of this address can be steered.
    pub(super) fn may_steer(&self, local: SocketAddr) -> bool {
        self.kernel.steers && !local.ip().is_loopback()
    }

    /// Has callers of a pinhole come to this loop. Nothing has changed if that fails.
    pub(super) fn steer(&mut self, slot: u32, local: SocketAddr) -> io::Result<()> {
        let Some(pinhole) = self.peek(slot).map(|hole| hole.name) else { return Ok(()) };
        let Self { doors, epoll, .. } = self;
        let door = doors.of(local.ip(), epoll)?;
        door.called.insert(local.port(), Called::slot(slot));
        let listener = door.port;
        self.kernel.order(Order::Steer { pinhole, local, listener });
        Ok(())
    }

    /// A pinhole is no more. Called before its port is given back, because orders are carried out in turn.
    pub(super) fn unsteer(&mut self, hole: &Hole) {
        if hole.steering.is_used() {
            let local = self.ports.local(&hole.lease);
            self.doors.forget(local);
            if hole.steering != Steering::Off {
                self.kernel.order(Order::Unsteer { local });
            }
        }
    }

    /// The kernel thread has answered.
    pub(super) fn steered(&mut self, pinhole: Pinhole, done: bool) {
        let Some(slot) = self.slot(pinhole) else { return };
        let Some(hole) = self.hole(slot) else { return };
        match (hole.steering, done) {
            (Steering::Reserving, true) => {
                hole.steering = Steering::On;
                self.report_bound(slot);
            }
            (Steering::Asked, true) => hole.steering = Steering::On,
            (Steering::Reserving, false) => {
                let local = self.forget_steering(slot);
                let bound = local.and_then(|local| self.bind(slot, local).ok());
                match bound {
                    Some(()) => self.report_bound(slot),
                    None => {
                        self.release(pinhole);
                        self.report(Event::Refused { pinhole, reason: Refusal::System });
                    }
                }
            }
            // The door is opened as one with a socket.
            (Steering::Asked, false) => {
                self.forget_steering(slot);
            }
            (Steering::No | Steering::On | Steering::Off, _) => {}
        }
        self.queue(slot);
    }

    /// It has a socket from now on.
    pub(super) fn forget_steering(&mut self, slot: u32) -> Option<SocketAddr> {
        let Self { holes, doors, ports, .. } = self;
        let hole = holes.get_mut(slot as usize)?.as_mut()?;
        hole.steering = Steering::No;
        let local = ports.local(&hole.lease);
        doors.forget(local);
        Some(local)
    }

    /// Takes callers off the listening sockets, as many as a turn may.
    pub(super) fn take_callers(&mut self) {
        if self.doors.resume.is_some_and(|at| at > self.now) {
            return;
        }
        self.doors.resume = None;
        for index in 0..self.doors.doors.len() {
            loop {
                let crowded = self.outbox.len() >= OUTBOX;
                let later = self.now.plus(RETRY);
                let Some(door) = self.doors.doors.get_mut(index).filter(|door| door.ready) else { break };
                if crowded {
                    self.doors.resume = Some(later);
                    return;
                }
                if self.accepts == 0 {
                    return;
                }
                match socket::accept(&door.socket) {
                    Ok((socket, peer)) => {
                        self.accepts -= 1;
                        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
                        match local {
                            Some(local) => self.visit(Visitor { socket, peer, local }, true),
                            None => socket::reset(socket),
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        door.ready = false;
                    }
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    // No descriptor left: callers wait in the kernel.
                    Err(_) => {
                        self.doors.resume = Some(later);
                        self.shed();
                        return;
                    }
                }
            }
        }
    }

    /// Somebody called an address. `here`: it is this loop that accepted the call.
    pub(super) fn visit(&mut self, visitor: Visitor, here: bool) {
        match self.doors.called(visitor.local) {
            Some(Called::Slot([low, high])) => {
                self.admit(u32::from(high) << 16 | u32::from(low), visitor);
            }
            Some(Called::Loop(index)) if here => match self.docks.get(usize::from(index)) {
                Some(dock) => dock.send(visitor),
                None => socket::reset(visitor.socket),
            },
            _ => socket::reset(visitor.socket),
        }
    }

    /// A caller of a pinhole is judged, kept until that is possible, or sent away.
    fn admit(&mut self, slot: u32, visitor: Visitor) {
        let few_left = self.is_short_of(&visitor.socket);
        let Some(hole) = self.hole(slot) else { return socket::reset(visitor.socket) };
        if hole.wants_callers() {
            return self.let_in(slot, visitor);
        }
        if hole.waits_for_its_gate() {
            if few_left {
                socket::reset(visitor.socket);
                if let Some(ward) = self.ward(slot) {
                    ward.counts.short.add();
                }
                return;
            }
            let early = &mut hole.rare().early;
            early.push(visitor);
            if early.len() > EARLY {
                socket::reset(early.remove(least_worthy(early, |visitor| visitor.peer)).socket);
                if let Some(ward) = self.ward(slot) {
                    ward.counts.outdone.add();
                }
            }
            return;
        }
        socket::reset(visitor.socket);
        if hole.steering == Steering::On && hole.is_up() {
            hole.steering = Steering::Off;
            let Self { holes, ports, kernel, .. } = self;
            if let Some(Some(hole)) = holes.get(slot as usize) {
                kernel.order(Order::Unsteer { local: ports.local(&hole.lease) });
            }
        }
    }

    /// What the listening socket of the pinhole would have given it is given to it.
    fn let_in(&mut self, slot: u32, visitor: Visitor) {
        let Visitor { socket, peer, .. } = visitor;
        let Self { holes, ports, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else { return socket::reset(socket) };
        if hole.dscp.is_some() {
            socket::mark(&socket, ports.local(&hole.lease), hole.dscp);
        }
        socket::give_up_after(&socket, ports.ward(&hole.lease).and_then(|ward| ward.guard.user_timeout));
        self.greet(slot, socket, peer);
    }

    /// Opens or closes a door without a socket.
    pub(super) fn settle_steered(&mut self, slot: u32) {
        let Some(hole) = self.hole(slot) else { return };
        if hole.steering == Steering::Off && !hole.is_up() {
            hole.steering = Steering::Asked;
            let Some(lease) = self.peek(slot).map(|hole| &hole.lease) else { return };
            let local = self.ports.local(lease);
            if self.steer(slot, local).is_err() {
                self.forget_steering(slot);
                return self.queue(slot);
            }
        }
        let Some(hole) = self.hole(slot) else { return };
        if !hole.wants_callers() {
            if !hole.waits_for_its_gate() {
                hole.send_waiting_away();
            }
            return;
        }
        loop {
            let Some(hole) = self.hole(slot) else { return };
            let early = hole.rare_if_any().map(|rare| &mut rare.early).filter(|early| !early.is_empty());
            let Some(early) = early else { break };
            let visitor = early.remove(0);
            if hole.wants_callers() {
                self.let_in(slot, visitor);
            } else {
                socket::reset(visitor.socket);
            }
        }
        if self.peek(slot).is_some_and(Hole::promotable) {
            self.promote(slot);
        }
    }
}
