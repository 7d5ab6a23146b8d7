//! How often to scan the table so that the whole fleet stays within a budget of reads.

use std::time::Duration;

/// The shortest period of scans in seconds, before jitter.
const PERIOD_MIN_SECONDS: f64 = 1.0;

/// The longest period of scans in seconds.
const PERIOD_MAX_SECONDS: f64 = 3_600.0;

/// The largest fraction of the period that jitter takes away.
const JITTER: f64 = 0.2;

/// Returns how long to wait after a scan.
///
/// `scan_units` is the cost of one scan in read units, `budget` the read units that the fleet may
/// spend per second. `chance` is from `0.0..1.0`: jitter shortens the pause to between 0.8 and 1.0
/// of the period, so that the scans of a fleet spread out and none is late.
#[must_use]
pub fn pause(workers: usize, scan_units: f64, budget: usize, chance: f64) -> Duration {
    let period = count(workers) * scan_units / count(budget);
    let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.0 };
    let period = if period.is_nan() { PERIOD_MIN_SECONDS } else { period };
    let period = period.clamp(PERIOD_MIN_SECONDS, PERIOD_MAX_SECONDS);
    Duration::from_secs_f64(period * JITTER.mul_add(-chance, 1.0))
}

/// Returns a count as a floating-point number of at least one.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the pause without and with the most jitter, in milliseconds.
    #[track_caller]
    fn check((workers, scan_units, budget): (usize, f64, usize), longest: u64, shortest: u64) {
        let millis = |chance| pause(workers, scan_units, budget, chance).as_secs_f64() * 1_000.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let millis = |chance| millis(chance).round() as u64;
        assert_eq!((millis(0.0), millis(1.0)), (longest, shortest));
    }

    #[test]
    fn small_fleet_scans_about_every_second() {
        check((1, 0.5, 100), 1_000, 800);
        check((10, 10.0, 100), 1_000, 800);
    }

    #[test]
    fn large_fleet_shares_its_budget() {
        check((50, 10.0, 100), 5_000, 4_000);
        check((200, 610.0, 100), 1_220_000, 976_000);
        check((50, 10.0, 500), 1_000, 800);
    }

    #[test]
    fn invalid_arguments_are_bounded() {
        check((0, 0.0, 0), 1_000, 800);
        check((1, f64::NAN, 1), 1_000, 800);
        check((1, -5.0, 1), 1_000, 800);
        check((usize::MAX, f64::INFINITY, 0), 3_600_000, 2_880_000);
        assert_eq!(pause(1, 1.0, 1, f64::NAN), Duration::from_secs(1));
        assert_eq!(pause(1, 1.0, 1, 7.0), Duration::from_millis(800));
    }
}
