//! AuditValue and AuditCapability as a controller sees them (RFC 3525 §7.2.5, §7.2.6).

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use std::time::Duration;

use carnet_gateway::media::{Cause, Event};
use carnet_h248::{MId, ReplyBody};
use rig::Rig;

const WATCH: &str = ", Events = 7 { g/cause, hangterm/thb { timerx = 120 } }, Signals { ipnapt/latch }";

/// A termination in a realm and its context.
fn held(rig: &mut Rig) -> (String, String) {
    rig.place("ip/1/a/$", ", ipdc/realm = core, ds/dscp = 1A, gm/saf = ON", WATCH)
}

fn value(rig: &mut Rig, (context, id): &(String, String), audit: &str) -> String {
    rig.ask(&format!("Context = {context} {{ AuditValue = {id} {{ Audit {{ {audit} }} }} }}"))
}

#[test]
fn every_token_has_its_descriptor() {
    let mut rig = Rig::alg();
    let at = held(&mut rig);
    let all =
        "Media, Modem, Mux, Events, EventBuffer, Signals, DigitMap, Statistics, ObservedEvents, Packages";
    let reply = value(&mut rig, &at, all);
    for part in [
        "TerminationState { ServiceStates = InService }",
        "ipdc/realm = core",
        "m=- 30000 TCP -",
        "Events = 7 { g/cause, hangterm/thb { timerx = 120 } }",
        "Signals { ipnapt/latch }",
        "nt/os = 40960",
        "Packages { g-1, nt-1, ds-2, gm-2",
    ] {
        assert!(reply.contains(part), "{part} in {reply}");
    }
    for name in ["Modem", "Mux", "EventBuffer", "DigitMap", "ObservedEvents"] {
        assert!(reply.contains(&format!(", {name},")), "{name} in {reply}");
    }
    // Nothing but that it is there.
    assert!(value(&mut rig, &at, "").ends_with(&format!("AuditValue = {} }} }}", at.1)));
}

#[test]
fn single_items_are_told() {
    let mut rig = Rig::alg();
    let at = held(&mut rig);
    for (asked, told) in [
        (
            "Media { Stream = 1 { LocalControl { Mode } } }",
            "Stream = 1 { LocalControl { Mode = SendReceive } }",
        ),
        (
            "Media { Stream = 1 { LocalControl { ds/dscp, gm/saf } } }",
            "LocalControl { ds/dscp = 1A, gm/saf = ON }",
        ),
        // Nobody set it: it is as it is by default.
        ("Media { Stream = 1 { LocalControl { gm/spf } } }", "LocalControl { gm/spf = OFF }"),
        ("Media { LocalControl { ipdc/realm, ReservedGroup } }", "ReservedGroup = OFF, ipdc/realm = core"),
        ("Media { Stream = 1 { Local } }", "Local { v=0 c=IN IP4 203.0.113.10"),
        ("Media { TerminationState { ServiceStates } }", "TerminationState { ServiceStates = InService }"),
        ("Media { TerminationState { Buffer } }", "TerminationState { Buffer = OFF }"),
        ("Events = 7 { g/cause }", "Events = 7 { g/cause }"),
        ("Signals { ipnapt/latch }", "Signals { ipnapt/latch }"),
        ("Statistics { nt/dur, nt/or }", "Statistics { nt/dur = 183250, nt/or = 51200 }"),
        ("Packages { tman-1 }", "Packages { tman-1 }"),
    ] {
        let reply = value(&mut rig, &at, asked);
        assert!(reply.contains(told) && !reply.contains("Error"), "{asked}: {reply}");
    }
    // Only what was asked for.
    let reply = value(&mut rig, &at, "Media { Stream = 1 { LocalControl { Mode } } }");
    assert!(!reply.contains("realm") && !reply.contains("Local {"), "{reply}");
}

#[test]
fn a_single_item_that_is_not_there_is_error_532() {
    let mut rig = Rig::alg();
    let at = held(&mut rig);
    for asked in [
        "Media { Stream = 2 { LocalControl { Mode } } }",
        "Media { Stream = 1 { Remote } }",
        "Media { Stream = 1 { LocalControl { tman/sdr } } }",
        "Media { Stream = 1 { LocalControl { xyz/p } } }",
        "Media { Stream = 1 { LocalControl { crntls/psk } } }",
        "Media { TerminationState { root/maxNumberOfContexts } }",
        "Events = 8 { g/cause }",
        "Events = 7 { adid/ipstop }",
        "Signals { tcpbcc/EstBNC }",
        "Statistics { rtp/pl }",
        "Packages { rtp-1 }",
        "DigitMap = d",
    ] {
        let (context, id) = &at;
        let actions = format!("Context = {context} {{ AuditValue = {id} {{ Audit {{ {asked} }} }} }}");
        assert_eq!(rig.code(&actions), 532, "{asked}");
    }
}

/// Version 3: a value is a condition; wildcards name those that fulfil it.
#[test]
fn a_value_selects_terminations() {
    let mut rig = Rig::alg();
    let core = held(&mut rig);
    let access = rig.place("ip/1/b/$", ", ipdc/realm = access", "");
    let ask = |rig: &mut Rig, id: &str, item: &str| {
        let audit = format!("Audit {{ Media {{ Stream = 1 {{ LocalControl {{ {item} }} }} }} }}");
        rig.ask(&format!("Context = * {{ AuditValue = {id} {{ {audit} }} }}"))
    };
    let reply = ask(&mut rig, "*", "ipdc/realm = access");
    assert!(reply.contains(&access.1) && !reply.contains(&core.1), "{reply}");
    let reply = ask(&mut rig, "*", "ipdc/realm # access");
    assert!(!reply.contains(&access.1) && reply.contains(&core.1), "{reply}");
    let reply = ask(&mut rig, "*", "Mode = SendReceive");
    assert!(reply.contains(&access.1) && reply.contains(&core.1), "{reply}");
    assert!(ask(&mut rig, "*", "Mode = Inactive").contains("Error = 431"));
    // One that was named and does not fulfil it.
    assert!(ask(&mut rig, &core.1, "ipdc/realm = access").contains("Error = 532"));
}

#[test]
fn contexts_and_terminations_are_found() {
    let mut rig = Rig::alg();
    // None: then ROOT is just ROOT.
    let list = "Context = * { AuditValue = ROOT { Audit { } } }";
    assert!(rig.ask(list).contains("{ Context = - { AuditValue = ROOT } }"));
    let (first, one) = held(&mut rig);
    let (second, two) = held(&mut rig);
    let reply = rig.ask(list);
    let each = |context: &str| format!("Context = {context} {{ AuditValue = ROOT }}");
    assert!(reply.contains(&format!("{}, {}", each(&first), each(&second))), "{reply}");
    // In which context one is.
    let reply = rig.ask(&format!("Context = * {{ AuditValue = {two} {{ Audit {{ }} }} }}"));
    assert!(reply.contains(&format!("{{ Context = {second} {{ AuditValue = {two} }} }}")), "{reply}");
    // Everything, and what is in one context.
    let reply = rig.ask("Context = * { AuditValue = * { Audit { } } }");
    assert!(reply.contains(&one) && reply.contains(&two), "{reply}");
    let reply = rig.ask(&format!("Context = {first} {{ AuditValue = * {{ Audit {{ }} }} }}"));
    assert!(reply.contains(&one) && !reply.contains(&two), "{reply}");
    // One response with the union.
    let reply = rig.ask("Context = * { W-AuditValue = ip/1/*/* { Audit { Packages, Events } } }");
    assert!(reply.contains("AuditValue = ip/1/*/* {") && reply.contains("Context = *"), "{reply}");
    assert_eq!((reply.matches("gm-2").count(), reply.matches("g/cause").count()), (1, 1), "{reply}");
    // There are no terminations outside of contexts.
    assert_eq!(rig.code("Context = - { AuditValue = * { Audit { } } }"), 431);
    assert_eq!(rig.code("Context = * { AuditValue = ip/9/*/* { Audit { } } }"), 431);
    assert_eq!(rig.code("Context = 5 { AuditValue = * { Audit { } } }"), 411);
    assert_eq!(rig.code(&format!("Context = {first} {{ AuditValue = {two} {{ Audit {{ }} }} }}")), 435);
    assert_eq!(rig.code("Context = * { AuditValue = ip/1/a/$ { Audit { } } }"), 430);
}

/// A controller that knows nothing can learn all there is, however much.
#[test]
fn a_long_list_is_had_in_parts() {
    let mut rig = Rig::with(MId::domain("alg1.access.example"), |config| config.limits.listed = 40);
    let all: Vec<_> = (0..60).map(|_| held(&mut rig)).collect();
    assert_eq!(rig.code("Context = * { AuditValue = ROOT { Audit { } } }"), 533);
    assert_eq!(rig.code("Context = * { AuditValue = * { Audit { } } }"), 533);
    let mut found = String::new();
    for digit in 0..10 {
        let audit = format!("Context = * {{ AuditValue = ip/*/*/*{digit} {{ Audit {{ }} }} }}");
        found.push_str(&rig.ask(&audit));
    }
    for (context, id) in &all {
        assert!(found.contains(&format!("Context = {context} {{ AuditValue = {id} }}")), "{id}");
    }
    // One response for all is no longer than one.
    assert_eq!(rig.code("Context = * { W-AuditValue = * { Audit { Packages } } }"), 0);
}

#[test]
fn root_is_audited_and_set() {
    let mut rig = Rig::with(MId::domain("alg1.access.example"), |config| {
        config.realms = vec!["core".into(), "access v4".into()];
    });
    let heartbeat = "Context = - { AuditValue = ROOT { Audit { } } }";
    assert!(rig.ask(heartbeat).ends_with("{ Context = - { AuditValue = ROOT } }"));
    let set = "TerminationState { root/MGProvisionalResponseTimerValue = 250, nb/rate = 20 }";
    let modify = format!("Modify = ROOT {{ Media {{ {set} }}, Audit {{ Media }} }}");
    let reply = rig.ask(&format!("Context = - {{ {modify} }}"));
    for part in [
        "root/maxNumberOfContexts = 65536",
        "root/maxTerminationsPerContext = 2",
        "root/MGProvisionalResponseTimerValue = 250",
        "nb/rate = 20",
        "seg/MGMaxPDUSize = 65507",
        "ServiceStates = InService",
        "ipra/ar = [\"core\", \"access v4\"]",
    ] {
        assert!(reply.contains(part), "{part} in {reply}");
    }
    let one = "Media { TerminationState { root/maxNumberOfContexts } }";
    let reply = rig.ask(&format!("Context = - {{ AuditValue = ROOT {{ Audit {{ {one} }} }} }}"));
    assert!(reply.contains("TerminationState { root/maxNumberOfContexts = 65536 }"), "{reply}");
    let reply = rig.ask("Context = - { AuditValue = ROOT { Audit { Packages, Signals, Events } } }");
    assert!(reply.contains("chp-1") && reply.contains("g-1") && reply.contains("ipra-1"), "{reply}");
    for (state, code) in [
        ("root/normalMGExecutionTime = fast", 449),
        ("root/normalMGExecutionTime = 0", 449),
        ("root/maxNumberOfContexts = 3", 534),
        ("ipra/ar = core", 534),
        ("nb/rate = 101", 449),
        ("ds/dscp = 1A", 455),
        ("root/colour = 1", 445),
        ("xyz/p = 1", 440),
        ("Buffer = LockStep", 501),
        ("ServiceStates = Test", 501),
    ] {
        let modify = format!("Modify = ROOT {{ Media {{ TerminationState {{ {state} }} }} }}");
        assert_eq!(rig.code(&format!("Context = - {{ {modify} }}")), code, "{state}");
    }
    assert_eq!(rig.code("Context = - { Modify = ROOT { Signals { ipnapt/latch } } }"), 447);
}

#[test]
fn capabilities_have_their_values() {
    let mut rig = Rig::alg();
    let (context, id) = held(&mut rig);
    let all = "Media, Events, Signals, Statistics, ObservedEvents, EventBuffer, Packages";
    let reply = rig.ask(&format!("Context = {context} {{ AuditCapability = {id} {{ Audit {{ {all} }} }} }}"));
    for part in [
        "gm/saf = {ON, OFF}",
        "ds/dscp = [0:3F]",
        "tman/sdr = [1:2147483647]",
        "Mode = SendReceive",
        "Events = * {",
        "hangterm/thb { timerx = [0:2147480] }",
        "dir = {IN, OUT, BOTH}",
        "ipnapt/latch { napt = {OFF, LATCH, RELATCH} }",
        "Statistics { nt/dur, nt/os, nt/or }",
        "ObservedEvents = 7 { g/cause, hangterm/thb }",
        "tcpbcc-1",
    ] {
        assert!(reply.contains(part), "{part} in {reply}");
    }
    assert!(!reply.contains("it/ito") && !reply.contains("root/"), "{reply}");
    let reply = rig.ask("Context = - { AuditCapability = ROOT { Audit { Media, Events, Signals } } }");
    for part in ["it/ito", "chp/MGCon", "root/normalMGExecutionTime", "Signals }"] {
        assert!(reply.contains(part), "{part} in {reply}");
    }
    assert!(!reply.contains("thb"), "{reply}");
}

#[test]
fn capabilities_of_single_items_are_told() {
    let mut rig = Rig::alg();
    let (context, id) = held(&mut rig);
    let ask = |rig: &mut Rig, at: &str, what: &str| {
        rig.ask(&format!("Context = {at} {{ AuditCapability = {what} }}"))
    };
    let reply = ask(
        &mut rig,
        &context,
        &format!(
            "{id} {{ Audit {{ Media {{ Stream = 1 {{ LocalControl {{ Mode, gm/saf, ds/dscp }} }} }}, \
             Events {{ hangterm/thb }}, Signals {{ ipnapt/latch }}, Statistics {{ nt/or }} }} }}"
        ),
    );
    for part in [
        "LocalControl { Mode = SendReceive, gm/saf = {ON, OFF}, ds/dscp = [0:3F] }",
        "hangterm/thb { timerx = [0:2147480] }",
        "ipnapt/latch { napt = {OFF, LATCH, RELATCH} }",
        "Statistics { nt/or }",
    ] {
        assert!(reply.contains(part), "{part} in {reply}");
    }
    for other in ["g/cause", "nt/os", "gm/sam"] {
        assert!(!reply.contains(other), "{other} in {reply}");
    }
    let root =
        "ROOT { Audit { Media { TerminationState { root/normalMGExecutionTime } }, Events { it/ito } } }";
    let reply = ask(&mut rig, "-", root);
    assert!(reply.contains("root/normalMGExecutionTime = [1:2147483647]"), "{reply}");
    for (what, code) in [
        ("Events { it/ito }", 532),
        ("Media { Stream = 7 { LocalControl { Mode } } }", 532),
        ("Media { Stream = 1 { LocalControl { crnroom/user } } }", 532),
        ("Media { Stream = 1 { LocalControl { ds/dscp = 0 } } }", 0),
    ] {
        let ask = format!("Context = {context} {{ AuditCapability = {id} {{ Audit {{ {what} }} }} }}");
        assert_eq!(rig.code(&ask), code, "{what}");
    }
}

#[test]
fn what_was_not_told_yet_is_in_the_audit() {
    let mut rig = Rig::alg();
    let at = held(&mut rig);
    rig.mute = true;
    rig.gateway.leave(rig.now, 905);
    rig.settle();
    // Nobody to tell.
    let pinhole = rig.engine.pinhole(30_000);
    rig.media(Event::Closed { pinhole, cause: Cause::Reset });
    rig.wait(Duration::from_secs(1));
    // While it leaves, the controller may still ask.
    let reply = value(&mut rig, &at, "ObservedEvents");
    assert!(reply.contains("ObservedEvents = 7 { 20260301T08000000:g/cause {"), "{reply}");
}

/// What the worked message has, this gateway has too, but for what is not built.
#[test]
fn the_worked_package_list_is_covered() {
    let mut rig = Rig::alg();
    let [reply] = rig.send(rig::read(&rig::fixture("20-audit-packages-request"))).try_into().unwrap();
    let names = |body: &ReplyBody| -> Vec<String> {
        let ReplyBody::Actions(actions) = body else { panic!() };
        let list = actions[0].commands[0].packages().unwrap();
        list.iter().map(|p| p.name.to_string()).collect()
    };
    let ours = names(&reply.body);
    let message = rig::read(&rig::fixture("21-audit-packages-reply"));
    let [carnet_h248::Transaction::Reply(worked)] = message.transactions() else { panic!() };
    let missing: Vec<_> = names(&worked.body).into_iter().filter(|name| !ours.contains(name)).collect();
    assert_eq!(missing, ["seplink"]);
}

/// RFC 3525 §E.2.1: what the controller sets on ROOT the control association keeps to.
#[test]
fn the_times_of_root_are_kept_to() {
    let mut rig = Rig::alg();
    let set = |rig: &mut Rig, properties: &str| {
        let modify = format!("Modify = ROOT {{ Media {{ TerminationState {{ {properties} }} }} }}");
        assert_eq!(rig.code(&format!("Context = - {{ {modify} }}")), 0);
    };
    let sdp = "Local {\nv=0\nc=IN IP4 $\nm=- $ TCP -\n}\n";
    let add = format!("Context = $ {{ Add = $ {{ Media {{ {sdp} }} }} }}");
    rig.engine.slow = true;
    // What is sent, and after how long, to a request that takes too long.
    let next = |rig: &mut Rig| {
        let before = rig.now;
        rig.now = rig.gateway.poll_timeout().unwrap();
        rig.gateway.handle_timeout(rig.now);
        let sent = rig.gateway.poll_transmit().map(|(_, message)| rig::squeeze(&rig::write(&message)));
        (rig.now - before, sent.unwrap_or_default())
    };
    assert_eq!(rig.ask(&add), "");
    let (after, sent) = next(&mut rig);
    assert!(after == Duration::from_millis(500) && sent.contains("Pending = "), "{after:?} {sent}");
    rig.answer();
    set(&mut rig, "root/normalMGExecutionTime = 300");
    assert_eq!(rig.ask(&add), "");
    let (after, sent) = next(&mut rig);
    assert!(after == Duration::from_millis(300) && sent.contains("Pending = "), "{after:?} {sent}");
    rig.answer();
    set(&mut rig, "root/MGProvisionalResponseTimerValue = 100, root/MGOriginatedPendingLimit = 1");
    assert_eq!(rig.ask(&add), "");
    let (after, sent) = next(&mut rig);
    assert!(after == Duration::from_millis(100) && sent.contains("Pending = "), "{after:?} {sent}");
    let (_, sent) = next(&mut rig);
    assert!(sent.contains("Error = 506"), "{sent}");
}
