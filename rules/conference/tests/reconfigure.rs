//! Other settings while members are in their rooms.

#![allow(clippy::unwrap_used)]

mod net;

use carnet_conference::{Algorithm, Config, ConfigError, Event, Floor, Gateway, Room};
use carnet_gateway::media::Medium;
use carnet_h248::MId;
use carnet_h248::association::Transport;
use net::{Mrfp, Net, TEAM, Wish, config, member, policy, uri};

const NEW: &str = "sip:adhoc-new@conf.example";

fn renewed(net: &mut Net, config: Config) {
    net.admin(|focus, now, wall| focus.reconfigure(now, wall, config)).unwrap();
}

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = config(1);
    change(&mut config);
    config
}

#[test]
fn a_room_with_members_is_run_in_another_way() {
    let mut net = Net::new();
    net.enter("olga", TEAM);
    net.enter("alice", TEAM);
    let before = net.focus().room(TEAM).unwrap();
    let chairs = |net: &Net, name: &str| match &net.mrfps[0].endpoint(&member(name), false).medium {
        Medium::Bfcp { chairs } => chairs.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((chairs(&net, "olga"), chairs(&net, "alice")), (vec![1], vec![]));

    let floor = |id, chair: Option<&str>| Floor {
        id,
        algorithm: Algorithm::FirstComeFirstServed,
        holders: 2,
        seconds: 9,
        messages: false,
        chair: chair.map(member),
    };
    renewed(
        &mut net,
        with(|config| {
            let room = &mut config.rooms[0].policy;
            (room.subject, room.capacity, room.nicknames) = (None, 2, false);
            room.reserved = vec![("Boss".into(), member("olga"))];
            room.floors = vec![floor(1, Some("alice")), floor(2, None)];
            room.owners = vec![member("alice")];
        }),
    );
    let told = net.mrfps[0].conferences.values().next().unwrap().clone();
    assert_eq!((told.subject, told.nicknames, told.reserved), (None, false, vec!["Boss".to_owned()]));
    assert_eq!(
        told.floors.iter().map(|f| (f.id, f.holders, f.seconds)).collect::<Vec<_>>(),
        [(1, 2, 9), (2, 2, 9)]
    );
    assert_eq!((chairs(&net, "olga"), chairs(&net, "alice")), (vec![], vec![1]), "the chair is another");
    let after = net.focus().room(TEAM).unwrap();
    assert_eq!(after.placed, before.placed, "the context is the same");
    assert!(
        after.members.iter().all(|m| m.state == "in" && m.owner == (m.uri == member("alice"))),
        "{after:?}"
    );
    assert!(after.sealed);

    // It is full now.
    net.join("bob", TEAM, &Wish::default());
    assert_ne!(net.ue("bob").last_status(), Some(200));
    // And back again, with no floors at all.
    renewed(&mut net, with(|config| config.rooms[0].policy.floors.clear()));
    let told = net.mrfps[0].conferences.values().next().unwrap().clone();
    assert!(told.floors.is_empty() && told.reserved.is_empty(), "{told:?}");
    assert_eq!(told.subject.as_deref(), Some("Team \"one\""));
    net.enter("bob", TEAM);
    assert!(
        !net.events.iter().any(|event| matches!(event, Event::GatewayRefused { .. })),
        "{:?}",
        net.events
    );
}

#[test]
fn nothing_is_told_to_the_media_server_when_nothing_is_another() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.control.clear();
    renewed(&mut net, config(1));
    assert!(net.control.is_empty(), "{:?}", net.control);
    assert_eq!(net.members(TEAM).len(), 1);
}

#[test]
fn a_new_room_is_there_and_one_that_is_gone_ends_with_its_last_member() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    renewed(
        &mut net,
        with(|config| {
            config.rooms = vec![Room { uri: uri(NEW), policy: policy() }];
            config.keys.as_mut().unwrap().also_me = vec![NEW.into()];
        }),
    );
    net.enter("bob", NEW);
    assert!(net.focus().room(NEW).unwrap().fixed);
    // Who is in stays, and nobody comes to it.
    assert_eq!(net.members(TEAM), [(member("alice"), "in")]);
    net.join("carol", TEAM, &Wish::default());
    assert_eq!(net.ue("carol").last_status(), Some(404));
    // As if nothing had happened, if it comes back.
    renewed(&mut net, with(|config| config.rooms.push(Room { uri: uri(NEW), policy: policy() })));
    net.enter("carol", TEAM);
    net.bye("carol");
    renewed(
        &mut net,
        with(|config| {
            config.rooms = vec![Room { uri: uri(NEW), policy: policy() }];
        }),
    );
    // Told twice is told once.
    renewed(&mut net, with(|config| config.rooms = vec![Room { uri: uri(NEW), policy: policy() }]));
    net.join("carol", TEAM, &Wish::default());
    assert_eq!(net.ue("carol").last_status(), Some(404));
    net.bye("alice");
    assert!(net.focus().room(TEAM).is_none(), "it has ended");
    net.event(|event| matches!(event, Event::RoomClosed { room } if room == TEAM));
    // One that is empty is gone at once.
    net.bye("bob");
    assert!(net.focus().room(NEW).is_some());
    renewed(&mut net, with(|_| {}));
    assert!(net.focus().room(NEW).is_none() && net.focus().room(TEAM).is_some());
    assert_eq!(net.mrfps[0].conferences.len(), 0);
}

#[test]
fn whoever_is_to_be_called_now_is_called_and_whoever_has_left_is_not() {
    let mut net = Net::new();
    let called = |names: &[&str]| {
        with(|config| {
            let named = names.iter().map(|n| carnet_conference::Member { uri: member(n), call: true });
            config.rooms[0].policy.members = named.collect();
        })
    };
    renewed(&mut net, called(&["bob"]));
    assert!(net.members(TEAM).is_empty(), "the room has not begun");
    net.enter("alice", TEAM);
    net.bye("bob");
    renewed(&mut net, called(&["bob", "carol"]));
    let there: Vec<_> = net.members(TEAM).into_iter().map(|(uri, _)| uri).collect();
    assert_eq!(there, [member("alice"), member("carol")]);
}

#[test]
fn media_servers_come_and_go() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let mut other = config(0);
    let mid = MId::domain("m1.example");
    other.gateways = vec![Gateway::new("m1", mid, Transport::Reliable, "public")];
    other.rooms.push(Room { uri: uri(NEW), policy: policy() });
    renewed(&mut net, other);
    let mrfp = Mrfp::new(1, net.now, net.wall);
    net.mrfps.push(mrfp);
    net.settle();
    net.enter("bob", NEW);
    net.enter("carol", TEAM);
    let placed = |net: &mut Net, room| net.focus().room(room).unwrap().placed.unwrap().0.to_string();
    assert_eq!(placed(&mut net, NEW), "m1", "new rooms are on the new one");
    assert_eq!(placed(&mut net, TEAM), "m0", "what is on the old one stays");
}

#[test]
fn what_contradicts_itself_changes_nothing() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let mut wrong = |change: fn(&mut Config)| {
        let config = with(change);
        net.admin(|focus, now, wall| focus.reconfigure(now, wall, config)).unwrap_err()
    };
    let twice = wrong(|config| {
        config.rooms[0].policy.subject = Some("another".into());
        config.rooms.push(config.rooms[0].clone());
    });
    assert!(matches!(twice, ConfigError::Twice(_)), "{twice}");
    assert!(matches!(wrong(|c| c.rooms[0].policy.moderated = 77), ConfigError::NoFloor(_, 77)));
    assert!(matches!(wrong(|c| c.name = "other".into()), ConfigError::Fixed(_)));
    assert_eq!(net.focus().room(TEAM).unwrap().subject.as_deref(), Some("Team \"one\""));
}

/// The server is reached elsewhere: who is in stays, and leaves by what it knows; who comes finds the new place.
#[test]
fn who_is_in_stays_when_the_focus_is_reached_elsewhere() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let place = |net: &mut Net, name: &str| net.ue(name).session().contact.clone();
    let old = place(&mut net, "alice");
    assert!(old.contains("10.0.0.1:5060"), "{old}");
    renewed(&mut net, with(|config| config.contact = Some(uri("sip:10.0.0.1:5070"))));
    let so_far = net.focus().dialogs_so_far();
    net.enter("bob", TEAM);
    assert!(place(&mut net, "bob").contains("10.0.0.1:5070"), "{}", place(&mut net, "bob"));
    assert!(net.focus().goes_on(so_far));
    // The address of before still means the room.
    let before = old.split(['<', '>']).nth(1).unwrap().to_owned();
    net.join("carol", &before, &Wish::clear());
    assert_eq!(net.ue("carol").last_status(), Some(488), "it is the room, which wants seals");
    assert_eq!(net.members(TEAM).len(), 2);
    net.bye("alice");
    assert!(!net.focus().goes_on(so_far), "nobody is left of those who came before");
    // And there and back again, many times: a few of them are known.
    for port in 6_000..6_020 {
        renewed(&mut net, with(|config| config.contact = Some(uri(&format!("sip:10.0.0.1:{port}")))));
    }
    for (port, status) in [("6017", 488), ("5060", 404)] {
        net.join("carol", &before.replace("5060", port), &Wish::clear());
        assert_eq!(net.ue("carol").last_status(), Some(status), "{port}");
    }
}
