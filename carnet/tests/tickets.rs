//! Tickets whose time is over, at a client that is called. The caller is played by hand, with a
//! ticket of the real key server.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_mikey::{Profile, key_mgmt, request_init};
use carnet_net::OsRandom;
use common::{Kms, PATIENCE, Running, free, identity, message};
use serde_json::Value;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

/// The value of `a=key-mgmt` that offers bob a ticket of this lifetime, `age` after it was made.
fn offer(kms: &Kms, lifetime: Duration, age: Duration) -> String {
    let profile = Profile { lifetime, ..Profile::default() };
    let (alice, bob) = ("sip:alice@x.example", identity("sip:bob@x.example"));
    let (me, server, key) = (identity(alice), identity("sip:kms.example"), kms.psk("alice"));
    let now = SystemTime::now();
    let (pending, question) =
        request_init(&profile, now, &mut OsRandom, &me, alice.as_bytes(), &key, &server, &bob);
    let ticket = pending.response(&kms.ask("ticketrequest", &question), SystemTime::now()).unwrap();
    let (_, octets) = ticket.offer(&profile, now - age, &mut OsRandom);
    key_mgmt::print(&octets)
}

/// Calls bob at `at`; the last of his responses, a final one unless he rings.
fn call(at: SocketAddr, name: &str, key_mgmt: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let here = stream.local_addr().unwrap();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 9 TCP/TLS/MSRP *\r\n\
         a=setup:active\r\na=path:msrps://127.0.0.1:9/alice;tcp\r\na=accept-types:*\r\na=msrp-cema\r\n\
         a=key-mgmt:{key_mgmt}\r\n"
    );
    let invite = format!(
        "INVITE sip:bob@x.example SIP/2.0\r\nVia: SIP/2.0/TCP {here};branch=z9hG4bK{name}\r\n\
         From: <sip:alice@x.example>;tag={name}\r\nTo: <sip:bob@x.example>\r\nCall-ID: {name}\r\n\
         CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:alice@{here};transport=tcp>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    stream.write_all(invite.as_bytes()).unwrap();
    loop {
        let response = message(&mut stream);
        if !response.starts_with("SIP/2.0 100 ") {
            return response;
        }
    }
}

/// A bob who is there to be called.
fn listening(kms: &Kms) -> (Running, SocketAddr) {
    let at = free();
    let settings = format!("listen = \"{at}\"\nproxy = \"sip:127.0.0.1:9;transport=tcp\"\n");
    let bob = kms.client("bob", &settings, &["listen"]);
    // An offer made before he started could be a replay, and is refused as one: wait until he
    // answers something.
    let until = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(at) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "bob does not listen: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let here = stream.local_addr().unwrap();
    let options = format!(
        "OPTIONS sip:bob@x.example SIP/2.0\r\nVia: SIP/2.0/TCP {here};branch=z9hG4bKup\r\n\
         From: <sip:alice@x.example>;tag=up\r\nTo: <sip:bob@x.example>\r\nCall-ID: up\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(options.as_bytes()).unwrap();
    message(&mut stream);
    (bob, at)
}

#[test]
fn a_ticket_rings_while_its_time_lasts() {
    let kms = Kms::start();
    let (bob, at) = listening(&kms);
    let minute = Duration::from_secs(60);

    let good = call(at, "good", &offer(&kms, minute, Duration::ZERO));
    assert!(good.starts_with("SIP/2.0 180 "), "{good}");
    bob.line("\"event\":\"incoming\"");

    // The ticket is over when the call comes.
    let short = offer(&kms, Duration::from_secs(1), Duration::ZERO);
    std::thread::sleep(Duration::from_secs(3));
    // The offer has been on the way for longer than clocks may differ.
    let kept = offer(&kms, minute, Duration::from_secs(301));
    for (name, value, error, sentence) in [
        ("over", short, "expired", "the ticket in the call is not valid at this time"),
        ("kept", kept, "clock", "the clocks of the two sides are too far apart"),
    ] {
        let refused = call(at, name, &value);
        assert!(refused.starts_with("SIP/2.0 488 "), "{refused}");
        assert!(refused.contains("Key management failed"), "{refused}");
        let ended: Value = serde_json::from_str(&bob.line("\"event\":\"ended\"")).unwrap();
        assert_eq!(ended["error"], error);
        assert!(ended["reason"].as_str().unwrap().contains(sentence), "{ended}");
    }
}
