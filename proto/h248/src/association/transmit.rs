//! What is ready to be sent, put together to messages (RFC 3525 §8.3): in order, as many transactions
//! in one as fit. Requests and answers never share one, because they may have to go to different
//! addresses (§9); acknowledgements ride in either.

use super::size::{Item, SHARED};
use crate::model::{AckRange, SegmentReply, Transaction, TransactionId};
use std::collections::{BTreeSet, VecDeque};

/// Octets that no acknowledgement, range in one, or segment reply exceeds in any encoding.
const ACK: usize = 48;
const RANGE: usize = 40;
const SEGMENT: usize = 56;
/// Replies not acknowledged that are remembered: more says nothing that LONG-TIMER does not.
const ACKS: usize = 4_096;
/// So many do not wait for a message to ride in.
const ACKS_DUE: usize = 64;

#[derive(Default)]
pub(super) struct Transmit {
    queue: VecDeque<Item>,
    segments: VecDeque<SegmentReply>,
    acks: BTreeSet<TransactionId>,
    /// Acknowledgements do not wait for another message.
    due: bool,
}

impl Transmit {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, item: Item) {
        self.queue.push_back(item);
    }

    /// Drops requests of ours.
    pub(super) fn drop_requests(&mut self) {
        self.queue.retain(|item| !matches!(item.transaction, Transaction::Request(_)));
    }

    /// Drops everything about requests of the peer.
    pub(super) fn drop_answers(&mut self) {
        self.queue.retain(|item| matches!(item.transaction, Transaction::Request(_)));
        self.segments.clear();
        self.acks.clear();
        self.due = false;
    }

    /// Remembers to acknowledge a reply. True if it is the first to be remembered.
    pub(super) fn acknowledge(&mut self, id: TransactionId) -> bool {
        let first = self.acks.is_empty();
        self.acks.insert(id);
        if self.acks.len() >= ACKS_DUE {
            self.due = true;
        }
        if self.acks.len() > ACKS {
            self.acks.pop_first();
        }
        first
    }

    /// Acknowledgements wait no longer.
    pub(super) fn acknowledge_now(&mut self) {
        self.due = !self.acks.is_empty();
    }

    pub(super) fn acknowledges(&self) -> bool {
        !self.acks.is_empty()
    }

    /// Remembers to acknowledge a segment, at once.
    pub(super) fn acknowledge_segment(&mut self, segment: SegmentReply) {
        if self.segments.len() < ACKS && !self.segments.contains(&segment) {
            self.segments.push_back(segment);
        }
    }

    /// The transactions of the next message: at most `bundle`, in at most `room` octets. A single one
    /// that is larger goes alone; it was measured by a limit that has changed.
    pub(super) fn next(&mut self, room: usize, bundle: usize) -> Vec<Transaction> {
        let bundle = bundle.max(1);
        let (mut out, mut used) = (Vec::new(), 0);
        // A segment reply ends without a brace, and the grammar has no place for white space between it
        // and what follows: so it is the last of its message, and the only one.
        let tail = self.segments.pop_front();
        let bundle = bundle - usize::from(tail.is_some());
        let room = room.saturating_sub(if tail.is_some() { SEGMENT } else { 0 });
        // A reply is acknowledged after all of its segments are. When acknowledgements are due they go
        // first, else only where they take nothing from what is ready.
        let front = self.queue.front().map(|item| item.octets + SHARED);
        let (slots, reserved) = match front {
            Some(octets) if !self.due => (2, octets),
            _ => (1, 0),
        };
        if (self.due || front.is_some()) && tail.is_none() && slots <= bundle {
            let ranges = self.take_acks(room.saturating_sub(reserved));
            if !ranges.is_empty() {
                used += ACK + ranges.len() * RANGE;
                out.push(Transaction::Ack(ranges));
            }
        }
        let is_request = |item: &Item| matches!(item.transaction, Transaction::Request(_));
        let requests = self.queue.front().is_some_and(is_request);
        while out.len() < bundle && self.queue.front().is_some_and(|i| is_request(i) == requests) {
            let alone = out.is_empty() && tail.is_none();
            let fits = |i: &Item| alone || used + i.octets + SHARED <= room;
            if !self.queue.front().is_some_and(fits) {
                break;
            }
            let Some(item) = self.queue.pop_front() else { break };
            used += item.octets + SHARED;
            out.push(item.transaction);
        }
        out.extend(tail.map(Transaction::Segment));
        out
    }

    /// Takes as many acknowledgements as fit.
    fn take_acks(&mut self, room: usize) -> Vec<AckRange> {
        let most = room.saturating_sub(ACK) / RANGE;
        let mut out: Vec<AckRange> = Vec::new();
        while let Some(id) = self.acks.first().copied() {
            let ranges = out.len();
            match out.last_mut() {
                Some(range) if range.last.0.checked_add(1) == Some(id.0) => range.last = id,
                _ if ranges < most => out.push(AckRange { first: id, last: id }),
                _ => break,
            }
            self.acks.pop_first();
        }
        self.due = self.due && !self.acks.is_empty();
        out
    }
}
