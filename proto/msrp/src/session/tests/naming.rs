//! Nicknames (RFC 7701 §7, §9.2).

use super::*;

/// A request for a nickname to Bob, who is the room.
fn request(tid: &str, headers: &str) -> String {
    wire(&format!("MSRP {tid} NICKNAME\nTo-Path: {BOB}\nFrom-Path: {ALICE}\n{headers}-------{tid}$\n"))
}

fn room() -> Session {
    session(Config { nicknames: true, ..config(BOB, ALICE) }, 2)
}

#[test]
fn a_nickname_is_asked_for_and_given() {
    let mut p = Pair::new(7);
    p.b = room();
    p.a.set_nickname(p.now, "Alice \"the\" great").unwrap();
    assert!(p.a.set_nickname(p.now, "Alicia").is_err(), "one at a time");
    p.settle();
    let [Event::NicknameAsked { request, nickname }] = &events(&mut p.b)[..] else { panic!("not asked") };
    assert_eq!(nickname, "Alice \"the\" great");
    assert_eq!(events(&mut p.a), [], "not before the answer");
    p.b.answer_nickname(*request, Status::NICKNAME_TAKEN);
    p.settle();
    let answered = |nickname: &str, status| Event::NicknameAnswered { nickname: nickname.to_owned(), status };
    assert_eq!(events(&mut p.a), [answered("Alice \"the\" great", Status::NICKNAME_TAKEN)]);

    p.a.set_nickname(p.now, "").unwrap();
    p.settle();
    let [Event::NicknameAsked { request, nickname }] = &events(&mut p.b)[..] else { panic!("not asked") };
    assert_eq!(nickname, "");
    p.b.answer_nickname(*request, Status::OK);
    p.settle();
    assert_eq!(events(&mut p.a), [answered("", Status::OK)]);
}

#[test]
fn the_request_reads_as_in_the_rfc() {
    let mut a = alice();
    a.set_nickname(Instant::now(), "Alice the great").unwrap();
    let text = output(&mut a, Instant::now());
    let tid = text.split(' ').nth(1).unwrap();
    assert_eq!(text, request(tid, "Use-Nickname: \"Alice the great\"\n"));
}

#[test]
fn a_request_that_cannot_be_read_is_answered_424() {
    let mut b = room();
    for headers in ["", "Use-Nickname: A\\lice\n", "Use-Nickname: \"Alice\n", "Use-Nickname: \"A\"B\n"] {
        let text = request("d93kswow", headers);
        assert_eq!(b.handle_input(Instant::now(), text.as_bytes()), text.len());
        assert_eq!(events(&mut b), []);
        assert!(output(&mut b, Instant::now()).starts_with("MSRP d93kswow 424 "), "{headers}");
    }
}

#[test]
fn a_nickname_outside_of_a_room_is_an_unknown_method() {
    let mut b = bob();
    let text = request("d93kswow", "Use-Nickname: \"Alice\"\n");
    b.handle_input(Instant::now(), text.as_bytes());
    assert!(output(&mut b, Instant::now()).starts_with("MSRP d93kswow 501 "));
}

#[test]
fn a_nickname_without_an_answer_times_out() {
    let (mut a, now) = (alice(), Instant::now());
    a.set_nickname(now, "Alice").unwrap();
    output(&mut a, now);
    assert_eq!(a.poll_timeout(), Some(now + Duration::from_secs(30)));
    a.handle_timeout(now + Duration::from_secs(30));
    let nickname = "Alice".to_owned();
    assert_eq!(events(&mut a), [Event::NicknameAnswered { nickname, status: Status::TIMEOUT }]);
    a.set_nickname(now, "Alicia").unwrap();
}

#[test]
fn whoever_asks_without_waiting_stops_itself() {
    let mut b = room();
    let text = request("d93kswow", "Use-Nickname: \"Alice\"\n").repeat(100);
    let used = b.handle_input(Instant::now(), text.as_bytes());
    assert!(used < text.len());
    let asked = events(&mut b);
    assert_eq!(asked.len(), 16);
    let Some(Event::NicknameAsked { request, .. }) = asked.first() else { panic!("not asked") };
    b.answer_nickname(*request, Status::OK);
    assert!(b.handle_input(Instant::now(), &text.as_bytes()[used..]) > 0);
}
