//! Who may enter and what he may do: seals, lists of members, owners, administrators.

use crate::member::{Member, is};
use crate::relay::Relay;
use crate::stage::{ROOM, Settings, Stage};
use std::net::SocketAddr;

const SEALED: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nowners = [\"sip:alice@a.example\"]\n\
                      [[conference.conf.room]]\nuri = \"sip:board@conf.example\"\n";
const ADMITS: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nunsealed = \"admit\"\n";

#[test]
fn a_member_without_security_is_refused() {
    let stage = Stage::open(&Settings { rooms: SEALED, ..Settings::default() });
    let mut stranger = Member::stranger(&stage, "erin", ROOM);
    let refused = stranger.sees(&stage, "a refusal", |event| is(event, "refused"));
    assert_eq!(refused["status"], 488, "{refused}");
    assert!(refused["warning"].is_string(), "it is told why: {refused}");
    assert_eq!(stranger.ended(&stage), 1);
    assert_eq!(stage.room()["members"].as_array().map(Vec::len), Some(0));
}

/// RFC 4575 and the room's own words: who is sealed and who is not.
#[test]
fn a_member_without_security_is_admitted_and_everybody_can_see_it() {
    let stage = Stage::open(&Settings { rooms: ADMITS, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    alice.sees(&stage, "a sealed room", |event| is(event, "roster") && event["sealed"] == true);
    alice.mark();
    let stranger = Member::stranger(&stage, "erin", ROOM);
    stranger.sees(&stage, "a session", |event| is(event, "session"));
    let roster = alice.sees(&stage, "erin in the roster", |event| {
        is(event, "roster") && event["members"].as_array().is_some_and(|all| all.len() == 2)
    });
    assert_eq!(roster["sealed"], false, "{roster}");
    for member in roster["members"].as_array().unwrap() {
        let sealed = member["uri"] == "sip:alice@a.example";
        assert_eq!(member["sealed"], sealed, "{roster}");
    }
    alice.sees(&stage, "the room's words", |event| {
        is(event, "message")
            && event["notice"] == true
            && event["text"].as_str().is_some_and(|t| t.contains("erin"))
    });
    let room = stage.room();
    assert_eq!((&room["sealed"], &room["unsealed"]), (&false.into(), &1.into()), "{room}");
    alice.say("hello in the clear");
    stranger.hears(&stage, "hello in the clear");
}

#[test]
fn only_members_enter_a_room_of_members_and_whom_they_invite() {
    let rooms = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\npolicy = \"members\"\n\
                 owners = [\"sip:alice@a.example\"]\n";
    let stage = Stage::open(&Settings { rooms, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let mut carol = Member::start(&stage, "carol", ROOM, &[]);
    let left = carol.sees(&stage, "a refusal", |event| event["error"].is_string());
    assert!(left["reason"].is_string(), "{left}");
    assert_ne!(carol.ended(&stage), 0);
    // RFC 4579 §5.5: the focus calls whom alice refers to it.
    let listening = stage.command(&["ue", "-c", "bob.toml", "--json", "listen"]);
    let bob = Member::program(&stage, "bob", listening);
    bob.sees(&stage, "its registration", |event| is(event, "registered"));
    alice.say("/invite sip:bob@a.example");
    bob.sees(&stage, "that it is in", |event| is(event, "joined"));
    alice.say("welcome");
    bob.hears(&stage, "welcome");
}

#[test]
fn owners_and_administrators_put_members_out() {
    let stage = Stage::open(&Settings { rooms: SEALED, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let mut bob = Member::join(&stage, "bob", ROOM);
    let mut carol = Member::join(&stage, "carol", ROOM);
    bob.say("/kick sip:alice@a.example");
    let refused = bob.sees(&stage, "a refusal", |event| is(event, "referral") && event["done"] == true);
    assert!(refused["status"].as_u64().is_some_and(|status| status >= 400), "{refused}");
    alice.say("/kick sip:bob@a.example");
    bob.sees(&stage, "that it is out", |event| is(event, "left"));
    bob.ended(&stage);
    stage.ask(&["kick", ROOM, "sip:carol@a.example"]);
    let left = carol.sees(&stage, "that it is out", |event| is(event, "left"));
    assert!(left["reason"].is_string(), "it is told why: {left}");
    carol.ended(&stage);
    alice.sees(&stage, "that it is alone", |event| is(event, "roster") && event["count"] == 1);
    assert!(!stage.wish(&["kick", ROOM, "sip:nobody@a.example"]).status.success());
    assert!(!stage.wish(&["close", "sip:nowhere@conf.example"]).status.success());
    stage.ask(&["close", ROOM]);
    alice.sees(&stage, "that it is out", |event| is(event, "left"));
    alice.ended(&stage);
    // A fixed room is there again.
    let list = stage.ask(&["list"]);
    assert_eq!(list["conferences"][0]["rooms"].as_array().map(Vec::len), Some(2), "{list}");
    Member::join(&stage, "alice", ROOM);
}

/// A ticket names the room that it is for: on the way alice's call is turned into one to another room.
#[test]
fn a_ticket_for_another_room_is_refused() {
    let stage = Stage::prepared(&Settings { rooms: SEALED, ..Settings::default() });
    let (near, far) = (SocketAddr::from((stage.at(1, 90), 5060)), SocketAddr::from((stage.at(1, 1), 5060)));
    let _wire = Relay::open(near, far, |octets| {
        String::from_utf8_lossy(octets)
            .replace("sip:staff@conf.example", "sip:board@conf.example")
            .into_bytes()
    });
    let settings = std::fs::read_to_string(stage.path("alice.toml")).unwrap();
    let (direct, by_wire) = (format!("sip:{}", far.ip()), format!("sip:{}", near.ip()));
    stage.file("alice.toml", &settings.replace(&direct, &by_wire));
    let stage = stage.started();
    let mut alice = Member::start(&stage, "alice", ROOM, &[]);
    let left = alice.sees(&stage, "a refusal", |event| event["error"].is_string());
    assert!(left["reason"].is_string(), "{left}");
    assert_ne!(alice.ended(&stage), 0);
    assert!(stage.log("conf").contains("refused"), "{}", stage.log("conf"));
    let board = stage.ask(&["show", "sip:board@conf.example"]);
    assert_eq!(board["members"].as_array().map(Vec::len), Some(0), "{board}");
}

/// RFC 4579 §5.4: a call to the factory makes a room, whose URI comes in Contact, and which ends with its
/// last member.
#[test]
fn a_factory_makes_rooms() {
    let server = "factory = [\"sip:new@conf.example\"]";
    let stage = Stage::open(&Settings { server, ..Settings::default() });
    let alice = Member::join(&stage, "alice", "sip:new@conf.example");
    let joined = alice.sees(&stage, "joined", |event| is(event, "joined"));
    let room = joined["conference"].as_str().unwrap().to_owned();
    assert!(room.starts_with("sip:room-") && joined["sealed"] == true, "{joined}");
    let mut alice = alice;
    let bob = Member::join(&stage, "bob", &room);
    alice.say("in a room of our own");
    bob.hears(&stage, "in a room of our own");
    drop(bob);
    alice.say("/bye");
    assert_eq!(alice.ended(&stage), 0);
    stage.until("the room ends with its last member", |stage| {
        let list = stage.ask(&["list"]);
        list["conferences"][0]["rooms"].as_array().is_some_and(Vec::is_empty)
    });
}
