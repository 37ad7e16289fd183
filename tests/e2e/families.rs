//! The interconnect over IPv6, with SIP in TLS: the borders translate between IP versions, the
//! sealed session does not notice.

use crate::lab::Lab;
use crate::network::{self, PATIENCE};
use std::process::Command;

/// Addresses of interconnect-a, trgw-a, interconnect-b and trgw-b between the operators.
const PEERS: [(&str, &str, &str); 4] = [
    ("interconnect-a", "192.0.2.1", "2001:db8:1::1"),
    ("trgw-a", "192.0.2.2", "2001:db8:1::2"),
    ("interconnect-b", "192.0.2.3", "2001:db8:1::3"),
    ("trgw-b", "192.0.2.4", "2001:db8:1::4"),
];

#[test]
fn an_interconnect_over_ipv6_and_tls() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    for (host, old, new) in PEERS {
        lab.join(host, "peers", &format!("{new}/64"));
        let file = format!("{host}.toml");
        let mut text = std::fs::read_to_string(lab.directory().join(&file)).expect("an example");
        if host.starts_with("trgw") {
            text = text.replace(&format!("v4 = \"{old}\""), &format!("v6 = \"{new}\""));
        } else {
            let far = if host == "interconnect-a" { PEERS[2] } else { PEERS[0] };
            text = text
                .replace(&format!("\"udp:{old}:5060\", \"tcp:{old}:5060\""), &format!("\"tls:[{new}]:5061\""))
                .replace(&format!("sip:{};transport=tcp", far.1), &format!("sip:[{}];transport=tls", far.2))
                .replace(&format!("peers = [\"{}\"]", far.1), &format!("peers = [\"{}\"]", far.2));
            let tls = format!(
                "tls = {{ certificate = \"{host}.pem\", key = \"{host}.key\", ca = \"peers.pem\" }}\n"
            );
            text = text.replace("role = \"ibcf\"\n", &format!("role = \"ibcf\"\n{tls}"));
            let name = format!("subjectAltName=IP:{new}");
            let made = Command::new("openssl")
                .current_dir(lab.directory())
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
                .args(["-days", "2", "-subj", &format!("/CN={host}"), "-addext", &name])
                .args(["-keyout", &format!("{host}.key"), "-out", &format!("{host}.pem")])
                .output()
                .expect("openssl");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        assert!(!text.contains(old), "{host} still speaks IPv4 there:\n{text}");
        lab.file(&file, &text);
    }
    let pem = |host: &str| {
        std::fs::read_to_string(lab.directory().join(format!("{host}.pem"))).expect("a certificate")
    };
    lab.file("peers.pem", &format!("{}{}", pem("interconnect-a"), pem("interconnect-b")));

    let capture = lab.capture("interconnect-a", "peers");
    network::start(&mut lab);
    network::ue(&mut lab, "bob", &["receive", "--dir", "inbox"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    lab.file("note.txt", "over IPv6");
    let alice = network::ue(&mut lab, "alice", &["send", "sip:bob@b.example", "note.txt"]);
    let code = lab.process(alice).wait(PATIENCE);
    if code != Some(0) {
        lab.show();
    }
    assert_eq!(code, Some(0), "{}", lab.output("alice", "out"));
    assert!(lab.output("alice", "out").contains("\"sealed\""));
    assert_eq!(
        std::fs::read_to_string(lab.directory().join("inbox/note.txt")).expect("the note"),
        "over IPv6"
    );
    lab.end_captures();
    // Nothing of the signalling is readable between the operators.
    let octets = std::fs::read(&capture).expect("a capture");
    assert!(octets.len() > 2000, "something passed");
    for word in [&b"INVITE"[..], b"key-mgmt", b"bob@b.example"] {
        assert!(!octets.windows(word.len()).any(|w| w == word), "{}", String::from_utf8_lossy(word));
    }
}
