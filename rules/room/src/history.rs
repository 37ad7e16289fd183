//! What was said, for those who come later.

use crate::message::Store;
use crate::types::History as Policy;
use std::collections::VecDeque;
use std::time::Instant;

/// Complete messages to the room, oldest first. The store holds their octets.
#[derive(Default)]
pub(crate) struct History {
    messages: VecDeque<(u64, Instant, u64)>,
    octets: u64,
}

impl History {
    /// A message is complete and has its place in the store.
    pub(crate) fn add(&mut self, now: Instant, number: u64, octets: u64) {
        // Numbers tell who began first, history tells who ended first.
        self.messages.push_back((number, now, octets));
        self.octets += octets;
    }

    /// Drops what the policy does not want.
    pub(crate) fn expire(&mut self, now: Instant, policy: &Policy, store: &mut Store) {
        while let Some((number, when, octets)) = self.messages.front().copied() {
            let fits = self.messages.len() <= policy.count
                && self.octets <= policy.octets as u64
                && now.saturating_duration_since(when) <= policy.age;
            if fits {
                break;
            }
            self.messages.pop_front();
            self.octets = self.octets.saturating_sub(octets);
            store.forget(number);
        }
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.messages.iter().map(|(number, _, _)| *number)
    }
}
