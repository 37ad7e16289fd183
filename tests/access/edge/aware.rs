//! MSRP between ends that address it differently (TS 23.334 table 5.19.1-1): paths rewritten in SDP and in
//! what passes, without a message being held; and what excludes that. Both ends are strict: they take only
//! what is for their own path and from the path that they were told (RFC 4975 §7.3).

use super::call::{clear, secured};
use super::stage::{Sdp, Stage, address, sdp};
use serde_json::{Value, json};

/// A description of an MSRP end. `cema` says so.
fn end(agent: &str, setup: &str, port: u16, cema: bool) -> (String, String) {
    let path = format!("msrp://{}:{port}/{agent}1;tcp", address(agent));
    let (with_path, with_setup) = (format!("path:{path}"), format!("setup:{setup}"));
    let mut lines = vec!["accept-types:*", with_path.as_str(), with_setup.as_str()];
    lines.extend(cema.then_some("msrp-cema"));
    (path.clone(), sdp(agent, &format!("message {port} TCP/MSRP *"), &lines))
}

/// The host and port of the path in a description.
fn authority(sdp: &Sdp) -> String {
    let path = sdp.value("a=path:").unwrap();
    path.strip_prefix("msrp://").unwrap().split('/').next().unwrap().to_owned()
}

/// A call between the server and alice; what each of them got.
struct Ends {
    offered: Sdp,
    answered: Sdp,
    paths: (String, String),
}

fn call(stage: &mut Stage, cema: (bool, bool)) -> Ends {
    let (server, offer) = end("server", "actpass", 7000, cema.0);
    let (alice, answer) = end("alice", "active", 7000, cema.1);
    let offered = stage.offer("server", "alice", &offer);
    let listen = |peer: &str| json!({"do": "listen", "port": 7000, "own": server, "peer": peer});
    // Who offered waits; by whom it will be called the answer says.
    let answered = stage.answer("alice", "server", &answer);
    stage.tell("server", &listen(answered.value("a=path:").unwrap()));
    stage.next("server", "listening");
    let peer = offered.value("a=path:").unwrap();
    stage.tell("alice", &json!({"do": "connect", "to": offered.socket(), "own": alice, "peer": peer}));
    for agent in ["alice", "server"] {
        stage.next(agent, "connected");
    }
    Ends { offered, answered, paths: (server, alice) }
}

/// Messages from a few octets to some megabytes both ways, in chunks; every chunk is answered, and what
/// arrives is what was sent.
fn exchange(stage: &mut Stage) {
    for (size, chunk) in [(11, 2048), (300_000, 2048), (3_000_000, 65_536)] {
        for from in ["alice", "server"] {
            stage.tell(from, &json!({"do": "message", "size": size, "chunk": chunk}));
        }
        for (from, to) in [("alice", "server"), ("server", "alice")] {
            let sent = stage.next(from, "sent");
            let got = stage.next_that(to, "message", |seen: &Value| seen["size"] == size);
            assert_eq!(sent["answered"], true, "{sent}");
            assert_eq!(sent["sha256"], got["sha256"], "{sent} {got}");
        }
    }
    for agent in ["alice", "server"] {
        for event in ["misaddressed", "malformed", "msrp-refused"] {
            assert!(!stage.told(agent, event), "{}", stage.lab.output(agent, "out"));
        }
    }
}

/// The gateway stands in both paths, with the far end's session.
fn assert_rewritten(ends: &Ends) {
    let (server, alice) = &ends.paths;
    assert_eq!(authority(&ends.offered), ends.offered.socket(), "{}", ends.offered.0);
    assert_eq!(authority(&ends.answered), ends.answered.socket(), "{}", ends.answered.0);
    let session = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    assert_eq!(session(ends.offered.value("a=path:").unwrap()), session(server));
    assert_eq!(session(ends.answered.value("a=path:").unwrap()), session(alice));
}

#[test]
fn two_plain_ends_meet_through_the_gateway() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &[]);
    let ends = call(&mut stage, (false, false));
    assert_rewritten(&ends);
    exchange(&mut stage);
    stage.hang_up("server");
}

/// An offer with `a=msrp-cema` into a network that knows nothing of it.
#[test]
fn a_cema_end_meets_a_plain_one() {
    let plain = ("subscribers = true", "subscribers = true\nmsrp = \"plain\"");
    let Some(mut stage) = Stage::with(&[plain], &[]) else { return };
    stage.register("alice", &[]);
    let ends = call(&mut stage, (true, false));
    assert_rewritten(&ends);
    ends.offered.expect(&[], &["msrp-cema"]);
    exchange(&mut stage);
    stage.hang_up("server");
}

/// Both ends connect to `c=` and port, and the paths stay theirs.
#[test]
fn two_cema_ends_are_left_alone() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &[]);
    let ends = call(&mut stage, (true, true));
    assert_eq!(ends.offered.value("a=path:"), Some(ends.paths.0.as_str()));
    assert_eq!(ends.answered.value("a=path:"), Some(ends.paths.1.as_str()));
    ends.offered.expect(&["a=msrp-cema"], &[]);
    exchange(&mut stage);
    stage.hang_up("server");
}

/// Where sessions are matched by the identifier alone, addresses change in SDP, and nothing in MSRP.
#[test]
fn a_sessmatch_network_gets_new_addresses_only() {
    let sessmatch = "listen = [\"udp:198.51.100.1:5060\"]\nmsrp = \"sessmatch\"";
    let core = "listen = [\"udp:10.1.0.1:5060\"]\nmsrp = \"sessmatch\"";
    let changes =
        [("listen = [\"udp:198.51.100.1:5060\"]", sessmatch), ("listen = [\"udp:10.1.0.1:5060\"]", core)];
    let Some(mut stage) = Stage::with(&changes, &[]) else { return };
    stage.register("alice", &[]);
    let (server, offer) = end("server", "actpass", 7000, false);
    let (alice, answer) = end("alice", "active", 7000, false);
    let offered = stage.offer("server", "alice", &offer);
    let answered = stage.answer("alice", "server", &answer);
    let ends = Ends { offered, answered, paths: (server, alice) };
    assert_rewritten(&ends);
    let log = stage.lab.output("alg", "err");
    assert!(!log.contains("): aware over") && log.contains("): plain over"), "{log}");
    // They compare identifiers; octets pass as they are.
    stage.tell("server", &json!({"do": "listen", "port": 7000}));
    stage.next("server", "listening");
    stage.tell("alice", &json!({"do": "connect", "to": ends.offered.socket()}));
    let (own, peer) = (&ends.paths.1, ends.offered.value("a=path:").unwrap());
    let frame = format!("MSRP a1 SEND\r\nTo-Path: {peer}\r\nFrom-Path: {own}\r\n-------a1$\r\n");
    stage.tell("alice", &json!({"do": "send", "text": frame}));
    let got = stage.next("server", "data");
    assert_eq!(got["text"], frame);
    stage.hang_up("server");
}

/// Rewriting and end-to-end TLS exclude each other: the refusal says so, and nothing is made less secure.
#[test]
fn rewriting_excludes_tls_from_end_to_end() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &[]);
    let fingerprint = stage.certificate("server", "SHA-256");
    let sdp = secured("server", true, "actpass", Some(&fingerprint), false);
    let (status, warning) = stage.refused("server", "alice", &sdp.replace("a=msrp-cema\r\n", ""));
    assert!(status == 488 && warning.contains("msrp-cema"), "{status} {warning}");
    assert!(!stage.told("alice", "offered"));
}

/// With the switch off an end that would need it is refused.
#[test]
fn an_operator_may_do_without_rewriting() {
    let off = ("control = {", "policy = { aware = false }\ncontrol = {");
    let Some(mut stage) = Stage::with(&[off], &[]) else { return };
    stage.register("alice", &[]);
    let sdp = clear("server", true, "actpass");
    let (status, warning) = stage.refused("server", "alice", &sdp.replace("a=msrp-cema\r\n", ""));
    assert!(status == 488 && warning.contains("paths rewritten"), "{status} {warning}");
}
