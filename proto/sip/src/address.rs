//! `name-addr` and `addr-spec` with header parameters: From, To, Contact, Route, Path ...
//! (RFC 3261 §20.10, §25.1).

use crate::grammar::{find_outside, is_printable, is_token_char, quote, trim, unquote};
use crate::params::{Params, find_in};
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
        let parts = Parts::of(text)?;
        let display = (!parts.display.is_empty()).then(|| unquote(parts.display).into_owned());
        let uri = Uri::parse(parts.uri).map_err(|e| e.shifted(parts.uri_at))?;
        let (head, tail) = text.split_at(parts.params_at);
        let params = Params::parse(tail).map_err(|e| e.shifted(parts.params_at))?;
        Ok(Self { head: head.to_owned(), display, uri, params })
    }

    /// Whether [`parse`](Self::parse) would take it.
    pub(crate) fn verify(text: &str) -> Result<(), ParseError> {
        let parts = Parts::of(text)?;
        Uri::verify(parts.uri).map_err(|e| e.shifted(parts.uri_at))?;
        let tail = text.get(parts.params_at..).unwrap_or_default();
        Params::verify(tail).map_err(|e| e.shifted(parts.params_at))
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

/// Where the parts of a value lie. What is inside the URI and the parameters has not been looked at.
struct Parts<'a> {
    /// White space around it not included.
    display: &'a str,
    uri: &'a str,
    uri_at: usize,
    params_at: usize,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, ParseError> {
        match find_outside(text, |b| b == b'<')? {
            Some(open) => Self::bracketed(text, open),
            None => Self::bare(text),
        }
    }

    fn bracketed(text: &'a str, open: usize) -> Result<Self, ParseError> {
        let (before, rest) = text.split_at(open);
        let close = rest.find('>').ok_or_else(|| ParseError::new(text.len(), "a closing >"))?;
        let uri = rest.get(1..close).unwrap_or_default();
        let display = trim(before);
        // A display name is a quoted string or tokens with white space between them.
        if !display.starts_with('"') {
            let wrong = |b: u8| !(is_token_char(b) || b == b' ' || b == b'\t' || b >= 0x80);
            if let Some(at) = display.bytes().position(wrong) {
                return Err(ParseError::new(at, "a display name in quotes"));
            }
        } else if find_outside(display, |_| true)?.is_some() {
            return Err(ParseError::new(0, "one quoted display name"));
        }
        Ok(Self { display, uri, uri_at: open + 1, params_at: open + close + 1 })
    }

    /// Without brackets everything behind `;` belongs to the header, and the URI may hold no
    /// comma or question mark (RFC 3261 §20.10).
    fn bare(text: &'a str) -> Result<Self, ParseError> {
        let params_at = text.find(';').unwrap_or(text.len());
        let head = text.get(..params_at).unwrap_or_default();
        let uri_at = head.len() - head.trim_start().len();
        let uri = trim(head);
        if let Some(at) = uri.bytes().position(|b| matches!(b, b'?' | b',')) {
            return Err(ParseError::new(uri_at + at, "< and > around a URI with `?` or `,`"));
        }
        Ok(Self { display: "", uri, uri_at, params_at })
    }
}

/// The tag in a value of From or To; the rest of the value is not looked at.
pub(crate) fn tag_in(text: &str) -> Option<&str> {
    let tail = match find_outside(text, |b| b == b'<').ok()? {
        Some(open) => text.get(open..)?.split_once('>')?.1,
        None => text.get(text.find(';')?..)?,
    };
    find_in(tail, "tag").filter(|tag| !tag.is_empty())
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
