//! Ends behind translators of addresses: they connect to the gateway, which is where both can reach it.

use crate::calls::{connected, talk};
use crate::lab_kamailio::{ALICE, ALICE_AT_HOME, Agent, BOB, BOB_AT_HOME, Shape, Stage};

fn pass(alice: &Agent, bob: &Agent) {
    let Some(mut stage) = Stage::new(Shape::default(), &[*alice, *bob]) else { return };
    let both = connected(&mut stage, alice, bob);
    // Whoever is behind a translator connects: nobody else can.
    let role = both.1.value(0, "a=setup:");
    assert_eq!(role == Some("passive"), alice.nat, "{role:?}");
    talk(&mut stage, &both, "alice", "bob");
    stage.hang_up("bob");
}

#[test]
fn the_caller_is_behind_a_translator() {
    pass(&ALICE_AT_HOME, &BOB);
}

#[test]
fn the_callee_is_behind_a_translator() {
    pass(&ALICE, &BOB_AT_HOME);
}

#[test]
fn both_are_behind_translators() {
    pass(&ALICE_AT_HOME, &BOB_AT_HOME);
}

/// The offerer says that it waits, behind its translator, where nobody reaches it.
#[test]
fn who_cannot_be_reached_is_not_connected_to() {
    use crate::calls::{describe, msrp};
    use crate::lab_kamailio::GATEWAY;
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB_AT_HOME]) else { return };
    // Offered `active` by alice, bob would have to wait for a connection that cannot come to him.
    let offered = stage.offer("alice", "bob", "bob", &describe(&ALICE, &[msrp(&ALICE, "active", true)]));
    offered.at(0, GATEWAY);
    assert_eq!(offered.value(0, "a=setup:"), Some("actpass"), "so that he may connect");
    let answered =
        stage.answer("bob", "alice", &describe(&BOB_AT_HOME, &[msrp(&BOB_AT_HOME, "active", true)]));
    assert_eq!(answered.value(0, "a=setup:"), Some("passive"));
    talk(&mut stage, &(offered, answered), "alice", "bob");
    stage.hang_up("alice");
}
