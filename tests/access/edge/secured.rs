//! TLS of the terminal ends at the gateway (TS 23.334 §6.2.10.3): originating and terminating, MSRP and
//! BFCP, each end of TCP and of TLS; what passes in the core is in clear, and what passes at the access is
//! not.

use super::stage::{Sdp, Stage, address, holds, payloads, sdp};
use serde_json::json;

const THERE: &str = "what the terminal says to the core";
const BACK: &str = "what the core says to the terminal";
const BOTH: [&str; 2] = ["msrp-tls;mediasec", "bfcp-tls;mediasec"];

/// `a=path` of an agent.
fn path(agent: &str, scheme: &str, port: u16) -> String {
    format!("path:{scheme}://{}:{port}/{agent}1;tcp", address(agent))
}

/// What belongs to the application of a media line.
fn application(agent: &str, msrp: bool, scheme: &str, port: u16) -> Vec<String> {
    match msrp {
        true => vec!["accept-types:*".into(), "msrp-cema".into(), path(agent, scheme, port)],
        false => vec!["floorctrl:c-only".into(), "confid:1".into(), "userid:2".into(), "floorid:3".into()],
    }
}

fn media(msrp: bool, transport: &str, port: u16) -> String {
    match msrp {
        true => format!("message {port} {transport}/MSRP *"),
        false => format!("application {port} {transport}/BFCP *"),
    }
}

/// An e2ae description of a terminal. `setup` is its role in TCP.
fn secured(agent: &str, msrp: bool, setup: &str, fingerprint: Option<&str>, requested: bool) -> String {
    let port = if setup == "active" { 9 } else { 7000 };
    let mut lines = application(agent, msrp, "msrps", port);
    lines.push(format!("setup:{setup}"));
    if !msrp {
        lines.push("connection:new".into());
    }
    lines.extend(fingerprint.map(|fingerprint| format!("fingerprint:{fingerprint}")));
    if requested {
        lines.push("3ge2ae:requested".into());
    }
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    sdp(agent, &media(msrp, "TCP/TLS", port), &lines)
}

/// A description in clear.
fn clear(agent: &str, msrp: bool, setup: &str) -> String {
    let port = if setup == "active" { 9 } else { 7000 };
    let mut lines = application(agent, msrp, "msrp", port);
    lines.push(format!("setup:{setup}"));
    if !msrp {
        lines.push("connection:new".into());
    }
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    sdp(agent, &media(msrp, "TCP", port), &lines)
}

/// Of what the core gets nothing tells that there is TLS on the other side.
#[track_caller]
fn assert_clean(sdp: &Sdp, msrp: bool) {
    let transport = if msrp { "TCP/MSRP" } else { "TCP/BFCP" };
    assert_eq!(sdp.media().get(2), Some(&transport), "{}", sdp.0);
    assert!(sdp.socket().starts_with("10.1.0.2:"), "{}", sdp.0);
    sdp.expect(&[], &["fingerprint", "3ge2ae", "198.51.100.2"]);
}

/// What a terminal gets: TLS to the gateway. The fingerprint, without the name of the digest.
#[track_caller]
fn assert_secured(sdp: &Sdp, msrp: bool) -> String {
    let transport = if msrp { "TCP/TLS/MSRP" } else { "TCP/TLS/BFCP" };
    assert_eq!(sdp.media().get(2), Some(&transport), "{}", sdp.0);
    assert!(sdp.socket().starts_with("198.51.100.2:"), "{}", sdp.0);
    let fingerprint = sdp.value("a=fingerprint:").unwrap_or_else(|| panic!("no fingerprint in\n{}", sdp.0));
    let (digest, value) = fingerprint.split_once(' ').unwrap();
    assert!(digest.eq_ignore_ascii_case("sha-256"), "{fingerprint}");
    value.to_owned()
}

/// The media of an agent: TLS by OpenSSL, or in clear. The side that listens is to be told first.
fn open(stage: &mut Stage, agent: &str, tls: Option<&str>, active: Option<&str>) {
    let order = match (tls, active) {
        (Some(cert), Some(to)) => json!({"do": "tls-connect", "to": to, "cert": cert}),
        (Some(cert), None) => json!({"do": "tls-listen", "port": 7000, "cert": cert}),
        (None, Some(to)) => json!({"do": "connect", "to": to}),
        (None, None) => json!({"do": "listen", "port": 7000}),
    };
    stage.tell(agent, &order);
    match (tls, active) {
        (None, None) => drop(stage.next(agent, "listening")),
        (Some(_), None) => drop(stage.next_that(agent, "openssl", |seen| seen["line"] == "ACCEPT")),
        _ => {}
    }
}

fn says(stage: &mut Stage, agent: &str, text: &str) {
    stage.tell(agent, &json!({"do": "send", "text": format!("{text}\n")}));
}

/// Both ways, whoever was first.
fn talk(stage: &mut Stage, terminal: &str, core: &str) {
    says(stage, terminal, THERE);
    stage.next_that(core, "data", |seen| seen["text"].as_str().is_some_and(|text| text.contains(THERE)));
    says(stage, core, BACK);
    stage
        .next_that(terminal, "openssl", |seen| seen["line"].as_str().is_some_and(|line| line.contains(BACK)));
}

/// One call: who offers, what is carried, the roles in TCP that the two ends put into their descriptions.
struct Call {
    terminal_offers: bool,
    msrp: bool,
    offered: &'static str,
    answered: &'static str,
}

impl Call {
    /// Sets it up; the octets pass both ways; what is on the wires is looked at.
    fn pass(&self) {
        let Some(mut stage) = Stage::new() else { return };
        let stage = &mut stage;
        let offered = stage.register("alice", &BOTH);
        for name in ["msrp-tls", "bfcp-tls"] {
            assert!(offered.iter().any(|one| one.contains(name) && one.contains("mediasec")), "{offered:?}");
        }
        let fingerprint = stage.certificate("alice", "SHA-256");
        let (access, core) = (stage.capture("agw", "access"), stage.capture("agw", "core"));
        // The roles of TCP in the end: `actpass` takes the other one of what is answered.
        let (terminal_sdp, server_sdp, shown);
        if self.terminal_offers {
            let sdp = secured("alice", self.msrp, self.offered, Some(&fingerprint), true);
            server_sdp = stage.offer("alice", "server", &sdp);
            assert_clean(&server_sdp, self.msrp);
            if self.answered == "passive" {
                open(stage, "server", None, None);
            }
            terminal_sdp = stage.answer("server", "alice", &clear("server", self.msrp, self.answered));
            shown = assert_secured(&terminal_sdp, self.msrp);
            terminal_sdp.expect(&[], &["3ge2ae"]);
        } else {
            terminal_sdp = stage.offer("server", "alice", &clear("server", self.msrp, self.offered));
            shown = assert_secured(&terminal_sdp, self.msrp);
            terminal_sdp.expect(&["a=3ge2ae:applied"], &["requested"]);
            if self.answered == "passive" {
                open(stage, "alice", Some("alice"), None);
            }
            let sdp = secured("alice", self.msrp, self.answered, Some(&fingerprint), false);
            server_sdp = stage.answer("alice", "server", &sdp);
            assert_clean(&server_sdp, self.msrp);
        }
        // Who answered has said it; the other one takes the other role of what it got.
        let mirror = |sdp: &Sdp| match sdp.value("a=setup:") {
            Some("active") => "passive",
            Some("passive") => "active",
            other => panic!("{other:?} in an answer"),
        };
        let (terminal, server) = match self.terminal_offers {
            true => (mirror(&terminal_sdp), self.answered),
            false => (self.answered, mirror(&server_sdp)),
        };
        // Who answered has opened already if it waits.
        if terminal == "passive" && self.terminal_offers {
            open(stage, "alice", Some("alice"), None);
        }
        if server == "passive" && !self.terminal_offers {
            open(stage, "server", None, None);
        }
        if terminal == "active" {
            open(stage, "alice", Some("alice"), Some(&terminal_sdp.socket()));
        }
        if server == "active" {
            open(stage, "server", None, Some(&server_sdp.socket()));
        }
        talk(stage, "alice", "server");
        // RFC 8122 §5: the certificate shown is the one described.
        let certificate = stage.lab.output("alice", "out");
        assert!(certificate.contains(&shown), "no certificate {shown} in {certificate}");
        stage.hang_up("server");
        stage.lab.end_captures();
        let (access, core) = (payloads(&access), payloads(&core));
        assert!(!access.is_empty() && !core.is_empty());
        for text in [THERE, BACK] {
            assert!(holds(&core, text), "the core has it in clear");
            assert!(!holds(&access, text), "nobody at the access reads it");
        }
    }
}

#[test]
fn a_terminal_offers_msrp_and_connects() {
    Call { terminal_offers: true, msrp: true, offered: "active", answered: "passive" }.pass();
}

#[test]
fn a_terminal_offers_msrp_and_either_may_connect() {
    Call { terminal_offers: true, msrp: true, offered: "actpass", answered: "active" }.pass();
}

#[test]
fn a_terminal_offers_msrp_and_the_core_waits() {
    Call { terminal_offers: true, msrp: true, offered: "actpass", answered: "passive" }.pass();
}

#[test]
fn a_terminal_is_called_for_msrp_and_connects() {
    Call { terminal_offers: false, msrp: true, offered: "actpass", answered: "active" }.pass();
}

#[test]
fn a_terminal_is_called_for_msrp_and_waits() {
    Call { terminal_offers: false, msrp: true, offered: "actpass", answered: "passive" }.pass();
}

#[test]
fn a_terminal_is_called_for_msrp_by_one_who_connects() {
    Call { terminal_offers: false, msrp: true, offered: "active", answered: "passive" }.pass();
}

/// RFC 8856 §8: the one who answers is the TLS server, whatever TCP does.
#[test]
fn a_terminal_is_called_for_bfcp_and_waits_for_tls() {
    let call = Call { terminal_offers: false, msrp: false, offered: "active", answered: "passive" };
    call.pass();
}

#[test]
fn a_terminal_offers_bfcp_and_begins_tls() {
    let call = Call { terminal_offers: true, msrp: false, offered: "active", answered: "passive" };
    call.pass();
}
