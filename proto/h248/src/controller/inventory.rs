//! What the controller knows to exist on one gateway: learnt from the replies that pass.

use crate::model::{ActionReply, ContextId, ReplyBody, TerminationId, Verb};
use std::collections::{BTreeMap, BTreeSet};

/// Terminations by context.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    known: BTreeMap<u32, BTreeSet<TerminationId>>,
}

impl Inventory {
    pub(super) fn contexts(&self) -> usize {
        self.known.len()
    }

    pub(super) fn terminations(&self) -> usize {
        self.known.values().map(BTreeSet::len).sum()
    }

    /// Whether the termination was added to that context and not subtracted since.
    pub(super) fn holds(&self, context: ContextId, termination: &TerminationId) -> bool {
        context.id().and_then(|id| self.known.get(&id)).is_some_and(|set| set.contains(termination))
    }

    /// Takes a reply of the gateway.
    pub(super) fn learn(&mut self, body: &ReplyBody) {
        let ReplyBody::Actions(actions) = body else { return };
        for action in actions {
            match action.context {
                ContextId::Id(id) => self.learn_action(id, action),
                // A subtraction in all contexts.
                ContextId::All => {
                    let ids: Vec<_> = self.known.keys().copied().collect();
                    for id in ids {
                        self.learn_action(id, action);
                    }
                }
                ContextId::Null | ContextId::Choose => {}
            }
        }
    }

    fn learn_action(&mut self, context: u32, action: &ActionReply) {
        for command in action.commands.iter().filter(|c| c.error().is_none()) {
            for termination in &command.terminations {
                match command.verb {
                    Verb::Add | Verb::Move
                        if termination.is_specific() && action.context != ContextId::All =>
                    {
                        self.known.entry(context).or_default().insert(termination.clone());
                    }
                    Verb::Subtract => {
                        if let Some(set) = self.known.get_mut(&context) {
                            set.retain(|known| !termination.matches(known));
                            if set.is_empty() {
                                self.known.remove(&context);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}
