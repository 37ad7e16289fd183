//! What is known about an association once it stands.

use crate::Fingerprint;
use openssl::ssl::{SslRef, SslVersion};
use std::fmt;

/// Which end of the handshake we were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// We sent the ClientHello.
    Client,
    /// We received it.
    Server,
}

/// A protocol version that is accepted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

/// Versions that a context offers and accepts. TLS 1.1 and older never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Versions {
    /// 1.3 preferred, 1.2 accepted.
    #[default]
    Both,
    /// Only 1.2.
    Tls12,
    /// Only 1.3.
    Tls13,
}

impl Versions {
    pub(crate) fn bounds(self) -> (SslVersion, SslVersion) {
        match self {
            Self::Both => (SslVersion::TLS1_2, SslVersion::TLS1_3),
            Self::Tls12 => (SslVersion::TLS1_2, SslVersion::TLS1_2),
            Self::Tls13 => (SslVersion::TLS1_3, SslVersion::TLS1_3),
        }
    }
}

/// What the two ends agreed on. Holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Our end.
    pub side: Side,
    /// Protocol version.
    pub version: Version,
    /// Cipher suite by its IANA name, `TLS_AES_128_GCM_SHA256`.
    pub cipher: String,
    /// The 32 octets of `ClientHello.random`. They cross every element in clear, so both ends and
    /// anyone between can tell that they speak of the same association.
    pub client_random: [u8; 32],
    /// The PSK identity as the client sent it; `None` with certificates.
    pub identity: Option<String>,
    /// The PSK identity under which the key was bound here; `None` with certificates.
    pub bound_identity: Option<String>,
    /// SHA-256 of the peer's certificate; `None` with pre-shared keys or when it sent none.
    pub peer_fingerprint: Option<Fingerprint>,
}

impl Report {
    /// `None` if the library agreed on a version that no context here allows.
    pub(crate) fn of(ssl: &SslRef, side: Side) -> Option<Self> {
        let version = match ssl.version2()? {
            SslVersion::TLS1_2 => Version::Tls12,
            SslVersion::TLS1_3 => Version::Tls13,
            _ => return None,
        };
        let cipher = ssl.current_cipher()?;
        let mut client_random = [0; 32];
        ssl.client_random(&mut client_random);
        Some(Self {
            side,
            version,
            cipher: cipher.standard_name().unwrap_or_else(|| cipher.name()).to_owned(),
            client_random,
            identity: None,
            bound_identity: None,
            peer_fingerprint: ssl.peer_certificate().and_then(|c| Fingerprint::of(&c).ok()),
        })
    }

    /// `client_random` as hex, the form of key logs and of packet analysers.
    pub fn client_random_hex(&self) -> String {
        carnet_wire::hex::encode(&self.client_random)
    }

    /// Whether the peer named the key otherwise than we expected. A server with exactly one key
    /// accepts that, because another vendor may build the identity otherwise; worth a log line.
    pub fn identity_differs(&self) -> bool {
        self.identity != self.bound_identity
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.cipher)?;
        match (&self.identity, &self.peer_fingerprint) {
            (Some(identity), _) => write!(f, " with key {identity:?}"),
            (None, Some(fingerprint)) => write!(f, " with certificate {fingerprint}"),
            (None, None) => Ok(()),
        }
    }
}
