//! Who gets what (RFC 7701 §6).

use crate::harness::*;
use carnet_msrp::{Outgoing, Size, Status};
use carnet_room::{Event, Limits, Member, MemberId, Settings};

#[test]
fn a_message_to_the_room_reaches_all_others() {
    let mut w = World::with(3);
    let key = w.say(1, "Hello");
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::OK));
    assert_eq!((w.texts(1).len(), w.texts(2), w.texts(3)), (0, vec!["Hello"], vec!["Hello"]));
    let got = &w.clients[&2].inbox[0];
    assert_eq!((got.from.as_str(), got.to.as_str()), (uri(1).as_str(), ROOM));
    let accepted =
        |e: &Event| matches!(e, Event::Accepted { from: MemberId(1), private: false, recipients: 2, .. });
    assert!(w.events.iter().any(accepted));
    assert_eq!(w.room.counters().delivered, 2);
}
