//! What the limits of a relay count, for all its shards together.

use crate::settings::Limits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Asked when a connection or a URI comes or goes, and not for what is passed on.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Totals>);

#[derive(Debug, Default)]
struct Totals {
    connections: usize,
    sources: HashMap<IpAddr, u32>,
    sessions: usize,
    users: HashMap<String, usize>,
}

impl Ledger {
    fn totals(&self) -> MutexGuard<'_, Totals> {
        // Nothing can panic while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection more, from `source` if somebody else made it. False: there are too many.
    pub(crate) fn enter(&self, source: Option<IpAddr>, limits: &Limits) -> bool {
        let mut totals = self.totals();
        if totals.connections >= limits.connections {
            return false;
        }
        if let Some(source) = source {
            let here = totals.sources.entry(source).or_default();
            if limits.per_source.is_some_and(|most| *here >= most) {
                return false;
            }
            *here += 1;
        }
        totals.connections += 1;
        true
    }

    /// It has gone.
    pub(crate) fn leave(&self, source: Option<IpAddr>) {
        let mut totals = self.totals();
        totals.connections = totals.connections.saturating_sub(1);
        if let Some(source) = source {
            take(&mut totals.sources, &source, |count| {
                *count = count.saturating_sub(1);
                *count == 0
            });
        }
    }

    /// One URI more of a user. False: there are too many.
    pub(crate) fn grant(&self, user: &str, limits: &Limits) -> bool {
        let mut totals = self.totals();
        let of_user = totals.users.get(user).copied().unwrap_or(0);
        if totals.sessions >= limits.sessions || of_user >= limits.per_user {
            return false;
        }
        totals.sessions += 1;
        *totals.users.entry(user.to_owned()).or_default() += 1;
        true
    }

    /// It has ended.
    pub(crate) fn end(&self, user: &str) {
        let mut totals = self.totals();
        totals.sessions = totals.sessions.saturating_sub(1);
        take(&mut totals.users, user, |count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

/// Changes an entry, and removes it if `change` says so.
fn take<K, V, Q>(table: &mut HashMap<K, V>, key: &Q, change: impl FnOnce(&mut V) -> bool)
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if table.get_mut(key).is_some_and(change) {
        table.remove(key);
    }
}
