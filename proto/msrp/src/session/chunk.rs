//! What goes onto the connection, in which order, and when a chunk is interrupted (RFC 4975 §5.1,
//! §7.1, §7.1.1).
//!
//! First comes the rest of a frame already begun; then responses and reports; short messages; then
//! long messages in turn, a chunk each. A long chunk is interrupted as soon as something shorter
//! waits, so a line of chat does not stand behind a file.

use super::answer::path;
use super::depart::Departure;
use super::types::{Event, FailureReport, MessageKey};
use super::{Owner, Session, Transaction};
use crate::{ByteRange, Continuation};
use bytes::Buf;
use memchr::memmem;
use std::time::Instant;

/// RFC 4975 §7.1.1: a chunk with a longer body must be interruptible.
pub(super) const UNINTERRUPTIBLE: usize = 2048;

/// How often another transaction identifier is tried when the body of a short chunk holds it. Once is
/// rare enough; a body that still does goes as an interruptible chunk.
const RENAMES: usize = 4;

/// The chunk that is being written.
pub(super) struct Chunk {
    key: MessageKey,
    tid: String,
    /// Octets of body written.
    written: usize,
    interruptible: bool,
    /// Whether the response came before the end.
    answered: bool,
    /// What must not appear in the body: dashes and the transaction identifier. `None` when it is known not
    /// to be there.
    fence: Option<memmem::Finder<'static>>,
    /// The last octets written, in which a fence could have begun.
    tail: Vec<u8>,
}

impl Chunk {
    pub(super) fn tid(&self) -> &str {
        &self.tid
    }

    pub(super) fn key(&self) -> MessageKey {
        self.key
    }

    pub(super) fn set_answered(&mut self) {
        self.answered = true;
    }

    /// How many octets of `data` can be written before the fence would appear in the body.
    fn clear(&self, data: &[u8]) -> usize {
        let Some(finder) = &self.fence else { return data.len() };
        let fence = finder.needle().len();
        let seam = self.tail.len();
        if seam > 0 {
            let mut joint = self.tail.clone();
            joint.extend_from_slice(data.get(..data.len().min(fence - 1)).unwrap_or_default());
            if let Some(at) = finder.find(&joint) {
                // All of the fence but its last octet may be written.
                return (at + fence - 1).saturating_sub(seam);
            }
        }
        finder.find(data).map_or(data.len(), |at| at + fence - 1)
    }

    fn remember(&mut self, data: &[u8]) {
        self.written += data.len();
        let Some(finder) = &self.fence else { return };
        let keep = finder.needle().len() - 1;
        if data.len() >= keep {
            self.tail.clear();
            self.tail.extend_from_slice(data.get(data.len() - keep..).unwrap_or_default());
        } else {
            self.tail.extend_from_slice(data);
            let drop = self.tail.len().saturating_sub(keep);
            self.tail.drain(..drop);
        }
    }
}

impl Session {
    /// Appends at most `max` octets for the connection to `out`. Returns whether there were any.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>, max: usize) -> bool {
        let before = out.len();
        let limit = before.saturating_add(max);
        while !self.closed && out.len() < limit {
            let room = limit - out.len();
            if !self.pending.is_empty() {
                let n = room.min(self.pending.len());
                let (front, back) = self.pending.as_slices();
                let first = n.min(front.len());
                out.extend_from_slice(front.get(..first).unwrap_or_default());
                out.extend_from_slice(back.get(..n - first).unwrap_or_default());
                self.pending.drain(..n);
            } else if self.chunk.is_some() {
                if !self.write_chunk(now, out, room) {
                    break;
                }
            } else if let Some(frame) = self.control.pop_front() {
                self.control_octets -= frame.len();
                self.pending.extend(frame);
            } else if !self.begin_chunk() {
                break;
            }
        }
        out.len() > before
    }

    /// Whether [`Self::poll_transmit`] would give octets now.
    pub fn has_transmit(&self) -> bool {
        let open = self.chunk.as_ref().is_some_and(|chunk| {
            self.departures.iter().any(|d| d.key == chunk.key && (d.queued > 0 || d.supplied || d.aborted))
        });
        !self.closed
            && (!self.pending.is_empty()
                || !self.control.is_empty()
                || open
                || self.next_departure().is_some())
    }

    /// The message whose turn it is: one that was given up, a short one, or the first in the queue.
    fn next_departure(&self) -> Option<usize> {
        let unanswered = self.transactions.len() >= self.config.limits.transactions;
        let ready = |d: &Departure| {
            let held = unanswered && d.failure_report == FailureReport::Yes && !d.is_short();
            d.aborted || (d.is_ready() && !held)
        };
        let first = self.departures.iter().position(ready)?;
        let short = self.departures.iter().position(|d| ready(d) && (d.aborted || d.is_short()));
        Some(short.unwrap_or(first))
    }

    /// Writes the head of a chunk.
    fn begin_chunk(&mut self) -> bool {
        let Some(at) = self.next_departure() else { return false };
        let mut tid = self.new_ident();
        let Some(mut d) = self.departures.remove(at) else { return false };
        // RFC 4975 §7.1: the end line must not be in the body. A longer chunk ends before it would be.
        for _ in 0..RENAMES {
            if !d.is_short() || !d.holds(&tid) {
                break;
            }
            tid = self.new_ident();
        }
        let left = d.size.map(|size| size - d.written);
        // RFC 4975 §7.1.1: a range that says where it ends cannot be interrupted.
        let interruptible = d.aborted || !d.is_short() || d.holds(&tid);
        let end = if interruptible { None } else { Some(d.written + d.queued as u64) };
        let range =
            ByteRange { start: d.written + 1, end, total: if left.is_some() { d.size } else { None } };
        // What is written here fits into its lines: enqueueing saw to that.
        let mut octets = Vec::with_capacity(512);
        let mut line = |parts: &[&str]| {
            parts.iter().for_each(|part| octets.extend_from_slice(part.as_bytes()));
            octets.extend_from_slice(b"\r\n");
        };
        line(&["MSRP ", &tid, " SEND"]);
        match self.config.remote_path.as_slice() {
            [peer] => line(&["To-Path: ", peer.as_str()]),
            peers => line(&["To-Path: ", &path(peers)]),
        }
        line(&["From-Path: ", self.config.local_path.as_str()]);
        line(&["Message-ID: ", &d.message_id]);
        if d.success_report {
            line(&["Success-Report: yes"]);
        }
        match d.failure_report {
            FailureReport::Yes => {}
            FailureReport::No => line(&["Failure-Report: no"]),
            FailureReport::Partial => line(&["Failure-Report: partial"]),
        }
        line(&["Byte-Range: ", &range.to_string()]);
        if d.written == 0 {
            d.headers.drain(..).for_each(|header| line(&[header.line()]));
        }
        // RFC 4975 §9: Content-Type comes last.
        line(&["Content-Type: ", &d.content_type]);
        line(&[]);
        self.pending.extend(octets);
        let fence = interruptible.then(|| memmem::Finder::new(&format!("-------{tid}")).into_owned());
        self.chunk = Some(Chunk {
            key: d.key,
            tid,
            written: 0,
            interruptible,
            answered: false,
            fence,
            tail: Vec::new(),
        });
        // Its next turn comes after that of the others.
        self.departures.push_back(d);
        true
    }

    /// Goes on with the chunk under way. False when it waits for its body.
    fn write_chunk(&mut self, now: Instant, out: &mut Vec<u8>, room: usize) -> bool {
        let Some(mut chunk) = self.chunk.take() else { return false };
        let Some(at) = self.departures.iter().position(|d| d.key == chunk.key) else { return false };
        let others_wait = !self.control.is_empty() || self.another_is_waiting(at);
        // Others that wait get their turn as soon as the chunk is long enough to be interrupted.
        let full = if others_wait { UNINTERRUPTIBLE } else { self.config.chunk_size };
        let ready = |(i, d): (usize, &Departure)| i != at && (d.aborted || d.is_ready());
        let anybody_is_ready = self.departures.get(at).is_some_and(|d| d.queued == 0)
            && self.departures.iter().enumerate().any(ready);
        let Some(d) = self.departures.get_mut(at) else { return false };
        let flag = if d.aborted {
            Some(Continuation::Aborted)
        } else if d.queued == 0 && d.supplied {
            Some(Continuation::Last)
        } else if d.queued == 0 {
            // The body is late. Let others through meanwhile, long ones too.
            let anybody = others_wait || anybody_is_ready;
            (anybody && chunk.interruptible && chunk.written > 0).then_some(Continuation::More)
        } else {
            (chunk.interruptible && chunk.written >= full).then_some(Continuation::More)
        };
        if let Some(flag) = flag {
            self.end_chunk(now, at, chunk, flag);
            return true;
        }
        if d.queued == 0 {
            self.chunk = Some(chunk);
            return false;
        }
        let most = if chunk.interruptible { full.saturating_sub(chunk.written) } else { d.queued };
        let Some(data) = d.queue.front_mut() else { return false };
        let n = room.min(most).min(data.len());
        let part = data.get(..n).unwrap_or_default();
        let clear = chunk.clear(part);
        let part = part.get(..clear).unwrap_or_default();
        out.extend_from_slice(part);
        chunk.remember(part);
        d.written += clear as u64;
        d.queued -= clear;
        data.advance(clear);
        if data.is_empty() {
            d.queue.pop_front();
        }
        let key = d.key;
        if clear < n {
            // RFC 4975 §7.1: the end line must not be in the body. Another chunk has another one.
            self.end_chunk(now, at, chunk, Continuation::More);
        } else {
            self.chunk = Some(chunk);
        }
        self.want_body(key);
        true
    }

    fn another_is_waiting(&self, but: usize) -> bool {
        let ready = |(at, d): (usize, &Departure)| at != but && !d.aborted && d.is_ready() && d.is_short();
        self.departures.iter().enumerate().any(ready)
    }

    fn end_chunk(&mut self, now: Instant, at: usize, chunk: Chunk, flag: Continuation) {
        let mut octets = Vec::with_capacity(64);
        octets.extend_from_slice(b"\r\n-------");
        octets.extend_from_slice(chunk.tid.as_bytes());
        octets.push(flag.octet());
        octets.extend_from_slice(b"\r\n");
        self.pending.extend(octets);
        let Some(d) = self.departures.get_mut(at) else { return };
        let (key, tid) = (d.key, chunk.tid);
        if flag == Continuation::Aborted {
            self.departures.remove(at);
            return;
        }
        let deadline = match d.failure_report {
            _ if chunk.answered => None,
            FailureReport::Yes => {
                d.unanswered += 1;
                Some(Some(now + self.config.transaction_timeout))
            }
            FailureReport::Partial => Some(None),
            FailureReport::No => None,
        };
        let forget = d.failure_report != FailureReport::Yes;
        if flag == Continuation::Last {
            if d.success_report || forget {
                let message_id = d.message_id.clone();
                self.await_report(key, message_id);
            }
            self.push_event(Event::Sent { key });
            match self.departures.remove(at) {
                Some(written) if !forget && written.unanswered > 0 => self.unanswered.add(written),
                _ if !forget => self.push_event(Event::Delivered { key }),
                _ => {}
            }
        }
        if let Some(deadline) = deadline {
            self.push_transaction(Transaction { tid, owner: Owner::Message(key), deadline });
        }
    }

    fn await_report(&mut self, key: MessageKey, message_id: String) {
        if self.awaiting.len() >= self.config.limits.awaiting_reports {
            self.awaiting.pop_front();
        }
        self.awaiting.push_back((key, message_id));
    }

    fn push_transaction(&mut self, transaction: Transaction) {
        // Those without a deadline never end by themselves: the oldest makes room.
        if self.transactions.len() >= self.config.limits.transactions
            && let Some(at) = self.transactions.iter().position(|t| t.deadline.is_none())
        {
            self.transactions.remove(at);
        }
        self.transactions.push_back(transaction);
    }
}
