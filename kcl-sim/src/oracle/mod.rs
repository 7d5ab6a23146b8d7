//! Oracles: promises that every world checks after every step.

mod facts;
mod healing;
mod leases;
mod records;
mod shard_facts;
mod waits;

use std::fmt;

pub(crate) use facts::Facts;
pub(crate) use healing::is_healthy;
pub(crate) use leases::Landing;
pub(crate) use shard_facts::Put;

use crate::time::Time;

/// A promise. `docs/concepts/semantics.md` and `docs/internals/lease-protocol.md` state it under
/// the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Oracle {
    /// No checkpoint passes a record that was not processed.
    NoSkip,
    /// An owner delivers the records of its shard in order, without gaps, from its checkpoint on.
    ShardOrder,
    /// A processor that works concurrently begins a record only when the earlier ones of its
    /// partition key are done.
    KeyOrder,
    /// Only records that cannot be processed are abandoned, and those that are dead-lettered are
    /// stored first.
    OnlyPoisonSetAside,
    /// A shard's records are delivered only when those of all its parents are done.
    ParentsFirst,
    /// No processor is polled after one of a later owner, and no worker has two for one shard.
    OneDeliverer,
    /// A processor's token is the counter that its owner's take of the lease set.
    Fencing,
    /// A lease's counter never falls, and grows with every write but the start of a hand-over.
    CountersRise,
    /// A lease's checkpoint never goes back.
    CheckpointsRise,
    /// Only the holder of a lease moves its checkpoint.
    HolderWrites,
    /// A prepared checkpoint stays until a checkpoint settles it, and the next owner's processor
    /// gets it.
    PendingKept,
    /// A worker that stops deletes its presence before it releases its leases.
    PresenceGoesFirst,
    /// A lease is taken from its owner only after a whole expiry without a renewal.
    LiveOwnersKept,
    /// A shard's end is stored only when all its records are done and its children have leases.
    ShardEndProven,
    /// The lease of a finished shard is never taken again, and no other lease is deleted.
    NoResurrection,
    /// A release or a hand-over stores everything that was processed.
    CleanEnds,
    /// A renewal stores everything that was processed before it was sent, so that a crash repeats
    /// only what came after.
    RepeatsBounded,
    /// No record waits longer than allowed: a few seconds while nothing fails, however the fleet
    /// and the stream grow and shrink.
    WaitsBounded,
    /// No loop calls the table or the stream without a pause.
    CallsBounded,
    /// After the faults: a live worker holds every shard that can be worked on.
    AllHeld,
    /// After the faults: every record is processed and checkpointed.
    AllDone,
    /// After the faults: the numbers of leases that workers hold differ by at most one.
    Balanced,
    /// After the faults: no hand-over is under way.
    HandoversEnd,
    /// After the faults: a worker's status lists exactly the leases that it owns in the table.
    StatusTrue,
    /// Workers run until they are asked to stop, and then end in time.
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
    /// When it was observed.
    pub at: Time,
    /// The promise.
    pub oracle: Oracle,
    /// What was observed.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s: {} is broken: {}", self.at, self.oracle, self.seen)
    }
}

impl std::error::Error for Violation {}
