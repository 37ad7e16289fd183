//! The association with the one gateway.
//!
//! [`Controller`] registers it, watches it, repeats requests and brings together what it has and what is
//! known here. Nobody else controls it, so what it has and nobody here knows is subtracted at once.

use crate::Config;
use carnet_h248::controller::{self, Controller, Event, GatewayConfig, GatewayName, RequestNumber};
use carnet_h248::{ActionRequest, MId, Message, PackageVersion};
use carnet_plan::Watch;
use carnet_wire::Random;
use std::time::{Duration, Instant, SystemTime};

pub(crate) struct Gateway {
    controller: Controller,
    name: GatewayName,
}

impl Gateway {
    pub(crate) fn new(config: &Config, random: &mut dyn Random, now: Instant, wall: SystemTime) -> Self {
        let name: GatewayName = config.gateway.to_string().into();
        let mut gateway = GatewayConfig::new(name.clone(), config.gateway.clone(), config.transport);
        gateway.needs = needs(config);
        let mut settings = controller::Config::new(MId::domain(config.name.clone()), vec![gateway]);
        settings.grace = Duration::ZERO;
        Self { controller: Controller::new(settings, random, now, wall), name }
    }

    pub(crate) fn name(&self) -> GatewayName {
        self.name.clone()
    }

    /// It can be asked about contexts that it has.
    pub(crate) fn is_up(&self) -> bool {
        self.controller.is_registered(&self.name)
    }

    /// It takes new contexts.
    pub(crate) fn takes_new(&self) -> bool {
        self.controller.available().next().is_some()
    }

    /// Whether it has a package. One that did not tell is believed to have it, and so is one that is not
    /// there: that is another trouble.
    pub(crate) fn supports(&self, package: &str) -> bool {
        !self.is_up() || self.controller.supports(&self.name, package)
    }

    /// What it can be asked to watch.
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            cause: self.supports("g"),
            heartbeat: self.supports("hangterm"),
            inactivity: self.supports("adid"),
            tcp: self.supports("tcpbcc"),
            tls: self.supports("tlsbsc"),
            // Whether anybody ever connects decides how long a call lasts whose end nobody told.
            connections: true,
        }
    }

    /// Asks it. The answer comes as [`Event::Reply`], whatever happens.
    pub(crate) fn request(&mut self, now: Instant, actions: Vec<ActionRequest>) -> RequestNumber {
        self.controller.request(now, &self.name, actions)
    }

    pub(crate) fn handle(&mut self, now: Instant, message: Message) {
        self.controller.handle_message(now, &self.name, message);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.controller.handle_timeout(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.controller.poll_timeout()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Message> {
        self.controller.poll_transmit().map(|(_, message)| message)
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.controller.poll_event()
    }
}

/// Packages without which the gateway cannot do what the interfaces ask for.
fn needs(config: &Config) -> Vec<PackageVersion> {
    let any = |test: fn(&crate::Interface) -> bool| config.interfaces.iter().any(test);
    let wanted = [
        // Every termination is in a realm.
        (true, "ipdc"),
        (any(|i| i.source_filter), "gm"),
        (any(|i| i.rate.is_some()), "tman"),
        (any(|i| i.dscp.is_some()), "ds"),
    ];
    let wanted = wanted.into_iter().filter(|(needed, _)| *needed);
    wanted.map(|(_, name)| PackageVersion::new(name, 1)).collect()
}
