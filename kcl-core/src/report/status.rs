//! What a worker says of itself: its status while it runs, its report when it stopped.

use std::time::Duration;

use kcl_proto::model::{Checkpoint, LeaseEnd, LeaseKey, WorkerId};

use crate::memory::MemoryUsage;

/// A worker, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Who it is.
    pub worker: WorkerId,
    /// What it is doing.
    pub state: WorkerState,
    /// The shards whose leases it holds, in order, and how each is doing. Looked at about every second.
    pub held: Vec<HeldShard>,
    /// How many leases the table has, ended ones included.
    pub leases: usize,
    /// The memory that records take, in all workers that share the budget. Looked at as often.
    pub memory: MemoryUsage,
    /// What failed last, causes included.
    pub last_error: Option<String>,
}

/// A shard whose lease a worker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldShard {
    /// Which lease.
    pub key: LeaseKey,
    /// What is stored of its progress, as far as this worker knows.
    pub checkpoint: Option<Checkpoint>,
    /// How far the read that brought the batch in hand, or else the last read, was behind the end of
    /// the shard: its lag. While records are under way whose acknowledgements are detached, how old the
    /// oldest of them may be. None before the first read, or if the source does not tell.
    pub behind_latest: Option<Duration>,
    /// The call of its processor that has not ended for longer than `delivery.slow_after`, or
    /// `acknowledgements`: records whose acknowledgements are detached are not done for so long.
    pub slow: Option<SlowCall>,
}

/// A call of a processor that has not ended for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowCall {
    /// Which call, such as `process_records`.
    pub call: &'static str,
    /// How long it had taken when it was told last.
    pub taken: Duration,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// Preparing the table, looking at the stream.
    Starting,
    /// Taking and holding leases.
    Running,
    /// Draining and releasing.
    Stopping,
    /// Gone.
    Stopped,
}

/// What became of everything when a worker stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Each shard that the worker ever held, with its last ownership's end.
    pub shards: Vec<ShardReport>,
}

/// How the last ownership of a shard ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardReport {
    /// Which lease.
    pub key: LeaseKey,
    /// How it ended.
    pub how: LeaseEnd,
    /// What is stored of its progress, as far as this worker knows.
    pub checkpoint: Checkpoint,
}
