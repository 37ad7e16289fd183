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
