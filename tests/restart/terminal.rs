//! A terminal on a socket, played by hand: UDP, TCP or TLS, with a Contact at which it listens or one that leads nowhere,
//! as behind a NAT. Its messages are text.

use crate::stage::{PATIENCE, Stage};
use carnet_sip::{DigestClient, Message, Password};
use carnet_wire::SeededRandom;
use openssl::ssl::{SslAcceptor, SslConnector, SslFiletype, SslMethod, SslStream, SslVerifyMode};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a terminal speaks over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Udp,
    Tcp,
    Tls,
}

impl Over {
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

enum Wire {
    Datagrams(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

pub struct Terminal {
    pub user: &'static str,
    over: Over,
    border: SocketAddr,
    wire: Wire,
    /// Where its Contact leads, unless it is behind a NAT.
    listener: TcpListener,
    contact: String,
    read: Vec<u8>,
    directory: PathBuf,
    branches: u32,
}

/// A dialog as one end sees it.
#[derive(Debug, Clone)]
pub struct Dialog {
    pub call_id: String,
    pub local: String,
    pub remote: String,
    pub target: String,
}

impl Terminal {
    /// One that is connected, if that is what it does.
    pub fn new(stage: &Stage, user: &'static str, over: Over, behind_nat: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut this = Self {
            user,
            over,
            border: stage.sip(over),
            wire: Wire::Datagrams(UdpSocket::bind("127.0.0.1:0").unwrap()),
            contact: listener.local_addr().unwrap().to_string(),
            listener,
            read: Vec::new(),
            directory: stage.directory().to_owned(),
            branches: 0,
        };
        match over {
            Over::Udp => {
                let Wire::Datagrams(socket) = &this.wire else { unreachable!() };
                socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                this.contact = socket.local_addr().unwrap().to_string();
            }
            _ => this.connect(),
        }
        if behind_nat {
            this.contact = "10.99.99.99:5060".into();
        }
        this
    }

    /// Makes a connection, in place of the one that it had.
    pub fn connect(&mut self) {
        let stream = TcpStream::connect(self.border).unwrap();
        self.read.clear();
        self.wire = match self.over {
            Over::Tls => {
                let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
                builder.set_ca_file(self.directory.join("all.pem")).unwrap();
                builder.set_verify(SslVerifyMode::PEER);
                Wire::Tls(Box::new(builder.build().connect("127.0.0.1", stream).unwrap()))
            }
            _ => Wire::Tcp(stream),
        };
        self.quick();
    }

    /// Reads do not wait long: time is counted elsewhere.
    fn quick(&self) {
        if let Wire::Tcp(stream) = &self.wire {
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        }
        if let Wire::Tls(stream) = &self.wire {
            stream.get_ref().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        }
    }

    /// The border connects to where the Contact says.
    pub fn is_connected_to(&mut self) {
        self.listener.set_nonblocking(true).unwrap();
        let end = Instant::now() + PATIENCE;
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(Instant::now() < end, "nobody connects to {}", self.user);
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("{error}"),
            }
        };
        stream.set_nonblocking(false).unwrap();
        self.read.clear();
        self.wire = match self.over {
            Over::Tls => {
                let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
                builder.set_certificate_chain_file(self.directory.join("terminal.pem")).unwrap();
                builder.set_private_key_file(self.directory.join("terminal.key"), SslFiletype::PEM).unwrap();
                Wire::Tls(Box::new(builder.build().accept(stream).unwrap()))
            }
            _ => Wire::Tcp(stream),
        };
        self.quick();
    }

    /// Waits until the connection has ended.
    pub fn is_cut(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.more() {
            assert!(Instant::now() < end, "the connection of {} does not end", self.user);
        }
    }

    /// Reads what is there; false if the connection has ended.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        let got = match &mut self.wire {
            Wire::Datagrams(socket) => socket.recv(&mut buffer),
            Wire::Tcp(stream) => stream.read(&mut buffer),
            Wire::Tls(stream) => stream.read(&mut buffer),
        };
        match got {
            Ok(0) => false,
            Ok(n) => {
                self.read.extend_from_slice(&buffer[..n]);
                true
            }
            Err(error) => {
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
                    // A datagram to a border that is away.
                    || self.over == Over::Udp
            }
        }
    }

    /// The next message that is there.
    fn next(&mut self) -> Option<String> {
        let head = self.read.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&self.read[..head]).into_owned();
        let length = text.lines().find_map(|l| l.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |l| l.trim().parse().unwrap());
        let whole = self.read.get(..head + length)?.to_vec();
        self.read.drain(..head + length);
        Some(String::from_utf8(whole).unwrap())
    }

    /// The next message that begins so; others are passed over.
    #[track_caller]
    pub fn take(&mut self, start: &str) -> String {
        self.take_within(start, PATIENCE)
            .unwrap_or_else(|seen| panic!("{} waits in vain for {start}; there came {seen:#?}", self.user))
    }

    /// The same, or what else there was.
    pub fn take_within(&mut self, start: &str, limit: Duration) -> Result<String, Vec<String>> {
        let end = Instant::now() + limit;
        let mut seen = Vec::new();
        loop {
            while let Some(message) = self.next() {
                if message.starts_with(start) {
                    return Ok(message);
                }
                seen.push(message);
            }
            if Instant::now() > end || !self.more() {
                return Err(seen);
            }
        }
    }

    pub fn say(&mut self, text: &str) {
        match &mut self.wire {
            Wire::Datagrams(socket) => {
                // The border may be away.
                let _ = socket.send_to(text.as_bytes(), self.border);
            }
            Wire::Tcp(stream) => stream.write_all(text.as_bytes()).unwrap(),
            Wire::Tls(stream) => stream.write_all(text.as_bytes()).unwrap(),
        }
    }

    /// A request; `headers` are whole lines.
    pub fn request(&mut self, method: &str, cseq: u32, to: &Dialog, headers: &str, body: &str) -> String {
        self.branches += 1;
        let over = self.over.name().to_uppercase();
        let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{over} {};branch=z9hG4bK-{}-{}-{method};rport\r\nMax-Forwards: 70\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\nContact: <{}>\r\n{headers}{content}\
             Content-Length: {}\r\n\r\n{body}",
            to.target,
            self.contact,
            self.user,
            self.branches,
            to.local,
            to.remote,
            to.call_id,
            self.uri(),
            body.len()
        )
    }

    /// A response to a request.
    pub fn answer(&self, request: &str, status: &str, headers: &str, body: &str) -> String {
        let to = header(request, "To");
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag=t-{}", self.user) };
        let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "SIP/2.0 {status}\r\n{}{}From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <{}>\r\n\
             {headers}{content}Content-Length: {}\r\n\r\n{body}",
            lines(request, "Via"),
            lines(request, "Record-Route"),
            header(request, "From"),
            header(request, "Call-ID"),
            header(request, "CSeq"),
            self.uri(),
            body.len()
        )
    }

    /// The ACK to a refusal of an INVITE, which belongs to its transaction.
    pub fn acknowledge(&mut self, invite: &str, refusal: &str) {
        let target = invite.split(' ').nth(1).unwrap();
        let cseq = header(invite, "CSeq").replace("INVITE", "ACK");
        self.say(&format!(
            "ACK {target} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq}\r\n\
             Content-Length: 0\r\n\r\n",
            lines(invite, "Via"),
            header(invite, "From"),
            header(refusal, "To"),
            header(invite, "Call-ID"),
        ));
    }

    fn uri(&self) -> String {
        format!("sip:{}@{};transport={}", self.user, self.contact, self.over.name())
    }

    /// A dialog that it begins.
    pub fn begins(&self, call_id: &str, with: &str) -> Dialog {
        Dialog {
            call_id: call_id.into(),
            local: format!("<sip:{}@a.example>;tag=f-{}", self.user, self.user),
            remote: format!("<sip:{with}@a.example>"),
            target: format!("sip:{with}@a.example"),
        }
    }

    /// What it is for the one who answered a request of it so.
    pub fn called(&self, before: &Dialog, answer: &str) -> Dialog {
        Dialog { remote: header(answer, "To"), target: contact(answer), ..before.clone() }
    }

    /// What it is for the one who was asked so.
    pub fn asked(&self, request: &str) -> Dialog {
        let tag = format!(";tag=t-{}", self.user);
        Dialog {
            call_id: header(request, "Call-ID"),
            local: header(request, "To") + &tag,
            remote: header(request, "From"),
            target: contact(request),
        }
    }

    /// Registers with digest.
    pub fn register(&mut self, cseq: u32) {
        let this = format!("<sip:{}@a.example>", self.user);
        let dialog = Dialog {
            call_id: format!("reg-{}-{}", self.user, self.directory.display()).replace('/', "-"),
            local: format!("{this};tag=r{cseq}"),
            remote: this,
            target: "sip:a.example".into(),
        };
        let first = self.request("REGISTER", cseq, &dialog, "Expires: 600\r\n", "");
        self.say(&first);
        let challenge = self.take("SIP/2.0 401");
        let password = Password::new(format!("{}-password", self.user).into_bytes());
        let mut client = DigestClient::new(self.user, password).unwrap();
        client.challenged(&parsed(&challenge)).unwrap();
        let second = self.request("REGISTER", cseq + 1, &dialog, "Expires: 600\r\n", "");
        let mut second = parsed(&second);
        client.authorize(&mut second, &mut SeededRandom::new(cseq.into())).unwrap();
        let second = String::from_utf8(second.to_bytes().to_vec()).unwrap();
        self.say(&second);
        self.take("SIP/2.0 200");
    }
}

fn parsed(text: &str) -> Message {
    Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes()), &carnet_sip::Limits::default()).unwrap()
}

pub fn header(message: &str, name: &str) -> String {
    let start = format!("{name}: ");
    let value = message.lines().find_map(|l| l.strip_prefix(&start));
    value.unwrap_or_else(|| panic!("no {name} in {message}")).to_owned()
}

fn lines(message: &str, name: &str) -> String {
    let start = format!("{name}: ");
    message.lines().filter(|l| l.starts_with(&start)).map(|l| format!("{l}\r\n")).collect()
}

pub fn contact(message: &str) -> String {
    let value = header(message, "Contact");
    value.split(['<', '>']).nth(1).unwrap_or(&value).to_owned()
}

/// A session with MSRP in it.
pub fn sdp(port: u16, setup: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message {port} TCP/MSRP *\r\n\
         a=accept-types:*\r\na=path:msrp://127.0.0.1:{port}/s;tcp\r\na=msrp-cema\r\na=setup:{setup}\r\n"
    )
}
