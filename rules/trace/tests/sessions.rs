//! What belongs together is together, and nothing else is.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_capture::Happening;
use carnet_trace::{Fact, Kind, Ladder, Limits};
use common::*;

const UE: &str = "192.0.2.10:5060";
const NEAR: &str = "192.0.2.1:5060";
const FAR: &str = "198.51.100.1:5060";
const BOB: &str = "198.51.100.10:5060";
const BORDER: &str = "203.0.113.1:2944";
const GATEWAY: &str = "203.0.113.2:2944";
/// The gateway's port towards the caller.
const ONE: &str = "192.0.2.2:30000";

fn kinds(ladder: &Ladder) -> Vec<Kind> {
    ladder.sessions.iter().map(|session| session.kind).collect()
}

fn add(transaction: u32) -> String {
    format!(
        "MEGACO/3 [203.0.113.1]:2944\nTransaction={transaction}{{Context=${{Add=${{Media{{Stream=1{{Local{{v=0\nc=IN IP4 $\nm=message $ TCP/MSRP *\n}}}}}}}}}}}}"
    )
}

fn added(transaction: u32, context: u32, port: u16) -> String {
    format!(
        "MEGACO/3 [203.0.113.2]:2944\nReply={transaction}{{Context={context}{{Add=ip/1{{Media{{Stream=1{{Local{{v=0\nc=IN IP4 198.51.100.2\nm=message {port} TCP/MSRP *\n}}}}}}}}}}}}"
    )
}

fn subtract(transaction: u32, context: u32) -> [String; 2] {
    [
        format!("MEGACO/3 [203.0.113.1]:2944\nTransaction={transaction}{{Context={context}{{Subtract=*}}}}"),
        format!("MEGACO/3 [203.0.113.2]:2944\nReply={transaction}{{Context={context}{{Subtract=ip/1}}}}"),
    ]
}

/// A call through a border with a gateway; the media line's port at the gateway is given.
fn call(scene: &mut Scene, id: &str, context: u32, port: u16) {
    let transaction = u32::from(id.as_bytes()[0]);
    let far = format!("198.51.100.2:{port}");
    scene.udp(UE, NEAR, invite(id, &sdp("192.0.2.10:7000", &format!("{transaction}0001"))));
    scene.udp(BORDER, GATEWAY, add(transaction)).udp(GATEWAY, BORDER, added(transaction, context, port));
    scene.udp(FAR, BOB, invite(id, &sdp(&far, &format!("{transaction}0001"))));
    scene.udp(BOB, FAR, ok(id, "1 INVITE", &sdp("198.51.100.10:8000", "5555555")));
    scene.udp(NEAR, UE, ok(id, "1 INVITE", &sdp(ONE, "5555555")));
    scene.open(transaction.into(), &format!("198.51.100.10:{}", 40_000 + transaction), &far);
    scene.udp(UE, NEAR, bye(id)).udp(FAR, BOB, bye(id)).udp(BOB, FAR, ok(id, "2 BYE", "")).udp(
        NEAR,
        UE,
        ok(id, "2 BYE", ""),
    );
    let [asked, done] = subtract(transaction + 1000, context);
    scene.udp(BORDER, GATEWAY, asked).udp(GATEWAY, BORDER, done);
}

#[test]
fn a_call_has_its_context_and_its_connection() {
    let mut scene = Scene::new();
    call(&mut scene, "one", 7, 30_002);
    let ladder = scene.ladder();
    assert_eq!(kinds(&ladder), [Kind::Call]);
    let session = &ladder.sessions[0];
    let of = |protocol: &str| session.entries.iter().filter(|e| e.fact.protocol() == protocol).count();
    assert_eq!((of("sip"), of("h248"), of("tcp")), (8, 4, 1));
    // Both addresses of the border are one column, and the gateway stands beside it.
    let addresses: Vec<_> = session.hosts.iter().map(|host| host.addresses.clone()).collect();
    assert_eq!(addresses[1], ["192.0.2.1", "198.51.100.1"]);
    let roles: Vec<_> = session.hosts.iter().map(|host| host.role.as_str()).collect();
    assert_eq!(roles[0], "caller alice");
    assert!(roles.contains(&"gateway") || roles.contains(&"TrGW"), "{roles:?}");
}

/// Ports and contexts are used again: what ended before is another's.
#[test]
fn calls_one_after_the_other_are_two() {
    let mut scene = Scene::new();
    call(&mut scene, "one", 7, 30_002);
    scene.wait(2000);
    call(&mut scene, "two", 7, 30_002);
    let ladder = scene.ladder();
    assert_eq!(kinds(&ladder), [Kind::Call, Kind::Call]);
    assert_eq!(ladder.sessions.iter().map(|s| s.entries.len()).collect::<Vec<_>>(), [13, 13]);
}

/// One message of H.248 may ask for several calls.
#[test]
fn transactions_of_one_message_part_ways() {
    let mut scene = Scene::new();
    let both = "MEGACO/3 [203.0.113.1]:2944\nTransaction=1{Context=5{Subtract=*}}Transaction=2{Context=6{Subtract=*}}";
    scene.udp(BORDER, GATEWAY, both);
    scene.udp(
        GATEWAY,
        BORDER,
        "MEGACO/3 [203.0.113.2]:2944\nReply=1{Context=5{Subtract=ip/1}}Reply=2{Context=6{Subtract=ip/2}}",
    );
    let ladder = scene.ladder();
    assert_eq!(kinds(&ladder), [Kind::Context, Kind::Context]);
    assert!(ladder.sessions.iter().all(|session| session.entries.len() == 2));
}

#[test]
fn a_call_under_another_call_id_is_the_same() {
    // By the description's origin.
    let mut scene = Scene::new();
    scene.udp(UE, NEAR, invite("one", &sdp("192.0.2.10:7000", "8765432")));
    scene.wait(9000).udp(FAR, BOB, invite("two", &sdp("192.0.2.10:7000", "8765432")));
    assert_eq!(scene.ladder().sessions.len(), 1);
    // By who calls whom, where the one who got it sends on.
    let mut scene = Scene::new();
    scene.udp(UE, NEAR, invite("one", "")).udp(NEAR, BOB, invite("two", ""));
    let ladder = scene.ladder();
    assert_eq!(ladder.sessions.len(), 1);
    assert_eq!(ladder.sessions[0].call_ids, ["one", "two"]);
    // Somebody else's call, and one much later, are not.
    let mut scene = Scene::new();
    scene.udp(UE, NEAR, invite("one", "")).udp(FAR, BOB, invite("two", ""));
    scene.wait(9000).udp(NEAR, BOB, invite("three", ""));
    assert_eq!(scene.ladder().sessions.len(), 3);
}

#[test]
fn what_is_repeated_is_one_arrow() {
    let mut scene = Scene::new();
    let text = invite("one", "");
    scene.udp(UE, NEAR, &text).wait(500).udp(UE, NEAR, &text).wait(1000).udp(UE, NEAR, &text);
    scene.udp(NEAR, UE, ok("one", "1 INVITE", ""));
    let ladder = scene.ladder();
    let entries = &ladder.sessions[0].entries;
    assert_eq!((entries.len(), entries[0].times), (2, 3));
    assert_eq!(entries[0].last - entries[0].at, std::time::Duration::from_millis(1502));
}

#[test]
fn streams_are_cut_into_messages_and_found_again_behind_a_gap() {
    let mut scene = Scene::new();
    let (one, two, three) =
        (invite("one", ""), bye("one"), sip("OPTIONS sip:b SIP/2.0", "four", "1 OPTIONS", "", ""));
    scene.open(1, UE, NEAR).says(1, UE, NEAR, &one.as_bytes()[..50]).says(
        1,
        UE,
        NEAR,
        format!("{}{two}", &one[50..]),
    );
    scene
        .says(1, UE, NEAR, &one.as_bytes()[..70])
        .tcp(1, UE, NEAR, Happening::Lost(100))
        .says(1, UE, NEAR, &three);
    let ladder = scene.ladder();
    let methods: Vec<_> = ladder
        .sessions
        .iter()
        .flat_map(|session| &session.entries)
        .filter_map(|entry| match &entry.fact {
            Fact::Sip(sip) => Some(sip.method.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(methods, ["INVITE", "BYE", "OPTIONS"]);
}

#[test]
fn protocols_are_told_by_what_they_say() {
    let mut scene = Scene::new();
    let (a, b) = ("192.0.2.10:1111", "192.0.2.20:2222");
    // BFCP: Hello; H.248 in TPKT; ng; HTTP; TLS; something else. RTP and STUN are nobody's.
    scene.open(1, a, b).says(1, a, b, [0x20, 11, 0, 0, 0, 0, 0, 9, 0, 1, 0, 7]);
    let control = b"!/3 <b> T=1{C=-{AV=ROOT{AT{}}}}";
    let mut framed = vec![3, 0, 0, control.len() as u8 + 4];
    framed.extend(control);
    scene.open(2, "192.0.2.10:1112", b).says(2, "192.0.2.10:1112", b, framed);
    scene.udp(a, "192.0.2.20:22222", "9 d7:command4:pinge");
    scene.open(3, "192.0.2.10:1113", b).says(
        3,
        "192.0.2.10:1113",
        b,
        "GET /x?token=1 HTTP/1.1\r\nHost: b\r\n\r\n",
    );
    scene.open(4, "192.0.2.10:1114", b).says(4, "192.0.2.10:1114", b, [21, 3, 3, 0, 2, 2, 40]);
    scene.open(5, "192.0.2.10:1115", b).says(5, "192.0.2.10:1115", b, [0xfe; 5000]);
    scene.udp(a, b, [0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).udp(a, b, [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    let ladder = scene.ladder();
    let mut labels: Vec<_> = ladder
        .sessions
        .iter()
        .flat_map(|s| &s.entries)
        .map(|e| e.label.as_str())
        .filter(|l| *l != "TCP open")
        .collect();
    labels.sort_unstable();
    assert_eq!(
        labels,
        [
            "4.8 KiB of something else",
            "AuditValue",
            "BFCP Hello",
            "GET /x",
            "alert handshake_failure",
            "ng ping"
        ]
    );
}

/// What is kept is bounded, and what is left out is told.
#[test]
fn there_is_room_for_so_much() {
    let mut limits = Limits::default();
    limits.entries = 10;
    limits.text = 600;
    let mut scene = Scene::with(limits, false);
    for n in 0..50 {
        scene.udp(UE, NEAR, invite(&format!("call-{n}"), ""));
        scene.open(n, &format!("192.0.2.10:{}", 2000 + n), NEAR);
    }
    let ladder = scene.ladder();
    assert_eq!(ladder.sessions.iter().map(|s| s.entries.len()).sum::<usize>(), 10);
    assert_eq!(ladder.remarks.len(), 2, "{:?}", ladder.remarks);
}

/// Where all stand on one address, ports tell them apart.
#[test]
fn hosts_that_share_an_address_have_columns_of_their_own() {
    let mut scene = Scene::new();
    let at = |port: u16| format!("127.0.0.1:{port}");
    scene.udp(&at(6000), &at(5060), invite("one", "")).udp(&at(5060), &at(5080), invite("one", ""));
    let hosts = &scene.ladder().sessions[0].hosts;
    assert_eq!(hosts.iter().map(|h| h.addresses[0].as_str()).collect::<Vec<_>>().len(), 3, "{hosts:?}");
}

/// The exchange that fetched a ticket is the call's that uses it first.
#[test]
fn keys_are_fetched_for_a_call() {
    use carnet_mikey::payload::{Flags, Payload, Ticket, TicketPolicy};
    use carnet_mikey::{CsIdMap, Header, Identity, Message, key_mgmt};
    let message = |data_type: u8| {
        let id = Payload::Idr { role: 1, id: Identity::from_uri("sip:alice@a.example").unwrap() };
        let flags = Flags::default().with(Flags::D).with(Flags::H);
        let policy = TicketPolicy { ticket_type: 1, subtype: 1, version: 1, prf: 1, flags, data: vec![id] };
        let ticket = Payload::Ticket(Ticket { policy, ticket_data: vec![7; 40], initiator_data: vec![] });
        let header = Header { data_type, v: false, prf: 1, csb_id: data_type.into(), map: CsIdMap::Empty(0) };
        Message { header, payloads: vec![ticket] }.print()
    };
    let mut scene = Scene::new();
    let (client, kms) = ("192.0.2.10:50000", "203.0.113.9:8080");
    let granted = message(13);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/mikey\r\nContent-Length: {}\r\n\r\n",
        granted.len()
    );
    scene.open(1, client, kms).says(
        1,
        client,
        kms,
        "POST /keymanagement?requesttype=ticketrequest HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    );
    scene.says(1, kms, client, [head.as_bytes(), &granted].concat());
    let offer =
        format!("{}a=key-mgmt:{}\r\n", sdp("192.0.2.10:7000", "7654321"), key_mgmt::print(&message(14)));
    scene.udp(UE, NEAR, invite("one", &offer));
    let ladder = scene.ladder();
    assert_eq!(kinds(&ladder), [Kind::Call]);
    let labels: Vec<_> = ladder.sessions[0].entries.iter().map(|entry| entry.label.as_str()).collect();
    assert!(
        labels.contains(&"HTTP 200 REQUEST_RESP") && labels.contains(&"POST /keymanagement"),
        "{labels:?}"
    );
}

/// Both encodings say the same, and hide the same.
#[test]
fn binary_control_is_read_like_text() {
    let text = "MEGACO/3 <b> Transaction=1{Context=5{Modify=ip/1{Media{Stream=1{LocalControl{crntls/psk=f00d0009f00d0009f00d0009f00d0009}}}}}}";
    let message = carnet_h248::text::parse(text.as_bytes(), &carnet_h248::text::Limits::default()).unwrap();
    let binary = carnet_h248::binary::print(&message).unwrap();
    let mut framed = vec![3, 0, 0, u8::try_from(binary.len() + 4).unwrap()];
    framed.extend(&binary);
    let mut scene = Scene::new();
    scene.udp(BORDER, GATEWAY, text).udp("203.0.113.1:2945", "203.0.113.2:2945", &binary);
    scene.open(1, "203.0.113.1:40000", "203.0.113.2:2945").says(
        1,
        "203.0.113.1:40000",
        "203.0.113.2:2945",
        &framed,
    );
    let ladder = scene.ladder();
    let entries: Vec<_> = ladder.sessions.iter().flat_map(|session| &session.entries).collect();
    assert_eq!(entries.iter().map(|entry| entry.label.as_str()).collect::<Vec<_>>(), ["Modify C=5"; 3]);
    for entry in entries {
        assert!(
            entry.text.contains("crntls/psk") && !entry.text.to_lowercase().contains("f00d0009"),
            "{}",
            entry.text
        );
    }
}
