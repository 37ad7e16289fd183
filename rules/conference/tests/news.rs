//! Members watch the roster, have others called in, put them out: over SIP, with sealed legs.

#![allow(clippy::unwrap_used)]

mod net;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carnet_conference::{Config, Devices, Event, Left, Unsealed, Who};
use carnet_roster::{Applied, Change, Disconnection, Joining, Limits, Roster, Seal, Status, View};
use carnet_sip::{Message, Method};
use net::{FACTORY, Net, TEAM, Wish, config, member, uri};

/// What names `name`'s call, as the focus sees it.
fn target_dialog(net: &mut Net, name: &str) -> String {
    let id = net.ue(name).session().dialog.id();
    format!("{};local-tag={};remote-tag={}", id.call_id, id.remote_tag, id.local_tag)
}

/// A request beside the call, with these headers; the status of its answer.
fn beside(net: &mut Net, name: &str, method: Method, to: &str, headers: &[(&str, &str)]) -> Message {
    let mut request = Message::request(method.clone(), uri(to));
    let ue = net.ue(name);
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    let (host, number) = (ue.address, REQUESTS.fetch_add(1, Ordering::Relaxed));
    for (header, value) in [
        ("From", format!("<{}>;tag=w{number}", member(name))),
        ("To", format!("<{to}>")),
        ("Call-ID", format!("{name}-{method}-{number}")),
        ("CSeq", format!("1 {method}")),
        ("Contact", format!("<sip:{name}@{host}>")),
    ] {
        request.push_back(header, &value).unwrap();
    }
    for (header, value) in headers {
        request.push_back(header, value).unwrap();
    }
    let now = net.now;
    net.ue(name).send(now, request);
    net.settle();
    net.ue(name).answers.pop_back().unwrap()
}

fn subscribe(net: &mut Net, name: &str, to: &str) -> u16 {
    let proof = target_dialog(net, name);
    let headers = [("Event", "conference"), ("Expires", "3600"), ("Target-Dialog", &proof)];
    beside(net, name, Method::Subscribe, to, &headers).status().unwrap()
}

fn refer(net: &mut Net, name: &str, to: &str) -> u16 {
    let proof = target_dialog(net, name);
    let headers = [("Refer-To", to), ("Target-Dialog", proof.as_str())];
    beside(net, name, Method::Refer, TEAM, &headers).status().unwrap()
}

/// The NOTIFYs of a package that `name` got since this was asked.
fn notifies(net: &mut Net, name: &str, package: &str) -> Vec<Message> {
    let is = |m: &Message| {
        *m.method() == Method::Notify && m.header("Event").is_some_and(|e| e.starts_with(package))
    };
    let (mine, others) = std::mem::take(&mut net.ue(name).got).into_iter().partition(is);
    net.ue(name).got = others;
    mine
}

/// What a watcher notices of what came.
fn follow(net: &mut Net, name: &str, view: &mut View) -> Vec<Change> {
    // A room is looked at now and then.
    net.pass(Duration::from_millis(250));
    let mut all = Vec::new();
    for notify in notifies(net, name, "conference") {
        match view.read(notify.body()).unwrap() {
            Applied::Changed(changes) => all.extend(changes),
            other => panic!("{other:?}"),
        }
    }
    all
}

fn news(net: &mut Net, name: &str) -> Vec<String> {
    let line = |m: &Message| String::from_utf8(m.body().to_vec()).unwrap().trim_end().to_owned();
    notifies(net, name, "refer").iter().map(line).collect()
}

fn endpoint(roster: &Roster, name: &str) -> carnet_roster::Endpoint {
    roster.user(&member(name)).unwrap().endpoints.last().unwrap().clone()
}

/// Alice is in and watches.
fn watching(config: Config) -> (Net, View) {
    let mut net = Net::with(config);
    net.enter("alice", TEAM);
    assert_eq!(subscribe(&mut net, "alice", TEAM), 200);
    let mut view = View::new(Limits::default());
    follow(&mut net, "alice", &mut view);
    (net, view)
}

fn with(change: impl FnOnce(&mut carnet_conference::Policy)) -> Config {
    let mut config = config(1);
    change(&mut config.rooms[0].policy);
    config
}

#[test]
fn who_is_there_and_sealed() {
    let (mut net, mut view) = watching(config(1));
    let roster = view.roster().clone();
    assert_eq!(roster.entity, TEAM);
    assert_eq!(roster.description.subject.as_deref(), Some("Team \"one\""));
    assert_eq!(roster.description.available_media[0].label, "messages");
    assert_eq!((roster.state.user_count, roster.seal()), (Some(1), Some(Seal::Sealed)));
    let alice = endpoint(&roster, "alice");
    assert_eq!((alice.entity.as_str(), alice.joining_method), ("1", Some(Joining::DialedIn)));
    let media: Vec<_> = alice.media.iter().map(|m| (m.kind.as_deref().unwrap(), m.extra.seal())).collect();
    assert_eq!(media, [("message", Some(Seal::Sealed)), ("application", Some(Seal::Sealed))]);

    net.enter("olga", TEAM);
    let changes = follow(&mut net, "alice", &mut view);
    assert_eq!(changes, [Change::Joined(member("olga"))]);
    let olga = view.roster().user(&member("olga")).unwrap().clone();
    assert_eq!((olga.roles.join(" "), olga.seal()), ("owner chair".into(), Some(Seal::Sealed)));

    net.bye("olga");
    let changes = follow(&mut net, "alice", &mut view);
    assert!(matches!(changes.as_slice(), [Change::Left(user)] if user.entity == member("olga")));
    assert_eq!(endpoint(view.roster(), "olga").disconnection_method, Some(Disconnection::Departed));
    net.pass(Duration::from_secs(31));
    assert_eq!(follow(&mut net, "alice", &mut view), []);
    assert_eq!(view.roster().users.len(), 1);
    assert_eq!(net.focus().load().subscriptions, 1);
}

#[test]
fn one_in_clear_is_seen_by_all() {
    let (mut net, mut view) = watching(with(|policy| policy.unsealed = Unsealed::Admit));
    assert_eq!(view.roster().seal(), Some(Seal::Sealed));
    net.join("bob", TEAM, &Wish::clear());
    let changes = follow(&mut net, "alice", &mut view);
    assert!(changes.contains(&Change::ConferenceSealed(Some(Seal::Open))), "{changes:?}");
    assert_eq!(view.roster().user(&member("bob")).unwrap().seal(), Some(Seal::Open));
    assert_eq!(view.roster().user(&member("alice")).unwrap().seal(), Some(Seal::Sealed));
    net.bye("bob");
    follow(&mut net, "alice", &mut view);
    assert_eq!(view.roster().seal(), Some(Seal::Sealed));
}

#[test]
fn only_those_who_are_there_see_who_is_there() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let event = ("Event", "conference");
    let ask = |net: &mut Net, name: &str, to: &str, headers: &[(&str, &str)]| {
        beside(net, name, Method::Subscribe, to, headers).status().unwrap()
    };
    assert_eq!(ask(&mut net, "bob", TEAM, &[event]), 403);
    // Whoever says that he is somebody is not yet.
    assert_eq!(ask(&mut net, "alice", TEAM, &[event]), 403);
    let proof = target_dialog(&mut net, "alice");
    let forged = proof.replace("remote-tag=", "remote-tag=x");
    assert_eq!(ask(&mut net, "bob", TEAM, &[event, ("Target-Dialog", &forged)]), 403);
    assert_eq!(ask(&mut net, "bob", TEAM, &[event, ("Target-Dialog", "nonsense")]), 403);
    assert_eq!(ask(&mut net, "bob", "sip:other@conf.example", &[event]), 404);
    assert_eq!(ask(&mut net, "alice", TEAM, &[event, ("Target-Dialog", &proof)]), 200);
    assert_eq!(ask(&mut net, "alice", TEAM, &[("Event", "presence"), ("Target-Dialog", &proof)]), 489);
    assert_eq!(net.focus().load().subscriptions, 1);
    // And no longer than that.
    net.ue("alice").got.clear();
    net.bye("alice");
    let last = notifies(&mut net, "alice", "conference").pop().unwrap();
    assert_eq!(last.header("Subscription-State").unwrap(), "terminated;reason=rejected");
    assert_eq!(net.focus().load().subscriptions, 0);
}

#[test]
fn everybody_where_the_policy_says_so() {
    let mut net = Net::with(with(|policy| policy.watch = Who::Anyone));
    let answer =
        beside(&mut net, "bob", Method::Subscribe, TEAM, &[("Event", "conference"), ("Expires", "0")]);
    assert_eq!(answer.status(), Some(200));
    let mut view = View::default();
    follow(&mut net, "bob", &mut view);
    assert_eq!(view.roster().users.len(), 0);
}

#[test]
fn who_the_network_vouches_for() {
    let mut settings = with(|policy| policy.members = vec![named("bob")]);
    settings.trust_asserted = true;
    let mut net = Net::with(settings);
    let bob = format!("<{}>", member("bob"));
    let headers = [("Event", "conference"), ("P-Asserted-Identity", bob.as_str())];
    assert_eq!(beside(&mut net, "bob", Method::Subscribe, TEAM, &headers).status(), Some(200));
    let carol = format!("<{}>", member("carol"));
    let headers = [("Event", "conference"), ("P-Asserted-Identity", carol.as_str())];
    assert_eq!(beside(&mut net, "bob", Method::Subscribe, TEAM, &headers).status(), Some(403));
}

fn named(name: &str) -> carnet_conference::Member {
    carnet_conference::Member { uri: member(name), call: false }
}

#[test]
fn in_the_dialog_of_the_call() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    let now = net.now;
    let contact = format!("<sip:alice@{}>", net.ue("alice").address);
    let ue = net.ue("alice");
    let at = ue.sessions.len() - 1;
    let mut request = ue.sessions[at].dialog.request(Method::Subscribe).unwrap();
    request.push_back("Contact", &contact).unwrap();
    request.push_back("Event", "conference").unwrap();
    ue.send(now, request);
    net.settle();
    assert_eq!(net.ue("alice").answers.pop_back().unwrap().status(), Some(200));
    let call = net.ue("alice").session().dialog.id();
    let notify = net.ue("alice").got.last().unwrap().clone();
    assert_eq!(carnet_sip::DialogId::of_request(&notify).unwrap(), call);
    let mut view = View::default();
    follow(&mut net, "alice", &mut view);
    net.enter("bob", TEAM);
    assert_eq!(follow(&mut net, "alice", &mut view), [Change::Joined(member("bob"))]);
    // Put out, it hears so in the dialog, behind the BYE.
    net.admin(|focus, now, wall| focus.kick(now, wall, TEAM, &member("alice"))).unwrap();
    let last = notifies(&mut net, "alice", "conference").pop().unwrap();
    assert_eq!(last.header("Subscription-State").unwrap(), "terminated;reason=rejected");
    assert_eq!(carnet_sip::DialogId::of_request(&last).unwrap(), call);
    assert_eq!(net.focus().load().subscriptions, 0);
}

#[test]
fn a_member_has_somebody_called_in() {
    let (mut net, mut view) = watching(config(1));
    net.ue("carol").rings = true;
    assert_eq!(refer(&mut net, "alice", "<sip:carol@example.com>"), 202);
    let carol = |net: &mut Net, view: &mut View| {
        follow(net, "alice", view);
        endpoint(view.roster(), "carol")
    };
    net.pass(Duration::from_secs(1));
    let invite = net.ue("carol").got.iter().find(|m| *m.method() == Method::Invite).unwrap();
    assert_eq!(invite.header("Referred-By").unwrap(), format!("<{}>", member("alice")));
    let seen = carol(&mut net, &mut view);
    assert_eq!((seen.status, seen.joining_method), (Some(Status::Alerting), Some(Joining::DialedOut)));
    assert_eq!(seen.referred.unwrap().by, Some(member("alice")));
    assert_eq!(news(&mut net, "alice"), ["SIP/2.0 100 Trying", "SIP/2.0 180 Ringing"]);
    let (now, wall) = (net.now, net.wall);
    let Net { ues, kms, .. } = &mut net;
    ues.iter_mut().find(|ue| ue.name == "carol").unwrap().pick_up(now, wall, kms);
    net.settle();
    assert_eq!(news(&mut net, "alice"), ["SIP/2.0 200 OK"]);
    assert_eq!(carol(&mut net, &mut view).status, Some(Status::Connected));
    assert_eq!(view.roster().seal(), Some(Seal::Sealed));
    // Again means nothing.
    assert_eq!(refer(&mut net, "alice", "<sip:carol@example.com>"), 202);
    assert_eq!(news(&mut net, "alice").last().unwrap(), "SIP/2.0 200 OK");
    assert_eq!(net.members(TEAM).len(), 2);
}

#[test]
fn a_room_for_all_on_a_list() {
    const LIST: &str = "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>\
        <entry uri=\"sip:bob@example.com\"/><entry uri=\"sip:carol@example.com\"/>\
        <entry uri=\"sip:alice@example.com\"/></list></resource-lists>";
    let mut net = Net::new();
    net.ue("carol").refuses = Some(603);
    // The INVITE as it is on its way, with the list beside the description.
    net.tap = Some(Box::new(|_, to, data| {
        let text = String::from_utf8_lossy(data).into_owned();
        let (head, sdp) = text.split_once("\r\n\r\n").unwrap();
        if to != net::focus_address() || !text.starts_with("INVITE") {
            return vec![data.clone()];
        }
        let body = format!(
            "--b\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b\r\n\
             Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n\r\n\
             {LIST}\r\n--b--\r\n"
        );
        let kept = |line: &&str| !line.starts_with("Content-");
        let head: Vec<&str> = head.lines().filter(kept).collect();
        let length = body.len();
        let head = head.join("\r\n");
        let text = format!(
            "{head}\r\nRequire: recipient-list-invite\r\nContent-Type: multipart/mixed;boundary=b\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        vec![text.into()]
    }));
    net.enter("alice", FACTORY);
    let room = net.focus().rooms().into_iter().find(|room| !room.fixed).unwrap();
    let members: Vec<_> = room.members.iter().map(|m| (m.uri.as_str(), m.state)).collect();
    assert_eq!(members, [(member("alice").as_str(), "in"), (member("bob").as_str(), "in")]);
    assert!(net.ue("bob").session().called);
    assert!(room.sealed);
    net.event(|event| matches!(event, Event::NotCalled { status: Some(603), .. }));
}

#[test]
fn somebody_who_does_not_come() {
    let (mut net, mut view) = watching(config(1));
    net.ue("carol").refuses = Some(486);
    assert_eq!(refer(&mut net, "alice", "<sip:carol@example.com>"), 202);
    assert_eq!(news(&mut net, "alice"), ["SIP/2.0 100 Trying", "SIP/2.0 486 Busy Here"]);
    follow(&mut net, "alice", &mut view);
    assert!(view.roster().user(&member("carol")).is_none_or(|carol| !carol.is_present()));
    assert_eq!(net.focus().load().subscriptions, 1, "that of the roster");
}

#[test]
fn rooms_are_not_called_into_rooms() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    for to in [TEAM, FACTORY, "sip:team@10.0.0.1:5060", "sip:team@CONF.example;transport=udp"] {
        assert_eq!(refer(&mut net, "alice", &format!("<{to}>")), 202);
        let told = news(&mut net, "alice");
        let last = told.last().unwrap();
        assert!(last.starts_with("SIP/2.0 403"), "{to}: {told:?}");
    }
    assert_eq!(net.members(TEAM).iter().filter(|(_, state)| *state == "in").count(), 1);
}

#[test]
fn what_may_not_be_asked() {
    let mut net = Net::new();
    net.enter("alice", TEAM);
    net.enter("bob", TEAM);
    let kick = "<sip:bob@example.com;method=BYE>";
    assert_eq!(refer(&mut net, "alice", kick), 403);
    assert_eq!(refer(&mut net, "alice", "<sip:bob@example.com;method=MESSAGE>"), 403);
    assert_eq!(refer(&mut net, "alice", "<http://example.com>"), 416);
    assert_eq!(refer(&mut net, "alice", "<sip:olga@example.com;method=BYE>"), 403);
    // From alone is not believed.
    let olga = [("Refer-To", kick)];
    assert_eq!(beside(&mut net, "olga", Method::Refer, TEAM, &olga).status(), Some(403));
    assert_eq!(net.members(TEAM).len(), 2);
    assert_eq!(net.focus().load().subscriptions, 0);
}

/// What `name` sends is from `other`, as far as SIP says.
fn pretend(net: &mut Net, name: &str, other: &str) {
    let (from, to) = (net.ue(name).address, net::focus_address());
    let (mine, theirs) = (format!("<{}>", member(name)), format!("<{}>", member(other)));
    net.tap = Some(Box::new(move |source, target, data| {
        let text = String::from_utf8_lossy(data).into_owned();
        let (ours, back) = ((source, target) == (from, to), (source, target) == (to, from));
        let text = match (ours, back) {
            (true, _) => text.replace(&format!("From: {mine}"), &format!("From: {theirs}")),
            (_, true) => text.replace(&format!("From: {theirs}"), &format!("From: {mine}")),
            _ => return vec![data.clone()],
        };
        vec![text.into()]
    }));
}

#[test]
fn a_room_belongs_to_whom_the_key_server_vouches_for() {
    let mut net = Net::new();
    pretend(&mut net, "alice", "bob");
    net.enter("alice", FACTORY);
    let room = net.focus().rooms().into_iter().find(|room| !room.fixed).unwrap();
    let members: Vec<_> = room.members.iter().map(|m| (m.uri.as_str(), m.owner)).collect();
    assert_eq!(members, [(member("alice").as_str(), true)]);
}

#[test]
fn one_in_clear_owns_nothing_by_saying_so() {
    let mut net = Net::with(with(|policy| policy.unsealed = Unsealed::Admit));
    net.enter("bob", TEAM);
    pretend(&mut net, "alice", "olga");
    net.join("alice", TEAM, &Wish::clear());
    assert_eq!(net.members(TEAM).len(), 2);
    assert_eq!(refer(&mut net, "alice", "<sip:bob@example.com;method=BYE>"), 403);
    assert_eq!(subscribe(&mut net, "alice", TEAM), 200, "she is there all the same");
}

#[test]
fn an_owner_puts_somebody_out() {
    let (mut net, mut view) = watching(config(1));
    net.enter("olga", TEAM);
    net.enter("bob", TEAM);
    assert_eq!(subscribe(&mut net, "bob", TEAM), 200);
    net.ue("bob").got.clear();
    follow(&mut net, "alice", &mut view);
    assert_eq!(refer(&mut net, "olga", "<sip:nobody@example.com;method=BYE>"), 404);
    assert_eq!(refer(&mut net, "olga", "<sip:bob@example.com;method=BYE>"), 202);
    assert_eq!(news(&mut net, "olga"), ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]);
    assert!(net.ue("bob").sessions[0].ended.as_ref().unwrap().contains("403"));
    let left = net.event(|event| matches!(event, Event::Left { .. }));
    let by = Left::Kicked(Some(member("olga")));
    assert!(matches!(left, Event::Left { reason, .. } if reason == by));
    let last = notifies(&mut net, "bob", "conference").pop().unwrap();
    assert_eq!(last.header("Subscription-State").unwrap(), "terminated;reason=rejected");
    let changes = follow(&mut net, "alice", &mut view);
    assert!(changes.iter().any(|c| matches!(c, Change::Left(user) if user.entity == member("bob"))));
    let bob = endpoint(view.roster(), "bob");
    assert_eq!(bob.disconnection_method, Some(Disconnection::Booted));
    assert_eq!(bob.disconnection_info.unwrap().by, Some(member("olga")));
}

#[test]
fn a_room_that_ends() {
    let (mut net, mut view) = watching(config(1));
    net.admin(|focus, now, wall| focus.close(now, wall, TEAM)).unwrap();
    let last = notifies(&mut net, "alice", "conference");
    let states: Vec<_> = last.iter().map(|m| m.header("Subscription-State").unwrap().into_owned()).collect();
    assert_eq!(states, ["terminated;reason=noresource"]);
    assert_eq!(view.read(last[0].body()), Ok(Applied::Ended));
    // One that somebody made ends with the last one in it.
    let mut settings = config(1);
    settings.factories[0].policy.watch = Who::Anyone;
    let mut net = Net::with(settings);
    net.enter("alice", FACTORY);
    let room = net.focus().rooms().into_iter().find(|room| !room.fixed).unwrap().uri;
    assert_eq!(subscribe(&mut net, "alice", &room), 200);
    view = View::default();
    follow(&mut net, "alice", &mut view);
    assert_eq!(view.roster().user(&member("alice")).unwrap().roles, ["owner"]);
    net.bye("alice");
    let last = notifies(&mut net, "alice", "conference").pop().unwrap();
    assert_eq!(last.header("Subscription-State").unwrap(), "terminated;reason=noresource");
    assert_eq!(view.read(last.body()), Ok(Applied::Ended));
    assert_eq!(net.focus().load().subscriptions, 0);
}

#[test]
fn who_is_called_back_never_left() {
    let (mut net, mut view) = watching(config(2));
    net.enter("bob", TEAM);
    follow(&mut net, "alice", &mut view);
    let before = endpoint(view.roster(), "bob");
    let at = net.mrfps.iter().position(|m| !m.conferences.is_empty()).unwrap();
    net.kill(at);
    net.pass(Duration::from_secs(30));
    let mut seen = Vec::new();
    for notify in notifies(&mut net, "alice", "conference") {
        let Ok(Applied::Changed(changes)) = view.read(notify.body()) else { panic!() };
        assert!(!changes.iter().any(|c| matches!(c, Change::Left(_) | Change::Joined(_))), "{changes:?}");
        seen.push(endpoint(view.roster(), "bob").status.unwrap());
    }
    assert!(seen.contains(&Status::OnHold), "{seen:?}");
    let after = endpoint(view.roster(), "bob");
    assert_eq!((after.entity, after.status), (before.entity, Some(Status::Connected)));
    assert_eq!(view.roster().seal(), Some(Seal::Sealed));
    assert_eq!(view.roster().users.len(), 2);
}

#[test]
fn a_way_that_loses_much() {
    let (mut net, mut view) = watching(config(1));
    let alice = net.ue("alice").address;
    let mut random = carnet_wire::SeededRandom::new(11);
    net.tap = Some(Box::new(move |from, to, data| {
        use carnet_wire::Random;
        // One in three to and from her is lost, one in ten comes twice.
        match random.u32() % 30 {
            _ if from != alice && to != alice => vec![data.clone()],
            0..10 => Vec::new(),
            10..13 => vec![data.clone(), data.clone()],
            _ => vec![data.clone()],
        }
    }));
    for round in 0..12 {
        let name = ["bob", "carol", "olga"][round % 3];
        if net.members(TEAM).iter().any(|(uri, _)| *uri == member(name)) {
            net.bye(name);
        } else {
            net.enter(name, TEAM);
        }
        net.pass(Duration::from_secs(7));
        follow(&mut net, "alice", &mut view);
    }
    net.pass(Duration::from_secs(70));
    follow(&mut net, "alice", &mut view);
    let there: Vec<_> = net.members(TEAM).into_iter().map(|(uri, _)| uri).collect();
    let mut shown: Vec<_> = view.roster().users.iter().map(|user| user.entity.clone()).collect();
    shown.sort();
    assert_eq!(shown, there);
    assert_eq!(net.focus().load().subscriptions, 1);
}

#[test]
fn a_second_device_is_another_endpoint() {
    let (mut net, mut view) = watching(with(|policy| policy.devices = Devices::Several));
    net.enter("alice", TEAM);
    follow(&mut net, "alice", &mut view);
    let alice = view.roster().user(&member("alice")).unwrap();
    let numbers: Vec<_> = alice.endpoints.iter().map(|e| e.entity.as_str()).collect();
    assert_eq!(numbers, ["1", "2"]);
    assert_eq!(view.roster().state.user_count, Some(1));
}

#[test]
fn those_who_may_not_speak_are_muted() {
    let (mut net, mut view) = watching(with(|policy| policy.moderated = 1));
    net.enter("bob", TEAM);
    follow(&mut net, "alice", &mut view);
    assert_eq!(endpoint(view.roster(), "bob").status, Some(Status::Muted));
    assert!(view.roster().user(&member("bob")).unwrap().is_present());
    assert_eq!(view.roster().seal(), Some(Seal::Sealed));
}
