//! Which ownership of which shard.

use crate::model::{FencingToken, ShardId, StreamName};

/// Which ownership of which shard: all that is left of it once the lease is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardInfo {
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard_id: ShardId,
    /// This ownership's fencing token.
    pub token: FencingToken,
}

impl ShardInfo {
    /// The ownership of `shard_id` that `token` stands for.
    #[must_use]
    pub const fn new(stream: StreamName, shard_id: ShardId, token: FencingToken) -> Self {
        Self { stream, shard_id, token }
    }
}
