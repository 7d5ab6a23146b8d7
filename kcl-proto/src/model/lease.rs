//! A lease: one row of the table, which says who processes a shard and how far it has come.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::model::name::name;
use crate::model::{
    Checkpoint, ChildShard, HashKeyRange, PendingCheckpoint, ShardId, Timestamp, WorkerId,
};

name! {
    /// The key of a lease's row. For an application of one stream it is the shard's id.
    LeaseKey
}

impl LeaseKey {
    /// The shard that the lease is for.
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

/// The heartbeat number of a lease: it grows with every write but the start of a hand-over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaseCounter(pub u64);

impl LeaseCounter {
    /// The counter after one more write.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for LeaseCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for LeaseCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which write made a row what it is: the counter it set, by whom, and that worker's own number.
///
/// Never the same twice. A writer that got no reply finds its own stamp, or learns that its write
/// did not count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WriteStamp {
    /// The counter that the write set.
    pub counter: LeaseCounter,
    /// Who wrote.
    pub worker: WorkerId,
    /// The writer's own write number.
    pub number: u64,
}

impl WriteStamp {
    /// Reads what [`Display`](fmt::Display) writes: `counter/worker/number`.
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

/// A lease as it was read or written. Never edited in place: a write returns the new row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Lease {
    /// The row's key.
    pub key: LeaseKey,
    /// Who is entitled to the lease; during a hand-over, who gets it next.
    pub owner: Option<WorkerId>,
    /// During a hand-over only: who still processes the shard.
    pub checkpoint_owner: Option<WorkerId>,
    /// The heartbeat number.
    pub counter: LeaseCounter,
    /// How often the owner changed since the last checkpoint. Informative.
    pub owner_switches: u64,
    /// How far the shard has been processed.
    pub checkpoint: Checkpoint,
    /// A prepared checkpoint that is not committed yet.
    pub pending: Option<PendingCheckpoint>,
    /// The shard's parents.
    pub parents: BTreeSet<ShardId>,
    /// The shard's children, known once it ended.
    pub children: BTreeSet<ShardId>,
    /// The hash keys of the shard; absent on rows of old Java versions.
    pub hash_range: Option<HashKeyRange>,
    /// For [`Checkpoint::AtTimestamp`]: the time to start at.
    pub start_at: Option<Timestamp>,
    /// The owner's lease expiry. Counts only if the row [is ours](Self::is_ours).
    pub expiry: Option<Duration>,
    /// When the shard's consumer was last at the end of the shard. Counts only if the row
    /// [is ours](Self::is_ours).
    pub caught_up_at: Option<Timestamp>,
    /// The last write of this library that changed the counter.
    pub last_write: Option<WriteStamp>,
}

impl Lease {
    /// A row without an owner and everything that is optional. A store that decodes a row sets the
    /// fields that the row has.
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
            last_write: None,
        }
    }

    /// Whether this library wrote the row last: any Java write moves the counter on.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.last_write.as_ref().is_some_and(|stamp| stamp.counter == self.counter)
    }

    /// Who processes the shard: the outgoing owner while a hand-over is open.
    #[must_use]
    pub fn holder(&self) -> Option<&WorkerId> {
        self.checkpoint_owner.as_ref().or(self.owner.as_ref())
    }

    /// Whether the shard is finished.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.checkpoint.is_shard_end()
    }
}

/// What a new row starts with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NewLease {
    /// The row's key.
    pub key: LeaseKey,
    /// Where its first consumer starts: never [`Checkpoint::Latest`].
    pub checkpoint: Checkpoint,
    /// For [`Checkpoint::AtTimestamp`]: the time to start at.
    pub start_at: Option<Timestamp>,
    /// The shard's parents.
    pub parents: BTreeSet<ShardId>,
    /// The hash keys of the shard.
    pub hash_range: HashKeyRange,
}

impl NewLease {
    /// A row of a shard without parents. Set [`parents`](Self::parents) and
    /// [`start_at`](Self::start_at) where it has them.
    #[must_use]
    pub const fn new(key: LeaseKey, checkpoint: Checkpoint, hash_range: HashKeyRange) -> Self {
        Self { key, checkpoint, start_at: None, parents: BTreeSet::new(), hash_range }
    }

    /// The lease of a shard that is found after the first start: it begins with the oldest record.
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
