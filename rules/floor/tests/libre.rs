//! Floor control with libre, whose BFCP is of another make: each reads what the other writes, and each is
//! the client of the other over TCP, TLS with a pre-shared key, and UDP.
//!
//! libre's end is `tests/interop/bfcp/libre_peer.c`, compiled here. Skipped with a message where libre is not,
//! unless `CARNET_REQUIRE_INTEROP` is set.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use carnet_bfcp::*;
use carnet_floor::{
    Algorithm, ConnectionId, Event, Floor, FloorControl, Limits as ServerLimits, Link, Member, Settings,
};
use carnet_tls::{Psk, PskContext, PskKey, PskSettings};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const CONFERENCE: u32 = 4711;
const USER: u16 = 7;
const KEY: [u8; 32] = [0x5a; 32];
const IDENTITY: &str = "a-ticket-of-the-conference";

/// The compiled program, if it can be.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/bfcp/libre_peer.c");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libre_peer");
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-Wall", "-Werror", "-I/usr/include/re", "-o"]).arg(&program).arg(source);
        let absent = match cc.args(["-lre", "-lssl", "-lcrypto"]).output() {
            Ok(output) if output.status.success() => return Some(program),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(said.contains("re.h: No such file") || said.contains("-lre"), "{said}");
                "libre-dev"
            }
            Err(_) => "cc",
        };
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "{absent} is required here");
        eprintln!("skipped: {absent} is not installed");
        None
    });
    program.as_deref()
}

/// A running peer; what it says, line by line.
struct Peer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Peer {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let key: String = KEY.iter().map(|octet| format!("{octet:02x}")).collect();
        let mut command = Command::new(program);
        command.args(arguments).env("PSK_KEY", key).env("PSK_IDENTITY", IDENTITY);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The port that a server says first.
    fn port(&mut self) -> u16 {
        let line = self.lines.next().unwrap().unwrap();
        line.strip_prefix("port ").unwrap().parse().unwrap()
    }

    /// All that it says until it ends well.
    fn said(mut self) -> Vec<String> {
        let lines: Vec<String> = self.lines.by_ref().map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success(), "{lines:#?}");
        assert_eq!(lines.last().map(String::as_str), Some("done"), "{lines:#?}");
        lines
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // One that was waited for is not there any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `decode` says of a message.
fn dump(message: &Message) -> String {
    fn attributes(list: &[Attribute], out: &mut String) {
        for Attribute { mandatory, value } in list {
            *out += &format!(" {}{}", value.kind(), if *mandatory { '+' } else { '-' });
            let numbers =
                |list: &[u8], between: &str| list.iter().map(u8::to_string).collect::<Vec<_>>().join(between);
            *out += &match value {
                Value::BeneficiaryId(id) | Value::FloorId(id) | Value::FloorRequestId(id) => id.to_string(),
                Value::Priority(priority) => priority.bits().to_string(),
                Value::RequestStatus(status) => format!("{}/{}", status.status.0, status.queue_position),
                Value::ErrorCode { code, details } => {
                    details.iter().fold(code.0.to_string(), |text, detail| format!("{text}/{detail}"))
                }
                Value::ErrorInfo(text)
                | Value::ParticipantProvidedInfo(text)
                | Value::StatusInfo(text)
                | Value::UserDisplayName(text)
                | Value::UserUri(text) => format!("'{text}'"),
                Value::SupportedAttributes(list) | Value::SupportedPrimitives(list) => numbers(list, ","),
                value => {
                    let group = value.group().unwrap();
                    let mut inside = String::new();
                    attributes(&group.attributes, &mut inside);
                    format!("{}({inside} )", group.id)
                }
            };
        }
    }
    let Message { version, responder, primitive, conference, transaction, user, .. } = message;
    let mut out =
        format!("{version} {} {} {conference} {transaction} {user}", u8::from(*responder), primitive.0);
    attributes(&message.attributes, &mut out);
    out
}

fn user(id: u16, name: &str) -> UserInformation {
    let uri = format!("sip:{}@x.example", name.to_lowercase());
    UserInformation { id, display_name: Some(name.into()), uri: Some(uri.as_str().into()) }
}

/// What libre's end says in every primitive that describes a request.
fn information() -> RequestInformation {
    let state = |id, status: Option<RequestStatus>| FloorState { id, status, information: None };
    RequestInformation {
        id: 77,
        overall: Some(FloorState {
            information: Some("two before you".into()),
            ..state(77, Some(RequestStatus { status: Status::Accepted, queue_position: 3 }))
        }),
        floors: vec![state(1, Some(RequestStatus::new(Status::Pending))), state(2, None)],
        beneficiary: Some(user(154, "Carol")),
        requested_by: Some(UserInformation { id: 234, ..UserInformation::default() }),
        priority: Some(Priority::High),
        provided: Some("a question".into()),
    }
}

fn bodies() -> Vec<Body> {
    vec![
        Body::FloorRequest {
            floors: vec![1, 2],
            beneficiary: Some(154),
            information: Some("a question".into()),
            priority: Some(Priority::High),
        },
        Body::FloorRelease { request: 77 },
        Body::FloorRequestQuery { request: 77 },
        Body::FloorRequestStatus(information()),
        Body::UserQuery { beneficiary: Some(154) },
        Body::UserStatus {
            beneficiary: Some(UserInformation { id: 154, ..UserInformation::default() }),
            requests: vec![information()],
        },
        Body::FloorQuery { floors: vec![1, 2] },
        Body::FloorStatus { floors: vec![1], requests: vec![information(), information()] },
        Body::ChairAction(information()),
        Body::ChairActionAck,
        Body::Hello,
        Body::HelloAck { primitives: vec![1, 11, 17], attributes: vec![1, 18] },
        Body::Error {
            code: ErrorCode::UnknownMandatoryAttribute,
            details: vec![40, 42].into(),
            information: Some("what is that".into()),
        },
        Body::FloorRequestStatusAck,
        Body::FloorStatusAck,
        Body::Goodbye,
        Body::GoodbyeAck,
    ]
}

/// Whether libre's end writes it as an answer.
fn answers(body: &Body) -> bool {
    !matches!(body.primitive().0, 1 | 2 | 3 | 5 | 7 | 9 | 11 | 16)
}

#[test]
fn each_reads_every_primitive_of_the_other() {
    let Some(program) = program() else { return };
    for version in [1u8, 2] {
        // What libre writes.
        let output = Command::new(program).args(["encode", &version.to_string()]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut theirs = Vec::new();
        for line in text.lines() {
            let (_, octets) = line.split_once(' ').unwrap();
            theirs.push(carnet_wire::hex::decode(octets.as_bytes()).unwrap());
        }
        let expected = bodies();
        assert_eq!(theirs.len(), 17);
        let mut ours = Vec::new();
        for (octets, body) in theirs.iter().zip(&expected) {
            let message = Message::parse(&octets.clone().into(), &Limits::default()).unwrap();
            assert_eq!(&Body::of(&message).unwrap(), body);
            assert_eq!((message.version, message.conference), (version, 4_000_000_001));
            assert_eq!((message.transaction, message.user), (9, 234));
            let written = Message {
                version,
                responder: answers(body),
                primitive: body.primitive(),
                conference: 4_000_000_001,
                transaction: 9,
                user: 234,
                attributes: body.attributes(),
            };
            let printed = written.print().unwrap();
            // libre sets the R bit over streams too, where it says nothing.
            let mut same = octets.clone();
            same[0] &= if version == 1 { 0xe0 } else { 0xff };
            assert_eq!(printed, same, "octet for octet, {body:?}");
            ours.push(written);
        }
        // What we write.
        let mut decode = Command::new(program);
        let mut child = decode.arg("decode").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = String::new();
        for message in &ours {
            let octets = message.print().unwrap();
            lines += &octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
            lines.push('\n');
        }
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let mut read = String::new();
        child.stdout.take().unwrap().read_to_string(&mut read).unwrap();
        assert!(child.wait().unwrap().success());
        let read: Vec<&str> = read.lines().collect();
        let expected: Vec<String> = ours
            .iter()
            .map(|message| dump(&Message { responder: message.responder && version == 2, ..message.clone() }))
            .collect();
        assert_eq!(read, expected);
    }
}

/// A conference whose floor another user has, who gives it back when user 7 asks.
struct Conference {
    control: FloorControl,
    events: Vec<Event>,
}

const STREAM: ConnectionId = ConnectionId(1);

impl Conference {
    fn new(transport: Transport, secured: bool) -> Self {
        let now = Instant::now();
        let settings = Settings::new(CONFERENCE, vec![Floor::new(1, Algorithm::FirstCome)]);
        let mut control = FloorControl::new(settings, ServerLimits::default());
        control.admit(now, 1, Member { third_party: true, ..Member::default() });
        let display_name = Some("Libre".to_owned());
        let uri = Some("sip:libre@x.example".to_owned());
        control.admit(now, USER, Member { display_name, uri, ..Member::default() });
        let other = ConnectionId(2);
        control.connected(now, other, Link::stream(Some(1)));
        control.handle_octets(now, other, b"\x20\x01\0\x01\0\0\x12\x67\0\x01\0\x01\x05\x04\0\x01");
        control.connected(now, STREAM, Link { transport, user: Some(USER), secured });
        let mut this = Self { control, events: Vec::new() };
        assert_eq!(this.drain(now).len(), 0);
        assert_eq!(this.control.holders(1), [1]);
        this
    }

    /// What is to be sent to libre.
    fn drain(&mut self, now: Instant) -> Vec<bytes::Bytes> {
        let mut out = Vec::new();
        loop {
            while let Some((to, octets)) = self.control.poll_transmit() {
                if to == STREAM {
                    out.push(octets);
                }
            }
            let Some(event) = self.control.poll_event() else { return out };
            if matches!(event, Event::Requested { user: USER, .. }) {
                self.control.revoke(now, 1, "another's turn").unwrap();
            }
            self.events.push(event);
        }
    }

    /// What libre did, as the conference heard it.
    fn check(&self, request: u16) {
        let told = |wanted: &Event| self.events.iter().any(|event| event == wanted);
        assert!(told(&Event::Granted { request, user: USER, floors: vec![1] }), "{:#?}", self.events);
        let (status, reason) = (Status::Released, carnet_floor::Reason::Asked);
        assert!(told(&Event::Ended { request, user: USER, floors: vec![1], status, reason }));
        assert_eq!(self.control.holders(1), [] as [u16; 0]);
    }
}

/// What libre as a client says it heard, over a stream and over datagrams, in order of what it is about.
fn check_client(lines: &[String], version: u8) {
    let messages = |word: &str, primitive: u8| -> Vec<&String> {
        let is = |line: &&String| {
            let mut fields = line.split(' ');
            fields.next() == Some(word) && fields.nth(2) == Some(&primitive.to_string())
        };
        lines.iter().filter(is).collect()
    };
    let all = lines.join("\n");
    let hello = messages("answer", 12);
    let known = if version == 1 {
        "11+1,2,3,4,5,6,7,8,9,10,11,12,13,16,17"
    } else {
        "11+1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"
    };
    assert!(hello.len() == 1 && hello[0].contains(known), "{all}");
    assert!(hello[0].contains("10+1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18"), "{all}");
    let floor = messages("answer", 8);
    assert!(floor.len() == 1 && floor[0].contains("2+1 15+1( 18+1( 5+3/0 ) 17+1( 5+3/0 ) 14+1("), "{all}");
    let statuses = messages("answer", 4);
    assert_eq!(statuses.len(), 2, "{all}");
    assert!(statuses[0].contains("15+2( 18+2( 5+2/1 ) 17+1( 5+2/1 ) 8+'a question' )"), "{all}");
    assert!(statuses[1].contains("15+2( 18+2( 5+6/0 )"), "released: {all}");
    // Datagrams may come twice.
    let mut notices = messages("notice", 4);
    notices.dedup();
    assert!(notices.len() == 1 && notices[0].contains("15+2( 18+2( 5+3/0 )"), "granted: {all}");
    let floors = messages("notice", 8);
    assert!(floors.iter().any(|line| line.contains("12+'Libre' 13+'sip:libre@x.example'")), "{all}");
    for line in lines.iter().filter(|line| line.starts_with("notice") && version == 1) {
        assert_eq!(line.split(' ').nth(5), Some("0"), "{line}");
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut conference: Conference) -> Conference {
    let mut octets = [0; 4096];
    loop {
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut octets)).await;
        let Ok(read) = read.expect("libre says something") else { break };
        if read == 0 {
            break;
        }
        let now = Instant::now();
        conference.control.handle_octets(now, STREAM, &octets[..read]);
        for octets in conference.drain(now) {
            stream.write_all(&octets).await.unwrap();
        }
        stream.flush().await.unwrap();
    }
    conference
}

fn key() -> PskKey {
    PskKey::new(IDENTITY, Psk::new(&KEY).unwrap()).unwrap()
}

#[tokio::test]
async fn libre_is_a_client_over_tcp() {
    let Some(program) = program() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let peer = Peer::start(program, &["client", "tcp", &port]);
    let (stream, _) = listener.accept().await.unwrap();
    let conference = serve(stream, Conference::new(Transport::Stream, false)).await;
    check_client(&peer.said(), 1);
    conference.check(2);
}

#[tokio::test]
async fn libre_is_a_client_over_tls() {
    let Some(program) = program() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let peer = Peer::start(program, &["client", "tls", &port]);
    let (stream, _) = listener.accept().await.unwrap();
    let context = PskContext::new(PskSettings::default()).unwrap();
    let (stream, report) = context.accept(stream, key()).await.unwrap();
    assert_eq!(report.identity.as_deref(), Some(IDENTITY));
    let conference = serve(stream, Conference::new(Transport::Stream, true)).await;
    let said = peer.said();
    assert!(said.iter().any(|line| line.starts_with("sealed TLSv1.")), "{said:#?}");
    check_client(&said, 1);
    conference.check(2);
}

#[tokio::test]
async fn libre_is_a_client_over_udp() {
    let Some(program) = program() else { return };
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    let peer = Peer::start(program, &["client", "udp", &port]);
    let mut conference = Conference::new(Transport::Datagram { mtu: 1200 }, false);
    let mut octets = [0; 2048];
    let (mut seen, mut lost) = (Vec::new(), 0);
    while !conference.events.iter().any(|event| matches!(event, Event::Close { .. })) {
        let due =
            conference.control.poll_timeout().unwrap_or_else(|| Instant::now() + Duration::from_secs(30));
        match tokio::time::timeout_at(due.into(), socket.recv_from(&mut octets)).await {
            Ok(received) => {
                let (length, from) = received.unwrap();
                if seen.is_empty() {
                    socket.connect(from).await.unwrap();
                }
                // The first of each kind is lost on its way: libre says it again.
                let primitive = octets[1];
                if !seen.contains(&primitive) {
                    seen.push(primitive);
                    lost += 1;
                    continue;
                }
                conference.control.handle_octets(Instant::now(), STREAM, &octets[..length]);
            }
            Err(_) => conference.control.handle_timeout(Instant::now()),
        }
        for octets in conference.drain(Instant::now()) {
            socket.send(&octets).await.unwrap();
        }
    }
    let said = peer.said();
    check_client(&said[1..], 2);
    conference.check(2);
    assert!(lost >= 6, "{seen:?}");
    assert!(seen.contains(&14) && seen.contains(&15), "it acknowledges: {seen:?}");
}

/// Our client's talk with libre as a server, and what it heard.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut client = Client::new(CONFERENCE, USER, Transport::Stream, Limits::default());
    let now = Instant::now();
    client.ask(now, Body::Hello).unwrap();
    client.watch(now, &[1]).unwrap();
    client.request(now, &[1], Some(Priority::High), Some("a question".into())).unwrap();
    client.decide(now, 77, 1, RequestStatus::new(Status::Granted), None).unwrap();
    client.release(now, 77).unwrap();
    client.ask(now, Body::UserQuery { beneficiary: None }).unwrap();
    let (mut answers, mut notices) = (Vec::new(), Vec::new());
    let mut octets = [0; 4096];
    loop {
        while let Some(octets) = client.poll_transmit() {
            stream.write_all(&octets).await.unwrap();
        }
        stream.flush().await.unwrap();
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Answer { answer, .. } => answers.push(answer),
                ClientEvent::Notice(body) => notices.push(body),
                other => panic!("{other:?}"),
            }
        }
        if client.open() == 0 {
            break;
        }
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut octets)).await;
        let read = read.expect("libre answers").unwrap();
        client.handle_octets(Instant::now(), &octets[..read]).unwrap();
    }
    let released =
        FloorState { id: 77, status: Some(RequestStatus::new(Status::Released)), information: None };
    let over = RequestInformation {
        id: 77,
        overall: Some(released.clone()),
        floors: vec![FloorState { id: 1, ..released }],
        ..RequestInformation::default()
    };
    let refused = Body::Error {
        code: ErrorCode::UnknownMandatoryAttribute,
        details: vec![40, 42].into(),
        information: None,
    };
    let expected = [
        Body::HelloAck { primitives: vec![1, 11, 17], attributes: vec![1, 18] },
        Body::FloorStatus { floors: vec![1], requests: vec![information()] },
        Body::FloorRequestStatus(information()),
        Body::ChairActionAck,
        Body::FloorRequestStatus(over),
        refused,
    ];
    assert_eq!(answers, expected);
    assert_eq!(notices, [granted()]);
    stream.shutdown().await.unwrap();
}

fn granted() -> Body {
    let state = |id, status| FloorState { id, status, information: None };
    Body::FloorRequestStatus(RequestInformation {
        id: 77,
        overall: Some(state(77, Some(RequestStatus::new(Status::Granted)))),
        floors: vec![state(1, None)],
        ..RequestInformation::default()
    })
}

/// What libre as a server heard of our client.
fn check_server(said: &[String]) {
    let heard: Vec<&str> = said.iter().filter_map(|line| line.strip_prefix("heard ")).collect();
    let expected = [
        "1 0 11 4711 1 7",
        "1 0 7 4711 2 7 2+1",
        "1 0 1 4711 3 7 2+1 8+'a question' 4+3",
        "1 0 9 4711 4 7 15+77( 17+1( 5+3/0 ) )",
        "1 0 2 4711 5 7 3+77",
        "1 0 5 4711 6 7",
    ];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn libre_is_a_server_over_tcp() {
    let Some(program) = program() else { return };
    let mut peer = Peer::start(program, &["server", "tcp"]);
    let stream = TcpStream::connect(("127.0.0.1", peer.port())).await.unwrap();
    talk(stream).await;
    check_server(&peer.said());
}

#[tokio::test]
async fn libre_is_a_server_over_tls() {
    let Some(program) = program() else { return };
    let mut peer = Peer::start(program, &["server", "tls"]);
    let stream = TcpStream::connect(("127.0.0.1", peer.port())).await.unwrap();
    let context = PskContext::new(PskSettings::default()).unwrap();
    let (stream, _) = context.connect(stream, key()).await.unwrap();
    talk(stream).await;
    check_server(&peer.said());
}

#[tokio::test]
async fn libre_is_a_server_over_udp() {
    let Some(program) = program() else { return };
    let mut peer = Peer::start(program, &["server", "udp"]);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", peer.port())).await.unwrap();
    let transport = Transport::Datagram { mtu: 1200 };
    let mut client = Client::new(CONFERENCE, USER, transport, Limits::default());
    let now = Instant::now();
    for body in [
        Body::Hello,
        Body::FloorRequest { floors: vec![1], beneficiary: None, information: None, priority: None },
        Body::FloorRelease { request: 99 },
        Body::UserQuery { beneficiary: None },
    ] {
        client.ask(now, body).unwrap();
    }
    let (mut answers, mut notices) = (Vec::new(), Vec::new());
    let mut octets = [0; 2048];
    let mut sent = 0;
    while answers.len() < 5 {
        while let Some(octets) = client.poll_transmit() {
            sent += 1;
            // Every third is lost.
            if sent % 3 != 0 {
                socket.send(&octets).await.unwrap();
            }
        }
        let due = client.poll_timeout().unwrap_or_else(|| Instant::now() + Duration::from_secs(30));
        match tokio::time::timeout_at(due.into(), socket.recv(&mut octets)).await {
            Ok(length) => client.handle_octets(Instant::now(), &octets[..length.unwrap()]).unwrap(),
            Err(_) => client.handle_timeout(Instant::now()),
        }
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Answer { answer, .. } => answers.push(answer),
                ClientEvent::Notice(body) => notices.push(body),
                other => panic!("{other:?}"),
            }
        }
        if answers.len() == 4 && notices.len() == 1 && client.open() == 0 {
            client.ask(Instant::now(), Body::Goodbye).unwrap();
        }
    }
    let codes: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Body::Error { code, .. } => Err(*code),
            body => Ok(body.primitive()),
        })
        .collect();
    let expected = [
        Ok(Primitive::HelloAck),
        Ok(Primitive::FloorRequestStatus),
        Err(ErrorCode::FloorRequestIdDoesNotExist),
        Err(ErrorCode::UnknownPrimitive),
        Ok(Primitive::GoodbyeAck),
    ];
    assert_eq!(codes, expected);
    assert_eq!(notices, [granted()]);
    let said = peer.said();
    let requests = said.iter().filter(|line| line.starts_with("heard 2 0 1 ")).count();
    assert!(requests >= 1, "{said:#?}");
}
