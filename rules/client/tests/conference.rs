//! Conferences: joined, watched, asked, lost and gone on in, with a focus by hand on the other side.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

#[path = "net/focus.rs"]
mod focus;
mod net;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use carnet_client::{
    Ask, CallId, Conference, Ending, Event, FetchPurpose, FloorMedia, Invitation, KeyRefusal, Places,
    Purpose, Refusal, Remote, TcpRole, TlsRole,
};
use carnet_roster::{Roster, User};
use carnet_sip::{Message, Method};
use focus::{Focus, Manner, ROOM, conference};
use net::{Net, media_address, uri};

const PLACES: fn() -> Places =
    || Places { messages: Some(media_address(0, 0)), floors: Some(media_address(0, 1)) };

fn join(net: &mut Net, places: Places) -> CallId {
    let (now, wall) = (net.now, net.wall);
    let call = net.nodes[0].client.join(now, wall, uri(ROOM), places).unwrap();
    net.settle();
    call
}

/// Alice, in.
fn joined(manner: Manner) -> (Net, Rc<RefCell<Focus>>, CallId) {
    let (mut net, focus) = conference(|_| {}, manner);
    let call = join(&mut net, PLACES());
    conference_of(&mut net);
    net.media(0);
    (net, focus, call)
}

fn conference_of(net: &mut Net) -> Conference {
    match net.event(0, |event| matches!(event, Event::Joined { .. })) {
        Event::Joined { conference, .. } => conference,
        _ => unreachable!(),
    }
}

fn floors(net: &mut Net) -> FloorMedia {
    match net.event(0, |event| matches!(event, Event::Floors { .. })) {
        Event::Floors { media, .. } => *media,
        _ => unreachable!(),
    }
}

fn refusal(net: &mut Net) -> Refusal {
    match net.ending(0) {
        Ending::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_line_has_a_key_of_its_own_from_one_ticket() {
    let (mut net, focus) = conference(|_| {}, Manner::default());
    join(&mut net, PLACES());
    let conference = conference_of(&mut net);
    let (messages, floors) = (net.media(0), floors(&mut net));
    assert_eq!(net.kms[0].asked, [FetchPurpose::Ticket], "one ticket is asked for");
    let (a, b) = (messages.seal.unwrap(), floors.seal.unwrap());
    let focus = focus.borrow();
    assert!(a.tek == focus.seals[0].tek && b.tek == focus.seals[1].tek && a.tek != b.tek);
    assert_ne!(a.psk_identity, b.psk_identity);
    assert_eq!((a.peer.as_str(), b.peer.as_str()), (ROOM, ROOM));
    let expected = Conference {
        uri: ROOM.into(),
        sealed: true,
        messages: true,
        floors: true,
        nicknames: true,
        private_messages: true,
        max_size: None,
    };
    assert_eq!(conference, expected);
    assert_eq!((floors.conference, floors.user), (77, 5));
    let named: Vec<_> = floors.floors.iter().map(|floor| (floor.floor, floor.streams.join(","))).collect();
    assert_eq!(named, [(1, "10".to_owned()), (2, "10".to_owned())]);
    assert_eq!(floors.remote, Some(Remote::Address("10.0.0.9:7001".parse().unwrap())));
    let offer = String::from_utf8(focus.last(&Method::Invite).body().to_vec()).unwrap();
    for line in [
        "m=message 20000 TCP/TLS/MSRP *",
        "a=chatroom:nickname private-messages",
        "m=application 20001 TCP/TLS/BFCP *",
        "a=connection:new",
        "a=floorctrl:c-only",
    ] {
        assert!(offer.split("\r\n").any(|other| other == line), "{line} is not in {offer}");
    }
}

// RFC 8122 §6.2 for messages, RFC 8856 §8 for floor control.
#[test]
fn who_offers_is_tls_client_for_floors_whoever_connects() {
    for (setup, tcp, tls) in
        [("passive", TcpRole::Active, TlsRole::Client), ("active", TcpRole::Passive, TlsRole::Server)]
    {
        let (mut net, _focus) = conference(|_| {}, Manner { setup, ..Manner::default() });
        join(&mut net, PLACES());
        let (messages, floors) = (net.media(0), floors(&mut net));
        assert_eq!((messages.tcp, messages.tls), (tcp, tls), "{setup}");
        assert_eq!((floors.tcp, floors.tls), (tcp, TlsRole::Client), "{setup}");
    }
}

#[test]
fn a_conference_may_have_no_floors_or_be_joined_for_them_only() {
    let (mut net, _focus) = conference(|_| {}, Manner { floors: false, ..Manner::default() });
    join(&mut net, PLACES());
    let conference = conference_of(&mut net);
    assert!(conference.messages && !conference.floors);
    net.media(0);
    assert!(net.try_event(0, |event| matches!(event, Event::Floors { .. } | Event::Ended { .. })).is_none());

    let (mut net, focus) = focus::conference(|_| {}, Manner::default());
    join(&mut net, Places { messages: None, ..PLACES() });
    let conference = conference_of(&mut net);
    assert!(!conference.messages && conference.floors);
    floors(&mut net);
    assert!(net.try_event(0, |event| matches!(event, Event::Media { .. })).is_none());
    let offer = focus.borrow().last(&Method::Invite).body().to_vec();
    assert!(!String::from_utf8(offer).unwrap().contains("m=message"));
    // And if that is refused, nothing is left.
    let (mut net, _focus) = focus::conference(|_| {}, Manner { floors: false, ..Manner::default() });
    join(&mut net, Places { messages: None, ..PLACES() });
    assert_eq!(refusal(&mut net), Refusal::Declined);
}

#[test]
fn who_is_no_conference_is_left_again() {
    let manner = || Manner { contact: "<sip:room@10.0.0.9:5060>", room: "", ..Manner::default() };
    let (mut net, focus) = conference(|_| {}, manner());
    join(&mut net, PLACES());
    assert_eq!(refusal(&mut net), Refusal::NoConference);
    assert_eq!(focus.borrow().count(&Method::Bye), 1);
    assert!(net.try_event(0, |event| matches!(event, Event::Joined { .. } | Event::Media { .. })).is_none());
    // A border on the way may write a Contact of its own: then the line of the chat room tells.
    let (mut net, _focus) = conference(|_| {}, Manner { room: Manner::default().room, ..manner() });
    join(&mut net, PLACES());
    assert_eq!(conference_of(&mut net).uri, ROOM);
}

#[test]
fn lines_with_wrong_keys_or_of_different_peers_are_all_refused() {
    fn wrong(answer: String) -> String {
        // The last key is that of floor control: one letter in the middle of it.
        let at = answer.rfind("a=key-mgmt:mikey ").unwrap() + 120;
        let other = if &answer[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &answer[..at], &answer[at + 1..])
    }
    fn swapped(answer: String) -> String {
        let keys: Vec<String> =
            answer.split("\r\n").filter(|line| line.starts_with("a=key-mgmt")).map(str::to_owned).collect();
        answer.replace(&keys[0], "@").replace(&keys[1], &keys[0]).replace('@', &keys[1])
    }
    fn clear(answer: String) -> String {
        let at = answer.rfind("a=key-mgmt").unwrap();
        answer[..at].to_owned()
    }
    fn without_user(answer: String) -> String {
        answer.replace("a=userid:5\r\n", "")
    }
    fn other_transport(answer: String) -> String {
        answer.replace("TCP/TLS/BFCP", "TCP/BFCP")
    }
    type Edit = fn(String) -> String;
    let edits: [(Edit, &str); 5] = [
        (wrong, "altered"),
        (swapped, "altered"),
        (clear, "unsealed"),
        (without_user, "malformed"),
        (other_transport, "transport-changed"),
    ];
    for (edit, word) in edits {
        let (mut net, focus) = conference(|_| {}, Manner { edit, ..Manner::default() });
        join(&mut net, PLACES());
        assert_eq!(refusal(&mut net).word(), word);
        assert_eq!(focus.borrow().count(&Method::Bye), 1, "{word}");
        assert!(net.try_event(0, |e| matches!(e, Event::Media { .. } | Event::Floors { .. })).is_none());
    }
    // Another member answers the line of floor control with keys of its own.
    let (mut net, _focus) = conference(|_| {}, Manner { floor_user: "eve", ..Manner::default() });
    join(&mut net, PLACES());
    let refusal = refusal(&mut net);
    assert!(
        matches!(&refusal, Refusal::Keys(KeyRefusal::WrongResponder(who)) if who.contains("eve")),
        "{refusal}"
    );
}

fn back(net: &mut Net, focus: &Rc<RefCell<Focus>>, sealed: bool) -> (CallId, Invitation) {
    focus.borrow_mut().wall = net.wall;
    let invite = focus.borrow_mut().call(sealed);
    net.hear_focus(&invite);
    match net.event(0, |event| matches!(event, Event::Incoming { .. })) {
        Event::Incoming { call, purpose: Purpose::Conference(invitation), sealed: is_sealed, .. } => {
            assert_eq!(is_sealed, sealed);
            (call, invitation)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_conference_that_was_lost_calls_back_and_goes_on() {
    let (mut net, focus, old) = joined(Manner::default());
    floors(&mut net);
    let now = net.now;
    net.nodes[0].client.media_failed(now, old, Refusal::Connection("it broke".into()));
    net.settle();
    net.event(0, |event| matches!(event, Event::Waiting { call } if *call == old));
    net.pass(Duration::from_secs(30));
    assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());
    let (new, invitation) = back(&mut net, &focus, true);
    assert_eq!(invitation, Invitation { messages: true, floors: true, back: Some(old) });
    let now = net.now;
    net.nodes[0].client.accept_conference(now, new, PLACES());
    net.settle();
    assert_eq!(net.ending(0), Ending::CalledBack(new));
    assert_eq!(conference_of(&mut net).uri, ROOM);
    let (messages, floors) = (net.media(0), floors(&mut net));
    // The focus offers: it is the TLS client for floors, and we connect.
    assert_eq!((floors.tcp, floors.tls), (TcpRole::Active, TlsRole::Server));
    assert_eq!((messages.tcp, messages.tls), (TcpRole::Active, TlsRole::Client));
    {
        let focus = focus.borrow();
        let (a, b) = (messages.seal.unwrap(), floors.seal.unwrap());
        assert!(a.tek == focus.seals[0].tek && b.tek == focus.seals[1].tek);
        assert_eq!(focus.count(&Method::Bye), 1, "the old dialog is given up");
    }
    net.pass(Duration::from_secs(200));
    assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());
}

#[test]
fn a_conference_that_does_not_call_back_ends() {
    let (mut net, focus, call) = joined(Manner::default());
    let now = net.now;
    net.nodes[0].client.media_failed(now, call, Refusal::Connection("it broke".into()));
    net.pass(Duration::from_secs(89));
    assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());
    net.pass(Duration::from_secs(2));
    assert_eq!(refusal(&mut net), Refusal::Connection("it broke".into()));
    assert_eq!(focus.borrow().count(&Method::Bye), 1);
}

#[test]
fn the_focus_says_whether_it_will_call_back() {
    for (reason, waits) in [
        (Some("SIP;cause=503;text=\"media server lost\""), true),
        (Some("SIP;cause=403;text=\"put out\""), false),
        (Some("Q.850;cause=503"), false),
        (None, false),
    ] {
        let (mut net, focus, call) = joined(Manner::default());
        let invite = focus.borrow().last(&Method::Invite);
        let headers: Vec<_> = reason.map(|reason| ("Reason", reason)).into_iter().collect();
        let bye = focus.borrow_mut().within(&invite, "BYE", &headers, "");
        net.hear_focus(&bye);
        if !waits {
            assert!(matches!(net.ending(0), Ending::Peer(_)), "{reason:?}");
            continue;
        }
        net.event(0, |event| matches!(event, Event::Waiting { .. }));
        let (new, invitation) = back(&mut net, &focus, true);
        assert_eq!(invitation.back, Some(call));
        let now = net.now;
        net.nodes[0].client.accept_conference(now, new, PLACES());
        net.settle();
        assert_eq!(net.ending(0), Ending::CalledBack(new));
    }
}

#[test]
fn nobody_takes_the_place_of_a_sealed_conference_in_clear() {
    let (mut net, focus) = conference(|config| config.allow_clear = true, Manner::default());
    join(&mut net, PLACES());
    let (_, invitation) = back(&mut net, &focus, false);
    assert_eq!(invitation.back, None);
    // Without leave for clear it does not even ring.
    let (mut net, focus, _) = joined(Manner::default());
    let invite = focus.borrow_mut().call(false);
    net.hear_focus(&invite);
    assert_eq!(net.refused(0).word(), "unsealed");
    // And of a conference that we are not in it is an invitation like others.
    let (mut net, focus) = conference(|_| {}, Manner::default());
    let (_, invitation) = back(&mut net, &focus, true);
    assert_eq!(invitation.back, None);
}

fn roster_of(names: &[&str]) -> Roster {
    let user = |name: &&str| User { entity: format!("sip:{name}@example.com"), ..User::default() };
    Roster { entity: ROOM.into(), users: names.iter().map(user).collect(), ..Roster::default() }
}

const ACTIVE: &str = "active;expires=3600";

fn notify(net: &mut Net, focus: &Rc<RefCell<Focus>>, state: &str, body: &str) -> u16 {
    let subscribe = focus.borrow().last(&Method::Subscribe);
    let headers = [
        ("Event", "conference"),
        ("Subscription-State", state),
        ("Content-Type", carnet_roster::CONTENT_TYPE),
    ];
    let notify = focus.borrow_mut().within(&subscribe, "NOTIFY", &headers, body);
    net.hear_focus(&notify);
    focus.borrow().got.last().filter(|last| last.is_response()).and_then(Message::status).unwrap()
}

fn seen(net: &mut Net) -> Option<Vec<String>> {
    match net.try_event(0, |event| matches!(event, Event::Roster { .. }))? {
        Event::Roster { roster, .. } => Some(roster.users.iter().map(|user| user.entity.clone()).collect()),
        _ => unreachable!(),
    }
}

#[test]
fn the_roster_follows_what_the_focus_tells() {
    let (mut net, focus, call) = joined(Manner::default());
    let now = net.now;
    net.nodes[0].client.watch(now, call);
    net.settle();
    let subscribe = focus.borrow().last(&Method::Subscribe);
    assert_eq!(subscribe.request_uri().unwrap().as_str(), ROOM);
    assert_eq!(subscribe.header("Event").as_deref(), Some("conference"));
    let (one, two) = (roster_of(&["alice"]), roster_of(&["alice", "bob"]));
    assert_eq!(notify(&mut net, &focus, ACTIVE, &one.document(1).print()), 200);
    assert_eq!(seen(&mut net).unwrap(), ["sip:alice@example.com"]);
    let partial = |version| Roster::diff(&one, &two, version).unwrap().print();
    assert_eq!(notify(&mut net, &focus, ACTIVE, &partial(2)), 200);
    assert_eq!(seen(&mut net).unwrap(), ["sip:alice@example.com", "sip:bob@example.com"]);
    // One was lost: all of it is asked for.
    assert_eq!(notify(&mut net, &focus, ACTIVE, &partial(4)), 200);
    assert!(seen(&mut net).is_none());
    net.pass(Duration::from_millis(100));
    assert_eq!(focus.borrow().count(&Method::Subscribe), 2);
    // Before it ends it is refreshed.
    net.pass(Duration::from_secs(3600));
    assert_eq!(focus.borrow().count(&Method::Subscribe), 3);
    // It is given back with the call.
    let (now, wall) = (net.now, net.wall);
    net.nodes[0].client.hang_up(now, wall, call);
    net.settle();
    assert_eq!(focus.borrow().last(&Method::Subscribe).header("Expires").as_deref(), Some("0"));
    assert!(net.nodes[0].client.is_idle());
}

#[test]
fn a_roster_that_cannot_be_believed_is_refused_and_the_call_goes_on() {
    let few = carnet_roster::Limits { users: 3, ..carnet_roster::Limits::default() };
    let (mut net, focus) = conference(|config| config.limits.roster = few, Manner::default());
    let call = join(&mut net, PLACES());
    let now = net.now;
    net.nodes[0].client.watch(now, call);
    net.settle();
    let crowd = roster_of(&["a", "b", "c", "d"]);
    for body in [crowd.document(1).print(), "<!DOCTYPE x><x/>".into(), "no".into()] {
        assert_eq!(notify(&mut net, &focus, ACTIVE, &body), 400);
        assert!(seen(&mut net).is_none());
    }
    let subscribe = focus.borrow().last(&Method::Subscribe);
    for (headers, status) in [
        ([("Event", "presence"), ("Subscription-State", ACTIVE), ("Content-Type", "a/b")], 489),
        ([("Event", "conference"), ("Subscription-State", ACTIVE), ("Content-Type", "text/plain")], 415),
    ] {
        let notify = focus.borrow_mut().within(&subscribe, "NOTIFY", &headers, "x");
        net.hear_focus(&notify);
        assert_eq!(focus.borrow().got.last().unwrap().status(), Some(status));
    }
    // A NOTIFY for nothing that we asked for.
    let invite = focus.borrow().last(&Method::Invite);
    let mut stray = focus.borrow_mut().within(&invite, "NOTIFY", &[("Event", "conference")], "");
    stray.set_header("Call-ID", "stray").unwrap();
    net.hear_focus(&stray);
    assert_eq!(focus.borrow().got.last().unwrap().status(), Some(481));
    assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());
}

#[test]
fn a_roster_that_ends_is_asked_for_again_or_not_as_the_focus_says() {
    for (state, again) in [
        ("terminated;reason=deactivated", true),
        ("terminated;reason=timeout", true),
        ("terminated;reason=probation;retry-after=20", true),
        ("terminated;reason=noresource", false),
        ("terminated;reason=rejected", false),
    ] {
        let (mut net, focus, call) = joined(Manner::default());
        let now = net.now;
        net.nodes[0].client.watch(now, call);
        net.settle();
        notify(&mut net, &focus, state, "");
        net.pass(Duration::from_secs(30));
        assert_eq!(focus.borrow().count(&Method::Subscribe), if again { 2 } else { 1 }, "{state}");
        let told = net.try_event(0, |event| matches!(event, Event::NoRoster { .. }));
        assert_eq!(told.is_none(), again, "{state}");
    }
    for (status, tries) in [(489, 1), (403, 3), (503, 6)] {
        let (mut net, focus, call) = joined(Manner { subscribe: status, ..Manner::default() });
        let now = net.now;
        net.nodes[0].client.watch(now, call);
        net.pass(Duration::from_secs(300));
        assert_eq!(focus.borrow().count(&Method::Subscribe), tries, "{status}");
        net.event(0, |event| matches!(event, Event::NoRoster { .. }));
        assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());
    }
}

fn progress(net: &mut Net) -> (u16, String, bool) {
    match net.event(0, |event| matches!(event, Event::Referral { .. })) {
        Event::Referral { status, text, done, .. } => (status, text, done),
        _ => unreachable!(),
    }
}

#[test]
fn the_focus_is_asked_about_others_and_tells_what_came_of_it() {
    let (mut net, focus, call) = joined(Manner::default());
    let now = net.now;
    net.nodes[0].client.refer(now, call, &uri("sip:bob@example.com"), Ask::Invite).unwrap();
    net.settle();
    let refer = focus.borrow().last(&Method::Refer);
    assert_eq!(refer.header("Refer-To").as_deref(), Some("<sip:bob@example.com>"));
    assert_eq!(refer.header("Referred-By").as_deref(), Some("<sip:alice@example.com>"));
    assert!(!progress(&mut net).2);
    let headers = |state| {
        [("Event", "refer"), ("Subscription-State", state), ("Content-Type", "message/sipfrag;version=2.0")]
    };
    for (state, body, expected) in [
        ("active;expires=60", "SIP/2.0 180 Ringing\r\n", (180, "Ringing".to_owned(), false)),
        ("terminated;reason=noresource", "SIP/2.0 603 Decline\r\n", (603, "Decline".to_owned(), true)),
    ] {
        let notify = focus.borrow_mut().within(&refer, "NOTIFY", &headers(state), body);
        net.hear_focus(&notify);
        assert_eq!(progress(&mut net), expected);
    }
    // RFC 4579 §5.11
    let now = net.now;
    net.nodes[0].client.refer(now, call, &uri("sip:bob@example.com"), Ask::Expel).unwrap();
    net.settle();
    let refer = focus.borrow().last(&Method::Refer);
    assert_eq!(refer.header("Refer-To").as_deref(), Some("<sip:bob@example.com;method=BYE>"));
    // One who is silent about it is not waited for for ever.
    progress(&mut net);
    net.pass(Duration::from_secs(300));
    assert_eq!(progress(&mut net), (408, "no answer".to_owned(), true));
}

#[test]
fn a_referral_that_is_refused_says_so_and_there_are_not_too_many() {
    let (mut net, _focus, call) = joined(Manner { refer: 403, ..Manner::default() });
    let now = net.now;
    net.nodes[0].client.refer(now, call, &uri("sip:bob@example.com"), Ask::Expel).unwrap();
    net.settle();
    let (status, _, done) = progress(&mut net);
    assert!(status == 403 && done);
    let (mut net, _focus, call) = joined(Manner::default());
    let now = net.now;
    let mut ask = || net.nodes[0].client.refer(now, call, &uri("sip:bob@example.com"), Ask::Invite);
    for _ in 0..16 {
        ask().unwrap();
    }
    assert_eq!(ask(), Err(Refusal::Busy));
    assert_eq!(
        net.nodes[0].client.refer(now, CallId(99), &uri("sip:b@b"), Ask::Invite),
        Err(Refusal::NoConference)
    );
}

#[test]
fn a_session_that_is_refreshed_keeps_its_lines_and_loses_those_taken_out() {
    let (mut net, focus, call) = joined(Manner::default());
    floors(&mut net);
    let now = net.now;
    net.nodes[0].client.refresh(now, call);
    net.settle();
    let offer = String::from_utf8(focus.borrow().last(&Method::Invite).body().to_vec()).unwrap();
    assert!(offer.contains("a=connection:existing") && offer.contains("m=application 20001"), "{offer}");
    net.pass(Duration::from_secs(1));
    let quiet =
        |event: &Event| matches!(event, Event::Ended { .. } | Event::Media { .. } | Event::Floors { .. });
    assert!(net.try_event(0, quiet).is_none());
    // The focus takes floor control out; the rest stays.
    let invite = focus.borrow().last(&Method::Invite);
    let answer = focus.borrow().answer.clone();
    let offer = answer.replace("m=application 7001", "m=application 0");
    let again = focus.borrow_mut().within(&invite, "INVITE", &[("Content-Type", "application/sdp")], &offer);
    net.hear_focus(&again);
    net.event(0, |event| matches!(event, Event::FloorsEnded { call: it } if *it == call));
    let response = focus.borrow().got.last().unwrap().clone();
    let body = String::from_utf8(response.body().to_vec()).unwrap();
    assert_eq!(response.status(), Some(200));
    assert!(body.contains("m=application 0 ") && body.contains("m=message 9 TCP/TLS/MSRP *"), "{body}");
    assert!(net.try_event(0, quiet).is_none());
    // Other keys in the call are refused, and it goes on as it was.
    let at = answer.find("a=key-mgmt:mikey ").unwrap() + 120;
    let other = if &answer[at..=at] == "A" { "B" } else { "A" };
    let offer = format!("{}{other}{}", &answer[..at], &answer[at + 1..]);
    let again = focus.borrow_mut().within(&invite, "INVITE", &[("Content-Type", "application/sdp")], &offer);
    net.hear_focus(&again);
    net.pass(Duration::from_secs(1));
    assert!(focus.borrow().got.iter().any(|message| message.status() == Some(488)));
    assert!(net.try_event(0, quiet).is_none());
}

/// RFC 8856 §7.1: a floor control connection that broke is offered anew, and nothing else changes: neither
/// keys nor the message session. Until the focus has answered, one offer is enough.
#[test]
fn another_floor_control_connection_is_offered_in_place_of_a_lost_one() {
    let (mut net, focus, call) = joined(Manner::default());
    let before = floors(&mut net);
    let first = String::from_utf8(focus.borrow().last(&Method::Invite).body().to_vec()).unwrap();
    let keys = |sdp: &str| -> Vec<String> {
        sdp.lines().filter(|line| line.starts_with("a=key-mgmt")).map(str::to_owned).collect()
    };
    let version =
        |sdp: &str| -> u64 { sdp.lines().nth(1).unwrap().split(' ').nth(2).unwrap().parse().unwrap() };
    let invites = |focus: &Rc<RefCell<Focus>>| {
        focus.borrow().got.iter().filter(|message| *message.method() == Method::Invite).count()
    };
    let count = invites(&focus);
    let now = net.now;
    net.nodes[0].client.renew_floors(now, call);
    net.nodes[0].client.renew_floors(now, call);
    net.settle();
    let place = net.event(0, |event| matches!(event, Event::FloorsRenewed { .. }));
    let Event::FloorsRenewed { call: it, place: Ok(place) } = place else { panic!("{place:?}") };
    assert_eq!((it, place), (call, before.remote));
    assert_eq!(invites(&focus), count + 1);
    let offer = String::from_utf8(focus.borrow().last(&Method::Invite).body().to_vec()).unwrap();
    assert!(offer.contains("a=connection:new") && !offer.contains("a=connection:existing"), "{offer}");
    assert_eq!(keys(&offer), keys(&first));
    assert!(version(&offer) > version(&first), "{offer}");
    let quiet =
        |event: &Event| matches!(event, Event::Ended { .. } | Event::Media { .. } | Event::Floors { .. });
    assert!(net.try_event(0, quiet).is_none());
    // From then on there is a connection that stays.
    let now = net.now;
    net.nodes[0].client.refresh(now, call);
    net.settle();
    let refresh = String::from_utf8(focus.borrow().last(&Method::Invite).body().to_vec()).unwrap();
    assert!(refresh.contains("a=connection:existing") && version(&refresh) > version(&offer), "{refresh}");
    // A conference that is lost altogether is not asked.
    let (now, count) = (net.now, invites(&focus));
    net.nodes[0].client.media_failed(now, call, Refusal::Connection("gone".into()));
    net.nodes[0].client.renew_floors(now, call);
    net.settle();
    assert_eq!(invites(&focus), count);
}
