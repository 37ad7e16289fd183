//! What the controller holds for one gateway.

use super::inventory::Inventory;
use super::resync::{Arrival, Resync, Settling, Suspects};
use super::status::Refusal;
use super::{GatewayConfig, GatewayName, RequestNumber};
use crate::association::{Association, Transport};
use crate::model::{
    ActionRequest, ContextId, ErrorDescriptor, PackageVersion, Profile, ServiceChangeAddress, TerminationId,
    TransactionId, Verb,
};
use carnet_wire::Random;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// What one of our requests is for. Numbers are of settlings: an answer that belongs to an older one
/// settles nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    User(RequestNumber),
    Heartbeat,
    /// Whether a gateway that was given up, or never registered, takes us for its controller.
    Probe,
    /// What it supports.
    Properties(u32),
    /// Subtracts everything.
    Sweep(u32),
    /// A part of what it has.
    Page(u32),
    /// Subtracts what nobody knows.
    Stray,
    /// A hand-off: the answer matters to nobody.
    Own,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Away,
    /// Registered, but what it still has of before is not settled yet.
    Settling,
    Registered,
    Draining,
    /// Registered, and without something that we need.
    Unsuited,
}

/// A request without an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) purpose: Purpose,
    pub(super) sent: Instant,
    /// It may bring terminations about that are not in the inventory.
    pub(super) creates: bool,
    /// The settling before it.
    pub(super) settling: u32,
}

pub(super) struct Gateway {
    pub(super) config: GatewayConfig,
    pub(super) name: GatewayName,
    pub(super) association: Association,
    pub(super) state: State,
    /// When the state became that.
    pub(super) since: Instant,
    pub(super) profile: Option<Profile>,
    pub(super) packages: Vec<PackageVersion>,
    /// `root/maxNumberOfContexts`.
    pub(super) most_contexts: Option<u64>,
    /// `root/maxTerminationsPerContext`.
    pub(super) most_terminations: Option<u64>,
    /// Why it is not used.
    pub(super) objection: Option<ErrorDescriptor>,
    pub(super) address: Option<ServiceChangeAddress>,
    pub(super) requests: HashMap<TransactionId, Request>,
    /// When to look after it.
    pub(super) heartbeat_at: Option<Instant>,
    /// Probes sent in a row.
    pub(super) probes: u32,
    /// Since when it is not ours, as far as it says: when it was last heard to say something else.
    pub(super) estranged: Option<Instant>,
    /// When it was heard before the message at hand.
    pub(super) heard_before: Option<Instant>,
    /// It has been silent for long, and is not given up because it keeps media going.
    pub(super) missing: bool,
    /// It says that another controls it.
    pub(super) foreign: bool,
    pub(super) inventory: Inventory,
    /// It has registered, and its answer is not on its way yet.
    pub(super) arrived: Option<Arrival>,
    /// It wanted to register and was refused.
    pub(super) turned_away: bool,
    /// It has contexts of an earlier life of ours, and is to be heard of by then.
    pub(super) awaited: Option<Instant>,
    /// It wants to go.
    pub(super) draining: bool,
    pub(super) settling: Option<Settling>,
    pub(super) settlings: u32,
    pub(super) resync: Option<Resync>,
    pub(super) suspects: Option<Suspects>,
    /// What nobody knows and is to be subtracted.
    pub(super) strays: VecDeque<(u32, Vec<TerminationId>)>,
    /// When its contexts are to be audited.
    pub(super) audit_at: Option<Instant>,
    pub(super) audited: Option<Instant>,
    /// Until when contexts of another controller are left alone.
    pub(super) grace_until: Option<Instant>,
    pub(super) round_trip: Option<Duration>,
    pub(super) last_refusal: Option<Refusal>,
}

impl Gateway {
    pub(super) fn new(
        config: &GatewayConfig,
        controller: &crate::MId,
        rng: &mut dyn Random,
        now: Instant,
    ) -> Self {
        Self {
            name: config.name.clone(),
            association: Association::new(config.association.clone(), controller.clone(), rng),
            config: config.clone(),
            state: State::Away,
            since: now,
            profile: None,
            packages: Vec::new(),
            most_contexts: None,
            most_terminations: None,
            objection: None,
            address: None,
            requests: HashMap::new(),
            heartbeat_at: None,
            probes: 0,
            estranged: None,
            heard_before: None,
            missing: false,
            foreign: false,
            inventory: Inventory::default(),
            arrived: None,
            turned_away: false,
            awaited: None,
            draining: false,
            settling: None,
            settlings: 0,
            resync: None,
            suspects: None,
            strays: VecDeque::new(),
            audit_at: None,
            audited: None,
            grace_until: None,
            round_trip: None,
            last_refusal: None,
        }
    }

    /// Whether it may be given new contexts.
    pub(super) fn takes_new(&self) -> bool {
        self.state == State::Registered && self.estranged.is_none() && !self.missing
    }

    /// Whether it can be asked about contexts that it has.
    pub(super) fn serves(&self) -> bool {
        self.state != State::Away
    }

    /// Whether its media goes on while it is away.
    pub(super) fn keeps(&self) -> bool {
        self.packages.iter().any(|package| package.name == "crnkeep")
    }

    /// How long nothing was heard of it.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        self.association.last_heard().map_or(Duration::MAX, |at| now.saturating_duration_since(at))
    }

    /// The other end is in this process: it is never silent for want of a network.
    pub(super) fn is_inside(&self) -> bool {
        self.association.transport() == Transport::Channel
    }

    pub(super) fn enter(&mut self, now: Instant, state: State) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    pub(super) fn ask(&mut self, now: Instant, purpose: Purpose, actions: Vec<ActionRequest>) {
        let creates = actions.iter().any(|a| {
            let choose = a.context == ContextId::Choose;
            choose || a.commands.iter().any(|c| matches!(c.verb, Verb::Add | Verb::Move))
        });
        let doomed = matches!(purpose, Purpose::User(_)).then(|| {
            let subtracts = |a: &&ActionRequest| a.commands.iter().any(|c| c.verb == Verb::Subtract);
            actions.iter().filter(subtracts).cloned().collect::<Vec<_>>()
        });
        let id = self.association.request(now, actions);
        if let Some(doomed) = doomed {
            self.inventory.asked(id, &doomed);
        }
        self.requests.insert(id, Request { purpose, sent: now, creates, settling: self.settlings });
    }

    /// Whether a request for that purpose has no answer yet.
    pub(super) fn waits_for(&self, purpose: Purpose) -> bool {
        self.requests.values().any(|r| r.purpose == purpose)
    }

    /// Takes a request that was answered; the time is measured as users wait, repeats included.
    pub(super) fn answered(&mut self, now: Instant, id: TransactionId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        let sample = now.saturating_duration_since(request.sent);
        self.round_trip = Some(self.round_trip.map_or(sample, |known| known * 7 / 8 + sample / 8));
        Some(request)
    }

    pub(super) fn refused(&mut self, now: Instant, error: &ErrorDescriptor) {
        self.last_refusal = Some(Refusal { at: now, error: error.clone() });
    }

    /// Nothing of what it had counts any more.
    pub(super) fn forget(&mut self) {
        self.inventory = Inventory::default();
        self.awaited = None;
        self.settling = None;
        self.resync = None;
        self.suspects = None;
        self.strays.clear();
        self.audit_at = None;
        self.grace_until = None;
        self.estranged = None;
        self.missing = false;
    }
}
