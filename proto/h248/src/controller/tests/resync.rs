//! Either side starts again or forgets: in the end both know the same.

use super::super::*;
use super::model::{Pair, Wildcards};
use crate::model::{ActionRequest, ContextId, Method, TerminationId, Verb};

fn ids(pair: &Pair) -> Vec<u32> {
    pair.model.contexts.keys().copied().collect()
}

fn lost(events: &[Event]) -> Vec<u32> {
    let lost = events.iter().filter_map(|e| match e {
        Event::ContextsLost { contexts, .. } => Some(contexts.clone()),
        _ => None,
    });
    lost.flatten().collect()
}

fn registered(events: &[Event]) -> usize {
    events.iter().filter(|e| matches!(e, Event::Registered { .. })).count()
}

#[test]
fn a_controller_that_started_again_clears_the_gateway_before_it_uses_it() {
    let mut pair = Pair::new(|_| {});
    for _ in 0..3 {
        pair.model.make();
    }
    pair.hold = |a| a.context == ContextId::All;
    pair.change(Method::Disconnected, 900);
    // Until all is gone it is not used: neither offered nor asked for a context.
    assert_eq!((pair.controller.available().count(), pair.condition()), (0, Condition::Settling));
    pair.controller.request(pair.now, "access", super::add());
    let events = pair.take();
    assert!(matches!(events[..], [Event::Reply { result: Err(RequestError::NotRegistered), .. }]));
    pair.let_go();
    assert!(matches!(pair.take()[..], [Event::Registered { .. }]));
    assert_eq!((ids(&pair), pair.controller.available().count()), (vec![], 1));
}

#[test]
fn a_gateway_without_wildcards_is_cleared_by_name() {
    let mut pair = Pair::up();
    let kept = pair.add();
    pair.take();
    // It refuses to subtract from all contexts, and shows them.
    let mut fresh = Pair::new(|_| {});
    fresh.model = pair.model;
    fresh.model.wildcards = Wildcards::Known;
    fresh.model.make();
    fresh.hold = |a| a.commands.iter().any(|c| c.verb == Verb::Subtract && a.context == ContextId::All);
    fresh.change(Method::Disconnected, 900);
    fresh.model.contexts.insert(kept, [TerminationId::new("ip/1/access/7")].into());
    let mut refusal = fresh.held.pop_front().unwrap();
    let crate::Body::Transactions(list) = &mut refusal.body else { panic!() };
    let [crate::Transaction::Reply(reply)] = &mut list[..] else { panic!() };
    reply.body = crate::ReplyBody::Error(ErrorDescriptor::new(501, "no"));
    fresh.controller.handle_message(fresh.now, "access", refusal);
    fresh.let_go();
    assert_eq!(ids(&fresh), [0; 0]);
    assert_eq!(registered(&fresh.take()), 1);
}

#[test]
fn both_directions_after_a_disconnection() {
    let mut pair = Pair::up();
    let (a, b) = (pair.add(), pair.add());
    pair.take();
    pair.model.contexts.remove(&a);
    let stranger = pair.model.make();
    pair.change(Method::Disconnected, 900);
    let events = pair.take();
    assert_eq!(lost(&events), [a]);
    assert_eq!(ids(&pair), [b], "{stranger} belongs to nobody");
    assert!(
        events.iter().any(|e| matches!(e, Event::Resynchronised { strays: 2, lost: 1, complete: true, .. }))
    );
    assert!(matches!(events.last(), Some(Event::Registered { kept: true, .. })), "{events:?}");
    assert_eq!(pair.controller.contexts("access"), 1);
}

/// What is being added while an audit runs is seen in it and not known yet.
#[test]
fn an_audit_takes_nothing_away_that_is_being_added() {
    let mut pair = Pair::up();
    pair.hold = |a| a.context == ContextId::Choose;
    for _ in 0..2 {
        pair.controller.request(pair.now, "access", super::add());
    }
    pair.settle();
    assert_eq!(pair.model.contexts.len(), 2);
    pair.change(Method::Disconnected, 900);
    assert_eq!(pair.model.contexts.len(), 2, "their replies are on the way");
    // One of the two replies never comes.
    pair.held.pop_front();
    pair.let_go();
    assert_eq!(pair.model.contexts.len(), 2);
    let kept = *pair.model.contexts.keys().last().unwrap();
    pair.model.asked.clear();
    let id = *pair.controller.gateways["access"].requests.keys().next().unwrap();
    pair.controller.replied(pair.now, "access", id, Err(Failure::TimedOut));
    pair.settle();
    assert_eq!(ids(&pair), [kept]);
    let by_name = pair.model.asked.iter().flat_map(|a| &a.commands).filter(|c| c.verb == Verb::Subtract);
    assert!(by_name.clone().count() == 2 && by_name.clone().all(|c| c.termination().is_specific()));
}

/// A reply lost for good brings an audit, which finds what was made.
#[test]
fn what_a_lost_answer_left_behind_is_found() {
    let mut pair = Pair::up();
    let kept = pair.add();
    pair.hold = |a| a.context == ContextId::Choose;
    let request = pair.controller.request(pair.now, "access", super::add());
    pair.settle();
    pair.held.clear();
    pair.hold = |_| false;
    let id = *pair.controller.gateways["access"].requests.keys().next().unwrap();
    pair.controller.replied(pair.now, "access", id, Err(Failure::Segments));
    assert!(
        pair.take()
            .iter()
            .any(|e| matches!(e, Event::Reply { request: r, result: Err(_), .. } if *r == request))
    );
    pair.run(6);
    assert_eq!(ids(&pair), [kept]);
}

#[test]
fn an_audit_that_is_too_large_goes_by_pages() {
    for most in [1, 5, 40, 1000] {
        let mut pair = Pair::up();
        let ours: Vec<_> = (0..120).map(|_| pair.add()).collect();
        pair.take();
        let gone: Vec<_> = ours.iter().copied().step_by(7).collect();
        pair.model.contexts.retain(|id, _| !gone.contains(id));
        let strays: Vec<_> = (0..37).map(|_| pair.model.make()).collect();
        pair.model.most = most;
        pair.model.asked.clear();
        pair.change(Method::Disconnected, 900);
        let events = pair.take();
        let mut told = lost(&events);
        told.sort_unstable();
        assert_eq!(told, gone, "at most {most}");
        let expected: Vec<_> = ours.iter().copied().filter(|id| !gone.contains(id)).collect();
        assert_eq!(ids(&pair), expected, "at most {most}; {strays:?} were nobody's");
        assert!(matches!(events.last(), Some(Event::Registered { kept: true, .. })));
        let audits = pair.model.asked.iter().filter(|a| a.commands[0].verb == Verb::AuditValue).count();
        assert!(audits < 3_000, "{audits} audits");
    }
}

/// Names of which the end is a wildcard have no form in binary: contexts are looked at one by one.
#[test]
fn in_binary_a_large_audit_goes_by_contexts() {
    let mut pair = Pair::up_with(|config| config.gateways[0].association.encoding = crate::Encoding::Binary);
    let ours: Vec<_> = (0..40).map(|_| pair.add()).collect();
    pair.take();
    let gone: Vec<_> = ours.iter().copied().step_by(7).collect();
    pair.model.contexts.retain(|id, _| !gone.contains(id));
    pair.model.most = 5;
    pair.model.asked.clear();
    pair.change(Method::Disconnected, 900);
    let events = pair.take();
    let mut told = lost(&events);
    told.sort_unstable();
    assert_eq!(told, gone);
    assert!(events.iter().any(|e| matches!(e, Event::Registered { kept: true, .. })));
    let names = pair.model.asked.iter().flat_map(|a| &a.commands).flat_map(|c| &c.terminations);
    assert!(names.into_iter().all(|t| t.is_specific() || *t == TerminationId::ALL));
}

/// A gateway that cannot look through all its contexts says things that are easily misread.
#[test]
fn nothing_is_lost_by_a_gateway_that_knows_no_wildcards() {
    for wildcards in [Wildcards::Unknown, Wildcards::Summed] {
        let mut pair = Pair::up();
        let (a, b) = (pair.add(), pair.add());
        pair.take();
        pair.model.wildcards = wildcards;
        pair.change(Method::Disconnected, 900);
        let events = pair.take();
        assert_eq!((lost(&events), ids(&pair)), (vec![], vec![a, b]), "{wildcards:?}");
        // Asked for each context, it tells of the one that is gone.
        pair.model.contexts.remove(&a);
        pair.change(Method::Disconnected, 900);
        assert_eq!((lost(&pair.take()), ids(&pair)), (vec![a], vec![b]), "{wildcards:?}");
    }
}

#[test]
fn contexts_of_another_controller_have_a_grace() {
    for method in [Method::Failover, Method::HandOff] {
        let mut pair = Pair::new(|_| {});
        let (a, b, c) = (pair.model.make(), pair.model.make(), pair.model.make());
        let first = |pair: &Pair, id| pair.model.contexts[&id].iter().next().cloned().unwrap();
        let (in_a, in_b) = (first(&pair, a), first(&pair, b));
        pair.change(method, 909);
        assert!(matches!(pair.take()[..], [Event::Registered { kept: true, .. }]));
        assert_eq!(ids(&pair), [a, b, c]);
        // It is used at once.
        let ours = pair.add();
        pair.run(30);
        pair.notify(b, &in_b, "hangterm/thb");
        assert_eq!(pair.answers.pop().unwrap().first_error(), None);
        // Media that has ended needs no controller to come back.
        pair.notify(a, &in_a, "g/cause");
        assert_eq!(pair.model.contexts[&a].len(), 1);
        pair.take();
        pair.run(31);
        assert_eq!(ids(&pair), [ours]);
        let told = pair.take();
        assert!(matches!(told[..], [Event::Resynchronised { strays: 5, lost: 0, .. }]), "{told:?}");
    }
    // Nothing of ours: everything goes at once.
    let mut pair = Pair::new(|_| {});
    pair.model.make();
    pair.change(Method::Failover, 909);
    pair.take();
    pair.model.asked.clear();
    pair.run(61);
    assert!(ids(&pair).is_empty() && pair.take().is_empty());
    assert!(
        pair.model.asked.iter().any(|a| a.context == ContextId::All && a.commands[0].verb == Verb::Subtract)
    );
    // Where no grace is wanted.
    let mut pair = Pair::new(|config| config.grace = Duration::ZERO);
    pair.model.make();
    pair.change(Method::Failover, 909);
    assert!(matches!(pair.take()[..], [Event::Registered { kept: false, .. }]));
    assert!(ids(&pair).is_empty());
}

/// Nobody asks for it, and it is found all the same.
#[test]
fn audits_come_now_and_then() {
    let mut pair = Pair::up();
    let kept = pair.add();
    pair.run(10);
    pair.model.make();
    pair.take();
    pair.run(300);
    assert_eq!(ids(&pair), [kept]);
    assert!(matches!(pair.take()[..], [Event::Resynchronised { strays: 2, lost: 0, complete: true, .. }]));
    // A gateway that agrees is no news.
    pair.run(3_000);
    assert_eq!(pair.take(), []);
}

/// A Subtract that was refused for good, or never answered, leaves a context nobody wants.
#[test]
fn what_was_given_up_is_not_kept_alive() {
    let mut pair = Pair::up();
    let context = pair.add();
    let termination = pair.model.contexts[&context].iter().next().cloned().unwrap();
    pair.notify(context, &termination, "hangterm/thb");
    assert_eq!(pair.answers.pop().unwrap().first_error(), None);
    pair.model.refuses = Some(511);
    let all = Command::subtract(TerminationId::ALL).wildcard_response();
    pair.controller.request(pair.now, "access", vec![ActionRequest::new(ContextId::Id(context), vec![all])]);
    pair.take();
    pair.model.refuses = None;
    pair.notify(context, &termination, "hangterm/thb");
    assert_eq!(pair.answers.pop().unwrap().first_error().map(|e| e.code), Some(430));
    assert_eq!(pair.model.contexts[&context].len(), 1);
    pair.run(301);
    assert!(ids(&pair).is_empty());
}

/// A gateway whose answers show that it has lost contexts without telling anybody.
#[test]
fn a_doubt_brings_an_audit() {
    let mut pair = Pair::up();
    let (a, b, c) = (pair.add(), pair.add(), pair.add());
    pair.take();
    pair.model.contexts.remove(&a);
    pair.model.contexts.remove(&b);
    let termination = TerminationId::ALL;
    let modify = ActionRequest::new(ContextId::Id(a), vec![Command::modify(termination)]);
    pair.controller.request(pair.now, "access", vec![modify]);
    let events = pair.take();
    assert_eq!(lost(&events), [a]);
    pair.run(6);
    assert_eq!((lost(&pair.take()), ids(&pair)), (vec![b], vec![c]));
}

/// A gateway registers twice; the sweep of the first time comes late. It would take away what was added after
/// the second, so nothing is added before it is answered.
#[test]
fn a_late_sweep_takes_no_call_away() {
    let mut pair = Pair::new(|_| {});
    pair.model.make();
    let sweeps = |action: &ActionRequest| action.commands[0].verb == crate::Verb::Subtract;
    pair.hold = sweeps;
    pair.change(Method::Disconnected, 900);
    pair.hold = |_| false;
    pair.change(Method::Disconnected, 900);
    assert_eq!((pair.condition(), pair.held.len()), (Condition::Settling, 1));
    assert!(pair.take().is_empty());
    let late = pair.held.pop_front().unwrap();
    pair.controller.handle_message(pair.now, "access", late);
    assert_eq!(pair.condition(), Condition::InService);
}

/// A warm boot (902): what the gateway still has is kept, what it has not is told, what nobody knows goes.
#[test]
fn a_gateway_that_started_again_with_its_contexts_is_audited() {
    let mut pair = Pair::up();
    let (kept, gone) = (pair.add(), pair.add());
    pair.take();
    let stray = pair.model.make();
    pair.model.contexts.remove(&gone);
    pair.change(Method::Restart, 902);
    let events = pair.take();
    let lost = |e: &Event| matches!(e, Event::ContextsLost { contexts, .. } if *contexts == [gone]);
    let back = |e: &Event| matches!(e, Event::Registered { kept: true, .. });
    assert!(events.iter().any(lost) && events.iter().any(back), "{events:?}");
    assert!(!events.iter().any(|e| matches!(e, Event::Lost { .. })), "{events:?}");
    assert!(pair.model.contexts.contains_key(&kept) && !pair.model.contexts.contains_key(&stray));
    assert_eq!(pair.controller.contexts("access"), 1);
    assert_eq!(pair.controller.available().count(), 1);
}

/// One that was given up meanwhile has nothing that anybody wants.
#[test]
fn a_gateway_that_started_again_too_late_is_cleared() {
    let mut pair = Pair::up();
    pair.add();
    pair.take();
    pair.cut = true;
    pair.run(7);
    assert!(matches!(pair.take()[..], [Event::Lost { reason: LostReason::Silent, .. }]));
    pair.cut = false;
    pair.change(Method::Restart, 902);
    let events = pair.take();
    assert!(matches!(events[..], [Event::Registered { kept: false, .. }]), "{events:?}");
    assert!(pair.model.contexts.is_empty());
}
