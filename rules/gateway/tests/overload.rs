//! A gateway that has too much to do says so (H.248.10, H.248.11).

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use rig::{Rig, squeeze};

const BOTH: &str = "Context = - { Modify = ROOT { Events = 4 { ocp/mg_overload, chp/MGCon } } }";

fn told(rig: &mut Rig) -> Vec<String> {
    let all: Vec<_> = rig.told.drain(..).collect();
    all.iter().map(|text| squeeze(text)).collect()
}

#[test]
fn congestion_is_told_when_it_changes() {
    let mut rig = Rig::alg();
    let load = |rig: &mut Rig, percent| {
        rig.gateway.set_load(rig.now, percent);
        rig.settle();
        told(rig)
    };
    // Nobody asked.
    assert!(load(&mut rig, 95).is_empty());
    // Whoever asks hears how it is.
    rig.ask(BOTH);
    let [now] = told(&mut rig).try_into().unwrap();
    assert!(now.contains("Context = - { Notify = ROOT { ObservedEvents = 4 {"), "{now}");
    assert!(now.contains("chp/MGCon { reduction = 30 }"), "{now}");
    assert!(load(&mut rig, 96).is_empty());
    let [more] = load(&mut rig, 150).try_into().unwrap();
    assert!(more.contains("reduction = 50"), "{more}");
    let [less] = load(&mut rig, 80).try_into().unwrap();
    assert!(less.contains("reduction = 20"), "{less}");
    let [over] = load(&mut rig, 70).try_into().unwrap();
    assert!(over.contains("reduction = 0"), "{over}");
    // Below the mark at which it begins nothing happens.
    assert!(load(&mut rig, 85).is_empty());
}

#[test]
fn overload_is_told_for_each_message_that_adds() {
    let mut rig = Rig::alg();
    rig.ask(BOTH);
    let (context, id) = rig.place("ip/1/a/$", "", "");
    assert!(told(&mut rig).is_empty());
    rig.gateway.set_load(rig.now, 100);
    rig.settle();
    told(&mut rig);
    for _ in 0..3 {
        rig.place("ip/1/a/$", "", "");
    }
    let all = told(&mut rig);
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].contains("ocp/mg_overload"), "{}", all[0]);
    // What ends something is welcome, and so are questions.
    rig.ask(&format!("Context = {context} {{ Subtract = {id} }}"));
    rig.ask("Context = - { AuditValue = ROOT { Audit { } } }");
    assert!(told(&mut rig).is_empty());
    rig.gateway.set_load(rig.now, 80);
    rig.settle();
    told(&mut rig);
    rig.place("ip/1/a/$", "", "");
    assert_eq!(told(&mut rig).len(), 1, "it is not over yet");
    rig.gateway.set_load(rig.now, 74);
    rig.settle();
    told(&mut rig);
    rig.place("ip/1/a/$", "", "");
    assert!(told(&mut rig).is_empty());
}

/// What the gateway sees by itself counts too: contexts run out.
#[test]
fn contexts_that_run_out_are_congestion() {
    let mut rig = Rig::with(carnet_h248::MId::domain("alg1.access.example"), |config| {
        config.limits.contexts = 10;
    });
    rig.ask(BOTH);
    let all: Vec<_> = (0..9).map(|_| rig.place("ip/1/a/$", "", "")).collect();
    let [congested] = told(&mut rig).try_into().unwrap();
    assert!(congested.contains("chp/MGCon { reduction = 20 }"), "{congested}");
    let mut after = Vec::new();
    for (context, _) in &all {
        rig.ask(&format!("Context = {context} {{ W-Subtract = * {{ Audit {{ }} }} }}"));
        after.extend(told(&mut rig));
    }
    assert!(after.last().unwrap().contains("reduction = 0"), "{after:?}");
}
