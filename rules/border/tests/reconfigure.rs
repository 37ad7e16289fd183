//! Other settings for a border with calls and users.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Event, Gateway, Network, Registration, Route};
use carnet_h248::MId;
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{Method, Transport};
use common::*;

#[test]
fn a_user_who_is_gone_is_not_registered_any_more() {
    let mut w = World::with_users(alg(Reliable));
    let mut other = alg(Reliable);
    let Registration::Local { users, .. } = &mut other.registration else { panic!() };
    users.retain(|user| user.username == "alice");
    w.border.reconfigure(w.now, other).unwrap();
    w.settle();
    let gone = |e: &&Event| matches!(e, Event::Unregistered { aor, .. } if aor.contains("bob"));
    assert_eq!(w.events.iter().filter(gone).count(), 1);
    assert_eq!(w.events.iter().filter(|e| matches!(e, Event::Unregistered { .. })).count(), 1);
}

#[test]
fn the_next_call_goes_by_the_new_route() {
    let mut w = World::with_users(alg(Reliable));
    let mut other = alg(Reliable);
    let hop = "198.51.100.77:5060";
    other.routes =
        vec![Route { domain: "*".into(), network: "core".into(), hop: Some(uri(&format!("sip:{hop}"))) }];
    w.border.reconfigure(w.now, other).unwrap();
    let alice = Ua::new("alice", ALICE, "carol", "c-1");
    let options = w.request(&alice, Method::Options, "sip:carol@elsewhere.example", 1);
    w.send(ALICE, ACCESS, &options);
    w.take_request(hop, Method::Options);
}

#[test]
fn a_gateway_that_is_not_named_gets_nothing_new_and_one_that_is_may_register() {
    let mut w = World::with_gateways(1, |_| {});
    let mut other = alg(Reliable);
    other.gateways = vec![Gateway::new("agw2", MId::domain("agw2.example.com"), Reliable)];
    w.border.reconfigure(w.now, other).unwrap();
    let status = |w: &World, name: &str| w.border.gateways().into_iter().any(|g| &*g.control.name == name);
    assert!(status(&w, "agw1") && status(&w, "agw2"));
    w.more.insert("agw2".into(), gateway::ScriptedGateway::new("agw2.example.com"));
    w.border.gateway_connected(w.now, "agw2");
    w.scripted(2).register();
    w.settle();
    assert!(w.events.iter().any(|e| matches!(e, Event::GatewayUp { gateway, .. } if &**gateway == "agw2")));
}

#[test]
fn what_calls_are_built_on_stays() {
    let mut w = World::with_users(alg(Reliable));
    let mut other = alg(Reliable);
    other.networks[0].realm = "another".into();
    assert!(w.border.reconfigure(w.now, other).unwrap_err().contains("network"));
    let mut other = alg(Reliable);
    other.registration = Registration::None;
    assert!(w.border.reconfigure(w.now, other).unwrap_err().contains("REGISTER"));
    let mut other = alg(Reliable);
    other.networks[1].listen.clear();
    assert!(w.border.reconfigure(w.now, other).is_err());
    w.register("alice", ALICE);
}

#[test]
fn a_network_comes_and_goes_at_a_place_of_its_own() {
    let mut w = World::with_users(alg(Reliable));
    let third = |w: &mut World, there: bool| {
        let mut other = alg(Reliable);
        if there {
            // Before the others, which keep their places.
            let mut third = Network::new("a-third", uri("sip:203.0.113.1:5060"), "third");
            third.listen = vec![(Transport::Udp, "203.0.113.1:5060".parse().unwrap())];
            other.networks.insert(0, third);
            other
                .routes
                .insert(0, Route { domain: "third.example".into(), network: "a-third".into(), hop: None });
        }
        w.border.reconfigure(w.now, other).unwrap();
    };
    third(&mut w, true);
    let peer = "203.0.113.77:5060";
    let carl = Ua::new("carl", peer, "alice", "c-9");
    let options = w.request(&carl, Method::Options, "sip:alice@example.com", 1);
    w.send(peer, "203.0.113.1:5060", &options);
    w.take_request(ALICE, Method::Options);
    let sockets = (Transport::Udp, "203.0.113.1:5060".parse().unwrap());
    assert!(w.border.is_in_use(sockets));
    third(&mut w, false);
    assert!(!w.border.is_in_use(sockets), "there is no call in it");
    let options = w.request(&carl, Method::Options, "sip:alice@example.com", 2);
    w.send(peer, "203.0.113.1:5060", &options);
    w.take_status(peer, 503);
    third(&mut w, true);
    let options = w.request(&carl, Method::Options, "sip:alice@example.com", 3);
    w.send(peer, "203.0.113.1:5060", &options);
    w.take_request(ALICE, Method::Options);
}

#[test]
fn who_registered_in_a_network_that_is_gone_is_not_registered_any_more() {
    let mut w = World::with_users(alg(Reliable));
    let mut other = alg(Reliable);
    other.networks.remove(0);
    w.border.reconfigure(w.now, other).unwrap();
    w.settle();
    assert_eq!(w.events.iter().filter(|e| matches!(e, Event::Unregistered { .. })).count(), 2);
}
