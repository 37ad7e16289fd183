//! What watchers see of a room.

use super::*;
use crate::config::{Floor, Unsealed};

const URI: &str = "sip:room@conf.example.com";
const ALICE: &str = "sip:alice@example.com";
const BOB: &str = "sip:bob@example.com";

fn wall() -> SystemTime {
    // The moment in RFC 4575 §7.
    UNIX_EPOCH + Duration::from_secs(1_109_966_400)
}

fn room() -> Attendance {
    let floor = Floor {
        id: 1,
        algorithm: crate::config::Algorithm::Chair,
        holders: 1,
        seconds: 0,
        messages: true,
        chair: Some(BOB.into()),
    };
    let policy = Policy {
        subject: Some("Monday".into()),
        owners: vec![ALICE.into()],
        floors: vec![floor],
        unsealed: Unsealed::Admit,
        ..Policy::default()
    };
    Attendance::new(URI, &policy)
}

fn arrival<'a>(member: &'a str, endpoint: &'a str) -> Arrival<'a> {
    Arrival { member, endpoint, name: None, method: Joining::DialedIn, by: None, status: Status::Connected }
}

fn line(id: &str, sealed: bool) -> Line {
    Line {
        id: id.into(),
        kind: "message".into(),
        label: Some("1".into()),
        status: MediaStatus::SendRecv,
        sealed,
    }
}

#[test]
fn coming_and_going() {
    let now = Instant::now();
    let mut room = room();
    assert_eq!(room.roster().state.user_count, Some(0));
    room.enter(wall(), &Arrival { name: Some("Alice"), ..arrival(ALICE, "sip:a@192.0.2.1") });
    let out =
        Arrival { by: Some(ALICE), method: Joining::DialedOut, status: Status::Alerting, ..arrival(BOB, "") };
    room.enter(wall(), &out);
    let roster = room.roster();
    assert_eq!((roster.state.user_count, roster.users.len()), (Some(1), 2));
    let alice = roster.user(ALICE).unwrap();
    assert_eq!((alice.name(), alice.roles.join(",").as_str()), ("Alice", "owner"));
    let bob = roster.user(BOB).unwrap();
    assert!(!bob.is_present() && bob.seal().is_none());
    assert_eq!(bob.roles, ["participant", "chair"]);
    let referred = bob.endpoints[0].referred.as_ref().unwrap();
    assert_eq!(referred.by.as_deref(), Some(ALICE));
    assert_eq!(referred.when.as_deref(), Some("2005-03-04T20:00:00Z"));

    room.found(BOB, "", "sip:b@192.0.2.2");
    room.status(BOB, "sip:b@192.0.2.2", Status::Connected);
    assert!(room.is_present(BOB));
    assert_eq!(room.roster().state.user_count, Some(2));

    let booted = Departure { method: Disconnection::Booted, reason: Some("too loud"), by: Some(ALICE) };
    room.leave(now, wall(), (BOB, "sip:b@192.0.2.2"), &booted);
    let roster = room.roster();
    assert_eq!((roster.state.user_count, roster.users.len()), (Some(1), 2));
    let endpoint = &roster.user(BOB).unwrap().endpoints[0];
    assert_eq!(endpoint.disconnection_method, Some(Disconnection::Booted));
    assert_eq!(endpoint.disconnection_info.as_ref().unwrap().by.as_deref(), Some(ALICE));
    assert!(!room.settle(now));
    let at = room.poll_timeout().unwrap();
    assert!(room.settle(at));
    assert_eq!((room.roster().users.len(), room.poll_timeout()), (1, None));
}

#[test]
fn who_comes_again_is_not_taken_away() {
    let now = Instant::now();
    let mut room = room();
    let departed = Departure { method: Disconnection::Departed, reason: None, by: None };
    room.enter(wall(), &arrival(BOB, "e"));
    room.leave(now, wall(), (BOB, "e"), &departed);
    room.enter(wall(), &arrival(BOB, "e"));
    assert!(!room.settle(now + SHOWN * 2));
    assert!(room.is_present(BOB));
}

#[test]
fn those_who_have_gone_are_bounded() {
    let now = Instant::now();
    let mut room = room();
    let departed = Departure { method: Disconnection::Departed, reason: None, by: None };
    for n in 0..500 {
        let member = format!("sip:{n}@example.com");
        room.enter(wall(), &arrival(&member, "e"));
        room.leave(now, wall(), (&member, "e"), &departed);
    }
    assert_eq!(room.roster().users.len(), MOST_SHOWN);
}

#[test]
fn seals_add_up() {
    let mut room = room();
    assert_eq!(room.roster().seal(), Some(Seal::Open), "a room that admits others promises nothing");
    room.enter(wall(), &arrival(ALICE, "a"));
    // No key, no promise.
    assert_eq!(room.roster().seal(), Some(Seal::Open));
    room.lines(ALICE, "a", &[line("1", true), line("2", true)]);
    let roster = room.roster();
    assert_eq!(roster.seal(), Some(Seal::Sealed));
    assert_eq!(roster.user(ALICE).unwrap().seal(), Some(Seal::Sealed));
    assert_eq!(roster.user(ALICE).unwrap().endpoints[0].extra.seal(), Some(Seal::Sealed));

    room.enter(wall(), &arrival(BOB, "b1"));
    room.lines(BOB, "b1", &[line("1", true)]);
    room.enter(wall(), &arrival(BOB, "b2"));
    room.lines(BOB, "b2", &[line("1", true), line("2", false)]);
    let roster = room.roster();
    assert_eq!(roster.seal(), Some(Seal::Open), "one line is enough");
    let bob = roster.user(BOB).unwrap();
    assert_eq!(bob.seal(), Some(Seal::Open));
    assert_eq!(bob.endpoints[0].extra.seal(), Some(Seal::Sealed));
    assert_eq!(bob.endpoints[1].media[1].extra.seal(), Some(Seal::Open));

    let departed = Departure { method: Disconnection::Departed, reason: None, by: None };
    room.leave(Instant::now(), wall(), (BOB, "b2"), &departed);
    assert_eq!(room.roster().seal(), Some(Seal::Sealed));
}

#[test]
fn following_the_focus() {
    let now = Instant::now();
    let mut room = room();
    let present = |member, status, nickname, sealed| Present {
        arrival: Arrival { status, ..arrival(member, "7") },
        nickname,
        lines: vec![line("1", sealed)],
    };
    room.sync(
        now,
        wall(),
        &[present(ALICE, Status::Connected, Some("Al"), true), present(BOB, Status::Alerting, None, false)],
    );
    let before = room.roster();
    assert_eq!((before.state.user_count, before.user(ALICE).unwrap().name()), (Some(1), "Al"));
    // Later, so that the time of joining tells whether it joined again.
    let later = wall() + Duration::from_secs(5);
    room.sync(
        now,
        later,
        &[present(ALICE, Status::OnHold, None, true), present(BOB, Status::Connected, None, false)],
    );
    let roster = room.roster();
    let alice = roster.user(ALICE).unwrap();
    assert_eq!(alice.endpoints[0].joining_info, before.user(ALICE).unwrap().endpoints[0].joining_info);
    assert_eq!((alice.endpoints[0].status.clone(), alice.nickname.clone()), (Some(Status::OnHold), None));
    assert_eq!((roster.state.user_count, roster.seal()), (Some(2), Some(Seal::Open)));
    // One was told why, the other not.
    let booted = Departure { method: Disconnection::Booted, reason: None, by: None };
    room.leave(now, wall(), (ALICE, "7"), &booted);
    room.sync(now, later, &[]);
    let roster = room.roster();
    let how = |uri| roster.user(uri).unwrap().endpoints[0].disconnection_method.clone();
    assert_eq!((how(ALICE), how(BOB)), (Some(Disconnection::Booted), Some(Disconnection::Failed)));
    // Who comes again comes anew.
    room.sync(now, later, &[present(ALICE, Status::Connected, None, true)]);
    let alice = room.roster().user(ALICE).unwrap().endpoints[0].clone();
    assert_eq!((alice.disconnection_method, alice.status), (None, Some(Status::Connected)));
    assert_ne!(alice.joining_info, before.user(ALICE).unwrap().endpoints[0].joining_info);
}
