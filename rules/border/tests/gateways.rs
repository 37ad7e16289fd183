//! Several gateways: who takes a call, and what becomes of it when that one will not, fails in part,
//! or comes back with other contexts than the calls have.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Cause, Event};
use carnet_h248::association::Transport::Reliable;
use carnet_h248::controller::{Condition, LostReason};
use carnet_h248::{MId, ObservedEvent, PackageVersion, Verb, profile};
use carnet_sip::{Message, Method};
use common::real::RealGateway;
use common::*;
use std::time::{Duration, SystemTime};

/// Alice calls bob.
fn call(w: &mut World, id: &str) -> (Ua, Message) {
    let alice = Ua::new("alice", ALICE, "bob", id);
    let invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    let invite = with_sdp(invite, &msrps("192.0.2.20", 2855, "actpass"));
    w.send(ALICE, ACCESS, &invite);
    (alice, invite)
}

/// An answered call.
fn up(w: &mut World, id: &str) -> Ua {
    let (mut alice, _) = call(w, id);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7394, "passive"))));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    alice
}

fn refuse(w: &mut World, invite: &Message, refusal: &Message) {
    let mut ack = Message::request(Method::Ack, invite.request_uri().unwrap().clone());
    for name in ["Via", "From", "Call-ID"] {
        ack.copy_lines(name, invite);
    }
    ack.copy_lines("To", refusal);
    ack.push_back("CSeq", "1 ACK").unwrap();
    w.send(ALICE, ACCESS, &ack);
}

fn contexts(w: &mut World, count: usize) -> Vec<usize> {
    (1..=count).map(|n| w.scripted(n).contexts()).collect()
}

fn ended(w: &World) -> Vec<Cause> {
    let cause = |e: &Event| if let Event::CallEnded { cause, .. } = e { Some(*cause) } else { None };
    w.events.iter().filter_map(cause).collect()
}

/// Both ends of the calls that end are told; the BYEs are left without an answer.
fn byes(w: &mut World) -> usize {
    let mut count = 0;
    for at in [ALICE, BOB] {
        while let Some(m) = w.try_take(at) {
            count += usize::from(m.is_request() && *m.method() == Method::Bye);
        }
    }
    count
}

// -- which one -----------------------------------------------------------------------------------

#[test]
fn calls_go_where_there_is_room() {
    let mut w = World::with_gateways(3, |_| {});
    // They tell their sizes when they register.
    for (n, most) in [(1, 100), (2, 300), (3, 100)] {
        w.scripted(n).most = Some(most);
        w.scripted(n).register();
    }
    w.settle();
    for n in 0..50 {
        up(&mut w, &format!("call-{n}"));
    }
    assert_eq!(contexts(&mut w, 3), [10, 30, 10]);
    let status = w.border.gateways();
    let seen: Vec<_> = status.iter().map(|s| (s.calls, s.control.load())).collect();
    assert_eq!(seen, [(10, Some(10)), (30, Some(10)), (10, Some(10))]);
}

#[test]
fn what_one_refuses_another_takes() {
    for code in [412, 432, 449, 503, 510, 511, 526] {
        let mut w = World::with_gateways(2, |_| {});
        w.scripted(1).refuse = vec![(Verb::Add, code)];
        let (_, invite) = call(&mut w, "call-1");
        assert_eq!(contexts(&mut w, 2), [0, 1], "H.248 {code}");
        let at_bob = w.take_request(BOB, Method::Invite);
        assert!(body(&at_bob).contains("c=IN IP4 203.0.113.10"));
        // What is wrong with the request is wrong everywhere.
        let mut w = World::with_gateways(2, |_| {});
        w.scripted(1).refuse = vec![(Verb::Add, 442)];
        call(&mut w, "call-1");
        w.take_status(ALICE, 500);
        assert_eq!(contexts(&mut w, 2), [0, 0]);
        drop(invite);
    }
}

#[test]
fn half_of_it_is_swept_when_another_takes_it() {
    let mut w = World::with_gateways(2, |_| {});
    w.scripted(1).refuse_after_add = Some(510);
    up(&mut w, "call-1");
    assert_eq!(contexts(&mut w, 2), [0, 1]);
}

#[test]
fn when_all_refuse_the_caller_hears_when_to_try_again() {
    let mut w = World::with_gateways(5, |_| {});
    for n in 1..=5 {
        w.scripted(n).refuse = vec![(Verb::Add, 510); 9];
    }
    let (_, invite) = call(&mut w, "call-1");
    let refusal = w.take_status(ALICE, 503);
    assert_eq!(refusal.retry_after(), Some(10));
    refuse(&mut w, &invite, &refusal);
    let asked: usize =
        (1..=5).map(|n| w.scripted(n).asked.iter().filter(|a| a.1.verb == Verb::Add).count()).sum();
    assert_eq!(asked, 3, "not without end");
    w.pass(Duration::from_secs(120));
    assert_eq!((contexts(&mut w, 5), w.border.load().gateway_requests), (vec![0; 5], 0));
}

#[test]
fn one_that_does_not_answer_is_not_waited_for() {
    let mut w = World::with_gateways(2, |_| {});
    w.scripted(1).hold = true;
    call(&mut w, "call-1");
    assert!(w.try_take(BOB).is_none());
    w.pass(Duration::from_secs(5));
    let at_bob = w.take_request(BOB, Method::Invite);
    assert_eq!(contexts(&mut w, 2), [1, 1]);
    // Its answer comes after all: what it made is not wanted.
    w.scripted(1).let_go();
    w.settle();
    assert_eq!(contexts(&mut w, 2), [0, 1]);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7394, "passive"))));
    w.take_status(ALICE, 200);
    // It is passed over for a while.
    let status = w.border.gateways();
    assert!(status[0].control.outstanding == 0 && status[1].passed_over_until.is_none());
}

#[test]
fn one_that_is_lost_while_it_is_asked() {
    let mut w = World::with_gateways(2, |config| config.timers.gateway_lost = Duration::from_secs(3));
    w.scripted(1).dead = true;
    call(&mut w, "call-1");
    w.pass(Duration::from_secs(4));
    w.take_request(BOB, Method::Invite);
    assert_eq!(contexts(&mut w, 2)[1], 1);
    assert_eq!(ended(&w), []);
}

#[test]
fn overload_is_heeded_but_not_for_emergencies() {
    let mut w = World::with_gateways(1, |config| {
        config.routes.insert(
            0,
            carnet_border::Route {
                domain: "urn:service:sos".into(),
                network: "core".into(),
                hop: Some(uri(&format!("sip:{PEER}"))),
            },
        );
    });
    w.gateway.packages = ["ipdc", "gm", "chp", "ocp"].map(|name| PackageVersion::new(name, 1)).to_vec();
    w.gateway.register();
    w.settle();
    // It is asked to tell.
    let wish = w.gateway.asked.iter().rev().find(|(_, c)| c.verb == Verb::Modify).unwrap().1.clone();
    let names: Vec<_> = wish.events().unwrap().events.iter().map(|e| e.name.to_string()).collect();
    assert_eq!(names, ["ocp/mg_overload", "chp/MGCon"]);
    w.gateway.report(ObservedEvent::new("chp/MGCon").parameter("reduction", 100u32));
    w.settle();
    assert_eq!(w.border.gateways()[0].reduction, 100);
    let (_, invite) = call(&mut w, "call-1");
    let refusal = w.take_status(ALICE, 503);
    assert!(refusal.has("Retry-After"));
    refuse(&mut w, &invite, &refusal);
    let alice = Ua::new("alice", ALICE, "police", "call-sos");
    let invite = w.request(&alice, Method::Invite, "urn:service:sos.police", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite, &msrps("192.0.2.20", 2855, "actpass")));
    w.take_request(PEER, Method::Invite);
    assert_eq!(w.gateway.contexts(), 1);
    assert_eq!(w.gateway.properties.last().unwrap().emergency, Some(true));
    w.gateway.report(ObservedEvent::new("chp/MGCon").parameter("reduction", 0u32));
    w.settle();
    call(&mut w, "call-2");
    w.take_request(BOB, Method::Invite);
}

#[test]
fn a_gateway_with_too_much_to_do_gets_no_more() {
    let mut w = World::with_gateways(1, |config| config.limits.gateway_requests = 3);
    w.gateway.hold = true;
    for n in 0..3 {
        call(&mut w, &format!("call-{n}"));
    }
    assert!(w.try_take(ALICE).is_none());
    call(&mut w, "call-late");
    assert!(w.take_status(ALICE, 503).has("Retry-After"));
    w.gateway.let_go();
    w.settle();
    assert_eq!(w.gateway.contexts(), 3);
}

#[test]
fn it_is_asked_only_for_what_it_has() {
    let mut w = World::with_gateways(1, |config| config.timers.inactivity = Some(Duration::from_secs(60)));
    let events = |w: &World| w.gateway.only()["access"].events.clone();
    w.gateway.packages = ["ipdc", "gm", "g"].map(|name| PackageVersion::new(name, 1)).to_vec();
    w.gateway.register();
    w.settle();
    up(&mut w, "call-1");
    assert_eq!(events(&w), ["g/cause"]);
    // What the operator wants of it is not left out silently: without a filter it gets nothing.
    w.gateway.packages = vec![PackageVersion::new("ipdc", 1)];
    w.gateway.register();
    w.settle();
    let told = w.events.iter().rev().find_map(|e| match e {
        Event::GatewayUnsuited { gateway, code, text } => Some((gateway.to_string(), *code, text.clone())),
        _ => None,
    });
    let (gateway, code, text) = told.unwrap();
    assert_eq!((&*gateway, code, &*text), ("agw1", 440, "package gm version 1 is needed and not there"));
    assert_eq!(w.border.gateways()[0].control.condition, Condition::Unsuited);
    byes(&mut w);
    call(&mut w, "call-2");
    w.take_status(ALICE, 503);
}

// -- interfaces ----------------------------------------------------------------------------------

#[test]
fn an_interface_goes_and_comes_back() {
    let mut w = World::with_gateways(1, |_| {});
    up(&mut w, "call-1");
    // All terminations of the scripted gateway are on one.
    w.gateway.change("ip/1/*", carnet_h248::Method::Graceful, 905);
    w.settle();
    assert_eq!((byes(&mut w), w.gateway.contexts()), (0, 1), "what there is goes on");
    let (_, invite) = call(&mut w, "call-2");
    let refusal = w.take_status(ALICE, 503);
    refuse(&mut w, &invite, &refusal);
    w.gateway.change("ip/1/*", carnet_h248::Method::Forced, 906);
    w.settle();
    assert_eq!((byes(&mut w), w.gateway.contexts()), (2, 0));
    assert_eq!(ended(&w).last(), Some(&Cause::Interface));
    assert!(w.events.iter().any(|e| matches!(
        e,
        Event::InterfaceDown { termination, calls: 1, graceful: false, .. } if termination == "ip/1/*"
    )));
    assert_eq!(w.border.gateways()[0].out_of_service.len(), 1);
    w.gateway.change("ip/1/*", carnet_h248::Method::Restart, 900);
    w.settle();
    up(&mut w, "call-3");
    assert!(w.names().contains(&"interface-up"));
}

#[test]
fn one_termination_fails_alone() {
    let mut w = World::with_gateways(1, |_| {});
    up(&mut w, "call-1");
    let name = w.gateway.state.values().next().unwrap().keys().next().unwrap().clone();
    up(&mut w, "call-2");
    w.gateway.change(&name, carnet_h248::Method::Forced, 904);
    w.settle();
    assert_eq!((byes(&mut w), w.gateway.contexts()), (2, 1));
    call(&mut w, "call-3");
    w.take_request(BOB, Method::Invite);
}

// -- profiles --------------------------------------------------------------------------------------

/// What Carnet's own gateway says of itself satisfies the profiles it names.
#[test]
fn our_own_gateway_is_what_its_profile_says() {
    let mut config = alg(Reliable);
    config.gateways[0].profiles = Some(vec![profile::IQ.profile()]);
    let mut w = World::new(config);
    w.real = Some(RealGateway::new(w.now, "alg1.example.com"));
    w.border.gateway_connected(w.now, "agw1");
    w.pass(Duration::from_secs(5));
    let status = w.border.gateways().remove(0).control;
    assert_eq!(status.condition, Condition::InService);
    let audited = profile::Audited { packages: &status.packages, terminations: None };
    for definition in [&profile::IQ, &profile::IX] {
        let against: Vec<_> =
            profile::objections(definition.mandatory(), definition.terminations, audited).collect();
        assert_eq!((against, status.packages.is_empty()), (vec![], false));
    }
}

// -- who forgets -------------------------------------------------------------------------------------

fn real() -> World {
    let mut w = World::new(alg(Reliable));
    w.real = Some(RealGateway::new(w.now, "alg1.example.com"));
    w.border.gateway_connected(w.now, "agw1");
    w.pass(Duration::from_secs(5));
    w.register("alice", ALICE);
    w.register("bob", BOB);
    w
}

fn held(w: &World) -> (usize, usize) {
    let real = w.real.as_ref().unwrap();
    (real.gateway.contexts(), real.holes.len())
}

/// The border starts again and knows of nothing; the gateway has noticed or has not.
#[test]
fn a_border_that_starts_again_leaves_nothing_behind() {
    for dark in [0, 1, 5, 30] {
        let mut w = real();
        up(&mut w, "call-1");
        up(&mut w, "call-2");
        assert_eq!(held(&w), (2, 4));
        w.cut.push("agw1".into());
        w.pass(Duration::from_secs(dark));
        // Calls that the border had already ended by itself.
        byes(&mut w);
        let random = Box::new(carnet_wire::SeededRandom::new(99));
        w.border = carnet_border::Border::new(alg(Reliable), random, w.now, SystemTime::UNIX_EPOCH);
        w.border.gateway_connected(w.now, "agw1");
        w.cut.clear();
        w.real.as_mut().unwrap().gateway.reconnected();
        w.pass(Duration::from_secs(15));
        assert_eq!((held(&w), w.border.gateways()[0].control.contexts), ((0, 0), 0), "dark for {dark} s");
        w.register("alice", ALICE);
        w.register("bob", BOB);
        up(&mut w, "call-3");
        w.pass(Duration::from_secs(600));
        assert_eq!(held(&w), (1, 2), "dark for {dark} s");
    }
}

/// The gateway starts again; its ServiceChange may come late.
#[test]
fn a_gateway_that_starts_again_ends_its_calls() {
    for dark in [0, 3, 30] {
        let mut w = real();
        up(&mut w, "call-1");
        w.real = Some(RealGateway::with_seed(w.now, "alg1.example.com", 12));
        w.cut.push("agw1".into());
        w.pass(Duration::from_secs(dark));
        w.cut.clear();
        w.pass(Duration::from_secs(20));
        assert!(byes(&mut w) >= 2, "dark for {dark} s");
        assert_eq!((ended(&w), held(&w)), (vec![Cause::GatewayLost], (0, 0)));
        up(&mut w, "call-2");
        assert_eq!(held(&w), (1, 2));
    }
}

/// Control is away for longer than the gateway waits and shorter than the border does: calls go on.
#[test]
fn calls_survive_a_short_silence() {
    let mut config = alg(Reliable);
    config.timers.gateway_lost = Duration::from_secs(60);
    config.timers.gateway_heartbeat = Duration::from_secs(20);
    let mut w = World::new(config);
    w.real = Some(RealGateway::new(w.now, "alg1.example.com"));
    w.border.gateway_connected(w.now, "agw1");
    w.pass(Duration::from_secs(5));
    w.register("alice", ALICE);
    w.register("bob", BOB);
    up(&mut w, "call-1");
    w.cut.push("agw1".into());
    w.pass(Duration::from_secs(15));
    w.cut.clear();
    w.pass(Duration::from_secs(15));
    assert_eq!((held(&w), ended(&w), byes(&mut w)), ((1, 2), vec![], 0));
    assert!(w.border.gateways()[0].control.condition == Condition::InService);
}

/// The gateway lost one of two contexts while it was out of touch.
#[test]
fn a_context_that_is_gone_ends_its_call_and_no_other() {
    let mut w = World::with_gateways(1, |_| {});
    up(&mut w, "call-1");
    up(&mut w, "call-2");
    let first = *w.gateway.state.keys().next().unwrap();
    w.gateway.state.remove(&first);
    w.gateway.audits = true;
    w.gateway.change("ROOT", carnet_h248::Method::Disconnected, 900);
    w.settle();
    assert_eq!((byes(&mut w), ended(&w)), (2, vec![Cause::ContextLost]));
    assert_eq!(w.gateway.contexts(), 1);
}

#[test]
fn a_border_that_retires_sends_its_gateways_on() {
    let mut w = World::with_gateways(2, |config| config.alternate = Some(MId::domain("alg2.example.com")));
    up(&mut w, "call-1");
    w.border.retire();
    w.settle();
    // One that comes now is sent on.
    w.scripted(2).register();
    w.settle();
    let said = w.scripted(2).heard.last().unwrap().clone();
    assert_eq!(said.mgc_id_to_try, Some(MId::domain("alg2.example.com")));
    assert_eq!(ended(&w), [], "calls go on");
    let now = w.now;
    w.border.end_calls(now);
    w.settle();
    assert_eq!((byes(&mut w), ended(&w)), (2, vec![Cause::Stopping]));
    assert_eq!(w.gateway.contexts(), 0);
    let (_, order) = w.gateway.asked.iter().rev().find(|(_, c)| c.verb == Verb::ServiceChange).unwrap();
    assert_eq!(order.services().unwrap().mgc_id_to_try, Some(MId::domain("alg2.example.com")));
    let lost = w.events.iter().any(|e| {
        matches!(e, Event::GatewayLost { reason: LostReason::HandedOff, announced: true, calls: 0, .. })
    });
    assert!(lost, "{:?}", w.names());
}
