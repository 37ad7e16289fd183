//! MSRP URIs: parse, print, compare (RFC 4975 §6, §9).
//!
//! The text is kept as it came, so printing is the identity. Name resolution is not done here.

use carnet_wire::{Cursor, ParseError};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::str::FromStr;

/// The port of a URI that names none (RFC 4975 §15.3).
pub(crate) const DEFAULT_PORT: u16 = 2855;

/// `msrp://host:port/session;tcp`.
///
/// Two URIs are equal when RFC 4975 §6.1 says so: schemes, hosts and transports in any case, IP
/// addresses by value, session identifiers octet for octet, an absent port only equal to an absent
/// one; user information and other parameters do not count.
#[derive(Clone)]
pub struct Uri {
    text: String,
    secure: bool,
    host: Range<usize>,
    address: Option<IpAddr>,
    port: Option<u16>,
    session: Option<Range<usize>>,
    transport: Range<usize>,
}

impl Uri {
    /// The URI of one session at `host`: `msrps` when `secure`, over TCP.
    ///
    /// `host` is a name or an address; an IPv6 address may come with or without brackets.
    ///
    /// # Errors
    /// When `host` or `session` has a character that a URI does not allow there.
    pub fn new(secure: bool, host: &str, port: u16, session: &str) -> Result<Self, ParseError> {
        let scheme = if secure { "msrps" } else { "msrp" };
        let bracket = host.contains(':') && !host.starts_with('[');
        let (open, close) = if bracket { ("[", "]") } else { ("", "") };
        Self::parse(format!("{scheme}://{open}{host}{close}:{port}/{session};tcp").as_bytes())
    }

    /// Reads a URI that fills `text`.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let mut c = Cursor::new(text);
        let secure = if c.eat_ignore_case(b"msrps://") {
            true
        } else if c.eat_ignore_case(b"msrp://") {
            false
        } else {
            return Err(c.error("`msrp://` or `msrps://`"));
        };
        if let Some(at) = authority(c.rest()).iter().rposition(|b| *b == b'@') {
            let user = c.take(at, "user information")?;
            if let Some(bad) = user.iter().position(|b| !is_userinfo(*b)) {
                return Err(ParseError::new(c.position() - at + bad, "a character of user information"));
            }
            c.expect(b'@', "`@`")?;
        }
        let (host, address) = host(&mut c)?;
        let port =
            if c.eat(b':') { Some(c.decimal(u64::from(u16::MAX), "a port number")? as u16) } else { None };
        let session = if c.eat(b'/') {
            let start = c.position();
            c.take_while(is_session);
            if c.position() == start {
                return Err(c.error("a session identifier"));
            }
            Some(start..c.position())
        } else {
            None
        };
        c.expect(b';', "`;` and a transport")?;
        let start = c.position();
        c.take_while(|b| b.is_ascii_alphanumeric());
        if c.position() == start {
            return Err(c.error("a transport such as `tcp`"));
        }
        let transport = start..c.position();
        while c.eat(b';') {
            parameter(&mut c)?;
        }
        if !c.is_empty() {
            return Err(c.error("the end of the URI"));
        }
        let text = std::str::from_utf8(text).map_err(|e| ParseError::new(e.valid_up_to(), "ASCII"))?;
        Ok(Self { text: text.to_owned(), secure, host, address, port, session, transport })
    }

    /// The text as it came.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the scheme is `msrps`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host name or address, with the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.part(&self.host)
    }

    /// The host as an address, when it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The port, when it is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The session identifier. Hard to guess, so not for logs.
    pub fn session_id(&self) -> Option<&str> {
        self.session.as_ref().map(|r| self.part(r))
    }

    /// The transport, `tcp` in practice.
    pub fn transport(&self) -> &str {
        self.part(&self.transport)
    }

    fn part(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

impl PartialEq for Uri {
    // RFC 4975 §6.1
    fn eq(&self, other: &Self) -> bool {
        let hosts = match (self.address, other.address) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.host().eq_ignore_ascii_case(other.host()),
            _ => false,
        };
        self.secure == other.secure
            && hosts
            && self.port == other.port
            && self.session_id() == other.session_id()
            && self.transport().eq_ignore_ascii_case(other.transport())
    }
}

impl Eq for Uri {}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Uri {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text.as_bytes())
    }
}

/// Reads the URIs of a `To-Path`, `From-Path` or `a=path`, separated by single spaces, at least one.
pub fn parse_path(text: &[u8]) -> Result<Vec<Uri>, ParseError> {
    let mut at = 0;
    let mut path = Vec::new();
    for part in text.split(|b| *b == b' ') {
        path.push(Uri::parse(part).map_err(|e| e.shifted(at))?);
        at += part.len() + 1;
    }
    Ok(path)
}

/// What can still belong to the authority: up to the session identifier or the transport.
fn authority(rest: &[u8]) -> &[u8] {
    // User information may hold `;`, so look for `@` in everything before the first `/`.
    let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

fn host(c: &mut Cursor<'_>) -> Result<(Range<usize>, Option<IpAddr>), ParseError> {
    let start = c.position();
    if c.eat(b'[') {
        let text = c.take_until(b']', "`]`")?;
        let address = std::str::from_utf8(text).ok().and_then(|t| t.parse::<Ipv6Addr>().ok());
        let Some(address) = address else { return Err(ParseError::new(start + 1, "an IPv6 address")) };
        c.expect(b']', "`]`")?;
        return Ok((start..c.position(), Some(IpAddr::V6(address))));
    }
    let text = c.take_while(|b| {
        is_unreserved(b) || matches!(b, b'%' | b'!' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'=')
    });
    if text.is_empty() {
        return Err(c.error("a host"));
    }
    let address = std::str::from_utf8(text).ok().and_then(|t| t.parse::<Ipv4Addr>().ok());
    Ok((start..c.position(), address.map(IpAddr::V4)))
}

fn parameter(c: &mut Cursor<'_>) -> Result<(), ParseError> {
    if c.take_while(is_token).is_empty() {
        return Err(c.error("a parameter name"));
    }
    if c.eat(b'=') && c.take_while(is_token).is_empty() {
        return Err(c.error("a parameter value"));
    }
    Ok(())
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

fn is_session(b: u8) -> bool {
    is_unreserved(b) || matches!(b, b'+' | b'=' | b'/')
}

fn is_userinfo(b: u8) -> bool {
    is_unreserved(b)
        || matches!(
            b,
            b'%' | b':' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

fn is_token(b: u8) -> bool {
    // RFC 4975 §9: token = 1*(%x21 / %x23-27 / %x2A-2B / %x2D-2E / %x30-39 / %x41-5A / %x5E-7E)
    matches!(b, 0x21 | 0x23..=0x27 | 0x2a | 0x2b | 0x2d | 0x2e | 0x30..=0x39 | 0x41..=0x5a | 0x5e..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn parts() {
        let u = uri("msrps://bob@[2001:DB8::1]:8888/9di4/eae=923wzd;tcp;x=y;z");
        assert!(u.is_secure());
        assert_eq!(u.host(), "[2001:DB8::1]");
        assert_eq!(u.address(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!((u.port(), u.session_id(), u.transport()), (Some(8888), Some("9di4/eae=923wzd"), "tcp"));
        assert_eq!(Uri::new(true, "::1", 9, "ab").unwrap().as_str(), "msrps://[::1]:9/ab;tcp");
    }

    // RFC 4975 §6.1, one test a rule.
    #[test]
    fn comparison() {
        let base = uri("msrp://Atlanta.example.com:7654/jshA7weztas;tcp");
        for same in [
            "MSRP://atlanta.EXAMPLE.com:7654/jshA7weztas;TCP",
            "msrp://alice@atlanta.example.com:7654/jshA7weztas;tcp",
            "msrp://atlanta.example.com:7654/jshA7weztas;tcp;other=1",
        ] {
            assert_eq!(base, uri(same), "{same}");
        }
        for other in [
            "msrps://atlanta.example.com:7654/jshA7weztas;tcp",
            "msrp://atlanta.example.com:7654/JSHA7weztas;tcp",
            "msrp://atlanta.example.com:7655/jshA7weztas;tcp",
            "msrp://atlanta.example.com/jshA7weztas;tcp",
            "msrp://atlanta.example.com:7654;tcp",
            "msrp://atlanta.example.com:7654/jshA7weztas;sctp",
            "msrp://192.0.2.1:7654/jshA7weztas;tcp",
        ] {
            assert_ne!(base, uri(other), "{other}");
        }
        assert_eq!(uri("msrp://[::0:1]:1/a;tcp"), uri("msrp://[0:0::1]:1/a;tcp"));
    }

    #[test]
    fn refused() {
        for (text, at) in [
            ("", 0),
            ("sip:a@b", 0),
            ("msrp://;tcp", 7),
            ("msrp://host:99999/a;tcp", 12),
            ("msrp://host:1/;tcp", 14),
            ("msrp://host:1/a", 15),
            ("msrp://host:1/a;", 16),
            ("msrp://host:1/a;tcp;", 20),
            ("msrp://host:1/a;tcp;n=", 22),
            ("msrp://[::1:1/a;tcp", 19),
            ("msrp://[zz]:1/a;tcp", 8),
            ("msrp://h\r\n:1/a;tcp", 8),
            ("msrp://host:1/a;tcp ", 19),
        ] {
            assert_eq!(Uri::parse(text.as_bytes()).unwrap_err().at, at, "{text}");
        }
        assert_eq!(parse_path(b"msrp://a:1/x;tcp  msrp://b:1/y;tcp").unwrap_err().at, 17);
    }

    proptest! {
        #[test]
        fn total(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Uri::parse(&text);
        }

        #[test]
        fn prints_as_it_came(text in "msrps?://([a-z]{1,4}@)?[a-z0-9.]{1,12}(:[1-9][0-9]{0,3})?(/[a-zA-Z0-9+=/]{1,9})?;tcp(;[a-z]{1,3}(=[a-z]{1,3})?){0,2}") {
            let parsed = Uri::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(parsed.to_string(), text);
            prop_assert_eq!(&parsed, &parsed.clone());
        }
    }
}
