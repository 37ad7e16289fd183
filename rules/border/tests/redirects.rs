//! 3xx responses of a next hop, where the policy is to follow them (RFC 3261 §16.5, §16.7).

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::Route;
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{Message, Method};
use common::*;

const OTHER: &str = "198.51.100.98:5060";

fn world(redirects: usize) -> World {
    let mut config = alg(Reliable);
    config.limits.redirects = redirects;
    let hop = |hop: &str| Some(uri(&format!("sip:{hop}")));
    config.routes = vec![
        Route { domain: "other.example".into(), network: "core".into(), hop: hop(OTHER) },
        Route { domain: "away.example".into(), network: "core".into(), hop: hop(PEER) },
    ];
    World::with_users(config)
}

fn call(w: &mut World) -> (Ua, Message) {
    let alice = Ua::new("alice", ALICE, "carol", "call-1");
    let invite = w.request(&alice, Method::Invite, "sip:carol@away.example", 1);
    w.send(ALICE, ACCESS, &with_sdp(invite.clone(), &msrps("192.0.2.20", 2855, "actpass")));
    (alice, invite)
}

/// A 302 of whoever is at `at` to these Contacts.
fn redirect(w: &mut World, at: &str, invite: &Message, tag: &str, contacts: &[&str]) {
    let ua = Ua::answering("carol", at, invite, tag);
    let mut moved = ua.answer(invite, 302, None);
    moved.remove_all("Contact");
    for contact in contacts {
        moved.push_back("Contact", contact).unwrap();
    }
    w.send(at, CORE, &moved);
    w.take_request(at, Method::Ack);
}

/// The call is made where the 3xx leads, and the caller hears nothing of it.
#[test]
fn a_redirection_is_followed() {
    let mut w = world(5);
    let (mut alice, _) = call(&mut w);
    let at_peer = w.take_request(PEER, Method::Invite);
    redirect(&mut w, PEER, &at_peer, "p1", &["<sip:carol@other.example>"]);
    let at_other = w.take_request(OTHER, Method::Invite);
    assert_eq!(at_other.request_uri().unwrap().to_string(), "sip:carol@other.example");
    assert_eq!(at_other.call_id().unwrap(), "call-1");
    let carol = Ua::answering("carol", OTHER, &at_other, "o1");
    let answer = msrps("2001:db8:2::30", 7394, "passive");
    w.send(OTHER, CORE, &carol.answer(&at_other, 200, Some(&answer)));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(OTHER, Method::Ack);
    assert_eq!(w.gateway.contexts(), 1, "what was reserved for the first target is given back");
    let bye = w.request(&alice, Method::Bye, &contact(&ok), 2);
    w.send(ALICE, ACCESS, &bye);
    let bye = w.take_request(OTHER, Method::Bye);
    w.send(OTHER, CORE, &carol.answer(&bye, 200, None));
    w.take_status(ALICE, 200);
    assert_eq!(w.gateway.contexts(), 0);
}

/// Without the policy it passes as it came.
#[test]
fn a_redirection_passes() {
    let mut w = world(0);
    call(&mut w);
    let at_peer = w.take_request(PEER, Method::Invite);
    redirect(&mut w, PEER, &at_peer, "p1", &["<sip:carol@other.example>"]);
    let moved = w.take_status(ALICE, 302);
    assert_eq!(moved.header("Contact").as_deref(), Some("<sip:carol@other.example>"));
    assert!(w.try_take(OTHER).is_none());
}

/// By preference, one after the other; the refusal of the last is what the caller hears.
#[test]
fn several_targets_are_tried_in_order() {
    let mut w = world(5);
    call(&mut w);
    let at_peer = w.take_request(PEER, Method::Invite);
    let targets = ["<sip:second@other.example>;q=0.3", "<sip:first@other.example>;q=0.9"];
    redirect(&mut w, PEER, &at_peer, "p1", &targets);
    for (name, tag, status) in [("first", "o1", 486), ("second", "o2", 404)] {
        let at_other = w.take_request(OTHER, Method::Invite);
        assert_eq!(at_other.request_uri().unwrap().user(), Some(name));
        assert!(w.try_take(OTHER).is_none() && w.try_take(ALICE).is_none());
        let carol = Ua::answering("carol", OTHER, &at_other, tag);
        w.send(OTHER, CORE, &carol.answer(&at_other, status, None));
        w.take_request(OTHER, Method::Ack);
    }
    w.take_status(ALICE, 486);
    assert_eq!(w.gateway.contexts(), 0);
}

/// Back to where it was, to the border itself, to nowhere, or to nobody: nobody is asked twice, and the caller is
/// told nothing of the inside.
#[test]
fn what_leads_nowhere_ends() {
    for contacts in [
        &["<sip:carol@away.example>"][..],
        &["<sip:carol@other.example>", "<sip:CAROL2@away.example>"],
        &["<sip:x@198.51.100.1:5060>"],
        &["<sip:carol@nowhere.example>"],
        &[],
    ] {
        let mut w = world(5);
        call(&mut w);
        let mut asked = 0;
        // Whoever is asked says the same.
        loop {
            let Some((at, invite)) = [PEER, OTHER]
                .into_iter()
                .find_map(|at| Some((at, w.try_take(at).filter(|m| *m.method() == Method::Invite)?)))
            else {
                break;
            };
            asked += 1;
            assert!(asked < 10, "{contacts:?}");
            redirect(&mut w, at, &invite, &format!("t{asked}"), contacts);
        }
        let refusal = w.take_status(ALICE, 480);
        assert!(!refusal.has("Contact"), "{contacts:?}");
        assert_eq!(w.gateway.contexts(), 0);
    }
}

/// However many more there are, so many are tried and no more.
#[test]
fn redirections_are_bounded() {
    let mut w = world(3);
    call(&mut w);
    let mut asked = 0;
    while let Some(invite) = [PEER, OTHER].into_iter().find_map(|at| Some((at, w.try_take(at)?))) {
        let (at, invite) = invite;
        asked += 1;
        let next = format!("<sip:number{asked}@other.example>");
        redirect(&mut w, at, &invite, &format!("t{asked}"), &[&next]);
    }
    assert_eq!(asked, 4);
    w.take_status(ALICE, 480);
}

/// The caller gives up in the middle of it.
#[test]
fn a_redirected_call_is_cancelled() {
    let mut w = world(5);
    let (_, invite) = call(&mut w);
    let at_peer = w.take_request(PEER, Method::Invite);
    redirect(&mut w, PEER, &at_peer, "p1", &["<sip:a@other.example>", "<sip:b@other.example>"]);
    let at_other = w.take_request(OTHER, Method::Invite);
    let carol = Ua::answering("carol", OTHER, &at_other, "o1");
    w.send(OTHER, CORE, &carol.answer(&at_other, 180, None));
    w.take_status(ALICE, 180);
    let mut cancel = Message::request(Method::Cancel, invite.request_uri().unwrap().clone());
    for name in ["Via", "From", "To", "Call-ID"] {
        cancel.copy_lines(name, &invite);
    }
    cancel.push_back("CSeq", "1 CANCEL").unwrap();
    w.send(ALICE, ACCESS, &cancel);
    w.take_status(ALICE, 200);
    let cancelled = w.take_request(OTHER, Method::Cancel);
    w.send(OTHER, CORE, &Message::response(&cancelled, 200, "").unwrap());
    w.send(OTHER, CORE, &carol.answer(&at_other, 487, None));
    w.take_status(ALICE, 487);
    assert!(w.try_take(OTHER).is_none_or(|m| *m.method() == Method::Ack));
    assert!(w.try_take(OTHER).is_none(), "nobody else is asked");
    assert_eq!(w.gateway.contexts(), 0);
}
