//! Long messages: they flow through, others go between their chunks, and order is kept.

use crate::harness::*;
use carnet_msrp::{Outgoing, Size, Status};
use carnet_room::{Limits, MemberId};

fn file(length: usize) -> Vec<u8> {
    (0..length).map(|n| b'a' + (n % 23) as u8).collect()
}

#[test]
fn a_file_flows_through_and_chat_goes_between() {
    let mut w = World::with(3);
    w.clients.values_mut().for_each(|c| c.step = 4096);
    let body = wrap(&uri(1), ROOM, "application/octet-stream", &file(4 << 20));
    let key = w.stream(1, Outgoing::new("message/cpim", Size::Known(body.len() as u64)), body);
    for _ in 0..100 {
        w.turn();
    }
    let chat = w.say(2, "meanwhile");
    let own = w.say(1, "how do you like it?");
    for _ in 0..100 {
        w.turn();
    }
    assert_eq!(w.status(2, chat), Some(Status::OK));
    assert_eq!(w.status(1, own), Some(Status::OK));
    let mut texts = w.texts(3);
    texts.sort_unstable();
    assert_eq!(texts, ["how do you like it?", "meanwhile"], "before the file, which began earlier");
    assert!(w.room.counters().held < 2 << 20, "the file is not collected");
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::OK));
    assert_eq!(w.texts(3)[2].as_bytes(), file(4 << 20));
    assert_eq!(w.texts(2).iter().map(|t| t.len()).sum::<usize>(), (4 << 20) + 19);
}

#[test]
fn a_message_of_unknown_size_flows_too() {
    let mut w = World::with(2);
    w.clients.values_mut().for_each(|c| c.step = 3000);
    for length in [0, 1, 2000, 100_000] {
        let body = wrap(&uri(1), ROOM, "text/plain", &file(length));
        let key = w.stream(1, Outgoing::new("message/cpim", Size::Unknown), body);
        w.settle();
        assert_eq!(w.status(1, key), Some(Status::OK), "{length}");
        assert_eq!(w.texts(2).last().map(|t| t.as_bytes()), Some(file(length).as_slice()));
    }
}

#[test]
fn what_follows_a_long_message_arrives_after_it() {
    let mut w = World::with(3);
    // The recipient is slow, so the long message still waits when the short one is accepted.
    w.client(2).step = 700;
    let long = "x".repeat(100_000);
    let key = w.say(1, &long);
    while w.status(1, key).is_none() {
        assert!(w.turn());
    }
    assert!(w.texts(2).is_empty());
    w.say(1, "the end");
    w.say(1, &"y".repeat(5000));
    w.say(3, "from another");
    w.settle();
    let texts = w.texts(2);
    let of_1: Vec<_> = texts.iter().filter(|t| **t != "from another").copied().collect();
    assert_eq!(of_1, [long.as_str(), "the end", &"y".repeat(5000)]);
    assert_eq!(texts[0], "from another", "another sender does not wait for it");
}

#[test]
fn chunks_may_come_in_any_order() {
    let mut w = World::with(2);
    let body = wrap(&uri(1), ROOM, "text/plain", b"0123456789");
    let total = body.len();
    let chunk = |tid: &str, from: usize, to: usize, flag: char| {
        let head = format!(
            "MSRP {tid} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: m1\r\nByte-Range: {}-{to}/{total}\r\nContent-Type: message/cpim\r\n\r\n",
            path("room", "leg1"),
            path("client", "c1"),
            from + 1
        );
        [head.as_bytes(), &body[from..to], format!("\r\n-------{tid}{flag}\r\n").as_bytes()].concat()
    };
    let parts = [
        chunk("tid0003", total - 4, total, '$'),
        chunk("tid0002", 20, total - 2, '+'),
        chunk("tid0001", 0, 30, '+'),
    ];
    for part in parts {
        w.raw(1, &part);
        w.settle();
    }
    assert_eq!(w.texts(2), ["0123456789"]);
}

#[test]
fn too_much_ahead_of_its_time_is_refused() {
    let mut w = World::new(quiet(), Limits { disorder: 1000, ..Limits::default() });
    (1..=2).for_each(|id| w.enter(id));
    w.settle();
    let head = format!(
        "MSRP tid0001 SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: m1\r\nByte-Range: 101-*/5000\r\nContent-Type: message/cpim\r\n\r\n",
        path("room", "leg1"),
        path("client", "c1"),
    );
    w.raw(1, &[head.as_bytes(), &[b'x'; 2000], b"\r\n-------tid0001+\r\n"].concat());
    w.settle();
    let refused = |e: &carnet_room::Event| {
        matches!(e, carnet_room::Event::Refused { from: MemberId(1), status: Status::STOP, .. })
    };
    assert!(w.events.iter().any(refused));
    assert!(w.say(1, "x") != w.say(1, "y"));
    w.settle();
    assert_eq!(w.texts(2), ["x", "y"]);
}

#[test]
fn many_long_messages_at_once_get_through() {
    // Each sender has as many under way as it may, and nobody has room for much.
    let mut w = World::new(quiet(), Limits { window: 5000, ..Limits::default() });
    (1..=8).for_each(|id| w.enter(id));
    w.clients.values_mut().for_each(|c| c.step = 3000);
    let mut keys = Vec::new();
    for id in 1..=7 {
        for n in 0..Limits::default().arrivals {
            let text = [format!("{id}.{n}").as_bytes(), &file(40_000)].concat();
            let body = wrap(&uri(id), ROOM, "application/octet-stream", &text);
            let message = Outgoing::new("message/cpim", Size::Known(body.len() as u64));
            keys.push((id, w.stream(id, message, body)));
        }
    }
    w.settle();
    for (id, key) in keys {
        assert_eq!(w.status(id, key), Some(Status::OK), "{id}");
    }
    assert_eq!(w.texts(8).len(), 7 * Limits::default().arrivals);
}
