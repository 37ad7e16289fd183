//! Entering a sealed room, and talking in it.

use crate::member::{Member, is};
use crate::stage::{ROOM, Settings, Stage};

const STAFF: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nsubject = \"The week\"\n\
                     owners = [\"sip:alice@a.example\"]\n";

#[test]
fn two_members_talk_in_a_sealed_room() {
    let stage = Stage::open(&Settings { rooms: STAFF, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let mut bob = Member::join(&stage, "bob", ROOM);
    alice.say("good morning");
    bob.hears(&stage, "good morning");
    bob.say("and to you");
    alice.hears(&stage, "and to you");
    for member in [&alice, &bob] {
        member.sees(&stage, "sealed", |event| is(event, "sealed"));
    }
    stage.until("both are sealed", |stage| {
        let room = stage.room();
        room["sealed"] == true && room["members"].as_array().is_some_and(|members| members.len() == 2)
    });
    for member in stage.room()["members"].as_array().unwrap() {
        assert!(
            member["media"][0]["sealed_with"].as_str().is_some_and(|with| with.starts_with("TLS")),
            "{member}"
        );
    }
    assert!(!stage.log("net").contains("good morning"));
    for member in [&mut alice, &mut bob] {
        member.say("/bye");
        assert_eq!(member.ended(&stage), 0);
    }
    stage.until("nobody is left", |stage| stage.room()["members"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn a_late_joiner_gets_history_and_private_words_stay_private() {
    let rooms = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nnotices = false\n\
                 history = { messages = 2 }\nreserved = { Pilot = \"sip:carol@a.example\" }\n";
    let stage = Stage::open(&Settings { rooms, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let mut bob = Member::join(&stage, "bob", ROOM);
    alice.say("/nick Boss");
    alice.sees(&stage, "its name", |event| is(event, "nickname") && event["ok"] == true);
    bob.say("/nick Boss");
    let clash = bob.sees(&stage, "a refusal", |event| is(event, "nickname") && event["ok"] == false);
    assert!(clash["reason"].is_string(), "{clash}");
    bob.sees(&stage, "her name", |event| {
        is(event, "roster") && event["members"].as_array().unwrap().iter().any(|m| m["nickname"] == "Boss")
    });
    bob.mark();
    bob.say("/nick Pilot");
    bob.sees(&stage, "another refusal", |event| is(event, "nickname") && event["ok"] == false);
    for text in ["one", "two", "three"] {
        alice.say(text);
        bob.hears(&stage, text);
    }
    bob.say("/msg Boss between us");
    let heard = alice.hears(&stage, "between us");
    assert_eq!((&heard["private"], &heard["from"]), (&true.into(), &"sip:bob@a.example".into()), "{heard}");
    let carol = Member::join(&stage, "carol", ROOM);
    alice.sees(&stage, "the name that is carol's", |event| {
        is(event, "roster") && event["members"].as_array().unwrap().iter().any(|m| m["nickname"] == "Pilot")
    });
    let old = carol.hears(&stage, "three");
    assert_eq!((&old["history"], &old["from"]), (&true.into(), &"sip:alice@a.example".into()), "{old}");
    assert!(old["time"].is_string(), "{old}");
    alice.say("four");
    let new = carol.hears(&stage, "four");
    assert_eq!(new["history"], false, "{new}");
    assert_eq!((carol.count("two"), carol.count("one"), carol.count("between us")), (1, 0, 0));
}

#[test]
fn a_file_goes_to_the_room() {
    let stage = Stage::open(&Settings { rooms: STAFF, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let octets: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(stage.path("plan.bin"), &octets).unwrap();
    let mut others = Vec::new();
    for name in ["bob", "carol"] {
        std::fs::create_dir(stage.path(&format!("inbox-{name}"))).unwrap();
        let member = Member::start(&stage, name, ROOM, &["--dir", &format!("inbox-{name}")]);
        member.sees(&stage, "joined", |event| is(event, "joined"));
        others.push(member);
    }
    alice.sees(&stage, "all", |event| is(event, "roster") && event["count"] == 3);
    alice.say("/send plan.bin");
    for member in &others {
        let file = member.sees(&stage, "the file", |event| is(event, "file"));
        let path = stage.path(file["path"].as_str().unwrap());
        assert!(std::fs::read(&path).unwrap() == octets, "whole at {}", path.display());
    }
}
