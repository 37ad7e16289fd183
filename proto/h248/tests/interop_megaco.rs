//! Erlang/OTP's megaco reads what we print, we read what it prints, and both mean the same.
//!
//! Skipped with a message when Erlang is not there, unless `CARNET_REQUIRE_INTEROP=1`.

mod common;

use carnet_h248::text::{Form, Limits, parse, print};
use carnet_h248::*;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::path::Path;
use std::process::Command as Process;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/megaco/recode.escript");
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

fn absent(program: &str) -> bool {
    let found = Process::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let absent = !found.is_ok_and(|o| o.status.success());
    assert!(
        !absent || std::env::var("CARNET_REQUIRE_INTEROP").as_deref() != Ok("1"),
        "{program} is not there"
    );
    if absent {
        eprintln!("skipped: {program} is not there");
    }
    absent
}

fn fixtures() -> Vec<(String, Message)> {
    let mut list: Vec<_> = std::fs::read_dir(FIXTURES)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "txt"))
        .map(|p| {
            let message = parse(&std::fs::read(&p).unwrap(), &Limits::default()).unwrap();
            (p.file_stem().unwrap().to_string_lossy().into_owned(), message)
        })
        .collect();
    list.sort_by(|a, b| a.0.cmp(&b.0));
    list
}

/// Random messages, the same in every run.
fn random(count: usize) -> Vec<(String, Message)> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = common::message();
    (0..count)
        .map(|n| (format!("random-{n:04}"), strategy.new_tree(&mut runner).unwrap().current()))
        .collect()
}

/// The same up to what the other side does not keep: letters' case and quotes.
fn gist(message: &Message) -> String {
    let text = format!("{message:?}").to_lowercase();
    text.replace("quoted(", "token(")
}

fn recode(folder: &Path) -> String {
    let out = Process::new("escript").arg(SCRIPT).arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    said
}

#[test]
fn erlang_reads_what_we_print_and_we_read_what_it_prints() {
    if absent("escript") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let messages: Vec<_> = fixtures().into_iter().chain(random(400)).collect();
    for (name, message) in &messages {
        for (form, letter) in [(Form::Long, 'l'), (Form::Short, 's')] {
            std::fs::write(folder.path().join(format!("{name}-{letter}.in")), print(message, form)).unwrap();
        }
    }
    let said = recode(folder.path());
    let complaints: Vec<_> = said.lines().filter(|l| !l.starts_with("done")).collect();
    assert!(
        complaints.is_empty(),
        "{} complaints\n{}",
        complaints.len(),
        complaints[..complaints.len().min(20)].join("\n")
    );
    let mut compared = 0;
    for (name, message) in &messages {
        // The text encoder of OTP writes the authentication header wrongly.
        if message.auth.is_some() {
            continue;
        }
        for letter in ['l', 's'] {
            for form in ["pretty", "compact"] {
                let path = folder.path().join(format!("{name}-{letter}.{form}"));
                let octets = std::fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&octets);
                let theirs =
                    parse(&octets, &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
                assert_eq!(gist(&theirs), gist(message), "{name}\n{text}");
                compared += 1;
            }
        }
    }
    eprintln!("{compared} messages of Erlang's megaco compared");
}
