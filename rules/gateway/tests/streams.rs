//! Local and Remote, streams and their statistics (RFC 3525 §7.1.4 to §7.1.8, §7.1.15, §7.2.3).

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use carnet_gateway::media::{Command, Gate, Role};
use rig::Rig;

/// An Add with these lines in Local and Remote; `|` ends a line.
fn add(rig: &mut Rig, control: &str, local: &str, remote: &str) -> String {
    rig.ask(&format!("Context = $ {{ Add = ip/1/a/$ {{ {} }} }}", media(1, control, local, remote)))
}

fn media(stream: u16, control: &str, local: &str, remote: &str) -> String {
    format!("Media {{ {} }}", stream_text(stream, control, local, remote))
}

fn stream_text(stream: u16, control: &str, local: &str, remote: &str) -> String {
    let mut parts = Vec::new();
    if !control.is_empty() {
        parts.push(format!("LocalControl {{ {control} }}"));
    }
    for (name, text) in [("Local", local), ("Remote", remote)] {
        match text {
            "" => {}
            "empty" => parts.push(format!("{name} {{ }}")),
            text => parts.push(format!("{name} {{\n{}\n}}\n", text.replace('|', "\n"))),
        }
    }
    format!("Stream = {stream} {{ {} }}", parts.join(", "))
}

fn place(reply: &str) -> (String, String) {
    let context = reply.split("Context = ").nth(1).unwrap().split(' ').next().unwrap();
    let added = reply.split("Add = ").nth(1).unwrap_or_else(|| panic!("{reply}"));
    (context.to_owned(), added.split([' ', '}', ',']).next().unwrap().to_owned())
}

const PLAIN: &str = "v=0|c=IN IP4 $|m=- $ TCP -|a=setup:passive";
const PEER: &str = "v=0|c=IN IP4 192.0.2.7|m=- 2855 TCP -|a=setup:active";

#[test]
fn of_several_groups_the_first_that_can_be_done_is_taken() {
    let mut rig = Rig::alg();
    let local = "v=0|c=IN IP4 $|m=audio $ RTP/AVP 0|v=0|c=IN IP6 $|m=- $ TCP -|v=0|c=IN IP4 $|m=- $ TCP -";
    let reply = add(&mut rig, "Mode = SendReceive", local, "");
    let chosen = "Local { v=0 c=IN IP6 2001:db8:1::10 m=- 30000 TCP - }";
    assert!(reply.contains(chosen) && !reply.contains("audio"), "{reply}");
    // RFC 3525 §7.1.8: the first in Local for which there is one in Remote; both are told.
    let reply = add(
        &mut rig,
        "Mode = Inactive",
        local,
        "v=0|c=IN IP4 192.0.2.7|m=- 9 UDP -|v=0|c=IN IP4 192.0.2.7|m=- 9 TCP -",
    );
    assert!(reply.contains("c=IN IP4 203.0.113.10 m=- 30002 TCP -"), "{reply}");
    assert!(reply.contains("Remote { v=0 c=IN IP4 192.0.2.7 m=- 9 TCP - }"), "{reply}");
    assert_eq!(rig.engine.settings(30_002).remote, Some("192.0.2.7:9".parse().unwrap()));
    assert_eq!(rig.engine.holes.len(), 2);
}

#[test]
fn where_no_group_can_be_done_it_is_an_error_or_an_empty_answer() {
    let mut rig = Rig::alg();
    let local = "v=0|c=IN IP4 $|m=audio $ RTP/AVP 0|v=0|c=IN IP4 $|m=- $ UDP -";
    let reply = add(&mut rig, "Mode = SendReceive", local, "");
    assert!(reply.contains("Error = 510") && reply.contains("audio"), "{reply}");
    // RFC 3525 §7.1.7: with a Reserve property the answer has empty descriptors.
    for reserve in ["ReservedGroup = ON", "ReservedValue = ON"] {
        let reply = add(&mut rig, &format!("Mode = SendReceive, {reserve}"), local, "");
        assert!(reply.contains("Local { }") && !reply.contains("Error"), "{reply}");
    }
    assert!(rig.engine.holes.is_empty());
    // One of what could be reserved is enough for a relay.
    let two = "v=0|c=IN IP6 $|m=- $ TCP -|v=0|c=IN IP4 $|m=- $ TCP -";
    let reply = add(&mut rig, "Mode = SendReceive, ReservedGroup = ON", two, "");
    assert!(reply.contains("IP6") && !reply.contains("IP4"), "{reply}");
    assert_eq!(rig.engine.holes.len(), 1);
}

#[test]
fn any_single_field_can_be_left_to_the_gateway() {
    let mut rig = Rig::alg();
    let full = "v=0|o=- $ $ IN IP4 $|s=-|t=0 0|c=IN $ $|m=$ $ TCP $|a=setup:$|a=msrp-cema";
    let reply = add(&mut rig, "Mode = SendReceive", full, PEER);
    let expected = "v=0 o=- 0 0 IN IP4 203.0.113.10 s=- t=0 0 c=IN IP4 203.0.113.10 m=- 30000 TCP - \
                    a=setup:passive a=msrp-cema";
    assert!(reply.contains(expected), "{reply}");
    assert_eq!(rig.engine.settings(30_000).role, Role::Passive);
}

#[test]
fn only_what_was_chosen_is_answered() {
    let mut rig = Rig::alg();
    let reply = add(&mut rig, "Mode = SendReceive, ds/dscp = 1A", PLAIN, PEER);
    assert!(!reply.contains("Remote") && !reply.contains("LocalControl"), "{reply}");
    let (context, one) = place(&reply);
    let again = "v=0|c=IN IP4 203.0.113.10|m=- 30000 TCP -|a=setup:passive";
    let modify = format!("Modify = {one} {{ {} }}", media(1, "", again, PEER));
    let reply = rig.ask(&format!("Context = {context} {{ {modify} }}"));
    assert!(reply.ends_with(&format!("{{ Modify = {one} }} }}")), "{reply}");
}

#[test]
fn a_single_stream_is_number_one() {
    let mut rig = Rig::alg();
    let local = PLAIN.replace('|', "\n");
    let reply = rig.ask(&format!(
        "Context = $ {{ Add = ip/1/a/$ {{ Media {{ LocalControl {{ Mode = SendReceive }}, Local {{\n{local}\n}}\n }} }} }}"
    ));
    assert!(reply.contains("Media { Local { v=0"), "{reply}");
    let (context, one) = place(&reply);
    let modify = format!("Modify = {one} {{ {} }}", media(1, "Mode = SendOnly", "", ""));
    rig.ask(&format!("Context = {context} {{ {modify} }}"));
    assert_eq!(rig.engine.settings(30_000).gate, Gate::SendOnly);
}

#[test]
fn streams_with_the_same_number_are_connected() {
    let mut rig = Rig::alg();
    let two = |control: &str| {
        format!("{}, {}", stream_text(1, control, PLAIN, ""), stream_text(2, control, PLAIN, ""))
    };
    let (one, other) = (two("Mode = SendReceive"), two("Mode = Inactive"));
    let add = |id: &str, streams: &str| format!("Add = ip/1/{id}/$ {{ Media {{ {streams} }} }}");
    let reply = rig.ask(&format!("Context = $ {{ {}, {} }}", add("a", &one), add("b", &other)));
    let far = |rig: &Rig, port: u16| {
        let far = rig.engine.holes[&rig.engine.pinhole(port)].far.unwrap();
        rig.engine.holes[&far].local.port()
    };
    assert_eq!((far(&rig, 30_000), far(&rig, 30_002)), (30_004, 30_006));
    // A stream is deleted by empty descriptors; the other one goes on.
    let (context, one) = place(&reply);
    let gone = format!("Modify = {one} {{ {} }}", media(2, "Mode = Inactive", "empty", "empty"));
    let reply = rig.ask(&format!("Context = {context} {{ {gone} }}"));
    assert!(!reply.contains("Error"), "{reply}");
    assert_eq!(rig.engine.holes.len(), 3);
    assert_eq!(far(&rig, 30_000), 30_004);
    let audit = rig.ask(&format!("Context = {context} {{ AuditValue = {one} {{ Audit {{ Media }} }} }}"));
    assert!(audit.contains("Stream = 1") && !audit.contains("Stream = 2"), "{audit}");
    // What it counted is counted still.
    let reply = rig.ask(&format!("Context = {context} {{ Subtract = {one} }}"));
    assert!(reply.contains("nt/os = 81920, nt/or = 102400"), "{reply}");
    rig.ask(&format!("Context = {context} {{ Subtract = * }}"));
    rig.assert_empty();
}

#[test]
fn an_empty_remote_forgets_the_peer_and_an_empty_local_the_address() {
    let mut rig = Rig::alg();
    let (context, one) = place(&add(&mut rig, "Mode = SendReceive", PLAIN, PEER));
    let mut modify = |local: &str, remote: &str| {
        let modify = format!("Modify = {one} {{ {} }}", media(1, "", local, remote));
        rig.ask(&format!("Context = {context} {{ {modify} }}"))
    };
    assert!(!modify("", "empty").contains("Error"));
    assert!(!modify("", "empty").contains("Error"), "twice is the same");
    assert!(!modify("empty", "").contains("Error"));
    assert!(modify("", PEER).contains("Error = 441"));
    let reply = modify(PLAIN, PEER);
    assert!(reply.contains("m=- 30002 TCP -"), "{reply}");
    let configured: Vec<_> = rig
        .engine
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::Configure { settings, .. } => Some(settings.remote.is_some()),
            _ => None,
        })
        .collect();
    assert_eq!(configured, [true, false, false, true]);
    rig.ask(&format!("Context = {context} {{ Subtract = {one} }}"));
    rig.assert_empty();
}

/// The controller lets the gateway choose, but from another realm or of the other IP version.
#[test]
fn another_realm_or_ip_version_is_another_address() {
    let mut rig = Rig::alg();
    let (context, one) = place(&add(&mut rig, "Mode = SendReceive, ipdc/realm = core", PLAIN, ""));
    let reply =
        rig.ask(&format!("Context = {context} {{ Add = ip/1/b/$ {{ {} }} }}", media(1, "", PLAIN, "")));
    assert!(!reply.contains("Error"), "{reply}");
    let mut modify = |control: &str, local: &str| {
        let modify = format!("Modify = {one} {{ {} }}", media(1, control, local, ""));
        rig.ask(&format!("Context = {context} {{ {modify} }}"))
    };
    let six = PLAIN.replace("IP4", "IP6");
    assert!(modify("", &six).contains("c=IN IP6 2001:db8:1::10 m=- 30004"));
    assert!(modify("Mode = Inactive, ipdc/realm = core", &six).contains("m=- 30004"), "the same realm");
    assert!(modify("Mode = Inactive", &six).contains("m=- 30004"), "no realm is no other realm");
    assert!(modify("Mode = Inactive, ipdc/realm = access", &six).contains("m=- 30006"));
    // It cannot change where the controller would not learn of it; and a refusal changes nothing.
    assert!(modify("Mode = Inactive, ipdc/realm = core", "").contains("Error = 449"));
    assert!(modify("Mode = Inactive, ipdc/realm = moon", &six).contains("Error = 449"));
    assert!(modify("", &six).contains("m=- 30006"));
    assert_eq!(rig.engine.holes.len(), 2);
    assert!(rig.engine.holes.values().all(|hole| hole.far.is_some()));
    rig.ask(&format!("Context = {context} {{ Subtract = * }}"));
    rig.assert_empty();
}

#[test]
fn a_termination_is_in_service_and_buffers_no_events() {
    let mut rig = Rig::alg();
    let (context, one) = place(&add(&mut rig, "Mode = SendReceive", PLAIN, ""));
    let mut code = |state: &str| {
        let modify = format!("Modify = {one} {{ Media {{ TerminationState {{ {state} }} }} }}");
        rig.code(&format!("Context = {context} {{ {modify} }}"))
    };
    assert_eq!(code("ServiceStates = InService"), 0);
    assert_eq!(code("Buffer = OFF"), 0);
    assert_eq!(code("ServiceStates = OutOfService"), 501);
    assert_eq!(code("ServiceStates = Test"), 501);
    assert_eq!(code("Buffer = LockStep"), 501);
}

#[test]
fn the_end_tells_what_is_asked_for() {
    let mut rig = Rig::alg();
    let mut end = |audit: &str| {
        let (context, one) = place(&add(&mut rig, "Mode = SendReceive", PLAIN, ""));
        let reply = rig.ask(&format!("Context = {context} {{ Subtract = {one}{audit} }}"));
        reply.split_once(&one).unwrap().1.to_owned()
    };
    let statistics = "Statistics { nt/dur = 183250, nt/os = 40960, nt/or = 51200 }";
    // RFC 3525 §7.2.3.
    assert_eq!(end(""), format!(" {{ {statistics} }} }} }}"));
    assert_eq!(end(" { Audit { Statistics } }"), format!(" {{ {statistics} }} }} }}"));
    assert_eq!(end(" { Audit { } }"), " } }");
    let media = end(" { Audit { Media } }");
    assert!(media.contains("m=- 30006 TCP -") && !media.contains("Statistics"), "{media}");
    rig.assert_empty();
}

#[test]
fn statistics_may_be_chosen_and_kept_for_each_stream() {
    let mut rig = Rig::alg();
    let stream = |number: u16| {
        let text = stream_text(number, "Mode = SendReceive", PLAIN, "");
        format!("{}, Statistics {{ nt/os }} }}", text.strip_suffix(" }").unwrap())
    };
    let commands = format!(
        "Add = ip/1/a/$ {{ Media {{ {}, {} }}, Statistics {{ nt/or }} }}",
        stream(1),
        stream_text(2, "", PLAIN, "")
    );
    let reply = rig.ask(&format!("Context = $ {{ {commands} }}"));
    assert!(!reply.contains("Error"), "{reply}");
    let (context, one) = place(&reply);
    let modify = format!("Modify = {one} {{ Audit {{ Statistics }} }}");
    let reply = rig.ask(&format!("Context = {context} {{ {modify} }}"));
    assert!(reply.contains("{ Statistics { nt/or = 102400 } }"), "{reply}");
    let reply = rig.ask(&format!("Context = {context} {{ Subtract = {one} }}"));
    let expected = "{ Media { Stream = 1 { Statistics { nt/os = 40960 } } }, Statistics { nt/or = 102400 } }";
    assert!(reply.contains(expected), "{reply}");
    let bad = commands.replace("nt/or", "nt/pl");
    assert_eq!(rig.code(&format!("Context = $ {{ {bad} }}")), 453);
    rig.assert_empty();
}

#[test]
fn what_an_audit_in_a_command_asks_for_comes_with_its_reply() {
    let mut rig = Rig::alg();
    let audit = ", Audit { Media, Statistics, Events }";
    let add = format!("Add = ip/1/a/$ {{ {}{audit} }}", media(1, "Mode = SendOnly", PLAIN, ""));
    let reply = rig.ask(&format!("Context = $ {{ {add} }}"));
    for part in ["Mode = SendOnly", "m=- 30000 TCP -", "nt/os = 0", "Events"] {
        assert_eq!(reply.matches(part).count(), 1, "{part} in {reply}");
    }
}

/// RFC 3525 §7.1.1: what was left to the gateway is in the reply.
#[test]
fn a_property_may_be_left_to_the_gateway() {
    let realms = ["access", "core"].map(str::to_owned);
    let mid = carnet_h248::MId::domain("alg1.access.example");
    let mut rig = Rig::with(mid, |config| config.realms = realms.to_vec());
    let reply =
        add(&mut rig, "Mode = SendOnly, ipdc/realm = { moon, core, access }, ds/dscp = 2E", PLAIN, "");
    let told = "LocalControl { Mode = SendOnly, ipdc/realm = core, ds/dscp = 2E }";
    assert!(reply.contains(told), "{reply}");
    assert!(
        matches!(&rig.engine.commands[0], Command::Reserve { realm, .. } if realm.as_deref() == Some("core"))
    );
    let reply = add(&mut rig, "Mode = SendOnly, ipdc/realm = $", PLAIN, "");
    assert!(reply.contains("ipdc/realm = \"access\""), "{reply}");
    let reply = add(&mut rig, "Mode = SendOnly, ipdc/realm = { moon, mars }", PLAIN, "");
    assert!(reply.contains("Error = 449"), "{reply}");
}

/// H.248.43: where the gateway's own connections come from. Ours come from where it waits for others.
#[test]
fn the_source_of_connections_is_the_local_address() {
    let mut rig = Rig::alg();
    let control = "gm/esas = ON, gm/lsa = \"203.0.113.10\"";
    let (context, one) = rig.place("ip/1/a/$", &format!(", {control}"), "");
    let set = |control: &str| {
        let media = format!("Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive, {control} }} }} }}");
        format!("Context = {context} {{ Modify = {one} {{ {media} }} }}")
    };
    assert_eq!(rig.code(&set(&format!("{control}, gm/esps = ON, gm/lsp = 30000"))), 0);
    assert_eq!(rig.code(&set(&format!("{control}, gm/esps = ON, gm/lsp = 30001"))), 501);
    assert_eq!(rig.code(&set("gm/esas = ON, gm/lsa = \"203.0.113.11\"")), 501);
    assert_eq!(rig.code(&set("gm/esas = OFF, gm/lsa = \"203.0.113.11\", gm/esps = OFF")), 0);
}

#[test]
fn what_moves_a_stream_is_kept_and_counted_until_it_has_another_address() {
    use carnet_gateway::Event;
    use carnet_gateway::media::{self, Engine, Reason};
    let mut rig = Rig::alg();
    let context = rig.relay();
    let port =
        |rig: &Rig, at: usize| rig.engine.holes.values().map(|hole| hole.local.port()).nth(at).unwrap();
    let ports = [port(&rig, 0), port(&rig, 1)];
    rig.events();
    assert!(rig.gateway.engines().is_empty(), "nobody said yet");
    let say = |rig: &mut Rig, port: u16, engine, reason| {
        let pinhole = rig.engine.pinhole(port);
        rig.media(media::Event::Engine { pinhole, engine, reason });
        rig.events()
    };
    let told = say(&mut rig, ports[0], Engine::Kernel, Reason::Passes);
    say(&mut rig, ports[1], Engine::Kernel, Reason::Passes);
    let [Event::Engine { context: at, termination, engine, reason }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((at.id(), *engine, *reason), (Some(context), Engine::Kernel, Reason::Passes));
    assert_eq!(rig.gateway.engine(context, termination, 1), Some((Engine::Kernel, Reason::Passes)));
    assert_eq!(rig.gateway.engine(context, termination, 2), None);
    let counts: Vec<_> = rig.gateway.engines().into_iter().collect();
    assert_eq!(counts, [((Engine::Kernel, Reason::Passes), 1)], "both ends are one stream");
    for port in ports {
        say(&mut rig, port, Engine::Relay, Reason::Elsewhere);
    }
    let counts: Vec<_> = rig.gateway.engines().into_iter().collect();
    assert_eq!(counts, [((Engine::Relay, Reason::Elsewhere), 1)]);
}
