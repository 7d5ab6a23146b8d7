//! Settings of reading.

use std::time::Duration;

use crate::config::error::{Mistake, check_count, check_duration};
use crate::model::InitialPosition;

/// Where to start, and how often to read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetrievalConfig {
    /// Where the application starts when it starts for the first time.
    ///
    /// Default: [`InitialPosition::Latest`]. It is resolved once and stored for all shards; a
    /// restart, a failover or a reshard loses nothing.
    pub initial_position: InitialPosition,
    /// How often a shard is read once its consumer is caught up.
    ///
    /// Default: 1 s. From 200 ms, the limit of Kinesis, to 1 minute. A consumer that is behind reads
    /// as fast as Kinesis allows: 5 reads and 2 MiB a second for each shard.
    pub poll_every: Duration,
    /// How many records one read, and so one batch, has at most.
    ///
    /// Default: 10,000, which is also the most.
    /// Source: Kinesis API reference, `GetRecords`, parameter `Limit`.
    pub records_max: usize,
    /// How many bytes of records this worker holds at most, unless it shares a
    /// [`MemoryBudget`](crate::MemoryBudget): those that are being read, read ahead or processed.
    ///
    /// Default: 256 MiB. At least 1 MiB. One record for each shard may come on top, and what the
    /// application keeps. A shard that is busy alone needs 60 MiB to read at full speed.
    pub memory_max: usize,
}

const MIB: usize = 1024 * 1024;

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self {
            initial_position: InitialPosition::default(),
            poll_every: Duration::from_secs(1),
            records_max: 10_000,
            memory_max: 256 * MIB,
        }
    }
}

impl RetrievalConfig {
    pub(super) fn check(&self, mistakes: &mut Vec<Mistake>) {
        let range = (Duration::from_millis(200), Duration::from_mins(1));
        check_duration(mistakes, "retrieval.poll_every", self.poll_every, range);
        check_count(mistakes, "retrieval.records_max", self.records_max, (1, 10_000));
        let range = (MIB, usize::MAX);
        check_count(mistakes, "retrieval.memory_max", self.memory_max, range);
    }
}
