//! The controller's answers to what gateways send: ServiceChange and Notify.

use super::gateway::{Gateway, State};
use super::resync::Arrival;
use super::{Controller, Event, LostReason};
use crate::model::{
    ActionReply, ActionRequest, Command, CommandReply, ContextId, ErrorDescriptor, Method, ReplyBody,
    ServiceChange, TransactionId, Verb,
};
use std::time::{Duration, Instant};

/// Warm boot (H.248.8).
const WARM_BOOT: u16 = 902;

/// The highest protocol version we speak.
const VERSION: u8 = 3;

impl Controller {
    /// Executes a request of a gateway and answers it.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        gateway: &str,
        id: TransactionId,
        actions: &[ActionRequest],
    ) {
        let mut replies = Vec::with_capacity(actions.len());
        'actions: for action in actions {
            let mut reply = ActionReply::new(action.context, Vec::with_capacity(action.commands.len()));
            for command in &action.commands {
                let done = self.execute(now, gateway, action.context, command);
                let failed = done.error().is_some();
                reply.commands.push(done);
                // RFC 3525 §8.1: a failure ends the transaction unless the command is optional.
                if failed && !command.optional {
                    replies.push(reply);
                    break 'actions;
                }
            }
            replies.push(reply);
        }
        if let Some(g) = self.gateways.get_mut(gateway) {
            g.association.reply(now, id, ReplyBody::Actions(replies));
        }
        // Behind the answer: a gateway takes nothing before it.
        let arrived = self.gateways.get_mut(gateway).and_then(|g| g.arrived.take());
        if let Some(arrival) = arrived {
            self.settle(now, gateway, arrival, true);
        } else if std::mem::take(&mut self.stranger) {
            self.spoke(now, gateway);
        }
    }

    fn execute(
        &mut self,
        now: Instant,
        gateway: &str,
        context: ContextId,
        command: &Command,
    ) -> CommandReply {
        let mut reply = CommandReply {
            verb: command.verb,
            context_audit: false,
            terminations: command.terminations.clone(),
            descriptors: Vec::new(),
        };
        let registered = self.gateways.get(gateway).is_some_and(|g| g.state != State::Away);
        let result = match (command.verb, command.services()) {
            (Verb::ServiceChange, Some(parameters)) if command.termination().is_root() => {
                self.root_changes(now, gateway, parameters).map(|answer| reply.descriptors.extend(answer))
            }
            // RFC 3525 §11.2: ServiceChange on ROOT comes before everything else.
            _ if !registered => {
                self.stranger = true;
                Err(ErrorDescriptor::new(504, "not registered: ServiceChange on ROOT comes first"))
            }
            (Verb::ServiceChange, Some(parameters)) => {
                self.terminations_change(gateway, context, command, parameters);
                Ok(())
            }
            (Verb::Notify, _) => self.notified(now, gateway, context, command),
            (Verb::ServiceChange, None) => Err(ErrorDescriptor::new(442, "ServiceChange without parameters")),
            _ => Err(ErrorDescriptor::new(443, "a gateway sends Notify and ServiceChange only")),
        };
        if let Err(error) = result {
            reply.descriptors.push(error.into());
        }
        reply
    }

    /// ServiceChange on ROOT: the gateway comes, goes or wants to stop.
    fn root_changes(
        &mut self,
        now: Instant,
        gateway: &str,
        parameters: &ServiceChange,
    ) -> Result<Option<crate::Descriptor>, ErrorDescriptor> {
        let Some(method) = &parameters.method else {
            return Err(ErrorDescriptor::new(442, "ServiceChange without Method"));
        };
        let reason = parameters.reason.as_ref().and_then(crate::Reason::code);
        let here = self.gateways.get(gateway).is_some_and(Gateway::serves);
        match (method, reason) {
            // Takes an earlier Graceful back (918).
            (Method::Restart | Method::Graceful, Some(918)) if here => {
                self.stays(now, gateway);
                Ok(None)
            }
            // Its packages or capabilities have changed (916, 917), nothing else.
            (_, Some(916 | 917)) if here => {
                if let Some(g) = self.gateways.get_mut(gateway) {
                    g.ask_properties(now);
                }
                Ok(None)
            }
            _ => self.root_changes_service(now, gateway, method, parameters),
        }
    }

    fn root_changes_service(
        &mut self,
        now: Instant,
        gateway: &str,
        method: &Method,
        parameters: &ServiceChange,
    ) -> Result<Option<crate::Descriptor>, ErrorDescriptor> {
        match method {
            Method::Restart | Method::Failover | Method::HandOff | Method::Disconnected => {
                self.registers(now, gateway, method, parameters).map(|answer| Some(answer.into()))
            }
            Method::Forced => {
                self.lose(now, gateway, LostReason::Forced);
                Ok(None)
            }
            Method::Graceful => {
                let Some(g) = self.gateways.get_mut(gateway).filter(|g| g.serves()) else {
                    return Err(ErrorDescriptor::new(504, "not registered"));
                };
                // One that is being settled is draining when that is done.
                g.draining = true;
                if g.state == State::Registered {
                    g.enter(now, State::Draining);
                }
                let delay = parameters.delay.filter(|s| *s > 0).map(|s| Duration::from_secs(s.into()));
                self.events.push_back(Event::Draining { gateway: g.name.clone(), delay });
                Ok(None)
            }
            Method::Other(name) => Err(ErrorDescriptor::new(501, format!("method {name} is not known here"))),
        }
    }

    /// It does not leave after all.
    fn stays(&mut self, now: Instant, gateway: &str) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        g.draining = false;
        if g.state == State::Draining {
            g.enter(now, State::Registered);
            self.events.push_back(Event::Registered {
                gateway: g.name.clone(),
                profile: g.profile.clone(),
                version: g.association.version(),
                kept: true,
            });
        }
    }

    /// A registration: agree on version and profile, or say plainly why not.
    fn registers(
        &mut self,
        now: Instant,
        gateway: &str,
        method: &Method,
        parameters: &ServiceChange,
    ) -> Result<ServiceChange, ErrorDescriptor> {
        let timestamp = Some(self.time_stamp(now));
        let reason = parameters.reason.as_ref().and_then(crate::Reason::code);
        // After a warm boot it has what it had; the audit shows whether that is all (RFC 3525 §11.5).
        let cold = *method == Method::Restart && reason != Some(WARM_BOOT);
        let Some(name) = self.gateways.get(gateway).map(|g| g.name.clone()) else {
            return Err(ErrorDescriptor::new(504, "unknown gateway"));
        };
        if let Some(to) = self.config.redirect.clone() {
            // What it had from us is gone all the same: its calls are told now.
            if cold {
                self.lose(now, gateway, LostReason::Restarted);
            }
            return Ok(ServiceChange { mgc_id_to_try: Some(to), timestamp, ..ServiceChange::default() });
        }
        if let Some(error) = self.objection(gateway, parameters) {
            self.events.push_back(Event::Refused { gateway: name, error: error.clone() });
            if let Some(g) = self.gateways.get_mut(gateway) {
                g.turned_away = true;
                g.heartbeat_at = g.heartbeat_at.filter(|_| g.serves());
            }
            return Err(error);
        }
        // A restart while registered: what the gateway had is gone.
        if cold {
            self.lose(now, gateway, LostReason::Restarted);
        }
        let Some(g) = self.gateways.get_mut(gateway) else {
            return Err(ErrorDescriptor::new(504, "unknown gateway"));
        };
        if let Some(offered) = parameters.version {
            g.association.set_version(offered.min(VERSION));
        }
        g.profile = parameters.profile.clone().or_else(|| g.profile.take());
        g.address = parameters.address.clone();
        g.packages.clear();
        g.draining = false;
        g.turned_away = false;
        if g.state == State::Away && g.awaited.is_none() {
            g.forget();
        }
        g.enter(now, State::Settling);
        g.arrived = Some(match method {
            Method::Restart if cold => Arrival::New,
            Method::Restart | Method::Disconnected => Arrival::Back,
            _ => Arrival::Inherited,
        });
        Ok(ServiceChange {
            profile: parameters.profile.clone(),
            version: Some(g.association.version()),
            timestamp,
            ..ServiceChange::default()
        })
    }

    /// Why a gateway cannot register, if so.
    fn objection(&self, gateway: &str, parameters: &ServiceChange) -> Option<ErrorDescriptor> {
        let lowest = self.config.lowest_version;
        if let Some(offered) = parameters.version.filter(|v| *v < lowest || *v == 0) {
            let text =
                format!("version {offered} is not supported: this controller speaks {lowest} to {VERSION}");
            return Some(ErrorDescriptor::new(406, text));
        }
        let offered = parameters.profile.as_ref()?;
        let own = self.gateways.get(gateway).and_then(|g| g.config.profiles.as_ref());
        let accepted = own.unwrap_or(&self.config.profiles);
        if accepted.is_empty() || accepted.contains(offered) {
            return None;
        }
        let ours: Vec<_> = accepted.iter().map(ToString::to_string).collect();
        let text = format!("profile {offered} is not supported: this controller speaks {}", ours.join(", "));
        Some(ErrorDescriptor::new(461, text))
    }

    fn terminations_change(
        &mut self,
        gateway: &str,
        context: ContextId,
        command: &Command,
        parameters: &ServiceChange,
    ) {
        let Some(g) = self.gateways.get(gateway) else { return };
        let Some(method) = &parameters.method else { return };
        for termination in &command.terminations {
            self.events.push_back(Event::ServiceChanged {
                gateway: g.name.clone(),
                context,
                termination: termination.clone(),
                method: method.clone(),
                reason: parameters.reason.clone(),
            });
        }
    }

    fn notified(
        &mut self,
        now: Instant,
        gateway: &str,
        context: ContextId,
        command: &Command,
    ) -> Result<(), ErrorDescriptor> {
        let Some(g) = self.gateways.get_mut(gateway) else { return Ok(()) };
        let Some(observed) = command.observed_events() else { return Ok(()) };
        let hangs = observed.events.iter().any(|e| e.name == "hangterm/thb");
        let ended = observed.events.iter().any(|e| e.name == "g/cause" || e.name == "adid/ipstop");
        for termination in &command.terminations {
            let strange = !termination.is_root() && !g.inventory.holds(context, termination);
            if strange && !g.creates() {
                let graced = g.grace_until.is_some_and(|until| now < until);
                if !graced {
                    g.subtract(now, context, std::slice::from_ref(termination));
                    return Err(ErrorDescriptor::new(430, format!("{termination} is not known here")));
                }
                // Left by another controller. While it may come back the termination may stay, but not
                // when its media has ended.
                if ended && !hangs {
                    g.subtract(now, context, std::slice::from_ref(termination));
                }
                continue;
            }
            self.events.push_back(Event::Notify {
                gateway: g.name.clone(),
                context,
                termination: termination.clone(),
                observed: observed.clone(),
            });
        }
        Ok(())
    }
}
