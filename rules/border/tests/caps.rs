//! What calls may take of a network: sessions, sessions a user and an address, bandwidth.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Cap, Caps, Event};
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{Message, Method};
use common::*;
use std::time::Duration;

fn world(adjust: impl FnOnce(&mut [carnet_border::Network])) -> World {
    let mut config = alg(Reliable);
    adjust(&mut config.networks);
    let mut w = World::with_users(config);
    w.events.clear();
    w
}

/// Somebody calls somebody; what the caller hears first but 100.
fn call(w: &mut World, from: (&str, &str), to: &str, id: &str, sdp: &str) -> Option<Message> {
    let (user, at) = from;
    let ua = Ua::new(user, at, "x", id);
    let invite = with_sdp(w.request(&ua, Method::Invite, to, 1), sdp);
    w.send(at, if at == PEER { CORE } else { ACCESS }, &invite);
    heard(w, at)
}

/// The first response that reached an address.
fn heard(w: &mut World, at: &str) -> Option<Message> {
    let inbox = w.inbox.get_mut(&addr(at))?;
    let place = inbox.iter().position(|m| m.status().is_some_and(|s| s != 100))?;
    inbox.remove(place)
}

fn by_alice(w: &mut World, id: &str) -> Option<Message> {
    call(w, ("alice", ALICE), "sip:carol@other.example", id, &msrps("192.0.2.20", 2855, "actpass"))
}

fn by_carol(w: &mut World, to: &str, id: &str) -> Option<Message> {
    let from = ("carol@other.example", PEER);
    call(w, from, to, id, &msrps("2001:db8:2::99", 2855, "actpass"))
}

fn caps(w: &World) -> Vec<(String, Cap)> {
    let cap = |e: &Event| match e {
        Event::CapReached { network, cap, .. } => Some((network.clone(), *cap)),
        _ => None,
    };
    w.events.iter().filter_map(cap).collect()
}

#[track_caller]
fn refused(response: Option<Message>, status: u16) {
    let response = response.unwrap();
    assert_eq!(response.status(), Some(status), "{}", text(&response));
    assert_eq!(response.header("Retry-After").as_deref(), Some("10"), "{}", text(&response));
}

/// All calls end by their ringing timer, and nothing is counted any more.
fn run_out(w: &mut World) {
    w.pass(Duration::from_secs(400));
    w.inbox.clear();
    let load = w.border.load();
    assert_eq!((load.live, load.counted), (0, 0), "{load:?}");
}

#[test]
fn sessions_of_a_network() {
    for network in [0, 1] {
        let mut w = world(|n| n[network].caps = Caps { sessions: Some(2), ..Caps::default() });
        assert!(by_alice(&mut w, "a").is_none());
        assert!(by_carol(&mut w, "sip:bob@example.com", "b").is_none());
        refused(by_alice(&mut w, "c"), 503);
        refused(by_carol(&mut w, "sip:bob@example.com", "d"), 503);
        let name = ["access", "core"][network].to_owned();
        assert_eq!(caps(&w), vec![(name, Cap::Sessions); 2]);
        assert_eq!(w.border.load().live, 2);
        run_out(&mut w);
        assert!(by_alice(&mut w, "e").is_none(), "there is room again");
    }
}

#[test]
fn sessions_of_a_user_made_and_taken() {
    let mut w = world(|n| n[0].caps = Caps { per_user: Some(2), ..Caps::default() });
    assert!(by_alice(&mut w, "a").is_none());
    assert!(by_carol(&mut w, "sip:alice@example.com", "b").is_none());
    refused(by_alice(&mut w, "c"), 503);
    // RFC 3261 §21.4.24: who is called is busy.
    refused(by_carol(&mut w, "sip:alice@example.com", "d"), 486);
    assert!(by_carol(&mut w, "sip:bob@example.com", "e").is_none(), "others are not");
    assert_eq!(caps(&w).iter().map(|(_, c)| *c).collect::<Vec<_>>(), [Cap::Caller, Cap::Callee]);
    run_out(&mut w);
}

#[test]
fn sessions_of_an_address() {
    let mut w = world(|n| n[1].caps = Caps { per_source: Some(1), ..Caps::default() });
    assert!(by_carol(&mut w, "sip:bob@example.com", "a").is_none());
    refused(by_carol(&mut w, "sip:alice@example.com", "b"), 503);
    assert_eq!(caps(&w), [("core".to_owned(), Cap::Source)]);
    run_out(&mut w);
}

/// Of IPv6 a subscriber has a whole network.
#[test]
fn addresses_of_one_ipv6_network() {
    let mut w = world(|n| n[1].caps = Caps { per_source: Some(1), ..Caps::default() });
    let sdp = msrps("2001:db8:2::99", 2855, "actpass");
    let mut from = |at: &str, id: &str| {
        let ua = Ua::new("carol@other.example", at, "bob", id);
        let invite = with_sdp(w.request(&ua, Method::Invite, "sip:bob@example.com", 1), &sdp);
        w.send(at, CORE, &invite);
        heard(&mut w, at).map(|m| m.status().unwrap())
    };
    assert_eq!(from("[2001:db8:2:1::1]:5060", "a"), None);
    assert_eq!(from("[2001:db8:2:1:ffff::2]:5060", "b"), Some(503));
    assert_eq!(from("[2001:db8:2:2::1]:5060", "c"), None);
}

/// Branches of one INVITE are one call of its caller and of its callee.
#[test]
fn a_fork_is_one_call() {
    const BOB2: &str = "192.0.2.31:5060";
    let mut w = world(|n| n[0].caps = Caps { per_user: Some(1), sessions: Some(1), ..Caps::default() });
    w.register("bob", BOB2);
    assert!(by_carol(&mut w, "sip:bob@example.com", "a").is_none());
    w.take_request(BOB, Method::Invite);
    w.take_request(BOB2, Method::Invite);
    refused(by_carol(&mut w, "sip:bob@example.com", "b"), 503);
    run_out(&mut w);
}

/// Emergency calls, and those whose priority is trusted, are let in and count.
#[test]
fn urgent_calls_are_let_in() {
    let none = Caps { sessions: Some(0), per_user: Some(0), per_source: Some(0), bandwidth: Some(0) };
    let mut w = world(|n| {
        for network in n {
            network.caps = none;
            network.rate = Some((1000, 1000));
        }
    });
    refused(by_alice(&mut w, "a"), 503);
    let sdp = msrps("192.0.2.20", 2855, "actpass");
    assert!(call(&mut w, ("alice", ALICE), "urn:service:sos", "b", &sdp).is_none());
    let carol = Ua::new("carol@other.example", PEER, "bob", "c");
    let mut invite = with_sdp(w.request(&carol, Method::Invite, "sip:bob@example.com", 1), &sdp);
    invite.push_back("Resource-Priority", "ets.0").unwrap();
    w.send(PEER, CORE, &invite);
    assert!(heard(&mut w, PEER).is_none());
    assert_eq!(w.border.load().live, 2);
    // What a terminal says of priority is not believed.
    let alice = Ua::new("alice", ALICE, "x", "d");
    let mut invite = with_sdp(w.request(&alice, Method::Invite, "sip:carol@other.example", 1), &sdp);
    invite.push_back("Resource-Priority", "ets.0").unwrap();
    w.send(ALICE, ACCESS, &invite);
    w.take_status(ALICE, 503);
    run_out(&mut w);
}

/// The table of calls has a little room for them, and an end.
#[test]
fn urgent_calls_have_room_in_a_full_table() {
    let mut config = alg(Reliable);
    config.limits.calls = 1;
    let mut w = World::with_users(config);
    let sdp = msrps("192.0.2.20", 2855, "actpass");
    assert!(by_alice(&mut w, "a").is_none());
    assert_eq!(by_alice(&mut w, "b").unwrap().status(), Some(503));
    assert!(call(&mut w, ("alice", ALICE), "urn:service:sos", "c", &sdp).is_none());
    let last = call(&mut w, ("alice", ALICE), "urn:service:sos", "d", &sdp);
    assert_eq!(last.unwrap().status(), Some(503));
    run_out(&mut w);
}

fn wide(port: u16, lines: &str) -> String {
    msrps("192.0.2.20", port, "actpass").replacen("a=accept", &format!("{lines}a=accept"), 1)
}

/// By what the line says, else by the rate of the network.
#[test]
fn bandwidth_of_a_network() {
    let limited = |rate: Option<(u64, u64)>| {
        world(|n| {
            n[0].rate = rate;
            n[0].caps = Caps { bandwidth: Some(30_000), ..Caps::default() };
        })
    };
    let to = "sip:carol@other.example";
    let alice = ("alice", ALICE);
    // 80 kbit/s are 10,000 octets a second; 160,000 bit/s are 20,000.
    let mut w = limited(None);
    assert!(call(&mut w, alice, to, "a", &wide(1, "b=AS:80\r\n")).is_none());
    assert!(call(&mut w, alice, to, "b", &wide(2, "b=AS:8000\r\nb=TIAS:160000\r\n")).is_none());
    refused(call(&mut w, alice, to, "c", &wide(3, "b=AS:8\r\n")), 503);
    assert!(call(&mut w, alice, to, "d", &wide(4, "")).is_none(), "says nothing, takes nothing");
    assert_eq!(caps(&w), [("access".to_owned(), Cap::Bandwidth)]);
    run_out(&mut w);
    let mut w = limited(Some((15_000, 1500)));
    assert!(call(&mut w, alice, to, "a", &wide(1, "")).is_none());
    assert!(
        call(&mut w, alice, to, "b", &wide(1, "b=AS:8000\r\n")).is_none(),
        "it gets no more than the rate"
    );
    refused(call(&mut w, alice, to, "c", &wide(1, "")), 503);
    run_out(&mut w);
}

/// A re-INVITE that wants too much is refused, and the call is as it was; what is less comes back.
#[test]
fn bandwidth_of_later_offers() {
    let mut w = world(|n| n[0].caps = Caps { bandwidth: Some(30_000), ..Caps::default() });
    let mut alice = Ua::new("alice", ALICE, "carol@other.example", "call-b");
    let invite =
        with_sdp(w.request(&alice, Method::Invite, "sip:carol@other.example", 1), &wide(2855, "b=AS:80\r\n"));
    w.send(ALICE, ACCESS, &invite);
    let at_peer = w.take_request(PEER, Method::Invite);
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    let answer = msrps("2001:db8:2::99", 7000, "passive");
    w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&answer)));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(PEER, Method::Ack);
    let again = |w: &mut World, cseq: u32, lines: &str, accepted: bool| {
        let invite = with_sdp(w.request(&alice, Method::Invite, &contact(&ok), cseq), &wide(2855, lines));
        w.send(ALICE, ACCESS, &invite);
        if accepted {
            let at_peer = w.take_request(PEER, Method::Invite);
            w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&answer)));
            w.take_status(ALICE, 200);
            let ack = w.request(&alice, Method::Ack, &contact(&ok), cseq);
            w.send(ALICE, ACCESS, &ack);
            w.take_request(PEER, Method::Ack);
        } else {
            w.take_status(ALICE, 503);
        }
    };
    again(&mut w, 2, "b=AS:800\r\n", false);
    again(&mut w, 3, "b=AS:240\r\n", true);
    again(&mut w, 4, "b=AS:248\r\n", false);
    // Less makes room for others.
    let to = "sip:carol@other.example";
    assert!(call(&mut w, ("alice", ALICE), to, "o", &wide(1, "b=AS:8\r\n")).unwrap().status() == Some(503));
    again(&mut w, 5, "b=AS:16\r\n", true);
    assert!(call(&mut w, ("alice", ALICE), to, "p", &wide(1, "b=AS:200\r\n")).is_none());
    let bye = w.request(&alice, Method::Bye, &contact(&ok), 90);
    w.send(ALICE, ACCESS, &bye);
    let at_peer = w.try_take(PEER).into_iter().chain(std::iter::from_fn(|| w.try_take(PEER)));
    let bye = at_peer.into_iter().find(|m| *m.method() == Method::Bye).unwrap();
    w.send(PEER, CORE, &carol.answer(&bye, 200, None));
    run_out(&mut w);
}

/// `tman/sdr` of what a peer sends is what the other end says that it takes, if that is less.
#[test]
fn the_rate_is_what_the_far_end_takes() {
    let mut w = world(|n| n.iter_mut().for_each(|n| n.rate = Some((50_000, 5_000))));
    let alice = ("alice", ALICE);
    assert!(call(&mut w, alice, "sip:carol@other.example", "a", &wide(2855, "b=AS:80\r\n")).is_none());
    let rate = |w: &World, realm: &str| w.gateway.only()[realm].control.clone();
    let has = |rate: Vec<String>, octets: &str| {
        assert!(rate.contains(&format!("tman/sdr={octets}")), "{rate:?}");
    };
    has(rate(&w, "core"), "10000");
    has(rate(&w, "access"), "50000");
    let at_peer = w.take_request(PEER, Method::Invite);
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    let answer = msrps("2001:db8:2::99", 7000, "passive").replacen("a=accept", "b=AS:800\r\na=accept", 1);
    w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&answer)));
    has(rate(&w, "core"), "10000");
    has(rate(&w, "access"), "50000");
}
