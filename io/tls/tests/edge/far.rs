//! The peer: OpenSSL's library, which takes any certificate and says what alert it got.

use carnet_tls::{Fingerprint, Side};
use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::{X509, X509Extension, X509NameBuilder};
use std::io::{Read, Write};
use std::net::TcpStream;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    P256,
    P384,
    P521,
    Ed25519,
    Ed448,
    Rsa(u32),
    /// A certificate of version 1.
    First,
    /// With a critical extension that nobody knows, and long expired.
    Odd,
}

impl Kind {
    /// Of those that terminals show. With Ed448 signs nobody but a realm that was given such a key.
    pub const ALL: [Self; 9] = [
        Self::P256,
        Self::P384,
        Self::P521,
        Self::Ed25519,
        Self::Rsa(1024),
        Self::Rsa(2048),
        Self::Rsa(4096),
        Self::First,
        Self::Odd,
    ];

    fn key(self) -> PKey<Private> {
        let curve = |nid| {
            PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(nid).unwrap()).unwrap()).unwrap()
        };
        match self {
            Self::P256 | Self::First | Self::Odd => curve(Nid::X9_62_PRIME256V1),
            Self::P384 => curve(Nid::SECP384R1),
            Self::P521 => curve(Nid::SECP521R1),
            Self::Ed25519 => PKey::generate_ed25519().unwrap(),
            Self::Ed448 => PKey::generate_ed448().unwrap(),
            Self::Rsa(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
        }
    }
}

/// A certificate and its key.
pub struct Shown {
    certificate: X509,
    key: PKey<Private>,
}

impl Shown {
    pub fn new(kind: Kind) -> Self {
        let key = kind.key();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "terminal").unwrap();
        let name = name.build();
        let mut made = X509::builder().unwrap();
        made.set_version(if kind == Kind::First { 0 } else { 2 }).unwrap();
        made.set_subject_name(&name).unwrap();
        made.set_issuer_name(&name).unwrap();
        made.set_pubkey(&key).unwrap();
        let (from, until) = if kind == Kind::Odd { (1_000, 2_000) } else { (1_000, 4_000_000_000) };
        made.set_not_before(&Asn1Time::from_unix(from).unwrap()).unwrap();
        made.set_not_after(&Asn1Time::from_unix(until).unwrap()).unwrap();
        if kind == Kind::Odd {
            let oid = Asn1Object::from_str("1.3.6.1.4.1.99999.1").unwrap();
            let octets = Asn1OctetString::new_from_bytes(b"\x05\x00").unwrap();
            made.append_extension(X509Extension::new_from_der(&oid, true, &octets).unwrap()).unwrap();
        }
        let digest = match key.id() {
            Id::ED25519 | Id::ED448 => MessageDigest::null(),
            _ => MessageDigest::sha256(),
        };
        made.sign(&key, digest).unwrap();
        Self { certificate: made.build(), key }
    }

    pub fn fingerprint(&self, hash: &str) -> Fingerprint {
        let digest = MessageDigest::from_name(&hash.replace('-', "")).unwrap();
        format!("{hash} {}", hex(&self.certificate.digest(digest).unwrap())).parse().unwrap()
    }

    pub fn pem(&self) -> (Vec<u8>, Vec<u8>) {
        (self.certificate.to_pem().unwrap(), self.key.private_key_to_pem_pkcs8().unwrap())
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
}

pub struct Far {
    context: SslContext,
    takes: bool,
}

impl Far {
    pub fn new(shown: &Shown) -> Self {
        let mut context = SslContext::builder(SslMethod::tls()).unwrap();
        // Short keys are only used by those who think them long enough.
        context.set_security_level(0);
        context.set_certificate(&shown.certificate).unwrap();
        context.set_private_key(&shown.key).unwrap();
        Self { context: context.build(), takes: true }
    }

    /// One without a certificate.
    pub fn without() -> Self {
        Self { context: SslContext::builder(SslMethod::tls()).unwrap().build(), takes: true }
    }

    /// One that takes no certificate.
    pub fn refusing(mut self) -> Self {
        self.takes = false;
        self
    }

    /// The handshake with an end of this side. Its error is the library's reason.
    pub fn meet(&self, stream: TcpStream, other: Side) -> Result<Met, i32> {
        let mut ssl = Ssl::new(&self.context).unwrap();
        let takes = self.takes;
        ssl.set_verify_callback(SslVerifyMode::PEER, move |_, _| takes);
        let mut stream = SslStream::new(ssl, stream).unwrap();
        let outcome = match other {
            Side::Client => stream.accept(),
            Side::Server => stream.connect(),
        };
        outcome.map_err(|error| reason(&error))?;
        Ok(Met(stream))
    }
}

fn reason(error: &openssl::ssl::Error) -> i32 {
    error.ssl_error().and_then(|stack| stack.errors().first().map(|first| first.reason_code())).unwrap_or(-1)
}

pub struct Met(SslStream<TcpStream>);

impl Met {
    pub fn peer_fingerprint(&self) -> String {
        let shown = self.0.ssl().peer_certificate().unwrap();
        format!("sha-256 {}", hex(&shown.digest(MessageDigest::sha256()).unwrap()))
    }

    pub fn client_random(&self) -> [u8; 32] {
        let mut random = [0; 32];
        self.0.ssl().client_random(&mut random);
        random
    }

    pub fn write_all(&mut self, octets: &[u8]) {
        self.0.write_all(octets).unwrap();
    }

    pub fn read_to_close(&mut self) -> Vec<u8> {
        let mut got = Vec::new();
        self.0.read_to_end(&mut got).unwrap();
        got
    }

    /// Reads once, for what the peer says of our certificate in TLS 1.3.
    pub fn read_once(&mut self) -> Result<(), i32> {
        self.0.ssl_read(&mut [0; 16]).map(|_| ()).map_err(|error| reason(&error))
    }

    pub fn close(&mut self) {
        self.0.shutdown().unwrap();
    }

    /// Ends the connection below without a word.
    pub fn cut(self) {
        self.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    }
}
