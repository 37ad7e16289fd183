//! Connections: who may speak for whom, what cannot be read, loss and return, slowness, datagrams.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use bytes::Bytes;
use carnet_bfcp::{
    Attribute, Body, ClientEvent, ErrorCode, Limits as MessageLimits, Message, Primitive, Status, Transport,
    Value,
};
use carnet_floor::*;
use common::{CONFERENCE, Rig, code, floor, request, standing};
use std::time::Duration;

fn raw(conference: u32, transaction: u16, user: u16, body: &Body) -> Message {
    Message {
        version: 1,
        responder: false,
        primitive: body.primitive(),
        conference,
        transaction,
        user,
        attributes: body.attributes(),
    }
}

impl Rig {
    fn send(&mut self, id: ConnectionId, octets: &[u8]) -> Vec<Message> {
        self.control.handle_octets(self.now, id, octets);
        self.sent(id)
    }

    fn sent(&mut self, id: ConnectionId) -> Vec<Message> {
        let mut out = Vec::new();
        while let Some((to, octets)) = self.control.poll_transmit() {
            if to == id {
                out.push(Message::parse(&octets, &MessageLimits::default()).unwrap());
            }
        }
        out
    }

    fn say(&mut self, id: ConnectionId, message: &Message) -> Message {
        let mut answers = self.send(id, &message.print().unwrap());
        assert_eq!(answers.len(), 1, "{answers:?}");
        let answer = answers.remove(0);
        let copied = |m: &Message| (m.conference, m.transaction, m.user, m.version);
        assert_eq!(copied(&answer), copied(message), "§8.2");
        answer
    }

    fn closes(&mut self) -> Vec<(ConnectionId, CloseReason)> {
        let events = self.happened().into_iter();
        let closes = events.filter_map(|event| match event {
            Event::Close { connection, reason } => Some((connection, reason)),
            _ => None,
        });
        closes.collect()
    }
}

fn refused(answer: &Message) -> ErrorCode {
    code(&Body::of(answer).unwrap())
}

#[test]
fn errors_in_the_order_of_the_specification() {
    let mut rig = Rig::new(vec![floor(1, Algorithm::FirstCome)], &[1, 2]);
    let id = rig.id(1);
    let hello = raw(CONFERENCE, 5, 1, &Body::Hello);
    let mut odd = Message { primitive: Primitive(99), ..hello.clone() };
    odd.attributes
        .push(Attribute { mandatory: true, value: Value::Extension { kind: 20, contents: Bytes::new() } });
    odd.conference = 4;
    odd.user = 77;
    assert_eq!(refused(&rig.say(id, &odd)), ErrorCode::UnknownPrimitive);
    odd.primitive = Primitive::Hello;
    assert_eq!(refused(&rig.say(id, &odd)), ErrorCode::ConferenceDoesNotExist);
    odd.conference = CONFERENCE;
    assert_eq!(refused(&rig.say(id, &odd)), ErrorCode::UserDoesNotExist);
    odd.user = 2;
    assert_eq!(refused(&rig.say(id, &odd)), ErrorCode::UnauthorizedOperation, "another's number");
    odd.user = 1;
    let answer = rig.say(id, &odd);
    let Ok(Body::Error { code, details, .. }) = Body::of(&answer) else { panic!("{answer:?}") };
    assert_eq!(code, ErrorCode::UnknownMandatoryAttribute);
    assert_eq!(Value::unknown_types(&details).collect::<Vec<_>>(), [20]);
    odd.attributes[0].mandatory = false;
    assert!(matches!(Body::of(&rig.say(id, &odd)), Ok(Body::HelloAck { .. })));
    // Attributes that are missing.
    let empty = Message { attributes: Vec::new(), ..raw(CONFERENCE, 6, 1, &request(&[1])) };
    assert_eq!(refused(&rig.say(id, &empty)), ErrorCode::UnableToParse);
    // What only servers say, and acknowledgements that have no place on a stream.
    for primitive in [4, 6, 8, 10, 12, 14, 15, 17] {
        let message = Message { primitive: Primitive(primitive), ..hello.clone() };
        assert_eq!(refused(&rig.say(id, &message)), ErrorCode::UnknownPrimitive, "{primitive}");
    }
    // Errors are not answered with errors.
    let error = Message { primitive: Primitive::Error, ..hello.clone() };
    assert_eq!(rig.send(id, &error.print().unwrap()), []);
    assert_eq!(rig.closes(), [], "nothing of this was reason to close");
    // Unknown requests and floors.
    assert_eq!(
        refused(&rig.say(id, &raw(CONFERENCE, 7, 1, &Body::FloorRelease { request: 9 }))),
        ErrorCode::FloorRequestIdDoesNotExist
    );
    assert_eq!(
        refused(&rig.say(id, &raw(CONFERENCE, 8, 1, &Body::FloorQuery { floors: vec![1, 9] }))),
        ErrorCode::InvalidFloorId
    );
    let query = Body::UserQuery { beneficiary: Some(77) };
    assert_eq!(refused(&rig.say(id, &raw(CONFERENCE, 9, 1, &query))), ErrorCode::UserDoesNotExist);
}

#[test]
fn capabilities_are_true() {
    let mut rig = Rig::new(vec![floor(1, Algorithm::FirstCome)], &[1]);
    let Body::HelloAck { primitives, attributes } = rig.ask(1, Body::Hello) else { panic!() };
    assert_eq!(attributes, (1..=18).collect::<Vec<u8>>());
    assert_eq!(primitives, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17]);
    let id = rig.id(1);
    // Each that only clients send is answered with something else than "unknown".
    let bodies = [
        request(&[1]),
        Body::FloorRelease { request: 1 },
        Body::FloorRequestQuery { request: 1 },
        Body::UserQuery { beneficiary: None },
        Body::FloorQuery { floors: vec![1] },
        Body::ChairAction(carnet_bfcp::RequestInformation {
            id: 1,
            floors: vec![carnet_bfcp::FloorState { id: 1, ..Default::default() }],
            ..Default::default()
        }),
        Body::Hello,
        Body::Goodbye,
    ];
    for (index, body) in bodies.iter().enumerate() {
        let transaction = u16::try_from(index).unwrap() + 100;
        let answer = rig.send(id, &raw(CONFERENCE, transaction, 1, body).print().unwrap()).remove(0);
        assert!(primitives.contains(&answer.primitive.0), "{answer:?}");
        if let Ok(Body::Error { code, .. }) = Body::of(&answer) {
            assert_ne!(code, ErrorCode::UnknownPrimitive, "{body:?}");
        }
    }
    rig.clients.clear();
    rig.join(1, Transport::Datagram { mtu: 1200 });
    let Body::HelloAck { primitives, .. } = rig.ask(1, Body::Hello) else { panic!() };
    assert_eq!(primitives, (1..=17).collect::<Vec<u8>>());
}

#[test]
fn what_cannot_be_read_closes_a_stream() {
    for (octets, expected) in [
        // An attribute that says that it is longer than the message.
        (&b"\x20\x01\x00\x01\x0a\x0b\x0c\x0d\x00\x07\x00\x01\x05\x08\x00\x01"[..], ErrorCode::UnableToParse),
        // A message longer than is taken.
        (b"\x20\x01\xff\xff\x0a\x0b\x0c\x0d\x00\x07\x00\x01", ErrorCode::IncorrectLength),
        // Versions that do not belong here.
        (b"\x40\x0b\x00\x00\x0a\x0b\x0c\x0d\x00\x07\x00\x01", ErrorCode::UnsupportedVersion),
        (b"\x60\x0b\x00\x00\x0a\x0b\x0c\x0d\x00\x07\x00\x01", ErrorCode::UnsupportedVersion),
    ] {
        let mut rig = Rig::new(vec![floor(1, Algorithm::FirstCome)], &[1]);
        rig.request(1, &[1]);
        rig.happened();
        let id = rig.id(1);
        rig.control.handle_octets(rig.now, id, octets);
        let answers = rig.sent(id);
        assert_eq!(answers.len(), 1, "the error goes before the end");
        assert_eq!((refused(&answers[0]), answers[0].transaction, answers[0].user), (expected, 7, 1));
        assert_eq!(rig.closes(), [(id, CloseReason::Unreadable)]);
        rig.control.handle_octets(rig.now, id, b"\x20\x0b\x00\x00\x0a\x0b\x0c\x0d\x00\x08\x00\x01");
        assert_eq!(rig.control.poll_transmit(), None, "it is forgotten");
        // That is a loss, not an end (§6.1): the client may come back.
        assert_eq!(rig.control.holders(1), [1]);
        rig.clients.clear();
        rig.pass(30);
        assert_eq!(rig.control.holders(1), [] as [u16; 0]);
    }
}

#[test]
fn a_connection_is_one_users() {
    let settings = Settings::new(CONFERENCE, vec![floor(1, Algorithm::FirstCome)]);
    let mut rig = Rig::with(settings, Limits::default(), &[]);
    for user in [1, 2] {
        rig.control.admit(rig.now, user, Member::default());
    }
    // Who says nothing of its user is the one of its first message.
    let one = rig.connect(Link { user: None, ..Link::stream(None) });
    assert_eq!(rig.say(one, &raw(CONFERENCE, 1, 1, &Body::Hello)).primitive, Primitive::HelloAck);
    assert_eq!(rig.happened(), [Event::Bound { connection: one, user: 1 }]);
    let other = rig.connect(Link::stream(None));
    let answer = rig.say(other, &raw(CONFERENCE, 1, 1, &Body::Hello));
    assert_eq!(refused(&answer), ErrorCode::UnauthorizedOperation, "user 1 is there already");
    assert_eq!(rig.say(other, &raw(CONFERENCE, 2, 2, &Body::Hello)).primitive, Primitive::HelloAck);
    assert_eq!(
        refused(&rig.say(other, &raw(CONFERENCE, 3, 1, &Body::Hello))),
        ErrorCode::UnauthorizedOperation
    );
    // A connection whose key says who it is takes the place of an older one.
    rig.happened();
    let newer = rig.connect(Link::stream(Some(1)));
    assert_eq!(rig.closes(), [(one, CloseReason::Superseded)]);
    assert_eq!(rig.say(newer, &raw(CONFERENCE, 4, 1, &Body::Hello)).primitive, Primitive::HelloAck);
    rig.control.closed(rig.now, one, true);
    assert_eq!(
        rig.say(newer, &raw(CONFERENCE, 5, 1, &request(&[1]))).primitive,
        Primitive::FloorRequestStatus
    );
    assert_eq!(rig.control.holders(1), [1]);
    // A user may be admitted after its connection.
    let early = rig.connect(Link::stream(Some(3)));
    assert_eq!(refused(&rig.say(early, &raw(CONFERENCE, 1, 3, &Body::Hello))), ErrorCode::UserDoesNotExist);
    rig.control.admit(rig.now, 3, Member::default());
    assert_eq!(rig.say(early, &raw(CONFERENCE, 2, 3, &Body::Hello)).primitive, Primitive::HelloAck);
    rig.control.dismiss(rig.now, 3);
    assert_eq!(rig.closes(), [(early, CloseReason::Dismissed)]);
}

#[test]
fn tls_can_be_asked_for() {
    let mut settings = Settings::new(CONFERENCE, vec![floor(1, Algorithm::FirstCome)]);
    settings.secured_only = true;
    let mut rig = Rig::with(settings, Limits::default(), &[1]);
    assert!(matches!(rig.ask(1, Body::Hello), Body::HelloAck { .. }));
    let open = rig.connect(Link { secured: false, ..Link::stream(None) });
    assert_eq!(refused(&rig.say(open, &raw(CONFERENCE, 1, 1, &Body::Hello))), ErrorCode::UseTls);
    let transport = Transport::Datagram { mtu: 1200 };
    let open = rig.connect(Link { secured: false, transport, user: None });
    let hello = Message { version: 2, ..raw(CONFERENCE, 1, 1, &Body::Hello) };
    assert_eq!(refused(&rig.say(open, &hello)), ErrorCode::UseDtls);
}

#[test]
fn who_comes_back_in_time_keeps_what_it_has() {
    let floors = vec![floor(1, Algorithm::FirstCome), floor(2, Algorithm::FirstCome)];
    let mut rig = Rig::new(floors, &[1, 2, 3]);
    let (held, ..) = rig.request(1, &[1]);
    rig.request(2, &[2]);
    let (waits, ..) = rig.request(1, &[2]);
    let (behind, ..) = rig.request(3, &[2]);
    let id = rig.id(1);
    let mut client = rig.clients.remove(&1).unwrap().1;
    rig.control.closed(rig.now, id, false);
    assert_eq!(rig.control.holders(1), [1]);
    // What comes free meanwhile goes to who is there, and the place in the queue stays.
    rig.control.dismiss(rig.now, 2);
    rig.clients.remove(&2);
    assert_eq!(rig.control.holders(2), [3]);
    rig.pass(29);
    let id = rig.connect(Link::stream(Some(1)));
    // A request whose answer was lost is sent again, and not done twice.
    let lost = Body::FloorRelease { request: behind };
    client.ask(rig.now, lost);
    while client.poll_transmit().is_some() {}
    client.reconnected(rig.now);
    rig.clients.insert(1, (id, client));
    rig.run();
    assert!(matches!(rig.client(1).poll_event(), Some(ClientEvent::Answer { .. })));
    let Body::UserStatus { requests, .. } = rig.ask(1, Body::UserQuery { beneficiary: None }) else {
        panic!()
    };
    let standings: Vec<_> = requests.iter().map(standing).collect();
    assert_eq!(standings, [(held, Status::Granted, 0), (waits, Status::Accepted, 1)]);
    rig.pass(100);
    assert_eq!(rig.control.holders(1), [1]);
    // Too late.
    let id = rig.id(1);
    rig.control.closed(rig.now, id, false);
    rig.clients.remove(&1);
    rig.happened();
    rig.pass(30);
    assert_eq!(rig.control.holders(1), [] as [u16; 0]);
    let reasons: Vec<_> = rig
        .happened()
        .into_iter()
        .filter_map(|event| match event {
            Event::Ended { request, status, reason, .. } => Some((request, status, reason)),
            _ => None,
        })
        .collect();
    let lost = Reason::Lost;
    assert_eq!(reasons, [(held, Status::Released, lost), (waits, Status::Cancelled, lost)]);
    // A clean end frees at once.
    let id = rig.id(3);
    rig.control.closed(rig.now, id, true);
    assert_eq!(rig.control.holders(2), [] as [u16; 0]);
}

#[test]
fn a_repeated_request_is_done_once() {
    let mut rig = Rig::new(vec![floor(1, Algorithm::FirstCome)], &[1, 2]);
    let id = rig.id(1);
    let ask = raw(CONFERENCE, 7, 1, &request(&[1]));
    let first = rig.say(id, &ask);
    assert_eq!(rig.say(id, &ask), first);
    let release = raw(CONFERENCE, 8, 1, &Body::FloorRelease { request: 1 });
    let over = rig.say(id, &release);
    assert_eq!(rig.say(id, &release), over, "the same, and no complaint that there is no such request");
    // Also over another connection.
    rig.control.closed(rig.now, id, false);
    let id = rig.connect(Link::stream(Some(1)));
    assert_eq!(rig.say(id, &release), over);
    // A number may be used again for something else once it was answered (§8.1).
    let again = raw(CONFERENCE, 8, 1, &request(&[1]));
    assert_eq!(rig.say(id, &again).primitive, Primitive::FloorRequestStatus);
    assert_eq!(rig.control.holders(1), [1]);
    let release = raw(CONFERENCE, 8, 1, &Body::FloorRelease { request: 2 });
    rig.say(id, &release);
    rig.say(id, &again);
    assert_eq!(rig.control.holders(1), [1], "one who always takes the same number is not refused");
    // Questions are answered anew.
    let question = raw(CONFERENCE, 9, 1, &Body::UserQuery { beneficiary: None });
    let before = rig.say(id, &question);
    rig.say(id, &raw(CONFERENCE, 10, 1, &Body::FloorRelease { request: 3 }));
    assert_ne!(rig.say(id, &question), before);
    // Another user's transactions are its own.
    let other = rig.id(2);
    assert_eq!(
        Body::of(&rig.say(other, &raw(CONFERENCE, 10, 2, &request(&[1])))).unwrap().primitive(),
        Primitive::FloorRequestStatus
    );
    assert_eq!(rig.control.holders(1), [2]);
}

#[test]
fn watchers_hear_what_changes_and_see_what_they_may() {
    let floors = vec![floor(1, Algorithm::Chair), floor(2, Algorithm::FirstCome)];
    let mut rig = Rig::new(floors, &[1, 2, 3, 9]);
    rig.control.designate(rig.now, 1, Some(9)).unwrap();
    for user in [2, 3, 9] {
        let Body::FloorStatus { floors, requests } = rig.ask(user, Body::FloorQuery { floors: vec![1, 2] })
        else {
            panic!()
        };
        assert_eq!((floors, requests.len()), (vec![1], 0), "the first in the answer");
        let [Body::FloorStatus { floors, .. }] = &rig.heard(user)[..] else { panic!() };
        assert_eq!(floors, &[2], "the other by itself");
    }
    // A request with words is the chair's to see.
    let information = Some("it hurts".into());
    let ask = Body::FloorRequest { floors: vec![1], beneficiary: None, information, priority: None };
    let Body::FloorRequestStatus(own) = rig.ask(1, ask) else { panic!() };
    let seen = |body: &Body| match body {
        Body::FloorStatus { floors, requests } => {
            let words = requests
                .iter()
                .map(|r| (standing(r), r.beneficiary.as_ref().unwrap().id, r.provided.is_some()));
            (floors[0], words.collect::<Vec<_>>())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(rig.heard(1), [], "who does not watch hears of its own only");
    assert_eq!(rig.heard(2), [], "nothing that is for it to see");
    let chairs = rig.heard(9).iter().map(seen).collect::<Vec<_>>();
    assert_eq!(chairs, [(1, vec![((own.id, Status::Pending, 0), 1, true)])]);
    let query = Body::FloorRequestQuery { request: own.id };
    assert_eq!(code(&rig.ask(2, query.clone())), ErrorCode::UnauthorizedOperation);
    assert!(matches!(rig.ask(9, query.clone()), Body::FloorRequestStatus(_)));
    let whose = Body::UserQuery { beneficiary: Some(1) };
    let Body::UserStatus { requests, .. } = rig.ask(2, whose.clone()) else { panic!() };
    assert_eq!(requests, []);
    let Body::UserStatus { requests, .. } = rig.ask(9, whose) else { panic!() };
    assert_eq!(requests.len(), 1);
    // What is decided everybody sees.
    rig.decide(9, own.id, 1, carnet_bfcp::RequestStatus::new(Status::Granted));
    for user in [2, 3] {
        let seen = rig.heard(user).iter().map(seen).collect::<Vec<_>>();
        assert_eq!(seen, [(1, vec![((own.id, Status::Granted, 0), 1, false)])], "{user}");
    }
    let Body::FloorRequestStatus(information) = rig.ask(2, query) else { panic!() };
    assert_eq!((information.provided, information.beneficiary.unwrap().id), (None, 1));
    // A new query takes the place of the old (§12.1.1), and an empty one ends it.
    rig.ask(3, Body::FloorQuery { floors: vec![2] });
    assert_eq!(
        rig.ask(2, Body::FloorQuery { floors: vec![] }),
        Body::FloorStatus { floors: vec![], requests: vec![] }
    );
    rig.ask(1, Body::FloorRelease { request: own.id });
    rig.request(1, &[2]);
    assert_eq!(rig.heard(2), []);
    assert_eq!(rig.heard(3).iter().map(|body| seen(body).0).collect::<Vec<_>>(), [2]);
}

#[test]
fn names_and_words_fit() {
    let mut rig = Rig::new(vec![floor(1, Algorithm::FirstCome)], &[1, 2]);
    let long = "ü".repeat(500);
    let member =
        |uri: &str| Member { display_name: Some(long.clone()), uri: Some(uri.into()), ..Member::default() };
    rig.control.admit(rig.now, 1, member(&long));
    let information = Some(long.as_str().into());
    let ask = Body::FloorRequest { floors: vec![1], beneficiary: None, information, priority: None };
    assert!(matches!(rig.ask(1, ask), Body::FloorRequestStatus(_)));
    let Body::FloorStatus { requests, .. } = rig.ask(2, Body::FloorQuery { floors: vec![1] }) else {
        panic!()
    };
    let user = requests[0].beneficiary.as_ref().unwrap();
    assert!(user.display_name.as_ref().unwrap().as_str().len() > 200 && user.uri.is_none());
    rig.control.admit(rig.now, 1, Member { display_name: Some("Ann".into()), ..member("sip:ann@x.example") });
    let Body::FloorStatus { requests, .. } = rig.ask(2, Body::FloorQuery { floors: vec![1] }) else {
        panic!()
    };
    let user = requests[0].beneficiary.as_ref().unwrap();
    assert_eq!(user.uri.as_ref().unwrap().as_str(), "sip:ann@x.example");
    let Body::UserStatus { beneficiary, .. } = rig.ask(2, Body::UserQuery { beneficiary: Some(1) }) else {
        panic!()
    };
    assert_eq!(beneficiary.unwrap().display_name.unwrap().as_str(), "Ann");
}

#[test]
fn a_connection_that_takes_nothing_is_told_the_latest_and_then_closed() {
    let mut limits = Limits::default();
    limits.transmit = 2_000;
    limits.burst = 1_000;
    let settings = Settings::new(CONFERENCE, vec![floor(1, Algorithm::FirstCome)]);
    let mut rig = Rig::with(settings, limits, &[1, 2]);
    rig.ask(2, Body::FloorQuery { floors: vec![1] });
    let id = rig.id(2);
    rig.control.blocked(id, true);
    for _ in 0..100 {
        let (request, ..) = rig.request(1, &[1]);
        rig.ask(1, Body::FloorRelease { request });
    }
    assert_eq!(rig.heard(2), []);
    rig.control.blocked(id, false);
    let [Body::FloorStatus { requests, .. }] = &rig.heard(2)[..] else { panic!("only the latest") };
    assert_eq!(requests.len(), 0);
    // Requests of its own fill the queue until it is closed; the others are not bothered.
    rig.control.blocked(id, true);
    let hello = raw(CONFERENCE, 9, 2, &Body::Hello).print().unwrap();
    for _ in 0..200 {
        rig.control.handle_octets(rig.now, id, &hello);
    }
    assert_eq!(rig.closes(), [(id, CloseReason::Slow)]);
    assert_eq!(rig.control.poll_transmit(), None, "and nothing is left of it");
    assert_eq!(rig.request(1, &[1]).1, Status::Granted);
    // Many at once in one read as well.
    let id = rig.id(1);
    let hello = raw(CONFERENCE, 9, 1, &Body::Hello).print().unwrap().repeat(1_000);
    rig.control.handle_octets(rig.now, id, &hello);
    assert_eq!(rig.closes(), [(id, CloseReason::Slow)]);
}

#[test]
fn too_many_connections() {
    let mut limits = Limits::default();
    limits.connections = 2;
    let settings = Settings::new(CONFERENCE, vec![floor(1, Algorithm::FirstCome)]);
    let mut rig = Rig::with(settings, limits, &[1, 2]);
    let third = rig.connect(Link::stream(None));
    assert_eq!(rig.closes(), [(third, CloseReason::TooMany)]);
}

#[test]
fn datagrams_are_repeated_and_acknowledged() {
    let mut rig = Rig::new(vec![floor(1, Algorithm::FirstCome)], &[1]);
    let transport = Transport::Datagram { mtu: 1200 };
    rig.control.admit(rig.now, 2, Member::default());
    rig.control.admit(rig.now, 3, Member::default());
    let id = rig.join(2, transport);
    assert!(matches!(rig.ask(2, Body::Hello), Body::HelloAck { .. }));
    rig.request(1, &[1]);
    let (waits, status, _) = rig.request(2, &[1]);
    assert_eq!(status, Status::Accepted);
    assert_eq!(rig.ask(2, Body::FloorQuery { floors: vec![1] }).primitive(), Primitive::FloorStatus);
    // The server's notices come one after another, each acknowledged.
    rig.ask(1, Body::FloorRelease { request: 1 });
    assert_eq!(rig.news(2), [(waits, Status::Granted, 0)]);
    // A client that is gone: three repeats, then the connection is.
    let mut client = rig.clients.remove(&2).unwrap().1;
    rig.request(1, &[1]);
    let mut sent = Vec::new();
    let end = rig.now + Duration::from_secs(20);
    while let Some(at) = rig.control.poll_timeout().filter(|at| *at <= end) {
        while let Some((to, octets)) = rig.control.poll_transmit() {
            assert_eq!(to, id);
            sent.push(octets);
        }
        rig.now = at;
        rig.control.handle_timeout(at);
    }
    assert_eq!(sent.len(), 3, "the first of four was lost before");
    assert!(sent.iter().all(|octets| *octets == sent[0] && octets[0] == 0x40));
    assert_eq!(rig.closes(), [(id, CloseReason::Silent)]);
    assert_eq!(rig.control.holders(1), [2], "for the time of grace");
    // A client that hears the same notice twice acknowledges it twice and tells it once.
    for _ in 0..2 {
        client.handle_octets(rig.now, &sent[0]).unwrap();
        let ack = client.poll_transmit().unwrap();
        assert_eq!((ack[0], ack[1], &ack[8..10]), (0x50, 15, &sent[0][8..10]));
    }
    assert!(matches!(client.poll_event(), Some(ClientEvent::Notice(Body::FloorStatus { .. }))));
    assert_eq!(client.poll_event(), None);
    // Goodbye ends at once, and its acknowledgement goes before.
    let id = rig.join(3, transport);
    rig.happened();
    assert_eq!(rig.ask(3, Body::Goodbye), Body::GoodbyeAck);
    assert_eq!(rig.closes(), [(id, CloseReason::Goodbye)]);
    // And the server says it to whom it sends away.
    rig.join(3, transport);
    rig.control.dismiss(rig.now, 3);
    rig.run();
    assert_eq!(rig.client(3).poll_event(), Some(ClientEvent::Goodbye));
}

#[test]
fn a_server_that_starts_again_goes_on() {
    let mut limited = floor(2, Algorithm::FirstCome);
    limited.max_time = Some(Duration::from_secs(100));
    let floors = vec![
        floor(1, Algorithm::FirstCome),
        limited,
        floor(3, Algorithm::Chair),
        floor(4, Algorithm::Rotation),
    ];
    let users = [1, 2, 3, 4, 5];
    let mut rig = Rig::new(floors.clone(), &users);
    let (held, ..) = rig.request(1, &[1]);
    let (first, ..) = rig.request(2, &[1]);
    let (second, ..) = rig.request(3, &[1]);
    let (timed, ..) = rig.request(4, &[2]);
    let (pending, ..) = rig.request(5, &[3]);
    rig.control.dismiss(rig.now, 1);
    rig.clients.remove(&1);
    let _ = held;
    rig.pass(40);
    let text = rig.control.snapshot(rig.now);
    assert!(text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b)), "{text}");
    assert!(text.len() < 12 + 4 * (40 + 16) + 12, "{text}");
    let before = rig.control.status();
    let next = rig.now + Duration::from_secs(5);
    let mut again = Rig::with(Settings::new(CONFERENCE, floors.clone()), Limits::default(), &[]);
    again.now = next;
    for user in [2, 3, 4] {
        again.control.admit(next, user, Member::default());
    }
    again.control.restore(next, &text).unwrap();
    assert_eq!(again.control.status(), before);
    assert_eq!(again.control.snapshot(next), text);
    // Numbers are not given twice, and who comes back is told nothing new.
    again.join(2, Transport::Stream);
    again.join(3, Transport::Stream);
    again.join(4, Transport::Stream);
    let (new, ..) = again.request(2, &[4]);
    assert!(new > pending);
    again.pass(29);
    assert_eq!(again.control.holders(1), [2]);
    // User 5 never came: what it asked for is over. What was left of the time counts.
    again.pass(1);
    assert!(!again.control.status()[2].pending.iter().any(|claim| claim.request == pending));
    again.pass(29);
    assert_eq!(again.control.holders(2), [4]);
    again.pass(1);
    assert_eq!(again.control.holders(2), [] as [u16; 0]);
    let Body::FloorRequestStatus(over) = again.ask(2, Body::FloorRelease { request: first }) else {
        panic!()
    };
    assert_eq!(standing(&over).1, Status::Released);
    assert_eq!(again.control.holders(1), [3]);
    assert_eq!(again.control.restore(next, &text), Err(SnapshotError("there are requests already")));
    let _ = (second, timed);
    // What is none.
    let mut other = FloorControl::new(Settings::new(CONFERENCE, floors), Limits::default());
    for wrong in [
        "",
        "1",
        "2;0;;",
        "1;0;;;",
        "1;x;;",
        "1;0;1;",
        "1;0;;1.2.3",
        "1;0;;1.2.2.9.-.q+1/a/0/0",
        "1;0;;1.2.2.2.-.q",
        "1;0;;1.2.2.2.-.x+1/a/0/0",
        "1;0;;1.2.2.2.-.q+1/b/0/0",
        "1;0;;1.2.2.2.-.q+1/a/0/0+1/a/0/0",
        "1;0;;1.2.2.2.-.q+1/a/0/0,1.2.2.2.-.q+1/a/0/0",
    ] {
        assert!(other.restore(next, wrong).is_err(), "{wrong}");
        assert_eq!(other.status().iter().map(|f| f.queue.len() + f.holders.len()).sum::<usize>(), 0);
    }
    assert_eq!(other.restore(next, "1;7;;"), Ok(()));
}

#[test]
fn who_never_had_a_connection_needs_none_after_a_restart() {
    let floors = vec![floor(1, Algorithm::Chair), floor(2, Algorithm::Chair)];
    let settings = Settings::new(CONFERENCE, floors);
    let mut rig = Rig::with(settings.clone(), Limits::default(), &[9]);
    for user in [1, 2] {
        rig.control.admit(rig.now, user, Member::default());
    }
    for id in [1, 2] {
        rig.control.designate(rig.now, id, Some(9)).unwrap();
        let floors = vec![id];
        let ask = Body::FloorRequest { floors, beneficiary: Some(id), information: None, priority: None };
        assert!(matches!(rig.ask(9, ask), Body::FloorRequestStatus(_)));
    }
    let text = rig.control.snapshot(rig.now);
    let mut again = FloorControl::new(settings, Limits::default());
    again.admit(rig.now, 1, Member::default());
    again.restore(rig.now, &text).unwrap();
    assert_eq!((again.holders(1), again.holders(2)), (vec![1], vec![2]));
    let at = again.poll_timeout().unwrap();
    assert_eq!(at, rig.now + Duration::from_secs(30));
    again.handle_timeout(at);
    assert_eq!((again.holders(1), again.holders(2)), (vec![1], vec![]), "user 2 was never admitted");
    assert_eq!(again.poll_timeout(), None);
    again.dismiss(at, 1);
    assert_eq!(again.holders(1), [] as [u16; 0]);
}

#[test]
fn the_fullest_floor_can_still_be_read() {
    let floors: Vec<u16> = (1..=16).collect();
    let mut limits = Limits::default();
    limits.requests_by_user = 256;
    limits.burst = 256;
    let mut settings =
        Settings::new(CONFERENCE, floors.iter().map(|id| floor(*id, Algorithm::FirstCome)).collect());
    settings.max_requests = 256;
    let mut rig = Rig::with(settings, limits, &[1, 2]);
    let long = "n".repeat(253);
    let member = Member { display_name: Some(long.clone()), uri: Some(long), ..Member::default() };
    rig.control.admit(rig.now, 1, member);
    for _ in 0..256 {
        rig.request(1, &floors);
    }
    let Body::FloorStatus { requests, .. } = rig.ask(2, Body::FloorQuery { floors: vec![16] }) else {
        panic!()
    };
    assert_eq!(requests.len(), 256);
    assert_eq!(requests[255].floors.len(), 16);
    let Body::UserStatus { requests, .. } = rig.ask(2, Body::UserQuery { beneficiary: Some(1) }) else {
        panic!()
    };
    assert_eq!(requests.len(), 256);
}
