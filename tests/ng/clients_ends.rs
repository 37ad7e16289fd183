//! Sealed calls of Carnet's own clients that end, or do not come about, in the ways that calls do; and calls
//! to a user with two clients.

use crate::clients_lab::{
    BACK, THERE, call, calling, chat, count, ends, holds, member, stage, told, waiting,
};
use crate::lab::Lab;
use crate::lab_kamailio::{ALICE, ALICE_AT_HOME, BOB, BOB_AT_HOME, BOB_TOO, Shape};
use crate::nat_lab::on;
use crate::network::PATIENCE;

/// The end of a call that nobody tells is noticed soon.
const IMPATIENT: &[(&str, &str)] = &[("connect-timeout = 0\n", "connect-timeout = 2\nsilence-timeout = 4\n")];

#[test]
fn the_called_hangs_up() {
    let Some(mut stage) = stage(Shape::default(), &[ALICE_AT_HOME, BOB_AT_HOME]) else { return };
    let (talker, listener) = call(&mut stage, "alice", "bob");
    chat(&mut stage, (talker, "alice"), (listener, "bob"));
    stage.lab.process(listener).say("/bye");
    ends(&mut stage, talker, "alice", 0);
    told(&stage, "bob", "ended", 1);
    assert!(member(&stage, "alice", "ended", "error").is_null());
    stage.idle();
}

/// The called is asked, and says no; then he is asked again, and the caller gives up.
#[test]
fn calls_that_are_not_taken() {
    let Some(mut stage) = stage(Shape::default(), &[ALICE, BOB_AT_HOME]) else { return };
    let listener = waiting(&mut stage, "bob", &["listen", "--ask"]);
    let talker = calling(&mut stage, "alice");
    told(&stage, "bob", "incoming", 1);
    told(&stage, "alice", "ringing", 1);
    holds(&stage, 1);
    stage.lab.process(listener).say("n");
    ends(&mut stage, talker, "alice", 1);
    let reason = member(&stage, "alice", "ended", "reason");
    assert!(reason.as_str().unwrap().contains("603"), "{reason}");
    stage.idle();

    let talker = calling(&mut stage, "alice");
    told(&stage, "bob", "incoming", 2);
    told(&stage, "alice", "ringing", 1);
    holds(&stage, 1);
    stage.lab.process(talker).signal("INT");
    ends(&mut stage, talker, "alice", 1);
    told(&stage, "bob", "ended", 2);
    stage.idle();
}

/// Who is called is not here.
#[test]
fn nobody_is_there() {
    let Some(mut stage) = stage(Shape::default(), &[ALICE]) else { return };
    let talker = calling(&mut stage, "alice");
    ends(&mut stage, talker, "alice", 1);
    let reason = member(&stage, "alice", "ended", "reason");
    assert!(reason.as_str().unwrap().contains("404"), "{reason}");
    stage.idle();
}

/// One client dies: the other one sees its connection end, and tells Kamailio.
#[test]
fn a_client_is_killed() {
    let Some(mut stage) = stage(Shape::default(), &[ALICE, BOB]) else { return };
    let (talker, _) = call(&mut stage, "alice", "bob");
    stage.lab.process(talker).signal("KILL");
    told(&stage, "bob", "ended", 1);
    stage.idle();
}

/// Both die, and no BYE comes: their connections are gone, and with them the call.
#[test]
fn both_clients_are_killed() {
    let shape = Shape { carnet: IMPATIENT, ..Shape::default() };
    let Some(mut stage) = stage(shape, &[ALICE, BOB]) else { return };
    let (talker, listener) = call(&mut stage, "alice", "bob");
    for run in [talker, listener] {
        stage.lab.process(run).signal("KILL");
    }
    stage.idle();
    stage.lab.wait_for("agw", "err", "no-connection", PATIENCE);
}

/// Both are cut off: nobody closes anything, and nothing is heard of them any more.
#[test]
fn both_clients_are_cut_off() {
    let shape = Shape { carnet: IMPATIENT, ..Shape::default() };
    let Some(mut stage) = stage(shape, &[ALICE, BOB]) else { return };
    let (talker, listener) = call(&mut stage, "alice", "bob");
    chat(&mut stage, (talker, "alice"), (listener, "bob"));
    for host in ["alice", "bob"] {
        on(&stage.lab, host, &["ip", "link", "set", "e-public", "down"]);
    }
    stage.idle();
    stage.lab.wait_for("agw", "err", "why=silent", PATIENCE);
}

/// Two clients of one user ring; each can open what is offered, and the one that takes the call has a key of
/// its own.
#[test]
fn one_of_two_clients_takes_the_call() {
    let Some(mut stage) = stage(Shape::default(), &[ALICE, BOB, BOB_TOO]) else { return };
    let asked = ["bob", "bobtoo"].map(|host| (host, waiting(&mut stage, host, &["listen", "--ask"])));
    let mut keys = Vec::new();
    for (round, at) in [0, 1].into_iter().enumerate() {
        let talker = calling(&mut stage, "alice");
        for (host, _) in asked {
            told(&stage, host, "incoming", round + 1);
        }
        holds(&stage, 2);
        let ((taker, run), (other, _)) = (asked[at], asked[1 - at]);
        stage.lab.process(run).say("y");
        told(&stage, taker, "sealed", 1);
        told(&stage, "alice", "sealed", 1);
        holds(&stage, 1);
        chat(&mut stage, (talker, "alice"), (run, taker));
        assert_eq!(member(&stage, taker, "sealed", "responder"), "sip:bob@example.com");
        keys.push(member(&stage, taker, "sealed", "psk_identity"));
        told(&stage, other, "ended", round + 1);
        stage.lab.process(talker).say("/bye");
        ends(&mut stage, talker, "alice", 0);
        told(&stage, taker, "ended", round + 1);
        stage.idle();
    }
    assert_ne!(keys[0], keys[1]);
}

/// Two clients that take every call, both at once: one has the call, and the other one's is ended without
/// harm to it.
#[test]
fn two_clients_take_the_call_at_once() {
    let Some(mut stage) = stage(Shape::default(), &[ALICE, BOB, BOB_TOO]) else { return };
    let runs = ["bob", "bobtoo"].map(|host| (host, waiting(&mut stage, host, &["listen"])));
    for round in 1..=4 {
        let talker = calling(&mut stage, "alice");
        told(&stage, "alice", "sealed", 1);
        holds(&stage, 1);
        // Who hears her has the call.
        let (said, answered) = (format!("{THERE} {round}"), format!("{BACK} {round}"));
        stage.lab.process(talker).say(&said);
        let hears = |lab: &Lab, host: &str| lab.output(host, "out").contains(&said);
        stage
            .lab
            .until(PATIENCE, "one of them hears her", |lab| runs.iter().any(|(host, _)| hears(lab, host)));
        let heard: Vec<_> = runs.into_iter().filter(|(host, _)| hears(&stage.lab, host)).collect();
        assert_eq!(heard.len(), 1, "one has the call");
        stage.lab.process(heard[0].1).say(&answered);
        stage.lab.wait_for("alice", "out", &answered, PATIENCE);
        stage.lab.process(talker).say("/bye");
        ends(&mut stage, talker, "alice", 0);
        // Who was called knows that it is over. One that was told so before it showed the call shows nothing.
        stage.lab.until(PATIENCE, "both know that it is over", |lab| {
            let of = |host: &str, event: &str| count(lab, host, &format!("\"event\":\"{event}\""));
            runs.iter().all(|(host, _)| of(host, "ended") >= of(host, "incoming"))
        });
        stage.idle();
    }
}
