//! Inside the dialogs of members: offers, refreshes, lost and repeated messages; and what happens on their
//! connections.

#![allow(clippy::unwrap_used)]

mod net;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use carnet_conference::{Devices, Event, Left};
use carnet_gateway::media::{self, Cause, ConferenceEvent, Gate, TlsFailure};
use carnet_sip::{Method, SessionTimers};
use net::{Net, TEAM, Ue, Wish, config, member};

fn left(net: &mut Net) -> Left {
    match net.event(|event| matches!(event, Event::Left { .. })) {
        Event::Left { reason, .. } => reason,
        _ => unreachable!(),
    }
}

fn reoffer(net: &mut Net, name: &str, edit: impl Fn(String) -> String) -> u16 {
    let now = net.now;
    net.ue(name).answers.clear();
    net.ue(name).reoffer(now, edit);
    net.settle();
    net.ue(name).answers.pop_front().unwrap().status().unwrap()
}

#[test]
fn the_same_offer_again_changes_nothing() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let before = (net.control.len(), net.mrfps[0].endpoint(&member("alice"), true));
    assert_eq!(reoffer(&mut net, "alice", |body| body), 200);
    assert_eq!(net.mrfps[0].endpoint(&member("alice"), true), before.1);
    assert_eq!(net.control.len(), before.0, "the media server is not bothered");
}

#[test]
fn a_member_on_hold_hears_nothing_and_goes_on_after() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let hold = |body: String| body.replace("a=setup", "a=inactive\r\na=setup");
    assert_eq!(reoffer(&mut net, "alice", hold), 200);
    assert_eq!(net.mrfps[0].settings(&member("alice"), true).gate, Gate::Inactive);
    let key = net.mrfps[0].endpoint(&member("alice"), true).tls.clone().unwrap().key;
    assert_eq!(key.expose(), net.ue("alice").session().teks[0].clone().unwrap(), "the key stays");
    assert_eq!(reoffer(&mut net, "alice", |body| body), 200);
    assert_eq!(net.mrfps[0].settings(&member("alice"), true).gate, Gate::SendReceive);
}

#[test]
fn a_line_that_is_taken_out_is_given_back() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let without = |body: String| body.replace("m=application 6062", "m=application 0");
    assert_eq!(reoffer(&mut net, "alice", without), 200);
    assert_eq!(net.mrfps[0].holes.len(), 1);
    assert_eq!(net.members(TEAM), [(member("alice"), "in")]);
    // Nothing left is no session.
    let nothing = |body: String| {
        body.replace("m=application 6062", "m=application 0").replace("m=message 6060", "m=message 0")
    };
    assert_eq!(reoffer(&mut net, "alice", nothing), 488);
    assert_eq!(net.mrfps[0].holes.len(), 1);
}

#[test]
fn keys_and_transports_do_not_change_in_a_dialog() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let clear = |body: String| {
        let lines: Vec<_> = body.split("\r\n").filter(|line| !line.starts_with("a=key-mgmt")).collect();
        lines.join("\r\n").replace("TCP/TLS/", "TCP/").replace("msrps:", "msrp:")
    };
    assert_eq!(reoffer(&mut net, "alice", clear), 488);
    let no_keys = |body: String| {
        let lines: Vec<_> = body.split("\r\n").filter(|line| !line.starts_with("a=key-mgmt")).collect();
        lines.join("\r\n")
    };
    assert_eq!(reoffer(&mut net, "alice", no_keys), 488);
    assert!(net.mrfps[0].endpoint(&member("alice"), true).tls.is_some(), "it goes on as it was");
    assert_eq!(net.members(TEAM), [(member("alice"), "in")]);
}

#[test]
fn who_is_not_refreshed_is_let_go_and_who_refreshes_stays() {
    let mut timed = config(1);
    timed.session_timers = SessionTimers { interval: 90, least: 90 };
    let mut net = Net::with(timed);
    net.enter("alice", TEAM);
    // The terminal of this test knows no timers, so we refresh and it answers.
    net.pass(Duration::from_secs(300));
    let refreshed =
        |net: &mut Net| net.ue("alice").got.iter().filter(|m| *m.method() == Method::Update).count();
    assert!(refreshed(&mut net) >= 5, "{}", refreshed(&mut net));
    assert_eq!(net.members(TEAM), [(member("alice"), "in")]);
    // It is gone without a word.
    net.tap = Some(Box::new(|_, to, data: &Bytes| {
        if to.ip().to_string().starts_with("10.0.1.") { Vec::new() } else { vec![data.clone()] }
    }));
    net.pass(Duration::from_secs(200));
    assert_eq!(left(&mut net), Left::Silent);
    assert!(net.mrfps[0].gateway.is_idle());
}

#[test]
fn a_2xx_that_is_never_acknowledged_ends_the_dialog() {
    let mut net = Net::new();
    net.join("alice", TEAM, &Wish { no_ack: true, ..Wish::default() });
    net.pass(Ue::SOON);
    assert_eq!(left(&mut net), Left::Silent);
    assert!(net.mrfps[0].gateway.is_idle() && net.focus().load().legs == 0);
}

#[test]
fn nobody_is_sent_away_before_its_ack() {
    let mut net = Net::new();
    net.join("alice", TEAM, &Wish { no_ack: true, ..Wish::default() });
    net.admin(|focus, now, wall| focus.kick(now, wall, TEAM, &member("alice"))).unwrap();
    assert!(net.ue("alice").sessions[0].ended.is_none());
    let now = net.now;
    net.ue("alice").acknowledge(now);
    net.settle();
    assert!(net.ue("alice").sessions[0].ended.is_some());
    assert!(matches!(left(&mut net), Left::Kicked(None)));
    assert!(net.mrfps[0].gateway.is_idle());
}

#[test]
fn who_gives_up_leaves_nothing_however_far_it_was() {
    // While the key server is asked.
    let mut net = Net::new();
    net.kms_fails = Some(carnet_conference::FetchError::TimedOut);
    net.join("alice", TEAM, &Wish::default());
    net.pass(Duration::from_millis(300));
    let now = net.now;
    net.ue("alice").cancel(now);
    net.settle();
    assert_eq!(net.ue("alice").last_status(), Some(487));
    assert_eq!((net.focus().load().legs, net.focus().load().fetches), (0, 0));
    // While the media server is asked.
    let mut net = Net::new();
    net.mrfps[0].slow = true;
    net.join("alice", TEAM, &Wish::default());
    net.pass(Duration::from_millis(300));
    let now = net.now;
    net.ue("alice").cancel(now);
    net.settle();
    assert_eq!(net.ue("alice").last_status(), Some(487));
    net.mrfps[0].slow = false;
    net.settle();
    assert!(net.mrfps[0].gateway.is_idle(), "what came too late was given back");
    net.enter("bob", TEAM);
}

#[test]
fn every_message_may_be_lost_once_or_come_twice() {
    for doubled in [false, true] {
        // Each message of the exchange in turn.
        for nth in 0..14 {
            let mut net = Net::new();
            let count = Rc::new(Cell::new(0));
            let seen = Rc::clone(&count);
            net.tap = Some(Box::new(move |_, _, data: &Bytes| {
                let at = seen.replace(seen.get() + 1);
                match (at == nth, doubled) {
                    (true, true) => vec![data.clone(), data.clone()],
                    (true, false) => Vec::new(),
                    _ => vec![data.clone()],
                }
            }));
            net.join("alice", TEAM, &Wish::default());
            net.pass(Duration::from_secs(5));
            net.admin(|focus, now, wall| focus.invite(now, wall, TEAM, &member("bob"))).unwrap();
            net.pass(Duration::from_secs(5));
            let both = [(member("alice"), "in"), (member("bob"), "in")];
            assert_eq!(net.members(TEAM), both, "message {nth}, doubled: {doubled}");
            assert_eq!(net.mrfps[0].holes.len(), 4);
            net.bye("alice");
            net.pass(Duration::from_secs(40));
            assert_eq!(net.members(TEAM), [(member("bob"), "in")], "message {nth}, doubled: {doubled}");
            assert_eq!(net.mrfps[0].holes.len(), 2);
        }
    }
}

#[test]
fn what_the_media_server_tells_of_a_member_is_told_on() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.enter("olga", TEAM);
    let group = *net.mrfps[0].conferences.keys().next().unwrap();
    let tell = |net: &mut Net, event| {
        net.mrfps[0].tell(media::Event::Conference { group, event });
        net.settle();
    };
    let pinhole = net.mrfps[0].pinhole(&member("alice"), true);
    let (version, suite) = ("TLSv1.3".to_owned(), "TLS_AES_128_GCM_SHA256".to_owned());
    net.mrfps[0].tell(media::Event::Sealed { pinhole, version, suite });
    net.settle();
    let sealed = net.event(|event| matches!(event, Event::Sealed { .. }));
    assert!(
        matches!(&sealed, Event::Sealed { media: "message", with, .. }
        if with == "TLSv1.3 TLS_AES_128_GCM_SHA256"),
        "{sealed:?}"
    );
    tell(&mut net, ConferenceEvent::Stalled { user: 1, on: true });
    net.event(|event| matches!(event, Event::Stalled { on: true, .. }));
    assert!(net.focus().room(TEAM).unwrap().members[0].stalled);
    let state = "s".to_owned();
    tell(
        &mut net,
        ConferenceEvent::Floor { floor: 1, holders: vec![2], queue: vec![1], state: state.clone() },
    );
    let floor = net.event(|event| matches!(event, Event::Floor { .. }));
    let holders = vec![member("olga")];
    assert_eq!(floor, Event::Floor { room: TEAM.into(), floor: 1, holders, waiting: 1 });
    assert_eq!(net.focus().room(TEAM).unwrap().floors[0].waiting, [1]);
    decided_by_the_administrator(&mut net);
    // One that is not there is not made up.
    tell(&mut net, ConferenceEvent::Floor { floor: 9, holders: vec![2], queue: vec![], state });
    assert_eq!(net.focus().room(TEAM).unwrap().floors.len(), 1);
    tell(&mut net, ConferenceEvent::Released { user: 1, reason: "slow".into() });
    assert_eq!(left(&mut net), Left::Released("slow".into()));
    let ended = net.ue("alice").sessions[0].ended.clone().unwrap();
    assert!(ended.contains("slow"), "{ended}");
    assert_eq!(net.members(TEAM), [(member("olga"), "in")]);
}

/// Olga, 2, has the floor, and alice, 1, waits for it.
fn decided_by_the_administrator(net: &mut Net) {
    use carnet_conference::{AdminError, Decision};
    let decide = |net: &mut Net, floor, user, decision| {
        net.admin(|focus, now, wall| focus.decide(now, wall, TEAM, (floor, user), decision))
    };
    assert_eq!(decide(net, 9, 1, Decision::Grant), Err(AdminError::NoFloor));
    assert_eq!(decide(net, 1, 2, Decision::Grant), Err(AdminError::NotWaiting));
    assert_eq!(decide(net, 1, 7, Decision::Deny), Err(AdminError::NotWaiting));
    assert_eq!(decide(net, 1, 1, Decision::Revoke), Err(AdminError::NotHolding));
    assert!(net.mrfps[0].decisions.is_empty());
    assert_eq!(decide(net, 1, 1, Decision::Grant), Ok(()));
    assert_eq!(decide(net, 1, 1, Decision::Deny), Ok(()));
    assert_eq!(decide(net, 1, 2, Decision::Revoke), Ok(()));
    assert_eq!(net.mrfps[0].decisions, [(1, 1, true), (1, 1, false), (1, 2, false)]);
    // Nobody hears alice, until everybody does again.
    let speaks = |net: &Net| {
        let end = net.mrfps[0].endpoint(&member("alice"), true);
        matches!(end.medium, carnet_gateway::media::Medium::Msrp { speak: true, .. })
    };
    let mute = |net: &mut Net, who: &str, muted| {
        net.admin(|focus, now, wall| focus.mute(now, wall, TEAM, who, muted))
    };
    assert!(speaks(net));
    assert_eq!(mute(net, &member("nobody"), true), Err(AdminError::NoMember));
    assert_eq!(mute(net, &member("alice"), true), Ok(()));
    assert!(!speaks(net) && net.focus().room(TEAM).unwrap().members[0].muted);
    assert_eq!(mute(net, &member("alice"), false), Ok(()));
    assert!(speaks(net) && !net.focus().room(TEAM).unwrap().members[0].muted);
}

#[test]
fn a_connection_that_ends_takes_its_member_along_but_not_one_for_floors() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.enter("bob", TEAM);
    let close = |net: &mut Net, who: &str, messages, cause| {
        let pinhole = net.mrfps[0].pinhole(&member(who), messages);
        net.mrfps[0].tell(media::Event::Closed { pinhole, cause });
        net.settle();
    };
    close(&mut net, "alice", false, Cause::Reset);
    assert_eq!(net.members(TEAM).len(), 2, "the floor connection may come again");
    close(&mut net, "alice", true, Cause::Reset);
    assert!(matches!(left(&mut net), Left::Connection(_)));
    assert!(net.ue("alice").sessions[0].ended.is_some());
    close(&mut net, "bob", false, Cause::Tls(TlsFailure::Key));
    assert!(matches!(left(&mut net), Left::Connection(_)), "a wrong key is no accident");
    assert!(net.mrfps[0].gateway.is_idle());
}

#[test]
fn a_second_device_is_another_or_takes_the_place_of_the_first() {
    for devices in [Devices::Several, Devices::Replace] {
        let mut some = config(1);
        some.rooms[0].policy.devices = devices;
        let mut net = Net::with(some);
        net.enter("olga", TEAM);
        net.enter("olga", TEAM);
        let up = net.ue("olga").sessions.iter().filter(|session| session.ended.is_none()).count();
        let count = net.focus().room(TEAM).unwrap().members.len();
        match devices {
            Devices::Several => assert_eq!((up, count, net.mrfps[0].holes.len()), (2, 2, 4)),
            Devices::Replace => {
                assert_eq!((up, count, net.mrfps[0].holes.len()), (1, 1, 2));
                assert_eq!(left(&mut net), Left::Replaced);
            }
        }
    }
}

#[test]
fn a_room_that_is_full_takes_nobody_more() {
    let mut some = config(1);
    some.rooms[0].policy.capacity = 1;
    let mut net = Net::with(some);
    net.enter("alice", TEAM);
    net.join("bob", TEAM, &Wish::default());
    assert_eq!(net.ue("bob").last_status(), Some(486));
    net.bye("alice");
    net.enter("bob", TEAM);
}

#[test]
fn a_room_may_end_with_its_last_owner() {
    let mut some = config(1);
    some.rooms[0].policy.ends_with_owner = true;
    let mut net = Net::with(some);
    net.enter("alice", TEAM);
    net.enter("olga", TEAM);
    net.enter("olga", TEAM);
    net.bye("olga");
    assert_eq!(net.members(TEAM).len(), 2, "another device of the owner is there");
    net.bye("olga");
    assert!(net.members(TEAM).is_empty() && net.mrfps[0].gateway.is_idle());
    assert_eq!(net.ue("alice").sessions[0].ended.as_deref().map(|r| r.contains("410")), Some(true));
    // An owner was never there: nothing ends.
    net.enter("alice", TEAM);
    net.enter("bob", TEAM);
    net.bye("bob");
    assert_eq!(net.members(TEAM), [(member("alice"), "in")]);
}

#[test]
fn one_that_goes_out_of_service_says_so() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.focus().retire();
    net.join("bob", TEAM, &Wish::default());
    assert_eq!(net.ue("bob").last_status(), Some(503));
    assert_eq!(net.members(TEAM).len(), 1);
    net.admin(|focus, now, wall| focus.end(now, wall));
    assert!(net.ue("alice").sessions[0].ended.is_some());
    assert!(net.mrfps[0].gateway.is_idle());
    assert!(net.records.is_empty(), "nobody is called back who was told that it is over");
}

#[test]
fn a_line_may_be_added_with_a_key_of_its_own() {
    let mut net = Net::new();
    net.join("alice", TEAM, &Wish::messages());
    assert_eq!(net.mrfps[0].holes.len(), 1);
    let (now, wall) = (net.now, net.wall);
    let key = |net: &Net| net.mrfps[0].endpoint(&member("alice"), true).tls.clone().unwrap().key;
    let before = key(&net);
    let Net { ues, kms, .. } = &mut net;
    let alice = ues.iter_mut().find(|ue| ue.name == "alice").unwrap();
    let offering = alice.add_floors(now, wall, kms, TEAM);
    net.settle();
    let answer = net.ue("alice").answers.pop_front().unwrap();
    assert_eq!(answer.status(), Some(200), "{:?}", net.events);
    let limits = carnet_sdp::Limits::default();
    let answer = carnet_sdp::Document::parse(answer.body().clone(), &limits).unwrap();
    let line = answer.media_at(1).unwrap();
    assert!(line.port() != Some(0) && line.conference_id().is_some());
    let seal = offering.answered(line.key_mgmt()[0].data, net.wall).unwrap();
    let end = net.mrfps[0].endpoint(&member("alice"), false);
    assert_eq!(end.tls.as_ref().unwrap().key.expose(), seal.tek.expose());
    assert!(key(&net) == before, "the other line is as it was");
    assert_eq!(net.focus().room(TEAM).unwrap().members[0].media.len(), 2);
    net.bye("alice");
    assert!(net.mrfps[0].gateway.is_idle());
}

#[test]
fn a_line_that_cannot_be_added_leaves_all_as_it_was() {
    let mut net = Net::new();
    net.join("alice", TEAM, &Wish::messages());
    net.kms_fails = Some(carnet_conference::FetchError::Unreachable);
    let add = |net: &mut Net| {
        let (now, wall) = (net.now, net.wall);
        let Net { ues, kms, .. } = net;
        let alice = ues.iter_mut().find(|ue| ue.name == "alice").unwrap();
        let _ = alice.add_floors(now, wall, kms, TEAM);
        net.settle();
        net.ue("alice").answers.pop_front().and_then(|answer| answer.status())
    };
    assert_eq!(add(&mut net), Some(503));
    net.kms_fails = None;
    net.mrfps[0].full = true;
    assert_eq!(add(&mut net), Some(503));
    assert_eq!(net.mrfps[0].holes.len(), 1);
    net.mrfps[0].full = false;
    // The member leaves while the key server is asked.
    net.kms_fails = Some(carnet_conference::FetchError::TimedOut);
    assert_eq!(add(&mut net), None);
    net.bye("alice");
    let statuses: Vec<_> = net.ue("alice").answers.iter().filter_map(carnet_sip::Message::status).collect();
    assert_eq!(statuses, [200, 487]);
    assert!(
        net.mrfps[0].gateway.is_idle() && net.focus().load().legs == 0 && net.focus().load().fetches == 0
    );
}
