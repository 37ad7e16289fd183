//! What the controller holds for one gateway.

use super::inventory::Inventory;
use super::status::Refusal;
use super::{GatewayConfig, GatewayName, RequestNumber};
use crate::association::Association;
use crate::model::{
    ActionRequest, ErrorDescriptor, MId, PackageVersion, Profile, ServiceChangeAddress, TransactionId,
};
use carnet_wire::Random;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What one of our requests is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    User(RequestNumber),
    Heartbeat,
    /// Subtracts what a returning gateway still has of before.
    Clearing,
    /// Our own cleaning up or hand-off: the answer matters to nobody.
    Own,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Away,
    /// Registered, but what it still has of before is not subtracted yet.
    Clearing,
    Registered,
    Draining,
}

impl State {
    /// Whether our user may ask it.
    pub(super) fn serves(self) -> bool {
        matches!(self, Self::Registered | Self::Draining)
    }
}

pub(super) struct Gateway {
    pub(super) name: GatewayName,
    pub(super) mid: MId,
    pub(super) association: Association,
    pub(super) state: State,
    /// When the state became that.
    pub(super) since: Instant,
    pub(super) profile: Option<Profile>,
    pub(super) packages: Vec<PackageVersion>,
    /// `root/maxNumberOfContexts`.
    pub(super) most_contexts: Option<u64>,
    pub(super) address: Option<ServiceChangeAddress>,
    pub(super) requests: HashMap<TransactionId, Request>,
    pub(super) heartbeat_at: Option<Instant>,
    pub(super) heartbeat_out: bool,
    pub(super) inventory: Inventory,
    /// It was lost while it may have had contexts: when it comes back with them they are cleared.
    pub(super) stale: bool,
    pub(super) round_trip: Option<Duration>,
    pub(super) last_refusal: Option<Refusal>,
}

/// A request without an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) purpose: Purpose,
    pub(super) sent: Instant,
}

impl Gateway {
    pub(super) fn new(config: &GatewayConfig, controller: &MId, rng: &mut dyn Random, now: Instant) -> Self {
        Self {
            name: config.name.clone(),
            mid: config.mid.clone(),
            association: Association::new(config.association.clone(), controller.clone(), rng),
            state: State::Away,
            since: now,
            profile: None,
            packages: Vec::new(),
            most_contexts: None,
            address: None,
            requests: HashMap::new(),
            heartbeat_at: None,
            heartbeat_out: false,
            inventory: Inventory::default(),
            stale: false,
            round_trip: None,
            last_refusal: None,
        }
    }

    pub(super) fn enter(&mut self, now: Instant, state: State) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    pub(super) fn ask(
        &mut self,
        now: Instant,
        purpose: Purpose,
        actions: Vec<ActionRequest>,
    ) -> TransactionId {
        let id = self.association.request(now, actions);
        self.requests.insert(id, Request { purpose, sent: now });
        id
    }

    /// Takes the purpose of a request that was answered; the time is measured as users wait, repeats
    /// included.
    pub(super) fn answered(&mut self, now: Instant, id: TransactionId) -> Option<Purpose> {
        let request = self.requests.remove(&id)?;
        let sample = now.saturating_duration_since(request.sent);
        self.round_trip = Some(self.round_trip.map_or(sample, |known| known * 7 / 8 + sample / 8));
        Some(request.purpose)
    }

    pub(super) fn refused(&mut self, now: Instant, error: &ErrorDescriptor) {
        self.last_refusal = Some(Refusal { at: now, error: error.clone() });
    }
}
