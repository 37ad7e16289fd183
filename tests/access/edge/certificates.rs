//! Certificates that are not the ones described, that come late, that are replaced; and what a border does
//! not take.

use super::call::{
    BACK, BOTH, THERE, assert_clean, assert_secured, clear, hears, open, says, sealed, secured, talk,
};
use super::stage::{PATIENCE, Stage, holds, payloads};
use serde_json::json;

/// Waits for the alert that OpenSSL was told, and for the end of the call on both sides; the gateway's
/// reason is in the border's log.
fn fails(stage: &mut Stage, alert: &str, reason: &str) {
    sealed(stage, "alice", alert);
    for agent in ["alice", "server"] {
        stage.next(agent, "ended");
    }
    stage.lab.wait_for("alg", "err", reason, PATIENCE);
    let log = stage.lab.output("alg", "err");
    let line = log.lines().find(|line| line.contains("tls-failed")).unwrap_or_else(|| panic!("{log}"));
    let side = if stage.told("server", "offered") { "side=caller" } else { "side=callee" };
    let held_to = stage.certificate("alice", "SHA-256");
    for part in [&format!("reason={reason}"), side, "call_id=", &held_to] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    stage.idle();
    assert!(!stage.told("server", "data"), "nothing came through");
}

/// The terminal is TLS client and shows another certificate than it described.
#[test]
fn a_client_with_another_certificate_is_told_so() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &BOTH);
    let fingerprint = stage.certificate("alice", "SHA-256");
    stage.certificate("mallory", "SHA-256");
    stage.offer("alice", "server", &secured("alice", true, "active", Some(&fingerprint), true));
    open(&mut stage, "server", None, None);
    let answer = stage.answer("server", "alice", &clear("server", true, "passive"));
    open(&mut stage, "alice", Some("mallory"), Some(&answer.socket()));
    says(&mut stage, "alice", THERE);
    fails(&mut stage, "alert bad certificate", "fingerprint_mismatch");
}

/// The terminal is TLS server and shows another certificate.
#[test]
fn a_server_with_another_certificate_is_told_so() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &BOTH);
    let fingerprint = stage.certificate("alice", "SHA-256");
    stage.certificate("mallory", "SHA-256");
    let offer = stage.offer("server", "alice", &clear("server", true, "active"));
    assert_secured(&offer, true);
    open(&mut stage, "alice", Some("mallory"), None);
    let sdp = secured("alice", true, "passive", Some(&fingerprint), false);
    let answer = stage.answer("alice", "server", &sdp);
    open(&mut stage, "server", None, Some(&answer.socket()));
    says(&mut stage, "server", BACK);
    fails(&mut stage, "alert bad certificate", "fingerprint_mismatch");
}

/// RFC 8122 §6: both ends show one.
#[test]
fn a_client_without_a_certificate_is_told_so() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &BOTH);
    let fingerprint = stage.certificate("alice", "SHA-256");
    stage.offer("alice", "server", &secured("alice", true, "active", Some(&fingerprint), true));
    open(&mut stage, "server", None, None);
    let answer = stage.answer("server", "alice", &clear("server", true, "passive"));
    stage.tell("alice", &json!({"do": "tls-connect", "to": answer.socket()}));
    says(&mut stage, "alice", THERE);
    fails(&mut stage, "alert", "no_certificate");
}

/// The terminal connects as soon as it knows where, and answers later: what it says is held until its
/// fingerprint is known, and then comes through whole.
#[test]
fn a_connection_before_the_answer_is_held() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &BOTH);
    let fingerprint = stage.certificate("alice", "SHA-256");
    let offer = stage.offer("server", "alice", &clear("server", true, "actpass"));
    open(&mut stage, "alice", Some("alice"), Some(&offer.socket()));
    says(&mut stage, "alice", THERE);
    // Its kernel has the connection, whether or not the gateway has looked at it yet.
    let socket = offer.socket();
    stage.lab.until(PATIENCE, "alice is connected", |lab| {
        let output = lab.command("alice", "ss").args(["-Htn", "state", "established"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains(&socket)
    });
    open(&mut stage, "server", None, None);
    let answer =
        stage.answer("alice", "server", &secured("alice", true, "active", Some(&fingerprint), false));
    assert_clean(&answer, true);
    hears(&mut stage, "server", THERE);
    says(&mut stage, "server", BACK);
    sealed(&mut stage, "alice", BACK);
    stage.hang_up("server");
}

/// RFC 8122 §5: MD5 binds nothing, nor does SHA-1 any more.
#[test]
fn weak_hashes_alone_are_refused_and_beside_a_good_one_ignored() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &BOTH);
    for weak in ["MD5", "SHA-1"] {
        let fingerprint = stage.certificate("alice", weak);
        let sdp = secured("alice", true, "active", Some(&fingerprint), true);
        let (status, warning) = stage.refused("alice", "server", &sdp);
        assert!(status == 488 && warning.contains("fingerprint"), "{weak}: {status} {warning}");
    }
    let (status, warning) = stage.refused("alice", "server", &secured("alice", true, "active", None, true));
    assert!(status == 488 && warning.contains("fingerprint"), "{status} {warning}");
    let (weak, good) = (stage.certificate("alice", "SHA-1"), stage.certificate("alice", "SHA-512"));
    let both = format!("{weak}\r\na=fingerprint:{good}");
    stage.offer("alice", "server", &secured("alice", true, "active", Some(&both), true));
    open(&mut stage, "server", None, None);
    let answer = stage.answer("server", "alice", &clear("server", true, "passive"));
    open(&mut stage, "alice", Some("alice"), Some(&answer.socket()));
    talk(&mut stage, "alice", "server");
    stage.hang_up("server");
}

/// What only an access may ask for does not come from the core.
#[test]
fn the_core_cannot_ask_for_security_of_an_access() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &BOTH);
    let fingerprint = stage.certificate("server", "SHA-256");
    let sdp = secured("server", true, "actpass", Some(&fingerprint), true);
    let (status, warning) = stage.refused("server", "alice", &sdp);
    assert!(status == 488 && warning.contains("access edge"), "{status} {warning}");
}

/// Between two terminals of one border each has TLS of its own, or none.
#[test]
fn each_access_has_its_own_security() {
    for other in [true, false] {
        let Some(mut stage) = Stage::new() else { return };
        stage.register("alice", &BOTH);
        assert_eq!(stage.register("bob", if other { &BOTH } else { &[] }).is_empty(), !other);
        let (hers, his) = (stage.certificate("alice", "SHA-256"), stage.certificate("bob", "SHA-256"));
        let offer = stage.offer("alice", "bob", &secured("alice", true, "active", Some(&hers), true));
        let answer = match other {
            true => {
                let shown = assert_secured(&offer, true);
                assert!(!hers.contains(&shown), "the gateway's own");
                offer.expect(&["a=3ge2ae:applied"], &[]);
                open(&mut stage, "bob", Some("bob"), None);
                stage.answer("bob", "alice", &secured("bob", true, "passive", Some(&his), false))
            }
            false => {
                assert_eq!(offer.media()[2], "TCP/MSRP");
                offer.expect(&[], &["fingerprint", "3ge2ae"]);
                open(&mut stage, "bob", None, None);
                stage.answer("bob", "alice", &clear("bob", true, "passive"))
            }
        };
        let shown = assert_secured(&answer, true);
        assert!(!his.contains(&shown), "the gateway's own");
        open(&mut stage, "alice", Some("alice"), Some(&answer.socket()));
        says(&mut stage, "alice", THERE);
        if other {
            sealed(&mut stage, "bob", THERE);
        } else {
            hears(&mut stage, "bob", THERE);
        }
        says(&mut stage, "bob", BACK);
        sealed(&mut stage, "alice", BACK);
        stage.hang_up("bob");
    }
}

/// A call that is sealed from end to end stays so for a terminal that has registered for more.
#[test]
fn a_sealed_call_passes_untouched() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &BOTH);
    let (hers, its) = (stage.certificate("alice", "SHA-256"), stage.certificate("server", "SHA-256"));
    let (access, core) = (stage.capture("agw", "access"), stage.capture("agw", "core"));
    let offer = stage.offer("server", "alice", &secured("server", true, "actpass", Some(&its), false));
    offer.expect(&[&format!("a=fingerprint:{its}")], &["3ge2ae"]);
    assert_eq!(offer.media()[2], "TCP/TLS/MSRP");
    open(&mut stage, "server", Some("server"), None);
    let answer = stage.answer("alice", "server", &secured("alice", true, "active", Some(&hers), false));
    answer.expect(&[&format!("a=fingerprint:{hers}"), "a=setup:active"], &["3ge2ae"]);
    open(&mut stage, "alice", Some("alice"), Some(&offer.socket()));
    says(&mut stage, "alice", THERE);
    sealed(&mut stage, "server", THERE);
    says(&mut stage, "server", BACK);
    sealed(&mut stage, "alice", BACK);
    let seen = stage.lab.output("alice", "out");
    assert!(seen.contains(its.trim_start_matches("SHA-256 ")), "the server's own certificate");
    stage.hang_up("server");
    stage.lab.end_captures();
    for capture in [payloads(&access), payloads(&core)] {
        assert!(!capture.is_empty() && !holds(&capture, THERE) && !holds(&capture, BACK));
    }
}

/// The operator puts another certificate in place: calls that stand go on with the old one, new ones get
/// the new one.
#[test]
fn a_certificate_is_replaced_while_calls_stand() {
    let realm =
        ("v4 = \"198.51.100.2\"", "v4 = \"198.51.100.2\"\ncertificate = \"edge.pem\"\nkey = \"edge.key\"");
    // The files must be there before the gateway is.
    let Some(mut stage) = Stage::prepared(&[], &[realm], |stage| drop(stage.certificate("edge", "SHA-256")))
    else {
        return;
    };
    stage.register("alice", &BOTH);
    let fingerprint = stage.certificate("alice", "SHA-256");
    let old = stage.certificate("edge", "SHA-256");
    stage.offer("alice", "server", &secured("alice", true, "active", Some(&fingerprint), true));
    open(&mut stage, "server", None, None);
    let answer = stage.answer("server", "alice", &clear("server", true, "passive"));
    assert!(old.contains(&assert_secured(&answer, true)), "the operator's");
    stage.certificate("next", "SHA-256");
    for end in ["key", "pem"] {
        let directory = stage.lab.directory();
        std::fs::rename(directory.join(format!("next.{end}")), directory.join(format!("edge.{end}")))
            .unwrap();
    }
    let new = stage.certificate("edge", "SHA-256");
    assert_ne!(old, new);
    // The first call was reserved before and has not connected yet.
    open(&mut stage, "alice", Some("alice"), Some(&answer.socket()));
    talk(&mut stage, "alice", "server");
    assert!(stage.lab.output("alice", "out").contains(old.trim_start_matches("SHA-256 ")), "the old one");
    // Another terminal sees the new one sooner or later.
    stage.register("bob", &BOTH);
    let his = stage.certificate("bob", "SHA-256");
    let until = std::time::Instant::now() + PATIENCE * 3;
    loop {
        stage.offer("bob", "server", &secured("bob", true, "active", Some(&his), true));
        let answer = stage.answer("server", "bob", &clear("server", true, "passive"));
        let shown = assert_secured(&answer, true);
        stage.tell("bob", &json!({"do": "bye"}));
        stage.next("bob", "bye");
        if new.contains(&shown) {
            break;
        }
        assert!(std::time::Instant::now() < until, "the new certificate is never shown");
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
    talk(&mut stage, "alice", "server");
}

/// Nothing but TLS begins where TLS ends: what a scanner would say is not answered, and told.
#[test]
fn clear_text_where_tls_ends_is_no_call() {
    let Some(mut stage) = Stage::new() else { return };
    stage.register("alice", &BOTH);
    let fingerprint = stage.certificate("alice", "SHA-256");
    stage.offer("alice", "server", &secured("alice", true, "active", Some(&fingerprint), true));
    open(&mut stage, "server", None, None);
    let answer = stage.answer("server", "alice", &clear("server", true, "passive"));
    open(&mut stage, "alice", None, Some(&answer.socket()));
    says(&mut stage, "alice", "MSRP in clear");
    stage.next("alice", "closed");
    assert!(!stage.told("server", "data"));
}
