//! A client behind a translator of addresses: it sees that from its registration, offers to connect, and
//! keeps its way open where that is no connection (RFC 3581, RFC 5626 §4.4.2, RFC 6135 §4.2).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod net;

use std::net::SocketAddr;
use std::time::Duration;

use carnet_client::{Event, Purpose};
use carnet_sip::stun::Stun;
use carnet_sip::{FlowId, Hop, Input, Limits, Message, Transport, Via};
use net::{Net, Person, address, uri};

/// The border at 10.0.0.9, as Alice sees it.
struct Border {
    /// From where her requests come, to its eyes.
    source: SocketAddr,
    /// Whether it knows STUN.
    stun: bool,
    /// Whether anything gets through.
    up: bool,
    hop: Hop,
    registers: usize,
    pings: usize,
}

impl Border {
    fn new(source: &str) -> Self {
        let hop = Hop { local: Some(address(1)), ..Hop::new(Transport::Udp, address(9)) };
        Self { source: source.parse().unwrap(), stun: true, up: true, hop, registers: 0, pings: 0 }
    }

    fn marked(&self, request: &Message) -> String {
        let via: Via = request.top_via().unwrap();
        assert_eq!(via.rport(), Some(None), "the question of RFC 3581");
        let (ip, port) = (self.source.ip(), self.source.port());
        via.to_string().replace(";rport", &format!(";rport={port};received={ip}"))
    }

    /// Answers all that Alice has to say. Offers are kept.
    fn serve(&mut self, net: &mut Net) -> Vec<Message> {
        let (now, wall) = (net.now, net.wall);
        let mut kept = Vec::new();
        let node = &mut net.nodes[0];
        loop {
            while let Some(fetch) = node.client.poll_fetch() {
                let answer = net.kms[0].answer(wall, fetch.purpose, &fetch.octets).unwrap();
                node.client.handle_fetched(now, wall, fetch.id, answer);
            }
            let Some(transmit) = node.client.poll_transmit() else { break };
            let data = if let Some(Stun::Request(id, unknown)) = Stun::parse(&transmit.data) {
                assert_eq!(transmit.hop.remote, address(9), "on the port of SIP");
                self.pings += 1;
                if !self.stun || !self.up {
                    continue;
                }
                Stun::answer(&id, &unknown, self.source)
            } else {
                let request = Message::parse(transmit.data, &Limits::default()).unwrap();
                if request.method().as_str() != "REGISTER" {
                    kept.push(request);
                    continue;
                }
                if !self.up {
                    continue;
                }
                self.registers += 1;
                let mut ok = Message::response(&request, 200, "OK").unwrap();
                ok.remove_all("Via");
                ok.push_front("Via", &self.marked(&request)).unwrap();
                let contact = format!("{};expires=3600", request.header("Contact").unwrap());
                ok.push_back("Contact", &contact).unwrap();
                ok.to_bytes()
            };
            node.client.handle_sip(now, wall, Input { hop: self.hop.clone(), data });
        }
        while let Some(event) = node.client.poll_event() {
            node.events.push_back(event);
        }
        kept
    }

    /// Lets time pass.
    fn pass(&mut self, net: &mut Net, time: Duration) {
        let end = net.now + time;
        self.serve(net);
        while let Some(next) = net.nodes[0].client.poll_timeout().filter(|next| *next <= end) {
            let next = next.max(net.now);
            net.wall += next - net.now;
            net.now = next;
            net.nodes[0].client.handle_timeout(net.now, net.wall);
            self.serve(net);
        }
        net.wall += end - net.now;
        net.now = end;
    }
}

fn registered(border: &mut Border) -> (Net, Option<SocketAddr>) {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 9 }, |_| {});
    net.nodes[0].client.register(net.now);
    border.serve(&mut net);
    let Event::Registered { seen_at, .. } = net.event(0, |event| matches!(event, Event::Registered { .. }))
    else {
        unreachable!()
    };
    (net, seen_at)
}

fn lost(net: &mut Net) -> bool {
    net.try_event(0, |event| matches!(event, Event::FlowLost)).is_some()
}

const OUTER: &str = "203.0.113.7:40001";

#[test]
fn who_is_translated_offers_to_connect() {
    for (source, setup) in [
        ("10.0.0.1:5060", "a=setup:actpass"),
        (OUTER, "a=setup:active"),
        // The same address and another port: a translator that shares ours.
        ("10.0.0.1:40001", "a=setup:active"),
    ] {
        let mut border = Border::new(source);
        let (mut net, seen_at) = registered(&mut border);
        let translated = setup == "a=setup:active";
        assert_eq!(seen_at, translated.then(|| source.parse().unwrap()));
        let to = uri("sip:bob@example.com");
        let local = net::media_address(0, 0);
        net.nodes[0].client.call(net.now, net.wall, to, Purpose::Chat, local).unwrap();
        let offers = border.serve(&mut net);
        let offer = String::from_utf8(offers[0].to_bytes().to_vec()).unwrap();
        assert!(offer.contains(setup), "{source}: {offer}");
        assert_eq!(offer.contains("m=message 9 "), translated, "RFC 6135 §4.2");
    }
}

#[test]
fn a_connection_leaves_from_any_port() {
    let mut border = Border::new("10.0.0.1:40001");
    border.hop = Hop { transport: Transport::Tcp, flow: Some(FlowId(1)), ..border.hop };
    let (mut net, seen_at) = registered(&mut border);
    assert_eq!(seen_at, None);
    // The driver keeps connections alive.
    border.pass(&mut net, Duration::from_secs(300));
    assert_eq!(border.pings, 0);
}

#[test]
fn the_way_is_kept_open_while_nothing_else_passes() {
    let mut border = Border::new(OUTER);
    let (mut net, _) = registered(&mut border);
    border.pass(&mut net, Duration::from_secs(1200));
    // RFC 5626 §4.4.2: every 24 to 29 seconds.
    assert!((41..=52).contains(&border.pings), "{}", border.pings);
    assert!(!lost(&mut net));
    assert_eq!(border.registers, 1);
}

#[test]
fn who_is_not_translated_has_nothing_to_keep_open() {
    let mut border = Border::new("10.0.0.1:5060");
    let (mut net, _) = registered(&mut border);
    border.pass(&mut net, Duration::from_secs(1200));
    assert_eq!(border.pings, 0);
}

#[test]
fn a_way_that_comes_out_elsewhere_is_lost_and_made_again() {
    let mut border = Border::new(OUTER);
    let (mut net, _) = registered(&mut border);
    border.pass(&mut net, Duration::from_secs(60));
    border.source = "203.0.113.7:40002".parse().unwrap();
    border.pass(&mut net, Duration::from_secs(40));
    assert!(lost(&mut net));
    assert_eq!(border.registers, 2);
    let Event::Registered { seen_at, .. } = net.event(0, |event| matches!(event, Event::Registered { .. }))
    else {
        unreachable!()
    };
    assert_eq!(seen_at, Some(border.source));
    border.pass(&mut net, Duration::from_secs(300));
    assert!(!lost(&mut net) && border.registers == 2);
}

#[test]
fn a_way_on_which_nobody_answers_any_more_is_lost() {
    let mut border = Border::new(OUTER);
    let (mut net, _) = registered(&mut border);
    border.pass(&mut net, Duration::from_secs(60));
    border.up = false;
    let before = border.pings;
    border.pass(&mut net, Duration::from_secs(90));
    assert!(lost(&mut net));
    assert!(border.pings - before >= 6, "it was asked again");
    border.up = true;
    border.pass(&mut net, Duration::from_secs(60));
    assert_eq!(border.registers, 2);
}

#[test]
fn a_border_without_stun_loses_nobody() {
    let mut border = Border::new(OUTER);
    border.stun = false;
    let (mut net, _) = registered(&mut border);
    border.pass(&mut net, Duration::from_secs(1200));
    assert!(border.pings > 40, "what it does not answer keeps the way open all the same");
    assert!(!lost(&mut net));
    assert_eq!(border.registers, 1);
}

#[test]
fn answers_of_strangers_are_no_matter() {
    let mut border = Border::new(OUTER);
    let (mut net, _) = registered(&mut border);
    let elsewhere: SocketAddr = "198.51.100.66:1".parse().unwrap();
    let mut asked = None;
    for _ in 0..10 {
        net.now = net.nodes[0].client.poll_timeout().unwrap().max(net.now);
        net.nodes[0].client.handle_timeout(net.now, net.wall);
        while let Some(transmit) = net.nodes[0].client.poll_transmit() {
            if let Some(Stun::Request(id, _)) = Stun::parse(&transmit.data) {
                asked = Some(id);
            }
        }
    }
    let id = asked.unwrap();
    for (from, id) in [(address(8), id), (address(9), [7; 12])] {
        let hop = Hop::new(Transport::Udp, from);
        let data = Stun::answer(&id, &[], elsewhere);
        net.nodes[0].client.handle_sip(net.now, net.wall, Input { hop, data });
        border.serve(&mut net);
        assert!(!lost(&mut net), "from {from}");
    }
    let hop = Hop::new(Transport::Udp, address(9));
    let data = Stun::answer(&id, &[], elsewhere);
    net.nodes[0].client.handle_sip(net.now, net.wall, Input { hop, data });
    border.serve(&mut net);
    assert!(lost(&mut net), "the right one counts");
}
