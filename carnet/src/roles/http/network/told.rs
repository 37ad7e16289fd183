//! What another process says of itself, as far as it is shown: known members of known kinds, words of bounded length, lists of bounded
//! number. Whatever else it says stays behind.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as Derive, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// Characters of a word.
const LONGEST: usize = 512;
/// Members of an object whose names are not known.
const NAMES: usize = 64;

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

/// A list of somebody else. Of longer ones the beginning: what is behind it is passed over while it is read, so that a list without an
/// end takes no memory.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(in crate::roles::http) struct Few<T, const MOST: usize = 512>(pub Vec<T>);

impl<T, const MOST: usize> Default for Few<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(Bounded::<T, MOST>(PhantomData)).map(Self)
    }
}

/// The same of what has names.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(in crate::roles::http) struct Table<T>(pub BTreeMap<Word, T>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

struct Bounded<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Bounded<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_none<E: Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut few = Vec::new();
        while few.len() < MOST {
            let Some(element) = list.next_element()? else { return Ok(few) };
            few.push(element);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(few)
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = BTreeMap<Word, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut few = BTreeMap::new();
        while few.len() < NAMES {
            let Some((name, value)) = members.next_entry()? else { return Ok(few) };
            few.insert(name, value);
        }
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(few)
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
    pub ports: Table<Pool>,
    pub engines: Table<Table<u64>>,
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

/// `/api/v1/rooms`.
#[derive(Debug, Clone, Default, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Rooms {
    pub conferences: Few<Server>,
}

/// A conference server and its rooms.
#[derive(Debug, Clone, Default, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Server {
    pub conference: Word,
    pub rooms: Few<RoomLine, 10_000>,
}

/// A room as lists have it.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct RoomLine {
    pub room: Word,
    pub subject: Option<Word>,
    pub fixed: bool,
    pub sealed: bool,
    pub members: u64,
    pub unsealed: u64,
    pub gateway: Option<Word>,
    pub context: Option<u64>,
}

/// A room with everybody in it.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Room {
    pub room: Word,
    pub subject: Option<Word>,
    pub fixed: bool,
    pub sealed: bool,
    pub unsealed: u64,
    pub gateway: Option<Word>,
    pub context: Option<u64>,
    pub members: Few<Member, 5_000>,
    pub floors: Few<Floor>,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Member {
    pub member: Word,
    pub user: u16,
    pub nickname: Option<Word>,
    pub state: Word,
    pub owner: bool,
    pub sealed: bool,
    pub stalled: bool,
    pub muted: bool,
    pub media: Few<Media, 16>,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Media {
    pub media: Word,
    pub sealed_with: Option<Word>,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Floor {
    pub floor: u16,
    pub holders: Few<u16>,
    pub waiting: Few<u16>,
}

/// `/api/v1/kms/users`.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Users {
    pub users: Few<User, 1_000>,
    pub total: u64,
    pub next: Option<Word>,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct User {
    pub name: Word,
    pub identities: Few<Word, 64>,
    pub revoked: bool,
    pub tickets_not_before: Option<Word>,
}

/// `/api/v1/kms/tickets`.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Tickets {
    pub tickets: Few<Ticket, 1_000>,
    pub next: Option<u64>,
}

#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Ticket {
    pub number: u64,
    pub ticket: Word,
    pub issued: Option<Word>,
    pub expires: Option<Word>,
    pub expired: Option<bool>,
    pub revoked: Option<bool>,
    pub user: Word,
    pub initiator: Word,
    pub responders: Few<Word, 64>,
}

/// `/api/v1/events/recent` of a key management service.
#[derive(Debug, Clone, Default, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Deeds {
    pub events: Few<Deed, 200>,
}

/// What a key management service did, or would not do.
#[derive(Debug, Clone, Default, Serialize, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct Deed {
    pub event: Word,
    pub level: Word,
    pub timestamp: Word,
    pub kms: Word,
    pub user: Option<Word>,
    pub source: Option<Word>,
    pub initiator: Option<Word>,
    pub responders: Few<Word, 64>,
    pub ticket: Option<Word>,
    pub reason: Option<Word>,
    pub status: Option<u64>,
    pub key: Option<Word>,
}

/// `/api/v1/history`.
#[derive(Debug, Clone, Default, Derive)]
#[serde(default)]
pub(in crate::roles::http) struct History {
    /// Its clock, in milliseconds since 1970.
    pub now: Option<u64>,
    pub at: Few<u64, 720>,
    pub live: Few<f64, 720>,
    pub rates: Table<Few<f64, 720>>,
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
        assert_eq!((process.version.0.len(), process.roles.0.len()), (LONGEST, 512));
        assert!(!serde_json::to_string(&process).unwrap().contains("evil"));
        for wrong in ["[]", "{\"roles\": 5}", "{\"version\": {}}", "{\"roles\": [{\"gateways\": [[]]}]}"] {
            assert!(serde_json::from_str::<Process>(wrong).is_err() || wrong == "[]", "{wrong}");
        }
        let held: Held = serde_json::from_str("{\"gateways\": null, \"borders\": []}").unwrap();
        assert!(held.gateways.0.is_empty());
        let ports: serde_json::Map<_, _> =
            (0..500).map(|n| (format!("p{n}"), serde_json::json!({}))).collect();
        let gateway: Gateway = serde_json::from_value(serde_json::json!({ "ports": ports })).unwrap();
        assert_eq!(gateway.ports.0.len(), NAMES);
        // What is passed over is JSON all the same.
        assert!(serde_json::from_str::<Few<u16, 2>>("[1, 2, 3, {]").is_err());
    }
}
