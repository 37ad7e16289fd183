//! One endpoint at a time, with the other side played by hand.

use super::*;
use crate::hop::Transport;
use crate::typed::CSeq;
use crate::{FlowId, Limits, NameAddr, Uri};
use carnet_wire::SeededRandom;
use std::net::SocketAddr;
use std::time::Duration;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn udp() -> Hop {
    Hop { local: Some(addr("192.0.2.1:5060")), ..Hop::new(Transport::Udp, addr("192.0.2.9:5060")) }
}

fn tcp(flow: u64) -> Hop {
    Hop {
        local: Some(addr("192.0.2.1:5060")),
        flow: Some(FlowId(flow)),
        ..Hop::new(Transport::Tcp, addr("192.0.2.9:40000"))
    }
}

fn endpoint() -> Endpoint {
    endpoint_with(|_| {})
}

fn endpoint_with(change: impl FnOnce(&mut Config)) -> Endpoint {
    let mut config = Config::default();
    change(&mut config);
    Endpoint::new(config, Box::new(SeededRandom::new(1)))
}

fn request(method: Method) -> Message {
    let mut m = Message::request(method.clone(), "sip:bob@example.com".parse().unwrap());
    m.set_header("From", "<sip:alice@example.com>;tag=a1").unwrap();
    m.set_header("To", "<sip:bob@example.com>").unwrap();
    m.set_header("Call-ID", "c1@example.com").unwrap();
    m.set_header("CSeq", &format!("1 {method}")).unwrap();
    m
}

/// A request as a stranger sends it.
fn from_wire(method: Method, branch: &str) -> Bytes {
    let mut m = request(method);
    m.push_front("Via", &format!("SIP/2.0/UDP 192.0.2.9:5060;branch={branch};rport")).unwrap();
    m.push_back("Max-Forwards", "70").unwrap();
    m.to_bytes()
}

fn feed(e: &mut Endpoint, now: Instant, hop: Hop, data: impl Into<Bytes>) {
    e.handle_input(now, Input { hop, data: data.into() });
}

fn sent(e: &mut Endpoint) -> Vec<Message> {
    std::iter::from_fn(|| e.poll_transmit())
        .map(|t| Message::parse(t.data, &Limits::default()).expect("what we send parses"))
        .collect()
}

fn one_sent(e: &mut Endpoint) -> Message {
    let mut all = sent(e);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn events(e: &mut Endpoint) -> Vec<Event> {
    std::iter::from_fn(|| e.poll_event()).collect()
}

/// Runs timers up to `until`, returning when something was sent and what.
fn run(e: &mut Endpoint, start: Instant, until: Duration) -> Vec<(u128, Message)> {
    let mut out = Vec::new();
    while let Some(at) = e.poll_timeout().filter(|at| *at <= start + until) {
        e.handle_timeout(at);
        out.extend(sent(e).into_iter().map(|m| ((at - start).as_millis(), m)));
    }
    out
}

fn reply(request: &Message, status: u16, tag: &str) -> Bytes {
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
