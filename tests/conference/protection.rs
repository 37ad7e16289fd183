//! Who can read Mp, by which the keys of all legs go; and keys that the conference server makes itself.

use crate::member::{Member, is};
use crate::relay::Relay;
use crate::stage::{ROOM, Settings, Stage};
use std::net::SocketAddr;

const STAFF: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nnotices = false\n";
/// What can be read in H.248 as text.
const WORDS: [&str; 4] = ["!/3 <", "crntls/psk", "crnroom/", "sip:alice@a.example"];

/// Two members talk; all that passed between the conference server and its media server meanwhile.
fn mp_of_a_talk(tls: bool) -> Vec<u8> {
    let stage = Stage::prepared(&Settings { rooms: STAFF, tls, ..Settings::default() });
    let (near, far) = (SocketAddr::from((stage.at(2, 4), 2944)), SocketAddr::from((stage.at(2, 3), 2944)));
    let wire = Relay::open(near, far, |octets| octets.to_vec());
    stage.edit("mrfp-1.toml", &far.to_string(), &near.to_string());
    let stage = stage.started();
    let mut alice = Member::join(&stage, "alice", ROOM);
    let bob = Member::join(&stage, "bob", ROOM);
    alice.say("good morning");
    bob.hears(&stage, "good morning");
    stage.until("both are sealed", |stage| {
        let room = stage.room();
        let with = |member: &serde_json::Value| {
            let with = member["media"][0]["sealed_with"].as_str();
            with.is_some_and(|with| with.starts_with("TLS"))
        };
        room["sealed"] == true
            && room["members"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(with))
    });
    wire.passed()
}

fn reads(octets: &[u8], word: &str) -> bool {
    octets.windows(word.len()).any(|part| part == word.as_bytes())
}

/// Keys are written in hexadecimal.
fn reads_a_key(octets: &[u8]) -> bool {
    octets.split(|octet| !octet.is_ascii_hexdigit()).any(|run| run.len() >= 32)
}

#[test]
fn nobody_reads_mp_over_tls() {
    let plain = mp_of_a_talk(false);
    let shown = String::from_utf8_lossy(&plain);
    assert!(reads_a_key(&plain), "{shown}");
    for word in WORDS {
        assert!(reads(&plain, word), "`{word}` is not in {shown}");
    }
    let sealed = mp_of_a_talk(true);
    // Some handshake and two Adds with their answers passed.
    assert!(sealed.len() > 2_000, "{} octets", sealed.len());
    assert!(!reads_a_key(&sealed));
    for word in WORDS {
        assert!(!reads(&sealed, word), "`{word}` can be read");
    }
}

/// The one whose name sorts first is asked first, and refuses: the other has the room.
#[test]
fn a_media_server_that_takes_no_key_is_passed_over() {
    let stage = Stage::prepared(&Settings { rooms: STAFF, media: 2, ..Settings::default() });
    stage.edit("mrfp-1.toml", "control-protected = true\n", "");
    let stage = stage.started();
    let mut alice = Member::join(&stage, "alice", ROOM);
    let bob = Member::join(&stage, "bob", ROOM);
    alice.say("good morning");
    bob.hears(&stage, "good morning");
    stage.until("the room is sealed on the other", |stage| {
        let room = stage.room();
        room["gateway"] == "mrfp-2" && room["sealed"] == true
    });
    let refused = stage.log("conf").lines().filter(|line| line.contains("gateway-refused")).count();
    assert!(refused >= 1, "{}", stage.log("conf"));
    assert_eq!(stage.wait_audit("mrfp-1", 0), 0);
}

/// A caller is told so at once, whether the media server does not take its key or the conference server does
/// not send it; and who runs the two reads why.
#[test]
fn without_a_protected_way_nobody_is_sealed() {
    for (file, setting, leaves) in
        [("mrfp-1.toml", "control-protected = true\n", true), ("conf.toml", "protected = true\n", false)]
    {
        let stage = Stage::prepared(&Settings { rooms: STAFF, ..Settings::default() });
        let (near, far) =
            (SocketAddr::from((stage.at(2, 4), 2944)), SocketAddr::from((stage.at(2, 3), 2944)));
        let wire = Relay::open(near, far, |octets| octets.to_vec());
        stage.edit("mrfp-1.toml", &far.to_string(), &near.to_string());
        stage.edit(file, setting, "");
        let stage = stage.started();
        let mut alice = Member::start(&stage, "alice", ROOM, &[]);
        let left = alice.sees(&stage, "a refusal", |event| event["error"].is_string());
        // A border says 500: another way through it may be well (RFC 3261 §16.7, step 6).
        assert!(left["reason"].as_str().is_some_and(|why| why.contains("500 No media server")), "{left}");
        assert_ne!(alice.ended(&stage), 0);
        let log = stage.log("conf");
        let refused = log.lines().find(|line| line.contains("sip:alice@a.example") && line.contains("503"));
        assert!(refused.is_some_and(|line| line.contains("504") && line.contains("protected")), "{log}");
        assert_eq!(reads_a_key(&wire.passed()), leaves, "the key is on the wire");
        assert_eq!(stage.room()["members"].as_array().map(Vec::len), Some(0));
        assert_eq!(stage.wait_audit("mrfp-1", 0), 0);
    }
}

/// A room with alice, and bob, whom the server is about to call with a ticket of its own making.
fn calls_bob(stage: Stage) -> (Stage, Member, Member) {
    let issue = "key-file = \"mrfc.psk\"\nissue = true\n";
    stage.edit("conf.toml", "key-file = \"mrfc.psk\"\n", issue);
    let stage = stage.started();
    let alice = Member::join(&stage, "alice", ROOM);
    let listening = stage.command(&["ue", "-c", "bob.toml", "--json", "listen"]);
    let bob = Member::program(&stage, "bob", listening);
    bob.sees(&stage, "its registration", |event| is(event, "registered"));
    stage.ask(&["invite", ROOM, "sip:bob@a.example"]);
    (stage, alice, bob)
}

/// Mode 3 of RFC 6043 §4.1.1: the conference server makes the ticket for whom it calls, and the key server
/// opens it for the callee.
#[test]
fn whom_the_server_calls_is_sealed_by_a_ticket_of_its_own() {
    let (stage, mut alice, mut bob) =
        calls_bob(Stage::prepared(&Settings { rooms: STAFF, ..Settings::default() }));
    let joined = bob.sees(&stage, "that it is in", |event| is(event, "joined"));
    assert_eq!(joined["sealed"], true, "{joined}");
    alice.say("welcome");
    bob.hears(&stage, "welcome");
    bob.say("thank you");
    alice.hears(&stage, "thank you");
    stage.until("both are sealed", |stage| {
        let room = stage.room();
        room["sealed"] == true && room["members"].as_array().is_some_and(|all| all.len() == 2)
    });
}

/// A key server that takes no tickets of others opens none of them: bob is not called in, nor in clear.
#[test]
fn a_ticket_of_its_own_is_for_a_key_server_that_takes_them() {
    let stage = Stage::prepared(&Settings { rooms: STAFF, ..Settings::default() });
    stage.edit("net.toml", "accept-self-issued = true\n", "");
    let (stage, _alice, bob) = calls_bob(stage);
    stage.until("bob is given up", |stage| stage.log("conf").contains("not-called"));
    assert!(!bob.events().iter().any(|event| is(event, "joined")));
    assert_eq!(stage.room()["members"].as_array().map(Vec::len), Some(1));
}
