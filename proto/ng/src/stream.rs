//! Messages back to back on a stream (ng over TCP): where one ends.
//!
//! A message is a cookie, a blank and one dictionary or object; nothing separates it from the next, though
//! blanks and line ends between messages are passed over.

use crate::message::{Error, MAX_COOKIE};
use bytes::{Buf, Bytes, BytesMut};
use carnet_wire::ParseError;

/// Cuts a stream into messages. Holds at most one message of the largest size and what was pushed behind it.
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    most: usize,
    scan: Scan,
}

/// How far the message at the front has been looked through.
#[derive(Debug, Default)]
struct Scan {
    /// Octets looked at.
    at: usize,
    form: Option<bool>,
    depth: usize,
    /// Digits of a length in bencode, while one is being read.
    length: Option<usize>,
    /// Inside `i…e`.
    integer: bool,
    /// Inside a string of JSON, and behind a backslash there.
    quoted: bool,
    escaped: bool,
}

impl Frames {
    /// `most`: octets of the largest message taken.
    pub fn new(most: usize) -> Self {
        Self { buffer: BytesMut::new(), most, scan: Scan::default() }
    }

    /// Takes what was received.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Octets that wait.
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole message.
    ///
    /// # Errors
    /// The stream holds something else, or a message that is too long; nothing of it can be read any more.
    pub fn next_message(&mut self) -> Option<Result<Bytes, Error>> {
        if self.scan.at == 0 {
            let blank = self.buffer.iter().take_while(|b| b.is_ascii_whitespace()).count();
            self.buffer.advance(blank);
        }
        match self.scan.end(&self.buffer, self.most) {
            Ok(None) => None,
            Ok(Some(end)) => {
                self.scan = Scan::default();
                Some(Ok(self.buffer.split_to(end).freeze()))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl Scan {
    /// Where the message ends, if it is all there.
    fn end(&mut self, buffer: &[u8], most: usize) -> Result<Option<usize>, Error> {
        let fail = |at, expected| Err(Error::Syntax(ParseError::new(at, expected)));
        while self.form.is_none() {
            let Some(octet) = buffer.get(self.at) else { return self.wait(buffer, most) };
            match octet {
                b' ' if self.at > 0 => {
                    let Some(first) = buffer.get(self.at + 1) else { return self.wait(buffer, most) };
                    self.form = match first {
                        b'd' => Some(false),
                        b'{' => Some(true),
                        _ => return fail(self.at + 1, "a dictionary"),
                    };
                    self.at += 1;
                }
                octet if octet.is_ascii_graphic() && self.at < MAX_COOKIE => self.at += 1,
                _ => return Err(Error::NoCookie),
            }
        }
        let json = self.form == Some(true);
        while let Some(octet) = buffer.get(self.at).copied() {
            let ended = if json { self.json(octet) } else { self.bencode(octet) };
            match ended {
                Ok(false) => {}
                Ok(true) if self.at <= most => return Ok(Some(self.at)),
                Ok(true) => break,
                Err(expected) => return fail(self.at, expected),
            }
            if self.at > most {
                break;
            }
        }
        self.wait(buffer, most)
    }

    fn wait(&self, buffer: &[u8], most: usize) -> Result<Option<usize>, Error> {
        match self.at > most || buffer.len() > most {
            true => Err(Error::Syntax(ParseError::new(most, "no longer message than the limit"))),
            false => Ok(None),
        }
    }

    /// Takes an octet; whether the message ends with it.
    fn json(&mut self, octet: u8) -> Result<bool, &'static str> {
        self.at += 1;
        match octet {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            _ if self.quoted => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        Ok(self.depth == 0)
    }

    fn bencode(&mut self, octet: u8) -> Result<bool, &'static str> {
        self.at += 1;
        match (octet, self.length) {
            (b'0'..=b'9' | b'-', _) if self.integer => {}
            (b'e', _) if self.integer => self.integer = false,
            _ if self.integer => return Err("an integer"),
            (b'0'..=b'9', so_far) => {
                let so_far = so_far.unwrap_or(0).checked_mul(10);
                let next = so_far.and_then(|n| n.checked_add(usize::from(octet - b'0')));
                self.length = Some(next.ok_or("the length of a string")?);
            }
            (b':', Some(length)) => {
                self.length = None;
                self.at = self.at.saturating_add(length);
            }
            (_, Some(_)) => return Err("the length of a string"),
            (b'i', None) => self.integer = true,
            (b'd' | b'l', None) => self.depth += 1,
            (b'e', None) => self.depth = self.depth.saturating_sub(1),
            _ => return Err("a value"),
        }
        Ok(self.depth == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"a_1 d7:command4:ping1:ni-4e1:sl3:e:dee\r\n b2 {\"x\":\"}\\\"{\",\"y\":[{}]}c de";

    fn all(frames: &mut Frames) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(next) = frames.next_message() {
            out.push(next.unwrap().escape_ascii().to_string());
        }
        out
    }

    #[test]
    fn a_stream_is_cut_the_same_however_it_comes() {
        let mut whole = Frames::new(1000);
        whole.push(TWO);
        let expected = all(&mut whole);
        assert_eq!(expected.len(), 3, "{expected:?}");
        assert_eq!(expected[2], "c de");
        for size in 1..20 {
            let mut frames = Frames::new(1000);
            let mut found = Vec::new();
            for part in TWO.chunks(size) {
                frames.push(part);
                found.extend(all(&mut frames));
            }
            assert_eq!(found, expected, "{size}");
            assert_eq!(frames.waiting(), 0);
        }
    }

    #[test]
    fn what_is_no_message_is_refused_at_once() {
        for bad in [&b"GET / HTTP/1.1\r\n"[..], b"c x", b"c dx", b"c d3x", b"c di3x", b"\x01", &[b'c'; 300]] {
            let mut frames = Frames::new(1000);
            frames.push(bad);
            assert!(matches!(frames.next_message(), Some(Err(_))), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_message_has_a_longest_size() {
        for long in [&b"c d999999999:"[..], b"c d3:sdp18446744073709551615:"] {
            let mut frames = Frames::new(1000);
            frames.push(long);
            assert!(matches!(frames.next_message(), Some(Err(_))));
        }
        let mut frames = Frames::new(1000);
        frames.push(b"c {\"a\":\"");
        assert!(frames.next_message().is_none());
        frames.push(&[b'a'; 1000]);
        assert!(matches!(frames.next_message(), Some(Err(_))));
        let mut frames = Frames::new(4);
        frames.push(b"c de");
        assert!(matches!(frames.next_message(), Some(Ok(_))));
    }
}
