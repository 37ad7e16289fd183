//! The border with Carnet's own gateway: what the controller says, the gateway does.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Event, Origin, Place, Prefix};
use carnet_gateway::media::{Gate, Role};
use carnet_h248::association::Transport::Reliable;
use carnet_h248::{
    ActionRequest, Command, ContextId, MId, Message, ObservedEvent, ObservedEvents, RequestId, ServiceChange,
    TerminationId, Transaction, TransactionId, TransactionRequest,
};
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

/// Some gateways want `TCP` where others want `TCP/TLS`; the ends see no difference.
#[test]
fn what_passes_through_is_named_as_the_gateway_wants_it() {
    let wanted = [(None, "m=- 30002 TCP/TLS -"), (Some(carnet_border::Transport::Tcp), "m=- 30002 TCP -")];
    for (pass_through, named) in wanted {
        let mut config = alg(Reliable);
        config.gateways[0].pass_through = pass_through;
        let mut w = World::with_users(config);
        let alice = Ua::new("alice", ALICE, "bob", "call-t");
        let invite = with_sdp(
            w.request(&alice, Method::Invite, "sip:bob@example.com", 1),
            &msrps("192.0.2.20", 2855, "actpass"),
        );
        w.send(ALICE, ACCESS, &invite);
        let local = w.gateway.state.values().next().unwrap().values().next().unwrap().local.clone();
        assert!(local.contains(named), "{local}");
        assert!(body(&w.take_request(BOB, Method::Invite)).contains("TCP/TLS/MSRP"));
        let status = w.border.gateways();
        assert_eq!((status.len(), status[0].calls, status[0].control.contexts), (1, 1, 1), "{status:?}");
    }
}

fn from_gateway(context: ContextId, command: Command) -> Message {
    let actions = vec![ActionRequest::new(context, vec![command])];
    let request = TransactionRequest { id: TransactionId(90), actions };
    Message::new(3, MId::domain("agw1.example.com"), vec![Transaction::Request(request)])
}

fn service_change(method: carnet_h248::Method) -> Message {
    from_gateway(
        ContextId::Null,
        Command::service_change(TerminationId::ROOT, ServiceChange::new(method, 901)),
    )
}

fn notify() -> Message {
    let observed = ObservedEvents::new(RequestId(1)).event(ObservedEvent::new("adid/ipstop"));
    from_gateway(ContextId::Id(78), Command::notify("ip/1/4712".to_owned(), observed))
}

fn origin(address: &str, place: Place) -> Origin {
    Origin { address: Some(address.parse().unwrap()), place }
}

/// Only from where the operator says that the gateway is; the event is not one a message.
#[test]
fn a_gateway_speaks_from_its_own_address() {
    use carnet_h248::Method::Restart;
    let mut config = alg(Reliable);
    config.gateways[0].peers = vec![Prefix { ip: "192.0.2.2".parse().unwrap(), bits: 32 }];
    let mut w = World::up(config);
    for place in [Place::Usual, Place::Other] {
        assert!(w.border.admit_gateway(w.now, "agw1", origin("192.0.2.2", place), &service_change(Restart)));
        for message in [service_change(Restart), notify()] {
            assert!(!w.border.admit_gateway(w.now, "agw1", origin("192.0.2.3", place), &message));
        }
    }
    // A channel has no address.
    let inside = Origin { address: None, place: Place::Usual };
    assert!(w.border.admit_gateway(w.now, "agw1", inside, &notify()));
    w.now += Duration::from_secs(11);
    assert!(!w.border.admit_gateway(w.now, "agw1", origin("2001:db8::3", Place::Usual), &notify()));
    w.settle();
    let foreign = |e: &Event| match e {
        Event::ForeignControl { gateway, from, others } => {
            assert_eq!(
                (&**gateway, carnet_event::Event::level(e)),
                ("agw1", Some(carnet_event::Level::Warn))
            );
            Some((from.unwrap().to_string(), *others))
        }
        _ => None,
    };
    let told: Vec<_> = w.events.iter().filter_map(foreign).collect();
    assert_eq!(told, [("192.0.2.3".to_owned(), 0), ("2001:db8::3".to_owned(), 3)]);
}

/// Without addresses, only a gateway that registers moves a live association.
#[test]
fn a_live_association_stays_where_it_is() {
    use carnet_h248::Method;
    let mut w = World::new(alg(Reliable));
    let elsewhere = origin("192.0.2.3", Place::Other);
    // Nobody is there yet.
    assert!(w.border.admit_gateway(w.now, "agw1", elsewhere, &notify()));
    w.border.gateway_connected(w.now, "agw1");
    w.gateway.register();
    w.settle();
    let usual = origin("192.0.2.2", Place::Usual);
    let others = [Method::Graceful, Method::Forced].map(service_change);
    for message in others.iter().chain([&notify(), &Message::new(3, MId::domain("agw1.example.com"), vec![])])
    {
        assert!(w.border.admit_gateway(w.now, "agw1", usual, message));
        assert!(!w.border.admit_gateway(w.now, "agw1", elsewhere, message), "{message:?}");
    }
    for method in [Method::Restart, Method::Disconnected, Method::HandOff, Method::Failover] {
        assert!(w.border.admit_gateway(w.now, "agw1", elsewhere, &service_change(method.clone())));
        // A gateway in this process is nowhere else.
        let outside = origin("192.0.2.3", Place::Outside);
        assert!(!w.border.admit_gateway(w.now, "agw1", outside, &service_change(method)));
    }
    // Of a termination, it registers nobody.
    let change = ServiceChange::new(Method::Restart, 901);
    let partial = from_gateway(ContextId::Null, Command::service_change("ip/1/1".to_owned(), change));
    assert!(!w.border.admit_gateway(w.now, "agw1", elsewhere, &partial));
}
