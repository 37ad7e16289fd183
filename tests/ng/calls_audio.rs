//! Audio and TCP media in one description: RTP goes through Debian's rtpengine, the rest through Carnet, and
//! neither touches what is the other's.

use crate::calls::{chat, describe, msrp};
use crate::lab_kamailio::{ALICE, Agent, BOB, GATEWAY, RTPENGINE, Sdp, Shape, Stage, calls};
use crate::network::PATIENCE;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const BOTH: Shape = Shape { rtpengine: true, second: false, script: None, kamailio: &[], carnet: &[] };

pub fn audio() -> String {
    "m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n".to_owned()
}

fn bfcp(setup: &str) -> String {
    let port = if setup == "active" { 9 } else { 7002 };
    format!("m=application {port} TCP/BFCP *\r\na=floorctrl:c-s\r\na=setup:{setup}\r\na=connection:new\r\n")
}

/// An RTP packet (RFC 3550 §5.1) with 160 octets of silence.
fn packet(number: u16, source: u32) -> Vec<u8> {
    let mut octets = vec![0x80, 0];
    octets.extend(number.to_be_bytes());
    octets.extend((u32::from(number) * 160).to_be_bytes());
    octets.extend(source.to_be_bytes());
    octets.resize(172, 0xff);
    octets
}

/// Both send until both have heard the other, each at the address that it was told.
fn voices(stage: &Stage, at_alice: &Sdp, at_bob: &Sdp, section: usize) {
    let open = |agent: &Agent, to: String| {
        stage.lab.inside(agent.host, move || {
            let socket = UdpSocket::bind((agent.address(), 4000)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            socket.connect(to).unwrap();
            socket
        })
    };
    let ends = [open(&ALICE, at_alice.socket(section)), open(&BOB, at_bob.socket(section))];
    let (began, mut heard, mut number) = (Instant::now(), [0, 0], 0);
    while heard.iter().any(|n| *n < 5) {
        assert!(began.elapsed() < PATIENCE, "heard {heard:?}");
        number += 1;
        let sources = [0xa11c_e000_u32, 0xb0b0_0000];
        for (end, source) in ends.iter().zip(sources) {
            // Refused while the other one is not there yet.
            let _ = end.send(&packet(number, source));
        }
        for (at, end) in ends.iter().enumerate() {
            let mut buffer = [0; 2000];
            if let Ok(n) = end.recv(&mut buffer) {
                assert_eq!(n, 172);
                assert_eq!(buffer[8..12], sources[1 - at].to_be_bytes(), "what the other one sent");
                heard[at] += 1;
            }
        }
    }
}

#[test]
fn audio_and_msrp_in_one_call() {
    let Some(mut stage) = Stage::new(BOTH, &[ALICE, BOB]) else { return };
    let offer = describe(&ALICE, &[audio(), msrp(&ALICE, "actpass", true)]);
    let offered = stage.offer("alice", "bob", "bob", &offer);
    offered.at(0, RTPENGINE).at(1, GATEWAY);
    assert_eq!((calls(&stage.lab, 2223), Stage::contexts(&stage.lab, "agw")), (Some(1), Some(1)));
    let answer = describe(&BOB, &[audio(), msrp(&BOB, "active", true)]);
    let answered = stage.answer("bob", "alice", &answer);
    answered.at(0, RTPENGINE).at(1, GATEWAY);
    voices(&stage, &answered, &offered, 0);
    stage.listen("alice", None);
    stage.connect("bob", &offered.socket(1), None);
    chat(&mut stage, "alice", "bob");
    stage.hang_up("alice");
}

/// rtpengine 10 takes every `m=application` for its own; the script of the documentation keeps that of TCP
/// from it.
#[test]
fn audio_msrp_and_bfcp_in_one_call() {
    let Some(mut stage) = Stage::new(BOTH, &[ALICE, BOB]) else { return };
    let offer = describe(&ALICE, &[bfcp("actpass"), audio(), msrp(&ALICE, "actpass", true)]);
    let offered = stage.offer("alice", "bob", "bob", &offer);
    offered.at(0, GATEWAY).at(1, RTPENGINE).at(2, GATEWAY);
    assert!(
        offered.section(0)[0].starts_with("m=application ") && offered.section(0)[0].contains(" TCP/BFCP")
    );
    assert!(offered.value(0, "a=setup:").is_some(), "{}", offered.0);
    let answer = describe(&BOB, &[bfcp("active"), audio(), msrp(&BOB, "active", true)]);
    let answered = stage.answer("bob", "alice", &answer);
    answered.at(0, GATEWAY).at(1, RTPENGINE).at(2, GATEWAY);
    voices(&stage, &answered, &offered, 1);
    stage.listen("alice", None);
    stage.connect("bob", &offered.socket(2), None);
    chat(&mut stage, "alice", "bob");
    stage.hang_up("bob");
}

/// MSRP is added to a call that was audio alone; the audio goes on where it was.
#[test]
fn msrp_is_added_to_audio() {
    let Some(mut stage) = Stage::new(BOTH, &[ALICE, BOB]) else { return };
    let offered = stage.offer("alice", "bob", "bob", &describe(&ALICE, &[audio()]));
    let answered = stage.answer("bob", "alice", &describe(&BOB, &[audio()]));
    let heard = (offered.at(0, RTPENGINE).socket(0), answered.at(0, RTPENGINE).socket(0));
    assert_eq!(Stage::contexts(&stage.lab, "agw"), Some(0), "nothing of it is Carnet's");
    let offered = stage.reoffer("bob", "alice", &describe(&BOB, &[audio(), msrp(&BOB, "actpass", true)]));
    let answered = stage.answer("alice", "bob", &describe(&ALICE, &[audio(), msrp(&ALICE, "active", true)]));
    offered.at(1, GATEWAY);
    answered.at(1, GATEWAY);
    assert_eq!((answered.socket(0), offered.socket(0)), heard);
    voices(&stage, &offered, &answered, 0);
    stage.listen("bob", None);
    stage.connect("alice", &offered.socket(1), None);
    chat(&mut stage, "bob", "alice");
    stage.hang_up("alice");
}

/// Audio alone is a call of rtpengine; MSRP alone never reaches it.
#[test]
fn each_has_its_own() {
    let Some(mut stage) = Stage::new(BOTH, &[ALICE, BOB]) else { return };
    crate::calls::connected(&mut stage, &ALICE, &BOB);
    assert_eq!((calls(&stage.lab, 2223), Stage::contexts(&stage.lab, "agw")), (Some(0), Some(1)));
    stage.hang_up("bob");
}

/// The five lines of docs/kamailio.md, in a script that knew rtpengine only.
#[test]
fn five_lines_beside_an_rtpengine() {
    let script = include_str!("kamailio/beside.cfg");
    assert_eq!(
        script.matches("set_rtpengine_set(\"0\", \"1\")").count() + script.matches("1 == udp").count(),
        4
    );
    let Some(mut stage) = Stage::new(Shape { script: Some(script), ..BOTH }, &[ALICE, BOB]) else { return };
    let offer = describe(&ALICE, &[audio(), msrp(&ALICE, "actpass", true)]);
    let offered = stage.offer("alice", "bob", "bob", &offer);
    offered.at(0, RTPENGINE).at(1, GATEWAY);
    let answer = describe(&BOB, &[audio(), msrp(&BOB, "active", true)]);
    let answered = stage.answer("bob", "alice", &answer);
    answered.at(0, RTPENGINE).at(1, GATEWAY);
    voices(&stage, &answered, &offered, 0);
    stage.listen("alice", None);
    stage.connect("bob", &offered.socket(1), None);
    chat(&mut stage, "alice", "bob");
    stage.hang_up("bob");
}
