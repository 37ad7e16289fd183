//! Who is taken for the peer: whoever shows a certificate with an announced fingerprint (RFC 8122 §5) and
//! holds its key.

use super::key_info::KeyInfo;
use crate::Fingerprint;
use crate::certificate::Announced;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
};

/// What may have signed a handshake, best first. SHA-1 may not.
const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];
/// `rsaEncryption` with its NULL (RFC 3279 §2.3.1).
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// Bits of RSA keys that only OpenSSL checks signatures of.
const SHORT_RSA: std::ops::Range<u32> = 1024..2048;

/// The one of one association.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) announced: Announced,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Judge {
    fn certificate(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        let list = self.announced.get().map_or(&[][..], |list| list);
        // The error that is answered with the alert `bad_certificate` (RFC 8122 §6.2).
        match Fingerprint::any_match_der(list, shown) {
            true => Ok(()),
            false => Err(CertificateError::BadEncoding.into()),
        }
    }

    /// RFC 8446 §4.4.3, RFC 5246 §7.4.8.
    fn signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        curve_is_named: bool,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bad = || Error::from(CertificateError::BadSignature);
        let info = KeyInfo::of(shown).ok_or(CertificateError::BadEncoding)?;
        let known = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let candidates = match known {
            Some((_, candidates)) if SCHEMES.contains(&signed.scheme) => *candidates,
            _ => return Err(PeerIncompatible::NoSignatureSchemesInCommon.into()),
        };
        // In TLS 1.2 a scheme names a hash only, and any curve may go with it.
        let candidates = if curve_is_named { candidates.get(..1).unwrap_or_default() } else { candidates };
        let valid = candidates.iter().any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == info.algorithm
                && algorithm.verify_signature(info.key, message, signed.signature()).is_ok()
        });
        if valid || short_rsa(&info, signed.scheme, message, signed.signature()) == Some(true) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(bad())
    }

    fn signature_12(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, shown, signed, false)
    }

    fn signature_13(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // RFC 8446 §4.2.3: PKCS #1 v1.5 signs certificates only.
        match signed.scheme {
            SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512 => Err(PeerIncompatible::NoSignatureSchemesInCommon.into()),
            _ => self.signature(message, shown, signed, true),
        }
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.certificate(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature_12(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature_13(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.certificate(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature_12(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature_13(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

/// Signatures of old terminals, whose keys the library does not take. `None`: not such a key.
fn short_rsa(info: &KeyInfo<'_>, scheme: SignatureScheme, message: &[u8], signature: &[u8]) -> Option<bool> {
    let (digest, padding) = match scheme {
        SignatureScheme::RSA_PSS_SHA256 => (MessageDigest::sha256(), Padding::PKCS1_PSS),
        SignatureScheme::RSA_PSS_SHA384 => (MessageDigest::sha384(), Padding::PKCS1_PSS),
        SignatureScheme::RSA_PSS_SHA512 => (MessageDigest::sha512(), Padding::PKCS1_PSS),
        SignatureScheme::RSA_PKCS1_SHA256 => (MessageDigest::sha256(), Padding::PKCS1),
        SignatureScheme::RSA_PKCS1_SHA384 => (MessageDigest::sha384(), Padding::PKCS1),
        SignatureScheme::RSA_PKCS1_SHA512 => (MessageDigest::sha512(), Padding::PKCS1),
        _ => return None,
    };
    // A modulus of 2048 bits alone has more octets.
    if info.algorithm != RSA || info.key.len() > 256 {
        return None;
    }
    let key = PKey::public_key_from_der(info.whole).ok()?;
    if !SHORT_RSA.contains(&key.bits()) {
        return None;
    }
    let mut verifier = Verifier::new(digest, &key).ok()?;
    verifier.set_rsa_padding(padding).ok()?;
    if padding == Padding::PKCS1_PSS {
        verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).ok()?;
        verifier.set_rsa_mgf1_md(digest).ok()?;
    }
    verifier.verify_oneshot(signature, message).ok()
}
