//! A file on its way from one operator to the other while every border on the way starts again.

use crate::lab::Lab;
use crate::network::{self, BORDERS, MEDIA_HOSTS, PATIENCE, Shape, carnet};
use crate::sealed::media_sockets;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Octets of the file: enough that four borders start again while it is on its way.
const SIZE: u64 = 256 << 20;

/// A gateway's media is slowed down to this many octets a second on the way, so that there is time.
const RATE: &str = "64mbit";

const SOON: Duration = Duration::from_secs(30);

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

/// The network of the examples, with borders that keep their calls.
fn keeping(lab: &mut Lab, shape: &Shape) {
    network::build_as(lab, shape);
    for (border, ..) in BORDERS {
        let file = format!("{border}.toml");
        let text = std::fs::read_to_string(lab.directory().join(&file)).unwrap();
        let section = format!("\n[border.{border}.state]\ndirectory = \"state\"\n");
        let admin = format!("\n[admin]\nsocket = \"{border}.sock\"\n[records]\nfile = \"{border}.jsonl\"\n");
        lab.file(&file, &format!("{text}{section}{admin}"));
    }
    network::start(lab);
}

/// The process of a border ends as told, and another one starts. The first start has its name, later ones count.
fn start_again(lab: &mut Lab, border: &str, signal: &str, count: usize) -> String {
    let before = if count == 1 { border.to_owned() } else { format!("{border}-{count}") };
    let process = lab.named(&before);
    lab.process(process).signal(signal);
    let code = lab.process(process).wait(SOON);
    assert!(code.is_some(), "{before} does not end:\n{}", lab.output(&before, "err"));
    if signal == "TERM" {
        assert_eq!(code, Some(0), "{}", lab.output(&before, "err"));
    }
    let again = format!("{border}-{}", count + 1);
    let command = carnet(lab, border, &["run", "-c", &format!("{border}.toml")]);
    lab.start(&again, command);
    lab.wait_for(&again, "out", "ready", PATIENCE);
    lab.wait_for(&again, "err", "state-restored", PATIENCE);
    lab.wait_for(&again, "err", "gateway-up", PATIENCE);
    again
}

/// Every border finds nothing on its gateway that belongs to no call, and gateways have no sockets.
fn assert_clean(lab: &Lab) {
    for (host, ..) in MEDIA_HOSTS {
        lab.until(SOON, &format!("{host} gives its sockets back"), |lab| media_sockets(lab, host).is_empty());
    }
    let gateways = ["agw-a", "trgw-a", "trgw-b", "agw-b"];
    let owners = ["border-a", "interconnect-a", "interconnect-b", "border-b"];
    for (gateway, border) in gateways.into_iter().zip(owners) {
        let file = format!("{border}.toml");
        let arguments = ["gateway", "audit", gateway, "--by", border, "-c", &file, "--json"];
        let output = carnet(lab, border, &arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{gateway} by {border}: {said} {output:?}");
        assert_eq!(said, "", "{gateway}");
    }
}

/// All four borders end while the file is on its way, in one way or the other; it arrives whole, the call ends as it
/// should, with a record that has its octets, and another call needs no registration.
fn a_file_outlives_all_borders(signal: &str, shape: &Shape) {
    let Some(mut lab) = Lab::new() else { return };
    keeping(&mut lab, shape);
    let status = Command::new("sh")
        .current_dir(lab.directory())
        .args(["-c", &format!("head -c {SIZE} /dev/urandom > cargo.bin")])
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    network::ue(&mut lab, "bob", &["receive", "--dir", "inbox"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let slow = lab
        .command("alice", "tc")
        .args(["qdisc", "add", "dev", "e-subs-a", "root", "tbf"])
        .args(["rate", RATE, "burst", "256k", "latency", "100ms"])
        .status();
    let slowed = slow.is_ok_and(|status| status.success());
    let alice = network::ue(&mut lab, "alice", &["send", "sip:bob@b.example", "cargo.bin"]);
    lab.wait_for("bob", "out", "\"file-progress\"", PATIENCE);
    for (border, ..) in BORDERS {
        let again = start_again(&mut lab, border, signal, 1);
        let log = lab.output(&again, "err");
        assert!(log.contains("call-restored"), "{log}");
        assert!(!log.contains("call-ended"), "{log}");
    }
    if slowed {
        assert!(!lab.output("bob", "out").contains("\"file-done\""), "the file was too small for this test");
    }
    lab.wait_for("bob", "out", "\"file-done\"", Duration::from_secs(240));
    let directory = lab.directory().to_owned();
    assert_eq!(sha256(&directory.join("inbox/cargo.bin")), sha256(&directory.join("cargo.bin")));
    // alice hangs up, and it reaches bob through four borders that have never seen the call begin.
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "out"));
    lab.wait_for("bob", "out", "\"ended\"", SOON);
    assert_clean(&lab);
    for (border, ..) in BORDERS {
        let log = lab.output(&format!("{border}-2"), "err");
        assert!(log.contains("call-ended") && !log.contains("panicked"), "{log}");
        let records = std::fs::read_to_string(directory.join(format!("{border}.jsonl"))).unwrap_or_default();
        let record: serde_json::Value = serde_json::from_str(records.lines().last().unwrap_or("{}")).unwrap();
        assert!(record["octets"]["caller.received"].as_u64() > Some(SIZE), "{border}: {record}");
        assert!(record["answered_ms"].as_u64() < record["ended_ms"].as_u64(), "{record}");
    }
    // Nobody registers again for the next call.
    if shape.sip == Some("udp") {
        start_again(&mut lab, "border-b", signal, 2);
        std::fs::write(directory.join("note.txt"), "again").unwrap();
        let alice = network::ue(&mut lab, "alice", &["send", "sip:bob@b.example", "note.txt"]);
        let sent = lab.process(alice).wait(PATIENCE);
        if sent != Some(0) {
            lab.show();
        }
        assert_eq!(sent, Some(0));
        assert_eq!(lab.output("bob", "out").matches("\"registered\"").count(), 1);
        assert_clean(&lab);
    }
}

#[test]
fn over_datagrams_borders_are_killed() {
    a_file_outlives_all_borders("KILL", &Shape { sip: Some("udp"), ..Shape::default() });
}

#[test]
fn over_datagrams_borders_hand_over() {
    a_file_outlives_all_borders("TERM", &Shape { sip: Some("udp"), ..Shape::default() });
}

/// Connections break with a border; terminals and neighbours make others.
#[test]
fn over_connections_borders_are_killed() {
    a_file_outlives_all_borders("KILL", &Shape::default());
}
