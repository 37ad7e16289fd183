//! The controller's answers to what gateways send: ServiceChange and Notify.

use super::{Controller, Event, Gateway, Inventory, LostReason, Purpose, State};
use crate::model::{
    ActionReply, ActionRequest, Audit, Command, CommandReply, ContextId, ErrorDescriptor, Method, ReplyBody,
    ServiceChange, TerminationId, TransactionId, Verb,
};
use std::time::{Duration, Instant};

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
        self.clear(now, gateway);
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
        // Reason 918 takes an earlier Graceful back, with Restart or with Graceful; it is no registration.
        let cancel = parameters.reason.as_ref().and_then(crate::Reason::code) == Some(918);
        let serves = self.gateways.get(gateway).is_some_and(|g| g.state.serves());
        match method {
            Method::Restart if cancel && serves => {
                self.drains(gateway, parameters, true);
                Ok(None)
            }
            Method::Restart | Method::Failover | Method::HandOff | Method::Disconnected => {
                self.registers(now, gateway, method, parameters).map(|answer| Some(answer.into()))
            }
            Method::Forced => {
                self.lose(gateway, LostReason::Forced);
                Ok(None)
            }
            Method::Graceful => {
                if !serves {
                    return Err(ErrorDescriptor::new(504, "not registered"));
                }
                self.drains(gateway, parameters, cancel);
                Ok(None)
            }
            Method::Other(name) => Err(ErrorDescriptor::new(501, format!("method {name} is not known here"))),
        }
    }

    /// The gateway will end its service, or will not after all.
    fn drains(&mut self, gateway: &str, parameters: &ServiceChange, cancel: bool) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        g.state = if cancel { State::Registered } else { State::Draining };
        let (gateway, profile, version) = (g.name.clone(), g.profile.clone(), g.association.version());
        self.events.push_back(if cancel {
            Event::Registered { gateway, profile, version, kept: true }
        } else {
            let delay = parameters.delay.map(|s| Duration::from_secs(s.into()));
            Event::Draining { gateway, delay }
        });
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
        let Some(name) = self.gateways.get(gateway).map(|g| g.name.clone()) else {
            return Err(ErrorDescriptor::new(504, "unknown gateway"));
        };
        if let Some(to) = &self.config.redirect {
            return Ok(ServiceChange {
                mgc_id_to_try: Some(to.clone()),
                timestamp,
                ..ServiceChange::default()
            });
        }
        if let Some(error) = self.objection(parameters) {
            self.events.push_back(Event::Refused { gateway: name, error: error.clone() });
            return Err(error);
        }
        // A restart while registered: what the gateway had is gone.
        if *method == Method::Restart {
            self.lose(gateway, LostReason::Restarted);
        }
        let Some(g) = self.gateways.get_mut(gateway) else {
            return Err(ErrorDescriptor::new(504, "unknown gateway"));
        };
        let kept = *method != Method::Restart;
        if let Some(offered) = parameters.version {
            g.association.set_version(offered.min(VERSION));
        }
        g.profile = parameters.profile.clone().or_else(|| g.profile.take());
        g.address = parameters.address.clone();
        g.heartbeat_at = Some(now + self.config.heartbeat);
        g.heartbeat_out = false;
        if g.state == State::Away {
            g.inventory = Inventory::default();
        }
        let clear = std::mem::take(&mut g.stale) && kept;
        g.state = if clear { State::Clearing } else { State::Registered };
        let version = g.association.version();
        let answer = ServiceChange {
            profile: parameters.profile.clone(),
            version: Some(version),
            timestamp,
            ..ServiceChange::default()
        };
        if !clear {
            let profile = g.profile.clone();
            self.events.push_back(Event::Registered { gateway: name, profile, version, kept });
        }
        Ok(answer)
    }

    /// Why a gateway cannot register, if so.
    fn objection(&self, parameters: &ServiceChange) -> Option<ErrorDescriptor> {
        let lowest = self.config.lowest_version;
        if let Some(offered) = parameters.version.filter(|v| *v < lowest || *v == 0) {
            let text =
                format!("version {offered} is not supported: this controller speaks {lowest} to {VERSION}");
            return Some(ErrorDescriptor::new(406, text));
        }
        let offered = parameters.profile.as_ref()?;
        let accepted = &self.config.profiles;
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
        for termination in &command.terminations {
            let asks = observed.events.iter().any(|e| e.name == "hangterm/thb");
            if asks && !g.inventory.holds(context, termination) {
                subtract(g, now, context, termination);
                return Err(ErrorDescriptor::new(430, format!("{termination} is not known here")));
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

    /// A gateway that was given up came back with its contexts: they belong to nobody. New ones are
    /// not made until they are gone, lest a late subtraction takes them too.
    fn clear(&mut self, now: Instant, gateway: &str) {
        if let Some(g) = self.gateways.get_mut(gateway)
            && g.state == State::Clearing
            && !g.purposes.values().any(|p| matches!(p, Purpose::Clearing))
        {
            let id = subtract(g, now, ContextId::All, &TerminationId::ALL);
            g.purposes.insert(id, Purpose::Clearing);
        }
    }
}

/// Takes away what nobody uses, without statistics.
fn subtract(g: &mut Gateway, now: Instant, context: ContextId, termination: &TerminationId) -> TransactionId {
    let mut command = Command::subtract(termination.clone()).with(Audit::default());
    command.wildcard_response = termination.has_all();
    let id = g.association.request(now, vec![ActionRequest::new(context, vec![command])]);
    g.purposes.insert(id, Purpose::Own);
    id
}
