//! The part of a loop that moves octets between connections and conferences.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use carnet_gateway::media::{Cause, Event};

use super::hall::{Wish, spare};
use super::hole::{Connection, Link};
use super::line::{Given, Line, Taken};
use super::links::reset;
use super::worker::{OUTBOX, RETRY, Worker};

/// What one connection may read, or write, before others have their turn.
const BUDGET: usize = 256 * 1024;
/// The longest record of TLS (RFC 8446 §5.1). No more is written at once.
const RECORD: usize = 16 * 1024;
/// How long a connection that is over may take for what it is still sent.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Looks at conferences in one turn.
const LOOKS: usize = 1024;

impl Worker {
    /// Gives every pinhole that has something to do one turn.
    pub(super) fn turn(&mut self) {
        for _ in 0..self.run.len() {
            let Some(slot) = self.run.pop_front() else { break };
            if let Some(hole) = self.hole(slot) {
                hole.queued = false;
                self.settle(slot);
                self.prove(slot);
                self.take(slot);
                self.flush(slot);
                self.schedule(slot);
            }
        }
    }

    /// Reads what a member sends into its conference, as far as that takes it.
    fn take(&mut self, slot: u32) {
        let mut spent = 0;
        loop {
            let now = self.now;
            let Self { holes, halls, buffer, outbox, .. } = self;
            // What members do is reported: no more of it while nobody takes the reports.
            let crowded = outbox.len() >= OUTBOX;
            let Some(Some(hole)) = holes.get_mut(slot as usize) else { return };
            let group = hole.name.group;
            let (Some(hall), Some(seat), true) = (halls.get_mut(&group), hole.seat, hole.lets_in()) else {
                return;
            };
            let Link::Up(connection) = &mut hole.link else { return };
            if let Some(cause) = connection.closing {
                if drained(connection, buffer) {
                    self.end(slot, cause, false);
                }
                return;
            }
            if connection.held {
                return;
            }
            if crowded {
                hole.resume = Some(now + RETRY);
                return;
            }
            let octets = if !connection.unread.is_empty() {
                let mut unread = mem::take(&mut connection.unread);
                let taken = hall.input(now, slot, seat, connection.number, &unread);
                unread.drain(..taken.min(unread.len()));
                connection.held = !unread.is_empty();
                connection.unread = unread;
                taken
            } else if connection.readable {
                match connection.line.read(buffer) {
                    Taken::Octets(octets) => {
                        let read = buffer.get(..octets).unwrap_or_default();
                        let taken = hall.input(now, slot, seat, connection.number, read);
                        let rest = read.get(taken..).unwrap_or_default();
                        connection.unread = rest.to_vec();
                        connection.held = !rest.is_empty();
                        hole.received(octets, now);
                        octets
                    }
                    Taken::Nothing => {
                        connection.readable = false;
                        return;
                    }
                    Taken::End => return self.end(slot, Cause::Normal, false),
                    Taken::Broken => return self.end(slot, Cause::Reset, true),
                }
            } else {
                return;
            };
            self.stir(group);
            spent += octets;
            if spent >= BUDGET {
                return self.queue(slot);
            }
        }
    }

    /// Writes what waits for a member, as far as its socket takes it.
    pub(super) fn flush(&mut self, slot: u32) {
        let now = self.now;
        let Self { holes, halls, scratch, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else { return };
        let group = hole.name.group;
        let (Some(hall), Some(seat), true) = (halls.get_mut(&group), hole.seat, hole.lets_out()) else {
            return;
        };
        let Link::Up(connection) = &mut hole.link else { return };
        if !connection.writable {
            return;
        }
        let had = !connection.left.is_empty();
        let mut pending = if had { mem::take(&mut connection.left) } else { mem::take(scratch) };
        let (mut from, mut spent, mut broken) = (0, 0, false);
        while spent < BUDGET {
            if from == pending.len() {
                pending.clear();
                from = 0;
                if connection.closing.is_none() {
                    hall.pull(now, slot, seat, &mut pending, RECORD);
                }
                if pending.is_empty() {
                    break;
                }
            }
            let rest = pending.get(from..).unwrap_or_default();
            match connection.line.write(rest.get(..RECORD).unwrap_or(rest)) {
                Given::Octets(octets) => {
                    from += octets;
                    spent += octets;
                }
                Given::Full => {
                    connection.writable = false;
                    break;
                }
                Given::Broken => {
                    broken = true;
                    break;
                }
            }
        }
        connection.left = pending.get(from..).unwrap_or_default().to_vec();
        pending.clear();
        if pending.capacity() > scratch.capacity() && pending.capacity() <= BUDGET {
            *scratch = pending;
        }
        let blocked = !connection.left.is_empty();
        if blocked != connection.blocked {
            connection.blocked = blocked;
            hall.blocked(connection.number, blocked);
        }
        let more = connection.writable && spent >= BUDGET;
        if connection.closing.is_some() && !blocked && !mem::replace(&mut connection.ended, true) {
            connection.line.finish();
        }
        if spent > 0 {
            hole.sent(spent, now);
            self.stir(group);
        }
        if broken {
            self.end(slot, Cause::Reset, true);
        } else if more {
            self.queue(slot);
        }
    }

    /// Does what the conferences in which something happened want, until they want nothing.
    pub(super) fn settle_halls(&mut self) {
        let mut wishes = VecDeque::new();
        for _ in 0..LOOKS {
            let Some(group) = self.stirred.pop() else { break };
            let now = self.now;
            let Some(hall) = self.halls.get_mut(&group) else { continue };
            hall.stirred = false;
            hall.drain(now, &mut wishes);
            let stirred = !wishes.is_empty();
            while let Some(wish) = wishes.pop_front() {
                self.grant(group, wish);
            }
            spare(&mut wishes);
            if stirred {
                self.stir(group);
            }
            self.schedule_hall(group);
        }
    }

    fn grant(&mut self, group: u32, wish: Wish) {
        let now = self.now;
        match wish {
            Wish::Tell(event) => self.report(Event::Conference { group, event }),
            Wish::Write(slot) => {
                self.flush(slot);
                self.schedule(slot);
            }
            Wish::Read(slot) => {
                if let Some(hole) = self.hole(slot)
                    && let Link::Up(connection) = &mut hole.link
                {
                    connection.held = false;
                    self.queue(slot);
                }
            }
            Wish::Send { slot, number, octets } => {
                if let Some(hole) = self.hole(slot)
                    && let Link::Up(connection) = &mut hole.link
                    && connection.number == number
                {
                    connection.left.extend_from_slice(&octets);
                    self.flush(slot);
                    // What could not go tells the server so.
                    let Some((hole, hall)) = self.both(slot) else { return };
                    if let Link::Up(connection) = &mut hole.link
                        && !connection.left.is_empty()
                        && !mem::replace(&mut connection.blocked, true)
                    {
                        hall.blocked(number, true);
                    }
                }
            }
            Wish::Close { slot, number, cause, sent, expelled } => {
                let Some(hole) = self.hole(slot) else { return };
                hole.expelled |= expelled;
                let Link::Up(connection) = &mut hole.link else { return };
                if number.is_some_and(|number| number != connection.number) {
                    return;
                }
                if !sent {
                    return self.end(slot, cause, true);
                }
                connection.closing = Some(cause);
                connection.cut = Some(now + LAST_WORDS);
                self.flush(slot);
                self.schedule(slot);
                self.queue(slot);
            }
        }
    }

    /// Ends the connection of a pinhole, and says so.
    pub(super) fn end(&mut self, slot: u32, cause: Cause, hard: bool) {
        let Some(hole) = self.hole(slot) else { return };
        let pinhole = hole.name;
        let was = !matches!(hole.link, Link::Down);
        let clean = cause == Cause::Normal;
        self.part(slot, hard, clean);
        if let Some(hole) = self.hole(slot) {
            (hole.ended, hole.told_to_connect) = (true, false);
        }
        if was {
            self.report(Event::Closed { pinhole, cause });
        }
        self.queue(slot);
    }

    /// Ends it, and says nothing.
    pub(super) fn end_quietly(&mut self, slot: u32, hard: bool) {
        self.part(slot, hard, false);
    }

    fn part(&mut self, slot: u32, hard: bool, clean: bool) {
        let now = self.now;
        let Some(hole) = self.hole(slot) else { return };
        let group = hole.name.group;
        let Link::Up(connection) = mem::replace(&mut hole.link, Link::Down) else { return };
        let number = connection.number;
        let ended = connection.ended;
        if hard {
            reset(connection.line);
        } else if !ended {
            close(connection.line);
        }
        if let Some((hole, hall)) = self.both(slot)
            && let Some(seat) = hole.seat
        {
            hall.lost(now, slot, seat, number, clean);
        }
        self.stir(group);
    }
}

/// Reads a connection that is over; whether nothing more comes.
fn drained(connection: &mut Connection, buffer: &mut [u8]) -> bool {
    let mut spent = 0;
    while connection.readable && spent < BUDGET {
        match connection.line.read(buffer) {
            Taken::Octets(octets) => spent += octets,
            Taken::Nothing => connection.readable = false,
            Taken::End | Taken::Broken => return true,
        }
    }
    // Whoever has so much to say after the end is cut.
    spent >= BUDGET
}

/// An orderly end.
pub(super) fn close(mut line: Line) {
    line.finish();
}
