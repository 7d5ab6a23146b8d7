//! Everything that happens to a worker, its leases and its shards.
//!
//! Logs, tests and your own [`Observer`] all consume the same events.

use std::fmt;
use std::time::Duration;

use kcl_proto::kpl::Malformed;
use kcl_proto::model::{
    Checkpoint, FencingToken, HashKeyRange, LeaseKey, Position, SequenceNumber, ShardId, Timestamp,
    WorkerId,
};
pub use kcl_proto::model::{LeaseEnd, TakeReason};

pub use super::status::{
    HeldShard, ShardReport, ShutdownReport, SlowCall, WorkerState, WorkerStatus,
};
pub use crate::memory::MemoryUsage;

/// Gets every event of a worker. Called on the worker's own threads: return at once.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event);
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The worker began to work: its presence is stored.
    Started {
        /// Who.
        worker: WorkerId,
    },
    /// A lease was taken, and its consumer starts.
    LeaseTaken {
        /// Which.
        key: LeaseKey,
        /// This ownership's token.
        token: FencingToken,
        /// Where it resumes.
        checkpoint: Checkpoint,
        /// Why it was there to be taken.
        why: TakeReason,
    },
    /// A lease is held no longer.
    LeaseEnded {
        /// Which.
        key: LeaseKey,
        /// How it ended.
        how: LeaseEnd,
        /// What its checkpoint is, as far as this worker knows.
        checkpoint: Checkpoint,
    },
    /// This worker asked an owner to hand over a lease.
    HandOverBegun {
        /// Which.
        key: LeaseKey,
        /// Who holds it.
        owner: WorkerId,
    },
    /// Another worker asked for a lease of this one: it drains.
    HandOverAsked {
        /// Which.
        key: LeaseKey,
        /// Who wants it.
        next: WorkerId,
    },
    /// A hand-over ended without the lease moving.
    HandOverEnded {
        /// Which.
        key: LeaseKey,
        /// Why.
        reason: &'static str,
    },
    /// A batch failed and will be delivered again.
    BatchFailed {
        /// Of which shard.
        shard: ShardId,
        /// How often it was delivered so far.
        attempt: u32,
        /// What the processor said.
        error: String,
        /// When it comes again.
        retry_in: Duration,
    },
    /// A record that is processed on its own failed, and will be tried again. Records of other
    /// partition keys go on.
    RecordFailed {
        /// Of which shard.
        shard: ShardId,
        /// Which record.
        position: Position,
        /// How often it was tried so far.
        attempt: u32,
        /// What the handler said.
        error: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// A record used up its attempts and is stored in the dead letter. Its shard goes on.
    DeadLettered {
        /// Of which shard.
        shard: ShardId,
        /// Which record.
        position: Position,
        /// How often it was delivered.
        attempts: u32,
        /// What the processor said last.
        error: String,
    },
    /// The dead letter did not take a record. It is tried again: its shard waits.
    DeadLetterFailed {
        /// Of which shard.
        shard: ShardId,
        /// Which record.
        position: Position,
        /// How often it was tried so far.
        attempt: u32,
        /// What the dead letter said.
        error: String,
        /// When it is tried again, if it is.
        retry_in: Option<Duration>,
    },
    /// A record used up its attempts and is passed over, as the policy says. It is lost.
    Skipped {
        /// Of which shard.
        shard: ShardId,
        /// Which record.
        position: Position,
        /// How often it was delivered.
        attempts: u32,
        /// What the processor said last.
        error: String,
        /// How many records of this shard were skipped in this ownership, this one included.
        skipped: u64,
    },
    /// Records, `initialize` or `shard_ended` used up their attempts, and the shard is given up, as the
    /// policy says. This worker does not take it again until it is started anew.
    ShardStopped {
        /// Which shard.
        shard: ShardId,
        /// Which call failed, such as `process_records`.
        call: &'static str,
        /// The first record that failed; none if the call was one without records.
        position: Option<Position>,
        /// What the processor said last.
        error: String,
        /// Whether the whole worker stops.
        stops_worker: bool,
    },
    /// A call of the processor other than that for a batch failed or panicked.
    ProcessorFailed {
        /// Of which shard.
        shard: ShardId,
        /// Which call, such as `initialize`.
        call: &'static str,
        /// How often it was made so far.
        attempt: u32,
        /// What the processor said.
        error: String,
        /// When it is made again, if it is.
        retry_in: Option<Duration>,
    },
    /// Records could not be read, and will be tried again.
    FetchFailed {
        /// Of which shard.
        shard: ShardId,
        /// What was said, causes included.
        error: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// Records of a shard that are not done may be older than half of the retention: the stream will
    /// drop them. Told again with growing pauses for as long as that lasts.
    DataAtRisk {
        /// Of which shard.
        shard: ShardId,
        /// How old they may be: the lag of the batch in hand, or of the last read, and the time since.
        age: Duration,
        /// At what age they are dropped, as it was when this worker started.
        retention: Duration,
    },
    /// Records were trimmed before they were processed. They are gone.
    DataLost {
        /// Of which shard.
        shard: ShardId,
        /// The last position that was processed.
        from: Checkpoint,
        /// The oldest position that is left, if any is.
        to: Checkpoint,
        /// When the shard was last caught up, if it ever was.
        caught_up_at: Option<Timestamp>,
    },
    /// Records begin like aggregates and are none: they are delivered as they are. Told of the first,
    /// then each time that there are twice as many.
    MalformedAggregates {
        /// Of which shard.
        shard: ShardId,
        /// How many there were since its consumer started; one that is read again counts again.
        count: u64,
        /// Where the last of them is.
        last: SequenceNumber,
        /// What is wrong with that one.
        reason: Malformed,
    },
    /// User records whose hash keys lie outside of the shard were dropped, as
    /// [`hash_range`](crate::config::RetrievalConfig::hash_range) asks for. Told of the first, then
    /// each time that there are twice as many.
    OutOfRangeDropped {
        /// Of which shard.
        shard: ShardId,
        /// How many there were since its consumer started; one that is read again counts again.
        count: u64,
        /// Which aggregate the last of them was in.
        last: SequenceNumber,
    },
    /// A shard ended: all its records are processed, and its children may start.
    ShardEnded {
        /// Which.
        shard: ShardId,
        /// Its children.
        children: Vec<ShardId>,
    },
    /// A lease was created for a shard that had none.
    LeaseCreated {
        /// Which.
        key: LeaseKey,
    },
    /// The lease of a finished shard was deleted.
    LeaseDeleted {
        /// Which.
        key: LeaseKey,
    },
    /// Hash keys have no lease, twice in a row: their records are not processed. Shard sync could not
    /// heal that.
    HashKeysUncovered {
        /// Which.
        range: HashKeyRange,
    },
    /// A call of the processor has not ended for `delivery.slow_after` or longer, or records whose
    /// acknowledgements are detached are not done for so long. It goes on, and is told again with
    /// growing pauses.
    ProcessorSlow {
        /// Of which shard.
        shard: ShardId,
        /// Which call, such as `process_records`, or `acknowledgements`.
        call: &'static str,
        /// How long it has taken so far.
        taken: Duration,
    },
    /// A processor hung past its time, and its shard was given up.
    Stalled {
        /// Which shard.
        shard: ShardId,
    },
    /// A row of the table is nothing that this library can read. It is left alone.
    UnreadableRow {
        /// The row's key.
        key: String,
        /// What is wrong: names the attribute.
        problem: String,
    },
    /// Another live worker has this worker's name. Both go on: their incarnations differ.
    NameShared {
        /// The other.
        other: WorkerId,
    },
    /// A call to the table or the stream failed, and will be tried again.
    CallFailed {
        /// What was being done.
        doing: &'static str,
        /// What was said, causes included.
        error: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// The table waits for Java workers to be proven gone before anything is written.
    WaitingForJava {
        /// What there is.
        seen: String,
        /// For how much longer, if nothing changes.
        at_least: Duration,
    },
}
