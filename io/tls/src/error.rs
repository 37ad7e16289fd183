//! What can go wrong with a TLS association, whose fault it is, and how to say it to a person.
//!
//! OpenSSL reports a peer's alert as reason 1000 + alert number, and its own findings by its own
//! reason numbers. Both are sorted here once, so that nothing above reads OpenSSL's texts.

use openssl::error::ErrorStack;
use openssl::ssl;
use std::io;
use std::time::Duration;

/// Who has to change something before the association can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Our settings or what our caller passed.
    Ours,
    /// What the peer sent or failed to hold.
    Peer,
    /// The connection below TLS.
    Network,
    /// The two ends disagree; either may be right.
    Either,
}

/// An association that could not be made, or a context that could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A PSK identity that cannot be sent (RFC 4279 §5.3).
    #[error("a PSK identity has 1 to 128 octets and no NUL; this one has {0} octets")]
    Identity(usize),
    /// A key too short to be safe (RFC 9257 §6) or longer than peers must take (RFC 4279 §5.3).
    #[error("a pre-shared key has 16 to 64 octets; this one has {0}")]
    KeyLength(usize),
    /// A keyring that may hold no more keys.
    #[error("the keyring is full ({0} keys)")]
    KeyringFull(usize),
    /// The identity is bound already.
    #[error("the identity {0:?} is bound to a key already")]
    IdentityBound(String),
    /// We do not hold a key for the identity that the peer sent.
    #[error("the peer named the key {0:?}, which is not known here")]
    UnknownIdentity(String),
    /// The peer does not hold a key for the identity that we sent.
    #[error("the peer does not know the key {0:?}")]
    IdentityRefused(String),
    /// Both know the identity but hold different keys.
    #[error("the two ends hold different keys under this identity")]
    WrongKey,
    /// The key was used for an association already (one key, one association).
    #[error("the key {0:?} was used for another association already")]
    KeyUsed(String),
    /// No cipher suite, group or signature algorithm in common.
    #[error("no cipher suite in common with the peer")]
    NoCommonSuite,
    /// No protocol version in common.
    #[error("no TLS version in common with the peer (1.2 and 1.3 are offered here)")]
    NoCommonVersion,
    /// The peer wants certificates where only a pre-shared key will do.
    #[error("the peer does not use the pre-shared key")]
    NotPsk,
    /// The peer refused without saying which part it did not like (alert `handshake_failure`).
    #[error("the peer refused the handshake: it knows no such key, or has no cipher suite in common")]
    Refused,
    /// The peer's certificate is not the one announced (RFC 8122 §5).
    #[error("the peer's certificate does not match the fingerprint that was announced")]
    Fingerprint,
    /// The peer's certificate is not trusted, expired, or for another name.
    #[error("the peer's certificate is not accepted: {0}")]
    Certificate(String),
    /// The peer showed no certificate where it must.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The peer did not accept our certificate, or wanted one that we do not have.
    #[error("the peer did not accept our certificate ({0})")]
    CertificateRefused(String),
    /// A fingerprint that is not `hash-func SP HH:HH:…` or uses a hash that is not acceptable.
    #[error("not an acceptable fingerprint: {0}")]
    FingerprintSyntax(&'static str),
    /// What was passed cannot work together.
    #[error("{0}")]
    Misuse(&'static str),
    /// What the peer sends is not TLS.
    #[error("what the peer sends is not TLS")]
    NotTls,
    /// The connection ended before the handshake did.
    #[error("the peer closed the connection during the handshake")]
    PeerClosed,
    /// The handshake took too long.
    #[error("the handshake was not done after {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The connection below failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// Another alert or finding of the handshake.
    #[error("the handshake failed: {0}")]
    Protocol(String),
    /// The library refused a setting, a certificate or a key file.
    #[error("{what}: {source}")]
    Library {
        /// What was being set up.
        what: &'static str,
        /// What the library says.
        source: ErrorStack,
    },
    /// A file could not be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Identity(_)
            | Self::KeyLength(_)
            | Self::KeyringFull(_)
            | Self::IdentityBound(_)
            | Self::KeyUsed(_)
            | Self::FingerprintSyntax(_)
            | Self::Misuse(_)
            | Self::Library { .. }
            | Self::File { .. } => Fault::Ours,
            Self::UnknownIdentity(_)
            | Self::NotPsk
            | Self::Fingerprint
            | Self::Certificate(_)
            | Self::NoCertificate
            | Self::NotTls
            | Self::Protocol(_) => Fault::Peer,
            Self::PeerClosed | Self::Timeout(_) | Self::Io(_) => Fault::Network,
            Self::IdentityRefused(_)
            | Self::WrongKey
            | Self::NoCommonSuite
            | Self::NoCommonVersion
            | Self::Refused
            | Self::CertificateRefused(_) => Fault::Either,
        }
    }

    /// What ended a stream inside TLS: an alert of the peer, as the refusal of our certificate in TLS 1.3,
    /// or the connection below.
    pub fn of_stream(error: io::Error) -> Self {
        match error.downcast::<ssl::Error>() {
            Ok(error) => Self::from_handshake(error),
            Err(error) => Self::Io(error),
        }
    }

    /// Wraps what the library says about a setting.
    pub(crate) fn library(what: &'static str) -> impl Fn(ErrorStack) -> Self {
        move |source| Self::Library { what, source }
    }

    /// Sorts a failed handshake. What only the caller knows (identities, fingerprints) is refined
    /// there.
    pub(crate) fn from_handshake(error: ssl::Error) -> Self {
        if error.code() == ssl::ErrorCode::ZERO_RETURN {
            return Self::PeerClosed;
        }
        let Some(first) = error.ssl_error().and_then(|stack| stack.errors().first().cloned()) else {
            return match error.into_io_error() {
                Ok(e) if e.kind() == io::ErrorKind::UnexpectedEof => Self::PeerClosed,
                Ok(e) if e.kind() == io::ErrorKind::ConnectionReset => Self::PeerClosed,
                Ok(e) => Self::Io(e),
                // The system call returned nothing: the peer closed without a word.
                Err(_) => Self::PeerClosed,
            };
        };
        let text = first.reason().unwrap_or("unknown reason");
        match first.reason_code() {
            // Alerts of the peer, 1000 + number.
            alert @ 1000..=1255 => Self::of_alert(u8::try_from(alert - 1000).unwrap_or(u8::MAX), text),
            // Our own findings, numbered as in sslerr.h.
            223 | 114 => Self::UnknownIdentity(String::new()),
            253 | 281 | 149 => Self::WrongKey,
            193 | 410 | 181 => Self::NoCommonSuite,
            // A server without a certificate finds no signature algorithm for a client that
            // offers no key.
            118 | 376 => Self::NotPsk,
            258 | 396 | 191 => Self::NoCommonVersion,
            134 => Self::Certificate(text.to_owned()),
            199 => Self::NoCertificate,
            267 | 252 | 156 | 155 | 198 => Self::NotTls,
            294 => Self::PeerClosed,
            _ => Self::Protocol(text.to_owned()),
        }
    }

    /// What an alert of the peer means (RFC 8446 §6.2, RFC 4279 §2).
    fn of_alert(number: u8, text: &str) -> Self {
        match number {
            115 => Self::IdentityRefused(String::new()),
            // bad_record_mac, decryption_failed, decrypt_error: how a wrong key shows up.
            20 | 21 | 51 => Self::WrongKey,
            40 => Self::Refused,
            70 => Self::NoCommonVersion,
            71 => Self::NoCommonSuite,
            // bad_certificate to unknown_ca, access_denied, certificate_required.
            42..=46 | 48 | 49 | 116 => Self::CertificateRefused(text.to_owned()),
            _ => Self::Protocol(text.to_owned()),
        }
    }

    /// Sorts what went wrong at the edge.
    pub(crate) fn of_rustls(error: rustls::Error) -> Self {
        use rustls::{Error as Rustls, InvalidMessage, PeerIncompatible as Incompatible};
        match error {
            Rustls::AlertReceived(alert) => {
                let name = alert.as_str().map_or_else(|| format!("{alert:?}"), spaced);
                Self::of_alert(u8::from(alert), &name)
            }
            Rustls::InvalidCertificate(rustls::CertificateError::BadEncoding) => Self::Fingerprint,
            Rustls::NoCertificatesPresented => Self::NoCertificate,
            Rustls::PeerIncompatible(
                Incompatible::ServerDoesNotSupportTls12Or13
                | Incompatible::ServerTlsVersionIsDisabledByOurConfig
                | Incompatible::SupportedVersionsExtensionRequired
                | Incompatible::Tls12NotOffered
                | Incompatible::Tls12NotOfferedOrEnabled
                | Incompatible::SignatureAlgorithmsExtensionRequired,
            ) => Self::NoCommonVersion,
            Rustls::PeerIncompatible(_) => Self::NoCommonSuite,
            Rustls::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => Self::NotTls,
            other => Self::Protocol(other.to_string()),
        }
    }
}

/// `BadRecordMac` as `bad record mac`.
fn spaced(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
