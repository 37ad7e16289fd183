//! The client machine over streams and datagrams, against messages made by hand.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use bytes::Bytes;
use carnet_bfcp::*;
use std::time::{Duration, Instant};

const CONFERENCE: u32 = 0x0102_0304;
const USER: u16 = 234;
const DATAGRAMS: Transport = Transport::Datagram { mtu: 1200 };

fn client(transport: Transport) -> (Client, Instant) {
    (Client::new(CONFERENCE, USER, transport, Limits::default()), Instant::now())
}

fn sent(client: &mut Client) -> Vec<Message> {
    let octets = std::iter::from_fn(|| client.poll_transmit());
    octets.map(|octets| Message::parse(&octets, &Limits::default()).unwrap()).collect()
}

fn heard(client: &mut Client) -> Vec<ClientEvent> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

/// A message of the server: an answer, or one of its own.
fn from_server(client: &Client, transaction: u16, answer: bool, body: &Body) -> Bytes {
    let message = Message {
        version: client.transport().version(),
        responder: answer,
        primitive: body.primitive(),
        conference: CONFERENCE,
        transaction,
        user: USER,
        attributes: body.attributes(),
    };
    message.print().unwrap().into()
}

fn status(id: u16, status: Status, queue_position: u8) -> Body {
    let overall =
        FloorState { id, status: Some(RequestStatus { status, queue_position }), information: None };
    let floors = vec![FloorState { id: 1, status: None, information: None }];
    Body::FloorRequestStatus(RequestInformation { id, overall: Some(overall), floors, ..Default::default() })
}

fn after(now: Instant, millis: u64) -> Instant {
    now + Duration::from_millis(millis)
}

#[test]
fn over_a_stream_requests_may_overlap() {
    let (mut client, now) = client(Transport::Stream);
    let hello = client.ask(now, Body::Hello).unwrap();
    let request = client.request(now, &[1], Some(Priority::High), Some("a question".into())).unwrap();
    let messages = sent(&mut client);
    assert_eq!(
        messages.iter().map(|m| m.primitive).collect::<Vec<_>>(),
        [Primitive::Hello, Primitive::FloorRequest]
    );
    assert!(messages.iter().all(|m| m.version == 1 && !m.responder && m.transaction != 0 && m.user == USER));
    assert_ne!(hello, request);
    assert_eq!(client.poll_timeout(), None, "nothing is repeated (§8.3)");
    // The answers in another order and cut anywhere, with a notice between.
    let granted = status(7, Status::Granted, 0);
    let ack = Body::HelloAck { primitives: vec![1], attributes: vec![2] };
    let stream = [
        from_server(&client, request, false, &status(7, Status::Accepted, 1)),
        from_server(&client, 0, false, &granted),
        from_server(&client, hello, false, &ack),
    ]
    .concat();
    for part in stream.chunks(5) {
        client.handle_octets(now, part).unwrap();
    }
    let events = heard(&mut client);
    let [
        ClientEvent::Answer { transaction: first, answer: Body::FloorRequestStatus(_), .. },
        ClientEvent::Notice(notice),
        ClientEvent::Answer { transaction: second, request: Body::Hello, answer },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*first, notice, *second, answer), (request, &granted, hello, &ack));
    assert_eq!((client.open(), client.poll_transmit()), (0, None), "notices are not acknowledged");
    // What answers nothing, and what is for another, says nothing.
    client.handle_octets(now, &from_server(&client, 77, false, &ack)).unwrap();
    let mut other = from_server(&client, 0, false, &granted).to_vec();
    other[11] ^= 1;
    client.handle_octets(now, &other).unwrap();
    other[11] ^= 1;
    other[7] ^= 1;
    client.handle_octets(now, &other).unwrap();
    assert_eq!(heard(&mut client), []);
    // An answer that holds what must be understood and is not.
    let hello = client.ask(now, Body::Hello).unwrap();
    let mut odd = from_server(&client, hello, false, &ack).to_vec();
    odd[3] += 1;
    odd.extend([41, 4, 0, 0]);
    client.handle_octets(now, &odd).unwrap();
    let [ClientEvent::Answer { answer: Body::Error { code, .. }, .. }] = &heard(&mut client)[..] else {
        panic!()
    };
    assert_eq!(*code, ErrorCode::UnknownMandatoryAttribute);
    // What cannot be read is the end.
    assert!(client.handle_octets(now, &[0x40]).is_err());
}

#[test]
fn what_is_asked_is_bounded() {
    let (mut client, now) = client(Transport::Stream);
    assert_eq!(client.ask(now, Body::HelloAck { primitives: vec![], attributes: vec![] }), None);
    assert_eq!(client.ask(now, Body::ChairActionAck), None);
    let floors = vec![1; 65_536];
    assert_eq!(client.ask(now, Body::FloorQuery { floors }), None, "too long to be said");
    for _ in 0..64 {
        assert!(client.ask(now, Body::Hello).is_some());
    }
    assert_eq!(client.ask(now, Body::Hello), None);
}

#[test]
fn numbers_go_round_and_pass_by_what_is_open() {
    let (mut client, now) = client(Transport::Stream);
    let open = client.ask(now, Body::Hello).unwrap();
    let mut seen = Vec::new();
    for _ in 0..65_540 {
        let number = client.ask(now, Body::Hello).unwrap();
        assert!(number != 0 && number != open);
        sent(&mut client);
        let answer = Body::HelloAck { primitives: vec![], attributes: vec![] };
        client.handle_octets(now, &from_server(&client, number, false, &answer)).unwrap();
        heard(&mut client);
        seen.push(number);
    }
    assert_eq!((open, seen[0], seen[65_533], seen[65_534]), (1, 2, 65_535, 2), "neither 0 nor 1");
    assert_eq!(client.open(), 1);
}

#[test]
fn after_a_new_connection_all_is_asked_again() {
    let (mut client, now) = client(Transport::Stream);
    let watch = client.watch(now, &[1, 2]).unwrap();
    let status = Body::FloorStatus { floors: vec![1], requests: vec![] };
    client.handle_octets(now, &from_server(&client, watch, false, &status)).unwrap();
    let release = client.release(now, 7).unwrap();
    let decide = client.decide(now, 8, 1, RequestStatus::new(Status::Granted), None).unwrap();
    let lost = sent(&mut client);
    // Half a message is lost with the connection.
    client.handle_octets(now, &[0x20, 4, 0]).unwrap();
    client.reconnected(now);
    let again = sent(&mut client);
    assert_eq!(again[..2], lost[1..3], "under the numbers they had");
    assert_eq!((again[2].primitive, again.len()), (Primitive::FloorQuery, 3));
    assert_eq!(Body::of(&again[2]), Ok(Body::FloorQuery { floors: vec![1, 2] }));
    assert!(again[2].transaction > decide && decide > release);
    let answer = from_server(&client, decide, false, &Body::ChairActionAck);
    client.handle_octets(now, &answer).unwrap();
    assert_eq!(client.open(), 2);
    // A watch that has no answer yet is not asked twice.
    client.reconnected(now);
    assert_eq!(sent(&mut client).iter().filter(|m| m.primitive == Primitive::FloorQuery).count(), 1);
}

#[test]
fn over_datagrams_one_at_a_time_and_repeated() {
    let (mut client, now) = client(DATAGRAMS);
    let hello = client.ask(now, Body::Hello).unwrap();
    let request = client.request(now, &[1], None, None).unwrap();
    let first = sent(&mut client);
    assert_eq!((first.len(), first[0].version, first[0].transaction), (1, 2, hello));
    // T1 is 500 ms and doubles (§8.3.1).
    for at in [500, 1500, 3500] {
        assert_eq!(client.poll_timeout(), Some(after(now, at)));
        client.handle_timeout(after(now, at - 1));
        assert_eq!(sent(&mut client), []);
        client.handle_timeout(after(now, at));
        assert_eq!(sent(&mut client), first, "{at}");
    }
    let ack = Body::HelloAck { primitives: vec![], attributes: vec![] };
    client.handle_octets(after(now, 4000), &from_server(&client, hello, true, &ack)).unwrap();
    // Then the next; and the interval has grown, for the answer came late.
    let second = sent(&mut client);
    assert_eq!((second.len(), second[0].transaction), (1, request));
    assert_eq!(client.poll_timeout(), Some(after(now, 5000)));
    // A repeated answer to the one before is nothing.
    client.handle_octets(after(now, 4001), &from_server(&client, hello, true, &ack)).unwrap();
    assert_eq!(heard(&mut client).len(), 1);
    // Nobody is there: four times in all, then the connection is broken.
    for _ in 0..3 {
        let at = client.poll_timeout().unwrap();
        client.handle_timeout(at);
        assert_eq!(sent(&mut client), second);
        assert_eq!(heard(&mut client), []);
    }
    let at = client.poll_timeout().unwrap();
    assert_eq!(at, after(now, 4000 + 15_000));
    client.handle_timeout(at);
    assert_eq!((sent(&mut client), heard(&mut client)), (vec![], vec![ClientEvent::Broken]));
    // It may be taken up again.
    client.reconnected(at);
    assert_eq!(sent(&mut client)[0].transaction, request);
}

#[test]
fn what_the_server_says_over_datagrams_is_acknowledged_each_time() {
    let (mut client, now) = client(DATAGRAMS);
    let notices = [
        (status(7, Status::Accepted, 1), Primitive::FloorRequestStatusAck),
        (Body::FloorStatus { floors: vec![1], requests: vec![] }, Primitive::FloorStatusAck),
        (Body::Goodbye, Primitive::GoodbyeAck),
    ];
    for (index, (notice, expected)) in notices.into_iter().enumerate() {
        let number = u16::try_from(index).unwrap() + 40;
        let octets = from_server(&client, number, false, &notice);
        for _ in 0..3 {
            client.handle_octets(now, &octets).unwrap();
        }
        let acks = sent(&mut client);
        assert_eq!(acks.len(), 3);
        for ack in acks {
            assert_eq!((ack.primitive, ack.transaction, ack.responder), (expected, number, true));
        }
        let events = heard(&mut client);
        match notice {
            Body::Goodbye => assert_eq!(events, [ClientEvent::Goodbye]),
            notice => assert_eq!(events, [ClientEvent::Notice(notice)]),
        }
        // Once T2 is over it would be new.
        assert!(client.poll_timeout().is_some_and(|at| at <= after(now, 10_000)));
    }
    client.handle_timeout(after(now, 10_000));
    assert_eq!(client.poll_timeout(), None);
    // Octets that are no message are left where they are.
    for octets in
        [&b""[..], b"\x40", b"\x40\x04\x00\x01\x01\x02\x03\x04\x00\x01\x00\xea", b"\x20\x0b\x00\x00"]
    {
        client.handle_octets(now, octets).unwrap();
    }
    assert_eq!((sent(&mut client), heard(&mut client)), (vec![], vec![]));
}

/// §6.2: what the server says by itself while a request has no answer is newer than that answer.
#[test]
fn a_notice_supersedes_the_answer() {
    let (mut client, now) = client(DATAGRAMS);
    let request = client.request(now, &[1], None, None).unwrap();
    let granted = status(7, Status::Granted, 0);
    client.handle_octets(now, &from_server(&client, 90, false, &granted)).unwrap();
    let late = from_server(&client, request, true, &status(7, Status::Accepted, 1));
    client.handle_octets(now, &late).unwrap();
    let events = heard(&mut client);
    let [ClientEvent::Notice(first), ClientEvent::Answer { answer, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((first, answer), (&granted, &granted));
}

#[test]
fn long_messages_go_and_come_in_fragments() {
    let transport = Transport::Datagram { mtu: 100 };
    let (mut client, now) = client(transport);
    let floors: Vec<u16> = (1..=60).collect();
    let number = client.watch(now, &floors).unwrap();
    let datagrams: Vec<Bytes> = std::iter::from_fn(|| client.poll_transmit()).collect();
    assert!(datagrams.len() == 3 && datagrams.iter().all(|d| d.len() < 100 && d[0] == 0x48));
    // The server's end of it, which is told each part twice.
    let mut server = Association::new(transport, Limits::default());
    for datagram in datagrams.iter().rev() {
        server.handle_octets(now, datagram);
        server.handle_octets(now, datagram);
    }
    let Some(Incoming::Message(whole)) = server.poll_incoming() else { panic!() };
    assert_eq!(Body::of(&whole), Ok(Body::FloorQuery { floors: floors.clone() }));
    let requests = (1..=10).map(|id| match status(id, Status::Granted, 0) {
        Body::FloorRequestStatus(information) => information,
        _ => unreachable!(),
    });
    let answer = Body::FloorStatus { floors: vec![1], requests: requests.collect() };
    let message = Message {
        version: 2,
        responder: true,
        primitive: answer.primitive(),
        conference: CONFERENCE,
        transaction: number,
        user: USER,
        attributes: answer.attributes(),
    };
    server.answer(now, whole.primitive, message);
    let parts: Vec<Bytes> = std::iter::from_fn(|| server.poll_transmit()).collect();
    assert!(parts.len() > 2);
    // One is lost; the request comes again, and the answer.
    for part in &parts[1..] {
        client.handle_octets(now, part).unwrap();
    }
    assert_eq!(heard(&mut client), []);
    client.handle_timeout(after(now, 500));
    for datagram in std::iter::from_fn(|| client.poll_transmit()) {
        server.handle_octets(now, &datagram);
    }
    assert_eq!(std::iter::from_fn(|| server.poll_transmit()).collect::<Vec<_>>(), parts);
    client.handle_octets(now, &parts[0]).unwrap();
    let events = heard(&mut client);
    let [ClientEvent::Answer { answer: heard, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(heard, &answer);
    // Fragments that never become whole are given up with T2, and never more than a few are kept.
    let mut server = Association::new(transport, Limits::default());
    for number in 1..=1000u16 {
        let mut lone = datagrams[0].to_vec();
        lone[8..10].copy_from_slice(&number.to_be_bytes());
        server.handle_octets(now, &lone);
    }
    assert_eq!(server.poll_incoming(), None);
    assert_eq!(server.poll_timeout(), Some(after(now, 10_000)));
    server.handle_timeout(after(now, 10_000));
    assert_eq!(server.poll_timeout(), None);
    // A part that reaches beyond the end spoils the message.
    let mut beyond = datagrams[0].to_vec();
    beyond[12] = 0xff;
    server.handle_octets(now, &datagrams[1]);
    server.handle_octets(now, &beyond);
    let Some(Incoming::Faulty { header: Some(header), error, fatal: false }) = server.poll_incoming() else {
        panic!()
    };
    assert_eq!((header.transaction, error.code()), (number, ErrorCode::IncorrectLength));
}

#[test]
fn descriptions_are_made_to_fit() {
    let long: Text = "x".repeat(253).as_str().into();
    let user = |id| UserInformation { id, display_name: Some(long.clone()), uri: Some(long.clone()) };
    let state = |id| FloorState {
        id,
        status: Some(RequestStatus::new(Status::Granted)),
        information: Some(long.clone()),
    };
    for floors in 1..=16 {
        let mut all = RequestInformation {
            id: 1,
            overall: Some(state(1)),
            floors: (1..=floors).map(state).collect(),
            beneficiary: Some(user(1)),
            requested_by: Some(user(2)),
            priority: Some(Priority::High),
            provided: Some(long.clone()),
        };
        all.fit();
        let body = Body::FloorRequestStatus(all.clone());
        let message = Message {
            version: 1,
            responder: false,
            primitive: body.primitive(),
            conference: 1,
            transaction: 1,
            user: 1,
            attributes: body.attributes(),
        };
        let octets = message.print().unwrap();
        assert_eq!(octets.len(), 12 + 252, "no room is left");
        let parsed = Message::parse(&octets.into(), &Limits::default()).unwrap();
        assert_eq!(Body::of(&parsed), Ok(body));
        let overall = all.overall.clone().unwrap().information.unwrap();
        assert!(!overall.as_str().is_empty(), "words about the status first");
        let mut again = RequestInformation { overall: None, ..all.clone() };
        again.fit();
        assert_eq!(again.floors, all.floors, "what fits stays");
    }
}
