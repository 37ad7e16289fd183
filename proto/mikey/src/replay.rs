//! Replay protection (RFC 3830 §5.4).
//!
//! Messages are remembered by their hash while their timestamp is acceptable. Only authenticated
//! messages are remembered, so that a stranger cannot fill the cache. When it is full, new
//! messages are refused; nothing is forgotten early.

use crate::{Error, Message};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// What identifies a message: its SHA-256.
pub type MessageDigest = [u8; 32];

/// The digest of a message.
pub fn digest(octets: &[u8]) -> MessageDigest {
    Sha256::digest(octets).into()
}

/// Remembers authenticated messages.
#[derive(Debug)]
pub struct ReplayCache {
    lifetime: Duration,
    capacity: usize,
    since: Option<SystemTime>,
    seen: BTreeSet<MessageDigest>,
    by_expiry: BTreeMap<(SystemTime, MessageDigest), ()>,
}

impl ReplayCache {
    /// An empty cache of `capacity` messages for clocks that differ by at most `skew`.
    pub fn new(skew: Duration, capacity: usize) -> Self {
        Self {
            lifetime: skew.saturating_mul(2),
            capacity,
            since: None,
            seen: BTreeSet::new(),
            by_expiry: BTreeMap::new(),
        }
    }

    /// A cache that lost what it knew at `wall`. Messages from before are refused: whether they
    /// were seen is not known.
    pub fn restarted(skew: Duration, capacity: usize, wall: SystemTime) -> Self {
        // As a message of that very moment would say it: NTP fractions are coarser than ours.
        let since = crate::Timestamp::from_wall(wall).to_wall();
        Self { since, ..Self::new(skew, capacity) }
    }

    /// Checks that a message is new. To be called before its MAC is checked.
    pub fn check(
        &mut self,
        digest: &MessageDigest,
        message: &Message,
        wall: SystemTime,
    ) -> Result<(), Error> {
        self.expire(wall);
        if self.seen.contains(digest) {
            return Err(Error::Replay);
        }
        if let (Some(since), Some(at)) = (self.since, message.timestamp().and_then(|t| t.to_wall()))
            && at < since
        {
            return Err(Error::Replay);
        }
        if self.seen.len() >= self.capacity {
            return Err(Error::Full("the replay cache"));
        }
        Ok(())
    }

    /// Remembers a message. To be called once its MAC was found right.
    pub fn remember(&mut self, digest: MessageDigest, wall: SystemTime) {
        if self.seen.insert(digest) {
            let until = wall.checked_add(self.lifetime).unwrap_or(wall);
            self.by_expiry.insert((until, digest), ());
        }
    }

    /// Messages remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn expire(&mut self, wall: SystemTime) {
        while let Some(((until, digest), ())) = self.by_expiry.first_key_value() {
            // At the last moment its timestamp is still acceptable.
            if *until >= wall {
                break;
            }
            self.seen.remove(digest);
            self.by_expiry.pop_first();
        }
    }
}
