//! What versions 2 and 3 of H.248.1 added, and whether a message of an older version has any of it.
//!
//! The grammars and modules of the three versions side by side. A peer of version 1 cannot read what came
//! later, so a message that has it is not sent to it. On receipt nothing of this is refused.
//!
//! Left out: what only one encoding had earlier than the other is taken from the later one.

use super::{
    ActionReply, ActionRequest, AuditItem, Body, Command, CommandReply, Completion, ContextProperties,
    Descriptor, DigitMap, Events, Media, Message, ReplyBody, RequestedEvent, Selector, ServiceChange, Signal,
    Signals, Statistic, TopologyDirection, Transaction,
};

/// Something that the version of a message does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} is of version {since}, the message of version {version}")]
pub struct Newer {
    /// What it is.
    pub what: &'static str,
    /// The version that added it.
    pub since: u8,
    /// The version of the message.
    pub version: u8,
}

/// Fails on the first thing that is too new.
struct Check(u8);

type Result = std::result::Result<(), Newer>;

impl Message {
    /// Whether everything in the message is of its version or older.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check_version(&self) -> Result {
        let check = Check(self.version);
        match &self.body {
            // Version 3 has everything.
            _ if self.version >= 3 => Ok(()),
            Body::Error(_) => Ok(()),
            Body::Transactions(list) => list.iter().try_for_each(|t| check.transaction(t)),
        }
    }
}

impl Check {
    fn since(&self, since: u8, present: bool, what: &'static str) -> Result {
        if present && self.0 < since { Err(Newer { what, since, version: self.0 }) } else { Ok(()) }
    }

    fn transaction(&self, transaction: &Transaction) -> Result {
        match transaction {
            Transaction::Request(request) => request.actions.iter().try_for_each(|a| self.request(a)),
            Transaction::Reply(reply) => {
                self.since(3, reply.segment.is_some(), "a segment of a reply")?;
                match &reply.body {
                    ReplyBody::Error(_) => Ok(()),
                    ReplyBody::Actions(actions) => actions.iter().try_for_each(|a| self.reply(a)),
                }
            }
            Transaction::Segment(_) => self.since(3, true, "a segment reply"),
            Transaction::Pending(_) | Transaction::Ack(_) => Ok(()),
        }
    }

    fn request(&self, action: &ActionRequest) -> Result {
        self.context(&action.properties)?;
        for selector in action.audit.iter().flatten() {
            let old = ["Topology", "Emergency", "Priority"].iter().any(|name| selector.name == **name);
            self.since(3, !old || selector.value.is_some(), "this audit of a context")?;
        }
        action.commands.iter().try_for_each(|c| self.command(c))
    }

    fn reply(&self, action: &ActionReply) -> Result {
        self.context(&action.properties)?;
        let empty = action.commands.is_empty() && action.properties.is_empty() && action.error.is_none();
        self.since(3, empty, "an action reply with nothing in it")?;
        action.commands.iter().try_for_each(|c| self.command_reply(c))
    }

    fn context(&self, context: &ContextProperties) -> Result {
        for relation in &context.topology {
            self.since(2, relation.stream.is_some(), "the stream of a Topology")?;
            let newer = matches!(
                relation.direction,
                TopologyDirection::OnewayExternal | TopologyDirection::OnewayBoth
            );
            self.since(3, newer, "this direction of a Topology")?;
        }
        self.since(3, context.ieps_call.is_some(), "IEPSCall")?;
        self.since(3, !context.attributes.is_empty(), "a property of a context")?;
        self.since(3, !context.context_list.is_empty(), "ContextList")
    }

    fn command(&self, command: &Command) -> Result {
        self.since(3, command.terminations.len() > 1, "a list of terminations")?;
        let statistics = command.descriptors.iter().any(|d| matches!(d, Descriptor::Statistics(_)));
        self.since(3, statistics, "Statistics in a request")?;
        command.descriptors.iter().try_for_each(|d| self.descriptor(d))
    }

    fn command_reply(&self, reply: &CommandReply) -> Result {
        // The list in an audit of a context is as old as the protocol.
        let list = reply.terminations.len() > 1 && !reply.context_audit;
        self.since(3, list, "a list of terminations")?;
        reply.descriptors.iter().try_for_each(|d| self.descriptor(d))
    }

    fn descriptor(&self, descriptor: &Descriptor) -> Result {
        match descriptor {
            Descriptor::Media(media) => self.media(media),
            Descriptor::Mux(mux) => self.since(2, mux.kind == *"Nx64Kservice", "the multiplex Nx64Kservice"),
            Descriptor::Events(events) => self.events(events),
            Descriptor::Signals(signals) => self.signals(signals),
            Descriptor::DigitMap(map) => self.digit_map(map),
            Descriptor::Audit(audit) => self.audit(&audit.0),
            Descriptor::Statistics(list) => self.statistics(list),
            Descriptor::ServiceChange(services) => self.services(services),
            Descriptor::Modem(_)
            | Descriptor::EventBuffer(_)
            | Descriptor::ObservedEvents(_)
            | Descriptor::Packages(_)
            | Descriptor::Error(_)
            | Descriptor::Empty(_) => Ok(()),
        }
    }

    fn media(&self, media: &Media) -> Result {
        media.streams.iter().try_for_each(|stream| {
            self.since(3, stream.statistics.is_some(), "Statistics of a stream")?;
            stream.statistics.iter().try_for_each(|list| self.statistics(list))
        })
    }

    fn statistics(&self, list: &[Statistic]) -> Result {
        self.since(3, list.iter().any(|s| s.values.len() > 1), "a statistic that is a list")
    }

    fn events(&self, events: &Events) -> Result {
        events.events.iter().try_for_each(|event| self.event(event))
    }

    fn event(&self, event: &RequestedEvent) -> Result {
        self.since(3, event.notify.is_some(), "the notification behaviour of an event")?;
        self.since(3, event.reset_events, "ResetEventsDescriptor")?;
        event.digit_map.iter().try_for_each(|map| self.digit_map(map))?;
        let Some(embed) = &event.embed else { return Ok(()) };
        embed.signals.iter().try_for_each(|signals| self.signals(signals))?;
        embed.events.iter().try_for_each(|events| self.events(events))
    }

    fn digit_map(&self, map: &DigitMap) -> Result {
        let duration = |value: &str| {
            let mut timers = value.split(',').filter_map(|part| part.split_once(':'));
            timers.any(|(letter, _)| letter.trim().eq_ignore_ascii_case("Z"))
        };
        self.since(2, map.value.as_deref().is_some_and(duration), "the duration timer of a digit map")
    }

    fn signals(&self, signals: &Signals) -> Result {
        signals.iter().try_for_each(|signal| self.signal(signal))
    }

    fn signal(&self, signal: &Signal) -> Result {
        self.since(3, signal.direction.is_some(), "the direction of a signal")?;
        self.since(3, signal.request_id.is_some(), "the request number of a signal")?;
        self.since(3, signal.intersignal_delay.is_some(), "the delay between signals")?;
        let iteration = signal.notify_completion.iter().flatten().any(|c| *c == Completion::Iteration);
        self.since(3, iteration, "the completion Iteration")
    }

    fn services(&self, services: &ServiceChange) -> Result {
        self.since(3, services.incomplete, "ServiceChangeInc")?;
        self.since(2, !services.audit.is_empty(), "what a ServiceChange says has changed")?;
        self.audit(&services.audit)
    }

    fn audit(&self, items: &[AuditItem]) -> Result {
        items.iter().try_for_each(|item| match item {
            AuditItem::Descriptor(_) => Ok(()),
            AuditItem::Individual(selector) => {
                self.since(2, true, "an audit of single items")?;
                self.selector(selector)
            }
        })
    }

    fn selector(&self, selector: &Selector) -> Result {
        // Numbers of streams, lists and requests, and names of digit maps, are as old as the selection.
        let numbered = ["Stream", "SignalList", "Events", "DigitMap"].iter().any(|n| selector.name == **n);
        self.since(3, selector.value.is_some() && !numbered, "an audit that selects by a value")?;
        let newer = ["Local", "Remote", "SPARequestID"].iter().any(|name| selector.name == **name);
        self.since(3, newer, "this audit of single items")?;
        selector.inside.iter().flatten().try_for_each(|inner| self.selector(inner))
    }
}
