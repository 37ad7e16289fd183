//! The real client at a border that looks closely: with more than one address, over every transport,
//! and after the border was killed.

use crate::lab::Lab;
use crate::network::{self, PATIENCE};
use std::process::Command;

/// The border of each user, and its address towards them.
const ACCESS: [(&str, &str, &str); 2] =
    [("alice", "border-a", "198.51.100.1"), ("bob", "border-b", "198.51.100.65")];

/// Borders that listen by TLS too and let media come only from the address in the SDP; alice has a
/// second address and uses that one.
fn build(lab: &mut Lab) {
    network::build(lab);
    let names = ACCESS.map(|(.., address)| format!("IP:{address}")).join(",");
    let made = Command::new("openssl")
        .current_dir(lab.directory())
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=borders", "-addext", &format!("subjectAltName={names}")])
        .args(["-keyout", "borders.key", "-out", "borders.pem"])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for (user, border, address) in ACCESS {
        let read = |file: &str| std::fs::read_to_string(lab.directory().join(file)).expect("a file");
        let tls = "tls = { certificate = \"borders.pem\", key = \"borders.key\", ca = \"borders.pem\" }";
        let text = read(&format!("{border}.toml"))
            .replace("role = \"ims-alg\"", &format!("role = \"ims-alg\"\n{tls}"))
            .replace(
                &format!("\"tcp:{address}:5060\"]"),
                &format!("\"tcp:{address}:5060\", \"tls:{address}:5061\"]"),
            )
            .replace("subscribers = true", "subscribers = true\nsource-filter = true");
        assert!(text.contains("tls:") && text.contains("source-filter"), "{text}");
        lab.file(&format!("{border}.toml"), &text);
        let more = if user == "alice" { "listen = \"198.51.100.11:0\"\n" } else { "" };
        let text = format!("{}ca-file = \"borders.pem\"\n{more}", read(&format!("{user}.toml")));
        lab.file(&format!("{user}.toml"), &text);
    }
    lab.join("alice", "subs-a", "198.51.100.11/26");
}

/// One line from alice to bob.
fn talk(lab: &mut Lab, line: &str) {
    let alice = network::ue(lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    lab.process(alice).say(line);
    lab.process(alice).say("/bye");
    let status = lab.process(alice).wait(PATIENCE);
    if status != Some(0) {
        lab.show();
    }
    assert_eq!(status, Some(0), "{}", lab.output("alice", "out"));
    lab.wait_for("bob", "out", &format!("\"{line}\""), PATIENCE);
}

#[test]
fn a_client_with_two_addresses_over_every_transport() {
    let Some(mut lab) = Lab::new() else { return };
    build(&mut lab);
    network::start(&mut lab);
    for (parameter, port) in [(";transport=tcp", ""), (";transport=tls", ":5061"), ("", "")] {
        for (user, _, address) in ACCESS {
            let file = format!("{user}.toml");
            let text = std::fs::read_to_string(lab.directory().join(&file)).expect("settings");
            let line = text.lines().find(|line| line.starts_with("proxy")).expect("a proxy");
            let proxy = format!("proxy = \"sip:{address}{port}{parameter}\"");
            lab.file(&file, &text.replace(line, &proxy));
        }
        let bob = network::ue(&mut lab, "bob", &["listen"]);
        lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
        talk(&mut lab, &format!("by {parameter}"));
        lab.process(bob).signal("TERM");
        assert_eq!(lab.process(bob).wait(PATIENCE), Some(0), "{}", lab.output("bob", "out"));
    }
}

#[test]
fn a_border_that_was_killed_is_found_again() {
    let Some(mut lab) = Lab::new() else { return };
    build(&mut lab);
    network::start(&mut lab);
    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let border = lab.named("border-b");
    lab.process(border).signal("KILL");
    lab.wait_for("bob", "out", "registering again", PATIENCE);
    let command = network::carnet(&lab, "border-b", &["run", "-c", "border-b.toml"]);
    lab.start("border-b-again", command);
    lab.wait_for("border-b-again", "err", "gateway-up", PATIENCE);
    lab.until(PATIENCE, "bob registers again", |lab| {
        lab.output("bob", "out").matches("\"registered\"").count() == 2
    });
    talk(&mut lab, "still here");
}
