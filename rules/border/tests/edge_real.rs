//! The border with Carnet's own gateway where that does more than pass octets on: what the plan says, the
//! engine is told (TS 23.334 §6.2.10.3, §5.19.5).

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Addressing, Cause, Event, Side};
use carnet_gateway::media::{self, Gate, Role, TlsFailure, TlsRole};
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{Message, Method};
use common::gateway::OURS;
use common::real::RealGateway;
use common::*;
use std::time::Duration;

const CEMA: &str = "a=msrp-cema\r\n";
const REQUESTED: &str = "a=3ge2ae:requested\r\n";
const MEDIASEC: &[(&str, &str)] = &[("Security-Client", "msrp-tls;mediasec, bfcp-tls;mediasec")];

fn world_with(adjust: impl FnOnce(&mut carnet_border::Config)) -> World {
    let mut config = alg(Reliable);
    adjust(&mut config);
    let mut w = World::new(config);
    w.real = Some(RealGateway::new(w.now, "alg1.example.com"));
    w.border.gateway_connected(w.now, "agw1");
    w.settle();
    w.pass(Duration::from_secs(5));
    assert!(w.names().contains(&"gateway-up"), "{:?}", w.events);
    w.register("alice", ALICE);
    w
}

fn world() -> World {
    world_with(|_| {})
}

fn real(w: &World) -> &RealGateway {
    w.real.as_ref().unwrap()
}

/// Alice calls carol and carol answers; what each of them saw.
fn call(w: &mut World, offer: &str, answer: &str) -> (Ua, Ua, Message, Message) {
    let mut alice = Ua::new("alice", ALICE, "carol@other.example", "call-r");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:carol@other.example", 1), offer);
    w.send(ALICE, ACCESS, &invite);
    let at_peer = w.take_request(PEER, Method::Invite);
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(answer)));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(PEER, Method::Ack);
    (alice, carol, at_peer, ok)
}

fn end(w: &mut World, alice: &Ua, carol: &Ua, ok: &Message) {
    let bye = w.request(alice, Method::Bye, &contact(ok), 99);
    w.send(ALICE, ACCESS, &bye);
    let bye = w.take_request(PEER, Method::Bye);
    w.send(PEER, CORE, &carol.answer(&bye, 200, None));
    w.take_status(ALICE, 200);
    assert_eq!(real(w).gateway.contexts(), 0);
    assert!(real(w).holes.is_empty());
    w.assert_empty();
}

/// Columns: application, offered and answered setup, our TCP roles towards both ends, our TLS role.
#[test]
fn the_offerer_ends_its_tls_at_the_gateway() {
    use Role::{Active, Passive};
    for (application, offered, answered, roles, tls) in [
        ("MSRP", "active", "passive", (Passive, Active), TlsRole::Server),
        ("MSRP", "actpass", "passive", (Passive, Active), TlsRole::Server),
        ("MSRP", "actpass", "active", (Active, Passive), TlsRole::Client),
        ("BFCP", "actpass", "passive", (Passive, Active), TlsRole::Server),
        ("BFCP", "passive", "active", (Active, Passive), TlsRole::Server),
    ] {
        let mut w = world();
        let cema = if application == "MSRP" { CEMA } else { "" };
        let theirs = print("11");
        let offer =
            line("192.0.2.20", 2855, application, offered, Some(&theirs), &format!("{cema}{REQUESTED}"));
        let answer = line("2001:db8:2::99", 7000, application, answered, None, cema);
        let (alice, carol, at_peer, ok) = call(&mut w, &offer, &answer);
        assert!(!body(&at_peer).contains("fingerprint") && !body(&at_peer).contains("3ge2ae"));
        assert!(body(&ok).contains(&format!("a=fingerprint:{OURS}\r\n")), "{}", body(&ok));
        let (access, core) = (&real(&w).hole("access").settings, &real(&w).hole("core").settings);
        let case = format!("{application} {offered} {answered}");
        assert_eq!((access.role, core.role), roles, "{case}");
        let edge = access.edge.as_ref().unwrap();
        assert_eq!((edge.role, edge.fingerprints.as_slice()), (tls, &[theirs.clone()][..]), "{case}");
        assert!(core.edge.is_none() && core.leg.is_none() && access.leg.is_none());
        assert!(access.gate == Gate::SendReceive && core.gate == Gate::SendReceive);
        end(&mut w, &alice, &carol, &ok);
    }
}

#[test]
fn the_answerer_ends_its_tls_at_the_gateway() {
    for (application, answered, tls) in [
        ("MSRP", "active", TlsRole::Server),
        ("MSRP", "passive", TlsRole::Client),
        ("BFCP", "active", TlsRole::Client),
        ("BFCP", "passive", TlsRole::Client),
    ] {
        let mut w = world();
        w.register_asking("bob", BOB, "", MEDIASEC);
        let cema = if application == "MSRP" { CEMA } else { "" };
        let carol = Ua::new("carol@other.example", PEER, "bob", "call-t");
        let offer = line("2001:db8:2::99", 7000, application, "actpass", None, cema);
        let invite = with_sdp(w.request(&carol, Method::Invite, "sip:bob@example.com", 1), &offer);
        w.send(PEER, CORE, &invite);
        let at_bob = w.take_request(BOB, Method::Invite);
        // The answer may be late: who connects before it is held.
        let edge = real(&w).hole("access").settings.edge.clone().unwrap();
        assert!(edge.fingerprints.is_empty());
        let bob = Ua::answering("bob", BOB, &at_bob, "b1");
        let theirs = print("22");
        let answer = line("192.0.2.30", 7394, application, answered, Some(&theirs), cema);
        w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer)));
        let ok = w.take_status(PEER, 200);
        assert!(body(&ok).contains(&format!("TCP/{application} *")), "{}", body(&ok));
        let edge = real(&w).hole("access").settings.edge.clone().unwrap();
        assert_eq!((edge.role, edge.fingerprints.clone()), (tls, vec![theirs]), "{application} {answered}");
        assert!(real(&w).hole("core").settings.edge.is_none());
    }
}

/// Two accesses of one border: TLS of both ends here, in clear it is only between the two pinholes.
#[test]
fn both_end_their_tls_at_the_gateway() {
    let mut w = world();
    w.register_asking("bob", BOB, "", MEDIASEC);
    let alice = Ua::new("alice", ALICE, "bob", "call-2");
    let offer =
        line("192.0.2.20", 2855, "MSRP", "actpass", Some(&print("11")), &format!("{CEMA}{REQUESTED}"));
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer);
    w.send(ALICE, ACCESS, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    let sent = body(&at_bob);
    assert!(sent.contains("a=3ge2ae:applied") && sent.contains(OURS) && !sent.contains(&print("11")));
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let answer = line("192.0.2.30", 7394, "MSRP", "passive", Some(&print("22")), CEMA);
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer)));
    let got = body(&w.take_status(ALICE, 200));
    assert!(got.contains(OURS) && !got.contains(&print("22")) && !got.contains("3ge2ae"), "{got}");
    let mut edges: Vec<_> = real(&w).holes.values().map(|h| h.settings.edge.clone().unwrap()).collect();
    edges.sort_by_key(|e| e.fingerprints.clone());
    assert_eq!(edges[0].fingerprints, [print("11")]);
    assert_eq!(edges[1].fingerprints, [print("22")]);
    assert_eq!((edges[0].role, edges[1].role), (TlsRole::Server, TlsRole::Client));
}

/// Neither follows RFC 6714: each end sees the gateway's URI, and the engine knows both paths.
#[test]
fn plain_msrp_on_both_sides_is_rewritten() {
    for secured in [false, true] {
        let mut w = world();
        let print = print("11");
        let (print, more) = if secured { (Some(print.as_str()), REQUESTED) } else { (None, "") };
        let offer = line("192.0.2.20", 2855, "MSRP", "actpass", print, more);
        let answer = line("2001:db8:2::99", 7000, "MSRP", "passive", None, "");
        let (alice, carol, at_peer, ok) = call(&mut w, &offer, &answer);
        let scheme = if secured { "msrps" } else { "msrp" };
        let (access, core) = (real(&w).hole("access"), real(&w).hole("core"));
        let path = |h: &common::real::Hole| h.settings.leg.as_ref().unwrap().path.clone();
        assert_eq!(path(access), format!("{scheme}://192.0.2.20:2855/s2855;tcp"));
        assert_eq!(path(core), "msrp://[2001:db8:2::99]:7000/s7000;tcp");
        assert_eq!(access.settings.edge.is_some(), secured);
        let sent = body(&at_peer);
        let (port, local) = (at(&sent), "[2001:db8:1::10]");
        assert!(sent.contains(&format!("a=path:msrp://{local}:{port}/s2855;tcp\r\n")), "{sent}");
        let got = body(&ok);
        let port = at(&got);
        assert!(got.contains(&format!("a=path:{scheme}://203.0.113.10:{port}/s7000;tcp\r\n")), "{got}");
        end(&mut w, &alice, &carol, &ok);
    }
}

fn at(sdp: &str) -> String {
    let line = sdp.split("\r\n").find(|l| l.starts_with("m=message")).unwrap();
    line.split(' ').nth(1).unwrap().to_owned()
}

/// An offer by RFC 6714 into a network that does not know it; and one whose answerer lacks it: the
/// offerer falls back, and the line is another one.
#[test]
fn cema_meets_plain() {
    let mut w = world_with(|c| c.networks[1].msrp = Addressing::Plain);
    let offer = line("192.0.2.20", 2855, "MSRP", "actpass", None, CEMA);
    let answer = line("2001:db8:2::99", 7000, "MSRP", "passive", None, "");
    let (alice, carol, at_peer, ok) = call(&mut w, &offer, &answer);
    assert!(!body(&at_peer).contains("msrp-cema"));
    assert!(real(&w).holes.values().all(|h| h.settings.leg.is_some()));
    end(&mut w, &alice, &carol, &ok);

    let mut w = world();
    let (alice, carol, at_peer, ok) = call(&mut w, &offer, &answer);
    assert!(body(&at_peer).contains("msrp-cema"));
    assert!(real(&w).holes.values().all(|h| h.settings.leg.is_none()));
    // RFC 6714 §4.2: it offers again, without.
    let again = line("192.0.2.20", 2855, "MSRP", "actpass", None, "");
    let invite = with_sdp(w.request(&alice, Method::Invite, &contact(&ok), 2), &again);
    w.send(ALICE, ACCESS, &invite);
    let at_peer = w.take_request(PEER, Method::Invite);
    w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&answer)));
    w.take_status(ALICE, 200);
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 2);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(PEER, Method::Ack);
    assert_eq!(real(&w).gateway.contexts(), 1);
    assert!(real(&w).holes.values().all(|h| h.settings.leg.is_some()));
    end(&mut w, &alice, &carol, &ok);
}

/// What the engine says of TLS reaches the call: which side, and why.
#[test]
fn tls_that_fails() {
    for (failure, words, ends) in [
        (TlsFailure::Fingerprint, "fingerprint_mismatch", true),
        (TlsFailure::NoCertificate, "no_certificate", true),
        (TlsFailure::NoFingerprint, "no_fingerprint", true),
        (TlsFailure::Timeout, "timeout", true),
        (TlsFailure::Truncated, "truncated", false),
    ] {
        let mut w = world();
        let offer =
            line("192.0.2.20", 2855, "MSRP", "actpass", Some(&print("11")), &format!("{CEMA}{REQUESTED}"));
        let answer = line("2001:db8:2::99", 7000, "MSRP", "passive", None, CEMA);
        let (alice, carol, _, ok) = call(&mut w, &offer, &answer);
        let (now, cause) = (w.now, media::Cause::Tls(failure));
        let gateway = w.real.as_mut().unwrap();
        gateway.happens(now, "access", |pinhole| media::Event::Closed { pinhole, cause });
        w.settle();
        let failed = |e: &Event| match e {
            Event::TlsFailed { side: Side::Caller, index: 0, reason, fingerprints, .. } => {
                assert_eq!(*fingerprints, [print("11")]);
                Some(reason.clone())
            }
            _ => None,
        };
        let failed: Vec<_> = w.events.iter().filter_map(failed).collect();
        assert_eq!(failed.len(), 1, "{failure:?} {:#?}", w.events);
        assert!(failed[0].contains(words), "{failure:?}: {failed:?}");
        if !ends {
            end(&mut w, &alice, &carol, &ok);
            continue;
        }
        for (at, to, ua) in [(ALICE, ACCESS, &alice), (PEER, CORE, &carol)] {
            let bye = w.take_request(at, Method::Bye);
            assert!(bye.header("Reason").unwrap().contains("TLS"));
            w.send(at, to, &ua.answer(&bye, 200, None));
        }
        let cause = |e: &Event| matches!(e, Event::CallEnded { cause: Cause::Tls(Side::Caller), .. });
        assert!(w.events.iter().any(cause));
        assert_eq!(real(&w).gateway.contexts(), 0);
        w.assert_empty();
    }
}

/// The terminal connects and never speaks TLS, or nobody comes; the call is told when the engine gives up.
#[test]
fn tls_that_stands() {
    let mut w = world();
    let offer =
        line("192.0.2.20", 2855, "MSRP", "actpass", Some(&print("11")), &format!("{CEMA}{REQUESTED}"));
    let answer = line("2001:db8:2::99", 7000, "MSRP", "passive", None, CEMA);
    let (alice, carol, _, ok) = call(&mut w, &offer, &answer);
    let now = w.now;
    let peer = addr("192.0.2.20:40000");
    let gateway = w.real.as_mut().unwrap();
    gateway.happens(now, "access", |pinhole| media::Event::Established { pinhole, peer });
    gateway.happens(now, "access", |pinhole| media::Event::Sealed {
        pinhole,
        version: "TLSv1.3".into(),
        suite: "TLS_AES_128_GCM_SHA256".into(),
    });
    w.settle();
    assert!(w.events.iter().any(|e| matches!(e, Event::TlsUp { side: Side::Caller, .. })), "{:#?}", w.events);
    // A reset is no fault of TLS.
    let gateway = w.real.as_mut().unwrap();
    let cause = media::Cause::Reset;
    gateway.happens(now, "access", |pinhole| media::Event::Closed { pinhole, cause });
    w.settle();
    assert!(!w.events.iter().any(|e| matches!(e, Event::TlsFailed { .. })));
    end(&mut w, &alice, &carol, &ok);
}

/// TS 23.334 table 5.19.1-1 and RFC 6714 §4: how the two networks find each other decides what becomes of
/// the paths, and whether that can be with TLS from end to end.
#[test]
fn how_two_networks_find_each_other() {
    use Addressing::{Auto, Cema, Plain, Sessmatch};
    let rows = [
        (Auto, Auto, true, "kept", "kept"),
        (Cema, Cema, true, "kept", "kept"),
        (Sessmatch, Sessmatch, false, "readdressed", "readdressed"),
        (Auto, Auto, false, "rewritten", "needs a=msrp-cema"),
        (Plain, Plain, false, "rewritten", "needs a=msrp-cema"),
        (Auto, Plain, true, "rewritten", "excludes"),
        (Cema, Sessmatch, true, "rewritten", "excludes"),
        (Sessmatch, Plain, false, "rewritten", "needs a=msrp-cema"),
    ];
    for (from, to, cema, in_clear, sealed) in rows {
        for (tls, expected) in [(None, in_clear), (Some(print("11")), sealed)] {
            let case = format!("{from:?} {to:?} {cema} {tls:?}");
            let mut w = world_with(|c| {
                c.networks[0].msrp = from;
                c.networks[1].msrp = to;
            });
            let more = if cema { CEMA } else { "" };
            let offer = line("192.0.2.20", 2855, "MSRP", "actpass", tls.as_deref(), more);
            let alice = Ua::new("alice", ALICE, "carol@other.example", "call-p");
            let invite = with_sdp(w.request(&alice, Method::Invite, "sip:carol@other.example", 1), &offer);
            w.send(ALICE, ACCESS, &invite);
            let Some(at_peer) = w.try_take(PEER) else {
                let warning = w.take_status(ALICE, 488).header("Warning").unwrap().into_owned();
                assert!(warning.contains(expected), "{case}: {warning}");
                continue;
            };
            let sent = body(&at_peer);
            let scheme = if tls.is_some() { "msrps" } else { "msrp" };
            let ours = format!("a=path:{scheme}://[2001:db8:1::10]:{}/s2855;tcp", at(&sent));
            let theirs = format!("a=path:{scheme}://192.0.2.20:2855/s2855;tcp");
            let found = match (sent.contains(&ours), sent.contains(&theirs)) {
                (true, false) if real(&w).holes.values().all(|h| h.settings.leg.is_some()) => "rewritten",
                (true, false) if real(&w).holes.values().all(|h| h.settings.leg.is_none()) => "readdressed",
                (false, true) => "kept",
                _ => panic!("{case}: {sent}"),
            };
            assert_eq!(found, expected, "{case}");
            assert_eq!(sent.contains("msrp-cema"), cema && expected == "kept", "{case}");
        }
    }
}
