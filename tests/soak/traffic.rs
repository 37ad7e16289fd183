//! Sizes, pieces, pauses, half-closes and resets at random in both directions.

use std::time::{Duration, Instant};

use crate::{asked, at, gateway, lab, numbers, seed, ways};

/// Sessions at a time.
const BATCH: u64 = 24;
/// Most octets in one direction of one session.
const LARGEST: u64 = 4_000_000;

/// Each octet arrives as it was sent, each end is the end that was meant, and the engine has counted every
/// octet on both sides.
#[test]
fn random_traffic_arrives_as_it_was_sent() {
    let Some(lab) = lab() else { return };
    let (seconds, seed) = (asked("CARNET_SOAK_SECONDS", 4), seed());
    let files = tempfile::tempdir().unwrap();
    let doors = files.path().join("doors");
    let doors = doors.to_str().unwrap();
    let mut callers = lab.callers.start(&["talker"]).unwrap();
    for (way, index) in ways(&lab).into_iter().zip(0..) {
        let families = [false, true].map(|v6| {
            let port = 7_100 + u16::from(v6) + 2 * index;
            (v6, port, lab.servers.start(&["listener", &at(port, v6)]).unwrap(), gateway(&lab, &way, v6))
        });
        let mut families = families;
        let (mut sessions, mut octets, mut resets) = (0, 0, 0);
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut round = 0;
        while Instant::now() < end || round < 4 {
            let ends = if round % 4 < 2 { "orderly" } else { "resets" };
            let (v6, port, listener, gateway) = &mut families[round % 2];
            let said = gateway.ask(&format!("open {BATCH} {doors} {port} 1")).unwrap();
            assert!(!said.is_empty());
            let line = format!("talk {doors} 0 {BATCH} {} {LARGEST} {ends}", seed + round as u64);
            let context = || format!("{way}, IPv6: {v6}, round {round}, seed {seed}");
            let called = callers.ask(&line).unwrap_or_else(|e| panic!("callers: {}: {e}", context()));
            let served = listener.ask("tally").unwrap_or_else(|e| panic!("servers: {}: {e}", context()));
            let (called, served) = (numbers(&called), numbers(&served));
            let tally = numbers(&gateway.ask("tally").unwrap());
            if way == "kernel" {
                assert_eq!(tally[2], BATCH * 2, "not carried by the kernel: {}", context());
            }
            let released = gateway.ask("release").unwrap();
            if ends == "orderly" {
                assert_eq!(called[0], BATCH);
                assert_eq!((called[1], called[2]), (served[2], served[1]), "{}", context());
                let counted: u64 = released.split_whitespace().nth(2).unwrap().parse().unwrap();
                assert_eq!(counted, 2 * (called[1] + called[2]), "counters: {}", context());
            }
            sessions += called[0];
            octets += called[1] + called[2];
            resets += called[3];
            round += 1;
        }
        eprintln!("{way}: {sessions} sessions, {octets} octets, {resets} resets");
        assert!(resets > 0, "{way}: no session was reset");
    }
}
