//! Chairs: who decides, whose turn it is, and what they decide (RFC 8855 §11, §13.6).

use super::{Floors, Outcome, Place};
use crate::config::Algorithm;
use crate::event::Reason;
use crate::request::Stand;
use carnet_bfcp::{Status, Text};
use std::time::Instant;

/// A decision of a chair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Into the queue; at a place, or where the rules have it.
    Accept(u8),
    Grant,
    /// Deny, or revoke.
    Refuse,
}

impl Floors {
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
    pub(super) fn rotate(&mut self, now: Instant, floor: u16) {
        let Some(entry) = self.entries.get(&floor) else { return };
        if entry.floor.algorithm != Algorithm::Rotation {
            return;
        }
        let after = entry.chair.and_then(|chair| chair.checked_add(1)).unwrap_or(0);
        let next = self.present.range(after..).next().or_else(|| self.present.iter().next()).copied();
        self.set_chair(now, floor, next);
    }

    pub(super) fn rotate_if_vacant(&mut self, now: Instant, floor: u16) {
        if self.entries.get(&floor).is_some_and(|entry| entry.chair.is_none()) {
            self.rotate(now, floor);
        }
    }

    /// The clock of the chair of the hour runs while something is to be decided.
    pub(super) fn set_turn(&mut self, now: Instant, floor: u16) {
        let Some(entry) = self.entries.get_mut(&floor) else { return };
        let runs = entry.floor.algorithm == Algorithm::Rotation && !entry.pending.is_empty();
        match runs {
            true if entry.turn.is_none() => entry.turn = Some(now + entry.floor.patience),
            true => {}
            false => entry.turn = None,
        }
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
}
