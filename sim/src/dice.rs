//! Everything that is left to chance, from one seed.

use carnet_wire::{Random, SeededRandom};
use std::time::Duration;

/// A reproducible source of choices.
#[derive(Debug, Clone)]
pub struct Dice(SeededRandom);

impl Dice {
    /// Dice whose throws all follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    /// A seed for a machine.
    pub fn seed(&mut self) -> u64 {
        self.0.u64()
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n.max(1) as u64;
        (self.0.u64() % n) as usize
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.0.u32() % 1000 < per_mille
    }

    /// A time from `least` up to `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros() as u64;
        least + Duration::from_micros(self.0.u64() % (span + 1))
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
