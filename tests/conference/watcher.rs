//! The roster as sipp watches it and libxml2 judges it: neither is ours.

use std::process::{Command, Stdio};

use crate::member::Member;
use crate::stage::{ROOM, Settings, Stage};

const SCENARIO: &str = include_str!("sipp/watcher.xml");

/// The schema of RFC 4575 §6.
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/roster/tests/fixtures/rfc4575-6.xsd");

/// Carol may watch: she is named as a member, and the network says who she is.
const STAFF: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nsubject = \"The week\"\n\
                     policy = \"members\"\nowners = [\"sip:alice@a.example\"]\n\
                     members = [\"sip:bob@a.example\", \"sip:carol@a.example\"]\n";

fn absent(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let absent = !found.is_ok_and(|output| output.status.success());
    assert!(!absent || std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "{program} is required here");
    if absent {
        eprintln!("skipped: {program} is not installed");
    }
    absent
}

#[test]
fn a_watcher_of_another_make() {
    if absent("sipp") || absent("xmllint") {
        return;
    }
    let stage = Stage::open(&Settings { rooms: STAFF, ..Settings::default() });
    let _alice = Member::join(&stage, "alice", ROOM);
    stage.file("watcher.xml", SCENARIO);
    let (server, here) = (stage.at(2, 3).to_string(), stage.at(2, 30).to_string());
    let mut sipp = Command::new("sipp")
        .args([&format!("{server}:5060"), "-sf", "watcher.xml", "-i", &here, "-p", "5060", "-m", "1"])
        .args(["-nostdin", "-timeout", "60", "-trace_msg", "-message_file", "watcher.log"])
        .args(["-trace_err", "-error_file", "watcher.err"])
        .current_dir(stage.directory())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let log = |stage: &Stage| std::fs::read_to_string(stage.path("watcher.log")).unwrap_or_default();
    stage.until("it has the first document", |stage| log(stage).contains("CSeq: 1 NOTIFY"));
    let _bob = Member::join(&stage, "bob", ROOM);
    let done = sipp.wait().unwrap();
    let errors = std::fs::read_to_string(stage.path("watcher.err")).unwrap_or_default();
    let log = log(&stage);
    assert!(done.success(), "{errors}\n{log}");
    let documents: Vec<&str> = log
        .split("<?xml")
        .skip(1)
        .filter_map(|rest| rest.split_inclusive("</conference-info>").next())
        .collect();
    assert!(documents.len() >= 3, "{log}");
    for (number, document) in documents.iter().enumerate() {
        let name = format!("{number}.conference-info");
        stage.file(&name, &format!("<?xml{document}"));
        let verdict = Command::new("xmllint")
            .args(["--nonet", "--noout", "--schema", SCHEMA])
            .arg(stage.path(&name))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verdict.stderr);
        assert!(verdict.status.success(), "{said}\n{document}");
        assert!(document.contains("seal:seal"), "{document}");
    }
}
