//! What the gateway says, to the calls that it concerns.

use crate::call::{Call, Step};
use crate::core::{Core, Op, Place, Purpose};
use crate::dialog::DialogKey;
use crate::event::{Ended, Event};
use crate::fault::Fault;
use crate::machine::Steering;
use carnet_h248::controller::{self, RequestError, RequestNumber};
use carnet_h248::{ActionReply, ContextId, Method, TerminationId};
use carnet_plan::{Both, Context, Octets, Side};
use std::sync::Arc;

impl Steering {
    /// Takes what the gateway and its association have to say.
    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.core.gateway.poll_event() {
            self.reported(event);
        }
    }

    fn reported(&mut self, event: controller::Event) {
        match event {
            controller::Event::Registered { .. } => self.core.events.push_back(Event::GatewayUp),
            controller::Event::Lost { reason, .. } => {
                self.core.events.push_back(Event::GatewayLost { reason });
                // A context of that number may be another one when it is back.
                self.core.again.clear();
                let all: Vec<_> = self.calls.keys().cloned().collect();
                for id in all {
                    self.with_call(&id, |call, core| call.end_all(core, Ended::GatewayLost));
                }
            }
            controller::Event::Draining { delay, .. } => {
                self.core.events.push_back(Event::GatewayDraining { within: delay });
            }
            controller::Event::Refused { error, .. } | controller::Event::Unsuited { error, .. } => {
                let text = error.text.unwrap_or_default().to_string();
                self.core.events.push_back(Event::GatewayUnsuited { code: error.code, text });
            }
            controller::Event::ContextsLost { contexts, .. } => self.contexts_lost(&contexts),
            controller::Event::ServiceChanged { context, termination, method: Method::Forced, .. } => {
                self.failed(context, &termination);
            }
            controller::Event::Resynchronised { strays, lost, .. } if strays + lost > 0 => {
                self.core.events.push_back(Event::Resynchronised { strays, lost });
            }
            controller::Event::Notify { context, termination, observed, .. } => {
                self.noticed(context, &termination, &observed);
            }
            controller::Event::Reply { request, result, .. } => self.replied(request, result),
            _ => {}
        }
    }

    fn contexts_lost(&mut self, contexts: &[u32]) {
        for context in contexts {
            let Some(id) = self.core.contexts.remove(context) else { continue };
            self.with_call(&id, |call, core| call.lost(core, *context));
        }
    }

    /// Terminations failed: what is on them has no media.
    fn failed(&mut self, context: ContextId, termination: &TerminationId) {
        let calls: Vec<_> = match context {
            ContextId::Id(id) => self.core.contexts.get(&id).cloned().into_iter().collect(),
            _ => self.calls.keys().cloned().collect(),
        };
        for id in calls {
            self.with_call(&id, |call, core| call.failed(core, context.id(), termination));
        }
    }

    fn replied(&mut self, request: RequestNumber, result: Result<Vec<ActionReply>, RequestError>) {
        match self.core.ops.remove(&request) {
            Some(Op::Add { call, line, mut context, first }) => {
                let done = match result {
                    Ok(actions) => context.added(first, &actions).map_err(|incomplete| {
                        self.core.undo(&actions);
                        Fault::from(incomplete)
                    }),
                    Err(error) => Err(self.core.would_not("Add", &error, context.line.ends_tls())),
                };
                let id = context.id().filter(|_| done.is_ok());
                let done = done.map(|()| (line, context));
                if let Some(id) = id {
                    self.core.contexts.insert(id, call.clone());
                }
                self.answered(&call, request, Answer::Added(done));
            }
            Some(Op::Modify { call }) => {
                let done = result.map(|_| ()).map_err(|error| self.core.would_not("Modify", &error, false));
                self.answered(&call, request, Answer::Modified(done));
            }
            Some(Op::Subtract(subtract)) => {
                let (place, octets) = self.core.subtracted(subtract, result);
                self.answered(&place.call.clone(), request, Answer::Subtracted(place, octets));
            }
            Some(Op::Measure { call, purpose }) => {
                let actions = match result {
                    Ok(actions) | Err(RequestError::Refused { actions, .. }) => actions,
                    Err(_) => Vec::new(),
                };
                self.answered(&call, request, Answer::Measured(actions, purpose));
            }
            Some(Op::Sweep) | None => {}
        }
    }

    fn answered(&mut self, call: &Arc<str>, request: RequestNumber, answer: Answer) {
        match answer {
            // Nobody waits for it any more.
            Answer::Added(Ok((line, context))) if !self.calls.contains_key(call) => {
                let place = Place { call: call.clone(), dialog: DialogKey(0), line };
                self.core.release(place, context);
            }
            answer => self.with_call(call, |call, core| call.told(core, request, answer)),
        }
    }

    /// The line whose context that is, and the side of the termination.
    pub(crate) fn place(&self, context: u32, termination: &TerminationId) -> Option<(Place, Option<Side>)> {
        let call = self.calls.get(self.core.contexts.get(&context)?)?;
        call.dialogs.iter().find_map(|dialog| {
            dialog.streams.iter().enumerate().find_map(|(line, stream)| {
                let mut contexts = stream.contexts();
                let context = contexts.find(|c| c.id() == Some(context))?;
                let place = Place { call: call.id.clone(), dialog: dialog.key, line };
                Some((place, context.side_of(termination)))
            })
        })
    }
}

/// What came of a request to the gateway.
pub(crate) enum Answer {
    Added(Result<(usize, Box<Context>), Fault>),
    Modified(Result<(), Fault>),
    Subtracted(Place, Option<Both<Octets>>),
    Measured(Vec<ActionReply>, Purpose),
}

impl Core {
    /// The gateway would not do something: what that means. What it did of it is undone.
    fn would_not(&mut self, command: &'static str, error: &RequestError, ends_tls: bool) -> Fault {
        let (code, text) = match error {
            RequestError::Refused { error, actions } => {
                if command == "Add" {
                    self.undo(actions);
                }
                (error.code, error.text.clone().unwrap_or_default().to_string())
            }
            other => (0, other.to_string()),
        };
        self.refused(command, code, text);
        Fault::of(error, ends_tls)
    }
}

impl Call {
    /// The gateway answered a request of ours.
    fn told(&mut self, core: &mut Core, request: RequestNumber, answer: Answer) {
        if let Answer::Measured(actions, purpose) = &answer {
            self.measured(actions);
            if let Purpose::Silence(key, line) = purpose {
                self.silent(core, *key, *line);
            }
        }
        let waits = |work: &&mut crate::call::Work| work.outstanding.contains(&request);
        let Some(work) = self.work.as_mut().filter(waits) else {
            match answer {
                Answer::Added(Ok((line, context))) => {
                    let place = Place { call: self.id.clone(), dialog: DialogKey(0), line };
                    core.release(place, context);
                }
                Answer::Subtracted(place, Some(octets)) => self.counted(&place, &octets),
                _ => {}
            }
            return;
        };
        work.outstanding.retain(|other| *other != request);
        match (answer, &mut work.step) {
            (Answer::Added(Ok(added)), Step::Offer(offered)) => offered.added.push(added),
            (Answer::Added(Err(fault)) | Answer::Modified(Err(fault)), _) => {
                work.failed.get_or_insert(fault);
            }
            (Answer::Subtracted(place, Some(octets)), Step::Delete(ended)) => {
                if let Some(dialog) = ended.iter_mut().find(|d| d.key == place.dialog) {
                    dialog.stream_mut(place.line).over(&octets);
                }
            }
            _ => {}
        }
    }

    /// Contexts of the call have a termination that failed: they are given back.
    fn failed(&mut self, core: &mut Core, context: Option<u32>, termination: &TerminationId) {
        let on = |c: &Context| {
            (context.is_none() || c.id() == context) && c.terminations().any(|(_, t)| termination.matches(t))
        };
        let mut gone = Vec::new();
        for dialog in &mut self.dialogs {
            for (line, stream) in dialog.streams.iter_mut().enumerate() {
                let offered = stream.offered.take_if(|c| on(c));
                let agreed = stream.agreed.take_if(|c| on(c));
                gone.extend(offered.into_iter().chain(agreed).map(|c| (dialog.key, line, c)));
            }
        }
        for (dialog, line, context) in gone {
            core.release(Place { call: self.id.clone(), dialog, line }, context);
        }
        self.end_empty(core, Ended::ContextsLost);
    }

    /// A context of a line that goes on has its last counters.
    fn counted(&mut self, place: &Place, octets: &Both<Octets>) {
        if let Some(dialog) = self.dialog_mut(place.dialog) {
            dialog.stream_mut(place.line).over(octets);
        }
    }

    /// The gateway has a context no more: the next offer of the line makes another.
    fn lost(&mut self, core: &mut Core, context: u32) {
        for dialog in &mut self.dialogs {
            for stream in &mut dialog.streams {
                stream.offered.take_if(|c| c.id() == Some(context));
                stream.agreed.take_if(|c| c.id() == Some(context));
            }
        }
        if let Some(crate::call::Work { step: Step::Offer(offered), failed, .. }) = &mut self.work {
            let before = offered.added.len();
            offered.added.retain(|(_, c)| c.id() != Some(context));
            if offered.added.len() < before {
                failed.get_or_insert_with(|| Fault::overload("the gateway lost what it had"));
            }
        }
        self.end_empty(core, Ended::ContextsLost);
    }
}
