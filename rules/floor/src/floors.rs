//! Floors, their queues, and who has them: the state machine without messages and connections.
//!
//! A floor's queue is in order of priority, then of arrival; a chair may put a request elsewhere in it, and
//! what comes later does not pass that. A request that could be granted goes before one behind it, and does
//! not wait for one before it that cannot be: one for several floors, one of a user whose connection is
//! lost. So a floor is never idle for want of another floor, and a request for several may wait longer.

use crate::config::{Algorithm, Floor};
use crate::event::{Claim, FloorReport, Reason};
use crate::request::{Part, Request, Stand};
use carnet_bfcp::{Priority, RequestStatus, Status, Text};
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

/// A decision of a chair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Into the queue; at a place, or where the rules have it.
    Accept(u8),
    Grant,
    /// Deny, or revoke.
    Refuse,
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

    /// A chair for a floor.
    pub(crate) fn set_chair(&mut self, now: Instant, floor: u16, user: Option<u16>) {
        let Some(entry) = self.entries.get_mut(&floor) else { return };
        entry.turn = None;
        if entry.chair != user {
            entry.chair = user;
            self.changed.insert(floor);
            self.outcomes.push(Outcome::Chair { floor, user });
        }
        self.set_turn(now, floor);
    }

    /// The next user who is here becomes the chair.
    fn rotate(&mut self, now: Instant, floor: u16) {
        let Some(entry) = self.entries.get(&floor) else { return };
        if entry.floor.algorithm != Algorithm::Rotation {
            return;
        }
        let after = entry.chair.and_then(|chair| chair.checked_add(1)).unwrap_or(0);
        let next = self.present.range(after..).next().or_else(|| self.present.iter().next()).copied();
        self.set_chair(now, floor, next);
    }

    fn rotate_if_vacant(&mut self, now: Instant, floor: u16) {
        if self.entries.get(&floor).is_some_and(|entry| entry.chair.is_none()) {
            self.rotate(now, floor);
        }
    }

    /// The clock of the chair of the hour runs while something is to be decided.
    fn set_turn(&mut self, now: Instant, floor: u16) {
        let Some(entry) = self.entries.get_mut(&floor) else { return };
        let runs = entry.floor.algorithm == Algorithm::Rotation && !entry.pending.is_empty();
        match runs {
            true if entry.turn.is_none() => entry.turn = Some(now + entry.floor.patience),
            true => {}
            false => entry.turn = None,
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

    /// A chair decides about a request, as far as it is about one floor.
    /// [`advance`](Self::advance) grants what can be granted then.
    pub(crate) fn decide(
        &mut self,
        now: Instant,
        id: u16,
        floor: u16,
        decision: Decision,
        why: Option<Text>,
    ) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if decision == Decision::Refuse {
            self.end_as(now, id, Status::Denied, Reason::Chair, why);
            return;
        }
        if request.granted.is_some() {
            return;
        }
        let priority = request.priority;
        let Some(part) = request.part_mut(floor) else { return };
        let stood = part.stand;
        part.information = why;
        part.stand = if decision == Decision::Grant { Stand::Approved } else { Stand::Accepted };
        let Some(entry) = self.entries.get_mut(&floor) else { return };
        entry.pending.retain(|pending| *pending != id);
        // The chair is awake.
        entry.turn = None;
        self.changed.insert(floor);
        if decision != Decision::Accept(0) || stood != Stand::Accepted {
            entry.queue.retain(|place| place.request != id);
            let approved = entry.queue.iter().filter(|place| place.approved).count();
            let place = Place { request: id, pinned: true, approved: false, priority };
            match decision {
                Decision::Grant => entry.queue.insert(approved, Place { approved: true, ..place }),
                Decision::Accept(0) => self.enqueue(floor, id),
                Decision::Accept(at) => {
                    let at = usize::from(at - 1).max(approved).min(entry.queue.len());
                    entry.queue.insert(at, place);
                }
                Decision::Refuse => {}
            }
        }
        self.set_turn(now, floor);
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

    /// Grants what can be granted, and lets chairs that rotate do so.
    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some(id) = self.next_grantable() {
            self.grant(now, id);
        }
        for floor in std::mem::take(&mut self.vacated) {
            self.rotate(now, floor);
        }
    }

    fn next_grantable(&self) -> Option<u16> {
        let mut first = None;
        for entry in self.entries.values() {
            // A full floor can only be taken by whom the chair gives it to.
            let room = entry.room();
            let eligible = entry.queue.iter().filter(|place| room || place.approved);
            for place in eligible {
                let Some(request) = self.requests.get(&place.request) else { continue };
                if self.is_grantable(request) {
                    if request.parts.len() == 1 || self.is_first(request) {
                        return Some(request.id);
                    }
                    first = first.or(Some(request.id));
                    break;
                }
            }
        }
        // Chairs may have put requests for several floors crosswise.
        first
    }

    fn is_grantable(&self, request: &Request) -> bool {
        request.granted.is_none()
            && !self.away.contains(&request.user)
            && request.parts.iter().all(|part| match part.stand {
                Stand::Pending => false,
                Stand::Approved => true,
                Stand::Accepted => self.entries.get(&part.floor).is_some_and(Entry::room),
            })
    }

    /// Whether nothing that can be granted is before it on any of its floors.
    fn is_first(&self, request: &Request) -> bool {
        request.parts.iter().filter_map(|part| self.entries.get(&part.floor)).all(|entry| {
            let before = entry.queue.iter().take_while(|place| place.request != request.id);
            let mut before = before.filter_map(|place| self.requests.get(&place.request));
            !before.any(|other| self.is_grantable(other))
        })
    }

    fn grant(&mut self, now: Instant, id: u16) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.granted = Some(now);
        let (user, floors) = (request.user, request.floors());
        for floor in &floors {
            let full = self.entries.get(floor).filter(|entry| !entry.room());
            if let Some(oldest) = full.and_then(|entry| entry.holders.first()).copied() {
                // RFC 8855 §4.2: the server revokes the floor from its holder first.
                self.end_as(now, oldest, Status::Revoked, Reason::Displaced, None);
            }
            if let Some(entry) = self.entries.get_mut(floor) {
                entry.queue.retain(|place| place.request != id);
                entry.holders.push(id);
            }
            self.changed.insert(*floor);
        }
        self.set_expiry(id);
        self.outcomes.push(Outcome::Granted { request: id, user, floors });
    }

    fn set_expiry(&mut self, id: u16) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let Some(since) = request.granted else { return };
        let times = request.parts.iter().filter_map(|part| self.entries.get(&part.floor)?.floor.max_time);
        request.expires = times.min().map(|time| since + time);
    }

    /// Runs what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let over = |r: &&Request| r.expires.is_some_and(|at| at <= now);
        let expired: Vec<u16> = self.requests.values().filter(over).map(|r| r.id).collect();
        for id in expired {
            self.end_as(now, id, Status::Revoked, Reason::Time, None);
        }
        let over = |e: &&Entry| e.turn.is_some_and(|at| at <= now);
        let turns: Vec<u16> = self.entries.values().filter(over).map(|e| e.floor.id).collect();
        for floor in turns {
            if let Some(entry) = self.entries.get_mut(&floor) {
                entry.turn = None;
            }
            self.rotate(now, floor);
        }
        self.advance(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let expiries = self.requests.values().filter_map(|request| request.expires);
        expiries.chain(self.entries.values().filter_map(|entry| entry.turn)).min()
    }

    /// The status of a request, with its place in the queue: the last of those it has.
    pub(crate) fn standing(&self, request: &Request) -> RequestStatus {
        let status = request.status();
        if status != Status::Accepted {
            return RequestStatus::new(status);
        }
        let places = request.parts.iter().filter_map(|part| self.place(part.floor, request.id));
        RequestStatus { status, queue_position: places.max().unwrap_or(0) }
    }

    /// From 1; 255 for whatever is behind that.
    pub(crate) fn place(&self, floor: u16, request: u16) -> Option<u8> {
        let at = self.entries.get(&floor)?.queue.iter().position(|place| place.request == request)?;
        Some(u8::try_from(at + 1).unwrap_or(u8::MAX))
    }

    /// The requests about a floor: holders, the queue, what is pending.
    pub(crate) fn about(&self, floor: u16) -> impl Iterator<Item = &Request> {
        let entry = self.entries.get(&floor);
        let ids = entry.into_iter().flat_map(|entry| {
            let queue = entry.queue.iter().map(|place| &place.request);
            entry.holders.iter().chain(queue).chain(&entry.pending)
        });
        ids.filter_map(|id| self.requests.get(id))
    }

    pub(crate) fn report(&self, floor: u16) -> Option<FloorReport> {
        let entry = self.entries.get(&floor)?;
        let claims = |ids: &mut dyn Iterator<Item = u16>| {
            let requests = ids.filter_map(|id| self.requests.get(&id));
            requests.map(Self::claim).collect()
        };
        Some(FloorReport {
            floor,
            chair: entry.chair,
            holders: claims(&mut entry.holders.iter().copied()),
            queue: claims(&mut entry.queue.iter().map(|place| place.request)),
            pending: claims(&mut entry.pending.iter().copied()),
        })
    }

    fn claim(request: &Request) -> Claim {
        Claim {
            request: request.id,
            user: request.user,
            requested_by: (request.by != request.user).then_some(request.by),
            priority: request.priority,
            status: request.status(),
        }
    }

    /// Puts requests back that a snapshot tells of: first those with a floor, then those in queues in their
    /// order. What does not fit any more ends.
    pub(crate) fn restore(&mut self, now: Instant, last: u16, chairs: &[(u16, u16)], restored: &[Restored]) {
        self.last = last;
        for (floor, user) in chairs {
            let rotates = |entry: &&mut Entry| entry.floor.algorithm == Algorithm::Rotation;
            if let Some(entry) = self.entries.get_mut(floor).filter(rotates) {
                entry.chair = Some(*user);
                self.outcomes.push(Outcome::Chair { floor: *floor, user: Some(*user) });
            }
        }
        for Restored { request, .. } in restored {
            self.requests.insert(request.id, request.clone());
        }
        let mut lost = Vec::new();
        for Restored { request, places } in restored {
            let here = request.parts.iter().all(|part| self.entries.contains_key(&part.floor));
            if !here {
                lost.push(request.id);
            }
            for (Part { floor, stand, .. }, place) in request.parts.iter().zip(places) {
                let Some(entry) = self.entries.get_mut(floor) else { continue };
                self.changed.insert(*floor);
                if request.granted.is_some() {
                    entry.holders.push(request.id);
                } else if *stand == Stand::Pending {
                    entry.pending.push(request.id);
                } else {
                    entry.queue.push(Place {
                        request: request.id,
                        pinned: place.1,
                        approved: *stand == Stand::Approved,
                        priority: request.priority,
                    });
                }
            }
        }
        // Holders, queues and what is pending in the order of the snapshot's places.
        for entry in self.entries.values_mut() {
            let floor = entry.floor.id;
            let at = |id: u16| {
                let of = restored.iter().find(|r| r.request.id == id);
                let of = of.and_then(|r| {
                    let at = r.request.parts.iter().position(|p| p.floor == floor)?;
                    r.places.get(at)
                });
                of.map_or(u16::MAX, |place| place.0)
            };
            entry.holders.sort_by_key(|id| at(*id));
            entry.queue.sort_by_key(|place| at(place.request));
            entry.pending.sort_by_key(|id| at(*id));
        }
        for id in lost {
            self.end_as(now, id, Status::Denied, Reason::Configured, None);
        }
        let floors: Vec<u16> = self.entries.keys().copied().collect();
        for floor in floors {
            self.reconfigured_after_restore(now, floor);
        }
        self.advance(now);
    }

    fn reconfigured_after_restore(&mut self, now: Instant, floor: u16) {
        let kept: Vec<(u16, Option<Instant>)> = self.requests.values().map(|r| (r.id, r.expires)).collect();
        self.reconfigured(now, floor);
        // The time that was left counts, not a new one.
        for (id, expires) in kept {
            if let (Some(request), Some(expires)) = (self.requests.get_mut(&id), expires) {
                request.expires = Some(expires);
            }
        }
        self.set_turn(now, floor);
    }
}

/// A request of a snapshot, with its places on the floors of its parts, and whether the chair put it there.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) request: Request,
    pub(crate) places: Vec<(u16, bool)>,
}
