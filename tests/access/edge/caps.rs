//! Caps of a network, as callers meet them.

use super::call::clear;
use super::stage::{PATIENCE, Stage};
use serde_json::json;

/// One user has one call and no other; an emergency call gets through all the same.
#[test]
fn a_cap_holds_back_all_but_emergency_calls() {
    let caps = ("subscribers = true", "subscribers = true\nmax-per-user = 1\nmax-sessions = 1");
    let sos = (
        "[[border.alg.route]]",
        "[[border.alg.route]]\ndomain = \"urn:service:sos\"\nnetwork = \"core\"\n\
               next-hop = \"sip:10.1.0.9:5060\"\n\n[[border.alg.route]]",
    );
    let Some(mut stage) = Stage::with(&[caps, sos], &[]) else { return };
    stage.register("alice", &[]);
    stage.register("bob", &[]);
    let offer = clear("alice", true, "active");
    stage.offer("alice", "server", &offer);
    stage.answer("server", "alice", &clear("server", true, "passive"));
    for (from, to, status) in [("bob", "server", 503), ("server", "bob", 503)] {
        let (got, _) = stage.refused(from, to, &clear(from, true, "active"));
        assert_eq!(got, status, "{from} calls {to}");
    }
    stage.lab.wait_for("alg", "err", "cap-reached", PATIENCE);
    stage.tell("bob", &json!({"do": "call", "uri": "urn:service:sos", "sdp": clear("bob", true, "active")}));
    stage.next("server", "offered");
    stage.answer("server", "bob", &clear("server", true, "passive"));
    stage.tell("bob", &json!({"do": "bye"}));
    stage.next("bob", "bye");
    stage.hang_up("alice");
    // Room again.
    stage.offer("bob", "server", &clear("bob", true, "active"));
    stage.answer("server", "bob", &clear("server", true, "passive"));
    stage.hang_up("bob");
}
