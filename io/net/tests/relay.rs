//! Controller, gateway rules and media engine together: a call's media over real sockets.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use carnet_gateway::{Config, Gateway};
use carnet_h248::association::{self, Transport};
use carnet_h248::controller::{self, Controller, GatewayConfig};
use carnet_h248::{ActionReply, ActionRequest, Command, ContextId, Events, MId, RequestedEvent};
use carnet_h248::{Media, SessionDescription, Stream, StreamMode, TerminationId, registration};
use carnet_net::OsRandom;
use carnet_net::media::{self, EngineConfig, EngineHandle, MediaEngine, Realm, Witness};

const PATIENCE: Duration = Duration::from_secs(10);

struct Network {
    controller: Controller,
    gateway: Gateway,
    engine: EngineHandle,
    media: media::Events,
    told: Vec<carnet_gateway::Event>,
    heard: Vec<controller::Event>,
}

impl Network {
    fn new(first_port: u16) -> Self {
        let realm = |name: &str, from: u16| Realm {
            name: name.into(),
            v4: Some(Ipv4Addr::LOCALHOST),
            v6: Some(Ipv6Addr::LOCALHOST),
            ports: from..=from + 9,
            ..Realm::default()
        };
        let (engine, media) = MediaEngine::start(EngineConfig {
            realms: vec![realm("access", first_port), realm("core", first_port + 10)],
            witness: Witness::Full,
            threads: 2,
            ..EngineConfig::default()
        })
        .unwrap();
        let (now, wall) = (Instant::now(), SystemTime::now());
        let (alg, agw) = (MId::domain("alg.example"), MId::domain("agw.example"));
        let gateways = vec![GatewayConfig::new("agw", agw.clone(), Transport::Reliable)];
        let controller =
            Controller::new(controller::Config::new(alg.clone(), gateways), &mut OsRandom, now, wall);
        let association = association::Config::new(Transport::Reliable);
        let mut registration = registration::Config::new(agw, vec![alg], association);
        registration.longest_wait = Duration::ZERO;
        let mut gateway = Gateway::new(Config::new(registration), &mut OsRandom, now, wall);
        gateway.start(now, 901);
        let mut network = Self { controller, gateway, engine, media, told: Vec::new(), heard: Vec::new() };
        network.until(|n| n.controller.available().any(|gateway| **gateway == *"agw"));
        network
    }

    fn step(&mut self) {
        let now = Instant::now();
        if self.gateway.poll_timeout().is_some_and(|at| at <= now) {
            self.gateway.handle_timeout(now);
        }
        while let Some(event) = self.media.try_recv() {
            self.gateway.handle_media(now, event);
        }
        while let Some((_, message)) = self.gateway.poll_transmit() {
            self.controller.handle_message(now, "agw", message);
        }
        while let Some((_, message)) = self.controller.poll_transmit() {
            assert_eq!(self.gateway.handle_message(now, message), None);
        }
        while let Some(command) = self.gateway.poll_command() {
            self.engine.blocking_send(command).unwrap();
        }
        self.told.extend(std::iter::from_fn(|| self.gateway.poll_event()));
        self.heard.extend(std::iter::from_fn(|| self.controller.poll_event()));
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "{:?}\n{:?}", self.told, self.heard);
            self.step();
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn ask(&mut self, context: ContextId, commands: Vec<Command>) -> Vec<ActionReply> {
        let number =
            self.controller.request(Instant::now(), "agw", vec![ActionRequest::new(context, commands)]);
        let is_it = |e: &controller::Event| matches!(e, controller::Event::Reply { request, .. } if *request == number);
        self.until(|n| n.heard.iter().any(is_it));
        let index = self.heard.iter().position(is_it).unwrap();
        match self.heard.remove(index) {
            controller::Event::Reply { result, .. } => result.unwrap(),
            _ => unreachable!(),
        }
    }
}

fn sdp(version: &str, address: &str, port: &str, setup: &str) -> SessionDescription {
    format!("v=0\nc=IN {version} {address}\nm=- {port} TCP/TLS -\na=setup:{setup}\n").into()
}

fn add(realm: &'static str, stream: Stream) -> Command {
    let stream = stream.property("ipdc/realm", realm).mode(StreamMode::SendReceive);
    let events = Events::new(1).event(RequestedEvent::new("tcpbcc/BNCChange"));
    Command::add(TerminationId::CHOOSE).with(Media::with_stream(stream)).with(events)
}

/// What a termination got.
fn local(reply: &[ActionReply], index: usize) -> SocketAddr {
    let command = &reply[0].commands[index];
    let sdp = command.media().unwrap().stream(1).unwrap().local.as_ref().unwrap();
    let text = String::from_utf8(sdp.as_bytes().to_vec()).unwrap();
    let field = |line: &str, index: usize| {
        let line = text.lines().find(|l| l.starts_with(line)).unwrap();
        line.split(' ').nth(index).unwrap().to_owned()
    };
    SocketAddr::new(field("c=", 2).parse().unwrap(), field("m=", 1).parse().unwrap())
}

#[test]
fn a_call_is_relayed_between_ip_versions_and_leaves_nothing() {
    let mut network = Network::new(22_800);
    let callee = TcpListener::bind("[::1]:0").unwrap();
    let port = callee.local_addr().unwrap().port().to_string();
    let access = Stream::new(1).local(sdp("IP4", "$", "$", "passive"));
    let core =
        Stream::new(1).local(sdp("IP6", "$", "$", "active")).remote(sdp("IP6", "::1", &port, "passive"));
    let reply = network.ask(ContextId::Choose, vec![add("access", access), add("core", core)]);
    let context = reply[0].context;
    let mut caller = TcpStream::connect(local(&reply, 0)).unwrap();
    let (mut callee, from) = callee.accept().unwrap();
    assert_eq!(from, local(&reply, 1));
    let record = [&[0x17, 3, 3, 0, 4][..], b"TLS!"].concat();
    caller.write_all(&record).unwrap();
    let mut got = vec![0; record.len()];
    callee.read_exact(&mut got).unwrap();
    assert_eq!(got, record);
    callee.write_all(b"not TLS").unwrap();
    caller.read_exact(&mut [0; 7]).unwrap();

    // Both sides are told to the controller.
    let notified =
        |n: &Network| n.heard.iter().filter(|e| matches!(e, controller::Event::Notify { .. })).count();
    network.until(|n| notified(n) == 2);
    drop(caller);
    drop(callee);
    network.until(|n| notified(n) == 4);

    let reply = network.ask(context, vec![Command::subtract(TerminationId::ALL)]);
    let counted = |index: usize, name: &str| {
        let list = reply[0].commands[index].statistics().unwrap();
        list.iter().find(|s| s.name == *name).unwrap().values[0].as_u64().unwrap()
    };
    assert_eq!((counted(0, "nt/or"), counted(0, "nt/os")), (9, 7));
    assert_eq!((counted(1, "nt/or"), counted(1, "nt/os")), (7, 9));
    network.until(|n| n.gateway.is_idle());
    let seen: Vec<_> = network
        .told
        .iter()
        .filter_map(|event| match event {
            carnet_gateway::Event::Removed { statistics, .. } => statistics.witness.as_deref(),
            _ => None,
        })
        .collect();
    assert_eq!((seen[0].records, seen[0].outside), (1, 0));
    assert_eq!((seen[1].records, seen[1].outside), (0, 7));
}
