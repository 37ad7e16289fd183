//! The keys that tickets are sealed with, and their rotation.
//!
//! The newest key seals. Older ones still open tickets until the last ticket they sealed has
//! expired; then they are erased.

use crate::Error;
use carnet_mikey::Tpk;
use carnet_wire::Random;
use std::time::{Duration, SystemTime};

/// A ticket protection key.
pub struct TicketKey {
    /// Its name, as it stands in IDRpsk of the tickets.
    pub id: String,
    /// The key.
    pub tpk: Tpk,
    /// When it was made.
    pub made: SystemTime,
}

/// The keys in use, oldest first.
#[derive(Default)]
pub struct KeyRing {
    keys: Vec<TicketKey>,
}

impl KeyRing {
    /// Makes a key and does not use it yet: it must be stored first.
    pub fn make(wall: SystemTime, rng: &mut dyn Random) -> TicketKey {
        TicketKey { id: format!("tpk-{:016x}", rng.u64()), tpk: Tpk::generate(rng), made: wall }
    }

    /// Puts a key to use. The newest seals from now on.
    pub fn install(&mut self, key: TicketKey) {
        self.keys.retain(|k| k.id != key.id);
        self.keys.push(key);
        self.keys.sort_by_key(|k| k.made);
    }

    /// The key to seal with.
    pub fn current(&self) -> Result<&TicketKey, Error> {
        self.keys.last().ok_or(Error::NoKey)
    }

    /// The key of this name.
    pub fn find(&self, id: &[u8]) -> Option<&TicketKey> {
        self.keys.iter().find(|k| k.id.as_bytes() == id)
    }

    /// All keys, oldest first.
    pub fn keys(&self) -> &[TicketKey] {
        &self.keys
    }

    /// Whether the current key is older than `period`, or there is none.
    pub fn is_due(&self, wall: SystemTime, period: Duration) -> bool {
        self.keys.last().is_none_or(|k| wall.duration_since(k.made).is_ok_and(|age| age >= period))
    }

    /// Erases keys whose last ticket has expired: those whose successor is older than `lifetime`.
    /// Gives their names.
    pub fn expire(&mut self, wall: SystemTime, lifetime: Duration) -> Vec<String> {
        let old = |successor: &TicketKey| wall.duration_since(successor.made).is_ok_and(|age| age > lifetime);
        let count = self.keys.iter().skip(1).take_while(|successor| old(successor)).count();
        self.keys.drain(..count).map(|k| k.id).collect()
    }
}
