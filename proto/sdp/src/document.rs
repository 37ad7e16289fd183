//! The document: sections of lines, read once, printed back as they came.
//!
//! RFC 8866 §5: a session section, then one section a media line. The order of lines within a
//! section is kept, not judged.

use crate::attribute::Attribute;
use crate::line::{Connection, Ending, Line, MediaLine, Origin};
use crate::{Error, Media};
use bytes::{BufMut as _, Bytes, BytesMut};
use carnet_wire::ParseError;

/// Bounds on what a document may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets in all.
    pub octets: usize,
    /// Lines in all.
    pub lines: usize,
    /// `m=` lines.
    pub media: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { octets: 64 * 1024, lines: 2000, media: 64 }
    }
}

/// How many lines ended in what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Endings {
    /// CR LF, as RFC 8866 §5 asks.
    pub crlf: usize,
    /// LF alone.
    pub lf: usize,
}

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub(crate) session: Vec<Line>,
    pub(crate) media: Vec<Section>,
}

/// An `m=` line and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) fields: MediaLine,
    /// The first line is the `m=` line.
    pub(crate) lines: Vec<Line>,
}

impl Document {
    /// Reads a whole session description: `v=0` first, an `o=` line, well-formed `m=` lines.
    pub fn parse(octets: Bytes, limits: &Limits) -> Result<Self, Error> {
        let document = Self::parse_fragment(octets, limits)?;
        let mut lines = document.session.iter();
        // RFC 8866 §5.1: there is one version, and it comes first.
        let version = lines.next().filter(|l| l.kind() == b'v').ok_or(ParseError::new(0, "`v=0`"))?;
        if version.value() != b"0" {
            return Err(ParseError::new(2, "`0`, the version").into());
        }
        // RFC 8866 §5: `o=` is the second line.
        let at = version.text.len() + version.ending.octets().len();
        let origin = lines.next().filter(|l| l.kind() == b'o').ok_or(ParseError::new(at, "`o=`"))?;
        if Origin::parse(origin.value()).is_none() {
            return Err(ParseError::new(at + 2 + Origin::fault(origin.value()), "six fields").into());
        }
        Ok(document)
    }

    /// Reads a part of a session description as H.248 carries it in Local and Remote
    /// (RFC 3525 §7.1.8): no line is required and `$` may stand for a value.
    pub fn parse_fragment(octets: Bytes, limits: &Limits) -> Result<Self, Error> {
        if octets.len() > limits.octets {
            return Err(Error::Limit { what: "octets", max: limits.octets, at: limits.octets });
        }
        let mut document = Self { session: Vec::new(), media: Vec::new() };
        let (mut at, mut count) = (0, 0);
        while at < octets.len() {
            let line = next_line(&octets, at);
            count += 1;
            if count > limits.lines {
                return Err(Error::Limit { what: "lines", max: limits.lines, at });
            }
            let next = at + line.text.len() + line.ending.octets().len();
            check_line(&line, at, octets.get(next..).unwrap_or_default())?;
            if line.kind() == b'm' {
                if document.media.len() == limits.media {
                    return Err(Error::Limit { what: "media lines", max: limits.media, at });
                }
                let fields = MediaLine::parse(line.value()).map_err(|e| e.shifted(at + 2))?;
                document.media.push(Section { fields, lines: vec![line] });
            } else if let Some(section) = document.media.last_mut() {
                section.lines.push(line);
            } else {
                document.session.push(line);
            }
            at = next;
        }
        Ok(document)
    }

    /// The octets: those received, with the edits.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.lines().map(|l| l.text.len() + 2).sum());
        for line in self.lines() {
            out.put_slice(&line.text);
            out.put_slice(line.ending.octets());
        }
        out.freeze()
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.session.iter().chain(self.media.iter().flat_map(|s| &s.lines))
    }

    /// How the lines end.
    pub fn endings(&self) -> Endings {
        self.lines().fold(Endings::default(), |mut n, line| {
            match line.ending {
                Ending::CrLf => n.crlf += 1,
                Ending::Lf => n.lf += 1,
                Ending::None => {}
            }
            n
        })
    }

    /// The `o=` line; `None` only in fragments.
    pub fn origin(&self) -> Option<Origin<'_>> {
        self.session.iter().find(|l| l.kind() == b'o').and_then(|l| Origin::parse(l.value()))
    }

    /// The value of `s=`.
    pub fn session_name(&self) -> Option<&[u8]> {
        self.session.iter().find(|l| l.kind() == b's').map(|l| l.value())
    }

    /// The session's `c=` line.
    pub fn connection(&self) -> Option<Connection> {
        self.session.iter().find(|l| l.kind() == b'c').and_then(|l| Connection::parse(l.value()))
    }

    /// The attributes of the session section, in order.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        attributes(&self.session)
    }

    /// The first session attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.attributes().find(|a| a.name == name.as_bytes())
    }

    /// The media lines, in order.
    pub fn media(&self) -> impl ExactSizeIterator<Item = Media<'_>> {
        self.media.iter().enumerate().map(|(index, section)| Media { document: self, section, index })
    }

    /// One media line, counted from 0.
    pub fn media_at(&self, index: usize) -> Option<Media<'_>> {
        self.media.get(index).map(|section| Media { document: self, section, index })
    }
}

pub(crate) fn attributes(lines: &[Line]) -> impl Iterator<Item = Attribute<'_>> {
    lines.iter().filter(|l| l.kind() == b'a').map(|l| Attribute::parse(l.value()))
}

/// The line at `at`; its text borrows from the input.
fn next_line(octets: &Bytes, at: usize) -> Line {
    let rest = octets.get(at..).unwrap_or_default();
    let (end, ending) = match memchr::memchr(b'\n', rest) {
        None => (rest.len(), Ending::None),
        Some(n) if n > 0 && rest.get(n - 1) == Some(&b'\r') => (n - 1, Ending::CrLf),
        Some(n) => (n, Ending::Lf),
    };
    Line { text: octets.slice(at..at + end), ending }
}

/// RFC 8866 §5: a letter, `=`, a value without NUL or CR. A blank line is let pass at the very
/// end, where many senders leave one.
fn check_line(line: &Line, at: usize, rest: &[u8]) -> Result<(), ParseError> {
    if line.text.is_empty() {
        let blank = rest.iter().all(|b| matches!(b, b'\r' | b'\n'));
        return if blank { Ok(()) } else { Err(ParseError::new(at, "a line of SDP, not a blank one")) };
    }
    if !line.kind().is_ascii_alphabetic() {
        return Err(ParseError::new(at, "the letter of an SDP line"));
    }
    if line.text.get(1) != Some(&b'=') {
        return Err(ParseError::new(at + 1, "`=` after the letter"));
    }
    match memchr::memchr2(b'\r', 0, &line.text) {
        Some(n) => Err(ParseError::new(at + n, "no CR and no NUL inside a line")),
        None => Ok(()),
    }
}
