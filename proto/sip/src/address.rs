//! `name-addr` and `addr-spec` with header parameters: From, To, Contact, Route, Path ...
//! (RFC 3261 §20.10, §25.1).

use crate::grammar::{find_outside, is_printable, is_token_char, quote, trim, unquote};
use crate::params::Params;
use crate::uri::Uri;
use carnet_wire::ParseError;
use std::borrow::Cow;
use std::fmt;

/// One address value: display name, URI, parameters. What was parsed prints as it came until
/// it is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// The text up to the parameters: display name and URI.
    head: String,
    display: Option<String>,
    uri: Uri,
    params: Params,
}

impl NameAddr {
    /// `<uri>` without a display name or parameters.
    pub fn new(uri: Uri) -> Self {
        Self { head: format!("<{uri}>"), display: None, uri, params: Params::default() }
    }

    /// Parses one value (not a list).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        match find_outside(text, |b| b == b'<')? {
            Some(open) => Self::parse_bracketed(text, open),
            None => Self::parse_bare(text),
        }
    }

    fn parse_bracketed(text: &str, open: usize) -> Result<Self, ParseError> {
        let (before, rest) = text.split_at(open);
        let close = rest.find('>').ok_or_else(|| ParseError::new(text.len(), "a closing >"))?;
        let inner = rest.get(1..close).unwrap_or_default();
        let uri = Uri::parse(inner).map_err(|e| e.shifted(open + 1))?;
        let name = trim(before);
        // A display name is a quoted string or tokens with white space between them.
        if !name.starts_with('"') {
            let wrong = |b: u8| !(is_token_char(b) || b == b' ' || b == b'\t' || b >= 0x80);
            if let Some(at) = name.bytes().position(wrong) {
                return Err(ParseError::new(at, "a display name in quotes"));
            }
        } else if find_outside(name, |_| true)?.is_some() {
            return Err(ParseError::new(0, "one quoted display name"));
        }
        let tail_at = open + close + 1;
        let tail = text.get(tail_at..).unwrap_or_default();
        let params = Params::parse(tail).map_err(|e| e.shifted(tail_at))?;
        let display = (!name.is_empty()).then(|| unquote(name).into_owned());
        Ok(Self { head: text.get(..tail_at).unwrap_or_default().to_owned(), display, uri, params })
    }

    /// Without brackets everything behind `;` belongs to the header, and the URI may hold no
    /// comma or question mark (RFC 3261 §20.10).
    fn parse_bare(text: &str) -> Result<Self, ParseError> {
        let semi = text.find(';').unwrap_or(text.len());
        let (head, tail) = text.split_at(semi);
        let lead = head.len() - head.trim_start().len();
        let bare = trim(head);
        if let Some(at) = bare.bytes().position(|b| matches!(b, b'?' | b',')) {
            return Err(ParseError::new(lead + at, "< and > around a URI with `?` or `,`"));
        }
        let uri = Uri::parse(bare).map_err(|e| e.shifted(lead))?;
        let params = Params::parse(tail).map_err(|e| e.shifted(semi))?;
        Ok(Self { head: head.to_owned(), display: None, uri, params })
    }

    /// The display name, quotes taken off.
    pub fn display(&self) -> Option<&str> {
        self.display.as_deref()
    }

    /// The URI.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The header parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// A header parameter, quotes taken off: `Some("")` if it has no value.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params.text(name)
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag").filter(|t| !t.is_empty())
    }

    /// The same address with the header parameter set.
    ///
    /// # Errors
    /// [`Unprintable`](crate::Error::Unprintable) if name or value cannot stand there.
    pub fn with_param(mut self, name: &str, value: Option<&str>) -> Result<Self, crate::Error> {
        self.params.set(name, value)?;
        Ok(self)
    }

    /// The same address with this tag.
    ///
    /// # Errors
    /// [`Unprintable`](crate::Error::Unprintable) if `tag` is not a token.
    pub fn with_tag(self, tag: &str) -> Result<Self, crate::Error> {
        self.with_param("tag", Some(tag))
    }

    /// The same address without its header parameters.
    #[must_use]
    pub fn without_params(mut self) -> Self {
        self.params = Params::default();
        self
    }

    /// The same address with this display name.
    ///
    /// # Errors
    /// [`Unprintable`](crate::Error::Unprintable) if `name` holds CR, LF or NUL.
    pub fn with_display(mut self, name: &str) -> Result<Self, crate::Error> {
        if !is_printable(name.as_bytes()) {
            return Err(crate::Error::Unprintable("a display name"));
        }
        self.head = format!("{} <{}>", quote(name), self.uri);
        self.display = Some(name.to_owned());
        Ok(self)
    }

    /// The same address with another URI; the display name and parameters stay.
    #[must_use]
    pub fn with_uri(mut self, uri: Uri) -> Self {
        self.head = match &self.display {
            Some(name) => format!("{} <{uri}>", quote(name)),
            None => format!("<{uri}>"),
        };
        self.uri = uri;
        self
    }
}

impl From<Uri> for NameAddr {
    fn from(uri: Uri) -> Self {
        Self::new(uri)
    }
}

impl std::str::FromStr for NameAddr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.head, self.params)
    }
}
