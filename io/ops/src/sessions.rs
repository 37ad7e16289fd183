//! Sessions as they are put together from events: what is live, what has ended a moment ago, and a record of each at its end.
//!
//! Everything that a role tells with a `call_id` belongs to that call of that role. A call ends with `call-ended` of a
//! border or `dialog-ended` of a steered gateway, and its record is complete when each `media-reserved` has its
//! `media-released`, or after [`LAST_WORDS`]. Everything is bounded: calls, what is kept of one, and how many that have ended
//! are remembered; what was left out is counted in the record (`left_out`).

use crate::Told;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How long a call that has ended waits for what its gateways counted.
pub const LAST_WORDS: Duration = Duration::from_secs(10);

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Live sessions; more are not put together.
    pub live: usize,
    /// Sessions that have ended and are remembered.
    pub ended: usize,
    /// Events of a session; of more the first and the last of them are kept.
    pub events: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { live: 200_000, ended: 1_000, events: 64 }
    }
}

/// One call of one role.
#[derive(Debug, Clone)]
pub struct Session {
    /// Counts up; names it for who asks.
    pub number: u64,
    /// `border` or `steering`.
    pub role: &'static str,
    /// The role's name.
    pub node: String,
    /// As on the wire.
    pub call_id: String,
    /// When its first event came.
    pub began: SystemTime,
    since: Instant,
    /// Milliseconds until it was answered.
    pub answered: Option<u64>,
    /// Milliseconds until it ended.
    pub ended: Option<u64>,
    /// What has been told of it, by field; the newest of each.
    pub facts: Map<String, Value>,
    /// Octets by side and direction: of gateways that gave their media back.
    octets: BTreeMap<String, u64>,
    /// Media that is reserved and was not given back: gateway and context.
    reserved: Vec<(String, u64)>,
    /// Milliseconds since the beginning, and what happened.
    events: Vec<(u64, Told)>,
    left_out: u64,
}

impl Session {
    fn new(number: u64, told: &Told, call_id: &str, now: Instant, wall: SystemTime) -> Self {
        Self {
            number,
            role: told.role,
            node: told.node.clone(),
            call_id: call_id.to_owned(),
            began: wall,
            since: now,
            answered: None,
            ended: None,
            facts: Map::new(),
            octets: BTreeMap::new(),
            reserved: Vec::new(),
            events: Vec::new(),
            left_out: 0,
        }
    }

    fn take(&mut self, told: Told, now: Instant, most: usize) {
        let at = u64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
        let own = |name: &str| told.field(name).and_then(carnet_event::Value::number);
        // A line of a call of a steered gateway has no gateway in it: it is its own.
        let gateway =
            told.field("gateway").and_then(carnet_event::Value::text).unwrap_or(&told.node).to_owned();
        match told.name {
            "media-reserved" => self.reserved.extend(own("context").map(|context| (gateway, context))),
            "media-released" => {
                let context = own("context");
                self.reserved
                    .retain(|(of, number)| (of.as_str(), Some(*number)) != (gateway.as_str(), context));
                for (name, value) in &told.fields {
                    if let (Some(part), Some(number)) = (name.strip_prefix("octets."), value.number()) {
                        *self.octets.entry(part.to_owned()).or_default() += number;
                    }
                }
            }
            "call-up" | "dialog-answered" => self.answered = self.answered.or(Some(at)),
            _ => {}
        }
        if is_end(&told) {
            self.ended = Some(at);
        }
        for (name, value) in told.members() {
            if name != told.role && name != "call_id" && !name.starts_with("octets.") {
                self.facts.insert(name, value);
            }
        }
        if self.events.len() < most {
            self.events.push((at, told));
        } else {
            // The beginning says why it was planned so, the end why it ended.
            self.events.remove(most / 2);
            self.events.push((at, told));
            self.left_out += 1;
        }
    }

    fn is_complete(&self, now: Instant) -> bool {
        let Some(ended) = self.ended else { return false };
        let ended = self.since + Duration::from_millis(ended);
        self.reserved.is_empty() || now.saturating_duration_since(ended) >= LAST_WORDS
    }

    /// For lists.
    #[must_use]
    pub fn summary(&self) -> Value {
        let fact = |name: &str| self.facts.get(name).cloned().unwrap_or_default();
        json!({
            "number": self.number,
            "role": self.role,
            "node": self.node,
            "call_id": self.call_id,
            "began": timestamp(self.began),
            "answered_ms": self.answered,
            "ended_ms": self.ended,
            "from": fact("from"),
            "to": fact("to"),
            "plan": fact("plan"),
            "cause": fact("cause"),
        })
    }

    /// For lists: the summary, what it goes through, and the octets that came from its ends, as far as they are counted.
    #[must_use]
    pub fn row(&self) -> Value {
        let mut row = self.summary();
        let fact = |name: &str| self.facts.get(name).cloned().unwrap_or_default();
        let came =
            self.octets.iter().filter(|(part, _)| part.ends_with(".received")).map(|(_, count)| *count);
        if let Some(members) = row.as_object_mut() {
            let networks = [fact("networks.caller"), fact("networks.callee")];
            members.insert("networks".into(), json!(networks));
            members.insert("gateway".into(), fact("gateway"));
            members.insert("octets".into(), came.fold(0, u64::saturating_add).into());
        }
        row
    }

    /// Everything that is known of it: the record that is written at its end.
    #[must_use]
    pub fn record(&self) -> Value {
        let mut record = self.summary();
        let events: Vec<Value> = self
            .events
            .iter()
            .map(|(at, told)| {
                let mut event = told.members();
                event.remove(told.role);
                event.remove("call_id");
                json!({ "at_ms": at, "event": told.name, "level": told.level.name(), "fields": event })
            })
            .collect();
        if let Some(members) = record.as_object_mut() {
            members.insert("octets".into(), json!(self.octets));
            members.insert("facts".into(), self.facts.clone().into());
            members.insert("events".into(), events.into());
            members.insert("left_out".into(), self.left_out.into());
        }
        record
    }
}

/// A branch of a fork that ends is not the end.
fn is_end(told: &Told) -> bool {
    let branch = told
        .field("cause")
        .and_then(carnet_event::Value::text)
        .is_some_and(|cause| matches!(cause, "elsewhere" | "not-answered"));
    matches!(told.name, "call-ended" | "dialog-ended") && !branch
}

/// RFC 3339, in UTC.
#[must_use]
pub fn timestamp(wall: SystemTime) -> String {
    jiff::Timestamp::try_from(wall).map(|at| at.to_string()).unwrap_or_default()
}

/// All sessions of a process.
#[derive(Debug, Default)]
pub struct Sessions {
    bounds: Bounds,
    next: u64,
    live: BTreeMap<u64, Session>,
    by_call: HashMap<(String, String), u64>,
    ended: VecDeque<Arc<Session>>,
    /// Numbers of those that have ended and are not complete.
    ending: Vec<u64>,
    /// Events that were not put together because there was no room.
    turned_away: u64,
}

impl Sessions {
    /// With these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, next: 1, ..Self::default() }
    }

    /// Takes an event of a call; the number of the session that it belongs to, if there is one.
    pub fn take(&mut self, told: Told, now: Instant, wall: SystemTime) -> Option<u64> {
        let call_id = told.call_id().map(str::to_owned)?;
        let key = (told.node.clone(), call_id);
        let number = match self.by_call.get(&key) {
            Some(number) => *number,
            // What comes after the end of a call begins none.
            None if !matches!(told.name, "call-started" | "offer-planned" | "dialog-started") => return None,
            None if self.live.len() >= self.bounds.live => {
                self.turned_away += 1;
                return None;
            }
            None => {
                let number = self.next;
                self.next += 1;
                self.live.insert(number, Session::new(number, &told, &key.1, now, wall));
                self.by_call.insert(key, number);
                number
            }
        };
        let session = self.live.get_mut(&number)?;
        let before = session.ended.is_some();
        session.take(told, now, self.bounds.events);
        if session.ended.is_some() && !before {
            self.ending.push(number);
        }
        Some(number)
    }

    /// Sessions whose record is complete; to be asked after events and now and then. Each is handed out once.
    pub fn completed(&mut self, now: Instant) -> Vec<Arc<Session>> {
        let mut completed = Vec::new();
        let live = &mut self.live;
        self.ending.retain(|number| {
            let done = live.get(number).is_none_or(|session| session.is_complete(now));
            if done && let Some(session) = live.remove(number) {
                completed.push(Arc::new(session));
            }
            !done
        });
        for session in &completed {
            self.by_call.remove(&(session.node.clone(), session.call_id.clone()));
            self.ended.push_back(session.clone());
        }
        while self.ended.len() > self.bounds.ended {
            self.ended.pop_front();
        }
        completed
    }

    /// Live sessions with greater numbers than `after`, and how many there are altogether.
    #[must_use]
    pub fn live(&self, after: u64, most: usize) -> (Vec<Value>, usize) {
        let page = self.live.range(after.saturating_add(1)..).take(most);
        (page.map(|(_, session)| session.row()).collect(), self.live.len())
    }

    /// The sessions that ended last, the newest first, with lesser numbers than `before` if there is one.
    #[must_use]
    pub fn ended(&self, skip: usize, most: usize) -> (Vec<Value>, usize) {
        let page = self.ended.iter().rev().skip(skip).take(most);
        (page.map(|session| session.row()).collect(), self.ended.len())
    }

    /// All that is known of one.
    #[must_use]
    pub fn one(&self, number: u64) -> Option<Value> {
        let ended =
            || self.ended.iter().find(|session| session.number == number).map(|session| session.record());
        self.live.get(&number).map(Session::record).or_else(ended)
    }

    /// Events that no session was made of, because there were as many as there may be.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_event::{Level, Value as Field};

    fn told(name: &'static str, call: &str, fields: &[(&str, Field<'static>)]) -> Told {
        let own = [("call_id".to_owned(), Field::Text(call.to_owned().into()))].into_iter();
        let fields =
            own.chain(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))).collect();
        Told { role: "border", node: "b-a".into(), name, level: Level::Info, fields }
    }

    fn text(text: &'static str) -> Field<'static> {
        Field::Text(text.into())
    }

    fn reserved(name: &'static str, context: u64, octets: u64) -> Told {
        let fields = [
            ("gateway", text("agw")),
            ("context", Field::Number(context)),
            ("octets.caller.sent", Field::Number(octets)),
        ];
        told(name, "x", &fields)
    }

    #[test]
    fn a_call_is_put_together_and_told_once_at_its_end() {
        let (mut sessions, start, wall) =
            (Sessions::new(Bounds::default()), Instant::now(), SystemTime::now());
        let at = |ms| start + Duration::from_millis(ms);
        sessions.take(
            told("call-started", "x", &[("from", text("sip:a")), ("to", text("sip:b"))]),
            at(0),
            wall,
        );
        sessions.take(told("plan-made", "x", &[("plan", text("e2e"))]), at(1), wall);
        sessions.take(reserved("media-reserved", 7, 0), at(2), wall);
        sessions.take(reserved("media-reserved", 8, 0), at(2), wall);
        sessions.take(told("call-ended", "x", &[("cause", text("elsewhere"))]), at(3), wall);
        sessions.take(told("call-up", "x", &[]), at(40), wall);
        let (live, count) = sessions.live(0, 10);
        assert_eq!((count, &live[0]["to"], &live[0]["answered_ms"]), (1, &json!("sip:b"), &json!(40)));
        sessions.take(reserved("media-released", 7, 5), at(90), wall);
        sessions.take(told("call-ended", "x", &[("cause", text("caller-hung-up"))]), at(100), wall);
        assert!(sessions.completed(at(101)).is_empty(), "a gateway has not counted yet");
        sessions.take(reserved("media-released", 8, 6), at(102), wall);
        let completed = sessions.completed(at(103));
        let record = completed[0].record();
        assert_eq!(
            (&record["octets"]["caller.sent"], &record["cause"]),
            (&json!(11), &json!("caller-hung-up"))
        );
        assert_eq!((&record["ended_ms"], record["events"].as_array().unwrap().len()), (&json!(100), 9));
        assert!(sessions.completed(at(104)).is_empty() && sessions.live(0, 10).1 == 0);
        assert_eq!(sessions.one(1).unwrap()["call_id"], "x");
        assert_eq!(sessions.ended(0, 10).0.len(), 1);
        // What is late begins nothing.
        sessions.take(reserved("media-released", 9, 6), at(105), wall);
        assert_eq!(sessions.live(0, 10).1, 0);
    }

    #[test]
    fn a_gateway_that_is_gone_holds_no_record_back() {
        let (mut sessions, start, wall) =
            (Sessions::new(Bounds::default()), Instant::now(), SystemTime::now());
        sessions.take(told("call-started", "x", &[]), start, wall);
        sessions.take(reserved("media-reserved", 7, 0), start, wall);
        sessions.take(told("call-ended", "x", &[("cause", text("gateway-lost"))]), start, wall);
        assert!(sessions.completed(start + LAST_WORDS / 2).is_empty());
        assert_eq!(sessions.completed(start + LAST_WORDS).len(), 1);
    }

    #[test]
    fn nothing_grows_without_bound() {
        let bounds = Bounds { live: 3, ended: 2, events: 4 };
        let (mut sessions, now, wall) = (Sessions::new(bounds), Instant::now(), SystemTime::now());
        for n in 0..10 {
            sessions.take(told("call-started", &format!("c{n}"), &[]), now, wall);
        }
        assert_eq!((sessions.live(0, 100).1, sessions.turned_away()), (3, 7));
        assert_eq!(sessions.live(1, 1).0[0]["call_id"], "c1");
        for n in 0..20 {
            sessions.take(told("plan-made", "c0", &[("n", Field::Number(n))]), now, wall);
        }
        for n in 0..3 {
            sessions.take(told("call-ended", &format!("c{n}"), &[("cause", text("refused"))]), now, wall);
        }
        let completed = sessions.completed(now);
        let record = completed[0].record();
        let events: Vec<&Value> = record["events"].as_array().unwrap().iter().map(|e| &e["event"]).collect();
        assert_eq!(events, ["call-started", "plan-made", "plan-made", "call-ended"]);
        assert_eq!(record["left_out"], 18);
        assert_eq!(sessions.ended(0, 10).1, 2);
    }
}
