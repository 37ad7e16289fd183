//! Subscribers of two operators, each behind a translator of addresses of its own: four borders and four
//! gateways between them, of which two join what comes from both sides.

use crate::lab::{Lab, tshark};
use crate::nat::{SEALED, member};
use crate::nat_lab::{Nat, on, translate};
use crate::network::{self, PATIENCE};
use std::collections::BTreeSet;

const LINE: &str = "the heron is on the roof";

/// Puts a translator where a user was, and the user behind it.
fn behind(lab: &mut Lab, user: &str, network: &str, address: &str, number: u8, nat: Nat) {
    let (translator, inside) = (format!("nat-{user}"), format!("in-{}", &user[..1]));
    let (door, inner) = (format!("10.77.{number}.1"), format!("10.77.{number}.2"));
    on(lab, user, &["ip", "addr", "del", &format!("{address}/26"), "dev", &format!("e-{network}")]);
    lab.network(&inside);
    lab.join(user, &inside, &format!("{inner}/24"));
    lab.join(&translator, &inside, &format!("{door}/24"));
    lab.join(&translator, network, &format!("{address}/26"));
    on(lab, user, &["ip", "route", "add", "198.51.100.0/24", "via", &door]);
    translate(lab, &translator, &format!("e-{network}"), nat, &inner);
}

#[test]
fn two_operators_and_two_translators() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    behind(&mut lab, "alice", "subs-a", "198.51.100.10", 1, Nat::Symmetric);
    behind(&mut lab, "bob", "subs-b", "198.51.100.74", 2, Nat::Restricted);
    let captures = [("agw-a", "subs-a"), ("trgw-a", "peers"), ("agw-b", "subs-b")]
        .map(|(host, network)| lab.capture(host, network));
    network::start(&mut lab);
    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", SEALED, PATIENCE);
    }
    lab.process(alice).say(LINE);
    lab.wait_for("bob", "out", LINE, PATIENCE);
    lab.process(alice).say("/bye");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "out"));
    lab.end_captures();
    let random = member(&lab.output("alice", "out"), "sealed", "client_random");
    assert_eq!(member(&lab.output("bob", "out"), "sealed", "client_random"), random);
    for capture in &captures {
        let hellos: BTreeSet<String> = tshark(
            capture,
            "tls.handshake.type == 1",
            &["tls.handshake.random"],
            &["-d", "tcp.port==30000-39999,tls"],
        )
        .into_iter()
        .flatten()
        .map(|value| value.replace(':', ""))
        .collect();
        assert_eq!(hellos, BTreeSet::from([random.as_str().expect("a random").to_owned()]));
        let octets = std::fs::read(capture).expect("a capture");
        assert!(!octets.windows(LINE.len()).any(|w| w == LINE.as_bytes()), "{LINE} can be read");
    }
}
