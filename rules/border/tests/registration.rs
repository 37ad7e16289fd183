//! What a border learns of a terminal when it registers: whether it is behind a NAT, and what it wants
//! protected up to the gateway (RFC 3261 §18.2.1, RFC 3329, TS 24.229 §5.2.2).

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Event, Plan, Registration};
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{DigestClient, Message, Method, Password};
use carnet_wire::SeededRandom;
use common::*;

const NAT: &str = "203.0.113.77:40000";
const MEDIASEC: &str = "msrp-tls;mediasec";

/// REGISTER with these Via and Contact, from there, twice where it is challenged.
fn register(w: &mut World, from: &str, via: &[&str], contact: &str, headers: &[(&str, &str)]) -> Message {
    let mut client = DigestClient::new("bob", Password::new(b"bob-secret".to_vec())).unwrap();
    let id = w.branch();
    let mut ask = |w: &mut World, cseq: u32, challenge: Option<&Message>| {
        let ua = Ua::new("bob", from, "bob", &id);
        let mut m = w.request(&ua, Method::Register, "sip:example.com", cseq);
        m.remove_all("Via");
        for (n, via) in via.iter().enumerate() {
            let rport = if n == 0 { ";rport" } else { "" };
            m.push_back("Via", &format!("SIP/2.0/UDP {via};branch=z9hG4bK-{id}-{cseq}-{n}{rport}")).unwrap();
        }
        m.set_header("Contact", &format!("<sip:bob@{contact}>")).unwrap();
        for (name, value) in headers {
            m.push_back(name, value).unwrap();
        }
        if let Some(challenge) = challenge {
            client.challenged(challenge).unwrap();
            client.authorize(&mut m, &mut SeededRandom::new(1)).unwrap();
        }
        w.send(from, ACCESS, &m);
        w.take(from)
    };
    let challenge = ask(w, 1, None);
    assert_eq!(challenge.status(), Some(401), "{}", text(&challenge));
    let told = headers.iter().any(|(name, _)| *name == "Security-Client");
    assert_eq!(challenge.has("Security-Server"), told, "{}", text(&challenge));
    ask(w, 2, Some(&challenge))
}

/// The plan of a call to bob.
fn plan(w: &mut World, sdp: &str) -> Plan {
    w.events.clear();
    let carol = Ua::new("carol@other.example", PEER, "bob", &w.branch());
    let invite = with_sdp(w.request(&carol, Method::Invite, "sip:bob@example.com", 1), sdp);
    w.send(PEER, CORE, &invite);
    w.inbox.clear();
    let plan =
        w.events.iter().find_map(|e| if let Event::PlanMade { plan, .. } = e { Some(plan) } else { None });
    plan.unwrap_or_else(|| panic!("{:#?}", w.events)).clone()
}

/// A sealed MSRP offer that is active meets a terminal behind a NAT: the plan refuses it.
fn is_behind_nat(w: &mut World) -> bool {
    plan(w, &msrps("2001:db8:2::99", 9, "active")).refusal().is_some()
}

#[test]
fn a_nat_shows_in_via_and_contact() {
    let inside = "10.0.0.5:5060";
    let public = "203.0.113.77:5060";
    for (via, contact, expected) in [
        (vec![inside], inside, true),
        (vec![public], public, false),
        // Another port is no NAT: many send from one and listen on another.
        (vec!["203.0.113.77:1234"], public, false),
        // It knows its outer address only for one of them, or has a name.
        (vec![inside], public, true),
        (vec![public], inside, true),
        (vec![inside], "terminal.invalid", true),
        (vec!["terminal.invalid"], inside, true),
        (vec!["terminal.invalid"], "terminal.invalid", false),
        // Behind a proxy of its own: that proxy saw where it comes from.
        (vec![public, "10.0.0.5:5060;received=10.0.0.5"], inside, false),
        (vec![public, "10.0.0.5:5060;received=192.168.1.9"], inside, true),
        (vec![public, "10.0.0.5:5060"], inside, false),
    ] {
        let mut w = World::with_users(alg(Reliable));
        w.register_with("bob", BOB, ";expires=0");
        let ok = register(&mut w, NAT, &via, contact, &[]);
        assert_eq!(ok.status(), Some(200), "{via:?} {contact}: {}", text(&ok));
        assert_eq!(is_behind_nat(&mut w), expected, "{via:?} {contact}");
    }
}

fn wants(w: &mut World) -> bool {
    let sdp = line("2001:db8:2::99", 7000, "MSRP", "actpass", None, "a=msrp-cema\r\n");
    plan(w, &sdp).lines[0].decision.name() == "e2ae"
}

#[test]
fn what_is_wanted_is_kept_with_the_binding() {
    let register = |w: &mut World, headers: &[(&str, &str)]| {
        let ok = register(w, BOB, &[BOB], BOB, headers);
        assert_eq!(ok.status(), Some(200), "{}", text(&ok));
        ok
    };
    let mut w = World::with_users(alg(Reliable));
    assert!(!wants(&mut w));
    let asks = [("Security-Client", MEDIASEC), ("Require", "mediasec"), ("Proxy-Require", "mediasec")];
    let ok = register(&mut w, &asks);
    assert_eq!(ok.values("Security-Server").unwrap(), ["msrp-tls;mediasec", "bfcp-tls;mediasec"]);
    assert!(wants(&mut w));
    // It repeats what was agreed.
    let ok = register(&mut w, &[("Security-Verify", "msrp-tls;mediasec, bfcp-tls;mediasec")]);
    assert!(!ok.has("Security-Server"));
    assert!(wants(&mut w));
    // A new registration that does not speak of it.
    register(&mut w, &[]);
    assert!(!wants(&mut w));
    // Something else.
    register(&mut w, &[("Security-Client", "sdes-srtp;mediasec")]);
    assert!(!wants(&mut w));
}

/// A refresh is the same registration (RFC 3261 §10.2.4: the same Call-ID).
#[test]
fn a_refresh_changes_nothing() {
    let mut w = World::up(alg(Reliable));
    let ua = Ua::new("bob", BOB, "bob", "one");
    let mut client = DigestClient::new("bob", Password::new(b"bob-secret".to_vec())).unwrap();
    for cseq in 1..=5 {
        let mut m = w.request(&ua, Method::Register, "sip:example.com", cseq);
        if cseq <= 2 {
            m.push_back("Security-Client", MEDIASEC).unwrap();
        }
        let _ = client.authorize(&mut m, &mut SeededRandom::new(1));
        w.send(BOB, ACCESS, &m);
        let response = w.take(BOB);
        match response.status() {
            Some(401) => client.challenged(&response).unwrap(),
            status => assert_eq!(status, Some(200), "{}", text(&response)),
        }
        if cseq >= 2 {
            assert!(wants(&mut w), "{cseq}");
        }
    }
}

/// With the registrar elsewhere: what is agreed with the border stays there, and is kept.
#[test]
fn nothing_of_it_goes_to_a_registrar_or_further() {
    let mut config = alg(Reliable);
    config.registration = Registration::Forward { hop: uri(&format!("sip:{PEER}")), network: "core".into() };
    let mut w = World::up(config);
    let ua = Ua::new("alice", ALICE, "alice", "fwd");
    let mut path = None;
    for (cseq, status) in [(1, 401), (2, 200)] {
        let mut m = w.request(&ua, Method::Register, "sip:example.com", cseq);
        m.push_back("Security-Client", MEDIASEC).unwrap();
        m.push_back("Require", "mediasec").unwrap();
        m.push_back("Proxy-Require", "mediasec").unwrap();
        w.send(ALICE, ACCESS, &m);
        let onward = w.take_request(PEER, Method::Register);
        for header in ["Security-Client", "Proxy-Require"] {
            assert!(!onward.has(header), "{}", text(&onward));
        }
        assert_eq!(onward.values("Require").unwrap(), ["path"]);
        path = onward.header("Path").map(|p| p.into_owned());
        let mut answer = Message::response(&onward, status, "").unwrap();
        answer.push_back("Contact", "<sip:alice@192.0.2.20:5060>;expires=900").unwrap();
        w.send(PEER, CORE, &answer);
        let answer = w.take_status(ALICE, status);
        assert_eq!(answer.values("Security-Server").unwrap(), ["msrp-tls;mediasec", "bfcp-tls;mediasec"]);
    }
    let carol = Ua::new("carol@other.example", PEER, "alice", "in");
    let sdp = line("2001:db8:2::99", 7000, "MSRP", "actpass", None, "a=msrp-cema\r\n");
    let mut invite = with_sdp(w.request(&carol, Method::Invite, "sip:alice@192.0.2.20:5060", 1), &sdp);
    invite.push_back("Route", &path.unwrap()).unwrap();
    w.send(PEER, CORE, &invite);
    assert!(body(&w.take_request(ALICE, Method::Invite)).contains("a=3ge2ae:applied"));

    // Terminals repeat it in every request.
    let out = Ua::new("alice", ALICE, "dave@far.example", "out");
    let mut invite = w.request(&out, Method::Invite, "sip:dave@far.example", 1);
    invite.push_back("Security-Verify", MEDIASEC).unwrap();
    invite.push_back("Require", "mediasec").unwrap();
    invite.push_back("Proxy-Require", "mediasec").unwrap();
    w.send(ALICE, ACCESS, &invite);
    let onward = w.take_request(PEER, Method::Invite);
    for header in ["Security-Verify", "Require", "Proxy-Require"] {
        assert!(!onward.has(header), "{}", text(&onward));
    }
}
