//! One call after the other: offers, answers, deletes, on Carnet's own gateway.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_gateway::media::{Gate, Role};
use carnet_ng::Request;
use common::*;

#[test]
fn an_offer_an_answer_and_a_delete() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(Request::ping()).text_of("result"), Some("pong"));
    let seen = rig.sdp(offer("c1", "a", &msrp("192.0.2.1", 2855, "active")));
    assert_eq!(address(&seen, 0), rig.hole("core").local);
    assert!(seen.contains("a=path:msrp://192.0.2.1:2855/"), "{seen}");
    assert_eq!((rig.gateway.contexts(), rig.steering.load().calls), (1, 1));
    let context = rig.gateway.context_ids(0).next().unwrap();
    assert_eq!(rig.steering.call_of(context), Some("c1"));
    assert_eq!(rig.hole("core").settings.gate, Gate::Inactive);
    let seen = rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
    assert_eq!(address(&seen, 0), rig.hole("access").local);
    let (access, core) = (&rig.hole("access").settings, &rig.hole("core").settings);
    assert_eq!((access.gate, core.gate), (Gate::SendReceive, Gate::SendReceive));
    assert_eq!((access.role, core.role), (Role::Passive, Role::Active));
    let reply = rig.ask(delete("c1", "a"));
    assert_eq!(reply.text_of("result"), Some("ok"));
    assert_eq!(rig.steering.call_of(context), None);
    rig.assert_empty();
    assert!(rig.names().contains(&"media-released"), "{:?}", rig.names());
}
