//! Media that is not ours in a call with media that is: handed to an rtpengine, passed, refused.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_border::{Config, Other, Rtpengine};
use carnet_h248::association::Transport::Reliable;
use carnet_ng::{Command, Value};
use carnet_sip::Method;
use common::rtpengine::Mood;
use common::*;
use std::time::Duration;

fn config(other: Other) -> Config {
    let mut config = alg(Reliable);
    config.policy.other = other;
    config.rtpengine = (other == Other::Rtpengine).then(Rtpengine::default);
    config.networks[0].rtp_interface = Some("outside".into());
    config.networks[1].rtp_interface = Some("inside".into());
    config
}

fn world() -> World {
    World::with_users(config(Other::Rtpengine))
}

const ICE: &str = "a=ice-ufrag:abcd\r\n";

/// Audio in front of and video behind a line of ours, one address for all.
fn offer(ip: &str, setup: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{ICE}m=audio 7000 RTP/AVP 0 8\r\n\
         a=rtpmap:0 PCMU/8000\r\na=candidate:1 1 UDP 1 {ip} 7000 typ host\r\n\
         m=message 2855 TCP/TLS/MSRP *\r\na=setup:{setup}\r\na=path:msrps://{ip}:2855/s;tcp\r\na=msrp-cema\r\n\
         m=video 7100 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"
    )
}

fn call(w: &mut World, offer: &str) -> Ua {
    let alice = Ua::new("alice", ALICE, "bob", "call-rtp");
    let invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite, offer));
    alice
}

#[test]
fn rtp_lines_go_to_the_rtpengine_and_ours_to_the_gateway() {
    let mut w = world();
    let alice = call(&mut w, &offer("192.0.2.20", "actpass"));
    let at_bob = w.take_request(BOB, Method::Invite);
    let seen = body(&at_bob);
    // Its lines are as it returned them; ours has the gateway's address and nothing else of it changed.
    for part in [
        "m=audio 30000 RTP/AVP 0 8\r\nc=IN IP4 203.0.113.77\r\na=rtcp:30001\r\na=rtpmap:0 PCMU/8000\r\n",
        "m=video 30002 RTP/AVP 96\r\nc=IN IP4 203.0.113.77\r\na=rtcp:30003\r\n",
        "a=setup:actpass\r\na=path:msrps://192.0.2.20:2855/s;tcp\r\na=msrp-cema\r\n",
    ] {
        assert!(seen.contains(part), "{part}\n{seen}");
    }
    assert!(
        !seen.contains("c=IN IP4 192.0.2.20") && !seen.contains("ice-ufrag") && !seen.contains("candidate"),
        "{seen}"
    );
    let ours = seen.lines().skip_while(|l| !l.starts_with("m=message")).collect::<Vec<_>>();
    assert!(ours[0] != "m=message 2855 TCP/TLS/MSRP *", "{seen}");
    // It was given its own lines only.
    let asked = &w.rtpengine.asked[0];
    let given = String::from_utf8(asked.sdp.as_ref().unwrap().to_vec()).unwrap();
    assert!(!given.contains("message") && given.matches("m=").count() == 2, "{given}");
    assert_eq!((asked.command, asked.from_tag.as_str(), &asked.to_tag), (Command::Offer, "caller", &None));
    let option = |key: &str| asked.more.iter().find(|(k, _)| k == key.as_bytes()).map(|(_, v)| v.clone());
    assert_eq!(option("direction"), Some(Value::texts(["outside", "outside"])));

    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&offer("192.0.2.30", "active"))));
    let at_alice = w.take_status(ALICE, 200);
    let seen = body(&at_alice);
    assert!(seen.contains("m=audio 30000 RTP/AVP 0 8\r\nc=IN IP4 203.0.113.77\r\n"), "{seen}");
    assert!(!seen.contains("c=IN IP4 192.0.2.30"), "{seen}");
    let answer = &w.rtpengine.asked[1];
    assert_eq!((answer.command, answer.from_tag.as_str()), (Command::Answer, "caller"));
    assert_eq!((answer.to_tag.as_deref(), &answer.call_id), (Some("callee"), &w.rtpengine.asked[0].call_id));

    // The call ends, and so it does there; whose BYE it was does not matter.
    let alice = Ua { remote: at_alice.header("To").unwrap().into_owned(), ..alice };
    let ack = w.request(&alice, Method::Ack, &contact(&at_alice), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    let bye = w.request(&alice, Method::Bye, &contact(&at_alice), 2);
    w.send(ALICE, ACCESS, &bye);
    let delete = w.rtpengine.asked.last().unwrap();
    assert_eq!((delete.command, &delete.call_id), (Command::Delete, &w.rtpengine.asked[0].call_id));
    assert_eq!(w.rtpengine.asked.len(), 3);
    assert_eq!(w.border.load().gateway_requests, 0);
}

/// The border starts again: what was agreed on stays there until the call ends, and a set-up that died ends there.
#[test]
fn what_is_there_outlives_the_border() {
    for answered in [true, false] {
        let mut w = world();
        w.gateway.audits = true;
        w.border.keep_state();
        w.register("alice", ALICE);
        w.register("bob", BOB);
        let alice = call(&mut w, &offer("192.0.2.20", "actpass"));
        let at_bob = w.take_request(BOB, Method::Invite);
        let mut target = None;
        if answered {
            let bob = Ua::answering("bob", BOB, &at_bob, "b1");
            w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&offer("192.0.2.30", "active"))));
            let ok = w.take_status(ALICE, 200);
            target = Some(ok);
        }
        let asked = w.rtpengine.asked.len();
        w.restart(config(Other::Rtpengine), 9);
        w.settle();
        if let Some(ok) = target {
            assert_eq!(w.rtpengine.asked.len(), asked);
            let alice = Ua { remote: ok.header("To").unwrap().into_owned(), ..alice };
            let bye = w.request(&alice, Method::Bye, &contact(&ok), 2);
            w.send(ALICE, ACCESS, &bye);
        }
        let delete = w.rtpengine.asked.last().unwrap();
        assert_eq!((delete.command, &delete.call_id), (Command::Delete, &w.rtpengine.asked[0].call_id));
        assert_eq!(w.rtpengine.asked.len(), asked + 1);
    }
}

/// A call without RTP does not trouble it, and one with RTP alone needs no gateway.
#[test]
fn calls_with_one_kind_only() {
    let mut w = world();
    call(&mut w, &msrps("192.0.2.20", 2855, "actpass"));
    w.take_request(BOB, Method::Invite);
    assert!(w.rtpengine.asked.is_empty());
    let mut w = world();
    let before = w.gateway.asked.len();
    call(
        &mut w,
        "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\nm=audio 7000 RTP/AVP 0\r\n",
    );
    let at_bob = w.take_request(BOB, Method::Invite);
    assert!(body(&at_bob).contains("m=audio 30000 RTP/AVP 0\r\n"));
    assert_eq!((w.gateway.asked.len(), w.rtpengine.asked.len()), (before, 1));
}

/// What it cannot do is said, and nothing is left behind on the gateway.
#[test]
fn an_rtpengine_that_does_not_work() {
    let table = [
        (Mood::Silent, 503, "the rtpengine does not answer"),
        (Mood::Refuses, 488, "the rtpengine refuses: Failed to parse SDP"),
        (Mood::Full, 503, "the rtpengine has no capacity"),
        (Mood::Says("rubbish"), 503, "the rtpengine's description cannot be read"),
        (
            Mood::Says("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 1 RTP/AVP 0\r\n"),
            503,
            "the rtpengine's description has other media lines",
        ),
    ];
    for (mood, status, warning) in table {
        let mut w = world();
        w.rtpengine.mood = mood.clone();
        call(&mut w, &offer("192.0.2.20", "actpass"));
        w.pass(Duration::from_secs(2));
        let refused = w.take_status(ALICE, status);
        assert!(refused.header("Warning").unwrap().contains(warning), "{mood:?} {}", text(&refused));
        assert!(w.try_take(BOB).is_none(), "{mood:?}");
        w.pass(Duration::from_secs(120));
        assert_eq!(w.gateway.state.len(), 0, "{mood:?}");
        let offers = w.rtpengine.asked.iter().filter(|r| r.command == Command::Offer).count();
        assert_eq!(offers, if mood == Mood::Silent { 5 } else { 1 }, "{mood:?}");
        assert_eq!(w.rtpengine.asked.last().unwrap().command, Command::Delete);
        w.assert_empty();
    }
}

/// An answer it refuses ends what the answerer believes it has.
#[test]
fn an_answer_that_it_refuses() {
    let mut w = world();
    call(&mut w, &offer("192.0.2.20", "actpass"));
    let at_bob = w.take_request(BOB, Method::Invite);
    w.rtpengine.mood = Mood::Refuses;
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&offer("192.0.2.30", "active"))));
    w.take_status(ALICE, 488);
    w.take_request(BOB, Method::Ack);
    w.take_request(BOB, Method::Bye);
}

/// The other two policies.
#[test]
fn passed_and_refused() {
    let mut w = World::with_users(config(Other::Pass));
    call(&mut w, &offer("192.0.2.20", "actpass"));
    let seen = body(&w.take_request(BOB, Method::Invite));
    assert!(seen.contains("m=audio 7000 RTP/AVP 0 8\r\n") && seen.contains(ICE), "{seen}");
    assert!(seen.contains("m=video 7100 RTP/AVP 96\r\n"), "{seen}");
    assert!(w.rtpengine.asked.is_empty());
    let mut w = World::with_users(config(Other::Refuse));
    call(&mut w, &offer("192.0.2.20", "actpass"));
    let refused = w.take_status(ALICE, 488);
    assert!(refused.header("Warning").unwrap().contains("media of this kind is not carried here"));
    assert!(w.try_take(BOB).is_none());
}

/// RFC 3264 §8: a later offer, of the other side, is one of the same call there; both ends are named.
#[test]
fn a_later_offer_of_the_other_side() {
    let mut w = world();
    let alice = call(&mut w, &offer("192.0.2.20", "actpass"));
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    // The description in a provisional answer and the one in the final answer are both rewritten.
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 183, Some(&offer("192.0.2.30", "active"))));
    assert!(body(&w.take_status(ALICE, 183)).contains("m=audio 30000 "));
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&offer("192.0.2.30", "active"))));
    let ok = w.take_status(ALICE, 200);
    assert!(body(&ok).contains("m=audio 30000 "));
    let alice = Ua { remote: ok.header("To").unwrap().into_owned(), ..alice };
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);

    let again = w.request(&bob, Method::Invite, &contact(&at_bob), 7);
    w.send(
        BOB,
        ACCESS,
        &with_sdp(again, &offer("192.0.2.30", "actpass").replace("a=rtpmap:0", "a=sendonly\r\na=rtpmap:0")),
    );
    let at_alice = w.take_request(ALICE, Method::Invite);
    assert!(body(&at_alice).contains("m=audio 30000 ") && body(&at_alice).contains("a=sendonly"));
    let asked = w.rtpengine.asked.last().unwrap();
    assert_eq!((asked.command, asked.from_tag.as_str()), (Command::Offer, "callee"));
    assert_eq!((asked.to_tag.as_deref(), &asked.call_id), (Some("caller"), &w.rtpengine.asked[0].call_id));
    // It is refused: the call goes on, and so it does there.
    w.send(ALICE, ACCESS, &alice.answer(&at_alice, 488, None));
    w.take_request(ALICE, Method::Ack);
    w.take_status(BOB, 488);
    assert!(w.rtpengine.asked.iter().all(|r| r.command != Command::Delete));
    // Audio is taken out: nothing of it goes there.
    let before = w.rtpengine.asked.len();
    let last = w.request(&bob, Method::Invite, &contact(&at_bob), 8);
    let without =
        offer("192.0.2.30", "actpass").replace("audio 7000", "audio 0").replace("video 7100", "video 0");
    w.send(BOB, ACCESS, &with_sdp(last, &without));
    assert!(body(&w.take_request(ALICE, Method::Invite)).contains("m=audio 0 RTP/AVP 0 8\r\n"));
    assert_eq!(w.rtpengine.asked.len(), before);
}

/// Two calls that share a Call-ID, the branches of a fork for instance, are two there.
#[test]
fn its_calls_are_not_named_by_the_call_id() {
    let mut w = world();
    call(&mut w, &offer("192.0.2.20", "actpass"));
    let carol = Ua::new("bob", BOB, "alice", "call-rtp");
    let invite = w.request(&carol, Method::Invite, "sip:alice@example.com", 1);
    w.send(BOB, ACCESS, &with_sdp(invite, &offer("192.0.2.30", "actpass")));
    let names: Vec<_> = w.rtpengine.asked.iter().map(|r| r.call_id.clone()).collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
    assert!(names.iter().all(|n| !n.contains("call-rtp")));
}

/// A terminal behind a NAT does not know its address; the rtpengine is told where its requests come from.
#[test]
fn a_terminal_behind_a_nat() {
    let mut w = World::up(config(Other::Rtpengine));
    w.register_asking("alice", ALICE, "", &[("Contact", "<sip:alice@10.0.0.5:5060>")]);
    w.register("bob", BOB);
    call(&mut w, &offer("10.0.0.5", "actpass"));
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&offer("192.0.2.30", "passive"))));
    w.take_status(ALICE, 200);
    let option = |n: usize, key: &str| {
        let more = &w.rtpengine.asked[n].more;
        more.iter().find(|(k, _)| k == key.as_bytes()).map(|(_, v)| v.clone())
    };
    assert_eq!(option(0, "received from"), Some(Value::texts(["IP4", "192.0.2.20"])));
    assert_eq!(option(0, "flags"), Some(Value::texts(["SIP source address"])));
    // Who can be reached is believed.
    assert_eq!((option(1, "received from"), option(1, "flags")), (None, None));
    assert_eq!(option(0, "address family"), Some(Value::text("IP4")));
}
