//! Streams: names, where consumption starts, what the service says about them.

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

/// What the service says about a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescription {
    /// The stream's name.
    pub name: StreamName,
    /// Its ARN.
    pub arn: StreamArn,
    /// The service's own id of this very stream, if it tells one.
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
pub struct StreamStart {
    /// The stream's name; the row's key.
    pub stream: StreamName,
    /// The stream's ARN.
    pub arn: StreamArn,
    /// The service's id of the stream, if it tells one.
    pub id: Option<String>,
    /// When the stream was created, to tell it from another one of the same name.
    pub created: Timestamp,
    /// Where the first leases start, with [`InitialPosition::Latest`] resolved to a time.
    pub position: StartPosition,
    /// Whether all first leases exist.
    pub bootstrapped: bool,
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
