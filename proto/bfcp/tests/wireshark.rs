//! Every primitive and every attribute as Wireshark's dissector reads it.
//!
//! Version 4.0 of it names primitives 15 to 17 by a draft, so those are compared by number, and does not know
//! version 2 of the protocol.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use carnet_bfcp::*;
use std::fmt::Write as _;
use std::process::Command;

fn absent(program: &str) -> bool {
    let absent = Command::new(program).arg("-v").output().is_err();
    if absent {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "{program} is required here");
        eprintln!("skipped: {program} is not installed");
    }
    absent
}

fn bodies() -> Vec<Body> {
    let user = |id: u16, name: &str| UserInformation {
        id,
        display_name: Some(name.into()),
        uri: Some("sip:someone@x.example".into()),
    };
    let request = RequestInformation {
        id: 77,
        overall: Some(FloorState {
            id: 77,
            status: Some(RequestStatus { status: Status::Accepted, queue_position: 3 }),
            information: Some("two before you".into()),
        }),
        floors: vec![
            FloorState { id: 543, status: Some(RequestStatus::new(Status::Pending)), information: None },
            FloorState { id: 236, status: None, information: Some("the chair is asked".into()) },
        ],
        beneficiary: Some(user(154, "Carol")),
        requested_by: Some(user(234, "Alice")),
        priority: Some(Priority::High),
        provided: Some("a question".into()),
    };
    vec![
        Body::FloorRequest {
            floors: vec![543, 236],
            beneficiary: Some(154),
            information: Some("a question".into()),
            priority: Some(Priority::High),
        },
        Body::FloorRelease { request: 77 },
        Body::FloorRequestQuery { request: 77 },
        Body::FloorRequestStatus(request.clone()),
        Body::UserQuery { beneficiary: Some(154) },
        Body::UserStatus { beneficiary: Some(user(154, "Carol")), requests: vec![request.clone()] },
        Body::FloorQuery { floors: vec![543, 236] },
        Body::FloorStatus { floors: vec![543], requests: vec![request.clone(), request.clone()] },
        Body::ChairAction(request),
        Body::ChairActionAck,
        Body::Hello,
        Body::HelloAck { primitives: (1..=17).collect(), attributes: (1..=18).collect() },
        Body::Error {
            code: ErrorCode::UnknownMandatoryAttribute,
            details: vec![40, 42].into(),
            information: Some("what is that".into()),
        },
        Body::FloorRequestStatusAck,
        Body::FloorStatusAck,
        Body::Goodbye,
        Body::GoodbyeAck,
    ]
}

/// What the dissector makes of the messages on a TCP connection: one line a message.
fn dissected() -> Vec<String> {
    let folder = std::env::temp_dir().join(format!("carnet-bfcp-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (hex, pcap) = (folder.join("messages.txt"), folder.join("messages.pcap"));
    let mut text = String::new();
    for (index, body) in bodies().into_iter().enumerate() {
        let message = Message {
            version: 1,
            responder: false,
            primitive: body.primitive(),
            conference: 4_000_000_001,
            transaction: u16::try_from(index).unwrap() + 1,
            user: 234,
            attributes: body.attributes(),
        };
        let octets = message.print().unwrap();
        let parsed = Message::parse(&octets.clone().into(), &Limits::default()).unwrap();
        assert_eq!(Body::of(&parsed).unwrap(), body);
        text.push_str("000000");
        for octet in octets {
            write!(text, " {octet:02x}").unwrap();
        }
        text.push('\n');
    }
    std::fs::write(&hex, text).unwrap();
    let made =
        Command::new("text2pcap").args(["-q", "-T", "2345,2345"]).arg(&hex).arg(&pcap).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let fields = [
        "bfcp.primitive",
        "bfcp.conference_id",
        "bfcp.transaction_id",
        "bfcp.user_id",
        "bfcp.payload_length",
        "bfcp.floor_id",
        "bfcp.beneficiary_id",
        "bfcp.floorrequest_id",
        "bfcp.priority",
        "bfcp.request_status",
        "bfcp.queue_pos",
        "bfcp.error_code",
        "bfcp.error_info_text",
        "bfcp.part_prov_info_text",
        "bfcp.status_info_text",
        "bfcp.user_disp_name",
        "bfcp.user_uri",
        "bfcp.req_by_i",
        "_ws.malformed",
        "bfcp.attribute_length.too_small",
    ];
    let mut tshark = Command::new("tshark");
    tshark.args(["-d", "tcp.port==2345,bfcp", "-T", "fields"]).arg("-r").arg(&pcap);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let seen = tshark.output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    String::from_utf8_lossy(&seen.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn wireshark_reads_every_message() {
    if absent("tshark") || absent("text2pcap") {
        return;
    }
    let lines = dissected();
    assert_eq!(lines.len(), 17, "{lines:#?}");
    for (index, line) in lines.iter().enumerate() {
        let fields: Vec<_> = line.split('\t').collect();
        let number = (index + 1).to_string();
        assert_eq!(fields[..4], [&number, "4000000001", &number, "234"], "{line}");
        assert!(fields[18..].iter().all(|f| f.is_empty()), "{line}");
    }
    let of = |primitive: usize| lines[primitive - 1].split('\t').collect::<Vec<_>>();
    let request = of(1);
    assert_eq!((request[5], request[6], request[13]), ("543,236", "154", "a question"));
    assert_eq!(of(2)[7], "77");
    let status = of(4);
    assert_eq!((status[9], status[10]), ("2,1", "3,0"), "{status:?}");
    assert_eq!(status[14], "two before you,the chair is asked");
    assert_eq!(status[15], "Carol,Alice");
    assert_eq!(status[16], "sip:someone@x.example,sip:someone@x.example");
    let error = of(13);
    assert_eq!((error[11], error[12]), ("4", "what is that"));
}
