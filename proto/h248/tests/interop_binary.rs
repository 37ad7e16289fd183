//! The binary encoding read by two implementations that are not ours: the ASN.1 module in Erlang/OTP's
//! megaco, and Wireshark's dissector.
//!
//! Skipped with a message when they are not there, unless `CARNET_REQUIRE_INTEROP=1`.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use carnet_h248::text::Limits;
use carnet_h248::{binary, text};
use common::{absent, binary_message, dissect, random};
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/megaco/ber.escript");
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// The worked messages and those of the grammars in binary, with their names.
fn messages() -> Vec<(String, Vec<u8>)> {
    let grammar = std::fs::read_dir(format!("{FIXTURES}/grammar")).unwrap();
    let mut list: Vec<_> = std::fs::read_dir(FIXTURES)
        .unwrap()
        .chain(grammar)
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .filter_map(|path| {
            let message = text::parse(&std::fs::read(&path).unwrap(), &Limits::default()).unwrap();
            let octets = match binary::print(&message) {
                // Packages and methods without a number.
                Err(_) if path.starts_with(format!("{FIXTURES}/grammar")) => return None,
                octets => octets.unwrap(),
            };
            Some((path.file_stem().unwrap().to_string_lossy().into_owned(), octets))
        })
        .collect();
    list.sort();
    assert!(list.len() >= 40);
    list
}

#[test]
fn erlang_reads_our_octets_and_writes_the_same() {
    if absent("escript") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut messages = messages();
    let random = random(1_500, &binary_message());
    messages.extend(random.into_iter().map(|(name, m)| (name, binary::print(&m).unwrap())));
    for (name, octets) in &messages {
        std::fs::write(folder.path().join(format!("{name}.ber")), octets).unwrap();
    }
    let out = Command::new("escript").arg(SCRIPT).arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(said.trim(), format!("done {}", messages.len()));
}

/// The dissector of UDP port 2945 finds commands and nothing malformed or unexpected.
#[test]
fn wireshark_finds_nothing_malformed() {
    if absent("tshark") || absent("text2pcap") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // What this dissector does not know of the grammars is looked at with them.
    let messages: Vec<_> = messages()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("v1-") && !name.starts_with("v3-"))
        .collect();
    let tree = dissect(folder.path(), 2945, messages.iter().map(|(_, octets)| octets.as_slice()));
    // The protocol stands in each packet's tree once, at the start of a line.
    assert_eq!(tree.lines().filter(|l| *l == "H.248 MEGACO").count(), messages.len());
    // Warnings of the group Response only say that a message carries an H.248 error.
    for bad in ["Malformed", "BER Error", "Expert Info (Error", "Warning/Protocol", "Undecoded"] {
        assert!(!tree.contains(bad), "{bad}\n{tree}");
    }
}
