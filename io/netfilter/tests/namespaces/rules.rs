//! The rules that a packet passes are those that something needs, also over a table that an earlier release left.

use std::net::SocketAddr;

use carnet_netfilter::{Change, Key, Rate, Segment, Table, Way};

use crate::lab::{BOTH, GATEWAY, Lab, Net, done, until};
use crate::some_lab;

/// The rules of a chain, one a line; `None` if there is no such chain.
fn rules(lab: &Lab, chain: &str) -> Option<Vec<String>> {
    let table = lab.run(GATEWAY, &["nft", "list", "table", "inet", "carnet-media"]);
    let (_, chain) = table.split_once(&format!("\tchain {chain} {{\n"))?;
    let (chain, _) = chain.split_once("\n\t}").expect("the end of a chain");
    let lines = chain.lines().map(str::trim).filter(|line| !line.starts_with("type "));
    Some(lines.map(str::to_owned).collect())
}

fn has(lab: &Lab, chain: &str, words: &str) -> bool {
    rules(lab, chain).is_some_and(|rules| rules.iter().any(|rule| rule.contains(words)))
}

fn change(table: &mut Table, change: Change) {
    done(table, [change]);
}

#[test]
fn rules_are_there_while_something_needs_them() {
    let lab = some_lab!();
    let log = lab.log();
    let mut table = lab.open(&log).table;
    let [key, other] = BOTH.map(|net| net.key());
    let short = || {
        assert_eq!(rules(&lab, "watch").map(|rules| rules.len()), Some(1), "ends");
        assert_eq!(rules(&lab, "fit").map(|rules| rules.len()), Some(1), "begins");
    };
    short();
    assert_eq!(rules(&lab, "steer"), None);

    let local: SocketAddr = "10.1.0.1:4001".parse().unwrap();
    change(&mut table, Change::Steer { local, listener: 9 });
    change(&mut table, Change::Steer { local: "[fd01::1]:4001".parse().unwrap(), listener: 9 });
    assert_eq!(
        rules(&lab, "steer").map(|rules| rules.len()),
        Some(5),
        "led on; each version, beginnings and the rest"
    );
    change(&mut table, Change::Unsteer(local));
    assert_eq!(rules(&lab, "steer").map(|rules| rules.len()), Some(5));
    change(&mut table, Change::Unsteer("[fd01::1]:4001".parse().unwrap()));
    assert_eq!(rules(&lab, "steer").map(|rules| rules.len()), Some(0));
    short();

    // Each kind by itself, and what is left when another has gone.
    let rate = Rate { octets_per_second: 1_000, burst: 5_000 };
    change(&mut table, Change::Hold(key, true));
    change(&mut table, Change::Police(other, Way::Back, Some(rate)));
    assert_eq!(rules(&lab, "watch").map(|rules| rules.len()), Some(3));
    assert!(has(&lab, "terms4", "@held4") && has(&lab, "terms6", "@over6-back"));
    assert!(!has(&lab, "terms4", "@shut4-forth") && !has(&lab, "terms4", "@mark4-forth"));
    change(&mut table, Change::Hold(key, false));
    assert!(!has(&lab, "terms4", "@held4") && has(&lab, "terms6", "@over6-back"));
    change(&mut table, Change::Shut(key, Way::Forth, true));
    change(&mut table, Change::Mark(key, Way::Back, Some(46)));
    change(&mut table, Change::Police(other, Way::Back, None));
    assert!(has(&lab, "terms4", "@shut4-forth") && has(&lab, "terms4", "@mark4-back"));
    assert!(!has(&lab, "terms6", "@over6-back"));
    change(&mut table, Change::Shut(key, Way::Forth, false));
    change(&mut table, Change::Mark(key, Way::Back, None));
    short();
}

/// An address that is translated for one caller is steered for all others: his connection goes past the listener.
#[test]
fn what_is_led_on_is_not_steered() {
    let lab = some_lab!();
    let log = lab.log();
    let mut table = lab.open(&log).table;
    for net in BOTH {
        let mut call = lab.call(&mut table, net);
        change(&mut table, Change::Steer { local: net.local(), listener: 9 });
        call.passes();
        drop(call);
    }
    assert!(has(&lab, "steer", "ct status"), "{:?}", rules(&lab, "steer"));
}

/// A transaction that is refused leaves the rules as they were, and the next one knows.
#[test]
fn what_is_refused_brings_no_rules() {
    let lab = some_lab!();
    let log = lab.log();
    let mut table = lab.open(&log).table;
    // A key has one IP version.
    let mixed = Key { source: BOTH[1].caller(), local: BOTH[0].local() };
    table.push(Change::Hold(mixed, true));
    assert_eq!(table.commit().unwrap().len(), 1);
    assert_eq!(rules(&lab, "watch").map(|rules| rules.len()), Some(1));
    change(&mut table, Change::Hold(BOTH[0].key(), true));
    assert!(has(&lab, "terms4", "@held4"));
}

/// As the release before this one left them.
const EARLIER: &str = "
flush chain inet carnet-media fit
flush chain inet carnet-media watch
flush chain inet carnet-media begins
flush chain inet carnet-media ends
delete chain inet carnet-media begins
delete chain inet carnet-media ends
add chain inet carnet-media steer { type filter hook prerouting priority dstnat + 1; policy accept; }
add rule inet carnet-media steer meta nfproto ipv4 tcp flags & (fin|syn|rst|ack) == syn ip daddr . tcp dport @early4 accept
add rule inet carnet-media steer meta nfproto ipv4 tcp flags & (fin|syn|rst|ack) == ack ip daddr . tcp dport @early4 accept
add rule inet carnet-media fit meta nfproto ipv4 tcp flags & syn != 0 ct original ip saddr . ct original ip daddr . ct original proto-dst @carry4 tcp option maxseg size set rt mtu
add rule inet carnet-media fit meta nfproto ipv6 tcp flags & syn != 0 ct original ip6 saddr . ct original ip6 daddr . ct original proto-dst @carry6 tcp option maxseg size set rt mtu
add rule inet carnet-media watch meta nfproto ipv6 meta l4proto tcp ct original ip6 saddr . ct original ip6 daddr . ct original proto-dst @held6 drop
add rule inet carnet-media watch meta nfproto ipv4 meta l4proto tcp ct direction original ct original ip saddr . ct original ip daddr . ct original proto-dst @shut4-forth jump bare4
add rule inet carnet-media watch meta nfproto ipv4 tcp flags & (fin|rst) != 0 ct original ip saddr . ct original ip daddr . ct original proto-dst @carry4 log group 30000 snaplen 128
add rule inet carnet-media watch meta nfproto ipv6 tcp flags & (fin|rst) != 0 ct original ip6 saddr . ct original ip6 daddr . ct original proto-dst @carry6 log group 30000 snaplen 128
";

#[test]
fn a_table_of_an_earlier_release_is_taken_over() {
    let lab = some_lab!();
    let mut log = lab.log();
    let mut table = lab.open(&log).table;
    let mut calls = BOTH.map(|net| lab.call(&mut table, net));
    change(&mut table, Change::Hold(BOTH[1].key(), true));
    drop(table);
    lab.on(GATEWAY, || {
        let path = std::env::temp_dir().join(format!("{}.nft", lab.namespace("earlier")));
        std::fs::write(&path, EARLIER).unwrap();
        lab.run(GATEWAY, &["nft", "-f", path.to_str().unwrap()]);
        std::fs::remove_file(path).unwrap();
    });
    assert_eq!(rules(&lab, "watch").map(|rules| rules.len()), Some(4), "the earlier rules");
    calls[0].passes();

    let opened = lab.open(&log);
    let mut left: Vec<_> = opened.left.iter().map(|held| (held.translation, held.held)).collect();
    left.sort_by_key(|(translation, _)| translation.key);
    assert_eq!(left, [(BOTH[0].translation(), false), (BOTH[1].translation(), true)]);
    let mut table = opened.table;
    assert_eq!(rules(&lab, "steer"), None, "nothing is steered");
    assert_eq!(rules(&lab, "fit").map(|rules| rules.len()), Some(1));
    assert_eq!(rules(&lab, "watch").map(|rules| rules.len()), Some(3), "one is held");
    calls[0].passes();
    change(&mut table, Change::Hold(BOTH[1].key(), false));
    for call in &mut calls {
        call.passes();
    }
    // What ends is told of by the new rules: to the callee, and to the caller.
    drop(calls);
    let told = |all: &[Segment], net: Net| {
        let mut ends = all.iter().filter(|segment| segment.fin);
        ends.clone().any(|s| s.destination == net.to()) && ends.any(|s| s.source == net.local())
    };
    until(&mut log, |all| BOTH.iter().all(|net| told(all, *net)));
    change(&mut table, Change::Steer { local: "10.1.0.1:4001".parse().unwrap(), listener: 9 });
    assert_eq!(rules(&lab, "steer").map(|rules| rules.len()), Some(5));
}
