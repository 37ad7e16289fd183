//! How many calls a second one core can carry through two endpoints in memory: INVITE, 100, 180,
//! 200, ACK, BYE, 200, each message built, printed and parsed. Run with `--release`; the argument
//! is the number of calls.

use carnet_sip::{Config, Destination, Endpoint, Error, Event, Hop, Input, Message, Method, Transport};
use carnet_wire::SeededRandom;
use std::time::{Duration, Instant};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=message 2855 TCP/TLS/MSRP *\r\na=accept-types:message/cpim text/plain\r\na=setup:actpass\r\n\
    a=path:msrps://192.0.2.1:2855/iau39soe2843z;tcp\r\na=msrp-cema\r\n";

struct Side {
    endpoint: Endpoint,
    hop: Hop,
}

fn side(local: &str, remote: &str, seed: u64) -> Result<Side, std::net::AddrParseError> {
    let hop = Hop { local: Some(local.parse()?), ..Hop::new(Transport::Udp, remote.parse()?) };
    let config = Config { server_transactions: 200_000, client_transactions: 200_000, ..Config::default() };
    Ok(Side { endpoint: Endpoint::new(config, Box::new(SeededRandom::new(seed))), hop })
}

fn request(method: Method, id: u64, to_tag: Option<&str>) -> Result<Message, Error> {
    let uri = "sip:bob@192.0.2.2:5060".parse().map_err(Error::NotSip)?;
    let mut m = Message::request(method.clone(), uri);
    m.push_back("Max-Forwards", "70")?;
    m.push_back("From", "\"Alice\" <sip:alice@atlanta.example.com>;tag=9fxced76sl")?;
    let tag = to_tag.map(|t| format!(";tag={t}")).unwrap_or_default();
    m.push_back("To", &format!("\"Bob\" <sip:bob@biloxi.example.com>{tag}"))?;
    m.push_back("Call-ID", &format!("{id}@192.0.2.1"))?;
    m.push_back("CSeq", &format!("{} {method}", if method == Method::Bye { 2 } else { 1 }))?;
    m.push_back("Contact", "<sip:alice@192.0.2.1:5060>")?;
    if method == Method::Invite {
        m.set_body(SDP, Some("application/sdp"))?;
    }
    Ok(m)
}

fn carry(now: Instant, from: &mut Side, to: &mut Side, messages: &mut u64) {
    while let Some(t) = from.endpoint.poll_transmit() {
        *messages += 1;
        to.endpoint.handle_input(now, Input { hop: to.hop.clone(), data: t.data });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let calls: u64 = std::env::args().nth(1).map_or(Ok(50_000), |n| n.parse())?;
    let (mut alice, mut bob) =
        (side("192.0.2.1:5060", "192.0.2.2:5060", 1)?, side("192.0.2.2:5060", "192.0.2.1:5060", 2)?);
    let (mut now, start, mut messages, mut done) = (Instant::now(), Instant::now(), 0, 0);
    for id in 0..calls {
        // A steady 2,000 calls a second, by the endpoints' clock.
        now += Duration::from_micros(500);
        alice.endpoint.handle_timeout(now);
        bob.endpoint.handle_timeout(now);
        let to = Destination::from(alice.hop.clone());
        alice.endpoint.request(now, request(Method::Invite, id, None)?, to.clone())?;
        for _ in 0..4 {
            carry(now, &mut alice, &mut bob, &mut messages);
            while let Some(event) = bob.endpoint.poll_event() {
                if let Event::Request { key, message, .. } = event {
                    if *message.method() == Method::Invite {
                        bob.endpoint.respond(now, key, Message::response(&message, 180, "")?)?;
                    }
                    let mut ok = Message::response(&message, 200, "")?;
                    ok.push_back("Contact", "<sip:bob@192.0.2.2:5060>")?;
                    if *message.method() == Method::Invite {
                        ok.set_body(SDP, Some("application/sdp"))?;
                    }
                    bob.endpoint.respond(now, key, ok)?;
                }
            }
            carry(now, &mut bob, &mut alice, &mut messages);
            while let Some(event) = alice.endpoint.poll_event() {
                if let Event::Response { key, message, .. } = event {
                    let tag = message.to_tag();
                    match (message.status(), message.method()) {
                        (Some(200), Method::Invite) => {
                            let ack = request(Method::Ack, id, tag.as_deref())?;
                            alice.endpoint.ack(now, key, ack, to.clone())?;
                            alice.endpoint.request(
                                now,
                                request(Method::Bye, id, tag.as_deref())?,
                                to.clone(),
                            )?;
                        }
                        (Some(200), Method::Bye) => done += 1,
                        _ => {}
                    }
                }
            }
        }
    }
    let took = start.elapsed();
    assert_eq!(done, calls);
    let (a, b) = (alice.endpoint.load(), bob.endpoint.load());
    println!("{calls} calls, {messages} messages in {:.2} s", took.as_secs_f64());
    println!(
        "{:.0} calls/s, {:.1} us a call for both sides",
        calls as f64 / took.as_secs_f64(),
        took.as_micros() as f64 / calls as f64
    );
    println!("remembered at the end: {} and {}", a.lingering, b.lingering);
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status.lines().filter(|l| l.starts_with("VmHWM")).for_each(|l| println!("{l}"));
    }
    Ok(())
}
