//! Pre-shared keys, the names they go by, and the keys a listening end holds.
//!
//! RFC 4279 §5.3 (lengths every implementation takes), RFC 9257 §6 (at least 128 bits, one key one
//! use). A key is moved into the association it protects. It has no `Clone` and no `Debug`.

use crate::Error;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// A pre-shared key: 16 to 64 octets, wiped when dropped.
pub struct Psk(Zeroizing<Vec<u8>>);

impl Psk {
    /// Copies `octets`; wiping the original is the caller's part.
    ///
    /// # Errors
    /// [`Error::KeyLength`] unless there are 16 to 64.
    pub fn new(octets: &[u8]) -> Result<Self, Error> {
        if !(16..=64).contains(&octets.len()) {
            return Err(Error::KeyLength(octets.len()));
        }
        Ok(Self(Zeroizing::new(octets.to_vec())))
    }

    /// Copies the key into the library's buffer and says how long it is; 0 if it does not fit.
    fn write(&self, out: &mut [u8]) -> usize {
        match out.get_mut(..self.0.len()) {
            Some(place) => {
                place.copy_from_slice(&self.0);
                self.0.len()
            }
            None => 0,
        }
    }
}

/// A key and the identity by which the two ends speak of it.
pub struct PskKey {
    identity: String,
    psk: Psk,
}

impl PskKey {
    /// Names `psk`.
    ///
    /// # Errors
    /// [`Error::Identity`] unless `identity` has 1 to 128 octets and no NUL.
    pub fn new(identity: impl Into<String>, psk: Psk) -> Result<Self, Error> {
        let identity = identity.into();
        // RFC 4279 §5.3: identities up to 128 octets. The library passes them as C strings.
        if identity.is_empty() || identity.len() > 128 || identity.contains('\0') {
            return Err(Error::Identity(identity.len()));
        }
        Ok(Self { identity, psk })
    }

    /// The name of the key. Crosses the network in clear.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// A second copy of the key, for an association that replaces a lost one of the same media
    /// line in the same SIP session. Any other second use of a key is a mistake.
    #[must_use]
    pub fn for_reconnect(&self) -> Self {
        Self { identity: self.identity.clone(), psk: Psk(self.psk.0.clone()) }
    }

    /// Writes identity (with its closing NUL) and key where the library wants them.
    pub(crate) fn write(&self, identity: &mut [u8], psk: &mut [u8]) -> usize {
        let name = self.identity.as_bytes();
        let Some(place) = identity.get_mut(..=name.len()) else { return 0 };
        let Some((end, text)) = place.split_last_mut() else { return 0 };
        text.copy_from_slice(name);
        *end = 0;
        self.psk.write(psk)
    }
}

/// The keys that connections to one listening address may use. A clone is the same keyring.
///
/// A key leaves the keyring when an association with it stands, unless it is [`standing`](Self::standing);
/// a failed handshake (somebody probing the port) leaves it there.
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<Mutex<BTreeMap<String, Psk>>>,
    limit: usize,
    any_identity: bool,
    standing: bool,
}

impl Default for Keyring {
    fn default() -> Self {
        Self::new(1024)
    }
}

impl Keyring {
    /// An empty keyring for at most `limit` keys.
    pub fn new(limit: usize) -> Self {
        Self { keys: Arc::default(), limit, any_identity: true, standing: false }
    }

    /// Accepts a key only under the very identity it is bound to. Without this, a keyring with
    /// exactly one key accepts it under any identity: another vendor may build identities
    /// otherwise, and who does not hold the key fails anyway.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.any_identity = false;
        self
    }

    /// Keeps its keys when they were used, for peers that connect again and again: gateways and their
    /// controllers, not media. Every handshake has fresh secrets all the same (`psk_dhe_ke`, ECDHE).
    #[must_use]
    pub fn standing(mut self) -> Self {
        self.standing = true;
        self
    }

    /// A keyring for one association.
    pub(crate) fn of(key: PskKey, any_identity: bool) -> Self {
        let keys = BTreeMap::from([(key.identity, key.psk)]);
        Self { keys: Arc::new(Mutex::new(keys)), limit: 1, any_identity, standing: false }
    }

    /// Lets connections use `key`.
    ///
    /// # Errors
    /// [`Error::IdentityBound`] if the identity is taken, [`Error::KeyringFull`] at the limit.
    pub fn bind(&self, key: PskKey) -> Result<(), Error> {
        let mut keys = self.lock();
        if keys.contains_key(&key.identity) {
            return Err(Error::IdentityBound(key.identity));
        }
        if keys.len() >= self.limit {
            return Err(Error::KeyringFull(self.limit));
        }
        keys.insert(key.identity, key.psk);
        Ok(())
    }

    /// Takes a key back, as when the SIP session ends before anyone connected. Says whether it
    /// was there.
    pub fn unbind(&self, identity: &str) -> bool {
        self.lock().remove(identity).is_some()
    }

    /// An association with this key stands. Says whether the key was there.
    pub(crate) fn used(&self, identity: &str) -> bool {
        if self.standing { self.lock().contains_key(identity) } else { self.unbind(identity) }
    }

    /// Number of keys waiting for their connection.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds the key for `identity`, writes it to `out` and returns the bound name and length.
    pub(crate) fn look_up(&self, identity: &[u8], out: &mut [u8]) -> Option<(String, usize)> {
        let keys = self.lock();
        let exact = std::str::from_utf8(identity).ok().and_then(|name| keys.get_key_value(name));
        let (name, psk) = match exact {
            Some(found) => found,
            None if self.any_identity && keys.len() == 1 => keys.first_key_value()?,
            None => return None,
        };
        match psk.write(out) {
            0 => None,
            n => Some((name.clone(), n)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Psk>> {
        // Nothing panics while it holds the lock; a poisoned map is still whole.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
