//! The room.

use crate::types::{Counters, Event, Limits, Member, MemberId, RosterEntry, Settings};
use carnet_wire::Random;
use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

/// One chat room.
pub struct Room {
    settings: Settings,
    limits: Limits,
    #[allow(dead_code)]
    random: Box<dyn Random>,
    events: VecDeque<Event>,
}

impl Room {
    /// An empty room.
    pub fn new(settings: Settings, limits: Limits, random: Box<dyn Random>) -> Self {
        Self { settings, limits, random, events: VecDeque::new() }
    }

    /// Tells the room what date it is at `now`, so that its notices have one.
    pub fn set_date(&mut self, _now: Instant, _date: SystemTime) {}

    /// Changes the policy. The URI stays what it was.
    pub fn configure(&mut self, _now: Instant, settings: Settings) {
        self.settings = Settings { uri: std::mem::take(&mut self.settings.uri), ..settings };
    }

    /// The policy.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A member comes in. What is said from now on waits for it until it has a connection. A member that is
    /// in the room already under this number and URI goes on over other paths: what it did not acknowledge
    /// is sent again.
    ///
    /// Returns false when the room is full, or when the number belongs to somebody else.
    pub fn join(&mut self, _now: Instant, _id: MemberId, _member: Member) -> bool {
        false
    }

    /// A member goes, and what waited for it. Its connection is the caller's to close.
    pub fn leave(&mut self, _now: Instant, _id: MemberId) {}

    /// Whether a member may send to the room.
    pub fn set_speaking(&mut self, _id: MemberId, _may: bool) {}

    /// Whether a member's leg is protected, when that is known only later.
    pub fn set_sealed(&mut self, _now: Instant, _id: MemberId, _sealed: bool) {}

    /// Who may speak in a moderated room. A message that has begun may be finished.
    pub fn set_holders(&mut self, _holders: &[MemberId]) {}

    /// A member's connection is open (and TLS is up on it). The room sends at once when the member is
    /// passive, if `announce` says so (RFC 4975 §5.4).
    pub fn connected(&mut self, _now: Instant, _id: MemberId, _announce: bool) {}

    /// A member's connection is gone. Its queue is kept, within the limits, until it comes back or leaves.
    pub fn disconnected(&mut self, _now: Instant, _id: MemberId) {}

    /// Takes octets of a member's connection and returns how many were consumed. Fewer than given means
    /// that the member has to wait: stop reading, offer the rest again when [`Self::poll_readable`] names it.
    pub fn handle_input(&mut self, _now: Instant, _id: MemberId, input: &[u8]) -> usize {
        input.len()
    }

    /// Appends at most `max` octets for a member's connection to `out`. Returns whether there were any.
    /// Call it when the connection can take them, and only then: what was taken counts as progress.
    pub fn poll_transmit(&mut self, _now: Instant, _id: MemberId, _out: &mut Vec<u8>, _max: usize) -> bool {
        false
    }

    /// Whether [`Self::poll_transmit`] would give octets for this member.
    pub fn wants_write(&self, _id: MemberId) -> bool {
        false
    }

    /// A member for which something is to be sent since it was last named here. Each is named once until
    /// [`Self::poll_transmit`] gave all.
    pub fn poll_writable(&mut self) -> Option<MemberId> {
        None
    }

    /// A member whose input was not consumed and may be offered again.
    pub fn poll_readable(&mut self) -> Option<MemberId> {
        None
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When [`Self::handle_timeout`] should be called, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Who is in the room, by number.
    pub fn roster(&self) -> Vec<RosterEntry> {
        Vec::new()
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// Tells everybody something in words, from the room.
    pub fn announce(&mut self, _now: Instant, _text: &str) {}
}
