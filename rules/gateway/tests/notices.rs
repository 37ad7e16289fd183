//! What a gateway tells by itself, and what becomes of it when nobody listens (RFC 3525 §7.1.9, §7.2.7).

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use std::time::Duration;

use carnet_gateway::Event as Told;
use carnet_gateway::media::{Cause, Command, Direction, Event, Pinhole};
use carnet_h248::MId;
use rig::{Rig, squeeze};

fn alg1(adjust: impl FnOnce(&mut carnet_gateway::Config)) -> Rig {
    Rig::with(MId::domain("alg1.access.example"), adjust)
}

/// A termination that asks for these events; its context, identifier and pinhole.
fn watched(rig: &mut Rig, events: &str) -> (String, String, Pinhole) {
    let holes: Vec<_> = rig.engine.holes.keys().copied().collect();
    let (context, id) = rig.place("ip/1/a/$", "", &format!(", Events = 7 {{ {events} }}"));
    let pinhole = rig.engine.holes.keys().find(|hole| !holes.contains(hole)).unwrap();
    (context, id, *pinhole)
}

fn up(pinhole: Pinhole) -> Event {
    Event::Established { pinhole, peer: "192.0.2.9:5000".parse().unwrap() }
}

fn down(pinhole: Pinhole) -> Event {
    Event::Closed { pinhole, cause: Cause::Reset }
}

fn idle(pinhole: Pinhole) -> Event {
    Event::Inactive { pinhole, direction: Direction::Both }
}

/// The events of each Notify, in order, by name.
fn names(rig: &Rig) -> Vec<String> {
    let item = |text: &str| -> Vec<String> {
        let all = ["tcpbcc/BNCChange", "g/cause", "nt/netfail", "adid/ipstop", "hangterm/thb", "adr/rsac"];
        all.iter().filter(|name| text.contains(**name)).map(|name| (*name).to_owned()).collect()
    };
    rig.told.iter().flat_map(|text| item(text)).collect()
}

#[test]
fn wildcards_ask_for_all_events_of_a_package_or_of_all() {
    let mut rig = Rig::alg();
    let (.., hole) = watched(&mut rig, "tcpbcc/*");
    rig.media(up(hole));
    rig.media(down(hole));
    assert_eq!(names(&rig), ["tcpbcc/BNCChange", "tcpbcc/BNCChange"]);
    rig.told.clear();
    let (.., hole) = watched(&mut rig, "*/*");
    rig.media(down(hole));
    assert_eq!(names(&rig), ["tcpbcc/BNCChange", "g/cause", "nt/netfail"]);
    assert!(
        squeeze(&rig.told[0]).contains("nt/netfail { Stream = 1, cs = \"reset_by_peer\" }"),
        "{:?}",
        rig.told
    );
    // What ends in order is no failure.
    rig.told.clear();
    rig.media(up(hole));
    rig.media(Event::Closed { pinhole: hole, cause: Cause::Normal });
    assert_eq!(names(&rig), ["tcpbcc/BNCChange", "tcpbcc/BNCChange", "g/cause"]);
}

#[test]
fn an_events_descriptor_is_replaced_whole() {
    let mut rig = Rig::alg();
    let (context, id, hole) = watched(&mut rig, "g/cause, hangterm/thb { timerx = 60 }");
    let modify = |events: &str| format!("Context = {context} {{ Modify = {id} {{ Events{events} }} }}");
    rig.ask(&modify(" = 8 { tcpbcc/BNCChange { Type = REL } }"));
    rig.media(down(hole));
    rig.wait(Duration::from_secs(120));
    assert_eq!(names(&rig), ["tcpbcc/BNCChange"]);
    assert!(rig.told[0].contains("ObservedEvents = 8"), "{}", rig.told[0]);
    rig.ask(&modify(""));
    rig.media(down(hole));
    assert_eq!(rig.told.len(), 1);
    // One of them that is wrong leaves the old ones.
    rig.ask(&modify(" = 9 { g/cause }"));
    assert_eq!(rig.code(&modify(" = 10 { tcpbcc/BNCChange, g/nonsense }")), 451);
    rig.media(down(hole));
    assert_eq!(names(&rig)[1..], ["g/cause"]);
}

#[test]
fn embedded_descriptors_replace_those_that_there_are() {
    let mut rig = Rig::alg();
    let inner = "Events = 8 { g/cause }, Signals { tcpbcc/EstBNC }";
    let (context, id, hole) =
        watched(&mut rig, &format!("tcpbcc/BNCChange {{ Type = REL, Embed {{ {inner} }} }}"));
    rig.media(down(hole));
    assert!(rig.engine.commands.contains(&Command::Connect { pinhole: hole }));
    rig.media(down(hole));
    assert_eq!(names(&rig), ["tcpbcc/BNCChange", "g/cause"]);
    assert!(rig.told[0].contains("= 7") && rig.told[1].contains("= 8"), "{:?}", rig.told);
    let audit = format!("Context = {context} {{ AuditValue = {id} {{ Audit {{ Events, Signals }} }} }}");
    let reply = rig.ask(&audit);
    assert!(reply.contains("Events = 8 { g/cause }, Signals { tcpbcc/EstBNC }"), "{reply}");
}

#[test]
fn what_is_embedded_is_checked_when_it_is_set() {
    let mut rig = Rig::alg();
    let (context, id, _) = watched(&mut rig, "g/cause");
    for (embedded, code) in [
        ("Signals { ipnapt/unlatch }", 452),
        ("Signals { ipnapt/latch { napt = SOMETIMES } }", 454),
        ("Events = 8 { adid/ipstop }", 457),
        ("Events = 8 { it/ito { mit = 100 } }", 512),
    ] {
        let events = format!("Events = 9 {{ g/cause {{ Embed {{ {embedded} }} }} }}");
        assert_eq!(
            rig.code(&format!("Context = {context} {{ Modify = {id} {{ {events} }} }}")),
            code,
            "{embedded}"
        );
    }
    let digits = "Events = 9 { g/cause { DigitMap = d } }";
    assert_eq!(rig.code(&format!("Context = {context} {{ Modify = {id} {{ {digits} }} }}")), 501);
}

/// Version 3: NotifyBehaviour, and `nb/rate` for what is regulated.
#[test]
fn notifications_can_be_regulated_or_suppressed() {
    let mut rig = Rig::alg();
    let stop = |how: &str| format!("adid/ipstop {{ dt = 60, {how} }}");
    let (.., never) = watched(&mut rig, &stop("NeverNotify"));
    let (.., always) = watched(&mut rig, &stop("ImmediateNotify"));
    let (context, id, once) = watched(&mut rig, &stop("RegulatedNotify"));
    for _ in 0..10 {
        rig.media(idle(never));
    }
    assert!(rig.told.is_empty());
    for _ in 0..10 {
        rig.media(idle(always));
        rig.media(idle(once));
    }
    assert_eq!(rig.told.iter().filter(|text| text.contains(&id)).count(), 1);
    assert_eq!(rig.told.len(), 11);
    // Asked for anew, it is told anew.
    rig.ask(&format!("Context = {context} {{ Modify = {id} {{ Events = 8 {{ {} }} }} }}", stop("NBRN")));
    rig.media(idle(once));
    rig.media(idle(once));
    assert_eq!(rig.told.iter().filter(|text| text.contains(&id)).count(), 2);
    // A share of them.
    rig.told.clear();
    rig.ask("Context = - { Modify = ROOT { Media { TerminationState { nb/rate = 30 } } } }");
    let (.., some) = watched(&mut rig, &stop("RegulatedNotify"));
    for _ in 0..20 {
        rig.media(idle(some));
    }
    assert_eq!(rig.told.len(), 6);
}

/// What is told never may set something off all the same.
#[test]
fn an_event_that_is_not_told_is_recognized() {
    let mut rig = Rig::alg();
    let (.., hole) = watched(&mut rig, "g/cause { NeverNotify, Embed { Events = 8 { tcpbcc/BNCChange } } }");
    rig.media(down(hole));
    assert!(rig.told.is_empty());
    rig.media(up(hole));
    assert_eq!(names(&rig), ["tcpbcc/BNCChange"]);
}

#[test]
fn an_event_may_reset_the_others() {
    let mut rig = Rig::alg();
    let (.., hole) = watched(&mut rig, "g/cause { ResetEventsDescriptor }, tcpbcc/BNCChange");
    rig.media(down(hole));
    rig.media(up(hole));
    assert_eq!(names(&rig), ["tcpbcc/BNCChange", "g/cause"]);
    assert_eq!(rig.told.len(), 1);
}

/// The controller is lost in the middle: what it did not hear the next one hears, in order, at its time,
/// but for what repeats by itself and what is about terminations that are gone.
#[test]
fn what_nobody_heard_is_told_to_who_comes_back() {
    let mut rig = alg1(|config| config.registration.idle = Some(Duration::from_secs(10)));
    let (.., one) = watched(&mut rig, "g/cause, hangterm/thb { timerx = 5 }");
    let (.., two) = watched(&mut rig, "tcpbcc/BNCChange");
    rig.mute = true;
    rig.media(down(one));
    assert_eq!(rig.told.len(), 1, "sent, not answered");
    rig.wait(Duration::from_secs(12));
    assert!(!rig.gateway.registration().is_registered());
    rig.media(up(two));
    rig.media(down(two));
    rig.told.clear();
    // It waits for a controller to take it; the first it asks does.
    rig.mute = false;
    rig.wait(Duration::from_secs(10));
    assert!(rig.gateway.registration().is_registered());
    let without_heartbeats: Vec<_> =
        rig.told.iter().filter(|t| !t.contains("hangterm/thb")).cloned().collect();
    rig.told = without_heartbeats;
    assert_eq!(names(&rig), ["g/cause", "tcpbcc/BNCChange", "tcpbcc/BNCChange"]);
    assert!(rig.told[0].contains("20260301T08000000:g/cause"), "{}", rig.told[0]);
    assert!(rig.told[1].contains("20260301T08001200:tcpbcc"), "{}", rig.told[1]);
    // Nothing is told twice.
    rig.told.clear();
    rig.wait(Duration::from_secs(1));
    assert!(names(&rig).iter().all(|name| name == "hangterm/thb"), "{:?}", rig.told);
}

#[test]
fn a_cold_start_forgets_what_waited() {
    let mut rig = alg1(|config| config.registration.idle = Some(Duration::from_secs(10)));
    let (.., hole) = watched(&mut rig, "g/cause");
    rig.mute = true;
    rig.wait(Duration::from_secs(12));
    rig.media(down(hole));
    rig.told.clear();
    rig.mute = false;
    rig.gateway.start(rig.now, 901);
    rig.wait(Duration::from_secs(5));
    assert!(rig.gateway.registration().is_registered());
    assert!(rig.told.is_empty(), "{:?}", rig.told);
    rig.assert_empty();
}

#[test]
fn what_waits_is_bounded() {
    let mut rig = alg1(|config| {
        config.registration.idle = Some(Duration::from_secs(10));
        config.limits.notices = 5;
    });
    let (.., hole) = watched(&mut rig, "tcpbcc/BNCChange");
    rig.mute = true;
    rig.wait(Duration::from_secs(12));
    rig.events();
    for _ in 0..4 {
        rig.media(up(hole));
        rig.media(down(hole));
    }
    let dropped: usize = rig
        .events()
        .iter()
        .map(|event| if let Told::NoticesDropped { count } = event { *count } else { 0 })
        .sum();
    assert_eq!(dropped, 3);
    rig.told.clear();
    rig.mute = false;
    rig.wait(Duration::from_secs(10));
    assert_eq!(rig.told.len(), 5);
    assert!(rig.told[4].contains("REL"), "the oldest went");
}

/// A burst does not fill the control association, even one that has little room.
#[test]
fn many_at_once_go_out_in_turn() {
    let mut rig = alg1(|config| config.registration.association.limits.outstanding = 3);
    let all: Vec<_> = (0..20).map(|_| watched(&mut rig, "g/cause").2).collect();
    rig.mute = true;
    for hole in &all {
        rig.gateway.handle_media(rig.now, down(*hole));
    }
    rig.settle();
    assert_eq!(rig.told.len(), 3);
    rig.mute = false;
    // The three are answered late: every answer makes room for one more.
    let late: Vec<String> = rig.told.clone();
    for text in late {
        let message = rig::read(&text);
        let [carnet_h248::Transaction::Request(request)] = message.transactions() else { panic!() };
        let context = request.actions[0].context;
        let id = request.actions[0].commands[0].termination();
        let from = "MEGACO/3 <alg1.access.example>";
        let reply = format!("{from} Reply = {} {{ Context = {context} {{ Notify = {id} }} }}", request.id);
        rig.send(rig::read(&reply));
    }
    assert_eq!(rig.told.len(), 20);
}

/// A controller that answers 504 has started again: what it refused it hears when it has taken us.
#[test]
fn a_controller_that_forgot_us_hears_it_later() {
    let mut rig = Rig::alg();
    let (.., hole) = watched(&mut rig, "g/cause");
    rig.gateway.handle_media(rig.now, down(hole));
    let (_, message) = rig.gateway.poll_transmit().unwrap();
    let [carnet_h248::Transaction::Request(request)] = message.transactions() else { panic!() };
    let refusal = "Error = 504 { \"who are you?\" }";
    let reply = format!("MEGACO/3 <alg1.access.example> Reply = {} {{ {refusal} }}", request.id);
    rig.send(rig::read(&reply));
    assert!(rig.announced.last().unwrap().contains("Disconnected"), "{:?}", rig.announced);
    assert_eq!(names(&rig), ["g/cause"]);
    assert!(!rig.events().iter().any(|e| matches!(e, Told::NoticeRefused { .. })));
    // One that takes us and does not know us all the same is not asked for ever.
    rig.refuse = Some(504);
    rig.media(down(hole));
    assert!(rig.gateway.registration().is_registered());
    assert_eq!(rig.told.len(), 3);
    assert!(rig.events().iter().any(|e| matches!(e, Told::NoticeRefused { .. })));
}

/// The engine is slow, and a peer is there before the controller knows of the context.
#[test]
fn nothing_is_told_of_a_context_before_its_add_is_answered() {
    let mut rig = Rig::alg();
    rig.engine.slow = true;
    let sdp = "Local {\nv=0\nc=IN IP4 $\nm=- $ TCP -\na=setup:passive\n}\n";
    let one = format!("Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive }}, {sdp} }} }}");
    let add = format!("Add = ip/1/a/$ {{ {one}, Events = 7 {{ tcpbcc/BNCChange }} }}");
    assert_eq!(rig.ask(&format!("Context = $ {{ {add}, {add} }}")), "");
    assert!(rig.answer().is_empty());
    let hole = rig.engine.pinhole(30_000);
    rig.media(up(hole));
    assert!(rig.told.is_empty());
    assert_eq!(rig.answer().len(), 1);
    assert_eq!(names(&rig), ["tcpbcc/BNCChange"]);
}

#[test]
fn a_refusal_is_for_the_operator() {
    let mut rig = Rig::alg();
    rig.refuse = Some(430);
    let (context, id, _) = watched(&mut rig, "hangterm/thb { timerx = 5 }");
    rig.wait(Duration::from_secs(5));
    let events = rig.events();
    let refused = events.iter().find_map(|event| match event {
        Told::NoticeRefused { context, termination, error } => {
            Some((*context, termination.clone(), error.code))
        }
        _ => None,
    });
    let (at, termination, code) = refused.unwrap_or_else(|| panic!("{events:?}"));
    assert_eq!((at.to_string(), termination.as_str(), code), (context.clone(), id.as_str(), 430));
    // H.248.36: it is the controller's part to subtract it.
    assert_eq!(rig.gateway.contexts(), 1);
    rig.ask(&format!("Context = {context} {{ Subtract = {id} }}"));
    rig.assert_empty();
}

#[test]
fn a_hand_off_takes_along_what_was_not_answered() {
    let mut rig = Rig::alg();
    let (.., hole) = watched(&mut rig, "g/cause");
    rig.mute = true;
    rig.media(down(hole));
    rig.mute = false;
    rig.told.clear();
    let change = "Services { Method = HandOff, Reason = \"903 MGC\", MgcIdToTry = <alg2.access.example> }";
    let reply = rig.ask(&format!("Context = - {{ ServiceChange = ROOT {{ {change} }} }}"));
    assert!(reply.contains("ServiceChange = ROOT"), "{reply}");
    let controller = rig.gateway.registration().controller().cloned();
    assert_eq!(controller, Some(MId::domain("alg2.access.example")));
    assert_eq!(names(&rig), ["g/cause"]);
    let events = rig.events();
    let kept = |e: &Told| matches!(e, Told::Registered { kept: true, .. });
    assert!(events.iter().any(kept), "{events:?}");
}

/// Connections end at the end of a call, and the controller's Subtract is on its way: what it does not know any more is
/// nobody's fault.
#[test]
fn a_notice_that_crosses_a_subtract_is_nothing_to_tell() {
    let mut rig = Rig::alg();
    let (context, one, first) = watched(&mut rig, "g/cause");
    let media = "Media { Stream = 1 { LocalControl { Mode = SendReceive }, \
                 Local {\nv=0\nc=IN IP4 $\nm=- $ TCP -\na=setup:passive\n} } }";
    let more = format!("Add = ip/1/a/$ {{ {media}, Events = 8 {{ g/cause }} }}");
    assert!(rig.ask(&format!("Context = {context} {{ {more} }}")).contains("Add = "));
    let second = *rig.engine.holes.keys().find(|hole| **hole != first).unwrap();
    rig.mute = true;
    rig.media(down(first));
    rig.media(down(second));
    assert_eq!(names(&rig), ["g/cause", "g/cause"]);
    rig.events();
    rig.engine.slow = true;
    assert_eq!(rig.ask(&format!("Context = {context} {{ Subtract = {one}, Subtract = * }}")), "");
    let refuse = |rig: &mut Rig, told: &str| {
        let number = told.split("Transaction = ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let (_, named) = told.split_once("Notify = ").unwrap();
        let named = named.split(' ').next().unwrap();
        let refusal = format!("Notify = {named} {{ Error = 430 {{ \"no\" }} }}");
        let reply = format!(
            "MEGACO/3 <alg1.access.example> Reply = {number} {{ Context = {context} {{ {refusal} }} }}"
        );
        rig.send(rig::read(&reply));
    };
    let told = rig.told.clone();
    told.iter().for_each(|told| refuse(&mut rig, told));
    assert!(!rig.events().iter().any(|e| matches!(e, Told::NoticeRefused { .. })));
    while !rig.engine.answers.is_empty() {
        rig.answer();
    }
    rig.assert_empty();
}
