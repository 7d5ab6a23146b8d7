//! How long to wait before something that failed is tried again, and how long to keep trying.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Pauses that double from a first one to a longest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// Reads of a shard that failed for a reason that may pass, and lists of a shard's children.
    pub const READ: Self = Self::new(Duration::from_millis(200), Duration::from_secs(5));
    /// Reads of a shard that were refused: only a change of the setup helps.
    pub const READ_REFUSED: Self = Self::new(Duration::from_secs(1), Duration::from_secs(10));
    /// Throttled reads of a shard.
    pub const READ_THROTTLED: Self = Self::new(Duration::from_millis(500), Duration::from_secs(10));
    /// Warnings that unprocessed records are about to be trimmed.
    pub const WARNING: Self = Self::new(Duration::from_mins(1), Duration::from_hours(1));
    /// Calls that a worker makes before it starts.
    pub const STARTUP: Self = Self::new(Duration::from_millis(200), Duration::from_secs(5));
    /// Copies of a lease's write whose outcome is unknown.
    pub const RESEND: Self = Self::new(Duration::from_millis(100), Duration::from_secs(1));
    /// Heartbeats that failed.
    pub const PRESENCE: Self = Self::new(Duration::from_millis(500), Duration::from_secs(2));
    /// Copies of a take whose outcome is unknown.
    pub const TAKE: Self = Self::new(Duration::from_millis(200), Duration::from_secs(2));
    /// Pages of a scan that failed.
    pub const SCAN: Self = Self::new(Duration::from_millis(500), Duration::from_secs(2));
    /// Looks at a table that is being created or changed.
    pub const TABLE_STATUS: Self = Self::new(Duration::from_millis(20), Duration::from_secs(1));

    /// Pauses from `min` to `max`.
    #[must_use]
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// The pauses in order, in whole milliseconds, without end.
    pub fn pauses(self) -> impl Iterator<Item = Duration> {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.min)
            .with_max_delay(self.max)
            .with_factor(2.0)
            .without_max_times()
            .build();
        pauses.map(whole_millis)
    }

    /// The pause after `failures` failures in a row.
    #[must_use]
    pub fn pause(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
        self.pauses().nth(usize::try_from(doublings).unwrap_or(0)).unwrap_or(self.max)
    }

    /// The pause after `failures` failures in a row, spread over its upper half by `chance`, a
    /// number from 0 to 1.
    #[must_use]
    pub fn jittered(self, failures: u32, chance: f64) -> Duration {
        let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 1.0 };
        self.pause(failures).mul_f64(0.5 + chance / 2.0)
    }

    /// The pause that follows `pause`.
    #[must_use]
    pub fn after(self, pause: Duration) -> Duration {
        let mut shorter = self.pauses().take_while(|pause| *pause < self.max);
        shorter.find(|next| *next > pause).unwrap_or(self.max)
    }
}

/// The most doublings that matter: beyond them, every pause is the longest one.
const DOUBLINGS_MAX: u32 = 40;

/// Rounds away the error of backon's factor, which is a small float.
fn whole_millis(pause: Duration) -> Duration {
    let millis = (pause + Duration::from_micros(500)).as_millis();
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Whether a draining consumer with `left` to go tries once more after `pause`.
///
/// The pause may take half of that time. The rest is for the attempt, and for the processor to shut
/// down.
#[must_use]
pub fn fits(pause: Duration, left: Duration) -> bool {
    pause.saturating_mul(2) <= left
}

/// How long reads may be refused before the lease is released: another worker may be allowed to
/// read.
const REFUSED_MAX: Duration = Duration::from_mins(1);

/// How long reads may fail for a reason that may pass. An outage of Kinesis, which concerns every
/// worker, must not set all leases in motion.
const UNAVAILABLE_MAX: Duration = Duration::from_mins(5);

/// Whether a shard whose reads have failed for `failing_for`, and were all refused for
/// `refused_for`, counts as unreadable by this worker. `refused_for` is `None` if the last failure
/// may pass.
#[must_use]
pub fn is_unreadable(failing_for: Duration, refused_for: Option<Duration>) -> bool {
    failing_for >= UNAVAILABLE_MAX || refused_for >= Some(REFUSED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

    #[track_caller]
    fn check(failures: u32, chance: f64, millis: u64) {
        assert_eq!(BACKOFF.jittered(failures, chance), Duration::from_millis(millis));
    }

    #[test]
    fn pause_doubles_up_to_the_longest() {
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
        check(1, 7.0, 100);
    }

    #[test]
    fn each_pause_is_followed_by_the_next() {
        let following =
            std::iter::successors(Some(BACKOFF.pause(1)), |it| Some(BACKOFF.after(*it)));
        assert!(following.take(20).eq(BACKOFF.pauses().take(20)));
        let resends: Vec<_> = Backoff::RESEND.pauses().take(6).map(|it| it.as_millis()).collect();
        assert_eq!(resends, [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn pauses_of_equal_bounds_stay_the_same() {
        let backoff = Backoff::new(SECOND, SECOND);
        assert_eq!(
            (backoff.pause(1), backoff.pause(9), backoff.after(SECOND)),
            (SECOND, SECOND, SECOND)
        );
    }

    #[test]
    fn pause_fits_into_half_of_the_time_left() {
        assert!(fits(SECOND, SECOND * 2));
        assert!(!fits(SECOND, SECOND + Duration::from_millis(999)));
        assert!(!fits(Duration::MAX, SECOND));
    }

    #[test]
    fn refused_reads_end_sooner_than_failing_ones() {
        assert!(!is_unreadable(SECOND * 59, Some(SECOND * 59)));
        assert!(is_unreadable(SECOND * 60, Some(SECOND * 60)));
        assert!(!is_unreadable(SECOND * 299, None));
        assert!(!is_unreadable(SECOND * 299, Some(SECOND)));
        assert!(is_unreadable(SECOND * 300, None));
    }
}
