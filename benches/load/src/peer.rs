//! Both ends of MSRP sessions (RFC 4975), as far as load needs them: SEND in chunks, 200, success reports.
//!
//! A message is named `KEY.NUMBER`; its octets follow from that, so that the receiver knows them.

use std::io::{self, ErrorKind, Write as _};

use carnet_msrp::{ByteRange, Continuation, Decoder, Head, Limits, Piece, Ranges, Start};

use crate::content::{Checker, Content, Way, mix};

/// The path of the end that sends; nobody connects to it.
pub const SENDER: &str = "msrp://127.0.0.1:9/load;tcp";
/// The path of the end that receives.
pub const RECEIVER: &str = "msrp://127.0.0.1:9/peer;tcp";

fn content(key: u64, number: u64) -> Content {
    Content::new(key ^ mix(number), Way::Up)
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

/// The end that receives, with a connection of its own.
pub struct Peer {
    decoder: Decoder,
    /// What it knows.
    pub receiving: Receiving,
}

/// The end that receives; somebody else cuts up what comes.
#[derive(Default)]
pub struct Receiving {
    frame: Option<Frame>,
    /// The message that is coming: its name and what of it is there and right.
    message: (String, Ranges),
    /// Octets of bodies so far.
    pub octets: u64,
    /// Messages that are whole; one without octets is none.
    pub messages: u64,
    /// Whose messages are taken: those of the session with this key. Without one, anybody's.
    pub key: Option<u64>,
    /// The first thing that was not as it was sent.
    pub wrong: Option<String>,
    reports: u64,
}

/// A SEND that is being read.
struct Frame {
    head: Head,
    name: String,
    range: ByteRange,
    checker: Checker,
}

impl Default for Peer {
    fn default() -> Self {
        Self { decoder: Decoder::new(Limits::default()), receiving: Receiving::default() }
    }
}

impl Peer {
    /// Reads; answers go to `out`.
    ///
    /// # Errors
    ///
    /// If that is no MSRP of the sender's.
    pub fn take(&mut self, mut octets: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        // An end may have come with its head: it is told when nothing more comes.
        loop {
            let (taken, piece) = self.decoder.decode(octets).map_err(|error| invalid(error.to_string()))?;
            octets = octets.get(taken..).unwrap_or_default();
            let Some(piece) = piece else { return Ok(()) };
            self.receiving.hear(piece, out)?;
        }
    }
}

impl Receiving {
    /// From the session with this key, or from anybody.
    #[must_use]
    pub fn of(key: Option<u64>) -> Self {
        Self { key, ..Self::default() }
    }

    /// Takes a piece of what comes; answers go to `out`.
    ///
    /// # Errors
    ///
    /// If that is no MSRP of the sender's.
    pub fn hear(&mut self, piece: Piece<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        match piece {
            Piece::Head(head) => self.frame = Frame::of(head, self.key)?,
            Piece::Body(body) => {
                self.octets += body.len() as u64;
                if let Some(frame) = &mut self.frame {
                    frame.checker.take(body);
                }
            }
            Piece::End(flag) => {
                if let Some(frame) = self.frame.take() {
                    self.answer(&frame, flag, out)?;
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, frame: &Frame, flag: Continuation, out: &mut Vec<u8>) -> io::Result<()> {
        let begin = frame.range.start.saturating_sub(1);
        let Frame { head, checker, name, range } = frame;
        let path = |name: &str| head.get(name).ok_or_else(|| invalid("no path"));
        let (own, back) = (path("To-Path")?, path("From-Path")?);
        let next = back.split(' ').next().unwrap_or_default();
        let told = range.end.is_none_or(|end| end == checker.at);
        let status = if checker.wrong.is_some() || !told { "400 other octets" } else { "200 OK" };
        write!(out, "MSRP {0} {status}\r\nTo-Path: {next}\r\nFrom-Path: {own}\r\n-------{0}$\r\n", head.tid)?;
        if status != "200 OK" {
            let told = checker.wrong.map_or_else(
                || format!("{} octets came of those that Byte-Range names", checker.at - begin),
                |at| format!("octet {at} came as another"),
            );
            self.wrong.get_or_insert(format!("message {name}: {told}"));
            return Ok(());
        }
        if self.message.0 != *name {
            self.message = (name.clone(), Ranges::default());
        }
        if checker.at > begin {
            self.message.1.add(begin, checker.at);
        }
        let total = range.total.unwrap_or(checker.at);
        let whole = flag == Continuation::Last && self.message.1.covers(total);
        self.messages += u64::from(whole && total > 0);
        if whole && head.get("Success-Report") == Some("yes") {
            self.reports += 1;
            write!(
                out,
                "MSRP rep{0:08} REPORT\r\nTo-Path: {back}\r\nFrom-Path: {own}\r\nMessage-ID: {name}\r\n\
                 Byte-Range: 1-{total}/{total}\r\nStatus: 000 200 OK\r\n-------rep{0:08}$\r\n",
                self.reports
            )?;
        }
        Ok(())
    }
}

impl Frame {
    fn of(head: Head, expected: Option<u64>) -> io::Result<Option<Self>> {
        if head.method() != Some("SEND") {
            return Ok(None);
        }
        let name = head.get("Message-ID").ok_or_else(|| invalid("no Message-ID"))?.to_owned();
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let parts = name.split_once('.').and_then(|(key, n)| Some((number(key)?, number(n)?)));
        let (key, n) = parts
            .filter(|(key, _)| expected.is_none_or(|expected| expected == *key))
            .ok_or_else(|| invalid("a Message-ID of somebody else"))?;
        let range = head.get("Byte-Range").ok_or_else(|| invalid("no Byte-Range"))?;
        let range = ByteRange::parse(range.as_bytes()).map_err(|error| invalid(error.to_string()))?;
        let mut checker = Checker::new(content(key, n));
        checker.at = range.start.saturating_sub(1);
        Ok(Some(Self { head, name, range, checker }))
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Octets of a message.
    pub size: usize,
    /// Octets of a chunk at most.
    pub chunk: usize,
    /// Whether success reports are asked for.
    pub reports: bool,
    /// To-Path, From-Path.
    pub paths: (String, String),
}

/// The end that sends, with a connection of its own.
pub struct Sender {
    decoder: Decoder,
    sending: Sending,
}

/// The end that sends; somebody else cuts up what comes.
pub struct Sending {
    key: u64,
    number: u64,
    /// SENDs without an answer, and reports that are owed.
    open: (usize, usize),
    head: Option<Head>,
}

impl Sender {
    /// Of the session with this key.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { decoder: Decoder::new(Limits::default()), sending: Sending::new(key) }
    }

    /// As [`Sending::begin`].
    ///
    /// # Errors
    ///
    /// None: writing to memory succeeds.
    pub fn begin(&mut self, manner: &Manner, out: &mut Vec<u8>) -> io::Result<()> {
        self.sending.begin(manner, out)
    }

    /// Reads; whether everything of the message has been answered.
    ///
    /// # Errors
    ///
    /// If the other side refused something, or says what was not asked.
    pub fn take(&mut self, mut octets: &[u8]) -> io::Result<bool> {
        // An end may have come with its head: it is told when nothing more comes.
        loop {
            let (taken, piece) = self.decoder.decode(octets).map_err(|error| invalid(error.to_string()))?;
            octets = octets.get(taken..).unwrap_or_default();
            let Some(piece) = piece else { return Ok(self.sending.is_answered()) };
            self.sending.hear(piece)?;
        }
    }
}

impl Sending {
    /// Of the session with this key.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { key, number: 0, open: (0, 0), head: None }
    }

    /// A request without a body, by which the one who connected says whose connection it is (RFC 4975 §5.4).
    ///
    /// # Errors
    ///
    /// None: writing to memory succeeds.
    pub fn introduce(&mut self, manner: &Manner, out: &mut Vec<u8>) -> io::Result<()> {
        let (to, from) = &manner.paths;
        write!(
            out,
            "MSRP {0:08x}i SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: {1:x}.0\r\n\
             Byte-Range: 1-0/0\r\n-------{0:08x}i$\r\n",
            self.number as u32, self.key
        )?;
        self.open.0 += 1;
        Ok(())
    }

    /// Writes the next message.
    ///
    /// # Errors
    ///
    /// None: writing to memory succeeds.
    pub fn begin(&mut self, manner: &Manner, out: &mut Vec<u8>) -> io::Result<()> {
        self.number += 1;
        let content = content(self.key, self.number);
        let (to, from) = &manner.paths;
        let name = format!("{:x}.{:x}", self.key, self.number);
        let report = if manner.reports { "Success-Report: yes\r\n" } else { "" };
        let (mut at, mut chunk) = (0, 0);
        while at < manner.size || chunk == 0 {
            let end = manner.size.min(at + manner.chunk.max(1));
            let tid = format!("{:08x}{chunk:x}", self.number as u32);
            write!(
                out,
                "MSRP {tid} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: {name}\r\n{report}\
                 Byte-Range: {}-{end}/{}\r\nContent-Type: application/octet-stream\r\n\r\n",
                at + 1,
                manner.size
            )?;
            while at < end {
                let piece = content.piece(at as u64, end - at);
                out.extend_from_slice(piece);
                at += piece.len();
            }
            let flag = if end == manner.size { '$' } else { '+' };
            write!(out, "\r\n-------{tid}{flag}\r\n")?;
            chunk += 1;
        }
        self.open.0 += chunk;
        self.open.1 += usize::from(manner.reports);
        Ok(())
    }

    /// Whether everything of the message has been answered.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.open == (0, 0)
    }

    /// Takes a piece of what comes.
    ///
    /// # Errors
    ///
    /// As [`Sender::take`].
    pub fn hear(&mut self, piece: Piece<'_>) -> io::Result<()> {
        match piece {
            Piece::Head(head) => self.head = Some(head),
            Piece::Body(_) => {}
            Piece::End(_) => {
                let head = self.head.take().ok_or_else(|| invalid("an end without a head"))?;
                self.answered(&head)?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, head: &Head) -> io::Result<()> {
        let owed = match &head.start {
            Start::Response { status: 200, .. } => &mut self.open.0,
            Start::Response { status, .. } => return Err(invalid(format!("a SEND got {status}"))),
            Start::Request(method) if method == "REPORT" => {
                let name = format!("{:x}.{:x}", self.key, self.number);
                if head.get("Message-ID") != Some(&name) || head.get("Status") != Some("000 200 OK") {
                    return Err(invalid("a report of another message, or of a failure"));
                }
                &mut self.open.1
            }
            Start::Request(method) => return Err(invalid(format!("a {method} came"))),
        };
        *owed = owed.checked_sub(1).ok_or_else(|| invalid("an answer that was not asked for"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(size: usize, chunk: usize, reports: bool) -> Manner {
        Manner { size, chunk, reports, paths: (RECEIVER.into(), SENDER.into()) }
    }

    #[test]
    fn messages_in_chunks_are_answered_and_reported() {
        for (size, chunk, reports) in
            [(200, 2_048, false), (10_000, 2_048, true), (0, 10, true), (300_000, 300_000, true)]
        {
            let (mut sender, mut peer) = (Sender::new(77), Peer::default());
            for _ in 0..3 {
                let (mut out, mut back) = (Vec::new(), Vec::new());
                sender.begin(&manner(size, chunk, reports), &mut out).unwrap();
                for piece in out.chunks(1_000) {
                    peer.take(piece, &mut back).unwrap();
                }
                let (last, first) = back.split_last().unwrap();
                assert!(!sender.take(first).unwrap(), "not before everything is answered");
                assert!(sender.take(&[*last]).unwrap(), "{size} octets: {}", String::from_utf8_lossy(&back));
            }
            assert_eq!(peer.receiving.octets, 3 * size as u64);
        }
    }

    #[test]
    fn a_body_that_was_changed_is_refused() {
        let (mut sender, mut peer) = (Sender::new(77), Peer::default());
        let (mut out, mut back) = (Vec::new(), Vec::new());
        sender.begin(&manner(5_000, 2_000, true), &mut out).unwrap();
        let middle = out.len() / 2;
        out[middle] ^= 1;
        peer.take(&out, &mut back).unwrap();
        assert!(sender.take(&back).unwrap_err().to_string().contains("400"));
    }
}
