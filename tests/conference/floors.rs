//! Rooms in which the holder of a floor alone may speak.

use crate::member::{Member, is};
use crate::stage::{ROOM, Settings, Stage};

const CHAIRED: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nowners = [\"sip:alice@a.example\"]\n\
                       moderated = 1\n\
                       floor = [{ id = 1, algorithm = \"chair\", chair = \"sip:alice@a.example\" }]\n";

#[test]
fn the_floor_goes_where_the_chair_gives_it() {
    let stage = Stage::open(&Settings { rooms: CHAIRED, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let mut bob = Member::join(&stage, "bob", ROOM);
    let mut carol = Member::join(&stage, "carol", ROOM);
    for member in [&alice, &bob, &carol] {
        member.sees(&stage, "floors sealed", |event| is(event, "sealed") && event["medium"] == "floors");
    }
    bob.say("not yet");
    bob.sees(&stage, "a refusal", |event| is(event, "error"));
    bob.say("/floor 1 a question");
    alice.sees(&stage, "the request", |event| {
        is(event, "floor") && !event["queue"].as_array().unwrap().is_empty()
    });
    carol.say("/floor 1");
    alice.sees(&stage, "both requests", |event| {
        is(event, "floor") && event["queue"].as_array().unwrap().len() == 2
    });
    alice.say("/grant bob");
    bob.sees(&stage, "granted", |event| is(event, "granted"));
    bob.say("why is it so?");
    for member in [&alice, &carol] {
        member.hears(&stage, "why is it so?");
    }
    carol.say("I know");
    carol.sees(&stage, "a refusal", |event| is(event, "error"));
    // Who has it and is gone has it no more.
    bob.signal("KILL");
    carol.sees(&stage, "a free floor", |event| {
        is(event, "floor")
            && event["holders"].as_array().unwrap().is_empty()
            && event["queue"].as_array().unwrap().len() == 1
    });
    alice.say("/grant carol");
    carol.sees(&stage, "granted", |event| is(event, "granted"));
    carol.say("because");
    alice.hears(&stage, "because");
    alice.say("/revoke carol");
    carol.sees(&stage, "revoked", |event| is(event, "revoked"));
    carol.mark();
    carol.say("and also");
    carol.sees(&stage, "a refusal", |event| is(event, "error"));
    assert_eq!((alice.count("not yet"), alice.count("I know"), alice.count("and also")), (0, 0, 0));
}

#[test]
fn an_administrator_decides_in_the_place_of_the_chair() {
    let stage = Stage::open(&Settings { rooms: CHAIRED, ..Settings::default() });
    let mut bob = Member::join(&stage, "bob", ROOM);
    let mut carol = Member::join(&stage, "carol", ROOM);
    for member in [&bob, &carol] {
        member.sees(&stage, "floors sealed", |event| is(event, "sealed") && event["medium"] == "floors");
    }
    let user = |who: &str| {
        let room = stage.room();
        let member =
            room["members"].as_array().unwrap().iter().find(|m| m["member"].as_str().unwrap().contains(who));
        member.unwrap_or_else(|| panic!("{who} in {room:#}"))["user"].as_u64().unwrap()
    };
    let waits = |stage: &Stage, user: u64| {
        let room = stage.room();
        room["floors"]
            .as_array()
            .unwrap()
            .iter()
            .any(|floor| floor["waiting"].as_array().unwrap().contains(&user.into()))
    };
    let floor = "/api/v1/rooms/sip%3Astaff%40conf.example/floors/1";
    let decide = |user: u64, decision: &str| {
        stage.api("POST", floor, &serde_json::json!({ "user": user, "decision": decision })).0
    };
    // The chair is not there, so nobody would decide.
    bob.say("/floor 1 a question");
    let number = user("bob");
    stage.until("bob waits", |stage| waits(stage, number));
    assert_eq!((decide(number, "revoke"), decide(number, "perhaps"), decide(999, "grant")), (409, 422, 409));
    assert_eq!(decide(number, "grant"), 200);
    bob.sees(&stage, "granted", |event| is(event, "granted"));
    bob.say("why is it so?");
    carol.hears(&stage, "why is it so?");
    carol.say("/floor 1");
    let other = user("carol");
    stage.until("carol waits", |stage| waits(stage, other));
    assert_eq!(decide(other, "deny"), 200);
    carol.sees(&stage, "denied", |event| is(event, "denied"));
    // Muted, whoever has the floor; and not any more.
    let member = "/api/v1/rooms/sip%3Astaff%40conf.example/members/sip%3Abob%40a.example";
    let mute = |muted: bool| stage.api("PATCH", member, &serde_json::json!({ "muted": muted })).0;
    assert_eq!(mute(true), 200);
    stage.until("it is told", |stage| {
        let room = stage.room();
        room["members"].as_array().unwrap().iter().any(|m| m["user"] == number && m["muted"] == true)
    });
    // The media server has heard of it when it refuses; and when it does not any more.
    bob.mark();
    let start = std::time::Instant::now();
    while !bob.events().iter().any(|event| is(event, "error")) {
        assert!(start.elapsed() < crate::stage::PATIENCE, "bob is never refused");
        bob.say("muted?");
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    assert_eq!(mute(false), 200);
    while carol.count("heard?") == 0 {
        assert!(start.elapsed() < crate::stage::PATIENCE * 2, "bob is never heard again");
        bob.say("heard?");
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    assert_eq!(decide(number, "revoke"), 200);
    bob.sees(&stage, "revoked", |event| is(event, "revoked"));
}
