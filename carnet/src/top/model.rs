//! What is known of the processes that are looked at.
//!
//! Data only: it asks nobody and draws nothing. What others wrote (names, reasons) is cleaned where it comes in.

use super::figures::{Counts, Pace};
use super::look::{Open, Seen, Whole};
use crate::ue::room::clean;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Instant, SystemTime};

/// Warnings that are remembered.
const MOST_WARNINGS: usize = 500;

/// How far a session is sealed, as it was planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seal {
    /// Somebody on the way can read at least one line.
    Open,
    /// To the gateway of each access that asked for it.
    Edge,
    /// From end to end.
    EndToEnd,
    /// Not planned yet, or no media.
    Unknown,
}

/// A session in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which process, by its place.
    pub node: usize,
    /// Its number there.
    pub number: u64,
    /// The border or steered gateway.
    pub role: String,
    /// As on the wire.
    pub call_id: String,
    /// Seconds since 1970, by the clock of the process.
    pub began: Option<f64>,
    /// It was answered.
    pub answered: bool,
    /// It is over, and its gateways have not counted yet.
    pub ended: bool,
    /// Who called.
    pub from: String,
    /// Whom.
    pub to: String,
    /// Decisions for its lines, each once: `e2e+plain`.
    pub plan: String,
    /// What they mean.
    pub seal: Seal,
    /// Octets that came from either end and were counted at the end of their media.
    counted: u64,
    /// What gateways hold for it.
    media: Vec<(String, u64)>,
}

/// In which order sessions are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// As the processes have them.
    #[default]
    Oldest,
    /// The other way round.
    Newest,
    /// The most octets first.
    Octets,
    /// What is open first.
    Seal,
}

impl Sort {
    /// The one after it.
    pub fn next(self) -> Self {
        match self {
            Self::Oldest => Self::Newest,
            Self::Newest => Self::Octets,
            Self::Octets => Self::Seal,
            Self::Seal => Self::Oldest,
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oldest => "oldest first",
            Self::Newest => "newest first",
            Self::Octets => "most octets first",
            Self::Seal => "not sealed first",
        }
    }
}

/// One process.
#[derive(Debug, Default)]
pub struct Process {
    /// Where it answers.
    pub name: String,
    /// Why it does not, if it does not.
    pub down: Option<String>,
    /// It has answered at least once.
    pub known: bool,
    /// The newest look.
    pub whole: Whole,
    /// What its counters come to.
    pub pace: Pace,
    /// Octets a second that pass, where all contexts are known.
    pub passing: Option<f64>,
    /// When that was.
    at: Option<Instant>,
    /// Sessions that are known here.
    pub sessions: BTreeMap<u64, Row>,
    /// Sessions that there are.
    pub total: usize,
    /// Whether [`Process::sessions`] goes to the end.
    pub to_the_end: bool,
}

/// Something that deserved attention.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// Which process, by its place.
    pub node: usize,
    /// `HH:MM:SS`, in UTC.
    pub time: String,
    /// `warn` or `error`.
    pub level: String,
    /// The event's name.
    pub name: String,
    /// Its fields.
    pub words: String,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Model {
    /// In the order of the command line.
    pub processes: Vec<Process>,
    /// The newest last.
    pub warnings: VecDeque<Warning>,
    /// The session that is open.
    pub open: Option<Open>,
    /// The process does not know it any more.
    pub gone: bool,
}

impl Model {
    /// Of processes that answer at these places.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let process = |name| Process { name, ..Process::default() };
        Self { processes: names.into_iter().map(process).collect(), ..Self::default() }
    }

    /// Takes what was seen. `opened` is the session that is open now, what comes of another one is late.
    pub fn take(&mut self, node: usize, seen: Seen, opened: Option<(usize, u64)>) {
        if let Seen::Warning(event) = seen {
            self.warnings.push_back(warning(node, &event));
            if self.warnings.len() > MOST_WARNINGS {
                self.warnings.pop_front();
            }
            return;
        }
        let Some(process) = self.processes.get_mut(node) else { return };
        match seen {
            Seen::Down(why) => {
                process.down = Some(clean(&why));
                process.passing = None;
                process.at = None;
            }
            Seen::Whole(now, whole) => process.take(now, *whole),
            Seen::Sessions { after, sessions, total, more } => {
                process.total = total;
                process.listed(node, after, &sessions, more);
            }
            Seen::Open(number, open) if opened == Some((node, number)) => {
                self.gone = open.is_none();
                if let Some(open) = open {
                    self.open = Some(*open);
                }
            }
            Seen::Open(..) | Seen::Warning(_) => {}
        }
    }

    /// Sessions that there are, in processes that answer.
    pub fn total(&self) -> usize {
        self.up().map(|process| process.total).sum()
    }

    /// Processes that answer.
    pub fn up(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.known && process.down.is_none())
    }

    /// What the counters of all come to, if there is any that was read twice.
    pub fn rate(&self) -> Option<Counts> {
        let rates = self.up().filter_map(|process| process.pace.rate());
        rates.reduce(|a, b| Counts {
            setups: a.setups + b.setups,
            failures: a.failures + b.failures,
            octets: a.octets + b.octets,
            tickets: a.tickets + b.tickets,
        })
    }

    /// Octets a second through all gateways that answer; `None` where that is not known of one.
    pub fn passing(&self) -> Option<f64> {
        let gateways = self.up().filter(|process| !array(&process.whole.nodes, "gateways").is_empty());
        let mut all = gateways.map(|process| process.passing).peekable();
        all.peek()?;
        all.sum()
    }

    /// Octets of a session so far; `None` where its gateways are not looked at.
    pub fn octets(&self, row: &Row) -> Option<u64> {
        let live = row
            .media
            .iter()
            .map(|key| self.up().find_map(|process| process.whole.contexts.get(key).copied()));
        let live: Option<u64> = live.sum();
        live.map(|live| live.saturating_add(row.counted)).or((row.counted > 0).then_some(row.counted))
    }

    /// Sessions that are known and fit, in that order.
    pub fn listed(&self, filter: &str, sort: Sort) -> Vec<&Row> {
        let filter = filter.to_lowercase();
        let all = self.up().flat_map(|process| process.sessions.values());
        let mut rows: Vec<&Row> = all.filter(|row| row.fits(&filter)).collect();
        // Clocks of hosts differ: within one process its own order counts.
        let began = |row: &&Row| (row.began.map_or(0, |at| at as u64), row.node, row.number);
        match sort {
            Sort::Oldest => rows.sort_by_key(began),
            Sort::Newest => rows.sort_by_key(|row| Reverse(began(row))),
            Sort::Octets => rows.sort_by_cached_key(|row| (Reverse(self.octets(row)), began(row))),
            Sort::Seal => rows.sort_by_key(|row| (row.seal, began(row))),
        }
        rows
    }
}

impl Process {
    fn take(&mut self, now: Instant, whole: Whole) {
        let seconds = self.at.map(|at| now.saturating_duration_since(at).as_secs_f64());
        let came = came(&self.whole.contexts, &whole.contexts);
        let both = self.whole.all_contexts && whole.all_contexts;
        self.passing = seconds.filter(|seconds| *seconds > 0.0 && both).map(|seconds| came as f64 / seconds);
        self.pace.take(now, whole.metrics.counts);
        self.whole = whole;
        self.at = Some(now);
        self.down = None;
        self.known = true;
    }

    fn listed(&mut self, node: usize, after: u64, sessions: &[Value], more: bool) {
        let rows = sessions.iter().filter_map(|summary| Row::of(node, summary));
        let rows: BTreeMap<u64, Row> = rows.map(|row| (row.number, row)).collect();
        // What is not there any more is over.
        let last = if more { rows.keys().next_back().copied().unwrap_or(after) } else { u64::MAX };
        let beyond = self.sessions.keys().next_back().is_some_and(|known| *known > last);
        self.sessions.retain(|number, _| *number <= after || *number > last);
        self.sessions.extend(rows);
        self.to_the_end = !more || beyond && self.to_the_end;
    }
}

impl Row {
    /// From the summary of a list.
    pub fn of(node: usize, summary: &Value) -> Option<Self> {
        let text = |name: &str| clean(summary.get(name).and_then(Value::as_str).unwrap_or_default());
        let told = text("plan");
        let plan = decisions(&told);
        let media = array(summary, "reserved").iter();
        let media = media.filter_map(|one| Some((one.get(0)?.as_str()?.to_owned(), one.get(1)?.as_u64()?)));
        Some(Self {
            node,
            number: summary.get("number")?.as_u64()?,
            role: text("node"),
            call_id: text("call_id"),
            began: summary.get("began").and_then(Value::as_str).and_then(seconds),
            answered: summary.get("answered_ms").is_some_and(Value::is_u64),
            ended: summary.get("ended_ms").is_some_and(Value::is_u64),
            // A steered gateway is told tags, and no names.
            from: match text("from") {
                from if from.is_empty() => text("call_id"),
                from => uri(&from),
            },
            to: uri(&text("to")),
            seal: seal(&plan),
            plan: plan.join("+"),
            counted: summary.get("octets_received").and_then(Value::as_u64).unwrap_or_default(),
            media: media.collect(),
        })
    }

    /// Seconds since it began; clocks that differ make no ages below nothing.
    pub fn age(&self, now: SystemTime) -> Option<u64> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
        self.began.map(|began| (now - began).max(0.0) as u64)
    }

    fn fits(&self, filter: &str) -> bool {
        filter.is_empty()
            || [&self.from, &self.to, &self.call_id, &self.plan, &self.role]
                .iter()
                .any(|text| text.to_lowercase().contains(filter))
    }
}

/// Octets that came between two looks at contexts.
fn came(before: &HashMap<(String, u64), u64>, after: &HashMap<(String, u64), u64>) -> u64 {
    let more =
        |(key, now): (&(String, u64), &u64)| now.saturating_sub(before.get(key).copied().unwrap_or_default());
    after.iter().map(more).fold(0, u64::saturating_add)
}

/// The names of the decisions in a plan as it is told, each once: `line 0 (message TCP/TLS/MSRP): e2e over …`.
pub fn decisions(plan: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for line in plan.split("; line ").filter(|line| !line.is_empty()) {
        let said = line.split_once("): ").map_or(line, |(_, said)| said);
        let word = |c: char| !c.is_ascii_alphanumeric();
        let name = said.split(word).next().unwrap_or_default();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What decisions come to: no more than the weakest of them.
fn seal(decisions: &[&str]) -> Seal {
    let seals = decisions.iter().filter_map(|name| match *name {
        "e2e" => Some(Seal::EndToEnd),
        "e2ae" => Some(Seal::Edge),
        "unused" | "refuse" => None,
        _ => Some(Seal::Open),
    });
    seals.min().unwrap_or(Seal::Unknown)
}

/// A URI as people say it: `alice@a.example`.
fn uri(text: &str) -> String {
    text.strip_prefix("sip:").unwrap_or(text).to_owned()
}

fn seconds(timestamp: &str) -> Option<f64> {
    let at: jiff::Timestamp = timestamp.parse().ok()?;
    Some(at.as_millisecond() as f64 / 1e3)
}

fn warning(node: usize, event: &crate::node::Event) -> Warning {
    let mut words = String::new();
    let text = |name: &str| event.data.get(name).and_then(Value::as_str).map(clean).unwrap_or_default();
    for (name, value) in event.data.as_object().into_iter().flatten() {
        if name == "timestamp" || name == "level" {
            continue;
        }
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(&format!("{}={}", clean(name), clean(&value)));
    }
    let time = text("timestamp");
    let time = time.get(11..19).unwrap_or_default().to_owned();
    Warning { node, time, level: text("level"), name: clean(&event.name), words }
}

/// A member that is a list; nothing where it is none.
pub fn array<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A member in words; nothing where it is not there.
pub fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => clean(text),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary(number: u64, plan: &str) -> Value {
        json!({ "number": number, "node": "b-a", "call_id": format!("c{number}"), "plan": plan,
                "began": "2026-11-27T09:30:00.5Z", "answered_ms": 4, "ended_ms": null,
                "from": "sip:alice@a.example", "to": "tel:+1555", "octets_received": 3,
                "reserved": [["agw", number]] })
    }

    #[test]
    fn a_session_is_as_sealed_as_its_weakest_line() {
        for (plan, names, mark) in [
            (
                "line 0 (message TCP/TLS/MSRP): e2e over TCP/TLS, a=setup:active; why; why",
                "e2e",
                Seal::EndToEnd,
            ),
            ("line 0 (m A): e2e over X; line 1 (m B): plain; why", "e2e+plain", Seal::Open),
            ("line 0 (m A): e2e; line 1 (m B): e2ae, x", "e2e+e2ae", Seal::Edge),
            ("line 0 (m A): e2e; line 1 (m B): unused", "e2e+unused", Seal::EndToEnd),
            ("", "", Seal::Unknown),
        ] {
            let row = Row::of(0, &summary(1, plan)).unwrap();
            assert_eq!((row.plan.as_str(), row.seal), (names, mark), "{plan}");
        }
    }

    #[test]
    fn a_page_replaces_what_it_covers_and_nothing_else() {
        let mut model = Model::new(["x".to_owned()]);
        let page = |after, numbers: &[u64], more| Seen::Sessions {
            after,
            sessions: numbers.iter().map(|n| summary(*n, "")).collect(),
            total: 9,
            more,
        };
        let known = |model: &Model| model.processes[0].sessions.keys().copied().collect::<Vec<_>>();
        model.take(0, page(0, &[1, 2, 3], true), None);
        model.take(0, page(3, &[4, 5], false), None);
        assert_eq!((known(&model), model.processes[0].to_the_end), (vec![1, 2, 3, 4, 5], true));
        model.take(0, page(1, &[3], true), None);
        assert_eq!((known(&model), model.processes[0].to_the_end), (vec![1, 3, 4, 5], true));
        model.take(0, page(3, &[5, 6], true), None);
        assert_eq!((known(&model), model.processes[0].to_the_end), (vec![1, 3, 5, 6], false));
        model.take(0, page(0, &[], false), None);
        assert!(known(&model).is_empty());
    }

    #[test]
    fn octets_are_those_of_gateways_that_are_looked_at() {
        let mut model = Model::new(["x".to_owned(), "y".to_owned()]);
        let whole = |octets| {
            let contexts = [(("agw".to_owned(), 7), octets)].into();
            let nodes = json!({ "gateways": [{ "gateway": "agw" }] });
            Box::new(Whole { contexts, nodes, all_contexts: true, ..Whole::default() })
        };
        let row = Row::of(0, &summary(7, "")).unwrap();
        assert_eq!(model.octets(&row), Some(3), "only what was counted");
        let start = Instant::now();
        model.take(1, Seen::Whole(start, whole(100)), None);
        assert_eq!((model.octets(&row), model.passing()), (Some(103), None));
        model.take(1, Seen::Whole(start + std::time::Duration::from_secs(2), whole(150)), None);
        assert_eq!((model.octets(&row), model.passing()), (Some(153), Some(25.0)));
        model.take(1, Seen::Down("gone".into()), None);
        assert_eq!((model.octets(&row), model.passing()), (Some(3), None));
    }

    #[test]
    fn words_of_others_steer_no_terminal() {
        let event = crate::node::Event {
            name: "request-refused".into(),
            data: json!({ "timestamp": "2026-11-27T09:30:01.2Z", "level": "warn", "reason": "\u{1b}[2Jx", "status": 403 }),
        };
        let mut model = Model::new(["x".to_owned()]);
        model.take(0, Seen::Warning(event), None);
        let warning = &model.warnings[0];
        assert_eq!((warning.time.as_str(), warning.level.as_str()), ("09:30:01", "warn"));
        assert_eq!(warning.words, "reason=\u{fffd}[2Jx status=403");
    }
}
