//! Settings of reading.

use std::time::Duration;

use kcl_proto::kpl::HashRangePolicy;
use kcl_proto::model::InitialPosition;

use crate::config::error::{Mistake, check_count, check_duration};

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
    /// How many records one read asks for at most, and how many a batch needs to be full. An aggregate
    /// counts as one of those that are read, and as its user records in a batch, which it comes into as
    /// a whole: the last one may bring a batch above this.
    ///
    /// Default: 10,000, which is also the most.
    /// Source: Kinesis API reference, `GetRecords`, parameter `Limit`.
    pub records_max: usize,
    /// Whether records that the Kinesis Producer Library aggregated are expanded.
    ///
    /// Default: [`Aggregation::Expand`].
    pub aggregation: Aggregation,
    /// What to do with user records of an aggregate whose hash keys lie outside of the shard.
    ///
    /// Default: [`HashRangePolicy::Deliver`]. It matters only where aggregates are expanded.
    pub hash_range: HashRangePolicy,
    /// How many bytes of records this worker holds at most, unless it shares a
    /// [`MemoryBudget`](crate::MemoryBudget): those that are being read, read ahead or processed.
    ///
    /// Default: 256 MiB. At least 1 MiB. One record for each shard may come on top, and what the
    /// application keeps. A shard asks for 30 MiB before its first read, when the size of its records
    /// is not known; to go on at full speed it needs 12 MiB.
    pub memory_max: usize,
}

/// What to do with records that the Kinesis Producer Library aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Aggregation {
    /// Deliver their user records. What is no valid aggregate is delivered as it is, and
    /// [counted](crate::report::event::Event::MalformedAggregates).
    #[default]
    Expand,
    /// Deliver them as they are in the stream.
    Raw,
}

const MIB: usize = 1024 * 1024;

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self {
            initial_position: InitialPosition::default(),
            poll_every: Duration::from_secs(1),
            records_max: 10_000,
            aggregation: Aggregation::default(),
            hash_range: HashRangePolicy::default(),
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
