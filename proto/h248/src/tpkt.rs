//! Messages on a stream: TPKT (RFC 1006 §6, RFC 3525 §D.2). Four octets stand before each message:
//! version 3, zero, and the length in two octets, which counts the four.

use crate::Error;
use bytes::{Buf, Bytes, BytesMut};

/// Octets before a message.
const HEADER: usize = 4;
/// The longest message that fits.
pub const LONGEST: usize = 0xffff - HEADER;

/// Puts a message on a stream. None if it is longer than [`LONGEST`].
pub fn frame(message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len() + HEADER).ok()?;
    let mut out = Vec::with_capacity(usize::from(length));
    out.extend_from_slice(&[3, 0]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
    Some(out)
}

/// Takes messages off a stream.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    longest: usize,
}

impl Framer {
    /// A stream on which no message may be longer than `longest` octets.
    pub fn new(longest: usize) -> Self {
        Self { buffer: BytesMut::new(), longest: longest.min(LONGEST) }
    }

    /// Takes what was read. Ask [`Framer::next`] until it has nothing more before reading on, then at
    /// most one message and one read are held.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Octets held that are not a whole message yet, once [`Framer::next`] has nothing more.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole message.
    ///
    /// # Errors
    /// When the stream is not TPKT or a message is too long: nothing after it can be read, so the
    /// connection must be closed.
    #[expect(clippy::should_implement_trait, reason = "a message may yet come: not an iterator")]
    pub fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some([version, _, high, low]) = self.buffer.first_chunk::<HEADER>().copied() else {
            return match self.buffer.first() {
                Some(first) if *first != 3 => Err(syntax(0, "TPKT version 3")),
                _ => Ok(None),
            };
        };
        if version != 3 {
            return Err(syntax(0, "TPKT version 3"));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(body) = length.checked_sub(HEADER).filter(|n| *n > 0) else {
            return Err(syntax(2, "a length above four"));
        };
        if body > self.longest {
            let what = "octets in a message";
            return Err(Error::Limit { at: 2, code: 400, transaction: None, what, limit: self.longest });
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let mut packet = self.buffer.split_to(length);
        packet.advance(HEADER);
        Ok(Some(packet.freeze()))
    }
}

fn syntax(at: usize, expected: &'static str) -> Error {
    Error::Syntax { at, code: 400, transaction: None, expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let mut stream = frame(b"first").unwrap();
        stream.extend(frame(b"second").unwrap());
        for cut in 1..stream.len() {
            let (mut framer, mut out) = (Framer::new(100), Vec::new());
            for part in stream.chunks(cut) {
                framer.push(part);
                while let Some(message) = framer.next().unwrap() {
                    out.push(message);
                }
            }
            assert_eq!(out, [&b"first"[..], b"second"]);
        }
    }

    /// RFC 1006 §6: a message as long as is allowed comes through, one octet more does not, and a peer that
    /// announces much and sends little holds no more than it sent.
    #[test]
    fn the_longest_message_is_known_from_its_header() {
        let mut framer = Framer::new(100);
        framer.push(&frame(&[7; 100]).unwrap());
        assert_eq!(framer.next().unwrap().unwrap().len(), 100);
        framer.push(&frame(&[7; 101]).unwrap().as_slice()[..4]);
        let error = framer.next().unwrap_err();
        assert_eq!((error.class(), error.code(), error.offset()), ("limit", 400, 2));

        let mut framer = Framer::new(LONGEST);
        framer.push(&[3, 0, 0xff, 0xff, 1, 2]);
        assert!(framer.next().unwrap().is_none());
        assert_eq!(framer.pending(), 6);
        assert!(framer.buffer.capacity() < 1_000);
    }

    /// RFC 1006 §6: the second octet is reserved; nobody is refused for it.
    #[test]
    fn the_reserved_octet_is_not_looked_at() {
        let mut framer = Framer::new(100);
        framer.push(&[3, 9, 0, 5, b'x']);
        assert_eq!(framer.next().unwrap().unwrap(), b"x"[..]);
    }

    #[test]
    fn what_is_not_tpkt_is_refused() {
        for bad in [&b"MEGACO"[..], &[2], &[3, 0, 0, 4], &[3, 0, 0, 0], &[3, 0, 0xff, 0xff]] {
            let mut framer = Framer::new(100);
            framer.push(bad);
            assert!(framer.next().is_err(), "{bad:?}");
        }
        assert!(frame(&vec![0; LONGEST]).is_some() && frame(&vec![0; LONGEST + 1]).is_none());
    }
}
