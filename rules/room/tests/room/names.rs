//! Nicknames (RFC 7701 §7).

use crate::harness::*;
use carnet_msrp::{Event as SessionEvent, Status};
use carnet_room::{Event, Limits, Member, MemberId, Settings, canonical_nickname};

impl World {
    /// Asks for a nickname and returns the answer.
    fn name(&mut self, id: u16, nickname: &str) -> Status {
        let now = self.now;
        let client = self.client(id);
        client.outcomes.clear();
        client.session.set_nickname(now, nickname).unwrap();
        self.settle();
        let answer = self.clients[&id].outcomes.iter().find_map(|event| match event {
            SessionEvent::NicknameAnswered { status, .. } => Some(*status),
            _ => None,
        });
        answer.unwrap()
    }

    fn nickname(&self, id: u16) -> Option<String> {
        self.room.roster().into_iter().find(|m| m.id == MemberId(id)).unwrap().nickname
    }
}

#[test]
fn a_nickname_is_unique() {
    let mut w = World::with(3);
    assert_eq!(w.name(1, "Alice  the Great"), Status::OK);
    let named = Event::Nickname { member: MemberId(1), nickname: Some("Alice  the Great".into()) };
    assert!(w.has_event(&named));
    for clash in ["Alice  the Great", " alice THE great ", "alice\u{2003}the\u{a0}great", "Ａlice the great"]
    {
        assert_eq!(w.name(2, clash), Status::NICKNAME_TAKEN, "{clash}");
    }
    assert_eq!(w.nickname(2), None);
    assert_eq!(w.name(2, "Bob"), Status::OK);
    assert_eq!(w.name(2, "alice the great"), Status::NICKNAME_TAKEN);
    assert_eq!(w.nickname(2).as_deref(), Some("Bob"), "the old one stays");
    assert_eq!(w.name(1, "alice the great"), Status::OK, "one's own in another spelling");
}

#[test]
fn a_nickname_is_given_up() {
    let mut w = World::with(2);
    assert_eq!(w.name(1, "Alice"), Status::OK);
    assert_eq!(w.name(1, "Alicia"), Status::OK);
    assert_eq!(w.name(2, "Alice"), Status::OK, "free since the other took a new one");
    assert_eq!(w.name(1, ""), Status::OK);
    assert_eq!(w.nickname(1), None);
    assert!(w.has_event(&Event::Nickname { member: MemberId(1), nickname: None }));
    assert_eq!(w.name(2, "Alicia"), Status::OK);
}

#[test]
fn a_private_message_may_name_a_nickname() {
    let mut w = World::with(3);
    w.name(2, "Bob the Builder");
    for to in ["bob%20the%20builder", "Bob the Builder"] {
        let key = w.say_to(1, to, "psst");
        w.settle();
        assert_eq!(w.status(1, key), Some(Status::OK), "{to}");
    }
    assert_eq!((w.texts(2).len(), w.texts(3).len()), (2, 0));
}

#[test]
fn reserved_nicknames_are_for_whom_the_focus_gives_them() {
    let reserved = vec!["Chair".to_owned(), "Room".to_owned()];
    let mut w = World::new(Settings { reserved, ..quiet() }, Limits::default());
    w.enter(1);
    w.enter_as(2, Member { nickname: Some("Chair".into()), ..member(2) });
    assert_eq!(w.nickname(2).as_deref(), Some("Chair"));
    assert_eq!(w.name(1, "chair"), Status::NICKNAME_TAKEN);
    assert_eq!(w.name(1, "room"), Status::NICKNAME_TAKEN);
    assert_eq!(w.name(2, "Other"), Status::OK);
    assert_eq!(w.name(1, "chair"), Status::NICKNAME_TAKEN, "although nobody has it");
    assert_eq!(w.name(2, "chair"), Status::OK);
}

#[test]
fn a_room_may_be_without_nicknames() {
    let mut w = World::new(Settings { nicknames: false, ..quiet() }, Limits::default());
    w.enter(1);
    assert_eq!(w.name(1, "Alice"), Status::FORBIDDEN);
}

#[test]
fn what_is_no_nickname_is_answered_424() {
    let mut w = World::with(1);
    assert_eq!(w.name(1, "  "), Status::MALFORMED_NICKNAME);
    assert_eq!(w.name(1, "a\tb"), Status::MALFORMED_NICKNAME);
    assert_eq!(w.name(1, &"n".repeat(1023)), Status::OK);
}

#[test]
fn a_nickname_is_kept_for_whoever_comes_back() {
    let mut w = World::with(2);
    w.name(1, "Alice");
    w.client(1).closed = true;
    w.room.leave(w.now, MemberId(1));
    assert_eq!(w.name(2, "alice"), Status::NICKNAME_TAKEN);
    w.enter_as(3, Member { uri: uri(1), ..member(3) });
    assert_eq!(w.name(3, "Alice"), Status::OK);
    w.client(3).closed = true;
    w.room.leave(w.now, MemberId(3));
    w.now += Limits::default().nickname;
    assert_eq!(w.name(2, "alice"), Status::OK);
}

#[test]
fn devices_of_one_user_may_share_a_nickname() {
    let mut w = World::with(1);
    w.enter_as(2, Member { uri: uri(1), ..member(2) });
    assert_eq!(w.name(1, "Alice"), Status::OK);
    assert_eq!(w.nickname(2), None, "RFC 7701 §7.1: not by itself");
    assert_eq!(w.name(2, "Alice"), Status::OK);
}

#[test]
fn canonical_form() {
    assert_eq!(canonical_nickname("  A \u{3000} b\u{2009}").as_deref(), Some("a b"));
    assert_eq!(canonical_nickname("STRASSE").as_deref(), Some("strasse"));
    assert_eq!(canonical_nickname("ΣΑΣ"), canonical_nickname("σας").map(|s| s.replace('ς', "σ")));
    for none in ["", "   ", "a\u{7}b", &"x".repeat(1024)] {
        assert_eq!(canonical_nickname(none), None);
    }
}
