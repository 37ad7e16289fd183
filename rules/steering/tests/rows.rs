//! The rows of the plan, as a SIP server meets them; and what a request says of the two ends.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_gateway::media::{Gate, Role};
use carnet_ng::{Request, Value};
use carnet_plan::{Addressing, Family};
use common::*;

fn between(request: Request, from: &str, to: &str) -> Request {
    Request { more: Vec::new(), ..request }.with("direction", Value::texts([from, to]))
}

fn flags(request: Request, flags: &[&str]) -> Request {
    request.with("flags", Value::texts(flags.iter().copied()))
}

/// What was decided of the line.
fn decision(reply: &Value) -> String {
    let Some(Value::List(lines)) = reply.get("carnet") else { panic!("{reply:?}") };
    lines.last().unwrap().text_of("decision").unwrap().to_owned()
}

fn text(reply: &Value) -> String {
    reply.text_of("sdp").unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

#[test]
fn tls_from_end_to_end_passes_through() {
    let mut rig = Rig::new();
    let sdp = tls(&msrp("192.0.2.1", 2855, "actpass"));
    let reply = rig.ask(offer("c1", "a", &sdp));
    assert_eq!(decision(&reply), "e2e");
    let seen = text(&reply);
    assert!(seen.contains(THEIRS) && seen.contains("a=path:msrps://192.0.2.1:2855/"), "{seen}");
    rig.sdp(answer("c1", "a", "b", &tls(&msrp("198.51.100.9", 2000, "active"))));
    assert!(rig.holes.values().all(|hole| !hole.tls && hole.settings.edge.is_none()));
    let (access, core) = (&rig.hole("access").settings, &rig.hole("core").settings);
    assert_eq!((access.role, core.role), (Role::Active, Role::Passive));
    assert_eq!(access.remote.unwrap().to_string(), "192.0.2.1:2855");
}

#[test]
fn tls_of_the_offerer_ends_at_the_gateway() {
    let mut rig = Rig::new();
    let sdp = format!("{}a=3ge2ae:requested\r\n", tls(&msrp("192.0.2.1", 2855, "actpass")));
    let reply = rig.ask(offer("c1", "a", &sdp));
    assert_eq!(decision(&reply), "e2ae");
    let seen = text(&reply);
    assert!(
        seen.contains(" TCP/MSRP ") && !seen.contains("fingerprint") && !seen.contains("3ge2ae"),
        "{seen}"
    );
    let seen = rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
    assert!(seen.contains(" TCP/TLS/MSRP ") && seen.contains(OURS), "{seen}");
    assert!(rig.hole("access").tls && !rig.hole("core").tls);
    // From a network without terminals it cannot be asked for, and a script may forbid it.
    let why = rig.error(between(offer("c2", "a", &sdp), "core", "access"));
    assert!(why.contains("access edge"), "{why}");
    let why = rig.error(flags(offer("c3", "a", &sdp), &["offerer-no-e2ae"]));
    assert!(why.contains("access edge"), "{why}");
}

#[test]
fn tls_of_the_answerer_ends_at_the_gateway() {
    let mut rig = Rig::new();
    let sdp = msrp("192.0.2.1", 2855, "actpass");
    let ask = |call| flags(between(offer(call, "a", &sdp), "core", "access"), &["answerer-e2ae"]);
    let reply = rig.ask(ask("c1"));
    assert_eq!((decision(&reply).as_str(), reply.text_of("warning")), ("e2ae", None));
    let seen = text(&reply);
    assert!(
        seen.contains("TCP/TLS/MSRP") && seen.contains(OURS) && seen.contains("a=3ge2ae:applied"),
        "{seen}"
    );
    let back = tls(&msrp("198.51.100.9", 2000, "active"));
    let seen = rig.sdp(answer("c1", "a", "b", &back));
    assert!(seen.contains(" TCP/MSRP ") && !seen.contains("fingerprint"), "{seen}");
    // It need not be said again in later offers of either side.
    let reply = rig.ask(reoffer("c1", "b", "a", &tls(&msrp("198.51.100.9", 2000, "actpass"))));
    assert_eq!(decision(&reply), "e2ae", "{reply:?}");
    assert_eq!(rig.gateway.contexts(), 1);
    // Where no TLS ends it is said that it does not.
    let reply = rig.ask(flags(between(offer("c2", "a", &sdp), "access", "core"), &["answerer-e2ae"]));
    assert_eq!(decision(&reply), "plain");
    assert!(reply.text_of("warning").unwrap().contains("answerer-e2ae"), "{reply:?}");
}

#[test]
fn tls_ends_at_the_gateway_on_both_sides() {
    let mut rig = Rig::new();
    let sdp = format!("{}a=3ge2ae:requested\r\n", tls(&msrp("192.0.2.1", 2855, "actpass")));
    let reply = rig.ask(flags(between(offer("c1", "a", &sdp), "access", "access2"), &["answerer-e2ae"]));
    assert_eq!(decision(&reply), "e2ae");
    let seen = text(&reply);
    assert!(seen.contains(OURS) && !seen.contains(THEIRS), "{seen}");
    let seen = rig.sdp(answer("c1", "a", "b", &tls(&msrp("198.51.100.9", 2000, "passive"))));
    assert!(seen.contains(OURS) && !seen.contains(THEIRS), "{seen}");
    assert!(rig.holes.values().all(|hole| hole.tls));
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn paths_are_rewritten_where_the_ends_could_not_meet() {
    let mut rig = Rig::new();
    let plain = msrp("192.0.2.1", 2855, "actpass").replace("a=msrp-cema\r\n", "");
    let reply = rig.ask(offer("c1", "a", &plain));
    assert_eq!(decision(&reply), "aware");
    let core = rig.hole("core").local;
    assert!(text(&reply).contains(&format!("a=path:msrp://{core}/kjhd37s2s20w2a;tcp")), "{reply:?}");
    let cema = msrp("192.0.2.1", 2855, "actpass");
    for (flag, decided) in [("answerer-msrp=plain", "aware"), ("answerer-msrp=cema", "plain")] {
        let reply = rig.ask(flags(offer(flag, "a", &cema), &[flag]));
        assert_eq!(decision(&reply), decided, "{flag}");
    }
    let mut rig = Rig::with(|config| config.interfaces[1].msrp = Addressing::Plain);
    assert_eq!(decision(&rig.ask(offer("c1", "a", &cema))), "aware", "of the configuration");
    let mut rig = Rig::with(|config| config.policy.aware = false);
    let reply = rig.ask(offer("c1", "a", &plain));
    assert_eq!(reply.get("sip-code"), Some(&Value::Integer(488)), "{reply:?}");
    rig.assert_empty();
}

#[test]
fn who_is_behind_a_nat_connects() {
    let here = msrp("10.0.0.1", 2855, "passive");
    let active = msrp("192.0.2.1", 2855, "active");
    // An answerer behind a NAT is not left to wait.
    let mut rig = Rig::new();
    let seen = rig.sdp(flags(offer("c1", "a", &active), &["answerer-nat"]));
    assert!(seen.contains("a=setup:actpass"), "{seen}");
    rig.sdp(answer("c1", "a", "b", &msrp("10.0.0.9", 9, "active")));
    let (access, core) = (rig.hole("access").settings.clone(), rig.hole("core").settings.clone());
    assert_eq!((access.role, core.role), (Role::Passive, Role::Passive), "the gateway waits for both");
    assert_eq!(core.gate, Gate::SendReceive);
    // Its source address is taken where it says so, and only if it is not where it says.
    let from = |request: Request, flag: &str| {
        let request = request.with("received-from", Value::texts(["IP4", "203.0.113.77"]));
        flags(request, &[flag, "strict-source"])
    };
    let sdp = msrp("10.0.0.1", 2855, "actpass");
    rig.sdp(from(offer("c2", "a", &sdp), "SIP-source-address"));
    rig.ask(delete("c1", "a"));
    assert_eq!(rig.hole("access").settings.role, Role::Passive);
    assert_eq!(
        rig.hole("access").settings.filter.network.map(|(ip, _)| ip.to_string()),
        Some("203.0.113.77".into())
    );
    rig.ask(delete("c2", "a"));
    rig.sdp(from(offer("c3", "a", &msrp("203.0.113.77", 2855, "actpass")), "SIP-source-address"));
    assert_eq!(rig.hole("access").settings.role, Role::Undecided, "it can be connected to");
    rig.ask(delete("c3", "a"));
    rig.sdp(from(offer("c4", "a", &sdp), "trust-address"));
    assert_eq!(rig.hole("access").settings.role, Role::Undecided, "it is believed");
    rig.ask(delete("c4", "a"));
    // All of an interface are, if nobody says otherwise.
    let mut rig = Rig::with(|config| config.interfaces[0].behind_nat = true);
    rig.sdp(offer("c5", "a", &sdp));
    assert_eq!(rig.hole("access").settings.role, Role::Passive);
    rig.ask(delete("c5", "a"));
    rig.sdp(flags(offer("c6", "a", &sdp), &["offerer-no-nat"]));
    assert_eq!(rig.hole("access").settings.role, Role::Undecided);
    let why = rig.error(flags(offer("c7", "a", &here), &["SIP-source-address"]));
    assert!(why.contains("received-from"), "{why}");
}

#[test]
fn bfcp_is_carried_too() {
    let mut rig = Rig::new();
    let bfcp = |setup: &str| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=application 5000 TCP/BFCP *\r\na=setup:{setup}\r\na=floorctrl:c-s\r\n"
        )
    };
    let reply = rig.ask(offer("c1", "a", &bfcp("actpass")));
    assert_eq!(decision(&reply), "plain");
    assert_eq!(address(&text(&reply), 0), rig.hole("core").local);
    rig.sdp(answer("c1", "a", "b", &bfcp("active")));
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn addresses_are_of_the_family_that_is_asked_for() {
    let mut rig = Rig::new();
    let sdp = msrp("192.0.2.1", 2855, "actpass");
    let six = offer("c1", "a", &sdp).with("address family", Value::text("IP6"));
    assert!(rig.sdp(six).contains("IN IP6 2001:db8:1::10"));
    let why = rig
        .error(between(offer("c2", "a", &sdp), "core", "access").with("address-family", Value::text("IP6")));
    assert!(why.contains("\"access\" has no IP6"), "{why}");
    // The offerer's is what it is.
    let back = answer("c1", "a", "b", &msrp("2001:db8::9", 2000, "passive"));
    let reply = rig.ask(back.clone().with("address family", Value::text("IP6")));
    assert!(reply.text_of("warning").unwrap().contains("address family"), "{reply:?}");
    let reply = rig.ask(back.with("address family", Value::text("IP4")));
    assert_eq!(reply.text_of("warning"), None);
    assert!(format!("{reply:?}").contains("the offerer connects"), "{reply:?}");
    rig.ask(delete("c1", "a"));
    // One that speaks IPv6 itself gets such an address, where there is one.
    rig.sdp(between(offer("c3", "a", &msrp("2001:db8::1", 2855, "actpass")), "core", "access"));
    assert!(rig.hole("core").local.is_ipv6() && rig.hole("access").local.is_ipv4());
    rig.ask(delete("c3", "a"));
    let mut rig = Rig::with(|config| config.interfaces[1].family = Family::V6);
    rig.sdp(offer("c1", "a", &sdp));
    assert!(rig.hole("core").local.is_ipv6(), "of the configuration");
}

#[test]
fn addresses_and_classes_of_traffic_as_the_script_has_them() {
    let mut rig = Rig::new();
    let sdp = msrp("192.0.2.1", 2855, "actpass");
    let public = offer("c1", "a", &sdp)
        .with("media address", Value::text("198.51.100.200"))
        .with("TOS", Value::Integer(0xb8));
    let seen = rig.sdp(public);
    let port = rig.hole("core").local.port();
    assert_eq!(address(&seen, 0).to_string(), format!("198.51.100.200:{port}"));
    let seen = rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
    assert_eq!(address(&seen, 0), rig.hole("access").local);
    for realm in ["access", "core"] {
        assert_eq!(rig.hole(realm).settings.dscp, Some(0x2e), "{realm}");
    }
}

#[test]
fn more_is_written_over_where_it_is_asked_for() {
    let mut rig = Rig::new();
    let replace =
        |request: Request, what: &[&str]| request.with("replace", Value::texts(what.iter().copied()));
    let sdp = msrp("192.0.2.1", 2855, "actpass");
    let core = |rig: &Rig| rig.hole("core").local.ip();
    let seen = rig.sdp(offer("c1", "a", &sdp));
    assert!(seen.contains("o=- 1 1 IN IP4 192.0.2.1\r\n"), "{seen}");
    let seen = rig.sdp(replace(offer("c1", "a", &sdp), &["origin", "session connection"]));
    assert!(seen.contains(&format!("o=- 1 1 IN IP4 {}\r\n", core(&rig))), "{seen}");
    assert!(!seen.replace("a=path", "").contains("IP4 192.0.2.1"), "{seen}");
    let audio = with_audio(&sdp);
    let reply = rig.ask(replace(offer("c2", "a", &audio), &["session-connection"]));
    assert!(reply.text_of("warning").unwrap().contains("c= of the session stays"), "{reply:?}");
    // Of what stays the same for one end the first counts.
    let first = sdp.replace("o=- 1 1 ", "o=alice 1 7 ").replace("s=-", "s=one");
    let all = ["username", "session-name", "sdp-version"];
    let seen = rig.sdp(replace(offer("c3", "a", &first), &all));
    assert!(seen.contains("o=alice 1 7 ") && seen.contains("s=one\r\n"), "{seen}");
    let other = sdp.replace("o=- 1 1 ", "o=bob 1 9 ").replace("s=-", "s=two");
    let seen = rig.sdp(replace(offer("c3", "a", &other), &all));
    assert!(seen.contains("o=alice 1 7 ") && seen.contains("s=one\r\n"), "{seen}");
    let moved = other.replace("a=accept-types:text/plain", "a=accept-types:*");
    let seen = rig.sdp(replace(offer("c3", "a", &moved), &all));
    assert!(seen.contains("o=alice 1 8 "), "{seen}");
}

#[test]
fn what_means_nothing_here_is_said() {
    let mut rig = Rig::new();
    let request =
        flags(offer("c1", "a", &msrp("192.0.2.1", 2855, "actpass")), &["record-call", "frobnicate"]);
    let reply = rig.ask(request);
    assert_eq!(reply.text_of("result"), Some("ok"));
    let warning = reply.text_of("warning").unwrap();
    assert!(warning.contains("record-call") && warning.contains("frobnicate"), "{warning}");
    assert_eq!(reply.get("inapplicable"), Some(&Value::texts(["record-call"])));
    assert_eq!(reply.get("unknown"), Some(&Value::texts(["frobnicate"])));
}
