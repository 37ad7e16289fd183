//! Bodies of several parts (RFC 2046 §5.1, RFC 5621): where each part lies, and one part replaced
//! while every other octet stays.
//!
//! Two readers that disagree about where a part begins let a description pass unseen by one of
//! them. So a body is only read where all readers agree: a line that begins with the boundary and
//! is no delimiter line, or that begins behind a CR or LF alone, is refused, and so is a
//! Content-Length inside a part that does not fit it.
//!
//! Left out: transfer encodings (a part that has one is marked and not decoded), `message/*`
//! parts (they are leaves).

use crate::error::Error;
use crate::grammar::{is_token, trim, unfold};
use crate::message::same_header;
use crate::params::Params;
use bytes::{Bytes, BytesMut};
use carnet_wire::{ParseError, Span};
use std::ops::Range;

/// Bounds on a body of several parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultipartLimits {
    /// Parts over all levels, those that hold others included.
    pub parts: usize,
    /// Levels of multipart bodies in each other.
    pub depth: usize,
}

impl Default for MultipartLimits {
    fn default() -> Self {
        Self { parts: 32, depth: 4 }
    }
}

/// A part that holds no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    media_type: String,
    disposition: Option<String>,
    encoded: bool,
    signed: bool,
    content: Span,
    /// Values of Content-Length that count these octets, the part's own first.
    lengths: Vec<Span>,
}

/// A media type with its parameters: `type/subtype` in small letters, then `;name=value`.
struct MediaType {
    name: String,
    params: Params,
}

fn malformed(at: usize, expected: &'static str) -> Error {
    Error::Malformed { what: "multipart body", at: ParseError::new(at, expected) }
}

/// Whether a Content-Type names a body of several parts.
pub fn is_multipart(content_type: &str) -> bool {
    trim(content_type).get(..10).is_some_and(|t| t.eq_ignore_ascii_case("multipart/"))
}

/// The parts of `body` that hold no others, in order. Offsets in errors count from its start.
///
/// # Errors
/// [`Error::Malformed`] if readers could disagree about the parts; [`Error::TooLarge`] behind a
/// bound of `limits`.
pub fn parts(body: &[u8], content_type: &str, limits: &MultipartLimits) -> Result<Vec<Part>, Error> {
    let kind = MediaType::parse(content_type).map_err(|at| Error::Malformed { what: "Content-Type", at })?;
    let mut reader = Reader { body, limits, seen: 0, leaves: Vec::new() };
    reader.multipart(0..body.len(), &kind, 1, &[], false)?;
    Ok(reader.leaves)
}

impl Part {
    /// `type/subtype` in small letters, without parameters.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The value of Content-Disposition in small letters, without parameters.
    pub fn disposition(&self) -> Option<&str> {
        self.disposition.as_deref()
    }

    /// Whether the octets are not the content itself: Content-Encoding other than `identity`, or
    /// Content-Transfer-Encoding other than `7bit`, `8bit` and `binary`.
    pub fn is_encoded(&self) -> bool {
        self.encoded
    }

    /// Whether it is inside `multipart/signed`: another content breaks the signature.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// Where its content lies in the body.
    pub fn range(&self) -> Range<usize> {
        self.content.range()
    }

    /// The body with another content in this part. Content-Length headers that count it are
    /// changed to fit; no other octet is.
    ///
    /// `body` is the one the part was found in.
    #[must_use]
    pub fn replace(&self, body: &[u8], content: &[u8]) -> Bytes {
        let mut edits = vec![(self.content, content.to_vec())];
        let mut grown = content.len() as i64 - self.content.len() as i64;
        for span in &self.lengths {
            let old = span.of(body);
            let counted: i64 = std::str::from_utf8(old).ok().and_then(|t| t.parse().ok()).unwrap_or(0);
            // Nothing is rewritten when nothing grows, not even leading zeros.
            let new = if grown == 0 { old.to_vec() } else { (counted + grown).to_string().into_bytes() };
            grown += new.len() as i64 - old.len() as i64;
            edits.push((*span, new));
        }
        edits.sort_by_key(|(span, _)| span.start);
        let mut out = BytesMut::with_capacity(body.len() + content.len());
        let mut at = 0;
        for (span, new) in edits {
            let range = span.range();
            out.extend_from_slice(body.get(at..range.start).unwrap_or_default());
            out.extend_from_slice(&new);
            at = range.end;
        }
        out.extend_from_slice(body.get(at..).unwrap_or_default());
        out.freeze()
    }
}

impl MediaType {
    fn parse(text: &str) -> Result<Self, ParseError> {
        let (name, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        let (kind, subtype) =
            name.split_once('/').ok_or_else(|| ParseError::new(name.len(), "a type and a subtype"))?;
        let (kind, subtype) = (trim(kind), trim(subtype));
        if !is_token(kind) || !is_token(subtype) {
            return Err(ParseError::new(0, "a type and a subtype"));
        }
        let params = Params::parse(params).map_err(|e| e.shifted(name.len()))?;
        Ok(Self { name: format!("{kind}/{subtype}").to_ascii_lowercase(), params })
    }

    /// RFC 2046 §5.1.1: 1 to 70 characters, the last no space.
    fn boundary(&self) -> Option<String> {
        let given = |n: &str| n.eq_ignore_ascii_case("boundary");
        if self.params.iter().filter(|(n, _)| given(n)).count() != 1 {
            return None;
        }
        let boundary = self.params.text("boundary")?.into_owned();
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
        let good = (1..=70).contains(&boundary.len()) && boundary.bytes().all(fits);
        (good && !boundary.ends_with(' ')).then_some(boundary)
    }
}

/// The headers of a part that say how to read it.
#[derive(Default)]
struct Head {
    media_type: Option<String>,
    disposition: Option<String>,
    encoded: bool,
    length: Option<Span>,
    content_at: usize,
}

struct Reader<'a> {
    body: &'a [u8],
    limits: &'a MultipartLimits,
    seen: usize,
    leaves: Vec<Part>,
}

impl Reader<'_> {
    fn multipart(
        &mut self,
        range: Range<usize>,
        kind: &MediaType,
        depth: usize,
        lengths: &[Span],
        signed: bool,
    ) -> Result<(), Error> {
        if depth > self.limits.depth {
            let limit = self.limits.depth;
            return Err(Error::TooLarge { what: "levels of multipart bodies", limit, at: range.start });
        }
        let boundary =
            kind.boundary().ok_or_else(|| malformed(range.start, "one boundary of 1 to 70 characters"))?;
        let signed = signed || kind.name == "multipart/signed";
        for part in self.cut(range, &boundary)? {
            self.seen += 1;
            if self.seen > self.limits.parts {
                let limit = self.limits.parts;
                return Err(Error::TooLarge { what: "parts of a body", limit, at: part.start });
            }
            let head = self.head(part.clone())?;
            let content = head.content_at..part.end;
            let mut counting: Vec<Span> = head.length.into_iter().collect();
            if let Some(span) = head.length {
                let says = std::str::from_utf8(span.of(self.body)).ok().and_then(|t| t.parse().ok());
                if says != Some(content.len()) {
                    return Err(malformed(span.start as usize, "as many octets as the part has"));
                }
            }
            counting.extend_from_slice(lengths);
            let text = head.media_type.as_deref().unwrap_or("text/plain");
            let kind = MediaType::parse(text)
                .map_err(|_| malformed(part.start, "a Content-Type with type and subtype"))?;
            if kind.name.starts_with("multipart/") && !head.encoded {
                self.multipart(content, &kind, depth + 1, &counting, signed)?;
                continue;
            }
            self.leaves.push(Part {
                media_type: kind.name,
                disposition: head.disposition,
                encoded: head.encoded,
                signed,
                content: Span::new(content.start, content.end),
                lengths: counting,
            });
        }
        Ok(())
    }

    /// Where the parts between the delimiter lines lie, headers included.
    fn cut(&self, range: Range<usize>, boundary: &str) -> Result<Vec<Range<usize>>, Error> {
        let dashed = format!("--{boundary}");
        let octets = self.body.get(range.clone()).unwrap_or_default();
        let mut out = Vec::new();
        // Where the part at hand begins; `None` in the preamble.
        let mut begun: Option<usize> = None;
        let mut closed = false;
        for at in memchr::memmem::find_iter(octets, dashed.as_bytes()) {
            let before = octets.get(..at).unwrap_or_default();
            let place = range.start + at;
            let part_end = if at == 0 {
                0
            } else if before.ends_with(b"\r\n") {
                at - 2
            } else if before.ends_with(b"\n") || before.ends_with(b"\r") {
                return Err(malformed(place, "CR LF in front of a boundary"));
            } else {
                continue;
            };
            if closed {
                return Err(malformed(place, "no boundary behind the last part"));
            }
            let tail = octets.get(at + dashed.len()..).unwrap_or_default();
            let close = tail.starts_with(b"--");
            let tail = if close { tail.get(2..).unwrap_or_default() } else { tail };
            let space = tail.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            let tail = tail.get(space..).unwrap_or_default();
            if !(tail.starts_with(b"\r\n") || close && tail.is_empty()) {
                return Err(malformed(place, "nothing on the line behind a boundary"));
            }
            if let Some(start) = begun.replace(octets.len() - tail.len() + 2) {
                if part_end < start {
                    return Err(malformed(place, "a part between two boundaries"));
                }
                out.push(range.start + start..range.start + part_end);
            } else if close {
                return Err(malformed(place, "a part before the last boundary"));
            }
            closed = close;
        }
        if closed { Ok(out) } else { Err(malformed(range.end, "the boundary behind the last part")) }
    }

    /// The headers of a part. The empty line behind them must be there: without it, the line end
    /// of the next boundary would be taken for it by some.
    fn head(&self, part: Range<usize>) -> Result<Head, Error> {
        let octets = self.body.get(part.clone()).unwrap_or_default();
        let (lines, content) = if octets.starts_with(b"\r\n") {
            (0, 2)
        } else {
            match memchr::memmem::find(octets, b"\r\n\r\n") {
                Some(at) => (at + 2, at + 4),
                None => return Err(malformed(part.end, "an empty line behind the headers of a part")),
            }
        };
        let mut head = Head { content_at: part.start + content, ..Head::default() };
        let mut at = 0;
        while at < lines {
            let rest = octets.get(at..lines).unwrap_or_default();
            let end = line_end(rest);
            let line = rest.get(..end).unwrap_or_default();
            self.header(&mut head, line.strip_suffix(b"\r\n").unwrap_or(line), part.start + at)?;
            at += end;
        }
        Ok(head)
    }

    fn header(&self, head: &mut Head, line: &[u8], at: usize) -> Result<(), Error> {
        let unfolded = unfold(line);
        // A line end that is one for some readers only.
        if memchr::memchr3(b'\r', b'\n', 0, &unfolded).is_some() {
            return Err(malformed(at, "no CR, LF or NUL alone in a header of a part"));
        }
        let colon =
            memchr::memchr(b':', line).ok_or_else(|| malformed(at, "a header name and `:` in a part"))?;
        let name = std::str::from_utf8(line.get(..colon).unwrap_or_default()).map(trim).unwrap_or_default();
        if !is_token(name) {
            return Err(malformed(at, "a header name in a part"));
        }
        let named = |known: &str| same_header(name, known);
        let text = || {
            let behind = memchr::memchr(b':', &unfolded).map_or(0, |c| c + 1);
            let value = std::str::from_utf8(unfolded.get(behind..).unwrap_or_default());
            value.map(|v| trim(v).to_owned()).map_err(|_| malformed(at, "UTF-8 in a header of a part"))
        };
        let again = || malformed(at, "a header of a part that stands once");
        let word = |v: String| trim(v.split(';').next().unwrap_or_default()).to_ascii_lowercase();
        if named("Content-Type") {
            if head.media_type.replace(text()?).is_some() {
                return Err(again());
            }
        } else if named("Content-Disposition") {
            if head.disposition.replace(word(text()?)).is_some() {
                return Err(again());
            }
        } else if named("Content-Encoding") {
            head.encoded |= word(text()?) != "identity";
        } else if named("Content-Transfer-Encoding") {
            head.encoded |= !matches!(&*word(text()?), "7bit" | "8bit" | "binary");
        } else if named("Content-Length") {
            let value = line.get(colon + 1..).unwrap_or_default();
            let lead = value.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            let digits = value.iter().skip(lead).take_while(|b| b.is_ascii_digit()).count();
            let rest = value.get(lead + digits..).unwrap_or_default();
            if digits == 0 || !rest.iter().all(|b| matches!(b, b' ' | b'\t')) {
                return Err(malformed(at, "a number of octets"));
            }
            let start = at + colon + 1 + lead;
            if head.length.replace(Span::new(start, start + digits)).is_some() {
                return Err(again());
            }
        }
        Ok(())
    }
}

/// One past the header line at the start of `octets`, folds included.
fn line_end(octets: &[u8]) -> usize {
    let mut from = 0;
    while let Some(at) = memchr::memmem::find(octets.get(from..).unwrap_or_default(), b"\r\n") {
        from += at + 2;
        if !matches!(octets.get(from), Some(b' ' | b'\t')) {
            return from;
        }
    }
    octets.len()
}

#[cfg(test)]
mod tests;
