//! message/cpim: a message with its own headers around a MIME part (RFC 3862).
//!
//! Only heads are read here: the message headers and the headers of the MIME part. The content
//! behind them stays where it is, so a file may travel inside. Lines are kept as they came, since
//! nobody on the way may change them (RFC 3862 §2.2). S/MIME and the taking apart of multipart
//! content are left to others.

use crate::Limits;
use carnet_wire::{Cursor, ParseError};

/// The media type.
pub const MEDIA_TYPE: &str = "message/cpim";

/// The message headers and the headers of the content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Message headers in order.
    pub headers: Vec<Header>,
    /// Headers of the MIME part in order, folded lines in one.
    pub content: Vec<ContentHeader>,
}

/// One message header, as it came. Names are case-sensitive (RFC 3862 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    line: String,
    colon: usize,
    /// Where the value starts, after parameters and one space.
    value: usize,
}

/// One MIME header, as it came. Names are not case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentHeader {
    line: String,
    colon: usize,
}

/// `Depressed Donkey <im:eeyore@100akerwood.com>` (RFC 3862 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The name for people, escapes and quotes resolved; empty when there is none.
    pub name: String,
    /// The URI.
    pub uri: String,
}

impl Head {
    /// A head as an endpoint of a session sends it: RFC 4975 §13 wants From and To.
    ///
    /// # Errors
    /// When a value does not fit into a line.
    pub fn new(from: &Address, to: &Address, content_type: &str) -> Result<Self, ParseError> {
        Ok(Self {
            headers: vec![Header::new("From", &from.to_string())?, Header::new("To", &to.to_string())?],
            content: vec![ContentHeader::new("Content-Type", content_type)?],
        })
    }

    /// Reads a head from the start of a message. Returns it with the place where the content begins,
    /// or `None` when more octets are needed to tell.
    ///
    /// # Errors
    /// Also when the head is larger than `limits.head` or has more than `limits.headers` lines.
    pub fn parse(octets: &[u8], limits: &Limits) -> Result<Option<(Self, usize)>, ParseError> {
        let mut c = Cursor::new(octets.get(..limits.head.min(octets.len())).unwrap_or_default());
        let short = |c: &Cursor<'_>| match octets.len() < limits.head {
            true => Ok(None),
            false => Err(ParseError::new(c.input().len(), "a shorter head")),
        };
        let mut head = Self::default();
        loop {
            let at = c.position();
            let Some(line) = line(&mut c)? else { return short(&c) };
            if line.is_empty() {
                break;
            }
            if head.headers.len() >= limits.headers {
                return Err(ParseError::new(at, "fewer headers"));
            }
            head.headers.push(Header::parse(line).map_err(|e| e.shifted(at))?);
        }
        loop {
            let at = c.position();
            let Some(text) = line(&mut c)? else { return short(&c) };
            if text.is_empty() {
                return Ok(Some((head, c.position())));
            }
            if text.starts_with(b" ") || text.starts_with(b"\t") {
                let Some(last) = head.content.last_mut() else {
                    return Err(ParseError::new(at, "a header before a folded line"));
                };
                last.line.push_str("\r\n");
                last.line.push_str(utf8(text).map_err(|e| e.shifted(at))?);
                continue;
            }
            if head.content.len() >= limits.headers {
                return Err(ParseError::new(at, "fewer headers"));
            }
            head.content.push(ContentHeader::parse(text).map_err(|e| e.shifted(at))?);
        }
    }

    /// Writes the head with both blank lines. The content follows.
    pub fn write(&self, out: &mut Vec<u8>) {
        for line in self.headers.iter().map(|h| &h.line) {
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        for line in self.content.iter().map(|h| &h.line) {
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Adds a message header, escaping what has to be (RFC 3862 §2.3.1).
    pub fn push(&mut self, name: &str, value: &str) -> Result<(), ParseError> {
        self.headers.push(Header::new(name, value)?);
        Ok(())
    }

    /// Value of the first header `name` of the default namespace, such as `From`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|h| h.name() == name).map(Header::value)
    }

    /// Value of the first header `name` in the namespace `uri`, whatever prefix the message gives it
    /// (RFC 3862 §3.4).
    pub fn get_in(&self, uri: &str, name: &str) -> Option<&str> {
        self.all_in(uri, name).next()
    }

    /// All headers of that name in a namespace, in order.
    pub fn all_in<'a, 'n>(
        &'a self,
        uri: &'n str,
        name: &'n str,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let mut prefixes: Vec<(&str, &str)> = Vec::new();
        self.headers.iter().filter_map(move |header| {
            if header.name() == "NS" {
                // `prefix <uri>`, or `<uri>` for names without a prefix. Later ones hide earlier ones.
                let (prefix, rest) = header.value().split_once('<').unwrap_or((header.value(), ""));
                prefixes.insert(0, (prefix.trim(), rest.trim_end_matches('>')));
                return None;
            }
            let (prefix, local) = header.name().split_once('.').unwrap_or(("", header.name()));
            let namespace = prefixes.iter().find(|(p, _)| *p == prefix).map(|(_, uri)| *uri);
            (local == name && namespace == Some(uri)).then(|| header.value())
        })
    }

    /// Who sent the message, when `From` can be read.
    pub fn from(&self) -> Option<Address> {
        self.get("From").and_then(|v| Address::parse(v).ok())
    }

    /// For whom it is. Header `To` may be there several times.
    pub fn to(&self) -> Vec<Address> {
        let to = self.headers.iter().filter(|h| h.name() == "To");
        to.filter_map(|h| Address::parse(h.value()).ok()).collect()
    }

    /// Extensions that the message requires and that are not in `known` (RFC 3862 §4.7). When there
    /// is one, the message must not be shown as if it had been understood.
    pub fn missing<'a>(&'a self, known: &[&str]) -> Vec<&'a str> {
        let required = self.headers.iter().filter(|h| h.name() == "Require");
        let names = required.flat_map(|h| h.value().split(',')).map(str::trim);
        names.filter(|name| !name.is_empty() && !known.contains(name)).collect()
    }

    /// Value of the first header of the content called `name`, in any case.
    pub fn content(&self, name: &str) -> Option<&str> {
        self.content.iter().find(|h| h.name().eq_ignore_ascii_case(name)).map(ContentHeader::value)
    }

    /// `Content-Type` of the content. MIME says what an absent one means.
    pub fn content_type(&self) -> &str {
        self.content("Content-Type").unwrap_or("text/plain; charset=us-ascii")
    }
}

impl Header {
    /// Reads one line without its line end.
    pub fn parse(line: &[u8]) -> Result<Self, ParseError> {
        let mut c = Cursor::new(line);
        if c.take_while(is_name).is_empty() {
            return Err(c.error("the name of a header"));
        }
        let colon = c.position();
        c.expect(b':', "`:`")?;
        // RFC 3862 §3.6: *( ";" Parameter ) SP Header-value. Values with a space are quoted.
        while c.eat(b';') {
            loop {
                c.take_while(|b| !matches!(b, b' ' | b';' | b'"'));
                if !c.eat(b'"') {
                    break;
                }
                c.take_until(b'"', "the closing quote")?;
                c.eat(b'"');
            }
        }
        c.expect(b' ', "a space before the value")?;
        let value = c.position();
        if let Some(at) = line.iter().position(|b| *b < 0x20 || *b == 0x7f) {
            return Err(ParseError::new(at, "no control characters in the line"));
        }
        Ok(Self { line: utf8(line)?.to_owned(), colon, value })
    }

    /// A header of our own; control characters and backslashes in `value` are escaped.
    pub fn new(name: &str, value: &str) -> Result<Self, ParseError> {
        Self::parse(format!("{name}: {}", escape(value)).as_bytes())
    }

    /// The name with its prefix.
    pub fn name(&self) -> &str {
        self.line.get(..self.colon).unwrap_or_default()
    }

    /// The value as written; [`unescape`] resolves it for people.
    pub fn value(&self) -> &str {
        self.line.get(self.value..).unwrap_or_default()
    }

    /// The parameters as written, such as `;lang=fr`.
    pub fn parameters(&self) -> &str {
        self.line.get(self.colon + 1..self.value.saturating_sub(1)).unwrap_or_default()
    }
}

impl ContentHeader {
    /// Reads one line without its line end.
    pub fn parse(line: &[u8]) -> Result<Self, ParseError> {
        let mut c = Cursor::new(line);
        if c.take_while(|b| b.is_ascii_graphic() && b != b':').is_empty() {
            return Err(c.error("the name of a header"));
        }
        let colon = c.position();
        c.expect(b':', "`:`")?;
        Ok(Self { line: utf8(line)?.to_owned(), colon })
    }

    /// A header of our own.
    ///
    /// # Errors
    /// When the value does not fit into a line.
    pub fn new(name: &str, value: &str) -> Result<Self, ParseError> {
        if value.contains(['\r', '\n']) {
            return Err(ParseError::new(0, "a value of one line"));
        }
        Self::parse(format!("{name}: {value}").as_bytes())
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.line.get(..self.colon).unwrap_or_default()
    }

    /// The value without white space around it, folds as they came.
    pub fn value(&self) -> &str {
        self.line.get(self.colon + 1..).unwrap_or_default().trim()
    }
}

impl Address {
    /// An address without a name.
    pub fn of(uri: impl Into<String>) -> Self {
        Self { name: String::new(), uri: uri.into() }
    }

    /// Reads the value of `From`, `To` or `cc`.
    pub fn parse(value: &str) -> Result<Self, ParseError> {
        let open = value.rfind('<').ok_or_else(|| ParseError::new(0, "`<` and a URI"))?;
        let (name, uri) = value.split_at(open);
        let uri = uri.get(1..).and_then(|u| u.strip_suffix('>'));
        let uri =
            uri.filter(|u| !u.is_empty()).ok_or_else(|| ParseError::new(value.len(), "a URI and `>`"))?;
        let name = name.trim();
        let name = name.strip_prefix('"').and_then(|n| n.strip_suffix('"')).unwrap_or(name);
        Ok(Self { name: unescape(name), uri: uri.to_owned() })
    }
}

impl std::fmt::Display for Address {
    /// As the value of a header, before [`Header::new`] escapes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.name.is_empty() {
            return write!(f, "<{}>", self.uri);
        }
        // RFC 3862 §4.1: a name of tokens needs no quotes, and a quote cannot be in one.
        let plain = self.name.bytes().all(|b| is_name(b) || b == b' ');
        if plain {
            write!(f, "{} <{}>", self.name, self.uri)
        } else {
            write!(f, "\"{}\" <{}>", self.name.replace('"', "'"), self.uri)
        }
    }
}

/// Escapes what may not stand in a header (RFC 3862 §2.3.1).
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_ascii_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Resolves escapes. One that is not known stands for the character after the backslash
/// (RFC 3862 §2.3.1).
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut chars = after.chars();
        let escaped = chars.next();
        rest = chars.as_str();
        match escaped {
            Some('b') => out.push('\u{8}'),
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('u') => {
                let digits = rest.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                match digits.and_then(|d| u32::from_str_radix(d, 16).ok()).and_then(char::from_u32) {
                    Some(c) => {
                        out.push(c);
                        rest = rest.get(4..).unwrap_or_default();
                    }
                    None => out.push('u'),
                }
            }
            Some(c) => out.push(c),
            None => {}
        }
    }
    out.push_str(rest);
    out
}

/// The next line without its line end; `None` when the line end is not there yet.
fn line<'a>(c: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, ParseError> {
    let Some(n) = memchr::memchr(b'\n', c.rest()) else { return Ok(None) };
    let at = c.position() + n;
    let text = c.take(n + 1, "a line")?;
    match text.strip_suffix(b"\r\n") {
        Some(text) => Ok(Some(text)),
        None => Err(ParseError::new(at, "a carriage return before the line feed")),
    }
}

fn utf8(line: &[u8]) -> Result<&str, ParseError> {
    std::str::from_utf8(line).map_err(|e| ParseError::new(e.valid_up_to(), "UTF-8"))
}

/// RFC 3862 §3.1, §3.6: no controls, no space, no separators; the dot parts a prefix.
fn is_name(b: u8) -> bool {
    b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b)
}

#[cfg(test)]
#[path = "cpim_tests.rs"]
mod tests;
