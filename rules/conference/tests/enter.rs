//! Members call: sealed and in clear, to a room and to a factory, with good and bad tickets.

#![allow(clippy::unwrap_used)]

mod net;

use carnet_conference::{Event, FetchError, FetchPurpose, Left};
use carnet_gateway::media::{Medium, TlsRole};
use carnet_sdp::Setup;
/// What somebody on the way does to a description.
type Edit = fn(String) -> String;

use net::{FACTORY, Kind, Net, Offer, TEAM, Wish, config, member};

#[test]
fn a_member_enters_sealed_with_a_key_for_each_line() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    assert_eq!(net.asked, [FetchPurpose::Resolve, FetchPurpose::Resolve]);

    let (teks, peers, contact) = {
        let session = net.ue("alice").session();
        (session.teks.clone(), session.peers.clone(), session.contact.clone())
    };
    assert!(contact.contains("isfocus") && contact.contains("team@10.0.0.1:5060"), "{contact}");
    assert_eq!(peers, [TEAM, TEAM], "the key server vouches for the conference");
    let [messages, floors] = [true, false].map(|m| net.mrfps[0].endpoint(&member("alice"), m));
    for (end, tek) in [&messages, &floors].into_iter().zip(&teks) {
        let tls = end.tls.as_ref().unwrap();
        assert_eq!(tls.key.expose(), tek.as_deref().unwrap(), "both ends have the same key");
        // MSRP: we wait, so the member connects and begins TLS. BFCP: the offerer begins.
        assert_eq!(tls.role, TlsRole::Server);
        assert_eq!((end.user, end.member.as_str()), (1, member("alice").as_str()));
    }
    assert_ne!(teks[0], teks[1]);
    let Medium::Msrp { local_path, history, .. } = &messages.medium else { panic!() };
    assert!(*history && local_path.starts_with("msrps://203.0.113.10:"), "{local_path}");

    let remote = &net.ue("alice").session().remote;
    let line = remote.media_at(0).unwrap();
    assert_eq!(line.path(), Some(local_path.as_str()));
    assert_eq!(line.setup(), Some(Setup::Passive));
    assert_eq!(line.accept_types().collect::<Vec<_>>(), ["message/cpim"]);
    assert!(line.chatroom().is_some_and(|room| room.nickname() && room.private_messages()));
    let label = line.label().unwrap();
    let floor_line = remote.media_at(1).unwrap();
    assert!(floor_line.floor_control().is_some_and(|control| control.server && !control.client));
    assert_eq!(floor_line.user_id(), Some(1));
    let floors: Vec<_> = floor_line.floor_ids().collect();
    assert_eq!((floors[0].floor, floors[0].streams.as_slice()), (1, [label].as_slice()));
    let confid = floor_line.conference_id();
    let conference = net.mrfps[0].conferences.values().next().unwrap();
    assert_eq!((conference.uri.as_str(), conference.confid), (TEAM, confid));
    assert_eq!(conference.subject.as_deref(), Some("Team \"one\""));
    assert_eq!(conference.floors.len(), 1);

    let joined = net.event(|event| matches!(event, Event::Joined { .. }));
    assert!(matches!(joined, Event::Joined { sealed: true, called: false, user: 1, .. }), "{joined:?}");
    let status = net.focus().room(TEAM).unwrap();
    assert!(status.sealed && status.members[0].sealed && !status.members[0].owner);
}

#[test]
fn no_key_is_seen_but_in_the_one_property() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let teks: Vec<String> = net.ue("alice").session().teks.iter().flatten().map(|t| hex(t)).collect();
    assert_eq!(teks.len(), 2);
    for tek in teks {
        let with: Vec<_> = net.control.iter().filter(|m| m.to_lowercase().contains(&tek)).collect();
        assert_eq!(with.len(), 1, "the key is told once");
        assert!(with[0].to_lowercase().contains(&format!("crntls/psk = {tek}")), "{}", with[0]);
        let records = net.records.values().map(|r| String::from_utf8_lossy(r).to_lowercase());
        assert!(records.into_iter().all(|record| !record.contains(&tek)));
        assert!(!format!("{:?}", net.events).to_lowercase().contains(&tek));
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn the_last_one_takes_the_context_along_and_the_next_makes_another() {
    let mut net = Net::new();
    for name in ["alice", "bob"] {
        net.enter(name, TEAM);
    }
    assert_eq!(net.mrfps[0].gateway.contexts(), 1, "a room is one context");
    let mut users: Vec<u16> = net.mrfps[0].endpoints().iter().map(|end| end.user).collect();
    users.sort_unstable();
    assert_eq!(users, [1, 1, 2, 2]);
    net.bye("alice");
    assert_eq!((net.mrfps[0].gateway.contexts(), net.mrfps[0].holes.len()), (1, 2));
    let left = net.event(|event| matches!(event, Event::Left { .. }));
    let alice = member("alice");
    assert!(
        matches!(&left, Event::Left { member, reason: Left::Gone, call_id: Some(_), .. } if *member == alice),
        "{left:?}"
    );
    net.bye("bob");
    assert_eq!((net.mrfps[0].gateway.contexts(), net.mrfps[0].holes.len()), (0, 0));
    assert!(net.mrfps[0].gateway.is_idle() && net.records.is_empty());
    net.enter("carol", TEAM);
    assert_eq!(net.mrfps[0].endpoints()[0].user, 3, "a number is not given again so soon");
    assert_eq!(net.focus().load().legs, 1);
    assert_eq!(net.focus().load().gateway_requests, 0);
}

#[test]
fn many_at_once_share_one_context() {
    let mut net = Net::new();
    net.mrfps[0].slow = true;
    for name in ["alice", "bob", "carol"] {
        net.join(name, TEAM, &Wish::default());
    }
    assert_eq!(net.ue("carol").last_status(), None);
    net.mrfps[0].slow = false;
    net.settle();
    for name in ["alice", "bob", "carol"] {
        assert_eq!(net.ue(name).last_status(), Some(200));
    }
    assert_eq!((net.mrfps[0].gateway.contexts(), net.mrfps[0].holes.len()), (1, 6));
}

#[test]
fn a_factory_makes_a_room_and_answers_as_the_room() {
    let mut net = Net::new();
    net.enter("alice", FACTORY);
    let (contact, peers) = {
        let session = net.ue("alice").session();
        (session.contact.clone(), session.peers.clone())
    };
    assert!(contact.contains("adhoc-") && contact.contains("isfocus"), "{contact}");
    // D-19: the ticket was for the factory; the one who answers is the conference.
    assert!(peers.iter().all(|peer| peer.starts_with("sip:adhoc-") && peer.ends_with("@conf.example")));
    let room = peers[0].clone();
    let status = net.focus().room(&room).unwrap();
    assert!(!status.fixed && status.members[0].owner, "who made it owns it");
    // Others call what was in Contact or what it stands for.
    net.enter("bob", &room);
    assert_eq!(net.focus().room(&room).unwrap().members.len(), 2);
    net.enter("carol", FACTORY);
    assert_eq!(net.focus().rooms().len(), 3, "another call, another room");
    for name in ["alice", "bob", "carol"] {
        net.bye(name);
    }
    assert_eq!(net.focus().rooms().len(), 1, "the fixed one");
    assert!(net.mrfps[0].gateway.is_idle());
}

#[test]
fn an_unsealed_member_is_refused_or_admitted_for_all_to_see() {
    let mut net = Net::new();
    net.join("alice", TEAM, &Wish::clear());
    let answer = net.ue("alice").answer.clone().unwrap();
    assert_eq!(answer.status(), Some(488));
    assert!(answer.header("Warning").unwrap().contains("End-to-end key management required"));
    assert!(net.mrfps[0].gateway.is_idle() && net.asked.is_empty());

    let mut open = config(1);
    open.rooms[0].policy.unsealed = carnet_conference::Unsealed::Admit;
    let mut net = Net::with(open);
    net.enter("bob", TEAM);
    assert!(net.focus().room(TEAM).unwrap().sealed);
    net.join("alice", TEAM, &Wish::clear());
    assert_eq!(net.ue("alice").last_status(), Some(200));
    assert!(net.mrfps[0].endpoint(&member("alice"), true).tls.is_none());
    let status = net.focus().room(TEAM).unwrap();
    assert!(!status.sealed, "one open leg and the room is not sealed");
    let seals: Vec<_> = status.members.iter().map(|m| (m.uri.clone(), m.sealed)).collect();
    assert_eq!(seals, [(member("alice"), false), (member("bob"), true)]);
}

#[test]
fn a_ticket_for_another_room_opens_nothing() {
    let mut net = Net::new();
    let wish = Wish { ticket_for: Some(FACTORY.into()), ..Wish::default() };
    net.join("alice", TEAM, &wish);
    let answer = net.ue("alice").answer.clone().unwrap();
    assert_eq!(answer.status(), Some(488));
    assert!(answer.header("Warning").unwrap().contains("399"));
    assert!(net.asked.is_empty() && net.mrfps[0].gateway.is_idle());
    let refused = net.event(|event| matches!(event, Event::Refused { .. }));
    assert!(
        matches!(refused, Event::Refused { status: 488, reason, .. } if reason.contains("somebody else"))
    );
}

#[test]
fn keys_that_were_altered_open_nothing() {
    // The last octets before the padding: the MAC.
    fn spoil(body: String) -> String {
        let mut lines: Vec<String> = body.split("\r\n").map(str::to_owned).collect();
        let line = lines.iter_mut().find(|line| line.starts_with("a=key-mgmt")).unwrap();
        let at = line.len() - 10;
        let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
        line.replace_range(at..=at, other);
        lines.join("\r\n")
    }
    let mut net = Net::new();
    net.join("alice", TEAM, &Wish { edit: Some(spoil), ..Wish::default() });
    assert_eq!(net.ue("alice").last_status(), Some(488));
    assert!(net.mrfps[0].gateway.is_idle(), "nothing was reserved for it");
    assert_eq!(net.focus().load().legs, 0);
}

#[test]
fn a_key_server_that_fails_is_told_apart() {
    for (fails, status) in
        [(FetchError::Unreachable, 503), (FetchError::TimedOut, 504), (FetchError::Status(403), 488)]
    {
        let mut net = Net::new();
        net.kms_fails = Some(fails);
        net.join("alice", TEAM, &Wish::default());
        net.pass(net::Ue::SOON);
        let answer = net.ue("alice").answer.clone().unwrap();
        assert_eq!(answer.status(), Some(status), "{fails:?}");
        assert_eq!(answer.has("Retry-After"), status == 503);
        assert_eq!((net.focus().load().legs, net.focus().load().fetches), (0, 0));
    }
}

#[test]
fn without_a_media_server_one_is_told_to_come_again() {
    let mut net = Net::with(config(0));
    net.join("alice", TEAM, &Wish::default());
    let answer = net.ue("alice").answer.clone().unwrap();
    assert_eq!(answer.status(), Some(503));
    assert!(answer.has("Retry-After"));
    // One that is full is no better, and another is tried.
    let mut net = Net::with(config(2));
    net.mrfps[0].full = true;
    net.enter("alice", TEAM);
    assert_eq!((net.mrfps[0].gateway.contexts(), net.mrfps[1].gateway.contexts()), (0, 1));
    net.bye("alice");
    net.mrfps[1].full = true;
    net.join("bob", TEAM, &Wish::default());
    assert_eq!(net.ue("bob").last_status(), Some(503));
    assert!(net.mrfps.iter().all(|mrfp| mrfp.gateway.is_idle()));
}

/// H.248.8, 504: nobody else may read the way by which keys go.
#[test]
fn a_media_server_that_takes_no_key_is_passed_over() {
    let mut net = Net::with(config(2));
    net.mrfps[0].protected = false;
    net.enter("alice", TEAM);
    assert_eq!((net.mrfps[0].gateway.contexts(), net.mrfps[1].gateway.contexts()), (0, 1));
    net.event(|event| matches!(event, Event::GatewayRefused { code: 504, .. }));
    net.bye("alice");
    net.mrfps[1].protected = false;
    net.join("bob", TEAM, &Wish::default());
    assert_eq!(net.ue("bob").last_status(), Some(503));
    let refused = net.event(|event| matches!(event, Event::Refused { .. }));
    assert!(matches!(&refused, Event::Refused { reason, .. } if reason.contains("504")), "{refused:?}");
    assert!(net.mrfps.iter().all(|mrfp| mrfp.gateway.is_idle()));
}

#[test]
fn only_members_enter_where_only_members_may() {
    let mut closed = config(1);
    closed.rooms[0].policy.open = false;
    closed.rooms[0].policy.members =
        vec![carnet_conference::Member { uri: "sip:Bob@EXAMPLE.com:5060".replace('B', "b"), call: false }];
    let mut net = Net::with(closed);
    net.join("alice", TEAM, &Wish::default());
    assert_eq!(net.ue("alice").last_status(), Some(403));
    assert!(net.asked.is_empty(), "a stranger costs the key server nothing");
    net.enter("bob", TEAM);
    net.enter("olga", TEAM);
    assert_eq!(net.mrfps[0].endpoint(&member("olga"), false).medium, Medium::Bfcp { chairs: vec![1] });
    assert_eq!(net.mrfps[0].endpoint(&member("bob"), false).medium, Medium::Bfcp { chairs: vec![] });
}

#[test]
fn who_is_asked_to_come_comes() {
    let mut net = Net::new();
    let line = |kind| Offer { kind, sealed: true, setup: Setup::Passive };
    let wish = Wish { lines: vec![line(Kind::Messages), line(Kind::Floors)], ..Wish::default() };
    net.join("alice", TEAM, &wish);
    assert_eq!(net.ue("alice").last_status(), Some(200));
    let settings = net.mrfps[0].settings(&member("alice"), true);
    assert_eq!(settings.role, carnet_gateway::media::Role::Active);
    assert_eq!(settings.remote, Some("10.0.1.2:6060".parse().unwrap()));
    // The active side begins TLS for messages; for floors the offerer does, whoever connects.
    let role =
        |net: &Net, messages| net.mrfps[0].endpoint(&member("alice"), messages).tls.clone().unwrap().role;
    assert_eq!((role(&net, true), role(&net, false)), (TlsRole::Client, TlsRole::Server));
}

#[test]
fn a_reserved_nickname_is_there_for_whom_it_is_reserved() {
    let mut some = config(1);
    some.rooms[0].policy.reserved = vec![("The \"Boss\"".into(), "sip:olga@EXAMPLE.com:5070".into())];
    let mut net = Net::with(some);
    for name in ["alice", "olga"] {
        net.enter(name, TEAM);
    }
    let told = net.mrfps[0].conferences.values().next().unwrap().reserved.clone();
    assert_eq!(told, ["The \"Boss\""]);
    for (name, expected) in [("alice", None), ("olga", Some("The \"Boss\""))] {
        let end = net.mrfps[0].endpoint(&member(name), true);
        let Medium::Msrp { nickname, .. } = &end.medium else { panic!() };
        assert_eq!(nickname.as_deref(), expected);
    }
}

#[test]
fn what_is_not_bounded_here_is_not_said_and_odd_bounds_do_no_harm() {
    let mut some = config(1);
    let policy = &mut some.rooms[0].policy;
    (policy.max_message, policy.stall_seconds, policy.stall_octets) = (0, 0, 0);
    (policy.history_seconds, policy.floor_requests) = (0, 0);
    let mut net = Net::with(some);
    let odd: Edit = |body| body.replace("a=accept-types", "a=max-size:0\r\na=accept-types");
    net.join("alice", TEAM, &Wish { edit: Some(odd), ..Wish::default() });
    assert_eq!(net.ue("alice").last_status(), Some(200), "{:?}", net.events);
    let told = net.mrfps[0].conferences.values().next().unwrap().clone();
    assert_eq!((told.max_message, told.stall_seconds, told.stall_octets), (None, None, None));
    // Kept for ever is not kept for no time.
    assert_eq!((told.history_seconds, told.max_requests), (Some(2_147_483_647), Some(1)));
    let Medium::Msrp { max_size, .. } = net.mrfps[0].endpoint(&member("alice"), true).medium.clone() else {
        panic!()
    };
    assert_eq!(max_size, None);
}

#[test]
fn what_cannot_be_used_is_refused_and_leaves_nothing() {
    let mut net = Net::new();
    net.join("alice", "sip:nobody@conf.example", &Wish { ticket_for: Some(TEAM.into()), ..Wish::default() });
    assert_eq!(net.ue("alice").last_status(), Some(404));
    let cases: &[(u16, Edit)] = &[
        (488, |body| body.replace("m=message", "m=audio").replace("m=application", "m=video")),
        (488, |body| body.replace("a=path:msrps", "a=path:msrp")),
        (400, |_| "v=1".into()),
    ];
    for (status, edit) in cases {
        net.join("alice", TEAM, &Wish { edit: Some(*edit), ..Wish::default() });
        assert_eq!(net.ue("alice").last_status(), Some(*status));
    }
    assert!(net.mrfps[0].gateway.is_idle() && net.focus().load().legs == 0);
}

#[test]
fn a_line_that_is_unknown_here_is_declined_and_the_rest_taken() {
    fn add(body: String) -> String {
        body.replace("m=message", "m=audio 4000 RTP/AVP 0\r\nm=message")
    }
    let mut net = Net::new();
    let mut wish = Wish { edit: Some(add), ..Wish::messages() };
    wish.lines.truncate(1);
    let now = net.now;
    // The terminal of this test counts its own lines; the answer is looked at as it came.
    let (wall, to) = (net.wall, TEAM);
    let Net { ues, kms, .. } = &mut net;
    let alice = ues.iter_mut().find(|ue| ue.name == "alice").unwrap();
    alice.keep_answers_only = true;
    alice.invite(now, wall, kms, to, &wish);
    net.settle();
    let answer = net.ue("alice").answer.clone().unwrap();
    let body = String::from_utf8(answer.body().to_vec()).unwrap();
    assert!(
        body.contains("m=audio 0 RTP/AVP 0") && body.contains("m=message 30000 TCP/TLS/MSRP *"),
        "{body}"
    );
}
