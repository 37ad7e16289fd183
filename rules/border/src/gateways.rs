//! The gateways under control: which one takes a call, and what they report.
//!
//! [`Controller`] does the control associations (registration, heartbeat, transactions,
//! resynchronisation); this chooses among gateways by realm, interface, load and health, and speaks in
//! terms of the border.

use crate::admission::{Foreign, Origin, admits};
use crate::choice::{Candidate, Health, choose};
use crate::config::{Config, Gateway};
use crate::event::Event;
use crate::interfaces::Interfaces;
use carnet_h248::association::Failure;
use carnet_h248::controller::{
    self, Controller, GatewayConfig, GatewayName, LostReason, RequestError, RequestNumber,
};
use carnet_h248::{
    ActionReply, ActionRequest, Command, ContextId, ErrorDescriptor, Events, MId, Message, Method,
    ObservedEvents, PackageVersion, RequestedEvent, ServiceChangeAddress, TerminationId, TransactionId,
};
use carnet_plan::Transport;
use carnet_wire::Random;
use std::time::{Duration, Instant, SystemTime};

/// One request to a gateway.
pub(crate) type Request = RequestNumber;

/// What gateways have to say.
#[derive(Debug)]
pub(crate) enum Report {
    Up(GatewayName),
    Lost(GatewayName, LostReason),
    TurnedAway(GatewayName, ErrorDescriptor),
    /// It registered and cannot be used.
    Unsuited(GatewayName, ErrorDescriptor),
    Draining(GatewayName, Option<Duration>),
    /// It has not these contexts any more.
    ContextsLost(GatewayName, Vec<u32>),
    Resynchronised {
        gateway: GatewayName,
        strays: usize,
        lost: usize,
        complete: bool,
    },
    /// Terminations went out of service or came back.
    Interface {
        gateway: GatewayName,
        context: ContextId,
        termination: TerminationId,
        change: Change,
    },
    /// With an error, `actions` is what was done before it.
    Reply {
        request: Request,
        gateway: GatewayName,
        /// As which transaction, and when.
        sent: Option<(TransactionId, Instant)>,
        actions: Vec<ActionReply>,
        error: Option<Refusal>,
    },
    Notify {
        gateway: GatewayName,
        context: ContextId,
        termination: TerminationId,
        observed: ObservedEvents,
    },
}

/// What happens to terminations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// They failed: what is on them has no media.
    Failed,
    /// They will go; what is on them goes on.
    Leaving,
    /// They are there again.
    Back,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorDescriptor,
    /// Another gateway may well do it.
    pub(crate) elsewhere: bool,
}

/// What a context asks of its gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) realms: [&'a str; 2],
    /// An emergency or a call with priority: it is not held back.
    pub(crate) urgent: bool,
    /// TLS is to end there (`tlsbsc`).
    pub(crate) tls: bool,
    /// Gateways that would not.
    pub(crate) tried: &'a [GatewayName],
}

/// One gateway at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayStatus {
    /// Its control association.
    pub control: controller::GatewayStatus,
    /// The realms it serves; empty means all.
    pub realms: Vec<String>,
    /// Its share of calls beside others.
    pub weight: u32,
    /// There is a way to it, as far as the driver knows.
    pub connected: bool,
    /// Calls with media on it.
    pub calls: usize,
    /// It refused or did not answer, and is passed over until then.
    pub passed_over_until: Option<Instant>,
    /// So much less it gets because it asked for that, or reported overload; percent.
    pub reduction: u8,
    /// Interfaces that are out of service or going.
    pub out_of_service: Vec<TerminationId>,
    /// An administrator wants no new calls on it.
    pub avoided: bool,
}

struct State {
    settings: Gateway,
    health: Health,
    interfaces: Interfaces,
    /// The driver has no way to it at the moment.
    cut: bool,
    /// The operator does not name it any more: it keeps what it has and gets nothing new.
    dropped: bool,
    /// An administrator wants no new calls on it.
    avoided: bool,
    foreign: Foreign,
}

impl State {
    fn of(settings: &Gateway) -> Self {
        Self {
            settings: settings.clone(),
            health: Health::default(),
            interfaces: Interfaces::default(),
            cut: false,
            dropped: false,
            avoided: false,
            foreign: Foreign::default(),
        }
    }
}

/// The gateways of a border.
pub(crate) struct Gateways {
    controller: Controller,
    states: Vec<State>,
    turn: u64,
    most_requests: usize,
    /// The moment of the last input.
    now: Instant,
}

impl Gateways {
    pub(crate) fn new(config: &Config, random: &mut dyn Random, now: Instant, wall: SystemTime) -> Self {
        let gateways = config.gateways.iter().map(|g| control_of(config, g)).collect();
        let mut settings = controller::Config::new(MId::domain(config.name.clone()), gateways);
        settings.profiles.clone_from(&config.profiles);
        settings.heartbeat = config.timers.gateway_heartbeat;
        settings.lost_after = config.timers.gateway_lost;
        settings.audit = config.timers.gateway_audit;
        settings.grace = config.timers.gateway_grace;
        Self {
            controller: Controller::new(settings, random, now, wall),
            states: config.gateways.iter().map(State::of).collect(),
            turn: 0,
            most_requests: config.limits.gateway_requests,
            now,
        }
    }

    /// The operator has other settings.
    pub(crate) fn reconfigure(&mut self, config: &Config, random: &mut dyn Random, now: Instant) {
        for state in &mut self.states {
            state.dropped = !config.gateways.iter().any(|g| g.name == state.settings.name);
        }
        for gateway in &config.gateways {
            match self.states.iter_mut().find(|state| state.settings.name == gateway.name) {
                Some(state) => {
                    // What its association was made with stays.
                    let association = state.settings.association.clone();
                    state.settings = Gateway { association, ..gateway.clone() };
                }
                None => self.states.push(State::of(gateway)),
            }
            self.controller.set_gateway(control_of(config, gateway), random, now);
        }
    }

    /// The best gateway for a context, if there is one.
    pub(crate) fn pick(
        &mut self,
        now: Instant,
        wanted: Wanted<'_>,
        random: &mut dyn Random,
    ) -> Option<GatewayName> {
        let controller = &self.controller;
        let available: Vec<_> = controller.available().collect();
        let most_requests = self.most_requests;
        let able = self.states.iter_mut().filter_map(|state| {
            let settings = &state.settings;
            let serves = |realm: &&str| {
                let named = settings.realms.is_empty() || settings.realms.iter().any(|r| r == realm);
                named && !state.interfaces.is_down(realm)
            };
            let fits = !state.cut
                && !state.dropped
                && !state.avoided
                && available.contains(&&settings.name)
                && !wanted.tried.contains(&settings.name)
                && (!wanted.tls || controller.supports(&settings.name, "tlsbsc"))
                && wanted.realms.iter().all(serves);
            let (contexts, outstanding, most) = controller.usage(&settings.name).filter(|_| fits)?;
            // A gateway that does not keep up is not asked for more.
            (outstanding < most_requests).then_some(Candidate {
                name: &settings.name,
                health: &mut state.health,
                used: contexts + outstanding,
                most,
                weight: settings.weight,
            })
        });
        let able = able.collect();
        choose(now, wanted.urgent, able, &mut self.turn, random)
    }

    /// Whether a gateway that serves these realms can end TLS. If none is there, that is another trouble.
    pub(crate) fn end_tls(&self, realms: [&str; 2]) -> bool {
        let controller = &self.controller;
        let serves = |settings: &Gateway, realm: &str| {
            settings.realms.is_empty() || settings.realms.iter().any(|r| r == realm)
        };
        let mut serving = self.states.iter().map(|state| &state.settings).filter(|settings| {
            let all = realms.iter().all(|realm| serves(settings, realm));
            all && controller.is_registered(&settings.name)
        });
        let mut nobody = true;
        serving.any(|settings| {
            nobody = false;
            controller.supports(&settings.name, "tlsbsc")
        }) || nobody
    }

    /// An Add was done: by which terminations the gateway reaches which realms.
    pub(crate) fn served<'a>(
        &mut self,
        now: Instant,
        gateway: &str,
        ends: impl Iterator<Item = (&'a str, &'a TerminationId)>,
    ) {
        if let Some(state) = self.state(gateway) {
            state.health.succeeded(now);
            ends.for_each(|(realm, termination)| state.interfaces.learn(realm, termination));
        }
    }

    /// An Add failed in a way that another gateway need not share.
    pub(crate) fn failed(&mut self, now: Instant, gateway: &str) {
        if let Some(state) = self.state(gateway) {
            state.health.failed(now);
        }
    }

    fn state(&mut self, gateway: &str) -> Option<&mut State> {
        self.states.iter_mut().find(|s| &*s.settings.name == gateway)
    }

    /// Whether the gateway has a package; one that did not tell is believed to have it.
    pub(crate) fn supports(&self, gateway: &str, package: &str) -> bool {
        self.controller.supports(gateway, package)
    }

    /// Gives it no new contexts, or some again; whether there is such a gateway.
    pub(crate) fn avoid(&mut self, gateway: &str, avoid: bool) -> bool {
        let state = self.state(gateway);
        state.map(|state| state.avoided = avoid).is_some()
    }

    /// Moves a gateway to another controller.
    pub(crate) fn hand_off(&mut self, now: Instant, gateway: &str, to: MId) {
        self.controller.hand_off(now, gateway, to);
    }

    /// Gateways that register are sent to another controller, or not any more.
    pub(crate) fn redirect(&mut self, to: Option<MId>) {
        self.controller.set_redirect(to);
    }

    pub(crate) fn names(&self) -> Vec<GatewayName> {
        self.states.iter().map(|s| s.settings.name.clone()).collect()
    }

    /// Sends a request; the answer comes as [`Report::Reply`] whatever happens.
    pub(crate) fn request(&mut self, now: Instant, gateway: &str, actions: Vec<ActionRequest>) -> Request {
        self.controller.request(now, gateway, actions)
    }

    /// What the gateway is told of lines whose TLS passes through, if not what the policy says.
    pub(crate) fn pass_through(&self, gateway: &str) -> Option<Transport> {
        self.states.iter().find(|s| &*s.settings.name == gateway)?.settings.pass_through
    }

    /// Each gateway as an administrator sees it, but for the calls on it.
    pub(crate) fn status(&self, now: Instant) -> Vec<GatewayStatus> {
        let status = |control: controller::GatewayStatus| {
            let state = self.states.iter().find(|s| s.settings.name == control.name)?;
            Some(GatewayStatus {
                realms: state.settings.realms.clone(),
                weight: state.settings.weight,
                connected: !state.cut,
                calls: 0,
                passed_over_until: state.health.closed_until(now),
                reduction: state.health.reduction(now),
                out_of_service: state.interfaces.down().to_vec(),
                avoided: state.avoided,
                control,
            })
        };
        self.controller.gateways().filter_map(status).collect()
    }

    /// It has these contexts of a time before this process, and gets `patience` to come.
    pub(crate) fn adopt(
        &mut self,
        now: Instant,
        gateway: &str,
        contexts: Vec<(u32, Vec<TerminationId>)>,
        patience: Duration,
    ) {
        if let Some(state) = self.state(gateway) {
            // What is asked now goes out when there is a way.
            state.cut = true;
        }
        self.controller.adopt(now, gateway, contexts, patience);
    }

    /// Whether one that was there before has not come yet, or is not ready.
    pub(crate) fn any_awaited(&self) -> bool {
        let mut names = self.states.iter().map(|state| &state.settings.name);
        names.any(|name| self.controller.is_awaited(name) || self.controller.is_settling(name))
    }

    /// Whether it has contexts of before and has not come yet.
    pub(crate) fn is_awaited(&self, gateway: &str) -> bool {
        self.controller.is_awaited(gateway)
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

    /// Whether a message in the name of a gateway is taken from there, and what is to be told of it
    /// if not.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        gateway: &str,
        origin: Origin,
        message: &Message,
    ) -> Result<(), Option<Box<Event>>> {
        let live = self.is_up(gateway);
        let state = self.states.iter_mut().find(|s| &*s.settings.name == gateway).ok_or(None)?;
        if admits(&state.settings, live, origin, message) {
            return Ok(());
        }
        Err(state.foreign.seen(now, &state.settings, origin.address).map(Box::new))
    }

    pub(crate) fn handle(&mut self, now: Instant, gateway: &str, message: Message) {
        self.now = now;
        self.controller.handle_message(now, gateway, message);
    }

    pub(crate) fn undecodable(&mut self, gateway: &str, error: &carnet_h248::Error) {
        self.controller.handle_undecodable(gateway, error);
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
        self.now = now;
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
            controller::Event::Registered { gateway, kept, .. } => {
                self.registered(&gateway, kept);
                Report::Up(gateway)
            }
            controller::Event::Lost { gateway, reason } => {
                if let Some(state) = self.state(&gateway) {
                    state.interfaces = Interfaces::default();
                }
                Report::Lost(gateway, reason)
            }
            controller::Event::Refused { gateway, error } => Report::TurnedAway(gateway, error),
            controller::Event::Unsuited { gateway, error } => Report::Unsuited(gateway, error),
            controller::Event::Draining { gateway, delay } => Report::Draining(gateway, delay),
            controller::Event::ContextsLost { gateway, contexts } => Report::ContextsLost(gateway, contexts),
            controller::Event::Resynchronised { gateway, strays, lost, complete } => {
                Report::Resynchronised { gateway, strays, lost, complete }
            }
            controller::Event::ServiceChanged { gateway, context, termination, method, reason } => {
                let code = reason.as_ref().and_then(carnet_h248::Reason::code);
                let change = match (method, code) {
                    (_, Some(918)) | (Method::Restart, _) => Change::Back,
                    (Method::Graceful, _) => Change::Leaving,
                    (Method::Forced, _) => Change::Failed,
                    _ => return None,
                };
                let state = self.state(&gateway)?;
                match change {
                    Change::Back => state.interfaces.back(&termination),
                    _ => state.interfaces.gone(&termination),
                }
                Report::Interface { gateway, context, termination, change }
            }
            controller::Event::Reply { request, gateway, sent, result } => {
                let (actions, error) = match result {
                    Ok(actions) => (actions, None),
                    Err(error) => {
                        let elsewhere = error.is_capacity();
                        let (actions, error) = match error {
                            RequestError::Refused { error, actions } => (actions, error),
                            other => (Vec::new(), as_descriptor(&other)),
                        };
                        (actions, Some(Refusal { error, elsewhere }))
                    }
                };
                Report::Reply { request, gateway, sent, actions, error }
            }
            controller::Event::Notify { gateway, termination, observed, .. } if termination.is_root() => {
                self.reported(&gateway, &observed);
                return None;
            }
            controller::Event::Notify { gateway, context, termination, observed } => {
                Report::Notify { gateway, context, termination, observed }
            }
            _ => return None,
        })
    }

    /// A gateway is there: it is asked to tell of its load, if it can.
    fn registered(&mut self, gateway: &GatewayName, kept: bool) {
        let Some(state) = self.states.iter_mut().find(|s| s.settings.name == *gateway) else { return };
        state.health = Health::default();
        if !kept {
            state.interfaces = Interfaces::default();
        }
        let told = |package| {
            let mut gateways = self.controller.gateways().filter(|g| g.name == *gateway);
            gateways.any(|g| g.packages.iter().any(|p| p.name == package))
        };
        let load = [("ocp", "ocp/mg_overload"), ("chp", "chp/MGCon")];
        let events = load.into_iter().filter(|(package, _)| told(*package));
        let events: Vec<_> = events.map(|(_, event)| RequestedEvent::new(event)).collect();
        if !events.is_empty() {
            let wish = events.into_iter().fold(Events::new(1), Events::event);
            let command = Command::modify(TerminationId::ROOT).with(wish);
            // Its answer is of no consequence: one that refuses is measured by its refusals.
            self.controller.request(
                self.now,
                gateway,
                vec![ActionRequest::new(ContextId::Null, vec![command])],
            );
        }
    }

    /// What a gateway says of its load (H.248.10, H.248.11).
    fn reported(&mut self, gateway: &str, observed: &ObservedEvents) {
        let now = self.now;
        let Some(state) = self.state(gateway) else { return };
        for event in &observed.events {
            if event.name == "ocp/mg_overload" {
                state.health.overloaded(now);
            } else if event.name == "chp/MGCon" {
                let percent = event.value("reduction").and_then(carnet_h248::Value::as_u64);
                state.health.reduce(percent.map_or(0, |p| u8::try_from(p).unwrap_or(100)));
            }
        }
    }
}

/// A gateway as its control association is told of it.
fn control_of(config: &Config, gateway: &Gateway) -> GatewayConfig {
    let transport = gateway.association.transport;
    let mut control = GatewayConfig::new(gateway.name.clone(), gateway.mid.clone(), transport);
    control.association = gateway.association.clone();
    control.profiles.clone_from(&gateway.profiles);
    control.needs = needs(config, gateway);
    control
}

/// Packages without which a gateway cannot do what the networks ask for.
fn needs(config: &Config, gateway: &Gateway) -> Vec<PackageVersion> {
    let serves = |realm: &String| gateway.realms.is_empty() || gateway.realms.contains(realm);
    let any = |test: fn(&crate::config::Network) -> bool| {
        config.networks.iter().filter(|n| serves(&n.realm)).any(test)
    };
    let wanted = [
        // Every termination is in a realm.
        (true, "ipdc", 1),
        (any(|n| n.source_filter), "gm", 1),
        (any(|n| n.rate.is_some()), "tman", 1),
        (any(|n| n.dscp.is_some()), "ds", 1),
    ];
    let wanted = wanted.into_iter().filter(|(needed, ..)| *needed);
    wanted.map(|(_, name, version)| PackageVersion::new(name, version)).collect()
}

/// No answer, in terms of an answer: 503 service unavailable.
fn as_descriptor(error: &RequestError) -> ErrorDescriptor {
    let code = match error {
        RequestError::Failed(Failure::TimedOut) => 504,
        _ => 503,
    };
    ErrorDescriptor::new(code, error.to_string())
}
