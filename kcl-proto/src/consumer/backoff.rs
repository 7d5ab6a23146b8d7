//! What failed, and how often → after how long it is tried again, and when to give up.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// The most doublings that matter: beyond them every pause is the longest one.
const DOUBLINGS_MAX: u32 = 40;

/// For how long a shard may be unreadable for a reason that somebody has to mend before its lease is
/// given up: what this worker may not read, another one perhaps may.
const REFUSED_MAX: Duration = Duration::from_mins(1);

/// For how long a shard may be unreadable for a reason that may pass. An outage of the service that
/// concerns every worker must not set all leases in motion.
const UNAVAILABLE_MAX: Duration = Duration::from_mins(5);

/// The pause after the `attempt`th failure in a row, counted from 1: it doubles from the first of
/// `limits` to the second. `chance`, from 0 to 1, spreads it over its upper half.
#[must_use]
pub fn pause(attempt: u32, limits: (Duration, Duration), chance: f64) -> Duration {
    let (min, max) = limits;
    let doublings = attempt.saturating_sub(1).min(DOUBLINGS_MAX);
    let mut pauses = ExponentialBuilder::new()
        .with_min_delay(min)
        .with_max_delay(max)
        .with_factor(2.0)
        .without_max_times()
        .build();
    let full = pauses.nth(usize::try_from(doublings).unwrap_or(0)).map_or(max, whole_millis);
    let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 1.0 };
    full.mul_f64(0.5 + chance / 2.0)
}

/// The factor is a small float: whole milliseconds keep its error out.
fn whole_millis(pause: Duration) -> Duration {
    let millis = (pause + Duration::from_micros(500)).as_millis();
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Whether a consumer that was asked to let go, and has `left` to do so, tries once more after
/// `pause`.
///
/// The pause may take half of what is left. The rest is for the attempt, and for the processor to
/// hear that it is over.
#[must_use]
pub fn fits(pause: Duration, left: Duration) -> bool {
    pause.saturating_mul(2) <= left
}

/// Whether reading has failed for so long that the lease is given up.
#[must_use]
pub fn is_hopeless(failing_for: Duration, is_retryable: bool) -> bool {
    failing_for >= if is_retryable { UNAVAILABLE_MAX } else { REFUSED_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[track_caller]
    fn check(attempt: u32, chance: f64, millis: u64) {
        let limits = (Duration::from_millis(100), Duration::from_secs(10));
        assert_eq!(pause(attempt, limits, chance), Duration::from_millis(millis));
    }

    #[test]
    fn a_pause_doubles_up_to_the_longest() {
        check(0, 1.0, 100);
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
        check(1, f64::NAN, 100);
        check(1, -3.0, 50);
    }

    #[test]
    fn a_pause_of_equal_bounds_stays_the_same() {
        let limits = (SECOND, SECOND);
        assert_eq!(pause(1, limits, 1.0), SECOND);
        assert_eq!(pause(9, limits, 1.0), SECOND);
    }

    #[test]
    fn a_pause_takes_half_of_the_time_that_is_left_at_most() {
        assert!(fits(SECOND, SECOND * 2));
        assert!(!fits(SECOND, SECOND + Duration::from_millis(999)));
        assert!(!fits(Duration::MAX, SECOND));
    }

    #[test]
    fn what_somebody_must_mend_is_given_up_sooner() {
        assert!(!is_hopeless(SECOND * 59, false));
        assert!(is_hopeless(SECOND * 60, false));
        assert!(!is_hopeless(SECOND * 299, true));
        assert!(is_hopeless(SECOND * 300, true));
    }
}
