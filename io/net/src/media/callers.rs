//! Who is let in: the part of a loop that accepts connections and judges them.
//!
//! Until a connection has said something, nobody knows whose it is. So one that is silent holds a pinhole
//! only until another speaks, and one that leaves without a word has not been there: the pinhole goes on
//! waiting. A caller from where the peer is expected goes before all others.
//!
//! What this may cost is bounded: so many accepts in a turn of the loop, whatever comes; a few connections
//! beside the one that has the pinhole; none beside it while the process has few descriptors left.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carnet_gateway::media::{Cause, Event};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use super::clock::Moment;
use super::guard::{Ward, whole};
use super::hole::{Begun, Connection, Hole, Link, Origin, QUIET, Standby};
use super::links::register;
use super::record::{Start, start_of};
use super::socket;
use super::worker::{OUTBOX, RETRY, Worker};

/// Connections accepted in one turn of a loop, by all its pinholes and by one of them.
pub(super) const ACCEPTS_IN_TURN: usize = 64;
const ACCEPTS: usize = 16;
/// Connections waiting beside a silent one.
const STANDBYS: usize = 8;
/// How often connections of no value are looked for when there are no descriptors.
const SHED_EVERY: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) fn ward(&self, slot: u32) -> Option<&Arc<Ward>> {
        self.ports.ward(&self.peek(slot)?.lease)
    }

    pub(super) fn accept(&mut self, slot: u32) {
        for _ in 0..ACCEPTS {
            let crowded = self.outbox.len() >= OUTBOX;
            let spent = self.accepts == 0;
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
                hole.pause(later);
                return;
            }
            if spent {
                if !hole.queued {
                    hole.queued = true;
                    self.postponed.push(slot);
                }
                return;
            }
            match socket::accept(&anchor.socket) {
                Ok((socket, peer)) => {
                    self.accepts -= 1;
                    self.greet(slot, socket, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    anchor.ready = false;
                    return;
                }
                // The caller gave up before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // No descriptor left: the caller waits in the kernel.
                Err(_) => {
                    hole.pause(later);
                    self.shed();
                    return;
                }
            }
        }
        self.queue(slot);
    }

    /// Few descriptors are left beside this one: the lowest free number is given, so many are in use.
    pub(super) fn is_short_of(&self, socket: &Socket) -> bool {
        usize::try_from(socket.as_raw_fd()).is_ok_and(|number| number >= self.most_open)
    }

    /// Decides about a caller: refused, the one, or one to wait beside a silent one.
    pub(super) fn greet(&mut self, slot: u32, socket: Socket, peer: SocketAddr) {
        let serial = self.next_serial();
        let now = self.now;
        let few_left = self.is_short_of(&socket);
        let Self { epoll, holes, ports, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        let Some(ward) = ports.ward(&hole.lease) else { return };
        if !hole.allows(peer) {
            ward.counts.filtered.add();
            return self.refuse(slot, socket, peer);
        }
        let expected = hole.expects(peer);
        let mut displaces = false;
        if let Link::Up(holder) = &hole.link {
            displaces = expected && !holder.is_expected();
            let outranked = !expected && holder.is_expected() || !(holder.silent() || hole.is_unproven());
            if !displaces && outranked {
                ward.counts.outdone.add();
                return socket::reset(socket);
            }
        }
        if few_left && !displaces && (hole.is_up() || !expected) {
            ward.counts.short.add();
            return socket::reset(socket);
        }
        let Ok(seat) = ward.seat(peer.ip(), Instant::now()) else {
            return socket::reset(socket);
        };
        if register(epoll, &socket, slot, serial).is_err() {
            return socket::reset(socket);
        }
        let standby = Standby { socket, serial, peer, seat, spoke: false };
        match &hole.link {
            Link::Up(_) if !displaces => {
                let standbys = &mut hole.rare().standbys;
                standbys.push(standby);
                if standbys.len() > STANDBYS {
                    ward.counts.outdone.add();
                    socket::reset(standbys.remove(least_worthy(standbys, |standby| standby.peer)).socket);
                }
            }
            _ => {
                let begun = if ward.guard.tls_only { Begun::Awaited } else { hole.silently_begun(now) };
                let mut connection = Connection::accepted(standby.socket, serial, expected, now);
                connection.begun = begun;
                self.take_over(slot, connection, peer, standby.seat);
            }
        }
    }

    /// Sends one away whom the filter does not let in, and says so now and then.
    fn refuse(&mut self, slot: u32, socket: Socket, source: SocketAddr) {
        socket::reset(socket);
        let now = self.now;
        let Some(hole) = self.hole(slot) else { return };
        let pinhole = hole.name;
        if hole.rare().blocked.is_none_or(|at| at.plus(QUIET) <= now) {
            hole.rare().blocked = Some(now);
            self.report(Event::Blocked { pinhole, source });
        }
    }

    /// The connection of a pinhole from now on. Who had it before is sent away; so is the connection
    /// of the far side if anything has passed to it, because what follows is another stream.
    fn take_over(
        &mut self,
        slot: u32,
        connection: Connection,
        peer: SocketAddr,
        seat: Option<super::guard::Seat>,
    ) {
        let Self { holes, tools, ports, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        let pinhole = hole.name;
        let begun = connection.begun;
        let mut touched = false;
        hole.unweighed = true;
        if let Link::Up(old) = std::mem::replace(&mut hole.link, Link::Up(connection)) {
            touched = old.touched;
            socket::reset(old.socket);
            if let Some(ward) = ports.ward(&hole.lease) {
                ward.counts.outdone.add();
            }
        }
        hole.take_seat(seat);
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
        if begun == Begun::Yes {
            self.report(Event::Established { pinhole, peer });
        }
        self.queue(slot);
    }

    /// Nobody has the pinhole any more: who has said something is next, else who has waited longest.
    pub(super) fn promote(&mut self, slot: u32) {
        let now = self.now;
        let tls_only = self.ward(slot).is_some_and(|ward| ward.guard.tls_only);
        let Some(hole) = self.hole(slot) else { return };
        let Some(rare) = hole.rare_if_any() else { return };
        if rare.standbys.is_empty() {
            return;
        }
        let next = rare.standbys.iter().position(|standby| standby.spoke).unwrap_or(0);
        let Standby { socket, serial, peer, seat, spoke } = rare.standbys.remove(next);
        let mut connection = Connection::accepted(socket, serial, hole.expects(peer), now);
        (connection.fresh, connection.readable) = (false, spoke);
        connection.begun = match (spoke, tls_only) {
            (true, _) => Begun::Yes,
            (false, true) => Begun::Awaited,
            (false, false) => hole.silently_begun(now),
        };
        self.take_over(slot, connection, peer, seat);
    }

    /// The kernel says something of the connection that has the pinhole.
    pub(super) fn on_connection(&mut self, slot: u32, flags: EventFlags) {
        let hangup = EventFlags::RDHUP | EventFlags::HUP;
        let Some(hole) = self.hole(slot) else { return };
        // Where TLS ends, our own first words are no octets that have passed.
        let works = hole.works();
        let Link::Up(connection) = &mut hole.link else { return };
        let unheard = connection.origin != Origin::Made && connection.silent();
        if flags.contains(EventFlags::ERR) {
            match unheard {
                true => self.left(slot, Cause::Reset),
                false => self.end(slot, Cause::Reset, Cause::FarSide, true),
            }
            return;
        }
        connection.fresh = false;
        connection.writable |= flags.contains(EventFlags::OUT);
        let says = flags.intersects(EventFlags::IN | hangup);
        let over = flags.intersects(hangup);
        if says && (connection.begun != Begun::Yes || over && unheard) {
            let answers = connection.touched || works;
            let owes = matches!(connection.begun, Begun::Awaited | Begun::Owed);
            match beginning(&connection.socket, answers) {
                Heard::End if unheard => return self.left(slot, Cause::Normal),
                Heard::Octets(Start::Other) if owes => return self.not_tls(slot),
                // It closed before it had begun; there is nothing left to come.
                Heard::Octets(Start::Incomplete) if owes && over => return self.not_tls(slot),
                Heard::Octets(Start::Incomplete) if owes => {}
                // It was spoken to, or called, and has nothing to say.
                Heard::End if owes => return self.end(slot, Cause::Normal, Cause::FarSide, false),
                Heard::End | Heard::Octets(_) => self.has_begun(slot),
                Heard::Nothing => {}
            }
        }
        let Some(hole) = self.hole(slot) else { return };
        let Link::Up(connection) = &mut hole.link else { return };
        if connection.begun == Begun::Yes {
            connection.hangup |= over;
            connection.readable |= says;
        }
        self.queue(slot);
    }

    /// It has begun as it must, and is told of if it was not before.
    pub(super) fn has_begun(&mut self, slot: u32) {
        let Some(hole) = self.hole(slot) else { return };
        let pinhole = hole.name;
        let Link::Up(connection) = &mut hole.link else { return };
        let was = std::mem::replace(&mut connection.begun, Begun::Yes);
        let peer = connection.socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        if let Some(peer) = peer.filter(|_| matches!(was, Begun::Awaited | Begun::Quiet)) {
            self.report(Event::Established { pinhole, peer });
        }
    }

    /// The one who has the pinhole left without a word: it was not the one who is waited for.
    fn left(&mut self, slot: u32, cause: Cause) {
        let now = self.now;
        let again = now.plus(self.config.timers.incoming);
        if let Some(hole) = self.hole(slot)
            && hole.silently_begun(now) == Begun::Yes
        {
            hole.rare().left = Some(now);
        }
        // Whom it had us call has heard nothing either, and is there when the next one comes.
        if let Some(far) = self.far(slot)
            && self.peek(far).is_some_and(|far| matches!(far.link, Link::Connecting(_)))
        {
            self.end_one(far, None, true, false);
        }
        self.end_one(slot, Some(cause), true, false);
        if let Some(hole) = self.hole(slot) {
            hole.waiting_until.get_or_insert(again);
        }
    }

    /// It does not begin with a TLS record, and nothing else may pass.
    pub(super) fn not_tls(&mut self, slot: u32) {
        if let Some(ward) = self.ward(slot) {
            ward.counts.not_tls.add();
        }
        self.unfit(slot);
    }

    /// It has not begun in time.
    pub(super) fn too_slow(&mut self, slot: u32) {
        if let Some(ward) = self.ward(slot) {
            ward.counts.slow.add();
        }
        self.unfit(slot);
    }

    fn unfit(&mut self, slot: u32) {
        let now = self.now;
        let Some(hole) = self.hole(slot) else { return };
        let Link::Up(connection) = &hole.link else { return };
        if connection.origin == Origin::Made || connection.touched {
            return self.end(slot, Cause::NotTls, Cause::FarSide, true);
        }
        let told = hole.rare().blocked.is_some_and(|at| at.plus(QUIET) > now);
        if !told {
            hole.rare().blocked = Some(now);
        }
        // Whoever it was may have been a stranger.
        let again = now.plus(self.config.timers.incoming);
        self.end_one(slot, (!told).then_some(Cause::NotTls), true, false);
        if let Some(hole) = self.hole(slot) {
            hole.waiting_until.get_or_insert(again);
        }
    }

    /// A standby connection spoke or went away.
    pub(super) fn on_standby(&mut self, slot: u32, serial: u32, flags: EventFlags) {
        let now = self.now;
        let Self { holes, ports, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else { return };
        let ward = ports.ward(&hole.lease);
        let tls_only = ward.is_some_and(|ward| ward.guard.tls_only);
        let Some(rare) = hole.rare_if_any() else { return };
        let Some(index) = rare.standbys.iter().position(|s| s.serial == serial) else {
            return;
        };
        let gone = EventFlags::ERR | EventFlags::HUP | EventFlags::RDHUP;
        let spoke = flags.contains(EventFlags::IN) && !flags.intersects(gone);
        if !spoke && !flags.intersects(gone) {
            return;
        }
        let mut fits = spoke;
        if spoke && tls_only {
            let heard = rare.standbys.get(index).map(|standby| beginning(&standby.socket, false));
            match heard {
                Some(Heard::Octets(Start::Tls)) => {}
                Some(Heard::Octets(Start::Incomplete) | Heard::Nothing) => return,
                _ => {
                    if let Some(ward) = ward {
                        ward.counts.not_tls.add();
                    }
                    fits = false;
                }
            }
        }
        let mut standby = rare.standbys.remove(index);
        if fits && hole.is_unproven() && !matches!(&hole.link, Link::Up(holder) if holder.silent()) {
            standby.spoke = true;
            return hole.rare().standbys.push(standby);
        }
        let Standby { socket, peer, seat, .. } = standby;
        let free = match &hole.link {
            Link::Up(holder) => holder.silent(),
            Link::Down => hole.wants_callers(),
            Link::Connecting(_) | Link::Carried => false,
        };
        if !(fits && free) {
            return socket::reset(socket);
        }
        let mut connection = Connection::accepted(socket, serial, hole.expects(peer), now);
        connection.readable = true;
        connection.fresh = false;
        self.take_over(slot, connection, peer, seat);
    }

    /// The settings are others: who came under the old ones and has not been heard is judged anew.
    pub(super) fn judge_anew(&mut self, slot: u32) {
        let Self { holes, ports, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else { return };
        let Link::Up(connection) = &hole.link else { return };
        if connection.origin == Origin::Made {
            return;
        }
        let peer = connection.socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        let Some(peer) = peer else { return };
        let (allowed, expected) = (hole.allows(peer), hole.expects(peer));
        let Link::Up(connection) = &mut hole.link else { return };
        connection.expect(expected);
        let unheard = !connection.touched;
        let counts = ports.ward(&hole.lease).map(|ward| &ward.counts);
        let standbys = hole.take_standbys();
        let (kept, refused): (Vec<_>, Vec<_>) = standbys.into_iter().partition(|s| hole.allows(s.peer));
        if !kept.is_empty() {
            hole.rare().standbys = kept;
        }
        for standby in refused {
            counts.into_iter().for_each(|counts| counts.filtered.add());
            socket::reset(standby.socket);
        }
        if !allowed && unheard {
            counts.into_iter().for_each(|counts| counts.filtered.add());
            self.end_one(slot, Some(Cause::Reset), true, false);
        }
    }

    /// No descriptor is left: connections that only wait beside others go first.
    pub(super) fn shed(&mut self) {
        let now = self.now;
        if self.shed.is_some_and(|at| at.plus(SHED_EVERY) > now) {
            return;
        }
        self.shed = Some(now);
        let Self { holes, ports, .. } = self;
        for hole in holes.iter_mut().flatten() {
            let sent_away = hole.send_waiting_away();
            if let Some(ward) = ports.ward(&hole.lease) {
                (0..sent_away).for_each(|_| ward.counts.short.add());
            }
        }
    }
}

/// The one of too many that is sent away: the oldest of the source that has most of them, so that no
/// source can push another out.
pub(super) fn least_worthy<T>(waiting: &[T], peer: impl Fn(&T) -> SocketAddr) -> usize {
    let source = |one: &T| -> IpAddr { whole(peer(one).ip()) };
    let of = |one: &T| waiting.iter().filter(|other| source(other) == source(one)).count();
    let most = waiting.iter().map(of).max();
    waiting.iter().position(|one| Some(of(one)) == most).unwrap_or(0)
}

enum Heard {
    Nothing,
    End,
    Octets(Start),
}

/// What a connection begins with, without taking it. `answers`: we have spoken first.
fn beginning(socket: &Socket, answers: bool) -> Heard {
    let mut octets = [0; super::record::ENOUGH];
    match recv(socket, &mut octets[..], RecvFlags::PEEK) {
        Ok((0, _)) => Heard::End,
        Ok((length, _)) => Heard::Octets(start_of(octets.get(..length).unwrap_or_default(), answers)),
        Err(Errno::AGAIN | Errno::INTR) => Heard::Nothing,
        // It is told by an event of its own.
        Err(_) => Heard::Nothing,
    }
}

impl Hole {
    /// How a connection begins that has said nothing. Strangers that come and go are not all reported: the
    /// controller would have the worst of a flood.
    fn silently_begun(&self, now: Moment) -> Begun {
        let reported = self.rare_if_there().and_then(|rare| rare.left);
        if reported.is_some_and(|at| at.plus(QUIET) > now) { Begun::Quiet } else { Begun::Yes }
    }

    /// Somebody waits, and nobody has the pinhole.
    pub(super) fn promotable(&self) -> bool {
        matches!(self.link, Link::Down) && self.has_standbys()
    }
}
