//! What a delete ends that does not say the from-tag: OpenSIPS sends none.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_ng::{Command, Request, Value};
use common::*;

/// Two branches of a forked INVITE, of which the second has answered.
fn forked() -> Rig {
    let mut rig = Rig::new();
    for branch in ["br0", "br1"] {
        let request = offer("c", "a", &msrp("192.0.2.1", 2855, "actpass"));
        rig.sdp(request.with("via-branch", Value::text(branch)));
    }
    let request = answer("c", "a", "b", &msrp("198.51.100.9", 2000, "active"));
    rig.sdp(request.with("via-branch", Value::text("br1")));
    assert_eq!(rig.gateway.contexts(), 2);
    rig
}

fn delete_of(call: &str) -> Request {
    Request::new(Command::Delete, call, "")
}

#[test]
fn one_branch() {
    let mut rig = forked();
    let branch = |word| delete_of("c").with("via-branch", Value::text(word));
    assert!(rig.ask(branch("br7")).text_of("warning").is_some());
    assert_eq!(rig.gateway.contexts(), 2);
    assert_eq!(rig.ask(branch("br0")).text_of("warning"), None);
    assert_eq!(rig.gateway.contexts(), 1);
    // The one that is left is the one that answered.
    rig.sdp(reoffer("c", "b", "a", &msrp("198.51.100.9", 2000, "actpass")));
    assert_eq!(rig.ask(branch("br1")).text_of("warning"), None);
    rig.assert_empty();
}

/// The module `rtp_relay` of OpenSIPS makes one offer for all branches, without a name, and ends it by the
/// name of the first.
#[test]
fn a_branch_that_was_not_told_before() {
    let mut rig = Rig::new();
    rig.sdp(offer("c", "a", &msrp("192.0.2.1", 2855, "actpass")));
    let branch = delete_of("c").with("via-branch", Value::text("br0"));
    assert_eq!(rig.ask(branch).text_of("warning"), None);
    rig.assert_empty();
}

#[test]
fn one_dialog() {
    let mut rig = forked();
    let tag = |tag: &str| Request { to_tag: Some(tag.to_owned()), ..delete_of("c") };
    assert!(rig.ask(tag("nobody")).text_of("warning").is_some());
    assert_eq!(rig.gateway.contexts(), 2);
    assert_eq!(rig.ask(tag("b")).text_of("warning"), None);
    assert_eq!(rig.gateway.contexts(), 1);
}

#[test]
fn all_of_the_call() {
    let mut rig = forked();
    assert_eq!(rig.ask(delete_of("c")).text_of("warning"), None);
    rig.assert_empty();
}
