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

/// What a process has taken for itself at this moment, in kB. The program's own pages, which the
/// system maps from the file and drops as it likes, say nothing of what a transfer needs: in a build
/// for tests they are most of all.
fn taken(lab: &mut Lab, index: usize) -> u64 {
    let status = format!("/proc/{}/status", lab.process(index).child.id());
    let status = std::fs::read_to_string(status).unwrap_or_default();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes")
    };
    value("RssAnon:") + value("RssShmem:")
}

/// A file of 1 GiB through two whole processes: neither ever takes 16 MiB.
#[test]
fn a_large_file_needs_little_memory() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    network::start(&mut lab);
    // Holes cost no disk at the sender, and are octets like others on the way.
    let file = std::fs::File::create(lab.directory().join("large.bin")).expect("a file");
    file.set_len(1 << 30).expect("a length");
    let bob = network::ue(&mut lab, "bob", &["receive", "--dir", "inbox"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["send", "sip:bob@b.example", "large.bin"]);
    let mut peak = (0, 0);
    let start = std::time::Instant::now();
    let code = loop {
        peak = (peak.0.max(taken(&mut lab, alice)), peak.1.max(taken(&mut lab, bob)));
        if let Some(code) = lab.process(alice).wait(std::time::Duration::from_millis(50)) {
            break code;
        }
        assert!(start.elapsed().as_secs() < 600, "{}", lab.output("alice", "out"));
    };
    assert_eq!(code, 0, "{}", lab.output("alice", "out"));
    eprintln!("1 GiB in {:?}; sender {} kB, receiver {} kB", start.elapsed(), peak.0, peak.1);
    let some = 1..16 << 10;
    assert!(some.contains(&peak.0) && some.contains(&peak.1), "sender {} kB, receiver {} kB", peak.0, peak.1);
    let_go(&lab, PATIENCE);
}
