//! What another process says of itself, as far as it is shown: known members of known kinds, words of bounded length, lists of bounded
//! number. Whatever else it says stays behind.

use serde::de::{Deserialize, Deserializer};
use serde::{Deserialize as Derive, Serialize};
use std::collections::BTreeMap;

/// Characters of a word.
const LONGEST: usize = 512;
/// Entries of a list.
const MOST: usize = 512;

/// A word of somebody else. Longer ones are cut.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(in crate::roles::http) struct Word(pub String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut word = String::deserialize(deserializer)?;
        if let Some((end, _)) = word.char_indices().nth(LONGEST) {
            word.truncate(end);
        }
        Ok(Self(word))
    }
}

/// A list of somebody else. Of longer ones the beginning.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(in crate::roles::http) struct Few<T>(pub Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut list = Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default();
        list.truncate(MOST);
        Ok(Self(list))
    }
}

/// `/api/v1/process`.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Process {
    pub version: Word,
    pub began: Word,
    pub draining: bool,
    pub may_change: bool,
    pub roles: Few<Role>,
}

/// A role as the file of its process has it.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Role {
    pub role: Word,
    pub kind: Word,
    pub name: Word,
    pub domain: Option<Word>,
    pub url: Option<Word>,
    pub kms: Option<Word>,
    pub networks: Few<Side>,
    pub routes: Few<Route>,
    pub listen: Few<Word>,
    pub gateways: Few<Word>,
    pub controllers: Few<Word>,
    pub steered: bool,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Side {
    pub network: Word,
    pub subscribers: bool,
    pub listen: Few<Word>,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Route {
    pub domain: Word,
    pub network: Word,
    pub next_hop: Option<Word>,
}

/// `/api/v1/nodes`.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Held {
    pub gateways: Few<Gateway>,
    pub borders: Few<Owner>,
    pub conferences: Few<Owner>,
}

/// A gateway of the process.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Gateway {
    pub gateway: Word,
    pub state: Word,
    pub controller: Option<Word>,
    pub contexts: u64,
    pub most_contexts: Option<u64>,
    pub ports: BTreeMap<Word, Pool>,
    pub engines: BTreeMap<Word, BTreeMap<Word, u64>>,
    pub ng: Option<Steered>,
    pub relayed: u64,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Pool {
    pub free: u64,
    pub used: u64,
    pub resting: u64,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Steered {
    pub calls: u64,
}

/// A border or conference server, and the gateways that it controls.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Owner {
    pub border: Option<Word>,
    pub conference: Option<Word>,
    pub calls: Option<u64>,
    pub gateways: Few<Seen>,
}

/// A gateway as its controller sees it.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Seen {
    pub gateway: Word,
    pub state: Word,
    pub contexts: Option<u64>,
    pub most_contexts: Option<u64>,
    pub silent_ms: Option<u64>,
    pub round_trip_ms: Option<f64>,
    pub outstanding: u64,
    pub refusal: Option<Word>,
    pub refusal_ms: Option<u64>,
    pub avoided: bool,
    pub rooms: Option<u64>,
}

/// A session as lists have it.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Session {
    pub number: u64,
    pub role: Word,
    pub node: Word,
    pub call_id: Word,
    pub began: Word,
    pub answered_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    pub from: Option<Word>,
    pub to: Option<Word>,
    pub plan: Option<Word>,
    pub cause: Option<Word>,
    pub networks: Few<Option<Word>>,
    pub gateway: Option<Word>,
    pub octets_received: u64,
    pub reserved: Few<(Word, u32)>,
}

/// A page of sessions.
#[derive(Debug, Clone, Default, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Sessions {
    pub sessions: Few<Session>,
    pub total: u64,
}

/// A page of contexts.
#[derive(Debug, Clone, Default, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Contexts {
    pub contexts: Few<Context>,
}

/// A context at a gateway.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Context {
    pub context: u32,
    pub terminations: Few<Termination>,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Termination {
    pub id: Word,
    pub streams: Few<Stream>,
    pub octets_received: Option<u64>,
    pub octets_sent: Option<u64>,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Stream {
    pub id: u64,
    pub realm: Option<Word>,
    pub mode: Option<Word>,
    pub transport: Option<Word>,
    pub local: Option<Word>,
    pub remote: Option<Word>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_others_is_bounded_and_nothing_else() {
        let long = "x".repeat(10_000);
        let many: Vec<_> =
            (0..5_000).map(|n| serde_json::json!({ "name": format!("g{n}"), "evil": "<b>" })).collect();
        let text = serde_json::json!({ "version": long, "roles": many, "secret": { "a": 1 } });
        let process: Process = serde_json::from_value(text).unwrap();
        assert_eq!((process.version.0.len(), process.roles.0.len()), (LONGEST, MOST));
        assert!(!serde_json::to_string(&process).unwrap().contains("evil"));
        for wrong in ["[]", "{\"roles\": 5}", "{\"version\": {}}", "{\"roles\": [{\"gateways\": [[]]}]}"] {
            assert!(serde_json::from_str::<Process>(wrong).is_err() || wrong == "[]", "{wrong}");
        }
        let held: Held = serde_json::from_str("{\"gateways\": null, \"borders\": []}").unwrap();
        assert!(held.gateways.0.is_empty());
    }
}
