//! Taking up what an earlier life of this controller had: contexts that were made before it started.
//!
//! The user says which contexts of a gateway it wants, before the gateway has been heard. The gateway is asked at
//! once whether it still takes us for its controller (it need not have noticed that we were away), and when it does, or
//! when it registers, its contexts are audited as after a loss of touch: what is wanted and not there is lost, what
//! is there and not wanted is subtracted (RFC 3525 §11.5). One that has started anew has lost all of them. One that
//! is not heard in time is given up like one that fell silent.
//!
//! Left out: statistics, events and descriptions of the contexts, which are the user's to remember.

use super::Controller;
use super::gateway::State;
use crate::model::TerminationId;
use std::time::{Duration, Instant};

impl Controller {
    /// Contexts that this controller had before it started, to be called before anything is heard of their
    /// gateway. It gets `patience` to come; what of them is lost is told as always.
    pub fn adopt(
        &mut self,
        now: Instant,
        gateway: &str,
        contexts: impl IntoIterator<Item = (u32, Vec<TerminationId>)>,
        patience: Duration,
    ) {
        let heartbeat = self.config.heartbeat;
        let Some(g) = self.gateways.get_mut(gateway).filter(|g| g.state == State::Away) else { return };
        for (context, terminations) in contexts {
            g.inventory.adopt(context, terminations);
        }
        g.awaited = Some(now + patience);
        g.probes = 0;
        g.probe(now, heartbeat);
    }

    /// Whether the gateway is here and what it has is being looked at.
    pub fn is_settling(&self, gateway: &str) -> bool {
        self.gateways.get(gateway).is_some_and(|g| g.state == State::Settling)
    }

    /// Whether the gateway has contexts from before and has not been heard yet.
    pub fn is_awaited(&self, gateway: &str) -> bool {
        self.gateways.get(gateway).is_some_and(|g| g.awaited.is_some())
    }
}
