//! Calls that the gateway will not or cannot carry, and gateways that are not there.

use crate::calls::{connected, describe, msrp, path, talk};
use crate::calls_audio::audio;
use crate::lab_kamailio::{ALICE, ALICE_TOO, Agent, BOB, GATEWAY, SECOND, Shape, Stage};
use crate::network::PATIENCE;
use serde_json::json;

/// MSRP over TLS; without `cema` the ends could not meet through a gateway that does not read it.
fn sealed(agent: &Agent, cema: bool) -> String {
    let mut text = format!(
        "m=message 7000 TCP/TLS/MSRP *\r\na=accept-types:*\r\na=path:{}\r\na=setup:actpass\r\n\
         a=fingerprint:SHA-256 {}\r\n",
        path(agent, "msrps", 7000),
        ["AB"; 32].join(":")
    );
    if cema {
        text += "a=msrp-cema\r\n";
    }
    text
}

const TWO: Shape = Shape { rtpengine: false, second: true, script: None, kamailio: &[], carnet: &[] };

/// docs/plan.md: end-to-end TLS needs RFC 6714. The caller is told 488, and the callee nothing.
#[test]
fn a_line_that_cannot_be_carried_is_488() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    assert_eq!(stage.refused("alice", "bob", &describe(&ALICE, &[sealed(&ALICE, false)])), 488);
    assert!(!stage.told("bob", "offered"));
    stage.idle();
    // The next call is none the worse for it.
    let offered = stage.offer("alice", "bob", "bob", &describe(&ALICE, &[sealed(&ALICE, true)]));
    offered.at(0, GATEWAY);
    stage.tell("bob", &json!({"do": "answer", "status": 603, "reason": "Decline"}));
    assert_eq!(stage.next("alice", "refused")["status"], 603);
    stage.idle();
}

/// In a call that stands it is 488 too, and the call goes on.
#[test]
fn a_new_offer_that_cannot_be_carried_is_488() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let both = connected(&mut stage, &ALICE, &BOB);
    talk(&mut stage, &both, "alice", "bob");
    let more = describe(&ALICE, &[msrp(&ALICE, "passive", true), sealed(&ALICE, false)]);
    stage.tell("alice", &json!({"do": "reoffer", "sdp": more}));
    assert_eq!(stage.next("alice", "refused")["status"], 488);
    crate::calls::chat(&mut stage, "alice", "bob");
    stage.hang_up("alice");
}

/// Without a gateway there is no call with MSRP: 503. With it back, calls are as before.
#[test]
fn no_gateway_is_503() {
    // It is tried again soon, so that the test need not wait.
    const SOON: &str = "\"rtpengine_disable_tout\", 2)";
    let shape = Shape { kamailio: &[("\"rtpengine_disable_tout\", 30)", SOON)], ..Shape::default() };
    let Some(mut stage) = Stage::new(shape, &[ALICE, BOB]) else { return };
    let index = stage.lab.named("agw");
    stage.lab.process(index).signal("KILL");
    stage.lab.process(index).wait(PATIENCE);
    for _ in 0..2 {
        let offer = describe(&ALICE, &[msrp(&ALICE, "actpass", true)]);
        assert_eq!(stage.refused("alice", "bob", &offer), 503);
    }
    assert!(!stage.told("bob", "offered"));
    stage.carnet("agw");
    std::thread::sleep(std::time::Duration::from_secs(3));
    let both = connected(&mut stage, &ALICE, &BOB);
    talk(&mut stage, &both, "alice", "bob");
    stage.hang_up("bob");
}

/// Of two gateways one dies: the other one has the calls.
#[test]
fn the_next_gateway_takes_the_calls() {
    let Some(mut stage) = Stage::new(TWO, &[ALICE, BOB]) else { return };
    let index = stage.lab.named("agw");
    stage.lab.process(index).signal("KILL");
    stage.lab.process(index).wait(PATIENCE);
    // By their Call-IDs about half of them would be the dead one's.
    for _ in 0..6 {
        let offer = describe(&ALICE, &[msrp(&ALICE, "actpass", true)]);
        stage.offer("alice", "bob", "bob", &offer).at(0, SECOND);
        stage.answer("bob", "alice", &describe(&BOB, &[msrp(&BOB, "active", true)])).at(0, SECOND);
        stage.tell("alice", &json!({"do": "bye"}));
        assert_eq!(stage.next("alice", "bye")["status"], 200);
    }
    stage.lab.until(PATIENCE, "nothing is left", |lab| Stage::contexts(lab, "second") == Some(0));
}

/// Once rtpengine was told of the end, Kamailio has forgotten which gateway the call had: its end is told to
/// both, as docs/kamailio.md says.
const ALL: &[(&str, &str)] = &[
    (
        "127.0.0.1:2225\")\n",
        "127.0.0.1:2225\")\nmodparam(\"rtpengine\", \"rtpengine_sock\", \"2 == udp:127.0.0.1:2224\")\n\
         modparam(\"rtpengine\", \"rtpengine_sock\", \"3 == udp:127.0.0.1:2225\")\n",
    ),
    (
        "	set_rtpengine_set(\"1\");\n	rtpengine_delete(\"to-tag\");",
        "	set_rtpengine_set(\"2\");\n	rtpengine_delete(\"to-tag\");\n	set_rtpengine_set(\"3\");\n	rtpengine_delete(\"to-tag\");",
    ),
];

/// One that is about to stop says `load limit` to new calls, which go to the other one; those that it has go
/// on until they end.
#[test]
fn new_calls_avoid_a_gateway_that_stops() {
    let Some(mut stage) =
        Stage::new(Shape { rtpengine: true, kamailio: ALL, ..TWO }, &[ALICE, BOB, ALICE_TOO])
    else {
        return;
    };
    // One call that is the first gateway's.
    let both = loop {
        let offer = describe(&ALICE, &[msrp(&ALICE, "actpass", true)]);
        let offered = stage.offer("alice", "bob", "bob", &offer);
        let answered = stage.answer("bob", "alice", &describe(&BOB, &[msrp(&BOB, "active", true)]));
        if offered.socket(0).starts_with(GATEWAY) {
            break (offered, answered);
        }
        stage.hang_up("alice");
    };
    talk(&mut stage, &both, "alice", "bob");
    let index = stage.lab.named("agw");
    stage.lab.process(index).signal("TERM");
    stage.lab.wait_for("agw", "err", "stopping", PATIENCE);
    crate::calls::chat(&mut stage, "alice", "bob");
    // By their Call-IDs some of these would be the first one's. An agent knows one call at a time, so another of hers
    // makes them.
    for _ in 0..5 {
        let offer = describe(&ALICE_TOO, &[msrp(&ALICE_TOO, "actpass", true), audio()]);
        stage.offer("alicetoo", "bob", "bob", &offer).at(0, SECOND);
        let answer = describe(&BOB, &[msrp(&BOB, "active", true), audio()]);
        stage.answer("bob", "alicetoo", &answer).at(0, SECOND);
        stage.tell("alicetoo", &json!({"do": "bye"}));
        assert_eq!(stage.next("alicetoo", "bye")["status"], 200);
        stage.lab.until(PATIENCE, "its end is told to the right one", |lab| {
            Stage::contexts(lab, "second") == Some(0)
        });
    }
    stage.tell("alice", &json!({"do": "bye"}));
    assert_eq!(stage.next("alice", "bye")["status"], 200);
    assert_eq!(stage.lab.process(index).wait(PATIENCE), Some(0), "it stops when its last call has ended");
}
