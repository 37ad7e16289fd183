//! What can change while a process runs. `docs/configuration.md` has the same table for people, and a test compares them.

use carnet_ops::config::{ControlAddress, ControlBind, ControlProto};
use serde_json::Value;
use std::collections::BTreeSet;

/// Settings that are applied at once: names from the top, `*` for any one, a last `**` for everything below.
pub const LIVE: &[&str] = &[
    "log.level",
    "log.format",
    "records.file",
    "records.rotate",
    "records.keep",
    "trace.ring",
    "trace.entries",
    "trace.age",
    "hep.server",
    "hep.id",
    "hep.name",
    "hep.password-file",
    "hep.queue",
    "otel.endpoint",
    "otel.headers-file",
    "otel.ca",
    "otel.sample",
    "otel.resource.**",
    "otel.queue",
    "admin.token-file",
    "admin.read-token-file",
    "admin.tls.certificate",
    "admin.tls.key",
    "admin.tls.ca",
    "admin.nodes.**",
    "border.*.tls.certificate",
    "border.*.tls.key",
    "border.*.tls.ca",
    "border.*.registrar.users",
    "border.*.registrar.next-hop",
    "border.*.registrar.expires",
    "border.*.registrar.digest",
    "border.*.registrar.contacts",
    "border.*.registrar.hunt",
    "border.*.route.**",
    "border.*.policy.**",
    "border.*.network.*.listen",
    "border.*.network.*.contact",
    "border.*.network.*.peers",
    "border.*.network.*.source-filter",
    "border.*.network.*.hide-origin",
    "border.*.network.*.rate",
    "border.*.network.*.dscp",
    "border.*.network.*.rtp-interface",
    "border.*.network.*.e2ae",
    "border.*.network.*.msrp",
    "border.*.network.*.tls-failure-ends",
    "border.*.network.*.max-sessions",
    "border.*.network.*.max-per-user",
    "border.*.network.*.max-per-source",
    "border.*.network.*.bandwidth",
    "border.*.control.listen",
    "border.*.control.gateways",
    "border.*.control.peers.**",
    "border.*.control.profiles.**",
    "border.*.control.weights.**",
    "border.*.control.pass-through-transport.**",
    "border.*.control.alternate",
    "border.*.control.tls.certificate",
    "border.*.control.tls.key",
    "border.*.control.tls.ca",
    "border.*.control.tls.psk",
    "border.*.control.tls.names.**",
    "conference.*.listen",
    "conference.*.contact",
    "conference.*.room.**",
    "conference.*.factory",
    "conference.*.ad-hoc.**",
    "conference.*.next-hop",
    "conference.*.trust-asserted",
    "conference.*.kms.**",
    "conference.*.realm",
    "conference.*.limits.**",
    "conference.*.control.listen",
    "conference.*.control.gateways",
    "conference.*.control.peers.**",
    "conference.*.control.profiles.**",
    "conference.*.control.weights.**",
    "conference.*.tls.certificate",
    "conference.*.tls.key",
    "conference.*.tls.ca",
    "conference.*.control.tls.certificate",
    "conference.*.control.tls.key",
    "conference.*.control.tls.ca",
    "conference.*.control.tls.psk",
    "conference.*.control.tls.names.**",
    "gateway.*.max-contexts",
    "gateway.*.controllers",
    "gateway.*.realm.**",
    "gateway.*.control-tls.certificate",
    "gateway.*.control-tls.key",
    "gateway.*.control-tls.ca",
    "gateway.*.control-tls.psk",
    "gateway.*.control-tls.names.**",
    "gateway.*.relay.users",
    "gateway.*.relay.tls.certificate",
    "gateway.*.relay.tls.key",
    "gateway.*.relay.tls.ca",
    "gateway.*.ng.interface.**",
    "gateway.*.ng.max-calls",
    "gateway.*.ng.delete-delay",
    "gateway.*.ng.offer-timeout",
    "gateway.*.ng.connect-timeout",
    "gateway.*.ng.silence-timeout",
    "gateway.*.ng.pass-through-transport",
    "gateway.*.ng.forward-without-cema",
    "gateway.*.ng.allow-plain",
    "gateway.*.ng.aware",
    "gateway.*.ng.tls.certificate",
    "gateway.*.ng.tls.key",
    "gateway.*.ng.tls.ca",
    "kms.rate",
    "kms.logged-refusals",
    "kms.issue-to-strangers",
    "kms.accept-self-issued",
    "kms.accept-3gpp-tickets",
    "kms.accept-128-bit",
    "kms.ticket-lifetime",
    "kms.key-rotation",
    "kms.tls.certificate",
    "kms.tls.key",
    "kms.tls.ca",
];

/// What names a file that is read at the start.
const FILES: &[&str] = &[
    "certificate",
    "key",
    "ca",
    "psk",
    "users",
    "token-file",
    "read-token-file",
    "headers-file",
    "password-file",
    "root-key",
    "key-file",
    "ca-file",
    "file",
];

/// Whether the setting is applied without a restart, when it was `there` before and is there now.
pub fn is_live(path: &[String], there: bool) -> bool {
    let others = path.get(..2).is_some_and(|names| names == ["admin", "nodes"]);
    // A socket was opened with TLS or without, and with somebody to ask for a certificate or not.
    let made = !others && path.iter().any(|name| matches!(name.as_str(), "tls" | "control-tls"));
    let names = path.iter().any(|name| name == "names");
    // What somebody has to show at a door, or not, was decided when it was opened.
    let asked = !others && path.first().is_some_and(|name| name == "admin");
    LIVE.iter().any(|pattern| matches(pattern, path)) && (there || names || !made) && (there || !asked)
}

/// The section around a setting that may come or go as a whole, where not all in it can be another.
pub fn whole(path: &[String]) -> Option<&[String]> {
    let section = path.get(..4)?;
    matches("border.*.network.*", section).then_some(section)
}

/// Whether a list of controllers wants ways that a gateway was not started with: others in the same process, or datagrams
/// where there were connections alone. Or a controller is to hear its gateways by datagrams and heard them by
/// connections, or the other way round: who repeats what is decided when they are first heard of.
pub fn needs_other_ways(path: &[String], old: &Value, new: &Value) -> bool {
    if matches("*.*.control.listen", path) {
        let datagrams = |list: &Value| {
            let read = |one: &Value| one.as_str().and_then(|text| text.parse::<ControlBind>().ok());
            let mut all = list.as_array().into_iter().flatten().filter_map(read);
            all.next().map(|first| first.proto == ControlProto::Udp)
        };
        return datagrams(old).zip(datagrams(new)).is_some_and(|(old, new)| old != new);
    }
    if !matches("gateway.*.controllers", path) {
        return false;
    }
    let ways = |list: &Value| {
        let read = |one: &Value| one.as_str().and_then(|text| text.parse::<ControlAddress>().ok());
        let all: Vec<_> = list.as_array().into_iter().flatten().filter_map(read).collect();
        let inside = all.iter().filter(|address| matches!(address, ControlAddress::Local(_)));
        let inside: BTreeSet<_> = inside.map(|address| address.name().to_owned()).collect();
        let outside = inside.len() < all.len();
        (inside, outside, all.iter().all(ControlAddress::is_reliable))
    };
    ways(old) != ways(new)
}

/// Whether what is in the file of that setting can change.
pub fn is_renewed(path: &[String]) -> bool {
    LIVE.iter().any(|pattern| matches(pattern, path))
}

/// Whether the setting names a file whose content counts.
pub fn is_file(path: &[String]) -> bool {
    // What session records are written to is no file that is read.
    path.last().is_some_and(|name| FILES.contains(&name.as_str()))
        && path.first().is_some_and(|n| n != "records")
}

fn matches(pattern: &str, path: &[String]) -> bool {
    let mut names = path.iter();
    for part in pattern.split('.') {
        if part == "**" {
            return true;
        }
        match names.next() {
            Some(name) if part == "*" || part == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn what_a_socket_was_made_with_stays() {
        assert!(is_live(&path("border.a.tls.certificate"), true));
        assert!(!is_live(&path("border.a.tls.certificate"), false));
        assert!(is_live(&path("border.a.network.core.rate"), false));
        assert!(is_live(&path("border.a.route.3.domain"), false));
        assert!(is_live(&path("border.a.network.core.listen"), true));
        assert!(!is_live(&path("border.a.network.core.realm"), true));
        assert_eq!(whole(&path("border.a.network.core.realm")), Some(&path("border.a.network.core")[..]));
        assert!(!is_live(&path("admin.token-file"), false) && !is_live(&path("admin.listen"), true));
        for setting in
            ["admin.nodes", "admin.nodes.gw.url", "admin.nodes.gw.token-file", "admin.nodes.tls.ca"]
        {
            assert!(is_live(&path(setting), true) && is_live(&path(setting), false), "{setting}");
        }
        assert!(is_file(&path("admin.nodes.gw.ca")) && is_renewed(&path("admin.nodes.gw.ca")));
        assert!(is_live(&path("border.a.route"), true) && !is_live(&path("kms"), true));
        assert!(is_file(&path("kms.tls.key")) && !is_file(&path("records.file")));
        assert!(is_renewed(&path("gateway.g.realm.r.key")) && !is_renewed(&path("kms.root-key")));
    }

    #[test]
    fn a_gateway_is_not_given_ways_that_it_was_not_made_with() {
        let list = |all: &[&str]| Value::from(all.to_vec());
        let needs = |old: &[&str], new: &[&str]| {
            needs_other_ways(&path("gateway.g.controllers"), &list(old), &list(new))
        };
        assert!(!needs(&["a@udp:192.0.2.1"], &["b@udp:192.0.2.2", "a@udp:192.0.2.1"]));
        assert!(!needs(&["a@tcp:192.0.2.1"], &["b@tls:192.0.2.2"]));
        assert!(needs(&["a@tcp:192.0.2.1"], &["a@udp:192.0.2.1"]));
        assert!(needs(&["local:a"], &["local:b"]) && needs(&["local:a"], &["local:a", "b@tcp:192.0.2.1"]));
        assert!(!needs(&["local:a", "local:b"], &["local:b", "local:a"]));
        assert!(!needs_other_ways(&path("gateway.g.realm.x.v4"), &list(&["local:a"]), &list(&[])));
    }

    #[test]
    fn a_controller_does_not_change_from_datagrams_to_connections() {
        let list = |all: &[&str]| Value::from(all.to_vec());
        let needs = |role: &str, old: &[&str], new: &[&str]| {
            needs_other_ways(&path(&format!("{role}.x.control.listen")), &list(old), &list(new))
        };
        for role in ["border", "conference"] {
            assert!(needs(role, &["udp:192.0.2.1:2944"], &["tcp:192.0.2.1:2944"]));
            assert!(needs(role, &["sctp:192.0.2.1:2944"], &["udp:192.0.2.1:2944"]));
            assert!(!needs(role, &["udp:192.0.2.1:2944"], &["udp:192.0.2.2:2944", "udp:[2001:db8::1]:2944"]));
            assert!(!needs(role, &["tcp:192.0.2.1:2944"], &["sctp:192.0.2.1:2944"]));
            assert!(!needs(role, &[], &["udp:192.0.2.1:2944"]) && !needs(role, &["tcp:192.0.2.1:2944"], &[]));
        }
    }

    /// Every pattern stands in the table for people.
    #[test]
    fn the_documentation_says_what_is_applied() {
        let docs = include_str!("../../../docs/configuration.md");
        let missing: Vec<_> = LIVE.iter().filter(|pattern| !docs.contains(&last(pattern))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    fn last(pattern: &str) -> String {
        let mut names = pattern.rsplit('.').filter(|name| !name.contains('*'));
        names.next().map(|name| format!("`{name}`")).unwrap_or_default()
    }
}
