//! Members that share no code with Carnet: what another make of client finds at the server.

use crate::member::{Member, is};
use crate::stage::{ROOM, Settings, Stage};

const OPEN: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nunsealed = \"admit\"\nnotices = false\n\
                    moderated = 1\nfloor = [{ id = 1, seconds = 60 }]\n";
const CLEAR: &str =
    "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nunsealed = \"admit\"\nnotices = false\n";

/// RFC 7701 and RFC 8855 as they are written: messages to all and to one, names, floors.
#[test]
fn a_client_of_another_make() {
    let stage = Stage::open(&Settings { rooms: CLEAR, ..Settings::default() });
    let mut one = Member::stranger(&stage, "erin", ROOM);
    let session = one.sees(&stage, "a session", |event| is(event, "session"));
    assert!(session["chatroom"].as_str().is_some_and(|list| list.contains("nickname")), "{session}");
    let answered = one.sees(&stage, "an answer", |event| is(event, "answered"));
    assert_eq!(answered["isfocus"], true, "{answered}");
    let mut two = Member::stranger(&stage, "frank", ROOM);
    two.sees(&stage, "a session", |event| is(event, "session"));
    let sent = |member: &Member, text: &str| {
        let sent = member.sees(&stage, text, |event| is(event, "sent") && event["text"] == text);
        let answer =
            member.sees(&stage, "an answer", |event| is(event, "answer") && event["tid"] == sent["tid"]);
        answer["status"].as_u64().unwrap()
    };
    one.say("say good morning");
    assert_eq!(sent(&one, "good morning"), 200);
    let heard = two.hears(&stage, "good morning");
    assert!(heard["from"].as_str().is_some_and(|from| from.contains("sip:erin@a.example")), "{heard}");
    assert!(heard["to"].as_str().is_some_and(|to| to.contains(ROOM)), "{heard}");
    one.say("nick Harbour");
    assert_eq!(sent(&one, "Harbour"), 200);
    // RFC 7701 §7.1: somebody has it already.
    two.say("nick Harbour");
    assert_eq!(sent(&two, "Harbour"), 425);
    two.say("to sip:erin@a.example for you alone");
    assert_eq!(sent(&two, "for you alone"), 200);
    let heard = one.hears(&stage, "for you alone");
    assert!(heard["to"].as_str().is_some_and(|to| to.contains("sip:erin@a.example")), "{heard}");
    // RFC 7701 §6.2: nobody of that name is here.
    two.say("to sip:nobody@a.example hello");
    assert_eq!(sent(&two, "hello"), 404);
    stage.until("the name is known to the server", |stage| {
        stage.room()["members"].as_array().unwrap().iter().any(|member| member["nickname"] == "Harbour")
    });
    one.say("bye");
    one.sees(&stage, "its BYE answered", |event| is(event, "bye"));
    stage.until("one is left", |stage| stage.room()["members"].as_array().is_some_and(|all| all.len() == 1));
    stage.ask(&["close", ROOM]);
    two.sees(&stage, "that it is put out", |event| is(event, "left"));
}

#[test]
fn who_has_the_floor_may_speak() {
    let stage = Stage::open(&Settings { rooms: OPEN, ..Settings::default() });
    let mut one = Member::stranger(&stage, "erin", ROOM);
    let mut two = Member::stranger(&stage, "frank", ROOM);
    for member in [&one, &two] {
        let floors = member.sees(&stage, "floors", |event| is(event, "floors"));
        assert!(floors["floorctrl"].as_str().is_some_and(|roles| roles.contains("s-only")), "{floors}");
        assert!(floors["floorid"].as_str().is_some_and(|id| id.starts_with("1 mstrm:")), "{floors}");
    }
    let status = |member: &Member, text: &str| {
        let sent = member.sees(&stage, text, |event| is(event, "sent") && event["text"] == text);
        let answer =
            member.sees(&stage, "an answer", |event| is(event, "answer") && event["tid"] == sent["tid"]);
        answer["status"].as_u64().unwrap()
    };
    one.say("say too early");
    assert_eq!(status(&one, "too early"), 403);
    one.say("request 1");
    one.sees(&stage, "granted", |event| event["status"] == "Granted");
    two.say("request 1");
    two.sees(&stage, "waiting", |event| event["status"] == "Accepted" || event["status"] == "Pending");
    stage.until("the server knows who has the floor", |stage| {
        let floor = &stage.room()["floors"][0];
        floor["holders"].as_array().is_some_and(|list| list.len() == 1)
            && floor["waiting"].as_array().is_some_and(|list| list.len() == 1)
    });
    one.say("say now I may");
    assert_eq!(status(&one, "now I may"), 200);
    two.hears(&stage, "now I may");
    two.say("say and I");
    assert_eq!(status(&two, "and I"), 403);
    one.say("release");
    two.sees(&stage, "granted", |event| event["status"] == "Granted");
    two.say("say and now I");
    assert_eq!(status(&two, "and now I"), 200);
    one.hears(&stage, "and now I");
    assert_eq!(one.count("and I"), 0);
}
