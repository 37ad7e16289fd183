//! What a newcomer gets of what was said before.

use crate::harness::*;
use carnet_room::{History, Limits, Member, MemberId, Settings};
use std::time::Duration;

fn room(history: History) -> World {
    let mut w = World::new(Settings { history, ..quiet() }, Limits::default());
    (1..=2).for_each(|id| w.enter(id));
    w
}

#[test]
fn a_newcomer_gets_what_was_said() {
    let mut w = room(History::default());
    for n in 0..5 {
        w.say(1 + n % 2, &format!("line {n}"));
        w.settle();
    }
    w.say_to(1, &uri(2), "not for others");
    w.send(1, wrap(&uri(1), ROOM, "application/im-iscomposing+xml", b"<isComposing/>"));
    w.settle();
    w.enter(3);
    w.say(1, "live");
    w.settle();
    assert_eq!(w.texts(3), ["line 0", "line 1", "line 2", "line 3", "line 4", "live"]);
    let (old, new) = (&w.clients[&3].inbox[0], &w.clients[&2].inbox[0]);
    assert_eq!(old, new, "sender and identifier are those of the original");
    assert_eq!(w.texts(2).last(), Some(&"live"));

    w.enter_as(4, Member { history: false, ..member(4) });
    w.settle();
    assert!(w.texts(4).is_empty());
}

#[test]
fn history_has_a_count() {
    let mut w = room(History { count: 3, ..History::default() });
    for n in 0..10 {
        w.say(1, &format!("line {n}"));
        w.settle();
    }
    w.enter(3);
    w.settle();
    assert_eq!(w.texts(3), ["line 7", "line 8", "line 9"]);
    assert_eq!(w.room.held_messages(), 3);
}

#[test]
fn history_has_an_age() {
    let mut w = room(History { age: Duration::from_secs(60), ..History::default() });
    w.say(1, "old");
    w.settle();
    w.now += Duration::from_secs(40);
    w.say(1, "younger");
    w.settle();
    w.now += Duration::from_secs(40);
    w.enter(3);
    w.settle();
    assert_eq!(w.texts(3), ["younger"]);
}

#[test]
fn history_has_a_size_and_takes_no_long_messages() {
    let mut w = room(History { octets: 10_000, ..History::default() });
    for letter in ["a", "b", "c"] {
        w.say(1, &letter.repeat(4000));
        w.settle();
    }
    w.say(1, &"d".repeat(20_000));
    w.settle();
    assert_eq!(w.texts(2).len(), 4);
    assert!(w.room.counters().held < 10_000);
    w.enter(3);
    w.settle();
    assert_eq!(w.texts(3), ["b".repeat(4000), "c".repeat(4000)]);
}

#[test]
fn a_room_without_history_holds_nothing() {
    let mut w = room(History { count: 0, ..History::default() });
    w.say(1, "gone");
    w.settle();
    assert_eq!((w.room.held_messages(), w.room.counters().held), (0, 0));
    let changed = Settings { history: History::default(), ..quiet() };
    w.room.configure(w.now, changed.clone());
    w.say(1, "kept");
    w.settle();
    assert_eq!(w.room.held_messages(), 1);
    w.room.configure(w.now, Settings { history: History { count: 0, ..changed.history }, ..changed });
    assert_eq!(w.room.held_messages(), 0);
}

#[test]
fn whoever_comes_in_the_middle_of_a_message_gets_all_of_it() {
    let mut w = room(History::default());
    w.client(1).step = 1000;
    let text = "x".repeat(30_000);
    w.say(1, &text);
    for _ in 0..10 {
        w.turn();
    }
    w.enter(3);
    w.enter_as(4, Member { history: false, ..member(4) });
    w.settle();
    assert_eq!(w.texts(3), [text.as_str()]);
    assert!(w.texts(4).is_empty(), "it wants nothing that began before it came");
    w.room.leave(w.now, MemberId(3));
    w.settle();
    assert_eq!(w.room.held_messages(), 1);
}
