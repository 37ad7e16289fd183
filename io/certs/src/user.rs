//! The user's side: what it signs with, and what it seals envelopes with.

use crate::{Error, PKCS1, PSS, is_strong};
use carnet_mikey::Error as Mikey;
use carnet_mikey::exchange::public_key::{Envelope, Signer};
use openssl::encrypt::Encrypter;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer as Make};
use openssl::x509::X509;

/// A private key with the certificates that go with it.
pub struct Signature {
    key: PKey<Private>,
    chain: Vec<Vec<u8>>,
    pss: bool,
}

impl Signature {
    /// From PEM: the user's certificate, then those that vouch for it in order; and its private
    /// key. Signs with PSS or with PKCS#1 v1.5.
    ///
    /// # Errors
    /// If one of them is not PEM, or the key is not the certificate's or not RSA of 2048 bits.
    pub fn from_pem(certificates: &[u8], key: &[u8], pss: bool) -> Result<Self, Error> {
        let unreadable = |e| Error::Unreadable("the certificate", e);
        let chain = X509::stack_from_pem(certificates).map_err(unreadable)?;
        let key = PKey::private_key_from_pem(key).map_err(|e| Error::Unreadable("the private key", e))?;
        let public = chain.first().ok_or(Error::Empty)?.public_key().map_err(unreadable)?;
        if !public.public_eq(&key) {
            return Err(Error::Mismatch);
        }
        if !is_strong(&key) {
            return Err(Error::Key);
        }
        let chain = chain.iter().map(|c| c.to_der()).collect::<Result<_, _>>().map_err(unreadable)?;
        Ok(Self { key, chain, pss })
    }

    fn make(&self, octets: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let mut make = Make::new(MessageDigest::sha256(), &self.key)?;
        if self.pss {
            make.set_rsa_padding(Padding::PKCS1_PSS)?;
            make.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        make.sign_oneshot_to_vec(octets)
    }
}

impl Signer for Signature {
    fn sign_type(&self) -> u8 {
        if self.pss { PSS } else { PKCS1 }
    }

    fn signature_len(&self) -> usize {
        self.key.size()
    }

    fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, Mikey> {
        self.make(octets).map_err(|_| Mikey::Key("the library does not sign with this key"))
    }

    fn certificates(&self) -> &[Vec<u8>] {
        &self.chain
    }
}

/// The public key of a key management service.
pub struct EnvelopeFor(PKey<Public>);

impl EnvelopeFor {
    /// From the service's certificate in PEM.
    ///
    /// # Errors
    /// If it is not PEM, or its key not RSA of 2048 bits.
    pub fn from_pem(certificate: &[u8]) -> Result<Self, Error> {
        let unreadable = |e| Error::Unreadable("the certificate", e);
        let key = X509::from_pem(certificate).and_then(|c| c.public_key()).map_err(unreadable)?;
        if is_strong(&key) { Ok(Self(key)) } else { Err(Error::Key) }
    }

    fn encrypt(&self, env_key: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let mut encrypter = Encrypter::new(&self.0)?;
        encrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
        let mut sealed = vec![0; encrypter.encrypt_len(env_key)?];
        let len = encrypter.encrypt(env_key, &mut sealed)?;
        sealed.truncate(len);
        Ok(sealed)
    }
}

impl Envelope for EnvelopeFor {
    fn seal(&self, env_key: &[u8]) -> Result<Vec<u8>, Mikey> {
        self.encrypt(env_key).map_err(|_| Mikey::Key("the library does not encrypt with this key"))
    }
}
