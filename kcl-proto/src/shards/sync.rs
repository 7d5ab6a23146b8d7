//! Which leases to create and delete for the shards that the stream lists, and which hash keys have
//! none.
//!
//! Every open shard needs a lease, and so does every closed shard that another shard still waits
//! for. The lease of a finished shard must not return, because the shard would be processed again.
//!
//! Four facts tell these apart, even with stale data:
//! - A shard's progress proves that all its ancestors are finished: these are never created.
//! - A finished lease is deleted only after all its children progressed. So a shard without
//!   progress below it has not been processed: it is created if a shard without progress waits for
//!   it.
//! - A first lease that starts at a time waits for no missing parent: the parent ended before that
//!   time.
//! - An unended lease of an unlisted shard is newer than the list, or its shard was trimmed. In the
//!   first case the list may still have finished shards as open; in the second the consumer creates
//!   the successors when it reaches the end. In both cases no lease is created for overlapping hash
//!   keys.
//!
//! The leases must be at least as new as the list, and read consistently if one is created: if a
//! first lease is missed, shards that ended before the start look unprocessed. A plan must be
//! carried out or dropped before cleanup can run twice: a row that is created after its own and its
//! children's deletion is indistinguishable from a new one.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ChildShard, HashKeyRange, Lease, LeaseKey, NewLease, Shard, StreamStart};
use crate::shards::bootstrap::{first_lease, in_order};
use crate::shards::coverage::{gaps, touches, union};
use crate::shards::lineage::{Lineage, finished, is_bootstrap, is_leftover};

/// Which leases of a stream to create and delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct SyncPlan {
    /// The leases to create, in this order: parents before children.
    pub create: Vec<NewLease>,
    /// The leases that a late create left behind: to be deleted unless a worker has taken them.
    pub delete_untouched: Vec<LeaseKey>,
    /// The hash keys without a lease when the leases were read, including those that `create`
    /// covers. A scan is not a snapshot: only a hole that is seen again is real.
    pub holes: Vec<HashKeyRange>,
}

/// Compares all shards that the stream lists with all leases.
///
/// Returns an empty plan before the bootstrap is complete, because its leases would start too
/// early.
pub fn plan(listed: &[Shard], leases: &BTreeMap<LeaseKey, Lease>, start: &StreamStart) -> SyncPlan {
    if !start.bootstrapped {
        return SyncPlan::default();
    }
    let sync = Sync::of(listed, leases);
    let is_left = |lease: &&Lease| is_leftover(lease, &sync.finished);
    SyncPlan {
        create: sync.create(start),
        delete_untouched: leases.values().filter(is_left).map(|left| left.key.clone()).collect(),
        holes: gaps(HashKeyRange::FULL, leases.values().filter_map(|lease| sync.covered_by(lease))),
    }
}

#[derive(Debug)]
struct Sync<'a> {
    leases: &'a BTreeMap<LeaseKey, Lease>,
    listed: BTreeMap<&'a str, &'a Shard>,
    parents: Lineage<'a>,
    children: Lineage<'a>,
    /// The shards that a descendant's progress proves to be finished.
    finished: BTreeSet<&'a str>,
    /// The hash keys of unended leases whose shards are not listed.
    beyond_list: Vec<HashKeyRange>,
}

impl<'a> Sync<'a> {
    fn of(shards: &'a [Shard], leases: &'a BTreeMap<LeaseKey, Lease>) -> Self {
        let listed: BTreeMap<_, _> =
            shards.iter().map(|shard| (shard.id.as_str(), shard)).collect();
        let (parents, children) = (Lineage::up(leases, shards), Lineage::down(leases, shards));
        let finished = finished(leases, &parents);
        let unlisted = leases.values().filter(|lease| {
            !lease.is_ended()
                && !is_leftover(lease, &finished)
                && !listed.contains_key(lease.key.as_str())
        });
        let beyond_list = union(unlisted.filter_map(|lease| lease.hash_range));
        Self { leases, listed, parents, children, finished, beyond_list }
    }

    fn create(&self, start: &StreamStart) -> Vec<NewLease> {
        let open = self.listed.values().filter(|shard| !self.is_closed(shard));
        let mut missing: BTreeMap<&str, &Shard> = open
            .filter(|shard| self.may_be_created(shard))
            .map(|shard| (shard.id.as_str(), *shard))
            .collect();
        self.add_ancestors(&mut missing);
        let below_a_lease = self.children.reached(self.leases.keys().map(LeaseKey::as_str));
        let new_lease = |shard: &Shard| {
            if self.is_closed(shard) && !below_a_lease.contains(shard.id.as_str()) {
                // The shard may be older than the application's start: it owes only later records.
                first_lease(start, shard)
            } else {
                NewLease::of(&ChildShard::from(shard))
            }
        };
        in_order(missing.into_values().collect()).into_iter().map(new_lease).collect()
    }

    /// Adds the shards without a lease for which the `missing` leases, and those without progress,
    /// wait.
    fn add_ancestors(&self, missing: &mut BTreeMap<&'a str, &'a Shard>) {
        let waits = |lease: &&Lease| {
            !lease.checkpoint.has_progressed()
                && !is_bootstrap(lease)
                && !is_leftover(lease, &self.finished)
        };
        let waiting = self.leases.values().filter(waits).map(|lease| lease.key.as_str());
        let mut pending: Vec<&str> = waiting.chain(missing.keys().copied()).collect();
        while let Some(child) = pending.pop() {
            for parent in self.parents.next(child) {
                let Some(shard) = self.listed.get(parent) else { continue };
                if self.may_be_created(shard) && missing.insert(parent, shard).is_none() {
                    pending.push(parent);
                }
            }
        }
    }

    fn may_be_created(&self, shard: &Shard) -> bool {
        !self.has_lease(shard.id.as_str())
            && !self.finished.contains(shard.id.as_str())
            && !touches(shard.hash_range, &self.beyond_list)
    }

    /// Whether a shard is closed. A list that is torn between two pages may have a shard as open
    /// together with its children.
    fn is_closed(&self, shard: &Shard) -> bool {
        shard.is_closed() || self.children.next(shard.id.as_str()).next().is_some()
    }

    fn has_lease(&self, shard: &str) -> bool {
        self.leases.contains_key(shard)
    }

    /// Returns the hash keys that a lease covers: those of its shard until its children have
    /// leases.
    fn covered_by(&self, lease: &Lease) -> Option<HashKeyRange> {
        let shard = lease.key.as_str();
        let is_succeeded = || {
            let mut children = self.children.next(shard).peekable();
            children.peek().is_some()
                && children.all(|child| self.has_lease(child) || self.finished.contains(child))
        };
        if is_leftover(lease, &self.finished) || (lease.is_ended() && is_succeeded()) {
            return None;
        }
        lease.hash_range.or_else(|| self.listed.get(shard).map(|shard| shard.hash_range))
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
