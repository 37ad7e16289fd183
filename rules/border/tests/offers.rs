//! Offers and answers in every place they may stand (RFC 6337 table 1), forks, changes, glare.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::Event;
use carnet_h248::association::Transport::Reliable;
use carnet_h248::{ContextId, Verb};
use carnet_sip::{Message, Method};
use common::*;

struct Ends {
    w: World,
    alice: Ua,
    bob: Ua,
    /// Contact of the border at bob and at alice.
    at_bob: String,
    at_alice: String,
}

fn start(w: &mut World, sdp: Option<&str>) -> (Ua, Message) {
    let alice = Ua::new("alice", ALICE, "bob", "call-o");
    let mut invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    if let Some(sdp) = sdp {
        invite = with_sdp(invite, sdp);
    }
    invite.push_back("Supported", "100rel").unwrap();
    w.send(ALICE, ACCESS, &invite);
    (alice, w.take_request(BOB, Method::Invite))
}

/// An answered call with one line; bob is passive.
fn up() -> Ends {
    let mut w = World::with_users(alg(Reliable));
    let (mut alice, at_bob) = start(&mut w, Some(&msrps("192.0.2.20", 2855, "actpass")));
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7394, "passive"))));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    Ends { at_bob: contact(&at_bob), at_alice: contact(&ok), w, alice, bob }
}

fn hang_up(e: &mut Ends) {
    let bye = e.w.request(&e.alice, Method::Bye, &e.at_alice, 90);
    e.w.send(ALICE, ACCESS, &bye);
    let at_bob = e.w.take_request(BOB, Method::Bye);
    e.w.send(BOB, ACCESS, &e.bob.answer(&at_bob, 200, None));
    e.w.take_status(ALICE, 200);
    e.w.assert_empty();
}

fn two_lines(ip: &str, setup: &str, ports: [u16; 2]) -> String {
    let first = msrps(ip, ports[0], setup);
    format!(
        "{first}m=application {} TCP/TLS/BFCP *\r\nc=IN IP4 {ip}\r\na=setup:{setup}\r\na=floorctrl:c-s\r\n",
        ports[1]
    )
}

fn reliable(mut response: Message, rseq: u32) -> Message {
    response.push_back("Require", "100rel").unwrap();
    response.push_back("RSeq", &rseq.to_string()).unwrap();
    response
}

fn modifies(w: &World) -> usize {
    w.gateway.asked.iter().filter(|(_, c)| c.verb == Verb::Modify).count()
}

// -- where offers and answers stand --------------------------------------------------------------

#[test]
fn answer_in_a_reliable_183_then_prack_update_and_200() {
    let mut w = World::with_users(alg(Reliable));
    let (mut alice, at_bob) = start(&mut w, Some(&msrps("192.0.2.20", 2855, "actpass")));
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let early = reliable(bob.answer(&at_bob, 183, Some(&msrps("192.0.2.30", 7394, "passive"))), 17);
    w.send(BOB, ACCESS, &early);
    let early = w.take_status(ALICE, 183);
    assert_eq!(early.rseq(), Some(17));
    assert!(body(&early).contains("c=IN IP4 203.0.113.10\r\n"));
    let open = |w: &World| w.gateway.state.values().flat_map(|c| c.values()).all(|t| t.mode == "SendReceive");
    assert!(open(&w), "early media may flow");
    alice.remote = early.header("To").unwrap().into_owned();

    let mut prack = w.request(&alice, Method::Prack, &contact(&early), 2);
    prack.push_back("RAck", "17 1 INVITE").unwrap();
    w.send(ALICE, ACCESS, &prack);
    let at_b = w.take_request(BOB, Method::Prack);
    assert_eq!(at_b.header("RAck").as_deref(), Some("17 1 INVITE"));
    assert_eq!(at_b.request_uri().unwrap().as_str(), "sip:bob@192.0.2.30:5060");
    w.send(BOB, ACCESS, &bob.answer(&at_b, 200, None));
    w.take_status(ALICE, 200);

    // UPDATE before the final answer: alice moves to another port.
    let update = with_sdp(
        w.request(&alice, Method::Update, &contact(&early), 3),
        &msrps("192.0.2.20", 2900, "actpass"),
    );
    w.send(ALICE, ACCESS, &update);
    let at_b = w.take_request(BOB, Method::Update);
    assert!(body(&at_b).contains("m=message 30004 "), "the gateway's port does not move: {}", body(&at_b));
    w.send(BOB, ACCESS, &bob.answer(&at_b, 200, Some(&msrps("192.0.2.30", 7394, "passive"))));
    w.take_status(ALICE, 200);
    let alices = w.gateway.state.values().flat_map(|c| c.values()).next().unwrap().clone();
    assert!(alices.remote.contains("m=- 2900 TCP/TLS -"), "{alices:#?}");

    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, None));
    let ok = w.take_status(ALICE, 200);
    assert!(ok.body().is_empty());
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    assert_eq!(w.gateway.contexts(), 1);
    let mut ends = Ends { at_bob: contact(&at_bob), at_alice: contact(&ok), w, alice, bob };
    hang_up(&mut ends);
}

#[test]
fn offer_in_200_answer_in_ack() {
    let mut w = World::with_users(alg(Reliable));
    let (mut alice, at_bob) = start(&mut w, None);
    assert_eq!(w.gateway.contexts(), 0);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let offer = msrps("192.0.2.30", 7394, "actpass");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&offer)));
    let ok = w.take_status(ALICE, 200);
    assert_eq!(changed(&offer, &body(&ok)), ["c=IN IP4 203.0.113.10", "m=message 30004 TCP/TLS/MSRP *"]);
    alice.remote = ok.header("To").unwrap().into_owned();
    let answer = msrps("192.0.2.20", 9, "active");
    let ack = with_sdp(w.request(&alice, Method::Ack, &contact(&ok), 1), &answer);
    w.send(ALICE, ACCESS, &ack);
    let ack = w.take_request(BOB, Method::Ack);
    assert_eq!(changed(&answer, &body(&ack)), ["c=IN IP4 203.0.113.10", "m=message 30002 TCP/TLS/MSRP *"]);
    let ends: Vec<_> = w.gateway.state.values().next().unwrap().values().cloned().collect();
    let (to_bob, to_alice) = (&ends[0], &ends[1]);
    assert!(to_bob.local.contains("a=setup:active") && to_bob.remote.contains("m=- 7394 "), "{ends:#?}");
    assert!(to_alice.local.contains("a=setup:passive") && to_alice.mode == "SendReceive");
    let mut ends = Ends { at_bob: contact(&at_bob), at_alice: contact(&ok), w, alice, bob };
    hang_up(&mut ends);
}

#[test]
fn offer_in_a_reliable_183_answer_in_prack() {
    let mut w = World::with_users(alg(Reliable));
    let (mut alice, at_bob) = start(&mut w, None);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &reliable(bob.answer(&at_bob, 183, Some(&msrps("192.0.2.30", 7394, "actpass"))), 1));
    let early = w.take_status(ALICE, 183);
    alice.remote = early.header("To").unwrap().into_owned();
    let mut prack =
        with_sdp(w.request(&alice, Method::Prack, &contact(&early), 2), &msrps("192.0.2.20", 9, "active"));
    prack.push_back("RAck", "1 1 INVITE").unwrap();
    w.send(ALICE, ACCESS, &prack);
    let at_b = w.take_request(BOB, Method::Prack);
    assert!(body(&at_b).contains("m=message 30002 "), "{}", body(&at_b));
    assert!(w.gateway.state.values().flat_map(|c| c.values()).all(|t| t.mode == "SendReceive"));
    w.send(BOB, ACCESS, &bob.answer(&at_b, 200, None));
    w.take_status(ALICE, 200);
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, None));
    let ok = w.take_status(ALICE, 200);
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    let mut ends = Ends { at_bob: contact(&at_bob), at_alice: contact(&ok), w, alice, bob };
    hang_up(&mut ends);
}

// -- several lines -------------------------------------------------------------------------------

#[test]
fn a_context_a_line_and_refused_lines_are_given_back() {
    let mut w = World::with_users(alg(Reliable));
    let (mut alice, at_bob) = start(&mut w, Some(&two_lines("192.0.2.20", "actpass", [2855, 2856])));
    assert_eq!(w.gateway.contexts(), 2);
    let offer = body(&at_bob);
    assert!(offer.contains("m=message 30004 ") && offer.contains("m=application 30008 "), "{offer}");
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let answer = two_lines("192.0.2.30", "passive", [7394, 0]);
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer)));
    let ok = w.take_status(ALICE, 200);
    assert!(
        body(&ok).contains("m=application 0 TCP/TLS/BFCP *\r\nc=IN IP4 192.0.2.30\r\n"),
        "a refused line is not touched"
    );
    assert_eq!(w.gateway.contexts(), 1);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    let mut ends = Ends { at_bob: contact(&at_bob), at_alice: contact(&ok), w, alice, bob };
    hang_up(&mut ends);
}

/// The answer comes while it rings: what it refuses is given back at once where nobody else can answer, and with
/// the final response where another fork may.
#[test]
fn a_line_that_is_refused_while_it_rings() {
    let mut w = World::with_users(alg(Reliable));
    let (mut alice, at_bob) = start(&mut w, Some(&two_lines("192.0.2.20", "actpass", [2855, 2856])));
    assert_eq!(w.gateway.contexts(), 2);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let answer = two_lines("192.0.2.30", "passive", [7394, 0]);
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 183, Some(&answer)));
    w.take_status(ALICE, 183);
    assert_eq!(w.gateway.contexts(), 1);
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer)));
    let ok = w.take_status(ALICE, 200);
    assert_eq!(w.gateway.contexts(), 1);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    let mut ends = Ends { at_bob: contact(&at_bob), at_alice: contact(&ok), w, alice, bob };
    hang_up(&mut ends);

    let mut w = World::with_users(alg(Reliable));
    let alice = Ua::new("alice", ALICE, "carol", "call-o");
    let invite = w.request(&alice, Method::Invite, "sip:carol@elsewhere.example", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite, &two_lines("192.0.2.20", "actpass", [2855, 2856])));
    let at_peer = w.take_request(PEER, Method::Invite);
    let refuses = Ua::answering("carol", PEER, &at_peer, "c1");
    let answer = two_lines("2001:db8:2::30", "passive", [7394, 0]);
    w.send(PEER, CORE, &refuses.answer(&at_peer, 183, Some(&answer)));
    w.take_status(ALICE, 183);
    assert_eq!(w.gateway.contexts(), 2, "another one may take it");
    let takes = Ua::answering("carol", PEER, &at_peer, "c2");
    let answer = two_lines("2001:db8:2::31", "passive", [7394, 7395]);
    w.send(PEER, CORE, &takes.answer(&at_peer, 200, Some(&answer)));
    assert!(!body(&w.take_status(ALICE, 200)).contains("m=application 0 "));
    assert_eq!(w.gateway.contexts(), 2);
}

#[test]
fn a_re_invite_adds_a_line_and_another_takes_it_out() {
    let mut e = up();
    let more = two_lines("192.0.2.30", "actpass", [7394, 7400]);
    let invite = with_sdp(e.w.request(&e.bob, Method::Invite, &e.at_bob, 11), &more);
    e.w.send(BOB, ACCESS, &invite);
    let at_alice = e.w.take_request(ALICE, Method::Invite);
    assert_eq!(at_alice.header("CSeq").as_deref(), Some("11 INVITE"));
    assert!(
        body(&at_alice).contains("m=message 30002 ") && body(&at_alice).contains("m=application 30008 "),
        "{}",
        body(&at_alice)
    );
    assert_eq!(e.w.gateway.contexts(), 2);
    let answer = two_lines("192.0.2.20", "active", [2855, 9]);
    e.w.send(ALICE, ACCESS, &e.alice.answer(&at_alice, 200, Some(&answer)));
    let ok = e.w.take_status(BOB, 200);
    let ack = e.w.request(&e.bob, Method::Ack, &contact(&ok), 11);
    e.w.send(BOB, ACCESS, &ack);
    e.w.take_request(ALICE, Method::Ack);
    let bfcp = e.w.gateway.state.values().last().unwrap().values().cloned().collect::<Vec<_>>();
    assert!(bfcp.iter().all(|t| t.mode == "SendReceive"), "{bfcp:#?}");

    let less = two_lines("192.0.2.20", "actpass", [2855, 0]);
    let invite = with_sdp(e.w.request(&e.alice, Method::Invite, &e.at_alice, 12), &less);
    e.w.send(ALICE, ACCESS, &invite);
    let at_bob = e.w.take_request(BOB, Method::Invite);
    e.w.send(BOB, ACCESS, &e.bob.answer(&at_bob, 200, Some(&two_lines("192.0.2.30", "passive", [7394, 0]))));
    let ok = e.w.take_status(ALICE, 200);
    assert_eq!(e.w.gateway.contexts(), 1);
    let ack = e.w.request(&e.alice, Method::Ack, &contact(&ok), 12);
    e.w.send(ALICE, ACCESS, &ack);
    e.w.take_request(BOB, Method::Ack);
    hang_up(&mut e);
}

#[test]
fn a_refused_re_invite_leaves_everything_as_it_was() {
    let mut e = up();
    let before = e.w.gateway.state.clone();
    let modified = modifies(&e.w);
    let more = two_lines("192.0.2.30", "actpass", [7777, 7400]);
    let invite = with_sdp(e.w.request(&e.bob, Method::Invite, &e.at_bob, 11), &more);
    e.w.send(BOB, ACCESS, &invite);
    let at_alice = e.w.take_request(ALICE, Method::Invite);
    e.w.send(ALICE, ACCESS, &e.alice.answer(&at_alice, 488, None));
    e.w.take_request(ALICE, Method::Ack);
    e.w.take_status(BOB, 488);
    assert_eq!(format!("{:?}", e.w.gateway.state), format!("{before:?}"));
    assert_eq!(modifies(&e.w), modified, "nothing had to be changed back");
    hang_up(&mut e);
}

/// One end has accepted what the border cannot carry: acknowledged, refused to who asked, and
/// the call ends for both.
#[test]
fn a_re_invite_answered_wrongly_ends_the_call() {
    for caller_asks in [true, false] {
        let mut e = up();
        let ((ua, at, target), (other, far)) = match caller_asks {
            true => ((&e.alice, ALICE, &e.at_alice), (&e.bob, BOB)),
            false => ((&e.bob, BOB, &e.at_bob), (&e.alice, ALICE)),
        };
        let ip = |a: &str| a.split(':').next().unwrap().to_owned();
        let invite = with_sdp(e.w.request(ua, Method::Invite, target, 50), &msrps(&ip(at), 2900, "actpass"));
        e.w.send(at, ACCESS, &invite);
        let there = e.w.take_request(far, Method::Invite);
        let clear = msrps(&ip(far), 7394, "passive").replace("TCP/TLS/MSRP", "TCP/MSRP");
        e.w.send(far, ACCESS, &other.answer(&there, 200, Some(&clear)));
        let ack = e.w.take_request(far, Method::Ack);
        assert_eq!(ack.header("CSeq").as_deref(), Some("50 ACK"));
        assert_eq!((ack.header("From"), ack.header("To")), (there.header("From"), there.header("To")));
        e.w.take_request(far, Method::Bye);
        e.w.take_status(at, 488);
        e.w.take_request(at, Method::Bye);
        e.w.assert_empty();
    }
}

/// A refusal may say what would have done (RFC 3261 §13.3.1.3): that is no answer.
#[test]
fn a_description_in_a_refusal_is_not_an_answer() {
    let mut e = up();
    let invite = with_sdp(
        e.w.request(&e.alice, Method::Invite, &e.at_alice, 50),
        &msrps("192.0.2.20", 2900, "actpass"),
    );
    e.w.send(ALICE, ACCESS, &invite);
    let there = e.w.take_request(BOB, Method::Invite);
    e.w.send(BOB, ACCESS, &e.bob.answer(&there, 488, Some("v=0\r\no=- 1 1 IN IP4 192.0.2.30\r\ns=-\r\n")));
    e.w.take_status(ALICE, 488);
    e.w.take_request(BOB, Method::Ack);
    hang_up(&mut e);
}

/// An unchanged re-INVITE (a session refresh) asks nothing of the gateway.
#[test]
fn a_refresh_costs_the_gateway_nothing() {
    let mut e = up();
    let asked = e.w.gateway.asked.len();
    for cseq in 20..40 {
        let invite = with_sdp(
            e.w.request(&e.alice, Method::Invite, &e.at_alice, cseq),
            &msrps("192.0.2.20", 2855, "actpass"),
        );
        e.w.send(ALICE, ACCESS, &invite);
        let at_bob = e.w.take_request(BOB, Method::Invite);
        e.w.send(BOB, ACCESS, &e.bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7394, "passive"))));
        let ok = e.w.take_status(ALICE, 200);
        let ack = e.w.request(&e.alice, Method::Ack, &contact(&ok), cseq);
        e.w.send(ALICE, ACCESS, &ack);
        e.w.take_request(BOB, Method::Ack);
    }
    let commands: Vec<_> = e.w.gateway.asked[asked..].iter().filter(|(c, _)| *c != ContextId::Null).collect();
    assert!(commands.is_empty(), "{commands:#?}");
    hang_up(&mut e);
}

/// A connection that broke is offered anew (RFC 4145 §5.1, RFC 8856 §7.1): the pinholes of that line, which
/// take no second caller by themselves, are shut and opened again, and stand as before.
#[test]
fn a_line_that_is_to_connect_anew_is_shut_and_opened() {
    let mut e = up();
    let said = |sdp: String, connection: &str| format!("{sdp}a=connection:{connection}\r\n");
    for (cseq, connection) in [(20, "existing"), (21, "new"), (22, "existing")] {
        let asked = e.w.gateway.asked.len();
        let before = e.w.gateway.state.clone();
        let offer = said(msrps("192.0.2.20", 2855, "actpass"), connection);
        let invite = with_sdp(e.w.request(&e.alice, Method::Invite, &e.at_alice, cseq), &offer);
        e.w.send(ALICE, ACCESS, &invite);
        let at_bob = e.w.take_request(BOB, Method::Invite);
        assert!(body(&at_bob).contains(&format!("a=connection:{connection}")));
        let answer = said(msrps("192.0.2.30", 7394, "passive"), connection);
        e.w.send(BOB, ACCESS, &e.bob.answer(&at_bob, 200, Some(&answer)));
        let ok = e.w.take_status(ALICE, 200);
        let ack = e.w.request(&e.alice, Method::Ack, &contact(&ok), cseq);
        e.w.send(ALICE, ACCESS, &ack);
        e.w.take_request(BOB, Method::Ack);
        let asked: Vec<_> =
            e.w.gateway.asked[asked..].iter().filter(|(c, _)| *c != ContextId::Null).collect();
        let modes: Vec<_> = asked
            .iter()
            .flat_map(|(_, command)| ["Inactive", "SendReceive"].map(|mode| (command, mode)))
            .filter(|(command, mode)| command.verb == Verb::Modify && format!("{command:?}").contains(mode))
            .map(|(_, mode)| mode)
            .collect();
        let wanted: &[&str] = match connection {
            "new" => &["Inactive", "Inactive", "SendReceive", "SendReceive"],
            _ => &[],
        };
        assert_eq!(modes, wanted, "{connection}: {asked:#?}");
        assert_eq!(format!("{:?}", e.w.gateway.state), format!("{before:?}"));
    }
    hang_up(&mut e);
}

#[test]
fn glare_is_for_the_ends_to_settle() {
    let mut e = up();
    let a = with_sdp(
        e.w.request(&e.alice, Method::Invite, &e.at_alice, 30),
        &msrps("192.0.2.20", 2900, "actpass"),
    );
    let b =
        with_sdp(e.w.request(&e.bob, Method::Invite, &e.at_bob, 31), &msrps("192.0.2.30", 7400, "actpass"));
    e.w.send(ALICE, ACCESS, &a);
    e.w.send(BOB, ACCESS, &b);
    let at_bob = e.w.take_request(BOB, Method::Invite);
    let at_alice = e.w.take_request(ALICE, Method::Invite);
    e.w.send(BOB, ACCESS, &e.bob.answer(&at_bob, 491, None));
    e.w.send(ALICE, ACCESS, &e.alice.answer(&at_alice, 491, None));
    e.w.take_request(BOB, Method::Ack);
    e.w.take_status(ALICE, 491);
    e.w.take_request(ALICE, Method::Ack);
    e.w.take_status(BOB, 491);
    // The one that tries again gets through.
    let again = with_sdp(
        e.w.request(&e.alice, Method::Invite, &e.at_alice, 32),
        &msrps("192.0.2.20", 2900, "actpass"),
    );
    e.w.send(ALICE, ACCESS, &again);
    let at_bob = e.w.take_request(BOB, Method::Invite);
    e.w.send(BOB, ACCESS, &e.bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7394, "passive"))));
    let ok = e.w.take_status(ALICE, 200);
    let alices = e.w.gateway.state.values().flat_map(|c| c.values()).next().unwrap().clone();
    assert!(alices.remote.contains("m=- 2900 "), "{alices:#?}");
    let ack = e.w.request(&e.alice, Method::Ack, &contact(&ok), 32);
    e.w.send(ALICE, ACCESS, &ack);
    e.w.take_request(BOB, Method::Ack);
    hang_up(&mut e);
}

// -- forks ---------------------------------------------------------------------------------------

#[test]
fn the_last_answer_before_the_final_one_wins_and_the_final_one_decides() {
    let mut w = World::with_users(alg(Reliable));
    let alice = Ua::new("alice", ALICE, "carol@other.example", "call-fork");
    let invite = with_sdp(
        w.request(&alice, Method::Invite, "sip:carol@other.example", 1),
        &msrps("192.0.2.20", 2855, "actpass"),
    );
    w.send(ALICE, ACCESS, &invite);
    let at_peer = w.take_request(PEER, Method::Invite);
    let fork = |n: u8| {
        Ua::answering(&format!("carol{n}"), &format!("198.51.100.{n}:5060"), &at_peer, &format!("c{n}"))
    };
    let sdp = |n: u8| msrps(&format!("2001:db8:2::{n}"), 2855, "passive");
    let remote = |w: &World| w.gateway.only()["core"].remote.lines().nth(1).unwrap().to_owned();
    for n in [11, 12] {
        w.send(PEER, CORE, &fork(n).answer(&at_peer, 183, Some(&sdp(n))));
        let early = w.take_status(ALICE, 183);
        assert_eq!(early.to_tag().as_deref(), Some(&*format!("c{n}")));
        assert_eq!(remote(&w), format!("c=IN IP6 2001:db8:2::{n}"));
    }
    // The first fork answers for good, then the second does so too.
    w.send(PEER, CORE, &fork(11).answer(&at_peer, 200, Some(&sdp(11))));
    let ok = w.take_status(ALICE, 200);
    assert_eq!(remote(&w), "c=IN IP6 2001:db8:2::11");
    w.send(PEER, CORE, &fork(12).answer(&at_peer, 200, Some(&sdp(12))));
    let late = w.take_status(ALICE, 200);
    assert_eq!(remote(&w), "c=IN IP6 2001:db8:2::11", "decided");
    let mut to_11 = alice.clone();
    to_11.remote = ok.header("To").unwrap().into_owned();
    let mut to_12 = alice.clone();
    to_12.remote = late.header("To").unwrap().into_owned();
    for (ua, at) in [(&to_11, "198.51.100.11:5060"), (&to_12, "198.51.100.12:5060")] {
        let ack = w.request(ua, Method::Ack, &contact(&ok), 1);
        w.send(ALICE, ACCESS, &ack);
        w.take_request(at, Method::Ack);
    }
    // The caller keeps the first; ending the second is not the end of the call.
    let bye = w.request(&to_12, Method::Bye, &contact(&late), 2);
    w.send(ALICE, ACCESS, &bye);
    let bye = w.take_request("198.51.100.12:5060", Method::Bye);
    w.send("198.51.100.12:5060", CORE, &fork(12).answer(&bye, 200, None));
    w.take_status(ALICE, 200);
    assert_eq!(w.gateway.contexts(), 1);
    let bye = w.request(&to_11, Method::Bye, &contact(&ok), 2);
    w.send(ALICE, ACCESS, &bye);
    let bye = w.take_request("198.51.100.11:5060", Method::Bye);
    w.send("198.51.100.11:5060", CORE, &fork(11).answer(&bye, 200, None));
    w.take_status(ALICE, 200);
    assert_eq!(w.events.iter().filter(|e| matches!(e, Event::CallEnded { .. })).count(), 1);
    w.assert_empty();
}

// -- other lines ---------------------------------------------------------------------------------

#[test]
fn plain_msrp_is_relayed_and_audio_is_left_alone() {
    let mut w = World::with_users(alg(Reliable));
    let offer = format!(
        "{}m=audio 49170 RTP/AVP 0\r\nc=IN IP4 192.0.2.20\r\na=rtpmap:0 PCMU/8000\r\n",
        msrps("192.0.2.20", 2855, "actpass").replace("TCP/TLS/MSRP", "TCP/MSRP")
    );
    let (_, at_bob) = start(&mut w, Some(&offer));
    assert_eq!(changed(&offer, &body(&at_bob)), ["c=IN IP4 203.0.113.10", "m=message 30004 TCP/MSRP *"]);
    let ends = w.gateway.state.values().next().unwrap().values().cloned().collect::<Vec<_>>();
    assert!(ends.iter().all(|t| t.local.contains(" TCP -")), "{ends:#?}");
}

#[test]
fn a_call_without_tcp_media_needs_no_gateway() {
    let mut w = World::with_users(alg(Reliable));
    w.gateway.dead = true;
    let offer =
        "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\nm=audio 5 RTP/AVP 0\r\n";
    let (_, at_bob) = start(&mut w, Some(offer));
    assert_eq!(body(&at_bob), offer);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&offer.replace(".20", ".30"))));
    assert_eq!(body(&w.take_status(ALICE, 200)), offer.replace(".20", ".30"));
}

// -- races -----------------------------------------------------------------------------------------

/// RFC 3264 §6.1: nor may an early answer change the transport.
#[test]
fn an_early_answer_with_another_transport_ends_the_attempt() {
    for (offered, answered) in [
        ("TCP/TLS/MSRP", "TCP/MSRP"),
        ("TCP/TLS/MSRP", "UDP/TLS/MSRP"),
        ("TCP/MSRP", "TCP/TLS/MSRP"),
        ("TCP/TLS/MSRP", "TCP/TLS/MSRPX"),
    ] {
        let mut w = World::with_users(alg(Reliable));
        let offer = msrps("192.0.2.20", 2855, "actpass").replace("TCP/TLS/MSRP", offered);
        let (_, at_bob) = start(&mut w, Some(&offer));
        let bob = Ua::answering("bob", BOB, &at_bob, "b1");
        let answer = msrps("192.0.2.30", 7394, "passive").replace("TCP/TLS/MSRP", answered);
        w.send(BOB, ACCESS, &reliable(bob.answer(&at_bob, 183, Some(&answer)), 1));
        let refusal = w.take_status(ALICE, 488);
        assert!(refusal.header("Warning").unwrap().contains("another transport"), "{}", text(&refusal));
        let cancel = w.take_request(BOB, Method::Cancel);
        w.send(BOB, ACCESS, &bob.answer(&cancel, 200, None));
        w.send(BOB, ACCESS, &bob.answer(&at_bob, 487, None));
        w.take_request(BOB, Method::Ack);
        assert!(w.gateway.state.is_empty());
        w.assert_empty();
    }
}

fn cancel(invite: &Message) -> Message {
    let mut m = Message::request(Method::Cancel, invite.request_uri().unwrap().clone());
    for name in ["Via", "From", "To", "Call-ID"] {
        m.copy_lines(name, invite);
    }
    m.push_back("CSeq", &format!("{} CANCEL", invite.cseq().unwrap().number)).unwrap();
    m
}

/// The answer is here and waits for the gateway: too late for a CANCEL.
#[test]
fn a_cancel_while_the_answer_waits_for_the_gateway() {
    let mut w = World::with_users(alg(Reliable));
    let mut alice = Ua::new("alice", ALICE, "bob", "call-o");
    let invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    let invite = with_sdp(invite, &msrps("192.0.2.20", 2855, "actpass"));
    w.send(ALICE, ACCESS, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.gateway.hold = true;
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&msrps("192.0.2.30", 7394, "passive"))));
    assert!(w.try_take(ALICE).is_none());
    w.send(ALICE, ACCESS, &cancel(&invite));
    assert_eq!(w.take_status(ALICE, 200).cseq().unwrap().method, Method::Cancel);
    w.gateway.let_go();
    w.settle();
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    assert!(w.try_take(BOB).is_none(), "no CANCEL for what is answered");
    hang_up(&mut Ends { at_bob: contact(&at_bob), at_alice: contact(&ok), w, alice, bob });
}

#[test]
fn a_cancelled_re_invite_changes_nothing() {
    let mut e = up();
    let before = format!("{:?}", e.w.gateway.state);
    let invite = with_sdp(
        e.w.request(&e.alice, Method::Invite, &e.at_alice, 60),
        &two_lines("192.0.2.20", "actpass", [2900, 2901]),
    );
    e.w.send(ALICE, ACCESS, &invite);
    let at_bob = e.w.take_request(BOB, Method::Invite);
    e.w.send(BOB, ACCESS, &e.bob.answer(&at_bob, 180, None));
    e.w.take_status(ALICE, 180);
    assert_eq!(e.w.gateway.contexts(), 2);
    e.w.send(ALICE, ACCESS, &cancel(&invite));
    assert_eq!(e.w.take_status(ALICE, 200).cseq().unwrap().method, Method::Cancel);
    let there = e.w.take_request(BOB, Method::Cancel);
    e.w.send(BOB, ACCESS, &e.bob.answer(&there, 200, None));
    e.w.send(BOB, ACCESS, &e.bob.answer(&at_bob, 487, None));
    e.w.take_request(BOB, Method::Ack);
    e.w.take_status(ALICE, 487);
    assert_eq!(format!("{:?}", e.w.gateway.state), before);
    hang_up(&mut e);
}

/// One end hangs up while the other's re-INVITE waits for the gateway.
#[test]
fn a_bye_overtakes_a_re_invite() {
    let mut e = up();
    e.w.gateway.hold = true;
    let more = two_lines("192.0.2.20", "actpass", [2855, 2901]);
    let invite = with_sdp(e.w.request(&e.alice, Method::Invite, &e.at_alice, 60), &more);
    e.w.send(ALICE, ACCESS, &invite);
    let bye = e.w.request(&e.bob, Method::Bye, &e.at_bob, 61);
    e.w.send(BOB, ACCESS, &bye);
    assert!(e.w.try_take(ALICE).is_none(), "nothing overtakes inside the border");
    e.w.gateway.let_go();
    e.w.settle();
    let at_bob = e.w.take_request(BOB, Method::Invite);
    let there = e.w.take_request(ALICE, Method::Bye);
    e.w.send(ALICE, ACCESS, &e.alice.answer(&there, 200, None));
    e.w.take_status(BOB, 200);
    e.w.send(BOB, ACCESS, &e.bob.answer(&at_bob, 481, None));
    e.w.take_status(ALICE, 481);
    e.w.assert_empty();
}

/// Both change the session with UPDATE at once (RFC 3311 §5.2): 491 each, and nothing moves.
#[test]
fn updates_that_cross() {
    let mut e = up();
    let before = format!("{:?}", e.w.gateway.state);
    let sdp = |ip: &str, port| msrps(ip, port, "actpass");
    let a = with_sdp(e.w.request(&e.alice, Method::Update, &e.at_alice, 70), &sdp("192.0.2.20", 2900));
    let b = with_sdp(e.w.request(&e.bob, Method::Update, &e.at_bob, 71), &sdp("192.0.2.30", 7400));
    e.w.send(ALICE, ACCESS, &a);
    e.w.send(BOB, ACCESS, &b);
    let at_bob = e.w.take_request(BOB, Method::Update);
    let at_alice = e.w.take_request(ALICE, Method::Update);
    e.w.send(BOB, ACCESS, &e.bob.answer(&at_bob, 491, None));
    e.w.send(ALICE, ACCESS, &e.alice.answer(&at_alice, 491, None));
    e.w.take_status(ALICE, 491);
    e.w.take_status(BOB, 491);
    assert_eq!(format!("{:?}", e.w.gateway.state), before);
    hang_up(&mut e);
}
