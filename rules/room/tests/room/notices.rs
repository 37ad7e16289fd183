//! What the room says in words.

use crate::harness::*;
use carnet_room::{Limits, Member, MemberId, Settings};
use std::time::{Duration, UNIX_EPOCH};

fn room() -> World {
    World::new(Settings { subject: Some("Planning".into()), ..Settings::new(ROOM) }, Limits::default())
}

#[test]
fn the_room_says_who_comes_and_goes() {
    let mut w = room();
    w.room.set_date(w.now, UNIX_EPOCH + Duration::from_secs(951_782_400));
    w.enter_as(1, Member { nickname: Some("Alice".into()), sealed: true, ..member(1) });
    w.enter_as(2, Member { sealed: true, ..member(2) });
    w.settle();
    assert_eq!(
        w.texts(1),
        [
            "You are in the conference sip:room@conf.example.com (Planning), alone so far. \
             Your leg is sealed. Every leg of this conference is sealed.",
            "sip:user2@example.com joined (sealed).",
        ]
    );
    assert!(w.texts(2)[0].contains("with Alice."));
    let got = &w.clients[&1].inbox[0];
    assert_eq!((got.from.as_str(), got.to.as_str()), (ROOM, ROOM));
    assert_eq!(w.client(1).dates[0].as_deref(), Some("2000-02-29T00:00:00Z"));
    w.client(2).closed = true;
    w.room.leave(w.now, MemberId(2));
    w.settle();
    assert_eq!(w.texts(1).last(), Some(&"sip:user2@example.com left."));
    assert_eq!(w.room.held_messages(), 0, "notices are not kept");
}

#[test]
fn the_room_says_whether_every_leg_is_sealed() {
    let mut w = room();
    w.enter_as(1, Member { sealed: true, ..member(1) });
    w.enter(2);
    w.settle();
    let open = "This conference is not sealed: sip:user2@example.com is not.";
    assert_eq!(w.texts(1).last(), Some(&open));
    assert!(w.texts(2).last().unwrap().ends_with(open));
    let seen = w.texts(1).len();
    w.enter_as(3, Member { sealed: true, ..member(3) });
    w.settle();
    assert_eq!(w.texts(1).len(), seen + 1, "only that somebody came");
    w.room.set_sealed(w.now, MemberId(2), true);
    w.settle();
    for id in 1..=3 {
        assert_eq!(w.texts(id).last(), Some(&"Every leg of this conference is sealed."), "{id}");
    }
}

#[test]
fn a_quiet_room_says_what_it_is_told_to_say() {
    let mut w = World::with(2);
    w.room.announce(w.now, "This conference will end in 5 minutes.");
    w.settle();
    for id in 1..=2 {
        assert_eq!(w.texts(id), ["This conference will end in 5 minutes."]);
    }
}
