//! Which messages were delivered, so that one sent again is not delivered twice.

use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};

/// What tells the octets of one message from those of another.
pub(crate) type Digest256 = [u8; 32];

/// The digest of these octets.
pub(crate) fn digest(octets: &[u8]) -> Digest256 {
    Sha256::digest(octets).into()
}

/// Identifiers of messages that were accepted, oldest first, and digests of their octets.
#[derive(Default)]
pub(crate) struct Seen {
    order: VecDeque<String>,
    known: HashMap<String, Digest256>,
}

impl Seen {
    /// Remembers `id`; beyond `most` the oldest is forgotten.
    pub(crate) fn add(&mut self, id: String, digest: Digest256, most: usize) {
        if self.known.insert(id.clone(), digest).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > most {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// The digest of the message with this identifier.
    pub(crate) fn get(&self, id: &str) -> Option<&Digest256> {
        self.known.get(id)
    }
}

/// An identifier that follows from `parts`: 120 bits as text, which fits RFC 4975 §9.
pub(crate) fn identity(parts: &[&[u8]]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(24).map(|b| char::from(LETTERS[usize::from(b & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_so_many() {
        let mut seen = Seen::default();
        for id in ["a", "b", "a", "c"] {
            seen.add(id.to_owned(), digest(id.as_bytes()), 2);
        }
        assert_eq!((seen.get("a"), seen.get("b")), (None, Some(&digest(b"b"))));
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(identity(&[b"ab", b"c"]), identity(&[b"a", b"bc"]));
        assert_eq!(identity(&[b"ab", b"c"]), identity(&[b"ab", b"c"]));
        assert_eq!(identity(&[]).len(), 24);
    }
}
