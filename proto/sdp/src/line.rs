//! Single lines: how they end, and the three whose fields we read (`o=`, `c=`, `m=`).
//!
//! RFC 8866 §5.2, §5.7, §5.14.

use bytes::Bytes;
use carnet_wire::{Cursor, ParseError};
use std::fmt;
use std::net::IpAddr;

/// How a line ended. RFC 8866 §5 asks for CRLF and lets receivers take LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    CrLf,
    Lf,
    /// The last line, cut off by the end of the input.
    None,
}

impl Ending {
    pub(crate) fn octets(self) -> &'static [u8] {
        match self {
            Self::CrLf => b"\r\n",
            Self::Lf => b"\n",
            Self::None => b"",
        }
    }
}

/// One line: a slice of the received octets, or a text of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Type letter, `=`, value; without the line end. Empty for a blank line at the end.
    pub(crate) text: Bytes,
    pub(crate) ending: Ending,
}

impl Line {
    /// The type letter; 0 for a blank line.
    pub(crate) fn kind(&self) -> u8 {
        self.text.first().copied().unwrap_or(0)
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.text.get(2..).unwrap_or_default()
    }
}

/// An address in `o=` or `c=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A literal address; a multicast TTL or count after `/` is not part of it.
    Ip(IpAddr),
    /// A name, or anything else that is no literal (`$` in H.248).
    Name(String),
}

impl Host {
    pub(crate) fn parse(text: &str) -> Self {
        let bare = text.split('/').next().unwrap_or(text);
        bare.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Ip)
    }

    /// The literal address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The `o=` line (RFC 8866 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin<'a> {
    /// User name, `-` for none.
    pub username: &'a str,
    /// Session identifier, a number of any size.
    pub session_id: &'a str,
    /// Session version, a number of any size; grows with each change (RFC 3264 §8).
    pub version: &'a str,
    /// `IN`
    pub nettype: &'a str,
    /// `IP4` or `IP6`
    pub addrtype: &'a str,
    /// The address.
    pub host: Host,
}

impl<'a> Origin<'a> {
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut fields = text.split(' ').filter(|f| !f.is_empty());
        let origin = Self {
            username: fields.next()?,
            session_id: fields.next()?,
            version: fields.next()?,
            nettype: fields.next()?,
            addrtype: fields.next()?,
            host: Host::parse(fields.next()?),
        };
        fields.next().is_none().then_some(origin)
    }

    /// Where in a value that does not parse the fault lies: at octets that are no UTF-8, at the
    /// seventh field, or at the end where fields are missing.
    pub(crate) fn fault(value: &[u8]) -> usize {
        if let Err(e) = std::str::from_utf8(value) {
            return e.valid_up_to();
        }
        let starts = |(at, b): &(usize, &u8)| {
            **b != b' ' && at.checked_sub(1).is_none_or(|before| value.get(before) == Some(&b' '))
        };
        value.iter().enumerate().filter(starts).nth(6).map_or(value.len(), |(at, _)| at)
    }
}

/// The `c=` line (RFC 8866 §5.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `IP4` or `IP6`, as written.
    pub addrtype: String,
    /// The address.
    pub host: Host,
}

impl Connection {
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut fields = text.split(' ').filter(|f| !f.is_empty());
        fields.next().filter(|n| n.eq_ignore_ascii_case("IN"))?;
        let addrtype = fields.next()?.to_owned();
        let host = Host::parse(fields.next()?);
        fields.next().is_none().then_some(Self { addrtype, host })
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IN {} {}", self.addrtype, self.host)
    }
}

/// `IN IP4 …` or `IN IP6 …` of a literal address.
pub(crate) fn net_address(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("IN IP4 {ip}"),
        IpAddr::V6(ip) => format!("IN IP6 {ip}"),
    }
}

/// The fields of an `m=` line (RFC 8866 §5.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaLine {
    /// `message`, `application`, `audio` ...; `-` in H.248.
    pub media: String,
    /// The port; `None` where H.248 has `$`. 0 rejects the line (RFC 3264 §6).
    pub port: Option<u16>,
    /// Number of ports after `/`, 1 if not given.
    pub count: u32,
    /// Transport, as written: `TCP/TLS/MSRP` ...
    pub proto: String,
    /// Formats, at least one.
    pub formats: Vec<String>,
    /// Where the digits of the port stand in the value.
    pub(crate) port_at: (usize, usize),
    /// And the transport.
    pub(crate) proto_at: (usize, usize),
}

impl MediaLine {
    /// Reads the value of an `m=` line. Errors count octets from the start of the value.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let mut c = Cursor::new(value);
        let media = token(&mut c, "a media type")?;
        spaces(&mut c)?;
        let start = c.position();
        let port = if c.eat(b'$') { None } else { Some(c.decimal(65535, "a port from 0 to 65535")? as u16) };
        let port_at = (start, c.position());
        let count = if c.eat(b'/') { c.decimal(u64::from(u32::MAX), "a number of ports")? as u32 } else { 1 };
        spaces(&mut c)?;
        let start = c.position();
        let proto = token(&mut c, "a transport")?;
        let proto_at = (start, c.position());
        spaces(&mut c)?;
        let mut formats = vec![token(&mut c, "a format")?];
        while !c.is_empty() {
            spaces(&mut c)?;
            if !c.is_empty() {
                formats.push(token(&mut c, "a format")?);
            }
        }
        Ok(Self { media, port, count, proto, formats, port_at, proto_at })
    }
}

fn token(c: &mut Cursor<'_>, expected: &'static str) -> Result<String, ParseError> {
    let at = c.position();
    let octets = c.take_while(|b| b.is_ascii_graphic());
    if octets.is_empty() {
        return Err(ParseError::new(at, expected));
    }
    Ok(String::from_utf8_lossy(octets).into_owned())
}

fn spaces(c: &mut Cursor<'_>) -> Result<(), ParseError> {
    if c.take_while(|b| b == b' ').is_empty() { Err(c.error("a space")) } else { Ok(()) }
}
