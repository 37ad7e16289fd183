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

/// Fields that are found on the way.
const NOTED: [&str; 4] = ["Byte-Range", "Failure-Report", "Message-ID", "Content-Type"];
/// Of them, the one that says that a body follows.
const TYPE: usize = 3;

/// Octets of a transaction identifier (RFC 4975 §9: ALPHANUM 3*31ident-char).
const IDENT: [bool; 256] = {
    let mut table = [false; 256];
    let mut n = 0;
    while n < 256 {
        let b = n as u8;
        table[n] = b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'%' | b'=');
        n += 1;
    }
    table
};

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
    /// The lines of those other fields that everybody asks for, the first of each: see [`NOTED`].
    noted: [Range<usize>; NOTED.len()],
    lines: usize,
    /// The paths are those of the head before.
    same: bool,
}

/// Octets of paths that are kept for the next head, at most.
const PATHS: usize = 1024;

/// The lines of both paths in some head, with their line ends, and where in them the paths stand.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    pub(crate) text: Vec<u8>,
    to: Range<usize>,
    from: Range<usize>,
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

    /// For the next frame.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_response(&self) -> bool {
        self.status != 0
    }

    /// The two lines that stand `at` are those.
    pub(crate) fn take_paths(&mut self, at: usize, paths: &Paths) {
        self.to = at + paths.to.start..at + paths.to.end;
        self.from = at + paths.from.start..at + paths.from.end;
        self.fields_end = at + paths.text.len();
        self.lines += 2;
        self.same = true;
    }

    /// Keeps the two lines for the next head, unless they are those that were taken.
    pub(crate) fn give_paths(&self, head: &[u8], paths: &mut Paths) {
        if self.same {
            return;
        }
        let at = self.start_end + 2;
        let text = head.get(at..self.from.end + 2).unwrap_or_default();
        paths.text.clear();
        if text.len() <= PATHS {
            paths.text.extend_from_slice(text);
            let place = |of: &Range<usize>| of.start.saturating_sub(at)..of.end.saturating_sub(at);
            (paths.to, paths.from) = (place(&self.to), place(&self.from));
        }
    }

    fn start(&mut self, line: &[u8]) -> Result<(), ParseError> {
        let rest = line.strip_prefix(b"MSRP ").ok_or_else(|| ParseError::new(0, "`MSRP `"))?;
        let length = memchr::memchr(b' ', rest).unwrap_or(rest.len());
        let (tid, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let is_ident = |b: &u8| IDENT.get(usize::from(*b)).is_some_and(|is| *is);
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
        // RFC 4975 §7.1: the paths come first, in this order; and only once, or it is open which one counts.
        match self.lines {
            2 if line.starts_with(b"To-Path: ") => self.to = value(line, at, 7),
            3 if line.starts_with(b"From-Path: ") => self.from = value(line, at, 9),
            _ => return self.any_field(line, at),
        }
        Ok(())
    }

    fn any_field(&mut self, line: &[u8], at: usize) -> Result<(), ParseError> {
        let colon = memchr::memchr(b':', line).filter(|_| line.first().is_some_and(u8::is_ascii_alphabetic));
        let colon = colon.ok_or_else(|| ParseError::new(at, "a header field"))?;
        let name = line.get(..colon).unwrap_or_default();
        let place = match colon {
            7 if is_named(name, "To-Path") => Some(0),
            9 if is_named(name, "From-Path") => Some(1),
            _ => None,
        };
        if place != self.lines.checked_sub(2).filter(|n| *n < 2) {
            return Err(ParseError::new(at, "To-Path, then From-Path, then other fields"));
        }
        match place {
            Some(0) => self.to = value(line, at, colon),
            Some(_) => self.from = value(line, at, colon),
            None => {
                for (noted, known) in self.noted.iter_mut().zip(NOTED) {
                    if known.len() == colon && noted.start == noted.end && is_named(name, known) {
                        *noted = at..at + line.len();
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn tid<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        head.get(TID_AT..self.tid_end).unwrap_or_default()
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// Whether a Content-Type was among the fields.
    pub(crate) fn typed(&self) -> bool {
        self.noted.get(TYPE).is_some_and(|line| line.start < line.end)
    }
}

/// RFC 4975 §9: in any case, and nearly always as it is written there.
fn is_named(name: &[u8], known: &str) -> bool {
    name == known.as_bytes() || name.eq_ignore_ascii_case(known.as_bytes())
}

/// Where the value of a `line` that stands `at` begins and ends, without the blanks after its colon.
fn value(line: &[u8], at: usize, colon: usize) -> Range<usize> {
    let value = line.get(colon + 1..).unwrap_or_default();
    let blanks = value.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    at + colon + 1 + blanks..at + line.len()
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
    pub(crate) outline: &'a Outline,
    /// The flag of the end line that follows the header fields at once.
    pub(crate) bare: Option<Continuation>,
}

impl<'a> RawHead<'a> {
    #[inline]
    fn part(&self, range: Range<usize>) -> &'a [u8] {
        self.octets.get(range).unwrap_or_default()
    }

    /// The transaction identifier.
    #[inline]
    pub fn tid(&self) -> &'a [u8] {
        self.part(TID_AT..self.outline.tid_end)
    }

    /// Method or status.
    #[inline]
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
    #[inline]
    pub fn to_path(&self) -> &'a [u8] {
        self.part(self.outline.to.clone())
    }

    /// The value of From-Path, which nobody has read yet.
    #[inline]
    pub fn from_path(&self) -> &'a [u8] {
        self.part(self.outline.from.clone())
    }

    /// Whether both paths are those of the request before, or of the response before in a response, octet for
    /// octet. May be false all the same.
    #[inline]
    pub fn has_same_paths(&self) -> bool {
        self.outline.same
    }

    /// Whether a blank line and a body follow.
    #[inline]
    pub fn has_body(&self) -> bool {
        self.bare.is_none()
    }

    /// The value of the first other header field of this name, in any case, without blanks around it.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.place(name).and_then(|at| self.fields().get(at))
    }

    /// Where that value stands, in octets from the start of [`Self::fields`].
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        let fields = self.fields();
        let mut at = 0;
        while let Some(rest) = fields.get(at..).filter(|rest| !rest.is_empty()) {
            let length = memchr::memchr(b'\n', rest)?;
            let line = rest.get(..length.saturating_sub(1)).unwrap_or_default();
            if line.get(name.len()) == Some(&b':')
                && line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
            {
                let value = bare(line, name.len() + 1);
                return Some(at + value.start..at + value.end);
            }
            at += length + 1;
        }
        None
    }

    /// What [`Self::place`] says of Byte-Range, Failure-Report and Message-ID, which were found when the head
    /// was read.
    pub fn noted(&self) -> [Option<Range<usize>>; 3] {
        let at = self.fields_at();
        let [range, wish, name, _] = &self.outline.noted;
        [(range, 0), (wish, 1), (name, 2)].map(|(line, n)| {
            let octets = self.octets.get(line.clone()).filter(|octets| !octets.is_empty())?;
            let value = bare(octets, NOTED.get(n)?.len() + 1);
            let from = line.start.checked_sub(at)?;
            Some(from + value.start..from + value.end)
        })
    }

    /// The header fields after the two paths, each with its line end, as they came.
    #[inline]
    pub fn fields(&self) -> &'a [u8] {
        self.part(self.fields_at()..self.outline.fields_end)
    }

    /// What [`Self::from_path`] and [`Self::fields`] say and all that is between and behind them: the end of the head,
    /// with the blank line if a body follows.
    #[inline]
    pub fn from_on(&self) -> &'a [u8] {
        let blank = if self.has_body() { 2 } else { 0 };
        self.part(self.outline.from.start..self.outline.fields_end + blank)
    }

    #[inline]
    fn fields_at(&self) -> usize {
        self.outline.from.end + 2
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
        let outline = self.outline;
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
