//! Child shards in the answer at a shard's end.

use ferrokinesis::types::{Shard, Stream};
use serde_json::{Value, json};

/// Returns the children of a shard as `GetRecords` lists them.
pub(crate) fn child_shards(stream: &Stream, shard_id: &str) -> Value {
    stream
        .shards
        .iter()
        .filter(|shard| parents(shard).any(|parent| parent == shard_id))
        .map(describe)
        .collect()
}

/// Returns the parents of a shard.
pub(crate) fn parents(shard: &Shard) -> impl Iterator<Item = &str> {
    [&shard.parent_shard_id, &shard.adjacent_parent_shard_id]
        .into_iter()
        .flatten()
        .map(String::as_str)
}

fn describe(child: &Shard) -> Value {
    json!({
        "ShardId": child.shard_id,
        "ParentShards": parents(child).collect::<Vec<_>>(),
        "HashKeyRange": {
            "StartingHashKey": child.hash_key_range.starting_hash_key,
            "EndingHashKey": child.hash_key_range.ending_hash_key,
        },
    })
}
