//! What terminals and servers describe, and how they open and use their media.

use super::stage::{Sdp, Stage, address, sdp};
use serde_json::json;

pub const THERE: &str = "what the terminal says to the core";
pub const BACK: &str = "what the core says to the terminal";
pub const BOTH: [&str; 2] = ["msrp-tls;mediasec", "bfcp-tls;mediasec"];

/// `a=path` of an agent.
pub fn path(agent: &str, scheme: &str, port: u16) -> String {
    format!("path:{scheme}://{}:{port}/{agent}1;tcp", address(agent))
}

/// What belongs to the application of a media line.
pub fn application(agent: &str, msrp: bool, scheme: &str, port: u16) -> Vec<String> {
    match msrp {
        true => vec!["accept-types:*".into(), "msrp-cema".into(), path(agent, scheme, port)],
        false => vec!["floorctrl:c-only".into(), "confid:1".into(), "userid:2".into(), "floorid:3".into()],
    }
}

pub fn media(msrp: bool, transport: &str, port: u16) -> String {
    match msrp {
        true => format!("message {port} {transport}/MSRP *"),
        false => format!("application {port} {transport}/BFCP *"),
    }
}

/// An e2ae description of a terminal. `setup` is its role in TCP.
pub fn secured(agent: &str, msrp: bool, setup: &str, fingerprint: Option<&str>, requested: bool) -> String {
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
pub fn clear(agent: &str, msrp: bool, setup: &str) -> String {
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
pub fn assert_clean(sdp: &Sdp, msrp: bool) {
    let transport = if msrp { "TCP/MSRP" } else { "TCP/BFCP" };
    assert_eq!(sdp.media().get(2), Some(&transport), "{}", sdp.0);
    assert!(sdp.socket().starts_with("10.1.0.2:"), "{}", sdp.0);
    sdp.expect(&[], &["fingerprint", "3ge2ae", "198.51.100.2"]);
}

/// What a terminal gets: TLS to the gateway. The fingerprint, without the name of the digest.
#[track_caller]
pub fn assert_secured(sdp: &Sdp, msrp: bool) -> String {
    let transport = if msrp { "TCP/TLS/MSRP" } else { "TCP/TLS/BFCP" };
    assert_eq!(sdp.media().get(2), Some(&transport), "{}", sdp.0);
    assert!(sdp.socket().starts_with("198.51.100.2:"), "{}", sdp.0);
    let fingerprint = sdp.value("a=fingerprint:").unwrap_or_else(|| panic!("no fingerprint in\n{}", sdp.0));
    let (digest, value) = fingerprint.split_once(' ').unwrap();
    assert!(digest.eq_ignore_ascii_case("sha-256"), "{fingerprint}");
    value.to_owned()
}

/// The media of an agent: TLS by OpenSSL, or in clear. The side that listens is to be told first.
pub fn open(stage: &mut Stage, agent: &str, tls: Option<&str>, active: Option<&str>) {
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

pub fn says(stage: &mut Stage, agent: &str, text: &str) {
    stage.tell(agent, &json!({"do": "send", "text": format!("{text}\n")}));
}

/// Both ways, whoever was first.
pub fn talk(stage: &mut Stage, terminal: &str, core: &str) {
    says(stage, terminal, THERE);
    hears(stage, core, THERE);
    says(stage, core, BACK);
    stage
        .next_that(terminal, "openssl", |seen| seen["line"].as_str().is_some_and(|line| line.contains(BACK)));
}

/// Waits for a line that comes out of OpenSSL.
pub fn sealed(stage: &mut Stage, agent: &str, text: &str) {
    stage.next_that(agent, "openssl", |seen| seen["line"].as_str().is_some_and(|line| line.contains(text)));
}

/// Waits for octets that come in clear.
pub fn hears(stage: &mut Stage, agent: &str, text: &str) {
    stage.next_that(agent, "data", |seen| seen["text"].as_str().is_some_and(|got| got.contains(text)));
}
