//! Carries out transactions on contexts and terminations (RFC 3525 §6 to §8), without asking who
//! sent them: that is [`crate::Gateway`]'s part.
//!
//! An action that is to create a context (`$`) creates it whole or not at all. For the rest the
//! rule of RFC 3525 §8.2 holds: what was done before the command that failed stays done.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Instant, SystemTime};

use carnet_h248::{
    ActionReply, ActionRequest, Command, CommandReply, ContextId, ReplyBody, TerminationId, TimeStamp, Verb,
};
use carnet_wire::Random;

use crate::Limits;
use crate::audit::is_audit;
use crate::context::{Context, Target};
use crate::error::Fault;
use crate::media::{self, Pinhole};
use crate::package::{Kind, check};
use crate::root::RootState;
use crate::run::{ActionRun, Claims, CommandRun, Origin, Run, Work, failed};

/// What the core wants told to a controller.
#[derive(Debug)]
pub(crate) enum Output {
    Reply {
        origin: Origin,
        body: ReplyBody,
    },
    /// `lasting`: also a controller that is there only later.
    Notify {
        context: ContextId,
        command: Command,
        lasting: bool,
    },
    /// A ServiceChange of terminations.
    Announce {
        context: ContextId,
        command: Command,
    },
}

pub(crate) struct Core {
    pub(crate) limits: Limits,
    pub(crate) contexts: BTreeMap<u32, Context>,
    next_context: u32,
    next_number: u64,
    next_pinhole: u64,
    /// Where an unsolicited report of the engine belongs: context, termination, stream.
    pub(crate) pinholes: HashMap<Pinhole, (u32, u64, u16)>,
    runs: BTreeMap<u64, Run>,
    next_run: u64,
    /// Transactions that touch a context another one is working on.
    waiting: VecDeque<u64>,
    /// Answers of the engine that a transaction waits for.
    awaited: HashMap<Pinhole, u64>,
    pub(crate) heartbeats: BTreeSet<(Instant, u32, u64)>,
    pub(crate) root: RootState,
    /// One moment on both clocks, for time stamps.
    clock: (Instant, SystemTime),
    pub(crate) commands: VecDeque<media::Command>,
    pub(crate) output: VecDeque<Output>,
    pub(crate) events: VecDeque<crate::Event>,
}

impl Core {
    /// Contexts are numbered from a random start: a controller that still knows contexts from
    /// before a restart must not meet other calls under their numbers.
    pub(crate) fn new(limits: Limits, clock: (Instant, SystemTime), rng: &mut dyn Random) -> Self {
        Self {
            limits,
            contexts: BTreeMap::new(),
            next_context: rng.u32() >> 4,
            next_number: u64::from(rng.u32() >> 8),
            next_pinhole: 0,
            pinholes: HashMap::new(),
            runs: BTreeMap::new(),
            next_run: 0,
            waiting: VecDeque::new(),
            awaited: HashMap::new(),
            heartbeats: BTreeSet::new(),
            root: RootState::default(),
            clock,
            commands: VecDeque::new(),
            output: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes a transaction; its reply comes as [`Output::Reply`].
    pub(crate) fn request(&mut self, now: Instant, origin: Origin, actions: Vec<ActionRequest>) {
        let claims = Claims::of(&actions);
        let busy = self.runs.values().any(|run| run.claims.conflict(&claims));
        let id = self.next_run;
        self.next_run += 1;
        let run = Run { origin, claims, actions: actions.into(), action: None, replies: Vec::new() };
        self.runs.insert(id, run);
        if busy {
            self.waiting.push_back(id);
        } else {
            self.drive(now, id);
        }
    }

    /// An answer or a report of the media engine.
    pub(crate) fn media(&mut self, now: Instant, event: media::Event) {
        let pinhole = event.pinhole();
        let answers = matches!(
            event,
            media::Event::Bound { .. }
                | media::Event::Refused { .. }
                | media::Event::Released { .. }
                | media::Event::Measured { .. }
        );
        if !answers {
            return self.report(now, event);
        }
        let Some(id) = self.awaited.remove(&pinhole) else { return };
        let Some(run) = self.runs.get_mut(&id) else { return };
        let command = run.action.as_mut().and_then(|action| action.current.as_mut());
        let Some(work) = command.and_then(|command| command.work.as_mut()) else { return };
        work.left().remove(&pinhole);
        absorb(work, event);
        if work.is_done() {
            self.drive(now, id);
        }
    }

    /// A controller has sent something (`it`).
    pub(crate) fn heard(&mut self, now: Instant) {
        self.root.heard = Some(now);
    }

    /// Lets go of everything: the controller knows of nothing.
    pub(crate) fn clear(&mut self) {
        let contexts: Vec<u32> = self.contexts.keys().copied().collect();
        for context in contexts {
            self.undo(context);
        }
        self.root.clear();
    }

    pub(crate) fn timestamp(&self, now: Instant) -> TimeStamp {
        let (moment, wall) = self.clock;
        TimeStamp::from_system_time(wall + now.saturating_duration_since(moment))
    }

    /// Whether nothing is held and nothing is going on.
    pub(crate) fn is_empty(&self) -> bool {
        self.contexts.is_empty()
            && self.pinholes.is_empty()
            && self.runs.is_empty()
            && self.waiting.is_empty()
            && self.awaited.is_empty()
            && self.heartbeats.is_empty()
    }

    pub(crate) fn new_pinhole(&mut self, context: u32) -> Pinhole {
        self.next_pinhole += 1;
        Pinhole { group: context, number: self.next_pinhole }
    }

    pub(crate) fn new_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn new_context(&mut self) -> Result<u32, Fault> {
        if self.contexts.len() >= self.limits.contexts {
            return Err(Fault::exhausted(412, "No ContextIDs available"));
        }
        loop {
            self.next_context = self.next_context.wrapping_add(1);
            let taken = self.contexts.contains_key(&self.next_context);
            // 0 is the null context, the two highest numbers are `$` and `*`.
            if !taken && (1..=0xffff_fffd).contains(&self.next_context) {
                return Ok(self.next_context);
            }
        }
    }

    /// Goes on with a transaction as far as it goes without the engine.
    fn drive(&mut self, now: Instant, id: u64) {
        let Some(mut run) = self.runs.remove(&id) else { return };
        loop {
            if run.action.is_none() {
                let Some(action) = run.actions.pop_front() else { break };
                match self.begin(action) {
                    Ok(action) => {
                        if let Some(created) = action.created {
                            run.claims.add(created);
                        }
                        run.action = Some(action);
                    }
                    Err((asked, fault)) => {
                        run.replies.push(ActionReply::failed(asked, fault.descriptor()));
                        break;
                    }
                }
            }
            let Some(mut action) = run.action.take() else { break };
            match self.act(now, &mut action, run.origin, id) {
                Outcome::Waiting => {
                    run.action = Some(action);
                    self.runs.insert(id, run);
                    return;
                }
                Outcome::Done => {
                    self.drop_empty(&action);
                    run.replies.extend(action.finish(None));
                }
                Outcome::Failed(fault) => {
                    match action.created {
                        Some(created) => {
                            self.undo(created);
                            run.replies.push(ActionReply::failed(ContextId::Choose, fault.descriptor()));
                        }
                        None => {
                            self.drop_empty(&action);
                            run.replies.extend(action.finish(None));
                        }
                    }
                    break;
                }
            }
        }
        let body = ReplyBody::Actions(run.replies);
        self.output.push_back(Output::Reply { origin: run.origin, body });
        self.wake(now);
    }

    /// Starts the transactions that nothing stands in the way of any more.
    fn wake(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(&id) = self.waiting.get(index) {
            let earlier: Vec<u64> = self.waiting.iter().take(index).copied().collect();
            let free = self.runs.get(&id).is_some_and(|run| {
                self.runs.iter().all(|(other, other_run)| {
                    let ahead = !self.waiting.contains(other) || earlier.contains(other);
                    *other == id || !ahead || !run.claims.conflict(&other_run.claims)
                })
            });
            if free {
                self.waiting.remove(index);
                // This may end at once and wake others, so the list is looked at anew.
                return self.drive(now, id);
            }
            index += 1;
        }
    }

    fn begin(&mut self, action: ActionRequest) -> Result<ActionRun, (ContextId, Fault)> {
        let asked = action.context;
        let refuse = |fault| Err((asked, fault));
        let mut created = None;
        match asked {
            ContextId::Id(id) if !self.contexts.contains_key(&id) => {
                return refuse(Fault::request(411, "The transaction refers to an unknown ContextID"));
            }
            ContextId::Choose => {
                if action.commands.iter().any(|command| command.verb != Verb::Add) {
                    return refuse(Fault::request(421, "Only Add is possible in a context to be created"));
                }
                match self.new_context() {
                    Ok(id) => {
                        self.contexts.insert(id, Context::default());
                        created = Some(id);
                    }
                    Err(fault) => return refuse(fault),
                }
            }
            _ => {}
        }
        let context = created.or(asked.id());
        let properties = match self.context_properties(context, &action) {
            Ok(properties) => properties,
            Err(fault) => {
                if let Some(created) = created {
                    self.contexts.remove(&created);
                }
                return refuse(fault);
            }
        };
        Ok(ActionRun {
            asked,
            created,
            commands: action.commands.into(),
            current: None,
            results: Vec::new(),
            properties,
            touched: created.into_iter().collect(),
        })
    }

    /// Sets the context's properties and returns those that were asked for.
    fn context_properties(
        &mut self,
        context: Option<u32>,
        action: &ActionRequest,
    ) -> Result<carnet_h248::ContextProperties, Fault> {
        let new = &action.properties;
        let isolating = new.topology.iter();
        if isolating.clone().any(|t| t.direction != carnet_h248::TopologyDirection::Bothway) {
            return Err(Fault::unsupported(522, "Topology triple not supported"));
        }
        if let Some(attribute) = new.attributes.first() {
            check(Kind::Property, &attribute.name)?;
            return Err(Fault::request(455, format!("Not a context property: {}", attribute.name)));
        }
        if !new.context_list.is_empty() {
            return Err(Fault::unsupported(501, "Not implemented: lists of contexts"));
        }
        let Some(context) = context.and_then(|id| self.contexts.get_mut(&id)) else {
            if new.priority.or(new.emergency.map(u16::from)).is_some() {
                return Err(Fault::request(421, "Properties are set on one context at a time"));
            }
            return Ok(carnet_h248::ContextProperties::default());
        };
        let held = &mut context.properties;
        held.priority = new.priority.or(held.priority);
        held.emergency = new.emergency.or(held.emergency);
        held.ieps_call = new.ieps_call.or(held.ieps_call);
        let mut told = carnet_h248::ContextProperties::default();
        for selector in action.audit.iter().flatten() {
            match selector.name.as_str().to_ascii_lowercase().as_str() {
                "priority" => told.priority = held.priority.or(Some(0)),
                "emergency" => told.emergency = held.emergency.or(Some(false)),
                "iepscall" => told.ieps_call = held.ieps_call.or(Some(false)),
                // Everybody hears everybody, which is what no topology means.
                "topology" => {}
                _ => {
                    return Err(Fault::unsupported(
                        501,
                        format!("Not implemented: audit of {}", selector.name),
                    ));
                }
            }
        }
        Ok(told)
    }

    fn act(&mut self, now: Instant, action: &mut ActionRun, origin: Origin, run: u64) -> Outcome {
        let home = action.created.map_or(action.asked, ContextId::Id);
        loop {
            let mut current = match action.current.take() {
                Some(current) => current,
                None => {
                    let Some(command) = action.commands.pop_front() else { return Outcome::Done };
                    match self.targets(home, &command) {
                        Ok(targets) => {
                            action.touched.extend(targets.iter().filter_map(|target| target.context.id()));
                            CommandRun { command, targets, results: Vec::new(), work: None }
                        }
                        Err(fault) => {
                            let reply = failed(command.verb, command.termination(), fault.descriptor());
                            action.results.push((home, reply));
                            if command.optional {
                                continue;
                            }
                            return Outcome::Failed(fault);
                        }
                    }
                }
            };
            let fault = loop {
                let (target, result) = if let Some(work) = current.work.take() {
                    let target = work.target().clone();
                    (target, self.complete(now, work, &current.command))
                } else if let Some(target) = current.targets.pop_front() {
                    match self.step(now, &target, &current.command, origin) {
                        Ok(Step::Done(reply)) => (target, Ok(reply)),
                        Ok(Step::Wait(work)) if work.is_done() => {
                            (work.target().clone(), self.complete(now, work, &current.command))
                        }
                        Ok(Step::Wait(mut work)) => {
                            for pinhole in work.left().iter() {
                                self.awaited.insert(*pinhole, run);
                            }
                            current.work = Some(work);
                            action.current = Some(current);
                            return Outcome::Waiting;
                        }
                        Err(fault) => (target, Err(fault)),
                    }
                } else {
                    break None;
                };
                match result {
                    Ok(reply) => current.results.push((target.context, reply)),
                    Err(fault) => {
                        let error = fault.descriptor();
                        let reply = failed(current.command.verb, &target.termination, error);
                        current.results.push((target.context, reply));
                        break Some(fault);
                    }
                }
            };
            let optional = current.command.optional;
            action.results.extend(current.finish(home));
            if let Some(fault) = fault
                && !optional
            {
                return Outcome::Failed(fault);
            }
        }
    }

    /// Which terminations a command is for.
    fn targets(&self, home: ContextId, command: &Command) -> Result<VecDeque<Target>, Fault> {
        let mut targets = VecDeque::new();
        for wanted in &command.terminations {
            let target = |context| Target { context, termination: wanted.clone() };
            if wanted.is_root() {
                let fits = matches!(command.verb, Verb::AuditValue | Verb::AuditCapability | Verb::Modify)
                    || command.verb == Verb::ServiceChange;
                if !fits || home.id().is_some() {
                    return Err(Fault::request(542, "Command is not allowed on ROOT"));
                }
                targets.push_back(target(ContextId::Null));
            } else if command.verb == Verb::Add {
                if home.id().is_none() {
                    return Err(Fault::request(421, "Add needs one context"));
                }
                targets.push_back(target(home));
            } else if wanted.has_choose() {
                return Err(Fault::request(430, format!("Unknown TerminationID: {wanted}")));
            } else if wanted.has_all() {
                let before = targets.len();
                for (id, context) in self.contexts.iter().filter(|(id, _)| covers(home, **id)) {
                    let matching = context.terminations.iter().filter(|t| wanted.matches(&t.id));
                    targets.extend(
                        matching.map(|t| Target { context: ContextId::Id(*id), termination: t.id.clone() }),
                    );
                }
                if targets.len() == before {
                    return Err(Fault::request(431, "No TerminationID matched a wildcard"));
                }
            } else {
                match self.holder(home, wanted) {
                    Some(id) if covers(home, id) => targets.push_back(target(ContextId::Id(id))),
                    Some(_) => {
                        return Err(Fault::request(435, "TerminationID is not in the specified context"));
                    }
                    None => return Err(Fault::request(430, format!("Unknown TerminationID: {wanted}"))),
                }
            }
        }
        if is_audit(command.verb) { self.audit_targets(home, command, targets) } else { Ok(targets) }
    }

    /// The context that holds a termination. It is `home` unless the controller is mistaken, so that is
    /// where to look first: the others are many.
    fn holder(&self, home: ContextId, wanted: &TerminationId) -> Option<u32> {
        let holds = |context: &Context| context.find(wanted).is_some();
        let at_home = home.id().filter(|id| self.contexts.get(id).is_some_and(holds));
        at_home.or_else(|| self.contexts.iter().find(|(_, context)| holds(context)).map(|(id, _)| *id))
    }

    /// RFC 3525 §6.1: a context vanishes with its last termination.
    fn drop_empty(&mut self, action: &ActionRun) {
        for id in &action.touched {
            if self.contexts.get(id).is_some_and(|context| context.terminations.is_empty()) {
                self.contexts.remove(id);
            }
        }
    }

    /// Takes back everything in a context that was created by an action that failed.
    pub(crate) fn undo(&mut self, id: u32) {
        let Some(context) = self.contexts.remove(&id) else { return };
        for termination in context.terminations {
            if let Some(heartbeat) = termination.heartbeat {
                self.heartbeats.remove(&(heartbeat.next, id, termination.number));
            }
            for pinhole in termination.pinholes() {
                self.pinholes.remove(&pinhole);
                self.commands.push_back(media::Command::Release { pinhole });
            }
        }
    }
}

/// How far a transaction got.
enum Outcome {
    Waiting,
    Done,
    Failed(Fault),
}

/// How far a command got on one termination.
pub(crate) enum Step {
    Done(CommandReply),
    Wait(Work),
}

/// Whether an action on `home` reaches into context `id`.
fn covers(home: ContextId, id: u32) -> bool {
    match home {
        ContextId::All => true,
        ContextId::Id(home) => home == id,
        ContextId::Null | ContextId::Choose => false,
    }
}

/// Notes an answer of the engine.
fn absorb(work: &mut Work, event: media::Event) {
    match (work, event) {
        (Work::Place { holes, .. }, media::Event::Bound { pinhole, local }) => {
            if let Some(hole) = holes.iter_mut().find(|hole| hole.1 == pinhole) {
                hole.2 = Some(local);
            }
        }
        (Work::Place { refused, .. }, media::Event::Refused { reason, .. }) => *refused = Some(reason),
        (Work::Remove { total, .. }, media::Event::Released { statistics, .. })
        | (Work::Measure { total, .. }, media::Event::Measured { statistics, .. }) => {
            crate::run::add(total, &statistics);
        }
        _ => {}
    }
}
