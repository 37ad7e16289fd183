//! Callers of pinholes for which it is not decided yet which engine they get.
//!
//! A terminal that answers and opens the connection is often here before the controller has said what it answered. If
//! the loop took its call, the pair would be the loop's for good. So as long as what is missing may still come, and
//! nothing speaks against the kernel, the kernel thread keeps who calls (`kernel::kept`): for less than a second, once
//! for each time that there are new settings. Then it is as if the call came only now.

use carnet_gateway::engine::{Engine, Host, Reason, Sources};
use carnet_gateway::media::{Gate, Pinhole};

use super::hole::{Hole, Link};
use super::kernel::Order;
use super::slim;
use super::worker::Worker;

impl Worker {
    /// Has callers of a pinhole kept if they are to be, and let go if not. Something that this depends on has changed.
    pub(super) fn keep_callers(&mut self, slot: u32, far: Option<u32>) {
        if !self.kernel.keeps {
            return;
        }
        let Some(hole) = self.peek(slot) else { return };
        let far = far.and_then(|far| self.peek(far));
        let (pinhole, local) = (hole.name, self.ports.local(&hole.lease));
        // Of one whose address will not be announced the kernel never knows who may call.
        if hole.waits_for_callers() && !hole.is_latched() && self.is_undecided(hole, far) {
            if self.carriages.kept.insert(pinhole.number) {
                self.kernel.order(Order::Keep { pinhole, local });
            }
        } else if self.carriages.kept.remove(&pinhole.number) && !self.is_armed(pinhole) {
            // If the kernel is to have them they were let go when that was ordered.
            self.kernel.order(Order::LetGo { local, over: false });
        }
        slim::set(&mut self.carriages.kept);
    }

    /// Of a pinhole that is new nothing is decided. Nobody is told of it before its callers are kept: the peer may be quicker
    /// than the kernel. False: they are not to be.
    pub(super) fn keep_from_the_start(&mut self, slot: u32) -> bool {
        self.keep_callers(slot, None);
        let Some(hole) = self.holes.get(slot as usize).and_then(Option::as_ref) else { return false };
        let number = hole.name.number;
        let kept = self.carriages.kept.contains(&number);
        // Where they are steered as well, that is answered last.
        if kept && !hole.steering.is_used() {
            self.carriages.unbound.insert(number);
        }
        kept
    }

    /// The kernel thread has answered.
    pub(super) fn callers_are_kept(&mut self, pinhole: Pinhole) {
        if self.carriages.unbound.remove(&pinhole.number)
            && let Some(slot) = self.slot(pinhole)
        {
            self.report_bound(slot);
        }
        slim::set(&mut self.carriages.unbound);
    }

    /// A pinhole goes to another loop.
    pub(super) fn let_callers_go(&mut self, slot: u32) {
        let Some(hole) = self.holes.get(slot as usize).and_then(Option::as_ref) else { return };
        if self.carriages.kept.remove(&hole.name.number) {
            let local = self.ports.local(&hole.lease);
            self.kernel.order(Order::LetGo { local, over: false });
        }
    }

    /// A pinhole is no more. Whoever called it calls again, or does not.
    pub(super) fn forget_callers(&mut self, hole: &Hole) {
        if self.carriages.kept.remove(&hole.name.number) {
            self.kernel.order(Order::LetGo { local: self.ports.local(&hole.lease), over: true });
        }
    }

    /// They are the loop's: it was not decided in time.
    pub(super) fn callers_are_overdue(&mut self, pinhole: Pinhole) {
        // The thread may have been told to keep others meanwhile.
        if let Some(slot) = self.slot(pinhole) {
            self.let_callers_go(slot);
        }
    }

    /// The kernel could have the callers of this pinhole, and only what may still come is missing.
    fn is_undecided(&self, hole: &Hole, far: Option<&Hole>) -> bool {
        let Some(far) = far else { return self.may_be_carried(hole) };
        if !self.may_be_carried(hole) || !self.may_be_carried(far) {
            return false;
        }
        let choice = self.choice(hole, far);
        match choice.engine {
            // A gate is still shut, or one side has not been opened again, or the kernel is leaving what was before.
            Engine::Kernel => choice.first.is_some() && !self.is_armed(hole.name),
            Engine::Relay => {
                matches!(choice.reason, Reason::Unsettled | Reason::Direction | Reason::UnknownPeer)
            }
        }
    }

    /// Nothing of this side speaks against the kernel for good.
    fn may_be_carried(&self, hole: &Hole) -> bool {
        let v4 = self.ports.local(&hole.lease).is_ipv4();
        let host = match self.kernel.host {
            Host::Translates { v4: may, .. } if v4 => may,
            Host::Translates { v6: may, .. } => may,
            Host::Relays(_) => false,
        };
        host && self.needs_relay(hole).is_none()
            && !matches!(hole.gate, Gate::SendOnly | Gate::ReceiveOnly)
            && hole.sources() != Sources::Several
            && hole.remote().is_none_or(|remote| remote.is_ipv4() == v4)
    }
}

impl Hole {
    /// Somebody may call, now or as soon as the gate opens for the first time.
    fn waits_for_callers(&self) -> bool {
        matches!(self.link, Link::Down) && (self.wants_callers() || self.waits_for_its_gate())
    }
}
