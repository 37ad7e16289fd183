//! Procedures beyond the worked messages: errors, order, notification, audits.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use std::time::Duration;

use carnet_gateway::media::{Cause, Command, Direction, Event, Gate, Role};
use carnet_h248::{Message, ReplyBody};
use rig::{Rig, read};

/// An Add with one stream. `local` and `remote` in one line, lines separated by `|`.
fn add(id: &str, control: &str, local: &str, remote: &str, more: &str) -> String {
    format!("Add = {id} {{ {} {more} }}", media(control, local, remote))
}

fn media(control: &str, local: &str, remote: &str) -> String {
    let sdp = |name: &str, text: &str| match text {
        "" => String::new(),
        text => format!(", {name} {{\n{}\n}}\n", text.replace('|', "\n")),
    };
    let control = if control.is_empty() { "Mode = Inactive" } else { control };
    let (local, remote) = (sdp("Local", local), sdp("Remote", remote));
    format!("Media {{ Stream = 1 {{ LocalControl {{ {control} }} {local} {remote} }} }}")
}

const ANY: &str = "v=0|c=IN IP4 $|m=- $ TCP/TLS -|a=setup:passive";
const TO: &str = "v=0|c=IN IP4 192.0.2.7|m=- 2855 TCP/TLS -|a=setup:passive";

fn new_context(commands: &str) -> String {
    format!("Context = $ {{ {commands} }}")
}

/// Context and termination of an Add's reply.
fn place(reply: &str) -> (String, String) {
    let context = reply.split("Context = ").nth(1).unwrap().split(' ').next().unwrap();
    let termination = reply.split("Add = ").nth(1).unwrap().split([' ', '}', ',']).next().unwrap();
    (context.to_owned(), termination.to_owned())
}

/// A context with one termination that asks for these events.
fn watched(rig: &mut Rig, events: &str) -> (String, String) {
    let more = format!(", Events = 7 {{ {events} }}");
    place(&rig.ask(&new_context(&add("ip/1/a/$", "Mode = SendReceive", ANY, "", &more))))
}

#[test]
fn each_fault_of_an_add_has_its_code_and_leaves_nothing() {
    let plain = |local: &str| new_context(&add("ip/1/a/$", "", local, "", ""));
    let with = |control: &str| new_context(&add("ip/1/a/$", control, ANY, "", ""));
    let to = |remote: &str| new_context(&add("ip/1/a/$", "", ANY, remote, ""));
    let more = |more: &str| new_context(&add("ip/1/a/$", "", ANY, "", more));
    let cases = [
        (with("Mode = Inactive, ipdc/realm = moon"), 449),
        (with("Mode = Loopback"), 517),
        (with("Mode = Inactive, xyz/p = 1"), 440),
        (with("Mode = Inactive, gm/p = 1"), 445),
        (with("Mode = Inactive, gm/esas = ON"), 472),
        (with("Mode = Inactive, gm/esas = ON, gm/lsa = nowhere"), 449),
        (with("Mode = Inactive, gm/esas = ON, gm/lsa = \"203.0.113.11\""), 501),
        (with("Mode = Inactive, gm/esps = ON, gm/lsp = 29999"), 501),
        (with("Mode = Inactive, ds/dscp = 7F"), 449),
        (with("Mode = Inactive, crntls/psk = 00"), 504),
        (plain("v=0|c=IN IP4 $|m=audio $ RTP/AVP 0"), 515),
        (plain("v=0|c=IN IP4 $|m=- $ UDP -"), 515),
        (plain("v=0|c=IN IP4 $"), 474),
        (plain("v=0|c=IN IP4 203.0.113.9|m=- 4000 TCP -"), 449),
        (to("v=0|c=IN IP4 $|m=- 9 TCP/TLS -"), 449),
        (to("v=0|c=IN IP6 2001:db8::1|m=- 9 TCP/TLS -"), 473),
        (new_context(&add("ip/1/a/$", "", "", TO, "")), 441),
        (new_context(&add("ip/1/a/7", "", ANY, "", "")), 430),
        (new_context(&add("tdm/1/a/$", "", ANY, "", "")), 430),
        (more(", Events = 1 { al/of }"), 440),
        (more(", Events = 1 { hangterm/thx }"), 451),
        (more(", Events = 1 { hangterm/thb }"), 457),
        (more(", Events = 1 { tlscn/x }"), 501),
        (more(", Events = 1 { it/ito { mit = 5 } }"), 512),
        (more(", Signals { cg/rt }"), 440),
        (more(", Signals { ipnapt/lutch }"), 452),
        (more(", Signals { ipnapt/latch { napt = MAYBE } }"), 454),
        (more(", DigitMap = dial"), 444),
        ("Context = 5 { Modify = ip/1/a/1 }".to_owned(), 411),
        (new_context("Modify = ip/1/a/1"), 421),
        (format!("Context = - {{ {} }}", add("ip/1/a/$", "", ANY, "", "")), 421),
        ("Context = - { Subtract = ip/1/a/1 }".to_owned(), 430),
        ("Context = * { Subtract = * }".to_owned(), 431),
        ("Context = - { Subtract = ROOT }".to_owned(), 410),
        ("Context = - { AuditValue = * { Audit { Media } } }".to_owned(), 431),
    ];
    let mut rig = Rig::alg();
    for (actions, code) in cases {
        assert_eq!(rig.code(&actions), code, "{actions}");
        rig.assert_empty();
    }
}

#[test]
fn an_action_that_creates_a_context_does_so_whole_or_not_at_all() {
    let mut rig = Rig::alg();
    let first = add("ip/1/a/$", "", ANY, "", ", Events = 3 { hangterm/thb { timerx = 5 } }");
    let second = add("ip/1/b/$", "Mode = Inactive, ipdc/realm = moon", ANY, "", "");
    let reply = rig.ask(&new_context(&format!("{first}, {second}")));
    assert!(reply.contains("Context = $ { Error = 449"), "{reply}");
    rig.assert_empty();
}

#[test]
fn ports_that_run_out_are_told_and_given_back() {
    let mut rig = Rig::alg();
    rig.engine.ports = Some(1);
    let both = format!("{}, {}", add("ip/1/a/$", "", ANY, "", ""), add("ip/1/b/$", "", ANY, "", ""));
    assert_eq!(rig.code(&new_context(&both)), 510);
    rig.assert_empty();
    // Within one Add too.
    let stream = |id: u16| format!("Stream = {id} {{ Local {{\n{}\n}}\n }}", ANY.replace('|', "\n"));
    let two = format!("Add = ip/1/a/$ {{ Media {{ {}, {} }} }}", stream(1), stream(2));
    assert_eq!(rig.code(&new_context(&two)), 510);
    rig.assert_empty();
}

#[test]
fn in_an_existing_context_what_was_done_before_the_fault_stays() {
    let mut rig = Rig::alg();
    let (context, one) = watched(&mut rig, "g/cause");
    let bad = add("ip/1/b/$", "Mode = Inactive, ipdc/realm = moon", ANY, "", "");
    let open = format!("Modify = {one} {{ {} }}", media("Mode = SendOnly", "", ""));
    let reply = rig.ask(&format!("Context = {context} {{ {open}, {bad}, Subtract = {one} }}"));
    assert!(reply.contains(&format!("Modify = {one}, Add = ip/1/b/")), "{reply}");
    assert!(reply.contains("Error = 449") && !reply.contains("Subtract"), "{reply}");
    assert_eq!(rig.engine.settings(30_000).gate, Gate::SendOnly);
    assert_eq!(rig.gateway.contexts(), 1);
}

#[test]
fn an_optional_command_may_fail() {
    let mut rig = Rig::alg();
    let (context, one) = watched(&mut rig, "g/cause");
    let reply = rig.ask(&format!("Context = {context} {{ O-Modify = ip/1/x/9, Subtract = {one} }}"));
    assert!(reply.contains("Error = 430") && reply.contains(&format!("Subtract = {one}")), "{reply}");
    rig.assert_empty();
}

#[test]
fn a_third_termination_is_one_too_many() {
    let mut rig = Rig::alg();
    let context = rig.relay();
    let third = add("ip/1/c/$", "", ANY, "", "");
    assert_eq!(rig.code(&format!("Context = {context} {{ {third} }}")), 434);
    assert_eq!(rig.engine.holes.len(), 2);
}

#[test]
fn contexts_run_out() {
    let mut rig = Rig::with(carnet_h248::MId::domain("alg1.access.example"), |config| {
        config.limits.contexts = 2;
    });
    let one = new_context(&add("$", "", ANY, "", ""));
    assert_eq!([rig.code(&one), rig.code(&one), rig.code(&one)], [0, 0, 412]);
}

#[test]
fn a_termination_elsewhere_is_not_here() {
    let mut rig = Rig::alg();
    let (first, one) = watched(&mut rig, "g/cause");
    let (second, _) = watched(&mut rig, "g/cause");
    assert_eq!(rig.code(&format!("Context = {second} {{ Subtract = {one} }}")), 435);
    assert_eq!(rig.code(&format!("Context = {second} {{ {} }}", add(&one, "", ANY, "", ""))), 433);
    assert_eq!(rig.code(&format!("Context = {first} {{ Move = {one} }}")), 433);
    assert_eq!(rig.code(&format!("Context = {first} {{ Subtract = ip/2/*/* }}")), 431);
    assert_eq!(rig.code(&format!("Context = {first} {{ Subtract = ip/1/*/* }}")), 0);
}

#[test]
fn local_control_is_replaced_whole() {
    let mut rig = Rig::alg();
    let control = "Mode = SendReceive, gm/saf = ON, gm/sam = \"192.0.2.0/24\", ds/dscp = 2E";
    let (context, one) = place(&rig.ask(&new_context(&add("$", control, ANY, "", ""))));
    assert!(rig.engine.settings(30_000).filter.network.is_some());
    let modify = format!("Modify = {one} {{ {} }}", media("Mode = SendReceive", "", ""));
    rig.ask(&format!("Context = {context} {{ {modify} }}"));
    let settings = rig.engine.settings(30_000);
    assert_eq!((settings.filter.network, settings.dscp), (None, None));
    // Local was not given, so it stays.
    assert_eq!(settings.role, Role::Passive);
}

#[test]
fn an_address_once_given_stays() {
    let mut rig = Rig::alg();
    let (context, one) = place(&rig.ask(&new_context(&add("$", "", ANY, "", ""))));
    let mut modify = |local: &str| {
        let modify = format!("Modify = {one} {{ {} }}", media("", local, ""));
        rig.ask(&format!("Context = {context} {{ {modify} }}"))
    };
    let again = modify("v=0|c=IN IP4 $|m=- $ TCP -|a=setup:active");
    assert!(again.contains("c=IN IP4 203.0.113.10 m=- 30000 TCP - a=setup:active"), "{again}");
    let same = modify("v=0|c=IN IP4 203.0.113.10|m=- 30000 TCP -");
    assert!(!same.contains("Error"), "{same}");
    assert!(modify("v=0|c=IN IP4 203.0.113.11|m=- 30000 TCP -").contains("Error = 449"));
    assert!(modify("v=0|c=IN IP4 203.0.113.10|m=- 30001 TCP -").contains("Error = 449"));
    assert!(modify("v=0|c=IN IP6 2001:db8::1|m=- $ TCP -").contains("Error = 449"));
    assert_eq!(rig.engine.holes.len(), 1);
}

#[test]
fn a_stream_can_come_later() {
    let mut rig = Rig::alg();
    let (context, one) = place(&rig.ask(&new_context("Add = $")));
    assert_eq!(rig.engine.holes.len(), 0);
    let modify = format!("Modify = {one} {{ {} }}", media("", ANY, ""));
    let reply = rig.ask(&format!("Context = {context} {{ {modify} }}"));
    assert!(reply.contains("m=- 30000 TCP/TLS -"), "{reply}");
    rig.ask(&format!("Context = {context} {{ Subtract = {one} }}"));
    rig.assert_empty();
}

#[test]
fn a_transaction_waits_for_another_in_its_context() {
    let mut rig = Rig::alg();
    let (context, one) = watched(&mut rig, "g/cause");
    rig.engine.slow = true;
    let more = add("ip/1/b/$", "", ANY, "", "");
    assert_eq!(rig.ask(&format!("Context = {context} {{ {more} }}")), "");
    assert_eq!(rig.ask(&format!("Context = {context} {{ W-Subtract = * {{ Audit {{ }} }} }}")), "");
    // Another context and ROOT do not wait.
    assert!(rig.ask("Context = - { AuditValue = ROOT { Audit { } } }").contains("AuditValue = ROOT"));
    let held = rig.engine.commands.len();
    assert!(!rig.engine.commands.iter().any(|c| matches!(c, Command::Release { .. })));
    let [reply] = rig.answer().try_into().unwrap();
    assert!(rig.show(reply).contains("Add = ip/1/b/"));
    assert!(rig.engine.commands.len() > held);
    rig.engine.slow = false;
    let [reply] = rig.settle().try_into().unwrap();
    assert!(rig.show(reply).contains("Subtract = *"), "{one}");
    rig.assert_empty();
}

#[test]
fn a_repeated_request_is_carried_out_once() {
    let mut rig = Rig::alg();
    let text = format!(
        "MEGACO/3 <alg1.access.example> Transaction = 9 {{ {} }}",
        new_context(&add("$", "", ANY, "", ""))
    );
    let first = rig.send(read(&text));
    let again = rig.send(read(&text));
    let bodies = |replies: &[carnet_h248::TransactionReply]| replies[0].body.clone();
    assert_eq!(bodies(&first), bodies(&again));
    assert_eq!(rig.engine.holes.len(), 1);
}

#[test]
fn connections_are_told_to_who_asked() {
    let mut rig = Rig::alg();
    let (context, one) = watched(&mut rig, "tcpbcc/BNCChange, g/cause");
    let pinhole = rig.engine.pinhole(30_000);
    rig.media(Event::Established { pinhole, peer: "192.0.2.9:5000".parse().unwrap() });
    rig.media(Event::Closed { pinhole, cause: Cause::ConnectFailed });
    let [up, down] = rig.told.as_slice() else { panic!("{:?}", rig.told) };
    let up = rig::squeeze(up);
    assert!(up.contains(&format!("Context = {context} {{ Notify = {one}")), "{up}");
    assert!(up.contains("ObservedEvents = 7 { 20260301T08000000:tcpbcc/BNCChange"), "{up}");
    assert!(up.contains("Type = EST") && !up.contains("g/cause"), "{up}");
    let down = rig::squeeze(down);
    assert!(down.contains("Type = REL, Generalcause = FP, Failurecause = \"connect_failed\""), "{down}");
    assert!(down.contains("g/cause { Stream = 1, Generalcause = FP"), "{down}");
}

#[test]
fn nobody_hears_what_nobody_asked_for() {
    let mut rig = Rig::alg();
    watched(&mut rig, "tcpbcc/BNCChange { Type = REL }");
    let pinhole = rig.engine.pinhole(30_000);
    rig.media(Event::Established { pinhole, peer: "192.0.2.9:5000".parse().unwrap() });
    rig.media(Event::Inactive { pinhole, direction: Direction::Both });
    assert!(rig.told.is_empty(), "{:?}", rig.told);
    assert!(rig.events().iter().any(|e| matches!(e, carnet_gateway::Event::Connected { .. })));
}

#[test]
fn silence_and_latching_are_told() {
    let mut rig = Rig::alg();
    let more =
        ", Events = 7 { adid/ipstop { dt = 60 }, adr/rsac }, Signals { ipnapt/latch { napt = LATCH } }";
    rig.ask(&new_context(&add("$", "Mode = SendReceive", ANY, "", more)));
    let pinhole = rig.engine.pinhole(30_000);
    assert!(rig.engine.settings(30_000).latch, "the engine expects somebody from elsewhere");
    rig.media(Event::Established { pinhole, peer: "[2001:db8::5]:5000".parse().unwrap() });
    assert!(rig.told[0].contains("nrsa = \"2001:db8::5\""), "{}", rig.told[0]);
    rig.media(Event::Inactive { pinhole, direction: Direction::Both });
    assert!(rig.told[1].contains("adid/ipstop"), "{}", rig.told[1]);
}

#[test]
fn a_forgotten_termination_asks_for_itself() {
    let mut rig = Rig::alg();
    let (context, one) = watched(&mut rig, "hangterm/thb { timerx = 120 }");
    rig.wait(Duration::from_secs(100));
    // A message about it shows that it is not forgotten.
    rig.ask(&format!("Context = {context} {{ AuditValue = {one} {{ Audit {{ }} }} }}"));
    rig.wait(Duration::from_secs(119));
    assert!(rig.told.is_empty());
    rig.wait(Duration::from_secs(2));
    assert_eq!(rig.told.len(), 1);
    assert!(rig.told[0].contains("hangterm/thb"), "{}", rig.told[0]);
    rig.wait(Duration::from_secs(120));
    assert_eq!(rig.told.len(), 2);
    rig.ask(&format!("Context = {context} {{ Modify = {one} {{ Events }} }}"));
    rig.wait(Duration::from_secs(600));
    assert_eq!(rig.told.len(), 2);
}

#[test]
fn a_silent_controller_is_poked() {
    let mut rig = Rig::alg();
    let reply = rig.ask("Context = - { Modify = ROOT { Events = 4 { it/ito { mit = 500 } } } }");
    assert!(!reply.contains("Error"), "{reply}");
    rig.wait(Duration::from_secs(4));
    assert!(rig.told.is_empty());
    rig.wait(Duration::from_secs(2));
    assert!(rig.told[0].contains("it/ito"), "{}", rig.told[0]);
}

#[test]
fn root_has_properties_and_some_are_read_only() {
    let mut rig = Rig::alg();
    let set = |item: &str| {
        format!("Context = - {{ Modify = ROOT {{ Media {{ TerminationState {{ root/{item} }} }} }} }}")
    };
    assert_eq!(rig.code(&set("normalMGExecutionTime = 300")), 0);
    assert_eq!(rig.code(&set("maxNumberOfContexts = 3")), 534);
    assert_eq!(rig.code(&set("colour = 3")), 445);
    let audit = rig.ask("Context = - { AuditValue = ROOT { Audit { Media, Events, Statistics } } }");
    assert!(audit.contains("root/normalMGExecutionTime = 300"), "{audit}");
    assert!(audit.contains("root/maxTerminationsPerContext = 2"), "{audit}");
}

#[test]
fn audits_tell_what_is() {
    let mut rig = Rig::alg();
    let context = rig.relay();
    let all = "Audit { Media, Events, Signals, Statistics, DigitMap }";
    let reply = rig.ask(&format!("Context = {context} {{ AuditValue = ip/1/access/* {{ {all} }} }}"));
    for part in [
        "ipdc/realm = \"access-v4\"",
        "m=- 30000 TCP/TLS -",
        "m=- 9 TCP/TLS -",
        "hangterm/thb { timerx = 120 }",
        "ipnapt/latch",
        "nt/dur = 183250, nt/os = 40960, nt/or = 51200",
        "DigitMap",
    ] {
        assert!(reply.contains(part), "{part} in {reply}");
    }
    let reply = rig.ask("Context = * { AuditValue = * { Audit { } } }");
    assert_eq!(reply.matches("AuditValue = ip/1/").count(), 2, "{reply}");
    let reply = rig.ask("Context = * { W-AuditValue = * { Audit { Packages } } }");
    assert_eq!(reply.matches("gm-2").count(), 1, "{reply}");
    let reply = rig.ask(&format!("Context = {context} {{ ContextAudit {{ Priority }} }}"));
    assert!(reply.contains("Priority = 4"), "{reply}");
    let reply = rig.ask("Context = - { AuditCapability = ROOT { Audit { Events, Packages } } }");
    assert!(reply.contains("it/ito") && !reply.contains("thb"), "{reply}");
}

#[test]
fn an_audit_that_would_be_too_long_is_refused() {
    let mut rig = Rig::with(carnet_h248::MId::domain("alg1.access.example"), |config| {
        config.limits.audited = 1;
    });
    rig.relay();
    assert_eq!(rig.code("Context = * { AuditValue = * { Audit { Media } } }"), 533);
}

#[test]
fn signals_connect_and_disconnect() {
    let mut rig = Rig::alg();
    let more = ", Signals { tcpbcc/EstBNC { Stream = 1 } }";
    let active = "v=0|c=IN IP4 $|m=- $ TCP -|a=setup:active";
    let (context, one) = place(&rig.ask(&new_context(&add("$", "Mode = SendReceive", active, TO, more))));
    let pinhole = rig.engine.pinhole(30_000);
    assert!(rig.engine.commands.contains(&Command::Connect { pinhole }));
    rig.ask(&format!("Context = {context} {{ Modify = {one} {{ Signals {{ tcpbcc/RelBNC }} }} }}"));
    assert!(rig.engine.commands.contains(&Command::Disconnect { pinhole }));
}

#[test]
fn merge_mode_is_passive_on_both_sides() {
    let mut rig = Rig::alg();
    let both = format!(
        "{}, {}",
        add("ip/1/a/$", "Mode = SendReceive", ANY, "", ""),
        add("ip/1/b/$", "Mode = SendReceive", ANY, "", "")
    );
    rig.ask(&new_context(&both));
    for port in [30_000, 30_002] {
        assert_eq!(rig.engine.settings(port).role, Role::Passive);
    }
    assert!(rig.engine.holes.values().all(|hole| hole.far.is_some()));
}

#[test]
fn a_stranger_is_refused() {
    let mut rig = Rig::alg();
    let text = "MEGACO/3 <evil.example> Transaction = 1 { Context = - { AuditValue = ROOT { Audit { } } } }";
    let refusal: Message = rig.gateway.handle_message(rig.now, read(text)).unwrap();
    assert!(rig::write(&refusal).contains("504"));
}

#[test]
fn a_new_start_lets_go_of_everything() {
    let mut rig = Rig::alg();
    rig.relay();
    rig.gateway.start(rig.now, 901);
    rig.wait(Duration::from_secs(1));
    rig.assert_empty();
}

#[test]
fn a_new_start_while_the_engine_is_slow_leaks_nothing() {
    let mut rig = Rig::alg();
    rig.engine.slow = true;
    let actions = new_context(&add("ip/1/a/$", "", ANY, "", ""));
    assert_eq!(rig.ask(&actions), "");
    rig.gateway.start(rig.now, 901);
    rig.wait(Duration::from_secs(1));
    rig.engine.slow = false;
    rig.settle();
    rig.assert_empty();
}

#[test]
fn a_reply_is_an_error_only_where_something_failed() {
    let mut rig = Rig::alg();
    let [reply] = rig.send(read(&rig::fixture("03-add-passthrough-request"))).try_into().unwrap();
    assert!(matches!(&reply.body, ReplyBody::Actions(actions) if actions.len() == 1));
    assert_eq!(reply.body.first_error(), None);
}

/// A gateway that is to stop says so and goes on with what it has (RFC 3525 §7.2.8, Graceful).
#[test]
fn retiring_is_announced() {
    let mut rig = Rig::alg();
    rig.ask(&new_context(&add("ip/1/a/$", "Mode = SendReceive", ANY, "", "")));
    rig.gateway.retire(rig.now, 905, Duration::from_secs(8));
    let (_, message) = rig.gateway.poll_transmit().unwrap();
    let text = rig::write(&message);
    for part in ["Method = Graceful", "Delay = 8", "905"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(rig.gateway.contexts(), 1);
    assert!(rig.gateway.registration().is_registered());
}
