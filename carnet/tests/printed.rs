//! Commands that print and end: who reads no further than he wants (`| head`) makes no fault of it, a full disk is one.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::fs::File;
use std::process::{Command, Stdio};

const PRINT: [&[&str]; 10] = [
    &["config", "example"],
    &["config", "schema"],
    &["config", "diff", "FILE", "OTHER"],
    &["config", "diff", "FILE", "OTHER", "--json"],
    &["check", "-c", "FILE"],
    &["check", "-c", "FILE", "--json"],
    &["check", "-c", "MISSING", "--json"],
    &["events"],
    &["events", "--markdown"],
    &["completions", "bash"],
];

#[test]
fn nobody_reads_on() {
    let place = tempfile::tempdir().unwrap();
    let (file, other) = (place.path().join("file.toml"), place.path().join("other.toml"));
    let kms = |port: u16| {
        format!(
            "[gateway.g]\nrole = \"trgw\"\ncontrollers = [\"mrfc@tcp:127.0.0.1:{port}\"]\n\
             realm.in = {{ v4 = \"127.0.0.1\", ports = \"30000-30009\" }}\n"
        )
    };
    std::fs::write(&file, kms(2944)).unwrap();
    std::fs::write(&other, kms(2945)).unwrap();
    for command in PRINT {
        let command = || {
            let mut carnet = Command::new(env!("CARGO_BIN_EXE_carnet"));
            carnet.args(command.iter().map(|part| match *part {
                "FILE" => file.as_os_str(),
                "OTHER" => other.as_os_str(),
                part => part.as_ref(),
            }));
            carnet.stdin(Stdio::null());
            carnet
        };
        let read = command().output().unwrap();
        // Nobody is at the other end from the beginning: the first octet finds out.
        let (nobody, pipe) = std::io::pipe().unwrap();
        drop(nobody);
        let ended = command().stdout(pipe).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), read.status.code(), "{:?}: {said}", command());
        assert!(!said.contains("panicked"), "{:?}: {said}", command());
        let full = command().stdout(File::create("/dev/full").unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&full.stderr);
        assert_eq!(full.status.code(), Some(2), "{:?}: {said}", command());
        assert!(said.contains("could not be written"), "{:?}: {said}", command());
    }
}
