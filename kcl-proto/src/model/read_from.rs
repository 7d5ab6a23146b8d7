//! Where to read from, and which shards to list.

use crate::model::{SequenceNumber, Timestamp};

/// Which shards to list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "what the library asks for")]
pub enum ShardFilter {
    /// Every shard that still holds records or may get some.
    All,
    /// The shards that were open at this time.
    OpenAt(Timestamp),
    /// The shards that are open at the trim horizon.
    AtTrimHorizon,
}

/// Where to start reading a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "what Kinesis offers")]
pub enum ReadFrom {
    /// With the oldest record.
    TrimHorizon,
    /// With what arrives from now on.
    Latest,
    /// With the first record that arrived at this time or later.
    AtTimestamp(Timestamp),
    /// With this record, or the first one after it.
    At(SequenceNumber),
}
