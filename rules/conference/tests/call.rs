//! The room calls: members of the configuration, invitations, tickets of its own making.

#![allow(clippy::unwrap_used)]

mod net;

use carnet_conference::{AdminError, Event, FetchPurpose, Left, Member, Unsealed};
use carnet_gateway::media::TlsRole;
use net::{Net, TEAM, config, member};

fn invite(net: &mut Net, who: &str) {
    net.admin(|focus, now, wall| focus.invite(now, wall, TEAM, &member(who))).unwrap();
}

#[test]
fn somebody_who_is_called_in_is_sealed_by_one_ticket_with_two_keys() {
    let mut net = Net::new();
    invite(&mut net, "bob");
    assert_eq!(net.asked, [FetchPurpose::Ticket], "one ticket a call");
    let (teks, peers, contact) = {
        let session = net.ue("bob").session();
        assert!(session.called);
        (session.teks.clone(), session.peers.clone(), session.contact.clone())
    };
    assert!(contact.contains("isfocus"));
    assert_eq!(peers, [TEAM, TEAM]);
    assert_ne!(teks[0], teks[1]);
    for (messages, tek) in [true, false].into_iter().zip(&teks) {
        let end = net.mrfps[0].endpoint(&member("bob"), messages);
        let tls = end.tls.as_ref().unwrap();
        assert_eq!(tls.key.expose(), tek.as_deref().unwrap());
        // We offered: for floors we begin TLS though the member connects.
        assert_eq!(tls.role, if messages { TlsRole::Server } else { TlsRole::Client });
    }
    let joined = net.event(|event| matches!(event, Event::Joined { .. }));
    assert!(matches!(joined, Event::Joined { called: true, sealed: true, .. }));
    // The offer, as somebody else would read it.
    let remote = &net.ue("bob").session().remote;
    assert!(remote.media().all(|line| line.setup() == Some(carnet_sdp::Setup::ActPass)));
    net.bye("bob");
    assert!(net.mrfps[0].gateway.is_idle() && net.focus().load().legs == 0);
}

#[test]
fn a_ticket_may_be_made_here() {
    let mut own = config(1);
    own.own_tickets = true;
    let mut net = Net::with(own);
    invite(&mut net, "bob");
    assert!(net.asked.is_empty(), "the key server was not asked by us");
    let tek = net.ue("bob").session().teks[0].clone().unwrap();
    let end = net.mrfps[0].endpoint(&member("bob"), true);
    assert_eq!(end.tls.as_ref().unwrap().key.expose(), tek);
}

#[test]
fn who_declines_leaves_nothing() {
    let mut net = Net::new();
    net.ue("bob").refuses = Some(603);
    invite(&mut net, "bob");
    let event = net.event(|event| matches!(event, Event::NotCalled { .. }));
    assert!(matches!(event, Event::NotCalled { status: Some(603), .. }), "{event:?}");
    assert!(net.mrfps[0].gateway.is_idle() && net.focus().load().legs == 0);
}

#[test]
fn who_lets_it_ring_is_given_up() {
    let mut net = Net::new();
    net.ue("bob").rings = true;
    invite(&mut net, "bob");
    net.pass(std::time::Duration::from_secs(130));
    net.event(|event| matches!(event, Event::NotCalled { .. }));
    assert!(net.mrfps[0].gateway.is_idle() && net.focus().load().legs == 0);
}

#[test]
fn who_cannot_seal_is_asked_in_clear_only_where_that_is_admitted() {
    for unsealed in [Unsealed::Refuse, Unsealed::Admit] {
        let mut some = config(1);
        some.rooms[0].policy.unsealed = unsealed;
        let mut net = Net::with(some);
        net.ue("bob").clear_only = true;
        invite(&mut net, "bob");
        let status = net.focus().room(TEAM).unwrap();
        if unsealed == Unsealed::Refuse {
            assert!(status.members.is_empty());
            assert!(net.mrfps[0].gateway.is_idle());
        } else {
            assert!(!status.members[0].sealed && !status.sealed);
            assert!(net.mrfps[0].endpoint(&member("bob"), true).tls.is_none());
            assert_eq!(net.mrfps[0].holes.len(), 2);
        }
    }
}

#[test]
fn members_who_are_to_be_called_are_called_when_the_room_begins() {
    let mut some = config(1);
    some.rooms[0].policy.members =
        ["bob", "carol"].map(|name| Member { uri: member(name), call: name == "bob" }).to_vec();
    let mut net = Net::with(some);
    net.enter("alice", TEAM);
    let names: Vec<_> = net.members(TEAM).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [member("alice"), member("bob")]);
    assert!(net.ue("bob").session().called);
}

#[test]
fn a_member_is_put_out_and_a_room_closed() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.enter("bob", TEAM);
    let kick = |net: &mut Net, who: &str| {
        net.admin(|focus, now, wall| focus.kick(now, wall, "sip:team@CONF.example:5060", &member(who)))
    };
    assert_eq!(kick(&mut net, "carol"), Err(AdminError::NoMember));
    assert_eq!(kick(&mut net, "alice"), Ok(()));
    let ended = net.ue("alice").sessions[0].ended.clone().unwrap();
    assert!(ended.contains("cause=403"), "{ended}");
    let left = net.event(|event| matches!(event, Event::Left { .. }));
    assert!(matches!(left, Event::Left { reason: Left::Kicked(None), .. }));
    assert_eq!(net.mrfps[0].holes.len(), 2);
    net.admin(|focus, now, wall| focus.close(now, wall, TEAM)).unwrap();
    let ended = net.ue("bob").sessions[0].ended.clone().unwrap();
    assert!(ended.contains("cause=410"), "{ended}");
    assert!(net.mrfps[0].gateway.is_idle() && net.records.is_empty());
    let gone = net.admin(|focus, now, wall| focus.close(now, wall, "sip:no@conf.example"));
    assert_eq!(gone, Err(AdminError::NoRoom));
    // A fixed room is there again.
    net.enter("carol", TEAM);
}
