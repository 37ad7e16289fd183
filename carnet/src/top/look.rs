//! Looks at one process again and again, and says what it sees.
//!
//! Only what is on the screen is asked for: a window of the sessions, the one that is open. All of them are gone through
//! where they are filtered or sorted otherwise, a page at a time and up to [`MOST_PAGES`]. A process that is gone is tried
//! again until it is back.

use super::figures::Metrics;
use crate::node::{Event, Node, NodeError, segment};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How often a process is looked at.
pub const EVERY: Duration = Duration::from_secs(1);
/// How often all its sessions are gone through.
const WALK_EVERY: Duration = Duration::from_secs(5);
/// How long a process that is gone is left alone.
const REST: Duration = Duration::from_secs(2);
/// Sessions of a page.
const PAGE: usize = 1_000;
/// Pages that are gone through.
pub const MOST_PAGES: usize = 20;
/// Pages of contexts that are asked of each gateway in the process.
const CONTEXT_PAGES: usize = 5;

/// What is to be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Sessions after this one.
    pub after: u64,
    /// So many of them.
    pub limit: usize,
    /// All that there are.
    pub walk: bool,
    /// The session that is open.
    pub open: Option<u64>,
    /// Nothing at all for now.
    pub paused: bool,
}

/// What was seen.
#[derive(Debug)]
pub enum Seen {
    /// The process as a whole.
    Whole(Instant, Box<Whole>),
    /// Sessions, in order: all that there are after `after` up to the last one here, or to the end where nothing follows.
    Sessions {
        /// Where the page begins.
        after: u64,
        /// Summaries.
        sessions: Vec<Value>,
        /// How many there are altogether.
        total: usize,
        /// Whether more follow.
        more: bool,
    },
    /// The session that is open; `None` once the process does not know it any more.
    Open(u64, Option<Box<Open>>),
    /// Something that deserves attention.
    Warning(Event),
    /// There is no answer.
    Down(String),
}

/// What a process says of itself.
#[derive(Debug, Default)]
pub struct Whole {
    /// Its counters.
    pub metrics: Metrics,
    /// Answer of `/api/v1/nodes`.
    pub nodes: Value,
    /// Answer of `/api/v1/rooms`.
    pub rooms: Value,
    /// Octets that came, by gateway and context.
    pub contexts: HashMap<(String, u64), u64>,
    /// Those are all contexts of all gateways in the process.
    pub all_contexts: bool,
}

/// A session as a whole.
#[derive(Debug, Clone, Default)]
pub struct Open {
    /// Its record as it stands.
    pub record: Value,
    /// What its gateways hold for it: the gateway's name and the context.
    pub contexts: Vec<(String, Value)>,
    /// Its ladder, where the process draws one.
    pub ladder: Option<String>,
}

/// Looks until nobody wants to know any more.
pub async fn look(
    node: Arc<Node>,
    index: usize,
    mut wanted: watch::Receiver<Wanted>,
    seen: mpsc::Sender<(usize, Seen)>,
) {
    let (mut whole_due, mut walk_due) = (Instant::now(), Instant::now());
    loop {
        let want = wanted.borrow_and_update().clone();
        let rest = if want.paused {
            None
        } else {
            match once(&node, index, &want, &mut whole_due, &mut walk_due, &seen).await {
                Ok(()) => Some(whole_due.saturating_duration_since(Instant::now())),
                Err(error) => {
                    if seen.send((index, Seen::Down(error.to_string()))).await.is_err() {
                        return;
                    }
                    whole_due = Instant::now() + REST;
                    Some(REST)
                }
            }
        };
        let pause = async {
            match rest {
                Some(rest) => tokio::time::sleep(rest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pause => {}
            // Keys come in bursts.
            changed = wanted.changed() => match changed {
                Ok(()) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => return,
            },
        }
    }
}

/// Warnings and errors as they happen, until nobody wants to know any more.
pub async fn listen(node: Arc<Node>, index: usize, seen: mpsc::Sender<(usize, Seen)>) {
    loop {
        if let Ok(mut events) = node.events("level=warn").await {
            while let Ok(event) = events.next().await {
                if seen.send((index, Seen::Warning(event))).await.is_err() {
                    return;
                }
            }
        }
        if seen.is_closed() {
            return;
        }
        tokio::time::sleep(REST).await;
    }
}

async fn once(
    node: &Node,
    index: usize,
    want: &Wanted,
    whole_due: &mut Instant,
    walk_due: &mut Instant,
    seen: &mpsc::Sender<(usize, Seen)>,
) -> Result<(), NodeError> {
    // Nobody listens when the program ends.
    let tell = async |what| drop(seen.send((index, what)).await);
    if *whole_due <= Instant::now() {
        *whole_due = Instant::now() + EVERY;
        let whole = whole(node).await?;
        tell(Seen::Whole(Instant::now(), Box::new(whole))).await;
    }
    if want.limit > 0 && !want.walk {
        tell(page(node, want.after, want.limit.min(PAGE)).await?).await;
    }
    if want.walk && *walk_due <= Instant::now() {
        let mut after = 0;
        for _ in 0..MOST_PAGES {
            let page = page(node, after, PAGE).await?;
            let Seen::Sessions { sessions, more, .. } = &page else { break };
            let (last, more) = (sessions.last().and_then(|last| last.get("number")?.as_u64()), *more);
            tell(page).await;
            match last {
                Some(last) if more => after = last,
                _ => break,
            }
        }
        *walk_due = Instant::now() + WALK_EVERY;
    } else if !want.walk {
        *walk_due = Instant::now();
    }
    if let Some(number) = want.open {
        let open = open(node, number).await?;
        tell(Seen::Open(number, open.map(Box::new))).await;
    }
    Ok(())
}

/// The process as a whole.
///
/// # Errors
/// It does not answer.
pub async fn whole(node: &Node) -> Result<Whole, NodeError> {
    let nodes = node.get("/api/v1/nodes").await?;
    let metrics = Metrics::read(&node.text("/metrics").await?);
    let rooms = optional(node.get("/api/v1/rooms").await)?.unwrap_or_default();
    let mut whole = Whole { metrics, rooms, all_contexts: true, ..Whole::default() };
    for gateway in nodes.get("gateways").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = gateway.get("gateway").and_then(Value::as_str) else { continue };
        let mut from = 0;
        let mut complete = false;
        for _ in 0..CONTEXT_PAGES {
            let path = format!("/api/v1/gateways/{}/contexts?from={from}", segment(name));
            let Some(answer) = optional(node.get(&path).await)? else { break };
            for context in answer.get("contexts").and_then(Value::as_array).into_iter().flatten() {
                if let Some(number) = context.get("context").and_then(Value::as_u64) {
                    whole.contexts.insert((name.to_owned(), number), received(context));
                }
            }
            match answer.get("next").and_then(Value::as_u64) {
                Some(next) => from = next,
                None => {
                    complete = true;
                    break;
                }
            }
        }
        whole.all_contexts &= complete;
    }
    whole.nodes = nodes;
    Ok(whole)
}

/// Octets that came from peers into a context.
pub fn received(context: &Value) -> u64 {
    let terminations = context.get("terminations").and_then(Value::as_array).into_iter().flatten();
    terminations.filter_map(|one| one.get("octets_received")?.as_u64()).sum()
}

/// A page of sessions.
///
/// # Errors
/// It does not answer.
pub async fn page(node: &Node, after: u64, limit: usize) -> Result<Seen, NodeError> {
    let mut answer = node.get(&format!("/api/v1/sessions?after={after}&limit={limit}")).await?;
    let total = answer.get("total").and_then(Value::as_u64).unwrap_or_default();
    let more = answer.get("next").is_some_and(Value::is_u64);
    let Some(Value::Array(sessions)) = answer.get_mut("sessions").map(Value::take) else {
        return Err(NodeError::Odd("a list of sessions without sessions".into()));
    };
    Ok(Seen::Sessions { after, sessions, total: usize::try_from(total).unwrap_or(usize::MAX), more })
}

async fn open(node: &Node, number: u64) -> Result<Option<Open>, NodeError> {
    let Some(record) = optional(node.get(&format!("/api/v1/sessions/{number}")).await)? else {
        return Ok(None);
    };
    let mut open = Open { record, ..Open::default() };
    for media in open.record.get("reserved").and_then(Value::as_array).into_iter().flatten() {
        let (Some(gateway), Some(context)) =
            (media.get(0).and_then(Value::as_str), media.get(1).and_then(Value::as_u64))
        else {
            continue;
        };
        let path = format!("/api/v1/gateways/{}/contexts?from={context}", segment(gateway));
        let answer = optional(node.get(&path).await)?.unwrap_or_default();
        let held = answer.get("contexts").and_then(Value::as_array).into_iter().flatten();
        let held = held.into_iter().find(|held| held.get("context").and_then(Value::as_u64) == Some(context));
        open.contexts.extend(held.map(|held| (gateway.to_owned(), held.clone())));
    }
    let ladder = node.text(&format!("/api/v1/sessions/{number}/ladder?format=text")).await;
    open.ladder = optional(ladder)?.filter(|ladder| !ladder.trim().is_empty());
    Ok(Some(open))
}

/// An answer that a process may not have: what it refuses is not there, and the rest goes on.
fn optional<T>(answer: Result<T, NodeError>) -> Result<Option<T>, NodeError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(NodeError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
