//! No room for a call, in the words that each kind of SIP server understands.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_ng::Value;
use common::{Rig, msrp, offer};

/// OpenSIPS 3.6 and later take the next node of the set at this text of an error and at no other; Kamailio
/// says that it knows `load limit`.
#[test]
fn who_does_not_know_the_load_limit_is_told_of_an_error() {
    let mut rig = Rig::new();
    rig.steering.retire();
    let sdp = &msrp("192.0.2.1", 2855, "active");
    let told = rig.ask(offer("one", "a", sdp));
    assert_eq!(told.text_of("result"), Some("error"));
    assert_eq!(told.text_of("error-reason"), Some("Parallel session limit reached"));
    assert_eq!(told.text_of("message"), Some("this node is being drained"));
    let known = offer("one", "a", sdp).with("supports", Value::texts(["something", "load limit"]));
    assert_eq!(rig.ask(known).text_of("result"), Some("load limit"));
    rig.assert_empty();
}

/// As any other request whose option has a value that it cannot have.
#[test]
fn a_limit_that_is_none_is_an_error_of_a_list() {
    let mut rig = Rig::new();
    let list = |limit| carnet_ng::Request::new(carnet_ng::Command::List, "", "").with("limit", limit);
    assert_eq!(rig.ask(list(Value::Integer(5))).text_of("result"), Some("ok"));
    for wrong in [Value::Integer(-1), Value::text("all"), Value::List(Vec::new())] {
        let told = rig.ask(list(wrong));
        assert_eq!(told.text_of("result"), Some("error"));
        assert!(told.text_of("error-reason").is_some_and(|why| why.contains("limit")), "{told:?}");
    }
}
