//! Offers of all kinds: what is kept, what is given back, whose turn it is.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_gateway::media::Gate;
use carnet_ng::{Request, Value};
use carnet_steering::Event;
use common::*;
use std::time::Duration;

fn call(rig: &mut Rig) -> (String, String) {
    let there = rig.sdp(offer("c1", "a", &msrp("192.0.2.1", 2855, "actpass")));
    let back = rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
    (there, back)
}

#[test]
fn media_of_others_are_handed_back_and_nothing_is_kept() {
    let mut rig = Rig::new();
    let audio = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                 m=audio 4000 RTP/SAVP 0\r\na=crypto:1 x inline:y\r\nm=image 0 udptl t38\r\n\
                 m=message 0 TCP/MSRP *\r\n";
    assert_eq!(rig.sdp(offer("c1", "a", audio)), audio);
    assert_eq!(rig.sdp(answer("c1", "a", "b", audio)), audio);
    assert!(rig.ask(delete("c1", "a")).text_of("warning").unwrap().contains("not found"));
    rig.assert_empty();
    // Beside a line of ours they are untouched too.
    let both = with_audio(&msrp("192.0.2.1", 2855, "actpass"));
    let seen = rig.sdp(offer("c2", "a", &both));
    let section = |sdp: &str| sdp[sdp.find("m=audio").unwrap()..sdp.find("m=message").unwrap()].to_owned();
    assert_eq!(section(&seen), section(&both));
    assert!(seen.contains("c=IN IP4 192.0.2.1\r\nt="), "{seen}");
    assert_eq!(address(&seen, 1), rig.hole("core").local);
}

#[test]
fn the_same_offer_again_gets_the_same_addresses() {
    let mut rig = Rig::new();
    let sdp = msrp("192.0.2.1", 2855, "actpass");
    let first = rig.sdp(offer("c1", "a", &sdp));
    assert_eq!(rig.sdp(offer("c1", "a", &sdp)), first);
    rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
    // A retransmission that comes late, and a refresh inside the dialog.
    assert_eq!(rig.sdp(offer("c1", "a", &sdp)), first);
    assert_eq!(rig.sdp(reoffer("c1", "a", "b", &sdp)), first);
    assert_eq!(rig.gateway.contexts(), 1);
    rig.ask(delete("c1", "b"));
    rig.assert_empty();
}

#[test]
fn an_offer_of_the_other_side_keeps_the_context() {
    let mut rig = Rig::new();
    let (there, back) = call(&mut rig);
    let moved = msrp("198.51.100.10", 2001, "passive");
    assert_eq!(address(&rig.sdp(reoffer("c1", "b", "a", &moved)), 0), address(&back, 0));
    let seen = rig.sdp(answer("c1", "b", "a", &msrp("192.0.2.1", 2855, "active")));
    assert_eq!(address(&seen, 0), address(&there, 0));
    let remote = rig.hole("core").settings.remote;
    assert_eq!(remote.map(|r| r.to_string()), Some("198.51.100.10:2001".into()));
    assert_eq!(rig.gateway.contexts(), 1);
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn an_offer_that_is_not_answered_makes_way_for_the_next() {
    let mut rig = Rig::new();
    let (there, _) = call(&mut rig);
    // Of another kind: it has a context beside the old one.
    let sealed = tls(&msrp("192.0.2.1", 2855, "actpass"));
    let seen = rig.sdp(reoffer("c1", "a", "b", &sealed));
    assert_ne!(address(&seen, 0), address(&there, 0));
    assert_eq!(rig.gateway.contexts(), 2);
    assert_eq!(rig.sdp(reoffer("c1", "a", "b", &sealed)), seen, "the same again");
    // Back to what was agreed: what it brought in is given back.
    let seen = rig.sdp(reoffer("c1", "a", "b", &msrp("192.0.2.1", 2855, "actpass")));
    assert_eq!((address(&seen, 0), rig.gateway.contexts()), (address(&there, 0), 1));
    // Again, and answered now: the old one goes.
    rig.sdp(reoffer("c1", "a", "b", &sealed));
    rig.sdp(answer("c1", "a", "b", &tls(&msrp("198.51.100.9", 2000, "passive"))));
    assert_eq!(rig.gateway.contexts(), 1);
    assert_eq!(rig.hole("core").settings.gate, Gate::SendReceive);
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn lines_come_and_go() {
    let mut rig = Rig::new();
    call(&mut rig);
    let one = msrp("192.0.2.1", 2855, "actpass");
    let two = format!("{one}{}", msrp_line("192.0.2.1", 2856, "actpass"));
    rig.sdp(reoffer("c1", "a", "b", &two));
    assert_eq!(rig.gateway.contexts(), 2);
    let theirs = msrp("198.51.100.9", 2000, "passive");
    rig.sdp(answer("c1", "a", "b", &format!("{theirs}{}", msrp_line("198.51.100.9", 2001, "passive"))));
    assert_eq!(rig.gateway.contexts(), 2);
    // The first is taken out; an answer that refuses a line of a re-offer gives it back at once.
    let out = two.replace("m=message 2855", "m=message 0");
    rig.sdp(reoffer("c1", "a", "b", &out));
    assert_eq!(rig.gateway.contexts(), 2, "until the answer");
    let theirs = format!(
        "{}{}",
        theirs.replace("m=message 2000", "m=message 0"),
        msrp_line("198.51.100.9", 2001, "passive")
    );
    rig.sdp(answer("c1", "a", "b", &theirs));
    assert_eq!(rig.gateway.contexts(), 1);
    // All are taken out: nothing is left to keep.
    rig.sdp(reoffer("c1", "a", "b", &out.replace("m=message 2856", "m=message 0")));
    rig.sdp(answer("c1", "a", "b", &theirs.replace("m=message 2001", "m=message 0")));
    rig.assert_empty();
    // And the call may have a line again.
    let seen = rig.sdp(reoffer("c1", "b", "a", &one));
    assert!(seen.contains("203.0.113."), "{seen}");
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn hold_shuts_the_gates() {
    let mut rig = Rig::new();
    call(&mut rig);
    rig.sdp(reoffer("c1", "a", "b", &msrp("192.0.2.1", 2855, "holdconn")));
    rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "holdconn")));
    assert_eq!(rig.hole("core").settings.gate, Gate::Inactive);
    rig.sdp(reoffer("c1", "a", "b", &msrp("192.0.2.1", 2855, "actpass")));
    rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
    assert_eq!(rig.hole("core").settings.gate, Gate::SendReceive);
    assert_eq!(rig.gateway.contexts(), 1);
}

#[test]
fn a_line_that_nobody_takes_is_kept_for_other_forks_and_then_given_back() {
    let mut rig = Rig::with(|config| config.timers.no_connection = Duration::ZERO);
    let both = with_audio(&msrp("192.0.2.1", 2855, "actpass"));
    rig.sdp(offer("c1", "a", &both));
    let no = with_audio(&msrp("198.51.100.9", 0, "passive"));
    rig.sdp(answer("c1", "a", "b", &no));
    assert_eq!(rig.gateway.contexts(), 1);
    // Another fork takes it after all.
    rig.sdp(answer("c1", "a", "d", &with_audio(&msrp("198.51.100.7", 2002, "passive"))));
    rig.pass(Duration::from_secs(200));
    assert_eq!((rig.gateway.contexts(), rig.hole("core").settings.gate), (1, Gate::SendReceive));
    // It is shut when a later one does not.
    rig.sdp(answer("c1", "a", "e", &no));
    assert_eq!(rig.hole("core").settings.gate, Gate::Inactive);
    rig.pass(Duration::from_secs(200));
    rig.assert_empty();
    let ended = |e: &Event| matches!(e, Event::DialogEnded { why, .. } if why.name() == "unused");
    assert!(rig.events.iter().any(ended));
}

#[test]
fn requests_of_a_call_wait_for_the_ones_before() {
    let mut rig = Rig::new();
    rig.slow = true;
    let sdp = msrp("192.0.2.1", 2855, "actpass");
    let one = rig.send(offer("c1", "a", &sdp));
    let two = rig.send(offer("c1", "a", &sdp));
    let three = rig.send(delete("c1", "a"));
    let other = rig.ask(delete("c2", "a"));
    assert_eq!(other.text_of("result"), Some("ok"), "calls do not wait for each other");
    assert!(rig.replies.is_empty());
    assert_eq!(rig.steering.load().requests, 3);
    rig.slow = false;
    rig.settle();
    let sdp = |rig: &Rig, id| rig.replies[&id].text_of("sdp").unwrap().to_owned();
    assert_eq!(sdp(&rig, one), sdp(&rig, two));
    assert_eq!(rig.replies[&three].text_of("result"), Some("ok"));
    rig.assert_empty();
}

#[test]
fn an_answer_without_an_offer_is_refused() {
    let mut rig = Rig::new();
    let sdp = msrp("198.51.100.9", 2000, "passive");
    assert_eq!(rig.error(answer("c1", "a", "b", &sdp)), "Unknown call-id");
    rig.sdp(offer("c1", "a", &msrp("192.0.2.1", 2855, "actpass")));
    assert_eq!(rig.error(answer("c1", "x", "b", &sdp)), "no offer waits for this answer");
    rig.ask(delete("c1", "a"));
    assert_eq!(rig.error(answer("c1", "a", "b", &sdp)), "Unknown call-id");
    rig.assert_empty();
}

#[test]
fn an_offer_of_a_call_that_is_not_known_makes_it_whatever_its_tags_are() {
    let mut rig = Rig::new();
    rig.sdp(reoffer("c1", "b", "a", &msrp("192.0.2.1", 2855, "actpass")));
    rig.sdp(answer("c1", "b", "a", &msrp("198.51.100.9", 2000, "passive")));
    rig.sdp(reoffer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
    assert_eq!(rig.gateway.contexts(), 1);
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn what_cannot_be_read_or_carried_is_an_error() {
    let mut rig = Rig::new();
    assert!(rig.error(offer("c1", "a", "hello")).contains("cannot be read"));
    let mut silent = offer("c1", "a", "");
    silent.sdp = None;
    assert!(rig.error(silent).contains("no session description"));
    let wild = offer("c1", "a", &msrp("192.0.2.1", 2855, "actpass"));
    let wild = Request { more: Vec::new(), ..wild }.with("direction", Value::texts(["access", "moon"]));
    let why = rig.error(wild);
    assert!(why.contains("\"moon\"") && why.contains("access, core, access2"), "{why}");
    // TLS from end to end, and an endpoint that needs its path rewritten.
    let sealed = tls(&msrp("192.0.2.1", 2855, "actpass")).replace("a=msrp-cema\r\n", "");
    let reply = rig.ask(offer("c1", "a", &sealed));
    assert_eq!(reply.text_of("result"), Some("error"));
    assert_eq!(reply.get("sip-code"), Some(&Value::Integer(488)));
    assert!(reply.text_of("error-reason").unwrap().contains("msrp-cema"));
    let names = rig.names();
    assert_eq!(names.iter().filter(|n| **n == "request-refused").count(), 4);
    rig.assert_empty();
}

#[test]
fn a_connection_is_made_anew_once_for_each_offer_that_asks_for_it() {
    let mut rig = Rig::new();
    let anew = |sdp: String| format!("{sdp}a=connection:new\r\n");
    let (there, back) = (msrp("192.0.2.1", 2855, "actpass"), msrp("198.51.100.9", 2000, "passive"));
    let shut = |rig: &Rig| rig.holes.values().map(|hole| hole.shut).sum::<u32>();
    rig.sdp(offer("c1", "a", &anew(there.clone())));
    for _ in 0..2 {
        rig.sdp(answer("c1", "a", "b", &anew(back.clone())));
        assert_eq!(shut(&rig), 0, "the first, and the first again");
    }
    rig.sdp(reoffer("c1", "a", "b", &anew(there)));
    for _ in 0..2 {
        rig.sdp(answer("c1", "a", "b", &anew(back.clone())));
        assert_eq!(shut(&rig), 2, "both sides, once");
    }
}

/// A later offer that needs another kind of context tells of it, and so does a line that is added.
#[test]
fn what_the_gateway_gave_is_told() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &msrp("192.0.2.1", 2855, "actpass")));
    rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
    let first = (rig.hole("access").local, rig.hole("core").local);
    let two = format!("{}{}", msrp("192.0.2.1", 2855, "actpass"), msrp_line("192.0.2.1", 2856, "actpass"));
    rig.sdp(reoffer("c1", "a", "b", &two));
    // The same again brings nothing.
    rig.sdp(reoffer("c1", "a", "b", &two));
    let reserved = rig.events.iter().filter_map(|event| match event {
        carnet_steering::Event::MediaReserved { call_id, line, context, addresses } => {
            assert_eq!(call_id, "c1");
            Some((*line, *context, (addresses.caller, addresses.callee)))
        }
        _ => None,
    });
    let reserved: Vec<_> = reserved.collect();
    let contexts: Vec<_> = rig.gateway.context_ids(0).collect();
    let lines: Vec<_> = reserved.iter().map(|(line, context, _)| (*line, *context)).collect();
    assert_eq!(lines, [(0, contexts[0]), (1, contexts[1])]);
    assert_eq!(reserved[0].2, first);
    let has = |address, realm: &str| rig.holes.values().any(|h| h.local == address && h.realm == realm);
    assert!(has(reserved[1].2.0, "access") && has(reserved[1].2.1, "core"));
}
