//! A file to begin with, from the schema: what a role needs is set, and every other setting stands beside it as a
//! comment with its meaning and its default, or a likely value where there is none.

use clap::ValueEnum;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Columns of a comment.
const WIDTH: usize = 110;

/// What an example is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// An IMS-ALG or IBCF
    Border,
    /// An IMS-AGW or TrGW
    Gateway,
    /// An MSRP relay beside a gateway
    Relay,
    /// A gateway that SIP servers steer
    Ng,
    /// A conference server with its media server
    Conference,
    /// A key management service
    Kms,
    /// A client, in a file of its own
    Client,
}

impl Part {
    /// All that can share a process.
    const TOGETHER: [Self; 6] =
        [Self::Border, Self::Gateway, Self::Relay, Self::Ng, Self::Conference, Self::Kms];

    /// What it cannot do without, on addresses of this host.
    fn needs(self) -> &'static str {
        match self {
            Self::Border => {
                r#"
                [border.border-a]
                role = "ims-alg"
                domain = "a.example"
                registrar = { mode = "built-in", users = "users.toml" }
                control = { listen = ["udp:127.0.0.1:2944"], gateways = ["agw-a"] }
                network.access = { listen = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"], subscribers = true }
                network.core = { listen = ["udp:127.0.0.1:5070"] }
                route = [{ domain = "*", network = "core", next-hop = "sip:127.0.0.1:5080" }]
                "#
            }
            Self::Gateway => GATEWAY,
            Self::Relay => {
                r#"
                [gateway.agw-a.relay]
                listen = ["tcp:127.0.0.1:2855"]
                domain = "a.example"
                users = "users.toml"
                "#
            }
            Self::Ng => {
                r#"
                [gateway.steered]
                role = "ims-agw"
                ng = { listen = ["udp:127.0.0.1:2223"] }
                realm.public = { v4 = "127.0.0.1", ports = "50000-54999" }
                realm.inside = { v4 = "127.0.0.1", ports = "55000-59999" }
                "#
            }
            Self::Conference => {
                r#"
                [conference.conference-a]
                domain = "conf.a.example"
                listen = ["udp:127.0.0.1:5090"]
                control = { gateways = ["mrfp-a"] }
                room = [{ uri = "sip:team@conf.a.example", unsealed = "admit" }]
                [gateway.mrfp-a]
                role = "mrfp"
                controllers = ["local:conference-a"]
                realm.core = { v4 = "127.0.0.1", ports = "45000-49999" }
                "#
            }
            Self::Kms => {
                r#"
                [kms]
                name = "kms.example"
                listen = "127.0.0.1:8443"
                data = "kms"
                "#
            }
            Self::Client => {
                r#"
                [ue]
                identity = "sip:alice@a.example"
                password-file = "alice.password"
                proxy = "sip:127.0.0.1:5060;transport=tcp"
                kms = "https://kms.example:8443"
                kms-key-file = "alice.key"
                "#
            }
        }
    }
}

const GATEWAY: &str = r#"
[gateway.agw-a]
role = "ims-agw"
controllers = ["border-a@udp:127.0.0.1:2944"]
realm.access = { v4 = "127.0.0.1", ports = "30000-34999" }
realm.core = { v4 = "127.0.0.1", ports = "35000-39999" }
"#;

/// What may stand where there is no default: by the last names of a setting, the longest first.
const SAMPLES: &[(&str, &str)] = &[
    ("border.tls.certificate", "\"border.pem\""),
    ("border.tls.key", "\"border.key\""),
    ("certificate", "\"certificate.pem\""),
    ("authentication.keys.file", "\"control.key\""),
    ("control-authentication.keys.file", "\"control.key\""),
    ("keys.peer", "\"agw-a\""),
    ("key", "\"certificate.key\""),
    ("ca", "\"authorities.pem\""),
    ("psk", "\"control.psk\""),
    ("psk-identity", "\"agw-a\""),
    ("names", "{ agw-a = [\"gw1.example.net\"] }"),
    ("users", "\"users.toml\""),
    ("registrar.next-hop", "\"sip:192.0.2.5\""),
    ("registrar.network", "\"core\""),
    ("registrar.mode", "\"built-in\""),
    ("route.domain", "\"*\""),
    ("route.network", "\"core\""),
    ("next-hop", "\"sip:192.0.2.5;transport=tcp\""),
    ("controllers", "[\"border-a@udp:192.0.2.1:2944\"]"),
    ("control.listen", "[\"udp:192.0.2.1:2944\"]"),
    ("control.peers", "{ agw-a = [\"192.0.2.2\"] }"),
    ("control.profiles", "{ agw-a = [\"carnet_iq/1\"] }"),
    ("control.weights", "{ agw-a = 3 }"),
    ("control.pass-through-transport", "{ agw-a = \"TCP\" }"),
    ("control.alternate", "\"border-b\""),
    ("datagram", "1452"),
    ("control-datagram", "1452"),
    ("control-from", "[\"192.0.2.2\"]"),
    ("control-patience", "30"),
    ("contact", "\"sip:192.0.2.1:5060\""),
    ("network.realm", "\"core\""),
    ("interface.realm", "\"public\""),
    ("media", "\"v4\""),
    ("peers", "[\"192.0.2.0/24\"]"),
    ("hide-origin", "true"),
    ("rate", "1250000"),
    ("dscp", "34"),
    ("rtp-interface", "\"core\""),
    ("e2ae", "true"),
    ("access", "true"),
    ("max-sessions", "5000"),
    ("max-per-user", "8"),
    ("max-per-source", "50"),
    ("bandwidth", "125000000"),
    ("rtpengine.address", "\"192.0.2.3:2223\""),
    ("realm.v4", "\"192.0.2.2\""),
    ("realm.v6", "\"2001:db8::2\""),
    ("realm.ports", "\"30000-39999\""),
    ("certificate-days", "30"),
    ("per-source", "200"),
    ("accepts-per-source", "50"),
    ("quarantine", "10"),
    ("keepalive", "60"),
    ("user-timeout", "120"),
    ("handshake", "10"),
    ("memory", "1024"),
    ("state", "\"state\""),
    ("state.directory", "\"/var/lib/carnet/border-a\""),
    ("hand-over", "2"),
    ("gateway-return", "60"),
    ("sync", "1"),
    ("hep.server", "\"udp:192.0.2.6:9060\""),
    ("hep.name", "\"border-a\""),
    ("hep.password-file", "\"hep.password\""),
    ("otel.endpoint", "\"http://127.0.0.1:4318\""),
    ("headers-file", "\"otel.headers\""),
    ("resource", "{ \"deployment.environment.name\" = \"production\" }"),
    ("relay.listen", "[\"tcp:192.0.2.2:2855\"]"),
    ("relay.host", "\"relay.a.example\""),
    ("relay.domain", "\"a.example\""),
    ("relay.next-hops", "[\"192.0.2.0/24\"]"),
    ("ng.listen", "[\"udp:127.0.0.1:2223\"]"),
    ("token-file", "\"token\""),
    ("read-token-file", "\"read.token\""),
    ("max-calls", "20000"),
    ("delete-delay", "0"),
    ("offer-timeout", "600"),
    ("connect-timeout", "60"),
    ("silence-timeout", "3600"),
    ("admin.socket", "\"/run/carnet/admin.sock\""),
    ("admin.listen", "\"127.0.0.1:9460\""),
    ("nodes.name", "\"gateway-1\""),
    ("nodes.url", "\"https://gateway-1.example:9460\""),
    ("records.file", "\"sessions.jsonl\""),
    ("factory", "[\"sip:new@conf.a.example\"]"),
    ("kms.url", "\"https://kms.example:8443\""),
    ("kms.identity", "\"sip:kms.example\""),
    ("kms.account", "\"sip:conference@conf.a.example\""),
    ("kms-identity", "\"sip:kms.example\""),
    ("key-file", "\"conference.key\""),
    ("ca-file", "\"authorities.pem\""),
    ("fingerprint", "\"SHA-256 AB:CD\""),
    ("request-path", "\"/keymanagement?requesttype=ticketrequest\""),
    ("resolve-path", "\"/keymanagement?requesttype=ticketresolve\""),
    ("store", "\"rooms.redb\""),
    ("uri", "\"sip:team@conf.a.example\""),
    ("subject", "\"Weekly\""),
    ("owners", "[\"sip:alice@a.example\"]"),
    ("members", "[\"sip:bob@a.example\"]"),
    ("call", "[\"sip:bob@a.example\"]"),
    ("reserved", "{ chair = \"sip:alice@a.example\" }"),
    ("moderated", "1"),
    ("floor.id", "1"),
    ("floor.chair", "\"sip:alice@a.example\""),
    ("root-key", "\"credential:root-key\""),
    ("ue.auth-user", "\"alice\""),
    ("ue.expires", "600"),
    ("ue.keep-alive", "120"),
    ("ue.listen", "\"0.0.0.0:0\""),
    ("ue.media", "\"192.0.2.10\""),
    ("ue.max-file", "17179869184"),
    ("kms-key-name", "\"sip:alice@a.example\""),
    ("kms-ca-file", "\"authorities.pem\""),
    ("kms-fingerprint", "\"SHA-256 AB:CD\""),
    ("kms-request-path", "\"/keymanagement?requesttype=ticketrequest\""),
    ("kms-resolve-path", "\"/keymanagement?requesttype=ticketresolve\""),
    ("mikey-protocol", "241"),
    ("psk-identity-prefix", "\"mikey-ticket:\""),
    ("accept-3gpp-tickets", "false"),
    ("accept-other-protocols", "true"),
    ("any-psk-identity", "true"),
    ("rfc4279-suites", "false"),
    ("recover", "false"),
];

/// The text of a file with these parts.
pub fn example(parts: &[Part], schema: &Value) -> String {
    let parts = if parts.is_empty() { &Part::TOGETHER[..] } else { parts };
    let mut set = toml::Table::new();
    // A relay stands beside a gateway.
    let beside = parts.contains(&Part::Relay).then_some(GATEWAY);
    for text in parts.iter().map(|part| part.needs()).chain(beside) {
        let needs: toml::Table = text.parse().unwrap_or_default();
        merge(&mut set, needs);
    }
    let client = set.contains_key("ue");
    let mut page = Page::default();
    page.note("Written by `carnet config example`. What is not a comment is needed. `carnet check -c FILE` says whether it can work.");
    let sections = schema["properties"].as_object().cloned().unwrap_or_default();
    for (name, section) in &sections {
        let common = matches!(name.as_str(), "log" | "admin" | "records" | "trace" | "hep" | "otel");
        let only = parts.iter().all(|part| *part == Part::Client);
        if set.contains_key(name) || (common && !(client && only)) {
            page.member(&mut vec![name.clone()], section, set.get(name), true, true);
        }
    }
    page.text
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(toml::Value::Table(there)), toml::Value::Table(new)) => merge(there, new),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

/// What a setting is, as far as it is written differently.
enum Shape<'a> {
    /// A table with names of its own.
    Table(&'a Map<String, Value>),
    /// Tables by names that the operator gives.
    Named(&'a Value),
    /// A list of tables.
    List(&'a Value),
    /// On one line.
    Plain,
}

fn shape(schema: &Value) -> Shape<'_> {
    if let Some(properties) = schema["properties"].as_object() {
        return Shape::Table(properties);
    }
    if schema["additionalProperties"]["properties"].is_object() {
        return Shape::Named(&schema["additionalProperties"]);
    }
    if schema["items"]["properties"].is_object() {
        return Shape::List(&schema["items"]);
    }
    Shape::Plain
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn note(&mut self, text: &str) {
        let mut line = String::from("#");
        for word in text.split_whitespace() {
            if line.len() + word.len() >= WIDTH {
                let full = std::mem::replace(&mut line, "#".into());
                self.line(&full);
            }
            line.push(' ');
            line.push_str(word);
        }
        if line.len() > 1 {
            self.line(&line);
        }
    }

    /// One setting or section: as it is `set`, or as a comment. `words`: with its meaning and all that it may hold.
    fn member(
        &mut self,
        path: &mut Vec<String>,
        schema: &Value,
        set: Option<&toml::Value>,
        active: bool,
        words: bool,
    ) {
        if !words && set.is_none() {
            return;
        }
        let active = active && set.is_some();
        match shape(schema) {
            Shape::Table(properties) => {
                self.table(path, ("[", "]"), (schema, properties), set, active, words);
            }
            Shape::Named(inner) => {
                let Shape::Table(properties) = shape(inner) else { return };
                let own: Vec<(String, Option<&toml::Value>)> = match set.and_then(toml::Value::as_table) {
                    Some(table) => table.iter().map(|(name, value)| (name.clone(), Some(value))).collect(),
                    None => vec![(placeholder(path).to_owned(), None)],
                };
                let mut words = words;
                for (name, set) in own {
                    path.push(name);
                    self.table(path, ("[", "]"), (inner, properties), set, active, words);
                    path.pop();
                    // Once is enough.
                    words = false;
                }
            }
            Shape::List(inner) => {
                let Shape::Table(properties) = shape(inner) else { return };
                let first = set.and_then(toml::Value::as_array).and_then(|list| list.first());
                self.table(path, ("[[", "]]"), (inner, properties), first, active, words);
            }
            Shape::Plain => self.plain(path, schema, set, active, words),
        }
    }

    fn table(
        &mut self,
        path: &mut Vec<String>,
        (open, close): (&str, &str),
        (schema, properties): (&Value, &Map<String, Value>),
        set: Option<&toml::Value>,
        active: bool,
        words: bool,
    ) {
        self.line("");
        if words {
            self.note(schema["description"].as_str().unwrap_or_default());
        }
        let mark = if active { "" } else { "# " };
        self.line(&format!("{mark}{open}{}{close}", path.join(".")));
        let set = set.and_then(toml::Value::as_table);
        for tables in [false, true] {
            for (name, schema) in properties {
                if matches!(shape(schema), Shape::Plain) != tables {
                    path.push(name.clone());
                    self.member(path, schema, set.and_then(|table| table.get(name)), active, words);
                    path.pop();
                }
            }
        }
    }

    fn plain(
        &mut self,
        path: &[String],
        schema: &Value,
        set: Option<&toml::Value>,
        active: bool,
        words: bool,
    ) {
        if words {
            self.note(schema["description"].as_str().unwrap_or_default());
            let named: Vec<_> = names(schema).into_iter().map(|name| format!("\"{name}\"")).collect();
            if named.len() > 1 {
                self.note(&format!("One of {}.", named.join(", ")));
            }
        }
        let mark = if active { "" } else { "# " };
        let name = path.last().map(String::as_str).unwrap_or_default();
        let value = match set {
            Some(value) => value.to_string(),
            None => sample(path, schema).unwrap_or_else(|| "\"\"".into()),
        };
        let _ = writeln!(self.text, "{mark}{name} = {value}");
    }
}

/// A name that an operator would give.
fn placeholder(path: &[String]) -> &'static str {
    match path.last().map(String::as_str) {
        Some("keys") => "1",
        Some("interface") => "public",
        _ => "name",
    }
}

/// The words that a setting may be.
fn names(schema: &Value) -> Vec<&str> {
    let one = schema["oneOf"].as_array().into_iter().flatten();
    let one = one.flat_map(|one| one["const"].as_str().into_iter().chain(enumerated(one)));
    one.chain(enumerated(schema)).collect()
}

fn enumerated(schema: &Value) -> impl Iterator<Item = &str> {
    schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The default, or what may stand there.
fn sample(path: &[String], schema: &Value) -> Option<String> {
    let empty = |value: &Value| match value {
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    // Rights are written in octal.
    if path.last().is_some_and(|name| name == "socket-mode") {
        return schema.get("default").and_then(Value::as_u64).map(|mode| format!("0o{mode:o}"));
    }
    if let Some(default) = schema.get("default").filter(|value| !empty(value)) {
        return toml::Value::try_from(default).ok().map(|value| value.to_string());
    }
    // Names of the operator's do not count, so that `border.a.tls.key` ends with `border.tls.key`.
    let own = |index: &usize| {
        let before = index.checked_sub(1).and_then(|before| path.get(before)).map(String::as_str);
        let named = ["border", "gateway", "conference", "network", "realm", "interface", "keys"];
        !(before.is_some_and(|before| named.contains(&before)) && index + 1 < path.len())
    };
    let names: Vec<&str> = (0..path.len()).filter(own).map(|index| path[index].as_str()).collect();
    let fits = |pattern: &str| names.ends_with(&pattern.split('.').collect::<Vec<_>>());
    let found = SAMPLES.iter().filter(|(pattern, _)| fits(pattern));
    let found = found.max_by_key(|(pattern, _)| pattern.matches('.').count());
    let found = found.map(|(_, value)| (*value).to_owned());
    found.or_else(|| self::names(schema).first().map(|name| format!("\"{name}\"")))
}

#[cfg(test)]
mod tests;
