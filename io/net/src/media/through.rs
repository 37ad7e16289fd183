//! One direction of a relay that does something to the octets: TLS ends on one side or on both, or MSRP has
//! its paths rewritten.
//!
//! The same rules as in `flow`, with plain octets in the middle: nothing is taken from one side before
//! what was taken last has left at the other. What leaves may be kept as it is (`Flow`) or sealed (`End`).

use std::net::SocketAddr;
use std::sync::Arc;

use carnet_gateway::media::{Cause, Leg, TlsFailure};
use carnet_msrp::rewrite::{Parts, Rewriter, Side};
use carnet_msrp::{Limits, parse_path};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use std::io::IoSlice;

use super::clock::Moment;
use super::end::{Buffers, Got};
use super::flow::{self, Broken, Progress, TURN, Tools};
use super::hole::{Connection, Hole, Link};
use super::memory::Memory;

/// Plain octets in the middle, at most, before they are rewritten.
const MIDDLE: usize = 64 * 1024;

/// What the directions of one thread share.
#[derive(Debug)]
pub(super) struct Workbench {
    pub(super) buffers: Buffers,
    plain: Vec<u8>,
    rewritten: Vec<u8>,
    parts: Parts,
}

impl Default for Workbench {
    fn default() -> Self {
        Self {
            buffers: Buffers::default(),
            plain: vec![0; MIDDLE],
            rewritten: Vec::new(),
            parts: Parts::default(),
        }
    }
}

/// The rewriting of what comes from one peer, and what it was made of.
#[derive(Debug)]
pub(super) struct Rewriting {
    rewriter: Rewriter,
    source: Arc<Leg>,
    sink: Arc<Leg>,
}

/// Sees to it that what comes from the peer of `source` is rewritten as its leg and that of the `sink` ask
/// for. `Ok(false)`: one of them is not known yet, and nothing may pass.
pub(super) fn prepare(
    source: &mut Hole,
    sink: &mut Hole,
    local: impl Fn(&Hole) -> SocketAddr,
) -> Result<bool, Broken> {
    if !(source.works() || sink.works()) {
        return Ok(true);
    }
    let leg = |hole: &mut Hole| hole.rare_if_any().and_then(|rare| rare.leg.clone());
    let (near, far) = match (leg(source), leg(sink)) {
        (None, None) => return Ok(true),
        (Some(near), Some(far)) => (near, far),
        _ => return Ok(false),
    };
    if near.path.is_empty() || far.path.is_empty() {
        return Ok(false);
    }
    let sealed = (source.ends_tls(), sink.ends_tls());
    let locals = (local(source), local(sink));
    let slot = &mut source.rare().rewriting;
    if let Some(rewriting) = slot
        && (rewriting.source == near && rewriting.sink == far || !rewriting.rewriter.is_between_frames())
    {
        return Ok(true);
    }
    let made = (|| {
        let (here, there) = (parse_path(near.path.as_bytes()).ok()?, parse_path(far.path.as_bytes()).ok()?);
        let here_side = Side::new(sealed.0, locals.0, &here, &there).ok()?;
        let there_side = Side::new(sealed.1, locals.1, &there, &here).ok()?;
        Some(Rewriter::new(&here_side, &there_side, &Limits::default()))
    })();
    let Some(rewriter) = made else {
        tracing::warn!(near = %near.path, far = %far.path, "these are no paths of MSRP");
        return Err(Broken::Because(Cause::NotMsrp));
    };
    *slot = Some(Box::new(Rewriting { rewriter, source: near, sink: far }));
    Ok(true)
}

/// Moves octets from the peer of `source` to the peer of `sink` for one turn.
pub(super) fn pump(
    source: &mut Hole,
    sink: &mut Hole,
    tools: &mut Tools,
    now: Moment,
) -> Result<Progress, Broken> {
    let progress = turn(source, sink, tools, now);
    count_kept(source, &tools.memory);
    count_kept(sink, &tools.memory);
    progress
}

/// What TLS keeps at a pinhole is counted with all that is held.
fn count_kept(hole: &mut Hole, memory: &Arc<Memory>) {
    let Some(rare) = hole.rare_if_any() else { return };
    let kept = rare.end.as_ref().map_or(0, |end| end.kept());
    match &mut rare.sealed {
        Some(_) if kept == 0 => rare.sealed = None,
        Some(sealed) => sealed.set(kept),
        None if kept > 0 => rare.sealed = Some(memory.keep(kept)),
        None => {}
    }
}

fn turn(source: &mut Hole, sink: &mut Hole, tools: &mut Tools, now: Moment) -> Result<Progress, Broken> {
    for _ in 0..TURN {
        if !deliver(source, sink, tools, now)? {
            return Ok(Progress::Waiting);
        }
        if source.flow.has_ended() {
            pass_end(source, sink)?;
            return Ok(Progress::Waiting);
        }
        let bucket = source.rare_if_any().and_then(|rare| rare.bucket.as_mut());
        let most = match bucket.map(|bucket| bucket.allowance(now)) {
            None => MIDDLE,
            Some(Ok(tokens)) => usize::try_from(tokens).unwrap_or(MIDDLE).min(MIDDLE),
            Some(Err(later)) => return Ok(Progress::Until(later)),
        };
        let most = most.min(tools.memory.allowance());
        if !take(source, sink, most, tools, now)? {
            return Ok(Progress::Waiting);
        }
    }
    Ok(Progress::More)
}

/// Sends what waits. False: the receiver takes no more for now.
fn deliver(source: &mut Hole, sink: &mut Hole, tools: &mut Tools, now: Moment) -> Result<bool, Broken> {
    if !sink.ends_tls() {
        return flow::deliver(source, sink, now);
    }
    let Some((end, to)) = sink.tls() else { return Ok(false) };
    if !end.send(to).map_err(|_| Broken::Sink)? {
        return Ok(false);
    }
    // What an earlier receiver, who had no TLS, left.
    let Tools { memory, bench, .. } = tools;
    let Workbench { buffers, plain, .. } = &mut **bench.get_or_insert_default();
    while let Some(octets) = source.flow.take_back(plain).map_err(|_| Broken::Source)? {
        put(sink, plain.get(..octets).unwrap_or_default(), None, buffers, memory, now)?;
    }
    Ok(true)
}

/// A half-close passes after all data; `close_notify` is one, and so is a FIN where there is no TLS.
fn pass_end(source: &mut Hole, sink: &mut Hole) -> Result<(), Broken> {
    if source.flow.finished() {
        return Ok(());
    }
    if sink.ends_tls() {
        let Some((end, to)) = sink.tls() else { return Ok(()) };
        to.touched = true;
        if end.close(to).map_err(|_| Broken::Sink)? {
            source.flow.note_end_passed();
        }
    } else {
        flow::pass_end(source, sink)?;
    }
    let cut = source.tls().is_some_and(|(end, _)| end.is_cut());
    if cut && source.flow.finished() {
        return Err(Broken::Because(Cause::Tls(TlsFailure::Truncated)));
    }
    Ok(())
}

/// Takes at most `most` octets from the source and passes them on. False: there is no more for now.
fn take(
    source: &mut Hole,
    sink: &mut Hole,
    most: usize,
    tools: &mut Tools,
    now: Moment,
) -> Result<bool, Broken> {
    if !matches!(&sink.link, Link::Up(to) if to.writable) {
        return Ok(false);
    }
    let Tools { memory, bench, passed, .. } = tools;
    let Workbench { buffers, plain, rewritten, parts } = &mut **bench.get_or_insert_default();
    let Some(room) = plain.get_mut(..most) else { return Ok(false) };
    let got = match source.tls() {
        Some((end, from)) => end.open(from, room, buffers),
        None => match &mut source.link {
            Link::Up(from) => receive(from, room),
            _ => return Ok(false),
        },
    };
    let octets = match got {
        Got::Octets(octets) => octets,
        Got::Nothing => return Ok(false),
        Got::End => {
            source.flow.note_end();
            return Ok(true);
        }
        Got::Failed(why) => return Err(Broken::Because(Cause::Tls(why))),
        Got::Broken => return Err(Broken::Source),
    };
    source.note_received(octets, now);
    *passed += octets as u64;
    let sealed = sink.ends_tls();
    let rare = source.rare_if_any();
    let mut refused = false;
    let mut out: &[u8] = room.get(..octets).unwrap_or_default();
    if let Some(rare) = rare {
        if let Some(bucket) = &mut rare.bucket {
            bucket.take(octets as u64);
        }
        if let Some(rewriting) = &mut rare.rewriting {
            // Records are sealed from octets in one piece.
            rewritten.clear();
            let passed = match sealed {
                true => rewriting.rewriter.pass(out, rewritten),
                false => rewriting.rewriter.pass_in_parts(out, parts),
            };
            if let Err(error) = passed {
                tracing::debug!(%error, "what comes is not MSRP for us");
                refused = true;
            }
            if !sealed {
                put_parts(sink, parts, out, &mut source.flow, memory, now)?;
                return if refused { Err(Broken::Because(Cause::NotMsrp)) } else { Ok(true) };
            }
            out = rewritten;
        }
    }
    let flow = &mut source.flow;
    put(sink, out, Some(flow), buffers, memory, now)?;
    if refused { Err(Broken::Because(Cause::NotMsrp)) } else { Ok(true) }
}

fn receive(from: &mut Connection, room: &mut [u8]) -> Got {
    if !from.readable {
        return Got::Nothing;
    }
    match recv(&from.socket, &mut *room, RecvFlags::empty()) {
        Ok((0, _)) => Got::End,
        Ok((octets, _)) => {
            // epoll(7): a read that came short has emptied the socket.
            if octets < room.len() && !from.hangup {
                from.readable = false;
            }
            Got::Octets(octets)
        }
        Err(Errno::AGAIN) => {
            from.readable = false;
            Got::Nothing
        }
        Err(Errno::INTR) => receive(from, room),
        Err(_) => Got::Broken,
    }
}

/// Passes octets to the peer of `sink`. Whatever its socket does not take is kept: sealed, or in the `flow`.
fn put(
    sink: &mut Hole,
    octets: &[u8],
    flow: Option<&mut flow::Flow>,
    buffers: &mut Buffers,
    memory: &Arc<Memory>,
    now: Moment,
) -> Result<(), Broken> {
    if octets.is_empty() {
        return Ok(());
    }
    if let Some((end, to)) = sink.tls() {
        if !end.seal(to, octets, buffers) {
            return Err(Broken::Sink);
        }
        sink.note_sent(octets.len(), now);
        return Ok(());
    }
    let Link::Up(to) = &mut sink.link else { return Ok(()) };
    let written = match send(&to.socket, octets, SendFlags::NOSIGNAL) {
        Ok(written) => written,
        Err(Errno::AGAIN) => {
            to.writable = false;
            0
        }
        Err(Errno::INTR) => 0,
        Err(_) => return Err(Broken::Sink),
    };
    if let Some(rest) = octets.get(written..).filter(|rest| !rest.is_empty())
        && let Some(flow) = flow
    {
        flow.hold(rest, memory);
    }
    sink.note_sent(written, now);
    Ok(())
}

/// Parts that leave in one call, at most.
const PARTS: usize = 32;

/// Passes what leaves of what `came` to the peer of `sink`, who has no TLS, as it stands: only what the socket does
/// not take is copied, to be kept in the `flow`.
fn put_parts(
    sink: &mut Hole,
    parts: &Parts,
    came: &[u8],
    flow: &mut flow::Flow,
    memory: &Arc<Memory>,
    now: Moment,
) -> Result<(), Broken> {
    let Link::Up(to) = &mut sink.link else { return Ok(()) };
    let mut rest = parts.iter(came).peekable();
    let mut sent = 0;
    while rest.peek().is_some() {
        let mut batch = [&[][..]; PARTS];
        let (mut count, mut octets) = (0, 0);
        for (place, part) in batch.iter_mut().zip(&mut rest) {
            *place = part;
            (count, octets) = (count + 1, octets + part.len());
        }
        let slices = batch.map(IoSlice::new);
        let slices = slices.get(..count).unwrap_or_default();
        let none = &mut SendAncillaryBuffer::default();
        let written = match sendmsg(&to.socket, slices, none, SendFlags::NOSIGNAL) {
            Ok(written) => written,
            Err(Errno::AGAIN) => {
                to.writable = false;
                0
            }
            Err(Errno::INTR) => 0,
            Err(_) => return Err(Broken::Sink),
        };
        sent += written;
        if written < octets {
            let mut left = Vec::with_capacity(parts.octets() - sent);
            let mut skip = written;
            for part in batch.into_iter().chain(rest) {
                left.extend_from_slice(part.get(skip.min(part.len())..).unwrap_or_default());
                skip = skip.saturating_sub(part.len());
            }
            flow.hold(&left, memory);
            break;
        }
    }
    sink.note_sent(sent, now);
    Ok(())
}
