//! A gateway of the plainest kind: it keeps contexts, answers what it is asked, and can be made to
//! forget, to be narrow or to be somebody else's.

use super::super::*;
use crate::model::{
    ActionReply, ActionRequest, CommandReply, ContextId, ErrorDescriptor, Media, Message, ObservedEvent,
    ObservedEvents, PackageVersion, Property, ReplyBody, RequestId, TerminationId, TerminationState,
    Transaction, TransactionId, TransactionReply, TransactionRequest, Verb,
};
use crate::{Body, Method};
use carnet_wire::SeededRandom;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the gateway makes of audits over all contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wildcards {
    Known,
    /// 411: it takes `*` for the name of a context.
    Unknown,
    /// One answer for all, without names.
    Summed,
}

pub(super) struct Model {
    pub(super) contexts: BTreeMap<u32, BTreeSet<TerminationId>>,
    pub(super) packages: Vec<PackageVersion>,
    /// Most terminations in the reply to an audit.
    pub(super) most: usize,
    pub(super) wildcards: Wildcards,
    /// Everything is refused as a whole with this.
    pub(super) refuses: Option<u16>,
    /// It stays with the controller it has.
    pub(super) stays: bool,
    next: u32,
    next_transaction: u32,
    /// What it was asked, newest last.
    pub(super) asked: Vec<ActionRequest>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            contexts: BTreeMap::new(),
            packages: Vec::new(),
            most: usize::MAX,
            wildcards: Wildcards::Known,
            refuses: None,
            stays: false,
            next: 100,
            next_transaction: 1,
            asked: Vec::new(),
        }
    }

    pub(super) fn make(&mut self) -> u32 {
        self.next += 1;
        let names = [format!("ip/1/access/{}", self.next * 2), format!("ip/1/core/{}", self.next * 2 + 1)];
        self.contexts.insert(self.next, names.into_iter().map(TerminationId::new).collect());
        self.next
    }

    fn answer(&mut self, actions: &[ActionRequest]) -> ReplyBody {
        self.asked.extend(actions.iter().cloned());
        if let Some(code) = self.refuses {
            return ReplyBody::Error(ErrorDescriptor::new(code, "as told"));
        }
        let mut replies = Vec::new();
        for action in actions {
            let (more, whole) = self.act(action);
            replies.extend(more);
            if !whole {
                break;
            }
        }
        ReplyBody::Actions(replies)
    }

    fn act(&mut self, action: &ActionRequest) -> (Vec<ActionReply>, bool) {
        let fail =
            |code| (vec![ActionReply::failed(action.context, ErrorDescriptor::new(code, "no"))], false);
        let scope = match action.context {
            ContextId::Id(id) if !self.contexts.contains_key(&id) => return fail(411),
            ContextId::All if self.wildcards == Wildcards::Unknown => return fail(411),
            ContextId::Choose => {
                let id = self.make();
                let names = self.contexts[&id].clone();
                let replies = names.into_iter().map(|n| CommandReply::new(Verb::Add, n)).collect();
                return (vec![ActionReply::new(ContextId::Id(id), replies)], true);
            }
            ContextId::Null => {
                return (vec![ActionReply::new(ContextId::Null, vec![self.root(action)])], true);
            }
            scope => scope,
        };
        let mut done: BTreeMap<u32, Vec<CommandReply>> = BTreeMap::new();
        for command in &action.commands {
            let pattern = command.termination();
            let ids: Vec<_> = self.contexts.keys().copied().collect();
            let mut hits = Vec::new();
            for id in ids.into_iter().filter(|id| scope == ContextId::All || scope == ContextId::Id(*id)) {
                let matching = self.contexts[&id].iter().filter(|t| pattern.matches(t));
                hits.extend(matching.map(|t| (id, t.clone())));
            }
            let summed = self.wildcards == Wildcards::Summed && scope == ContextId::All;
            if command.verb == Verb::AuditValue && summed {
                let sum = CommandReply::new(Verb::AuditValue, TerminationId::ALL);
                return (vec![ActionReply::new(ContextId::All, vec![sum])], true);
            }
            let refusal = match command.verb {
                _ if hits.is_empty() => Some(if pattern.has_all() { 431 } else { 430 }),
                Verb::AuditValue if hits.len() > self.most => Some(533),
                Verb::AuditValue | Verb::Modify | Verb::Subtract => None,
                _ => Some(501),
            };
            if let Some(code) = refusal {
                let reply = CommandReply::new(command.verb, pattern.clone());
                let reply = reply.with(ErrorDescriptor::new(code, "no"));
                if !command.optional {
                    return (vec![ActionReply::new(action.context, vec![reply])], false);
                }
                done.entry(action.context.id().unwrap_or(0)).or_default().push(reply);
                continue;
            }
            for (id, termination) in hits {
                if command.verb == Verb::Subtract {
                    let held = self.contexts.get_mut(&id).unwrap();
                    held.remove(&termination);
                }
                done.entry(id).or_default().push(CommandReply::new(command.verb, termination));
            }
            self.contexts.retain(|_, held| !held.is_empty());
            if command.wildcard_response {
                let one = CommandReply::new(command.verb, pattern.clone());
                return (vec![ActionReply::new(action.context, vec![one])], true);
            }
        }
        (done.into_iter().map(|(id, replies)| ActionReply::new(ContextId::Id(id), replies)).collect(), true)
    }

    fn root(&self, action: &ActionRequest) -> CommandReply {
        let command = &action.commands[0];
        let mut reply = CommandReply::new(command.verb, TerminationId::ROOT);
        if self.stays && command.verb == Verb::ServiceChange {
            return reply.with(ErrorDescriptor::new(501, "no hand-off"));
        }
        if command.audit().is_some_and(|a| a.asks(crate::AuditToken::Packages)) {
            let properties = vec![Property::new("root/maxNumberOfContexts", 400u32)];
            let state = TerminationState { service_state: None, event_buffer: None, properties };
            reply = reply.with(self.packages.clone());
            reply = reply.with(Media { termination_state: Some(state), ..Media::default() });
        }
        reply
    }
}

/// A controller and the model, with the messages in between.
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) controller: Controller,
    pub(super) model: Model,
    pub(super) events: Vec<Event>,
    /// Replies kept back.
    pub(super) held: VecDeque<Message>,
    /// Replies to such requests are kept back.
    pub(super) hold: fn(&ActionRequest) -> bool,
    /// Nothing passes.
    pub(super) cut: bool,
    /// What the controller answered.
    pub(super) answers: Vec<ReplyBody>,
}

impl Pair {
    pub(super) fn new(adjust: fn(&mut Config)) -> Self {
        let now = Instant::now();
        let gateway = GatewayConfig::new("access", super::mid("agw1"), Transport::Reliable);
        let mut config = Config::new(super::mid("alg1"), vec![gateway]);
        adjust(&mut config);
        let controller = Controller::new(config, &mut SeededRandom::new(3), now, std::time::UNIX_EPOCH);
        Self {
            now,
            controller,
            model: Model::new(),
            events: Vec::new(),
            held: VecDeque::new(),
            hold: |_| false,
            cut: false,
            answers: Vec::new(),
        }
    }

    /// One that has registered after a cold start.
    pub(super) fn up() -> Self {
        Self::up_with(|_| {})
    }

    pub(super) fn up_with(adjust: fn(&mut Config)) -> Self {
        let mut pair = Self::new(adjust);
        pair.change(Method::Restart, 901);
        assert!(matches!(pair.take()[..], [Event::Registered { kept: false, .. }]));
        pair
    }

    pub(super) fn say(&mut self, context: ContextId, command: Command) {
        self.model.next_transaction += 1;
        let id = TransactionId(self.model.next_transaction);
        let actions = vec![ActionRequest::new(context, vec![command])];
        let request = Transaction::Request(TransactionRequest { id, actions });
        let message = Message::new(3, super::mid("agw1"), vec![request]);
        self.controller.handle_message(self.now, "access", message);
        self.settle();
    }

    /// ServiceChange on ROOT.
    pub(super) fn change(&mut self, method: Method, reason: u16) {
        let parameters = ServiceChange { version: Some(3), ..ServiceChange::new(method, reason) };
        self.say(ContextId::Null, Command::service_change(TerminationId::ROOT, parameters));
    }

    pub(super) fn notify(&mut self, context: u32, termination: &TerminationId, event: &'static str) {
        let observed = ObservedEvents::new(RequestId(1)).event(ObservedEvent::new(event));
        self.say(ContextId::Id(context), Command::notify(termination.clone(), observed));
    }

    pub(super) fn settle(&mut self) {
        while let Some((_, message)) = self.controller.poll_transmit() {
            if self.cut {
                continue;
            }
            let Body::Transactions(transactions) = message.body else { continue };
            for transaction in transactions {
                match transaction {
                    Transaction::Request(request) => {
                        let body = self.model.answer(&request.actions);
                        let hold = request.actions.iter().any(self.hold);
                        let reply = Transaction::Reply(TransactionReply::new(request.id, body));
                        let reply = Message::new(3, super::mid("agw1"), vec![reply]);
                        if hold {
                            self.held.push_back(reply);
                        } else {
                            self.controller.handle_message(self.now, "access", reply);
                        }
                    }
                    Transaction::Reply(reply) => self.answers.push(reply.body),
                    _ => {}
                }
            }
        }
        while let Some(event) = self.controller.poll_event() {
            self.events.push(event);
        }
    }

    pub(super) fn let_go(&mut self) {
        self.hold = |_| false;
        while let Some(message) = self.held.pop_front() {
            self.controller.handle_message(self.now, "access", message);
        }
        self.settle();
    }

    pub(super) fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.controller.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.controller.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    pub(super) fn take(&mut self) -> Vec<Event> {
        self.settle();
        std::mem::take(&mut self.events)
    }

    /// A context of a call.
    pub(super) fn add(&mut self) -> u32 {
        let before: BTreeSet<_> = self.model.contexts.keys().copied().collect();
        self.controller.request(self.now, "access", super::add());
        self.settle();
        *self.model.contexts.keys().find(|id| !before.contains(id)).unwrap()
    }

    pub(super) fn condition(&self) -> Condition {
        self.controller.gateways().next().unwrap().condition
    }
}
