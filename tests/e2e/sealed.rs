//! Two subscribers of two operators talk through four borders and four gateways, every role on a
//! host of its own, and everything that passes is looked at.

use crate::lab::{Lab, tshark};
use crate::network::{self, BORDERS, MEDIA_HOSTS, PATIENCE};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

const THERE: &str = "the eagle has landed in the vineyard";
const BACK: &str = "then bring the other eagle along too";

/// Whether `needle` passed anywhere.
fn holds(capture: &Path, needle: &[u8]) -> bool {
    let octets = std::fs::read(capture).expect("a capture");
    octets.windows(needle.len()).any(|w| w == needle)
}

/// The distinct values of a field in a capture.
fn values(capture: &Path, filter: &str, field: &str) -> BTreeSet<String> {
    tshark(capture, filter, &[field], &[]).into_iter().flatten().filter(|v| !v.is_empty()).collect()
}

/// The value of a member in the last JSON line that has `event`.
fn member(output: &str, event: &str, name: &str) -> String {
    let find = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).ok()?;
        (object["event"] == event).then(|| object[name].as_str().map(str::to_owned)).flatten()
    };
    output.lines().rev().find_map(find).unwrap_or_else(|| panic!("no {event} with {name} in:\n{output}"))
}

#[test]
fn a_sealed_call_across_two_operators() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    let mut captures: Vec<(&str, &str, PathBuf)> = Vec::new();
    for (host, left, right) in MEDIA_HOSTS.iter().chain(BORDERS) {
        for network in [left, right] {
            captures.push((host, network, lab.capture(host, network)));
        }
    }
    network::start(&mut lab);

    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", "\"sealed\"", PATIENCE);
    }
    lab.process(alice).say(THERE);
    lab.wait_for("bob", "out", THERE, PATIENCE);
    // Lines typed at a listener go to whoever called last.
    let bob = alice - 1;
    lab.process(bob).say(BACK);
    lab.wait_for("alice", "out", BACK, PATIENCE);
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    lab.process(bob).signal("INT");
    assert_eq!(lab.process(bob).wait(PATIENCE), Some(0), "{}", lab.output("bob", "err"));
    lab.end_captures();

    // Both ends speak of one TLS association.
    let random = member(&lab.output("alice", "out"), "sealed", "client_random");
    assert_eq!(random.len(), 64);
    assert_eq!(member(&lab.output("bob", "out"), "sealed", "client_random"), random);
    let identity = member(&lab.output("alice", "out"), "sealed", "psk_identity");

    for (host, network, capture) in &captures {
        let whole = format!("{host} on {network}");
        for secret in [THERE, BACK] {
            assert!(!holds(capture, secret.as_bytes()), "{whole}: what was said can be read");
        }
        if !MEDIA_HOSTS.iter().any(|(gateway, ..)| gateway == host) {
            continue;
        }
        // The same ClientHello passes every gateway on both sides: nobody ends the TLS in between.
        let ports = "tcp.port >= 30000 && tcp.port < 40000 && !(tcp.port in {2944, 5060})";
        let options = ["-d", "tcp.port==30000-39999,tls"];
        let hellos: BTreeSet<String> = tshark(
            capture,
            &format!("tls.handshake.type == 1 && {ports}"),
            &["tls.handshake.random"],
            &options,
        )
        .into_iter()
        .flatten()
        .map(|v| v.replace(':', ""))
        .collect();
        assert_eq!(hellos, BTreeSet::from([random.clone()]), "{whole}");
        assert!(holds(capture, identity.as_bytes()), "{whole}: the key's name stands in the ClientHello");
        // And nothing but TLS: every payload that starts a segment run is a record.
        let bare = tshark(
            capture,
            &format!("tcp.len > 0 && {ports} && !tls && !tcp.analysis.flags"),
            &["frame.number"],
            &options,
        );
        assert!(bare.is_empty(), "{whole}: segments that are not TLS: {bare:?}");
    }

    // Nothing on any wire is malformed in the eyes of another implementation, SIP and SDP least.
    for (host, network, capture) in &captures {
        let malformed = tshark(capture, "_ws.malformed || sdp.invalid", &["frame.number"], &[]);
        assert!(malformed.is_empty(), "{host} on {network}: malformed frames {malformed:?}");
        if BORDERS.iter().any(|(border, ..)| border == host) {
            let messages = tshark(capture, "sip", &["frame.number"], &[]).len();
            assert!(messages > 4, "{host} on {network}: {messages} SIP messages");
        }
    }

    // The line that carries the key exchange passes every border as it was written.
    let lines = |capture: &Path, what: &str| -> BTreeSet<String> {
        values(capture, "sip", "sdp.media_attr")
            .iter()
            .flat_map(|all| all.split(','))
            .filter(|line| line.starts_with(what))
            .map(str::to_owned)
            .collect()
    };
    let of = |host: &str, network: &str| {
        captures.iter().find(|(h, n, _)| *h == host && *n == network).map(|(.., path)| path.clone())
    };
    let first = of("border-a", "subs-a").expect("a capture");
    let keys = lines(&first, "key-mgmt:mikey");
    assert_eq!(keys.len(), 2, "an offer and an answer: {keys:?}");
    let mut addresses = BTreeSet::new();
    for (border, left, right) in BORDERS {
        for network in [left, right] {
            let capture = of(border, network).expect("a capture");
            assert_eq!(lines(&capture, "key-mgmt:mikey"), keys, "{border} on {network}");
            let media = values(&capture, "sip && sdp", "sdp.media");
            assert!(media.iter().all(|m| m.contains("TCP/TLS/MSRP")), "{border}: {media:?}");
            addresses.extend(values(&capture, "sip && sdp", "sdp.connection_info.address"));
        }
    }
    // Each hop has an address of a gateway, so media can go no other way.
    for gateway in ["198.51.100.2", "10.1.0.4", "192.0.2.4", "10.2.0.2", "198.51.100.66"] {
        assert!(addresses.contains(gateway), "{gateway} in {addresses:?}");
    }

    // The gateways were told nothing that could open the TLS, and everything is given back.
    for (host, network) in
        [("agw-a", "core-a"), ("agw-b", "core-b"), ("trgw-a", "core-a"), ("trgw-b", "core-b")]
    {
        let capture = of(host, network).expect("a capture");
        let octets = String::from_utf8_lossy(&std::fs::read(&capture).expect("a capture")).into_owned();
        assert!(octets.contains("TCP/TLS"), "{host}: the transport is told");
        for word in ["fingerprint", "key-mgmt", "etls", "psk"] {
            assert!(!octets.contains(word), "{host}: {word} in H.248");
        }
        assert_no_media_sockets(&lab, host);
    }
}

/// Waits until every gateway holds nothing: no context and no port, by its own account and by the
/// system's.
pub fn let_go(lab: &Lab, limit: Duration) {
    for (host, ..) in MEDIA_HOSTS {
        lab.until(limit, &format!("{host} lets go"), |lab| {
            let log = lab.output(host, "err");
            let last = log.lines().rev().find(|line| line.contains("contexts="));
            let idle = last.is_none_or(|line| line.contains("contexts=0") && line.contains("idle=true"));
            idle && media_sockets(lab, host).is_empty()
        });
    }
}

/// No socket of a media port is left on a gateway: every termination was subtracted.
pub fn assert_no_media_sockets(lab: &Lab, host: &str) {
    let left = media_sockets(lab, host);
    assert!(left.is_empty(), "{host} still has {left:?}");
}

/// The sockets of media ports on a gateway.
pub fn media_sockets(lab: &Lab, host: &str) -> Vec<String> {
    let output = lab.command(host, "ss").args(["-Htan"]).output().expect("ss");
    let sockets = String::from_utf8_lossy(&output.stdout).into_owned();
    let media = |line: &&str| {
        // The control association leaves from a port of the system's choice.
        let control = line
            .split_whitespace()
            .nth(4)
            .is_some_and(|peer| peer.ends_with(":2944") || peer.ends_with(":2945"));
        let local = line.split_whitespace().nth(3).and_then(|a| a.rsplit_once(':')?.1.parse::<u16>().ok());
        local.is_some_and(|port| (30_000..40_000).contains(&port))
            && !control
            && !line.starts_with("TIME-WAIT")
    };
    // The listener that all pinholes of a loop share is there as long as the gateway; pinholes are elements then.
    // It is known by its long queue.
    let queue = |line: &str| line.split_whitespace().nth(2)?.parse::<u32>().ok();
    let shared = |line: &&str| line.starts_with("LISTEN") && queue(line) >= Some(4096);
    let mut left: Vec<_> =
        sockets.lines().filter(media).filter(|line| !shared(line)).map(str::to_owned).collect();
    let output = lab.command(host, "nft").args(["list", "ruleset"]).output().expect("nft");
    let rules = String::from_utf8_lossy(&output.stdout).into_owned();
    left.extend(rules.lines().filter(|line| line.contains("elements =")).map(str::to_owned));
    left
}
