//! Random numbers from a seed.

use std::sync::atomic::{AtomicU64, Ordering};

/// A sequence of random numbers that a seed determines.
#[derive(Debug)]
pub(crate) struct Chance(AtomicU64);

impl Chance {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Returns a number from 0 to below 1.
    pub(crate) fn draw(&self) -> f64 {
        f64::from(self.draw_bits()) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns 32 random bits.
    pub(crate) fn draw_bits(&self) -> u32 {
        // SplitMix64 (Steele, Lea, Flood 2014): good enough to spread timers, and replayable.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0)
    }

    /// Returns a factor from 0.9 to below 1.1, which spreads work that begins together.
    pub(crate) fn draw_near_one(&self) -> f64 {
        self.draw().mul_add(0.2, 0.9)
    }
}
