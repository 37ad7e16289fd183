//! An IMS-ALG or IBCF as a task: SIP sockets, control sockets, the rules.

pub mod settings;

use super::control::{self, Courtesy};
use super::counted::Counted;
use super::doors::{self, Doors};
use super::inspection::Inspection;
use super::keeping::Keeping;
use super::question::{Question, Questions};
use super::ways::Ways;
use super::{Ending, Observer, Seen, Start, StartError, control_watch, encoding, held_sip, sip_transport};
use crate::reload::{Done, Ready, Undone};
use bytes::Bytes;
use carnet_border::{Border, GatewayName, Out};
use carnet_h248::{ErrorDescriptor, MId, Message};
use carnet_net::h248::{
    ControlConfig, ControlEvent, ControlListen, ControlPeer, ControlSockets, ControlTls, LocalEnd,
};
use carnet_net::sip::{Listen, SipConfig, SipEvent, SipMachine, SipSockets, SipTls};
use carnet_net::{NgSocket, PooledRandom, Token, until};
use carnet_ops::config::{BorderSection, Config as Whole};
use carnet_sip::{Answer, Hop, Input, Query, QueryId, Transmit};
use carnet_tls::CertificateContext;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

/// A border that is being run.
struct Running {
    name: String,
    machine: Machine,
    sip: SipSockets,
    control: ControlSockets,
    doors: Doors,
    ways: Ways,
    courtesy: Courtesy,
    counted: Counted,
    inspection: Inspection,
    /// The rtpengine, if the border has one.
    rtpengine: Option<NgSocket>,
    /// What the SIP sockets show.
    tls: Option<CertificateContext>,
    /// Sockets that the file names no more, since when, and when it is next seen whether calls still need them.
    past: (Vec<(Listen, Instant)>, Option<Instant>),
}

/// How long a socket stays at least that the file names no more: what is under way is answered by it (RFC 3261 §17.1.2.2).
const LINGERS: Duration = Duration::from_secs(32);

/// How often it is seen whether it is needed.
const LOOKS: Duration = Duration::from_secs(1);

/// Other settings for a border that runs.
pub struct News {
    config: carnet_border::Config,
    sip: Option<CertificateContext>,
    control: Option<ControlTls>,
    /// Where gateways are to find it.
    doors: Vec<ControlListen>,
    done: oneshot::Sender<Done>,
}

/// What the border of that name makes of another configuration.
pub fn renewal(
    name: &str,
    news: mpsc::Sender<News>,
) -> impl Fn(&Whole) -> Result<Ready, String> + Send + Sync + 'static {
    let name = name.to_owned();
    move |whole| {
        let section = whole.border.get(&name).ok_or("it is not there any more")?.as_ref();
        let config = settings::configure(&name, whole, section)?;
        let sip = section.tls.as_ref().map(super::tls::context_of).transpose()?;
        let settings = section.control.as_ref();
        let control = settings.tls.as_ref().map(|tls| control::tls(tls.as_ref(), None, &settings.gateways));
        let (control, news) = (control.transpose().map_err(|e| e.to_string())?, news.clone());
        let doors = doors::named(settings);
        Ok(Ready::Told(Box::new(move || {
            let (done, outcome) = oneshot::channel();
            let told = news.try_send(News { config, sip, control, doors, done });
            told.map_err(|_| "it is busy or has stopped")?;
            Ok(outcome)
        })))
    }
}

/// The border as the SIP sockets see it; what is for gateways waits aside.
struct Machine {
    name: String,
    border: Border,
    to_gateways: Vec<(GatewayName, Message)>,
    to_rtpengine: Vec<Bytes>,
    /// For the process that starts next.
    keeping: Option<Keeping>,
    observer: Observer,
}

/// Opens sockets and starts the task. `local` are the ends of gateways in this process.
pub fn start(
    name: &str,
    whole: &Whole,
    section: &BorderSection,
    local: HashMap<String, LocalEnd>,
    asked: (Questions, mpsc::Receiver<News>),
    observer: Observer,
    token: Token,
) -> Start<tokio::task::JoinHandle<()>> {
    let fail = |e: &dyn std::fmt::Display| StartError::new("border", name, e);
    let config = settings::configure(name, whole, section).map_err(|e| fail(&e))?;
    let listen = section.network.values().flat_map(|n| n.as_ref().listen.as_ref());
    let listen =
        listen.map(|bind| Listen { transport: sip_transport(bind.proto), address: bind.address }).collect();
    let tls = section.tls.as_ref().map(sip_tls).transpose().map_err(|e| fail(&e))?;
    let context = tls.as_ref().map(|tls| tls.context.clone());
    let (sip, sip_events) =
        SipSockets::open(SipConfig { listen, tls, ..SipConfig::default() }, &token).map_err(|e| fail(&e))?;
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
    let rtpengine = section.rtpengine.as_ref().map(|r| r.as_ref().address.0);
    let (rtpengine, relayed) = match rtpengine.map(NgSocket::open).transpose().map_err(|e| fail(&e))? {
        Some((socket, relayed)) => (Some(socket), Some(relayed)),
        None => (None, None),
    };
    let began = (Instant::now(), SystemTime::now());
    let mut border = Border::new(config, Box::new(PooledRandom::default()), began.0, began.1);
    let counted = Counted::new("border", name, observer.clone());
    let lasting = local.is_empty();
    let keeping = section.state.as_ref().map(|state| {
        let control = (section.control.as_ref(), lasting);
        let place = state.as_ref().directory.as_ref().display();
        Keeping::open(name, state.as_ref(), control, (&mut border, began))
            .map_err(|e| format!("{place}: {e}"))
    });
    let (keeping, ways) = keeping.transpose().map_err(|e| fail(&e))?.unzip();
    let mut running = Running {
        name: name.to_owned(),
        machine: Machine {
            name: name.to_owned(),
            border,
            to_gateways: Vec::new(),
            to_rtpengine: Vec::new(),
            keeping,
            observer,
        },
        sip,
        doors: Doors::new(named, &control),
        control,
        ways: Ways::default(),
        courtesy: Courtesy::new(Instant::now()),
        counted,
        inspection: Inspection::default(),
        rtpengine,
        tls: context,
        past: (Vec::new(), None),
    };
    for (gateway, way) in ways.unwrap_or_default() {
        running.ways.set(gateway.clone(), way);
        running.machine.border.gateway_connected(Instant::now(), &gateway);
    }
    for (gateway, end) in local {
        let peer = running.control.attach(end);
        running.ways.set(gateway.as_str().into(), peer);
        running.machine.border.gateway_connected(Instant::now(), &gateway);
    }
    Ok(tokio::spawn(running.run(sip_events, control_events, relayed, asked, token)))
}

impl Running {
    async fn run(
        mut self,
        mut sip: mpsc::Receiver<SipEvent>,
        mut control: mpsc::Receiver<ControlEvent>,
        mut relayed: Option<mpsc::Receiver<Bytes>>,
        (mut questions, mut news): (Questions, mpsc::Receiver<News>),
        mut token: Token,
    ) {
        /// Inputs taken before what they cause is sent: bounds the work between two looks at
        /// the other queue and the timers.
        const BATCH: usize = 32;
        let mut end: Option<Ending> = None;
        let mut handing = None;
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
                Some(datagram) = heard(&mut relayed) => {
                    self.ng(&datagram, false);
                    self.machine.border.handle_rtpengine(Instant::now(), &datagram);
                }
                () = until(self.machine.border.poll_timeout()) => self.machine.border.handle_timeout(Instant::now()),
                () = until(self.past.1) => self.leave_sockets(Instant::now()),
                () = until(self.doors.looks()) => self.doors.leave(&self.name, &mut self.control, &self.ways),
                Some(question) = questions.recv() => self.asked(question),
                Some(news) = news.recv() => self.renew(news),
                deadline = token.started(), if end.is_none() => {
                    handing = self.machine.keeping.as_ref().and_then(Keeping::hands_over);
                    end = Some(self.begin_end(deadline, handing));
                }
                () = Ending::due(&end) => match end.as_mut().map(|end| std::mem::replace(&mut end.hung_up, true)) {
                    Some(false) if handing.is_some() => self.machine.border.end_setups(Instant::now()),
                    Some(false) => self.machine.border.end_calls(Instant::now()),
                    _ => return,
                },
            }
            self.flush();
            if end.is_some() && self.has_ended(handing.is_some()) {
                return;
            }
            if sip.len() + control.len() > 0 {
                // Whoever reads the sockets shares the thread: what they hold has no age yet.
                tokio::task::yield_now().await;
            }
        }
    }

    /// No new work. What is under way gets its time: all of it, or with another process to follow a moment.
    fn begin_end(&mut self, deadline: tokio::time::Instant, handing: Option<Duration>) -> Ending {
        match handing {
            Some(moment) => {
                self.machine.border.hand_over();
                let calls = self.machine.border.load().live;
                tracing::info!(border = self.name, calls, "leaves its calls to the process that follows");
                Ending::of_handing_over(deadline, moment)
            }
            None => {
                self.machine.border.retire();
                Ending::of_border(deadline)
            }
        }
    }

    /// Whether nothing is waited for any more.
    fn has_ended(&self, handing: bool) -> bool {
        if handing {
            return self.machine.border.in_motion() == 0;
        }
        // BYE and Subtract are answered, or repeated until the deadline.
        let load = self.machine.border.load();
        load.live == 0 && load.requests == 0 && load.gateway_requests == 0
    }

    fn sip(&mut self, event: SipEvent) {
        event.deliver(Instant::now(), &mut self.machine);
    }

    fn control(&mut self, event: ControlEvent) {
        let now = Instant::now();
        match event {
            ControlEvent::Message { peer, message } => self.message(now, peer, message),
            ControlEvent::Undecodable { peer, error } => {
                // Anybody can write a gateway's address on a datagram: so few are answered.
                if let Some(gateway) = self.ways.gateway_at(peer)
                    && (peer.is_reliable() || self.courtesy.answers(now))
                {
                    self.machine.border.handle_undecodable(now, &gateway, &error);
                }
            }
            ControlEvent::Closed { peer } => {
                if let Some(gateway) = self.ways.gateway_at(peer) {
                    self.ways.remove(&gateway);
                    self.machine.border.gateway_lost(now, &gateway);
                }
            }
            ControlEvent::Refused { .. } | ControlEvent::Resolved { .. } => {}
        }
    }

    fn renew(&mut self, news: News) {
        let News { mut config, sip, control, doors, done } = news;
        let now = Instant::now();
        // New sockets first: who is not to be reached at the new place stays reached at the old one.
        let (opened, mut undone) = match self.open_sockets(&mut config) {
            Ok(opened) => opened,
            Err(why) => return drop(done.send(Err(vec![why.into()]))),
        };
        let through = self.doors.open(&mut self.control, &doors).map_err(|why| {
            let path = ["border", &self.name, "control", "listen"].map(str::to_owned).to_vec();
            undone.push(Undone { path, why });
        });
        let wanted: Vec<Listen> = config.networks.iter().flat_map(sockets_of).collect();
        match self.machine.border.reconfigure(now, config) {
            Ok(()) => {
                if let (Some(held), Some(new)) = (&self.tls, &sip) {
                    held.renew(new);
                }
                if let Some(tls) = control {
                    self.control.renew_tls(tls);
                }
                if let Ok(new) = through {
                    self.doors.renew(&doors, new);
                }
                self.past.0.retain(|(listen, _)| !wanted.contains(listen));
                for listen in self.sip.listening() {
                    let known = self.past.0.iter().any(|(past, _)| *past == listen);
                    if !known && !wanted.contains(&listen) {
                        self.past.0.push((listen, now));
                    }
                }
                self.past.1 = (!self.past.0.is_empty()).then(|| now + LOOKS);
                let outcome = if undone.is_empty() { Ok(()) } else { Err(undone) };
                // Who does not wait any more has said so.
                let _ = done.send(outcome);
            }
            Err(what) => {
                opened.into_iter().for_each(|listen| self.sip.stop_listening(listen));
                self.doors.give_up(&mut self.control, &through.unwrap_or_default());
                let _ = done.send(Err(vec![format!("{what} cannot change while it runs").into()]));
            }
        }
    }

    /// Opens what is not open yet. A network whose new sockets cannot be had keeps those it has; what is undone then.
    ///
    /// # Errors
    /// A network that is new cannot be had: nothing is open that was not.
    fn open_sockets(
        &mut self,
        config: &mut carnet_border::Config,
    ) -> Result<(Vec<Listen>, Vec<Undone>), String> {
        let (mut all, mut undone) = (Vec::new(), Vec::new());
        for network in &mut config.networks {
            let there = self.sip.listening();
            let (mut opened, mut failed) = (Vec::new(), None);
            for listen in sockets_of(network).filter(|listen| !there.contains(listen)) {
                match self.sip.listen(listen) {
                    Ok(_) => opened.push(listen),
                    Err(error) => failed = Some(error.to_string()),
                }
            }
            let Some(why) = failed else {
                all.extend(opened);
                continue;
            };
            opened.into_iter().for_each(|listen| self.sip.stop_listening(listen));
            let Some((listen, contact)) = self.machine.border.sockets(&network.name) else {
                all.into_iter().for_each(|listen| self.sip.stop_listening(listen));
                return Err(why);
            };
            for setting in ["listen", "contact"] {
                let path = ["border", &self.name, "network", &network.name, setting];
                undone.push(Undone { path: path.map(str::to_owned).to_vec(), why: why.clone() });
            }
            (network.listen, network.contact) = (listen, contact);
        }
        Ok((all, undone))
    }

    /// Closes the sockets of before that no call needs any more.
    fn leave_sockets(&mut self, now: Instant) {
        let (sip, border) = (&mut self.sip, &mut self.machine.border);
        self.past.0.retain(|(listen, since)| {
            let at = (listen.transport, listen.address);
            if now < *since + LINGERS || border.is_in_use(at) {
                return true;
            }
            sip.stop_listening(*listen);
            border.forget_socket(at);
            tracing::info!(border = self.name, transport = %listen.transport, address = %listen.address, "socket closed");
            false
        });
        self.past.1 = (!self.past.0.is_empty()).then(|| now + LOOKS);
    }

    fn ng(&self, datagram: &Bytes, sent: bool) {
        let Some(remote) = self.rtpengine.as_ref().map(NgSocket::peer) else { return };
        let (node, octets) = (self.name.as_str(), &|| datagram.clone());
        (self.machine.observer)(Seen::Ng { node, local: None, remote, sent, octets });
    }

    fn asked(&mut self, question: Question) {
        let (sip, control) = (&self.sip, &self.control);
        let queues = || held_sip::queues(sip, control);
        self.inspection.ask(Instant::now(), &self.name, &mut self.machine.border, question, queues);
    }

    fn message(&mut self, now: Instant, peer: ControlPeer, message: Message) {
        let Some(gateway) = self.machine.border.gateway_of(&message.mid).cloned() else {
            if self.courtesy.tells(now) {
                let from = peer.address();
                tracing::warn!(border = self.name, mid = %message.mid, ?from, "a gateway that is not ours");
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
        let given = self.machine.border.service_change_address(&gateway);
        let origin = self.ways.origin(&gateway, given, peer);
        if !self.machine.border.admit_gateway(now, &gateway, origin, &message) {
            return;
        }
        if self.ways.heard(&gateway, peer, &message) {
            self.machine.keeping.iter_mut().for_each(Keeping::moved);
            self.machine.border.gateway_connected(now, &gateway);
        }
        self.counted.heard(now, &gateway, &message);
        self.machine.border.handle_gateway(now, &gateway, message);
    }

    fn flush(&mut self) {
        self.sip.flush(Instant::now(), &mut self.machine);
        for datagram in std::mem::take(&mut self.machine.to_rtpengine) {
            self.ng(&datagram, true);
            if let Some(socket) = &self.rtpengine {
                socket.send(datagram);
            }
        }
        let mut refused = false;
        for (gateway, message) in std::mem::take(&mut self.machine.to_gateways) {
            (self.machine.observer)(Seen::Command { gateway: &gateway, message: &message });
            self.counted.sent(Instant::now(), &gateway, &message);
            let given = self.machine.border.service_change_address(&gateway);
            if let Some(refusal) = self.ways.send(&self.control, &gateway, message, given) {
                self.machine.border.handle_gateway(Instant::now(), &gateway, refusal);
                refused = true;
            }
        }
        // An administrator's second question follows from the answer to the first, and what one gateway may
        // not be told goes to another.
        if self.events() || refused {
            self.flush();
        }
        if let Some(keeping) = &mut self.machine.keeping {
            keeping.after(&mut self.machine.border, &self.ways);
        }
    }

    /// Tells what happened; whether there is more to send because of it.
    fn events(&mut self) -> bool {
        let mut asked = false;
        while let Some(finished) = self.machine.border.poll_finished() {
            (self.machine.observer)(Seen::Finished { node: &self.name, finished: &finished });
        }
        while let Some(event) = self.machine.border.poll_event() {
            match event {
                carnet_border::Event::Audited { number, actions, error } => {
                    let (now, border) = (Instant::now(), &mut self.machine.border);
                    self.inspection.audited(now, border, number, actions, error);
                    asked = true;
                }
                event => (self.machine.observer)(Seen::Border { border: &self.name, event: &event }),
            }
        }
        asked
    }
}

impl SipMachine for Machine {
    fn delayed(&mut self, waited: Duration) {
        self.border.delayed(waited);
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        (self.observer)(Seen::Sip { border: &self.name, octets: &input.data, sent: false, hop: &input.hop });
        self.border.handle_sip(now, input);
    }

    fn transport_failed(&mut self, now: Instant, hop: &Hop) {
        self.border.transport_failed(now, hop);
    }

    fn handle_answer(&mut self, now: Instant, query: QueryId, answer: Answer) {
        self.border.handle_answer(now, query, answer);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        if let Some(keeping) = &mut self.keeping {
            keeping.before(&mut self.border);
        }
        loop {
            match self.border.poll_transmit()? {
                Out::Sip(transmit) => return Some(transmit),
                Out::Gateway(gateway, message) => self.to_gateways.push((gateway, message)),
                Out::Rtpengine(datagram) => self.to_rtpengine.push(datagram),
            }
        }
    }

    fn poll_query(&mut self) -> Option<Query> {
        self.border.poll_query()
    }

    fn sent(&mut self, hop: &Hop, data: &Bytes) {
        (self.observer)(Seen::Sip { border: &self.name, octets: data, sent: true, hop });
    }
}

/// Where a network listens.
fn sockets_of(network: &carnet_border::Network) -> impl Iterator<Item = Listen> {
    network.listen.iter().map(|(transport, address)| Listen { transport: *transport, address: *address })
}

/// What an rtpengine sends; nothing ever where there is none.
async fn heard(relayed: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match relayed {
        Some(relayed) => relayed.recv().await,
        None => std::future::pending().await,
    }
}

fn sip_tls(section: &carnet_ops::config::TlsSection) -> Result<SipTls, String> {
    super::tls::sip(section)
}
