//! Branches, forks, and which of them a delete ends.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_ng::{Request, Value};
use carnet_steering::Event;
use common::*;
use std::time::Duration;

fn branch(request: Request, branch: &str) -> Request {
    request.with("via-branch", Value::text(branch))
}

const OFFER: fn() -> String = || msrp("192.0.2.1", 2855, "actpass");
const ANSWER: fn() -> String = || msrp("198.51.100.9", 2000, "passive");

#[test]
fn branches_have_contexts_of_their_own() {
    let mut rig = Rig::new();
    let one = rig.sdp(branch(offer("c1", "a", &OFFER()), "z1"));
    let two = rig.sdp(branch(offer("c1", "a", &OFFER()), "z2"));
    assert_ne!(address(&one, 0), address(&two, 0));
    assert_eq!((rig.gateway.contexts(), rig.steering.load().calls), (2, 1));
    // The answers find them, in another order.
    let b2 = rig.sdp(branch(answer("c1", "a", "b2", &ANSWER()), "z2"));
    let b1 = rig.sdp(branch(answer("c1", "a", "b1", &ANSWER()), "z1"));
    assert_ne!(address(&b1, 0), address(&b2, 0));
    // One branch ends while the other lives.
    rig.ask(branch(delete("c1", "a"), "z1"));
    assert_eq!(rig.gateway.contexts(), 1);
    let open = rig.sdp(reoffer("c1", "b2", "a", &ANSWER()));
    assert_eq!(address(&open, 0), address(&b2, 0));
    rig.ask(Request { to_tag: Some("a".into()), ..delete("c1", "b2") });
    rig.assert_empty();
}

/// Both answered, the caller hangs one of them up, and that one says BYE too: the other one goes on.
#[test]
fn the_end_of_a_branch_that_has_gone_is_not_that_of_another() {
    let mut rig = Rig::new();
    for (via, tag) in [("z1", "b1"), ("z2", "b2")] {
        rig.sdp(branch(offer("c1", "a", &OFFER()), via));
        rig.sdp(branch(answer("c1", "a", tag, &ANSWER()), via));
    }
    rig.ask(Request { to_tag: Some("b2".into()), ..delete("c1", "a") });
    assert_eq!(rig.gateway.contexts(), 1);
    let again = rig.ask(Request { to_tag: Some("a".into()), ..delete("c1", "b2") });
    assert!(again.text_of("warning").is_some());
    assert_eq!(rig.gateway.contexts(), 1);
    rig.ask(Request { to_tag: Some("a".into()), ..delete("c1", "b1") });
    rig.assert_empty();
}

#[test]
fn branches_answered_without_naming_them_take_the_ones_that_are_open() {
    let mut rig = Rig::new();
    rig.sdp(branch(offer("c1", "a", &OFFER()), "z1"));
    rig.sdp(branch(offer("c1", "a", &OFFER()), "z2"));
    let one = rig.sdp(answer("c1", "a", "b1", &ANSWER()));
    let two = rig.sdp(answer("c1", "a", "b2", &ANSWER()));
    assert_ne!(address(&one, 0), address(&two, 0));
    assert_eq!(rig.sdp(answer("c1", "a", "b1", &ANSWER())), one, "again");
    // By the to-tag of one of them.
    rig.ask(Request { to_tag: Some("b1".into()), ..delete("c1", "a") });
    assert_eq!(rig.gateway.contexts(), 1);
    // By the caller's tag alone: all there are of it.
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn the_last_of_several_answers_has_the_gateway() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    let one = rig.sdp(answer("c1", "a", "b", &ANSWER()));
    let two = rig.sdp(answer("c1", "a", "d", &msrp("198.51.100.77", 2002, "passive")));
    assert_eq!(address(&one, 0), address(&two, 0));
    let remote = |rig: &Rig| rig.hole("core").settings.remote.unwrap().to_string();
    assert_eq!(remote(&rig), "198.51.100.77:2002");
    // The one before may say it again.
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    assert_eq!(remote(&rig), "198.51.100.9:2000");
    // The end of the fork that lost ends nothing.
    assert_eq!(rig.ask(delete("c1", "d")).text_of("warning"), None);
    assert_eq!(rig.gateway.contexts(), 1);
    rig.ask(delete("c1", "b"));
    rig.assert_empty();
}

#[test]
fn a_call_given_up_before_it_is_answered_is_over() {
    for to in [None, Some("b")] {
        let mut rig = Rig::new();
        rig.sdp(offer("c1", "a", &OFFER()));
        rig.ask(Request { to_tag: to.map(str::to_owned), ..delete("c1", "a") });
        rig.assert_empty();
        rig.sdp(branch(offer("c1", "a", &OFFER()), "z1"));
        rig.ask(branch(Request { to_tag: to.map(str::to_owned), ..delete("c1", "a") }, "z1"));
        rig.assert_empty();
        rig.sdp(branch(offer("c1", "a", &OFFER()), "z1"));
        rig.ask(delete("c1", ""));
        rig.assert_empty();
    }
}

#[test]
fn who_is_not_known_ends_nothing() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    for (from, to) in [("x", None), ("a", Some("x")), ("x", Some("y"))] {
        let request = Request { to_tag: to.map(str::to_owned), ..delete("c1", from) };
        let reply = rig.ask(request.clone());
        assert_eq!(reply.text_of("result"), Some("ok"));
        assert!(reply.text_of("warning").unwrap().contains("tags didn't match"), "{from} {to:?}");
        let reply = rig.error(request.with("flags", Value::texts(["fatal"])));
        assert!(reply.contains("tags didn't match"));
    }
    assert_eq!(rig.gateway.contexts(), 1);
}

#[test]
fn a_delete_with_a_delay_is_taken_back_by_an_offer() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    let later = || delete("c1", "a").with("delete delay", Value::Integer(30));
    rig.ask(later());
    rig.pass(Duration::from_secs(29));
    assert_eq!(rig.gateway.contexts(), 1);
    rig.sdp(reoffer("c1", "a", "b", &OFFER()));
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.gateway.contexts(), 1, "it goes on");
    rig.ask(later());
    rig.pass(Duration::from_secs(31));
    rig.assert_empty();
    // Of the configuration; and without a delay it is over at once.
    let mut rig = Rig::with(|config| config.timers.delete_delay = Duration::from_secs(30));
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.ask(delete("c1", "a"));
    assert_eq!(rig.gateway.contexts(), 1);
    rig.ask(delete("c1", "a").with("delete delay", Value::Integer(0)));
    rig.assert_empty();
}

#[test]
fn a_call_that_is_offered_to_another_side_moves_there() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    // A serial fork: nobody answered at the core, it goes to the other access network.
    let elsewhere = Request { more: Vec::new(), ..offer("c1", "a", &OFFER()) };
    let elsewhere = elsewhere.with("direction", Value::texts(["access", "access2"]));
    let seen = rig.sdp(elsewhere);
    assert_eq!(address(&seen, 0), rig.hole("access2").local);
    assert_eq!(rig.gateway.contexts(), 1, "what was at the core is given back");
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
    let started = rig.events.iter().filter(|e| matches!(e, Event::DialogStarted { .. })).count();
    assert_eq!(started, 1);
}

#[test]
fn one_after_the_other_is_tried_without_naming_branches() {
    let mut rig = Rig::new();
    let one = rig.sdp(offer("c1", "a", &OFFER()));
    // The first has early media and then does not take the call.
    rig.sdp(answer("c1", "a", "b1", &ANSWER()));
    assert_eq!(rig.sdp(offer("c1", "a", &OFFER())), one);
    rig.sdp(answer("c1", "a", "b2", &msrp("198.51.100.77", 2002, "passive")));
    assert_eq!(rig.hole("core").settings.remote.unwrap().to_string(), "198.51.100.77:2002");
    rig.sdp(reoffer("c1", "b2", "a", &ANSWER()));
    assert_eq!(rig.gateway.contexts(), 1);
    rig.ask(delete("c1", "b2"));
    rig.assert_empty();
}
