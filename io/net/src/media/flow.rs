//! One direction of a relay: reads from one connection, writes to the other.
//!
//! Nothing is read before what was read last has been taken, so a reader that stops stops the
//! writer, and a direction never holds more than one buffer or one pipe.

use std::sync::Arc;

use carnet_gateway::media::Cause;
use rustix::io::{Errno, read};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::pipe::{SpliceFlags, splice};

use super::clock::Moment;
use super::hole::{Hole, Link};
use super::memory::{Kept, Memory};
use super::pipes::{Pipe, Pipes};
use super::through::{self, Workbench};
use super::{Witness, socket};

/// A read of at least this many octets is one of bulk, one of less than `SMALL` is not.
const LARGE: usize = 64 * 1024;
const SMALL: usize = 16 * 1024;
/// Large reads in a row before splicing, small ones before copying again.
const TO_SPLICE: u8 = 4;
const TO_COPY: u8 = 5;
/// Before the kernel's buffers are bounded, no more than this is read at once, and after so many octets
/// they are. Most sessions never come so far. The kernel lets a window grow only when more than ten segments were read in
/// one round trip, then up to megabytes, and what came in before the bound stays.
const UNBOUNDED: usize = 8 * 1024;
const BOUND_AFTER: u64 = 32 * 1024;
const SPLICE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);
/// Reads in one turn, so that a fast stream does not keep others waiting.
pub(super) const TURN: usize = 8;

/// What the flows of one thread share.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) buffer: Box<[u8]>,
    pub(super) pipes: Pipes,
    /// Of all loops.
    pub(super) memory: Arc<Memory>,
    pub(super) splice: bool,
    pub(super) witness: Witness,
    /// Octets a direction may have in a pipe. The pipe has room for more, because what arrived in
    /// small segments takes a page each.
    pub(super) most_in_pipe: usize,
    /// Buffer size of both sockets of a direction that moves more than a little.
    pub(super) socket_buffer: Option<usize>,
    /// Made when something is done to octets for the first time.
    pub(super) bench: Option<Box<Workbench>>,
    /// Octets that were taken from peers in this round.
    pub(super) passed: u64,
}

impl Tools {
    pub(super) fn bench(&mut self) -> &mut Workbench {
        self.bench.get_or_insert_default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Flow {
    /// What is under way. Most of the time there is nothing.
    stuck: Option<Box<Stuck>>,
    /// The buffers of the sockets are bounded.
    bounded: bool,
    bulk: bool,
    large_reads: u8,
    small_reads: u8,
    /// The sender has closed its direction.
    ended: bool,
    /// The receiver has been told so.
    end_passed: bool,
}

#[derive(Debug, Default)]
struct Stuck {
    /// Octets read but not yet taken by the receiver.
    held: Option<Held>,
    pipe: Option<Pipe>,
}

#[derive(Debug)]
struct Held {
    octets: Box<[u8]>,
    from: usize,
    /// All of it, until all has left.
    _kept: Kept,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Waits for a socket.
    Waiting,
    /// Has more to do at once.
    More,
    /// Held back by its rate until then.
    Until(Moment),
}

/// Whose connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Source,
    Sink,
    /// That of the source, for this reason.
    Because(Cause),
}

impl Flow {
    /// The end has come and has been passed on.
    pub(super) fn finished(&self) -> bool {
        self.end_passed
    }

    /// The sender has closed its direction, and nothing of it waits in a socket any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn note_end(&mut self) {
        self.ended = true;
    }

    pub(super) fn note_end_passed(&mut self) {
        self.end_passed = true;
    }

    /// Keeps octets that the receiver did not take. There are none of before.
    pub(super) fn hold(&mut self, octets: &[u8], memory: &Arc<Memory>) {
        let kept = memory.keep(octets.len());
        let held = Held { octets: octets.into(), from: 0, _kept: kept };
        self.stuck.get_or_insert_default().held = Some(held);
    }

    /// Takes back what an earlier receiver did not take; `None` if there is nothing, or no more.
    pub(super) fn take_back(&mut self, room: &mut [u8]) -> rustix::io::Result<Option<usize>> {
        let Some(stuck) = self.stuck.as_deref_mut() else { return Ok(None) };
        if let Some(pipe) = stuck.pipe.as_mut().filter(|pipe| pipe.octets > 0) {
            let octets = read(&pipe.read, &mut *room)?;
            pipe.drained(octets);
            return Ok(Some(octets));
        }
        let Some(held) = &mut stuck.held else { return Ok(None) };
        let rest = held.octets.get(held.from..).unwrap_or_default();
        let octets = rest.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..octets), rest.get(..octets)) {
            to.copy_from_slice(from);
        }
        held.from += octets;
        if held.from >= held.octets.len() {
            stuck.held = None;
            self.tidy();
        }
        Ok(Some(octets))
    }

    /// Nothing is under way any more.
    fn tidy(&mut self) {
        self.stuck.take_if(|stuck| stuck.held.is_none() && stuck.pipe.is_none());
    }

    fn take_pipe(&mut self, fits: impl FnOnce(&mut Pipe) -> bool) -> Option<Pipe> {
        let pipe = self.stuck.as_mut()?.pipe.take_if(fits)?;
        self.tidy();
        Some(pipe)
    }

    /// Forgets the connection; counters and witness stay.
    pub(super) fn clear(&mut self, pipes: &mut Pipes) {
        let flow = std::mem::take(self);
        if let Some(pipe) = flow.stuck.and_then(|stuck| stuck.pipe) {
            pipes.put(pipe);
        }
    }

    /// The receiver is somebody else from now on, and has not been told of the end.
    pub(super) fn turn_away(&mut self) {
        self.end_passed = false;
    }

    /// Leaves the loop. Octets that wait in a pipe go along, and with them the pipe.
    pub(super) fn depart(&mut self, pipes: &mut Pipes) {
        if let Some(pipe) = self.take_pipe(|pipe| pipe.octets == 0) {
            pipes.put(pipe);
        } else if self.has_pipe() {
            pipes.give_away();
        }
    }

    /// Comes to another loop.
    pub(super) fn arrive(&mut self, pipes: &mut Pipes) {
        if self.has_pipe() {
            pipes.receive();
        }
    }

    fn has_pipe(&self) -> bool {
        self.stuck.as_ref().is_some_and(|stuck| stuck.pipe.is_some())
    }

    fn note_size(&mut self, octets: usize) {
        if octets >= LARGE {
            self.small_reads = 0;
            self.large_reads = self.large_reads.saturating_add(1);
            self.bulk |= self.large_reads >= TO_SPLICE;
        } else if octets < SMALL {
            self.large_reads = 0;
            self.small_reads = self.small_reads.saturating_add(1);
            self.bulk &= self.small_reads < TO_COPY;
        } else {
            self.large_reads = 0;
            self.small_reads = 0;
        }
    }
}

/// Moves octets from the peer of `source` to the peer of `sink` for one turn.
pub(super) fn pump(
    source: &mut Hole,
    sink: &mut Hole,
    tools: &mut Tools,
    now: Moment,
) -> Result<Progress, Broken> {
    if source.works() || sink.works() {
        return through::pump(source, sink, tools, now);
    }
    let mut progress = Progress::More;
    for _ in 0..TURN {
        if !deliver(source, sink, now)? {
            progress = Progress::Waiting;
            break;
        }
        if source.flow.ended {
            pass_end(source, sink)?;
            progress = Progress::Waiting;
            break;
        }
        let bucket = source.rare_if_any().and_then(|rare| rare.bucket.as_mut());
        let most = match bucket.map(|bucket| bucket.allowance(now)) {
            None => usize::MAX,
            Some(Ok(tokens)) => usize::try_from(tokens).unwrap_or(usize::MAX),
            Some(Err(later)) => {
                progress = Progress::Until(later);
                break;
            }
        };
        if !take(source, sink, most, tools, now)? {
            progress = Progress::Waiting;
            break;
        }
    }
    // Also if there is more to do: the pipe that was used last is the one the processor still knows.
    if let Some(pipe) = source.flow.take_pipe(|pipe| pipe.octets == 0) {
        tools.pipes.put(pipe);
    }
    Ok(progress)
}

/// Writes what is held. False: the receiver takes no more for now.
pub(super) fn deliver(source: &mut Hole, sink: &mut Hole, now: Moment) -> Result<bool, Broken> {
    let flow = &mut source.flow;
    loop {
        let Link::Up(to) = &mut sink.link else {
            return Ok(false);
        };
        let Some(stuck) = flow.stuck.as_deref_mut() else { return Ok(true) };
        let pipe = stuck.pipe.as_mut().filter(|pipe| pipe.octets > 0);
        if stuck.held.is_none() && pipe.is_none() {
            flow.tidy();
            return Ok(true);
        }
        if !to.writable {
            return Ok(false);
        }
        let written = match (pipe, &mut stuck.held) {
            (Some(pipe), _) => {
                let written = splice(&pipe.read, None, &to.socket, None, pipe.octets, SPLICE);
                pipe.drained(*written.as_ref().unwrap_or(&0));
                written
            }
            (None, Some(held)) => {
                let rest = held.octets.get(held.from..).unwrap_or_default();
                let written = send(&to.socket, rest, SendFlags::NOSIGNAL);
                held.from += *written.as_ref().unwrap_or(&0);
                if held.from >= held.octets.len() {
                    stuck.held = None;
                }
                written
            }
            (None, None) => return Ok(true),
        };
        match written {
            Ok(0) => return Err(Broken::Sink),
            Ok(octets) => sink.note_sent(octets, now),
            Err(Errno::AGAIN) => to.writable = false,
            Err(Errno::INTR) => {}
            Err(_) => return Err(Broken::Sink),
        }
    }
}

/// A half-close passes after all data.
pub(super) fn pass_end(source: &mut Hole, sink: &mut Hole) -> Result<(), Broken> {
    let Link::Up(to) = &mut sink.link else {
        return Ok(());
    };
    if !source.flow.end_passed {
        // If the other direction is over too, both sockets are about to be closed, and closing
        // says the same.
        if !sink.flow.end_passed {
            shutdown(&to.socket, Shutdown::Write).map_err(|_| Broken::Sink)?;
        }
        source.flow.end_passed = true;
        to.touched = true;
    }
    Ok(())
}

/// Reads once, at most `most` octets, and writes what can be written at once. False: nothing
/// more to read for now.
fn take(
    source: &mut Hole,
    sink: &mut Hole,
    most: usize,
    tools: &mut Tools,
    now: Moment,
) -> Result<bool, Broken> {
    let (Link::Up(from), Link::Up(to)) = (&mut source.link, &mut sink.link) else {
        return Ok(false);
    };
    if !from.readable || !to.writable {
        return Ok(false);
    }
    let flow = &mut source.flow;
    let Some(room) = tools.memory.room() else {
        return take_what_leaves(source, sink, most, tools, now);
    };
    let most = most.min(room);
    if flow.bulk && tools.splice && tools.witness != Witness::Full {
        if !flow.has_pipe()
            && let Some(pipe) = tools.pipes.take()
        {
            flow.stuck.get_or_insert_default().pipe = Some(pipe);
        }
        if let Some(pipe) = flow.stuck.as_mut().and_then(|stuck| stuck.pipe.as_mut()) {
            // The pipe is empty, so "try again" can only mean that the socket is.
            let most = most.min(tools.most_in_pipe);
            let read = splice(&from.socket, None, &pipe.write, None, most, SPLICE);
            let octets = match read {
                Ok(octets) => octets,
                Err(Errno::AGAIN) => {
                    from.readable = false;
                    return Ok(false);
                }
                Err(Errno::INTR) => return Ok(true),
                Err(_) => return Err(Broken::Source),
            };
            pipe.octets = octets;
            pipe.kept = (octets > 0).then(|| tools.memory.keep(octets));
            flow.ended = octets == 0;
            if let Some(observer) = source.rare_if_any().and_then(|rare| rare.observer.as_mut()) {
                observer.skip(octets as u64);
            }
            account(source, octets, &mut tools.passed, now);
            return Ok(true);
        }
    }
    let unbounded = tools.socket_buffer.filter(|_| !flow.bounded);
    let most = most.min(tools.buffer.len()).min(unbounded.map_or(usize::MAX, |_| UNBOUNDED));
    let Some(buffer) = tools.buffer.get_mut(..most) else {
        return Ok(false);
    };
    let octets = match recv(&from.socket, &mut *buffer, RecvFlags::empty()) {
        Ok((octets, _)) => octets,
        Err(Errno::AGAIN) => {
            from.readable = false;
            return Ok(false);
        }
        Err(Errno::INTR) => return Ok(true),
        Err(_) => return Err(Broken::Source),
    };
    if octets == 0 {
        flow.ended = true;
        return Ok(true);
    }
    // epoll(7): a read that came short has emptied the socket, and what comes later is a new
    // event. The end of the stream is announced only once, though.
    if octets < most && !from.hangup {
        from.readable = false;
    }
    if let Some(size) = unbounded.filter(|_| octets == most || source.received >= BOUND_AFTER) {
        flow.bounded = true;
        socket::bound_buffers(&from.socket, &to.socket, size);
    }
    let read = buffer.get(..octets).unwrap_or_default();
    let written = match send(&to.socket, read, SendFlags::NOSIGNAL) {
        Ok(written) => written,
        Err(Errno::AGAIN) => {
            to.writable = false;
            0
        }
        Err(Errno::INTR) => 0,
        Err(_) => return Err(Broken::Sink),
    };
    let rest = read.get(written..).unwrap_or_default();
    if !rest.is_empty() {
        flow.hold(rest, &tools.memory);
    }
    if let Some(observer) = source.rare_if_any().and_then(|rare| rare.observer.as_mut()) {
        observer.observe(read);
    }
    account(source, octets, &mut tools.passed, now);
    sink.note_sent(written, now);
    Ok(true)
}

/// The same while there is no room to hold anything: what the receiver does not take stays in the socket of the
/// sender.
fn take_what_leaves(
    source: &mut Hole,
    sink: &mut Hole,
    most: usize,
    tools: &mut Tools,
    now: Moment,
) -> Result<bool, Broken> {
    let (Link::Up(from), Link::Up(to)) = (&mut source.link, &mut sink.link) else {
        return Ok(false);
    };
    // A slow receiver should not have all of it looked at again and again.
    let most = most.min(tools.buffer.len()).min(LARGE);
    let Some(buffer) = tools.buffer.get_mut(..most) else {
        return Ok(false);
    };
    let octets = match recv(&from.socket, &mut *buffer, RecvFlags::PEEK) {
        Ok((0, _)) => {
            source.flow.ended = true;
            return Ok(true);
        }
        Ok((octets, _)) => octets,
        Err(Errno::AGAIN) => {
            from.readable = false;
            return Ok(false);
        }
        Err(Errno::INTR) => return Ok(true),
        Err(_) => return Err(Broken::Source),
    };
    if let Some(size) = tools.socket_buffer.filter(|_| !source.flow.bounded) {
        source.flow.bounded = true;
        socket::bound_buffers(&from.socket, &to.socket, size);
    }
    let there = buffer.get(..octets).unwrap_or_default();
    let written = match send(&to.socket, there, SendFlags::NOSIGNAL) {
        Ok(written) => written,
        Err(Errno::AGAIN) => {
            to.writable = false;
            return Ok(false);
        }
        Err(Errno::INTR) => return Ok(true),
        Err(_) => return Err(Broken::Sink),
    };
    if let Some(observer) = source.rare_if_any().and_then(|rare| rare.observer.as_mut()) {
        observer.observe(there.get(..written).unwrap_or_default());
    }
    let (Link::Up(from), Some(gone)) = (&mut source.link, buffer.get_mut(..written)) else {
        return Ok(false);
    };
    // They are there, and nobody else reads them.
    match recv(&from.socket, gone, RecvFlags::TRUNC) {
        Ok((taken, _)) if taken == written => {}
        _ => return Err(Broken::Source),
    }
    account(source, written, &mut tools.passed, now);
    sink.note_sent(written, now);
    Ok(true)
}

fn account(source: &mut Hole, octets: usize, passed: &mut u64, now: Moment) {
    if octets > 0 {
        *passed += octets as u64;
        source.note_received(octets, now);
        source.flow.note_size(octets);
        if let Some(bucket) = source.rare_if_any().and_then(|rare| rare.bucket.as_mut()) {
            bucket.take(octets as u64);
        }
    }
}
