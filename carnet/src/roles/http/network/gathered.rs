//! A list put together from what all processes say: rooms, keys, the last hour.
//!
//! Each process is asked by a task of its own, once at a time however many look. Nobody waits for it longer than [`SOON`]: of one that
//! takes more time there is what it said before. One that is known not to be there is not asked, and is named with the reason.

use super::peer::{Known, Peer};
use super::{Network, PATIENCE};
use crate::node::NodeError;
use carnet_ops::sessions::timestamp;
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::Instant;
use utoipa::ToSchema;

/// How long who looks waits for a process.
const SOON: Duration = Duration::from_millis(1_500);

/// What a process said to one question, and whether it is being asked again.
pub(super) struct Kept<T> {
    state: Mutex<State<T>>,
    answered: Notify,
}

struct State<T> {
    asking: bool,
    last: Option<(SystemTime, Arc<T>)>,
    /// Why there is nothing newer.
    why: Option<String>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { asking: false, last: None, why: None }), answered: Notify::new() }
    }
}

impl<T> Kept<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it said last.
    pub(super) fn last(&self) -> Option<Arc<T>> {
        self.state().last.as_ref().map(|(_, last)| Arc::clone(last))
    }

    /// Waits until nobody asks, but not for ever.
    async fn settle(&self, until: Instant) {
        loop {
            let answered = self.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            if !self.state().asking || tokio::time::timeout_at(until, answered).await.is_err() {
                return;
            }
        }
    }
}

/// A process that did not say, or not now.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::roles::http) struct Quiet {
    /// Which.
    node: String,
    /// Why.
    why: String,
    /// When it said what is shown of it; null where nothing of it is shown.
    heard: Option<String>,
}

/// What all said, by the names of the processes, and who did not.
pub(super) struct Gathered<T> {
    pub(super) said: Vec<(String, Arc<T>)>,
    pub(super) quiet: Vec<Quiet>,
}

/// Where a peer keeps it, and how it is asked.
type Place<T> = fn(&Peer) -> &Kept<T>;
type Question<T> = fn(Arc<Peer>) -> BoxFuture<'static, Result<T, NodeError>>;

impl Network {
    /// Asks those processes of which `concerned` says so, and those of which nothing is known yet.
    pub(super) async fn gather<T: Send + Sync + 'static>(
        &self,
        concerned: fn(&Known) -> bool,
        place: Place<T>,
        question: Question<T>,
    ) -> Gathered<T> {
        self.look();
        let until = Instant::now() + SOON;
        let peers = self.peers();
        let asked = peers.iter().filter(|peer| peer.known().is_none_or(|known| concerned(&known)));
        let asked = asked.map(|peer| async move {
            if let Some(why) = peer.seen().why.clone() {
                return (peer, Some(why));
            }
            ask(peer, place, question);
            place(peer).settle(until).await;
            (peer, None)
        });
        let mut gathered = Gathered { said: Vec::new(), quiet: Vec::new() };
        for (peer, gone) in join_all(asked).await {
            let state = place(peer).state();
            let last = state.last.clone();
            let (node, gone) = (peer.name().to_owned(), gone.map(|why| (why, None)));
            let quiet = gone.or_else(|| {
                let heard = last.as_ref().map(|(at, _)| timestamp(*at));
                let late = || "it has not answered yet".to_owned();
                Some((state.why.clone().or_else(|| state.asking.then(late))?, heard))
            });
            let shown = quiet.as_ref().is_none_or(|(_, heard)| heard.is_some());
            if let Some((_, last)) = last.filter(|_| shown) {
                gathered.said.push((node.clone(), last));
            }
            gathered.quiet.extend(quiet.map(|(why, heard)| Quiet { node, why, heard }));
        }
        gathered
    }
}

/// Asks, if nobody does.
fn ask<T: Send + Sync + 'static>(peer: &Arc<Peer>, place: Place<T>, question: Question<T>) {
    if std::mem::replace(&mut place(peer).state().asking, true) {
        return;
    }
    let peer = Arc::clone(peer);
    tokio::spawn(async move {
        let heard = tokio::time::timeout(PATIENCE * 2, question(Arc::clone(&peer))).await;
        let heard = heard.unwrap_or(Err(NodeError::Silent));
        let kept = place(&peer);
        {
            let mut state = kept.state();
            state.asking = false;
            match heard {
                Ok(said) => (state.last, state.why) = (Some((SystemTime::now(), Arc::new(said))), None),
                Err(error) => state.why = Some(error.to_string().chars().take(300).collect()),
            }
        }
        kept.answered.notify_waiters();
    });
}
