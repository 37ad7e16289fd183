//! Octets that no honest member sends.

use crate::harness::*;
use carnet_msrp::Status;
use carnet_room::{Event, Limits, MemberId, Reason, Settings};
use carnet_wire::{Random, SeededRandom};

fn frame(tid: &str, message_id: &str, range: &str, body: &[u8], flag: char) -> Vec<u8> {
    let head = format!(
        "MSRP {tid} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: {message_id}\r\nByte-Range: {range}\r\nContent-Type: message/cpim\r\n\r\n",
        path("room", "leg1"),
        path("client", "c1"),
    );
    [head.as_bytes(), body, format!("\r\n-------{tid}{flag}\r\n").as_bytes()].concat()
}

#[test]
fn a_thousand_messages_never_finished_cost_little() {
    let mut w = World::with(3);
    let body = wrap(&uri(1), ROOM, "text/plain", &[b'x'; 1000]);
    for n in 0..1000 {
        w.raw(1, &frame(&format!("tid{n:05}"), &format!("m{n}"), "1-*/100000", &body, '+'));
        w.settle();
    }
    assert!(w.room.held_messages() <= Limits::default().arrivals, "{}", w.room.held_messages());
    assert!(w.room.counters().held < 64 << 10);
    let key = w.say(2, "never mind");
    w.settle();
    assert_eq!(w.status(2, key), Some(Status::OK));
    assert_eq!(w.texts(3), ["never mind"]);
    w.pass(Limits::default().chunk.as_secs() + 2);
    assert_eq!(w.room.held_messages(), 1, "that of history");
    assert_eq!(w.client(3).aborted, Limits::default().arrivals);
}

#[test]
fn what_is_not_msrp_ends_the_leg_and_not_the_room() {
    for octets in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 100], b"MSRP \r\n".to_vec()] {
        let mut w = World::with(3);
        w.raw(1, &octets);
        w.settle();
        assert!(w.has_event(&Event::Released { member: MemberId(1), reason: Reason::Protocol }));
        w.say(2, "still here");
        w.settle();
        assert_eq!(w.texts(3), ["still here"]);
    }
}

#[test]
fn a_request_for_another_session_is_answered_481() {
    let mut w = World::with(2);
    let body = wrap(&uri(1), ROOM, "text/plain", b"stolen");
    let text = String::from_utf8(frame("tid00001", "m1", "1-*/*", &body, '$')).unwrap();
    w.raw(1, text.replace("leg1", "leg2").as_bytes());
    w.raw(1, text.replace("leg1", "none").as_bytes());
    w.settle();
    assert!(w.texts(2).is_empty());
    assert_eq!(w.room.roster().len(), 2);
}

#[test]
fn sizes_that_lie_are_refused() {
    let body = wrap(&uri(1), ROOM, "text/plain", b"0123456789");
    let n = body.len();
    for (range, flag) in [
        (format!("1-{n}/{}", n + 5), '$'),
        (format!("1-*/{}", n - 5), '$'),
        (format!("1-{}/{}", n - 1, n), '$'),
        ("0-1/1".to_owned(), '$'),
        ("9-1/1".to_owned(), '$'),
    ] {
        let mut w = World::with(2);
        w.raw(1, &frame("tid00001", "m1", &range, &body, flag));
        w.settle();
        assert!(w.texts(2).is_empty(), "{range}");
        assert_eq!(w.room.held_messages(), 0, "{range}");
        let key = w.say(1, "fine");
        w.settle();
        assert_eq!(w.status(1, key), Some(Status::OK), "{range}");
    }
}

#[test]
fn octet_by_octet_is_the_same() {
    let mut w = World::with(2);
    let body = wrap(&uri(1), ROOM, "text/plain", &[b'x'; 3000]);
    let octets = [
        frame("tid00001", "m1", &format!("1-*/{}", body.len()), &body, '$'),
        frame("tid00002", "m2", "1-*/*", &wrap(&uri(1), ROOM, "text/plain", b"second"), '$'),
    ]
    .concat();
    for octet in octets {
        assert_eq!(w.room.handle_input(w.now, MemberId(1), &[octet]), 1);
    }
    w.settle();
    assert_eq!(w.texts(2), ["x".repeat(3000).as_str(), "second"]);
}

#[test]
fn random_octets_after_a_good_start() {
    for seed in 0..300 {
        let mut random = SeededRandom::new(seed);
        let mut w = World::new(Settings { max_message: Some(1 << 20), ..quiet() }, Limits::default());
        (1..=3).for_each(|id| w.enter(id));
        w.settle();
        let body = wrap(&uri(1), ROOM, "text/plain", &[b'x'; 100]);
        let mut octets = frame("tid00001", "m1", "1-*/*", &body, '$').repeat(3);
        for _ in 0..1 + random.u32() % 8 {
            let at = random.u32() as usize % octets.len();
            octets[at] = random.u32() as u8;
        }
        w.raw(1, &octets);
        w.settle();
        w.say(2, "still here");
        w.settle();
        assert!(w.texts(3).contains(&"still here"), "seed {seed}");
        w.room.leave(w.now, MemberId(1));
        w.settle();
        assert!(w.room.held_messages() <= 4, "seed {seed}");
    }
}
