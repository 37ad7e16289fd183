//! Security that ends at the access edge, at the level of SIP and H.248 (TS 23.334 §6.2.10.3).

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Cause, Event, Side};
use carnet_h248::PackageVersion;
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{Message, Method};
use common::gateway::{OURS, Termination};
use common::*;

const MEDIASEC: &[(&str, &str)] =
    &[("Security-Client", "msrp-tls;mediasec, bfcp-tls;mediasec"), ("Require", "mediasec")];
const REQUESTED: &str = "a=3ge2ae:requested\r\n";

/// Alice calls someone in the core with this description.
fn offer(w: &mut World, sdp: &str) -> (Ua, Message) {
    let alice = Ua::new("alice", ALICE, "carol@other.example", "call-e");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:carol@other.example", 1), sdp);
    w.send(ALICE, ACCESS, &invite);
    (alice, invite)
}

fn acknowledge(w: &mut World, alice: &mut Ua, ok: &Message) {
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(alice, Method::Ack, &contact(ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(PEER, Method::Ack);
}

fn hang_up(w: &mut World, alice: &Ua, carol: &Ua, ok: &Message) {
    let bye = w.request(alice, Method::Bye, &contact(ok), 90);
    w.send(ALICE, ACCESS, &bye);
    let at_peer = w.take_request(PEER, Method::Bye);
    w.send(PEER, CORE, &carol.answer(&at_peer, 200, None));
    w.take_status(ALICE, 200);
    w.assert_empty();
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[track_caller]
fn lacks(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(!text.contains(part), "{part:?} in {text}");
    }
}

fn begins_tls(termination: &Termination) -> bool {
    termination.signals.iter().any(|s| s == "tlsbsc/EstBNC")
}

/// TS 23.334 §6.2.10.3.1.1 and §6.2.10.3.2: the terminal offers. Columns: application, what it offers
/// of setup, what the core answers, what the terminal sees, whether the gateway begins TLS.
#[test]
fn originating() {
    for (application, offered, answered, seen, begins) in [
        ("MSRP", "active", "passive", "passive", false),
        ("MSRP", "actpass", "passive", "passive", false),
        ("MSRP", "actpass", "active", "active", true),
        ("BFCP", "actpass", "passive", "passive", false),
        ("BFCP", "actpass", "active", "active", false),
        ("BFCP", "passive", "active", "active", false),
    ] {
        let mut w = World::with_users(alg(Reliable));
        let cema = if application == "MSRP" { "a=msrp-cema\r\n" } else { "" };
        let theirs = print("11");
        let sdp =
            line("192.0.2.20", 2855, application, offered, Some(&theirs), &format!("{cema}{REQUESTED}"));
        let (mut alice, _) = offer(&mut w, &sdp);
        let at_peer = w.take_request(PEER, Method::Invite);
        let sent = body(&at_peer);
        has(&sent, &[&format!("TCP/{application} *"), cema, "a=x-unknown\r\n", "IN IP6 2001:db8:1::10"]);
        lacks(&sent, &["TLS", "fingerprint", "3ge2ae"]);
        let only = w.gateway.only();
        let (access, core) = (&only["access"], &only["core"]);
        has(&access.local, &["TCP/TLS", &format!("a=fingerprint:{OURS}\r\n")]);
        has(&access.remote, &[&format!("a=fingerprint:{theirs}\r\n")]);
        lacks(&core.local, &["TLS", "fingerprint"]);
        assert!(access.events.iter().any(|e| e == "tlsbsc/BNCChange"), "{:?}", access.events);
        assert!(!core.events.iter().any(|e| e == "tlsbsc/BNCChange"));
        assert!([access, core].iter().all(|t| t.events.iter().any(|e| e == "tcpbcc/BNCChange")));

        let carol = Ua::answering("carol", PEER, &at_peer, "c1");
        let answer = line("2001:db8:2::99", 7000, application, answered, None, cema);
        w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&answer)));
        let ok = w.take_status(ALICE, 200);
        let got = body(&ok);
        has(&got, &[&format!("TCP/TLS/{application} *"), &format!("a=fingerprint:{OURS}\r\n")]);
        has(&got, &[&format!("a=setup:{seen}\r\n"), "c=IN IP4 203.0.113.10\r\n"]);
        let only = w.gateway.only();
        assert_eq!(begins_tls(&only["access"]), begins, "{application} {offered} {answered}");
        assert!(!begins_tls(&only["core"]));
        assert!(only.values().all(|t| t.mode == "SendReceive"));
        // What was told with the first command is told with every other.
        has(&only["access"].local, &[&format!("a=fingerprint:{OURS}\r\n")]);
        has(&only["access"].remote, &[&format!("a=fingerprint:{theirs}\r\n")]);
        acknowledge(&mut w, &mut alice, &ok);
        hang_up(&mut w, &alice, &carol, &ok);
    }
}

fn call_bob(w: &mut World, sdp: &str) -> Message {
    let carol = Ua::new("carol@other.example", PEER, "bob", "call-t");
    let invite = with_sdp(w.request(&carol, Method::Invite, "sip:bob@example.com", 1), sdp);
    w.send(PEER, CORE, &invite);
    invite
}

/// TS 23.334 §6.2.10.3.1.2: the terminal answers. It has said at its registration what it wants.
#[test]
fn terminating() {
    for (application, answered, begins) in [
        ("MSRP", "active", false),
        ("MSRP", "passive", true),
        ("BFCP", "active", true),
        ("BFCP", "passive", true),
    ] {
        let mut w = World::up(alg(Reliable));
        let ok = w.register_asking("bob", BOB, "", MEDIASEC);
        assert_eq!(
            ok.values("Security-Server").unwrap(),
            ["msrp-tls;mediasec", "bfcp-tls;mediasec"],
            "{}",
            text(&ok)
        );
        let cema = if application == "MSRP" { "a=msrp-cema\r\n" } else { "" };
        call_bob(&mut w, &line("2001:db8:2::99", 7000, application, "actpass", None, cema));
        let at_bob = w.take_request(BOB, Method::Invite);
        let sent = body(&at_bob);
        has(&sent, &[&format!("TCP/TLS/{application} *"), "a=3ge2ae:applied\r\n", "a=setup:actpass\r\n"]);
        has(&sent, &[&format!("a=fingerprint:{OURS}\r\n"), "a=x-unknown\r\n"]);
        let bob = Ua::answering("bob", BOB, &at_bob, "b1");
        let theirs = print("22");
        let answer = line("192.0.2.30", 7394, application, answered, Some(&theirs), cema);
        w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer)));
        let got = body(&w.take_status(PEER, 200));
        has(&got, &[&format!("TCP/{application} *"), &format!("a=setup:{answered}\r\n")]);
        lacks(&got, &["TLS", "fingerprint", "3ge2ae"]);
        let only = w.gateway.only();
        has(&only["access"].remote, &[&format!("a=fingerprint:{theirs}\r\n")]);
        has(&only["access"].local, &[&format!("a=fingerprint:{OURS}\r\n")]);
        assert_eq!(begins_tls(&only["access"]), begins, "{application} {answered}");
        assert!(!begins_tls(&only["core"]));
    }
}

/// A sealed offer goes to a terminal that registered as it is: from end to end is more.
#[test]
fn what_is_sealed_stays_sealed() {
    let mut w = World::up(alg(Reliable));
    w.register_asking("bob", BOB, "", MEDIASEC);
    let sdp = msrps("2001:db8:2::99", 7000, "actpass");
    call_bob(&mut w, &sdp);
    let sent = body(&w.take_request(BOB, Method::Invite));
    let changed = changed(&sdp, &sent);
    assert!(changed.iter().all(|l| l.starts_with("c=") || l.starts_with("m=message 3")), "{changed:?}");
    assert!(w.gateway.only().values().all(|t| !t.local.contains("fingerprint")));
}

/// One terminal of a user wants it, the other does not: each branch has its own offer.
#[test]
fn a_fork_to_two_terminals_of_which_one_wants_it() {
    const BOB2: &str = "192.0.2.31:5060";
    let mut w = World::with_users(alg(Reliable));
    w.register_asking("bob", BOB2, "", MEDIASEC);
    let alice = Ua::new("alice", ALICE, "bob", "call-f");
    let sdp = line("192.0.2.20", 2855, "MSRP", "actpass", None, "a=msrp-cema\r\n");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &sdp);
    w.send(ALICE, ACCESS, &invite);
    let (plain, edge) = (w.take_request(BOB, Method::Invite), w.take_request(BOB2, Method::Invite));
    lacks(&body(&plain), &["TLS", "fingerprint", "3ge2ae"]);
    has(&body(&edge), &["TCP/TLS/MSRP", "a=3ge2ae:applied", OURS]);
    assert_eq!(w.gateway.contexts(), 2);
    w.send(BOB, ACCESS, &Ua::answering("bob", BOB, &plain, "b1").answer(&plain, 180, None));
    w.take_status(ALICE, 180);
    let bob = Ua::answering("bob", BOB2, &edge, "b2");
    let answer = line("192.0.2.31", 7394, "MSRP", "active", Some(&print("33")), "a=msrp-cema\r\n");
    w.send(BOB2, ACCESS, &bob.answer(&edge, 200, Some(&answer)));
    w.take_request(BOB, Method::Cancel);
    let got = body(&w.take_status(ALICE, 200));
    has(&got, &["TCP/MSRP", "a=setup:active"]);
    lacks(&got, &["TLS", "fingerprint", "3ge2ae"]);
}

/// Offers that ask for it and cannot have it.
#[test]
fn offers_that_cannot_be() {
    let cema = "a=msrp-cema\r\n";
    let secured = |print: Option<&str>, more: &str| {
        line("192.0.2.20", 2855, "MSRP", "actpass", print, &format!("{cema}{more}"))
    };
    let bare = secured(Some("x"), REQUESTED).replace("a=fingerprint:x\r\n", "");
    let md5 = format!("MD5 {}", vec!["11"; 16].join(":"));
    for (sdp, words) in [
        (bare, "no a=fingerprint"),
        (secured(Some(&md5), REQUESTED), "hash"),
        (secured(Some(&format!("SHA-1 {}", vec!["11"; 20].join(":"))), REQUESTED), "hash"),
        (secured(Some("SHA-256 11:22"), REQUESTED), "hash"),
        (secured(Some(&print("11")), "a=3ge2ae:perhaps\r\n"), "3ge2ae"),
        (secured(None, REQUESTED), "3ge2ae"),
    ] {
        let mut w = World::with_users(alg(Reliable));
        offer(&mut w, &sdp);
        let refusal = w.take_status(ALICE, 488);
        has(&refusal.header("Warning").unwrap(), &[words]);
        assert!(w.try_take(PEER).is_none());
        assert_eq!(w.gateway.contexts(), 0);
    }
    // Two fingerprints are both told.
    let mut w = World::with_users(alg(Reliable));
    let (one, other) = (print("11"), print("22"));
    offer(&mut w, &secured(Some(&one), &format!("a=fingerprint:{other}\r\n{REQUESTED}")));
    w.take_request(PEER, Method::Invite);
    has(&w.gateway.only()["access"].remote, &[&one, &other]);
}

/// It is a matter of the access: nobody asks for it from the core, and a border without it says so.
#[test]
fn where_there_is_none() {
    let sdp = line(
        "192.0.2.20",
        2855,
        "MSRP",
        "actpass",
        Some(&print("11")),
        &format!("a=msrp-cema\r\n{REQUESTED}"),
    );
    let mut config = alg(Reliable);
    config.networks[0].e2ae = false;
    let mut w = World::up(config);
    let ok = w.register_asking("alice", ALICE, "", MEDIASEC);
    assert!(!ok.has("Security-Server"));
    offer(&mut w, &sdp);
    w.take_status(ALICE, 488);

    let mut w = World::with_users(alg(Reliable));
    call_bob(&mut w, &sdp.replace("IP4 192.0.2.20", "IP6 2001:db8:2::99"));
    w.take_status(PEER, 488);
    assert!(w.try_take(BOB).is_none());

    // A gateway that tells what it has, and has it not.
    let mut w = World::new(alg(Reliable));
    w.gateway.packages = ["g", "ipdc", "gm"].map(|p| PackageVersion::new(p, 1)).to_vec();
    w.border.gateway_connected(w.now, "agw1");
    w.gateway.register();
    w.settle();
    // So nobody is promised it, and plain calls reach who wanted it.
    assert!(!w.register_asking("alice", ALICE, "", MEDIASEC).has("Security-Server"));
    offer(&mut w, &sdp);
    w.take_status(ALICE, 488);
    let carol = Ua::new("carol@other.example", PEER, "alice", "call-w");
    let plain = line("2001:db8:2::99", 7000, "MSRP", "actpass", None, "a=msrp-cema\r\n");
    let invite = with_sdp(w.request(&carol, Method::Invite, "sip:alice@example.com", 1), &plain);
    w.send(PEER, CORE, &invite);
    lacks(&body(&w.take_request(ALICE, Method::Invite)), &["TLS", "3ge2ae"]);
}

/// Some gateway has it: that one takes the call.
#[test]
fn a_gateway_that_can_is_chosen() {
    let sdp = line(
        "192.0.2.20",
        2855,
        "MSRP",
        "actpass",
        Some(&print("11")),
        &format!("a=msrp-cema\r\n{REQUESTED}"),
    );
    let mut w = World::with_gateways(2, |_| {});
    // The first one says at every Add that it has not what is asked for.
    for code in [501, 444] {
        let mut other = World::with_gateways(2, |_| {});
        other.gateway.refuse = vec![(carnet_h248::Verb::Add, code); 4];
        other.scripted(2).refuse.clear();
        let (_, invite) = offer(&mut other, &sdp);
        let on_first = !other.gateway.asked.is_empty();
        has(&body(&other.take_request(PEER, Method::Invite)), &["TCP/MSRP"]);
        assert_eq!(other.scripted(2).contexts(), 1, "{on_first} {}", text(&invite));
    }
    // All of them.
    w.gateway.refuse = vec![(carnet_h248::Verb::Add, 501)];
    w.scripted(2).refuse = vec![(carnet_h248::Verb::Add, 501)];
    offer(&mut w, &sdp);
    has(&w.take_status(ALICE, 488).header("Warning").unwrap(), &["TLS"]);
}

/// An answer to an offer that was secured on the way must be secured, and bring its fingerprint; if it
/// is not, the answerer's call is ended and the offerer told.
#[test]
fn answers_that_cannot_be() {
    let cema = "a=msrp-cema\r\n";
    let bare = line("192.0.2.30", 7394, "MSRP", "active", Some("x"), cema).replace("a=fingerprint:x\r\n", "");
    let clear = line("192.0.2.30", 7394, "MSRP", "active", None, cema);
    let md5 = format!("MD5 {}", vec!["11"; 16].join(":"));
    let weak = line("192.0.2.30", 7394, "MSRP", "active", Some(&md5), cema);
    for answer in [bare, clear, weak] {
        for status in [183, 200] {
            let mut w = World::up(alg(Reliable));
            w.register_asking("bob", BOB, "", MEDIASEC);
            call_bob(&mut w, &line("2001:db8:2::99", 7000, "MSRP", "actpass", None, cema));
            let at_bob = w.take_request(BOB, Method::Invite);
            let bob = Ua::answering("bob", BOB, &at_bob, "b1");
            let mut response = bob.answer(&at_bob, status, Some(&answer));
            if status == 183 {
                response.push_back("Require", "100rel").unwrap();
                response.push_back("RSeq", "1").unwrap();
            }
            w.send(BOB, ACCESS, &response);
            assert!(w.take_status(PEER, 488).has("Warning"));
            if status == 200 {
                w.take_request(BOB, Method::Ack);
                let bye = w.take_request(BOB, Method::Bye);
                w.send(BOB, ACCESS, &bob.answer(&bye, 200, None));
            } else {
                w.take_request(BOB, Method::Cancel);
            }
            assert_eq!(w.gateway.contexts(), 0);
        }
    }
}

/// The answerer takes the call without the line: the offerer sees its own transport refused.
#[test]
fn a_line_that_is_not_taken_has_the_transport_that_was_offered() {
    let mut w = World::up(alg(Reliable));
    w.register_asking("bob", BOB, "", MEDIASEC);
    call_bob(&mut w, &line("2001:db8:2::99", 7000, "MSRP", "actpass", None, "a=msrp-cema\r\n"));
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let answer = "v=0\r\no=- 1 1 IN IP4 192.0.2.30\r\ns=-\r\nt=0 0\r\nm=message 0 TCP/TLS/MSRP *\r\n";
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(answer)));
    has(&body(&w.take_status(PEER, 200)), &["m=message 0 TCP/MSRP *\r\n"]);
    assert_eq!(w.gateway.contexts(), 0);
}

fn established(w: &mut World) -> (Ua, Ua, Message, Message) {
    let sdp = line(
        "192.0.2.20",
        2855,
        "MSRP",
        "actpass",
        Some(&print("11")),
        &format!("a=msrp-cema\r\n{REQUESTED}"),
    );
    let (mut alice, _) = offer(w, &sdp);
    let at_peer = w.take_request(PEER, Method::Invite);
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    let answer = line("2001:db8:2::99", 7000, "MSRP", "passive", None, "a=msrp-cema\r\n");
    w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&answer)));
    let ok = w.take_status(ALICE, 200);
    acknowledge(w, &mut alice, &ok);
    (alice, carol, ok, at_peer)
}

fn access_of(w: &World) -> (u32, String) {
    let (context, terminations) = w.gateway.state.iter().next().unwrap();
    let (name, _) = terminations.iter().find(|(_, t)| t.realm == "access").unwrap();
    (*context, name.clone())
}

/// Notify TLS session establishment Failure Event: the call ends, and the event says which side and why.
#[test]
fn tls_that_fails_ends_the_call() {
    for ends in [true, false] {
        let mut config = alg(Reliable);
        config.networks[0].tls_failure_ends = ends;
        let mut w = World::with_users(config);
        let (alice, carol, ok, _) = established(&mut w);
        let (context, access) = access_of(&w);
        w.gateway.tls(context, &access, "EST", ["", ""]);
        w.settle();
        assert!(w.events.iter().any(|e| matches!(e, Event::TlsUp { side: Side::Caller, index: 0, .. })));
        // Cut off after it stood: the call is its ends' to end.
        w.gateway.tls(context, &access, "REL", ["FT", "truncated"]);
        w.gateway.tls(context, &access, "REL", ["FT", "fingerprint_mismatch"]);
        w.settle();
        let failed: Vec<_> = w
            .events
            .iter()
            .filter_map(|e| match e {
                Event::TlsFailed { side: Side::Caller, reason, .. } => Some(reason.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(failed, ["truncated", "fingerprint_mismatch"]);
        if !ends {
            assert!(w.try_take(ALICE).is_none());
            hang_up(&mut w, &alice, &carol, &ok);
            continue;
        }
        for (at, to) in [(ALICE, ACCESS), (PEER, CORE)] {
            let bye = w.take_request(at, Method::Bye);
            has(&bye.header("Reason").unwrap(), &["caller's TLS"]);
            let ua = if at == ALICE { &alice } else { &carol };
            w.send(at, to, &ua.answer(&bye, 200, None));
        }
        let cause = |e: &Event| matches!(e, Event::CallEnded { cause: Cause::Tls(Side::Caller), .. });
        assert!(w.events.iter().any(cause), "{:#?}", w.events);
        w.assert_empty();
    }
}

/// A later offer brings another certificate, then other media: the gateway is told, then replaced.
#[test]
fn later_offers() {
    let mut w = World::with_users(alg(Reliable));
    let (alice, carol, ok, at_peer) = established(&mut w);
    let first = w.gateway.only();
    let cema = "a=msrp-cema\r\n";
    let secured =
        line("192.0.2.20", 2855, "MSRP", "actpass", Some(&print("44")), &format!("{cema}{REQUESTED}"));
    let invite = with_sdp(w.request(&alice, Method::Invite, &contact(&ok), 2), &secured);
    w.send(ALICE, ACCESS, &invite);
    let again = w.take_request(PEER, Method::Invite);
    lacks(&body(&again), &["TLS", "fingerprint", "3ge2ae"]);
    let answer = line("2001:db8:2::99", 7000, "MSRP", "passive", None, cema);
    w.send(PEER, CORE, &carol.answer(&again, 200, Some(&answer)));
    has(&body(&w.take_status(ALICE, 200)), &["TCP/TLS/MSRP", OURS]);
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 2);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(PEER, Method::Ack);
    has(&w.gateway.only()["access"].remote, &[&print("44")]);
    assert_eq!(w.gateway.only()["access"].local, first["access"].local, "the same termination");

    // The far end offers: the answerer is the one whose TLS ends here, and it need not say so again.
    let offer = line("2001:db8:2::99", 7000, "MSRP", "actpass", None, cema);
    let invite = with_sdp(w.request(&carol, Method::Invite, &contact(&at_peer), 5), &offer);
    w.send(PEER, CORE, &invite);
    let at_alice = w.take_request(ALICE, Method::Invite);
    has(&body(&at_alice), &["TCP/TLS/MSRP", OURS, "a=3ge2ae:applied"]);
    let answer = line("192.0.2.20", 2855, "MSRP", "active", Some(&print("44")), cema);
    w.send(ALICE, ACCESS, &alice.answer(&at_alice, 200, Some(&answer)));
    lacks(&body(&w.take_status(PEER, 200)), &["TLS", "fingerprint"]);
    let ack = w.request(&carol, Method::Ack, &contact(&at_peer), 5);
    w.send(PEER, CORE, &ack);
    w.take_request(ALICE, Method::Ack);

    // Refused, and everything stays.
    let before = format!("{:?}", w.gateway.only());
    let clear = line("192.0.2.20", 2855, "MSRP", "actpass", None, cema);
    let invite = with_sdp(w.request(&alice, Method::Invite, &contact(&ok), 3), &clear);
    w.send(ALICE, ACCESS, &invite);
    let again = w.take_request(PEER, Method::Invite);
    assert_eq!(w.gateway.contexts(), 2, "another kind of line, another context");
    w.send(PEER, CORE, &carol.answer(&again, 488, None));
    w.take_request(PEER, Method::Ack);
    w.take_status(ALICE, 488);
    assert_eq!(format!("{:?}", w.gateway.only()), before);

    // Taken: TLS ends here no more.
    let invite = with_sdp(w.request(&alice, Method::Invite, &contact(&ok), 4), &clear);
    w.send(ALICE, ACCESS, &invite);
    let again = w.take_request(PEER, Method::Invite);
    let answer = line("2001:db8:2::99", 7000, "MSRP", "passive", None, cema);
    w.send(PEER, CORE, &carol.answer(&again, 200, Some(&answer)));
    lacks(&body(&w.take_status(ALICE, 200)), &["TLS", "fingerprint"]);
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 4);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(PEER, Method::Ack);
    lacks(&w.gateway.only()["access"].local, &["TLS", "fingerprint"]);
    hang_up(&mut w, &alice, &carol, &ok);
}

// -- what may come between -----------------------------------------------------------------------------

fn ask(w: &mut World) -> (Ua, Message) {
    let more = format!("a=msrp-cema\r\n{REQUESTED}");
    let sdp = line("192.0.2.20", 2855, "MSRP", "actpass", Some(&print("11")), &more);
    let (alice, _) = offer(w, &sdp);
    (alice, w.take_request(PEER, Method::Invite))
}

/// There is no gateway at all: that is no matter of what it can do.
#[test]
fn no_gateway_is_503() {
    let mut w = World::with_users(alg(Reliable));
    w.border.gateway_lost(w.now, "agw1");
    w.gateway.dead = true;
    w.pass(std::time::Duration::from_secs(30));
    assert!(w.names().contains(&"gateway-lost"), "{:?}", w.names());
    w.register("alice", ALICE);
    let more = format!("a=msrp-cema\r\n{REQUESTED}");
    offer(&mut w, &line("192.0.2.20", 2855, "MSRP", "actpass", Some(&print("11")), &more));
    w.take_status(ALICE, 503);
}

/// The gateway is gone when the answer comes, refuses what the answer brings, or does not say what
/// certificate it shows.
#[test]
fn a_gateway_that_fails_between_offer_and_answer() {
    let answer = line("2001:db8:2::99", 7000, "MSRP", "passive", None, "a=msrp-cema\r\n");
    for how in ["lost", "refuses", "silent"] {
        let mut w = World::with_users(alg(Reliable));
        let (_, at_peer) = ask(&mut w);
        let carol = Ua::answering("carol", PEER, &at_peer, "c1");
        match how {
            "refuses" => w.gateway.refuse = vec![(carnet_h248::Verb::Modify, 500)],
            _ => w.gateway.dead = true,
        }
        if how == "lost" {
            w.border.gateway_lost(w.now, "agw1");
            w.pass(std::time::Duration::from_secs(30));
        } else {
            w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&answer)));
            w.pass(std::time::Duration::from_secs(6));
        }
        let heard = w.take(ALICE);
        assert!(heard.status() >= Some(500), "{how}: {}", text(&heard));
        let at_peer: Vec<_> = std::iter::from_fn(|| w.try_take(PEER)).map(|m| m.method().clone()).collect();
        let ended = [Method::Bye, Method::Cancel].iter().any(|m| at_peer.contains(m));
        // A CANCEL waits for a first response (RFC 3261 §9.1).
        assert!(ended || how == "lost", "{how}: {at_peer:?}");
        w.pass(std::time::Duration::from_secs(400));
        let load = w.border.load();
        assert_eq!((load.live, load.gateway_requests, load.counted), (0, 0, 0), "{how} {load:?}");
    }
}

/// A gateway of another make takes the fingerprint away and gives none: no call without it.
#[test]
fn a_gateway_without_a_fingerprint() {
    let mut w = World::with_users(alg(Reliable));
    w.gateway.mute = true;
    let more = format!("a=msrp-cema\r\n{REQUESTED}");
    offer(&mut w, &line("192.0.2.20", 2855, "MSRP", "actpass", Some(&print("11")), &more));
    w.take_status(ALICE, 500);
    assert!(w.try_take(PEER).is_none());
    assert_eq!(w.gateway.contexts(), 0);
}

/// The offer comes in the 200 and the answer in the ACK: the one who was called has its TLS end here.
#[test]
fn an_offer_in_the_200() {
    let mut w = World::with_users(alg(Reliable));
    let carol = Ua::new("carol@other.example", PEER, "bob", "late");
    let invite = w.request(&carol, Method::Invite, "sip:bob@example.com", 1);
    w.send(PEER, CORE, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let more = format!("a=msrp-cema\r\n{REQUESTED}");
    let offer = line("192.0.2.30", 7394, "MSRP", "actpass", Some(&print("22")), &more);
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&offer)));
    let ok = w.take_status(PEER, 200);
    lacks(&body(&ok), &["TLS", "fingerprint", "3ge2ae"]);
    let mut carol = carol;
    carol.remote = ok.header("To").unwrap().into_owned();
    let answer = line("2001:db8:2::99", 7000, "MSRP", "active", None, "a=msrp-cema\r\n");
    let ack = with_sdp(w.request(&carol, Method::Ack, &contact(&ok), 1), &answer);
    w.send(PEER, CORE, &ack);
    has(&body(&w.take_request(BOB, Method::Ack)), &["TCP/TLS/MSRP", OURS, "a=setup:active"]);
    let only = w.gateway.only();
    assert!(begins_tls(&only["access"]) && only["access"].mode == "SendReceive");
    has(&only["access"].remote, &[&print("22")]);
}

/// Two ends behind the core answer the same offer, one after the other; the terminal sees one
/// certificate, and the one who accepts has the media.
#[test]
fn two_who_answer() {
    let mut w = World::with_users(alg(Reliable));
    let (_, at_peer) = ask(&mut w);
    for (tag, port, setup, status) in
        [("c1", 7000, "active", 183), ("c2", 8000, "passive", 183), ("c1", 7000, "active", 200)]
    {
        let carol = Ua::answering("carol", PEER, &at_peer, tag);
        let answer = line("2001:db8:2::99", port, "MSRP", setup, None, "a=msrp-cema\r\n");
        let mut response = carol.answer(&at_peer, status, Some(&answer));
        if status == 183 {
            response.push_back("Require", "100rel").unwrap();
            response.push_back("RSeq", "1").unwrap();
        }
        w.send(PEER, CORE, &response);
        let seen = body(&w.take_status(ALICE, status));
        has(&seen, &["TCP/TLS/MSRP", OURS, &format!("a=setup:{setup}\r\n")]);
        let only = w.gateway.only();
        assert_eq!(begins_tls(&only["access"]), setup == "active", "{tag} {status}");
        has(&only["core"].remote, &[&format!("m=- {port} ")]);
    }
}

/// UPDATE and a hold in a confirmed call; what they do not change the gateway is not told.
#[test]
fn updates_and_holds() {
    let mut w = World::with_users(alg(Reliable));
    let (alice, carol, ok, _) = established(&mut w);
    let count = |w: &World| w.gateway.asked.len();
    let more = format!("a=msrp-cema\r\n{REQUESTED}");
    let sdp = line("192.0.2.20", 2855, "MSRP", "actpass", Some(&print("11")), &more);
    let answer = line("2001:db8:2::99", 7000, "MSRP", "passive", None, "a=msrp-cema\r\n");
    let before = count(&w);
    for (cseq, direction) in [(2, "inactive"), (3, "sendrecv")] {
        let held = |sdp: &str| sdp.replace("a=x-unknown", &format!("a={direction}\r\na=x-unknown"));
        let update = with_sdp(w.request(&alice, Method::Update, &contact(&ok), cseq), &held(&sdp));
        w.send(ALICE, ACCESS, &update);
        let at_peer = w.take_request(PEER, Method::Update);
        has(&body(&at_peer), &[&format!("a={direction}\r\n"), "TCP/MSRP"]);
        w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&held(&answer))));
        has(&body(&w.take_status(ALICE, 200)), &[&format!("a={direction}\r\n"), "TCP/TLS/MSRP", OURS]);
        assert_eq!(count(&w), before, "nothing of it is the gateway's");
    }
    // `holdconn` of BFCP and others shuts the gates.
    let held = |sdp: &str| sdp.replace("a=setup:actpass", "a=setup:holdconn").replace("passive", "holdconn");
    let update = with_sdp(w.request(&alice, Method::Update, &contact(&ok), 4), &held(&sdp));
    w.send(ALICE, ACCESS, &update);
    let at_peer = w.take_request(PEER, Method::Update);
    w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&held(&answer))));
    w.take_status(ALICE, 200);
    assert!(w.gateway.only().values().all(|t| t.mode == "Inactive"));
    hang_up(&mut w, &alice, &carol, &ok);
}
