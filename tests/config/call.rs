//! Two telephones on UDP, as simple as can be: one calls, one answers.

use crate::process::PATIENCE;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

pub struct Telephone {
    socket: UdpSocket,
    /// Where its media comes to.
    listener: TcpListener,
    port: u16,
}

/// A message and what its header fields say.
pub struct Heard {
    pub text: String,
    /// The port that it came from.
    pub from: u16,
}

impl Heard {
    pub fn all(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        let field = |line: &'_ str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        head.lines().filter(|line| field(line)).collect()
    }

    pub fn value(&self, name: &str) -> &str {
        self.all(name).first().and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    }

    fn contact(&self) -> &str {
        let value = self.value("Contact");
        value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(uri, _)| uri)
    }
}

/// A call that stands, seen from who made it.
pub struct Call {
    id: String,
    to: String,
    target: String,
    /// Where its media goes.
    media: Option<SocketAddr>,
}

/// Octets that flow through the gateway, both ways.
pub struct Flow([TcpStream; 2]);

impl Flow {
    /// Something from each end to the other.
    pub fn flows(&mut self, text: &str) {
        let [near, far] = &mut self.0;
        pass(near, far, text);
        pass(far, near, text);
    }

    /// Where the gateway has the media of the caller.
    pub fn at(&self) -> SocketAddr {
        self.0[0].peer_addr().unwrap()
    }
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, text: &str) {
    from.write_all(text.as_bytes()).unwrap();
    let mut heard = vec![0; text.len()];
    let mut length = 0;
    let end = Instant::now() + PATIENCE;
    while length < heard.len() {
        match to.read(&mut heard[length..]) {
            Ok(0) => panic!("the media has ended"),
            Ok(n) => length += n,
            Err(e) if Instant::now() < end && e.kind() != std::io::ErrorKind::ConnectionReset => {}
            Err(e) => panic!("{e}"),
        }
    }
    assert_eq!(heard, text.as_bytes());
}

impl Telephone {
    pub fn new() -> Self {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = socket.local_addr().unwrap().port();
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                break (socket, listener);
            }
        };
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        let port = socket.local_addr().unwrap().port();
        Self { socket, listener, port }
    }

    /// The media of a call that it made to `other`.
    pub fn talks(&self, call: &Call, other: &Self) -> Flow {
        let near = TcpStream::connect(call.media.unwrap()).unwrap();
        let (far, _) = other.listener.accept().unwrap();
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        }
        Flow([near, far])
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next message that begins so; others are of transactions that are over.
    pub fn hears(&self, begin: &str) -> Heard {
        let end = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 65_536];
        while Instant::now() < end {
            if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.starts_with(begin) {
                    return Heard { text, from: from.port() };
                }
            }
        }
        panic!("{} has not heard {begin}", self.port);
    }

    fn description(&self, setup: &str) -> String {
        let port = self.port;
        format!(
            "v=0\r\no=- {port} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=message {port} TCP/MSRP *\r\na=accept-types:text/plain\r\na=setup:{setup}\r\n\
             a=path:msrp://127.0.0.1:{port}/s{port};tcp\r\na=msrp-cema\r\n"
        )
    }

    fn send(&self, to: u16, first: &str, fields: &str, body: &str) {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!("{first}\r\n{fields}{kind}Content-Length: {}\r\n\r\n{body}", body.len());
        self.socket.send_to(text.as_bytes(), ("127.0.0.1", to)).unwrap();
    }

    fn request(&self, to: u16, method: &str, number: u32, call: &Call, body: &str) {
        let port = self.port;
        let fields = format!(
            "Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{}{method}{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@a.example>;tag=a{port}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n\
             Contact: <sip:a@127.0.0.1:{port}>\r\n",
            call.id, call.to, call.id
        );
        self.send(to, &format!("{method} {} SIP/2.0", call.target), &fields, body);
    }

    /// Calls by the border at that port; `other` answers.
    pub fn calls(&self, border: u16, id: &str, other: &Self) -> Call {
        let target = "sip:b@b.example".to_owned();
        let mut call = Call { id: id.into(), to: format!("<{target}>"), target, media: None };
        self.request(border, "INVITE", 1, &call, &self.description("actpass"));
        let invite = other.hears("INVITE ");
        other.answers(invite.from, &invite, &other.description("passive"));
        let answer = self.hears("SIP/2.0 200");
        assert!(answer.text.contains("m=message"), "{}", answer.text);
        let line =
            |start: &str| answer.text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
        let port: u16 = line("m=message ").split(' ').next().unwrap().parse().unwrap();
        call.media = Some(SocketAddr::new(line("c=IN IP4 ").trim().parse().unwrap(), port));
        call.to = answer.value("To").into();
        call.target = answer.contact().into();
        self.request(border, "ACK", 1, &call, "");
        other.hears("ACK ");
        call
    }

    fn answers(&self, border: u16, request: &Heard, body: &str) {
        let mut fields: String = ["Via", "From", "Call-ID", "CSeq", "Record-Route"]
            .iter()
            .flat_map(|name| request.all(name))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let to = request.value("To");
        let tag = if to.contains("tag=") { String::new() } else { format!(";tag=b{}", self.port) };
        fields.push_str(&format!("To: {to}{tag}\r\nContact: <sip:b@127.0.0.1:{}>\r\n", self.port));
        self.send(border, "SIP/2.0 200 OK", &fields, body);
    }

    /// Ends the call; `other` hears of it.
    pub fn hangs_up(&self, border: u16, call: &Call, other: &Self) {
        self.request(border, "BYE", 2, call, "");
        let bye = other.hears("BYE ");
        other.answers(bye.from, &bye, "");
        self.hears("SIP/2.0 200");
    }

    /// Calls, and hears a refusal.
    pub fn is_refused(&self, border: u16, id: &str, status: u16) {
        let target = "sip:b@b.example".to_owned();
        let call = Call { id: id.into(), to: format!("<{target}>"), target, media: None };
        self.request(border, "INVITE", 1, &call, &self.description("actpass"));
        self.hears(&format!("SIP/2.0 {status} "));
        self.request(border, "ACK", 1, &call, "");
    }
}
