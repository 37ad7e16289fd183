//! What watchers of one room know and are told.

use super::pace::Pace;
use carnet_roster::{Printed, Roster};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Ways from one revision to another kept for other watchers.
const MOST_WAYS: usize = 8;

/// A room at a revision: revisions count changes, whoever was told them.
pub(super) type Revision = (u64, Arc<Roster>);

/// A room that is watched.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) watchers: BTreeSet<u64>,
    /// As last published; `None` before that.
    pub(super) now: Option<Revision>,
    /// It is not as published any more.
    pub(super) stale: bool,
    /// The focus has been asked to publish.
    pub(super) asked: bool,
    /// It is not asked again before.
    pub(super) rests: Option<Instant>,
    /// Documents from a revision (`None` for all of it) to another.
    ways: VecDeque<Way>,
}

/// The documents that lead from a revision, or from nothing, to another.
type Way = (Option<u64>, u64, Arc<[Printed]>);

/// One watcher.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The version of the last document that was sent.
    pub(super) version: u32,
    /// All of the roster is to be sent.
    pub(super) whole: bool,
    /// What the watcher has.
    pub(super) knows: Option<Revision>,
    /// What it will have when `rest` and what is under way have come.
    pub(super) will_know: Option<Revision>,
    /// Documents that follow the one under way.
    pub(super) rest: VecDeque<Printed>,
    pub(super) pace: Pace,
}

impl Watched {
    /// Takes the room as it is now.
    pub(super) fn publish(&mut self, roster: Roster, rests: Instant) {
        (self.stale, self.asked, self.rests) = (false, false, Some(rests));
        match &self.now {
            Some((_, same)) if **same == roster => {}
            Some((revision, _)) => self.now = Some((revision + 1, Arc::new(roster))),
            None => self.now = Some((0, Arc::new(roster))),
        }
    }

    /// The room as it is, or as it was when it was looked at a moment ago; `None` if it is to be asked
    /// for, or is waited for.
    pub(super) fn fresh(&self, now: Instant, whole: bool) -> Option<&Revision> {
        let rests = self.rests.is_some_and(|at| now < at);
        self.now.as_ref().filter(|_| !self.stale || (whole && rests))
    }

    /// Whether a watcher who knows `known` has to be told something.
    pub(super) fn is_news(&self, known: Option<&Revision>) -> bool {
        self.stale || self.now.as_ref().map(|(r, _)| r) != known.map(|(r, _)| r)
    }

    /// The documents that bring a watcher from what it knows to `to`; none if nothing differs.
    pub(super) fn documents(
        &mut self,
        from: Option<&Revision>,
        to: &Revision,
        octets: usize,
    ) -> Arc<[Printed]> {
        let names = (from.map(|(r, _)| *r), to.0);
        if let Some((.., documents)) = self.ways.iter().find(|(f, t, _)| (*f, *t) == names) {
            return Arc::clone(documents);
        }
        let document = match from {
            Some((_, old)) => Roster::diff(old, &to.1, 0),
            None => Some(to.1.document(0)),
        };
        let parts = document.map(|d| d.split(octets)).unwrap_or_default();
        let printed: Arc<[Printed]> = parts.iter().map(carnet_roster::Document::printed).collect();
        if self.ways.len() >= MOST_WAYS {
            self.ways.pop_front();
        }
        self.ways.push_back((names.0, names.1, Arc::clone(&printed)));
        printed
    }
}

impl Watch {
    /// A new watcher, who is sent all of it first.
    pub(super) fn new() -> Self {
        Self { whole: true, ..Self::default() }
    }

    /// Forgets what is under way: all of it will be sent again.
    pub(super) fn start_over(&mut self) {
        self.whole = true;
        self.rest.clear();
        self.will_know = None;
    }

    /// What was sent has come.
    pub(super) fn arrived(&mut self) {
        if self.rest.is_empty()
            && let Some(known) = self.will_know.take()
        {
            self.knows = Some(known);
        }
    }
}
