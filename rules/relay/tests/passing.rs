//! What is passed on, where to, and who hears what became of it (RFC 4976 §6.4).

#![allow(clippy::unwrap_used)]

mod net;

use carnet_relay::{Action, Reason, Relay};
use net::{Net, answer, field, send, settings, tid};
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn a_send_between_two_clients_and_all_that_belongs_to_it() {
    let mut net = Net::new();
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    let to = format!("{} {}", alice.uri, bob.path());
    net.give(alice.id, send("tid1", &to, &alice.own, "Byte-Range: 1-2/2\r\nX-Odd:  y \r\n", "hi"));
    // RFC 4976 §6.4.1: answered to the previous hop at once.
    assert_eq!(
        net.take(alice.id),
        format!("MSRP tid1 200 OK\r\nTo-Path: {}\r\nFrom-Path: {}\r\n-------tid1$\r\n", alice.own, alice.uri)
    );
    let arrived = net.take(bob.id);
    let name = tid(&arrived).to_owned();
    let from = format!("{} {} {}", bob.uri, alice.uri, alice.own);
    assert_eq!(arrived, send(&name, &bob.own, &from, "Byte-Range: 1-2/2\r\nX-Odd:  y \r\n", "hi"));
    net.give(bob.id, answer(&arrived, "200 OK"));
    assert_eq!(net.take(alice.id), "", "the answer of the next hop ends here");
    // REPORT is not answered.
    let report = format!(
        "MSRP rep1 REPORT\r\nTo-Path: {from}\r\nFrom-Path: {}\r\nMessage-ID: m1\r\nByte-Range: 1-2/2\r\nStatus: 000 200 OK\r\n-------rep1$\r\n",
        bob.own
    );
    net.give(bob.id, &report);
    assert_eq!(net.take(bob.id), "");
    let heard = net.take(alice.id);
    let back = format!("{} {} {}", alice.uri, bob.uri, bob.own);
    let expected = report.replace("rep1", tid(&heard)).replace(&from, &alice.own);
    assert_eq!(heard, expected.replace(&format!("From-Path: {}", bob.own), &format!("From-Path: {back}")));
    net.wait(Duration::from_secs(60));
    assert_eq!((net.take(alice.id), net.relay.counts().reports), (String::new(), 0));
}

#[test]
fn what_takes_a_message_on_goes_before_the_answer_to_who_sent_it() {
    let mut net = Net::new();
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    let to = format!("{} {}", alice.uri, bob.path());
    let now = net.now;
    net.relay.received(now, alice.id, send("tid1", &to, &alice.own, "", "hi").as_bytes());
    assert_eq!(net.relay.poll_urgent(), Some(Action::Write(bob.id)));
    assert_eq!(net.relay.poll_urgent(), None);
    assert_eq!(net.relay.poll(), Some(Action::Write(alice.id)));
    assert_eq!(net.relay.poll(), None);
    for id in [alice.id, bob.id] {
        let octets = net.relay.output(id).len();
        net.relay.sent(now, id, octets);
    }
    // It may be read from again.
    while let Some(action) = net.relay.poll() {
        assert_eq!(action, Action::Read(alice.id));
    }
    // With something urgent on the same connection it leaves at once.
    let back = format!("{} {}", bob.uri, alice.path());
    net.relay.received(now, alice.id, send("tid2", &to, &alice.own, "", "hi").as_bytes());
    net.relay.received(now, bob.id, send("tid3", &back, &bob.own, "", "hi").as_bytes());
    assert_eq!(net.relay.poll_urgent(), Some(Action::Write(bob.id)));
    assert_eq!(net.relay.poll_urgent(), Some(Action::Write(alice.id)));
    assert!(net.relay.output(alice.id).windows(13).any(|octets| octets == b"MSRP tid2 200"));
}

#[test]
fn the_same_paths_lead_elsewhere_when_something_has_changed() {
    let mut net = Net::new();
    let bob = net.client("bob");
    let from = "msrp://eve.invalid:9/eve;tcp";
    let to = format!("{} {from}", bob.uri);
    let mut eves = Vec::new();
    for n in 0..3 {
        // The same peer on a new connection: what is for it goes there from now on.
        let eve = net.connect();
        eves.push(eve);
        for _ in 0..2 {
            net.give(eve, send("tid1", &bob.path(), from, "", "x"));
            let arrived = net.take(bob.id);
            net.give(bob.id, answer(&arrived, "200 OK"));
            net.give(bob.id, send(&format!("back{n}"), &to, &bob.own, "", "y"));
            assert!(net.take(bob.id).starts_with(&format!("MSRP back{n} 200")));
            for (m, eve) in eves.iter().enumerate() {
                assert_eq!(net.take(*eve).contains(" SEND\r\n"), m == n, "{n} {m}");
            }
        }
    }
    // Other requests and answers between two with the same paths.
    net.give(bob.id, send("back", &bob.path(), &bob.own, "", "to myself"));
    assert!(net.take(bob.id).contains("MSRP back "));
    bob.ask(&mut net, "");
    net.give(bob.id, send("back4", &to, &bob.own, "", "y"));
    assert!(net.take(bob.id).starts_with("MSRP back4 200"));
    let heard = net.take(eves[2]);
    assert_eq!(field(&heard, "From-Path").unwrap(), bob.path());
    // The answer is for this transaction, whatever the last one was called.
    for name in ["a-longer-name", "tid1", "tid2"] {
        net.give(bob.id, send(name, &to, &bob.own, "", "y"));
        let answered = net.take(bob.id);
        assert!(answered.starts_with(&format!("MSRP {name} 200 OK\r\n")), "{answered}");
        assert!(answered.ends_with(&format!("\r\n-------{name}$\r\n")), "{answered}");
    }
    // With the URI it ends.
    net.wait(Duration::from_secs(1_801));
    net.take(bob.id);
    net.give(bob.id, send("late", &to, &bob.own, "", "y"));
    assert!(net.take(bob.id).starts_with("MSRP late 481"));
}

#[test]
fn failures_are_reported_to_those_who_ask_for_it() {
    let mut net = Net::new();
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    let to = format!("{} {}", alice.uri, bob.path());
    // Failure-Report; whether a 413 is reported, and silence.
    for (mode, answered, of_error, of_silence) in [
        ("", true, true, true),
        ("Failure-Report: yes\r\n", true, true, true),
        ("Failure-Report: partial\r\n", false, true, false),
        ("Failure-Report: no\r\n", false, false, false),
    ] {
        net.give(alice.id, send("tid1", &to, &alice.own, &format!("Byte-Range: 5-7/9\r\n{mode}"), "abc"));
        assert_eq!(net.take(alice.id).contains(" 200 OK"), answered, "{mode}");
        let arrived = net.take(bob.id);
        net.give(bob.id, answer(&arrived, "413 Stop Sending"));
        let heard = net.take(alice.id);
        assert_eq!(!heard.is_empty(), of_error, "{mode}");
        if of_error {
            assert!(heard.contains(" REPORT\r\n"), "{heard}");
            let expected = [
                ("To-Path", &*alice.own),
                ("From-Path", &alice.uri),
                ("Message-ID", "m1"),
                ("Byte-Range", "5-7/9"),
                ("Status", "000 413 Stop Sending"),
            ];
            for (name, value) in expected {
                assert_eq!(field(&heard, name), Some(value), "{name}");
            }
        }
        net.give(alice.id, send("tid2", &to, &alice.own, mode, "abc"));
        net.take(alice.id);
        net.take(bob.id);
        net.wait(Duration::from_secs(29));
        assert_eq!(net.take(alice.id), "");
        net.wait(Duration::from_secs(3));
        let heard = net.take(alice.id);
        assert_eq!(heard.contains("Status: 000 408 Request Timeout"), of_silence, "{mode}: {heard}");
    }
    // Its time runs from the last octet on: what waits here is not late.
    net.stalled.insert(bob.id);
    net.give(alice.id, send("tid3", &to, &alice.own, "", "abc"));
    net.wait(Duration::from_secs(20));
    net.unstall(bob.id);
    net.take(alice.id);
    net.wait(Duration::from_secs(25));
    assert_eq!(net.take(alice.id), "");
    net.wait(Duration::from_secs(6));
    assert!(net.take(alice.id).contains(" 408 "));
}

#[test]
fn it_is_no_open_relay() {
    let mut net = Net::new();
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    let eve = net.connect();
    let own = "msrp://eve.invalid:9/e;tcp";
    // A URI that was not granted.
    let guessed = "msrps://relay.example:2855/00000000000000000000000000000000;tcp";
    net.give(eve, send("tid1", &format!("{guessed} {}", bob.path()), own, "", "x"));
    assert!(net.take(eve).starts_with("MSRP tid1 481 "));
    // A granted one, spelt as another place.
    let elsewhere = alice.uri.replace("2855", "2856");
    net.give(alice.id, send("tid1", &format!("{elsewhere} {}", bob.path()), &alice.own, "", "x"));
    assert_eq!(net.closed, [(alice.id, Reason::NotForUs)]);
    assert_eq!(net.take(bob.id), "");
    let alice = net.client("alice");
    // Somebody else's leads to its owner only, never where the path goes on to.
    net.give(eve, send("tid2", &format!("{} {}", alice.uri, bob.path()), own, "", "x"));
    assert_eq!(net.take(bob.id), "");
    assert_eq!(field(&net.take(alice.id), "To-Path"), Some(&*bob.path()));
    assert!(net.connects.is_empty());
    // Us again, by a URI that is not good: no connection to ourselves.
    net.give(alice.id, send("tid3", &format!("{} {guessed} {}", alice.uri, bob.own), &alice.own, "", "x"));
    assert!(net.take(alice.id).contains("MSRP tid3 481 ") && net.connects.is_empty());
    // Nothing behind our own URI.
    net.give(alice.id, send("tid4", &alice.uri, &alice.own, "", "x"));
    assert!(net.take(alice.id).contains("MSRP tid4 400 "));
    // Somebody who never succeeds.
    let eve = net.connect();
    for _ in 0..6 {
        net.give(eve, send("tid5", &format!("{guessed} {}", bob.path()), own, "", "x"));
    }
    assert!(net.closed.contains(&(eve, Reason::Failures)));
    for (noise, reason) in [
        (send("tid6", "msrp://elsewhere.example:1/x;tcp", own, "", "x"), "NotForUs"),
        ("GET / HTTP/1.1\r\n".into(), "Malformed"),
    ] {
        let eve = net.connect();
        net.give(eve, noise);
        assert!(net.closed.iter().any(|(id, r)| *id == eve && format!("{r:?}").starts_with(reason)));
    }
}

#[test]
fn next_hops_are_connected_to_once_and_their_loss_is_reported() {
    let mut net = Net::new();
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    let out =
        |uri: &str, hop: &str| format!("{uri} msrps://Hop.example:9000/{hop};tcp msrp://p.example:1/p;tcp");
    net.give(alice.id, send("tid1", &out(&alice.uri, "a"), &alice.own, "", "one"));
    net.give(bob.id, send("tid2", &out(&bob.uri, "b"), &bob.own, "", "two"));
    net.give(alice.id, send("tid3", &out(&alice.uri, "a"), &alice.own, "Failure-Report: no\r\n", "three"));
    assert_eq!(net.connects.len(), 1, "one connection for all");
    let (way, host, port, secure) = net.connects.remove(0);
    assert_eq!((host.as_str(), port, secure), ("hop.example", 9000, true));
    assert_eq!(net.take(way), "");
    net.relay.connected(net.now, way);
    net.run();
    let arrived = net.take(way);
    assert_eq!(arrived.matches(" SEND\r\n").count(), 3);
    net.take(alice.id);
    net.take(bob.id);
    net.relay.closed(way);
    net.run();
    for client in [&alice, &bob] {
        let heard = net.take(client.id);
        assert_eq!(heard.matches("Status: 000 408").count(), 1, "{heard}");
    }
    // One that never stands.
    net.give(alice.id, send("tid4", &out(&alice.uri, "a"), &alice.own, "", "four"));
    net.take(alice.id);
    let (way, ..) = net.connects.remove(0);
    net.wait(Duration::from_secs(11));
    assert!(net.closed.contains(&(way, Reason::NotConnected)));
    assert!(net.take(alice.id).contains("Status: 000 408"));
}

#[test]
fn one_client_cannot_have_us_connect_everywhere() {
    let mut settings = settings();
    settings.limits.next_hops = 2;
    let mut net = Net::with(settings);
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    let out = |uri: &str, port: u16| format!("{uri} msrp://192.0.2.9:{port}/p;tcp");
    for (port, expected) in [(1, " 200 OK"), (2, " 200 OK"), (1, " 200 OK"), (3, " 408 ")] {
        net.give(alice.id, send("tid1", &out(&alice.uri, port), &alice.own, "", "x"));
        assert!(net.take(alice.id).contains(expected), "{port}");
    }
    net.give(bob.id, send("tid2", &out(&bob.uri, 3), &bob.own, "", "x"));
    assert!(net.take(bob.id).contains(" 200 OK"));
    let (way, ..) = net.connects.remove(0);
    net.relay.closed(way);
    net.give(alice.id, send("tid3", &out(&alice.uri, 4), &alice.own, "", "x"));
    assert!(net.take(alice.id).contains("MSRP tid3 200 OK"));
}

#[test]
fn a_client_that_cannot_be_connected_to_is_answered_on_its_own_connection() {
    let mut net = Net::new();
    let bob = net.client("bob");
    let eve = net.connect();
    let own = "msrp://eve.invalid:9/e;tcp";
    net.give(eve, send("tid1", &bob.path(), own, "", "x"));
    net.give(bob.id, send("tid2", &format!("{} {own}", bob.uri), &bob.own, "", "y"));
    assert!(net.connects.is_empty());
    assert!(net.take(eve).contains("\r\ny\r\n"));
}

/// Reassembles what a reader got: the chunks of one message, in order.
fn assemble(octets: &[u8], message: &str) -> (Vec<u8>, usize, char) {
    let (mut got, mut chunks, mut flag) = (Vec::new(), 0, '+');
    let mut rest = octets;
    while !rest.is_empty() {
        let at = rest.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        let name = String::from_utf8_lossy(&rest[5..]).split(' ').next().unwrap().to_owned();
        let end = format!("-------{name}");
        let end_at = rest.windows(end.len()).position(|w| w == end.as_bytes()).unwrap();
        let has_body = at.is_some_and(|at| at <= end_at);
        let head_end = if has_body { at.unwrap() } else { end_at };
        let head = String::from_utf8(rest[..head_end].to_vec()).unwrap();
        if field(&head, "Message-ID") == Some(message) && head.contains(" SEND\r\n") {
            let range = field(&head, "Byte-Range").unwrap_or("1-*/*");
            assert_eq!(range.split('-').next().unwrap(), (got.len() + 1).to_string(), "in order: {head}");
            got.extend_from_slice(&rest[head_end..end_at - 2]);
            chunks += 1;
            flag = rest[end_at + end.len()] as char;
        }
        rest = &rest[end_at + end.len() + 3..];
    }
    (got, chunks, flag)
}

#[test]
fn a_long_chunk_makes_room_for_others() {
    for (range, total) in [
        ("", "/*"),
        ("Byte-Range: 1-*/*\r\n", "/*"),
        ("Byte-Range: 1-3000/3000\r\n", "/3000"),
        ("Byte-Range: 1-*/3000\r\n", "/3000"),
    ] {
        let mut net = Net::new();
        let (alice, bob, carol) = (net.client("alice"), net.client("bob"), net.client("carol"));
        let text = "abc\r\n-----".repeat(300);
        let whole = send("long1", &format!("{} {}", alice.uri, bob.path()), &alice.own, range, &text)
            .replace("Message-ID: m1", "Message-ID: long");
        net.give(alice.id, &whole[..1500]);
        let short = send("short", &format!("{} {}", carol.uri, bob.path()), &carol.own, "", "hello");
        net.give(carol.id, &short);
        net.give(alice.id, &whole[1500..1600]);
        // Bob's own answers go between, too.
        net.give(bob.id, send("back1", &format!("{} {}", bob.uri, carol.path()), &bob.own, "", "yes"));
        net.give(alice.id, &whole[1600..]);
        let octets = net.take_octets(bob.id);
        let (got, chunks, flag) = assemble(&octets, "long");
        assert_eq!((got.as_slice(), chunks, flag), (text.as_bytes(), 3, '$'));
        let text = String::from_utf8(octets).unwrap();
        assert!(text.contains("\r\n\r\nhello\r\n"), "whole, between");
        let mut ranges = text.lines().filter_map(|l| l.strip_prefix("Byte-Range: "));
        // RFC 4975 §7.1.1: what is interrupted does not say where it ends.
        assert!(ranges.clone().all(|r| r.contains("-*/")), "{range}");
        assert!(ranges.all(|r| r.ends_with(total)));
        assert_eq!(net.take(alice.id).matches(" 200 OK").count(), 1, "one answer for one request");
    }
}

#[test]
fn what_is_given_up_is_given_up_everywhere() {
    let mut net = Net::new();
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    let whole = send("long1", &format!("{} {}", alice.uri, bob.path()), &alice.own, "", "abcdefgh");
    let half = whole.len() - 20;
    net.give(alice.id, &whole[..half]);
    net.relay.closed(alice.id);
    net.run();
    let arrived = net.take(bob.id);
    assert!(arrived.ends_with(&format!("-------{}#\r\n", tid(&arrived))), "{arrived}");
    // The next hop goes in the middle: the rest is taken and answered for what it is.
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    let whole = send("long2", &format!("{} {}", alice.uri, bob.path()), &alice.own, "", "abcdefgh");
    net.give(alice.id, &whole[..half]);
    net.relay.closed(bob.id);
    net.give(alice.id, &whole[half..]);
    let heard = net.take(alice.id);
    assert!(heard.starts_with("MSRP long2 408 "), "{heard}");
    assert!(net.closed.is_empty());
}

#[test]
fn a_reader_that_stops_stops_its_sender_and_nobody_else() {
    let mut net = Net::new();
    let (alice, bob, carol) = (net.client("alice"), net.client("bob"), net.client("carol"));
    net.stalled.insert(bob.id);
    let text = "0123456789abcdef".repeat(1 << 16);
    let whole = send("long1", &format!("{} {}", alice.uri, bob.path()), &alice.own, "", &text)
        .replace("Message-ID: m1", "Message-ID: long");
    let mut rest = whole.as_bytes();
    let mut pour = |net: &mut Net| {
        while net.relay.may_read(alice.id) && !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(16 << 10));
            net.give(alice.id, now);
            rest = later;
        }
        rest.len()
    };
    let left = pour(&mut net);
    assert!(left > text.len() - (300 << 10), "it waits after a queue's length: {left}");
    let held = |relay: &mut Relay| relay.output(bob.id).len();
    assert!(held(&mut net.relay) < 300 << 10);
    // Others pass, also over the one that waits.
    net.give(carol.id, send("tid1", &format!("{} {}", carol.uri, alice.path()), &carol.own, "", "hi"));
    assert!(net.take(alice.id).contains("\r\nhi\r\n"));
    net.unstall(bob.id);
    while pour(&mut net) > 0 {
        net.flush(bob.id);
        net.run();
    }
    let (got, _, flag) = assemble(&net.take_octets(bob.id), "long");
    assert!(got == text.as_bytes() && flag == '$', "every octet");
    // One that never reads again is given up, and the senders hear of it.
    net.stalled.insert(bob.id);
    net.take(carol.id);
    net.give(carol.id, send("tid2", &format!("{} {}", carol.uri, bob.path()), &carol.own, "", "x"));
    net.wait(Duration::from_secs(31));
    assert!(net.closed.contains(&(bob.id, Reason::Stalled)));
    assert!(net.take(carol.id).contains("Status: 000 408"));
}

#[test]
fn who_asks_without_listening_stops_itself() {
    let mut settings = settings();
    settings.limits.answers = 4096;
    let mut net = Net::with(settings);
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    net.stalled.insert(alice.id);
    let mut sent = 0;
    while net.relay.may_read(alice.id) {
        net.give(alice.id, send("tid1", &format!("{} {}", alice.uri, bob.path()), &alice.own, "", "x"));
        sent += 1;
        assert!(sent < 100);
    }
    assert!(net.relay.output(alice.id).len() < 8192);
    net.unstall(alice.id);
    assert!(net.relay.may_read(alice.id));
}

#[test]
fn what_need_not_be_answered_keeps_nobody_waiting() {
    let mut settings = settings();
    settings.limits.transactions = 8;
    let mut net = Net::with(settings);
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    let to = format!("{} {}", alice.uri, bob.path());
    net.give(alice.id, send("part", &to, &alice.own, "Failure-Report: partial\r\n", "x"));
    net.take(bob.id);
    for _ in 0..100 {
        net.give(alice.id, send("tid1", &to, &alice.own, "", "x"));
        let arrived = net.take(bob.id);
        net.give(bob.id, answer(&arrived, "200 OK"));
        assert!(net.relay.may_read(alice.id));
    }
    for _ in 0..100 {
        net.give(alice.id, send("part", &to, &alice.own, "Failure-Report: partial\r\n", "x"));
    }
    // What must be answered does, until it is, or is too late.
    net.wait(Duration::from_secs(31));
    for _ in 0..9 {
        assert!(net.relay.may_read(alice.id));
        net.give(alice.id, send("tid1", &to, &alice.own, "", "x"));
    }
    assert!(!net.relay.may_read(alice.id));
    net.take(alice.id);
    net.wait(Duration::from_secs(31));
    assert!(net.relay.may_read(alice.id));
    assert_eq!(net.take(alice.id).matches("Status: 000 408").count(), 9);
}

#[test]
fn forged_and_late_answers_are_nothing() {
    let mut net = Net::new();
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    net.give(alice.id, send("tid1", &format!("{} {}", alice.uri, bob.path()), &alice.own, "", "x"));
    net.take(alice.id);
    let arrived = net.take(bob.id);
    let name = tid(&arrived);
    let mut forged = name.to_owned();
    forged.replace_range(0..1, if name.starts_with('0') { "1" } else { "0" });
    for other in ["abcd", &forged] {
        net.give(bob.id, answer(&arrived, "481 No").replace(name, other));
        assert_eq!(net.take(alice.id), "", "{other}");
    }
    net.give(bob.id, answer(&arrived, "481 No"));
    assert!(net.take(alice.id).contains("Status: 000 481"));
    net.give(bob.id, answer(&arrived, "481 No"));
    assert_eq!(net.take(alice.id), "");
}

#[test]
fn other_methods_are_passed_on_whole() {
    let mut net = Net::new();
    let (alice, bob) = (net.client("alice"), net.client("bob"));
    let to = format!("{} {}", alice.uri, bob.path());
    net.give(
        alice.id,
        format!(
            "MSRP nick NICKNAME\r\nTo-Path: {to}\r\nFrom-Path: {}\r\nUse-Nickname: \"A\"\r\n-------nick$\r\n",
            alice.own
        ),
    );
    assert_eq!(net.take(alice.id), "", "the other end answers");
    let arrived = net.take(bob.id);
    let name = tid(&arrived);
    let back = field(&arrived, "From-Path").unwrap();
    net.give(
        bob.id,
        format!("MSRP {name} 425 Taken\r\nTo-Path: {back}\r\nFrom-Path: {}\r\n-------{name}$\r\n", bob.own),
    );
    let heard = net.take(alice.id);
    assert_eq!(
        heard,
        format!(
            "MSRP nick 425 Taken\r\nTo-Path: {}\r\nFrom-Path: {} {} {}\r\n-------nick$\r\n",
            alice.own, alice.uri, bob.uri, bob.own
        )
    );
    // With a body, in pieces; and one that is too large.
    let odd = |size: usize| {
        format!(
            "MSRP odd1 ODD\r\nTo-Path: {to}\r\nFrom-Path: {}\r\nContent-Type: a/b\r\n\r\n{}\r\n-------odd1$\r\n",
            alice.own,
            "x".repeat(size)
        )
    };
    for piece in odd(100).as_bytes().chunks(7) {
        net.give(alice.id, piece);
    }
    assert!(net.take(bob.id).contains(&"x".repeat(100)));
    net.give(alice.id, odd(100_000));
    assert!(net.take(alice.id).contains("MSRP odd1 413 ") && net.take(bob.id).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However it is cut and interrupted, every message arrives as it was sent.
    #[test]
    fn every_octet_arrives(
        texts in proptest::collection::vec("[a-c\r\n-]{0,200}", 2..3),
        steps in proptest::collection::vec((0usize..2, 1usize..90), 10..80),
    ) {
        let mut net = Net::new();
        let (alice, carol, bob) = (net.client("alice"), net.client("carol"), net.client("bob"));
        let frames: Vec<String> = [&alice, &carol].iter().zip(&texts).enumerate().map(|(n, (from, text))| {
            let to = format!("{} {}", from.uri, bob.path());
            send(&format!("frame{n}"), &to, &from.own, "", text).replace("Message-ID: m1", &format!("Message-ID: m{n}"))
        }).collect();
        let ids = [alice.id, carol.id];
        let mut at = [0, 0];
        let rest = [(0, 10_000), (1, 10_000)];
        for (who, size) in steps.into_iter().chain(rest) {
            let end = (at[who] + size).min(frames[who].len());
            net.give(ids[who], &frames[who][at[who]..end]);
            at[who] = end;
        }
        let octets = net.take_octets(bob.id);
        for (n, text) in texts.iter().enumerate() {
            let (got, _, flag) = assemble(&octets, &format!("m{n}"));
            prop_assert_eq!(String::from_utf8(got).unwrap(), text.as_str());
            prop_assert_eq!(flag, '$');
        }
    }

    #[test]
    fn nothing_panics(noise in proptest::collection::vec("[MSRP abcd SENDrelay.example:2855/;tcp\r\n$+#-]{0,40}", 1..8)) {
        let mut net = Net::new();
        let alice = net.client("alice");
        for part in noise {
            let head = format!("MSRP abcd SEND\r\nTo-Path: {} {part}\r\nFrom-Path: {part}\r\n", alice.uri);
            net.give(alice.id, head);
            net.give(alice.id, part);
        }
        net.wait(Duration::from_secs(40));
    }
}
