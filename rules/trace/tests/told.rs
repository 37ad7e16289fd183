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
