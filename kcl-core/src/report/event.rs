//! Events: everything that happens to a worker, its leases and its shards.
//!
//! Every event is a line of the log, at the level of its [`Severity`], and is passed to each
//! [`Observer`]. Names are stable: count and alarm by [`Event::name`].
//!
//! A thread of its own, `kcl-events`, writes the lines and calls the observers of a worker. Events
//! wait for it in a queue of 4,096; an event that finds the queue full is dropped and counted by
//! [`Event::EventsDropped`]. So neither a log that blocks nor an observer that blocks delays a
//! lease's renewal, a processor or the end of [`Worker::run`](crate::Worker::run).

use std::fmt;
use std::time::Duration;

use kcl_proto::kpl::Malformed;
use kcl_proto::model::{
    Checkpoint, FencingToken, HashKeyRange, LeaseKey, Position, SequenceNumber, ShardId, Timestamp,
    WorkerId,
};
pub use kcl_proto::model::{LeaseEnd, TakeReason};

pub use super::event_context::EventContext;
pub use super::severity::Severity;
pub use super::status::{
    HeldShard, ShardReport, ShutdownReport, SlowCall, WorkerState, WorkerStatus,
};
pub use crate::memory::MemoryUsage;
pub use crate::settle::SettleReport;

/// Gets every event of a worker.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Called for each event, in their order, one call at a time, on the thread that also writes
    /// the log. While a call blocks, events queue up, and are dropped once the queue is full. A
    /// panic is logged as [`Event::ObserverPanicked`], once, and later events are passed on as
    /// before.
    fn on_event(&self, event: &Event, context: &EventContext);
}

/// Something that happened. Its [`Display`](fmt::Display) is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "event", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Event {
    /// The worker runs: its presence is stored.
    Started {
        /// The worker.
        worker: WorkerId,
    },
    /// This worker's session ended although it runs: it holds nothing any more, and continues as
    /// another incarnation, `worker`. Its process stood still, or could not write to the table, for
    /// the whole expiry; or its row was deleted.
    SessionLost {
        /// The id under which it continues.
        worker: WorkerId,
        /// Why the session ended.
        reason: String,
    },
    /// This worker declared a silent one dead. Its leases are free.
    WorkerCondemned {
        /// The silent worker.
        worker: WorkerId,
    },
    /// The task that holds a lease does not answer, and its lease is released after its consumer
    /// has stopped. A bug in this library: please report it.
    HolderStuck {
        /// The lease.
        key: LeaseKey,
    },
    /// A worker of a version that does not know sessions is in a fleet that uses them: it cannot
    /// take over from a worker that crashes. Replace it.
    WorkerOutdated {
        /// That worker.
        worker: WorkerId,
    },
    /// The worker took a lease, and starts its consumer.
    LeaseTaken {
        /// The lease.
        key: LeaseKey,
        /// This ownership's token.
        token: FencingToken,
        /// The checkpoint that its consumer resumes from.
        checkpoint: Checkpoint,
        /// Why the lease could be taken.
        why: TakeReason,
    },
    /// The worker no longer holds a lease.
    LeaseEnded {
        /// The lease.
        key: LeaseKey,
        /// How it ended.
        how: LeaseEnd,
        /// Its checkpoint, as far as this worker knows.
        checkpoint: Checkpoint,
    },
    /// This worker asked the owner of a lease to hand it over.
    HandoverBegun {
        /// The lease.
        key: LeaseKey,
        /// Its owner.
        owner: WorkerId,
    },
    /// Another worker asked this one for a lease, whose consumer now drains.
    HandoverAsked {
        /// The lease.
        key: LeaseKey,
        /// The worker that asked.
        next: WorkerId,
    },
    /// A hand-over ended without moving the lease.
    HandoverEnded {
        /// The lease.
        key: LeaseKey,
        /// Why.
        reason: &'static str,
    },
    /// A batch failed, and is delivered again.
    BatchFailed {
        /// The shard.
        shard: ShardId,
        /// How often it has been delivered.
        attempt: u32,
        /// The processor's error.
        error: String,
        /// When it is delivered again.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        retry_in: Duration,
    },
    /// A record that is processed on its own failed, and is retried. Records of other partition
    /// keys continue.
    RecordFailed {
        /// The shard.
        shard: ShardId,
        /// The record.
        position: Position,
        /// How often it has been tried.
        attempt: u32,
        /// The handler's error.
        error: String,
        /// When it is retried.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        retry_in: Duration,
    },
    /// A record used up its attempts and is stored in the dead letter. Its shard continues.
    DeadLettered {
        /// The shard.
        shard: ShardId,
        /// The record.
        position: Position,
        /// How often it was delivered.
        attempts: u32,
        /// The processor's last error.
        error: String,
    },
    /// The dead letter did not store a record. Its shard waits for the retry.
    DeadLetterFailed {
        /// The shard.
        shard: ShardId,
        /// The record.
        position: Position,
        /// How often it has been tried.
        attempt: u32,
        /// The dead letter's error.
        error: String,
        /// When it is retried; `None` if it is not.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        retry_in: Option<Duration>,
    },
    /// A record used up its attempts and is skipped, by the policy. It is lost.
    Skipped {
        /// The shard.
        shard: ShardId,
        /// The record.
        position: Position,
        /// How often it was delivered.
        attempts: u32,
        /// The processor's last error.
        error: String,
        /// How many records this ownership of the shard has skipped, this one included.
        skipped: u64,
    },
    /// Records, `initialize` or `shard_ended` used up their attempts, and the shard is stopped, by
    /// the policy. This worker does not take its lease again until it is started anew.
    ShardStopped {
        /// The shard.
        shard: ShardId,
        /// The call that failed, such as `process_records`.
        call: &'static str,
        /// The first record that failed; `None` if the call was one without records.
        position: Option<Position>,
        /// The processor's last error.
        error: String,
        /// Whether the whole worker stops.
        stops_worker: bool,
    },
    /// A call of the processor other than that for a batch failed or panicked.
    ProcessorFailed {
        /// The shard.
        shard: ShardId,
        /// The call, such as `initialize`.
        call: &'static str,
        /// How often it has been made.
        attempt: u32,
        /// The processor's error.
        error: String,
        /// When it is retried; `None` if it is not.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        retry_in: Option<Duration>,
    },
    /// A read of records failed, and is retried.
    FetchFailed {
        /// The shard.
        shard: ShardId,
        /// The error, causes included.
        error: String,
        /// When it is retried.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        retry_in: Duration,
    },
    /// Unprocessed records of a shard may be older than half of the retention: the stream is going
    /// to trim them. Repeated with growing pauses while that lasts.
    DataAtRisk {
        /// The shard.
        shard: ShardId,
        /// How old they may be: the lag of the batch in hand, or of the last read, and the time
        /// since.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        age: Duration,
        /// The age at which they are trimmed, as of this worker's start.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        retention: Duration,
    },
    /// Records were trimmed before they were processed. They are gone.
    DataLost {
        /// The shard.
        shard: ShardId,
        /// The last position that was processed.
        from: Checkpoint,
        /// The oldest position that is left.
        to: Checkpoint,
        /// When the shard was last caught up; `None` if it never was.
        caught_up_at: Option<Timestamp>,
    },
    /// Records look aggregated but do not decode; they are delivered unchanged. Emitted for the
    /// first one, then whenever the count doubles.
    MalformedAggregates {
        /// The shard.
        shard: ShardId,
        /// How many there have been since the consumer started; one that is read again counts
        /// again.
        count: u64,
        /// Where the last of them is.
        last: SequenceNumber,
        /// What is wrong with that one.
        reason: Malformed,
    },
    /// User records whose hash keys lie outside of the shard were dropped, as
    /// [`hash_range`](crate::config::RetrievalConfig::hash_range) asks for. Emitted for the first
    /// one, then whenever the count doubles.
    OutOfRangeDropped {
        /// The shard.
        shard: ShardId,
        /// How many there have been since the consumer started; one that is read again counts
        /// again.
        count: u64,
        /// Which aggregate the last of them was in.
        last: SequenceNumber,
    },
    /// A shard is listed as closed and yields no records, but the service does not announce its
    /// end. AWS always does.
    ShardEndOverdue {
        /// The shard.
        shard: ShardId,
        /// After what time without records the shard counts as ended.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        ends_in: Duration,
    },
    /// A shard ended: all its records are processed, and its children may start.
    ShardEnded {
        /// The shard.
        shard: ShardId,
        /// Its children.
        children: Vec<ShardId>,
    },
    /// The worker created a lease for a shard that had none.
    LeaseCreated {
        /// The lease.
        key: LeaseKey,
    },
    /// The worker creates the first leases of the application, which takes a while. Repeated every
    /// 5 s.
    CreatingLeases {
        /// How many of them exist, as far as this worker knows.
        existing: usize,
        /// How many there will be.
        total: usize,
    },
    /// The worker deleted the lease of a finished shard.
    LeaseDeleted {
        /// The lease.
        key: LeaseKey,
    },
    /// Hash keys had no lease in two checks in a row, and shard sync could not create one: their
    /// records are not processed.
    HashKeysUncovered {
        /// The hash keys.
        range: HashKeyRange,
    },
    /// A call of the processor has run for `delivery.slow_after` or longer, or acknowledgements
    /// that were detached have been outstanding for that time. The call continues, and the event is
    /// repeated with growing pauses.
    ProcessorSlow {
        /// The shard.
        shard: ShardId,
        /// The call, such as `process_records`, or `acknowledgements`.
        call: &'static str,
        /// How long it has run.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        taken: Duration,
    },
    /// A processor ran past its time, and the worker released its lease.
    Stalled {
        /// The shard.
        shard: ShardId,
    },
    /// The library cannot read a row of the table, and leaves it alone.
    UnreadableRow {
        /// The row's key.
        key: String,
        /// What is wrong with it, the attribute named.
        problem: String,
    },
    /// Another live worker has this worker's name. Both continue: their incarnations differ.
    NameShared {
        /// The other worker.
        other: WorkerId,
    },
    /// Scans of the table are more than half of an expiry apart, because the budget allows no more:
    /// crashed workers are noticed late. Raise `lease.scan_units` to `needed`.
    ScansRare {
        /// How long a worker waits between two scans.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        period: Duration,
        /// `lease.scan_units`, in read units a second for the whole fleet.
        budget: usize,
        /// The budget with which scans are half of an expiry apart.
        needed: usize,
    },
    /// Calls to the table or the stream failed. The first one is emitted at once; others with the
    /// same purpose and an equal error follow as one event every 5 s.
    CallFailed {
        /// What the calls were for.
        doing: &'static str,
        /// The shard of the last one's lease; `None` if it concerned no single lease.
        shard: Option<ShardId>,
        /// The error, causes included.
        error: String,
        /// When it is retried; `None` if it is not, or if that depends on what happens before.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        retry_in: Option<Duration>,
        /// How many calls failed since the last such event.
        count: u64,
    },
    /// The worker waits until Java workers are proven gone before it writes to the table.
    WaitingForJava {
        /// The rows that may be theirs.
        seen: String,
        /// How much longer it waits, if nothing changes.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        at_least: Duration,
    },
    /// The consumer of a shard panicked, and its lease is released. A bug in this library: please
    /// report it.
    ConsumerPanicked {
        /// The shard.
        shard: ShardId,
        /// The panic's message.
        error: String,
    },
    /// The worker stopped while processors block their threads. Only the exit of the process ends
    /// them.
    ConsumersBlocked {
        /// The number of shards.
        count: usize,
    },
    /// An observer panicked, or the writer of the log. Emitted for the first panic of each.
    ObserverPanicked {
        /// The panic's message.
        error: String,
    },
    /// Events were dropped because the log or an observer blocked or was too slow.
    EventsDropped {
        /// How many, since the last such event.
        count: u64,
    },
}

impl Event {
    /// Returns the event's name, such as `lease_taken`. It never changes.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::SessionLost { .. } => "session_lost",
            Self::WorkerCondemned { .. } => "worker_condemned",
            Self::HolderStuck { .. } => "holder_stuck",
            Self::WorkerOutdated { .. } => "worker_outdated",
            Self::LeaseTaken { .. } => "lease_taken",
            Self::LeaseEnded { .. } => "lease_ended",
            Self::HandoverBegun { .. } => "handover_begun",
            Self::HandoverAsked { .. } => "handover_asked",
            Self::HandoverEnded { .. } => "handover_ended",
            Self::BatchFailed { .. } => "batch_failed",
            Self::RecordFailed { .. } => "record_failed",
            Self::DeadLettered { .. } => "dead_lettered",
            Self::DeadLetterFailed { .. } => "dead_letter_failed",
            Self::Skipped { .. } => "skipped",
            Self::ShardStopped { .. } => "shard_stopped",
            Self::ProcessorFailed { .. } => "processor_failed",
            Self::FetchFailed { .. } => "fetch_failed",
            Self::DataAtRisk { .. } => "data_at_risk",
            Self::DataLost { .. } => "data_lost",
            Self::MalformedAggregates { .. } => "malformed_aggregates",
            Self::OutOfRangeDropped { .. } => "out_of_range_dropped",
            Self::ShardEndOverdue { .. } => "shard_end_overdue",
            Self::ShardEnded { .. } => "shard_ended",
            Self::LeaseCreated { .. } => "lease_created",
            Self::CreatingLeases { .. } => "creating_leases",
            Self::LeaseDeleted { .. } => "lease_deleted",
            Self::HashKeysUncovered { .. } => "hash_keys_uncovered",
            Self::ProcessorSlow { .. } => "processor_slow",
            Self::Stalled { .. } => "stalled",
            Self::UnreadableRow { .. } => "unreadable_row",
            Self::NameShared { .. } => "name_shared",
            Self::ScansRare { .. } => "scans_rare",
            Self::CallFailed { .. } => "call_failed",
            Self::WaitingForJava { .. } => "waiting_for_java",
            Self::ConsumerPanicked { .. } => "consumer_panicked",
            Self::ConsumersBlocked { .. } => "consumers_blocked",
            Self::ObserverPanicked { .. } => "observer_panicked",
            Self::EventsDropped { .. } => "events_dropped",
        }
    }

    /// Returns the shard that the event is about; `None` if it is about the whole worker.
    #[must_use]
    pub fn shard(&self) -> Option<ShardId> {
        match self {
            Self::LeaseTaken { key, .. }
            | Self::HolderStuck { key }
            | Self::LeaseEnded { key, .. }
            | Self::HandoverBegun { key, .. }
            | Self::HandoverAsked { key, .. }
            | Self::HandoverEnded { key, .. }
            | Self::LeaseCreated { key }
            | Self::LeaseDeleted { key } => Some(key.shard()),
            Self::BatchFailed { shard, .. }
            | Self::RecordFailed { shard, .. }
            | Self::DeadLettered { shard, .. }
            | Self::DeadLetterFailed { shard, .. }
            | Self::Skipped { shard, .. }
            | Self::ShardStopped { shard, .. }
            | Self::ProcessorFailed { shard, .. }
            | Self::FetchFailed { shard, .. }
            | Self::DataAtRisk { shard, .. }
            | Self::DataLost { shard, .. }
            | Self::MalformedAggregates { shard, .. }
            | Self::OutOfRangeDropped { shard, .. }
            | Self::ShardEndOverdue { shard, .. }
            | Self::ShardEnded { shard, .. }
            | Self::ProcessorSlow { shard, .. }
            | Self::Stalled { shard }
            | Self::ConsumerPanicked { shard, .. } => Some(shard.clone()),
            Self::CallFailed { shard, .. } => shard.clone(),
            Self::Started { .. }
            | Self::SessionLost { .. }
            | Self::WorkerCondemned { .. }
            | Self::WorkerOutdated { .. }
            | Self::CreatingLeases { .. }
            | Self::HashKeysUncovered { .. }
            | Self::UnreadableRow { .. }
            | Self::NameShared { .. }
            | Self::ScansRare { .. }
            | Self::WaitingForJava { .. }
            | Self::ConsumersBlocked { .. }
            | Self::ObserverPanicked { .. }
            | Self::EventsDropped { .. } => None,
        }
    }
}
