//! Sessions as they are put together from events: what is live, what has ended a moment ago, and a record of each at its end.
//!
//! Everything that a role tells with a `call_id` belongs to that call of that role. A call ends with `call-ended` of a
//! border or `dialog-ended` of a steered gateway, and its record is complete when each `media-reserved` has its
//! `media-released`, or after [`LAST_WORDS`]. A call of before the process (`call-restored`) began when it says. Everything is bounded: calls, what is kept of one, and how many that have ended
//! are remembered; what was left out is counted in the record (`left_out`).

use crate::Told;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
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

/// When a call was, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The role's name.
    pub node: String,
    /// As on the wire.
    pub call_id: String,
    /// When its first event came.
    pub began: SystemTime,
    /// When it ended.
    pub ended: Option<SystemTime>,
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
        // One of before the process began then.
        let began = told.field("began").filter(|_| told.name == "call-restored");
        let began = began.and_then(carnet_event::Value::number).map(Duration::from_millis);
        let began =
            began.and_then(|began| SystemTime::UNIX_EPOCH.checked_add(began)).filter(|at| *at <= wall);
        let age = began.and_then(|began| wall.duration_since(began).ok()).unwrap_or_default();
        let (since, wall) = now.checked_sub(age).map_or((now, wall), |since| (since, began.unwrap_or(wall)));
        Self {
            number,
            role: told.role,
            node: told.node.clone(),
            call_id: call_id.to_owned(),
            began: wall,
            since,
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
            "media-reserved" | "media-restored" => {
                self.reserved.extend(own("context").map(|context| (gateway, context)));
            }
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
            "call-restored" => {
                let times = own("began").zip(own("answered"));
                self.answered = times.map(|(began, answered)| answered.saturating_sub(began));
            }
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

    /// Octets from either end, of media that was given back.
    fn came(&self) -> u64 {
        let came = self.octets.iter().filter(|(name, _)| name.ends_with(".received"));
        came.fold(0, |sum, (_, octets)| sum.saturating_add(*octets))
    }

    /// Whether that is in what a list shows of it.
    fn has(&self, q: &str) -> bool {
        let facts = ["from", "to", "plan", "cause"].into_iter();
        let facts = facts.filter_map(|name| self.facts.get(name).and_then(Value::as_str));
        [self.call_id.as_str(), self.node.as_str()]
            .into_iter()
            .chain(facts)
            .any(|text| text.to_lowercase().contains(q))
    }

    /// For lists. `reserved` is what gateways hold for it: name and context.
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
            "networks": [fact("networks.caller"), fact("networks.callee")],
            "gateway": fact("gateway"),
            "octets_received": self.came(),
            "reserved": self.reserved.iter().map(|(gateway, context)| json!([gateway, context])).collect::<Vec<_>>(),
        })
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

/// Which sessions are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// [`Found::next`] of the page before.
    pub after: Option<u64>,
    /// Which first.
    pub order: Order,
    /// The most that are wanted.
    pub limit: usize,
    /// The most that are looked at.
    pub look_at: usize,
    /// Only those with that in their Call-ID, an end's URI, the plan, the cause or the role's name. In lower case.
    pub q: Option<&'a str>,
}

/// Which sessions come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Those that began, or ended, first.
    Oldest,
    /// Those that did last.
    Newest,
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// A summary of each.
    pub sessions: Vec<Value>,
    /// How many there are, wanted or not.
    pub total: usize,
    /// Where to go on, if there may be more.
    pub next: Option<u64>,
}

/// Whose a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// `border` or `steering`.
    pub role: &'static str,
    /// The role's name.
    pub node: String,
    /// As on the wire.
    pub call_id: String,
    /// Whether it is over.
    pub ended: bool,
}

impl Page<'_> {
    fn cut<'s>(&self, total: usize, all: impl Iterator<Item = (u64, &'s Session)>) -> Found {
        let (mut found, mut last) = (Found { total, ..Found::default() }, None);
        for (looked_at, (at, session)) in all.enumerate() {
            if found.sessions.len() >= self.limit || looked_at >= self.look_at {
                found.next = last;
                break;
            }
            last = Some(at);
            if self.q.is_none_or(|q| session.has(q)) {
                found.sessions.push(session.summary());
            }
        }
        found
    }
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
    /// How many have ended before the first of those.
    forgotten: u64,
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
            None if !matches!(
                told.name,
                "call-started" | "call-restored" | "offer-planned" | "dialog-started"
            ) =>
            {
                return None;
            }
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
            self.forgotten += 1;
        }
        completed
    }

    /// How many are in progress.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.live.len()
    }

    /// A page of live sessions, in the order of their numbers.
    #[must_use]
    pub fn live(&self, page: &Page<'_>) -> Found {
        let (total, after) = (self.live.len(), page.after);
        let known = |(number, session): (&u64, _)| (*number, session);
        match page.order {
            Order::Oldest => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                page.cut(total, self.live.range((from, Bound::Unbounded)).map(known))
            }
            Order::Newest => {
                let to = after.map_or(Bound::Unbounded, Bound::Excluded);
                page.cut(total, self.live.range((Bound::Unbounded, to)).rev().map(known))
            }
        }
    }

    /// A page of the sessions that have ended, in the order in which they did.
    #[must_use]
    pub fn ended(&self, page: &Page<'_>) -> Found {
        let (total, after) = (self.ended.len(), page.after);
        let all = (self.forgotten + 1..).zip(self.ended.iter().map(Arc::as_ref));
        match page.order {
            Order::Oldest => page.cut(total, all.filter(|(at, _)| after.is_none_or(|after| *at > after))),
            Order::Newest => {
                let all: Vec<_> = all.collect();
                let all = all.into_iter().rev();
                page.cut(total, all.filter(|(at, _)| after.is_none_or(|after| *at < after)))
            }
        }
    }

    /// Whose a session is.
    #[must_use]
    pub fn whose(&self, number: u64) -> Option<Whose> {
        let ended = || self.ended.iter().map(Arc::as_ref).find(|session| session.number == number);
        let of = |session: &Session| Whose {
            role: session.role,
            node: session.node.clone(),
            call_id: session.call_id.clone(),
            ended: session.ended.is_some(),
        };
        self.live.get(&number).or_else(ended).map(of)
    }

    /// All that is known of one.
    #[must_use]
    pub fn one(&self, number: u64) -> Option<Value> {
        let ended =
            || self.ended.iter().find(|session| session.number == number).map(|session| session.record());
        self.live.get(&number).map(Session::record).or_else(ended)
    }

    /// Its node and Call-ID, when it began, and when it ended if it has.
    #[must_use]
    pub fn span(&self, number: u64) -> Option<Span> {
        let ended = || self.ended.iter().find(|session| session.number == number).map(|session| &**session);
        let session = self.live.get(&number).or_else(ended)?;
        let after = |milliseconds| session.began + Duration::from_millis(milliseconds);
        let (node, call_id) = (session.node.clone(), session.call_id.clone());
        Some(Span { node, call_id, began: session.began, ended: session.ended.map(after) })
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

    fn page(after: Option<u64>, limit: usize) -> Page<'static> {
        Page { after, order: Order::Oldest, limit, look_at: 1_000, q: None }
    }

    fn reserved(name: &'static str, context: u64, octets: u64) -> Told {
        let fields = [
            ("gateway", text("agw")),
            ("context", Field::Number(context)),
            ("octets.caller.sent", Field::Number(octets)),
            ("octets.callee.received", Field::Number(octets)),
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
        let found = sessions.live(&page(None, 10));
        let (live, count) = (&found.sessions, found.total);
        assert_eq!((count, &live[0]["to"], &live[0]["answered_ms"]), (1, &json!("sip:b"), &json!(40)));
        assert_eq!(live[0]["reserved"], json!([["agw", 7], ["agw", 8]]));
        sessions.take(reserved("media-released", 7, 5), at(90), wall);
        let live = sessions.live(&page(None, 10)).sessions;
        assert_eq!((&live[0]["reserved"], &live[0]["octets_received"]), (&json!([["agw", 8]]), &json!(5)));
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
        assert!(sessions.completed(at(104)).is_empty() && sessions.live(&page(None, 10)).total == 0);
        assert_eq!(sessions.one(1).unwrap()["call_id"], "x");
        assert_eq!(sessions.ended(&page(None, 10)).sessions.len(), 1);
        // What is late begins nothing.
        sessions.take(reserved("media-released", 9, 6), at(105), wall);
        assert_eq!(sessions.live(&page(None, 10)).total, 0);
    }

    #[test]
    fn a_call_of_before_the_process_began_when_it_did() {
        let mut sessions = Sessions::new(Bounds::default());
        let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let times = [("began", Field::Number(995_000)), ("answered", Field::Number(997_500))];
        sessions.take(told("call-restored", "x", &times), now, wall);
        sessions.take(reserved("media-restored", 7, 0), now, wall);
        sessions.take(told("call-ended", "x", &[("cause", text("caller-hung-up"))]), now, wall);
        assert!(sessions.completed(now).is_empty(), "its gateway has not counted yet");
        sessions.take(reserved("media-released", 7, 5), now, wall);
        let record = sessions.completed(now)[0].record();
        assert_eq!(record["began"], "1970-01-01T00:16:35Z");
        assert_eq!((&record["answered_ms"], &record["ended_ms"]), (&json!(2_500), &json!(5_000)));
        assert_eq!(record["octets"]["caller.sent"], 5);
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
        assert_eq!((sessions.live(&page(None, 100)).total, sessions.turned_away()), (3, 7));
        assert_eq!(sessions.live(&page(Some(1), 1)).sessions[0]["call_id"], "c1");
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
        assert_eq!(sessions.ended(&page(None, 10)).total, 2);
    }
    #[test]
    fn pages_follow_one_another_and_what_is_looked_for_is_found() {
        let bounds = Bounds { ended: 3, ..Bounds::default() };
        let (mut sessions, now, wall) = (Sessions::new(bounds), Instant::now(), SystemTime::now());
        for n in 0..10 {
            let to: &'static str = if n % 3 == 0 { "sip:Carol@x.example" } else { "sip:bob@x.example" };
            sessions.take(told("call-started", &format!("c{n}"), &[("to", text(to))]), now, wall);
        }
        let all = |sessions: &Sessions, live: bool, order, q: Option<&str>, look_at| {
            let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
            loop {
                let page = Page { after, order, limit: 3, look_at, q };
                let found = if live { sessions.live(&page) } else { sessions.ended(&page) };
                assert!(found.sessions.len() <= 3);
                seen.extend(found.sessions.iter().map(|s| s["call_id"].as_str().unwrap().to_owned()));
                (after, pages) = (found.next, pages + 1);
                if after.is_none() {
                    return (seen.join(" "), pages);
                }
            }
        };
        let oldest = "c0 c1 c2 c3 c4 c5 c6 c7 c8 c9";
        assert_eq!(all(&sessions, true, Order::Oldest, None, 100), (oldest.into(), 4));
        let newest: Vec<_> = oldest.split(' ').rev().collect();
        assert_eq!(all(&sessions, true, Order::Newest, None, 100).0, newest.join(" "));
        assert_eq!(all(&sessions, true, Order::Oldest, Some("carol@"), 100), ("c0 c3 c6 c9".into(), 2));
        // No more than so many are looked at for one page, which may be empty.
        assert_eq!(all(&sessions, true, Order::Newest, Some("c1"), 2), ("c1".into(), 5));
        assert_eq!(sessions.whose(2).map(|whose| (whose.call_id, whose.ended)), Some(("c1".into(), false)));
        for n in [4, 2, 0, 8, 6] {
            sessions.take(told("call-ended", &format!("c{n}"), &[("cause", text("refused"))]), now, wall);
            let _ = sessions.completed(now);
        }
        assert_eq!(all(&sessions, false, Order::Newest, None, 100).0, "c6 c8 c0");
        assert_eq!(
            all(&sessions, false, Order::Oldest, Some("REFUSED".to_lowercase().as_str()), 1).0,
            "c0 c8 c6"
        );
        assert_eq!(sessions.whose(7).map(|whose| whose.ended), Some(true));
        assert_eq!(sessions.whose(3), None, "forgotten");
    }
}
