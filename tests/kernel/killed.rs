//! A gateway's process is killed, and the sessions that the kernel carries do not notice.

use crate::lab::Lab;
use crate::network::{self, MEDIA_HOSTS, PATIENCE, Shape};
use crate::ways;
use std::time::Duration;

/// Octets of the file: enough that a process can be killed while it is on its way.
const SIZE: u64 = 384 << 20;

/// alice's file is on its way to bob; alice's process.
fn transfer(lab: &mut Lab) -> usize {
    ways::build(lab, &Shape::default());
    ways::start(lab);
    ways::cargo(lab, SIZE);
    network::ue(lab, "bob", &["receive", "--dir", "inbox"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(lab, "alice", &["send", "sip:bob@b.example", "cargo.bin"]);
    lab.wait_for("bob", "out", "\"file-progress\"", PATIENCE);
    alice
}

fn kill(lab: &mut Lab, name: &str) {
    let index = lab.named(name);
    lab.process(index).signal("KILL");
    lab.process(index).wait(PATIENCE);
}

fn arrived(lab: &mut Lab, alice: usize) {
    lab.wait_for("bob", "out", "\"file-done\"", 3 * PATIENCE);
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "out"));
    let directory = lab.directory().to_owned();
    assert_eq!(ways::sha256(&directory.join("inbox/cargo.bin")), ways::sha256(&directory.join("cargo.bin")));
}

/// Nothing is left of the call anywhere, also in the kernel.
fn over(lab: &Lab) {
    for (host, ..) in MEDIA_HOSTS {
        lab.until(PATIENCE, "the gateway gives everything back", |lab| ways::contexts(lab, host).is_empty());
    }
}

/// The file goes on while the process is down, the call is there when it is back, and its end is as of any other.
#[test]
fn a_file_arrives_whose_gateway_is_killed_on_the_way() {
    let Some(mut lab) = Lab::new() else { return };
    let alice = transfer(&mut lab);
    let before = ways::contexts(&lab, "trgw-b");
    assert_eq!(before.len(), 1, "{before:?}");
    assert!(!lab.output("bob", "out").contains("\"file-done\""), "the file was too small for this test");
    kill(&mut lab, "trgw-b");
    // It goes on: bob hears more of it while nobody is there.
    let heard = lab.output("bob", "out").len();
    lab.until(PATIENCE, "the file goes on without the process", |lab| {
        let now = lab.output("bob", "out");
        now.len() > heard + 200 || now.contains("\"file-done\"")
    });
    ways::again(&mut lab, "trgw-b");
    lab.until(PATIENCE, "the call is found again", |lab| ways::contexts(lab, "trgw-b").len() == 1);
    let after = ways::contexts(&lab, "trgw-b");
    for member in ["context", "id"] {
        assert_eq!(ways::find(&after[0], member), ways::find(&before[0], member), "{after:?}");
    }
    lab.until(PATIENCE, "the border knows the gateway again", |lab| {
        lab.output("trgw-b", "err").contains("registered")
    });
    assert!(!lab.output("interconnect-b", "err").contains("gateway-lost"));
    arrived(&mut lab, alice);
    over(&lab);
}

/// Killed while nothing passes, and back before the BYE.
#[test]
fn a_call_ends_in_order_whose_gateway_was_killed_before() {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, &Shape::default());
    ways::start(&mut lab);
    let bob = network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", "\"sealed\"", PATIENCE);
    }
    for (round, host) in ["agw-a", "trgw-a", "agw-b"].into_iter().enumerate() {
        kill(&mut lab, host);
        let said = format!("round {round} without it");
        lab.process(alice).say(&said);
        lab.wait_for("bob", "out", &said, PATIENCE);
        ways::again(&mut lab, host);
        lab.until(PATIENCE, "the call is found again", |lab| ways::contexts(lab, host).len() == 1);
        let said = format!("round {round} with it");
        lab.process(bob).say(&said);
        lab.wait_for("alice", "out", &said, PATIENCE);
    }
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    over(&lab);
}

/// The call ends while the gateway is away: what it still has when it is back belongs to nobody.
#[test]
fn what_no_call_knows_any_more_is_dropped() {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, &Shape::default());
    ways::start(&mut lab);
    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    kill(&mut lab, "trgw-a");
    lab.process(alice).signal("INT");
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    ways::again(&mut lab, "trgw-a");
    lab.until(PATIENCE, "it registers", |lab| lab.output("trgw-a", "err").contains("registered"));
    over(&lab);
    // And the next call is as any other.
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    assert_eq!(ways::contexts(&lab, "trgw-a").len(), 1);
    lab.process(alice).signal("INT");
    over(&lab);
}

/// Its border starts again instead, and knows of no call: both ends hear of it.
#[test]
fn a_border_that_starts_again_clears_its_gateway() {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, &Shape::default());
    ways::start(&mut lab);
    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    kill(&mut lab, "interconnect-b");
    assert_eq!(ways::contexts(&lab, "trgw-b").len(), 1);
    ways::again(&mut lab, "interconnect-b");
    lab.until(PATIENCE, "the gateway is cleared", |lab| ways::contexts(lab, "trgw-b").is_empty());
    for user in ["alice", "bob"] {
        // At once, also where translators of others are in between: neither has anything to say for a minute.
        lab.wait_for(user, "out", "\"ended\"", PATIENCE / 2);
    }
    over(&lab);
}

/// Killed at moments that the seed chooses, from the first INVITE on: in the end nothing is left, and the next call
/// is as any other.
#[test]
fn a_gateway_that_is_killed_during_the_set_up_leaves_nothing_behind() {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, &Shape::default());
    ways::start(&mut lab);
    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let mut moment: u64 = 7;
    for host in ["agw-a", "trgw-b", "agw-b"] {
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
        std::thread::sleep(Duration::from_millis(moment >> 32 & 0x1ff));
        kill(&mut lab, host);
        ways::again(&mut lab, host);
        lab.until(PATIENCE, "the border has it again", |lab| lab.output(host, "err").contains("registered"));
        // The call came about, or it did not; either way it ends.
        lab.process(alice).signal("INT");
        assert!(lab.process(alice).wait(PATIENCE).is_some(), "{}", lab.output("alice", "out"));
        over(&lab);
    }
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
    over(&lab);
}
