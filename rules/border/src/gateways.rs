//! The gateways under control: which one takes a call, and what they report.
//!
//! [`Controller`] does the control associations (registration, heartbeat, transactions); this
//! chooses among gateways by realm and liveness and speaks in terms of the border.

use crate::admission::{Foreign, Origin, admits};
use crate::config::{Config, Gateway};
use crate::event::Event;
use carnet_h248::association::Failure;
use carnet_h248::controller::{
    self, Controller, GatewayConfig, GatewayName, LostReason, RequestError, RequestNumber,
};
use carnet_h248::{
    ActionReply, ActionRequest, ContextId, ErrorDescriptor, MId, Message, ObservedEvents, TerminationId,
};
use carnet_wire::Random;
use std::time::{Instant, SystemTime};

/// One request to a gateway.
pub(crate) type Request = RequestNumber;

/// What gateways have to say.
#[derive(Debug)]
pub(crate) enum Report {
    Up(GatewayName),
    Lost(GatewayName, bool),
    TurnedAway(GatewayName, ErrorDescriptor),
    /// With an error, `actions` is what was done before it.
    Reply {
        request: Request,
        actions: Vec<ActionReply>,
        error: Option<ErrorDescriptor>,
    },
    Notify {
        gateway: GatewayName,
        context: ContextId,
        termination: TerminationId,
        observed: ObservedEvents,
    },
}

struct State {
    settings: Gateway,
    /// The driver has no way to it at the moment.
    cut: bool,
    foreign: Foreign,
}

/// The gateways of a border.
pub(crate) struct Gateways {
    controller: Controller,
    states: Vec<State>,
    next_choice: usize,
}

impl Gateways {
    pub(crate) fn new(config: &Config, random: &mut dyn Random, now: Instant, wall: SystemTime) -> Self {
        let gateway = |g: &Gateway| GatewayConfig::new(g.name.clone(), g.mid.clone(), g.transport);
        let gateways = config.gateways.iter().map(gateway).collect();
        let mut settings = controller::Config::new(MId::domain(config.name.clone()), gateways);
        settings.profiles.clone_from(&config.profiles);
        settings.heartbeat = config.timers.gateway_heartbeat;
        settings.lost_after = config.timers.gateway_lost;
        let state = |g: &Gateway| State { settings: g.clone(), cut: false, foreign: Foreign::default() };
        Self {
            controller: Controller::new(settings, random, now, wall),
            states: config.gateways.iter().map(state).collect(),
            next_choice: 0,
        }
    }

    /// A live gateway that serves all these realms; they take turns.
    pub(crate) fn pick(&mut self, realms: [&str; 2]) -> Option<GatewayName> {
        let available: Vec<_> = self.controller.available().collect();
        let fits = |s: &&State| {
            let serves = |r: &str| s.settings.realms.is_empty() || s.settings.realms.iter().any(|x| x == r);
            !s.cut && available.contains(&&s.settings.name) && realms.into_iter().all(serves)
        };
        let able: Vec<_> = self.states.iter().filter(fits).collect();
        let chosen = able.get(self.next_choice % able.len().max(1))?.settings.name.clone();
        self.next_choice = self.next_choice.wrapping_add(1);
        Some(chosen)
    }

    /// Sends a request; the answer comes as [`Report::Reply`] whatever happens.
    pub(crate) fn request(&mut self, now: Instant, gateway: &str, actions: Vec<ActionRequest>) -> Request {
        self.controller.request(now, gateway, actions)
    }

    /// Whether the gateway can be asked.
    pub(crate) fn is_up(&self, gateway: &str) -> bool {
        self.controller.is_registered(gateway)
    }

    pub(crate) fn gateway_of(&self, mid: &MId) -> Option<&GatewayName> {
        self.controller.gateway_of(mid)
    }

    pub(crate) fn service_change_address(&self, gateway: &str) -> Option<&carnet_h248::ServiceChangeAddress> {
        self.controller.service_change_address(gateway)
    }

    /// Whether a message in the name of a gateway is taken from there, and what is to be told of it
    /// if not.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        gateway: &str,
        origin: Origin,
        message: &Message,
    ) -> Result<(), Option<Event>> {
        let live = self.is_up(gateway);
        let state = self.states.iter_mut().find(|s| &*s.settings.name == gateway).ok_or(None)?;
        if admits(&state.settings, live, origin, message) {
            return Ok(());
        }
        Err(state.foreign.seen(now, &state.settings, origin.address))
    }

    pub(crate) fn handle(&mut self, now: Instant, gateway: &str, message: Message) {
        self.controller.handle_message(now, gateway, message);
    }

    pub(crate) fn undecodable(&mut self, now: Instant, gateway: &str, error: &carnet_h248::Error) {
        self.controller.handle_undecodable(now, gateway, error);
    }

    /// The way to a gateway is there (again).
    pub(crate) fn connected(&mut self, gateway: &str) {
        if let Some(state) = self.states.iter_mut().find(|s| &*s.settings.name == gateway)
            && std::mem::take(&mut state.cut)
        {
            self.controller.reconnected(gateway);
        }
    }

    /// The way broke. New calls go elsewhere; calls on it end when its silence has lasted.
    pub(crate) fn cut(&mut self, gateway: &str) {
        if let Some(state) = self.states.iter_mut().find(|s| &*s.settings.name == gateway) {
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
            return Some(match self.controller.poll_event()? {
                controller::Event::Registered { gateway, .. } => Report::Up(gateway),
                controller::Event::Lost { gateway, reason } => {
                    Report::Lost(gateway, reason == LostReason::Forced)
                }
                controller::Event::Refused { gateway, error } => Report::TurnedAway(gateway, error),
                controller::Event::Reply { request, result, .. } => {
                    let (actions, error) = match result {
                        Ok(actions) => (actions, None),
                        Err(RequestError::Refused { error, actions }) => (actions, Some(error)),
                        Err(other) => (Vec::new(), Some(as_descriptor(&other))),
                    };
                    Report::Reply { request, actions, error }
                }
                controller::Event::Notify { gateway, context, termination, observed } => {
                    Report::Notify { gateway, context, termination, observed }
                }
                _ => continue,
            });
        }
    }
}

/// No answer, in terms of an answer: 503 service unavailable.
fn as_descriptor(error: &RequestError) -> ErrorDescriptor {
    let code = match error {
        RequestError::Failed(Failure::TimedOut) => 504,
        _ => 503,
    };
    ErrorDescriptor::new(code, error.to_string())
}
