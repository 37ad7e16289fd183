//! The media servers under control: which one takes a room, and what they report.
//!
//! [`Controller`] does the control associations (registration, heartbeat, transactions,
//! resynchronisation); this chooses by load and health.

use std::time::{Duration, Instant, SystemTime};

use carnet_h248::controller::{
    self, Controller, GatewayConfig, GatewayName, LostReason, RequestError, RequestNumber,
};
use carnet_h248::{
    ActionReply, ActionRequest, ContextId, ErrorDescriptor, MId, Message, Method, ObservedEvents,
    PackageVersion, ServiceChangeAddress, TerminationId, Transaction, Verb,
};
use carnet_wire::Random;

use crate::config::{Config, Gateway};
use crate::status::{GatewayStatus, Origin, Place};

/// First pause after a refusal, and the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// Of foreign messages in the name of one gateway at most one event in this time.
const QUIET: Duration = Duration::from_secs(10);

/// What gateways have to say.
#[derive(Debug)]
pub(crate) enum Report {
    Up(GatewayName),
    Lost(GatewayName, LostReason),
    Unsuited(GatewayName, ErrorDescriptor),
    /// It has not these contexts any more.
    ContextsLost(GatewayName, Vec<u32>),
    Resynchronised {
        gateway: GatewayName,
        strays: usize,
        lost: usize,
    },
    Reply {
        request: RequestNumber,
        /// With an error, what was done before it.
        actions: Vec<ActionReply>,
        error: Option<Refused>,
    },
    Notify {
        gateway: GatewayName,
        context: ContextId,
        termination: TerminationId,
        observed: ObservedEvents,
    },
    /// Terminations failed.
    Failed {
        gateway: GatewayName,
        context: ContextId,
        termination: TerminationId,
    },
}

/// Why something was not done.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) error: ErrorDescriptor,
    /// Another gateway may well do it.
    pub(crate) elsewhere: bool,
}

struct State {
    settings: Gateway,
    /// Refusals and silences in a row.
    strikes: u32,
    closed_until: Option<Instant>,
    /// The driver has no way to it at the moment.
    cut: bool,
    /// When a message in its name that was not taken was told of.
    told: Option<Instant>,
    /// The operator does not name it any more: it keeps what it has and gets nothing new.
    dropped: bool,
}

impl State {
    fn of(settings: &Gateway) -> Self {
        let settings = settings.clone();
        Self { settings, strikes: 0, closed_until: None, cut: false, told: None, dropped: false }
    }
}

fn control_of(of: &Gateway) -> GatewayConfig {
    let mut control = GatewayConfig::new(of.name.clone(), of.mid.clone(), of.association.transport);
    control.association = of.association.clone();
    control.profiles.clone_from(&of.profiles);
    // Without these it is no media server for conferences.
    control.needs = vec![PackageVersion::new("crnroom", 1), PackageVersion::new("ipdc", 1)];
    control
}

pub(crate) struct Gateways {
    controller: Controller,
    states: Vec<State>,
}

impl Gateways {
    pub(crate) fn new(config: &Config, random: &mut dyn Random, now: Instant, wall: SystemTime) -> Self {
        let gateways = config.gateways.iter().map(control_of).collect();
        let mut settings = controller::Config::new(MId::domain(config.name.clone()), gateways);
        settings.profiles.clone_from(&config.profiles);
        // Context properties came with version 3 (TS 23.333 §8).
        settings.lowest_version = 3;
        settings.heartbeat = config.timers.gateway_heartbeat;
        settings.lost_after = config.timers.gateway_lost;
        settings.audit = config.timers.gateway_audit;
        settings.grace = config.timers.gateway_grace;
        Self {
            controller: Controller::new(settings, random, now, wall),
            states: config.gateways.iter().map(State::of).collect(),
        }
    }

    /// The operator has other settings.
    pub(crate) fn reconfigure(&mut self, gateways: &[Gateway], random: &mut dyn Random, now: Instant) {
        for state in &mut self.states {
            state.dropped = !gateways.iter().any(|g| g.name == state.settings.name);
        }
        for gateway in gateways {
            match self.states.iter_mut().find(|state| state.settings.name == gateway.name) {
                Some(state) => {
                    // What its association was made with stays.
                    let association = state.settings.association.clone();
                    state.settings = Gateway { association, ..gateway.clone() };
                }
                None => self.states.push(State::of(gateway)),
            }
            self.controller.set_gateway(control_of(gateway), random, now);
        }
    }

    /// The gateway for a room: the least loaded of those that are well; of the others the one that
    /// was refused longest ago.
    pub(crate) fn pick(&self, now: Instant, tried: &[GatewayName]) -> Option<GatewayName> {
        let available: Vec<_> = self.controller.available().collect();
        let able = self.states.iter().filter(|state| {
            let name = &state.settings.name;
            !state.cut && !state.dropped && available.contains(&name) && !tried.contains(name)
        });
        let standing = |state: &State| {
            let (contexts, asked, most) = self.controller.usage(&state.settings.name).unwrap_or((0, 0, None));
            let used = contexts.saturating_add(asked) as u64;
            let full = most.is_some_and(|most| used >= most);
            let closed = state.closed_until.filter(|until| now < *until);
            let load = used.saturating_mul(1_000_000) / u64::from(state.settings.weight.max(1));
            (full, closed, load)
        };
        able.min_by_key(|state| standing(state)).map(|state| state.settings.name.clone())
    }

    pub(crate) fn settings(&self, gateway: &str) -> Option<&Gateway> {
        self.states.iter().map(|state| &state.settings).find(|settings| &*settings.name == gateway)
    }

    /// Its realm, and whether that is of IPv6 where a member does not show which it has.
    pub(crate) fn realm(&self, gateway: &str) -> (String, bool) {
        self.settings(gateway).map(|settings| (settings.realm.clone(), settings.ipv6)).unwrap_or_default()
    }

    /// What it was asked was done.
    pub(crate) fn succeeded(&mut self, gateway: &str) {
        if let Some(state) = self.state(gateway) {
            (state.strikes, state.closed_until) = (0, None);
        }
    }

    /// It failed in a way that another gateway need not share.
    pub(crate) fn failed(&mut self, now: Instant, gateway: &str) {
        if let Some(state) = self.state(gateway).filter(|s| s.closed_until.is_none_or(|until| now >= until)) {
            let wait = SHORTEST.saturating_mul(1 << state.strikes.min(8));
            state.strikes = state.strikes.saturating_add(1);
            state.closed_until = Some(now + wait.min(LONGEST));
        }
    }

    fn state(&mut self, gateway: &str) -> Option<&mut State> {
        self.states.iter_mut().find(|state| &*state.settings.name == gateway)
    }

    /// Whether the gateway has a package; one that did not tell is believed to have it.
    pub(crate) fn supports(&self, gateway: &str, package: &str) -> bool {
        self.controller.supports(gateway, package)
    }

    /// Sends a request; the answer comes as [`Report::Reply`] whatever happens.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        gateway: &str,
        actions: Vec<ActionRequest>,
    ) -> RequestNumber {
        self.controller.request(now, gateway, actions)
    }

    pub(crate) fn status(&self) -> Vec<GatewayStatus> {
        let status = |control: controller::GatewayStatus| {
            let state = self.states.iter().find(|state| state.settings.name == control.name)?;
            Some(GatewayStatus {
                realm: state.settings.realm.clone(),
                weight: state.settings.weight,
                connected: !state.cut,
                rooms: 0,
                control,
            })
        };
        self.controller.gateways().filter_map(status).collect()
    }

    /// Whether the gateway can be asked.
    pub(crate) fn is_up(&self, gateway: &str) -> bool {
        self.controller.is_registered(gateway)
    }

    pub(crate) fn gateway_of(&self, mid: &MId) -> Option<&GatewayName> {
        self.controller.gateway_of(mid)
    }

    pub(crate) fn service_change_address(&self, gateway: &str) -> Option<&ServiceChangeAddress> {
        self.controller.service_change_address(gateway)
    }

    /// Whether a message in the name of a gateway is taken from there: from the addresses the operator
    /// named; and where none are named, a live association stays where it is until the gateway registers
    /// elsewhere (RFC 3525 §11.5).
    pub(crate) fn admits(&self, gateway: &str, origin: Origin, message: &Message) -> bool {
        let Some(settings) = self.settings(gateway) else { return false };
        let named = origin.address.is_none_or(|address| {
            settings.peers.is_empty() || settings.peers.iter().any(|peer| peer.contains(address))
        });
        named
            && match origin.place {
                Place::Usual => true,
                Place::Other => !self.is_up(gateway) || is_registration(message),
                Place::Outside => false,
            }
    }

    /// Whether another foreign message in the name of this gateway is to be told of.
    pub(crate) fn is_worth_telling(&mut self, now: Instant, gateway: &str) -> bool {
        let Some(state) = self.state(gateway) else { return false };
        let quiet = state.told.is_some_and(|told| now < told + QUIET);
        if !quiet {
            state.told = Some(now);
        }
        !quiet
    }

    pub(crate) fn handle(&mut self, now: Instant, gateway: &str, message: Message) {
        self.controller.handle_message(now, gateway, message);
    }

    pub(crate) fn undecodable(&mut self, gateway: &str, error: &carnet_h248::Error) {
        self.controller.handle_undecodable(gateway, error);
    }

    /// The way to a gateway is there (again).
    pub(crate) fn connected(&mut self, gateway: &str) {
        if self.state(gateway).is_some_and(|state| std::mem::take(&mut state.cut)) {
            self.controller.reconnected(gateway);
        }
    }

    /// The way broke. New rooms go elsewhere; those on it are made anew when its silence has lasted.
    pub(crate) fn cut(&mut self, gateway: &str) {
        if let Some(state) = self.state(gateway) {
            state.cut = true;
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.controller.handle_timeout(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.controller.poll_timeout()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(GatewayName, Message)> {
        self.controller.poll_transmit()
    }

    pub(crate) fn poll_report(&mut self) -> Option<Report> {
        loop {
            let event = self.controller.poll_event()?;
            if let Some(report) = self.report(event) {
                return Some(report);
            }
        }
    }

    fn report(&mut self, event: controller::Event) -> Option<Report> {
        Some(match event {
            controller::Event::Registered { gateway, .. } => {
                self.succeeded(&gateway);
                Report::Up(gateway)
            }
            controller::Event::Lost { gateway, reason } => Report::Lost(gateway, reason),
            controller::Event::Unsuited { gateway, error } => Report::Unsuited(gateway, error),
            controller::Event::ContextsLost { gateway, contexts } => Report::ContextsLost(gateway, contexts),
            controller::Event::Resynchronised { gateway, strays, lost, .. } => {
                Report::Resynchronised { gateway, strays, lost }
            }
            controller::Event::ServiceChanged { gateway, context, termination, method, .. } => {
                if method != Method::Forced {
                    return None;
                }
                Report::Failed { gateway, context, termination }
            }
            controller::Event::Reply { request, result, .. } => {
                let (actions, error) = match result {
                    Ok(actions) => (actions, None),
                    Err(error) => {
                        let elsewhere = error.is_capacity() || takes_no_key(&error);
                        let (actions, error) = match error {
                            RequestError::Refused { error, actions } => (actions, error),
                            other => (Vec::new(), ErrorDescriptor::new(503, other.to_string())),
                        };
                        (actions, Some(Refused { error, elsewhere }))
                    }
                };
                Report::Reply { request, actions, error }
            }
            controller::Event::Notify { gateway, context, termination, observed } => {
                Report::Notify { gateway, context, termination, observed }
            }
            _ => return None,
        })
    }
}

/// The way to it is not protected (H.248.8, 504). Another's may be.
fn takes_no_key(error: &RequestError) -> bool {
    matches!(error, RequestError::Refused { error, .. } if error.code == 504)
}

/// A ServiceChange by which a gateway comes to its controller.
fn is_registration(message: &Message) -> bool {
    let Some(Transaction::Request(request)) = message.transactions().first() else { return false };
    let Some(command) = request.actions.first().and_then(|action| action.commands.first()) else {
        return false;
    };
    let method = command.services().and_then(|services| services.method.as_ref());
    command.verb == Verb::ServiceChange
        && command.termination().is_root()
        && matches!(method, Some(Method::Restart | Method::Disconnected | Method::HandOff | Method::Failover))
}
