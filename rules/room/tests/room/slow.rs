//! Members that do not keep up, and senders that are faster than the others.

use crate::harness::*;
use carnet_msrp::{Outgoing, Size, Status};
use carnet_room::{Event, History, Limits, MemberId, Reason, Settings};
use std::time::Duration;

/// A room with little patience: a second of stall, 100,000 octets a member.
fn room(n: u16) -> World {
    let settings = Settings {
        stall: Duration::from_secs(20),
        stall_octets: 100_000,
        history: History { count: 0, ..History::default() },
        ..quiet()
    };
    let mut w = World::new(settings, Limits { window: 20_000, ..Limits::default() });
    (1..=n).for_each(|id| w.enter(id));
    w.settle();
    w
}

fn stalled(w: &World, id: u16) -> bool {
    w.room.roster().iter().find(|m| m.id == MemberId(id)).unwrap().stalled
}

#[test]
fn a_member_that_reads_nothing_does_not_slow_the_others() {
    let mut w = room(4);
    w.client(4).stalled = true;
    let keys: Vec<_> = (0..30).map(|n| w.say(1, &format!("{n}"))).collect();
    w.settle();
    assert!(keys.iter().all(|k| w.status(1, *k) == Some(Status::OK)));
    let all: Vec<_> = (0..30).map(|n| n.to_string()).collect();
    assert_eq!((w.texts(2), w.texts(3), w.texts(4).len()), (as_str(&all), as_str(&all), 0));
    w.client(4).stalled = false;
    w.settle();
    assert_eq!(w.texts(4), as_str(&all), "it gets everything when it reads again");
    assert!(!w.events.iter().any(|e| matches!(e, Event::Released { .. })));
}

fn as_str(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

#[test]
fn a_member_that_takes_nothing_for_too_long_is_released() {
    let mut w = room(4);
    w.client(4).stalled = true;
    w.say(1, "before");
    w.settle();
    w.pass(5);
    assert!(!stalled(&w, 4));
    w.pass(6);
    assert!(stalled(&w, 4));
    w.say(1, "during");
    w.settle();
    assert!(!w.events.iter().any(|e| matches!(e, Event::Released { .. })));
    w.pass(10);
    assert!(w.has_event(&Event::Released { member: MemberId(4), reason: Reason::Slow }));
    assert_eq!(w.room.roster().len(), 3);
    w.say(1, "after");
    w.settle();
    assert_eq!(w.texts(2), ["before", "during", "after"]);
    assert_eq!((w.room.held_messages(), w.room.counters().held), (0, 0));
}

#[test]
fn a_stalled_member_that_reads_again_stays_and_misses_nothing() {
    let mut w = room(3);
    w.client(3).stalled = true;
    w.say(1, "one");
    w.settle();
    w.pass(12);
    assert!(stalled(&w, 3));
    w.send(1, wrap(&uri(1), ROOM, "application/im-iscomposing+xml", b"<isComposing/>"));
    w.say(1, "two");
    w.settle();
    w.client(3).stalled = false;
    w.settle();
    assert!(w.has_event(&Event::Resumed { member: MemberId(3) }));
    assert_eq!(w.texts(3), ["one", "two"], "a sign of life did not wait");
    assert_eq!(w.texts(2), ["one", "<isComposing/>", "two"]);
    w.pass(30);
    assert!(!w.events.iter().any(|e| matches!(e, Event::Released { .. })));
}

#[test]
fn too_many_octets_for_a_member_release_it() {
    let mut w = room(4);
    w.client(4).stalled = true;
    let mut said = 0;
    while w.room.roster().len() == 4 {
        w.say(1, &"x".repeat(3000));
        w.settle();
        said += 1;
        assert!(said < 60, "the limit is 100,000 octets");
    }
    assert!(said > 25, "{said}");
    assert!(
        w.events
            .iter()
            .any(|e| matches!(e, Event::Stalled { member: MemberId(4), queued } if *queued > 50_000))
    );
    assert!(w.has_event(&Event::Released { member: MemberId(4), reason: Reason::Slow }));
    w.settle();
    assert_eq!((w.texts(2).len(), w.texts(3).len()), (said, said));
    assert_eq!(w.room.counters().held, 0);
}

#[test]
fn a_sender_waits_when_the_greater_part_has_no_room() {
    let mut w = room(4);
    (2..=4).for_each(|id| w.client(id).step = 100);
    let body = wrap(&uri(1), ROOM, "application/octet-stream", &vec![b'x'; 500_000]);
    let key = w.stream(1, Outgoing::new("message/cpim", Size::Known(body.len() as u64)), body);
    let mut most = 0;
    while w.status(1, key).is_none() {
        assert!(w.turn());
        most = most.max(w.room.roster().iter().map(|m| m.queued).max().unwrap());
    }
    assert!(most < 100_000, "{most}");
    w.settle();
    for id in 2..=4 {
        assert_eq!(w.texts(id)[0].len(), 500_000);
    }
    assert!(!w.events.iter().any(|e| matches!(e, Event::Stalled { .. } | Event::Released { .. })));
}

#[test]
fn a_sender_waits_for_a_private_recipient_and_stops_when_that_stalls() {
    let mut w = room(3);
    w.client(2).step = 100;
    let body = wrap(&uri(1), &uri(2), "application/octet-stream", &vec![b'x'; 300_000]);
    let message = |body: &Vec<u8>| Outgoing::new("message/cpim", Size::Known(body.len() as u64));
    let key = w.stream(1, message(&body), body.clone());
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::OK));
    assert_eq!(w.texts(2)[0].len(), 300_000);

    w.client(2).stalled = true;
    let key = w.stream(1, message(&body), body);
    w.settle();
    assert_eq!(w.status(1, key), None, "it waits");
    w.pass(15);
    assert_eq!(w.status(1, key), Some(Status::STOP));
    let chat = w.say(1, "free again");
    w.settle();
    assert_eq!(w.status(1, chat), Some(Status::OK));
    assert_eq!(w.texts(3), ["free again"]);
    assert_eq!(w.room.roster().len(), 3, "nobody is released for what somebody else sends it alone");
}

#[test]
fn two_that_flood_each_other_get_through() {
    let mut w = room(2);
    w.clients.values_mut().for_each(|c| c.step = 1500);
    let body = |id| wrap(&uri(id), ROOM, "application/octet-stream", &vec![b'x'; 400_000]);
    let keys: Vec<_> = (1..=2)
        .map(|id| {
            (id, w.stream(id, Outgoing::new("message/cpim", Size::Known(body(id).len() as u64)), body(id)))
        })
        .collect();
    w.settle();
    for (id, key) in keys {
        assert_eq!(w.status(id, key), Some(Status::OK));
        assert_eq!(w.texts(id)[0].len(), 400_000);
    }
}

#[test]
fn a_member_that_never_answers_is_released() {
    let settings = quiet();
    let limits = Limits { answer: Duration::from_secs(30), ..Limits::default() };
    let mut w = World::new(settings, limits);
    (1..=3).for_each(|id| w.enter(id));
    w.settle();
    w.client(3).mute = true;
    w.say(1, "Hello");
    w.settle();
    assert_eq!(w.texts(3), ["Hello"]);
    w.pass(29);
    assert_eq!(w.room.roster().len(), 3);
    w.pass(2);
    assert!(w.has_event(&Event::Released { member: MemberId(3), reason: Reason::Silent }));
}
