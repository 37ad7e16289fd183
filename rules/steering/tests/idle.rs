//! Calls whose end nobody told.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_gateway::media::{Cause, Direction, Event as Media, TlsFailure};
use carnet_steering::Event;
use common::*;
use std::time::Duration;

const OFFER: fn() -> String = || msrp("192.0.2.1", 2855, "actpass");
const ANSWER: fn() -> String = || msrp("198.51.100.9", 2000, "passive");

fn happens(rig: &mut Rig, realm: &str, event: impl Fn(carnet_gateway::media::Pinhole) -> Media) {
    let pinholes: Vec<_> = rig.holes.iter().filter(|(_, h)| h.realm == realm).map(|(p, _)| *p).collect();
    for pinhole in pinholes {
        rig.gateway.handle_media(rig.now, event(pinhole));
    }
    rig.settle();
}

fn up(rig: &mut Rig, realm: &str) {
    happens(rig, realm, |pinhole| Media::Established { pinhole, peer: "192.0.2.1:4000".parse().unwrap() });
}

fn down(rig: &mut Rig, realm: &str) {
    happens(rig, realm, |pinhole| Media::Closed { pinhole, cause: Cause::Reset });
}

fn quiet(rig: &mut Rig, realm: &str) {
    happens(rig, realm, |pinhole| Media::Inactive { pinhole, direction: Direction::Both });
}

fn ended(rig: &Rig) -> Vec<&'static str> {
    let why = |e: &Event| if let Event::DialogEnded { why, .. } = e { Some(why.name()) } else { None };
    rig.events.iter().filter_map(why).collect()
}

fn answered() -> Rig {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    rig
}

#[test]
fn an_offer_that_nobody_answers_is_given_up() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.pass(Duration::from_secs(500));
    // Somebody else is tried: that begins anew.
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.pass(Duration::from_secs(599));
    assert_eq!(rig.gateway.contexts(), 1);
    rig.pass(Duration::from_secs(2));
    assert_eq!(ended(&rig), ["unanswered"]);
    rig.assert_empty();
    let mut rig = Rig::with(|config| config.timers.offer = Duration::ZERO);
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.pass(Duration::from_secs(100_000));
    assert_eq!(rig.gateway.contexts(), 1, "it is never given up");
}

#[test]
fn a_call_in_which_nobody_connects_is_over() {
    let mut rig = answered();
    rig.pass(Duration::from_secs(59));
    up(&mut rig, "core");
    assert_eq!(rig.gateway.contexts(), 1);
    rig.pass(Duration::from_secs(2));
    assert_eq!(ended(&rig), ["no-connection"], "one side alone is none");
    rig.assert_empty();
}

#[test]
fn a_connection_that_breaks_may_be_made_again() {
    let mut rig = answered();
    up(&mut rig, "core");
    up(&mut rig, "access");
    rig.pass(Duration::from_secs(3_000));
    assert_eq!(rig.gateway.contexts(), 1);
    down(&mut rig, "core");
    rig.pass(Duration::from_secs(50));
    rig.sdp(reoffer("c1", "b", "a", &ANSWER()));
    rig.sdp(answer("c1", "b", "a", &msrp("192.0.2.1", 2855, "active")));
    rig.pass(Duration::from_secs(50));
    assert_eq!(rig.gateway.contexts(), 1, "the re-offer begins anew");
    up(&mut rig, "core");
    rig.pass(Duration::from_secs(600));
    assert_eq!(rig.gateway.contexts(), 1);
    down(&mut rig, "access");
    rig.pass(Duration::from_secs(61));
    assert_eq!(ended(&rig), ["no-connection"]);
    rig.assert_empty();
    let tags = rig.events.iter().filter_map(|e| match e {
        Event::Disconnected { tag, cause, .. } => Some((tag.clone().unwrap(), cause.clone())),
        _ => None,
    });
    let tags: Vec<_> = tags.collect();
    assert_eq!(
        tags,
        [("b".to_owned(), "reset_by_peer".to_owned()), ("a".to_owned(), "reset_by_peer".to_owned())]
    );
}

#[test]
fn who_is_on_hold_need_not_be_connected() {
    let mut rig = answered();
    rig.sdp(reoffer("c1", "a", "b", &msrp("192.0.2.1", 2855, "holdconn")));
    rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "holdconn")));
    rig.pass(Duration::from_secs(3_500));
    assert_eq!(rig.gateway.contexts(), 1);
    rig.pass(Duration::from_secs(200));
    assert_eq!(ended(&rig), ["silent"]);
    rig.assert_empty();
}

#[test]
fn a_call_in_which_nothing_passes_is_over() {
    let mut rig = answered();
    let watched = rig.hole("core").settings.inactivity;
    assert_eq!(watched, Some((Duration::from_secs(3600), Direction::Both)));
    up(&mut rig, "core");
    up(&mut rig, "access");
    quiet(&mut rig, "core");
    assert_eq!(ended(&rig), ["silent"]);
    rig.assert_empty();
    let mut rig = Rig::with(|config| config.timers.silence = Duration::ZERO);
    rig.sdp(offer("c1", "a", &OFFER()));
    assert_eq!(rig.hole("core").settings.inactivity, None);
}

#[test]
fn one_silent_line_does_not_end_another() {
    let two = |sdp: String, ip: &str, setup: &str| format!("{sdp}{}", msrp_line(ip, 2856, setup));
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &two(OFFER(), "192.0.2.1", "actpass")));
    rig.sdp(answer("c1", "a", "b", &two(ANSWER(), "198.51.100.9", "passive")));
    up(&mut rig, "core");
    up(&mut rig, "access");
    let core: Vec<_> = rig.holes.iter().filter(|(_, h)| h.realm == "core").map(|(p, _)| *p).collect();
    let silent = |rig: &mut Rig, at: usize| {
        let media = Media::Inactive { pinhole: core[at], direction: Direction::Both };
        rig.gateway.handle_media(rig.now, media);
        rig.settle();
    };
    silent(&mut rig, 0);
    assert_eq!(rig.gateway.contexts(), 2);
    // The first speaks again before the second falls silent.
    rig.passed = 10;
    silent(&mut rig, 1);
    assert_eq!((rig.gateway.contexts(), ended(&rig).len()), (2, 0));
    silent(&mut rig, 0);
    assert_eq!(ended(&rig), ["silent"]);
    rig.assert_empty();
}

#[test]
fn tls_that_fails_at_the_gateway_is_told() {
    let mut rig = Rig::new();
    let sdp = format!("{}a=3ge2ae:requested\r\n", tls(&OFFER()));
    rig.sdp(offer("c1", "a", &sdp));
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    up(&mut rig, "access");
    happens(&mut rig, "access", |pinhole| Media::Closed {
        pinhole,
        cause: Cause::Tls(TlsFailure::Fingerprint),
    });
    let failed = rig.events.iter().find_map(|e| match e {
        Event::TlsFailed { call_id, line, tag, cause } => {
            Some((call_id.clone(), *line, tag.clone(), cause.clone()))
        }
        _ => None,
    });
    assert_eq!(failed, Some(("c1".into(), 0, Some("a".into()), "fingerprint_mismatch".into())));
}

/// The connection is where the last answer has it, whatever an offer that came later would change.
#[test]
fn an_offer_that_stays_open_does_not_hide_the_connections() {
    let mut rig = answered();
    up(&mut rig, "core");
    up(&mut rig, "access");
    let old: Vec<_> = rig.holes.keys().copied().collect();
    rig.sdp(reoffer("c1", "a", "b", &tls(&OFFER())));
    // It breaks and comes again, on the pinholes that were there.
    for pinhole in old {
        rig.gateway.handle_media(rig.now, Media::Closed { pinhole, cause: Cause::Reset });
        let peer = "192.0.2.1:4000".parse().unwrap();
        rig.gateway.handle_media(rig.now, Media::Established { pinhole, peer });
    }
    rig.settle();
    rig.pass(Duration::from_secs(100));
    assert_eq!(ended(&rig).len(), 0);
}

/// RFC 3261 §14.1: a re-INVITE that is refused leaves the session as it was.
#[test]
fn an_offer_within_a_call_that_nobody_answers_is_given_back() {
    let mut rig = answered();
    up(&mut rig, "core");
    up(&mut rig, "access");
    let old = rig.gateway.context_ids(0).next().unwrap();
    let two = format!("{}{}", tls(&OFFER()), msrp_line("192.0.2.1", 2856, "actpass"));
    rig.sdp(reoffer("c1", "a", "b", &two));
    rig.pass(Duration::from_secs(599));
    assert_eq!(rig.gateway.contexts(), 3);
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.gateway.context_ids(0).collect::<Vec<_>>(), [old]);
    // What comes too late is not taken for the answer to what there was before.
    let late =
        answer("c1", "a", "b", &format!("{}{}", tls(&ANSWER()), msrp_line("198.51.100.9", 1, "passive")));
    assert_eq!(rig.error(late), "no offer waits for this answer");
    rig.sdp(reoffer("c1", "b", "a", &ANSWER()));
    rig.sdp(answer("c1", "b", "a", &OFFER()));
    assert_eq!(rig.gateway.context_ids(0).collect::<Vec<_>>(), [old]);
    assert_eq!(ended(&rig).len(), 0);
}
