//! Calls that end in all the ways that calls end, by sipp; nothing is left over after any of them.

use crate::calls::{connected, describe, msrp, talk};
use crate::lab_kamailio::{ALICE, BOB, GATEWAY, Shape, Stage};
use crate::network::PATIENCE;
use serde_json::json;

const CALLER: &str = include_str!("sipp/caller.xml");
const CALLEE: &str = include_str!("sipp/callee.xml");
const CANCELLING: &str = include_str!("sipp/cancelling.xml");
const LATE_CALLER: &str = include_str!("sipp/late-caller.xml");
const LATE_CALLEE: &str = include_str!("sipp/late-callee.xml");
const REGISTER: &str = include_str!("sipp/register.xml");

fn have_sipp() -> bool {
    let here = std::process::Command::new("sipp").arg("-v").output().is_ok();
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "sipp is required here");
        eprintln!("skipped: sipp is not installed");
    }
    here
}

/// Starts sipp on a host; a message that does not fit into its scenario, one that was repeated for instance,
/// does not end a call.
fn sipp(stage: &mut Stage, host: &str, address: &str, name: &str, scenario: &str, more: &[&str]) -> usize {
    let lab = &mut stage.lab;
    lab.file(&format!("{name}.xml"), scenario);
    let mut command = lab.command(host, "sipp");
    command.args(["192.0.2.1:5060", "-sf", &format!("{name}.xml"), "-i", address, "-nostdin"]);
    command.args(["-default_behaviors", "all,-abortunexp", "-trace_err", "-error_file"]);
    command.arg(format!("{name}.errors")).args(more);
    // Its screen is for terminals, and writes what went wrong into the file.
    command.env("TERM", "dumb");
    lab.start(name, command)
}

/// Waits until every call of it went as its scenario says.
#[track_caller]
fn done(stage: &mut Stage, index: usize, name: &str) {
    let code = stage.lab.process(index).wait(PATIENCE);
    if code != Some(0) {
        let errors = std::fs::read_to_string(stage.lab.directory().join(format!("{name}.errors")));
        stage.lab.show();
        panic!("{name} ended with {code:?}: {errors:?}");
    }
}

/// Both ends are sipp: each checks that it gets the gateway's address, in every one of many calls at once.
fn many(calls: &str, caller: &str, callee: &str) {
    if !have_sipp() {
        return;
    }
    let Some(mut stage) = Stage::new(Shape::default(), &[]) else { return };
    for (host, address) in [("alice", "192.0.2.10/24"), ("bob", "192.0.2.11/24")] {
        stage.lab.join(host, "public", address);
    }
    let one = ["-m", "1", "-p", "5060"];
    let register = sipp(&mut stage, "bob", "192.0.2.11", "register", REGISTER, &one);
    done(&mut stage, register, "register");
    let called = sipp(&mut stage, "bob", "192.0.2.11", "callee", callee, &["-m", calls, "-p", "5060"]);
    let many = ["-m", calls, "-r", "20", "-l", "20", "-p", "5060"];
    let calling = sipp(&mut stage, "alice", "192.0.2.10", "caller", caller, &many);
    done(&mut stage, calling, "caller");
    done(&mut stage, called, "callee");
    stage.idle();
}

#[test]
fn many_calls_leave_nothing_behind() {
    many("40", CALLER, CALLEE);
}

/// The 200 has the offer, the ACK the answer.
#[test]
fn an_offer_may_come_late() {
    many("5", LATE_CALLER, LATE_CALLEE);
}

/// SIP over UDP repeats its 200 until the ACK has come; and what a 183 said already a 200 says again.
#[test]
fn an_answer_may_come_more_than_once() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let offer = describe(&ALICE, &[msrp(&ALICE, "actpass", true)]);
    let offered = stage.offer("alice", "bob", "bob", &offer);
    let answer = describe(&BOB, &[msrp(&BOB, "active", true)]);
    stage.tell("bob", &json!({"do": "answer", "status": 183, "reason": "Session Progress", "sdp": answer}));
    stage.next_that("alice", "provisional", |seen| seen["status"] == 183);
    let answered = stage.answer("bob", "alice", &answer);
    stage.tell("bob", &json!({"do": "answer", "sdp": answer}));
    talk(&mut stage, &(offered, answered), "alice", "bob");
    assert_eq!(Stage::contexts(&stage.lab, "agw"), Some(1));
    stage.hang_up("alice");
}

/// The caller gives up while it rings.
#[test]
fn a_call_is_cancelled() {
    if !have_sipp() {
        return;
    }
    let Some(mut stage) = Stage::new(Shape::default(), &[BOB]) else { return };
    stage.lab.join("alice", "public", "192.0.2.10/24");
    let one = ["-m", "1", "-p", "5060"];
    let caller = sipp(&mut stage, "alice", "192.0.2.10", "cancelling", CANCELLING, &one);
    stage.offered("bob").at(0, GATEWAY);
    assert_eq!(Stage::contexts(&stage.lab, "agw"), Some(1));
    stage.tell("bob", &json!({"do": "answer", "status": 180, "reason": "Ringing"}));
    stage.next("bob", "cancelled");
    done(&mut stage, caller, "cancelling");
    stage.idle();
}

/// The callee does not want it.
#[test]
fn a_call_is_turned_down() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let offer = describe(&ALICE, &[msrp(&ALICE, "actpass", true)]);
    stage.offer("alice", "bob", "bob", &offer).at(0, GATEWAY);
    assert_eq!(Stage::contexts(&stage.lab, "agw"), Some(1));
    stage.tell("bob", &json!({"do": "answer", "status": 486, "reason": "Busy Here"}));
    assert_eq!(stage.next("alice", "refused")["status"], 486);
    stage.idle();
}

/// It rings until Kamailio has had enough.
#[test]
fn nobody_answers() {
    let shape =
        Shape { kamailio: &[("\"fr_inv_timer\", 120000", "\"fr_inv_timer\", 3000")], ..Shape::default() };
    let Some(mut stage) = Stage::new(shape, &[ALICE, BOB]) else { return };
    let offer = describe(&ALICE, &[msrp(&ALICE, "actpass", true)]);
    stage.offer("alice", "bob", "bob", &offer).at(0, GATEWAY);
    assert_eq!(Stage::contexts(&stage.lab, "agw"), Some(1));
    assert_eq!(stage.next("alice", "refused")["status"], 408);
    stage.next("bob", "cancelled");
    stage.idle();
}

/// The device that is registered is gone: nobody answers at all, not even that it is ringing.
#[test]
fn nobody_is_there() {
    let shape = Shape { kamailio: &[("\"fr_timer\", 10000", "\"fr_timer\", 2000")], ..Shape::default() };
    let Some(mut stage) = Stage::new(shape, &[ALICE, BOB]) else { return };
    let index = stage.lab.named("bob");
    stage.lab.process(index).signal("KILL");
    let offer = describe(&ALICE, &[msrp(&ALICE, "actpass", true)]);
    stage.tell("alice", &json!({"do": "call", "uri": "sip:bob@example.com", "sdp": offer}));
    stage.lab.until(PATIENCE, "the gateway is asked", |lab| Stage::contexts(lab, "agw") == Some(1));
    assert_eq!(stage.next("alice", "refused")["status"], 408);
    stage.idle();
}

/// The one who was called hangs up; connections of the call are closed with it.
#[test]
fn the_callee_hangs_up() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let both = connected(&mut stage, &ALICE, &BOB);
    talk(&mut stage, &both, "alice", "bob");
    stage.hang_up("bob");
    stage.next("alice", "closed");
    stage.next("bob", "closed");
}

/// A new offer in a call that stands is turned down: the call goes on as it was.
#[test]
fn a_new_offer_is_turned_down() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let both = connected(&mut stage, &ALICE, &BOB);
    talk(&mut stage, &both, "alice", "bob");
    let more = describe(&ALICE, &[msrp(&ALICE, "passive", true), msrp(&ALICE, "actpass", true)]);
    stage.reoffer("alice", "bob", &more).at(1, GATEWAY);
    stage.tell("bob", &json!({"do": "answer", "status": 488, "reason": "Not Acceptable Here"}));
    assert_eq!(stage.next("alice", "refused")["status"], 488);
    crate::calls::chat(&mut stage, "alice", "bob");
    stage.hang_up("alice");
}
