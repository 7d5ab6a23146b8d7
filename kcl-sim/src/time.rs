//! The time of a world, and things in the order of time.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use kcl_core::model::Timestamp;

/// The time of a world: whole milliseconds since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

/// The time of day at which every world begins.
const EPOCH_MILLIS: i64 = 1_700_000_000_345;

impl Time {
    /// A time that never comes.
    pub(crate) const MAX: Self = Self(u64::MAX);

    /// The time `millis` milliseconds after the world began.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the world began.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Returns the time of day.
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

/// Items in the order of their times; items of one time, in the order in which they were pushed.
#[derive(Debug)]
pub(crate) struct TimeQueue<T> {
    items: BTreeMap<(Time, u64), T>,
    pushed: u64,
}

impl<T> Default for TimeQueue<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), pushed: 0 }
    }
}

impl<T> TimeQueue<T> {
    pub(crate) fn push(&mut self, at: Time, item: T) {
        self.items.insert((at, self.pushed), item);
        self.pushed += 1;
    }

    /// The time of the first item.
    pub(crate) fn first(&self) -> Option<Time> {
        self.items.keys().next().map(|(at, _)| *at)
    }

    /// Removes and returns the first item, if its time is `until` or earlier.
    pub(crate) fn pop(&mut self, until: Time) -> Option<(Time, T)> {
        let entry = self.items.first_entry().filter(|entry| entry.key().0 <= until)?;
        let ((at, _), item) = entry.remove_entry();
        Some((at, item))
    }
}
