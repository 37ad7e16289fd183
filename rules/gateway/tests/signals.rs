//! Signals (RFC 3525 §7.1.11) and their completion (§E.1.2).

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use carnet_gateway::media::Command;
use rig::{Rig, squeeze};

fn modify(rig: &mut Rig, (context, one): &(String, String), descriptors: &str) -> String {
    rig.ask(&format!("Context = {context} {{ Modify = {one} {{ {descriptors} }} }}"))
}

fn calls(rig: &Rig) -> Vec<bool> {
    let call = |command: &Command| match command {
        Command::Connect { .. } => Some(true),
        Command::Disconnect { .. } => Some(false),
        _ => None,
    };
    rig.engine.commands.iter().filter_map(call).collect()
}

#[test]
fn completion_is_told_to_who_asks_for_it_after_the_reply() {
    let mut rig = Rig::alg();
    let place = rig.place("ip/1/a/$", "", ", Events = 7 { g/sc }");
    let asks = "{ NotifyCompletion = { TO }, SPARequestID = 9, Stream = 1 }";
    let reply = modify(&mut rig, &place, &format!("Signals {{ tcpbcc/EstBNC {asks} }}"));
    assert!(!reply.contains("Error"), "{reply}");
    let [told] = rig.told.as_slice() else { panic!("{:?}", rig.told) };
    let told = squeeze(told);
    assert!(told.contains(&format!("Context = {} {{ Notify = {}", place.0, place.1)), "{told}");
    assert!(told.contains("ObservedEvents = 7 {"), "{told}");
    assert!(told.contains("g/sc { Stream = 1, SigID = tcpbcc/EstBNC, Meth = TO, RID = 9 }"), "{told}");
    // Without NotifyCompletion, or for another reason, nothing is told: it did not fail.
    modify(&mut rig, &place, "Signals { tcpbcc/EstBNC }");
    modify(&mut rig, &place, "Signals { tcpbcc/EstBNC { NotifyCompletion = { IBE, IBS, OR } } }");
    assert_eq!(rig.told.len(), 1);
    // Nor to who has not asked for the event.
    modify(
        &mut rig,
        &place,
        "Events = 8 { g/cause }, Signals { tcpbcc/RelBNC { NotifyCompletion = { TO } } }",
    );
    assert_eq!(rig.told.len(), 1);
    assert_eq!(calls(&rig), [true, true, true, false]);
}

#[test]
fn a_list_is_given_in_order_and_tells_its_number() {
    let mut rig = Rig::alg();
    let place = rig.place("ip/1/a/$", "", ", Events = 7 { g/sc }");
    let list =
        "SignalList = 5 { tcpbcc/RelBNC { Generalcause = NR }, tcpbcc/EstBNC { NotifyCompletion = { TO } } }";
    let reply = modify(&mut rig, &place, &format!("Signals {{ {list} }}"));
    assert!(!reply.contains("Error"), "{reply}");
    assert_eq!(calls(&rig), [false, true]);
    assert!(squeeze(&rig.told[0]).contains("SigID = tcpbcc/EstBNC, Meth = TO, SLID = 5"), "{}", rig.told[0]);
}

/// RFC 3525 §7.1.11: it goes on if it is going on, and is ignored if not.
#[test]
fn a_brief_signal_does_not_go_on() {
    let mut rig = Rig::alg();
    let place = rig.place("ip/1/a/$", "", "");
    modify(&mut rig, &place, "Signals { tcpbcc/EstBNC { KeepActive } }");
    assert_eq!(calls(&rig), [false; 0]);
    modify(&mut rig, &place, "Signals { tcpbcc/EstBNC { SignalType = Brief } }");
    assert_eq!(calls(&rig), [true]);
    // An empty descriptor stops what there is, which is nothing.
    modify(&mut rig, &place, "Signals");
    let audit = format!("Context = {} {{ AuditValue = {} {{ Audit {{ Signals }} }} }}", place.0, place.1);
    assert!(rig.ask(&audit).contains("{ Signals }"));
}

#[test]
fn a_signal_is_for_one_stream_or_for_all() {
    let mut rig = Rig::alg();
    let place = rig.place("ip/1/a/$", "", "");
    let second = "Media { Stream = 2 { Local {\nc=IN IP4 $\nm=- $ TCP -\n}\n } }";
    modify(&mut rig, &place, &format!("{second}, Signals {{ tcpbcc/EstBNC {{ Stream = 2 }} }}"));
    let pinhole = rig.engine.pinhole(30_002);
    assert!(rig.engine.commands.contains(&Command::Connect { pinhole }));
    assert_eq!(calls(&rig), [true]);
    modify(&mut rig, &place, "Signals { tcpbcc/EstBNC }");
    assert_eq!(calls(&rig), [true, true, true]);
    let reply = modify(&mut rig, &place, "Signals { tcpbcc/EstBNC { Stream = 3 } }");
    assert!(reply.contains("Error = 410"), "{reply}");
}

/// A signal that is embedded in the event of its own completion must not go round for ever.
#[test]
fn completion_does_not_set_itself_off() {
    let mut rig = Rig::alg();
    let again = "tcpbcc/EstBNC { NotifyCompletion = { TO } }";
    let more = format!(", Events = 7 {{ g/sc {{ Embed {{ Signals {{ {again} }} }} }} }}");
    let place = rig.place("ip/1/a/$", "", &more);
    let reply = modify(&mut rig, &place, &format!("Signals {{ {again} }}"));
    assert!(!reply.contains("Error"), "{reply}");
    assert_eq!(calls(&rig), [true, true]);
    assert_eq!(rig.told.len(), 1);
}
