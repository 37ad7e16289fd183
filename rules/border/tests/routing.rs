//! Registrars, next hops, peers, and a call over two borders.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Event, Prefix, Registration, Route};
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{DigestClient, Method, Password};
use carnet_wire::SeededRandom;
use common::*;
use std::time::Duration;

fn register_request(
    w: &mut World,
    cseq: u32,
    change: impl FnOnce(&mut carnet_sip::Message),
) -> carnet_sip::Message {
    let ua = Ua::new("alice", ALICE, "alice", "reg-1");
    let mut m = w.request(&ua, Method::Register, "sip:example.com", cseq);
    change(&mut m);
    m
}

/// Sends a REGISTER, answers the challenge, returns the final response.
fn registered(w: &mut World, cseq: u32, change: impl Fn(&mut carnet_sip::Message)) -> carnet_sip::Message {
    let mut client = DigestClient::new("alice", Password::new(b"alice-secret".to_vec())).unwrap();
    let first = register_request(w, cseq, &change);
    w.send(ALICE, ACCESS, &first);
    client.challenged(&w.take_status(ALICE, 401)).unwrap();
    let mut second = register_request(w, cseq + 1, &change);
    client.authorize(&mut second, &mut SeededRandom::new(3)).unwrap();
    w.send(ALICE, ACCESS, &second);
    w.take(ALICE)
}

// -- the border's own registrar --------------------------------------------------------------------

#[test]
fn bindings_come_and_go() {
    let mut w = World::up(alg(Reliable));
    let ok = registered(&mut w, 1, |m| m.set_header("Expires", "600").unwrap());
    assert_eq!(ok.status(), Some(200));
    assert_eq!(ok.header("Contact").as_deref(), Some("<sip:alice@192.0.2.20:5060>;expires=600"));
    // Too brief, then gone by its own time, then by Contact *.
    let brief = registered(&mut w, 3, |m| m.set_header("Expires", "5").unwrap());
    assert_eq!(brief.status(), Some(423));
    assert_eq!(brief.header("Min-Expires").as_deref(), Some("60"));
    w.pass(Duration::from_secs(601));
    assert_eq!(w.events.iter().filter(|e| matches!(e, Event::Unregistered { .. })).count(), 1);
    assert_eq!(registered(&mut w, 5, |_| {}).status(), Some(200));
    let star = registered(&mut w, 7, |m| {
        m.set_header("Contact", "*").unwrap();
        m.set_header("Expires", "0").unwrap();
    });
    assert_eq!((star.status(), star.has("Contact")), (Some(200), false));
    assert_eq!(w.events.iter().filter(|e| matches!(e, Event::Unregistered { .. })).count(), 2);
}

#[test]
fn wrong_passwords_and_other_peoples_addresses() {
    let mut w = World::up(alg(Reliable));
    let mut client = DigestClient::new("alice", Password::new(b"guess".to_vec())).unwrap();
    let first = register_request(&mut w, 1, |_| {});
    w.send(ALICE, ACCESS, &first);
    client.challenged(&w.take_status(ALICE, 401)).unwrap();
    let mut second = register_request(&mut w, 2, |_| {});
    client.authorize(&mut second, &mut SeededRandom::new(3)).unwrap();
    w.send(ALICE, ACCESS, &second);
    w.take_status(ALICE, 403);
    let other = registered(&mut w, 3, |m| m.set_header("To", "<sip:bob@example.com>").unwrap());
    assert_eq!(other.status(), Some(403));
    // Not from the core.
    let m = register_request(&mut w, 9, |_| {});
    w.send(PEER, CORE, &m);
    w.take_status(PEER, 403);
    assert!(!w.names().contains(&"registered"));
}

/// Calls go to the flow the terminal registered on, whatever its Contact says; one behind a NAT
/// is the one that connects.
/// The best first, one line each; a client that can do only MD5 may be given only that.
#[test]
fn algorithms_of_the_challenge() {
    use carnet_sip::Algorithm::{Md5, Sha256};
    for (offered, asked) in [(vec![Sha256, Md5], ["SHA-256", "MD5"].as_slice()), (vec![Md5], &["MD5"])] {
        let mut config = alg(Reliable);
        if let Registration::Local { algorithms, .. } = &mut config.registration {
            *algorithms = offered;
        }
        let mut w = World::up(config);
        let ua = Ua::new("alice", ALICE, "alice", "reg-a");
        let register = w.request(&ua, Method::Register, "sip:example.com", 1);
        w.send(ALICE, ACCESS, &register);
        let challenge = w.take_status(ALICE, 401);
        let lines: Vec<_> = challenge.lines("WWW-Authenticate").map(|l| l.into_owned()).collect();
        assert_eq!(lines.len(), asked.len());
        for (line, name) in lines.iter().zip(asked) {
            assert!(line.contains(&format!("algorithm={name},")), "{line}");
        }
        w.register("alice", ALICE);
    }
}

#[test]
fn a_terminal_behind_a_nat() {
    let mut w = World::up(alg(Reliable));
    let ok = registered(&mut w, 1, |m| m.set_header("Contact", "<sip:alice@10.0.0.5:5060>").unwrap());
    assert_eq!(ok.status(), Some(200));
    w.register("bob", BOB);
    let alice = Ua::new("alice", ALICE, "bob", "call-nat");
    let offer = msrps("10.0.0.5", 2855, "actpass");
    let invite = with_sdp(w.request(&alice, Method::Invite, "sip:bob@example.com", 1), &offer);
    w.send(ALICE, ACCESS, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    assert_eq!(
        changed(&offer, &body(&at_bob)),
        ["c=IN IP4 203.0.113.10", "m=message 30004 TCP/TLS/MSRP *", "a=setup:active"]
    );
    let ends: Vec<_> = w.gateway.state.values().next().unwrap().values().cloned().collect();
    assert!(ends[0].latch && ends[0].local.contains("a=setup:passive"), "{ends:#?}");
    assert_eq!(ends[0].filter.as_deref(), Some("192.0.2.20/32"), "where it really is");
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 486, None));
    w.take_status(ALICE, 486);
    // And the other way round.
    let bob = Ua::new("bob", BOB, "alice", "call-nat2");
    let invite = with_sdp(
        w.request(&bob, Method::Invite, "sip:alice@example.com", 1),
        &msrps("192.0.2.30", 7394, "actpass"),
    );
    w.send(BOB, ACCESS, &invite);
    let at_alice = w.take_request(ALICE, Method::Invite);
    assert_eq!(at_alice.request_uri().unwrap().as_str(), "sip:alice@10.0.0.5:5060");
}

// -- a registrar elsewhere --------------------------------------------------------------------------

#[test]
fn register_goes_on_with_path_and_calls_follow_the_service_route() {
    let mut config = alg(Reliable);
    config.registration = Registration::Forward { hop: uri(&format!("sip:{PEER}")), network: "core".into() };
    let mut w = World::up(config);
    let register = register_request(&mut w, 1, |_| {});
    w.send(ALICE, ACCESS, &register);
    let onward = w.take_request(PEER, Method::Register);
    let path = onward.header("Path").unwrap().into_owned();
    assert!(path.starts_with("<sip:") && path.ends_with("@198.51.100.1:5060;lr>"), "{path}");
    assert!(onward.lists("Require", "path"));
    assert_eq!(onward.header("Contact"), register.header("Contact"));
    let mut challenge = carnet_sip::Message::response(&onward, 401, "").unwrap();
    challenge.push_back("WWW-Authenticate", "Digest realm=\"home\", nonce=\"1\", qop=\"auth\"").unwrap();
    w.send(PEER, CORE, &challenge);
    assert!(w.take_status(ALICE, 401).has("WWW-Authenticate"));
    let register = register_request(&mut w, 2, |_| {});
    w.send(ALICE, ACCESS, &register);
    let onward = w.take_request(PEER, Method::Register);
    let stale = path;
    let path = onward.header("Path").unwrap().into_owned();
    let mut ok = carnet_sip::Message::response(&onward, 200, "").unwrap();
    ok.push_back("Contact", "<sip:alice@192.0.2.20:5060>;expires=900").unwrap();
    ok.push_back("Service-Route", "<sip:orig@198.51.100.99:5060;lr>").unwrap();
    w.send(PEER, CORE, &ok);
    w.take_status(ALICE, 200);
    assert!(w.events.iter().any(|e| matches!(e, Event::Registered { expires: 900, .. })));

    // Out: along the Service-Route, not where the terminal wants.
    let alice = Ua::new("alice", ALICE, "dave@far.example", "call-out");
    let mut invite = with_sdp(
        w.request(&alice, Method::Invite, "sip:dave@far.example", 1),
        &msrps("192.0.2.20", 2855, "actpass"),
    );
    invite.push_back("Route", &format!("<sip:{ACCESS};lr>")).unwrap();
    invite.push_back("Route", "<sip:evil.example;lr>").unwrap();
    w.send(ALICE, ACCESS, &invite);
    let onward = w.take_request(PEER, Method::Invite);
    assert_eq!(onward.header("Route").as_deref(), Some("<sip:orig@198.51.100.99:5060;lr>"));
    assert_eq!(onward.routes().unwrap().len(), 1);

    // In: by the Path, to the flow.
    let dave = Ua::new("dave@far.example", PEER, "alice", "call-in");
    let mut invite = with_sdp(
        w.request(&dave, Method::Invite, "sip:alice@192.0.2.20:5060", 1),
        &msrps("2001:db8:2::99", 2855, "actpass"),
    );
    invite.push_back("Route", &path).unwrap();
    w.send(PEER, CORE, &invite);
    let at_alice = w.take_request(ALICE, Method::Invite);
    assert!(!at_alice.has("Route"));
    assert!(body(&at_alice).contains("c=IN IP4 203.0.113.10"));
    let dave = Ua { call_id: "call-stale".into(), ..dave };
    let mut invite = w.request(&dave, Method::Invite, "sip:alice@192.0.2.20:5060", 1);
    invite.push_back("Route", &stale).unwrap();
    w.send(PEER, CORE, &invite);
    w.take_status(PEER, 430);
}

// -- IBCF ---------------------------------------------------------------------------------------------

#[test]
fn an_ibcf_hides_addresses_and_knows_its_peers() {
    let mut w = World::up(ibcf());
    let offer = msrps("192.0.2.20", 2855, "actpass");
    let alice = Ua::new("alice", ALICE, "carol@other.example", "call-i");
    let mut invite = with_sdp(w.request(&alice, Method::Invite, "sip:carol@other.example", 1), &offer);
    invite.push_back("Record-Route", "<sip:192.0.2.77;lr>").unwrap();
    w.send(ALICE, ACCESS, &invite);
    let at_peer = w.take_request(PEER, Method::Invite);
    let shown = text(&at_peer);
    for hidden in ["192.0.2.20:5060", "192.0.2.77", "c=IN IP4", "IN IP4 192.0.2.20"] {
        assert!(!shown.contains(hidden), "{hidden} shows in\n{shown}");
    }
    assert!(body(&at_peer).contains("o=- 2890844526 2890844527 IN IP6 2001:db8:1::10\r\n"));
    assert!(
        body(&at_peer).contains("a=path:msrps://192.0.2.20:2855/kjhd37s2s20w2a;tcp"),
        "CEMA: the path stays"
    );
    // Its answer takes the recorded route back.
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    w.send(PEER, CORE, &carol.answer(&at_peer, 180, None));
    let ringing = w.take_status(ALICE, 180);
    assert_eq!(ringing.header("Record-Route").as_deref(), Some("<sip:192.0.2.77;lr>"));
    let update = w.request(&carol, Method::Update, &contact(&at_peer), 5);
    w.send(PEER, CORE, &update);
    let update = w.take_request("192.0.2.77:5060", Method::Update);
    assert_eq!(update.header("Route").as_deref(), Some("<sip:192.0.2.77;lr>"));
    // A stranger.
    let stranger = Ua::new("x", "192.0.2.200:5060", "carol@other.example", "call-s");
    let invite = w.request(&stranger, Method::Invite, "sip:carol@other.example", 1);
    w.send("192.0.2.200:5060", ACCESS, &invite);
    w.take_status("192.0.2.200:5060", 403);
}

#[test]
fn domains_choose_the_way() {
    let mut config = ibcf();
    let route = |domain: &str, hop: &str| Route {
        domain: domain.into(),
        network: "core".into(),
        hop: Some(uri(hop)),
    };
    config.routes =
        vec![route("one.example", "sip:198.51.100.11"), route(".two.example", "sip:198.51.100.12")];
    config.networks[0].peers = vec![Prefix { ip: addr(ALICE).ip(), bits: 24 }];
    let mut w = World::up(config);
    for (n, domain, hop) in [
        (1, "ONE.example", Some("198.51.100.11:5060")),
        (2, "sub.two.example", Some("198.51.100.12:5060")),
        (3, "two.example", None),
        (4, "notwo.example", None),
    ] {
        let ua = Ua::new("alice", ALICE, &format!("u@{domain}"), &format!("call-{n}"));
        let m = w.request(&ua, Method::Message, &format!("sip:u@{domain}"), 1);
        w.send(ALICE, ACCESS, &m);
        match hop {
            Some(hop) => {
                let m = w.take_request(hop, Method::Message);
                let ok = carnet_sip::Message::response(&m, 200, "").unwrap();
                w.send(hop, CORE, &ok);
                w.take_status(ALICE, 200);
            }
            None => drop(w.take_status(ALICE, 404)),
        }
    }
    assert_eq!(w.border.load().requests, 0);
}

/// RFC 3966, RFC 5031: addresses without a domain have routes of their own, or take the last one.
#[test]
fn telephone_numbers_and_services() {
    const SOS: &str = "198.51.100.112:5060";
    const PHONES: &str = "198.51.100.49:5060";
    let mut config = alg(Reliable);
    let route = |domain: &str, hop: Option<&str>| Route {
        domain: domain.into(),
        network: "core".into(),
        hop: hop.map(|h| uri(&format!("sip:{h}"))),
    };
    let rest = config.routes.remove(0);
    config.routes =
        vec![route("urn:service:sos", Some(SOS)), route("tel:+49", Some(PHONES)), route("tel:0", None), rest];
    let mut w = World::with_users(config);
    for (n, (target, hop)) in [
        ("urn:service:sos", Some(SOS)),
        ("urn:service:sos.police", Some(SOS)),
        ("URN:service:sos", Some(SOS)),
        ("urn:service:sosig", Some(PEER)),
        ("urn:service:counseling", Some(PEER)),
        ("tel:+49.30", Some(PHONES)),
        ("tel:+4930;phone-context=x", Some(PEER)),
        ("tel:+1-201-555-0123", Some(PEER)),
        ("tel:0", None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut ua = Ua::new("alice", ALICE, "bob", &format!("call-{n}"));
        ua.remote = format!("<{target}>");
        let invite =
            with_sdp(w.request(&ua, Method::Invite, target, 1), &msrps("192.0.2.20", 2855, "actpass"));
        w.send(ALICE, ACCESS, &invite);
        let Some(hop) = hop else {
            w.take_status(ALICE, 404);
            continue;
        };
        let there = w.take_request(hop, Method::Invite);
        assert_eq!(there.request_uri().unwrap().as_str(), target);
        assert_eq!(there.header("To").as_deref(), Some(&*format!("<{target}>")));
        assert!(body(&there).contains("c=IN IP6 2001:db8:1::10"), "anchored like any other");
        // An answer, and the way of later requests.
        let sos = Ua::answering("psap", hop, &there, "p1");
        w.send(hop, CORE, &sos.answer(&there, 200, Some(&msrps("2001:db8:2::99", 2855, "passive"))));
        let ok = w.take_status(ALICE, 200);
        ua.remote = ok.header("To").unwrap().into_owned();
        for (method, cseq) in [(Method::Ack, 1), (Method::Bye, 2)] {
            let request = w.request(&ua, method.clone(), &contact(&ok), cseq);
            w.send(ALICE, ACCESS, &request);
            let there = w.take_request(hop, method.clone());
            assert_eq!(there.request_uri().unwrap().as_str(), format!("sip:psap@{hop}"));
            if method == Method::Bye {
                w.send(hop, CORE, &sos.answer(&there, 200, None));
                w.take_status(ALICE, 200);
            }
        }
    }
}

// -- two borders --------------------------------------------------------------------------------------

/// Alice's ALG, then an IBCF; the far end is scripted. Every octet that neither must touch is
/// there after both.
#[test]
fn a_call_over_two_borders() {
    const IBCF_IN: &str = "192.0.2.20:5060";
    let mut one = World::with_users(alg(Reliable));
    let mut config = ibcf();
    config.networks[0].peers = vec![Prefix { ip: addr(CORE).ip(), bits: 32 }];
    let mut two = World::up(config);
    // What the first border sends to PEER is what the second receives at ACCESS from CORE.
    let offer = msrps("192.0.2.20", 2855, "actpass");
    let alice = Ua::new("alice", IBCF_IN, "carol@other.example", "call-2b");
    let invite = with_sdp(one.request(&alice, Method::Invite, "sip:carol@other.example", 1), &offer);
    one.send(ALICE, ACCESS, &invite);
    let between = one.take_request(PEER, Method::Invite);
    two.send(CORE, ACCESS, &between);
    let at_peer = two.take_request(PEER, Method::Invite);
    assert_eq!(at_peer.header("Max-Forwards").as_deref(), Some("68"));
    let mut lines = changed(&offer, &body(&at_peer));
    lines.sort();
    assert_eq!(
        lines,
        [
            "c=IN IP6 2001:db8:1::10",
            "m=message 30004 TCP/TLS/MSRP *",
            "o=- 2890844526 2890844527 IN IP6 2001:db8:1::10"
        ]
    );
    assert_eq!(body(&at_peer).matches(KEY).count(), 2, "session and media level");
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    let answer = msrps("2001:db8:2::99", 2855, "passive");
    two.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&answer)));
    let ok = two.take_status(CORE, 200);
    one.send(PEER, CORE, &ok);
    let ok_at_alice = one.take_status(ALICE, 200);
    assert_eq!(body(&ok_at_alice).matches(KEY).count(), 2);
    assert_eq!(ok_at_alice.to_tag().as_deref(), Some("c1"));
    let mut alice = alice;
    alice.remote = ok_at_alice.header("To").unwrap().into_owned();
    for (method, cseq) in [(Method::Ack, 1), (Method::Bye, 2)] {
        let m = one.request(&alice, method.clone(), &contact(&ok_at_alice), cseq);
        one.send(ALICE, ACCESS, &m);
        // The first border sends to the second's Contact.
        let second: &str = "192.0.2.1:5060";
        let between = one.take_request(second, method.clone());
        two.send(CORE, ACCESS, &between);
        let m = two.take_request(PEER, method.clone());
        if method == Method::Bye {
            two.send(PEER, CORE, &carol.answer(&m, 200, None));
            let ok = two.take_status(CORE, 200);
            one.send(second, CORE, &ok);
            one.take_status(ALICE, 200);
        }
    }
    one.assert_empty();
    two.assert_empty();
}

// -- extensions --------------------------------------------------------------------------------------

/// RFC 3261 §16.3 step 5: what those on the way must do and the border does not is named.
#[test]
fn what_is_required_of_the_border() {
    let mut w = World::with_users(alg(Reliable));
    let mut alice = Ua::new("alice", ALICE, "carol@other.example", "call-req");
    let ask = |w: &mut World, ua: &Ua, method: Method, target: &str, cseq: u32, tags: &[&str]| {
        let mut m = w.request(ua, method, target, cseq);
        for tag in tags {
            m.push_back("Proxy-Require", tag).unwrap();
        }
        m
    };
    for (cseq, method) in [(1, Method::Invite), (2, Method::Message), (3, Method::Subscribe)] {
        let tags = ["path, sec-agree", "Timer", "x-new"];
        let m = ask(&mut w, &alice, method, "sip:carol@other.example", cseq, &tags);
        w.send(ALICE, ACCESS, &m);
        let refusal = w.take_status(ALICE, 420);
        assert_eq!(refusal.header("Unsupported").as_deref(), Some("sec-agree, x-new"));
        assert_eq!(refusal.lines("Unsupported").count(), 1);
        if cseq == 1 {
            // Nobody refuses an ACK.
            alice.remote = refusal.header("To").unwrap().into_owned();
            let mut ack = ask(&mut w, &alice, Method::Ack, "sip:carol@other.example", cseq, &tags);
            ack.set_header("Via", &m.header("Via").unwrap()).unwrap();
            w.send(ALICE, ACCESS, &ack);
            alice.remote = "<sip:carol@other.example>".into();
        }
        assert!(w.try_take(PEER).is_none() && w.try_take(ALICE).is_none());
    }
    let m = ask(&mut w, &alice, Method::Register, "sip:example.com", 4, &["sec-agree"]);
    w.send(ALICE, ACCESS, &m);
    assert_eq!(w.take_status(ALICE, 420).header("Unsupported").as_deref(), Some("sec-agree"));

    // What it does goes on, and so does Require: that is for the far end.
    let offer = msrps("192.0.2.20", 2855, "actpass");
    let mut m = ask(&mut w, &alice, Method::Invite, "sip:carol@other.example", 5, &["path, 100rel, TIMER"]);
    m.push_back("Require", "x-new").unwrap();
    w.send(ALICE, ACCESS, &with_sdp(m, &offer));
    let at_peer = w.take_request(PEER, Method::Invite);
    assert_eq!(at_peer.header("Require").as_deref(), Some("x-new"));
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&msrps("2001:db8:2::99", 2855, "passive"))));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = ask(&mut w, &alice, Method::Ack, &contact(&ok), 5, &["x-new"]);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(PEER, Method::Ack);
    // Inside a call too.
    let info = ask(&mut w, &alice, Method::Info, &contact(&ok), 6, &["x-new"]);
    w.send(ALICE, ACCESS, &info);
    assert_eq!(w.take_status(ALICE, 420).header("Unsupported").as_deref(), Some("x-new"));
    let bye = w.request(&alice, Method::Bye, &contact(&ok), 7);
    w.send(ALICE, ACCESS, &bye);
    let bye = w.take_request(PEER, Method::Bye);
    w.send(PEER, CORE, &carol.answer(&bye, 200, None));
    w.take_status(ALICE, 200);
    w.assert_empty();
}

/// A CANCEL has none and is never refused for one.
#[test]
fn a_cancel_is_not_asked_what_it_requires() {
    let mut w = World::with_users(alg(Reliable));
    let alice = Ua::new("alice", ALICE, "carol@other.example", "call-can");
    let invite = w.request(&alice, Method::Invite, "sip:carol@other.example", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite.clone(), &msrps("192.0.2.20", 2855, "actpass")));
    let at_peer = w.take_request(PEER, Method::Invite);
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    w.send(PEER, CORE, &carol.answer(&at_peer, 180, None));
    w.take_status(ALICE, 180);
    let mut cancel = w.request(&alice, Method::Cancel, "sip:carol@other.example", 1);
    cancel.set_header("Via", &invite.header("Via").unwrap()).unwrap();
    cancel.push_back("Proxy-Require", "x-new").unwrap();
    w.send(ALICE, ACCESS, &cancel);
    w.take_status(ALICE, 200);
    w.take_request(PEER, Method::Cancel);
}
