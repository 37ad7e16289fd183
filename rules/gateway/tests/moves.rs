//! Move (RFC 3525 §7.2.4): a termination goes to another context with all it has.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use std::time::Duration;

use carnet_gateway::media::{Cause, Command, Event, Gate};
use rig::Rig;

const ACCESS: &str = "ip/1/a/$";
const CORE: &str = "ip/1/b/$";

/// A context with two terminations; its number and their names.
fn pair(rig: &mut Rig) -> (String, String, String) {
    let (context, one) = rig.place(ACCESS, "", "");
    let reply = rig.ask(&format!("Context = {context} {{ {} }}", added(CORE)));
    (context, one, name(&reply))
}

fn added(id: &str) -> String {
    format!(
        "Add = {id} {{ Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive }}, \
         Local {{\nv=0\nc=IN IP4 $\nm=- $ TCP -\n}}\n }} }} }}"
    )
}

fn name(reply: &str) -> String {
    let added = reply.split("Add = ").nth(1).unwrap_or_else(|| panic!("{reply}"));
    added.split([' ', '}', ',']).next().unwrap().to_owned()
}

fn context(reply: &str) -> String {
    reply.split("Context = ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

/// The pinhole that the one on a port is joined to, by its port.
fn far(rig: &Rig, port: u16) -> Option<u16> {
    let hole = &rig.engine.holes[&rig.engine.pinhole(port)];
    hole.far.map(|far| rig.engine.holes[&far].local.port())
}

#[test]
fn into_another_context_it_is_joined_to_whom_it_finds_there() {
    let mut rig = Rig::alg();
    let (first, one, two) = pair(&mut rig);
    let (second, three) = rig.place(ACCESS, "", "");
    assert_eq!(far(&rig, 30_000), Some(30_002));
    let reply = rig.ask(&format!("Context = {second} {{ Move = {two} }}"));
    assert!(reply.ends_with(&format!("{{ Context = {second} {{ Move = {two} }} }}")), "{reply}");
    assert_eq!((far(&rig, 30_002), far(&rig, 30_000)), (Some(30_004), None));
    // Its address is the same, and so are its settings.
    assert_eq!(rig.engine.settings(30_002).gate, Gate::SendReceive);
    let audit = rig.ask(&format!("Context = {second} {{ AuditValue = * {{ Audit {{ Media }} }} }}"));
    assert!(audit.contains(&two) && audit.contains(&three) && audit.contains("m=- 30002 TCP"), "{audit}");
    // It is there and nowhere else.
    assert_eq!(rig.code(&format!("Context = {first} {{ Modify = {two} }}")), 435);
    assert_eq!(rig.code(&format!("Context = {first} {{ Subtract = {one} }}")), 0);
    assert_eq!(rig.gateway.contexts(), 1);
    assert_eq!(rig.code(&format!("Context = {second} {{ W-Subtract = * {{ Audit {{ }} }} }}")), 0);
    rig.assert_empty();
}

#[test]
fn into_a_new_context_it_goes_alone() {
    let mut rig = Rig::alg();
    let (first, one, two) = pair(&mut rig);
    let reply = rig.ask(&format!("Context = $ {{ Priority = 3, Move = {two} }}"));
    let second = context(&reply);
    assert!(second != first && reply.contains(&format!("Move = {two}")), "{reply}");
    assert_eq!((far(&rig, 30_000), far(&rig, 30_002)), (None, None));
    // Another one comes to it there.
    let reply = rig.ask(&format!("Context = {second} {{ {} }}", added(ACCESS)));
    assert!(!reply.contains("Error"), "{reply}");
    assert_eq!(far(&rig, 30_002), Some(30_004));
    // What the engine reports is told in the new context.
    let events = "Modify = TWO { Events = 3 { g/cause } }".replace("TWO", &two);
    rig.ask(&format!("Context = {second} {{ {events} }}"));
    let pinhole = rig.engine.pinhole(30_002);
    rig.media(Event::Closed { pinhole, cause: Cause::Reset });
    assert!(rig.told[0].contains(&format!("Context = {second} ")), "{}", rig.told[0]);
    assert!(rig.told[0].contains(&format!("Notify = {two}")), "{}", rig.told[0]);
    rig.ask(&format!("Context = {first} {{ Subtract = {one} }}"));
    rig.ask(&format!("Context = {second} {{ Subtract = * }}"));
    rig.assert_empty();
}

#[test]
fn a_context_that_the_last_one_leaves_vanishes() {
    let mut rig = Rig::alg();
    let (first, one) = rig.place(ACCESS, "", "");
    let (second, _) = rig.place(ACCESS, "", "");
    assert_eq!(rig.code(&format!("Context = {second} {{ Move = {one} }}")), 0);
    assert_eq!(rig.gateway.contexts(), 1);
    assert_eq!(rig.code(&format!("Context = {first} {{ AuditValue = * {{ Audit {{ }} }} }}")), 411);
    assert_eq!(far(&rig, 30_000), Some(30_002));
}

#[test]
fn what_cannot_be_moved_stays_as_it_is() {
    let mut rig = Rig::alg();
    let (first, one, two) = pair(&mut rig);
    let (second, three, _) = pair(&mut rig);
    let mut code = |context: &str, id: &str| rig.code(&format!("Context = {context} {{ Move = {id} }}"));
    assert_eq!(code("77", &one), 411);
    assert_eq!(code(&second, "ip/1/a/77"), 430);
    assert_eq!(code(&second, "$"), 430);
    assert_eq!(code(&second, "ip/9/*/*"), 431);
    assert_eq!(code(&first, &one), 433);
    assert_eq!(code(&second, &one), 434);
    assert_eq!(code(&second, "ROOT"), 410);
    // RFC 3525 §7.2.4: neither from the null context nor to it.
    assert_eq!(code("-", &one), 421);
    assert_eq!(code("*", &one), 421);
    let bad = "Media { Stream = 1 { Local {\nv=0\nm=audio 9 RTP/AVP 0\n}\n } }";
    assert_eq!(rig.code(&format!("Context = $ {{ Move = {two} {{ {bad} }} }}")), 515);
    let moon = "Media { Stream = 2 { LocalControl { ipdc/realm = moon }, Local {\nm=- $ TCP -\n}\n } }";
    assert_eq!(rig.code(&format!("Context = $ {{ Move = {two} {{ {moon} }} }}")), 449);
    assert_eq!(rig.gateway.contexts(), 2);
    assert_eq!((far(&rig, 30_000), far(&rig, 30_004)), (Some(30_002), Some(30_006)));
    for (context, id) in [(&first, &one), (&first, &two), (&second, &three)] {
        assert_eq!(rig.code(&format!("Context = {context} {{ AuditValue = {id} {{ Audit {{ }} }} }}")), 0);
    }
}

#[test]
fn with_it_what_the_command_says_is_changed() {
    let mut rig = Rig::alg();
    let (_, _, two) = pair(&mut rig);
    let (second, _) = rig.place(ACCESS, "", "");
    let media = "Media { Stream = 1 { LocalControl { Mode = SendOnly } }, \
                 Stream = 2 { LocalControl { Mode = Inactive }, Local {\nc=IN IP4 $\nm=- $ TCP -\n}\n } }";
    let audit = "Audit { Statistics }";
    let reply = rig.ask(&format!("Context = {second} {{ Move = {two} {{ {media}, {audit} }} }}"));
    assert!(reply.contains("Stream = 2 { Local { c=IN IP4 203.0.113.10 m=- 30006 TCP -"), "{reply}");
    assert!(!reply.contains("Stream = 1"), "{reply}");
    // RFC 3525 §7.2.4: the statistics just before.
    assert!(reply.contains("nt/dur = 183250, nt/os = 40960, nt/or = 51200"), "{reply}");
    assert_eq!(rig.engine.settings(30_002).gate, Gate::SendOnly);
}

#[test]
fn a_wildcard_moves_all_that_there_is_room_for() {
    let mut rig = Rig::alg();
    let (first, one, two) = pair(&mut rig);
    let (second, three) = rig.place(ACCESS, "", "");
    let reply = rig.ask(&format!("Context = {second} {{ O-Move = ip/1/*/*, AuditValue = {three} }}"));
    assert!(reply.contains(&format!("Move = {one}, Move = {two} {{ Error = 434")), "{reply}");
    assert!(reply.contains(&format!("AuditValue = {three}")), "{reply}");
    let rest = rig.ask(&format!("Context = {first} {{ AuditValue = * {{ Audit {{ }} }} }}"));
    assert!(rest.contains(&two) && !rest.contains(&one), "{rest}");
}

#[test]
fn there_is_no_way_back_from_a_context_made_by_moving() {
    let mut rig = Rig::alg();
    let (first, _, two) = pair(&mut rig);
    let bad = "Add = ip/1/a/$ { Media { Stream = 1 { Local {\nm=audio $ RTP/AVP 0\n}\n } } }";
    let reply = rig.ask(&format!("Context = $ {{ Move = {two}, {bad} }}"));
    assert!(reply.contains(&format!("Move = {two}, Add = ip/1/a/$ {{ Error = 515")), "{reply}");
    let second = context(&reply);
    assert_ne!(second, "$");
    assert_eq!(rig.code(&format!("Context = {second} {{ Subtract = {two} }}")), 0);
    rig.ask(&format!("Context = {first} {{ Subtract = * }}"));
    rig.assert_empty();
}

#[test]
fn a_heartbeat_goes_along() {
    let mut rig = Rig::alg();
    let (_, one) = rig.place(ACCESS, "", ", Events = 7 { hangterm/thb { timerx = 60 } }");
    let (second, _) = rig.place(ACCESS, "", "");
    rig.wait(Duration::from_secs(50));
    rig.ask(&format!("Context = {second} {{ Move = {one} }}"));
    rig.wait(Duration::from_secs(59));
    assert!(rig.told.is_empty());
    rig.wait(Duration::from_secs(2));
    assert!(rig.told[0].contains(&format!("Context = {second} ")), "{}", rig.told[0]);
    rig.ask("Context = * { W-Subtract = * { Audit { } } }");
    rig.assert_empty();
}

/// The controller is new while the engine has the pinhole on its way.
#[test]
fn a_new_start_while_it_moves_leaks_nothing() {
    let mut rig = Rig::alg();
    let (_, one) = rig.place(ACCESS, "", "");
    let (second, _) = rig.place(ACCESS, "", "");
    rig.engine.slow = true;
    assert_eq!(rig.ask(&format!("Context = {second} {{ Move = {one} }}")), "");
    assert!(matches!(rig.engine.commands.last(), Some(Command::Regroup { .. })));
    rig.gateway.start(rig.now, 901);
    rig.wait(Duration::from_secs(1));
    rig.engine.slow = false;
    rig.settle();
    rig.assert_empty();
}

#[test]
fn one_that_is_out_of_service_is_not_moved() {
    let mut rig = Rig::alg();
    let (first, one) = rig.place(ACCESS, "", "");
    let (second, _) = rig.place(ACCESS, "", "");
    let mut serve = |method: &str, reason: u16| {
        let services = format!("Services {{ Method = {method}, Reason = \"{reason}\" }}");
        rig.ask(&format!("Context = {first} {{ ServiceChange = {one} {{ {services} }} }}"));
        rig.code(&format!("Context = {second} {{ Move = {one} }}"))
    };
    assert_eq!(serve("Forced", 905), 503);
    assert_eq!(serve("Restart", 900), 0);
}
