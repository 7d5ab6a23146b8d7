//! Where to read from, and which shards to list.

use crate::model::{SequenceNumber, Timestamp};

/// Which shards to list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the filters that the library uses")]
pub enum ShardFilter {
    /// Every shard that is open or still has records.
    All,
    /// The shards that were open at this time.
    OpenAt(Timestamp),
    /// The shards that are open at the trim horizon.
    AtTrimHorizon,
}

/// Where to start reading a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the iterator types of Kinesis")]
pub enum ReadFrom {
    /// With the oldest record.
    TrimHorizon,
    /// With the next record that arrives.
    Latest,
    /// With the first record that arrived at this time or later.
    AtTimestamp(Timestamp),
    /// With this record, or the first one after it.
    At(SequenceNumber),
}
