//! Media that is offered anew in a call that stands: another MSRP session (RFC 4975 §5.4) has a context of its
//! own, and a call whose gateway is lost waits for one.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Cause, Event};
use carnet_sip::{Message, Method};
use common::*;
use std::time::Duration;

const WAITS: Duration = Duration::from_secs(60);

/// Two gateways, and calls that wait for one when theirs is lost.
fn world() -> World {
    World::with_gateways(2, |config| config.timers.media_return = WAITS)
}

/// A description of the n-th session of its end.
fn session(ip: &str, port: u16, setup: &str, n: u16) -> String {
    msrps(ip, port, setup).replace("kjhd37s2s20w2a", &format!("session{n}"))
}

struct Up {
    alice: Ua,
    bob: Ua,
    /// The Contacts of the border at alice and at bob.
    contacts: [String; 2],
    cseq: u32,
}

fn up(w: &mut World) -> Up {
    let mut alice = Ua::new("alice", ALICE, "bob", "call-1");
    let invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite, &session("192.0.2.20", 2855, "actpass", 1)));
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&session("192.0.2.30", 7394, "passive", 1))));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    Up { alice, bob, contacts: [contact(&ok), contact(&at_bob)], cseq: 1 }
}

/// Alice offers her n-th session; the request as she sent it.
fn offer(w: &mut World, call: &mut Up, n: u16) -> Message {
    call.cseq += 1;
    let invite = w.request(&call.alice, Method::Invite, &call.contacts[0], call.cseq);
    let invite = with_sdp(invite, &session("192.0.2.20", 2855, "actpass", n));
    w.send(ALICE, ACCESS, &invite);
    invite
}

fn answer(w: &mut World, call: &Up, n: u16) -> (String, String) {
    let at_bob = w.take_request(BOB, Method::Invite);
    let answer = session("192.0.2.30", 7394, "passive", n);
    w.send(BOB, ACCESS, &call.bob.answer(&at_bob, 200, Some(&answer)));
    let ok = w.take_status(ALICE, 200);
    let ack = w.request(&call.alice, Method::Ack, &call.contacts[0], call.cseq);
    w.send(ALICE, ACCESS, &ack);
    // What was repeated before it was answered comes first.
    while *w.take(BOB).method() != Method::Ack {}
    (body(&at_bob), body(&ok))
}

fn acknowledge(w: &mut World, invite: &Message, refusal: &Message) {
    let mut ack = Message::request(Method::Ack, invite.request_uri().unwrap().clone());
    for name in ["Via", "From", "Call-ID"] {
        ack.copy_lines(name, invite);
    }
    ack.copy_lines("To", refusal);
    ack.push_back("CSeq", &format!("{} ACK", invite.cseq().unwrap().number)).unwrap();
    w.send(ALICE, ACCESS, &ack);
}

fn contexts(w: &mut World) -> [usize; 2] {
    [1, 2].map(|n| w.scripted(n).contexts())
}

fn ended(w: &World) -> Vec<Cause> {
    let cause = |e: &Event| if let Event::CallEnded { cause, .. } = e { Some(*cause) } else { None };
    w.events.iter().filter_map(cause).collect()
}

/// The gateway that has the call.
fn holder(w: &mut World) -> usize {
    if w.scripted(1).contexts() == 1 { 1 } else { 2 }
}

fn port(sdp: &str) -> &str {
    sdp.split("m=message ").nth(1).unwrap().split(' ').next().unwrap()
}

/// Another session has other addresses, and the context of the one before is given back when both have agreed.
#[test]
fn another_session_has_a_context_of_its_own() {
    let mut w = world();
    let mut call = up(&mut w);
    offer(&mut w, &mut call, 1);
    answer(&mut w, &call, 1);
    assert_eq!(contexts(&mut w).iter().sum::<usize>(), 1, "what is unchanged stays");
    for n in [2, 3] {
        offer(&mut w, &mut call, n);
        assert_eq!(contexts(&mut w).iter().sum::<usize>(), 2, "until it is answered both are there");
        let (at_bob, at_alice) = answer(&mut w, &call, n);
        let holder = holder(&mut w);
        let ours = w.scripted(holder).locals();
        for said in [&at_bob, &at_alice] {
            let there = format!("m=- {} ", port(said));
            assert!(ours.iter().any(|local| local.contains(&there)), "{said}\n{ours:#?}");
        }
        assert!(at_bob.contains(&format!("/session{n};tcp")), "what the ends say passes: {at_bob}");
        assert_eq!(contexts(&mut w).iter().sum::<usize>(), 1);
    }
    assert_eq!(ended(&w), []);
}

/// Bob's path tells bob's sessions apart, and so do his offers.
#[test]
fn the_called_side_may_offer_it() {
    let mut w = world();
    let call = up(&mut w);
    let invite = w.request(&call.bob, Method::Invite, &call.contacts[1], 1);
    w.send(BOB, ACCESS, &with_sdp(invite, &session("192.0.2.30", 7394, "actpass", 2)));
    assert_eq!(contexts(&mut w).iter().sum::<usize>(), 2);
    let at_alice = w.take_request(ALICE, Method::Invite);
    let answer = session("192.0.2.20", 2855, "passive", 2);
    w.send(ALICE, ACCESS, &call.alice.answer(&at_alice, 200, Some(&answer)));
    w.take_status(BOB, 200);
    let ack = w.request(&call.bob, Method::Ack, &call.contacts[1], 1);
    w.send(BOB, ACCESS, &ack);
    assert_eq!(contexts(&mut w).iter().sum::<usize>(), 1);
}

/// One that is refused leaves what was.
#[test]
fn a_refused_one_changes_nothing() {
    let mut w = world();
    let mut call = up(&mut w);
    let invite = offer(&mut w, &mut call, 2);
    let at_bob = w.take_request(BOB, Method::Invite);
    w.send(BOB, ACCESS, &call.bob.answer(&at_bob, 488, None));
    let refusal = w.take_status(ALICE, 488);
    acknowledge(&mut w, &invite, &refusal);
    w.take_request(BOB, Method::Ack);
    assert_eq!((contexts(&mut w).iter().sum::<usize>(), ended(&w)), (1, vec![]));
    offer(&mut w, &mut call, 3);
    answer(&mut w, &call, 3);
    assert_eq!(contexts(&mut w).iter().sum::<usize>(), 1);
}

/// The gateway is lost: the call waits, and what is offered anew is on the other one.
#[test]
fn a_call_whose_gateway_is_lost_goes_on_at_another_one() {
    let mut w = world();
    let mut call = up(&mut w);
    let first = holder(&mut w);
    w.scripted(first).dead = true;
    w.pass(Duration::from_secs(15));
    assert!(w.names().contains(&"gateway-lost") && ended(&w).is_empty());
    assert!(w.try_take(ALICE).is_none() && w.try_take(BOB).is_none());
    offer(&mut w, &mut call, 2);
    answer(&mut w, &call, 2);
    let other = 3 - first;
    assert_eq!(w.scripted(other).contexts(), 1);
    // What it waited for has come: it ends when somebody ends it.
    w.pass(WAITS * 3);
    assert_eq!(ended(&w), []);
    let bye = w.request(&call.alice, Method::Bye, &call.contacts[0], 9);
    w.send(ALICE, ACCESS, &bye);
    let at_bob = w.take_request(BOB, Method::Bye);
    w.send(BOB, ACCESS, &call.bob.answer(&at_bob, 200, None));
    w.take_status(ALICE, 200);
    assert_eq!(w.scripted(other).contexts(), 0);
}

/// The client is faster than the heartbeat: the gateway that does not answer is not known to be lost yet.
#[test]
fn an_offer_that_comes_before_the_loss_is_noticed() {
    let mut w = world();
    let mut call = up(&mut w);
    let first = holder(&mut w);
    w.scripted(first).dead = true;
    offer(&mut w, &mut call, 2);
    w.pass(Duration::from_secs(20));
    // Asked first or second, the one that is there has it in the end.
    answer(&mut w, &call, 2);
    assert_eq!((w.scripted(3 - first).contexts(), ended(&w)), (1, vec![]));
    w.pass(WAITS * 3);
    assert_eq!(ended(&w), []);
}

/// Without any gateway the offer is refused with 503 and the call stands; when one is back it goes on.
#[test]
fn without_a_gateway_it_is_refused_and_may_come_again() {
    let mut w = world();
    let mut call = up(&mut w);
    for n in [1, 2] {
        w.scripted(n).dead = true;
    }
    w.pass(Duration::from_secs(15));
    let invite = offer(&mut w, &mut call, 2);
    let refusal = w.take_status(ALICE, 503);
    assert!(refusal.has("Retry-After"));
    acknowledge(&mut w, &invite, &refusal);
    w.scripted(1).dead = false;
    w.scripted(1).state.clear();
    w.scripted(1).register();
    w.settle();
    offer(&mut w, &mut call, 3);
    answer(&mut w, &call, 3);
    assert_eq!((w.scripted(1).contexts(), ended(&w)), (1, vec![]));
}

/// Nobody offers anything: both ends are told, with the reason.
#[test]
fn a_call_that_waits_in_vain_ends() {
    let mut w = world();
    up(&mut w);
    let first = holder(&mut w);
    w.scripted(first).dead = true;
    w.pass(Duration::from_secs(30));
    assert_eq!(ended(&w), []);
    w.pass(WAITS);
    for at in [ALICE, BOB] {
        let bye = w.take_request(at, Method::Bye);
        let reason = bye.header("Reason").unwrap().into_owned();
        assert_eq!(reason, "SIP;cause=503;text=\"the media gateway was lost\"");
    }
    assert_eq!(ended(&w), [Cause::GatewayLost]);
}

/// A call that is not answered yet has nobody who could offer anew: it ends at once.
#[test]
fn a_call_that_rings_ends_at_once() {
    let mut w = world();
    let alice = Ua::new("alice", ALICE, "bob", "call-1");
    let invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite, &session("192.0.2.20", 2855, "actpass", 1)));
    w.take_request(BOB, Method::Invite);
    let first = holder(&mut w);
    w.scripted(first).dead = true;
    w.pass(Duration::from_secs(15));
    w.take_status(ALICE, 503);
    assert_eq!(ended(&w), [Cause::GatewayLost]);
}

/// The gateway says that it has lost one context: that call waits.
#[test]
fn a_context_that_is_gone_is_made_anew() {
    let mut w = World::with_gateways(1, |config| config.timers.media_return = WAITS);
    let mut call = up(&mut w);
    w.gateway.state.clear();
    w.gateway.audits = true;
    w.gateway.change("ROOT", carnet_h248::Method::Disconnected, 900);
    w.settle();
    assert_eq!(ended(&w), []);
    w.gateway.audits = false;
    offer(&mut w, &mut call, 2);
    answer(&mut w, &call, 2);
    assert_eq!((w.gateway.contexts(), ended(&w)), (1, vec![]));
}
