//! Several shards are one relay to everybody else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod net;

use carnet_msrp::{Frames, Limits, Part};
use carnet_relay::Reason;
use net::{Net, answer, field, send, settings, tid};
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn clients_of_two_shards_as_on_one() {
    let mut net = Net::new(&settings(), 2);
    let (alice, bob) = (net.client("alice", 0), net.client("bob", 1));
    assert_eq!((net.shard_of(alice.peer), net.shard_of(bob.peer)), (0, 1));
    let to = format!("{} {}", alice.uri, bob.path());
    for n in 0..3 {
        let name = format!("tid{n}");
        net.give(alice.peer, send(&name, &to, &alice.own, "Byte-Range: 1-2/2\r\n", "hi"));
        let (own, uri) = (&alice.own, &alice.uri);
        let expected =
            format!("MSRP {name} 200 OK\r\nTo-Path: {own}\r\nFrom-Path: {uri}\r\n-------{name}$\r\n");
        assert_eq!(net.take(alice.peer), expected);
        let arrived = net.take(bob.peer);
        let from = format!("{} {} {}", bob.uri, alice.uri, alice.own);
        assert_eq!(arrived, send(tid(&arrived), &bob.own, &from, "Byte-Range: 1-2/2\r\n", "hi"));
        // A refusal of the far end comes back as a report.
        net.give(bob.peer, answer(&arrived, if n == 1 { "413 Stop" } else { "200 OK" }));
        let report = net.take(alice.peer);
        assert_eq!(n == 1, report.contains("Status: 000 413"), "{report}");
    }
    // And back, by the same link.
    let to = format!("{} {}", bob.uri, alice.path());
    net.give(bob.peer, send("back", &to, &bob.own, "", "ho"));
    let arrived = net.take(alice.peer);
    assert_eq!(field(&arrived, "From-Path").unwrap(), format!("{} {} {}", alice.uri, bob.uri, bob.own));
    net.give(alice.peer, answer(&arrived, "200 OK"));
    assert!(net.take(bob.peer).starts_with("MSRP back 200"));
    net.wait(Duration::from_secs(60));
    let counts = net.counts();
    assert_eq!((net.joined, net.moved), (1, 0));
    assert_eq!((counts.sends, counts.reports, counts.connections, counts.sessions), (4, 1, 2, 2));
}

#[test]
fn who_comes_to_the_wrong_shard_moves_once() {
    let mut net = Net::new(&settings(), 3);
    let bob = net.client("bob", 1);
    let eve = net.connect(2).unwrap();
    let from = "msrp://eve.invalid:9/eve;tcp";
    let frame = send("tid1", &bob.path(), from, "", "hello");
    // However it is cut.
    let (head, rest) = frame.split_at(60);
    net.give(eve, head);
    assert_eq!(net.shard_of(eve), 2);
    net.give(eve, rest);
    assert_eq!((net.shard_of(eve), net.moved, net.joined), (1, 1, 0));
    assert!(net.take(eve).starts_with("MSRP tid1 200"));
    let arrived = net.take(bob.peer);
    assert!(arrived.contains("\r\n\r\nhello\r\n"), "{arrived}");
    net.give(bob.peer, send("tid2", &format!("{} {from}", bob.uri), &bob.own, "", "and back"));
    assert!(net.take(eve).contains("and back"));
    assert_eq!(net.counts().connections, 2);
}

#[test]
fn a_used_connection_reaches_all_shards_and_is_reached_from_them() {
    let mut net = Net::new(&settings(), 3);
    let clients = [net.client("alice", 0), net.client("bob", 1), net.client("carol", 2)];
    let eve = net.connect(0).unwrap();
    let from = "msrp://other-relay.invalid:9/eve;tcp msrp://eve.invalid:9/eve;tcp";
    for round in 0..2 {
        for client in &clients {
            net.give(eve, send("tid1", &client.path(), from, "", "hello"));
            assert!(net.take(eve).starts_with("MSRP tid1 200"));
            let arrived = net.take(client.peer);
            assert_eq!(field(&arrived, "From-Path").unwrap(), format!("{} {from}", client.uri));
            net.give(client.peer, answer(&arrived, "200 OK"));
            assert_eq!(net.take(eve), "");
            // Back by the way it came, and other requests with their answers too.
            let to = format!("{} {from}", client.uri);
            net.give(client.peer, send("tid2", &to, &client.own, "", "and back"));
            let back = net.take(eve);
            assert!(back.contains("and back"), "{round} {back}");
            assert_eq!(field(&back, "To-Path").unwrap(), from);
            assert_eq!(field(&back, "From-Path").unwrap(), client.path());
            net.give(eve, answer(&back, "413 Stop"));
            assert!(net.take(client.peer).contains("000 413"));
            let name = format!(
                "MSRP tid3 NICKNAME\r\nTo-Path: {}\r\nFrom-Path: {from}\r\nUse-Nickname: \"eve\"\r\n-------tid3$\r\n",
                client.path()
            );
            net.give(eve, name);
            let asked = net.take(client.peer);
            assert!(asked.contains("NICKNAME"), "{asked}");
            let back = field(&asked, "From-Path").unwrap().to_owned();
            let name = tid(&asked).to_owned();
            net.give(
                client.peer,
                format!(
                    "MSRP {name} 425 no\r\nTo-Path: {back}\r\nFrom-Path: {}\r\n-------{name}$\r\n",
                    client.own
                ),
            );
            let answered = net.take(eve);
            assert!(answered.starts_with("MSRP tid3 425"), "{answered}");
            assert_eq!(field(&answered, "To-Path").unwrap(), from);
        }
    }
    assert_eq!(net.joined, 2);
    net.leave(eve);
    net.wait(Duration::from_secs(60));
    assert_eq!((net.counts().connections, net.counts().sends), (3, 12));
    assert!(net.counts().octets > 0);
    assert!(net.closed.is_empty(), "{:?}", net.closed);
}

#[test]
fn who_guesses_is_closed_as_on_one_shard() {
    let mut net = Net::new(&settings(), 2);
    let bob = net.client("bob", 1);
    let made_up = |n: u32, shard: u32| format!("msrp://relay.example:2855/{n:032x}{shard};tcp {}", bob.own);
    for shards in [[0, 0], [1, 1], [0, 1], [1, 0]] {
        let eve = net.connect(0).unwrap();
        let mut tries = 0;
        while net.closed.iter().all(|(peer, _)| *peer != eve) {
            assert!(tries < 12, "{shards:?}");
            let shard = shards[tries.min(1)];
            net.give(eve, send("tid1", &made_up(tries as u32, shard), "msrp://eve.invalid:9/e;tcp", "", "x"));
            tries += 1;
        }
        assert_eq!(net.closed.last(), Some(&(eve, Reason::Failures)));
        assert!((5..=7).contains(&tries), "{tries}");
    }
    assert_eq!(net.take(bob.peer), "");
    // One failure does not keep somebody from what is good at another shard.
    let eve = net.connect(0).unwrap();
    net.give(eve, send("tid1", &made_up(1, 0), "msrp://eve.invalid:9/e;tcp", "", "x"));
    assert!(net.take(eve).starts_with("MSRP tid1 481"));
    for _ in 0..20 {
        net.give(eve, send("tid2", &bob.path(), "msrp://eve.invalid:9/e;tcp", "", "x"));
        net.give(eve, send("tid2", &bob.path(), "msrp://eve.invalid:9/other;tcp", "", "x"));
    }
    assert_eq!(net.take(bob.peer).matches(" SEND\r\n").count(), 40);
}

#[test]
fn who_does_not_read_stops_its_senders_and_nobody_else() {
    let mut net = Net::new(&settings(), 2);
    let (alice, bob) = (net.client("alice", 0), net.client("bob", 1));
    let (carol, dave) = (net.client("carol", 0), net.client("dave", 1));
    let eve = net.connect(0).unwrap();
    net.stalled.insert(bob.peer);
    let to = format!("{} {}", alice.uri, bob.path());
    let body = "b".repeat(16_000);
    let mut given = 0;
    while net.may_read(alice.peer) {
        net.give(alice.peer, send(&format!("tid{given:04}"), &to, &alice.own, "", &body));
        given += 1;
        // Two queues, and one frame more at each.
        assert!(given * body.len() < 700_000, "it does not end");
    }
    assert!(given * body.len() > 256 << 10);
    let to = format!("{} {}", carol.uri, dave.path());
    for _ in 0..20 {
        net.give(carol.peer, send("tid1", &to, &carol.own, "", "meanwhile"));
        let arrived = net.take(dave.peer);
        assert!(arrived.contains("meanwhile"), "{arrived}");
        net.give(dave.peer, answer(&arrived, "200 OK"));
        assert!(net.take(carol.peer).starts_with("MSRP tid1 200"));
    }
    net.give(eve, send("tid1", &dave.path(), "msrp://eve.invalid:9/e;tcp", "", "me too"));
    assert!(net.take(dave.peer).contains("me too"));
    net.unstall(bob.peer);
    assert!(net.may_read(alice.peer), "it goes on");
    let mut at = 0;
    let arrived = net.take(bob.peer);
    for _ in 0..given {
        let start = at + arrived[at..].find("\r\n\r\n").unwrap() + 4;
        assert_eq!(&arrived[start..start + body.len()], body);
        at = start + body.len();
    }
}

#[test]
fn limits_are_counted_together() {
    let mut settings = settings();
    settings.limits.sessions = 4;
    settings.limits.per_user = 2;
    settings.limits.per_source = Some(6);
    let mut net = Net::new(&settings, 3);
    let (first, second) = (net.client("alice", 0), net.client("alice", 1));
    assert!(net.try_client("alice", 2).is_none(), "a third of one user");
    net.client("bob", 2);
    net.client("carol", 0);
    assert!(net.try_client("dave", 1).is_none(), "a fifth");
    assert!(net.connect(2).is_none(), "a seventh of one source");
    assert_eq!(net.counts().turned_away, 1);
    net.leave(first.peer);
    net.leave(second.peer);
    net.client("alice", 2);
    assert_eq!((net.counts().sessions, net.counts().connections), (3, 5));
}

#[test]
fn what_is_not_complete_is_given_up_at_the_other_shard() {
    let mut net = Net::new(&settings(), 2);
    let (alice, bob) = (net.client("alice", 0), net.client("bob", 1));
    let to = format!("{} {}", alice.uri, bob.path());
    let frame = send("tid1", &to, &alice.own, "Byte-Range: 1-9/9\r\n", "all of it");
    net.give(alice.peer, &frame[..frame.len() - 20]);
    assert!(net.take(bob.peer).contains("\r\n\r\n"));
    net.leave(alice.peer);
    assert!(net.take(bob.peer).ends_with("#\r\n"));
    // Nobody is left to hear of what bob does not answer.
    net.wait(Duration::from_secs(60));
    assert_eq!((net.counts().reports, net.counts().connections), (0, 1));
    let to = format!("{} {} {}", bob.uri, alice.uri, alice.own);
    net.give(bob.peer, send("tid2", &to, &bob.own, "", "are you there?"));
    let heard = net.take(bob.peer);
    assert!(heard.contains("481"), "{heard}");
}

/// The bodies in what somebody got, each with the first URI of who sent it.
fn bodies(octets: &[u8]) -> Vec<(String, String)> {
    let mut frames = Frames::new(&Limits::default());
    let (mut rest, mut all) = (octets, Vec::<(String, String)>::new());
    loop {
        let (used, part) = frames.next(rest).unwrap();
        match part {
            None => return all,
            Some(Part::Head(head)) if head.has_body() => {
                let from = String::from_utf8(head.from_path().to_vec()).unwrap();
                all.push((from.rsplit(' ').next().unwrap().to_owned(), String::new()));
            }
            Some(Part::Body(octets)) => {
                all.last_mut().unwrap().1.push_str(std::str::from_utf8(octets).unwrap());
            }
            Some(_) => {}
        }
        rest = &rest[used..];
    }
}

proptest! {
    /// Whoever sends to whomever, in whatever pieces: each gets from each the same octets in the same order,
    /// and everybody is answered.
    #[test]
    fn everything_arrives_in_order(
        shards in 1u64..4,
        places in prop::array::uniform4(0usize..4),
        messages in prop::collection::vec((0usize..4, 0usize..4, 0usize..600), 1..30),
        cut in 1usize..900,
    ) {
        let mut net = Net::new(&settings(), shards);
        let users = ["alice", "bob", "carol", "dave"];
        let clients: Vec<_> =
            users.iter().zip(places).map(|(user, place)| net.client(user, place % shards as usize)).collect();
        let mut streams = vec![Vec::new(); clients.len()];
        let mut expected = vec![Vec::new(); clients.len()];
        for (n, (from, to, size)) in messages.into_iter().enumerate() {
            // Nobody sends to itself.
            let to = if from == to { (to + 1) % clients.len() } else { to };
            let (from_client, to_client) = (&clients[from], &clients[to]);
            let body = format!("{n} ").repeat(size / 4 + 1);
            let path = format!("{} {}", from_client.uri, to_client.path());
            let frame = send(&format!("tid{n:03}"), &path, &from_client.own, "Failure-Report: yes\r\n", &body);
            streams[from].push(frame);
            expected[to].push((from_client.own.clone(), body));
        }
        let mut answered = vec![0; clients.len()];
        let mut got = vec![Vec::new(); clients.len()];
        let whole: Vec<Vec<u8>> = streams.iter().map(|frames| frames.concat().into_bytes()).collect();
        let most = whole.iter().map(Vec::len).max().unwrap_or(0);
        for at in (0..most).step_by(cut) {
            for (n, client) in clients.iter().enumerate() {
                let piece = whole[n].get(at..(at + cut).min(whole[n].len())).unwrap_or_default();
                net.give(client.peer, piece);
            }
        }
        for (n, client) in clients.iter().enumerate() {
            let heard = net.take(client.peer);
            answered[n] = heard.matches(" 200 OK\r\n").count();
            got[n] = bodies(heard.as_bytes());
        }
        for (n, client) in clients.iter().enumerate() {
            prop_assert_eq!(answered[n], streams[n].len());
            for other in &clients {
                // A chunk may have been ended for another and gone on with.
                let of = |all: &[(String, String)]| {
                    all.iter().filter(|(from, _)| *from == other.own).map(|(_, body)| body.as_str()).collect::<String>()
                };
                prop_assert_eq!(of(&got[n]), of(&expected[n]), "{} to {}", &other.own, &client.own);
            }
        }
    }
}
