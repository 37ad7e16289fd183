//! SUBSCRIBE and NOTIFY of the conference package.

use super::rig::{ROOM, Rig, Ua, address, enter, leave, ordered};
use crate::roster::Refusal;
use crate::subscribe::Settings;
use carnet_roster::{Applied, Change, Document, Limits, State, View};
use carnet_sip::{Dialog, Message, Method};
use std::time::Duration;

const CAROL: &str = "sip:carol@example.com";

fn rig() -> Rig {
    Rig::new(Settings::default())
}

fn document(notify: &Message) -> Document {
    assert_eq!(notify.content_type().as_deref(), Some("application/conference-info+xml"));
    Document::parse(notify.body(), &Limits::default()).unwrap()
}

fn state(notify: &Message) -> String {
    notify.header("Subscription-State").unwrap().into_owned()
}

/// A watcher with its first NOTIFY taken.
fn watching(rig: &mut Rig) -> (Ua, View) {
    let mut ua = Ua::new("alice", "c1");
    rig.give(ua.subscribe(600));
    ua.learn(&rig.take_response(200));
    let mut view = View::default();
    view.apply(&document(&rig.take_notify(200, ""))).unwrap();
    (ua, view)
}

#[test]
fn all_first_then_what_changed() {
    let mut rig = rig();
    rig.enter(CAROL);
    let mut ua = Ua::new("alice", "c1");
    rig.give(ua.subscribe(600));
    let ok = rig.take_response(200);
    assert_eq!(ok.expires(), Some(600));
    assert_eq!(ok.header("Contact").unwrap(), format!("<{ROOM}>;isfocus"));
    let first = rig.take_notify(200, "");
    assert_eq!(first.to_tag(), Some("wc1".into()));
    assert_eq!(first.from_tag(), ok.to_tag());
    assert_eq!(first.call_id().unwrap(), "c1");
    assert_eq!(first.request_uri().unwrap().as_str(), "sip:w@192.0.2.7;transport=tcp");
    assert_eq!(first.header("Event").unwrap(), "conference");
    assert_eq!(state(&first), "active;expires=600");
    let (mut view, first) = (View::default(), document(&first));
    assert_eq!((first.state(), first.version()), (State::Full, 1));
    view.apply(&first).unwrap();
    assert_eq!(ordered(view.roster()), rig.roster());

    rig.wait(Duration::from_secs(10));
    rig.quiet();
    rig.enter("sip:dave@example.com");
    let second = rig.take_notify(200, "");
    assert_eq!(state(&second), "active;expires=590");
    let second = document(&second);
    assert_eq!((second.state(), second.version()), (State::Partial, 2));
    let Ok(Applied::Changed(changes)) = view.apply(&second) else { panic!() };
    assert!(changes.contains(&Change::Joined("sip:dave@example.com".into())));
    assert_eq!(ordered(view.roster()), rig.roster());
    // A change that changes nothing is not told.
    rig.enter("sip:dave@example.com");
    rig.quiet();
}

#[test]
fn one_at_a_time_and_the_newest_next() {
    let mut rig = rig();
    let (_, mut view) = watching(&mut rig);
    rig.enter("sip:0@example.com");
    let held = rig.take().unwrap();
    for n in 1..100 {
        rig.enter(&format!("sip:{n}@example.com"));
    }
    rig.quiet();
    view.apply(&document(&held)).unwrap();
    rig.answer(&held, 200, "");
    view.apply(&document(&rig.take_notify(200, ""))).unwrap();
    assert_eq!(view.version(), Some(3));
    assert_eq!(ordered(view.roster()), rig.roster());
    assert_eq!(rig.published, 3);
}

#[test]
fn steady_change_is_told_at_the_pace() {
    let mut rig = rig();
    let (_, mut view) = watching(&mut rig);
    let mut told = 0;
    for n in 0..60 {
        rig.enter(&format!("sip:{n}@example.com"));
        rig.wait(Duration::from_secs(1));
        while !rig.sent.is_empty() {
            view.apply(&document(&rig.take_notify(200, ""))).unwrap();
            told += 1;
        }
    }
    // Five at once, then one in five seconds.
    assert!((14..=17).contains(&told), "{told}");
    rig.wait(Duration::from_secs(6));
    if !rig.sent.is_empty() {
        view.apply(&document(&rig.take_notify(200, ""))).unwrap();
    }
    assert_eq!(ordered(view.roster()), rig.roster());
}

#[test]
fn a_room_to_which_many_come_is_looked_at_now_and_then() {
    let mut rig = Rig::resting(Settings::default());
    let mut views = Vec::new();
    for n in 0..100 {
        rig.enter(&format!("sip:{n}@example.com"));
        rig.give(Ua::new(&n.to_string(), &format!("c{n}")).subscribe(600));
        views.push(View::default());
        for _ in 0..2 {
            while let Some(message) = rig.take() {
                if message.is_request() {
                    rig.answer(&message, 200, "");
                    let call = message.call_id().unwrap().trim_start_matches('c').parse::<usize>().unwrap();
                    views[call].apply(&document(&message)).unwrap();
                }
            }
            rig.wait(Duration::from_millis(5));
        }
    }
    // A second of a hundred arrivals.
    assert!(rig.published <= 8, "{}", rig.published);
    for _ in 0..40 {
        rig.wait(Duration::from_millis(500));
        while let Some(message) = rig.take() {
            rig.answer(&message, 200, "");
            let call = message.call_id().unwrap().trim_start_matches('c').parse::<usize>().unwrap();
            views[call].apply(&document(&message)).unwrap();
        }
    }
    for view in views {
        assert_eq!(ordered(view.roster()), rig.roster());
    }
}

#[test]
fn a_refresh_is_sent_all_of_it() {
    let mut rig = rig();
    let (mut ua, mut view) = watching(&mut rig);
    rig.wait(Duration::from_secs(100));
    rig.give(ua.subscribe(7200));
    assert_eq!(rig.take_response(200).expires(), Some(3600), "shorter than asked for");
    let notify = rig.take_notify(200, "");
    assert_eq!(state(&notify), "active;expires=3600");
    let full = document(&notify);
    assert_eq!((full.state(), full.version()), (State::Full, 2));
    assert!(matches!(view.apply(&full), Ok(Applied::Changed(_))));
    assert_eq!(rig.subscriptions.len(), 1);
}

#[test]
fn a_watcher_that_missed_one_recovers() {
    let mut rig = rig();
    let (mut ua, mut view) = watching(&mut rig);
    rig.enter("sip:lost@example.com");
    rig.take_notify(200, "");
    rig.enter("sip:next@example.com");
    assert_eq!(view.apply(&document(&rig.take_notify(200, ""))), Ok(Applied::Gap));
    rig.give(ua.subscribe(600));
    rig.take_response(200);
    assert!(matches!(view.apply(&document(&rig.take_notify(200, ""))), Ok(Applied::Changed(_))));
    assert_eq!(ordered(view.roster()), rig.roster());
}

#[test]
fn asking_once() {
    let mut rig = rig();
    rig.enter(CAROL);
    let mut ua = Ua::new("alice", "c1");
    rig.give(ua.subscribe(0));
    assert_eq!(rig.take_response(200).expires(), Some(0));
    let notify = rig.take_notify(200, "");
    assert_eq!(state(&notify), "terminated;reason=timeout");
    assert_eq!(ordered(&document(&notify).roster().unwrap()), rig.roster());
    assert!(rig.subscriptions.is_empty());
    assert_eq!(rig.subscriptions.poll_timeout(), None);
}

#[test]
fn ending_it() {
    let mut rig = rig();
    let (mut ua, _) = watching(&mut rig);
    rig.give(ua.subscribe(0));
    rig.take_response(200);
    assert_eq!(state(&rig.take_notify(200, "")), "terminated;reason=timeout");
    assert!(rig.subscriptions.is_empty());
    rig.give(ua.subscribe(600));
    rig.take_response(481);
}

#[test]
fn it_ends_by_itself() {
    let mut rig = rig();
    watching(&mut rig);
    rig.wait(Duration::from_secs(599));
    rig.quiet();
    rig.wait(Duration::from_secs(2));
    let last = rig.take_notify(200, "");
    assert_eq!(state(&last), "terminated;reason=timeout");
    assert!(rig.subscriptions.is_empty() && last.body().is_empty());
}

#[test]
fn what_is_refused() {
    let mut rig = rig();
    let mut ask = |headers: &str, status: u16| {
        let mut ua = Ua::new("alice", &format!("c{status}{}", headers.len()));
        rig.give(ua.request("SUBSCRIBE", headers));
        let response = rig.take_response(status);
        rig.quiet();
        response
    };
    assert_eq!(ask("Event: presence\r\n", 489).header("Allow-Events").unwrap(), "conference, refer");
    ask("", 489);
    ask("Event: refer;id=1\r\n", 403);
    assert_eq!(ask("Event: conference\r\nExpires: 59\r\n", 423).header("Min-Expires").unwrap(), "60");
    let types = ask("Event: conference\r\nAccept: application/pidf+xml\r\n", 406);
    assert_eq!(types.header("Accept").unwrap(), "application/conference-info+xml");
    rig.allowed = Err(Refusal::NotAllowed);
    let mut ua = Ua::new("mallory", "m");
    rig.give(ua.subscribe(600));
    rig.take_response(403);
    rig.allowed = Ok(());
    ua.to_tag = "invented".into();
    rig.give(ua.subscribe(600));
    rig.take_response(481);
    // RFC 3261 §12.1.1: without a Contact there is no dialog.
    let text = Ua::new("alice", "nc").subscribe(600).replace("Contact:", "X-Contact:");
    rig.give(text);
    rig.take_response(400);
    assert!(rig.subscriptions.is_empty());
}

#[test]
fn an_old_request_in_the_dialog() {
    let mut rig = rig();
    let (mut ua, _) = watching(&mut rig);
    ua.cseq = 0;
    let old = ua.subscribe(0).replace("z9hG4bK", "z9hG4bKold");
    rig.give(old);
    rig.take_response(500);
    assert_eq!(rig.subscriptions.len(), 1);
}

#[test]
fn bounds() {
    let mut rig = Rig::new(Settings { most: 3, of_one: 2, ..Settings::default() });
    for (name, call, status) in
        [("a", "1", 200), ("a", "2", 200), ("a", "3", 503), ("b", "4", 200), ("c", "5", 503)]
    {
        rig.give(Ua::new(name, call).subscribe(600));
        let response = rig.take_response(status);
        match status {
            200 => drop(rig.take_notify(200, "")),
            _ => assert!(response.retry_after().is_some()),
        }
    }
    assert_eq!(rig.subscriptions.watchers(ROOM), 3);
}

#[test]
fn a_notify_that_fails_ends_it() {
    for (status, headers, stays) in [
        (481, "", false),
        (500, "", false),
        (404, "Retry-After: 5\r\n", false),
        (503, "Retry-After: 20\r\n", true),
    ] {
        let mut rig = rig();
        let (_, mut view) = watching(&mut rig);
        rig.enter(CAROL);
        rig.take_notify(status, headers);
        assert_eq!(rig.subscriptions.is_empty(), !stays, "{status}");
        rig.enter("sip:dave@example.com");
        rig.quiet();
        if stays {
            rig.wait(Duration::from_secs(19));
            rig.quiet();
            rig.wait(Duration::from_secs(2));
            let full = document(&rig.take_notify(200, ""));
            assert_eq!(full.state(), State::Full);
            view.apply(&full).unwrap();
            assert_eq!(ordered(view.roster()), rig.roster());
        }
    }
}

#[test]
fn a_notify_that_is_challenged_is_said_again_once() {
    let mut rig = rig();
    let (_, mut view) = watching(&mut rig);
    rig.enter(CAROL);
    rig.take_notify(407, "");
    view.apply(&document(&rig.take_notify(200, ""))).unwrap();
    assert_eq!(ordered(view.roster()), rig.roster());
    rig.subscriptions.close(rig.now, ROOM);
    rig.run();
    rig.take_notify(407, "");
    assert_eq!(state(&rig.take_notify(407, "")), "terminated;reason=noresource");
    rig.quiet();
    assert!(rig.subscriptions.is_empty());
}

#[test]
fn a_watcher_that_is_dead_is_forgotten() {
    let mut rig = rig();
    watching(&mut rig);
    rig.enter(CAROL);
    rig.wait(Duration::from_secs(33));
    assert!(rig.subscriptions.is_empty());
    assert_eq!(rig.subscriptions.poll_timeout(), None);
}

#[test]
fn the_room_ends() {
    let mut rig = rig();
    let (_, mut view) = watching(&mut rig);
    rig.subscriptions.close(rig.now, ROOM);
    rig.run();
    let last = rig.take_notify(200, "");
    assert_eq!(state(&last), "terminated;reason=noresource");
    assert_eq!(view.apply(&document(&last)), Ok(Applied::Ended));
    assert!(rig.subscriptions.is_empty());
}

#[test]
fn who_is_put_out_sees_nothing_more() {
    let mut rig = rig();
    watching(&mut rig);
    rig.subscriptions.revoke(rig.now, ROOM, "sip:other@example.com");
    rig.run();
    rig.quiet();
    rig.subscriptions.revoke(rig.now, ROOM, "sip:alice@example.com");
    rig.run();
    let last = rig.take_notify(200, "");
    assert_eq!(state(&last), "terminated;reason=rejected");
    assert!(last.body().is_empty());
    rig.enter(CAROL);
    rig.quiet();
}

#[test]
fn the_end_waits_for_what_is_under_way() {
    let mut rig = rig();
    watching(&mut rig);
    rig.enter(CAROL);
    let held = rig.take().unwrap();
    rig.subscriptions.close(rig.now, ROOM);
    rig.run();
    rig.quiet();
    rig.answer(&held, 200, "");
    assert_eq!(state(&rig.take_notify(200, "")), "terminated;reason=noresource");
}

/// The dialog of a call that Alice made to the room.
fn call(rig: &mut Rig) -> Ua {
    let mut ua = Ua::new("alice", "call");
    let invite = ua.request("INVITE", "").into();
    let invite = Message::parse(invite, &carnet_sip::Limits::default()).unwrap();
    let mut ok = Message::response(&invite, 200, "").unwrap();
    let to = address(&format!("<{ROOM}>")).with_tag("focus").unwrap();
    ok.set_header("To", &to.to_string()).unwrap();
    rig.call = Some(Dialog::callee(&invite, &ok).unwrap());
    ua.to_tag = "focus".into();
    ua
}

#[test]
fn in_the_dialog_of_a_call() {
    let mut rig = rig();
    let mut ua = call(&mut rig);
    rig.give(ua.subscribe(600));
    rig.take_response(200);
    let notify = rig.take_notify(200, "");
    assert_eq!((notify.from_tag(), notify.call_id().unwrap()), (Some("focus".into()), "call"));
    assert_eq!(notify.cseq().unwrap().number, 1);
    let mut view = View::default();
    view.apply(&document(&notify)).unwrap();
    rig.enter(CAROL);
    view.apply(&document(&rig.take_notify(200, ""))).unwrap();
    assert_eq!(ordered(view.roster()), rig.roster());
    // The call ends, and its dialog with the last NOTIFY.
    let dialog = rig.call.take().unwrap();
    let id = dialog.id();
    rig.subscriptions.call_ended(rig.now, &id, Some(dialog), false);
    rig.run();
    let last = rig.take_notify(200, "");
    assert_eq!(state(&last), "terminated;reason=noresource");
    assert_eq!(last.cseq().unwrap().number, 3);
    assert!(rig.subscriptions.is_empty() && !rig.subscriptions.knows(&id));
}

#[test]
fn a_call_that_ends_without_its_dialog() {
    let mut rig = rig();
    let mut ua = call(&mut rig);
    rig.give(ua.subscribe(600));
    rig.take_response(200);
    let held = rig.take().unwrap();
    let id = rig.call.as_ref().unwrap().id();
    rig.subscriptions.call_ended(rig.now, &id, None, false);
    rig.run();
    rig.quiet();
    assert!(rig.subscriptions.is_empty());
    // An answer that comes late is no matter.
    rig.answer(&held, 200, "");
    rig.quiet();
}

#[test]
fn a_large_room_is_said_by_several() {
    let mut rig = Rig::new(Settings { octets: 4000, ..Settings::default() });
    for n in 0..100 {
        enter(&mut rig.room, &format!("sip:{n}@example.com"));
    }
    let mut ua = Ua::new("alice", "c1");
    rig.give(ua.subscribe(600));
    rig.take_response(200);
    let (mut view, mut parts) = (View::default(), 0);
    while !rig.sent.is_empty() {
        let notify = rig.take_notify(200, "");
        assert!(notify.body().len() < 6000, "{}", notify.body().len());
        assert!(matches!(view.apply(&document(&notify)), Ok(Applied::Changed(_))));
        parts += 1;
        // What changes meanwhile comes after.
        if parts == 2 {
            rig.change(|room, now| leave(room, now, "sip:7@example.com"));
        }
    }
    assert!(parts > 5, "{parts}");
    assert_eq!(ordered(view.roster()), rig.roster());
    // Asked once, the last part ends it.
    rig.give(Ua::new("bob", "c2").subscribe(0));
    rig.take_response(200);
    let mut states = Vec::new();
    while !rig.sent.is_empty() {
        states.push(state(&rig.take_notify(200, "")));
    }
    assert_eq!(states.pop().as_deref(), Some("terminated;reason=timeout"));
    assert!(states.len() > 4 && states.iter().all(|s| s.starts_with("active")), "{states:?}");
}

#[test]
fn other_requests_are_none_of_ours() {
    let mut rig = rig();
    let (mut ua, _) = watching(&mut rig);
    rig.give(ua.request("MESSAGE", ""));
    assert_eq!(*rig.take_response(405).method(), Method::Message);
}
