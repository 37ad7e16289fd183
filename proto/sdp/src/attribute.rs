//! The attributes Carnet acts on, as values.
//!
//! RFC 4145 §4, RFC 4567 §3, RFC 8122 §5, TS 24.229 (`3ge2ae`). The attributes of a file transfer
//! (RFC 5547) are `carnet_msrp::file`'s.

use std::fmt;
use std::str::FromStr;

/// The attribute by which an end says that it can take its TLS role from the key exchange. Carnet's own;
/// docs/tls-role.md.
pub const TLS_ROLE: &str = "x-carnet-tlsrole";

/// Its only value: the MIKEY initiator is the TLS client.
pub(crate) const MIKEY: &str = "mikey";

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

/// `a=sendrecv` and its kin (RFC 8866 §6.7): which way media flows, as the sender of the description
/// sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// The sender of the description sends.
    SendOnly,
    /// The sender of the description receives.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// Every direction.
    pub(crate) const ALL: [Self; 4] = [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// `a=3ge2ae`: end-to-access-edge security. In ascending order of what it means for someone who has
/// none to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum E2ae {
    /// The network applies it.
    Applied,
    /// A value that is not defined, or none: what is wanted is not known.
    Other,
    /// The terminal asks for it.
    Requested,
}

impl E2ae {
    pub(crate) fn parse(attribute: Attribute<'_>) -> Self {
        match attribute.text() {
            // Words of a grammar are compared in any case (RFC 5234 §2.3).
            Some(s) if s.eq_ignore_ascii_case("requested") => Self::Requested,
            Some(s) if s.eq_ignore_ascii_case("applied") => Self::Applied,
            _ => Self::Other,
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

    /// Whether a certificate can be held against it: it is well formed, and its hash is SHA-256, SHA-384 or
    /// SHA-512. RFC 8122 §5 forbids MD2 and MD5, and SHA-1 binds nothing any more.
    pub fn is_binding(&self) -> bool {
        let known = ["SHA-256", "SHA-384", "SHA-512"];
        known.iter().any(|hash| hash.eq_ignore_ascii_case(self.hash)) && self.is_well_formed()
    }

    /// Reads the value of the attribute: the name of a hash, and what it made.
    pub fn parse(value: &'a str) -> Option<Self> {
        let (hash, value) = value.trim().split_once(' ')?;
        Some(Self { hash, value: value.trim() })
    }
}
