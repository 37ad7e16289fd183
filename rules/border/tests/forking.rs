//! One user, several terminals: everybody rings, one talks, and nothing is left of the others.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Cause, Event};
use carnet_h248::Verb;
use carnet_h248::association::Transport::{Datagram, Reliable};
use carnet_sip::{Message, Method};
use carnet_wire::{Random, SeededRandom};
use common::*;
use std::time::Duration;

const DESK: &str = "192.0.2.31:5060";
const TABLET: &str = "192.0.2.32:5060";

fn ip(at: &str) -> &str {
    at.split(':').next().unwrap()
}

/// Alice, and bob with terminals at these places and of these preferences.
fn world(bobs: &[(&str, &str)]) -> World {
    world_with(Reliable, bobs)
}

fn world_with(control: carnet_h248::association::Transport, bobs: &[(&str, &str)]) -> World {
    let mut w = World::up(alg(control));
    w.register("alice", ALICE);
    for (at, params) in bobs {
        w.register_with("bob", at, params);
    }
    w
}

fn invite(w: &mut World) -> (Ua, Message) {
    let alice = Ua::new("alice", ALICE, "bob", "call-k");
    let invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    let invite = with_sdp(invite, &msrps("192.0.2.20", 2855, "actpass"));
    w.send(ALICE, ACCESS, &invite);
    (alice, invite)
}

/// The INVITE at a terminal, and the terminal; its To tag is its address.
fn called(w: &mut World, at: &str) -> (Ua, Message) {
    let invite = w.take_request(at, Method::Invite);
    assert_eq!(invite.request_uri().unwrap().as_str(), format!("sip:bob@{at}"));
    (Ua::answering("bob", at, &invite, &at.replace([':', '.'], "-")), invite)
}

fn refuse(w: &mut World, (ua, invite): &(Ua, Message), status: u16) {
    w.send(&ua.at, ACCESS, &ua.answer(invite, status, None));
    w.take_request(&ua.at, Method::Ack);
}

fn accept(w: &mut World, (ua, invite): &(Ua, Message)) {
    let answer = msrps(ip(&ua.at), 7394, "passive");
    w.send(&ua.at, ACCESS, &ua.answer(invite, 200, Some(&answer)));
}

/// The terminal is told that it lost, and says so.
fn cancelled(w: &mut World, branch: &(Ua, Message)) -> Message {
    let cancel = w.take_request(&branch.0.at, Method::Cancel);
    w.send(&branch.0.at, ACCESS, &branch.0.answer(&cancel, 200, None));
    refuse(w, branch, 487);
    cancel
}

fn cancel(invite: &Message) -> Message {
    let mut m = Message::request(Method::Cancel, invite.request_uri().unwrap().clone());
    for name in ["Via", "From", "To", "Call-ID"] {
        m.copy_lines(name, invite);
    }
    m.push_back("CSeq", "1 CANCEL").unwrap();
    m
}

fn acknowledge(w: &mut World, alice: &Ua, ok: &Message) -> Ua {
    let mut alice = alice.clone();
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(ok), 1);
    w.send(ALICE, ACCESS, &ack);
    alice
}

fn hang_up(w: &mut World, alice: &Ua, ok: &Message, bob: &Ua) {
    let bye = w.request(alice, Method::Bye, &contact(ok), 2);
    w.send(ALICE, ACCESS, &bye);
    let there = w.take_request(&bob.at, Method::Bye);
    w.send(&bob.at, ACCESS, &bob.answer(&there, 200, None));
    w.take_status(ALICE, 200);
}

/// The only final response at alice, acknowledged; then all is gone.
fn refused(w: &mut World, invite: &Message, status: u16) -> Message {
    let refusal = w.take_status(ALICE, status);
    let mut ack = Message::request(Method::Ack, invite.request_uri().unwrap().clone());
    for name in ["Via", "From", "Call-ID"] {
        ack.copy_lines(name, invite);
    }
    ack.copy_lines("To", &refusal);
    ack.push_back("CSeq", "1 ACK").unwrap();
    w.send(ALICE, ACCESS, &ack);
    assert!(w.try_take(ALICE).is_none(), "one final response");
    w.assert_empty();
    refusal
}

fn causes(w: &World) -> Vec<Cause> {
    let end = |e: &Event| if let Event::CallEnded { cause, .. } = e { Some(*cause) } else { None };
    w.events.iter().filter_map(end).collect()
}

fn port(message: &Message) -> String {
    let body = body(message);
    let line = body.lines().find(|l| l.starts_with("m=message")).unwrap();
    line.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn all_ring_and_the_first_to_answer_has_the_call() {
    let mut w = world(&[(BOB, ""), (DESK, "")]);
    let (alice, _) = invite(&mut w);
    let (bob, desk) = (called(&mut w, BOB), called(&mut w, DESK));
    assert_ne!(port(&bob.1), port(&desk.1), "each branch has its own context");
    assert_eq!(w.gateway.contexts(), 2);
    for branch in [&bob, &desk] {
        w.send(&branch.0.at, ACCESS, &branch.0.answer(&branch.1, 180, None));
    }
    let ringing = [w.take_status(ALICE, 180), w.take_status(ALICE, 180)];
    assert_ne!(ringing[0].to_tag(), ringing[1].to_tag());
    assert_ne!(contact(&ringing[0]), contact(&ringing[1]));
    accept(&mut w, &desk);
    let told = cancelled(&mut w, &bob);
    assert_eq!(told.header("Reason").as_deref(), Some("SIP;cause=200;text=\"Call completed elsewhere\""));
    assert_eq!(w.gateway.contexts(), 1, "the loser's context is given back");
    assert_eq!(causes(&w), [Cause::Elsewhere]);
    let ok = w.take_status(ALICE, 200);
    assert_eq!(contact(&ok), contact(&ringing[1]));
    let alice = acknowledge(&mut w, &alice, &ok);
    w.take_request(DESK, Method::Ack);
    // Both directions of the dialog.
    let update = w.request(&desk.0, Method::Update, &contact(&desk.1), 7);
    w.send(DESK, ACCESS, &update);
    let there = w.take_request(ALICE, Method::Update);
    w.send(ALICE, ACCESS, &alice.answer(&there, 200, None));
    w.take_status(DESK, 200);
    hang_up(&mut w, &alice, &ok, &desk.0);
    w.assert_empty();
}

/// Two answers before the final one: two addresses of the gateway, so two TLS sessions with two
/// keys can be told apart.
#[test]
fn early_answers_have_addresses_of_their_own() {
    let mut w = world(&[(BOB, ""), (DESK, "")]);
    let (mut alice, first) = invite(&mut w);
    let (bob, desk) = (called(&mut w, BOB), called(&mut w, DESK));
    let mut ports = Vec::new();
    for (n, branch) in [&bob, &desk].into_iter().enumerate() {
        let answer = msrps(ip(&branch.0.at), 7394, "passive").replace(KEY, &format!("KEY{n}"));
        let mut early = branch.0.answer(&branch.1, 183, Some(&answer));
        early.push_back("Require", "100rel").unwrap();
        early.push_back("RSeq", "17").unwrap();
        w.send(&branch.0.at, ACCESS, &early);
        let early = w.take_status(ALICE, 183);
        assert!(body(&early).contains(&format!("a=key-mgmt:mikey KEY{n}\r\n")));
        ports.push(port(&early));
        // PRACK finds its branch.
        alice.remote = early.header("To").unwrap().into_owned();
        let mut prack = w.request(&alice, Method::Prack, &contact(&early), 2 + n as u32);
        prack.push_back("RAck", "17 1 INVITE").unwrap();
        w.send(ALICE, ACCESS, &prack);
        let there = w.take_request(&branch.0.at, Method::Prack);
        w.send(&branch.0.at, ACCESS, &branch.0.answer(&there, 200, None));
        w.take_status(ALICE, 200);
    }
    assert_ne!(ports[0], ports[1]);
    let open = |w: &World| w.gateway.state.values().flat_map(|c| c.values()).all(|t| t.mode == "SendReceive");
    assert!(open(&w), "early media may flow on both");
    w.send(ALICE, ACCESS, &cancel(&first));
    w.take_status(ALICE, 200);
    assert!(!cancelled(&mut w, &bob).has("Reason"));
    cancelled(&mut w, &desk);
    refused(&mut w, &first, 487);
    assert_eq!(causes(&w), [Cause::Cancelled, Cause::Cancelled]);
}

/// RFC 3261 §16.7 step 5: a 2xx that crosses the CANCEL passes too; the caller chooses.
#[test]
fn two_answer_at_once() {
    let mut w = world(&[(BOB, ""), (DESK, "")]);
    let (alice, _) = invite(&mut w);
    let (bob, desk) = (called(&mut w, BOB), called(&mut w, DESK));
    accept(&mut w, &bob);
    // DESK has rung without a word so far: its CANCEL waits, and its 2xx wins over it.
    accept(&mut w, &desk);
    let oks = [w.take_status(ALICE, 200), w.take_status(ALICE, 200)];
    assert_ne!(port(&oks[0]), port(&oks[1]));
    let alices = oks.clone().map(|ok| acknowledge(&mut w, &alice, &ok));
    for (at, ok) in [(BOB, &oks[0]), (DESK, &oks[1])] {
        let ack = w.take_request(at, Method::Ack);
        assert_eq!(ack.to_tag(), ok.to_tag());
    }
    assert_eq!(w.gateway.contexts(), 2);
    hang_up(&mut w, &alices[1], &oks[1], &desk.0);
    assert_eq!(w.gateway.contexts(), 1);
    w.pass(Duration::from_secs(60));
    hang_up(&mut w, &alices[0], &oks[0], &bob.0);
    w.assert_empty();
}

/// An ACK that never comes ends the branch it belongs to and no other.
#[test]
fn one_of_two_answers_is_not_acknowledged() {
    let mut w = world(&[(BOB, ""), (DESK, "")]);
    let (alice, _) = invite(&mut w);
    let (bob, desk) = (called(&mut w, BOB), called(&mut w, DESK));
    accept(&mut w, &bob);
    accept(&mut w, &desk);
    let oks = [w.take_status(ALICE, 200), w.take_status(ALICE, 200)];
    let alice = acknowledge(&mut w, &alice, &oks[1]);
    w.take_request(DESK, Method::Ack);
    w.pass(Duration::from_secs(33));
    assert_eq!(causes(&w), [Cause::NoAck]);
    let bye = std::iter::from_fn(|| w.try_take(BOB)).find(|m| *m.method() == Method::Bye).unwrap();
    w.send(BOB, ACCESS, &bob.0.answer(&bye, 200, None));
    assert_eq!(w.gateway.contexts(), 1);
    while w.try_take(ALICE).is_some() {}
    hang_up(&mut w, &alice, &oks[1], &desk.0);
    w.assert_empty();
}

/// RFC 3261 §16.7 step 6.
#[test]
fn the_best_refusal_is_told() {
    for (one, two, told) in [
        (486, 480, 486),
        (503, 486, 486),
        (486, 302, 302),
        (404, 484, 484),
        (487, 486, 486),
        (503, 503, 500),
        (500, 503, 500),
    ] {
        let mut w = world(&[(BOB, ""), (DESK, "")]);
        let (_, first) = invite(&mut w);
        let (bob, desk) = (called(&mut w, BOB), called(&mut w, DESK));
        refuse(&mut w, &bob, one);
        assert!(w.try_take(ALICE).is_none(), "the other may still answer");
        refuse(&mut w, &desk, two);
        refused(&mut w, &first, told);
    }
}

#[test]
fn a_global_refusal_ends_the_search() {
    let mut w = world(&[(BOB, ""), (DESK, ""), (TABLET, ";q=0.1")]);
    let (_, first) = invite(&mut w);
    let (bob, desk) = (called(&mut w, BOB), called(&mut w, DESK));
    w.send(DESK, ACCESS, &desk.0.answer(&desk.1, 180, None));
    w.take_status(ALICE, 180);
    refuse(&mut w, &bob, 603);
    cancelled(&mut w, &desk);
    refused(&mut w, &first, 603);
    assert!(w.try_take(TABLET).is_none(), "nobody else is asked");
}

/// RFC 3261 §16.7 step 7.
#[test]
fn challenges_are_told_together() {
    let mut w = world(&[(BOB, ""), (DESK, ""), (TABLET, "")]);
    let (_, first) = invite(&mut w);
    let branches = [BOB, DESK, TABLET].map(|at| called(&mut w, at));
    for (n, (branch, status)) in branches.iter().zip([407, 486, 401]).enumerate() {
        let mut refusal = branch.0.answer(&branch.1, status, None);
        let name = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
        refusal.push_back(name, &format!("Digest realm=\"r{n}\", nonce=\"n\"")).unwrap();
        w.send(&branch.0.at, ACCESS, &refusal);
        w.take_request(&branch.0.at, Method::Ack);
    }
    let told = refused(&mut w, &first, 407);
    assert_eq!(told.header("Proxy-Authenticate").as_deref(), Some("Digest realm=\"r0\", nonce=\"n\""));
    assert_eq!(told.header("WWW-Authenticate").as_deref(), Some("Digest realm=\"r2\", nonce=\"n\""));
}

#[test]
fn the_preferred_terminals_come_first() {
    let mut w = world(&[(TABLET, ";q=0.3"), (BOB, ";q=0.7"), (DESK, ";q=0.7")]);
    let (alice, _) = invite(&mut w);
    let (bob, desk) = (called(&mut w, BOB), called(&mut w, DESK));
    assert!(w.try_take(TABLET).is_none());
    // One refuses, the other rings for its time.
    refuse(&mut w, &bob, 486);
    w.send(DESK, ACCESS, &desk.0.answer(&desk.1, 180, None));
    w.take_status(ALICE, 180);
    w.pass(Duration::from_secs(19));
    assert!(w.try_take(TABLET).is_none());
    w.pass(Duration::from_secs(1));
    let tablet = called(&mut w, TABLET);
    cancelled(&mut w, &desk);
    assert!(causes(&w).contains(&Cause::NotAnswered));
    accept(&mut w, &tablet);
    let ok = w.take_status(ALICE, 200);
    let alice = acknowledge(&mut w, &alice, &ok);
    w.take_request(TABLET, Method::Ack);
    assert_eq!(w.gateway.contexts(), 1);
    hang_up(&mut w, &alice, &ok, &tablet.0);
    w.assert_empty();
}

#[test]
fn the_next_are_tried_as_soon_as_all_have_refused() {
    let mut w = world(&[(TABLET, ";q=0.2"), (BOB, ";q=1.0"), (DESK, ";q=0.25")]);
    let (_, first) = invite(&mut w);
    let bob = called(&mut w, BOB);
    refuse(&mut w, &bob, 486);
    let desk = called(&mut w, DESK);
    refuse(&mut w, &desk, 480);
    let tablet = called(&mut w, TABLET);
    refuse(&mut w, &tablet, 404);
    refused(&mut w, &first, 486);
    assert!(w.border.load().alarms <= 4, "those of the bindings: {:?}", w.border.load());
}

#[test]
fn the_caller_gives_up() {
    // While both ring, and while the gateway has not answered for either.
    for held in [false, true] {
        let mut w = world(&[(BOB, ""), (DESK, ""), (TABLET, ";q=0.5")]);
        w.gateway.hold = held;
        let (_, first) = invite(&mut w);
        if held {
            w.send(ALICE, ACCESS, &cancel(&first));
            let two = [w.take(ALICE), w.take(ALICE)].map(|m| m.status());
            assert!(two.contains(&Some(200)) && two.contains(&Some(487)));
            w.gateway.let_go();
            w.settle();
            assert!(w.try_take(BOB).is_none() && w.try_take(DESK).is_none());
            w.assert_empty();
            continue;
        }
        let (bob, desk) = (called(&mut w, BOB), called(&mut w, DESK));
        w.send(BOB, ACCESS, &bob.0.answer(&bob.1, 180, None));
        w.take_status(ALICE, 180);
        w.send(ALICE, ACCESS, &cancel(&first));
        w.take_status(ALICE, 200);
        cancelled(&mut w, &bob);
        // DESK has said nothing yet: its CANCEL waits for a sign of life (RFC 3261 §9.1).
        assert!(w.try_take(DESK).is_none());
        w.send(DESK, ACCESS, &desk.0.answer(&desk.1, 180, None));
        w.take_status(ALICE, 180);
        cancelled(&mut w, &desk);
        refused(&mut w, &first, 487);
        assert!(w.try_take(TABLET).is_none());
    }
}

/// A terminal that is switched off does not keep the others from answering.
#[test]
fn a_dead_terminal_is_waited_for_no_longer_than_a_transaction() {
    let mut w = world(&[(BOB, ""), (DESK, "")]);
    let (_, first) = invite(&mut w);
    let bob = called(&mut w, BOB);
    refuse(&mut w, &bob, 486);
    w.pass(Duration::from_millis(32_100));
    refused(&mut w, &first, 486);
}

/// What the gateway cannot do for one branch is no trouble of the others.
#[test]
fn a_branch_whose_gateway_fails() {
    let mut w = world(&[(BOB, ""), (DESK, "")]);
    w.gateway.refuse = vec![(Verb::Add, 510)];
    let (alice, _) = invite(&mut w);
    let desk = match w.try_take(DESK) {
        Some(m) => (Ua::answering("bob", DESK, &m, "d"), m),
        None => called(&mut w, BOB),
    };
    accept(&mut w, &desk);
    let ok = w.take_status(ALICE, 200);
    let alice = acknowledge(&mut w, &alice, &ok);
    w.take_request(&desk.0.at, Method::Ack);
    hang_up(&mut w, &alice, &ok, &desk.0);
    w.assert_empty();

    // For all of them: the border says so itself, and when to try again.
    let mut w = world(&[(BOB, ""), (DESK, "")]);
    w.gateway.refuse = vec![(Verb::Add, 510), (Verb::Add, 510)];
    let (_, first) = invite(&mut w);
    assert!(refused(&mut w, &first, 503).has("Retry-After"));
}

/// Two terminals with one tag cannot be told apart by the caller: the second one is turned down.
#[test]
fn two_answers_with_one_tag() {
    let mut w = world(&[(BOB, ""), (DESK, "")]);
    let (alice, _) = invite(&mut w);
    let (mut bob, mut desk) = (called(&mut w, BOB), called(&mut w, DESK));
    for ua in [&mut bob.0, &mut desk.0] {
        ua.local = "<sip:bob@example.com>;tag=same".into();
    }
    accept(&mut w, &bob);
    accept(&mut w, &desk);
    w.take_request(DESK, Method::Ack);
    let bye = w.take_request(DESK, Method::Bye);
    w.send(DESK, ACCESS, &desk.0.answer(&bye, 200, None));
    let ok = w.take_status(ALICE, 200);
    let alice = acknowledge(&mut w, &alice, &ok);
    w.take_request(BOB, Method::Ack);
    hang_up(&mut w, &alice, &ok, &bob.0);
    w.assert_empty();
}

/// Other methods go to all terminals too; the first 2xx is the answer.
#[test]
fn a_message_to_every_terminal() {
    let mut w = world(&[(BOB, ";q=0.9"), (DESK, ";q=0.1")]);
    let alice = Ua::new("alice", ALICE, "bob", "call-m");
    let message = w.request(&alice, Method::Message, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &message);
    let at = [BOB, DESK].map(|at| w.take_request(at, Method::Message));
    w.send(BOB, ACCESS, &Message::response(&at[0], 480, "").unwrap());
    assert!(w.try_take(ALICE).is_none());
    w.send(DESK, ACCESS, &Message::response(&at[1], 202, "").unwrap());
    w.take_status(ALICE, 202);
    w.assert_empty();

    let message = w.request(&alice, Method::Message, "sip:bob@example.com", 2);
    w.send(ALICE, ACCESS, &message);
    let at = [BOB, DESK].map(|at| w.take_request(at, Method::Message));
    for (where_, m) in [BOB, DESK].into_iter().zip(&at) {
        w.send(where_, ACCESS, &Message::response(m, 200, "").unwrap());
    }
    w.take_status(ALICE, 200);
    assert!(w.try_take(ALICE).is_none());
    w.assert_empty();
}

/// Who calls oneself reaches one's other terminals.
#[test]
fn calling_ones_own_address() {
    let mut w = world(&[(BOB, ""), (DESK, "")]);
    let bob = Ua::new("bob", BOB, "bob", "call-self");
    let invite = w.request(&bob, Method::Invite, "sip:bob@example.com", 1);
    w.send(BOB, ACCESS, &invite);
    let desk = called(&mut w, DESK);
    assert!(w.try_take(BOB).is_none());
    w.send(DESK, ACCESS, &desk.0.answer(&desk.1, 486, None));
    w.take_status(BOB, 486);
}

// -- bindings ------------------------------------------------------------------------------------

#[test]
fn bindings_of_one_user() {
    let mut w = world(&[(BOB, ";q=0.7")]);
    let ok = w.register_with("bob", DESK, "");
    let contacts =
        |m: &Message| m.contacts().unwrap().iter().map(|c| c.uri().to_string()).collect::<Vec<_>>();
    assert_eq!(contacts(&ok), [format!("sip:bob@{BOB}"), format!("sip:bob@{DESK}")]);
    assert_eq!(ok.contacts().unwrap()[0].param("q").as_deref(), Some("0.700"));
    // Registered again from where it was: the same binding.
    w.pass(Duration::from_secs(10));
    let again = w.request(&Ua::new("bob", BOB, "bob", "reg-new"), Method::Register, "sip:example.com", 1);
    let ok = authorized(&mut w, again, BOB, 200);
    assert_eq!(contacts(&ok).len(), 2);
    // The same terminal at another address, by its own account (RFC 5626).
    let mut w = world(&[(BOB, ";reg-id=1"), (DESK, ";reg-id=2")]);
    let ok = w.register_with("bob", TABLET, ";reg-id=1");
    assert_eq!(contacts(&ok), [format!("sip:bob@{DESK}"), format!("sip:bob@{TABLET}")]);
    // All at once.
    let mut star = w.request(&Ua::new("bob", BOB, "bob", "reg-star"), Method::Register, "sip:example.com", 1);
    star.set_header("Contact", "*").unwrap();
    star.push_back("Expires", "0").unwrap();
    assert_eq!(contacts(&authorized(&mut w, star, BOB, 200)), [""; 0]);
    assert_eq!(w.names().iter().filter(|n| **n == "unregistered").count(), 3);
}

/// Answers the challenge that a REGISTER gets and takes what comes.
fn authorized(w: &mut World, mut register: Message, at: &str, status: u16) -> Message {
    w.send(at, ACCESS, &register);
    let mut client =
        carnet_sip::DigestClient::new("bob", carnet_sip::Password::new(b"bob-secret".to_vec())).unwrap();
    client.challenged(&w.take_status(at, 401)).unwrap();
    register.set_header("CSeq", "2 REGISTER").unwrap();
    let branch = w.branch();
    register.set_header("Via", &format!("SIP/2.0/UDP {at};branch={branch};rport")).unwrap();
    client.authorize(&mut register, &mut SeededRandom::new(9)).unwrap();
    w.send(at, ACCESS, &register);
    w.take_status(at, status)
}

#[test]
fn a_user_has_only_so_many_bindings() {
    let mut config = alg(Reliable);
    config.limits.contacts = 2;
    let mut w = World::with_users(config);
    w.register("bob", DESK);
    let register = |w: &mut World, at: &str, call: &str| {
        let ua = Ua::new("bob", at, "bob", call);
        let register = w.request(&ua, Method::Register, "sip:example.com", 1);
        authorized(w, register, at, 200)
    };
    let third = w.request(&Ua::new("bob", TABLET, "bob", "r3"), Method::Register, "sip:example.com", 1);
    authorized(&mut w, third, TABLET, 503);
    // A binding that changes is no new one.
    assert_eq!(register(&mut w, DESK, "r2").contacts().unwrap().len(), 2);
}

// -- chaos ---------------------------------------------------------------------------------------

/// Three terminals answer whatever they like whenever they like; in the end nothing is left.
#[test]
fn whatever_the_terminals_do_nothing_is_left() {
    for seed in 0..300 {
        let mut dice = SeededRandom::new(seed);
        let mut roll = |sides: u32| dice.u32() % sides;
        let q = |n: u32| ["", ";q=0.5", ";q=0.2"][n as usize];
        let places = [BOB, DESK, TABLET];
        let mut w = world_with(Datagram, &places.map(|at| (at, q(roll(3)))));
        w.gateway.hold = roll(4) == 0;
        let (alice, first) = invite(&mut w);
        let mut open: Vec<(Ua, Message)> = Vec::new();
        let mut oks = Vec::new();
        for _ in 0..30 {
            for at in places {
                while let Some(m) = w.try_take(at) {
                    match m.method() {
                        Method::Invite if m.is_request() => {
                            open.push((Ua::answering("bob", at, &m, &at.replace([':', '.'], "-")), m));
                        }
                        Method::Cancel | Method::Bye if m.is_request() && roll(5) > 0 => {
                            let ok = Message::response(&m, 200, "").unwrap();
                            w.send(at, ACCESS, &ok);
                        }
                        _ => {}
                    }
                }
            }
            while let Some(m) = w.try_take(ALICE) {
                if m.cseq().unwrap().method == Method::Invite && m.status() >= Some(200) {
                    if m.status() < Some(300) {
                        if roll(4) > 0 {
                            oks.push((acknowledge(&mut w, &alice, &m), m));
                        }
                    } else {
                        let mut ack = cancel(&first);
                        ack = Message::parse(
                            String::from_utf8(ack.to_bytes().to_vec())
                                .unwrap()
                                .replace("CANCEL", "ACK")
                                .into(),
                            &carnet_sip::Limits::default(),
                        )
                        .unwrap();
                        ack.replace_lines("To", &m);
                        w.send(ALICE, ACCESS, &ack);
                    }
                }
            }
            match roll(10) {
                0..=5 if !open.is_empty() => {
                    let at = roll(open.len() as u32) as usize;
                    let status = [180, 180, 183, 200, 200, 486, 487, 503, 603, 407][roll(10) as usize];
                    let (ua, m) = open[at].clone();
                    if status >= 200 {
                        open.remove(at);
                    }
                    let sdp = msrps(ip(&ua.at), 7394, ["passive", "active", "actpass"][roll(3) as usize]);
                    let sdp = (status < 300 && status != 180).then_some(sdp);
                    w.send(&ua.at, ACCESS, &ua.answer(&m, status, sdp.as_deref()));
                }
                6 => w.pass(Duration::from_secs([0, 1, 7, 21, 40][roll(5) as usize])),
                7 if roll(4) == 0 => w.send(ALICE, ACCESS, &cancel(&first)),
                8 => {
                    w.gateway.refuse = vec![([Verb::Add, Verb::Modify][roll(2) as usize], 510)];
                    w.gateway.let_go();
                    w.settle();
                }
                _ => w.lose_sip = Some(w.sip_sent + 1 + roll(3) as usize),
            }
        }
        w.lose_sip = None;
        w.gateway.refuse.clear();
        w.gateway.let_go();
        w.settle();
        w.pass(Duration::from_secs(700));
        for (alice, ok) in oks {
            let bye = w.request(&alice, Method::Bye, &contact(&ok), 9);
            w.send(ALICE, ACCESS, &bye);
        }
        w.pass(Duration::from_secs(100));
        w.assert_empty();
        let count = |name: &str| w.names().iter().filter(|n| **n == name).count();
        assert_eq!(count("call-ended"), count("call-started"), "seed {seed}");
        assert!(w.border.load().alarms <= 4, "seed {seed}: {:?}", w.border.load());
    }
}
