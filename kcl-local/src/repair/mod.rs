//! Repairs of the embedded Kinesis, one file each. [`page`] reads and encodes records for them.
//!
//! | File | Without it |
//! |---|---|
//! | [`get_records`] | `MillisBehindLatest` is 0 with a backlog, answers have no size limit |
//! | [`child_shards`] | a shard ends without its children |
//! | [`list_shards`] | `ShardFilter` is ignored, `NextToken` fails |
//! | [`timestamp`] | `AT_TIMESTAMP` after the last record replays the shard, and skips within a second |
//! | [`cbor_times`] | Java clients read creation times as times in 1970 |
//! | [`stream_arn`] | `StreamARN` without `StreamName` is refused |
//! | [`shard_count`] | `UpdateShardCount` opens shards without parents |

pub(crate) mod cbor_times;
pub(crate) mod child_shards;
pub(crate) mod get_records;
pub(crate) mod list_shards;
pub(crate) mod page;
pub(crate) mod shard_count;
pub(crate) mod stream_arn;
pub(crate) mod timestamp;
