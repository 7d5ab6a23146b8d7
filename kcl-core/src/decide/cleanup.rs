//! Which finished leases may be deleted?

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::parents::Lineage;
use crate::model::{Lease, LeaseCounter, LeaseKey, ShardId};

/// The leases of finished shards that nothing depends on any more, with their counters as read.
///
/// A child that has not progressed still needs its parent's row, as the proof that it may start. And
/// a row stays as long as a parent's does, because the parent's own deletion rests on its children's
/// rows: a family is deleted one generation at a time, the oldest first.
#[must_use]
pub fn deletable(leases: &BTreeMap<LeaseKey, Lease>) -> Vec<(LeaseKey, LeaseCounter)> {
    let finished = Lineage::of(leases, &[]).finished(leases);
    let is_deletable = |lease: &&Lease| {
        lease.is_ended()
            && !lease.children.is_empty()
            && lease.children.iter().all(|child| has_progressed(child, leases, &finished))
            && !lease.parents.iter().any(|parent| needs_children(parent, leases))
    };
    leases.values().filter(is_deletable).map(|lease| (lease.key.clone(), lease.counter)).collect()
}

/// Whether a shard has progressed. Without a lease its descendants can tell: they progress after it.
fn has_progressed(
    shard: &ShardId,
    leases: &BTreeMap<LeaseKey, Lease>,
    finished: &BTreeSet<ShardId>,
) -> bool {
    leases
        .get(&LeaseKey::from(shard))
        .map_or_else(|| finished.contains(shard), |lease| lease.checkpoint.has_progressed())
}

/// Whether a parent has a lease whose deletion rests on its children's.
///
/// A finished lease that names no children, as Java leaves it when the shard was trimmed, is never
/// deleted here, and must not keep all its descendants.
fn needs_children(parent: &ShardId, leases: &BTreeMap<LeaseKey, Lease>) -> bool {
    leases
        .get(&LeaseKey::from(parent))
        .is_some_and(|lease| !(lease.is_ended() && lease.children.is_empty()))
}
