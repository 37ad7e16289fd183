//! What a gateway holds, and the transactions on it, one after the other where they touch the same
//! contexts (RFC 3525 §8). Who sent them is [`crate::Gateway`]'s part; what the actions in them do
//! is in [`crate::action`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Instant, SystemTime};

use carnet_h248::{ActionReply, ActionRequest, Command, CommandReply, ContextId, ReplyBody, TimeStamp};
use carnet_wire::Random;

use crate::action::Outcome;
use crate::context::Context;
use crate::error::Fault;
use crate::media::{self, Pinhole};
use crate::root::RootState;
use crate::run::{Claims, Origin, Run, Work};
use crate::survival::Survival;
use crate::{Function, Limits, Load};

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
    pub(crate) function: Function,
    /// Of the protocol, as agreed with the controller.
    pub(crate) version: Option<u8>,
    pub(crate) limits: Limits,
    pub(crate) contexts: BTreeMap<u32, Context>,
    pub(crate) next_context: u32,
    pub(crate) next_number: u64,
    pub(crate) next_pinhole: u64,
    /// Which context a termination is in, by its number.
    pub(crate) homes: HashMap<u64, u32>,
    /// Where an unsolicited report of the engine belongs: context, termination, stream.
    pub(crate) pinholes: HashMap<Pinhole, (u32, u64, u16)>,
    /// Pinholes given back while their termination stays, and the termination: it keeps the counters.
    pub(crate) leaving: HashMap<Pinhole, u64>,
    /// Pinholes on their way to another loop of the engine.
    pub(crate) regrouping: HashSet<Pinhole>,
    /// Realms by the number of their interface, from 1.
    interfaces: Vec<String>,
    runs: BTreeMap<u64, Run>,
    next_run: u64,
    /// Transactions that touch a context another one is working on.
    waiting: BTreeSet<u64>,
    /// Answers of the engine that a transaction waits for.
    pub(crate) awaited: HashMap<Pinhole, u64>,
    pub(crate) heartbeats: BTreeSet<(Instant, u32, u64)>,
    pub(crate) root: RootState,
    pub(crate) survival: Survival,
    /// One moment on both clocks, for time stamps.
    clock: (Instant, SystemTime),
    pub(crate) commands: VecDeque<media::Command>,
    pub(crate) output: VecDeque<Output>,
    pub(crate) events: VecDeque<crate::Event>,
}

impl Core {
    /// Contexts are numbered from a random start: a controller that still knows contexts from
    /// before a restart must not meet other calls under their numbers.
    pub(crate) fn new(
        function: Function,
        limits: Limits,
        clock: (Instant, SystemTime),
        rng: &mut dyn Random,
    ) -> Self {
        Self {
            function,
            version: None,
            limits,
            contexts: BTreeMap::new(),
            next_context: rng.u32() >> 4,
            next_number: u64::from(rng.u32() >> 8),
            next_pinhole: 0,
            homes: HashMap::new(),
            pinholes: HashMap::new(),
            leaving: HashMap::new(),
            regrouping: HashSet::new(),
            interfaces: Vec::new(),
            runs: BTreeMap::new(),
            next_run: 0,
            waiting: BTreeSet::new(),
            awaited: HashMap::new(),
            heartbeats: BTreeSet::new(),
            root: RootState::default(),
            survival: Survival::default(),
            clock,
            commands: VecDeque::new(),
            output: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The realms in the order of their interface numbers (see [`Core::interface`]).
    pub(crate) fn set_interfaces(&mut self, realms: Vec<String>) {
        self.interfaces = realms;
    }

    /// Takes a transaction; its reply comes as [`Output::Reply`].
    pub(crate) fn request(&mut self, now: Instant, origin: Origin, actions: Vec<ActionRequest>) {
        if let Err(fault) = self.admit(&actions) {
            let body = ReplyBody::Error(fault.descriptor());
            self.output.push_back(Output::Reply { origin, body });
            return;
        }
        let claims = Claims::of(&actions);
        let busy = self.runs.values().any(|run| run.claims.conflict(&claims));
        let id = self.next_run;
        self.next_run += 1;
        let run = Run { origin, claims, actions: actions.into(), action: None, replies: Vec::new() };
        self.runs.insert(id, run);
        if busy {
            self.waiting.insert(id);
        } else {
            self.drive(now, id);
        }
    }

    /// Refuses what would only wait too long. Those who must get through have room of their own.
    fn admit(&self, actions: &[ActionRequest]) -> Result<(), Fault> {
        let most = self.limits.transactions;
        let kept = most.saturating_sub(self.limits.reserved(most));
        let urgent = || actions.iter().any(|action| self.is_urgent(action));
        if self.runs.len() < kept || self.runs.len() < most && urgent() {
            return Ok(());
        }
        Err(Fault::exhausted(511, "Temporarily busy"))
    }

    /// How much is going on.
    pub(crate) fn load(&self) -> Load {
        Load {
            contexts: self.contexts.len(),
            most_contexts: self.limits.contexts,
            transactions: self.runs.len(),
            most_transactions: self.limits.transactions,
            engine: self.awaited.len(),
        }
    }

    /// An answer or a report of the media engine.
    pub(crate) fn media(&mut self, now: Instant, event: media::Event) {
        let Some(pinhole) = event.pinhole() else { return self.report(now, event) };
        let answers = matches!(
            event,
            media::Event::Bound { .. }
                | media::Event::Refused { .. }
                | media::Event::Released { .. }
                | media::Event::Measured { .. }
                | media::Event::Regrouped { .. }
        );
        if !answers {
            return self.report(now, event);
        }
        if self.adopted(now, &event) {
            return;
        }
        if let (media::Event::Released { statistics, .. }, Some(number)) =
            (&event, self.leaving.remove(&pinhole))
        {
            let home = self.homes.get(&number).and_then(|context| self.contexts.get_mut(context));
            if let Some(termination) = home.and_then(|context| context.numbered_mut(number)) {
                crate::run::add(&mut termination.past, statistics);
                self.homes.get(&number).copied().into_iter().for_each(|id| self.changed(id));
            }
        }
        let Some(id) = self.awaited.remove(&pinhole) else { return };
        let Some(run) = self.runs.get_mut(&id) else { return };
        let command = run.action.as_mut().and_then(|action| action.current.as_mut());
        let Some(work) = command.and_then(|command| command.work.as_mut()) else { return };
        work.left().remove(&pinhole);
        work.absorb(event);
        if work.is_done() {
            self.drive(now, id);
            if !self.runs.contains_key(&id) {
                self.wake(now);
            }
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
        TimeStamp::from_system_time(self.wall(now))
    }

    /// A moment on the other clock.
    pub(crate) fn wall(&self, now: Instant) -> SystemTime {
        let (moment, wall) = self.clock;
        wall + now.saturating_duration_since(moment)
    }

    /// Whether nothing is held and nothing is going on.
    pub(crate) fn is_empty(&self) -> bool {
        self.contexts.is_empty()
            && self.homes.is_empty()
            && self.pinholes.is_empty()
            && self.leaving.is_empty()
            && self.regrouping.is_empty()
            && self.runs.is_empty()
            && self.waiting.is_empty()
            && self.awaited.is_empty()
            && self.heartbeats.is_empty()
    }

    /// Transactions that are not answered yet.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// Whether the transaction that creates the context is not answered yet.
    pub(crate) fn is_in_the_making(&self, context: u32) -> bool {
        self.runs.values().any(|run| run.action.as_ref().is_some_and(|a| a.created == Some(context)))
    }

    pub(crate) fn new_pinhole(&mut self, group: u32) -> Pinhole {
        self.next_pinhole += 1;
        Pinhole { group, number: self.next_pinhole }
    }

    pub(crate) fn new_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The number in a termination's name of the interface that stands for a realm. Those that the
    /// configuration lists have the same number after a restart.
    pub(crate) fn interface(&mut self, realm: Option<&str>) -> usize {
        let Some(realm) = realm else { return 1 };
        match self.interfaces.iter().position(|known| known == realm) {
            Some(index) => index + 1,
            // The engine has this realm, or there would be no address.
            None => {
                self.interfaces.push(realm.to_owned());
                self.interfaces.len()
            }
        }
    }

    /// Names a new context. `urgent`: it may take from what is kept for emergencies.
    pub(crate) fn new_context(&mut self, urgent: bool) -> Result<u32, Fault> {
        let most = self.limits.contexts;
        if self.contexts.len() >= most {
            return Err(Fault::exhausted(412, "No ContextIDs available"));
        }
        if !urgent && self.contexts.len() >= most - self.limits.reserved(most).min(most) {
            let what = "Insufficient resources: what is left is for emergencies and high priority";
            return Err(Fault::exhausted(510, what));
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
            let outcome = self.act(now, &mut action, run.origin, id);
            for touched in &action.touched {
                self.changed(*touched);
            }
            match outcome {
                Outcome::Waiting => {
                    run.action = Some(action);
                    self.runs.insert(id, run);
                    return;
                }
                Outcome::Done => {
                    self.drop_empty(&action);
                    run.replies.extend(action.finish());
                }
                Outcome::Failed(fault) => {
                    match action.created.filter(|_| !action.moved) {
                        Some(created) => {
                            self.undo(created);
                            run.replies.push(ActionReply::failed(ContextId::Choose, fault.descriptor()));
                        }
                        None => {
                            self.drop_empty(&action);
                            run.replies.extend(action.finish());
                        }
                    }
                    break;
                }
            }
        }
        let body = ReplyBody::Actions(run.replies);
        self.output.push_back(Output::Reply { origin: run.origin, body });
    }

    /// Starts the transactions that nothing stands in the way of any more, in the order in which they
    /// came. What is started can only be in the way of those after it, so one pass does.
    fn wake(&mut self, now: Instant) {
        let mut taken = Claims::default();
        for (id, run) in &self.runs {
            if !self.waiting.contains(id) {
                taken.merge(&run.claims);
            }
        }
        for id in std::mem::take(&mut self.waiting) {
            let Some(run) = self.runs.get(&id) else { continue };
            if run.claims.conflict(&taken) {
                taken.merge(&run.claims);
                self.waiting.insert(id);
                continue;
            }
            self.drive(now, id);
            if let Some(run) = self.runs.get(&id) {
                taken.merge(&run.claims);
            }
        }
    }
}

/// How far a command got on one termination.
pub(crate) enum Step {
    Done(CommandReply),
    Wait(Work),
}
