//! The demonstration where there is nothing: no network but loopback, and a user without rights.

use crate::lab::Lab;
use crate::network::PATIENCE;
use std::process::Command;

#[test]
fn the_demonstration_without_network_and_without_rights() {
    let Some(mut lab) = Lab::new() else { return };
    lab.host("nowhere");
    // A place that anybody can read, and one that anybody can write.
    let directory = lab.directory().to_owned();
    std::fs::copy(env!("CARGO_BIN_EXE_carnet"), directory.join("carnet")).expect("a copy");
    std::fs::create_dir(directory.join("tmp")).expect("a directory");
    for (mode, name) in [("755", "."), ("755", "carnet"), ("1777", "tmp")] {
        let changed = Command::new("chmod").current_dir(&directory).args([mode, name]).status();
        assert!(changed.is_ok_and(|s| s.success()));
    }
    let mut command = lab.command("nowhere", "setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--inh-caps=-all"]);
    command.args(["./carnet", "demo", "--json", "--file-size", "4"]);
    command.env("TMPDIR", directory.join("tmp")).env_remove("HOME");
    let demo = lab.start("demo", command);
    let code = lab.process(demo).wait(PATIENCE);
    let said = lab.output("demo", "out");
    assert_eq!(code, Some(0), "{said}{}", lab.output("demo", "err"));
    let seen: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(seen["sealed"], true, "{seen:#}");
    assert_eq!(seen["hops"], 4);
    // Its keys are gone with it.
    let left: Vec<_> = std::fs::read_dir(directory.join("tmp")).expect("a directory").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
