//! Our own certificate with its private key: read from PEM, or made on the spot.
//!
//! Self-signed certificates serve media checked by fingerprint (RFC 8122 §3 lets them), the demo
//! and tests. For SIP and HTTPS in production an authority issues them.

use crate::{Error, Fingerprint};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslContextBuilder;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long ago a certificate began to be valid when it is made: clocks differ.
const EARLIER: Duration = Duration::from_secs(3600);

/// A name that a certificate is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectName {
    /// A host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI, as `sip:example.com` (RFC 5922 §7.1).
    Uri(String),
}

/// A certificate, those that vouch for it, and its private key. Clones share the key.
#[derive(Clone)]
pub struct Credential {
    certificate: X509,
    chain: Vec<X509>,
    key: PKey<Private>,
}

impl Credential {
    /// Makes a P-256 key and a certificate that it signs itself, valid from one hour ago (clocks
    /// differ) for `days`. The first name is also the common name.
    ///
    /// # Errors
    /// [`Error::Library`] if the library refuses, as for a name it cannot encode.
    pub fn self_signed(names: &[SubjectName], days: u32) -> Result<Self, Error> {
        let now = SystemTime::now();
        Self::self_signed_between(names, now - EARLIER, now + Duration::from_secs(u64::from(days) * 86_400))
    }

    /// The same, valid between two moments. Certificates know whole seconds.
    ///
    /// # Errors
    /// As [`self_signed`](Self::self_signed).
    pub fn self_signed_between(
        names: &[SubjectName],
        from: SystemTime,
        until: SystemTime,
    ) -> Result<Self, Error> {
        build(names, from, until).map_err(Error::library("making a self-signed certificate"))
    }

    /// Whether the certificate is valid for at least `within` after `now`.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn outlasts(&self, now: SystemTime, within: Duration) -> Result<bool, Error> {
        let failed = Error::library("reading the end of a certificate");
        let at = Asn1Time::from_unix(unix(now + within)).map_err(&failed)?;
        Ok(self.certificate.not_after().compare(&at).map_err(&failed)?.is_ge())
    }

    /// Reads a certificate (with the chain behind it, if any) and its private key.
    ///
    /// # Errors
    /// [`Error::Library`] if either is not PEM, [`Error::Misuse`] if they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, Error> {
        let mut chain =
            X509::stack_from_pem(certificates).map_err(Error::library("reading a certificate"))?;
        if chain.is_empty() {
            return Err(Error::Misuse("no certificate in the certificate file"));
        }
        let certificate = chain.remove(0);
        let key = PKey::private_key_from_pem(key).map_err(Error::library("reading a private key"))?;
        let public = certificate.public_key().map_err(Error::library("reading a certificate"))?;
        if !public.public_eq(&key) {
            return Err(Error::Misuse("the private key does not belong to the certificate"));
        }
        Ok(Self { certificate, chain, key })
    }

    /// The certificate and its chain as PEM. Public.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn certificate_pem(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        for certificate in std::iter::once(&self.certificate).chain(&self.chain) {
            out.extend(certificate.to_pem().map_err(Error::library("writing a certificate"))?);
        }
        Ok(out)
    }

    /// The private key as PEM, wiped when dropped: for writing to a file that only its owner reads.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn private_key_pem(&self) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
        let pem = self.key.private_key_to_pem_pkcs8().map_err(Error::library("writing a private key"))?;
        Ok(zeroize::Zeroizing::new(pem))
    }

    /// What goes into `a=fingerprint`: SHA-256 of the certificate.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn fingerprint(&self) -> Result<Fingerprint, Error> {
        Fingerprint::of(&self.certificate)
    }

    pub(crate) fn certificate(&self) -> &X509 {
        &self.certificate
    }

    /// The chain in DER form, our own certificate first, and the private key in that of PKCS #8.
    pub(crate) fn der(&self) -> Result<(Vec<Vec<u8>>, Vec<u8>), Error> {
        let failed = Error::library("using a certificate");
        let chain = std::iter::once(&self.certificate).chain(&self.chain).map(|one| one.to_der());
        let chain = chain.collect::<Result<_, _>>().map_err(&failed)?;
        Ok((chain, self.key.private_key_to_pkcs8().map_err(&failed)?))
    }

    pub(crate) fn install(&self, builder: &mut SslContextBuilder) -> Result<(), Error> {
        let failed = Error::library("using a certificate");
        builder.set_certificate(&self.certificate).map_err(&failed)?;
        builder.set_private_key(&self.key).map_err(&failed)?;
        for certificate in &self.chain {
            builder.add_extra_chain_cert(certificate.clone()).map_err(&failed)?;
        }
        builder.check_private_key().map_err(&failed)
    }
}

fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn build(names: &[SubjectName], from: SystemTime, until: SystemTime) -> Result<Credential, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;

    let mut subject = X509NameBuilder::new()?;
    let common = match names.first() {
        Some(SubjectName::Dns(name) | SubjectName::Uri(name)) => name.clone(),
        Some(SubjectName::Ip(address)) => address.to_string(),
        None => "carnet".to_owned(),
    };
    // X.520 bounds a common name at 64 characters; the full name stands in subjectAltName.
    subject.append_entry_by_nid(Nid::COMMONNAME, &common.chars().take(64).collect::<String>())?;
    let subject = subject.build();

    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;

    let mut x509 = X509::builder()?;
    x509.set_version(2)?;
    x509.set_serial_number(&*serial.to_asn1_integer()?)?;
    x509.set_subject_name(&subject)?;
    x509.set_issuer_name(&subject)?;
    x509.set_pubkey(&key)?;
    x509.set_not_before(&*Asn1Time::from_unix(unix(from))?)?;
    x509.set_not_after(&*Asn1Time::from_unix(unix(until))?)?;
    // A certificate that vouches for itself is its own authority when a file pins it.
    x509.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    x509.append_extension(ExtendedKeyUsage::new().server_auth().client_auth().build()?)?;
    if !names.is_empty() {
        let mut alternatives = SubjectAlternativeName::new();
        for name in names {
            match name {
                SubjectName::Dns(name) => alternatives.dns(name),
                SubjectName::Ip(address) => alternatives.ip(&address.to_string()),
                SubjectName::Uri(uri) => alternatives.uri(uri),
            };
        }
        let extension = alternatives.build(&x509.x509v3_context(None, None))?;
        x509.append_extension(extension)?;
    }
    x509.sign(&key, MessageDigest::sha256())?;
    Ok(Credential { certificate: x509.build(), chain: Vec::new(), key })
}
