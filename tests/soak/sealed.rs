//! Sealed sessions that are all there at once, and nothing afterwards: `carnet-growth many`, with few.

use std::process::Command;

use crate::{lab, ways};

#[test]
fn sealed_sessions_pass_and_leave_nothing() {
    let Some(lab) = lab() else { return };
    for way in ways(&lab) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carnet-growth"));
        let output = command.args(["many", "--sessions", "300", "--ways", &way]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("6000 messages there and back, all as they were sent"), "{said}");
        eprintln!("{said}");
    }
}
