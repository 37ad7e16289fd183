//! Another process: how it is reached, a task that asks it how it is, and what it said last.
//!
//! Its files (token, authority, certificate) are read again when it is not reached and they are others than before: one that has a new
//! certificate, or wants to see one, is asked at once with what is there now.

use super::gathered::Kept;
use super::told::{Held, Process};
use super::{MOST_ANSWER, PATIENCE};
use crate::node::{Node, NodeError, of_entry};
use crate::roles::Watch;
use crate::roles::http::deeds::Event;
use carnet_ops::config::NodeSection;
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// Between two looks while somebody wants to see the network.
const OFTEN: Duration = Duration::from_secs(3);
/// Otherwise: it is known since when a process is not there.
const SELDOM: Duration = Duration::from_secs(30);
/// For how long somebody is taken to look after he has asked.
const LOOKING: Duration = Duration::from_secs(30);
/// Questions that it is asked at once, beside how it is.
const AT_ONCE: usize = 4;

/// Another process.
pub(in crate::roles::http) struct Peer {
    section: NodeSection,
    /// How it is asked, and what was in its files when that was made.
    held: Mutex<(Arc<Node>, Prints)>,
    seen: Mutex<Seen>,
    turns: Semaphore,
    pub(super) rooms: Kept<super::rooms::Held>,
    pub(super) keys: Kept<super::keys::Held>,
    pub(super) charts: Kept<super::charts::Series>,
}

/// What tells the contents of the files of an entry from others: token, authority, certificate, key.
type Prints = [Option<[u8; 32]>; 4];

fn prints(section: &NodeSection) -> Prints {
    [&section.token_file, &section.ca, &section.certificate, &section.key]
        .map(|file| file.as_ref().and_then(|file| crate::reload::print(file.as_ref())))
}

/// What is known of it.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) last: Option<Arc<Known>>,
    /// When it answered last, and how long it took.
    pub(super) asked: Option<(SystemTime, Duration)>,
    /// Since when it is reached, or not, and why not.
    pub(super) since: Option<SystemTime>,
    pub(super) why: Option<String>,
}

/// What it said.
#[derive(Default)]
pub(super) struct Known {
    pub(super) process: Process,
    pub(super) held: Held,
}

impl Seen {
    /// Of this process.
    pub(super) fn here(known: Arc<Known>) -> Self {
        Self { last: Some(known), asked: Some((SystemTime::now(), Duration::ZERO)), ..Self::default() }
    }
}

impl Peer {
    /// # Errors
    /// Why it cannot be asked.
    pub(super) fn new(section: &NodeSection) -> Result<Self, String> {
        let prints = prints(section);
        let node = Self::reach(section).map_err(|why| format!("node `{}`: {why}", section.name.as_ref()))?;
        Ok(Self {
            section: section.clone(),
            held: Mutex::new((node, prints)),
            seen: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            rooms: Kept::default(),
            keys: Kept::default(),
            charts: Kept::default(),
        })
    }

    /// Whether it is the one of that entry, and goes by what is in its files now.
    pub(super) fn is_of(&self, section: &NodeSection) -> bool {
        let said = |section: &NodeSection| serde_json::to_value(section).ok();
        said(&self.section) == said(section) && self.held().1 == prints(section)
    }

    fn reach(section: &NodeSection) -> Result<Arc<Node>, String> {
        of_entry(section).map(|node| Arc::new(node.bounded(PATIENCE, MOST_ANSWER)))
    }

    pub(super) fn name(&self) -> &str {
        self.section.name.as_ref()
    }

    pub(super) fn url(&self) -> &String {
        self.section.url.as_ref()
    }

    pub(super) fn node(&self) -> Arc<Node> {
        Arc::clone(&self.held().0)
    }

    fn held(&self) -> MutexGuard<'_, (Arc<Node>, Prints)> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it said last.
    pub(super) fn known(&self) -> Option<Arc<Known>> {
        self.seen().last.clone()
    }

    pub(super) async fn follow(
        self: Arc<Self>,
        mut looked: watch::Receiver<Option<Instant>>,
        watch: Arc<Watch>,
    ) {
        loop {
            let began = Instant::now();
            let mut heard = self.look().await;
            // With the word, the authority or the certificate that its files have now, if they are others.
            if heard.is_err() && self.renews() {
                heard = self.look().await;
            }
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
        let node = self.node();
        let process = node.read("/api/v1/process").await.map_err(in_words)?;
        Ok(Known { process, held: node.read("/api/v1/nodes").await.map_err(in_words)? })
    }

    /// A document of it, as far as it is known here. So many are asked for at once, and no more.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, NodeError> {
        let _turn = self.turn().await?;
        self.node().read(path).await.map_err(in_words)
    }

    /// Has it do something in the name of somebody.
    pub(super) async fn tell(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        by: &str,
    ) -> Result<Value, NodeError> {
        let _turn = self.turn().await?;
        self.node().tell(method, path, body, by).await
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, NodeError> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or(NodeError::Silent)
    }

    /// Whether its files are others than those by which it was asked, and can be used: it is asked by them from now on.
    fn renews(&self) -> bool {
        let new = prints(&self.section);
        let mut held = self.held();
        if held.1 == new {
            return false;
        }
        let Ok(node) = Self::reach(&self.section) else { return false };
        *held = (node, new);
        true
    }

    fn heard(&self, heard: Result<Known, NodeError>, took: Duration, watch: &Watch) {
        let now = SystemTime::now();
        let event = {
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
                    back.then_some(Event::Reached { node })
                }
                Err(error) => {
                    let reason: String = error.to_string().chars().take(300).collect();
                    let lost = seen.why.is_none();
                    if lost {
                        seen.since = Some(now);
                    }
                    seen.why = Some(reason.clone());
                    lost.then_some(Event::Lost { node, reason })
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
    }
}

/// Where what it says is none of ours, it is not said what it was.
fn in_words(error: NodeError) -> NodeError {
    match error {
        NodeError::Odd(_) => NodeError::Odd("it is not what an API of ours says".into()),
        other => other,
    }
}
