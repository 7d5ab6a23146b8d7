//! The world's time.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use kcl_core::model::Timestamp;

/// A moment of the world: whole milliseconds since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

/// When every world begins, for those who ask for the time of day.
const EPOCH_MILLIS: i64 = 1_700_000_000_345;

impl Time {
    /// The moment so many milliseconds after the world began.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the world began.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The time of day, for those who ask for that.
    pub(crate) fn time_of_day(self) -> Timestamp {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        Timestamp::from_epoch_millis(EPOCH_MILLIS.saturating_add(millis))
    }
}

/// The whole milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(millis(rhs)))
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(rhs.0))
    }
}

impl fmt::Display for Time {
    /// Seconds, with three digits after the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1_000, self.0 % 1_000);
        f.pad(&text)
    }
}
