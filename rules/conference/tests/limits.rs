//! What is bounded, and what happens there.

#![allow(clippy::unwrap_used)]

mod net;

use std::time::Duration;

use carnet_conference::{Event, FetchError, Origin, Place};
use net::{FACTORY, Net, TEAM, Wish, config};

#[test]
fn a_factory_makes_so_many_rooms_and_no_more() {
    let mut some = config(1);
    some.limits.rooms = 2;
    let mut net = Net::with(some);
    net.enter("alice", FACTORY);
    net.join("bob", FACTORY, &Wish::default());
    assert_eq!(net.ue("bob").last_status(), Some(503));
    assert!(net.ue("bob").answer.clone().unwrap().has("Retry-After"));
    net.bye("alice");
    net.enter("bob", FACTORY);
}

#[test]
fn so_many_dialogs_and_open_tickets_and_no_more() {
    let mut some = config(1);
    some.limits.legs = 2;
    some.limits.opening = 1;
    let mut net = Net::with(some);
    net.kms_fails = Some(FetchError::TimedOut);
    net.join("alice", TEAM, &Wish::default());
    net.join("bob", TEAM, &Wish::default());
    assert_eq!(net.ue("bob").last_status(), Some(503), "one ticket is being opened");
    net.pass(Duration::from_secs(6));
    net.kms_fails = None;
    net.enter("alice", TEAM);
    net.enter("bob", TEAM);
    net.join("carol", TEAM, &Wish::default());
    assert_eq!(net.ue("carol").last_status(), Some(503));
}

#[test]
fn a_message_in_the_name_of_a_gateway_is_taken_from_where_that_is() {
    let mut some = config(1);
    let prefix = carnet_conference::Prefix { ip: "192.0.2.0".parse().unwrap(), bits: 24 };
    some.gateways[0].peers = vec![prefix];
    let mut net = Net::with(some);
    let mid = carnet_h248::MId::domain("m0.example");
    let message = carnet_h248::Message::new(3, mid, Vec::new());
    let mut admit = |ip: &str, place| {
        let origin = Origin { address: Some(ip.parse().unwrap()), place };
        let now = net.now;
        net.focus().admit_gateway(now, "m0", origin, &message)
    };
    assert!(admit("192.0.2.7", Place::Usual));
    assert!(!admit("192.0.3.7", Place::Usual));
    assert!(!admit("192.0.2.8", Place::Other), "it is here already, and this is no registration");
    assert!(!admit("192.0.2.7", Place::Outside));
    let now = net.now;
    assert!(!net.focus().admit_gateway(now, "m9", Origin { address: None, place: Place::Usual }, &message));
    net.settle();
    let told = net.events.iter().filter(|event| matches!(event, Event::ForeignControl { .. })).count();
    assert_eq!(told, 1, "and not once for each");
}

#[test]
fn a_large_room_fills_and_empties() {
    let mut net = Net::new();
    for _ in 0..120 {
        net.join("alice", TEAM, &Wish::messages());
        assert_eq!(net.ue("alice").last_status(), Some(200));
    }
    assert_eq!(net.members(TEAM).len(), 120);
    assert_eq!((net.mrfps[0].gateway.contexts(), net.mrfps[0].holes.len()), (1, 120));
    net.admin(|focus, now, wall| focus.close(now, wall, TEAM)).unwrap();
    assert!(net.mrfps[0].gateway.is_idle() && net.focus().load().legs == 0);
}
