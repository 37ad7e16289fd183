//! Replay protection (RFC 3830 §5.4).
//!
//! Messages are remembered by their hash while their timestamp is acceptable, second by second.
//! Only authenticated messages are remembered, so that a stranger cannot fill the cache. When it
//! is full, new messages are refused; nothing is forgotten early. A service that takes `n` messages
//! a second needs room for `n` times twice the skew.

use crate::{Error, Message};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What identifies a message: its SHA-256.
pub type MessageDigest = [u8; 32];

/// The digest of a message.
pub fn digest(octets: &[u8]) -> MessageDigest {
    Sha256::digest(octets).into()
}

/// Half a digest identifies a message well enough, and takes half the room.
type Short = [u8; 16];

/// Remembers authenticated messages.
#[derive(Debug)]
pub struct ReplayCache {
    skew: Duration,
    capacity: usize,
    /// Messages of before are refused: they were forgotten, or never known.
    since: Option<SystemTime>,
    /// What was seen, by the second (since 1970) that the message bears.
    seen: BTreeMap<u64, HashSet<Short>>,
    len: usize,
}

/// A message that has not been seen before.
#[derive(Debug, PartialEq, Eq)]
pub struct Fresh {
    second: u64,
    short: Short,
}

impl ReplayCache {
    /// An empty cache of `capacity` messages for clocks that differ by at most `skew`.
    pub fn new(skew: Duration, capacity: usize) -> Self {
        Self { skew, capacity, since: None, seen: BTreeMap::new(), len: 0 }
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
    ) -> Result<Fresh, Error> {
        self.expire(wall);
        let at = message.timestamp().and_then(|t| t.to_wall()).ok_or(Error::Missing("T"))?;
        if self.since.is_some_and(|since| at < since) {
            return Err(Error::Replay);
        }
        let second = at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut short = Short::default();
        short.iter_mut().zip(digest).for_each(|(s, d)| *s = *d);
        if self.seen.get(&second).is_some_and(|seen| seen.contains(&short)) {
            return Err(Error::Replay);
        }
        if self.len >= self.capacity {
            return Err(Error::Full("the replay cache"));
        }
        Ok(Fresh { second, short })
    }

    /// Remembers a message. To be called once its MAC was found right.
    pub fn remember(&mut self, fresh: Fresh) {
        if self.seen.entry(fresh.second).or_default().insert(fresh.short) {
            self.len += 1;
        }
    }

    /// Messages remembered.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets seconds of which no message is acceptable any more.
    fn expire(&mut self, wall: SystemTime) {
        while let Some(oldest) = self.seen.first_entry() {
            let over = UNIX_EPOCH.checked_add(Duration::from_secs(oldest.key().saturating_add(1)));
            let Some(over) = over else { break };
            if over.checked_add(self.skew).is_none_or(|end| end >= wall) {
                break;
            }
            self.len = self.len.saturating_sub(oldest.remove().len());
            // A clock that is set back does not make what was forgotten acceptable again.
            self.since = self.since.max(Some(over));
        }
    }
}
