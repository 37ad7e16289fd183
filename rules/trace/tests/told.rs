//! What nodes tell of themselves: one alone, and several of the same call.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use bytes::Bytes;
use carnet_trace::model::Happened;
use carnet_trace::{Ladder, Limits, Node, Peer, Protocol, Session, Telling, Tracer, Way, Weight, What};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a node has told, in order.
struct Scene {
    now: Duration,
    number: u64,
    told: Vec<Telling>,
}

impl Scene {
    fn new() -> Self {
        Self { now: Duration::from_secs(1_795_770_000), number: 0, told: Vec::new() }
    }

    fn put(&mut self, node: &Arc<Node>, what: What) -> &mut Self {
        self.now += Duration::from_millis(1);
        self.number += 1;
        self.told.push(Telling { at: self.now, number: self.number, node: node.clone(), what });
        self
    }

    fn says(
        &mut self,
        node: &Arc<Node>,
        sent: bool,
        local: &str,
        peer: &str,
        (protocol, way): (Protocol, Way),
        text: &str,
    ) -> &mut Self {
        let local: SocketAddr = local.parse().unwrap();
        let peer = Peer::Address(peer.parse().unwrap());
        let octets = Bytes::copy_from_slice(text.as_bytes());
        self.put(node, What::Message { protocol, sent, local: Some(local), peer, way, octets })
    }

    fn event(
        &mut self,
        node: &Arc<Node>,
        name: &str,
        level: &str,
        held: Option<u32>,
        fields: Value,
    ) -> &mut Self {
        let call_id = fields.get("call_id").and_then(Value::as_str).map(str::to_owned);
        let mut fields = fields.as_object().unwrap().clone();
        fields.remove("call_id");
        let event = Happened { event: name.into(), level: level.into(), call_id, fields };
        let held = held.map(|context| ("agw".to_owned(), context));
        self.put(node, What::Event { event: Box::new(event), held })
    }

    fn ladder(&self) -> Ladder {
        let mut tracer = Tracer::new(Limits::default(), false);
        for telling in &self.told {
            // As it comes from a node over the network.
            let again = Telling::from_json(&telling.to_json()).expect("what was written can be read");
            tracer.listen(&again);
        }
        tracer.finish()
    }

    fn only(&self) -> Session {
        let ladder = self.ladder();
        let titles: Vec<&str> = ladder.sessions.iter().map(|session| session.title.as_str()).collect();
        assert_eq!(ladder.sessions.len(), 1, "{titles:?}");
        ladder.sessions.into_iter().next().unwrap()
    }
}

const UDP: (Protocol, Way) = (Protocol::Sip, Way::Udp);
const H248: (Protocol, Way) = (Protocol::Control, Way::Udp);

fn invite(branch: &str, at: &str) -> String {
    format!(
        "INVITE sip:bob@x.example SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@x.example>;tag=1\r\nTo: <sip:bob@x.example>\r\nCall-ID: call-1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )
}

fn answer(branch: &str, at: &str, status: &str) -> String {
    format!(
        "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{branch}\r\nFrom: <sip:alice@x.example>;tag=1\r\n\
         To: <sip:bob@x.example>;tag=2\r\nCall-ID: call-1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )
}

const UE: &str = "192.0.2.10:5060";
const A: &str = "192.0.2.1:5060";
const B: &str = "198.51.100.1:5060";

/// Two borders that each tell: what went between them is there once, with both names; one repetition is one.
#[test]
fn what_one_sent_and_another_got_is_one_arrow() {
    let (a, b) = (Node::new("a", "IMS-ALG"), Node::new("b", "IBCF"));
    let mut scene = Scene::new();
    scene.says(&a, false, A, UE, UDP, &invite("1", UE));
    scene.says(&a, true, A, B, UDP, &invite("2", A)).says(&b, false, B, A, UDP, &invite("2", A));
    scene.says(&a, true, A, B, UDP, &invite("2", A)).says(&b, false, B, A, UDP, &invite("2", A));
    // The one that got it tells first: its clock is behind.
    let refused = answer("2", A, "486 Busy Here");
    scene.says(&a, false, A, B, UDP, &refused).says(&b, true, B, A, UDP, &refused);
    scene.says(&a, true, A, UE, UDP, &answer("1", UE, "486 Busy Here"));
    let session = scene.only();
    let told: Vec<(String, u32)> =
        session.entries.iter().map(|entry| (entry.label.clone(), entry.times)).collect();
    assert_eq!(session.entries.len(), 4, "{told:?}");
    let names: Vec<&str> = session.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["", "a", "b"]);
    let between = &session.entries[1];
    assert_eq!((between.times, between.from_host, between.to_host), (2, 1, 2));
    assert_eq!((between.from.to_string(), between.to.to_string()), (A.to_owned(), B.to_owned()));
    let finding = &session.findings[0];
    assert_eq!(finding.rule, "invite-refused");
    assert!(finding.what.starts_with("b (IBCF"), "{}", finding.what);
}

/// Over connections the one that is called sees a port that the caller has for a moment.
#[test]
fn connections_are_the_same_whatever_ports_they_have() {
    let (a, b) = (Node::new("a", "IMS-ALG"), Node::new("b", "IBCF"));
    let tcp = (Protocol::Sip, Way::Tcp);
    let mut scene = Scene::new();
    scene.says(&a, true, A, B, tcp, &invite("1", A)).says(
        &b,
        false,
        B,
        "192.0.2.1:41234",
        tcp,
        &invite("1", A),
    );
    let busy = answer("1", A, "486 Busy Here");
    scene.says(&b, true, B, "192.0.2.1:41234", tcp, &busy).says(&a, false, A, B, tcp, &busy);
    let session = scene.only();
    assert_eq!((session.entries.len(), session.hosts.len()), (2, 2));
    assert_eq!(session.entries[1].to.to_string(), A, "as it calls itself");
}

/// The control of a gateway, and what the gateway says of itself, belong to the call of the context.
#[test]
fn events_of_a_gateway_belong_to_the_call_of_its_context() {
    let (alg, agw) = (Node::new("alg", "IMS-ALG"), Node::new("agw", "IMS-AGW"));
    let (mgc, mg) = ("10.0.0.1:2944", "10.0.0.2:2944");
    let mut scene = Scene::new();
    let add = "MEGACO/3 <alg>\nTransaction = 7 { Context = $ { Add = $ , Add = $ } }";
    let reply = "MEGACO/3 <agw>\nReply = 7 { Context = 55 { Add = ip/1, Add = ip/2 } }";
    let subtract = "MEGACO/3 <alg>\nTransaction = 8 { Context = 55 { Subtract = * } }";
    let call = json!({ "call_id": "call-1", "context": 55, "gateway": "agw" });
    for round in 0..2 {
        // Another call, later, in a context of the same number.
        let call_id = format!("call-{round}");
        let of = |message: String| {
            message.replace("call-1", &call_id).replace("z9hG4bK", &format!("z9hG4bK{round}"))
        };
        scene.says(&alg, false, A, UE, UDP, &of(invite("1", UE)));
        let renumbered =
            |text: &str| text.replace("= 7", &format!("= {round}7")).replace("= 8", &format!("= {round}8"));
        scene.says(&alg, true, mgc, mg, H248, &renumbered(add)).says(
            &agw,
            false,
            mg,
            mgc,
            H248,
            &renumbered(add),
        );
        scene.event(&agw, "added", "info", Some(55), json!({ "context": 55, "local": "10.0.0.2:30000" }));
        scene.says(&agw, true, mg, mgc, H248, &renumbered(reply)).says(
            &alg,
            false,
            mgc,
            mg,
            H248,
            &renumbered(reply),
        );
        let mut reserved = call.clone();
        reserved["call_id"] = call_id.as_str().into();
        scene.event(&alg, "media-reserved", "info", Some(55), reserved.clone());
        scene.says(&alg, true, mgc, mg, H248, &renumbered(subtract));
        scene.event(&agw, "removed", "info", Some(55), json!({ "context": 55, "statistics.received": 2048 }));
        reserved["octets.caller.received"] = 2048.into();
        scene.event(&alg, "media-released", "info", Some(55), reserved);
    }
    let ladder = scene.ladder();
    let titles: Vec<_> = ladder.sessions.iter().map(|s| (s.title.clone(), s.entries.len())).collect();
    assert_eq!(ladder.sessions.len(), 2, "{titles:?}");
    for session in &ladder.sessions {
        let labels: Vec<&str> = session.entries.iter().map(|entry| entry.label.as_str()).collect();
        assert_eq!(session.entries.len(), 8, "{labels:?}");
        assert!(
            labels.contains(&"added: 10.0.0.2:30000") && labels.contains(&"removed: 2.0 KiB"),
            "{labels:?}"
        );
    }
}

/// Tickets tie what a key management service says to the call that uses them; what fails there alone is a failure.
#[test]
fn what_failed_is_said_in_the_words_of_the_node() {
    let (alg, kms) = (Node::new("alg", "IMS-ALG"), Node::new("kms.example", "KMS"));
    let mut scene = Scene::new();
    scene.event(
        &kms,
        "request-refused",
        "warn",
        None,
        json!({ "source": "192.0.2.10", "status": 403, "reason": "not a user" }),
    );
    let session = scene.only();
    assert_eq!(session.title, "192.0.2.10 asks kms.example");
    assert_eq!(session.findings[0].weight, Weight::Failure);
    assert!(session.findings[0].what.contains("403 not a user"), "{}", session.findings[0].what);
    let mut scene = Scene::new();
    scene.says(&alg, false, A, UE, UDP, &invite("1", UE));
    scene.event(
        &alg,
        "tls-failed",
        "warn",
        None,
        json!({ "call_id": "call-1", "reason": "fingerprint_mismatch" }),
    );
    let session = scene.only();
    let finding = session.findings.iter().find(|finding| finding.rule == "event").unwrap();
    assert_eq!(finding.weight, Weight::Failure);
    assert!(finding.what.contains("fingerprint_mismatch"), "{}", finding.what);
    assert!(session.entries[usize::from(finding.entry == Some(1))].bad);
}

#[test]
fn what_cannot_be_read_goes_without_its_octets() {
    let a = Node::new("a", "IBCF");
    let mut scene = Scene::new();
    scene.says(&a, false, A, UE, UDP, "no SIP at all, password hunter2");
    scene.says(&a, false, A, UE, H248, "MEGACO/3 hunter2");
    for telling in &scene.told {
        assert!(!telling.to_json().to_string().contains("hunter2"));
    }
    // And what is nothing of ours is not taken for it.
    for bad in [
        json!({}),
        json!({ "number": 1, "at": [1], "node": "x" }),
        json!([]),
        json!({ "number": 1, "at": [1, 2], "node": "x", "protocol": "sip", "peer": "no", "sent": true, "transport": "UDP" }),
    ] {
        assert!(Telling::from_json(&bad).is_none(), "{bad}");
    }
}

const PEER: &str = "198.51.100.10:5060";

fn sdp(at: &str) -> String {
    let at: SocketAddr = at.parse().unwrap();
    format!(
        "v=0\r\no=- 1234567 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=message {} TCP/MSRP *\r\na=setup:actpass\r\n",
        at.port(),
        ip = at.ip()
    )
}

fn with(message: &str, body: &str) -> String {
    let length = format!("Content-Type: application/sdp\r\nContent-Length: {}", body.len());
    message.replace("Content-Length: 0", &length) + body
}

/// A call that a border tells of, and that was answered.
fn answered(alg: &Arc<Node>) -> Scene {
    let mut scene = Scene::new();
    let (theirs, ours) = (sdp("192.0.2.10:7000"), sdp("198.51.100.10:8000").replace("actpass", "passive"));
    scene.says(alg, false, A, UE, UDP, &with(&invite("1", UE), &theirs));
    scene.event(
        alg,
        "media-reserved",
        "info",
        Some(55),
        json!({ "call_id": "call-1", "index": 0, "gateway": "agw", "context": 55,
            "addresses.caller": "192.0.2.2:30000", "addresses.callee": "198.51.100.2:30001" }),
    );
    scene.says(alg, true, B, PEER, UDP, &with(&invite("2", B), &theirs));
    scene.says(alg, false, B, PEER, UDP, &with(&answer("2", B, "200 OK"), &ours));
    scene.says(alg, true, A, UE, UDP, &with(&answer("1", UE, "200 OK"), &ours));
    scene
}

fn released(scene: &mut Scene, node: &Arc<Node>, caller: u64, callee: u64) {
    scene.event(
        node,
        "media-released",
        "info",
        Some(55),
        json!({ "call_id": "call-1", "gateway": "agw", "context": 55,
            "octets.caller.received": caller, "octets.callee.received": callee }),
    );
}

#[track_caller]
fn worst_is(scene: &Scene, rule: &str, words: &[&str]) {
    let session = scene.only();
    let finding = &session.findings[0];
    assert_eq!(finding.rule, rule, "{:#?}", session.findings);
    let said = format!("{} {}", finding.what, finding.advice);
    for word in words {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    assert!(!finding.advice.is_empty());
    assert!(!session.findings.iter().any(|finding| finding.what.contains("Nothing went wrong")));
}

/// What a gateway says of connections is not passed over in silence: whose, at which address, what to do.
#[test]
fn connections_that_did_not_come_about_are_told_with_their_addresses() {
    let (alg, agw) = (Node::new("alg", "IMS-ALG"), Node::new("agw", "IMS-AGW"));
    let notice = |side: &str, reason: &str| json!({ "call_id": "call-1", "index": 0, "side": side, "what": "tcpbcc/BNCChange", "reason": reason });
    let mut scene = answered(&alg);
    scene.event(&alg, "media-notice", "warn", None, notice("callee", "connect_failed"));
    worst_is(
        &scene,
        "media-failed",
        &["alg", "gateway agw", "the callee 198.51.100.10:8000", "a=setup:passive"],
    );
    let mut scene = answered(&alg);
    scene.event(&alg, "media-notice", "warn", None, notice("caller", "nobody_connected"));
    released(&mut scene, &alg, 0, 0);
    worst_is(&scene, "media-failed", &["192.0.2.2:30000", "the caller", "firewall"]);
    assert!(!scene.only().findings.iter().any(|finding| finding.rule == "no-media"), "said once");
    // That one side went as the other did is no cause.
    let mut scene = answered(&alg);
    scene.event(&alg, "media-notice", "info", None, notice("caller", "far_side_failed"));
    assert_eq!(scene.only().findings[0].rule, "verdict");
    // A gateway alone, whose border was not asked.
    let mut scene = Scene::new();
    scene.event(&agw, "added", "info", Some(55), json!({ "context": 55, "local": "10.0.0.2:30000" }));
    let ended = json!({ "context": 55, "termination": "ip/1/core/2", "cause": "connect_failed" });
    scene.event(&agw, "disconnected", "info", Some(55), ended);
    worst_is(&scene, "media-failed", &["agw", "ip/1/core/2"]);
}

/// Answered, and nothing passed, or one way only: at which border, and between which two it stopped.
#[test]
fn calls_without_media_are_not_well() {
    let (alg, ibcf) = (Node::new("alg", "IMS-ALG"), Node::new("ibcf", "IBCF"));
    let mut scene = answered(&alg);
    released(&mut scene, &alg, 0, 0);
    worst_is(&scene, "no-media", &["no octet of its media passed alg", "firewalls"]);
    let mut scene = answered(&alg);
    released(&mut scene, &alg, 517, 0);
    worst_is(&scene, "no-media", &["the caller sent and nothing came back", "517 B from the caller", "MTU"]);
    let mut scene = answered(&alg);
    released(&mut scene, &alg, 0, 90);
    worst_is(&scene, "no-media", &["nothing came from the caller"]);
    let mut scene = answered(&alg);
    released(&mut scene, &alg, 517, 90);
    assert_eq!(scene.only().findings[0].rule, "verdict");
    // A gateway that does not count.
    let mut scene = answered(&alg);
    scene.event(&alg, "media-released", "info", Some(55), json!({ "call_id": "call-1", "gateway": "agw" }));
    assert_eq!(scene.only().findings[0].rule, "verdict");
    // Which end had come, where the gateway tells.
    let agw = Node::new("agw", "IMS-AGW");
    let mut scene = answered(&alg);
    scene.event(&agw, "added", "info", Some(55), json!({ "context": 55, "local": "192.0.2.2:30000" }));
    let came = json!({ "context": 55, "termination": "ip/1/1/2", "peer": "198.51.100.10:41000" });
    scene.event(&agw, "connected", "info", Some(55), came);
    released(&mut scene, &alg, 0, 0);
    worst_is(&scene, "no-media", &["connected to gateways: 198.51.100.10:41000"]);
    // Two borders: it stopped between them.
    let mut scene = answered(&alg);
    scene.says(&ibcf, false, PEER, B, UDP, &with(&invite("2", B), &sdp("192.0.2.10:7000")));
    released(&mut scene, &alg, 517, 0);
    released(&mut scene, &ibcf, 0, 0);
    worst_is(&scene, "no-media", &["at alg", "517 B from the caller", "at ibcf", "0 B from the caller"]);
}

/// Who takes a call down for a reason has not hung up.
#[test]
fn a_bye_with_a_reason_is_no_good_end() {
    let alg = Node::new("alg", "IMS-ALG");
    let bye = |reason: &str| {
        format!(
            "BYE sip:alice@x.example SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK9\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@x.example>;tag=2\r\nTo: <sip:alice@x.example>;tag=1\r\nCall-ID: call-1\r\nCSeq: 1 BYE\r\n\
             Reason: {reason}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let mut scene = answered(&alg);
    scene.says(&alg, false, B, PEER, UDP, &bye("SIP;cause=480;text=\"Media connection failed\""));
    worst_is(&scene, "taken-down", &["Media connection failed", "firewall"]);
    let mut scene = answered(&alg);
    scene.says(&alg, false, B, PEER, UDP, &bye("Q.850;cause=16;text=\"Terminated\""));
    assert_ne!(scene.only().findings[0].rule, "taken-down");
}

/// An error that a controller can expect is none over TCP either, where an end is seen with another port than it listens at.
#[test]
fn control_over_connections_is_matched_by_its_ends() {
    let (mgc, mg) = (Node::new("ibcf", "IBCF"), Node::new("trgw", "TrGW"));
    let tcp = (Protocol::Control, Way::Tcp);
    let (at, from) = ("10.0.0.1:2944", "10.0.0.2:40001");
    let mut scene = Scene::new();
    let register = "MEGACO/3 <trgw>\nTransaction = 5 { Context = - { ServiceChange = ROOT { Services { Method = Restart, Reason = \"901 Cold\" } } } }";
    let taken = "MEGACO/3 <ibcf>\nReply = 5 { Context = - { ServiceChange = ROOT } }";
    let look = "MEGACO/3 <ibcf>\nTransaction = 6 { Context = * { Subtract = * } }";
    let none = "MEGACO/3 <trgw>\nReply = 6 { Context = * { Error = 431 { \"No TerminationID matched a wildcard\" } } }";
    // The gateway knows no address of its own that others see.
    let gateway = |scene: &mut Scene, sent: bool, text: &str| {
        let octets = Bytes::copy_from_slice(text.as_bytes());
        let peer = Peer::Address(at.parse().unwrap());
        scene.put(&mg, What::Message { protocol: tcp.0, sent, local: None, peer, way: tcp.1, octets });
    };
    gateway(&mut scene, true, register);
    scene.says(&mgc, false, at, from, tcp, register).says(&mgc, true, at, from, tcp, taken);
    gateway(&mut scene, false, taken);
    scene.says(&mgc, true, at, from, tcp, look);
    gateway(&mut scene, false, look);
    gateway(&mut scene, true, none);
    scene.says(&mgc, false, at, from, tcp, none);
    scene.now += Duration::from_secs(60);
    scene.says(&mgc, true, at, from, tcp, &look.replace("= 6", "= 7")).says(
        &mgc,
        false,
        at,
        from,
        tcp,
        &none.replace("= 6", "= 7"),
    );
    for session in &scene.ladder().sessions {
        assert!(
            session.findings.iter().all(|finding| finding.rule == "verdict"),
            "{}: {:#?}",
            session.title,
            session.findings
        );
    }
}

/// Where a border went on to in vain is told with what to do, and its word in the answer leads further than the status.
#[test]
fn a_next_hop_that_is_away_is_named() {
    let alg = Node::new("alg", "IMS-ALG");
    let mut scene = Scene::new();
    scene.says(&alg, false, A, UE, UDP, &invite("1", UE));
    let vain = json!({ "call_id": "call-1", "method": "INVITE", "sent_to": "sip:nowhere.example", "reason": "the target has no address" });
    scene.event(&alg, "unanswered", "warn", None, vain);
    let refusal = answer("1", UE, "500 Server Internal Error")
        .replace("Content-Length", "Warning: 399 alg \"the target has no address\"\r\nContent-Length");
    scene.says(&alg, true, A, UE, UDP, &refusal);
    let ended = json!({ "call_id": "call-1", "cause": "unreachable" });
    scene.event(&alg, "call-ended", "warn", None, ended);
    worst_is(&scene, "invite-refused", &["500", "the target has no address", "DNS"]);
    let session = scene.only();
    let told: Vec<_> = session.findings.iter().filter(|finding| finding.rule == "event").collect();
    assert_eq!(told.len(), 1, "that it ended is said: {told:#?}");
    assert!(
        told[0].what.contains("INVITE went on to sip:nowhere.example") && told[0].advice.contains("next-hop")
    );
}

/// What a key management service refuses is told whole, and with what to do by its status.
#[test]
fn refusals_of_keys_say_what_to_do() {
    let kms = Node::new("kms.example", "KMS");
    let reason = "user `sip:alice@a.example`: the message does not verify: the request has a wrong MAC, as long as it is";
    for (status, words) in
        [(401, "kms user list"), (403, "policy show"), (503, "disk"), (200, "date -u"), (429, "rate")]
    {
        let mut scene = Scene::new();
        let refused =
            json!({ "source": "192.0.2.10", "operation": "issue", "status": status, "reason": reason });
        scene.event(&kms, "request-refused", "warn", None, refused);
        let session = scene.only();
        let finding = &session.findings[0];
        assert!(finding.what.contains(reason), "{}", finding.what);
        assert!(finding.advice.contains(words), "{status}: {}", finding.advice);
    }
}
