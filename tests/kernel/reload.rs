//! Realms that come and go at a gateway whose kernel carries a call.

use crate::lab::Lab;
use crate::network::{self, PATIENCE, Shape};
use crate::ways;
use serde_json::Value;

/// What the gateway's file says of the realm of its subscribers.
const ACCESS: &str = "[gateway.agw-a.realm.access]\nv4 = \"198.51.100.2\"\nports = \"30000-39999\"\n";

fn reload(lab: &mut Lab, from: &str, to: &str, says: &str) {
    lab.edit("agw-a.toml", from, to);
    let index = lab.named("agw-a");
    let before = lab.output("agw-a", "err").matches(says).count();
    lab.process(index).signal("HUP");
    lab.until(PATIENCE, says, |lab| lab.output("agw-a", "err").matches(says).count() > before);
}

/// Somebody says something, and the other one hears it.
fn talk(lab: &mut Lab, from: usize, to: &str, text: &str) {
    lab.process(from).say(text);
    lab.wait_for(to, "out", text, PATIENCE);
}

/// The ports that the contexts of the gateway have at the subscribers' side.
fn ports(lab: &Lab) -> Vec<u16> {
    let mut all = Vec::new();
    for context in ways::contexts(lab, "agw-a") {
        collect(&context, &mut all);
    }
    all
}

fn collect(value: &Value, into: &mut Vec<u16>) {
    match value {
        Value::String(text) => {
            into.extend(text.strip_prefix("198.51.100.2:").and_then(|port| port.parse::<u16>().ok()));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, into)),
        Value::Object(members) => members.values().for_each(|value| collect(value, into)),
        _ => {}
    }
}

fn is_carried(lab: &Lab) -> bool {
    let engines = ways::engines(lab, "agw-a");
    !engines.is_empty() && engines.iter().all(|(engine, _)| engine == "kernel")
}

#[test]
fn realms_come_and_go_around_a_call_that_the_kernel_carries() {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, &Shape::default());
    ways::start(&mut lab);
    let bob = network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", "\"sealed\"", PATIENCE);
    }
    talk(&mut lab, alice, "bob", "before");
    lab.until(PATIENCE, "the kernel carries it", is_carried);
    let old = ports(&lab);
    assert!(!old.is_empty() && old.iter().all(|port| (30_000..40_000).contains(port)), "{old:?}");

    // Other ports, and a realm more.
    let moved = ACCESS.replace("30000-39999", "41000-41099");
    let more = moved.clone() + "[gateway.agw-a.realm.spare]\nv4 = \"10.1.0.2\"\nports = \"42000-42099\"\n";
    reload(
        &mut lab,
        ACCESS,
        &more,
        "gateway.agw-a.realm.access.ports: \"30000-39999\" → \"41000-41099\" (applied)",
    );
    talk(&mut lab, alice, "bob", "with other ports");
    talk(&mut lab, bob, "alice", "and back");
    assert!(is_carried(&lab));
    assert_eq!(ports(&lab), old, "the call keeps its own");
    // It goes, and the one that nobody has used.
    reload(&mut lab, &more, "", "gateway.agw-a.realm.access.v4: gone");
    talk(&mut lab, alice, "bob", "without the realm");
    talk(&mut lab, bob, "alice", "and back again");
    assert!(is_carried(&lab));
    assert!(!lab.output("agw-a", "err").contains("(needs a restart)"));
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
    lab.until(PATIENCE, "the gateway gives everything back", |lab| ways::contexts(lab, "agw-a").is_empty());

    // Nobody has an address there now.
    let refused = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    assert_ne!(lab.process(refused).wait(PATIENCE), Some(0), "{}", lab.output("alice", "out"));
    // Until it is back: the kernel carries the next call by the new ports.
    reload(
        &mut lab,
        "[gateway.agw-a.realm.core]",
        &format!("{moved}[gateway.agw-a.realm.core]"),
        "gateway.agw-a.realm.access.v4: new",
    );
    let again = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    talk(&mut lab, again, "bob", "with the realm again");
    lab.until(PATIENCE, "the kernel carries it", is_carried);
    let new = ports(&lab);
    assert!(!new.is_empty() && new.iter().all(|port| (41_000..41_100).contains(port)), "{new:?}");
    lab.process(again).signal("INT");
    assert_eq!(lab.process(again).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
    lab.until(PATIENCE, "the gateway gives everything back", |lab| ways::contexts(lab, "agw-a").is_empty());
    assert!(!lab.output("agw-a", "err").contains("panicked"));
}
