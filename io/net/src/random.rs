//! Randomness from the operating system for machines that take it as an argument.

use carnet_wire::Random;

/// The operating system's generator. Fit for keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    /// # Panics
    /// If the operating system gives no randomness. Going on with predictable octets would be
    /// worse than stopping.
    fn fill(&mut self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            panic!("the operating system gives no randomness: {error}");
        }
    }
}

/// The operating system's generator, asked for many octets at once: for machines that draw a few for
/// each message. Octets are wiped as they are given out. Fit for keys.
#[derive(Default)]
pub struct PooledRandom {
    pool: Vec<u8>,
}

/// Octets fetched at once. The system gives up to 256 without interruption.
const POOL: usize = 256;

impl Random for PooledRandom {
    /// # Panics
    /// As [`OsRandom`].
    fn fill(&mut self, buffer: &mut [u8]) {
        if buffer.len() > POOL {
            return OsRandom.fill(buffer);
        }
        if self.pool.len() < buffer.len() {
            self.pool.resize(POOL, 0);
            OsRandom.fill(&mut self.pool);
        }
        let left = self.pool.len() - buffer.len();
        if let Some(drawn) = self.pool.get_mut(left..) {
            buffer.copy_from_slice(drawn);
            drawn.fill(0);
        }
        self.pool.truncate(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_out_is_not_given_again() {
        let mut random = PooledRandom::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            assert!(seen.insert(random.array::<12>()));
        }
        assert_ne!(random.array::<300>(), [0; 300]);
        assert!(random.pool.len() < POOL);
    }

    #[test]
    fn two_draws_differ() {
        assert_ne!(OsRandom.array::<16>(), OsRandom.array::<16>());
    }
}
