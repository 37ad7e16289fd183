//! Our requests and the peer's answers to them.

use super::outgoing::{Arrived, Due, Next};
use super::{Alarm, Association, Event, Failure, Transport};
use crate::model::{
    ActionRequest, ErrorDescriptor, ReplyBody, SegmentReply, Transaction, TransactionId, TransactionReply,
    TransactionRequest,
};
use std::time::{Duration, Instant};

impl Association {
    /// Sends a request. The answer is an [`Event::Reply`] or [`Event::Failed`] with the same number.
    pub fn request(&mut self, now: Instant, actions: Vec<ActionRequest>) -> TransactionId {
        let id = self.outgoing.next_id();
        if self.outgoing.len() >= self.config.limits.outstanding {
            self.fail(id, Failure::TooMany);
            return id;
        }
        let item = match self.scale.weigh(Transaction::Request(TransactionRequest { id, actions })) {
            Ok(item) if item.octets <= self.scale.room() => item,
            Ok(_) => {
                self.fail(id, Failure::TooBig);
                return id;
            }
            Err(_) => {
                self.fail(id, Failure::Unsayable);
                return id;
            }
        };
        let kept = (self.config.transport != Transport::Channel).then(|| item.clone());
        let average = self.outgoing.delay.average(&self.config.timers);
        self.outgoing.start(now, id, kept, average);
        self.transmit.push(item);
        let wait = self.first_wait().min(self.config.timers.t_max);
        self.arm_request(now + wait, id);
        id
    }

    /// The reliable transport was lost and is back: requests without an answer are sent again.
    pub fn reconnected(&mut self) {
        self.send_again();
    }

    /// Gives up our requests: each fails with [`Failure::Closed`]. What the peer asked stays.
    pub fn fail_requests(&mut self) {
        for id in self.outgoing.clear() {
            self.fail(id, Failure::Closed);
        }
        self.alarms.retain(|(_, alarm)| !matches!(alarm, Alarm::Request(_)));
        self.transmit.drop_requests();
    }

    /// Sends all requests without an answer once more.
    pub(super) fn send_again(&mut self) {
        // What was ready to be sent may or may not have left; it is among the requests.
        self.transmit.drop_requests();
        for item in self.outgoing.all() {
            self.transmit.push(item);
        }
    }

    fn fail(&mut self, id: TransactionId, reason: Failure) {
        self.events.push_back(Event::Failed { id, reason });
    }

    fn arm_request(&mut self, at: Instant, id: TransactionId) {
        self.outgoing.set_alarm(id, at);
        self.alarms.insert((at, Alarm::Request(id)));
    }

    /// A request has waited for its reply.
    pub(super) fn request_due(&mut self, now: Instant, id: TransactionId) {
        let t_max = self.config.timers.t_max;
        let (item, next) = match self.outgoing.due(now, id, t_max) {
            Some(Due::Repeat { item, next }) => (item, next),
            Some(Due::Expired) => return self.expired(now, id),
            Some(Due::Segments { missing }) => {
                let missing: Vec<_> = missing.iter().take(64).map(u16::to_string).collect();
                // What OTP's megaco and the gateways that document it say; the registry gives the
                // number to something else since.
                let text = format!("segments not received of reply {id}: {}", missing.join(","));
                self.refusal = Some(ErrorDescriptor::new(459, text));
                return self.fail(id, Failure::Segments);
            }
            None => return,
        };
        let wait = match next {
            Next::Measured { average, repeats } => self.wait_again(average, repeats),
            Next::Pending { repeats } => self.pending_wait(repeats),
        };
        let left = t_max.saturating_sub(self.outgoing.age(now, id).unwrap_or_default());
        self.arm_request(now + wait.min(left), id);
        if self.config.transport == Transport::Datagram
            && !self.is_full()
            && let Some(item) = item
        {
            self.transmit.push(item);
        }
    }

    /// RFC 3525 §D.1.4: a request that is Pending is repeated by another timer; §D.1.3: each wait is
    /// longer than the one before.
    fn pending_wait(&self, repeats: u32) -> Duration {
        let doubled = 1u32.checked_shl(repeats).unwrap_or(u32::MAX);
        self.config.timers.pending.saturating_mul(doubled).min(self.config.timers.t_max)
    }

    /// T-MAX has passed.
    fn expired(&mut self, now: Instant, id: TransactionId) {
        self.fail(id, Failure::TimedOut);
        // The other end of a channel is slow or ends the channel; it is never lost by silence. And who
        // answers other requests has not failed, only this one has (RFC 3525 §D.1.5 means the former).
        let answers = self.last_answer.is_some_and(|at| now < at + self.config.timers.t_max);
        let can_be_lost = self.config.transport != Transport::Channel && !answers;
        if can_be_lost && !std::mem::replace(&mut self.lost, true) {
            self.events.push_back(Event::PeerLost);
        }
    }

    pub(super) fn handle_reply(&mut self, now: Instant, reply: TransactionReply) {
        let TransactionReply { id, segment, immediate_ack, body } = reply;
        // RFC 3525 §8.1.1: the peer found no number in a request of ours. All have one, so it is not
        // known which it was.
        if id.0 == 0 {
            if let ReplyBody::Error(error) = body {
                self.refused(error);
            }
            return;
        }
        let Some(segment) = segment else {
            self.acknowledge(now, id, immediate_ack);
            if let Some(alarm) = self.outgoing.answered(now, id) {
                self.answers(now);
                self.alarms.remove(&(alarm, Alarm::Request(id)));
                self.events.push_back(Event::Reply { id, body });
            }
            return;
        };
        match self.outgoing.assemble(now, id, segment, immediate_ack, body, &self.config.limits) {
            // The peer keeps it and sends it again.
            Arrived::Refused => return,
            Arrived::Late | Arrived::Again | Arrived::More { alarm: None, .. } => {}
            Arrived::More { alarm: Some(alarm), has_last } => {
                self.answers(now);
                self.alarms.remove(&(alarm, Alarm::Request(id)));
                let timers = &self.config.timers;
                let wait = if has_last { timers.segments } else { timers.t_max };
                self.arm_request(now + wait, id);
            }
            Arrived::Complete { alarm, immediate_ack, body } => {
                self.answers(now);
                self.alarms.remove(&(alarm, Alarm::Request(id)));
                self.acknowledge(now, id, immediate_ack);
                self.events.push_back(Event::Reply { id, body });
            }
        }
        self.transmit.acknowledge_segment(SegmentReply { id, segment });
    }

    /// Remembers to acknowledge a reply (RFC 3525 §D.1.2.2, §D.2.2): in the next message, or alone when
    /// it was asked for (§D.1.4) or none has come for a time.
    fn acknowledge(&mut self, now: Instant, id: TransactionId, at_once: bool) {
        if self.config.transport == Transport::Channel && !at_once {
            return;
        }
        if self.transmit.acknowledge(id) && self.ack_alarm.is_none() {
            let at = now + self.config.timers.acknowledgement;
            self.ack_alarm = Some(at);
            self.alarms.insert((at, Alarm::Acknowledgement));
        }
        if at_once {
            self.transmit.acknowledge_now();
        }
    }

    /// The peer answers what was asked.
    fn answers(&mut self, now: Instant) {
        self.last_answer = Some(now);
        self.heard(now);
    }

    pub(super) fn handle_pending(&mut self, now: Instant, id: TransactionId) {
        let Some((old, pendings)) = self.outgoing.pending(now, id) else { return };
        self.answers(now);
        self.alarms.remove(&(old, Alarm::Request(id)));
        if pendings > self.config.limits.pendings_taken {
            self.outgoing.give_up(id);
            return self.fail(id, Failure::PendingTooOften);
        }
        self.arm_request(now + self.pending_wait(0), id);
    }
}
