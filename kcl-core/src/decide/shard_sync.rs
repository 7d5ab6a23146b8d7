//! Which leases does the shard list call for, which ones must go, and is every hash key covered?
//!
//! A lease must exist for every open shard, and for every closed one that a shard still has to wait
//! for. It must not come back once its shard is finished: it would be processed again.
//!
//! Four facts keep these apart, whatever is stale:
//! - A shard's progress proves that all its ancestors are finished, so those are never created.
//! - A finished lease is deleted only after all its children progressed. So a shard without progress
//!   below it has not been processed: it is created, if a shard that has not progressed waits for it.
//! - A first lease that starts at a time waits for no missing parent: that one ended before.
//! - An unended lease that the list does not have is newer than the list, or its shard was trimmed.
//!   In the first case shards that overlap it may be listed as open and be long finished; in the
//!   second its consumer, at its end, creates what follows. In both nothing there is created here.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::bootstrap::{first_lease, in_order};
use crate::decide::coverage::{gaps, touches, union};
use crate::decide::parents::{Lineage, is_bootstrap, is_leftover};
use crate::model::{
    ChildShard, HashKeyRange, Lease, LeaseKey, NewLease, Shard, ShardId, StreamStart,
};

/// What to do about the leases of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct SyncPlan {
    /// Leases to create, in this order: parents before children.
    pub create: Vec<NewLease>,
    /// Leases that a late create left behind: to be deleted if nobody has taken them.
    pub delete_untouched: Vec<LeaseKey>,
    /// Hash keys that no lease stood for when the leases were read. What `create` heals is among
    /// them. A scan is no snapshot: only a hole that is seen again is one.
    pub holes: Vec<HashKeyRange>,
}

/// Compares all shards that the stream lists with all leases.
///
/// Nothing is planned before the bootstrap is complete: its leases would start too early.
pub fn plan(listed: &[Shard], leases: &BTreeMap<LeaseKey, Lease>, start: &StreamStart) -> SyncPlan {
    if !start.bootstrapped {
        return SyncPlan::default();
    }
    let sync = Sync::of(listed, leases);
    let is_left = |lease: &&Lease| is_leftover(lease, &sync.finished);
    SyncPlan {
        create: sync.create(start),
        delete_untouched: leases.values().filter(is_left).map(|left| left.key.clone()).collect(),
        holes: gaps(HashKeyRange::FULL, leases.values().filter_map(|lease| sync.stands_for(lease))),
    }
}

#[derive(Debug)]
struct Sync<'a> {
    leases: &'a BTreeMap<LeaseKey, Lease>,
    listed: BTreeMap<&'a ShardId, &'a Shard>,
    lineage: Lineage,
    /// The shards that a descendant's progress proves to be finished.
    finished: BTreeSet<ShardId>,
    /// The hash keys of unended leases that are not listed.
    beyond_list: Vec<HashKeyRange>,
}

impl<'a> Sync<'a> {
    fn of(shards: &'a [Shard], leases: &'a BTreeMap<LeaseKey, Lease>) -> Self {
        let listed: BTreeMap<_, _> = shards.iter().map(|shard| (&shard.id, shard)).collect();
        let lineage = Lineage::of(leases, shards);
        let finished = lineage.finished(leases);
        let unlisted = leases.values().filter(|lease| {
            !lease.is_ended()
                && !is_leftover(lease, &finished)
                && !listed.contains_key(&lease.key.shard())
        });
        let beyond_list = union(unlisted.filter_map(|lease| lease.hash_range));
        Self { leases, listed, lineage, finished, beyond_list }
    }

    fn create(&self, start: &StreamStart) -> Vec<NewLease> {
        let open = self.listed.values().filter(|shard| !shard.is_closed());
        let mut wanted: BTreeMap<&ShardId, &Shard> = open
            .filter(|shard| self.may_be_created(shard))
            .map(|shard| (&shard.id, *shard))
            .collect();
        self.add_ancestors(&mut wanted);
        let below_a_lease = self.lineage.below(self.leases);
        let new_lease = |shard: &Shard| {
            if shard.is_closed() && !below_a_lease.contains(&shard.id) {
                // It may be older than the application's start: it owes only what came after that.
                first_lease(start, shard)
            } else {
                NewLease::of(&ChildShard::from(shard))
            }
        };
        in_order(wanted.into_values().collect()).into_iter().map(new_lease).collect()
    }

    /// Adds what the wanted leases, and those that have not progressed, wait for and has no lease.
    fn add_ancestors<'s>(&'s self, wanted: &mut BTreeMap<&'s ShardId, &'s Shard>) {
        let waits = |lease: &&Lease| {
            !lease.checkpoint.has_progressed()
                && !is_bootstrap(lease)
                && !is_leftover(lease, &self.finished)
        };
        let waiting = self.leases.values().filter(waits).map(|lease| lease.key.shard());
        let mut pending: Vec<ShardId> =
            waiting.chain(wanted.keys().map(|id| (*id).clone())).collect();
        while let Some(child) = pending.pop() {
            for parent in self.lineage.parents(&child) {
                let Some(shard) = self.listed.get(parent) else { continue };
                if self.may_be_created(shard) && wanted.insert(&shard.id, shard).is_none() {
                    pending.push(parent.clone());
                }
            }
        }
    }

    fn may_be_created(&self, shard: &Shard) -> bool {
        !self.has_lease(&shard.id)
            && !self.finished.contains(&shard.id)
            && !touches(shard.hash_range, &self.beyond_list)
    }

    fn has_lease(&self, shard: &ShardId) -> bool {
        self.leases.contains_key(&LeaseKey::from(shard))
    }

    /// The hash keys that a lease stands for: its shard's, until its children's leases do.
    fn stands_for(&self, lease: &Lease) -> Option<HashKeyRange> {
        let shard = lease.key.shard();
        let is_succeeded = || {
            let mut children = self.lineage.children(&shard).peekable();
            children.peek().is_some()
                && children.all(|child| self.has_lease(child) || self.finished.contains(child))
        };
        if is_leftover(lease, &self.finished) || (lease.is_ended() && is_succeeded()) {
            return None;
        }
        lease.hash_range.or_else(|| self.listed.get(&shard).map(|shard| shard.hash_range))
    }
}
