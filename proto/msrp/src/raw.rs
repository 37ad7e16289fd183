//! The head of a frame as it came, for those who pass it on (RFC 4975 §7.1, §9).
//!
//! Nothing is copied and nothing but the frame's outline is read: where the transaction identifier, the two
//! paths and the end of the header fields stand. The values of other fields are not looked at.

use crate::{Continuation, Head, Header};
use carnet_wire::ParseError;
use std::ops::Range;

/// Longest transaction identifier (RFC 4975 §9).
pub(crate) const TID: usize = 32;
/// Where a transaction identifier starts, after `MSRP `.
const TID_AT: usize = 5;

/// The outline of a head, in octets from its start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outline {
    tid_end: usize,
    /// Method or status, and the comment.
    start_end: usize,
    /// 0 in a request.
    status: u16,
    to: Range<usize>,
    from: Range<usize>,
    /// After the line end of the last header field.
    fields_end: usize,
    /// Whether a Content-Type was among the fields.
    typed: bool,
    lines: usize,
}

/// What a line of the head was.
pub(crate) enum Line {
    Field,
    Blank,
    End(Continuation),
}

impl Outline {
    /// Reads the next line, `head[at..]` without its line end.
    pub(crate) fn line(&mut self, head: &[u8], at: usize, end: usize) -> Result<Line, ParseError> {
        let line = head.get(at..end).unwrap_or_default();
        if let Some(bad) = memchr::memchr(b'\r', line) {
            return Err(ParseError::new(at + bad, "no carriage return inside a line"));
        }
        self.clean_line(head, at, end)
    }

    /// The same for a line that is known to hold no carriage return.
    pub(crate) fn clean_line(&mut self, head: &[u8], at: usize, end: usize) -> Result<Line, ParseError> {
        let line = head.get(at..end).unwrap_or_default();
        self.lines += 1;
        if self.lines == 1 {
            self.start(line)?;
            self.fields_end = end + 2;
            return Ok(Line::Field);
        }
        let is_dashes = line.starts_with(b"-------");
        if line.is_empty() || is_dashes {
            if self.lines < 4 {
                return Err(ParseError::new(at, "To-Path and From-Path"));
            }
            if line.is_empty() {
                return Ok(Line::Blank);
            }
            let tid = self.tid(head);
            let flag = line.get(7..).and_then(|l| l.strip_prefix(tid));
            return match flag {
                Some([flag]) => Continuation::from_octet(*flag),
                _ => None,
            }
            .map(Line::End)
            .ok_or_else(|| ParseError::new(at + 7, "the end line of this transaction"));
        }
        self.field(line, at)?;
        self.fields_end = end + 2;
        Ok(Line::Field)
    }

    fn start(&mut self, line: &[u8]) -> Result<(), ParseError> {
        let rest = line.strip_prefix(b"MSRP ").ok_or_else(|| ParseError::new(0, "`MSRP `"))?;
        let length = memchr::memchr(b' ', rest).unwrap_or(rest.len());
        let (tid, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        // RFC 4975 §9: ident = ALPHANUM 3*31ident-char
        let is_ident = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'%' | b'=');
        let shape = tid.first().is_some_and(u8::is_ascii_alphanumeric) && tid.iter().all(is_ident);
        if !shape || !(4..=TID).contains(&tid.len()) {
            return Err(ParseError::new(TID_AT, "a transaction identifier of 4 to 32 characters"));
        }
        self.tid_end = TID_AT + tid.len();
        self.start_end = line.len();
        let word_at = self.tid_end + 1;
        let Some((b' ', rest)) = rest.split_first() else {
            return Err(ParseError::new(self.tid_end, "a space after the transaction identifier"));
        };
        match rest {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', after @ ..]
                if after.first().is_none_or(|b| *b == b' ') =>
            {
                self.status = [a, b, c].iter().fold(0, |n, d| n * 10 + u16::from(**d - b'0'));
                // 000 stands in no response, and here it means a request.
                if self.status == 0 { Err(ParseError::new(word_at, "a status")) } else { Ok(()) }
            }
            word if !word.is_empty() && word.iter().all(u8::is_ascii_uppercase) => Ok(()),
            _ => Err(ParseError::new(word_at, "a method or a three-digit status")),
        }
    }

    fn field(&mut self, line: &[u8], at: usize) -> Result<(), ParseError> {
        let colon = memchr::memchr(b':', line).filter(|_| line.first().is_some_and(u8::is_ascii_alphabetic));
        let colon = colon.ok_or_else(|| ParseError::new(at, "a header field"))?;
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, &[]));
        // RFC 4975 §7.1: the paths come first, in this order; and only once, or it is open which one counts.
        let place = [&b"To-Path"[..], b"From-Path"].iter().position(|n| name.eq_ignore_ascii_case(n));
        let expected = self.lines.checked_sub(2).filter(|n| *n < 2);
        if place != expected {
            return Err(ParseError::new(at, "To-Path, then From-Path, then other fields"));
        }
        let blanks = value.iter().skip(1).take_while(|b| matches!(b, b' ' | b'\t')).count();
        let value = at + colon + 1 + blanks..at + line.len();
        match place {
            Some(0) => self.to = value,
            Some(_) => self.from = value,
            None => self.typed |= name.eq_ignore_ascii_case(b"Content-Type"),
        }
        Ok(())
    }

    pub(crate) fn tid<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        head.get(TID_AT..self.tid_end).unwrap_or_default()
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    pub(crate) fn typed(&self) -> bool {
        self.typed
    }
}

/// What a start line asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawStart<'a> {
    /// A request with this method.
    Request(&'a [u8]),
    /// A response with this status.
    Response(u16),
}

/// A head as it came.
#[derive(Debug, Clone)]
pub struct RawHead<'a> {
    pub(crate) octets: &'a [u8],
    pub(crate) outline: Outline,
    /// The flag of the end line that follows the header fields at once.
    pub(crate) bare: Option<Continuation>,
}

impl<'a> RawHead<'a> {
    fn part(&self, range: Range<usize>) -> &'a [u8] {
        self.octets.get(range).unwrap_or_default()
    }

    /// The transaction identifier.
    pub fn tid(&self) -> &'a [u8] {
        self.part(TID_AT..self.outline.tid_end)
    }

    /// Method or status.
    pub fn start(&self) -> RawStart<'a> {
        match self.outline.status {
            0 => RawStart::Request(self.part(self.outline.tid_end + 1..self.outline.start_end)),
            status => RawStart::Response(status),
        }
    }

    /// What follows the transaction identifier in the start line, with the blank.
    pub fn start_line(&self) -> &'a [u8] {
        self.part(self.outline.tid_end..self.outline.start_end)
    }

    /// The value of To-Path, which nobody has read yet.
    pub fn to_path(&self) -> &'a [u8] {
        self.part(self.outline.to.clone())
    }

    /// The value of From-Path, which nobody has read yet.
    pub fn from_path(&self) -> &'a [u8] {
        self.part(self.outline.from.clone())
    }

    /// Whether a blank line and a body follow.
    pub fn has_body(&self) -> bool {
        self.bare.is_none()
    }

    /// The value of the first other header field of this name, in any case, without blanks around it.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.place(name).and_then(|at| self.fields().get(at))
    }

    /// Where that value stands, in octets from the start of [`Self::fields`].
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        let [place] = self.places([name]);
        place
    }

    /// The header fields after the two paths, each with its line end, as they came.
    pub fn fields(&self) -> &'a [u8] {
        self.part(self.fields_at()..self.outline.fields_end)
    }

    fn fields_at(&self) -> usize {
        self.outline.from.end + 2
    }

    /// Where the values of these fields stand, as [`Self::place`] says it of one, in one pass.
    pub fn places<const N: usize>(&self, names: [&str; N]) -> [Option<Range<usize>>; N] {
        let fields = self.fields();
        let mut places = [const { None }; N];
        let mut at = 0;
        while let Some(rest) = fields.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(length) = memchr::memchr(b'\n', rest) else { break };
            let line = rest.get(..length.saturating_sub(1)).unwrap_or_default();
            for (name, place) in names.iter().zip(&mut places) {
                if place.is_none()
                    && line.get(name.len()) == Some(&b':')
                    && line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
                {
                    let value = bare(line, name.len() + 1);
                    *place = Some(at + value.start..at + value.end);
                }
            }
            at += length + 1;
        }
        places
    }

    /// Reads the head for good.
    ///
    /// # Errors
    /// A line that is not what RFC 4975 §9 says.
    pub fn parse(&self) -> Result<Head, ParseError> {
        let mut head = Head::parse_start(self.part(0..self.outline.start_end))?;
        let mut at = self.outline.start_end + 2;
        let fields = self.part(at..self.outline.fields_end);
        for line in fields.split_inclusive(|b| *b == b'\n') {
            let text = line.strip_suffix(b"\r\n").unwrap_or(line);
            head.headers.push(Header::parse(text).map_err(|e| e.shifted(at))?);
            at += line.len();
        }
        head.has_body = self.has_body();
        Ok(head)
    }

    /// Writes the head with other paths, and the blank line if a body follows. All else is as it came.
    pub fn write_with(&self, to: &[u8], from: &[u8], out: &mut Vec<u8>) {
        let outline = &self.outline;
        out.extend_from_slice(self.part(0..outline.to.start));
        out.extend_from_slice(to);
        out.extend_from_slice(self.part(outline.to.end..outline.from.start));
        out.extend_from_slice(from);
        out.extend_from_slice(self.part(outline.from.end..outline.fields_end));
        if self.has_body() {
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Where the value of a field stands in its `line`, of which it has what follows `at`, without blanks around it.
fn bare(line: &[u8], at: usize) -> Range<usize> {
    let value = line.get(at..).unwrap_or_default();
    let is_blank = |b: &&u8| matches!(b, b' ' | b'\t');
    let before = value.iter().take_while(is_blank).count();
    let after = value.iter().skip(before).rev().take_while(is_blank).count();
    at + before..line.len() - after
}
