//! An IMS-AGW, TrGW or MRFP as a task: control sockets, the rules, the media engine.

use super::control::{self, Courtesy};
use super::controllers::{Controllers, NoWay};
use super::counted::{Counted, plain};
use super::looking::Look;
use super::media::{self, engine};
use super::question::{Ask, PAGE, Question, Questions};
use super::realms::Realms;
use super::survival::Survival;
use super::{Ending, LAST_WORDS, Observer, Seen, Start, StartError, control_watch, encoding, held_sip};
use crate::reload::{Done, Ready, Undone};
use carnet_gateway::{Config, Event, Function, Gateway, Limits};
use carnet_h248::association::Transport;
use carnet_h248::{MId, Message, Profile, TerminationId, profile, registration};
use carnet_net::h248::{
    ControlConfig, ControlEvent, ControlListen, ControlPeer, ControlSockets, ControlTls, ControlTransport,
    LocalEnd,
};
use carnet_net::media::{EngineHandle, Events, Pool, Realm, Tally, raise_descriptor_limit};
use carnet_net::{OsRandom, Token, Waiting, until};
use carnet_ops::config::{Config as Whole, ControlAddress, ControlProto, GatewayRole, GatewaySection};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

/// Wait before a broken connection to a controller is made again.
const RECONNECT: Duration = Duration::from_millis(500);

/// How often it is told whom pinholes have turned away.
const TALLY_EVERY: Duration = Duration::from_secs(10);

/// Commands that may wait for the engine before messages of controllers do.
const MOST_COMMANDS: usize = 4096;

/// Terminations in one conference, two a member.
const MOST_IN_CONFERENCE: usize = 4096;

/// Cold boot (RFC 3525 §7.2.8).
const COLD_BOOT: u16 = 901;
/// Malfunctioning.
const MALFUNCTION: u16 = 904;
/// Taken out of service.
const OUT_OF_SERVICE: u16 = 905;
/// Loss of lower layer connectivity.
const LOWER_LAYER_LOST: u16 = 906;

/// A gateway that is being run.
struct Running {
    name: String,
    gateway: Gateway,
    sockets: ControlSockets,
    controllers: Controllers,
    engine: EngineHandle,
    /// Commands the engine has not taken yet.
    commands: VecDeque<carnet_gateway::media::Command>,
    observer: Observer,
    realms: Realms,
    /// How much of the queue to the engine was taken, in percent.
    behind: u32,
    /// What pinholes had turned away when it was last told, and when that was.
    tallied: (Vec<(String, Tally)>, Option<Instant>),
    /// When to make broken connections again.
    reconnect: Option<Instant>,
    courtesy: Courtesy,
    counted: Counted,
    inspected: Inspected,
    /// Contexts that outlive the process.
    survival: Option<Survival>,
    /// Pinholes that are being released.
    releasing: usize,
}

/// Other settings for a gateway that runs.
pub struct News {
    most_contexts: usize,
    realms: Vec<Realm>,
    controllers: Vec<ControlAddress>,
    facts: serde_json::Map<String, serde_json::Value>,
    tls: Option<ControlTls>,
    done: oneshot::Sender<Done>,
}

/// What the gateway of that name makes of another configuration.
pub fn renewal(
    name: &str,
    news: mpsc::Sender<News>,
) -> impl Fn(&Whole) -> Result<Ready, String> + Send + Sync + 'static {
    let name = name.to_owned();
    move |whole| {
        let section = whole.gateway.get(&name).ok_or("it is not there any more")?.as_ref();
        let names: Vec<_> = section.owners(&name).iter().map(|owner| owner.name().to_owned()).collect();
        let tls = section.control_tls.as_ref();
        let tls = tls.map(|tls| control::tls(tls.as_ref(), Some(&name), &names)).transpose();
        let tls = tls.map_err(|e| e.to_string())?;
        let (realms, controllers) = (media::settings(&name, section).realms, section.owners(&name));
        let (facts, most_contexts) = (facts(&name, section), section.max_contexts);
        let news = news.clone();
        Ok(Ready::Told(Box::new(move || {
            let (done, outcome) = oneshot::channel();
            let told = news.try_send(News { most_contexts, realms, controllers, facts, tls, done });
            told.map_err(|_| "it is busy or has stopped")?;
            Ok(outcome)
        })))
    }
}

/// What an administrator waits for.
#[derive(Default)]
struct Inspected {
    /// What is constant about the gateway.
    facts: serde_json::Map<String, serde_json::Value>,
    next: u64,
    /// Questions on their way.
    waiting: HashMap<u64, (Question, Look)>,
}

/// Opens sockets and starts the task. `local` are the ends of controllers in this process.
pub fn start(
    name: &str,
    section: &GatewaySection,
    local: HashMap<String, LocalEnd>,
    asked: (Questions, mpsc::Receiver<News>),
    observer: Observer,
    token: Token,
) -> Start<tokio::task::JoinHandle<()>> {
    raise_descriptor_limit();
    let engine = engine(name, section).map_err(|e| StartError::new("gateway", name, e))?;
    start_on(engine, (name, section), local, asked, observer, token)
}

fn start_on(
    (engine, media): (EngineHandle, Events),
    (name, section): (&str, &GatewaySection),
    mut local: HashMap<String, LocalEnd>,
    asked: (Questions, mpsc::Receiver<News>),
    observer: Observer,
    token: Token,
) -> Start<tokio::task::JoinHandle<()>> {
    let fail = |e: &dyn std::fmt::Display| StartError::new("gateway", name, e);
    let addresses = &section.owners(name);
    let from = section.control_from.as_ref().map(|from| from.as_ref().0.clone()).unwrap_or_default();
    // A port that is to be the same always is taken at once, so that nobody else has it.
    let datagrams = addresses.iter().any(|a| a.proto() == Some(ControlProto::Udp));
    let fixed = from.iter().filter(|_| datagrams);
    let fixed = fixed.map(|from| ControlListen { transport: ControlTransport::Udp, address: *from });
    let names: Vec<_> = addresses.iter().map(|address| address.name().to_owned()).collect();
    let tls = section.control_tls.as_ref();
    let tls = tls.map(|tls| control::tls(tls.as_ref(), Some(name), &names)).transpose();
    let authentication = section.control_authentication.as_ref();
    let authentication = authentication.map(|a| control::authentication(a.as_ref())).transpose();
    let control = ControlConfig {
        mid: Some(MId::domain(name.to_owned())),
        listen: fixed.collect(),
        encoding: encoding(section.control_encoding),
        tls: tls.map_err(|e| fail(&e))?,
        authentication: authentication.map_err(|e| fail(&e))?,
        protected: section.control_protected,
        watch: Some(control_watch(name, &observer)),
        ..ControlConfig::default()
    };
    let (sockets, events) = ControlSockets::open(control, &token).map_err(|e| fail(&e))?;
    for proto in addresses.iter().filter_map(ControlAddress::proto) {
        control::transport(proto).available().map_err(|e| fail(&e))?;
    }
    let mut controllers = Controllers::new(from, control::registered_port(section.control_encoding));
    for address in addresses {
        let inside = match address {
            ControlAddress::Local(border) => local.remove(border).map(|end| sockets.attach(end)),
            ControlAddress::Remote { .. } => None,
        };
        controllers.add(address, inside);
    }
    let reliable = addresses.iter().all(ControlAddress::is_reliable);
    let inside = |a: &ControlAddress| matches!(a, ControlAddress::Local(_));
    let transport = match addresses.iter().all(inside) {
        true => Transport::Channel,
        false if reliable => Transport::Reliable,
        false => Transport::Datagram,
    };
    let mids = controllers.mids();
    let association = control::association(
        transport,
        section.control_encoding,
        section.control_authentication.is_some(),
        section.control_datagram.as_ref().map(|octets| *octets.as_ref()),
        section.control_segments,
    );
    let mut registration = registration::Config::new(MId::domain(name.to_owned()), mids, association);
    registration.profile = Some(profile(section.role));
    registration.longest_wait = match transport {
        Transport::Channel => Duration::ZERO,
        _ => Duration::from_millis(section.restart_wait.into()),
    };
    if let Some(seconds) = &section.control_patience {
        let patience = Duration::from_secs((*seconds.as_ref()).into());
        (registration.silence, registration.again) = (Some(patience), patience);
    }
    let mut config = Config::new(registration);
    let mut limits = Limits::default();
    limits.contexts = section.max_contexts;
    if section.role == GatewayRole::Mrfp {
        config.function = Function::Conference;
        limits.terminations = MOST_IN_CONFERENCE;
    }
    config.limits = limits;
    config.realms = section.realm.keys().cloned().collect();
    config.survives = section.state.is_some();
    let now = Instant::now();
    let mut gateway = Gateway::new(config, &mut OsRandom, now, SystemTime::now());
    let state = section.state.as_ref().map(|state| Survival::open(name, state.as_ref())).transpose();
    let (mut survival, before) = state.map_err(|e| fail(&e))?.unzip();
    let before = before.unwrap_or_default();
    if survival.as_mut().is_some_and(|survival| survival.restore(&mut gateway, &before, now)) {
        let mut mids = controllers.mids().into_iter();
        let last = mids.find(|mid| Some(mid.to_string()) == before.controller);
        gateway.start_again(now, last);
    } else {
        gateway.start(now, COLD_BOOT);
    }
    let addresses = section.realm.iter().map(|(realm, section)| {
        let section = section.as_ref();
        let v4 = section.v4.map(IpAddr::from).into_iter();
        (realm.clone(), v4.chain(section.v6.map(IpAddr::from)).collect())
    });
    let realms = Realms::new(addresses, now);
    let counted = Counted::new("gateway", name, observer.clone());
    let running = Running {
        name: name.to_owned(),
        gateway,
        sockets,
        controllers,
        engine,
        commands: VecDeque::new(),
        observer,
        realms,
        behind: 0,
        tallied: (Vec::new(), None),
        reconnect: None,
        inspected: Inspected { facts: facts(name, section), ..Inspected::default() },
        courtesy: Courtesy::new(now),
        counted,
        survival,
        releasing: 0,
    };
    Ok(tokio::spawn(running.run(events, media, asked, token)))
}

/// What is constant about a gateway, for administrators.
fn facts(name: &str, section: &GatewaySection) -> serde_json::Map<String, serde_json::Value> {
    let role = match section.role {
        GatewayRole::ImsAgw => "ims-agw",
        GatewayRole::Trgw => "trgw",
        GatewayRole::Mrfp => "mrfp",
    };
    let controllers: Vec<_> = section.owners(name).iter().map(ToString::to_string).collect();
    let realms: Vec<_> = section.realm.keys().cloned().collect();
    let mut facts = serde_json::Map::new();
    facts.insert("gateway".into(), name.into());
    facts.insert("role".into(), role.into());
    facts.insert("profile".into(), profile(section.role).to_string().into());
    facts.insert("controllers".into(), controllers.into());
    facts.insert("realms".into(), realms.into());
    facts.insert("most_contexts".into(), section.max_contexts.into());
    facts
}

/// The profile a gateway of that role registers with.
pub fn profile(role: GatewayRole) -> Profile {
    match role {
        GatewayRole::ImsAgw => profile::IQ.profile(),
        GatewayRole::Trgw => profile::IX.profile(),
        GatewayRole::Mrfp => profile::MP.profile(),
    }
}

impl Running {
    /// Until it has left, and its engine has tidied up: what it has in the kernel outlives a process that does not wait.
    async fn run(
        mut self,
        events: mpsc::Receiver<ControlEvent>,
        mut media: Events,
        asked: (Questions, mpsc::Receiver<News>),
        token: Token,
    ) {
        // Who ends the process waits as long as this is there.
        let _token = token.clone();
        self.serve(events, &mut media, asked, token).await;
        let name = std::mem::take(&mut self.name);
        // The last handle: the engine's threads end.
        drop(self);
        let ended = async { while media.recv().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
            tracing::warn!(gateway = name, "the media engine has not ended in time");
        }
    }

    async fn serve(
        &mut self,
        mut events: mpsc::Receiver<ControlEvent>,
        media: &mut Events,
        (mut questions, mut news): (Questions, mpsc::Receiver<News>),
        mut token: Token,
    ) {
        /// Inputs taken before what they cause goes out.
        const BATCH: usize = 32;
        self.flush();
        let mut end: Option<Ending> = None;
        let mut engine_runs = true;
        loop {
            let own = [self.reconnect, Some(self.realms.due)];
            let timeout = own.into_iter().flatten().chain(self.gateway.poll_timeout()).min();
            let engine = self.engine.clone();
            let command = self.commands.front().cloned();
            tokio::select! {
                // An engine that does not keep up slows the controller down.
                event = events.recv(), if self.commands.len() < MOST_COMMANDS => match event {
                    Some(event) => {
                        self.control(event);
                        for _ in 1..BATCH {
                            let Ok(event) = events.try_recv() else { break };
                            self.control(event);
                        }
                    }
                    None => return,
                },
                event = media.recv(), if engine_runs => match event {
                    Some(event) => {
                        self.media(event);
                        for _ in 1..BATCH {
                            let Some(event) = media.try_recv() else { break };
                            self.media(event);
                        }
                    }
                    None => engine_runs = false,
                },
                sent = send(&engine, command), if engine_runs => {
                    self.commands.pop_front();
                    engine_runs = sent.is_ok();
                }
                () = until(timeout) => self.timeout(),
                Some(question) = questions.recv() => self.asked(question),
                Some(news) = news.recv() => self.renew(news),
                deadline = token.started(), if end.is_none() => {
                    let ending = Ending::of_gateway(deadline);
                    let left = ending.hang_up.saturating_duration_since(tokio::time::Instant::now());
                    self.gateway.retire(Instant::now(), OUT_OF_SERVICE, left);
                    end = Some(ending);
                }
                () = Ending::due(&end) => match end.as_mut() {
                    Some(end) if !end.hung_up => self.leave(end),
                    _ => return,
                },
            }
            if !engine_runs && end.as_ref().is_none_or(|end| !end.hung_up) {
                end = Some(self.fail());
            }
            if let Some(end) = end.as_mut().filter(|end| !end.hung_up && self.gateway.is_idle()) {
                self.leave(end);
            }
            self.flush();
            // What has been sent may still be in this process: only the answer says that it arrived.
            let idle = self.gateway.is_idle() || !engine_runs;
            let released = self.releasing == 0 || !engine_runs;
            if end.as_ref().is_some_and(|end| end.hung_up) && idle && released && self.has_left() {
                return;
            }
        }
    }

    /// Tells the controller, which is not waited for long: it may have gone before.
    fn leave(&mut self, end: &mut Ending) {
        self.gateway.leave(Instant::now(), OUT_OF_SERVICE);
        // What would go on without us is over too: its controller ends it.
        if self.survival.is_some() {
            self.gateway.let_go(Instant::now());
        }
        end.hung_up = true;
        end.give_up = end.give_up.min(tokio::time::Instant::now() + LAST_WORDS);
    }

    /// The engine is gone, or a thread of it, and with it what it moved. The controller is told at once, and
    /// takes its calls and rooms elsewhere; whoever runs this process starts it again.
    fn fail(&mut self) -> Ending {
        tracing::error!(gateway = self.name, "the media engine stopped");
        self.gateway.leave(Instant::now(), MALFUNCTION);
        let now = tokio::time::Instant::now();
        Ending { hang_up: now, give_up: now + LAST_WORDS, hung_up: true }
    }

    /// Whether the controller has heard that we leave, or there is no way to it.
    fn has_left(&self) -> bool {
        let registration = self.gateway.registration();
        let reachable = registration.controller().is_some_and(|mid| self.controllers.is_reachable(mid));
        !registration.is_leaving() || !reachable
    }

    fn control(&mut self, event: ControlEvent) {
        let now = Instant::now();
        match event {
            ControlEvent::Message { peer, message } => self.message(now, peer, message),
            ControlEvent::Undecodable { peer, error } => {
                // Anybody can write a controller's address on a datagram: so few are answered.
                let mut answered = || peer.is_reliable() || self.courtesy.answers(now);
                if self.controllers.knows(peer) {
                    if answered() {
                        self.gateway.handle_undecodable(now, &error);
                    }
                } else {
                    self.stranger(now, peer, &error);
                }
            }
            ControlEvent::Refused { .. } => {}
            ControlEvent::Closed { peer } => {
                if self.controllers.closed(peer) {
                    self.reconnect = Some(now + RECONNECT);
                }
            }
            ControlEvent::Resolved { name, addresses, until } => {
                if self.controllers.resolved(&name, &addresses, until) {
                    self.reconnect = Some(now);
                } else {
                    self.reconnect = Some(now + RECONNECT);
                }
            }
        }
    }

    /// What comes in a controller's name and not from its address changes nothing, and is not answered:
    /// the name in it is anybody's to write (RFC 3525 §10.1).
    fn message(&mut self, now: Instant, peer: ControlPeer, message: Message) {
        let given = self.gateway.registration().service_change_address();
        if !self.controllers.admits(&message, peer, given) {
            let named = self.controllers.mids().contains(&message.mid);
            self.stranger(now, peer, &format!("it writes as {}", message.mid));
            if named || !self.courtesy.answers(now) {
                return;
            }
            // Perhaps a controller that is not in our file: it is told.
            if let Some(refusal) = self.gateway.handle_message(now, message) {
                let _ = self.sockets.send(peer, refusal);
            }
            return;
        }
        self.counted.heard(now, &plain(&message.mid), &message);
        let refusal = if self.sockets.is_protected(peer) {
            self.gateway.handle_protected(now, message)
        } else {
            self.gateway.handle_message(now, message)
        };
        if let Some(refusal) = refusal
            && self.courtesy.answers(now)
        {
            let _ = self.sockets.send(peer, refusal);
        }
    }

    fn stranger(&mut self, now: Instant, peer: ControlPeer, why: &dyn std::fmt::Display) {
        if self.courtesy.tells(now) {
            let from = peer.address();
            tracing::warn!(gateway = self.name, ?from, %why, "a controller that is not ours");
        }
    }

    fn renew(&mut self, news: News) {
        let News { most_contexts, realms, controllers, facts, tls, done } = news;
        let now = Instant::now();
        self.gateway.set_most_contexts(most_contexts);
        if let Some(tls) = tls {
            self.sockets.renew_tls(tls);
        }
        // Whom the controller sends there from now on finds the realm, and whom it sent before finds it gone.
        let outcome = self.engine.renew_realms(&realms);
        if outcome.is_ok() {
            let names: Vec<_> = realms.iter().map(|realm| realm.name.clone()).collect();
            self.gateway.set_realms(now, &names);
            self.realms.renew(realms.iter().map(|realm| {
                let v4 = realm.v4.map(IpAddr::from).into_iter();
                (realm.name.clone(), v4.chain(realm.v6.map(IpAddr::from)).collect())
            }));
        }
        let current = self.gateway.registration().controller().cloned();
        self.controllers.renew(&self.sockets, &controllers, current.as_ref());
        let named = controllers.iter().map(|address| MId::domain(address.name().to_owned())).collect();
        if self.gateway.set_controllers(now, named) {
            let contexts = self.gateway.contexts();
            tracing::info!(
                gateway = self.name,
                contexts,
                "leaves its controller when that has nothing here any more"
            );
        }
        self.inspected.facts = facts;
        // Who does not wait any more has said so.
        let _ = done.send(outcome.map_err(|error| {
            let path = ["gateway", &self.name, "realm"].map(str::to_owned).to_vec();
            vec![Undone { path, why: error.to_string() }]
        }));
    }

    fn asked(&mut self, question: Question) {
        // One who has stopped waiting needs no answer.
        if matches!(question.ask, Ask::Alive) {
            // To knock for one who waits no more would be to knock twice at once.
            if question.answer.is_closed() {
                return;
            }
            let turns = self.engine.knock();
            let sign = turns.then_some(serde_json::Value::Null).ok_or("its media engine does not turn");
            let _ = question.answer.send(sign.map_err(str::to_owned));
            return;
        }
        if let Ask::Retire { left } = question.ask {
            match left {
                Some(left) => self.gateway.retire(Instant::now(), OUT_OF_SERVICE, left),
                None => self.gateway.resume(Instant::now()),
            }
            let _ = question.answer.send(Ok(serde_json::json!({ "gateway": self.name })));
            return;
        }
        let Ask::Audit { from, .. } = question.ask else {
            let _ = question.answer.send(Ok(self.summary()));
            return;
        };
        let mut ids: Vec<u32> = self.gateway.context_ids(from).take(PAGE + 1).collect();
        let next = (ids.len() > PAGE).then(|| ids.pop()).flatten();
        self.look(question, Look::new(ids, next));
    }

    /// Asks what is not told yet, or tells the administrator.
    fn look(&mut self, question: Question, mut look: Look) {
        let Some(actions) = look.question() else {
            let mut answer = look.told();
            self.attribute(&mut answer);
            let _ = question.answer.send(Ok(answer));
            return;
        };
        let number = self.inspected.next;
        self.inspected.next += 1;
        match self.gateway.audit(Instant::now(), number, actions) {
            Ok(()) => drop(self.inspected.waiting.insert(number, (question, look))),
            Err(verb) => drop(question.answer.send(Err(format!("{verb:?} is no audit")))),
        }
    }

    /// The answer to an administrator's audit.
    fn inspected(&mut self, number: u64, body: &carnet_h248::ReplyBody) {
        let Some((question, mut look)) = self.inspected.waiting.remove(&number) else { return };
        match look.answered(body) {
            Ok(()) => self.look(question, look),
            Err(why) => drop(question.answer.send(Err(why))),
        }
    }

    /// Says of each stream what moves its octets, and why.
    fn attribute(&self, answer: &mut serde_json::Value) {
        let number = |value: &serde_json::Value, member: &str| value.get(member)?.as_u64();
        for context in answer.get_mut("contexts").and_then(|c| c.as_array_mut()).into_iter().flatten() {
            let Some(id) = number(context, "context").and_then(|id| u32::try_from(id).ok()) else { continue };
            let terminations = context.get_mut("terminations").and_then(|t| t.as_array_mut());
            for termination in terminations.into_iter().flatten() {
                let name = termination
                    .get("id")
                    .and_then(|id| id.as_str())
                    .map(|id| TerminationId::new(id.to_owned()));
                let streams = termination.get_mut("streams").and_then(|s| s.as_array_mut());
                for stream in streams.into_iter().flatten() {
                    let place = number(stream, "id").and_then(|id| u16::try_from(id).ok());
                    let known = name.as_ref().zip(place);
                    let engine = known.and_then(|(name, stream)| self.gateway.engine(id, name, stream));
                    if let Some(members) = stream.as_object_mut() {
                        members.insert("engine".into(), engine.map(|(engine, _)| engine.name()).into());
                        members.insert("engine_reason".into(), engine.map(|(_, why)| why.name()).into());
                    }
                }
            }
        }
    }

    fn summary(&self) -> serde_json::Value {
        let registration = self.gateway.registration();
        let controller = registration.controller();
        let state = match (registration.is_registered(), registration.is_leaving()) {
            (true, _) => "registered",
            (false, true) => "leaving",
            (false, false) => "looking for a controller",
        };
        let mut summary = self.inspected.facts.clone();
        summary.insert("state".into(), state.into());
        summary.insert("controller".into(), controller.map(ToString::to_string).into());
        summary.insert("contexts".into(), self.gateway.contexts().into());
        let counts = |tally: Tally| -> serde_json::Map<_, _> {
            tally.counts().into_iter().map(|(why, count)| (why.to_owned(), count.into())).collect()
        };
        let tallies = self.engine.tallies().into_iter();
        let turned_away: serde_json::Map<_, _> =
            tallies.map(|(realm, tally)| (realm, counts(tally).into())).collect();
        summary.insert("turned_away".into(), turned_away.into());
        let pools = self.engine.pools().into_iter();
        let ports: serde_json::Map<_, _> = pools
            .map(|(realm, Pool { free, used, resting })| {
                (realm, serde_json::json!({ "free": free, "used": used, "resting": resting }))
            })
            .collect();
        summary.insert("ports".into(), ports.into());
        summary.insert("relayed".into(), self.engine.passed().into());
        let mut engines: BTreeMap<&str, serde_json::Map<_, _>> = BTreeMap::new();
        for ((engine, why), count) in self.gateway.engines() {
            engines.entry(engine.name()).or_default().insert(why.name().to_owned(), count.into());
        }
        let length = self.commands.len();
        let engine = Waiting { length, most: MOST_COMMANDS, lost: 0 };
        let queues = serde_json::json!({
            "control-in": held_sip::queue(self.sockets.waiting()),
            "engine": held_sip::queue(engine),
        });
        summary.insert("queues".into(), queues);
        let memory = self.engine.memory();
        let memory = serde_json::json!({ "held": memory.held, "most": memory.most, "scarce": memory.scarce });
        summary.insert("memory".into(), memory);
        summary.insert("engines".into(), serde_json::json!(engines));
        let (lacks, tally) = (self.engine.lacks(), self.engine.kernel_tally());
        let kernel = serde_json::json!({
            "lacks": lacks,
            "carried": tally.carried,
            "connections": tally.connections,
            "octets": tally.octets,
            "refused": tally.refused,
            "kept": tally.kept,
            "overdue": tally.overdue,
            "put_back": tally.put_back,
            "lost": tally.lost,
        });
        summary.insert("kernel".into(), kernel);
        summary.into()
    }

    fn media(&mut self, event: carnet_gateway::media::Event) {
        let released = matches!(event, carnet_gateway::media::Event::Released { .. });
        self.releasing = self.releasing.saturating_sub(released.into());
        (self.observer)(Seen::Media { gateway: &self.name, event: &event });
        self.gateway.handle_media(Instant::now(), event);
    }

    fn timeout(&mut self) {
        let now = Instant::now();
        self.gateway.handle_timeout(now);
        for (realm, up) in self.realms.look(now) {
            if up {
                tracing::info!(gateway = self.name, realm, "the address of the IP realm is back");
                self.gateway.interface_up(now, &realm);
            } else {
                tracing::warn!(gateway = self.name, realm, "this host has no address of the IP realm");
                self.gateway.interface_down(now, &realm, LOWER_LAYER_LOST);
            }
        }
        self.tell_turned_away(now);
        if self.reconnect.is_some_and(|at| at <= now) {
            self.reconnect = None;
            self.gateway.connection_is_back(now);
        }
    }

    /// Says now and then whom the pinholes have turned away, if that has changed.
    fn tell_turned_away(&mut self, now: Instant) {
        if self.tallied.1.is_some_and(|at| now.saturating_duration_since(at) < TALLY_EVERY) {
            return;
        }
        let tallies = self.engine.tallies();
        if tallies != self.tallied.0 {
            for (realm, tally) in tallies.iter().filter(|tally| !self.tallied.0.contains(tally)) {
                if *tally != Tally::default() {
                    tracing::info!(gateway = self.name, realm, "turned away since the start: {tally:?}");
                }
            }
            self.tallied = (tallies, Some(now));
        }
    }

    fn flush(&mut self) {
        let behind = self.commands.len().saturating_mul(100) / MOST_COMMANDS;
        let behind = u32::try_from(behind).unwrap_or(u32::MAX);
        if behind != self.behind {
            self.behind = behind;
            self.gateway.set_load(Instant::now(), behind);
        }
        // First the engine: who hears from the controller of an address may connect to it at once.
        while let Some(command) = self.gateway.poll_command() {
            let release = matches!(command, carnet_gateway::media::Command::Release { .. });
            self.releasing += usize::from(release);
            self.commands.push_back(command);
        }
        // Once it has stopped its events end, and the gateway leaves.
        let _ = self.engine.try_send_all(&mut self.commands);
        if let Some(survival) = &mut self.survival {
            survival.write(&mut self.gateway, Instant::now());
        }
        while let Some((controller, message)) = self.gateway.poll_transmit() {
            let registration = self.gateway.registration();
            let ours = registration.controller() == Some(&controller);
            let given = registration.service_change_address().filter(|_| ours);
            self.counted.sent(Instant::now(), &plain(&controller), &message);
            if self.controllers.send(&self.sockets, &controller, message, given) == Err(NoWay::Failed) {
                self.reconnect = Some(Instant::now() + RECONNECT);
            }
        }
        while let Some(event) = self.gateway.poll_event() {
            if let carnet_gateway::Event::Audited { number, body } = &event {
                self.inspected(*number, body);
                continue;
            }
            if let Event::Unreachable { controller } | Event::ControlLost { controller } = &event {
                self.controllers.unreachable(&self.sockets, controller);
            }
            (self.observer)(Seen::Gateway { gateway: &self.name, event: &event });
        }
        let (contexts, idle) = (self.gateway.contexts(), self.gateway.is_idle());
        (self.observer)(Seen::Holds { gateway: &self.name, contexts, idle });
    }
}

/// Gives one command to the engine; waits for ever if there is none.
async fn send(
    engine: &EngineHandle,
    command: Option<carnet_gateway::media::Command>,
) -> Result<(), carnet_net::media::Stopped> {
    match command {
        Some(command) => engine.send(command).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::controller::{self, Controller, GatewayConfig, LostReason};
    use carnet_net::h248::local_pair;
    use std::sync::Arc;

    const MRFP: &str = "role = \"mrfp\"\ncontrollers = [\"local:conf\"]\nrestart-wait = 0\n\
                        [realm.core]\nv4 = \"127.0.0.1\"\nports = \"40000-40009\"\n";

    /// Its threads end while the gateway is in service.
    #[tokio::test]
    async fn a_gateway_whose_engine_ends_says_so_and_goes() {
        let section: GatewaySection = toml::from_str(MRFP).unwrap();
        let (handle, events) = engine("mrfp", &section).unwrap();
        // The handle of another engine: this one ends when the last of its own is gone.
        let (other, _others) = engine("mrfp", &section).unwrap();
        let ((above, below), (_drain, token)) = (local_pair(16), carnet_net::drain());
        let (_asking, questions) = mpsc::channel(1);
        let local = HashMap::from([("conf".to_owned(), below)]);
        let observer: Observer = Arc::new(|_| {});
        let named = ("mrfp", &section);
        let (_news, news) = mpsc::channel(1);
        let asked = (questions, news);
        let task = start_on((other, events), named, local, asked, observer, token.clone()).unwrap();

        let config = ControlConfig { mid: Some(MId::domain("conf")), ..ControlConfig::default() };
        let (sockets, mut heard) = ControlSockets::open(config, &token).unwrap();
        let peer = sockets.attach(above);
        let gateway = GatewayConfig::new("mrfp", MId::domain("mrfp"), Transport::Channel);
        let config = controller::Config::new(MId::domain("conf"), vec![gateway]);
        let mut controller = Controller::new(config, &mut OsRandom, Instant::now(), SystemTime::now());
        let mut handle = Some(handle);
        let lost = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                if let Some(ControlEvent::Message { message, .. }) = heard.recv().await {
                    controller.handle_message(Instant::now(), "mrfp", message);
                }
                while let Some((_, message)) = controller.poll_transmit() {
                    sockets.send(peer, message).unwrap();
                }
                while let Some(event) = controller.poll_event() {
                    match event {
                        controller::Event::Registered { .. } => drop(handle.take()),
                        controller::Event::Lost { reason, .. } => return reason,
                        _ => {}
                    }
                }
            }
        });
        assert_eq!(lost.await.expect("in time"), LostReason::Forced);
        tokio::time::timeout(Duration::from_secs(30), task).await.expect("in time").unwrap();
    }
}
