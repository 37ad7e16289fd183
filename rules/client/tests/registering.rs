//! Registrations, against a registrar that asks for a password.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod net;

use std::time::{Duration, Instant};

use bytes::Bytes;
use carnet_client::{Event, Refusal};
use carnet_sip::{
    DigestClient, DigestServer, DigestSettings, FlowId, Hop, Input, Limits, Message, Password, Transport,
    Verdict,
};
use carnet_wire::SeededRandom;
use net::{Net, Person, address};

/// Plays the registrar at 10.0.0.9, and a proxy there that asks for a password too.
struct Registrar {
    digest: DigestServer,
    rng: SeededRandom,
    least: u32,
    granted: u32,
    /// Refuses with 503 and this Retry-After.
    busy: Option<u32>,
    requests: Vec<Message>,
}

impl Registrar {
    fn new(now: Instant) -> Self {
        let mut rng = SeededRandom::new(99);
        let digest = DigestServer::new(DigestSettings::new("example.com"), now, &mut rng);
        Self { digest, rng, least: 0, granted: 600, busy: None, requests: Vec::new() }
    }

    fn answer(&mut self, now: Instant, request: Message) -> Message {
        let secret = Password::new(b"secret".to_vec());
        let verdict = self.digest.verify(now, &request, |user| (user == "alice").then_some(&secret));
        let mut response = match verdict {
            Verdict::Accepted { .. } if self.busy.is_some() => {
                let mut busy = Message::response(&request, 503, "Service Unavailable").unwrap();
                busy.push_back("Retry-After", &self.busy.unwrap_or(0).to_string()).unwrap();
                busy
            }
            Verdict::Accepted { .. } if request.expires().unwrap_or(0) >= self.least => {
                let mut ok = Message::response(&request, 200, "OK").unwrap();
                let contact = format!("{};expires={}", request.header("Contact").unwrap(), self.granted);
                ok.push_back("Contact", &contact).unwrap();
                ok.push_back("Service-Route", "<sip:10.0.0.9;lr>").unwrap();
                ok
            }
            Verdict::Accepted { .. } if request.expires() == Some(0) => {
                Message::response(&request, 200, "OK").unwrap()
            }
            Verdict::Accepted { .. } => {
                let mut brief = Message::response(&request, 423, "Interval Too Brief").unwrap();
                brief.push_back("Min-Expires", &self.least.to_string()).unwrap();
                brief
            }
            Verdict::Challenge { stale } => self.digest.refusal(now, &request, stale, &mut self.rng).unwrap(),
            Verdict::Denied => self.digest.refusal(now, &request, false, &mut self.rng).unwrap(),
        };
        if response.to_tag().is_none() {
            let to = response.to().unwrap().with_tag("registrar").unwrap();
            response.set_header("To", &to.to_string()).unwrap();
        }
        self.requests.push(request);
        response
    }

    /// Answers all that Alice has to say, until she is silent.
    fn serve(&mut self, net: &mut Net) {
        self.serve_by(net, &Hop::new(Transport::Udp, address(9)));
    }

    /// The same, by this way.
    fn serve_by(&mut self, net: &mut Net, hop: &Hop) {
        let (now, wall) = (net.now, net.wall);
        let node = &mut net.nodes[0];
        while let Some(transmit) = node.client.poll_transmit() {
            let request = Message::parse(transmit.data, &Limits::default()).unwrap();
            let data: Bytes = self.answer(now, request).to_bytes();
            node.client.handle_sip(now, wall, Input { hop: hop.clone(), data });
        }
        while let Some(event) = node.client.poll_event() {
            node.events.push_back(event);
        }
    }
}

fn alice(password: &str) -> (Net, Registrar) {
    let mut net = Net::new();
    let password = Password::new(password.as_bytes().to_vec());
    net.add(&Person { name: "alice", last: 1, proxy: 9 }, |config| {
        config.digest = Some(DigestClient::new("alice", password).unwrap());
    });
    let registrar = Registrar::new(net.now);
    (net, registrar)
}

#[test]
fn a_challenge_is_answered_and_the_registration_kept_up() {
    let (mut net, mut registrar) = alice("secret");
    net.nodes[0].client.register(net.now);
    registrar.serve(&mut net);
    let Event::Registered { expires, .. } = net.event(0, |event| matches!(event, Event::Registered { .. }))
    else {
        unreachable!()
    };
    assert_eq!(expires, Duration::from_secs(600));
    assert_eq!(registrar.requests.len(), 2);
    let first = &registrar.requests[0];
    assert_eq!(first.request_uri().unwrap().to_string(), "sip:example.com");
    assert!(first.lists("Supported", "path"));
    // Half of the time later it is made again, with the same Call-ID and a higher CSeq.
    net.now += Duration::from_secs(301);
    net.nodes[0].client.handle_timeout(net.now, net.wall);
    registrar.serve(&mut net);
    let last = registrar.requests.last().unwrap();
    assert_eq!(last.call_id().unwrap(), registrar.requests[0].call_id().unwrap());
    assert!(last.cseq().unwrap().number > 2);
    net.event(0, |event| matches!(event, Event::Registered { .. }));
}

#[test]
fn a_wrong_password_is_not_tried_again_and_again() {
    let (mut net, mut registrar) = alice("wrong");
    net.nodes[0].client.register(net.now);
    registrar.serve(&mut net);
    let failed = net.event(0, |event| matches!(event, Event::RegistrationFailed { .. }));
    assert!(matches!(failed, Event::RegistrationFailed { reason: Refusal::Unauthorised }));
    assert_eq!(registrar.requests.len(), 2, "one with credentials, then an end");
    net.now += Duration::from_secs(3600);
    net.nodes[0].client.handle_timeout(net.now, net.wall);
    registrar.serve(&mut net);
    assert_eq!(registrar.requests.len(), 2);
}

#[test]
fn a_longer_time_is_taken_when_it_is_demanded() {
    let (mut net, mut registrar) = alice("secret");
    (registrar.least, registrar.granted) = (3600, 3600);
    net.nodes[0].client.register(net.now);
    registrar.serve(&mut net);
    assert_eq!(registrar.requests.last().unwrap().expires(), Some(3600));
    net.event(0, |event| matches!(event, Event::Registered { .. }));
}

#[test]
fn a_registrar_that_is_busy_is_left_alone_for_as_long_as_it_says() {
    let (mut net, mut registrar) = alice("secret");
    // A century is not taken at its word.
    for (named, wait) in [(1000, 1000), (u32::MAX, 3600)] {
        registrar.busy = Some(named);
        net.nodes[0].client.register(net.now);
        registrar.serve(&mut net);
        net.event(0, |event| matches!(event, Event::RegistrationFailed { .. }));
        let before = registrar.requests.len();
        registrar.busy = None;
        for (seconds, again) in [(wait - 1, false), (2, true)] {
            net.now += Duration::from_secs(seconds);
            net.nodes[0].client.handle_timeout(net.now, net.wall);
            registrar.serve(&mut net);
            assert_eq!(registrar.requests.len() > before, again, "{named} after {seconds}");
        }
        net.event(0, |event| matches!(event, Event::Registered { .. }));
    }
}

#[test]
fn a_time_beyond_all_bounds_is_no_time() {
    let (mut net, mut registrar) = alice("secret");
    registrar.least = 700;
    net.nodes[0].client.register(net.now);
    let wide = |data: &Bytes| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        Bytes::from(text.replace("Min-Expires: 700", "Min-Expires: 18446744073709551615"))
    };
    while let Some(transmit) = net.nodes[0].client.poll_transmit() {
        let request = Message::parse(transmit.data, &Limits::default()).unwrap();
        let data = wide(&registrar.answer(net.now, request).to_bytes());
        let input = Input { hop: Hop::new(Transport::Udp, address(9)), data };
        net.nodes[0].client.handle_sip(net.now, net.wall, input);
    }
    net.settle();
    net.event(0, |event| {
        matches!(event, Event::RegistrationFailed { reason: Refusal::Rejected { status: 423, .. } })
    });
}

#[test]
fn the_service_route_is_used_and_the_end_is_told() {
    let (mut net, mut registrar) = alice("secret");
    net.nodes[0].client.register(net.now);
    registrar.serve(&mut net);
    net.add(&Person { name: "bob", last: 9, proxy: 1 }, |_| {});
    net.call(0, "sip:bob@example.com");
    let invite = Message::parse(net.nodes[1].received[0].clone(), &Limits::default()).unwrap();
    assert_eq!(invite.routes().unwrap()[0].to_string(), "<sip:10.0.0.9;lr>");
    assert!(!invite.has("Authorization"), "what the registrar was told is not for who is called");
    let call = carnet_client::CallId(1);
    net.nodes[0].client.hang_up(net.now, net.wall, call);
    net.settle();
    net.nodes.truncate(1);
    net.nodes[0].client.unregister(net.now);
    registrar.serve(&mut net);
    assert_eq!(registrar.requests.last().unwrap().expires(), Some(0));
    net.event(0, |event| matches!(event, Event::Unregistered));
}

#[test]
fn a_network_that_is_away_is_asked_again_with_growing_pauses() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 77 }, |_| {});
    net.nodes[0].client.register(net.now);
    net.pass(Duration::from_secs(600));
    let failures =
        net.nodes[0].events.iter().filter(|event| matches!(event, Event::RegistrationFailed { .. })).count();
    // 32 s of trying each, and pauses of 2, 4, 8 ... seconds.
    assert!((5..12).contains(&failures), "{failures}");
}

/// When Alice registers again after her connection has ended, in milliseconds; `stood` long it was up.
fn again(net: &mut Net, registrar: &mut Registrar, flow: u64, stood: Duration) -> u128 {
    let hop = Hop { flow: Some(FlowId(flow)), ..Hop::new(Transport::Udp, address(9)) };
    registrar.serve_by(net, &hop);
    net.event(0, |event| matches!(event, Event::Registered { .. }));
    net.now += stood;
    let client = &mut net.nodes[0].client;
    // Another connection than that of the registration is no matter.
    client.transport_failed(net.now, net.wall, &Hop { flow: Some(FlowId(flow + 100)), ..hop.clone() });
    assert!(client.poll_event().is_none());
    client.transport_failed(net.now, net.wall, &hop);
    assert!(matches!(client.poll_event(), Some(Event::FlowLost)));
    // Told once.
    client.transport_failed(net.now, net.wall, &hop);
    assert!(client.poll_event().is_none());
    let lost = net.now;
    while net.nodes[0].client.poll_transmit().is_none() {
        net.now = net.nodes[0].client.poll_timeout().unwrap();
        net.nodes[0].client.handle_timeout(net.now, net.wall);
    }
    // The one that was taken out goes again by its retransmission.
    let waited = net.now.duration_since(lost).as_millis();
    net.now = net.nodes[0].client.poll_timeout().unwrap();
    net.nodes[0].client.handle_timeout(net.now, net.wall);
    waited
}

#[test]
fn a_registration_whose_connection_ended_is_made_again_after_a_pause_of_its_own() {
    let (mut net, mut registrar) = alice("secret");
    net.nodes[0].client.register(net.now);
    let second = Duration::from_secs(1);
    let mut pauses = Vec::new();
    for flow in 1..=4 {
        pauses.push(again(&mut net, &mut registrar, flow, second));
    }
    // 2, 4, 8, 16 seconds and up to half of it more, and not the same share of it each time.
    for (at, pause) in pauses.iter().enumerate() {
        let least = 2000u128 << at;
        assert!((least..=least * 3 / 2).contains(pause), "{pauses:?}");
    }
    assert!((1..4).any(|at| pauses[at] != pauses[0] << at), "{pauses:?}");
    // One that stood for a while is no repeated failure.
    let pause = again(&mut net, &mut registrar, 5, Duration::from_secs(120));
    assert!((2000..=3000).contains(&pause), "{pause}");
}
