//! The controller starts again and says what it had before: what of it is there goes on, the rest is told or goes.

use super::super::*;
use super::model::Pair;
use crate::model::{Method, TerminationId};

const PATIENCE: Duration = Duration::from_secs(60);

/// A controller that had these contexts in its earlier life, with a gateway that has all of `made`.
fn again(before: Pair, wanted: &[u32]) -> Pair {
    let mut pair = Pair::new(|_| {});
    pair.now = before.now;
    pair.model = before.model;
    let contexts = &pair.model.contexts;
    let of = |id: &u32| contexts.get(id).map(|held| held.iter().cloned().collect());
    let wanted: Vec<(u32, Vec<TerminationId>)> =
        wanted.iter().map(|id| (*id, of(id).unwrap_or_else(|| vec!["ip/1/access/999".into()]))).collect();
    pair.controller.adopt(pair.now, "access", wanted, PATIENCE);
    assert!(pair.controller.is_awaited("access"));
    pair
}

fn lost(events: &[Event]) -> Vec<u32> {
    let lost = events.iter().filter_map(|e| match e {
        Event::ContextsLost { contexts, .. } => Some(contexts.clone()),
        _ => None,
    });
    lost.flatten().collect()
}

fn ids(pair: &Pair) -> Vec<u32> {
    pair.model.contexts.keys().copied().collect()
}

#[test]
fn a_gateway_that_noticed_nothing_keeps_what_is_wanted() {
    let mut before = Pair::up();
    let (kept, stray) = (before.add(), before.add());
    let mut pair = again(before, &[kept, 777]);
    // It is asked at once, and needs not say a word by itself.
    pair.run(1);
    let events = pair.take();
    assert!(events.iter().any(|e| matches!(e, Event::Registered { kept: true, .. })), "{events:?}");
    assert_eq!((lost(&events), ids(&pair)), (vec![777], vec![kept]), "{stray} was nobody's");
    assert!(!pair.controller.is_awaited("access"));
    // It is as if it had been made here.
    assert_eq!(pair.controller.contexts("access"), 1);
    let (context, held) = pair.model.contexts.first_key_value().map(|(c, t)| (*c, t.clone())).unwrap();
    for termination in &held {
        pair.notify(context, termination, "hangterm/thb");
    }
    assert_eq!(ids(&pair), [kept], "they are wanted");
    pair.add();
    assert_eq!(pair.controller.contexts("access"), 2);
}

#[test]
fn one_that_registers_is_compared_too() {
    for method in [Method::Disconnected, Method::Failover] {
        let mut before = Pair::up();
        let (kept, _stray) = (before.add(), before.add());
        let mut pair = again(before, &[kept]);
        pair.change(method, 900);
        let events = pair.take();
        assert_eq!((lost(&events), ids(&pair)), (vec![], vec![kept]), "{events:?}");
        assert_eq!(pair.condition(), Condition::InService);
    }
}

#[test]
fn one_that_started_again_has_lost_all() {
    let mut before = Pair::up();
    let kept = before.add();
    let mut pair = again(before, &[kept]);
    pair.model.contexts.clear();
    pair.change(Method::Restart, 901);
    let events = pair.take();
    let reason = events.iter().find_map(|e| match e {
        Event::Lost { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reason, Some(LostReason::Restarted), "{events:?}");
    assert_eq!((pair.controller.contexts("access"), pair.condition()), (0, Condition::InService));
}

#[test]
fn one_that_does_not_come_is_given_up_in_time() {
    let mut before = Pair::up();
    let kept = before.add();
    let mut pair = again(before, &[kept]);
    pair.cut = true;
    pair.run(59);
    assert!(pair.take().is_empty() && pair.controller.is_awaited("access"));
    pair.run(2);
    let events = pair.take();
    assert!(matches!(events[..], [Event::Lost { reason: LostReason::Silent, .. }]), "{events:?}");
    assert!(!pair.controller.is_awaited("access"));
    // When it comes after all, what it has is nobody's.
    pair.cut = false;
    pair.change(Method::Disconnected, 900);
    pair.run(5);
    assert_eq!((ids(&pair), pair.condition()), (vec![], Condition::InService));
}
