//! Cuts a stream into messages by Content-Length (RFC 3261 §18.3), and knows the keep-alive of
//! RFC 5626 §3.5.1.
//!
//! A stream that cannot be framed for certain is given up: an element that guesses where a
//! message ends lets messages be smuggled past it.

use crate::error::Error;
use crate::grammar::is_lws;
use crate::limits::Limits;
use crate::line_ends::bare_lf;
use crate::message::same_header;
use bytes::{Bytes, BytesMut};
use carnet_wire::ParseError;

/// What a stream holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One message, for [`Input`](crate::Input).
    Message(Bytes),
    /// A keep-alive (CRLF CRLF): answer with [`PONG`].
    Ping,
}

/// The answer to a [`Frame::Ping`].
pub const PONG: &[u8] = b"\r\n";

/// The receiving side of one stream.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    buffer: BytesMut,
    /// Octets of `buffer` known not to hold the end of the head.
    scanned: usize,
    /// Octets consumed by earlier frames.
    consumed: u64,
    failed: Option<Error>,
}

impl Framer {
    /// A framer for a new stream.
    pub fn new(limits: Limits) -> Self {
        Self { limits, buffer: BytesMut::new(), scanned: 0, consumed: 0, failed: None }
    }

    /// Takes octets in. Drain [`next`](Self::next) after each call: between calls the buffer
    /// then holds less than one message of `Limits::message` octets.
    pub fn push(&mut self, octets: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(octets);
        }
    }

    /// Octets of the stream in front of the next frame.
    pub fn position(&self) -> u64 {
        self.consumed
    }

    /// Octets held that are not a whole frame yet.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The next frame; `None` until more octets come.
    ///
    /// A head whose body length is not certain (Content-Length missing, not a number, or two
    /// that differ) comes out once without a body, so that it can be answered 400. The call
    /// after that is the error.
    ///
    /// # Errors
    /// The stream cannot be read on: answer what is to be answered, then close it. The error
    /// repeats.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Frame>, Error> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        if self.scanned == 0 {
            // RFC 5626 §3.5.1: a double CRLF between messages is a ping; one alone is a pong,
            // or the empty line of §7.5.
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.take(4);
                return Ok(Some(Frame::Ping));
            }
            while self.buffer.starts_with(b"\r\n") && self.buffer.len() >= 4 {
                self.take(2);
            }
            if self.buffer.starts_with(b"\r") && self.buffer.len() < 4 {
                return Ok(None);
            }
        }
        if let Some(at) = bare_lf(&self.buffer) {
            let error = Error::NotSip(ParseError::new(at, "CR LF at the end of a line"));
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
            return Err(error);
        }
        let from = self.scanned.saturating_sub(3);
        let found = memchr::memmem::find(self.buffer.get(from..).unwrap_or_default(), b"\r\n\r\n");
        let Some(head_len) = found.map(|i| from + i + 4) else {
            self.scanned = self.buffer.len();
            return if self.scanned > self.limits.head {
                self.fail_large("octets of head", self.limits.head, self.limits.head)
            } else {
                Ok(None)
            };
        };
        if head_len > self.limits.head {
            return self.fail_large("octets of head", self.limits.head, self.limits.head);
        }
        let (body_len, said_at) = match content_length(self.buffer.get(..head_len).unwrap_or_default()) {
            Ok(found) => found,
            Err(at) => {
                self.failed = Some(Error::Malformed { what: "Content-Length", at });
                let head = self.buffer.split_to(head_len).freeze();
                self.buffer = BytesMut::new();
                return Ok(Some(Frame::Message(head)));
            }
        };
        let whole = head_len.saturating_add(body_len);
        if whole > self.limits.message {
            return self.fail_large("octets", self.limits.message, said_at);
        }
        if self.buffer.len() < whole {
            // The next search starts three octets earlier and must find the end of the head again.
            self.scanned = head_len.saturating_sub(1);
            return Ok(None);
        }
        Ok(Some(Frame::Message(self.take(whole))))
    }

    fn take(&mut self, n: usize) -> Bytes {
        self.scanned = 0;
        self.consumed += n as u64;
        self.buffer.split_to(n.min(self.buffer.len())).freeze()
    }

    fn fail_large(&mut self, what: &'static str, limit: usize, at: usize) -> Result<Option<Frame>, Error> {
        let error = Error::TooLarge { what, limit, at };
        self.failed = Some(error.clone());
        self.buffer = BytesMut::new();
        Err(error)
    }
}

/// The length of the body that `head` announces, and where it says so.
fn content_length(head: &[u8]) -> Result<(usize, usize), ParseError> {
    let mut length = None;
    let mut at = 0;
    while let Some(nl) = memchr::memchr(b'\n', head.get(at..).unwrap_or_default()) {
        let line = head.get(at..at + nl).unwrap_or_default();
        let start = at;
        at += nl + 1;
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let name = line.get(..colon).unwrap_or_default();
        if !std::str::from_utf8(name)
            .is_ok_and(|n| same_header(n.trim_end_matches([' ', '\t']), "Content-Length"))
        {
            continue;
        }
        // RFC 3261 §7.3.1: the value goes on in lines that start with white space.
        while matches!(head.get(at), Some(b' ' | b'\t')) {
            let more = memchr::memchr(b'\n', head.get(at..).unwrap_or_default());
            at += more.map_or(head.len() - at, |nl| nl + 1);
        }
        let value = head.get(start + colon + 1..at).unwrap_or_default();
        let here = start + colon + 1 + value.iter().take_while(|b| is_lws(**b)).count();
        let text = value.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let parsed = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|t| t.parse::<usize>().ok());
        match (parsed, length) {
            (None, _) => return Err(ParseError::new(here, "a number of octets")),
            (Some(n), Some((before, _))) if n != before => {
                return Err(ParseError::new(here, "the same Content-Length again"));
            }
            (Some(n), _) => length = Some((n, here)),
        }
    }
    length.ok_or_else(|| ParseError::new(head.len(), "a Content-Length on a stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_on_a_folded_line_is_read_as_in_a_datagram() {
        for value in ["\r\n 4", " 4\r\n ", "\r\n \r\n\t4\r\n\t", "4"] {
            let text = format!("OPTIONS sip:a SIP/2.0\r\nl:{value}\r\nA: b\r\n\r\nbody");
            let mut framer = Framer::new(Limits::default());
            framer.push(text.as_bytes());
            framer.push(b"rest");
            assert_eq!(framer.next().unwrap(), Some(Frame::Message(text.clone().into())), "{value:?}");
            let scanned = crate::message::scan(text.into(), &Limits::default()).unwrap();
            assert_eq!(scanned.message.body().as_ref(), b"body");
            assert!(!matches!(scanned.fault, Some(Error::Malformed { what: "Content-Length", .. })));
        }
        // Digits that a fold takes apart are no number, and a fold of another header is no header.
        for lines in ["l: 1\r\n 2", "A: b\r\n l: 4"] {
            let mut framer = Framer::new(Limits::default());
            framer.push(format!("OPTIONS sip:a SIP/2.0\r\n{lines}\r\n\r\n").as_bytes());
            framer.next().unwrap();
            assert!(framer.next().is_err(), "{lines:?}");
        }
    }

    #[test]
    fn where_a_stream_is_cut_does_not_matter() {
        let one = b"OPTIONS sip:a SIP/2.0\r\nl: 8\r\n\r\nbody\r\n\r\n";
        let two = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";
        let stream = [&one[..], two, b"\r\n\r\n", one].concat();
        for step in 1..stream.len() {
            let (mut framer, mut frames) = (Framer::new(Limits::default()), Vec::new());
            for piece in stream.chunks(step) {
                framer.push(piece);
                while let Some(frame) = framer.next().unwrap() {
                    frames.push(frame);
                }
            }
            let message = |octets: &[u8]| Frame::Message(Bytes::copy_from_slice(octets));
            assert_eq!(frames, [message(one), message(two), Frame::Ping, message(one)], "step {step}");
        }
    }
}
