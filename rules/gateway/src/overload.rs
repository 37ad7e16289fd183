//! Load, and telling the controller that there is too much of it: `ocp/mg_overload` for each message that
//! meets overload (H.248.11), `chp/MGCon` with the share of traffic to hold back (H.248.10).
//!
//! The load is what is scarcest: contexts, transactions ([`crate::Load`]), or what the program says
//! besides ([`crate::Gateway::set_load`]). 100 percent is all that the gateway can do, more means that work
//! piles up. Leaves out: what to do with the traffic, which is the controller's part.

use std::time::Instant;

use carnet_h248::{ActionRequest, ContextId, ObservedEvent, TerminationId, Verb};

use crate::core::Core;

/// Overload begins at this load, in percent.
const HIGH: u32 = 90;
/// And ends below this one. It is also what the controller is to bring the load down to.
const LOW: u32 = 75;
/// Load that must be gone before less is asked to be held back.
const SLACK: u32 = 5;

/// Whether there is too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Congestion {
    /// What the program says, in percent.
    outside: u32,
    overloaded: bool,
    /// Share of the traffic that the controller is to hold back, in percent, in steps of 10.
    reduction: u32,
}

impl Congestion {
    /// Takes a load in percent; whether the reduction changes.
    fn measure(&mut self, percent: u32) -> bool {
        let before = self.reduction;
        self.overloaded = if self.overloaded { percent >= LOW } else { percent >= HIGH };
        self.reduction = match self.overloaded {
            false => 0,
            true if reduction(percent) >= before => reduction(percent),
            true => reduction(percent + SLACK).min(before),
        };
        self.reduction != before
    }
}

/// What must go for the load to come down to [`LOW`], rounded up to tens.
fn reduction(percent: u32) -> u32 {
    let over = percent.saturating_sub(LOW).saturating_mul(100);
    over.div_ceil(percent.max(1)).div_ceil(10) * 10
}

impl Core {
    pub(crate) fn set_load(&mut self, now: Instant, percent: u32) {
        self.root.congestion.outside = percent;
        self.measure_load(now);
    }

    /// Looks whether there is too much to do now.
    pub(crate) fn measure_load(&mut self, now: Instant) {
        let percent = self.root.congestion.outside.max(self.load().percent().into());
        if self.root.congestion.measure(percent) {
            self.tell_congestion(now);
        }
    }

    /// `chp/MGCon`, if the controller asked for it.
    pub(crate) fn tell_congestion(&mut self, now: Instant) {
        let event = ObservedEvent::new("chp/MGCon").parameter("reduction", self.root.congestion.reduction);
        self.root_event(now, event, true);
    }

    /// The controller has just asked for the event: it hears of a congestion that there is.
    pub(crate) fn tell_standing_congestion(&mut self, now: Instant) {
        if self.root.congestion.reduction > 0 {
            self.tell_congestion(now);
        }
    }

    /// A request arrived. Only what begins something can be held back, so only that meets overload.
    pub(crate) fn meet_overload(&mut self, now: Instant, actions: &[ActionRequest]) {
        let adds = actions.iter().flat_map(|a| &a.commands).any(|c| c.verb == Verb::Add);
        if adds && self.root.congestion.overloaded {
            self.root_event(now, ObservedEvent::new("ocp/mg_overload"), false);
        }
    }

    /// Something happened on ROOT; told if it was asked for.
    pub(crate) fn root_event(&mut self, now: Instant, seen: ObservedEvent, lasting: bool) {
        let Some(request) = crate::events::wanted(&self.root.events, &seen).cloned() else { return };
        let Some(id) = self.root.events.request_id else { return };
        if self.root.regulation.allows(&mut self.root.told, &request) {
            self.notify(now, ContextId::Null, TerminationId::ROOT, id, vec![seen], lasting);
        }
        if request.reset_events {
            self.root.set_events(now, carnet_h248::Events::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_have_steps_and_slack() {
        let mut load = Congestion::default();
        let mut told = Vec::new();
        for percent in [10, 89, 90, 91, 88, 92, 100, 99, 98, 93, 84, 80, 76, 74, 80, 89, 90, 300] {
            if load.measure(percent) {
                told.push((percent, load.reduction));
            }
        }
        // 90 to 75 is a sixth, which is 20 in tens.
        assert_eq!(told, [(90, 20), (100, 30), (84, 20), (76, 10), (74, 0), (90, 20), (300, 80)]);
    }
}
