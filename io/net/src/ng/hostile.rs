//! Real sockets: those who want harm, those who have gone, and what other programs make of it.

use super::shared::Times;
use super::tests::{PATIENCE, Scene, TOKEN, answer, exchange, read, rest};
use super::*;
use carnet_tls::{Credential, SubjectName};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const SHORT: Duration = Duration::from_millis(700);

fn hurried(times: &mut Times) {
    times.patience = SHORT;
}

fn with_token(config: &mut NgConfig) {
    config.token = Some(NgToken::new(TOKEN.to_owned().into()));
}

fn upgrade(protocol: &str, more: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{more}\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
}

/// The head of an answer of HTTP.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read(stream, 1).await);
    }
    String::from_utf8(head).unwrap()
}

/// Writes an octet at a time, each well within the time for a read, until the other end has had enough.
async fn trickle(mut stream: TcpStream, octets: &'static [u8]) {
    let drip = async {
        for octet in octets.iter().cycle() {
            let mut nothing = [0; 64];
            tokio::select! {
                read = stream.read(&mut nothing) => if !matches!(read, Ok(n) if n > 0) { return },
                () = tokio::time::sleep(SHORT / 10) => if stream.write_all(&[*octet]).await.is_err() { return },
            }
        }
    };
    tokio::time::timeout(PATIENCE, drip).await.expect("closed in time");
}

#[tokio::test]
async fn a_message_that_trickles_in_buys_no_time() {
    let scene = Scene::timed(&[NgTransport::Tcp, NgTransport::Http], |_| (), hurried);
    let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
    stream.write_all(b"a {\"x\":\"").await.unwrap();
    trickle(stream, b"slow").await;
    let mut stream = TcpStream::connect(scene.at(1)).await.unwrap();
    stream.write_all(b"POST /ng HTTP/1.1\r\nX: ").await.unwrap();
    trickle(stream, b"slow").await;
    // Fragments with nothing in them, and pings between.
    let mut stream = TcpStream::connect(scene.at(1)).await.unwrap();
    stream.write_all(upgrade("ng.rtpengine.com", "").as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101"));
    stream.write_all(&[0x01, 0x80, 0, 0, 0, 0]).await.unwrap();
    trickle(stream, &[0x00, 0x80, 0, 0, 0, 0, 0x89, 0x80, 0, 0, 0, 0]).await;
}

#[tokio::test]
async fn a_connection_that_only_waits_outlives_the_time_of_a_message() {
    let mut scene = Scene::timed(&[NgTransport::Tcp], |_| (), hurried);
    let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"a d7:command4:pinge\r\n").await.unwrap();
        scene.work().await;
        assert_eq!(read(&mut stream, 18).await, b"a d6:result4:pinge");
        tokio::time::sleep(SHORT * 2).await;
    }
}

#[tokio::test]
async fn what_nobody_answers_is_given_up() {
    let all = [NgTransport::Udp, NgTransport::Tcp, NgTransport::Http];
    let mut scene = Scene::timed(&all, |_| (), |times| times.longest = SHORT);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(scene.at(0)).await.unwrap();
    client.send(b"a1 d7:command4:pinge").await.unwrap();
    let first = scene.request().await;
    let mut stream = TcpStream::connect(scene.at(1)).await.unwrap();
    stream.write_all(b"b d7:command4:pinge").await.unwrap();
    scene.request().await;
    let mut http = TcpStream::connect(scene.at(2)).await.unwrap();
    let post = "POST /ng HTTP/1.1\r\nContent-Type: application/x-rtpengine-ng";
    assert_eq!(exchange(&mut http, post, "c d7:command4:pinge").await.0, 504);
    scene.request().await;
    let said = read(&mut stream, 24).await;
    assert!(said.starts_with(b"b d6:result5:error"), "{}", said.escape_ascii());
    scene.tallied(|tally| tally.overdue == 3).await;
    // Too late for that one; it is taken anew when it comes again.
    scene.server.answer(first.number, &answer("late"));
    client.send(b"a1 d7:command4:pinge").await.unwrap();
    let again = scene.work().await;
    assert_ne!(again.number, first.number);
    let mut buffer = [0; 100];
    let length = tokio::time::timeout(PATIENCE, client.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer[..length], b"a1 d6:result4:pinge");
}

#[tokio::test]
async fn two_servers_do_not_answer_each_other() {
    let mut scene = Scene::open(&[NgTransport::Udp], |_| ());
    let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    other.connect(scene.at(0)).await.unwrap();
    let mut buffer = [0; 1000];
    // In the name of another server, something that is answered with an error.
    other.send(b"x d7:command4:zapse").await.unwrap();
    let length = tokio::time::timeout(PATIENCE, other.recv(&mut buffer)).await.unwrap().unwrap();
    // The other server's answer to that error would be just such an error, and ends there.
    other.send(&buffer[..length]).await.unwrap();
    other.send(b"x {\"result\":\"error\",\"error-reason\":\"`command` is missing\"}").await.unwrap();
    scene.tallied(|tally| tally.malformed == 3).await;
    other.send(b"y d7:command4:pinge").await.unwrap();
    scene.work().await;
    let length = tokio::time::timeout(PATIENCE, other.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer[..length], b"y d6:result4:pinge");
}

#[tokio::test]
async fn one_who_does_not_read_holds_up_nobody_and_is_let_go() {
    let mut scene = Scene::timed(&[NgTransport::Tcp], |_| (), hurried);
    let mut deaf = TcpStream::connect(scene.at(0)).await.unwrap();
    let mut other = TcpStream::connect(scene.at(0)).await.unwrap();
    let long = answer(&"x".repeat(200_000));
    let asks: String = (0..200).map(|n| format!("c{n} d7:command4:liste")).collect();
    deaf.write_all(asks.as_bytes()).await.unwrap();
    let ask = async {
        for _ in 0..20 {
            other.write_all(b"o d7:command4:pinge").await.unwrap();
            read(&mut other, 18).await;
        }
    };
    let work = async {
        loop {
            let Some(request) = scene.requests.recv().await else { return };
            let body = if request.request.command.as_str() == "ping" { answer("ping") } else { long.clone() };
            scene.server.answer(request.number, &body);
        }
    };
    tokio::select! {
        () = ask => {}
        () = work => unreachable!("the server is there"),
    }
    // It has been reset, or ends short of what was asked for.
    tokio::time::sleep(SHORT * 3).await;
    let mut read = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, deaf.read_to_end(&mut read)).await.expect("closed");
    assert!(read.len() < 200 * 200_000, "{}", read.len());
}

#[tokio::test]
async fn a_source_has_so_many_connections_and_no_more() {
    let scene = Scene::open(&[NgTransport::Tcp], |_| ());
    let mut held = Vec::new();
    for _ in 0..shared::MOST_OF_SOURCE {
        held.push(TcpStream::connect(scene.at(0)).await.unwrap());
    }
    let mut more = TcpStream::connect(scene.at(0)).await.unwrap();
    assert_eq!(rest(&mut more).await, "");
    scene.tallied(|tally| tally.crowded == 1).await;
    // Whose place is free again.
    held.clear();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
        let _ = stream.write_all(b"rubbish\r\n").await;
        let _ = rest(&mut stream).await;
        if scene.server.tally().malformed > 0 {
            return;
        }
        assert!(Instant::now() < deadline, "no place became free");
    }
}

#[tokio::test]
async fn an_upgrade_is_refused_for_a_wrong_token_and_for_pages_of_others() {
    let scene = Scene::open(&[NgTransport::Http], with_token);
    let ask = async |scene: &Scene, protocol: &str, more: &str| {
        let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
        stream.write_all(upgrade(protocol, more).as_bytes()).await.unwrap();
        head(&mut stream).await[9..12].parse::<u16>().unwrap()
    };
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for (protocol, more, status) in [
        ("ng.rtpengine.com", "Authorization: Bearer wrong\r\n", 401),
        ("ng.rtpengine.com", "", 101),
        ("echo.rtpengine.com", "", 401),
        ("echo.rtpengine.com", right.as_str(), 101),
        ("ng.rtpengine.com", &format!("{right}Origin: https://attacker.example\r\n"), 101),
    ] {
        assert_eq!(ask(&scene, protocol, more).await, status, "{protocol} {more}");
    }
    assert_eq!(scene.server.tally().without_token, 2);
    let mut scene = Scene::open(&[NgTransport::Http], |_| ());
    for (more, status) in [
        ("Origin: https://attacker.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: http://127.0.0.1:8080\r\n", 403),
        ("Origin: http://127.0.0.1\r\n", 101),
        ("", 101),
    ] {
        assert_eq!(ask(&scene, "ng.rtpengine.com", more).await, status, "{more}");
    }
    // A name that was made to lead here.
    let mut stream = TcpStream::connect(scene.at(0)).await.unwrap();
    let post = "POST /ng-plain HTTP/1.1\r\nHost: attacker.example\r\nOrigin: http://attacker.example\r\n\
                Content-Type: application/json\r\nContent-Length: 18\r\n\r\n{\"command\":\"ping\"}";
    stream.write_all(post.as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 403"));
    assert!(scene.requests.try_recv().is_err());
}

/// What a program says to that input, up to the end of one answer.
async fn said(arguments: &[&str], input: String) -> String {
    let mut child = Command::new("timeout")
        .arg("30")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = tokio::task::spawn_blocking(move || {
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        // One of them reads to the end of it first.
        drop(stdin);
        let mut stdout = child.stdout.take().unwrap();
        let (mut out, mut buffer) = (Vec::new(), [0; 1000]);
        while !out.ends_with(b"e") && !out.ends_with(b"}") {
            match stdout.read(&mut buffer) {
                Ok(n) if n > 0 => out.extend_from_slice(&buffer[..n]),
                _ => break,
            }
        }
        // `timeout` passes it on.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        );
        let _ = child.wait();
        String::from_utf8(out).unwrap()
    });
    said.await.unwrap()
}

#[tokio::test]
async fn curl_and_openssl_ask_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let made = Credential::self_signed(&[SubjectName::Dns("gw.example".into())], 2).unwrap();
    std::fs::write(path("gw.pem"), made.certificate_pem().unwrap()).unwrap();
    std::fs::write(path("gw.key"), made.private_key_pem().unwrap()).unwrap();
    let tls = NgTls::read(&path("gw.pem"), &path("gw.key"), None).unwrap();
    let mut scene = Scene::open(&[NgTransport::Tls, NgTransport::Https], |config| {
        config.tls = Some(tls);
        with_token(config);
    });
    let trusted = path("gw.pem").to_string_lossy().into_owned();
    let at = scene.at(0).to_string();
    let arguments =
        ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", &trusted, "-connect", &at];
    let ask = format!("k d7:command4:ping5:token16:{TOKEN}e");
    let (out, _) = tokio::join!(said(&arguments, ask), scene.work());
    assert_eq!(out, "k d6:result4:pinge");
    let port = scene.at(1).port();
    let (url, resolve) =
        (format!("https://gw.example:{port}/ng-plain"), format!("gw.example:{port}:127.0.0.1"));
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let curl =
        ["curl", "-sS", "--cacert", &trusted, "--resolve", &resolve, "-H", "Content-Type: application/json"];
    let last = ["--data-binary", "@-", &url];
    let ping = "{\"command\":\"ping\"}";
    let with = [&curl[..], &["-H", &bearer], &last].concat();
    let (out, _) = tokio::join!(said(&with, ping.into()), scene.work());
    assert_eq!(out, "{\"result\":\"ping\"}");
    let out = said(&[&curl[..], &last].concat(), ping.into()).await;
    assert!(out.starts_with("{\"result\":\"error\"") && out.contains("token"), "{out}");
    // A body that is announced before it is sent, and too long.
    let long = "x".repeat(shared::MAX_REQUEST + 1);
    let waits = ["-H", &bearer, "-H", "Expect: 100-continue", "-w", "%{http_code}}"];
    let out = said(&[&curl[..], &waits, &last].concat(), long).await;
    assert_eq!(out, "413}");
    assert_eq!(scene.server.tally().taken, 2);
}
