//! Which finished leases may be deleted, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Lease, LeaseCounter, LeaseKey, Moment, ShardId};
use crate::shards::lineage::{Lineage, finished};

/// How long a lease must have been seen to be finished before it is deleted.
///
/// A create that a worker planned before the lease existed fails while the row is there. It must
/// not succeed afterwards, because the shard would be processed again.
pub const DELETE_AFTER: Duration = Duration::from_mins(2);

/// When each finished lease was first seen to be finished.
#[derive(Clone, Debug, Default)]
pub struct CleanupWatch {
    ended: BTreeMap<LeaseKey, Moment>,
}

impl CleanupWatch {
    /// Records a whole scan. Leases that are not in it are forgotten.
    pub fn observe_scan<'a>(&mut self, leases: impl IntoIterator<Item = &'a Lease>, now: Moment) {
        let earlier = std::mem::take(&mut self.ended);
        let since = |key: &LeaseKey| earlier.get(key).copied().unwrap_or(now);
        let ended = leases.into_iter().filter(|lease| lease.is_ended());
        self.ended = ended.map(|lease| (lease.key.clone(), since(&lease.key))).collect();
    }

    /// Returns the leases that have been finished for at least [`DELETE_AFTER`].
    #[must_use]
    pub fn deletable_at(&self, now: Moment) -> BTreeSet<LeaseKey> {
        let due = self.ended.iter().filter(|(_, since)| now.since(**since) >= DELETE_AFTER);
        due.map(|(key, _)| key.clone()).collect()
    }
}

/// Returns the leases of finished shards on which no other lease depends, with their counters as
/// read.
///
/// A child that has not progressed needs its parent's row as the proof that it may start. A row
/// also stays while a parent's row does, because the parent's deletion depends on its children's
/// rows: a family is deleted one generation at a time, the oldest first.
#[must_use]
pub fn deletable(leases: &BTreeMap<LeaseKey, Lease>) -> Vec<(LeaseKey, LeaseCounter)> {
    let finished = finished(leases, &Lineage::up(leases, &[]));
    let is_deletable = |lease: &&Lease| {
        lease.is_ended()
            && !lease.children.is_empty()
            && lease.children.iter().all(|child| has_progressed(child, leases, &finished))
            && !lease.parents.iter().any(|parent| needs_children(parent, leases))
    };
    leases.values().filter(is_deletable).map(|lease| (lease.key.clone(), lease.counter)).collect()
}

/// Whether `shard` has progressed. Without a lease, the progress of its descendants proves it.
fn has_progressed(
    shard: &ShardId,
    leases: &BTreeMap<LeaseKey, Lease>,
    finished: &BTreeSet<&str>,
) -> bool {
    leases.get(shard.as_str()).map_or_else(
        || finished.contains(shard.as_str()),
        |lease| lease.checkpoint.has_progressed(),
    )
}

/// Whether `parent` has a lease whose deletion depends on its children's leases.
///
/// A finished lease without children, which Java leaves for a trimmed shard, is never deleted here
/// and must not keep its descendants.
fn needs_children(parent: &ShardId, leases: &BTreeMap<LeaseKey, Lease>) -> bool {
    leases
        .get(parent.as_str())
        .is_some_and(|lease| !(lease.is_ended() && lease.children.is_empty()))
}

#[cfg(test)]
#[path = "cleanup_tests.rs"]
mod tests;
