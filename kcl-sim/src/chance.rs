//! Random choices from a seed.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// A stream of random choices. Each worker of a world has its own, so that the choices of one
/// worker do not depend on those of another.
#[derive(Clone, Debug)]
pub struct Chance(Xoshiro256PlusPlus);

impl Chance {
    /// Creates stream number `stream` of a seed.
    #[must_use]
    pub fn of(seed: u64, stream: u64) -> Self {
        let mixed = seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(Xoshiro256PlusPlus::seed_from_u64(mixed))
    }

    /// Draws whether something of this probability happens.
    pub fn hits(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.0.random_bool(probability.min(1.0))
    }

    /// Draws a number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high.max(low))
    }

    /// Draws a number from 0.0 to 1.0.
    pub(crate) fn part(&mut self) -> f64 {
        self.0.random_range(0.0..1.0)
    }

    /// Draws an index of a list of length `of`. `None` if it is empty.
    pub fn place(&mut self, of: usize) -> Option<usize> {
        (of > 0).then(|| self.0.random_range(0..of))
    }

    /// Draws one of the items. `None` if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        self.place(items.len()).and_then(|place| items.get(place))
    }
}
