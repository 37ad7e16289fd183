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
        member.say("/quit");
        assert_eq!(member.ended(&stage), 0);
    }
    stage.until("nobody is left", |stage| stage.room()["members"].as_array().is_some_and(Vec::is_empty));
}
