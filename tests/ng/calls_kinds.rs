//! What docs/plan.md makes of each kind of line, asked for by Kamailio: sealed from end to end, TLS that ends
//! at the gateway on either side, MSRP whose paths are rewritten, BFCP. TLS is OpenSSL's own program.

use crate::calls::{BACK, THERE, chat, describe, msrp, path};
use crate::lab_kamailio::{ALICE, Agent, BOB, GATEWAY, Sdp, Shape, Stage, holds, payloads};
use serde_json::json;

/// A line with TLS.
fn sealed(agent: &Agent, bfcp: bool, setup: &str, fingerprint: &str) -> String {
    let port = if setup == "active" { 9 } else { 7000 };
    let of = match bfcp {
        false => format!(
            "m=message {port} TCP/TLS/MSRP *\r\na=accept-types:*\r\na=path:{}\r\na=msrp-cema\r\n",
            path(agent, "msrps", port)
        ),
        true => format!("m=application {port} TCP/TLS/BFCP *\r\na=floorctrl:c-s\r\na=connection:new\r\n"),
    };
    format!("{of}a=setup:{setup}\r\na=fingerprint:{fingerprint}\r\n")
}

/// Octets through two OpenSSL programs.
fn chat_sealed(stage: &mut Stage) {
    stage.say("bob", BACK);
    stage.hear_sealed("alice", BACK);
    stage.say("alice", THERE);
    stage.hear_sealed("bob", THERE);
}

/// TLS of the two ends passes; fingerprints are theirs, and nobody in between reads anything.
fn end_to_end(bfcp: bool) {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let wire = stage.lab.capture("sip", "public");
    let prints = (stage.certificate("alice"), stage.certificate("bob"));
    let offer = describe(&ALICE, &[sealed(&ALICE, bfcp, "active", &prints.0)]);
    let offered = stage.offer("alice", "bob", "bob", &offer);
    let answer = describe(&BOB, &[sealed(&BOB, bfcp, "passive", &prints.1)]);
    stage.listen("bob", Some("bob"));
    let answered = stage.answer("bob", "alice", &answer);
    for (sdp, print) in [(&offered, &prints.0), (&answered, &prints.1)] {
        sdp.at(0, GATEWAY);
        assert!(sdp.section(0)[0].contains(" TCP/TLS/"), "{}", sdp.0);
        assert_eq!(sdp.value(0, "a=fingerprint:"), Some(&**print));
    }
    stage.connect("alice", &answered.socket(0), Some("alice"));
    chat_sealed(&mut stage);
    // Each saw the certificate of the other one, not one of the gateway.
    let print = prints.1.trim_start_matches("SHA-256 ");
    stage.next_that("alice", "certificate", |seen| seen["fingerprint"] == print);
    assert!(stage.lab.output("bob", "out").contains("CN = alice.example"), "bob saw alice's");
    stage.hang_up("alice");
    stage.lab.end_captures();
    let octets = payloads(&wire);
    assert!(!octets.is_empty() && !holds(&octets, THERE) && !holds(&octets, BACK));
}

#[test]
fn msrp_is_sealed_from_end_to_end() {
    end_to_end(false);
}

#[test]
fn bfcp_is_sealed_from_end_to_end() {
    end_to_end(true);
}

/// Two interfaces on one realm: terminals, and another network.
const SIDES: (&str, &str) = (
    "[gateway.agw.ng.interface.public]\n",
    "[gateway.agw.ng.interface.terminals]\nrealm = \"public\"\n\
     [gateway.agw.ng.interface.trunk]\nrealm = \"public\"\naccess = false\n",
);

/// What a script adds to an offer.
macro_rules! asking {
    ($flags:literal) => {
        Shape {
            rtpengine: false,
            second: false,
            script: None,
            carnet: &[SIDES],
            kamailio: &[(
                "		set_rtpengine_set(\"1\");\n		if (!rtp",
                concat!(
                    "		if (is_request()) { $var(branch) = $var(branch) + \" ",
                    $flags,
                    "\"; }\n		set_rtpengine_set(\"1\");\n		if (!rtp"
                ),
            )],
        }
    };
}

/// The gateway's fingerprint, which is not one of theirs.
#[track_caller]
fn assert_ends_at_the_gateway(sdp: &Sdp, own: &str) -> String {
    let print = sdp.value(0, "a=fingerprint:").unwrap_or_else(|| panic!("no fingerprint in\n{}", sdp.0));
    assert!(!print.eq_ignore_ascii_case(own));
    print.split_once(' ').unwrap().1.to_owned()
}

/// A terminal asks for TLS to the edge: the other one has it in clear.
#[test]
fn tls_of_the_caller_ends_at_the_gateway() {
    let shape = asking!("direction=terminals direction=trunk");
    let Some(mut stage) = Stage::new(shape, &[ALICE, BOB]) else { return };
    let (at_alice, at_bob) = (stage.lab.capture("alice", "public"), stage.lab.capture("bob", "public"));
    let print = stage.certificate("alice");
    let asked = sealed(&ALICE, false, "active", &print) + "a=3ge2ae:requested\r\n";
    let offered = stage.offer("alice", "bob", "bob", &describe(&ALICE, &[asked]));
    offered.at(0, GATEWAY);
    assert!(offered.section(0)[0].contains(" TCP/MSRP "), "{}", offered.0);
    assert!(!offered.0.contains("fingerprint") && !offered.0.contains("3ge2ae"), "{}", offered.0);
    stage.listen("bob", None);
    let answered = stage.answer("bob", "alice", &describe(&BOB, &[msrp(&BOB, "passive", true)]));
    answered.at(0, GATEWAY);
    assert!(answered.section(0)[0].contains(" TCP/TLS/MSRP "), "{}", answered.0);
    let shown = assert_ends_at_the_gateway(&answered, &print);
    stage.connect("alice", &answered.socket(0), Some("alice"));
    stage.say("alice", THERE);
    stage.hear("bob", THERE);
    stage.say("bob", BACK);
    stage.hear_sealed("alice", BACK);
    stage.next_that("alice", "certificate", |seen| seen["fingerprint"] == *shown);
    stage.hang_up("bob");
    stage.lab.end_captures();
    let (alice, bob) = (payloads(&at_alice), payloads(&at_bob));
    assert!(holds(&bob, THERE) && holds(&bob, BACK) && !holds(&alice, THERE) && !holds(&alice, BACK));
}

/// The script knows that the callee has registered for TLS to the edge, and says so.
#[test]
fn tls_of_the_callee_ends_at_the_gateway() {
    let shape = asking!("direction=trunk direction=terminals answerer-e2ae");
    let Some(mut stage) = Stage::new(shape, &[ALICE, BOB]) else { return };
    let print = stage.certificate("bob");
    let offer = describe(&ALICE, &[msrp(&ALICE, "actpass", true)]);
    let offered = stage.offer("alice", "bob", "bob", &offer);
    offered.at(0, GATEWAY);
    assert!(offered.section(0)[0].contains(" TCP/TLS/MSRP "), "{}", offered.0);
    assert_eq!(offered.value(0, "a=3ge2ae:"), Some("applied"));
    let shown = assert_ends_at_the_gateway(&offered, &print);
    let answer = describe(&BOB, &[sealed(&BOB, false, "active", &print)]);
    let answered = stage.answer("bob", "alice", &answer);
    assert!(answered.section(0)[0].contains(" TCP/MSRP "), "{}", answered.0);
    assert_eq!(answered.value(0, "a=setup:"), Some("active"));
    stage.listen("alice", None);
    stage.connect("bob", &offered.socket(0), Some("bob"));
    stage.say("alice", THERE);
    stage.hear_sealed("bob", THERE);
    stage.say("bob", BACK);
    stage.hear("alice", BACK);
    stage.next_that("bob", "certificate", |seen| seen["fingerprint"] == *shown);
    stage.hang_up("alice");
}

/// Neither end knows RFC 6714: the paths that they see are the gateway's, in SDP and in MSRP, and each finds
/// its own in what it gets (RFC 4975 §7.3).
#[test]
fn paths_are_rewritten_where_they_must_be() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let offer = describe(&ALICE, &[msrp(&ALICE, "actpass", false)]);
    let offered = stage.offer("alice", "bob", "bob", &offer);
    let answer = describe(&BOB, &[msrp(&BOB, "active", false)]);
    let answered = stage.answer("bob", "alice", &answer);
    let (a, b) = (path(&ALICE, "msrp", 7000), path(&BOB, "msrp", 9));
    let seen = |sdp: &Sdp| sdp.value(0, "a=path:").unwrap().to_owned();
    for (sdp, real) in [(&offered, &a), (&answered, &b)] {
        let at = format!("msrp://{}/", sdp.at(0, GATEWAY).socket(0));
        assert!(seen(sdp).starts_with(&at) && seen(sdp) != *real, "{}", sdp.0);
    }
    let order = json!({"do": "listen", "port": 7000, "own": a, "peer": seen(&answered)});
    stage.tell("alice", &order);
    stage.next("alice", "listening");
    let order = json!({"do": "connect", "to": offered.socket(0), "own": b, "peer": seen(&offered)});
    stage.tell("bob", &order);
    for (from, to) in [("bob", "alice"), ("alice", "bob")] {
        stage.tell(from, &json!({"do": "message", "size": 50_000}));
        let (sent, got) = (stage.next(from, "sent"), stage.next(to, "message"));
        assert_eq!((&sent["sha256"], &sent["answered"]), (&got["sha256"], &json!(true)));
    }
    for host in ["alice", "bob"] {
        assert!(!stage.told(host, "misaddressed") && !stage.told(host, "malformed"));
    }
    stage.hang_up("bob");
}

#[test]
fn bfcp_in_clear() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let line = |setup: &str, port: u16| {
        format!(
            "m=application {port} TCP/BFCP *\r\na=floorctrl:c-s\r\na=setup:{setup}\r\na=connection:new\r\n"
        )
    };
    let offered = stage.offer("alice", "bob", "bob", &describe(&ALICE, &[line("passive", 7000)]));
    let answered = stage.answer("bob", "alice", &describe(&BOB, &[line("active", 9)]));
    offered.at(0, GATEWAY);
    answered.at(0, GATEWAY);
    stage.listen("alice", None);
    stage.connect("bob", &offered.socket(0), None);
    chat(&mut stage, "alice", "bob");
    stage.hang_up("alice");
}
