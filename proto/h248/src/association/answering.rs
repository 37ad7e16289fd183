//! The peer's requests and our answers to them.

use super::incoming::Arrival;
use super::segments;
use super::size::{self, Item};
use super::{Alarm, Association, Event, Transport, error_reply};
use crate::model::{
    AckRange, ActionRequest, ErrorDescriptor, ReplyBody, SegmentReply, Transaction, TransactionId,
    TransactionReply,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Octets that a Pending does not exceed in any encoding.
const PENDING: usize = 40;

impl Association {
    /// Answers a request of the peer. An answer to a request that is not being executed is dropped:
    /// it was abandoned, or forgotten by a restart of the peer.
    pub fn reply(&mut self, now: Instant, id: TransactionId, body: ReplyBody) {
        let Some((pendings, _)) = self.incoming.pendings(id) else { return };
        // RFC 3525 §D.1.4: after a Pending the peer repeats seldom, so it must say that it has the reply.
        let immediate_ack = pendings > 0;
        let parts = self.parts(id, body, immediate_ack);
        let segmented = parts.len() > 1;
        let average = self.outgoing.delay.average(&self.config.timers);
        let kept = (self.config.transport != Transport::Channel).then_some(average);
        let Some(finished) = self.incoming.finish(now, id, parts, kept, &self.config.timers) else { return };
        self.alarms.remove(&(finished.alarm, Alarm::Execution(id)));
        for (alarm, id) in self.incoming.evict(self.config.limits.remembered) {
            self.alarms.remove(&(alarm, Alarm::Reply(id)));
        }
        if (immediate_ack || segmented) && self.config.transport == Transport::Datagram {
            let wait = self.first_wait().min(self.longest_reply_wait(segmented));
            self.arm_reply(now + wait, id);
        }
        finished.items.into_iter().for_each(|item| self.transmit.push(item));
    }

    /// Tells the peer that a request takes longer. Done by itself after [`Timers::execution`](super::Timers).
    pub fn pending(&mut self, now: Instant, id: TransactionId) {
        if let Some(alarm) = self.incoming.execution_alarm(id) {
            self.alarms.remove(&(alarm, Alarm::Execution(id)));
            self.execution_due(now, id);
        }
    }

    pub(super) fn handle_request(&mut self, now: Instant, id: TransactionId, actions: Vec<ActionRequest>) {
        // RFC 3525 §8.1.1, §8.2.2: a request without a number is not executed.
        if id.0 == 0 {
            self.answer_unknown(id, ErrorDescriptor::new(403, "the TransactionID is missing"));
            return;
        }
        // As if it were lost: it comes again.
        if self.is_full() && !self.incoming.knows(id) {
            return;
        }
        // In a channel nothing is repeated.
        let (actions, digest) = match self.config.transport {
            Transport::Channel => (actions, 0),
            _ => size::digest(id, actions),
        };
        match self.incoming.arrives(now, id, &actions, digest) {
            Arrival::New => {}
            Arrival::Executing => return self.say_pending_again(now, id),
            Arrival::Replied(items) => {
                if !self.is_full() {
                    items.into_iter().for_each(|item| self.transmit.push(item));
                }
                return;
            }
            // RFC 3525 §D.1.2.2: the reply arrived, this is a late copy.
            Arrival::Confirmed => return,
            Arrival::Restarted(former) => {
                for (at, id) in former.alarms {
                    self.alarms.remove(&(at, Alarm::Execution(id)));
                    self.alarms.remove(&(at, Alarm::Reply(id)));
                }
                self.events.extend(former.executing.into_iter().map(|id| Event::Abandoned { id }));
                // Numbers may be the same again: an answer to the former life would be taken for another.
                self.transmit.drop_answers();
            }
        }
        self.heard(now);
        let busy = self.incoming.executing() >= self.config.limits.executing;
        let at = now + self.config.timers.execution;
        self.incoming.start(now, id, &actions, digest, at);
        self.alarms.insert((at, Alarm::Execution(id)));
        if busy {
            self.reply(now, id, error_reply(511, "Temporarily Busy"));
        } else {
            self.events.push_back(Event::Request { id, actions });
        }
    }

    /// Answers what is not executed and not remembered.
    pub(super) fn answer_unknown(&mut self, id: TransactionId, error: ErrorDescriptor) {
        if self.is_full() {
            return;
        }
        for item in self.parts(id, ReplyBody::Error(error), false) {
            self.transmit.push(item);
        }
    }

    /// RFC 3525 §D.1.4: a request that is executed came again. Copies that the network made come
    /// together and get one Pending, and a peer that does not listen is not the reason to give up.
    fn say_pending_again(&mut self, now: Instant, id: TransactionId) {
        let Some((pendings, said)) = self.incoming.pendings(id) else { return };
        let just_said = said.is_some_and(|at| now < at + self.config.timers.initial / 2);
        if !just_said && pendings < self.config.limits.pendings && !self.is_full() {
            self.incoming.count_pending(now, id);
            self.transmit.push(Item { transaction: Transaction::Pending(id), octets: PENDING });
        }
    }

    /// A request takes long: a Pending, at growing intervals (RFC 3525 §8.2.3).
    pub(super) fn execution_due(&mut self, now: Instant, id: TransactionId) {
        let Some(sent) = self.incoming.count_pending(now, id) else { return };
        if sent > self.config.limits.pendings {
            // H.248.1 §E.2.1: the responder gives up when it has said Pending too often.
            self.reply(now, id, error_reply(506, "Number of TransactionPendings Exceeded"));
            self.events.push_back(Event::Abandoned { id });
            return;
        }
        let growth = 1u32.checked_shl(sent.min(4)).unwrap_or(16);
        let at = now + (self.config.timers.execution * growth).min(self.config.timers.t_max / 2);
        self.incoming.set_execution_alarm(id, at);
        self.alarms.insert((at, Alarm::Execution(id)));
        if !self.is_full() {
            self.transmit.push(Item { transaction: Transaction::Pending(id), octets: PENDING });
        }
    }

    /// The peer does not wait for segments as long as for a whole reply.
    fn longest_reply_wait(&self, segmented: bool) -> Duration {
        let timers = &self.config.timers;
        if segmented { timers.longest.min(timers.segments / 4) } else { timers.longest }
    }

    fn arm_reply(&mut self, at: Instant, id: TransactionId) {
        self.incoming.repeat_reply_at(id, at);
        self.alarms.insert((at, Alarm::Reply(id)));
    }

    /// A reply that asks for an acknowledgement, or a segment, was not acknowledged.
    pub(super) fn reply_due(&mut self, now: Instant, id: TransactionId) {
        let Some((items, average, repeats)) = self.incoming.repeat_reply(now, id) else { return };
        let wait = self.outgoing.delay.spread(average, repeats, &self.config.timers, &mut self.rng);
        let segment = |item: &Item| matches!(&item.transaction, Transaction::Reply(r) if r.segment.is_some());
        let wait = wait.min(self.longest_reply_wait(items.iter().any(segment)));
        self.arm_reply(now + wait, id);
        if !self.is_full() {
            items.into_iter().for_each(|item| self.transmit.push(item));
        }
    }

    pub(super) fn handle_ack(&mut self, now: Instant, range: AckRange) {
        for (alarm, id) in self.incoming.confirm(now, range, &self.config.timers) {
            self.alarms.remove(&(alarm, Alarm::Reply(id)));
        }
    }

    pub(super) fn handle_segment_reply(&mut self, now: Instant, reply: SegmentReply) {
        let SegmentReply { id, segment } = reply;
        let Some(confirmed) = self.incoming.confirm_segment(now, id, segment, &self.config.timers) else {
            return;
        };
        if let Some(alarm) = confirmed.alarm {
            self.alarms.remove(&(alarm, Alarm::Reply(id)));
            if !confirmed.whole {
                // It gets on, so the wait begins anew.
                let wait = self.first_wait().min(self.longest_reply_wait(true));
                self.arm_reply(now + wait, id);
            }
        }
        if let Some(next) = confirmed.next {
            self.transmit.push(next);
        }
    }

    /// A reply as it can be sent: whole, in segments, or error 533 because it is too big for one
    /// message and segments are not agreed.
    fn parts(&self, id: TransactionId, body: ReplyBody, immediate_ack: bool) -> VecDeque<Item> {
        let reply =
            |body| Transaction::Reply(TransactionReply { immediate_ack, ..TransactionReply::new(id, body) });
        let item = match self.scale.weigh(reply(body)) {
            Ok(item) if item.octets <= self.scale.room() => return [item].into(),
            Ok(item) => item,
            Err(unsayable) => return self.refuse(reply(error_reply(500, unsayable.to_string()))),
        };
        let agreed = self.config.segments && self.scale.version >= 3;
        if let Transaction::Reply(TransactionReply { body: ReplyBody::Actions(actions), .. }) =
            item.transaction
            && agreed
            && let Some(items) =
                segments::split(&self.scale, id, immediate_ack, actions, self.config.limits.segments)
        {
            return items;
        }
        self.refuse(reply(error_reply(533, "Response exceeds maximum transport PDU size")))
    }

    /// An error instead of a reply that cannot be sent.
    fn refuse(&self, reply: Transaction) -> VecDeque<Item> {
        // These are short and can be said in every encoding.
        self.scale.weigh(reply).into_iter().collect()
    }
}
