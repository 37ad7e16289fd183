//! The attributes Carnet acts on, as values.
//!
//! RFC 4145 §4, RFC 4567 §3, RFC 8122 §5, RFC 5547 §6, TS 24.229 (`3ge2ae`).

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// One `a=` line: its name and, after a colon, its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Name; compared octet for octet (RFC 8866 §5.13).
    pub name: &'a [u8],
    /// Value; `None` for a flag.
    pub value: Option<&'a [u8]>,
}

impl<'a> Attribute<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Self {
        match memchr::memchr(b':', line) {
            None => Self { name: line, value: None },
            Some(colon) => Self {
                name: line.get(..colon).unwrap_or_default(),
                value: Some(line.get(colon + 1..).unwrap_or_default()),
            },
        }
    }

    /// The value as text without surrounding spaces; `None` for a flag or for other octets than
    /// UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value?).ok().map(str::trim)
    }
}

/// `a=setup` (RFC 4145 §4): who opens the TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setup {
    /// This endpoint connects.
    Active,
    /// This endpoint waits.
    Passive,
    /// Either; only in offers.
    ActPass,
    /// No connection for now.
    HoldConn,
}

impl Setup {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
            Self::HoldConn => "holdconn",
        }
    }

    /// What the other end has when this end has `self`: active and passive swap, the rest stays.
    #[must_use]
    pub fn mirror(self) -> Self {
        match self {
            Self::Active => Self::Passive,
            Self::Passive => Self::Active,
            other => other,
        }
    }
}

impl FromStr for Setup {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        [Self::Active, Self::Passive, Self::ActPass, Self::HoldConn]
            .into_iter()
            .find(|v| s.eq_ignore_ascii_case(v.as_str()))
            .ok_or(())
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `a=3ge2ae`: end-to-access-edge security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum E2ae {
    /// The terminal asks for it.
    Requested,
    /// The network applies it.
    Applied,
}

impl FromStr for E2ae {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        match s {
            "requested" => Ok(Self::Requested),
            "applied" => Ok(Self::Applied),
            _ => Err(()),
        }
    }
}

/// `a=key-mgmt` (RFC 4567 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyMgmt<'a> {
    /// Protocol, as written: `mikey`.
    pub protocol: &'a str,
    /// Base64 data, as written.
    pub data: &'a str,
}

impl<'a> KeyMgmt<'a> {
    pub(crate) fn parse(value: &'a str) -> Option<Self> {
        let (protocol, data) = value.trim().split_once(' ')?;
        Some(Self { protocol, data: data.trim() })
    }
}

/// `a=fingerprint` (RFC 8122 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint<'a> {
    /// Hash name, as written: `SHA-256`.
    pub hash: &'a str,
    /// Hex pairs joined by colons, as written.
    pub value: &'a str,
}

impl<'a> Fingerprint<'a> {
    /// Whether the value is hex pairs joined by colons, as many as the hash has octets where that
    /// is known (RFC 8122 §5).
    pub fn is_well_formed(&self) -> bool {
        let octets = match self.hash.to_ascii_lowercase().as_str() {
            "md2" | "md5" => Some(16),
            "sha-1" => Some(20),
            "sha-224" => Some(28),
            "sha-256" => Some(32),
            "sha-384" => Some(48),
            "sha-512" => Some(64),
            _ => None,
        };
        let pairs = self.value.split(':');
        let all = pairs.clone().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
        all && octets.is_none_or(|n| pairs.count() == n)
    }

    pub(crate) fn parse(value: &'a str) -> Option<Self> {
        let (hash, value) = value.trim().split_once(' ')?;
        Some(Self { hash, value: value.trim() })
    }
}

/// `a=file-selector` (RFC 5547 §6): which file is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileSelector {
    /// File name, decoded. It is the peer's text: never use it as a path as it stands.
    pub name: Option<String>,
    /// MIME type, as written.
    pub mime: Option<String>,
    /// Size in octets.
    pub size: Option<u64>,
    /// Hash name and hash, for example `sha-1`, `72:24:...`.
    pub hashes: Vec<(String, String)>,
}

impl FileSelector {
    /// Reads the value of the attribute. `None` if a selector is malformed; unknown selectors
    /// are skipped.
    pub fn parse(value: &str) -> Option<Self> {
        let mut selector = Self::default();
        let mut rest = value.trim();
        while !rest.is_empty() {
            let (key, after) = rest.split_once(':')?;
            let (item, left) = if let Some(quoted) = after.strip_prefix('"') {
                let (inner, left) = quoted.split_once('"')?;
                (inner, left)
            } else {
                // A MIME type may carry parameters with quoted values (§6): a space inside
                // quotes does not end the selector.
                let mut quoted = false;
                let end = after.find(|c| {
                    quoted ^= c == '"';
                    c == ' ' && !quoted
                });
                after.split_at(end.unwrap_or(after.len()))
            };
            match key.trim_start() {
                "name" => selector.name = Some(percent_decode(item)?),
                "type" => selector.mime = Some(item.to_owned()),
                "size" => selector.size = Some(item.parse().ok()?),
                "hash" => {
                    let (algorithm, hash) = item.split_once(':')?;
                    selector.hashes.push((algorithm.to_owned(), hash.to_owned()));
                }
                _ => {}
            }
            rest = left.trim_start();
        }
        Some(selector)
    }
}

impl fmt::Display for FileSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.name.as_ref().map(|n| format!("name:\"{}\"", percent_encode(n))));
        parts.extend(self.mime.as_ref().map(|t| format!("type:{t}")));
        parts.extend(self.size.map(|s| format!("size:{s}")));
        parts.extend(self.hashes.iter().map(|(a, h)| format!("hash:{a}:{h}")));
        f.write_str(&parts.join(" "))
    }
}

/// RFC 5547 §6: NUL, CR, LF, `"` and `%` are percent-encoded in a file name.
fn percent_encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\0' | '\r' | '\n' | '"' | '%' => {
                let _ = write!(out, "%{:02X}", u32::from(c));
            }
            other => out.push(other),
        }
    }
    out
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(b) = octets.next() {
        if b == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let (high, low) = (digit(octets.next())?, digit(octets.next())?);
            out.push((high << 4 | low) as u8);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}
