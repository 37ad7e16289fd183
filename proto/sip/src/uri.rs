//! URIs: `sip`, `sips`, `tel` taken apart, every other scheme kept whole (RFC 3261 §19.1,
//! RFC 3966). The text stays as it came.
//!
//! Left out: building of embedded header fields (`?name=value`); they are parsed and kept.

use crate::params::Params;
use carnet_wire::{ParseError, Span};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A URI. `==` compares the text; [`Uri::equivalent`] follows RFC 3261 §19.1.4.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    text: Box<str>,
    shape: Shape,
}

/// Where the parts of a URI lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    scheme: Scheme,
    user: Option<Span>,
    host: Span,
    port: Option<u16>,
    params: Span,
    headers: Span,
}

/// The scheme of a [`Uri`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// `urn:`
    Urn,
    /// Any other, see [`Uri::scheme_str`].
    Other,
}

impl Shape {
    fn of(text: &str) -> Result<Self, ParseError> {
        let Some(colon) = text.find(':') else { return Err(error(text.len(), "a URI scheme and `:`")) };
        let name = text.get(..colon).unwrap_or_default();
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if !first || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return Err(error(0, "a URI scheme"));
        }
        if let Some(at) = text.bytes().position(|b| !is(b, IN_URI)) {
            return Err(error(at, "a URI character"));
        }
        let scheme = match name {
            n if n.eq_ignore_ascii_case("sip") => Scheme::Sip,
            n if n.eq_ignore_ascii_case("sips") => Scheme::Sips,
            n if n.eq_ignore_ascii_case("tel") => Scheme::Tel,
            n if n.eq_ignore_ascii_case("urn") => Scheme::Urn,
            _ => Scheme::Other,
        };
        let start = colon + 1;
        let end = text.len();
        if start == end {
            return Err(error(end, "something after the scheme"));
        }
        let empty = Span::new(end, end);
        let mut uri = Self { scheme, user: None, host: empty, port: None, params: empty, headers: empty };
        match scheme {
            Scheme::Sip | Scheme::Sips => uri.take_apart(text, start)?,
            Scheme::Tel => {
                let digits = text.get(start..).unwrap_or_default();
                let semi = digits.find(';').unwrap_or(digits.len());
                if semi == 0 {
                    return Err(error(start, "a telephone number"));
                }
                uri.user = Some(Span::new(start, start + semi));
                uri.params = Span::new(start + semi, end);
            }
            Scheme::Urn | Scheme::Other => {}
        }
        Ok(uri)
    }

    fn take_apart(&mut self, text: &str, start: usize) -> Result<(), ParseError> {
        let bad_escape = |span: Span| {
            let part = span.of(text.as_bytes());
            let wrong =
                |i: &usize| !part.get(i + 1..i + 3).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit));
            memchr::memchr_iter(b'%', part)
                .find(wrong)
                .map(|i| error(span.start as usize + i, "two hex digits after %"))
        };
        // `@` stands unescaped only between user information and host.
        let host_at = match text.get(start..).unwrap_or_default().find('@') {
            Some(0) => return Err(error(start, "a user before @")),
            Some(at) => {
                let user = Span::new(start, start + at);
                if let Some(i) = user.of(text.as_bytes()).iter().position(|b| !is(*b, IN_USER)) {
                    return Err(error(start + i, "a character of a user name"));
                }
                if let Some(e) = bad_escape(user) {
                    return Err(e);
                }
                self.user = Some(user);
                start + at + 1
            }
            None => start,
        };
        let rest = text.get(host_at..).unwrap_or_default();
        let (host, port, used) = host_port(rest).map_err(|e| e.shifted(host_at))?;
        self.host = Span::new(host_at, host_at + host.len());
        self.port = port;
        let tail_at = host_at + used;
        let tail = text.get(tail_at..).unwrap_or_default();
        let question = tail.find('?').unwrap_or(tail.len());
        let (params, headers) = tail.split_at(question);
        if !params.is_empty() && !params.starts_with(';') {
            return Err(error(tail_at, "`;` or the end of the URI"));
        }
        if headers == "?" || tail.contains('@') {
            return Err(error(tail_at + question, "header fields of the URI"));
        }
        self.params = Span::new(tail_at, tail_at + question);
        self.headers = Span::new(tail_at + (question + 1).min(tail.len()), text.len());
        bad_escape(Span::new(tail_at, text.len())).map_or(Ok(()), Err)
    }
}

/// A character of a URI.
const IN_URI: u8 = 1;
/// A character of a user part; what is allowed there is generous, see RFC 3966 in RFC 3261 §19.1.6.
const IN_USER: u8 = 2;
/// A character of a host name or an IPv4 address.
const IN_HOST: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 256 {
        let c = b as u8;
        if c > 0x20 && c != 0x7f && c != b'<' && c != b'>' && c != b'"' {
            table[b] |= IN_URI;
        }
        if c.is_ascii_alphanumeric() || c >= 0x80 {
            table[b] |= IN_USER;
        }
        if c.is_ascii_alphanumeric() {
            table[b] |= IN_HOST;
        }
        b += 1;
    }
    let (user, host) = (b"-_.!~*'()&=+$,;?/%:#[]", b"-._");
    let mut i = 0;
    while i < user.len() {
        table[user[i] as usize] |= IN_USER;
        i += 1;
    }
    let mut i = 0;
    while i < host.len() {
        table[host[i] as usize] |= IN_HOST;
        i += 1;
    }
    table
};

fn is(b: u8, class: u8) -> bool {
    CLASSES.get(usize::from(b)).is_some_and(|c| c & class != 0)
}

fn error(at: usize, expected: &'static str) -> ParseError {
    ParseError::new(at, expected)
}

impl Uri {
    /// Parses an absolute URI.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let shape = Shape::of(text)?;
        Ok(Self { text: text.into(), shape })
    }

    /// Whether [`parse`](Self::parse) would take it.
    pub(crate) fn verify(text: &str) -> Result<(), ParseError> {
        Shape::of(text).map(drop)
    }

    /// `sip:user@host:port`. IPv6 addresses are put in brackets.
    ///
    /// # Errors
    /// [`Malformed`](crate::Error::Malformed) if a part does not fit its place.
    pub fn sip(user: Option<&str>, host: &str, port: Option<u16>) -> Result<Self, crate::Error> {
        let mut text = String::from("sip:");
        if let Some(user) = user {
            text.push_str(&escape_user(user));
            text.push('@');
        }
        match host.parse::<Ipv6Addr>() {
            Ok(v6) => text.push_str(&format!("[{v6}]")),
            Err(_) => text.push_str(host),
        }
        if let Some(port) = port {
            text.push_str(&format!(":{port}"));
        }
        Self::parse(&text).map_err(|at| crate::Error::Malformed { what: "URI", at })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.shape.scheme
    }

    /// The scheme as written, without the colon.
    pub fn scheme_str(&self) -> &str {
        self.text.split(':').next().unwrap_or_default()
    }

    fn part(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// The user part as written (with its password, if any), or the number of a `tel` URI.
    pub fn user(&self) -> Option<&str> {
        self.shape.user.map(|s| self.part(s))
    }

    /// The host as written, IPv6 addresses in brackets. Empty if the scheme has none.
    pub fn host(&self) -> &str {
        self.part(self.shape.host)
    }

    /// The host as an address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host())
    }

    /// The port, if one is written.
    pub fn port(&self) -> Option<u16> {
        self.shape.port
    }

    /// The parameters.
    pub fn params(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.part(self.shape.params).split(';').filter(|p| !p.is_empty()).map(|p| match p.split_once('=') {
            Some((n, v)) => (n, Some(v)),
            None => (p, None),
        })
    }

    /// The first parameter of that name, in any case: `Some("")` if it has no value.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.unwrap_or_default())
    }

    /// Header fields embedded in the URI, as written, without the `?`.
    pub fn headers(&self) -> Option<&str> {
        Some(self.part(self.shape.headers)).filter(|h| !h.is_empty())
    }

    /// Whether this is a route of a loose router (RFC 3261 §19.1.1).
    pub fn is_loose(&self) -> bool {
        self.param("lr").is_some()
    }

    /// The URI with the parameter set.
    ///
    /// # Errors
    /// [`Unprintable`](crate::Error::Unprintable) if name or value cannot stand in a URI.
    pub fn with_param(&self, name: &str, value: Option<&str>) -> Result<Self, crate::Error> {
        self.edit_params(|p| p.set(name, value))
    }

    /// The URI without the parameter.
    pub fn without_param(&self, name: &str) -> Self {
        self.edit_params(|p| {
            p.remove(name);
            Ok(())
        })
        .unwrap_or_else(|_| self.clone())
    }

    /// The URI without embedded header fields.
    pub fn without_headers(&self) -> Self {
        let end = self.shape.params.end as usize;
        self.text.get(..end).and_then(|t| Self::parse(t).ok()).unwrap_or_else(|| self.clone())
    }

    fn edit_params(
        &self,
        edit: impl FnOnce(&mut Params) -> Result<(), crate::Error>,
    ) -> Result<Self, crate::Error> {
        if !matches!(self.shape.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel) {
            return Err(crate::Error::Unprintable("a parameter of this URI scheme"));
        }
        let malformed = |at| crate::Error::Malformed { what: "URI", at };
        let mut params = Params::parse(self.part(self.shape.params)).map_err(malformed)?;
        edit(&mut params)?;
        let (head, tail) = (
            self.text.get(..self.shape.params.start as usize),
            self.text.get(self.shape.params.end as usize..),
        );
        let text = [head.unwrap_or_default(), params.as_str(), tail.unwrap_or_default()].concat();
        Self::parse(&text).map_err(malformed)
    }

    /// Whether both URIs name the same resource (RFC 3261 §19.1.4). Not transitive.
    pub fn equivalent(&self, other: &Self) -> bool {
        match (self.shape.scheme, other.shape.scheme) {
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => {}
            (Scheme::Tel, Scheme::Tel) => {
                return tel_digits(self) == tel_digits(other)
                    && self.same_params(other, &["phone-context", "isub", "ext"]);
            }
            (a, b) => return a == b && self.text.eq_ignore_ascii_case(&other.text),
        }
        let user = |u: &Self| u.user().map(unescape);
        let same_host = match (self.ip(), other.ip()) {
            (Some(a), Some(b)) => a == b,
            _ => self.host().eq_ignore_ascii_case(other.host()),
        };
        user(self) == user(other)
            && same_host
            && self.shape.port == other.shape.port
            && self.same_params(other, &["user", "ttl", "method", "maddr", "transport"])
            && sorted_headers(self) == sorted_headers(other)
    }

    /// Parameters in both must match; those of `both` must be in both or neither.
    fn same_params(&self, other: &Self, both: &[&str]) -> bool {
        let fits = |a: &Self, b: &Self| {
            a.params().all(|(name, value)| match b.param(name) {
                Some(v) => unescape(v).eq_ignore_ascii_case(&unescape(value.unwrap_or_default())),
                None => !both.iter().any(|m| m.eq_ignore_ascii_case(name)),
            })
        };
        fits(self, other) && fits(other, self)
    }
}

fn tel_digits(uri: &Uri) -> String {
    let visual = |c: &char| !"-.()".contains(*c);
    uri.user().unwrap_or_default().chars().filter(visual).collect::<String>().to_ascii_lowercase()
}

fn sorted_headers(uri: &Uri) -> Vec<String> {
    let mut all: Vec<_> = uri
        .headers()
        .unwrap_or_default()
        .split('&')
        .map(|h| match h.split_once('=') {
            Some((n, v)) => format!("{}={}", n.to_ascii_lowercase(), unescape(v)),
            None => h.to_ascii_lowercase(),
        })
        .collect();
    all.sort_unstable();
    all
}

/// Octets behind `%` escapes, as characters of the same number.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        match after.get(..2).and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(b) => {
                out.push(char::from(b));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn escape_user(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for b in user.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%:".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// `host[:port]` at the start of `text`: host, port, octets used.
pub(crate) fn host_port(text: &str) -> Result<(&str, Option<u16>, usize), ParseError> {
    let host_len = if text.starts_with('[') {
        let close = text.find(']').ok_or_else(|| error(text.len(), "`]` behind an IPv6 address"))?;
        let host = text.get(..=close).unwrap_or_default();
        host_ip(host).ok_or_else(|| error(1, "an IPv6 address"))?;
        close + 1
    } else {
        text.bytes().position(|b| !is(b, IN_HOST)).unwrap_or(text.len())
    };
    if host_len == 0 {
        return Err(error(0, "a host"));
    }
    let (host, rest) = text.split_at(host_len);
    let Some(after) = rest.strip_prefix(':') else { return Ok((host, None, host_len)) };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let port = after.get(..digits).and_then(|d| d.parse::<u16>().ok());
    match port {
        Some(port) => Ok((host, Some(port), host_len + 1 + digits)),
        None => Err(error(host_len + 1, "a port from 0 to 65535")),
    }
}

/// An address as a host is written: `192.0.2.1`, `[2001:db8::1]`; also without brackets, and
/// with the third colon before an embedded IPv4 address that RFC 3261's grammar derives (RFC 5118
/// §4.10).
pub fn host_ip(host: &str) -> Option<IpAddr> {
    let Some(bare) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) else {
        return host.parse().ok();
    };
    let address = match bare.split_once(":::") {
        Some((before, v4)) if v4.parse::<std::net::Ipv4Addr>().is_ok() => format!("{before}::{v4}").parse(),
        _ => bare.parse::<Ipv6Addr>(),
    };
    address.ok().map(IpAddr::V6)
}

/// An address as a host is written in a URI or Via: IPv6 in brackets.
pub fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

impl From<SocketAddr> for Uri {
    /// `sip:address:port`.
    fn from(address: SocketAddr) -> Self {
        let host = host_of(address.ip());
        let (start, end) = (4, 4 + host.len());
        let text: Box<str> = format!("sip:{host}:{}", address.port()).into();
        let tail = Span::new(text.len(), text.len());
        let shape = Shape {
            scheme: Scheme::Sip,
            user: None,
            host: Span::new(start, end),
            port: Some(address.port()),
            params: tail,
            headers: tail,
        };
        Self { text, shape }
    }
}

impl std::str::FromStr for Uri {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({})", self.text)
    }
}
