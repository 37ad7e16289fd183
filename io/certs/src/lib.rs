//! Certificates in MIKEY: the RSA that signed requests to a key management service need (RFC 6043
//! §4.2.1.3, §4.2.3.3).
//!
//! [`Authorities`] is the service's side: it opens envelopes and says whose certificate it was
//! shown. [`Signature`] and [`EnvelopeFor`] are the user's. Signatures are RSA PKCS#1 v1.5 or PSS
//! over SHA-256; SHA-1, which RFC 3830 had in mind, is refused. Envelopes are sealed with OAEP and
//! opened with OAEP or PKCS#1 v1.5. Keys have 2048 bits or more.
//!
//! Left out: ECCSI signatures (S type 2), revocation lists, certificates by URL.

mod service;
mod user;

#[cfg(test)]
mod tests;

pub use service::Authorities;
pub use user::{EnvelopeFor, Signature};

use openssl::error::ErrorStack;
use openssl::pkey::{HasPublic, PKeyRef};

/// S types (RFC 3830 §6.5).
const PKCS1: u8 = 0;
const PSS: u8 = 1;

/// Shortest RSA key in bits.
const SHORTEST: u32 = 2048;

/// A file that does not hold what is needed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not PEM, or not of a kind the library knows.
    #[error("{0}: {1}")]
    Unreadable(&'static str, ErrorStack),
    /// There is none in it.
    #[error("there is no certificate in it")]
    Empty,
    /// Key and certificate do not belong together.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// Another kind of key, or a short one.
    #[error("an RSA key of 2048 bits or more is needed")]
    Key,
}

fn is_strong<T: HasPublic>(key: &PKeyRef<T>) -> bool {
    key.rsa().is_ok() && key.bits() >= SHORTEST
}
