//! An MRFC as a task: SIP sockets, control sockets, the key server, the store, the focus.

mod settings;
mod wishes;

use super::control::{self, Courtesy};
use super::counted::Counted;
use super::doors::{self, Doors};
use super::question::{Ask, Question, Questions};
use super::shelf::Shelf;
use super::ways::Ways;
use super::{Ending, Observer, Seen, Start, StartError, control_watch, encoding, held_sip};
use crate::reload::{Done, Ready, Undone};
use crate::ue::kms::KmsLink;
use bytes::Bytes;
use carnet_conference::{DialogsSoFar, Event, FetchError, FetchId, Focus, GatewayName, Origin, Out, Place};
use carnet_h248::{ErrorDescriptor, MId, Message};
use carnet_net::h248::{
    ControlConfig, ControlEvent, ControlListen, ControlPeer, ControlSockets, ControlTls, LocalEnd,
};
use carnet_net::sip::{Listen, SipConfig, SipEvent, SipMachine, SipSockets};
use carnet_net::{PooledRandom, Token, until};
use carnet_ops::config::{ConferenceSection, Config as Whole};
use carnet_sip::{Answer, Hop, Input, Query, QueryId, Transmit, Transport};
use carnet_tls::CertificateContext;
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

pub use settings::{account, check, kms_link, kms_trust};

/// Answers of the key server that may wait for the focus, which asks for no more than its limits say.
const ANSWERS: usize = 64;

type Fetched = (FetchId, Result<Vec<u8>, FetchError>);

/// A conference server that is being run.
struct Running {
    name: String,
    machine: Machine,
    sip: SipSockets,
    control: ControlSockets,
    doors: Doors,
    ways: Ways,
    courtesy: Courtesy,
    counted: Counted,
    kms: Option<KmsLink>,
    answers: (mpsc::Sender<Fetched>, mpsc::Receiver<Fetched>),
    shelf: Option<Shelf>,
    /// What the SIP sockets show.
    tls: Option<CertificateContext>,
    /// Where the file has it listen.
    listen: Vec<Listen>,
    /// Sockets that the file names no more, since when, and the dialogs that were there then; when it is next seen whether
    /// one of them goes on.
    past: (Vec<(Listen, Instant, DialogsSoFar)>, Option<Instant>),
}

/// How long a socket stays at least that the file names no more: what is under way is answered by it (RFC 3261 §17.1.2.2).
const LINGERS: Duration = Duration::from_secs(32);

/// How often it is seen whether it is needed.
const LOOKS: Duration = Duration::from_secs(1);

/// Other settings for a conference server that runs.
pub struct News {
    config: carnet_conference::Config,
    kms: Option<KmsLink>,
    sip: Option<CertificateContext>,
    control: Option<ControlTls>,
    listen: Vec<Listen>,
    locals: Vec<(Transport, SocketAddr)>,
    /// Where media servers are to find it.
    doors: Vec<ControlListen>,
    done: oneshot::Sender<Done>,
}

/// What the conference server of that name makes of another configuration.
pub fn renewal(
    name: &str,
    news: mpsc::Sender<News>,
) -> impl Fn(&Whole) -> Result<Ready, String> + Send + Sync + 'static {
    let name = name.to_owned();
    move |whole| {
        let section = whole.conference.get(&name).ok_or("it is not there any more")?.as_ref();
        let config = settings::configure(&name, whole, section).map_err(|wrong| wrong.to_string())?;
        carnet_conference::Focus::check(&config).map_err(|e| e.to_string())?;
        let kms = section.kms.as_ref().map(|kms| settings::kms_link(kms.as_ref())).transpose();
        let kms = kms.map_err(|wrong| wrong.to_string())?;
        let sip = section.tls.as_ref().map(super::tls::context_of).transpose()?;
        let settings = section.control.as_ref();
        let control = settings.tls.as_ref().map(|tls| control::tls(tls.as_ref(), None, &settings.gateways));
        let (control, news) = (control.transpose().map_err(|e| e.to_string())?, news.clone());
        let (listen, locals, doors) = (listens(section), settings::locals(section), doors::named(settings));
        Ok(Ready::Told(Box::new(move || {
            let (done, outcome) = oneshot::channel();
            let told = news.try_send(News { config, kms, sip, control, listen, locals, doors, done });
            told.map_err(|_| "it is busy or has stopped")?;
            Ok(outcome)
        })))
    }
}

/// The focus as the SIP sockets see it; what is for gateways waits aside.
struct Machine {
    name: String,
    focus: Focus,
    to_gateways: Vec<(GatewayName, Message)>,
    /// Where we are, for requests that name only where they go.
    locals: Vec<(Transport, SocketAddr)>,
    observer: Observer,
}

/// Opens sockets and the store and starts the task. `local` are the ends of gateways in this process.
pub fn start(
    name: &str,
    whole: &Whole,
    section: &ConferenceSection,
    local: HashMap<String, LocalEnd>,
    asked: (Questions, mpsc::Receiver<News>),
    observer: Observer,
    token: Token,
) -> Start<tokio::task::JoinHandle<()>> {
    let fail = |e: &dyn std::fmt::Display| StartError::new("conference", name, e);
    let config = settings::configure(name, whole, section).map_err(|wrong| fail(&wrong))?;
    let listen = listens(section);
    let tls = section.tls.as_ref().map(super::tls::sip).transpose().map_err(|e| fail(&e))?;
    let context = tls.as_ref().map(|tls| tls.context.clone());
    let (sip, sip_events) =
        SipSockets::open(SipConfig { listen: listen.clone(), tls, ..SipConfig::default() }, &token)
            .map_err(|e| fail(&e))?;
    let settings = section.control.as_ref();
    let named = doors::named(settings);
    let tls = settings.tls.as_ref().map(|tls| control::tls(tls.as_ref(), None, &settings.gateways));
    let authentication = settings.authentication.as_ref();
    let authentication = authentication.map(|a| control::authentication(a.as_ref())).transpose();
    let control = ControlConfig {
        mid: Some(MId::domain(name.to_owned())),
        listen: named.clone(),
        encoding: encoding(settings.encoding),
        tls: tls.transpose().map_err(|e| fail(&e))?,
        authentication: authentication.map_err(|e| fail(&e))?,
        protected: settings.protected,
        watch: Some(control_watch(name, &observer)),
        ..ControlConfig::default()
    };
    let (control, control_events) = ControlSockets::open(control, &token).map_err(|e| fail(&e))?;
    let kms = section.kms.as_ref().map(|kms| settings::kms_link(kms.as_ref())).transpose();
    let kms = kms.map_err(|wrong| fail(&wrong))?;
    let (now, wall) = (Instant::now(), SystemTime::now());
    let mut focus = Focus::new(config, Box::new(PooledRandom::default()), now, wall).map_err(|e| fail(&e))?;
    let mut shelf = None;
    if let Some(path) = &section.store {
        let (opened, records) = Shelf::open(name, path).map_err(|e| fail(&e))?;
        let (kept, skipped) = (records.len(), focus.restore(now, wall, records));
        if kept > 0 {
            tracing::info!(conference = name, kept, skipped, "rooms are taken up again");
        }
        shelf = Some(opened);
    }
    let counted = Counted::new("conference", name, observer.clone());
    let mut running = Running {
        name: name.to_owned(),
        machine: Machine {
            name: name.to_owned(),
            focus,
            to_gateways: Vec::new(),
            locals: settings::locals(section),
            observer,
        },
        sip,
        doors: Doors::new(named, &control),
        control,
        ways: Ways::default(),
        courtesy: Courtesy::new(now),
        counted,
        kms,
        answers: mpsc::channel(ANSWERS),
        shelf,
        tls: context,
        listen,
        past: (Vec::new(), None),
    };
    for (gateway, end) in local {
        let peer = running.control.attach(end);
        running.ways.set(gateway.as_str().into(), peer);
        running.machine.focus.gateway_connected(now, wall, &gateway);
    }
    Ok(tokio::spawn(running.run(sip_events, control_events, asked, token)))
}

impl Running {
    fn renew(&mut self, news: News) {
        let News { config, kms, sip, control, listen, locals, doors, done } = news;
        let (now, wall) = (Instant::now(), SystemTime::now());
        // New sockets first: what is not to be reached at the new place stays reached at the old one.
        let opened = match self.open_sockets(&listen) {
            Ok(opened) => opened,
            Err(why) => return drop(done.send(Err(vec![why.into()]))),
        };
        let mut undone = Vec::new();
        let through = self.doors.open(&mut self.control, &doors).map_err(|why| {
            let path = ["conference", &self.name, "control", "listen"].map(str::to_owned).to_vec();
            undone.push(Undone { path, why });
        });
        match self.machine.focus.reconfigure(now, wall, config) {
            Ok(()) => {
                self.kms = kms;
                if let (Some(held), Some(new)) = (&self.tls, &sip) {
                    held.renew(new);
                }
                if let Some(tls) = control {
                    self.control.renew_tls(tls);
                }
                if let Ok(new) = through {
                    self.doors.renew(&doors, new);
                }
                self.machine.locals = locals;
                self.move_to(now, listen);
            }
            Err(error) => {
                opened.into_iter().for_each(|listen| self.sip.stop_listening(listen));
                self.doors.give_up(&mut self.control, &through.unwrap_or_default());
                undone = vec![error.to_string().into()];
            }
        }
        let outcome = if undone.is_empty() { Ok(()) } else { Err(undone) };
        // Who does not wait any more has said so.
        let _ = done.send(outcome);
    }

    /// Opens what is not open yet.
    ///
    /// # Errors
    /// One of them cannot be had: nothing is open that was not.
    fn open_sockets(&mut self, wanted: &[Listen]) -> Result<Vec<Listen>, String> {
        let mut opened = Vec::new();
        if *wanted == self.listen {
            return Ok(opened);
        }
        let there = self.sip.listening();
        for listen in wanted.iter().filter(|wanted| !there.contains(wanted)) {
            if let Err(error) = self.sip.listen(*listen) {
                opened.into_iter().for_each(|listen| self.sip.stop_listening(listen));
                return Err(error.to_string());
            }
            opened.push(*listen);
        }
        Ok(opened)
    }

    /// The file has it listen there from now on.
    fn move_to(&mut self, now: Instant, listen: Vec<Listen>) {
        if listen == self.listen {
            return;
        }
        let so_far = self.machine.focus.dialogs_so_far();
        self.past.0.retain(|(past, ..)| !listen.contains(past));
        for there in self.sip.listening() {
            let known = self.past.0.iter().any(|(past, ..)| *past == there);
            if !known && !listen.contains(&there) {
                self.past.0.push((there, now, so_far));
            }
        }
        self.listen = listen;
        self.past.1 = (!self.past.0.is_empty()).then(|| now + LOOKS);
    }

    /// Closes the sockets of before that no dialog needs any more.
    fn leave_sockets(&mut self, now: Instant) {
        let (sip, focus) = (&mut self.sip, &self.machine.focus);
        self.past.0.retain(|(listen, since, so_far)| {
            if now < *since + LINGERS || focus.goes_on(*so_far) {
                return true;
            }
            sip.stop_listening(*listen);
            let Listen { transport, address } = listen;
            tracing::info!(conference = self.name, %transport, %address, "socket closed");
            false
        });
        self.past.1 = (!self.past.0.is_empty()).then(|| now + LOOKS);
    }

    async fn run(
        mut self,
        mut sip: mpsc::Receiver<SipEvent>,
        mut control: mpsc::Receiver<ControlEvent>,
        (mut questions, mut news): (Questions, mpsc::Receiver<News>),
        mut token: Token,
    ) {
        /// Inputs taken before what they cause is sent: bounds the work between two looks at
        /// the other queue and the timers.
        const BATCH: usize = 32;
        let mut end: Option<Ending> = None;
        self.flush();
        loop {
            tokio::select! {
                event = sip.recv() => {
                    let Some(event) = event else { return };
                    self.sip(event);
                    for _ in 1..BATCH {
                        let Ok(event) = sip.try_recv() else { break };
                        self.sip(event);
                    }
                }
                event = control.recv() => {
                    let Some(event) = event else { return };
                    self.control(event);
                    for _ in 1..BATCH {
                        let Ok(event) = control.try_recv() else { break };
                        self.control(event);
                    }
                }
                Some((id, result)) = self.answers.1.recv() => {
                    self.machine.focus.handle_fetched(Instant::now(), SystemTime::now(), id, result);
                }
                () = until(self.machine.focus.poll_timeout()) => {
                    self.machine.focus.handle_timeout(Instant::now(), SystemTime::now());
                }
                () = until(self.past.1) => self.leave_sockets(Instant::now()),
                () = until(self.doors.looks()) => self.doors.leave(&self.name, &mut self.control, &self.ways),
                Some(news) = news.recv() => self.renew(news),
                Some(question) = questions.recv() => self.asked(question),
                deadline = token.started(), if end.is_none() => {
                    end = Some(Ending::of_border(deadline));
                    self.machine.focus.retire();
                }
                () = Ending::due(&end) => match end.as_mut().map(|end| std::mem::replace(&mut end.hung_up, true)) {
                    Some(false) => self.machine.focus.end(Instant::now(), SystemTime::now()),
                    _ => return,
                },
            }
            self.flush();
            // BYE and Subtract are answered, or repeated until the deadline.
            let load = self.machine.focus.load();
            if end.is_some() && load.legs == 0 && load.requests == 0 && load.gateway_requests == 0 {
                return;
            }
            if sip.len() + control.len() > 0 {
                // Whoever reads the sockets shares the thread: what they hold has no age yet.
                tokio::task::yield_now().await;
            }
        }
    }

    fn sip(&mut self, event: SipEvent) {
        event.deliver(Instant::now(), &mut self.machine);
    }

    fn control(&mut self, event: ControlEvent) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        match event {
            ControlEvent::Message { peer, message } => self.message(now, wall, peer, message),
            ControlEvent::Undecodable { peer, error } => {
                // Anybody can write a gateway's address on a datagram: so few are answered.
                if let Some(gateway) = self.ways.gateway_at(peer)
                    && (peer.is_reliable() || self.courtesy.answers(now))
                {
                    self.machine.focus.handle_undecodable(now, wall, &gateway, &error);
                }
            }
            ControlEvent::Closed { peer } => {
                if let Some(gateway) = self.ways.gateway_at(peer) {
                    self.ways.remove(&gateway);
                    self.machine.focus.gateway_lost(now, wall, &gateway);
                }
            }
            ControlEvent::Refused { .. } | ControlEvent::Resolved { .. } => {}
        }
    }

    fn message(&mut self, now: Instant, wall: SystemTime, peer: ControlPeer, message: Message) {
        let Some(gateway) = self.machine.focus.gateway_of(&message.mid).cloned() else {
            if self.courtesy.tells(now) {
                let from = peer.address();
                tracing::warn!(conference = self.name, mid = %message.mid, ?from, "a gateway that is not ours");
            }
            // A message error is never answered, lest two sides refuse each other for ever.
            if message.transactions().is_empty() || !self.courtesy.answers(now) {
                return;
            }
            let error = ErrorDescriptor::new(402, "this gateway is not known here".to_owned());
            let refusal = Message::error(message.version, MId::domain(self.name.clone()), error);
            let _ = self.control.send(peer, refusal);
            return;
        };
        let given = self.machine.focus.service_change_address(&gateway);
        let origin = self.ways.origin(&gateway, given, peer);
        let place = match origin.place {
            carnet_border::Place::Usual => Place::Usual,
            carnet_border::Place::Other => Place::Other,
            carnet_border::Place::Outside => Place::Outside,
        };
        let origin = Origin { address: origin.address, place };
        if !self.machine.focus.admit_gateway(now, &gateway, origin, &message) {
            return;
        }
        if self.ways.heard(&gateway, peer, &message) {
            self.machine.focus.gateway_connected(now, wall, &gateway);
        }
        self.counted.heard(now, &gateway, &message);
        self.machine.focus.handle_gateway(now, wall, &gateway, message);
    }

    fn asked(&mut self, question: Question) {
        let mut answer = wishes::answer(&self.name, &mut self.machine.focus, &question.ask);
        if let (Ask::List, Ok(Value::Object(members))) = (&question.ask, &mut answer) {
            members.insert("sip".into(), held_sip::of_endpoint(self.machine.focus.sip_counts()));
            members.insert("queues".into(), held_sip::queues(&self.sip, &self.control));
        }
        // One who has stopped waiting needs no answer.
        let _ = question.answer.send(answer);
    }

    /// Sends what there is to send; whether some of it was refused at once.
    fn transmit(&mut self) -> bool {
        self.sip.flush(Instant::now(), &mut self.machine);
        let mut refused = false;
        for (gateway, message) in std::mem::take(&mut self.machine.to_gateways) {
            (self.machine.observer)(Seen::Command { gateway: &gateway, message: &message });
            self.counted.sent(Instant::now(), &gateway, &message);
            let given = self.machine.focus.service_change_address(&gateway);
            if let Some(refusal) = self.ways.send(&self.control, &gateway, message, given) {
                self.machine.focus.handle_gateway(Instant::now(), SystemTime::now(), &gateway, refusal);
                refused = true;
            }
        }
        refused
    }

    fn flush(&mut self) {
        // What one gateway may not be told goes to another.
        while self.transmit() {}
        while let Some(fetch) = self.machine.focus.poll_fetch() {
            let (link, answers) = (self.kms.clone(), self.answers.0.clone());
            let server = self.name.clone();
            tokio::spawn(async move {
                let answer = match link {
                    Some(link) => link.ask(fetch.purpose, fetch.octets).await,
                    None => Err((FetchError::Unreachable, "there is none".to_owned())),
                };
                let answer = answer.map_err(|(error, cause)| {
                    tracing::warn!(conference = server, %cause, "no answer from the key server");
                    error
                });
                // The server may have stopped meanwhile.
                let _ = answers.send((fetch.id, answer)).await;
            });
        }
        while let Some(finished) = self.machine.focus.poll_finished() {
            (self.machine.observer)(Seen::Finished { node: &self.name, finished: &finished });
        }
        while let Some(event) = self.machine.focus.poll_event() {
            match event {
                Event::Keep { key, value } => self.keep(key, Some(value)),
                Event::Forget { key } => self.keep(key, None),
                event => (self.machine.observer)(Seen::Conference { conference: &self.name, event: &event }),
            }
        }
    }

    fn keep(&self, key: String, value: Option<Vec<u8>>) {
        if let Some(shelf) = &self.shelf {
            shelf.put(key, value);
        }
    }
}

impl SipMachine for Machine {
    fn delayed(&mut self, waited: Duration) {
        self.focus.delayed(waited);
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        (self.observer)(Seen::Sip { border: &self.name, octets: &input.data, sent: false, hop: &input.hop });
        self.focus.handle_sip(now, SystemTime::now(), input);
    }

    fn transport_failed(&mut self, now: Instant, hop: &Hop) {
        self.focus.transport_failed(now, SystemTime::now(), hop);
    }

    fn handle_answer(&mut self, now: Instant, query: QueryId, answer: Answer) {
        self.focus.handle_answer(now, SystemTime::now(), query, answer);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        loop {
            match self.focus.poll_transmit()? {
                Out::Sip(mut transmit) => {
                    let hop = &mut transmit.hop;
                    if hop.local.is_none() && hop.flow.is_none() {
                        let ours = self.locals.iter().find(|(transport, at)| {
                            *transport == hop.transport && at.is_ipv4() == hop.remote.is_ipv4()
                        });
                        hop.local = ours.map(|(_, local)| *local);
                    }
                    return Some(transmit);
                }
                Out::Gateway(gateway, message) => self.to_gateways.push((gateway, message)),
            }
        }
    }

    fn poll_query(&mut self) -> Option<Query> {
        self.focus.poll_query()
    }

    fn sent(&mut self, hop: &Hop, data: &Bytes) {
        (self.observer)(Seen::Sip { border: &self.name, octets: data, sent: true, hop });
    }
}

/// Where the file has it listen.
fn listens(section: &ConferenceSection) -> Vec<Listen> {
    let binds = section.listen.as_ref().iter();
    binds.map(|bind| Listen { transport: super::sip_transport(bind.proto), address: bind.address }).collect()
}
