//! The keys that protect one message or one ticket, and what is done with them (RFC 3830 §4.2,
//! RFC 6043 §5.1.2, §A.2.1).

use crate::error::Feature;
use crate::payload::{Kemac, KeyData, print_keys};
use crate::prf::{Constant, Inkey, MacKey, Purpose, label, put_constant};
use crate::registry::mac_alg;
use crate::{Error, Suite, Timestamp};
use aes::{Aes128, Aes256};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Octets of a salting key for AES in counter mode (RFC 3830 §4.2.3).
const SALT: usize = 14;

/// Authentication key of a message or ticket: all that is needed where nothing is encrypted.
pub struct AuthKey {
    suite: Suite,
    key: MacKey,
}

impl AuthKey {
    /// Derives it from a PSK, envelope key, MPK or TPK.
    pub fn derive(suite: Suite, inkey: &[u8], purpose: Purpose<'_>) -> Self {
        Self::from_inkey(suite, &Inkey::new(suite.prf(), inkey), &mut label(Constant::Auth, purpose))
    }

    fn from_inkey(suite: Suite, inkey: &Inkey, label: &mut [u8]) -> Self {
        put_constant(label, Constant::Auth);
        let octets = inkey.derive(label, suite.mac_len());
        Self { suite, key: MacKey::new(suite.prf(), &octets) }
    }

    /// The MAC over the concatenation of `parts`.
    pub fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        self.key.mac(parts).octets().to_vec()
    }

    /// Compares a received MAC with the right one, in constant time.
    pub fn verify(&self, alg: u8, mac: &[u8], parts: &[&[u8]], what: &'static str) -> Result<(), Error> {
        if alg != self.suite.mac_alg() {
            return Err(Error::unsupported(Feature::Mac(alg)));
        }
        if self.key.mac(parts).octets().ct_eq(mac).into() { Ok(()) } else { Err(Error::Authentication(what)) }
    }
}

/// Encryption, salting and authentication key of a message or ticket.
pub struct MessageKeys {
    csb_id: u32,
    encr: Zeroizing<Vec<u8>>,
    salt: Zeroizing<Vec<u8>>,
    auth: AuthKey,
}

impl MessageKeys {
    /// Derives them from a PSK, envelope key, MPK or TPK.
    pub fn derive(suite: Suite, inkey: &[u8], purpose: Purpose<'_>) -> Self {
        let csb_id = match purpose {
            Purpose::Message { csb_id, .. } => csb_id,
            _ => 0xFFFF_FFFF,
        };
        let inkey = Inkey::new(suite.prf(), inkey);
        let mut label = label(Constant::Encr, purpose);
        let encr = inkey.derive(&label, suite.key_len());
        put_constant(&mut label, Constant::Salt);
        let salt = inkey.derive(&label, SALT);
        Self { csb_id, encr, salt, auth: AuthKey::from_inkey(suite, &inkey, &mut label) }
    }

    /// Keys that were not derived.
    #[cfg(test)]
    pub(crate) fn for_test(suite: Suite, csb_id: u32, encr: &[u8], salt: &[u8]) -> Self {
        let key = |k: &[u8]| Zeroizing::new(k.to_vec());
        let auth = AuthKey { suite, key: MacKey::new(suite.prf(), &[]) };
        Self { csb_id, encr: key(encr), salt: key(salt), auth }
    }

    /// The authentication key among them.
    pub fn auth(&self) -> &AuthKey {
        &self.auth
    }

    /// Encrypts keys. `time` is that of the message or ticket that carries them.
    pub fn seal(&self, time: Timestamp, keys: &[KeyData]) -> Kemac {
        let mut octets = print_keys(keys);
        self.apply_keystream(time, &mut octets);
        Kemac {
            encr_alg: self.auth.suite.encr_alg(),
            encr_data: octets.to_vec(),
            // RFC 6043 §4.2.1.5: the MAC of the message is in V.
            mac_alg: mac_alg::NULL,
            mac: Vec::new(),
        }
    }

    /// Decrypts a KEMAC.
    pub fn open(&self, time: Timestamp, kemac: &Kemac) -> Result<Zeroizing<Vec<u8>>, Error> {
        if kemac.encr_alg != self.auth.suite.encr_alg() {
            return Err(Error::unsupported(Feature::Encryption(kemac.encr_alg)));
        }
        if kemac.mac_alg != mac_alg::NULL {
            return Err(Error::Rule("a KEMAC beside a V payload has no MAC of its own"));
        }
        let mut octets = Zeroizing::new(kemac.encr_data.clone());
        self.apply_keystream(time, &mut octets);
        Ok(octets)
    }

    /// RFC 3830 §4.2.3: AES in counter mode from an IV of salt, CSB ID and timestamp.
    fn apply_keystream(&self, time: Timestamp, octets: &mut [u8]) {
        let mut iv = [0; 16];
        let parts = self.csb_id.to_be_bytes().into_iter().chain(time.padded());
        iv.iter_mut().skip(2).zip(parts).for_each(|(iv, p)| *iv = p);
        iv.iter_mut().zip(self.salt.iter()).for_each(|(iv, s)| *iv ^= s);
        match self.auth.suite {
            Suite::Bits256 => {
                if let Ok(mut cipher) = Ctr128BE::<Aes256>::new_from_slices(&self.encr, &iv) {
                    cipher.apply_keystream(octets);
                }
            }
            Suite::Bits128 => {
                if let Ok(mut cipher) = Ctr128BE::<Aes128>::new_from_slices(&self.encr, &iv) {
                    cipher.apply_keystream(octets);
                }
            }
        }
    }
}
