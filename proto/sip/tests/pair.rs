//! Two endpoints, a clock of their own and a network that loses, doubles, delays and reorders
//! datagrams. Whatever it does, each side hears of each thing once and forgets everything.
#![allow(clippy::unwrap_used, reason = "tests")]

use carnet_sip::{
    ClientKey, Config, Destination, Endpoint, Event, Hop, Input, Load, Message, Method, NameAddr, ServerKey,
    Transmit, Transport, Uri,
};
use carnet_wire::{Random, SeededRandom};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const ALICE: &str = "192.0.2.1:5060";
const BOB: &str = "192.0.2.2:5060";
const CALLS: u32 = 12;

fn hop(transport: Transport, local: &str, remote: &str) -> Hop {
    Hop { local: Some(local.parse().unwrap()), ..Hop::new(transport, remote.parse().unwrap()) }
}

/// What happened to one call at Alice's side.
#[derive(Default, Debug)]
struct Call {
    cancelled: bool,
    accepted: BTreeSet<String>,
    refused: Option<u16>,
    unanswered: bool,
    byes_answered: u32,
    byes_silent: u32,
}

/// And at Bob's.
#[derive(Default, Debug)]
struct Answered {
    accepted: u32,
    refused: bool,
    cancels: u32,
    acks: u32,
    unacknowledged: u32,
    byes: u32,
}

struct Pair {
    start: Instant,
    now: Instant,
    random: SeededRandom,
    loss: u32,
    transport: Transport,
    alice: Endpoint,
    bob: Endpoint,
    wire: BTreeMap<(Instant, u64), (bool, Hop, bytes::Bytes)>,
    sent: u64,
    invites: HashMap<ClientKey, String>,
    byes: HashMap<ClientKey, String>,
    calls: BTreeMap<String, Call>,
    answered: BTreeMap<String, Answered>,
    ringing: BTreeMap<(Instant, ServerKey), Message>,
    cancelling: BTreeMap<(Instant, ClientKey), ()>,
    inviting: BTreeSet<ServerKey>,
}

impl Pair {
    fn new(seed: u64, transport: Transport) -> Self {
        let mut random = SeededRandom::new(seed);
        let loss = if transport == Transport::Udp { random.u32() % 45 } else { 0 };
        let start = Instant::now();
        Self {
            start,
            now: start,
            loss,
            transport,
            alice: Endpoint::new(Config::default(), Box::new(SeededRandom::new(seed ^ 1))),
            bob: Endpoint::new(Config::default(), Box::new(SeededRandom::new(seed ^ 2))),
            random,
            wire: BTreeMap::new(),
            sent: 0,
            invites: HashMap::new(),
            byes: HashMap::new(),
            calls: BTreeMap::new(),
            answered: BTreeMap::new(),
            ringing: BTreeMap::new(),
            cancelling: BTreeMap::new(),
            inviting: BTreeSet::new(),
        }
    }

    fn percent(&mut self, n: u32) -> bool {
        self.random.u32() % 100 < n
    }

    fn millis(&mut self, most: u32) -> Duration {
        Duration::from_millis(u64::from(self.random.u32() % most))
    }

    fn to_bob(&self) -> Destination {
        hop(self.transport, ALICE, BOB).into()
    }

    fn invite(&mut self, n: u32) {
        let id = format!("call-{n}");
        let mut m = Message::request(Method::Invite, "sip:bob@192.0.2.2".parse().unwrap());
        m.push_back("From", "<sip:alice@example.com>;tag=a").unwrap();
        m.push_back("To", "<sip:bob@example.com>").unwrap();
        m.push_back("Call-ID", &id).unwrap();
        m.push_back("CSeq", "1 INVITE").unwrap();
        let to = self.to_bob();
        let key = self.alice.request(self.now, m, to).unwrap();
        self.invites.insert(key, id.clone());
        self.calls.insert(id, Call::default());
        if self.percent(40) {
            let at = self.now + self.millis(6000);
            self.cancelling.insert((at, key), ());
        }
    }

    fn in_dialog(&self, method: Method, cseq: u32, answer: &Message) -> Message {
        let uri: Uri = "sip:bob@192.0.2.2".parse().unwrap();
        let mut m = Message::request(method.clone(), uri);
        for name in ["From", "To", "Call-ID"] {
            m.copy_lines(name, answer);
        }
        m.push_back("CSeq", &format!("{cseq} {method}")).unwrap();
        m
    }

    fn carry(&mut self) {
        while let Some(t) = self.alice.poll_transmit() {
            self.post(true, t);
        }
        while let Some(t) = self.bob.poll_transmit() {
            self.post(false, t);
        }
    }

    fn post(&mut self, from_alice: bool, t: Transmit) {
        let back: SocketAddr = if from_alice { ALICE } else { BOB }.parse().unwrap();
        let copies = if self.transport == Transport::Udp { 1 + u32::from(self.percent(10)) } else { 1 };
        for _ in 0..copies {
            if self.percent(self.loss) {
                continue;
            }
            let mut delay = self.millis(700);
            if self.transport != Transport::Udp {
                delay = Duration::from_millis(20);
            }
            let hop = Hop { remote: back, local: Some(t.hop.remote), ..t.hop.clone() };
            self.sent += 1;
            self.wire.insert((self.now + delay, self.sent), (!from_alice, hop, t.data.clone()));
        }
    }

    /// Runs until nothing is left to happen.
    fn run(&mut self) {
        for n in 0..CALLS {
            self.invite(n);
        }
        for _ in 0..2_000_000 {
            self.carry();
            self.listen();
            self.carry();
            let next = [
                self.wire.keys().next().map(|(at, _)| *at),
                self.ringing.keys().next().map(|(at, _)| *at),
                self.cancelling.keys().next().map(|(at, _)| *at),
                self.alice.poll_timeout(),
                self.bob.poll_timeout(),
            ];
            let Some(next) = next.into_iter().flatten().min() else { return };
            self.now = self.now.max(next);
            while let Some(entry) = self.wire.first_entry().filter(|e| e.key().0 <= self.now) {
                let (to_alice, hop, data) = entry.remove();
                let endpoint = if to_alice { &mut self.alice } else { &mut self.bob };
                endpoint.handle_input(self.now, Input { hop, data });
            }
            self.alice.handle_timeout(self.now);
            self.bob.handle_timeout(self.now);
            self.listen();
            while let Some(entry) = self.cancelling.first_entry().filter(|e| e.key().0 <= self.now) {
                let (_, key) = *entry.key();
                entry.remove();
                if self.alice.cancel(self.now, key).is_ok() {
                    self.calls.get_mut(&self.invites[&key]).unwrap().cancelled = true;
                }
            }
            while let Some(entry) = self.ringing.first_entry().filter(|e| e.key().0 <= self.now) {
                let (_, key) = *entry.key();
                let invite = entry.remove();
                self.answer(key, &invite);
            }
        }
        panic!("it does not come to rest");
    }

    fn answer(&mut self, key: ServerKey, invite: &Message) {
        let id = invite.call_id().unwrap().to_owned();
        if !self.inviting.remove(&key) {
            return;
        }
        let accept = self.percent(60);
        // Sometimes as if a fork had been behind: two that accept.
        let tags: &[&str] = if accept && self.percent(20) { &["b1", "b2"] } else { &["b1"] };
        for tag in tags {
            let mut r = Message::response(invite, if accept { 200 } else { 486 }, "").unwrap();
            let to = NameAddr::parse(&invite.header("To").unwrap()).unwrap().with_tag(tag).unwrap();
            r.set_header("To", &to.to_string()).unwrap();
            self.bob.respond(self.now, key, r).unwrap();
            let answered = self.answered.get_mut(&id).unwrap();
            answered.accepted += u32::from(accept);
            answered.refused |= !accept;
        }
    }

    fn listen(&mut self) {
        while let Some(event) = self.bob.poll_event() {
            match event {
                Event::Request { key, message, .. } if *message.method() == Method::Invite => {
                    let id = message.call_id().unwrap().to_owned();
                    assert!(self.answered.insert(id, Answered::default()).is_none(), "an INVITE is new once");
                    self.inviting.insert(key);
                    if self.percent(70) {
                        self.bob
                            .respond(self.now, key, Message::response(&message, 180, "").unwrap())
                            .unwrap();
                    }
                    let at = self.now + self.millis(5000);
                    self.ringing.insert((at, key), message);
                }
                Event::Request { key, message, .. } => {
                    assert_eq!(*message.method(), Method::Bye);
                    let call = self.answered.get_mut(message.call_id().unwrap()).unwrap();
                    call.byes += 1;
                    self.bob.respond(self.now, key, Message::response(&message, 200, "").unwrap()).unwrap();
                }
                Event::Cancelled { key, message } => {
                    let call = self.answered.get_mut(message.call_id().unwrap()).unwrap();
                    call.cancels += 1;
                    assert!(self.inviting.remove(&key) && call.cancels == 1);
                    let (_, invite) = self.ringing.iter().find(|((_, k), _)| *k == key).unwrap();
                    self.bob.respond(self.now, key, Message::response(invite, 487, "").unwrap()).unwrap();
                    call.refused = true;
                }
                // One that answers the last repetition, 64 * T1 after the first.
                Event::Ack { key: None, .. } => assert!(self.now - self.start > Duration::from_secs(32)),
                Event::Ack { message, .. } => {
                    let call = self.answered.get_mut(message.call_id().unwrap()).unwrap();
                    call.acks += 1;
                    assert!(call.acks <= call.accepted, "an ACK comes once for each 2xx");
                }
                Event::Unacknowledged { status, .. } => {
                    let all: u32 = self.answered.values_mut().map(|a| a.accepted).sum();
                    assert!(status >= 300 || all > 0);
                    if let Some(call) =
                        self.answered.values_mut().find(|a| a.acks + a.unacknowledged < a.accepted)
                    {
                        call.unacknowledged += u32::from(status < 300);
                    }
                }
                // A CANCEL that was overtaken by the end of its INVITE.
                Event::Refused { status: Some(481), .. } => {}
                other => panic!("{other:?}"),
            }
        }
        while let Some(event) = self.alice.poll_event() {
            match event {
                Event::Response { key, message, .. } if self.invites.contains_key(&key) => {
                    self.invite_answered(key, &message);
                }
                Event::Response { key, message, .. } => {
                    assert_eq!(message.status(), Some(200));
                    self.calls.get_mut(&self.byes[&key]).unwrap().byes_answered += 1;
                }
                Event::Unanswered { key, .. } => match self.invites.get(&key) {
                    Some(id) => {
                        let call = self.calls.get_mut(id).unwrap();
                        assert!(!std::mem::replace(&mut call.unanswered, true) && call.refused.is_none());
                    }
                    None => self.calls.get_mut(&self.byes[&key]).unwrap().byes_silent += 1,
                },
                Event::Ended { key } => assert!(!self.calls[&self.invites[&key]].accepted.is_empty()),
                other => panic!("{other:?}"),
            }
        }
    }

    fn invite_answered(&mut self, key: ClientKey, message: &Message) {
        let id = self.invites[&key].clone();
        let call = self.calls.get_mut(&id).unwrap();
        match message.status().unwrap() {
            100..=199 => assert!(call.refused.is_none()),
            200..=299 => {
                assert!(call.accepted.insert(message.to_tag().unwrap()), "each 2xx of a fork comes once");
                assert!(call.refused.is_none() && !call.unanswered);
                let (ack, bye) =
                    (self.in_dialog(Method::Ack, 1, message), self.in_dialog(Method::Bye, 2, message));
                let to = self.to_bob();
                self.alice.ack(self.now, key, ack, to.clone()).unwrap();
                let bye = self.alice.request(self.now, bye, to).unwrap();
                self.byes.insert(bye, id);
            }
            status => {
                assert!(
                    call.refused.replace(status).is_none() && call.accepted.is_empty() && !call.unanswered
                );
            }
        }
    }

    fn check(&self, seed: u64) {
        assert_eq!(self.alice.load(), Load::default(), "seed {seed}: Alice forgets");
        assert_eq!(self.bob.load(), Load::default(), "seed {seed}: Bob forgets");
        assert_eq!(self.calls.len(), CALLS as usize);
        for (id, call) in &self.calls {
            let ends = [call.refused.is_some(), !call.accepted.is_empty(), call.unanswered];
            assert_eq!(ends.iter().filter(|e| **e).count(), 1, "seed {seed} {id}: one end of {call:?}");
            let Some(answered) = self.answered.get(id) else {
                assert!(call.unanswered, "seed {seed} {id}");
                continue;
            };
            assert!(call.accepted.len() as u32 <= answered.accepted, "seed {seed} {id}");
            assert!(call.refused.is_none() || answered.refused, "seed {seed} {id}");
            assert_eq!(answered.acks + answered.unacknowledged, answered.accepted, "seed {seed} {id}");
            assert_eq!(call.byes_answered + call.byes_silent, call.accepted.len() as u32, "seed {seed} {id}");
            assert!(answered.byes >= call.byes_answered, "seed {seed} {id}");
            if self.loss == 0 {
                assert!(!call.unanswered && answered.unacknowledged == 0, "seed {seed} {id}: {call:?}");
                assert_eq!(call.accepted.len() as u32, answered.accepted, "seed {seed} {id}");
            }
        }
    }
}

#[test]
fn datagrams_lost_doubled_and_reordered() {
    let mut losses = 0;
    for seed in 0..300 {
        let mut pair = Pair::new(seed, Transport::Udp);
        pair.run();
        pair.check(seed);
        losses += u32::from(pair.loss > 30);
    }
    assert!(losses > 50, "the network was bad often enough");
}

#[test]
fn streams() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed, Transport::Tcp);
        pair.run();
        pair.check(seed);
    }
}
