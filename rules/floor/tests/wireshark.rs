//! A whole conversation about a floor with a chair, as Wireshark's dissector reads it.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use carnet_bfcp::{Body, FloorState, Message, Priority, RequestInformation, RequestStatus, Status};
use carnet_floor::*;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

fn absent(program: &str) -> bool {
    let absent = Command::new(program).arg("-v").output().is_err();
    if absent {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "{program} is required here");
        eprintln!("skipped: {program} is not installed");
    }
    absent
}

/// All that was said, in order.
fn conversation() -> Vec<Vec<u8>> {
    let now = Instant::now();
    let mut control =
        FloorControl::new(Settings::new(4711, vec![Floor::new(543, Algorithm::Chair)]), Limits::default());
    for (user, name) in [(234, "Alice"), (357, "Bob")] {
        let uri = Some(format!("sip:{}@x.example", name.to_lowercase()));
        let member = Member { display_name: Some(name.into()), uri, ..Member::default() };
        control.admit(now, user, member);
        control.connected(now, ConnectionId(user.into()), Link::stream(Some(user)));
    }
    control.designate(now, 543, Some(357)).unwrap();
    let decision = |status| {
        let floor = FloorState {
            id: 543,
            status: Some(RequestStatus::new(status)),
            information: Some("your turn".into()),
        };
        Body::ChairAction(RequestInformation { id: 1, floors: vec![floor], ..Default::default() })
    };
    let mut said = Vec::new();
    let bodies = [
        (234, Body::Hello),
        (357, Body::FloorQuery { floors: vec![543] }),
        (
            234,
            Body::FloorRequest {
                floors: vec![543],
                beneficiary: None,
                information: Some("a question".into()),
                priority: Some(Priority::High),
            },
        ),
        (357, Body::FloorRequestQuery { request: 1 }),
        (357, decision(Status::Granted)),
        (357, Body::UserQuery { beneficiary: Some(234) }),
        (234, Body::FloorRelease { request: 1 }),
        (234, Body::FloorRelease { request: 1 }),
        (357, Body::FloorQuery { floors: vec![] }),
    ];
    for (index, (user, body)) in bodies.into_iter().enumerate() {
        let message = Message {
            version: 1,
            responder: false,
            primitive: body.primitive(),
            conference: 4711,
            transaction: u16::try_from(index).unwrap() + 1,
            user,
            attributes: body.attributes(),
        };
        let octets = message.print().unwrap();
        control.handle_octets(now, ConnectionId(user.into()), &octets);
        said.push(octets);
        while let Some((_, octets)) = control.poll_transmit() {
            said.push(octets.to_vec());
        }
    }
    said
}

#[test]
fn wireshark_reads_a_whole_conversation() {
    if absent("tshark") || absent("text2pcap") {
        return;
    }
    let folder = std::env::temp_dir().join(format!("carnet-floor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (hex, pcap) = (folder.join("messages.txt"), folder.join("messages.pcap"));
    let mut text = String::new();
    for octets in conversation() {
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
    let mut tshark = Command::new("tshark");
    tshark.args(["-d", "tcp.port==2345,bfcp", "-T", "fields", "-E", "separator=|"]).arg("-r").arg(&pcap);
    for field in [
        "bfcp.primitive",
        "bfcp.transaction_id",
        "bfcp.user_id",
        "bfcp.request_status",
        "bfcp.error_code",
        "bfcp.part_prov_info_text",
        "bfcp.status_info_text",
        "bfcp.user_disp_name",
        "bfcp.user_uri",
        "_ws.malformed",
        "bfcp.attribute_length.too_small",
    ] {
        tshark.args(["-e", field]);
    }
    let seen = tshark.output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    let alice = "Alice|sip:alice@x.example";
    let expected = [
        // Hello
        "11|1|234||||||||".to_owned(),
        "12|1|234||||||||".into(),
        // FloorQuery of the chair
        "7|2|357||||||||".into(),
        "8|2|357||||||||".into(),
        // FloorRequest, its answer, and what the chair hears of it
        "1|3|234|||a question|||||".into(),
        "4|3|234|1,1||a question|||||".into(),
        format!("8|0|357|1,1||a question||{alice}||"),
        // FloorRequestQuery of the chair
        "3|4|357||||||||".into(),
        format!("4|4|357|1,1||a question||{alice}||"),
        // ChairAction, ChairActionAck, and what comes of it; connections are served in order of their numbers
        "9|5|357|3|||your turn||||".into(),
        "4|0|234|3,3||a question|your turn||||".into(),
        "10|5|357||||||||".into(),
        format!("8|0|357|3,3||a question|your turn|{alice}||"),
        // UserQuery
        "5|6|357||||||||".into(),
        "6|6|357|3,3||a question|your turn|Alice,Alice|sip:alice@x.example,sip:alice@x.example||".into(),
        // FloorRelease, and once more under another number
        "2|7|234||||||||".into(),
        "4|7|234|6,6||a question|||||".into(),
        "8|0|357||||||||".into(),
        "2|8|234||||||||".into(),
        "13|8|234||7||||||".into(),
        // The end of the subscription
        "7|9|357||||||||".into(),
        "8|9|357||||||||".into(),
    ];
    let seen: Vec<&str> = seen.lines().collect();
    assert_eq!(seen, expected);
}
