//! Fragments and streams as they are put together, whatever order they come in.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_capture::{Event, Happening, Limits};
use common::*;
use proptest::prelude::*;

fn datagrams(events: &[Event]) -> Vec<Vec<u8>> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Datagram(datagram) => Some(datagram.octets.to_vec()),
            _ => None,
        })
        .collect()
}

fn happenings(events: &[Event]) -> Vec<Happening> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Segment(segment) if !matches!(segment.what, Happening::Data(_)) => {
                Some(segment.what.clone())
            }
            _ => None,
        })
        .collect()
}

/// RFC 791 §3.2: fragments in any order, some twice.
#[test]
fn fragments_become_a_datagram() {
    let text: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
    let whole = udp(5060, 5061, &text);
    let part = |from: usize, to: usize| {
        let more = if to < whole.len() { 0x2000 } else { 0 };
        v4(A.0, B.0, 77, (from / 8) as u16 | more, 17, &whole[from..to])
    };
    let parts = [part(0, 1480), part(1480, 2960), part(2960, whole.len())];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let list: Vec<_> = order.iter().map(|at| ethernet(&[], &parts[*at])).collect();
        assert_eq!(datagrams(&watched(&list)), std::slice::from_ref(&text), "{order:?}");
    }
    let list: Vec<_> = parts[..2].iter().map(|part| ethernet(&[], part)).collect();
    assert!(datagrams(&watched(&list)).is_empty());
}

/// RFC 8200 §4.5.
#[test]
fn fragments_of_ipv6_too() {
    let whole = udp(5060, 5061, &[7; 2000]);
    let part = |from: usize, to: usize| {
        let field = (from as u16) | u16::from(to < whole.len());
        let mut out = vec![17, 0];
        out.extend(field.to_be_bytes());
        out.extend([0, 0, 0, 9]);
        out.extend(&whole[from..to]);
        // A hop-by-hop header before it.
        ethernet(&[5], &v6(0, &[&[44, 0, 1, 4, 0, 0, 0, 0][..], &out].concat()))
    };
    assert_eq!(datagrams(&watched(&[part(1000, 2008), part(0, 1000)])), [vec![7; 2000]]);
}

fn handshake() -> Vec<Vec<u8>> {
    [tcp(A, B, 999, 0, SYN, &[]), tcp(B, A, 4999, 1000, SYN | ACK, &[]), tcp(A, B, 1000, 5000, ACK, &[])]
        .iter()
        .map(|ip| ethernet(&[], ip))
        .collect()
}

#[test]
fn a_stream_is_what_was_sent() {
    let mut list = handshake();
    // Out of order, twice, overlapping, and a last one that reaches back.
    for (at, text) in [(3, "lo wo"), (0, "hel"), (0, "hello"), (8, "rld"), (6, "world!")] {
        list.push(ethernet(&[], &tcp(A, B, 1000 + at, 5000, ACK, text.as_bytes())));
    }
    list.push(ethernet(&[], &tcp(A, B, 1012, 5000, FIN | ACK, &[])));
    list.push(ethernet(&[], &tcp(B, A, 5000, 1013, FIN | ACK, &[])));
    let events = watched(&list);
    assert_eq!(stream(&events, A.1), b"hello world!");
    assert_eq!(
        happenings(&events),
        [Happening::Open, Happening::Accepted, Happening::Finished, Happening::Finished]
    );
}

#[test]
fn what_was_acknowledged_and_not_seen_is_lost() {
    let mut list = handshake();
    list.push(ethernet(&[], &tcp(A, B, 1000, 5000, ACK, b"one")));
    list.push(ethernet(&[], &tcp(A, B, 1006, 5000, ACK, b"three")));
    assert_eq!(stream(&watched(&list), A.1), b"one###three", "at the end of the capture");
    list.push(ethernet(&[], &tcp(B, A, 5000, 1011, ACK, &[])));
    list.push(ethernet(&[], &tcp(A, B, 1011, 5000, ACK, b"four")));
    let events = watched(&list);
    assert_eq!(stream(&events, A.1), b"one###threefour");
    assert_eq!(happenings(&events)[2], Happening::Lost(3));
    // Before the end a FIN says how much there was.
    list.push(ethernet(&[], &tcp(A, B, 1020, 5000, FIN | ACK, &[])));
    assert_eq!(stream(&watched(&list), A.1), b"one###threefour#####");
}

#[test]
fn a_connection_may_have_begun_before() {
    let list =
        [tcp(B, A, 77, 1000, ACK, b"yes"), tcp(A, B, 1000, 80, ACK, b"what"), tcp(B, A, 80, 1004, ACK, b"!")];
    let list: Vec<_> = list.iter().map(|ip| ethernet(&[], ip)).collect();
    let events = watched(&list);
    assert_eq!((stream(&events, B.1), stream(&events, A.1)), (b"yes!".to_vec(), b"what".to_vec()));
    assert_eq!(happenings(&events), [Happening::Midway]);
}

#[test]
fn a_refusal_and_ports_that_are_used_again() {
    let list = [
        tcp(A, B, 999, 0, SYN, &[]),
        tcp(A, B, 999, 0, SYN, &[]),
        tcp(B, A, 0, 1000, RST | ACK, &[]),
        tcp(A, B, 50_000, 0, SYN, &[]),
        tcp(B, A, 60_000, 50_001, SYN | ACK, &[]),
        tcp(A, B, 50_001, 60_001, ACK, b"again"),
    ];
    let mut list: Vec<_> = list.iter().map(|ip| ethernet(&[], ip)).collect();
    // The same SYN again: another identification, or it would be the same packet.
    list[1][19] ^= 0x55;
    let events = watched(&list);
    assert_eq!(
        happenings(&events),
        [Happening::Open, Happening::OpenAgain, Happening::Reset, Happening::Open, Happening::Accepted]
    );
    let last = events.iter().rev().find_map(|e| match e {
        Event::Segment(s) => Some(s.connection),
        _ => None,
    });
    assert_eq!((last, stream(&events, A.1)), (Some(1), b"again".to_vec()));
}

#[test]
fn sequence_numbers_wrap() {
    let mut list = vec![
        ethernet(&[], &tcp(A, B, u32::MAX - 2, 0, SYN, &[])),
        ethernet(&[], &tcp(B, A, 1, u32::MAX - 1, SYN | ACK, &[])),
    ];
    list.push(ethernet(&[], &tcp(A, B, 1, 2, ACK, b"late")));
    list.push(ethernet(&[], &tcp(A, B, u32::MAX - 1, 2, ACK, b"ear")));
    assert_eq!(stream(&watched(&list), A.1), b"earlate");
}

#[test]
fn the_same_packet_at_two_interfaces_counts_once() {
    let one = v4(A.0, B.0, 7, 0, 17, &udp(1, 2, b"x"));
    let mut routed = one.clone();
    // One hop on: time to live and checksum.
    routed[8] -= 1;
    routed[10] ^= 1;
    let other = v4(A.0, B.0, 8, 0, 17, &udp(1, 2, b"x"));
    let list: Vec<_> = [one, routed, other].iter().map(|ip| ethernet(&[], ip)).collect();
    let (events, network) = events(&packets(&pcap(true, 1, &list), 7).unwrap(), Limits::default());
    assert_eq!((datagrams(&events).len(), network.seen().again), (2, 1));
}

#[test]
fn an_unreachable_port_is_told_with_the_ports() {
    let sent = v4(A.0, B.0, 7, 0, 17, &udp(1000, 2000, b"x"));
    let icmp = v4(B.0, A.0, 9, 0, 1, &[&[3, 3, 0, 0, 0, 0, 0, 0][..], &sent[..28]].concat());
    let events = watched(&[ethernet(&[], &icmp)]);
    let Event::Unreachable(said) = &events[0] else { panic!("{events:?}") };
    assert_eq!(
        (said.from.to_string(), said.to.to_string()),
        ("192.0.2.1:1000".into(), "192.0.2.2:2000".into())
    );
    assert_eq!((said.protocol, said.why), (17, "nobody listens at the port"));
}

/// Much that waits for an octet that never comes is not held for ever.
#[test]
fn what_waits_is_bounded() {
    let mut list = handshake();
    for at in 0..3000u32 {
        list.push(ethernet(&[], &tcp(A, B, 2000 + at * 1000, 5000, ACK, &[b'x'; 1000])));
    }
    let mut limits = Limits::default();
    limits.waiting = 100_000;
    let (events, _) = events(&packets(&pcap(false, 1, &list), 1 << 16).unwrap(), limits);
    let first = events.iter().position(|e| matches!(e, Event::Segment(s) if s.what == Happening::Lost(1000)));
    assert!(first.is_some_and(|at| at < 10), "it is given up early");
    assert_eq!(stream(&events, A.1).len(), 3_001_000);
}

#[test]
fn too_many_connections_push_out_the_oldest() {
    let list: Vec<_> = (0..100u16).map(|n| ethernet(&[], &tcp((A.0, n + 1), B, 9, 0, SYN, &[]))).collect();
    let mut limits = Limits::default();
    limits.connections = 32;
    let (events, network) = events(&packets(&pcap(false, 1, &list), 1 << 16).unwrap(), limits);
    assert_eq!(events.len(), 100);
    assert!(network.seen().connections_dropped >= 68);
}

proptest! {
    /// Whatever order segments come in and however they overlap, what is handed out is what was sent.
    #[test]
    fn any_order_gives_the_same_stream(text in prop::collection::vec(any::<u8>(), 1..400), cuts in prop::collection::vec((0usize..400, 1usize..60), 0..40), seed in any::<u64>()) {
        let mut parts: Vec<(usize, usize)> = cuts.into_iter().map(|(at, length)| (at.min(text.len()), (at + length).min(text.len()))).collect();
        parts.extend((0..text.len()).step_by(37).map(|at| (at, (at + 37).min(text.len()))));
        let mut order = seed;
        parts.sort_by_cached_key(|_| { order = order.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); order >> 33 });
        let mut list = handshake();
        list.extend(parts.iter().filter(|(from, to)| from < to).map(|(from, to)| ethernet(&[], &tcp(A, B, 1000 + *from as u32, 5000, ACK, &text[*from..*to]))));
        prop_assert_eq!(stream(&watched(&list), A.1), text);
    }

    /// Octets of nobody harm nobody.
    #[test]
    fn nothing_panics(link in prop::sample::select(vec![0u32, 1, 101, 113, 276]), list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20)) {
        let (_, network) = events(&packets(&pcap(true, link, &list), 33).unwrap(), Limits::default());
        prop_assert_eq!(network.seen().packets, list.len() as u64);
    }
}
