//! REFER and the news of it.

use super::rig::{Rig, Ua};
use crate::subscribe::{Referred, Settings, SubscriptionKey};
use std::time::Duration;

const TO: &str = "Refer-To: <sip:bob@example.com>\r\n";

fn refer(rig: &mut Rig, ua: &mut Ua) -> SubscriptionKey {
    rig.give(ua.request("REFER", TO));
    let response = rig.take_response(202);
    if ua.to_tag.is_empty() {
        ua.learn(&response);
    }
    match rig.referred.take() {
        Some(Referred::Followed(key)) => key,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn news(rig: &mut Rig, event: &str, line: &str, state: &str) {
    let notify = rig.take_notify(200, "");
    assert_eq!(notify.header("Event").unwrap(), event);
    assert_eq!(notify.content_type().unwrap(), "message/sipfrag;version=2.0");
    assert_eq!(notify.body(), format!("{line}\r\n").as_bytes());
    assert_eq!(notify.header("Subscription-State").unwrap(), state);
}

#[test]
fn what_becomes_of_it() {
    let mut rig = Rig::new(Settings::default());
    let mut ua = Ua::new("alice", "r");
    let key = refer(&mut rig, &mut ua);
    news(&mut rig, "refer;id=1", "SIP/2.0 100 Trying", "active;expires=300");
    rig.wait(Duration::from_secs(10));
    rig.subscriptions.progress(rig.now, key, 180, "");
    rig.run();
    news(&mut rig, "refer;id=1", "SIP/2.0 180 Ringing", "active;expires=290");
    rig.subscriptions.progress(rig.now, key, 486, "Busy\r\nVia: x");
    rig.run();
    news(&mut rig, "refer;id=1", "SIP/2.0 486 Busy  Via: x", "terminated;reason=noresource");
    assert!(rig.subscriptions.is_empty());
    // There is nothing more to say.
    rig.subscriptions.progress(rig.now, key, 200, "");
    rig.run();
    rig.quiet();
}

#[test]
fn only_the_newest_is_told() {
    let mut rig = Rig::new(Settings::default());
    let key = refer(&mut rig, &mut Ua::new("alice", "r"));
    let held = rig.take().unwrap();
    for status in [180, 181, 200] {
        rig.subscriptions.progress(rig.now, key, status, "");
    }
    rig.run();
    rig.quiet();
    rig.answer(&held, 200, "");
    news(&mut rig, "refer;id=1", "SIP/2.0 200 OK", "terminated;reason=noresource");
}

#[test]
fn two_in_one_dialog() {
    let mut rig = Rig::new(Settings::default());
    let mut ua = Ua::new("alice", "r");
    let first = refer(&mut rig, &mut ua);
    rig.take_notify(200, "");
    let second = refer(&mut rig, &mut ua);
    rig.take_notify(200, "");
    rig.subscriptions.progress(rig.now, first, 200, "");
    rig.run();
    news(&mut rig, "refer;id=1", "SIP/2.0 200 OK", "terminated;reason=noresource");
    // The dialog is there as long as one of them.
    rig.subscriptions.progress(rig.now, second, 603, "");
    rig.run();
    news(&mut rig, "refer;id=2", "SIP/2.0 603 Decline", "terminated;reason=noresource");
    assert!(rig.subscriptions.is_empty());
}

#[test]
fn nobody_wants_to_know() {
    let mut rig = Rig::new(Settings::default());
    rig.give(
        Ua::new("alice", "r").request("REFER", &format!("{TO}Refer-Sub: false\r\nRequire: norefersub\r\n")),
    );
    assert_eq!(rig.take_response(202).header("Refer-Sub").unwrap(), "false");
    assert_eq!(rig.referred, Some(Referred::Quietly));
    rig.quiet();
    assert!(rig.subscriptions.is_empty());
}

#[test]
fn it_can_be_refreshed_and_ended() {
    let mut rig = Rig::new(Settings::default());
    let mut ua = Ua::new("alice", "r");
    let key = refer(&mut rig, &mut ua);
    rig.take_notify(200, "");
    // RFC 3515 §2.4.6: the first one also without its id.
    rig.give(ua.request("SUBSCRIBE", "Event: refer\r\nExpires: 1000\r\n"));
    rig.take_response(200);
    news(&mut rig, "refer;id=1", "SIP/2.0 100 Trying", "active;expires=1000");
    rig.give(ua.request("SUBSCRIBE", "Event: refer;id=1\r\nExpires: 0\r\n"));
    rig.take_response(200);
    news(&mut rig, "refer;id=1", "SIP/2.0 100 Trying", "terminated;reason=timeout");
    rig.subscriptions.progress(rig.now, key, 200, "");
    rig.run();
    rig.quiet();
}

#[test]
fn it_does_not_last_for_ever() {
    let mut rig = Rig::new(Settings::default());
    refer(&mut rig, &mut Ua::new("alice", "r"));
    rig.take_notify(200, "");
    rig.wait(Duration::from_secs(301));
    news(&mut rig, "refer;id=1", "SIP/2.0 100 Trying", "terminated;reason=timeout");
    assert!(rig.subscriptions.is_empty());
}
