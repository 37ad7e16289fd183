//! What the controller knows to exist on one gateway: learnt from the replies that pass.

use crate::model::{ActionReply, ActionRequest, ContextId, ReplyBody, TerminationId, TransactionId, Verb};
use std::collections::{BTreeMap, BTreeSet};

/// A termination that was added through us.
#[derive(Debug)]
struct Known {
    /// When it was learnt, in the inventory's own count.
    stamp: u64,
    /// Our user has asked for its end, in this request.
    unwanted: Option<TransactionId>,
    /// Our user was told that its context is not whole any more.
    told: bool,
}

/// Terminations by context.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    known: BTreeMap<u32, BTreeMap<TerminationId, Known>>,
    stamp: u64,
}

impl Inventory {
    pub(super) fn contexts(&self) -> usize {
        self.known.len()
    }

    pub(super) fn terminations(&self) -> usize {
        self.known.values().map(BTreeMap::len).sum()
    }

    /// The contexts there are.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.known.keys().copied()
    }

    /// Takes in what an earlier life of the controller had.
    pub(super) fn adopt(&mut self, context: u32, terminations: Vec<TerminationId>) {
        for termination in terminations {
            let known = Known { stamp: self.stamp, unwanted: None, told: false };
            self.known.entry(context).or_default().insert(termination, known);
        }
    }

    /// What is learnt from now on is younger than the returned stamp.
    pub(super) fn stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    /// Whether the termination was added to that context and our user still wants it.
    pub(super) fn holds(&self, context: ContextId, termination: &TerminationId) -> bool {
        self.find(context, termination).is_some_and(|known| known.unwanted.is_none())
    }

    /// The request by which our user gave the termination up, if that was the last word on it.
    pub(super) fn given_up(&self, context: ContextId, termination: &TerminationId) -> Option<TransactionId> {
        self.find(context, termination)?.unwanted
    }

    fn find(&self, context: ContextId, termination: &TerminationId) -> Option<&Known> {
        self.known.get(&context.id()?)?.get(termination)
    }

    /// Takes a request of our user: what it subtracts is wanted no more, whatever is answered.
    pub(super) fn asked(&mut self, id: TransactionId, actions: &[ActionRequest]) {
        for action in actions {
            let Some(held) = action.context.id().and_then(|id| self.known.get_mut(&id)) else { continue };
            let gone = action.commands.iter().filter(|c| c.verb == Verb::Subtract);
            for pattern in gone.flat_map(|c| &c.terminations) {
                for (_, known) in held.iter_mut().filter(|(termination, _)| pattern.matches(termination)) {
                    known.unwanted = Some(id);
                }
            }
        }
    }

    /// Takes a reply of the gateway. Returns the contexts our user still wants and of which the gateway
    /// says that it does not have them, or not all of them.
    pub(super) fn learn(&mut self, body: &ReplyBody) -> BTreeSet<u32> {
        let mut lost = BTreeSet::new();
        let ReplyBody::Actions(actions) = body else { return lost };
        for action in actions {
            match action.context {
                ContextId::Id(id) => self.learn_action(id, action, &mut lost),
                // A subtraction in all contexts.
                ContextId::All => {
                    let ids: Vec<_> = self.known.keys().copied().collect();
                    for id in ids {
                        self.learn_action(id, action, &mut lost);
                    }
                }
                ContextId::Null | ContextId::Choose => {}
            }
        }
        lost
    }

    fn learn_action(&mut self, context: u32, action: &ActionReply, lost: &mut BTreeSet<u32>) {
        let everywhere = action.context == ContextId::All;
        // H.248.8: no such context.
        if !everywhere
            && action.error.as_ref().is_some_and(|e| e.code == 411)
            && self.forget(context, &TerminationId::ALL)
        {
            lost.insert(context);
        }
        for command in &action.commands {
            for termination in &command.terminations {
                match (command.error().map(|e| e.code), command.verb) {
                    // H.248.8: unknown, nothing matches, not in this context.
                    (Some(430 | 431 | 435), _) if !everywhere && self.forget(context, termination) => {
                        lost.insert(context);
                    }
                    (None, Verb::Add | Verb::Move) if termination.is_specific() && !everywhere => {
                        if command.verb == Verb::Move {
                            self.leave_others(context, termination);
                        }
                        let stamp = self.stamp;
                        let known = Known { stamp, unwanted: None, told: false };
                        self.known.entry(context).or_default().insert(termination.clone(), known);
                    }
                    (None, Verb::Subtract) => {
                        self.forget(context, termination);
                    }
                    _ => {}
                }
            }
        }
    }

    /// A termination is in one context only (RFC 3525 §7.2.4).
    fn leave_others(&mut self, context: u32, termination: &TerminationId) {
        for (_, held) in self.known.iter_mut().filter(|(id, _)| **id != context) {
            held.remove(termination);
        }
        self.known.retain(|_, held| !held.is_empty());
    }

    /// Forgets terminations; whether one was still wanted.
    fn forget(&mut self, context: u32, pattern: &TerminationId) -> bool {
        let Some(held) = self.known.get_mut(&context) else { return false };
        let mut wanted = false;
        held.retain(|termination, known| {
            let gone = pattern.matches(termination);
            wanted |= gone && known.unwanted.is_none() && !known.told;
            !gone
        });
        if wanted {
            held.values_mut().for_each(|known| known.told = true);
        }
        if held.is_empty() {
            self.known.remove(&context);
        }
        wanted
    }

    /// Forgets what is in `scope`, fits the pattern, was learnt before `stamp` and was not found. Returns
    /// the contexts of which something was still wanted.
    pub(super) fn missing(
        &mut self,
        scope: ContextId,
        pattern: &TerminationId,
        stamp: u64,
        found: &BTreeSet<(u32, TerminationId)>,
    ) -> BTreeSet<u32> {
        let mut lost = BTreeSet::new();
        let all = scope == ContextId::All;
        for (id, held) in self.known.iter_mut().filter(|(id, _)| all || scope == ContextId::Id(**id)) {
            held.retain(|termination, known| {
                let there = known.stamp >= stamp
                    || !pattern.matches(termination)
                    || found.contains(&(*id, termination.clone()));
                if !there && known.unwanted.is_none() && !known.told {
                    lost.insert(*id);
                }
                there
            });
            if lost.contains(id) {
                held.values_mut().for_each(|known| known.told = true);
            }
        }
        self.known.retain(|_, held| !held.is_empty());
        lost
    }

    /// The forms of the names there are, with the last component left out: `ip/1/access/4711` has the
    /// form `ip/*/*/`. With them come the last characters of the names.
    pub(super) fn forms(&self) -> (BTreeSet<String>, BTreeSet<char>) {
        let (mut forms, mut last) = (BTreeSet::new(), BTreeSet::new());
        for name in self.known.values().flat_map(BTreeMap::keys) {
            let depth = name.as_str().matches('/').count();
            let first = name.as_str().split('/').next().filter(|_| depth > 0).unwrap_or_default();
            let middle = "*/".repeat(depth.saturating_sub(1));
            forms.insert(if depth > 0 { format!("{first}/{middle}") } else { String::new() });
            last.extend(name.as_str().chars().next_back());
        }
        (forms, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Command, CommandReply, ErrorDescriptor};

    fn reply(context: u32, verb: Verb, names: &[&'static str]) -> ReplyBody {
        let commands = names.iter().map(|n| CommandReply::new(verb, *n)).collect();
        ReplyBody::Actions(vec![ActionReply::new(ContextId::Id(context), commands)])
    }

    fn held(inventory: &Inventory) -> Vec<(u32, usize)> {
        inventory.known.iter().map(|(id, held)| (*id, held.len())).collect()
    }

    #[test]
    fn what_was_added_is_known_until_it_was_subtracted() {
        let mut inventory = Inventory::default();
        inventory.learn(&reply(1, Verb::Add, &["ip/1/a/1", "ip/1/b/2"]));
        inventory.learn(&reply(2, Verb::Add, &["ip/1/a/3"]));
        assert!(inventory.holds(ContextId::Id(1), &"ip/1/b/2".into()));
        assert!(!inventory.holds(ContextId::Id(2), &"ip/1/b/2".into()));
        let subtract = |name: &'static str| Command::subtract(name);
        inventory.asked(
            TransactionId(7),
            &[ActionRequest::new(ContextId::Id(1), vec![subtract("*").wildcard_response()])],
        );
        // Asked for, not yet done: nobody wants it any more.
        assert!(!inventory.holds(ContextId::Id(1), &"ip/1/b/2".into()));
        assert_eq!(inventory.given_up(ContextId::Id(1), &"ip/1/b/2".into()), Some(TransactionId(7)));
        assert_eq!(held(&inventory), [(1, 2), (2, 1)]);
        assert!(inventory.learn(&reply(1, Verb::Subtract, &["*"])).is_empty());
        assert_eq!(held(&inventory), [(2, 1)]);
        inventory.learn(&reply(9, Verb::Move, &["ip/1/a/3"]));
        assert_eq!(held(&inventory), [(9, 1)]);
    }

    #[test]
    fn what_the_gateway_denies_is_lost() {
        let mut inventory = Inventory::default();
        inventory.learn(&reply(1, Verb::Add, &["ip/1/a/1", "ip/1/b/2"]));
        inventory.learn(&reply(2, Verb::Add, &["ip/1/a/3"]));
        let denied = ActionReply::failed(ContextId::Id(2), ErrorDescriptor::new(411, ""));
        assert_eq!(inventory.learn(&ReplyBody::Actions(vec![denied])), [2].into());
        let error = ErrorDescriptor::new(430, "");
        let denied = CommandReply::new(Verb::Modify, "ip/1/b/2").with(error);
        let denied = ActionReply::new(ContextId::Id(1), vec![denied]);
        assert_eq!(inventory.learn(&ReplyBody::Actions(vec![denied])), [1].into());
        assert_eq!(held(&inventory), [(1, 1)]);
        // Any other refusal says nothing of what there is.
        let error = ErrorDescriptor::new(510, "");
        let refused = CommandReply::new(Verb::Modify, "ip/1/a/1").with(error);
        let refused = ActionReply::new(ContextId::Id(1), vec![refused]);
        assert!(inventory.learn(&ReplyBody::Actions(vec![refused])).is_empty());
        assert_eq!(held(&inventory), [(1, 1)]);
    }

    #[test]
    fn an_audit_shows_what_is_missing_but_for_what_is_younger() {
        let mut inventory = Inventory::default();
        inventory.learn(&reply(1, Verb::Add, &["ip/1/a/1", "ip/1/b/2"]));
        inventory.learn(&reply(2, Verb::Add, &["ip/1/a/11"]));
        let stamp = inventory.stamp();
        inventory.learn(&reply(3, Verb::Add, &["ip/1/a/21"]));
        let found = [(1, "ip/1/a/1".into())].into();
        let page = TerminationId::new("ip/*/*/*1");
        assert_eq!(inventory.missing(ContextId::All, &page, stamp, &found), [2].into());
        // Not asked for: it says nothing of names that end in 2.
        assert_eq!(held(&inventory), [(1, 2), (3, 1)]);
        let all = TerminationId::ALL;
        assert_eq!(inventory.missing(ContextId::Id(1), &all, stamp, &BTreeSet::new()), [1].into());
        assert_eq!(held(&inventory), [(3, 1)]);
    }

    #[test]
    fn forms_of_names() {
        let mut inventory = Inventory::default();
        inventory.learn(&reply(1, Verb::Add, &["ip/1/a/1", "ip/2/b/25", "t9", "x/7"]));
        let (forms, last) = inventory.forms();
        assert_eq!(forms, ["".to_owned(), "ip/*/*/".into(), "x/".into()].into());
        assert_eq!(last, ['1', '5', '7', '9'].into());
    }
}
