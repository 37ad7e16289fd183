//! Messages whose lines end with LF alone.
//!
//! RFC 3261 §7 has CR LF, and some senders forget the CR. A head without any CR has one reading
//! only, so in a datagram it is taken and goes on with CR LF. A head with both kinds of line ends
//! has two readings, and a stream needs its lines to find where a message ends: both are refused.

use bytes::{BufMut as _, Bytes, BytesMut};

/// The message with CR LF at the ends of its head's lines, if they are all LF alone; the body
/// stays as it came. `None` if there is nothing to mend, or no way that all readers agree on.
pub fn mend_line_ends(octets: &[u8]) -> Option<Bytes> {
    let first = bare_lf(octets)?;
    let lead = octets.iter().take_while(|b| **b == b'\n').count();
    let rest = octets.get(lead..)?;
    // Only what begins with a line is a message.
    if first < lead && rest.is_empty() {
        return None;
    }
    let head_len = memchr::memmem::find(rest, b"\n\n").map_or(rest.len(), |at| at + 2);
    let (head, body) = rest.split_at(head_len);
    if memchr::memchr(b'\r', head).is_some() {
        return None;
    }
    let mut out = BytesMut::with_capacity(octets.len() + 64);
    for line in head.split_inclusive(|b| *b == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                out.put_slice(text);
                out.put_slice(b"\r\n");
            }
            None => out.put_slice(line),
        }
    }
    out.put_slice(body);
    Some(out.freeze())
}

/// Where the first line ends, if it ends with LF alone.
pub(crate) fn bare_lf(octets: &[u8]) -> Option<usize> {
    let at = memchr::memchr(b'\n', octets)?;
    let before = at.checked_sub(1).and_then(|i| octets.get(i));
    (before != Some(&b'\r')).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, Framer, Limits, Message};

    const HEAD: &str = "Via: SIP/2.0/UDP a;branch=z9hG4bK1\nFrom: <sip:a@a>;tag=1\nTo: <sip:b@b>\n\
                        Subject: one\n two\nCall-ID: 1\nCSeq: 1 OPTIONS\n";

    #[test]
    fn lf_alone_is_taken_where_it_has_one_reading() {
        let text = format!("OPTIONS sip:b@b SIP/2.0\n{HEAD}Content-Length: 6\n\nv=0\r\n\n");
        let mended = mend_line_ends(text.as_bytes()).unwrap();
        let message = Message::parse(mended, &Limits::default()).unwrap();
        assert_eq!(message.body(), "v=0\r\n\n", "the body is not touched");
        assert_eq!(message.header("Subject").as_deref(), Some("one two"));
        assert_eq!(message.headers().count(), 7);
        let blank = format!("\n\n{text}");
        assert_eq!(mend_line_ends(blank.as_bytes()), mend_line_ends(text.as_bytes()));
    }

    /// What one reader takes for a line and another for a part of one is left to be refused.
    #[test]
    fn mixed_line_ends_are_not_mended() {
        let text = format!("OPTIONS sip:b@b SIP/2.0\n{HEAD}\n");
        for mixed in [
            text.replacen('\n', "\r\n", 1),
            text.replace("Call-ID: 1\n", "Call-ID: 1\r\n"),
            text.replace("Call-ID: 1\n", "Call-ID: 1\rVia: x\n"),
            format!("{}\r\n\r\n", text.trim_end()),
        ] {
            let mended = mend_line_ends(mixed.as_bytes());
            assert!(mended.is_none(), "{mixed:?}");
            assert!(Message::parse(mixed.into(), &Limits::default()).is_err());
        }
        for nothing in ["", "\n", "\r\n", "no line end", "OPTIONS sip:b SIP/2.0\r\n\r\na\nb"] {
            assert_eq!(mend_line_ends(nothing.as_bytes()), None, "{nothing:?}");
        }
    }

    /// A stream is given up at once, not when its buffer is full.
    #[test]
    fn a_stream_needs_its_cr() {
        for text in ["OPTIONS sip:b@b SIP/2.0\nl: 0\n\n", "OPTIONS sip:b@b SIP/2.0\nl: 0\r\n\r\n", "\n\n"] {
            let mut framer = Framer::new(Limits::default());
            framer.push(text.as_bytes());
            let error = framer.next().unwrap_err();
            assert_eq!(error.offset(), text.find('\n'), "{error}");
            assert!(framer.next().is_err(), "the error repeats");
        }
        let mut framer = Framer::new(Limits::default());
        framer.push(b"OPTIONS sip:b@b SIP/2.0\r\nl: 2\r\n\r\n\n\n");
        assert!(matches!(framer.next(), Ok(Some(Frame::Message(_)))), "a body may hold what it likes");
    }
}
