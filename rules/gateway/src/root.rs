//! ROOT, the gateway itself: its properties and events, and whether it is in service (RFC 3525 §6.2.5,
//! Annex E.2).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use carnet_h248::registration::Demands;
use carnet_h248::{
    Command, CommandReply, Descriptor, EventBufferControl, Events, Media, ObservedEvent, Property,
    ServiceState, TerminationId, TerminationState, Value,
};

use crate::Function;
use crate::context::Target;
use crate::core::Core;
use crate::error::Fault;
use crate::events::{check_events, silence};
use crate::notices::Notices;
use crate::overload::Congestion;
use crate::package::{Kind, LARGEST_MESSAGE, Supported, check};
use crate::regulation::{Regulation, Told};
use crate::service::{Announced, Due};

/// What is held for ROOT.
#[derive(Debug, Default)]
pub(crate) struct RootState {
    /// Set by the controller.
    pub(crate) properties: Vec<Property>,
    pub(crate) events: Events,
    /// Regulated events that happened.
    pub(crate) told: Told,
    pub(crate) regulation: Regulation,
    /// `it/ito`.
    pub(crate) silence: Option<Duration>,
    pub(crate) heard: Option<Instant>,
    /// The controller took the gateway out of service.
    pub(crate) out_of_service: bool,
    /// The controller said that service will end: nothing new.
    pub(crate) retiring: bool,
    /// Ends and begins of service that have a delay.
    pub(crate) due: BTreeSet<Due>,
    pub(crate) notices: Notices,
    pub(crate) congestion: Congestion,
    /// Every IP realm, and whether it can be used; the first one is the default.
    pub(crate) realms: Vec<(String, bool)>,
    /// Realms that are down, and what the controller was told to be out of service.
    pub(crate) down: BTreeMap<String, Announced>,
    /// The controller has set properties that the control association may have to keep to.
    pub(crate) demands_changed: bool,
}

impl RootState {
    /// The controller knows of nothing. What the gateway has by itself stays.
    pub(crate) fn clear(&mut self) {
        let realms = std::mem::take(&mut self.realms);
        *self = Self { congestion: self.congestion, heard: self.heard, realms, ..Self::default() };
    }

    pub(crate) fn set_events(&mut self, now: Instant, events: Events) {
        self.silence = events.find("it/ito").and_then(silence);
        self.heard = Some(now);
        self.told = Told::default();
        self.events = events;
    }

    /// What the controller has set for the control association, if that has changed since this was asked.
    ///
    /// RFC 3525 §E.2.1: the times after which a Pending is due begin as those of normal execution.
    pub(crate) fn demands(&mut self) -> Option<Demands> {
        if !std::mem::take(&mut self.demands_changed) {
            return None;
        }
        let number = |name: &str| self.properties.iter().find(|p| p.name == *name)?.value.single()?.as_u64();
        let time = |name: &str| number(name).map(Duration::from_millis);
        let count = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
        Some(Demands {
            execution: time("root/MGProvisionalResponseTimerValue")
                .or_else(|| time("root/normalMGExecutionTime")),
            answer: time("root/normalMGCExecutionTime"),
            pendings: count("root/MGOriginatedPendingLimit"),
            pendings_taken: count("root/MGCOriginatedPendingLimit"),
            segments: time("seg/MGCSegmentationTimerValue"),
            datagram: number("seg/MGCMaxPDUSize").and_then(|n| usize::try_from(n).ok()),
        })
    }

    /// Whether new terminations are taken.
    pub(crate) fn takes_new(&self) -> Result<(), Fault> {
        if self.out_of_service || self.retiring {
            return Err(Fault::exhausted(503, "Service unavailable: the gateway was taken out of service"));
        }
        Ok(())
    }

    pub(crate) fn service_state(&self) -> ServiceState {
        if self.out_of_service { ServiceState::OutOfService } else { ServiceState::InService }
    }
}

impl Core {
    pub(crate) fn modify_root(
        &mut self,
        now: Instant,
        target: &Target,
        command: &Command,
    ) -> Result<CommandReply, Fault> {
        for (index, descriptor) in command.descriptors.iter().enumerate() {
            let kind = std::mem::discriminant(descriptor);
            if command.descriptors.iter().take(index).any(|d| std::mem::discriminant(d) == kind) {
                return Err(Fault::request(448, "Descriptor appears twice in a command"));
            }
            match descriptor {
                Descriptor::Media(media) if media.streams.is_empty() => {
                    let state = media.termination_state.as_ref();
                    state.map_or(Ok(()), |state| check_state(self.function, state))?;
                }
                Descriptor::Events(events) => {
                    let none = &|_: &_| Err(Fault::request(447, "ROOT has no signals"));
                    check_events(self.function, events, true, none)?;
                }
                Descriptor::Audit(_) => {}
                Descriptor::Modem(_) | Descriptor::Mux(_) | Descriptor::DigitMap(_) => {
                    return Err(Fault::unsupported(444, "Unsupported descriptor"));
                }
                _ => return Err(Fault::request(447, "Descriptor is not legal for ROOT")),
            }
        }
        for descriptor in &command.descriptors {
            match descriptor {
                Descriptor::Media(media) => {
                    media.termination_state.iter().for_each(|state| self.set_root_state(now, state));
                }
                Descriptor::Events(events) => {
                    self.root.set_events(now, events.clone());
                    self.tell_standing_congestion(now);
                }
                _ => {}
            }
        }
        let reply = CommandReply::new(command.verb, TerminationId::ROOT);
        match command.audit() {
            Some(audit) => self.with_audit(reply, target, audit, None),
            None => Ok(reply),
        }
    }

    fn set_root_state(&mut self, now: Instant, state: &TerminationState) {
        for property in &state.properties {
            self.root.properties.retain(|old| old.name != property.name);
            self.root.properties.push(property.clone());
            if property.name == "nb/rate" {
                self.root.regulation = property.value.single().map(Regulation::of).unwrap_or_default();
            }
        }
        self.root.demands_changed |= !state.properties.is_empty();
        match state.service_state {
            Some(ServiceState::InService) => self.root_in_service(),
            Some(ServiceState::OutOfService) => self.root_out_of_service(now),
            Some(ServiceState::Test) | None => {}
        }
    }

    /// All that an audit of ROOT can tell in Media.
    pub(crate) fn root_media(&self) -> Media {
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let mut properties = vec![
            Property::new("root/maxNumberOfContexts", number(self.limits.contexts)),
            Property::new("root/maxTerminationsPerContext", number(self.limits.terminations)),
        ];
        properties.push(Property::new("seg/MGMaxPDUSize", LARGEST_MESSAGE));
        properties.extend(self.root.properties.iter().cloned());
        if !self.root.realms.is_empty() {
            let up = self.root.realms.iter().filter(|(_, up)| *up);
            let up = up.map(|(name, _)| Value::Quoted(name.clone().into())).collect();
            properties.push(Property::new("ipra/ar", crate::service::list(up)));
        }
        let service_state = Some(self.root.service_state());
        let state = TerminationState { service_state, event_buffer: None, properties };
        Media { termination_state: Some(state), ..Media::default() }
    }

    /// The next sign of a silent controller, or delayed end of service, that is due.
    pub(crate) fn root_timeout(&self) -> Option<Instant> {
        let due = self.root.due.first().map(|due| due.at);
        [due, self.silent_at()].into_iter().flatten().min()
    }

    pub(crate) fn silent_at(&self) -> Option<Instant> {
        Some(self.root.heard? + self.root.silence?)
    }

    pub(crate) fn root_due(&mut self, now: Instant) {
        if self.silent_at().is_some_and(|due| due <= now) {
            self.root.heard = Some(now);
            // It is not worth telling later: whoever takes the gateway then is not silent.
            self.root_event(now, ObservedEvent::new("it/ito"), false);
        }
        while let Some(due) = self.root.due.first().copied().filter(|due| due.at <= now) {
            self.root.due.remove(&due);
            self.service_due(now, due);
        }
    }
}

fn check_state(function: Function, state: &TerminationState) -> Result<(), Fault> {
    if state.event_buffer == Some(EventBufferControl::LockStep) {
        // TS 29.334 table 5.7.1.2: not used.
        return Err(Fault::unsupported(501, "Not implemented: LockStep"));
    }
    if state.service_state == Some(ServiceState::Test) {
        return Err(Fault::unsupported(501, "Not implemented: test of the gateway"));
    }
    for (index, property) in state.properties.iter().enumerate() {
        let known: &Supported = check(function, Kind::RootProperty, &property.name)?;
        if state.properties.iter().take(index).any(|p| p.name == property.name) {
            return Err(Fault::request(456, format!("Property appears twice: {}", property.name)));
        }
        if known.read_only {
            return Err(Fault::request(534, format!("Read only: {}", property.name)));
        }
        if !property.value.single().is_some_and(|value| known.possible.allows(value)) {
            let value = property.value.single().map_or_else(String::new, |v| format!(": {v}"));
            return Err(Fault::request(449, format!("Unsupported value of {}{value}", property.name)));
        }
    }
    Ok(())
}
