//! What a message says: its headers in order, and typed views of those the core acts on.

use super::name::Known;
use super::{Line, Message, Start};
use crate::address::{NameAddr, tag_in};
use crate::error::Error;
use crate::grammar::{find_outside, folded_place, split_list, unfold};
use crate::method::Method;
use crate::typed::{CSeq, RAck, Via, delta_seconds};
use crate::uri::Uri;
use bytes::Bytes;
use carnet_wire::ParseError;
use std::borrow::Cow;

impl Message {
    /// Whether this is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// Whether this is a response.
    pub fn is_response(&self) -> bool {
        !self.is_request()
    }

    /// The method of a request; of a response the method in its CSeq.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The Request-URI; `None` for a response.
    pub fn request_uri(&self) -> Option<&Uri> {
        match &self.start {
            Start::Request { uri } => uri.as_ref(),
            Start::Response { .. } => None,
        }
    }

    /// The status code, 100 to 699; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// The reason phrase as it came, octets that are not UTF-8 replaced; empty for a request.
    pub fn reason(&self) -> Cow<'_, str> {
        match self.start {
            Start::Request { .. } => Cow::Borrowed(""),
            Start::Response { reason, .. } => {
                String::from_utf8_lossy(reason.of(self.start_line.as_deref().unwrap_or(&self.raw)))
            }
        }
    }

    /// The start line without its CRLF, as it came.
    pub fn start_line(&self) -> &[u8] {
        let line = match &self.start_line {
            Some(own) => own,
            None => self.start_span.of(&self.raw),
        };
        line.strip_suffix(b"\r\n").unwrap_or(line)
    }

    pub(super) fn lines_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Line> {
        let known = Known::of(name.as_bytes());
        self.lines.iter().filter(move |l| self.is(l, known, name))
    }

    /// Names and values, as written, of the lines of that name.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.lines_named(name).map(|l| (self.name_of(l), self.value_of(l)))
    }

    /// Header lines in order: the name as written, the value as written (folds and octets that
    /// are not UTF-8 included), white space around it taken off.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter().map(|l| (self.name_of(l), self.value_of(l)))
    }

    /// The value of the first line of that name (long or compact, any case), unfolded. `None` if
    /// there is none or it is not UTF-8; see [`header_octets`](Self::header_octets). In the display name of an
    /// address what is not UTF-8 is replaced.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        match unfold(self.header_octets(name)?) {
            Cow::Borrowed(b) => readable(b).ok(),
            Cow::Owned(v) => readable(&v).ok().map(|text| Cow::Owned(text.into_owned())),
        }
    }

    /// The value of the first line of that name as written.
    pub fn header_octets(&self, name: &str) -> Option<&[u8]> {
        let known = Known::of(name.as_bytes());
        self.lines.iter().find(|l| self.is(l, known, name)).map(|l| self.value_of(l))
    }

    /// Whether a line of that name is there.
    pub fn has(&self, name: &str) -> bool {
        self.header_octets(name).is_some()
    }

    /// The values of all lines of that name, unfolded, one a line (for headers that are not
    /// comma-separated lists). Lines that are not UTF-8 are left out.
    pub fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
        self.lines_named(name).filter_map(|l| match unfold(self.value_of(l)) {
            Cow::Borrowed(b) => std::str::from_utf8(b).ok().map(Cow::Borrowed),
            Cow::Owned(v) => String::from_utf8(v).ok().map(Cow::Owned),
        })
    }

    /// The values of a comma-separated list header, over all its lines, in order.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a line is not UTF-8, holds an empty value or an open quote.
    pub fn values(&self, name: &str) -> Result<Vec<String>, Error> {
        let mut out = Vec::new();
        for line in self.lines_named(name) {
            self.each_value(line, |v| {
                out.push(v.to_owned());
                Ok(())
            })
            .map_err(|at| Error::Malformed { what: "list header", at })?;
        }
        Ok(out)
    }

    /// Calls `take` with each comma-separated value of a line. Errors point into the message where
    /// the line is not edited, else into the line's value.
    fn each_value(
        &self,
        line: &Line,
        mut take: impl FnMut(&str) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        let base = if line.own.is_some() { 0 } else { line.value.start as usize };
        let written = self.value_of(line);
        let value = unfold(written);
        let place = |e: ParseError| ParseError::new(base + folded_place(written, e.at), e.expected);
        let text = readable(&value).map_err(place)?;
        for element in split_list(&text) {
            let (at, element) = element.map_err(place)?;
            take(element).map_err(|e| place(e.shifted(at)))?;
        }
        Ok(())
    }

    pub(super) fn verify_each(
        &self,
        what: &'static str,
        verify: impl Fn(&str) -> Result<(), ParseError>,
    ) -> Result<(), Error> {
        for line in self.lines_named(what) {
            self.each_value(line, &verify).map_err(|at| Error::Malformed { what, at })?;
        }
        Ok(())
    }

    /// As [`one`](Self::one) for a header that every message has.
    pub(super) fn verify_one(
        &self,
        what: &'static str,
        verify: impl Fn(&str) -> Result<(), ParseError>,
    ) -> Result<(), Error> {
        self.one(what, verify)?.ok_or(Error::Missing(what))
    }

    fn each<T>(
        &self,
        what: &'static str,
        parse: impl Fn(&str) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, Error> {
        let mut out = Vec::new();
        for line in self.lines_named(what) {
            self.each_value(line, |v| {
                out.push(parse(v)?);
                Ok(())
            })
            .map_err(|at| Error::Malformed { what, at })?;
        }
        Ok(out)
    }

    fn one<T>(
        &self,
        what: &'static str,
        parse: impl Fn(&str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, Error> {
        let Some(line) = self.lines_named(what).next() else { return Ok(None) };
        let base = if line.own.is_some() { 0 } else { line.value.start as usize };
        let written = self.value_of(line);
        let value = unfold(written);
        let malformed = |e: ParseError| {
            let at = ParseError::new(base + folded_place(written, e.at), e.expected);
            Error::Malformed { what, at }
        };
        let text = readable(&value).map_err(malformed)?;
        parse(&text).map(Some).map_err(malformed)
    }

    /// All Via values, the topmost first.
    ///
    /// # Errors
    /// [`Error::Malformed`] if one does not parse.
    pub fn vias(&self) -> Result<Vec<Via>, Error> {
        self.each("Via", Via::parse)
    }

    /// The topmost Via value.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Malformed`].
    pub fn top_via(&self) -> Result<Via, Error> {
        let line = self.lines_named("Via").next().ok_or(Error::Missing("Via"))?;
        let mut top = None;
        let all = self.each_value(line, |v| {
            if top.is_none() {
                top = Some(Via::parse(v)?);
            }
            Ok(())
        });
        all.map_err(|at| Error::Malformed { what: "Via", at })?;
        top.ok_or(Error::Missing("Via"))
    }

    /// From.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Malformed`].
    pub fn from(&self) -> Result<NameAddr, Error> {
        self.one("From", NameAddr::parse)?.ok_or(Error::Missing("From"))
    }

    /// To.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Malformed`].
    pub fn to(&self) -> Result<NameAddr, Error> {
        self.one("To", NameAddr::parse)?.ok_or(Error::Missing("To"))
    }

    /// The tag of From.
    pub fn from_tag(&self) -> Option<String> {
        self.tag("From")
    }

    /// The tag of To.
    pub fn to_tag(&self) -> Option<String> {
        self.tag("To")
    }

    fn tag(&self, name: &str) -> Option<String> {
        tag_in(&self.header(name)?).map(str::to_owned)
    }

    /// Call-ID.
    ///
    /// # Errors
    /// [`Error::Missing`], or [`Error::Malformed`] if it is empty or holds white space.
    pub fn call_id(&self) -> Result<&str, Error> {
        let line = self.lines_named("Call-ID").next().ok_or(Error::Missing("Call-ID"))?;
        let octets = self.value_of(line);
        let base = if line.own.is_some() { 0 } else { line.value.start as usize };
        // Another octet ends the word; none at all is no word.
        let end = octets.iter().position(|b| *b <= 0x20).unwrap_or(octets.len());
        let bad =
            |at: usize| Error::Malformed { what: "Call-ID", at: ParseError::new(base + at, "one word") };
        let text = std::str::from_utf8(octets).map_err(|e| bad(e.valid_up_to().min(end)))?;
        if text.is_empty() || end < octets.len() { Err(bad(end)) } else { Ok(text) }
    }

    /// CSeq.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Malformed`].
    pub fn cseq(&self) -> Result<CSeq, Error> {
        self.one("CSeq", CSeq::parse)?.ok_or(Error::Missing("CSeq"))
    }

    /// RAck, if there.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn rack(&self) -> Result<Option<RAck>, Error> {
        self.one("RAck", RAck::parse)
    }

    /// RSeq, if there and a number.
    pub fn rseq(&self) -> Option<u32> {
        self.header("RSeq")?.parse().ok()
    }

    /// Max-Forwards, if there: 0 to 255.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn max_forwards(&self) -> Result<Option<u8>, Error> {
        self.one("Max-Forwards", |v| {
            let digits = v.bytes().all(|b| b.is_ascii_digit());
            v.parse().ok().filter(|_| digits).ok_or_else(|| ParseError::new(0, "a number from 0 to 255"))
        })
    }

    /// Contact values; see [`is_contact_star`](Self::is_contact_star) for `*`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if one does not parse.
    pub fn contacts(&self) -> Result<Vec<NameAddr>, Error> {
        if self.is_contact_star() {
            return Ok(Vec::new());
        }
        self.each("Contact", NameAddr::parse)
    }

    /// Whether Contact is `*` (RFC 3261 §10.2.2).
    pub fn is_contact_star(&self) -> bool {
        self.header_octets("Contact") == Some(b"*") && self.lines_named("Contact").count() == 1
    }

    /// Route values, the next hop first.
    ///
    /// # Errors
    /// [`Error::Malformed`] if one does not parse.
    pub fn routes(&self) -> Result<Vec<NameAddr>, Error> {
        self.each("Route", NameAddr::parse)
    }

    /// Record-Route values, the topmost first.
    ///
    /// # Errors
    /// [`Error::Malformed`] if one does not parse.
    pub fn record_routes(&self) -> Result<Vec<NameAddr>, Error> {
        self.each("Record-Route", NameAddr::parse)
    }

    /// Addresses of any other list header (Path, Service-Route, P-Asserted-Identity ...).
    ///
    /// # Errors
    /// [`Error::Malformed`] if one does not parse.
    pub fn addresses(&self, name: &'static str) -> Result<Vec<NameAddr>, Error> {
        self.each(name, NameAddr::parse)
    }

    /// Expires in seconds, if there and a number.
    pub fn expires(&self) -> Option<u32> {
        delta_seconds(&self.header("Expires")?)
    }

    /// Retry-After in seconds, if there and a number.
    pub fn retry_after(&self) -> Option<u32> {
        delta_seconds(&self.header("Retry-After")?)
    }

    /// Whether a list header (Supported, Require, Allow ...) has `token`, in any case.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name).is_ok_and(|all| all.iter().any(|v| v.eq_ignore_ascii_case(token)))
    }

    /// Content-Type as written, if there.
    pub fn content_type(&self) -> Option<Cow<'_, str>> {
        self.header("Content-Type")
    }

    /// The body, empty if there is none.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// A value as text. Old telephones write display names in the code of their country; such a name is as good as any
/// and says nothing that is acted on (RFC 3261 §20.10). Everywhere else octets that are not UTF-8 are a mistake.
fn readable(value: &[u8]) -> Result<Cow<'_, str>, ParseError> {
    let broken = match std::str::from_utf8(value) {
        Ok(text) => return Ok(Cow::Borrowed(text)),
        Err(e) => ParseError::new(e.valid_up_to(), "UTF-8"),
    };
    let text = String::from_utf8_lossy(value);
    let open = find_outside(&text, |b| b == b'<').ok().flatten();
    let behind = open.and_then(|open| text.get(open..));
    match behind.is_some_and(|behind| !behind.contains(char::REPLACEMENT_CHARACTER)) {
        true => Ok(text),
        false => Err(broken),
    }
}
