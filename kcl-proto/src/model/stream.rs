//! Streams: names, where consumption starts, what the service says about them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::model::Timestamp;
use crate::model::name::name;

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
/// It is resolved once per application and stream and then stored; later starts, failovers and
/// resharding never ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "the three positions that Kinesis knows")]
pub enum InitialPosition {
    /// With the oldest record that the stream still holds.
    TrimHorizon,
    /// With what arrives after the application's first start. The default.
    #[default]
    Latest,
    /// With the first record that arrived at this time or later.
    AtTimestamp(Timestamp),
}

/// The text that [`FromStr`] reads.
impl fmt::Display for InitialPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrimHorizon => f.write_str("trim-horizon"),
            Self::Latest => f.write_str("latest"),
            Self::AtTimestamp(time) => fmt::Display::fmt(time, f),
        }
    }
}

/// Reads `latest`, `trim-horizon`, or a time as RFC 3339, such as `2026-01-31T12:00:00Z`.
///
/// The names that Kinesis gives the first two, `LATEST` and `TRIM_HORIZON`, are read as well.
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

/// A text that is not an [`InitialPosition`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is not a position to start from: use latest, trim-horizon, or a time such as \
     2026-01-31T12:00:00Z"
)]
pub struct ParseInitialPositionError {
    text: String,
}

/// What the service says about a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamDescription {
    /// The stream's name.
    pub name: StreamName,
    /// Its ARN.
    pub arn: StreamArn,
    /// The service's own id of this very stream; `None` if it has none.
    pub id: Option<String>,
    /// When it was created: differs for a stream that was deleted and created again.
    pub created: Timestamp,
    /// How long records are kept.
    pub retention: std::time::Duration,
    /// Whether it can be read.
    pub status: StreamStatus,
    /// The service's clock when it answered, in whole seconds.
    pub now: Timestamp,
}

impl StreamDescription {
    /// An active stream that was created at `created`, without an id of the service's and with a
    /// retention of a day, as of `now` by the service's clock.
    #[must_use]
    pub const fn new(name: StreamName, arn: StreamArn, created: Timestamp, now: Timestamp) -> Self {
        let (id, retention) = (None, std::time::Duration::from_hours(24));
        Self { name, arn, id, created, retention, status: StreamStatus::Active, now }
    }
}

/// Whether a stream can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the four states that Kinesis knows")]
pub enum StreamStatus {
    /// Being created: no shards yet.
    Creating,
    /// Being deleted: no longer readable.
    Deleting,
    /// Readable.
    Active,
    /// Readable, and being resharded or changed.
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

/// Where an application began to consume a stream: one row, written once before the first lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStart {
    /// The stream's name; the row's key.
    pub stream: StreamName,
    /// The stream's ARN.
    pub arn: StreamArn,
    /// The service's id of the stream; `None` if it has none.
    pub id: Option<String>,
    /// When the stream was created, to distinguish it from a later stream of the same name.
    pub created: Timestamp,
    /// Where the first leases start, with [`InitialPosition::Latest`] resolved to a time.
    pub position: StartPosition,
    /// Whether all first leases exist.
    pub bootstrapped: bool,
}

impl StreamStart {
    /// The start of a stream without an id of the service's, before its first leases exist.
    #[must_use]
    pub const fn new(
        stream: StreamName,
        arn: StreamArn,
        created: Timestamp,
        position: StartPosition,
    ) -> Self {
        Self { stream, arn, id: None, created, position, bootstrapped: false }
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
