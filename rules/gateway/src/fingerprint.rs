//! `a=fingerprint` in Local and Remote (RFC 8122 §5): the certificate that the gateway shows, and those
//! that the peer may show.
//!
//! Leaves out: hashing. The media engine has the certificates.

use carnet_sdp::Fingerprint;

use crate::error::Fault;

/// Fingerprints of one description; nobody has so many certificates.
const MOST: usize = 16;

/// What a description says of certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fingerprints {
    /// `SHA-256 $`: the gateway is to end TLS, and to say what its certificate's is. The name of the hash.
    pub(crate) asked: Option<String>,
    /// Values as they stand there, the preferred one first, and whether a certificate can be held against
    /// them.
    given: Vec<(bool, String)>,
}

impl Fingerprints {
    /// Reads the value of one more attribute.
    pub(crate) fn take(&mut self, value: &str) -> Result<(), Fault> {
        let syntax = || Fault::request(474, format!("Invalid SDP: a=fingerprint:{value}"));
        let fingerprint = Fingerprint::parse(value).ok_or_else(syntax)?;
        if fingerprint.value == "$" {
            if self.asked.replace(fingerprint.hash.to_owned()).is_some() {
                return Err(Fault::unsupported(501, "Not implemented: several fingerprints to be chosen"));
            }
            return Ok(());
        }
        if !fingerprint.is_well_formed() {
            return Err(syntax());
        }
        if self.given.len() == MOST {
            return Err(Fault::exhausted(510, format!("More than {MOST} fingerprints in one description")));
        }
        self.given.push((fingerprint.is_binding(), value.trim().to_owned()));
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
        let binding = self.given.iter().filter(|(binding, _)| *binding);
        binding.map(|(_, value)| value.clone()).collect()
    }

    /// Whether there are some, and a certificate can be held against none of them.
    pub(crate) fn is_useless(&self) -> bool {
        !self.given.is_empty() && self.given.iter().all(|(binding, _)| !binding)
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
        assert!(read(&["sha-256 $"]).unwrap().asked.as_deref() == Some("sha-256"));
    }

    #[test]
    fn hexadecimal_is_compared_without_case() {
        assert!(read(&[EXAMPLE]).unwrap().repeats(&EXAMPLE.to_lowercase()));
        assert!(!read(&[EXAMPLE]).unwrap().repeats(&EXAMPLE.replace("12:DF", "12:DE")));
    }
}
