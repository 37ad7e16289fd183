//! One direction of a relay: reads from one connection, writes to the other.
//!
//! Nothing is read before what was read last has been taken, so a reader that stops stops the
//! writer, and a direction never holds more than one buffer or one pipe.

use std::time::Instant;

use carnet_gateway::media::Rate;
use carnet_gateway::witness::{Observer, Seen};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::pipe::{SpliceFlags, splice};

use super::Witness;
use super::bucket::Bucket;
use super::hole::{Hole, Link};
use super::pipes::{Pipe, Pipes};

/// A read of at least this many octets is one of bulk, one of less than `SMALL` is not.
const LARGE: usize = 64 * 1024;
const SMALL: usize = 16 * 1024;
/// Large reads in a row before splicing, small ones before copying again.
const TO_SPLICE: u8 = 4;
const TO_COPY: u8 = 5;
/// More than any pipe holds.
const MOST_SPLICED: usize = 16 * 1024 * 1024;
const SPLICE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);
/// Reads in one turn, so that a fast stream does not keep others waiting.
const TURN: usize = 8;

/// What the flows of one thread share.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) buffer: Box<[u8]>,
    pub(super) pipes: Pipes,
    pub(super) splice: bool,
    pub(super) witness: Witness,
}

#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Octets read but not yet taken by the receiver.
    held: Vec<u8>,
    held_from: usize,
    pipe: Option<Pipe>,
    in_pipe: usize,
    bulk: bool,
    large_reads: u8,
    small_reads: u8,
    /// The sender has closed its direction.
    ended: bool,
    /// The receiver has been told so.
    end_passed: bool,
    bucket: Option<Box<Bucket>>,
    observer: Option<Box<Observer>>,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Waits for a socket.
    Waiting,
    /// Has more to do at once.
    More,
    /// Held back by its rate until then.
    Until(Instant),
}

/// Whose connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Source,
    Sink,
}

impl Flow {
    pub(super) fn limit(&mut self, rate: Option<Rate>, now: Instant) {
        if self.bucket.as_ref().map(|bucket| bucket.rate()) != rate {
            self.bucket = rate.map(|rate| Box::new(Bucket::new(rate, now)));
        }
    }

    pub(super) fn watch(&mut self) {
        self.observer = Some(Box::default());
    }

    pub(super) fn seen(&self) -> Option<Seen> {
        self.observer.as_ref().map(|observer| observer.report())
    }

    /// The end has come and has been passed on.
    pub(super) fn finished(&self) -> bool {
        self.end_passed
    }

    /// Forgets the connection; counters and witness stay.
    pub(super) fn clear(&mut self, pipes: &mut Pipes) {
        self.release_pipe(pipes);
        self.held = Vec::new();
        self.held_from = 0;
        self.bulk = false;
        self.large_reads = 0;
        self.small_reads = 0;
        self.ended = false;
        self.end_passed = false;
    }

    fn release_pipe(&mut self, pipes: &mut Pipes) {
        if let Some(pipe) = self.pipe.take() {
            if self.in_pipe == 0 {
                pipes.put(pipe);
            } else {
                pipes.discard(pipe);
            }
        }
        self.in_pipe = 0;
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
    now: Instant,
) -> Result<Progress, Broken> {
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
        let most = match source.flow.bucket.as_mut().map(|b| b.allowance(now)) {
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
    if source.flow.in_pipe == 0 && progress != Progress::More {
        source.flow.release_pipe(&mut tools.pipes);
    }
    Ok(progress)
}

/// Writes what is held. False: the receiver takes no more for now.
fn deliver(source: &mut Hole, sink: &mut Hole, now: Instant) -> Result<bool, Broken> {
    let flow = &mut source.flow;
    loop {
        let Link::Up(to) = &mut sink.link else {
            return Ok(false);
        };
        let held = flow.held.get(flow.held_from..).unwrap_or_default();
        let piped = flow.pipe.as_ref().filter(|_| flow.in_pipe > 0);
        if held.is_empty() && piped.is_none() {
            return Ok(true);
        }
        if !to.writable {
            return Ok(false);
        }
        let written = match piped {
            Some(pipe) => splice(&pipe.read, None, &to.socket, None, flow.in_pipe, SPLICE),
            None => send(&to.socket, held, SendFlags::NOSIGNAL),
        };
        match written {
            Ok(0) => return Err(Broken::Sink),
            Ok(octets) if piped.is_some() => {
                flow.in_pipe = flow.in_pipe.saturating_sub(octets);
                sink.note_sent(octets, now);
            }
            Ok(octets) => {
                flow.held_from += octets;
                if octets == held.len() {
                    flow.held = Vec::new();
                    flow.held_from = 0;
                }
                sink.note_sent(octets, now);
            }
            Err(Errno::AGAIN) => to.writable = false,
            Err(Errno::INTR) => {}
            Err(_) => return Err(Broken::Sink),
        }
    }
}

/// A half-close passes after all data.
fn pass_end(source: &mut Hole, sink: &mut Hole) -> Result<(), Broken> {
    let Link::Up(to) = &mut sink.link else {
        return Ok(());
    };
    if !source.flow.end_passed {
        shutdown(&to.socket, Shutdown::Write).map_err(|_| Broken::Sink)?;
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
    now: Instant,
) -> Result<bool, Broken> {
    let (Link::Up(from), Link::Up(to)) = (&mut source.link, &mut sink.link) else {
        return Ok(false);
    };
    if !from.readable || !to.writable {
        return Ok(false);
    }
    let flow = &mut source.flow;
    if flow.bulk && tools.splice && tools.witness != Witness::Full {
        if flow.pipe.is_none() {
            flow.pipe = tools.pipes.take();
        }
        if let Some(pipe) = &flow.pipe {
            // The pipe is empty, so "try again" can only mean that the socket is.
            let most = most.min(MOST_SPLICED);
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
            flow.in_pipe = octets;
            flow.ended = octets == 0;
            if let Some(observer) = &mut flow.observer {
                observer.skip(octets as u64);
            }
            account(source, octets, now);
            return Ok(true);
        }
    }
    let most = most.min(tools.buffer.len());
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
    let read = buffer.get(..octets).unwrap_or_default();
    if let Some(observer) = &mut flow.observer {
        observer.observe(read);
    }
    let written = match send(&to.socket, read, SendFlags::NOSIGNAL) {
        Ok(written) => written,
        Err(Errno::AGAIN) => {
            to.writable = false;
            0
        }
        Err(Errno::INTR) => 0,
        Err(_) => return Err(Broken::Sink),
    };
    if let Some(rest) = read.get(written..).filter(|rest| !rest.is_empty()) {
        flow.held = rest.to_vec();
        flow.held_from = 0;
    }
    account(source, octets, now);
    sink.note_sent(written, now);
    Ok(true)
}

fn account(source: &mut Hole, octets: usize, now: Instant) {
    if octets > 0 {
        source.note_received(octets, now);
        source.flow.note_size(octets);
        if let Some(bucket) = &mut source.flow.bucket {
            bucket.take(octets as u64);
        }
    }
}
