//! A user with two devices: each gets an offer of its own, and the one that answers has the call.

use crate::calls::{describe, msrp, talk};
use crate::lab_kamailio::{ALICE, BOB, BOB_TOO, GATEWAY, Sdp, Shape, Stage};
use crate::network::PATIENCE;
use serde_json::json;

/// Alice calls; what the two devices get.
fn ringing(stage: &mut Stage) -> (Sdp, Sdp) {
    let offer = describe(&ALICE, &[msrp(&ALICE, "actpass", true)]);
    let one = stage.offer("alice", "bob", "bob", &offer);
    let other = stage.offered("bobtoo");
    one.at(0, GATEWAY);
    other.at(0, GATEWAY);
    assert_ne!(one.socket(0), other.socket(0), "each has a port of its own");
    for host in ["bob", "bobtoo"] {
        stage.tell(host, &json!({"do": "answer", "status": 180, "reason": "Ringing"}));
    }
    assert_eq!(Stage::contexts(&stage.lab, "agw"), Some(2));
    (one, other)
}

#[test]
fn one_device_answers_and_the_other_stops_ringing() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB, BOB_TOO]) else { return };
    let (_, offered) = ringing(&mut stage);
    let answered = stage.answer("bobtoo", "alice", &describe(&BOB_TOO, &[msrp(&BOB_TOO, "active", true)]));
    answered.at(0, GATEWAY);
    stage.next("bob", "cancelled");
    stage.lab.until(PATIENCE, "the other one's context goes", |lab| Stage::contexts(lab, "agw") == Some(1));
    talk(&mut stage, &(offered, answered), "alice", "bobtoo");
    stage.hang_up("alice");
}

#[test]
fn one_device_is_busy_and_the_other_answers() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB, BOB_TOO]) else { return };
    let (offered, _) = ringing(&mut stage);
    stage.tell("bobtoo", &json!({"do": "answer", "status": 486, "reason": "Busy Here"}));
    stage.lab.until(PATIENCE, "the busy one's context goes", |lab| Stage::contexts(lab, "agw") == Some(1));
    let answered = stage.answer("bob", "alice", &describe(&BOB, &[msrp(&BOB, "active", true)]));
    answered.at(0, GATEWAY);
    talk(&mut stage, &(offered, answered), "alice", "bob");
    stage.hang_up("bob");
}

#[test]
fn no_device_wants_it() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB, BOB_TOO]) else { return };
    ringing(&mut stage);
    for host in ["bob", "bobtoo"] {
        stage.tell(host, &json!({"do": "answer", "status": 486, "reason": "Busy Here"}));
    }
    assert_eq!(stage.next("alice", "refused")["status"], 486);
    stage.idle();
}
