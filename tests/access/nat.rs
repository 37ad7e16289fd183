//! Clients behind translators of addresses, sealed end to end: the caller, the called, and both.

use crate::lab::{Lab, tshark};
use crate::nat_lab::{GATEWAY, GATEWAY_6, Home, Nat, forget, homes, readdress, setting, ue};
use crate::network::PATIENCE;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

const THERE: &str = "the goose is in the garden";
const BACK: &str = "then shut the gate behind it";
const AGAIN: &str = "and feed the hens";
const LAST: &str = "the hens are fed";

pub const SEALED: &str = "\"event\":\"sealed\"";

/// The value of a member in the last JSON line that has `event`.
pub fn member(output: &str, event: &str, name: &str) -> serde_json::Value {
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
    call_as(caller, called, |_| {});
}

/// The same with settings of their own.
fn call_as(caller: &Home, called: &Home, edit: impl FnOnce(&Lab)) {
    let Some(mut lab) = homes(&[caller, called]) else { return };
    edit(&lab);
    let capture = lab.capture("operator", "subs");
    let listener = registered(&mut lab, called.user);
    let uri = format!("sip:{}@a.example", called.user);
    let talker = ue(&mut lab, caller.user, &["chat", &uri]);
    for user in [caller.user, called.user] {
        lab.wait_for(user, "out", SEALED, PATIENCE);
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
    let ports = format!(
        "(ip.addr == {GATEWAY} || ipv6.addr == {GATEWAY_6}) && tcp.port >= 30000 && tcp.port <= 30999"
    );
    let hellos: Vec<(String, String)> = tshark(
        &capture,
        &format!("tls.handshake.type == 1 && {ports}"),
        &["tls.handshake.random", "ip.src", "ipv6.src"],
        &["-d", "tcp.port==30000-30999,tls"],
    )
    .into_iter()
    .map(|row| (row[0].replace(':', ""), row[1..].concat()))
    .collect();
    let randoms: BTreeSet<&str> = hellos.iter().map(|(random, _)| random.as_str()).collect();
    assert_eq!(randoms, BTreeSet::from([random.as_str()]));
    let sources: BTreeSet<&str> = hellos.iter().map(|(_, source)| source.as_str()).collect();
    // It comes from the caller, whoever opened TCP; and the gateway passes it on.
    assert!(sources.contains(caller.outer().as_str()) && !sources.contains(called.outer().as_str()));
    assert_eq!(sources.len(), 2, "{sources:?}");
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

#[test]
fn signalling_by_datagrams() {
    for (one, other) in [(Nat::Symmetric, Nat::None), (Nat::None, Nat::Restricted)] {
        let (alice, bob) = (alice(one), bob(other));
        call_as(&alice, &bob, |lab| {
            for home in [&alice, &bob] {
                lab.edit(&format!("{}.toml", home.user), ";transport=tcp", "");
            }
        });
    }
}

#[test]
fn a_translator_and_the_other_ip_version() {
    call(&alice(Nat::Symmetric), &bob(Nat::Six));
    call(&alice(Nat::Six), &bob(Nat::Restricted));
}

/// What a client was told of its registration.
#[test]
fn a_client_knows_that_it_is_translated() {
    let (alice, bob) = (alice(Nat::Symmetric), bob(Nat::None));
    let Some(mut lab) = homes(&[&alice, &bob]) else { return };
    registered(&mut lab, "alice");
    registered(&mut lab, "bob");
    let seen = member(&lab.output("alice", "out"), "registered", "seen-at");
    assert!(seen.as_str().is_some_and(|seen| seen.starts_with("192.0.2.101:")), "{seen}");
    assert!(member(&lab.output("bob", "out"), "registered", "seen-at").is_null());
}

/// Where one of two clients behind translators takes its TLS role from `a=setup`, nothing can be done end
/// to end, and the caller is told so.
#[test]
fn both_are_behind_translators_and_one_does_not_know() {
    for foreign in [&["alice"][..], &["bob"], &["alice", "bob"]] {
        let Some(mut lab) = homes(&[&alice(Nat::Restricted), &bob(Nat::Symmetric)]) else { return };
        for user in foreign {
            setting(&lab, user, "[ue.interop]\ntls-role = \"setup\"");
        }
        registered(&mut lab, "bob");
        let caller = ue(&mut lab, "alice", &["chat", "sip:bob@a.example"]);
        assert_eq!(lab.process(caller).wait(PATIENCE), Some(1), "{foreign:?}");
        let output = lab.output("alice", "out");
        let reason = member(&output, "ended", "reason");
        assert_eq!(member(&output, "ended", "error"), "rejected", "{output}");
        assert!(reason.as_str().is_some_and(|text| text.contains("488") && text.contains("TLS")), "{reason}");
        let told = lab.output("bob", "out");
        assert!(!told.contains(SEALED) && !told.contains("\"event\":\"clear\""), "{told}");
        // Who answered is not left with half a call.
        if told.contains("\"incoming\"") {
            lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
        }
    }
}

/// The translator of the called forgets in the middle of a call. What is said then comes once or is reported lost, in
/// a time that has a bound, and both make the session again, though nobody told the called what had happened; the next call gets
/// through as well.
fn lost_and_found(udp: bool, lose: impl Fn(&Lab, &Home)) {
    let (alice, bob) = (alice(Nat::None), bob(Nat::Restricted));
    let Some(mut lab) = homes(&[&alice, &bob]) else { return };
    if udp {
        lab.edit("bob.toml", ";transport=tcp", "");
    }
    setting(&lab, "bob", "keep-alive = 2");
    registered(&mut lab, "bob");
    let first = ue(&mut lab, "alice", &["chat", "sip:bob@a.example"]);
    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", SEALED, PATIENCE);
    }
    lab.process(first).say(THERE);
    lab.wait_for("bob", "out", THERE, PATIENCE);
    lose(&lab, &bob);
    // Nobody tells bob; he finds out.
    lab.wait_for("bob", "out", "\"not-registered\"", PATIENCE);
    lab.until(PATIENCE, "bob is registered again", |lab| {
        lab.output("bob", "out").matches("\"registered\"").count() >= 2
    });
    // The old connection is dead, and does not stay for ever.
    let _ = writeln!(lab.process(first).child.stdin.as_mut().expect("an open standard input"), "{BACK}");
    lab.until(Duration::from_secs(90), "the session is made again", |lab| {
        ["alice", "bob"].iter().all(|user| lab.output(user, "out").contains("\"event\":\"restored\""))
    });
    lab.process(first).say(AGAIN);
    lab.wait_for("bob", "out", AGAIN, PATIENCE);
    // What was said in between came over the new connection, or is known to be lost.
    let (came, lost) = (lab.output("bob", "out").matches(BACK).count(), "not delivered");
    assert!(came == 1 || (came == 0 && lab.output("alice", "out").contains(lost)), "{came} times");
    lab.process(first).signal("INT");
    assert!(lab.process(first).wait(PATIENCE).is_some());
    let second = ue(&mut lab, "alice", &["chat", "sip:bob@a.example"]);
    lab.wait_for("alice", "out", SEALED, PATIENCE);
    lab.process(second).say(LAST);
    lab.wait_for("bob", "out", LAST, PATIENCE);
}

#[test]
fn a_translator_that_forgets() {
    lost_and_found(false, forget);
}

#[test]
fn a_translator_with_another_address() {
    lost_and_found(false, |lab, home| readdress(lab, home, "192.0.2.250"));
}

#[test]
fn a_translator_that_forgets_datagrams() {
    lost_and_found(true, |lab, home| readdress(lab, home, "192.0.2.250"));
}

/// A file in either direction between two who can only connect.
#[test]
fn files_between_translators() {
    let homes = [alice(Nat::Symmetric), bob(Nat::Restricted)];
    for (sender, receiver) in [(0, 1), (1, 0)] {
        let Some(mut lab) = homes_of(&homes) else { return };
        let note: String = (0..200_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
        lab.file("note.txt", &note);
        let (sender, receiver) = (homes[sender].user, homes[receiver].user);
        let to = format!("sip:{receiver}@a.example");
        let taking = ue(&mut lab, receiver, &["receive", "--dir", "inbox", "--count", "1"]);
        lab.wait_for(receiver, "out", "\"registered\"", PATIENCE);
        let giving = ue(&mut lab, sender, &["send", &to, "note.txt"]);
        assert_eq!(lab.process(giving).wait(PATIENCE), Some(0), "{}", lab.output(sender, "out"));
        assert_eq!(lab.process(taking).wait(PATIENCE), Some(0), "{}", lab.output(receiver, "out"));
        assert!(lab.output(sender, "out").contains(SEALED));
        assert_eq!(std::fs::read_to_string(lab.directory().join("inbox/note.txt")).expect("it"), note);
    }
}

fn homes_of(all: &[Home; 2]) -> Option<Lab> {
    homes(&all.each_ref())
}

/// The keep-alive without a connection, in the eyes of another implementation.
#[test]
fn the_way_is_kept_open_by_stun() {
    let bob = bob(Nat::Symmetric);
    let Some(mut lab) = homes(&[&bob]) else { return };
    lab.edit("bob.toml", ";transport=tcp", "");
    setting(&lab, "bob", "keep-alive = 1");
    let capture = lab.capture("operator", "subs");
    registered(&mut lab, "bob");
    let answers = |capture: &std::path::Path| {
        let fields = ["ip.dst", "udp.dstport", "stun.att.ipv4", "stun.att.port"];
        tshark(capture, "stun.type == 0x0101 && !_ws.malformed", &fields, &["-d", "udp.port==5060,stun"])
    };
    lab.until(PATIENCE, "three answers", |_| answers(&capture).len() >= 3);
    for answer in answers(&capture) {
        assert_eq!(answer[0], bob.outer());
        assert_eq!((&answer[0], &answer[1]), (&answer[2], &answer[3]), "it says where it came from");
    }
    assert!(!lab.output("bob", "out").contains("not-registered"));
}
