//! Carnet's own clients, registered at Kamailio, sealed end to end through a gateway that Kamailio steers.

use crate::clients_lab::{
    BACK, THERE, call, calling, chat, ends, holds, member, settings, stage, start, told, unread, waiting,
};
use crate::lab_kamailio::{ALICE, ALICE_AT_HOME, Agent, BOB, BOB_AT_HOME, Shape, Stage};
use crate::network::PATIENCE;
use std::process::Stdio;

/// A sealed call: one TLS association from client to client, through the gateway, that nobody between
/// them is a part of; and nothing is left of it.
fn pass(caller: &Agent, called: &Agent, edit: impl FnOnce(&Stage)) {
    let Some(mut stage) = stage(Shape::default(), &[*caller, *called]) else { return };
    edit(&stage);
    let capture = stage.lab.capture("sip", "public");
    let (talker, listener) = call(&mut stage, caller.host, called.host);
    chat(&mut stage, (talker, caller.host), (listener, called.host));
    stage.lab.process(talker).say("/bye");
    ends(&mut stage, talker, caller.host, 0);
    told(&stage, called.host, "ended", 1);
    stage.idle();
    stage.lab.end_captures();
    unread(&stage, &capture, [caller.host, called.host], &caller.outer(), &[THERE, BACK]);
}

#[test]
fn sealed_calls_with_nobody_behind_a_translator() {
    pass(&ALICE, &BOB, |_| {});
}

#[test]
fn sealed_calls_from_behind_a_translator() {
    pass(&ALICE_AT_HOME, &BOB, |_| {});
}

#[test]
fn sealed_calls_to_somebody_behind_a_translator() {
    pass(&ALICE, &BOB_AT_HOME, |_| {});
}

#[test]
fn sealed_calls_between_two_behind_translators() {
    pass(&ALICE_AT_HOME, &BOB_AT_HOME, |_| {});
}

/// Signalling by datagrams where they are not too large (RFC 3261 §18.1.1).
#[test]
fn sealed_calls_without_a_connection_for_signalling() {
    for (alice, bob) in [(&ALICE, &BOB), (&ALICE_AT_HOME, &BOB), (&ALICE, &BOB_AT_HOME)] {
        pass(alice, bob, |stage| {
            for host in [alice.host, bob.host] {
                stage.lab.edit(&format!("{host}.toml"), ";transport=tcp", "");
            }
        });
    }
}

/// A file from each to the other, both behind translators: it arrives whole, and cannot be read on the way.
#[test]
fn files_go_both_ways() {
    const WORDS: &str = "nobody between the two ends reads this line. ";
    let clients = [ALICE_AT_HOME, BOB_AT_HOME];
    let Some(mut stage) = stage(Shape::default(), &clients) else { return };
    let capture = stage.lab.capture("sip", "public");
    for (from, to) in [(&clients[0], &clients[1]), (&clients[1], &clients[0])] {
        let name = format!("of-{}.txt", from.host);
        let text: String = (0..40_000).map(|n| format!("{n} {WORDS}\n")).collect();
        stage.lab.file(&name, &text);
        let inbox = format!("inbox-{}", to.host);
        let receiver = waiting(&mut stage, to.host, &["receive", "--dir", &inbox, "--count", "1"]);
        let uri = format!("sip:{}@example.com", to.user);
        let sender = start(&mut stage, from.host, &["send", &uri, &name]);
        ends(&mut stage, sender, from.host, 0);
        ends(&mut stage, receiver, to.host, 0);
        assert_eq!(member(&stage, from.host, "file-done", "size"), text.len());
        let got = std::fs::read_to_string(stage.lab.directory().join(&inbox).join(&name)).unwrap();
        assert!(got == text, "{name} is not what it was");
        stage.idle();
    }
    stage.lab.end_captures();
    let octets = std::fs::read(&capture).unwrap();
    assert!(octets.len() > 80_000 * WORDS.len(), "all of it went by here");
    assert!(!octets.windows(WORDS.len()).any(|w| w == WORDS.as_bytes()));
}

/// Kamailio in two networks of which one has IPv6 too. Who calls and whom the contact belongs to say between
/// which interfaces the gateway stands.
const BETWEEN: &[(&str, &str)] = &[
    (
        "listen=udp:192.0.2.1:5060\n",
        "mhomed=1\nlisten=tcp:10.1.0.2:5060\nlisten=tcp:[2001:db8::2]:5060\nlisten=udp:192.0.2.1:5060\n",
    ),
    (
        "\t$var(branch) = \"\";\n",
        "\t$var(branch) = \"\";\n\tif (is_request() && isflagset(FLT_FIRST)) {\n\
         \t\t$var(from) = \"inside\";\n\t\tif ($Ri == \"192.0.2.1\") {\n\t\t\t$var(from) = \"public\";\n\t\t}\n\
         \t\t$var(to) = \"inside\";\n\t\tif ($rd =~ \"^192\\.0\\.2\\.\") {\n\t\t\t$var(to) = \"public\";\n\t\t}\n\
         \t\t$var(nat) = $var(nat) + \" direction=\" + $var(from) + \" direction=\" + $var(to);\n\
         \t\tif ($rd =~ \":\") {\n\t\t\t$var(nat) = $var(nat) + \" address-family=IP6\";\n\t\t} else {\n\
         \t\t\t$var(nat) = $var(nat) + \" address-family=IP4\";\n\t\t}\n\t}\n",
    ),
];

/// The gateway stands in both; the inner interface has both families.
const INNER: &[(&str, &str)] = &[
    (
        "[gateway.agw.ng]\n",
        "[gateway.agw.realm.inside]\nv4 = \"10.1.0.2\"\nv6 = \"2001:db8::2\"\nports = \"30000-30127\"\n\n\
         [gateway.agw.ng]\n",
    ),
    (
        "[gateway.agw.ng.interface.public]\n",
        "[gateway.agw.ng.interface.public]\n[gateway.agw.ng.interface.inside]\n",
    ),
];

/// Alice and bob in networks that only the servers are in both of; each calls the other.
fn between(address: &str, length: u8, server: &str) {
    let shape = Shape { kamailio: BETWEEN, carnet: INNER, ..Shape::default() };
    let Some(mut stage) = stage(shape, &[ALICE]) else { return };
    stage.lab.join("bob", "inside", &format!("{address}/{length}"));
    settings(&stage.lab, "bob", "bob", &format!("{server}:5060;transport=tcp"), server);
    let mut reach = stage.lab.command("bob", "ping");
    let reach = reach.args(["-c", "1", "-W", "1", "192.0.2.10"]).stdin(Stdio::null()).output().unwrap();
    assert!(!reach.status.success(), "there is no other way");
    let bob = waiting(&mut stage, "bob", &["listen"]);
    for round in 1..=2 {
        let (from, to) = if round == 1 { ("alice", "bob") } else { ("bob", "alice") };
        let (talker, listener) = match round {
            1 => (calling(&mut stage, "alice"), bob),
            _ => {
                stage.lab.process(bob).signal("INT");
                ends(&mut stage, bob, "bob", 0);
                let alice = waiting(&mut stage, "alice", &["listen"]);
                (start(&mut stage, "bob", &["chat", "sip:alice@example.com"]), alice)
            }
        };
        for host in [from, to] {
            told(&stage, host, "sealed", 1);
        }
        holds(&stage, 1);
        chat(&mut stage, (talker, from), (listener, to));
        let remote = member(&stage, "bob", "sealed", "remote");
        assert!(remote.as_str().unwrap().starts_with(&format!("{server}:")), "{remote}");
        let remote = member(&stage, "alice", "sealed", "remote");
        assert!(remote.as_str().unwrap().starts_with("192.0.2.2:"), "{remote}");
        stage.lab.process(talker).say("/bye");
        ends(&mut stage, talker, from, 0);
        stage.lab.wait_for(to, "out", "\"ended\"", PATIENCE);
        stage.idle();
    }
}

#[test]
fn sealed_calls_between_two_networks() {
    between("10.1.0.11", 24, "10.1.0.2");
}

#[test]
fn sealed_calls_between_ipv4_and_ipv6() {
    between("2001:db8::11", 64, "[2001:db8::2]");
}
