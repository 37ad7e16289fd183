//! What passed: live counters by AuditValue, the last ones by Subtract (`nt/or`, `nt/os`).

use crate::call::Call;
use crate::dialog::Stream;
use carnet_h248::ActionReply;
use carnet_plan::{Both, Octets, Side};

/// Adds counters.
pub(crate) fn add(to: &mut Both<Octets>, octets: &Both<Octets>) {
    for side in [Side::Caller, Side::Callee] {
        let (to, octets) = (to.of_mut(side), octets.of(side));
        to.received = to.received.saturating_add(octets.received);
        to.sent = to.sent.saturating_add(octets.sent);
    }
}

impl Stream {
    /// All that passed, as far as is known.
    pub(crate) fn total(&self) -> Both<Octets> {
        let mut total = self.octets.clone();
        add(&mut total, &self.measured);
        total
    }

    /// A context of it is over.
    pub(crate) fn over(&mut self, last: &Both<Octets>) {
        add(&mut self.octets, last);
        if self.agreed.is_none() {
            self.measured = Both::default();
        }
    }
}

impl Call {
    /// The gateway told its counters.
    pub(crate) fn measured(&mut self, actions: &[ActionReply]) {
        for stream in self.dialogs.iter_mut().flat_map(|dialog| &mut dialog.streams) {
            let Some(context) = &stream.agreed else { continue };
            let id = context.id();
            let told = actions.iter().find(|action| action.context.id() == id);
            if let Some(told) = told.filter(|told| told.commands.iter().any(|c| c.statistics().is_some())) {
                stream.measured = context.counted(std::slice::from_ref(told));
            }
        }
    }
}
