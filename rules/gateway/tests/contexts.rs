//! What holds for a context as a whole: topology, priority, lists and selections (RFC 3525 §6.1.1,
//! §7.1.18 and version 3); and how much of everything there is.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use carnet_gateway::Limits;
use carnet_gateway::media::Gate;
use carnet_h248::MId;
use rig::Rig;

fn alg() -> MId {
    MId::domain("alg1.access.example")
}

fn limited(adjust: impl Fn(&mut Limits)) -> Rig {
    Rig::with(alg(), |config| adjust(&mut config.limits))
}

fn add(side: &str) -> String {
    format!(
        "Add = ip/1/{side}/$ {{ Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive }}, \
         Local {{\nv=0\nc=IN IP4 $\nm=- $ TCP -\n}}\n }} }} }}"
    )
}

/// A context with two terminations, and their names.
fn pair(rig: &mut Rig, properties: &str) -> (String, String, String) {
    let reply = rig.ask(&format!("Context = $ {{ {properties}{}, {} }}", add("a"), add("b")));
    let context = reply.split("Context = ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let mut names =
        reply.split("Add = ").skip(1).map(|t| t.split([' ', '}', ',']).next().unwrap().to_owned());
    let one = names.next().unwrap_or_else(|| panic!("{reply}"));
    (context, one, names.next().unwrap_or_else(|| panic!("{reply}")))
}

fn gates(rig: &Rig) -> (Gate, Gate) {
    (rig.engine.settings(30_000).gate, rig.engine.settings(30_002).gate)
}

#[test]
fn a_topology_is_kept_by_the_gates() {
    let mut rig = Rig::alg();
    let (context, one, two) = pair(&mut rig, "");
    let both = (Gate::SendReceive, Gate::SendReceive);
    assert_eq!(gates(&rig), both);
    let mut set = |from: &str, to: &str, how: &str| {
        let reply = rig.ask(&format!("Context = {context} {{ Topology {{ {from}, {to}, {how} }} }}"));
        assert!(!reply.contains("Error"), "{reply}");
        let reply = rig.ask(&format!("Context = {context} {{ ContextAudit {{ Topology }} }}"));
        (gates(&rig), reply.split_once("Topology ").unwrap().1.to_owned())
    };
    let (closed, told) = set(&one, &two, "Isolate");
    assert_eq!(closed, (Gate::Inactive, Gate::Inactive));
    assert_eq!(told, format!("{{ {one}, {two}, Isolate }} }} }}"));
    // The second receives from the first.
    let (oneway, told) = set(&one, &two, "Oneway");
    assert_eq!(oneway, (Gate::ReceiveOnly, Gate::SendOnly));
    assert_eq!(told, format!("{{ {one}, {two}, Oneway }} }} }}"));
    let (oneway, told) = set(&two, &one, "Oneway");
    assert_eq!(oneway, (Gate::SendOnly, Gate::ReceiveOnly));
    assert_eq!(told, format!("{{ {two}, {one}, Oneway }} }} }}"));
    let (open, told) = set("*", "*", "Bothway");
    assert_eq!(open, both);
    assert_eq!(told, format!("{{ {one}, {two}, Bothway }} }} }}"));
    let (one_stream, told) = set(&one, &two, "Isolate, Stream = 1");
    assert_eq!(one_stream, (Gate::Inactive, Gate::Inactive));
    assert!(told.contains("Bothway") && told.contains("Isolate, Stream = 1"), "{told}");
}

#[test]
fn a_topology_narrows_the_mode_and_goes_with_its_termination() {
    let mut rig = Rig::alg();
    let (context, one, two) = pair(&mut rig, "");
    rig.ask(&format!("Context = {context} {{ Topology {{ {one}, {two}, Oneway }} }}"));
    let mode = |mode: &str| format!("{{ Media {{ Stream = 1 {{ LocalControl {{ Mode = {mode} }} }} }} }}");
    rig.ask(&format!("Context = {context} {{ Modify = {one} {} }}", mode("SendOnly")));
    assert_eq!(gates(&rig), (Gate::Inactive, Gate::SendOnly));
    rig.ask(&format!("Context = {context} {{ Modify = {one} {} }}", mode("SendReceive")));
    // Whoever comes instead is heard, as everybody is by default.
    rig.ask(&format!("Context = {context} {{ Subtract = {one} }}"));
    assert_eq!(rig.engine.settings(30_002).gate, Gate::SendReceive);
    rig.ask(&format!("Context = {context} {{ {} }}", add("c")));
    assert_eq!(rig.engine.settings(30_004).gate, Gate::SendReceive);
}

/// RFC 3525 §7.1.18: `$` is the termination of the first Add that chooses.
#[test]
fn a_topology_may_be_about_who_is_added() {
    let mut rig = Rig::alg();
    let (context, one) = rig.place("ip/1/a/$", "", "");
    let reply = rig.ask(&format!("Context = {context} {{ Topology {{ $, {one}, Oneway }}, {} }}", add("b")));
    assert!(!reply.contains("Error"), "{reply}");
    assert_eq!(gates(&rig), (Gate::SendOnly, Gate::ReceiveOnly));
}

#[test]
fn a_topology_that_cannot_be_is_refused_before_anything_is_done() {
    let mut rig = Rig::alg();
    let (context, one, two) = pair(&mut rig, "");
    let mut code = |triple: &str| {
        rig.code(&format!("Context = {context} {{ Topology {{ {triple} }}, Subtract = {one} }}"))
    };
    assert_eq!(code(&format!("{one}, {two}, OnewayExternal")), 522);
    assert_eq!(code(&format!("{one}, {two}, OnewayBoth")), 522);
    assert_eq!(code(&format!("{one}, *, Oneway")), 522);
    assert_eq!(code(&format!("{one}, ip/1/z/9, Isolate")), 430);
    assert_eq!(code(&format!("{one}, $, Isolate")), 410);
    assert_eq!(code(&format!("{one}, ROOT, Isolate")), 410);
    assert_eq!(rig.code(&format!("Context = * {{ Topology {{ {one}, {two}, Isolate }} }}")), 421);
    assert_eq!(rig.engine.holes.len(), 2);
    assert_eq!(gates(&rig), (Gate::SendReceive, Gate::SendReceive));
}

#[test]
fn properties_are_kept_and_told() {
    let mut rig = Rig::alg();
    let (context, ..) = pair(&mut rig, "Priority = 3, ");
    let audit = format!("Context = {context} {{ ContextAudit {{ Priority, Emergency, IEPSCall }} }}");
    let reply = rig.ask(&audit);
    assert!(reply.contains("Priority = 3, EmergencyOff, IEPSCall = OFF"), "{reply}");
    rig.ask(&format!("Context = {context} {{ Priority = 15, Emergency, IEPSCall = ON }}"));
    let reply = rig.ask(&audit);
    assert!(reply.contains("Priority = 15, Emergency, IEPSCall = ON"), "{reply}");
    rig.ask(&format!("Context = {context} {{ EmergencyOff }}"));
    assert!(rig.ask(&audit).contains("Priority = 15, EmergencyOff, IEPSCall = ON"));
    // All contexts at once, too.
    rig.ask("Context = * { Priority = 2 }");
    assert!(rig.ask(&audit).contains("Priority = 2, EmergencyOff"));
    assert_eq!(rig.code(&format!("Context = {context} {{ Priority = 16 }}")), 449);
    assert_eq!(rig.code("Context = - { Priority = 1 }"), 421);
    assert_eq!(rig.code(&format!("Context = {context} {{ ContextAttr {{ x/y = 1 }} }}")), 440);
    assert_eq!(rig.code(&format!("Context = {context} {{ ContextAttr {{ ipdc/realm = a }} }}")), 455);
    assert_eq!(rig.code(&format!("Context = {context} {{ ContextAudit {{ ipdc/realm }} }}")), 455);
}

#[test]
fn contexts_are_selected_by_their_properties() {
    let mut rig = Rig::alg();
    let (low, ..) = pair(&mut rig, "Priority = 1, ");
    let (high, ..) = pair(&mut rig, "Priority = 9, ");
    let (urgent, one, _) = pair(&mut rig, "Priority = 9, Emergency, ");
    let mut told = |audit: &str| {
        let reply = rig.ask(&format!("Context = * {{ ContextAudit {{ {audit} }} }}"));
        assert!(!reply.contains("Error"), "{reply}");
        [&low, &high, &urgent].map(|context| reply.contains(&format!("Context = {context}")))
    };
    assert_eq!(told("Priority"), [true, true, true]);
    assert_eq!(told("Priority = 9"), [false, true, true]);
    assert_eq!(told("Priority = 9, EmergencyValue = EmergencyOff"), [false, true, false]);
    assert_eq!(told("Priority = 1, EmergencyValue = Emergency, ANDLgc"), [false, false, false]);
    assert_eq!(told("Priority = 1, EmergencyValue = Emergency, ORLgc"), [true, false, true]);
    assert_eq!(told("IEPSCall = ON"), [false, false, false]);
    let reply = rig.ask("Context = * { ContextAudit { Priority = 9, Emergency } }");
    assert!(reply.contains(&format!("Context = {urgent} {{ Emergency }}")), "{reply}");
    assert!(reply.contains(&format!("Context = {high} {{ EmergencyOff }}")), "{reply}");
    // Commands go to the selected ones.
    let audit = "AuditValue = ip/1/a/* { Audit { } }";
    let reply = rig.ask(&format!("Context = * {{ ContextAudit {{ EmergencyValue = Emergency }}, {audit} }}"));
    assert_eq!(reply.matches("AuditValue").count(), 1, "{reply}");
    assert!(reply.contains(&format!("AuditValue = {one}")), "{reply}");
    assert_eq!(rig.code("Context = * { ContextAudit { Priority = 16 } }"), 449);
    assert_eq!(rig.code(&format!("Context = * {{ ContextAudit {{ Priority = 7 }}, {audit} }}")), 431);
}

#[test]
fn an_action_may_be_for_a_list_of_contexts() {
    let mut rig = Rig::alg();
    let (first, ..) = pair(&mut rig, "");
    let (second, ..) = pair(&mut rig, "");
    pair(&mut rig, "");
    let subtract = "W-Subtract = * { Audit { } }";
    let list =
        |list: &str| format!("Context = * {{ ContextAttr {{ ContextList = {{ {list} }} }}, {subtract} }}");
    assert_eq!(rig.code(&list("77")), 411);
    assert_eq!(rig.code(&list("$")), 410);
    let specific =
        format!("Context = {first} {{ ContextAttr {{ ContextList = {{ {first} }} }}, {subtract} }}");
    assert_eq!(rig.code(&specific), 421);
    assert_eq!(rig.gateway.contexts(), 3);
    assert_eq!(rig.code(&list(&format!("{first}, {second}"))), 0);
    assert_eq!(rig.gateway.contexts(), 1);
}

#[test]
fn actions_of_one_transaction_come_one_after_the_other() {
    let mut rig = Rig::alg();
    let (context, one, two) = pair(&mut rig, "");
    // The first creates, the second uses what is there, the third finds it gone.
    let actions = format!(
        "Context = $ {{ {} }}, Context = {context} {{ Subtract = {one} {{ Audit {{ }} }} }}, \
         Context = {context} {{ Subtract = {two} {{ Audit {{ }} }} }}, Context = {context} {{ AuditValue = {two} }}, \
         Context = $ {{ {} }}",
        add("c"),
        add("d")
    );
    let reply = rig.ask(&actions);
    assert!(reply.contains("Add = ip/1/c/"), "{reply}");
    assert!(
        reply.contains(&format!("Subtract = {one} }}")) && reply.contains(&format!("Subtract = {two} }}"))
    );
    assert!(reply.contains(&format!("Context = {context} {{ Error = 411")), "{reply}");
    // What comes after the failure is not done.
    assert!(!reply.contains("ip/1/d/"), "{reply}");
    assert_eq!(rig.gateway.contexts(), 1);
}

#[test]
fn a_context_begins_with_a_termination() {
    let mut rig = Rig::alg();
    for commands in ["Priority = 4", "Modify = *", "AuditValue = * { Audit { } }", "Subtract = *"] {
        assert_eq!(rig.code(&format!("Context = $ {{ {commands} }}")), 421, "{commands}");
    }
    rig.assert_empty();
    // After that anything goes.
    let reply =
        rig.ask(&format!("Context = $ {{ {}, AuditValue = * {{ Audit {{ }} }}, Subtract = * }}", add("a")));
    assert!(reply.contains("AuditValue = ip/1/a/") && reply.contains("Subtract = ip/1/a/"), "{reply}");
    rig.assert_empty();
}

#[test]
fn emergencies_get_in_when_others_do_not() {
    let mut rig = limited(|limits| (limits.contexts, limits.reserve) = (4, 50));
    let mut code = |properties: &str| rig.code(&format!("Context = $ {{ {properties}{} }}", add("a")));
    assert_eq!([code(""), code("Priority = 7, "), code("Priority = 7, "), code("")], [0, 0, 510, 510]);
    assert_eq!([code("Emergency, "), code("Priority = 8, "), code("IEPSCall = ON, ")], [0, 0, 412]);
    assert_eq!(rig.gateway.load().percent(), 100);
}

#[test]
fn more_than_can_wait_is_refused_at_once() {
    let mut rig = limited(|limits| (limits.transactions, limits.reserve) = (4, 25));
    rig.engine.slow = true;
    let ask = |properties: &str| format!("Context = $ {{ {properties}{} }}", add("a"));
    for _ in 0..3 {
        assert_eq!(rig.ask(&ask("")), "");
    }
    let load = rig.gateway.load();
    assert_eq!((load.transactions, load.engine, load.percent()), (3, 3, 75));
    assert_eq!(rig.code(&ask("")), 511);
    assert_eq!(rig.ask(&ask("Emergency, ")), "");
    assert_eq!(rig.code(&ask("Emergency, ")), 511);
    rig.engine.slow = false;
    assert_eq!(rig.settle().len(), 4);
    assert_eq!(rig.code(&ask("")), 0);
    assert_eq!(rig.gateway.load().transactions, 0);
}

/// TS 23.334 §5.1: one interface for all terminations of a realm.
#[test]
fn the_interface_that_the_gateway_chooses_stands_for_the_realm() {
    let mut rig = Rig::with(alg(), |config| config.realms = vec!["access".to_owned(), "core".to_owned()]);
    let mut interface = |id: &str, control: &str| {
        let (_, id) = rig.place(id, control, "");
        id.split('/').nth(2).unwrap().to_owned()
    };
    assert_eq!(interface("$", ""), "1");
    assert_eq!(interface("ip/1/$/$", ", ipdc/realm = access"), "1");
    assert_eq!(interface("ip/$/$/$", ", ipdc/realm = core"), "2");
    assert_eq!(interface("$", ", ipdc/realm = unlisted"), "3");
    assert_eq!(interface("$", ", ipdc/realm = core"), "2");
    assert_eq!(interface("$", ", ipdc/realm = unlisted"), "3");
    // One that the controller names is the controller's.
    assert_eq!(interface("ip/1/mine/$", ", ipdc/realm = core"), "mine");
}

/// An audit of all contexts and a context that is being made do not meet halfway.
#[test]
fn all_contexts_wait_for_those_being_made() {
    let mut rig = Rig::alg();
    rig.engine.slow = true;
    assert_eq!(rig.ask(&format!("Context = $ {{ {}, {} }}", add("a"), add("b"))), "");
    assert_eq!(rig.ask("Context = * { W-Subtract = * { Audit { } } }"), "");
    assert!(rig.answer().is_empty());
    rig.engine.slow = false;
    let replies: Vec<_> = rig.settle().into_iter().map(|reply| rig.show(reply)).collect();
    assert!(replies[0].matches("Add = ").count() == 2 && replies[1].contains("Subtract = *"), "{replies:?}");
    rig.assert_empty();
}

/// H.248.10: the controller that asks hears before nothing more gets in.
#[test]
fn what_is_nearly_used_up_is_told() {
    let mut rig = limited(|limits| (limits.contexts, limits.reserve) = (10, 0));
    let reply = rig.ask("Context = - { Modify = ROOT { Events = 3 { chp/MGCon } } }");
    assert!(!reply.contains("Error"), "{reply}");
    for _ in 0..8 {
        rig.ask(&format!("Context = $ {{ {} }}", add("a")));
    }
    assert!(rig.told.is_empty());
    rig.ask(&format!("Context = $ {{ {} }}", add("a")));
    assert!(rig.told[0].contains("chp/MGCon") && rig.told[0].contains("reduction = 20"), "{:?}", rig.told);
    rig.ask("Context = * { W-Subtract = * { Audit { } } }");
    assert!(rig.told[1].contains("reduction = 0"), "{:?}", rig.told);
}

/// However many wait for one, they come in their order when it is done, and cost no stack.
#[test]
fn a_long_queue_is_served_in_order() {
    let mut rig = limited(|limits| limits.transactions = 20_000);
    let (context, one) = rig.place("ip/1/a/$", "", "");
    let (other, two) = rig.place("ip/1/a/$", "", "");
    rig.engine.slow = true;
    assert_eq!(rig.ask(&format!("Context = {context} {{ {} }}", add("b"))), "");
    for count in 0..3_000u32 {
        let priority = count % 16;
        assert_eq!(rig.ask(&format!("Context = {context} {{ Priority = {priority}, Modify = {one} }}")), "");
    }
    // The other context does not wait.
    assert!(rig.ask(&format!("Context = {other} {{ Modify = {two} }}")).contains("Modify"));
    rig.engine.slow = false;
    let replies = rig.settle();
    assert_eq!(replies.len(), 3_001);
    assert!(replies.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert_eq!(rig.gateway.load().transactions, 0);
}
