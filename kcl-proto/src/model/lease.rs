//! A lease: one row of the table, with the owner of a shard and its checkpoint.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::model::name::name;
use crate::model::{
    Checkpoint, ChildShard, FencingToken, HashKeyRange, LeaseCounter, Liveness, PendingCheckpoint,
    ShardId, Timestamp, WorkerId,
};

name! {
    /// The key of a lease's row: the shard's id.
    LeaseKey
}

impl LeaseKey {
    /// Returns the shard that the lease is for.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        ShardId::new(self)
    }
}

impl From<&ShardId> for LeaseKey {
    fn from(shard: &ShardId) -> Self {
        Self::new(shard)
    }
}

/// The identity of the last write to a row: the counter it set, the worker, and the worker's own
/// number.
///
/// No two writes have the same stamp. A writer that got no reply finds its own stamp on the row, or
/// learns that its write was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WriteStamp {
    /// The counter that the write set.
    pub counter: LeaseCounter,
    /// The writer.
    pub worker: WorkerId,
    /// The writer's own write number.
    pub number: u64,
}

impl WriteStamp {
    /// Parses the form that [`Display`](fmt::Display) writes, `counter/worker/number`. Returns
    /// `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (counter, rest) = text.split_once('/')?;
        let (worker, number) = rest.rsplit_once('/')?;
        Some(Self {
            counter: LeaseCounter(counter.parse().ok()?),
            worker: WorkerId::new(worker),
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for WriteStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.counter, self.worker, self.number)
    }
}

/// A lease as it was read or written. It is never edited in place: a write returns the new row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Lease {
    /// The row's key.
    pub key: LeaseKey,
    /// The owner; during a hand-over, the next owner. `None` if any worker may take the lease.
    pub owner: Option<WorkerId>,
    /// During a hand-over, the worker that still processes the shard. `None` otherwise.
    pub checkpoint_owner: Option<WorkerId>,
    /// The heartbeat number.
    pub counter: LeaseCounter,
    /// The number of ownership changes since the last checkpoint. Informative.
    pub owner_switches: u64,
    /// How far the shard is processed.
    pub checkpoint: Checkpoint,
    /// The prepared checkpoint that is not committed, or `None`.
    pub pending: Option<PendingCheckpoint>,
    /// The shard's parents.
    pub parents: BTreeSet<ShardId>,
    /// The shard's children. Empty until the shard ended.
    pub children: BTreeSet<ShardId>,
    /// The hash keys of the shard, or `None` on rows of old Java versions.
    pub hash_range: Option<HashKeyRange>,
    /// For [`Checkpoint::AtTimestamp`]: the time to start at.
    pub start_at: Option<Timestamp>,
    /// The owner's lease expiry, or the mark of a lease that [lives by a session](Self::lives_by),
    /// which [says it too](Self::holder_expiry). Valid only if the row [is ours](Self::is_ours).
    pub expiry: Option<Duration>,
    /// When the consumer last reached the end of the shard. Valid only if the row
    /// [is ours](Self::is_ours).
    pub caught_up_at: Option<Timestamp>,
    /// The counter that the last take set, or `None` if there was none or an older version made it.
    /// Valid only if the row [is ours](Self::is_ours).
    pub token: Option<FencingToken>,
    /// The last write of this library that changed the counter, or `None` if there is none.
    pub last_write: Option<WriteStamp>,
}

impl Lease {
    /// Creates a row without an owner and without optional values. A store that decodes a row sets
    /// the fields that the row has.
    #[must_use]
    pub const fn new(key: LeaseKey, counter: LeaseCounter, checkpoint: Checkpoint) -> Self {
        Self {
            key,
            owner: None,
            checkpoint_owner: None,
            counter,
            owner_switches: 0,
            checkpoint,
            pending: None,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
            hash_range: None,
            start_at: None,
            expiry: None,
            caught_up_at: None,
            token: None,
            last_write: None,
        }
    }

    /// Whether this library wrote the row last. Any write of Java changes the counter but not the
    /// stamp.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.last_write.as_ref().is_some_and(|stamp| stamp.counter == self.counter)
    }

    /// Returns the worker that processes the shard: the outgoing owner while a hand-over is open.
    #[must_use]
    pub fn holder(&self) -> Option<&WorkerId> {
        self.checkpoint_owner.as_ref().or(self.owner.as_ref())
    }

    /// Returns what proves that the holder is alive.
    #[must_use]
    pub fn lives_by(&self) -> Liveness {
        Liveness::of(self.expiry.filter(|_| self.is_ours()))
    }

    /// Returns the expiry that the take of the holder stored, or `None` if the row does not say.
    #[must_use]
    pub fn holder_expiry(&self) -> Option<Duration> {
        let stored = self.expiry.filter(|_| self.is_ours());
        stored.map(|stored| self.lives_by().holder_expiry(stored))
    }

    /// Returns the worker by whose session the lease lives, or `None` if it lives by its counter or
    /// its shard is finished.
    #[must_use]
    pub fn session_holder(&self) -> Option<&WorkerId> {
        let is_in_session = self.lives_by() == Liveness::Session && !self.is_ended();
        self.holder().filter(|_| is_in_session)
    }

    /// Whether the shard is finished.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.checkpoint.is_shard_end()
    }
}

/// The contents of a new row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NewLease {
    /// The row's key.
    pub key: LeaseKey,
    /// Where its first consumer starts. Never [`Checkpoint::Latest`].
    pub checkpoint: Checkpoint,
    /// For [`Checkpoint::AtTimestamp`]: the time to start at.
    pub start_at: Option<Timestamp>,
    /// The shard's parents.
    pub parents: BTreeSet<ShardId>,
    /// The hash keys of the shard.
    pub hash_range: HashKeyRange,
}

impl NewLease {
    /// Creates the contents of a row of a shard without parents. Set [`parents`](Self::parents) and
    /// [`start_at`](Self::start_at) if the row has them.
    #[must_use]
    pub const fn new(key: LeaseKey, checkpoint: Checkpoint, hash_range: HashKeyRange) -> Self {
        Self { key, checkpoint, start_at: None, parents: BTreeSet::new(), hash_range }
    }

    /// Returns the lease of a shard that appeared after the application's first start: it starts
    /// with the oldest record.
    #[must_use]
    pub fn of(shard: &ChildShard) -> Self {
        Self {
            key: LeaseKey::from(&shard.id),
            checkpoint: Checkpoint::TrimHorizon,
            start_at: None,
            parents: shard.parents.iter().cloned().collect(),
            hash_range: shard.hash_range,
        }
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Lease {
    /// Returns a lease for tests: shard `shardId-000000000000` of all hash keys, without an owner,
    /// at [`Checkpoint::TrimHorizon`], with counter 0 and no last write.
    #[must_use]
    pub fn sample() -> Self {
        Self {
            key: LeaseKey::from(&ShardId::sample()),
            owner: None,
            checkpoint_owner: None,
            counter: LeaseCounter(0),
            owner_switches: 0,
            checkpoint: Checkpoint::TrimHorizon,
            pending: None,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
            hash_range: Some(HashKeyRange::FULL),
            start_at: None,
            expiry: None,
            caught_up_at: None,
            token: None,
            last_write: None,
        }
    }

    /// Sets the last write to one of `worker` with the current counter, so that the row
    /// [is ours](Self::is_ours).
    #[must_use]
    pub fn written_by(mut self, worker: &str) -> Self {
        self.last_write =
            Some(WriteStamp { counter: self.counter, worker: worker.into(), number: 1 });
        self
    }
}

#[cfg(any(test, feature = "test-util"))]
impl NewLease {
    /// Returns a new lease for tests: shard `shardId-000000000000` of all hash keys, from the
    /// oldest record.
    #[must_use]
    pub fn sample() -> Self {
        Self::of(&ChildShard::from(&crate::model::Shard::sample()))
    }
}
