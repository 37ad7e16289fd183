//! What calls meet in networks that are in service: a core behind the border that turns them back to it,
//! transfers to a Contact of the border, requests that nobody ever answers, peers that are overloaded.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Cause, Event, Registration};
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{Message, Method};
use common::*;
use std::time::Duration;

fn offer() -> String {
    msrps("192.0.2.20", 2855, "actpass")
}

fn answer() -> String {
    msrps("192.0.2.30", 7394, "passive")
}

/// An answered call between alice and bob; the Contacts of the border at alice and at bob.
fn up(w: &mut World) -> (Ua, Ua, String, String) {
    let mut alice = Ua::new("alice", ALICE, "bob", "call-1");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer());
    w.send(ALICE, ACCESS, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    (alice, bob, contact(&ok), contact(&at_bob))
}

// -- the core turns a call back to the border that it came from ---------------------------------------

/// A proxy in the core, with its Record-Route.
struct Proxy;

impl Proxy {
    fn request(w: &mut World, request: &Message, target: Option<&str>, routes: &[&str]) {
        let mut onward = request.clone();
        let branch = w.branch();
        onward.push_front("Via", &format!("SIP/2.0/UDP {PEER};branch={branch};rport")).unwrap();
        onward.remove_all("Route");
        if let Some(target) = target {
            onward.set_request_uri(uri(target)).unwrap();
            onward.push_front("Record-Route", &format!("<sip:{PEER};lr>")).unwrap();
        }
        for route in routes {
            onward.push_back("Route", route).unwrap();
        }
        w.send(PEER, CORE, &onward);
    }

    fn response(w: &mut World, response: &Message) {
        let mut onward = response.clone();
        onward.remove_first("Via");
        w.send(PEER, CORE, &onward);
    }
}

fn registered_by_the_core(w: &mut World, user: &str, at: &str) -> String {
    let ua = Ua::new(user, at, user, &format!("reg-{user}"));
    let register = w.request(&ua, Method::Register, "sip:example.com", 1);
    w.send(at, ACCESS, &register);
    let onward = w.take_request(PEER, Method::Register);
    let path = onward.header("Path").unwrap().into_owned();
    let mut ok = Message::response(&onward, 200, "").unwrap();
    ok.push_back("Contact", &format!("<sip:{user}@{at}>;expires=900")).unwrap();
    ok.push_back("Service-Route", &format!("<sip:{PEER};lr>")).unwrap();
    w.send(PEER, CORE, &ok);
    w.take_status(at, 200);
    path
}

/// Both subscribers are behind one border, and the home network is behind it: the call passes twice, with the
/// same Call-ID, tags and CSeq each time (TS 24.229 §5.2.6 and §5.2.7).
#[test]
fn a_call_that_comes_back_by_way_of_the_core() {
    let mut config = alg(Reliable);
    config.registration = Registration::Forward { hop: uri(&format!("sip:{PEER}")), network: "core".into() };
    let mut w = World::up(config);
    registered_by_the_core(&mut w, "alice", ALICE);
    let path = registered_by_the_core(&mut w, "bob", BOB);

    let mut alice = Ua::new("alice", ALICE, "bob", "call-spiral");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer());
    w.send(ALICE, ACCESS, &invite);
    let at_core = w.take_request(PEER, Method::Invite);
    Proxy::request(&mut w, &at_core, Some(&format!("sip:bob@{BOB}")), &[&path]);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 180, None));
    let ringing = w.take_status(PEER, 180);
    Proxy::response(&mut w, &ringing);
    w.take_status(ALICE, 180);
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    let ok = w.take_status(PEER, 200);
    let second = contact(&ok);
    Proxy::response(&mut w, &ok);
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    assert_eq!(w.gateway.contexts(), 2);

    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    let at_core = w.take_request(PEER, Method::Ack);
    assert_eq!(at_core.request_uri().unwrap().to_string(), second);
    Proxy::request(&mut w, &at_core, None, &[]);
    w.take_request(BOB, Method::Ack);
    // Nobody repeats an answer that was acknowledged.
    w.pass(Duration::from_secs(40));
    assert!(w.try_take(ALICE).is_none() && w.try_take(PEER).is_none() && w.try_take(BOB).is_none());

    let bye = w.request(&bob, Method::Bye, &contact(&at_bob), 2);
    w.send(BOB, ACCESS, &bye);
    let at_core = w.take_request(PEER, Method::Bye);
    Proxy::request(&mut w, &at_core, None, &[]);
    let at_alice = w.take_request(ALICE, Method::Bye);
    w.send(ALICE, ACCESS, &alice.answer(&at_alice, 200, None));
    let ok = w.take_status(PEER, 200);
    Proxy::response(&mut w, &ok);
    w.take_status(BOB, 200);
    assert_eq!(w.events.iter().filter(|e| matches!(e, Event::CallUp { .. })).count(), 2);
    w.assert_empty();
}

/// The same, and the caller acknowledges late: each pass repeats its own answer until its own ACK.
#[test]
fn a_call_that_comes_back_and_is_acknowledged_late() {
    let mut config = alg(Reliable);
    config.registration = Registration::Forward { hop: uri(&format!("sip:{PEER}")), network: "core".into() };
    let mut w = World::up(config);
    registered_by_the_core(&mut w, "alice", ALICE);
    let path = registered_by_the_core(&mut w, "bob", BOB);
    let mut alice = Ua::new("alice", ALICE, "bob", "call-spiral");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer());
    w.send(ALICE, ACCESS, &invite);
    let at_core = w.take_request(PEER, Method::Invite);
    Proxy::request(&mut w, &at_core, Some(&format!("sip:bob@{BOB}")), &[&path]);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    let ok = w.take_status(PEER, 200);
    Proxy::response(&mut w, &ok);
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    w.pass(Duration::from_millis(600));
    w.take_status(ALICE, 200);
    w.take_status(PEER, 200);
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    let at_core = w.take_request(PEER, Method::Ack);
    // Lost on the first way.
    w.pass(Duration::from_secs(1));
    w.take_status(PEER, 200);
    assert!(w.try_take(ALICE).is_none());
    Proxy::request(&mut w, &at_core, None, &[]);
    w.take_request(BOB, Method::Ack);
    w.pass(Duration::from_secs(40));
    assert!(w.try_take(PEER).is_none());
    let bye = w.request(&alice, Method::Bye, &contact(&ok), 2);
    w.send(ALICE, ACCESS, &bye);
    let at_core = w.take_request(PEER, Method::Bye);
    Proxy::request(&mut w, &at_core, None, &[]);
    let at_bob = w.take_request(BOB, Method::Bye);
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, None));
    let ok = w.take_status(PEER, 200);
    Proxy::response(&mut w, &ok);
    w.take_status(ALICE, 200);
    w.assert_empty();
}

// -- requests outside a dialog to a Contact of the border ----------------------------------------------

/// An attended transfer (RFC 5589 §7): carol, whom alice asked to take over, calls the Contact that alice saw
/// of bob. It is a Contact of the border, and whoever has it may call it (RFC 3261 §8.1.1.8).
#[test]
fn a_transfer_to_a_contact_of_the_border() {
    let mut w = World::with_users(alg(Reliable));
    let (_, _, at_alice, _) = up(&mut w);
    let carol = Ua::new("carol@other.example", PEER, "bob", "call-2");
    let target = at_alice.clone();
    let mut invite = w.request(&carol, Method::Invite, &target, 1);
    invite.push_back("Replaces", "call-1;to-tag=b1;from-tag=t-alice").unwrap();
    let invite = with_sdp(invite, &msrps("2001:db8:2::99", 2855, "actpass"));
    w.send(PEER, CORE, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    assert_eq!(at_bob.header("Replaces").as_deref(), Some("call-1;to-tag=b1;from-tag=t-alice"));
    assert_eq!(at_bob.request_uri().unwrap().to_string(), format!("sip:bob@{BOB}"));
    assert!(body(&at_bob).contains("c=IN IP4 203.0.113.10"), "{}", text(&at_bob));
}

// -- what nobody answers ---------------------------------------------------------------------------------

/// A re-INVITE that the far end only says Trying to, and then a BYE.
#[test]
fn a_re_invite_without_an_answer_ends_with_its_call() {
    let mut w = World::with_users(alg(Reliable));
    let (alice, bob, at_alice, at_bob) = up(&mut w);
    let invite = with_sdp(w.request(&alice, Method::Invite, &at_alice, 2), &offer());
    w.send(ALICE, ACCESS, &invite);
    let there = w.take_request(BOB, Method::Invite);
    w.send(BOB, ACCESS, &Message::response(&there, 100, "").unwrap());
    let bye = w.request(&bob, Method::Bye, &at_bob, 7);
    w.send(BOB, ACCESS, &bye);
    let there = w.take_request(ALICE, Method::Bye);
    w.send(ALICE, ACCESS, &alice.answer(&there, 200, None));
    let cancel = w.take_request(BOB, Method::Cancel);
    w.take_status(BOB, 200);
    w.send(BOB, ACCESS, &bob.answer(&cancel, 200, None));
    // Its own answer never comes.
    w.pass(Duration::from_secs(33));
    w.take_status(ALICE, 487);
    w.assert_empty();
}

/// The same without a BYE: Timer C is for any INVITE that passes (RFC 3261 §16.8).
#[test]
fn a_re_invite_that_rings_for_ever() {
    let mut w = World::with_users(alg(Reliable));
    let (alice, _, at_alice, _) = up(&mut w);
    let invite = with_sdp(w.request(&alice, Method::Invite, &at_alice, 2), &offer());
    w.send(ALICE, ACCESS, &invite);
    let there = w.take_request(BOB, Method::Invite);
    w.send(BOB, ACCESS, &Message::response(&there, 100, "").unwrap());
    w.pass(Duration::from_secs(186));
    let cancel = w.take_request(BOB, Method::Cancel);
    w.send(BOB, ACCESS, &Message::response(&cancel, 200, "").unwrap());
    w.pass(Duration::from_secs(33));
    w.take_status(ALICE, 487);
    let load = w.border.sip_counts().1;
    assert_eq!((load.open_clients, load.open_servers), (0, 0), "{load:?}");
    // The call goes on.
    assert_eq!(w.border.load().live, 1);
}

/// A callee in a queue says so every minute: Timer C begins anew each time (RFC 3261 §16.7 step 2).
#[test]
fn who_is_told_to_wait_is_waited_for() {
    let mut w = World::with_users(alg(Reliable));
    let alice = Ua::new("alice", ALICE, "bob", "call-1");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer());
    w.send(ALICE, ACCESS, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    for _ in 0..10 {
        w.send(BOB, ACCESS, &bob.answer(&at_bob, 182, None));
        w.take_status(ALICE, 182);
        w.pass(Duration::from_secs(60));
    }
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    w.take_status(ALICE, 200);
}

/// An UPDATE before the answer may name a session interval; how long it may ring is another matter.
#[test]
fn an_early_update_does_not_shorten_the_ringing() {
    let mut w = World::with_users(alg(Reliable));
    let mut alice = Ua::new("alice", ALICE, "bob", "call-1");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer());
    w.send(ALICE, ACCESS, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 180, None));
    let ringing = w.take_status(ALICE, 180);
    alice.remote = ringing.header("To").unwrap().into_owned();
    let mut update = w.request(&alice, Method::Update, &contact(&ringing), 2);
    update.push_back("Session-Expires", "90;refresher=uac").unwrap();
    w.send(ALICE, ACCESS, &update);
    let there = w.take_request(BOB, Method::Update);
    let mut ok = bob.answer(&there, 200, None);
    ok.push_back("Session-Expires", "90;refresher=uac").unwrap();
    w.send(BOB, ACCESS, &ok);
    w.take_status(ALICE, 200);
    w.pass(Duration::from_secs(150));
    assert!(w.try_take(ALICE).is_none());
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    w.take_status(ALICE, 200);
}

// -- one that is overloaded ------------------------------------------------------------------------------

/// RFC 3261 §16.7 step 6: that the next one has no time says nothing of the border.
#[test]
fn a_503_of_one_callee_is_no_503_of_the_border() {
    for method in [Method::Invite, Method::Message, Method::Subscribe] {
        let mut w = World::with_users(alg(Reliable));
        let alice = Ua::new("alice", ALICE, "bob", "call-1");
        let request = w.request(&alice, method.clone(), "sip:bob@example.com", 1);
        w.send(ALICE, ACCESS, &request);
        let at_bob = w.take_request(BOB, method.clone());
        let bob = Ua::answering("bob", BOB, &at_bob, "b1");
        let mut busy = bob.answer(&at_bob, 503, None);
        busy.push_back("Retry-After", "120").unwrap();
        w.send(BOB, ACCESS, &busy);
        if method == Method::Invite {
            w.take_request(BOB, Method::Ack);
        }
        let refusal = w.take_status(ALICE, 500);
        assert_eq!(refusal.header("Retry-After").as_deref(), Some("120"));
        // Whoever reads it sees whose it was.
        assert_eq!(refusal.header("Reason").as_deref(), Some("SIP;cause=503;text=\"Service Unavailable\""));
        let warning = "399 alg1.example.com \"the next hop answered 503\"";
        assert_eq!(refusal.header("Warning").as_deref(), Some(warning));
        if method == Method::Invite {
            let refused = |e: &Event| matches!(e, Event::CallEnded { cause: Cause::Refused(503), .. });
            assert!(w.events.iter().any(refused), "the record has what was answered");
        }
    }
}

/// What the one that is overloaded says itself passes, beside what the border says.
#[test]
fn the_words_of_one_that_is_overloaded_pass() {
    let mut w = World::with_users(alg(Reliable));
    let alice = Ua::new("alice", ALICE, "bob", "call-1");
    let request = w.request(&alice, Method::Message, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &request);
    let at_bob = w.take_request(BOB, Method::Message);
    let mut busy = Ua::answering("bob", BOB, &at_bob, "b1").answer(&at_bob, 503, None);
    busy.push_back("Reason", "Q.850;cause=42").unwrap();
    busy.push_back("Warning", "399 bob \"too warm\"").unwrap();
    w.send(BOB, ACCESS, &busy);
    let refusal = w.take_status(ALICE, 500);
    assert_eq!(refusal.values("Reason").unwrap(), ["Q.850;cause=42"]);
    let said: Vec<_> = refusal.lines("Warning").map(|line| line.to_string()).collect();
    assert!(said[0].contains("too warm") && said.last().unwrap().contains("answered 503"), "{said:?}");
}

// -- an invitation that holds for a while ------------------------------------------------------------------

/// RFC 3261 §13.3.1 and §13.2.1: when it has expired the caller is told 487, and the callee is cancelled.
#[test]
fn an_invitation_that_expires() {
    let mut w = World::with_users(alg(Reliable));
    let alice = Ua::new("alice", ALICE, "bob", "call-1");
    let mut invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer());
    invite.push_back("Expires", "30").unwrap();
    w.send(ALICE, ACCESS, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    assert_eq!(at_bob.header("Expires").as_deref(), Some("30"), "it passes");
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 180, None));
    w.take_status(ALICE, 180);
    w.pass(Duration::from_secs(29));
    assert!(w.try_take(ALICE).is_none() && w.try_take(BOB).is_none());
    w.pass(Duration::from_secs(2));
    w.take_status(ALICE, 487);
    w.take_request(BOB, Method::Cancel);
    assert!(w.events.iter().any(|e| matches!(e, Event::CallEnded { cause: Cause::RefusedHere(487), .. })));
    assert_eq!(w.gateway.contexts(), 0);
}

/// Answered in time it holds as long as it is wanted; what is no number says nothing.
#[test]
fn an_invitation_that_was_taken_does_not_expire() {
    for expires in ["30", "soon", "99999999999999999999"] {
        let mut w = World::with_users(alg(Reliable));
        let alice = Ua::new("alice", ALICE, "bob", "call-1");
        let mut invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer());
        invite.push_back("Expires", expires).unwrap();
        w.send(ALICE, ACCESS, &invite);
        let at_bob = w.take_request(BOB, Method::Invite);
        let bob = Ua::answering("bob", BOB, &at_bob, "b1");
        w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
        let ok = w.take_status(ALICE, 200);
        let mut alice = alice;
        alice.remote = ok.header("To").unwrap().into_owned();
        let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
        w.send(ALICE, ACCESS, &ack);
        w.take_request(BOB, Method::Ack);
        w.pass(Duration::from_secs(100));
        assert!(w.try_take(ALICE).is_none() && w.try_take(BOB).is_none(), "{expires}");
    }
}

// -- one that knows no tags ---------------------------------------------------------------------------------

/// RFC 3261 §12.1.2: an answer without a tag, as RFC 2543 has it, makes a dialog with the null tag. Both ends
/// speak in it and end it.
#[test]
fn an_answer_without_a_tag() {
    for who_ends in [ALICE, BOB] {
        let mut w = World::with_users(alg(Reliable));
        let alice = Ua::new("alice", ALICE, "bob", "call-1");
        let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer());
        w.send(ALICE, ACCESS, &invite);
        let at_bob = w.take_request(BOB, Method::Invite);
        let bob = Ua::answering("bob", BOB, &at_bob, "b1");
        let untagged = |mut message: Message, name: &str| {
            let value = message.header(name).unwrap().replace(";tag=b1", "");
            message.set_header(name, &value).unwrap();
            message
        };
        w.send(BOB, ACCESS, &untagged(bob.answer(&at_bob, 180, None), "To"));
        w.take_status(ALICE, 180);
        w.send(BOB, ACCESS, &untagged(bob.answer(&at_bob, 200, Some(&answer())), "To"));
        let ok = w.take_status(ALICE, 200);
        assert!(ok.to_tag().is_none());
        let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
        w.send(ALICE, ACCESS, &ack);
        w.take_request(BOB, Method::Ack);
        w.pass(Duration::from_secs(40));
        assert!(w.try_take(ALICE).is_none() && w.try_take(BOB).is_none(), "it is acknowledged");
        if who_ends == ALICE {
            let bye = w.request(&alice, Method::Bye, &contact(&ok), 2);
            w.send(ALICE, ACCESS, &bye);
            let at_bob = w.take_request(BOB, Method::Bye);
            w.send(BOB, ACCESS, &Message::response(&at_bob, 200, "").unwrap());
            w.take_status(ALICE, 200);
        } else {
            let bye = w.request(&bob, Method::Bye, &contact(&at_bob), 1);
            w.send(BOB, ACCESS, &untagged(bye, "From"));
            let at_alice = w.take_request(ALICE, Method::Bye);
            w.send(ALICE, ACCESS, &Message::response(&at_alice, 200, "").unwrap());
            w.take_status(BOB, 200);
        }
        assert_eq!(w.gateway.contexts(), 0);
    }
}

// -- what is odd about a message --------------------------------------------------------------------------

/// RFC 3261 §20.15: a body without a type could be a description that nobody anchors.
#[test]
fn a_body_without_a_type() {
    let mut w = World::with_users(alg(Reliable));
    let alice = Ua::new("alice", ALICE, "bob", "call-1");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer());
    let plain = text(&invite).replace("Content-Type: application/sdp\r\n", "");
    raw(&mut w, ALICE, ACCESS, plain.as_bytes());
    assert!(w.try_take(BOB).is_none());
    w.take_status(ALICE, 400);
}

fn raw(w: &mut World, from: &str, to: &str, octets: &[u8]) {
    let mut hop = carnet_sip::Hop::new(carnet_sip::Transport::Udp, addr(from));
    hop.local = Some(addr(to));
    w.border.handle_sip(w.now, carnet_sip::Input { hop, data: octets.to_vec().into() });
    w.settle();
}

/// Names in Latin-1, as old telephones write them, pass as they came, and are answered.
#[test]
fn names_that_are_not_utf_8() {
    let mut w = World::with_users(alg(Reliable));
    let alice = Ua::new("alice", ALICE, "bob", "call-1");
    let sdp = offer().replace("s=-", "s=@LATIN@");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &sdp);
    let shown = text(&invite)
        .replace("To: <", "To: \"@LATIN@\" <")
        .replace("From: <", "Subject: @LATIN@\r\nFrom: \"@LATIN@\" <");
    let length = sdp.len() - "@LATIN@".len() + 4;
    let shown =
        shown.replace(&format!("Content-Length: {}", sdp.len()), &format!("Content-Length: {length}"));
    let mut octets = Vec::new();
    for (n, part) in shown.split("@LATIN@").enumerate() {
        if n > 0 {
            octets.extend_from_slice(b"M\xfcll");
        }
        octets.extend_from_slice(part.as_bytes());
    }
    raw(&mut w, ALICE, ACCESS, &octets);
    let at_bob = w.take_request(BOB, Method::Invite);
    let octets = at_bob.to_bytes();
    assert_eq!(octets.windows(4).filter(|p| *p == b"M\xfcll").count(), 4, "{}", text(&at_bob));
    let busy = Message::response(&at_bob, 486, "").unwrap();
    w.send(BOB, ACCESS, &busy);
    w.take_request(BOB, Method::Ack);
    let refusal = w.take_status(ALICE, 486);
    assert!(refusal.to_tag().is_some());
}

/// A terminal whose address changes during a call, and who has told the registrar so, is reached at the new one.
#[test]
fn a_terminal_that_moves_during_a_call() {
    for speaks in [false, true] {
        let mut w = World::with_users(alg(Reliable));
        let (alice, bob, at_alice, at_bob) = up(&mut w);
        let moved = "192.0.2.30:40077";
        w.register_asking("bob", moved, "", &[("Contact", &format!("<sip:bob@{BOB}>"))]);
        if speaks {
            let info = w.request(&bob, Method::Info, &at_bob, 5);
            w.send(moved, ACCESS, &info);
            let there = w.take_request(ALICE, Method::Info);
            w.send(ALICE, ACCESS, &alice.answer(&there, 200, None));
            w.take_status(moved, 200);
        }
        let bye = w.request(&alice, Method::Bye, &at_alice, 3);
        w.send(ALICE, ACCESS, &bye);
        let there = w.take_request(moved, Method::Bye);
        w.send(moved, ACCESS, &bob.answer(&there, 200, None));
        w.take_status(ALICE, 200);
        w.assert_empty();
    }
}

/// Two forks have answered reliably before one of them accepts without saying it again (RFC 3262 §5): the gateway
/// has the answer of the one that accepts, whoever answered last.
#[test]
fn an_answer_that_the_200_does_not_repeat() {
    let mut w = World::with_users(alg(Reliable));
    let mut alice = Ua::new("alice", ALICE, "carol@other.example", "call-fork");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:carol@other.example", 1), &offer());
    w.send(ALICE, ACCESS, &invite);
    let at_peer = w.take_request(PEER, Method::Invite);
    let fork = |n: u8| Ua::answering(&format!("carol{n}"), PEER, &at_peer, &format!("c{n}"));
    let remote = |w: &World| w.gateway.only()["core"].remote.lines().nth(1).unwrap().to_owned();
    for n in [11, 12] {
        let sdp = msrps(&format!("2001:db8:2::{n}"), 2855, "passive");
        let mut early = fork(n).answer(&at_peer, 183, Some(&sdp));
        early.push_back("Require", "100rel").unwrap();
        early.push_back("RSeq", "1").unwrap();
        w.send(PEER, CORE, &early);
        let early = w.take_status(ALICE, 183);
        alice.remote = early.header("To").unwrap().into_owned();
        let mut prack = w.request(&alice, Method::Prack, &contact(&early), u32::from(n));
        prack.push_back("RAck", "1 1 INVITE").unwrap();
        w.send(ALICE, ACCESS, &prack);
        let there = w.take_request(PEER, Method::Prack);
        w.send(PEER, CORE, &fork(n).answer(&there, 200, None));
        w.take_status(ALICE, 200);
    }
    assert_eq!(remote(&w), "c=IN IP6 2001:db8:2::12");
    w.send(PEER, CORE, &fork(11).answer(&at_peer, 200, None));
    let ok = w.take_status(ALICE, 200);
    assert_eq!(remote(&w), "c=IN IP6 2001:db8:2::11");
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(PEER, Method::Ack);
    let bye = w.request(&alice, Method::Bye, &contact(&ok), 20);
    w.send(ALICE, ACCESS, &bye);
    let there = w.take_request(PEER, Method::Bye);
    w.send(PEER, CORE, &fork(11).answer(&there, 200, None));
    w.take_status(ALICE, 200);
    w.assert_empty();
}

/// A core that sends a request back to where it came from, unchanged: 482 (RFC 3261 §16.3 step 4), not seventy
/// calls until Max-Forwards is used up.
#[test]
fn a_loop_ends_at_its_second_turn() {
    let mut w = World::with_users(alg(Reliable));
    let alice = Ua::new("alice", ALICE, "carol@other.example", "call-loop");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:carol@other.example", 1), &offer());
    w.send(ALICE, ACCESS, &invite);
    let mut turns = 0;
    let mut pending = Vec::new();
    while let Some(m) = w.try_take(PEER) {
        if m.is_request() && *m.method() == Method::Invite {
            turns += 1;
            assert!(turns < 5);
            Proxy::request(&mut w, &m, None, &[]);
            pending.push(m);
        } else if m.status().is_some_and(|status| status >= 300) {
            // Back along the way that it came.
            Proxy::response(&mut w, &m);
        }
    }
    w.take_status(ALICE, 482);
    assert_eq!(turns, 2);
    w.assert_empty();
}

// -- who does not say who it is --------------------------------------------------------------------------

/// RFC 3323 §4.1.1.3 and RFC 3325: a subscriber who hides is known by where it registered from; the callee's terminal
/// is not told, the core is.
#[test]
fn a_caller_who_hides() {
    let anonymous = "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=t1";
    for (from, preferred, asserted) in [
        (anonymous, None, Some("<sip:alice@example.com>")),
        (anonymous, Some("<sip:alice@example.com>"), Some("<sip:alice@example.com>")),
        // Somebody else's is not its own; where it is says who it is.
        (anonymous, Some("<sip:bob@example.com>"), Some("<sip:alice@example.com>")),
        ("<tel:+4930123>;tag=t1", None, Some("<sip:alice@example.com>")),
        // Who says a name has to have it.
        ("<sip:carol@example.com>;tag=t1", Some("<sip:alice@example.com>"), None),
    ] {
        for target in ["sip:bob@example.com", "sip:carol@other.example"] {
            let mut w = World::with_users(alg(Reliable));
            let alice = Ua::new("alice", ALICE, "bob", "call-1");
            let mut invite = w.request(&alice, Method::Invite, target, 1);
            invite.set_header("From", from).unwrap();
            invite.push_back("Privacy", "header; id").unwrap();
            if let Some(preferred) = preferred {
                invite.push_back("P-Preferred-Identity", preferred).unwrap();
            }
            let invite = with_sdp(invite, &offer());
            w.send(ALICE, ACCESS, &invite);
            let at = if target.contains("bob") { BOB } else { PEER };
            let Some(asserted) = asserted else {
                w.take_status(ALICE, 403);
                continue;
            };
            let there = w.take_request(at, Method::Invite);
            assert_eq!(there.header("From").as_deref(), Some(from));
            assert!(!there.has("P-Preferred-Identity"));
            let told = Some(asserted).filter(|_| at == PEER);
            assert_eq!(there.header("P-Asserted-Identity").as_deref(), told, "{from} {target}");
            let mut busy = Ua::answering("bob", at, &there, "b1").answer(&there, 486, None);
            busy.push_back("P-Asserted-Identity", "<sip:president@example.com>").unwrap();
            w.send(at, if at == BOB { ACCESS } else { CORE }, &busy);
            w.take_request(at, Method::Ack);
            assert_eq!(w.take_status(ALICE, 486).has("P-Asserted-Identity"), at == PEER);
        }
    }
    // Two users behind one address: who hides there is nobody.
    let mut w = World::with_users(alg(Reliable));
    w.register("bob", ALICE);
    let alice = Ua::new("alice", ALICE, "bob", "call-1");
    let mut invite = w.request(&alice, Method::Invite, "sip:carol@other.example", 1);
    invite.set_header("From", anonymous).unwrap();
    w.send(ALICE, ACCESS, &invite);
    w.take_status(ALICE, 403);
}

// -- descriptions -------------------------------------------------------------------------------------------

/// Hold as RFC 2543 had it (`c=0.0.0.0`): the context stays, and what was comes back.
#[test]
fn hold_by_an_address_of_zeros() {
    let mut w = World::with_users(alg(Reliable));
    let (alice, bob, at_alice, _) = up(&mut w);
    let before = format!("{:?}", w.gateway.state);
    for (n, sdp) in [(2, offer().replace("IN IP4 192.0.2.20", "IN IP4 0.0.0.0")), (3, offer())] {
        let invite = with_sdp(w.request(&alice, Method::Invite, &at_alice, n), &sdp);
        w.send(ALICE, ACCESS, &invite);
        let there = w.take_request(BOB, Method::Invite);
        w.send(BOB, ACCESS, &bob.answer(&there, 200, Some(&answer())));
        w.take_status(ALICE, 200);
        let ack = w.request(&alice, Method::Ack, &at_alice, n);
        w.send(ALICE, ACCESS, &ack);
        w.take_request(BOB, Method::Ack);
        assert_eq!(w.gateway.contexts(), 1);
    }
    assert_eq!(format!("{:?}", w.gateway.state), before);
}

// -- what is odd and right ---------------------------------------------------------------------------------

/// A strict router behind the callee (RFC 3261 §12.2.1.1), and a PRACK that comes behind the 200 that made it late
/// (RFC 3262 §3).
#[test]
fn a_strict_router_and_a_late_prack() {
    let mut w = World::with_users(alg(Reliable));
    let mut alice = Ua::new("alice", ALICE, "carol@other.example", "call-1");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:carol@other.example", 1), &offer());
    w.send(ALICE, ACCESS, &invite);
    let at_peer = w.take_request(PEER, Method::Invite);
    let carol = Ua::answering("carol", "198.51.100.44:5060", &at_peer, "c1");
    let strict = format!("<sip:{PEER}>");
    let answer = |status, sdp: Option<&str>, reliable| {
        let mut m = carol.answer(&at_peer, status, sdp);
        m.push_back("Record-Route", &strict).unwrap();
        if reliable {
            m.push_back("Require", "100rel").unwrap();
            m.push_back("RSeq", "7").unwrap();
        }
        m
    };
    w.send(PEER, CORE, &answer(180, None, true));
    w.take_status(ALICE, 180);
    w.send(PEER, CORE, &answer(200, Some(&msrps("2001:db8:2::9", 2855, "passive")), false));
    let ok = w.take_status(ALICE, 200);
    assert!(!ok.has("Record-Route"));
    alice.remote = ok.header("To").unwrap().into_owned();
    let mut prack = w.request(&alice, Method::Prack, &contact(&ok), 2);
    prack.push_back("RAck", "7 1 INVITE").unwrap();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    let bye = w.request(&alice, Method::Bye, &contact(&ok), 3);
    for (request, answered) in [(prack, true), (ack, false), (bye, true)] {
        w.send(ALICE, ACCESS, &request);
        let there = w.take_request(PEER, request.method().clone());
        assert_eq!(there.request_uri().unwrap().to_string(), format!("sip:{PEER}"));
        assert_eq!(there.header("Route").as_deref(), Some("<sip:carol@198.51.100.44:5060>"));
        assert_eq!(there.header("RAck"), request.header("RAck"));
        if answered {
            w.send(PEER, CORE, &carol.answer(&there, 200, None));
            w.take_status(ALICE, 200);
        }
    }
    w.assert_empty();
}
