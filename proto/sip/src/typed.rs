//! Typed values of headers the core acts on: Via, CSeq, RAck, Retry-After.

use crate::grammar::{is_token, trim};
use crate::method::Method;
use crate::params::Params;
use crate::uri::{host_ip, host_port};
use carnet_wire::{ParseError, Span};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// One Via value (RFC 3261 §20.42).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// `SIP/2.0/UDP 192.0.2.1:5060`, as written.
    head: String,
    /// In `head`.
    transport: Span,
    /// In `head`.
    host: Span,
    port: Option<u16>,
    params: Params,
}

/// What every branch of RFC 3261 starts with (§8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

impl Via {
    /// A Via of this element.
    ///
    /// # Errors
    /// [`Malformed`](crate::Error::Malformed) if the host or branch cannot stand in a Via.
    pub fn new(transport: &str, host: &str, port: Option<u16>, branch: &str) -> Result<Self, crate::Error> {
        let port = port.map(|p| format!(":{p}")).unwrap_or_default();
        Self::parse(&format!("SIP/2.0/{transport} {host}{port};branch={branch}"))
            .map_err(|at| crate::Error::Malformed { what: "Via", at })
    }

    /// Parses one value (not a list).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let parts = Parts::of(text)?;
        let (head, tail) = text.split_at(parts.params_at);
        let params = Params::parse(tail).map_err(|e| e.shifted(parts.params_at))?;
        let Parts { transport, host, port, .. } = parts;
        Ok(Self { head: head.to_owned(), transport, host, port, params })
    }

    /// Whether [`parse`](Self::parse) would take it.
    pub(crate) fn verify(text: &str) -> Result<(), ParseError> {
        let params_at = Parts::of(text)?.params_at;
        let tail = text.get(params_at..).unwrap_or_default();
        Params::verify(tail).map_err(|e| e.shifted(params_at))
    }

    /// `UDP`, `TCP`, `TLS` ... as written.
    pub fn transport(&self) -> &str {
        self.part(self.transport)
    }

    /// The host of sent-by as written, IPv6 addresses in brackets.
    pub fn host(&self) -> &str {
        self.part(self.host)
    }

    fn part(&self, span: Span) -> &str {
        self.head.get(span.range()).unwrap_or_default()
    }

    /// The port of sent-by, if written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The `branch` parameter.
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch").filter(|b| !b.is_empty())
    }

    /// The `received` parameter as an address; IPv6 with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        self.params.get("received").and_then(host_ip)
    }

    /// The `rport` parameter: `Some(None)` if it is there without a value (RFC 3581).
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.get("rport").map(|p| p.parse().ok())
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The parameters, to change.
    pub fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }
}

/// The parts of a Via value in front of its parameters.
struct Parts {
    transport: Span,
    host: Span,
    port: Option<u16>,
    params_at: usize,
}

impl Parts {
    fn of(text: &str) -> Result<Self, ParseError> {
        // sent-protocol: three parts, white space allowed around each slash.
        let at = |part: &str| text.len() - part.len();
        let (_, rest) = token_then_slash(text).map_err(|n| ParseError::new(n, "SIP/2.0/ and a transport"))?;
        let (version, rest) =
            token_then_slash(rest).map_err(|n| ParseError::new(at(rest) + n, "2.0/ and a transport"))?;
        if version != "2.0" {
            return Err(ParseError::new(at(rest), "version 2.0"));
        }
        let rest = rest.trim_start_matches([' ', '\t']);
        let end = rest
            .find([' ', '\t'])
            .ok_or_else(|| ParseError::new(text.len(), "a space behind the transport"))?;
        let transport = Span::new(at(rest), at(rest) + end);
        let (name, rest) = rest.split_at(end);
        if !is_token(name) {
            return Err(ParseError::new(at(rest) - end, "a transport"));
        }
        let sent_by = rest.trim_start_matches([' ', '\t']);
        let sent_at = at(sent_by);
        // White space may stand around the colon of the port.
        let semi = sent_by.find(';').unwrap_or(sent_by.len());
        let sent = sent_by.get(..semi).unwrap_or_default();
        let compact: Cow<'_, str> = match sent.contains([' ', '\t']) {
            true => sent.split([' ', '\t']).collect::<String>().into(),
            false => sent.into(),
        };
        let (host, port, used) = host_port(&compact).map_err(|e| e.shifted(sent_at))?;
        if used != compact.len() || !sent.starts_with(host) {
            return Err(ParseError::new(sent_at + used, "`;` or the end of the Via"));
        }
        let host = Span::new(sent_at, sent_at + host.len());
        Ok(Self { transport, host, port, params_at: sent_at + semi })
    }
}

fn token_then_slash(text: &str) -> Result<(&str, &str), usize> {
    let (token, rest) = text.split_once('/').ok_or(text.len())?;
    if is_token(trim(token)) { Ok((trim(token), rest)) } else { Err(0) }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.head, self.params)
    }
}

/// CSeq (RFC 3261 §20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// 0 to 2^31 - 1.
    pub number: u32,
    /// The method of the request.
    pub method: Method,
}

impl CSeq {
    /// Parses the value.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let (number, method) = text
            .split_once([' ', '\t'])
            .ok_or_else(|| ParseError::new(text.len(), "a number and a method"))?;
        let number = sequence_number(number)?;
        let method = Method::parse(trim(method)).ok_or_else(|| ParseError::new(text.len(), "a method"))?;
        Ok(Self { number, method })
    }
}

fn sequence_number(text: &str) -> Result<u32, ParseError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|n| digits && *n < 1 << 31);
    number.ok_or_else(|| ParseError::new(0, "a number below 2^31"))
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// RAck (RFC 3262 §7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    /// RSeq of the provisional response.
    pub rseq: u32,
    /// CSeq number of the request it answered.
    pub cseq: u32,
    /// Method of the request it answered.
    pub method: Method,
}

impl RAck {
    /// Parses the value.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut parts = text.split_ascii_whitespace();
        let mut next = || parts.next().ok_or_else(|| ParseError::new(text.len(), "two numbers and a method"));
        let rseq = sequence_number(next()?)?;
        let cseq = sequence_number(next()?)?;
        let method = Method::parse(next()?).ok_or_else(|| ParseError::new(text.len(), "a method"))?;
        match parts.next() {
            None => Ok(Self { rseq, cseq, method }),
            Some(_) => Err(ParseError::new(text.len(), "nothing behind the method")),
        }
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.rseq, self.cseq, self.method)
    }
}

/// A whole number of seconds at the start of a value, parameters and comments behind it left
/// aside (Expires, Retry-After, Session-Expires, Min-SE). Larger than 2^32 - 1 counts as that.
pub(crate) fn delta_seconds(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let behind = text.as_bytes().get(digits).copied().unwrap_or(b';');
    if digits == 0 || !matches!(behind, b' ' | b'\t' | b';' | b'(') {
        return None;
    }
    Some(text.get(..digits)?.parse().unwrap_or(u32::MAX))
}
