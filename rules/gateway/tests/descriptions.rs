//! Whatever stands in Local and Remote, a command is carried out whole or refused, and what the engine is
//! told fits together.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use proptest::prelude::*;
use rig::{OWN, PEER, Rig};

/// One line of each kind in its place, mostly right ones, and now and then a line that is wrong.
fn descriptor(local: bool) -> impl Strategy<Value = String> {
    let ip = if local { "$" } else { "198.51.100.20" };
    let address = prop_oneof![8 => Just(format!("c=IN IP4 {ip}")), 1 => Just("c=IN IP6 $".to_owned()), 1 => Just(String::new())];
    let port = if local { "$" } else { "9" };
    let transport = prop_oneof![
        Just("TCP"),
        Just("TCP/TLS"),
        Just("TCP/MSRP"),
        Just("TCP/TLS/MSRP"),
        Just("tcp/tls/bfcp"),
        Just("TCP/BFCP"),
    ];
    let media = transport.prop_map(move |transport| format!("m=message {port} {transport} *"));
    let own = if local { "$" } else { PEER };
    let digest = prop_oneof![20 => Just(own), 2 => Just(OWN), 1 => Just("AA")];
    let hash = prop_oneof![20 => Just("SHA-256"), 1 => Just("sha-512"), 1 => Just("md5")];
    let fingerprint = (hash, digest).prop_map(|(hash, digest)| format!("a=fingerprint:{hash} {digest}"));
    let fingerprints = proptest::collection::vec(fingerprint, 0..3);
    let path = prop_oneof![
        4 => Just(String::new()),
        4 => Just("a=path:msrps://a.example:2855/s;tcp".to_owned()),
        2 => Just("a=path:msrp://[2001:db8::1]:9/s;tcp msrp://b.example/x;tcp".to_owned()),
        1 => Just("a=path:msrp://$:$/s;tcp".to_owned()),
        1 => "a=path:[a-z:/;@\\[\\]$ ]{0,24}",
    ];
    let setup = prop_oneof![Just("active"), Just("passive"), Just("actpass"), Just("holdconn")];
    let setup = setup.prop_map(|how| format!("a=setup:{how}"));
    let wrong = prop_oneof![
        Just("m=audio 9 UDP 0".to_owned()),
        Just("c=IN IP4 nobody".to_owned()),
        Just("a=setup:x".to_owned()),
        "[a-z]=[ -z]{0,12}",
    ];
    let wrong = prop_oneof![12 => Just(String::new()), 1 => wrong];
    (address, media, fingerprints, path, setup, wrong).prop_map(
        |(address, media, more, path, setup, wrong)| {
            let lines = [vec!["v=0".to_owned(), address, media], more, vec![path, setup, wrong]].concat();
            let lines: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            lines.join("\n").replace(['{', '}'], "")
        },
    )
}

fn both() -> impl Strategy<Value = (String, String)> {
    (descriptor(true), prop_oneof![1 => Just(String::new()), 3 => descriptor(false)])
}

fn check(rig: &Rig) {
    for hole in rig.engine.holes.values() {
        let Some(settings) = &hole.settings else { continue };
        assert_eq!(settings.edge.is_some(), hole.tls);
        let known = settings.edge.iter().flat_map(|edge| &edge.fingerprints);
        assert!(known.into_iter().all(|f| f.to_ascii_uppercase().starts_with("SHA-")), "{settings:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    #[test]
    fn what_they_say_is_done_or_refused(
        first in both(),
        second in both(),
        signal in prop_oneof![Just(""), Just(", Signals { tlsbsc/EstBNC }")],
    ) {
        let mut rig = Rig::alg();
        let media = |(local, remote): &(String, String)| {
            let remote = if remote.is_empty() { String::new() } else { format!(", Remote {{\n{remote}\n}}\n") };
            format!("Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive }}, Local {{\n{local}\n}}\n{remote} }} }}")
        };
        let reply = rig.ask(&format!("Context = $ {{ Add = $ {{ {}{signal} }} }}", media(&first)));
        check(&rig);
        if reply.contains("Error") {
            rig.assert_empty();
            return Ok(());
        }
        let context = reply.split("Context = ").nth(1).unwrap().split(' ').next().unwrap();
        // Everything that was left open has been chosen.
        let told = reply.split("Local {").nth(1).unwrap_or_default();
        prop_assert!(!told.contains("fingerprint:SHA-256 $"), "{}", reply);
        let before = rig.ask("Context = * { AuditValue = * { Audit { Media } } }");
        let changed = rig.ask(&format!("Context = {context} {{ Modify = * {{ {}{signal} }} }}", media(&second)));
        check(&rig);
        if changed.contains("Error") {
            let after = rig.ask("Context = * { AuditValue = * { Audit { Media } } }");
            let said = |reply: &str| reply.split_once(' ').unwrap().1.to_owned();
            prop_assert_eq!(said(&before), said(&after));
        }
        rig.ask(&format!("Context = {context} {{ W-Subtract = * {{ Audit {{ }} }} }}"));
        rig.assert_empty();
    }
}
