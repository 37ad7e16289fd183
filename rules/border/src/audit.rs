//! What an administrator asks a gateway through its border: audits, and whose the contexts are.

use crate::border::Border;
use crate::core::Op;
use crate::session::Stream;
use carnet_h248::{ActionRequest, Verb};
use std::collections::BTreeMap;
use std::time::Instant;

impl Border {
    /// Asks a gateway something that changes nothing. The answer is an
    /// [`Event::Audited`](crate::Event::Audited) with the same number.
    ///
    /// # Errors
    /// The verb that is no audit.
    pub fn audit(
        &mut self,
        now: Instant,
        gateway: &str,
        number: u64,
        actions: Vec<ActionRequest>,
    ) -> Result<(), Verb> {
        let mut verbs = actions.iter().flat_map(|action| &action.commands).map(|command| command.verb);
        if let Some(verb) = verbs.find(|verb| !matches!(verb, Verb::AuditValue | Verb::AuditCapability)) {
            return Err(verb);
        }
        self.core.now = now;
        let request = self.core.gateways.request(now, gateway, actions);
        self.core.ops.insert(request, Op::Audit(number));
        self.drain(now);
        Ok(())
    }

    /// The contexts that calls have on a gateway, each with the Call-ID. Looks through all calls.
    pub fn contexts_on(&self, gateway: &str) -> BTreeMap<u32, &str> {
        let calls = self.calls.values();
        let held = calls.flat_map(|call| {
            let contexts = call.session.streams.iter().filter_map(Stream::context);
            let here = contexts.filter(|context| &*context.gateway == gateway);
            here.filter_map(|context| Some((context.id()?, call.call_id.as_str())))
        });
        held.collect()
    }
}
