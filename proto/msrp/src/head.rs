//! The head of a frame: start line and header fields (RFC 4975 §7.1, §9).
//!
//! Lines are kept as they came, so printing a parsed head is the identity. What the values mean is
//! for [`crate::Session`]; here only their form matters.

use crate::{ByteRange, Status, parse_path};
use carnet_wire::{Cursor, ParseError};

/// Start line and header fields of one request or response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The transaction identifier: repeated in the end line, and by the response.
    pub tid: String,
    /// The rest of the start line.
    pub start: Start,
    /// Header fields in order.
    pub headers: Vec<Header>,
    /// Whether a blank line and a body follow (even one of no octets).
    pub has_body: bool,
}

/// What the start line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A request with its method, `SEND` or `REPORT` or one we do not know.
    Request(String),
    /// A response.
    Response {
        /// Three digits.
        status: u16,
        /// The text after the status; `Some("")` when only the space is there.
        comment: Option<String>,
    },
}

/// One header field, the line as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    line: String,
    colon: usize,
}

/// The flag at the end of the end line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// `$`: this was the last octet of the message.
    Last,
    /// `+`: more of the message follows in another chunk.
    More,
    /// `#`: the sender gave the message up.
    Aborted,
}

impl Continuation {
    /// From the octet in the end line.
    pub fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            b'$' => Some(Self::Last),
            b'+' => Some(Self::More),
            b'#' => Some(Self::Aborted),
            _ => None,
        }
    }

    /// The octet in the end line.
    pub fn octet(self) -> u8 {
        match self {
            Self::Last => b'$',
            Self::More => b'+',
            Self::Aborted => b'#',
        }
    }
}

impl Header {
    /// Reads one line without its line end.
    pub fn parse(line: &[u8]) -> Result<Self, ParseError> {
        let mut c = Cursor::new(line);
        if !c.peek().is_some_and(|b| b.is_ascii_alphabetic()) {
            return Err(c.error("the name of a header field"));
        }
        c.take_while(is_name);
        let colon = c.position();
        c.expect(b':', "`:` after the name of a header field")?;
        let line = text(line)?;
        Ok(Self { line: line.to_owned(), colon })
    }

    /// A header field of our own.
    ///
    /// # Errors
    /// When the name or the value has an octet that would not stay inside the line.
    pub fn new(name: &str, value: &str) -> Result<Self, ParseError> {
        Self::parse(format!("{name}: {value}").as_bytes())
    }

    /// The name as written.
    pub fn name(&self) -> &str {
        self.line.get(..self.colon).unwrap_or_default()
    }

    /// The value without white space around it.
    pub fn value(&self) -> &str {
        self.line.get(self.colon + 1..).unwrap_or_default().trim_matches([' ', '\t'])
    }

    /// Where the value starts in the line.
    fn value_at(&self) -> usize {
        self.line.len()
            - self.line.get(self.colon + 1..).unwrap_or_default().trim_start_matches([' ', '\t']).len()
    }

    /// Whether the value can be read, for the fields that every receiver reads.
    fn check(&self) -> Result<(), ParseError> {
        let value = self.value();
        let is = |name: &str| self.name().eq_ignore_ascii_case(name);
        let one_of = |words: &[&str], expected: &'static str| {
            let known = words.iter().any(|w| w.eq_ignore_ascii_case(value));
            if known { Ok(()) } else { Err(ParseError::new(0, expected)) }
        };
        if is("To-Path") || is("From-Path") {
            parse_path(value.as_bytes()).map(drop)
        } else if is("Byte-Range") {
            ByteRange::parse(value.as_bytes()).map(drop)
        } else if is("Success-Report") {
            one_of(&["yes", "no"], "`yes` or `no`")
        } else if is("Failure-Report") {
            one_of(&["yes", "no", "partial"], "`yes`, `no` or `partial`")
        } else if is("Status") {
            report_status(value).map(drop)
        } else {
            Ok(())
        }
    }

    /// The line as it came, without its line end.
    pub fn line(&self) -> &str {
        &self.line
    }
}

impl Head {
    /// A request without header fields.
    pub fn request(tid: impl Into<String>, method: &str) -> Self {
        Self {
            tid: tid.into(),
            start: Start::Request(method.to_owned()),
            headers: Vec::new(),
            has_body: false,
        }
    }

    /// A response without header fields.
    pub fn response(tid: impl Into<String>, status: Status) -> Self {
        let comment = Some(status.comment()).filter(|c| !c.is_empty()).map(str::to_owned);
        let start = Start::Response { status: status.0, comment };
        Self { tid: tid.into(), start, headers: Vec::new(), has_body: false }
    }

    /// Reads a start line without its line end.
    pub fn parse_start(line: &[u8]) -> Result<Self, ParseError> {
        let mut c = Cursor::new(line);
        // RFC 4975 §9: pMSRP is in upper case, and methods are case-sensitive.
        if !line.starts_with(b"MSRP ") {
            return Err(c.error("`MSRP ` at the start of a frame"));
        }
        c.seek(5);
        let tid = c.take_while(|b| b != b' ');
        // RFC 4975 §9: ident = ALPHANUM 3*31ident-char
        let shape = tid.first().is_some_and(u8::is_ascii_alphanumeric) && tid.iter().all(|b| is_ident(*b));
        if !shape || !(4..=32).contains(&tid.len()) {
            return Err(ParseError::new(5, "a transaction identifier of 4 to 32 characters"));
        }
        let tid = text(tid)?.to_owned();
        c.expect(b' ', "a space after the transaction identifier")?;
        let rest_at = c.position();
        let word = c.take_while(|b| b != b' ');
        let start = if word.len() == 3 && word.iter().all(u8::is_ascii_digit) {
            let status = word.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
            let comment = if c.eat(b' ') {
                Some(text(c.rest()).map_err(|e| e.shifted(c.position()))?.to_owned())
            } else {
                None
            };
            Start::Response { status, comment }
        } else {
            if word.is_empty() || !word.iter().all(u8::is_ascii_uppercase) {
                return Err(ParseError::new(rest_at, "a method or a three-digit status"));
            }
            if !c.is_empty() {
                return Err(c.error("the end of the start line"));
            }
            Start::Request(text(word)?.to_owned())
        };
        Ok(Self { tid, start, headers: Vec::new(), has_body: false })
    }

    /// Adds a header field of our own; see [`Header::new`].
    pub fn push(&mut self, name: &str, value: &str) -> Result<(), ParseError> {
        self.headers.push(Header::new(name, value)?);
        Ok(())
    }

    /// The value of the first header field called `name`, in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|h| h.name().eq_ignore_ascii_case(name)).map(Header::value)
    }

    /// The method, when this is a request.
    pub fn method(&self) -> Option<&str> {
        match &self.start {
            Start::Request(method) => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The first header field that no receiver can accept, with its place counted from the start of the
    /// frame; `None` when the head is in order.
    ///
    /// Checked are those that every receiver reads: the paths, which come first (RFC 4975 §7.1, §9), and
    /// the fields that tell which octets of which message a request carries or reports on.
    pub fn fault(&self) -> Option<ParseError> {
        let mut at = 0;
        let mut lines = Vec::with_capacity(64);
        self.write_start(&mut lines);
        at += lines.len();
        let end = at + self.headers.iter().map(|h| h.line.len() + 2).sum::<usize>();
        for (i, header) in self.headers.iter().enumerate() {
            let name = header.name();
            for (place, path) in ["To-Path", "From-Path"].into_iter().enumerate() {
                if (i == place) != name.eq_ignore_ascii_case(path) {
                    return Some(ParseError::new(at, format!("{path} as header field {}", place + 1)));
                }
            }
            if let Err(e) = header.check() {
                return Some(e.shifted(at + header.value_at()));
            }
            at += header.line.len() + 2;
        }
        let needed: &[&str] = match self.method() {
            Some("REPORT") => &["To-Path", "From-Path", "Message-ID", "Status"],
            Some("SEND") if self.has_body && !self.is_empty_range() => {
                &["To-Path", "From-Path", "Message-ID"]
            }
            _ => &["To-Path", "From-Path"],
        };
        let missing = needed.iter().find(|name| self.get(name).is_none_or(str::is_empty))?;
        Some(ParseError::new(end, format!("{missing} among the header fields")))
    }

    /// Whether the message is said to have no octets. Some stacks end a keep-alive with the blank line
    /// of a body and no body.
    pub(crate) fn is_empty_range(&self) -> bool {
        let range = self.get("Byte-Range").and_then(|v| ByteRange::parse(v.as_bytes()).ok());
        range.is_some_and(|r| r.total == Some(0))
    }

    /// Writes the head, with the blank line when a body follows.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_start(out);
        for header in &self.headers {
            out.extend_from_slice(header.line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if self.has_body {
            out.extend_from_slice(b"\r\n");
        }
    }

    fn write_start(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"MSRP ");
        out.extend_from_slice(self.tid.as_bytes());
        out.push(b' ');
        match &self.start {
            Start::Request(method) => out.extend_from_slice(method.as_bytes()),
            Start::Response { status, comment } => {
                out.extend_from_slice(format!("{status:03}").as_bytes());
                if let Some(comment) = comment {
                    out.push(b' ');
                    out.extend_from_slice(comment.as_bytes());
                }
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes the end line. The line end that separates it from a body is written when there is one.
    pub fn write_end(&self, flag: Continuation, out: &mut Vec<u8>) {
        if self.has_body {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"-------");
        out.extend_from_slice(self.tid.as_bytes());
        out.push(flag.octet());
        out.extend_from_slice(b"\r\n");
    }
}

/// `000 200 OK`: namespace, status, and a comment that does not matter (RFC 4975 §7.1.3).
pub(crate) fn report_status(value: &str) -> Result<(u16, Status), ParseError> {
    let mut c = Cursor::new(value.as_bytes());
    let mut number = |expected: &'static str| {
        let at = c.position();
        let digits = c.take_while(|b| b.is_ascii_digit());
        if digits.len() != 3 || c.peek().is_some_and(|b| b != b' ') {
            return Err(ParseError::new(at, expected));
        }
        c.eat(b' ');
        Ok(digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')))
    };
    let namespace = number("a namespace of three digits")?;
    Ok((namespace, Status(number("a status of three digits")?)))
}

/// Whether text fits into a header field.
pub(crate) fn is_line(octets: &[u8]) -> bool {
    !octets.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f)
}

/// RFC 4975 §9: utf8text, which has no control characters but the tab.
fn text(octets: &[u8]) -> Result<&str, ParseError> {
    if let Some(at) = octets.iter().position(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
        return Err(ParseError::new(at, "no control characters in the line"));
    }
    std::str::from_utf8(octets).map_err(|e| ParseError::new(e.valid_up_to(), "UTF-8"))
}

fn is_ident(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'%' | b'=')
}

fn is_name(b: u8) -> bool {
    matches!(b, 0x21 | 0x23..=0x27 | 0x2a | 0x2b | 0x2d | 0x2e | 0x30..=0x39 | 0x41..=0x5a | 0x5e..=0x7e)
}
