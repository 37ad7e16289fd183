//! `GET /api/v1/network`: this process and those that `[[admin.nodes]]` names, what runs in each and what is between them.
//!
//! Each process is asked by a task of its own, within a time and for so many octets, so that one that is dead, slow or mad costs the
//! others nothing. What is told is what was last heard, and since when there is nothing new. The browser asks this process only.
//!
//! Leaves out: finding processes by themselves, and what a process says beyond what [`told`] knows.

pub(super) mod act;
pub(super) mod calls;
mod links;
mod told;

use super::deeds::Event;
use super::{Desk, process};
use crate::node::{Node, NodeError, of_entry};
use crate::roles::Watch;
use crate::roles::question::Ask;
use crate::web::answer::{Answer, Failure};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carnet_ops::config::{NodeSection, Spanned, THIS_PROCESS};
use carnet_ops::sessions::timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use told::{Held, Process};
use utoipa::ToSchema;

/// Between two looks while somebody wants to see the network.
const OFTEN: Duration = Duration::from_secs(3);
/// Otherwise: it is known since when a process is not there.
const SELDOM: Duration = Duration::from_secs(30);
/// For how long somebody is taken to look after he has asked.
const LOOKING: Duration = Duration::from_secs(30);
/// How long a process may take for one answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Octets of one answer.
const MOST_ANSWER: usize = 4 << 20;

/// The other processes.
pub(super) struct Network {
    peers: Vec<Arc<Peer>>,
    /// When somebody asked last.
    looked: watch::Sender<Option<Instant>>,
    /// Only one ladder of several processes is put together at a time.
    making: Arc<Semaphore>,
}

/// Another process.
struct Peer {
    section: NodeSection,
    node: Mutex<Arc<Node>>,
    seen: Mutex<Seen>,
}

/// What is known of it.
#[derive(Default)]
struct Seen {
    last: Option<Arc<Known>>,
    /// When it answered last, and how long it took.
    asked: Option<(SystemTime, Duration)>,
    /// Since when it is reached, or not, and why not.
    since: Option<SystemTime>,
    why: Option<String>,
}

/// What it said.
#[derive(Default)]
struct Known {
    process: Process,
    held: Held,
}

impl Network {
    /// For those that the file names, none of which is asked yet.
    ///
    /// # Errors
    /// Which cannot be asked, and why.
    pub(super) fn new(sections: &[Spanned<NodeSection>]) -> Result<Self, String> {
        let peers = sections.iter().map(|section| Peer::new(section.as_ref()).map(Arc::new));
        let peers = peers.collect::<Result<_, _>>()?;
        Ok(Self { peers, looked: watch::channel(None).0, making: Arc::new(Semaphore::new(1)) })
    }

    /// Asks them from now on.
    pub(super) fn start(&self, watch: &Arc<Watch>) -> Vec<JoinHandle<()>> {
        let follow = |peer: &Arc<Peer>| {
            tokio::spawn(Arc::clone(peer).follow(self.looked.subscribe(), Arc::clone(watch)))
        };
        self.peers.iter().map(follow).collect()
    }

    /// How many there are.
    pub(super) fn others(&self) -> usize {
        self.peers.len()
    }

    fn look(&self) {
        self.looked.send_replace(Some(Instant::now()));
    }

    fn peer(&self, name: &str) -> Answer<&Arc<Peer>> {
        let found = self.peers.iter().find(|peer| peer.name() == name);
        found.ok_or_else(|| {
            Failure::missing(format!("there is no process `{}` in [[admin.nodes]]", name.escape_debug()))
        })
    }
}

impl Peer {
    fn new(section: &NodeSection) -> Result<Self, String> {
        let node = Self::reach(section).map_err(|why| format!("node `{}`: {why}", section.name.as_ref()))?;
        Ok(Self { section: section.clone(), node: Mutex::new(node), seen: Mutex::default() })
    }

    fn reach(section: &NodeSection) -> Result<Arc<Node>, String> {
        of_entry(section).map(|node| Arc::new(node.bounded(PATIENCE, MOST_ANSWER)))
    }

    fn name(&self) -> &str {
        self.section.name.as_ref()
    }

    fn node(&self) -> Arc<Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it said last.
    fn known(&self) -> Option<Arc<Known>> {
        self.seen().last.clone()
    }

    async fn follow(self: Arc<Self>, mut looked: watch::Receiver<Option<Instant>>, watch: Arc<Watch>) {
        loop {
            let began = Instant::now();
            let heard = self.look().await;
            self.heard(heard, began.elapsed(), &watch);
            let somebody = looked.borrow_and_update().is_some_and(|at| at.elapsed() < LOOKING);
            if somebody {
                tokio::time::sleep(OFTEN).await;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(SELDOM) => {}
                    changed = looked.changed() => if changed.is_err() { return },
                }
            }
        }
    }

    async fn look(&self) -> Result<Known, NodeError> {
        let process = self.get("/api/v1/process").await?;
        Ok(Known { process, held: self.get("/api/v1/nodes").await? })
    }

    /// A document of it, as far as it is known here.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, NodeError> {
        let value = self.node().get(path).await?;
        serde_json::from_value(value).map_err(|_| NodeError::Odd("it is not what an API of ours says".into()))
    }

    fn heard(&self, heard: Result<Known, NodeError>, took: Duration, watch: &Watch) {
        let now = SystemTime::now();
        let (event, renew) = {
            let mut seen = self.seen();
            let node = self.name().to_owned();
            match heard {
                Ok(known) => {
                    let first = seen.since.is_none();
                    let back = first || seen.why.take().is_some();
                    if back {
                        seen.since = Some(now);
                    }
                    seen.last = Some(Arc::new(known));
                    seen.asked = Some((now, took));
                    (back.then_some(Event::Reached { node }), false)
                }
                Err(error) => {
                    let reason: String = error.to_string().chars().take(300).collect();
                    let lost = seen.why.is_none();
                    if lost {
                        seen.since = Some(now);
                    }
                    seen.why = Some(reason.clone());
                    (lost.then_some(Event::Lost { node, reason }), true)
                }
            }
        };
        if let Some(event) = event {
            match &event {
                Event::Lost { node, reason } => tracing::warn!(node, reason, "node-lost"),
                Event::Reached { node } => tracing::info!(node, "node-reached"),
                Event::Done { .. } => {}
            }
            watch.administered(&event);
        }
        // Its token or its authority may be another one now.
        if renew && let Ok(node) = Self::reach(&self.section) {
            *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
        }
    }
}

/// A process of the network.
#[derive(Serialize, ToSchema)]
pub(super) struct NodeShown {
    /// `here`, or as `[[admin.nodes]]` calls it.
    name: String,
    /// Whether it is the process that answers.
    here: bool,
    /// Where it is asked.
    url: Option<String>,
    /// `reached`, `unreachable`, or `unknown` before it was asked for the first time.
    state: &'static str,
    /// Since when.
    since: Option<String>,
    /// Why it is not reached.
    why: Option<String>,
    /// When it answered last.
    heard: Option<String>,
    /// How long it took then, in milliseconds.
    took_ms: Option<f64>,
    /// `good`, `warn` (it drains, or something of it is not in service), `bad` (not reached), `unknown`.
    health: &'static str,
    /// Its version.
    version: Option<String>,
    /// When it began.
    began: Option<String>,
    /// Whether it drains.
    draining: bool,
    /// Whether something can be changed there with what this process shows to it, by who asks.
    may_change: bool,
    /// Calls in progress at its borders and steered gateways.
    calls: Option<u64>,
    /// Contexts that its gateways hold.
    contexts: Option<u64>,
    /// Its roles, as `/api/v1/process` there has them; as it was heard last.
    roles: Vec<Value>,
    /// `gateways`, `borders` and `conferences`, as `/api/v1/nodes` there has them; as it was heard last.
    held: Value,
}

/// The whole network.
#[derive(Serialize, ToSchema)]
pub(super) struct NetworkShown {
    /// This process first.
    nodes: Vec<NodeShown>,
    /// Who is connected to whom.
    links: Vec<links::Link>,
}

/// This process as others see it.
async fn own(desk: &Desk, may_change: bool) -> Answer<Known> {
    let Json(process) = process::facts(desk, may_change);
    let held = desk.answering.answer(Ask::List).await;
    let held = held.map_err(|why| Failure(StatusCode::SERVICE_UNAVAILABLE, why))?;
    let odd = |e: serde_json::Error| Failure(StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    Ok(Known {
        process: serde_json::from_value(process).map_err(odd)?,
        held: serde_json::from_value(held).map_err(odd)?,
    })
}

/// The processes of the network, this one first, with their roles, and who is connected to whom: H.248 associations between controllers
/// and gateways, SIP between borders, key servers. Those that `[[admin.nodes]]` names are asked every three seconds while somebody looks;
/// of one that does not answer there is what it said last, and since when.
#[utoipa::path(get, path = "/api/v1/network", tag = "network", responses(
    (status = 200, description = "The network", body = NetworkShown),
    (status = 503, description = "A role of this process does not answer", body = crate::web::answer::Problem),
))]
pub(super) async fn network(
    State(desk): State<Arc<Desk>>,
    axum::Extension(rights): axum::Extension<super::Rights>,
) -> Answer<Json<NetworkShown>> {
    desk.network.look();
    let mine = Arc::new(own(&desk, rights.change).await?);
    let others = desk.network.peers.iter();
    let all: Vec<_> = std::iter::once((THIS_PROCESS, Some(mine.clone())))
        .chain(others.map(|peer| (peer.name(), peer.known())))
        .collect();
    let links = links::between(&all);
    let began = Some(mine.process.began.0.clone());
    let here = shown((THIS_PROCESS, None), &Seen::here(mine), &links, rights.change);
    let mut nodes = vec![NodeShown { since: began, ..here }];
    for peer in &desk.network.peers {
        nodes.push(shown(
            (peer.name(), Some(peer.section.url.as_ref())),
            &peer.seen(),
            &links,
            rights.change,
        ));
    }
    Ok(Json(NetworkShown { nodes, links }))
}

impl Seen {
    fn here(known: Arc<Known>) -> Self {
        Self { last: Some(known), asked: Some((SystemTime::now(), Duration::ZERO)), ..Self::default() }
    }
}

fn shown(
    (name, url): (&str, Option<&String>),
    seen: &Seen,
    links: &[links::Link],
    change: bool,
) -> NodeShown {
    let state = match (&seen.why, &seen.last) {
        (Some(_), _) => "unreachable",
        (None, Some(_)) => "reached",
        (None, None) => "unknown",
    };
    let known = seen.last.as_deref();
    let ailing = known.is_some_and(|known| {
        known.process.draining || links.iter().any(|link| link.is_at(name) && link.ails())
    });
    let health = match state {
        "unreachable" => "bad",
        "unknown" => "unknown",
        _ if ailing => "warn",
        _ => "good",
    };
    let sum = |known: &Known| {
        let borders = known.held.borders.0.iter().filter_map(|border| border.calls);
        let steered = known.held.gateways.0.iter().filter_map(|gateway| Some(gateway.ng.as_ref()?.calls));
        borders.chain(steered).fold(0, u64::saturating_add)
    };
    let contexts =
        |known: &Known| known.held.gateways.0.iter().map(|g| g.contexts).fold(0, u64::saturating_add);
    let value = |known: Option<&Known>| known.and_then(|known| serde_json::to_value(&known.held).ok());
    let roles = known.and_then(|known| serde_json::to_value(&known.process.roles).ok());
    NodeShown {
        name: name.to_owned(),
        here: url.is_none(),
        url: url.cloned(),
        state,
        since: seen.since.map(timestamp),
        why: seen.why.clone(),
        heard: seen.asked.map(|(at, _)| timestamp(at)),
        took_ms: seen.asked.map(|(_, took)| (took.as_secs_f64() * 1e4).round() / 10.0),
        health,
        version: known.map(|known| known.process.version.0.clone()),
        began: known.map(|known| known.process.began.0.clone()),
        draining: known.is_some_and(|known| known.process.draining),
        may_change: change && known.is_some_and(|known| known.process.may_change),
        calls: known.map(sum),
        contexts: known.map(contexts),
        roles: match roles {
            Some(Value::Array(roles)) => roles,
            _ => Vec::new(),
        },
        held: value(known).unwrap_or_default(),
    }
}

/// Why another process did not do what was wanted.
fn failure(name: &str, error: NodeError) -> Failure {
    let (status, why) = match error {
        NodeError::Refused { status: 404, why } => (StatusCode::NOT_FOUND, why),
        NodeError::Refused { status: 401 | 403, why } => {
            (StatusCode::CONFLICT, format!("it does not let this process do so: {}", why.trim()))
        }
        NodeError::Refused { status, why } if status < 500 => (StatusCode::CONFLICT, why),
        other => (StatusCode::SERVICE_UNAVAILABLE, other.to_string()),
    };
    let why: String = why.chars().take(300).collect();
    Failure(status, format!("{name}: {why}"))
}
