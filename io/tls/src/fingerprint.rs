//! Certificate fingerprints as SDP carries them (RFC 8122 §5).
//!
//! SHA-256, SHA-384 and SHA-512 are known. MD5, MD2 (forbidden by §5) and SHA-1 are not accepted.

use crate::Error;
use openssl::hash::MessageDigest;
use openssl::sha;
use openssl::x509::X509Ref;
use std::fmt;
use std::str::FromStr;

/// The hash function of a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// `sha-256`, the one that is sent.
    Sha256,
    /// `sha-384`
    Sha384,
    /// `sha-512`
    Sha512,
}

impl Digest {
    /// Its name in SDP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    fn octets(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn algorithm(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }
}

/// The digest of a certificate in DER form. Prints as the value of `a=fingerprint`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    digest: Digest,
    octets: Vec<u8>,
}

impl Fingerprint {
    /// The SHA-256 fingerprint of `certificate`.
    pub(crate) fn of(certificate: &X509Ref) -> Result<Self, Error> {
        Self::with(Digest::Sha256, certificate)
    }

    /// The SHA-256 fingerprint of a certificate in DER form.
    pub(crate) fn of_der(certificate: &[u8]) -> Self {
        Self::with_der(Digest::Sha256, certificate)
    }

    fn with_der(digest: Digest, certificate: &[u8]) -> Self {
        let octets = match digest {
            Digest::Sha256 => sha::sha256(certificate).to_vec(),
            Digest::Sha384 => sha::sha384(certificate).to_vec(),
            Digest::Sha512 => sha::sha512(certificate).to_vec(),
        };
        Self { digest, octets }
    }

    fn with(digest: Digest, certificate: &X509Ref) -> Result<Self, Error> {
        let octets =
            certificate.digest(digest.algorithm()).map_err(Error::library("hashing a certificate"))?.to_vec();
        Ok(Self { digest, octets })
    }

    /// The hash function.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest itself.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whether `certificate` satisfies a peer's list of fingerprints.
    ///
    /// RFC 8122 §5: a peer may announce several certificates and several hashes of each. The most
    /// preferred hash in the list is checked, and one match among those of that hash is enough.
    pub(crate) fn any_match(announced: &[Self], certificate: &X509Ref) -> bool {
        let Some(best) = announced.iter().map(|f| f.digest).min() else { return false };
        Self::with(best, certificate).is_ok_and(|found| announced.contains(&found))
    }

    /// The same for a certificate in DER form.
    pub(crate) fn any_match_der(announced: &[Self], certificate: &[u8]) -> bool {
        let Some(best) = announced.iter().map(|f| f.digest).min() else { return false };
        announced.contains(&Self::with_der(best, certificate))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digest.name())?;
        for (i, octet) in self.octets.iter().enumerate() {
            write!(f, "{}{octet:02X}", if i == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    /// Reads `hash-func SP 2UHEX *(":" 2UHEX)`. Lower-case hex digits are taken too.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, value) = text
            .trim()
            .split_once(' ')
            .ok_or(Error::FingerprintSyntax("hash function and value expected"))?;
        let digest = [Digest::Sha256, Digest::Sha384, Digest::Sha512]
            .into_iter()
            .find(|d| d.name().eq_ignore_ascii_case(name))
            .ok_or(Error::FingerprintSyntax("sha-256, sha-384 or sha-512 expected"))?;
        let octets = value
            .split(':')
            .map(|pair| match pair.as_bytes() {
                [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => u8::from_str_radix(pair, 16).ok(),
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()
            .ok_or(Error::FingerprintSyntax("pairs of hex digits between colons expected"))?;
        if octets.len() != digest.octets() {
            return Err(Error::FingerprintSyntax("the value is not as long as its hash"));
        }
        Ok(Self { digest, octets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 8122 §5 with its SHA-256 line.
    const EXAMPLE: &str = "sha-256 12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD";

    #[test]
    fn prints_what_it_read() {
        let read: Fingerprint = EXAMPLE.parse().unwrap();
        assert_eq!(read.to_string(), EXAMPLE);
        assert_eq!(EXAMPLE.to_lowercase().parse::<Fingerprint>().unwrap(), read);
    }

    #[test]
    fn what_is_not_acceptable_is_refused() {
        for bad in [
            "",
            "sha-256",
            "md5 12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82",
            "sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB",
            "sha-256 12:DF",
            &EXAMPLE.replace("12:DF", "1:2DF"),
            &EXAMPLE.replace("12:DF", "+2:DF"),
            &EXAMPLE.replace("12:DF", "12:é"),
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
