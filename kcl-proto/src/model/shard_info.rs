//! One ownership of one shard.

use crate::model::{FencingToken, ShardId, StreamName};

/// One ownership of one shard. It remains valid after the lease is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardInfo {
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard_id: ShardId,
    /// The fencing token of this ownership.
    pub token: FencingToken,
}

impl ShardInfo {
    /// Creates the ownership of `shard_id` with this token.
    #[must_use]
    pub const fn new(stream: StreamName, shard_id: ShardId, token: FencingToken) -> Self {
        Self { stream, shard_id, token }
    }
}
