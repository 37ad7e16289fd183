//! A SIP message that keeps every octet it came with (RFC 3261 §7).
//!
//! A message is an index of lines over one `Bytes`. Nothing is rewritten on the way through: an
//! unedited message prints octet for octet, and an edit touches its own line only. What the
//! caller writes can never hold CR, LF or NUL, so no edit can smuggle in a line or a message.
//!
//! Empty lines in front of the start line and octets of a datagram behind the body are not part
//! of the message (§7.5, §18.3).

mod build;
mod edit;
mod scan;
mod view;

#[cfg(test)]
mod tests;

use crate::error::Error;
use crate::limits::Limits;
use crate::method::Method;
use crate::uri::Uri;
use bytes::Bytes;
use carnet_wire::Span;

pub use scan::{Scanned, scan};

/// One header line, its fold lines and its CRLF included.
#[derive(Debug, Clone)]
struct Line {
    /// Octets of an edited line; `None` if the line is a span of what came.
    own: Option<Bytes>,
    /// The whole line.
    whole: Span,
    name: Span,
    /// The value, white space around it not included.
    value: Span,
}

/// Header lines taken out of a message, in a buffer of their own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Vec<Line>);

#[derive(Debug, Clone)]
enum Start {
    Request { uri: Option<Uri> },
    Response { status: u16, reason: Span },
}

/// A request or a response.
#[derive(Debug, Clone)]
pub struct Message {
    /// What came, or the start line of a built message.
    raw: Bytes,
    /// The start line as written, CRLF included, if it was changed.
    start_line: Option<Bytes>,
    start_span: Span,
    start: Start,
    /// The method of the request; of a response the one in CSeq.
    method: Method,
    lines: Vec<Line>,
    body: Bytes,
    edited: bool,
}

impl Message {
    /// Parses a whole message: one datagram, or one message a [`Framer`](crate::Framer) cut from
    /// a stream. Without Content-Length the body reaches to the end.
    ///
    /// # Errors
    /// The first fault found, see [`scan`] for a parse that hands out faulty messages too.
    pub fn parse(octets: Bytes, limits: &Limits) -> Result<Self, Error> {
        let scanned = scan(octets, limits)?;
        match scanned.fault {
            None => Ok(scanned.message),
            Some(fault) => Err(fault),
        }
    }

    fn line_octets<'a>(&'a self, line: &'a Line) -> &'a [u8] {
        line.own.as_deref().unwrap_or(&self.raw)
    }

    fn name_of<'a>(&'a self, line: &'a Line) -> &'a str {
        std::str::from_utf8(line.name.of(self.line_octets(line))).unwrap_or_default()
    }

    fn value_of<'a>(&'a self, line: &'a Line) -> &'a [u8] {
        line.value.of(self.line_octets(line))
    }

    /// The message as octets. Unedited messages share the buffer they came in.
    pub fn to_bytes(&self) -> Bytes {
        if !self.edited {
            return self.raw.clone();
        }
        let start = self.start_line.as_deref().unwrap_or_else(|| self.start_span.of(&self.raw));
        let head: usize = self.lines.iter().map(|l| l.whole.len()).sum();
        // To the octet: transactions keep these for half a minute.
        let mut out = Vec::with_capacity(start.len() + head + 2 + self.body.len());
        out.extend_from_slice(start);
        for line in &self.lines {
            out.extend_from_slice(line.whole.of(self.line_octets(line)));
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out.into()
    }
}

/// Compact forms of header names (RFC 3261 §20 and the registry).
const COMPACT: [(&str, u8); 19] = [
    ("Via", b'v'),
    ("From", b'f'),
    ("To", b't'),
    ("Call-ID", b'i'),
    ("Contact", b'm'),
    ("Content-Type", b'c'),
    ("Content-Length", b'l'),
    ("Content-Encoding", b'e'),
    ("Subject", b's'),
    ("Supported", b'k'),
    ("Event", b'o'),
    ("Allow-Events", b'u'),
    ("Refer-To", b'r'),
    ("Referred-By", b'b'),
    ("Session-Expires", b'x'),
    ("Accept-Contact", b'a'),
    ("Reject-Contact", b'j'),
    ("Request-Disposition", b'd'),
    ("Identity", b'y'),
];

/// Whether both spell the same header name, in any case, long or compact.
pub fn same_header(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
        || ((a.len() == 1) != (b.len() == 1) && long_name(a).eq_ignore_ascii_case(long_name(b)))
}

/// The long form of a header name; the name itself if it has no compact form.
pub fn long_name(name: &str) -> &str {
    let [letter] = name.as_bytes() else { return name };
    let letter = letter.to_ascii_lowercase();
    COMPACT.iter().find(|(_, c)| *c == letter).map_or(name, |(long, _)| long)
}
