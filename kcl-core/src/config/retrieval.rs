//! Settings of reading.

use std::time::Duration;

use kcl_proto::consumer::read_pace::READS_PER_SECOND_MAX;
use kcl_proto::kpl::HashRangePolicy;
use kcl_proto::model::InitialPosition;

use crate::config::error::InvalidSetting;

/// Where to start, and how often to read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RetrievalConfig {
    /// Where the application starts when it starts for the first time.
    ///
    /// Default: [`InitialPosition::Latest`]. It is resolved once and stored for all shards; a
    /// restart, a failover or a reshard loses nothing.
    pub initial_position: InitialPosition,
    /// How long a worker that starts waits for a stream that does not exist yet.
    ///
    /// Default: zero, because the name may be wrong: the start fails after about 1 s, in which the
    /// stream is looked for again. At most 1 hour. Set it where workers start together with their
    /// stream, as in a local environment.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub wait_for_stream: Duration,
    /// How often a shard is read once its consumer is caught up and reads bring nothing. After a
    /// read that brought records the next one comes sooner, as often as
    /// [`reads_per_second`](Self::reads_per_second) allows.
    ///
    /// Default: 1 s. From 200 ms, the limit of Kinesis, to 1 minute. A consumer counts as caught up
    /// while it is behind by less than 100 ms.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub poll_every: Duration,
    /// How often a second a shard is read while its consumer is behind, or reads bring records.
    ///
    /// Default: 2. From 1 to 5. Kinesis allows 5 reads and 2 MiB a second for each shard, shared by
    /// all that poll it: what one application leaves, others can use. A reply with as many records
    /// as were asked for may be followed by the next read sooner, up to 5 a second. A
    /// [`poll_every`](Self::poll_every) that asks for more reads raises the number.
    ///
    /// Source: Kinesis Developer Guide, "Quotas and limits", shard read throughput.
    pub reads_per_second: usize,
    /// How many records one read asks for at most, and how many make a batch full. An aggregate
    /// counts as one record of a read, and as its user records in a batch. A batch holds whole
    /// aggregates, so its last one may bring it above this number.
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
    /// Default: 256 MiB. At least 1 MiB. User records of an aggregate count with their data, which
    /// they share, and about 150 bytes each. One record for each shard, with its user records, may
    /// come on top, and what the application keeps. A shard asks for 30 MiB before its first read,
    /// when the size of its records is not known. For full speed it needs 4 MiB after that, and 12
    /// MiB where replies come in JSON.
    pub memory_max: usize,
}

/// What to do with records that the Kinesis Producer Library aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Aggregation {
    /// Deliver their user records. A record that looks aggregated but does not decode, or has more
    /// than [174,762](kcl_proto::kpl::USER_RECORDS_MAX) user records, is delivered unchanged, and
    /// [counted](crate::event::Event::MalformedAggregates).
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
            wait_for_stream: Duration::ZERO,
            poll_every: Duration::from_secs(1),
            reads_per_second: 2,
            records_max: 10_000,
            aggregation: Aggregation::default(),
            hash_range: HashRangePolicy::default(),
            memory_max: 256 * MIB,
        }
    }
}

impl RetrievalConfig {
    /// Sets [`initial_position`](Self::initial_position).
    #[must_use]
    pub const fn with_initial_position(mut self, position: InitialPosition) -> Self {
        self.initial_position = position;
        self
    }

    /// Sets [`wait_for_stream`](Self::wait_for_stream).
    #[must_use]
    pub const fn with_wait_for_stream(mut self, time: Duration) -> Self {
        self.wait_for_stream = time;
        self
    }

    /// Sets [`poll_every`](Self::poll_every).
    #[must_use]
    pub const fn with_poll_every(mut self, interval: Duration) -> Self {
        self.poll_every = interval;
        self
    }

    /// Sets [`reads_per_second`](Self::reads_per_second).
    #[must_use]
    pub const fn with_reads_per_second(mut self, reads: usize) -> Self {
        self.reads_per_second = reads;
        self
    }

    /// Sets [`records_max`](Self::records_max).
    #[must_use]
    pub const fn with_records_max(mut self, records: usize) -> Self {
        self.records_max = records;
        self
    }

    /// Sets [`aggregation`](Self::aggregation).
    #[must_use]
    pub const fn with_aggregation(mut self, aggregation: Aggregation) -> Self {
        self.aggregation = aggregation;
        self
    }

    /// Sets [`hash_range`](Self::hash_range).
    #[must_use]
    pub const fn with_hash_range(mut self, policy: HashRangePolicy) -> Self {
        self.hash_range = policy;
        self
    }

    /// Sets [`memory_max`](Self::memory_max).
    #[must_use]
    pub const fn with_memory_max(mut self, bytes: usize) -> Self {
        self.memory_max = bytes;
        self
    }

    pub(super) fn validate(&self) -> Vec<InvalidSetting> {
        let (min, max) = (Duration::from_millis(200), Duration::from_mins(1));
        let (poll, records) = (self.poll_every, self.records_max);
        let (reads, reads_max) = (self.reads_per_second, READS_PER_SECOND_MAX);
        let mut invalid = Vec::new();
        let (zero, hour) = (Duration::ZERO, Duration::from_hours(1));
        let wait = self.wait_for_stream;
        invalid.extend(InvalidSetting::outside("retrieval.wait_for_stream", wait, zero, hour));
        invalid.extend(InvalidSetting::outside("retrieval.poll_every", poll, min, max));
        invalid.extend(InvalidSetting::outside("retrieval.reads_per_second", reads, 1, reads_max));
        invalid.extend(InvalidSetting::outside("retrieval.records_max", records, 1, 10_000));
        invalid.extend(InvalidSetting::below("retrieval.memory_max", self.memory_max, MIB));
        invalid
    }
}
