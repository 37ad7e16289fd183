//! Octets to a message: where each line lies, and the first rule of the grammar that is broken.

use super::{Line, Message, Start};
use crate::error::Error;
use crate::grammar::{is_lws, is_quoted_nul, is_token};
use crate::limits::Limits;
use crate::method::Method;
use crate::uri::Uri;
use bytes::Bytes;
use carnet_wire::{ParseError, Span};

/// A message, and what is wrong with it.
///
/// A faulty message is only good for answering: its Via, From, To, Call-ID and CSeq are what
/// could be read.
#[derive(Debug)]
pub struct Scanned {
    /// The message.
    pub message: Message,
    /// The first fault; `None` if there is none.
    pub fault: Option<Error>,
    /// Where the fault lies, in octets from the start of what was scanned: at a header that is
    /// repeated, at the end of the headers for one that is missing. 0 if there is no fault.
    pub at: usize,
}

/// What is wrong, and where in the message.
struct Note<'a> {
    lead: usize,
    first: &'a mut Option<(Error, usize)>,
}

impl Note<'_> {
    /// A fault that says itself where it lies.
    fn fault(&mut self, error: Error) {
        let at = error.offset().unwrap_or(0);
        self.at(error, at);
    }

    fn at(&mut self, error: Error, at: usize) {
        let lead = self.lead;
        self.first.get_or_insert_with(|| (shifted(error, lead), lead + at));
    }

    fn malformed(&mut self, what: &'static str, at: usize, expected: &'static str) {
        self.fault(Error::Malformed { what, at: ParseError::new(at, expected) });
    }
}

/// Headers that are there once (RFC 3261 §7.3.1, §20, table 2). Those of other documents are
/// left alone.
const SINGLE: [&str; 13] = [
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Content-Type",
    "Content-Length",
    "Expires",
    "Min-Expires",
    "MIME-Version",
    "Retry-After",
    "Session-Expires",
    "RSeq",
];

/// Parses a whole message and keeps one that breaks rules, so that it can be answered.
///
/// # Errors
/// [`Error::NotSip`] or [`Error::TooLarge`] if there is no message to speak of.
pub fn scan(octets: Bytes, limits: &Limits) -> Result<Scanned, Error> {
    if octets.len() > limits.message {
        return Err(Error::TooLarge { what: "octets", limit: limits.message, at: limits.message });
    }
    // RFC 3261 §7.5: empty lines before the start line are ignored.
    let mut lead = 0;
    while octets.get(lead..).is_some_and(|o| o.starts_with(b"\r\n")) {
        lead += 2;
    }
    let raw = octets.slice(lead.min(octets.len())..);
    let mut first = None;
    let mut note = Note { lead, first: &mut first };

    let not_sip = |at, expected| Error::NotSip(ParseError::new(lead + at, expected));
    let Some(start_end) = find_crlf(&raw, 0) else {
        return Err(not_sip(raw.len(), "a start line that ends with CR LF"));
    };
    let line = raw.get(..start_end).unwrap_or_default();
    let (start, method) = match start_line(line, &mut note) {
        Ok(parsed) => parsed,
        Err(at) => return Err(Error::NotSip(at.shifted(lead))),
    };

    let mut lines = Vec::with_capacity(24);
    let mut at = start_end + 2;
    let body_at = loop {
        if raw.get(at..).is_some_and(|o| o.starts_with(b"\r\n")) {
            break at + 2;
        }
        if at >= raw.len() {
            note.malformed("header section", at, "an empty line behind the headers");
            break raw.len();
        }
        if at > limits.head {
            return Err(Error::TooLarge {
                what: "octets of head",
                limit: limits.head,
                at: lead + limits.head,
            });
        }
        if lines.len() >= limits.lines {
            return Err(Error::TooLarge { what: "header lines", limit: limits.lines, at: lead + at });
        }
        let Some(end) = line_end(&raw, at) else {
            note.malformed("header section", raw.len(), "CR LF behind a header line");
            break raw.len();
        };
        match header_line(&raw, at, end) {
            Ok(line) => lines.push(line),
            Err(e) => {
                note.fault(Error::Malformed { what: "header line", at: e });
                // The line is kept out of the index: nobody may act on it.
            }
        }
        at = end;
    };

    let body = raw.slice(body_at..);
    let start_span = Span::new(0, start_end + 2);
    let mut message =
        Message { raw, start_line: None, start_span, start, method, lines, body, edited: false };
    message.settle_body(body_at, &mut note);
    message.check(limits, at, &mut note);
    let (fault, at) = first.map_or((None, 0), |(fault, at)| (Some(fault), at));
    Ok(Scanned { message, fault, at })
}

fn shifted(e: Error, by: usize) -> Error {
    match e {
        Error::Malformed { what, at } => Error::Malformed { what, at: at.shifted(by) },
        Error::TooLarge { what, limit, at } => Error::TooLarge { what, limit, at: at + by },
        other => other,
    }
}

fn find_crlf(octets: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let cr = at + memchr::memchr(b'\r', octets.get(at..)?)?;
        if octets.get(cr + 1) == Some(&b'\n') {
            return Some(cr);
        }
        at = cr + 1;
    }
}

/// One past the CRLF that ends the header line at `at`, folds included.
fn line_end(octets: &[u8], at: usize) -> Option<usize> {
    let mut from = at;
    loop {
        let next = find_crlf(octets, from)? + 2;
        match octets.get(next) {
            Some(b' ' | b'\t') => from = next,
            _ => return Some(next),
        }
    }
}

fn start_line(line: &[u8], note: &mut Note<'_>) -> Result<(Start, Method), ParseError> {
    // Compared as octets first: whether this is SIP must not depend on the encoding of the rest.
    if line.get(..4).is_some_and(|s| s.eq_ignore_ascii_case(b"SIP/")) {
        return status_line(line, note).map(|start| (start, Method::of_token("")));
    }
    let text = std::str::from_utf8(line).map_err(|e| ParseError::new(e.valid_up_to(), "UTF-8"))?;
    let trimmed = text.trim_end_matches([' ', '\t']);
    let (head, version) = trimmed
        .rsplit_once([' ', '\t'])
        .ok_or_else(|| ParseError::new(text.len(), "a method, a URI and SIP/2.0"))?;
    if !version.get(..4).is_some_and(|s| s.eq_ignore_ascii_case("SIP/")) {
        return Err(ParseError::new(head.len() + 1, "SIP/2.0"));
    }
    let (method, target) =
        head.split_once([' ', '\t']).ok_or_else(|| ParseError::new(head.len(), "a Request-URI"))?;
    let method = Method::parse(method).ok_or_else(|| ParseError::new(0, "a method"))?;
    let version_at = head.len() + 1;
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        note.at(Error::Version, version_at);
    }
    // RFC 3261 §7.1: one space between the elements and none behind them.
    for at in [method.as_str().len(), head.len()] {
        if text.as_bytes().get(at) != Some(&b' ') {
            note.malformed("request line", at, "one space");
        }
    }
    if trimmed.len() != text.len() {
        note.malformed("request line", trimmed.len(), "the end of the line");
    }
    let uri_at = text.len() - text.get(method.as_str().len() + 1..).map_or(0, str::len);
    let uri = match Uri::parse(target) {
        Ok(uri) => {
            // RFC 3261 §19.1.1: not in a Request-URI. Passed on, somebody might obey them.
            if uri.headers().is_some() {
                let at = uri_at + memchr::memchr(b'?', target.as_bytes()).unwrap_or(target.len());
                note.malformed("Request-URI", at, "no header fields in the URI");
            }
            Some(uri)
        }
        Err(at) => {
            note.fault(Error::Malformed { what: "Request-URI", at: at.shifted(uri_at) });
            None
        }
    };
    Ok((Start::Request { uri }, method))
}

fn status_line(line: &[u8], note: &mut Note<'_>) -> Result<Start, ParseError> {
    if !line.get(..8).is_some_and(|s| s.eq_ignore_ascii_case(b"SIP/2.0 ")) {
        note.at(Error::Version, 0);
    }
    let space = memchr::memchr(b' ', line).ok_or_else(|| ParseError::new(line.len(), "a status code"))?;
    let rest = line.get(space + 1..).unwrap_or_default();
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let status = rest
        .get(..digits)
        .filter(|d| d.len() == 3)
        .and_then(|d| std::str::from_utf8(d).ok())
        .and_then(|d| d.parse::<u16>().ok())
        .filter(|s| (100..700).contains(s));
    let Some(status) = status else {
        return Err(ParseError::new(space + 1, "a status code from 100 to 699"));
    };
    // The space stays even when the reason is empty (RFC 4475 §3.1.1.13); without it we forgive.
    let reason_at = match rest.get(digits) {
        Some(b' ') => space + 1 + digits + 1,
        None => line.len(),
        Some(_) => return Err(ParseError::new(space + 1 + digits, "a space behind the status code")),
    };
    Ok(Start::Response { status, reason: Span::new(reason_at, line.len()) })
}

fn header_line(raw: &[u8], at: usize, end: usize) -> Result<Line, ParseError> {
    let line = raw.get(at..end.saturating_sub(2)).unwrap_or_default();
    // A CR or LF alone, or NUL, is where two elements would disagree about lines.
    let lone = |i: &usize| match line.get(*i) {
        Some(b'\r') => line.get(i + 1) != Some(&b'\n'),
        Some(b'\n') => i.checked_sub(1).and_then(|p| line.get(p)) != Some(&b'\r'),
        _ => !is_quoted_nul(line, *i),
    };
    if let Some(i) = memchr::memchr3_iter(b'\r', b'\n', 0, line).find(lone) {
        return Err(ParseError::new(at + i, "no CR, LF or NUL alone in a line"));
    }
    let colon = memchr::memchr(b':', line).ok_or_else(|| ParseError::new(at, "a header name and `:`"))?;
    let name = line.get(..colon).unwrap_or_default();
    let name_len = name.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |i| i + 1);
    let name = name.get(..name_len).unwrap_or_default();
    if !std::str::from_utf8(name).is_ok_and(is_token) {
        return Err(ParseError::new(at, "a header name"));
    }
    let value = line.get(colon + 1..).unwrap_or_default();
    let lead = value.iter().position(|b| !is_lws(*b)).unwrap_or(value.len());
    let tail = value.iter().rposition(|b| !is_lws(*b)).map_or(lead, |i| i + 1);
    let value_at = at + colon + 1;
    Ok(Line {
        own: None,
        whole: Span::new(at, end),
        name: Span::new(at, at + name_len),
        value: Span::new(value_at + lead, value_at + tail),
    })
}

impl Message {
    /// Where the body ends (RFC 3261 §18.3).
    fn settle_body(&mut self, body_at: usize, note: &mut Note<'_>) {
        let mut length = None;
        for line in self.lines_named("Content-Length") {
            let at = line.value.start as usize;
            let value = self.value_of(line);
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let parsed =
                std::str::from_utf8(value).ok().filter(|_| digits).and_then(|v| v.parse::<usize>().ok());
            match (parsed, length) {
                (None, _) => note.malformed("Content-Length", at, "a number of octets"),
                // Two that differ are how a message is smuggled past whoever reads the other.
                (Some(n), Some(before)) if n != before => {
                    note.at(Error::Repeated("Content-Length"), line.whole.start as usize);
                }
                (Some(n), _) => length = Some(n),
            }
        }
        let Some(length) = length else { return };
        if length > self.body.len() {
            let end = body_at + self.body.len();
            note.malformed("Content-Length", end, "as many octets as Content-Length says");
        } else {
            self.body.truncate(length);
            self.raw.truncate(body_at + length);
        }
    }

    /// The rules that need the whole head. `end` is where the headers end.
    fn check(&mut self, limits: &Limits, end: usize, note: &mut Note<'_>) {
        for name in SINGLE {
            if let Some(second) = self.lines_named(name).nth(1) {
                note.at(Error::Repeated(name), second.whole.start as usize);
            }
        }
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            if self.lines_named(name).next().is_none() {
                note.at(Error::Missing(name), end);
            }
        }
        for list in ["Via", "Route", "Record-Route", "Contact"] {
            // A line holds at most one more value than it has commas.
            let most: usize =
                self.lines_named(list).map(|l| 1 + memchr::memchr_iter(b',', self.value_of(l)).count()).sum();
            if most > limits.values && self.values(list).is_ok_and(|v| v.len() > limits.values) {
                let at = self.lines_named(list).next().map_or(0, |l| l.whole.start as usize);
                note.fault(Error::TooLarge { what: "values in a list header", limit: limits.values, at });
            }
        }
        let cseq = self.cseq();
        match (&self.start, &cseq) {
            (Start::Response { .. }, Ok(cseq)) => self.method = cseq.method.clone(),
            (Start::Request { .. }, Ok(cseq)) if cseq.method != self.method => {
                let value = self.lines_named("CSeq").next().map(|l| l.value);
                // The method is the last word of the value.
                let at = value.map_or(0, |v| (v.end as usize).saturating_sub(cseq.method.as_str().len()));
                note.malformed("CSeq", at, "the method of the request");
            }
            _ => {}
        }
        let checks = [
            self.vias().map(drop),
            self.from().map(drop),
            self.to().map(drop),
            self.call_id().map(drop),
            cseq.map(drop),
            self.max_forwards().map(drop),
            self.routes().map(drop),
            self.record_routes().map(drop),
            self.contacts().map(drop),
        ];
        checks.into_iter().filter_map(Result::err).for_each(|error| note.fault(error));
    }
}
