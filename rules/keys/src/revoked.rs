//! Single tickets that were revoked, each until it would not open any more by itself.

use crate::Error;
use std::collections::HashMap;
use std::time::SystemTime;

/// How many there may be at once: about 8 MB of them.
const MOST: usize = 100_000;

/// Tickets by their identifier, SHA-256 of what their MAC covers, and until when that is remembered.
#[derive(Debug, Default)]
pub struct RevokedTickets {
    tickets: HashMap<[u8; 32], SystemTime>,
}

impl RevokedTickets {
    /// Whether there is room for this one.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn check(&self, ticket: &[u8; 32]) -> Result<(), Error> {
        match self.tickets.len() < MOST || self.tickets.contains_key(ticket) {
            true => Ok(()),
            false => Err(Error::Full(MOST)),
        }
    }

    /// Adds one. It is remembered for the longer of two times if it is there already.
    pub fn put(&mut self, ticket: [u8; 32], until: SystemTime) {
        let known = self.tickets.entry(ticket).or_insert(until);
        *known = until.max(*known);
    }

    /// Until when it is remembered, if it is revoked.
    pub fn until(&self, ticket: &[u8; 32]) -> Option<SystemTime> {
        self.tickets.get(ticket).copied()
    }

    /// Forgets those that have expired. Gives their identifiers.
    pub fn expire(&mut self, wall: SystemTime) -> Vec<[u8; 32]> {
        let gone = self.tickets.extract_if(|_, until| *until < wall);
        gone.map(|(ticket, _)| ticket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn they_are_few_and_end() {
        let at = |s| UNIX_EPOCH + Duration::from_secs(s);
        let name = |n: usize| {
            let mut ticket = [0; 32];
            ticket[..8].copy_from_slice(&(n as u64).to_be_bytes());
            ticket
        };
        let mut revoked = RevokedTickets::default();
        for n in 0..MOST {
            assert_eq!(revoked.check(&name(n)), Ok(()));
            revoked.put(name(n), at(if n < 2 { 10 } else { 20 }));
        }
        assert_eq!(revoked.check(&name(MOST)), Err(Error::Full(MOST)));
        assert_eq!(revoked.check(&name(5)), Ok(()), "it is there already");
        // An earlier end does not shorten it.
        revoked.put(name(5), at(1));
        assert_eq!(revoked.until(&name(5)), Some(at(20)));
        assert_eq!(revoked.expire(at(10)), [[0; 32]; 0]);
        assert_eq!(revoked.expire(at(11)).len(), 2);
        assert_eq!((revoked.until(&name(0)), revoked.check(&name(MOST))), (None, Ok(())));
    }
}
