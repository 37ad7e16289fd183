//! Octets written by hand from the figures of RFC 8855 §5, and what is wrong with some.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use bytes::Bytes;
use carnet_bfcp::*;
use carnet_wire::hex;

fn octets(text: &str) -> Bytes {
    hex::decode(text.as_bytes()).unwrap().into()
}

fn parse(text: &str) -> Result<Message, Error> {
    Message::parse(&octets(text), &Limits::default())
}

fn message(body: &Body) -> Message {
    Message {
        version: 1,
        responder: false,
        primitive: body.primitive(),
        conference: 0x0102_0304,
        transaction: 7,
        user: 234,
        attributes: body.attributes(),
    }
}

/// Figure 31: two floors, for user 154, with words and a priority.
const REQUEST: &str = "20 01 0007 01020304 0007 00ea
    0504 021f  0504 0002  0304 009a  110d 4c65 7420 6d65 2074 616c 6b 000000  0904 8000";

#[test]
fn a_floor_request() {
    let parsed = parse(&REQUEST.replace("0007 01020304", "0008 01020304")).unwrap();
    let body = Body::of(&parsed).unwrap();
    let expected = Body::FloorRequest {
        floors: vec![0x021f, 2],
        beneficiary: Some(154),
        information: Some("Let me talk".into()),
        priority: Some(Priority::Highest),
    };
    assert_eq!(body, expected);
    assert_eq!((parsed.conference, parsed.transaction, parsed.user), (0x0102_0304, 7, 234));
    assert_eq!(message(&expected).print().unwrap(), parsed.print().unwrap());
}

/// Figures 23 to 30: group headers hold an identifier, lengths of groups count the padding inside.
#[test]
fn a_floor_request_status() {
    let text = "20 04 000d 01020304 0007 00ea
        1f34 0c35
          2510 0c35  0b04 0201  1306 7761 6974 0000
          2308 021f  0b04 0300
          1d14 009a  190a 4263 6420 4566 6767 0000  1b04 783a
          0904 0000";
    let parsed = parse(text).unwrap();
    let expected = RequestInformation {
        id: 3125,
        overall: Some(FloorState {
            id: 3125,
            status: Some(RequestStatus { status: Status::Accepted, queue_position: 1 }),
            information: Some("wait".into()),
        }),
        floors: vec![FloorState {
            id: 543,
            status: Some(RequestStatus::new(Status::Granted)),
            information: None,
        }],
        beneficiary: Some(UserInformation {
            id: 154,
            display_name: Some("Bcd Efgg".into()),
            uri: Some("x:".into()),
        }),
        requested_by: None,
        priority: Some(Priority::Lowest),
        provided: None,
    };
    assert_eq!(Body::of(&parsed), Ok(Body::FloorRequestStatus(expected.clone())));
    assert_eq!(message(&Body::FloorRequestStatus(expected)).print().unwrap(), octets(text));
}

/// §5.2.6.1, §5.2.10, §5.2.11: lists of types stand in the upper seven bits, lists of primitives do not.
#[test]
fn errors_and_capabilities() {
    let error = parse("20 0d 0002 00000001 0001 0002  0d05 04 be f0 000000").unwrap();
    let Ok(Body::Error { code, details, .. }) = Body::of(&error) else { panic!() };
    assert_eq!(code, ErrorCode::UnknownMandatoryAttribute);
    assert_eq!(Value::unknown_types(&details).collect::<Vec<_>>(), [0x5f, 0x78]);

    let hello = parse("20 0c 0003 00000001 0001 0002  1704 010b  1506 0204 0608 0000").unwrap();
    let expected = Body::HelloAck { primitives: vec![1, 11], attributes: vec![1, 2, 3, 4] };
    assert_eq!(Body::of(&hello), Ok(expected));
}

#[test]
fn values_that_a_receiver_has_to_take() {
    // §5.2.4: above 4 is 4; reserved bits and padding are ignored, and not written again.
    let odd = parse("27 01 0003 00000001 0001 0002  0504 0001  09 04 ffff  1105 616263 ffffff").unwrap_err();
    assert_eq!(odd.code(), ErrorCode::IncorrectLength);
    let odd = parse("27 01 0004 00000001 0001 0002  0404 0001  09 04 ffff  1105 616263 ffffff").unwrap();
    let Ok(Body::FloorRequest { priority, information, .. }) = Body::of(&odd) else { panic!() };
    assert_eq!((priority, information), (Some(Priority::Highest), Some("abc".into())));
    let again = octets("20 01 0004 00000001 0001 0002  0404 0001  09 04 8000  1105 616263 000000");
    assert_eq!(odd.print().unwrap(), again, "the mandatory bit of FLOOR-ID stays off");
    // An extension that may be ignored, one that may not, and one inside a group.
    let body = |text: &str| Body::of(&parse(text).unwrap());
    assert_eq!(body("20 0b 0002 00000001 0001 0002  2806 01020304 0000"), Ok(Body::Hello));
    let unknown = body("20 0b 0002 00000001 0001 0002  2906 01020304 0000").unwrap_err();
    assert_eq!(unknown, Error::Mandatory(vec![20]));
    let Body::Error { code, details, .. } = Body::refusal(&unknown) else { panic!() };
    assert_eq!((code, details.as_ref()), (ErrorCode::UnknownMandatoryAttribute, [40].as_slice()));
    let inside = body("20 06 0002 00000001 0001 0002  1d08 0001  2904 0000").unwrap_err();
    assert_eq!(inside, Error::Mandatory(vec![20]));
}

#[test]
fn lengths_that_lie() {
    let code = |text: &str| parse(text).unwrap_err().code();
    assert_eq!(code(""), ErrorCode::IncorrectLength);
    assert_eq!(code("20 0b 0000 00000001 0001 00"), ErrorCode::IncorrectLength);
    assert_eq!(code("20 0b 0001 00000001 0001 0002"), ErrorCode::IncorrectLength);
    assert_eq!(code("20 0b 0000 00000001 0001 0002 0504 0001"), ErrorCode::IncorrectLength);
    for (attribute, at) in [
        ("0500 0001", 13),
        ("0501 0001", 13),
        ("0503 0100", 14),
        ("0505 0001", 16),
        ("05ff 0001", 16),
        ("1f03 0001", 14),
        ("1d05 0001", 16),
        ("1103 ff00", 14),
        ("0d02 0000", 14),
    ] {
        let error = parse(&format!("20 01 0001 00000001 0001 0002 {attribute}")).unwrap_err();
        assert_eq!((error.code(), error.at()), (ErrorCode::UnableToParse, Some(at)), "{attribute}");
    }
    // A group that says that it is longer than what it is in.
    assert_eq!(
        code("20 04 0003 00000001 0001 0002  1f08 0001  2310 0001 0b04 0100"),
        ErrorCode::UnableToParse
    );
}

#[test]
fn groups_in_groups_and_attributes_end_somewhere() {
    let mut text = String::new();
    for depth in (1..=20).rev() {
        text += &format!("1f{:02x} 0001 ", depth * 4);
    }
    let error = parse(&format!("20 04 0014 00000001 0001 0002 {text}")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnableToParse);
    let many = format!("20 07 0064 00000001 0001 0002 {}", "0504 0001".repeat(100));
    let mut limits = Limits::default();
    limits.attributes = 100;
    assert!(Message::parse(&octets(&many), &limits).is_ok());
    limits.attributes = 99;
    assert!(Message::parse(&octets(&many), &limits).is_err());
    limits.octets = 411;
    assert_eq!(Message::parse(&octets(&many), &limits).unwrap_err().code(), ErrorCode::IncorrectLength);
}

#[test]
fn what_a_primitive_needs() {
    let fails = |text: &str| Body::of(&parse(text).unwrap()).unwrap_err();
    let none = |primitive: u8| fails(&format!("20 {primitive:02x} 0000 00000001 0001 0002"));
    for primitive in [1, 2, 3, 4, 9, 12, 13] {
        assert!(matches!(none(primitive), Error::Content { .. }), "{primitive}");
        assert_eq!(none(primitive).code(), ErrorCode::UnableToParse);
    }
    for primitive in [0, 18, 255] {
        assert_eq!(none(primitive), Error::Primitive(Primitive(primitive)));
        assert_eq!(none(primitive).code(), ErrorCode::UnknownPrimitive);
    }
    let two = fails("20 02 0002 00000001 0001 0002 0704 0001 0704 0002");
    assert_eq!(two.to_string(), "FloorRelease has two FLOOR-REQUEST-ID");
    let empty = fails("20 04 0001 00000001 0001 0002 1f04 0001");
    assert_eq!(empty.to_string(), "FloorRequestStatus lacks FLOOR-REQUEST-STATUS in a request");
}

#[test]
fn versions_belong_to_transports() {
    for version in [0, 3, 7] {
        let text = format!("{:02x} 0b 0000 00000001 0001 0002", version << 5);
        assert_eq!(parse(&text), Err(Error::Version { version }));
    }
    // Over a reliable transport R and F say nothing (§5.1).
    let flagged = parse("38 0b 0000 00000001 0001 0002").unwrap();
    assert!(!flagged.responder);
    assert_eq!(flagged.print().unwrap(), octets("20 0b 0000 00000001 0001 0002"));
    let answer = parse("50 0c 0002 00000001 0001 0002 1703 0b00 1503 0200").unwrap();
    assert!(answer.responder && answer.version == 2);
    assert_eq!(answer.print().unwrap(), octets("50 0c 0002 00000001 0001 0002 1703 0b00 1503 0200"));
}

#[test]
fn a_stream_is_cut_where_the_headers_say() {
    let one = octets("20 0b 0000 00000001 0001 0002");
    let two = octets("20 07 0001 00000001 0002 0002 0504 0001");
    let stream = [one.as_ref(), &two, &one].concat();
    for step in 1..stream.len() {
        let mut framer = Framer::new(Limits::default());
        let mut found = Vec::new();
        for part in stream.chunks(step) {
            framer.push(part);
            while let Some(message) = framer.next_message().unwrap() {
                found.push(message.primitive);
            }
        }
        assert_eq!(found, [Primitive::Hello, Primitive::FloorQuery, Primitive::Hello], "{step}");
        assert_eq!((framer.pending(), framer.position()), (0, stream.len()));
    }
    // Version 2 has no place on a stream, and the first octet is enough to see that.
    let mut framer = Framer::new(Limits::default());
    framer.push(&[0x40]);
    assert_eq!(framer.next_message(), Err(Error::Version { version: 2 }));
    // What would never fit is not waited for.
    let mut framer = Framer::new(Limits::default());
    framer.push(&octets("20 0b ffff 00000001 0001 0002"));
    assert_eq!(framer.next_message().unwrap_err().code(), ErrorCode::IncorrectLength);
}

#[test]
fn long_messages_go_in_fragments() {
    let floors: Vec<u16> = (0..200).collect();
    let mut whole = message(&Body::FloorQuery { floors: floors.clone() });
    whole.version = 2;
    for mtu in [21, 22, 25, 100, 813, 812, 5000] {
        let datagrams = fragments(&whole, mtu).unwrap();
        assert!(datagrams.iter().all(|d| d.len() < mtu), "{mtu}");
        if mtu > 812 {
            assert_eq!(datagrams, [whole.print().unwrap()]);
            continue;
        }
        let limits = Limits::default();
        let (first, rest) = datagrams.split_last().unwrap();
        let mut assembly = Assembly::begin(first, &limits).unwrap();
        for (index, datagram) in rest.iter().enumerate() {
            assert!(assembly.finish(&limits).is_none(), "{mtu}: {index} of {} are missing", rest.len());
            assembly.add(datagram).unwrap();
            assembly.add(datagram).unwrap();
        }
        let put_together = assembly.finish(&limits).unwrap().unwrap();
        assert_eq!(put_together, whole);
        // Another transaction's, one that reaches beyond the end, and one that says something else.
        let mut other = first.clone();
        other[9] ^= 1;
        assert!(assembly.add(&other).is_err());
        let mut beyond = first.clone();
        beyond[12] = 0xff;
        assert!(assembly.add(&beyond).is_err());
        let mut changed = first.clone();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        assert!(assembly.add(&changed).is_err());
        assert!(assembly.add(&first[..first.len() - 1]).is_err());
    }
    assert!(fragments(&whole, 20).is_err());
}

#[test]
fn what_is_too_long_cannot_be_said() {
    let long = "é".repeat(200);
    let text = Text::fitting(&long);
    assert_eq!(text.as_str().len(), 252, "cut between characters");
    let whole = message(&Body::FloorRequest {
        floors: vec![1],
        beneficiary: None,
        information: Some(text.clone()),
        priority: None,
    });
    assert_eq!(Message::parse(&whole.print().unwrap().into(), &Limits::default()).unwrap(), whole);
    // Two of them do not fit into one group.
    let user = UserInformation { id: 1, display_name: Some(text.clone()), uri: Some(text) };
    let status = message(&Body::UserStatus { beneficiary: Some(user), requests: Vec::new() });
    assert_eq!(status.print(), Err(Unsayable { what: "an attribute" }));
    let many = message(&Body::FloorQuery { floors: vec![1; 65_536] });
    assert_eq!(many.print(), Err(Unsayable { what: "a message" }));
}
