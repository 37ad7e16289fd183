//! Requests that are no calls: they pass, with their dialogs if they make any, and leave nothing.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_h248::association::Transport::Reliable;
use carnet_sip::{Message, Method};
use carnet_wire::{Random, SeededRandom};
use common::*;
use std::time::Duration;

fn world() -> World {
    let mut config = alg(Reliable);
    // A week of heartbeats would take its time.
    config.timers.gateway_heartbeat = Duration::from_secs(3600);
    config.timers.gateway_lost = Duration::from_secs(36_000);
    World::with_users(config)
}

/// Alice subscribes to bob, or refers him; the request as it reached him.
fn begin(w: &mut World, method: Method, expires: Option<u32>) -> (Ua, Ua, Message) {
    let alice = Ua::new("alice", ALICE, "bob", "call-s");
    let mut request = w.request(&alice, method.clone(), "sip:bob@example.com", 1);
    match method {
        Method::Refer => request.push_back("Refer-To", "<sip:carol@example.com?Replaces=a%3Bb>").unwrap(),
        _ => request.push_back("Event", "presence").unwrap(),
    }
    if let Some(expires) = expires {
        request.push_back("Expires", &expires.to_string()).unwrap();
    }
    w.send(ALICE, ACCESS, &request);
    let at_bob = w.take_request(BOB, method);
    let bob = Ua::answering("bob", BOB, &at_bob, "n1");
    (alice, bob, at_bob)
}

fn accept(w: &mut World, bob: &Ua, at_bob: &Message, expires: Option<u32>) -> Message {
    let mut ok = bob.answer(at_bob, 202, None);
    if let Some(expires) = expires {
        ok.push_back("Expires", &expires.to_string()).unwrap();
    }
    w.send(BOB, ACCESS, &ok);
    w.take_status(ALICE, 202)
}

/// Bob notifies; the NOTIFY as it reached alice, who answers.
fn notify(w: &mut World, bob: &Ua, target: &str, cseq: u32, state: &str, status: u16) -> Message {
    let mut request = w.request(bob, Method::Notify, target, cseq);
    request.push_back("Subscription-State", state).unwrap();
    request.push_back("Event", "presence").unwrap();
    request.set_body("news", Some("text/plain")).unwrap();
    w.send(BOB, ACCESS, &request);
    let at_alice = w.take_request(ALICE, Method::Notify);
    let mut answer = Message::response(&at_alice, status, "").unwrap();
    answer.push_back("Contact", &format!("<sip:alice@{ALICE}>")).unwrap();
    w.send(ALICE, ACCESS, &answer);
    w.take_status(BOB, status);
    at_alice
}

fn is_known(w: &World) -> bool {
    w.border.load().subscriptions == 1
}

#[test]
fn a_subscription_from_its_beginning_to_its_end() {
    let mut w = world();
    let (mut alice, bob, at_bob) = begin(&mut w, Method::Subscribe, Some(600));
    let ours = contact(&at_bob);
    assert!(
        ours.ends_with("@192.0.2.1:5060") && !text(&at_bob).contains(&format!("@{ALICE}")),
        "{}",
        text(&at_bob)
    );
    assert!(at_bob.header("Contact").unwrap().ends_with(";+sip.instance=\"<urn:uuid:1>\""));
    assert_eq!(at_bob.header("Max-Forwards").as_deref(), Some("69"));
    // The NOTIFY may be faster than the 202 (RFC 6665 §4.1.2.4).
    let first = notify(&mut w, &bob, &ours, 1, "pending;expires=600", 200);
    assert_eq!(first.header("Event").as_deref(), Some("presence"));
    assert_eq!(body(&first), "news");
    assert_eq!(first.request_uri().unwrap().as_str(), format!("sip:alice@{ALICE}"));
    let ok = accept(&mut w, &bob, &at_bob, Some(600));
    assert_eq!(contact(&ok), contact(&first), "one Contact for one dialog");
    notify(&mut w, &bob, &ours, 2, "active;expires=599", 200);
    // A refresh, and requests of any other method, in both directions.
    alice.remote = ok.header("To").unwrap().into_owned();
    w.pass(Duration::from_secs(550));
    let mut refresh = w.request(&alice, Method::Subscribe, &contact(&ok), 2);
    refresh.push_back("Expires", "600").unwrap();
    w.send(ALICE, ACCESS, &refresh);
    let at_bob = w.take_request(BOB, Method::Subscribe);
    assert_eq!(at_bob.request_uri().unwrap().as_str(), format!("sip:bob@{BOB}"));
    accept(&mut w, &bob, &at_bob, Some(600));
    w.pass(Duration::from_secs(599));
    notify(&mut w, &bob, &ours, 3, "active;expires=10", 200);
    let strange = w.request(&bob, Method::parse("FROBNICATE").unwrap(), &ours, 4);
    w.send(BOB, ACCESS, &strange);
    let there = w.take_request(ALICE, Method::parse("FROBNICATE").unwrap());
    w.send(ALICE, ACCESS, &Message::response(&there, 200, "").unwrap());
    w.take_status(BOB, 200);
    // The end.
    let mut unsubscribe = w.request(&alice, Method::Subscribe, &contact(&ok), 3);
    unsubscribe.push_back("Expires", "0").unwrap();
    w.send(ALICE, ACCESS, &unsubscribe);
    let at_bob = w.take_request(BOB, Method::Subscribe);
    accept(&mut w, &bob, &at_bob, Some(0));
    assert!(is_known(&w), "a last NOTIFY comes");
    notify(&mut w, &bob, &ours, 5, "terminated;reason=timeout", 200);
    assert_eq!(w.border.load().subscriptions, 0);
    assert_eq!((w.border.load().tokens, w.border.load().alarms), (0, 2), "two bindings");
    let late = w.request(&bob, Method::Notify, &ours, 6);
    w.send(BOB, ACCESS, &late);
    w.take_status(BOB, 481);
    w.assert_empty();
}

#[test]
fn a_subscription_that_nobody_refreshes_is_forgotten() {
    for (granted, state, lives, over) in [
        (Some(600), None, 630, 50),
        // The NOTIFY has the last word.
        (Some(600), Some("active;expires=1200"), 1230, 50),
        (Some(600), Some("active;expires=60"), 90, 50),
        // No NOTIFY and no 2xx that says how long.
        (None, None, 3630, 50),
        (Some(u32::MAX), Some("active"), 604_800, 60),
    ] {
        let mut w = world();
        let (_, bob, at_bob) = begin(&mut w, Method::Subscribe, None);
        accept(&mut w, &bob, &at_bob, granted);
        if let Some(state) = state {
            notify(&mut w, &bob, &contact(&at_bob), 1, state, 200);
        }
        w.pass(Duration::from_secs(lives));
        assert!(is_known(&w), "{granted:?} {state:?}");
        w.pass(Duration::from_secs(over));
        assert!(!is_known(&w), "{granted:?} {state:?}");
        w.assert_empty();
    }
}

#[test]
fn subscriptions_that_never_were() {
    // Refused.
    let mut w = world();
    let (_, bob, at_bob) = begin(&mut w, Method::Subscribe, Some(600));
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 489, None));
    w.take_status(ALICE, 489);
    assert_eq!(w.border.load().subscriptions, 0);
    w.assert_empty();
    // Never answered.
    let (_, _, _) = begin(&mut w, Method::Subscribe, Some(600));
    w.pass(Duration::from_secs(45));
    assert_eq!(w.border.load().subscriptions, 0);
    w.assert_empty();
    // A 2xx that refuses the subscription (RFC 4488).
    let mut w = world();
    let (_, bob, at_bob) = begin(&mut w, Method::Refer, None);
    let mut ok = bob.answer(&at_bob, 200, None);
    ok.push_back("Refer-Sub", "false").unwrap();
    w.send(BOB, ACCESS, &ok);
    w.take_status(ALICE, 200);
    w.pass(Duration::from_secs(45));
    assert_eq!(w.border.load().subscriptions, 0);
    w.assert_empty();
    // The subscriber does not know it (any more).
    let mut w = world();
    let (_, bob, at_bob) = begin(&mut w, Method::Subscribe, Some(600));
    accept(&mut w, &bob, &at_bob, Some(600));
    notify(&mut w, &bob, &contact(&at_bob), 1, "active;expires=600", 481);
    w.pass(Duration::from_secs(45));
    assert_eq!(w.border.load().subscriptions, 0);
    w.assert_empty();
}

#[test]
fn a_refer_and_what_came_of_it() {
    let mut w = world();
    let (_, bob, at_bob) = begin(&mut w, Method::Refer, None);
    assert_eq!(at_bob.header("Refer-To").as_deref(), Some("<sip:carol@example.com?Replaces=a%3Bb>"));
    accept(&mut w, &bob, &at_bob, None);
    notify(&mut w, &bob, &contact(&at_bob), 1, "active;expires=60", 200);
    notify(&mut w, &bob, &contact(&at_bob), 2, "terminated;reason=noresource", 200);
    w.pass(Duration::from_secs(45));
    assert_eq!(w.border.load().subscriptions, 0);
    w.assert_empty();
}

/// A REFER inside a call: its NOTIFYs find their way also when the call is over (RFC 5057 §4.1).
#[test]
fn a_transfer_outlives_its_call() {
    let mut w = world();
    let mut alice = Ua::new("alice", ALICE, "bob", "call-t");
    let invite = with_sdp(
        w.request(&alice, Method::Invite, "sip:bob@example.com", 1),
        &msrps("192.0.2.20", 2855, "actpass"),
    );
    w.send(ALICE, ACCESS, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7394, "passive"))));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    for (method, cseq) in [(Method::Ack, 1), (Method::Refer, 2), (Method::Bye, 3)] {
        let request = w.request(&alice, method.clone(), &contact(&ok), cseq);
        w.send(ALICE, ACCESS, &request);
        let there = w.take_request(BOB, method.clone());
        if method != Method::Ack {
            w.send(BOB, ACCESS, &bob.answer(&there, 200, None));
            w.take_status(ALICE, 200);
        }
    }
    assert_eq!(w.gateway.contexts(), 0);
    notify(&mut w, &bob, &contact(&at_bob), 1, "terminated;reason=noresource", 200);
    w.assert_empty();
}

/// RFC 6665 §4.4.1: one SUBSCRIBE, several notifiers, a dialog each.
#[test]
fn several_notifiers() {
    let mut config = alg(Reliable);
    config.limits.forks = 2;
    let mut w = World::with_users(config);
    let (_, bob, at_bob) = begin(&mut w, Method::Subscribe, Some(600));
    accept(&mut w, &bob, &at_bob, Some(600));
    let ours = contact(&at_bob);
    let other = Ua { local: bob.local.replace("n1", "n2"), ..bob.clone() };
    let third = Ua { local: bob.local.replace("n1", "n3"), ..bob.clone() };
    let one = notify(&mut w, &bob, &ours, 1, "active;expires=600", 200);
    let two = notify(&mut w, &other, &ours, 1, "active;expires=600", 200);
    assert_ne!(one.from_tag(), two.from_tag());
    let request = w.request(&third, Method::Notify, &ours, 1);
    w.send(BOB, ACCESS, &request);
    w.take_status(BOB, 481);
    // One of them ends; the other goes on.
    notify(&mut w, &other, &ours, 2, "terminated", 200);
    notify(&mut w, &bob, &ours, 2, "active;expires=600", 200);
    assert!(is_known(&w));
    notify(&mut w, &bob, &ours, 3, "terminated", 200);
    w.pass(Duration::from_secs(45));
    w.assert_empty();
}

/// Every terminal of the user is asked, and each that answers notifies.
#[test]
fn a_subscription_to_several_terminals() {
    const DESK: &str = "192.0.2.31:5060";
    let mut w = world();
    w.register("bob", DESK);
    let (_, bob, at_bob) = begin(&mut w, Method::Subscribe, Some(600));
    let at_desk = w.take_request(DESK, Method::Subscribe);
    let desk = Ua::answering("bob", DESK, &at_desk, "n2");
    assert_ne!(contact(&at_bob), contact(&at_desk));
    accept(&mut w, &bob, &at_bob, Some(600));
    let mut ok = desk.answer(&at_desk, 202, None);
    ok.push_back("Expires", "600").unwrap();
    w.send(DESK, ACCESS, &ok);
    assert!(w.try_take(ALICE).is_none(), "one final response");
    for (ua, at, ours) in [(&bob, BOB, &at_bob), (&desk, DESK, &at_desk)] {
        let mut request = w.request(ua, Method::Notify, &contact(ours), 1);
        request.push_back("Subscription-State", "terminated").unwrap();
        w.send(at, ACCESS, &request);
        let there = w.take_request(ALICE, Method::Notify);
        w.send(ALICE, ACCESS, &Message::response(&there, 200, "").unwrap());
        w.take_status(at, 200);
    }
    w.pass(Duration::from_secs(45));
    w.assert_empty();
}

/// Towards another network: Record-Route is followed, and nothing of the inside shows.
#[test]
fn subscriptions_hide_and_follow_routes() {
    let mut w = World::up(ibcf());
    let alice = Ua::new("alice", ALICE, "carol@other.example", "call-h");
    let mut subscribe = w.request(&alice, Method::Subscribe, "sip:carol@other.example", 1);
    subscribe.push_back("Record-Route", "<sip:192.0.2.77;lr>").unwrap();
    subscribe.push_back("X-Unheard-Of", "  kept").unwrap();
    w.send(ALICE, ACCESS, &subscribe);
    let at_peer = w.take_request(PEER, Method::Subscribe);
    for hidden in ["192.0.2.20", "192.0.2.77", "Record-Route"] {
        assert!(!text(&at_peer).contains(hidden), "{hidden} shows in\n{}", text(&at_peer));
    }
    assert_eq!(at_peer.header("X-Unheard-Of").as_deref(), Some("kept"));
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    let mut ok = carol.answer(&at_peer, 200, None);
    ok.push_back("Record-Route", "<sip:198.51.100.55;lr>").unwrap();
    ok.push_back("Expires", "600").unwrap();
    w.send(PEER, CORE, &ok);
    let ok = w.take_status(ALICE, 200);
    assert!(!text(&ok).contains("198.51.100."), "{}", text(&ok));
    assert_eq!(ok.header("Record-Route").as_deref(), Some("<sip:192.0.2.77;lr>"));
    // NOTIFY goes back by the subscriber's recorded route, a refresh by the notifier's.
    let mut news = w.request(&carol, Method::Notify, &contact(&at_peer), 1);
    news.push_back("Subscription-State", "active;expires=600").unwrap();
    w.send(PEER, CORE, &news);
    let there = w.take_request("192.0.2.77:5060", Method::Notify);
    assert_eq!(there.header("Route").as_deref(), Some("<sip:192.0.2.77;lr>"));
    let mut answer = Message::response(&there, 200, "").unwrap();
    answer.push_back("Contact", "<sip:alice@192.0.2.20>").unwrap();
    w.send(ALICE, ACCESS, &answer);
    let answer = w.take_status(PEER, 200);
    assert!(!text(&answer).contains("192.0.2.20"), "{}", text(&answer));
    let mut alice = alice;
    alice.remote = ok.header("To").unwrap().into_owned();
    let refresh = w.request(&alice, Method::Subscribe, &contact(&ok), 2);
    w.send(ALICE, ACCESS, &refresh);
    let there = w.take_request("198.51.100.55:5060", Method::Subscribe);
    assert_eq!(there.header("Route").as_deref(), Some("<sip:198.51.100.55;lr>"));
    assert_eq!(there.request_uri().unwrap().as_str(), format!("sip:carol@{PEER}"));
    w.send("198.51.100.55:5060", CORE, &carol.answer(&there, 481, None));
    w.take_status(ALICE, 481);
    w.assert_empty();
}

/// A known Contact token is not enough, nor is a place in another network.
#[test]
fn strangers_are_no_part_of_it() {
    let mut w = world();
    let (alice, bob, at_bob) = begin(&mut w, Method::Subscribe, Some(600));
    let ok = accept(&mut w, &bob, &at_bob, Some(600));
    let mut right = alice.clone();
    right.remote = ok.header("To").unwrap().into_owned();
    let mut guess = right.clone();
    guess.local = guess.local.replace("tag=t-alice", "tag=guess");
    let mut other = right.clone();
    other.remote = other.remote.replace("tag=n1", "tag=n9");
    let mut call = right.clone();
    call.call_id = "call-other".into();
    for ua in [&guess, &other, &call] {
        let request = w.request(ua, Method::Subscribe, &contact(&ok), 5);
        w.send(ALICE, ACCESS, &request);
        w.take_status(ALICE, 481);
    }
    let request = w.request(&right, Method::Subscribe, &contact(&ok), 6);
    w.send(PEER, CORE, &request);
    w.take_status(PEER, 481);
    assert!(w.try_take(BOB).is_none());
}

#[test]
fn a_full_table_is_503() {
    let mut config = alg(Reliable);
    config.limits.subscriptions = 1;
    let mut w = World::with_users(config);
    let _ = begin(&mut w, Method::Subscribe, Some(600));
    let again = w.request(&Ua::new("alice", ALICE, "bob", "call-2"), Method::Refer, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &again);
    assert!(w.take_status(ALICE, 503).has("Retry-After"));
    // Others are not in its way.
    let message =
        w.request(&Ua::new("alice", ALICE, "bob", "call-3"), Method::Message, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &message);
    w.take_request(BOB, Method::Message);
}

// -- what leaves nothing but its transaction --------------------------------------------------------

#[test]
fn requests_without_a_dialog_pass() {
    for method in ["MESSAGE", "PUBLISH", "OPTIONS", "INFO", "NOTIFY", "FROBNICATE"] {
        let method = Method::parse(method).unwrap();
        let mut w = world();
        let alice = Ua::new("alice", ALICE, "bob", "call-x");
        let mut request = w.request(&alice, method.clone(), "sip:bob@example.com", 1);
        request.push_back("X-Unheard-Of", "kept \t as it came").unwrap();
        request.push_back("Require", "x-unheard-of").unwrap();
        request.set_body("--b no parts", Some("multipart/mixed;boundary=b")).unwrap();
        w.send(ALICE, ACCESS, &request);
        let at_bob = w.take_request(BOB, method.clone());
        assert_eq!(at_bob.header_octets("X-Unheard-Of"), Some(&b"kept \t as it came"[..]), "{method}");
        assert_eq!(at_bob.header("Require").as_deref(), Some("x-unheard-of"));
        assert_eq!(at_bob.body(), request.body());
        assert_eq!(at_bob.header("Max-Forwards").as_deref(), Some("69"));
        assert_eq!(at_bob.header("P-Asserted-Identity").as_deref(), Some("<sip:alice@example.com>"));
        assert!(!text(&at_bob).contains(&format!("@{ALICE}")), "{}", text(&at_bob));
        let bob = Ua::answering("bob", BOB, &at_bob, "b");
        w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some("v=0\r\n")));
        let ok = w.take_status(ALICE, 200);
        assert!(!text(&ok).contains(&format!("@{BOB}")), "{}", text(&ok));
        assert_eq!(body(&ok), "v=0\r\n");
        w.assert_empty();

        let mut spent = w.request(&alice, method.clone(), "sip:bob@example.com", 2);
        spent.set_header("Max-Forwards", "0").unwrap();
        w.send(ALICE, ACCESS, &spent);
        w.take_status(ALICE, 483);
        // Nobody answers.
        let lost = w.request(&alice, method.clone(), "sip:bob@example.com", 3);
        w.send(ALICE, ACCESS, &lost);
        w.pass(Duration::from_secs(33));
        w.assert_empty();
    }
    for method in [Method::Bye, Method::Prack, Method::Update] {
        let mut w = world();
        let alice = Ua::new("alice", ALICE, "bob", "call-y");
        let request = w.request(&alice, method, "sip:bob@example.com", 1);
        w.send(ALICE, ACCESS, &request);
        w.take_status(ALICE, 481);
    }
}

#[test]
fn the_border_says_what_it_can() {
    let mut w = world();
    let stranger = Ua::new("x", "192.0.2.200:5060", "y", "call-o");
    for (n, target) in ["sip:192.0.2.1:5060", "sip:192.0.2.1", "sip:EXAMPLE.com"].into_iter().enumerate() {
        let mut options = w.request(&stranger, Method::Options, target, 1 + n as u32);
        // RFC 3261 §11: it is for us, however far it may go.
        options.set_header("Max-Forwards", "0").unwrap();
        w.send("192.0.2.200:5060", ACCESS, &options);
        let ok = w.take_status("192.0.2.200:5060", 200);
        assert!(ok.lists("Allow", "SUBSCRIBE") && ok.lists("Allow", "INVITE"));
        assert!(ok.lists("Accept", "application/sdp") && ok.has("Supported"));
        assert!(ok.to_tag().is_some());
    }
    // One for a user goes to that user; one for another domain goes there.
    let alice = Ua::new("alice", ALICE, "bob", "call-p");
    let options = w.request(&alice, Method::Options, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &options);
    w.take_request(BOB, Method::Options);
    let options = w.request(&alice, Method::Options, "sip:other.example", 2);
    w.send(ALICE, ACCESS, &options);
    w.take_request(PEER, Method::Options);
}

/// Both ends do whatever they like with subscriptions; in the end nothing is left.
#[test]
fn whatever_happens_nothing_is_left() {
    for seed in 0..200 {
        let mut dice = SeededRandom::new(seed);
        let mut roll = |sides: u32| dice.u32() % sides;
        let mut w = world();
        let (mut alice, bob, at_bob) =
            begin(&mut w, [Method::Subscribe, Method::Refer][roll(2) as usize].clone(), Some(60));
        let ours = contact(&at_bob);
        let mut open = vec![(BOB, bob.clone(), at_bob)];
        let mut target: Option<String> = None;
        for cseq in 2..30 {
            match roll(6) {
                0 | 1 if !open.is_empty() => {
                    let (at, ua, m) = open.swap_remove(roll(open.len() as u32) as usize);
                    let mut answer = ua.answer(&m, [200, 202, 200, 481, 500][roll(5) as usize], None);
                    if roll(2) == 0 {
                        answer.push_back("Expires", &[0, 60, 600][roll(3) as usize].to_string()).unwrap();
                    }
                    w.send(at, ACCESS, &answer);
                }
                2 | 3 => {
                    let tag = ["tag=n1", "tag=n2"][roll(2) as usize];
                    let ua = Ua { local: bob.local.replace("tag=n1", tag), ..bob.clone() };
                    let mut m = w.request(&ua, Method::Notify, &ours, cseq);
                    let state =
                        ["active;expires=60", "terminated", "pending", "active;expires=x"][roll(4) as usize];
                    m.push_back("Subscription-State", state).unwrap();
                    w.send(BOB, ACCESS, &m);
                }
                4 => {
                    if let Some(target) = &target {
                        let m = w.request(&alice, Method::Subscribe, target, cseq);
                        w.send(ALICE, ACCESS, &m);
                    }
                }
                _ => w.pass(Duration::from_secs([0, 1, 35, 100][roll(4) as usize])),
            }
            for (at, ua) in [(ALICE, alice.clone()), (BOB, bob.clone())] {
                while let Some(m) = w.try_take(at) {
                    if m.is_request() {
                        open.push((at, ua.clone(), m));
                    } else if at == ALICE && m.status() < Some(300) && m.has("Contact") {
                        alice.remote = m.header("To").unwrap().into_owned();
                        target = Some(contact(&m));
                    }
                }
            }
        }
        w.pass(Duration::from_secs(5000));
        w.assert_empty();
        assert!(w.border.load().alarms <= 2, "seed {seed}: {:?}", w.border.load());
    }
}
