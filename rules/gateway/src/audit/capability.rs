//! AuditCapability: what could be, rather than what is (RFC 3525 §7.2.6).
//!
//! Values that can be had are told as a range or a choice. Packages and DigitMap are no capabilities by the
//! same clause; a controller that asks all the same is answered.
//!
//! Leaves out: the modes of a stream but SendReceive, which needs descriptors that are repeated; single
//! items.

use carnet_h248::{
    AuditItem, AuditToken, Command, CommandReply, ContextId, Descriptor, Events, LocalControl, Media, Name,
    ObservedEvent, ObservedEvents, ParameterValue, Property, RequestId, RequestedEvent, ServiceState, Signal,
    SignalItem, Signals, Statistic, Stream, StreamMode, TerminationState,
};

use super::{View, empty};
use crate::Function;
use crate::context::Target;
use crate::core::Core;
use crate::error::Fault;
use crate::package::{Kind, Supported, items, packages};

impl Core {
    pub(crate) fn audit_capability(&self, target: &Target, command: &Command) -> Result<CommandReply, Fault> {
        let mut reply = CommandReply::new(command.verb, &target.termination);
        if target.termination.is_root() && target.context != ContextId::Null {
            return Ok(reply);
        }
        let view = self.view(target, None)?;
        for item in command.audit().iter().flat_map(|audit| &audit.0) {
            match item {
                AuditItem::Descriptor(token) => tell(&view, *token, &mut reply.descriptors),
                AuditItem::Individual(selector) => {
                    let what = format!("Not implemented: capability of single items in {}", selector.name);
                    return Err(Fault::unsupported(501, what));
                }
            }
        }
        Ok(reply)
    }
}

fn tell(view: &View, token: AuditToken, told: &mut Vec<Descriptor>) {
    match token {
        AuditToken::Media if view.root => told.push(root_media(view.function).into()),
        AuditToken::Media => told.push(media(view.function).into()),
        AuditToken::Events => {
            let kind = if view.root { Kind::RootEvent } else { Kind::Event };
            let event = |item: &Supported| RequestedEvent {
                parameters: parameters(item),
                ..RequestedEvent::new(item.name)
            };
            let events = items(view.function, kind).map(event).collect();
            told.push(Events { request_id: Some(RequestId::ALL), events }.into());
        }
        AuditToken::Signals if !view.root => {
            let signal = |item: &Supported| Signal { parameters: parameters(item), ..Signal::new(item.name) };
            told.push(
                Signals(items(view.function, Kind::Signal).map(signal).map(SignalItem::Signal).collect())
                    .into(),
            );
        }
        AuditToken::Statistics if !view.root => {
            let statistic = |item: &Supported| Statistic { name: item.name.into(), values: Vec::new() };
            told.push(items(view.function, Kind::Statistic).map(statistic).collect::<Vec<_>>().into());
        }
        // The names of the events that are active.
        AuditToken::ObservedEvents if !view.events.events.is_empty() => {
            let request_id = view.events.request_id.unwrap_or(RequestId::ALL);
            let names = view.events.events.iter().map(|e| ObservedEvent::new(e.name.clone()));
            told.push(ObservedEvents { request_id, events: names.collect() }.into());
        }
        AuditToken::Packages => told.push(packages(view.function, view.root).into()),
        token => told.push(empty(token)),
    }
}

/// Values of an event's or signal's parameters that can be asked for.
fn parameters(item: &Supported) -> Vec<Property> {
    let told = item.parameters.iter().filter_map(|p| Some(Property::new(p.name, p.possible.told()?)));
    told.collect()
}

fn properties(function: Function, kind: Kind) -> Vec<Property> {
    let any = || ParameterValue::Equal("*".into());
    let told =
        |item: &Supported| Property::new(Name::from(item.name), item.possible.told().unwrap_or_else(any));
    items(function, kind).map(told).collect()
}

fn root_media(function: Function) -> Media {
    let state = TerminationState {
        service_state: Some(ServiceState::InService),
        event_buffer: None,
        properties: properties(function, Kind::RootProperty),
    };
    Media { termination_state: Some(state), ..Media::default() }
}

fn media(function: Function) -> Media {
    let properties = properties(function, Kind::Property);
    let control = LocalControl { mode: Some(StreamMode::SendReceive), properties, ..LocalControl::default() };
    Media::with_stream(Stream { local_control: Some(control), ..Stream::new(1) })
}
