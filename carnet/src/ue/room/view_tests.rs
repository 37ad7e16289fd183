//! What a person sees on the screen of a conference, cell by cell, and what keys do.

use std::time::Instant;

use carnet_client::CallId;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::event::{Claim, Medium, Member, Outcome, RoomEvent, RosterReport, Said};
use super::model::Model;
use super::view::{Action, View};
use crate::ue::event::SealReport;

fn member(uri: &str, nickname: &str, sealed: Option<bool>) -> Member {
    let me = uri == "sip:alice@a.example";
    Member { uri: uri.into(), nickname: nickname.into(), sealed, me, ..Member::default() }
}

fn roster(sealed: bool, more: Vec<Member>) -> RoomEvent {
    let mut members =
        vec![member("sip:alice@a.example", "", Some(true)), member("sip:bob@b.example", "Bobby", Some(true))];
    members.extend(more);
    let count = members.len();
    let subject = Some("The week".to_owned());
    RoomEvent::Roster(RosterReport {
        members,
        sealed: Some(sealed),
        subject,
        count,
        ..RosterReport::default()
    })
}

fn claim(user: u16, uri: &str, position: u8, pending: bool) -> Claim {
    Claim { request: user, user, name: String::new(), uri: uri.into(), position, priority: None, pending }
}

fn seal() -> Box<SealReport> {
    Box::new(SealReport {
        version: "TLS 1.3".into(),
        cipher: String::new(),
        kms: "sip:kms.example".into(),
        initiator: "sip:alice@a.example".into(),
        responder: "sip:staff@conf.example".into(),
        psk_identity: String::new(),
        client_random: String::new(),
        tls_client: true,
        remote: String::new(),
    })
}

/// Alice in a sealed conference with Bobby, who has the floor.
fn conference() -> Model {
    let mut model = Model::new("sip:alice@a.example".into());
    for event in [
        RoomEvent::Joined {
            conference: "sip:staff@conf.example".into(),
            sealed: true,
            messages: true,
            floors: true,
            nicknames: true,
            private_messages: true,
        },
        RoomEvent::Floors { user: 1, floors: vec![1] },
        RoomEvent::Connected { medium: Medium::Messages, seal: Some(seal()) },
        RoomEvent::Connected { medium: Medium::Floors, seal: Some(seal()) },
        roster(true, vec![]),
        RoomEvent::Floor {
            floor: 1,
            holders: vec![claim(2, "sip:bob@b.example", 0, false)],
            queue: vec![claim(3, "sip:carol@b.example", 1, false), claim(4, "sip:dave@b.example", 0, true)],
        },
    ] {
        model.take(Instant::now(), &event);
    }
    model
}

fn say(model: &mut Model, from: &str, text: &str) {
    let said = Said { from: from.into(), text: text.into(), ..Said::default() };
    model.take(Instant::now(), &RoomEvent::Message(said));
}

fn drawn(view: &View, model: &Model, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame, model, Instant::now())).unwrap();
    terminal
}

/// The screen as text, a row each, without spaces at the end.
fn rows(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    let cells: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
    cells.chunks(width).map(|row| row.concat().trim_end().to_owned()).collect()
}

/// The colour of the first cell of `text`.
fn colour(terminal: &Terminal<TestBackend>, text: &str) -> Color {
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    let rows = rows(terminal);
    let y = rows
        .iter()
        .position(|row| row.contains(text))
        .unwrap_or_else(|| panic!("{text} is not in {rows:#?}"));
    let x = rows[y].split(text).next().unwrap().chars().count();
    buffer.content()[y * width + x].fg
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn typed(view: &mut View, model: &Model, text: &str) {
    for c in text.chars() {
        view.key(key(KeyCode::Char(c)), model);
    }
}

#[test]
fn a_sealed_conference_as_it_is_seen() {
    let mut model = conference();
    say(&mut model, "sip:bob@b.example", "good morning");
    let mut view = View::default();
    typed(&mut view, &model, "hello");
    let terminal = drawn(&view, &model, 90, 14);
    let expected = [
        " sip:staff@conf.example · The week  ◆ everybody is sealed",
        "* joined sip:staff@conf.example, sealed                       ┌ here: 2 ──────────────────",
        "* messages: sealed end to end · TLS 1.3 · ticket from         │ ◆ alice (you)",
        "  kms.example · path alice → staff                            │ ◆ Bobby",
        "* floor control: sealed end to end · TLS 1.3 · ticket from    │",
        "  kms.example · path alice → staff                            │",
        "* here: alice, Bobby                                          │",
        "* everybody here is sealed                                    ┌ floors ───────────────────",
        "* floor 1: Bobby; next: carol, dave                           │ 1 ▶ Bobby",
        "Bobby: good morning                                           │   1 carol",
        "                                                              │   ? dave",
        "",
        "> hello",
        " F1 help  F2 ask for the floor  F3 give it back  F4 grant  F5 deny  Ctrl-C leave",
    ];
    assert_eq!(rows(&terminal), expected);
    assert_eq!(colour(&terminal, "everybody is sealed"), Color::Green);
    assert_eq!(terminal.backend().cursor_position(), ratatui::layout::Position { x: 7, y: 12 });
}

#[test]
fn one_who_is_not_sealed_is_seen_at_once_and_in_red() {
    let mut model = conference();
    let eve = member("sip:eve@e.example", "", Some(false));
    let unknown = member("sip:fay@f.example", "", None);
    model.take(Instant::now(), &roster(false, vec![eve, unknown]));
    let terminal = drawn(&View::default(), &model, 90, 20);
    let seen = rows(&terminal);
    assert!(seen[0].ends_with("◇ NOT EVERYBODY IS SEALED"), "{seen:#?}");
    for row in ["│ ◇ eve", "│ · fay", "here: 4"] {
        assert!(seen.iter().any(|seen| seen.contains(row)), "{row} is not in {seen:#?}");
    }
    assert_eq!(colour(&terminal, "NOT EVERYBODY IS SEALED"), Color::Red);
    assert_eq!(colour(&terminal, "◇ eve"), Color::Red);
    // In clear ourselves: that is what has to be known first.
    model.take(Instant::now(), &RoomEvent::Connected { medium: Medium::Messages, seal: None });
    let terminal = drawn(&View::default(), &model, 90, 20);
    assert!(rows(&terminal)[0].ends_with("YOU ARE NOT SEALED"));
}

#[test]
fn a_lost_conference_is_shown_as_lost_until_it_is_back() {
    let mut model = conference();
    model.take(Instant::now(), &RoomEvent::Waiting { reason: Some("it broke".into()) });
    assert!(rows(&drawn(&View::default(), &model, 90, 20))[0].contains("LOST"));
    assert!(!model.is_ready());
    model.take(Instant::now(), &RoomEvent::CalledBack { to: CallId(2) });
    let again = RoomEvent::Joined {
        conference: "sip:staff@conf.example".into(),
        sealed: true,
        messages: true,
        floors: true,
        nicknames: true,
        private_messages: true,
    };
    model.take(Instant::now(), &again);
    assert!(!model.is_ready(), "the lines are not up yet");
    for medium in [Medium::Messages, Medium::Floors] {
        model.take(Instant::now(), &RoomEvent::Connected { medium, seal: Some(seal()) });
    }
    assert!(model.is_ready());
    assert!(rows(&drawn(&View::default(), &model, 90, 20))[0].ends_with("everybody is sealed"));
}

#[test]
fn the_last_words_are_seen_and_the_earlier_ones_by_turning_back() {
    let mut model = conference();
    for n in 0..100 {
        say(&mut model, "sip:bob@b.example", &format!("line {n}"));
    }
    let mut view = View::default();
    let seen = rows(&drawn(&view, &model, 50, 10));
    assert_eq!(seen[6], "Bobby: line 99");
    view.key(key(KeyCode::PageUp), &model);
    let seen = rows(&drawn(&view, &model, 50, 10));
    assert_eq!(seen[6], "Bobby: line 89");
    // As far as there is something.
    for _ in 0..50 {
        view.key(key(KeyCode::PageUp), &model);
    }
    let seen = rows(&drawn(&view, &model, 50, 10));
    assert!(seen[1].starts_with("* joined sip:staff@conf.example"), "{seen:#?}");
}

#[test]
fn hostile_words_stay_in_their_place() {
    let mut model = conference();
    let text = format!("\x1b[2J\u{202e}{}", "x".repeat(300));
    say(&mut model, "sip:bob@b.example", &text);
    say(&mut model, "sip:bob@b.example", "日本語のとても長い文字列がここに続いて行の終わりを越えて行きます");
    for (width, height) in [(90, 20), (40, 10), (20, 5), (5, 5), (1, 1)] {
        let terminal = drawn(&View::default(), &model, width, height);
        assert!(rows(&terminal).iter().all(|row| !row.contains(['\x1b', '\u{202e}'])));
    }
    // Ten thousand members and a name that is too long.
    let crowd = (0..10_000).map(|n| member(&format!("sip:u{n}@x.example"), &"n".repeat(500), Some(true)));
    model.take(Instant::now(), &roster(true, crowd.collect()));
    let seen = rows(&drawn(&View::default(), &model, 90, 20));
    assert!(
        seen.iter().any(|row| row.contains("here: 10002")) && seen.iter().any(|row| row.contains("more"))
    );
}

#[test]
fn what_is_typed_can_be_mended_recalled_and_completed() {
    let model = conference();
    let mut view = View::default();
    typed(&mut view, &model, "helo");
    view.key(key(KeyCode::Left), &model);
    typed(&mut view, &model, "l");
    assert_eq!(view.key(key(KeyCode::Enter), &model), Action::Line("hello".into()));
    assert_eq!(view.key(key(KeyCode::Enter), &model), Action::Nothing);
    view.key(key(KeyCode::Up), &model);
    view.key(key(KeyCode::Home), &model);
    view.key(key(KeyCode::Delete), &model);
    view.key(key(KeyCode::End), &model);
    view.key(key(KeyCode::Backspace), &model);
    assert_eq!(view.key(key(KeyCode::Enter), &model), Action::Line("ell".into()));
    typed(&mut view, &model, "/msg bo");
    view.key(key(KeyCode::Tab), &model);
    typed(&mut view, &model, "psst");
    assert_eq!(view.key(key(KeyCode::Enter), &model), Action::Line("/msg Bobby psst".into()));
    typed(&mut view, &model, "one two");
    view.key(KeyEvent::new(KeyCode::Char('w'), KeyModifiers::CONTROL), &model);
    assert_eq!(view.key(key(KeyCode::Enter), &model), Action::Line("one ".into()));
    // Whoever types words is seen typing, and whoever types a command is not.
    assert_eq!(view.key(key(KeyCode::Char('w')), &model), Action::Typing);
    view.key(key(KeyCode::Backspace), &model);
    assert_eq!(view.key(key(KeyCode::Char('/')), &model), Action::Nothing);
}

#[test]
fn keys_ask_for_the_floor_give_it_back_and_decide() {
    let mut model = conference();
    let mut view = View::default();
    assert_eq!(view.key(key(KeyCode::F(2)), &model), Action::Line("/floor".into()));
    assert_eq!(view.key(key(KeyCode::F(3)), &model), Action::Line("/release".into()));
    // Dave waits for the chair's word; carol is in the queue already.
    assert_eq!(view.key(key(KeyCode::F(4)), &model), Action::Line("/grant 4 1".into()));
    assert_eq!(view.key(key(KeyCode::F(5)), &model), Action::Line("/deny 4 1".into()));
    let leave = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.key(leave, &model), Action::Leave);
    let granted = RoomEvent::Request {
        request: 9,
        floors: vec![1],
        outcome: Outcome::Granted,
        position: 0,
        words: None,
    };
    let lines = model.take(Instant::now(), &granted);
    assert_eq!(lines[0].text, "YOU HAVE FLOOR 1");
    let holders = vec![claim(1, "sip:alice@a.example", 0, false)];
    model.take(Instant::now(), &RoomEvent::Floor { floor: 1, holders, queue: vec![] });
    let terminal = drawn(&view, &model, 90, 20);
    assert_eq!(colour(&terminal, "1 ▶ alice (you)"), Color::Green);
    assert_eq!(view.key(key(KeyCode::F(4)), &model), Action::Nothing, "nobody waits");
}

#[test]
fn help_is_shown_and_goes_with_any_key() {
    let model = conference();
    let mut view = View::default();
    view.key(key(KeyCode::F(1)), &model);
    assert!(rows(&drawn(&view, &model, 90, 24)).iter().any(|row| row.contains("/revoke NAME")));
    view.key(key(KeyCode::Char('x')), &model);
    assert!(!rows(&drawn(&view, &model, 90, 24)).iter().any(|row| row.contains("/revoke NAME")));
}
