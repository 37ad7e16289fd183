//! The border with Carnet's own gateway: what the controller says, the gateway does.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::Event;
use carnet_gateway::media::{Gate, Role};
use carnet_h248::association::Transport::Reliable;
use carnet_sip::Method;
use common::real::RealGateway;
use common::*;
use std::time::Duration;

fn world() -> World {
    let mut config = alg(Reliable);
    config.timers.inactivity = Some(Duration::from_secs(300));
    let mut w = World::new(config);
    w.real = Some(RealGateway::new(w.now, "alg1.example.com"));
    w.border.gateway_connected(w.now, "agw1");
    w.settle();
    w.pass(Duration::from_secs(5));
    assert!(w.names().contains(&"gateway-up"), "{:?}", w.events);
    w.register("alice", ALICE);
    w
}

#[test]
fn incoming_triggers_outgoing() {
    for (answer, to_alice, to_carol) in
        [("passive", Role::Passive, Role::Active), ("active", Role::Active, Role::Passive)]
    {
        let mut w = world();
        let mut alice = Ua::new("alice", ALICE, "carol@other.example", "call-r");
        let invite = with_sdp(
            w.request(&alice, Method::Invite, "sip:carol@other.example", 1),
            &msrps("192.0.2.20", 2855, "actpass"),
        );
        w.send(ALICE, ACCESS, &invite);
        let at_peer = w.take_request(PEER, Method::Invite);
        let real = w.real.as_ref().unwrap();
        assert_eq!(real.gateway.contexts(), 1);
        assert!(real.holes.values().all(|h| h.settings.gate == Gate::Inactive && h.joined));
        let carol = Ua::answering("carol", PEER, &at_peer, "c1");
        let port = if answer == "active" { 9 } else { 2855 };
        w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&msrps("2001:db8:2::99", port, answer))));
        let ok = w.take_status(ALICE, 200);
        let real = w.real.as_ref().unwrap();
        let (access, core) = (&real.hole("access").settings, &real.hole("core").settings);
        assert_eq!((access.role, core.role), (to_alice, to_carol), "{answer}");
        assert!(access.gate == Gate::SendReceive && core.gate == Gate::SendReceive);
        let connects = if to_alice == Role::Active {
            (access, "192.0.2.20:2855")
        } else {
            (core, "[2001:db8:2::99]:2855")
        };
        assert_eq!(connects.0.remote, Some(addr(connects.1)));
        let filter = (to_alice == Role::Passive).then(|| (addr(ALICE).ip(), 32));
        assert_eq!(access.filter.network, filter);
        assert!(access.inactivity.is_some());

        alice.remote = ok.header("To").unwrap().into_owned();
        let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
        w.send(ALICE, ACCESS, &ack);
        w.take_request(PEER, Method::Ack);
        // Heartbeats over a long time do not disturb the call.
        w.pass(Duration::from_secs(1000));
        assert_eq!(w.real.as_ref().unwrap().gateway.contexts(), 1);
        let bye = w.request(&alice, Method::Bye, &contact(&ok), 2);
        w.send(ALICE, ACCESS, &bye);
        let bye = w.take_request(PEER, Method::Bye);
        w.send(PEER, CORE, &carol.answer(&bye, 200, None));
        w.take_status(ALICE, 200);
        let octets = w.events.iter().find_map(|e| match e {
            Event::MediaReleased { octets, .. } => Some(octets.clone()),
            _ => None,
        });
        let octets = octets.unwrap();
        assert_eq!((octets.caller.received, octets.callee.sent), (5, 7));
        assert_eq!(w.real.as_ref().unwrap().gateway.contexts(), 0);
        assert!(w.real.as_ref().unwrap().holes.is_empty());
        w.assert_empty();
    }
}
