//! Media servers die, the focus is started again, the two lose touch: members are called back and nobody
//! leaves the room.

#![allow(clippy::unwrap_used)]

mod net;

use std::time::Duration;

use carnet_conference::{Event, Left};
use carnet_gateway::media::{self, ConferenceEvent, Medium};
use net::{FACTORY, Net, TEAM, Wish, config, member};

fn floor(net: &mut Net, mrfp: usize, holders: Vec<u16>, state: &str) {
    let group = *net.mrfps[mrfp].conferences.keys().next().unwrap();
    let event = ConferenceEvent::Floor { floor: 1, holders, queue: vec![2], state: state.into() };
    net.mrfps[mrfp].tell(media::Event::Conference { group, event });
    net.settle();
}

fn lefts(net: &Net) -> Vec<&Event> {
    net.events.iter().filter(|event| matches!(event, Event::Left { .. })).collect()
}

#[test]
fn a_media_server_dies_and_another_goes_on() {
    let mut net = Net::with(config(2));
    for name in ["alice", "bob"] {
        net.enter(name, TEAM);
    }
    let first = net.mrfps.iter().position(|mrfp| mrfp.gateway.contexts() == 1).unwrap();
    let second = 1 - first;
    floor(&mut net, first, vec![1], "v1 alice holds it");
    let confid = net.mrfps[first].conferences.values().next().unwrap().confid;
    let old = net.ue("alice").session().teks.clone();
    net.kill(first);
    net.pass(Duration::from_secs(20));
    let lost = net.event(|event| matches!(event, Event::RoomLost { .. }));
    assert!(matches!(lost, Event::RoomLost { members: 2, .. }));
    assert_eq!(net.mrfps[second].holes.len(), 4);
    let conference = net.mrfps[second].conferences.values().next().unwrap();
    assert_eq!(conference.state.as_deref(), Some("v1 alice holds it"), "floors go on");
    assert_eq!(conference.confid, confid);
    for (name, user) in [("alice", 1), ("bob", 2)] {
        let ue = net.ue(name);
        assert_eq!(ue.sessions.len(), 2);
        assert!(ue.session().called && ue.sessions[0].ended.is_some(), "the old dialog gave way");
        let end = net.mrfps[second].endpoint(&member(name), true);
        assert_eq!(end.user, user, "who it was it is");
        let Medium::Msrp { history, .. } = end.medium else { panic!() };
        assert!(history, "what the others said before it was back");
    }
    let new = net.ue("alice").session().teks.clone();
    assert_ne!(old, new, "another connection, another key");
    assert!(lefts(&net).is_empty(), "nobody has left: {:?}", net.events);
    assert_eq!(net.members(TEAM), [(member("alice"), "in"), (member("bob"), "in")]);
    // The first one comes back with nothing, and has nothing.
    net.revive(first);
    net.pass(Duration::from_secs(30));
    assert!(net.mrfps[first].gateway.is_idle());
    for name in ["alice", "bob"] {
        net.bye(name);
    }
    assert!(net.mrfps[second].gateway.is_idle() && net.focus().load().legs == 0);
}

#[test]
fn the_only_media_server_starts_again_and_members_are_called_when_it_has() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.kill(0);
    net.pass(Duration::from_secs(15));
    assert_eq!(net.members(TEAM), [(member("alice"), "called-back")]);
    assert!(net.ue("alice").sessions[0].ended.is_none(), "it waits");
    // Longer than anybody is called: there was nobody who could have been called from.
    net.pass(Duration::from_secs(120));
    assert_eq!(net.members(TEAM), [(member("alice"), "called-back")]);
    net.revive(0);
    net.pass(Duration::from_secs(10));
    assert_eq!(net.members(TEAM), [(member("alice"), "in")]);
    assert_eq!(net.mrfps[0].holes.len(), 2);
    assert!(lefts(&net).is_empty());
}

#[test]
fn one_who_is_not_reached_is_called_again_and_then_given_up() {
    let mut net = Net::with(config(2));
    net.enter("alice", TEAM);
    net.enter("bob", TEAM);
    net.ue("alice").refuses = Some(480);
    let first = net.mrfps.iter().position(|mrfp| mrfp.gateway.contexts() == 1).unwrap();
    net.kill(first);
    net.pass(Duration::from_secs(15));
    let tries = |net: &mut Net| {
        let got = &net.ue("alice").got;
        got.iter().filter(|m| *m.method() == carnet_sip::Method::Invite).count()
    };
    assert!(tries(&mut net) > 1, "again and again");
    net.pass(Duration::from_secs(90));
    let left = net.event(|event| matches!(event, Event::Left { .. }));
    assert!(
        matches!(&left, Event::Left { member: who, reason: Left::NotReached(_), .. } if *who == member("alice"))
    );
    assert!(net.ue("alice").sessions[0].ended.is_some(), "and is told so");
    assert_eq!(net.members(TEAM), [(member("bob"), "in")]);
    let before = tries(&mut net);
    net.pass(Duration::from_secs(60));
    assert_eq!(tries(&mut net), before);
}

#[test]
fn one_who_comes_by_itself_meanwhile_is_who_it_was() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.enter("bob", TEAM);
    net.kill(0);
    net.pass(Duration::from_secs(15));
    net.revive_silently(0);
    net.ue("bob").rings = true;
    net.ue("alice").rings = true;
    net.settle();
    net.pass(Duration::from_secs(1));
    net.enter("bob", TEAM);
    assert_eq!(net.mrfps[0].endpoint(&member("bob"), true).user, 2);
    let bob: Vec<_> = net.members(TEAM).into_iter().filter(|(name, _)| *name == member("bob")).collect();
    assert_eq!(bob, [(member("bob"), "in")]);
    assert!(lefts(&net).is_empty());
}

#[test]
fn a_focus_that_starts_again_takes_up_its_rooms() {
    let mut net = Net::with(config(1));
    net.enter("alice", TEAM);
    net.enter("bob", FACTORY);
    let adhoc = net.ue("bob").session().peers[0].clone();
    net.enter("carol", &adhoc);
    let group =
        net.mrfps[0].conferences.iter().find(|(_, c)| c.uri == adhoc).map(|(group, _)| *group).unwrap();
    let state = "v1 who knows";
    let event = ConferenceEvent::Floor { floor: 1, holders: vec![1], queue: vec![], state: state.into() };
    net.mrfps[0].tell(media::Event::Conference { group, event });
    let event = ConferenceEvent::Nickname { user: 2, nick: Some("Caro \"\u{1f600}\"".into()) };
    net.mrfps[0].tell(media::Event::Conference { group, event });
    net.pass(Duration::from_secs(1));
    assert_eq!(net.records.len(), 2);
    // Killed: no goodbye.
    net.focus = None;
    net.pass(Duration::from_secs(5));
    net.events.clear();
    net.start(config(1));
    let records = net.records.clone();
    let skipped = net.admin(|focus, now, wall| focus.restore(now, wall, records));
    assert_eq!(skipped, 0);
    net.pass(Duration::from_secs(30));
    assert_eq!(net.members(TEAM), [(member("alice"), "in")]);
    assert_eq!(net.members(&adhoc), [(member("bob"), "in"), (member("carol"), "in")]);
    let status = net.focus().room(&adhoc).unwrap();
    assert!(status.members[0].owner && !status.fixed);
    assert_eq!(status.members[1].nickname.as_deref(), Some("Caro \"\u{1f600}\""));
    let conference = net.mrfps[0].conferences.values().find(|c| c.uri == adhoc).unwrap();
    assert_eq!(conference.state.as_deref(), Some(state));
    assert_eq!(net.mrfps[0].gateway.contexts(), 2, "what the old one had made is gone");
    let Medium::Msrp { nickname, .. } = net.mrfps[0].endpoint(&member("carol"), true).medium.clone() else {
        panic!()
    };
    assert_eq!(nickname.as_deref(), Some("Caro \"\u{1f600}\""));
    for name in ["alice", "bob", "carol"] {
        let last = net.ue(name).sessions.len() - 1;
        assert!(net.ue(name).sessions[last].called);
    }
    assert!(lefts(&net).is_empty());
}

/// What the media server lets through of a member.
fn speaks(net: &Net, who: &str) -> bool {
    matches!(net.mrfps[0].endpoint(&member(who), true).medium, Medium::Msrp { speak: true, .. })
}

fn started_again(net: &mut Net) {
    net.focus = None;
    net.pass(Duration::from_secs(5));
    net.start(config(1));
    let records = net.records.clone();
    assert_eq!(net.admin(|focus, now, wall| focus.restore(now, wall, records)), 0);
    net.pass(Duration::from_secs(30));
}

#[test]
fn who_was_muted_is_muted_after_a_start() {
    let mut net = Net::with(config(1));
    let mute = |net: &mut Net, who: &str, muted| {
        net.admin(|focus, now, wall| focus.mute(now, wall, TEAM, &member(who), muted)).unwrap();
    };
    net.enter("alice", TEAM);
    net.enter("bob", TEAM);
    mute(&mut net, "alice", true);
    net.pass(Duration::from_secs(1));
    started_again(&mut net);
    assert_eq!(net.members(TEAM), [(member("alice"), "in"), (member("bob"), "in")]);
    assert!(!speaks(&net, "alice") && speaks(&net, "bob"));
    // A member that has left is muted when it comes again, even if nobody was in the room meanwhile.
    for who in ["alice", "bob"] {
        net.admin(|focus, now, wall| focus.kick(now, wall, TEAM, &member(who))).unwrap();
    }
    net.pass(Duration::from_secs(5));
    assert!(net.members(TEAM).is_empty() && net.records.len() == 1, "{:?}", net.records);
    started_again(&mut net);
    assert!(net.members(TEAM).is_empty());
    net.enter("alice", TEAM);
    assert!(!speaks(&net, "alice") && net.focus().room(TEAM).unwrap().members[0].muted);
    mute(&mut net, "alice", false);
    net.pass(Duration::from_secs(1));
    started_again(&mut net);
    assert!(speaks(&net, "alice"));
    // The room's end is the end of it.
    mute(&mut net, "alice", true);
    net.admin(|focus, now, wall| focus.close(now, wall, TEAM)).unwrap();
    net.pass(Duration::from_secs(5));
    assert!(net.records.is_empty(), "{:?}", net.records);
    net.enter("alice", TEAM);
    assert!(speaks(&net, "alice"));
}

#[test]
fn records_that_are_none_do_no_harm() {
    let mut net = Net::new();
    let records = [
        ("a".to_owned(), b"nonsense".to_vec()),
        ("b".to_owned(), vec![0xff, 0xfe]),
        ("c".to_owned(), b"carnet-room 1\nuri sip:gone@conf.example\nmember 1 sip:x@y\n".to_vec()),
        ("d".to_owned(), b"carnet-room 1\nuri sip:g@conf.example\nfactory sip:no@conf.example\n".to_vec()),
        // One that is there for its members, without any.
        (
            "e".to_owned(),
            format!("carnet-room 1\nuri sip:g@conf.example\nfactory {FACTORY}\nmuted sip:x@y\n").into_bytes(),
        ),
    ];
    let skipped = net.admin(|focus, now, wall| focus.restore(now, wall, records));
    assert_eq!((skipped, net.focus().rooms().len()), (5, 1));
}

#[test]
fn a_context_that_is_lost_is_made_anew_on_the_same_media_server() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.enter("bob", TEAM);
    // The process was replaced faster than anybody would have noticed.
    net.revive(0);
    net.pass(Duration::from_secs(10));
    assert_eq!(net.members(TEAM), [(member("alice"), "in"), (member("bob"), "in")]);
    assert_eq!((net.mrfps[0].gateway.contexts(), net.mrfps[0].holes.len()), (1, 4));
    assert!(lefts(&net).is_empty());
}

#[test]
fn after_a_partition_neither_side_keeps_what_the_other_forgot() {
    let mut net = Net::with(config(2));
    net.enter("alice", TEAM);
    let first = net.mrfps.iter().position(|mrfp| mrfp.gateway.contexts() == 1).unwrap();
    // Cut off, not dead: its legs go on.
    net.mrfps[first].up = false;
    net.pass(Duration::from_secs(20));
    assert_eq!(net.mrfps[1 - first].gateway.contexts(), 1);
    assert_eq!(net.mrfps[first].gateway.contexts(), 1);
    net.mrfps[first].up = true;
    net.pass(Duration::from_secs(60));
    assert!(net.mrfps[first].gateway.is_idle(), "its context is for nobody");
    assert_eq!(net.members(TEAM), [(member("alice"), "in")]);
    assert_eq!(net.mrfps[1 - first].holes.len(), 2);
}

#[test]
fn a_short_silence_loses_nothing() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let (now, wall) = (net.now, net.wall);
    net.focus().gateway_lost(now, wall, "m0");
    net.mrfps[0].up = false;
    net.pass(Duration::from_secs(3));
    net.mrfps[0].up = true;
    net.mrfps[0].gateway.reconnected();
    net.admin(|focus, now, wall| focus.gateway_connected(now, wall, "m0"));
    net.pass(Duration::from_secs(20));
    assert_eq!(net.ue("alice").sessions.len(), 1);
    assert_eq!(net.mrfps[0].holes.len(), 2);
    assert!(net.events.iter().all(|event| !matches!(event, Event::RoomLost { .. })));
}

#[test]
fn a_room_in_which_much_happens_is_not_written_down_each_time() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.enter("bob", TEAM);
    net.enter("carol", TEAM);
    let text = |net: &Net| String::from_utf8(net.records[TEAM].clone()).unwrap();
    assert!(text(&net).contains(&member("alice")) && !text(&net).contains(&member("carol")));
    net.pass(Duration::from_millis(250));
    for name in ["alice", "bob", "carol"] {
        assert!(text(&net).contains(&member(name)));
    }
    for name in ["alice", "bob", "carol"] {
        net.bye(name);
    }
    assert!(net.records.is_empty(), "that nobody is there is known at once");
}

#[test]
fn who_leaves_meanwhile_is_not_called_and_who_gives_way_has_not_left() {
    let gone = |net: &mut Net| {
        let left = net.event(|event| matches!(event, Event::Left { .. }));
        assert!(matches!(left, Event::Left { reason: Left::Gone | Left::NotReached(_), .. }), "{left:?}");
        assert!(net.members(TEAM).is_empty() && net.focus().load().legs == 0 && net.records.is_empty());
    };
    // Before anybody could have called it.
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.kill(0);
    net.pass(Duration::from_secs(15));
    net.bye("alice");
    net.revive(0);
    net.pass(Duration::from_secs(10));
    assert!(net.ue("alice").sessions.iter().all(|session| !session.called));
    gone(&mut net);
    // While it rings.
    let mut net = Net::with(config(2));
    net.enter("alice", TEAM);
    net.ue("alice").rings = true;
    let first = net.mrfps.iter().position(|mrfp| mrfp.gateway.contexts() == 1).unwrap();
    net.kill(first);
    net.pass(Duration::from_secs(10));
    net.bye("alice");
    net.pass(Duration::from_secs(130));
    gone(&mut net);
    // As it takes the call.
    let mut net = Net::with(config(2));
    net.enter("alice", TEAM);
    net.ue("alice").gives_way = true;
    let first = net.mrfps.iter().position(|mrfp| mrfp.gateway.contexts() == 1).unwrap();
    net.kill(first);
    net.pass(Duration::from_secs(20));
    assert_eq!(net.members(TEAM), [(member("alice"), "in")]);
    assert!(lefts(&net).is_empty(), "{:?}", lefts(&net));
}

#[test]
fn one_who_is_put_out_before_its_ack_is_not_called_back() {
    let mut net = Net::with(config(2));
    net.join("alice", TEAM, &Wish { no_ack: true, ..Wish::default() });
    net.admin(|focus, now, wall| focus.kick(now, wall, TEAM, &member("alice"))).unwrap();
    let first = net.mrfps.iter().position(|mrfp| mrfp.gateway.contexts() == 1).unwrap();
    net.kill(first);
    net.pass(Duration::from_secs(60));
    assert!(net.members(TEAM).is_empty() && net.focus().load().legs == 0);
    assert!(net.ue("alice").sessions.iter().all(|session| !session.called));
}

#[test]
fn two_devices_of_one_user_are_both_called_back_or_come_by_themselves() {
    for by_themselves in [false, true] {
        let mut net = Net::new();
        net.enter("alice", TEAM);
        net.enter("alice", TEAM);
        net.kill(0);
        net.pass(Duration::from_secs(15));
        net.revive_silently(0);
        net.ue("alice").rings = by_themselves;
        net.settle();
        net.pass(Duration::from_secs(1));
        if by_themselves {
            net.enter("alice", TEAM);
            net.enter("alice", TEAM);
        }
        net.pass(Duration::from_secs(20));
        assert_eq!(net.members(TEAM), [(member("alice"), "in"), (member("alice"), "in")]);
        let mut users: Vec<u16> = net.mrfps[0].endpoints().iter().map(|end| end.user).collect();
        users.sort_unstable();
        assert_eq!(users, [1, 1, 2, 2]);
        assert!(lefts(&net).is_empty());
        let up = net.ue("alice").sessions.iter().filter(|session| session.ended.is_none()).count();
        assert_eq!(up, 2);
    }
}

#[test]
fn a_realm_that_fails_takes_nobody_out_of_the_room() {
    let mut net = Net::with(config(2));
    net.enter("alice", TEAM);
    let first = net.mrfps.iter().position(|mrfp| mrfp.gateway.contexts() == 1).unwrap();
    let now = net.now;
    net.mrfps[first].gateway.interface_down(now, "public", 904);
    net.settle();
    net.pass(Duration::from_secs(5));
    assert_eq!(net.members(TEAM), [(member("alice"), "in")]);
    assert_eq!(net.mrfps[1 - first].holes.len(), 2);
    assert!(net.mrfps[first].gateway.is_idle() && lefts(&net).is_empty());
}
