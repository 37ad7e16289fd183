//! Two sessions against each other, and one session against frames that are not ours.

use super::*;
use crate::Uri;
use carnet_wire::SeededRandom;

const ALICE: &str = "msrp://alicepc.example.com:7777/iau39soe2843z;tcp";
const BOB: &str = "msrp://bob.example.com:8888/9di4eae923wzd;tcp";

fn config(local: &str, remote: &str) -> Config {
    Config::new(local.parse().unwrap(), vec![remote.parse::<Uri>().unwrap()])
}

fn session(config: Config, seed: u64) -> Session {
    Session::new(config, Box::new(SeededRandom::new(seed)))
}

fn bob() -> Session {
    session(config(BOB, ALICE), 2)
}

fn alice() -> Session {
    session(config(ALICE, BOB), 1)
}

fn events(s: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| s.poll_event()).collect()
}

fn output(s: &mut Session, now: Instant) -> String {
    let mut out = Vec::new();
    while s.poll_transmit(now, &mut out, 1000) {}
    String::from_utf8_lossy(&out).into_owned()
}

/// Lines with the line ends of the protocol.
fn wire(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// Both ends of a link that takes at most `step` octets at a time.
struct Pair {
    now: Instant,
    a: Session,
    b: Session,
    step: usize,
    to_a: Vec<u8>,
    to_b: Vec<u8>,
}

impl Pair {
    fn new(step: usize) -> Self {
        Self { now: Instant::now(), a: alice(), b: bob(), step, to_a: Vec::new(), to_b: Vec::new() }
    }

    /// One step each way. Returns whether anything moved.
    fn turn(&mut self) -> bool {
        let there = carry(self.now, self.step, &mut self.a, &mut self.b, &mut self.to_b);
        let back = carry(self.now, self.step, &mut self.b, &mut self.a, &mut self.to_a);
        there || back
    }

    fn settle(&mut self) {
        while self.turn() {}
    }
}

fn carry(now: Instant, step: usize, from: &mut Session, to: &mut Session, link: &mut Vec<u8>) -> bool {
    let room = step.saturating_sub(link.len());
    let sent = from.poll_transmit(now, link, room);
    let used = to.handle_input(now, link);
    link.drain(..used);
    sent || used > 0
}

/// What a receiver puts together.
#[derive(Default)]
struct Sink {
    body: Vec<u8>,
    complete: bool,
}

impl Sink {
    fn take(&mut self, events: Vec<Event>) -> Vec<Event> {
        let mut rest = Vec::new();
        for event in events {
            match event {
                Event::Body { offset, data, .. } => {
                    let end = offset as usize + data.len();
                    self.body.resize(self.body.len().max(end), 0);
                    self.body[offset as usize..end].copy_from_slice(&data);
                }
                Event::Complete { size, .. } => {
                    assert_eq!(size as usize, self.body.len());
                    self.complete = true;
                }
                other => rest.push(other),
            }
        }
        rest
    }
}

fn text(body: &str) -> (Outgoing, Bytes) {
    (Outgoing::new("text/plain", Size::Unknown), Bytes::copy_from_slice(body.as_bytes()))
}

#[test]
fn a_line_of_chat() {
    let mut p = Pair::new(7);
    let (message, body) = text("Hi, I'm Alice!\r\n");
    let key = p.a.send_whole(Outgoing { success_report: true, ..message }, body).unwrap();
    p.settle();
    let mut sink = Sink::default();
    let rest = sink.take(events(&mut p.b));
    assert!(matches!(&rest[..], [Event::Begun { content_type, size: Some(16), from, .. }]
        if content_type == "text/plain" && from.as_str() == ALICE));
    assert!(sink.complete && sink.body == b"Hi, I'm Alice!\r\n");
    let reports = events(&mut p.a);
    assert_eq!(reports[..2], [Event::Sent { key }, Event::Delivered { key }]);
    assert!(matches!(&reports[2..], [Event::Report { key: k, range: Some(r), status: Status::OK }]
        if *k == key && r.to_string() == "1-16/16"));
}

// RFC 4975 §11.1
#[test]
fn the_frames_of_the_basic_session() {
    let now = Instant::now();
    let mut s = bob();
    let send = wire(&format!(
        "MSRP d93kswow SEND\nTo-Path: {BOB}\nFrom-Path: {ALICE}\nMessage-ID: 12339sdqwer\n\
         Byte-Range: 1-16/16\nContent-Type: text/plain\n\nHi, I'm Alice!\n\n-------d93kswow$\n"
    ));
    assert_eq!(s.handle_input(now, send.as_bytes()), send.len());
    let ok = format!("MSRP d93kswow 200 OK\nTo-Path: {ALICE}\nFrom-Path: {BOB}\n-------d93kswow$\n");
    assert_eq!(output(&mut s, now), wire(&ok));
    let mut sink = Sink::default();
    sink.take(events(&mut s));
    assert!(sink.complete);
    assert_eq!(sink.body, b"Hi, I'm Alice!\r\n");
}

#[test]
fn a_chat_line_overtakes_a_file() {
    let mut p = Pair::new(1 << 20);
    let file = Bytes::from((0..300_000u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>());
    let bulk = p.a.send(Outgoing::new("application/octet-stream", Size::Known(file.len() as u64))).unwrap();
    let mut left = file.clone();
    let (mut file_sink, mut keys, mut line_at, mut line_sent) = (Sink::default(), Vec::new(), None, false);
    p.step = 10_000;
    for _ in 0..10_000 {
        p.turn();
        for event in events(&mut p.a) {
            match event {
                Event::WantBody { key, max } => {
                    assert_eq!(key, bulk);
                    let part = left.split_to(max.min(left.len()));
                    p.a.supply(key, part, left.is_empty()).unwrap();
                }
                Event::Delivered { key } => keys.push(key),
                Event::Sent { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        for event in events(&mut p.b) {
            match event {
                Event::Begun { content_type, arrival, .. } if content_type == "text/plain" => {
                    line_at = Some((arrival, file_sink.body.len()));
                }
                Event::Body { arrival, .. } if line_at.is_some_and(|l| l.0 == arrival) => {}
                Event::Complete { arrival, .. } if line_at.is_some_and(|l| l.0 == arrival) => {}
                event => drop(file_sink.take(vec![event])),
            }
        }
        if !line_sent && file_sink.body.len() > 100_000 {
            let (message, body) = text("short");
            p.a.send_whole(message, body).unwrap();
            line_sent = true;
        }
        assert!(p.a.held_octets() < 400_000, "{}", p.a.held_octets());
    }
    assert!(file_sink.complete && file_sink.body == file);
    assert_eq!(keys.len(), 2);
    let behind = line_at.unwrap().1 - 100_000;
    assert!(behind < 30_000, "the line waited for {behind} octets of the file");
}
