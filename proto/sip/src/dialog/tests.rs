use super::*;
use crate::endpoint::Timers;
use carnet_wire::SeededRandom;
use std::time::Instant;

fn invite() -> Message {
    let mut m = Message::request(Method::Invite, "sip:bob@biloxi.example.com".parse().unwrap());
    m.push_back("From", "Alice <sip:alice@atlanta.example.com>;tag=a1").unwrap();
    m.push_back("To", "Bob <sip:bob@biloxi.example.com>").unwrap();
    m.push_back("Call-ID", "c1").unwrap();
    m.push_back("CSeq", "10 INVITE").unwrap();
    m.push_back("Contact", "<sip:alice@client.atlanta.example.com>").unwrap();
    m.push_back("Record-Route", "<sip:p2;lr>, <sip:p1;lr>").unwrap();
    m
}

fn response(request: &Message, status: u16, tag: &str, contact: &str) -> Message {
    let mut r = Message::response(request, status, "").unwrap();
    if r.to_tag().is_none() {
        let to = r.to().unwrap().with_tag(tag).unwrap();
        r.set_header("To", &to.to_string()).unwrap();
    }
    r.push_back("Contact", contact).unwrap();
    r
}

fn pair() -> (Dialog, Dialog) {
    let invite = invite();
    let ok = response(&invite, 200, "b1", "<sip:bob@client.biloxi.example.com>");
    (Dialog::caller(&invite, &ok).unwrap(), Dialog::callee(&invite, &ok).unwrap())
}

fn text(message: &Message) -> String {
    String::from_utf8(message.to_bytes().to_vec()).unwrap()
}

#[test]
fn both_ends_agree() {
    let (mut caller, mut callee) = pair();
    let (a, b) = (caller.id(), callee.id());
    assert_eq!((&a.local_tag, &a.remote_tag, &a.call_id), (&b.remote_tag, &b.local_tag, &b.call_id));
    // RFC 3261 §12.1: the caller turns Record-Route round, the called side does not.
    let routes = |d: &Dialog| d.routes().iter().map(|r| r.uri().host().to_owned()).collect::<Vec<_>>();
    assert_eq!(
        (routes(&caller), routes(&callee)),
        (vec!["p1".into(), "p2".into()], vec!["p2".into(), "p1".into()])
    );

    let bye = caller.request(Method::Bye).unwrap();
    assert_eq!(
        text(&bye),
        "BYE sip:bob@client.biloxi.example.com SIP/2.0\r\n\
         Max-Forwards: 70\r\n\
         Route: <sip:p1;lr>\r\n\
         Route: <sip:p2;lr>\r\n\
         From: Alice <sip:alice@atlanta.example.com>;tag=a1\r\n\
         To: Bob <sip:bob@biloxi.example.com>;tag=b1\r\n\
         Call-ID: c1\r\n\
         CSeq: 11 BYE\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(DialogId::of_request(&bye).unwrap(), callee.id());
    assert_eq!(caller.destination(), Destination::Uri("sip:p1;lr".parse().unwrap()));
    callee.receive(&bye).unwrap();
    // The same number again is out of order.
    assert_eq!(callee.receive(&bye).unwrap_err().status(), Some(500));

    let info = callee.request(Method::Info).unwrap();
    assert_eq!((info.from_tag().as_deref(), info.to_tag().as_deref()), (Some("b1"), Some("a1")));
    assert_eq!(info.request_uri().unwrap().host(), "client.atlanta.example.com");
    let ack = caller.ack(10).unwrap();
    assert_eq!((ack.cseq().unwrap().to_string(), ack.routes().unwrap().len()), ("10 ACK".into(), 2));
}

#[test]
fn strict_routers() {
    let mut invite = invite();
    invite.set_header("Record-Route", "<sip:strict.example.com?x=1>, <sip:loose;lr>").unwrap();
    let ok = response(&invite, 200, "b1", "<sip:bob@192.0.2.4>");
    let mut callee = Dialog::callee(&invite, &ok).unwrap();
    let bye = callee.request(Method::Bye).unwrap();
    assert_eq!(bye.request_uri().unwrap().as_str(), "sip:strict.example.com");
    let routes: Vec<_> = bye.routes().unwrap().iter().map(|r| r.uri().to_string()).collect();
    assert_eq!(routes, ["sip:loose;lr", "sip:alice@client.atlanta.example.com"]);
}

#[test]
fn targets_follow_the_contact() {
    let (mut caller, mut callee) = pair();
    callee.receive(&caller.ack(10).unwrap()).unwrap();
    let mut again = caller.request(Method::Invite).unwrap();
    again.push_back("Contact", "<sip:alice@moved>").unwrap();
    callee.receive(&again).unwrap();
    assert_eq!(callee.target().as_str(), "sip:alice@moved");
    let ok = response(&again, 200, "b1", "<sip:bob@moved>");
    caller.response(&ok).unwrap();
    assert_eq!(caller.target().as_str(), "sip:bob@moved");
    // The route set does not change any more (§12.2).
    assert_eq!(caller.routes().len(), 2);
    let mut info = caller.request(Method::Info).unwrap();
    info.push_back("Contact", "<sip:alice@elsewhere>").unwrap();
    callee.receive(&info).unwrap();
    assert_eq!(callee.target().as_str(), "sip:alice@moved", "INFO is no target refresh");
}

#[test]
fn early_dialogs_are_confirmed() {
    let invite = invite();
    let ringing = response(&invite, 183, "b1", "<sip:bob@early>");
    let mut caller = Dialog::caller(&invite, &ringing).unwrap();
    assert!(!caller.is_confirmed());
    assert!(caller.request(Method::Invite).is_err(), "the first INVITE is under way");
    let ok = response(&invite, 200, "b1", "<sip:bob@late>");
    caller.response(&ok).unwrap();
    assert!(caller.is_confirmed() && caller.target().host() == "late");
    caller.request(Method::Invite).unwrap();
    assert!(Dialog::caller(&invite, &response(&invite, 486, "b1", "<sip:x>")).is_err());
    let mut bare = response(&invite, 200, "b1", "<sip:x>");
    bare.remove_all("Contact");
    assert_eq!(Dialog::caller(&invite, &bare).unwrap_err(), Error::Missing("Contact"));
}

#[test]
fn glare() {
    let (mut caller, mut callee) = pair();
    callee.receive(&caller.ack(10).unwrap()).unwrap();
    let ours = caller.request(Method::Invite).unwrap();
    let theirs = callee.request(Method::Invite).unwrap();
    assert_eq!(caller.receive(&theirs).unwrap_err().status(), Some(491));
    assert_eq!(callee.receive(&ours).unwrap_err().status(), Some(491));
    for (dialog, request) in [(&mut caller, &ours), (&mut callee, &theirs)] {
        dialog.response(&response(request, 491, "x", "<sip:x>")).unwrap();
    }
    let again = caller.request(Method::Invite).unwrap();
    callee.receive(&again).unwrap();
    let more = caller.request(Method::Info).unwrap();
    callee.receive(&more).unwrap();
    let mut second = again.clone();
    second.set_header("CSeq", "99 INVITE").unwrap();
    assert_eq!(callee.receive(&second).unwrap_err().status(), Some(500), "one at a time");
    let number = again.cseq().unwrap().number;
    callee.answered(number, &Method::Invite, 200);
    assert!(callee.request(Method::Invite).is_err(), "until the ACK is there");
    callee.receive(&caller.ack(number).unwrap()).unwrap();
    callee.request(Method::Invite).unwrap();

    // RFC 3261 §14.1: the owner of the Call-ID waits longer.
    let mut random = SeededRandom::new(4);
    for _ in 0..100 {
        assert!((2100..=4000).contains(&caller.glare_delay(&mut random).as_millis()));
        assert!(callee.glare_delay(&mut random).as_millis() <= 2000);
    }
}

#[test]
fn offers_in_update() {
    let (mut caller, mut callee) = pair();
    callee.receive(&caller.ack(10).unwrap()).unwrap();
    let update = |d: &mut Dialog| {
        let mut u = d.request(Method::Update).unwrap();
        u.set_body("v=0\r\n", Some("application/sdp")).unwrap();
        u
    };
    let ours = update(&mut caller);
    caller.sending(&ours).unwrap();
    let theirs = update(&mut callee);
    assert_eq!(caller.receive(&theirs).unwrap_err().status(), Some(491));
    callee.receive(&ours).unwrap();
    assert_eq!(callee.sending(&theirs).unwrap_err(), Error::Glare { ours: false });
    callee.answered(ours.cseq().unwrap().number, &Method::Update, 200);
    caller.response(&response(&ours, 200, "b1", "<sip:bob@c>")).unwrap();
    callee.sending(&theirs).unwrap();
    // Without an offer there is nothing to glare with.
    let plain = caller.request(Method::Update).unwrap();
    callee.receive(&plain).unwrap();
}

#[test]
fn an_offer_in_an_invite_is_in_the_way_of_one_in_an_update() {
    let update = |d: &mut Dialog| {
        let mut u = d.request(Method::Update).unwrap();
        u.set_body("v=0\r\n", Some("application/sdp")).unwrap();
        u
    };
    let refused = |d: &mut Dialog, r: &Message| d.receive(r).unwrap_err().status();
    // An early dialog: the offer of the INVITE has no answer yet (RFC 3311 §5.2).
    let mut invite = invite();
    invite.set_body("v=0\r\n", Some("application/sdp")).unwrap();
    let mut ringing = response(&invite, 183, "b1", "<sip:bob@c>");
    let (mut caller, mut callee) =
        (Dialog::caller(&invite, &ringing).unwrap(), Dialog::callee(&invite, &ringing).unwrap());
    let (ours, theirs) = (update(&mut caller), update(&mut callee));
    assert_eq!((refused(&mut caller, &theirs), refused(&mut callee, &ours)), (Some(491), Some(500)));
    assert!(caller.sending(&ours).is_err() && callee.sending(&theirs).is_err());
    // Without an offer it passes, and with one once a reliable response has brought the answer.
    caller.receive(&callee.request(Method::Update).unwrap()).unwrap();
    ringing.set_body("v=0\r\n", Some("application/sdp")).unwrap();
    ringing.push_back("Require", "100rel").unwrap();
    ringing.push_back("RSeq", "1").unwrap();
    caller.prack(&ringing).unwrap().unwrap();
    caller.receive(&update(&mut callee)).unwrap();

    // A re-INVITE that asks for an offer: ours, until the ACK answers it.
    let (mut caller, mut callee) = pair();
    callee.receive(&caller.ack(10).unwrap()).unwrap();
    let again = caller.request(Method::Invite).unwrap();
    callee.receive(&again).unwrap();
    let number = again.cseq().unwrap().number;
    callee.answered(number, &Method::Invite, 200);
    let ours = update(&mut caller);
    assert_eq!(refused(&mut callee, &ours), Some(491));
    callee.receive(&caller.ack(number).unwrap()).unwrap();
    callee.receive(&update(&mut caller)).unwrap();
}

#[test]
fn prack_in_order() {
    let invite = invite();
    let reliable = |rseq: &str| {
        let mut r = response(&invite, 183, "b1", "<sip:bob@early>");
        r.push_back("Require", "100rel").unwrap();
        r.push_back("RSeq", rseq).unwrap();
        r
    };
    let mut caller = Dialog::caller(&invite, &reliable("776656")).unwrap();
    let prack = caller.prack(&reliable("776656")).unwrap().unwrap();
    assert_eq!(prack.header("RAck").as_deref(), Some("776656 10 INVITE"));
    assert_eq!(prack.cseq().unwrap().to_string(), "11 PRACK");
    assert!(caller.prack(&reliable("776656")).unwrap().is_none(), "seen before");
    assert!(caller.prack(&reliable("776658")).unwrap().is_none(), "one is missing");
    assert!(caller.prack(&reliable("776657")).unwrap().is_some());
    assert!(caller.prack(&response(&invite, 180, "b1", "<sip:b>")).unwrap().is_none());
    assert!(caller.prack(&reliable("0")).is_err() && caller.prack(&reliable("x")).is_err());
}

#[test]
fn provisionals_are_repeated_until_prack() {
    let (invite, now) = (invite(), Instant::now());
    let t1 = Timers::default().t1;
    let mut sender = Provisionals::new(&invite, t1, 2 * 100).unwrap();
    let first = sender.send(now, response(&invite, 183, "b1", "<sip:b>")).unwrap().unwrap();
    assert_eq!((first.rseq(), first.lists("Require", "100rel")), (Some(100), true));
    assert!(sender.send(now, response(&invite, 180, "b1", "<sip:b>")).unwrap().is_none());
    let mut at = Vec::new();
    while at.len() < 3 {
        let due = sender.poll_timeout().unwrap();
        assert!(matches!(sender.handle_timeout(due), Some(Repetition::Again(m)) if m.rseq() == Some(100)));
        at.push((due - now).as_millis());
    }
    assert_eq!(at, [500, 1500, 3500]);

    let mut caller = Dialog::caller(&invite, &first).unwrap();
    let prack = caller.prack(&first).unwrap().unwrap();
    let mut wrong = prack.clone();
    wrong.set_header("RAck", "101 10 INVITE").unwrap();
    assert!(!sender.acknowledged(now, &wrong).0);
    let (fits, next) = sender.acknowledged(now, &prack);
    assert!(fits && next.unwrap().rseq() == Some(101));
    assert!(!sender.acknowledged(now, &prack).0, "once");
    let mut last = None;
    while let Some(due) = sender.poll_timeout() {
        last = sender.handle_timeout(due).map(|r| (r, due));
    }
    assert!(matches!(last, Some((Repetition::Lost, due)) if due == now + t1 * 64));
    assert!(sender.send(now, response(&invite, 200, "b1", "<sip:b>")).is_err());
}

#[test]
fn session_timers() {
    let now = Instant::now();
    let mut ours = SessionTimers { interval: 1800, least: 90 };
    let mut request = invite();
    ours.ask(&mut request, None).unwrap();
    assert_eq!(request.header("Session-Expires").as_deref(), Some("1800"));
    assert!(request.lists("k", "timer"));

    let theirs = SessionTimers { interval: 600, least: 300 };
    let mut ok = response(&request, 200, "b1", "<sip:b>");
    let callee = theirs.accept(now, &request, &mut ok, false).unwrap().unwrap();
    assert_eq!(ok.header("Session-Expires").as_deref(), Some("600;refresher=uac"));
    assert!(ok.lists("Require", "timer"));
    let mut caller = ours.accepted(now, &ok).unwrap();
    assert_eq!((caller.refresher, callee.refresher), (Refresher::Local, Refresher::Remote));
    let seconds = |at: Instant| (at - now).as_secs();
    assert_eq!((caller.refresh_at().map(seconds), seconds(caller.expires_at())), (Some(300), 568));
    assert_eq!((callee.refresh_at(), seconds(callee.poll_timeout())), (None, 568));
    caller.refreshing();
    assert_eq!(caller.poll_timeout(), caller.expires_at());
    let mut refresh = invite();
    ours.ask(&mut refresh, Some(&caller)).unwrap();
    assert_eq!(refresh.header("Session-Expires").as_deref(), Some("600;refresher=uac"));

    // Too short an interval, and the second try.
    let mut short = invite();
    short.push_back("Session-Expires", "100").unwrap();
    // Who does not know session timers would not understand a 422.
    assert_eq!(theirs.accept(now, &short, &mut ok, false).unwrap().unwrap().interval, theirs.shortest());
    short.push_back("Supported", "timer").unwrap();
    assert_eq!(theirs.accept(now, &short, &mut ok, false).unwrap_err().status(), Some(422));
    let mut refusal = Message::response(&short, 422, "").unwrap();
    refusal.push_back("Min-SE", "3000").unwrap();
    assert!(ours.raise(&refusal) && ours.interval == 3000 && !ours.raise(&refusal));

    // A caller that knows nothing of timers: the called side refreshes.
    let mut ok = response(&invite(), 200, "b1", "<sip:b>");
    let alone = theirs.accept(now, &invite(), &mut ok, false).unwrap().unwrap();
    assert_eq!((alone.refresher, ok.lists("Require", "timer")), (Refresher::Local, false));
    let none = SessionTimers { interval: 0, least: 90 };
    assert!(none.accept(now, &invite(), &mut ok, false).unwrap().is_none());
    assert!(none.accepted(now, &response(&invite(), 200, "b1", "<sip:b>")).is_none());
}
