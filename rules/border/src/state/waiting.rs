//! What a border that has started again still has to do for calls of before: a 2xx that waits for its ACK, what a
//! gateway is to be told once it is there, last words of set-ups.

use crate::border::Border;
use crate::call::{Call, Phase};
use crate::core::{Alarm, CallKey, Core};
use crate::event::Cause;
use crate::flow::{Way, is_lost};
use crate::forward;
use bytes::Bytes;
use carnet_h248::controller::GatewayName;
use carnet_plan::{Context, Side};
use carnet_sip::{Hop, Message};
use std::time::{Duration, Instant};

/// How often last words are said over datagrams: nobody is heard to have heard them.
const REPEATS: u8 = 4;

/// A 2xx that waits for its ACK.
#[derive(Debug, Clone)]
pub(crate) struct Unanswered {
    pub(super) hop: Hop,
    pub(super) octets: Bytes,
    interval: Duration,
    pub(crate) next: Instant,
    until: Instant,
}

impl Unanswered {
    pub(super) fn new(core: &Core, hop: Hop, octets: Bytes) -> Self {
        let timers = &core.config.sip.timers;
        Self { hop, octets, interval: timers.t1, next: core.now, until: core.now + timers.patience() }
    }
}

/// What has to wait for a gateway.
#[derive(Debug)]
pub(crate) enum Late {
    /// A context whose call has ended.
    Subtract(Box<Context>, String),
    /// A context that an offer has changed which died.
    SetBack(GatewayName, CallKey, usize),
}

impl Late {
    /// What it will subtract.
    pub(super) fn context(&self) -> Option<&Context> {
        if let Self::Subtract(context, _) = self { Some(context) } else { None }
    }

    fn gateway(&self) -> &GatewayName {
        match self {
            Self::Subtract(context, _) => &context.gateway,
            Self::SetBack(gateway, ..) => gateway,
        }
    }
}

impl Core {
    /// Says something for the last time, and again where it may get lost.
    pub(super) fn last_words(&mut self, hop: Hop, octets: Bytes) {
        self.say(hop, octets, REPEATS);
    }

    pub(crate) fn say(&mut self, hop: Hop, octets: Bytes, times: u8) {
        if let Some(left) = times.checked_sub(1).filter(|left| *left > 0 && !hop.transport.is_reliable()) {
            let said = u32::from(REPEATS.saturating_sub(times));
            let wait = self.config.sip.timers.t1.saturating_mul(1 << said.min(8));
            self.alarm(self.now + wait, Alarm::Say { hop: hop.clone(), octets: octets.clone(), times: left });
        }
        self.endpoint.send_prepared(hop, octets);
    }
}

impl Call {
    /// The 2xx of the first INVITE, as long as nobody has acknowledged it.
    pub(super) fn unanswered(&self, core: &Core) -> Option<Unanswered> {
        if self.restored || self.acknowledged {
            return self.waits.clone();
        }
        let dialog = self.dialogs.iter().find(|dialog| dialog.confirmed)?;
        let (hop, octets) = core.endpoint.unacknowledged(self.first.server, &dialog.callee_tag)?;
        Some(Unanswered::new(core, hop, octets))
    }

    /// Whether both ends know what they have agreed on: not while an answer to an answer is due.
    pub(super) fn is_settled(&self) -> bool {
        self.acknowledged || self.restored || self.session.exchanges.is_empty()
    }

    /// Repeats a 2xx of before, until its time is over.
    pub(crate) fn repeat_answer(&mut self, core: &mut Core, now: Instant) {
        let Some(waits) = self.waits.as_mut().filter(|waits| waits.next <= now) else { return };
        if waits.until <= now {
            self.waits = None;
            return self.hang_up(core, now, Cause::NoAck);
        }
        waits.next = (now + waits.interval).min(waits.until);
        waits.interval = waits.interval.saturating_mul(2).min(core.config.sip.timers.t2);
        let (mut hop, octets) = (waits.hop.clone(), waits.octets.clone());
        let remote = self.dialogs.first().map(|dialog| &dialog.remotes.caller);
        if is_lost(&hop)
            && let Some(remote) = remote
            && let Way::Pinned(way) = self.legs.caller.way(core, &self.session.ends.caller, remote)
        {
            // The caller has come by another connection, or is where it listens.
            hop = way;
        }
        core.endpoint.send_prepared(hop, octets);
    }

    /// An ACK of which the INVITE came to the process before.
    pub(crate) fn stray_ack(&mut self, core: &mut Core, now: Instant, from: Side, mut message: Message) {
        let Some(at) = self.dialog_of(from, &message).filter(|_| self.restored) else { return };
        self.waits = None;
        // An answer in it is to an offer that died: the far end must have its ACK, but no addresses of this side.
        let answers = !message.body().is_empty();
        if answers {
            let _ = message.set_body(Bytes::new(), None);
        }
        let to = from.other();
        let contact = self.legs.of(to).contact.clone();
        if let Some((remote, destination)) = self.way(core, at, to)
            && let Ok(onward) = forward::request(&message, remote, &contact)
        {
            let _ = core.endpoint.pass_ack(now, onward, destination);
        }
        if answers && self.phase == Phase::Up {
            self.hang_up(core, now, Cause::Restarted);
        }
    }
}

/// How long new requests are left to be repeated while gateways come back: their senders repeat them after 0.5, 1.5 and
/// 3.5 s (RFC 3261, Timer A).
const OPENING: Duration = Duration::from_secs(3);

impl Border {
    /// New calls need gateways: as long as those of before are not back, who calls by datagrams may call again.
    pub(super) fn wait_for_gateways(&mut self) {
        if self.core.gateways.any_awaited() {
            self.core.endpoint.refrain(true);
            let at = self.core.now + OPENING;
            self.core.opening = Some(self.core.alarm(at, Alarm::Opening));
        }
    }

    pub(crate) fn open_if_ready(&mut self) {
        if self.core.opening.is_some() && !self.core.gateways.any_awaited() {
            self.open();
        }
    }

    pub(crate) fn open(&mut self) {
        if let Some(alarm) = self.core.opening.take() {
            self.core.alarms.remove(&alarm);
            self.core.endpoint.refrain(false);
        }
    }

    /// Does what waited for gateways that are there now; whether there was anything.
    pub(crate) fn do_late(&mut self) -> bool {
        let mut ready = Vec::new();
        let gateways = &self.core.gateways;
        self.core.late.retain_mut(|late| {
            let here = gateways.is_up(late.gateway());
            if here {
                let nothing = Late::SetBack(late.gateway().clone(), CallKey(0), 0);
                ready.push(std::mem::replace(late, nothing));
            }
            // What is on a gateway that was given up is cleared when it comes.
            !here && gateways.is_awaited(late.gateway())
        });
        let any = !ready.is_empty();
        for late in ready {
            match late {
                Late::Subtract(context, call_id) => self.core.release(*context, call_id),
                Late::SetBack(_, key, index) => {
                    self.with(key, |call, core| call.session.set_back(core, index));
                }
            }
        }
        any
    }
}
