//! A chat room against any octets of one member, in any pieces, with two members that behave: no panic,
//! bounded memory, the others still reach each other, and nothing is left when all are gone.
#![no_main]

use carnet_msrp::cpim::{Address, Head};
use carnet_msrp::{Config, Event, Outgoing, Session, Size, Uri};
use carnet_room::{History, Limits, Member, MemberId, Room, Settings};
use carnet_wire::SeededRandom;
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};

const ROOM: &str = "sip:room@c.example";
const TYPES: [&str; 4] = ["text/plain", "message/imdn+xml", "application/im-iscomposing+xml", "image/png"];

/// Frames that are well formed, each made of four octets: which message, from where, how long, to whom and
/// what else. Random octets alone seldom get past the head of one.
fn frames(octets: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (n, four) in octets.chunks_exact(4).enumerate() {
        let [id, start, length, rest] = [four[0] % 7, four[1], four[2], four[3]];
        let to = [ROOM, "sip:2@c.example", "sip:9@c.example", "Nick"][usize::from(rest & 3)];
        let from = if rest & 4 == 0 { "sip:1@c.example" } else { "sip:2@c.example" };
        let kind = TYPES[usize::from(rest >> 3) % 4];
        let flag = [b'+', b'$', b'#', b'$'][usize::from(rest >> 6)];
        let mut body =
            format!("From: <{from}>\r\nTo: <{to}>\r\n\r\nContent-Type: {kind}\r\n\r\n").into_bytes();
        body.resize(body.len() + usize::from(length) * 10, b'x');
        let from = if start < 128 { 0 } else { usize::from(start - 128).min(body.len()) };
        let total = if rest & 0x20 == 0 { "*".to_owned() } else { body.len().to_string() };
        let method = if four[0] < 240 { "SEND" } else { "NICKNAME" };
        let head = format!(
            "MSRP tid{n:05} {method}\r\nTo-Path: msrp://r.example:1/l1;tcp\r\nFrom-Path: msrp://m.example:1/m1;tcp\r\n\
             Message-ID: {id}\r\nUse-Nickname: \"n{id}\"\r\nByte-Range: {}-*/{total}\r\n\
             Content-Type: message/cpim\r\n\r\n",
            from + 1
        );
        stream.extend_from_slice(head.as_bytes());
        stream.extend_from_slice(&body[from..]);
        stream.extend_from_slice(format!("\r\n-------tid{n:05}").as_bytes());
        stream.extend_from_slice(&[flag, b'\r', b'\n']);
    }
    stream
}

fn path(text: &str) -> Uri {
    text.parse().expect("a URI")
}

/// Carries octets between the room and the members that behave. Returns how many messages each got whole.
fn settle(room: &mut Room, now: Instant, ends: &mut [(u16, Session)]) -> usize {
    let (mut got, mut wire, mut moved) = (0, Vec::new(), true);
    while moved {
        moved = false;
        for (id, session) in ends.iter_mut() {
            moved |= room.poll_transmit(now, MemberId(*id), &mut wire, 1 << 16);
            session.handle_input(now, &wire);
            wire.clear();
            while let Some(event) = session.poll_event() {
                got += usize::from(matches!(event, Event::Complete { .. }));
            }
            moved |= session.poll_transmit(now, &mut wire, 1 << 16);
            room.handle_input(now, MemberId(*id), &wire);
            wire.clear();
        }
    }
    got
}

// The first octet says how large the pieces are, the second what the room is like.
fuzz_target!(|input: &[u8]| {
    let [step, mood, octets @ ..] = input else { return };
    let made = frames(if mood & 1 == 0 { &[] } else { octets });
    let octets = if made.is_empty() { octets } else { &made };
    let settings = Settings {
        private: mood & 2 == 0,
        notices: mood & 4 != 0,
        history: History { count: usize::from(mood >> 5), ..History::default() },
        max_message: (mood & 8 != 0).then_some(1000),
        ..Settings::new(ROOM)
    };
    let limits = Limits { window: 2000, keep: 1000, disorder: 500, ..Limits::default() };
    let mut room = Room::new(settings, limits, Box::new(SeededRandom::new(1)));
    let mut now = Instant::now();
    let mut ends = Vec::new();
    for id in 1..=3_u16 {
        let (ours, theirs) =
            (path(&format!("msrp://r.example:1/l{id};tcp")), path(&format!("msrp://m.example:1/m{id};tcp")));
        let member = Member::new(format!("sip:{id}@c.example"), ours.clone(), vec![theirs.clone()]);
        assert!(room.join(now, MemberId(id), member));
        room.connected(now, MemberId(id), false);
        if id > 1 {
            let config = Config::new(theirs, vec![ours]);
            ends.push((id, Session::new(config, Box::new(SeededRandom::new(id.into())))));
        }
    }
    let mut sink = Vec::new();
    for piece in octets.chunks(usize::from(*step) * 4 + 1) {
        let mut rest = piece;
        for _ in 0..100 {
            let used = room.handle_input(now, MemberId(1), rest);
            rest = &rest[used..];
            settle(&mut room, now, &mut ends);
            room.poll_transmit(now, MemberId(1), &mut sink, 1 << 16);
            sink.clear();
            if rest.is_empty() {
                break;
            }
        }
        assert!(room.counters().held <= 512 << 10, "{} octets held", room.counters().held);
        now += Duration::from_millis(10);
        room.handle_timeout(now);
    }
    let head = Head::new(&Address::of("sip:2@c.example"), &Address::of(ROOM), "text/plain").expect("a head");
    let mut body = Vec::new();
    head.write(&mut body);
    settle(&mut room, now, &mut ends);
    let (_, session) = ends.first_mut().expect("two members");
    session.send_whole(Outgoing::new("message/cpim", Size::Unknown), body.into()).expect("a message");
    assert_eq!(settle(&mut room, now, &mut ends), 1, "the others still reach each other");
    (1..=3).for_each(|id| room.leave(now, MemberId(id)));
    assert!(room.held_messages() <= usize::from(mood >> 5), "only history is left");
    while room.poll_event().is_some() {}
});
