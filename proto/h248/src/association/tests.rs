//! Tests of the transaction layer: two associations and a network that loses, doubles and delays.

use super::*;
use crate::model::{ActionReply, Audit, Command, ContextId, ServiceChange, TerminationId, Verb};
use carnet_wire::SeededRandom;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

fn audit() -> Vec<ActionRequest> {
    vec![ActionRequest::new(
        ContextId::Null,
        vec![Command::audit_value(TerminationId::ROOT, Audit::default())],
    )]
}

fn done() -> ReplyBody {
    let reply = crate::CommandReply::new(Verb::AuditValue, TerminationId::ROOT);
    ReplyBody::Actions(vec![ActionReply::new(ContextId::Null, vec![reply])])
}

fn association(transport: Transport, seed: u64) -> Association {
    Association::new(Config::new(transport), MId::domain("x.example"), &mut SeededRandom::new(seed))
}

/// Two ends, the messages between them and a clock that jumps from one thing to the next.
struct Network {
    ends: [Association; 2],
    flying: BTreeMap<(Instant, u64), (usize, Message)>,
    now: Instant,
    rng: SeededRandom,
    sent: u64,
    /// Messages of a hundred that are lost, and that come twice.
    loss: u32,
    doubled: u32,
    delay: Duration,
}

impl Network {
    fn new(transport: Transport, seed: u64) -> Self {
        Self {
            ends: [association(transport, seed), association(transport, seed + 1)],
            flying: BTreeMap::new(),
            now: Instant::now(),
            rng: SeededRandom::new(seed ^ 77),
            sent: 0,
            loss: 0,
            doubled: 0,
            delay: Duration::from_millis(20),
        }
    }

    fn pump(&mut self) {
        for from in 0..2 {
            while let Some(message) = self.ends[from].poll_transmit() {
                for _ in 0..=usize::from(self.rng.u32() % 100 < self.doubled) {
                    self.sent += 1;
                    if self.rng.u32() % 100 >= self.loss {
                        let late = self.delay.mul_f64(1.0 + f64::from(self.rng.u32() % 100) / 50.0);
                        self.flying.insert((self.now + late, self.sent), (1 - from, message.clone()));
                    }
                }
            }
        }
    }

    /// Goes to the next thing that happens, unless it is after `end`.
    fn step(&mut self, end: Instant) -> bool {
        self.pump();
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let timer = self.ends.iter().filter_map(Association::poll_timeout).min();
        let Some(next) = arrival.into_iter().chain(timer).min().filter(|at| *at <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
            let (to, message) = entry.remove();
            self.ends[to].handle_message(self.now, message);
        }
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the network does, each request is executed at most once, and answered once or failed.
    #[test]
    fn at_most_once(seed: u64, loss in 0u32..45, doubled in 0u32..40, slow in 0u64..1_500) {
        let mut net = Network::new(Transport::Datagram, seed);
        (net.loss, net.doubled) = (loss, doubled);
        let mut asked = Vec::new();
        for _ in 0..20 {
            asked.push(net.ends[0].request(net.now, audit()));
        }
        let end = net.now + Duration::from_secs(200);
        let (mut executed, mut ended) = (HashMap::<_, u32>::new(), HashMap::<_, u32>::new());
        let mut working: Vec<(Instant, TransactionId)> = Vec::new();
        loop {
            let until = working.first().map_or(end, |(at, _)| *at);
            let more = net.step(until);
            while let Some(event) = net.ends[1].poll_event() {
                if let Event::Request { id, .. } = event {
                    *executed.entry(id).or_default() += 1;
                    working.push((net.now + Duration::from_millis(slow), id));
                }
            }
            let due: Vec<_> = working.iter().filter(|(at, _)| *at <= net.now).copied().collect();
            working.retain(|(at, _)| *at > net.now);
            for (_, id) in due {
                net.ends[1].reply(net.now, id, done());
            }
            while let Some(event) = net.ends[0].poll_event() {
                match event {
                    Event::Reply { id, .. } | Event::Failed { id, .. } => *ended.entry(id).or_default() += 1,
                    _ => {}
                }
            }
            if !more && working.is_empty() && net.now >= end {
                break;
            }
        }
        for id in &asked {
            prop_assert!(executed.get(id).copied().unwrap_or(0) <= 1, "{id} executed twice");
            prop_assert_eq!(ended.get(id).copied(), Some(1), "{} ended otherwise than once", id);
        }
        // Nothing is left behind.
        prop_assert_eq!(net.ends[0].outstanding(), 0);
        prop_assert!(net.ends.iter().all(|e| e.alarms.is_empty() && e.poll_timeout().is_none()));
    }
}

#[test]
fn a_silent_peer_is_lost_after_t_max_and_seven_to_fifteen_repeats() {
    let mut net = Network::new(Transport::Datagram, 3);
    net.loss = 100;
    let start = net.now;
    let id = net.ends[0].request(net.now, audit());
    while net.step(start + Duration::from_secs(60)) {
        if net.ends[0].outstanding() == 0 {
            break;
        }
    }
    let age = net.now - start;
    assert!(age >= Duration::from_secs(25) && age < Duration::from_secs(26), "{age:?}");
    assert!((7..=16).contains(&net.sent), "{} sent", net.sent);
    let reason = Failure::TimedOut;
    assert_eq!(net.ends[0].poll_event(), Some(Event::Failed { id, reason }));
    assert_eq!(net.ends[0].poll_event(), Some(Event::PeerLost));
    assert_eq!(net.ends[0].poll_event(), None);
}

#[test]
fn a_reliable_transport_sees_each_request_once_until_it_comes_back() {
    let mut net = Network::new(Transport::Reliable, 4);
    net.loss = 100;
    net.ends[0].request(net.now, audit());
    net.step(net.now + Duration::from_secs(20));
    assert_eq!(net.sent, 1);
    net.loss = 0;
    net.ends[0].reconnected();
    net.step(net.now + Duration::from_secs(1));
    assert!(matches!(net.ends[1].poll_event(), Some(Event::Request { .. })));
}

/// Work that takes long: Pending goes out, the reply asks for an acknowledgement and gets it.
#[test]
fn long_work_is_announced_and_its_reply_acknowledged() {
    let mut net = Network::new(Transport::Datagram, 5);
    let id = net.ends[0].request(net.now, audit());
    let start = net.now;
    while net.step(start + Duration::from_secs(6)) {}
    let Some(Event::Request { id: got, .. }) = net.ends[1].poll_event() else { panic!() };
    assert_eq!(got, id);
    assert_eq!(net.ends[1].poll_event(), None, "a repeat was executed");
    net.ends[1].reply(net.now, id, done());
    let reply = net.ends[1].poll_transmit().unwrap();
    assert!(matches!(reply.transactions(), [Transaction::Reply(r)] if r.immediate_ack));
    net.ends[0].handle_message(net.now, reply.clone());
    assert_eq!(net.ends[0].poll_event(), Some(Event::Reply { id, body: done() }));
    let ack = net.ends[0].poll_transmit().unwrap();
    assert_eq!(ack.transactions(), [Transaction::Ack(vec![AckRange { first: id, last: id }])]);
    net.ends[1].handle_message(net.now, ack);
    // A late copy of the request is dropped, of the reply acknowledged again.
    let copy = Transaction::Request(crate::TransactionRequest { id, actions: audit() });
    net.ends[1].handle_message(net.now, Message::new(3, MId::domain("x.example"), vec![copy]));
    assert_eq!((net.ends[1].poll_event(), net.ends[1].poll_transmit()), (None, None));
    net.ends[0].handle_message(net.now, reply);
    assert!(net.ends[0].poll_transmit().is_some());
    assert_eq!(net.ends[0].poll_event(), None);
}

#[test]
fn work_without_end_is_abandoned_with_506() {
    let mut net = Network::new(Transport::Datagram, 6);
    net.ends[1].config.limits.pendings = 3;
    let id = net.ends[0].request(net.now, audit());
    let end = net.now + Duration::from_secs(40);
    while net.step(end) {}
    assert!(matches!(net.ends[1].poll_event(), Some(Event::Request { .. })));
    assert_eq!(net.ends[1].poll_event(), Some(Event::Abandoned { id }));
    let Some(Event::Reply { body: ReplyBody::Error(error), .. }) = net.ends[0].poll_event() else { panic!() };
    assert_eq!(error.code, 506);
    // Too late.
    net.ends[1].reply(net.now, id, done());
    assert_eq!(net.ends[1].poll_transmit(), None);
}

#[test]
fn limits_answer_instead_of_growing() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 7);
    end.config.limits.outstanding = 1;
    end.config.limits.executing = 1;
    end.config.limits.transactions = 2;
    end.config.limits.remembered = 2;
    end.request(now, audit());
    let second = end.request(now, audit());
    assert_eq!(end.poll_event(), Some(Event::Failed { id: second, reason: Failure::TooMany }));
    let _ = end.poll_transmit();

    let message = |ids: &[u32]| {
        let request = |n: &u32| {
            Transaction::Request(crate::TransactionRequest { id: TransactionId(*n), actions: audit() })
        };
        Message::new(3, MId::domain("y.example"), ids.iter().map(request).collect())
    };
    end.handle_message(now, message(&[1, 2, 3]));
    let Some(Body::Error(error)) = end.poll_transmit().map(|m| m.body) else { panic!() };
    assert_eq!(error.code, 413);
    end.handle_message(now, message(&[1, 2]));
    let reply = end.poll_transmit().unwrap();
    let [Transaction::Reply(reply)] = reply.transactions() else { panic!() };
    assert_eq!((reply.id, reply.body.first_error().unwrap().code), (TransactionId(2), 511));
    for n in 10..20 {
        end.handle_message(now, message(&[n]));
        end.reply(now, TransactionId(n), done());
    }
    assert!(end.incoming.knows(TransactionId(19)) && !end.incoming.knows(TransactionId(11)));

    let many = vec![crate::CommandReply::new(Verb::Subtract, "a".repeat(60)); 2_000];
    end.reply(now, TransactionId(1), ReplyBody::Actions(vec![ActionReply::new(ContextId::Id(1), many)]));
    while let Some(message) = end.poll_transmit() {
        if let [Transaction::Reply(reply)] = message.transactions()
            && reply.id == TransactionId(1)
        {
            assert_eq!(reply.body.first_error().unwrap().code, 533);
            return;
        }
    }
    panic!("no reply");
}

#[test]
fn what_cannot_be_decoded_is_answered_where_it_belongs() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 8);
    let limits = crate::text::Limits::default();
    let error =
        crate::text::parse(b"MEGACO/3 <a> Transaction = 7 { Context = 1 { Bad = x } }", &limits).unwrap_err();
    end.handle_undecodable(now, &error);
    let message = end.poll_transmit().unwrap();
    assert!(matches!(message.transactions(), [Transaction::Reply(r)]
        if r.id == TransactionId(7) && r.body.first_error().is_some_and(|e| e.code == 443)));
    let error = crate::text::parse(b"nonsense", &limits).unwrap_err();
    end.handle_undecodable(now, &error);
    assert!(matches!(end.poll_transmit().unwrap().body, Body::Error(e) if e.code == 400));
    // A message error is never answered.
    end.handle_message(now, Message::error(3, MId::domain("y"), ErrorDescriptor::new(400, "no")));
    assert!(matches!(end.poll_event(), Some(Event::MessageError { .. })));
    assert_eq!(end.poll_transmit(), None);
}

/// A gateway that starts again may use the numbers of its former life.
#[test]
fn a_second_start_with_the_same_number_is_not_a_repeat() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 9);
    let start = |time| {
        let timestamp = Some(crate::TimeStamp { date: 20_260_301, time });
        let parameters = ServiceChange { timestamp, ..ServiceChange::new(crate::Method::Restart, 901) };
        let command = Command::service_change(TerminationId::ROOT, parameters);
        let actions = vec![ActionRequest::new(ContextId::Null, vec![command])];
        let request = Transaction::Request(crate::TransactionRequest { id: TransactionId(1), actions });
        Message::new(1, MId::domain("y"), vec![request])
    };
    end.handle_message(now, start(1));
    assert!(matches!(end.poll_event(), Some(Event::Request { .. })));
    end.reply(now, TransactionId(1), done());
    end.poll_transmit().unwrap();
    end.handle_message(now, start(1));
    assert_eq!(end.poll_event(), None);
    assert!(end.poll_transmit().is_some(), "the stored reply");
    end.handle_message(now, start(2));
    assert!(matches!(end.poll_event(), Some(Event::Request { .. })));
}

#[test]
fn ranges_are_merged() {
    let ids = [5, 1, 2, 3, 9, 8, u32::MAX].map(TransactionId).to_vec();
    let pairs: Vec<_> = ranges(ids).iter().map(|r| (r.first.0, r.last.0)).collect();
    assert_eq!(pairs, [(1, 3), (5, 5), (8, 9), (u32::MAX, u32::MAX)]);
}

#[test]
fn a_channel_keeps_nothing_to_be_sent_again() {
    let now = Instant::now();
    let (mut a, mut b) = (association(Transport::Channel, 1), association(Transport::Channel, 2));
    let id = a.request(now, audit());
    b.handle_message(now, a.poll_transmit().unwrap());
    assert!(matches!(b.poll_event(), Some(Event::Request { .. })));
    b.reply(now, id, done());
    a.handle_message(now, b.poll_transmit().unwrap());
    assert_eq!(a.poll_event(), Some(Event::Reply { id, body: done() }));
    assert!(!b.incoming.knows(id) && a.outstanding() == 0);
    assert_eq!((a.poll_timeout(), b.poll_timeout()), (None, None));
    assert!(a.poll_transmit().is_none() && b.poll_transmit().is_none());

    // An answer that does not come is missed all the same.
    let id = a.request(now, audit());
    a.poll_transmit().unwrap();
    a.reconnected();
    assert!(a.poll_transmit().is_none());
    a.handle_timeout(a.poll_timeout().unwrap());
    assert_eq!(a.poll_event(), Some(Event::Failed { id, reason: Failure::TimedOut }));
    assert_eq!(a.poll_event(), None, "the other end is slow, not lost");
}
