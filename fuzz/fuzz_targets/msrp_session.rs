//! An MSRP session against any octets in any pieces: no panic, bounded memory, no octet of a message out
//! of its place, and every message that is begun ends once.
#![no_main]

use carnet_msrp::{Config, Event, Limits, Outgoing, Session, Size, Status};
use carnet_wire::SeededRandom;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Frames that are well formed, each made of four octets: which message, from where, how long, and what
/// else. Random octets alone seldom get past the head of one.
fn frames(octets: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (n, four) in octets.chunks_exact(4).enumerate() {
        let [id, start, length, rest] = [four[0] % 5, four[1], four[2] % 40, four[3]];
        let total = ["*", "60", "255"][usize::from(rest % 3)];
        let end =
            if rest & 4 == 0 { "*".to_owned() } else { (u16::from(start) + u16::from(length)).to_string() };
        let report = ["", "Failure-Report: no\r\n", "Failure-Report: partial\r\nSuccess-Report: yes\r\n"];
        let report = report[usize::from(rest >> 3) % 3];
        let method = if rest & 0x20 == 0 { "SEND" } else { "REPORT" };
        let flag = [b'+', b'$', b'#', b'+'][usize::from(rest >> 6)];
        let head = format!(
            "MSRP tid{n:05} {method}\r\nTo-Path: msrp://b.example:1/s;tcp\r\nFrom-Path: msrp://a.example:2/t;tcp\r\n\
             Message-ID: {id}\r\nByte-Range: {}-{end}/{total}\r\n{report}Content-Type: text/plain\r\n\r\n",
            u16::from(start) + 1,
        );
        stream.extend_from_slice(head.as_bytes());
        stream.resize(stream.len() + usize::from(length), b'y');
        stream.extend_from_slice(format!("\r\n-------tid{n:05}").as_bytes());
        stream.extend_from_slice(&[flag, b'\r', b'\n']);
    }
    stream
}

/// More than the limits below allow, with the frames of a message of ours.
const HELD: usize = 64 << 10;

// The first octet says how large the pieces are, the second what the application does.
fuzz_target!(|input: &[u8]| {
    let [step, mood, octets @ ..] = input else { return };
    let made = frames(if mood & 16 == 0 { &[] } else { octets });
    let octets = if made.is_empty() { octets } else { &made };
    let mut config = Config::new(
        "msrp://b.example:1/s;tcp".parse().expect("a URI"),
        vec!["msrp://a.example:2/t;tcp".parse().expect("a URI")],
    );
    config.limits = Limits {
        event_octets: 4096,
        events: 64,
        control_octets: 4096,
        arrivals: 4,
        ranges: 8,
        ..Limits::default()
    };
    config.conclude = mood & 1 != 0;
    config.max_size = (mood & 2 != 0).then_some(1000);
    let mut session = Session::new(config, Box::new(SeededRandom::new(1)));
    let (mut now, mut out) = (Instant::now(), Vec::new());
    session.keep_alive(now);
    let _ = session.send(Outgoing::new("text/plain", Size::Known(5000)));
    let mut open = BTreeMap::new();
    for piece in octets.chunks(usize::from(*step).max(1)) {
        let mut rest = piece;
        for _ in 0..100 {
            let used = session.handle_input(now, rest);
            rest = &rest[used..];
            while let Some(event) = session.poll_event() {
                match event {
                    Event::Begun { arrival, size, .. } => {
                        assert!(open.insert(arrival, size).is_none());
                        if mood & 4 != 0 {
                            session.refuse(arrival, Status::STOP);
                        }
                    }
                    Event::Body { arrival, offset, data } => {
                        assert!(!data.is_empty());
                        let size = open.get(&arrival).expect("a message that has begun");
                        assert!(size.is_none_or(|size| offset + data.len() as u64 <= size));
                    }
                    Event::Complete { arrival, .. } => {
                        assert!(open.remove(&arrival).is_some());
                        session.conclude(arrival, Status(if mood & 8 == 0 { 200 } else { 413 }));
                    }
                    Event::Aborted { arrival, .. } => assert!(open.remove(&arrival).is_some()),
                    Event::WantBody { key, max } => {
                        let _ = session.supply(key, vec![b'x'; max.min(100)].into(), false);
                    }
                    _ => {}
                }
            }
            session.poll_transmit(now, &mut out, 500);
            assert!(session.held_octets() <= HELD, "{} octets held", session.held_octets());
            out.clear();
            if rest.is_empty() {
                break;
            }
        }
        now += Duration::from_millis(100);
        session.handle_timeout(now);
    }
    session.handle_closed(now);
    while let Some(event) = session.poll_event() {
        match event {
            Event::Begun { arrival, size, .. } => assert!(open.insert(arrival, size).is_none()),
            Event::Complete { arrival, .. } | Event::Aborted { arrival, .. } => {
                assert!(open.remove(&arrival).is_some());
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "a message neither ended nor was given up");
});
