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
