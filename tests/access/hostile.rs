//! What a hostile network does, and that sessions go on meanwhile.
//!
//! An operator with a border and a gateway, two subscribers (`people.py`) and somebody who means harm
//! (`harm.py`), each on a host of its own. The scripts share no code with Carnet. In each test the harm is
//! under way before the subscribers call, and until after they have hung up; all of their calls are to be set
//! up, to carry what is said, and to end.

mod quiet;
mod simultaneous;
mod stage;
mod wire;

use stage::{BORDER, GATEWAY, MALLORY, PORTS, Realm, Stage};

/// Calls meanwhile, and so many at once.
const CALLS: usize = 40;
const AT_ONCE: usize = 4;

/// All calls succeed while somebody does that to the gateway, which turns some of it away, and says why.
fn meanwhile(realm: Realm, kind: &str, why: Option<&str>) {
    let Some(mut stage) = Stage::new(realm) else { return };
    let harm = stage.harm(&[kind, GATEWAY, PORTS]);
    let done = stage.people(CALLS, AT_ONCE);
    assert_eq!(done, CALLS, "{}", stage.lab.output("people", "out"));
    stage.still_going(harm);
    if let Some(why) = why {
        stage.turned_away(why);
    }
    stage.stands();
}

#[test]
fn a_syn_flood_at_all_pinholes() {
    meanwhile(Realm::default(), "syn", None);
}

#[test]
fn connections_that_are_reset_as_soon_as_they_stand() {
    meanwhile(Realm::default(), "accept", None);
}

#[test]
fn connections_that_are_held_and_say_nothing() {
    meanwhile(Realm::default(), "hold", Some("outdone"));
}

#[test]
fn handshakes_that_come_octet_by_octet() {
    meanwhile(
        Realm { gateway: "tls-only = true\nhandshake = 2", ..Realm::default() },
        "slow",
        Some("outdone"),
    );
}

#[test]
fn requests_of_http_at_all_pinholes() {
    meanwhile(Realm { gateway: "tls-only = true", ..Realm::default() }, "http", Some("not_tls"));
}

#[test]
fn a_scan_of_all_ports() {
    meanwhile(Realm::default(), "scan", None);
}

#[test]
fn handshakes_of_openssl_at_all_pinholes() {
    // He speaks TLS as well as the subscribers do: only where he comes from tells him from them.
    meanwhile(Realm { gateway: "tls-only = true", border: "source-filter = true" }, "tls", Some("filtered"));
}

#[test]
fn a_proxy_that_takes_pinholes_for_its_servers() {
    // It looks after each port now and then: whether it finds one of a call is chance.
    let realm = Realm { gateway: "tls-only = true", border: "source-filter = true" };
    meanwhile(realm, "haproxy", None);
}

/// All calls succeed while somebody floods the border.
fn meanwhile_at_the_border(realm: Realm, kind: &str) {
    let Some(mut stage) = Stage::new(realm) else { return };
    let harm = stage.harm(&[kind, BORDER, MALLORY]);
    let done = stage.people(CALLS, AT_ONCE);
    assert_eq!(done, CALLS, "{}", stage.lab.output("people", "out"));
    stage.still_going(harm);
    stage.stands();
}

#[test]
fn calls_of_one_subscriber_without_end() {
    meanwhile_at_the_border(Realm { border: "max-per-user = 8", ..Realm::default() }, "calls");
}

#[test]
fn calls_of_a_stranger_without_end() {
    meanwhile_at_the_border(Realm::default(), "invite");
}
