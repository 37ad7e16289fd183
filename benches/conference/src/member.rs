//! One member: TLS, MSRP, and a check of everything that it hears.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use carnet_msrp::{Decoder, Head, Limits, Piece, Start};
use carnet_tls::{Psk, PskContext, PskKey, PskSocket, Side};
use socket2::{Domain, Socket, Type};

use crate::Outcome;
use crate::room::{ROOM, identity, key};

/// What a turn brought.
pub enum Said {
    /// The room took a message of ours.
    Answered,
    /// Another's message, checked.
    Heard {
        /// From the sender's hand until here.
        delay: Duration,
        /// Octets of its frame.
        frame: usize,
    },
}

pub struct Member {
    line: PskSocket<Socket>,
    user: u16,
    door: SocketAddr,
    msrp: bool,
    up: bool,
    /// The room answered our first words.
    pub greeted: bool,
    pub ended: bool,
    /// Read altogether.
    pub octets: u64,
    decoder: Decoder,
    frame: u64,
    head: Option<Head>,
    body: Vec<u8>,
    out: Vec<u8>,
    expected: Option<u64>,
}

impl Member {
    pub fn connect(context: &PskContext, user: u16, door: SocketAddr, msrp: bool) -> Outcome<Self> {
        let socket = Socket::new(Domain::for_address(door), Type::STREAM, None)?;
        socket.connect(&door.into())?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let key = PskKey::new(identity(user), Psk::new(&key(user))?)?;
        let line = context.socket(socket, Side::Client, key)?;
        let decoder = Decoder::new(Limits::default());
        Ok(Self {
            line,
            user,
            door,
            msrp,
            up: false,
            greeted: false,
            ended: false,
            octets: 0,
            decoder,
            frame: 0,
            head: None,
            body: Vec::new(),
            out: Vec::new(),
            expected: None,
        })
    }

    pub fn socket(&self) -> &Socket {
        self.line.get_ref()
    }

    /// Reads and writes what can be.
    pub fn turn(&mut self, start: Instant, said: &mut impl FnMut(Said)) -> Outcome<()> {
        if self.ended {
            return Ok(());
        }
        if !self.up {
            if self.line.handshake()?.is_none() {
                return Ok(());
            }
            self.up = true;
            if self.msrp {
                let head = self.head("t0000");
                self.out.extend_from_slice(
                    format!("{head}Message-ID: m0\r\nByte-Range: 1-0/0\r\n-------t0000$\r\n").as_bytes(),
                );
            }
        }
        self.write()?;
        let mut buffer = [0; 16_384];
        loop {
            match self.line.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(octets) => {
                    self.octets += octets as u64;
                    if self.msrp {
                        self.hear(buffer.get(..octets).unwrap_or_default(), start, said)?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("member {}: {error}", self.user).into()),
            }
        }
        self.write()
    }

    fn write(&mut self) -> Outcome<()> {
        while !self.out.is_empty() {
            match self.line.write(self.out.get(..16_384).unwrap_or(&self.out)) {
                Ok(octets) => drop(self.out.drain(..octets)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn head(&self, tid: &str) -> String {
        let (door, user) = (self.door, self.user);
        format!(
            "MSRP {tid} SEND\r\nTo-Path: msrps://{door}/s{user};tcp\r\nFrom-Path: msrps://127.0.0.1:9/c{user};tcp\r\n"
        )
    }

    /// Queues a message of so many octets, which anybody can check.
    pub fn speak(&mut self, number: u64, stamp: Duration, octets: usize) {
        let mut text = format!("{number:016x}{:016x}", stamp.as_nanos() as u64).into_bytes();
        text.extend((text.len()..octets).map(|at| filler(number, at)));
        let mut content = format!(
            "From: <sip:user{}@example.com>\r\nTo: <{ROOM}>\r\nDateTime: 2026-11-26T12:00:00Z\r\n\r\n\
             Content-Type: text/plain\r\n\r\n",
            self.user
        )
        .into_bytes();
        content.extend_from_slice(&text);
        let (tid, length) = (format!("t{number:04}"), content.len());
        let head = self.head(&tid);
        self.out.extend_from_slice(
            format!(
                "{head}Message-ID: m{number}\r\nByte-Range: 1-{length}/{length}\r\nContent-Type: message/cpim\r\n\r\n"
            )
            .as_bytes(),
        );
        self.out.extend_from_slice(&content);
        self.out.extend_from_slice(format!("\r\n-------{tid}$\r\n").as_bytes());
    }

    fn hear(&mut self, mut input: &[u8], start: Instant, said: &mut impl FnMut(Said)) -> Outcome<()> {
        loop {
            let (used, piece) = self.decoder.decode(input)?;
            let nothing = piece.is_none();
            let mut done = None;
            match piece {
                Some(Piece::Head(head)) => {
                    self.head = Some(head);
                    self.body.clear();
                }
                Some(Piece::Body(octets)) => self.body.extend_from_slice(octets),
                Some(Piece::End(_)) => done = self.head.take(),
                None => {}
            }
            input = input.get(used..).unwrap_or_default();
            if let Some(head) = done {
                let end = self.decoder.offset();
                let frame = usize::try_from(end - std::mem::replace(&mut self.frame, end))?;
                self.heard(&head, frame, start, said)?;
            }
            if nothing && input.is_empty() {
                return Ok(());
            }
        }
    }

    fn heard(
        &mut self,
        head: &Head,
        frame: usize,
        start: Instant,
        said: &mut impl FnMut(Said),
    ) -> Outcome<()> {
        match &head.start {
            Start::Response { status: 200, .. } if self.greeted => said(Said::Answered),
            Start::Response { status: 200, .. } => self.greeted = true,
            Start::Response { status, .. } => return Err(format!("the room said {status}").into()),
            Start::Request(method) if method == "SEND" => {
                if head.get("Failure-Report").is_none_or(|wish| wish == "yes") {
                    let (Some(to), Some(from)) = (head.get("From-Path"), head.get("To-Path")) else {
                        return Err("a SEND without paths".into());
                    };
                    let tid = &head.tid;
                    self.out.extend_from_slice(
                        format!(
                            "MSRP {tid} 200 OK\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n-------{tid}$\r\n"
                        )
                        .as_bytes(),
                    );
                }
                if !self.body.is_empty() {
                    said(Said::Heard { delay: self.check(start)?, frame });
                }
            }
            Start::Request(_) => {}
        }
        Ok(())
    }

    /// Every message once, in order, every octet as it was.
    fn check(&mut self, start: Instant) -> Outcome<Duration> {
        let blank = self.body.windows(4).enumerate().filter(|(_, window)| window == b"\r\n\r\n");
        let text = blank.map(|(at, _)| at + 4).nth(1).and_then(|at| self.body.get(at..)).ok_or("no text")?;
        let number = |octets: Option<&[u8]>| {
            let digits = std::str::from_utf8(octets.ok_or("too short")?)?;
            Outcome::Ok(u64::from_str_radix(digits, 16)?)
        };
        let (which, stamp) = (number(text.get(..16))?, number(text.get(16..32))?);
        if self.expected.is_some_and(|expected| expected != which) {
            return Err(format!("member {} got {which} instead of {:?}", self.user, self.expected).into());
        }
        self.expected = Some(which + 1);
        let intact = text.iter().enumerate().skip(32).all(|(at, octet)| *octet == filler(which, at));
        if !intact {
            return Err(format!("message {which} is not what was sent").into());
        }
        Ok(start.elapsed().saturating_sub(Duration::from_nanos(stamp)))
    }
}

fn filler(number: u64, at: usize) -> u8 {
    b'a' + ((number + at as u64) % 26) as u8
}
