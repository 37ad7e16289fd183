//! What the rules of a relay take for a SEND with its two answers, without sockets.
//!
//! `cargo run --release -p carnet-relay --example sends -- [SENDs] [pairs] [octets]`

use carnet_relay::{Action, ConnectionId, Listener, Relay, Settings};
use carnet_sip::Password;
use carnet_wire::SeededRandom;
use md5::{Digest as _, Md5};
use std::error::Error;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const RELAY: &str = "msrp://127.0.0.1:2855;tcp";

struct Pair {
    sender: ConnectionId,
    receiver: ConnectionId,
    frame: Vec<u8>,
    /// What the receiver answers, after the transaction identifier and after it again.
    answer: String,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let sends = arguments.next().map_or(Ok(1_000_000), |a| a.parse::<usize>())?;
    let count = arguments.next().map_or(Ok(100), |a| a.parse::<usize>())?;
    let size = arguments.next().map_or(Ok(200), |a| a.parse::<usize>())?;
    let now = Instant::now();
    let listener = Listener { host: "127.0.0.1".into(), port: 2855, secure: false };
    let users = (0..count).map(|n| (format!("user{n}"), Password::new(b"word".to_vec()))).collect();
    let settings = Settings::new("relay.example", vec![listener]);
    let mut relay = Relay::new(settings, users, now, Box::new(SeededRandom::new(1)));
    let mut pairs = Vec::new();
    for n in 0..count {
        pairs.push(Pair::new(&mut relay, now, n, size)?);
    }
    let (mut wire, mut answer) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for n in 0..sends {
        let pair = pairs.get(n % count).ok_or("a pair")?;
        relay.received(now, pair.sender, &pair.frame);
        write(&mut relay, now, pair.receiver, &mut wire, true)?;
        let tid = wire.get(5..).and_then(|rest| rest.split(|b| *b == b' ').next()).ok_or("a frame")?;
        answer.clear();
        for part in [b"MSRP ", tid, pair.answer.as_bytes(), tid, b"$\r\n"] {
            answer.extend_from_slice(part);
        }
        relay.received(now, pair.receiver, &answer);
        write(&mut relay, now, pair.sender, &mut wire, false)?;
    }
    let each = begun.elapsed().as_secs_f64() * 1e9 / sends as f64;
    println!("{sends} SENDs of {size} octets by {count} pairs: {each:.0} ns each, {:?}", relay.counts());
    Ok(())
}

/// Takes what the relay writes to `id`, which is a SEND that may not wait, or an answer that may.
fn write(relay: &mut Relay, now: Instant, id: ConnectionId, wire: &mut Vec<u8>, urgent: bool) -> Result<()> {
    loop {
        match if urgent { relay.poll_urgent() } else { relay.poll() } {
            Some(Action::Write(to)) if to == id => break,
            Some(Action::Read(_)) => {}
            other => return Err(format!("not a write: {other:?}").into()),
        }
    }
    wire.clear();
    wire.extend_from_slice(relay.output(id));
    relay.sent(now, id, wire.len());
    Ok(())
}

impl Pair {
    fn new(relay: &mut Relay, now: Instant, n: usize, size: usize) -> Result<Self> {
        let mut connect = || relay.accepted(now, 0, [127, 0, 0, 1].into()).ok_or("a connection");
        let (sender, receiver) = (connect()?, connect()?);
        let own = format!("msrp://127.0.0.1:9/receiver{n};tcp");
        let mut ask = |fields: &str| -> Result<String> {
            let frame =
                format!("MSRP aska AUTH\r\nTo-Path: {RELAY}\r\nFrom-Path: {own}\r\n{fields}-------aska$\r\n");
            relay.received(now, receiver, frame.as_bytes());
            let mut wire = Vec::new();
            write(relay, now, receiver, &mut wire, false)?;
            Ok(String::from_utf8(wire)?)
        };
        let challenge = ask("")?;
        let value = |name: &str| {
            let rest = challenge.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split_once('"')).map(|(value, _)| value).unwrap_or_default()
        };
        let hash = |text: String| Md5::digest(text).iter().map(|b| format!("{b:02x}")).collect::<String>();
        let (realm, nonce) = (value("realm"), value("nonce"));
        let (first, second) = (hash(format!("user{n}:{realm}:word")), hash(format!("AUTH:{RELAY}")));
        let response = hash(format!("{first}:{nonce}:00000001:c:auth:{second}"));
        let granted = ask(&format!(
            "Authorization: Digest username=\"user{n}\", realm=\"{realm}\", nonce=\"{nonce}\", \
             uri=\"{RELAY}\", qop=auth, nc=00000001, cnonce=\"c\", response=\"{response}\"\r\n"
        ))?;
        let uri = granted.lines().find_map(|line| line.strip_prefix("Use-Path: ")).ok_or(granted.clone())?;
        let body = "a".repeat(size);
        let frame = format!(
            "MSRP 0000000000000001 SEND\r\nTo-Path: {uri} {own}\r\nFrom-Path: msrp://127.0.0.1:9/sender{n};tcp\r\n\
             Message-ID: {n}\r\nByte-Range: 1-{size}/{size}\r\nContent-Type: text/plain\r\n\r\n{body}\r\n\
             -------0000000000000001$\r\n"
        );
        let answer = format!(" 200 OK\r\nTo-Path: {uri}\r\nFrom-Path: {own}\r\n-------");
        Ok(Self { sender, receiver, frame: frame.into_bytes(), answer })
    }
}
