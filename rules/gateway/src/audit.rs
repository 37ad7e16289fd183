//! AuditValue and AuditCapability (RFC 3525 §7.2.5, §7.2.6).
//!
//! Leaves out: audits of single items inside a descriptor (version 2), which are refused.

use std::collections::BTreeSet;

use carnet_h248::{
    Audit, AuditItem, AuditToken, Command, CommandReply, Descriptor, Events, LocalControl, Media, Property,
    RequestId, RequestedEvent, ServiceState, Signal, SignalItem, Signals, Statistic, Stream, TerminationId,
    TerminationState, Verb,
};

use crate::context::Target;
use crate::core::{Core, Step};
use crate::error::Fault;
use crate::media::{self, Statistics};
use crate::package::{Kind, packages};
use crate::run::{Work, statistics};

impl Core {
    pub(crate) fn audit(&mut self, target: &Target, command: &Command) -> Result<Step, Fault> {
        let statistics = command.audit().is_some_and(|audit| audit.asks(AuditToken::Statistics));
        if !statistics {
            return self.audited(target, command, None).map(Step::Done);
        }
        let context = target.context.id().and_then(|id| self.contexts.get(&id));
        let termination = context.and_then(|context| context.find(&target.termination));
        let left: BTreeSet<_> = termination.into_iter().flat_map(|t| t.pinholes()).collect();
        for pinhole in &left {
            self.commands.push_back(media::Command::Measure { pinhole: *pinhole });
        }
        Ok(Step::Wait(Work::Measure { target: target.clone(), total: Statistics::default(), left }))
    }

    /// The reply to AuditValue, once the counters are known.
    pub(crate) fn audited(
        &self,
        target: &Target,
        command: &Command,
        total: Option<&Statistics>,
    ) -> Result<CommandReply, Fault> {
        let mut reply = CommandReply::new(command.verb, &target.termination);
        if let Some(audit) = command.audit() {
            reply.descriptors = self.audit_termination(target, audit, total)?;
        }
        Ok(reply)
    }

    pub(crate) fn audit_termination(
        &self,
        target: &Target,
        audit: &Audit,
        total: Option<&Statistics>,
    ) -> Result<Vec<Descriptor>, Fault> {
        let context = target.context.id().and_then(|id| self.contexts.get(&id));
        let termination = context.and_then(|context| context.find(&target.termination));
        let Some(termination) = termination else {
            return Err(Fault::request(430, "Unknown TerminationID"));
        };
        each(audit, |token| match token {
            AuditToken::Media => {
                let state = Some(&termination.state).filter(|s| **s != TerminationState::default());
                let streams = termination.streams.iter().map(|stream| Stream {
                    id: stream.id,
                    local_control: Some(stream.control_text.clone())
                        .filter(|c| *c != LocalControl::default()),
                    local: stream.local.as_ref().map(|local| local.text().clone()),
                    remote: stream.remote.as_ref().map(|remote| remote.text().clone()),
                    statistics: None,
                });
                let streams: Vec<_> = streams.collect();
                let nothing = streams.is_empty() && state.is_none();
                let media = Media { termination_state: state.cloned(), streams, implied_stream: false };
                if nothing { empty(token) } else { media.into() }
            }
            AuditToken::Events if !termination.events.events.is_empty() => termination.events.clone().into(),
            AuditToken::Signals if !termination.signals.0.is_empty() => termination.signals.clone().into(),
            AuditToken::Statistics => match total {
                Some(total) => statistics(total).into(),
                None => empty(token),
            },
            AuditToken::Packages => packages().into(),
            _ => empty(token),
        })
    }

    pub(crate) fn audit_root(&self, command: &Command) -> Result<CommandReply, Fault> {
        let mut reply = CommandReply::new(Verb::AuditValue, TerminationId::ROOT);
        let Some(audit) = command.audit() else { return Ok(reply) };
        reply.descriptors = each(audit, |token| match token {
            AuditToken::Media => {
                let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
                let mut properties = vec![
                    Property::new("root/maxNumberOfContexts", number(self.limits.contexts)),
                    Property::new("root/maxTerminationsPerContext", number(self.limits.terminations)),
                ];
                properties.extend(self.root.state.properties.iter().cloned());
                let state = TerminationState {
                    service_state: Some(ServiceState::InService),
                    event_buffer: None,
                    properties,
                };
                Media { termination_state: Some(state), ..Media::default() }.into()
            }
            AuditToken::Events if !self.root.events.events.is_empty() => self.root.events.clone().into(),
            AuditToken::Packages => packages().into(),
            _ => empty(token),
        })?;
        Ok(reply)
    }
}

/// What a termination (or ROOT) could be asked for.
pub(crate) fn capabilities<I: Iterator<Item = &'static str>>(
    command: &Command,
    root: bool,
    items: impl Fn(Kind) -> I,
) -> Result<CommandReply, Fault> {
    let mut reply = CommandReply::new(Verb::AuditCapability, command.termination());
    let Some(audit) = command.audit() else { return Ok(reply) };
    reply.descriptors = each(audit, |token| match token {
        AuditToken::Events => {
            let here = items(Kind::Event).filter(|name| (*name == "it/ito") == root);
            let events = here.map(RequestedEvent::new).collect();
            Events { request_id: Some(RequestId::ALL), events }.into()
        }
        AuditToken::Signals if !root => {
            let signals = items(Kind::Signal).map(|name| SignalItem::Signal(Signal::new(name)));
            Signals(signals.collect()).into()
        }
        AuditToken::Statistics if !root => {
            let names = items(Kind::Statistic);
            let list: Vec<_> = names.map(|n| Statistic { name: n.into(), values: Vec::new() }).collect();
            list.into()
        }
        AuditToken::Packages => packages().into(),
        _ => empty(token),
    })?;
    Ok(reply)
}

/// One descriptor for each token of an audit.
fn each(audit: &Audit, mut tell: impl FnMut(AuditToken) -> Descriptor) -> Result<Vec<Descriptor>, Fault> {
    let mut told = Vec::new();
    for item in &audit.0 {
        match item {
            AuditItem::Descriptor(token) => told.push(tell(*token)),
            AuditItem::Individual(selector) => {
                let what = format!("Not implemented: audit of single items in {}", selector.name);
                return Err(Fault::unsupported(501, what));
            }
        }
    }
    Ok(told)
}

/// A descriptor that was asked for and has nothing in it.
fn empty(token: AuditToken) -> Descriptor {
    match token {
        AuditToken::Events => Events::default().into(),
        AuditToken::Signals => Signals::default().into(),
        AuditToken::Statistics => Vec::<Statistic>::new().into(),
        token => Descriptor::Empty(token),
    }
}
