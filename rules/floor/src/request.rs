//! A floor request (RFC 8855 §4.1): one or several floors that are granted together or not at all.

use carnet_bfcp::{Priority, RequestStatus, Status, Text};
use std::time::Instant;

/// What was decided about a request, as far as it is about one floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    /// The chair has to decide.
    Pending,
    /// It is in the queue.
    Accepted,
    /// The chair gives it the floor, whoever has it.
    Approved,
}

/// A floor that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) floor: u16,
    pub(crate) stand: Stand,
    /// What the chair said.
    pub(crate) information: Option<Text>,
}

/// An ongoing request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: u16,
    /// Who gets the floors.
    pub(crate) user: u16,
    /// Who asked.
    pub(crate) by: u16,
    /// As asked for, to be repeated in descriptions.
    pub(crate) asked: Option<Priority>,
    /// As given.
    pub(crate) priority: Priority,
    pub(crate) provided: Option<Text>,
    /// Not empty, each floor once.
    pub(crate) parts: Vec<Part>,
    pub(crate) granted: Option<Instant>,
    /// When the floors are revoked.
    pub(crate) expires: Option<Instant>,
    /// What was last said to whoever asked.
    pub(crate) reported: Option<RequestStatus>,
}

impl Request {
    pub(crate) fn part(&self, floor: u16) -> Option<&Part> {
        self.parts.iter().find(|part| part.floor == floor)
    }

    pub(crate) fn part_mut(&mut self, floor: u16) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.floor == floor)
    }

    pub(crate) fn floors(&self) -> Vec<u16> {
        self.parts.iter().map(|part| part.floor).collect()
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.granted.is_none() && self.parts.iter().any(|part| part.stand == Stand::Pending)
    }

    /// Of the request as a whole; it is ongoing.
    pub(crate) fn status(&self) -> Status {
        match self.granted {
            Some(_) => Status::Granted,
            None if self.is_pending() => Status::Pending,
            None => Status::Accepted,
        }
    }

    /// Whether it is a matter of this user.
    pub(crate) fn concerns(&self, user: u16) -> bool {
        self.user == user || self.by == user
    }
}
