//! A border that forwards REGISTER: the registrar of operator B is Kamailio, behind border B.

use crate::lab::Lab;
use crate::network::{self, PATIENCE};
use crate::sealed::let_go;
use std::process::Command;

const REGISTRAR: &str = include_str!("kamailio/registrar.cfg");
const ADDRESS: &str = "10.2.0.9";

fn have_kamailio() -> bool {
    let here = Command::new("kamailio").arg("-v").output().is_ok();
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "kamailio is required here");
        eprintln!("skipped: kamailio is not installed");
    }
    here
}

#[test]
fn registered_by_kamailio_behind_the_border() {
    if !have_kamailio() {
        return;
    }
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    lab.join("registrar", "core-b", &format!("{ADDRESS}/24"));
    lab.file("registrar.cfg", &REGISTRAR.replace("@ADDRESS@", ADDRESS));
    lab.edit(
        "border-b.toml",
        "registrar = { mode = \"built-in\", users = \"users-b.toml\" }",
        &format!(
            "registrar = {{ mode = \"forward\", next-hop = \"sip:{ADDRESS};transport=tcp\", network = \"core\" }}"
        ),
    );
    lab.edit("interconnect-b.toml", "sip:10.2.0.1;transport=tcp", &format!("sip:{ADDRESS};transport=tcp"));
    let mut kamailio = lab.command("registrar", "kamailio");
    // In the foreground and in its own group of processes, ended with the lab.
    kamailio.args(["-f", "registrar.cfg", "-DD", "-E", "-m", "32", "-M", "4", "-Y", "."]);
    lab.start("registrar", kamailio);
    network::start(&mut lab);
    lab.until(PATIENCE, "the registrar listens", |lab| {
        let sockets = lab.command("registrar", "ss").args(["-Hltn"]).output().expect("ss");
        String::from_utf8_lossy(&sockets.stdout).contains(":5060")
    });

    // Who has another password is told by the registrar, through the border.
    lab.file("bob.password", "guessed\n");
    let bob = network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"not-registered\"", PATIENCE);
    let said = lab.output("bob", "out");
    assert!(said.contains("the network does not accept this user name and password"), "{said}");
    lab.process(bob).signal("INT");
    lab.process(bob).wait(PATIENCE);

    lab.file("bob.password", "bob's password\n");
    let bob = network::ue(&mut lab, "bob", &["receive", "--dir", "inbox"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    // RFC 3327: the way back leads through the border.
    let path = |line: &str| line.contains("registered: sip:bob@b.example") && line.contains("10.2.0.1");
    lab.until(PATIENCE, "the registrar has Path and binding", |lab| {
        lab.output("registrar", "err").lines().any(path)
    });

    lab.file("note.txt", "by way of a registrar");
    let alice = network::ue(&mut lab, "alice", &["send", "sip:bob@b.example", "note.txt"]);
    let code = lab.process(alice).wait(PATIENCE);
    if code != Some(0) {
        lab.show();
    }
    assert_eq!(code, Some(0), "{}", lab.output("alice", "out"));
    assert!(lab.output("bob", "out").contains("\"event\":\"sealed\""));
    let_go(&lab, PATIENCE);

    // And bob takes his registration back: he cannot be called any more.
    lab.process(bob).signal("INT");
    assert_eq!(lab.process(bob).wait(PATIENCE), Some(0), "{}", lab.output("bob", "out"));
    let alice = network::ue(&mut lab, "alice", &["send", "sip:bob@b.example", "note.txt"]);
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(1));
    assert!(lab.output("alice", "out").contains("404"), "{}", lab.output("alice", "out"));
    let_go(&lab, PATIENCE);
}
