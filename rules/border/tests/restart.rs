//! The border's process ends, and another one takes up its calls and registrations.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Caps, Cause, Config, Event, Restored, Side};
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{Message, Method};
use carnet_wire::{Random, SeededRandom};
use common::real::RealGateway;
use common::*;
use std::time::Duration;

/// An answered call, bob passive.
struct Up {
    w: World,
    alice: Ua,
    bob: Ua,
    /// Our Contact towards each.
    at_alice: String,
    at_bob: String,
    starts: u64,
}

fn config() -> Config {
    alg(Reliable)
}

fn keeping() -> World {
    let mut w = World::up(config());
    w.gateway.audits = true;
    w.border.keep_state();
    w.register("alice", ALICE);
    w.register("bob", BOB);
    w
}

fn invite(w: &mut World, call_id: &str) -> (Ua, Message) {
    let alice = Ua::new("alice", ALICE, "bob", call_id);
    let mut invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    invite.push_back("Record-Route", "<sip:192.0.2.77;lr>").unwrap();
    w.send(ALICE, ACCESS, &with_sdp(invite, &msrps("192.0.2.20", 2855, "actpass")));
    (alice, w.take_request(BOB, Method::Invite))
}

fn answer(w: &mut World, bob: &Ua, at_bob: &Message, more: &[(&str, &str)]) -> Message {
    let mut ok = bob.answer(at_bob, 200, Some(&msrps("192.0.2.30", 7394, "passive")));
    for (name, value) in more {
        ok.push_back(name, value).unwrap();
    }
    w.send(BOB, ACCESS, &ok);
    w.take_status(ALICE, 200)
}

fn up_in(mut w: World, more: &[(&str, &str)]) -> Up {
    let (mut alice, at_bob) = invite(&mut w, "call-r");
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let ok = answer(&mut w, &bob, &at_bob, more);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    Up { at_bob: contact(&at_bob), at_alice: contact(&ok), w, alice, bob, starts: 100 }
}

fn up() -> Up {
    up_in(keeping(), &[])
}

impl Up {
    fn restart(&mut self) -> Restored {
        // Each start counts its transactions from somewhere else.
        self.starts += 1;
        let restored = self.w.restart(config(), self.starts);
        self.w.settle();
        restored
    }

    fn request(&mut self, from: Side, method: Method, cseq: u32) -> Message {
        let (ua, target) = match from {
            Side::Caller => (self.alice.clone(), self.at_alice.clone()),
            Side::Callee => (self.bob.clone(), self.at_bob.clone()),
        };
        self.w.request(&ua, method, &target, cseq)
    }

    /// A request goes through, and is answered.
    fn through(&mut self, from: Side, request: &Message, body: Option<&str>) -> Message {
        let (here, there) = if from == Side::Caller { (ALICE, BOB) } else { (BOB, ALICE) };
        self.w.send(here, ACCESS, request);
        let at_there = self.w.take_request(there, request.method().clone());
        let ua = if from == Side::Caller { self.bob.clone() } else { self.alice.clone() };
        self.w.send(there, ACCESS, &ua.answer(&at_there, 200, body));
        self.w.take_status(here, 200);
        at_there
    }

    fn hang_up(&mut self, from: Side) {
        let bye = self.request(from, Method::Bye, 90);
        self.through(from, &bye, None);
        self.w.assert_empty();
        assert!(self.w.records.values().all(|text| text.starts_with("carnet user")), "{:#?}", self.w.records);
    }
}

fn without_vias(message: &Message) -> String {
    let text = text(message);
    text.split("\r\n").filter(|line| !line.starts_with("Via:")).collect::<Vec<_>>().join("\r\n")
}

#[test]
fn a_call_goes_on_and_ends_in_order() {
    for from in [Side::Caller, Side::Callee] {
        let mut c = up();
        let before = c.w.gateway.state.len();
        c.w.events.clear();
        let restored = c.restart();
        assert_eq!((restored.calls, restored.bindings, restored.refused.len()), (1, 2, 0));
        assert_eq!(c.w.gateway.state.len(), before, "its context is still there: {:#?}", c.w.events);
        let names = c.w.names();
        for name in ["call-restored", "media-restored", "state-restored", "gateway-up"] {
            assert!(names.contains(&name), "{names:?}");
        }
        c.hang_up(from);
        let octets = c.w.events.iter().find_map(|e| match e {
            Event::MediaReleased { call_id, octets, .. } if call_id == "call-r" => Some(octets.clone()),
            _ => None,
        });
        assert_eq!(octets.unwrap().caller.received, 51200);
        let ended = Event::CallEnded { call_id: "call-r".into(), cause: Cause::Bye(from), said: None };
        assert!(c.w.events.contains(&ended));
    }
}

/// Whatever comes next goes on exactly as if nothing had happened, also after the third start.
#[test]
fn the_next_request_is_what_it_would_have_been() {
    let offer = msrps("192.0.2.20", 2900, "actpass");
    let bobs = msrps("192.0.2.30", 7400, "passive");
    for from in [Side::Caller, Side::Callee] {
        for method in [Method::Options, Method::Info, Method::Update, Method::Invite, Method::Bye] {
            let seen: Vec<_> = [0, 1, 3]
                .into_iter()
                .map(|starts| {
                    let mut c = up();
                    for _ in 0..starts {
                        c.restart();
                    }
                    let mut request = c.request(from, method.clone(), 20);
                    let session = matches!(method, Method::Update | Method::Invite);
                    if session {
                        request = with_sdp(request, &offer);
                    }
                    let there = c.through(from, &request, session.then_some(bobs.as_str()));
                    let media: Vec<_> = c.w.gateway.state.values().flatten().collect();
                    let media: Vec<_> =
                        media.iter().map(|(name, t)| format!("{name} {} {}", t.mode, t.remote)).collect();
                    (without_vias(&there).replace(&c.at_alice, "A").replace(&c.at_bob, "B"), media)
                })
                .collect();
            assert_eq!(seen[0], seen[1], "{method} {from:?}");
            assert_eq!(seen[0], seen[2], "{method} {from:?}");
            assert!(method == Method::Bye || !seen[0].1.is_empty());
        }
    }
}

/// Border and gateway start together, and an end that noticed is faster than the gateway.
#[test]
fn an_answer_that_finds_no_gateway_yet_ends_no_call() {
    for kept in [false, true] {
        let mut c = up();
        let mut config = config();
        config.timers.media_return = Duration::from_secs(60);
        c.w.cut.push("agw1".into());
        c.w.restart(config, 101);
        c.w.settle();
        let offer = |c: &mut Up, cseq| {
            let invite = c.request(Side::Caller, Method::Invite, cseq);
            c.w.send(ALICE, ACCESS, &with_sdp(invite, &msrps("192.0.2.20", 2900, "actpass")));
            let at_bob = c.w.take_request(BOB, Method::Invite);
            c.w.send(BOB, ACCESS, &c.bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7400, "passive"))));
        };
        offer(&mut c, 20);
        c.w.take_status(ALICE, 503);
        c.w.take_request(BOB, Method::Ack);
        assert!(c.w.try_take(BOB).is_none() && !c.w.names().contains(&"call-ended"), "{:?}", c.w.names());
        // It is back, with what it had or without.
        c.w.cut.clear();
        if kept {
            c.w.gateway.change("ROOT", carnet_h248::Method::Disconnected, 900);
        } else {
            c.w.gateway.state.clear();
            c.w.gateway.register();
        }
        c.w.pass(Duration::from_secs(5));
        offer(&mut c, 21);
        // The refusal is repeated, since nobody has acknowledged it.
        let mut answer = c.w.take(ALICE);
        while answer.cseq().unwrap().number == 20 {
            answer = c.w.take(ALICE);
        }
        assert_eq!(answer.status(), Some(200), "kept: {kept}, {:?}", c.w.names());
        let ack = c.request(Side::Caller, Method::Ack, 21);
        c.w.send(ALICE, ACCESS, &ack);
        c.w.take_request(BOB, Method::Ack);
        c.w.pass(Duration::from_secs(120));
        assert_eq!(c.w.gateway.state.len(), 1, "one context, and none left over: {:?}", c.w.gateway.state);
        assert!(!c.w.names().contains(&"call-ended"), "{:?}", c.w.names());
    }
}

#[test]
fn who_has_registered_is_called_without_registering_again() {
    let mut w = keeping();
    let restored = w.restart(config(), 99);
    assert_eq!((restored.calls, restored.bindings), (0, 2));
    w.settle();
    let mut c = up_in(w, &[]);
    c.hang_up(Side::Caller);
    // And it runs out when it would have.
    c.w.pass(Duration::from_secs(3600));
    let gone = c.w.names().iter().filter(|name| **name == "unregistered").count();
    assert_eq!((gone, c.w.records.len()), (2, 0));
}

#[test]
fn what_a_gateway_has_lost_ends_with_a_bye_both_ways() {
    let mut c = up();
    c.w.gateway.state.clear();
    c.restart();
    for at in [ALICE, BOB] {
        let bye = c.w.take_request(at, Method::Bye);
        assert!(bye.header("Reason").unwrap().contains("lost the call"), "{}", text(&bye));
        let answer = Message::response(&bye, 200, "").unwrap();
        c.w.send(at, ACCESS, &answer);
    }
    c.w.assert_empty();
}

#[test]
fn what_no_call_has_is_given_back() {
    let mut c = up();
    // A set-up that was never written down.
    let kept = c.w.records.clone();
    invite(&mut c.w, "call-s");
    assert_eq!(c.w.gateway.contexts(), 2);
    c.w.records = kept;
    c.restart();
    assert_eq!(c.w.gateway.contexts(), 1, "{:#?}", c.w.events);
    c.hang_up(Side::Callee);
}

#[test]
fn a_set_up_is_ended_in_order() {
    let mut w = keeping();
    let (_, at_bob) = invite(&mut w, "call-s");
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 180, None));
    w.take_status(ALICE, 180);
    let restored = w.restart(config(), 99);
    assert_eq!((restored.calls, restored.setups), (0, 1));
    w.settle();
    let refusal = w.take_status(ALICE, 503);
    assert_eq!(refusal.top_via().unwrap().branch(), Some("z9hG4bK-script-5"), "{}", text(&refusal));
    assert!(refusal.header("Retry-After").is_some() && refusal.to_tag().is_some());
    let cancel = w.take_request(BOB, Method::Cancel);
    assert_eq!(cancel.top_via().unwrap().branch(), at_bob.top_via().unwrap().branch());
    assert_eq!(cancel.request_uri(), at_bob.request_uri());
    assert_eq!(w.gateway.contexts(), 0);
    // Both may get lost: they are said again, and then no more.
    w.pass(Duration::from_secs(60));
    let count = |w: &mut World, at| std::iter::from_fn(|| w.try_take(at)).count();
    assert_eq!((count(&mut w, ALICE), count(&mut w, BOB)), (3, 3));
    w.assert_empty();
    assert!(w.names().contains(&"setup-abandoned"));
}

/// The caller has heard a 100, and the gateway has not answered yet.
#[test]
fn a_set_up_that_has_called_nobody_is_refused() {
    let mut w = keeping();
    w.gateway.hold = true;
    let alice = Ua::new("alice", ALICE, "bob", "call-s");
    let request = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &with_sdp(request, &msrps("192.0.2.20", 2855, "actpass")));
    assert_eq!(w.gateway.contexts(), 1);
    w.gateway.hold = false;
    let restored = w.restart(config(), 99);
    assert_eq!((restored.calls, restored.setups), (0, 1));
    w.settle();
    w.take_status(ALICE, 503);
    assert!(w.try_take(BOB).is_none());
    w.pass(Duration::from_secs(60));
    assert_eq!(w.gateway.contexts(), 0);
}

/// The callee answers before the CANCEL reaches it: it is told that nobody waits any more.
#[test]
fn an_answer_to_a_set_up_that_died_is_turned_down() {
    let mut w = keeping();
    let (_, at_bob) = invite(&mut w, "call-s");
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.restart(config(), 99);
    w.settle();
    w.take_request(BOB, Method::Cancel);
    let answer = bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7394, "passive")));
    for _ in 0..2 {
        w.send(BOB, ACCESS, &answer);
        let ack = w.take_request(BOB, Method::Ack);
        assert_eq!(ack.request_uri().unwrap().as_str(), format!("sip:bob@{BOB}"));
        assert_eq!(ack.cseq().unwrap().number, at_bob.cseq().unwrap().number);
        if let Some(bye) = w.try_take(BOB) {
            assert_eq!((bye.method(), bye.to_tag().as_deref()), (&Method::Bye, Some("b1")), "{}", text(&bye));
            assert!(bye.header("Reason").unwrap().contains("started again"));
            w.send(BOB, ACCESS, &Message::response(&bye, 200, "").unwrap());
        }
    }
    let byes = w
        .inbox
        .get(&addr(BOB))
        .map_or(0, |inbox| inbox.iter().filter(|m| *m.method() == Method::Bye).count());
    assert_eq!(byes, 0, "once");
    // One that is nobody's is not.
    let stranger = Ua { call_id: "call-x".into(), ..bob.clone() };
    let mut odd = stranger.answer(&at_bob, 200, None);
    odd.set_header("Call-ID", "call-x").unwrap();
    w.send(BOB, ACCESS, &odd);
    w.pass(Duration::from_secs(100));
    while let Some(message) = w.try_take(BOB) {
        assert_eq!(*message.method(), Method::Cancel, "{}", text(&message));
    }
    w.send(BOB, ACCESS, &answer);
    assert!(w.try_take(BOB).is_none(), "its time is over");
    w.assert_empty();
}

#[test]
fn an_answer_waits_for_its_ack_across_the_start() {
    let mut w = keeping();
    let (mut alice, at_bob) = invite(&mut w, "call-r");
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let ok = answer(&mut w, &bob, &at_bob, &[]);
    let (at_bob, at_alice) = (contact(&at_bob), contact(&ok));
    // The ACK is lost with the process; the 200 comes again, until there is one.
    w.restart(config(), 99);
    w.settle();
    assert_eq!(text(&w.take_status(ALICE, 200)), text(&ok));
    w.pass(Duration::from_secs(2));
    assert_eq!(text(&w.take_status(ALICE, 200)), text(&ok));
    // And also for the process after that.
    w.restart(config(), 98);
    w.settle();
    while w.try_take(ALICE).is_some() {}
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &at_alice, 1);
    w.send(ALICE, ACCESS, &ack);
    let ack = w.take_request(BOB, Method::Ack);
    assert_eq!(ack.request_uri().unwrap().as_str(), format!("sip:bob@{BOB}"));
    w.pass(Duration::from_secs(60));
    assert!(w.try_take(ALICE).is_none(), "acknowledged");
    let mut c = Up { w, alice, bob, at_alice, at_bob, starts: 100 };
    c.restart();
    c.hang_up(Side::Caller);
}

#[test]
fn an_answer_that_is_never_acknowledged_ends_the_call() {
    let mut w = keeping();
    let (_, at_bob) = invite(&mut w, "call-r");
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    answer(&mut w, &bob, &at_bob, &[]);
    w.restart(config(), 99);
    w.settle();
    w.pass(Duration::from_secs(40));
    w.take_request(BOB, Method::Bye);
    assert!(w.events.contains(&Event::CallEnded {
        call_id: "call-r".into(),
        cause: Cause::NoAck,
        said: None
    }));
    w.pass(Duration::from_secs(60));
    w.assert_empty();
}

/// The offer came in the 200, and its answer in an ACK that nobody took.
#[test]
fn what_was_not_agreed_on_ends() {
    let mut w = keeping();
    let alice = Ua::new("alice", ALICE, "bob", "call-l");
    let request = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &request);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7394, "actpass"))));
    w.take_status(ALICE, 200);
    w.restart(config(), 99);
    w.settle();
    w.take_request(BOB, Method::Bye);
    assert!(w.events.contains(&Event::CallEnded {
        call_id: "call-l".into(),
        cause: Cause::Restarted,
        said: None
    }));
    w.pass(Duration::from_secs(60));
    w.assert_empty();
}

/// A re-INVITE has changed the gateway when its process ends.
#[test]
fn an_offer_that_died_is_set_back() {
    let mut c = up();
    let before = c.w.gateway.state.clone();
    let request = c.request(Side::Caller, Method::Invite, 2);
    let request = with_sdp(request, &msrps("192.0.2.20", 2999, "actpass"));
    c.w.send(ALICE, ACCESS, &request);
    let at_bob = c.w.take_request(BOB, Method::Invite);
    // Bob's answer reaches the gateway, and nobody else: the reply is kept back.
    c.w.gateway.hold = true;
    let answer = c.bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7999, "passive")));
    c.w.send(BOB, ACCESS, &answer);
    let remotes = |c: &Up| -> Vec<String> {
        c.w.gateway.state.values().flatten().map(|(_, t)| t.remote.clone()).collect()
    };
    let agreed: Vec<String> = before.values().flatten().map(|(_, t)| t.remote.clone()).collect();
    assert_ne!(remotes(&c), agreed);
    c.w.gateway.let_go();
    while c.w.gateway.poll().is_some() {}
    c.restart();
    assert_eq!(remotes(&c), agreed, "{:#?}", c.w.events);
    // Its sender tries again, over the same dialog.
    let again = c.request(Side::Caller, Method::Invite, 3);
    let again = with_sdp(again, &msrps("192.0.2.20", 2999, "actpass"));
    c.through(Side::Caller, &again, Some(&msrps("192.0.2.30", 7999, "passive")));
    assert_ne!(remotes(&c), agreed);
    c.hang_up(Side::Callee);
}

#[test]
fn a_session_timer_goes_on() {
    let mut c = up_in(keeping(), &[("Session-Expires", "1800;refresher=uac"), ("Require", "timer")]);
    c.w.pass(Duration::from_secs(900));
    c.restart();
    c.w.pass(Duration::from_secs(880));
    assert!(c.w.try_take(ALICE).is_none());
    c.w.pass(Duration::from_secs(100));
    c.w.take_request(ALICE, Method::Bye);
    c.w.take_request(BOB, Method::Bye);
    assert!(c.w.events.contains(&Event::CallEnded {
        call_id: "call-r".into(),
        cause: Cause::SessionTimer,
        said: None
    }));
    c.w.assert_empty();
}

#[test]
fn a_gateway_that_does_not_come_back_ends_its_calls_in_time() {
    let mut c = up();
    c.w.gateway.dead = true;
    c.restart();
    c.w.pass(Duration::from_secs(55));
    assert!(c.w.try_take(ALICE).is_none());
    c.w.pass(Duration::from_secs(10));
    let bye = c.w.take_request(ALICE, Method::Bye);
    assert!(bye.header("Reason").unwrap().contains("gateway"), "{}", text(&bye));
    c.w.take_request(BOB, Method::Bye);
}

/// A BYE comes before the gateway does: it is counted all the same.
#[test]
fn a_call_that_ends_before_its_gateway_is_there_is_counted() {
    let mut c = up();
    c.w.cut = vec!["agw1".into()];
    c.restart();
    let bye = c.request(Side::Callee, Method::Bye, 90);
    c.through(Side::Callee, &bye, None);
    assert_eq!(c.w.gateway.contexts(), 1);
    c.w.cut.clear();
    c.w.border.gateway_lost(c.w.now, "agw1");
    c.w.border.gateway_connected(c.w.now, "agw1");
    c.w.settle();
    c.w.pass(Duration::from_secs(10));
    let released = |e: &&Event| matches!(e, Event::MediaReleased { call_id, .. } if call_id == "call-r");
    let Some(Event::MediaReleased { octets, .. }) = c.w.events.iter().find(released) else {
        panic!("{:#?}", c.w.events)
    };
    assert_eq!(octets.caller.received, 51200);
    c.w.assert_empty();
}

#[test]
fn calls_of_before_count() {
    let capped = || {
        let mut config = config();
        config.networks[0].caps = Caps { per_user: Some(1), ..Caps::default() };
        config
    };
    let mut c = up();
    c.w.restart(capped(), 99);
    c.w.settle();
    let carol = Ua::new("alice", ALICE, "bob", "call-2");
    let request = c.w.request(&carol, Method::Invite, "sip:bob@example.com", 1);
    c.w.send(ALICE, ACCESS, &with_sdp(request, &msrps("192.0.2.20", 2855, "actpass")));
    c.w.take_status(ALICE, 503);
    c.hang_up(Side::Caller);
}

/// Carnet's own gateway, which looks at what it is told.
#[test]
fn the_same_with_a_gateway_of_ours() {
    let mut w = World::new(config());
    w.real = Some(RealGateway::new(w.now, "alg1.example.com"));
    w.border.gateway_connected(w.now, "agw1");
    w.border.keep_state();
    w.settle();
    w.pass(Duration::from_secs(5));
    w.register("alice", ALICE);
    w.register("bob", BOB);
    let mut c = up_in(w, &[]);
    invite(&mut c.w, "call-s");
    let contexts = |c: &Up| c.w.real.as_ref().unwrap().gateway.contexts();
    assert_eq!(contexts(&c), 2);
    let restored = c.restart();
    assert_eq!((restored.calls, restored.setups), (1, 1));
    c.w.pass(Duration::from_secs(3));
    assert_eq!(contexts(&c), 1, "{:#?}", c.w.events);
    while c.w.try_take(ALICE).is_some() {}
    while c.w.try_take(BOB).is_some() {}
    let again = c.request(Side::Caller, Method::Invite, 3);
    let again = with_sdp(again, &msrps("192.0.2.20", 2999, "actpass"));
    c.through(Side::Caller, &again, Some(&msrps("192.0.2.30", 7999, "passive")));
    let bye = c.request(Side::Caller, Method::Bye, 90);
    c.through(Side::Caller, &bye, None);
    c.w.pass(Duration::from_secs(100));
    assert_eq!(contexts(&c), 0);
}

/// Who calls before the gateways are back is not refused: the repetition finds them, or after a while the truth.
#[test]
fn new_calls_wait_for_the_gateways_of_before() {
    for comes in [true, false] {
        let mut c = up();
        c.w.cut = vec!["agw1".into()];
        c.restart();
        let carol = Ua::new("alice", ALICE, "bob", "call-2");
        let request = c.w.request(&carol, Method::Invite, "sip:bob@example.com", 1);
        let request = with_sdp(request, &msrps("192.0.2.20", 2855, "actpass"));
        c.w.send(ALICE, ACCESS, &request);
        assert!(c.w.inbox.get(&addr(ALICE)).is_none_or(|inbox| inbox.is_empty()), "not even a 100");
        if comes {
            c.w.cut.clear();
            c.w.border.gateway_lost(c.w.now, "agw1");
            c.w.border.gateway_connected(c.w.now, "agw1");
            c.w.settle();
        } else {
            c.w.pass(Duration::from_secs(4));
        }
        c.w.send(ALICE, ACCESS, &request);
        match comes {
            true => drop(c.w.take_request(BOB, Method::Invite)),
            false => drop(c.w.take_status(ALICE, 503)),
        }
    }
}

#[test]
fn a_border_that_hands_over_answers_nothing_new() {
    let mut c = up();
    c.w.border.hand_over();
    assert_eq!(c.w.border.in_motion(), 0);
    let carol = Ua::new("alice", ALICE, "bob", "call-2");
    let request = c.w.request(&carol, Method::Invite, "sip:bob@example.com", 1);
    c.w.send(ALICE, ACCESS, &with_sdp(request, &msrps("192.0.2.20", 2855, "actpass")));
    assert!(c.w.inbox.get(&addr(ALICE)).is_none_or(|inbox| inbox.is_empty()));
    // What there is goes on meanwhile.
    let update = c.request(Side::Callee, Method::Update, 5);
    c.through(Side::Callee, &update, None);
    c.restart();
    c.hang_up(Side::Caller);
}

/// Alice subscribes to bob and hears a first NOTIFY.
fn subscribed(w: &mut World, method: Method) -> Up {
    let mut alice = Ua::new("alice", ALICE, "bob", "call-n");
    let mut request = w.request(&alice, method.clone(), "sip:bob@example.com", 1);
    request.push_back("Event", "presence").unwrap();
    request.push_back("Record-Route", "<sip:192.0.2.77;lr>").unwrap();
    if method == Method::Refer {
        request.push_back("Refer-To", "<sip:carol@example.com>").unwrap();
    }
    w.send(ALICE, ACCESS, &request);
    let at_bob = w.take_request(BOB, method);
    let bob = Ua::answering("bob", BOB, &at_bob, "n1");
    let mut ok = bob.answer(&at_bob, 202, None);
    ok.push_back("Expires", "600").unwrap();
    w.send(BOB, ACCESS, &ok);
    let ok = w.take_status(ALICE, 202);
    alice.remote = ok.header("To").unwrap().into_owned();
    let w = std::mem::replace(w, World::new(config()));
    Up { at_bob: contact(&at_bob), at_alice: contact(&ok), w, alice, bob, starts: 100 }
}

impl Up {
    fn notify(&mut self, cseq: u32, state: &str) -> Message {
        let mut request = self.request(Side::Callee, Method::Notify, cseq);
        request.push_back("Event", "presence").unwrap();
        request.push_back("Subscription-State", state).unwrap();
        self.w.send(BOB, ACCESS, &request);
        let there = self.w.take_request(ALICE, Method::Notify);
        self.w.send(ALICE, ACCESS, &Message::response(&there, 200, "").unwrap());
        self.w.take_status(BOB, 200);
        there
    }

    fn subscriptions(&self) -> (usize, usize) {
        let kept = self.w.records.values().filter(|text| text.starts_with("carnet subscription"));
        (self.w.border.load().subscriptions, kept.count())
    }
}

#[test]
fn subscriptions_go_on_and_end_in_order() {
    for method in [Method::Subscribe, Method::Refer] {
        let seen: Vec<_> = [0, 1, 3]
            .into_iter()
            .map(|starts| {
                let mut c = subscribed(&mut keeping(), method.clone());
                let first = without_vias(&c.notify(2, "active;expires=600"));
                for _ in 0..starts {
                    let restored = c.restart();
                    assert_eq!((restored.subscriptions, restored.refused.len()), (1, 0));
                }
                let second = without_vias(&c.notify(3, "active;expires=500"));
                assert_eq!(first.replace("2 NOTIFY", "3 NOTIFY").replace("=600", "=500"), second);
                // The end, as the subscriber wants it.
                let mut stop = c.request(Side::Caller, Method::Subscribe, 5);
                stop.push_back("Expires", "0").unwrap();
                let there = without_vias(&c.through(Side::Caller, &stop, None));
                c.notify(6, "terminated;reason=timeout");
                // Another notifier might have turned up until then.
                c.w.pass(Duration::from_secs(45));
                assert_eq!(c.subscriptions(), (0, 0));
                c.w.assert_empty();
                (second.replace(&c.at_alice, "A"), there.replace(&c.at_bob, "B"))
            })
            .collect();
        assert_eq!(seen[0], seen[1], "{method}");
        assert_eq!(seen[0], seen[2], "{method}");
    }
}

#[test]
fn a_subscription_that_nobody_refreshes_is_over_when_it_would_have_been() {
    for starts in [0, 1, 4] {
        let mut c = subscribed(&mut keeping(), Method::Subscribe);
        for _ in 0..starts {
            c.w.pass(Duration::from_secs(100));
            c.restart();
        }
        c.w.pass(Duration::from_secs(630 - 100 * starts));
        assert_eq!(c.subscriptions(), (1, 1), "after {starts} starts");
        c.w.pass(Duration::from_secs(50));
        assert_eq!(c.subscriptions(), (0, 0), "after {starts} starts");
        c.w.assert_empty();
    }
    // Or it is already over when somebody starts.
    let mut c = subscribed(&mut keeping(), Method::Subscribe);
    let kept = c.w.records.clone();
    c.w.pass(Duration::from_secs(700));
    c.w.records = kept;
    let restored = c.restart();
    assert_eq!((restored.subscriptions, restored.refused.len()), (0, 0));
    assert_eq!(c.subscriptions(), (0, 0));
    c.w.assert_empty();
}

/// Somebody sets the clock of the host while nobody is there: no time has passed by that.
#[test]
fn a_clock_that_was_set_ends_nothing() {
    for (by, back) in [(3600 * 24 * 30, false), (3600 * 24 * 30, true)] {
        let mut c = subscribed(&mut keeping(), Method::Subscribe);
        c.w.pass(Duration::from_secs(100));
        c.w.set_clock(Duration::from_secs(by), back);
        let restored = c.restart();
        assert_eq!((restored.subscriptions, restored.bindings), (1, 2), "{back}");
        c.restart();
        c.w.pass(Duration::from_secs(530));
        assert_eq!(c.subscriptions(), (1, 1), "{back}");
        c.w.pass(Duration::from_secs(50));
        assert_eq!(c.subscriptions(), (0, 0), "{back}");
    }
}

/// The process ends before the notifier's answer is there: its NOTIFY makes the dialog.
#[test]
fn a_subscription_that_was_under_way_begins_with_its_notify() {
    let mut w = keeping();
    let alice = Ua::new("alice", ALICE, "bob", "call-n");
    let request = w.request(&alice, Method::Subscribe, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &request);
    let at_bob = w.take_request(BOB, Method::Subscribe);
    let bob = Ua::answering("bob", BOB, &at_bob, "n1");
    assert_eq!(w.restart(config(), 99).subscriptions, 1);
    w.settle();
    let mut notify = w.request(&bob, Method::Notify, &contact(&at_bob), 1);
    notify.push_back("Subscription-State", "active;expires=60").unwrap();
    w.send(BOB, ACCESS, &notify);
    let there = w.take_request(ALICE, Method::Notify);
    assert_eq!(there.request_uri().unwrap().as_str(), format!("sip:alice@{ALICE}"));
    w.send(ALICE, ACCESS, &Message::response(&there, 200, "").unwrap());
    w.take_status(BOB, 200);
    // One that nobody has answered for is forgotten.
    w.pass(Duration::from_secs(110));
    assert_eq!(w.border.load().subscriptions, 0);
    w.assert_empty();
}

/// The process ends while a SUBSCRIBE is under way, or before its sender has the answer: what the sender repeats is, octet for
/// octet, what its notifier had. Else that would be a merged request for it (RFC 3261 §8.2.2.2): 482.
#[test]
fn a_request_that_is_repeated_across_a_start_is_the_same_for_its_notifier() {
    for (method, answered) in [(Method::Subscribe, false), (Method::Subscribe, true), (Method::Refer, true)] {
        let mut w = keeping();
        let mut alice = Ua::new("alice", ALICE, "bob", "call-n");
        let mut request = w.request(&alice, method.clone(), "sip:bob@example.com", 1);
        request.push_back("Event", "presence").unwrap();
        request.push_back("Refer-To", "<sip:carol@example.com>").unwrap();
        w.send(ALICE, ACCESS, &request);
        let at_bob = w.take_request(BOB, method.clone());
        let bob = Ua::answering("bob", BOB, &at_bob, "n1");
        if answered {
            w.send(BOB, ACCESS, &bob.answer(&at_bob, 202, None));
            w.take_status(ALICE, 202);
        }
        // The second start knows it by what the first one wrote.
        for seed in [99, 98] {
            assert_eq!(w.restart(config(), seed).subscriptions, 1);
            w.settle();
            w.send(ALICE, ACCESS, &request);
            assert_eq!(
                text(&w.take_request(BOB, method.clone())),
                text(&at_bob),
                "{method} {answered} {seed}"
            );
        }
        w.send(BOB, ACCESS, &bob.answer(&at_bob, 202, None));
        let ok = w.take_status(ALICE, 202);
        assert_eq!(w.border.load().subscriptions, 1);
        alice.remote = ok.header("To").unwrap().into_owned();
        let mut c = Up { at_bob: contact(&at_bob), at_alice: contact(&ok), w, alice, bob, starts: 100 };
        c.notify(2, "active;expires=600");
        // Another request is another one, also with the same Call-ID.
        let mut other = Ua::new("alice", ALICE, "bob", "call-n");
        other.local = other.local.replace("tag=", "tag=other-");
        let new = c.w.request(&other, method.clone(), "sip:bob@example.com", 1);
        c.w.send(ALICE, ACCESS, &new);
        let there = c.w.take_request(BOB, method.clone());
        assert_ne!(contact(&there), c.at_bob);
        c.w.send(BOB, ACCESS, &bob_refuses(&there));
        c.w.take_status(ALICE, 489);
        c.notify(3, "terminated;reason=noresource");
        c.w.pass(Duration::from_secs(60));
        assert_eq!(c.subscriptions(), (0, 0));
        c.w.assert_empty();
    }
}

fn bob_refuses(request: &Message) -> Message {
    Message::response(request, 489, "").unwrap()
}

/// Long after that it is a new one.
#[test]
fn a_request_is_not_expected_to_be_repeated_for_ever() {
    let mut c = subscribed(&mut keeping(), Method::Subscribe);
    let first = c.at_bob.clone();
    c.w.pass(Duration::from_secs(60));
    c.restart();
    let alice = Ua::new("alice", ALICE, "bob", "call-n");
    let request = c.w.request(&alice, Method::Subscribe, "sip:bob@example.com", 1);
    c.w.send(ALICE, ACCESS, &request);
    assert_ne!(contact(&c.w.take_request(BOB, Method::Subscribe)), first);
}

/// The last NOTIFY has gone through, its answer has not: it comes again, and is no stranger's.
#[test]
fn a_last_notify_may_come_again() {
    let mut c = subscribed(&mut keeping(), Method::Subscribe);
    let mut last = c.request(Side::Callee, Method::Notify, 2);
    last.push_back("Subscription-State", "terminated;reason=noresource").unwrap();
    c.w.send(BOB, ACCESS, &last);
    c.w.take_request(ALICE, Method::Notify);
    c.restart();
    assert_eq!(c.subscriptions(), (1, 1));
    c.notify(2, "terminated;reason=noresource");
    c.w.pass(Duration::from_secs(45));
    assert_eq!(c.subscriptions(), (0, 0));
    c.w.assert_empty();
}

#[test]
fn no_more_subscriptions_are_taken_up_than_there_is_room_for() {
    let mut c = subscribed(&mut keeping(), Method::Subscribe);
    let mut small = config();
    small.limits.subscriptions = 0;
    let restored = c.w.restart(small, 9);
    assert_eq!((restored.subscriptions, restored.refused.len()), (0, 1), "{:?}", restored.refused);
    c.w.settle();
    assert_eq!(c.subscriptions(), (0, 0));
}

/// Bits fall, lines are missing, records are somebody else's: nothing panics, and what is taken up is whole.
#[test]
fn damaged_records_are_refused() {
    let mut c = up();
    let c = subscribed(&mut c.w, Method::Subscribe);
    let whole = c.w.records.clone();
    let mut dice = SeededRandom::new(5);
    let mut refused = 0;
    for _ in 0..3_000 {
        let mut records = whole.clone();
        let at = dice.u32() as usize % records.len();
        let text = records.values_mut().nth(at).unwrap();
        let mut octets = text.clone().into_bytes();
        for _ in 0..=dice.u32() % 3 {
            let at = dice.u32() as usize % octets.len();
            match dice.u32() % 4 {
                0 => octets.truncate(at.max(1)),
                1 => octets[at] = b'\n',
                2 => octets[at] = b'\t',
                _ => octets[at] = dice.u32().to_le_bytes()[0],
            }
        }
        *text = String::from_utf8_lossy(&octets).into_owned();
        let mut w = World::up(config());
        w.records = records;
        let restored = w.restart(config(), 3);
        w.settle();
        refused += restored.refused.len();
        assert!(restored.calls <= 1 && restored.subscriptions <= 1);
        let load = w.border.load();
        assert_eq!(load.tokens, 2 * (load.calls + load.subscriptions), "{load:?}");
    }
    assert!(refused > 1_000, "{refused}");
    // Two with the same context or Contact are not both believed.
    let mut w = World::up(config());
    w.records = whole.clone();
    let call = whole.values().find(|text| text.starts_with("carnet call")).unwrap().clone();
    w.records.insert(70, call);
    let subscription = whole.values().find(|text| text.starts_with("carnet subscription")).unwrap().clone();
    w.records.insert(71, subscription);
    let restored = w.restart(config(), 3);
    let taken = (restored.calls, restored.subscriptions, restored.refused.len());
    assert_eq!(taken, (1, 1, 2), "{:?}", restored.refused);
    // Neither is one of a later version.
    w.records = whole
        .values()
        .map(|text| text.replace(" 1\n", " 2\n"))
        .enumerate()
        .map(|(n, t)| (n as u32 + 1, t))
        .collect();
    let restored = w.restart(config(), 3);
    assert_eq!((restored.calls, restored.bindings, restored.refused.len()), (0, 0, 4));
    w.settle();
    assert!(w.records.is_empty(), "they are forgotten");
}
