//! Large messages: order on the wire, memory, slow readers.

use super::*;
use proptest::prelude::*;

/// Octets of a file that is nowhere: a pattern whose period is prime, cut out of one table.
struct Pattern(Bytes);

const PERIOD: u64 = 65_521;

impl Pattern {
    fn new() -> Self {
        let mut table = vec![0; PERIOD as usize];
        carnet_wire::Random::fill(&mut SeededRandom::new(7), &mut table);
        let twice = table.repeat(6);
        Self(twice.into())
    }

    /// `len` octets at `offset`; `len` up to five periods.
    fn at(&self, offset: u64, len: usize) -> Bytes {
        let start = (offset % PERIOD) as usize;
        self.0.slice(start..start + len)
    }
}

/// Sends `size` octets from one session to the other and checks each; returns the most memory held.
fn transfer(size: u64, step: usize) -> usize {
    let mut p = Pair::new(step);
    let pattern = Pattern::new();
    p.a.send(Outgoing::new("application/octet-stream", Size::Known(size))).unwrap();
    let (mut supplied, mut received, mut most, mut complete) = (0u64, 0u64, 0, false);
    loop {
        let moved = p.turn();
        while let Some(event) = p.a.poll_event() {
            if let Event::WantBody { key, max } = event {
                let n = (size - supplied).min(max as u64).min(4 * PERIOD) as usize;
                let part = pattern.at(supplied, n);
                supplied += n as u64;
                p.a.supply(key, part, supplied == size).unwrap();
            }
        }
        most = most.max(p.a.held_octets() + p.b.held_octets() + p.to_a.capacity() + p.to_b.capacity());
        while let Some(event) = p.b.poll_event() {
            match event {
                Event::Body { offset, data, .. } => {
                    assert_eq!(offset, received, "in order without loss");
                    assert!(data == pattern.at(offset, data.len()), "octets differ at {offset}");
                    received += data.len() as u64;
                }
                Event::Complete { size: whole, .. } => complete = whole == size,
                Event::Begun { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        if !moved && complete {
            break;
        }
    }
    assert_eq!(received, size);
    most
}

#[test]
fn a_file_of_256_mebioctets_in_little_memory() {
    let most = transfer(256 << 20, 128 << 10);
    assert!(most < 2 << 20, "{most} octets were held");
}

/// Run with `cargo test --release -p carnet-msrp -- --ignored`.
#[test]
#[ignore = "4 GiB: minutes without optimisation"]
fn a_file_of_4_gibioctets_in_little_memory() {
    let most = transfer(4 << 30, 128 << 10);
    assert!(most < 2 << 20, "{most} octets were held");
}

#[test]
fn a_chat_line_overtakes_a_file() {
    let mut p = Pair::new(10_000);
    let file = Bytes::from((0..300_000u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>());
    let bulk = p.a.send(Outgoing::new("application/octet-stream", Size::Known(file.len() as u64))).unwrap();
    let mut left = file.clone();
    let (mut file_sink, mut keys, mut line_at, mut line_sent) = (Sink::default(), Vec::new(), None, false);
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
    }
    assert!(file_sink.complete && file_sink.body == file);
    assert_eq!(keys.len(), 2);
    let behind = line_at.unwrap().1 - 100_000;
    assert!(behind < 30_000, "the line waited for {behind} octets of the file");
}

// RFC 4975 §7.1.1: a chunk is interrupted for responses too, after at least 2048 octets.
#[test]
fn a_response_overtakes_a_file() {
    let (mut s, now) = (alice(), Instant::now());
    let key = s.send(Outgoing::new("a/b", Size::Known(1 << 20))).unwrap();
    s.supply(key, Bytes::from(vec![b'x'; 60_000]), false).unwrap();
    let mut out = Vec::new();
    s.poll_transmit(now, &mut out, 1000);
    let ping = wire(&format!("MSRP aaaa1111 SEND\nTo-Path: {ALICE}\nFrom-Path: {BOB}\n-------aaaa1111$\n"));
    s.handle_input(now, ping.as_bytes());
    s.poll_transmit(now, &mut out, 10_000);
    let text = String::from_utf8(out).unwrap();
    let at = text.find("MSRP aaaa1111 200 OK").unwrap();
    let body = text.find("\r\n\r\n").unwrap() + 4;
    assert!((2048..2200).contains(&(at - body)), "{}", at - body);
    assert!(text[..at].ends_with("+\r\n"));
}

#[test]
fn two_files_share_the_connection() {
    let mut p = Pair::new(50_000);
    let pattern = Pattern::new();
    let size = 1u64 << 20;
    let keys: Vec<_> = (0..2).map(|_| p.a.send(Outgoing::new("a/b", Size::Known(size))).unwrap()).collect();
    let (mut supplied, mut received) = ([0u64; 2], Vec::<(ArrivalKey, u64)>::new());
    loop {
        let moved = p.turn();
        let wanted = events(&mut p.a);
        if !moved && wanted.is_empty() {
            break;
        }
        for event in wanted {
            if let Event::WantBody { key, max } = event {
                let i = usize::from(key == keys[1]);
                let n = (size - supplied[i]).min(max as u64) as usize;
                p.a.supply(key, pattern.at(supplied[i], n), false).unwrap();
                supplied[i] += n as u64;
            }
        }
        for event in events(&mut p.b) {
            match event {
                Event::Begun { arrival, .. } => received.push((arrival, 0)),
                Event::Body { arrival, data, .. } => {
                    received.iter_mut().find(|r| r.0 == arrival).unwrap().1 += data.len() as u64;
                }
                _ => {}
            }
        }
        if let [(_, a), (_, b)] = received[..] {
            assert!(a.abs_diff(b) <= 200_000, "{a} and {b}");
        }
    }
    assert_eq!(received.iter().map(|r| r.1).collect::<Vec<_>>(), [size, size]);
}

#[test]
fn a_peer_that_does_not_answer_is_not_flooded() {
    let (mut s, now) = (alice(), Instant::now());
    let key = s.send(Outgoing::new("a/b", Size::Unknown)).unwrap();
    let pattern = Pattern::new();
    let mut written = 0;
    for _ in 0..2000 {
        for event in events(&mut s) {
            if let Event::WantBody { max, .. } = event {
                s.supply(key, pattern.at(0, max), false).unwrap();
            }
        }
        let mut out = Vec::new();
        s.poll_transmit(now, &mut out, 1 << 20);
        written += out.len();
    }
    let window = s.config().limits.transactions * s.config().chunk_size;
    assert!(written > window / 2 && written < window * 2, "{written}");
    // A line of chat still goes out.
    let (message, body) = text("still here?");
    s.send_whole(message, body).unwrap();
    assert!(output(&mut s, now).contains("still here?"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the link does to the sizes of reads and writes, messages arrive as they were.
    #[test]
    fn any_link_carries_any_messages(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6000), 1..5),
        steps in proptest::collection::vec(1usize..4000, 1..20),
        both in any::<bool>(),
    ) {
        let mut p = Pair::new(1);
        for body in &bodies {
            p.a.send_whole(Outgoing::new("a/b", Size::Unknown), Bytes::from(body.clone())).unwrap();
            if both {
                p.b.send_whole(Outgoing::new("a/b", Size::Unknown), Bytes::from(body.clone())).unwrap();
            }
        }
        let mut steps = steps.iter().cycle();
        let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
        loop {
            p.step = *steps.next().unwrap();
            let moved = p.turn();
            at_a.extend(events(&mut p.a));
            at_b.extend(events(&mut p.b));
            if !moved && p.to_a.is_empty() && p.to_b.is_empty() {
                break;
            }
        }
        let arrived = |events: &[Event]| {
            let mut bodies = std::collections::BTreeMap::<ArrivalKey, Sink>::new();
            for event in events {
                match event {
                    Event::Begun { arrival, .. } => drop(bodies.insert(*arrival, Sink::default())),
                    Event::Body { arrival, .. } | Event::Complete { arrival, .. } => {
                        bodies.get_mut(arrival).unwrap().take(vec![event.clone()]);
                    }
                    _ => {}
                }
            }
            let mut all: Vec<_> = bodies.into_values().inspect(|s| assert!(s.complete)).map(|s| s.body).collect();
            all.sort();
            all
        };
        let mut expected = bodies.clone();
        expected.sort();
        prop_assert_eq!(arrived(&at_b), expected.clone());
        prop_assert_eq!(arrived(&at_a), if both { expected } else { vec![] });
        let delivered = at_a.iter().filter(|e| matches!(e, Event::Delivered { .. })).count();
        prop_assert_eq!(delivered, bodies.len());
    }

    /// No input makes a session panic or hold much.
    #[test]
    fn any_input(
        cut in any::<prop::sample::Index>(),
        flip in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        noise in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let headers = "Message-ID: m1\nByte-Range: 1-*/40\nSuccess-Report: yes\nContent-Type: text/plain\n";
        let mut input = to_bob("aaaa1111", headers, Some("0123456789"), '+').into_bytes();
        input.extend(to_bob("aaaa1112", headers, Some("0123456789"), '$').into_bytes());
        for (at, octet) in flip {
            let at = at.index(input.len());
            input[at] = octet;
        }
        let at = cut.index(input.len());
        input.splice(at..at, noise);
        let (mut s, now) = (bob(), Instant::now());
        prop_assert_eq!(s.handle_input(now, &input), input.len());
        output(&mut s, now);
        events(&mut s);
        prop_assert!(s.held_octets() == 0);
    }
}
