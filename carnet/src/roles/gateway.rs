//! An IMS-AGW or TrGW as a task: control sockets, the rules, the media engine.

use super::{Ending, LAST_WORDS, Observer, Seen, Start, StartError, encoding};
use carnet_gateway::{Config, Gateway, Limits};
use carnet_h248::association::{self, Transport};
use carnet_h248::{MId, Profile, registration};
use carnet_net::h248::{
    ControlConfig, ControlEvent, ControlListen, ControlPeer, ControlSockets, ControlTransport, LocalEnd,
};
use carnet_net::media::{EngineConfig, EngineHandle, Events, MediaEngine, Realm, Witness};
use carnet_net::{OsRandom, Token, until};
use carnet_ops::config::{Bind, ControlAddress, GatewayRole, GatewaySection, Proto, WitnessMode};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// Wait before a broken connection to a controller is made again.
const RECONNECT: Duration = Duration::from_millis(500);

/// Commands that may wait for the engine before messages of controllers do.
const MOST_COMMANDS: usize = 4096;

/// Cold boot (RFC 3525 §7.2.8).
const COLD_BOOT: u16 = 901;
/// Taken out of service.
const OUT_OF_SERVICE: u16 = 905;

/// A gateway that is being run.
struct Running {
    name: String,
    gateway: Gateway,
    sockets: ControlSockets,
    /// Controllers by what they call themselves.
    controllers: Vec<(MId, Way)>,
    from: Option<std::net::IpAddr>,
    engine: EngineHandle,
    /// Commands the engine has not taken yet.
    commands: VecDeque<carnet_gateway::media::Command>,
    observer: Observer,
    /// When to make broken connections again.
    reconnect: Option<Instant>,
}

/// The way to a controller.
struct Way {
    at: Option<Bind>,
    peer: Option<ControlPeer>,
}

/// Opens sockets and starts the task. `local` are the ends of controllers in this process.
pub fn start(
    name: &str,
    section: &GatewaySection,
    mut local: HashMap<String, LocalEnd>,
    observer: Observer,
    token: Token,
) -> Start<tokio::task::JoinHandle<()>> {
    let fail = |e: &dyn std::fmt::Display| StartError::new("gateway", name, e);
    let realms = section.realm.iter().map(|(realm, section)| {
        let section = section.as_ref();
        Realm { name: realm.clone(), v4: section.v4, v6: section.v6, ports: section.ports.0.clone() }
    });
    let witness = match section.witness {
        WitnessMode::Off => Witness::Off,
        WitnessMode::Headers => Witness::UntilSplice,
        WitnessMode::Full => Witness::Full,
    };
    let engine = EngineConfig {
        realms: realms.collect(),
        threads: section.threads,
        witness,
        ..EngineConfig::default()
    };
    let (engine, media) = MediaEngine::start(engine).map_err(|e| fail(&e))?;
    let listen = section
        .control_from
        .map(|ip| ControlListen { transport: ControlTransport::Udp, address: (ip, 0).into() });
    let listen = listen.into_iter().collect();
    let control =
        ControlConfig { listen, encoding: encoding(section.control_encoding), ..ControlConfig::default() };
    let (sockets, events) = ControlSockets::open(control, &token).map_err(|e| fail(&e))?;
    let mut controllers = Vec::new();
    for address in section.controllers.as_ref() {
        let way = match address {
            ControlAddress::Remote { at, .. } => Way { at: Some(*at), peer: None },
            ControlAddress::Local(border) => {
                Way { at: None, peer: local.remove(border).map(|end| sockets.attach(end)) }
            }
        };
        controllers.push((MId::domain(address.name().to_owned()), way));
    }
    let reliable = section.controllers.as_ref().iter().all(ControlAddress::is_reliable);
    let inside = |a: &ControlAddress| matches!(a, ControlAddress::Local(_));
    let transport = match section.controllers.as_ref().iter().all(inside) {
        true => Transport::Channel,
        false if reliable => Transport::Reliable,
        false => Transport::Datagram,
    };
    let mids = controllers.iter().map(|(mid, _)| mid.clone()).collect();
    let mut registration =
        registration::Config::new(MId::domain(name.to_owned()), mids, association::Config::new(transport));
    registration.profile = Some(profile(section.role));
    registration.longest_wait = Duration::from_millis(20);
    let mut config = Config::new(registration);
    let mut limits = Limits::default();
    limits.contexts = section.max_contexts;
    config.limits = limits;
    config.realms = section.realm.keys().cloned().collect();
    let now = Instant::now();
    let mut gateway = Gateway::new(config, &mut OsRandom, now, SystemTime::now());
    gateway.start(now, COLD_BOOT);
    let running = Running {
        name: name.to_owned(),
        gateway,
        sockets,
        controllers,
        from: section.control_from,
        engine,
        commands: VecDeque::new(),
        observer,
        reconnect: None,
    };
    Ok(tokio::spawn(running.run(events, media, token)))
}

/// The profile a gateway of that role registers with.
pub fn profile(role: GatewayRole) -> Profile {
    let name = match role {
        GatewayRole::ImsAgw => "carnet_iq",
        GatewayRole::Trgw => "carnet_ix",
    };
    Profile { name: name.into(), version: 1 }
}

impl Running {
    async fn run(mut self, mut events: mpsc::Receiver<ControlEvent>, mut media: Events, mut token: Token) {
        /// Inputs taken before what they cause goes out.
        const BATCH: usize = 32;
        self.flush();
        let mut end: Option<Ending> = None;
        loop {
            let timeout = [self.gateway.poll_timeout(), self.reconnect].into_iter().flatten().min();
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
                event = media.recv() => match event {
                    Some(event) => {
                        self.media(event);
                        for _ in 1..BATCH {
                            let Some(event) = media.try_recv() else { break };
                            self.media(event);
                        }
                    }
                    None => {
                        tracing::error!(gateway = self.name, "the media engine stopped");
                        return;
                    }
                },
                sent = send(&engine, command) => {
                    self.commands.pop_front();
                    if sent.is_err() {
                        return;
                    }
                }
                () = until(timeout) => self.timeout(),
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
            if let Some(end) = end.as_mut().filter(|end| !end.hung_up && self.gateway.is_idle()) {
                self.leave(end);
            }
            self.flush();
            // What has been sent may still be in this process: only the answer says that it arrived.
            if end.as_ref().is_some_and(|end| end.hung_up) && self.gateway.is_idle() && self.has_left() {
                return;
            }
        }
    }

    /// Tells the controller, which is not waited for long: it may have gone before.
    fn leave(&mut self, end: &mut Ending) {
        self.gateway.leave(Instant::now(), OUT_OF_SERVICE);
        end.hung_up = true;
        end.give_up = end.give_up.min(tokio::time::Instant::now() + LAST_WORDS);
    }

    /// Whether the controller has heard that we leave, or there is no way to it.
    fn has_left(&self) -> bool {
        let registration = self.gateway.registration();
        let way = registration.controller().and_then(|mid| self.controllers.iter().find(|(m, _)| m == mid));
        !registration.is_leaving() || way.is_none_or(|(_, way)| way.peer.is_none())
    }

    fn control(&mut self, event: ControlEvent) {
        let now = Instant::now();
        match event {
            ControlEvent::Message { peer, message } => {
                if let Some(refusal) = self.gateway.handle_message(now, message) {
                    let _ = self.sockets.send(peer, refusal);
                }
            }
            ControlEvent::Undecodable { error, .. } => self.gateway.handle_undecodable(now, &error),
            ControlEvent::Closed { peer } => {
                for (_, way) in &mut self.controllers {
                    if way.peer == Some(peer) {
                        way.peer = None;
                        self.reconnect = Some(now + RECONNECT);
                    }
                }
            }
        }
    }

    fn media(&mut self, event: carnet_gateway::media::Event) {
        (self.observer)(Seen::Media { gateway: &self.name, event: &event });
        self.gateway.handle_media(Instant::now(), event);
    }

    fn timeout(&mut self) {
        let now = Instant::now();
        self.gateway.handle_timeout(now);
        if self.reconnect.is_some_and(|at| at <= now) {
            self.reconnect = None;
            self.gateway.reconnected();
        }
    }

    fn flush(&mut self) {
        while let Some((controller, message)) = self.gateway.poll_transmit() {
            let Some(peer) = self.way_to(&controller) else { continue };
            if let Err(error) = self.sockets.send(peer, message) {
                tracing::debug!(gateway = self.name, %error, "not sent to the controller");
            }
        }
        while let Some(command) = self.gateway.poll_command() {
            self.commands.push_back(command);
        }
        // Once it has stopped, its events end, and so does the gateway.
        let _ = self.engine.try_send_all(&mut self.commands);
        while let Some(event) = self.gateway.poll_event() {
            (self.observer)(Seen::Gateway { gateway: &self.name, event: &event });
        }
        let (contexts, idle) = (self.gateway.contexts(), self.gateway.is_idle());
        (self.observer)(Seen::Holds { gateway: &self.name, contexts, idle });
    }

    /// Where to send for a controller; connects if need be.
    fn way_to(&mut self, controller: &MId) -> Option<ControlPeer> {
        let (_, way) = self.controllers.iter_mut().find(|(mid, _)| mid == controller)?;
        if way.peer.is_none() {
            let at = way.at?;
            let transport = match at.proto {
                Proto::Udp => ControlTransport::Udp,
                Proto::Tcp | Proto::Tls => ControlTransport::Tcp,
            };
            match self.sockets.connect(transport, at.address, self.from) {
                Ok(peer) => way.peer = Some(peer),
                Err(error) => {
                    tracing::warn!(gateway = self.name, %error, "no way to the controller");
                    self.reconnect = Some(Instant::now() + RECONNECT);
                }
            }
        }
        way.peer
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
