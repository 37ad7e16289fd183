//! The actions of a transaction: which context, which terminations, and in what order (RFC 3525 §8.2).
//!
//! An action that creates a context (`$`) creates it whole or not at all, unless a termination was
//! moved into it. For the rest the rule of RFC 3525 §8.2.2 holds: what was done before the command
//! that failed stays done.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use carnet_h248::{ActionRequest, Command, CommandReply, ContextId, TerminationId, Verb};

use crate::audit::is_audit;
use crate::context::{Context, Target};
use crate::core::{Core, Step};
use crate::error::Fault;
use crate::media;
use crate::run::{ActionRun, Aim, CommandRun, Origin, Scope, failed};

/// How far a transaction got.
pub(crate) enum Outcome {
    Waiting,
    Done,
    Failed(Fault),
}

impl Core {
    pub(crate) fn begin(&mut self, action: ActionRequest) -> Result<ActionRun, (ContextId, Fault)> {
        let asked = action.context;
        let mut created = None;
        match asked {
            ContextId::Id(id) if !self.contexts.contains_key(&id) => {
                return Err((asked, Fault::request(411, "The transaction refers to an unknown ContextID")));
            }
            ContextId::Choose => {
                let first = action.commands.first().map(|command| command.verb);
                if !matches!(first, Some(Verb::Add | Verb::Move)) {
                    let what = "A context to be created begins with Add or Move";
                    return Err((asked, Fault::request(421, what)));
                }
                let id = self.new_context(self.is_urgent(&action)).map_err(|fault| (asked, fault))?;
                let context = Context { group: id, function: self.function, ..Context::default() };
                self.contexts.insert(id, context);
                created = Some(id);
            }
            _ => {}
        }
        let prepared = self.prepare(&action, created);
        if prepared.is_err()
            && let Some(created) = created
        {
            self.forget(created);
        }
        let (scope, properties, topology) = prepared.map_err(|fault| (asked, fault))?;
        Ok(ActionRun {
            scope,
            created,
            commands: action.commands.into(),
            current: None,
            results: Vec::new(),
            properties,
            topology,
            touched: created.into_iter().collect(),
            moved: false,
        })
    }

    /// Carries out commands until one has to wait for the engine or fails.
    pub(crate) fn act(&mut self, now: Instant, action: &mut ActionRun, origin: Origin, run: u64) -> Outcome {
        loop {
            let mut current = match action.current.take() {
                Some(current) => current,
                None => {
                    let Some(command) = action.commands.pop_front() else { return Outcome::Done };
                    let targets = self.targets(&action.scope, &command);
                    CommandRun::new(command, targets)
                }
            };
            loop {
                let (target, step) = if let Some(work) = current.work.take() {
                    (work.target().clone(), self.complete(now, work, &current.command))
                } else if let Some(Aim { target, fault }) = current.targets.pop_front() {
                    action.touched.extend(target.context.id());
                    action.touched.extend(self.home_of(&target.termination));
                    let step = match fault {
                        Some(fault) => Err(fault),
                        None => self.step(now, &target, &current.command, origin),
                    };
                    (target, step)
                } else {
                    break;
                };
                match step {
                    Ok(Step::Done(reply)) => {
                        self.settle_topology(action, target.context, &current.command, &reply);
                        action.moved |= current.command.verb == Verb::Move;
                        current.results.push((target.context, reply));
                    }
                    Ok(Step::Wait(mut work)) => {
                        for pinhole in work.left().iter() {
                            self.awaited.insert(*pinhole, run);
                        }
                        let done = work.is_done();
                        current.work = Some(work);
                        if !done {
                            action.current = Some(current);
                            return Outcome::Waiting;
                        }
                    }
                    Err(fault) => {
                        // A termination that was to be created has no name.
                        let new = current.command.verb == Verb::Add;
                        let asked = if new { current.command.termination() } else { &target.termination };
                        let reply = failed(current.command.verb, asked, fault.descriptor());
                        current.results.push((target.context, reply));
                        // RFC 3525 §7.2: all possible matches are attempted.
                        current.fault.get_or_insert(fault);
                    }
                }
            }
            let fault = current.fault.take().filter(|_| !current.command.optional);
            let home = action.created.map_or(action.scope.home, ContextId::Id);
            action.results.extend(current.finish(home));
            if let Some(fault) = fault {
                return Outcome::Failed(fault);
            }
        }
    }

    /// RFC 3525 §7.1.18: `$` in a topology is the termination of the first Add that chooses.
    fn settle_topology(
        &mut self,
        action: &mut ActionRun,
        context: ContextId,
        command: &Command,
        reply: &CommandReply,
    ) {
        let chooses = command.verb == Verb::Add && command.termination().has_choose();
        if action.topology.is_empty() || !chooses {
            return;
        }
        let Some(context) = context.id().and_then(|id| self.contexts.get_mut(&id)) else { return };
        let chosen = context.find(reply.termination()).map(|termination| termination.number);
        action.topology.apply(context, chosen);
        context.configure_all(&mut self.commands);
    }

    /// Which terminations a command is for, and why not where there is none.
    fn targets(&self, scope: &Scope, command: &Command) -> VecDeque<Aim> {
        let mut targets = VecDeque::new();
        for wanted in &command.terminations {
            let aim = |context, fault| Aim {
                target: Target { context, termination: wanted.clone() },
                fault: Some(fault),
            };
            match self.matching(scope, command.verb, wanted) {
                Ok(list) => {
                    for target in list {
                        // A termination may be named twice, but is not subtracted twice.
                        let known = |aim: &Aim| aim.target == target && target.termination.is_specific();
                        if !targets.iter().any(known) {
                            targets.push_back(Aim { target, fault: None });
                        }
                    }
                }
                Err(fault) => targets.push_back(aim(scope.home, fault)),
            }
        }
        if is_audit(command.verb) {
            return self.audit_targets(scope.home, command, targets).unwrap_or_else(|fault| {
                let target = Target { context: scope.home, termination: command.termination().clone() };
                VecDeque::from([Aim { target, fault: Some(fault) }])
            });
        }
        if targets.len() > self.limits.audited && targets.len() > 1 && says_much(command) {
            let fault = Fault::exhausted(533, "Response exceeds maximum size");
            let target = Target { context: scope.home, termination: command.termination().clone() };
            return VecDeque::from([Aim { target, fault: Some(fault) }]);
        }
        targets
    }

    fn matching(&self, scope: &Scope, verb: Verb, wanted: &TerminationId) -> Result<Vec<Target>, Fault> {
        let target = |context, id: &TerminationId| Target { context, termination: id.clone() };
        if wanted.is_root() {
            return self.matching_root(scope, verb);
        }
        let unknown = || Fault::request(430, format!("Unknown TerminationID: {wanted}"));
        let no_match = || Fault::request(431, "No TerminationID matched a wildcard");
        match verb {
            Verb::Add | Verb::Move if scope.home.id().is_none() && scope.home != ContextId::Choose => {
                Err(Fault::request(421, "Add and Move need one context"))
            }
            // There are no terminations in the null context that could be added.
            Verb::Add if wanted.has_all() && !wanted.has_choose() => Err(no_match()),
            Verb::Add => Ok(vec![target(scope.home, wanted)]),
            // Only Add lets the gateway choose.
            _ if wanted.has_choose() => Err(unknown()),
            // The termination comes from elsewhere.
            Verb::Move if wanted.has_all() => {
                let others = self.contexts.iter().filter(|(id, _)| scope.home.id() != Some(**id));
                let all = others.flat_map(|(_, context)| &context.terminations);
                let list: Vec<_> =
                    all.filter(|t| wanted.matches(&t.id)).map(|t| target(scope.home, &t.id)).collect();
                if list.is_empty() { Err(no_match()) } else { Ok(list) }
            }
            Verb::Move => match self.home_of(wanted) {
                Some(home) if scope.home.id() == Some(home) => {
                    Err(Fault::request(433, "TerminationID is already in the context"))
                }
                Some(_) => Ok(vec![target(scope.home, wanted)]),
                None => Err(unknown()),
            },
            _ if wanted.has_all() => {
                let mut list = Vec::new();
                for (id, context) in self.covered(scope) {
                    let here = context.terminations.iter().filter(|t| wanted.matches(&t.id));
                    list.extend(here.map(|t| target(ContextId::Id(id), &t.id)));
                }
                if list.is_empty() { Err(no_match()) } else { Ok(list) }
            }
            _ => match self.home_of(wanted) {
                Some(id) if scope.covers(id) => Ok(vec![target(ContextId::Id(id), wanted)]),
                Some(_) => Err(Fault::request(435, "TerminationID is not in the specified context")),
                None => Err(unknown()),
            },
        }
    }

    fn matching_root(&self, scope: &Scope, verb: Verb) -> Result<Vec<Target>, Fault> {
        let audit = matches!(verb, Verb::AuditValue | Verb::AuditCapability);
        if !audit && !matches!(verb, Verb::Modify | Verb::ServiceChange) {
            // RFC 3525 §6.2.5.
            return Err(Fault::request(410, "Incorrect identifier: ROOT has no such command"));
        }
        let root = |context| Target { context, termination: TerminationId::ROOT };
        match scope.home {
            ContextId::Id(_) | ContextId::Choose => {
                Err(Fault::request(435, "ROOT is in the null context only"))
            }
            // RFC 3525 §7.2.5: the list of all contexts. Where there are none the null context is left.
            ContextId::All if audit => {
                let covered = self.covered(scope).into_iter();
                let list: Vec<_> = covered.map(|(id, _)| root(ContextId::Id(id))).collect();
                Ok(if list.is_empty() { vec![root(ContextId::Null)] } else { list })
            }
            _ => Ok(vec![root(ContextId::Null)]),
        }
    }

    /// The contexts of an action.
    pub(crate) fn covered(&self, scope: &Scope) -> Vec<(u32, &Context)> {
        match scope.home {
            ContextId::Id(id) => self.contexts.get(&id).map(|context| (id, context)).into_iter().collect(),
            ContextId::All => {
                let all = self.contexts.iter().map(|(id, context)| (*id, context));
                all.filter(|(id, _)| scope.covers(*id)).collect()
            }
            ContextId::Null | ContextId::Choose => Vec::new(),
        }
    }

    /// The context that holds a termination.
    pub(crate) fn home_of(&self, id: &TerminationId) -> Option<u32> {
        let number = id.as_str().rsplit('/').next()?.parse().ok()?;
        let home = *self.homes.get(&number)?;
        self.contexts.get(&home)?.find(id).map(|_| home)
    }

    /// RFC 3525 §6.1: a context vanishes with its last termination.
    pub(crate) fn drop_empty(&mut self, action: &ActionRun) {
        for id in &action.touched {
            if self.contexts.get(id).is_some_and(|context| context.terminations.is_empty()) {
                self.forget(*id);
            }
        }
    }

    /// A context without terminations is no more.
    fn forget(&mut self, id: u32) {
        if let Some(context) = self.contexts.remove(&id) {
            self.changed(id);
            context.attributes.end(context.group, &mut self.commands);
        }
    }

    /// Takes back everything in a context, as if it had never been.
    pub(crate) fn undo(&mut self, id: u32) {
        let Some(context) = self.contexts.remove(&id) else { return };
        self.changed(id);
        for termination in context.terminations {
            self.homes.remove(&termination.number);
            if let Some(heartbeat) = termination.heartbeat {
                self.heartbeats.remove(&(heartbeat.next, id, termination.number));
            }
            for pinhole in termination.pinholes() {
                self.pinholes.remove(&pinhole);
                // One that is on its way is released when it has arrived.
                if !self.regrouping.contains(&pinhole) {
                    self.commands.push_back(media::Command::Release { pinhole });
                }
            }
        }
        context.attributes.end(context.group, &mut self.commands);
    }

    /// Whether an action has a claim to what is kept for emergencies: it says so, or its context does.
    pub(crate) fn is_urgent(&self, action: &ActionRequest) -> bool {
        let held = action.context.id().and_then(|id| self.contexts.get(&id));
        let properties = [Some(&action.properties), held.map(|context| &context.properties)];
        properties.into_iter().flatten().any(|p| {
            p.emergency == Some(true)
                || p.ieps_call == Some(true)
                || p.priority.is_some_and(|priority| priority >= self.limits.urgent)
        })
    }
}

/// Whether the answer grows with each termination.
fn says_much(command: &Command) -> bool {
    if !command.wildcard_response {
        return true;
    }
    // RFC 3525 §7.2.3: without an Audit descriptor statistics come back.
    let default = command.verb == Verb::Subtract;
    command.audit().map_or(default, |audit| !audit.0.is_empty())
}

/// The contexts in a list of version 3.
pub(crate) fn listed(core: &Core, action: &ActionRequest) -> Result<Option<BTreeSet<u32>>, Fault> {
    let list = &action.properties.context_list;
    if list.is_empty() {
        return Ok(None);
    }
    if action.context != ContextId::All {
        return Err(Fault::request(421, "A list of contexts goes with all contexts (*)"));
    }
    let known = |id: &ContextId| {
        let id = id.id().ok_or_else(|| Fault::request(410, "A list of contexts has numbers only"))?;
        if core.contexts.contains_key(&id) {
            Ok(id)
        } else {
            Err(Fault::request(411, format!("The list refers to an unknown ContextID: {id}")))
        }
    };
    list.iter().map(known).collect::<Result<_, _>>().map(Some)
}
