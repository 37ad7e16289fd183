//! Who may say what to whom (RFC 7701 §6).

use crate::harness::*;
use carnet_msrp::{Event as SessionEvent, FailureReason, Outgoing, Size, Status};
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
    assert_eq!(w.room.held_messages(), 1, "history has it");
}

#[test]
fn a_private_message_reaches_one() {
    let mut w = World::with(3);
    for to in [uri(2), "im:user2@EXAMPLE.com".to_owned(), "sips:%75ser2@example.com;x=y".to_owned()] {
        let key = w.say_to(1, &to, "psst");
        w.settle();
        assert_eq!(w.status(1, key), Some(Status::OK), "{to}");
    }
    assert_eq!((w.texts(2).len(), w.texts(3).len()), (3, 0));
    assert_eq!(w.clients[&2].inbox[0].to, uri(2));
    assert_eq!(w.room.held_messages(), 0, "not for history");
}

#[test]
fn a_private_message_to_nobody_is_answered_404() {
    let mut w = World::with(2);
    for to in [uri(9).as_str(), "sip:user2@elsewhere.example", uri(1).as_str(), "garbage", "Nick"] {
        let key = w.say_to(1, to, "psst");
        w.settle();
        assert_eq!(w.status(1, key), Some(Status::NOT_FOUND), "{to}");
    }
    assert_eq!(w.texts(2).len(), 0);
}

#[test]
fn private_messages_need_the_room_and_the_recipient() {
    let mut w = World::with(2);
    w.enter_as(3, Member { private: false, ..member(3) });
    let key = w.say_to(1, &uri(3), "psst");
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::NO_PRIVATE_MESSAGES));
    w.room.configure(w.now, Settings { private: false, ..quiet() });
    let key = w.say_to(1, &uri(2), "psst");
    // A notification about a message that was delivered is no private message.
    let told = w.send(1, wrap(&uri(1), &uri(2), "message/imdn+xml", b"<imdn/>"));
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::FORBIDDEN));
    assert_eq!(w.status(1, told), Some(Status::OK));
    assert_eq!((w.texts(2), w.texts(3).len()), (vec!["<imdn/>"], 0));
}

#[test]
fn a_member_speaks_for_itself_only() {
    let mut w = World::with(3);
    for from in [uri(2), ROOM.to_owned(), "sip:user1@elsewhere.example".to_owned(), "x".to_owned()] {
        for to in [ROOM, uri(3).as_str()] {
            let key = w.send(1, wrap(&from, to, "text/plain", b"I am somebody else"));
            w.settle();
            assert_eq!(w.status(1, key), Some(Status::FORBIDDEN), "{from}");
        }
    }
    let second = format!("From: <{}>\r\n", uri(2)).into_bytes();
    let twice = [second, wrap(&uri(1), ROOM, "text/plain", b"x")];
    let none = format!("To: <{ROOM}>\r\n\r\nContent-Type: text/plain\r\n\r\nx");
    for body in [twice.concat(), none.into_bytes()] {
        let key = w.send(1, body);
        w.settle();
        assert_eq!(w.status(1, key), Some(Status::FORBIDDEN));
    }
    assert!(w.texts(2).is_empty() && w.texts(3).is_empty());
}

#[test]
fn what_cannot_be_routed_is_refused() {
    let mut w = World::with(2);
    let two =
        [format!("To: <{}>\r\n", uri(2)).into_bytes(), wrap(&uri(1), ROOM, "text/plain", b"x")].concat();
    let none = format!("From: <{}>\r\n\r\nContent-Type: text/plain\r\n\r\nx", uri(1)).into_bytes();
    let short = b"From: <sip:user1@example.com>\r\n".to_vec();
    let long = format!("From: <{}>\r\nX: {}\r\n", uri(1), "x".repeat(20_000)).into_bytes();
    for (body, status) in [
        (two, Status::FORBIDDEN),
        (none, Status::BAD_REQUEST),
        (short, Status::BAD_REQUEST),
        (b"\r\n\r\n".to_vec(), Status::FORBIDDEN),
        (b"no head at all\r\n".to_vec(), Status::BAD_REQUEST),
        (long, Status::BAD_REQUEST),
    ] {
        let key = w.send(1, body);
        w.settle();
        assert_eq!(w.status(1, key), Some(status));
    }
    for content_type in ["text/plain", "multipart/mixed;boundary=x", "application/im-iscomposing+xml"] {
        let key = w.send_as(1, content_type, b"Hello".to_vec());
        w.settle();
        assert_eq!(w.status(1, key), Some(Status::UNSUPPORTED_TYPE), "{content_type}");
    }
    assert!(w.texts(2).is_empty());
    assert_eq!(w.room.counters().refused, 7, "those the session refuses are not counted: two of three");
    // The session goes on.
    let key = w.say(1, "now right");
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::OK));
}

#[test]
fn in_a_moderated_room_the_holder_of_the_floor_speaks() {
    let mut w = World::new(Settings { moderated: true, ..quiet() }, Limits::default());
    (1..=3).for_each(|id| w.enter(id));
    w.room.set_holders(&[MemberId(2)]);
    let (a, b) = (w.say(1, "me first"), w.say(2, "order"));
    let private = w.say_to(1, &uri(3), "psst");
    w.settle();
    assert_eq!((w.status(1, a), w.status(2, b)), (Some(Status::FORBIDDEN), Some(Status::OK)));
    assert_eq!(w.status(1, private), Some(Status::OK), "the floor is for speaking to the room");
    assert_eq!((w.texts(3), w.texts(1)), (vec!["psst", "order"], vec!["order"]));
    let why = "only the holder of the floor may speak";
    assert!(w.has_event(&Event::Refused { from: MemberId(1), status: Status::FORBIDDEN, why }));
    let roster: Vec<_> = w.room.roster().iter().map(|m| m.speaks).collect();
    assert_eq!(roster, [false, true, false]);

    w.room.set_holders(&[MemberId(1), MemberId(4)]);
    w.enter(4);
    let key = w.say(4, "I have the floor already");
    w.settle();
    assert_eq!(w.status(4, key), Some(Status::OK));
    w.room.set_speaking(MemberId(1), false);
    let key = w.say(1, "still not");
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::FORBIDDEN));
}

#[test]
fn whoever_loses_the_floor_finishes_the_message() {
    let mut w = World::new(Settings { moderated: true, ..quiet() }, Limits::default());
    (1..=2).for_each(|id| w.enter(id));
    w.room.set_holders(&[MemberId(1)]);
    w.client(1).step = 500;
    let key = w.send(1, wrap(&uri(1), ROOM, "text/plain", &[b'x'; 20_000]));
    for _ in 0..10 {
        w.turn();
    }
    w.room.set_holders(&[]);
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::OK));
    assert_eq!(w.texts(2)[0].len(), 20_000);
    let key = w.say(1, "and another thing");
    w.settle();
    assert_eq!(w.status(1, key), Some(Status::FORBIDDEN));
}

#[test]
fn only_what_a_member_takes_is_sent_to_it() {
    let mut w = World::with(2);
    let takes = |id, types: &[&str], max_size| Member {
        accept_types: types.iter().map(|t| (*t).to_owned()).collect(),
        max_size,
        ..member(id)
    };
    w.enter_as(3, takes(3, &["message/cpim", "text/plain"], Some(1000)));
    w.enter_as(4, takes(4, &["message/cpim"], None));
    w.enter_as(5, takes(5, &["text/plain"], None));
    w.say(1, "text");
    w.send(1, wrap(&uri(1), ROOM, "image/png", b"picture"));
    w.send(1, wrap(&uri(1), ROOM, "text/plain", &[b'x'; 1500]));
    w.settle();
    let long = "x".repeat(1500);
    assert_eq!(w.texts(2), ["text", "picture", &long]);
    assert_eq!(w.texts(3), ["text"]);
    assert_eq!(w.texts(4), ["text", "picture", &long], "the wrapper alone says nothing of what is inside");
    assert!(w.texts(5).is_empty(), "no wrapper, no room");

    let image = w.send(1, wrap(&uri(1), &uri(3), "image/png", b"picture"));
    let long = w.send(1, wrap(&uri(1), &uri(3), "text/plain", &[b'x'; 1500]));
    w.settle();
    assert_eq!(w.status(1, image), Some(Status::UNSUPPORTED_TYPE));
    assert_eq!(w.status(1, long), Some(Status::STOP));
}

#[test]
fn a_message_that_nobody_takes_is_refused() {
    let mut w = World::with(1);
    w.enter_as(2, Member { accept_types: vec!["message/cpim".into(), "text/*".into()], ..member(2) });
    let image = w.send(1, wrap(&uri(1), ROOM, "image/png", b"picture"));
    let text = w.say(1, "text");
    w.settle();
    assert_eq!(w.status(1, image), Some(Status::UNSUPPORTED_TYPE));
    assert_eq!(w.status(1, text), Some(Status::OK));
}

#[test]
fn a_member_that_refuses_a_type_gets_others() {
    let mut w = World::with(3);
    w.client(2).refuses = Some("image/png");
    w.send(1, wrap(&uri(1), ROOM, "image/png", b"picture"));
    w.settle();
    w.send(1, wrap(&uri(1), ROOM, "image/png", b"another"));
    w.say(1, "text");
    w.settle();
    assert_eq!(w.texts(2), ["text"]);
    assert_eq!(w.texts(3), ["picture", "another", "text"]);
    assert_eq!(w.client(2).aborted, 1, "the second was not sent to it");
    assert!(w.events.iter().any(|e| matches!(e, Event::Missed { member: MemberId(2), .. })));
}

#[test]
fn a_message_too_long_for_the_room_is_answered_413() {
    let mut w = World::new(Settings { max_message: Some(5000), ..quiet() }, Limits::default());
    (1..=2).for_each(|id| w.enter(id));
    let known = w.send(1, wrap(&uri(1), ROOM, "text/plain", &[b'x'; 6000]));
    let body = wrap(&uri(1), ROOM, "text/plain", &[b'y'; 6000]);
    let unknown = w.stream(1, Outgoing::new("message/cpim", Size::Unknown), body);
    let fits = w.send(1, wrap(&uri(1), ROOM, "text/plain", &[b'z'; 4000]));
    w.settle();
    assert_eq!(w.status(1, known), Some(Status::STOP));
    assert_eq!(w.status(1, unknown), Some(Status::STOP));
    assert_eq!(w.status(1, fits), Some(Status::OK));
    assert_eq!(w.texts(2), ["z".repeat(4000)]);
}

#[test]
fn every_device_of_a_user_gets_its_messages() {
    let mut w = World::with(2);
    w.enter_as(3, Member { uri: uri(2), ..member(3) });
    w.say(1, "to all");
    w.say_to(1, &uri(2), "to you");
    w.say(3, "from my other device");
    w.settle();
    assert_eq!(w.texts(2), ["to all", "to you", "from my other device"]);
    assert_eq!(w.texts(3), ["to all", "to you"]);
}

#[test]
fn senders_may_use_the_same_identifiers() {
    let mut w = World::with(3);
    let message =
        || Outgoing { message_id: Some("1".into()), ..Outgoing::new("message/cpim", Size::Unknown) };
    for id in [1, 2] {
        let body = wrap(&uri(id), ROOM, "text/plain", format!("by {id}").as_bytes());
        w.client(id).session.send_whole(message(), body.into()).unwrap();
    }
    w.settle();
    assert_eq!(w.texts(3), ["by 1", "by 2"]);
    assert_ne!(w.clients[&3].inbox[0].id, w.clients[&3].inbox[1].id);
}

#[test]
fn a_message_sent_again_is_not_delivered_twice() {
    let mut w = World::with(2);
    let message =
        || Outgoing { message_id: Some("once".into()), ..Outgoing::new("message/cpim", Size::Unknown) };
    for _ in 0..2 {
        let body = wrap(&uri(1), ROOM, "text/plain", b"once");
        let key = w.client(1).session.send_whole(message(), body.into()).unwrap();
        w.settle();
        assert_eq!(w.status(1, key), Some(Status::OK));
    }
    // Some stacks count their messages in each session: other octets are another message.
    for (to, text) in [(uri(2).as_str(), "once"), (ROOM, "one"), (ROOM, "once, but longer"), (ROOM, "one")] {
        let body = wrap(&uri(1), to, "text/plain", text.as_bytes());
        let key = w.client(1).session.send_whole(message(), body.into()).unwrap();
        w.settle();
        assert_eq!(w.status(1, key), Some(Status::OK));
    }
    assert_eq!(w.texts(2), ["once", "once", "one", "once, but longer"]);
}

#[test]
fn the_room_reports_success_itself() {
    let mut w = World::with(3);
    let body = wrap(&uri(1), ROOM, "text/plain", b"Hello");
    let message = Outgoing { success_report: true, ..Outgoing::new("message/cpim", Size::Unknown) };
    let key = w.client(1).session.send_whole(message, body.into()).unwrap();
    w.settle();
    let reports = w.clients[&1].outcomes.iter();
    let reports = reports.filter(|e| matches!(e, SessionEvent::Report { key: k, .. } if *k == key)).count();
    assert_eq!(reports, 1, "one report, whatever the number of recipients");
    // RFC 7701 §6.3: a failure in the room is in the response.
    let body = wrap(&uri(1), &uri(9), "text/plain", b"Hello");
    let message = Outgoing { success_report: true, ..Outgoing::new("message/cpim", Size::Unknown) };
    let key = w.client(1).session.send_whole(message, body.into()).unwrap();
    w.settle();
    let failed = SessionEvent::Failed { key, reason: FailureReason::Response(Status::NOT_FOUND) };
    assert!(w.clients[&1].outcomes.contains(&failed));
}

#[test]
fn a_message_given_up_is_given_up_for_all() {
    let mut w = World::with(2);
    w.client(1).step = 1000;
    let key = w.send(1, wrap(&uri(1), ROOM, "text/plain", &[b'x'; 50_000]));
    for _ in 0..20 {
        w.turn();
    }
    w.client(1).session.abort(key);
    w.settle();
    assert_eq!((w.texts(2).len(), w.client(2).aborted), (0, 1));
    assert_eq!(w.room.held_messages(), 0);
    w.say(1, "never mind");
    w.settle();
    assert_eq!(w.texts(2), ["never mind"]);
}

#[test]
fn a_member_that_leaves_in_the_middle_takes_its_message_along() {
    let mut w = World::with(3);
    w.client(1).step = 1000;
    w.send(1, wrap(&uri(1), ROOM, "text/plain", &[b'x'; 50_000]));
    for _ in 0..20 {
        w.turn();
    }
    w.client(1).closed = true;
    w.room.leave(w.now, MemberId(1));
    w.settle();
    assert_eq!((w.client(2).aborted, w.client(3).aborted), (1, 1));
    assert_eq!(w.room.held_messages(), 0);
    assert_eq!(w.room.counters().held, 0);
}

#[test]
fn header_fields_of_the_message_pass() {
    let mut w = World::with(2);
    let body = wrap(&uri(1), ROOM, "text/plain", b"Hello");
    let headers = vec![("Content-Disposition".to_owned(), "inline".to_owned())];
    let message = Outgoing { headers, ..Outgoing::new("message/cpim; x=y", Size::Unknown) };
    w.client(1).session.send_whole(message, body.into()).unwrap();
    w.settle();
    assert_eq!(w.texts(2), ["Hello"]);
    let (content_type, headers) = &w.client(2).heads[0];
    assert_eq!(content_type, "message/cpim; x=y");
    assert_eq!(headers, &[("Content-Disposition".to_owned(), "inline".to_owned())]);
}
