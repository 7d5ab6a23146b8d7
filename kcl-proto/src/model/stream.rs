//! Streams: names, descriptions, and where consumption starts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::model::name::name;
use crate::model::{Bulletin, Timestamp};

name! {
    /// The name of a stream.
    StreamName
}

name! {
    /// The ARN of a stream.
    StreamArn
}

/// Where an application starts when it has no lease yet.
///
/// It is resolved once per application and stream and then stored. Later starts, failovers and
/// resharding ignore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "the three positions that Kinesis knows")]
pub enum InitialPosition {
    /// With the oldest record in the stream.
    TrimHorizon,
    /// With the first record that arrives after the application's first start. The default.
    #[default]
    Latest,
    /// With the first record that arrived at this time or later.
    AtTimestamp(Timestamp),
}

/// Writes the form that [`FromStr`] parses.
impl fmt::Display for InitialPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrimHorizon => f.write_str("trim-horizon"),
            Self::Latest => f.write_str("latest"),
            Self::AtTimestamp(time) => fmt::Display::fmt(time, f),
        }
    }
}

/// Parses `latest`, `trim-horizon`, or a time as RFC 3339, such as `2026-01-31T12:00:00Z`.
///
/// Kinesis' own names `LATEST` and `TRIM_HORIZON` are accepted as well.
impl FromStr for InitialPosition {
    type Err = ParseInitialPositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "latest" | "LATEST" => Ok(Self::Latest),
            "trim-horizon" | "TRIM_HORIZON" => Ok(Self::TrimHorizon),
            time => match time.parse() {
                Ok(time) => Ok(Self::AtTimestamp(time)),
                Err(_) => Err(ParseInitialPositionError { text: text.to_owned() }),
            },
        }
    }
}

/// A text is not an [`InitialPosition`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is not a position to start from: use latest, trim-horizon, or a time such as \
     2026-01-31T12:00:00Z"
)]
pub struct ParseInitialPositionError {
    text: String,
}

/// The service's description of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamDescription {
    /// The stream's name.
    pub name: StreamName,
    /// The stream's ARN.
    pub arn: StreamArn,
    /// The service's id of this stream, or `None` if it returns none.
    pub id: Option<String>,
    /// When the stream was created. It differs for a stream that was deleted and created again.
    pub created: Timestamp,
    /// How long records are kept.
    pub retention: Duration,
    /// Whether the stream can be read.
    pub status: StreamStatus,
    /// The service's clock when it answered, in whole seconds.
    pub now: Timestamp,
}

impl StreamDescription {
    /// Creates the description of an active stream without an id, with a retention of 24 hours.
    /// `now` is the service's clock.
    #[must_use]
    pub const fn new(name: StreamName, arn: StreamArn, created: Timestamp, now: Timestamp) -> Self {
        let (id, retention) = (None, Duration::from_hours(24));
        Self { name, arn, id, created, retention, status: StreamStatus::Active, now }
    }
}

/// Whether a stream can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the four states that Kinesis knows")]
pub enum StreamStatus {
    /// The stream is being created and has no shards.
    Creating,
    /// The stream is being deleted and cannot be read.
    Deleting,
    /// The stream can be read.
    Active,
    /// The stream can be read and is being resharded or changed.
    Updating,
}

impl StreamStatus {
    /// Whether records can be read in this state.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        match self {
            Self::Active | Self::Updating => true,
            Self::Creating | Self::Deleting => false,
        }
    }
}

/// Where an application started to consume a stream: one row, written once before the first lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStart {
    /// The stream's name; the row's key.
    pub stream: StreamName,
    /// The stream's ARN.
    pub arn: StreamArn,
    /// The service's id of the stream, or `None` if it returns none.
    pub id: Option<String>,
    /// When the stream was created, to distinguish it from another one of the same name.
    pub created: Timestamp,
    /// Where the first leases start, with [`InitialPosition::Latest`] resolved to a time.
    pub position: StartPosition,
    /// Whether all first leases exist.
    pub bootstrapped: bool,
    /// What lookouts tell the other workers: empty at first, and published later.
    pub bulletin: Bulletin,
}

impl StreamStart {
    /// Creates the start of a stream without an id, before its first leases exist.
    #[must_use]
    pub const fn new(
        stream: StreamName,
        arn: StreamArn,
        created: Timestamp,
        position: StartPosition,
    ) -> Self {
        let bulletin = Bulletin::EMPTY;
        Self { stream, arn, id: None, created, position, bootstrapped: false, bulletin }
    }
}

/// Where the first leases start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "LATEST is never stored")]
pub enum StartPosition {
    /// With the oldest record.
    TrimHorizon,
    /// With the first record that arrived at this time or later.
    AtTimestamp(Timestamp),
}

#[cfg(any(test, feature = "test-util"))]
impl StreamDescription {
    /// Returns an active stream `orders` for tests, with a retention of 24 hours, created at 0 s
    /// and described at 500 s after the epoch.
    #[must_use]
    pub fn sample() -> Self {
        Self {
            name: StreamName::new("orders"),
            arn: StreamArn::new("arn:aws:kinesis:us-east-1:000000000000:stream/orders"),
            id: None,
            created: Timestamp::from_epoch_seconds(0),
            retention: Duration::from_hours(24),
            status: StreamStatus::Active,
            now: Timestamp::from_epoch_seconds(500),
        }
    }
}

#[cfg(any(test, feature = "test-util"))]
impl StreamStart {
    /// Returns the start of the stream of [`StreamDescription::sample`] for tests: at the oldest
    /// record, with all first leases created.
    #[must_use]
    pub fn sample() -> Self {
        let StreamDescription { name, arn, id, created, .. } = StreamDescription::sample();
        let position = StartPosition::TrimHorizon;
        let bulletin = Bulletin::EMPTY;
        Self { stream: name, arn, id, created, position, bootstrapped: true, bulletin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_positions_read_back_what_they_print() {
        let time = InitialPosition::AtTimestamp(Timestamp::from_epoch_millis(1_769_860_800_007));
        for (position, text) in [
            (InitialPosition::Latest, "latest"),
            (InitialPosition::TrimHorizon, "trim-horizon"),
            (time, "2026-01-31T12:00:00.007Z"),
        ] {
            assert_eq!(position.to_string(), text);
            assert_eq!(text.parse(), Ok(position));
        }
        assert_eq!("TRIM_HORIZON".parse(), Ok(InitialPosition::TrimHorizon));
        assert_eq!("LATEST".parse(), Ok(InitialPosition::Latest));
    }

    #[test]
    fn other_texts_are_no_initial_positions() {
        let error = "yesterday".parse::<InitialPosition>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"yesterday\" is not a position to start from: use latest, trim-horizon, or a time \
             such as 2026-01-31T12:00:00Z"
        );
    }
}
