//! In and out of service (RFC 3525 §7.2.8): by a controller's word and by the gateway's own.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use std::time::Duration;

use carnet_gateway::media::Gate;
use carnet_h248::MId;
use rig::{Rig, squeeze};

fn rig() -> Rig {
    Rig::with(MId::domain("alg1.access.example"), |config| {
        config.realms = vec!["core".into(), "access".into()];
    })
}

fn gate(rig: &Rig, port: u16) -> Gate {
    rig.engine.settings(port).gate
}

fn announced(rig: &mut Rig) -> Vec<String> {
    rig.announced.drain(..).map(|text| squeeze(&text)).collect()
}

fn change(id: &str, parameters: &str) -> String {
    format!("ServiceChange = {id} {{ Services {{ {parameters} }} }}")
}

fn audit(rig: &mut Rig, id: &str) -> String {
    let context = if id == "ROOT" { "-" } else { "*" };
    let state = "Media { TerminationState { ServiceStates } }";
    rig.ask(&format!("Context = {context} {{ AuditValue = {id} {{ Audit {{ {state} }} }} }}"))
}

#[test]
fn an_interface_that_goes_down_is_told_once_and_comes_back() {
    let mut rig = rig();
    let (_, one) = rig.place("ip/1/c/$", "", "");
    rig.place("ip/1/c/$", ", ipdc/realm = core", "");
    rig.place("ip/1/a/$", ", ipdc/realm = access", "");
    announced(&mut rig);
    rig.gateway.interface_down(rig.now, "core", 906);
    rig.settle();
    // Without a realm it is in the default one, so one wildcard names both.
    let [told] = announced(&mut rig).try_into().unwrap();
    assert!(told.contains("Context = * { ServiceChange = ip/1/c/* { Services { Method = Forced"), "{told}");
    assert!(told.contains("Reason = \"906 Loss of lower layer connectivity\""), "{told}");
    assert_eq!([gate(&rig, 30_000), gate(&rig, 30_002)], [Gate::Inactive; 2]);
    assert_eq!(gate(&rig, 30_004), Gate::SendReceive);
    assert!(audit(&mut rig, &one).contains("ServiceStates = OutOfService"));
    // A Modify does not bring it back.
    let modify = "Media { Stream = 1 { LocalControl { Mode = SendReceive } } }";
    rig.ask(&format!("Context = * {{ W-Modify = ip/1/c/* {{ {modify} }} }}"));
    assert_eq!(gate(&rig, 30_000), Gate::Inactive);
    rig.gateway.interface_down(rig.now, "core", 906);
    rig.gateway.interface_down(rig.now, "moon", 906);
    rig.settle();
    assert!(announced(&mut rig).is_empty());
    rig.gateway.interface_up(rig.now, "core");
    rig.settle();
    let [told] = announced(&mut rig).try_into().unwrap();
    assert!(
        told.contains("ip/1/c/* { Services { Method = Restart, Reason = \"900 Service Restored\""),
        "{told}"
    );
    assert_eq!([gate(&rig, 30_000), gate(&rig, 30_002)], [Gate::SendReceive; 2]);
    assert!(audit(&mut rig, &one).contains("ServiceStates = InService"));
}

/// Two realms under one interface name: a wildcard would name too much.
#[test]
fn terminations_of_a_mixed_interface_are_told_one_by_one() {
    let mut rig = rig();
    let (context, one) = rig.place("ip/1/x/$", ", ipdc/realm = core", "");
    rig.place("ip/1/x/$", ", ipdc/realm = access", "");
    announced(&mut rig);
    rig.gateway.interface_down(rig.now, "core", 904);
    rig.settle();
    let [told] = announced(&mut rig).try_into().unwrap();
    assert!(told.contains(&format!("Context = {context} {{ ServiceChange = {one} {{")), "{told}");
    // One that was subtracted meanwhile is not told back.
    rig.ask(&format!("Context = {context} {{ Subtract = {one} }}"));
    rig.gateway.interface_up(rig.now, "core");
    rig.settle();
    assert!(announced(&mut rig).is_empty());
}

/// H.248.41, with names of our own.
#[test]
fn realms_are_told_on_root() {
    let mut rig = rig();
    rig.ask("Context = - { Modify = ROOT { Events = 3 { ipra/arc } } }");
    rig.gateway.interface_down(rig.now, "access", 906);
    rig.settle();
    let told = squeeze(&rig.told[0]);
    assert!(told.contains("Notify = ROOT") && told.contains("ipra/arc { nur = \"access\" }"), "{told}");
    let item = "Media { TerminationState { ipra/ar } }";
    let reply = rig.ask(&format!("Context = - {{ AuditValue = ROOT {{ Audit {{ {item} }} }} }}"));
    assert!(reply.contains("ipra/ar = \"core\""), "{reply}");
    rig.gateway.interface_up(rig.now, "access");
    rig.settle();
    assert!(squeeze(&rig.told[1]).contains("nar = \"access\""), "{:?}", rig.told);
}

#[test]
fn a_context_that_was_lost_is_told_and_subtracted() {
    let mut rig = rig();
    let (context, id) = rig.place("ip/1/a/$", "", "");
    announced(&mut rig);
    rig.gateway.context_failed(rig.now, context.parse().unwrap(), 915);
    rig.gateway.context_failed(rig.now, 1, 915);
    rig.settle();
    let [told] = announced(&mut rig).try_into().unwrap();
    let expected = format!("Context = {context} {{ ServiceChange = * {{ Services {{ Method = Forced");
    assert!(told.contains(&expected) && told.contains("915 State Loss"), "{told}");
    rig.ask(&format!("Context = {context} {{ Subtract = {id} }}"));
    rig.assert_empty();
}

#[test]
fn a_controller_takes_terminations_out_of_service() {
    let mut rig = rig();
    let (context, id) = rig.place("ip/1/a/$", "", "");
    let ask = |rig: &mut Rig, parameters: &str| {
        let reply = rig.ask(&format!("Context = {context} {{ {} }}", change(&id, parameters)));
        assert!(reply.ends_with(&format!("ServiceChange = {id} }} }}")), "{reply}");
    };
    ask(&mut rig, "Method = Forced, Reason = \"905 out\"");
    assert_eq!(gate(&rig, 30_000), Gate::Inactive);
    ask(&mut rig, "Method = Restart, Reason = \"900 back\"");
    assert_eq!(gate(&rig, 30_000), Gate::SendReceive);
    // Gracefully after a time, and taken back before.
    ask(&mut rig, "Method = Graceful, Reason = \"905 out\", Delay = 10");
    rig.wait(Duration::from_secs(9));
    assert_eq!(gate(&rig, 30_000), Gate::SendReceive);
    ask(&mut rig, "Method = Restart, Reason = \"918 cancel\"");
    rig.wait(Duration::from_secs(60));
    assert_eq!(gate(&rig, 30_000), Gate::SendReceive);
    ask(&mut rig, "Method = Graceful, Reason = \"905 out\", Delay = 10");
    rig.wait(Duration::from_secs(10));
    assert_eq!(gate(&rig, 30_000), Gate::Inactive);
    // Without a delay it ends with its context.
    ask(&mut rig, "Method = Restart, Reason = \"900 back\"");
    ask(&mut rig, "Method = Graceful, Reason = \"905 out\"");
    rig.wait(Duration::from_secs(3600));
    assert_eq!(gate(&rig, 30_000), Gate::SendReceive);
    rig.ask(&format!("Context = {context} {{ Subtract = {id} }}"));
    rig.assert_empty();
}

#[test]
fn a_controller_takes_the_gateway_out_of_service() {
    let mut rig = rig();
    let (_, id) = rig.place("ip/1/a/$", "", "");
    let root = |rig: &mut Rig, parameters: &str| {
        rig.code(&format!("Context = - {{ {} }}", change("ROOT", parameters)))
    };
    let add = "Context = $ { Add = $ }";
    // No new ones, and those that there are go on.
    assert_eq!(root(&mut rig, "Method = Graceful, Reason = \"905 out\", Delay = 10"), 0);
    assert_eq!(rig.code(add), 503);
    assert!(audit(&mut rig, &id).contains("ServiceStates = InService"));
    assert_eq!(root(&mut rig, "Method = Restart, Reason = \"918 cancel\""), 0);
    rig.wait(Duration::from_secs(20));
    assert_eq!((rig.code(add), rig.gateway.contexts()), (0, 2));
    assert_eq!(root(&mut rig, "Method = Graceful, Reason = \"905 out\", Delay = 10"), 0);
    rig.wait(Duration::from_secs(10));
    assert!(audit(&mut rig, "ROOT").contains("ServiceStates = OutOfService"));
    rig.assert_empty();
    assert_eq!(rig.code(add), 503);
    assert_eq!(root(&mut rig, "Method = Restart, Reason = \"900 back\""), 0);
    assert_eq!(rig.code(add), 0);
    assert_eq!(root(&mut rig, "Method = Forced, Reason = \"905 out\""), 0);
    rig.assert_empty();
    assert!(audit(&mut rig, "ROOT").contains("ServiceStates = OutOfService"));
}

#[test]
fn what_a_controller_cannot_direct_is_refused() {
    let mut rig = rig();
    let (context, id) = rig.place("ip/1/a/$", "", "");
    let to = "MgcIdToTry = <alg2.access.example>";
    for (at, id, parameters, code) in [
        ("-", "ROOT", "Method = Failover, Reason = \"909 x\"".to_owned(), 501),
        ("-", "ROOT", "Method = Disconnected, Reason = \"900 x\"".to_owned(), 501),
        ("-", "ROOT", "Method = HandOff, Reason = \"903 x\"".to_owned(), 472),
        (&context, &id, format!("Method = HandOff, Reason = \"903 x\", {to}"), 501),
        (&context, "ip/1/a/7", "Method = Forced, Reason = \"905 x\"".to_owned(), 430),
        (&context, "ip/1/a/$", "Method = Forced, Reason = \"905 x\"".to_owned(), 430),
        ("*", "ip/9/*/*", "Method = Forced, Reason = \"905 x\"".to_owned(), 431),
    ] {
        assert_eq!(
            rig.code(&format!("Context = {at} {{ {} }}", change(id, &parameters))),
            code,
            "{parameters}"
        );
    }
    // A hand-off among other commands: nothing after it could be answered.
    let hand_off = change("ROOT", &format!("Method = HandOff, Reason = \"903 x\", {to}"));
    let both = format!("Context = - {{ AuditValue = ROOT {{ Audit {{ }} }}, {hand_off} }}");
    assert_eq!(rig.code(&both), 421);
    assert!(rig.gateway.registration().is_registered());
}

fn realms(rig: &mut Rig, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    rig.gateway.set_realms(rig.now, &names);
    rig.settle();
}

#[test]
fn what_is_in_a_realm_that_goes_stays_and_nothing_more_is_to_come() {
    let mut rig = rig();
    let (_, one) = rig.place("$", ", ipdc/realm = access", "");
    assert!(one.starts_with("ip/1/2/"), "{one}");
    announced(&mut rig);
    realms(&mut rig, &["core", "new"]);
    let [told] = announced(&mut rig).try_into().unwrap();
    assert!(told.contains("ServiceChange = ip/1/2/* { Services { Method = Graceful"), "{told}");
    assert!(audit(&mut rig, &one).contains("ServiceStates = InService"));
    assert_eq!(gate(&rig, 30_000), Gate::SendReceive);
    // The new one has a number of its own, also when the other is back.
    let (_, two) = rig.place("$", ", ipdc/realm = new", "");
    assert!(two.starts_with("ip/1/3/"), "{two}");
    realms(&mut rig, &["core", "access", "new"]);
    let [told] = announced(&mut rig).try_into().unwrap();
    assert!(told.contains("ServiceChange = ip/1/2/* { Services { Method = Restart"), "{told}");
    let (_, three) = rig.place("$", ", ipdc/realm = access", "");
    assert!(three.starts_with("ip/1/2/"), "{three}");
    // One with nothing in it: a controller may remember what was there.
    realms(&mut rig, &["access", "new"]);
    let [told] = announced(&mut rig).try_into().unwrap();
    assert!(told.contains("ServiceChange = ip/1/1/* { Services { Method = Graceful"), "{told}");
    realms(&mut rig, &["access", "new"]);
    assert!(announced(&mut rig).is_empty());
}

#[test]
fn a_controller_that_is_not_named_any_more_keeps_what_it_has_and_is_left_then() {
    let mut rig = rig();
    let (context, one) = rig.place("$", "", "");
    announced(&mut rig);
    let other = MId::domain("alg2.access.example");
    let controllers = |rig: &mut Rig, list: &[MId]| {
        let moves = rig.gateway.set_controllers(rig.now, list.to_vec());
        rig.settle();
        moves
    };
    let first = MId::domain("alg1.access.example");
    assert!(!controllers(&mut rig, &[other.clone(), first.clone()]), "it stays where it is");
    assert!(announced(&mut rig).is_empty());
    assert!(controllers(&mut rig, std::slice::from_ref(&other)));
    let [told] = announced(&mut rig).try_into().unwrap();
    assert!(told.contains("ServiceChange = ROOT { Services { Method = Graceful"), "{told}");
    assert!(controllers(&mut rig, std::slice::from_ref(&other)), "said again, it is the same");
    assert_eq!(rig.gateway.contexts(), 1);
    // Back in the list: as if nothing had been.
    assert!(!controllers(&mut rig, &[first.clone(), other.clone()]));
    let told = announced(&mut rig);
    assert!(told.last().unwrap().contains("Method = Restart"), "{told:?}");
    assert!(controllers(&mut rig, std::slice::from_ref(&other)));
    announced(&mut rig);
    rig.ask(&format!("Context = {context} {{ Subtract = {one} }}"));
    rig.settle();
    let told = announced(&mut rig);
    assert!(told.iter().any(|t| t.contains("ServiceChange = ROOT { Services { Method = Forced")), "{told:?}");
    assert!(!rig.gateway.registration().is_retiring());
}
