//! All tests of the engine again where pinholes have no sockets.

use std::process::Command as Program;

use super::super::{KernelConfig, Mode};

const SET: &str = "CARNET_MEDIA_STEERED";

/// Whether this is the process in the namespace.
pub(super) fn here() -> bool {
    std::env::var_os(SET).is_some()
}

pub(super) fn config(first: u16) -> KernelConfig {
    if !here() {
        return KernelConfig::default();
    }
    KernelConfig {
        mode: Mode::Required,
        translate: false,
        table: format!("{}-{first}", std::process::id()),
        ..KernelConfig::default()
    }
}

#[test]
fn the_same_holds_where_callers_are_steered() {
    if here() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CARNET_REQUIRE_ROOT").is_none(), "needs root");
        eprintln!("skipped: needs root");
        return;
    }
    // The namespace goes with its last process.
    let place = "ip link set lo up && ip address add 192.0.2.1/32 dev lo && ip route add local 192.0.2.0/24 dev lo \\
                 && ip address add 2001:db8::1/128 dev lo nodad && exec \"$0\" media::tests:: --test-threads 4";
    let tests = std::env::current_exe().unwrap();
    let output = Program::new("unshare")
        .args(["--net", "sh", "-ec", place])
        .arg(tests)
        .env(SET, "1")
        .output()
        .expect("unshare of util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("test result: ok"), "{said}");
}
