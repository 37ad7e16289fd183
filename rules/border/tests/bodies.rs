//! Session descriptions in every wrapping, and those that shall not pass.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_h248::association::Transport::Reliable;
use carnet_sip::{Message, Method};
use common::*;

const PIDF: &str = "<?xml version=\"1.0\"?>\r\n<presence entity=\"pres:alice@example.com\">\r\n  <geopriv/>\r\n</presence>\r\n";

fn offer() -> String {
    msrps("192.0.2.20", 2855, "actpass")
}

fn answer() -> String {
    msrps("192.0.2.30", 7394, "passive")
}

/// A description and a location, as an emergency call has it (RFC 6442 §4.1).
fn located(sdp: &str) -> String {
    format!(
        "--0xA 1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\nX-Kept:  as it is \r\n\r\n{sdp}\r\n\
         --0xA 1\r\nContent-Type: application/pidf+xml\r\nContent-ID: <target123@alice.example.com>\r\n\r\n\
         {PIDF}\r\n--0xA 1--\r\n",
        sdp.len()
    )
}

const MIXED: &str = "Multipart/Mixed ; boundary=\"0xA 1\"";

fn invite(w: &mut World, body: &str, kind: &str) -> (Ua, Message) {
    let alice = Ua::new("alice", ALICE, "bob", "call-b");
    let mut invite = w.request(&alice, Method::Invite, "sip:bob@example.com", 1);
    invite.set_body(body.to_owned(), Some(kind)).unwrap();
    (alice, invite)
}

/// The border has put the gateway's address and port in, and changed nothing else.
#[track_caller]
fn relocated(sdp: &str, port: u16) -> String {
    let ip = sdp.lines().find_map(|l| l.strip_prefix("c=IN IP4 ")).unwrap();
    let old = sdp.lines().find_map(|l| l.strip_prefix("m=message ")).unwrap().split(' ').next().unwrap();
    sdp.replace(&format!("c=IN IP4 {ip}"), "c=IN IP4 203.0.113.10")
        .replace(&format!("m=message {old} "), &format!("m=message {port} "))
}

#[test]
fn a_location_travels_beside_the_description() {
    let mut w = World::with_users(alg(Reliable));
    let (mut alice, invite) = invite(&mut w, &located(&offer()), MIXED);
    w.send(ALICE, ACCESS, &invite);
    let at_bob = w.take_request(BOB, Method::Invite);
    assert_eq!(body(&at_bob), located(&relocated(&offer(), 30004)), "nothing else changes, lengths do");
    assert_eq!(at_bob.header("Content-Type").as_deref(), Some(MIXED));
    assert_eq!(at_bob.header("Content-Length").unwrap(), at_bob.body().len().to_string());
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    let mut ok = bob.answer(&at_bob, 200, None);
    let wrapped = format!(
        "--o\r\nContent-Type: multipart/alternative;boundary=i\r\n\r\n--i\r\n\r\nwords\r\n--i\r\nc: application/sdp\r\n\
         Content-Disposition: session;handling=required\r\n\r\n{}\r\n--i--\r\n--o--",
        answer()
    );
    ok.set_body(wrapped.clone(), Some("multipart/related;boundary=o")).unwrap();
    w.send(BOB, ACCESS, &ok);
    let ok = w.take_status(ALICE, 200);
    assert_eq!(body(&ok), wrapped.replace(&answer(), &relocated(&answer(), 30002)));
    assert!(w.gateway.state.values().flat_map(|c| c.values()).all(|t| t.mode == "SendReceive"));
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    let bye = w.request(&alice, Method::Bye, &contact(&ok), 2);
    w.send(ALICE, ACCESS, &bye);
    let at_bob = w.take_request(BOB, Method::Bye);
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, None));
    w.take_status(ALICE, 200);
    w.assert_empty();
}

/// A body without a description is none of the border's business.
#[test]
fn other_bodies_pass_as_they_came() {
    for (text, kind) in [
        (
            "--b\r\nContent-Type: application/pidf+xml\r\n\r\n<presence/>\r\n--b--",
            "multipart/mixed;boundary=b",
        ),
        (
            "--b\r\nContent-Type: application/sdp\r\nContent-Disposition: render\r\n\r\nv=0\r\n--b--",
            "multipart/mixed;boundary=b",
        ),
        ("v=0 application/sdp", "text/plain"),
    ] {
        let mut w = World::with_users(alg(Reliable));
        let (_, invite) = invite(&mut w, text, kind);
        w.send(ALICE, ACCESS, &invite);
        assert_eq!(body(&w.take_request(BOB, Method::Invite)), text);
        assert_eq!(w.gateway.contexts(), 0);
    }
}

#[test]
fn descriptions_that_cannot_be_read_do_not_pass() {
    let part = |headers: &str| format!("--b\r\n{headers}\r\n{}\r\n--b--", offer());
    let mixed = "multipart/mixed;boundary=b";
    let twice = part("Content-Type: application/sdp\r\n");
    let twice = twice.replace("--b--", &format!("--b\r\nc: Application/SDP\r\n\r\n{}\r\n--b--", offer()));
    for (what, sdp, kind, status) in [
        ("two", twice, mixed, 415),
        (
            "early session",
            part("Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n"),
            mixed,
            415,
        ),
        (
            "base64",
            part("Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n"),
            mixed,
            415,
        ),
        ("gzip", part("Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n"), mixed, 415),
        (
            "packed parts",
            part("Content-Type: multipart/mixed;boundary=c\r\nContent-Encoding: gzip\r\n"),
            mixed,
            415,
        ),
        ("signed", part("Content-Type: application/sdp\r\n"), "multipart/signed;boundary=b", 415),
        ("no end", part("Content-Type: application/sdp\r\n").replace("--b--", ""), mixed, 400),
        ("no boundary", part("Content-Type: application/sdp\r\n"), "multipart/mixed", 400),
        (
            "boundary behind LF",
            part("Content-Type: application/sdp\r\n").replace("\r\n--b--", "\n--b--"),
            mixed,
            400,
        ),
        ("wrong length", part("Content-Type: application/sdp\r\nContent-Length: 10\r\n"), mixed, 400),
        // Line ends smuggled into values: to another reader they are lines.
        ("CR", offer().replace("a=x-unknown", "a=x-unknown\ra=setup:active"), "application/sdp", 400),
        (
            "CR in m=",
            offer().replace(" TCP/TLS/MSRP *", " TCP/TLS/MSRP *\rm=message 9 TCP/MSRP *"),
            "application/sdp",
            400,
        ),
        (
            "CR in key-mgmt",
            offer().replace(KEY, &format!("{KEY}\ra=key-mgmt:mikey AAAA")),
            "application/sdp",
            400,
        ),
        ("CR CR LF", offer().replace("s=-\r\n", "s=-\r\r\n"), "application/sdp", 400),
        ("NUL", offer().replace("a=x-unknown", "a=x-un\0known"), "application/sdp", 400),
        ("blank line", offer().replace("s=-\r\n", "s=-\r\n\r\n"), "application/sdp", 400),
        ("port", offer().replace("m=message 2855", "m=message 70000"), "application/sdp", 400),
    ] {
        let mut w = World::with_users(alg(Reliable));
        let (_, invite) = invite(&mut w, &sdp, kind);
        w.send(ALICE, ACCESS, &invite);
        let refusal = w.take_status(ALICE, status);
        assert_eq!(refusal.has("Accept"), status == 415, "{what}");
        assert!(w.try_take(BOB).is_none(), "{what}");
        assert_eq!(w.gateway.contexts(), 0, "{what}");
        let mut ack = Message::request(Method::Ack, invite.request_uri().unwrap().clone());
        for name in ["Via", "From", "Call-ID"] {
            ack.copy_lines(name, &invite);
        }
        ack.copy_lines("To", &refusal);
        ack.push_back("CSeq", "1 ACK").unwrap();
        w.send(ALICE, ACCESS, &ack);
        w.assert_empty();
    }
}

/// LF alone ends a line of SDP (RFC 8866 §5 asks receivers to take it). It stays LF, the lines
/// it makes are seen as lines, and a line of the border's own ends the same way.
#[test]
fn lines_that_end_with_lf_are_lines() {
    let mut w = World::with_users(alg(Reliable));
    let sdp = offer().replace("\r\n", "\n").replace("c=IN IP4 192.0.2.20\n", "");
    let sdp = sdp.replace(" *\na=accept", " *\nc=IN IP4 192.0.2.20\na=accept");
    let (_, invite) = invite(&mut w, &sdp, "application/sdp");
    w.send(ALICE, ACCESS, &invite);
    assert_eq!(body(&w.take_request(BOB, Method::Invite)), relocated(&sdp, 30004));

    // A second media line hidden behind an LF is planned like any other.
    let mut w = World::with_users(alg(Reliable));
    let hidden = offer().replace("a=x-unknown\r\n", "a=x-unknown\nm=message 9 TCP/TLS/MSRP *\r\n");
    let (_, invite) = self::invite(&mut w, &hidden, "application/sdp");
    w.send(ALICE, ACCESS, &invite);
    w.take_status(ALICE, 488);
    assert!(w.try_take(BOB).is_none());
}

/// Only offers and answers are looked at: an INFO may carry what it likes.
#[test]
fn bodies_of_other_methods_pass() {
    let mut w = World::with_users(alg(Reliable));
    let (mut alice, first) = invite(&mut w, &offer(), "application/sdp");
    w.send(ALICE, ACCESS, &first);
    let at_bob = w.take_request(BOB, Method::Invite);
    let bob = Ua::answering("bob", BOB, &at_bob, "b1");
    w.send(BOB, ACCESS, &bob.answer(&at_bob, 200, Some(&answer())));
    let ok = w.take_status(ALICE, 200);
    alice.remote = ok.header("To").unwrap().into_owned();
    let ack = w.request(&alice, Method::Ack, &contact(&ok), 1);
    w.send(ALICE, ACCESS, &ack);
    w.take_request(BOB, Method::Ack);
    let asked = w.gateway.asked.len();
    for (n, method) in ["INFO", "MESSAGE", "FROBNICATE"].into_iter().enumerate() {
        let method = Method::parse(method).unwrap();
        let mut request = w.request(&alice, method.clone(), &contact(&ok), 2 + n as u32);
        request.set_body("--b garbled".to_owned(), Some("multipart/mixed;boundary=b")).unwrap();
        w.send(ALICE, ACCESS, &request);
        let there = w.take_request(BOB, method);
        assert_eq!(body(&there), "--b garbled");
        w.send(BOB, ACCESS, &bob.answer(&there, 200, None));
        w.take_status(ALICE, 200);
    }
    assert_eq!(w.gateway.asked.len(), asked);
}
