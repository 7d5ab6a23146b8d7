//! Oracles: what must hold in every world, checked after every step.
//!
//! Each has the name under which the documents state the promise.

mod facts;
mod healing;
mod leases;
mod records;
mod waits;

use std::fmt;

pub(crate) use facts::{Facts, Put};
pub(crate) use healing::is_healthy;
pub(crate) use leases::Landing;

use crate::time::Time;

/// A promise that is watched. `docs/concepts/semantics.md` and `docs/internals/lease-protocol.md` state it under the
/// same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Oracle {
    /// No checkpoint passes a record that was not processed.
    NoSkip,
    /// An ownership is handed the records of its shard in order, each after the one before, from
    /// its checkpoint on.
    ShardOrder,
    /// Where records are processed concurrently: one is begun only when those of its partition key
    /// before it are done.
    KeyOrder,
    /// A shard goes on without a record only if that cannot be processed, and, where there is a dead
    /// letter, is stored there.
    OnlyPoisonSetAside,
    /// A shard's records are handed over only when those of all its parents are done.
    ParentsFirst,
    /// No processor is polled once a later owner's was, and no worker has two for one shard.
    OneDeliverer,
    /// A processor's token is the counter that its owner's take of the lease set.
    Fencing,
    /// A lease's counter never falls, and grows with every write but the start of a hand-over.
    CountersRise,
    /// A lease's checkpoint never goes back.
    CheckpointsRise,
    /// Only the holder of a lease moves its checkpoint.
    HolderWrites,
    /// What was prepared stays until a checkpoint settles it, and the next owner is told of it.
    PendingKept,
    /// A worker that stops removes its presence before it lets its leases go.
    PresenceGoesFirst,
    /// A lease is taken from its owner only after it was silent for a whole expiry.
    LiveOwnersKept,
    /// A shard's end is stored only when all its records are done and its children have leases.
    ShardEndProven,
    /// The lease of a finished shard is never taken again, nor is one deleted that is not finished.
    NoResurrection,
    /// A lease that is released or handed over takes all that was processed with it.
    CleanEnds,
    /// A renewal stores all that was processed before it was sent: so a crash repeats no more than
    /// what came after.
    RepeatsBounded,
    /// No record waits for longer than was said: a few seconds while nothing fails, however the fleet
    /// and the stream grow and shrink.
    WaitsBounded,
    /// No loop calls the table or the stream without a pause.
    CallsBounded,
    /// After the faults: every shard that can be worked on is held by a live worker.
    AllHeld,
    /// After the faults: every record is processed and checkpointed.
    AllDone,
    /// After the faults: numbers of held leases differ by one at most.
    Balanced,
    /// After the faults: no hand-over stays open.
    HandOversEnd,
    /// After the faults: a worker's status names the leases that the table says it holds.
    StatusTrue,
    /// Workers run until they are stopped, and stop in time when they are asked to.
    WorkersRun,
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// When it was seen.
    pub at: Time,
    /// Which one.
    pub oracle: Oracle,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s: {} is broken: {}", self.at, self.oracle, self.seen)
    }
}

impl std::error::Error for Violation {}
