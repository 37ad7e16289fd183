//! Sealed calls that pass four gateways without an octet entering one.

use crate::lab::Lab;
use crate::network::{self, MEDIA_HOSTS, PATIENCE, Shape};
use crate::ways;

/// More than everything that signalling says together.
const SIZE: u64 = 64 << 20;

fn carried_by(shape: &Shape) {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, shape);
    ways::start(&mut lab);
    ways::cargo(&lab, SIZE);
    network::ue(&mut lab, "bob", &["receive", "--dir", "inbox"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let before: Vec<u64> = MEDIA_HOSTS.iter().map(|(host, ..)| ways::octets(&mut lab, host)).collect();
    let alice = network::ue(&mut lab, "alice", &["send", "sip:bob@b.example", "cargo.bin"]);
    lab.wait_for("bob", "out", "\"file-done\"", PATIENCE);
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
    let directory = lab.directory().to_owned();
    assert_eq!(ways::sha256(&directory.join("inbox/cargo.bin")), ways::sha256(&directory.join("cargo.bin")));
    for ((host, ..), before) in MEDIA_HOSTS.iter().zip(before) {
        let through = ways::octets(&mut lab, host) - before;
        assert!(through < SIZE / 8, "{through} octets entered {host}");
        lab.until(PATIENCE, "the gateway gives everything back", |lab| ways::contexts(lab, host).is_empty());
        let removed = lab.output(host, "err");
        assert!(
            removed.contains("why=\"passes\"") && !removed.contains("why=\"underway\""),
            "{host}:\n{removed}"
        );
        // Octets were counted, both ways.
        let removed: Vec<_> = removed.lines().filter(|line| line.contains("Removed")).collect();
        let counts = |line: &&&str, what: &str| -> u64 {
            let rest = line.split_once(what).map_or("", |(_, rest)| rest);
            rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().unwrap_or(0)
        };
        let whole = removed.iter().filter(|line| counts(line, "octets_received: ") >= SIZE).count();
        assert_eq!(whole, 1, "{host}: {removed:?}");
    }
}

#[test]
fn a_file_passes_four_gateways_and_enters_none() {
    carried_by(&Shape::default());
}

#[test]
fn a_file_passes_four_gateways_over_ipv6_and_enters_none() {
    carried_by(&Shape { v6: &["subs-a", "core-a", "peers", "core-b", "subs-b", "keys"], ..Shape::default() });
}
