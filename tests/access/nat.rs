//! Clients behind translators of addresses, sealed end to end: the caller, the called, and both.

use crate::lab::{Lab, tshark};
use crate::nat_lab::{GATEWAY, Home, Nat, homes, ue};
use crate::network::PATIENCE;
use std::collections::BTreeSet;

const THERE: &str = "the goose is in the garden";
const BACK: &str = "then shut the gate behind it";

/// The value of a member in the last JSON line that has `event`.
fn member(output: &str, event: &str, name: &str) -> serde_json::Value {
    let find = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).ok()?;
        (object["event"] == event).then(|| object[name].clone())
    };
    output.lines().rev().find_map(find).unwrap_or_else(|| panic!("no {event} with {name} in:\n{output}"))
}

fn registered(lab: &mut Lab, user: &str) -> usize {
    let run = ue(lab, user, &["listen"]);
    lab.wait_for(user, "out", "\"registered\"", PATIENCE);
    run
}

/// A sealed call between two homes, with a line each way; one TLS association, of which nobody between
/// them is a part.
fn call(caller: &Home, called: &Home) {
    let Some(mut lab) = homes(&[caller, called]) else { return };
    let capture = lab.capture("operator", "subs");
    let listener = registered(&mut lab, called.user);
    let uri = format!("sip:{}@a.example", called.user);
    let talker = ue(&mut lab, caller.user, &["chat", &uri]);
    for user in [caller.user, called.user] {
        lab.wait_for(user, "out", "\"sealed\"", PATIENCE);
    }
    lab.process(talker).say(THERE);
    lab.wait_for(called.user, "out", THERE, PATIENCE);
    lab.process(listener).say(BACK);
    lab.wait_for(caller.user, "out", BACK, PATIENCE);
    lab.process(talker).signal("INT");
    assert_eq!(lab.process(talker).wait(PATIENCE), Some(0), "{}", lab.output(caller.user, "err"));
    lab.wait_for(called.user, "out", "\"ended\"", PATIENCE);
    lab.end_captures();

    let outputs = [caller, called].map(|home| lab.output(home.user, "out"));
    let random = member(&outputs[0], "sealed", "client_random");
    assert_eq!(member(&outputs[1], "sealed", "client_random"), random);
    let random = random.as_str().expect("a random").to_owned();
    // The same ClientHello passes the gateway on both sides, and what was said cannot be read.
    let ports = format!("ip.addr == {GATEWAY} && tcp.port >= 30000 && tcp.port <= 30999");
    let hellos: Vec<(String, String)> = tshark(
        &capture,
        &format!("tls.handshake.type == 1 && {ports}"),
        &["tls.handshake.random", "ip.src"],
        &["-d", "tcp.port==30000-30999,tls"],
    )
    .into_iter()
    .map(|row| (row[0].replace(':', ""), row[1].clone()))
    .collect();
    let randoms: BTreeSet<&str> = hellos.iter().map(|(random, _)| random.as_str()).collect();
    assert_eq!(randoms, BTreeSet::from([random.as_str()]));
    let sources: BTreeSet<&str> = hellos.iter().map(|(_, source)| source.as_str()).collect();
    // It comes from the caller, whoever opened TCP.
    assert_eq!(sources, BTreeSet::from([caller.outer().as_str(), GATEWAY]));
    let octets = std::fs::read(&capture).expect("a capture");
    for secret in [THERE, BACK] {
        assert!(!octets.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} can be read");
    }
}

fn alice(nat: Nat) -> Home {
    Home { user: "alice", nat }
}

fn bob(nat: Nat) -> Home {
    Home { user: "bob", nat }
}

#[test]
fn nobody_is_behind_a_translator() {
    call(&alice(Nat::None), &bob(Nat::None));
}

#[test]
fn the_caller_is_behind_a_translator() {
    for nat in [Nat::Restricted, Nat::FullCone, Nat::Symmetric] {
        call(&alice(nat), &bob(Nat::None));
    }
}

#[test]
fn the_called_is_behind_a_translator() {
    for nat in [Nat::Restricted, Nat::FullCone, Nat::Symmetric] {
        call(&alice(Nat::None), &bob(nat));
    }
}

#[test]
fn both_are_behind_translators() {
    for (one, other) in [
        (Nat::Restricted, Nat::Restricted),
        (Nat::FullCone, Nat::Symmetric),
        (Nat::Symmetric, Nat::Symmetric),
    ] {
        call(&alice(one), &bob(other));
    }
}
