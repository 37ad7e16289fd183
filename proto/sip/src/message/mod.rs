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
mod name;
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
use name::Known;

pub use name::{long_name, same_header};
pub use scan::{Scanned, scan};

/// One header line, its fold lines and its CRLF included.
#[derive(Debug, Clone)]
struct Line {
    /// Octets of an edited line; `None` if the line is a span of what came.
    own: Option<Bytes>,
    /// The whole line.
    whole: Span,
    name: Span,
    known: Known,
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

    /// Whether a line has the name `name`, which is `known`.
    fn is(&self, line: &Line, known: Known, name: &str) -> bool {
        line.known == known
            && (known != Known::OTHER
                || line.name.of(self.line_octets(line)).eq_ignore_ascii_case(name.as_bytes()))
    }

    fn value_of<'a>(&'a self, line: &'a Line) -> &'a [u8] {
        line.value.of(self.line_octets(line))
    }

    /// How many octets [`to_bytes`](Self::to_bytes) gives.
    pub(crate) fn length(&self) -> usize {
        if !self.edited {
            return self.raw.len();
        }
        let start = self.start_line.as_ref().map_or(self.start_span.len(), Bytes::len);
        let head: usize = self.lines.iter().map(|l| l.whole.len()).sum();
        start + head + 2 + self.body.len()
    }

    /// The message as octets. Unedited messages share the buffer they came in.
    pub fn to_bytes(&self) -> Bytes {
        if !self.edited {
            return self.raw.clone();
        }
        let start = self.start_line.as_deref().unwrap_or_else(|| self.start_span.of(&self.raw));
        // To the octet: transactions keep these for half a minute.
        let mut out = Vec::with_capacity(self.length());
        out.extend_from_slice(start);
        for line in &self.lines {
            out.extend_from_slice(line.whole.of(self.line_octets(line)));
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out.into()
    }
}
