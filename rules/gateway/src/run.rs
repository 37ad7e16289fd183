//! A transaction being carried out.
//!
//! Commands are executed in order and the first that fails ends the transaction, unless it is
//! optional (RFC 3525 §8.2.2). A command on several terminations is attempted on all of them
//! (§7.2). Some have to wait for the media engine; so a transaction is a value that can be put
//! aside.

use std::collections::{BTreeSet, VecDeque};

use carnet_h248::registration::RequestKey;
use carnet_h248::{
    ActionReply, ActionRequest, Command, CommandReply, ContextId, ContextProperties, Descriptor,
    ErrorDescriptor, Name, Statistic, TerminationId, Verb,
};

use crate::context::{Place, Target, Termination};
use crate::error::Fault;
use crate::media::{self, Pinhole, Refusal, Statistics};
use crate::plan::Plan;
use crate::topology::Triples;

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
    /// It makes contexts, which nobody else can know of before it is done.
    creates: bool,
    contexts: BTreeSet<u32>,
}

/// The contexts of an action.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) home: ContextId,
    /// Of all contexts only these: a list or a selection of version 3.
    pub(crate) only: Option<BTreeSet<u32>>,
}

#[derive(Debug)]
pub(crate) struct ActionRun {
    pub(crate) scope: Scope,
    /// The context that this action created.
    pub(crate) created: Option<u32>,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) current: Option<CommandRun>,
    pub(crate) results: Vec<(ContextId, CommandReply)>,
    /// What was asked about contexts.
    pub(crate) properties: Vec<(ContextId, ContextProperties)>,
    /// Triples about a termination that is not there yet.
    pub(crate) topology: Triples,
    /// Contexts that commands were carried out in: they vanish with their last termination.
    pub(crate) touched: BTreeSet<u32>,
    /// A termination came from another context: there is no way back.
    pub(crate) moved: bool,
}

#[derive(Debug)]
pub(crate) struct CommandRun {
    pub(crate) command: Command,
    pub(crate) targets: VecDeque<Aim>,
    pub(crate) results: Vec<(ContextId, CommandReply)>,
    pub(crate) work: Option<Work>,
    /// The first of the terminations on which it failed.
    pub(crate) fault: Option<Fault>,
}

/// One termination of a command, or why there is none.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) target: Target,
    pub(crate) fault: Option<Fault>,
}

/// What the media engine was asked for and has not answered yet.
#[derive(Debug)]
pub(crate) enum Work {
    /// Local addresses for an Add, Modify or Move, and counters if they are to be told.
    Place {
        target: Target,
        number: u64,
        plan: Box<Plan>,
        holes: Vec<(u16, Pinhole, Option<Place>)>,
        refused: Option<Refusal>,
        total: Statistics,
        left: BTreeSet<Pinhole>,
    },
    /// The pinholes of a termination that moves go to another loop of the engine.
    Regroup {
        target: Target,
        number: u64,
        plan: Box<Plan>,
        places: Vec<(u16, Place)>,
        total: Statistics,
        /// By their new names.
        pinholes: Vec<Pinhole>,
        left: BTreeSet<Pinhole>,
    },
    /// The end of a termination.
    Remove { target: Target, farewell: Box<Farewell>, left: BTreeSet<Pinhole> },
    /// Counters for an audit.
    Measure { target: Target, total: Statistics, left: BTreeSet<Pinhole> },
}

/// What is told of a termination that is gone.
#[derive(Debug)]
pub(crate) struct Farewell {
    pub(crate) termination: Termination,
    /// What its Audit descriptor asked for, Statistics still to be filled in.
    pub(crate) descriptors: Vec<Descriptor>,
    pub(crate) total: Statistics,
    /// By pinhole.
    pub(crate) counters: Vec<(Pinhole, Statistics)>,
}

impl Scope {
    /// Whether an action reaches into a context.
    pub(crate) fn covers(&self, id: u32) -> bool {
        match self.home {
            ContextId::All => self.only.as_ref().is_none_or(|only| only.contains(&id)),
            ContextId::Id(home) => home == id,
            ContextId::Null | ContextId::Choose => false,
        }
    }
}

impl Claims {
    pub(crate) fn of(actions: &[ActionRequest]) -> Self {
        let mut claims = Self::default();
        for action in actions {
            // Where a termination comes from is known only when it is its turn.
            claims.all |= action.commands.iter().any(|command| command.verb == Verb::Move);
            match action.context {
                ContextId::All => claims.all = true,
                ContextId::Choose => claims.creates = true,
                ContextId::Id(id) => {
                    claims.contexts.insert(id);
                }
                ContextId::Null => {}
            }
        }
        claims
    }

    pub(crate) fn add(&mut self, context: u32) {
        self.contexts.insert(context);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.all |= other.all;
        self.creates |= other.creates;
        self.contexts.extend(&other.contexts);
    }

    pub(crate) fn conflict(&self, other: &Self) -> bool {
        let any = |claims: &Self| claims.all || claims.creates || !claims.contexts.is_empty();
        self.all && any(other) || other.all && any(self) || !self.contexts.is_disjoint(&other.contexts)
    }
}

impl Work {
    pub(crate) fn target(&self) -> &Target {
        match self {
            Self::Place { target, .. }
            | Self::Regroup { target, .. }
            | Self::Remove { target, .. }
            | Self::Measure { target, .. } => target,
        }
    }

    /// The engine has nothing left to answer.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Place { left, .. }
            | Self::Regroup { left, .. }
            | Self::Remove { left, .. }
            | Self::Measure { left, .. } => left.is_empty(),
        }
    }

    pub(crate) fn left(&mut self) -> &mut BTreeSet<Pinhole> {
        match self {
            Self::Place { left, .. }
            | Self::Regroup { left, .. }
            | Self::Remove { left, .. }
            | Self::Measure { left, .. } => left,
        }
    }

    /// Notes an answer of the engine.
    pub(crate) fn absorb(&mut self, event: media::Event) {
        match (self, event) {
            (Self::Place { holes, .. }, media::Event::Bound { pinhole, local, fingerprint }) => {
                if let Some(hole) = holes.iter_mut().find(|hole| hole.1 == pinhole) {
                    hole.2 = Some(Place { pinhole, local, fingerprint });
                }
            }
            (Self::Place { refused, .. }, media::Event::Refused { reason, .. }) => *refused = Some(reason),
            (Self::Remove { farewell, .. }, media::Event::Released { pinhole, statistics }) => {
                add(&mut farewell.total, &statistics);
                farewell.counters.push((pinhole, statistics));
            }
            (
                Self::Place { total, .. } | Self::Measure { total, .. },
                media::Event::Measured { statistics, .. },
            ) => add(total, &statistics),
            _ => {}
        }
    }
}

impl CommandRun {
    pub(crate) fn new(command: Command, targets: VecDeque<Aim>) -> Self {
        Self { command, targets, results: Vec::new(), work: None, fault: None }
    }

    /// The replies of a command; one for all targets if that was asked for (`W-`).
    pub(crate) fn finish(self, home: ContextId) -> Vec<(ContextId, CommandReply)> {
        let wild = self.command.termination().has_all() || self.command.terminations.len() > 1;
        if !self.command.wildcard_response || !wild || self.results.is_empty() {
            return self.results;
        }
        let mut reply = CommandReply::new(self.command.verb, self.command.termination());
        reply.terminations.clone_from(&self.command.terminations);
        reply.descriptors = crate::union::of(self.results.into_iter().flat_map(|(_, r)| r.descriptors));
        vec![(home, reply)]
    }
}

impl ActionRun {
    /// One action reply for each context, in order of appearance.
    pub(crate) fn finish(self) -> Vec<ActionReply> {
        let own = self.created.map_or(self.scope.home, ContextId::Id);
        let mut replies: Vec<ActionReply> = Vec::new();
        for (context, result) in self.results {
            match replies.last_mut().filter(|reply| reply.context == context) {
                Some(reply) => reply.commands.push(result),
                None => replies.push(ActionReply::new(context, vec![result])),
            }
        }
        // What is told about a context comes before the commands, also where there are none.
        for (context, properties) in self.properties.into_iter().rev() {
            match replies.iter_mut().find(|reply| reply.context == context) {
                Some(reply) => reply.properties = properties,
                None => {
                    let mut reply = ActionReply::new(context, Vec::new());
                    reply.properties = properties;
                    replies.insert(0, reply);
                }
            }
        }
        if replies.is_empty() {
            replies.push(ActionReply::new(own, Vec::new()));
        }
        replies
    }
}

/// A command that failed.
pub(crate) fn failed(verb: Verb, id: &TerminationId, error: ErrorDescriptor) -> CommandReply {
    CommandReply::new(verb, id).with(error)
}

/// Those of the `nt` statistics that are kept; without a list all.
pub(crate) fn kept(total: &Statistics, names: Option<&[Name]>) -> Vec<Statistic> {
    let mut list = statistics(total);
    list.retain(|statistic| names.is_none_or(|names| names.contains(&statistic.name)));
    list
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
