//! Whole calls across one border.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Cause, Event, Side};
use carnet_event::Event as _;
use carnet_h248::association::Transport::Reliable;
use carnet_sip::Method;
use common::*;
use std::time::Duration;

/// Alice calls bob; both are registered at the same border.
#[test]
fn sealed_call_between_two_terminals() {
    let mut w = World::with_users(alg(Reliable));
    let offer = msrps("192.0.2.20", 2855, "actpass");
    let alice = Ua::new("alice", ALICE, "bob", "call-1@192.0.2.20");
    let invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    let mut lying = with_sdp(invite.clone(), &offer);
    lying.push_back("P-Asserted-Identity", "<sip:president@example.com>").unwrap();
    w.send(ALICE, ACCESS, &lying);

    // The offer at bob: addresses of the gateway, all else octet for octet.
    let at_bob = w.take_request(BOB, Method::Invite);
    assert_eq!(at_bob.request_uri().unwrap().as_str(), "sip:bob@192.0.2.30:5060");
    for name in ["From", "To", "Call-ID", "CSeq"] {
        assert_eq!(at_bob.header(name), invite.header(name));
    }
    assert_eq!(at_bob.header("P-Asserted-Identity").as_deref(), Some("<sip:alice@example.com>"));
    assert_eq!(at_bob.header("Max-Forwards").as_deref(), Some("69"));
    assert_eq!(at_bob.vias().unwrap().len(), 1);
    assert!(contact(&at_bob).ends_with("@192.0.2.1:5060"), "{}", contact(&at_bob));
    assert_eq!(at_bob.contacts().unwrap()[0].param("+sip.instance").as_deref(), Some("<urn:uuid:1>"));
    assert_eq!(changed(&offer, &body(&at_bob)), ["c=IN IP4 203.0.113.10", "m=message 30004 TCP/TLS/MSRP *"]);
    let context = w.gateway.state.values().next().unwrap().values().cloned().collect::<Vec<_>>();
    assert!(context.iter().all(|t| t.mode == "Inactive" && t.local.contains("TCP/TLS -")), "{context:#?}");
    assert!(context.iter().all(|t| t.local.contains("a=setup:actpass")), "{context:#?}");

    // Ringing, then the answer: bob waits, so alice connects.
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 180, None));
    let ringing = w.take_status(ALICE, 180);
    assert_eq!(ringing.top_via().unwrap().branch(), invite.top_via().unwrap().branch());
    let answer = msrps("192.0.2.30", 7394, "passive");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer)));
    let ok = w.take_status(ALICE, 200);
    assert_eq!(changed(&answer, &body(&ok)), ["c=IN IP4 203.0.113.10", "m=message 30002 TCP/TLS/MSRP *"]);
    let context: Vec<_> = w.gateway.state.values().next().unwrap().values().cloned().collect();
    let (to_alice, to_bob) = (&context[0], &context[1]);
    assert!(context.iter().all(|t| t.mode == "SendReceive"));
    assert!(to_alice.local.contains("a=setup:passive") && to_alice.remote.contains("m=- 2855 TCP/TLS -"));
    assert_eq!(to_alice.filter.as_deref(), Some("192.0.2.20/32"));
    assert!(to_bob.local.contains("a=setup:active") && to_bob.remote.contains("c=IN IP4 192.0.2.30"));
    assert!(to_bob.remote.contains("m=- 7394 TCP/TLS -") && to_bob.remote.contains("a=setup:passive"));
    assert_eq!(to_bob.filter, None, "the gateway connects there");

    // ACK and BYE go through, under the names of the dialog.
    let mut alice = alice;
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    let ack = w.take_request(BOB, Method::Ack);
    assert_eq!(ack.request_uri().unwrap().as_str(), "sip:bob@192.0.2.30:5060");
    let bye = w.request(&bob, Method::Bye, &contact(&at_bob), 100);
    w.send(BOB, ACCESS, &bye);
    let at_alice = w.take_request(ALICE, Method::Bye);
    assert_eq!(at_alice.header("CSeq").as_deref(), Some("100 BYE"));
    assert_eq!(at_alice.request_uri().unwrap().as_str(), "sip:alice@192.0.2.20:5060");
    assert_eq!(w.gateway.contexts(), 0, "the gateway is free as soon as BYE passes");
    w.send(ALICE, ACCESS, &alice.answer(&at_alice, 200, None));
    w.take_status(BOB, 200);
    let ended =
        Event::CallEnded { call_id: "call-1@192.0.2.20".into(), cause: Cause::Bye(Side::Callee), said: None };
    assert!(w.events.contains(&ended));
    let call: Vec<_> = w.events.iter().filter(|e| e.call_id().is_some()).map(Event::name).collect();
    assert_eq!(
        call,
        ["call-started", "plan-made", "media-reserved", "call-up", "call-ended", "media-released"]
    );
    w.assert_empty();
}

/// Over the core: the next hop by the routing table, IPv6 media there.
#[test]
fn sealed_call_to_another_domain() {
    let mut w = World::with_users(alg(Reliable));
    let offer = msrps("192.0.2.20", 9, "active");
    let alice = Ua::new("alice", ALICE, "carol@other.example", "call-2");
    let invite = w.request(&alice, Method::Invite, "sip:carol@other.example", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite, &offer));
    let at_peer = w.take_request(PEER, Method::Invite);
    assert_eq!(at_peer.request_uri().unwrap().as_str(), "sip:carol@other.example");
    assert!(contact(&at_peer).ends_with("@198.51.100.1:5060"));
    assert_eq!(
        changed(&offer, &body(&at_peer)),
        ["c=IN IP6 2001:db8:1::10", "m=message 30004 TCP/TLS/MSRP *"],
        "the active side's port is the gateway's as well"
    );
    let ends = w.gateway.only();
    assert!(
        ends["access"].local.contains("a=setup:passive") && ends["access"].remote.contains("m=- 9 TCP/TLS -")
    );
    assert!(ends["core"].local.contains("a=setup:active") && ends["core"].remote.is_empty());
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    let mut answer = carol.answer(&at_peer, 200, Some(&msrps("2001:db8:2::99", 2855, "passive")));
    answer.push_front("Record-Route", "<sip:198.51.100.77:5060;lr>").unwrap();
    w.send(PEER, CORE, &answer);
    let ok = w.take_status(ALICE, 200);
    assert!(!ok.has("Record-Route"), "the core's proxies are hidden");
    let mut alice = alice;
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    let ack = w.take_request("198.51.100.77:5060", Method::Ack);
    assert_eq!(ack.header("Route").as_deref(), Some("<sip:198.51.100.77:5060;lr>"));
    assert_eq!(ack.request_uri().unwrap().as_str(), format!("sip:carol@{PEER}"));
    let ends = w.gateway.only();
    assert!(ends["core"].remote.contains("c=IN IP6 2001:db8:2::99") && ends["core"].mode == "SendReceive");
    let bye = w.request(&alice, Method::Bye, &contact(&ok), 2);
    w.send(ALICE, ACCESS, &bye);
    let bye = w.take_request("198.51.100.77:5060", Method::Bye);
    w.send("198.51.100.77:5060", CORE, &carol.answer(&bye, 200, None));
    w.take_status(ALICE, 200);
    w.assert_empty();
}

#[test]
fn the_plan_and_the_counters_are_told() {
    let mut w = World::with_users(alg(Reliable));
    let alice = Ua::new("alice", ALICE, "bob", "call-3");
    let invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite, &msrps("192.0.2.20", 2855, "actpass")));
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 486, None));
    w.take_status(ALICE, 486);
    let plan =
        w.events.iter().find_map(|e| if let Event::PlanMade { plan, .. } = e { Some(plan) } else { None });
    assert_eq!(
        plan.unwrap().to_string(),
        "line 0 (message TCP/TLS/MSRP): e2e over TCP/TLS, TLS is asked for from end to end and passes through"
    );
    let octets = w.events.iter().find_map(|e| match e {
        Event::MediaReleased { octets, .. } => Some(octets.clone()),
        _ => None,
    });
    assert_eq!(octets.unwrap().caller.received, 51200);
    w.pass(Duration::from_secs(1));
    w.assert_empty();
}
