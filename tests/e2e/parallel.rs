//! Several sessions at once through the same borders and gateways, again and again: each gets what
//! is its own, and when they are over nothing is left of them.

use crate::lab::Lab;
use crate::network::{self, BORDERS, MEDIA_HOSTS, PATIENCE};
use crate::sealed::let_go;
use std::process::Command;

/// Octets of the file.
const SIZE: u64 = 24 << 20;
const ROUNDS: usize = 4;

/// Memory of a process that is resident now, in kB.
fn resident(lab: &mut Lab, name: &str) -> u64 {
    let index = lab.named(name);
    let status = format!("/proc/{}/status", lab.process(index).child.id());
    let status = std::fs::read_to_string(status).expect("a process");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    memory.trim().trim_end_matches(" kB").parse().expect("kilobytes")
}

/// Two chats and a file side by side, all from alice to bob.
fn round(lab: &mut Lab, number: usize) {
    let start = |lab: &mut Lab, name: &str, action: &[&str]| {
        let arguments = [&["ue", "-c", "alice.toml", "--json"], action].concat();
        let command = network::carnet(lab, "alice", &arguments);
        lab.start(name, command)
    };
    let chats = ["first", "second"].map(|name| (name, start(lab, name, &["chat", "sip:bob@b.example"])));
    for (name, _) in chats {
        lab.wait_for(name, "out", "\"event\":\"sealed\"", PATIENCE);
    }
    let file = start(lab, "file", &["send", "sip:bob@b.example", "cargo.bin"]);
    lab.wait_for("file", "out", "\"event\":\"sealed\"", PATIENCE);
    // Lines in turn, while the file is on its way.
    for line in 0..5 {
        for (name, chat) in chats {
            lab.process(chat).say(&format!("{name} {number}.{line}"));
        }
    }
    for line in 0..5 {
        for (name, _) in chats {
            lab.wait_for("bob", "out", &format!("\"{name} {number}.{line}\""), PATIENCE);
        }
    }
    assert_eq!(lab.process(file).wait(PATIENCE), Some(0), "{}", lab.output("file", "out"));
    for (name, chat) in chats {
        lab.process(chat).signal("INT");
        assert_eq!(lab.process(chat).wait(PATIENCE), Some(0), "{}", lab.output(name, "out"));
    }
    let_go(lab, PATIENCE);
    let directory = lab.directory().to_owned();
    let same = Command::new("cmp")
        .arg(directory.join("cargo.bin"))
        .arg(directory.join("inbox/cargo.bin"))
        .status()
        .expect("cmp");
    assert!(same.success(), "the file is another");
    std::fs::remove_file(directory.join("inbox/cargo.bin")).expect("the file");
}

#[test]
fn two_chats_and_a_file_at_once() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    network::start(&mut lab);
    let made = Command::new("sh")
        .current_dir(lab.directory())
        .args(["-c", &format!("head -c {SIZE} /dev/urandom > cargo.bin")])
        .status();
    assert!(made.is_ok_and(|s| s.success()));
    network::ue(&mut lab, "bob", &["receive", "--dir", "inbox"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);

    // After the first round everything has its size; from then on nothing grows.
    round(&mut lab, 0);
    let all: Vec<_> = MEDIA_HOSTS.iter().chain(BORDERS).map(|(host, ..)| *host).collect();
    let before: Vec<_> = all.iter().map(|host| resident(&mut lab, host)).collect();
    for number in 1..ROUNDS {
        round(&mut lab, number);
    }
    for (host, before) in all.iter().zip(before) {
        let after = resident(&mut lab, host);
        assert!(after < before + 4096, "{host} grew from {before} to {after} kB");
    }
}
