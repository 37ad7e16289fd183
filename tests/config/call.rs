//! Two telephones, as simple as can be: one calls, by UDP or TLS, and one answers, by UDP. Over IPv4 or IPv6.

use crate::process::PATIENCE;
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

pub struct Telephone {
    wire: Wire,
    /// Where its media comes to.
    listener: TcpListener,
    ip: IpAddr,
    port: u16,
}

/// What its signalling goes by.
enum Wire {
    Datagrams(UdpSocket),
    /// And what has come and is no whole message yet.
    Tls(Box<RefCell<(SslStream<TcpStream>, Vec<u8>)>>),
}

/// How long a read waits: time is counted elsewhere.
const MOMENT: Duration = Duration::from_millis(200);

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
        Self::on(Ipv4Addr::LOCALHOST.into())
    }

    /// One on an address of this host.
    pub fn on(ip: IpAddr) -> Self {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            let port = socket.local_addr().unwrap().port();
            if let Ok(listener) = TcpListener::bind((ip, port)) {
                break (socket, listener);
            }
        };
        socket.set_read_timeout(Some(MOMENT)).unwrap();
        let port = socket.local_addr().unwrap().port();
        Self { wire: Wire::Datagrams(socket), listener, ip, port }
    }

    /// One that is connected by TLS to the border at that port. Whose certificate that shows is looked at elsewhere.
    pub fn secure(border: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, border)).unwrap();
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.set_verify(SslVerifyMode::NONE);
        let mut settings = builder.build().configure().unwrap();
        settings.set_verify_hostname(false);
        let stream = settings.connect("border.example", stream).unwrap();
        stream.get_ref().set_read_timeout(Some(MOMENT)).unwrap();
        let telephone = Self::new();
        Self { wire: Wire::Tls(Box::new(RefCell::new((stream, Vec::new())))), ..telephone }
    }

    /// The media of a call that it made to `other`.
    pub fn talks(&self, call: &Call, other: &Self) -> Flow {
        let near = TcpStream::connect(call.media.unwrap()).unwrap();
        let (far, _) = other.listener.accept().unwrap();
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        }
        Flow([near, far])
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as SIP has it.
    fn at(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    fn over(&self) -> &'static str {
        match self.wire {
            Wire::Datagrams(_) => "UDP",
            Wire::Tls(_) => "TLS",
        }
    }

    /// The next message that begins so; others are of transactions that are over.
    pub fn hears(&self, begin: &str) -> Heard {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(heard) = self.next().filter(|heard| heard.text.starts_with(begin)) {
                return heard;
            }
        }
        panic!("{} has not heard {begin}", self.port);
    }

    /// What comes within a moment.
    fn next(&self) -> Option<Heard> {
        let mut buffer = vec![0; 65_536];
        match &self.wire {
            Wire::Datagrams(socket) => {
                let (length, from) = socket.recv_from(&mut buffer).ok()?;
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                Some(Heard { text, from: from.port() })
            }
            Wire::Tls(both) => {
                let mut both = both.borrow_mut();
                let (stream, read) = &mut *both;
                if let Some(text) = whole(read) {
                    return Some(Heard { text, from: 0 });
                }
                match stream.read(&mut buffer) {
                    Ok(0) => panic!("the connection of {} has ended", self.port),
                    Ok(n) => read.extend_from_slice(&buffer[..n]),
                    Err(_) => {}
                }
                whole(read).map(|text| Heard { text, from: 0 })
            }
        }
    }

    fn description(&self, setup: &str) -> String {
        let (port, at) = (self.port, self.at());
        let ip = match self.ip {
            IpAddr::V4(ip) => format!("IP4 {ip}"),
            IpAddr::V6(ip) => format!("IP6 {ip}"),
        };
        format!(
            "v=0\r\no=- {port} 1 IN {ip}\r\ns=-\r\nc=IN {ip}\r\nt=0 0\r\n\
             m=message {port} TCP/MSRP *\r\na=accept-types:text/plain\r\na=setup:{setup}\r\n\
             a=path:msrp://{at}/s{port};tcp\r\na=msrp-cema\r\n"
        )
    }

    fn send(&self, to: u16, first: &str, fields: &str, body: &str) {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!("{first}\r\n{fields}{kind}Content-Length: {}\r\n\r\n{body}", body.len());
        match &self.wire {
            Wire::Datagrams(socket) => drop(socket.send_to(text.as_bytes(), (self.ip, to)).unwrap()),
            Wire::Tls(both) => both.borrow_mut().0.write_all(text.as_bytes()).unwrap(),
        }
    }

    fn request(&self, to: u16, method: &str, number: u32, call: &Call, body: &str) {
        let (port, at, over) = (self.port, self.at(), self.over());
        let fields = format!(
            "Via: SIP/2.0/{over} {at};branch=z9hG4bK{}{method}{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@a.example>;tag=a{port}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n\
             Contact: <sip:a@{at};transport={}>\r\n",
            call.id,
            call.to,
            call.id,
            over.to_lowercase()
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
        let ip = line("c=IN IP").split(' ').nth(1).unwrap_or_default();
        call.media = Some(SocketAddr::new(ip.trim().parse().unwrap(), port));
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
        fields.push_str(&format!("To: {to}{tag}\r\nContact: <sip:b@{}>\r\n", self.at()));
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

/// The first message of what was read, if it is whole.
fn whole(read: &mut Vec<u8>) -> Option<String> {
    let head = read.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&read[..head]).into_owned();
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    let message = String::from_utf8_lossy(read.get(..head + length)?).into_owned();
    read.drain(..head + length);
    Some(message)
}
