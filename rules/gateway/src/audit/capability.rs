//! AuditCapability: what could be, rather than what is (RFC 3525 §7.2.6).
//!
//! Values that can be had are told as a range or a choice. Packages and DigitMap are no capabilities by the
//! same clause; a controller that asks all the same is answered.
//!
//! Single items are told as in AuditValue (error 532 for what cannot be had); a value in a selection is no
//! condition here. Leaves out: the modes of a stream but SendReceive, which needs descriptors that are
//! repeated.

use carnet_h248::{
    AuditItem, AuditToken, Command, CommandReply, ContextId, Descriptor, Events, LocalControl, Media, Name,
    ObservedEvent, ObservedEvents, ParameterValue, Property, RequestId, RequestedEvent, Selector,
    ServiceState, Signal, SignalItem, Signals, Statistic, Stream, StreamMode, TerminationState,
};

use super::{View, empty, select};
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
        let mut single = Vec::new();
        for item in command.audit().iter().flat_map(|audit| &audit.0) {
            match item {
                AuditItem::Descriptor(token) => tell(&view, *token, &mut reply.descriptors),
                AuditItem::Individual(selector) => single.push(unconditional(selector)),
            }
        }
        if !single.is_empty() {
            reply.descriptors.extend(select::selected(&possible(view), single.iter())?);
        }
        Ok(reply)
    }
}

/// What could be, as something to select from.
fn possible(view: View) -> View {
    let media = if view.root {
        root_media(view.function)
    } else {
        let streams = view.media.streams.iter().map(|held| Stream { id: held.id, ..stream(view.function) });
        Media { streams: streams.collect(), ..Media::default() }
    };
    View {
        media,
        events: events(&view),
        signals: (!view.root).then(|| signals(view.function)),
        statistics: if view.root { Vec::new() } else { statistics(view.function) },
        observed: None,
        ..view
    }
}

/// A selection without the values that are conditions; those that say which stream or list is meant stay.
fn unconditional(selector: &Selector) -> Selector {
    let named = ["Stream", "SignalList"].iter().any(|name| selector.name == **name);
    Selector {
        name: selector.name.clone(),
        value: selector.value.clone().filter(|_| named),
        inside: selector.inside.as_ref().map(|inside| inside.iter().map(unconditional).collect()),
    }
}

fn tell(view: &View, token: AuditToken, told: &mut Vec<Descriptor>) {
    match token {
        AuditToken::Media if view.root => told.push(root_media(view.function).into()),
        AuditToken::Media => told.push(media(view.function).into()),
        AuditToken::Events => told.push(events(view).into()),
        AuditToken::Signals if !view.root => told.push(signals(view.function).into()),
        AuditToken::Statistics if !view.root => told.push(statistics(view.function).into()),
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

fn events(view: &View) -> Events {
    let kind = if view.root { Kind::RootEvent } else { Kind::Event };
    let event =
        |item: &Supported| RequestedEvent { parameters: parameters(item), ..RequestedEvent::new(item.name) };
    let events = items(view.function, kind).map(event).collect();
    Events { request_id: Some(RequestId::ALL), events }
}

fn signals(function: Function) -> Signals {
    let signal = |item: &Supported| Signal { parameters: parameters(item), ..Signal::new(item.name) };
    Signals(items(function, Kind::Signal).map(signal).map(SignalItem::Signal).collect())
}

fn statistics(function: Function) -> Vec<Statistic> {
    let statistic = |item: &Supported| Statistic { name: item.name.into(), values: Vec::new() };
    items(function, Kind::Statistic).map(statistic).collect()
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
    Media::with_stream(stream(function))
}

fn stream(function: Function) -> Stream {
    let properties = properties(function, Kind::Property);
    let control = LocalControl { mode: Some(StreamMode::SendReceive), properties, ..LocalControl::default() };
    Stream { local_control: Some(control), ..Stream::new(1) }
}
