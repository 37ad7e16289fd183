//! Who gets a floor next, and when it is taken away again.

use super::{Entry, Floors, Outcome};
use crate::event::Reason;
use crate::request::{Request, Stand};
use carnet_bfcp::Status;
use std::time::Instant;

impl Floors {
    /// Grants what can be granted, and lets chairs that rotate do so.
    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some(id) = self.next_grantable() {
            self.grant(now, id);
        }
        for floor in std::mem::take(&mut self.vacated) {
            self.rotate(now, floor);
        }
    }

    pub(super) fn next_grantable(&self) -> Option<u16> {
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

    pub(super) fn is_grantable(&self, request: &Request) -> bool {
        request.granted.is_none()
            && !self.away.contains(&request.user)
            && request.parts.iter().all(|part| match part.stand {
                Stand::Pending => false,
                Stand::Approved => true,
                Stand::Accepted => self.entries.get(&part.floor).is_some_and(Entry::room),
            })
    }

    /// Whether nothing that can be granted is before it on any of its floors.
    pub(super) fn is_first(&self, request: &Request) -> bool {
        request.parts.iter().filter_map(|part| self.entries.get(&part.floor)).all(|entry| {
            let before = entry.queue.iter().take_while(|place| place.request != request.id);
            let mut before = before.filter_map(|place| self.requests.get(&place.request));
            !before.any(|other| self.is_grantable(other))
        })
    }

    pub(super) fn grant(&mut self, now: Instant, id: u16) {
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

    pub(super) fn set_expiry(&mut self, id: u16) {
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
}
