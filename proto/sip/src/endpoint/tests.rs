//! One endpoint at a time, with the other side played by hand.

use super::*;
use crate::hop::Transport;
use crate::typed::CSeq;
use crate::{FlowId, Limits, Uri};
use carnet_wire::SeededRandom;
use std::net::SocketAddr;
use std::time::Duration;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn udp() -> Hop {
    Hop { local: Some(addr("192.0.2.1:5060")), ..Hop::new(Transport::Udp, addr("192.0.2.9:5060")) }
}

fn tcp(flow: u64) -> Hop {
    Hop {
        local: Some(addr("192.0.2.1:5060")),
        flow: Some(FlowId(flow)),
        ..Hop::new(Transport::Tcp, addr("192.0.2.9:40000"))
    }
}

pub(super) fn endpoint() -> Endpoint {
    endpoint_with(|_| {})
}

pub(super) fn endpoint_with(change: impl FnOnce(&mut Config)) -> Endpoint {
    let mut config = Config::default();
    change(&mut config);
    Endpoint::new(config, Box::new(SeededRandom::new(1)))
}

pub(super) fn request(method: Method) -> Message {
    let mut m = Message::request(method.clone(), "sip:bob@example.com".parse().unwrap());
    m.set_header("From", "<sip:alice@example.com>;tag=a1").unwrap();
    m.set_header("To", "<sip:bob@example.com>").unwrap();
    m.set_header("Call-ID", "c1@example.com").unwrap();
    m.set_header("CSeq", &format!("1 {method}")).unwrap();
    m
}

/// A request as a stranger sends it.
pub(super) fn from_wire(method: Method, branch: &str) -> Bytes {
    let mut m = request(method);
    m.push_front("Via", &format!("SIP/2.0/UDP 192.0.2.9:5060;branch={branch};rport")).unwrap();
    m.push_back("Max-Forwards", "70").unwrap();
    m.to_bytes()
}

pub(super) fn feed(e: &mut Endpoint, now: Instant, hop: Hop, data: impl Into<Bytes>) {
    e.handle_input(now, Input { hop, data: data.into() });
}

pub(super) fn sent(e: &mut Endpoint) -> Vec<Message> {
    std::iter::from_fn(|| e.poll_transmit())
        .map(|t| Message::parse(t.data, &Limits::default()).expect("what we send parses"))
        .collect()
}

pub(super) fn one_sent(e: &mut Endpoint) -> Message {
    let mut all = sent(e);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn events(e: &mut Endpoint) -> Vec<Event> {
    std::iter::from_fn(|| e.poll_event()).collect()
}

/// Runs timers up to `until`, returning when something was sent and what.
pub(super) fn run(e: &mut Endpoint, start: Instant, until: Duration) -> Vec<(u128, Message)> {
    let mut out = Vec::new();
    while let Some(at) = e.poll_timeout().filter(|at| *at <= start + until) {
        e.handle_timeout(at);
        out.extend(sent(e).into_iter().map(|m| ((at - start).as_millis(), m)));
    }
    out
}

pub(super) fn reply(request: &Message, status: u16, tag: &str) -> Bytes {
    let mut r = Message::response(request, status, "").unwrap();
    if status > 100 {
        let to = r.to().unwrap();
        if to.tag().is_none() {
            r.set_header("To", &to.with_tag(tag).unwrap().to_string()).unwrap();
        }
    }
    r.to_bytes()
}

fn ack_for(response: &Message, branch: &str) -> Message {
    let mut ack = Message::request(Method::Ack, "sip:bob@192.0.2.1".parse().unwrap());
    for name in ["From", "To", "Call-ID"] {
        ack.copy_lines(name, response);
    }
    let number = response.cseq().unwrap().number;
    ack.set_header("CSeq", &CSeq { number, method: Method::Ack }.to_string()).unwrap();
    ack.push_front("Via", &format!("SIP/2.0/UDP 192.0.2.9:5060;branch={branch};rport")).unwrap();
    ack
}

#[test]
fn invite_goes_out_and_is_answered() {
    let (mut e, now) = (endpoint(), Instant::now());
    let key = e.request(now, request(Method::Invite), udp().into()).unwrap();
    let invite = one_sent(&mut e);
    let via = invite.top_via().unwrap();
    assert_eq!((via.host(), via.port(), via.transport()), ("192.0.2.1", Some(5060), "UDP"));
    assert_eq!(via.rport(), Some(None));
    assert_eq!(invite.max_forwards(), Ok(Some(70)));
    feed(&mut e, now, udp(), reply(&invite, 100, ""));
    assert!(events(&mut e).is_empty());
    feed(&mut e, now, udp(), reply(&invite, 180, "b1"));
    feed(&mut e, now, udp(), reply(&invite, 200, "b1"));
    let got: Vec<_> = events(&mut e)
        .into_iter()
        .map(|event| match event {
            Event::Response { key: k, message, .. } => {
                assert!(k == key && !message.has("Via"));
                message.status().unwrap()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(got, [180, 200]);
    // The 2xx again, before and after our ACK.
    feed(&mut e, now, udp(), reply(&invite, 200, "b1"));
    assert!(events(&mut e).is_empty() && sent(&mut e).is_empty());
    let mut ack = request(Method::Ack);
    ack.set_header("To", "<sip:bob@example.com>;tag=b1").unwrap();
    e.ack(now, key, ack, udp().into()).unwrap();
    let first = one_sent(&mut e);
    assert_ne!(first.top_via().unwrap().branch(), via.branch());
    feed(&mut e, now, udp(), reply(&invite, 200, "b1"));
    assert_eq!(one_sent(&mut e).to_bytes(), first.to_bytes());
    assert!(events(&mut e).is_empty());
    assert!(run(&mut e, now, Duration::from_secs(40)).is_empty());
    assert!(matches!(events(&mut e)[..], [Event::Ended { key: k }] if k == key));
    assert_eq!(e.load(), Load::default());
}

#[test]
fn requests_come_in_and_are_answered_once() {
    let (mut e, now) = (endpoint(), Instant::now());
    feed(&mut e, now, udp(), from_wire(Method::Invite, "z9hG4bKx1"));
    assert_eq!(one_sent(&mut e).status(), Some(100));
    let event = events(&mut e).remove(0);
    let Event::Request { key, message, .. } = event else { panic!("{event:?}") };
    assert_eq!(message.top_via().unwrap().rport(), Some(Some(5060)));
    feed(&mut e, now, udp(), from_wire(Method::Invite, "z9hG4bKx1"));
    assert_eq!(one_sent(&mut e).status(), Some(100));
    assert!(events(&mut e).is_empty());
    e.respond(now, key, Message::response(&message, 180, "").unwrap()).unwrap();
    assert!(one_sent(&mut e).to_tag().is_some());
    e.respond(now, key, Message::response(&message, 200, "").unwrap()).unwrap();
    let ok = one_sent(&mut e);
    let repeats: Vec<_> = run(&mut e, now, Duration::from_secs(10)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(repeats, [500, 1500, 3500, 7500]);
    let at = now + Duration::from_secs(10);
    let ack = ack_for(&ok, "z9hG4bKx2");
    feed(&mut e, at, udp(), ack.to_bytes());
    assert!(matches!(&events(&mut e)[..], [Event::Ack { key: Some(k), .. }] if *k == key));
    feed(&mut e, at, udp(), ack.to_bytes());
    assert!(events(&mut e).is_empty());
    assert!(run(&mut e, now, Duration::from_secs(60)).is_empty());
    assert!(events(&mut e).is_empty());
    assert_eq!(e.load(), Load::default());
}

fn server_invite(e: &mut Endpoint, now: Instant, hop: Hop, branch: &str) -> (ServerKey, Message) {
    feed(e, now, hop, from_wire(Method::Invite, branch));
    sent(e);
    match events(e).remove(0) {
        Event::Request { key, message, .. } => (key, message),
        other => panic!("{other:?}"),
    }
}

fn statuses(e: &mut Endpoint) -> Vec<u16> {
    events(e)
        .into_iter()
        .map(|event| match event {
            Event::Response { message, .. } => message.status().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_response_that_is_somebody_elses_too() {
    let (mut e, now) = (endpoint(), Instant::now());
    e.request(now, request(Method::Options), udp().into()).unwrap();
    let asked = one_sent(&mut e);
    let mut astray = Message::response(&asked, 200, "").unwrap();
    astray.push_back("Via", "SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKx").unwrap();
    feed(&mut e, now, udp(), astray.to_bytes());
    assert!(events(&mut e).is_empty(), "RFC 3261 §8.1.3.3");
    feed(&mut e, now, udp(), reply(&asked, 200, "t"));
    assert!(matches!(events(&mut e).as_slice(), [Event::Response { .. }]));
}

#[test]
fn timers_a_and_b() {
    let (mut e, now) = (endpoint(), Instant::now());
    let key = e.request(now, request(Method::Invite), udp().into()).unwrap();
    sent(&mut e);
    let at: Vec<_> = run(&mut e, now, Duration::from_secs(40)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(at, [500, 1500, 3500, 7500, 15500, 31500]);
    assert!(
        matches!(events(&mut e)[..], [Event::Unanswered { key: k, reason: Silence::Timeout }] if k == key)
    );
    assert_eq!(e.load(), Load::default());
}

#[test]
fn timers_e_and_f() {
    let (mut e, now) = (endpoint(), Instant::now());
    e.request(now, request(Method::Options), udp().into()).unwrap();
    let options = one_sent(&mut e);
    let first: Vec<_> = run(&mut e, now, Duration::from_secs(4)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(first, [500, 1500, 3500]);
    // A provisional response slows the repetition to T2, it does not end it (§17.1.2.2).
    feed(&mut e, now + Duration::from_secs(4), udp(), reply(&options, 100, ""));
    let rest: Vec<_> = run(&mut e, now, Duration::from_secs(60)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(rest, [7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert!(matches!(events(&mut e)[..], [Event::Unanswered { reason: Silence::Timeout, .. }]));
}

#[test]
fn nothing_is_repeated_on_a_stream() {
    let (mut e, now) = (endpoint(), Instant::now());
    e.request(now, request(Method::Invite), tcp(1).into()).unwrap();
    let invite = one_sent(&mut e);
    assert_eq!(invite.header("Content-Length").as_deref(), Some("0"));
    assert!(run(&mut e, now, Duration::from_secs(31)).is_empty());
    feed(&mut e, now, tcp(1), reply(&invite, 486, "b1"));
    assert_eq!(*one_sent(&mut e).method(), Method::Ack);
    assert_eq!(statuses(&mut e), [486]);
    assert_eq!(e.load(), Load::default(), "Timer D is zero on a stream");
}

#[test]
fn the_ack_to_a_refusal() {
    let (mut e, now) = (endpoint(), Instant::now());
    let mut invite = request(Method::Invite);
    invite.push_back("Route", "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>").unwrap();
    e.request(now, invite, udp().into()).unwrap();
    let invite = one_sent(&mut e);
    for _ in 0..3 {
        feed(&mut e, now, udp(), reply(&invite, 404, "b1"));
        let ack = one_sent(&mut e);
        // RFC 3261 §17.1.1.3.
        assert_eq!(ack.request_uri(), invite.request_uri());
        assert_eq!(ack.top_via(), invite.top_via());
        assert_eq!(ack.vias().unwrap().len(), 1);
        assert_eq!(ack.routes(), invite.routes());
        assert_eq!(ack.to_tag().as_deref(), Some("b1"));
        assert_eq!(ack.from(), invite.from());
        assert_eq!(ack.call_id(), invite.call_id());
        assert_eq!(ack.cseq().unwrap().to_string(), "1 ACK");
    }
    assert_eq!(statuses(&mut e), [404]);
    assert!(run(&mut e, now, Duration::from_secs(33)).is_empty());
    assert_eq!(e.load(), Load::default());
}

#[test]
fn cancel_waits_for_a_provisional() {
    let (mut e, now) = (endpoint(), Instant::now());
    let key = e.request(now, request(Method::Invite), udp().into()).unwrap();
    let invite = one_sent(&mut e);
    e.cancel(now, key).unwrap();
    assert!(sent(&mut e).is_empty());
    feed(&mut e, now, udp(), reply(&invite, 180, "b1"));
    let cancel = one_sent(&mut e);
    assert_eq!(*cancel.method(), Method::Cancel);
    assert_eq!(cancel.top_via(), invite.top_via());
    assert_eq!((cancel.to(), cancel.cseq().unwrap().number), (invite.to(), 1));
    // Twice is once.
    e.cancel(now, key).unwrap();
    assert!(sent(&mut e).is_empty());
    // CANCEL is repeated until answered.
    assert_eq!(run(&mut e, now, Duration::from_secs(1)).len(), 1);
    feed(&mut e, now, udp(), reply(&cancel, 200, "x"));
    assert!(run(&mut e, now, Duration::from_secs(9)).is_empty());
    feed(&mut e, now, udp(), reply(&invite, 487, "b1"));
    assert_eq!(*one_sent(&mut e).method(), Method::Ack);
    assert_eq!(statuses(&mut e), [180, 487]);
}

/// RFC 3326: whoever is cancelled may be told why.
#[test]
fn cancel_with_a_reason() {
    let (mut e, now) = (endpoint(), Instant::now());
    let key = e.request(now, request(Method::Invite), udp().into()).unwrap();
    let invite = one_sent(&mut e);
    assert!(e.cancel_with_reason(now, key, "SIP\r\nX: y").is_err(), "no line of its own");
    e.cancel_with_reason(now, key, "SIP;cause=200;text=\"elsewhere\"").unwrap();
    feed(&mut e, now, udp(), reply(&invite, 180, "b1"));
    let cancel = one_sent(&mut e);
    assert_eq!(cancel.header("Reason").as_deref(), Some("SIP;cause=200;text=\"elsewhere\""));
    assert_eq!(cancel.to(), invite.to());
}

#[test]
fn cancel_crosses_a_2xx() {
    let (mut e, now) = (endpoint(), Instant::now());
    let key = e.request(now, request(Method::Invite), udp().into()).unwrap();
    let invite = one_sent(&mut e);
    feed(&mut e, now, udp(), reply(&invite, 180, "b1"));
    e.cancel(now, key).unwrap();
    let cancel = one_sent(&mut e);
    feed(&mut e, now, udp(), reply(&invite, 200, "b1"));
    feed(&mut e, now, udp(), reply(&cancel, 481, "x"));
    assert_eq!(statuses(&mut e), [180, 200]);
    assert_eq!(e.cancel(now, key), Err(Error::Gone));
    assert!(run(&mut e, now, Duration::from_secs(40)).is_empty(), "CANCEL is not repeated once answered");
    assert_eq!(e.load(), Load::default());
}

#[test]
fn a_cancelled_invite_without_an_end() {
    let (mut e, now) = (endpoint(), Instant::now());
    let key = e.request(now, request(Method::Invite), udp().into()).unwrap();
    let invite = one_sent(&mut e);
    feed(&mut e, now, udp(), reply(&invite, 180, "b1"));
    events(&mut e);
    e.cancel(now, key).unwrap();
    run(&mut e, now, Duration::from_secs(33));
    assert!(matches!(events(&mut e)[..], [Event::Unanswered { reason: Silence::Cancelled, .. }]));
    assert_eq!(e.load(), Load::default());
}

#[test]
fn cancel_of_others() {
    let (mut e, now) = (endpoint(), Instant::now());
    let (key, invite) = server_invite(&mut e, now, udp(), "z9hG4bKx1");
    for round in 0..2 {
        feed(&mut e, now, udp(), from_wire(Method::Cancel, "z9hG4bKx1"));
        let ok = one_sent(&mut e);
        assert_eq!((ok.status(), ok.method()), (Some(200), &Method::Cancel));
        assert_eq!(events(&mut e).len(), usize::from(round == 0));
    }
    e.respond(now, key, Message::response(&invite, 487, "").unwrap()).unwrap();
    let refusal = one_sent(&mut e);
    // Timer G until the ACK.
    let at: Vec<_> = run(&mut e, now, Duration::from_secs(8)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(at, [500, 1500, 3500, 7500]);
    feed(&mut e, now, udp(), ack_for(&refusal, "z9hG4bKx1").to_bytes());
    assert!(run(&mut e, now, Duration::from_secs(40)).is_empty() && events(&mut e).is_empty());
    assert_eq!(e.load(), Load::default());

    feed(&mut e, now, udp(), from_wire(Method::Cancel, "z9hG4bKnone"));
    assert_eq!(one_sent(&mut e).status(), Some(481));
}

#[test]
fn a_refusal_nobody_acknowledges() {
    let (mut e, now) = (endpoint(), Instant::now());
    let (key, invite) = server_invite(&mut e, now, udp(), "z9hG4bKx1");
    e.respond(now, key, Message::response(&invite, 603, "").unwrap()).unwrap();
    run(&mut e, now, Duration::from_secs(33));
    assert!(matches!(&events(&mut e)[..], [Event::Unacknowledged { status: 603, .. }]));
    assert_eq!(e.load(), Load::default());
}

#[test]
fn a_2xx_nobody_acknowledges() {
    let (mut e, now) = (endpoint(), Instant::now());
    // Also on a stream the 2xx is repeated: the ACK is end to end.
    let (key, invite) = server_invite(&mut e, now, tcp(1), "z9hG4bKx1");
    let mut ok = Message::response(&invite, 200, "").unwrap();
    let to = ok.to().unwrap().with_tag("b1").unwrap();
    ok.set_header("To", &to.to_string()).unwrap();
    e.respond(now, key, ok).unwrap();
    sent(&mut e);
    let at: Vec<_> = run(&mut e, now, Duration::from_secs(40)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(at, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    let all = events(&mut e);
    assert!(matches!(&all[..], [Event::Unacknowledged { status: 200, to_tag, .. }] if to_tag == "b1"));
    assert_eq!(e.load(), Load::default());
}

/// An INVITE that passes twice: its 2xx have the same names, and each is repeated until its own ACK.
#[test]
fn two_2xx_with_the_same_names() {
    let (mut e, now) = (endpoint(), Instant::now());
    let mut passes = Vec::new();
    for (n, branch) in ["z9hG4bKx1", "z9hG4bKx2"].into_iter().enumerate() {
        let (key, invite) = server_invite(&mut e, now, udp(), branch);
        let mut ok = Message::response(&invite, 200, "").unwrap();
        ok.set_header("To", "<sip:bob@example.com>;tag=b1").unwrap();
        ok.set_header("Contact", &format!("<sip:pass{n}@192.0.2.1>")).unwrap();
        e.respond(now, key, ok.clone()).unwrap();
        assert!(e.respond(now, key, ok).is_err(), "each 2xx once");
        passes.push((key, one_sent(&mut e)));
    }
    for (n, (key, ok)) in passes.iter().enumerate().rev() {
        let mut ack = ack_for(ok, &format!("z9hG4bKack{n}"));
        ack.set_request_uri(format!("sip:pass{n}@192.0.2.1").parse().unwrap()).unwrap();
        for told in [1, 0] {
            feed(&mut e, now, udp(), ack.to_bytes());
            let all = events(&mut e);
            assert_eq!(all.len(), told);
            assert!(all.iter().all(|event| matches!(event, Event::Ack { key: Some(k), .. } if k == key)));
        }
        assert_eq!(e.unacknowledged(*key, "b1"), None);
        assert_eq!(e.unacknowledged(passes[0].0, "b1").is_some(), n == 1);
    }
    assert!(run(&mut e, now, Duration::from_secs(40)).is_empty());
    assert_eq!(e.load(), Load::default());
}

#[test]
fn several_2xx_of_a_fork_pass_both_ways() {
    let (mut e, now) = (endpoint(), Instant::now());
    let key = e.request(now, request(Method::Invite), udp().into()).unwrap();
    let invite = one_sent(&mut e);
    for tag in ["b1", "b2", "b1", "b2"] {
        feed(&mut e, now, udp(), reply(&invite, 200, tag));
    }
    assert_eq!(statuses(&mut e), [200, 200]);
    for tag in ["b1", "b2"] {
        let mut ack = request(Method::Ack);
        ack.set_header("To", &format!("<sip:bob@example.com>;tag={tag}")).unwrap();
        e.ack(now, key, ack, udp().into()).unwrap();
        sent(&mut e);
        feed(&mut e, now, udp(), reply(&invite, 200, tag));
        assert_eq!(one_sent(&mut e).to_tag().as_deref(), Some(tag));
    }

    let (server, invite) = server_invite(&mut e, now, udp(), "z9hG4bKx1");
    for tag in ["c1", "c2"] {
        let mut ok = Message::response(&invite, 200, "").unwrap();
        ok.set_header("To", &format!("<sip:bob@example.com>;tag={tag}")).unwrap();
        e.respond(now, server, ok.clone()).unwrap();
        let ok = one_sent(&mut e);
        feed(&mut e, now, udp(), ack_for(&ok, "z9hG4bKack").to_bytes());
        assert!(matches!(&events(&mut e)[..], [Event::Ack { key: Some(k), .. }] if *k == server));
        assert!(e.respond(now, server, ok).is_err(), "each 2xx once");
    }
    let late = Message::response(&invite, 486, "").unwrap();
    assert!(e.respond(now, server, late).is_err());
}

#[test]
fn answers_go_where_rfc_3261_and_3581_say() {
    let (mut e, now) = (endpoint(), Instant::now());
    let natted = Hop::new(Transport::Udp, addr("198.51.100.7:9999"));
    for (via, to, marks) in [
        ("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKa;rport", "198.51.100.7:9999", ";received=198.51.100.7"),
        ("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKb", "198.51.100.7:5070", ";received=198.51.100.7"),
        ("SIP/2.0/UDP host.example.com;branch=z9hG4bKc", "198.51.100.7:5060", ";received=198.51.100.7"),
        ("SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKd", "198.51.100.7:5060", ""),
        // What the sender says about itself does not count.
        (
            "SIP/2.0/UDP 198.51.100.7;received=192.0.2.66;branch=z9hG4bKe",
            "198.51.100.7:5060",
            ";received=198.51.100.7",
        ),
    ] {
        let mut m = request(Method::Options);
        m.push_front("Via", &format!("{via}, SIP/2.0/TCP deeper;branch=z9hG4bKz")).unwrap();
        feed(&mut e, now, natted.clone(), m.to_bytes());
        let Event::Request { key, message, .. } = events(&mut e).remove(0) else { panic!() };
        let mut ok = Message::response(&message, 200, "").unwrap();
        ok.remove_all("Via");
        e.respond(now, key, ok).unwrap();
        let t = e.poll_transmit().unwrap();
        assert_eq!(t.hop.remote, addr(to), "{via}");
        let vias = Message::parse(t.data, &Limits::default()).unwrap().vias().unwrap();
        assert_eq!(vias.len(), 2);
        assert_eq!(vias[0].to_string().contains("received"), !marks.is_empty(), "{via}");
        assert!(vias[0].to_string().contains(marks), "{} {marks}", vias[0]);
        assert_eq!(vias[0].rport().flatten(), via.contains("rport").then_some(9999));
    }
}

#[test]
fn a_connection_that_closes() {
    // Under a request that nobody answered: the next candidate, under a branch of its own.
    let (mut e, now) = (endpoint(), Instant::now());
    let second = Hop::new(Transport::Tcp, addr("192.0.2.10:5060"));
    let hops = Destination::Hops(vec![tcp(1), second.clone()]);
    let key = e.request(now, request(Method::Invite), hops).unwrap();
    let first = one_sent(&mut e);
    e.transport_failed(now, &tcp(2));
    assert!(e.poll_transmit().is_none(), "another connection is no matter");
    e.transport_failed(now, &tcp(1));
    let again = e.poll_transmit().unwrap();
    assert_eq!(again.hop, second);
    let again = Message::parse(again.data, &Limits::default()).unwrap();
    assert_ne!(again.top_via().unwrap().branch(), first.top_via().unwrap().branch());
    assert_eq!(again.vias().unwrap().len(), 1);
    feed(&mut e, now, tcp(1), reply(&first, 200, "old"));
    assert!(events(&mut e).is_empty(), "the first attempt is over");
    // After a provisional response nobody else may get the request.
    feed(&mut e, now, second.clone(), reply(&again, 180, "b1"));
    e.transport_failed(now, &second);
    assert!(sent(&mut e).is_empty());
    let all = events(&mut e);
    assert!(
        matches!(all[..], [Event::Response { .. }, Event::Unanswered { key: k, reason: Silence::Unreachable }] if k == key)
    );
    assert_eq!(e.load(), Load::default());

    // Under a request of others: the answer goes to the sender's address (§18.2.2).
    let (key, invite) = server_invite(&mut e, now, tcp(7), "z9hG4bKx1");
    e.transport_failed(now, &tcp(7));
    e.respond(now, key, Message::response(&invite, 486, "").unwrap()).unwrap();
    let t = e.poll_transmit().unwrap();
    assert_eq!((t.hop.flow, t.hop.remote, t.hop.transport), (None, addr("192.0.2.9:5060"), Transport::Tcp));
}

#[test]
fn a_503_and_a_timeout_go_on_with_the_next() {
    let (mut e, now) = (endpoint(), Instant::now());
    let next = |n: u8| Hop { remote: addr(&format!("192.0.2.{n}:5060")), ..udp() };
    let hops = Destination::Hops(vec![next(1), next(2), next(3)]);
    e.request(now, request(Method::Invite), hops).unwrap();
    let first = one_sent(&mut e);
    feed(&mut e, now, next(1), reply(&first, 503, "b1"));
    let both = sent(&mut e);
    assert_eq!((both[0].method(), both[1].method()), (&Method::Ack, &Method::Invite));
    run(&mut e, now, Duration::from_millis(31_999));
    assert!(events(&mut e).is_empty());
    let third = run(&mut e, now, Duration::from_secs(32)).pop().unwrap().1;
    feed(&mut e, now, next(3), reply(&third, 503, "b3"));
    assert_eq!(statuses(&mut e), [503], "the last one's answer is the answer");
}

#[test]
fn full_tables_answer_503() {
    let (mut e, now) = (endpoint_with(|c| c.server_transactions = 2), Instant::now());
    let (first, invite) = server_invite(&mut e, now, udp(), "z9hG4bK1");
    server_invite(&mut e, now, udp(), "z9hG4bK2");
    feed(&mut e, now, udp(), from_wire(Method::Invite, "z9hG4bK3"));
    let refusal = one_sent(&mut e);
    assert_eq!((refusal.status(), refusal.retry_after()), (Some(503), Some(5)));
    assert!(matches!(events(&mut e)[..], [Event::Refused { status: Some(503), error: Error::Full, .. }]));
    // Its ACK is nobody's business, and repetitions get the same tag.
    feed(&mut e, now, udp(), ack_for(&refusal, "z9hG4bK3").to_bytes());
    assert!(events(&mut e).is_empty());
    feed(&mut e, now, udp(), from_wire(Method::Invite, "z9hG4bK3"));
    assert_eq!(one_sent(&mut e).to_tag(), refusal.to_tag());
    // A final response makes room.
    e.respond(now, first, Message::response(&invite, 486, "").unwrap()).unwrap();
    sent(&mut e);
    events(&mut e);
    server_invite(&mut e, now, udp(), "z9hG4bK3");

    let (mut e, now) = (endpoint_with(|c| c.client_transactions = 1), Instant::now());
    e.request(now, request(Method::Options), udp().into()).unwrap();
    assert_eq!(e.request(now, request(Method::Options), udp().into()), Err(Error::Full));
}

#[test]
fn what_is_answered_without_asking() {
    let (mut e, now) = (
        endpoint_with(|c| {
            c.answering.methods = Some(vec![Method::Options, Method::Invite]);
            c.answering.extensions = Some(vec!["100rel".into()]);
            c.answering.exhausted = true;
            c.software = Some("carnet".into());
        }),
        Instant::now(),
    );
    let mut try_one = |change: &dyn Fn(&mut Message), method: Method| {
        let mut m = request(method);
        m.push_front("Via", "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKq;rport").unwrap();
        change(&mut m);
        feed(&mut e, now, udp(), m.to_bytes());
        events(&mut e);
        sent(&mut e).pop()
    };
    let refusal = try_one(&|_| {}, Method::Register).unwrap();
    assert_eq!((refusal.status(), refusal.header("Allow").as_deref()), (Some(405), Some("OPTIONS, INVITE")));
    assert_eq!(refusal.header("Server").as_deref(), Some("carnet"));
    let refusal =
        try_one(&|m| m.set_header("Require", "foo, 100rel, bar").unwrap(), Method::Options).unwrap();
    assert_eq!((refusal.status(), refusal.header("Unsupported").as_deref()), (Some(420), Some("foo, bar")));
    let refusal = try_one(&|m| m.set_header("Max-Forwards", "0").unwrap(), Method::Options).unwrap();
    assert_eq!(refusal.status(), Some(483));
    let refusal =
        try_one(&|m| m.set_request_uri("mailto:a@b".parse().unwrap()).unwrap(), Method::Options).unwrap();
    assert_eq!(refusal.status(), Some(416));
    for uri in ["tel:+15551234", "urn:service:sos"] {
        let branch = format!("SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{};rport", uri.len());
        let change = |m: &mut Message| {
            m.set_request_uri(uri.parse().unwrap()).unwrap();
            m.set_header("Via", &branch).unwrap();
        };
        assert!(try_one(&change, Method::Options).is_none(), "{uri} reaches the transaction user");
    }
    // ACK is never answered.
    assert!(try_one(&|m| m.set_header("CSeq", "x").unwrap(), Method::Ack).is_none());
    // On a stream the length must be there.
    feed(&mut e, now, tcp(1), &b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKs\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:a>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"[..]);
    assert_eq!(one_sent(&mut e).status(), Some(400));
}

#[test]
fn requests_of_rfc_2543() {
    let (mut e, now) = (endpoint(), Instant::now());
    let plain = |method: Method, tag: &str| {
        let mut m = request(method);
        if !tag.is_empty() {
            m.set_header("To", &format!("<sip:bob@example.com>;tag={tag}")).unwrap();
        }
        m.push_front("Via", "SIP/2.0/UDP 192.0.2.9").unwrap();
        m.to_bytes()
    };
    feed(&mut e, now, udp(), plain(Method::Invite, ""));
    feed(&mut e, now, udp(), plain(Method::Invite, ""));
    sent(&mut e);
    let mut all = events(&mut e);
    assert_eq!(all.len(), 1);
    let Event::Request { key, message, .. } = all.remove(0) else { panic!() };
    feed(&mut e, now, udp(), plain(Method::Cancel, ""));
    assert!(matches!(&events(&mut e)[..], [Event::Cancelled { key: k, .. }] if *k == key));
    sent(&mut e);
    e.respond(now, key, Message::response(&message, 487, "").unwrap()).unwrap();
    let tag = one_sent(&mut e).to_tag().unwrap();
    feed(&mut e, now, udp(), plain(Method::Ack, &tag));
    assert!(events(&mut e).is_empty() && run(&mut e, now, Duration::from_secs(40)).is_empty());
}

#[test]
fn a_request_nobody_answers_is_forgotten() {
    let (mut e, now) = (endpoint(), Instant::now());
    feed(&mut e, now, udp(), from_wire(Method::Options, "z9hG4bK1"));
    let Event::Request { key, message, .. } = events(&mut e).remove(0) else { panic!() };
    run(&mut e, now, Duration::from_secs(33));
    assert_eq!(e.load(), Load::default());
    assert_eq!(e.respond(now, key, Message::response(&message, 200, "").unwrap()), Err(Error::Gone));
}

#[test]
fn finished_transactions_make_room_for_new_ones() {
    let (mut e, now) = (endpoint_with(|c| c.lingering = 100), Instant::now());
    for n in 0..20_000u32 {
        let branch = format!("z9hG4bK{n}");
        feed(&mut e, now, udp(), from_wire(Method::Options, &branch));
        let Event::Request { key, message, .. } = events(&mut e).remove(0) else { panic!() };
        e.respond(now, key, Message::response(&message, 200, "").unwrap()).unwrap();
        sent(&mut e);
        let k = e.request(now, request(Method::Invite), udp().into()).unwrap();
        let invite = one_sent(&mut e);
        feed(&mut e, now, udp(), reply(&invite, 486, "b"));
        assert!(e.cancel(now, k).is_err());
        sent(&mut e);
        events(&mut e);
    }
    let load = e.load();
    assert_eq!((load.open_clients, load.open_servers, load.lingering), (0, 0, 200));
    assert!(load.alarms <= 400, "{load:?}");
    assert!(e.lingering_servers.len() <= 100 && e.lingering_clients.len() <= 100);
    assert!(e.matching.len() <= 100 && e.confirmations.is_empty());
    run(&mut e, now, Duration::from_secs(40));
    assert_eq!(e.load(), Load::default());
}

#[test]
fn a_2xx_that_makes_room_before_its_ack_is_not_forgotten_in_silence() {
    let (mut e, now) = (endpoint_with(|c| c.lingering = 2), Instant::now());
    let mut first = None;
    for n in 0..3 {
        let (key, invite) = server_invite(&mut e, now, udp(), &format!("z9hG4bK{n}"));
        let mut ok = Message::response(&invite, 200, "").unwrap();
        ok.set_header("To", &format!("<sip:b@b>;tag=t{n}")).unwrap();
        e.respond(now, key, ok).unwrap();
        first.get_or_insert(key);
    }
    let all = events(&mut e);
    let told = |e: &Event| matches!(e, Event::Unacknowledged { key, status: 200, to_tag } if Some(*key) == first && to_tag == "t0");
    assert_eq!(all.iter().filter(|e| told(e)).count(), 1, "{all:?}");
}

#[test]
fn a_server_found_by_dns() {
    use crate::locate::{Ask, Srv};
    let (mut e, now) = (endpoint(), Instant::now());
    e.request(now, request(Method::Options), Destination::Uri("sip:example.com".parse().unwrap())).unwrap();
    let mut asked = Vec::new();
    while let Some(query) = e.poll_query() {
        let answer = match &query.ask {
            Ask::Srv(name) if name == "_sip._tcp.example.com" => {
                Answer::Srv(vec![Srv { priority: 1, weight: 0, port: 5070, target: "a.example.com".into() }])
            }
            Ask::Address(_) => Answer::Addresses(vec![addr("192.0.2.33:1").ip()]),
            _ => Answer::Nothing,
        };
        asked.push(query.ask);
        e.handle_answer(now, query.id, answer);
    }
    assert_eq!(asked.len(), 5, "{asked:?}");
    let t = e.poll_transmit().unwrap();
    assert_eq!((t.hop.transport, t.hop.remote), (Transport::Tcp, addr("192.0.2.33:5070")));

    for uri in ["tel:+1555", "urn:service:sos"] {
        e.request(now, request(Method::Options), Destination::Uri(uri.parse().unwrap())).unwrap();
        assert!(matches!(events(&mut e)[..], [Event::Unanswered { reason: Silence::NoAddress, .. }]));
    }
    // DNS that never answers.
    e.request(now, request(Method::Options), Destination::Uri("sip:slow.example".parse().unwrap())).unwrap();
    let query = e.poll_query().unwrap();
    e.handle_timeout(now + Duration::from_secs(10));
    assert!(events(&mut e).iter().any(|e| matches!(e, Event::Unanswered { reason: Silence::NoAddress, .. })));
    e.handle_answer(now, query.id, Answer::Nothing);
}

#[test]
fn a_request_leaves_from_the_network_it_is_for() {
    let (mut e, now) = (endpoint(), Instant::now());
    let locals = [
        (Transport::Tcp, addr("10.0.0.1:5062")),
        (Transport::Udp, addr("[2001:db8::1]:5060")),
        (Transport::Udp, addr("10.0.0.1:5064")),
    ];
    for (uri, local, via) in [
        ("sip:192.0.2.40", 2, "SIP/2.0/UDP 10.0.0.1:5064;"),
        ("sip:192.0.2.40;transport=tcp", 0, "SIP/2.0/TCP 10.0.0.1:5062;"),
        ("sip:[2001:db8::9]", 1, "SIP/2.0/UDP [2001:db8::1]:5060;"),
    ] {
        let to = Destination::from(uri.parse::<Uri>().unwrap()).leaving(&locals);
        e.request(now, request(Method::Options), to).unwrap();
        let t = e.poll_transmit().unwrap();
        assert_eq!(t.hop.local, Some(locals[local].1), "{uri}");
        let m = Message::parse(t.data, &Limits::default()).unwrap();
        assert!(m.header("Via").unwrap().starts_with(via), "{uri}");
    }
}

#[test]
fn a_tls_server_is_known_by_the_name_in_its_certificate() {
    let (mut e, now) = (endpoint(), Instant::now());
    for (uri, name) in
        [("sip:192.0.2.40;transport=tls", "192.0.2.40"), ("sip:[2001:db8::9];transport=tls", "2001:db8::9")]
    {
        e.request(now, request(Method::Options), Destination::Uri(uri.parse().unwrap())).unwrap();
        assert_eq!(e.poll_transmit().unwrap().hop.server_name.as_deref(), Some(name));
    }
}

#[test]
fn large_requests_prefer_a_stream() {
    let (mut e, now) = (endpoint(), Instant::now());
    let mut m = request(Method::Message);
    m.set_body(vec![b'x'; 1400], Some("text/plain")).unwrap();
    e.request(now, m, Destination::Uri("sip:192.0.2.40".parse().unwrap())).unwrap();
    let t = e.poll_transmit().unwrap();
    assert_eq!(t.hop.transport, Transport::Tcp);
    e.transport_failed(now, &t.hop);
    let t = e.poll_transmit().unwrap();
    assert_eq!(t.hop.transport, Transport::Udp);
    assert!(t.data.starts_with(b"MESSAGE") && t.data.windows(11).any(|w| w == b"SIP/2.0/UDP"));
}

#[test]
fn an_ack_to_a_name() {
    let (mut e, now) = (endpoint(), Instant::now());
    let key = e.request(now, request(Method::Invite), udp().into()).unwrap();
    let invite = one_sent(&mut e);
    feed(&mut e, now, udp(), reply(&invite, 200, "b1"));
    let mut ack = request(Method::Ack);
    ack.set_header("To", "<sip:bob@example.com>;tag=b1").unwrap();
    e.ack(now, key, ack, Destination::Uri("sip:bob.example.com:5080".parse().unwrap())).unwrap();
    let query = e.poll_query().unwrap();
    e.handle_answer(now, query.id, Answer::Addresses(vec![addr("192.0.2.50:1").ip()]));
    let t = e.poll_transmit().unwrap();
    assert_eq!(t.hop.remote, addr("192.0.2.50:5080"));
    feed(&mut e, now, udp(), reply(&invite, 200, "b1"));
    assert_eq!(e.poll_transmit().unwrap().data, t.data);
}

/// RFC 3261 §7 has CR LF. A datagram that has LF alone throughout has one reading and is taken.
#[test]
fn a_datagram_whose_lines_end_with_lf() {
    let now = Instant::now();
    let text = String::from_utf8(from_wire(Method::Options, "z9hG4bKlf").to_vec()).unwrap();
    let mut e = endpoint();
    feed(&mut e, now, udp(), text.replace("\r\n", "\n"));
    let Some(Event::Request { key, message, .. }) = e.poll_event() else { panic!("a request") };
    assert!(message.to_bytes().windows(2).all(|w| w[1] != b'\n' || w[0] == b'\r'), "it goes on with CR LF");
    e.respond(now, key, Message::response(&message, 200, "").unwrap()).unwrap();
    assert_eq!(one_sent(&mut e).status(), Some(200));
    // Both kinds of line ends, and a stream: nobody acts on it.
    feed(&mut e, now, udp(), text.replacen("\r\n", "\n", 2).replace("z9hG4bKlf", "z9hG4bKmix"));
    feed(&mut e, now, tcp(1), text.replace("\r\n", "\n").replace("z9hG4bKlf", "z9hG4bKtcp"));
    assert!(events(&mut e).iter().all(|e| matches!(e, Event::Refused { .. })));
}

#[test]
fn what_has_waited_for_too_long_is_shed_before_work_is_done_on_it() {
    let (mut e, now) = (endpoint(), Instant::now());
    e.delayed(Duration::from_millis(200));
    feed(&mut e, now, udp(), from_wire(Method::Invite, "z9hG4bK-a"));
    assert_eq!(one_sent(&mut e).status(), Some(100), "in time");
    events(&mut e);

    e.delayed(Duration::from_millis(201));
    feed(&mut e, now, udp(), from_wire(Method::Invite, "z9hG4bK-a"));
    assert_eq!(one_sent(&mut e).status(), Some(100), "a repetition of what is being worked on");
    let load = e.load();
    feed(&mut e, now, udp(), from_wire(Method::Invite, "z9hG4bK-b"));
    let refusal = one_sent(&mut e);
    assert_eq!((refusal.status(), refusal.retry_after()), (Some(503), Some(5)));
    assert!(matches!(events(&mut e)[..], [Event::Refused { status: Some(503), error: Error::Behind, .. }]));
    assert_eq!(e.load(), load, "nothing is kept of it");

    // Its ACK fits nothing and is nobody's business.
    let mut ack = request(Method::Ack);
    ack.push_front("Via", "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-b;rport").unwrap();
    ack.set_header("To", &refusal.header("To").unwrap()).unwrap();
    feed(&mut e, now, udp(), ack.to_bytes());
    assert!(sent(&mut e).is_empty() && events(&mut e).is_empty());

    // What ends a call is taken however late it is.
    let mut bye = request(Method::Bye);
    bye.push_front("Via", "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-c;rport").unwrap();
    bye.set_header("To", "<sip:bob@example.com>;tag=b1").unwrap();
    feed(&mut e, now, udp(), bye.to_bytes());
    assert!(matches!(events(&mut e)[..], [Event::Request { .. }]));

    // The queue has become short again.
    e.delayed(Duration::ZERO);
    feed(&mut e, now, udp(), from_wire(Method::Invite, "z9hG4bK-d"));
    assert_eq!(one_sent(&mut e).status(), Some(100));
}

/// RFC 5626 §5.4: on the port of SIP, but only where there is no connection.
#[test]
fn stun_is_answered_with_where_it_came_from() {
    use crate::stun::Stun;
    let mut e = endpoint();
    let id = [5; 12];
    let from: std::net::SocketAddr = "203.0.113.9:4321".parse().unwrap();
    for (transport, answered) in [(Transport::Udp, true), (Transport::Tcp, false)] {
        let hop = Hop::new(transport, from);
        e.handle_input(Instant::now(), Input { hop: hop.clone(), data: Stun::request(&id) });
        let answer =
            e.poll_transmit().filter(|sent| sent.hop == hop).and_then(|sent| Stun::parse(&sent.data));
        assert_eq!(answer, answered.then_some(Stun::Answer(id, from)), "{transport}");
    }
    // On a connection it is a message that cannot be read.
    assert_eq!(events(&mut e).len(), 1);
    // An answer is not answered: two servers would never stop.
    let hop = Hop::new(Transport::Udp, from);
    e.handle_input(Instant::now(), Input { hop, data: Stun::answer(&id, &[], from) });
    assert!(e.poll_transmit().is_none() && e.poll_event().is_none());
}
