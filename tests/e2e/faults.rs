//! What happens when something on the way dies, is not there, or is not who it should be.

use crate::lab::Lab;
use crate::network::{self, BORDERS, MEDIA_HOSTS, PATIENCE};
use crate::sealed::media_sockets;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A failure is seen and said within this time.
const SOON: Duration = Duration::from_secs(20);

/// Octets of the file: enough that a process can be killed while it is on its way.
const SIZE: u64 = 384 << 20;

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

/// A file of noise in the lab's directory.
fn cargo(lab: &Lab, size: u64) {
    let status = Command::new("sh")
        .current_dir(lab.directory())
        .args(["-c", &format!("head -c {size} /dev/urandom > cargo.bin")])
        .status();
    assert!(status.is_ok_and(|s| s.success()));
}

/// The network with bob waiting for files and alice's file on its way; alice's process.
fn transfer(lab: &mut Lab) -> usize {
    network::build(lab);
    network::start(lab);
    cargo(lab, SIZE);
    network::ue(lab, "bob", &["receive", "--dir", "inbox"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(lab, "alice", &["send", "sip:bob@b.example", "cargo.bin"]);
    lab.wait_for("bob", "out", "\"file-progress\"", PATIENCE);
    alice
}

/// The sentence of the last event of that kind.
fn reason(output: &str) -> String {
    let last = output.lines().rev().find(|line| line.contains("\"reason\":\"")).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(last).unwrap_or_default();
    value["reason"].as_str().unwrap_or_default().to_owned()
}

/// No octet of media passes a border: it can die and the truck still arrives.
#[test]
fn media_outlives_a_border() {
    let Some(mut lab) = Lab::new() else { return };
    let alice = transfer(&mut lab);
    assert!(!lab.output("bob", "out").contains("\"file-done\""), "the file was too small for this test");
    let border = lab.named("interconnect-a");
    lab.process(border).signal("KILL");
    lab.wait_for("bob", "out", "\"file-done\"", Duration::from_secs(120));
    let directory = lab.directory().to_owned();
    assert_eq!(sha256(&directory.join("inbox/cargo.bin")), sha256(&directory.join("cargo.bin")));
    // alice's BYE has nowhere to go; she knows that the file has arrived all the same.
    lab.wait_for("alice", "out", "\"file-done\"", PATIENCE);
    lab.process(alice).signal("KILL");
}

/// How long two ends try to make their connection again before they give it up, and then some.
const GIVEN_UP: Duration = Duration::from_secs(120);

/// A gateway that dies and stays away ends the call with one sentence at each end, when it was tried again often
/// enough; the others give everything back, and the gateway that returns is used again.
#[test]
fn a_gateway_dies_and_returns() {
    let Some(mut lab) = Lab::new() else { return };
    let alice = transfer(&mut lab);
    let gateway = lab.named("trgw-b");
    lab.process(gateway).signal("KILL");
    assert_eq!(lab.process(alice).wait(GIVEN_UP), Some(1), "{}", lab.output("alice", "out"));
    let said = reason(&lab.output("alice", "out"));
    assert!(!said.is_empty(), "{}", lab.output("alice", "out"));
    lab.wait_for("bob", "out", "\"ended\"", SOON);
    assert!(!lab.output("bob", "out").contains("\"file-done\""));
    lab.wait_for("interconnect-b", "err", "gateway-lost", SOON);
    for (host, ..) in MEDIA_HOSTS.iter().filter(|(host, ..)| *host != "trgw-b") {
        lab.until(SOON, &format!("{host} gives its sockets back"), |lab| media_sockets(lab, host).is_empty());
    }

    let before = lab.output("interconnect-b", "err").matches("gateway-up").count();
    let command = network::carnet(&lab, "trgw-b", &["run", "-c", "trgw-b.toml"]);
    lab.start("trgw-b-again", command);
    lab.until(PATIENCE, "the gateway registers again", |lab| {
        lab.output("interconnect-b", "err").matches("gateway-up").count() > before
    });
    std::fs::write(lab.directory().join("note.txt"), "again").expect("a file");
    let alice = network::ue(&mut lab, "alice", &["send", "sip:bob@b.example", "note.txt"]);
    if lab.process(alice).wait(PATIENCE) != Some(0) {
        lab.show();
        panic!("{}", lab.output("alice", "out"));
    }
}

/// Nobody to give keys, nobody to open them, nobody there: one clear sentence each, nothing hangs,
/// nothing is left.
#[test]
fn calls_that_cannot_be() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    network::start(&mut lab);

    // bob is not there.
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    assert_eq!(lab.process(alice).wait(SOON), Some(1), "{}", lab.output("alice", "out"));
    let said = reason(&lab.output("alice", "out"));
    assert!(said.contains("the call was refused: 480 "), "{said}");

    // bob's key server cannot be reached: bob cannot open the ticket.
    let settings = std::fs::read_to_string(lab.directory().join("bob.toml")).expect("bob's settings");
    lab.file("bob.toml", &settings.replace("203.0.113.1:8443", "203.0.113.1:9"));
    let bob = network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    assert_eq!(lab.process(alice).wait(SOON), Some(1), "{}", lab.output("alice", "out"));
    let said = reason(&lab.output("alice", "out"));
    assert_eq!(said, "the call was refused: 500 Key server unavailable");
    let bobs = reason(&lab.output("bob", "out"));
    assert!(bobs.contains("the key server could not be reached to open the caller's ticket"), "{bobs}");
    lab.process(bob).signal("KILL");

    // alice's key server is dead: no ticket, no call.
    let kms = lab.named("kms");
    lab.process(kms).signal("KILL");
    let asked = Instant::now();
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    assert_eq!(lab.process(alice).wait(SOON), Some(1), "{}", lab.output("alice", "out"));
    assert!(asked.elapsed() < SOON);
    let said = reason(&lab.output("alice", "out"));
    assert!(said.starts_with("the key server could not be reached to get a ticket: "), "{said}");
    assert!(said.contains("refused") || said.contains("unreachable"), "the cause is said too: {said}");

    for (host, ..) in MEDIA_HOSTS {
        lab.until(SOON, &format!("{host} gives its sockets back"), |lab| media_sockets(lab, host).is_empty());
    }
    for (border, ..) in BORDERS {
        assert!(!lab.output(border, "err").contains("panicked"), "{border}");
    }
}
