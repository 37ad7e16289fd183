//! Connections that break: nothing acknowledged is lost, nothing is doubled.

use crate::harness::*;
use carnet_msrp::{Outgoing, Size, Status};
use carnet_room::{Event, Limits, MemberId, Reason};
use std::time::Duration;

#[test]
fn a_member_that_comes_back_gets_what_it_missed() {
    let mut w = World::with(3);
    w.say(1, "one");
    w.settle();
    w.cut(2);
    w.say(1, "two");
    w.say_to(3, &uri(2), "private");
    w.settle();
    assert!(!w.room.roster()[1].connected);
    assert!(w.room.join(w.now, MemberId(2), member(2)), "the call-back");
    w.connect(2, &uri(2));
    w.say(1, "three");
    w.settle();
    assert_eq!(w.texts(2), ["one", "two", "private", "three"]);
}

#[test]
fn what_was_not_acknowledged_is_sent_again_under_the_same_identifier() {
    let mut w = World::with(2);
    w.client(2).mute = true;
    w.say(1, "short");
    w.say(1, &"long ".repeat(2000));
    w.settle();
    assert_eq!(w.texts(2).len(), 2);
    w.cut(2);
    w.connect(2, &uri(2));
    w.settle();
    let inbox = &w.clients[&2].inbox;
    assert_eq!(inbox.len(), 4);
    assert_eq!((&inbox[0], &inbox[1]), (&inbox[2], &inbox[3]), "the member can tell");
    // Acknowledged now.
    w.cut(2);
    w.connect(2, &uri(2));
    w.settle();
    assert_eq!(w.texts(2).len(), 4);
}

#[test]
fn a_message_broken_off_is_continued() {
    let mut w = World::with(3);
    w.client(1).step = 1000;
    let text = "x".repeat(30_000);
    let message =
        || Outgoing { message_id: Some("m1".into()), ..Outgoing::new("message/cpim", Size::Unknown) };
    let body = wrap(&uri(1), ROOM, "text/plain", text.as_bytes());
    w.client(1).session.send_whole(message(), body.clone().into()).unwrap();
    for _ in 0..20 {
        w.turn();
    }
    w.cut(1);
    w.settle();
    assert!(w.texts(2).is_empty());
    w.connect(1, &uri(1));
    let key = w.client(1).session.send_whole(message(), body.into()).unwrap();
    w.say(1, "afterwards");
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::OK));
    for id in 2..=3 {
        let mut texts = w.texts(id);
        texts.sort_unstable();
        assert_eq!(texts, ["afterwards", text.as_str()]);
        assert_eq!(w.client(id).aborted, 0);
    }
}

#[test]
fn a_message_never_finished_is_given_up() {
    let limits =
        Limits { chunk: Duration::from_secs(60), absence: Duration::from_secs(300), ..Limits::default() };
    let mut w = World::new(quiet(), limits);
    (1..=2).for_each(|id| w.enter(id));
    w.client(1).step = 1000;
    let key = w.say(1, &"x".repeat(30_000));
    for _ in 0..10 {
        w.turn();
    }
    w.client(1).frozen = true;
    w.pass(59);
    assert_eq!(w.client(2).aborted, 0);
    w.pass(2);
    assert_eq!(w.client(2).aborted, 1);
    w.client(1).frozen = false;
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::STOP), "the rest comes too late");
    assert_eq!(w.room.held_messages(), 0);
}

#[test]
fn a_file_too_long_to_be_kept_is_missed_and_said_so() {
    let mut w = World::new(quiet(), Limits { keep: 10_000, ..Limits::default() });
    (1..=3).for_each(|id| w.enter(id));
    w.clients.values_mut().for_each(|c| c.step = 2000);
    let body = wrap(&uri(1), ROOM, "application/octet-stream", &vec![b'x'; 300_000]);
    let key = w.stream(1, Outgoing::new("message/cpim", Size::Known(body.len() as u64)), body);
    for _ in 0..50 {
        w.turn();
    }
    w.cut(2);
    w.say(3, "still there?");
    w.settle();
    w.connect(2, &uri(2));
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::OK));
    assert_eq!(w.texts(3)[0].len(), 300_000);
    assert_eq!(w.texts(2), ["still there?"]);
    let missed = |e: &&Event| matches!(e, Event::Missed { member: MemberId(2), .. });
    assert_eq!(w.events.iter().filter(missed).count(), 1);
    assert!(w.room.counters().held < 10_000);
}

#[test]
fn a_member_that_does_not_come_back_is_released() {
    let mut w = World::with(3);
    w.cut(3);
    assert!(w.room.join(w.now, MemberId(4), member(4)), "one that never comes");
    let limit = Limits::default().absence.as_secs();
    w.pass(limit - 2);
    assert_eq!(w.room.roster().len(), 4);
    w.pass(4);
    for id in [3, 4] {
        assert!(w.has_event(&Event::Released { member: MemberId(id), reason: Reason::Absent }), "{id}");
    }
    assert_eq!(w.room.roster().len(), 2);
}

#[test]
fn a_number_belongs_to_one_user() {
    let mut w = World::with(2);
    assert!(!w.room.join(w.now, MemberId(2), member(3)));
    assert_eq!(w.room.roster()[1].uri, uri(2));
    let mut w = World::new(quiet(), Limits { members: 1, ..Limits::default() });
    w.enter(1);
    assert!(!w.room.join(w.now, MemberId(2), member(2)), "full");
}
