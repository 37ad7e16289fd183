//! A call whose audio is relayed by Debian's rtpengine, over a start of its border: it goes on there, is changed there, and
//! ends there.

use crate::connections::through;
use crate::stage::{PATIENCE, Stage, free};
use crate::terminal::{Dialog, Over, Terminal, contact, sdp};
use bytes::Bytes;
use carnet_ng::{Limits, Message, Value};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends with the test.
struct Engine {
    child: Child,
    ng: SocketAddr,
    asked: u32,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Engine {
    fn start() -> Option<Self> {
        let ng = free();
        let child = Command::new("rtpengine")
            .args(["--config-file=none", "--foreground", "--table=-1", "--log-stderr", "--log-level=4"])
            .args(["--interface=127.0.0.1", "--port-min=36000", "--port-max=36999"])
            .arg(format!("--listen-ng={ng}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "rtpengine is required here");
            eprintln!("skipped: rtpengine is not installed");
            return None;
        };
        let mut engine = Self { child, ng, asked: 0 };
        until("the rtpengine answers", || engine.ask("ping").is_some());
        Some(engine)
    }

    fn ask(&mut self, command: &str) -> Option<Value> {
        self.asked += 1;
        let cookie = Bytes::from(format!("test{}", self.asked));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket.connect(self.ng).unwrap();
        let body = Value::Dictionary(vec![
            (Bytes::from_static(b"command"), Value::text(command)),
            (Bytes::from_static(b"limit"), Value::text("100")),
        ]);
        socket.send(&Message::new(cookie, body).to_bytes()).ok()?;
        let mut buffer = [0; 65_535];
        let n = socket.recv(&mut buffer).ok()?;
        Some(Message::parse(&Bytes::copy_from_slice(&buffer[..n]), &Limits::default()).ok()?.body)
    }

    /// Names of the calls it has.
    fn calls(&mut self) -> Vec<String> {
        match self.ask("list").and_then(|answer| answer.get("calls").cloned()) {
            Some(Value::List(calls)) => calls.iter().filter_map(|c| c.as_text().map(str::to_owned)).collect(),
            _ => vec!["no answer".into()],
        }
    }
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A session with audio beside MSRP.
fn both(rtp: &UdpSocket, msrp: u16, setup: &str) -> String {
    let port = rtp.local_addr().unwrap().port();
    sdp(msrp, setup).replacen(
        "m=message",
        &format!("m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\nm=message"),
        1,
    )
}

/// Where the audio of a description is.
fn audio(message: &str) -> SocketAddr {
    let line = message.lines().find(|line| line.starts_with("m=audio ")).unwrap();
    let port: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
    ([127, 0, 0, 1], port).into()
}

/// Packets of a payload go one way until one arrives.
fn passes(from: &UdpSocket, to: SocketAddr, at: &UdpSocket, mark: u8) {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, mark];
    packet.extend([mark; 160]);
    at.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (mut number, mut buffer) = (0u8, [0; 2_000]);
    until("audio goes through", || {
        number = number.wrapping_add(1);
        packet[3] = number;
        from.send_to(&packet, to).unwrap();
        at.recv(&mut buffer).is_ok_and(|n| n == packet.len() && buffer[12] == mark)
    });
}

fn stage(engine: &Engine) -> (Stage, Terminal, Terminal) {
    let more = format!(
        "[border.alg.policy]\nother = \"rtpengine\"\n[border.alg.rtpengine]\naddress = \"{}\"\n",
        engine.ng
    );
    let stage = Stage::with(&more, |text| text);
    let mut alice = Terminal::new(&stage, "alice", Over::Udp, false);
    let mut bob = Terminal::new(&stage, "bob", Over::Udp, false);
    alice.register(1);
    bob.register(1);
    (stage, alice, bob)
}

fn rtp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

/// An offer goes through and is answered; where each end then finds the audio.
fn agree(
    alice: &mut Terminal,
    bob: &mut Terminal,
    (dialog, cseq): (&Dialog, u32),
    rtp: [&UdpSocket; 2],
) -> (String, String) {
    let invite = alice.request("INVITE", cseq, dialog, "", &both(rtp[0], 20000, "actpass"));
    alice.say(&invite);
    let there = bob.take("INVITE");
    bob.say(&bob.answer(&there, "200 OK", "", &both(rtp[1], 20001, "passive")));
    let ok = alice.take("SIP/2.0 200");
    let of_alice = alice.called(dialog, &ok);
    let ack = alice.request("ACK", cseq, &of_alice, "", "");
    alice.say(&ack);
    bob.take("ACK");
    (there, ok)
}

#[test]
fn audio_goes_on_and_ends_at_the_rtpengine() {
    for signal in ["KILL", "TERM"] {
        let Some(mut engine) = Engine::start() else { return };
        let (mut stage, mut alice, mut bob) = stage(&engine);
        let (a, b) = (rtp(), rtp());
        let begun = alice.begins("audio", "bob");
        let (there, ok) = agree(&mut alice, &mut bob, (&begun, 1), [&a, &b]);
        let of_alice = alice.called(&begun, &ok);
        let calls = engine.calls();
        assert_eq!(calls.len(), 1);
        passes(&a, audio(&ok), &b, 0x11);
        passes(&b, audio(&there), &a, 0x22);
        stage.start_again(signal);
        passes(&a, audio(&ok), &b, 0x33);
        passes(&b, audio(&there), &a, 0x44);
        // bob is elsewhere, and it is the same call there.
        let c = rtp();
        let (_, ok) = agree(&mut alice, &mut bob, (&of_alice, 2), [&a, &c]);
        assert_eq!(engine.calls(), calls);
        passes(&a, audio(&ok), &c, 0x55);
        stage.start_again(signal);
        let of_alice = Dialog { target: contact(&ok), ..of_alice };
        through(&mut alice, &mut bob, &of_alice, "BYE", 3);
        until("the call ends at the rtpengine", || engine.calls().is_empty());
        stage.assert_clean();
    }
}

/// A set-up that dies with the process is none of its business any more.
#[test]
fn a_set_up_that_died_ends_at_the_rtpengine() {
    let Some(mut engine) = Engine::start() else { return };
    let (mut stage, mut alice, mut bob) = stage(&engine);
    let (a, begun) = (rtp(), alice.begins("dies", "bob"));
    let invite = alice.request("INVITE", 1, &begun, "", &both(&a, 20000, "actpass"));
    alice.say(&invite);
    bob.take("INVITE");
    assert_eq!(engine.calls().len(), 1);
    stage.start_again("KILL");
    bob.take("CANCEL");
    alice.take("SIP/2.0 503");
    until("the call ends at the rtpengine", || engine.calls().is_empty());
    stage.assert_clean();
}
