//! What is said, in words.

#![allow(dead_code)] // Each test takes what it needs.

use bytes::Bytes;
use carnet_capture::{Datagram, Event, Happening, Segment};
use carnet_trace::{Ladder, Limits, Tracer};
use std::net::SocketAddr;
use std::time::Duration;

pub struct Scene {
    pub tracer: Tracer,
    pub now: Duration,
    number: u64,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(Limits::default(), false)
    }

    pub fn with(limits: Limits, secrets: bool) -> Self {
        Self { tracer: Tracer::new(limits, secrets), now: Duration::from_secs(1_795_770_000), number: 0 }
    }

    pub fn wait(&mut self, milliseconds: u64) -> &mut Self {
        self.now += Duration::from_millis(milliseconds);
        self
    }

    pub fn udp(&mut self, from: &str, to: &str, octets: impl AsRef<[u8]>) -> &mut Self {
        self.wait(1);
        self.number += 1;
        let (at, number) = (self.now, self.number);
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let octets = Bytes::copy_from_slice(octets.as_ref());
        self.tracer.handle(Event::Datagram(Datagram { at, number, from, to, octets, missing: 0 }));
        self
    }

    pub fn tcp(&mut self, connection: u64, from: &str, to: &str, what: Happening) -> &mut Self {
        self.wait(1);
        self.number += 1;
        let (at, number) = (self.now, self.number);
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        self.tracer.handle(Event::Segment(Segment { at, number, connection, from, to, what }));
        self
    }

    pub fn open(&mut self, connection: u64, from: &str, to: &str) -> &mut Self {
        self.tcp(connection, from, to, Happening::Open).tcp(connection, to, from, Happening::Accepted)
    }

    pub fn says(&mut self, connection: u64, from: &str, to: &str, octets: impl AsRef<[u8]>) -> &mut Self {
        self.tcp(connection, from, to, Happening::Data(Bytes::copy_from_slice(octets.as_ref())))
    }

    pub fn ladder(self) -> Ladder {
        self.tracer.finish()
    }
}

/// A message of SIP with these start line, Call-ID, CSeq, further header fields and body.
pub fn sip(start: &str, call: &str, cseq: &str, more: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{start}\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{call}{}\r\nFrom: <sip:alice@a.example>;tag=1\r\nTo: <sip:bob@b.example>\r\n\
         Call-ID: {call}\r\nCSeq: {cseq}\r\n{more}{kind}Content-Length: {}\r\n\r\n{body}",
        cseq.replace(' ', ""),
        body.len()
    )
}

pub fn invite(call: &str, body: &str) -> String {
    sip("INVITE sip:bob@b.example SIP/2.0", call, "1 INVITE", "", body)
}

pub fn ok(call: &str, cseq: &str, body: &str) -> String {
    sip("SIP/2.0 200 OK", call, cseq, "", body)
}

pub fn bye(call: &str) -> String {
    sip("BYE sip:bob@b.example SIP/2.0", call, "2 BYE", "", "")
}

pub fn sdp(at: &str, session: &str) -> String {
    let at: SocketAddr = at.parse().unwrap();
    let ip = at.ip();
    format!(
        "v=0\r\no=- {session} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=message {} TCP/MSRP *\r\na=setup:active\r\n",
        at.port()
    )
}
