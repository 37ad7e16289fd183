//! Who is the TLS client of a message session: by the key exchange if both ends say so, whatever a
//! middlebox made of the direction of TCP; else by that direction (docs/tls-role.md, RFC 6135 §4).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod net;

use std::time::Duration;

use carnet_client::{Event, FileOffer, Purpose, TcpRole, TlsRole};
use net::{Net, Person, Tap, address, media_address, replacing, without};

const SAYS: &str = "a=x-carnet-tlsrole:mikey";

/// Edits the offer and the answer of every call.
fn both(offer: impl Fn(&str) -> String + 'static, answer: impl Fn(&str) -> String + 'static) -> Tap {
    let mut offers = replacing("INVITE", offer);
    let mut answers = replacing("SIP/2.0 200", answer);
    Box::new(
        move |from, to, data| {
            if data.starts_with(b"INVITE") { offers(from, to, data) } else { answers(from, to, data) }
        },
    )
}

fn unchanged(text: &str) -> String {
    text.to_owned()
}

/// The roles of Alice, who calls, and Bob, once both have the same key.
fn roles(net: &mut Net) -> [(TcpRole, TlsRole); 2] {
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    let (alice, bob) = (net.media(0), net.media(1));
    assert!(alice.seal.unwrap().tek == bob.seal.unwrap().tek);
    [(alice.tcp, alice.tls), (bob.tcp, bob.tls)]
}

/// Alice says that she can only connect, or leaves it open.
fn pair(alice_connects: bool) -> Net {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |config| config.behind_nat = alice_connects);
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
    net
}

/// What an access border does with two translators of addresses: it accepts from both.
#[test]
fn a_border_that_makes_both_connect() {
    for alice_connects in [true, false] {
        let mut net = pair(alice_connects);
        let opened = |text: &str| text.replace("a=setup:active", "a=setup:actpass");
        net.tap = Some(both(opened, |text| text.replace("a=setup:active", "a=setup:passive")));
        assert_eq!(
            roles(&mut net),
            [(TcpRole::Active, TlsRole::Client), (TcpRole::Active, TlsRole::Server)],
            "alice connects: {alice_connects}"
        );
    }
}

/// And one that connects to both.
#[test]
fn a_border_that_makes_both_wait() {
    let mut net = pair(false);
    let active = |text: &str| text.replace("a=setup:actpass", "a=setup:active");
    net.tap = Some(both(active, |text| text.replace("a=setup:passive", "a=setup:active")));
    assert_eq!(roles(&mut net), [(TcpRole::Passive, TlsRole::Client), (TcpRole::Passive, TlsRole::Server)]);
}

#[test]
fn without_a_border_too_the_caller_is_the_client() {
    for (alice_connects, tcp) in
        [(true, [TcpRole::Active, TcpRole::Passive]), (false, [TcpRole::Passive, TcpRole::Active])]
    {
        let mut net = pair(alice_connects);
        assert_eq!(roles(&mut net), [(tcp[0], TlsRole::Client), (tcp[1], TlsRole::Server)]);
    }
}

#[test]
fn the_callers_transfer_and_the_other_direction() {
    // The file goes from Bob to Alice in a call of Bob's: then he is the client.
    let mut net = pair(false);
    let file = FileOffer {
        name: "a".into(),
        content_type: "text/plain".into(),
        size: Some(3),
        sha1: None,
        transfer_id: "xyz".into(),
        start: 0,
        ranged: false,
    };
    net.call_for(1, "sip:alice@example.com", Purpose::SendFile(file));
    net.accept(0);
    let (alice, bob) = (net.media(0), net.media(1));
    assert_eq!((alice.tls, bob.tls), (TlsRole::Server, TlsRole::Client));
    assert!(alice.file.is_some() && bob.file.is_some());
}

/// Where one end does not know of it, the one that connects is the client (RFC 6135 §4), and the ends agree.
#[test]
fn with_somebody_who_does_not_know_of_it() {
    for (one, other) in [(true, false), (false, true), (false, false)] {
        for alice_connects in [true, false] {
            let mut net = Net::new();
            net.add(&Person { name: "alice", last: 1, proxy: 2 }, |config| {
                (config.tls_role_by_mikey, config.behind_nat) = (one, alice_connects);
            });
            net.add(&Person { name: "bob", last: 2, proxy: 1 }, |config| config.tls_role_by_mikey = other);
            for (tcp, tls) in roles(&mut net) {
                assert_eq!(tcp == TcpRole::Active, tls == TlsRole::Client, "{one} {other}");
            }
        }
    }
}

#[test]
fn an_answer_says_it_only_in_return() {
    let answer = |net: &Net| {
        let answers = net.nodes[0].received.iter().filter(|data| data.starts_with(b"SIP/2.0 200"));
        String::from_utf8(answers.last().unwrap().to_vec()).unwrap()
    };
    let mut net = pair(false);
    roles(&mut net);
    assert!(answer(&net).contains(SAYS));
    let mut net = pair(false);
    net.tap = Some(both(|text| without(text, SAYS), unchanged));
    roles(&mut net);
    assert!(!answer(&net).contains(SAYS));
}

/// Who strips the offer, or both ways, gets what RFC 6135 has: the ends still agree.
#[test]
fn the_attribute_is_stripped_from_the_offer() {
    for strips_answers_too in [false, true] {
        for alice_connects in [true, false] {
            let mut net = pair(alice_connects);
            let answers = move |text: &str| match strips_answers_too {
                true => without(text, SAYS),
                false => text.to_owned(),
            };
            net.tap = Some(both(|text| without(text, SAYS), answers));
            for (tcp, tls) in roles(&mut net) {
                assert_eq!(tcp == TcpRole::Active, tls == TlsRole::Client);
            }
        }
    }
}

/// Who strips only the answer can keep a session from coming up, and no more: if the ends do not agree
/// by luck, both wait for a ClientHello. Nothing is sent.
#[test]
fn the_attribute_is_stripped_from_the_answer() {
    for (alice_connects, alice) in [(true, TlsRole::Client), (false, TlsRole::Server)] {
        let mut net = pair(alice_connects);
        net.tap = Some(both(unchanged, |text| without(text, SAYS)));
        let [(_, of_alice), (_, of_bob)] = roles(&mut net);
        assert_eq!((of_alice, of_bob), (alice, TlsRole::Server));
    }
}

/// Who puts it in where it was not does no better.
#[test]
fn the_attribute_is_forged() {
    let forge = |text: &str| text.replace("a=path:", &format!("{SAYS}\r\na=path:"));
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |config| config.tls_role_by_mikey = false);
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
    net.tap = Some(both(forge, unchanged));
    let [(tcp, of_alice), (_, of_bob)] = roles(&mut net);
    // Alice does not know of it and waits, as does Bob.
    assert_eq!((tcp, of_alice, of_bob), (TcpRole::Passive, TlsRole::Server, TlsRole::Server));
}

#[test]
fn another_value_says_nothing() {
    let mut net = pair(false);
    let other = |text: &str| text.replace(SAYS, "a=x-carnet-tlsrole:other");
    net.tap = Some(both(other, unchanged));
    for (tcp, tls) in roles(&mut net) {
        assert_eq!(tcp == TcpRole::Active, tls == TlsRole::Client);
    }
}

/// Each branch of a fork stands for itself.
#[test]
fn branches_that_differ() {
    for winner in [1, 2] {
        let mut net = Net::new();
        net.add(&Person { name: "alice", last: 1, proxy: 9 }, |_| {});
        net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
        net.add(&Person { name: "bob", last: 3, proxy: 1 }, |config| config.tls_role_by_mikey = false);
        net.tap = Some(Box::new(|_, to, data| {
            if to == address(9) {
                vec![(address(2), data.clone()), (address(3), data.clone())]
            } else {
                vec![(to, data.clone())]
            }
        }));
        net.call(0, "sip:bob@example.com");
        let call = net.incoming(winner);
        net.nodes[winner].client.accept(net.now, call, media_address(winner, 0), 0);
        net.settle();
        let (alice, bob) = (net.media(0), net.media(winner));
        assert_eq!((alice.tcp, bob.tcp), (TcpRole::Passive, TcpRole::Active));
        // The first knows of it; with the second, who connects is the client.
        let expected = if winner == 1 { TlsRole::Client } else { TlsRole::Server };
        assert_eq!(alice.tls, expected);
        assert_ne!(alice.tls, bob.tls);
    }
}

/// Offers inside the call say the same, whoever makes them, and change nothing.
#[test]
fn later_offers_repeat_it() {
    let mut net = pair(false);
    // Without UPDATE a refresh is an INVITE, with the whole description.
    net.tap = Some(Box::new(|_, to, data| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        vec![(to, text.replace("PRACK, UPDATE, ", "PRACK, ").into())]
    }));
    let caller = net.call(0, "sip:bob@example.com");
    let called = net.accept(1);
    assert_eq!((net.media(0).tls, net.media(1).tls), (TlsRole::Client, TlsRole::Server));
    for (who, call) in [(0, caller), (1, called), (0, caller)] {
        for node in &mut net.nodes {
            node.received.clear();
        }
        net.nodes[who].client.refresh(net.now, call);
        net.settle();
        let got = |at: usize, start: &[u8]| {
            let message = net.nodes[at].received.iter().find(|data| data.starts_with(start));
            String::from_utf8(message.unwrap().to_vec()).unwrap()
        };
        let (offer, answer) = (got(1 - who, b"INVITE"), got(who, b"SIP/2.0 200"));
        assert!(offer.contains(SAYS) && answer.contains(SAYS), "{offer}\n{answer}");
        net.pass(Duration::from_secs(40));
        let news = |event: &Event| matches!(event, Event::Media { .. } | Event::Ended { .. });
        assert!(net.try_event(0, news).is_none() && net.try_event(1, news).is_none());
    }
}
