//! The two kinds of time: moments on this machine's fence clock, and times of day.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment on this process's fence clock, which also counts the time a machine is suspended.
///
/// Only the difference of two moments of the same process is meaningful.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(Duration);

impl Moment {
    /// Creates the moment `since` after the clock's arbitrary origin.
    #[must_use]
    pub const fn from_origin(since: Duration) -> Self {
        Self(since)
    }

    /// Returns the time from `earlier` to this moment, or zero if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns this moment minus `duration`, at least the clock's origin.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{:?}", self.0)
    }
}

/// A time of day in milliseconds since the Unix epoch, by the clock of a service or of this
/// machine.
///
/// Times of two machines are never compared to judge whether a worker is alive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Creates the time `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_epoch_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the Unix epoch.
    #[must_use]
    pub const fn epoch_millis(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn epoch_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Returns the time rounded down to whole seconds.
    #[must_use]
    pub const fn to_whole_seconds(self) -> Self {
        Self(self.epoch_seconds().saturating_mul(1_000))
    }

    /// Returns the time from `earlier` to this time, or zero if `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// Returns this time minus `duration`.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Timestamp {
    /// Returns this time plus `duration`.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// RFC 3339, in UTC with milliseconds, such as `2026-01-31T12:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000);
        let Some(time) = time.ok().filter(|time| time.year() >= 0) else {
            // RFC 3339 has years of four digits only.
            return write!(f, "{} ms after the epoch", self.0);
        };
        let (date, clock) = (time.date(), time.time());
        write!(f, "{:04}-{:02}-{:02}T", date.year(), u8::from(date.month()), date.day())?;
        write!(f, "{:02}:{:02}:{:02}", clock.hour(), clock.minute(), clock.second())?;
        write!(f, ".{:03}Z", clock.millisecond())
    }
}

/// Parses RFC 3339, such as `2026-01-31T13:00:00+01:00`; digits below milliseconds are cut off.
impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok();
        let millis = time.map(|time| time.unix_timestamp_nanos().div_euclid(1_000_000));
        millis
            .and_then(|millis| i64::try_from(millis).ok())
            .map(Self)
            .ok_or_else(|| ParseTimestampError { text: text.to_owned() })
    }
}

/// A text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is not a time such as 2026-01-31T12:00:00Z")]
pub struct ParseTimestampError {
    text: String,
}

#[cfg(any(test, feature = "test-util"))]
impl Moment {
    /// Returns the moment `seconds` after the clock's origin, for tests.
    #[must_use]
    pub const fn at_secs(seconds: u64) -> Self {
        Self::from_origin(Duration::from_secs(seconds))
    }

    /// Returns the moment `millis` milliseconds after the clock's origin, for tests.
    #[must_use]
    pub const fn at_millis(millis: u64) -> Self {
        Self::from_origin(Duration::from_millis(millis))
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Timestamp {
    /// Returns the time `seconds` after the Unix epoch, for tests.
    #[must_use]
    pub const fn from_epoch_seconds(seconds: i64) -> Self {
        Self(seconds * 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_769_860_800_007, "2026-01-31T12:00:00.007Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_epoch_millis(millis).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp::from_epoch_millis(millis)));
        }
        for millis in [i64::MAX, i64::MIN, 253_402_300_800_000, -62_167_219_200_001] {
            let text = format!("{millis} ms after the epoch");
            assert_eq!(Timestamp::from_epoch_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn timestamps_are_read_in_any_zone() {
        let noon = Timestamp::from_epoch_millis(1_769_860_800_000);
        assert_eq!("2026-01-31T13:00:00+01:00".parse(), Ok(noon));
        assert_eq!("2026-01-31T12:00:00.0009Z".parse(), Ok(noon));
    }

    #[test]
    fn other_texts_are_no_timestamps() {
        for text in ["", "now", "2026-01-31", "2026-01-31T12:00:00", "1769860800000"] {
            let error = text.parse::<Timestamp>().unwrap_err().to_string();
            assert_eq!(error, format!("{text:?} is not a time such as 2026-01-31T12:00:00Z"));
        }
    }
}
