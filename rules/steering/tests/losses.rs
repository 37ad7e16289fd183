//! The gateway is not there, full, slow, lost, drained; and the bounds.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_steering::Event;
use common::*;
use std::time::Duration;

const OFFER: fn() -> String = || msrp("192.0.2.1", 2855, "actpass");
const ANSWER: fn() -> String = || msrp("198.51.100.9", 2000, "passive");

#[test]
fn a_gateway_that_has_not_registered_takes_nothing() {
    let mut rig = Rig::alone(|_| {});
    rig.cut = true;
    assert_eq!(rig.overload(offer("c1", "a", &OFFER())), "the gateway is not there");
    let audio =
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    assert_eq!(rig.sdp(offer("c2", "a", audio)), audio, "that needs none");
    rig.assert_empty();
}

#[test]
fn a_gateway_without_ports_is_a_matter_of_load() {
    let mut rig = Rig::new();
    rig.ports = Some(3);
    rig.sdp(offer("c1", "a", &OFFER()));
    // The first termination can be had, the second cannot.
    assert_eq!(rig.overload(offer("c2", "a", &OFFER())), "the gateway has no capacity left");
    assert_eq!((rig.gateway.contexts(), rig.steering.load().calls, rig.holes.len()), (1, 1, 2));
    // One of two lines: what was had is given back.
    rig.ports = Some(5);
    let two = format!("{}{}", OFFER(), msrp_line("192.0.2.1", 2856, "actpass"));
    rig.overload(offer("c3", "a", &two));
    assert_eq!((rig.gateway.contexts(), rig.steering.load().calls, rig.holes.len()), (1, 1, 2));
    // A re-offer that fails leaves the call as it was.
    rig.overload(reoffer("c1", "a", "b", &format!("{two}{}", msrp_line("192.0.2.1", 2857, "actpass"))));
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn a_gateway_that_is_slow_is_not_waited_for_and_gives_back_what_it_makes() {
    let mut rig = Rig::new();
    rig.slow = true;
    let id = rig.send(offer("c1", "a", &OFFER()));
    rig.pass(Duration::from_millis(1900));
    assert!(rig.replies.is_empty());
    rig.pass(Duration::from_millis(200));
    assert_eq!(rig.replies[&id].text_of("message"), Some("the gateway does not answer"));
    assert_eq!(rig.steering.load().calls, 0);
    rig.slow = false;
    rig.settle();
    rig.assert_empty();
    // A delete is done whatever it says.
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.slow = true;
    let id = rig.send(delete("c1", "a"));
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.replies[&id].text_of("result"), Some("ok"));
    rig.slow = false;
    rig.settle();
    rig.assert_empty();
}

#[test]
fn with_the_gateway_its_calls_are_gone_and_the_next_offer_makes_them_anew() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    rig.sdp(offer("c2", "a", &OFFER()));
    rig.slow = true;
    let supports = carnet_ng::Value::texts(["load limit"]);
    let waits = rig.send(offer("c3", "a", &OFFER()).with("supports", supports));
    rig.slow = false;
    rig.restart_gateway();
    rig.pass(Duration::from_secs(5));
    assert_eq!(rig.replies[&waits].text_of("result"), Some("load limit"));
    let lost = rig
        .events
        .iter()
        .filter(|e| matches!(e, Event::DialogEnded { why, .. } if why.name() == "gateway-lost"));
    assert_eq!(lost.count(), 2);
    rig.assert_empty();
    rig.sdp(reoffer("c1", "a", "b", &OFFER()));
    assert_eq!(rig.gateway.contexts(), 1);
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn a_gateway_that_falls_silent_is_lost() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.cut = true;
    let supports = carnet_ng::Value::texts(["load limit"]);
    let id = rig.send(answer("c1", "a", "b", &ANSWER()).with("supports", supports));
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.replies[&id].text_of("result"), Some("load limit"));
    assert!(rig.names().contains(&"gateway-lost"), "{:?}", rig.names());
    assert_eq!(rig.steering.load().calls, 0);
    rig.overload(offer("c2", "a", &OFFER()));
    // What it still has when it comes back is cleared.
    rig.cut = false;
    rig.pass(Duration::from_secs(120));
    rig.assert_empty();
    rig.sdp(offer("c2", "a", &OFFER()));
}

#[test]
fn drained_it_takes_no_new_calls_and_keeps_those_it_has() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.steering.retire();
    assert_eq!(rig.overload(offer("c2", "a", &OFFER())), "this node is being drained");
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    rig.sdp(reoffer("c1", "b", "a", &ANSWER()));
    rig.steering.end_calls(rig.now);
    rig.settle();
    rig.assert_empty();
    // The gateway says so itself.
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.gateway.retire(rig.now, 905, Duration::ZERO);
    rig.settle();
    assert_eq!(rig.overload(offer("c2", "a", &OFFER())), "the gateway is being drained");
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    assert!(rig.names().contains(&"gateway-draining"));
}

#[test]
fn bounds() {
    let mut rig = Rig::with(|config| {
        config.limits.calls = 2;
        config.limits.dialogs = 2;
        config.limits.streams = 1;
        config.limits.requests = 2;
    });
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.sdp(offer("c2", "a", &OFFER()));
    assert_eq!(rig.overload(offer("c3", "a", &OFFER())), "as many calls as may be");
    rig.ask(delete("c2", "a"));
    let two = format!("{}{}", OFFER(), msrp_line("192.0.2.1", 2856, "actpass"));
    assert!(rig.error(offer("c2", "a", &two)).contains("more TCP media lines"));
    rig.sdp(offer("c1", "x", &OFFER()));
    assert_eq!(rig.error(offer("c1", "y", &OFFER())), "as many dialogs in this call as may be");
    rig.slow = true;
    rig.send(reoffer("c1", "a", "b", &tls(&OFFER())));
    rig.send(reoffer("c1", "a", "b", &OFFER()));
    assert_eq!(rig.overload(offer("c2", "a", &OFFER())), "too many requests wait for the gateway");
    let ends = rig.send(delete("c1", ""));
    assert!(!rig.replies.contains_key(&ends), "what ends calls is let in");
    rig.slow = false;
    rig.settle();
    assert_eq!(rig.replies[&ends].text_of("result"), Some("ok"));
    rig.assert_empty();
}

#[test]
fn a_context_that_fails_is_given_back_and_made_anew() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    rig.sdp(offer("c2", "a", &OFFER()));
    let failed = rig.gateway.context_ids(0).find(|id| rig.steering.call_of(*id) == Some("c1")).unwrap();
    rig.gateway.context_failed(rig.now, failed, 904);
    rig.settle();
    assert_eq!(
        (rig.steering.call_of(failed), rig.steering.load().calls, rig.gateway.contexts()),
        (None, 1, 1)
    );
    rig.sdp(reoffer("c1", "b", "a", &ANSWER()));
    rig.ask(delete("c1", "a"));
    rig.ask(delete("c2", "a"));
    rig.assert_empty();
    // All that is on an interface.
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.gateway.interface_down(rig.now, "core", 904);
    rig.settle();
    rig.assert_empty();
}
