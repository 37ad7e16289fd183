//! What an administrator sees of a gateway.

use super::gateway::{Gateway, State};
use super::{Controller, GatewayName};
use crate::model::{ErrorDescriptor, MId, PackageVersion, Profile};
use std::fmt;
use std::time::{Duration, Instant};

/// How far a gateway is at our service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Condition {
    /// It never came, left, or was lost.
    Away,
    /// It registered; what it has of before is being settled.
    Settling,
    /// It takes new contexts.
    InService,
    /// It takes no new contexts.
    Draining,
    /// It lacks something that we need.
    Unsuited,
    /// It is silent and not given up yet, because its media goes on without it.
    Missing,
    /// It says that it is not ours, and is given up soon unless it registers.
    Estranged,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "away",
            Self::Settling => "settling",
            Self::InService => "in service",
            Self::Draining => "draining",
            Self::Unsuited => "unsuited",
            Self::Missing => "missing",
            Self::Estranged => "estranged",
        })
    }
}

/// The last time a gateway said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When.
    pub at: Instant,
    /// What it said.
    pub error: ErrorDescriptor,
}

/// One gateway at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayStatus {
    /// What we call it.
    pub name: GatewayName,
    /// What it calls itself.
    pub mid: MId,
    /// How far it is at our service.
    pub condition: Condition,
    /// Since when.
    pub since: Instant,
    /// The profile it registered with.
    pub profile: Option<Profile>,
    /// The negotiated protocol version, 1 to 3.
    pub version: u8,
    /// What its audit listed; empty if it was not audited.
    pub packages: Vec<PackageVersion>,
    /// When something last arrived from it.
    pub last_heard: Option<Instant>,
    /// Contexts that were made through here and not subtracted.
    pub contexts: usize,
    /// The terminations in them.
    pub terminations: usize,
    /// Contexts it can have at most (`root/maxNumberOfContexts`), if it told.
    pub most_contexts: Option<u64>,
    /// Requests without an answer.
    pub outstanding: usize,
    /// Smoothed time from request to answer, repeats included.
    pub round_trip: Option<Duration>,
    /// When it last refused something, and why.
    pub last_refusal: Option<Refusal>,
    /// What it lacks, if it is unsuited.
    pub objection: Option<ErrorDescriptor>,
}

impl GatewayStatus {
    /// Contexts in percent of what it can have, if it told; above 100 if it takes more.
    pub fn load(&self) -> Option<u32> {
        let most = self.most_contexts.filter(|most| *most > 0)?;
        let contexts = u64::try_from(self.contexts).unwrap_or(u64::MAX);
        u32::try_from(contexts.saturating_mul(100) / most).ok()
    }

    pub(super) fn of(gateway: &Gateway) -> Self {
        Self {
            name: gateway.name.clone(),
            mid: gateway.config.mid.clone(),
            condition: match gateway.state {
                State::Away => Condition::Away,
                _ if gateway.estranged.is_some() => Condition::Estranged,
                _ if gateway.missing => Condition::Missing,
                State::Settling => Condition::Settling,
                State::Unsuited => Condition::Unsuited,
                State::Registered => Condition::InService,
                State::Draining => Condition::Draining,
            },
            since: gateway.since,
            profile: gateway.profile.clone(),
            version: gateway.association.version(),
            packages: gateway.packages.clone(),
            last_heard: gateway.association.last_heard(),
            contexts: gateway.inventory.contexts(),
            terminations: gateway.inventory.terminations(),
            most_contexts: gateway.most_contexts,
            outstanding: gateway.requests.len(),
            round_trip: gateway.round_trip,
            last_refusal: gateway.last_refusal.clone(),
            objection: gateway.objection.clone(),
        }
    }
}

impl Controller {
    /// All gateways of the configuration, in the order of their names.
    pub fn gateways(&self) -> impl Iterator<Item = GatewayStatus> {
        self.gateways.values().map(GatewayStatus::of)
    }
}
