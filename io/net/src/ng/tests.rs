//! Real sockets: SIP servers, strangers, those who know the token and those who do not.

use super::*;
use crate::drain;
use bytes::Bytes;
use carnet_ng::{Command, Value};
use carnet_tls::{CertificateContext, CertificateSettings, Credential, Peer, SubjectName, Trust};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const TOKEN: &str = "0123456789abcdef";

/// A server with one socket of each kind that `transports` names, open to this host.
pub(super) struct Scene {
    pub(super) server: NgServer,
    pub(super) requests: mpsc::Receiver<NgRequest>,
    _drain: crate::Drain,
    _token: crate::Token,
}

impl Scene {
    pub(super) fn open(transports: &[NgTransport], change: impl FnOnce(&mut NgConfig)) -> Self {
        Self::timed(transports, change, |_| ())
    }

    /// With other times.
    pub(super) fn timed(
        transports: &[NgTransport],
        change: impl FnOnce(&mut NgConfig),
        hurry: impl FnOnce(&mut shared::Times),
    ) -> Self {
        let (drain, token) = drain();
        let address = "127.0.0.1:0".parse().unwrap();
        let listen = transports.iter().map(|transport| NgListen { transport: *transport, address });
        let peers = vec![("127.0.0.0".parse().unwrap(), 8)];
        let mut config = NgConfig { listen: listen.collect(), peers, tls: None, token: None };
        change(&mut config);
        let mut times = shared::Times::default();
        hurry(&mut times);
        let (server, requests) = NgServer::open_with(config, times, &token).unwrap();
        Self { server, requests, _drain: drain, _token: token }
    }

    pub(super) fn at(&self, index: usize) -> SocketAddr {
        self.server.listens()[index].address
    }

    pub(super) async fn request(&mut self) -> NgRequest {
        tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("in time").unwrap()
    }

    /// Answers the next request with its own command.
    pub(super) async fn work(&mut self) -> NgRequest {
        let request = self.request().await;
        self.server.answer(request.number, &answer(request.request.command.as_str()));
        request
    }

    /// Waits until the tally is so.
    pub(super) async fn tallied(&self, holds: impl Fn(&NgTally) -> bool) {
        let wait = async {
            while !holds(&self.server.tally()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let tally = || self.server.tally();
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{:?}", tally()));
    }
}

pub(super) fn answer(word: &str) -> Value {
    Value::Dictionary(vec![(Bytes::from_static(b"result"), Value::text(word))])
}

pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut octets = vec![0; length];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut octets)).await;
    read.expect("in time").unwrap();
    octets
}

/// All that comes until the other end closes.
pub(super) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut octets = Vec::new();
    // A reset ends it too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut octets)).await.expect("in time");
    String::from_utf8_lossy(&octets).into_owned()
}

#[tokio::test]
async fn a_datagram_that_comes_again_gets_the_same_answer() {
    let mut scene = Scene::open(&[NgTransport::Udp], |_| ());
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(scene.at(0)).await.unwrap();
    let ping = b"a1 d7:command4:pinge";
    let mut buffer = [0; 100];
    client.send(ping).await.unwrap();
    let request = scene.request().await;
    assert_eq!((request.request.command, request.from), (Command::Ping, client.local_addr().unwrap()));
    // While it is worked on there is no answer, and no second request.
    client.send(ping).await.unwrap();
    client.send(b"a2 {\"command\": \"list\"}").await.unwrap();
    let other = scene.request().await;
    assert_eq!(other.request.command, Command::List);
    scene.server.answer(other.number, &answer("second"));
    let length = client.recv(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], b"a2 {\"result\":\"second\"}");
    scene.server.answer(request.number, &answer("first"));
    scene.server.answer(request.number, &answer("twice"));
    for _ in 0..3 {
        let length = tokio::time::timeout(PATIENCE, client.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(&buffer[..length], b"a1 d6:result5:firste");
        client.send(ping).await.unwrap();
    }
    assert_eq!(scene.server.tally().taken, 2);
}

#[tokio::test]
async fn strangers_get_nothing() {
    let all = [NgTransport::Udp, NgTransport::Tcp, NgTransport::Http];
    let scene = Scene::open(&all, |config| config.peers = vec![("192.0.2.0".parse().unwrap(), 24)]);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"a1 d7:command4:pinge", scene.at(0)).await.unwrap();
    scene.tallied(|tally| tally.strangers == 1).await;
    for index in 1..3 {
        let mut stream = TcpStream::connect(scene.at(index)).await.unwrap();
        let _ = stream.write_all(b"a1 d7:command4:pingeGET /ping HTTP/1.1\r\n\r\n").await;
        assert_eq!(rest(&mut stream).await, "");
    }
    scene.tallied(|tally| tally.strangers == 3).await;
    assert!(client.try_recv(&mut [0; 100]).is_err());
    assert_eq!(scene.server.tally().taken, 0);
}

#[tokio::test]
async fn a_flood_of_datagrams_is_lost_and_the_next_is_heard() {
    let mut scene = Scene::open(&[NgTransport::Udp], |_| ());
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(scene.at(0)).await.unwrap();
    for n in 0..10_000 {
        let _ = client.send(format!("f{n} d7:command4:ping").as_bytes()).await;
        let _ = client.send(format!("g{n} d7:command4:pinge").as_bytes()).await;
    }
    let mut buffer = [0; 1000];
    let heard = async {
        loop {
            let _ = client.send(b"last d7:command4:pinge").await;
            while let Ok(request) = scene.requests.try_recv() {
                scene.server.answer(request.number, &answer("pong"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            while let Ok(length) = client.try_recv(&mut buffer) {
                if buffer[..length].starts_with(b"last ") {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("in time");
    let tally = scene.server.tally();
    assert!(tally.malformed > 0, "{tally:?}");
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_a_short_error() {
    let mut scene = Scene::open(&[NgTransport::Udp], |_| ());
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(scene.at(0)).await.unwrap();
    client.send(b"a1 d7:command4:liste").await.unwrap();
    let request = scene.request().await;
    scene.server.answer(request.number, &answer(&"x".repeat(70_000)));
    let mut buffer = [0; 1000];
    let length = tokio::time::timeout(PATIENCE, client.recv(&mut buffer)).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(said.starts_with("a1 d6:result5:error12:error-reason"), "{said}");
    assert_eq!(scene.server.tally().withheld, 1);
}

#[tokio::test]
async fn messages_on_a_stream_are_answered_as_they_are_ready() {
    let mut scene = Scene::open(&[NgTransport::Tcp], |_| ());
    let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
    for octet in b"a d7:command4:pinge\nb d7:command4:listec {\"command\":\"ping\"}" {
        stream.write_all(&[*octet]).await.unwrap();
    }
    let (first, second) = (scene.request().await, scene.request().await);
    scene.server.answer(second.number, &answer("two"));
    scene.server.answer(first.number, &answer("one"));
    scene.work().await;
    let expected = b"b d6:result3:twoea d6:result3:oneec {\"result\":\"ping\"}";
    assert_eq!(read(&mut stream, expected.len()).await, expected);
    // What is no request ends it.
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    scene.tallied(|tally| tally.malformed == 1).await;
}

#[tokio::test]
async fn a_connection_has_so_many_requests_under_way_and_no_more() {
    let mut scene = Scene::open(&[NgTransport::Tcp], |_| ());
    let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
    let all: String = (0..200).map(|n| format!("c{n} d7:command4:pinge")).collect();
    stream.write_all(all.as_bytes()).await.unwrap();
    let mut under_way = Vec::new();
    for _ in 0..stream::MOST_UNDER_WAY {
        under_way.push(scene.request().await.number);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(scene.requests.try_recv().is_err(), "more than may be");
    scene.server.answer(under_way[0], &answer("ok"));
    scene.request().await;
}

#[tokio::test]
async fn what_was_answered_is_written_before_the_server_goes() {
    let mut scene = Scene::open(&[NgTransport::Tcp, NgTransport::Http], |_| ());
    let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
    let mut idle = TcpStream::connect(scene.at(1)).await.unwrap();
    stream.write_all(b"a d7:command4:pinge").await.unwrap();
    scene.work().await;
    drop(scene.server);
    assert_eq!(rest(&mut stream).await, "a d6:result4:pinge");
    assert_eq!(rest(&mut idle).await, "");
}

#[tokio::test]
async fn the_token_opens_a_stream() {
    let with = |config: &mut NgConfig| config.token = Some(NgToken::new(TOKEN.to_owned().into()));
    let mut scene = Scene::open(&[NgTransport::Tcp], with);
    for wrong in ["", "5:token16:0123456789abcdeF", "5:token4:0123"] {
        let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
        stream.write_all(format!("a d7:command4:ping{wrong}e").as_bytes()).await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.starts_with("a d6:result5:error") && said.contains("token"), "{said}");
    }
    assert_eq!(scene.server.tally().without_token, 3);
    let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
    let right = format!("a d7:command4:ping5:token16:{TOKEN}3:new1:1eb d7:command4:pinge");
    stream.write_all(right.as_bytes()).await.unwrap();
    let request = scene.work().await.request;
    assert_eq!(request.more, [(Bytes::from_static(b"new"), Value::text("1"))], "it goes no further");
    scene.work().await;
    let expected = b"a d6:result4:pingeb d6:result4:pinge";
    assert_eq!(read(&mut stream, expected.len()).await, expected);
}

/// A request of HTTP and the answer to it, of a connection that goes on.
pub(super) async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    head: &str,
    body: &str,
) -> (u16, String) {
    let request = format!("{head}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut octets = Vec::new();
    while !octets.ends_with(b"\r\n\r\n") {
        octets.extend(read(stream, 1).await);
    }
    let head = String::from_utf8(octets).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let body = read(stream, length.map_or(0, |n| n.parse().unwrap())).await;
    (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn http_has_the_status_that_fits() {
    let with = |config: &mut NgConfig| config.token = Some(NgToken::new(TOKEN.to_owned().into()));
    let mut scene = Scene::open(&[NgTransport::Http], with);
    let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let (ng, json) =
        ("Content-Type: application/x-rtpengine-ng", "Content-Type: application/json; charset=utf-8");
    let status = async |stream: &mut TcpStream, head: &str, body: &str| exchange(stream, head, body).await.0;
    assert_eq!(exchange(&mut stream, "GET /ping HTTP/1.1", "").await, (200, "pong".into()));
    for (head, body, expected) in [
        ("POST /ping HTTP/1.1", "", 405),
        ("GET /ng HTTP/1.1", "", 405),
        ("POST /elsewhere HTTP/1.1", "", 404),
        ("POST /ng HTTP/1.1\r\nContent-Type: text/plain", "", 415),
        (&format!("POST /ng HTTP/1.1\r\n{json}"), "", 415),
        (&format!("POST /ng HTTP/1.1\r\n{ng}\r\n{bearer}"), "rubbish", 400),
        (&format!("POST /ng HTTP/1.1\r\n{ng}"), "a d7:command4:pinge", 401),
        (&format!("POST /ng HTTP/1.1\r\n{ng}\r\n{bearer}0"), "a d7:command4:pinge", 401),
    ] {
        assert_eq!(status(&mut stream, head, body).await, expected, "{head}");
    }
    let plain = format!("POST /ng-plain HTTP/1.1\r\n{json}\r\n{bearer}");
    let asked = exchange(&mut stream, &plain, "{\"command\":\"list\"}");
    let (said, request) = tokio::join!(asked, scene.work());
    assert_eq!((said, request.request.command), ((200, "{\"result\":\"list\"}".into()), Command::List));
    let head = format!("POST /ng HTTP/1.1\r\n{ng}\r\n{bearer}");
    let (said, _) = tokio::join!(exchange(&mut stream, &head, "cookie d7:command4:pinge"), scene.work());
    assert_eq!(said, (200, "cookie d6:result4:pinge".into()));
    // An unknown command is answered, not taken.
    let (code, said) = exchange(&mut stream, &head, "c d7:command4:zapse").await;
    assert!(code == 200 && said.contains("Unrecognized command"), "{said}");
    let long = "x".repeat(shared::MAX_REQUEST + 1);
    assert_eq!(status(&mut stream, &head, &long).await, 413);
}

#[tokio::test]
async fn a_web_socket_carries_both_forms() {
    let mut scene = Scene::open(&[NgTransport::Http], |_| ());
    let upgrade = |protocol: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: chat, {protocol}\r\n\r\n"
        )
    };
    let mut refused = TcpStream::connect(scene.at(0)).await.unwrap();
    refused.write_all(upgrade("other").as_bytes()).await.unwrap();
    assert!(read(&mut refused, 12).await.ends_with(b"400"));
    for (protocol, sent, expected) in [
        ("ng.rtpengine.com", "c1 d7:command4:pinge", "\u{82}c1 d6:result4:pinge"),
        ("ng-plain.rtpengine.com", "{\"command\":\"ping\"}", "\u{81}{\"result\":\"ping\"}"),
        ("echo.rtpengine.com", "anything", "\u{81}anything"),
    ] {
        let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
        stream.write_all(upgrade(protocol).as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(read(&mut stream, 1).await);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(
            head.starts_with("http/1.1 101") && head.contains(&format!("sec-websocket-protocol: {protocol}"))
        );
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        let mut frame = vec![0x81, 0x80 | u8::try_from(sent.len()).unwrap(), 1, 2, 3, 4];
        frame.extend(sent.bytes().zip([1, 2, 3, 4].into_iter().cycle()).map(|(octet, mask)| octet ^ mask));
        stream.write_all(&frame).await.unwrap();
        if protocol != "echo.rtpengine.com" {
            scene.work().await;
        }
        let mut expected = expected.chars();
        let first = expected.next().unwrap() as u8;
        let text = expected.as_str();
        let got = read(&mut stream, text.len() + 2).await;
        assert_eq!((got[0], usize::from(got[1]), &got[2..]), (first, text.len(), text.as_bytes()));
        // Close is answered with close.
        stream.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        assert_eq!(read(&mut stream, 4).await, [0x88, 2, 0x03, 0xe8]);
        assert_eq!(rest(&mut stream).await, "");
    }
}

#[tokio::test]
async fn tls_asks_for_a_certificate_where_authorities_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let made = Credential::self_signed(&[SubjectName::Dns(name.to_owned())], 2).unwrap();
        let path = |end: &str| directory.path().join(format!("{name}.{end}"));
        std::fs::write(path("pem"), made.certificate_pem().unwrap()).unwrap();
        std::fs::write(path("key"), made.private_key_pem().unwrap()).unwrap();
        (made, path("pem"), path("key"))
    };
    let ((_, certificate, key), (proxy, vouched, _), (other, ..)) =
        (make("gw"), make("proxy"), make("other"));
    let tls = NgTls::read(&certificate, &key, Some(&vouched)).unwrap();
    let mut scene = Scene::open(&[NgTransport::Tls, NgTransport::Https], |config| config.tls = Some(tls));
    let connect = async |at: SocketAddr, credential: Option<Credential>| {
        let trust = Trust::File(certificate.clone());
        let settings = CertificateSettings { credential, trust, ..CertificateSettings::default() };
        let context = CertificateContext::new(&settings).unwrap();
        let stream = TcpStream::connect(at).await.unwrap();
        context.connect(stream, &Peer::Named("gw".into())).await
    };
    for at in [scene.at(0), scene.at(1)] {
        for credential in [None, Some(other.clone())] {
            // TLS 1.3 tells a client only after its own handshake.
            if let Ok((mut stream, _)) = connect(at, credential).await {
                let _ = stream.write_all(b"a d7:command4:pingeGET /ping HTTP/1.1\r\n\r\n").await;
                assert_eq!(rest(&mut stream).await, "");
            }
        }
    }
    let (mut stream, _) = connect(scene.at(0), Some(proxy.clone())).await.unwrap();
    stream.write_all(b"a d7:command4:pinge").await.unwrap();
    scene.work().await;
    let expected = b"a d6:result4:pinge";
    assert_eq!(read(&mut stream, expected.len()).await, expected);
    let (mut stream, _) = connect(scene.at(1), Some(proxy)).await.unwrap();
    assert_eq!(exchange(&mut stream, "GET /ping HTTP/1.1", "").await, (200, "pong".into()));
    assert_eq!(scene.server.tally().taken, 1);
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be_are_named() {
    let (_drain, token) = drain();
    let missing = NgTls::read("/no/such.pem".as_ref(), "/no/such.key".as_ref(), None).map(drop).unwrap_err();
    assert!(missing.to_string().contains("/no/such.key"));
    let listen = |transport| vec![NgListen { transport, address: "127.0.0.1:0".parse().unwrap() }];
    let open = |transport, tls| {
        let config = NgConfig { listen: listen(transport), peers: Vec::new(), tls, token: None };
        NgServer::open(config, &token).map(drop).unwrap_err().to_string()
    };
    assert!(open(NgTransport::Https, None).contains("needs a certificate"));
}
