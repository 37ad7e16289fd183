//! Which messages were delivered, so that one sent again is not delivered twice.

use sha2::{Digest, Sha256};
use std::collections::{HashSet, VecDeque};

/// Identifiers of messages that were accepted, oldest first.
#[derive(Default)]
pub(crate) struct Seen {
    order: VecDeque<String>,
    set: HashSet<String>,
}

impl Seen {
    /// Remembers `id`; beyond `most` the oldest is forgotten.
    pub(crate) fn add(&mut self, id: String, most: usize) {
        if self.set.insert(id.clone()) {
            self.order.push_back(id);
        }
        while self.order.len() > most {
            if let Some(oldest) = self.order.pop_front() {
                self.set.remove(&oldest);
            }
        }
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.set.contains(id)
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
            seen.add(id.to_owned(), 2);
        }
        assert!(!seen.contains("a") && seen.contains("b") && seen.contains("c"));
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(identity(&[b"ab", b"c"]), identity(&[b"a", b"bc"]));
        assert_eq!(identity(&[b"ab", b"c"]), identity(&[b"ab", b"c"]));
        assert_eq!(identity(&[]).len(), 24);
    }
}
