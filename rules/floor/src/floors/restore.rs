//! Taking over what a snapshot tells of.

use super::{Entry, Floors, Outcome, Place};
use crate::config::Algorithm;
use crate::event::Reason;
use crate::request::{Part, Request, Stand};
use carnet_bfcp::Status;
use std::time::Instant;

/// A request of a snapshot, with its places on the floors of its parts, and whether the chair put it there.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) request: Request,
    pub(crate) places: Vec<(u16, bool)>,
    /// Its user had no connection to floor control.
    pub(crate) without: bool,
}

impl Floors {
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
        for Restored { request, places, .. } in restored {
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

    pub(super) fn reconfigured_after_restore(&mut self, now: Instant, floor: u16) {
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
