//! Gateways that are silent, somebody else's, or not what they should be.

use super::super::*;
use super::model::Pair;
use crate::model::{ContextId, Method, Transaction, TransactionId};
use crate::profile;

#[test]
fn a_gateway_that_never_noticed_is_taken_back_and_cleared() {
    let mut pair = Pair::up();
    pair.add();
    pair.take();
    pair.cut = true;
    pair.run(7);
    assert!(matches!(pair.take()[..], [Event::Lost { reason: LostReason::Silent, .. }]));
    // The network heals; the gateway says nothing of its own.
    pair.run(40);
    pair.cut = false;
    assert_eq!(pair.condition(), Condition::Away);
    pair.run(60);
    assert!(matches!(pair.take()[..], [Event::Registered { kept: false, .. }]));
    assert!(pair.model.contexts.is_empty());
    assert_eq!(pair.controller.available().count(), 1);
}

#[test]
fn a_gateway_that_goes_on_as_if_nothing_had_happened() {
    let mut pair = Pair::new(|_| {});
    let context = pair.model.make();
    let termination = pair.model.contexts[&context].iter().next().cloned().unwrap();
    // We have started again, and it asks whether its termination hangs.
    pair.notify(context, &termination, "hangterm/thb");
    assert_eq!(pair.answers.pop().unwrap().first_error().map(|e| e.code), Some(504));
    assert!(matches!(pair.take()[..], [Event::Registered { kept: false, .. }]));
    assert!(pair.model.contexts.is_empty());
}

#[test]
fn one_that_is_registering_is_not_used_and_soon_given_up() {
    let mut pair = Pair::up();
    let context = pair.add();
    pair.take();
    pair.model.refuses = Some(505);
    pair.run(3);
    assert_eq!((pair.controller.available().count(), pair.condition()), (0, Condition::Estranged));
    // It comes back by itself: no harm done.
    pair.model.refuses = None;
    pair.run(3);
    assert_eq!((pair.take(), pair.condition()), (vec![], Condition::InService));
    assert!(pair.model.contexts.contains_key(&context));
    // It does not, though it answers every message.
    pair.model.refuses = Some(505);
    pair.run(10);
    assert!(matches!(pair.take()[..], [Event::Lost { reason: LostReason::Estranged, .. }]));
    // Its ServiceChange arrives at last.
    pair.model.refuses = None;
    pair.model.contexts.clear();
    pair.change(Method::Restart, 901);
    assert!(matches!(pair.take()[..], [Event::Registered { kept: false, .. }]));
}

/// The reply to its ServiceChange is slower than what we ask next.
#[test]
fn one_that_has_not_heard_yet_that_it_is_registered_is_asked_again() {
    let mut pair = Pair::new(|_| {});
    pair.model.make();
    pair.model.refuses = Some(505);
    pair.change(Method::Disconnected, 900);
    assert_eq!(pair.condition(), Condition::Estranged);
    pair.model.refuses = None;
    pair.run(3);
    assert!(matches!(pair.take()[..], [Event::Registered { .. }]));
    assert!(pair.model.contexts.is_empty());
}

/// The time since it was last heard as ours counts, not the time since it said that it is not.
#[test]
fn a_silence_before_it_speaks_for_another_counts() {
    let mut pair = Pair::up();
    pair.add();
    pair.take();
    pair.cut = true;
    pair.run(4);
    let error = ErrorDescriptor::new(504, "alg1 does not control this gateway");
    let foreign = |pair: &mut Pair| {
        let message = Message::error(3, super::mid("agw1"), error.clone());
        pair.controller.handle_message(pair.now, "access", message);
    };
    foreign(&mut pair);
    assert_eq!(pair.condition(), Condition::Estranged);
    for _ in 0..3 {
        pair.run(1);
        foreign(&mut pair);
    }
    let lost = |e: &Event| matches!(e, Event::Lost { reason: LostReason::Estranged, .. });
    assert!(pair.take().iter().any(lost));
}

/// A probe waits for a connection, goes ahead of the registration on it, and is refused as it must be.
#[test]
fn what_was_asked_before_it_registered_keeps_nobody_out() {
    let mut pair = Pair::up();
    pair.cut = true;
    pair.run(7);
    (pair.cut, pair.model.refuses) = (false, Some(505));
    pair.hold = |_| true;
    pair.run(40);
    assert!(pair.condition() == Condition::Away && !pair.held.is_empty());
    pair.model.refuses = None;
    pair.hold = |_| false;
    pair.change(Method::Restart, 901);
    while let Some(late) = pair.held.pop_front() {
        pair.controller.handle_message(pair.now, "access", late);
    }
    assert_eq!((pair.controller.available().count(), pair.condition()), (1, Condition::InService));
}

/// A gateway that starts again is sent to another controller: its calls here have lost their media all the same.
#[test]
fn one_that_starts_again_and_is_sent_on_is_lost() {
    let mut pair = Pair::up();
    pair.add();
    pair.take();
    pair.controller.set_redirect(Some(super::mid("alg2")));
    pair.change(Method::Restart, 901);
    assert!(matches!(pair.take()[..], [Event::Lost { reason: LostReason::Restarted, .. }]));
    assert!(matches!(&pair.answers[..], [.., ReplyBody::Actions(_)]));
}

#[test]
fn one_that_another_controls_is_lost_in_seconds() {
    let mut pair = Pair::up();
    pair.add();
    pair.take();
    pair.cut = true;
    for _ in 0..10 {
        pair.run(1);
        // It answers everything, but not what was asked.
        let error = ErrorDescriptor::new(504, "alg1 does not control this gateway");
        let message = Message::error(3, super::mid("agw1"), error);
        pair.controller.handle_message(pair.now, "access", message);
    }
    let events = pair.take();
    assert!(
        events.iter().any(|e| matches!(e, Event::Lost { reason: LostReason::Estranged, .. })),
        "{events:?}"
    );
    // It is somebody else's: it is left in peace.
    pair.cut = false;
    pair.model.asked.clear();
    pair.run(300);
    assert!(pair.model.asked.is_empty());
}

#[test]
fn what_is_missing_keeps_a_gateway_out_and_what_comes_lets_it_in() {
    let mut pair = Pair::new(|config| config.gateways[0].needs = vec![PackageVersion::new("ipdc", 1)]);
    pair.model.packages = vec![PackageVersion::new("g", 1)];
    pair.change(Method::Restart, 901);
    let events = pair.take();
    let [Event::Unsuited { error, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(error.code, 440);
    assert_eq!(error.text.as_deref(), Some("package ipdc version 1 is needed and not there"));
    assert_eq!((pair.controller.available().count(), pair.condition()), (0, Condition::Unsuited));
    let status = pair.controller.gateways().next().unwrap();
    assert_eq!((status.objection.as_ref(), status.most_contexts), (Some(error), Some(400)));
    assert!(pair.controller.supports("access", "g") && !pair.controller.supports("access", "ipdc"));
    // Watched all the same.
    pair.run(60);
    assert_eq!(pair.take(), []);
    // H.248.8, 916: its packages have changed.
    pair.model.packages.push(PackageVersion::new("ipdc", 2));
    pair.change(Method::Restart, 916);
    assert!(matches!(pair.take()[..], [Event::Registered { kept: true, .. }]));
    let context = pair.add();
    pair.take();
    pair.model.packages.clear();
    pair.model.packages.push(PackageVersion::new("root", 2));
    pair.change(Method::Restart, 917);
    assert!(matches!(pair.take()[..], [Event::Unsuited { .. }]));
    // What it has goes on.
    assert!(pair.model.contexts.contains_key(&context) && pair.controller.is_registered("access"));
}

#[test]
fn a_profile_is_more_than_a_name() {
    let mut pair = Pair::new(|_| {});
    pair.model.packages = profile::IQ.mandatory().filter(|p| p.name != "hangterm").collect();
    let parameters = ServiceChange {
        profile: Some(profile::IQ.profile()),
        version: Some(3),
        ..ServiceChange::new(Method::Restart, 901)
    };
    let register = Command::service_change(TerminationId::ROOT, parameters);
    pair.say(ContextId::Null, register.clone());
    assert!(
        matches!(&pair.take()[..], [Event::Unsuited { error, .. }] if error.to_string().contains("hangterm"))
    );
    pair.model.packages = profile::IQ.mandatory().collect();
    pair.say(ContextId::Null, register);
    assert!(pair.take().iter().any(|e| matches!(e, Event::Registered { .. })));
}

#[test]
fn each_gateway_may_name_its_own_profile() {
    let named = |profiles: Option<Vec<Profile>>, name: &'static str| {
        let mut pair = Pair::new(|config| config.profiles = vec![profile::IQ.profile()]);
        pair.controller.gateways.get_mut("access").unwrap().config.profiles = profiles;
        let parameters = ServiceChange {
            profile: Some(Profile::new(name, 1)),
            ..ServiceChange::new(Method::Restart, 901)
        };
        pair.say(ContextId::Null, Command::service_change(TerminationId::ROOT, parameters));
        match pair.take().remove(0) {
            Event::Refused { error, .. } => error.code,
            Event::Registered { .. } => 0,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(named(None, "carnet_iq"), 0);
    assert_eq!(named(None, "vendor_iq"), 461);
    assert_eq!(named(Some(vec![Profile::new("vendor_iq", 1)]), "vendor_iq"), 0);
    assert_eq!(named(Some(vec![Profile::new("vendor_iq", 1)]), "carnet_iq"), 461);
    assert_eq!(named(Some(Vec::new()), "anything"), 0);
}

/// One that was refused is not taken in by the back door.
#[test]
fn one_that_was_turned_away_is_not_asked() {
    let mut pair = Pair::new(|config| config.profiles = vec![profile::IQ.profile()]);
    let context = pair.model.make();
    let parameters =
        ServiceChange { profile: Some(Profile::new("x", 1)), ..ServiceChange::new(Method::Restart, 901) };
    pair.say(ContextId::Null, Command::service_change(TerminationId::ROOT, parameters));
    let termination = pair.model.contexts[&context].iter().next().cloned().unwrap();
    pair.notify(context, &termination, "g/cause");
    pair.run(100);
    assert!(matches!(pair.take()[..], [Event::Refused { .. }]));
    assert!(pair.model.asked.is_empty());
}

#[test]
fn leaving_can_be_taken_back() {
    for (method, reason) in [(Method::Restart, 918), (Method::Graceful, 918)] {
        let mut pair = Pair::up();
        let context = pair.add();
        pair.take();
        pair.change(Method::Graceful, 905);
        assert!(matches!(pair.take()[..], [Event::Draining { delay: None, .. }]));
        assert_eq!((pair.controller.available().count(), pair.condition()), (0, Condition::Draining));
        pair.change(method, reason);
        assert!(matches!(pair.take()[..], [Event::Registered { kept: true, .. }]));
        assert!(pair.controller.available().count() == 1 && pair.model.contexts.contains_key(&context));
    }
}

#[test]
fn a_gateway_that_will_not_be_handed_off_is_taken_back() {
    let mut pair = Pair::up();
    pair.add();
    pair.take();
    pair.model.stays = true;
    pair.controller.hand_off(pair.now, "access", super::mid("alg2"));
    pair.settle();
    pair.run(3);
    let events = pair.take();
    let [Event::Lost { reason: LostReason::HandedOff, .. }, Event::Registered { kept: false, .. }] =
        events[..]
    else {
        panic!("{events:?}")
    };
    assert!(pair.model.contexts.is_empty());
}

/// A pending transaction of no meaning does not keep a gateway from being lost.
#[test]
fn loss_is_seen_while_requests_wait() {
    let mut pair = Pair::up();
    pair.cut = true;
    let requests: Vec<_> =
        (0..10).map(|_| pair.controller.request(pair.now, "access", super::add())).collect();
    pair.run(7);
    let events = pair.take();
    assert!(matches!(events[0], Event::Lost { reason: LostReason::Silent, .. }));
    let failed = events[1..].iter().map(|e| match e {
        Event::Reply { request, result: Err(RequestError::Lost), .. } => *request,
        other => panic!("{other:?}"),
    });
    assert_eq!(failed.collect::<Vec<_>>(), requests);
    let stray = Message::new(3, super::mid("agw1"), vec![Transaction::Pending(TransactionId(1))]);
    pair.controller.handle_message(pair.now, "access", stray);
    assert_eq!(pair.condition(), Condition::Away);
}

/// Its media goes on without it: it is missed for a while before its calls are given up.
#[test]
fn one_that_keeps_media_going_has_time_to_start_again() {
    let keeps = |pair: &mut Pair| {
        pair.model.packages.push(crate::model::PackageVersion::new("crnkeep", 1));
        pair.change(Method::Restart, 901);
        pair.take();
        let context = pair.add();
        pair.take();
        pair.cut = true;
        context
    };
    let mut pair = Pair::new(|_| {});
    let context = keeps(&mut pair);
    pair.run(20);
    assert_eq!(pair.take(), []);
    assert_eq!((pair.condition(), pair.controller.available().count()), (Condition::Missing, 0));
    pair.cut = false;
    // It has started again and says first that it does not know us.
    let error = ErrorDescriptor::new(504, "alg1 does not control this gateway");
    let message = Message::error(3, super::mid("agw1"), error);
    pair.controller.handle_message(pair.now, "access", message);
    pair.model.refuses = Some(505);
    pair.run(4);
    pair.model.refuses = None;
    assert!(!pair.take().iter().any(|e| matches!(e, Event::Lost { .. })));
    pair.change(Method::Restart, 902);
    pair.run(1);
    assert_eq!((pair.condition(), pair.controller.available().count()), (Condition::InService, 1));
    assert!(pair.model.contexts.contains_key(&context));
    assert!(!pair.take().iter().any(|e| matches!(e, Event::Lost { .. } | Event::ContextsLost { .. })));
    // Only the network was away: what it has is looked at again.
    pair.cut = true;
    pair.run(20);
    pair.cut = false;
    pair.model.contexts.remove(&context);
    pair.run(10);
    assert_eq!(pair.condition(), Condition::InService);
    let lost = |e: &Event| matches!(e, Event::ContextsLost { contexts, .. } if *contexts == [context]);
    assert!(pair.take().iter().any(lost));
    // It does not come back.
    let mut pair = Pair::new(|_| {});
    keeps(&mut pair);
    pair.run(58);
    assert_eq!(pair.take(), []);
    pair.run(5);
    assert!(matches!(pair.take()[..], [Event::Lost { reason: LostReason::Silent, .. }]));
}
