//! The root key: what keys in the database are sealed with.
//!
//! AES key wrap (RFC 3394) with a key of 256 bits that follows from the root key and the name of
//! the record, so that a sealed key cannot be moved to another record.

use crate::Error;
use aes_kw::{KeyInit as _, KwAes256};
use carnet_wire::{Random, hex};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// 256 bits, from a file that only its owner can read.
pub struct RootKey(Zeroizing<[u8; 32]>);

/// What key wrap adds to a key.
const OVERHEAD: usize = 8;

impl RootKey {
    /// From 32 octets.
    pub fn new(octets: [u8; 32]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// Reads a file of 64 hex digits. Others than its owner must not be able to read it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let fail = |error| Error::File { path: path.display().to_string(), error };
        let mut file = std::fs::File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Error::RootKey("the file can be read by others than its owner (chmod 600)"));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(256));
        Read::by_ref(&mut file).take(200).read_to_end(&mut text).map_err(fail)?;
        let octets = Zeroizing::new(
            hex::decode(text.trim_ascii())
                .map_err(|_| Error::RootKey("the file does not hold hex digits"))?,
        );
        let key = octets.as_slice().try_into().map_err(|_| Error::RootKey("64 hex digits are needed"))?;
        Ok(Self::new(key))
    }

    /// Makes a key and writes it to a new file with mode 0600, durably.
    pub fn create(path: &Path, rng: &mut dyn Random) -> Result<Self, Error> {
        let fail = |error| Error::File { path: path.display().to_string(), error };
        let mut key = Self::new([0; 32]);
        rng.fill(key.0.as_mut());
        let text = Zeroizing::new(format!("{}\n", hex::encode(key.0.as_ref())));
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
        file.write_all(text.as_bytes()).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::File::open(parent).and_then(|d| d.sync_all()).map_err(fail)?;
        }
        Ok(key)
    }

    /// The key that seals the record called `name` of table `table`.
    fn cipher(&self, table: &str, name: &str) -> KwAes256 {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.0.as_ref()).expect("HMAC takes a key of any length");
        mac.update(table.as_bytes());
        mac.update(&[0]);
        mac.update(name.as_bytes());
        let key = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
        KwAes256::new((&*key).into())
    }

    /// Seals `key`.
    pub(crate) fn seal(&self, table: &str, name: &str, key: &[u8]) -> Result<Vec<u8>, Error> {
        let mut sealed = vec![0; key.len() + OVERHEAD];
        if key.len() < 16 {
            return Err(Error::KeyLength);
        }
        self.cipher(table, name).wrap_key(key, &mut sealed).map_err(|_| Error::KeyLength)?;
        Ok(sealed)
    }

    /// Opens what was sealed for the same record.
    pub(crate) fn open(
        &self,
        table: &'static str,
        name: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let len = sealed.len().checked_sub(OVERHEAD).ok_or(Error::Record(table))?;
        let mut key = Zeroizing::new(vec![0; len]);
        self.cipher(table, name).unwrap_key(sealed, &mut key).map_err(|_| Error::Record(table))?;
        Ok(key)
    }
}
