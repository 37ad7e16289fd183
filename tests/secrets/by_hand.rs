//! A member of a room that is played by hand, so that its keys are known: the ticket of the real key server, SIP written down.

use crate::stage::{PATIENCE, ROOM, Stage};
use carnet_mikey::{Identity, Profile, Psk, key_mgmt, request_init};
use carnet_net::OsRandom;
use carnet_wire::hex;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::SystemTime;

/// What it knows.
pub struct Known {
    /// The key of its media line, which the conference server gave to its media server.
    pub tek: Vec<u8>,
    /// What it sent, and what came back.
    pub invite: String,
    pub answer: String,
    /// The messages that carried keys.
    pub mikey: [Vec<u8>; 2],
    /// Keeps it in the room.
    pub _connection: TcpStream,
}

/// Enters the room as somebody.
pub fn enter(stage: &Stage, name: &str) -> Known {
    let uri = format!("sip:{name}@a.example");
    let id = |uri: &str| Identity::from_uri(uri).unwrap();
    let key = std::fs::read_to_string(stage.path(&format!("{name}.psk"))).unwrap();
    let psk = Psk::new(&hex::decode(key.trim().as_bytes()).unwrap()).unwrap();
    let (profile, now) = (Profile::default(), SystemTime::now());
    let (me, kms, room) = (id(&uri), id("sip:kms.example"), id(ROOM));
    let (pending, question) =
        request_init(&profile, now, &mut OsRandom, &me, uri.as_bytes(), &psk, &kms, &room);
    let granted = ask(SocketAddr::from((stage.at(9, 1), 8443)), &question);
    let ticket = pending.response(&granted, SystemTime::now()).unwrap();
    let (offered, init) = ticket.offer(&profile, SystemTime::now(), &mut OsRandom);

    let mut connection = TcpStream::connect((stage.at(2, 3), 5060)).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let here = connection.local_addr().unwrap();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=message 9 TCP/TLS/MSRP *\r\n\
         a=accept-types:message/cpim text/plain\r\na=accept-wrapped-types:*\r\na=setup:active\r\n\
         a=path:msrps://{0}:9/byhand;tcp\r\na=key-mgmt:{1}\r\n",
        here.ip(),
        key_mgmt::print(&init)
    );
    let request = |method: &str, to: &str, target: &str, body: &str| {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/TCP {here};branch=z9hG4bKhand{method}\r\nMax-Forwards: 70\r\n\
             From: <{uri}>;tag=hand\r\nTo: {to}\r\nCall-ID: by-hand\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:{name}@{here};transport=tcp>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let invite = request("INVITE", &format!("<{ROOM}>"), ROOM, &sdp);
    connection.write_all(invite.as_bytes()).unwrap();
    let answer = loop {
        let response = message(&mut connection);
        if !response.starts_with("SIP/2.0 1") {
            break response;
        }
    };
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    let line =
        |start: &str| answer.lines().find_map(|line| line.strip_prefix(start)).unwrap().trim().to_owned();
    let (to, contact) = (line("To: "), line("Contact: "));
    let target = contact.split(['<', '>']).nth(1).unwrap();
    connection.write_all(request("ACK", &to, target, "").as_bytes()).unwrap();
    let transfer = key_mgmt::parse(&line("a=key-mgmt:")).unwrap();
    let tek = offered.answer(&transfer, SystemTime::now()).unwrap().tek.expose().to_vec();
    Known { tek, invite, answer, mikey: [init, transfer], _connection: connection }
}

/// The next SIP message of a connection.
fn message(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    while !octets.ends_with(b"\r\n\r\n") {
        let mut one = [0];
        stream.read_exact(&mut one).unwrap();
        octets.push(one[0]);
    }
    let head = String::from_utf8(octets).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length:")).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

/// Has the key server answer a ticket request.
fn ask(kms: SocketAddr, question: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(kms).unwrap();
    let head = format!(
        "POST /keymanagement?requesttype=ticketrequest HTTP/1.1\r\nHost: kms\r\nConnection: close\r\n\
         Content-Type: application/mikey\r\nContent-Length: {}\r\n\r\n",
        question.len()
    );
    stream.write_all(&[head.as_bytes(), question].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    answer.split_off(end)
}
