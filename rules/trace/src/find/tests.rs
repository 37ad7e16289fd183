//! A test a rule, from messages as they are on the wire.

use crate::model::{Finding, Session, Weight};
use crate::{Ladder, Limits, Tracer};
use bytes::Bytes;
use carnet_capture::{Datagram, Event, Happening, Segment, Unreachable};
use std::net::SocketAddr;
use std::time::Duration;

/// A scene: what is said, at a time that goes on.
struct Scene {
    tracer: Tracer,
    now: Duration,
    number: u64,
}

const UE: &str = "192.0.2.10:5060";
const P1: &str = "192.0.2.1:5060";
const P2: &str = "198.51.100.1:5060";
const BOB: &str = "198.51.100.10:5060";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Scene {
    fn new() -> Self {
        Self {
            tracer: Tracer::new(Limits::default(), false),
            now: Duration::from_secs(1_795_770_000),
            number: 0,
        }
    }

    fn wait(&mut self, milliseconds: u64) -> &mut Self {
        self.now += Duration::from_millis(milliseconds);
        self
    }

    fn udp(&mut self, from: &str, to: &str, text: &str) -> &mut Self {
        self.wait(1);
        self.number += 1;
        let octets = Bytes::copy_from_slice(text.as_bytes());
        let (at, number) = (self.now, self.number);
        self.tracer.handle(Event::Datagram(Datagram {
            at,
            number,
            from: address(from),
            to: address(to),
            octets,
            missing: 0,
        }));
        self
    }

    fn tcp(&mut self, connection: u64, from: &str, to: &str, what: Happening) -> &mut Self {
        self.wait(1);
        self.number += 1;
        let (at, number) = (self.now, self.number);
        self.tracer.handle(Event::Segment(Segment {
            at,
            number,
            connection,
            from: address(from),
            to: address(to),
            what,
        }));
        self
    }

    fn open(&mut self, connection: u64, from: &str, to: &str) -> &mut Self {
        self.tcp(connection, from, to, Happening::Open).tcp(connection, to, from, Happening::Accepted)
    }

    fn says(&mut self, connection: u64, from: &str, to: &str, octets: &[u8]) -> &mut Self {
        self.tcp(connection, from, to, Happening::Data(Bytes::copy_from_slice(octets)))
    }

    fn ladder(&mut self) -> Ladder {
        std::mem::replace(self, Self::new()).tracer.finish()
    }

    /// The only session that is a call, or the only one.
    fn session(&mut self) -> Session {
        let mut ladder = self.ladder();
        if ladder.sessions.len() > 1 {
            ladder.sessions.retain(|session| session.kind == crate::Kind::Call);
        }
        assert_eq!(
            ladder.sessions.len(),
            1,
            "{:?}",
            ladder.sessions.iter().map(|s| &s.title).collect::<Vec<_>>()
        );
        ladder.sessions.remove(0)
    }

    fn worst(&mut self) -> Finding {
        self.session().findings.remove(0)
    }
}

fn sip(start: &str, branch: &str, cseq: &str, body: &str) -> String {
    let tag = if start.starts_with("SIP/2.0 100") || !start.starts_with("SIP") { "" } else { ";tag=2" };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{start}\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{branch}\r\nFrom: <sip:alice@a.example>;tag=1\r\n\
         To: <sip:bob@b.example>{tag}\r\nCall-ID: call-1\r\nCSeq: {cseq}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn invite(branch: &str, body: &str) -> String {
    sip("INVITE sip:bob@b.example SIP/2.0", branch, "1 INVITE", body)
}

fn answer(status: &str, branch: &str, body: &str) -> String {
    sip(&format!("SIP/2.0 {status}"), branch, "1 INVITE", body)
}

fn sdp(at: &str, proto: &str, lines: &str) -> String {
    let at = address(at);
    format!(
        "v=0\r\no=- 1234567 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=message {} {proto} *\r\n{lines}",
        at.port(),
        ip = at.ip()
    )
}

const TLS: &str = "TCP/TLS/MSRP";
const PLAIN: &str = "TCP/MSRP";
/// The offer of RFC 4567 §5.1.
const KEYS: &str = "a=key-mgmt:mikey AQAFgM0XflABAAAAAAAAAAAAAAsAyONQ6gAAAAAGEEoo2pee4hp2UaDX8ZE22YwKAAAPZG9uYWxkQGR1Y2suY29tAQAAAAAAAQAk0JKpgaVkDaawi9whVBtBt0KZ14ymNuu62+Nv3ozPLygwK/GbAV9iemnGUIZ19fWQUOSrzKTAv9zV\r\n";
const FINGERPRINT: &str = "a=fingerprint:SHA-256 01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F:20\r\n";
const MEDIA_A: &str = "192.0.2.10:7000";
const MEDIA_B: &str = "198.51.100.10:8000";

/// alice calls bob directly: offer, 200, ACK.
fn call(offer: &str, answered: &str) -> Scene {
    let mut scene = Scene::new();
    scene.udp(UE, BOB, &invite("a", offer)).udp(BOB, UE, &answer("200 OK", "a", answered)).udp(
        UE,
        BOB,
        &sip("ACK sip:bob@b.example SIP/2.0", "b", "1 ACK", ""),
    );
    scene
}

fn sealed_call() -> Scene {
    let offer = sdp(MEDIA_A, TLS, &format!("a=setup:actpass\r\n{FINGERPRINT}"));
    call(&offer, &sdp(MEDIA_B, TLS, &format!("a=setup:passive\r\n{FINGERPRINT}")))
}

#[track_caller]
fn assert_finds(finding: &Finding, rule: &str, words: &[&str]) {
    assert_eq!(finding.rule, rule, "{finding:?}");
    for word in words {
        assert!(finding.what.contains(word) || finding.advice.contains(word), "{word} is not in {finding:?}");
    }
}

/// ClientHello of TLS 1.2 with nothing special.
fn client_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0, 0xa8, 1, 0]);
    handshake(1, &body)
}

fn server_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([8; 32]);
    body.extend([0, 0xc0, 0x2b, 0]);
    handshake(2, &body)
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![22, 3, 3];
    out.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend([kind, 0]);
    out.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    out.extend(body);
    out
}

#[test]
fn an_invite_that_nobody_answers() {
    let mut scene = Scene::new();
    let text = invite("a", "");
    for wait in [0, 500, 1000, 2000] {
        scene.wait(wait).udp(UE, P1, &text);
    }
    let finding = scene.worst();
    assert_finds(&finding, "invite-unanswered", &[P1, "never answered", "4 times", "in 3.503 s"]);
    assert_eq!(finding.weight, Weight::Failure);
    // The network may say why.
    scene.udp(UE, P1, &text);
    let (at, by) = (scene.now, address(P1).ip());
    let said = Unreachable {
        at,
        number: 9,
        by,
        from: address(UE),
        to: address(P1),
        protocol: 17,
        why: "nobody listens at the port",
    };
    scene.tracer.handle(Event::Unreachable(said));
    assert_finds(&scene.worst(), "invite-unanswered", &["nobody listens at the port"]);
}

#[test]
fn the_hop_that_is_silent_is_the_last_one() {
    let mut scene = Scene::new();
    scene.udp(UE, P1, &invite("a", "")).udp(P1, UE, &answer("100 Trying", "a", "")).udp(
        P1,
        P2,
        &invite("b", ""),
    );
    assert_finds(&scene.worst(), "invite-unanswered", &[P2]);
}

#[test]
fn who_refused_first_is_told_with_his_reason() {
    let mut scene = Scene::new();
    let refusal = answer("488 Not Acceptable Here", "b", "")
        .replace("Content-Length", "Warning: 305 b \"No TLS\"\r\nContent-Length");
    scene.udp(UE, P1, &invite("a", "")).udp(P1, BOB, &invite("b", "")).udp(BOB, P1, &refusal).udp(
        P1,
        UE,
        &answer("488 Not Acceptable Here", "a", ""),
    );
    assert_finds(&scene.worst(), "invite-refused", &[BOB, "488", "No TLS", "a=setup"]);
    scene.udp(UE, BOB, &invite("a", "")).udp(BOB, UE, &answer("486 Busy Here", "a", ""));
    assert_eq!(scene.worst().weight, Weight::Warning);
    scene.udp(UE, BOB, &invite("a", "")).udp(BOB, UE, &answer("407 Proxy Authentication Required", "a", ""));
    assert_finds(&scene.worst(), "invite-refused", &["password"]);
}

#[test]
fn a_call_that_is_never_taken() {
    let mut scene = Scene::new();
    scene.udp(UE, BOB, &invite("a", "")).udp(BOB, UE, &answer("180 Ringing", "a", ""));
    assert_finds(&scene.worst(), "invite-open", &["it rang there"]);
    scene.udp(UE, BOB, &invite("a", "")).udp(BOB, UE, &answer("180 Ringing", "a", ""));
    scene.udp(UE, BOB, &sip("CANCEL sip:bob@b.example SIP/2.0", "a", "1 CANCEL", ""));
    scene.udp(BOB, UE, &answer("487 Request Terminated", "a", ""));
    let finding = scene.worst();
    assert_eq!((finding.rule, finding.weight), ("invite-refused", Weight::Note));
    assert!(finding.what.contains("given up by"), "{finding:?}");
}

#[test]
fn a_registration_with_the_wrong_password() {
    let mut scene = Scene::new();
    let register = |branch: &str| sip("REGISTER sip:b.example SIP/2.0", branch, "1 REGISTER", "");
    let refusal = |branch: &str| sip("SIP/2.0 401 Unauthorized", branch, "1 REGISTER", "");
    scene.udp(UE, P1, &register("a")).udp(P1, UE, &refusal("a"));
    assert_finds(&scene.worst(), "register-refused", &["none came"]);
    scene.udp(UE, P1, &register("a")).udp(P1, UE, &refusal("a")).udp(UE, P1, &register("b")).udp(
        P1,
        UE,
        &refusal("b"),
    );
    assert_finds(&scene.worst(), "register-refused", &["did not take the password of bob@b.example"]);
    scene.udp(UE, P1, &register("a")).udp(P1, UE, &sip("SIP/2.0 200 OK", "a", "1 REGISTER", ""));
    assert_finds(&scene.worst(), "verdict", &["accepted"]);
    scene.udp(UE, P1, &register("a"));
    assert_finds(&scene.worst(), "register-refused", &["never answered"]);
}

#[test]
fn roles_that_do_not_fit() {
    for (ours, theirs, words) in [
        ("active", "active", "both want"),
        ("passive", "passive", "both wait"),
        ("actpass", "actpass", "leaves open"),
    ] {
        let line = |setup: &str| format!("a=setup:{setup}\r\n{FINGERPRINT}");
        let finding = call(&sdp(MEDIA_A, TLS, &line(ours)), &sdp(MEDIA_B, TLS, &line(theirs))).worst();
        assert_finds(&finding, "setup-conflict", &[words, BOB]);
    }
}

/// alice, a host on the way that changes the offer, bob.
fn changed(before: &str, after: &str) -> Scene {
    let mut scene = Scene::new();
    scene.udp(UE, P1, &invite("a", before)).udp(P1, BOB, &invite("b", after));
    scene.udp(BOB, P1, &answer("180 Ringing", "b", "")).udp(P1, UE, &answer("180 Ringing", "a", ""));
    scene
}

#[test]
fn who_touched_the_keys_is_named() {
    let offer = sdp(MEDIA_A, TLS, KEYS);
    let finding = changed(&offer, &sdp(P1, TLS, "")).worst();
    assert_finds(&finding, "key-mgmt-lost", &[P1, "took the key exchange"]);
    let other = KEYS.replace("AQAFgM0X", "AQAFgM0Y");
    assert_finds(&changed(&offer, &sdp(P1, TLS, &other)).worst(), "key-mgmt-lost", &["altered"]);
    // A gateway's address is another, the keys are the same: nothing to object to.
    assert_finds(
        &changed(&offer, &sdp(P1, TLS, KEYS)).session().findings[0].clone(),
        "ticket-time",
        &["another time"],
    );
}

/// Who was called calls back: what it offers is its own, and nothing that it had to pass on.
#[test]
fn who_calls_back_has_altered_nothing() {
    let other = KEYS.replace("AQAFgM0X", "AQAFgM0Y");
    let mut scene = changed(&sdp(MEDIA_A, TLS, KEYS), &sdp(P1, TLS, KEYS));
    scene.udp(BOB, P1, &answer("200 OK", "b", &sdp(MEDIA_B, TLS, ""))).udp(
        P1,
        UE,
        &answer("200 OK", "a", &sdp(P1, TLS, "")),
    );
    scene.udp(BOB, P1, &invite("c", &sdp(MEDIA_B, TLS, &other))).udp(
        P1,
        UE,
        &invite("d", &sdp(P1, TLS, &other)),
    );
    scene.udp(UE, P1, &answer("200 OK", "d", &sdp(MEDIA_A, TLS, KEYS))).udp(
        P1,
        BOB,
        &answer("200 OK", "c", &sdp(P1, TLS, KEYS)),
    );
    let session = scene.session();
    let lost: Vec<_> = session.findings.iter().filter(|found| found.rule == "key-mgmt-lost").collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn who_touched_fingerprint_or_transport_is_named() {
    let offer = sdp(MEDIA_A, TLS, FINGERPRINT);
    assert_finds(
        &changed(&offer, &sdp(P1, TLS, "")).worst(),
        "fingerprint-lost",
        &[P1, "took the fingerprint"],
    );
    let other = FINGERPRINT.replace("01:02", "FF:02");
    assert_finds(
        &changed(&offer, &sdp(P1, TLS, &other)).worst(),
        "fingerprint-lost",
        &["can read what passes"],
    );
    let plain = changed(&offer, &sdp(P1, PLAIN, FINGERPRINT)).worst();
    assert_finds(&plain, "transport-altered", &["made TCP/MSRP of TCP/TLS/MSRP", "nothing is sealed"]);
    assert_eq!(plain.weight, Weight::Failure);
    let edge = format!("{FINGERPRINT}a=3ge2ae:requested\r\n");
    let session = changed(&sdp(MEDIA_A, TLS, &edge), &sdp(P1, PLAIN, &edge)).session();
    let found = session.findings.iter().find(|f| f.rule == "transport-altered").unwrap();
    assert_eq!(found.weight, Weight::Note);
}

#[test]
fn tls_that_nothing_binds() {
    let mut scene = Scene::new();
    scene.udp(UE, BOB, &invite("a", &sdp(MEDIA_A, TLS, ""))).udp(BOB, UE, &answer("180 Ringing", "a", ""));
    assert_finds(&scene.worst(), "no-binding", &["neither a=key-mgmt nor a=fingerprint"]);
}

#[test]
fn clocks_and_errors_of_mikey() {
    let mut scene = Scene::new();
    scene.udp(UE, BOB, &invite("a", &sdp(MEDIA_A, TLS, KEYS))).udp(BOB, UE, &answer("180 Ringing", "a", ""));
    // The message of the RFC was made in 2006.
    assert_finds(&scene.worst(), "ticket-time", &["2006-10-20T13:43:06.000Z"]);
    // Version 1, type ERROR, an ERR payload: authentication failure.
    let error = carnet_wire::base64::encode(&[1, 6, 12, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    let line = format!("a=key-mgmt:mikey {error}\r\n");
    scene.udp(UE, BOB, &invite("a", &sdp(MEDIA_A, TLS, FINGERPRINT))).udp(
        BOB,
        UE,
        &answer("180 Ringing", "a", &sdp(MEDIA_B, TLS, &line)),
    );
    assert_finds(&scene.worst(), "mikey-error", &["authentication failure"]);
    scene.udp(UE, BOB, &invite("a", &sdp(MEDIA_A, TLS, "a=key-mgmt:mikey AQ==\r\n"))).udp(
        BOB,
        UE,
        &answer("180 Ringing", "a", ""),
    );
    assert_finds(&scene.worst(), "mikey-error", &["cannot be read"]);
}

#[test]
fn connections_that_do_not_come_about() {
    let client = "192.0.2.10:40000";
    let mut scene = sealed_call();
    scene.tcp(1, client, MEDIA_B, Happening::Open).tcp(1, MEDIA_B, client, Happening::Reset);
    assert_finds(&scene.worst(), "tcp-refused", &[MEDIA_B, "nobody listens there", BOB]);
    let mut scene = sealed_call();
    scene.tcp(1, client, MEDIA_B, Happening::Open);
    scene.wait(1000).tcp(1, client, MEDIA_B, Happening::OpenAgain);
    assert_finds(&scene.worst(), "tcp-silent", &[MEDIA_B, "2 times", "It is the address that"]);
    let mut scene = sealed_call();
    scene.wait(9000).udp(UE, BOB, &sip("BYE sip:bob@b.example SIP/2.0", "c", "2 BYE", ""));
    scene.udp(BOB, UE, &sip("SIP/2.0 200 OK", "c", "2 BYE", ""));
    assert_finds(&scene.worst(), "no-connection", &["calling side"]);
}

#[test]
fn handshakes_that_fail() {
    let client = "192.0.2.10:40000";
    let mut scene = sealed_call();
    scene.open(1, client, MEDIA_B).says(1, client, MEDIA_B, &client_hello()).tcp(
        1,
        MEDIA_B,
        client,
        Happening::Finished,
    );
    assert_finds(&scene.worst(), "tls-silent", &["never answered the ClientHello", MEDIA_B]);
    for (code, name) in [(40, "handshake_failure"), (115, "unknown_psk_identity"), (42, "bad_certificate")] {
        let mut scene = sealed_call();
        scene.open(1, client, MEDIA_B).says(1, client, MEDIA_B, &client_hello());
        scene.says(1, MEDIA_B, client, &[21, 3, 3, 0, 2, 2, code]);
        assert_finds(&scene.worst(), "tls-alert", &[name, "broke the handshake off"]);
    }
    let mut scene = sealed_call();
    scene.open(1, client, MEDIA_B).tcp(1, client, MEDIA_B, Happening::Finished);
    assert_finds(&scene.worst(), "tls-missing", &["never began TLS"]);
    let mut scene = sealed_call();
    scene.open(1, client, MEDIA_B).says(1, client, MEDIA_B, MSRP.as_bytes());
    assert_finds(&scene.worst(), "tls-missing", &["plain although both ends agreed"]);
}

#[test]
fn a_certificate_of_somebody_else() {
    let client = "192.0.2.10:40000";
    let mut scene = sealed_call();
    scene.open(1, client, MEDIA_B).says(1, client, MEDIA_B, &client_hello()).says(
        1,
        MEDIA_B,
        client,
        &server_hello(),
    );
    scene.says(1, MEDIA_B, client, &handshake(11, &[0, 0, 6, 0, 0, 3, 1, 2, 3]));
    // SHA-256 of the three octets, by sha256sum.
    assert_finds(
        &scene.worst(),
        "certificate",
        &["SHA-256 03:90:58:C6", "none that a description announced"],
    );
}

const MSRP: &str = "MSRP abcd SEND\r\nTo-Path: msrp://b:8000/x;tcp\r\nFrom-Path: msrp://a:7000/y;tcp\r\nMessage-ID: 1\r\n\
                    Byte-Range: 1-2/2\r\nContent-Type: text/plain\r\n\r\nhi\r\n-------abcd$\r\n";

#[test]
fn msrp_that_is_refused_and_msrp_that_is_not() {
    let client = "192.0.2.10:40000";
    let plain =
        || call(&sdp(MEDIA_A, PLAIN, "a=setup:active\r\n"), &sdp(MEDIA_B, PLAIN, "a=setup:passive\r\n"));
    let reply = |status: &str| {
        format!(
            "MSRP abcd {status}\r\nTo-Path: msrp://a:7000/y;tcp\r\nFrom-Path: msrp://b:8000/x;tcp\r\n-------abcd$\r\n"
        )
    };
    let mut scene = plain();
    scene.open(1, client, MEDIA_B).says(1, client, MEDIA_B, MSRP.as_bytes()).says(
        1,
        MEDIA_B,
        client,
        reply("481 No").as_bytes(),
    );
    assert_finds(&scene.worst(), "msrp-error", &["481", "no such session"]);
    let mut scene = plain();
    scene.open(1, client, MEDIA_B).says(1, client, MEDIA_B, MSRP.as_bytes()).says(
        1,
        MEDIA_B,
        client,
        reply("200 OK").as_bytes(),
    );
    let session = scene.session();
    assert_finds(&session.findings[0], "verdict", &["in the clear"]);
    // What people say is not shown.
    assert!(session.entries.iter().all(|entry| !entry.text.contains("\r\nhi\r\n")));
}

#[test]
fn a_sealed_session_is_said_to_be_one() {
    let client = "192.0.2.10:40000";
    let mut scene = sealed_call();
    scene.open(1, client, MEDIA_B).says(1, client, MEDIA_B, &client_hello()).says(
        1,
        MEDIA_B,
        client,
        &server_hello(),
    );
    scene.says(1, client, MEDIA_B, &[23, 3, 3, 0, 4, 1, 2, 3, 4]).says(
        1,
        MEDIA_B,
        client,
        &[21, 3, 3, 0, 2, 1, 0],
    );
    let finding = scene.worst();
    assert_finds(&finding, "verdict", &["Nothing went wrong", "by certificates", "one connection"]);
    // The same hello on two connections: two hops.
    let gateway = "203.0.113.5:9000";
    let mut scene = sealed_call();
    scene.open(1, client, MEDIA_B).open(2, gateway, "203.0.113.9:9");
    for (connection, from, to) in [(1, client, MEDIA_B), (2, gateway, "203.0.113.9:9")] {
        scene.says(connection, from, to, &client_hello()).says(connection, to, from, &server_hello());
    }
    assert_finds(&scene.worst(), "verdict", &["passed 2 hops", "07070707"]);
}

const GATEWAY: &str = "203.0.113.2:2944";
const BORDER: &str = "203.0.113.1:2944";

#[test]
fn gateways_that_refuse_or_are_silent() {
    let add = "MEGACO/3 [203.0.113.1]:2944\nTransaction=7{Context=${Add=${Media{Stream=1{LocalControl{Mode=SendReceive}}}}}}";
    let mut scene = Scene::new();
    scene.udp(BORDER, GATEWAY, add).udp(
        GATEWAY,
        BORDER,
        "MEGACO/3 [203.0.113.2]:2944\nReply=7{Context=${Error=510{\"no ports\"}}}",
    );
    assert_finds(&scene.worst(), "h248-error", &["510", "no ports", "no more room"]);
    scene.udp(BORDER, GATEWAY, add).wait(500).udp(BORDER, GATEWAY, add);
    assert_finds(&scene.worst(), "h248-silent", &["Add C=$", "2 times", GATEWAY]);
    // Who looks whether anything is there is told that nothing is.
    let audit = "MEGACO/3 [203.0.113.1]:2944\nTransaction=8{Context=*{AuditValue=*{Audit{}}}}";
    scene.udp(BORDER, GATEWAY, audit).udp(
        GATEWAY,
        BORDER,
        "MEGACO/3 [203.0.113.2]:2944\nReply=8{Context=*{AuditValue=*{Error=431{\"none\"}}}}",
    );
    assert_finds(&scene.worst(), "verdict", &["every request was answered"]);
}

/// A gateway tells of the end of a connection while it is told to give the context back.
#[test]
fn what_is_told_of_a_context_that_goes_is_no_fault() {
    let notify =
        "MEGACO/3 [203.0.113.2]:2944\nTransaction=9{Context=5{Notify=ip/1{ObservedEvents=1{g/cause}}}}";
    let refusal = "MEGACO/3 [203.0.113.1]:2944\nReply=9{Context=5{Notify=ip/1{Error=430{\"gone\"}}}}";
    let mut scene = Scene::new();
    scene.udp(GATEWAY, BORDER, notify).udp(BORDER, GATEWAY, refusal);
    assert_finds(&scene.worst(), "h248-error", &["430"]);
    scene.udp(BORDER, GATEWAY, "MEGACO/3 [203.0.113.1]:2944\nTransaction=7{Context=5{Subtract=*}}");
    scene.udp(GATEWAY, BORDER, notify).udp(BORDER, GATEWAY, refusal);
    scene.udp(GATEWAY, BORDER, "MEGACO/3 [203.0.113.2]:2944\nReply=7{Context=5{Subtract=ip/1}}");
    assert_eq!(scene.worst().rule, "verdict");
    // And whoever is told of it asks again to be sure; the first time it must have been given.
    let subtract =
        |id: u32| format!("MEGACO/3 [203.0.113.1]:2944\nTransaction={id}{{Context=5{{Subtract=*}}}}");
    let unknown =
        |id: u32| format!("MEGACO/3 [203.0.113.2]:2944\nReply={id}{{Context=5{{Error=411{{\"none\"}}}}}}");
    scene.udp(BORDER, GATEWAY, &subtract(7)).udp(
        GATEWAY,
        BORDER,
        "MEGACO/3 [203.0.113.2]:2944\nReply=7{Context=5{Subtract=ip/1}}",
    );
    scene.udp(BORDER, GATEWAY, &subtract(8)).udp(GATEWAY, BORDER, &unknown(8));
    assert_eq!(scene.worst().rule, "verdict");
    scene.udp(BORDER, GATEWAY, &subtract(7)).udp(GATEWAY, BORDER, &unknown(7));
    assert_finds(&scene.worst(), "h248-error", &["411"]);
}

#[test]
fn a_media_proxy_that_refuses() {
    let mut scene = Scene::new();
    scene.udp(
        "192.0.2.5:4000",
        "192.0.2.6:22222",
        "5_1 d7:command5:offer7:call-id1:c8:from-tag1:a3:sdp5:v=0\r\ne",
    );
    scene.udp("192.0.2.6:22222", "192.0.2.5:4000", "5_1 d12:error-reason7:no room6:result5:errore");
    assert_finds(&scene.worst(), "ng-error", &["no room"]);
}

#[test]
fn other_requests_and_messages_nobody_can_read() {
    let mut scene = Scene::new();
    let options = |branch| sip("OPTIONS sip:bob@b.example SIP/2.0", branch, "1 OPTIONS", "");
    scene.udp(UE, P1, &options("a")).udp(P1, UE, &sip("SIP/2.0 503 Busy", "a", "1 OPTIONS", ""));
    assert_finds(&scene.worst(), "request-refused", &["503", "overloaded"]);
    scene.udp(UE, P1, &options("a")).wait(500).udp(UE, P1, &options("a"));
    assert_finds(&scene.worst(), "request-refused", &["never answered OPTIONS"]);
    scene.udp(UE, P1, &options("a").replace("CSeq: 1 OPTIONS", "CSeq: x OPTIONS")).udp(
        P1,
        UE,
        &sip("SIP/2.0 200 OK", "a", "1 OPTIONS", ""),
    );
    assert_finds(&scene.worst(), "unreadable", &["carnet inspect"]);
}

/// Every rule has a name of its own.
#[test]
fn names_are_unique() {
    let mut names: Vec<_> = super::RULES.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), super::RULES.len());
}

/// Both hang up at the same time: each knows the dialog no more when the other's BYE comes.
#[test]
fn byes_that_cross_are_no_fault() {
    let bye = |branch: &str| sip("BYE sip:bob@b.example SIP/2.0", branch, "2 BYE", "");
    let gone = |branch: &str| sip("SIP/2.0 481 Gone", branch, "2 BYE", "");
    let offer = sdp(MEDIA_A, PLAIN, "");
    let mut scene = call(&offer, "");
    scene.udp(UE, BOB, &bye("x")).udp(BOB, UE, &bye("y")).udp(BOB, UE, &gone("x")).udp(UE, BOB, &gone("y"));
    assert_eq!(scene.worst().rule, "verdict");
    let mut scene = call(&offer, "");
    scene.udp(UE, BOB, &bye("x")).udp(BOB, UE, &gone("x"));
    assert_finds(&scene.worst(), "request-refused", &["481"]);
}

#[test]
fn who_is_let_in_at_the_second_attempt_is_no_fault() {
    let client = "192.0.2.10:40000";
    let mut scene = sealed_call();
    scene.tcp(1, client, MEDIA_B, Happening::Open).tcp(1, MEDIA_B, client, Happening::Reset);
    scene.open(2, "192.0.2.10:40001", MEDIA_B);
    scene.says(2, "192.0.2.10:40001", MEDIA_B, &client_hello()).says(
        2,
        MEDIA_B,
        "192.0.2.10:40001",
        &server_hello(),
    );
    let session = scene.session();
    assert!(session.findings.iter().all(|finding| finding.weight == Weight::Note), "{:?}", session.findings);
    assert_eq!(session.findings[0].rule, "tcp-refused");
}

/// A host that gets one ClientHello and sends another for the same line ends TLS.
#[test]
fn other_hellos_for_one_line_are_told() {
    let mut other = client_hello();
    other[11] = 9;
    let (client, gateway) = ("192.0.2.10:40000", "203.0.113.5:9000");
    let mut scene = sealed_call();
    for (connection, from, hello) in [(1, client, client_hello()), (2, gateway, other)] {
        scene.open(connection, from, MEDIA_B).says(connection, from, MEDIA_B, &hello);
        scene.says(connection, MEDIA_B, from, &server_hello());
    }
    assert_finds(
        &scene.worst(),
        "verdict",
        &["2 TLS sessions with other ClientHellos", "can read what passes"],
    );
}
