//! AuditValue, and the Audit descriptor of other commands (RFC 3525 §7.1.12, §7.2.5).
//!
//! ROOT in all contexts answers with the list of contexts, one action reply each. What would answer with
//! more than the limits have is refused with error 533: a controller then asks by parts of identifiers
//! (`ip/1/*/4*`), or context by context. Key material is never told.
//!
//! Leaves out: digit maps and the EventBuffer, which are empty; OR between conditions on a termination
//! (version 3), so that all of them have to hold.

mod capability;
mod select;

use std::collections::{BTreeSet, VecDeque};

use carnet_h248::{
    Audit, AuditItem, AuditToken, Command, CommandReply, ContextId, Descriptor, Events, LocalControl, Media,
    ObservedEvents, PackageVersion, ServiceState, Signals, Statistic, Stream, TerminationState, Verb,
    package,
};

use crate::Function;
use crate::context::{Target, Termination};
use crate::core::{Core, Step};
use crate::error::Fault;
use crate::media::{self, Statistics};
use crate::package::packages;
use crate::run::{Aim, Work, statistics};

/// Everything that can be told of one termination, or of ROOT.
struct View {
    function: Function,
    /// Contexts outlive the process.
    survives: bool,
    root: bool,
    media: Media,
    events: Events,
    /// ROOT has none.
    signals: Option<Signals>,
    statistics: Vec<Statistic>,
    observed: Option<ObservedEvents>,
}

impl Core {
    pub(crate) fn audit(&mut self, target: &Target, command: &Command) -> Result<Step, Fault> {
        let counts = command.audit().is_some_and(asks_statistics);
        if !counts {
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
        let reply = CommandReply::new(command.verb, &target.termination);
        // RFC 3525 §7.2.5: ROOT in a context is there for the context's number.
        if target.termination.is_root() && target.context != ContextId::Null {
            return Ok(reply);
        }
        match command.audit() {
            Some(audit) => self.with_audit(reply, target, audit, total),
            None => Ok(reply),
        }
    }

    /// A reply with what an Audit descriptor asks for besides.
    pub(crate) fn with_audit(
        &self,
        mut reply: CommandReply,
        target: &Target,
        audit: &Audit,
        total: Option<&Statistics>,
    ) -> Result<CommandReply, Fault> {
        reply.descriptors.extend(self.audit_termination(target, audit, total)?);
        Ok(reply)
    }

    pub(crate) fn audit_termination(
        &self,
        target: &Target,
        audit: &Audit,
        total: Option<&Statistics>,
    ) -> Result<Vec<Descriptor>, Fault> {
        let view = self.view(target, total)?;
        let mut told = Vec::new();
        for item in &audit.0 {
            match item {
                AuditItem::Descriptor(token) => view.tell(*token, &mut told),
                AuditItem::Individual(_) => {}
            }
        }
        let selectors = audit.0.iter().filter_map(|item| match item {
            AuditItem::Individual(selector) => Some(selector),
            AuditItem::Descriptor(_) => None,
        });
        told.extend(select::selected(&view, selectors)?);
        Ok(told)
    }

    fn view(&self, target: &Target, total: Option<&Statistics>) -> Result<View, Fault> {
        let observed = merged(self.root.notices.observed(target.context, &target.termination));
        if target.termination.is_root() {
            let (media, events) = (self.root_media(), self.root.events.clone());
            let (function, statistics, survives) = (self.function, Vec::new(), self.survival.on);
            let root = true;
            return Ok(View { function, survives, root, media, events, signals: None, statistics, observed });
        }
        let context = target.context.id().and_then(|id| self.contexts.get(&id));
        let termination = context
            .and_then(|context| context.find(&target.termination))
            .ok_or_else(|| Fault::request(430, "Unknown TerminationID"))?;
        Ok(View {
            function: self.function,
            survives: self.survival.on,
            root: false,
            media: media_of(termination),
            events: termination.events.clone(),
            signals: Some(termination.signals.clone()),
            statistics: total.map(statistics).unwrap_or_default(),
            observed,
        })
    }

    /// Which of the terminations that an audit's identifiers name are answered for.
    pub(crate) fn audit_targets(
        &self,
        home: ContextId,
        command: &Command,
        mut targets: VecDeque<Aim>,
    ) -> Result<VecDeque<Aim>, Fault> {
        let conditions = |a: &Audit| a.0.iter().any(|item| matches!(item, AuditItem::Individual(_)));
        if let Some(audit) = command.audit().filter(|a| conditions(a) && command.termination().has_all()) {
            targets.retain(|Aim { target, fault }| {
                fault.is_some() || self.view(target, None).is_ok_and(|view| select::meets(&view, audit))
            });
            if targets.is_empty() {
                return Err(Fault::request(431, "No TerminationID matched a wildcard"));
            }
        }
        let names_only = command.audit().is_none_or(|audit| audit.0.is_empty())
            || home == ContextId::All && command.termination().is_root();
        let most = if names_only { self.limits.listed } else { self.limits.audited };
        if !command.wildcard_response && targets.len() > most {
            return Err(Fault::exhausted(533, "Response exceeds maximum size: ask for less at once"));
        }
        Ok(targets)
    }
}

/// Whether an audit cannot be answered without the engine's counters.
fn asks_statistics(audit: &Audit) -> bool {
    audit.0.iter().any(|item| match item {
        AuditItem::Descriptor(token) => *token == AuditToken::Statistics,
        AuditItem::Individual(selector) => select::names(selector, "Statistics"),
    })
}

fn media_of(termination: &Termination) -> Media {
    let mut state: TerminationState = termination.state.clone();
    let service =
        if termination.out_of_service { ServiceState::OutOfService } else { ServiceState::InService };
    state.service_state = Some(service);
    let streams = termination.streams.iter().map(|stream| Stream {
        id: stream.id,
        local_control: Some(public(&stream.control_text)).filter(|c| *c != LocalControl::default()),
        local: stream.local.as_ref().map(|local| local.text().clone()),
        remote: stream.remote.as_ref().map(|remote| remote.text().clone()),
        statistics: None,
    });
    Media { termination_state: Some(state), streams: streams.collect(), implied_stream: false }
}

/// Without key material.
fn public(control: &LocalControl) -> LocalControl {
    let mut control = control.clone();
    control.properties.retain(|property| !package::is_secret(&property.name));
    control
}

/// What waits to be told in one descriptor, of the request that was last. A descriptor of a kind comes once
/// in a reply.
fn merged<'a>(notices: impl Iterator<Item = &'a ObservedEvents>) -> Option<ObservedEvents> {
    let mut merged: Option<ObservedEvents> = None;
    for notice in notices {
        match merged.as_mut().filter(|known| known.request_id == notice.request_id) {
            Some(known) => known.events.extend(notice.events.iter().cloned()),
            None => merged = Some(notice.clone()),
        }
    }
    merged
}

impl View {
    fn packages(&self) -> Vec<PackageVersion> {
        let mut all = packages(self.function, self.root);
        if self.root && self.survives {
            all.push(PackageVersion::new("crnkeep", 1));
        }
        all
    }

    /// The whole descriptor.
    fn tell(&self, token: AuditToken, told: &mut Vec<Descriptor>) {
        match token {
            AuditToken::Media => told.push(self.media.clone().into()),
            AuditToken::Events if !self.events.events.is_empty() => told.push(self.events.clone().into()),
            AuditToken::Signals if self.signals.as_ref().is_some_and(|s| !s.0.is_empty()) => {
                told.extend(self.signals.clone().map(Descriptor::from));
            }
            AuditToken::Statistics if !self.statistics.is_empty() => {
                told.push(self.statistics.clone().into());
            }
            AuditToken::ObservedEvents if self.observed.is_some() => {
                told.extend(self.observed.clone().map(Descriptor::from));
            }
            AuditToken::Packages => told.push(self.packages().into()),
            _ => told.push(empty(token)),
        }
    }
}

/// A descriptor that was asked for and has nothing in it.
fn empty(token: AuditToken) -> Descriptor {
    match token {
        AuditToken::Events => Events::default().into(),
        AuditToken::Signals => Signals::default().into(),
        AuditToken::Statistics => Vec::<Statistic>::new().into(),
        AuditToken::EventBuffer => Descriptor::EventBuffer(Vec::new()),
        token => Descriptor::Empty(token),
    }
}

/// Whether a command is one of the two audits.
pub(crate) fn is_audit(verb: Verb) -> bool {
    matches!(verb, Verb::AuditValue | Verb::AuditCapability)
}
