//! Taking `multipart/…` apart, which every endpoint must be able to receive (RFC 4975 §7.3.1).
//!
//! RFC 2046 §5.1: boundaries, parts and their headers. Transfer encodings are not undone: MSRP has
//! none (RFC 4975 §7.1.1).

use crate::Limits;
use crate::cpim::ContentHeader;
use carnet_wire::ParseError;

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    headers: Vec<ContentHeader>,
    /// The octets of the part, without the line end that belongs to the boundary.
    pub body: &'a [u8],
}

impl Part<'_> {
    /// The media type with its parameters; an absent one is text (RFC 2046 §5.1).
    pub fn content_type(&self) -> &str {
        let found = self.headers.iter().find(|header| header.name().eq_ignore_ascii_case("Content-Type"));
        found.map_or("text/plain; charset=us-ascii", ContentHeader::value)
    }
}

/// The parts of `body`, whose media type is `content_type`. What stands before the first and after
/// the last boundary is passed over; a last boundary that is missing is the end of the body.
///
/// # Errors
/// When the type names no boundary, none is there, or there are more parts or headers than
/// `limits.headers`.
pub fn parts<'a>(content_type: &str, body: &'a [u8], limits: &Limits) -> Result<Vec<Part<'a>>, ParseError> {
    let boundary = boundary(content_type).ok_or_else(|| ParseError::new(0, "a boundary parameter"))?;
    let mut parts = Vec::new();
    let mut begun = None;
    let mut at = 0;
    while at < body.len() {
        let rest = body.get(at..).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let line = rest.get(..length).unwrap_or_default();
        if let Some(last) = delimiter(line, &boundary) {
            if let Some(start) = begun {
                if parts.len() >= limits.headers {
                    return Err(ParseError::new(at, "fewer parts"));
                }
                parts.push(part(body, start, at, limits)?);
            }
            begun = Some(at + length);
            if last {
                return Ok(parts);
            }
        }
        at += length;
    }
    let start = begun.ok_or_else(|| ParseError::new(body.len(), "a boundary"))?;
    parts.push(part(body, start, body.len(), limits)?);
    Ok(parts)
}

/// The part between two boundaries.
fn part<'a>(body: &'a [u8], start: usize, end: usize, limits: &Limits) -> Result<Part<'a>, ParseError> {
    let octets = body.get(start..end).unwrap_or_default();
    let mut headers: Vec<ContentHeader> = Vec::new();
    let mut at = 0;
    loop {
        let rest = octets.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Part { headers, body: &[] });
        }
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let line = trimmed(rest.get(..length).unwrap_or_default());
        at += length;
        if line.is_empty() {
            let content = octets.get(at..).unwrap_or_default();
            // RFC 2046 §5.1.1: the line end before a boundary is the boundary's.
            let content = if end < body.len() { trimmed(content) } else { content };
            return Ok(Part { headers, body: content });
        }
        // A folded line adds parameters that nobody here asks for.
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            continue;
        }
        if headers.len() >= limits.headers {
            return Err(ParseError::new(start + at, "fewer headers"));
        }
        headers.push(ContentHeader::parse(line).map_err(|error| error.shifted(start + at - length))?);
    }
}

/// Without one line end.
fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether a line is a boundary, and if so, whether it is the last.
fn delimiter(line: &[u8], boundary: &str) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary.as_bytes())?;
    let (rest, last) = match rest.strip_prefix(b"--") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    rest.iter().all(|octet| octet.is_ascii_whitespace()).then_some(last)
}

/// RFC 2046 §5.1.1: 1 to 70 characters, quoted or not.
fn boundary(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';').skip(1);
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim())
    })?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    (1..=70).contains(&value.len()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<'a>(content_type: &str, body: &'a str) -> Vec<(String, &'a str)> {
        let parts = parts(content_type, body.as_bytes(), &Limits::default()).unwrap();
        parts
            .iter()
            .map(|part| (part.content_type().to_owned(), std::str::from_utf8(part.body).unwrap()))
            .collect()
    }

    // RFC 2046 §5.1.1, its example.
    #[test]
    fn the_example() {
        let body = "This is the preamble.  It is to be ignored.\r\n\r\n--simple boundary\r\n\r\n\
            This is implicitly typed plain US-ASCII text.\r\nIt does NOT end with a linebreak.\r\n\
            --simple boundary\r\nContent-type: text/plain; charset=us-ascii\r\n\r\n\
            This one DOES end with a linebreak.\r\n\r\n--simple boundary--\r\n\r\nThe epilogue.\r\n";
        let seen = read("multipart/mixed; boundary=\"simple boundary\"", body);
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].0, "text/plain; charset=us-ascii");
        assert!(seen[0].1.starts_with("This is implicitly") && seen[0].1.ends_with("linebreak."));
        assert_eq!(seen[1].1, "This one DOES end with a linebreak.\r\n");
    }

    #[test]
    fn variants() {
        let seen = read(
            "multipart/alternative;x=y; Boundary=b",
            "--b\n\nx\n--b  \nContent-Type: a/b;\n c=d\n\n\n--b--",
        );
        assert_eq!(seen, [("text/plain; charset=us-ascii".into(), "x"), ("a/b;".into(), "")]);
        // No last boundary, and something that only looks like one.
        assert_eq!(read("multipart/mixed;boundary=b", "--b\r\n\r\n--bc\r\nend")[0].1, "--bc\r\nend");
        for (content_type, body) in [
            ("multipart/mixed", "--b\r\n\r\nx"),
            ("multipart/mixed;boundary=\"\"", "--\r\n\r\nx"),
            ("multipart/mixed;boundary=b", "no boundary"),
            ("multipart/mixed;boundary=b", "--b\r\n\u{1}\r\n\r\nx"),
        ] {
            assert!(parts(content_type, body.as_bytes(), &Limits::default()).is_err(), "{body}");
        }
        let many = "--b\r\n\r\n".repeat(100);
        assert!(parts("multipart/mixed;boundary=b", many.as_bytes(), &Limits::default()).is_err());
    }

    proptest! {
        #[test]
        fn total(body in "[-b\r\n: a]{0,80}") {
            let _ = parts("multipart/mixed;boundary=b", body.as_bytes(), &Limits::default());
        }
    }
}
