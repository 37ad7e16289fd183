//! A sealed message over every transport of SIP and both IP versions. Borders and gateways translate
//! between them; the sealed session does not notice.

use crate::lab::{Lab, tshark};
use crate::network::{self, PATIENCE, Shape};
use crate::sealed::let_go;

const ALL: &[&str] = &["subs-a", "core-a", "peers", "core-b", "subs-b", "keys"];
const NOTE: &str = "whatever carries it";

/// A file from alice to bob in a network of that shape; what passes at the two ends of operator
/// A is looked at.
fn goes_through(shape: &Shape) {
    let Some(mut lab) = Lab::new() else { return };
    network::build_as(&mut lab, shape);
    let places = [("border-a", "subs-a"), ("interconnect-a", "peers")];
    let captures = places.map(|(host, network)| (network, lab.capture(host, network)));
    network::start(&mut lab);
    network::ue(&mut lab, "bob", &["receive", "--dir", "inbox"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    lab.file("note.txt", NOTE);
    let alice = network::ue(&mut lab, "alice", &["send", "sip:bob@b.example", "note.txt"]);
    let code = lab.process(alice).wait(PATIENCE);
    if code != Some(0) {
        lab.show();
    }
    assert_eq!(code, Some(0), "{}", lab.output("alice", "out"));
    assert!(lab.output("alice", "out").contains("\"event\":\"sealed\""));
    assert_eq!(std::fs::read_to_string(lab.directory().join("inbox/note.txt")).expect("the note"), NOTE);
    let_go(&lab, PATIENCE);
    lab.end_captures();
    for (network, capture) in &captures {
        let of = |filter: &str| tshark(capture, filter, &["frame.number"], &[]).len();
        if shape.sip == Some("tls") {
            // Nothing of the signalling is readable.
            let octets = std::fs::read(capture).expect("a capture");
            for word in [&b"INVITE"[..], b"key-mgmt", b"bob@b.example"] {
                let found = octets.windows(word.len()).any(|w| w == word);
                assert!(!found, "{network}: {}", String::from_utf8_lossy(word));
            }
            assert!(of("tcp.port == 5061 && tls") > 4, "{network}");
        } else {
            let (sip, other) = if shape.sip == Some("udp") { ("udp", "tcp") } else { ("tcp", "udp") };
            assert!(of(&format!("sip && {sip}")) > 4, "{network}: SIP over {sip}");
            assert_eq!(of(&format!("sip && {other}")), 0, "{network}: SIP over {other}");
        }
        let (this, other) = if shape.v6.contains(network) { ("ipv6", "ip") } else { ("ip", "ipv6") };
        let port = "(tcp.port in {5060, 5061} || udp.port == 5060)";
        assert!(of(&format!("{this} && {port}")) > 4, "{network} speaks {this}");
        assert_eq!(of(&format!("{other} && {port}")), 0, "{network} does not speak {other}");
    }
}

#[test]
fn sip_over_udp() {
    goes_through(&Shape { sip: Some("udp"), v6: &[] });
}

#[test]
fn sip_over_tcp() {
    goes_through(&Shape { sip: Some("tcp"), v6: &[] });
}

#[test]
fn sip_over_tls() {
    goes_through(&Shape { sip: Some("tls"), v6: &[] });
}

#[test]
fn ipv6_with_sip_over_udp() {
    goes_through(&Shape { sip: Some("udp"), v6: ALL });
}

#[test]
fn ipv6_with_sip_over_tcp() {
    goes_through(&Shape { sip: Some("tcp"), v6: ALL });
}

#[test]
fn ipv6_with_sip_over_tls() {
    goes_through(&Shape { sip: Some("tls"), v6: ALL });
}

/// Every gateway has IPv6 on one side and IPv4 on the other.
#[test]
fn networks_of_either_ip_version() {
    goes_through(&Shape { sip: Some("tcp"), v6: &["subs-a", "peers", "subs-b"] });
}

/// And the other way round, with an interconnect over TLS.
#[test]
fn networks_of_the_other_ip_version() {
    goes_through(&Shape { sip: Some("tls"), v6: &["core-a", "core-b", "keys"] });
}
