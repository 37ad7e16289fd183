//! Floors, their queues, and who has them: the state machine without messages and connections.
//!
//! A floor's queue is in order of priority, then of arrival; a chair may put a request elsewhere in it, and
//! what comes later does not pass that. A request that could be granted goes before one behind it, and does
//! not wait for one before it that cannot be: one for several floors, one of a user whose connection is
//! lost. So a floor is never idle for want of another floor, and a request for several may wait longer.

mod chairs;
mod grants;
mod restore;
mod views;

pub(crate) use chairs::Decision;
pub(crate) use restore::Restored;

use crate::config::{Algorithm, Floor};
use crate::event::Reason;
use crate::request::{Request, Stand};
use carnet_bfcp::{Priority, Status, Text};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) request: u16,
    /// Put there by the chair.
    pub(crate) pinned: bool,
    /// The chair gives it the floor.
    pub(crate) approved: bool,
    priority: Priority,
}

/// A floor and who is about it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) floor: Floor,
    pub(crate) chair: Option<u16>,
    /// Since longest first.
    pub(crate) holders: Vec<u16>,
    pub(crate) queue: Vec<Place>,
    /// In order of arrival.
    pub(crate) pending: Vec<u16>,
    /// When the chair that decides nothing is followed by another.
    pub(crate) turn: Option<Instant>,
}

impl Entry {
    fn new(floor: Floor) -> Self {
        Self { floor, chair: None, holders: Vec::new(), queue: Vec::new(), pending: Vec::new(), turn: None }
    }

    fn room(&self) -> bool {
        self.holders.len() < usize::from(self.floor.max_holders.max(1))
    }
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    Granted {
        request: u16,
        user: u16,
        floors: Vec<u16>,
    },
    Ended {
        /// As it was.
        request: Box<Request>,
        status: Status,
        reason: Reason,
        /// For people.
        why: Option<Text>,
    },
    Chair {
        floor: u16,
        user: Option<u16>,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    entries: BTreeMap<u16, Entry>,
    requests: BTreeMap<u16, Request>,
    last: u16,
    /// Users that get no floor for now: their connection is lost.
    away: BTreeSet<u16>,
    /// Users who may be the chair of a floor that rotates.
    present: BTreeSet<u16>,
    /// Floors that somebody had for as long as they could: the chair that rotates does so.
    vacated: BTreeSet<u16>,
    /// Floors that are not as last told.
    pub(crate) changed: BTreeSet<u16>,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Floors {
    pub(crate) fn entry(&self, floor: u16) -> Option<&Entry> {
        self.entries.get(&floor)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (u16, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    pub(crate) fn request(&self, id: u16) -> Option<&Request> {
        self.requests.get(&id)
    }

    pub(crate) fn request_mut(&mut self, id: u16) -> Option<&mut Request> {
        self.requests.get_mut(&id)
    }

    pub(crate) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn last(&self) -> u16 {
        self.last
    }

    pub(crate) fn is_chair(&self, floor: u16, user: u16) -> bool {
        self.entries.get(&floor).is_some_and(|entry| entry.chair == Some(user))
    }

    /// The floors of a new conference.
    pub(crate) fn begin(&mut self, floors: &[Floor]) {
        for floor in floors {
            self.entries.entry(floor.id).or_insert_with(|| Entry::new(floor.clone()));
        }
    }

    /// The floors of the conference from now on.
    pub(crate) fn configure(&mut self, now: Instant, floors: &[Floor]) {
        let mut old = std::mem::take(&mut self.entries);
        for floor in floors {
            if self.entries.contains_key(&floor.id) {
                continue;
            }
            let mut entry = old.remove(&floor.id).unwrap_or_else(|| Entry::new(floor.clone()));
            entry.floor = floor.clone();
            self.entries.insert(floor.id, entry);
            self.changed.insert(floor.id);
        }
        for (id, entry) in old {
            // Back for as long as its requests end.
            let ending: Vec<u16> =
                self.requests.values().filter(|r| r.part(id).is_some()).map(|r| r.id).collect();
            self.entries.insert(id, entry);
            for request in ending {
                self.end_as(now, request, Status::Denied, Reason::Configured, None);
            }
            self.entries.remove(&id);
            self.changed.insert(id);
        }
        for floor in floors {
            self.reconfigured(now, floor.id);
        }
        self.advance(now);
    }

    fn reconfigured(&mut self, now: Instant, id: u16) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let most = usize::from(entry.floor.max_holders.max(1));
        let excess: Vec<u16> = entry.holders.get(most..).unwrap_or_default().to_vec();
        let undecided = match entry.floor.algorithm {
            Algorithm::FirstCome => std::mem::take(&mut entry.pending),
            Algorithm::Chair | Algorithm::Rotation => Vec::new(),
        };
        let holders = entry.holders.clone();
        for request in excess {
            self.end_as(now, request, Status::Revoked, Reason::Configured, None);
        }
        for request in undecided {
            if let Some(part) = self.requests.get_mut(&request).and_then(|r| r.part_mut(id)) {
                part.stand = Stand::Accepted;
                self.enqueue(id, request);
            }
        }
        for request in holders {
            self.set_expiry(request);
        }
        self.rotate_if_vacant(now, id);
        self.set_turn(now, id);
    }

    /// Whether a user may get floors, and may be a chair in turn.
    pub(crate) fn set_presence(&mut self, now: Instant, user: u16, away: bool, present: bool) {
        let was_away = match away {
            true => !self.away.insert(user),
            false => self.away.remove(&user),
        };
        match present {
            true => self.present.insert(user),
            false => self.present.remove(&user),
        };
        if present {
            let floors: Vec<u16> = self.entries.keys().copied().collect();
            for floor in floors {
                self.rotate_if_vacant(now, floor);
            }
        }
        if was_away && !away {
            self.advance(now);
        }
    }

    /// The user's requests end, and the chair of a floor that rotates goes to another.
    pub(crate) fn gone(&mut self, now: Instant, user: u16, reason: Reason) {
        self.present.remove(&user);
        let theirs: Vec<u16> = self.requests.values().filter(|r| r.user == user).map(|r| r.id).collect();
        for request in theirs {
            self.end_as(now, request, Status::Cancelled, reason, None);
        }
        if reason == Reason::Dismissed {
            // The number may be another's one day.
            for request in self.requests.values_mut().filter(|request| request.by == user) {
                request.by = request.user;
            }
        }
        self.away.remove(&user);
        self.advance(now);
        let chaired: Vec<u16> =
            self.entries.values().filter(|e| e.chair == Some(user)).map(|e| e.floor.id).collect();
        for floor in chaired {
            let rotates = self.entries.get(&floor).is_some_and(|e| e.floor.algorithm == Algorithm::Rotation);
            if rotates && self.is_chair(floor, user) {
                self.rotate(now, floor);
            } else if !rotates && reason == Reason::Dismissed {
                self.set_chair(now, floor, None);
            }
        }
    }

    /// A new request; its number. `None` if all numbers are taken.
    pub(crate) fn add(&mut self, now: Instant, mut request: Request) -> Option<u16> {
        let id = self.free_number()?;
        self.last = id;
        request.id = id;
        for part in &mut request.parts {
            let Some(entry) = self.entries.get(&part.floor) else { continue };
            // A chair who asks has decided.
            let decided = entry.floor.algorithm == Algorithm::FirstCome || entry.chair == Some(request.by);
            part.stand = if decided { Stand::Accepted } else { Stand::Pending };
        }
        let parts: Vec<(u16, Stand)> = request.parts.iter().map(|p| (p.floor, p.stand)).collect();
        self.requests.insert(id, request);
        for (floor, stand) in parts {
            match stand {
                Stand::Pending => {
                    if let Some(entry) = self.entries.get_mut(&floor) {
                        entry.pending.push(id);
                    }
                    self.set_turn(now, floor);
                }
                Stand::Accepted | Stand::Approved => self.enqueue(floor, id),
            }
            self.changed.insert(floor);
        }
        self.advance(now);
        Some(id)
    }

    fn free_number(&self) -> Option<u16> {
        let after = (self.last.saturating_add(1)..=u16::MAX).chain(1..=self.last);
        after.into_iter().find(|id| *id != 0 && !self.requests.contains_key(id))
    }

    /// Into the queue by priority, behind whom the chair has put there.
    fn enqueue(&mut self, floor: u16, id: u16) {
        let (Some(entry), Some(request)) = (self.entries.get_mut(&floor), self.requests.get(&id)) else {
            return;
        };
        let passes = |place: &Place| !place.pinned && !place.approved && place.priority < request.priority;
        let behind = entry.queue.iter().rposition(|place| !passes(place)).map_or(0, |at| at + 1);
        let place = Place { request: id, pinned: false, approved: false, priority: request.priority };
        entry.queue.insert(behind, place);
        self.changed.insert(floor);
    }

    /// Ends a request: what was granted is not denied but revoked, and not cancelled but released.
    pub(crate) fn end(
        &mut self,
        now: Instant,
        id: u16,
        status: Status,
        reason: Reason,
        why: Option<Text>,
    ) -> bool {
        let ended = self.end_as(now, id, status, reason, why);
        self.advance(now);
        ended
    }

    fn end_as(&mut self, now: Instant, id: u16, status: Status, reason: Reason, why: Option<Text>) -> bool {
        let Some(request) = self.requests.remove(&id) else { return false };
        let granted = request.granted.is_some();
        let status = match status {
            Status::Denied | Status::Revoked if granted => Status::Revoked,
            Status::Denied | Status::Revoked => Status::Denied,
            _ if granted => Status::Released,
            _ => Status::Cancelled,
        };
        for part in &request.parts {
            let Some(entry) = self.entries.get_mut(&part.floor) else { continue };
            entry.holders.retain(|holder| *holder != id);
            entry.queue.retain(|place| place.request != id);
            entry.pending.retain(|pending| *pending != id);
            self.changed.insert(part.floor);
            if granted && reason != Reason::Displaced {
                self.vacated.insert(part.floor);
            }
            self.set_turn(now, part.floor);
        }
        self.outcomes.push(Outcome::Ended { request: Box::new(request), status, reason, why });
        true
    }
}
