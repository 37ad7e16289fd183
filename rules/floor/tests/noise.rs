//! Octets of no sense, and messages with some of theirs changed, from several connections at once.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use carnet_bfcp::{
    Body, FloorState, Message, Priority, RequestInformation, RequestStatus, Status, Transport,
};
use carnet_floor::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn bodies() -> impl Strategy<Value = Body> {
    let request = |id, floor, status| RequestInformation {
        id,
        floors: vec![FloorState {
            id: floor,
            status: Some(RequestStatus::new(Status(status))),
            information: None,
        }],
        ..RequestInformation::default()
    };
    prop_oneof![
        (prop::collection::vec(0..4u16, 0..4), prop::option::of(0..5u16)).prop_map(
            |(floors, beneficiary)| {
                let priority = Some(Priority::Normal);
                Body::FloorRequest { floors, beneficiary, information: Some("why".into()), priority }
            }
        ),
        (0..6u16).prop_map(|request| Body::FloorRelease { request }),
        (0..6u16).prop_map(|request| Body::FloorRequestQuery { request }),
        prop::option::of(0..5u16).prop_map(|beneficiary| Body::UserQuery { beneficiary }),
        prop::collection::vec(0..4u16, 0..4).prop_map(|floors| Body::FloorQuery { floors }),
        (0..6u16, 0..4u16, 0..9u8)
            .prop_map(move |(id, floor, status)| { Body::ChairAction(request(id, floor, status)) }),
        Just(Body::Hello),
        Just(Body::Goodbye),
        Just(Body::FloorStatusAck),
        Just(Body::FloorStatus { floors: vec![1], requests: vec![] }),
    ]
}

#[derive(Debug, Clone)]
enum Said {
    Noise(Vec<u8>),
    /// A message by a user, with one octet changed: where, and to what.
    Message(Box<Body>, u16, u16, Option<(prop::sample::Index, u8)>),
    Time(u64),
    Closed(bool),
}

fn said() -> impl Strategy<Value = (u64, Said)> {
    let change = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
    let message = (bodies(), 0..5u16, 0..5u16, change);
    let said = prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Said::Noise),
        8 => message.prop_map(|(body, transaction, user, change)| Said::Message(body.into(), transaction, user, change)),
        1 => (0..40u64).prop_map(Said::Time),
        1 => any::<bool>().prop_map(Said::Closed),
    ];
    (0..4u64, said)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn noise_does_no_harm(all in prop::collection::vec(said(), 1..40)) {
        let mut now = Instant::now();
        let floors = vec![
            Floor::new(1, Algorithm::FirstCome),
            Floor::new(2, Algorithm::Chair),
            Floor::new(3, Algorithm::Rotation),
        ];
        let mut control = FloorControl::new(Settings::new(1, floors), Limits::default());
        for user in 1..=5 {
            control.admit(now, user, Member::default());
        }
        control.designate(now, 2, Some(1)).unwrap();
        let links = [
            Link::stream(Some(1)),
            Link { transport: Transport::Datagram { mtu: 100 }, user: Some(2), secured: false },
            Link::stream(None),
        ];
        // Users 0 to 4 say anything; a connection that is to be closed is followed by another.
        let mut next = 10;
        let mut ids = [0; 3];
        let mut told = 0_usize;
        for (at, said) in all {
            let at = usize::try_from(at % 3).unwrap();
            if ids[at] == 0 {
                next += 1;
                ids[at] = next;
                control.connected(now, ConnectionId(next), links[at]);
            }
            let id = ConnectionId(ids[at]);
            match said {
                Said::Noise(octets) => control.handle_octets(now, id, &octets),
                Said::Message(body, transaction, user, change) => {
                    let message = Message {
                        version: links[at].transport.version(),
                        responder: false,
                        primitive: body.primitive(),
                        conference: 1,
                        transaction,
                        user,
                        attributes: body.attributes(),
                    };
                    let mut octets = message.print().unwrap();
                    if let Some((place, octet)) = change {
                        let place = place.index(octets.len());
                        octets[place] = octet;
                    }
                    control.handle_octets(now, id, &octets);
                }
                Said::Time(seconds) => {
                    now += Duration::from_secs(seconds);
                    control.handle_timeout(now);
                }
                Said::Closed(clean) => {
                    control.closed(now, id, clean);
                    ids[at] = 0;
                }
            }
            while let Some((_, octets)) = control.poll_transmit() {
                told += octets.len();
            }
            while let Some(event) = control.poll_event() {
                if let Event::Close { connection, .. } = event {
                    for known in &mut ids {
                        if *known == connection.0 {
                            *known = 0;
                        }
                    }
                }
            }
        }
        prop_assert!(told < 1 << 20);
        for floor in control.status() {
            prop_assert!(floor.holders.len() <= 1);
        }
        // Whoever behaves is served.
        let text = control.snapshot(now);
        control.connected(now, ConnectionId(9), Link::stream(Some(5)));
        control.handle_octets(now, ConnectionId(9), b"\x20\x0b\0\0\0\0\0\x01\0\x01\0\x05");
        let answer = std::iter::from_fn(|| control.poll_transmit()).find(|(to, _)| to.0 == 9);
        prop_assert_eq!(answer.unwrap().1[1], 12);
        prop_assert!(!text.is_empty());
        // Time ends what waits for nobody.
        for _ in 0..1_000 {
            let Some(at) = control.poll_timeout() else { break };
            control.handle_timeout(at);
            while control.poll_transmit().is_some() {}
        }
    }
}
