//! A message connection that broke is made again in the same call (RFC 4975 §5.4).

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod net;

use std::time::Duration;

use carnet_client::{CallId, Ending, Event, FileOffer, Purpose, Refusal, Remote, TcpRole, TlsRole};
use net::{Net, Person, media_address, replacing, without};

/// A call between alice and bob, its media read.
fn up(net: &mut Net) -> [CallId; 2] {
    up_for(net, Purpose::Chat, 0)
}

fn up_for(net: &mut Net, purpose: Purpose, start: u64) -> [CallId; 2] {
    let caller = net.call_for(0, "sip:bob@example.com", purpose);
    let called = net.incoming(1);
    net.nodes[1].client.accept(net.now, called, media_address(1, 0), start);
    net.settle();
    for at in [0, 1] {
        assert!(net.media(at).seal.is_some());
        net.nodes[at].events.clear();
        net.nodes[at].received.clear();
    }
    [caller, called]
}

fn renew(net: &mut Net, at: usize, call: CallId, start: u64) {
    net.nodes[at].client.renew_media(net.now, call, media_address(at, 10), start);
    net.settle();
}

fn take(net: &mut Net, at: usize, call: CallId, start: u64) {
    net.event(at, |event| matches!(event, Event::MediaRenewal { .. }));
    net.nodes[at].client.take_media(net.now, call, media_address(at, 20), start);
    net.settle();
}

fn message(net: &Net, at: usize, start: &str) -> String {
    let found = net.nodes[at].received.iter().rev().find(|data| data.starts_with(start.as_bytes()));
    String::from_utf8(found.expect(start).to_vec()).unwrap()
}

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.split("\r\n").find(|line| line.starts_with(start)).unwrap_or_default()
}

/// Whoever of the two does it: another session, the same key exchange octet for octet, no question to the key
/// server, and the TLS roles of the key.
#[test]
fn either_end_makes_it_again_under_the_same_key() {
    for who in [0, 1] {
        let mut net = Net::pair();
        let calls = up(&mut net);
        let asked = net.kms[0].asked.len();
        // Twice: what was made again can break again.
        let mut paths = Vec::new();
        for _ in 0..2 {
            renew(&mut net, who, calls[who], 0);
            let offer = message(&net, 1 - who, "INVITE");
            assert!(line(&offer, "a=key-mgmt:mikey ").len() > 100, "{offer}");
            assert_eq!((line(&offer, "a=setup"), line(&offer, "a=connection")), ("a=setup:actpass", ""));
            take(&mut net, 1 - who, calls[1 - who], 0);
            let (ours, theirs) = (net.renewed(who).unwrap(), net.renewed(1 - who).unwrap());
            assert!(ours.seal.is_none() && theirs.seal.is_none(), "the line has its key");
            assert_eq!((&ours.local_path, &ours.remote_path), (&theirs.remote_path, &theirs.local_path));
            assert_eq!((ours.tcp, theirs.tcp), (TcpRole::Passive, TcpRole::Active));
            assert_eq!(theirs.remote, Some(Remote::Address(media_address(who, 10))));
            let alice = if who == 0 { &ours } else { &theirs };
            assert_eq!(alice.tls, TlsRole::Client, "whose ticket it is");
            assert_ne!(ours.tls, theirs.tls);
            assert!(line(&message(&net, who, "SIP/2.0 200"), "a=key-mgmt:mikey ").len() > 100);
            paths.extend([ours.local_path.clone(), theirs.local_path.clone()]);
        }
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), 4, "each session has a name of its own");
        assert_eq!(net.kms[0].asked.len(), asked);
        // What comes after is as ever.
        net.nodes[0].client.refresh(net.now, calls[0]);
        net.pass(Duration::from_secs(40));
        net.nodes[who].client.hang_up(net.now, net.wall, calls[who]);
        net.settle();
        assert_eq!((net.ending(who), net.ending(1 - who)), (Ending::Local, Ending::Peer(None)));
        assert!(net.nodes.iter().all(|node| node.client.is_idle()));
    }
}

/// Both at once: 491 both ways, and then one of them (RFC 3261 §14.1).
#[test]
fn offers_that_cross_come_again() {
    let mut net = Net::pair();
    let calls = up(&mut net);
    for at in [0, 1] {
        net.nodes[at].client.renew_media(net.now, calls[at], media_address(at, 10), 0);
    }
    net.settle();
    for at in [0, 1] {
        assert!(message(&net, at, "SIP/2.0 491").contains("INVITE"));
    }
    // Some seconds later at most one of them is there again, and the other takes it.
    net.pass(Duration::from_secs(5));
    let asked = [0, 1].map(|at| net.try_event(at, |e| matches!(e, Event::MediaRenewal { .. })).is_some());
    assert!(asked[0] != asked[1], "{asked:?}");
    let taker = usize::from(asked[1]);
    net.nodes[taker].client.take_media(net.now, calls[taker], media_address(taker, 20), 0);
    net.pass(Duration::from_secs(20));
    let (one, other) = (net.renewed(0).unwrap(), net.renewed(1).unwrap());
    assert_eq!((&one.local_path, &one.remote_path), (&other.remote_path, &other.local_path));
    assert!(net.try_event(0, |e| matches!(e, Event::MediaRenewed { .. } | Event::Ended { .. })).is_none());
}

/// A peer that does not know of it answers as to any unchanged offer: the old session, which is told apart by
/// its path, and the call stands.
#[test]
fn a_peer_without_it_answers_with_the_old_session() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |_| {});
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |config| config.recovers = false);
    let calls = up(&mut net);
    renew(&mut net, 0, calls[0], 0);
    let media = net.renewed(0).unwrap();
    assert!(media.remote_path.contains(&media_address(1, 0).to_string()), "{}", media.remote_path);
    assert!(net.nodes[1].events.is_empty(), "{:?}", net.nodes[1].events);
}

/// Where a file goes on is for its receiver to say, whoever offers.
#[test]
fn a_file_goes_on_where_its_receiver_says() {
    for who in [0, 1] {
        let mut net = Net::pair();
        let file = FileOffer {
            name: "a.bin".into(),
            size: Some(1000),
            sha1: Some([7; 20]),
            transfer_id: "t1".into(),
            ..FileOffer::default()
        };
        let calls = up_for(&mut net, Purpose::SendFile(file), 100);
        // Alice sends: what she says of a start is nothing.
        renew(&mut net, who, calls[who], if who == 1 { 640 } else { 5 });
        take(&mut net, 1 - who, calls[1 - who], if who == 0 { 640 } else { 5 });
        for at in [0, 1] {
            let media = net.renewed(at).unwrap();
            assert_eq!(media.file.as_ref().map(|file| file.start), Some(640), "{at} of {who}");
        }
        let answer = message(&net, who, "SIP/2.0 200");
        assert_eq!(line(&answer, "a=file-range"), "a=file-range:641-1000");
        assert_eq!(line(&answer, "a=file-transfer-id"), "a=file-transfer-id:t1");
    }
}

/// A border without a gateway at the moment: the driver hears of it, the call stands, and the next attempt may
/// do better. Without a network in between the peer refuses.
#[test]
fn a_refusal_is_told_and_the_call_stands() {
    for status in ["500 Server Internal Error", "503 Service Unavailable", "504 Server Time-out", "480 No"] {
        let mut net = Net::pair();
        let calls = up(&mut net);
        net.tap = Some(Box::new(move |from, to, data| {
            let text = String::from_utf8(data.to_vec()).unwrap();
            if !text.starts_with("INVITE") {
                return vec![(to, data.clone())];
            }
            // Whoever is in between answers in the peer's place.
            let head = text.split("\r\n\r\n").next().unwrap();
            let copied = head.split("\r\n").filter(|line| {
                ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|name| line.starts_with(name))
            });
            let copied: Vec<_> = copied.collect();
            let answer = format!("SIP/2.0 {status}\r\n{}\r\nContent-Length: 0\r\n\r\n", copied.join("\r\n"));
            vec![(from, answer.into())]
        }));
        renew(&mut net, 0, calls[0], 0);
        let refusal = net.renewed(0).unwrap_err();
        let code: u16 = status[..3].parse().unwrap();
        assert!(matches!(&refusal, Refusal::Rejected { status, .. } if *status == code), "{refusal:?}");
        net.tap = None;
        renew(&mut net, 0, calls[0], 0);
        take(&mut net, 1, calls[1], 0);
        net.renewed(0).unwrap();
    }
}

/// The keys of another offer are not taken on the way: the call goes on as it was.
#[test]
fn other_keys_are_refused() {
    let mut net = Net::pair();
    let calls = up(&mut net);
    net.tap = Some(replacing("INVITE", |text| without(text, "a=key-mgmt")));
    renew(&mut net, 0, calls[0], 0);
    assert!(net.renewed(0).is_err());
    assert!(net.nodes[1].events.is_empty(), "{:?}", net.nodes[1].events);
}

/// The call ends while the driver makes room: the offer has its final response.
#[test]
fn an_offer_that_nobody_took_is_answered_when_the_call_ends() {
    for who in [0, 1] {
        let mut net = Net::pair();
        let calls = up(&mut net);
        renew(&mut net, 0, calls[0], 0);
        net.event(1, |event| matches!(event, Event::MediaRenewal { .. }));
        net.nodes[who].client.hang_up(net.now, net.wall, calls[who]);
        net.settle();
        assert!(message(&net, 0, "SIP/2.0 487").contains("INVITE"));
        net.nodes[1].client.take_media(net.now, calls[1], media_address(1, 20), 0);
        net.pass(Duration::from_secs(60));
        assert!(net.try_event(1, |event| matches!(event, Event::MediaRenewed { .. })).is_none());
        assert!(net.nodes.iter().all(|node| node.client.is_idle()));
    }
}
