//! The records of one shard: the consumer's lifecycle, its progress, failures and the pace of
//! reading.

pub mod backoff;
pub mod end_watch;
pub mod failure_policy;
pub mod lifecycle;
pub mod memory_pool;
pub mod progress;
pub mod read_pace;
pub mod read_size;
pub mod retention_warning;
pub mod slow_call;
