//! A border with Debian's rtpengine: one session with audio and MSRP, the audio through the rtpengine, MSRP
//! through our gateway, both in the same offer.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use bytes::Bytes;
use carnet_ng::{Limits, Message, Value};
use common::Running;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

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
    /// One without the kernel module, with two interfaces; `None` where it is not installed.
    fn start() -> Option<Self> {
        let ng = common::free();
        let child = Command::new("rtpengine")
            .args(["--config-file=none", "--foreground", "--table=-1", "--log-stderr", "--log-level=4"])
            .args(["--interface=here/127.0.0.1", "--interface=there/127.0.0.2"])
            .args(["--port-min=22000", "--port-max=22999"])
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
        let ping = Value::Dictionary(vec![(Bytes::from_static(b"command"), Value::text("ping"))]);
        until("the rtpengine answers", || {
            engine.ask(&ping).is_some_and(|a| a.text_of("result") == Some("pong"))
        });
        Some(engine)
    }

    fn ask(&mut self, body: &Value) -> Option<Value> {
        self.asked += 1;
        let cookie = Bytes::from(format!("test{}", self.asked));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket.connect(self.ng).unwrap();
        socket.send(&Message::new(cookie, body.clone()).to_bytes()).ok()?;
        let mut buffer = [0; 65_535];
        let n = socket.recv(&mut buffer).ok()?;
        let answer = Bytes::copy_from_slice(&buffer[..n]);
        let message = Message::parse(&answer, &Limits::default()).unwrap();
        // What another implementation writes comes back octet for octet.
        assert_eq!(message.to_bytes(), answer);
        Some(message.body)
    }

    /// Names of the calls it has.
    fn calls(&mut self) -> Vec<String> {
        let list = Value::Dictionary(vec![
            (Bytes::from_static(b"command"), Value::text("list")),
            (Bytes::from_static(b"limit"), Value::text("100")),
        ]);
        let Some(Value::List(calls)) = self.ask(&list).and_then(|a| a.get("calls").cloned()) else {
            panic!()
        };
        calls.iter().map(|c| c.as_text().unwrap().to_owned()).collect()
    }
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One end of the call, with a socket a kind.
struct End {
    sip: UdpSocket,
    rtp: UdpSocket,
    border: SocketAddr,
}

impl End {
    fn new(border: SocketAddr) -> Self {
        let open = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        Self { sip: open(), rtp: open(), border }
    }

    fn at(&self) -> SocketAddr {
        self.sip.local_addr().unwrap()
    }

    fn sdp(&self, msrp: u16, setup: &str) -> String {
        let rtp = self.rtp.local_addr().unwrap().port();
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {rtp} RTP/AVP 0\r\n\
             a=rtpmap:0 PCMU/8000\r\nm=message {msrp} TCP/MSRP *\r\na=accept-types:*\r\n\
             a=path:msrp://127.0.0.1:{msrp}/s;tcp\r\na=msrp-cema\r\na=setup:{setup}\r\n"
        )
    }

    fn send(&self, text: &str) {
        self.sip.send_to(text.as_bytes(), self.border).unwrap();
    }

    /// The next message that begins so.
    fn take(&self, start: &str) -> String {
        let mut buffer = [0; 65_535];
        loop {
            let n = match self.sip.recv(&mut buffer) {
                // A call with a time limit is not begun again by itself when the process was stopped meanwhile (signal(7)).
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                heard => heard.unwrap_or_else(|e| panic!("{start} did not come: {e}")),
            };
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            if text.starts_with(start) {
                return text;
            }
        }
    }
}

fn header(message: &str, name: &str) -> String {
    let start = format!("{name}: ");
    message
        .lines()
        .find_map(|l| l.strip_prefix(&start))
        .unwrap_or_else(|| panic!("{name} in {message}"))
        .to_owned()
}

fn headers(message: &str, name: &str) -> String {
    let start = format!("{name}: ");
    message.lines().filter(|l| l.starts_with(&start)).map(|l| format!("{l}\r\n")).collect()
}

/// Where a media line is, and its `c=`.
fn media(message: &str, kind: &str) -> SocketAddr {
    let body = message.split("\r\n\r\n").nth(1).unwrap();
    let session = body.lines().find_map(|l| l.strip_prefix("c=IN IP4 "));
    let mut lines = body.lines().skip_while(|l| !l.starts_with(&format!("m={kind}")));
    let port: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let own = lines.take_while(|l| !l.starts_with("m=")).find_map(|l| l.strip_prefix("c=IN IP4 "));
    format!("{}:{port}", own.or(session).unwrap()).parse().unwrap()
}

/// Packets of a payload go one way until one arrives.
fn rtp_passes(from: &UdpSocket, to: SocketAddr, at: &UdpSocket, mark: u8) {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, mark];
    packet.extend([mark; 160]);
    at.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut number = 0u8;
    let mut buffer = [0; 2_000];
    until("audio goes through", || {
        number = number.wrapping_add(1);
        packet[3] = number;
        from.send_to(&packet, to).unwrap();
        at.recv(&mut buffer).is_ok_and(|n| n == packet.len() && buffer[12] == mark)
    });
}

fn network(
    other: &str,
    ng: Option<SocketAddr>,
    ends: [SocketAddr; 2],
) -> (tempfile::TempDir, Running, [SocketAddr; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = [common::free(), common::free()];
    let rtpengine =
        ng.map_or_else(String::new, |ng| format!("[border.border.rtpengine]\naddress = \"{ng}\"\n"));
    let config = format!(
        "[border.border]\nrole = \"ibcf\"\ndomain = \"a.example\"\ncontrol = {{ gateways = [\"gateway\"] }}\n\
         [border.border.policy]\nother = \"{other}\"\n{rtpengine}\
         [border.border.network.here]\nlisten = [\"udp:{a}\"]\nrealm = \"media\"\nrtp-interface = \"here\"\n\
         [border.border.network.there]\nlisten = [\"udp:{b}\"]\nrealm = \"media\"\nrtp-interface = \"there\"\n\
         [[border.border.route]]\ndomain = \"there.example\"\nnetwork = \"there\"\nnext-hop = \"sip:{}\"\n\
         [[border.border.route]]\ndomain = \"*\"\nnetwork = \"here\"\nnext-hop = \"sip:{}\"\n\
         [gateway.gateway]\nrole = \"trgw\"\ncontrollers = [\"local:border\"]\n\
         [gateway.gateway.realm.media]\nv4 = \"127.0.0.1\"\nports = \"23000-23099\"\n",
        ends[1], ends[0]
    );
    let path = directory.path().join("border.toml");
    std::fs::write(&path, config).unwrap();
    let running = Running::start(Command::new(env!("CARGO_BIN_EXE_carnet")).arg("run").arg("-c").arg(&path));
    running.line("gateway-up");
    (directory, running, [a, b])
}

/// INVITE from the one end to the other.
fn invite(a: &End, sdp: &str) -> String {
    format!(
        "INVITE sip:bob@there.example SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-1;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@here.example>;tag=a\r\nTo: <sip:bob@there.example>\r\nCall-ID: audio-and-msrp\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:alice@{at}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len(),
        at = a.at()
    )
}

#[test]
fn audio_and_msrp_in_one_session() {
    let Some(mut engine) = Engine::start() else { return };
    // The ends are known before the border is.
    let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let (mut a, mut b) = (End::new(nowhere), End::new(nowhere));
    let (_directory, _running, [here, there]) = network("rtpengine", Some(engine.ng), [a.at(), b.at()]);
    (a.border, b.border) = (here, there);

    a.send(&invite(&a, &a.sdp(9, "active")));
    let offer = b.take("INVITE");
    let audio = media(&offer, "audio");
    assert_eq!(audio.ip().to_string(), "127.0.0.2", "the interface that faces this network: {offer}");
    assert!((22000..=22999).contains(&audio.port()), "{offer}");
    assert!((23000..=23099).contains(&media(&offer, "message").port()), "{offer}");
    assert!(offer.contains("a=setup:active\r\n") && offer.contains("a=msrp-cema\r\n"), "{offer}");
    assert_eq!(engine.calls().len(), 1);

    let msrp = TcpListener::bind("127.0.0.1:0").unwrap();
    let sdp = b.sdp(msrp.local_addr().unwrap().port(), "passive");
    b.send(&format!(
        "SIP/2.0 200 OK\r\n{}From: {}\r\nTo: {};tag=b\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\nContact: <sip:bob@{}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        headers(&offer, "Via"),
        header(&offer, "From"),
        header(&offer, "To"),
        header(&offer, "Call-ID"),
        b.at(),
        sdp.len()
    ));
    let answer = a.take("SIP/2.0 200");
    let back = media(&answer, "audio");
    assert_eq!(back.ip().to_string(), "127.0.0.1", "{answer}");
    assert!((22000..=22999).contains(&back.port()), "{answer}");
    let request = |method: &str, cseq: u32| {
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK-{method};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@here.example>;tag=a\r\nTo: {}\r\nCall-ID: audio-and-msrp\r\nCSeq: {cseq} {method}\r\n\
             Content-Length: 0\r\n\r\n",
            header(&answer, "Contact").trim_matches(['<', '>']),
            a.at(),
            header(&answer, "To"),
        )
    };
    a.send(&request("ACK", 1));
    b.take("ACK");

    // Audio both ways, and octets of MSRP beside it.
    rtp_passes(&a.rtp, back, &b.rtp, 0x11);
    rtp_passes(&b.rtp, audio, &a.rtp, 0x22);
    let mut line = TcpStream::connect(media(&answer, "message")).unwrap();
    line.write_all(b"MSRP through the gateway").unwrap();
    let (mut far, _) = msrp.accept().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut octets = [0; 24];
    far.read_exact(&mut octets).unwrap();
    assert_eq!(&octets, b"MSRP through the gateway");

    a.send(&request("BYE", 2));
    b.take("BYE");
    until("the call ends at the rtpengine", || engine.calls().is_empty());
}

/// Nobody answers at its address: the caller is told, and the gateway keeps nothing.
#[test]
fn no_rtpengine_there() {
    let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let (mut a, b) = (End::new(nowhere), End::new(nowhere));
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (_directory, _running, [here, _]) =
        network("rtpengine", Some(silent.local_addr().unwrap()), [a.at(), b.at()]);
    a.border = here;
    a.send(&invite(&a, &a.sdp(9, "active")));
    let refused = a.take("SIP/2.0 503");
    assert!(header(&refused, "Warning").contains("the rtpengine does not answer"), "{refused}");
    assert!(refused.contains("Retry-After:"), "{refused}");
}
