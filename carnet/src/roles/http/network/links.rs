//! Who is connected to whom, as far as the processes that are known tell.

use super::Known;
use super::told::{Gateway, Role, Seen};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Silence of a gateway that is worth a word: it is asked at the latest after this many milliseconds.
const QUIET: u64 = 330_000;

/// One end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::roles::http) struct End {
    /// The process; null if none of those that are known has it.
    node: Option<String>,
    /// `border`, `conference`, `gateway` or `kms`.
    role: &'static str,
    /// Its name there; of a key server that none of them is, where it is asked.
    name: String,
}

/// What is between two roles.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(in crate::roles::http) struct Link {
    /// `h248`: a controller and its gateway; `sip`: a border sends calls to the other; `kms`: it gets keys there.
    kind: &'static str,
    from: End,
    to: End,
    /// In a word; of H.248 as the controller has it.
    state: String,
    /// `good`, `warn`, `bad`, or `off` where nothing is known.
    health: &'static str,
    /// How long the gateway takes to answer, in milliseconds.
    round_trip_ms: Option<f64>,
    /// Contexts of the controller on it.
    contexts: Option<u64>,
    /// Whether new calls avoid it.
    avoided: bool,
}

impl Link {
    /// Whether one of its ends is there.
    pub(super) fn is_at(&self, node: &str) -> bool {
        [&self.from, &self.to].iter().any(|end| end.node.as_deref() == Some(node))
    }

    /// Whether it is not as it should be.
    pub(super) fn ails(&self) -> bool {
        matches!(self.health, "warn" | "bad")
    }
}

type Nodes<'a> = [(&'a str, Option<Arc<Known>>)];

/// All that is between the roles of these processes.
pub(super) fn between(nodes: &Nodes<'_>) -> Vec<Link> {
    let mut links = Vec::new();
    let known = || nodes.iter().filter_map(|(node, known)| Some((*node, known.as_deref()?)));
    for (node, here) in known() {
        let owners = here.held.borders.0.iter().chain(&here.held.conferences.0);
        for owner in owners {
            let (role, name) = match (&owner.border, &owner.conference) {
                (Some(name), _) => ("border", name),
                (None, Some(name)) => ("conference", name),
                (None, None) => continue,
            };
            let from = End { node: Some(node.to_owned()), role, name: name.0.clone() };
            links.extend(owner.gateways.0.iter().map(|seen| control(from.clone(), node, seen, nodes)));
        }
        for role in &here.process.roles.0 {
            let from = |kind| End { node: Some(node.to_owned()), role: kind, name: role.name.0.clone() };
            if role.role.0 == "conference"
                && let Some(url) = &role.kms
            {
                links.push(keys(from("conference"), &url.0, nodes));
            }
            if role.role.0 == "border" {
                links.extend(known().flat_map(|(other, there)| {
                    let reached = there.process.roles.0.iter().filter(|to| reaches(role, to));
                    let reached = reached.filter(|to| (other, &to.name) != (node, &role.name));
                    reached.map(|to| sip(from("border"), other, to)).collect::<Vec<_>>()
                }));
            }
        }
    }
    // What both say of each other is one.
    let mut told: Vec<Link> = Vec::with_capacity(links.len());
    for link in links {
        let same = |other: &Link| {
            other.kind == "sip" && link.kind == "sip" && (&other.from, &other.to) == (&link.to, &link.from)
                || *other == link
        };
        if !told.iter().any(same) {
            told.push(link);
        }
    }
    told
}

/// The process that has a gateway of that name: that of its controller first.
pub(super) fn holder<'a>(nodes: &Nodes<'a>, near: &str, gateway: &str) -> Option<&'a str> {
    let has = |known: &Known| {
        let held = known.held.gateways.0.iter().any(|own: &Gateway| own.gateway.0 == gateway);
        held || known.process.roles.0.iter().any(|role| role.role.0 == "gateway" && role.name.0 == gateway)
    };
    let having =
        || nodes.iter().filter(|(_, known)| known.as_deref().is_some_and(has)).map(|(node, _)| *node);
    having().find(|node| *node == near).or_else(|| having().next())
}

fn control(from: End, near: &str, seen: &Seen, nodes: &Nodes<'_>) -> Link {
    let name = seen.gateway.0.clone();
    let node = holder(nodes, near, &name).map(str::to_owned);
    let silent = seen.silent_ms.is_some_and(|silent| silent > QUIET);
    let (state, health) = match seen.state.0.as_str() {
        "in service" if seen.avoided => ("avoided", "warn"),
        "in service" if silent => ("silent", "warn"),
        "in service" => ("in service", "good"),
        "draining" => ("draining", "warn"),
        "missing" => ("silent", "bad"),
        other => (other, "bad"),
    };
    Link {
        kind: "h248",
        from,
        to: End { node, role: "gateway", name },
        state: state.to_owned(),
        health,
        round_trip_ms: seen.round_trip_ms,
        contexts: seen.contexts,
        avoided: seen.avoided,
    }
}

fn keys(from: End, url: &str, nodes: &Nodes<'_>) -> Link {
    let place =
        |url: &str| url.split_once("://").map_or(url, |(_, place)| place).trim_end_matches('/').to_owned();
    let wanted = place(url);
    let services = nodes.iter().filter_map(|(node, known)| Some((*node, known.as_deref()?)));
    let services =
        services.flat_map(|(node, known)| known.process.roles.0.iter().map(move |role| (node, role)));
    let mut services = services.filter(|(_, role)| role.role.0 == "kms");
    // Where it listens, or else the name that it has in the network.
    let host = wanted.rsplit_once(':').map_or(wanted.as_str(), |(host, _)| host);
    let found = services.find(|(_, role)| {
        role.url.as_ref().is_some_and(|url| place(&url.0) == wanted) || role.name.0 == host
    });
    let (node, name) = match found {
        Some((node, role)) => (Some(node.to_owned()), role.name.0.clone()),
        None => (None, url.to_owned()),
    };
    let known = node.is_some();
    Link {
        kind: "kms",
        from,
        to: End { node, role: "kms", name },
        state: if known { "configured" } else { "elsewhere" }.to_owned(),
        health: if known { "good" } else { "off" },
        round_trip_ms: None,
        contexts: None,
        avoided: false,
    }
}

fn sip(from: End, node: &str, to: &Role) -> Link {
    let role = if to.role.0 == "conference" { "conference" } else { "border" };
    Link {
        kind: "sip",
        from,
        to: End { node: Some(node.to_owned()), role, name: to.name.0.clone() },
        state: "configured".to_owned(),
        health: "good",
        round_trip_ms: None,
        contexts: None,
        avoided: false,
    }
}

/// Whether a border sends calls to where another role listens.
fn reaches(border: &Role, to: &Role) -> bool {
    let listens = to.networks.0.iter().flat_map(|side| &side.listen.0).chain(&to.listen.0);
    let places: Vec<&str> = listens
        .map(|listen| listen.0.split_once(':').map_or(listen.0.as_str(), |(_, place)| place))
        .collect();
    let hops = border.routes.0.iter().filter_map(|route| route.next_hop.as_ref());
    hops.map(|hop| socket_of(&hop.0)).any(|hop| places.contains(&hop.as_str()))
}

/// Address and port of a SIP URI, with what is meant when there is none.
fn socket_of(uri: &str) -> String {
    let rest = uri.strip_prefix("sips:").or_else(|| uri.strip_prefix("sip:")).unwrap_or(uri);
    let host = rest.split([';', '?']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let has_port = host.rsplit_once(':').is_some_and(|(before, port)| {
        port.chars().all(|c| c.is_ascii_digit())
            && !port.is_empty()
            && (!before.contains(':') || before.ends_with(']'))
    });
    if has_port { host.to_owned() } else { format!("{host}:5060") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known(process: serde_json::Value, held: serde_json::Value) -> Option<Arc<Known>> {
        let (process, held) =
            (serde_json::from_value(process).unwrap(), serde_json::from_value(held).unwrap());
        Some(Arc::new(Known { process, held }))
    }

    #[test]
    fn roles_in_several_processes_find_each_other() {
        let border = |name: &str, listen: &str, hop: &str| {
            json!({ "role": "border", "name": name, "networks": [{ "network": "n", "listen": [listen] }],
                    "routes": [{ "domain": "*", "network": "n", "next_hop": hop }], "gateways": ["gw"] })
        };
        let seen = |state: &str, avoided: bool| {
            json!({ "borders": [{ "border": "a", "gateways": [
                { "gateway": "gw", "state": state, "avoided": avoided, "round_trip_ms": 1.5, "contexts": 3 }] }] })
        };
        let nodes = |state: &str, avoided| {
            [
                (
                    "here",
                    known(
                        json!({ "roles": [border("a", "udp:192.0.2.1:5060", "sip:192.0.2.2;transport=udp")] }),
                        seen(state, avoided),
                    ),
                ),
                (
                    "b",
                    known(
                        json!({ "roles": [border("b", "udp:192.0.2.2:5060", "sip:192.0.2.1:5060")] }),
                        json!({}),
                    ),
                ),
                (
                    "gws",
                    known(json!({}), json!({ "gateways": [{ "gateway": "gw", "state": "registered" }] })),
                ),
                (
                    "kms",
                    known(
                        json!({ "roles": [{ "role": "kms", "name": "kms.example", "url": "https://192.0.2.9:8443" }] }),
                        json!({}),
                    ),
                ),
                (
                    "conf",
                    known(
                        json!({ "roles": [{ "role": "conference", "name": "conf", "kms": "https://kms.example:8443" },
                    { "role": "conference", "name": "other", "kms": "https://192.0.2.77:1" }] }),
                        json!({}),
                    ),
                ),
                ("dead", None),
            ]
        };
        let links = between(&nodes("in service", false));
        let told: Vec<_> = links
            .iter()
            .map(|link| {
                (
                    link.kind,
                    link.from.name.as_str(),
                    link.to.node.as_deref(),
                    link.to.name.as_str(),
                    link.health,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("h248", "a", Some("gws"), "gw", "good"),
                ("sip", "a", Some("b"), "b", "good"),
                ("kms", "conf", Some("kms"), "kms.example", "good"),
                ("kms", "other", None, "https://192.0.2.77:1", "off"),
            ]
        );
        let health = |state: &str, avoided| between(&nodes(state, avoided))[0].health;
        assert_eq!((health("in service", true), health("missing", false)), ("warn", "bad"));
        assert!(links[0].is_at("here") && links[0].is_at("gws") && !links[0].is_at("b"));
    }

    #[test]
    fn a_next_hop_has_a_port() {
        for (uri, socket) in [
            ("sip:192.0.2.1", "192.0.2.1:5060"),
            ("sip:x@192.0.2.1:5070;transport=tcp", "192.0.2.1:5070"),
            ("sip:[2001:db8::1]", "[2001:db8::1]:5060"),
            ("sips:[2001:db8::1]:5061", "[2001:db8::1]:5061"),
        ] {
            assert_eq!(socket_of(uri), socket, "{uri}");
        }
    }
}
