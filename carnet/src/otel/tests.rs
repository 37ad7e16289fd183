//! Traces of what roles show, without a network.

use super::calls::Calls;
use super::dialogs::Dialogs;
use super::export;
use super::ids::{self, Sample};
use super::rooms::Rooms;
use super::span::{Span, Told};
use super::terminations::Terminations;
use carnet_border::{Cause, Event as Border};
use carnet_gateway::Event as Gateway;
use carnet_gateway::media::{Cause as Ended, TlsFailure};
use carnet_h248::{ContextId, TerminationId};
use carnet_ops::config::OtelSection;
use carnet_plan::{Both, Octets, Side};
use opentelemetry::trace::{SpanId, SpanKind, Status};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn calls() -> Calls {
    let borders = ["a", "b"].map(str::to_owned).into();
    Calls::new(borders, BTreeSet::from([("a".to_owned(), "access".to_owned())]))
}

fn invite(call_id: &str, branch: &str, below: &str) -> Vec<u8> {
    format!(
        "INVITE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/TCP one.example;branch={branch}\r\n{below}From: <sip:a@a>;tag=1\r\n\
         To: <sip:b@b>\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn answer(call_id: &str, branch: &str, status: u16) -> Vec<u8> {
    format!(
        "SIP/2.0 {status} So\r\nVia: SIP/2.0/TCP one.example;branch={branch}\r\nFrom: <sip:a@a>;tag=1\r\n\
         To: <sip:b@b>;tag=2\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn started(call_id: &str, from: &str) -> Border {
    Border::CallStarted {
        call_id: call_id.into(),
        from: "sip:a@a".into(),
        to: "sip:bob@b.example".into(),
        networks: Both { caller: from.into(), callee: "core".into() },
    }
}

fn ended(call_id: &str, cause: Cause) -> Border {
    Border::CallEnded { call_id: call_id.into(), cause, said: None }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

/// The next border hangs its call below the INVITE that it got, also if a proxy has put its Via on top.
#[test]
fn borders_share_a_trace_without_a_word() {
    let (mut first, mut next) = (calls(), calls());
    let (mut here, mut there) = (Vec::new(), Vec::new());
    first.sip("a", &invite("c", "z9hG4bKphone", ""), false, &mut here);
    first.border("a", &started("c", "access"), &mut here);
    first.sip("a", &invite("c", "z9hG4bKours", ""), true, &mut here);
    let below = "Via: SIP/2.0/TCP two.example;branch=z9hG4bKours\r\n";
    next.sip("b", &invite("c", "z9hG4bKproxy", below), false, &mut there);
    next.border("b", &started("c", "core"), &mut there);
    first.sip("a", &answer("c", "z9hG4bKours", 486), false, &mut here);
    for (calls, border, spans) in [(&mut first, "a", &mut here), (&mut next, "b", &mut there)] {
        calls.border(border, &ended("c", Cause::Refused(486)), spans);
    }
    let sent = named(&here, "INVITE");
    assert_eq!((named(&there, "call").parent, named(&there, "call").trace), (sent.id, sent.trace));
    assert_eq!((named(&here, "call").parent, sent.parent), (SpanId::INVALID, named(&here, "call").id));
    // What the other side declines is no failure; what it cannot do is.
    assert_eq!((&named(&here, "call").status, &sent.status), (&Status::Unset, &Status::Unset));
    let mut spans = Vec::new();
    first.sip("a", &invite("d", "z9hG4bKphone", ""), false, &mut spans);
    first.border("a", &started("d", "access"), &mut spans);
    first.border("a", &ended("d", Cause::Refused(503)), &mut spans);
    assert!(matches!(named(&spans, "call").status, Status::Error { .. }));
}

#[test]
fn media_and_what_gateways_were_asked_belong_to_the_call() {
    let (mut calls, mut spans, mut terminations) = (calls(), Vec::new(), Terminations::default());
    calls.sip("a", &invite("c", "z9hG4bKphone", ""), false, &mut spans);
    calls.border("a", &started("c", "access"), &mut spans);
    let call_id = || "c".to_owned();
    let answered = |code: Option<u16>| Border::GatewayAnswered {
        call_id: call_id(),
        gateway: "g".into(),
        transaction: 7 + u32::from(code.is_none()),
        command: "Add",
        context: None,
        code,
        took: Duration::from_millis(30),
    };
    calls.border("a", &answered(Some(510)), &mut spans);
    let refused = named(&spans, "H.248 Add");
    assert!(matches!(refused.status, Status::Error { .. }));
    assert_eq!(refused.end.duration_since(refused.start).unwrap(), Duration::from_millis(30));
    calls.border("a", &answered(None), &mut spans);
    let addresses = Both { caller: "192.0.2.1:1".into(), callee: "192.0.2.1:2".into() };
    let reserved =
        Border::MediaReserved { call_id: call_id(), index: 0, gateway: "g".into(), context: 5, addresses };
    calls.border("a", &reserved, &mut spans);
    // TLS that ends at the gateway: in the call's trace where both are here.
    let termination = || TerminationId::new("ip/1".to_owned());
    let connected = Gateway::Connected {
        context: ContextId::Id(5),
        termination: termination(),
        peer: "192.0.2.7:4000".parse().unwrap(),
    };
    terminations.gateway("g", &connected, &calls, &mut spans);
    let failed = Gateway::Disconnected {
        context: ContextId::Id(5),
        termination: termination(),
        cause: Ended::Tls(TlsFailure::Fingerprint),
    };
    terminations.gateway("g", &failed, &calls, &mut spans);
    calls.border("a", &Border::CallUp { call_id: call_id() }, &mut spans);
    calls.border("a", &ended("c", Cause::Tls(Side::Caller)), &mut spans);
    let octets = Both { caller: Octets { received: 5, sent: 7 }, callee: Octets::default() };
    let released = Border::MediaReleased { call_id: call_id(), gateway: "g".into(), context: 5, octets };
    calls.border("a", &released, &mut spans);
    let (call, media, tls) = (named(&spans, "call"), named(&spans, "media"), named(&spans, "TLS handshake"));
    assert_eq!((media.parent, tls.parent, tls.trace), (call.id, media.id, call.trace));
    assert!(matches!(call.status, Status::Error { .. }) && matches!(tls.status, Status::Error { .. }));
    assert!(named(&spans, "set-up").status == Status::Unset, "it was up");
    let octets = |told: &Told| {
        let found = told.0.iter().find(|said| said.key.as_str() == "media.octets.caller.sent");
        found.map(|said| said.value.clone())
    };
    assert_eq!(octets(&media.told), Some(7_i64.into()));
    let all: BTreeSet<_> = spans.iter().map(|span| span.id.to_bytes()).collect();
    assert_eq!(all.len(), spans.len(), "each has a name of its own");
}

/// A proxy behind the border wants credentials: the same Call-ID comes twice, and is two calls of one trace.
#[test]
fn a_call_that_is_asked_for_credentials_is_traced_again() {
    let (mut calls, mut spans) = (calls(), Vec::new());
    for (branch, cause) in [("z9hG4bKone", Cause::Refused(407)), ("z9hG4bKtwo", Cause::Bye(Side::Caller))] {
        calls.sip("a", &invite("c", branch, ""), false, &mut spans);
        // It comes again before it is answered.
        calls.sip("a", &invite("c", branch, ""), false, &mut spans);
        calls.border("a", &started("c", "access"), &mut spans);
        calls.border("a", &ended("c", cause), &mut spans);
    }
    let found: Vec<_> = spans.iter().filter(|span| span.name == "call").collect();
    assert_eq!(found.len(), 2, "{spans:#?}");
    assert!(found[0].trace == found[1].trace && found[0].id != found[1].id);
}

/// Strangers, requests that become no call, and octets that are none.
#[test]
fn what_is_no_call_leaves_nothing_behind() {
    let (mut calls, mut spans) = (calls(), Vec::new());
    for octets in [&b"INVITE "[..], b"INVITE \0\xff", b"SIP/2.0 200 OK\r\n\r\n", b"SIP/2.0 2", b""] {
        calls.sip("a", octets, false, &mut spans);
        calls.sip("a", octets, true, &mut spans);
    }
    calls.sip("stranger", &invite("c", "z9hG4bKx", ""), false, &mut spans);
    calls.sip("a", &answer("c", "z9hG4bKx", 200), false, &mut spans);
    calls.border("a", &started("never-seen", "access"), &mut spans);
    assert!(calls.kept() == 0 && spans.is_empty(), "{spans:?}");
    calls.sip("a", &invite("c", "z9hG4bKx", ""), false, &mut spans);
    let refused = Border::RequestRefused {
        call_id: "c".into(),
        method: "INVITE".into(),
        status: 403,
        reason: "not from there".into(),
    };
    calls.border("a", &refused, &mut spans);
    assert_eq!((calls.kept(), spans.len()), (0, 1));
    assert!(matches!(named(&spans, "call").status, Status::Error { .. }));
}

fn joined(member: &str, user: u16, call_id: &str, called: bool) -> carnet_conference::Event {
    let (room, member, call_id) = ("sip:r@x".to_owned(), member.to_owned(), call_id.to_owned());
    carnet_conference::Event::Joined { room, member, user, sealed: true, called, call_id }
}

fn left(member: &str, call_id: Option<&str>, reason: carnet_conference::Left) -> carnet_conference::Event {
    let (room, member, call_id) = ("sip:r@x".to_owned(), member.to_owned(), call_id.map(str::to_owned));
    carnet_conference::Event::Left { room, member, reason, call_id }
}

fn said(span: &Span, name: &str) -> Option<String> {
    span.told.0.iter().find(|said| said.key.as_str() == name).map(|said| said.value.to_string())
}

/// Spans of members, by what was said of them.
fn members<'a>(spans: &'a [Span], name: &str, value: &str) -> Vec<&'a Span> {
    let of = |span: &&Span| span.name == "member" && said(span, name).as_deref() == Some(value);
    spans.iter().filter(of).collect()
}

/// Somebody comes, has a floor twice, and goes; somebody else is there when the room ends.
#[test]
fn a_member_is_in_the_trace_of_its_call_and_floors_are_below_it() {
    use carnet_conference::{Event as Conference, Left};
    let (mut rooms, mut spans) = (Rooms::new(["focus".to_owned()].into()), Vec::new());
    let (room, alice) = (|| "sip:r@x".to_owned(), || "sip:alice@x".to_owned());
    // The border in front has made its INVITE anew; a proxy between us has put its Via on top.
    let below = "Via: SIP/2.0/TCP border.example;branch=z9hG4bKborder\r\n";
    rooms.sip("focus", &invite("a", "z9hG4bKproxy", below), false, &mut spans);
    rooms.sip("another", &invite("z", "z9hG4bKx", ""), false, &mut spans);
    // We call bob, who has it ring and answers.
    rooms.sip("focus", &invite("b", "z9hG4bKours", ""), true, &mut spans);
    rooms.sip("focus", &answer("b", "z9hG4bKours", 180), false, &mut spans);
    rooms.sip("focus", &answer("b", "z9hG4bKours", 200), false, &mut spans);
    let floor = |holders: &[&str]| Conference::Floor {
        room: room(),
        floor: 7,
        holders: holders.iter().map(|holder| (*holder).to_owned()).collect(),
        waiting: 0,
    };
    for event in [
        Conference::RoomOpened { room: room(), by: None },
        joined("sip:alice@x", 1, "a", false),
        joined("sip:bob@x", 2, "b", true),
        Conference::Stalled { room: room(), member: alice(), on: true },
        floor(&["sip:alice@x"]),
        floor(&["sip:alice@x", "sip:bob@x"]),
        floor(&["sip:bob@x"]),
        floor(&["sip:alice@x"]),
        left("sip:alice@x", Some("a"), Left::Gone),
        left("sip:alice@x", Some("a"), Left::Gone),
        Conference::RoomClosed { room: room() },
        // Of a room that was never heard of.
        left("sip:alice@x", Some("s"), Left::Gone),
    ] {
        rooms.conference("focus", &event, &mut spans);
    }
    let whole = named(&spans, "room");
    let of = |name: &str| members(&spans, "conference.member", name)[0];
    let (alice, bob) = (of("sip:alice@x"), of("sip:bob@x"));
    let (border, ours) = (ids::of_call("a"), ids::of_call("b"));
    assert_eq!((alice.trace, alice.parent), (border, super::invites::of_branch(border, "z9hG4bKborder")));
    assert_eq!((bob.trace, bob.parent), (ours, SpanId::INVALID));
    assert_eq!((named(&spans, "INVITE").parent, named(&spans, "INVITE").trace), (bob.id, ours));
    assert_eq!(whole.links, [(alice.trace, alice.id), (bob.trace, bob.id)]);
    assert!([alice, bob].iter().all(|member| member.links == [(whole.trace, whole.id)]));
    assert_eq!(said(alice, "conference.left").as_deref(), Some("gone"));
    assert_eq!(said(bob, "conference.left").as_deref(), Some("closed"));
    let noted: Vec<_> = alice.events.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(noted, ["joined", "stalled"]);
    let floors = |member: &Span| {
        let below =
            |span: &&Span| (span.name == "floor") && (span.trace, span.parent) == (member.trace, member.id);
        spans.iter().filter(below).count()
    };
    assert_eq!((floors(alice), floors(bob)), (2, 1));
    assert_eq!((said(whole, "conference.most_members").as_deref(), rooms.kept()), (Some("2"), 0));
}

/// The same user with two devices, one that takes the place of another, and one that is called back: each call is a span of its own.
#[test]
fn a_member_is_a_call_and_not_a_name() {
    use carnet_conference::{Event as Conference, Left};
    let (mut rooms, mut spans) = (Rooms::new(["focus".to_owned()].into()), Vec::new());
    for event in [
        joined("sip:alice@x", 1, "old", false),
        // The one that comes is there before the one that goes has gone.
        joined("sip:alice@x", 2, "new", false),
        left("sip:alice@x", Some("old"), Left::Replaced),
        Conference::RoomLost { room: "sip:r@x".into(), members: 1 },
        joined("sip:alice@x", 2, "back", true),
        Conference::RoomLost { room: "sip:r@x".into(), members: 1 },
        // Given up: nothing is left of its dialog.
        left("sip:alice@x", None, Left::NotReached("486".into())),
        // Nobody is lost, and who that is was never heard of.
        left("sip:alice@x", None, Left::Gone),
        Conference::RoomClosed { room: "sip:r@x".into() },
    ] {
        rooms.conference("focus", &event, &mut spans);
    }
    for (call_id, reason) in [("old", "replaced"), ("new", "called-back"), ("back", "not-reached")] {
        let found = members(&spans, "sip.call_id", call_id);
        assert_eq!(found.len(), 1, "{spans:#?}");
        assert_eq!(said(found[0], "conference.left").as_deref(), Some(reason), "{spans:#?}");
        assert_eq!(found[0].trace, ids::of_call(call_id));
    }
    assert_eq!((spans.len(), rooms.kept()), (4, 0));
}

/// Who is turned away, who declines, and who does not answer.
#[test]
fn who_is_no_member_is_in_the_trace_of_the_call_too() {
    use carnet_conference::Event as Conference;
    let (mut rooms, mut spans) = (Rooms::new(["focus".to_owned()].into()), Vec::new());
    let room = || "sip:r@x".to_owned();
    rooms.sip("focus", &invite("in", "z9hG4bKborder", ""), false, &mut spans);
    let (member, reason) = ("sip:eve@x".to_owned(), "not a member".to_owned());
    let refused = Conference::Refused { room: room(), member, status: 403, reason, call_id: "in".into() };
    rooms.conference("focus", &refused, &mut spans);
    for (call_id, status) in
        [("no", Some(603)), ("silent", Some(408)), ("broken", Some(503)), ("keyless", None)]
    {
        rooms.sip("focus", &invite(call_id, "z9hG4bKours", ""), true, &mut spans);
        if let Some(status @ (503 | 603)) = status {
            rooms.sip("focus", &answer(call_id, "z9hG4bKours", status), false, &mut spans);
        }
        let (member, reason, call_id) = ("sip:bob@x".to_owned(), "so".to_owned(), Some(call_id.to_owned()));
        rooms.conference(
            "focus",
            &Conference::NotCalled { room: room(), member, status, reason, call_id },
            &mut spans,
        );
    }
    for (call_id, failed) in
        [("in", true), ("no", false), ("silent", true), ("broken", true), ("keyless", true)]
    {
        let found = members(&spans, "sip.call_id", call_id);
        assert_eq!((found.len(), found[0].trace), (1, ids::of_call(call_id)), "{spans:#?}");
        assert_eq!(matches!(found[0].status, Status::Error { .. }), failed, "{call_id}");
    }
    // Also those that got no answer.
    assert_eq!(spans.iter().filter(|span| span.name == "INVITE").count(), 4);
    assert_eq!(rooms.kept(), 0);
}

#[test]
fn a_dialog_over_ng_is_in_the_trace_of_its_call_id() {
    use carnet_steering::{Ended as Why, Event as Steering};
    let (mut dialogs, mut spans) = (Dialogs::default(), Vec::new());
    let call_id = || "c".to_owned();
    let address = |port| std::net::SocketAddr::from(([192, 0, 2, 1], port));
    let octets = Both { caller: Octets { received: 5, sent: 7 }, callee: Octets::default() };
    for event in [
        Steering::DialogStarted { call_id: call_id(), from_tag: "1".into(), via_branch: None },
        Steering::MediaReserved {
            call_id: call_id(),
            line: 0,
            context: 9,
            addresses: Both { caller: address(1), callee: address(2) },
        },
        Steering::DialogAnswered { call_id: call_id(), from_tag: "1".into(), to_tag: "2".into() },
        Steering::DialogEnded {
            call_id: call_id(),
            tags: Both { caller: Some("1".into()), callee: Some("2".into()) },
            why: Why::NoConnection,
            lasted: Duration::from_secs(3),
        },
        Steering::MediaReleased { call_id: call_id(), context: 9, octets },
        // Of a call that nobody knows.
        Steering::MediaReleased { call_id: "d".into(), context: 9, octets: Both::default() },
    ] {
        dialogs.steering("g", &event, &mut spans);
    }
    let (dialog, media) = (named(&spans, "ng dialog"), named(&spans, "media"));
    assert_eq!((dialog.trace, media.trace, media.parent), (ids::of_call("c"), dialog.trace, dialog.id));
    assert!(matches!(dialog.status, Status::Error { .. }));
    assert_eq!(dialog.end.duration_since(dialog.start).unwrap(), Duration::from_secs(3));
    assert_eq!((spans.len(), dialogs.kept()), (2, 0));
}

#[test]
fn nodes_choose_the_same_traces() {
    let all: Vec<_> = (0..2_000).map(|n| ids::of_call(&n.to_string())).collect();
    let share = |sample: f64| all.iter().filter(|trace| Sample::new(sample).takes(**trace)).count();
    assert_eq!((share(0.0), share(1.0)), (0, 2_000));
    assert!((400..600).contains(&share(0.25)), "{}", share(0.25));
    assert_ne!(ids::of_call("a"), ids::of_ticket("a"));
    let trace = ids::of_call("a");
    assert_ne!(ids::span(trace, &["ab", "c"]), ids::span(trace, &["a", "bc"]));
}

/// A collector that takes a connection and never answers: nobody waits, and what there is no room for is counted.
#[tokio::test]
async fn a_full_queue_loses_spans_and_counts_them() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!("endpoint = \"http://{}\"\nqueue = 10", silent.local_addr().unwrap());
    let section: OtelSection = toml::from_str(&text).unwrap();
    let exporting =
        export::start(&section, export::resource(&Default::default(), &section), Arc::default()).unwrap();
    let now = SystemTime::now();
    let span = || Span {
        trace: ids::of_itself(),
        id: super::keys::unique(),
        parent: SpanId::INVALID,
        remote: false,
        kind: SpanKind::Internal,
        name: "test".into(),
        start: now,
        end: now,
        told: Told::default(),
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
    };
    // One batch is on its way and waits there; the queue holds ten more.
    for _ in 0..5_000 {
        exporting.put(span());
    }
    let mut gauges = Vec::new();
    exporting.gauges(&mut gauges);
    let dropped = gauges.iter().find(|gauge| gauge.labels[0].1 == "dropped").unwrap().value;
    assert!((4_000.0..5_000.0).contains(&dropped), "{dropped}");
    let began = std::time::Instant::now();
    exporting.flush(Duration::from_millis(200)).await;
    assert!(began.elapsed() < Duration::from_secs(4), "the end of a process does not wait for it");
}
