//! Two sessions against each other, and one session against frames that are not ours.
//!
//! Here is what the tests share.

mod bulk;
mod naming;
mod receiving;
mod sending;

use super::*;
use crate::Uri;
use carnet_wire::SeededRandom;
use std::time::Duration;

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

/// A request to Bob with the given header fields after the paths, as Alice sends it.
fn to_bob(tid: &str, headers: &str, body: Option<&str>, flag: char) -> String {
    let body = body.map(|b| format!("\r\n{b}\r\n")).unwrap_or_default();
    wire(&format!("MSRP {tid} SEND\nTo-Path: {BOB}\nFrom-Path: {ALICE}\n{headers}"))
        + &body
        + &wire(&format!("-------{tid}{flag}\n"))
}

/// The response Bob gives.
fn response(tid: &str, status: &str) -> String {
    wire(&format!("MSRP {tid} {status}\nTo-Path: {ALICE}\nFrom-Path: {BOB}\n-------{tid}$\n"))
}

/// Bob reads `input` as a whole; what he answers.
fn answer(bob: &mut Session, input: &str) -> String {
    let now = Instant::now();
    assert_eq!(bob.handle_input(now, input.as_bytes()), input.len());
    output(bob, now)
}
