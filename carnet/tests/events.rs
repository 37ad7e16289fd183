//! `docs/events.md` says what is declared: `CARNET_BLESS=1 cargo test -p carnet --test events` writes it anew.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::process::Command;

#[test]
fn the_document_says_what_is_declared() {
    let output = Command::new(env!("CARGO_BIN_EXE_carnet")).args(["events", "--markdown"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/events.md");
    if std::env::var_os("CARNET_BLESS").is_some() {
        std::fs::write(path, &said).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(said == written, "docs/events.md is not what `carnet events --markdown` says");
    for word in ["## border", "`call-ended`", "carnet_border_call_ended_total", "cause", "## kms"] {
        assert!(said.contains(word), "{word}");
    }
}
