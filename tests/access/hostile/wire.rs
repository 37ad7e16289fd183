//! What a gateway does on the wire: how its packets are marked, and how it notices that somebody is gone.

use super::stage::{GATEWAY, PORTS, Realm, Stage};
use crate::lab::{Lab, tshark};
use crate::network::PATIENCE;

#[test]
fn packets_are_marked_on_both_sides() {
    let Some(mut stage) = Stage::new(Realm { border: "dscp = 46", ..Realm::default() }) else { return };
    let capture = stage.lab.capture("operator", "subs");
    assert_eq!(stage.people(2, 1), 2, "{}", stage.lab.output("people", "out"));
    stage.lab.end_captures();
    let (first, last) = PORTS.split_once('-').unwrap();
    // A reset is the kernel's own.
    let ours = format!(
        "ip.src == {GATEWAY} && tcp.srcport >= {first} && tcp.srcport <= {last} && tcp.flags.reset == 0"
    );
    let seen = tshark(&capture, &ours, &["ip.dsfield.dscp", "ip.dst", "tcp.flags.syn", "tcp.flags.ack"], &[]);
    for to in ["192.0.2.11", "192.0.2.12"] {
        let syn = |row: &&Vec<String>| row[1] == to && matches!(row[2].as_str(), "1" | "True");
        assert!(seen.iter().any(|row| syn(&row)), "no connection with {to}: {seen:?}");
    }
    // That a call is taken says the kernel, from the listener that all pinholes share.
    let taken = |row: &Vec<String>| row[2..].iter().all(|flag| matches!(flag.as_str(), "1" | "True"));
    let other: Vec<_> = seen.iter().filter(|row| row[0] != "46" && !taken(row)).collect();
    assert!(seen.iter().filter(|row| row[0] == "46").count() > 2, "{seen:?}");
    assert!(other.is_empty(), "{other:?}");
}

/// Connections of pinholes.
fn connections(lab: &Lab) -> usize {
    let output = lab.command("operator", "ss").args(["-Htn", "state", "established"]).output().expect("ss");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.contains(&format!("{GATEWAY}:12"))).count()
}

#[test]
fn somebody_who_vanished_is_noticed() {
    let watched = Realm { gateway: "keepalive = 1\nuser-timeout = 5", ..Realm::default() };
    let Some(mut stage) = Stage::new(watched) else { return };
    stage.talk(&["1", "1", "600"]);
    stage.lab.until(PATIENCE, "alice talks to bob", |lab| connections(lab) == 2);
    // No FIN and no reset comes from there any more.
    let mut down = stage.lab.command("people", "ip");
    assert!(down.args(["link", "set", "e-subs", "down"]).status().expect("ip").success());
    stage.lab.until(PATIENCE, "the gateway notices", |lab| connections(lab) == 0);
    stage.stands();
}
