//! Middleboxes that move the media, with peers that know of them (RFC 6714) and peers that do not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod net;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use carnet_client::{Ending, Event, Half, KeyRefusal, Refusal, TcpRole};
use net::{Net, Person, Tap, mend, replacing, without};

/// Where a middlebox says that Alice, or Bob, is.
const MIDDLEBOX: &str = "c=IN IP4 192.0.2.9";

fn moved(text: &str) -> String {
    text.replace("c=IN IP4 10.0.0.1", MIDDLEBOX).replace("c=IN IP4 10.0.0.2", MIDDLEBOX)
}

/// The first answer comes from a middlebox in front of somebody who does not know CEMA; `second` is
/// what happens to the answer after that.
fn deaf_to_cema(second: impl Fn(&str) -> String + 'static) -> Tap {
    let mut first = replacing("SIP/2.0 200", |text| moved(&without(text, "a=msrp-cema")));
    let mut then = replacing("SIP/2.0 200", second);
    let answered = Rc::new(Cell::new(0));
    Box::new(move |from, to, data| {
        let is_answer =
            data.starts_with(b"SIP/2.0 200") && data.windows(5).any(|octets| octets == b"\nv=0\r");
        answered.set(answered.get() + u32::from(is_answer));
        if answered.get() > 1 { then(from, to, data) } else { first(from, to, data) }
    })
}

/// The session descriptions that Bob was offered.
fn offers(net: &Net) -> Vec<String> {
    let invites = net.nodes[1].received.iter().filter(|data| data.starts_with(b"INVITE"));
    invites
        .map(|data| String::from_utf8(data.to_vec()).unwrap().split_once("\r\n\r\n").unwrap().1.to_owned())
        .collect()
}

fn line<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.split("\r\n").find(|line| line.starts_with(start))
}

/// Alice cannot be reached, so she connects.
fn pair(alice_connects: bool) -> Net {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |config| config.behind_nat = alice_connects);
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
    net
}

#[test]
fn a_middlebox_that_both_follow() {
    let mut net = Net::pair();
    net.tap = Some(replacing("INVITE", moved));
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    assert_eq!(net.media(1).remote.unwrap().to_string(), "192.0.2.9:20000");
    assert_eq!(offers(&net).len(), 1);
}

// RFC 6714 §4.3
#[test]
fn an_offer_past_a_middlebox_is_refused() {
    let mut net = Net::pair();
    net.tap = Some(replacing("INVITE", |text| moved(&without(text, "a=msrp-cema"))));
    net.call(0, "sip:bob@example.com");
    assert_eq!(net.refused(1), Refusal::PathMismatch);
    assert!(matches!(net.ending(0), Ending::Refused(Refusal::Rejected { status: 488, .. })));
}

// RFC 6714 §4.2
#[test]
fn who_does_not_know_cema_is_offered_again_without() {
    for alice_connects in [true, false] {
        let mut net = pair(alice_connects);
        net.tap = Some(deaf_to_cema(|text| text.to_owned()));
        net.call(0, "sip:bob@example.com");
        net.accept(1);
        let offers = offers(&net);
        assert_eq!(offers.len(), 2, "{offers:?}");
        assert_eq!(line(&offers[0], "a=msrp-cema"), Some("a=msrp-cema"));
        assert_eq!(line(&offers[1], "a=msrp-cema"), None);
        for same in ["a=key-mgmt:mikey ", "a=path:", "m=", "a=setup:"] {
            assert_eq!(line(&offers[0], same), line(&offers[1], same), "{same}");
        }
        // RFC 3264 §8: a changed description has a higher version.
        let version =
            |offer: &str| line(offer, "o=").unwrap().split(' ').nth(2).unwrap().parse::<u64>().unwrap();
        assert_eq!(version(&offers[1]), version(&offers[0]) + 1);
        // The path is where to go now, and the keys are those of this call.
        let (alice, bob) = (net.media(0), net.media(1));
        assert!(alice.seal.unwrap().tek == bob.seal.unwrap().tek);
        let remote = alice.remote.map(|remote| remote.to_string());
        assert_eq!(remote.as_deref(), alice_connects.then_some("10.0.0.2:20000"));
        assert_eq!(alice.tcp == TcpRole::Active, alice_connects);
        assert!(
            net.try_event(0, |event| matches!(event, Event::Media { .. } | Event::Ended { .. })).is_none()
        );
        // The call goes on like any other.
        let answers = net.nodes[0].received.iter().filter(|data| data.starts_with(b"SIP/2.0 200"));
        let last = String::from_utf8(answers.last().unwrap().to_vec()).unwrap();
        assert_eq!(line(&last, "a=msrp-cema"), None, "the attribute answers the attribute");
        net.pass(Duration::from_secs(100));
        assert_eq!(net.nodes[0].client.calls() + net.nodes[1].client.calls(), 2);
    }
}

#[test]
fn the_second_answer_goes_by_the_path_whatever_the_address_is() {
    let mut net = pair(true);
    net.tap = Some(deaf_to_cema(moved));
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    assert_eq!(net.media(0).remote.unwrap().to_string(), "10.0.0.2:20000");
    assert_eq!(offers(&net).len(), 2, "there is no third offer");
}

#[test]
fn who_does_not_know_cema_and_needs_no_middlebox_is_not_asked_twice() {
    let mut net = pair(true);
    net.tap = Some(replacing("SIP/2.0 200", |text| without(text, "a=msrp-cema")));
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    assert_eq!(net.media(0).remote.unwrap().to_string(), "10.0.0.2:20000");
    assert_eq!(offers(&net).len(), 1);
}

#[test]
fn a_second_offer_that_is_refused_ends_the_call() {
    let mut net = Net::pair();
    net.tap = Some(deaf_to_cema(|text| text.to_owned()));
    net.call(0, "sip:bob@example.com");
    let mut inner = net.tap.take().unwrap();
    net.tap = Some(Box::new(move |from, to, data| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        // On its way the second offer loses its keys, so Bob refuses it.
        if text.starts_with("INVITE") && line(&text, "a=msrp-cema").is_none() {
            return vec![(to, Bytes::from(mend(&without(&text, "a=key-mgmt"))))];
        }
        inner(from, to, data)
    }));
    net.accept(1);
    assert_eq!(net.ending(0), Ending::Refused(Refusal::PathMismatch));
    assert!(matches!(net.ending(1), Ending::Broken { text: Some(_), .. }));
    assert!(net.try_event(0, |event| matches!(event, Event::Media { .. })).is_none());
    net.pass(Duration::from_secs(60));
    assert!(net.nodes.iter().all(|node| node.client.is_idle()));
}

#[test]
fn a_second_answer_with_altered_keys_ends_the_call() {
    let mut net = Net::pair();
    net.tap = Some(deaf_to_cema(|text| {
        let at = text.find("a=key-mgmt:mikey ").unwrap() + 77;
        let new = if &text[at..=at] == "A" { "B" } else { "A" };
        format!("{}{new}{}", &text[..at], &text[at + 1..])
    }));
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    assert_eq!(net.ending(0), Ending::Refused(Refusal::Keys(KeyRefusal::Altered(Half::Answer))));
    assert!(net.try_event(0, |event| matches!(event, Event::Media { .. })).is_none());
}

#[test]
fn hanging_up_between_the_two_offers() {
    let mut net = Net::pair();
    let mut inner = deaf_to_cema(|text| text.to_owned());
    net.tap = Some(Box::new(move |from, to, data| {
        // The second offer stays on the way.
        let text = String::from_utf8(data.to_vec()).unwrap();
        let is_second = text.starts_with("INVITE") && line(&text, "a=msrp-cema").is_none();
        if is_second { Vec::new() } else { inner(from, to, data) }
    }));
    let call = net.call(0, "sip:bob@example.com");
    net.accept(1);
    net.nodes[0].client.hang_up(net.now, net.wall, call);
    net.settle();
    assert_eq!(net.ending(0), Ending::Local);
    assert_eq!(net.ending(1), Ending::Peer(None));
}

#[test]
fn a_lost_message_around_the_second_offer_is_made_up_for() {
    for lost in 0..12 {
        let mut net = pair(true);
        let mut inner = deaf_to_cema(|text| text.to_owned());
        let mut count = 0;
        net.tap = Some(Box::new(move |from, to, data| {
            count += 1;
            if count == lost + 1 { Vec::new() } else { inner(from, to, data) }
        }));
        net.call(0, "sip:bob@example.com");
        net.pass(Duration::from_secs(2));
        net.accept(1);
        net.pass(Duration::from_secs(40));
        let (alice, bob) = (net.media(0), net.media(1));
        assert!(alice.seal.unwrap().tek == bob.seal.unwrap().tek, "message {lost} lost");
        assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());
    }
}

// RFC 6714 §4.3, on the side of the called: with the first offer Bob went to the middlebox, with the
// second, which Alice made because she did not see that he knows CEMA, he goes by her path.
#[test]
fn the_called_side_follows_to_the_new_place() {
    let mut net = Net::pair();
    let mut answer = deaf_to_cema(|text| text.to_owned());
    let mut offers = 0;
    net.tap = Some(Box::new(move |from, to, data| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        if text.starts_with("INVITE") {
            offers += 1;
            return vec![(to, if offers == 1 { mend(&moved(&text)).into() } else { data.clone() })];
        }
        answer(from, to, data)
    }));
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    assert_eq!(net.media(1).remote.unwrap().to_string(), "192.0.2.9:20000");
    let Event::Moved { remote, .. } = net.event(1, |event| matches!(event, Event::Moved { .. })) else {
        unreachable!()
    };
    assert_eq!(remote.to_string(), "10.0.0.1:20000");
    assert_eq!(net.media(0).tcp, TcpRole::Passive);
}

#[test]
fn holdconn_is_as_good_as_nothing() {
    // RFC 6135 §4.2.1, and RFC 4975 §5.4: without the attribute the offerer connects.
    let mut net = Net::pair();
    net.tap = Some(replacing("INVITE", |text| text.replace("a=setup:actpass", "a=setup:holdconn")));
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    assert_eq!((net.media(0).tcp, net.media(1).tcp), (TcpRole::Active, TcpRole::Passive));
}
