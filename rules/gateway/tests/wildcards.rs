//! Commands on several terminations (RFC 3525 §6.2.2, §7.2): wildcards, lists, one response for all,
//! partial failures, answers that would be too long.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use carnet_gateway::media::Gate;
use carnet_h248::MId;
use rig::{Rig, fixture};

/// The relay of the worked messages: its context and the names on both sides.
fn relay(rig: &mut Rig) -> (u32, String, String) {
    let context = rig.relay();
    let list = rig.ask(&format!("Context = {context} {{ AuditValue = * {{ Audit {{ }} }} }}"));
    let name = |start: &str| {
        let at = list.find(start).unwrap();
        list[at..].split([' ', ',', '}']).next().unwrap().to_owned()
    };
    (context, name("ip/1/access/"), name("ip/1/core/"))
}

const OPEN: &str = "{ Media { Stream = 1 { LocalControl { Mode = SendReceive } } } }";

#[test]
fn a_wildcard_is_the_command_repeated() {
    let mut rig = Rig::alg();
    let (context, access, core) = relay(&mut rig);
    let reply = rig.ask(&format!("Context = {context} {{ Modify = * {OPEN} }}"));
    assert!(reply.contains(&format!("{{ Modify = {access}, Modify = {core} }}")), "{reply}");
    assert!([30_000, 30_002].iter().all(|port| rig.engine.settings(*port).gate == Gate::SendReceive));
    let closed = OPEN.replace("SendReceive", "Inactive");
    let reply = rig.ask(&format!("Context = * {{ Modify = ip/*/core/* {closed} }}"));
    assert!(reply.contains(&format!("Context = {context} {{ Modify = {core} }}")), "{reply}");
    assert_eq!(rig.engine.settings(30_000).gate, Gate::SendReceive);
    assert_eq!(rig.engine.settings(30_002).gate, Gate::Inactive);
}

#[test]
fn one_response_for_all_is_the_union() {
    let mut rig = Rig::alg();
    let (context, ..) = relay(&mut rig);
    // Every descriptor once, with all that the terminations would have said; it can be read.
    let reply = rig.ask("Context = * { W-AuditValue = ip/1/*/* { Audit { Media, Statistics } } }");
    assert!(reply.contains("Context = * { AuditValue = ip/1/*/* {"), "{reply}");
    assert_eq!(reply.matches("Media {").count(), 1, "{reply}");
    assert!(reply.contains("m=- 30000 TCP/TLS -") && reply.contains("m=- 30002 TCP/TLS -"), "{reply}");
    assert!(reply.contains("ipdc/realm = {\"access-v4\", \"core-v6\"}"), "{reply}");
    // Duplicates are suppressed.
    assert!(reply.contains("nt/os = 40960, nt/or = 51200"), "{reply}");
    let reply = rig.ask(&format!("Context = {context} {{ W-Modify = * {OPEN} }}"));
    assert!(reply.contains(&format!("Context = {context} {{ Modify = * }}")), "{reply}");
    let reply = rig.ask("Context = * { W-Subtract = * }");
    assert!(reply.contains("Context = * { Subtract = * { Statistics {"), "{reply}");
    rig.assert_empty();
}

/// The example of RFC 3525 §7.2.5: one context has what another has too.
#[test]
fn the_contexts_of_matching_terminations_are_told() {
    let mut rig = Rig::alg();
    let (first, access, _) = relay(&mut rig);
    let (second, other, _) = {
        let mut message = rig::read(&fixture("03-add-passthrough-request"));
        if let carnet_h248::Body::Transactions(list) = &mut message.body
            && let carnet_h248::Transaction::Request(request) = &mut list[0]
        {
            request.id = carnet_h248::TransactionId(5_001);
        }
        let [reply] = rig.send(message).try_into().unwrap();
        let carnet_h248::ReplyBody::Actions(actions) = reply.body else { panic!() };
        let name = |index: usize| actions[0].commands[index].termination().as_str().to_owned();
        (actions[0].context.id().unwrap(), name(0), name(1))
    };
    let reply = rig.ask("Context = * { AuditValue = ip/1/access/* { Audit { Packages } } }");
    for (context, id) in [(first, access), (second, other)] {
        assert!(reply.contains(&format!("Context = {context} {{ AuditValue = {id} {{ Packages")), "{reply}");
    }
    let reply = rig.ask("Context = * { AuditValue = ROOT { Audit { } } }");
    assert!(
        reply.contains(&format!("Context = {first} ")) && reply.contains(&format!("Context = {second} "))
    );
}

#[test]
fn a_list_names_each_once() {
    let mut rig = Rig::alg();
    let (context, access, core) = relay(&mut rig);
    let reply = rig.ask(&format!("Context = {context} {{ Modify = [{core}, {access}, {core}] {OPEN} }}"));
    assert!(reply.contains(&format!("{{ Modify = {core}, Modify = {access} }}")), "{reply}");
    // Each is attempted, and what is unknown is told where it stands.
    let reply = rig.ask(&format!("Context = {context} {{ Subtract = [{core}, ip/1/x/9, {access}] }}"));
    let told = |id: &str| reply.find(&format!("Subtract = {id}")).unwrap();
    assert!(told(&core) < told("ip/1/x/9") && told("ip/1/x/9") < told(&access), "{reply}");
    assert_eq!(reply.matches("Error = 430").count(), 1, "{reply}");
    rig.assert_empty();
}

#[test]
fn a_failure_on_one_does_not_spare_the_others_but_ends_the_transaction() {
    let mut rig = Rig::alg();
    let (context, access, core) = relay(&mut rig);
    // The access side has no second stream, and gets none from a Remote alone.
    let local = "Media { Stream = 2 { Local {\nc=IN IP4 $\nm=- $ TCP -\n}\n } }";
    rig.ask(&format!("Context = {context} {{ Modify = {core} {{ {local} }} }}"));
    let remote = "Media { Stream = 2 { Remote {\nc=IN IP4 192.0.2.7\nm=- 9 TCP -\n}\n } }";
    let both = format!("Modify = * {{ {remote} }}, Subtract = {core}");
    let reply = rig.ask(&format!("Context = {context} {{ {both} }}"));
    let expected =
        format!("Modify = {access} {{ Error = 441 {{ \"Missing Local descriptor\" }} }}, Modify = {core} }}");
    assert!(reply.contains(&expected), "{reply}");
    assert!(!reply.contains("Subtract"), "{reply}");
    let reply = rig.ask(&format!("Context = {context} {{ O-{both} }}"));
    assert!(reply.contains("Error = 441") && reply.contains(&format!("Subtract = {core}")), "{reply}");
    // One response has one error.
    let reply = rig.ask(&format!("Context = {context} {{ W-Modify = ip/1/*/* {{ {remote} }} }}"));
    assert!(reply.contains("Modify = ip/1/*/* { Error = 441"), "{reply}");
}

#[test]
fn a_wildcard_that_nothing_matches_is_an_error_also_for_one_response() {
    let mut rig = Rig::alg();
    let (context, access, _) = relay(&mut rig);
    for verb in ["Modify", "W-Modify", "Subtract", "W-Subtract", "AuditValue", "W-AuditValue"] {
        let reply = rig.ask(&format!("Context = {context} {{ {verb} = ip/7/*/* }}"));
        assert!(reply.contains("= ip/7/*/* { Error = 431"), "{reply}");
    }
    let reply = rig.ask(&format!("Context = {context} {{ O-W-Subtract = ip/7/*/*, Subtract = {access} }}"));
    assert!(reply.contains("Error = 431") && reply.contains(&format!("Subtract = {access}")), "{reply}");
}

#[test]
fn what_would_answer_too_much_is_not_done() {
    let mut rig = Rig::with(MId::domain("alg1.access.example"), |config| config.limits.audited = 1);
    let (context, ..) = relay(&mut rig);
    let mut code = |command: &str| rig.code(&format!("Context = {context} {{ {command} }}"));
    assert_eq!(code("Subtract = *"), 533);
    assert_eq!(code(&format!("Modify = * {OPEN}")), 533);
    assert_eq!(code("W-Subtract = *"), 533, "statistics of each");
    assert_eq!(code(&format!("W-Modify = * {OPEN}")), 0);
    assert_eq!(code("W-Subtract = * { Audit { } }"), 0);
    rig.assert_empty();
}
