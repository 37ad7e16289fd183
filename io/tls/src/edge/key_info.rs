//! The public key in a certificate (RFC 5280 §4.1), found without judging the rest of it.
//!
//! A certificate that is known by its fingerprint may be of version 1, expired, or have extensions that
//! nobody knows (RFC 8122 §5 looks at none of that). Only the way to `subjectPublicKeyInfo` is read: DER
//! with definite lengths of at most four octets. Left out: everything else.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// `[0]` of `TBSCertificate`: its version, absent in version 1.
const VERSION: u8 = 0xa0;

/// A `SubjectPublicKeyInfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyInfo<'a> {
    /// All of it.
    pub(super) whole: &'a [u8],
    /// Inside the `AlgorithmIdentifier`: what kind of key it is, and on which curve.
    pub(super) algorithm: &'a [u8],
    /// The key itself.
    pub(super) key: &'a [u8],
}

impl<'a> KeyInfo<'a> {
    /// `None` if this is no certificate.
    pub(super) fn of(certificate: &'a [u8]) -> Option<Self> {
        let (mut signed, _) = inside(SEQUENCE, inside(SEQUENCE, certificate)?.0)?;
        if signed.first() == Some(&VERSION) {
            signed = inside(VERSION, signed)?.1;
        }
        // serialNumber, signature, issuer, validity, subject
        for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
            signed = inside(tag, signed)?.1;
        }
        let (info, rest) = inside(SEQUENCE, signed)?;
        let whole = signed.get(..signed.len() - rest.len())?;
        let (algorithm, info) = inside(SEQUENCE, info)?;
        // Keys have whole octets.
        let (0, key) = inside(BIT_STRING, info)?.0.split_first().map(|(unused, key)| (*unused, key))? else {
            return None;
        };
        Some(Self { whole, algorithm, key })
    }
}

/// The contents of the first value, which has this tag, and what follows it.
fn inside(tag: u8, octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = octets.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let mut length = usize::from(first);
    if first >= 0x80 {
        let octets = usize::from(first & 0x7f);
        if !(1..=4).contains(&octets) {
            return None;
        }
        let (long, after) = rest.split_at_checked(octets)?;
        length = long.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
        rest = after;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Credential;

    #[test]
    fn finds_the_key_that_the_other_library_finds() {
        let certificate = Credential::self_signed(&[], 1).unwrap().certificate().clone();
        let der = certificate.to_der().unwrap();
        let found = KeyInfo::of(&der).unwrap();
        assert_eq!(found.whole, certificate.public_key().unwrap().public_key_to_der().unwrap());
        // id-ecPublicKey, prime256v1; an uncompressed point.
        assert_eq!((found.algorithm.len(), found.key.len(), found.key[0]), (19, 65, 4));
    }

    #[test]
    fn what_is_cut_or_bent_is_none() {
        let der = Credential::self_signed(&[], 1).unwrap().certificate().to_der().unwrap();
        let info = KeyInfo::of(&der).unwrap();
        let end = info.whole.as_ptr() as usize - der.as_ptr() as usize + info.whole.len();
        for length in 0..end {
            assert_eq!(KeyInfo::of(&der[..length]), None, "{length}");
        }
        for at in 0..end {
            for octet in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut bent = der.clone();
                bent[at] = octet;
                // Nothing panics, and what is found lies inside.
                if let Some(info) = KeyInfo::of(&bent) {
                    assert!(info.whole.len() < der.len());
                }
            }
        }
    }
}
