//! What goes wrong, and that nothing is left behind.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Cause, Event, Side};
use carnet_h248::Verb;
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{Hop, Message, Method, Silence, Transport};
use common::*;
use std::time::Duration;

fn offer() -> String {
    msrps("192.0.2.20", 2855, "actpass")
}

fn answer() -> String {
    msrps("192.0.2.30", 7394, "passive")
}

fn call(w: &mut World) -> (Ua, Message) {
    call_with(w, &offer())
}

fn call_with(w: &mut World, sdp: &str) -> (Ua, Message) {
    let alice = Ua::new("alice", ALICE, "bob", "call-f");
    let invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    let invite = with_sdp(invite, sdp);
    w.send(ALICE, ACCESS, &invite);
    (alice, invite)
}

/// An answered call: alice, bob, the INVITE at bob, the 200 at alice.
fn up(w: &mut World) -> (Ua, Ua, Message, Message) {
    let (mut alice, _) = call(w);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    (alice, bob, at_bob, ok)
}

fn cancel(invite: &Message) -> Message {
    let mut m = Message::request(Method::Cancel, invite.request_uri().unwrap().clone());
    for name in ["Via", "From", "To", "Call-ID"] {
        m.copy_lines(name, invite);
    }
    let number = invite.cseq().unwrap().number;
    m.push_back("CSeq", &format!("{number} CANCEL")).unwrap();
    m
}

fn ack_of(invite: &Message, refusal: &Message) -> Message {
    let mut m = Message::request(Method::Ack, invite.request_uri().unwrap().clone());
    for name in ["Via", "From", "Call-ID"] {
        m.copy_lines(name, invite);
    }
    m.copy_lines("To", refusal);
    m.push_back("CSeq", &format!("{} ACK", invite.cseq().unwrap().number)).unwrap();
    m
}

fn cause(w: &World) -> Cause {
    let ends: Vec<_> = w
        .events
        .iter()
        .filter_map(|e| if let Event::CallEnded { cause, .. } = e { Some(*cause) } else { None })
        .collect();
    assert_eq!(ends.len(), 1, "{:#?}", w.events);
    ends[0]
}

/// Takes the refusal at alice, acknowledges it and checks that all is gone.
fn refused(w: &mut World, invite: &Message, status: u16) -> Message {
    let refusal = w.take_status(ALICE, status);
    w.send(ALICE, ACCESS, &ack_of(invite, &refusal));
    w.assert_empty();
    refusal
}

// -- CANCEL ------------------------------------------------------------------------------------

#[test]
fn cancel_while_the_gateway_is_still_reserving() {
    let mut w = World::with_users(alg(Reliable));
    w.gateway.hold = true;
    let (_, invite) = call(&mut w);
    assert!(w.try_take(BOB).is_none());
    w.send(ALICE, ACCESS, &cancel(&invite));
    let statuses = [w.take(ALICE), w.take(ALICE)].map(|m| (m.cseq().unwrap().method, m.status()));
    assert!(
        statuses.contains(&(Method::Cancel, Some(200))) && statuses.contains(&(Method::Invite, Some(487)))
    );
    assert_eq!(w.gateway.contexts(), 1);
    w.gateway.let_go();
    w.settle();
    assert_eq!(w.gateway.contexts(), 0, "the late reply is followed by Subtract");
    assert!(w.try_take(BOB).is_none(), "bob never hears of it");
    assert_eq!(cause(&w), Cause::Cancelled);
    w.assert_empty();
}

#[test]
fn cancel_while_ringing() {
    let mut w = World::with_users(alg(Reliable));
    let (_, invite) = call(&mut w);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 180, None));
    w.take_status(ALICE, 180);
    w.send(ALICE, ACCESS, &cancel(&invite));
    w.take_status(ALICE, 200);
    let at_bob_cancel = w.take_request(BOB, Method::Cancel);
    w.send(BOB, ACCESS, &bob.answer(&at_bob_cancel, 200, None));
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 487, None));
    w.take_request(BOB, Method::Ack);
    refused(&mut w, &invite, 487);
    assert_eq!(cause(&w), Cause::Cancelled);
}

#[test]
fn cancel_that_crosses_the_answer_loses() {
    let mut w = World::with_users(alg(Reliable));
    let (mut alice, invite) = call(&mut w);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 180, None));
    w.take_status(ALICE, 180);
    w.send(ALICE, ACCESS, &cancel(&invite));
    w.take_status(ALICE, 200);
    w.take_request(BOB, Method::Cancel);
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    let bye = w.request(&alice, Method::Bye, &contact(&ok), 2);
    w.send(ALICE, ACCESS, &bye);
    let bye = w.take_request(BOB, Method::Bye);
    w.send(BOB, ACCESS, &bob.answer(&bye, 200, None));
    w.take_status(ALICE, 200);
    w.assert_empty();
}

// -- the gateway -------------------------------------------------------------------------------

#[test]
fn no_capacity_is_503_with_retry_after() {
    for (code, status) in [(510, 503), (412, 503), (449, 500), (501, 500), (473, 488), (474, 488)] {
        let mut w = World::with_users(alg(Reliable));
        w.gateway.refuse = vec![(Verb::Add, code)];
        let (_, invite) = call(&mut w);
        let refusal = refused(&mut w, &invite, status);
        assert_eq!(refusal.has("Retry-After"), status == 503, "H.248 {code}");
        assert!(w.events.iter().any(|e| matches!(e, Event::GatewayRefused { code: c, .. } if *c == code)));
        assert!(w.try_take(BOB).is_none());
    }
}

/// The first Add is done, the second refused: half a context stands at the gateway.
#[test]
fn half_a_context_is_swept() {
    let mut w = World::with_users(alg(Reliable));
    w.gateway.refuse_after_add = Some(510);
    let (_, invite) = call(&mut w);
    refused(&mut w, &invite, 503);
}

/// One termination is gone already: the Subtract ends there, and the other is still to be ended.
#[test]
fn the_rest_of_half_a_context_is_subtracted() {
    for code in [430, 435] {
        let mut w = World::with_users(alg(Reliable));
        let (alice, bob, _, ok) = up(&mut w);
        w.gateway.refuse = vec![(Verb::Subtract, code)];
        let bye = w.request(&alice, Method::Bye, &contact(&ok), 2);
        w.send(ALICE, ACCESS, &bye);
        let bye = w.take_request(BOB, Method::Bye);
        w.send(BOB, ACCESS, &bob.answer(&bye, 200, None));
        w.assert_empty();
    }
}

#[test]
fn no_gateway_at_all() {
    let mut w = World::new(alg(Reliable));
    w.register("alice", ALICE);
    w.register("bob", BOB);
    let (_, invite) = call(&mut w);
    let refusal = refused(&mut w, &invite, 503);
    assert_eq!(refusal.retry_after(), Some(10));
}

#[test]
fn a_gateway_that_does_not_answer_in_time() {
    let mut w = World::with_users(alg(Reliable));
    w.gateway.hold = true;
    let (_, invite) = call(&mut w);
    w.pass(Duration::from_secs(5));
    let refusal = w.take_status(ALICE, 504);
    w.send(ALICE, ACCESS, &ack_of(&invite, &refusal));
    w.gateway.let_go();
    w.settle();
    w.assert_empty();
}

/// The answer is there, but the gateway cannot follow it: nobody is left half connected.
#[test]
fn modify_refused() {
    let mut w = World::with_users(alg(Reliable));
    let (_, invite) = call(&mut w);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.gateway.refuse = vec![(Verb::Modify, 510)];
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    w.take_request(BOB, Method::Ack);
    let bye = w.take_request(BOB, Method::Bye);
    assert_eq!(bye.to_tag().as_deref(), Some("b1"));
    assert!(bye.cseq().unwrap().number > at_bob.cseq().unwrap().number);
    w.send(BOB, ACCESS, &bob.answer(&bye, 200, None));
    refused(&mut w, &invite, 503);
}

#[test]
fn a_lost_gateway_ends_its_calls_both_ways() {
    let mut w = World::with_users(alg(Reliable));
    let (alice, bob, _, _) = up(&mut w);
    w.gateway.dead = true;
    w.pass(Duration::from_secs(15));
    let to_alice = w.take_request(ALICE, Method::Bye);
    let to_bob = w.take_request(BOB, Method::Bye);
    for bye in [&to_alice, &to_bob] {
        assert_eq!(
            bye.header("Reason").as_deref(),
            Some("SIP;cause=503;text=\"the media gateway was lost\"")
        );
        assert_eq!(bye.call_id().unwrap(), "call-f");
    }
    // Each end takes it for the other's: the dialog's own names and the next CSeq.
    assert_eq!(to_bob.header("From").as_deref(), Some(&*alice.local));
    assert_eq!(to_bob.header("CSeq").as_deref(), Some("2 BYE"));
    assert_eq!(to_alice.header("From").as_deref(), Some(&*bob.local));
    assert_eq!(to_alice.header("To").as_deref(), Some(&*alice.local));
    w.send(ALICE, ACCESS, &alice.answer(&to_alice, 200, None));
    w.send(BOB, ACCESS, &bob.answer(&to_bob, 200, None));
    assert_eq!(cause(&w), Cause::GatewayLost);
    w.gateway.state.clear();
    w.assert_empty();
}

/// A border that goes out of service lets calls go on, takes no new ones, and at last ends both ends of
/// each call and gives everything back.
#[test]
fn going_out_of_service() {
    let mut w = World::with_users(alg(Reliable));
    let (alice, bob, _, _) = up(&mut w);
    w.border.retire();
    let late = Ua::new("alice", ALICE, "bob", "call-late");
    let invite = w.request(&late, Method::Invite, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &invite);
    let refusal = w.take_status(ALICE, 503);
    w.send(ALICE, ACCESS, &ack_of(&invite, &refusal));
    assert!(refusal.header("Retry-After").is_some());
    assert_eq!(w.border.load().live, 1, "the call that there was goes on");

    let now = w.now;
    w.border.end_calls(now);
    w.settle();
    let (to_alice, to_bob) = (w.take_request(ALICE, Method::Bye), w.take_request(BOB, Method::Bye));
    assert!(to_alice.header("Reason").is_some_and(|r| r.contains("out of service")), "{to_alice:?}");
    w.send(ALICE, ACCESS, &alice.answer(&to_alice, 200, None));
    w.send(BOB, ACCESS, &bob.answer(&to_bob, 200, None));
    assert_eq!(cause(&w), Cause::Stopping);
    assert!(w.gateway.state.is_empty(), "contexts were subtracted");
    w.assert_empty();
}

/// An administrator ends one call towards both ends, and no other.
#[test]
fn an_administrator_ends_a_call() {
    let mut w = World::with_users(alg(Reliable));
    let (alice, bob, _, _) = up(&mut w);
    let now = w.now;
    assert_eq!(w.border.end_call(now, "of-somebody-else"), 0);
    w.settle();
    assert_eq!(w.border.load().live, 1);
    assert_eq!(w.border.end_call(now, "call-f"), 1);
    assert_eq!(w.border.end_call(now, "call-f"), 0, "it has ended");
    w.settle();
    let (to_alice, to_bob) = (w.take_request(ALICE, Method::Bye), w.take_request(BOB, Method::Bye));
    assert!(to_bob.header("Reason").is_some_and(|r| r.contains("administrator")), "{to_bob:?}");
    w.send(ALICE, ACCESS, &alice.answer(&to_alice, 200, None));
    w.send(BOB, ACCESS, &bob.answer(&to_bob, 200, None));
    assert_eq!(cause(&w), Cause::Administrator);
    w.assert_empty();
}

/// What was retired takes calls again.
#[test]
fn back_in_service() {
    let mut w = World::with_users(alg(Reliable));
    w.border.retire();
    assert!(w.border.is_retiring());
    w.border.resume();
    assert!(!w.border.is_retiring());
    let (_, _, _, _) = up(&mut w);
    assert_eq!(w.border.load().live, 1);
}

/// A gateway that is to be avoided gets no calls, and keeps those that it has.
#[test]
fn a_gateway_that_is_avoided() {
    let mut w = World::with_users(alg(Reliable));
    let (_, _, _, _) = up(&mut w);
    let name = w.border.gateways()[0].control.name.to_string();
    assert!(!w.border.avoid("other", true));
    assert!(w.border.avoid(&name, true) && w.border.gateways()[0].avoided);
    let late = Ua::new("alice", ALICE, "bob", "call-late");
    let invite = w.request(&late, Method::Invite, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite, &msrps("192.0.2.20", 2855, "actpass")));
    w.take_status(ALICE, 503);
    assert_eq!(w.border.load().live, 1, "the call that there was goes on");
    assert!(w.border.avoid(&name, false) && !w.border.gateways()[0].avoided);
}

#[test]
fn silence_on_the_wire_ends_the_call() {
    let mut config = alg(Reliable);
    config.timers.inactivity = Some(Duration::from_secs(60));
    let mut w = World::with_users(config);
    let (_, _, _, _) = up(&mut w);
    assert!(w.gateway.only()["access"].events.contains(&"adid/ipstop".to_owned()));
    let (context, name) = {
        let (id, terminations) = w.gateway.state.iter().next().unwrap();
        (*id, terminations.keys().next().unwrap().clone())
    };
    w.gateway.notify(context, &name, "adid/ipstop");
    w.settle();
    w.take_request(ALICE, Method::Bye);
    w.take_request(BOB, Method::Bye);
    assert_eq!(cause(&w), Cause::Inactive);
    w.assert_empty();
}

// -- offers and answers that are refused -------------------------------------------------------

#[test]
fn security_that_ends_at_the_edge_is_refused_not_downgraded() {
    const NONE: &str = "304 alg1.example.com \"security that ends at the";
    for (offer, warning) in [
        (format!("{}a=3ge2ae:requested\r\n", offer()), NONE),
        // For the whole session.
        (offer().replacen("m=", "a=3ge2ae:requested\r\nm=", 1), NONE),
        (format!("{}a=3ge2ae:demanded\r\n", offer()), "306 alg1.example.com \"a=3ge2ae has a value"),
    ] {
        let mut config = alg(Reliable);
        config.networks[0].e2ae = false;
        let mut w = World::with_users(config);
        let (_, invite) = call_with(&mut w, &offer);
        let refusal = refused(&mut w, &invite, 488);
        assert!(refusal.header("Warning").unwrap().starts_with(warning), "{}", text(&refusal));
        assert!(w.try_take(BOB).is_none());
        w.assert_empty();
    }
}

#[test]
fn tls_without_cema_is_refused() {
    let mut w = World::with_users(alg(Reliable));
    let (_, invite) = call_with(&mut w, &offer().replace("a=msrp-cema\r\n", ""));
    let refusal = refused(&mut w, &invite, 488);
    assert!(refusal.header("Warning").unwrap().contains("a=msrp-cema"));
}

#[test]
fn an_answer_with_another_transport_is_turned_down() {
    for (what, wrong) in [
        ("no TLS", answer().replace("TCP/TLS/MSRP", "TCP/MSRP")),
        ("a line more", format!("{}m=audio 9 RTP/AVP 0\r\n", answer())),
        ("both active", answer().replace("passive", "active").replace("7394", "9")),
        ("security at the edge", format!("{}a=3ge2ae:requested\r\n", answer())),
        ("no address", answer().replace("c=IN IP4 192.0.2.30", "c=IN IP4 bob.example.com")),
        ("not SDP", "v=0\r\nhello\r\n".into()),
    ] {
        let mut w = World::with_users(alg(Reliable));
        let offer = if what == "both active" { msrps("192.0.2.20", 9, "active") } else { offer() };
        let (_, invite) = call_with(&mut w, &offer);
        let at_bob = w.take_request(BOB, Method::Invite);
        let bob = Ua::answering("bob", BOB, &at_bob, "b1");
        w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&wrong)));
        w.take_request(BOB, Method::Ack);
        let bye = w.take_request(BOB, Method::Bye);
        w.send(BOB, ACCESS, &bob.answer(&bye, 200, None));
        let refusal = w.take(ALICE);
        assert!(matches!(refusal.status(), Some(488 | 400)), "{what}: {}", text(&refusal));
        w.send(ALICE, ACCESS, &ack_of(&invite, &refusal));
        w.assert_empty();
    }
}

// -- SIP ---------------------------------------------------------------------------------------

#[test]
fn requests_that_have_no_business_here() {
    let mut w = World::with_users(alg(Reliable));
    // Nobody registered at that address.
    let mallory = Ua::new("mallory", "192.0.2.66:5060", "bob", "call-m");
    let invite = w.request(&mallory, Method::Invite, "sip:bob@example.com", 1);
    w.send("192.0.2.66:5060", ACCESS, &invite);
    w.take_status("192.0.2.66:5060", 403);
    // Alice's name from another address.
    let liar = Ua { at: "192.0.2.66:5060".into(), ..Ua::new("alice", ALICE, "bob", "call-l") };
    let invite = w.request(&liar, Method::Invite, "sip:bob@example.com", 1);
    w.send("192.0.2.66:5060", ACCESS, &invite);
    w.take_status("192.0.2.66:5060", 403);
    let alice = Ua::new("alice", ALICE, "bob", "call-n");
    for (target, status) in [("sip:nobody@example.com", 404), ("sip:bob@example.com", 483)] {
        let mut invite = w.request(&alice, Method::Invite, target, 1);
        if status == 483 {
            invite.set_header("Max-Forwards", "0").unwrap();
        }
        w.send(ALICE, ACCESS, &invite);
        let refusal = w.take_status(ALICE, status);
        w.send(ALICE, ACCESS, &ack_of(&invite, &refusal));
    }
    // A dialog that is not there.
    let mut stray = w.request(&alice, Method::Bye, &format!("sip:0123@{ACCESS}"), 5);
    stray.set_header("To", "<sip:bob@example.com>;tag=x").unwrap();
    w.send(ALICE, ACCESS, &stray);
    w.take_status(ALICE, 481);
    w.assert_empty();
}

/// A known Contact token is not enough: the dialog's names must fit.
#[test]
fn a_stranger_cannot_end_a_call() {
    let mut w = World::with_users(alg(Reliable));
    let (alice, _, _, ok) = up(&mut w);
    let mut stranger = alice.clone();
    stranger.local = "<sip:alice@example.com>;tag=guess".into();
    let bye = w.request(&stranger, Method::Bye, &contact(&ok), 9);
    w.send(ALICE, ACCESS, &bye);
    w.take_status(ALICE, 481);
    assert_eq!(w.gateway.contexts(), 1);
    let bye = w.request(&alice, Method::Bye, &contact(&ok), 2);
    w.send(PEER, CORE, &bye);
    w.take_status(PEER, 481);
    assert_eq!(w.gateway.contexts(), 1, "not from another network");
}

#[test]
fn a_full_table_is_503() {
    let mut config = alg(Reliable);
    config.limits.calls = 1;
    let mut w = World::with_users(config);
    let (_, _) = call(&mut w);
    w.take_request(BOB, Method::Invite);
    let alice = Ua::new("alice", ALICE, "bob", "call-g");
    let invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite, &offer()));
    assert!(w.take_status(ALICE, 503).has("Retry-After"));
}

#[test]
fn nobody_answers() {
    let mut w = World::with_users(alg(Reliable));
    let (_, invite) = call(&mut w);
    w.pass(Duration::from_secs(33));
    let refusal = refused(&mut w, &invite, 408);
    // It was not the far end that refused, and the one who looks for it hears where nobody was.
    assert_eq!(cause(&w), Cause::Unanswered(Silence::Timeout));
    assert_eq!(cause(&w).name(), "unanswered");
    let warning = refusal.header("Warning").unwrap();
    assert!(warning.contains("no answer in time") && !warning.contains("192.0.2.30"), "{warning}");
    let told: Vec<_> = unanswered(&w);
    assert_eq!(told, [("INVITE".to_owned(), format!("UDP {BOB}"), "no answer in time".to_owned())]);
}

/// A next hop at which nobody listens is no refusal of anybody's.
#[test]
fn a_next_hop_that_cannot_be_reached() {
    let mut w = World::with_users(alg(Reliable));
    let (_, invite) = call(&mut w);
    let mut hop = Hop::new(Transport::Udp, addr(BOB));
    hop.local = Some(addr(ACCESS));
    w.border.transport_failed(w.now, &hop);
    w.settle();
    let refusal = refused(&mut w, &invite, 500);
    assert!(refusal.header("Warning").unwrap().contains("no hop could be reached"), "{refusal:?}");
    assert_eq!(cause(&w), Cause::Unanswered(Silence::Unreachable));
    assert_eq!(cause(&w).name(), "unreachable");
    assert_eq!(unanswered(&w)[0].2, "no hop could be reached");
    // It was sent to bob, and never refused by him.
    assert!(!w.events.iter().any(|e| matches!(e, Event::CallEnded { cause: Cause::Refused(_), .. })));
}

/// Method, whereto and why, of all that was sent on in vain.
fn unanswered(w: &World) -> Vec<(String, String, String)> {
    let told = w.events.iter().filter_map(|e| match e {
        Event::Unanswered { method, sent_to, reason, .. } => {
            Some((method.clone(), sent_to.clone(), reason.clone()))
        }
        _ => None,
    });
    told.collect()
}

/// An end that takes a call down because of its media has not hung up, and what it said is kept.
#[test]
fn a_bye_with_a_reason_is_no_hanging_up() {
    for (reason, wanted) in [
        ("SIP;cause=480;text=\"Media connection failed\"", Cause::TakenDown(Side::Callee)),
        ("SIP;cause=200;text=\"Call completed elsewhere\"", Cause::Bye(Side::Callee)),
        ("Q.850;cause=16", Cause::Bye(Side::Callee)),
    ] {
        let mut w = World::with_users(alg(Reliable));
        let (_, bob, at_bob, _) = up(&mut w);
        let mut bye = w.request(&bob, Method::Bye, &contact(&at_bob), 1);
        bye.push_back("Reason", reason).unwrap();
        w.send(BOB, ACCESS, &bye);
        assert_eq!(w.take_request(ALICE, Method::Bye).header("Reason").as_deref(), Some(reason));
        assert_eq!(cause(&w), wanted, "{reason}");
        let kept = |e: &Event| matches!(e, Event::CallEnded { said: Some(said), .. } if said == reason);
        assert!(w.events.iter().any(kept), "{:#?}", w.events);
    }
}

/// What a gateway says of a connection is told once, with its reason, the end and how bad it is.
#[test]
fn a_connection_that_did_not_come_about() {
    use carnet_event::{Event as _, Level};
    let mut w = World::with_users(alg(Reliable));
    up(&mut w);
    let (context, sides) = {
        let (id, terminations) = w.gateway.state.iter().next().unwrap();
        (*id, terminations.keys().cloned().collect::<Vec<_>>())
    };
    w.gateway.released(context, &sides[0], ["FP", "connect_failed"]);
    w.gateway.released(context, &sides[1], ["FT", "far_side_failed"]);
    w.gateway.notify(context, &sides[1], "g/cause");
    w.settle();
    let told: Vec<_> = w
        .events
        .iter()
        .filter_map(|e| match e {
            Event::MediaNotice { index: 0, side: Some(side), what, reason, .. } => {
                Some((*side, what.as_str(), reason.as_str(), e.level().unwrap()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!((told[0].1, told[0].2, told[0].3), ("tcpbcc/BNCChange", "connect_failed", Level::Warn));
    assert_eq!((told[1].1, told[1].2, told[1].3), ("tcpbcc/BNCChange", "far_side_failed", Level::Info));
    assert_eq!((told[2].1, told[2].2, told[2].3), ("g/cause", "", Level::Info));
    assert!(told[0].0 != told[1].0, "{told:?}");
}

#[test]
fn ringing_without_end() {
    let mut w = World::with_users(alg(Reliable));
    let (_, invite) = call(&mut w);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 180, None));
    w.take_status(ALICE, 180);
    w.pass(Duration::from_secs(186));
    w.take_request(BOB, Method::Cancel);
    let refusal = w.take_status(ALICE, 408);
    w.send(ALICE, ACCESS, &ack_of(&invite, &refusal));
    // Bob picked up just then: he is told at once that it is too late.
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    let mut seen = Vec::new();
    while let Some(m) = w.try_take(BOB) {
        seen.push(m.method().clone());
    }
    assert!(seen.contains(&Method::Ack) && seen.contains(&Method::Bye), "{seen:?}");
    w.assert_empty();
}

#[test]
fn an_answer_that_is_never_acknowledged() {
    let mut w = World::with_users(alg(Reliable));
    let (_, _) = call(&mut w);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    w.pass(Duration::from_secs(33));
    assert_eq!(cause(&w), Cause::NoAck);
    w.assert_empty();
}

#[test]
fn a_session_timer_that_runs_out() {
    let mut w = World::with_users(alg(Reliable));
    let (_, _) = call(&mut w);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let mut ok = bob.answer(&at_bob, 200, Some(&answer()));
    ok.push_back("Session-Expires", "90;refresher=uac").unwrap();
    w.send(BOB, ACCESS, &ok);
    let ok = w.take_status(ALICE, 200);
    assert_eq!(ok.header("Session-Expires").as_deref(), Some("90;refresher=uac"));
    let mut alice = Ua::new("alice", ALICE, "bob", "call-f");
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    // One refresh moves it on.
    w.pass(Duration::from_secs(45));
    let refresh = w.request(&alice, Method::Update, &contact(&ok), 2);
    w.send(ALICE, ACCESS, &refresh);
    let at_bob = w.take_request(BOB, Method::Update);
    let mut refreshed = bob.answer(&at_bob, 200, None);
    refreshed.push_back("Session-Expires", "90;refresher=uac").unwrap();
    w.send(BOB, ACCESS, &refreshed);
    w.take_status(ALICE, 200);
    w.pass(Duration::from_secs(119));
    assert_eq!(w.gateway.contexts(), 1);
    w.pass(Duration::from_secs(5));
    w.take_request(ALICE, Method::Bye);
    w.take_request(BOB, Method::Bye);
    assert_eq!(cause(&w), Cause::SessionTimer);
    w.assert_empty();
}

#[test]
fn both_hang_up_at_once() {
    let mut w = World::with_users(alg(Reliable));
    let (alice, bob, at_bob, ok) = up(&mut w);
    let one = w.request(&alice, Method::Bye, &contact(&ok), 2);
    let two = w.request(&bob, Method::Bye, &contact(&at_bob), 1);
    w.send(ALICE, ACCESS, &one);
    w.send(BOB, ACCESS, &two);
    let to_bob = w.take_request(BOB, Method::Bye);
    let to_alice = w.take_request(ALICE, Method::Bye);
    w.send(BOB, ACCESS, &bob.answer(&to_bob, 200, None));
    w.send(ALICE, ACCESS, &alice.answer(&to_alice, 481, None));
    w.take_status(ALICE, 200);
    w.take_status(BOB, 481);
    cause(&w);
    w.assert_empty();
}
