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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(OsRandom.array::<16>(), OsRandom.array::<16>());
    }
}
