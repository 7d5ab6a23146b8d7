//! Oracles: promises that every world checks after every step.

mod calls;
mod facts;
mod healing;
mod holdings;
mod landing;
mod leases;
mod records;
mod session_facts;
mod sessions;
mod shard_facts;
mod waits;

use std::fmt;
use std::str::FromStr;

pub(crate) use calls::ScanBudget;
pub(crate) use facts::Facts;
pub(crate) use healing::is_healthy;
pub(crate) use landing::Landing;
pub(crate) use sessions::SessionLanding;
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
    /// A worker that stops announces that it leaves before it releases its leases.
    PresenceGoesFirst,
    /// A lease is taken from its owner only after a whole expiry without a renewal.
    LiveOwnersKept,
    /// The row of a worker that is dead never changes again, until it is deleted.
    FrozenStays,
    /// What a session's row contains is not lost: the next owner of a lease begins from there, and
    /// the row is deleted only once no lease names its worker.
    StoredKept,
    /// A worker with a session makes at most a few heartbeats a second, and renews a lease only to
    /// store what its session cannot hold.
    WritesBounded,
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
    /// No worker waits for more than 64 calls to the table at once.
    CallsInFlight,
    /// Scans keep to their budget of read units: twice of it while leases move, and also while the
    /// table is throttled.
    ScansBudgeted,
    /// A fleet at rest loses at most one take a second.
    TakesRest,
    /// No worker holds more leases than its `leases_max`.
    MaximaKept,
    /// While calls succeed, each lease is renewed within half an expiry.
    RenewedInTime,
    /// While calls succeed, no lease of a live worker expires.
    LeasesKept,
    /// Workers that join get their share within seconds, and so do those that inherit from a worker
    /// that crashed, once its leases have expired.
    SharesInTime,
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

impl Oracle {
    /// The promises about fleets under load.
    pub const OF_LOAD: [Self; 7] = [
        Self::CallsInFlight,
        Self::ScansBudgeted,
        Self::TakesRest,
        Self::MaximaKept,
        Self::RenewedInTime,
        Self::LeasesKept,
        Self::SharesInTime,
    ];
}

impl FromStr for Oracle {
    type Err = String;

    /// The name of a promise about fleets under load.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::OF_LOAD.into_iter().find(|oracle| oracle.to_string() == text);
        found.ok_or_else(|| format!("no promise {text:?}: there are {:?}", Self::OF_LOAD))
    }
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
