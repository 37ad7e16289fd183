//! Another file for a conference server with members in its rooms.

use crate::member::{Member, is};
use crate::stage::{ROOM, Settings, Stage};
use std::process::Command;

const ROOMS: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nsubject = \"before\"\n";
const BOARD: &str = "sip:board@conf.example";

fn reload(stage: &Stage) {
    let count = |stage: &Stage| stage.log("conf").matches("reading the configuration again").count();
    let before = count(stage);
    let pid = stage.pid("conf").to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    stage.until("it has read the file", |stage| count(stage) > before);
}

#[test]
fn rooms_come_change_and_go_while_members_talk() {
    let stage = Stage::open(&Settings { rooms: ROOMS, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let mut bob = Member::join(&stage, "bob", ROOM);
    let members = |stage: &Stage, room: &str| {
        let rooms = stage.ask(&["show", room]);
        rooms["members"].as_array().map_or(0, Vec::len)
    };

    // Another subject, a floor, no place for a third; and another room.
    stage.edit(
        "conf.toml",
        "subject = \"before\"\n",
        "subject = \"after\"\nmax-members = 2\nmoderated = 1\nfloor = [{ id = 1, algorithm = \"fcfs\" }]\n\
         [[conference.conf.room]]\nuri = \"sip:board@conf.example\"\n",
    );
    reload(&stage);
    stage.until("it is applied", |stage| {
        stage.log("conf").contains("conference.conf.room.0.max-members: 1000 → 2 (applied)")
    });
    assert!(!stage.log("conf").contains("needs a restart"), "{}", stage.log("conf"));
    alice.sees(&stage, "the subject", |event| is(event, "roster") && event["subject"] == "after");
    assert_eq!(members(&stage, ROOM), 2);
    let mut carol = Member::start(&stage, "carol", ROOM, &[]);
    carol.sees(&stage, "a refusal", |event| event["error"].is_string());
    assert_ne!(carol.ended(&stage), 0);
    // The media server has heard of it: nobody has the floor, so nobody may speak.
    alice.mark();
    alice.say("too early");
    alice.sees(&stage, "that it may not", |event| is(event, "error"));
    // Sealed, in the room that is new: the key server's tickets for it are opened.
    let dave = Member::join(&stage, "dave", BOARD);
    dave.sees(&stage, "a sealed room", |event| is(event, "roster") && event["sealed"] == true);

    // Everybody may speak again; the board is to go, and goes with its last member.
    stage.edit("conf.toml", "moderated = 1\nfloor = [{ id = 1, algorithm = \"fcfs\" }]\n", "");
    stage.edit("conf.toml", "[[conference.conf.room]]\nuri = \"sip:board@conf.example\"\n", "");
    reload(&stage);
    stage.until("it is gone", |stage| stage.log("conf").contains("conference.conf.room.1.uri: gone"));
    bob.mark();
    alice.say("and on it goes");
    bob.hears(&stage, "and on it goes");
    let mut erin = Member::start(&stage, "erin", BOARD, &[]);
    erin.sees(&stage, "a refusal", |event| event["error"].is_string());
    assert_ne!(erin.ended(&stage), 0);
    assert_eq!(members(&stage, BOARD), 1);
    let mut dave = dave;
    dave.say("/bye");
    assert_eq!(dave.ended(&stage), 0);
    stage.until("the room has ended", |stage| {
        let rooms = stage.ask(&["list"]);
        !rooms.to_string().contains(BOARD)
    });
    // A mistake changes nothing.
    stage.edit("conf.toml", "max-members = 2\n", "max-members = 0\n");
    reload(&stage);
    stage.until("it is refused", |stage| stage.log("conf").contains("not reloaded"));
    bob.mark();
    alice.say("still here");
    bob.hears(&stage, "still here");
}
