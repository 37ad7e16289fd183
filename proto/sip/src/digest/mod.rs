//! Digest authentication: RFC 3261 §22 with RFC 7616 (SHA-256) and RFC 2617 (MD5, challenges
//! without qop).
//!
//! [`DigestClient`] answers challenges; [`DigestServer`] makes and checks them. Left out:
//! `auth-int`, `-sess` algorithms, user hashing and AKA.

mod client;
mod server;

#[cfg(test)]
mod tests;

use crate::error::Error;
use crate::grammar::{is_printable, split_list, trim, unquote};
use carnet_wire::{ParseError, hex};
use md5::Md5;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use client::DigestClient;
pub use server::{DigestServer, DigestSettings, Verdict};

/// A password. It cannot be printed or copied, and is wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Password(Vec<u8>);

impl Password {
    /// Takes the password over; the octets given are the ones that are wiped.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }
}

/// Hash algorithms, the weaker first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `MD5`, for old clients.
    Md5,
    /// `SHA-256`.
    Sha256,
}

impl Algorithm {
    /// As written in challenges.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|a| text.eq_ignore_ascii_case(a.as_str()))
    }

    /// `H(parts joined by colons)` in hex.
    fn hash(self, parts: &[&[u8]]) -> Zeroizing<String> {
        fn run<D: sha2::Digest>(parts: &[&[u8]]) -> Zeroizing<String> {
            let mut hash = D::new();
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    hash.update(b":");
                }
                hash.update(part);
            }
            Zeroizing::new(hex::encode(&hash.finalize()))
        }
        match self {
            Self::Md5 => run::<Md5>(parts),
            Self::Sha256 => run::<Sha256>(parts),
        }
    }
}

/// What goes into a response (RFC 7616 §3.4.1).
struct Proof<'a> {
    algorithm: Algorithm,
    user: &'a str,
    realm: &'a str,
    nonce: &'a str,
    method: &'a str,
    uri: &'a str,
    /// nc and cnonce; `None` for the challenges of RFC 2069 that had no qop.
    counted: Option<(&'a str, &'a str)>,
}

impl Proof<'_> {
    fn response(&self, password: &Password) -> Zeroizing<String> {
        let hash = |parts: &[&[u8]]| self.algorithm.hash(parts);
        let ha1 = hash(&[self.user.as_bytes(), self.realm.as_bytes(), &password.0]);
        let ha2 = hash(&[self.method.as_bytes(), self.uri.as_bytes()]);
        let (ha1, nonce, ha2) = (ha1.as_bytes(), self.nonce.as_bytes(), ha2.as_bytes());
        match self.counted {
            Some((nc, cnonce)) => hash(&[ha1, nonce, nc.as_bytes(), cnonce.as_bytes(), b"auth", ha2]),
            None => hash(&[ha1, nonce, ha2]),
        }
    }
}

/// A challenge, as it stands in WWW-Authenticate or Proxy-Authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Whose passwords are asked for.
    pub realm: String,
    /// The server's nonce.
    pub nonce: String,
    /// To be given back as it is.
    pub opaque: Option<String>,
    /// The hash to use.
    pub algorithm: Algorithm,
    /// Whether `qop=auth` is offered.
    pub qop: bool,
    /// Whether only the nonce was too old, not the password wrong.
    pub stale: bool,
}

impl Challenge {
    /// Parses a header value.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no Digest challenge or one this crate cannot answer.
    pub fn parse(value: &str) -> Result<Self, Error> {
        let fields = Fields::parse(value)?;
        let unsupported = |expected: &'static str| malformed(ParseError::new(0, expected));
        let algorithm = fields.get("algorithm").unwrap_or("MD5");
        let qop = fields.get("qop");
        let has_auth = qop.is_some_and(|q| q.split(',').any(|o| trim(o).eq_ignore_ascii_case("auth")));
        if qop.is_some() && !has_auth {
            return Err(unsupported("qop auth"));
        }
        Ok(Self {
            realm: fields.need("realm")?.to_owned(),
            nonce: fields.need("nonce")?.to_owned(),
            opaque: fields.get("opaque").map(str::to_owned),
            algorithm: Algorithm::parse(algorithm).ok_or_else(|| unsupported("MD5 or SHA-256"))?,
            qop: has_auth,
            stale: fields.get("stale").is_some_and(|s| s.eq_ignore_ascii_case("true")),
        })
    }
}

fn malformed(at: ParseError) -> Error {
    Error::Malformed { what: "Digest header", at }
}

/// `Digest name=value, name="value" ...`
struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(value: &str) -> Result<Self, Error> {
        let (scheme, rest) = value.split_once([' ', '\t']).unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(malformed(ParseError::new(0, "Digest")));
        }
        let mut fields = Vec::new();
        for element in split_list(rest) {
            let (at, field) = element.map_err(malformed)?;
            let missing = || malformed(ParseError::new(scheme.len() + 1 + at, "name=value"));
            let (name, value) = field.split_once('=').ok_or_else(missing)?;
            let name = trim(name).to_ascii_lowercase();
            // Said twice, it is open which one counts.
            if fields.iter().any(|(n, _)| *n == name) {
                return Err(malformed(ParseError::new(scheme.len() + 1 + at, "each field once")));
            }
            fields.push((name, unquote(trim(value)).into_owned()));
        }
        Ok(Self(fields))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn need(&self, name: &'static str) -> Result<&str, Error> {
        self.get(name).filter(|v| is_printable(v.as_bytes())).ok_or(Error::Missing(name))
    }
}
