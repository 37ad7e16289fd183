//! What `carnet trace` makes of captures of real calls, held against what tshark sees in the same files.

use crate::lab::{Lab, tshark};
use crate::meddler::{with_body, without};
use crate::network::{self, BORDERS, MEDIA_HOSTS, PATIENCE};
use crate::tampering::meddled;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const THERE: &str = "the magpie counts what the eagle carries";

/// Captures at all borders and gateways, each network once.
fn captures(lab: &mut Lab) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for (host, left, right) in MEDIA_HOSTS.iter().chain(BORDERS) {
        for network in [left, right] {
            out.push(lab.capture(host, network));
        }
    }
    out
}

fn merged(lab: &Lab, captures: &[PathBuf]) -> PathBuf {
    let all = lab.directory().join("all.pcapng");
    let output = Command::new("mergecap").arg("-w").arg(&all).args(captures).output().expect("mergecap runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if let Some(keep) = std::env::var_os("CARNET_KEEP_CAPTURE") {
        std::fs::copy(&all, Path::new(&keep)).expect("a copy of the capture");
    }
    all
}

fn trace(files: &[&Path], arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_carnet"))
        .arg("trace")
        .args(files)
        .args(arguments)
        .output()
        .expect("carnet");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn sessions(file: &Path) -> Vec<Value> {
    let all: Value = serde_json::from_str(&trace(&[file], &["--format", "json", "--all"])).expect("JSON");
    all["sessions"].as_array().expect("sessions").clone()
}

fn of_kind<'a>(sessions: &'a [Value], kind: &str) -> Vec<&'a Value> {
    sessions.iter().filter(|session| session["kind"] == kind).collect()
}

fn entries<'a>(sessions: &'a [Value], protocol: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = sessions.iter().flat_map(|session| session["entries"].as_array().expect("entries"));
    all.filter(move |entry| entry["protocol"] == protocol)
}

#[test]
fn a_sealed_call_is_one_session_from_one_end_to_the_other() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    let captures = captures(&mut lab);
    network::start(&mut lab);
    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", "\"sealed\"", PATIENCE);
    }
    lab.process(alice).say(THERE);
    lab.wait_for("bob", "out", THERE, PATIENCE);
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    lab.end_captures();
    let all = merged(&lab, &captures);

    let seen = sessions(&all);
    let calls = of_kind(&seen, "call");
    assert_eq!(calls.len(), 1, "{:?}", seen.iter().map(|s| &s["title"]).collect::<Vec<_>>());
    let call = calls[0];
    assert_eq!(call["title"], "alice@a.example calls bob@b.example");
    // Everybody on the way is there and known for what it is.
    let roles: Vec<&str> =
        call["hosts"].as_array().unwrap().iter().map(|host| host["role"].as_str().unwrap()).collect();
    for (role, count) in
        [("UE alice", 1), ("UE bob", 1), ("IMS-ALG", 2), ("IBCF", 2), ("IMS-AGW", 2), ("TrGW", 2)]
    {
        assert_eq!(roles.iter().filter(|r| **r == role).count(), count, "{role} in {roles:?}");
    }
    let verdict = &call["findings"][0];
    assert_eq!(
        (&verdict["rule"], &verdict["weight"]),
        (&"verdict".into(), &"note".into()),
        "{}",
        call["findings"]
    );
    let sentence = verdict["what"].as_str().unwrap();
    assert!(sentence.contains("sealed end to end by a pre-shared key"), "{sentence}");
    assert!(sentence.contains("passed 5 hops"), "{sentence}");
    // Contexts are the call's, and none is left over.
    assert!(of_kind(&seen, "context").is_empty());
    // What was said is nowhere, nor what passwords prove.
    let text = trace(&[&all], &["--format", "html", "--all"]);
    assert!(!text.contains(THERE) && text.contains("response=(masked)"));

    // tshark sees the same in each of the files.
    for capture in &captures {
        let seen = sessions(capture);
        let count =
            |protocol: &str| -> u64 { entries(&seen, protocol).filter_map(|e| e["times"].as_u64()).sum() };
        let name = capture.display();
        // A packet may have several messages: one value each.
        let per_packet = |filter: &str, field: &str| -> u64 {
            let options = ["-E", "occurrence=a", "-E", "aggregator=,"];
            let rows = tshark(capture, filter, &[field], &options);
            rows.iter().flatten().flat_map(|value| value.split(',')).filter(|v| !v.is_empty()).count() as u64
        };
        assert_eq!(count("sip"), per_packet("sip", "sip.CSeq.seq"), "SIP in {name}");
        let hellos = |of: &str| -> BTreeSet<String> {
            entries(&seen, "tls")
                .filter(|entry| entry["message"]["event"] == of)
                .map(|entry| entry["message"]["random"].as_str().unwrap().to_owned())
                .collect()
        };
        let options = ["-d", "tcp.port==30000-39999,tls"];
        let told: BTreeSet<String> = tshark(
            capture,
            "tls.handshake.type == 1 && !(tcp.port in {2944, 5060})",
            &["tls.handshake.random"],
            &options,
        )
        .into_iter()
        .flatten()
        .filter(|random| !random.is_empty())
        .map(|random| random.replace(':', ""))
        .collect();
        assert_eq!(hellos("client_hello"), told, "ClientHellos in {name}");
        let transactions: BTreeSet<String> = entries(&seen, "h248")
            .flat_map(|entry| entry["message"]["requests"].as_array().unwrap())
            .map(|request| request["transaction"].to_string())
            .collect();
        let text = tshark(
            capture,
            "megaco.transaction == \"Request\"",
            &["megaco.transid"],
            &["-E", "occurrence=a", "-E", "aggregator=,"],
        );
        let megaco: BTreeSet<String> = text
            .iter()
            .flatten()
            .flat_map(|ids| ids.split(','))
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .collect();
        assert!(megaco.is_subset(&transactions), "H.248 in {name}: {megaco:?} and {transactions:?}");
    }
}

#[test]
fn who_took_the_keys_out_is_named() {
    let Some(mut lab) = Lab::new() else { return };
    let meddler = meddled(&mut lab);
    let mut files: Vec<PathBuf> = BORDERS
        .iter()
        .flat_map(|(host, left, right)| [(*host, *left), (*host, *right)])
        .map(|(host, network)| lab.capture(host, network))
        .collect();
    files.push(lab.capture("meddler", "peers"));
    meddler.now(|message| {
        let offer = message.starts_with("INVITE ") && message.contains("\r\nm=");
        if offer { with_body(&message, |body| without(body, "a=key-mgmt")) } else { message }
    });
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(1), "{}", lab.output("alice", "out"));
    lab.end_captures();
    let all = merged(&lab, &files);
    let seen = sessions(&all);
    let calls = of_kind(&seen, "call");
    assert_eq!(calls.len(), 1);
    let finding = &calls[0]["findings"][0];
    assert_eq!(finding["rule"], "key-mgmt-lost", "{}", calls[0]["findings"]);
    let what = finding["what"].as_str().unwrap();
    assert!(what.contains("192.0.2.9") && what.contains("took the key exchange"), "{what}");
    assert_eq!(finding["weight"], "failure");
    // Scripts hear of it.
    let status = Command::new(env!("CARGO_BIN_EXE_carnet"))
        .arg("trace")
        .arg(&all)
        .args(["--check", "--list"])
        .output()
        .expect("carnet");
    assert_eq!(status.status.code(), Some(1));
}
