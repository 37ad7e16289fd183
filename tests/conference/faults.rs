//! What survives: media servers and the conference server killed at any moment, the way between them cut, a
//! member that does not read.

use crate::member::{Member, is};
use crate::relay::Relay;
use crate::stage::{PATIENCE, ROOM, Settings, Stage};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const STAFF: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nowners = [\"sip:alice@a.example\"]\n\
                     notices = false\n";
const FLOOR: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nnotices = false\n\
                     floor = [{ id = 1 }]\n";

/// Says numbered texts from alice until `until` holds, each when the last one was acknowledged; every one of
/// them has to come to bob once, in order.
fn steadily(stage: &Stage, alice: &mut Member, bob: &Member, fault: impl FnOnce(), until: impl Fn() -> bool) {
    let (mut number, mut fault, started) = (0, Some(fault), Instant::now());
    loop {
        let text = format!("number {number}");
        // Its own text comes back to it when it is acknowledged. What it says while there is no connection is
        // refused at once, and said again.
        loop {
            let own = |event: &Value| is(event, "message") && event["own"] == true && event["text"] == text;
            let before = errors(alice);
            alice.say(&text);
            let refused = |all: &[Value]| all.iter().filter(|event| is(event, "error")).count() > before;
            if !alice.sees_or(stage, &text, own, refused).is_null() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        number += 1;
        if number == 20
            && let Some(fault) = fault.take()
        {
            // What a media server has taken for bob and bob has not read yet dies with the server
            // (docs/conference.md); what is said afterwards may not be lost.
            bob.hears(stage, &text);
            fault();
        }
        if number > 40 && until() {
            break;
        }
        assert!(started.elapsed() < 3 * PATIENCE, "it goes on in time");
    }
    let last = format!("number {}", number - 1);
    bob.hears(stage, &last);
    let texts = |member: &Member| -> Vec<String> {
        let said = member.events().into_iter().filter(|event| is(event, "message"));
        said.filter_map(|event| event["text"].as_str().map(str::to_owned)).collect()
    };
    let expected: Vec<_> = (0..number).map(|n| format!("number {n}")).collect();
    assert_eq!(texts(bob), expected, "none lost, none doubled, in order");
}

fn errors(member: &Member) -> usize {
    member.events().iter().filter(|event| is(event, "error")).count()
}

fn called_back(member: &Member) -> bool {
    member.events().iter().any(|event| is(event, "called-back"))
}

#[test]
fn members_of_a_media_server_that_died_are_called_back_by_another() {
    let mut stage = Stage::open(&Settings { rooms: STAFF, media: 2, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let bob = Member::join(&stage, "bob", ROOM);
    let on = stage.room()["gateway"].as_str().unwrap().to_owned();
    let pid = stage.pid(&on);
    let fault = || kill(pid);
    steadily(&stage, &mut alice, &bob, fault, || called_back(&bob));
    stage.reap(&on);
    assert_ne!(stage.room()["gateway"], on.as_str());
    assert_eq!(stage.room()["members"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_media_server_that_comes_back_has_its_rooms_again() {
    let mut stage = Stage::open(&Settings { rooms: FLOOR, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let mut bob = Member::join(&stage, "bob", ROOM);
    alice.say("/floor 1");
    alice.sees(&stage, "granted", |event| is(event, "granted"));
    bob.say("/floor 1");
    bob.sees(&stage, "a place in the queue", |event| is(event, "queued"));
    stage.until("the server knows who waits", |stage| {
        stage.room()["floors"][0]["waiting"].as_array().is_some_and(|list| list.len() == 1)
    });
    for member in [&mut alice, &mut bob] {
        member.mark();
    }
    stage.end("mrfp-1", "KILL");
    stage.start("mrfp-1");
    for member in [&alice, &bob] {
        member.sees(&stage, "called back", |event| is(event, "called-back"));
        for medium in ["messages", "floors"] {
            member.sees(&stage, medium, |event| is(event, "sealed") && event["medium"] == medium);
        }
    }
    // The floor and its queue are as they were.
    stage.until("the floor is where it was", |stage| {
        let floor = &stage.room()["floors"][0];
        floor["holders"].as_array().is_some_and(|list| list.len() == 1)
            && floor["waiting"].as_array().is_some_and(|list| list.len() == 1)
    });
    alice.say("/release 1");
    bob.sees(&stage, "granted", |event| is(event, "granted"));
    alice.say("still here");
    bob.hears(&stage, "still here");
}

#[test]
fn a_conference_server_that_died_takes_its_rooms_up_again() {
    let mut stage = Stage::open(&Settings { rooms: FLOOR, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let mut bob = Member::join(&stage, "bob", ROOM);
    alice.say("/floor 1");
    alice.sees(&stage, "granted", |event| is(event, "granted"));
    bob.say("/floor 1");
    bob.sees(&stage, "a place in the queue", |event| is(event, "queued"));
    stage.until("the server knows who waits", |stage| {
        stage.room()["floors"][0]["waiting"].as_array().is_some_and(|list| list.len() == 1)
    });
    for member in [&mut alice, &mut bob] {
        member.mark();
    }
    // Bob, number 2, waits.
    stage.on_disk(",2.2.");
    stage.end("conf", "KILL");
    stage.start("conf");
    for member in [&alice, &bob] {
        member.sees(&stage, "called back", |event| is(event, "called-back"));
        for medium in ["messages", "floors"] {
            member.sees(&stage, medium, |event| is(event, "sealed") && event["medium"] == medium);
        }
    }
    stage.until("members and floors are as they were", |stage| {
        let room = stage.room();
        let floor = &room["floors"][0];
        room["members"].as_array().is_some_and(|list| list.len() == 2)
            && floor["holders"].as_array().is_some_and(|list| list.len() == 1)
            && floor["waiting"].as_array().is_some_and(|list| list.len() == 1)
    });
    alice.say("/release 1");
    bob.sees(&stage, "granted", |event| is(event, "granted"));
    bob.say("and again");
    alice.hears(&stage, "and again");
    // What the old one had at the media server is gone.
    let audit = stage.wait_audit("mrfp-1", 1);
    assert_eq!(audit, 1);
}

#[test]
fn a_room_goes_on_while_its_servers_do_not_hear_each_other() {
    let stage = Stage::prepared(&Settings { rooms: STAFF, ..Settings::default() });
    let (near, far) = (SocketAddr::from((stage.at(2, 90), 2944)), SocketAddr::from((stage.at(2, 3), 2944)));
    let wire = Relay::open(near, far, |octets| octets.to_vec());
    let settings = std::fs::read_to_string(stage.path("mrfp-1.toml")).unwrap();
    stage.file("mrfp-1.toml", &settings.replace(&far.to_string(), &near.to_string()));
    let stage = stage.started();
    let mut alice = Member::join(&stage, "alice", ROOM);
    let bob = Member::join(&stage, "bob", ROOM);
    let lost = || stage.log("conf").contains("gateway-lost");
    steadily(&stage, &mut alice, &bob, || wire.cut(), lost);
    let mut bob = bob;
    for member in [&mut alice, &mut bob] {
        member.mark();
    }
    wire.heal();
    stage.until("the media server is back", |stage| stage.log("conf").matches("gateway-up").count() > 1);
    for member in [&alice, &bob] {
        member.sees(&stage, "a new line", |event| is(event, "sealed"));
    }
    alice.say("we hear each other");
    bob.hears(&stage, "we hear each other");
    let mut carol = Member::join(&stage, "carol", ROOM);
    carol.say("so do I");
    bob.hears(&stage, "so do I");
    assert_eq!(stage.wait_audit("mrfp-1", 1), 1, "one context, no leak");
}

#[test]
fn a_member_that_does_not_read_is_released_and_nobody_waits_for_it() {
    let rooms = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nnotices = false\n\
                 stall-seconds = 2\nstall-octets = 65536\nhistory = { messages = 0 }\n";
    let stage = Stage::open(&Settings { rooms, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let bob = Member::join(&stage, "bob", ROOM);
    let carol = Member::join(&stage, "carol", ROOM);
    stage
        .until("all are there", |stage| stage.room()["members"].as_array().is_some_and(|all| all.len() == 3));
    carol.signal("STOP");
    let (block, mut number) = ("x".repeat(30_000), 0);
    let started = Instant::now();
    while !stage.log("conf").contains("slow") {
        let text = format!("{number} {block}");
        alice.say(&text);
        bob.hears(&stage, &text);
        number += 1;
        assert!(started.elapsed() < 3 * PATIENCE, "it is released in time");
    }
    carol.signal("CONT");
    stage.until("it is out", |stage| stage.room()["members"].as_array().is_some_and(|all| all.len() == 2));
    carol.sees(&stage, "that it is out", |event| is(event, "left") || is(event, "waiting"));
    alice.say("good bye");
    bob.hears(&stage, "good bye");
}

/// Only the way between a member and its floors breaks: it comes back by itself, with what it held and what it
/// said meanwhile, through the border that has to let it in anew.
#[test]
fn a_floor_control_connection_that_broke_is_made_anew() {
    let stage = Stage::open(&Settings { rooms: FLOOR, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let mut bob = Member::join(&stage, "bob", ROOM);
    alice.say("/floor 1");
    alice.sees(&stage, "granted", |event| is(event, "granted"));
    bob.say("/floor 1");
    bob.sees(&stage, "a place in the queue", |event| is(event, "queued"));
    let (first, other) = (floors_at(&stage, &alice), floors_at(&stage, &bob));
    for member in [&mut alice, &mut bob] {
        member.mark();
    }
    if !sever(&first) {
        eprintln!("skipped: connections cannot be cut here (that takes root and INET_DIAG_DESTROY)");
        return;
    }
    alice.sees(&stage, "its floors again", |event| is(event, "floors-back"));
    let second = floors_at(&stage, &alice);
    assert_ne!(first["client_random"], second["client_random"], "another TLS association");
    assert_eq!(first["psk_identity"], second["psk_identity"], "under the key of the line");
    let floor = &stage.room()["floors"][0];
    assert_eq!(
        (&floor["holders"], &floor["waiting"]),
        (&serde_json::json!([1]), &serde_json::json!([2])),
        "{floor}"
    );
    alice.say("/release 1");
    alice.sees(&stage, "released", |event| is(event, "released"));
    bob.sees(&stage, "granted", |event| is(event, "granted"));
    // What is asked for while there is no connection is done when there is one.
    bob.mark();
    assert!(sever(&other));
    bob.say("/release 1");
    bob.sees(&stage, "released", |event| is(event, "released"));
    bob.sees(&stage, "its floors again", |event| is(event, "floors-back"));
    alice.say("nothing happened");
    bob.hears(&stage, "nothing happened");
    for event in alice.events().iter().chain(&bob.events()) {
        let calm =
            ["no-floors", "waiting", "called-back", "left", "error"].iter().all(|name| !is(event, name));
        assert!(calm, "{event}");
    }
}

/// The last floor control connection of a member, as it reported it.
fn floors_at(stage: &Stage, member: &Member) -> Value {
    let floors = |event: &Value| is(event, "sealed") && event["medium"] == "floors";
    member.sees(stage, "floors sealed", floors);
    member.events().into_iter().rfind(floors).expect("it was there")
}

/// Cuts the connection of a member to where this says it goes, at both ends; whether that could be done.
fn sever(sealed: &Value) -> bool {
    let remote = sealed["remote"].as_str().expect("an address");
    let cut = std::process::Command::new("ss").args(["-KtnH", "dst", remote]).output();
    cut.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(remote))
}

fn kill(pid: u32) {
    let _ = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
}
