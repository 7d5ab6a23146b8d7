//! Refuses `UpdateShardCount`.

use ferrokinesis::error::KinesisErrorResponse;

/// Returns the refusal: no consumer could know when it may read the new shards.
pub(crate) fn refusal() -> KinesisErrorResponse {
    KinesisErrorResponse::client_error(
        "InvalidArgumentException",
        Some(
            "UpdateShardCount is not available on the local stack: its shards would have no parents. \
             Use SplitShard and MergeShards instead.",
        ),
    )
}
