//! `carnet demo --hold`: what it says about joining in is true, and it leaves nothing behind.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use common::Running;
use serde_json::Value;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");

/// Starts a command as it was printed.
fn typed(line: &str) -> Running {
    let mut words = line.split_whitespace();
    Running::start(Command::new(words.next().unwrap()).args(words))
}

/// Runs the demonstration, and joins in by the commands that it prints.
fn joined(json: bool) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(CARNET);
    command.args(["demo", "--hold", "--file-size", "1"]).env("TMPDIR", directory.path());
    if json {
        command.arg("--json");
    }
    let mut demo = Running::start(&mut command);
    let commands: Vec<String> = if json {
        let hold: Value = serde_json::from_str(&demo.line("\"event\":\"hold\"")).unwrap();
        hold["join"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    } else {
        ["chat", "send", "listen"].map(|action| demo.line(&format!("toml {action}"))).to_vec()
    };
    let (carol, file, dave) = (commands[0].as_str(), commands[1].as_str(), commands[2].as_str());

    let mut carol = typed(carol);
    carol.line("sealed end to end");
    carol.stdin.write_all(b"may I join in?\n").unwrap();
    demo.line("may I join in?");
    carol.stdin.write_all(b"/bye\n").unwrap();
    assert!(carol.child.wait().unwrap().success());

    std::fs::write(directory.path().join("note.txt"), "a note").unwrap();
    let note = directory.path().join("note.txt").display().to_string();
    let mut sender = typed(&file.replace("FILE", &note));
    sender.line("note.txt");
    assert!(sender.child.wait().unwrap().success());

    let dave = typed(dave);
    dave.line("registered as sip:dave@b.example");
    // Everything is written as others may write it.
    let settings = Path::new(file.split_whitespace().nth(3).unwrap());
    for name in ["network.toml", "carol.toml", "dave.toml"] {
        let path = settings.with_file_name(name);
        let checked = Command::new(CARNET).arg("check").arg("-c").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
    drop(dave);

    let stop = Command::new("kill").args(["-INT", &demo.child.id().to_string()]).status();
    assert!(stop.is_ok_and(|s| s.success()));
    assert!(demo.child.wait().unwrap().success());
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["note.txt"], "keys are left behind");
}

#[test]
fn people_join_in() {
    joined(false);
}

#[test]
fn scripts_join_in() {
    joined(true);
}

/// However early it is told to stop, held or not, no key stays behind.
#[test]
fn an_early_end_leaves_no_keys() {
    for arguments in [&["demo", "--hold"][..], &["demo"]] {
        for signal in ["-INT", "-TERM"] {
            let directory = tempfile::tempdir().unwrap();
            let mut demo =
                Running::start(Command::new(CARNET).args(arguments).env("TMPDIR", directory.path()));
            demo.line("up in");
            let stop = Command::new("kill").args([signal, &demo.child.id().to_string()]).status();
            assert!(stop.is_ok_and(|s| s.success()));
            assert_eq!(demo.child.wait().unwrap().code(), Some(1), "{arguments:?}");
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{arguments:?} {signal}");
        }
    }
}

/// A reader that leaves does not change the outcome.
#[test]
fn nobody_reads_to_the_end() {
    let line = format!("{CARNET} demo --file-size 1 | head -n 1; exit ${{PIPESTATUS[0]}}");
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
}
