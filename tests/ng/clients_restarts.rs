//! Sealed calls of Carnet's own clients while the servers between them stop, die and come back.

use crate::calls::{describe, msrp, talk};
use crate::clients_lab::{call, calling, chat, ends, holds, member, stage, told};
use crate::lab_kamailio::{ALICE, ALICE_AT_HOME, ALICE_TOO, BOB, BOB_AT_HOME, GATEWAY, Shape, Stage};
use crate::network::PATIENCE;
use serde_json::json;
use std::time::Duration;

/// A gateway that was not there is asked again soon, so that the tests need not wait.
const SOON: &[(&str, &str)] = &[("\"rtpengine_disable_tout\", 30)", "\"rtpengine_disable_tout\", 1)")];

/// Kamailio and all of its processes die at once.
fn kill_kamailio(stage: &mut Stage) {
    let file = stage.lab.directory().join("kamailio.pid");
    let main = std::fs::read_to_string(file).unwrap().trim().to_owned();
    let children = std::fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap();
    let children: Vec<_> = children.split_whitespace().collect();
    assert!(children.len() > 2, "Kamailio is several processes");
    let killed = std::process::Command::new("kill").arg("-KILL").arg(&main).args(children).status().unwrap();
    assert!(killed.success());
    let index = stage.lab.named("kamailio");
    stage.lab.process(index).wait(PATIENCE);
}

/// Kamailio dies and comes back while two talk: they go on, both are found again, and the end of the call
/// reaches the gateway and the other one.
fn kamailio_dies(alice: &crate::lab_kamailio::Agent, bob: &crate::lab_kamailio::Agent) {
    let Some(mut stage) = stage(Shape::default(), &[*alice, *bob]) else { return };
    let (talker, listener) = call(&mut stage, "alice", "bob");
    chat(&mut stage, (talker, "alice"), (listener, "bob"));
    kill_kamailio(&mut stage);
    chat(&mut stage, (talker, "alice"), (listener, "bob"));
    stage.kamailio();
    for host in ["alice", "bob"] {
        told(&stage, host, "registered", 2);
    }
    chat(&mut stage, (talker, "alice"), (listener, "bob"));
    holds(&stage, 1);
    stage.lab.process(talker).say("/bye");
    ends(&mut stage, talker, "alice", 0);
    told(&stage, "bob", "ended", 1);
    assert!(member(&stage, "bob", "ended", "error").is_null());
    stage.idle();

    // Calls are as before.
    let talker = calling(&mut stage, "alice");
    told(&stage, "alice", "sealed", 1);
    told(&stage, "bob", "sealed", 2);
    chat(&mut stage, (talker, "alice"), (listener, "bob"));
    stage.lab.process(listener).say("/bye");
    ends(&mut stage, talker, "alice", 0);
    stage.idle();
}

#[test]
fn kamailio_dies_and_comes_back() {
    kamailio_dies(&ALICE, &BOB);
}

#[test]
fn kamailio_dies_and_comes_back_with_both_behind_translators() {
    kamailio_dies(&ALICE_AT_HOME, &BOB_AT_HOME);
}

/// A gateway that is to stop keeps the call it has and takes no other; when that has ended it stops, and one
/// that is started in its place takes calls.
#[test]
fn the_gateway_is_drained_and_started_again() {
    let shape = Shape { kamailio: SOON, ..Shape::default() };
    let Some(mut stage) = stage(shape, &[ALICE, BOB, ALICE_TOO]) else { return };
    let (talker, listener) = call(&mut stage, "alice", "bob");
    let index = stage.lab.named("agw");
    stage.lab.process(index).signal("TERM");
    stage.lab.wait_for("agw", "err", "stopping", PATIENCE);
    chat(&mut stage, (talker, "alice"), (listener, "bob"));

    let refused = calling(&mut stage, "alicetoo");
    ends(&mut stage, refused, "alicetoo", 1);
    let reason = member(&stage, "alicetoo", "ended", "reason");
    // The module tells its script no more than that there is no gateway for the call.
    assert!(reason.as_str().unwrap().contains("488"), "{reason}");
    assert_eq!(crate::clients_lab::count(&stage.lab, "bob", "\"incoming\""), 1, "bob hears nothing of it");

    chat(&mut stage, (talker, "alice"), (listener, "bob"));
    stage.lab.process(talker).say("/bye");
    ends(&mut stage, talker, "alice", 0);
    assert_eq!(stage.lab.process(index).wait(PATIENCE), Some(0), "it stops when its last call has ended");

    stage.carnet("agw");
    let talker = calling(&mut stage, "alicetoo");
    told(&stage, "alicetoo", "sealed", 1);
    chat(&mut stage, (talker, "alicetoo"), (listener, "bob"));
    stage.lab.process(talker).say("/bye");
    ends(&mut stage, talker, "alicetoo", 0);
    stage.idle();
}

/// A gateway dies with its calls: both clients see their connection end and hang up; with another in its place they
/// call each other again.
#[test]
fn the_gateway_dies_and_comes_back() {
    let shape = Shape { kamailio: SOON, ..Shape::default() };
    let Some(mut stage) = stage(shape, &[ALICE, BOB_AT_HOME]) else { return };
    let (talker, listener) = call(&mut stage, "alice", "bob");
    chat(&mut stage, (talker, "alice"), (listener, "bob"));
    let index = stage.lab.named("agw");
    stage.lab.process(index).signal("KILL");
    stage.lab.process(index).wait(PATIENCE);
    told(&stage, "bob", "ended", 1);
    told(&stage, "alice", "ended", 1);
    stage.lab.process(talker).wait(PATIENCE);
    stage.carnet("agw");
    // Kamailio asks it again only after the second that it was left out for.
    std::thread::sleep(Duration::from_secs(2));
    let talker = calling(&mut stage, "alice");
    told(&stage, "alice", "sealed", 1);
    told(&stage, "bob", "sealed", 2);
    chat(&mut stage, (talker, "alice"), (listener, "bob"));
    stage.lab.process(talker).say("/bye");
    ends(&mut stage, talker, "alice", 0);
    stage.idle();
}

/// A terminal that offers again after its gateway was started anew has its call made anew.
#[test]
fn a_new_offer_makes_a_lost_call_anew() {
    let shape = Shape { kamailio: SOON, ..Shape::default() };
    let Some(mut stage) = Stage::new(shape, &[ALICE, BOB]) else { return };
    let both = crate::calls::connected(&mut stage, &ALICE, &BOB);
    talk(&mut stage, &both, "alice", "bob");
    let index = stage.lab.named("agw");
    stage.lab.process(index).signal("KILL");
    stage.lab.process(index).wait(PATIENCE);
    for host in ["alice", "bob"] {
        stage.next(host, "connected");
        stage.next(host, "closed");
    }
    stage.carnet("agw");
    holds(&stage, 0);
    let offered = stage.reoffer("bob", "alice", &describe(&BOB, &[msrp(&BOB, "active", true)]));
    offered.at(0, GATEWAY);
    let answered = stage.answer("alice", "bob", &describe(&ALICE, &[msrp(&ALICE, "passive", true)]));
    answered.at(0, GATEWAY);
    holds(&stage, 1);
    stage.listen("alice", None);
    stage.connect("bob", &answered.socket(0), None);
    for host in ["alice", "bob"] {
        stage.next(host, "connected");
    }
    crate::calls::chat(&mut stage, "alice", "bob");
    stage.tell("alice", &json!({"do": "bye"}));
    assert_eq!(stage.next("alice", "bye")["status"], 200);
    stage.idle();
}

/// A session is refreshed by INVITE, through a Kamailio that was started anew: the gateway keeps what it has,
/// and the connection goes on.
#[test]
fn a_session_is_refreshed() {
    // Clients ask for half an hour; 90 s are the least (RFC 4028 §4), and half of that is when they refresh.
    const SHORT: &[(&str, &str)] = &[
        (
            "\t\tsetflag(FLT_FIRST);\n",
            "\t\tsetflag(FLT_FIRST);\n\t\tremove_hf(\"Session-Expires\");\n\
             \t\tappend_hf(\"Session-Expires: 90;refresher=uac\\r\\n\");\n",
        ),
        // Without UPDATE it is an INVITE with a description.
        ("onreply_route[REPLY] {\n", "onreply_route[REPLY] {\n\tremove_hf(\"Allow\");\n"),
    ];
    let shape = Shape { kamailio: SHORT, ..Shape::default() };
    let Some(mut stage) = stage(shape, &[ALICE_AT_HOME, BOB]) else { return };
    let (talker, listener) = call(&mut stage, "alice", "bob");
    kill_kamailio(&mut stage);
    stage.kamailio();
    for host in ["alice", "bob"] {
        told(&stage, host, "registered", 2);
    }
    let offers = |stage: &Stage| stage.lab.output("agw", "err").matches("offer-planned").count();
    let first = offers(&stage);
    stage.lab.until(2 * PATIENCE, "it is refreshed", |_| offers(&stage) > first);
    holds(&stage, 1);
    chat(&mut stage, (talker, "alice"), (listener, "bob"));
    stage.lab.process(listener).say("/bye");
    ends(&mut stage, talker, "alice", 0);
    stage.idle();
}
