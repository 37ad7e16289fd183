//! A subscriber with two terminals in the other operator's network: both are called, each answers
//! with a key of its own, one talks.

use crate::lab::Lab;
use crate::network::{self, MEDIA_HOSTS, PATIENCE, carnet};
use crate::sealed::media_sockets;

const THERE: &str = "whoever of you is at home";
const BACK: &str = "the one you are talking to";

#[test]
fn one_of_two_terminals_has_the_call() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    lab.join("desk", "subs-b", "198.51.100.75/26");
    lab.join("desk", "keys", "203.0.113.75/24");
    network::start(&mut lab);
    let bob = network::ue(&mut lab, "bob", &["listen"]);
    let command = carnet(&lab, "desk", &["ue", "-c", "bob.toml", "--json", "listen"]);
    let desk = lab.start("desk", command);
    for terminal in ["bob", "desk"] {
        lab.wait_for(terminal, "out", "\"registered\"", PATIENCE);
    }
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    lab.process(alice).say(THERE);
    let heard = |lab: &Lab, who: &str| lab.output(who, "out").contains(THERE);
    lab.until(PATIENCE, "one of the terminals hears it", |lab| heard(lab, "bob") || heard(lab, "desk"));
    let (winner, name, other) = if heard(&lab, "bob") { (bob, "bob", "desk") } else { (desk, "desk", "bob") };
    lab.process(winner).say(BACK);
    lab.wait_for("alice", "out", BACK, PATIENCE);
    assert!(!heard(&lab, other), "only {name} has the call");
    // Both were called; the other one, if it has shown the call, knows that it is over.
    assert_eq!(lab.output("border-b", "err").matches("call-started").count(), 2);
    lab.until(PATIENCE, "the other is told", |lab| {
        let out = lab.output(other, "out");
        !out.contains("\"incoming\"") || out.contains("\"ended\"")
    });
    assert!(!lab.output(name, "out").contains("\"ended\""));
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
    lab.wait_for(name, "out", "\"ended\"", PATIENCE);
    for terminal in [bob, desk] {
        lab.process(terminal).signal("INT");
        assert_eq!(lab.process(terminal).wait(PATIENCE), Some(0));
    }
    for (gateway, ..) in MEDIA_HOSTS {
        lab.until(PATIENCE, "all media is given back", |lab| media_sockets(lab, gateway).is_empty());
    }
}
