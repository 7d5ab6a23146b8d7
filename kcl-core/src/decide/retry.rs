//! How long to wait before something that failed is tried again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// The most doublings that matter: beyond them every pause is the longest one.
const DOUBLINGS_MAX: u32 = 40;

/// The pause after the `attempt`th failure in a row, counted from 1: it doubles from the first of
/// `limits` to the second. `chance`, from 0 to 1, spreads it over its upper half.
#[must_use]
pub fn pause(attempt: u32, limits: (Duration, Duration), chance: f64) -> Duration {
    let (min, max) = limits;
    let doublings = attempt.saturating_sub(1).min(DOUBLINGS_MAX);
    let full = ExponentialBuilder::new()
        .with_min_delay(min)
        .with_max_delay(max)
        .with_factor(2.0)
        .without_max_times()
        .build()
        .nth(usize::try_from(doublings).unwrap_or(0))
        .unwrap_or(max)
        .min(max);
    full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attempt: u32, chance: f64, millis: u64) {
        let limits = (Duration::from_millis(100), Duration::from_secs(10));
        assert_eq!(pause(attempt, limits, chance), Duration::from_millis(millis));
    }

    #[test]
    fn a_pause_doubles_up_to_the_longest() {
        check(1, 1.0, 100);
        check(2, 1.0, 200);
        check(5, 1.0, 1_600);
        check(8, 1.0, 10_000);
        check(u32::MAX, 1.0, 10_000);
    }

    #[test]
    fn chance_spreads_a_pause_over_its_upper_half() {
        check(1, 0.0, 50);
        check(1, 0.5, 75);
    }
}
