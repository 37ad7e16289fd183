//! `GET /api/v1/network`: this process and those that `[[admin.nodes]]` names, what runs in each and what is between them.
//!
//! Each process is asked by a task of its own, within a time and for so many octets, so that one that is dead, slow or mad costs the
//! others nothing. What is told is what was last heard, and since when there is nothing new. The browser asks this process only.
//!
//! Leaves out: finding processes by themselves, and what a process says beyond what [`told`] knows.

pub(super) mod act;
pub(super) mod calls;
pub(super) mod charts;
mod gathered;
pub(super) mod keys;
mod links;
mod peer;
pub(super) mod rooms;
mod told;

use super::{Desk, process};
use crate::node::NodeError;
use crate::roles::Watch;
use crate::roles::question::Ask;
use crate::web::answer::{Answer, Failure};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carnet_ops::config::{NodeSection, Spanned, THIS_PROCESS};
use carnet_ops::sessions::timestamp;
use peer::{Known, Peer, Seen};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use utoipa::ToSchema;

/// How long a process may take for one answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Octets of one answer.
const MOST_ANSWER: usize = 4 << 20;

/// The processes that the file names.
type Peers = Arc<[Arc<Peer>]>;

/// The other processes.
pub(super) struct Network {
    peers: watch::Sender<Peers>,
    /// When somebody asked last.
    looked: watch::Sender<Option<Instant>>,
    /// Only one ladder of several processes is put together at a time.
    making: Arc<Semaphore>,
}

impl Network {
    /// For those that the file names, none of which is asked yet.
    ///
    /// # Errors
    /// Which cannot be asked, and why.
    pub(super) fn new(sections: &[Spanned<NodeSection>]) -> Result<Self, String> {
        let this = Self {
            peers: watch::channel(Peers::from([])).0,
            looked: watch::channel(None).0,
            making: Arc::new(Semaphore::new(1)),
        };
        this.renew(this.prepare(sections)?);
        Ok(this)
    }

    /// Those of another file. One whose entry and files are as they were stays with what is known of it.
    ///
    /// # Errors
    /// Which cannot be asked, and why: nothing has changed.
    pub(super) fn prepare(&self, sections: &[Spanned<NodeSection>]) -> Result<Peers, String> {
        let held = self.peers();
        let peers = sections.iter().map(Spanned::as_ref).map(|section| {
            let same = held.iter().find(|peer| peer.is_of(section));
            same.map_or_else(|| Peer::new(section).map(Arc::new), |peer| Ok(Arc::clone(peer)))
        });
        peers.collect()
    }

    /// Asks these from now on, and no others.
    pub(super) fn renew(&self, peers: Peers) {
        self.peers.send_replace(peers);
    }

    /// Asks them as long as the task lives.
    pub(super) fn start(&self, watch: &Arc<Watch>) -> JoinHandle<()> {
        tokio::spawn(follow(self.peers.subscribe(), self.looked.subscribe(), Arc::clone(watch)))
    }

    /// How many there are.
    pub(super) fn others(&self) -> usize {
        self.peers.borrow().len()
    }

    fn peers(&self) -> Peers {
        Arc::clone(&self.peers.borrow())
    }

    fn look(&self) {
        self.looked.send_replace(Some(Instant::now()));
    }

    fn peer(&self, name: &str) -> Answer<Arc<Peer>> {
        let found = self.peers().iter().find(|peer| peer.name() == name).cloned();
        found.ok_or_else(|| {
            Failure::missing(format!("there is no process `{}` in [[admin.nodes]]", name.escape_debug()))
        })
    }
}

/// A task for each process that is named; that of one that is named no more ends.
async fn follow(
    mut peers: watch::Receiver<Peers>,
    looked: watch::Receiver<Option<Instant>>,
    watch: Arc<Watch>,
) {
    let mut followed: Vec<(Arc<Peer>, JoinSet<()>)> = Vec::new();
    loop {
        let wanted = peers.borrow_and_update().clone();
        followed.retain(|(peer, _)| wanted.iter().any(|other| Arc::ptr_eq(peer, other)));
        for peer in wanted.iter() {
            if !followed.iter().any(|(other, _)| Arc::ptr_eq(peer, other)) {
                let mut task = JoinSet::new();
                task.spawn(Arc::clone(peer).follow(looked.clone(), Arc::clone(&watch)));
                followed.push((Arc::clone(peer), task));
            }
        }
        if peers.changed().await.is_err() {
            return;
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
    let peers = desk.network.peers();
    let others = peers.iter();
    let all: Vec<_> = std::iter::once((THIS_PROCESS, Some(mine.clone())))
        .chain(others.map(|peer| (peer.name(), peer.known())))
        .collect();
    let links = links::between(&all);
    let began = Some(mine.process.began.0.clone());
    let here = shown((THIS_PROCESS, None), &Seen::here(mine), &links, rights.change);
    let mut nodes = vec![NodeShown { since: began, ..here }];
    for peer in peers.iter() {
        nodes.push(shown((peer.name(), Some(peer.url())), &peer.seen(), &links, rights.change));
    }
    Ok(Json(NetworkShown { nodes, links }))
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
