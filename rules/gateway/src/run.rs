//! A transaction being carried out.
//!
//! Commands are executed in order and the first that fails ends the transaction, unless it is
//! optional (RFC 3525 §8.2). Some have to wait for the media engine; so a transaction is a value
//! that can be put aside.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use carnet_h248::registration::RequestKey;
use carnet_h248::{
    ActionReply, ActionRequest, Command, CommandReply, ContextId, Descriptor, ErrorDescriptor, Statistic,
    TerminationId, Verb,
};

use crate::context::Target;
use crate::media::{Pinhole, Refusal, Statistics};
use crate::plan::Plan;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A controller.
    Controller(RequestKey),
    /// The administrator, who only looks.
    Administrator(u64),
}

/// Who asked, and how it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) asker: Asker,
    /// The association may carry keys.
    pub(crate) protected: bool,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) origin: Origin,
    pub(crate) claims: Claims,
    pub(crate) actions: VecDeque<ActionRequest>,
    pub(crate) action: Option<ActionRun>,
    pub(crate) replies: Vec<ActionReply>,
}

/// Which contexts a transaction touches. Two that touch the same are carried out one after the
/// other, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    all: bool,
    contexts: BTreeSet<u32>,
}

#[derive(Debug)]
pub(crate) struct ActionRun {
    pub(crate) asked: ContextId,
    /// The context that this action created.
    pub(crate) created: Option<u32>,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) current: Option<CommandRun>,
    pub(crate) results: Vec<(ContextId, CommandReply)>,
    /// What was asked about the context.
    pub(crate) properties: carnet_h248::ContextProperties,
    /// Contexts that commands were carried out in: they vanish with their last termination.
    pub(crate) touched: BTreeSet<u32>,
}

#[derive(Debug)]
pub(crate) struct CommandRun {
    pub(crate) command: Command,
    pub(crate) targets: VecDeque<Target>,
    pub(crate) results: Vec<(ContextId, CommandReply)>,
    pub(crate) work: Option<Work>,
}

/// What the media engine was asked for and has not answered yet.
#[derive(Debug)]
pub(crate) enum Work {
    /// Local addresses for an Add or Modify.
    Place {
        target: Target,
        number: u64,
        plan: Box<Plan>,
        holes: Vec<(u16, Pinhole, Option<SocketAddr>)>,
        refused: Option<Refusal>,
        left: BTreeSet<Pinhole>,
    },
    /// The end of a termination.
    Remove { target: Target, wanted: bool, total: Statistics, left: BTreeSet<Pinhole> },
    /// Counters for an audit.
    Measure { target: Target, total: Statistics, left: BTreeSet<Pinhole> },
}

impl Claims {
    pub(crate) fn of(actions: &[ActionRequest]) -> Self {
        let mut claims = Self::default();
        for action in actions {
            match action.context {
                ContextId::All => claims.all = true,
                ContextId::Id(id) => {
                    claims.contexts.insert(id);
                }
                ContextId::Null | ContextId::Choose => {}
            }
        }
        claims
    }

    pub(crate) fn add(&mut self, context: u32) {
        self.contexts.insert(context);
    }

    pub(crate) fn conflict(&self, other: &Self) -> bool {
        let any = |claims: &Self| claims.all || !claims.contexts.is_empty();
        self.all && any(other) || other.all && any(self) || !self.contexts.is_disjoint(&other.contexts)
    }
}

impl Work {
    pub(crate) fn target(&self) -> &Target {
        match self {
            Self::Place { target, .. } | Self::Remove { target, .. } | Self::Measure { target, .. } => target,
        }
    }

    /// The engine has nothing left to answer.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Place { left, .. } | Self::Remove { left, .. } | Self::Measure { left, .. } => {
                left.is_empty()
            }
        }
    }

    pub(crate) fn left(&mut self) -> &mut BTreeSet<Pinhole> {
        match self {
            Self::Place { left, .. } | Self::Remove { left, .. } | Self::Measure { left, .. } => left,
        }
    }
}

impl CommandRun {
    /// The replies of a command; one for all targets if that was asked for (`W-`).
    pub(crate) fn finish(self, home: ContextId) -> Vec<(ContextId, CommandReply)> {
        if !self.command.wildcard_response || self.results.is_empty() {
            return self.results;
        }
        // RFC 3525 §6.2.2: the response has the wildcarded identifier and the union of the values.
        let mut reply = CommandReply::new(self.command.verb, self.command.termination());
        let mut statistics: Vec<Statistic> = Vec::new();
        for (_, result) in &self.results {
            for descriptor in &result.descriptors {
                match descriptor {
                    Descriptor::Statistics(list) => merge(&mut statistics, list),
                    other if !reply.descriptors.contains(other) => reply.descriptors.push(other.clone()),
                    _ => {}
                }
            }
        }
        if !statistics.is_empty() {
            reply.descriptors.push(Descriptor::Statistics(statistics));
        }
        vec![(home, reply)]
    }
}

fn merge(all: &mut Vec<Statistic>, list: &[Statistic]) {
    for statistic in list {
        match all.iter_mut().find(|known| known.name == statistic.name) {
            Some(known) => known.values.extend(statistic.values.iter().cloned()),
            None => all.push(statistic.clone()),
        }
    }
}

impl ActionRun {
    /// One action reply for each context, in order of appearance.
    pub(crate) fn finish(self, error: Option<ErrorDescriptor>) -> Vec<ActionReply> {
        let own = self.created.map_or(self.asked, ContextId::Id);
        let mut replies: Vec<ActionReply> = Vec::new();
        for (context, result) in self.results {
            match replies.last_mut().filter(|reply| reply.context == context) {
                Some(reply) => reply.commands.push(result),
                None => replies.push(ActionReply::new(context, vec![result])),
            }
        }
        if replies.is_empty() {
            replies.push(ActionReply::new(own, Vec::new()));
        }
        if let Some(reply) = replies.last_mut() {
            reply.error = error;
        }
        if let Some(reply) = replies.first_mut() {
            reply.properties = self.properties;
        }
        replies
    }
}

/// A command that failed.
pub(crate) fn failed(verb: Verb, id: &TerminationId, error: ErrorDescriptor) -> CommandReply {
    CommandReply::new(verb, id).with(error)
}

/// `nt` statistics (RFC 3525 E.11.4): milliseconds and octets.
pub(crate) fn statistics(total: &Statistics) -> Vec<Statistic> {
    let duration = u64::try_from(total.duration.as_millis()).unwrap_or(u64::MAX);
    vec![
        Statistic::new("nt/dur", duration),
        Statistic::new("nt/os", total.octets_sent),
        Statistic::new("nt/or", total.octets_received),
    ]
}

/// The sum over the streams of a termination.
pub(crate) fn add(total: &mut Statistics, one: &Statistics) {
    total.octets_received = total.octets_received.saturating_add(one.octets_received);
    total.octets_sent = total.octets_sent.saturating_add(one.octets_sent);
    total.duration = total.duration.max(one.duration);
    // A termination has one stream nearly always; the witness of the first speaks for it.
    if total.witness.is_none() {
        total.witness.clone_from(&one.witness);
    }
}
