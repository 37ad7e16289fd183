//! Whole exchanges, checked by a program that shares no code with this crate: its own parser, HMAC
//! from Python's library, AES from OpenSSL.

#![allow(clippy::unwrap_used, reason = "tests")]

use carnet_mikey::exchange::{ResolveRequest, TicketRequest};
use carnet_mikey::{Identity, Profile, Psk, Received, Tpk, request_init};
use carnet_wire::{Random, SeededRandom, hex};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

/// The six messages of a call and all keys that went in or came out.
fn transcript(run: usize, profile: &Profile, seed: u64) -> String {
    let rng = &mut SeededRandom::new(seed);
    let wall = UNIX_EPOCH + Duration::from_millis(1_790_000_000_125);
    let id = |s| Identity::from_uri(s).unwrap();
    let (alice, bob, kms) = (id("sip:alice@a.example"), id("tel:+15550100"), id("sip:kms.example"));
    // Keys of one and of two segments of the PRF.
    let mut long = [0; 48];
    rng.fill(&mut long);
    let (alice_psk, bob_psk, tpk) = (Psk::generate(rng), Psk::new(&long).unwrap(), Tpk::generate(rng));

    let (pending, request) = request_init(profile, wall, rng, &alice, b"alice", &alice_psk, &kms, &bob);
    let asked = TicketRequest::parse(profile, wall, &request).unwrap();
    let asked = asked.verify(&alice_psk, &alice, &kms).unwrap();
    let policy = profile.policy(wall, &kms, &alice, &[&bob]);
    let granted = asked.grant(policy, &tpk, b"tpk-1", wall, rng).unwrap().octets;
    let ticket = pending.response(&granted, wall).unwrap();
    let (offered, offer) = ticket.offer(profile, wall, rng);
    let received = Received::parse(profile, wall, &offer).unwrap();
    let (pending, question) = received.resolve_init(wall, rng, &bob, b"bob", &bob_psk, &kms);
    let asked = ResolveRequest::parse(profile, wall, &question).unwrap();
    let asked = asked.verify(&bob_psk, &bob, &kms).unwrap();
    let opened = asked.open(profile, &tpk, wall).unwrap();
    let resolved = asked.answer(&opened, &bob, wall, rng).unwrap().octets;
    let (keyed, answer) = pending.response(&received, &resolved, wall, rng).unwrap();
    assert!(offered.answer(&answer, wall).unwrap().tek == keyed.tek);

    let mut out = String::new();
    for (name, octets) in [
        ("alice", alice_psk.expose()),
        ("bob", bob_psk.expose()),
        ("tpk", tpk.expose()),
        ("request_init", &request),
        ("request_resp", &granted),
        ("transfer_init", &offer),
        ("resolve_init", &question),
        ("resolve_resp", &resolved),
        ("transfer_resp", &answer),
        ("tek", keyed.tek.expose()),
    ] {
        writeln!(out, "{run} {name} {}", hex::encode(octets)).unwrap();
    }
    out
}

#[test]
fn another_reading_of_the_rfc_agrees() {
    let there = |program: &str, arg: &str| Command::new(program).arg(arg).output().is_ok();
    if !there("python3", "--version") || !there("openssl", "version") {
        eprintln!("skipped: python3 or openssl is not installed");
        return;
    }
    let plain = |p: Profile| Profile { forking: false, ..p };
    let profiles = [
        Profile::default(),
        plain(Profile::default()),
        Profile::interop_128(),
        plain(Profile::interop_128()),
    ];
    let transcripts: String =
        profiles.iter().enumerate().map(|(i, profile)| transcript(i, profile, 1 + i as u64)).collect();
    let mut python = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second_opinion.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(transcripts.as_bytes()).unwrap();
    let out = python.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "4 agreed");
    assert!(out.status.success());
}
