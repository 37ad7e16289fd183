//! A connection of a call that breaks is made again in the same call: a gateway on the way dies and returns.

use crate::lab::Lab;
use crate::network::{self, BORDERS, MEDIA_HOSTS, PATIENCE};
use crate::sealed::media_sockets;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Octets of the file: enough that a process can be killed while it is on its way.
const SIZE: u64 = 384 << 20;

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

fn kill(lab: &mut Lab, host: &str) {
    let gateway = lab.named(host);
    lab.process(gateway).signal("KILL");
}

/// The gateway starts again, and its border has it.
fn start_again(lab: &mut Lab, host: &str, border: &str) {
    let before = lab.output(border, "err").matches("gateway-up").count();
    let command = network::carnet(lab, host, &["run", "-c", &format!("{host}.toml")]);
    lab.start(&format!("{host}-again"), command);
    lab.until(PATIENCE, "the gateway registers again", |lab| {
        lab.output(border, "err").matches("gateway-up").count() > before
    });
}

fn count(output: &str, what: &str) -> usize {
    output.matches(what).count()
}

/// In mid-chat: what is typed while there is no connection arrives, once, in order, in the same call.
#[test]
fn a_chat_goes_on_when_a_gateway_died_and_returned() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    network::start(&mut lab);
    let bob = network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    lab.process(alice).say("line-1");
    lab.wait_for("bob", "out", "line-1", PATIENCE);
    kill(&mut lab, "trgw-b");
    lab.wait_for("alice", "out", "\"broken\"", PATIENCE);
    lab.process(alice).say("line-2");
    start_again(&mut lab, "trgw-b", "interconnect-b");
    lab.wait_for("alice", "out", "\"restored\"", PATIENCE);
    lab.wait_for("bob", "out", "\"restored\"", PATIENCE);
    lab.wait_for("bob", "out", "line-2", PATIENCE);
    lab.process(alice).say("line-3");
    lab.wait_for("bob", "out", "line-3", PATIENCE);
    let bobs = lab.output("bob", "out");
    for line in ["line-1", "line-2", "line-3"] {
        assert_eq!(count(&bobs, line), 1, "{bobs}");
    }
    assert!(!bobs.contains("\"ended\"") && !lab.output("alice", "out").contains("\"ended\""));
    lab.process(alice).say("/bye");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "out"));
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    lab.process(bob).signal("KILL");
    for (host, ..) in MEDIA_HOSTS.iter().filter(|(host, ..)| *host != "trgw-b") {
        lab.until(PATIENCE, &format!("{host} gives its sockets back"), |lab| {
            media_sockets(lab, host).is_empty()
        });
    }
    for (border, ..) in BORDERS {
        assert!(!lab.output(border, "err").contains("panicked"), "{border}");
    }
}

/// In mid-file: it goes on where it stopped, in the same call, and is whole.
#[test]
fn a_file_goes_on_when_a_gateway_died_and_returned() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    network::start(&mut lab);
    let made = Command::new("sh")
        .current_dir(lab.directory())
        .args(["-c", &format!("head -c {SIZE} /dev/urandom > cargo.bin")])
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    network::ue(&mut lab, "bob", &["receive", "--dir", "inbox"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["send", "sip:bob@b.example", "cargo.bin"]);
    lab.wait_for("bob", "out", "\"file-progress\"", PATIENCE);
    kill(&mut lab, "agw-a");
    start_again(&mut lab, "agw-a", "border-a");
    if lab.process(alice).wait(Duration::from_secs(180)) != Some(0) {
        lab.show();
        panic!("{}", lab.output("alice", "out"));
    }
    lab.wait_for("bob", "out", "\"file-done\"", PATIENCE);
    let bobs = lab.output("bob", "out");
    assert_eq!((count(&bobs, "\"incoming\""), count(&bobs, "\"restored\"")), (1, 1), "{bobs}");
    let done = bobs.lines().find(|line| line.contains("\"file-done\"")).expect("it arrived");
    let done: serde_json::Value = serde_json::from_str(done).expect("JSON");
    let moved = done["moved"].as_u64().expect("octets");
    assert!(moved > 0 && moved < SIZE, "it went on: {done}");
    let directory = lab.directory().to_owned();
    assert_eq!(sha256(&directory.join("inbox/cargo.bin")), sha256(&directory.join("cargo.bin")));
}

/// The other end does not know of it: the call ends soon, with status 1 and the reason, and nothing is left.
#[test]
fn a_peer_without_it_ends_the_call_and_the_status_says_so() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    let settings = std::fs::read_to_string(lab.directory().join("bob.toml")).expect("bob's settings");
    lab.file("bob.toml", &format!("{settings}[ue.interop]\nrecover = false\n"));
    network::start(&mut lab);
    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    lab.process(alice).say("line-1");
    lab.wait_for("bob", "out", "line-1", PATIENCE);
    kill(&mut lab, "trgw-b");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(1), "{}", lab.output("alice", "out"));
    let ended = lab.output("alice", "out");
    let ended = ended.lines().rev().find(|line| line.contains("\"ended\"")).expect("an end");
    assert!(!ended.contains("\"reason\":null"), "{ended}");
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    for (host, ..) in MEDIA_HOSTS.iter().filter(|(host, ..)| *host != "trgw-b") {
        lab.until(PATIENCE, &format!("{host} gives its sockets back"), |lab| {
            media_sockets(lab, host).is_empty()
        });
    }
}
