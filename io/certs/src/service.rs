//! The service's side: its own private key, and the authorities it believes.

use crate::{Error, PKCS1, PSS, is_strong};
use carnet_keys::{Certified, PublicKeys};
use carnet_mikey::exchange::public_key::{Opener, Verifier};
use carnet_mikey::{EnvelopeKey, Error as Mikey, Feature, Identity};
use openssl::encrypt::Decrypter;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier as Check};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509StoreContext};
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// Certificates of one chain.
const LONGEST_CHAIN: usize = 8;

/// The private key of the service, and the authorities whose certificates it believes.
pub struct Authorities {
    key: PKey<Private>,
    roots: Vec<X509>,
}

impl Authorities {
    /// From PEM: the service's certificate and private key, and the authorities' certificates.
    ///
    /// # Errors
    /// If one of them is not PEM, if key and certificate do not belong together, or the key is not
    /// RSA of 2048 bits or more.
    pub fn from_pem(certificate: &[u8], key: &[u8], authorities: &[u8]) -> Result<Self, Error> {
        let certificate = X509::from_pem(certificate).map_err(|e| Error::Unreadable("the certificate", e))?;
        let key = PKey::private_key_from_pem(key).map_err(|e| Error::Unreadable("the private key", e))?;
        let roots = X509::stack_from_pem(authorities).map_err(|e| Error::Unreadable("the authorities", e))?;
        if roots.is_empty() {
            return Err(Error::Empty);
        }
        let public = certificate.public_key().map_err(|e| Error::Unreadable("the certificate", e))?;
        if !public.public_eq(&key) {
            return Err(Error::Mismatch);
        }
        if !is_strong(&key) {
            return Err(Error::Key);
        }
        Ok(Self { key, roots })
    }

    /// Whom to believe at `wall`.
    fn store(&self, wall: SystemTime) -> Result<X509Store, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for root in &self.roots {
            store.add_cert(root.clone())?;
        }
        let mut param = X509VerifyParam::new()?;
        let seconds = wall.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        param.set_time(seconds.try_into().unwrap_or(i64::MAX));
        store.set_param(&param)?;
        Ok(store.build())
    }

    fn vouched_for(&self, leaf: &X509, others: &[X509], wall: SystemTime) -> Result<bool, ErrorStack> {
        let store = self.store(wall)?;
        let mut chain = Stack::new()?;
        for certificate in others {
            chain.push(certificate.clone())?;
        }
        X509StoreContext::new()?.init(&store, leaf, &chain, |context| context.verify_cert())
    }

    fn decrypt(&self, sealed: &[u8], padding: Padding) -> Result<EnvelopeKey, ()> {
        let mut opener = Decrypter::new(&self.key).map_err(drop)?;
        opener.set_rsa_padding(padding).map_err(drop)?;
        let room = opener.decrypt_len(sealed).map_err(drop)?;
        let mut octets = Zeroizing::new(vec![0; room]);
        let len = opener.decrypt(sealed, &mut octets).map_err(drop)?;
        EnvelopeKey::new(octets.get(..len).unwrap_or_default()).map_err(drop)
    }
}

impl Opener for Authorities {
    fn open(&self, sealed: &[u8]) -> Result<EnvelopeKey, Mikey> {
        // The sender's signature was checked before: strangers cannot ask how an envelope fails.
        self.decrypt(sealed, Padding::PKCS1_OAEP)
            .or_else(|()| self.decrypt(sealed, Padding::PKCS1))
            .map_err(|()| Mikey::Authentication("the envelope does not open"))
    }
}

impl PublicKeys for Authorities {
    fn certified(&self, certificates: &[&[u8]], wall: SystemTime) -> Result<Certified, Mikey> {
        if certificates.len() > LONGEST_CHAIN {
            return Err(Mikey::Certificate("the chain is too long"));
        }
        let read = |der: &&[u8]| X509::from_der(der).map_err(|_| Mikey::Certificate("not X.509"));
        let chain = certificates.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let Some((leaf, others)) = chain.split_first() else {
            return Err(Mikey::Certificate("the request has none"));
        };
        if !self.vouched_for(leaf, others, wall).unwrap_or(false) {
            return Err(Mikey::Certificate("no known authority vouches for it"));
        }
        let key = leaf.public_key().map_err(|_| Mikey::Certificate("its key cannot be used"))?;
        if !is_strong(&key) {
            return Err(Mikey::Certificate("an RSA key of 2048 bits or more is needed"));
        }
        let names = leaf.subject_alt_names().into_iter().flatten();
        let uris: Vec<String> = names.filter_map(|name| name.uri().map(str::to_owned)).collect();
        let identities = uris.iter().filter_map(|uri| Identity::from_uri(uri).ok()).collect();
        Ok(Certified { identities, verifier: Box::new(Signer(key)) })
    }
}

/// The public key of one who signs.
struct Signer(PKey<Public>);

impl Signer {
    fn check(&self, sign_type: u8, octets: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        let mut check = Check::new(MessageDigest::sha256(), &self.0)?;
        if sign_type == PSS {
            check.set_rsa_padding(Padding::PKCS1_PSS)?;
            check.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        check.verify_oneshot(signature, octets)
    }
}

impl Verifier for Signer {
    fn verify(&self, sign_type: u8, octets: &[u8], signature: &[u8]) -> Result<(), Mikey> {
        if ![PKCS1, PSS].contains(&sign_type) {
            return Err(Mikey::Unsupported { feature: Feature::Signature(sign_type), at: 0 });
        }
        match self.check(sign_type, octets, signature) {
            Ok(true) => Ok(()),
            _ => Err(Mikey::Authentication("the signature is wrong")),
        }
    }
}
