//! MSRP between ends that address it differently (TS 23.334 table 5.19.1-1): paths rewritten in SDP and in
//! what passes, without a message being held; and what excludes that. Both ends are strict: they take only
//! what is for their own path and from the path that they were told (RFC 4975 §7.3).

use super::call::{BOTH, clear, open, sealed, secured};
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

/// TLS of the terminal ends at the gateway, and its paths are rewritten between: `msrps` on one side,
/// `msrp` on the other.
#[test]
fn a_secured_terminal_meets_a_plain_end() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &BOTH);
    let fingerprint = stage.certificate("alice", "SHA-256");
    let offer = secured("alice", true, "active", Some(&fingerprint), true).replace("a=msrp-cema\r\n", "");
    let offered = stage.offer("alice", "server", &offer);
    let (server, answer) = end("server", "passive", 7000, false);
    let peer = offered.value("a=path:").unwrap().to_owned();
    assert!(peer.starts_with("msrp://10.1.0.2:") && peer.ends_with("/alice1;tcp"), "{peer}");
    stage.tell("server", &json!({"do": "listen", "port": 7000, "own": server, "peer": peer}));
    stage.next("server", "listening");
    let answered = stage.answer("server", "alice", &answer);
    let gateway = answered.value("a=path:").unwrap().to_owned();
    assert!(gateway.starts_with("msrps://198.51.100.2:") && gateway.ends_with("/server1;tcp"), "{gateway}");
    open(&mut stage, "alice", Some("alice"), Some(&answered.socket()));
    let own = format!("msrps://{}:9/alice1;tcp", address("alice"));
    let frame = format!(
        "MSRP a1a1 SEND\r\nTo-Path: {gateway}\r\nFrom-Path: {own}\r\nMessage-ID: 1\r\nByte-Range: 1-5/5\r\n\
         Content-Type: text/plain\r\n\r\nhello\r\n-------a1a1$\r\n"
    );
    stage.tell("alice", &json!({"do": "send", "text": frame}));
    let got = stage.next("server", "message");
    assert_eq!(got["size"], 5, "{got}");
    sealed(&mut stage, "alice", "MSRP a1a1 200 OK");
    // The other way: OpenSSL only shows it.
    stage.tell("server", &json!({"do": "message", "size": 7}));
    sealed(&mut stage, "alice", &format!("To-Path: {own}"));
    assert!(!stage.told("server", "misaddressed"), "{}", stage.lab.output("server", "out"));
    stage.hang_up("server");
}

/// RFC 6714 §4.2: whose answer comes from an end that does not follow it offers once more without, and is
/// then rewritten for.
#[test]
fn a_cema_end_falls_back() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &[]);
    let (server, offer) = end("server", "actpass", 7000, true);
    let (alice, answer) = end("alice", "active", 7000, false);
    let offered = stage.offer("server", "alice", &offer);
    offered.expect(&["a=msrp-cema"], &[]);
    let answered = stage.answer("alice", "server", &answer);
    answered.expect(&[], &["msrp-cema"]);
    assert_eq!(answered.value("a=path:"), Some(alice.as_str()), "nobody touches it yet");
    let again = end("server", "actpass", 7000, false).1.replace("o=- 1 1", "o=- 1 2");
    stage.tell("server", &json!({"do": "reoffer", "sdp": again}));
    let offered = Sdp(stage.next("alice", "offered")["sdp"].as_str().unwrap().to_owned());
    offered.expect(&[], &["msrp-cema"]);
    assert_eq!(authority(&offered), offered.socket(), "{}", offered.0);
    let answered = stage.answer("alice", "server", &answer.replace("o=- 1 1", "o=- 1 2"));
    let peer = answered.value("a=path:").unwrap();
    stage.tell("server", &json!({"do": "listen", "port": 7000, "own": server, "peer": peer}));
    stage.next("server", "listening");
    let peer = offered.value("a=path:").unwrap();
    stage.tell("alice", &json!({"do": "connect", "to": offered.socket(), "own": alice, "peer": peer}));
    for agent in ["alice", "server"] {
        stage.next(agent, "connected");
    }
    exchange(&mut stage);
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
