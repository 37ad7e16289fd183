//! A gateway that does what the messages say and counts what it holds.

use carnet_h248::{
    ActionReply, AuditToken, Command, CommandReply, ContextId, ContextProperties, ErrorDescriptor, MId,
    Media, Message, Method, ObservedEvent, ObservedEvents, PackageVersion, Property, ReplyBody, RequestId,
    ServiceChange, Statistic, Stream, TerminationId, TerminationState, Transaction, TransactionId,
    TransactionReply, TransactionRequest, Verb,
};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// One termination as the last command left it.
#[derive(Debug, Clone, Default)]
pub struct Termination {
    pub realm: String,
    pub mode: String,
    pub local: String,
    pub remote: String,
    pub filter: Option<String>,
    pub latch: bool,
    pub events: Vec<String>,
    pub signals: Vec<String>,
    /// Properties of LocalControl but for those above, as `name=value`.
    pub control: Vec<String>,
}

/// What the scripted gateway shows as the hash of its certificate.
pub const OURS: &str =
    "SHA-256 AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA";

pub struct ScriptedGateway {
    mid: MId,
    next_context: u32,
    next_number: u32,
    next_transaction: u32,
    pub state: BTreeMap<u32, BTreeMap<String, Termination>>,
    out: VecDeque<Message>,
    /// Replies kept back until [`Self::let_go`].
    pub hold: bool,
    held: VecDeque<Message>,
    /// Replies already given (at most once).
    given: HashMap<TransactionId, Message>,
    /// The next commands with these verbs are refused with these codes.
    pub refuse: Vec<(Verb, u16)>,
    /// The second Add of the next transaction is refused with this code.
    pub refuse_after_add: Option<u16>,
    /// `root/maxNumberOfContexts`; beyond it, Add is refused with 412.
    pub most: Option<usize>,
    /// What it says that it supports; nothing if empty.
    pub packages: Vec<PackageVersion>,
    /// It can show its contexts.
    pub audits: bool,
    /// Properties of the contexts it was asked for.
    pub properties: Vec<ContextProperties>,
    /// What its ServiceChanges were answered.
    pub heard: Vec<ServiceChange>,
    /// Everything that was asked, newest last.
    pub asked: Vec<(ContextId, Command)>,
    /// Shows no certificate where it is asked for one.
    pub mute: bool,
    /// Says nothing any more.
    pub dead: bool,
}

impl ScriptedGateway {
    pub fn new(name: &str) -> Self {
        Self {
            mid: MId::domain(name.to_owned()),
            next_context: 77,
            next_number: 4711,
            next_transaction: 1,
            state: BTreeMap::new(),
            out: VecDeque::new(),
            hold: false,
            held: VecDeque::new(),
            given: HashMap::new(),
            refuse: Vec::new(),
            refuse_after_add: None,
            audits: false,
            properties: Vec::new(),
            heard: Vec::new(),
            most: None,
            packages: Vec::new(),
            asked: Vec::new(),
            mute: false,
            dead: false,
        }
    }

    pub fn contexts(&self) -> usize {
        self.state.len()
    }

    /// The only context there is, its terminations by realm.
    #[track_caller]
    pub fn only(&self) -> BTreeMap<String, Termination> {
        assert_eq!(self.state.len(), 1, "{:#?}", self.state);
        self.state.values().next().unwrap().values().map(|t| (t.realm.clone(), t.clone())).collect()
    }

    /// The local descriptions of all terminations.
    pub fn locals(&self) -> Vec<String> {
        self.state.values().flat_map(|context| context.values()).map(|t| t.local.clone()).collect()
    }

    fn request(&mut self, context: ContextId, command: Command) {
        let id = TransactionId(self.next_transaction);
        self.next_transaction += 1;
        let actions = vec![carnet_h248::ActionRequest::new(context, vec![command])];
        let request = Transaction::Request(TransactionRequest { id, actions });
        self.out.push_back(Message::new(3, self.mid.clone(), vec![request]));
    }

    pub fn register(&mut self) {
        let restart = ServiceChange::new(Method::Restart, 901);
        self.request(ContextId::Null, Command::service_change(TerminationId::ROOT, restart));
    }

    /// ServiceChange of terminations, or of ROOT.
    pub fn change(&mut self, termination: &str, method: Method, reason: u16) {
        let context = if termination == "ROOT" { ContextId::Null } else { ContextId::All };
        let parameters = ServiceChange::new(method, reason);
        self.request(context, Command::service_change(termination.to_owned(), parameters));
    }

    /// An event on ROOT.
    pub fn report(&mut self, event: ObservedEvent) {
        let observed = ObservedEvents::new(RequestId(1)).event(event);
        self.request(ContextId::Null, Command::notify(TerminationId::ROOT, observed));
    }

    pub fn notify(&mut self, context: u32, termination: &str, event: &'static str) {
        let observed = ObservedEvents::new(RequestId(1)).event(ObservedEvent::new(event));
        let command = Command::notify(termination.to_owned(), observed);
        self.request(ContextId::Id(context), command);
    }

    /// An event of TLS on a termination.
    pub fn tls(&mut self, context: u32, termination: &str, kind: &'static str, causes: [&'static str; 2]) {
        let mut event = ObservedEvent::new("tlsbsc/BNCChange").parameter("Type", kind);
        if kind == "REL" {
            event = caused(event, causes);
        }
        let observed = ObservedEvents::new(RequestId(1)).event(event);
        self.request(ContextId::Id(context), Command::notify(termination.to_owned(), observed));
    }

    /// A connection on a termination ended or never came: what was asked for tells of it, at once.
    pub fn released(&mut self, context: u32, termination: &str, causes: [&'static str; 2]) {
        let change = ObservedEvent::new("tcpbcc/BNCChange").parameter("Type", "REL");
        let observed = ObservedEvents::new(RequestId(1))
            .event(caused(change, causes))
            .event(caused(ObservedEvent::new("g/cause"), causes));
        self.request(ContextId::Id(context), Command::notify(termination.to_owned(), observed));
    }

    pub fn let_go(&mut self) {
        self.hold = false;
        self.out.append(&mut self.held);
    }

    pub fn poll(&mut self) -> Option<Message> {
        self.out.pop_front()
    }

    pub fn handle(&mut self, message: Message) {
        if self.dead {
            return;
        }
        for transaction in message.transactions() {
            if let Transaction::Reply(TransactionReply { body: ReplyBody::Actions(actions), .. }) =
                transaction
            {
                let services = actions.iter().flat_map(|a| &a.commands).filter_map(CommandReply::services);
                self.heard.extend(services.cloned());
            }
            let Transaction::Request(request) = transaction else { continue };
            if let Some(given) = self.given.get(&request.id) {
                self.out.push_back(given.clone());
                continue;
            }
            let mut actions = Vec::new();
            for action in &request.actions {
                if let (ContextId::All, Verb::AuditValue, true) =
                    (action.context, action.commands[0].verb, self.audits)
                {
                    actions.extend(self.state.iter().map(|(id, terminations)| {
                        let names = terminations.keys().cloned();
                        let replies = names.map(|name| CommandReply::new(Verb::AuditValue, name));
                        ActionReply::new(ContextId::Id(*id), replies.collect())
                    }));
                    continue;
                }
                if let (ContextId::All, Verb::Subtract, true) =
                    (action.context, action.commands[0].verb, self.audits)
                {
                    self.state.clear();
                    let all = CommandReply::new(Verb::Subtract, TerminationId::ALL);
                    actions.push(ActionReply::new(ContextId::All, vec![all]));
                    continue;
                }
                if action.context == ContextId::Choose {
                    self.properties.push(action.properties.clone());
                }
                actions.push(self.act(action.context, &action.commands));
            }
            let reply = Transaction::Reply(TransactionReply::new(request.id, ReplyBody::Actions(actions)));
            let message = Message::new(3, self.mid.clone(), vec![reply]);
            self.given.insert(request.id, message.clone());
            let audit = request.actions.iter().all(|a| a.context == ContextId::Null);
            if self.hold && !audit { &mut self.held } else { &mut self.out }.push_back(message);
        }
    }

    fn act(&mut self, context: ContextId, commands: &[Command]) -> ActionReply {
        let id = match context {
            ContextId::Choose if self.most.is_some_and(|most| self.state.len() >= most) => {
                return ActionReply::failed(context, ErrorDescriptor::new(412, "full"));
            }
            ContextId::Choose => {
                self.next_context += 1;
                self.state.insert(self.next_context, BTreeMap::new());
                ContextId::Id(self.next_context)
            }
            other => other,
        };
        let mut replies = Vec::new();
        let mut error = None;
        for command in commands {
            self.asked.push((id, command.clone()));
            if let Some(at) = self.refuse.iter().position(|(v, _)| *v == command.verb) {
                let code = self.refuse.remove(at).1;
                error = Some(ErrorDescriptor::new(code, "as scripted"));
                break;
            }
            if command.verb == Verb::Add
                && !replies.is_empty()
                && let Some(code) = self.refuse_after_add.take()
            {
                error = Some(ErrorDescriptor::new(code, "as scripted"));
                break;
            }
            match self.command(id, command) {
                Ok(reply) => replies.push(reply),
                Err(code) => {
                    error = Some(ErrorDescriptor::new(code, "not here"));
                    break;
                }
            }
        }
        self.state.retain(|_, terminations| !terminations.is_empty());
        let mut reply = ActionReply::new(id, replies);
        reply.error = error;
        reply
    }

    fn command(&mut self, context: ContextId, command: &Command) -> Result<CommandReply, u16> {
        if command.termination().is_root() {
            let mut reply = CommandReply::new(command.verb, TerminationId::ROOT);
            if command.audit().is_some_and(|a| a.asks(AuditToken::Packages)) {
                let most = self.most.map(|most| Property::new("root/maxNumberOfContexts", most.to_string()));
                let properties = most.into_iter().collect();
                let state = TerminationState { service_state: None, event_buffer: None, properties };
                reply = reply.with(self.packages.clone());
                reply = reply.with(Media { termination_state: Some(state), ..Media::default() });
            }
            return Ok(reply);
        }
        let id = context.id().ok_or(411u16)?;
        match command.verb {
            Verb::Add => {
                self.next_number += 1;
                let number = self.next_number;
                let name = format!("ip/1/{number}");
                let mut termination = Termination::default();
                let stream = command.media().unwrap().stream(1).unwrap();
                update(&mut termination, stream);
                let (ip, version) = match termination.local.contains("IP6") {
                    true => ("2001:db8:1::10", "IP6"),
                    false => ("203.0.113.10", "IP4"),
                };
                termination.events = command
                    .events()
                    .map(|e| e.events.iter().map(|e| e.name.to_string()).collect())
                    .unwrap_or_default();
                if let Some(signals) = command.signals() {
                    termination.signals = signals.iter().map(|s| s.name.to_string()).collect();
                }
                termination.latch = command.signals().is_some_and(|s| s.find("ipnapt/latch").is_some());
                assert!(termination.local.contains(&format!("c=IN {version} $")), "{}", termination.local);
                termination.local = termination.local.replacen("$", ip, 1).replacen(
                    "$",
                    &(30_000 + (number - 4711) * 2).to_string(),
                    1,
                );
                termination.local =
                    termination.local.replacen("SHA-256 $", if self.mute { "SHA-256 00" } else { OURS }, 1);
                let local = termination.local.clone();
                self.state.get_mut(&id).ok_or(411u16)?.insert(name.clone(), termination);
                Ok(CommandReply::new(Verb::Add, name).with(Media::with_stream(Stream::new(1).local(local))))
            }
            Verb::Modify => {
                let name = command.termination().to_string();
                let terminations = self.state.get_mut(&id).ok_or(411u16)?;
                let termination = terminations.get_mut(&name).ok_or(435u16)?;
                update(termination, command.media().unwrap().stream(1).unwrap());
                if let Some(signals) = command.signals() {
                    termination.signals = signals.iter().map(|s| s.name.to_string()).collect();
                }
                Ok(CommandReply::new(Verb::Modify, name))
            }
            Verb::Subtract => {
                let terminations = self.state.get_mut(&id).ok_or(411u16)?;
                let pattern = command.termination().clone();
                let before = terminations.len();
                terminations.retain(|name, _| !pattern.matches(&TerminationId::new(name.clone())));
                if before == terminations.len() {
                    return Err(435);
                }
                let statistics = vec![Statistic::new("nt/os", 40960u32), Statistic::new("nt/or", 51200u32)];
                Ok(CommandReply::new(Verb::Subtract, pattern).with(statistics))
            }
            Verb::AuditValue if self.audits => {
                let held = self.state.get(&id).ok_or(411u16)?;
                let mut reply = CommandReply::new(Verb::AuditValue, TerminationId::ALL);
                reply.terminations = held.keys().map(|name| TerminationId::new(name.clone())).collect();
                Ok(reply)
            }
            _ => Err(501),
        }
    }
}

fn update(termination: &mut Termination, stream: &Stream) {
    if let Some(control) = &stream.local_control {
        let value = |name: &str| control.value(name).map(|v| v.as_str().to_owned());
        termination.mode = format!("{:?}", control.mode.unwrap());
        termination.realm = value("ipdc/realm").unwrap_or_default();
        termination.filter = value("gm/sam");
        let rest = control.properties.iter().filter(|p| p.name.to_string().starts_with("tman/"));
        termination.control =
            rest.map(|p| format!("{}={}", p.name, value(&p.name.to_string()).unwrap_or_default())).collect();
        assert_eq!(termination.filter.is_some(), value("gm/saf").as_deref() == Some("ON"));
    }
    let show = |sdp: &carnet_h248::SessionDescription| String::from_utf8(sdp.as_bytes().to_vec()).unwrap();
    if let Some(local) = &stream.local {
        termination.local = show(local);
    }
    if let Some(remote) = &stream.remote {
        termination.remote = show(remote);
    }
}

fn caused(event: ObservedEvent, [general, words]: [&'static str; 2]) -> ObservedEvent {
    let event = event.parameter("Generalcause", general);
    event.parameter("Failurecause", carnet_h248::Value::Quoted(words.into()))
}
