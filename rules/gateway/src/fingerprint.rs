//! `a=fingerprint` in Local and Remote (RFC 8122 §5): the certificate that the gateway shows, and those
//! that the peer may show.
//!
//! Leaves out: hashing. The media engine has the certificates.

use crate::error::Fault;

/// Fingerprints of one description; nobody has so many certificates.
const MOST: usize = 16;

/// The hash function of a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
    /// One that is not acceptable (RFC 8122 §5: MD2, MD5), not any more (SHA-1), or unheard of.
    Other,
}

/// What a description says of certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fingerprints {
    /// `SHA-256 $`: the gateway is to end TLS, and to say what its certificate's is.
    pub(crate) asked: Option<Hash>,
    /// Values as they stand there, the preferred one first.
    given: Vec<(Hash, String)>,
}

impl Hash {
    fn named(name: &str) -> Self {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        if is("SHA-256") {
            Self::Sha256
        } else if is("SHA-384") {
            Self::Sha384
        } else if is("SHA-512") {
            Self::Sha512
        } else {
            Self::Other
        }
    }

    fn octets(self) -> Option<usize> {
        match self {
            Self::Sha256 => Some(32),
            Self::Sha384 => Some(48),
            Self::Sha512 => Some(64),
            Self::Other => None,
        }
    }
}

impl Fingerprints {
    /// Reads the value of one more attribute.
    pub(crate) fn take(&mut self, value: &str) -> Result<(), Fault> {
        let syntax = || Fault::request(474, format!("Invalid SDP: a=fingerprint:{value}"));
        let (name, digest) = value.trim().split_once(' ').ok_or_else(syntax)?;
        let hash = Hash::named(name);
        if digest == "$" {
            if self.asked.replace(hash).is_some() {
                return Err(Fault::unsupported(501, "Not implemented: several fingerprints to be chosen"));
            }
            return Ok(());
        }
        let mut count = 0;
        for pair in digest.split(':') {
            count += 1;
            if !matches!(pair.as_bytes(), [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()) {
                return Err(syntax());
            }
        }
        if hash.octets().is_some_and(|octets| octets != count) {
            return Err(syntax());
        }
        if self.given.len() == MOST {
            return Err(Fault::exhausted(510, format!("More than {MOST} fingerprints in one description")));
        }
        self.given.push((hash, value.trim().to_owned()));
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_none() && self.given.is_empty()
    }

    /// Whether a certificate is named.
    pub(crate) fn is_given(&self) -> bool {
        !self.given.is_empty()
    }

    /// Those that a certificate can be held against.
    pub(crate) fn usable(&self) -> Vec<String> {
        let known = self.given.iter().filter(|(hash, _)| *hash != Hash::Other);
        known.map(|(_, value)| value.clone()).collect()
    }

    /// Whether there are some, and a certificate can be held against none of them.
    pub(crate) fn is_useless(&self) -> bool {
        !self.given.is_empty() && self.given.iter().all(|(hash, _)| *hash == Hash::Other)
    }

    /// Whether what Local repeats is the certificate that there is.
    pub(crate) fn repeats(&self, own: &str) -> bool {
        self.given.iter().all(|(_, value)| value.eq_ignore_ascii_case(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 value of RFC 8122 §5.
    const EXAMPLE: &str = "SHA-256 12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD";

    fn read(values: &[&str]) -> Result<Fingerprints, u16> {
        let mut all = Fingerprints::default();
        for value in values {
            all.take(value).map_err(|fault| fault.code())?;
        }
        Ok(all)
    }

    #[test]
    fn what_is_malformed_is_invalid_sdp() {
        for bad in [
            "SHA-256",
            "SHA-256 12:DF",
            "SHA-256 $ $",
            &EXAMPLE.replace("12:DF", "1:2DF"),
            &EXAMPLE.replace("12:DF", "+2:DF"),
            &EXAMPLE.replace("12:DF", "12:é"),
            &EXAMPLE.replace("SHA-256", "SHA-512"),
            "md5 xy",
        ] {
            assert_eq!(read(&[bad]), Err(474), "{bad}");
        }
        assert_eq!(read(&["SHA-256 $", "SHA-512 $"]), Err(501));
        assert_eq!(read(&[EXAMPLE; MOST + 1]), Err(510));
    }

    #[test]
    fn those_that_prove_nothing_are_left_aside() {
        let md5 = "md5 12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82";
        let both = read(&[md5, EXAMPLE]).unwrap();
        assert_eq!((both.usable(), both.is_useless()), (vec![EXAMPLE.to_owned()], false));
        assert!(read(&[md5]).unwrap().is_useless() && !read(&[]).unwrap().is_useless());
        assert!(read(&["sha-256 $"]).unwrap().asked == Some(Hash::Sha256));
    }

    #[test]
    fn hexadecimal_is_compared_without_case() {
        assert!(read(&[EXAMPLE]).unwrap().repeats(&EXAMPLE.to_lowercase()));
        assert!(!read(&[EXAMPLE]).unwrap().repeats(&EXAMPLE.replace("12:DF", "12:DE")));
    }
}
