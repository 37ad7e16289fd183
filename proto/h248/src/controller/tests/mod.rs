//! Tests of both sides of registration together: controllers, gateways and a network between them.

mod adopt;
mod chaos;
mod model;
mod resync;
mod watch;

use super::*;
use crate::model::{ActionReply, ObservedEvents};
use crate::model::{
    CommandReply, ContextProperties, Media, ObservedEvent, RequestId, SessionDescription, Stream, Verb,
};
use crate::registration::{self, Registration};
use crate::{Body, Transaction};
use carnet_wire::SeededRandom;
use std::time::SystemTime;

fn mid(name: &str) -> MId {
    MId::domain(name.to_owned())
}

/// Controllers `alg1`, `alg2` and gateway `agw1`; messages take 5 ms.
struct Network {
    controllers: Vec<Controller>,
    gateway: Registration,
    flying: VecDeque<(Instant, Option<usize>, Message)>,
    now: Instant,
    /// Controllers that neither send nor receive.
    dead: Vec<usize>,
    loss: u32,
    rng: SeededRandom,
    events: Vec<Event>,
    gateway_events: Vec<registration::Event>,
}

impl Network {
    fn new(
        controllers: usize,
        transport: Transport,
        change: impl Fn(&mut Config, &mut registration::Config),
    ) -> Self {
        let now = Instant::now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_352_000);
        let mut rng = SeededRandom::new(11);
        let association = association::Config::new(transport);
        let list = (1..=controllers).map(|n| mid(&format!("alg{n}"))).collect();
        let mut gateway = registration::Config::new(mid("agw1"), list, association);
        gateway.profile = Some(Profile::new("carnet_iq", 1));
        let mut all = Vec::new();
        for n in 1..=controllers {
            let one = GatewayConfig::new("access", mid("agw1"), transport);
            let mut config = Config::new(mid(&format!("alg{n}")), vec![one]);
            config.profiles = vec![Profile::new("carnet_iq", 1)];
            change(&mut config, &mut gateway);
            all.push(Controller::new(config, &mut rng, now, wall));
        }
        let mut gateway = Registration::new(gateway, &mut rng, now, wall);
        gateway.start(now, 901);
        Self {
            controllers: all,
            gateway,
            flying: VecDeque::new(),
            now,
            dead: Vec::new(),
            loss: 0,
            rng,
            events: Vec::new(),
            gateway_events: Vec::new(),
        }
    }

    fn pump(&mut self) {
        let at = self.now + Duration::from_millis(5);
        while let Some((to, message)) = self.gateway.poll_transmit() {
            let n = self.controllers.iter().position(|c| c.config.mid == to);
            self.flying.extend(n.map(|n| (at, Some(n), message)));
        }
        for n in 0..self.controllers.len() {
            while let Some((_, message)) = self.controllers[n].poll_transmit() {
                if !self.dead.contains(&n) {
                    self.flying.push_back((at, None, message));
                }
            }
            while let Some(event) = self.controllers[n].poll_event() {
                self.events.push(event);
            }
        }
        while let Some(event) = self.gateway.poll_event() {
            self.gateway_events.push(event);
        }
    }

    /// Runs for a time; the gateway answers requests as `answer` says.
    fn run(&mut self, seconds: u64) {
        self.run_with(seconds, |_| None);
    }

    fn run_with(&mut self, seconds: u64, answer: impl Fn(&[ActionRequest]) -> Option<ReplyBody>) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            self.pump();
            let mut next: Vec<Instant> = self.flying.front().map(|f| f.0).into_iter().collect();
            next.extend(self.gateway.poll_timeout());
            let alive = self.controllers.iter().enumerate().filter(|(n, _)| !self.dead.contains(n));
            next.extend(alive.filter_map(|(_, c)| c.poll_timeout()));
            let Some(next) = next.into_iter().min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some((_, to, message)) = self.flying.pop_front_if(|f| f.0 <= self.now) {
                if self.rng.u32() % 100 < self.loss {
                    continue;
                }
                match to {
                    Some(n) if self.dead.contains(&n) => {}
                    Some(n) => self.controllers[n].handle_message(self.now, "access", message),
                    None => assert_eq!(self.gateway.handle_message(self.now, message), None),
                }
            }
            for (n, controller) in self.controllers.iter_mut().enumerate() {
                if !self.dead.contains(&n) {
                    controller.handle_timeout(self.now);
                }
            }
            self.gateway.handle_timeout(self.now);
            while let Some(event) = self.gateway.poll_event() {
                if let registration::Event::Request { key, actions } = &event {
                    let body = answer(actions).unwrap_or_else(|| agree(actions));
                    self.gateway.reply(self.now, *key, body);
                }
                self.gateway_events.push(event);
            }
        }
    }

    fn events(&mut self) -> Vec<Event> {
        self.pump();
        std::mem::take(&mut self.events)
    }

    fn gateway_events(&mut self) -> Vec<registration::Event> {
        self.pump();
        let all = std::mem::take(&mut self.gateway_events);
        all.into_iter().filter(|e| !matches!(e, registration::Event::Request { .. })).collect()
    }
}

/// Says yes to everything; a new context is 77 and a new termination gets a number.
fn agree(actions: &[ActionRequest]) -> ReplyBody {
    let answers = actions.iter().map(|a| {
        let context = if a.context == ContextId::Choose { ContextId::Id(77) } else { a.context };
        let commands = a.commands.iter().map(|c| {
            let termination = c.termination().as_str().replace('$', "1");
            CommandReply::new(c.verb, TerminationId::new(termination))
        });
        ActionReply::new(context, commands.collect())
    });
    ReplyBody::Actions(answers.collect())
}

fn add() -> Vec<ActionRequest> {
    let stream = Stream::new(1).local(SessionDescription::from("v=0\nc=IN IP4 $\nm=- $ TCP/TLS -\n"));
    let command = Command::add("ip/1/access/$").with(Media::with_stream(stream));
    vec![ActionRequest {
        properties: ContextProperties::default(),
        ..ActionRequest::new(ContextId::Choose, vec![command])
    }]
}

fn notify(context: u32, event: &'static str) -> Vec<ActionRequest> {
    let observed = ObservedEvents::new(RequestId(1)).event(ObservedEvent::new(event));
    vec![ActionRequest::new(ContextId::Id(context), vec![Command::notify("ip/1/access/1", observed)])]
}

/// Subtractions of everything in all contexts that the gateway was asked for.
fn swept(events: &[registration::Event]) -> Vec<Command> {
    let asked = events.iter().filter_map(|e| match e {
        registration::Event::Request { actions, .. } => Some(&actions[0]),
        _ => None,
    });
    let all = asked.filter(|a| a.context == ContextId::All && a.commands[0].verb == Verb::Subtract);
    all.map(|a| a.commands[0].clone()).collect()
}

fn is_registered(event: &Event, expected: bool) -> bool {
    matches!(event, Event::Registered { version: 3, profile: Some(p), kept, .. }
        if p.to_string() == "carnet_iq/1" && *kept == expected)
}

#[test]
fn a_gateway_registers_serves_and_is_kept_alive_over_a_bad_network() {
    for transport in [Transport::Datagram, Transport::Reliable] {
        let mut net = Network::new(1, transport, |_, _| {});
        net.loss = if transport == Transport::Datagram { 20 } else { 0 };
        net.run(15);
        let events = net.events();
        assert!(matches!(events.as_slice(), [e] if is_registered(e, false)), "{events:?}");
        assert!(net.gateway_events().contains(&registration::Event::Registered {
            controller: mid("alg1"),
            version: 3,
            kept: false
        }));
        let request = net.controllers[0].request(net.now, "access", add());
        net.run(10);
        let events = net.events();
        let [Event::Reply { request: got, result: Ok(actions), .. }] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!((*got, actions[0].context), (request, ContextId::Id(77)));
        assert_eq!(net.controllers[0].contexts("access"), 1);
        let since = net.controllers[0].gateways().next().unwrap().since;
        // Quiet for long: heartbeats hold it.
        net.run(120);
        let status = net.controllers[0].gateways().next().unwrap();
        assert_eq!((status.condition, status.version, status.contexts), (Condition::InService, 3, 1));
        assert_eq!((status.since, status.outstanding), (since, 0));
        assert!(net.now - status.last_heard.unwrap() < Duration::from_secs(4), "{status:?}");
        let round_trip = status.round_trip.unwrap();
        assert!((Duration::from_millis(1)..Duration::from_secs(1)).contains(&round_trip), "{round_trip:?}");
        assert_eq!(net.events(), []);
        assert!(net.controllers[0].is_registered("access") && net.gateway.is_registered());
    }
}

#[test]
fn a_silent_gateway_is_lost_in_seconds_and_cleared_when_it_returns() {
    let mut net = Network::new(1, Transport::Datagram, |_, _| {});
    net.run(5);
    net.controllers[0].request(net.now, "access", add());
    net.run(1);
    net.events();
    net.loss = 100;
    let waiting = net.controllers[0].request(net.now, "access", add());
    net.run(9);
    let events = net.events();
    let [Event::Lost { reason: LostReason::Silent, .. }, Event::Reply { request, result, .. }] =
        events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!((*request, result), (waiting, &Err(RequestError::Lost)));
    assert_eq!(net.controllers[0].gateways().next().unwrap().condition, Condition::Away);
    let refused = net.controllers[0].request(net.now, "access", add());
    let [Event::Reply { request, result: Err(RequestError::NotRegistered), .. }] = net.events()[..] else {
        panic!()
    };
    assert_eq!(request, refused);
    net.run(8);
    net.loss = 0;
    net.gateway_events.clear();
    net.run(20);
    // It came back with its contexts; they were subtracted before anybody could add new ones.
    let swept = swept(&net.gateway_events);
    assert_eq!(swept.len(), 1, "{:?}", net.gateway_events);
    assert!(swept[0].wildcard_response && swept[0].audit().is_some());
    let events = net.events();
    assert!(matches!(events.as_slice(), [e] if is_registered(e, false)), "{events:?}");
    let told = net.gateway_events();
    assert!(matches!(told.last(), Some(registration::Event::Registered { kept: true, .. })), "{told:?}");
}

#[test]
fn a_gateway_that_starts_again_has_lost_its_contexts() {
    let mut net = Network::new(1, Transport::Datagram, |_, _| {});
    net.run(5);
    net.controllers[0].request(net.now, "access", add());
    net.run(1);
    net.events();
    net.gateway.start(net.now, 901);
    net.run(5);
    let events = net.events();
    let [Event::Lost { reason: LostReason::Restarted, .. }, again] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert!(is_registered(again, false));
    assert_eq!(net.controllers[0].contexts("access"), 0);
}

#[test]
fn what_does_not_fit_is_refused_with_words() {
    let mut net = Network::new(1, Transport::Datagram, |_, gateway| {
        gateway.profile = Some(Profile::new("other", 2));
    });
    net.run(5);
    let Some(Event::Refused { error, .. }) = net.events().into_iter().next() else { panic!() };
    assert_eq!(error.code, 461);
    let text = error.text.clone().unwrap();
    assert_eq!(text, "profile other/2 is not supported: this controller speaks carnet_iq/1");
    assert!(net.gateway_events().contains(&registration::Event::Refused { controller: mid("alg1"), error }));
    assert!(!net.gateway.is_registered());

    let mut net = Network::new(1, Transport::Datagram, |controller, gateway| {
        controller.lowest_version = 2;
        gateway.version = 1;
    });
    net.run(5);
    assert!(matches!(&net.events()[0], Event::Refused { error, .. } if error.code == 406));
}

#[test]
fn the_lower_version_is_used() {
    let mut net = Network::new(1, Transport::Datagram, |_, gateway| gateway.version = 2);
    net.run(5);
    assert!(matches!(&net.events()[..], [Event::Registered { version: 2, .. }]));
    net.controllers[0].request(net.now, "access", add());
    assert!(matches!(net.controllers[0].poll_transmit(), Some((_, m)) if m.version == 2));
}

#[test]
fn the_next_controller_takes_over_and_the_first_is_not_tried_before_it() {
    let mut net = Network::new(2, Transport::Datagram, |_, _| {});
    net.run(5);
    assert!(net.controllers[0].is_registered("access") && !net.controllers[1].is_registered("access"));
    net.events();
    net.gateway_events();
    net.dead.push(0);
    net.run(15);
    assert_eq!(
        net.gateway_events(),
        [
            registration::Event::ControlLost { controller: mid("alg1") },
            registration::Event::Registered { controller: mid("alg2"), version: 3, kept: true }
        ]
    );
    assert!(matches!(&net.events()[..], [e] if is_registered(e, true)));
}

#[test]
fn a_dead_first_controller_is_passed_over_at_the_start() {
    let mut net = Network::new(2, Transport::Datagram, |_, _| {});
    net.dead.push(0);
    net.run(10);
    let told = net.gateway_events();
    assert_eq!(told[0], registration::Event::Unreachable { controller: mid("alg1") });
    assert!(
        matches!(&told[1], registration::Event::Registered { controller, .. } if *controller == mid("alg2"))
    );
}

#[test]
fn a_controller_sends_gateways_on_and_hands_them_off() {
    let mut net = Network::new(2, Transport::Datagram, |_, _| {});
    net.controllers[0].config.redirect = Some(mid("alg2"));
    net.run(5);
    assert_eq!(net.gateway.controller(), Some(&mid("alg2")));
    net.controllers[0].config.redirect = None;
    net.events();
    net.gateway_events();
    let controller = net.now;
    net.controllers[1].hand_off(controller, "access", mid("alg1"));
    net.run(5);
    assert_eq!(net.gateway.controller(), Some(&mid("alg1")));
    let events = net.events();
    let [Event::Lost { reason: LostReason::HandedOff, .. }, taken] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert!(is_registered(taken, true));
    net.run(120);
    assert_eq!(net.gateway.controller(), Some(&mid("alg1")));
}

#[test]
fn notify_is_passed_on_and_a_hanging_termination_subtracted() {
    let mut net = Network::new(1, Transport::Datagram, |_, _| {});
    net.run(5);
    net.controllers[0].request(net.now, "access", add());
    net.run(1);
    net.events();
    net.gateway_events();
    for event in ["g/cause", "hangterm/thb"] {
        net.gateway.request(net.now, notify(77, event)).unwrap();
        net.run(1);
        let events = net.events();
        assert!(
            matches!(&events[..], [Event::Notify { context: ContextId::Id(77), observed, .. }]
            if observed.events[0].name == event),
            "{events:?}"
        );
        let told = net.gateway_events();
        assert!(
            matches!(&told[..], [registration::Event::Reply { body, .. }] if body.first_error().is_none())
        );
    }
    net.gateway.request(net.now, notify(78, "hangterm/thb")).unwrap();
    net.run(1);
    assert_eq!(net.events(), []);
    let subtracted = net.gateway_events.iter().any(|e| {
        matches!(e, registration::Event::Request { actions, .. }
            if actions[0].context == ContextId::Id(78) && actions[0].commands[0].verb == Verb::Subtract)
    });
    assert!(subtracted);
    let told = net.gateway_events();
    assert!(told.iter().any(
        |e| matches!(e, registration::Event::Reply { body, .. } if body.first_error().is_some_and(|e| e.code == 430))
    ));
}

#[test]
fn a_refused_request_says_what_was_done_before() {
    let mut net = Network::new(1, Transport::Datagram, |_, _| {});
    net.run(5);
    net.events();
    net.controllers[0].request(net.now, "access", add());
    net.run_with(1, |actions| {
        let mut reply = agree(actions);
        if let ReplyBody::Actions(list) = &mut reply {
            list[0].error = Some(ErrorDescriptor::new(510, "Insufficient resources"));
        }
        (actions[0].commands[0].verb == Verb::Add).then_some(reply)
    });
    let events = net.events();
    let [Event::Reply { result: Err(error), .. }] = events.as_slice() else { panic!("{events:?}") };
    assert!(error.is_capacity());
    assert!(
        matches!(error, RequestError::Refused { error, actions } if error.code == 510 && actions.len() == 1)
    );
    assert_eq!(net.controllers[0].contexts("access"), 1);
    let refusal = net.controllers[0].gateways().next().unwrap().last_refusal.unwrap();
    assert_eq!(refusal.error.code, 510);
}

#[test]
fn a_retirement_that_is_taken_back_loses_nothing() {
    let mut net = Network::new(1, Transport::Datagram, |_, _| {});
    net.run(5);
    net.controllers[0].request(net.now, "access", add());
    net.run(1);
    net.gateway.retire(net.now, 905, Duration::from_secs(60));
    net.run(1);
    assert_eq!(net.controllers[0].available().count(), 0);
    net.events();
    net.gateway.resume(net.now);
    net.run(1);
    assert!(matches!(&net.events()[..], [Event::Registered { kept: true, .. }]));
    assert_eq!((net.controllers[0].available().count(), net.controllers[0].contexts("access")), (1, 1));
}

#[test]
fn leaving_is_told_and_commands_of_strangers_are_refused() {
    let mut net = Network::new(1, Transport::Datagram, |_, _| {});
    net.run(5);
    net.events();
    net.gateway.leave(net.now, 905);
    net.run(2);
    assert!(matches!(&net.events()[..], [Event::Lost { reason: LostReason::Forced, .. }]));
    assert_eq!(net.gateway_events().last(), Some(&registration::Event::Left));

    let now = net.now;
    let stranger = Message::new(3, mid("evil"), vec![Transaction::Pending(TransactionId(1))]);
    net.controllers[0].handle_message(now, "access", stranger.clone());
    assert!(
        matches!(net.controllers[0].poll_transmit(), Some((_, m)) if matches!(&m.body, Body::Error(e) if e.code == 504))
    );
    assert!(net.gateway.handle_message(now, stranger).is_some());
    // Not registered: only ServiceChange on ROOT is taken.
    let request = crate::TransactionRequest { id: TransactionId(9), actions: notify(77, "g/cause") };
    let message = Message::new(3, mid("agw1"), vec![Transaction::Request(request)]);
    net.controllers[0].handle_message(now, "access", message);
    let (_, reply) = net.controllers[0].poll_transmit().unwrap();
    assert!(
        matches!(reply.transactions(), [Transaction::Reply(r)] if r.body.first_error().is_some_and(|e| e.code == 504))
    );
}

#[test]
fn requests_before_the_registration_is_answered_get_505() {
    let mut net = Network::new(1, Transport::Datagram, |_, _| {});
    net.now += Duration::from_secs(3);
    net.gateway.handle_timeout(net.now);
    assert!(net.gateway.poll_transmit().is_some());
    let request = crate::TransactionRequest { id: TransactionId(9), actions: add() };
    let message = Message::new(3, mid("alg1"), vec![Transaction::Request(request)]);
    net.gateway.handle_message(net.now, message);
    let (_, reply) = net.gateway.poll_transmit().unwrap();
    assert!(
        matches!(reply.transactions(), [Transaction::Reply(r)] if r.body.first_error().is_some_and(|e| e.code == 505))
    );
}
