//! Calls that work: two clients, a key server that follows RFC 6043, and a clock of ours.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod net;

use std::time::Duration;

use carnet_client::{Ending, Event, FetchPurpose, FileOffer, Purpose, Remote, TcpRole, TlsRole};
use carnet_sip::{Limits, Message, Method};
use net::{Net, Person, address, media_address, replacing, uri};

#[test]
fn both_ends_get_the_same_key_and_fitting_roles() {
    let mut net = Net::pair();
    net.call(0, "sip:bob@example.com");
    net.event(0, |event| matches!(event, Event::Ringing { .. }));
    net.accept(1);
    let (alice, bob) = (net.media(0), net.media(1));
    let (a, b) = (alice.seal.unwrap(), bob.seal.unwrap());
    assert!(a.tek == b.tek);
    assert_eq!(a.psk_identity, b.psk_identity);
    assert!(a.psk_identity.starts_with("mikey-ticket:"));
    assert_eq!((a.peer.as_str(), b.peer.as_str()), ("sip:bob@example.com", "sip:alice@example.com"));
    assert_eq!((a.kms.as_str(), b.kms.as_str()), ("sip:kms.example", "sip:kms.example"));
    assert_eq!(a.initiator, "sip:alice@example.com");
    // Bob prefers to connect. Alice made the offer that the key comes from: she is the TLS client.
    assert_eq!((alice.tcp, alice.tls), (TcpRole::Passive, TlsRole::Client));
    assert_eq!((bob.tcp, bob.tls), (TcpRole::Active, TlsRole::Server));
    assert_eq!((alice.remote, bob.remote), (None, Some(Remote::Address(media_address(0, 0)))));
    assert_eq!((&alice.local_path, &alice.remote_path), (&bob.remote_path, &bob.local_path));
    assert!(alice.local_path.starts_with("msrps://10.0.0.1:20000/"), "{}", alice.local_path);
    assert_eq!(net.kms[0].asked, [FetchPurpose::Ticket, FetchPurpose::Resolve]);
}

#[test]
fn the_offer_is_as_the_specifications_want_it() {
    let mut net = Net::pair();
    net.call(0, "sip:bob@example.com");
    let offer = String::from_utf8(net.nodes[1].received[0].to_vec()).unwrap();
    for line in [
        "INVITE sip:bob@example.com SIP/2.0",
        "Content-Type: application/sdp",
        "m=message 20000 TCP/TLS/MSRP *",
        "a=setup:actpass",
        "a=msrp-cema",
        "a=x-carnet-tlsrole:mikey",
        "a=accept-types:message/cpim text/plain *",
    ] {
        assert!(offer.split("\r\n").any(|other| other == line), "{line} is not in {offer}");
    }
    // RFC 6043 §4.2.2: version 1, data type 14.
    assert!(offer.contains("\r\na=key-mgmt:mikey AQ4F"), "{offer}");
    assert!(!offer.contains("a=fingerprint") && !offer.contains("3ge2ae"), "{offer}");
}

#[test]
fn who_prefers_to_wait_is_passive() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |config| config.behind_nat = true);
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |config| config.prefer = TcpRole::Passive);
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    let (alice, bob) = (net.media(0), net.media(1));
    assert_eq!((alice.tcp, alice.tls), (TcpRole::Active, TlsRole::Client));
    assert_eq!((bob.tcp, bob.tls), (TcpRole::Passive, TlsRole::Server));
    let offer = String::from_utf8(net.nodes[1].received[0].to_vec()).unwrap();
    assert!(offer.contains("m=message 9 TCP/TLS/MSRP *") && offer.contains("a=setup:active"), "{offer}");
}

#[test]
fn hanging_up_ends_it_on_both_sides() {
    for who in [0, 1] {
        let mut net = Net::pair();
        let caller = net.call(0, "sip:bob@example.com");
        let called = net.accept(1);
        let call = if who == 0 { caller } else { called };
        net.nodes[who].client.hang_up(net.now, net.wall, call);
        net.settle();
        assert_eq!(net.ending(who), Ending::Local);
        assert_eq!(net.ending(1 - who), Ending::Peer(None));
        assert!(net.nodes.iter().all(|node| node.client.is_idle()));
    }
}

#[test]
fn giving_up_before_the_answer_cancels() {
    let mut net = Net::pair();
    let call = net.call(0, "sip:bob@example.com");
    net.nodes[0].client.hang_up(net.now, net.wall, call);
    net.settle();
    assert_eq!(net.ending(0), Ending::Local);
    assert_eq!(net.ending(1), Ending::Cancelled);
    net.pass(Duration::from_secs(60));
    assert!(net.nodes.iter().all(|node| node.client.is_idle()));
}

#[test]
fn an_answer_that_crosses_the_cancel_is_taken_back() {
    let mut net = Net::pair();
    let call = net.call(0, "sip:bob@example.com");
    // The 200 is under way when Alice gives up.
    let incoming = net.incoming(1);
    net.nodes[1].client.accept(net.now, incoming, media_address(1, 0), 0);
    net.nodes[0].client.hang_up(net.now, net.wall, call);
    net.settle();
    assert_eq!(net.ending(0), Ending::Local);
    assert_eq!(net.ending(1), Ending::Peer(None));
    assert!(net.try_event(0, |event| matches!(event, Event::Media { .. })).is_none());
}

#[test]
fn of_two_answers_to_a_forked_call_one_stays() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 9 }, |_| {});
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
    net.add(&Person { name: "bob", last: 3, proxy: 1 }, |_| {});
    // A proxy without a voice: what goes to 10.0.0.9 reaches both of Bob's phones.
    net.tap = Some(Box::new(|_, to, data| {
        if to == address(9) {
            vec![(address(2), data.clone()), (address(3), data.clone())]
        } else {
            vec![(to, data.clone())]
        }
    }));
    net.call(0, "sip:bob@example.com");
    let (desk, pocket) = (net.incoming(1), net.incoming(2));
    net.nodes[2].client.accept(net.now, pocket, media_address(2, 0), 0);
    net.nodes[1].client.accept(net.now, desk, media_address(1, 0), 0);
    net.settle();
    let alice = net.media(0);
    assert!(net.try_event(0, |event| matches!(event, Event::Media { .. })).is_none(), "one connection only");
    let (first, second) = (net.media(1), net.media(2));
    let winner = if alice.remote_path == first.local_path { 1 } else { 2 };
    let teks = [first.seal.unwrap().tek, second.seal.unwrap().tek];
    assert!(teks[0] != teks[1], "each branch has its own key");
    assert!(alice.seal.unwrap().tek == teks[winner - 1]);
    let loser = 3 - winner;
    assert_eq!(net.ending(loser), Ending::Peer(None));
    assert!(net.try_event(winner, |event| matches!(event, Event::Ended { .. })).is_none());
}

#[test]
fn an_answer_after_the_call_is_over_is_ended_too() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 9 }, |_| {});
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
    net.add(&Person { name: "bob", last: 3, proxy: 1 }, |_| {});
    net.tap = Some(Box::new(|_, to, data| {
        let both = to == address(9);
        let copies = [2, 3].map(|last| (address(last), data.clone())).to_vec();
        if both { copies } else { vec![(to, data.clone())] }
    }));
    let call = net.call(0, "sip:bob@example.com");
    net.accept(1);
    net.nodes[0].client.hang_up(net.now, net.wall, call);
    net.settle();
    assert_eq!(net.ending(0), Ending::Local);
    net.accept(2);
    assert_eq!(net.ending(2), Ending::Peer(None));
    net.pass(Duration::from_secs(60));
    assert!(net.nodes.iter().all(|node| node.client.is_idle()));
}

#[test]
fn a_lost_message_of_any_kind_is_made_up_for() {
    for lost in 0..8 {
        let mut net = Net::pair();
        let mut count = 0;
        net.tap = Some(Box::new(move |_, to, data| {
            count += 1;
            if count == lost + 1 { Vec::new() } else { vec![(to, data.clone())] }
        }));
        net.call(0, "sip:bob@example.com");
        net.pass(Duration::from_secs(2));
        net.accept(1);
        net.pass(Duration::from_secs(40));
        let (alice, bob) = (net.media(0), net.media(1));
        assert!(alice.seal.unwrap().tek == bob.seal.unwrap().tek, "message {lost} lost");
        assert!(net.try_event(1, |event| matches!(event, Event::Ended { .. })).is_none());
    }
}

#[test]
fn an_acknowledgement_that_never_comes_ends_the_call() {
    let mut net = Net::pair();
    net.tap = Some(Box::new(
        |_, to, data| {
            if data.starts_with(b"ACK") { Vec::new() } else { vec![(to, data.clone())] }
        },
    ));
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    net.pass(Duration::from_secs(40));
    assert!(net.ending(1).refusal().is_some());
    assert!(matches!(net.ending(0), Ending::Broken { text: Some(_), .. }));
}

#[test]
fn a_refresh_repeats_the_key_exchange_and_changes_nothing() {
    for who in [0, 1] {
        let mut net = Net::pair();
        let caller = net.call(0, "sip:bob@example.com");
        let called = net.accept(1);
        net.nodes.iter_mut().for_each(|node| node.events.clear());
        let asked = net.kms[0].asked.len();
        let call = if who == 0 { caller } else { called };
        net.nodes[who].client.refresh(net.now, call);
        net.settle();
        net.pass(Duration::from_secs(60));
        assert_eq!(net.kms[0].asked.len(), asked, "the key server is not asked again");
        for at in [0, 1] {
            assert!(net.nodes[at].events.is_empty(), "{:?}", net.nodes[at].events);
        }
    }
}

#[test]
fn a_re_invite_with_the_same_keys_is_no_replay_and_one_without_is_refused() {
    let mut net = Net::pair();
    net.tap = Some(Box::new(|_, to, data| {
        // Nobody knows UPDATE here, so a refresh is a re-INVITE.
        let text = String::from_utf8(data.to_vec()).unwrap();
        vec![(to, text.replace("BYE, PRACK, UPDATE, OPTIONS", "BYE, PRACK, OPTIONS").into())]
    }));
    let call = net.call(0, "sip:bob@example.com");
    net.accept(1);
    let before = net.nodes[1].received.len();
    net.nodes[0].client.refresh(net.now, call);
    net.settle();
    let first = String::from_utf8(net.nodes[1].received[before].to_vec()).unwrap();
    assert!(first.starts_with("INVITE ") && first.contains("a=key-mgmt:mikey"), "{first}");
    let answers: Vec<_> =
        net.nodes[0].received.iter().filter(|data| data.starts_with(b"SIP/2.0 200")).collect();
    assert_eq!(answers.len(), 2);
    // The second refresh loses its keys on the way: refused, and the call goes on.
    net.tap = Some(replacing("INVITE", |text| net::without(text, "a=key-mgmt")));
    net.nodes[0].client.refresh(net.now, call);
    net.settle();
    let last = net.nodes[0].received.last().unwrap();
    assert!(last.starts_with(b"SIP/2.0 488"), "{last:?}");
    assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());
    assert_eq!(net.nodes[0].client.calls() + net.nodes[1].client.calls(), 2);
}

#[test]
fn refreshes_that_cross_are_settled() {
    let mut net = Net::pair();
    // Two UPDATEs without an offer do not hurt each other; two INVITEs do.
    net.tap = Some(Box::new(|_, to, data| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        vec![(to, text.replace("BYE, PRACK, UPDATE, OPTIONS", "BYE, PRACK, OPTIONS").into())]
    }));
    let caller = net.call(0, "sip:bob@example.com");
    let called = net.accept(1);
    net.nodes[0].client.refresh(net.now, caller);
    net.nodes[1].client.refresh(net.now, called);
    net.settle();
    assert!(net.nodes[0].received.iter().any(|data| data.starts_with(b"SIP/2.0 491")));
    net.pass(Duration::from_secs(10));
    assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());
    assert!(net.try_event(1, |event| matches!(event, Event::Ended { .. })).is_none());
}

#[test]
fn a_session_that_nobody_refreshes_ends() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |config| config.session_timers.interval = 90);
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    net.pass(Duration::from_secs(1000));
    assert!(
        net.try_event(1, |event| matches!(event, Event::Ended { .. })).is_none(),
        "refreshed all the time"
    );
    net.tap = Some(Box::new(|_, _, _| Vec::new()));
    net.pass(Duration::from_secs(200));
    assert!(net.ending(0).refusal().is_some() && net.ending(1).refusal().is_some());
}

#[test]
fn a_file_is_described_and_goes_on_where_it_stopped() {
    let mut net = Net::pair();
    let file = FileOffer {
        name: "holiday \"1\".jpg".into(),
        content_type: "image/jpeg".into(),
        size: Some(1000),
        sha1: Some([7; 20]),
        transfer_id: "abc".into(),
        ..FileOffer::default()
    };
    net.call_for(0, "sip:bob@example.com", Purpose::SendFile(file.clone()));
    let Event::Incoming { call, purpose, sealed, .. } =
        net.event(1, |event| matches!(event, Event::Incoming { .. }))
    else {
        unreachable!()
    };
    assert!(sealed);
    assert_eq!(purpose, Purpose::SendFile(file.clone()));
    net.nodes[1].client.accept(net.now, call, media_address(1, 0), 400);
    net.settle();
    let expected = FileOffer { start: 400, ..file };
    assert_eq!(net.media(0).file, Some(expected.clone()));
    assert_eq!(net.media(1).file, Some(expected));
}

#[test]
fn a_reliable_ringing_is_acknowledged() {
    let mut net = Net::pair();
    net.tap = Some(replacing("INVITE", |text| {
        text.replacen("\r\nSupported:", "\r\nRequire: 100rel\r\nSupported:", 1)
    }));
    net.call(0, "sip:bob@example.com");
    assert!(net.nodes[1].received.iter().any(|data| data.starts_with(b"PRACK")));
    net.accept(1);
    assert!(net.media(0).seal.unwrap().tek == net.media(1).seal.unwrap().tek);
}

#[test]
fn options_are_answered_and_strangers_told_off() {
    let mut net = Net::pair();
    let request = |method: &str, tag: &str| {
        format!(
            "{method} sip:bob@10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{method}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:x@example.com>;tag=1\r\nTo: <sip:bob@example.com>{tag}\r\n\
             Call-ID: {method}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let hop = || carnet_sip::Hop::new(carnet_sip::Transport::Udp, address(1));
    for (method, tag, status) in [("OPTIONS", "", "200"), ("BYE", ";tag=9", "481"), ("MESSAGE", "", "405")] {
        let data = request(method, tag).into();
        net.nodes[1].client.handle_sip(net.now, net.wall, carnet_sip::Input { hop: hop(), data });
        let answer = net.nodes[1].client.poll_transmit().unwrap();
        assert!(answer.data.starts_with(format!("SIP/2.0 {status}").as_bytes()), "{answer:?}");
    }
}

#[test]
fn who_calls_by_sips_is_called_back_by_sips() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |config| {
        config.contact = uri("sip:alice@10.0.0.1;transport=tls");
    });
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
    let contact = |net: &Net| {
        let invite =
            Message::parse(net.nodes[1].received.last().unwrap().clone(), &Limits::default()).unwrap();
        assert_eq!(*invite.method(), Method::Invite);
        invite.header("Contact").unwrap().to_string()
    };
    net.call(0, "sips:bob@example.com");
    assert_eq!(contact(&net), "<sips:alice@10.0.0.1>");
    net.nodes[1].received.clear();
    net.call(0, "sip:bob@example.com");
    assert_eq!(contact(&net), "<sip:alice@10.0.0.1;transport=tls>");
}
