//! What a worker says of itself: its status while it runs, its report when it stopped.

use crate::event::LeaseEnd;
use crate::model::{Checkpoint, LeaseKey, WorkerId};

/// A worker, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Who it is.
    pub worker: WorkerId,
    /// What it is doing.
    pub state: WorkerState,
    /// The leases that it holds, in order.
    pub held: Vec<LeaseKey>,
    /// How many leases the table has, ended ones included.
    pub leases: usize,
    /// What failed last, causes included.
    pub last_error: Option<String>,
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
