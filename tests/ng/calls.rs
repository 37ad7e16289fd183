//! A call with MSRP through Kamailio: what the ends get to see, what passes between them, and what becomes
//! of it when lines come and go.

use crate::lab_kamailio::{ALICE, Agent, BOB, GATEWAY, KAMAILIO, SIP, Sdp, Shape, Stage, holds, payloads};
use serde_json::json;
use std::process::Command;

pub const THERE: &str = "what the caller says";
pub const BACK: &str = "what the callee says";

/// A description with these media sections.
pub fn describe(agent: &Agent, sections: &[String]) -> String {
    let ip = agent.address();
    let head = format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n");
    head + &sections.concat()
}

/// The path of an agent for MSRP.
pub fn path(agent: &Agent, scheme: &str, port: u16) -> String {
    format!("{scheme}://{}:{port}/{}1;tcp", agent.address(), agent.host)
}

/// MSRP in clear. `setup` is its role in TCP.
pub fn msrp(agent: &Agent, setup: &str, cema: bool) -> String {
    let port = if setup == "active" { 9 } else { 7000 };
    let mut text = format!(
        "m=message {port} TCP/MSRP *\r\na=accept-types:*\r\na=path:{}\r\na=setup:{setup}\r\n",
        path(agent, "msrp", port)
    );
    if cema {
        text += "a=msrp-cema\r\n";
    }
    text
}

/// Alice calls, bob answers; both descriptions have the gateway where the other one's address was. What bob
/// and alice got.
#[track_caller]
pub fn connected(stage: &mut Stage, alice: &Agent, bob: &Agent) -> (Sdp, Sdp) {
    let offer = describe(alice, &[msrp(alice, "actpass", true)]);
    let offered = stage.offer(alice.host, "bob", bob.host, &offer);
    offered.at(0, GATEWAY);
    let answered = stage.answer(bob.host, alice.host, &describe(bob, &[msrp(bob, "active", true)]));
    answered.at(0, GATEWAY);
    (offered, answered)
}

/// Octets pass both ways over connections to what each got: bob connects, alice waits or connects too.
#[track_caller]
pub fn talk(stage: &mut Stage, (offered, answered): &(Sdp, Sdp), alice: &str, bob: &str) {
    match answered.value(0, "a=setup:") {
        Some("active") => stage.listen(alice, None),
        Some("passive") => stage.connect(alice, &answered.socket(0), None),
        other => panic!("{other:?} in an answer"),
    }
    stage.connect(bob, &offered.socket(0), None);
    chat(stage, alice, bob);
}

/// Octets pass both ways on what there is.
#[track_caller]
pub fn chat(stage: &mut Stage, alice: &str, bob: &str) {
    stage.say(bob, BACK);
    stage.hear(alice, BACK);
    stage.say(alice, THERE);
    stage.hear(bob, THERE);
}

/// The gateway stands between them: neither sees the other's address, and every octet goes to it.
#[test]
fn msrp_goes_through_the_gateway() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let (at_alice, at_bob) = (stage.lab.capture("alice", "public"), stage.lab.capture("bob", "public"));
    let both = connected(&mut stage, &ALICE, &BOB);
    for (sdp, of) in [(&both.0, ALICE), (&both.1, BOB)] {
        // RFC 6714 §4.2: what tells the ends that addresses were changed stays.
        assert_eq!(
            sdp.value(0, "a=path:"),
            Some(&*path(&of, "msrp", if of.host == "bob" { 9 } else { 7000 }))
        );
        assert!(sdp.value(0, "a=msrp-cema").is_some(), "{}", sdp.0);
    }
    assert_eq!(Stage::contexts(&stage.lab, "agw"), Some(1));
    talk(&mut stage, &both, "alice", "bob");
    stage.hang_up("alice");
    stage.next("alice", "closed");
    stage.next("bob", "closed");
    stage.lab.end_captures();
    for (capture, own) in [(at_alice, ALICE), (at_bob, BOB)] {
        let talked = crate::lab::tshark(&capture, "tcp.len > 0", &["ip.src", "ip.dst"], &[]);
        assert!(!talked.is_empty());
        for pair in talked {
            assert!(pair.contains(&own.address()) && pair.contains(&GATEWAY.to_owned()), "{pair:?}");
        }
        let octets = payloads(&capture);
        assert!(holds(&octets, THERE) && holds(&octets, BACK));
    }
}

/// Real MSRP of some size, each way: as it was sent, octet for octet.
#[test]
fn large_messages_arrive_as_they_were_sent() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let (offered, answered) = connected(&mut stage, &ALICE, &BOB);
    let own = |own: String, peer: String| json!({"own": own, "peer": peer});
    let (a, b) = (path(&ALICE, "msrp", 7000), path(&BOB, "msrp", 9));
    let with = |base: serde_json::Value, more: serde_json::Value| {
        let mut all = base.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        serde_json::Value::Object(all)
    };
    match answered.value(0, "a=setup:") {
        Some("active") => {
            stage.tell("alice", &with(own(a.clone(), b.clone()), json!({"do": "listen", "port": 7000})));
            stage.next("alice", "listening");
        }
        _ => stage.tell(
            "alice",
            &with(own(a.clone(), b.clone()), json!({"do": "connect", "to": answered.socket(0)})),
        ),
    }
    stage.tell("bob", &with(own(b, a), json!({"do": "connect", "to": offered.socket(0)})));
    for (from, to, size) in [("bob", "alice", 300_000), ("alice", "bob", 700_001)] {
        stage.tell(from, &json!({"do": "message", "size": size}));
        let sent = stage.next(from, "sent");
        let got = stage.next(to, "message");
        assert_eq!(sent["answered"], true, "{sent}");
        assert_eq!((&got["size"], &got["sha256"]), (&sent["size"], &sent["sha256"]));
    }
    stage.hang_up("bob");
}

/// A line is added to a call and goes again; what remains goes on unharmed.
#[test]
fn lines_come_and_go() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let both = connected(&mut stage, &ALICE, &BOB);
    talk(&mut stage, &both, "alice", "bob");

    // A second line, offered by the other side.
    let bfcp = |agent: &Agent, setup: &str| {
        let port = if setup == "active" { 9 } else { 7002 };
        format!(
            "m=application {port} TCP/BFCP *\r\na=floorctrl:c-only\r\na=setup:{setup}\r\n\
             a=connection:new\r\n{}",
            if agent.host == "bob" { "" } else { "a=confid:1\r\na=userid:2\r\n" }
        )
    };
    let more = describe(&BOB, &[msrp(&BOB, "active", true), bfcp(&BOB, "passive")]);
    let offered = stage.reoffer("bob", "alice", &more);
    offered.at(0, GATEWAY).at(1, GATEWAY);
    assert_eq!(offered.socket(0), both.1.socket(0), "what stands stays where it is");
    let answer = describe(&ALICE, &[msrp(&ALICE, "passive", true), bfcp(&ALICE, "active")]);
    let answered = stage.answer("alice", "bob", &answer);
    answered.at(0, GATEWAY).at(1, GATEWAY);
    assert_eq!(answered.socket(0), both.0.socket(0), "what stands stays where it is");
    assert_eq!(Stage::contexts(&stage.lab, "agw"), Some(2));
    chat(&mut stage, "alice", "bob");

    // It goes again.
    let less = describe(&BOB, &[msrp(&BOB, "active", true), "m=application 0 TCP/BFCP *\r\n".into()]);
    let offered = stage.reoffer("bob", "alice", &less);
    assert_eq!(offered.section(1)[0], "m=application 0 TCP/BFCP *");
    let none = "m=application 0 TCP/BFCP *\r\n".to_owned();
    stage.answer("alice", "bob", &describe(&ALICE, &[msrp(&ALICE, "passive", true), none]));
    stage
        .lab
        .until(crate::network::PATIENCE, "its context goes", |lab| Stage::contexts(lab, "agw") == Some(1));
    chat(&mut stage, "alice", "bob");
    stage.hang_up("alice");
}

/// What neither server carries goes through as it is.
#[test]
fn requests_without_media_are_left_alone() {
    let Some(mut stage) = Stage::new(Shape::default(), &[ALICE, BOB]) else { return };
    let text = describe(&ALICE, &["m=text 5000 UDP/UNHEARD *\r\na=x:y\r\n".into()]);
    let offered = stage.offer("alice", "bob", "bob", &text);
    assert_eq!(offered.0, text, "octet for octet");
    let text = describe(&BOB, &["m=text 5002 UDP/UNHEARD *\r\n".into()]);
    assert_eq!(stage.answer("bob", "alice", &text).0, text, "octet for octet");
    assert_eq!(Stage::contexts(&stage.lab, "agw"), Some(0));
    stage.hang_up("bob");
    let log = stage.lab.output("kamailio", "err");
    let complaint = log.lines().find(|line| line.contains(" ERROR: "));
    assert_eq!(complaint, None, "Kamailio at {SIP} has nothing to say");
}

/// The file in the documentation is one that Kamailio takes, with rtpengine and without.
#[test]
fn the_documented_files_are_good() {
    let without = KAMAILIO.replace("#!define WITH_RTPENGINE\n", "");
    assert_ne!(without, KAMAILIO);
    for text in [KAMAILIO, &without] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kamailio.cfg");
        std::fs::write(&file, text).unwrap();
        let Ok(output) = Command::new("kamailio").arg("-c").arg("-f").arg(&file).output() else {
            assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "kamailio is required here");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains(" ERROR: "), "{said}");
    }
}
